"""The pipeline as a host application meets it."""

from __future__ import annotations

import concurrent.futures
import contextvars
import gc
from typing import TYPE_CHECKING, Any

import pytest

from actors import (
    Cancelled,
    Job,
    JobFuture,
    JobKind,
    JobResult,
    JobStatus,
    JobTimeout,
    Producer,
    RetryPolicy,
    Worker,
    checkpoint,
    current_job,
    job,
    sleep,
)
from actors.errors import (
    ConfigurationError,
    DeadJobs,
    MailboxClosed,
    MailboxFull,
    ProducerError,
    ShutdownTimeout,
    SinkError,
    WouldDeadlock,
)
from actors.events import JobAccepted, JobBegan, JobRetried, JobSettled
from actors.testing import Gate, VirtualClock
from supervision import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock_options() -> dict[str, Any]:
    return {"auto_advance": True}


def small(workers: int = 2, **options: Any) -> Pipeline:
    options.setdefault("cpu_workers", 1)
    return Pipeline(workers, **options)


def square(x: int) -> int:
    return x * x


def fail(x: object) -> None:
    raise ValueError(x)


# -- submit


def test_a_submitted_call_completes_its_future(clock: VirtualClock) -> None:
    with small() as pipeline:
        future = pipeline.submit(square, 3)

        assert isinstance(future, JobFuture)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result() == 9
        assert future.job.id == 1
        assert future.job_result().status is JobStatus.SUCCEEDED


def test_a_failing_call_raises_its_own_error_with_a_note(clock: VirtualClock) -> None:
    with small() as pipeline:
        future = pipeline.submit(fail, "x")

        with pytest.raises(ValueError, match="x") as caught:
            future.result()

    assert type(caught.value) is ValueError
    assert "job 1 (fail) is dead; attempt 1 on io-worker" in caught.value.__notes__[0]
    assert pipeline.report().dead == 1


def test_wrong_arguments_arrive_in_the_future(clock: VirtualClock) -> None:
    with small() as pipeline, pytest.raises(TypeError):
        pipeline.submit(square).result()


def test_constructing_starts_nothing_and_the_first_submit_starts(
    clock: VirtualClock,
) -> None:
    pipeline = small()
    assert pipeline._present is None

    assert pipeline.submit(square, 2).result() == 4

    assert pipeline.stop().ok


def test_keyword_arguments_reach_the_function(clock: VirtualClock) -> None:
    with small() as pipeline:
        assert pipeline.submit(int, "ff", base=16).result() == 255


def test_a_call_that_is_not_callable_is_refused_at_submit(clock: VirtualClock) -> None:
    with small() as pipeline, pytest.raises(ConfigurationError, match="callable"):
        pipeline.submit(3)  # type: ignore[arg-type]


def test_a_payload_without_a_handler_is_refused_at_submit(clock: VirtualClock) -> None:
    with small() as pipeline, pytest.raises(ConfigurationError, match="worker_class"):
        pipeline.submit_job(Job("page"))


def test_the_hosts_own_job_stays_as_it_was(clock: VirtualClock) -> None:
    mine = Job(square, 5, key="five")

    with small() as pipeline:
        future = pipeline.submit_job(mine)

        assert future.result() == 25
        assert mine.id is None
        assert (future.job.id, future.job.key) == (1, "five")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"workers": 0}, "workers"),
        ({"workers": True}, "workers"),
        ({"capacity": 0}, "capacity"),
        ({"capacity": -1}, "capacity"),
        ({"cpu_workers": 0}, "cpu_workers"),
        ({"cpu_workers": "two"}, "cpu_workers"),
        ({"max_delayed": 0}, "max_delayed"),
        ({"nested_capacity": 0}, "nested_capacity"),
        ({"timeout": 0}, "timeout"),
        ({"retry": "x"}, "retry"),
        ({"worker_class": int}, "worker_class"),
        ({"on_sink_error": "shrug"}, "on_sink_error"),
        ({"producers": [3]}, "producers"),
        ({"producers": ["abc"]}, "producers"),
        ({"max_workers": 0}, "max_workers must be greater than 0"),
    ],
)
def test_a_bad_option_is_named_and_starts_nothing(
    options: dict[str, Any], word: str
) -> None:
    with pytest.raises(ConfigurationError, match=word):
        Pipeline(**options)


