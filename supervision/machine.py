"""The state machine of a supervisor: what to do next, without a thread or a wait.

Notices of children, timers and stop requests go in; calls of its ``Hands`` come
out.  Nothing here waits: a child that was asked to stop is a child in the state
``STOPPING`` until its down notice or its timer comes in.

Children that restart together form a group: its live members stop in reverse order,
its delay passes, its members start in order.  In STOPPING mode there are no groups:
:mod:`supervision.ending` says who stops next.

:Runs on: the supervisor's thread; pure apart from what its hands do.
:Owns: what :class:`~supervision.moves.Moves` owns, and the limits of restarts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors import Exit
from actors.events import (
    ChildDown,
    ChildEscalated,
    ChildFailing,
    ChildRestarted,
    ChildResumed,
    ChildStarted,
    TreeShutsDown,
)
from supervision.child_spec import RestartType
from supervision.child_state import LIVE, Child, Due, Mode, State
from supervision.errors import start_failure
from supervision.limits import Limits
from supervision.moves import IDLE_GRACE, Moves
from supervision.strategies import Strategy

if TYPE_CHECKING:
    import random

    from supervision.child_state import Hands
    from supervision.groups import Group
    from supervision.limits import Verdict
    from supervision.supervisor_spec import SupervisorSpec

__all__ = ["Machine"]


class Machine(Moves):
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
        super().__init__(name, children, hands, Limits(spec, rng))
        self.spec = spec
        # Taken from the end, so that no step looks at the children it is done with.
        self._unstarted = children[::-1]
        self.ends_by_itself = False  # by its auto_shutdown

    # -- what comes in

    def begin(self, now: float) -> None:
        """Start the children."""
        self._now = now
        self._groups.gather(self.children, None)
        self._advance()

    def started(self, child: Child, number: int, now: float) -> None:
        """An incarnation has left its ``on_start``."""
        self._now = now
        if not self._expected("started", child, number):
            return
        child.disarm()
        self._become(child, State.RUNNING)
        child.started_at = now
        event = ChildRestarted if child.was_up and number > 1 else ChildStarted
        child.was_up = True
        self._groups.leave(child)
        self._hands.emit(event(*self._who(child)))
        if child.spec.restart is RestartType.TEMPORARY:
            self._hands.forget_arguments(child)
        self._answer_start(child)
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

    def resumed(
        self, child: Child, number: int, error: BaseException, traceback: str = ""
    ) -> None:
        """An incarnation failed, and goes on as its decider said."""
        if child.number == number and child.state in LIVE:
            self._hands.emit(ChildResumed(*self._who(child), error, traceback))

    def down(self, child: Child, number: int, exit_: Exit, now: float) -> None:
        """An incarnation is over."""
        self._now = now
        if self._expected("down", child, number):
            if exit_.kind == "failed" and child.state is State.RUNNING:
                self._hands.emit(ChildFailing(*self._who(child)))  # no hook to run
            self._exited(child, exit_)
            self._advance()

    def due(self, due: Due, now: float) -> None:
        """A timer's moment has come."""
        self._now = now
        if due.what == "restart_due":
            self._groups.come_due(due.stamp)
            self._advance()
            return
        child = self.by_id.get(due.child)
        if child is not None and child.stamp == due.stamp:
            self._out_of_time(child)
            self._advance()

    def stop(
        self, exit_: Exit, deadline: float | None, now: float, *, drain: bool = False
    ) -> None:
        """End: stop all children, then leave with ``exit_``.

        Called again it can only shorten the deadline, end a drain, or turn the exit to
        a fatal one.

        Args:
            exit_: How the supervisor leaves.
            deadline: The moment by which all must have ended.
            now: The moment.
            drain: Each child handles what waits in its mailbox first.
        """
        self._now = now
        self._begin_stop(exit_, drain=drain)
        self._tighten(deadline, hurry=not drain)
        self._advance()

    def shorten(self, deadline: float, now: float) -> None:
        """Have a stop, under way or to come, end by ``deadline``."""
        self._now = now
        self._tighten(deadline)
        self._advance()

    def take_over(self, exit_: Exit, now: float) -> None:
        """Stop, with hands that lost the timers: ask again whoever is stopping."""
        self._now = now
        self._begin_stop(exit_)
        self.ending.hurry()
        self._ask_again()
        self._advance()

    # -- what whoever administers the tree asks for; see administration

    def start_child(self, child: Child, now: float) -> None:
        """Start a child that is down, or that was not there before."""
        self._now = now
        self._hands.make(child)  # it may refuse: then the child has not been here
        self.by_id.setdefault(child.id, child)
        child.ordered_down = False
        child.number = 0  # a new place counts from the beginning
        self.limits.begin_anew(child)
        self._become(child, State.WAITING)
        self._groups.gather([child], None)
        self._advance()

    def terminate_child(self, child: Child, now: float) -> None:
        """Stop a child for good; its spec is kept."""
        self._now = now
        child.ordered_down = True
        if child.state in {State.STARTING, State.RUNNING}:
            self._stop(child)
        elif child.state not in LIVE:
            self._finalize(child)
        self._advance()

    def delete_child(self, child: Child) -> None:
        """Forget a child that is down."""
        child.discarded = True
        self.changed.append(child)
        self._drop(child)

    # -- what follows from the end of a child

    def _exited(self, child: Child, exit_: Exit) -> None:
        was = child.state
        if child.interrupted and was is State.STARTING:
            error = TimeoutError(f"{child.id} did not start in time")
            exit_ = Exit("start_failed", error, exit_.traceback)
        child.disarm()
        child.exit = exit_
        child.by_order = was is State.STOPPING
        failure, text, directive = exit_.error, exit_.traceback, exit_.directive
        down = ChildDown(*self._who(child), exit_.kind, failure, text, directive)
        self._hands.emit(down)
        if exit_.kind == "fatal":
            self._begin_stop(exit_)
        elif self._fails_the_tree(child, was, exit_):
            failure = start_failure(self.name, child.id, exit_.error, exit_.traceback)
            self._begin_stop(Exit("start_failed", failure, exit_.traceback))
        asked_for = child.start_request is not None
        if asked_for and was is State.STOPPING and self._is_of_a_stopping_group(child):
            # Not its own failure: it may start with its group, and is answered then.
            asked_for = not child.spec.restart.comes_back(exit_.kind, asked=True)
        if self._drains_on(child, exit_):
            self._drain_on(child, exit_)
        elif self.mode is Mode.STOPPING or child.ordered_down or asked_for:
            self._finalize(child)
        else:
            self._follow(child, was, exit_)

    def _fails_the_tree(self, child: Child, was: State, exit_: Exit) -> bool:
        """True if the child's start is needed for that of the tree, and failed."""
        return (
            self.mode is Mode.STARTING
            and was is State.STARTING
            and not (child.was_up or child.was_tried)
            and child.spec.required
            and child.start_request is None
            and not child.ordered_down
            and exit_.abnormal
        )

    def _drains_on(self, child: Child, exit_: Exit) -> bool:
        """True if a child that failed in a drain has left messages to handle."""
        return exit_.kind == "failed" and self._has_left(child)

    def _drain_on(self, child: Child, exit_: Exit) -> None:
        """Start it at once: a drain has no time for its backoff."""
        verdict = self.limits.judge(child, exit_, self._now)
        if verdict.what != "restart":
            self._finalize(child)
            return
        child.restarts += 1
        self._tell_restart(child, 0.0, [child], verdict.used)
        self._start(child)

    def _follow(self, child: Child, was: State, exit_: Exit) -> None:
        asked = was is State.STOPPING
        decided = not asked and exit_.directive in {"stop", "escalate"}
        if self._is_of_a_stopping_group(child) and not decided:
            if child.spec.restart.comes_back(exit_.kind, asked=asked):
                self._become(child, State.RESTARTING)
            else:
                self._stay_down(child, exit_, asked=asked)
            return
        child.was_tried |= was is State.STARTING
        verdict = self.limits.judge(child, exit_, self._now)
        if verdict.what == "restart":
            child.restarts += 1
            self._become(child, State.RESTARTING)
            self._schedule(child, verdict)
        elif verdict.what == "stay_down":
            self._stay_down(child, exit_, asked=asked)
        elif verdict.what == "leave_down":
            self._tell_left_down(child, verdict.max_restarts)
            self._finalize(child)
        else:
            self._give_up(child, verdict, exit_)

    @staticmethod
    def _is_of_a_stopping_group(child: Child) -> bool:
        return child.group is not None and not child.group.starting

    def _give_up(self, child: Child, verdict: Verdict, exit_: Exit) -> None:
        self._become(child, State.RESTARTING)
        if verdict.what == "escalate":
            self._hands.emit(ChildEscalated(*self._who(child), exit_.error))
        else:
            self._tell_gave_up(child, verdict.max_restarts)
        self._begin_stop(Exit("gave_up", exit_.error, exit_.traceback))

    def _stay_down(self, child: Child, exit_: Exit, *, asked: bool) -> None:
        """Let a child go that is not restarted; the supervisor may go with it."""
        self._finalize(child)
        temporary = child.spec.restart is RestartType.TEMPORARY
        if asked or exit_.kind == "ignored" or (exit_.abnormal and not temporary):
            return
        if not child.spec.significant:
            return
        policy = self.spec.auto_shutdown
        if policy == "any_significant" or (
            policy == "all_significant" and not self._any_significant_left()
        ):
            self.ends_by_itself = True  # not before all have started
            self._hands.emit(TreeShutsDown(*self._who(child), policy))

    def _any_significant_left(self) -> bool:
        return any(
            each.spec.significant and each.state is not State.UNDEFINED
            for each in self.by_id.values()
        )

    def _schedule(self, child: Child, verdict: Verdict) -> None:
        """Put a failed child and those it affects into a group with a moment to start.

        Even without a delay the start comes through the control lane, so that a stop
        that waits there already comes first.
        """
        affected = self.spec.strategy.affected(self._in_order(), child)
        affected = [each for each in affected if each.state is not State.UNDEFINED]
        moments = [each.group.at for each in affected if each.group is not None]
        at = self._now + verdict.delay
        at = max([at, *(m for m in moments if m is not None)])
        group = self._groups.gather(affected, at)
        self.changed += affected  # the moment of their start is shown
        group.timer = self._hands.call_at(at, Due("restart_due", "", group.stamp))
        self._tell_restart(child, verdict.delay, affected, verdict.used)

    def _in_order(self) -> list[Child]:
        # One that fails alone costs the same among any number of children.
        return [] if self.spec.strategy is Strategy.ONE_FOR_ONE else self.children

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
        if self.ends_by_itself and self.mode is Mode.RUNNING:
            self._begin_stop(Exit("shutdown"))
            return True
        return False

    def _step_of(self, group: Group) -> bool:
        if not group.starting:
            last = group.last_live()
            if last is not None:  # one that has failed ends by itself, or is abandoned
                return last.state is not State.FAILING and self._stop_unless_asked(last)
            if group.at is not None:
                return False
            group.begin_to_start()
        child = group.next_to_start(one_by_one=self.spec.start == "ordered")
        if child is None:
            return False
        self._start(child)
        return True

    def _step_to_the_end(self) -> bool:
        if self.spec.dynamic and not self.ending.all_asked:
            self.ending.all_asked = True
            for child in self.ending.left():
                while child.state is not State.UNDEFINED and self._end_child(child):
                    pass
        next_child = self.ending.next()
        if next_child is not None:
            return self._end_child(next_child)
        self.mode = Mode.OVER
        assert self.exit is not None
        self._hands.end(self.exit)
        return False

    def _end_child(self, child: Child) -> bool:
        """Stop or close a child; False if it was asked before."""
        if child.state in LIVE:
            return self._stop_unless_asked(child)
        if child.state is State.RESTARTING and self._has_left(child):
            self._start(child)  # its delay is cut short, and it drains
        elif child.state is not State.UNDEFINED:
            self._finalize(child)
        return True
