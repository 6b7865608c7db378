"""The source of time, and the maker of everything that code may block on.

Library code never asks ``time`` and never makes a lock, event, queue or thread: it asks
the injected :class:`Clock`.  :class:`SystemClock` hands out the plain primitives of the
standard library, so production pays nothing for the seam;
:class:`actors.testing.VirtualClock` hands out its own, knows which threads can still
run, and moves time only when none can.

:Runs on: any thread.  ``call_later`` callbacks run on one lazily started daemon thread.
:Owns: the timer heap of a :class:`SystemClock`, and the ambient clock of each context.
:Guards: ``SystemClock._lock`` guards the heap, the thread and the count of dead timers.
:Blocks: ``sleep``, ``wait_for`` and ``join``, for as long as the caller says.
"""

from __future__ import annotations

import contextlib
import datetime as dt  # looked up at call time: freezegun swaps dt.datetime
import heapq
import logging
import os
import queue
import random
import sys
import threading
import time
import types
import weakref
from collections import deque
from concurrent.futures import Future
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from actors.stop_token import StopToken

__all__ = [
    "Clock",
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
    "raw_lock",
    "rename_current_thread",
    "thread_ident",
]

logger = logging.getLogger("headrace.clock")

Empty = queue.Empty
Full = queue.Full
_LONGEST_WAIT = 3600.0  # A wait of centuries, or without end, overflows.

raw_lock = threading.Lock  # for O(1) sections that never send, wait or call out
thread_ident = threading.get_ident

Lock: TypeAlias = Any
Condition: TypeAlias = Any
Event: TypeAlias = Any


class WakeQueue(Protocol):
    """What one waiting thread blocks on: whoever wakes it puts something here.

    ``put`` never blocks and takes no lock of ours, so a system clock's wake queue may
    be put to from a signal handler or a finaliser.
    """

    def put(self, item: Any, /) -> None:
        """Wake the waiting thread, or the next ``get``."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
        """Wait for an item; raises ``Empty`` after ``timeout`` seconds."""

    def get_nowait(self) -> Any:
        """Take an item if there is one, else raise ``Empty``."""

    def empty(self) -> bool:
        """True when a ``get`` would wait."""


class Hold(Protocol):
    """A promise that work the clock cannot see is on its way; virtual time waits."""

    def release(self) -> None:
        """Take the promise back; a second call does nothing."""

    def __enter__(self) -> Hold: ...

    def __exit__(self, *exc_info: object) -> None: ...


class TimerHandle:
    """One pending call of ``call_later``.

    Attributes:
        when: The moment it is due, in the clock's own monotonic units.
    """

    __slots__ = ("_args", "_fn", "_owner", "when")

    def __init__(
        self, when: float, fn: Callable[..., object], args: Sequence[Any], owner: Any
    ) -> None:
        self.when = when
        self._fn: Callable[..., object] | None = fn
        self._args: Sequence[Any] = args
        self._owner = owner

    @property
    def cancelled(self) -> bool:
        """True once it can no longer run: cancelled, running or already run."""
        return self._fn is None

    def cancel(self) -> bool:
        """Prevent the call.

        Returns:
            True if this call prevented it, False if it ran or was cancelled before.
        """
        return bool(self._owner.cancel_timer(self))

    def disarm(self) -> tuple[Callable[..., object], Sequence[Any]] | None:
        """Take the call out of the handle; the owner's lock is held."""
        fn, args = self._fn, self._args
        self._fn, self._args = None, ()
        return None if fn is None else (fn, args)


class Clock(Protocol):
    """What the library needs of time.

    A subclasser passes ``clock=`` to a pipeline, a tree or a part, or enters a
    ``VirtualClock`` and lets everything made inside take the ambient one.
    """

    rng: random.Random
    """All jitter is drawn from it."""

    reschedule: Callable[[], None] | None
    """A scheduling point for a clock that orders threads; None in real time."""

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
        """Make a mutex for sections longer than O(1)."""

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


class _SignalProofQueue:
    """What ``queue.SimpleQueue`` is, for a Python older than 3.13.

    There a ``SimpleQueue.get`` with a timeout waits for ever when a signal handler
    interrupts it and its deadline has passed when the handler returns.  A lock's
    ``acquire`` with a timeout does not.  ``put`` is as safe as SimpleQueue's, in a
    signal handler too: two calls of C methods that never wait.
    """

    __slots__ = ("_gate", "_items")

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        # Closed while locked.  Invariant: each put is followed by an opening, so a
        # reader that waits at the gate will look again after it.
        self._gate = threading.Lock()
        self._gate.acquire()

    def put(self, item: Any, /) -> None:
        """See :meth:`WakeQueue.put`."""
        self._items.append(item)
        try:
            self._gate.release()
        except RuntimeError:  # open already
            return

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
        """See :meth:`WakeQueue.get`."""
        end = None if timeout is None else SystemClock.monotonic() + timeout
        last_look = not block
        while True:
            try:
                item = self._items.popleft()
            except IndexError:
                if last_look:
                    raise Empty from None
            else:
                if self._items:  # two puts opened once: let the next reader look too
                    with contextlib.suppress(RuntimeError):
                        self._gate.release()
                return item
            if end is None:
                self._gate.acquire()
            else:
                left = end - SystemClock.monotonic()
                last_look = left <= 0 or not self._gate.acquire(timeout=left)

    def get_nowait(self) -> Any:
        """See :meth:`WakeQueue.get_nowait`."""
        return self.get(block=False)

    def empty(self) -> bool:
        """See :meth:`WakeQueue.empty`."""
        return not self._items


