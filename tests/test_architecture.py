"""The layering rules, held by reading the source and never by importing it.

Each rule is a function over ``{path: source}`` that returns the violations it finds, so
the same function that judges the two packages is shown to fail on seeded ones below.

:Runs on: the test runner's thread.
:Owns: the table of homes: which module may use which dangerous thing.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("actors", "supervision")

Sources = Mapping[str, str]
Rule = Callable[[Sources], list[str]]

STAGES = frozenset(
    f"actors.{name}" for name in ("collector", "dispatcher", "producer", "worker")
)
PUBLIC_SUBMODULES = frozenset({"actors.errors", "actors.events", "actors.messages"})
ONLY_FOR = {"actors.testing": "supervision/pytest_plugin.py"}

_CLOCK = frozenset(
    {
        "actors/clock.py",
        "actors/_timer_thread.py",
        "actors/_wake_queue.py",
        "actors/testing/",
    }
)
_PYKKA = frozenset(
    f"actors/{name}.py" for name in ("base", "cell", "future", "ref", "testing/leaks")
)
_POOL = frozenset({"actors/cpu_pool.py", "actors/_cpu_child.py", "actors/_cpu_link.py"})
# A worker's process has neither our clock nor our threads: it watches its life-line.
_LIFE_LINE = _CLOCK | {"actors/_cpu_child.py"}
_NOWHERE: frozenset[str] = frozenset()

# The dangerous thing, a dotted name or the start of one -> the modules, or the folders,
# that may use it.
HOMES: dict[str, frozenset[str]] = {
    "pykka": _PYKKA,
    "time": _CLOCK,
    "random": _CLOCK,
    "threading": _CLOCK,
    "_thread": _LIFE_LINE,
    "queue": _CLOCK,
    "sched": _CLOCK,
    "asyncio": _NOWHERE,
    "datetime.date.today": _CLOCK,
    "datetime.datetime.now": _CLOCK,
    "datetime.datetime.today": _CLOCK,
    "datetime.datetime.utcnow": _CLOCK,
    "concurrent.futures.ThreadPoolExecutor": _NOWHERE,
    "concurrent.futures.thread": _NOWHERE,
    "psutil": frozenset({"actors/metrics.py", "actors/cpu_pool.py"}),
    "subprocess": _POOL,
    "multiprocessing": _POOL,
    "concurrent.futures.ProcessPoolExecutor": _POOL,
    "concurrent.futures.process": _POOL,
    "os.fork": _POOL,
    "os.forkpty": _POOL,
    "os.popen": _POOL,
    "os.posix_spawn": _POOL,
    "os.posix_spawnp": _POOL,
    "os.system": _POOL,
    "sqlite3": _NOWHERE,
}


class Use(NamedTuple):
    """One dotted name that a module imports, or reaches through what it imports."""

    name: str
    line: int
    imported: bool


# -- reading source


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree, leaving out what runs for type checkers alone."""
    yield node
    children: Iterator[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        children = iter(node.orelse)
    for child in children:
        yield from _nodes(child)


def _dotted(node: ast.AST) -> str | None:
    """``a.b.c`` of an attribute chain on a plain name, else None."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value)
        return None if base is None else f"{base}.{node.attr}"
    return None


def _imports(path: str, node: ast.AST) -> Iterator[tuple[str, str]]:
    """What an import statement binds: the local name and the dotted name behind it."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                yield alias.asname, alias.name
            else:
                yield alias.name.partition(".")[0], alias.name
    elif isinstance(node, ast.ImportFrom):
        package = path.rpartition("/")[0].replace("/", ".")
        up = package.split(".")[: max(0, len(package.split(".")) + 1 - node.level)]
        base = ".".join([*up, node.module or ""]).strip(".") if node.level else ""
        base = base or node.module or ""
        for alias in node.names:
            yield alias.asname or alias.name, f"{base}.{alias.name}"


def _called_import(node: ast.AST) -> str | None:
    """The module that ``import_module("x")`` or ``__import__("x")`` names."""
    if not (isinstance(node, ast.Call) and node.args):
        return None
    name, first = _dotted(node.func) or "", node.args[0]
    if name.rpartition(".")[2] not in {"import_module", "__import__"}:
        return None
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return first.value
    return None


def uses(path: str, source: str) -> list[Use]:
    """Every dotted name that ``source`` imports or reaches at run time."""
    nodes = list(_nodes(ast.parse(source)))
    found: list[Use] = []
    behind: dict[str, str] = {}
    for node in nodes:
        line = getattr(node, "lineno", 0)
        for local, name in _imports(path, node):
            found.append(Use(name, line, imported=True))
            plain = isinstance(node, ast.Import) and local == name.partition(".")[0]
            behind[local] = local if plain else name
        called = _called_import(node)
        if called:
            found.append(Use(called, line, imported=True))
    for node in nodes:
        dotted = _dotted(node) if isinstance(node, ast.Attribute) else None
        root, _, rest = (dotted or "").partition(".")
        if rest and root in behind:
            name = f"{behind[root]}.{rest}"
            found.append(Use(name, getattr(node, "lineno", 0), imported=False))
    return found


def _below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _module_of(path: str) -> str:
    dotted = path.removesuffix(".py").replace("/", ".")
    return dotted.removesuffix(".__init__")


def _all_of(source: str) -> list[str] | None:
    """The literal ``__all__`` of a module, or None."""
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        value = getattr(node, "value", None)
        if "__all__" in names and isinstance(value, ast.List | ast.Tuple):
            return [str(ast.literal_eval(item)) for item in value.elts]
    return None


def _bound_at_top(source: str) -> set[str]:
    """Names that exist in the module once it is imported."""
    names: set[str] = set()
    for node in _top_level(ast.parse(source).body):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(local for local, _ in _imports("", node))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                names.update(n.id for n in ast.walk(target) if isinstance(n, ast.Name))
    return names


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If):
            checking = _is_type_checking(node.test)
            yield from _top_level(node.orelse if checking else node.body + node.orelse)
        elif isinstance(node, ast.Try):
            yield from _top_level(node.body + node.orelse + node.finalbody)
            for handler in node.handlers:
                yield from _top_level(handler.body)