def test_max_workers_is_the_standard_librarys_name_for_workers() -> None:
    assert Pipeline(max_workers=3)._max_workers == 3


# -- delays, timeouts, retries


def test_a_delayed_job_runs_when_it_is_due(clock: VirtualClock) -> None:
    with small() as pipeline:
        future = pipeline.scope(delay=3600).submit(clock.monotonic)

        assert future.result() == 3600.0
        assert future.job_result().waited == 3600.0


def test_delayed_jobs_hold_no_worker(clock: VirtualClock) -> None:
    with small(workers=1) as pipeline:
        late = [pipeline.scope(delay=60).submit(square, n) for n in range(5)]

        assert pipeline.submit(square, 9).result() == 81
        assert clock.monotonic() == 0.0
        assert [f.result() for f in late] == [0, 1, 4, 9, 16]


def test_a_flaky_job_succeeds_after_backoff(clock: VirtualClock) -> None:
    runs: list[float] = []

    def flaky() -> str:
        runs.append(clock.monotonic())
        if len(runs) < 3:
            raise OSError(len(runs))
        return "done"

    policy = RetryPolicy(3, initial=1.0, jitter=None)
    with small(retry=policy) as pipeline:
        future = pipeline.submit(flaky)

        assert future.result() == "done"
        assert runs == [0.0, 1.0, 3.0]
        assert [a.number for a in future.job_result().attempts] == [1, 2, 3]
        assert future.job_result().waited == 3.0


def test_retries_are_off_unless_asked(clock: VirtualClock) -> None:
    runs: list[int] = []

    def flaky() -> None:
        runs.append(1)
        raise OSError

    with small() as pipeline:
        assert pipeline.submit(flaky).exception() is not None

    assert len(runs) == 1


def test_a_job_that_fails_for_good_is_a_dead_letter(clock: VirtualClock) -> None:
    with small(retry=RetryPolicy(2, initial=1.0)) as pipeline:
        pipeline.submit_job(Job(fail, "x", key="k"))
        pipeline.submit(square, 1)

    (letter,) = pipeline.dead_letters.find(error=ValueError)
    assert letter.job.key == "k"
    assert len(letter.attempts) == 3
    assert pipeline.report().dead == 1


def test_dead_letters_are_replayed_once_accepted(clock: VirtualClock) -> None:
    broken = [True]

    def mend() -> str:
        if broken[0]:
            raise OSError
        return "mended"

    with small() as pipeline:
        pipeline.submit(mend).exception()
        pipeline.wait()
        broken[0] = False

        (again,) = pipeline.dead_letters.replay(pipeline)

        assert again.result() == "mended"
        assert len(pipeline.dead_letters) == 0


def test_an_io_jobs_timeout_ends_it_at_its_next_checkpoint(
    clock: VirtualClock,
) -> None:
    def slow() -> None:
        while True:
            sleep(1)

    with small() as pipeline:
        future = pipeline.scope(timeout=2.5).submit(slow)

        with pytest.raises(JobTimeout, match=r"timeout of 2\.5 s"):
            future.result()
        assert clock.monotonic() == 2.5
        assert pipeline.submit(square, 2).result() == 4


def test_an_io_job_that_never_looks_outlives_its_timeout(
    clock: VirtualClock,
) -> None:
    def blind() -> str:
        clock.sleep(5)  # no checkpoint: nobody can end it
        return "done"

    with small() as pipeline:
        assert pipeline.scope(timeout=2).submit(blind).result() == "done"

    assert clock.monotonic() == 5.0


def test_a_waits_timeout_is_not_the_jobs(clock: VirtualClock) -> None:
    with small() as pipeline:
        future = pipeline.submit(sleep, 5)

        with pytest.raises(TimeoutError) as caught:
            future.result(timeout=1)

        assert not isinstance(caught.value, JobTimeout)
        assert future.result() is None


# -- options: who decides


@job(retry=1, timeout=7)
def decorated() -> tuple[float | None, Any]:
    me = current_job()
    assert me is not None
    return me.timeout, me.retry


