"""An actor whose state is its children: it starts, watches, restarts and stops them.

Its thread never waits for a child.  Notices of the children, timers and stop requests
reach it in the control lane, the state machine (:mod:`supervision.machine`) says what
to do next, and after each of them a new picture is published.

:Runs on: the supervisor's own thread; ``start`` on the caller's; ``_hear`` on the
    children's, where it only puts into the control lane.
:Owns: the machine and, through it, the cells of the children.
:Blocks: ``start``, until all children run.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from actors import (
    Actor,
    Cell,
    ConfigurationError,
    Down,
    Failing,
    Resumed,
    Started,
    ambient_clock,
)
from supervision._spec_checks import check_root
from supervision.administration import Administration, Request
from supervision.child_state import Child, Due, Mode
from supervision.errors import StartFailed, SupervisorGaveUp
from supervision.hands import CellHands
from supervision.last_will import LastWill
from supervision.machine import Machine
from supervision.picture import Painter
from supervision.supervisor_ref import Budget, SupervisorRef
from supervision.supervisor_spec import SupervisorSpec
from supervision.tree import Board, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    import pykka

    from actors import StopToken
    from actors.clock import Clock
    from actors.events import Listener
    from actors.exits import Exit, Notice, StopRequest
    from supervision.child_like import ChildLike
    from supervision.child_state import Timer
    from supervision.strategies import Decider, Strategy
    from supervision.supervisor_spec import AutoShutdown, Start

__all__ = ["StartFailed", "Supervisor", "SupervisorGaveUp", "SupervisorRef"]


class Ready(Started):
    """A supervisor's own notice: all its children have started."""

    __slots__ = ()


class Heard(NamedTuple):
    """A child's notice, on its way to the incarnation of the supervisor it is for."""

    number: int
    child: Child
    notice: Notice

    def __repr__(self) -> str:
        """In a few words, for stories: ``Started of a#2``."""
        kind = type(self.notice).__name__
        return f"{kind} of {self.child.id}#{self.notice.number}"


