"""Turns supervision events into log lines that do not flood.

The first failure of a child is logged with its traceback.  Repeats of the same kind are
counted, and one line in :data:`INTERVAL` seconds tells how many there were.  When many
children of one supervisor fail alike, as 1,000 connections do whose server has gone,
only the first :data:`ALIKE` are logged; the others are counted too.

Each line says what happened, what happens next, and what one can do where that is not
nothing.  When a child was down for longer than its first restart takes, and the log
said so, it also says that the child runs again.

:Runs on: the supervisors' threads; one line now and then may tell another's count.
:Owns: what was logged last for each child and kind of error.
:Blocks: as long as the log's handlers do.
"""

from __future__ import annotations

import logging
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
from supervision._crash_words import (
    FATAL,
    INTERRUPTED,
    RESUMED,
    SHUTS_DOWN,
    WORDS,
    escalating,
    giving_up,
    left_down,
    restarting,
    shown_short,
    stopped,
)
from supervision._words import count, seconds

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
SHORT: Final = 1.0
"""Seconds that a child may be down without a word when it is up again."""
MOMENT: Final = 0.1
"""Seconds below which it is not said how long it was down."""
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
            logger.warning(INTERRUPTED, *event)
        case TreeShutsDown():
            logger.info(SHUTS_DOWN, event[0], event[1], event.auto_shutdown)
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


class _Outage:
    """The failures of a child since the log last had it running."""

    __slots__ = ("crashes", "down_since", "last", "said", "starts")

    def __init__(self) -> None:
        self.said = False  # the last line about the child is of a failure
        self.crashes = 0
        self.starts = 0
        self.last = 0.0
        self.down_since: float | None = None

    def add(self, down: ChildDown, now: float) -> None:
        """Count an end."""
        self.last = now
        if self.down_since is None:
            self.down_since = now
        if down.kind == "start_failed":
            self.starts += 1
        else:
            self.crashes += 1

    def __str__(self) -> str:
        words = [count(self.crashes, "failure")] if self.crashes else []
        if self.starts:
            words.append(count(self.starts, "failed start"))
        return " and ".join(words)


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
        self._outages: dict[tuple[str, str], _Outage] = {}

    def __call__(self, event: Any) -> None:
        """Log one event."""
        match event:
            case ChildDown():
                if event.kind in _NORMAL:
                    logger.debug("%s/%s ended (%s)", event[0], event[1], event.kind)
                else:
                    self._downs[event.supervisor, event.child] = event
                    self._note_outage(event)
            case RestartScheduled():
                self._tell(event, logging.WARNING, restarting(event))
            case TreeGaveUp():
                self._tell(event, logging.ERROR, giving_up(event))
            case ChildLeftDown():
                self._tell(event, logging.ERROR, left_down(event))
            case ChildEscalated():
                self._tell(event, logging.ERROR, escalating(event))
            case ChildStopped():
                self._tell_stopped(event)
            case ChildResumed():
                self._tell_resumed(event)
            case ChildStarted() | ChildRestarted():
                # Its failure is untold if it came while its group was being stopped.
                what_next = "it runs again, with its group"
                if self._tell(event, logging.WARNING, what_next):
                    self._outages.pop((event.supervisor, event.child), None)
                self._tell_running(event)
            case ChildInterrupted() | TreeShutsDown() | MessageUndelivered():
                _note(event)

    def _tell(self, event: _Sequel, level: int, what_next: str) -> bool:
        """Log the failure that led to ``event``, if it is time to."""
        down = self._downs.pop((event.supervisor, event.child), None)
        if down is None:
            if level >= logging.ERROR:  # it stopped in order, and once too often
                logger.log(level, "%s/%s (#%d) stopped; %s", *event[:3], what_next)
            return False
        what = WORDS.get(down.kind, down.kind)
        trace = "" if down.kind in _TOLD_BEFORE else down.traceback
        return self._line(level, down, what, what_next, trace)

    def _tell_resumed(self, event: ChildResumed) -> None:
        what = "failed on a message"
        self._line(logging.WARNING, event, what, RESUMED, event.traceback)

    def _tell_stopped(self, event: ChildStopped) -> None:
        down = self._downs.get((event.supervisor, event.child))
        if down is None:
            if event.kind in _NORMAL:  # it is down by order: no outage
                self._outages.pop((event.supervisor, event.child), None)
            return
        fatal = event.kind == "fatal"
        level = logging.ERROR if fatal else logging.WARNING
        self._tell(event, level, FATAL if fatal else stopped(event, down))

    # -- that it runs again

    def _note_outage(self, down: ChildDown) -> None:
        key, now = (down.supervisor, down.child), self._clock.monotonic()
        outage = self._outages.pop(key, None)
        if outage is None or (outage.down_since is None and now - outage.last >= QUIET):
            outage = _Outage()
        outage.add(down, now)
        self._outages[key] = outage  # at the end: the one touched last
        if len(self._outages) > KEPT:
            self._outages.pop(next(iter(self._outages)), None)

    def _tell_running(self, event: ChildStarted | ChildRestarted) -> None:
        """Say that a child runs whose failure was the last that the log said of it.

        A single restart that takes no time is none of that: it was announced.
        """
        key = event.supervisor, event.child
        outage = self._outages.get(key)
        if outage is None or outage.down_since is None:
            logger.debug("%s/%s (#%d) runs", *event[:3])
            return
        down_for = self._clock.monotonic() - outage.down_since
        outage.down_since = None
        if not outage.said or (down_for < SHORT and not outage.starts):
            logger.debug("%s/%s (#%d) runs again", *event[:3])
            return
        self._outages.pop(key, None)
        again = outage.crashes or isinstance(event, ChildRestarted)
        logger.info(
            "%s/%s (#%d) runs%s, after %s%s",
            *event[:3],
            " again" if again else "",
            outage,
            f"; it was down for {seconds(down_for)}" if down_for >= MOMENT else "",
        )

    # -- one line

    def _line(
        self,
        level: int,
        failure: ChildDown | ChildResumed,
        what: str,
        what_next: str,
        trace: str,
    ) -> bool:
        """Log a failure, if it is time to; errors always are."""
        telling = self._count(failure, always=level >= logging.ERROR)
        if telling is None:
            return False
        outage = self._outages.get((failure.supervisor, failure.child))
        if outage is not None:
            outage.said = True
        logger.log(
            level,
            "%s/%s (#%d) %s (%s); %s%s%s",
            *failure[:3],
            what,
            shown_short(failure.error),
            what_next,
            telling.more,
            f"\n{trace.rstrip()}" if telling.first and trace else "",
        )
        return True

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
