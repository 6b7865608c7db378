"""Whether a child that ended starts again, after how long, or what ends instead.

Four things have a say, in this order: what the decider said of the error, the child's
restart type, its limit of restarts in a row, and the window of restarts.  The window
is the supervisor's, shared by its children; a child that is to be left down when it
fails too often has one of its own, for it must not use up the others'.

:Runs on: the supervisor's thread; pure, but for the random numbers it is given.
:Owns: the supervisor's window and, through the children, theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from supervision.strategies import RestartWindow

if TYPE_CHECKING:
    import random

    from actors.exits import Exit
    from supervision.child_state import Child
    from supervision.supervisor_spec import SupervisorSpec

__all__ = ["Limits", "Verdict"]


class Verdict(NamedTuple):
    """What follows from the end of a child.

    Attributes:
        what: ``restart`` it after ``delay``; it is to ``stay_down`` by its restart type
            or its decider; ``leave_down`` one that failed too often; the supervisor
            gives up (``give_up``), or fails with the child's error (``escalate``).
        delay: Seconds.
        used: Restarts in the window, this one included.
        max_restarts: The child's own limit, if it was that one that is used up.
    """

    what: Literal["restart", "stay_down", "leave_down", "give_up", "escalate"]
    delay: float = 0.0
    used: int = 0
    max_restarts: int | None = None


class Limits:
    """Judges the ends of one supervisor's children.

    Args:
        spec: What the supervisor was told.
        rng: Where the jitter of backoff is drawn from.
    """

    def __init__(self, spec: SupervisorSpec, rng: random.Random | None = None) -> None:
        self.window = RestartWindow(spec.intensity, spec.period)
        self._rng = rng

    def judge(self, child: Child, exit_: Exit, now: float) -> Verdict:
        """Say what follows; a restart is counted.

        Args:
            child: The one that ended, by itself.
            exit_: How.
            now: The moment, in monotonic seconds.
        """
        if exit_.directive == "escalate":
            return Verdict("escalate")
        if exit_.directive == "stop" or not child.spec.restart.restarts(exit_.kind):
            return Verdict("stay_down")
        self._forgive(child, now)
        window = self._window_of(child)
        within, most = window.note(now), child.spec.max_restarts
        too_many = most is not None and child.failures >= most
        if too_many or not within:
            limit = most if too_many else None
            if _is_left_down(child):
                return Verdict("leave_down", max_restarts=limit)
            return Verdict("give_up", max_restarts=limit)
        delay = 0.0
        if child.spec.backoff is not None:
            delay = child.spec.backoff.delay(child.failures, self._rng)
        child.failures += 1
        return Verdict("restart", delay, window.used(now))

    @property
    def shown(self) -> tuple[int, float]:
        """Intensity and period, for events."""
        return self.window.intensity, self.window.period

    def begin_anew(self, child: Child) -> None:
        """Forget the failures of a child that somebody starts by hand."""
        child.failures = 0
        child.window = None

    def _forgive(self, child: Child, now: float) -> None:
        """A child that ran long enough has not failed in a row."""
        if child.started_at is None:
            return
        ran, backoff = now - child.started_at, child.spec.backoff
        if ran >= self.window.period if backoff is None else backoff.resets_after(ran):
            child.failures = 0

    def _window_of(self, child: Child) -> RestartWindow:
        if not _is_left_down(child):
            return self.window
        if child.window is None:
            child.window = RestartWindow(*self.shown)
        return child.window


def _is_left_down(child: Child) -> bool:
    """True if its failures are its own matter, and end nobody else.

    So are those of an optional child that has never run: the tree does without it.
    """
    if child.spec.give_up == "leave_down":
        return True
    return not (child.spec.required or child.was_up)
