"""The source of time, and the maker of everything that code may block on.

Library code never asks ``time`` and never makes a lock, event, queue or thread: it asks
the injected :class:`Clock`.  :class:`SystemClock` hands out the plain primitives of the
standard library, so production pays nothing for the seam;
:class:`actors.testing.VirtualClock` hands out its own, knows which threads can still
run, and moves time only when none can.

:Runs on: any thread.  ``call_later`` callbacks run on one lazily started daemon thread.
:Owns: the ambient clock of each context.
:Blocks: ``sleep``, ``wait_for`` and ``join``, for as long as the caller says.
"""

from __future__ import annotations

import contextlib
import datetime as dt  # looked up at call time: freezegun swaps dt.datetime
import os
import random
import threading
import time
import weakref
from concurrent.futures import Future
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from actors._timer_thread import TimerHandle, TimerThread
from actors._wake_queue import (
    LONGEST_WAIT,
    Empty,
    Full,
    RealTime,
    WakeQueue,
    wake_queue,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from actors.stop_token import StopToken

__all__ = [
    "Clock",
    "ClockClosed",
    "ClockFuture",
    "Empty",
    "Full",
    "Hold",
    "SYSTEM_CLOCK",
    "SystemClock",
    "TimerHandle",
    "WakeQueue",
    "ambient",
    "ambient_clock",
    "current_thread_name",
    "in_main_thread",
    "in_turn",
    "raw_lock",
    "rename_current_thread",
    "thread_ident",
]

# For what has no clock: a register of the whole process, held for O(1).  A thread that
# waits for it waits where no virtual clock sees it, so nothing inside may wait, send,
# take a lock of a clock's or call out.
raw_lock = threading.Lock
_RawLock: Final = type(raw_lock())
_TURNS: Final = 500  # that others are given before a lock is waited for after all
thread_ident = threading.get_ident

Lock: TypeAlias = Any
Condition: TypeAlias = Any
Event: TypeAlias = Any


class ClockClosed(BaseException):
    """Unwinds the threads that wait on a virtual clock when it closes.

    A ``BaseException``, so that no ``except Exception`` keeps such a thread alive.
    """


class Hold(Protocol):
    """A promise that work the clock cannot see is on its way; virtual time waits."""

    def release(self) -> None:
        """Take the promise back; a second call does nothing."""

    def __enter__(self) -> Hold: ...

    def __exit__(self, *exc_info: object) -> None: ...


class Clock(Protocol):
    """What the library needs of time.

    A subclasser passes ``clock=`` to a pipeline, a tree or a part, or enters a
    ``VirtualClock`` and lets everything made inside take the ambient one.
    """

    rng: random.Random
    """All jitter is drawn from it."""

    reschedule: Callable[[], None] | None
    """A scheduling point for a clock that orders threads; None in real time."""

    on_delivery: Callable[[str, Any, bool], None] | None
    """Called on an actor's thread as it begins to handle something; None in real time.

    It is given the actor's name, the message or the source's item, and whether that is
    control.  Before a message or an item it may wait, or raise :class:`actors.Crash` to
    fail the actor; of control it is only told.  Read once for each incarnation."""

    def now(self) -> dt.datetime:
        """The wall clock: an aware UTC ``datetime``, for stamps only."""

    def monotonic(self) -> float:
        """Seconds that never go back, for waits and durations."""

    def sleep(self, seconds: float, wake_on: StopToken | None = None) -> bool:
        """Wait ``seconds``; False when ``wake_on`` was cancelled first."""

    def wait_for(
        self,
        condition: Condition,
        predicate: Callable[[], Any],
        timeout: float | None = None,
    ) -> Any:
        """``Condition.wait_for`` on this clock; returns the last predicate value."""

    def call_later(
        self, delay: float, fn: Callable[..., object], *args: Any
    ) -> TimerHandle:
        """Call ``fn(*args)`` on the clock's timer thread after ``delay`` seconds."""

    def queue(self) -> WakeQueue:
        """Make a wake queue: unbounded, ``put`` never blocks."""

    def future(self) -> Future[Any]:
        """Make a ``concurrent.futures.Future`` whose waits are this clock's."""

    def condition(self, lock: Lock | None = None) -> Condition:
        """Make what ``threading.Condition(lock)`` is."""

    def event(self) -> Event:
        """Make what ``threading.Event()`` is."""

    def lock(self) -> Lock:
        """Make what ``threading.Lock()`` is; what guards an object comes from here.

        A clock that orders threads lets others go first at ``acquire``, before the
        section and never in it.  For that, what is inside may not put to a wake queue,
        take another lock or call out, unless the section is as long as a wait anyway
        (a start, a factory, a terminal).
        """

    def thread(
        self,
        target: Callable[..., object],
        *,
        name: str | None = None,
        daemon: bool = False,
        args: Sequence[Any] = (),
    ) -> threading.Thread:
        """Make (not start) a thread that this clock knows."""

    def join(self, thread: threading.Thread, timeout: float | None = None) -> bool:
        """Wait for the thread's end; False on timeout."""

    def hold(self, reason: str) -> Hold:
        """Promise that work the clock cannot see is on its way."""


class ClockFuture(Future):  # type: ignore[type-arg]  # generic only for type checkers
    """A ``concurrent.futures.Future`` whose condition a clock made.

    Args:
        clock: The clock whose waits ``result`` uses; the ambient one by default.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        clock = ambient_clock() if clock is None else clock
        if type(clock) is not SystemClock:
            self._condition = clock.condition()


class _NoHold:
    """The hold of a clock that need not wait for anybody."""

    __slots__ = ()

    def __enter__(self) -> _NoHold:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    def release(self) -> None:
        """Do nothing."""


_NO_HOLD = _NoHold()


class SystemClock:
    """Real time; every blocking thing is the standard library's own.

    ``monotonic`` is genuine also while freezegun has frozen the wall clock, so waits
    and durations stay real; ``now`` follows freezegun.  The functions are class
    attributes because freezegun rewrites attributes of modules alone.

    Args:
        rng: Generator that all jitter is drawn from; a fresh one by default.
    """

    monotonic = staticmethod(RealTime.monotonic)
    lock = staticmethod(threading.Lock)
    condition = staticmethod(threading.Condition)
    event = staticmethod(threading.Event)
    queue: Callable[[], WakeQueue] = staticmethod(wake_queue)
    future: Callable[[], Future[Any]] = staticmethod(Future)
    reschedule: Callable[[], None] | None = None
    on_delivery: Callable[[str, Any, bool], None] | None = None
    # Out of reach of freezegun's module scan, genuine even if imported while frozen.
    _genuine: type[dt.datetime] = next(
        kind for kind in dt.datetime.__mro__ if kind.__module__ == "datetime"
    )
    _sleep = staticmethod(time.sleep)  # noqa: TID251

    def __init__(self, rng: random.Random | None = None) -> None:
        self.rng = random.Random() if rng is None else rng
        self._timers = TimerThread()
        _system_clocks.add(self)

    def now(self) -> dt.datetime:
        """See :meth:`Clock.now`; follows freezegun, is always a genuine datetime."""
        cls, genuine = dt.datetime, self._genuine
        if cls is genuine:
            return genuine.now(dt.UTC)
        try:
            n = cls.utcnow()  # freezegun's: no tz_offset, no warning
        except IndexError:  # thawed by another thread while we read
            return genuine.now(dt.UTC)
        return genuine(
            n.year, n.month, n.day, n.hour, n.minute, n.second, n.microsecond, dt.UTC
        )

    def sleep(self, seconds: float, wake_on: StopToken | None = None) -> bool:
        """See :meth:`Clock.sleep`."""
        if wake_on is not None:
            return not wake_on.wait_cancelled(max(0.0, seconds))
        if seconds > 0:
            self._sleep(seconds)
        return True

    def wait_for(
        self,
        condition: Condition,
        predicate: Callable[[], Any],
        timeout: float | None = None,
    ) -> Any:
        """See :meth:`Clock.wait_for`."""
        result = predicate()
        deadline = None if timeout is None else self.monotonic() + timeout
        while not result:
            left = None if deadline is None else deadline - self.monotonic()
            if left is not None and left <= 0:
                break
            condition.wait(None if left is None else min(left, LONGEST_WAIT))
            result = predicate()
        return result

    @staticmethod
    def thread(
        target: Callable[..., object],
        *,
        name: str | None = None,
        daemon: bool = False,
        args: Sequence[Any] = (),
    ) -> threading.Thread:
        """See :meth:`Clock.thread`."""
        return threading.Thread(target=target, name=name, daemon=daemon, args=args)

    @staticmethod
    def join(thread: threading.Thread, timeout: float | None = None) -> bool:
        """See :meth:`Clock.join`."""
        thread.join(None if timeout is None else min(timeout, LONGEST_WAIT))
        return not thread.is_alive()

    @staticmethod
    def hold(reason: str) -> Hold:  # noqa: ARG004  # real time waits for nobody
        """See :meth:`Clock.hold`; real time cannot be held."""
        return _NO_HOLD

    def call_later(
        self, delay: float, fn: Callable[..., object], *args: Any
    ) -> TimerHandle:
        """See :meth:`Clock.call_later`; an exception of ``fn`` is logged."""
        return self._timers.call_later(delay, fn, args)

    def forget_timers(self) -> None:
        """Drop the pending calls and the thread; for a child that was forked."""
        self._timers.reset()


def _after_fork_in_child() -> None:
    for clock in tuple(_system_clocks):
        clock.forget_timers()


_system_clocks: weakref.WeakSet[SystemClock] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork_in_child)

SYSTEM_CLOCK = SystemClock()

_ambient: ContextVar[Clock | None] = ContextVar("headrace_clock", default=None)
# How many virtual clocks are entered: production never looks at the context variable.
_virtual_clocks = 0


def ambient_clock() -> Clock:
    """The clock that a part made without ``clock=`` takes.

    Returns:
        The ``VirtualClock`` entered around this code, else the one system clock.
    """
    if not _virtual_clocks:
        return SYSTEM_CLOCK
    return _ambient.get() or SYSTEM_CLOCK


@contextlib.contextmanager
def ambient(clock: Clock) -> Iterator[Clock]:
    """Make ``clock`` the ambient clock of this thread's context for a block."""
    global _virtual_clocks  # noqa: PLW0603  # see the comment at its definition
    token = _ambient.set(clock)
    _virtual_clocks += 1
    try:
        yield clock
    finally:
        _virtual_clocks -= 1
        _ambient.reset(token)


def current_thread_name() -> str:
    """The name of the calling thread."""
    return threading.current_thread().name


def rename_current_thread(name: str) -> None:
    """Give the calling thread a new name."""
    threading.current_thread().name = name


def in_main_thread() -> bool:
    """True on the thread that Python delivers signals to."""
    return threading.current_thread() is threading.main_thread()


def in_turn(lock: Lock) -> Lock:
    """Let others run while somebody holds a lock; returns the lock, to be taken.

    For locks that many threads take for many short sections::

        with in_turn(self._lock):
            ...

    A thread that loses its turn inside such a section makes all the others block on the
    lock, and from then on each is handed the lock before it has its turn: a convoy,
    with a switch of threads for every section (Blasgen et al., "The convoy phenomenon",
    1979).  Giving the turn away instead lets the holder leave first: against the same
    peer, 1.8x to 2.3x the jobs a second at capacity 1000 (benchmarks/pipeline.py).

    Args:
        lock: Not taken here, so that an interrupt cannot come between taking it and the
            block that gives it back.
    """
    if lock.locked() and lock.__class__ is _RawLock:  # another knows whose turn it is
        for _ in range(_TURNS):
            time.sleep(0)  # noqa: TID251  # gives the turn away, waits for nothing
            if not lock.locked():
                break
    return lock
