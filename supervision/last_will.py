"""How a supervisor ends whose own loop has failed: its children still stop in order.

The loop may have ended by a bug, by an exception thrown into the thread, or because
the supervisor was left behind itself.  Its mailbox then belongs to its successor, so
notices and timers come to a wake queue instead.

:Runs on: the dying supervisor's thread; ``hear`` on the children's.
:Owns: the wake queue, its timers.
:Blocks: ``carry_out``, until the children have ended or their limits have passed.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from typing import TYPE_CHECKING, Any, final

from actors import ClockClosed, Down, Empty, Exit
from supervision.child_state import LIVE, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.cell import Cell
    from actors.clock import Clock
    from supervision.child_state import Child, Due, Timer
    from supervision.hands import CellHands
    from supervision.machine import Machine

__all__ = ["LastWill", "stop_at_once"]

logger = logging.getLogger("headrace.supervision")


class _Timer:
    """A moment that may be called off."""

    __slots__ = ("due",)

    def __init__(self, due: Due) -> None:
        self.due: Due | None = due

    def cancel(self) -> None:
        self.due = None


@final
class LastWill:
    """Drives a machine to its end without the supervisor's loop.

    Args:
        machine: The supervisor's.
        hands: The supervisor's; their timers become ours.
        clock: The tree's.
    """

    def __init__(self, machine: Machine, hands: CellHands, clock: Clock) -> None:
        self._machine = machine
        self._hands = hands
        self._clock = clock
        self._inbox = clock.queue()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._made = itertools.count()
        self._over = False

    def hear(self, heard: Any) -> bool:
        """On a child's thread: take its notice; False when nobody listens any more."""
        if self._over:
            return False
        self._inbox.put(heard)
        return True

    def carry_out(self, exit_: Exit) -> None:
        """Stop all children, in reverse order and within their limits."""
        try:
            self._stop_in_order(exit_)
        except ClockClosed:  # a test is over: everybody is being unwound
            self._over = True
            self._stop_at_once()
        except BaseException:  # the machine itself is broken: whatever can be done
            logger.exception(
                "%s cannot stop its children in order; all are stopped at once",
                self._machine.name,
            )
            self._over = True
            self._stop_at_once()

    def _stop_in_order(self, exit_: Exit) -> None:
        machine = self._machine
        self._hands.call_at = self._call_at
        machine.take_over(exit_, self._clock.monotonic())
        self._hands.hear_deadlines(self._inbox.put)
        for child in list(machine.children):
            self._hear_what_was_lost(child)
        while machine.mode is not Mode.OVER:
            self._wait()

    def _hear_what_was_lost(self, child: Child) -> None:
        # 1. The child's thread marks itself as ended. 2. It posts its notice, to the
        # mailbox that nobody reads any more or to our queue.  So whoever had posted to
        # the mailbox is marked by now; a second notice through the queue is stale.
        run = child.handle.incarnation
        if child.state in LIVE and run is not None and run.ended:
            gone = child.handle.last_exit or Exit("shutdown")
            self._machine.down(child, child.number, gone, self._clock.monotonic())

    def _wait(self) -> None:
        """Wait for the next notice or timer and give it to the machine."""
        machine, now = self._machine, self._clock.monotonic()
        while self._timers and self._timers[0][0] <= now:
            due = heapq.heappop(self._timers)[2].due
            if due is not None:
                machine.due(due, now)
                return
        left = self._timers[0][0] - now if self._timers else None
        try:
            heard = self._inbox.get(timeout=left)
        except Empty:
            return
        if isinstance(heard, float):  # a deadline, for whoever ends the tree
            machine.shorten(heard, self._clock.monotonic())
        elif isinstance(heard.notice, Down):
            number, gone = heard.notice.number, heard.notice.exit
            machine.down(heard.child, number, gone, self._clock.monotonic())

    def _call_at(self, moment: float, due: Due) -> Timer:
        timer = _Timer(due)
        heapq.heappush(self._timers, (moment, next(self._made), timer))
        return timer

    def _stop_at_once(self) -> None:
        cells = [child.handle for child in reversed(self._machine.children)]
        stop_at_once(cells, f"{self._machine.name} has failed")


def stop_at_once(cells: Iterable[Cell], why: str) -> None:
    """Stop actors whose supervisor cannot wait for them; each ends its cell itself.

    Args:
        cells: The first to stop first.
        why: In words.
    """
    for cell in cells:
        cell.stop_now(why)
        if cell.incarnation is None or cell.incarnation.ended:
            cell.finalize(Exit("shutdown"))
