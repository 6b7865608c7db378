"""What a virtual clock tells a person: who runs, who waits where, what is due.

Nothing is noted down while threads run.  A report reads the stacks of the threads as
they stand, so waiting costs nothing extra.

:Runs on: whichever thread reports; the monitor has a daemon thread of its own.
:Owns: the monitor's thread.
:Blocks: ``Monitor.stop``, until that thread has ended.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from actors._stack import stack_of
from actors.clock import raw_lock, thread_ident
from actors.testing.circles import describe_waits
from actors.testing.task import NANO, PARKED, RUNNABLE, RUNNING, Site, Task

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from actors.testing.kernel import Kernel

__all__ = [
    "Monitor",
    "Sight",
    "describe",
    "describe_deadlock",
    "is_theirs",
    "may_hold_foreign_lock",
    "site_of",
]

_HERE: Final = os.path.dirname(os.path.abspath(__file__))
_ROOT: Final = os.path.dirname(os.path.dirname(_HERE))
_OURS: Final = tuple(
    os.path.join(_ROOT, name, "") for name in ("actors", "supervision")
)
_PLUMBING: Final = ("threading.py", "contextlib.py")  # no line of it tells anything
_STACK_DEPTH: Final = 6
_KERNEL, _LIBRARY, _LOCKING, _RUNNER, _THEIRS = range(5)  # whose code it is
_RUNNER_FOLDERS: Final = tuple(
    f"{os.sep}{name}{os.sep}" for name in ("_pytest", "pluggy")
)
# A handler of a log formats its record, and so calls ``repr``, with its lock held;
# imports run a module with its lock held, and ``cached_property`` of 3.11 its function.
_LOCKING_FILES: Final = (
    os.path.dirname(logging.__file__),
    functools.__file__,
    "<frozen importlib",
)


class Sight(NamedTuple):
    """The state of a clock at one moment."""

    now: int
    tasks: tuple[Task, ...]
    holds: tuple[str, ...]
    timers: tuple[tuple[int, Any], ...]


def describe(sight: Sight) -> str:
    """Put a sight into words, a line for each thread."""
    frames = sys._current_frames()  # noqa: SLF001  # there is no other way to ask
    running = sum(task.state == RUNNING for task in sight.tasks)
    runnable = sum(task.state == RUNNABLE for task in sight.tasks)
    lines = [f"virtual time {sight.now / NANO:g} s, {running} running"]
    if runnable:
        lines[0] += f", {runnable} runnable"
    if sight.holds:
        lines[0] += ", held by: " + ", ".join(sight.holds)
    for task in sight.tasks:
        # A thread that waits stands still, so its frames may be walked.
        stands = task.state in (PARKED, RUNNABLE) and task.ident is not None
        lines.append(_line(task, frames.get(task.ident or 0) if stands else None))
        if task.state == RUNNING and task.ident and task.ident != thread_ident():
            lines += _stack(task.ident)
    due = ", ".join(f"{when / NANO:g} s {_name(what)}" for when, what in sight.timers)
    lines.append(f"timers: {due or 'none'}")
    return "\n".join(lines)


def describe_deadlock(sight: Sight, main: Task, due: int | None) -> str:
    """Say why the test thread would wait for ever, then who else waits."""
    if due is None:
        why = "nothing is left that could wake it"
    else:
        why = (
            f"time stands still at {sight.now / NANO:g} s, the next timer is due at "
            f"{due / NANO:g} s: use advance(), run_until() or auto_advance=True"
        )
    frames = sys._current_frames()  # noqa: SLF001  # there is no other way to ask
    lines = [
        f"the test thread waits in {main.doing} and {why}",
        describe_waits(sight.tasks, main, frames),
        describe(sight),
    ]
    return "\n".join(filter(None, lines))


def _line(task: Task, frame: FrameType | None) -> str:
    text = f"  {task.name}: {task.state}"
    if task.state == PARKED:
        text += f" in {task.doing}{_site(frame)}"
    elif task.state == RUNNABLE and frame is not None:
        text += f", goes on{_site(frame)}"
    if task.until is not None:
        text += f" until {task.until / NANO:g} s"
    return text


def _stack(ident: int | None) -> list[str]:
    """The last steps of a thread that may be running on: not by its live frames."""
    lines = stack_of(ident).splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("  File ")]
    first = starts[-_STACK_DEPTH] if len(starts) >= _STACK_DEPTH else 0
    return ["      " + line for line in lines[first:]]


def site_of(frame: FrameType) -> Site | None:
    """The nearest line of other people's code, else of ours outside this package.

    ``None`` if there is neither.  Cheap: whose code it is is looked up once.
    """
    found: FrameType | None = frame
    inner = None
    while found is not None:
        kind = _kind(found.f_code)
        if kind == _RUNNER:  # below it are the runner's own lines alone
            found = None
            break
        if kind not in (_KERNEL, _LIBRARY):
            break
        if kind == _LIBRARY and inner is None:
            inner = found
        found = found.f_back
    best = found or inner
    return None if best is None else (best.f_code, best.f_lineno)


def is_theirs(code: CodeType) -> bool:
    """True for code of the library's users."""
    return _kind(code) == _THEIRS


