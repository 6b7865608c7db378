"""Counts what is under way, so that somebody can wait for the end of all of it.

:Runs on: any thread.
:Owns: the count, whether more may begin, and who waits.
:Guards: ``_lock`` guards ``_running``, ``_closed`` and ``_waiters``.
:Blocks: ``wait``, until it is closed and nothing is under way, or the timeout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from actors.clock import Empty, ambient_clock
from actors.errors import MailboxClosed

if TYPE_CHECKING:
    from typing import Self

    from actors.clock import Clock, WakeQueue

__all__ = ["Tracker"]


@final
class Tracker:
    """Counts tasks: whatever has a beginning and an end, on any thread.

    It is empty between two tasks as well as after the last one; only who closes it says
    that no more will come.  What is under way then may still begin others.

    Args:
        clock: Whose time the waits use; the ambient clock by default.

    Example:
        >>> tracker = Tracker()
        >>> with tracker:  # one task, on whatever thread
        ...     len(tracker)
        1
        >>> tracker.close()
        >>> tracker.wait(timeout=5)
        True
    """

    __slots__ = ("_clock", "_closed", "_lock", "_running", "_waiters")

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = ambient_clock() if clock is None else clock
        self._lock = self._clock.lock()  # Held for O(1) work; nothing else inside.
        # Invariant: once closed with nothing under way, it stays so.
        self._running = 0
        self._closed = False
        self._waiters: dict[WakeQueue, None] = {}

    def __len__(self) -> int:
        """How many tasks are under way."""
        return self._running

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Tracker {state}, {self._running} under way>"

    @property
    def closed(self) -> bool:
        """True once ``close`` was called."""
        return self._closed

    def add(self) -> None:
        """Count a task in, before it begins.

        Raises:
            MailboxClosed: If the tracker is closed and empty: somebody may already have
                been told that all has ended.
        """
        with self._lock:
            ended = self._ended()
            if not ended:
                self._running += 1
        if ended:
            message = "the tracker is closed and empty; add what follows before that"
            raise MailboxClosed(message)

    def done(self) -> None:
        """Count a task out, when it has ended.

        Raises:
            ValueError: If no task is under way.
        """
        try:
            with self._lock:
                none = self._running == 0
                if not none:
                    self._running -= 1
            self._wake_if_ended()
        except BaseException:
            self._wake_if_ended()
            raise
        if none:
            message = "done() was called more often than add()"
            raise ValueError(message)

    def __enter__(self) -> Self:
        self.add()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.done()

    def close(self) -> None:
        """Say that no more tasks come but from those under way; idempotent."""
        try:
            with self._lock:
                self._closed = True
            self._wake_if_ended()
        except BaseException:
            self._wake_if_ended()
            raise

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the tracker is closed and nothing is under way.

        A task that waits for its own tracker waits for itself.

        Args:
            timeout: Seconds on the clock; ``None`` waits as long as it takes.

        Returns:
            True if it has come to that, False after ``timeout``.
        """
        clock = self._clock
        deadline = None if timeout is None else clock.monotonic() + timeout
        wake, left = clock.queue(), timeout
        with self._lock:
            if not self._ended():
                self._waiters[wake] = None
        try:
            while not self._ended() and (left is None or left > 0):
                wake.get(timeout=left)  # it may bring nothing, after an interrupt
                left = None if deadline is None else deadline - clock.monotonic()
        except Empty:
            pass
        finally:
            with self._lock:
                self._waiters.pop(wake, None)
        return self._ended()

    def _ended(self) -> bool:
        """Whether all is over; also read without the lock, for it never changes back.

        In this order: once it is closed, nothing begins when nothing runs.
        """
        return self._closed and self._running == 0

    def _wake_if_ended(self) -> None:
        """Wake all who wait, if it is over; the lock is not held.

        Called once more where a signal, or an interrupt, cut the first call short: for
        nobody else would wake them.
        """
        if self._ended():
            for wake in list(self._waiters):  # each takes itself off the list
                wake.put(None)
