"""Imports a user's modules by name, and says clearly what is wrong with a name.

:Runs on: the main thread, before the pipeline starts.
:Owns: nothing.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
import traceback
from typing import TYPE_CHECKING

from actors.errors import ConfigurationError

if TYPE_CHECKING:
    import types
    from collections.abc import Iterable

__all__ = ["did_you_mean", "import_module", "module_names"]


def import_module(name: str, *, asked: str | None = None) -> types.ModuleType | None:
    """Import a module that the command line names.

    Args:
        name: Its full name.
        asked: What to call it in an error; its name by default.

    Returns:
        The module, or ``None`` if there is none of that name.

    Raises:
        ConfigurationError: If there is one and it cannot be imported.
    """
    asked = asked or f"module {name!r}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            return None
        message = (
            f"{asked} cannot be imported: it needs {error.name!r}, "
            "which is not installed"
        )
        raise ConfigurationError(message) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the user's module: whatever it raises
        message = f"{asked} cannot be imported: {_where(error)}"
        raise ConfigurationError(message) from error


def _where(error: BaseException) -> str:
    kind = type(error).__name__
    told = f"{kind}: {error}" if str(error) else kind
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return told  # its text has the place
    return f"{told} ({frames[-1].filename}, line {frames[-1].lineno})"


def module_names(package: types.ModuleType | None = None) -> list[str]:
    """The names of the modules in ``package``; of those at the top by default."""
    if package is None:
        found = {module.name for module in pkgutil.iter_modules()}
        return sorted(found | sys.stdlib_module_names)
    path: Iterable[str] = getattr(package, "__path__", ())
    return [module.name for module in pkgutil.iter_modules(path)]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """End an error with the nearest name that exists; empty when none is near."""
    others = sorted(found for found in names if found != name)
    close = difflib.get_close_matches(name, others, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
