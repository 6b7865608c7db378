"""Where ``headrace run`` takes its inputs from: JSON Lines, plain lines, or files.

Each reader is a generator that holds one chunk of its input at a time.
An input that cannot be read is told to ``on_bad`` with its place, and reading goes on.

:Runs on: the thread that iterates: the producer's.  ``Wakeup.set`` on any thread.
:Owns: the descriptors that it reads, and the pipe of a ``Wakeup``.
:Blocks: reading lines, until there is one, the end, or the wake-up.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import stat
import sys
from typing import TYPE_CHECKING, Any

from actors.errors import ConfigurationError
from supervision.cli_files import check_paths, files_below, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from supervision.cli_options import RunOptions

__all__ = [
    "Source",
    "Wakeup",
    "json_values",
    "open_input",
    "read_chunks",
    "split_lines",
    "text_lines",
]

_CHUNK = 1 << 16


class Wakeup:
    """Ends a reader's wait for input that may never come."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()

    def fileno(self) -> int:
        """Readable once it is set."""
        return self._reading

    def set(self) -> None:
        """End the wait, now and from now on; any thread, any number of times."""
        with contextlib.suppress(OSError):  # closed: nobody waits any more
            os.write(self._writing, b".")

    def close(self) -> None:
        """Give the pipe back; the reader is done."""
        for descriptor in (self._reading, self._writing):
            with contextlib.suppress(OSError):
                os.close(descriptor)


def open_input(path: str) -> int:
    """Open what ``-i`` names for reading.

    Raises:
        ConfigurationError: If it cannot be read; the text says why.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        message = f"-i: cannot read {path!r}: {reason_of(error)}"
        raise ConfigurationError(message) from error
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        message = f"-i: {path!r} is a directory; for the files below it: --files {path}"
        raise ConfigurationError(message)
    return descriptor


def read_chunks(descriptor: int, wakeup: Wakeup) -> Iterator[bytes]:
    """Give bytes as they come, until the end or the wake-up."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.register(wakeup.fileno(), select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if wakeup.fileno() in ready:
            return
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:  # somebody made it non-blocking; poll again
            continue
        if not chunk:
            return
        yield chunk


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Cut a stream of bytes at ``\n``; the last line needs none."""
    rest: list[bytes] = []
    for chunk in chunks:
        first, *more = chunk.split(b"\n")
        rest.append(first)
        if more:
            yield b"".join(rest)
            yield from more[:-1]
            rest = [more[-1]]
    last = b"".join(rest)
    if last:
        yield last


def text_lines(lines: Iterable[bytes]) -> Iterator[str]:
    """Give each line as text, empty ones too; bytes that are no UTF-8 survive in it."""
    for line in lines:
        yield line.removesuffix(b"\r").decode("utf-8", "surrogateescape")


def json_values(
    lines: Iterable[bytes], on_bad: Callable[[str, str], None]
) -> Iterator[Any]:
    """Give the value of each JSON line; blank lines are passed over.

    Args:
        lines: The input, cut into lines.
        on_bad: Told the place and the reason of a line that is not JSON.
    """
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not text.strip():
            continue
        try:
            value = json.loads(text.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            on_bad(f"line {number}", f"is not JSON: {_json_reason(text, error)}")
            continue
        yield value


def _json_reason(line: bytes, error: Exception) -> str:
    shown = line.strip().decode("utf-8", "backslashreplace")
    shown = repr(shown if len(shown) <= 40 else shown[:37] + "...")
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.lower()} at column {error.colno}: {shown}"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 at byte {error.start + 1}: {shown}"
    if isinstance(error, RecursionError):
        return f"nested too deeply: {shown}"
    return f"{error}: {shown}"


class Source:
    """The inputs that the options ask for.

    Attributes:
        identities: Device and inode of every file named as input.
    """

    def __init__(self, options: RunOptions, cleanup: contextlib.ExitStack) -> None:
        self._options = options
        self._wakeup = Wakeup()
        cleanup.callback(self._wakeup.close)
        self._descriptor = -1
        if options.files is not None:
            check_paths(options.files)
            found = [os.stat(path) for path in options.files]
        else:
            self._descriptor = self._open(options.input, cleanup)
            found = [os.fstat(self._descriptor)]
        self.identities = {(at.st_dev, at.st_ino) for at in found}

    def _open(self, path: str | None, cleanup: contextlib.ExitStack) -> int:
        if path is not None and path != "-":
            descriptor = open_input(path)
            cleanup.callback(os.close, descriptor)
            return descriptor
        if sys.__stdin__ is None:
            message = "stdin is closed; give -i FILE or --files PATH"
            raise ConfigurationError(message)
        if path is None and os.isatty(0):
            message = (
                "no input: stdin is a terminal; pipe JSON Lines in (or text with "
                "--lines), give -i FILE or --files PATH, or -i - to type it"
            )
            raise ConfigurationError(message)
        return 0

    def wake(self) -> None:
        """End a wait for input; any thread."""
        self._wakeup.set()

    def values(self, on_bad: Callable[[str, str], None], output: int) -> Iterator[Any]:
        """Give the inputs, one at a time; on the producer's thread.

        Args:
            on_bad: Told the place and the reason of an input that cannot be read.
            output: Descriptor of the results, which are no input.
        """
        options = self._options
        if options.files is not None:
            at = os.fstat(output)
            return files_below(
                options.files,
                on_bad,
                hidden=options.hidden,
                globs=options.glob,
                skip={(at.st_dev, at.st_ino)},
            )
        chunks = read_chunks(self._descriptor, self._wakeup)
        lines = split_lines(chunks)
        if options.lines:
            return text_lines(lines)
        return json_values(lines, on_bad)
