"""The script that this process runs, as a worker process would import it.

:Runs on: any thread.
:Owns: nothing.
"""

from __future__ import annotations

import os
import sys

from actors import _cpu_child

__all__ = ["main_reference", "refuse_while_importing_main"]


def main_reference() -> tuple[str | None, str | None] | None:
    """Say how a worker process can import this process's script.

    Returns:
        The name of its module, or a path, or both for a directory or archive that was
        run; ``None`` when there is nothing to import (a notebook, a prompt).
    """
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    path = os.path.abspath(file) if file else None
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        directory = os.path.dirname(path) if path and spec.name == "__main__" else None
        return spec.name, directory
    if path is None or not os.path.exists(path):
        return None
    return None, path


def refuse_while_importing_main() -> None:
    """End this process if it is importing the parent's script.

    A script without a ``__main__`` guard asks for worker processes when a worker
    process imports it, and their processes would do the same.  The parent is told.
    """
    child = sys.modules.get(_cpu_child.MODULE_NAME)
    if child is not None and child._importing_main:  # noqa: SLF001  # maybe our twin
        child._leave_by_guard()  # noqa: SLF001
