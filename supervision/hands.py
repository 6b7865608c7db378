"""The hands of a supervisor's state machine: cells, timers, events.

:Runs on: the supervisor's thread.
:Owns: nothing that the cells or the tree do not own.
:Blocks: nothing.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, final

from actors import UNSET, Actor, Cell, adopt
from supervision.child_state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.exits import Exit
    from actors.stop_token import StopToken
    from supervision.child_spec import ChildSpec
    from supervision.child_state import Child, Due, Timer
    from supervision.tree import Board, Refs

__all__ = ["CellHands", "make_cell"]


@final
class CellHands:
    """Does to cells what the machine says.

    Args:
        board: The supervisor's.
        call_at: Feeds a ``Due`` back in at a moment.
        on_ready: Called when all children have started.

    Attributes:
        exit: How the machine ended, once it has.
    """

    def __init__(
        self,
        board: Board,
        call_at: Callable[[float, Due], Timer],
        on_ready: Callable[[], None],
    ) -> None:
        self.exit: Exit | None = None
        self.call_at = call_at
        self.ready = on_ready
        self.emit = board.tree.listeners.emit
        self._board = board

    def start(self, child: Child) -> int:
        """See ``Hands``."""
        number: int = child.handle.start().number
        return number

    def stop(self, child: Child, deadline: float | None) -> None:
        """See ``Hands``."""
        child.handle.stop_now(f"{self._board.name} stops it", deadline=deadline)

    def busy(self, child: Child) -> bool:
        """See ``Hands``."""
        return child.state is not State.RUNNING or bool(child.handle.incarnation.hand)

    def abandon(self, child: Child, why: str) -> str | None:
        """See ``Hands``."""
        cell: Cell = child.handle
        stack = cell.abandon(why)
        if stack is not None:
            self._board.tree.note_left_behind(self._board.name, cell)
        return stack

    def finalize(self, child: Child, exit_: Exit) -> None:
        """See ``Hands``."""
        child.handle.finalize(exit_)

    def end(self, exit_: Exit) -> None:
        """See ``Hands``."""
        self.exit = exit_


def make_cell(
    spec: ChildSpec[Any],
    *,
    board: Board,
    parent: Cell,
    token: StopToken,
    report: Callable[[Any], object],
    siblings: Refs,
) -> Cell:
    """Make the place of a child; nothing starts yet."""
    kwargs: Any = spec.kwargs
    if callable(kwargs):
        kwargs = functools.partial(kwargs, siblings)
    actor_class = adopt(spec.actor_class)
    on_crash = spec.on_crash
    if on_crash is UNSET:
        on_crash = "on_failure" if issubclass(actor_class, Actor) else "on_stop"
    return Cell(
        actor_class,
        spec.args,
        kwargs,
        name=spec.id,
        capacity=spec.capacity,
        mailbox=spec.mailbox,
        clock=board.tree.clock,
        token=token if spec.token is None else spec.token,
        report=report,
        parent=parent,
        on_crash=on_crash,
        on_undelivered=functools.partial(board.tree.note_undelivered, board.name),
        after_start=spec.after_start,
    )
