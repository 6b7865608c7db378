"""What ``headrace run`` writes: JSON Lines of results, one line for each dead job.

The real stdout is set aside before a user's module is imported: descriptor 1 then leads
to stderr, so what a job prints, from Python, from C or from a child process, can never
run into the results.

:Runs on: the collector's thread, the sink; ``InOrder.admit`` on the producer's.
:Owns: the descriptor that results go to; the results that ``InOrder`` holds back.
:Blocks: ``JsonLines.write`` while the reader takes no bytes, which is back-pressure;
    ``InOrder.admit`` while its window is full.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import stat
import sys
import traceback
from typing import TYPE_CHECKING, Any

from actors import errors
from actors.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from actors import Clock, JobResult

__all__ = [
    "InOrder",
    "JsonLines",
    "dead_line",
    "open_output",
    "plain",
    "private_stdout",
    "result_line",
    "traceback_of",
]


_PLACE = "a place in the window"
_OUR_FOLDERS = {os.path.dirname(__file__), os.path.dirname(errors.__file__)}


@contextlib.contextmanager
def private_stdout() -> Iterator[int]:
    """Set the real stdout aside for a block; descriptor 1 leads to stderr meanwhile.

    Yields:
        A descriptor of the real stdout that no child process inherits.

    Raises:
        ConfigurationError: If stdout is closed.
    """
    if sys.stdout is None:
        message = "stdout is closed; give it a file or > /dev/null, or use -o FILE, too"
        raise ConfigurationError(message)
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    with _line_buffered():
        try:
            yield real
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            os.dup2(real, 1)
            os.close(real)


@contextlib.contextmanager
def _line_buffered() -> Iterator[None]:
    """Let a job's prints appear line by line among the messages."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is None:  # replaced, by a test for one
        yield
        return
    before = getattr(sys.stdout, "line_buffering", False)
    reconfigure(line_buffering=True)
    try:
        yield
    finally:
        reconfigure(line_buffering=before)


def open_output(path: str, *, inputs: Collection[tuple[int, int]] = ()) -> int:
    """Open what ``-o`` names for writing, emptied.

    Args:
        path: The file; it need not exist.
        inputs: Device and inode of what is read, which must not be emptied.

    Raises:
        ConfigurationError: If it cannot be written, or is an input.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        message = f"-o: cannot write {path!r}: {why.lower()}"
        raise ConfigurationError(message) from error
    found = os.fstat(descriptor)
    if (found.st_dev, found.st_ino) in inputs:
        os.close(descriptor)
        message = f"-o: {path!r} is the input, which it would empty; name another file"
        raise ConfigurationError(message)
    if stat.S_ISREG(found.st_mode):
        os.ftruncate(descriptor, 0)
    return descriptor


class JsonLines:
    """Writes whole lines to a descriptor, each as soon as it is there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, line: bytes) -> None:
        """Write one line, all of it; raises what the descriptor raises."""
        left = memoryview(line)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another program made the terminal non-blocking
                select.select([], [self._descriptor], [])


class InOrder:
    """Passes results on in the order of their jobs, holding back a bounded number.

    The producer asks :meth:`admit` before each job, so no more than ``window`` jobs are
    ever between the oldest result not yet written and the newest job.

    Args:
        write: Takes the results, in the order of ``result.id``, from 1 without a gap.
        window: How many jobs may be under way or held back.
        clock: Makes the queue that the producer waits on.
    """

    def __init__(
        self, write: Callable[[JobResult], None], *, window: int, clock: Clock
    ) -> None:
        self._write = write
        self._held: dict[int, JobResult] = {}  # The collector's thread alone.
        self._next = 1
        self._places = clock.queue()
        for _ in range(window):
            self._places.put(_PLACE)

    def admit(self) -> bool:
        """Wait for a place in the window; False once the order has been closed."""
        admitted = self._places.get() is _PLACE
        if not admitted:
            self._places.put(None)  # for the next one who asks
        return admitted

    def close(self) -> None:
        """End every wait in ``admit``, now and from now on; any thread."""
        self._places.put(None)

    def take(self, result: JobResult) -> None:
        """Write ``result`` and what waited for it, or hold it back."""
        self._held[result.id] = result
        while self._next in self._held:
            self._write(self._held.pop(self._next))
            self._next += 1
            self._places.put(_PLACE)

    def finish(self) -> None:
        """Write what is still held back, after the last result came."""
        for number in sorted(self._held):
            self._write(self._held.pop(number))


# -- lines, pure


def result_line(result: JobResult, value_in: Any) -> bytes:
    """One line of stdout: what went in, what came out, how many runs, how long."""
    return _encode(
        {
            "job": result.id,
            "ok": True,
            "in": value_in,
            "out": result.value,
            "attempts": len(result.attempts),
            "ms": _short(result.ran * 1000),
        }
    )


def _encode(record: dict[str, Any]) -> bytes:
    try:
        text = _dumps(record)
    except (TypeError, ValueError, RecursionError):
        record = plain(record)
        text = _dumps(record)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # a file name that is no UTF-8: \\udcXX keeps it
        return _dumps(record, ascii_only=True).encode() + b"\n"


def _dumps(record: dict[str, Any], *, ascii_only: bool = False) -> str:
    return json.dumps(
        record, ensure_ascii=ascii_only, allow_nan=False, separators=(",", ":")
    )


def plain(value: Any, depth: int = 0) -> Any:
    """Turn any value into one that JSON has: the nearest container, else text.

    Bytes are decoded, sets become lists, ``nan`` and the infinities ``null``, keys and
    all other objects their ``str``.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if depth < 100:
        if isinstance(value, dict):
            return {_key(k): plain(v, depth + 1) for k, v in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [plain(item, depth + 1) for item in value]
    return _text(value)


def _number(value: int | float) -> float | str | None:  # both, apart
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None  # a subclass's, too
    try:
        return int(str(int(value)))  # too long for json.dumps as it is for str
    except ValueError:
        return hex(value)


def _short(milliseconds: float) -> float:
    """One decimal, or two digits where that would say 0.0."""
    return round(milliseconds, 1) if milliseconds >= 1 else float(f"{milliseconds:.2g}")


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    return json.dumps(key) if isinstance(key, (bool, int, type(None))) else _text(key)


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001  # the user's __str__: the line is written all the same
        return f"<{type(value).__name__} that cannot be shown>"


def dead_line(result: JobResult, value_in: Any) -> str:
    """One line of stderr: which job is dead, of what, after how many runs."""
    error = result.error
    kind = type(error).__name__
    told = _one_line(_text(error), 300)
    runs = len(result.attempts)
    after = f" (after {runs} runs)" if runs > 1 else ""
    shown = _one_line(_shown(value_in), 80)
    return f"dead: job {result.id} ({shown}): {kind}{told and ': '}{told}{after}"


def _shown(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return _text(value)


def _one_line(text: str, longest: int) -> str:
    text = text if len(text) <= longest else text[: longest - 3] + "..."
    shown = (c if c.isprintable() else repr(c)[1:-1] for c in text)
    return "".join(shown)


def traceback_of(error: BaseException | None) -> str:
    """A dead job's traceback, from the job's own first line on."""
    if error is None:
        return ""
    frame = error.__traceback__
    while frame is not None and _is_ours(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    lines = traceback.format_exception(type(error), error, frame)
    return "".join(lines).rstrip("\n")


def _is_ours(path: str) -> bool:
    return os.path.dirname(path) in _OUR_FOLDERS
