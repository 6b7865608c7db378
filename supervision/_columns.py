"""Text for a table in a terminal: harmless, and as wide as it looks.

:Runs on: any thread; pure.
:Owns: nothing.
"""

from __future__ import annotations

import unicodedata
from typing import Final

__all__ = ["cut", "cut_middle", "fill", "harmless", "width_of"]

_ESCAPED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def harmless(text: str) -> str:
    r"""One line that moves no cursor: ``\n`` and ``\x1b`` for what would."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    return _ESCAPED.get(char) or char.encode("unicode_escape").decode("ascii")


def width_of(text: str) -> int:
    """How many columns of a terminal it takes."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me"}:  # it stands on the one before
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def fill(text: str, width: int) -> str:
    """Fill it up to a width with blanks on the right."""
    return text + " " * (width - width_of(text))


def cut(text: str, width: int) -> str:
    """Leave out the end of what is wider."""
    return text if width_of(text) <= width else f"{_head(text, width - 1)}…"


def cut_middle(text: str, width: int) -> str:
    """Leave out the middle of what is wider: names differ at both their ends."""
    if width_of(text) <= width:
        return text
    left = width // 2
    tail = _head(text[::-1], width - 1 - left)[::-1]
    return f"{_head(text, left)}…{tail}"


def _head(text: str, width: int) -> str:
    """As much of the beginning as fits."""
    if text.isascii():
        return text[: max(0, width)]
    taken = 0
    for at, char in enumerate(text):
        taken += _char_width(char)
        if taken > width:
            return text[:at]
    return text
