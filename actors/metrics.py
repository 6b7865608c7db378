"""How fast, how long, how full, how busy: counted as results pass.

:Runs on: ``record`` on the collector's thread; ``snapshot`` on any thread.
:Owns: the sums of latency and a window of counts by second.
:Guards: nothing; one thread writes, readers see each number whole under the GIL.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from actors.jobs import JobKind
from actors.results import Report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actors.clock import Clock
    from actors.ledger import Ledger
    from actors.results import JobResult
    from actors.worker import WorkerStats

__all__ = ["Metrics", "Snapshot"]

_WINDOW: Final = 10  # seconds that jobs_per_second looks back


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A pipeline at one moment.

    Attributes:
        jobs_per_second: Results delivered a second, over the last 10 s or since the
            first one.
        waited: Mean seconds that settled jobs waited.
        ran: Mean seconds that settled jobs ran, all attempts together.
        queue_depth: Jobs that are due and wait for a worker, by kind.
        utilisation: Part of the workers' time spent on jobs since the start, by kind.
        workers: Workers, by kind.
        busy: Workers with a job in hand, by kind.
        delayed: Jobs that wait for a time.
        retried: Attempts that were followed by another.
        late: Attempts whose result came too late to count.
        over_capacity: Submits from inside that went past the capacity.
        capacity: Jobs of a kind that may wait; ``None`` for no bound.
        report: The sums.
    """

    jobs_per_second: float = 0.0
    waited: float = 0.0
    ran: float = 0.0
    queue_depth: Mapping[JobKind, int] = field(default_factory=dict)
    utilisation: Mapping[JobKind, float] = field(default_factory=dict)
    workers: Mapping[JobKind, int] = field(default_factory=dict)
    busy: Mapping[JobKind, int] = field(default_factory=dict)
    delayed: int = 0
    retried: int = 0
    late: int = 0
    over_capacity: int = 0
    capacity: int | None = None
    report: Report = field(default_factory=Report)


class Metrics:
    """What one pipeline counts, apart from the sums that the ledger keeps.

    Args:
        clock: The pipeline's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_at = clock.monotonic()
        self._count = 0
        self._waited = 0.0
        self._ran = 0.0
        # Invariant: (second, results delivered in it), ascending, at most _WINDOW + 1.
        self._seconds: deque[tuple[int, int]] = deque(maxlen=_WINDOW + 1)

    def record(self, result: JobResult) -> None:
        """Count one settled job; the collector's thread alone calls it."""
        self._count += 1
        self._waited += result.waited
        self._ran += result.ran
        second = int(self._clock.monotonic())
        seconds = self._seconds
        if seconds and seconds[-1][0] == second:
            seconds[-1] = (second, seconds[-1][1] + 1)
        else:
            seconds.append((second, 1))

    def jobs_per_second(self) -> float:
        """Results a second over the window."""
        now = self._clock.monotonic()
        begin = max(self._started_at, now - _WINDOW)
        counted = sum(n for second, n in list(self._seconds) if second + 1 > begin)
        span = now - begin
        return counted / span if span > 0 else 0.0

    def snapshot(
        self,
        ledger: Ledger,
        stats: Mapping[JobKind, Sequence[WorkerStats]],
        capacity: int | None,
    ) -> Snapshot:
        """Everything at this moment, for :meth:`supervision.Pipeline.snapshot`."""
        now = self._clock.monotonic()
        elapsed = max(now - self._started_at, 1e-9)
        counted = max(self._count, 1)
        return Snapshot(
            jobs_per_second=self.jobs_per_second(),
            waited=self._waited / counted,
            ran=self._ran / counted,
            queue_depth={kind: ledger.depth(kind) for kind in JobKind},
            utilisation={
                kind: min(
                    1.0, sum(s.busy_until(now) for s in some) / elapsed / len(some)
                )
                if some
                else 0.0
                for kind, some in stats.items()
            },
            workers={kind: len(some) for kind, some in stats.items()},
            busy={
                kind: sum(s.since is not None for s in some)
                for kind, some in stats.items()
            },
            capacity=capacity,
            report=ledger.report(),
            **{k: v for k, v in ledger.counts().items() if k != "in_flight"},
        )
