"""What a pipeline counts beside its sums.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors.jobs import JobKind
from actors.ledger import Ledger
from actors.metrics import Metrics, Snapshot
from actors.worker import WorkerStats
from tests.actors.ledger_kit import result_of, submit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.testing import VirtualClock


@pytest.fixture
def clock_options() -> dict[str, Any]:
    return {"auto_advance": True}


def snapshot(
    metrics: Metrics,
    ledger: Ledger | None = None,
    *,
    io: Sequence[WorkerStats] = (),
    cpu: Sequence[WorkerStats] = (),
) -> Snapshot:
    stats = {JobKind.IO: io, JobKind.CPU: cpu}
    return metrics.snapshot(Ledger() if ledger is None else ledger, stats, 10)


def busy(seconds: float, since: float | None = None) -> WorkerStats:
    stats = WorkerStats()
    stats.busy, stats.since = seconds, since
    return stats


def test_nothing_counted_is_all_zeros(clock: VirtualClock) -> None:
    seen = snapshot(Metrics(clock))

    assert seen.jobs_per_second == seen.waited == seen.ran == 0.0
    assert seen.report.accepted == 0
    assert seen.capacity == 10


def test_the_rate_is_over_the_time_since_the_start(clock: VirtualClock) -> None:
    clock.advance(100)
    metrics = Metrics(clock)
    for _ in range(4):
        metrics.record(result_of(1))
        clock.advance(0.5)

    assert metrics.jobs_per_second() == 2.0


def test_the_rate_forgets_what_is_older_than_its_window(clock: VirtualClock) -> None:
    metrics = Metrics(clock)
    for _ in range(50):
        metrics.record(result_of(1))
    clock.advance(20)
    for _ in range(5):
        metrics.record(result_of(1))

    assert metrics.jobs_per_second() == 0.5

    clock.advance(20)
    assert metrics.jobs_per_second() == 0.0


def test_the_window_stays_small_however_long_it_runs(clock: VirtualClock) -> None:
    metrics = Metrics(clock)
    for _ in range(100):
        metrics.record(result_of(1))
        clock.advance(1)

    assert metrics.jobs_per_second() == pytest.approx(1.0, rel=0.1)
    assert len(metrics._seconds) <= 11


def test_times_are_means_over_settled_jobs(clock: VirtualClock) -> None:
    metrics = Metrics(clock)
    metrics.record(result_of(1, waited=1.0, ran=4.0))
    metrics.record(result_of(2, waited=3.0, ran=2.0))

    seen = snapshot(metrics)

    assert (seen.waited, seen.ran) == (2.0, 3.0)


def test_utilisation_is_a_part_of_the_workers_time(clock: VirtualClock) -> None:
    metrics = Metrics(clock)
    clock.advance(10)

    seen = snapshot(metrics, io=[busy(5.0), busy(0.0)], cpu=[busy(10.0)])

    assert seen.utilisation == {JobKind.IO: 0.25, JobKind.CPU: 1.0}
    assert seen.workers == {JobKind.IO: 2, JobKind.CPU: 1}


def test_a_running_job_counts_as_busy_time(clock: VirtualClock) -> None:
    metrics = Metrics(clock)
    clock.advance(10)

    seen = snapshot(metrics, io=[busy(1.0, since=6.0), busy(0.0)])

    assert seen.busy == {JobKind.IO: 1, JobKind.CPU: 0}
    assert seen.utilisation[JobKind.IO] == 0.25


def test_a_kind_without_workers_is_not_busy(clock: VirtualClock) -> None:
    assert snapshot(Metrics(clock)).utilisation == {JobKind.IO: 0.0, JobKind.CPU: 0.0}


def test_utilisation_is_never_more_than_all(clock: VirtualClock) -> None:
    metrics = Metrics(clock)

    seen = snapshot(metrics, io=[busy(5.0)])

    assert seen.utilisation[JobKind.IO] == 1.0


def test_a_snapshot_has_the_ledgers_numbers(clock: VirtualClock) -> None:
    ledger = Ledger()
    submit(ledger, 1)
    submit(ledger, 2, delay=5.0)
    submit(ledger, 3, kind="cpu")

    seen = snapshot(Metrics(clock), ledger)

    assert seen.queue_depth == {JobKind.IO: 1, JobKind.CPU: 1}
    assert seen.delayed == 1
    assert (seen.retried, seen.late, seen.over_capacity) == (0, 0, 0)
    assert seen.report == ledger.report()
