"""Turns supervision events into log lines that do not flood.

The first failure of a child is logged with its traceback.  Repeats of the same kind are
counted, and one line in :data:`INTERVAL` seconds tells how many there were.  When many
children of one supervisor fail alike, as 1,000 connections do whose server has gone,
only the first :data:`ALIKE` are logged; the others are counted too.

Each line says what happened, what happens next, and what one can do where that is not
nothing.

:Runs on: the supervisors' threads; one line now and then may tell another's count.
:Owns: what was logged last for each child and kind of error.
:Blocks: as long as the log's handlers do.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from actors.events import (
    ChildDown,
    ChildEscalated,
    ChildInterrupted,
    ChildLeftDown,
    ChildRestarted,
    ChildResumed,
    ChildStarted,
    ChildStopped,
    MessageUndelivered,
    RestartScheduled,
    TreeGaveUp,
    TreeShutsDown,
)
from supervision.errors import shown

if TYPE_CHECKING:
    from actors.clock import Clock

__all__ = ["CrashLog"]

logger = logging.getLogger("headrace.supervision")

INTERVAL: Final = 10.0
"""Seconds between two lines about the same kind of failure of the same child."""
QUIET: Final = 60.0
"""Seconds without a failure after which the next one is a first one again."""
ALIKE: Final = 10
"""How many children of one supervisor may fail alike, each with a first line."""
KEPT: Final = 1000
"""How many kinds of failures are remembered; children come and go by the thousand."""
NAMED: Final = 5
"""How many of the siblings that restart with a child are named."""
LONGEST: Final = 300
"""Characters of an error in its line; its traceback has all of them."""
_NORMAL: Final = frozenset({"normal", "shutdown", "ignored"})
# The stack of a thread left behind is logged when it is, the failure that a supervisor
# gives up at by itself.
_TOLD_BEFORE: Final = frozenset({"abandoned", "gave_up"})

_Sequel: TypeAlias = (
    RestartScheduled
    | TreeGaveUp
    | ChildLeftDown
    | ChildEscalated
    | ChildStopped
    | ChildStarted
    | ChildRestarted
)


def _note(event: ChildInterrupted | TreeShutsDown | MessageUndelivered) -> None:
    """Log what is no failure of a child's."""
    match event:
        case ChildInterrupted():
            logger.warning(_INTERRUPTED, *event)
        case TreeShutsDown():
            logger.info(_SHUTS_DOWN, event[0], event[1], event.auto_shutdown)
        case MessageUndelivered():
            logger.debug("%s/%s: undelivered: %s", event[0], event[1], event.why)


class _Repeats:
    """What was said of one kind of failure."""

    __slots__ = ("last", "said", "times", "unsaid")

    def __init__(self, now: float) -> None:
        self.said = now
        self.last = now
        self.times = 0
        self.unsaid = 0


class _Telling(NamedTuple):
    """That a failure is to be told, and how."""

    first: bool
    more: str


