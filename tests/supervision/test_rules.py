"""Every rule of supervision that must hold has a test that says so.

A test that holds rules begins its docstring with them: ``R5, R6: ...``.  The docstrings
are read from the sources, so nothing is imported or run for this.

``python -m tests.supervision.test_rules`` prints which tests hold which rule.

:Runs on: the test runner's thread.
:Owns: the list of the rules.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS: Final = Path(__file__).resolve().parents[1]

LAST: Final = 93
SHOULD: Final = {
    f"R{number}" for number in (11, 25, 33, 46, 49, 51, 60, 80, 87, 89, 92, 93)
}
"""Rules that need not hold; R74 was withdrawn."""
RULES: Final = [f"R{number}" for number in range(1, LAST + 1) if number != 74]
RULES.insert(RULES.index("R21") + 1, "R21a")
MUST: Final = [rule for rule in RULES if rule not in SHOULD]
CASES: Final = [f"d{number:02}" for number in range(1, 34)]

_HEAD = re.compile(r"(?:[RD]\d+a?\b(?:, | and | |(?=[:.])))+")
_RULE = re.compile(r"R\d+a?")


def rules_of(docstring: str) -> list[str]:
    """The rules that a docstring begins with."""
    head = _HEAD.match(docstring)
    return [] if head is None else _RULE.findall(head[0])


def each_test(path: Path) -> Iterator[tuple[str, str]]:
    """The name and the docstring of each test in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.name, ast.get_docstring(node) or ""


@functools.cache
def table() -> dict[str, list[str]]:
    """The tests of each rule, as ``file::test``."""
    held: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        where = path.relative_to(TESTS)
        for name, docstring in each_test(path):
            for rule in rules_of(docstring):
                held[rule].append(f"{where}::{name}")
    return held


def show() -> str:
    """The table, as text."""
    held = table()
    lines = []
    for rule in RULES:
        level = "MUST" if rule in MUST else "SHOULD"
        lines.append(f"{rule} ({level}): {len(held[rule])}")
        lines += [f"    {test}" for test in held[rule]]
    return "\n".join(lines)


def test_head_of_a_docstring_names_its_rules() -> None:
    for docstring, rules in (
        ("R5: a reason.", ["R5"]),
        ("R5, R21a: a reason.", ["R5", "R21a"]),
        ("R75, D27: a reason.", ["R75"]),
        ("R77.", ["R77"]),
        ('R14, while_down="fail": a reason.', ["R14"]),
        ("It holds R5: a reason.", []),
        ("", []),
    ):
        assert rules_of(docstring) == rules, docstring


def test_every_rule_that_must_hold_has_a_test() -> None:
    held = table()

    assert [rule for rule in MUST if not held[rule]] == []


def test_no_test_holds_a_rule_that_there_is_not() -> None:
    assert sorted(set(table()) - set(RULES)) == []


def test_every_case_has_one_test_of_its_name() -> None:
    names = [name for name, _ in each_test(TESTS / "supervision" / "test_cases.py")]

    assert [name[5:8] for name in names] == CASES


if __name__ == "__main__":
    sys.stdout.write(show() + "\n")
