"""How a supervisor ends: who is stopped next, and how long each may take.

All children stop in reverse order, each awaited before the next is asked; those of a
dynamic supervisor all at once.  An ending may let each child handle what waits in its
mailbox first.  It keeps back a part of its time for the children that are not done by
then: they are stopped at once.

:Runs on: the supervisor's thread; pure.
:Owns: the exit, the deadline, the list of those who have not been stopped.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from supervision.child_state import Child, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.exits import Exit

__all__ = ["Ending"]

STOP_RESERVE: Final = 1.0
"""Seconds of a drain's time that are kept for a stop without it; a fifth at most."""


class Ending:
    """The end of one supervisor, also before it has begun.

    Attributes:
        exit: How the supervisor ends; ``None`` while it does not.
        deadline: The moment by which all must have ended.
        drain_until: Children may handle what waits until that moment; ``None`` if not.
        all_asked: All have been asked to stop, where they stop at once.
    """

    def __init__(self) -> None:
        self.exit: Exit | None = None
        self.deadline: float | None = None
        self.drain_until: float | None = None
        self.all_asked = False
        # Taken from the end, so that no step looks at the children it is done with.
        self._left: list[Child] = []

    def begin(
        self, exit_: Exit, children: Iterable[Child], *, drain: bool, now: float
    ) -> bool:
        """Begin to end; called again, only a fatal exit changes anything.

        Args:
            exit_: How the supervisor ends.
            children: In the order of start.
            drain: Each may handle what waits in its mailbox.
            now: The moment.

        Returns:
            False if it had begun before.
        """
        if self.exit is not None:
            if exit_.kind == "fatal" and self.exit.kind != "fatal":
                self.exit = exit_
            return False
        self.exit = exit_
        self._left = list(children)
        if drain:
            self.drain_until = math.inf
            self._keep_reserve(now)
        return True

    def hurry(self) -> bool:
        """Let nobody drain any more; False if nobody did."""
        was, self.drain_until = self.drain_until, None
        return was is not None

    def shorten(self, deadline: float | None, now: float) -> bool:
        """Have it end by ``deadline``; False if it does already."""
        if deadline is None or (self.deadline is not None and self.deadline < deadline):
            return False
        self.deadline = deadline
        self._keep_reserve(now)
        return True

    def _keep_reserve(self, now: float) -> None:
        if self.drain_until is not None and self.deadline is not None:
            until = now + without_reserve(self.deadline - now)
            self.drain_until = min(self.drain_until, until)

    def drains(self, now: float) -> bool:
        """True while children may handle what waits."""
        return self.drain_until is not None and now < self.drain_until

    def drain_of(self, child: Child, now: float) -> float | None:
        """The moment until which a child may handle what waits, if there is one.

        It is ours, however long that is; if we have none, the child's own limit is for
        both the drain and the stop.
        """
        if self.deadline is not None:
            child.stop_by = None
            return self.drain_until
        if child.spec.shutdown is None:
            return None
        child.stop_by = now + child.spec.shutdown
        return now + without_reserve(child.spec.shutdown)

    def limit_of(self, child: Child, now: float) -> float | None:
        """Seconds that a child has to stop: its own, and what is left of ours."""
        limits = [child.spec.shutdown]
        if child.stop_by is not None:
            limits = [max(0.0, child.stop_by - now)]
        if self.deadline is not None:
            limits.append(max(0.0, self.deadline - now))
        return min((each for each in limits if each is not None), default=None)

    def next(self) -> Child | None:
        """The next child that is not down; ``None`` when there is none."""
        while self._left and self._left[-1].state is State.UNDEFINED:
            self._left.pop()
        return self._left[-1] if self._left else None

    def left(self) -> list[Child]:
        """All that are not down, the last started first."""
        self._left = [c for c in self._left if c.state is not State.UNDEFINED]
        return self._left[::-1]


def without_reserve(limit: float) -> float:
    """Seconds of a limit that a drain may take."""
    limit = max(0.0, limit)
    return limit - min(STOP_RESERVE, limit / 5)
