"""What an actor is busy with, in a few words.

Nothing is noted for it while messages are handled: the message in hand is there anyway,
and it is put into words when somebody looks.

:Runs on: any thread; so does a message's ``__repr__`` meanwhile.
:Owns: nothing.
:Blocks: nothing, but as long as a message's ``__repr__`` does.
"""

from __future__ import annotations

import reprlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from actors._proxy import PROXY_MESSAGES
from actors.ref import StopMarker

if TYPE_CHECKING:
    from actors.cell import Cell

__all__ = ["in_hand"]

LONGEST: Final = 80
"""Characters of a message that are kept."""
_SLICE: Final = 40
"""Bytes of a message that are looked at: it may have millions."""

_looking: ContextVar[bool] = ContextVar("headrace_looking", default=False)


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = LONGEST
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 4

    def repr_bytes(self, x: bytes, level: int) -> str:  # noqa: ARG002  # reprlib's
        return repr(x) if len(x) <= _SLICE else f"{x[:_SLICE]!r}..."


_short: Final = _Short()


def in_hand(cell: Cell) -> str:
    """Show the message that a cell's actor handles at this moment.

    A ``__repr__`` that itself looks at the tree is shown only the types of messages, or
    it would go round for ever.

    Returns:
        Its short ``repr``, of a proxy's the call; empty if there is none.
    """
    run = cell.incarnation
    try:
        message = run.hand[0].message  # type: ignore[union-attr]  # see AttributeError
    except (AttributeError, IndexError):  # before the first start; idle
        return ""
    kind = type(message)
    if kind is StopMarker:
        return ""
    if _looking.get():
        return kind.__name__
    before = _looking.set(True)
    try:
        text = _call(message) if kind in PROXY_MESSAGES else _short.repr(message)
    except Exception:  # noqa: BLE001  # the host's class: its name will do
        text = kind.__name__
    finally:
        _looking.reset(before)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _call(message: Any) -> str:
    """What a proxy asks for, as it was written."""
    name = ".".join(message.attr_path)
    if hasattr(message, "args"):
        given = [_short.repr(value) for value in message.args]
        given += [f"{key}={_short.repr(each)}" for key, each in message.kwargs.items()]
        return f"{name}({', '.join(given)})"
    if hasattr(message, "value"):
        return f"{name} = {_short.repr(message.value)}"
    return name
