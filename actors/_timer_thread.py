"""Calls at a later moment of real time, on one thread.

:Runs on: ``call_later`` and ``cancel_timer`` on any thread; the calls on one lazily
    started daemon thread.
:Owns: the heap of pending calls, and that thread.
:Guards: ``_lock`` guards the heap, the thread and the count of dead timers.
:Blocks: nothing but the thread, until the next call is due.
"""

from __future__ import annotations

import heapq
import logging
import threading
from typing import TYPE_CHECKING, Any

from actors._wake_queue import LONGEST_WAIT, RealTime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["TimerHandle", "TimerThread"]

logger = logging.getLogger("headrace.clock")


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

    @property
    def args(self) -> Sequence[Any]:
        """What it is called with; empty once it can no longer run."""
        return self._args

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


class TimerThread:
    """The pending calls of one clock: one heap, deletion when convenient."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all; a forked child has no thread, and drops its copy of the calls."""
        self._lock = threading.Lock()  # Guards _heap, _made, _dead, _thread.
        self._changed = threading.Condition(self._lock)
        self._heap: list[tuple[float, int, TimerHandle]] = []
        self._made = 0
        self._dead = 0
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def call_later(
        self, delay: float, fn: Callable[..., object], args: Sequence[Any]
    ) -> TimerHandle:
        """See :meth:`actors.Clock.call_later`."""
        when = RealTime.monotonic() + max(0.0, delay)
        handle = TimerHandle(when, fn, args, self)
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(
                    target=self._run, name="headrace-clock", daemon=True
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

    def _run(self) -> None:
        while True:
            with self._lock:
                fn, args = self._next_due()
            try:
                fn(*args)
            except BaseException:  # a callback's: without the thread no timer goes on
                logger.exception("timer callback %r failed; later ones still run", fn)
            del fn, args

    def _next_due(self) -> tuple[Callable[..., object], Sequence[Any]]:
        """Wait for the next due call; the lock is held on entry and on return."""
        while True:
            if not self._heap:
                self._changed.wait()
                continue
            when, _, handle = self._heap[0]
            left = when - RealTime.monotonic()
            if left > 0 and not handle.cancelled:
                self._changed.wait(min(left, LONGEST_WAIT))
                continue
            heapq.heappop(self._heap)
            call = handle.disarm()
            if call is not None:
                return call
            self._dead -= 1
