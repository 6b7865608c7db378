"""The promises of the README, one by one, and the checks that were asked for."""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from actors import (
    Job,
    JobKind,
    JobResult,
    JobStatus,
    RetryPolicy,
    Worker,
    WorkerDied,
    sleep,
)
from actors.errors import MailboxClosed, MailboxFull, ShutdownTimeout
from actors.events import ChildRestarted, JobBegan, JobSettled
from actors.testing import Gate, VirtualClock
from supervision import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def clock_options() -> dict[str, Any]:
    return {"auto_advance": True}


def square(x: int) -> int:
    return x * x


def kill_self(x: int) -> int:
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def block_on(path: str) -> str:
    """Say that this process is here, then wait for the other end of a pipe."""
    with open(path + ".here", "w") as here:
        here.write("x")
    with open(path) as gate:
        return gate.read()


def sums_up(pipeline: Pipeline) -> bool:
    r = pipeline.report()
    return r.accepted == r.succeeded + r.dead + r.cancelled + r.returned + r.unsettled


# -- 1. bounded


@pytest.mark.concurrent
def test_promise_1_bounded(clock: VirtualClock) -> None:
    """Slow workers, a fast producer, a source of a million: it waits at capacity 10."""
    workers, capacity = 3, 10
    lock = clock.lock()
    taken = done = most = 0
    stop = Gate()

    def source() -> Iterator[Job]:
        nonlocal taken, most
        for n in range(1_000_000):
            with lock:
                taken += 1
                most = max(most, taken - done)
            yield Job(slow, n)

    def slow(n: int) -> None:
        nonlocal done
        sleep(0.01)
        with lock:
            done += 1
        if n == 300:
            stop.open()

    pipeline = Pipeline(workers, cpu_workers=1, capacity=capacity, producers=[source()])
    with pipeline:
        stop.pass_through()

    assert taken < 400
    assert most == capacity + workers + 1
    assert pipeline.report().ok


