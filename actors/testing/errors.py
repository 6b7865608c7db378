"""What a virtual clock raises, sorted by whose doing it is.

All but :class:`ClockClosed` have one root, :class:`ClockError`.  They are for tests and
so do not derive from the library's own root: no ``except HeadraceError`` in the code
under test may swallow the word of the clock.

:Runs on: any thread.
:Owns: nothing; exceptions are values.
"""

from __future__ import annotations

from actors.clock import ClockClosed

__all__ = [
    "ClockClosed",
    "ClockError",
    "Deadlock",
    "FaultInjected",
    "Leaked",
    "Livelock",
    "NotDeterministic",
    "NotEnrolled",
    "ReplayDiverged",
    "Stalled",
]


class ClockError(RuntimeError):
    """Root of the errors of a virtual clock; itself raised for wrong use of one."""


class Deadlock(ClockError):
    """The test thread waits, nothing can run, and time may not move: its text has why.

    Raised at once, in the test thread, out of the call that would never return.
    """


class Stalled(ClockError):
    """Some thread neither ends nor waits on the clock; the text has its stack.

    It waits where the clock cannot see it (a plain lock, a socket, ``time.sleep``), or
    a hold is not released, or messages go round without end.
    """


class Livelock(ClockError):
    """Very many timers fired at one instant: something re-arms itself with no delay."""


class Leaked(ClockError):
    """Threads were still waiting on the clock when its ``with`` block ended."""


class NotEnrolled(ClockError):
    """A thread that the clock does not know tried to wait on it.

    Start it with ``clock.thread(...)``, or wrap the wait in ``clock.enrolled(name)``.
    """


class ReplayDiverged(ClockError):
    """A replayed run came to another choice than the recorded one.

    Raised in the test thread.  Something that the clock does not order decides what the
    program does, or the program has changed since the recording.
    """


class NotDeterministic(ClockError):
    """Two runs under one seed took different ways; the text shows where they part."""


class FaultInjected(Exception):
    """What an actor fails with when :class:`~actors.testing.Faults` crashes it.

    Not a ``ClockError``: to the code under test it is a failure like any other.
    """
