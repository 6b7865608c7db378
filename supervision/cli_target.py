"""What ``headrace run`` runs: ``MODULE:FUNCTION``, or an expression.

Everything that can be wrong with it is found before the first job.  The message names
the nearest thing that exists.

:Runs on: the main thread, before the pipeline starts.
:Owns: nothing; ``load_work`` adds the current directory to ``sys.path``.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import pickle
import sys
import types
from typing import TYPE_CHECKING, Any

from actors import JobKind, options_of
from actors.errors import ConfigurationError
from supervision.cli_expression import Expression
from supervision.cli_modules import did_you_mean, import_module, module_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervision.cli_options import RunOptions

__all__ = ["kind_of", "load_function", "load_work"]


def load_work(options: RunOptions) -> Callable[..., Any]:
    """Find what every job calls.

    Raises:
        ConfigurationError: If there is nothing, or if it cannot run as asked.
    """
    here = os.getcwd()
    if options.expression is not None:
        # Last: a stray hashlib.py among somebody's files is not what -e means.
        _search(here, len(sys.path))
        work: Callable[..., Any] = Expression(options.expression)
    else:
        _search(here, 0)
        work = load_function(options.target or "")
    if kind_of(options, work) is JobKind.CPU:
        _check_travels(options, work)
    return work


def _search(directory: str, position: int) -> None:
    known = {directory, ""} & set(sys.path)
    if not known and not sys.flags.safe_path:
        sys.path.insert(position, directory)


def kind_of(options: RunOptions, work: Callable[..., Any]) -> JobKind:
    """Where the jobs run: as ``-k`` says, else the function's ``@job``, else io."""
    if options.kind is not None:
        return JobKind.of(options.kind)
    return options_of(work).kind or JobKind.IO


def load_function(text: str) -> Callable[..., Any]:
    """Import what ``MODULE:FUNCTION`` names.

    Args:
        text: As given on the command line; ``FUNCTION`` may be dotted.

    Raises:
        ConfigurationError: If it names nothing, or nothing that a job can call.
    """
    module_name, _, path = text.partition(":")
    if module_name.endswith(".py") or "/" in module_name:
        stem = module_name.removesuffix(".py").replace("/", ".").strip(".")
        message = f"{text!r} names a file; name the module: {stem}:{path or 'FUNCTION'}"
        raise ConfigurationError(message)
    if not (path and all(part.isidentifier() for part in module_name.split("."))):
        message = (
            f"{text!r} is not MODULE:FUNCTION; write for instance os.path:getsize, "
            "or give an expression of x: -e 'len(x)'"
        )
        raise ConfigurationError(message)
    target: Any = import_module(module_name)
    if target is None:
        raise ConfigurationError(_no_module(module_name))
    for name in path.split("."):
        target = _member(target, name)
    _refuse_uncallable(text, target)
    return target  # type: ignore[no-any-return]  # whatever the user's module holds


def _no_module(name: str) -> str:
    """Say at which step of a dotted name there is nothing."""
    parent: types.ModuleType | None = None
    done, rest = "", name
    while rest:
        step, _, rest = rest.partition(".")
        here = f"{done}.{step}" if done else step
        found = import_module(here)
        if found is None:
            guess = did_you_mean(step, module_names(parent))
            place = f" in {done!r}" if done else ""
            looked = "; the current directory and the installed packages were searched"
            return f"there is no module {step!r}{place}{guess or looked}"
        parent, done = found, here
    return f"there is no module {name!r}"


def _member(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        pass
    kind = "module" if isinstance(owner, types.ModuleType) else "class"
    owner_name = getattr(owner, "__name__", repr(owner))
    names = [
        found
        for found in dir(owner)
        if not found.startswith("_") and callable(getattr(owner, found, None))
    ]
    guess = did_you_mean(name, names)
    message = f"{kind} {owner_name!r} has no function {name!r}{guess}"
    raise ConfigurationError(message)


def _refuse_uncallable(text: str, target: Any) -> None:
    message = ""
    if not callable(target):
        kind = type(target).__name__
        message = f"{text!r} is not a function but a {kind}; name something to call"
    elif inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target):
        message = (
            f"{text!r} is an async function, and a job is a plain call; "
            "wrap it: def job(x): return asyncio.run(...)"
        )
    elif inspect.isgeneratorfunction(target):
        message = (
            f"{text!r} is a generator, which runs only when somebody iterates it; "
            "wrap it: def job(x): return list(...)"
        )
    if message:
        raise ConfigurationError(message)


def _check_travels(options: RunOptions, work: Callable[..., Any]) -> None:
    """Refuse what no worker process could be given, before the first job."""
    try:
        pickle.dumps(work)
    except Exception as error:  # pickle's, or the object's own code's
        with contextlib.suppress(ImportError):
            import cloudpickle  # type: ignore[import-untyped]  # noqa: F401, PLC0415

            return
        message = (
            f"{options.target!r} cannot travel to a worker process ({error}); "
            "name a function of a module, or pip install cloudpickle"
        )
        raise ConfigurationError(message) from error
