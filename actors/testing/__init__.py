"""For tests of your actors and jobs: a clock that they move, and stand-ins.

:class:`VirtualClock` gives hours of waiting in milliseconds, on real threads, with the
same outcome each time.  Everything made inside ``with VirtualClock() as clock:`` and
without a clock of its own takes it.  :class:`Gate` stops the code under test at a known
place; :class:`FakeRecipient` keeps what a stage tells, :class:`Probe` is an actor that
does; :class:`LeakCheck` names what a test leaves running.

:Runs on: the test's threads.
:Owns: nothing; each name's own module says.
"""

from actors.testing.doubles import FakeRecipient, Gate
from actors.testing.errors import (
    ClockClosed,
    ClockError,
    Deadlock,
    FaultInjected,
    Leaked,
    Livelock,
    NotDeterministic,
    NotEnrolled,
    ReplayDiverged,
    Stalled,
)
from actors.testing.executor import VirtualExecutor
from actors.testing.exploration import check_determinism, explore
from actors.testing.faults import Faults
from actors.testing.leaks import LeakCheck
from actors.testing.probe import Probe, Received
from actors.testing.strategies import (
    FIFO,
    PCT,
    RandomChoice,
    Replay,
    Runnable,
    Strategy,
)
from actors.testing.virtual_clock import VirtualClock

__all__ = [
    "ClockClosed",
    "ClockError",
    "Deadlock",
    "FIFO",
    "FakeRecipient",
    "FaultInjected",
    "Faults",
    "Gate",
    "LeakCheck",
    "Leaked",
    "Livelock",
    "NotDeterministic",
    "NotEnrolled",
    "PCT",
    "Probe",
    "RandomChoice",
    "Received",
    "Replay",
    "ReplayDiverged",
    "Runnable",
    "Stalled",
    "Strategy",
    "VirtualClock",
    "VirtualExecutor",
    "check_determinism",
    "explore",
]
