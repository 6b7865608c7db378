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
    f"actors/{name}.py"
    for name in (
        "_condemned",
        "_proxy",
        "base",
        "cell",
        "future",
        "ref",
        "ref_errors",
        "testing/leaks",
    )
)
_POOL = frozenset({"actors/cpu_pool.py", "actors/_cpu_child.py", "actors/_cpu_link.py"})
# A worker's process has neither our clock nor our threads: it watches its life-line.
_LIFE_LINE = _CLOCK | {"actors/_cpu_child.py"}
# Where one waits for a process, a pipe, a terminal or a file, which no clock can move.
# Inside the library it is done under a hold of the clock.
_IO = frozenset(
    {
        "actors/_cpu_child.py",
        "actors/_cpu_link.py",
        "supervision/cli_input.py",
        "supervision/cli_output.py",
        "supervision/cli_prints.py",
        "supervision/signals.py",
    }
)
# What nobody injects a clock into: the commands, the exit of the process, its signals,
# and those who must know whether a clock is the real one.
_REAL_TIME = _CLOCK | {
    "actors/__init__.py",
    "actors/_callbacks.py",
    "actors/_numbers.py",
    "supervision/cli_demo.py",
    "supervision/cli_doctor.py",
    "supervision/cli_run.py",
    "supervision/reaper.py",
    "supervision/signals.py",
    "supervision/tree_exit.py",
}
# Registers of the whole process; what guards an object comes from the object's clock.
_REGISTERS = _CLOCK | {
    "actors/__init__.py",
    "actors/_callbacks.py",
    "actors/base.py",
    "supervision/tree_exit.py",
}
_NOWHERE: frozenset[str] = frozenset()

