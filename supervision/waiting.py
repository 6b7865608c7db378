"""The threads that wait for something about a run.

:Runs on: ``until`` on any host's thread; ``wake`` on any thread.
:Owns: who waits.
:Guards: ``_lock`` guards ``_waiters``; held for O(waiters) copies at most.
:Blocks: ``until``, until its condition is true or its deadline has come.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from actors import Empty

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Clock, Group, Ledger, WakeQueue

__all__ = ["Waiting"]

_FOREVER: Final = 1e9  # seconds; the system's waits overflow at 9.2e9


class Waiting:
    """Waits for a group to go idle, and for whatever else ``wake`` is called after.

    Args:
        clock: Measures the waits.
        ledger: Wakes who waits for a group.
    """

    def __init__(self, clock: Clock, ledger: Ledger) -> None:
        self._clock = clock
        self._waits = ledger.waits
        self._lock = clock.lock()
        self._waiters: list[WakeQueue] = []

    def until(
        self, done: Callable[[], bool], deadline: float | None, group: Group
    ) -> bool:
        """Wait until ``done()``, asked anew after each wake-up; False at the deadline.

        Race, thought through: who waits registers, then asks; who changes something
        changes it, then wakes.  One of the two sees the other.
        """
        wake = self._clock.queue()
        while True:
            with self._lock:
                self._waiters.append(wake)
            registered = self._waits.add(group, wake)
            try:
                if done():
                    return True
                left = None if deadline is None else deadline - self._clock.monotonic()
                if left is not None and left <= 0:
                    return False
                if left is not None and left > _FOREVER:
                    left = None
                with contextlib.suppress(Empty):
                    wake.get(timeout=left)
            finally:
                if registered:
                    self._waits.remove(group, wake)
                with self._lock, contextlib.suppress(ValueError):
                    self._waiters.remove(wake)

    def wake(self) -> None:
        """Have everybody who waits look again."""
        with self._lock:
            waiters, self._waiters = self._waiters, []
        for wake in waiters:
            wake.put(None)
