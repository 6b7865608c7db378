"""The hands of a supervisor's state machine: cells, timers, events.

:Runs on: the supervisor's thread.
:Owns: nothing that the cells or the tree do not own.
:Blocks: nothing.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, final

from actors import UNSET, Actor, ActorRef, Cell, Phase, adopt
from actors.events import ChildEscalated, TreeGaveUp
from supervision.child_state import State
from supervision.last_will import stop_at_once
from supervision.strategies import decide
from supervision.supervisor_ref import Budget, SupervisorRef
from supervision.tree import Board, Refs

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.exits import Exit
    from actors.stop_token import StopToken
    from supervision.child_spec import ChildSpec
    from supervision.child_state import Child, Due, Timer
    from supervision.strategies import Decider
    from supervision.supervisor import Supervisor

__all__ = ["CellHands"]

_GIVING_UP = {TreeGaveUp, ChildEscalated}


@final
class CellHands:
    """Does to cells what the machine says.

    Args:
        board: The supervisor's.
        cell: The supervisor's.
        token: Parent of the children's stop tokens.
        decider: What is asked of each failure.
        hear: Takes the notices of a child, on its thread.
        call_at: Feeds a ``Due`` back in at a moment.
        on_ready: Called when all children have started.

    Attributes:
        exit: How the machine ended, once it has.
    """

    def __init__(
        self,
        board: Board,
        cell: Cell,
        *,
        token: StopToken,
        decider: Decider | None,
        hear: Callable[[Child, Any], object],
        call_at: Callable[[float, Due], Timer],
        on_ready: Callable[[], None],
    ) -> None:
        self.exit: Exit | None = None
        self.call_at = call_at
        self.ready = on_ready
        self._board = board
        self._cell = cell
        self._token = token
        self._decider = decider
        self._hear = hear
        # By child id.  Read on any thread: each change is one call of a dict's method.
        self._refs: dict[str, ActorRef[Any]] = {}
        board.refs = self._siblings = Refs(board.name, self._refs)

    def make(self, child: Child) -> None:
        """See ``Hands``."""
        cell = child.handle = self._make_cell(child)
        if child.spec.is_supervisor:
            above = self._board
            below = Board(f"{above.name}/{child.id}", above.tree, above)
            cell.ref = SupervisorRef(cell, below)
        self._refs[child.id] = cell.ref

    def _make_cell(self, child: Child) -> Cell:
        spec, board = child.spec, self._board
        kwargs: Any = spec.kwargs
        if callable(kwargs):
            kwargs = functools.partial(kwargs, self._siblings)
        decider = None
        if self._decider is not None:
            decider = functools.partial(decide, self._decider, child=child.id)
        after_start: Any = spec.after_start
        if spec.is_supervisor:
            after_start = functools.partial(_after_start, spec.after_start)
        return Cell(
            adopt(spec.actor_class),
            spec.args,
            kwargs,
            name=spec.id,
            capacity=spec.capacity,
            mailbox=spec.mailbox,
            clock=board.tree.clock,
            token=self._token if spec.token is None else spec.token,
            report=functools.partial(self._hear, child),
            parent=self._cell,
            on_crash=_on_crash(spec),
            on_undelivered=functools.partial(board.tree.note_undelivered, board),
            after_start=after_start,
            decider=decider,
            crash_on_ask=spec.crash_on_ask,
            while_down=spec.while_down,
            # A supervisor's thread runs the machine: nothing may be thrown into it.
            interruptible=spec.on_timeout == "interrupt" and not spec.is_supervisor,
        )

    def emit(self, event: Any) -> None:
        """See ``Hands``."""
        if type(event) in _GIVING_UP:
            self._board.gave_up = event
        self._board.tree.listeners.emit(event)

    def forget(self, child: Child) -> None:
        """See ``Hands``."""
        self._refs.pop(child.id, None)

    def forget_arguments(self, child: Child) -> None:
        """See ``Hands``."""
        child.spec = child.spec.without_arguments()
        child.handle.forget_arguments()

    def ref(self, child: Child) -> ActorRef[Any]:
        """See ``Hands``."""
        cell: Cell = child.handle
        return cell.ref

    def start(self, child: Child) -> int:
        """See ``Hands``."""
        make_on, child.make_on = child.make_on, None
        if child.spec.init_in == "child":
            make_on = None
        elif make_on is None and child.number == 0:
            make_on = self._board.tree.make_on
        cell: Cell = child.handle
        run = cell.start() if make_on is None else cell.start(make_on)
        return run.number

    def stop(self, child: Child, deadline: float | None) -> None:
        """See ``Hands``."""
        # Below a supervisor each is cancelled when its turn comes, and not before.
        phase = Phase.DRAIN if child.spec.is_supervisor else Phase.CANCEL
        why = f"{self._board.name} stops it"
        child.handle.stop_now(why, deadline=deadline, phase=phase)

    def drain(self, child: Child, deadline: float | None) -> None:
        """See ``Hands``."""
        ref = child.handle.ref
        if not child.draining:
            ActorRef.stop(ref, block=False)
        if child.spec.is_supervisor and deadline is not None:
            ref.tell_control(Budget(child.number, deadline))

    def interrupt(self, child: Child, why: str) -> bool:
        """See ``Hands``."""
        done: bool = child.handle.interrupt(why)
        return done

    def busy(self, child: Child) -> bool:
        """See ``Hands``."""
        if child.state is State.RUNNING or child.state is State.STOPPING:
            # Also one that drains: with nothing in hand it is about to end.
            return bool(child.handle.incarnation.hand)
        return True

    def waiting(self, child: Child) -> int:
        """See ``Hands``."""
        cell: Cell = child.handle
        return len(cell.mailbox)

    def abandon(self, child: Child, why: str) -> str | None:
        """See ``Hands``."""
        cell: Cell = child.handle
        run = cell.incarnation
        stack = cell.abandon(why)
        if stack is not None:
            self._board.tree.note_left_behind(self._board.name, cell)
            reads_on = child.state is State.STARTING and run is not None and run.started
            if child.spec.is_supervisor and not reads_on:
                self._leave_no_orphans(cell, why)
        return stack

    @staticmethod
    def _leave_no_orphans(cell: Cell, why: str) -> None:
        """Stop the children of a supervisor that is stuck and cannot do it itself.

        One that reads its mailbox learns there that it was left behind, and stops them
        in order.
        """
        ref: Any = cell.ref
        ref.refuse_requests()
        below = [each.cell for each in ref.board.refs.newest_first()]
        stop_at_once(below, f"{ref.board.name} was left behind: {why}")

    def finalize(self, child: Child, exit_: Exit) -> None:
        """See ``Hands``."""
        child.handle.finalize(exit_)

    def hear_deadlines(self, fn: Callable[[float], object]) -> None:
        """Have the deadlines of the tree's end told to ``fn``; for a last will."""
        self._board.hear_deadlines(fn)

    def end(self, exit_: Exit) -> None:
        """See ``Hands``."""
        self.exit = exit_


def _after_start(then: Callable[[Any], object] | None, supervisor: Supervisor) -> None:
    supervisor.check_begun()
    if then is not None:
        then(supervisor)


def _on_crash(spec: ChildSpec[Any]) -> Any:
    """The hooks of a crash: a class that does not know ours may close things there."""
    if spec.on_crash is not UNSET:
        return spec.on_crash
    return "on_failure" if issubclass(spec.actor_class, Actor) else "on_stop"
