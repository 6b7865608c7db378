"""What a supervisor can do with one child: start, stop, leave behind, let go.

Each move changes the child's state and calls the hands; none waits, and none decides
what follows.

:Runs on: the supervisor's thread; pure apart from what its hands do.
:Owns: the children's states, the groups, the ending.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from actors import ActorDeadError, Exit
from actors.events import (
    ChildAbandoned,
    ChildInterrupted,
    ChildLeftDown,
    ChildStopped,
    RestartScheduled,
    TreeGaveUp,
)
from supervision.child_state import EXPECTED, Child, Due, Mode, State
from supervision.ending import Ending
from supervision.errors import start_failure
from supervision.groups import Groups
from supervision.strategies import intensity_needed

if TYPE_CHECKING:
    from typing import TypeAlias

    from supervision.child_state import Answerable, DueKind, Hands, Notice
    from supervision.limits import Limits

    # Who waits, for what: a ref, nothing, or an exception.
    Answer: TypeAlias = tuple[Answerable, Any, BaseException | None]

__all__ = ["Moves"]

IDLE_GRACE: Final = 0.1
"""Seconds that an idle child has to stop when its limit is 0."""
SUPERVISOR_GRACE: Final = 1.0
"""Seconds that a nested supervisor has to say that it kept its deadline."""
INTERRUPT_GRACE: Final = 1.0
"""Seconds that a child has to end after an exception was thrown into its thread."""


class Moves(ABC):
    """The children of one supervisor, and what can be done with each.

    Args:
        name: The supervisor's, for its events.
        children: One for each spec, in that order.
        hands: What it acts through.
        limits: Judge how often a child may restart.
    """

    def __init__(
        self, name: str, children: list[Child], hands: Hands, limits: Limits
    ) -> None:
        self.name = name
        self.limits = limits
        self.mode = Mode.STARTING
        self.ending = Ending()
        self.changed: list[Child] = []  # since whoever shows them last looked
        self.answers: list[Answer] = []  # to be given when that has been shown
        self.by_id = {child.id: child for child in children}  # in the order of start
        self._hands = hands
        self._groups = Groups()
        self._now = 0.0
        self._stamps = 0

    @property
    def children(self) -> list[Child]:
        """In the order of start."""
        return list(self.by_id.values())

    @property
    def exit(self) -> Exit | None:
        """How it ends, once it does."""
        return self.ending.exit

    @abstractmethod
    def _exited(self, child: Child, exit_: Exit) -> None:
        """One incarnation has no thread any more: restart it, or let it go."""

    def _who(self, child: Child) -> tuple[str, str, int]:
        return self.name, child.id, child.number

    def _expected(self, what: Notice, child: Child, number: int) -> bool:
        return child.number == number and child.state in EXPECTED[what]

    def _become(self, child: Child, state: State) -> None:
        child.state = state
        self.changed.append(child)
        if child.group is not None:
            self._groups.stir(child.group)

    def _arm(self, child: Child, moment: float, what: DueKind) -> None:
        child.disarm()
        self._stamps += 1
        child.stamp = self._stamps
        due = Due(what, child.id, child.stamp)
        child.timer = self._hands.call_at(moment, due)

    # -- start

    def _start(self, child: Child) -> None:
        self._become(child, State.STARTING)
        child.started_at = None
        child.interrupted = False
        child.stop_by = None
        try:
            child.number = self._hands.start(child)
        except (RuntimeError, MemoryError) as error:  # no thread can be started now
            self._exited(child, Exit("start_failed", error))
            return
        if child.spec.start_timeout is not None:
            self._arm(child, self._now + child.spec.start_timeout, "start_due")

    def _answer_start(self, child: Child, exit_: Exit | None = None) -> None:
        """Tell who asked for the start of a child how it went."""
        request, child.start_request = child.start_request, None
        if request is None:
            return
        if exit_ is None or exit_.kind == "ignored":
            self.answers.append((request, self._hands.ref(child), None))
        elif self.mode is Mode.STOPPING and not exit_.abnormal:
            ended = ActorDeadError(f"{self.name} ended before {child.id!r} ran")
            self.answers.append((request, None, ended))
        else:
            error = exit_.error
            if error is None:
                error = InterruptedError(f"it was stopped ({exit_.kind})")
            text = exit_.traceback
            failure = start_failure(self.name, child.id, error, text)
            self.answers.append((request, None, failure))

    def _tell_restart(
        self, child: Child, delay: float, affected: list[Child], used: int
    ) -> None:
        ids = tuple(each.id for each in affected)
        window = self.limits.shown
        own = child.failures, child.spec.max_restarts
        who = self._who(child)
        self._hands.emit(RestartScheduled(*who, delay, ids, used, *window, *own))

    def _tell_left_down(self, child: Child, max_restarts: int | None) -> None:
        limits, error = self.limits.shown, _error_of(child)
        who = self._who(child)
        self._hands.emit(ChildLeftDown(*who, *limits, max_restarts, error))

    def _tell_gave_up(self, child: Child, max_restarts: int | None) -> None:
        limits, spec = self.limits.shown, child.spec
        needed = None
        if spec.backoff is not None:
            needed = intensity_needed(spec.backoff, limits[1])
            if spec.max_restarts is not None:
                needed = min(needed, spec.max_restarts)
        error, who = _error_of(child), self._who(child)
        self._hands.emit(TreeGaveUp(*who, *limits, error, max_restarts, needed))

    # -- stop

    def _begin_stop(self, exit_: Exit, *, drain: bool = False) -> None:
        if self.mode is Mode.OVER:
            return
        children = self.by_id.values()
        if self.ending.begin(exit_, children, drain=drain, now=self._now):
            self.mode = Mode.STOPPING
            self._groups.clear()

    def _tighten(self, deadline: float | None, *, hurry: bool = False) -> None:
        """Take a new deadline, or the end of a drain, to those who are stopping."""
        hurried = hurry and self.ending.hurry()
        if self.ending.shorten(deadline, self._now) or hurried:
            self._ask_again()

    def _ask_again(self) -> None:
        for child in self.children:
            if child.state is State.STOPPING:
                self._stop(child)

    def _stop_unless_asked(self, child: Child) -> bool:
        if child.state is State.STOPPING:
            return False
        self._stop(child)
        return True

    def _stop(self, child: Child) -> None:
        """Ask a child to stop within its own limit and what is left of ours."""
        if self.ending.drains(self._now) and self._may_drain(child):
            self._drain(child)
        else:
            self._stop_now(child)

    def _stop_now(self, child: Child) -> None:
        child.draining = False
        if child.stop_by is None and child.spec.shutdown is not None:
            child.stop_by = self._now + child.spec.shutdown  # asked again, it stays
        limit = self.ending.limit_of(child, self._now)
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

    def _may_drain(self, child: Child) -> bool:
        if child.state is State.STARTING:  # again: it failed in this drain
            return child.was_up
        return child.draining or child.state is State.RUNNING

    def _has_left(self, child: Child) -> bool:
        """True if the ending lets a child that is not there handle what waits."""
        return (
            self.ending.drains(self._now)
            and child.was_up
            and not (child.ordered_down or child.spec.is_supervisor)
            and child.spec.mailbox == "keep"
            and self._hands.waiting(child) > child.draining
        )

    def _drain(self, child: Child) -> None:
        """Ask a child to stop once it has handled what waits in its mailbox."""
        ending = self.ending
        child.disarm()
        self._hands.drain(child, ending.deadline)
        child.draining = True
        self._become(child, State.STOPPING)
        until = ending.drain_of(child, self._now)
        if until is not None:
            self._arm(child, until, "stop_due")

    def _out_of_time(self, child: Child) -> None:
        """Leave behind a child that did not start, stop or clean up in time."""
        if child.draining:
            self._stop_now(child)
            return
        kind: Any = "abandoned"
        if child.state is State.STARTING:
            kind = "start_failed"
            why = f"did not start within {child.spec.start_timeout:g} s"
        elif child.state is State.FAILING:
            why = "did not end after its failure"
        else:
            why = "did not stop in time"
        if not self._interrupt(child, why):
            self._abandon(child, why, kind)

    def _interrupt(self, child: Child, why: str) -> bool:
        """Try to end its thread by an exception, once, if its spec says so."""
        if child.spec.on_timeout != "interrupt" or child.interrupted:
            return False
        if not self._hands.interrupt(child, why):
            return False
        child.interrupted = True
        end, deadline = self._now + INTERRUPT_GRACE, self.ending.deadline
        if deadline is not None:
            end = max(self._now + IDLE_GRACE, min(end, deadline))
        self._hands.emit(ChildInterrupted(*self._who(child), why))
        self._arm(child, end, _OUT_OF_TIME[child.state])
        return True

    def _abandon(self, child: Child, why: str, kind: Any = "abandoned") -> None:
        stack = self._hands.abandon(child, why)
        if stack is None:  # its down notice is on the way
            return
        self._hands.emit(ChildAbandoned(*self._who(child), why, stack))
        error = TimeoutError(f"{child.id} {why}")
        self._exited(child, Exit(kind, error, stack))

    # -- the end of a child

    def _finalize(self, child: Child) -> None:
        self._groups.leave(child)
        child.disarm()
        child.draining = False
        self._become(child, State.UNDEFINED)
        exit_ = child.exit or Exit("shutdown")
        request = child.start_request
        if request is not None and exit_.kind != "ignored":
            child.discarded |= not request.keeps_spec
        self._hands.finalize(child, exit_)
        ending = "" if self.exit is None else self.exit.kind
        follows = ending, not child.is_gone
        self._hands.emit(ChildStopped(*self._who(child), exit_.kind, *follows))
        if child.is_gone:
            self._drop(child)
        self._answer_start(child, exit_)
        requests, child.stop_requests = child.stop_requests, []
        self.answers += [(request, None, None) for request in requests]

    def _drop(self, child: Child) -> None:
        """Know the child no more; the ref of one that was always there can be had."""
        if self.by_id.pop(child.id, None) is not None and (
            child.discarded or child.was_added
        ):
            self._hands.forget(child)


def _error_of(child: Child) -> BaseException | None:
    return None if child.exit is None else child.exit.error


_OUT_OF_TIME: Final[dict[State, DueKind]] = {
    State.STARTING: "start_due",
    State.STOPPING: "stop_due",
    State.FAILING: "failing_due",
}
