from __future__ import annotations

import re
from typing import Any

import pytest

from actors import Attempt, Job, JobOptions, JobResult, JobStatus
from actors.events import (
    ChildDown,
    ChildRestarted,
    ChildStarted,
    JobBegan,
    JobRetried,
    JobSettled,
)
from supervision.cli_demo import demo, draw_tree, tell

JOB = Job(str, "in").numbered(7, JobOptions())
FAILED = Attempt(1, "io-worker-0", 0.0, 1.0, ValueError("boom"))


def settled(status: JobStatus, runs: int) -> JobSettled:
    return JobSettled(JobResult(JOB, status, attempts=(FAILED,) * runs))


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (
            JobRetried(JOB, FAILED, 2.0),
            "job 7 failed on io-worker-0: ValueError: boom; it will run again",
        ),
        (settled(JobStatus.SUCCEEDED, 2), "job 7 succeeded at attempt 2"),
        (settled(JobStatus.DEAD, 3), "job 7 is dead at attempt 3"),
        (settled(JobStatus.SUCCEEDED, 1), None),
        (
            ChildDown("workers", "io-worker-0", 1, "failed", ValueError("boom"), ""),
            "io-worker-0 crashed: ValueError: boom",
        ),
        (ChildDown("workers", "io-worker-0", 1, "shutdown", None, ""), None),
        (
            ChildRestarted("workers", "io-worker-0", 2),
            "io-worker-0 is back behind the same ref, incarnation 2",
        ),
        (ChildStarted("workers", "io-worker-0", 1), None),
        (JobBegan(JOB, "io-worker-0", 1), None),
    ],
)
def test_events_are_put_into_words(event: Any, told: str | None) -> None:
    assert tell(event) == told


def test_long_error_is_cut() -> None:
    attempt = FAILED._replace(error=ValueError("x" * 500))

    told = tell(JobRetried(JOB, attempt, 2.0))

    assert told is not None
    assert len(told) < 150


def test_tree_is_drawn_with_notes_beside_its_actors() -> None:
    drawn = draw_tree("demo", {"io-worker-1": "crashed"})

    assert drawn.splitlines()[0] == "    demo (supervisor)"
    assert "     |    |- io-worker-1   <- crashed" in drawn.splitlines()
    assert drawn.count("<-") == 1
    assert max(map(len, drawn.splitlines())) < 80


@pytest.mark.real
@pytest.mark.slow
def test_demo_heals_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo() == 0

    out = capsys.readouterr().out
    assert re.search(r"cpu-worker-\d   <- process \d+ was killed, \d+ took its", out)
    assert re.search(r"io-worker-\d   <- crashed and was restarted: incarnation 2", out)
    assert "succeeded at attempt 3" in out
    assert out.endswith("Every job came out, and came out once.\n")
