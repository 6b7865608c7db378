"""Pages of documentation that run: their blocks, and what the blocks print.

A page is a session in a folder of its own.  A block that begins with ``# name.py`` is a
file of that folder; any other python block is a program, and the text block after it is
what it prints; a console block holds commands, each with its output.  ``...`` in an
output stands for what varies, and times that pytest took count as equal.

:Runs on: the test runner's thread; what a page has runs in processes of its own.
:Owns: nothing.
"""

from __future__ import annotations

import difflib
import doctest
import itertools
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").glob("*.rst"))
LIMIT = 60  # seconds that a program may take before its test fails

# They make pytest print otherwise than for a person, or hold this run's own options.
_NOT_INHERITED = ("CI", "BUILD_NUMBER", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST")
_FILE = re.compile(r"# ([\w.]+\.(?:py|ini))\n")
_TOOK = re.compile(r"in \d+\.\d\ds\b")


class Block(NamedTuple):
    """One ``.. code::`` block."""

    language: str
    line: int
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that it is."""
        first = _FILE.match(self.text)
        return first and first[1]


class Run(NamedTuple):
    """Something that a page runs, with the files that come before it."""

    line: int
    files: dict[str, str]
    command: str | None  # None: the file program.py
    output: str

    def __str__(self) -> str:
        return f"line{self.line}"


def blocks(text: str) -> list[Block]:
    """The code blocks of a page in their order."""
    found = []
    for match in re.finditer(
        r"^\.\. code:: (\w+)\n\n((?:(?:   .*)?\n)+)", text, re.MULTILINE
    ):
        line = text.count("\n", 0, match.start()) + 1
        body = textwrap.dedent(match[2]).strip("\n") + "\n"
        found.append(Block(match[1], line, body))
    return found


def runs(text: str) -> Iterator[Run]:
    """What a page runs, in its order."""
    files: dict[str, str] = {}
    found = blocks(text)
    for block, after in itertools.pairwise([*found, Block("", 0, "")]):
        if block.file is not None:
            files[block.file] = block.text
        elif block.language == "python":
            output = after.text if after.language == "text" else ""
            yield Run(block.line, {**files, "program.py": block.text}, None, output)
        elif block.language == "console":
            for command, output in commands(block):
                yield Run(block.line, dict(files), command, output)


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output shown below it."""
    for part in re.split(r"^(?=\$ )", block.text, flags=re.MULTILINE):
        if part:
            command, _, output = part.partition("\n")
            yield command.removeprefix("$ "), output


def execute(run: Run, folder: Path) -> subprocess.CompletedProcess[str]:
    """Do in ``folder`` what a page does."""
    for name, text in run.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    command = ["bash", "-c", run.command] if run.command else [sys.executable, PROGRAM]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )


PROGRAM = "program.py"


def environment(folder: Path) -> dict[str, str]:
    """An environment in which this project's packages and command are found."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for name, what in (("headrace", "-m supervision"), ("python3", ""), ("python", "")):
        script = bin_folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {what} "$@"\n')
        script.chmod(0o755)
    kept = {key: os.environ[key] for key in os.environ if key not in _NOT_INHERITED}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "80",
        # Our plugin alone, installed or not: others would print lines of their own.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_PLUGINS": "supervision.pytest_plugin",
    }


def difference(shown: str, printed: str) -> str:
    """How an output differs from the one that a page shows; empty if it does not."""
    shown, printed = _comparable(shown), _comparable(printed)
    if doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS):
        return ""
    lines = shown.splitlines(), printed.splitlines()
    return "\n".join(difflib.unified_diff(*lines, "shown", "printed", lineterm=""))


def _comparable(output: str) -> str:
    lines = (line.rstrip() for line in output.strip("\n").splitlines())
    return _TOOK.sub("in 0.00s", "\n".join(lines)) + "\n"
