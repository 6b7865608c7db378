"""The pipeline's own tree under fire: whoever crashes, and when, no job is lost.

A stage is crashed by a control message that cannot be read, which its loop meets before
anything else, and between two jobs at the latest.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import pytest

from actors import (
    Ignore,
    Job,
    JobResult,
    JobStatus,
    Producer,
    RetryPolicy,
    Worker,
    checkpoint,
    sleep,
)
from actors.errors import MailboxClosed, ProducerError, ShutdownTimeout, WorkerDied
from actors.events import (
    ChildDown,
    ChildLeftDown,
    ChildRestarted,
    JobSettled,
    RestartScheduled,
)
from actors.testing import Gate, VirtualClock, VirtualExecutor
from supervision import ChildSpec, Pipeline, StartFailed, SupervisorGaveUp
from supervision.crew import MOST_FAILURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors import ActorRef, Report

pytestmark = pytest.mark.concurrent

JOBS = 1000
TOLD = (MailboxClosed, CancelledError, ShutdownTimeout)  # whoever still wants a job


@pytest.fixture
def clock_options() -> dict[str, Any]:
    return {"auto_advance": True}


# -- what crashes, and what runs


class Poison:
    """A control message that ends whoever reads it with an error."""

    @property  # type: ignore[misc]  # no loop expects it either
    def __class__(self) -> Any:
        raise RuntimeError("poison")


STAGES = (
    "collector",
    "dispatcher",
    "workers",
    "workers/io-worker-0",
    "workers/cpu-worker-0",
    "producers",
    "producers/producer-0",
)


def ref_of(pipeline: Pipeline, path: str) -> ActorRef[Any]:
    run = pipeline._present
    assert run is not None
    ref: Any = run.tree
    for name in path.split("/"):
        ref = ref.ref(name)
    return ref  # type: ignore[no-any-return]


def crash(pipeline: Pipeline, path: str, *, times: int = 1) -> None:
    """Crash a stage; it keeps its mailbox, so its next incarnations crash too."""
    ref = ref_of(pipeline, path)
    for _ in range(times):
        ref.tell_control(Poison())


def square(x: int) -> int:
    return x * x


def nap(seconds: float) -> float:
    sleep(seconds)
    return seconds


HELD: dict[str, Gate] = {}


def hold(name: str) -> str:
    """Wait at a gate; looks at no token, as most jobs do not."""
    HELD[name].pass_through()
    return name


class Plant:
    """A pipeline with all that it may have, and what it told.

    Its producer brings ten jobs; ``hold`` opens at once unless a test closes it.
    """

    def __init__(self, clock: VirtualClock, **options: Any) -> None:
        self.clock = clock
        self.told: list[int] = []
        self.settled: Counter[int] = Counter()
        self.downs: list[ChildDown] = []
        self.futures: list[Any] = []
        self.sink_gate = Gate()
        self.held_result: int | None = None
        options.setdefault("producers", [self.source()])
        options.setdefault("retry", RetryPolicy(2, initial=0.01))
        self.pipeline = Pipeline(
            2,
            cpu_workers=VirtualExecutor(max_workers=2),
            sink=self.sink,
            name="plant",
            **options,
        )
        self.pipeline.add_listener(self.listen)
        self.cpu = self.pipeline.scope("cpu", kind="cpu")
        HELD.clear()
        HELD.update(io=Gate(), cpu=Gate(), sink=self.sink_gate)

    def source(self) -> Iterator[Job]:
        for n in range(10):
            self.clock.sleep(0.01)
            yield Job(square, n)

    def sink(self, result: JobResult) -> None:
        self.told.append(result.id)
        if result.id == self.held_result:
            self.sink_gate.pass_through()

    def listen(self, event: object) -> None:
        if isinstance(event, JobSettled):
            self.settled[event.result.id] += 1
        elif isinstance(event, ChildDown):
            self.downs.append(event)

    def submit(self) -> None:
        """Some of each: at once, later, in a process."""
        later = self.pipeline.scope("later", delay=0.05)
        for n in range(3):
            self.futures.append(self.pipeline.submit(square, n))
            self.futures.append(self.cpu.submit(square, n))
            self.futures.append(later.submit(square, n))

    def open(self) -> None:
        for gate in HELD.values():
            gate.open()

    def check(self, report: Report) -> None:
        """Each job ended once, and was told once or stands in the report."""
        assert report.unsettled == 0
        assert report.accepted == (
            report.succeeded + report.dead + report.cancelled + report.returned
        )
        assert all(future.done() for future in self.futures)
        assert sum(self.settled.values()) == report.accepted
        assert set(self.settled.values()) <= {1}
        undelivered = [result.id for result in report.undelivered]
        assert len(self.told) == len(set(self.told))
        assert set(self.told) | set(undelivered) == set(self.settled)


# -- whoever crashes, and when


def is_idle(plant: Plant) -> None:
    plant.submit()
    plant.pipeline.wait()


def has_jobs_in_hand(plant: Plant) -> None:
    for kind, scope in (("io", plant.pipeline), ("cpu", plant.cpu)):
        plant.futures += [scope.submit(hold, kind) for _ in range(2)]
    for kind in ("io", "cpu"):
        HELD[kind].wait_arrived(count=2)
    plant.submit()


def has_a_result_in_hand(plant: Plant) -> None:
    plant.held_result = 1
    plant.futures.append(plant.pipeline.submit(square, 1))
    plant.sink_gate.wait_arrived()
    plant.submit()


def is_draining(plant: Plant) -> None:
    has_jobs_in_hand(plant)
    drain = plant.clock.thread(plant.pipeline.drain, name="drain", daemon=True)
    drain.start()
    plant.clock.settle()


def is_stopping(plant: Plant) -> None:
    has_jobs_in_hand(plant)
    stop = plant.clock.thread(plant.pipeline.stop, name="stop", daemon=True)
    stop.start()
    plant.clock.settle()


MOMENTS = [is_idle, has_jobs_in_hand, has_a_result_in_hand, is_draining, is_stopping]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("stage", STAGES)
def test_a_crash_loses_no_job_and_doubles_none(
    clock: VirtualClock, stage: str, moment: Callable[[Plant], None], times: int
) -> None:
    """R4, R7, R12, R53, R54: the ledger outlives every stage."""
    plant = Plant(clock)
    plant.pipeline.start()
    moment(plant)

    crash(plant.pipeline, stage, times=times)
    clock.settle()
    plant.open()
    if moment not in {is_draining, is_stopping}:
        plant.futures.append(plant.pipeline.submit(square, 7))
    report = plant.pipeline.stop(60)

    plant.check(report)
    assert all(future.exception() is None for future in plant.futures)
    assert report.ok
    # One that had nothing more to do may have been gone by then.
    if moment is has_jobs_in_hand and not stage.startswith("producers"):
        crashes = [down for down in plant.downs if down.kind == "failed"]
        assert {down.child for down in crashes} == {stage.rpartition("/")[2]}
        assert len(crashes) <= times


@pytest.mark.parametrize("stage", ["collector", "dispatcher", "workers"])
def test_a_stage_may_crash_as_often_as_its_window_lets_it(
    clock: VirtualClock, stage: str
) -> None:
    """R42: its supervisor's window slides; crashes now and then end nothing."""
    plant = Plant(clock)
    with plant.pipeline as pipeline:
        for n in range(20):
            plant.futures.append(pipeline.submit(square, n))
            crash(pipeline, stage)
            clock.sleep(2)

    plant.check(pipeline.report())
    assert pipeline.report().succeeded == 30


