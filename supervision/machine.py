"""The state machine of a supervisor: what to do next, without a thread or a wait.

Notices of children, timers and stop requests go in; calls of its ``Hands`` come
out.  Nothing here waits: a child that was asked to stop is a child in the state
``STOPPING`` until its down notice or its timer comes in.

Children that restart together form a group: its live members stop in reverse order,
its delay passes, its members start in order.  In STOPPING mode there are no groups:
all children stop in reverse order, each awaited before the next is asked.

:Runs on: the supervisor's thread; pure apart from what its hands do.
:Owns: the children's states, the groups, the restart window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from actors import Exit
from actors.events import (
    ChildAbandoned,
    ChildDown,
    ChildFailing,
    ChildRestarted,
    ChildStarted,
    ChildStopped,
    RestartScheduled,
    TreeGaveUp,
)
from supervision.child_state import EXPECTED, LIVE, Child, Due, Mode, State
from supervision.errors import start_failure
from supervision.groups import Groups
from supervision.strategies import RestartWindow

if TYPE_CHECKING:
    import random

    from supervision.child_state import DueKind, Hands, Notice
    from supervision.groups import Group
    from supervision.supervisor_spec import SupervisorSpec

__all__ = ["Machine"]

IDLE_GRACE: Final = 0.1
"""Seconds that an idle child has to stop when its limit is 0."""
SUPERVISOR_GRACE: Final = 1.0
"""Seconds that a nested supervisor has to say that it kept its deadline."""


class Machine:
    """Decides what happens to the children.

    Args:
        name: The supervisor's, for its events.
        spec: What it was told.
        children: One for each spec, in that order.
        hands: What it acts through.
        rng: Where the jitter of backoff is drawn from.
    """

    def __init__(
        self,
        name: str,
        spec: SupervisorSpec,
        children: list[Child],
        hands: Hands,
        *,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self.spec = spec
        self.children = children
        self.mode = Mode.STARTING
        self.exit: Exit | None = None
        self.deadline: float | None = None
        self.window = RestartWindow(spec.intensity, spec.period)
        self._hands = hands
        self._rng = rng
        self.changed: list[Child] = []  # since whoever shows them last looked
        self._by_id = {child.id: child for child in children}
        # Taken from the end, so that no step looks at the children it is done with.
        self._unstarted = children[::-1]
        self._to_stop: list[Child] = []
        self._groups = Groups()
        self._now = 0.0

    # -- what comes in

    def begin(self, now: float) -> None:
        """Start the children."""
        self._now = now
        self._groups.gather(list(self.children), None)
        self._advance()

    def started(self, child: Child, number: int, now: float) -> None:
        """An incarnation has left its ``on_start``."""
        self._now = now
        if not self._expected("started", child, number):
            return
        child.disarm()
        self._become(child, State.RUNNING)
        child.started_at = now
        event = ChildRestarted if child.was_up else ChildStarted
        child.was_up = True
        self._groups.leave(child)
        self._hands.emit(event(*self._who(child)))
        self._advance()

    def failing(self, child: Child, number: int, now: float) -> None:
        """An incarnation failed; its clean-up may take the child's shutdown time."""
        self._now = now
        if not self._expected("failing", child, number):
            return
        self._become(child, State.FAILING)
        self._hands.emit(ChildFailing(*self._who(child)))
        if child.spec.shutdown is not None:
            limit = child.spec.shutdown or IDLE_GRACE
            self._arm(child, now + limit, "failing_due")

    def down(self, child: Child, number: int, exit_: Exit, now: float) -> None:
        """An incarnation is over."""
        self._now = now
        if self._expected("down", child, number):
            self._exited(child, exit_)
            self._advance()

    def due(self, due: Due, now: float) -> None:
        """A timer's moment has come."""
        self._now = now
        if due.what == "restart_due":
            self._groups.come_due(due.number)
            self._advance()
            return
        child = self._by_id[due.child]
        if self._expected(due.what, child, due.number):
            self._out_of_time(child)
            self._advance()

    def stop(self, exit_: Exit, deadline: float | None, now: float) -> None:
        """End: stop all children in reverse order, then leave with ``exit``.

        Called again it can only shorten the deadline, or turn the exit to a fatal one.
        """
        self._now = now
        self._begin_stop(exit_)
        self._shorten(deadline)
        self._advance()

    def shorten(self, deadline: float, now: float) -> None:
        """Have a stop, under way or to come, end by ``deadline``."""
        self._now = now
        self._shorten(deadline)
        self._advance()

    def take_over(self, exit_: Exit, now: float) -> None:
        """Stop, with hands that lost the timers: ask again whoever is stopping."""
        self._now = now
        self._begin_stop(exit_)
        for child in list(self.children):
            if child.state is State.STOPPING:
                self._stop(child)
        self._advance()

    def _become(self, child: Child, state: State) -> None:
        child.state = state
        self.changed.append(child)
        if child.group is not None:
            self._groups.stir(child.group)

    # -- endings of one child

    def _who(self, child: Child) -> tuple[str, str, int]:
        return self.name, child.id, child.number

    def _expected(self, what: Notice, child: Child, number: int) -> bool:
        return child.number == number and child.state in EXPECTED[what]

    def _out_of_time(self, child: Child) -> None:
        """Leave behind a child that did not start, stop or clean up in time."""
        spec = child.spec
        if child.state is State.STARTING:
            why, kind = f"did not start within {spec.start_timeout:g} s", "start_failed"
        elif child.state is State.FAILING:
            why, kind = "did not end after its failure", "abandoned"
        else:
            why, kind = "did not stop in time", "abandoned"
        self._abandon(child, why, kind)

    def _abandon(self, child: Child, why: str, kind: Any = "abandoned") -> None:
        stack = self._hands.abandon(child, why)
        if stack is None:  # its down notice is on the way
            return
        self._hands.emit(ChildAbandoned(*self._who(child), why, stack))
        error = TimeoutError(f"{child.id} {why}")
        self._exited(child, Exit(kind, error, stack))

    def _exited(self, child: Child, exit_: Exit) -> None:
        """One incarnation has no thread any more: restart it, or let it go."""
        was, group = child.state, child.group
        child.disarm()
        child.exit = exit_
        self._hands.emit(
            ChildDown(*self._who(child), exit_.kind, exit_.error, exit_.traceback)
        )
        if exit_.kind == "fatal":
            self._begin_stop(exit_)
        elif was is State.STARTING and self._fails_the_start(child, exit_):
            failure = start_failure(self.name, child.id, exit_.error)
            self._begin_stop(Exit("start_failed", failure, exit_.traceback))

        if self.mode is Mode.STOPPING:
            self._finalize(child)
        elif group is not None and not group.starting:  # its group is being stopped
            asked = was is State.STOPPING
            if child.spec.restart.comes_back(exit_.kind, asked=asked):
                self._become(child, State.RESTARTING)
            else:
                self._finalize(child)
        elif child.spec.restart.restarts(exit_.kind):
            self._want_restart(child, exit_)
        else:
            self._finalize(child)

    def _fails_the_start(self, child: Child, exit_: Exit) -> bool:
        return self.mode is Mode.STARTING and not child.was_up and exit_.abnormal

    def _finalize(self, child: Child) -> None:
        self._groups.leave(child)
        child.disarm()
        self._become(child, State.UNDEFINED)
        if child.is_gone:
            self.children.remove(child)
        exit_ = child.exit or Exit("shutdown")
        self._hands.finalize(child, exit_)
        self._hands.emit(ChildStopped(*self._who(child), exit_.kind))

    # -- restarts

    def _want_restart(self, child: Child, exit_: Exit) -> None:
        window = self.window
        self._become(child, State.RESTARTING)
        if window.note(self._now):
            child.restarts += 1
            self._schedule(child)
            return
        limits = window.intensity, window.period
        self._hands.emit(TreeGaveUp(*self._who(child), *limits, exit_.error))
        self._begin_stop(Exit("gave_up", exit_.error, exit_.traceback))

    def _schedule(self, child: Child) -> None:
        """Put a failed child and those it affects into a group with a moment to start.

        Even without a delay the start comes through the control lane, so that a stop
        that waits there already comes first.
        """
        delay, window = self._delay(child), self.window
        affected = self.spec.strategy.affected(self.children, child)
        affected = [each for each in affected if each.state is not State.UNDEFINED]
        moments = [each.group.at for each in affected if each.group is not None]
        at = max([self._now + delay, *(m for m in moments if m is not None)])
        group = self._groups.gather(affected, at)
        group.timer = self._hands.call_at(at, Due("restart_due", "", group.stamp))
        self._hands.emit(
            RestartScheduled(
                *self._who(child),
                delay,
                tuple(each.id for each in affected),
                window.used(self._now),
                window.intensity,
                window.period,
            )
        )

    def _delay(self, child: Child) -> float:
        backoff = child.spec.backoff
        if backoff is None:
            return 0.0
        started_at = child.started_at
        if started_at is not None and backoff.resets_after(self._now - started_at):
            child.failures = 0
        delay = backoff.delay(child.failures, self._rng)
        child.failures += 1
        return delay

    # -- the next action

    def _advance(self) -> None:
        while self._step():
            pass

    def _step(self) -> bool:
        """Do the next thing that can be done now; False when there is none."""
        if self.mode is Mode.STOPPING:
            return self._step_to_the_end()
        for group in self._groups.stirred():
            if self._step_of(group):
                return True
            self._groups.rest(group)
        if self.mode is Mode.STARTING:
            while self._unstarted and self._unstarted[-1].has_had_its_start:
                self._unstarted.pop()
            if not self._unstarted:
                self.mode = Mode.RUNNING
                self._hands.ready()
        return False

    def _step_of(self, group: Group) -> bool:
        members = group.members
        if not group.starting:
            live = [child for child in members if child.state in LIVE]
            if live:
                return self._stop_unless_asked(live[-1])
            if group.at is not None:
                return False
            group.starting = True
        one_by_one = self.spec.start == "ordered"
        if one_by_one and any(child.state is State.STARTING for child in members):
            return False
        for child in members:
            if child.state not in LIVE:
                self._start(child)
                return True
        return False

    def _step_to_the_end(self) -> bool:
        while self._to_stop:
            child = self._to_stop[-1]
            if child.state in LIVE:
                return self._stop_unless_asked(child)
            if child.state is not State.UNDEFINED:
                self._finalize(child)
            self._to_stop.pop()
        self.mode = Mode.OVER
        assert self.exit is not None
        self._hands.end(self.exit)
        return False

    def _start(self, child: Child) -> None:
        self._become(child, State.STARTING)
        child.started_at = None
        try:
            child.number = self._hands.start(child)
        except RuntimeError as error:  # no thread can be started now
            self._exited(child, Exit("start_failed", error))
            return
        if child.spec.start_timeout is not None:
            self._arm(child, self._now + child.spec.start_timeout, "start_due")

    def _arm(self, child: Child, moment: float, what: DueKind) -> None:
        child.disarm()
        due = Due(what, child.id, child.number)
        child.timer = self._hands.call_at(moment, due)

    # -- stops

    def _begin_stop(self, exit_: Exit) -> None:
        if self.mode is Mode.STOPPING:
            assert self.exit is not None
            if exit_.kind == "fatal" and self.exit.kind != "fatal":
                self.exit = exit_
        elif self.mode is not Mode.OVER:
            self.mode = Mode.STOPPING
            self.exit = exit_
            self._to_stop = list(self.children)
            self._groups.clear()

    def _shorten(self, deadline: float | None) -> None:
        if deadline is None or (self.deadline is not None and self.deadline < deadline):
            return
        self.deadline = deadline
        for child in list(self.children):
            if child.state is State.STOPPING:
                self._stop(child)

    def _stop_unless_asked(self, child: Child) -> bool:
        if child.state is State.STOPPING:
            return False
        self._stop(child)
        return True

    def _stop(self, child: Child) -> None:
        """Ask a child to stop within its own limit and what is left of ours."""
        limits = [child.spec.shutdown]
        if self.deadline is not None:
            limits.append(max(0.0, self.deadline - self._now))
        limit = min((each for each in limits if each is not None), default=None)
        busy = limit == 0 and self._hands.busy(child)
        child.disarm()
        self._become(child, State.STOPPING)
        self._hands.stop(child, None if limit is None else self._now + limit)
        if limit is None:
            return
        if child.spec.is_supervisor:  # it keeps the deadline itself, and says so
            self._arm(child, self._now + limit + SUPERVISOR_GRACE, "stop_due")
        elif busy:
            self._abandon(child, "was busy when no time was left for its stop")
        else:
            self._arm(child, self._now + (limit or IDLE_GRACE), "stop_due")
