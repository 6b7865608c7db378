"""What the fields of specs may be.

:Runs on: any thread; pure.
:Owns: nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import enum


def is_seconds(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and value >= 0  # False for NaN
    )


def is_above_0(value: object) -> bool:
    return is_seconds(value) and value != 0 and not math.isinf(value)  # type: ignore[arg-type]  # a number by now


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_value(kind: type[enum.Enum], value: object) -> bool:
    return isinstance(value, kind) or value in [each.value for each in kind]


def values_of(kind: type[enum.Enum]) -> str:
    *most, last = [repr(each.value) for each in kind]
    return f"{', '.join(most)} or {last}"