def test_the_nearest_word_on_an_option_wins(clock: VirtualClock) -> None:
    with small(retry=9, timeout=99) as pipeline:
        of_function = pipeline.submit(decorated).result()
        of_scope = pipeline.scope(timeout=8).submit(decorated).result()
        of_job = pipeline.scope(timeout=8).submit_job(Job(decorated, timeout=5))
        of_pipeline = pipeline.submit(lambda: current_job()).result()

    assert of_function == (7, RetryPolicy(1))
    assert of_scope == (8, RetryPolicy(1))
    assert of_job.result() == (5, RetryPolicy(1))
    assert (of_pipeline.timeout, of_pipeline.retry) == (99, RetryPolicy(9))


def test_context_variables_travel_only_when_named(clock: VirtualClock) -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="none")
    user.set("ada")

    with small() as pipeline:
        plain = pipeline.submit(user.get).result()
        carried = pipeline.scope(context=[user]).submit(user.get).result()
        after = pipeline.submit(user.get).result()

    assert (plain, carried, after) == ("none", "ada", "none")


# -- inside a job


def test_current_job_is_known_inside_and_unknown_outside(clock: VirtualClock) -> None:
    with small() as pipeline:
        future = pipeline.submit(current_job)

        assert future.result() is future.job
        assert current_job() is None


def test_checkpoint_and_sleep_outside_a_job_do_no_harm(clock: VirtualClock) -> None:
    checkpoint()
    sleep(2)

    assert clock.monotonic() == 2.0


# -- cancel


def test_a_waiting_job_is_cancelled_for_certain(clock: VirtualClock) -> None:
    gate = Gate()
    with small(workers=1) as pipeline:
        first = pipeline.submit(gate.pass_through)
        gate.wait_arrived()
        second = pipeline.submit(square, 2)

        assert second.cancel() is True
        assert second.cancelled()
        gate.open()
        first.result()

    report = pipeline.report()
    assert (report.succeeded, report.cancelled) == (1, 1)


def test_a_delayed_job_is_cancelled_for_certain(clock: VirtualClock) -> None:
    with small() as pipeline:
        future = pipeline.scope(delay=50).submit(square, 2)

        assert future.cancel() is True

    assert clock.monotonic() == 0.0
    assert pipeline.report().cancelled == 1


def test_a_running_io_job_is_asked_and_may_obey(clock: VirtualClock) -> None:
    gate = Gate()

    def obedient() -> None:
        gate.pass_through()
        sleep(1000)

    with small() as pipeline:
        future = pipeline.submit(obedient)
        gate.wait_arrived()
        assert future.running()
        assert future.cancel() is False
        gate.open()

        with pytest.raises(concurrent.futures.CancelledError):
            future.result()
        assert future.cancelled()

    assert clock.monotonic() == 0.0
    assert pipeline.report().cancelled == 1


def test_a_running_io_job_that_does_not_obey_completes(clock: VirtualClock) -> None:
    gate = Gate()

    def stubborn() -> str:
        gate.pass_through()
        return "done"

    with small() as pipeline:
        future = pipeline.submit(stubborn)
        gate.wait_arrived()
        future.cancel()
        gate.open()

        assert future.result() == "done"


def test_a_done_job_is_not_cancelled(clock: VirtualClock) -> None:
    with small() as pipeline:
        future = pipeline.submit(square, 1)
        future.result()

        assert future.cancel() is False


def test_a_scope_is_cancelled_alone(clock: VirtualClock) -> None:
    with small() as pipeline:
        mail = pipeline.scope("mail", delay=100)
        mine = [mail.submit(square, n) for n in range(3)]
        other = pipeline.scope(delay=100).submit(square, 4)

        assert mail.cancel("window closed") == 3
        assert mail.wait()
        assert all(f.cancelled() for f in mine)
        assert other.result() == 16
        assert mail.report().cancelled == 3
        assert "window closed" in str(mine[0].job_result().error)


# -- map, results, run


def test_map_gives_values_in_order(clock: VirtualClock) -> None:
    def after(delay: float) -> float:
        sleep(delay)
        return delay

    with small(workers=4) as pipeline:
        assert list(pipeline.map(after, [3, 1, 2])) == [3, 1, 2]
        assert list(pipeline.map(pow, [2, 3], [5, 2])) == [32, 9]


