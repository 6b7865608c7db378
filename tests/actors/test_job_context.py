"""What code inside a running job can ask for.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

from actors.errors import Cancelled
from actors.job_context import (
    JobContext,
    checkpoint,
    current_context,
    current_job,
    sleep,
)
from actors.jobs import JobKind
from actors.stop_token import StopToken
from tests.actors.ledger_kit import Call, make_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.testing import VirtualClock


def context_of(clock: VirtualClock, **options: Any) -> JobContext:
    return JobContext(make_entry(**options), StopToken(name="worker"), clock)


def within(context: JobContext, fn: Callable[[], Any]) -> Callable[[], Any]:
    """``fn`` as code of the job."""

    def call() -> Any:
        mark = current_context.set(context)
        try:
            return fn()
        finally:
            current_context.reset(mark)

    return call


# -- outside a job


def test_outside_a_job_there_is_none() -> None:
    assert current_job() is None


def test_outside_a_job_a_checkpoint_does_nothing() -> None:
    checkpoint()


def test_outside_a_job_sleep_takes_its_time(clock: VirtualClock) -> None:
    call = Call(clock, sleep, 3.0)

    clock.advance(10)

    assert call.ended_at == 3.0


# -- inside one


def test_the_current_job_is_the_entrys_own(clock: VirtualClock) -> None:
    context = context_of(clock)

    assert within(context, current_job)() is context.entry.job


def test_a_job_that_nobody_stops_may_go_on(clock: VirtualClock) -> None:
    context = context_of(clock)

    within(context, checkpoint)()

    assert context.reason is None
    assert not context.token().cancelled


def ask(context: JobContext) -> None:
    context.entry.cancel_reason = "nobody wants it"


def stop(context: JobContext) -> None:
    context._worker_token.cancel("the pipeline stops")


def stop_for_no_reason(context: JobContext) -> None:
    context._worker_token.cancel()


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (ask, "nobody wants it"),
        (stop, "the pipeline stops"),
        (stop_for_no_reason, "stopped"),
        (JobContext.time_out, "it ran longer than its timeout of 2.0 s"),
    ],
)
def test_a_checkpoint_leaves_the_job_with_the_reason(
    clock: VirtualClock, end: Callable[[JobContext], None], why: str
) -> None:
    context = context_of(clock, timeout=2.0)

    end(context)

    with pytest.raises(Cancelled, match=why):
        within(context, checkpoint)()
    assert context.reason == why


def test_a_timeout_is_told_before_other_reasons(clock: VirtualClock) -> None:
    context = context_of(clock, timeout=2.0)
    ask(context)

    context.time_out()

    assert context.reason == "it ran longer than its timeout of 2.0 s"


@pytest.mark.parametrize("end", [ask, stop, JobContext.time_out])
def test_a_token_made_after_the_end_is_cancelled(
    clock: VirtualClock, end: Callable[[JobContext], None]
) -> None:
    context = context_of(clock)

    end(context)

    assert context.token().cancelled
    assert context.token().reason == context.reason


def test_the_token_is_made_once(clock: VirtualClock) -> None:
    context = context_of(clock)

    assert context.token() is context.token() is context.entry.token


def test_a_timeout_cancels_the_token_made_before(clock: VirtualClock) -> None:
    context = context_of(clock)
    token = context.token()

    context.time_out()

    assert token.cancelled


def test_the_jobs_end_does_not_reach_its_worker(clock: VirtualClock) -> None:
    context = context_of(clock)

    context.token().cancel("this job alone")

    assert not context._worker_token.cancelled


# -- sleep


def test_sleep_inside_a_job_takes_its_time(clock: VirtualClock) -> None:
    call = Call(clock, within(context_of(clock), lambda: sleep(3.0)))

    clock.advance(10)

    assert call.error is None
    assert call.ended_at == 3.0


def test_sleep_ends_at_the_moment_of_a_cancel(clock: VirtualClock) -> None:
    context = context_of(clock)
    call = Call(clock, within(context, lambda: sleep(60.0)))
    clock.advance(1.5)

    context._worker_token.cancel("the pipeline stops")
    clock.advance(100)

    assert isinstance(call.error, Cancelled)
    assert str(call.error) == "the pipeline stops"
    assert call.ended_at == 1.5


def test_sleep_of_a_cancelled_job_does_not_begin(clock: VirtualClock) -> None:
    context = context_of(clock)
    ask(context)

    call = Call(clock, within(context, lambda: sleep(60.0)))

    assert isinstance(call.error, Cancelled)
    assert call.ended_at == 0.0


# -- in a worker process


def test_a_worker_process_knows_the_jobs_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child: Any = types.ModuleType("headrace_cpu_child")
    child.current = {"id": 7, "key": "k", "name": "parse"}
    monkeypatch.setitem(sys.modules, "headrace_cpu_child", child)

    job = current_job()

    assert job is not None
    assert (job.id, job.key, job.name, job.kind) == (7, "k", "parse", JobKind.CPU)


def test_a_worker_process_between_jobs_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child: Any = types.ModuleType("headrace_cpu_child")
    child.current = None
    monkeypatch.setitem(sys.modules, "headrace_cpu_child", child)

    assert current_job() is None


@pytest.mark.concurrent
def test_no_cancel_is_missed_while_the_token_is_made(clock: VirtualClock) -> None:
    for _ in range(20):
        context = context_of(clock)

        def cancel(context: JobContext = context) -> None:
            context.entry.cancel_reason = "asked"
            token = context.entry.token
            if token is not None:
                token.cancel("asked")

        threads = [clock.thread(context.token), clock.thread(cancel)]
        for thread in threads:
            thread.start()
        for thread in threads:
            clock.join(thread)

        assert context.token().cancelled