def may_hold_foreign_lock(frame: FrameType | None) -> bool:
    """True inside code that is known to call out with a plain lock held.

    Taking its turn from a thread there would leave the lock held, and whoever wants it
    would block where the clock cannot see it.
    """
    while frame is not None:
        if _kind(frame.f_code) == _LOCKING:
            return True
        frame = frame.f_back
    return False


@functools.lru_cache(maxsize=4096)
def _kind(code: CodeType) -> int:
    name = code.co_filename
    if name.startswith(_HERE) or os.path.basename(name) in _PLUMBING:
        return _KERNEL
    if name.startswith(_LOCKING_FILES):
        return _LOCKING
    if any(folder in name for folder in _RUNNER_FOLDERS):
        return _RUNNER
    return _LIBRARY if _is_library(name) else _THEIRS


def _site(frame: FrameType | None) -> str:
    """The nearest line outside this package, and the nearest one of other people's."""
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    if frame is None:
        return ""
    text = f" at {_place(frame)}"
    outer: FrameType | None = frame
    while outer is not None and _is_library(outer.f_code.co_filename):
        outer = outer.f_back
    if outer is not None and outer is not frame:
        text += f", called at {_place(outer)}"
    return text


def _is_library(filename: str) -> bool:
    folder, name = os.path.split(filename)
    return (
        filename.startswith(_OURS)
        or os.path.basename(folder) in ("pykka", "futures")
        or name in _PLUMBING
    )


def _place(frame: FrameType) -> str:
    code = frame.f_code
    name = os.path.basename(code.co_filename)
    return f"{name}:{frame.f_lineno} {code.co_qualname}"


def _name(what: Any) -> str:
    task = getattr(what, "task", None)
    if task is not None:
        return f"wakes {task.name}"
    fn = what._fn  # noqa: SLF001  # the report is of the handle's own family
    while isinstance(fn, functools.partial):
        fn = fn.func
    # Not its repr: that is the user's code, and this is a section of the kernel.
    return f"calls {getattr(fn, '__qualname__', type(fn).__qualname__)}"


class Monitor:
    """Writes a report when the test thread blocks where the clock cannot see it.

    A wait of the test thread on the clock is watched by itself; this is for a plain
    ``join`` or lock, under which it would be silent for ever.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._stopped = raw_lock()
        self._stopped.acquire()
        self._thread = threading.Thread(
            target=self._watch, name="virtual-clock-monitor", daemon=True
        )

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.release()
        self._thread.join()

    def _watch(self) -> None:
        kernel = self._kernel
        seen = -1
        told = False
        while not self._stopped.acquire(timeout=kernel.stall_timeout):
            if kernel.progress != seen:
                seen, told = kernel.progress, False
            elif not told and self._is_stuck():
                told = True
                sys.stderr.write(
                    "virtual clock: the test thread has not come back to the clock for "
                    f"{kernel.stall_timeout:g} s of real time, and all others wait\n"
                    f"{kernel.report()}\n"
                )

    def _is_stuck(self) -> bool:
        kernel = self._kernel
        with kernel:
            main = kernel.main
            return (
                main is not None
                and main.state == RUNNING
                and len(kernel.tasks) > 1
                and not kernel.holds
                and not any(t.state == RUNNING for t in kernel.tasks if t is not main)
            )
