"""The programs of ``examples/`` do their work on real files, as programs.

:Runs on: the test runner's thread; each program in a process of its own.
:Owns: nothing.
"""

from __future__ import annotations

import ast
import collections
import contextlib
import email
import hashlib
import io
import json
import lzma
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import tokenize
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SUITE = EXAMPLES / "testing"
LIMIT = 60  # seconds that a program may take before its test fails

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory of real files: two packages of the standard library."""
    folder = tmp_path / "tree"
    for package in (email, json):
        source = Path(str(package.__file__)).parent
        shutil.copytree(
            source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "LICENSE", folder / "LICENSE.txt")
    return folder


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def start(name: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def running(name: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A program that is gone when the block ends, and after ``LIMIT`` seconds."""
    with start(name, *arguments) as process:
        limit = threading.Timer(LIMIT, process.kill)
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            limit.join()
            process.kill()


def run(name: str, *arguments: object) -> tuple[int, str, str]:
    """Run a program to its end: exit code, output, errors."""
    with running(name, *arguments) as process:
        output, errors = process.communicate(timeout=LIMIT)
        return process.returncode, output, errors


def test_hash_tree_prints_what_hashlib_says(tree: Path) -> None:
    expected = {
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}"
        for path in files_of(tree)
    }

    code, output, errors = run("hash_tree.py", tree)

    assert (code, set(output.splitlines())) == (0, expected), errors
    assert len(output.splitlines()) == len(expected)
    assert f"accepted {len(expected)} = {len(expected)} succeeded" in errors


def test_compress_tree_heals_after_a_worker_process_is_killed(
    tree: Path, tmp_path: Path
) -> None:
    target = tmp_path / "packed"
    sources = files_of(tree)

    code, output, errors = run("compress_tree.py", tree, target)

    assert code == 0, output + errors
    for source in sources:
        packed = target / source.relative_to(tree).with_name(f"{source.name}.xz")
        assert lzma.decompress(packed.read_bytes()) == source.read_bytes()
    assert len(files_of(target)) - len(sources) <= 1  # what the killed one had begun
    assert len(re.findall(r"^killed process \d+$", output, re.MULTILINE)) == 1
    number = len(sources)
    assert f"accepted {number} = {number} succeeded + 0 dead" in output
    assert "; 3 processes" in output


def test_index_tree_stores_what_an_independent_count_finds(
    tree: Path, tmp_path: Path
) -> None:
    database = tmp_path / "index.db"

    code, output, errors = run("index_tree.py", tree, database)

    assert code == 0, output + errors
    with contextlib.closing(sqlite3.connect(database)) as db:
        rows = db.execute("SELECT path, word, number FROM words").fetchall()
    assert collections.Counter({(p, w): n for p, w, n in rows}) == _count_words(tree)
    totals: collections.Counter[str] = collections.Counter()
    for _, word, number in rows:
        totals[word] += number
    best = sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:10]
    told = [line.split() for line in output.splitlines()]
    assert [(word, int(number)) for number, word in told] == best


def _count_words(folder: Path) -> collections.Counter[tuple[str, str]]:
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for path in files_of(folder):
        if path.suffix == ".py":
            lines = io.BytesIO(path.read_bytes()).readline
            words = [t.string for t in tokenize.tokenize(lines) if t.type == 1]
        else:
            words = re.findall(r"[a-z]\w*", path.read_text().lower())
        counts.update((str(path), word) for word in words)
    return counts


def _expected_words(path: Path) -> int:
    common = {"a", "an", "and", "of", "the", "to"}
    return sum(word not in common for word in path.read_text().lower().split())


def test_pipeline_host_counts_every_round(tree: Path) -> None:
    expected = _expected_words(tree / "LICENSE.txt")

    code, output, errors = run("pipeline_host.py", tree, "--rounds", "3")

    assert code == 0, output + errors
    assert [f"round {n}: LICENSE.txt {expected}" for n in (1, 2, 3)] == sorted(
        output.splitlines()[:3]
    )
    assert f"all rounds done: {3 * expected} words in 3 files" in output


def test_pipeline_host_drains_when_told_to_stop(tree: Path) -> None:
    expected = _expected_words(tree / "LICENSE.txt")

    with running("pipeline_host.py", tree) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()  # to the end of the program
        code = process.wait(LIMIT)

    assert code == 0, rest
    *counted, why, report = [first.rstrip("\n"), *rest.splitlines()]
    number = len(counted)
    assert all(line.endswith(f": LICENSE.txt {expected}") for line in counted)
    assert why == f"stopped by a signal: {number * expected} words in {number} files"
    assert report == (
        f"accepted {number} = {number} succeeded + 0 dead + 0 cancelled + 0 returned"
    )


def test_pykka_host_answers_after_a_crash_under_the_same_ref(tree: Path) -> None:
    paths = files_of(tree)
    lines = {path: len(path.read_bytes().splitlines()) for path in paths}

    code, output, errors = run("pykka_host.py", *paths)

    assert code == 0, output + errors
    told = output.splitlines()
    assert [f"{path}: {lines[path]} lines" for path in paths] == [
        line for line in told if line.endswith(" lines")
    ]
    assert "the reader crashed: [Errno 2] No such file or directory" in output
    assert "the same ref, alive again: True" in told
    assert told[-1] == f"{sum(lines.values())} lines in {len(paths)} files"


def run_suite(folder: Path, *options: str) -> tuple[int, str]:
    """Run the example test-suite as its owner would, in a folder of its own."""
    installed = any(each.name == "headrace" for each in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "supervision.pytest_plugin"]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    shutil.copytree(SUITE, tmp_path / "suite", ignore=lambda *_: ["__pycache__"])
    return tmp_path / "suite"


def test_the_test_suite_of_a_worker_passes(suite: Path) -> None:
    code, output = run_suite(suite)

    assert code == 0, output
    assert "53 passed" in output


def test_the_test_suite_of_a_worker_finds_a_bug_and_shows_how_to_have_it_again(
    suite: Path,
) -> None:
    mailer = suite / "mailer.py"
    good = mailer.read_text(encoding="utf-8")
    bad = good.replace(
        "self.connection.send(letter.address, letter.text)\n",
        "self.connection.send(letter.address, letter.text)\n"
        "            self.connection.send(letter.address, letter.text)\n",
    )
    mailer.write_text(bad, encoding="utf-8")

    code, output = run_suite(suite, "-k", "in_whatever_order")

    assert code == 1, output
    assert "1 failed, 49 skipped" in output
    again = re.search(r'run it again: python -m pytest "(\S+)" (\S+)', output)
    assert again is not None, output
    assert run_suite(suite, again[1], again[2])[0] == 1


@pytest.mark.parametrize("path", sorted(SUITE.glob("*.py")), ids=lambda p: p.name)
def test_the_files_of_the_suite_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 120


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_example_has_a_main_and_is_short(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    functions = {n.name for n in ast.walk(ast.parse(source)) if hasattr(n, "name")}

    assert "main" in functions
    assert len(source.splitlines()) < 120
