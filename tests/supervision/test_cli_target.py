from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from actors import JobKind
from actors.errors import ConfigurationError
from supervision.cli_expression import Expression
from supervision.cli_options import RunOptions, parse
from supervision.cli_target import kind_of, load_function, load_work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def options(*arguments: str) -> RunOptions:
    values = vars(parse(["run", *arguments]))
    del values["command"]
    return RunOptions(**values)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An own directory to import from; what is imported there is forgotten."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("text", ["os.path:getsize", "zlib:crc32", "json:dumps"])
def test_function_of_the_standard_library_is_found(text: str) -> None:
    assert callable(load_function(text))


def test_method_of_a_class_is_found_by_its_dotted_name() -> None:
    assert load_function("builtins:str.upper")("a") == "A"


def test_module_of_the_current_directory_is_found(here: Path) -> None:
    (here / "own_jobs.py").write_text("def double(x):\n    return 2 * x\n")

    assert load_work(options("own_jobs:double"))(4) == 8


def test_current_directory_never_shadows_a_module_of_an_expression(here: Path) -> None:
    (here / "antigravity_free.py").write_text("value = 'own'\n")
    (here / "colorsys.py").write_text("raise ValueError\n")
    sys.modules.pop("colorsys", None)

    work = load_work(options("-e", "colorsys.rgb_to_hsv(x, x, x)[2]"))

    assert work(1) == 1
    assert sys.path[-1] == os.getcwd()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hashlib", "is not MODULE:FUNCTION"),
        ("hashlib:", "is not MODULE:FUNCTION"),
        (":f", "is not MODULE:FUNCTION"),
        ("", "is not MODULE:FUNCTION"),
        ("..:f", "is not MODULE:FUNCTION"),
        ("a b:f", "is not MODULE:FUNCTION"),
        ("jobs.py:f", "names a file; name the module: jobs:f"),
        ("src/jobs.py", "names a file; name the module: src.jobs:FUNCTION"),
        (
            "hashlib:sha265",
            "module 'hashlib' has no function 'sha265'; did you mean 's",
        ),
        ("hashlb:sha256", "there is no module 'hashlb'; did you mean 'hashlib'?"),
        ("zqxwvk:f", "there is no module 'zqxwvk'; the current directory and"),
        ("os.pth:join", "there is no module 'pth' in 'os'"),
        (
            "email.mesage:Message",
            "no module 'mesage' in 'email'; did you mean 'message'?",
        ),
        ("zqxwvk.a.b:f", "there is no module 'zqxwvk'"),
        (
            "builtins:str.uper",
            "class 'str' has no function 'uper'; did you mean 'upper'?",
        ),
        ("string:digits", "'string:digits' is not a function but a str"),
        ("asyncio:sleep", "is an async function"),
        ("ast:walk", "is a generator"),
    ],
)
def test_wrong_target_is_refused_with_the_way_out(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_function(text)

    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def f(:\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("import nothing_of_this_name\n", "it needs 'nothing_of_this_name', which is"),
        ("import sys; sys.exit()\n", "SystemExit"),
    ],
)
def test_module_that_fails_at_import_is_named(
    here: Path, source: str, told: str
) -> None:
    (here / "own_broken.py").write_text(source)

    with pytest.raises(ConfigurationError) as caught:
        load_work(options("own_broken:f"))

    assert "module 'own_broken' cannot be imported" in str(caught.value)
    assert told in str(caught.value)


def test_function_that_cannot_travel_is_refused_for_processes(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "own_lambda.py").write_text("square = lambda x: x * x\n")
    monkeypatch.setitem(sys.modules, "cloudpickle", None)

    with pytest.raises(ConfigurationError, match="pip install cloudpickle"):
        load_work(options("own_lambda:square", "-k", "cpu"))

    assert load_work(options("own_lambda:square", "-k", "io"))(3) == 9


def test_kind_is_what_the_option_says_else_the_function(here: Path) -> None:
    source = "from actors import job\n@job(kind='cpu')\ndef f(x):\n    return x\n"
    (here / "own_marked.py").write_text(source)

    marked = load_work(options("own_marked:f"))

    assert kind_of(options("own_marked:f"), marked) is JobKind.CPU
    assert kind_of(options("own_marked:f", "-k", "io"), marked) is JobKind.IO
    assert kind_of(options("-e", "x"), Expression("x")) is JobKind.IO
