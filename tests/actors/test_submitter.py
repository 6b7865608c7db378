"""What becomes of a host's call on its way to the ledger.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

import pytest

from actors._group import Group
from actors.errors import Cancelled, ConfigurationError, MailboxClosed, MailboxFull
from actors.job_future import JobFuture
from actors.jobs import Job, JobKind, JobOptions, job
from actors.ledger import Ledger
from actors.retry import RetryPolicy
from actors.stop_token import StopToken
from actors.submitter import Submitter
from tests.actors.ledger_kit import Call, FakeWake, nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._ledger import Entry
    from actors.testing import VirtualClock

LANGUAGE: contextvars.ContextVar[str] = contextvars.ContextVar("language")
COUNTRY: contextvars.ContextVar[str] = contextvars.ContextVar("country")


@job(kind="cpu", timeout=7.0, key="function")
def marked() -> None:
    """A function that wants to run in a process."""


@pytest.fixture
def ledger(clock: VirtualClock) -> Ledger:
    return Ledger()


@pytest.fixture
def submitter(ledger: Ledger) -> Submitter:
    return Submitter(ledger, JobOptions(), takes_payloads=True)


def submit(submitter: Submitter, fn: Any = nothing, *args: Any, **kwargs: Any) -> Job:
    """Submit a call; the numbered job."""
    future = submitter.submit(fn, args, kwargs)
    assert future is not None
    return future.job


def submit_job(submitter: Submitter, item: Any) -> Job:
    future = submitter.submit_job(item)
    assert future is not None
    return future.job


def take(ledger: Ledger, kind: JobKind = JobKind.IO) -> Entry:
    taken = ledger.take(kind, "w", FakeWake())
    assert taken is not None
    return taken.entry


def narrowed(submitter: Submitter, options: JobOptions, **more: Any) -> Submitter:
    more.setdefault("wait", True)
    more.setdefault("context", ())
    return submitter.narrowed(more.pop("group", submitter.group), options, **more)


# -- numbers


def test_jobs_are_numbered_from_one(submitter: Submitter) -> None:
    assert [submit(submitter).id for _ in range(3)] == [1, 2, 3]


def test_scopes_share_their_pipelines_numbers(submitter: Submitter) -> None:
    scope = narrowed(submitter, JobOptions())

    numbers = [submit(each).id for each in (submitter, scope, submitter, scope)]

    assert numbers == [1, 2, 3, 4]


def test_a_refused_submit_leaves_no_job(submitter: Submitter, ledger: Ledger) -> None:
    ledger.close_intake("it drains")

    with pytest.raises(MailboxClosed):
        submit(submitter)

    assert ledger.report().accepted == 0


@pytest.mark.concurrent
def test_numbers_are_unique_among_threads(clock: VirtualClock) -> None:
    ledger = Ledger(capacity=None)
    submitter = Submitter(ledger, JobOptions())
    numbers: list[int | None] = []

    def submit_some() -> None:
        numbers.extend([submit(submitter).id for _ in range(25)])

    threads = [clock.thread(submit_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        clock.join(thread)

    assert sorted(n or 0 for n in numbers) == list(range(1, 101))


# -- calls


def test_a_call_becomes_a_job_with_its_arguments(
    submitter: Submitter, ledger: Ledger
) -> None:
    made = submit(submitter, print, 1, 2, sep="-")

    assert (made.fn, made.args, dict(made.kwargs)) == (print, (1, 2), {"sep": "-"})
    assert take(ledger).job is made


def test_a_submit_returns_the_future_of_its_job(submitter: Submitter) -> None:
    future = submitter.submit(nothing, (), {})

    assert isinstance(future, JobFuture)
    assert not future.done()


def test_nobody_wants_a_future_and_none_is_made(
    submitter: Submitter, ledger: Ledger
) -> None:
    assert submitter.submit(nothing, (), {}, future=False) is None
    assert submitter.submit_job(Job(nothing), future=False) is None

    assert take(ledger).future is None


@pytest.mark.parametrize("given", [None, "x", 3])
def test_what_cannot_be_called_is_refused(submitter: Submitter, given: Any) -> None:
    with pytest.raises(ConfigurationError, match="a job must be callable, got"):
        submit(submitter, given)


# -- options


@pytest.mark.parametrize(
    ("fn", "key", "expected"),
    [
        (nothing, None, "scope"),
        (marked, None, "scope"),
        (marked, "call", "call"),
    ],
)
def test_the_nearest_word_on_a_calls_option_wins(
    submitter: Submitter, fn: Callable[[], None], key: object, expected: str
) -> None:
    scope = narrowed(submitter, JobOptions.make(key="scope"))

    future = scope.submit(fn, (), {}, key=key)

    assert future is not None
    assert future.job.key == expected


def test_a_functions_options_beat_the_pipelines(ledger: Ledger) -> None:
    policy = RetryPolicy(2)
    submitter = Submitter(ledger, JobOptions.make(timeout=1.0, retry=policy, key="all"))

    plain, special = submit(submitter), submit(submitter, marked)

    assert (plain.kind, plain.timeout, plain.key) == (JobKind.IO, 1.0, "all")
    assert (special.kind, special.timeout, special.key) == (
        JobKind.CPU,
        7.0,
        "function",
    )
    assert plain.retry == special.retry == policy


def test_a_jobs_own_options_beat_all_others(submitter: Submitter) -> None:
    scope = narrowed(submitter, JobOptions.make(timeout=2.0, key="scope"))

    made = submit_job(scope, Job(marked, kind="io", key="job"))

    assert (made.kind, made.timeout, made.key) == (JobKind.IO, 2.0, "job")


def test_an_inner_scopes_options_beat_the_outer_ones(submitter: Submitter) -> None:
    outer = narrowed(submitter, JobOptions.make(timeout=2.0, key="outer"))
    inner = narrowed(outer, JobOptions.make(key="inner"))

    made = submit(inner)

    assert (made.timeout, made.key) == (2.0, "inner")


def test_kind_of_tells_where_a_call_would_run(submitter: Submitter) -> None:
    scope = narrowed(submitter, JobOptions.make(kind="io"))

    assert submitter.kind_of(nothing) is JobKind.IO
    assert submitter.kind_of(marked) is JobKind.CPU
    assert scope.kind_of(marked) is JobKind.IO


# -- jobs made by hand, and payloads


def test_the_hosts_own_job_is_left_alone(submitter: Submitter) -> None:
    mine = Job(nothing, key="k", name="mine")

    made = submit_job(submitter, mine)

    assert mine.id is None
    assert (made.id, made.key, made.name) == (1, "k", "mine")


def test_a_job_may_be_submitted_twice(submitter: Submitter) -> None:
    mine = Job(nothing)

    assert [submit_job(submitter, mine).id for _ in range(2)] == [1, 2]


def test_what_is_no_job_becomes_a_payload(submitter: Submitter) -> None:
    made = submit_job(submitter, ["row"])

    assert made.fn is None
    assert made.payload == ["row"]


def test_a_callable_item_is_a_payload_too(submitter: Submitter) -> None:
    assert submit_job(submitter, nothing).payload is nothing


def test_a_payload_without_a_handler_is_refused(ledger: Ledger) -> None:
    submitter = Submitter(ledger, JobOptions(), takes_payloads=False)

    with pytest.raises(ConfigurationError, match="no worker serves payloads"):
        submitter.submit_job("row")

    submit_job(submitter, Job(nothing))


def test_a_payload_cannot_be_a_cpu_job(submitter: Submitter) -> None:
    with pytest.raises(ConfigurationError, match="a cpu job must be callable"):
        submitter.submit_job(Job.of("row", kind="cpu"))


def test_a_scope_without_a_handler_refuses_payloads_too(ledger: Ledger) -> None:
    submitter = Submitter(ledger, JobOptions(), takes_payloads=False)

    with pytest.raises(ConfigurationError, match="no worker serves payloads"):
        narrowed(submitter, JobOptions()).submit_job("row")


# -- groups, patience, privilege


def test_jobs_count_in_their_scopes_group(submitter: Submitter, ledger: Ledger) -> None:
    group = Group("mail", ledger.root)
    scope = narrowed(submitter, JobOptions(), group=group)

    submit(submitter)
    submit(scope)

    assert (group.accepted, ledger.root.accepted) == (1, 2)


def test_a_scope_has_a_patience_of_its_own(clock: VirtualClock) -> None:
    ledger = Ledger(capacity=1)
    submitter = Submitter(ledger, JobOptions())
    submit(submitter)

    with pytest.raises(MailboxFull):
        submit(narrowed(submitter, JobOptions(), wait=False))
    call = Call(clock, submit, narrowed(submitter, JobOptions(), wait=0.5))
    clock.advance(1)

    assert isinstance(call.error, MailboxFull)
    assert call.ended_at == 0.5


def test_a_privileged_call_enters_while_draining(
    submitter: Submitter, ledger: Ledger
) -> None:
    ledger.close_intake("it drains")

    submitter.submit(nothing, (), {}, privileged=True)
    submitter.submit_job(Job(nothing), privileged=True)

    assert ledger.report().accepted == 2


def test_a_cancelled_token_ends_the_wait_for_room(clock: VirtualClock) -> None:
    ledger, token = Ledger(capacity=1), StopToken(name="producer")
    submitter = Submitter(ledger, JobOptions())
    submit(submitter)
    call = Call(clock, lambda: submitter.submit_job(Job(nothing), token=token))
    assert call.waits()

    token.cancel("stop")
    clock.settle()

    assert isinstance(call.error, Cancelled)


# -- context variables


def test_no_context_travels_unless_named(submitter: Submitter, ledger: Ledger) -> None:
    mark = LANGUAGE.set("fr")

    submit(submitter)

    LANGUAGE.reset(mark)
    assert take(ledger).context is None


def test_named_variables_travel_as_they_were(
    submitter: Submitter, ledger: Ledger
) -> None:
    scope = narrowed(submitter, JobOptions(), context=(LANGUAGE, COUNTRY))
    mark = LANGUAGE.set("fr")

    submit(scope)

    LANGUAGE.reset(mark)
    assert take(ledger).context == {LANGUAGE: "fr"}  # the other one was not set


def test_an_inner_scope_carries_the_outer_ones_too(
    submitter: Submitter, ledger: Ledger
) -> None:
    outer = narrowed(submitter, JobOptions(), context=(LANGUAGE,))
    inner = narrowed(outer, JobOptions(), context=(COUNTRY,))
    marks = LANGUAGE.set("fr"), COUNTRY.set("BE")

    submit(inner)

    LANGUAGE.reset(marks[0])
    COUNTRY.reset(marks[1])
    assert take(ledger).context == {LANGUAGE: "fr", COUNTRY: "BE"}