def test_workers_restart_under_load(clock: VirtualClock) -> None:
    """R52: a storm of crashes, each followed by one restart."""
    restarts = Counter[str]()

    def count(event: object) -> None:
        if isinstance(event, ChildRestarted):
            restarts[event.child] += 1

    plant = Plant(clock)
    plant.pipeline.add_listener(count)
    names = [f"{kind}-worker-{n}" for kind in ("io", "cpu") for n in range(2)]
    with plant.pipeline as pipeline:
        for n in range(200):
            scope = plant.cpu if n % 4 == 0 else pipeline
            plant.futures.append(scope.submit(nap, 0.01 * (n % 3)))
            if n % 10 == 0:
                crash(pipeline, f"workers/{names[n // 10 % 4]}")
        clock.sleep(1)

    plant.check(pipeline.report())
    assert pipeline.report().succeeded == 210
    assert restarts == dict.fromkeys(names, 5)


def test_a_crashed_sinks_result_stands_in_the_report(clock: VirtualClock) -> None:
    """R4: what was handed to a sink is not given to it again."""

    class Letters(list[Any]):
        def add(self, result: JobResult) -> None:
            raise OSError("the disk is full")

    plant = Plant(clock, retry=None, dead_letters=Letters(), producers=[])
    with plant.pipeline as pipeline:
        plant.futures += [
            pipeline.submit(int, text) for text in ("1", "no number", "3")
        ]

    report = pipeline.report()
    plant.check(report)
    assert [result.id for result in report.undelivered] == [2]
    assert sorted(plant.told) == [1, 3]