_wake_queue: Callable[[], WakeQueue] = (
    queue.SimpleQueue if sys.version_info >= (3, 13) else _SignalProofQueue
)


def _genuine_monotonic() -> Callable[[], float]:
    monotonic = time.monotonic  # noqa: TID251  # this module is time's one home
    if isinstance(monotonic, types.BuiltinFunctionType):
        return monotonic
    # Imported while a freezer is active: clock_gettime is not patched by freezegun.
    gettime, which = time.clock_gettime, time.CLOCK_MONOTONIC
    return lambda: gettime(which)


class SystemClock:
    """Real time; every blocking thing is the standard library's own.

    ``monotonic`` is genuine also while freezegun has frozen the wall clock, so waits
    and durations stay real; ``now`` follows freezegun.  The functions are class
    attributes because freezegun rewrites attributes of modules alone.

    Args:
        rng: Generator that all jitter is drawn from; a fresh one by default.
    """

    monotonic = staticmethod(_genuine_monotonic())
    lock = staticmethod(threading.Lock)
    condition = staticmethod(threading.Condition)
    event = staticmethod(threading.Event)
    queue: Callable[[], WakeQueue] = staticmethod(_wake_queue)
    future: Callable[[], Future[Any]] = staticmethod(Future)
    reschedule: Callable[[], None] | None = None
    # Out of reach of freezegun's module scan, genuine even if imported while frozen.
    _genuine: type[dt.datetime] = next(
        kind for kind in dt.datetime.__mro__ if kind.__module__ == "datetime"
    )
    _sleep = staticmethod(time.sleep)  # noqa: TID251

    def __init__(self, rng: random.Random | None = None) -> None:
        self.rng = random.Random() if rng is None else rng
        self._reset_timers()
        _system_clocks.add(self)

    def _reset_timers(self) -> None:
        # A forked child has no timer thread; its copy of the pending calls is dropped.
        self._lock = threading.Lock()  # Guards _heap, _made, _dead, _thread.
        self._changed = threading.Condition(self._lock)
        self._heap: list[tuple[float, int, TimerHandle]] = []
        self._made = 0
        self._dead = 0
        self._thread: threading.Thread | None = None

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
            condition.wait(left)
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
        thread.join(timeout)
        return not thread.is_alive()

    @staticmethod
    def hold(reason: str) -> Hold:  # noqa: ARG004  # real time waits for nobody
        """See :meth:`Clock.hold`; real time cannot be held."""
        return _NO_HOLD

    # -- timers: one heap, one lazily started daemon thread, deletion when convenient

    def call_later(
        self, delay: float, fn: Callable[..., object], *args: Any
    ) -> TimerHandle:
        """See :meth:`Clock.call_later`; an exception of ``fn`` is logged."""
        when = self.monotonic() + max(0.0, delay)
        handle = TimerHandle(when, fn, args, self)
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(
                    target=self._run_timers, name="headrace-clock", daemon=True
                )
                thread.start()
                self._thread = thread  # not before it runs: a start may fail
            self._made += 1
            first = not self._heap or when < self._heap[0][0]
            heapq.heappush(self._heap, (when, self._made, handle))
            if first:
                self._changed.notify()
        return handle

    def cancel_timer(self, handle: TimerHandle) -> bool:
        """Serve :meth:`TimerHandle.cancel`; amortised O(1)."""
        with self._lock:
            if handle.disarm() is None:
                return False
            self._dead += 1
            if self._dead > 100 and self._dead * 2 > len(self._heap):
                self._heap = [entry for entry in self._heap if not entry[2].cancelled]
                heapq.heapify(self._heap)
                self._dead = 0
            return True

    def _run_timers(self) -> None:
        while True:
            with self._lock:
                fn, args = self._next_due()
            try:
                fn(*args)
            except Exception:  # a callback's: logged, the other timers go on
                logger.exception("timer callback %r failed; later ones still run", fn)
            del fn, args

    def _next_due(self) -> tuple[Callable[..., object], Sequence[Any]]:
        """Wait for the next due call; the lock is held on entry and on return."""
        while True:
            if not self._heap:
                self._changed.wait()
                continue
            when, _, handle = self._heap[0]
            left = when - self.monotonic()
            if left > 0 and not handle.cancelled:
                self._changed.wait(min(left, _LONGEST_WAIT))
                continue
            heapq.heappop(self._heap)
            call = handle.disarm()
            if call is not None:
                return call
            self._dead -= 1


def _after_fork_in_child() -> None:
    for clock in tuple(_system_clocks):
        clock._reset_timers()  # noqa: SLF001  # of this module


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
