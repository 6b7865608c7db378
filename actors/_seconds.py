"""Lengths of time that a host gives, refused before they do anything.

:Runs on: any thread; pure.
:Owns: nothing.
"""

from __future__ import annotations

import math

from actors.errors import ConfigurationError

__all__ = ["check_length", "is_number"]


def is_number(value: object) -> bool:
    """True for a number that a clock can add to its time; endless ones included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return not math.isnan(value)
    except OverflowError:  # an int beyond any float
        return False


def check_length(option: str, seconds: object, *, none_ok: bool = True) -> None:
    """Refuse what is no number of seconds.

    One below 0 is the rest of a time that has passed: it counts as 0.

    Raises:
        ConfigurationError: Naming the option, the value and what is allowed.
    """
    if not (seconds is None and none_ok) and not is_number(seconds):
        no_limit = ", or None for no limit" if none_ok else ""
        msg = f"{option} must be a number of seconds{no_limit}, got {seconds!r}"
        raise ConfigurationError(msg)
