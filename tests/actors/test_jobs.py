"""Jobs, their options and results: values."""

from __future__ import annotations

import functools
import pickle

import pytest

from actors import Job, JobKind, JobResult, JobStatus, Report, RetryPolicy, job
from actors.errors import ConfigurationError, DeadJobs, HeadraceError
from actors.jobs import FINAL, STATUS_CHANGES, JobOptions, options_of
from actors.results import Attempt


@job(kind="cpu", timeout=10, retry=2)
def parse(page: str) -> str:
    return page.upper()


@job
def plain(x: int) -> int:
    return x


def test_a_decorated_function_still_runs_here_and_pickles() -> None:
    assert parse("a") == "A"
    assert pickle.loads(pickle.dumps(parse)) is parse
    assert plain(1) == 1


def test_a_decorated_functions_options_are_found() -> None:
    assert options_of(parse) == JobOptions(JobKind.CPU, None, 10, RetryPolicy(2), None)
    assert options_of(functools.partial(parse, "x")).kind is JobKind.CPU
    assert options_of(len) == JobOptions()


def test_a_job_cannot_be_changed() -> None:
    made = Job(len, "abc")

    with pytest.raises(AttributeError):
        made.kind = JobKind.CPU  # type: ignore[misc]


def test_a_job_is_unnumbered_until_submitted() -> None:
    made = Job(len, "abc", key="k", delay=2)
    copy = made.numbered(7, made.options)

    assert made.id is None
    assert (copy.id, copy.fn, copy.args, copy.key, copy.delay) == (
        7,
        len,
        ("abc",),
        "k",
        2,
    )


def test_a_callable_payload_is_given_through_of() -> None:
    made = Job.of(len, name="measure")

    assert made.fn is None
    assert made.payload is len
    assert made.name == "measure"


def test_a_payload_takes_no_arguments() -> None:
    with pytest.raises(ConfigurationError, match="payload takes no arguments"):
        Job("page", 1)


def test_keyword_arguments_travel_in_kwargs() -> None:
    made = Job(int, "ff", kwargs={"base": 16})

    assert made.fn is not None
    assert made.fn(*made.args, **made.kwargs) == 255


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"kind": "gpu"}, "kind"),
        ({"delay": -1}, "delay"),
        ({"delay": "soon"}, "delay"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"retry": "often"}, "retry"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        Job(len, "x", **options)  # type: ignore[arg-type]


def test_final_statuses_change_no_more() -> None:
    assert {s for s in JobStatus if not STATUS_CHANGES[s]} == FINAL


def test_a_result_gives_its_value_or_raises_its_error() -> None:
    made = Job(len, "abc").numbered(1, JobOptions())
    error = ValueError("no")
    tries = (Attempt(1, "io-worker-0", 1.0, 3.0), Attempt(2, "io-worker-0", 4.0, 5.0))

    good = JobResult(made, JobStatus.SUCCEEDED, 3, None, tries, 1.0, 3.0)
    bad = JobResult(made, JobStatus.DEAD, None, error)
    lost = JobResult(made, JobStatus.CANCELLED)

    assert (good.ok, good.value, good.id, good.duration) == (True, 3, 1, 4.0)
    assert [a.ran for a in good.attempts] == [2.0, 1.0]
    with pytest.raises(ValueError, match="no"):
        _ = bad.value
    with pytest.raises(HeadraceError, match="cancelled"):
        _ = lost.value


def test_a_report_reads_as_a_sum() -> None:
    report = Report(accepted=1000, succeeded=997, dead=3)

    assert (
        str(report)
        == "accepted 1000 = 997 succeeded + 3 dead + 0 cancelled + 0 returned"
    )
    assert not report.ok
    assert Report(accepted=1, succeeded=1).ok
    assert str(Report(accepted=2, succeeded=1)).endswith("+ 1 unsettled")


def test_a_report_raises_from_the_first_dead_jobs_error() -> None:
    cause = KeyError("x")

    with pytest.raises(DeadJobs, match="2 jobs are dead") as caught:
        Report(accepted=2, dead=2, first_error=cause).raise_for_dead()

    assert caught.value.__cause__ is cause
    Report(accepted=2, succeeded=2).raise_for_dead()
