"""Tells of exceptions that were given to an asker and that nobody read.

:Runs on: made on an actor's thread, read on any; the finaliser wherever the last
    reference goes, so that it only hands over; the log line on the lasting thread
    ``headrace-callbacks``.
:Owns: what is handed over and not yet told.
:Blocks: the interpreter's exit, for a moment, until the rest is told.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import traceback
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from actors._callbacks import lasting_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Unread", "guard"]

logger = logging.getLogger("headrace.future")

LONGEST: Final = 200  # characters of a message that are shown

EXIT_LIMIT: Final = 1.0  # real seconds

# Each use of it is one step, also to a finaliser.
_pending: deque[_What] = deque()


@final
class Unread:
    """Hangs on a reply with an exception; says so if the reply goes unread.

    It is an object of its own so that replies, which are made for each ask, need no
    finaliser.
    """

    __slots__ = ("_put", "_what")

    def __init__(self, what: _What) -> None:
        self._what: _What | None = None  # nothing to tell, if there is no thread
        self._put = lasting_thread().put
        self._what = what

    def read(self) -> None:
        """The exception was raised at somebody."""
        self._what = None

    # No lock, no wait, no global: it may run anywhere, and as the interpreter ends.
    def __del__(self, hand_over: Callable[[_What], None] = _pending.append) -> None:
        if self._what is not None:
            hand_over(self._what)
            self._put(self._tell_one, "")

    @staticmethod
    def _tell_one(_reason: str) -> None:
        try:
            _pending[0].log()
        finally:
            _pending.popleft()


class _What(NamedTuple):
    """What was not read."""

    error: BaseException
    trace: TracebackType | None  # the error's own may be taken off by an exit
    actor: str
    message: Any

    def log(self) -> None:
        """Say it."""
        error = self.error
        logger.error(
            "%s raised %s on %s, and nobody read the reply; the actor goes on. "
            "Read what ask(block=False) or a proxy's call returned with get(), or wait "
            "for it longer; where no answer is wanted, use tell() or "
            "proxy.method.defer()\n%s",
            self.actor, type(error).__name__, _short(self.message), self._text(),
        )  # fmt: skip

    def _text(self) -> str:
        error = self.error
        try:
            lines = traceback.format_exception(type(error), error, self.trace)
        except Exception as other:  # noqa: BLE001  # the host's class: told in its place
            return f"{type(error).__name__} (cannot be shown: {other!r})\n"
        return "".join(lines)


def guard(error: BaseException, actor: str, message: Any) -> Unread | None:
    """Make the guard of one exception; ``None`` if there can be no thread to tell it.

    Args:
        error: What the handler raised.
        actor: The actor's name.
        message: What it was asked.
    """
    try:
        return Unread(_What(error, error.__traceback__, actor, message))
    except RuntimeError:  # no thread can be started: the asker is still answered
        return None


def _short(message: Any) -> str:
    """Show a message; it is the host's, and may refuse."""
    try:
        text = repr(message)
    except Exception:  # noqa: BLE001  # the host's class: its name will do
        return f"a message of type {type(message).__name__}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


@atexit.register
def _tell_the_rest() -> None:
    """Give the thread, which is a daemon, the time it needs."""
    if _pending:
        with contextlib.suppress(RuntimeError):  # a forked child's: it has no thread
            lasting_thread().flush(EXIT_LIMIT)


os.register_at_fork(after_in_child=_pending.clear)  # the parent tells them
