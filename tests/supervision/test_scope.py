"""A scope: an executor's view of a pipeline, with options and a group of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors import Job, JobFuture, MailboxFull, RetryPolicy, job
from actors.errors import ConfigurationError
from actors.testing import Gate, VirtualClock
from supervision import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock_options() -> dict[str, Any]:
    return {"auto_advance": True}


@pytest.fixture
def pipeline(clock: VirtualClock) -> Iterator[Pipeline]:
    with Pipeline(2, cpu_workers=1, capacity=3, name="shop") as pipeline:
        yield pipeline


def square(x: int) -> int:
    return x * x


@job(timeout=7.0)
def marked() -> None:
    """A function with an option of its own."""


# -- options


@pytest.mark.parametrize("wait", [-1, "yes", None])
def test_a_patience_that_is_none_is_refused(pipeline: Pipeline, wait: Any) -> None:
    with pytest.raises(ConfigurationError, match="wait must be True, False or 0"):
        pipeline.scope("mail", wait=wait)


@pytest.mark.parametrize(
    "options", [{"kind": "gpu"}, {"timeout": 0}, {"delay": -1}, {"retry": "often"}]
)
def test_a_bad_option_of_a_scope_is_refused(
    pipeline: Pipeline, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError):
        pipeline.scope("mail", **options)


def test_every_job_of_a_scope_has_its_options(pipeline: Pipeline) -> None:
    policy = RetryPolicy(3)
    scope = pipeline.scope("mail", timeout=5.0, retry=policy, key="k")

    futures = [scope.submit(marked), scope.submit_job(Job(marked, key="own"))]

    assert [future.job.timeout for future in futures] == [5.0, 5.0]
    assert [future.job.retry for future in futures] == [policy, policy]
    assert [future.job.key for future in futures] == ["k", "own"]


def test_a_scope_says_what_it_is(pipeline: Pipeline) -> None:
    assert repr(pipeline.scope("mail")) == "<Scope 'mail' of <Pipeline 'shop'>>"


@pytest.mark.parametrize(
    ("buffersize", "error"),
    [(0, ValueError), (-3, ValueError), ("2", TypeError), (True, TypeError)],
)
def test_a_bad_buffersize_is_refused_as_the_standard_does(
    pipeline: Pipeline, buffersize: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="buffersize must be"):
        pipeline.map(square, [1], buffersize=buffersize)
    with pytest.raises(error, match="buffersize must be"):
        pipeline.results(square, [1], buffersize=buffersize)

    assert pipeline.report().accepted == 0


def test_a_bad_chunksize_is_refused_as_the_standard_does(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="chunksize must be >= 1"):
        pipeline.map(square, [1], chunksize=0)


# -- the group


def test_a_scope_is_waited_for_alone(pipeline: Pipeline) -> None:
    gate, scope = Gate(), pipeline.scope("mail")
    pipeline.submit(gate.pass_through)
    future = scope.submit(square, 3)

    assert scope.wait()

    assert future.done()
    assert not pipeline.wait(1.0)
    gate.open()


def test_a_wait_for_a_scope_times_out_at_its_time(
    pipeline: Pipeline, clock: VirtualClock
) -> None:
    gate, scope = Gate(), pipeline.scope("mail")
    scope.submit(gate.pass_through)
    began = clock.monotonic()

    assert not scope.wait(2.5)

    assert clock.monotonic() - began == 2.5
    gate.open()


def test_a_scopes_report_has_its_own_sums(pipeline: Pipeline) -> None:
    scope = pipeline.scope("mail")
    pipeline.submit(square, 2).result()
    scope.submit(square, 3).result()

    assert scope.report().accepted == 1
    assert pipeline.report().accepted == 2


def test_shutdown_of_a_scope_ends_that_view_alone(pipeline: Pipeline) -> None:
    with pipeline.scope("mail") as scope:
        future = scope.submit(square, 3)

    assert future.done()
    assert pipeline.submit(square, 2).result() == 4
    scope.shutdown()
    assert scope.submit(square, 4).result() == 16


def test_shutdown_of_a_scope_cancels_when_asked(pipeline: Pipeline) -> None:
    gate, scope = Gate(), pipeline.scope("mail")
    for _ in range(2):
        pipeline.submit(gate.pass_through)
    assert gate.wait_arrived(count=2)
    futures: list[JobFuture] = [scope.submit(square, n) for n in range(2)]
    other = pipeline.submit(square, 3)

    scope.shutdown(wait=False, cancel_futures=True)

    assert all(future.cancelled() for future in futures)
    gate.open()
    assert other.result() == 9


def test_a_scope_of_an_unstarted_pipeline_has_nothing(clock: VirtualClock) -> None:
    scope = Pipeline(1, cpu_workers=1).scope("mail")

    assert scope.cancel() == 0
    assert scope.report().accepted == 0


def test_a_scope_follows_its_pipeline_into_a_new_run(clock: VirtualClock) -> None:
    pipeline = Pipeline(1, cpu_workers=1)
    scope = pipeline.scope("mail")
    for _ in range(2):
        with pipeline:
            assert scope.submit(square, 3).result() == 9
            assert scope.report().accepted == 1


def test_an_impatient_scope_is_refused_at_its_time(
    pipeline: Pipeline, clock: VirtualClock
) -> None:
    gate = Gate()
    for _ in range(5):
        pipeline.submit(gate.pass_through)
    began = clock.monotonic()

    with pytest.raises(MailboxFull):
        pipeline.scope("mail", wait=0.5).submit(square, 1)

    assert clock.monotonic() - began == 0.5
    gate.open()