class CrashLog:
    """A listener that logs; made once for each tree.

    Args:
        clock: Measures the intervals.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._downs: dict[tuple[str, str], ChildDown] = {}
        self._repeats: dict[tuple[str, ...], _Repeats] = {}

    def __call__(self, event: Any) -> None:
        """Log one event."""
        match event:
            case ChildDown():
                if event.kind in _NORMAL:
                    logger.debug("%s/%s ended (%s)", event[0], event[1], event.kind)
                else:
                    self._downs[event.supervisor, event.child] = event
            case RestartScheduled():
                self._tell(event, logging.WARNING, _restarting(event))
            case TreeGaveUp():
                self._tell(event, logging.ERROR, _giving_up(event))
            case ChildLeftDown():
                self._tell(event, logging.ERROR, _left_down(event))
            case ChildEscalated():
                self._tell(event, logging.ERROR, _escalating(event))
            case ChildStopped():
                fatal = event.kind == "fatal"
                level = logging.ERROR if fatal else logging.WARNING
                self._tell(event, level, _FATAL if fatal else _NO_MORE)
            case ChildResumed():
                self._tell_resumed(event)
            case ChildStarted() | ChildRestarted():
                # Its failure is untold if it came while its group was being stopped.
                self._tell(event, logging.WARNING, "it runs again, with its group")
                logger.debug("%s/%s runs (#%d)", *event[:3])
            case ChildInterrupted() | TreeShutsDown() | MessageUndelivered():
                _note(event)

    def _tell(self, event: _Sequel, level: int, what_next: str) -> None:
        """Log the failure that led to ``event``, if it is time to."""
        down = self._downs.pop((event.supervisor, event.child), None)
        if down is None:
            if level >= logging.ERROR:  # it stopped in order, and once too often
                logger.log(level, "%s/%s (#%d) stopped; %s", *event[:3], what_next)
            return
        what = _WORDS.get(down.kind, down.kind)
        trace = "" if down.kind in _TOLD_BEFORE else down.traceback
        self._line(level, down, what, what_next, trace)

    def _tell_resumed(self, event: ChildResumed) -> None:
        trace = "".join(traceback.format_exception(event.error))
        self._line(logging.WARNING, event, "failed on a message", _RESUMED, trace)

    def _line(
        self,
        level: int,
        failure: ChildDown | ChildResumed,
        what: str,
        what_next: str,
        trace: str,
    ) -> None:
        """Log a failure, if it is time to; errors always are."""
        telling = self._count(failure, always=level >= logging.ERROR)
        if telling is None:
            return
        logger.log(
            level,
            "%s/%s (#%d) %s (%s); %s%s%s",
            *failure[:3],
            what,
            _shown(failure.error),
            what_next,
            telling.more,
            f"\n{trace.rstrip()}" if telling.first and trace else "",
        )

    def _count(
        self, failure: ChildDown | ChildResumed, *, always: bool
    ) -> _Telling | None:
        """Whether this is a first one, and how many were not told; None: be silent."""
        now, kind = self._clock.monotonic(), type(failure.error).__name__
        supervisor = failure.supervisor
        own, is_first = self._recall(now, supervisor, failure.child, kind)
        alike, _ = self._recall(now, supervisor, kind)
        if now - alike.said >= INTERVAL:  # a new interval
            alike.said, alike.times = now, 0
        if not always:
            if not is_first and now - own.said < INTERVAL:
                own.unsaid += 1
                return None
            if is_first and alike.times >= ALIKE:
                alike.unsaid += 1
                return None
        own.said = now
        alike.times += is_first
        more = f"; {own.unsaid} more like it since the last line" if own.unsaid else ""
        if alike.unsaid:
            more += f"; {alike.unsaid} more children of {supervisor} failed alike"
        if is_first and alike.times == ALIKE:
            more += f"; others that fail alike within {INTERVAL:g} s are only counted"
        own.unsaid = alike.unsaid = 0
        return _Telling(is_first, more)

    def _recall(self, now: float, *key: str) -> tuple[_Repeats, bool]:
        """What is known of a kind of failure, and whether that is nothing."""
        repeats = self._repeats.pop(key, None)
        is_new = repeats is None or now - repeats.last >= QUIET
        if repeats is None:
            repeats = _Repeats(now)
        repeats.last = now
        self._repeats[key] = repeats  # at the end: the one touched last
        if len(self._repeats) > KEPT:
            self._repeats.pop(next(iter(self._repeats)), None)
        return repeats, is_new


_NO_MORE: Final = "it is not started again"
_RESUMED: Final = (
    "resumed: it goes on with the next message, and does not handle this one again"
)
_FATAL: Final = (
    "no restart can help: its tree is stopped, and wait() and the end of the with "
    "block raise this error"
)
_SHUTS_DOWN: Final = (
    "all children of %s are stopped: its significant child %s has ended, and its "
    "auto_shutdown is %s"
)
_INTERRUPTED: Final = (
    "%s/%s (#%d) %s; interrupted: Cancelled was raised in its thread. If it waits in "
    "a call of C code that cannot be seen before the call returns, and its thread is "
    "left behind"
)
_WORDS: Final = {
    "failed": "crashed",
    "start_failed": "did not start",
    "abandoned": "had to be abandoned",
    "gave_up": "gave up",
    "fatal": "ended by a fatal error",
}


def _restarting(event: RestartScheduled) -> str:
    others = [each for each in event.affected if each != event.child]
    named = ", ".join(others[:NAMED])
    if len(others) > NAMED:
        named += f" and {len(others) - NAMED} others"
    with_others = f" with {named}" if others else ""
    when = f"in {event.delay:.3g} s" if event.delay else "now"
    return (
        f"restarting{with_others} {when}, {event.used} of {event.intensity} "
        f"restarts used in {event.period:g} s"
    )


def _giving_up(event: TreeGaveUp) -> str:
    return (
        f"giving up: {_used_up(event)}; {_all_stop(event.supervisor)}. If such "
        f"failures pass by themselves, a Backoff gives them time and a higher limit "
        f"more restarts"
    )


def _escalating(event: ChildEscalated) -> str:
    return f"escalated by its decider; {_all_stop(event.supervisor)}"


def _all_stop(supervisor: str) -> str:
    above, nested, _ = supervisor.rpartition("/")
    then = f"{above} decides what follows" if nested else "wait() raises the error"
    return f"all children of {supervisor} are stopped, {then}"


def _left_down(event: ChildLeftDown) -> str:
    return (
        f"it stays down: {_used_up(event)}; the other children go on. When the cause "
        f"is gone, restart_child({event.child!r}) of {event.supervisor} starts it again"
    )


def _used_up(event: TreeGaveUp | ChildLeftDown) -> str:
    if event.max_restarts is not None:
        return f"max_restarts={event.max_restarts} in a row are used up"
    if not event.intensity:
        return "intensity=0 allows no restart"
    return f"more than {event.intensity} restarts in {event.period:g} s"


def _shown(error: BaseException | None) -> str:
    text = shown(error)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