def test_a_delayed_job_outlives_dispatchers(clock: VirtualClock) -> None:
    """R13: a delayed job is data in the ledger, not a timer of its dispatcher."""
    with Pipeline(1, cpu_workers=1) as pipeline:
        future = pipeline.scope(delay=60).submit(clock.monotonic)
        for _ in range(5):
            clock.sleep(10)
            crash(pipeline, "dispatcher")

        assert future.result() == 60.0


class Stall:
    """A control message that holds up whoever reads it."""

    def __init__(self) -> None:
        self.gate = Gate()

    @property  # type: ignore[misc]  # no loop expects it either
    def __class__(self) -> Any:
        self.gate.pass_through()
        return Stall


@pytest.mark.parametrize("kind", ["io", "cpu"])
def test_a_job_that_obeyed_its_workers_stop_is_tried_again(
    clock: VirtualClock, kind: str
) -> None:
    """R7: nobody has cancelled it; its supervisor restarts, that is all."""
    plant = Plant(clock)
    with plant.pipeline as pipeline:
        scope = pipeline.scope(kind=kind)
        futures = [scope.submit(nap, 10) for _ in range(3)]
        clock.sleep(1)
        crash(pipeline, "workers")

        assert [future.result() for future in futures] == [10, 10, 10]
        attempts = [future.job_result().attempts for future in futures]

    assert [len(each) for each in attempts] == [2, 2, 1]
    for first, _ in attempts[:2]:
        assert isinstance(first.error, WorkerDied)
        assert first.ran == 1.0
    assert 10.0 < clock.monotonic() < 35.0  # the executor cannot end a call


def test_a_job_that_obeyed_its_workers_stop_is_dead_without_a_retry(
    clock: VirtualClock,
) -> None:
    """R7: it is not cancelled, which would look as if somebody had wanted that."""
    plant = Plant(clock, retry=None)
    with plant.pipeline as pipeline:
        future = pipeline.submit(nap, 10)
        clock.sleep(1)
        crash(pipeline, "workers")
        with pytest.raises(WorkerDied, match="stops it"):
            future.result()

    assert (pipeline.report().dead, pipeline.report().cancelled) == (1, 0)


def test_old_news_of_a_worker_harms_no_later_one(clock: VirtualClock) -> None:
    """R12: also when that is the child of another supervisor, and counts from 1."""
    plant, stall, gate = Plant(clock, retry=None), Stall(), Gate()
    with plant.pipeline as pipeline:
        pipeline.wait()
        for _ in range(3):
            crash(pipeline, "workers/io-worker-0")
            crash(pipeline, "workers/io-worker-1")
            clock.sleep(1)
        ref_of(pipeline, "dispatcher").tell_control(stall)
        stall.gate.wait_arrived()
        crash(pipeline, "workers")
        clock.settle()
        plant.futures += [pipeline.submit(gate.pass_through) for _ in range(2)]
        gate.wait_arrived(count=2)
        stall.gate.open()
        clock.settle()
        gate.open()

    plant.check(pipeline.report())
    assert pipeline.report().ok


def test_a_worker_left_behind_in_its_start_harms_no_later_one(
    clock: VirtualClock,
) -> None:
    """R12, R59: when its ``__init__`` returns at last, another has followed it."""
    made, stuck, gate = itertools.count(1), Gate(), Gate()

    class Hangs(Worker):
        def __init__(self) -> None:
            super().__init__()
            if next(made) == 2:
                stuck.pass_through()

    with Pipeline(1, cpu_workers=1, worker_class=Hangs) as pipeline:
        crash(pipeline, "workers/io-worker-0")
        stuck.wait_arrived()
        future = pipeline.submit(gate.pass_through)
        gate.wait_arrived()  # in the third one, once the second is given up
        stuck.open()
        clock.settle()
        gate.open()

        assert future.result() is None
        assert len(future.job_result().attempts) == 1


