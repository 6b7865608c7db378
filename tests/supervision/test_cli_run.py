from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from supervision.cli_run import exit_code

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
LIMIT = 60.0  # seconds; only a hang comes near it
DIGEST = "hashlib.file_digest(open(x,'rb'),'sha256').hexdigest()"

JOBS = """
import fcntl, os, subprocess, sys, threading
import actors

runs = {}
second = threading.Event()

def flaky(x):
    runs[x] = runs.get(x, 0) + 1
    if x % 2 and runs[x] < 3:
        raise ConnectionError(f"run {runs[x]}")
    return runs[x]

def crossed(x):
    if x == 1:
        second.wait(30)
    elif x == 2:
        second.set()
    return x

def gated(x):
    if x > 1:
        with open("gate") as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)
    return x

def die(x):
    if x == 3:
        os.kill(os.getpid(), 9)
    return x

def forever(x):
    threading.Event().wait()

def nap(x):
    actors.sleep(600)

def talk(x):
    print(f"from python {x}")
    os.write(1, b"from c\\n")
    subprocess.run(["echo", "from a child"])
    print("aside", file=sys.stderr)
    return x

print("from the import")
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "own_jobs.py").write_text(JOBS)
    (tmp_path / "gate").touch()
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "supervision", *arguments]


def environment() -> dict[str, str]:
    """This process's, where the command finds the code under test."""
    places = [str(ROOT), os.environ.get("PYTHONPATH")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def headrace(
    here: Path, *arguments: str, stdin: str | bytes = b""
) -> subprocess.CompletedProcess[str]:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    ran = subprocess.run(
        command(*arguments),
        input=data,
        capture_output=True,
        cwd=here,
        env=environment(),
        timeout=LIMIT,
        check=False,
    )
    out, err = ran.stdout.decode(), ran.stderr.decode()
    assert "Traceback" not in err or "-v" in arguments, err
    return subprocess.CompletedProcess(arguments, ran.returncode, out, err)


def results(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def numbers(count: int) -> str:
    return "".join(f"{n}\n" for n in range(1, count + 1))


@contextlib.contextmanager
def started(
    here: Path, *arguments: str, **more: Any
) -> Iterator[subprocess.Popen[str]]:
    more = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        cwd=here,
        env=environment(),
        text=True,
        **more,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(LIMIT)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@contextlib.contextmanager
def gate_closed(here: Path) -> Iterator[Any]:
    with (here / "gate").open() as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(gate, fcntl.LOCK_UN)


# -- results


def test_expression_is_run_for_each_line_of_json(here: Path) -> None:
    ran = headrace(here, "run", "-e", "x * x", stdin="3\n\n4\n")

    assert ran.returncode == 0
    found = sorted(results(ran.stdout), key=lambda r: r["job"])
    assert [(r["in"], r["out"], r["ok"], r["attempts"]) for r in found] == [
        (3, 9, True, 1),
        (4, 16, True, 1),
    ]
    assert ran.stderr.startswith("2 ok, 0 dead in ")


@pytest.mark.parametrize("kind", ["io", "cpu"])
def test_digests_of_a_tree_are_those_of_hashlib(here: Path, kind: str) -> None:
    names = ["a", "b b", "ü", "new\nline", "-x", "'q'", os.fsdecode(b"\xff\xfe")]
    tree = here / "tree"
    for number, folder in enumerate((tree, tree / "sub", tree / "sub" / "dééper")):
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(os.urandom(1000 * number))
    expected = {
        os.path.join(place, name): hashlib.sha256(
            Path(place, name).read_bytes()
        ).hexdigest()
        for place, _, found in os.walk(tree)
        for name in found
    }

    ran = headrace(here, "run", "-k", kind, "-e", DIGEST, "--files", str(tree))

    assert {r["in"]: r["out"] for r in results(ran.stdout)} == expected
    assert ran.returncode == 0


def test_output_below_the_input_is_no_input(here: Path) -> None:
    first = headrace(here, "run", "-e", "len(x)", "--files", ".", "-o", "out.jsonl")
    second = headrace(here, "run", "-e", "len(x)", "--files", ".", "-o", "out.jsonl")

    assert first.stdout == second.stdout == ""
    taken = {r["in"] for r in results((here / "out.jsonl").read_text())}
    assert taken >= {"./gate", "./own_jobs.py"}
    assert "./out.jsonl" not in taken


def test_lines_are_taken_as_text(here: Path) -> None:
    ran = headrace(
        here, "run", "--lines", "--ordered", "-e", "x.upper()", stdin=b"a b\n\xff\n"
    )

    assert [r["out"] for r in results(ran.stdout)] == ["A B", "\udcff"]


def test_input_file_is_read_and_output_file_written(here: Path) -> None:
    (here / "in.jsonl").write_text(numbers(100))

    ran = headrace(here, "run", "-e", "x", "-i", "in.jsonl", "-o", "out.jsonl", "-q")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    found = results((here / "out.jsonl").read_text())
    assert sorted(r["out"] for r in found) == list(range(1, 101))


@pytest.mark.parametrize(
    ("options", "expected"), [([], [2, 1]), (["--ordered"], [1, 2])]
)
def test_order_is_that_of_the_ends_unless_asked(
    here: Path, options: list[str], expected: list[int]
) -> None:
    ran = headrace(here, "run", "own_jobs:crossed", *options, stdin="1\n2\n")

    assert [r["out"] for r in results(ran.stdout)] == expected


def test_ordered_results_leave_the_dead_out(here: Path) -> None:
    ran = headrace(
        here, "run", "-e", "x // (x % 5)", "--ordered", "-j", "4", stdin=numbers(2_500)
    )

    expected = [n for n in range(1, 2_501) if n % 5]
    assert [r["in"] for r in results(ran.stdout)] == expected
    assert ran.returncode == 1
    assert "2,000 ok, 500 dead in " in ran.stderr


def test_what_jobs_print_never_reaches_stdout(here: Path) -> None:
    for kind in ("io", "cpu"):
        ran = headrace(here, "run", "own_jobs:talk", "-k", kind, stdin=numbers(5))

        assert sorted(r["out"] for r in results(ran.stdout)) == [1, 2, 3, 4, 5]
        for said in ("the import", "python 3", "c", "a child"):
            assert f"from {said}" in ran.stderr
        assert ran.returncode == 0


# -- failures


def test_job_that_kills_its_process_costs_only_itself(here: Path) -> None:
    ran = headrace(here, "run", "-k", "cpu", "own_jobs:die", stdin=numbers(20))

    assert ran.returncode == 1
    assert len(results(ran.stdout)) == 19
    assert "dead: job 3 (3): WorkerDied: " in ran.stderr
    assert "19 ok, 1 dead in " in ran.stderr


def test_dead_job_is_one_line_and_the_rest_goes_on(here: Path) -> None:
    ran = headrace(here, "run", "-e", "1 // (x - 2)", stdin=numbers(3))

    assert ran.returncode == 1
    dead, closing = ran.stderr.splitlines()
    assert dead.startswith("dead: job 2 (2): ZeroDivisionError: ")
    assert closing.startswith("2 ok, 1 dead in ")


@pytest.mark.parametrize("kind", ["io", "cpu"])
def test_verbose_shows_where_a_job_failed(here: Path, kind: str) -> None:
    ran = headrace(here, "run", "-v", "-k", kind, "-e", "json.loads(x)", stdin='"{"\n')

    assert "Traceback (most recent call last)" in ran.stderr
    assert "json/decoder.py" in ran.stderr
    assert "actors/worker.py" not in ran.stderr


@pytest.mark.parametrize(
    ("retries", "ok", "code"), [("0", 2, 1), ("1", 2, 1), ("2", 4, 0), ("3", 4, 0)]
)
def test_retries_are_runs_after_the_first(
    here: Path, retries: str, ok: int, code: int
) -> None:
    options = ["--retries", retries]
    if retries != "0":
        options += ["--backoff", "0.001", "--max-backoff", "0.01"]

    ran = headrace(here, "run", "own_jobs:flaky", *options, stdin=numbers(4))

    assert ran.returncode == code
    found = results(ran.stdout)
    assert len(found) == ok
    assert all(r["attempts"] == r["out"] for r in found)
    expected = {"0": "", "1": ", 2 retried in ", "2": ", 4 retried in "}
    assert expected.get(retries, ", 4 retried in ") in ran.stderr
    assert ("retried" in ran.stderr) == (retries != "0")


@pytest.mark.parametrize(("kind", "job"), [("cpu", "forever"), ("io", "nap")])
def test_job_that_hangs_is_ended_by_its_timeout(
    here: Path, kind: str, job: str
) -> None:
    ran = headrace(
        here, "run", f"own_jobs:{job}", "-k", kind, "--timeout", "0.2", stdin="1\n"
    )

    assert ran.returncode == 1
    assert "dead: job 1 (1): JobTimeout: " in ran.stderr


def test_line_that_is_not_json_counts_as_dead(here: Path) -> None:
    ran = headrace(here, "run", "-e", "x", stdin="1\nhello\n3\n")

    assert ran.returncode == 1
    assert len(results(ran.stdout)) == 2
    assert "dead: line 2 is not JSON: " in ran.stderr
    assert "use --lines" in ran.stderr


def test_strict_input_stops_at_the_first_bad_line(here: Path) -> None:
    ran = headrace(here, "run", "-e", "x", "--strict-input", stdin="1\nhello\n3\n")

    assert ran.returncode == 2
    assert [r["out"] for r in results(ran.stdout)] == [1]
    assert "dead: line 2 is not JSON: " in ran.stderr


def test_output_that_cannot_take_results_is_given_up(here: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")

    ran = headrace(here, "run", "-e", "x", "-o", "/dev/full", stdin=numbers(3))

    assert ran.returncode == 3
    assert "results cannot be written: no space left on device" in ran.stderr
    assert "not written" in ran.stderr


# -- the end before the end


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_first_signal_drains_and_says_so(here: Path, number: int, code: int) -> None:
    (here / "in").write_text(numbers(1_000))
    options = ["own_jobs:gated", "-j", "2", "-i", "in"]
    with gate_closed(here) as open_gate, started(here, "run", *options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.send_signal(number)
        said = [process.stderr.readline(), process.stderr.readline()]
        open_gate()
        out, err = process.communicate(timeout=LIMIT)

    assert process.returncode == code
    assert said[0] == "from the import\n"
    assert said[1].startswith("stopping: no new jobs, finishing what is in flight")
    done = results(first + out)
    assert 3 <= len(done) <= 1 + 2 + 10 + 1  # ended, in hand, waiting, on its way in
    assert f"{len(done)} ok, 0 dead in " in err


def test_second_signal_abandons_what_is_in_flight(here: Path) -> None:
    (here / "in").write_text(numbers(1_000))
    options = ["own_jobs:gated", "-j", "2", "-i", "in"]
    with gate_closed(here), started(here, "run", *options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stderr.readline()
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)

    assert process.returncode == 130
    assert out == ""
    assert err.startswith("abandoning what is in flight\n1 ok, 0 dead, ")
    assert "not run in " in err


LATE = """
import signal, sys
from supervision import cli_run
from supervision.cli import main

def finish(self, report):
    for number in sys.argv[1:4]:
        signal.raise_signal(int(number))

cli_run._Run._finish = finish
status = main(["run", "-e", "x"])
for number in sys.argv[4:]:  # while the interpreter exits
    signal.raise_signal(int(number))
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("signals", "code"),
    [((2, 2, 2), 130), ((15,) * 3, 143), ((2, 15, 15), 130), ((15, 2, 2, 2), 143)],
)
def test_late_signal_ends_the_command_with_its_usual_status(
    here: Path, signals: tuple[int, ...], code: int
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LATE, *map(str, signals)],
        input=numbers(3),
        capture_output=True,
        text=True,
        cwd=here,
        env=environment(),
        timeout=LIMIT,
        check=False,
    )

    assert ran.returncode == code
    assert "Traceback" not in ran.stderr
    assert ran.stderr.count("headrace: interrupted\n") == 1


@pytest.mark.parametrize("kind", ["io", "cpu"])
def test_drain_has_a_limit(here: Path, kind: str) -> None:
    (here / "in").write_text(numbers(100))
    options = ["own_jobs:gated", "-k", kind, "-i", "in", "--drain-timeout", "0.2"]
    with gate_closed(here), started(here, "run", *options) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)

    assert process.returncode == 130
    assert out == ""
    assert "1 ok, 0 dead, " in err


def test_signal_ends_the_wait_for_input_that_never_comes(here: Path) -> None:
    with started(here, "run", "-e", "x") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("1\n")
        process.stdin.flush()
        assert process.stdout.readline()  # written though the input goes on
        process.send_signal(signal.SIGINT)

        assert process.wait(LIMIT) == 130


def test_reader_that_leaves_ends_the_run_quietly(here: Path) -> None:
    with started(here, "run", "-e", "x") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(numbers(2))
        process.stdin.flush()
        assert process.stdout.readline()
        assert process.stdout.readline()
        process.stdout.close()
        process.stdin.write("3\n")
        process.stdin.flush()

        assert process.wait(LIMIT) == 141
        assert process.stderr.read() == ""


# -- on a terminal


def read_all(descriptor: int) -> str:
    """What comes out of a terminal until its other end is closed."""
    chunks = []
    with contextlib.suppress(OSError):
        while chunk := os.read(descriptor, 65_536):
            chunks.append(chunk)
    return b"".join(chunks).decode()


def test_terminal_shows_a_live_line_below_what_jobs_print(here: Path) -> None:
    mine, theirs = pty.openpty()
    (here / "in").write_text(numbers(3))
    options = ["own_jobs:gated", "-i", "in", "-o", "out"]
    with (
        gate_closed(here) as open_gate,
        started(here, "run", *options, stderr=theirs) as process,
    ):
        os.close(theirs)
        seen = ""
        while "1 job " not in seen:
            seen += os.read(mine, 65_536).decode()
        open_gate()
        seen += read_all(mine)
        assert process.wait(LIMIT) == 0
    os.close(mine)

    assert "busy 2/8  queue 0/10  retried 0  dead 0" in seen
    *_, closing = seen.replace("\r\n", "\n").rstrip("\n").split("\r\x1b[K")
    assert closing.startswith("3 ok, 0 dead in ")


def test_stdin_that_is_a_terminal_is_no_input_unless_asked(here: Path) -> None:
    mine, theirs = pty.openpty()
    with started(here, "run", "-e", "x", stdin=theirs) as process:
        assert process.stderr is not None
        assert process.wait(LIMIT) == 2
        said = process.stderr.read()
    os.close(mine)
    os.close(theirs)

    assert said.startswith(
        "headrace: no input: stdin is a terminal; pipe JSON Lines in"
    )


# -- pure


@pytest.mark.parametrize(
    ("reasons", "code"),
    [
        ({}, 0),
        ({"clean": False}, 1),
        ({"failed": True}, 3),
        ({"failed": True, "clean": False}, 3),
        ({"refused": True, "failed": True}, 2),
        ({"reader_gone": True, "clean": False}, 141),
        ({"signals": [2], "failed": True}, 130),
        ({"signals": [15, 2]}, 143),
    ],
)
def test_first_reason_that_holds_is_the_exit_status(
    reasons: dict[str, Any], code: int
) -> None:
    usual = {
        "signals": [],
        "reader_gone": False,
        "refused": False,
        "failed": False,
        "clean": True,
    }

    assert exit_code(**{**usual, **reasons}) == code
