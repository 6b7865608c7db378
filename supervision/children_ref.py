"""What the host holds of a supervisor: its children, and what can be done with them.

:Runs on: any thread.
:Owns: the requests that have not been answered.
:Blocks: ``start_child`` and ``restart_child`` until the child runs, ``terminate_child``
    until it is down; ``delete_child`` until the supervisor has read it.
"""

from __future__ import annotations

from concurrent.futures import TimeoutError as NotInTime
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from actors import ActorDeadError, ActorRef, WouldDeadlock, current_cell
from supervision._spec_checks import check_timeout, refuse
from supervision.administration import Request
from supervision.caller import Caller, patience
from supervision.child_like import as_spec, id_of
from supervision.child_spec import ChildSpec
from supervision.errors import ChildNotFound
from supervision.picture import ChildCounts

if TYPE_CHECKING:
    from concurrent.futures import Future

    from actors.cell import Cell
    from actors.exits import Undelivered, Zombie
    from supervision.administration import What
    from supervision.child_like import ChildLike
    from supervision.child_spec import A
    from supervision.picture import ChildInfo
    from supervision.supervisor import Supervisor
    from supervision.supervisor_ref import SupervisorRef
    from supervision.tree import Board

__all__ = ["ChildrenRef"]

Known: TypeAlias = "str | type[Any] | ChildSpec[Any] | ActorRef[Any]"
"""A child that is there: its id, the class given for it, its spec or its ref."""