# -- it gives up


def work_through(plant: Plant) -> None:
    for _ in range(JOBS):
        plant.futures.append(plant.pipeline.submit(nap, 0.01))
    plant.pipeline.wait()


def map_through(plant: Plant) -> None:
    for _ in plant.pipeline.map(nap, [0.01] * JOBS):
        pass


def take_results(plant: Plant) -> None:
    for _ in plant.pipeline.results(nap, [0.01] * JOBS):
        pass


def run_through(plant: Plant) -> None:
    plant.pipeline.run(nap, [0.01] * JOBS)


def leave_at_once(plant: Plant) -> None:
    for _ in range(JOBS):
        plant.futures.append(plant.pipeline.submit(nap, 0.01))


HOSTS = [work_through, map_through, take_results, run_through, leave_at_once]


@pytest.mark.parametrize("stage", ["collector", "dispatcher", "workers"])
@pytest.mark.parametrize("host", HOSTS, ids=lambda fn: fn.__name__)
@pytest.mark.parametrize("capacity", [10, None])
def test_giving_up_hands_every_unfinished_job_back(
    clock: VirtualClock,
    stage: str,
    host: Callable[[Plant], None],
    capacity: int | None,
) -> None:
    """R42, R43: nobody hangs, and what was not done is named."""
    plant = Plant(clock, capacity=capacity, producers=[])
    clock.call_later(1.0, lambda: crash(plant.pipeline, stage, times=4))

    with pytest.raises(Exception) as caught, plant.pipeline:  # noqa: PT011
        host(plant)

    report = plant.pipeline.report()
    plant.check(report)
    assert 0 < report.succeeded < JOBS
    assert report.returned == report.accepted - report.succeeded > 0
    assert {job.id for job in report.unfinished} == {
        future.job.id for future in plant.futures if not future_is_good(future)
    } or host in {map_through, take_results, run_through}
    assert len(report.unfinished) == report.returned
    error = caught.value
    if isinstance(error, SupervisorGaveUp):
        assert isinstance(error.__cause__, RuntimeError)
    else:  # the block itself was told that nothing more comes
        assert isinstance(error, TOLD)
        assert any("poison" in note for note in error.__notes__)
    assert clock.monotonic() < 20.0


def future_is_good(future: Any) -> bool:
    return not future.cancelled() and future.exception() is None


@pytest.mark.parametrize("stage", ["collector", "dispatcher", "workers"])
def test_wait_raises_what_the_pipeline_gave_up_at(
    clock: VirtualClock, stage: str
) -> None:
    """R43: from the cause, once; the end of the block raises it no second time."""
    plant = Plant(clock)
    with plant.pipeline as pipeline:
        later = pipeline.scope(delay=1000).submit(square, 1)
        crash(pipeline, stage, times=4)
        with pytest.raises(SupervisorGaveUp, match="poison") as caught:
            pipeline.wait()

        assert isinstance(caught.value.__cause__, RuntimeError)
        assert later.cancelled()
        with pytest.raises(MailboxClosed, match=r"it gave up.*poison"):
            pipeline.submit(square, 1)


@pytest.mark.parametrize("how", ["submit", "producer", "map", "nested"])
def test_whoever_waits_for_room_is_told(clock: VirtualClock, how: str) -> None:
    """R8, R43: submitters that are blocked on a full pipeline do not hang."""
    told: list[BaseException] = []
    producers = [[Job(hold, "io")] * 50] if how == "producer" else []

    def submit_many() -> None:
        try:
            if how == "map":
                for _ in pipeline.map(hold, ["io"] * 50):
                    pass
            else:
                for _ in range(50):
                    pipeline.submit(hold, "io")
        except BaseException as error:  # noqa: BLE001  # looked at below
            told.append(error)

    plant = Plant(clock, capacity=1, producers=producers)
    pipeline = plant.pipeline.start()
    hosts = [clock.thread(submit_many, name=f"host-{n}") for n in range(3)]
    for host in hosts:
        host.start()
    HELD["io"].wait_arrived(count=2)
    clock.settle()
    crash(pipeline, "collector", times=4)

    with pytest.raises(SupervisorGaveUp):
        pipeline.wait()
    for host in hosts:
        clock.join(host)

    assert len(told) == 3
    plant.open()
    assert all(isinstance(each, TOLD) for each in told)
    assert clock.monotonic() <= 7.0
    report = pipeline.stop()
    assert report.unsettled == 0
    assert len(report.unfinished) == report.accepted