def test_map_raises_an_error_in_its_place(clock: VirtualClock) -> None:
    def odd(n: int) -> int:
        if n == 2:
            raise ValueError(n)
        return n

    with small() as pipeline:
        values = pipeline.map(odd, range(5))

        assert [next(values), next(values)] == [0, 1]
        with pytest.raises(ValueError, match="2"):
            next(values)


def test_map_pulls_only_as_far_as_its_buffer(clock: VirtualClock) -> None:
    pulled: list[int] = []

    def source() -> Iterator[int]:
        for n in range(1000):
            pulled.append(n)
            yield n

    with small(workers=2, capacity=3) as pipeline:
        values = pipeline.map(square, source())
        assert len(pulled) == 5
        next(values)
        assert len(pulled) == 6
        values.close()  # type: ignore[attr-defined]


def test_map_raises_the_iterables_error_after_its_results(clock: VirtualClock) -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise RuntimeError("source")

    with small() as pipeline:
        values = pipeline.map(square, source())

        assert [next(values), next(values)] == [1, 4]
        with pytest.raises(RuntimeError, match="source"):
            next(values)


def test_map_times_out_from_the_call(clock: VirtualClock) -> None:
    with small() as pipeline, pytest.raises(TimeoutError):
        list(pipeline.map(sleep, [1, 5], timeout=2))


@pytest.mark.real
def test_a_map_whose_results_are_ignored_still_runs_everything() -> None:
    done: list[int] = []

    with small(workers=2, capacity=2) as pipeline:
        pipeline.map(done.append, range(50))
        gc.collect()

    assert sorted(done) == list(range(50))


@pytest.mark.real
def test_a_map_closed_half_way_cancels_what_has_not_begun() -> None:
    gate = Gate()

    def first_waits(n: int) -> int:
        if n == 1:
            gate.pass_through()
        return n

    with small(workers=1, capacity=5) as pipeline:
        values = pipeline.map(first_waits, range(6))
        next(values)
        gate.wait_arrived(10)
        values.close()  # type: ignore[attr-defined]
        gate.open()

    assert pipeline.report().cancelled >= 4


def test_results_come_as_they_settle_with_failures_as_values(
    clock: VirtualClock,
) -> None:
    def after(delay: float) -> float:
        sleep(delay)
        if delay == 1:
            raise OSError
        return delay

    with small(workers=4) as pipeline:
        results = list(pipeline.results(after, [3, 1, 2]))

    assert [r.job.args[0] for r in results] == [1, 2, 3]
    assert [r.ok for r in results] == [False, True, True]


def test_run_does_everything_for_its_effects(clock: VirtualClock) -> None:
    seen: list[JobResult] = []

    with small() as pipeline:
        report = pipeline.run(square, range(20), sink=seen.append, key=lambda n: n % 2)
        pipeline.submit(square, 1)

    assert report.accepted == report.succeeded == 20
    assert sorted(r.value for r in seen) == [n * n for n in range(20)]
    assert {r.job.key for r in seen} == {0, 1}
    assert pipeline.report().accepted == 21


def test_run_reports_its_dead(clock: VirtualClock) -> None:
    with small() as pipeline:
        report = pipeline.run(fail, "ab")

    assert report.dead == 2
    with pytest.raises(DeadJobs, match="2 jobs"):
        report.raise_for_dead()


def test_run_raises_its_sources_error_after_settling(clock: VirtualClock) -> None:
    done: list[int] = []

    def source() -> Iterator[int]:
        yield from range(3)
        raise RuntimeError("source")

    with small() as pipeline, pytest.raises(RuntimeError, match="source"):
        pipeline.run(done.append, source())

    assert sorted(done) == [0, 1, 2]


def test_a_failing_sink_of_run_fails_that_run_alone(clock: VirtualClock) -> None:
    def sink(result: JobResult) -> None:
        raise OSError("disk full")

    with small() as pipeline:
        with pytest.raises(SinkError) as caught:
            pipeline.run(square, range(5), sink=sink)

        assert isinstance(caught.value.__cause__, OSError)
        assert pipeline.submit(square, 3).result() == 9


# -- room and patience


