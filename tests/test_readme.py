"""Every code block of README.rst runs, and prints what the README says it prints.

The commands that build an environment are run by ``.ci/run``, word for word; here they
are only compared with what a newcomer was promised.

:Runs on: the test runner's thread; the blocks run in processes of their own.
:Owns: nothing.
"""

from __future__ import annotations

import ast
import os
import pkgutil
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.rst").read_text(encoding="utf-8")
LIMIT = 60  # seconds that a block may take before the test fails

FIRST_COMMAND = (
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/headrace run -e "
    "\"hashlib.file_digest(open(x,'rb'),'sha256').hexdigest()\" --files ."
)
SECOND_COMMAND = (
    "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && "
    ".venv/bin/python -m pytest"
)
# Run by .ci/run, or by the person who contributes: too much for one test.
NOT_RUN_HERE = (".venv", "$ .ci/run")


class Block(NamedTuple):
    """One ``.. code::`` block."""

    language: str
    line: int
    text: str


def blocks() -> list[Block]:
    """The code blocks in their order."""
    found = []
    for match in re.finditer(
        r"^\.\. code:: (\w+)\n\n((?:(?:   .*)?\n)+)", README, re.MULTILINE
    ):
        line = README.count("\n", 0, match.start()) + 1
        text = textwrap.dedent(match[2]).strip("\n") + "\n"
        found.append(Block(match[1], line, text))
    return found


def programs() -> list[tuple[Block, str]]:
    """The python blocks, each with the text block that follows it."""
    following = [*blocks()[1:], Block("", 0, "")]
    return [
        (block, after.text if after.language == "text" else "")
        for block, after in zip(blocks(), following, strict=True)
        if block.language == "python"
    ]


def commands() -> list[tuple[str, str]]:
    """Each console command that runs here, with the output shown below it."""
    found = []
    for block in blocks():
        if block.language == "console":
            for part in re.split(r"^(?=\$ )", block.text, flags=re.MULTILINE):
                if part and not any(mark in part for mark in NOT_RUN_HERE):
                    command, _, output = part.partition("\n")
                    found.append((command.removeprefix("$ "), output))
    return found


def _environment(bin_folder: Path) -> dict[str, str]:
    """An environment in which this project's packages and command are found."""
    for name, what in (("headrace", "-m supervision"), ("python3", "")):
        script = bin_folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {what} "$@"\n')
        script.chmod(0o755)
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "output"),
    programs(),
    ids=lambda value: f"line{value.line}" if isinstance(value, Block) else "",
)
def test_program_prints_what_the_readme_says(
    block: Block, output: str, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(block.text, encoding="utf-8")

    ended = _run([sys.executable, str(program)], tmp_path)

    assert (ended.stdout, ended.returncode) == (output, 0), ended.stderr


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(("command", "output"), commands())
def test_command_prints_what_the_readme_says(
    command: str, output: str, tmp_path: Path
) -> None:
    ended = _run(["bash", "-c", command], tmp_path)

    assert (ended.stdout, ended.returncode) == (output, 0), ended.stderr


def test_the_two_commands_come_first_and_word_for_word() -> None:
    console = [block.text for block in blocks() if block.language == "console"]

    assert console[:2] == [f"$ {FIRST_COMMAND}\n", f"$ {SECOND_COMMAND}\n"]


def test_a_program_and_its_output_stand_within_the_first_thirty_lines_after() -> None:
    program, output = programs()[0]

    assert output
    assert len(program.text.splitlines() + output.splitlines()) <= 30


def test_every_python_block_shows_its_output() -> None:
    assert [block.line for block, output in programs() if not output] == []


def test_every_promise_names_a_test_that_exists() -> None:
    promised = re.findall(r"``(test_promise_\w+)``", README)
    module = re.search(r"``(tests/[\w/]+test_promises\.py)``", README)
    assert module is not None
    tree = ast.parse((ROOT / module[1]).read_text(encoding="utf-8"))
    tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}

    assert len(promised) == 7
    assert set(promised) - tests == set()


@pytest.mark.parametrize("document", ["README.rst", "CHANGELOG.rst"])
def test_every_public_name_in_a_document_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    names = set(re.findall(r"``((?:actors|supervision)(?:\.\w+)+)\b", text))

    assert {name for name in names if not _exists(name)} == set()


def _exists(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError):
        return False
    return True


def test_every_file_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"``((?:tests|benchmarks|examples)/[\w/.]*)``", README))
    examples = set(re.findall(r"``(\w+_(?:tree|host)\.py)``", README))
    paths = {ROOT / name for name in named} | {ROOT / "examples" / e for e in examples}

    assert [path.name for path in sorted(paths) if not path.exists()] == []
