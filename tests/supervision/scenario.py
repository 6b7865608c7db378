"""Fifteen actors on the library's own parts, whose run under a seed is one trace.

A pipeline (a producer, a dispatcher, four io workers, a cpu worker, a collector) runs
some thirty jobs, of which some fail, one crashes its worker with the job in hand, one
crashes it later, one is too slow and one is cancelled.  Beside it a tree of its own: an
archive with a small mailbox that the sink tells each result, a clerk that stamps dead
letters and crashes once, and a ticker that asks both twice a second.  All times are
multiples of a tenth of a second but for the jitter, so that much falls on one instant.

:Runs on: the test thread; the actors on theirs.
:Owns: nothing; each run has its own.
"""

from __future__ import annotations

import hashlib
import random
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from actors import (
    Actor,
    Job,
    JobFuture,
    JobResult,
    RetryPolicy,
    Worker,
    sleep,
)
from actors.errors import HeadraceError
from actors.testing import VirtualClock, VirtualExecutor
from supervision import Backoff, ChildSpec, Pipeline, Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import ActorRef, Report

JOBS = 24


class Step(NamedTuple):
    """One event of the trace."""

    time_ns: int
    actor: str
    event: str


class Trace(list[Step]):
    """What happened, in order."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def note(self, event: str) -> None:
        now = round(self._clock.monotonic() * 1e9)
        self.append(Step(now, threading.current_thread().name, event))

    def by_actor(self) -> tuple[tuple[str, tuple[tuple[int, str], ...]], ...]:
        """The events of each actor in its own order: what others do is left out."""
        actors: dict[str, list[tuple[int, str]]] = {}
        for step in self:
            actors.setdefault(step.actor, []).append((step.time_ns, step.event))
        return tuple((actor, tuple(actors[actor])) for actor in sorted(actors))


class Boom(Exception):
    """A failure on purpose."""


class Clumsy(Worker):
    """Fails with the first job of a key in hand, or right after it."""

    crashed: set[str]  # shared by the workers of one run

    def on_item(self, item: Any) -> None:
        key = str(item.entry.job.key)
        first = key not in self.crashed
        self.crashed.add(key)
        if key == "crash in it" and first:
            raise Boom(key)
        super().on_item(item)
        if key == "crash after it" and first:
            raise Boom(key)

    def handle(self, job: Job) -> Any:
        return job.payload


class Archive(Actor):
    """Keeps each result, and takes its time for it."""

    capacity = 2

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace
        self._kept = 0

    def on_receive(self, message: Any) -> Any:
        if message == "how many?":
            return self._kept
        self.clock.sleep(0.05)
        self._kept += 1
        self._trace.note(f"keeps {message}")
        return None


class Clerk(Actor):
    """Tells the dead letters with their stamps; crashes at the third question."""

    def __init__(self, trace: Trace, pipeline: Pipeline) -> None:
        super().__init__()
        self._trace = trace
        self._pipeline = pipeline
        self._asked = 0

    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise Boom("the clerk")
        self._asked += 1
        if self._asked == 3 and self.incarnation == 1:
            self.actor_ref.tell("crash")
        letters = [
            f"{x.id} at {x.died_at:%M:%S.%f}" for x in self._pipeline.dead_letters
        ]
        self._trace.note(f"dead: {letters}")
        return len(letters)


class Ticker(Actor):
    """Asks the others, twice a second."""

    def __init__(
        self, trace: Trace, archive: ActorRef[Any], clerk: ActorRef[Any]
    ) -> None:
        super().__init__()
        self._trace = trace
        self._others = (archive, clerk)
        self._ticks = 0

    def on_start(self) -> None:
        self.schedule(0.5, "tick")

    def on_control(self, message: object) -> None:
        self._ticks += 1
        self.schedule(0.5, "tick")
        archive, clerk = self._others
        kept, dead = archive.ask("how many?"), clerk.ask("how many?")
        self._trace.note(f"tick {self._ticks}: {kept} kept, {dead} dead")


class Scenario:
    """One run; its trace is complete when ``play`` has returned."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.trace = Trace(clock)
        self.archive: ActorRef[Any] | None = None
        self.failures: dict[int, int] = {}
        worker = type("Clumsy", (Clumsy,), {"crashed": set()})
        self.pipeline = Pipeline(
            4,
            cpu_workers=VirtualExecutor(clock, duration=0.3, max_workers=1),
            capacity=3,
            retry=RetryPolicy(2, initial=0.2),
            worker_class=worker,
            producers=[self.produce()],
            sink=self.sink,
            clock=clock,
            name="mill",
        )
        self.pipeline.add_listener(self.hear)

    def play(self) -> Report:
        self.trace.note("begins")
        with Supervisor.start(
            "one_for_one",
            self.children(),
            intensity=6,
            on_event=self.hear,
            clock=self.clock,
        ) as tree:
            self.archive = tree.ref("archive")
            self.pipeline.start()
            hosts = [
                self.clock.thread(host, name=host.__name__)
                for host in (self.submits, self.cancels)
            ]
            for host in hosts:
                host.start()
            for host in hosts:
                self.clock.join(host)
            self.pipeline.wait()
            report = self.pipeline.stop()
            self.clock.sleep(1.0)
        self.trace.note(f"ends with {report.succeeded} of {report.accepted}")
        return report

    def children(self) -> list[ChildSpec[Any]]:
        archive = ChildSpec(Archive, (self.trace,), id="archive")
        clerk = ChildSpec(
            Clerk,
            (self.trace, self.pipeline),
            id="clerk",
            backoff=Backoff(first_immediate=False),
        )
        ticker = ChildSpec(
            Ticker,
            (self.trace,),
            lambda siblings: {
                "archive": siblings.ref(archive),
                "clerk": siblings.ref(clerk),
            },
            id="ticker",
        )
        return [archive, clerk, ticker]

    # -- jobs

    def produce(self) -> Iterator[Job]:
        for number in range(JOBS):
            yield self.job(number)

    def job(self, number: int) -> Job:
        match number % 12:
            case 3:
                return Job(self.fails, number, 1, key="fails once")
            case 5:
                return Job(self.fails, number, 9, key="dies")
            case 6:
                return Job(self.work, 0.2, key="crash in it")
            case 7:
                return Job(self.work, 5.0, timeout=0.4, key="too slow")
            case 8:
                return Job(abs, -number, kind="cpu", key="cpu")
            case 9:
                return Job(self.work, 0.1, delay=0.7, key="late")
            case 10:
                return Job(self.work, 0.1, key="crash after it")
            case _:
                return Job(self.work, number % 4 / 10, key="plain")

    def work(self, seconds: float) -> float:
        sleep(seconds)
        return seconds

    def fails(self, number: int, times: int) -> int:
        sleep(0.1)
        failed = self.failures[number] = self.failures.get(number, 0) + 1
        if failed <= times:
            raise Boom(f"job {number}, time {failed}")
        return failed

    # -- hosts

    def submits(self) -> None:
        scope = self.pipeline.scope("submits", wait=0.3)
        for number in range(4):
            try:
                value = scope.submit(self.work, number / 10).result(0.5)
                self.trace.note(f"has {value}")
            except (HeadraceError, TimeoutError) as error:
                self.trace.note(f"gets {type(error).__name__}")

    def cancels(self) -> None:
        futures: list[JobFuture] = []
        for _ in range(3):
            self.clock.sleep(0.3)
            futures.append(self.pipeline.submit(self.work, 0.5))
            self.clock.sleep(0.3)
            self.trace.note(f"cancelled: {futures[-1].cancel()}")

    # -- what happens

    def sink(self, result: JobResult) -> None:
        assert self.archive is not None
        self.archive.tell(f"{result.id} {result.status.value}")

    def hear(self, event: Any) -> None:
        words = [type(event).__name__]
        for name in ("job", "worker", "attempt", "result", "child", "incarnation"):
            value = getattr(event, name, None)
            if isinstance(value, Job):
                value = f"{value.id} {value.key}"
            elif isinstance(value, JobResult):
                value = f"{value.id} {value.status.value} {value.duration:.9f}"
            elif name == "attempt" and value is not None and not isinstance(value, int):
                value = f"{value.number} {type(value.error).__name__}"
            if value is not None:
                words.append(str(value))
        for name in ("due_at", "delay", "kind"):
            value = getattr(event, name, None)
            if value is not None:
                words.append(f"{name}={value}")
        self.trace.note(" ".join(words))


class Outcome(NamedTuple):
    """What one run came to."""

    trace: Trace
    schedule: list[str]
    choices: list[tuple[int, int]]
    report: Report

    @property
    def digest(self) -> str:
        """Of the whole trace and of who ran when."""
        return digest(self.trace, self.schedule)

    @property
    def behaviour(self) -> str:
        """Of what each actor went through, whoever else ran in between."""
        return digest(self.trace.by_actor())


def digest(*values: Any) -> str:
    return hashlib.blake2b(repr(values).encode(), digest_size=12).hexdigest()


def run(clock: VirtualClock) -> Outcome:
    """Play the scenario on a clock that nobody has entered yet."""
    with clock:
        scenario = Scenario(clock)
        report = scenario.play()
    return Outcome(scenario.trace, clock.schedule, clock.choices, report)


def run_seed(seed: int, **options: Any) -> Outcome:
    """Play it under a seed of ``explore``'s."""
    return run(VirtualClock.for_seed(seed, auto_advance=True, **options))


def run_order(seed: int, **options: Any) -> Outcome:
    """Play it in a seed's order, with the same jitter for every seed."""
    clock = VirtualClock.for_seed(seed, auto_advance=True, **options)
    clock.rng = random.Random(0)
    return run(clock)
