"""Every code block of README.rst runs, and prints what the README says it prints.

The commands that build an environment are run by ``.ci/run``, word for word; here they
are only compared with what a newcomer was promised.

:Runs on: the test runner's thread; the blocks run in processes of their own.
:Owns: nothing.
"""

from __future__ import annotations

import ast
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import pages
from tests.pages import Block

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.rst").read_text(encoding="utf-8")

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


def blocks() -> list[Block]:
    """The code blocks in their order."""
    return pages.blocks(README)


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
    return [
        (command, output)
        for block in blocks()
        if block.language == "console"
        for command, output in pages.commands(block)
        if not any(mark in f"$ {command}\n{output}" for mark in NOT_RUN_HERE)
    ]


def _run(
    command: list[str], folder: Path, cwd: Path
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=pages.environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=pages.LIMIT,
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

    if "\ndef test_" in block.text:
        command = [sys.executable, "-m", "pytest", "-q", str(program)]
        ended = _run(command, tmp_path, cwd=tmp_path)
    else:
        ended = _run([sys.executable, str(program)], tmp_path, cwd=ROOT)

    assert pages.difference(output, ended.stdout) == ""
    assert ended.returncode == 0, ended.stderr


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(("command", "output"), commands())
def test_command_prints_what_the_readme_says(
    command: str, output: str, tmp_path: Path
) -> None:
    ended = _run(["bash", "-c", command], tmp_path, cwd=ROOT)

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


@pytest.mark.parametrize(
    "document",
    [ROOT / "README.rst", ROOT / "CHANGELOG.rst", *pages.DOCS],
    ids=lambda path: path.name,
)
def test_every_public_name_in_a_document_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
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
    linked = set(re.findall(r"<(docs/[\w.-]+)>`_", README))
    paths = {ROOT / name for name in named | linked}
    paths |= {ROOT / "examples" / name for name in examples}

    assert [path.name for path in sorted(paths) if not path.exists()] == []
