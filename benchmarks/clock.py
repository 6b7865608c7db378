"""What the clock costs in production: nothing, or it is a bug.

The same code is run twice: as it is, with the time and what it blocks on made by
``SystemClock``; and *hard-wired*, a copy of the package in whose syntax tree the calls
``clock.lock()``, ``clock.queue()``, ``clock.event()`` and ``clock.monotonic()`` were
replaced by the primitives themselves, and the looks at the delivery hook taken out.
Nothing else differs; the arguments and attributes that carry the clock stay in both.
The wake queue is the same class in both: what is measured is the way to it.

Two kinds of evidence:

- CPU time of the whole process, in interleaved rounds whose order turns.  Each round
  gives one ratio; shown are the median and the middle half.  *again* is a second copy
  with nothing replaced, so its ratio shows how far noise alone goes.
- Bytecodes that one operation executes, on one thread and so without chance.

    python -m benchmarks.clock --check

:Runs on: the main thread, and one thread for each actor.
:Owns: the copies of the package.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from actors._wake_queue import RealTime, wake_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, FrameType, ModuleType

LIMIT: Final = 1.03
PACKAGE: Final = "actors"

# What a call through the clock is replaced by.
PRIMITIVES: Final[dict[str, Any]] = {
    "lock": threading.Lock,
    "queue": wake_queue,
    "event": threading.Event,
    "monotonic": RealTime.monotonic,
}


# -- the copies


class HardWiring(ast.NodeTransformer):
    """Replaces calls through a clock; counts them."""

    def __init__(self) -> None:
        self.replaced = 0

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        fn = node.func
        if isinstance(fn, ast.Attribute) and fn.attr in PRIMITIVES:
            owner = ast.unparse(fn.value).rpartition(".")[2]
            if owner in {"clock", "_clock"}:
                self.replaced += 1
                node.func = ast.Name(f"_hard_{fn.attr}", ast.Load())
        return node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if ast.unparse(node.test) == "self._on_delivery is not None":
            self.replaced += 1
            return None
        return self.generic_visit(node)


class Renaming(ast.NodeTransformer):
    """Makes a copy import itself and not the original."""

    def __init__(self, name: str) -> None:
        self._name = name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        package, dot, rest = (node.module or "").partition(".")
        if package == PACKAGE:
            node.module = f"{self._name}{dot}{rest}"
        return node


class Copier(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports copies of the package.

    Args:
        wirings: By the name of the copy: what becomes of its calls through the clock.
    """

    def __init__(self, wirings: dict[str, HardWiring | None]) -> None:
        self._wirings = wirings

    def find_spec(
        self, fullname: str, _path: Any, _target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, dot, rest = fullname.partition(".")
        if package not in self._wirings:
            return None
        original = importlib.util.find_spec(f"{PACKAGE}{dot}{rest}")
        if original is None:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=original.origin)
        spec.submodule_search_locations = original.submodule_search_locations
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        assert spec.origin is not None
        with open(spec.origin, encoding="utf-8") as file:
            tree: ast.AST = ast.parse(file.read())
        name = spec.name.partition(".")[0]
        tree = Renaming(name).visit(tree)
        wiring = self._wirings[name]
        if wiring is not None and spec.name != f"{name}.clock":
            tree = wiring.visit(tree)
            vars(module).update({f"_hard_{k}": v for k, v in PRIMITIVES.items()})
        ast.fix_missing_locations(tree)
        code: CodeType = compile(tree, spec.origin, "exec")  # type: ignore[arg-type]
        exec(code, vars(module))


def copies() -> tuple[dict[str, ModuleType], int]:
    """The original, the hard-wired copy and the plain one; how much was replaced."""
    wiring = HardWiring()
    sys.meta_path.insert(0, Copier({"hard_actors": wiring, "same_actors": None}))
    modules = {
        "clock": importlib.import_module(PACKAGE),
        "again": importlib.import_module("same_actors"),
        "hard-wired": importlib.import_module("hard_actors"),
    }
    assert wiring.replaced > 30, "the seam has moved: nothing was hard-wired"
    return modules, wiring.replaced


# -- what is measured


def put_and_get(package: ModuleType) -> Callable[[int], object]:
    mailbox = package.Mailbox(10)
    put, get = mailbox.put, mailbox.get

    def run(count: int) -> None:
        for _ in range(count):
            put(None)
            get()

    return run


def actor_class(package: ModuleType, capacity: int | None) -> Any:
    class Echo(package.Actor):  # type: ignore[misc, name-defined]
        def on_receive(self, message: Any) -> Any:
            return message

    Echo.capacity = capacity
    return Echo


def tell_unbounded(package: ModuleType) -> Callable[[int], object]:
    return tell(package, None)


def tell_bounded(package: ModuleType) -> Callable[[int], object]:
    return tell(package, 100)


def tell(package: ModuleType, capacity: int | None) -> Callable[[int], object]:
    def run(count: int) -> None:
        ref = actor_class(package, capacity).start()
        for _ in range(count):
            ref.tell(None)
        ref.stop()

    return run


def ask(package: ModuleType) -> Callable[[int], object]:
    def run(count: int) -> None:
        ref = actor_class(package, None).start()
        for _ in range(count):
            ref.ask(None)
        ref.stop()

    return run


class Work(NamedTuple):
    """Something to measure, and how much of it makes a round."""

    make: Callable[[ModuleType], Callable[[int], object]]
    share: float


