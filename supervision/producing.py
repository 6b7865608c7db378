"""Which producers of a run still bring jobs, and what the first one failed with.

A producer says itself that it has ended.  One that ends otherwise (a stop of its own,
a crash of its thread, too many restarts) is known from its supervisor's events, so that
nobody waits for it for ever.  One that its supervisor stopped, because that one failed
itself, was not exhausted: what the supervisor failed with is its error.

:Runs on: ``ended`` on a producer's thread, ``hear`` on its supervisor's, the rest on
    any.
:Owns: the names of the producers that have not ended.
:Guards: ``_lock`` guards every field; held for O(1) work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actors.events import ChildDown, ChildStopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Clock

__all__ = ["Producers"]

# Not "abandoned": only a stop, which was not asked to wait, leaves a producer behind.
_FAILURES: Final = frozenset({"failed", "start_failed", "gave_up"})


class Producers:
    """The producers of one run.

    Args:
        count: How many there will be.
        supervisor: The name of the tree's node that they are children of.
        changed: Called after one has ended.
        clock: Makes the lock.
    """

    def __init__(
        self,
        count: int,
        supervisor: str,
        changed: Callable[[], object],
        *,
        clock: Clock,
    ) -> None:
        self.error: BaseException | None = None
        self._supervisor = supervisor
        self._changed = changed
        self._lock = clock.lock()
        self._unborn = count
        self._going: set[str] = set()
        self._failures: dict[str, BaseException | None] = {}

    @property
    def all_ended(self) -> bool:
        """True when no producer brings any more."""
        return not self._unborn and not self._going

    def add(self, name: str) -> None:
        """A producer is about to start."""
        with self._lock:
            self._unborn -= 1
            self._going.add(name)

    def ended(self, name: str, error: BaseException | None) -> None:
        """A producer has no more; only the first word about each counts."""
        with self._lock:
            if name not in self._going:
                return
            self._going.remove(name)
            if self.error is None:
                self.error = error
        self._changed()

    def hear(self, event: object) -> None:
        """Learn from the tree of producers that said nothing themselves."""
        if not isinstance(event, (ChildDown, ChildStopped)):
            return
        if event.supervisor == self._supervisor:
            ends = [event.child] if event.kind != "shutdown" else []
        elif f"{event.supervisor}/{event.child}" == self._supervisor:
            with self._lock:
                ends = list(self._going)
        else:
            return
        if isinstance(event, ChildDown):
            failed = event.kind in _FAILURES
            self._failures[event.child] = event.error if failed else None
            return
        error = self._failures.pop(event.child, None)
        for name in ends:
            self.ended(name, error)
