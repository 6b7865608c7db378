"""For tests of your actors and jobs: a clock that they move, and stand-ins.

:class:`VirtualClock` gives hours of waiting in milliseconds, on real threads, with the
same outcome each time.  Everything made inside ``with VirtualClock() as clock:`` and
without a clock of its own takes it.  :class:`Gate` stops the code under test at a known
place; :class:`FakeRecipient` keeps what a stage tells.

:Runs on: the test's threads.
:Owns: nothing; each name's own module says.
"""

from actors.testing.doubles import FakeRecipient, Gate
from actors.testing.errors import (
    ClockClosed,
    ClockError,
    Deadlock,
    Leaked,
    Livelock,
    NotEnrolled,
    Stalled,
)
from actors.testing.virtual_clock import VirtualClock

__all__ = [
    "ClockClosed",
    "ClockError",
    "Deadlock",
    "FakeRecipient",
    "Gate",
    "Leaked",
    "Livelock",
    "NotEnrolled",
    "Stalled",
    "VirtualClock",
]
