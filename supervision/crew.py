"""Which workers of a run have not come up, and when that is for good.

A worker that crashed starts again, and when that fails it is tried again after longer
and longer delays, for as long as another of its kind runs.  When none does, and each
has failed many times in a row, no job of that kind would ever end: the crew is lost.

:Runs on: ``hear`` on the workers' supervisor's thread; pure.
:Owns: how often each worker has failed to start since it ran last, and its number.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from actors.events import ChildDown, ChildRestarted, ChildStarted
from supervision.errors import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors import JobKind
    from actors.events import ChildAbandoned

__all__ = ["Crew", "MOST_FAILURES", "worker_name"]

MOST_FAILURES: Final = 12
"""Starts in a row that each worker may fail; with their backoff, some two minutes."""


def worker_name(kind: JobKind, place: int) -> str:
    """The id of a worker in the tree."""
    return f"{kind.value}-worker-{place}"


class Crew:
    """The workers of one run.

    Args:
        workers: How many there are of each kind.
        supervisor: The name of the tree's node that they are children of.
    """

    def __init__(self, workers: Mapping[JobKind, int], supervisor: str) -> None:
        self._supervisor = supervisor
        self._of_kind = {
            kind: [worker_name(kind, place) for place in range(count)]
            for kind, count in workers.items()
        }
        everybody = list(itertools.chain(*self._of_kind.values()))
        self._failures = dict.fromkeys(everybody, 0)
        self._before = dict.fromkeys(everybody, 0)
        self._latest = dict.fromkeys(everybody, 0)

    def has(self, event: ChildDown | ChildAbandoned) -> bool:
        """True if the event is of a worker."""
        return event.supervisor == self._supervisor and event.child in self._failures

    def begin_anew(self) -> dict[str, int]:
        """Their supervisor begins; how many incarnations each worker had before.

        Its children count from 1 again, and news of the old ones may yet be on its way.
        """
        self._before = dict(self._latest)
        return self._before

    def number(self, event: ChildDown | ChildAbandoned) -> int:
        """The worker's incarnation, counted over all its supervisors."""
        number = self._before[event.child] + event.incarnation
        self._latest[event.child] = max(self._latest[event.child], number)
        return number

    def hear(self, event: object) -> str | None:
        """Count; why the run cannot go on, when all workers of a kind are lost."""
        if isinstance(event, (ChildStarted, ChildRestarted)):
            if event.supervisor == self._supervisor:
                self._failures[event.child] = 0
        elif isinstance(event, ChildDown) and self.has(event):
            if event.kind == "ignored":  # nothing starts it again
                self._failures[event.child] = MOST_FAILURES
                return self._lost(event, "raised Ignore when it started")
            if event.kind == "start_failed":
                self._failures[event.child] += 1
                failed = f"failed to start {MOST_FAILURES} times in a row"
                return self._lost(
                    event, f"{failed}, the last with {shown(event.error)}"
                )
        return None

    def _lost(self, event: ChildDown, how: str) -> str | None:
        for kind, names in self._of_kind.items():
            if event.child in names and all(
                self._failures[each] >= MOST_FAILURES for each in names
            ):
                return f"each of its {len(names)} {kind.value} workers {how}"
        return None