def test_a_scope_that_does_not_wait_raises_when_full(clock: VirtualClock) -> None:
    gate = Gate()
    with small(workers=1, capacity=1) as pipeline:
        pipeline.submit(gate.pass_through)
        gate.wait_arrived()
        pipeline.submit(square, 1)

        with pytest.raises(MailboxFull, match="raise capacity"):
            pipeline.scope(wait=False).submit(square, 2)
        with pytest.raises(MailboxFull):
            pipeline.scope(wait=1.5).submit(square, 2)
        assert clock.monotonic() == 1.5
        gate.open()

    assert pipeline.report().accepted == 2


def test_a_slow_cpu_lane_does_not_block_io_submissions(clock: VirtualClock) -> None:
    with small(capacity=1) as pipeline:
        busy = [
            pipeline.scope(kind="cpu", wait=False, delay=100).submit(square, n)
            for n in range(3)
        ]

        assert pipeline.submit(square, 5).result() == 25
        for future in busy:
            future.cancel()


def test_intake_waits_while_max_delayed_jobs_wait(clock: VirtualClock) -> None:
    with small(max_delayed=2) as pipeline:
        later = pipeline.scope(delay=10)
        later.submit(square, 1)
        later.submit(square, 2)
        assert clock.monotonic() == 0.0

        pipeline.submit(square, 3)

        assert clock.monotonic() == 10.0


# -- inside the pipeline


def test_a_submit_from_inside_a_job_never_waits(clock: VirtualClock) -> None:
    with small(workers=1, capacity=1) as pipeline:

        def parent() -> list[JobFuture]:
            return [pipeline.submit(square, n) for n in range(20)]

        children = pipeline.submit(parent).result()

        assert [f.result() for f in children] == [n * n for n in range(20)]
        assert pipeline.snapshot().over_capacity == 19


def test_a_submit_from_a_done_callback_never_waits(clock: VirtualClock) -> None:
    futures: list[JobFuture] = []

    with small(workers=1, capacity=1) as pipeline:

        def again(_: object) -> None:
            futures.extend(pipeline.submit(square, n) for n in range(5))

        pipeline.submit(square, 1).add_done_callback(again)

    assert pipeline.report().succeeded == 6
    assert len(futures) == 5


def test_a_submit_from_the_sink_never_waits(clock: VirtualClock) -> None:
    def sink(result: JobResult) -> None:
        if result.value == 1:
            for n in range(2, 7):
                pipeline.submit(square, n)

    pipeline = small(workers=1, capacity=1, sink=sink)
    with pipeline:
        pipeline.submit(square, 1)

    assert pipeline.report().succeeded == 6


def test_nested_submits_have_a_bound_of_their_own(clock: VirtualClock) -> None:
    with small(workers=1, nested_capacity=3) as pipeline:

        def parent() -> None:
            for n in range(5):
                pipeline.submit(square, n)

        with pytest.raises(MailboxFull, match="nested_capacity"):
            pipeline.submit(parent).result()


def test_delayed_nested_submits_have_that_bound_too(clock: VirtualClock) -> None:
    with small(workers=1, nested_capacity=3) as pipeline:

        def parent() -> None:
            later = pipeline.scope(delay=10)
            for n in range(5):
                later.submit(square, n)

        with pytest.raises(MailboxFull, match="nested_capacity"):
            pipeline.submit(parent).result()

    assert pipeline.report().succeeded == 3


def test_a_job_may_wait_for_another_while_a_worker_is_left(
    clock: VirtualClock,
) -> None:
    with small(workers=2) as pipeline:

        def parent() -> Any:
            return pipeline.submit(square, 4).result()

        assert pipeline.submit(parent).result() == 16


def test_a_wait_that_no_worker_is_left_to_end_raises(clock: VirtualClock) -> None:
    with small(workers=1) as pipeline:

        def parent() -> Any:
            return pipeline.submit(square, 4).result()

        with pytest.raises(WouldDeadlock, match="all 1 io workers"):
            pipeline.submit(parent).result()


@pytest.mark.parametrize("call", ["wait", "drain", "stop", "shutdown"])
def test_a_job_must_not_wait_for_the_whole(clock: VirtualClock, call: str) -> None:
    with small() as pipeline, pytest.raises(WouldDeadlock, match="inside a job"):
        pipeline.submit(lambda: getattr(pipeline, call)()).result()


