"""What a pipeline meets in bad company: each of these once hung, lost or broke it."""

from __future__ import annotations

import gc
import logging
import math
import weakref
from typing import TYPE_CHECKING, Any, Self

import pytest

from actors import Job, Producer, RetryPolicy, Worker, sleep
from actors.errors import ConfigurationError, ProducerError, WouldDeadlock
from actors.events import ChildRestarted, JobRetried
from actors.testing import Gate, VirtualClock
from supervision import ChildSpec, Pipeline, exit_drain
from supervision.exit_drain import drain_at_exit

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.concurrent


@pytest.fixture
def clock_options() -> dict[str, Any]:
    return {"auto_advance": True}


def small(workers: int = 2, **options: Any) -> Pipeline:
    options.setdefault("cpu_workers", 1)
    return Pipeline(workers, **options)


def square(x: int) -> int:
    return x * x


# -- errors that cannot be shown


class Unspeakable(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr for you")


class Unnotable(Exception):
    __notes__ = None  # type: ignore[assignment]  # what it is about


@pytest.mark.parametrize("kind", [Unspeakable, Unnotable])
def test_an_error_that_takes_no_note_still_reaches_the_future(
    clock: VirtualClock, kind: type[Exception]
) -> None:
    def run() -> None:
        raise kind

    with small(workers=1) as pipeline:
        with pytest.raises(kind):
            pipeline.submit(run).result()
        assert pipeline.submit(square, 3).result() == 9


# -- times without end


@pytest.mark.real
@pytest.mark.parametrize("delay", [1e12, math.inf])
def test_a_delay_without_end_harms_no_other_job(delay: float) -> None:
    with small() as pipeline:
        never = pipeline.scope(delay=delay).submit(square, 2)
        soon = pipeline.scope(delay=0.01).submit(square, 3)

        assert soon.result(10) == 9
        assert never.cancel()


@pytest.mark.real
def test_a_wait_without_end_is_a_wait() -> None:
    gate = Gate()
    with small(workers=1, capacity=1) as pipeline:
        pipeline.submit(gate.pass_through)
        gate.wait_arrived(10)
        pipeline.submit(square, 1)
        timer = pipeline.clock.call_later(0.01, gate.open)

        assert pipeline.scope(wait=math.inf).submit(square, 2).result(10) == 4
        assert pipeline.wait(math.inf)
        assert timer.cancelled
    assert pipeline.stop(math.inf).ok


# -- the future of the end


def test_nobody_cancels_the_future_of_the_end(clock: VirtualClock) -> None:
    pipeline = small().start()

    assert not pipeline.stopped.cancel()

    assert pipeline.stop() == pipeline.stopped.result()


# -- memory


def test_a_dead_job_is_freed_without_the_garbage_collector(
    clock: VirtualClock,
) -> None:
    class Broken(Exception):
        pass

    def run() -> None:
        raise Broken

    with small(retry=RetryPolicy(1, jitter=None)) as pipeline:
        gc.collect()
        gc.disable()
        try:
            seen = []
            for wait in (
                lambda: pipeline.submit(run).result(),
                lambda: pipeline.submit(run).job_result().value,
                lambda: list(pipeline.map(lambda _: run(), [1, 2])),
            ):
                with pytest.raises(Broken) as caught:
                    wait()
                seen.append(weakref.ref(caught.value))
                del caught
            pipeline.wait()
            pipeline.dead_letters.clear()
            pipeline._present.ledger.root.first_error = None  # type: ignore[union-attr]

            assert [each() for each in seen] == [None, None, None]
        finally:
            gc.enable()


def test_cancelled_delayed_jobs_do_not_pile_up(clock: VirtualClock) -> None:
    with small() as pipeline:
        first = pipeline.scope(delay=1).submit(square, 1)
        later = pipeline.scope(delay=1000)
        for n in range(300):
            later.submit(square, n).cancel()
        run = pipeline._present
        assert run is not None

        assert len(run.ledger._table._heap) < 100
        first.cancel()


# -- listeners


def test_a_listener_hears_of_each_retry_as_it_was(clock: VirtualClock) -> None:
    heard: list[JobRetried] = []

    def listen(event: object) -> None:
        if isinstance(event, JobRetried):
            clock.sleep(100)  # the job goes on meanwhile
            heard.append(event)

    def run() -> None:
        raise OSError

    with small(retry=RetryPolicy(2, initial=1, jitter=None)) as pipeline:
        pipeline.add_listener(listen)
        pipeline.submit(run).exception()
        pipeline.wait()

    assert [event.attempt.number for event in heard] == [1, 2]
    assert [event.due_at for event in heard] == [1.0, 3.0]


# -- who may wait, and who must not


def test_runs_inside_all_workers_raise_instead_of_hanging(clock: VirtualClock) -> None:
    gates = [Gate(), Gate()]

    def parent(gate: Gate) -> Any:
        gate.pass_through()
        return pipeline.run(square, range(3)).succeeded

    with small(workers=2) as pipeline:
        futures = [pipeline.submit(parent, gate) for gate in gates]
        for gate in gates:
            gate.wait_arrived()
        for gate in gates:
            gate.open()
        errors = [future.exception() for future in futures]

    assert any(isinstance(error, WouldDeadlock) for error in errors)


def test_a_run_inside_a_job_works_while_a_worker_is_left(clock: VirtualClock) -> None:
    with small(workers=2) as pipeline:
        report = pipeline.submit(lambda: pipeline.run(square, range(3))).result()

    assert report.succeeded == 3


def test_a_job_inside_anothers_callback_is_still_a_job(clock: VirtualClock) -> None:
    """Its submit must not wait for room that only its own worker could make."""
    with small(workers=1, capacity=1) as ours, small(workers=1) as theirs:
        gate = Gate()
        blocker = theirs.submit(gate.pass_through)
        gate.wait_arrived()
        waiting = theirs.submit(square, 1)

        def fill(_: object) -> None:
            for n in range(5):
                ours.submit(square, n)

        waiting.add_done_callback(fill)
        assert ours.submit(waiting.cancel).result()
        gate.open()
        blocker.result()

    assert ours.report().succeeded == 6


def test_a_listener_of_the_tree_never_waits_for_room(clock: VirtualClock) -> None:
    told: list[object] = []

    def listen(event: object) -> None:
        if isinstance(event, ChildRestarted):
            told.extend(pipeline.submit(square, n) for n in range(5))
            with pytest.raises(WouldDeadlock):
                pipeline.wait()
            told.append("did not wait")

    with small(workers=1, capacity=1, worker_class=Fragile) as pipeline:
        pipeline.add_listener(listen)
        pipeline.submit_job(Job("crash")).result()
        clock.settle()
        pipeline.wait()

    assert told[-1] == "did not wait"
    assert pipeline.report().succeeded == 6


class Fragile(Worker):
    """Loses its thread after the word ``crash``."""

    def handle(self, job: Job) -> Any:
        if job.payload == "crash":
            self.source = Broken()
        return job.payload


class Broken:
    """A source whose item the worker cannot take: the next step crashes it."""

    def take(self, wake: Any) -> object:
        return object()

    def withdraw(self, wake: Any) -> None:
        pass


# -- callbacks


def test_a_callback_that_leaves_python_harms_nobody(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def leave(_: object) -> None:
        raise SystemExit

    gate = Gate()
    with small(workers=1) as pipeline:
        first = pipeline.submit(gate.pass_through)
        later = pipeline.scope(delay=100).submit(square, 2)
        first.add_done_callback(leave)
        later.add_done_callback(leave)
        gate.open()
        first.result()
        pipeline.submit(square, 3).result()
        report = pipeline.stop(0)

    assert report.returned == 1
    assert "a done-callback of" in caplog.text


def test_a_drain_waits_for_what_a_callback_still_submits(clock: VirtualClock) -> None:
    gate = Gate()
    late: list[Any] = []

    def submit_late(_: object) -> None:
        gate.pass_through()
        late.append(pipeline.submit(square, 2))

    with small() as pipeline:
        pipeline.scope(delay=1).submit(square, 1).add_done_callback(submit_late)
        gate.wait_arrived()
        pipeline.clock.call_later(1, gate.open)

        report = pipeline.drain()

        assert report.succeeded == 2
        assert late[0].result() == 4


# -- before the start, between runs


def test_looking_starts_nothing(clock: VirtualClock) -> None:
    pipeline = small()

    assert pipeline.report().accepted == 0
    assert pipeline.snapshot().report.accepted == 0
    assert pipeline.cancel() == 0
    assert pipeline.scope("mail").report().accepted == 0

    assert pipeline._present is None


def test_many_runs_leave_nothing_behind(clock: VirtualClock) -> None:
    """R86: no thread, and no trace in a token."""
    pipeline = small()
    runs = []
    for _ in range(3):
        with pipeline:
            pipeline.submit(square, 1)
        runs.append(weakref.ref(pipeline._present))
    clock.settle()  # the last of their threads end
    gc.collect()

    assert [run() is None for run in runs] == [True, True, False]


# -- producers


class Two(Producer):
    def produce(self) -> Iterator[Any]:
        yield Job(square, 1)
        yield Job(square, 2)


class Relay(Producer):
    """Resumes by itself: each incarnation goes on where the last one broke."""

    restart = "transient"

    def __init__(self, items: list[int]) -> None:
        super().__init__()
        self.items = items

    def produce(self) -> Iterator[Any]:
        while self.items:
            yield Job(square, self.items.pop())
            if len(self.items) % 2:
                raise OSError("the line broke")


class Quitter(Producer):
    def produce(self) -> Iterator[Any]:
        yield Job(square, 1)
        self.stop()
        yield Job(square, 2)


@pytest.mark.parametrize("kwargs", [{}, lambda siblings: {}])
def test_a_child_spec_of_a_producer_is_wired(clock: VirtualClock, kwargs: Any) -> None:
    with small(producers=[ChildSpec(Two, (), kwargs, id="two")]) as pipeline:
        assert pipeline.wait()

    assert pipeline.report().succeeded == 2


class Count(Producer):
    def __init__(self, up_to: int) -> None:
        super().__init__()
        self.up_to = up_to

    def produce(self) -> Iterator[Any]:
        return (Job(square, number) for number in range(self.up_to))


class CountToFive(Count):
    @classmethod
    def child_spec(cls) -> ChildSpec[Self]:
        return ChildSpec(cls, kwargs={"up_to": 5}, id="five")


def test_a_producer_may_be_given_as_any_child(clock: VirtualClock) -> None:
    """R25: everything that takes children takes a class, a pair and a spec."""
    given: list[Any] = [
        Two,
        (Count, {"up_to": 3}),
        (Count, lambda siblings: {"up_to": 4}),
        CountToFive,
        ChildSpec(Count, (6,), id="six"),
    ]
    with small(producers=given) as pipeline:
        assert pipeline.wait()

    assert pipeline.report().succeeded == 2 + 3 + 4 + 5 + 6


@pytest.mark.parametrize("pair", [(Count,), (Count, 3), (Count, {}, {}), (Count, None)])
def test_a_pair_that_is_none_is_no_iterable_of_jobs(pair: Any) -> None:
    """R22: it would be taken for two jobs."""
    with pytest.raises(ConfigurationError, match=r"producers\[0\]|'Count': kwargs"):
        Pipeline(producers=[pair])


def test_a_child_spec_of_something_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="producers"):
        Pipeline(producers=[ChildSpec(Worker)])  # type: ignore[arg-type]


def test_a_spec_begins_no_broken_iterator_again(clock: VirtualClock) -> None:
    """R35: it is temporary, whatever the spec says."""

    class Breaks(Producer):
        def produce(self) -> Iterator[Any]:
            yield Job(square, 1)
            raise OSError("broke")

    spec = ChildSpec(Breaks, restart="permanent")
    with pytest.raises(ProducerError), small(producers=[spec]) as pipeline:
        pipeline.wait()

    assert pipeline.report().accepted == 1


def test_a_producer_that_resumes_is_restarted(clock: VirtualClock) -> None:
    """R35: it is transient."""
    with small(producers=[Relay([1, 2, 3, 4])]) as pipeline:
        assert pipeline.wait()

    assert pipeline.report().succeeded == 4


def test_a_producer_that_breaks_too_often_ends_the_wait(clock: VirtualClock) -> None:
    """R42: its supervisor lets it go, and says why."""
    with (
        pytest.raises(ProducerError, match="the line broke"),
        small(producers=[Relay(list(range(100)))]) as pipeline,
    ):
        pipeline.wait()


def test_a_producer_that_stops_itself_has_ended(clock: VirtualClock) -> None:
    """R35, R64: that is no failure."""
    with small(producers=[Quitter()]) as pipeline:
        assert pipeline.wait()

    assert pipeline.report().succeeded >= 1


def test_a_producer_that_hangs_is_no_error_of_the_stop(clock: VirtualClock) -> None:
    gate = Gate()

    def source() -> Iterator[Any]:
        yield Job(square, 1)
        gate.pass_through()

    with small(producers=[source()]) as pipeline:
        gate.wait_arrived()
        report = pipeline.stop(3)

    assert report.ok
    assert clock.monotonic() <= 3
    gate.open()
    clock.settle()


# -- stop keeps its time


class Clings(Worker):
    def on_stop(self) -> None:
        HELD[0].pass_through()


HELD: list[Gate] = []


def stuck_source() -> Iterator[Any]:
    yield Job(square, 1)
    HELD[0].pass_through()


def hold(*_: object) -> None:
    HELD[0].pass_through()


def always_fails() -> None:
    raise OSError


STATES: dict[str, tuple[dict[str, Any], Any]] = {
    "hung jobs": ({}, hold),
    "a hung sink": ({"sink": hold}, square),
    "obedient jobs": ({}, lambda _: sleep(1000)),
    "a stuck producer": ({"producers": [stuck_source]}, square),
    "hung clean-up": ({"worker_class": Clings}, square),
    "retries to come": (
        {"retry": RetryPolicy(9, initial=100, maximum=100)},
        lambda _: always_fails(),
    ),
}


@pytest.mark.parametrize("timeout", [0, 0.5, 5, 25])
@pytest.mark.parametrize("state", STATES)
def test_stop_keeps_its_time_in_any_state(
    clock: VirtualClock, state: str, timeout: float
) -> None:
    """R56, R57, R58: one budget for all of it."""
    options, fn = STATES[state]
    HELD[:] = [Gate()]
    options = {
        **options,
        "producers": [source() for source in options.get("producers", [])],
    }
    pipeline = small(workers=2, **options).start()
    for n in range(6):
        pipeline.submit(fn, n)
    clock.sleep(0.01)
    began = clock.monotonic()

    report = pipeline.stop(timeout)

    # What obeys is given a moment even when there is no time.
    assert clock.monotonic() - began <= max(timeout, 0.1) + 1e-6
    assert report.unsettled == 0
    assert report == pipeline.report()
    HELD[0].open()
    clock.sleep(10)
    assert report == pipeline.report()


# -- dropped maps


@pytest.mark.real
def test_a_dropped_map_of_an_impatient_scope_runs_to_its_end() -> None:
    done: list[int] = []

    with small(workers=1, capacity=2) as pipeline:
        pipeline.scope(wait=False).map(done.append, range(30), buffersize=1)
        gc.collect()

    assert done == list(range(30))


def test_the_rest_of_a_map_runs_where_no_thread_can_start(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    class Unstartable:
        def start(self) -> None:
            raise RuntimeError("can't create new thread at interpreter shutdown")

    with small(workers=1, capacity=2) as pipeline:
        values = pipeline.map(done.append, range(30))
        run = pipeline._present
        assert run is not None
        (calls,) = run.maps._open
        monkeypatch.setattr(clock, "thread", lambda *_, **__: Unstartable())
        calls.mark_gone()
        calls.dropped()
        assert len(done) < 30

        drain_at_exit(run, 25.0)

    assert done == list(range(30))
    assert not run.ledger.report().unsettled
    del values


def test_the_exit_drains_the_newest_pipeline_first_whatever_becomes_of_one(
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    drained: list[Any] = []
    pipelines = [Pipeline(1, clock=clock, name=f"p{n}") for n in range(8)]

    def drain(run: Any, _limit: float) -> None:
        drained.append(run)
        if run.options.name == "p5":
            raise RuntimeError("its clock stands still")

    monkeypatch.setattr(exit_drain, "drain_at_exit", drain)
    for pipeline in pipelines:
        pipeline.start()
    ours = [pipeline._present for pipeline in pipelines]

    with caplog.at_level(logging.ERROR, "headrace.pipeline"):
        exit_drain.drain_all()
    for pipeline in pipelines:
        pipeline.stop()

    assert [run for run in drained if run in ours] == ours[::-1]
    assert "p5 could not be drained at exit" in caplog.text


def test_a_shutdown_where_no_thread_can_start_is_left_to_the_exit(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unstartable:
        def start(self) -> None:
            raise RuntimeError("can't create new thread at interpreter shutdown")

    pipeline = small().start()
    future = pipeline.submit(sleep, 1)
    with monkeypatch.context() as patched:
        patched.setattr(clock, "thread", lambda *_, **__: Unstartable())
        pipeline.shutdown(wait=False)

    assert future.result() is None
    pipeline.stop()


# -- the interpreter's exit


@pytest.mark.parametrize("logged", [True, False])
def test_what_an_exit_loses_is_seen_once(
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    logged: bool,
) -> None:
    seen: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    logger = logging.getLogger("headrace")
    monkeypatch.setattr(logger, "propagate", False)
    handlers = [logging.NullHandler(), *([Keeper()] if logged else [])]
    monkeypatch.setattr(logger, "handlers", handlers)
    pipeline = small().start()
    pipeline.scope(delay=100).submit(square, 1)
    run = pipeline._present
    assert run is not None

    drain_at_exit(run, 2.0)

    assert clock.monotonic() == 2.0
    seen += capsys.readouterr().err.splitlines()
    (text,) = seen
    assert "1 unfinished jobs, which are lost: <Job #1 square io>" in text
    pipeline.stop()
