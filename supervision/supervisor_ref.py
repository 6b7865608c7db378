"""What the host holds of a tree: refs of its children, pictures of it, its endings.

:Runs on: any thread.
:Owns: what waits for the tree's end.
:Blocks: ``wait``, ``shutdown``, a blocking ``stop`` and leaving the ``with``, until the
    tree has ended or their time is over.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import TimeoutError as NotInTime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from actors import (
    ActorDeadError,
    Exit,
    Phase,
    UsedAfterFork,
    WouldDeadlock,
    current_cell,
)
from supervision import tree_exit
from supervision._crash_words import why_it_gave_up
from supervision._spec_checks import check_timeout, refuse
from supervision.caller import Caller, patience
from supervision.children_ref import ChildrenRef
from supervision.errors import (
    ChildNotFound,
    StartFailed,
    SupervisorGaveUp,
    caused_by,
    shown,
)
from supervision.snapshot import take_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from types import TracebackType

    import pykka

    from actors.cell import Cell
    from actors.stop_token import StopToken
    from supervision.snapshot import TreeSnapshot
    from supervision.tree import Board

__all__ = ["Budget", "SupervisorRef"]

STOP_NOW_LIMIT: Final = 1.0
"""Seconds that children have to give up what they hold when a tree stops now."""
MARGIN: Final = 1.0
"""Seconds beyond the tree's own deadline before a caller stops waiting for its end."""


class Budget(NamedTuple):
    """Control: a stop is coming, or under way, that must end by ``deadline``.

    ``number`` is the incarnation of the supervisor that it is meant for.
    """

    number: int
    deadline: float


