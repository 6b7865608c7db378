"""Children that are started, stopped and forgotten while their supervisor runs.

A request is a control message that carries where its answer goes.  So requests and
restarts are served from one lane, in the order in which they came, and neither starves
the other.  Outcomes are those of OTP's ``supervisor``, as exceptions of their names.

:Runs on: requests are made on any thread and served on the supervisor's.
:Owns: the numbers of children without an id of their own.
:Blocks: nothing; whoever asked waits for the answer, not the supervisor.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import InvalidStateError
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from actors import ActorDeadError, ConfigurationError
from supervision.child_state import LIVE, Child, Mode, State
from supervision.errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    MaxChildren,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from supervision.child_spec import ChildSpec
    from supervision.child_state import MakeOn
    from supervision.machine import Machine

__all__ = ["Administration", "Request"]

What: TypeAlias = Literal["start", "terminate", "restart", "delete"]


class Request:
    """Control: somebody wants a child started, stopped, started again or forgotten.

    Args:
        what: The name of the request.
        child: The spec to start, or the id of a child.
        reply: Completed with the child's ref, or ``None``, or the outcome.
        make_on: Who runs the child's first ``__init__``, if not its own thread.

    Attributes:
        keeps_spec: A start that fails throws only a new spec away.
    """

    __slots__ = ("child", "keeps_spec", "make_on", "reply", "what")

    def __init__(
        self,
        what: What,
        child: ChildSpec[Any] | str,
        reply: Future[Any],
        make_on: MakeOn | None = None,
    ) -> None:
        self.what = what
        self.child = child
        self.reply = reply
        self.make_on = make_on
        self.keeps_spec = what != "start"

    def __repr__(self) -> str:
        child = self.child if isinstance(self.child, str) else self.child.id
        return f"Request({self.what} {child})"

    @property
    def is_answered(self) -> bool:
        """True if nobody waits for it any more, for its answer has been given."""
        return self.reply.done()

    def succeed(self, ref: Any) -> None:
        """Answer it; only the first answer counts."""
        with contextlib.suppress(InvalidStateError):
            self.reply.set_result(ref)

    def fail(self, error: BaseException) -> None:
        """Answer it with an exception; only the first answer counts."""
        with contextlib.suppress(InvalidStateError):
            self.reply.set_exception(error)


class Administration:
    """Serves the requests of one supervisor's incarnation.

    Args:
        machine: The supervisor's.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._numbers: dict[str, int] = {}

    def serve(self, request: Request, now: float) -> None:
        """Answer a request, or have the machine do so when it has come about."""
        machine = self._machine
        if request.is_answered:  # it waited for a supervisor that was left behind
            return
        if machine.mode in {Mode.STOPPING, Mode.OVER}:
            self._refuse(request, _ended(machine.name))
            return
        try:
            if request.what == "start":
                self._start(request, now)
            else:
                _SERVED[request.what](machine, self._find(request), request, now)
        except _OUTCOMES as outcome:
            self._refuse(request, outcome)

    def answer(self) -> None:
        """Give the answers that are there."""
        answers, self._machine.answers = self._machine.answers, []
        for request, ref, error in answers:
            if error is None:
                request.succeed(ref)
            else:
                request.fail(error)

    def close(self) -> None:
        """Answer whoever still waits: the supervisor has ended."""
        self.answer()
        machine = self._machine
        for child in machine.children:
            for request in (*child.stop_requests, child.start_request):
                if request is not None:
                    request.fail(_ended(machine.name))

    def _refuse(self, request: Request, error: BaseException) -> None:
        self._machine.answers.append((request, None, error))

    def _start(self, request: Request, now: float) -> None:
        machine, spec = self._machine, request.child
        assert not isinstance(spec, str)
        machine.spec.check_child(spec)
        most = machine.spec.max_children
        if most is not None and len(machine.by_id) >= most:
            message = (
                f"{machine.name} has {len(machine.by_id)} children and takes no more "
                f"than max_children={most}; terminate one, or allow more"
            )
            raise MaxChildren(message)
        if machine.spec.dynamic and not spec.named:
            spec = spec.with_id(self._numbered(spec.id))
        there = machine.by_id.get(spec.id)
        if there is not None:
            raise _there_already(machine, there)
        child = Child(spec)
        child.was_added = True
        child.discarded = machine.spec.dynamic
        child.start_request = request
        child.make_on = request.make_on
        machine.start_child(child, now)

    def _numbered(self, name: str) -> str:
        """An id that no child has had."""
        while True:
            number = self._numbers[name] = self._numbers.get(name, 0) + 1
            if f"{name}-{number}" not in self._machine.by_id:
                return f"{name}-{number}"

    def _find(self, request: Request) -> Child:
        child_id = request.child
        assert isinstance(child_id, str)
        child = self._machine.by_id.get(child_id)
        if child is None:
            there = ", ".join(list(self._machine.by_id)[:20]) or "none"
            message = f"{self._machine.name} has no child {child_id!r}; it has: {there}"
            raise ChildNotFound(message)
        return child


def _there_already(machine: Machine, child: Child) -> AlreadyPresent | AlreadyStarted:
    where = f"{machine.name} has a child {child.id!r}"
    if child.state is State.UNDEFINED:
        return AlreadyPresent(f"{where}, which is down; restart_child() starts it")
    ref = child.handle.ref
    text = f"{where}, which is {child.state.value}; give the new one another id="
    return AlreadyStarted(text, ref)


def _terminate(machine: Machine, child: Child, request: Request, now: float) -> None:
    if child.state is State.UNDEFINED:
        machine.answers.append((request, None, None))
        return
    child.stop_requests.append(request)
    machine.terminate_child(child, now)


def _restart(machine: Machine, child: Child, request: Request, now: float) -> None:
    _refuse_unless_down(machine, child, "restart")
    child.start_request = request
    child.make_on = request.make_on
    machine.start_child(child, now)


def _delete(machine: Machine, child: Child, request: Request, _now: float) -> None:
    _refuse_unless_down(machine, child, "delete")
    machine.delete_child(child)
    machine.answers.append((request, None, None))


def _refuse_unless_down(machine: Machine, child: Child, what: str) -> None:
    if child.state is State.UNDEFINED:
        return
    where = f"cannot {what} child {child.id!r} of {machine.name}: it"
    if child.state in LIVE:
        message = f"{where} is {child.state.value}; terminate_child() it first"
        raise ChildRunning(message)
    message = f"{where} waits for its restart; terminate_child() cancels that"
    raise ChildRestarting(message)


def _ended(name: str) -> ActorDeadError:
    return ActorDeadError(f"{name} ends, or has ended")


Server: TypeAlias = "Callable[[Machine, Child, Request, float], None]"

_SERVED: Final[dict[What, Server]] = {
    "terminate": _terminate,
    "restart": _restart,
    "delete": _delete,
}
_OUTCOMES = (
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ConfigurationError,
    MaxChildren,
)