@pytest.mark.concurrent
def test_the_bound_holds_for_many_submitters(clock: VirtualClock) -> None:
    workers, capacity, submitters = 2, 5, 6
    lock = clock.lock()
    out = most = 0

    def work() -> None:
        nonlocal out
        sleep(1)
        with lock:
            out -= 1

    def submit_many(pipeline: Pipeline) -> None:
        nonlocal out, most
        for _ in range(10):
            with lock:
                out += 1
                most = max(most, out)
            pipeline.submit(work)

    with Pipeline(workers, cpu_workers=1, capacity=capacity) as pipeline:
        threads = [
            clock.thread(submit_many, name=f"host-{n}", args=(pipeline,))
            for n in range(submitters)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            clock.join(thread)

    assert most <= capacity + workers + submitters
    assert pipeline.report().succeeded == 10 * submitters


# -- 2. nothing is lost, nothing is told twice


@pytest.mark.concurrent
def test_promise_2_nothing_is_lost_or_told_twice(clock: VirtualClock) -> None:
    """R7: jobs that succeed, fail, retry, are cancelled, returned: each ends once."""
    told: list[JobResult] = []
    flaky = itertools.count()

    def work(n: int) -> int:
        sleep(0.1 * (n % 3))
        if n % 5 == 0 and next(flaky) % 2:
            raise OSError(n)
        if n % 7 == 0:
            raise KeyError(n)
        return n

    pipeline = Pipeline(
        4,
        cpu_workers=1,
        retry=RetryPolicy(2, initial=0.5, retry_on=OSError),
        sink=told.append,
    )
    pipeline.start()
    futures = [pipeline.submit(work, n) for n in range(200)]
    for future in futures[::11]:
        future.cancel()
    late = [pipeline.scope(delay=10_000).submit(square, n) for n in range(5)]
    report = pipeline.stop(timeout=60)

    assert sums_up(pipeline)
    assert report.accepted == 205
    assert report.unsettled == 0
    assert report.returned >= 5
    assert all(f.done() for f in futures + late)
    assert sorted(r.id for r in told) == list(range(1, 206))
    assert report.undelivered == ()


@pytest.mark.concurrent
def test_graceful_shutdown_ends_all_and_lets_nothing_in(clock: VirtualClock) -> None:
    told: list[int] = []
    pipeline = Pipeline(2, cpu_workers=1, sink=lambda r: told.append(r.id))
    with pipeline:
        futures = [pipeline.submit(sleep, 1) for _ in range(8)]
        ended: list[Any] = []
        ender = clock.thread(lambda: ended.append(pipeline.drain()), name="ender")
        ender.start()
        clock.settle()

        with pytest.raises(MailboxClosed):
            pipeline.submit(square, 1)
        clock.join(ender)

    assert all(f.result() is None for f in futures)
    assert sorted(told) == list(range(1, 9))
    assert ended[0].succeeded == ended[0].accepted == 8


@pytest.mark.real
def test_a_worker_process_killed_mid_job_costs_that_job_alone() -> None:
    with Pipeline(1, cpu_workers=2) as pipeline:
        results = list(pipeline.scope(kind="cpu").results(kill_self, range(8)))

    dead = [r for r in results if not r.ok]
    assert [r.job.args for r in dead] == [(3,)]
    assert isinstance(dead[0].error, WorkerDied)
    assert "SIGKILL" in str(dead[0].error)
    assert len(dead[0].attempts) == 1
    assert sorted(r.value for r in results if r.ok) == [0, 1, 2, 4, 5, 6, 7]


# -- 3. nothing starves


@pytest.mark.real
def test_promise_3_nothing_starves(tmp_path: Path) -> None:
    """Both cpu processes are busy for long: io jobs go through all the same."""
    fifos = [str(tmp_path / f"gate{n}") for n in range(2)]
    for fifo in fifos:
        os.mkfifo(fifo)
        os.mkfifo(fifo + ".here")

    with Pipeline(2, cpu_workers=2) as pipeline:
        cpu = pipeline.scope(kind="cpu")
        busy = [cpu.submit(block_on, fifo) for fifo in fifos]
        for fifo in fifos:  # both processes are inside their job
            with open(fifo + ".here") as here:
                here.read()
        waiting = [cpu.submit(square, n) for n in range(5)]

        values = [f.result(30) for f in [pipeline.submit(square, n) for n in range(50)]]

        assert not any(f.done() for f in busy + waiting)
        for fifo in fifos:
            with open(fifo, "w") as gate:
                gate.write("go")
        assert [f.result(30) for f in busy] == ["go", "go"]

    assert values == [n * n for n in range(50)]


def test_at_most_so_many_run_at_once_and_so_many_do(clock: VirtualClock) -> None:
    lock = clock.lock()
    running = most = 0

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        sleep(1)
        with lock:
            running -= 1

    with Pipeline(4, cpu_workers=1) as pipeline:
        pipeline.run(lambda _: work(), range(40))

    assert most == 4
    assert clock.monotonic() == 10.0


# -- 4. stop always gets through


def test_promise_4_stop_always_gets_through(clock: VirtualClock) -> None:
    """R16, R58: full channels, a blocked producer, a hung sink: it stops in time."""
    slow_sink = Gate()

    def sink(result: JobResult) -> None:
        slow_sink.pass_through()

    pipeline = Pipeline(
        2,
        cpu_workers=1,
        capacity=1,
        sink=sink,
        producers=[(Job(square, n) for n in itertools.count())],
    )
    pipeline.start()
    slow_sink.wait_arrived()
    clock.settle()  # everything is full, down to the producer
    with pytest.raises(MailboxFull):
        pipeline.scope(wait=5).submit(square, 1)
    pipeline.scope(kind="cpu", delay=100).submit(square, 1)
    clock.settle()

    report = pipeline.stop(timeout=10)

    assert clock.monotonic() <= 5.0 + 10.0 + 1.0
    assert report.unsettled == 0
    assert report.returned > 0
    assert sums_up(pipeline)
    slow_sink.open()


# -- 5. restart keeps the ref and the mailbox


class Fragile(Worker):
    made = 0

    def on_start(self) -> None:
        type(self).made += 1

    def handle(self, job: Job) -> Any:
        if job.payload == "crash":
            self.source = Broken()
        return job.payload


class Broken:
    """A source whose item the worker cannot take: the next step crashes it."""

    def take(self, wake: object) -> object:
        return object()

    def withdraw(self, wake: object) -> None:
        pass


def test_promise_5_restart_keeps_the_ref_and_the_mailbox(clock: VirtualClock) -> None:
    """R1, R2, R3: another worker follows one that crashed; no job is lost or twice."""
    Fragile.made = 0
    events: list[Any] = []
    pipeline = Pipeline(1, cpu_workers=1, worker_class=Fragile)
    pipeline.add_listener(events.append)
    with pipeline:
        payloads = ["a", "crash", "b", "crash", "c"]
        futures = [pipeline.submit_job(Job(p)) for p in payloads]

        assert [f.result() for f in futures] == payloads

    restarts = [e for e in events if isinstance(e, ChildRestarted)]
    assert [e.child for e in restarts] == ["io-worker-0"] * 2
    assert Fragile.made == 3
    assert pipeline.report().succeeded == 5


def test_a_job_in_a_dead_workers_hand_is_accounted_for_once(
    clock: VirtualClock,
) -> None:
    """R12, R59: what its thread says later is stale."""
    gate = Gate()
    with Pipeline(1, cpu_workers=1, retry=1) as pipeline:
        runs: list[int] = []

        def work() -> str:
            runs.append(1)
            if len(runs) == 1:
                gate.pass_through()
                return "late"
            return "second"

        future = pipeline.submit(work)
        gate.wait_arrived()
        run = pipeline._present
        assert run is not None
        run.ledger.worker_died("io-worker-0", 1, "its thread was lost")
        gate.open()  # what the lost thread says now comes too late

        assert future.result() == "second"
        first, second = future.job_result().attempts
        assert isinstance(first.error, WorkerDied)
        assert second.error is None
        assert pipeline.snapshot().late == 1


def test_late_news_of_a_dead_worker_harms_no_job_of_the_next(
    clock: VirtualClock,
) -> None:
    """R12, R19: it names the incarnation."""
    gate = Gate()
    with Pipeline(1, cpu_workers=1, worker_class=Fragile) as pipeline:
        pipeline.submit_job(Job("crash")).result()
        future = pipeline.submit(gate.pass_through)
        gate.wait_arrived()
        run = pipeline._present
        assert run is not None
        run.ledger.worker_died("io-worker-0", 1, "news of the one before")
        gate.open()

        assert future.result() is None
        assert len(future.job_result().attempts) == 1


# -- 6. time is injected


def test_promise_6_time_is_injected() -> None:
    """R90: a day of backoff in milliseconds, with the same outcome each run."""

    def once() -> list[float]:
        with VirtualClock(auto_advance=True) as clock:
            at: list[float] = []

            def failing() -> None:
                at.append(clock.monotonic())
                raise OSError

            policy = RetryPolicy(8, initial=600, maximum=30_000)
            with Pipeline(2, cpu_workers=1, retry=policy) as pipeline:
                pipeline.submit(failing).exception()
            return at

    first, again = once(), once()

    assert first == again
    assert len(first) == 9
    assert first[-1] > 10_000


# -- 7. you can see it


def test_promise_7_you_can_see_it(clock: VirtualClock) -> None:
    """Events, report, dead letters, metrics and the sink tell the same story."""
    events: list[Any] = []
    told: list[JobResult] = []

    def work(n: int) -> int:
        if n % 4 == 0:
            raise KeyError(n)
        return n

    pipeline = Pipeline(3, cpu_workers=1, sink=told.append)
    pipeline.add_listener(events.append)
    with pipeline:
        for n in range(40):
            pipeline.submit(work, n)
        pipeline.wait()
        snapshot = pipeline.snapshot()

    report = pipeline.report()
    settled = [e.result for e in events if isinstance(e, JobSettled)]
    assert (report.succeeded, report.dead) == (30, 10)
    assert {r.id for r in told} == {r.id for r in settled} == set(range(1, 41))
    assert len(pipeline.dead_letters) == 10
    assert sum(r.status is JobStatus.DEAD for r in settled) == 10
    assert sum(isinstance(e, JobBegan) for e in events) == 40
    assert snapshot.report == report
    assert snapshot.queue_depth[JobKind.IO] == 0


# -- the standard library's view


@pytest.mark.real
def test_it_is_an_executor_for_those_who_take_one() -> None:
    with Pipeline(4, cpu_workers=1, capacity=None) as pipeline:
        futures = [pipeline.submit(square, n) for n in range(100)]
        done, left = concurrent.futures.wait(futures, timeout=30)
        finished = list(concurrent.futures.as_completed(futures, timeout=30))

    assert len(done) == len(finished) == 100
    assert not left
    assert threading.active_count() >= 1


def test_a_returned_jobs_future_says_so(clock: VirtualClock) -> None:
    gate = Gate()
    pipeline = Pipeline(1, cpu_workers=1)
    begun = pipeline.submit(gate.pass_through)
    gate.wait_arrived()
    waiting = pipeline.submit(square, 1)

    report = pipeline.stop(timeout=0)

    assert isinstance(begun.exception(), ShutdownTimeout)
    assert waiting.cancelled()
    assert {j.id for j in report.unfinished} == {1, 2}
    gate.open()