class SupervisorRef(ChildrenRef):
    """The ref of a supervisor: an ``ActorRef`` that also knows the children.

    A context manager: leaving the block shuts the tree down, and raises what
    :meth:`wait` raises unless the block itself has raised.

    Args:
        cell: The supervisor's place.
        board: Where it publishes.
    """

    def __init__(self, cell: Cell, board: Board) -> None:
        super().__init__(cell, board)
        self._ended: Future[Exit] = cell.clock.future()
        cell.on_final(self._ended.set_result)

    def snapshot(self) -> TreeSnapshot:
        """This supervisor and all below it, now; ``print`` draws it.

        It sends no message and waits for nobody, so it can be had at any time: while
        the tree starts, is stuck, stops, and after its end.
        """
        return take_snapshot(self)

    # -- endings

    @property
    def stop_token(self) -> StopToken:
        """Signalled when the tree is told to stop."""
        run = self.cell.incarnation
        return self.cell.token if run is None else run.stop_token

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the tree has ended by itself or by somebody's order.

        Returns:
            False if it had not within ``timeout`` seconds.

        Raises:
            SupervisorGaveUp: If it ended by too many restarts; ``__cause__`` is the
                last failure.
            BaseException: What ended a child fatally, the same object.
            WouldDeadlock: If called by an actor of the tree.
        """
        check_timeout("wait", timeout)
        self._refuse_from_inside("wait")
        try:
            exit_ = self._ended.result(patience(timeout))
        except NotInTime:
            return False
        error = self._error_of(exit_)
        if error is not None:
            raise error
        return True

    def shutdown(self, timeout: float | None = None) -> bool:
        """Stop the children in reverse order, then the supervisor; wait for it.

        All stop tokens of the tree show DRAIN; each child's is cancelled when its turn
        comes.  Messages that wait in its mailbox then are not handled.

        Called again, by anybody, it waits for the same ending.  A nested supervisor is
        stopped as by ``terminate_child`` of the one above it: it does not come back.

        Args:
            timeout: Seconds for the whole tree; it cuts each child's own limit.
                ``None`` leaves those as they are.

        Returns:
            True when the tree has ended.

        Raises:
            WouldDeadlock: If called by an actor of the tree; ``stop_now`` is allowed.
        """
        check_timeout("shutdown", timeout)
        self._refuse_from_inside("shutdown")
        limit = None if timeout is None else timeout + MARGIN
        above: Any = self.cell.parent
        if above is None:
            deadline = self._deadline(timeout)
            self.cell.stop_now("shutdown", deadline=deadline, phase=Phase.DRAIN)
            self.board.hurry(deadline)
        try:
            if above is not None and not self._is_shut_down_by(
                above.ref, timeout, limit
            ):
                return False
            return self._has_ended(limit)
        except KeyboardInterrupt:  # whoever waits is asked to leave: so is the tree
            self.stop_now("its shutdown was interrupted")
            raise

    def stop_now(self, reason: str, *, timeout: float = STOP_NOW_LIMIT) -> None:
        """Have the tree give up what it holds and end; never blocks.

        All stop tokens are cancelled at once: a child that obeys its own may end before
        its turn.

        A nested supervisor does not come back, as after ``shutdown``.

        Args:
            reason: Why, in words.
            timeout: Seconds for the whole tree; ``math.inf`` for no limit.
        """
        check_timeout("stop_now", timeout, none_ok=False)
        above: Any = self.cell.parent
        if above is None:
            deadline = self._deadline(timeout)
            self.cell.stop_now(reason, deadline=deadline)
            self.board.hurry(deadline)
            return
        self.stop_token.cancel(reason)
        self.tell_control(
            Budget(self.cell.number, self.cell.clock.monotonic() + timeout)
        )
        with contextlib.suppress(ChildNotFound):
            above.ref.order_termination(self)

    def stop(  # type: ignore[override]  # as Pykka's, and the time is the tree's too
        self, *, block: bool = True, timeout: float | None = None
    ) -> bool | pykka.Future[bool]:
        """Drain the tree: each child stops once it has handled what waits for it.

        1. All stop tokens of the tree show DRAIN.
        2. The children stop in reverse order, each after the messages sent to it
           before; whoever was started last is the first that sends no more.
        3. Those that are not done shortly before ``timeout`` are stopped at once.

        Args:
            block: False returns a future of the answer.
            timeout: Seconds for the whole tree.  Without it each child has its own
                ``shutdown`` time for what waits and for its stop.

        Returns:
            True if this or an earlier request stopped it, False if it was dead.

        Raises:
            pykka.Timeout: If it had not ended even so.
            WouldDeadlock: If it blocks and is called by an actor of the tree.
        """
        check_timeout("stop", timeout)
        if block:
            self._refuse_from_inside("stop")
        reply = super().stop(block=False)
        if timeout is not None:
            deadline = self.cell.clock.monotonic() + timeout
            self.tell_control(Budget(self.cell.number, deadline))
            if self.cell.parent is None:
                self.board.hurry(deadline)
        if not block:
            return reply
        return bool(reply.get(timeout=None if timeout is None else timeout + MARGIN))

    def when_ended(self, fn: Callable[[Exit], object]) -> None:
        """Call ``fn(exit)`` once, when the tree has ended, or now if it has.

        It runs on the thread that ends the tree, and must not wait.  Whoever waits for
        the end may go on before it.
        """
        if not callable(fn):
            refuse("when_ended", "fn", fn, "a callable of the exit")
        self.cell.on_final(fn)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.shutdown()
        except UsedAfterFork:  # a forked child leaves by sys.exit(): that is no use
            if error is None:
                raise
            return
        if error is None:
            self.wait()
        else:
            self._note_end(error)

    def _note_end(self, error: BaseException) -> None:
        """Tell whoever reads an error of the block that the tree had ended."""
        final = self.cell.final
        ended = None if final is None else self._error_of(final)
        if ended is not None and ended is not error:
            with contextlib.suppress(Exception):  # the host's class: may refuse notes
                error.add_note(f"meanwhile {ended}")

    # -- for the supervisor

    def start_tree(self, ready: Future[BaseException | None]) -> None:
        """Start the root and wait until ``ready``.

        Args:
            ready: Completed with ``None`` once all children run.  What went wrong comes
                as its value: a future drops an exception that counts as false.

        Raises:
            StartFailed: If it ended before that.
        """

        def on_final(exit_: Exit) -> None:
            tree_exit.has_ended(self)
            if not ready.done():
                ready.set_result(self._start_error(exit_))

        caller = Caller(self.cell.clock)
        self.board.tree.make_on = caller.make_on
        self.cell.on_final(on_final)
        try:
            tree_exit.has_started(self)
            self._start_root()
            failure = caller.wait_for(ready)
        except BaseException:
            self._give_up_start()
            raise
        if failure is not None:
            raise failure

    def _start_root(self) -> None:
        try:
            self.cell.start()
        except (RuntimeError, MemoryError) as error:
            message = f"{self.board.name} did not start: {error}"
            failure = StartFailed(message)
            failure.__cause__ = error
            self.cell.finalize(Exit("start_failed", failure))

    def _give_up_start(self) -> None:
        self.stop_now("its start was interrupted")
        run = self.cell.incarnation
        if run is None or run.ident is None:  # its thread may never come to run
            self.cell.finalize(Exit("shutdown"))

    # -- helpers

    def _deadline(self, timeout: float | None) -> float | None:
        return None if timeout is None else self.cell.clock.monotonic() + timeout

    def _is_shut_down_by(
        self, above: SupervisorRef, timeout: float | None, limit: float | None
    ) -> bool:
        """Have the supervisor above stop it: that one alone can call a restart off."""
        above.refuse_deadlock("terminate", self.cell.name)  # it may be the caller
        deadline = self._deadline(timeout)
        if deadline is not None:
            self.tell_control(Budget(self.cell.number, deadline))
        try:
            above.terminate_child(self, timeout=patience(limit))
        except TimeoutError:
            return False
        except (ChildNotFound, ActorDeadError):  # it ended, or it ends with that one
            pass
        return True

    def _has_ended(self, timeout: float | None) -> bool:
        try:
            self._ended.result(patience(timeout))
        except NotInTime:
            return False
        return True

    def _refuse_from_inside(self, what: str) -> None:
        cell = current_cell()
        while cell is not None:
            if cell is self.cell:
                message = (
                    f"{what} of {self.board.name} from inside would wait for itself; "
                    "use stop_now() or stop(block=False)"
                )
                raise WouldDeadlock(message)
            cell = cell.parent

    def _error_of(self, exit_: Exit) -> BaseException | None:
        """What an ending that nobody ordered raises."""
        if not exit_.abnormal:
            return None
        if exit_.kind == "fatal" and exit_.error is not None:
            return exit_.error.with_traceback(None)  # it would grow with each wait
        if exit_.kind == "gave_up" and self.board.gave_up is not None:
            message = why_it_gave_up(self.board.gave_up)
        else:
            message = f"{self.board.name} ended ({exit_.kind}): {shown(exit_.error)}"
        gave_up = SupervisorGaveUp(message)
        caused_by(gave_up, exit_.error, exit_.traceback)
        return gave_up

    def _start_error(self, exit_: Exit) -> BaseException:
        error = exit_.error
        if isinstance(error, StartFailed):
            return error
        if exit_.kind == "fatal" and error is not None:
            return error
        message = f"{self.board.name} ended ({exit_.kind}) before all children ran"
        failure = StartFailed(message)
        caused_by(failure, error, exit_.traceback)
        return failure