@pytest.mark.parametrize("ending", ["drain", "stop", "shutdown"])
def test_an_end_under_way_is_cut_short(clock: VirtualClock, ending: str) -> None:
    """R43, R62: whoever drains a pipeline that gives up goes on, too."""
    plant = Plant(clock)
    pipeline = plant.pipeline.start()
    plant.futures += [pipeline.submit(hold, "io") for _ in range(6)]
    HELD["io"].wait_arrived(count=2)
    ender = clock.thread(getattr(pipeline, ending), name="ender")
    ender.start()
    clock.settle()
    crash(pipeline, "dispatcher", times=4)
    clock.join(ender)
    plant.open()

    assert clock.monotonic() <= 7.0
    assert pipeline.report().returned == 6
    assert pipeline.stopped.result().returned == 6
    with pytest.raises(SupervisorGaveUp):
        pipeline.wait()


def test_a_job_in_hand_is_handed_back_not_cancelled(clock: VirtualClock) -> None:
    """R43: it obeyed its token, and nobody had cancelled it."""
    plant = Plant(clock, retry=None, producers=[])
    with pytest.raises(SupervisorGaveUp), plant.pipeline as pipeline:
        in_hand = [pipeline.submit(sleep, 1000) for _ in range(2)]
        waiting = pipeline.submit(sleep, 1000)
        clock.sleep(1)
        crash(pipeline, "dispatcher", times=4)
        pipeline.wait()

    assert clock.monotonic() < 2.0
    for future in in_hand:
        assert isinstance(future.exception(), ShutdownTimeout)
        assert future.job_result().status is JobStatus.RETURNED
    assert waiting.cancelled()
    assert set(pipeline.report().unfinished) == {f.job for f in [*in_hand, waiting]}


def test_a_fatal_job_has_the_others_handed_back(clock: VirtualClock) -> None:
    """R69, R70: KeyboardInterrupt alone is fatal, and it costs no other job."""

    def interrupt() -> None:
        sleep(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Pipeline(2, cpu_workers=1) as pipeline:
        obeys = pipeline.submit(sleep, 1000)
        pipeline.submit(interrupt)
        waits = pipeline.submit(square, 1)
        pipeline.wait()

    report = pipeline.report()
    assert isinstance(obeys.exception(), ShutdownTimeout)
    assert waits.cancelled()
    assert (report.dead, report.returned, report.cancelled) == (1, 2, 0)
    assert clock.monotonic() < 2.0


def test_a_fatal_producer_has_the_jobs_handed_back(clock: VirtualClock) -> None:
    """R69: it is raised by the wait, the same object, whoever it came from."""
    error = KeyboardInterrupt()

    def source() -> Iterator[Job]:
        yield Job(square, 2)
        clock.sleep(1)
        raise error

    plant = Plant(clock, producers=[source(), (Job(nap, 100) for _ in range(9))])
    with pytest.raises(KeyboardInterrupt) as caught, plant.pipeline as pipeline:
        plant.futures.append(pipeline.submit(nap, 1000))
        pipeline.wait()

    plant.check(pipeline.report())
    assert caught.value is error
    report = pipeline.report()
    assert report.succeeded + report.returned == report.accepted == 11
    assert len(report.unfinished) >= 10
    assert clock.monotonic() < 2.0


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, BaseException])
def test_what_leaves_python_in_a_job_fails_that_job_alone(
    clock: VirtualClock, error: type[BaseException]
) -> None:
    """R70: the worker lives on."""

    def leave() -> None:
        raise error

    plant = Plant(clock, retry=None)
    with plant.pipeline as pipeline:
        assert type(pipeline.submit(leave).exception()) is error
        assert pipeline.submit(square, 3).result() == 9

    assert all(down.kind == "shutdown" for down in plant.downs if "w" in down.child)


def test_a_given_up_pipeline_may_start_again(clock: VirtualClock) -> None:
    """R43: a new run has a new tree, and new sums."""
    pipeline = Pipeline(1, cpu_workers=1).start()
    crash(pipeline, "collector", times=4)
    clock.settle()
    with pytest.raises(SupervisorGaveUp):
        pipeline.wait()

    with pipeline:
        assert pipeline.submit(square, 4).result() == 16
    assert pipeline.report().accepted == 1


