from __future__ import annotations

import pytest

from supervision import cli_doctor
from supervision.cli_doctor import Check, doctor, import_names, report_of

TOGETHER = {"actors": "/lib", "supervision": "/lib"}


def test_report_lines_up_and_ends_with_a_verdict() -> None:
    report = report_of(
        [Check("python", True, "3.11"), Check("cloudpickle", None, "not installed")]
    )

    assert report.splitlines() == [
        "ok  python       3.11",
        "--  cloudpickle  not installed",
        "all is well",
    ]


@pytest.mark.parametrize(
    ("wrong", "verdict"),
    [(0, "all is well"), (1, "1 thing is wrong"), (2, "2 things are wrong")],
)
def test_verdict_counts_what_is_wrong(wrong: int, verdict: str) -> None:
    report = report_of([Check("a", False, "")] * wrong)

    assert report.splitlines()[-1] == verdict


@pytest.mark.parametrize(
    ("found", "distributions", "ok", "told"),
    [
        (TOGETHER, {"actors": ["headrace"], "supervision": ["headrace"]}, True, "/lib"),
        (TOGETHER, {}, True, "headrace's, from /lib"),
        (TOGETHER, {"pytest": ["pytest"]}, True, "headrace's"),
        (
            TOGETHER,
            {"supervision": ["headrace", "supervision"]},
            False,
            "pip uninstall supervision",
        ),
        (
            TOGETHER,
            {"supervision": ["supervision"], "actors": ["actors", "headrace"]},
            False,
            "actors and supervision installed packages of the same names",
        ),
        (
            {"actors": "/lib", "supervision": "/src"},
            {},
            False,
            "actors from /lib, supervision from /src",
        ),
    ],
)
def test_foreign_package_of_our_name_is_found(
    found: dict[str, str], distributions: dict[str, list[str]], ok: bool, told: str
) -> None:
    check = import_names(found, distributions)

    assert check.ok is ok
    assert told in check.told


@pytest.mark.real
def test_doctor_finds_this_machine_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor() == 0

    report = capsys.readouterr().out
    assert "ok  worker process" in report
    assert "never fork" in report
    assert report.endswith("all is well\n")


def test_what_is_wrong_is_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = Check("worker process", False, "OSError: no process")
    monkeypatch.setattr(cli_doctor, "_worker_process", lambda: failed)

    assert doctor() == 1
    assert "NO  worker process" in capsys.readouterr().out