# -- the rules


def actors_never_import_supervision(sources: Sources) -> list[str]:
    """L1: the supervision package imports the actors package, never back."""
    return [
        f"{path}:{use.line} imports {use.name}"
        for path, source in sources.items()
        if path.startswith("actors/")
        for use in uses(path, source)
        if use.imported and _below(use.name, "supervision")
    ]


def supervision_uses_public_names(sources: Sources) -> list[str]:
    """L2: what our supervisor can do, a subclasser can do."""
    allowed = {f"actors.{n}" for n in _all_of(sources["actors/__init__.py"]) or []}
    for module in {*PUBLIC_SUBMODULES, *ONLY_FOR}:
        stem = module.replace(".", "/")
        source = sources.get(f"{stem}.py") or sources.get(f"{stem}/__init__.py", "")
        allowed |= {f"{module}.{name}" for name in _all_of(source) or []}
    return [
        f"{path}:{use.line} uses {use.name}, which is not public"
        for path, source in sources.items()
        if path.startswith("supervision/")
        for use in uses(path, source)
        if _below(use.name, "actors") and not _may_use(path, use.name, allowed)
    ]


def _may_use(path: str, name: str, allowed: set[str]) -> bool:
    for module, only in ONLY_FOR.items():
        if _below(name, module) and path != only:
            return False
    modules = {"actors", *PUBLIC_SUBMODULES, *ONLY_FOR}
    module, _, last = name.rpartition(".")
    if name in modules or (module in modules and re.fullmatch(r"__\w+__", last)):
        return True  # also what every module has: __file__, __version__
    return any(_below(name, public) for public in allowed)


def stages_are_strangers(sources: Sources) -> list[str]:
    """L3: a test drives one stage with a list."""
    return [
        f"{path}:{use.line} imports {use.name}, another stage"
        for path, source in sources.items()
        if _module_of(path) in STAGES
        for use in uses(path, source)
        for stage in STAGES - {_module_of(path)}
        if use.imported and _below(use.name, stage)
    ]


def dangerous_things_have_one_home(sources: Sources) -> list[str]:
    """L4: pykka, time, threads, processes and databases are met in their home alone."""
    return [
        f"{path}:{use.line} uses {use.name}; its home is {', '.join(sorted(home))}"
        for path, source in sources.items()
        for use in uses(path, source)
        for thing, home in HOMES.items()
        if _below(use.name, thing) and not _is_at_home(path, home)
    ]


def _is_at_home(path: str, home: frozenset[str]) -> bool:
    return path in home or any(
        place.endswith("/") and path.startswith(place) for place in home
    )


