"""Every block of the pages in ``docs/`` runs and prints what it shows; no name is lost.

:Runs on: the test runner's thread; the blocks run in processes of their own.
:Owns: nothing.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import TYPE_CHECKING, Any, cast

import pytest

import actors.testing
from supervision import pytest_plugin
from tests.pages import DOCS, Run, blocks, difference, execute, runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def page(name: str) -> str:
    return next(path for path in DOCS if path.name == name).read_text(encoding="utf-8")


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(
    "run",
    [
        pytest.param(run, id=f"{path.stem}-{run}")
        for path in DOCS
        for run in runs(path.read_text(encoding="utf-8"))
    ],
)
def test_what_a_page_runs_prints_what_it_shows(run: Run, tmp_path: Path) -> None:
    ended = execute(run, tmp_path)

    differs = difference(run.output, ended.stdout)
    if differs:
        pytest.fail(f"{differs}\n\n{ended.stdout}", pytrace=False)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_python_block_is_a_file_or_shows_its_output(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    silent = [run.line for run in runs(text) if run.command is None and not run.output]

    assert silent == []
    assert {block.language for block in blocks(text)} <= {
        "console",
        "ini",
        "python",
        "text",
    }


# -- the reference has every name, as it is


def sections(text: str, underline: str) -> dict[str, str]:
    """The parts of a page below headings of one level."""
    parts = re.split(
        rf"^(\S.*)\n{re.escape(underline) * 3}+\n", text, flags=re.MULTILINE
    )
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def literals(text: str) -> set[str]:
    return {
        each.replace("\n", " ") for each in re.findall(r"``(.+?)``", text, re.DOTALL)
    }


def signature(name: str, what: Any) -> str:
    """A signature without types, in the words of the page."""
    found = inspect.signature(what)
    bare = [
        each.replace(annotation=each.empty)
        for each in found.parameters.values()
        if each.name != "self"
    ]
    text = str(found.replace(parameters=bare, return_annotation=found.empty))
    for said, shown in (
        ("datetime.datetime(2000, 1, 1, 0, 0, ", "datetime(2000, 1, 1, "),
        ("datetime.timezone.utc", "UTC"),
        ("<class 'object'>", "object"),
    ):
        text = text.replace(said, shown)
    return f"{name}{text}"


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """The public attributes of a class that headrace itself gives it."""
    for owner in kind.__mro__:
        if owner.__module__.startswith("actors."):
            for name in vars(owner):
                if not name.startswith("_"):
                    yield name, getattr(kind, name)
            yield from attributes_in_docstring(owner)


def attributes_in_docstring(owner: type) -> Iterator[tuple[str, Any]]:
    _, _, text = (inspect.getdoc(owner) or "").partition("Attributes:\n")
    for name in re.findall(r"^    (\w+):", text, re.MULTILINE):
        yield name, None


def test_the_reference_has_every_public_name_of_the_testing_package() -> None:
    text = page("testing-reference.rst")
    errors = literals(sections(text, "-")["Errors"])

    for name in actors.testing.__all__:
        what = getattr(actors.testing, name)
        if isinstance(what, type) and issubclass(what, BaseException):
            assert name in errors
        else:
            assert name in sections(text, "~")


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in actors.testing.__all__
        if not issubclass(type(getattr(actors.testing, name)), type)
        or not issubclass(getattr(actors.testing, name), BaseException)
    ],
)
def test_the_reference_has_every_signature_as_it_is(name: str) -> None:
    what = getattr(actors.testing, name)
    shown = literals(sections(page("testing-reference.rst"), "~")[name])
    # A probe is made by start(); these two are not made by those who use them.
    made = {} if name in ("Probe", "Runnable", "Strategy") else {signature(name, what)}
    wanted = set(made)
    if isinstance(what, type):
        if issubclass(what, actors.testing.Strategy) and name != "Strategy":
            wanted |= {f".{name}" for name, _ in attributes_in_docstring(what)}
        else:
            wanted |= {
                signature(f".{name}", each) if inspect.isroutine(each) else f".{name}"
                for name, each in members(what)
            }
        if dataclasses.is_dataclass(what):
            wanted -= {f".{field.name}" for field in dataclasses.fields(what)}

    assert wanted - shown == set()


class FakeParser:
    """Notes which options and settings a plugin adds."""

    def __init__(self) -> None:
        self.options: list[str] = []
        self.settings: list[str] = []

    def getgroup(self, *_: str) -> FakeParser:
        return self

    def addoption(self, name: str, **_: object) -> None:
        self.options.append(name)

    def addini(self, name: str, *_: object, **__: object) -> None:
        self.settings.append(name)


def test_the_reference_has_all_that_the_plugin_adds() -> None:
    parser = FakeParser()
    pytest_plugin.pytest_addoption(cast("pytest.Parser", parser))
    parts = sections(page("testing-reference.rst"), "~")

    assert literals(parts["Fixtures"]) >= set(pytest_plugin.__all__)
    assert pytest_plugin._MARKER.partition(":")[0] in literals(parts["Marker"])
    assert literals(parts["Option"]) >= set(parser.options)
    assert literals(parts["Settings"]) >= set(parser.settings)


def test_the_index_links_every_page() -> None:
    linked = set(re.findall(r"<([\w-]+\.rst)>`_", page("index.rst")))

    assert linked == {path.name for path in DOCS} - {"index.rst"}


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_to_a_page_goes_somewhere(path: Path) -> None:
    linked = set(re.findall(r"<([\w-]+\.rst)>`_", path.read_text(encoding="utf-8")))

    assert linked - {path.name for path in DOCS} == set()