# The dangerous thing, a dotted name or the start of one -> the modules, or the folders,
# that may use it.
HOMES: dict[str, frozenset[str]] = {
    "pykka": _PYKKA,
    # time, and chance
    "time": _CLOCK,
    "timeit": _NOWHERE,
    "os.times": _NOWHERE,
    "resource": _NOWHERE,
    "sched": _CLOCK,
    "random": _CLOCK,
    "secrets": _NOWHERE,
    "os.urandom": _NOWHERE,
    "uuid": frozenset({"actors/cell.py"}),
    # what one can wait on
    "threading": _CLOCK,
    "_thread": _LIFE_LINE,
    "queue": _CLOCK,
    "_queue": _CLOCK,
    "asyncio": _NOWHERE,
    "concurrent.futures.Future": _CLOCK,
    "concurrent.futures._base": _NOWHERE,
    "concurrent.futures.as_completed": _NOWHERE,
    "concurrent.futures.wait": _NOWHERE,
    "select": _IO,
    "selectors": _NOWHERE,
    "socket": frozenset({"actors/_cpu_link.py"}),
    "socketserver": _NOWHERE,
    "os.read": _IO,
    "os.readv": _IO,
    "os.lockf": _NOWHERE,
    "fcntl.flock": _NOWHERE,
    "fcntl.lockf": _NOWHERE,
    "os.wait": _NOWHERE,
    "os.wait3": _NOWHERE,
    "os.wait4": _NOWHERE,
    "os.waitid": _NOWHERE,
    "os.waitpid": _NOWHERE,
    "signal.alarm": _NOWHERE,
    "signal.pause": _NOWHERE,
    "signal.setitimer": _NOWHERE,
    "signal.sigtimedwait": frozenset({"actors/_cpu_child.py"}),
    "signal.sigwait": _NOWHERE,
    "signal.sigwaitinfo": _NOWHERE,
    # our own doors to them
    "actors.SYSTEM_CLOCK": _REAL_TIME,
    "actors.SystemClock": _REAL_TIME,
    "actors.clock.SYSTEM_CLOCK": _REAL_TIME,
    "actors.clock.SystemClock": _REAL_TIME,
    "actors._wake_queue": _CLOCK,
    "actors._timer_thread": _CLOCK,
    "actors.clock.raw_lock": _REGISTERS,
    "actors.raw_lock": _REGISTERS,
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
    modules = {_module_of(path): path for path in sources}
    return [
        f"{path}:{use.line} uses {use.name}; its home is {', '.join(sorted(home))}"
        for path, source in sources.items()
        for use in uses(path, source)
        for thing, home in HOMES.items()
        if _means(use.name, thing, modules) and not _is_at_home(path, home)
    ]


def _means(name: str, thing: str, modules: Mapping[str, str]) -> bool:
    """True if by ``name`` one gets at ``thing``.

    So one does by a star (``from os import *``), and by way of a module of ours that
    has imported it (``actors.clock.time``).
    """
    if _below(name, thing) or (
        name.endswith(".*") and _below(thing, name.removesuffix(".*"))
    ):
        return True
    owner = _longest(name, modules)
    through = name[len(owner) + 1 :] if owner else ""
    return bool(through) and _below(through, thing)


def _is_at_home(path: str, home: frozenset[str]) -> bool:
    return path in home or any(
        place.endswith("/") and path.startswith(place) for place in home
    )


def threads_are_joined_by_their_clock(sources: Sources) -> list[str]:
    """L4: a thread's own ``join`` waits where no virtual clock sees it.

    ``clock.join(thread)`` and ``", ".join(words)`` have one argument without a name.
    """
    return [
        f"{path}:{node.lineno} joins {ast.unparse(node.func.value)} past its clock"
        for path, source in sources.items()
        if not _is_at_home(path, _CLOCK)
        for node in _nodes(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "join"
        and (not node.args or any(word.arg == "timeout" for word in node.keywords))
        and ast.unparse(node.func.value).rpartition(".")[2] not in {"clock", "_clock"}
    ]


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
    threads_are_joined_by_their_clock,
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
        # time
        ("actors__a", "from time import monotonic as now", "time.monotonic"),
        ("actors__a", "from datetime import datetime\ndatetime.now()", "datetime.now"),
        ("actors__a", "import datetime\ndatetime.datetime.utcnow()", "utcnow"),
        ("actors__a", "from datetime import date\ndate.today()", "date.today"),
        ("actors__a", "import asyncio", "asyncio"),
        ("actors__a", "import sched", "sched"),
        ("actors__a", "from timeit import default_timer", "timeit"),
        ("actors__a", "import os\nos.times()", "os.times"),
        ("actors__a", "__import__('time').sleep(1)", "time"),
        ("actors__a", "from actors.clock import time", "actors.clock.time"),
        ("actors__a", "from actors import clock\nclock.time.sleep(1)", "clock.time"),
        # chance
        ("actors__a", "import uuid", "uuid"),
        ("actors__a", "from secrets import token_hex", "secrets"),
        ("actors__a", "import os\nos.urandom(8)", "os.urandom"),
        ("actors__a", "from os import *", "os.*"),
        # what one can wait on
        ("actors__a", "from threading import Lock", "threading.Lock"),
        ("actors__a", "import _thread\n_thread.allocate_lock()", "_thread"),
        ("actors__a", "from queue import SimpleQueue", "queue.SimpleQueue"),
        ("actors__a", "import _queue", "_queue"),
        ("actors__a", "from concurrent.futures import Future", "Future"),
        ("actors__a", "from concurrent import futures\nfutures.wait([])", "wait"),
        ("actors__a", "import concurrent.futures as c\nc.as_completed([])", "as_comp"),
        ("actors__a", "from concurrent.futures import *", "concurrent.futures.*"),
        ("actors__a", "from multiprocessing import Queue", "multiprocessing.Queue"),
        ("actors__a", "import multiprocessing as m\nm.Event()", "multiprocessing"),
        ("actors__a", "import select", "select"),
        ("actors__a", "import selectors", "selectors"),
        ("actors__a", "from socket import create_connection", "socket.create"),
        ("actors__a", "import subprocess", "subprocess"),
        ("actors__a", "import os\nos.waitpid(1, 0)", "os.waitpid"),
        ("actors__a", "import os\nos.read(0, 1)", "os.read"),
        ("actors__a", "import fcntl\nfcntl.flock(1, 2)", "fcntl.flock"),
        ("actors__a", "import signal\nsignal.pause()", "signal.pause"),
        ("actors__a", "from signal import sigwait", "signal.sigwait"),
        # our own doors to them
        ("actors__a", "from actors.clock import SYSTEM_CLOCK", "SYSTEM_CLOCK"),
        ("actors__a", "from actors.clock import SystemClock", "SystemClock"),
        ("actors__a", "from actors import clock\nclock.raw_lock()", "raw_lock"),
        ("actors__a", "from actors._wake_queue import wake_queue", "wake_queue"),
        ("supervision__a", "from actors import raw_lock", "actors.raw_lock"),
        ("supervision__a", "import actors\nactors.SYSTEM_CLOCK", "SYSTEM_CLOCK"),
    ],
    threads_are_joined_by_their_clock: [
        ("actors__a", "def f(thread):\n    thread.join()", "joins thread"),
        ("actors__a", "def f(t):\n    t.join(timeout=1.0)", "joins t"),
        (
            "supervision__a",
            "class A:\n    def f(self):\n        self.t.join()",
            "self.t",
        ),
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
        "import os\nos.getpid()\nfrom concurrent.futures import Executor, TimeoutError",
        f"{_CHECKED}from concurrent.futures import Future",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_DFL)",
        "import os\nos.write(1, b'')",
        "', '.join(['a'])\ndef f(clock, t):\n    clock.join(t, timeout=1.0)",
        "from actors import Worker\nWorker.time.queue",
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
