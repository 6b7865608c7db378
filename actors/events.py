"""What happened, as typed values, and the guarded calls that tell it to listeners.

Every event is a ``NamedTuple``, made at the one place where the thing happens and told
apart by its class.  A listener is any callable of one event.  One that raises is logged
once and hurts nobody: neither the code that emitted nor the listeners after it.

:Runs on: listeners run on the thread that emits, so they must be short and never wait.
:Owns: ``Listeners`` its tuple of callables; events are values.
:Guards: ``Listeners._lock`` guards the writing of ``_entries``.
:Blocks: nothing.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from actors._stack import exc_info_of
from actors.clock import ambient_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._ledger import Entry
    from actors.clock import Clock
    from actors.jobs import Job
    from actors.results import Attempt, JobResult

__all__ = [
    "ChildAbandoned",
    "ChildDown",
    "ChildEscalated",
    "ChildFailing",
    "ChildInterrupted",
    "ChildLeftDown",
    "ChildRestarted",
    "ChildResumed",
    "ChildStarted",
    "ChildStopped",
    "JobAccepted",
    "JobBegan",
    "JobEvent",
    "JobLate",
    "JobRetried",
    "JobSettled",
    "Listener",
    "Listeners",
    "MessageUndelivered",
    "RestartScheduled",
    "SupervisionEvent",
    "TreeGaveUp",
    "TreeShutsDown",
]

logger = logging.getLogger("headrace.events")

Listener: TypeAlias = "Callable[[Any], object]"


class Listeners:
    """Guarded callables that are told each event.

    ``if listeners:`` is False while there are none, so that a busy place can skip
    building the event::

        if listeners:
            listeners.emit(ChildStarted("tree", "worker-1", 1))

    Args:
        *fns: The first ones.
        clock: Makes the lock; the ambient one by default.

    Thread safety:
        ``add`` and the callable that it returns: any thread.  ``emit`` reads one tuple
        without a lock.
    """

    __slots__ = ("_entries", "_lock")

    def __init__(self, *fns: Listener, clock: Clock | None = None) -> None:
        clock = ambient_clock() if clock is None else clock
        self._lock = clock.lock()  # Guards the writing of _entries; O(1), calls nobody.
        self._entries: tuple[_Entry, ...] = tuple(_Entry(fn) for fn in fns)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, fn: Listener) -> Callable[[], None]:
        """Tell ``fn`` every later event.

        Returns:
            A callable that takes ``fn`` out again; a second call does nothing.
        """
        entry = _Entry(fn)
        with self._lock:
            self._entries = (*self._entries, entry)

        def remove() -> None:
            with self._lock:
                self._entries = tuple(e for e in self._entries if e is not entry)

        return remove

    def emit(self, event: object) -> None:
        """Tell each listener, in the order they were added; never raises."""
        for entry in self._entries:
            try:
                entry.fn(event)
            except Exception as error:  # noqa: BLE001  # a listener's own, see module
                with contextlib.suppress(Exception):  # a log handler's own
                    entry.report(event, error)


class _Entry:
    """One added listener; its identity is what ``remove`` takes out."""

    __slots__ = ("_reported", "fn")

    def __init__(self, fn: Listener) -> None:
        self.fn = fn
        self._reported = False

    def report(self, event: object, error: Exception) -> None:
        if self._reported:
            return
        self._reported = True
        logger.error(
            "listener %r raised on %s; it is still told later events, "
            "but its further errors are not logged",
            self.fn,
            type(event).__name__,
            exc_info=exc_info_of(error),
        )


# -- supervision: emitted by a supervisor's thread, in the order things happen


class ChildStarted(NamedTuple):
    """The first incarnation of a child has left its ``on_start``."""

    supervisor: str
    child: str
    incarnation: int


class ChildRestarted(NamedTuple):
    """A later incarnation of a child has left its ``on_start``."""

    supervisor: str
    child: str
    incarnation: int


class ChildFailing(NamedTuple):
    """A child is about to run its ``on_failure``; its ``ChildDown`` follows."""

    supervisor: str
    child: str
    incarnation: int


class ChildDown(NamedTuple):
    """One incarnation of a child is over; ``kind`` is its exit's.

    ``directive`` is what the supervisor's decider said of the error, if it was asked.
    """

    supervisor: str
    child: str
    incarnation: int
    kind: str
    error: BaseException | None
    traceback: str
    directive: str | None = None


class ChildStopped(NamedTuple):
    """A child is over for good: its mailbox is closed, its ref is dead.

    ``ending`` is the kind of exit that its supervisor ends with, if it does, and empty
    if that one goes on.  ``kept``: its spec is still there for ``restart_child``.
    """

    supervisor: str
    child: str
    incarnation: int
    kind: str
    ending: str = ""
    kept: bool = False


class RestartScheduled(NamedTuple):
    """A child, with the siblings its failure affects, starts again after ``delay``.

    It is restart number ``in_a_row``, of which its own ``max_restarts`` are allowed, if
    it has such a limit.
    """

    supervisor: str
    child: str
    incarnation: int
    delay: float
    affected: tuple[str, ...]
    used: int
    intensity: int
    period: float
    in_a_row: int = 0
    max_restarts: int | None = None


class ChildAbandoned(NamedTuple):
    """A child's thread would not end in time: it lost its mailbox and is a zombie."""

    supervisor: str
    child: str
    incarnation: int
    why: str
    stack: str


