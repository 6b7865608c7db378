"""Messages that become due at a moment, kept for a reader that waits anyway.

:Runs on: ``cancel_timer`` and ``forget`` on any thread; everything else under the
    owner's lock.
:Owns: the heap of what is not due yet.
:Guards: the lock of the mailbox that this belongs to guards everything here.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from actors.clock import TimerHandle

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import Lock

__all__ = ["Timers"]


class Timers(list[tuple[float, int, TimerHandle]]):
    """A heap of messages by deadline; equal deadlines in the order they were made.

    It is a list so that the empty case, which every read asks about, costs nothing.

    Args:
        lock: The owner's lock.
        deliver: Called with each message that is due, under the lock; O(1).
    """

    __slots__ = ("_dead", "_deliver", "_lock", "_made")

    def __init__(self, lock: Lock, deliver: Callable[[Any], object]) -> None:
        super().__init__()
        self._lock = lock
        self._deliver = deliver
        self._made = 0
        self._dead = 0  # cancelled ones that are still in the heap

    @property
    def next_deadline(self) -> float | None:
        """When the first one is due; ``None`` if there is none.  The lock is held."""
        return self[0][0] if self else None

    def add(self, deadline: float, message: Any) -> TimerHandle:
        """Deliver ``message`` once ``deadline`` has come; the lock is held."""
        timer = TimerHandle(deadline, self._deliver, (message,), self)
        self._made += 1
        heapq.heappush(self, (deadline, self._made, timer))
        return timer

    def deliver_due(self, now: float) -> None:
        """Deliver what is due, in order; the lock is held."""
        while self:
            when, _, timer = self[0]
            if when > now and not timer.cancelled:
                return
            heapq.heappop(self)
            call = timer.disarm()
            if call is None:
                self._dead -= 1
            else:
                call[0](*call[1])

    def drop(self) -> list[Any]:
        """Forget all of them; the lock is held.

        Returns:
            What they held, to be let go of without the lock: a message's own
            finaliser may do anything.
        """
        held = [timer.disarm() for _, _, timer in self]
        self.clear()
        self._dead = 0
        return held

    def forget(self, is_meant: Callable[[Any], bool]) -> None:
        """Drop the messages that are meant; takes the lock.

        Args:
            is_meant: Asked about each message, under the lock; calls nothing of the
                host's.
        """
        with self._lock:
            held = []
            for _, _, timer in self:
                if timer.args and is_meant(timer.args[0]):
                    held.append(timer.disarm())
            self[:] = [entry for entry in self if not entry[2].cancelled]
            heapq.heapify(self)
            self._dead = 0
        held.clear()  # not inside: a message's own finaliser may do anything

    def cancel_timer(self, timer: TimerHandle) -> bool:
        """Serve :meth:`actors.clock.TimerHandle.cancel`; amortised O(1)."""
        with self._lock:
            call = timer.disarm()  # let go of at the return, without the lock
            if call is None:
                return False
            self._dead += 1
            if self._dead * 2 > len(self):
                self[:] = [entry for entry in self if not entry[2].cancelled]
                heapq.heapify(self)
                self._dead = 0
            return True