def test_a_sink_must_not_wait_for_a_job(clock: VirtualClock) -> None:
    def sink(result: JobResult) -> None:
        pipeline.submit(square, 2).result()

    pipeline = small(sink=sink)
    with pytest.raises(SinkError) as caught, pipeline:
        pipeline.submit(square, 1)

    assert isinstance(caught.value.__cause__, WouldDeadlock)


# -- worker classes, producers, sinks


class Resizer(Worker):
    def on_start(self) -> None:
        self.served = 0

    def handle(self, job: Job) -> str:
        self.served += 1
        return f"{job.payload}!"


def test_a_worker_subclass_serves_payloads(clock: VirtualClock) -> None:
    with small(worker_class=Resizer) as pipeline:
        assert pipeline.submit_job(Job("cat")).result() == "cat!"
        assert pipeline.submit(square, 2).result() == 4


def test_a_cpu_payload_is_refused(clock: VirtualClock) -> None:
    with (
        small(worker_class=Resizer) as pipeline,
        pytest.raises(ConfigurationError, match="run_cpu"),
    ):
        pipeline.submit_job(Job("cat", kind="cpu"))


class Letters(Producer):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def produce(self) -> Iterator[Any]:
        yield from self.text


def test_producers_of_every_form_bring_jobs_in(clock: VirtualClock) -> None:
    seen: list[Any] = []
    pipeline = small(
        worker_class=Resizer,
        producers=[Letters("ab"), ["c", None], (Job(square, n) for n in range(2))],
        sink=lambda result: seen.append(result.value),
    )

    with pipeline:
        assert pipeline.wait()

    assert sorted(map(str, seen)) == ["0", "1", "None!", "a!", "b!", "c!"]


def test_a_producer_brings_nothing_more_once_all_is_drained(
    clock: VirtualClock,
) -> None:
    gate = Gate()

    def source() -> Iterator[Job]:
        yield Job(square, 1)
        gate.pass_through()
        yield Job(square, 2)

    with small(producers=[source()]) as pipeline:
        gate.wait_arrived()
        drained = pipeline.drain()
        gate.open()
        clock.settle()
        report = pipeline.stop()

    assert drained.accepted == drained.succeeded == 1
    assert report.accepted == report.succeeded == 1


def test_a_producers_error_reaches_the_host_after_settling(
    clock: VirtualClock,
) -> None:
    def source() -> Iterator[Job]:
        yield Job(square, 1)
        yield Job(square, 2)
        raise OSError("source broke")

    pipeline = small(producers=[source()])
    with pytest.raises(ProducerError, match="source broke") as caught, pipeline:
        pipeline.wait()

    assert isinstance(caught.value.__cause__, OSError)
    assert pipeline.report().succeeded == 2


def test_a_producer_that_yields_what_is_no_job_reaches_the_host(
    clock: VirtualClock,
) -> None:
    pipeline = small(producers=[[Job(square, 1), "no payloads here"]])

    with pytest.raises(ProducerError, match="callable"), pipeline:
        pipeline.wait()

    assert pipeline.report().succeeded == 1


def test_the_sink_gets_every_final_status(clock: VirtualClock) -> None:
    seen: list[JobStatus] = []
    pipeline = small(sink=lambda result: seen.append(result.status))

    with pipeline:
        pipeline.submit(square, 1)
        pipeline.submit(fail, 1)
        pipeline.scope(delay=5).submit(square, 1).cancel()

    assert set(seen) == {JobStatus.SUCCEEDED, JobStatus.DEAD, JobStatus.CANCELLED}


def test_a_failing_sink_stops_the_intake_and_keeps_the_results(
    clock: VirtualClock,
) -> None:
    def sink(result: JobResult) -> None:
        raise OSError("disk full")

    pipeline = small(sink=sink)
    with pytest.raises(SinkError, match="disk full"), pipeline:
        futures = [pipeline.scope(delay=1).submit(square, n) for n in range(5)]
        concurrent.futures.wait(futures[:0])
        futures[0].result()
        pipeline.wait()

    report = pipeline.report()
    assert report.succeeded == 5
    assert len(report.undelivered) == 5
    with pytest.raises(MailboxClosed, match="sink raised"):
        pipeline.submit(square, 1)


