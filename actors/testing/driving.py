"""How the test moves a virtual clock's time, and reads it.

:Runs on: the test thread drives; any thread may read.
:Owns: what timer callbacks raised and nobody has been told of yet.
:Blocks: ``advance``, ``settle``, ``step`` and ``run_until``, until nothing can run.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any, Protocol

from actors._seconds import check_length, is_number
from actors.errors import ConfigurationError
from actors.testing.errors import Deadlock
from actors.testing.task import NANO, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.testing.kernel import Kernel

__all__ = ["Driving", "Freezer"]


class Freezer(Protocol):
    """What ``freeze_time(...)`` gives: a wall clock that can be told to move."""

    def move_to(self, target_datetime: dt.datetime) -> None:
        """Make it ``target_datetime``."""


class Driving:
    """The part of a :class:`~actors.testing.VirtualClock` that moves its time.

    Args:
        start: What ``now()`` says at first; an aware datetime.
        freezer: Moved along.
        kernel: Whose time it is.
    """

    def __init__(
        self, start: dt.datetime, freezer: Freezer | None, kernel: Kernel
    ) -> None:
        if start.tzinfo is None:
            message = f"start must be an aware datetime, got {start!r}; give it tzinfo"
            raise ValueError(message)
        self._start = start.astimezone(dt.UTC)
        self._freezer = freezer
        self._kernel = kernel
        self._errors: list[BaseException] = []
        kernel.on_move = self._move_freezer

    # -- reading

    def now(self) -> dt.datetime:
        """See :meth:`actors.clock.Clock.now`."""
        return self._start + dt.timedelta(microseconds=self._kernel.now // 1000)

    def monotonic(self) -> float:
        """See :meth:`actors.clock.Clock.monotonic`; 0.0 at first."""
        return self._kernel.now / NANO

    def next_deadline(self) -> float | None:
        """Seconds until the next timer, ``None`` if there is none."""
        with self._kernel:
            due = self._kernel.timers.first_due()
            return None if due is None else (due - self._kernel.now) / NANO

    def report(self) -> str:
        """Who runs, who waits where, what is due: text for a person."""
        return self._kernel.report()

    def __repr__(self) -> str:
        return f"<VirtualClock at {self.monotonic():g} s>"

    # -- driving

    def settle(self) -> None:
        """Wait until nothing can run without time moving; fire what is due now."""
        self._drive("settle()", self._kernel.now)

    def advance(self, seconds: float) -> None:
        """Move time on, stopping at every deadline until nothing can run there.

        Args:
            seconds: How far; zero only settles.

        Raises:
            Stalled: If some thread does not come to a wait that the clock sees.
            Livelock: If timers fire without end at one instant.
        """
        check_length("seconds", seconds, none_ok=False)
        if seconds < 0:
            message = f"time cannot go back, got {seconds}; advance by 0 or more"
            raise ValueError(message)
        self._drive(f"advance({seconds:g})", self._kernel.now + nanoseconds(seconds))

    def advance_to(self, when: dt.datetime | float) -> None:
        """Move time on to a moment, in the terms of ``now()`` or of ``monotonic()``."""
        if isinstance(when, dt.datetime):
            goal = (when - self._start) // dt.timedelta(microseconds=1) * 1000
        else:
            if not is_number(when) or math.isinf(when):
                message = f"when must be a datetime or a number, got {when!r}"
                raise ConfigurationError(message)
            goal = round(when * NANO)
        if goal < self._kernel.now:
            message = f"time cannot go back from {self.monotonic()} s to {goal / NANO}"
            raise ValueError(message)
        self._drive(f"advance_to({when})", goal)

    def step(self) -> bool:
        """Settle, then move to the next deadline and settle; False if there is none."""
        self.settle()
        with self._kernel:
            due = self._kernel.timers.first_due()
        if due is None:
            return False
        self._drive("step()", due)
        return True

    def run_until(self, predicate: Callable[[], Any], within: float = 3600.0) -> float:
        """Step until ``predicate()`` holds while nothing can run.

        Args:
            predicate: Asked on this thread, at the beginning and after each step.
            within: Virtual seconds it may take.

        Returns:
            The moment at which it held, as ``monotonic()``.

        Raises:
            Deadlock: If it does not hold and no timer is left.
            TimeoutError: If it did not come to hold in time.
        """
        given: object = predicate  # typed wider than promised: tests are rarely checked
        if not callable(given):
            message = f"predicate must be a callable that says when, got {given!r}"
            raise ConfigurationError(message)
        check_length("within", within, none_ok=False)
        end = self._kernel.now + nanoseconds(within)
        self.settle()
        while not predicate():
            with self._kernel:
                due = self._kernel.timers.first_due()
            if due is None:
                message = f"no timer is left and it does not hold\n{self.report()}"
                raise Deadlock(message)
            if due > end:
                message = f"does not hold after {within:g} virtual s\n{self.report()}"
                raise TimeoutError(message)
            self._drive("run_until()", due)
        return self.monotonic()

    def _drive(self, doing: str, goal: int) -> None:
        self._kernel.drive(doing, goal)
        if self._errors:
            error, *others = self._errors
            self._errors.clear()
            for other in others:
                error.add_note(f"another timer callback failed too: {other!r}")
            raise error

    def _move_freezer(self) -> None:
        try:
            if self._freezer is not None:
                self._freezer.move_to(self.now())
        except Exception as error:  # noqa: BLE001  # foreign; raised from advance()
            self._errors.append(error)
