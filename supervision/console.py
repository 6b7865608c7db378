"""The terminal that a live line, messages and results share.

:class:`Console` is the one writer of a stream, so that messages and results never run
into the live line; :class:`LiveLine` redraws it while it is open.

:Runs on: ``Console`` on any thread; ``LiveLine`` draws on a thread of its own, so a
    paused terminal holds up nothing but the drawing.
:Owns: the live line's text, and that thread.
:Guards: ``Console._lock`` guards ``_shown`` and keeps each write to the stream whole.
:Blocks: ``say``, ``draw`` and ``hidden``, while the stream takes no bytes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors import Clock

__all__ = ["Console", "LiveLine", "is_terminal", "log_to"]

_ERASE = "\r\x1b[K"


def is_terminal(stream: TextIO) -> bool:
    """True when ``stream`` can show a line that is redrawn in place."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}
    except ValueError:  # closed
        return False


class Console:
    """The one writer of a stream that messages and a live line share.

    A stream that has gone (a closed terminal, a reader that left) loses the text and
    hurts nobody: what is said here is never a result.

    Args:
        stream: Where to write.
        clock: Makes the lock.
    """

    def __init__(self, stream: TextIO, *, clock: Clock) -> None:
        self.stream = stream
        self.clock = clock
        self.terminal = is_terminal(stream)
        self._lock = clock.lock()  # Guards _shown. Held while the stream is written.
        self._shown = ""

    def say(self, text: str) -> None:
        """Write whole lines above the live line."""
        with self.hidden():
            self._write(text + "\n")

    def draw(self, text: str) -> None:
        """Show ``text`` as the live line; plain lines where nothing can be redrawn."""
        with self._lock:
            if text == self._shown:
                return
            if self.terminal:
                self._write(_ERASE + text)
                self._shown = text
            else:
                self._write(text + "\n")

    def erase(self) -> None:
        """Take the live line away."""
        with self.hidden():
            self._shown = ""

    def columns(self) -> int:
        """The width of the terminal now; very wide where there is none."""
        if not self.terminal:
            return 1_000
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or 80
        except (OSError, ValueError):
            return shutil.get_terminal_size().columns

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Keep the live line off the terminal while the block writes to it."""
        with self._lock:
            if self._shown:
                self._write(_ERASE)
            try:
                yield
            finally:
                if self._shown:
                    self._write(self._shown)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(text)
            self.stream.flush()


class LiveLine:
    """Redraws a console's live line while it is open.

    Args:
        console: Where the line stands.
        text: Gives the line, told how many columns there are; called on the drawing
            thread.
        clock: Times the redrawing and makes the thread.
        period: Seconds between two looks; a line that has not changed is left alone.
    """

    def __init__(
        self,
        console: Console,
        text: Callable[[int], str],
        *,
        clock: Clock,
        period: float = 0.1,
    ) -> None:
        self._console = console
        self._text = text
        self._clock = clock
        self._period = period
        self._closed = clock.event()
        self._thread = clock.thread(self._redraw, name="headrace-progress", daemon=True)

    def __enter__(self) -> LiveLine:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._closed.set()
        self._clock.join(self._thread)
        self._console.erase()

    def _redraw(self) -> None:
        while not self._closed.wait(self._period):
            self._console.draw(self._text(self._console.columns()))


@contextlib.contextmanager
def log_to(console: Console) -> Iterator[None]:
    """Say on ``console`` what the library logs during a block, from info on."""
    logger = logging.getLogger("headrace")
    handler, before = _ConsoleHandler(console), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


class _ConsoleHandler(logging.Handler):
    """Says each record on the console, with its traceback if it has one."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Say it; on the thread that logs."""
        try:
            self._console.say(self.format(record))
        except Exception:  # noqa: BLE001  # a broken record must not hurt who logs it
            self.handleError(record)
