"""Everything at once, in every order: nothing is lost or told twice, all ends."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import pytest

from actors import Job, JobFuture, JobResult, RetryPolicy, Worker, sleep
from actors.errors import (
    HeadraceError,
    ProducerError,
    SinkError,
)
from actors.events import JobSettled
from supervision import Pipeline
from supervision.supervisor import SupervisorGaveUp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors import ActorRef, Report
    from actors.testing import VirtualClock
    from supervision.scope import Scope

PARTS = range(6)
SUBMITTERS = 3
STEPS = 25


class Poison:
    """A control message that ends whoever reads it with an error."""

    @property  # type: ignore[misc]  # no loop expects it either
    def __class__(self) -> Any:
        raise RuntimeError("poison")


class Broken:
    """A source whose item the worker cannot take: the next step crashes it."""

    def take(self, wake: Any) -> object:
        return object()

    def withdraw(self, wake: Any) -> None:
        pass


class Clumsy(Worker):
    """Breaks its own thread after the payload ``crash``."""

    def handle(self, job: Job) -> Any:
        if job.payload == "crash":
            self.source = Broken()
        return job.payload


class Chaos:
    """One pipeline, what was asked of it, and what it told."""

    def __init__(self, clock: VirtualClock, seed: str) -> None:
        self.clock = clock
        self.rng = rng = random.Random(seed)
        self.lock = clock.lock()
        self.futures: list[JobFuture] = []
        self.told: list[JobResult] = []
        self.settled: Counter[int] = Counter()
        self.running = self.most = 0
        self.slow_sink = rng.choice([0.0, 0.0, 0.05, 2.0])
        self.bad_sink = rng.random() < 0.2
        self.workers = rng.randint(1, 4)
        self.pipeline = Pipeline(
            self.workers,
            cpu_workers=1,
            capacity=rng.choice([1, 2, 10, None]),
            max_delayed=rng.choice([1, 3, 10_000]),
            nested_capacity=rng.choice([2, 10_000]),
            retry=rng.choice([None, RetryPolicy(2, initial=0.5)]),
            timeout=rng.choice([None, 5.0]),
            worker_class=Clumsy,
            producers=[self.produce()] if rng.random() < 0.5 else [],
            sink=self.sink,
            on_sink_error=rng.choice(["stop", "continue"]),
            clock=clock,
        )
        self.pipeline.add_listener(self.listen)

    # -- what the pipeline calls

    def sink(self, result: JobResult) -> None:
        self.told.append(result)
        if self.slow_sink:
            self.clock.sleep(self.slow_sink)
        if result.id % 7 == 0:
            self.submit(self.pipeline, self.work, 0.0)
        if self.bad_sink and result.id % 10 == 0:
            raise OSError("bad sink")

    def listen(self, event: object) -> None:
        if isinstance(event, JobSettled):
            with self.lock:
                self.settled[event.result.id] += 1
            if event.result.id % 11 == 0:
                raise ValueError("bad listener")

    def produce(self) -> Iterator[Any]:
        for n in range(30):
            yield Job(self.work, n / 100) if n % 3 else n
        if self.seed_is_odd:
            raise OSError("bad source")

    @property
    def seed_is_odd(self) -> bool:
        return bool(self.workers % 2)

    # -- jobs

    def work(self, seconds: float) -> float:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            sleep(seconds)
        finally:
            with self.lock:
                self.running -= 1
        return seconds

    def stubborn(self, seconds: float) -> None:
        self.clock.sleep(seconds)  # sees no token

    def fail(self, error: type[BaseException]) -> None:
        raise error

    def parent(self, children: int) -> list[Any]:
        futures = []
        for _ in range(children):
            future = self.submit(self.pipeline, self.work, 0.01)
            if future is not None:
                futures.append(future)
        return [future.result() for future in futures]

    # -- what hosts do

    def submit(
        self, scope: Scope, fn: Callable[..., Any], *args: Any
    ) -> JobFuture | None:
        with contextlib.suppress(HeadraceError):
            future = scope.submit(fn, *args)
            self.futures.append(future)
            return future
        return None

    def host(self, seed: float) -> None:
        rng = random.Random(seed)
        scope = self.pipeline.scope("host", wait=rng.choice([True, True, 0.5]))
        for _ in range(STEPS):
            self.step(rng, scope)

    def step(self, rng: random.Random, scope: Scope) -> None:
        pipeline, what = self.pipeline, rng.random()
        if what < 0.35:
            self.submit(scope, self.work, rng.choice([0.0, 0.1, 3.0]))
        elif what < 0.45:
            later = pipeline.scope(delay=rng.choice([0.1, 1.0, 50.0]), wait=1.0)
            self.submit(later, self.work, 0.1)
        elif what < 0.57:
            error = rng.choice([OSError, TypeError, SystemExit, GeneratorExit])
            self.submit(scope, self.fail, error)
        elif what < 0.62:
            self.submit(scope, self.parent, rng.randint(1, 3))
        elif what < 0.64:
            self.submit(scope, self.stubborn, rng.choice([1.0, 100.0]))
        elif what < 0.70:
            with contextlib.suppress(HeadraceError):
                payload: Any = rng.choice([None, [], "crash"])
                self.futures.append(scope.submit_job(Job(payload)))
        elif what < 0.85:
            self.give_up_something(rng, scope)
        elif what < 0.93:
            self.clock.sleep(rng.choice([0.0, 0.1, 1.0]))
        else:
            self.hurt(rng)

    def give_up_something(self, rng: random.Random, scope: Scope) -> None:
        what = rng.random()
        if what < 0.7 and self.futures:
            future = rng.choice(self.futures)
            future.add_done_callback(self.on_done)
            future.cancel()
        elif what < 0.8:
            scope.cancel("the host changed its mind")
        elif what < 0.9:
            with contextlib.suppress(HeadraceError, CancelledError):
                values = self.pipeline.map(self.work, [0.1] * 9, buffersize=3)
                next(values)
                values.close()  # type: ignore[attr-defined]
        else:
            self.pipeline.snapshot()

    def on_done(self, future: Any) -> None:
        if future.job.id % 3 == 0:
            self.submit(self.pipeline, self.work, 0.0)
        if future.job.id % 5 == 0:
            raise OSError("bad callback")

    def hurt(self, rng: random.Random) -> None:
        """Crash a stage, or tell the ledger that a worker's thread was lost."""
        run = self.pipeline._present
        assert run is not None
        assert run.tree is not None
        name = rng.choice(["collector", "dispatcher", "worker", "lost"])
        worker = f"io-worker-{rng.randrange(self.workers)}"
        workers: Any = run.tree.ref("workers")
        if name == "lost":
            cell = workers.ref(worker).cell
            run.ledger.worker_died(worker, cell.number, "its thread was lost")
            return
        victim: ActorRef[Any] = (
            workers.ref(worker) if name == "worker" else run.tree.ref(name)
        )
        victim.tell_control(Poison())

    def end(self) -> Report:
        rng, pipeline = self.rng, self.pipeline
        self.clock.sleep(rng.choice([0.0, 0.5, 5.0, 500.0]))
        how = rng.random()
        if how < 0.2:
            pipeline.shutdown(cancel_futures=rng.random() < 0.5)
        elif how < 0.3:
            pipeline.shutdown(wait=False)
        elif how < 0.4:
            pipeline.stop_now("now")
        elif how < 0.5:
            with contextlib.suppress(HeadraceError):
                pipeline.drain(3.0)
        limit = rng.choice([0.0, 0.1, 3.0, 25.0])
        began = self.clock.monotonic()
        report = pipeline.stop(limit)
        assert self.clock.monotonic() - began <= limit + 0.5
        return report

    # -- what must be true

    def check(self, report: Report) -> None:
        ids = {future.job.id for future in self.futures}
        told = Counter(result.id for result in self.told)
        assert report.unsettled == 0
        assert report.accepted == sum(self.settled.values())
        assert len(ids) == len(self.futures) <= report.accepted
        assert set(told.values()) <= {1}
        assert set(self.settled.values()) <= {1}
        undelivered = {result.id for result in report.undelivered}
        assert told.keys() | undelivered == self.settled.keys()
        assert all(future.done() for future in self.futures)
        by_id = {result.id: result for result in [*self.told, *report.undelivered]}
        for future in self.futures:
            result = future.job_result()
            assert result is by_id[result.id]
        assert self.most <= self.workers


@pytest.fixture
def clock_options() -> dict[str, Any]:
    return {"auto_advance": True, "hard_timeout": 60}


@pytest.mark.concurrent
@pytest.mark.parametrize("part", PARTS)
def test_chaos_loses_nothing_and_tells_nothing_twice(
    clock: VirtualClock, clock_seed: int | None, part: int
) -> None:
    """R7, R12, R52: whatever crashes, and when."""
    chaos = Chaos(clock, f"part {part} of seed {clock_seed}")
    chaos.pipeline.start()
    hosts = [
        clock.thread(chaos.host, args=[chaos.rng.random()], name=f"host-{n}")
        for n in range(SUBMITTERS)
    ]
    for host in hosts:
        host.start()

    report = chaos.end()

    for host in hosts:
        clock.join(host)
    with contextlib.suppress(ProducerError, SinkError, SupervisorGaveUp):
        chaos.pipeline.wait()
    clock.sleep(1000)  # whoever was left behind ends, and changes nothing
    assert chaos.pipeline.report() == report
    chaos.check(report)
