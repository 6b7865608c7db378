from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from actors.errors import ConfigurationError
from supervision.cli_expression import Expression

if TYPE_CHECKING:
    from pathlib import Path

VALID = [
    ("x", 3, 3),
    ("x * x", 7, 49),
    ("  len(x)  ", "abc", 3),
    ("1 +\\\n x", 1, 2),
    ("(x +\n 1)", 1, 2),
    ("x + 1  # more", 1, 2),
    ("-x", 1, -1),
    ("hashlib.sha256(x.encode()).hexdigest()", "a", hashlib.sha256(b"a").hexdigest()),
    ("os.path.basename(x)", "a/b", "b"),
    ("urllib.parse.urlsplit(x).netloc", "http://h/p", "h"),
    ("xml.etree.ElementTree.fromstring(x).tag", "<a/>", "a"),
    ("[y for y in range(x)]", 3, [0, 1, 2]),
    ("sum(math.floor(y) for y in x)", [1.5, 2.5], 3),
    ("(lambda os: os + x)(1)", 1, 2),
    ("(y := x + 1) * y", 1, 4),
    ("{k: json.dumps(v) for k, v in x.items()}", {"a": [1]}, {"a": "[1]"}),
    ("'constant'", None, "constant"),
    ("collections.Counter(x).most_common(1)[0][0]", "aab", "a"),
    ("f'{x:>{len(x) + 1}}'", "a", " a"),
    ("x['a'] if 'a' in x else None", {}, None),
]


@pytest.mark.parametrize(("text", "x", "expected"), VALID)
def test_expression_is_evaluated_with_x(text: str, x: Any, expected: Any) -> None:
    assert Expression(text)(x) == expected


@pytest.mark.parametrize(("text", "x", "expected"), VALID)
def test_expression_survives_the_way_to_a_process(
    text: str, x: Any, expected: Any
) -> None:
    assert pickle.loads(pickle.dumps(Expression(text)))(x) == expected


def test_expression_imports_nothing_of_ours_in_a_process() -> None:
    blob = pickle.dumps(Expression("urllib.parse.quote(x)"))
    program = (
        "import pickle, sys; fn = pickle.loads(sys.stdin.buffer.read()); "
        "print(fn('a b'), 'supervision' in sys.modules)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], input=blob, capture_output=True, check=True
    )

    assert ran.stdout.split() == [b"a%20b", b"False"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a Python expression"),
        ("x +", "not a Python expression: invalid syntax"),
        ("(x", "'(' was never closed"),
        ("y = x", "is a statement"),
        ("import os", "is a statement"),
        ("return x", "is a statement"),
        ("x; x", "is a statement"),
        ("x\0", "null"),
        ("(" * 500 + "x" + ")" * 500, "not a Python expression"),
        ("X + 1", "'X' is neither x nor a builtin nor a module; the input is called"),
        ("item['a']", "'item' is neither x nor a builtin nor a module"),
        ("lne(x)", "did you mean 'len'?"),
        ("hashlb.sha256(x)", "did you mean 'hashlib'?"),
        ("hashlib.sha265(x)", "'hashlib' has no 'sha265'; did you mean 'sha256'?"),
        ("urllib.prase.quote(x)", "'urllib' has no 'prase'; did you mean 'parse'?"),
        ("os.path.basenam(x)", "has no 'basenam'; did you mean 'basename'?"),
    ],
)
def test_wrong_expression_is_refused_with_the_way_out(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Expression(text)

    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_module_that_fails_at_import_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_by_itself.py").write_text("x = 1\nraise ValueError('boom')\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ConfigurationError, match=r"ValueError: boom .*line 2"):
        Expression("broken_by_itself.f(x)")


def test_traceback_of_an_expression_shows_its_text() -> None:
    expression = Expression("x['missing'] + 1")

    with pytest.raises(KeyError) as caught:
        expression({})
    shown = "".join(traceback.format_exception(caught.value))

    assert "x['missing'] + 1" in shown
