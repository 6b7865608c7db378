"""An option that was not given, where ``None`` is something to give.

:Runs on: any thread.
:Owns: nothing; a constant.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["UNSET", "Unset"]


class Unset(enum.Enum):
    """The type of :data:`UNSET`: an option that was not given."""

    UNSET = enum.auto()


UNSET: Final = Unset.UNSET
