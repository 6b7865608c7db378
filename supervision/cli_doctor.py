"""``headrace doctor``: does this machine have what the library needs?

:Runs on: the main thread.
:Owns: nothing; the worker process that it tries is ended before it returns.
:Blocks: until that process has answered, or 30 s.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from typing import TYPE_CHECKING, NamedTuple

import actors
from actors import Job, SystemClock, __version__, usable_cores
from supervision.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Check", "doctor", "import_names", "report_of"]

_OURS = ("actors", "supervision")
_PATIENCE = 30.0  # seconds for a worker process to answer


class Check(NamedTuple):
    """One thing looked at; ``ok`` is None where only something optional lacks."""

    name: str
    ok: bool | None
    told: str


def doctor() -> int:
    """Look at everything and print a line for each.

    Returns:
        0 when nothing is wrong, else 1.
    """
    checks = [
        _python(),
        _platform(),
        _cores(),
        _worker_process(),
        _required("pykka"),
        _required("psutil"),
        _optional(
            "cloudpickle",
            "lambdas, closures and notebook functions can be cpu jobs",
            "cpu jobs must be functions of a module; pip install cloudpickle",
        ),
        _import_names(),
    ]
    sys.stdout.write(f"headrace {__version__}\n{report_of(checks)}\n")
    return int(any(check.ok is False for check in checks))


def report_of(checks: Iterable[Check]) -> str:
    """Format checks as a table, and the verdict below it."""
    checks = list(checks)
    marks = {True: "ok", None: "--", False: "NO"}
    width = max((len(check.name) for check in checks), default=0)
    lines = [f"{marks[c.ok]}  {c.name:<{width}}  {c.told}" for c in checks]
    wrong = sum(check.ok is False for check in checks)
    verdict = {0: "all is well", 1: "1 thing is wrong"}
    return "\n".join([*lines, verdict.get(wrong, f"{wrong} things are wrong")])


def _python() -> Check:
    found = f"{platform.python_version()} ({platform.python_implementation()})"
    good = sys.version_info >= (3, 11)
    return Check("python", good, f"{found}, {sys.executable}")


def _platform() -> Check:
    good = sys.platform.startswith(("linux", "darwin"))
    told = platform.platform(terse=True)
    if not good:
        told += "; worker processes need Linux or macOS, io jobs run everywhere"
    return Check("platform", good or None, told)


def _cores() -> Check:
    usable = usable_cores()
    told = f"{usable} usable of {os.cpu_count()}; -k cpu runs {usable} processes"
    return Check("cores", ok=True, told=told)


def _worker_process() -> Check:
    """Start one as a cpu job does, and end it again."""
    clock = SystemClock()
    began = clock.monotonic()
    name = "worker process"
    try:
        with Pipeline(1, cpu_workers=1, clock=clock, name="doctor") as pipeline:
            job = Job(os.getpid, kind="cpu", timeout=_PATIENCE)
            pid = pipeline.submit_job(job).result()
            answered = clock.monotonic() - began
    except Exception as error:  # noqa: BLE001  # whatever is wrong is the finding
        return Check(name, ok=False, told=f"{type(error).__name__}: {error}")
    if pid == os.getpid():
        return Check(name, ok=False, told="a cpu job ran in this very process")
    told = f"answered in {1000 * answered:.0f} ms; start method: exec, never fork"
    return Check(name, ok=True, told=told)


def _required(name: str) -> Check:
    version = _version_of(name)
    if version is None:
        return Check(name, ok=False, told=f"not installed; pip install {name}")
    return Check(name, ok=True, told=version)


def _optional(name: str, with_it: str, without: str) -> Check:
    version = _version_of(name)
    if version is None:
        return Check(name, ok=None, told=f"not installed: {without}")
    return Check(name, ok=True, told=f"{version}: {with_it}")


def _version_of(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _import_names() -> Check:
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = {"supervision": here, "actors": _folder_above(actors.__file__)}
    return import_names(found, importlib.metadata.packages_distributions())


def _folder_above(path: str) -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(path)))


def import_names(
    found: Mapping[str, str], distributions: Mapping[str, Iterable[str]]
) -> Check:
    """Judge whether our two packages are ours, and will stay so.

    Args:
        found: For each of the two, the folder that it was imported from.
        distributions: For each import name, the distributions that install it.
    """
    name = "import names"
    others = sorted(
        {
            other
            for ours in _OURS
            for other in distributions.get(ours, ())
            if other.lower() != "headrace"
        }
    )
    if others:
        told = (
            f"{' and '.join(others)} installed packages of the same names; "
            f"pip uninstall {' '.join(others)}, or use an environment of its own"
        )
        return Check(name, ok=False, told=told)
    if len(set(found.values())) > 1:
        places = ", ".join(f"{ours} from {found[ours]}" for ours in _OURS)
        return Check(name, ok=False, told=f"they belong together, and come {places}")
    told = f"actors and supervision are headrace's, from {found['actors']}"
    return Check(name, ok=True, told=told)
