"""What the log says of a failure: what follows from it, and what one can do.

:Runs on: the supervisors' threads; pure.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actors.events import ChildEscalated
from supervision._words import count
from supervision.errors import shown

if TYPE_CHECKING:
    from actors.events import (
        ChildDown,
        ChildLeftDown,
        ChildStopped,
        RestartScheduled,
        TreeGaveUp,
    )

__all__ = [
    "FATAL",
    "INTERRUPTED",
    "RESUMED",
    "SHUTS_DOWN",
    "WORDS",
    "escalating",
    "giving_up",
    "left_down",
    "restarting",
    "shown_short",
    "stopped",
]

NAMED: Final = 5
"""How many of the siblings that restart with a child are named."""
LONGEST: Final = 300
"""Characters of an error in its line; its traceback has all of them."""
RESUMED: Final = (
    "resumed: it goes on with the next message, and does not handle this one again"
)
FATAL: Final = (
    "no restart can help: its tree is stopped, and wait() and the end of the with "
    "block raise this error"
)
SHUTS_DOWN: Final = (
    "all children of %s are stopped: its significant child %s has ended, and its "
    "auto_shutdown is %s"
)
INTERRUPTED: Final = (
    "%s/%s (#%d) %s; interrupted: Cancelled was raised in its thread. If it waits in "
    "a call of C code that cannot be seen before the call returns, and its thread is "
    "left behind"
)
WORDS: Final = {
    "failed": "crashed",
    "start_failed": "did not start",
    "abandoned": "had to be abandoned",
    "gave_up": "gave up",
    "fatal": "ended by a fatal error",
}


def restarting(event: RestartScheduled) -> str:
    """When a child starts again, with whom, and how much of a limit is used."""
    others = [each for each in event.affected if each != event.child]
    named = ", ".join(others[:NAMED])
    if len(others) > NAMED:
        named += f" and {len(others) - NAMED} others"
    with_others = f" with {named}" if others else ""
    when = f"in {event.delay:.3g} s" if event.delay else "now"
    used = f"{event.used} of {event.intensity} restarts used in {event.period:g} s"
    most = event.max_restarts  # whichever of the two limits is reached first
    if most is not None and most - event.in_a_row <= event.intensity - event.used:
        used = f"{event.in_a_row} of {most} restarts in a row used"
    return f"restarting{with_others} {when}, {used}"


def giving_up(event: TreeGaveUp) -> str:
    """Why a supervisor gives up, who acts next, and what helps."""
    what = f"giving up: {_used_up(event)}; {_all_stop(event.supervisor)}"
    return f"{what}. {_way_out(event)}"


def _way_out(event: TreeGaveUp) -> str:
    """What can be done about a limit that is reached."""
    needed, most = event.intensity_needed, event.max_restarts
    when = "If such failures pass by themselves, "
    if needed is None:
        return f"{when}a Backoff gives them time and a higher limit more restarts"
    if most is not None:
        return f"{when}a higher max_restarts gives its Backoff more time"
    if needed > event.intensity:
        return f"Its Backoff is cut short: intensity={needed} would let it run"
    return (
        f"{when}a longer Backoff gives them time and a higher intensity more restarts"
    )


def stopped(event: ChildStopped, down: ChildDown) -> str:
    """Why it is not started again, and what can be done about that."""
    supervisor = event.supervisor
    if event.ending == "start_failed":
        above, nested, _ = supervisor.rpartition("/")
        then = f"{above} decides what follows" if nested else "start() raises the error"
        return f"so {supervisor} does not start: what runs of it is stopped, {then}"
    if event.ending:
        return f"it is not started again, for {supervisor} ends"
    if down.directive != "stop":
        return "it is not started again"
    why = f"it stays down, as the decider of {supervisor} says"
    return f"{why}; {_restarts(event)}" if event.kept else why


def escalating(event: ChildEscalated) -> str:
    """What follows when a decider escalates."""
    return f"escalated by its decider; {_all_stop(event.supervisor)}"


def _all_stop(supervisor: str) -> str:
    above, nested, _ = supervisor.rpartition("/")
    then = f"{above} decides what follows" if nested else "wait() raises the error"
    return f"all children of {supervisor} are stopped, {then}"


def left_down(event: ChildLeftDown) -> str:
    """Why a child stays down, and how it comes back."""
    return f"it stays down: {_used_up(event)}; {_restarts(event)}"


def _restarts(event: ChildLeftDown | ChildStopped) -> str:
    return (
        f"the other children go on. When the cause is gone, "
        f"restart_child({event.child!r}) of {event.supervisor} starts it again"
    )


def why_it_gave_up(event: TreeGaveUp | ChildEscalated) -> str:
    """What a supervisor ended by, for whoever waits for it."""
    who = f"{event.supervisor} gave up on its child {event.child!r}"
    if isinstance(event, ChildEscalated):
        return f"{who}, whose decider said so after {shown_short(event.error)}"
    if event.error is None:
        return f"{who}, which stopped too often: {_used_up(event)}"
    return f"{who}: {_used_up(event)}; the last failure was {shown_short(event.error)}"


def _used_up(event: TreeGaveUp | ChildLeftDown) -> str:
    if event.max_restarts is not None:
        return f"max_restarts={event.max_restarts} in a row are used up"
    if not event.intensity:
        return "intensity=0 allows no restart"
    return f"more than {count(event.intensity, 'restart')} in {event.period:g} s"


def shown_short(error: BaseException | None) -> str:
    """An error in words, not too many."""
    text = shown(error)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