class ChildrenRef(ActorRef[Any]):
    """An ``ActorRef`` that knows the children: the base of ``SupervisorRef``.

    Args:
        cell: The supervisor's place.
        board: Where it publishes.
    """

    def __init__(self, cell: Cell, board: Board) -> None:
        super().__init__(cell)
        cell.ref = self
        self.board = board
        # Invariant: a request is in here before it is in the mailbox, which drops it
        # when it closes.  Each change is one call of a dict's method.
        self._requests: dict[Request, None] = {}
        cell.on_final(lambda _exit: self.refuse_requests())

    @overload
    def ref(self, child: ChildSpec[Supervisor] | type[Supervisor]) -> SupervisorRef: ...

    @overload
    def ref(self, child: ChildSpec[A]) -> ActorRef[A]: ...

    @overload
    def ref(self, child: type[A]) -> ActorRef[A]: ...

    @overload
    def ref(self, child: str) -> ActorRef[Any]: ...

    def ref(self, child: str | type[Any] | ChildSpec[Any]) -> ActorRef[Any]:
        """The ref of a child; the same through all its restarts.

        Args:
            child: Its id; or its spec, or the class that was given for it, whose type
                the ref then has.  A nested supervisor's is a ``SupervisorRef``.

        Raises:
            ChildNotFound: If there is no such child.
        """
        return self.board.refs.ref(child)

    # -- what there is

    def which_children(self) -> tuple[ChildInfo, ...]:
        """The children, in the order of start, after the newest transition."""
        return self.board.picture.children

    def count_children(self) -> ChildCounts:
        """How many children there are, by what they are and do."""
        children = self.which_children()
        states = [child.state for child in children]
        supervisors = sum(child.is_supervisor for child in children)
        return ChildCounts(
            specs=len(children),
            active=len(children)
            - states.count("restarting")
            - states.count("undefined"),
            restarting=states.count("restarting"),
            supervisors=supervisors,
            actors=len(children) - supervisors,
        )

    def zombies(self) -> tuple[Zombie, ...]:
        """Threads below this supervisor that were left behind and still run."""
        return self.board.tree.zombies(self.board.name)

    def undelivered(self) -> tuple[Undelivered, ...]:
        """The newest messages below this supervisor that nobody will handle."""
        return self.board.tree.undelivered(self.board.name)

    # -- what can be done

    @overload
    def start_child(
        self, child: ChildLike[Supervisor], *, timeout: float | None = None
    ) -> SupervisorRef: ...

    @overload
    def start_child(
        self, child: ChildLike[A], *, timeout: float | None = None
    ) -> ActorRef[A]: ...

    def start_child(
        self, child: ChildLike[Any], *, timeout: float | None = None
    ) -> ActorRef[Any]:
        """Add a child, as the last, and wait until it runs.

        Args:
            child: A spec, a class, or ``(class, kwargs)``.
            timeout: Seconds to wait; the start goes on beyond it.

        Returns:
            Its ref; a dead one if the child raised ``Ignore``.

        Raises:
            ConfigurationError: If the spec is not allowed here.
            AlreadyStarted: If a child of its id is there; it has the ref.
            AlreadyPresent: If one is there and down: ``restart_child`` starts it.
            MaxChildren: If there are as many as there may be.
            StartFailed: If it did not start; it is then as if it had never been there.
            ActorDeadError: If the supervisor has ended, or does so meanwhile.
            WouldDeadlock: If the supervisor itself calls it.
            TimeoutError: After ``timeout``.
        """
        spec = as_spec(child)
        if self.board.spec is not None:
            self.board.spec.check_child(spec)  # here, where a warning is seen
        ref: ActorRef[Any] = self._request("start", spec, timeout)
        return ref

    def terminate_child(
        self,
        child: Known,
        *,
        timeout: float | None = None,
    ) -> None:
        """Stop a child within its ``shutdown`` time and wait until it is down.

        It is not restarted; a restart that it waits for is called off.  Its spec stays,
        unless it is temporary or the supervisor a dynamic one.  One that is down
        already is left as it is.

        Args:
            child: Its id; its spec, or the class that was given for it; or its ref.
            timeout: Seconds to wait; the stop goes on beyond it.

        Raises:
            ChildNotFound: If there is no such child.
            ActorDeadError: If the supervisor has ended, or does so meanwhile.
            WouldDeadlock: If the child itself, or something below it, calls it.
            TimeoutError: After ``timeout``.
        """
        self._request("terminate", self._id_of(child), timeout)

    @overload
    def restart_child(
        self,
        child: ChildSpec[Supervisor] | type[Supervisor] | SupervisorRef,
        *,
        timeout: float | None = None,
    ) -> SupervisorRef: ...

    @overload
    def restart_child(
        self,
        child: ChildSpec[A] | type[A] | ActorRef[A],
        *,
        timeout: float | None = None,
    ) -> ActorRef[A]: ...

    @overload
    def restart_child(
        self, child: str, *, timeout: float | None = None
    ) -> ActorRef[Any]: ...

    def restart_child(
        self,
        child: Known,
        *,
        timeout: float | None = None,
    ) -> ActorRef[Any]:
        """Start a child that is down, and wait until it runs.

        Its old ref is dead; this is a new place.  It counts against no limit.

        Args:
            child: Its id; its spec, or the class that was given for it; or its old ref.
            timeout: Seconds to wait; the start goes on beyond it.

        Returns:
            Its new ref.

        Raises:
            ChildNotFound: If there is no such child.
            ChildRunning: If it is not down.
            ChildRestarting: If it waits for its restart.
            StartFailed: If it did not start; its spec stays.
            ActorDeadError: If the supervisor has ended, or does so meanwhile.
            WouldDeadlock: If the supervisor itself calls it.
            TimeoutError: After ``timeout``.
        """
        ref: ActorRef[Any] = self._request("restart", self._id_of(child), timeout)
        return ref

    def delete_child(
        self,
        child: Known,
        *,
        timeout: float | None = None,
    ) -> None:
        """Forget a child that is down.

        Args:
            child: Its id; its spec, or the class that was given for it; or its ref.
            timeout: Seconds to wait.

        Raises:
            ChildNotFound: If there is no such child.
            ChildRunning: If it is not down; ``terminate_child`` stops it.
            ChildRestarting: If it waits for its restart.
            ActorDeadError: If the supervisor has ended, or does so meanwhile.
            WouldDeadlock: If the supervisor itself calls it.
            TimeoutError: After ``timeout``.
        """
        self._request("delete", self._id_of(child), timeout)

    # -- helpers

    def order_termination(self, child: Known) -> None:
        """Have a child terminated, and do not wait for it.

        Raises:
            ChildNotFound: If there is no child of that id.
        """
        if isinstance(child, str):
            self.board.refs.ref(child)
        reply: Future[Any] = self.cell.clock.future()
        self.tell_control(Request("terminate", self._id_of(child), reply))

    def _id_of(self, child: Known) -> str:
        if isinstance(child, str):
            return child
        if isinstance(child, type | ChildSpec):
            return id_of(child)
        given: object = child  # typed wider than promised: hosts without a type checker
        if not isinstance(given, ActorRef):
            must_be = "its id, its spec, the class that was given for it, or its ref"
            refuse(self.board.name, "a child", given, must_be)
        child_id: str = child.cell.name
        present = self.board.refs.find(child_id)
        if present is None or present is child:
            return child_id
        message = f"{child} is not a child of {self.board.name}, or not any more"
        raise ChildNotFound(message)

    def _request(
        self, what: What, child: ChildSpec[Any] | str, timeout: float | None
    ) -> Any:
        check_timeout(f"{what}_child", timeout)
        self.refuse_deadlock(what, child)
        clock = self.cell.clock
        caller = Caller(clock) if self._may_make(what, child) else None
        reply: Future[Any] = clock.future()
        make_on = None if caller is None else caller.make_on
        request = Request(what, child, reply, make_on)
        self._requests[request] = None
        try:
            if not self.tell_control(request):
                request.fail(self._over())
            try:
                if caller is not None:
                    return caller.wait_for(reply, patience(timeout))
                return reply.result(patience(timeout))
            except NotInTime:
                if reply.done():  # the child's own
                    raise
                message = (
                    f"{what} of a child of {self.board.name} was not done within "
                    f"{timeout:g} s; it goes on"
                )
                raise TimeoutError(message) from None
        finally:
            self._requests.pop(request, None)

    def _may_make(self, what: What, child: ChildSpec[Any] | str) -> bool:
        """True if this thread may have to make the actor."""
        if isinstance(child, ChildSpec):
            return child.init_in == "caller"
        return what == "restart"

    def refuse_deadlock(self, what: What, child: ChildSpec[Any] | str) -> None:
        """Refuse a request that would wait for the actor that makes it.

        Raises:
            WouldDeadlock: If it would.
        """
        cell = current_cell()
        if cell is None:
            return
        target = None
        if what == "terminate" and isinstance(child, str):
            target = self.board.refs.find(child)
        if cell is not self.cell:
            while cell is not None and (target is None or cell is not target.cell):
                cell = cell.parent
            if cell is None:
                return
        message = (
            f"{what} of a child of {self.board.name} from inside would wait for "
            "itself; call it on another thread, or end the actor by self.stop()"
        )
        raise WouldDeadlock(message)

    def refuse_requests(self) -> None:
        """Answer whoever waits: the supervisor does so no more.

        Its mailbox is closed, or it has taken requests and hangs.
        """
        for request in list(self._requests):
            request.fail(self._over())

    def _over(self) -> ActorDeadError:
        return ActorDeadError(f"{self.board.name} has ended")
