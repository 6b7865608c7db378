from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from actors import __version__
from supervision.cli import main

if TYPE_CHECKING:
    from pathlib import Path

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run"], "nothing to run: give MODULE:FUNCTION before the options, or -e"),
        (["run", "--files", "a", "os:stat"], "'os:stat' was read as a path of --files"),
        (["run", "-e", "x", "os:stat"], "-e and 'os:stat' are both given"),
        (["run", "-e", "x", "-j", "0"], "-j/--workers: must be a whole number of at l"),
        (["run", "-e", "x", "-j", "-1"], "at least 1, got '-1'"),
        (["run", "-e", "x", "-j", "two"], "at least 1, got 'two'"),
        (["run", "-e", "x", "-j", "1.5"], "at least 1, got '1.5'"),
        (["run", "-e", "x", "--capacity", "0"], "--capacity: must be a whole number"),
        (["run", "-e", "x", "--retries", "-1"], "at least 0, got '-1'"),
        (["run", "-e", "x", "--timeout", "0"], "must be more than 0 seconds, got '0'"),
        (["run", "-e", "x", "--timeout", "nan"], "must be more than 0 seconds"),
        (["run", "-e", "x", "--timeout", "inf"], "must be more than 0 seconds"),
        (["run", "-e", "x", "--timeout", "soon"], "must be more than 0 seconds"),
        (["run", "-e", "x", "--backoff", "-1"], "must be 0 or more seconds, got '-1'"),
        (["run", "-e", "x", "--backoff", "1"], "--backoff needs --retries N"),
        (["run", "-e", "x", "--max-backoff", "1"], "--max-backoff needs --retries N"),
        (["run", "-e", "x", "-k", "gpu"], "invalid choice: 'gpu' (choose from"),
        (["run", "-e", "x", "--files", ".", "-i", "f"], "--files and -i exclude each"),
        (["run", "-e", "x", "--files", ".", "--lines"], "--files and --lines exclude"),
        (["run", "-e", "x", "--glob", "*"], "--glob needs --files PATH"),
        (["run", "-e", "x", "--hidden"], "--hidden needs --files PATH"),
        (["run", "-e", "x", "--retry", "3"], "did you mean '--retries'?"),
        (["run", "-e", "x", "--worker=3"], "'--worker'; did you mean '--workers'?"),
        (["run", "-e"], "argument -e: expected one argument"),
        (["ruin"], "invalid choice: 'ruin' (choose from"),
        (["demo", "now"], "unknown option or argument 'now'"),
        (["run", "hashlib:sha265"], "did you mean 'sha256'?"),
        (["run", "-e", "x", "-i", "missing"], "-i: cannot read 'missing'"),
        (["run", "-e", "x", "--files", "missing"], "--files: cannot read 'missing'"),
    ],
)
def test_wrong_command_line_is_refused_with_the_way_out(
    arguments: list[str],
    told: str,
    capfd: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    status = main(arguments)

    out, err = capfd.readouterr()
    assert status == 2
    assert out == ""
    assert err.startswith("headrace: ")
    assert told in err
    assert err.count("\n") == 1


def test_output_is_left_alone_when_the_rest_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "out").write_text("precious")

    for wrong in (["-e", "X"], ["-e", "x", "-i", "missing"], ["-e", "x", "-j", "0"]):
        assert main(["run", *wrong, "-o", "out"]) == 2

    assert (tmp_path / "out").read_text() == "precious"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
def test_help_shows_what_exists_and_nothing_else(
    arguments: list[str], capsys: Capture
) -> None:
    assert main(arguments) == 0

    text = capsys.readouterr().out
    for later in (
        "--journal",
        "--key",
        "--dead",
        "--max-dead",
        "--rate",
        "--delay",
        "--raw",
        "-0",
        "--dash",
        "--metrics",
        "--log-json",
        "--dry-run",
        "--app",
        "--retry-on",
        "--no-retry-on",
        "top",
        "stats",
    ):
        assert f" {later} " not in text.replace("\n", " ")
    assert "exit status: 0 all ok; 1 at least one dead job" in text


def test_help_says_what_surprises(capsys: Capture) -> None:
    main(["run", "--help"])

    text = " ".join(capsys.readouterr().out.split())
    assert "--retries 3 is at most 4 runs" in text
    assert "-k io can only cancel it between its checkpoints" in text


def test_version_is_told(capsys: Capture) -> None:
    assert main(["--version"]) == 0

    assert capsys.readouterr().out == f"headrace {__version__}\n"


def test_no_arguments_show_the_help(capsys: Capture) -> None:
    assert main([]) == 2

    assert "usage: headrace" in capsys.readouterr().err


def test_internal_error_is_one_line(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> int:
        raise RuntimeError("our own mistake")

    monkeypatch.setattr("supervision.cli_demo.demo", broken)

    assert main(["demo"]) == 3
    assert capsys.readouterr().err.startswith(
        "headrace: internal error: RuntimeError: our own mistake; "
    )


def test_interrupt_is_told_by_the_exit_status(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("supervision.cli_demo.demo", interrupted)

    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "headrace: interrupted\n"
