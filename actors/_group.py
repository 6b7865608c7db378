"""Jobs that are summed, waited for and cancelled together; pure.

:Runs on: whoever holds the ledger's lock.
:Owns: the sums of one group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.jobs import JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._ledger import Entry
    from actors.clock import WakeQueue
    from actors.jobs import Job
    from actors.results import JobResult
    from actors.stop_token import StopToken

__all__ = ["Group"]


class Group:
    """Jobs that are summed, waited for and cancelled together; a pipeline is the root.

    Invariant: ``accepted == succeeded + dead + cancelled + returned + unsettled``.
    """

    __slots__ = (
        "accepted",
        "cancelled",
        "chain",
        "dead",
        "first_error",
        "name",
        "parent",
        "pending",
        "returned",
        "returned_jobs",
        "sink",
        "sink_error",
        "succeeded",
        "token",
        "unsettled",
        "waiters",
    )

    def __init__(
        self,
        name: str,
        parent: Group | None = None,
        *,
        sink: Callable[[JobResult], object] | None = None,
        token: StopToken | None = None,
    ) -> None:
        self.name = name
        self.parent = parent
        # This group and those it is counted in, inner first.
        self.chain: tuple[Group, ...] = (self, *(parent.chain if parent else ()))
        self.sink = sink
        self.token = token
        self.sink_error: BaseException | None = None
        self.accepted = self.succeeded = self.dead = self.cancelled = self.returned = 0
        self.unsettled = 0
        self.pending = 0  # settled, and neither acknowledged nor kept
        self.returned_jobs: list[Job] = []
        self.first_error: BaseException | None = None
        self.waiters: list[WakeQueue] = []

    @property
    def idle(self) -> bool:
        """True when everything accepted is settled and delivered.

        Also read without the lock: ``settle`` raises the one before it lowers the
        other, so that a job on its way from settled to delivered is always in one.
        """
        return not self.unsettled and not self.pending

    @property
    def root(self) -> Group:
        """The outermost group that this one is counted in."""
        return self.chain[-1]

    def within(self, other: Group) -> bool:
        """True if this is ``other`` or below it."""
        return other in self.chain

    def accept(self, entry: Entry | None = None) -> None:
        """Count one job in.

        The lines of the loop call nothing, so that CPython runs no signal handler
        between them: the entry tells exactly how far an interrupted call came.
        """
        for group in self.chain:
            group.accepted += 1
            group.unsettled += 1
            if entry is not None:
                entry.counted_in += 1

    def settle(self, result: JobResult) -> None:
        """Count one job's end; its delivery is pending from now on."""
        status = result.status
        for group in self.chain:
            group.pending += 1  # before the next line: see idle
            group.unsettled -= 1
            if status is JobStatus.SUCCEEDED:
                group.succeeded += 1
            elif status is JobStatus.DEAD:
                group.dead += 1
                if group.first_error is None:
                    group.first_error = result.error
            elif status is JobStatus.CANCELLED:
                group.cancelled += 1
            else:
                group.returned += 1
                group.returned_jobs.append(result.job)

    def delivered(self) -> list[WakeQueue]:
        """Count one delivery; returns whom to wake because a group became idle."""
        wakes: list[WakeQueue] = []
        for group in self.chain:
            group.pending -= 1
            if group.idle and group.waiters:
                wakes += group.waiters
                group.waiters = []
        return wakes