class Supervisor(Actor):
    """Starts children in order, restarts those that fail, stops them in reverse.

    ``Supervisor.start(...)`` makes the root of a tree.  A nested supervisor is a child
    like any other: ``ChildSpec(Supervisor, (strategy, children), {"intensity": 10})``.

    Args:
        strategy: A :class:`Strategy` or its value.
        children: The specs, in the order of start; a class or a ``(class, kwargs)``
            stands for its default spec.
        intensity: More than this many restarts within ``period`` seconds, and the
            supervisor gives up: it stops its children and fails to its own supervisor.
        period: Seconds.
        start: ``"ordered"``: each child starts when the one before it runs;
            ``"parallel"``: all at once.
        auto_shutdown: ``"any_significant"``: it stops when a significant child ends by
            itself; ``"all_significant"``: when the last of them has.
        decider: What each failure of a child asks for, by the class of its error:
            ``"restart"`` it, ``"resume"`` with the next message, ``"stop"`` it for
            good, or ``"escalate"``: the supervisor fails with that error.  A mapping,
            or a callable of the error that runs on the failing child's thread.
    """

    is_supervisor: ClassVar[bool] = True
    capacity = None

    def __init__(
        self,
        strategy: Strategy | str,
        children: Iterable[ChildLike[pykka.Actor]] = (),
        *,
        intensity: int = 3,
        period: float = 5.0,
        start: Start = "ordered",
        auto_shutdown: AutoShutdown = "never",
        decider: Decider | None = None,
    ) -> None:
        super().__init__()
        self._spec = SupervisorSpec(
            strategy,
            children,
            intensity=intensity,
            period=period,
            start=start,
            auto_shutdown=auto_shutdown,
            decider=decider,
        )
        self._machine: Machine | None = None
        self._is_ready = False

    @classmethod
    def check_arguments(cls, *args: Any, **kwargs: Any) -> None:
        """Check what a nested supervisor will be made from; starts nothing.

        Raises:
            ConfigurationError: If it would be refused.
        """
        if cls.__init__ is Supervisor.__init__:  # a subclass's arguments are its own
            inspect.signature(cls.__init__).bind(None, *args, **kwargs)
            SupervisorSpec(*args, **kwargs)

    @classmethod
    def start(
        cls,
        strategy: Strategy | str,
        children: Iterable[ChildLike[pykka.Actor]] = (),
        *,
        intensity: int = 3,
        period: float = 5.0,
        start: Start = "ordered",
        auto_shutdown: AutoShutdown = "never",
        decider: Decider | None = None,
        on_event: Listener | None = None,
        clock: Clock | None = None,
        name: str | None = None,
        token: StopToken | None = None,
    ) -> SupervisorRef:
        """Start a tree and wait until all its children run.

        1. The specs are checked; nothing has started yet.
        2. The root starts on its own thread, then child after child on theirs.
        3. If one does not start, those that have are stopped, in reverse order.

        Args:
            strategy: A :class:`Strategy` or its value.
            children: The specs, in the order of start.
            intensity: More restarts than this within ``period`` end the tree.
            period: Seconds.
            start: ``"ordered"`` or ``"parallel"``.
            auto_shutdown: ``"never"``, ``"any_significant"`` or ``"all_significant"``.
            decider: What each failure of a child asks for; see the class.
            on_event: Told each supervision event (see :mod:`actors.events`), mostly on
                the supervisors' threads: it must be short and never wait.
            clock: The ambient clock by default.
            name: Name of the root, ``"root"`` by default.
            token: Parent of the root's stop token; one of its own by default.

        Raises:
            ConfigurationError: If a spec is not allowed.
            StartFailed: If a child did not start.

        Example:
            ::

                with Supervisor.start("one_for_one", [Greeter]) as tree:
                    tree.ref("Greeter").proxy().greet("Ada").get()
        """
        spec = SupervisorSpec(
            strategy,
            children,
            intensity=intensity,
            period=period,
            start=start,
            auto_shutdown=auto_shutdown,
            decider=decider,
        )
        options = {
            "intensity": intensity,
            "period": period,
            "start": start,
            "auto_shutdown": auto_shutdown,
            "decider": decider,
        }
        return cls._grow(
            (strategy, spec.children),
            options,
            on_event=on_event,
            clock=clock,
            name=name,
            token=token,
        )

    @classmethod
    def _grow(
        cls,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        on_event: Listener | None,
        clock: Clock | None,
        name: str | None,
        token: StopToken | None,
    ) -> SupervisorRef:
        """Start the root of a tree from arguments that have been checked."""
        check_root({"name": name, "on_event": on_event, "clock": clock, "token": token})
        clock = ambient_clock() if clock is None else clock
        name = name or "root"
        ready: Future[BaseException | None] = clock.future()

        def hear(notice: Notice) -> bool:
            if isinstance(notice, Ready):
                ready.set_result(None)
            return not isinstance(notice, Down)  # nobody restarts a root: its cell ends

        cell = Cell(
            cls,
            args,
            kwargs,
            name=name,
            clock=clock,
            token=token,
            report=hear,
            after_start=cls.check_begun,
        )
        ref = SupervisorRef(cell, Board(name, Tree(clock, on_event)))
        ref.start_tree(ready)
        return ref

    # -- the actor's life

    def on_start(self) -> None:
        """Begin to start the children; returns before they run."""
        self._headrace.check_lease()  # an override may have hung before it called this
        self._board = board = cast("SupervisorRef", self.actor_ref).board
        self._hear_by: Callable[[Heard], bool] = self.actor_ref.tell_control
        self._hands = hands = CellHands(
            board,
            self.actor_ref.cell,
            token=self.stop_token,
            decider=self._spec.decider,
            hear=self._hear,
            call_at=self._call_at,
            on_ready=self._on_ready,
        )
        children = [Child(spec) for spec in self._spec.children]
        for child in children:  # all have refs before the first one starts
            hands.make(child)
        board.spec = self._spec
        dynamic = self._spec.dynamic
        board.strategy = "dynamic" if dynamic else self._spec.strategy.value
        self._painter = Painter(children)
        board.picture = self._painter.paint(())
        self._machine = machine = Machine(
            board.name, self._spec, children, hands, rng=self.clock.rng
        )
        self._administration = Administration(machine)
        machine.begin(self.clock.monotonic())
        self._publish()
        if hands.exit is not None:  # not one thread could be started
            if hands.exit.error is None:
                message = f"{board.name} did not start"
                raise StartFailed(message)
            raise hands.exit.error

    def check_begun(self) -> None:
        """Refuse an ``on_start`` that is not ours and does not call ours.

        No child would start, and nobody would ever be told.

        Raises:
            ConfigurationError: If that is so.
        """
        if self._machine is None:
            name = type(self).__name__
            message = (
                f"{name}.on_start() must call super().on_start(), which starts the "
                f"children"
            )
            raise ConfigurationError(message)

    def on_control(self, message: Any) -> Exit | None:
        """Take a notice, a timer, a request or a budget, and do what follows."""
        machine, now = self._machine, self.clock.monotonic()
        assert machine is not None
        match message:
            case Heard():
                self._heard(machine, message, now)
            case Due():
                machine.due(message, now)
            case Request():
                self._administration.serve(message, now)
            case Budget():
                if message.number == self.incarnation:
                    machine.shorten(message.deadline, now)
            case _:
                return super().on_control(message)
        return self._publish()

    def asked_to_stop(self, request: StopRequest) -> Exit | None:
        """Stop the children first; the loop goes on until they have ended.

        A stop through its ref lets them handle what they were sent before.
        """
        assert self._machine is not None
        drain = request.exit.kind == "normal"
        if drain:
            self.stop_token.drain(request.reason or f"{self._board.name} drains")
        now = self.clock.monotonic()
        self._machine.stop(request.exit, request.deadline, now, drain=drain)
        return self._publish()

    def on_end(self, exit: Exit) -> None:  # noqa: A002  # the word used everywhere
        """Leave no child behind, should the loop have ended before they did."""
        machine = self._machine
        if machine is None:
            return
        if machine.mode is not Mode.OVER:
            will = LastWill(machine, self._hands, self.clock)
            self._hear_by = will.hear
            will.carry_out(exit)
            self._publish()
        self._administration.close()

    # -- notices

    def _hear(self, child: Child, notice: Notice) -> bool:
        """On the child's thread: pass its notice on."""
        return self._hear_by(Heard(self.incarnation, child, notice))

    def _heard(self, machine: Machine, heard: Heard, now: float) -> None:
        child, notice = heard.child, heard.notice
        if heard.number != self.incarnation:  # of a child of the supervisor before
            if isinstance(notice, Down):
                notice.cell.finalize(notice.exit)
            return
        if notice.cell is child.handle:  # else it was of an earlier place of the child
            machine_hears(machine, child, notice, now)

    def _on_ready(self) -> None:
        self._is_ready = True

    def _call_at(self, moment: float, due: Due) -> Timer:
        return self.schedule(moment - self.clock.monotonic(), due)

    def _publish(self) -> Exit | None:
        """Show the children as they are now; the exit, if it is time to go."""
        assert self._machine is not None
        changed, self._machine.changed = self._machine.changed, []
        if not self._headrace.revoked:  # else the board is its successor's
            if changed:
                self._board.picture = self._painter.paint(changed)
            self._board.state = self._machine.mode.value
            self._board.ends_by_itself = self._machine.ends_by_itself
        # Not before: whoever is answered finds what it was told of in the picture.
        if self._is_ready:
            self._is_ready = False
            cell = self.actor_ref.cell
            cell.notify(Ready(cell, self.incarnation))
        self._administration.answer()
        exit_ = self._hands.exit
        if exit_ is not None:
            self.stop_token.cancel(f"{self._board.name} has ended")
        return exit_


def machine_hears(machine: Machine, child: Child, notice: Notice, now: float) -> None:
    """Give a child's notice to the machine."""
    if isinstance(notice, Down):
        machine.down(child, notice.number, notice.exit, now)
    elif isinstance(notice, Failing):
        machine.failing(child, notice.number, now)
    elif isinstance(notice, Resumed):
        machine.resumed(child, notice.number, notice.error, notice.traceback)
    elif isinstance(notice, Ready) or not child.spec.is_supervisor:
        machine.started(child, notice.number, now)