class ChildResumed(NamedTuple):
    """A message failed and the decider said ``resume``: object and mailbox go on."""

    supervisor: str
    child: str
    incarnation: int
    error: BaseException
    traceback: str = ""


class ChildInterrupted(NamedTuple):
    """A child would not end in time, so ``Cancelled`` was thrown into its thread.

    Its ``ChildDown`` follows; or ``ChildAbandoned``, should it not end even so.
    """

    supervisor: str
    child: str
    incarnation: int
    why: str


class ChildLeftDown(NamedTuple):
    """A child failed too often and stays down; its siblings and its supervisor go on.

    ``max_restarts`` is the child's own limit if it was that one, and ``None`` if the
    supervisor's ``intensity`` within ``period`` was used up.
    """

    supervisor: str
    child: str
    incarnation: int
    intensity: int
    period: float
    max_restarts: int | None
    error: BaseException | None


class ChildEscalated(NamedTuple):
    """A child failed and its decider said that its supervisor fails with it."""

    supervisor: str
    child: str
    incarnation: int
    error: BaseException | None


class TreeShutsDown(NamedTuple):
    """A significant child ended, and its supervisor with it, by ``auto_shutdown``."""

    supervisor: str
    child: str
    incarnation: int
    auto_shutdown: str


class TreeGaveUp(NamedTuple):
    """A child failed too often, and all children of its supervisor are stopped.

    ``max_restarts`` is the child's own limit if it was that one, and ``None`` if the
    supervisor's ``intensity`` within ``period`` was used up.  ``intensity_needed`` is
    the least intensity that lets the child's ``Backoff`` run, if it has one.
    """

    supervisor: str
    child: str
    incarnation: int
    intensity: int
    period: float
    error: BaseException | None
    max_restarts: int | None = None
    intensity_needed: int | None = None


class MessageUndelivered(NamedTuple):
    """An accepted message that no incarnation of the child will handle."""

    supervisor: str
    child: str
    incarnation: int
    message: Any
    why: str


SupervisionEvent: TypeAlias = (
    ChildStarted
    | ChildRestarted
    | ChildFailing
    | ChildDown
    | ChildStopped
    | RestartScheduled
    | ChildAbandoned
    | ChildResumed
    | ChildInterrupted
    | ChildLeftDown
    | ChildEscalated
    | TreeGaveUp
    | TreeShutsDown
    | MessageUndelivered
)


# -- jobs: emitted by whatever thread changes a job, after the change


class JobAccepted(NamedTuple):
    """A job was let in: from now on it ends exactly once."""

    job: Job


class JobBegan(NamedTuple):
    """An attempt of a job began on a worker."""

    job: Job
    worker: str
    attempt: int


class JobRetried(NamedTuple):
    """An attempt failed; the job runs again when it is due, on the monotonic clock."""

    job: Job
    attempt: Attempt
    due_at: float


class JobSettled(NamedTuple):
    """A job has its final result."""

    result: JobResult


class JobLate(NamedTuple):
    """An attempt ended after its job was settled or given to another worker."""

    job: Job


JobEvent: TypeAlias = JobAccepted | JobBegan | JobRetried | JobSettled | JobLate


def job_event(
    change: str,
    entry: Entry,
    result: JobResult | None,
    retry: tuple[Attempt, float] | None,
) -> JobEvent:
    """The event of a change that a ledger records."""
    job = entry.job
    match change:
        case "accepted":
            return JobAccepted(job)
        case "began":
            return JobBegan(job, entry.worker, len(entry.attempts) + 1)
        case "retried" if retry is not None:
            return JobRetried(job, *retry)
        case "settled" if result is not None:
            return JobSettled(result)
        case _:
            return JobLate(job)