def no_import_cycles(sources: Sources) -> list[str]:
    """A module can be read, and imported, after the ones it needs."""
    modules = {_module_of(path): path for path in sources}
    graph = {
        module: {
            target
            for use in uses(path, sources[path])
            if use.imported
            for target in [_longest(use.name, modules)]
            if target is not None and target != module
        }
        for module, path in modules.items()
    }
    cycle = _find_cycle(graph)
    return [] if cycle is None else [f"import cycle: {' -> '.join(cycle)}"]


def _longest(name: str, modules: Mapping[str, str]) -> str | None:
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def _find_cycle(graph: Mapping[str, set[str]]) -> list[str] | None:
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str] | None:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return None
        for target in sorted(graph[module]):
            cycle = visit(target, [*trail, module])
            if cycle:
                return cycle
        done.add(module)
        return None

    return next(filter(None, (visit(module, []) for module in sorted(graph))), None)


def every_all_is_sorted_and_resolves(sources: Sources) -> list[str]:
    """Every public module says what it promises, in plain string order."""
    problems: list[str] = []
    for path, source in sources.items():
        names = _all_of(source)
        stem = path.rpartition("/")[2]
        if names is None:
            if stem == "__init__.py" or not stem.startswith("_"):
                problems.append(f"{path} has no literal __all__")
            continue
        if names != sorted(set(names)):
            problems.append(f"{path}: __all__ is not sorted, or names one twice")
        lost = set() if _has_getattr(source) else set(names) - _bound_at_top(source)
        problems += [f"{path}: __all__ names {name}, unknown" for name in sorted(lost)]
    return problems


def _has_getattr(source: str) -> bool:
    return "__getattr__" in _bound_at_top(source)


def every_module_has_a_header(sources: Sources) -> list[str]:
    """Who runs it and who owns it stands at the top of the file."""
    problems: list[str] = []
    for path, source in sources.items():
        docstring = ast.get_docstring(ast.parse(source)) or ""
        problems += [
            f"{path}: the module docstring has no :{field}:"
            for field in ("Runs on", "Owns")
            if not re.search(rf"^:{field}: \S", docstring, re.MULTILINE)
        ]
    return problems


RULES: list[Rule] = [
    actors_never_import_supervision,
    supervision_uses_public_names,
    stages_are_strangers,
    dangerous_things_have_one_home,
    no_import_cycles,
    every_all_is_sorted_and_resolves,
    every_module_has_a_header,
]


# -- the two packages obey them


