"""Numbers for the names of things that nobody named.

In real time they go on for as long as the process lives.  Under any other clock they
begin anew with that clock, so that two runs of one seed have the same names.

:Runs on: any thread.
:Owns: how far each clock has counted; a clock that is gone is forgotten.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, final
from weakref import WeakKeyDictionary

from actors.clock import SystemClock

if TYPE_CHECKING:
    from actors.clock import Clock

__all__ = ["Numbers"]


@final
class Numbers:
    """One series of numbers for each virtual clock, and one for real time.

    Args:
        first: Where each series begins.
    """

    def __init__(self, first: int = 0) -> None:
        self._first = first
        self._real = itertools.count(first)
        self._virtual: WeakKeyDictionary[Clock, itertools.count[int]]
        self._virtual = WeakKeyDictionary()

    def next_for(self, clock: Clock) -> int:
        """The next number of the clock's series."""
        if isinstance(clock, SystemClock):
            return next(self._real)
        return next(self._virtual.setdefault(clock, itertools.count(self._first)))