# -- it does not start


class Weak(Worker):
    """Fails where it is told to."""

    fails: str | None = None
    only: tuple[str, ...] | None = None  # which workers do; all by default
    error: Exception = OSError("the database is down")

    def __init__(self) -> None:
        super().__init__()
        self._fail("__init__")

    def on_start(self) -> None:
        self._fail("on_start")

    def _fail(self, where: str) -> None:
        mine = self.only is None or self.wiring.name in self.only  # type: ignore[union-attr]
        if self.fails == where and mine:
            raise self.error


@pytest.fixture(autouse=True)
def _weak_is_well() -> Iterator[None]:
    yield
    Weak.fails, Weak.only = None, None
    Weak.error = OSError("the database is down")


def initialize() -> None:
    if Weak.fails == "initializer":
        raise Weak.error


class WeakSource(Producer):
    def on_start(self) -> None:
        if Weak.fails == "producer":
            raise Weak.error

    def produce(self) -> Iterator[Any]:
        yield Job(square, 2)


@pytest.mark.parametrize("how", ["with", "start", "submit", "map"])
@pytest.mark.parametrize("where", ["__init__", "on_start", "initializer", "producer"])
def test_a_pipeline_that_cannot_start_says_which_child_failed(
    clock: VirtualClock, where: str, how: str
) -> None:
    """R28: what has started is stopped, nothing hangs, and a second start may do."""
    Weak.fails = where
    pipeline = Pipeline(
        2,
        cpu_workers=VirtualExecutor(max_workers=1),
        worker_class=Weak,
        producers=[WeakSource()],
        initializer=initialize,
        name="p",
    )
    ways: dict[str, Callable[[], Any]] = {
        "with": pipeline.__enter__,
        "start": pipeline.start,
        "submit": lambda: pipeline.submit(square, 1),
        "map": lambda: list(pipeline.map(square, [1])),
    }
    child = "producer-0" if where == "producer" else "io-worker-[01]"

    with pytest.raises(StartFailed, match=child) as caught:
        ways[how]()
    inner = caught.value.__cause__
    assert isinstance(inner, StartFailed)
    assert inner.__cause__ is Weak.error
    clock.settle()

    Weak.fails = None
    with pipeline:
        assert pipeline.submit(square, 3).result() == 9
        assert pipeline.wait()


def test_jobs_of_a_pipeline_that_did_not_start_are_handed_back(
    clock: VirtualClock,
) -> None:
    """R28: one producer brings jobs while the start of the other fails."""
    gate, futures = Gate(), []

    class Slow(Producer):
        def on_start(self) -> None:
            gate.wait_arrived()
            clock.sleep(1)
            raise OSError("no source")

    def spawn() -> None:
        futures.append(pipeline.scope(delay=1000).submit(square, 1))
        gate.pass_through()

    pipeline = Pipeline(1, cpu_workers=1, producers=[[Job(gate.pass_through)], Slow()])

    with pytest.raises(StartFailed, match="no source"):
        pipeline.start()

    gate.open()


# -- a worker that does not come back


def bring_down(pipeline: Pipeline, *workers: int) -> None:
    for place in workers:
        crash(pipeline, f"workers/io-worker-{place}")


@pytest.mark.parametrize("where", ["__init__", "on_start"])
def test_a_worker_is_tried_again_while_another_runs(
    clock: VirtualClock, where: str
) -> None:
    """R44: for hours, if need be; it comes back when its cause has passed."""
    delays: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, RestartScheduled):
            delays.append(event.delay)

    pipeline = Pipeline(2, cpu_workers=1, worker_class=Weak)
    pipeline.add_listener(listen)
    with pipeline:
        Weak.fails, Weak.only = where, ("io-worker-0",)
        bring_down(pipeline, 0)
        clock.sleep(7200)
        assert [pipeline.submit(square, n).result() for n in range(5)] == [
            0, 1, 4, 9, 16,
        ]  # fmt: skip
        assert len(delays) > 2 * MOST_FAILURES
        assert max(delays) == 30.0

        Weak.fails = None
        clock.sleep(31)
        gates = [Gate(), Gate()]
        both = [pipeline.submit(gate.pass_through) for gate in gates]
        for gate in gates:
            gate.wait_arrived()
            gate.open()
        assert [future.result() for future in both] == [None, None]