def test_a_failing_sink_may_be_told_to_go_on(clock: VirtualClock) -> None:
    seen: list[int] = []

    def sink(result: JobResult) -> None:
        seen.append(result.id)
        if result.id == 2:
            raise OSError

    pipeline = small(sink=sink, on_sink_error="continue")
    with pipeline:
        pipeline.run(square, range(5))

    assert sorted(seen) == [1, 2, 3, 4, 5]
    assert [r.id for r in pipeline.report().undelivered] == [2]


def test_a_fatal_error_of_the_sink_ends_the_tree_and_is_raised(
    clock: VirtualClock,
) -> None:
    """R69: the same object, at the end of the block."""
    seen: list[int] = []

    def sink(result: JobResult) -> None:
        if result.id == 3:
            raise SystemExit
        seen.append(result.id)

    pipeline = small(sink=sink)
    with pytest.raises(SystemExit), pipeline:
        for n in range(3):
            pipeline.submit(square, n)
        pipeline.wait()


# -- endings


def test_drain_settles_and_delivers_everything(clock: VirtualClock) -> None:
    seen: list[int] = []
    pipeline = small(sink=lambda r: seen.append(r.id))
    with pipeline:
        for _ in range(10):
            pipeline.scope(delay=1).submit(square, 1)

        report = pipeline.drain()

        assert report.succeeded == 10
        assert len(seen) == 10
        with pytest.raises(MailboxClosed, match="draining"):
            pipeline.submit(square, 1)


def test_drain_that_takes_too_long_goes_on(clock: VirtualClock) -> None:
    with small() as pipeline:
        future = pipeline.submit(sleep, 10)

        with pytest.raises(ShutdownTimeout) as caught:
            pipeline.drain(timeout=2)

        assert caught.value.report is not None
        assert caught.value.report.unsettled == 1
        assert future.result() is None


def test_stop_hands_back_what_does_not_end(clock: VirtualClock) -> None:
    def obedient() -> None:
        sleep(1000)

    pipeline = small(workers=1)
    pipeline.start()
    begun = pipeline.submit(obedient)
    queued = pipeline.submit(square, 2)
    delayed = pipeline.scope(delay=500).submit(square, 3)

    report = pipeline.stop(timeout=10)

    assert clock.monotonic() <= 10.0
    assert report.returned == 3
    assert [j.id for j in report.unfinished] != []
    assert queued.cancelled()
    assert delayed.cancelled()
    with pytest.raises(ShutdownTimeout):
        begun.result()
    assert report.accepted == 3
    assert pipeline.stop(timeout=1) == report


def test_a_hung_job_does_not_hold_up_stop(clock: VirtualClock) -> None:
    """R57, R58: its thread is left behind."""
    gate = Gate()
    pipeline = small(workers=1)
    pipeline.start()
    future = pipeline.submit(gate.pass_through)
    gate.wait_arrived()

    report = pipeline.stop(timeout=5)

    assert clock.monotonic() <= 6.0
    assert report.returned == 1
    with pytest.raises(ShutdownTimeout):
        future.result()
    gate.open()  # the zombie wakes and harms nobody
    clock.settle()
    assert pipeline.report() == report


def test_leaving_the_block_by_an_error_returns_what_waits(clock: VirtualClock) -> None:
    gate = Gate()

    def run() -> None:
        gate.pass_through()
        sleep(100)

    with pytest.raises(KeyError), small(workers=1) as pipeline:
        running = pipeline.submit(run)
        gate.wait_arrived()
        gate.open()
        waiting = pipeline.submit(square, 1)
        raise KeyError

    assert clock.monotonic() <= 5.0
    assert waiting.cancelled()
    assert isinstance(running.exception(), ShutdownTimeout)
    assert pipeline.report().returned == 2


def test_shutdown_cancels_futures_when_asked(clock: VirtualClock) -> None:
    gate = Gate()
    pipeline = small(workers=1)
    first = pipeline.submit(gate.pass_through)
    gate.wait_arrived()
    second = pipeline.submit(square, 1)
    gate.open()

    pipeline.shutdown(cancel_futures=True)

    assert first.done()
    assert second.cancelled() or second.result() == 1