WORKS: Final = {
    "put + get": Work(put_and_get, 4.0),
    "tell, unbounded": Work(tell_unbounded, 1.0),
    "tell, capacity 100": Work(tell_bounded, 1.0),
    "ask": Work(ask, 0.2),
}


def cpu_time(work: Callable[[int], object], count: int) -> float:
    """Seconds of the whole process, for one operation."""
    gc.collect()
    began = time.process_time()
    work(count)
    return (time.process_time() - began) / count


def ratios(
    work: Work, modules: dict[str, ModuleType], *, rounds: int, messages: int
) -> tuple[float, dict[str, list[float]]]:
    """Seconds of a hard-wired operation, and the others' ratios to it, by round."""
    count = int(messages * work.share)
    names = list(modules)
    runs = {name: work.make(module) for name, module in modules.items()}
    for run in runs.values():
        run(count // 10)
    found: dict[str, list[float]] = {name: [] for name in names}
    bases: list[float] = []
    for turn in range(rounds):
        first = turn % len(names)
        taken = {
            name: cpu_time(runs[name], count) for name in names[first:] + names[:first]
        }
        base = taken["hard-wired"]
        bases.append(base)
        for name in names:
            found[name].append(taken[name] / base)
    return statistics.median(bases), found


# -- bytecodes


def bytecodes(step: Callable[[], object]) -> int:
    """How many bytecodes ``step()`` executes on this thread."""
    step()  # once without counting: what is done on first use
    if sys.version_info >= (3, 12):
        return _monitored(step)
    return _traced(step)


def _monitored(step: Callable[[], object]) -> int:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]  # from 3.12 on
    tool, event = monitoring.PROFILER_ID, monitoring.events.INSTRUCTION
    count = 0

    def on_instruction(_code: CodeType, _offset: int) -> None:
        nonlocal count
        count += 1

    monitoring.use_tool_id(tool, "benchmarks.clock")
    try:
        monitoring.register_callback(tool, event, on_instruction)
        monitoring.set_events(tool, event)
        step()
        monitoring.set_events(tool, 0)
    finally:
        monitoring.free_tool_id(tool)
    return count


def _traced(step: Callable[[], object]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        step()
    finally:
        sys.settrace(before)
    return count


def steps(package: ModuleType) -> dict[str, Callable[[], object]]:
    """Each operation, both sides of it on the calling thread."""
    mailbox = package.Mailbox(10)
    loop_of = importlib.import_module(f"{package.__name__}._loop").ReceiveLoop
    cell = package.Cell(actor_class(package, None), supervised=False)
    run = package.Incarnation(cell)
    run.actor = actor_class(package, None)()
    loop = loop_of(run)

    def handle() -> None:
        loop._step(*cell.mailbox.receive(run.lease))  # noqa: SLF001

    def put_get() -> None:
        mailbox.put(None)
        mailbox.get()

    def told() -> None:
        cell.ref.tell(None)
        handle()

    def asked() -> None:
        reply = cell.ref.ask(None, block=False)
        handle()
        reply.get()

    return {"put + get": put_get, "tell + handle": told, "ask + handle": asked}


# -- the tables


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def show_times(modules: dict[str, ModuleType], rounds: int, messages: int) -> bool:
    """Print the ratios of CPU time; True if none is above the limit."""
    print(f"CPU time, ratio to hard-wired, medians of {rounds} interleaved rounds")
    print(f"{'':<20}{'hard-wired':>12}   {'clock':<24}again (noise)")
    all_met = True
    for name, work in WORKS.items():
        base, found = ratios(work, modules, rounds=rounds, messages=messages)
        cells = []
        for contestant in ("clock", "again"):
            low, middle, high = quartiles(found[contestant])
            cells.append(f"x{middle:.3f} ({low:.3f} to {high:.3f})")
        met = quartiles(found["clock"])[1] <= LIMIT
        all_met &= met
        verdict = "" if met else f"   ABOVE x{LIMIT}"
        print(f"{name:<20}{base * 1e9:>9.0f} ns   {cells[0]:<24}{cells[1]}{verdict}")
        sys.stdout.flush()
    return all_met


def show_bytecodes(modules: dict[str, ModuleType]) -> bool:
    """Print the bytecodes of each operation; True if none is above the limit."""
    print("bytecodes of one operation")
    print(f"{'':<20}{'hard-wired':>12}   {'clock':>6}")
    all_met = True
    counted = {
        contestant: {name: bytecodes(step) for name, step in steps(module).items()}
        for contestant, module in modules.items()
    }
    for name, hard in counted["hard-wired"].items():
        ours = counted["clock"][name]
        all_met &= ours / hard <= LIMIT
        print(f"{name:<20}{hard:>12}   {ours:>6}   x{ours / hard:.3f}")
    return all_met


def main(arguments: list[str] | None = None) -> int:
    """Print both tables; the exit code is 1 above the limit and with ``--check``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=41, help="rounds of each (41)")
    parser.add_argument("--messages", type=int, default=20_000, help="in a round")
    parser.add_argument(
        "--check", action="store_true", help=f"fail if a ratio is above {LIMIT}"
    )
    options = parser.parse_args(arguments)
    modules, replaced = copies()
    print(f"Python {sys.version.split()[0]}; {replaced} places are hard-wired\n")
    met = show_bytecodes(modules)
    print()
    met &= show_times(modules, options.rounds, options.messages)
    return 1 if options.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