def test_workers_that_come_back_in_time_are_waited_for(clock: VirtualClock) -> None:
    """R44, R45: an outage of a minute costs nothing but the minute."""
    with Pipeline(2, cpu_workers=1, worker_class=Weak) as pipeline:
        for _ in range(3):
            Weak.fails = "on_start"
            bring_down(pipeline, 0, 1)
            clock.settle()
            futures = [pipeline.submit(square, n) for n in range(5)]
            clock.call_later(60, lambda: setattr(Weak, "fails", None))

            assert [future.result() for future in futures] == [0, 1, 4, 9, 16]
            clock.sleep(60)

    assert pipeline.report().ok


@pytest.mark.parametrize("where", ["__init__", "on_start", "initializer"])
@pytest.mark.parametrize("first", ["workers", "supervisor"])
def test_a_pipeline_without_a_worker_gives_up(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture, where: str, first: str
) -> None:
    """R43, R46: no job would ever end, so it ends, and says why."""
    plant = Plant(clock, worker_class=Weak, initializer=initialize)
    with (
        caplog.at_level(logging.ERROR, "headrace.pipeline"),
        pytest.raises(SupervisorGaveUp, match=r"each of its 2 io workers") as caught,
        plant.pipeline as pipeline,
    ):
        pipeline.wait()
        Weak.fails = where
        if first == "workers":
            bring_down(pipeline, 0, 1)
        else:
            crash(pipeline, "workers")
        clock.settle()
        plant.futures += [pipeline.submit(square, n) for n in range(5)]
        plant.futures.append(plant.cpu.submit(square, 5))

    report = pipeline.report()
    plant.check(report)
    assert caught.value.__cause__ is Weak.error
    assert (report.succeeded, report.returned) == (11, 5)
    assert 60 < clock.monotonic() < 180
    assert "failed to start 12 times in a row" in caplog.text


def test_workers_begun_again_go_on_with_those_that_start(clock: VirtualClock) -> None:
    """R30, R53: a supervisor that crashed needs not all of its workers."""
    with Pipeline(2, cpu_workers=1, worker_class=Weak) as pipeline:
        Weak.fails, Weak.only = "on_start", ("io-worker-1",)
        crash(pipeline, "workers")

        assert pipeline.submit(square, 3).result() == 9
        clock.sleep(1000)
        assert pipeline.submit(square, 4).result() == 16


def test_an_error_that_cannot_be_shown_ends_it_all_the_same(
    clock: VirtualClock,
) -> None:
    """R43: the error's own methods are the host's."""

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

        __repr__ = __str__

    Weak.error = Unspeakable()
    with (
        pytest.raises(SupervisorGaveUp, match="Unspeakable") as caught,
        Pipeline(1, cpu_workers=1, worker_class=Weak) as pipeline,
    ):
        Weak.fails = "on_start"
        bring_down(pipeline, 0)
        clock.settle()
        pipeline.submit(square, 1)

    assert caught.value.__cause__ is Weak.error


def test_all_workers_may_not_be_ignored(clock: VirtualClock) -> None:
    """R33: one that has nothing to do is no failure; all of them are."""
    Weak.error, Weak.fails, Weak.only = Ignore(), "on_start", ("io-worker-0",)
    with Pipeline(2, cpu_workers=1, worker_class=Weak) as pipeline:
        assert pipeline.submit(square, 3).result() == 9

    Weak.only = None
    with pytest.raises(SupervisorGaveUp, match=r"2 io workers raised Ignore"):
        pipeline.start()


# -- producers


def test_producers_stopped_before_their_end_are_an_error(clock: VirtualClock) -> None:
    """R54: their supervisor crashed; it is not as if all had been produced."""
    plant = Plant(clock, producers=[(Job(nap, 1) for _ in range(100))])
    with pytest.raises(ProducerError, match="poison"), plant.pipeline as pipeline:
        clock.sleep(5)
        crash(pipeline, "producers")
        pipeline.wait()

    plant.check(pipeline.report())
    assert 0 < pipeline.report().accepted < 100


