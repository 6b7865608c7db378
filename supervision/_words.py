"""Lengths and numbers in words, for people who read a log or a picture.

:Runs on: any thread; pure.
:Owns: nothing.
"""

from __future__ import annotations

from typing import Final

__all__ = ["count", "seconds"]

AGES: Final = 1e9
"""Seconds; nobody counts the hours of thirty years."""


def count(number: int, noun: str) -> str:
    """``1 restart``, ``1,000 restarts``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def seconds(length: float) -> str:
    """``4.2 s``, ``59 s``, ``1 min 12 s``, ``2 h 01 min``; ``inf s`` without end."""
    if length < 10:  # where a tenth matters
        return f"{length:.1f} s"
    if length >= AGES:
        return f"{length:g} s"
    minutes, whole = divmod(round(length), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {whole:02} s" if minutes else f"{whole} s"
