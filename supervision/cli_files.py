"""The regular files that ``--files`` names or that lie below what it names.

:Runs on: ``check_paths`` on the main thread; ``files_below`` on the thread that
    iterates, the producer's.
:Owns: nothing; one directory's names are held at a time.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import stat
from typing import TYPE_CHECKING

from actors.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

__all__ = ["FileIdentity", "check_paths", "files_below", "reason_of"]

FileIdentity = tuple[int, int]
"""Device and inode: what makes two paths the same file."""


def reason_of(error: Exception) -> str:
    """Why a path cannot be used, as the end of a sentence."""
    return (getattr(error, "strerror", None) or str(error)).lower()


def check_paths(paths: Sequence[str]) -> None:
    """Refuse a path of ``--files`` that is not there, before anything runs.

    Raises:
        ConfigurationError: If one is missing, or neither a directory nor a plain file.
    """
    for path in paths:
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError) as error:
            why = reason_of(error) + _misplaced(path)
            message = f"--files: cannot read {path!r}: {why}"
            raise ConfigurationError(message) from error
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            message = (
                f"--files: {path!r} is neither a directory nor a regular file; "
                "for names on stdin use --lines"
            )
            raise ConfigurationError(message)


def _misplaced(path: str) -> str:
    module, colon, name = path.partition(":")
    looks_like_target = colon and module and name.replace(".", "").isidentifier()
    return "; MODULE:FUNCTION goes before --files" if looks_like_target else ""


def files_below(
    paths: Iterable[str],
    on_bad: Callable[[str, str], None],
    *,
    hidden: bool = False,
    globs: Sequence[str] = (),
    skip: Collection[FileIdentity] = (),
) -> Iterator[str]:
    """Give the regular files that ``paths`` name or hold, one directory at a time.

    A directory's names are read whole and sorted before its first file is given, so
    what jobs write beside their inputs is not taken for input.  A link to a file counts
    as that file; a link to a directory is not followed, unless ``paths`` names it.

    Args:
        paths: Files and directories.
        on_bad: Told the path and the reason of a directory that cannot be read.
        hidden: Take names below ``paths`` that begin with a dot, too.
        globs: If any: only files whose name, or whose path below the directory for a
            pattern with a slash, matches one of these.
        skip: Files to pass over: the output, where it lies below a path.
    """
    for path in paths:
        if not os.path.isdir(path):
            if _matches(os.path.basename(path), path, globs):
                yield from _without((path,), skip)
            continue
        waiting = [(path, "")]
        while waiting:
            place, inside = waiting.pop()
            try:
                names, folders = _read_directory(place, hidden=hidden)
            except OSError as error:
                on_bad(repr(place), f"cannot be read: {reason_of(error)}")
                continue
            taken = [n for n in names if _matches(n, os.path.join(inside, n), globs)]
            yield from _without((os.path.join(place, n) for n in taken), skip)
            waiting += [
                (os.path.join(place, n), os.path.join(inside, n))
                for n in reversed(folders)
            ]


def _read_directory(place: str, *, hidden: bool) -> tuple[list[str], list[str]]:
    names: list[str] = []
    folders: list[str] = []
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(".") and not hidden:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif _is_file(entry):
                names.append(entry.name)
    return sorted(names), sorted(folders)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads in a circle, for one
        return False


def _matches(name: str, path: str, globs: Sequence[str]) -> bool:
    return not globs or any(
        fnmatch.fnmatchcase(path if "/" in pattern else name, pattern)
        for pattern in globs
    )


def _without(paths: Iterable[str], skip: Collection[FileIdentity]) -> Iterator[str]:
    for path in paths:
        if skip:
            with contextlib.suppress(OSError):  # gone by now: the job will say so
                found = os.stat(path)
                if (found.st_dev, found.st_ino) in skip:
                    continue
        yield path