@pytest.mark.parametrize("where", ["produce", "on_start"])
def test_a_flapping_producer_is_left_down_alone(
    clock: VirtualClock, where: str
) -> None:
    """R46: the other producers are exhausted all the same."""

    class Flaps(Producer):
        restart = "transient"

        def on_start(self) -> None:
            if where == "on_start" and self.incarnation > 1:
                raise OSError("no line")

        def produce(self) -> Iterator[Any]:
            yield from ()
            raise OSError("no line")

    left: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, ChildLeftDown):
            left.append(event.child)

    good = (Job(nap, 0.5) for _ in range(100))
    plant = Plant(clock, producers=[Flaps(), good, ChildSpec(Flaps, id="other")])
    plant.pipeline.add_listener(listen)
    with pytest.raises(ProducerError, match="no line"), plant.pipeline as pipeline:
        pipeline.wait()

    plant.check(pipeline.report())
    assert pipeline.report().succeeded == 100
    assert sorted(left) == ["other", "producer-0"]


def test_a_producer_may_have_a_workers_name(clock: VirtualClock) -> None:
    """R12: news of a worker's death is of that worker."""

    class Breaks(Producer):
        def produce(self) -> Iterator[Any]:
            yield from ()
            HELD["io"].wait_arrived()
            raise OSError("broke")

    plant = Plant(clock, retry=None, producers=[ChildSpec(Breaks, id="io-worker-0")])
    with pytest.raises(ProducerError), plant.pipeline as pipeline:
        plant.futures += [pipeline.submit(hold, "io") for _ in range(2)]
        clock.sleep(1)
        plant.open()
        pipeline.wait()

    plant.check(pipeline.report())
    assert pipeline.report().succeeded == 2


# -- stop tokens


def test_signals_go_from_the_root_by_the_dispatcher_to_the_workers(
    clock: VirtualClock,
) -> None:
    """R81, R82, R87: and not to the collector, which delivers what is handed back."""
    pipeline = Pipeline(1, cpu_workers=VirtualExecutor(max_workers=1)).start()
    run = pipeline._present
    assert run is not None
    below = {
        path: ref_of(pipeline, path).cell.incarnation.stop_token  # type: ignore[union-attr]
        for path in ("dispatcher", "workers", "workers/io-worker-0")
    }
    collector: Any = ref_of(pipeline, "collector").cell.incarnation

    run.dispatch_token.drain("enough")
    assert all(token.draining for token in below.values())
    assert not run.token.draining
    run.token.cancel("no more")
    assert all(token.cancelled for token in below.values())
    assert not collector.stop_token.cancelled
    pipeline.stop()


def test_each_incarnation_has_a_token_of_its_own_below_the_dispatchers(
    clock: VirtualClock,
) -> None:
    """R88: no restart begins with the signal that its predecessor got."""
    seen: list[Any] = []

    def look() -> None:
        checkpoint()
        seen.append(ref_of(pipeline, "workers/io-worker-0").cell.incarnation)

    with Pipeline(1, cpu_workers=1) as pipeline:
        for stage in ("workers/io-worker-0", "dispatcher", "workers", "collector"):
            pipeline.submit(look).result()
            crash(pipeline, stage)
            clock.settle()
        pipeline.submit(look).result()
        run = pipeline._present
        assert run is not None
        tokens = list(dict.fromkeys(each.stop_token for each in seen))
        assert len(tokens) == 3
        assert not tokens[-1].cancelled
        run.dispatch_token.drain("the end")
        assert tokens[-1].draining


# -- the root itself


def test_a_root_that_crashes_leaves_no_stage_and_no_job_behind(
    clock: VirtualClock,
) -> None:
    """R54: it stops them all, and what is left is handed back."""
    plant = Plant(clock, retry=None, producers=[])
    pipeline = plant.pipeline.start()
    run = pipeline._present
    assert run is not None
    assert run.tree is not None
    plant.futures += [pipeline.submit(hold, "io") for _ in range(5)]
    HELD["io"].wait_arrived(count=2)
    clock.call_later(1, plant.open)
    run.tree.tell_control(Poison())
    pipeline.stopped.result()

    with pytest.raises(SupervisorGaveUp, match="poison"):
        pipeline.wait()

    report = pipeline.report()
    plant.check(report)
    assert report.succeeded + report.returned == 5
    assert report.succeeded >= 2
    assert not run.tree.zombies()