def test_shutdown_without_wait_ends_in_the_background(clock: VirtualClock) -> None:
    pipeline = small()
    future = pipeline.submit(sleep, 5)

    pipeline.shutdown(wait=False)

    assert not future.done()
    with pytest.raises(MailboxClosed):
        pipeline.submit(square, 1)
    assert pipeline.stopped.result().succeeded == 1


def test_a_stopped_pipeline_may_start_again(clock: VirtualClock) -> None:
    pipeline = small()
    pipeline.submit(square, 1).result()
    assert pipeline.stop().succeeded == 1

    pipeline.start()

    assert pipeline.submit(square, 5).result() == 25
    assert pipeline.stop().accepted == 1


def test_stop_before_start_is_fine(clock: VirtualClock) -> None:
    assert small().stop().accepted == 0


def test_submit_from_inside_is_admitted_while_draining(clock: VirtualClock) -> None:
    """R81: DRAIN lets what runs finish its work."""
    with small() as pipeline:

        def parent() -> JobFuture:
            sleep(1)
            return pipeline.submit(square, 6)

        future = pipeline.submit(parent)
        report = pipeline.drain()

        assert report.succeeded == 2
        assert future.result().result() == 36


def test_a_fatal_error_of_a_job_ends_the_tree_and_is_raised(
    clock: VirtualClock,
) -> None:
    """R69, R70: only KeyboardInterrupt is."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), small() as pipeline:
        pipeline.submit(interrupt)
        pipeline.wait()

    assert pipeline.report().unsettled == 0


def test_system_exit_in_a_job_fails_that_job_alone(clock: VirtualClock) -> None:
    """R70: it is the job that leaves."""

    def leave() -> None:
        raise SystemExit(3)

    with small() as pipeline:
        with pytest.raises(SystemExit):
            pipeline.submit(leave).result()
        assert pipeline.submit(square, 2).result() == 4


# -- seeing


def test_a_snapshot_shows_rates_and_depths(clock: VirtualClock) -> None:
    gate = Gate()
    with small(workers=1) as pipeline:
        pipeline.run(sleep, [1, 1])
        pipeline.submit(gate.pass_through)
        gate.wait_arrived()
        pipeline.submit(square, 1)
        snapshot = pipeline.snapshot()
        gate.open()

    assert snapshot.queue_depth[JobKind.IO] == 1
    assert snapshot.busy[JobKind.IO] == 1
    assert snapshot.ran == 1.0
    assert snapshot.waited == 0.5
    assert snapshot.utilisation[JobKind.IO] == 1.0
    assert snapshot.jobs_per_second == 1.0
    assert snapshot.report.succeeded == 2


def test_events_tell_a_jobs_whole_life(clock: VirtualClock) -> None:
    events: list[Any] = []
    runs: list[int] = []

    def flaky() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise OSError

    with small(workers=1, retry=RetryPolicy(1, initial=1, jitter=None)) as pipeline:
        pipeline.add_listener(events.append)
        pipeline.submit(flaky).result()

    told = [type(e) for e in events if type(e).__name__.startswith("Job")]
    assert told.count(JobBegan) == 2
    assert sorted(told, key=str) == sorted(
        [JobAccepted, JobBegan, JobRetried, JobBegan, JobSettled], key=str
    )


def test_cancelled_is_no_ordinary_error() -> None:
    assert not issubclass(Cancelled, Exception)


def test_tree_of_a_pipeline_can_be_looked_at(clock: VirtualClock) -> None:
    """R77: whoever runs one sees its stages; looking starts nothing."""
    pipeline = Pipeline(2, clock=clock, name="mill")
    before = pipeline.tree
    assert before is None
    assert not pipeline.has_run
    with pipeline:
        tree = pipeline.tree
        assert tree is not None
        drawing = str(tree.snapshot())

    for name in ("mill", "collector", "dispatcher", "io-worker-1"):
        assert name in drawing


def test_error_that_counts_as_false_is_raised(clock: VirtualClock) -> None:
    """R70: whatever a job raises fails it, though the base class would drop it."""

    class Empty(Exception):
        def __len__(self) -> int:
            return 0

    def fail() -> None:
        raise Empty

    with Pipeline(1, clock=clock) as pipeline:
        future = pipeline.submit(fail)
        with pytest.raises(Empty):
            future.result()
        assert isinstance(future.exception(), Empty)