def read_packages() -> dict[str, str]:
    """The source of every module of the two packages, by path below the root."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_packages_keep_the_rule(rule: Rule) -> None:
    assert rule(read_packages()) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_can_be_had(package: str) -> None:
    module = importlib.import_module(package)

    missing = [name for name in module.__all__ if not hasattr(module, name)]

    assert missing == []


# -- and the rules can fail

_HEADER = '"""One noun.\n\n:Runs on: any thread.\n:Owns: nothing.\n"""\n'


def _tree(**extra: str) -> dict[str, str]:
    """A small tree that keeps every rule; ``extra`` seeds modules, ``__`` for ``/``."""
    tree = {
        "actors/__init__.py": "from actors.worker import Worker\n__all__ = ['Worker']",
        "actors/_pool.py": "",
        "actors/clock.py": "import time\n__all__: list[str] = []",
        "actors/collector.py": "__all__: list[str] = []",
        "actors/errors.py": "class Full(Exception): ...\n__all__ = ['Full']",
        "actors/events.py": "__all__: list[str] = []",
        "actors/messages.py": "__all__: list[str] = []",
        "actors/testing/__init__.py": "class Fake: ...\n__all__ = ['Fake']",
        "actors/testing/_kernel.py": "import threading",
        "actors/worker.py": "class Worker: ...\n__all__ = ['Worker']",
        "supervision/__init__.py": "__all__: list[str] = []",
    }
    seeded = {f"{key.replace('__', '/')}.py": text for key, text in extra.items()}
    return {path: _HEADER + text for path, text in (tree | seeded).items()}


def _module(text: str) -> str:
    return f"{text}\n__all__: list[str] = []\n"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_unspoilt_tree_passes(rule: Rule) -> None:
    assert rule(_tree()) == []


_CHECKED = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "

# The rule -> (module to seed, its text, what the message must name).
VIOLATIONS: dict[Rule, list[tuple[str, str, str]]] = {
    actors_never_import_supervision: [
        ("actors__a", "import supervision", "supervision"),
        (
            "actors__a",
            "def f():\n    from supervision.tree import T",
            "supervision.tree",
        ),
        ("actors__a", "import importlib as i\ni.import_module('supervision')", "super"),
    ],
    supervision_uses_public_names: [
        ("supervision__a", "from actors._pool import Pool", "actors._pool.Pool"),
        ("supervision__a", "from actors.worker import Worker", "actors.worker.Worker"),
        ("supervision__a", "import actors\nactors.worker.Worker", "actors.worker.Work"),
        ("supervision__a", "import actors.clock as c", "actors.clock"),
        ("supervision__a", "from actors.errors import logger", "actors.errors.logger"),
        ("supervision__a", "from actors.testing import Fake", "actors.testing.Fake"),
        ("supervision__a", "from actors import *", "actors.*"),
    ],
    stages_are_strangers: [
        ("actors__collector", "from actors.worker import Worker", "actors.worker"),
        ("actors__collector", "from actors import worker", "actors.worker"),
        ("actors__collector", "from .worker import Worker", "actors.worker.Worker"),
    ],
    dangerous_things_have_one_home: [
        ("actors__a", "import pykka", "pykka"),
        ("actors__a", "from time import sleep", "time.sleep"),
        ("actors__a", "import time as t\nt.time()", "time"),
        ("actors__a", "import threading", "threading"),
        ("actors__a", "import psutil", "psutil"),
        ("actors__a", "import sqlite3", "sqlite3"),
        ("actors__a", "import multiprocessing.pool", "multiprocessing.pool"),
        ("actors__a", "import os\nos.fork()", "os.fork"),
        (
            "actors__a",
            "import datetime as d\nd.datetime.now()",
            "datetime.datetime.now",
        ),
        ("actors__a", "import concurrent.futures as c\nc.ThreadPoolExecutor", "Thread"),
        ("supervision__a", "def f():\n    import queue", "queue"),
        ("supervision__a", "import random\nrandom.random()", "random"),
    ],
    every_all_is_sorted_and_resolves: [
        ("actors__a", "class A: ...\nclass B: ...\n__all__ = ['B', 'A']", "not sorted"),
        ("actors__a", "__all__ = ['Ghost']", "Ghost"),
        ("actors__a", f"{_CHECKED}import ast as A\n__all__ = ['A']", "unknown"),
        ("actors__a", "class A: ...", "no literal __all__"),
    ],
}


@pytest.mark.parametrize(
    ("rule", "module", "text", "named"),
    [(rule, *case) for rule, cases in VIOLATIONS.items() for case in cases],
    ids=lambda value: getattr(value, "__name__", None) or repr(value)[:40],
)
def test_a_seeded_violation_is_found(
    rule: Rule, module: str, text: str, named: str
) -> None:
    source = text if rule is every_all_is_sorted_and_resolves else _module(text)

    problems = rule(_tree(**{module: source}))

    assert len(problems) >= 1
    assert named in problems[0]


def test_an_import_cycle_is_found_and_told() -> None:
    tree = _tree(
        actors__worker="def f():\n    from actors.errors import Full\n"
        "class Worker: ...\n__all__ = ['Worker']",
        actors__errors="from actors.worker import Worker\n__all__ = []",
    )

    problems = no_import_cycles(tree)

    assert problems == ["import cycle: actors.worker -> actors.errors -> actors.worker"]


@pytest.mark.parametrize("field", ["Runs on", "Owns"])
def test_a_header_without_a_field_is_found(field: str) -> None:
    tree = _tree()
    tree["actors/clock.py"] = tree["actors/clock.py"].replace(f":{field}:", f"{field}:")

    assert every_module_has_a_header(tree) == [
        f"actors/clock.py: the module docstring has no :{field}:"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "from actors import Worker\nWorker.anything",
        "from actors.errors import Full",
        "import actors.errors\nactors.errors.Full",
        "from actors import errors, events, messages",
        f"{_CHECKED}from actors.clock import Clock\n    import threading",
        "import typing\nif typing.TYPE_CHECKING:\n    import random",
        "import os\nos.getpid()\nfrom concurrent.futures import Future",
        "import datetime\ndatetime.timedelta(1)",
        "from actors import __version__, errors\nerrors.__file__",
    ],
)
def test_what_the_rules_allow_passes(text: str) -> None:
    tree = _tree(supervision__a=_module(text))

    assert [rule.__name__ for rule in RULES if rule(tree)] == []


def test_the_pytest_plugin_alone_may_use_the_testing_module() -> None:
    text = _module("from actors.testing import Fake")

    assert supervision_uses_public_names(_tree(supervision__pytest_plugin=text)) == []
