"""Turns supervision events into log lines that do not flood.

The first failure of a child is logged with its traceback.  Repeats of the same kind are
counted, and one line in :data:`INTERVAL` seconds tells how many there were.

:Runs on: the supervisors' threads; one line now and then may tell another's count.
:Owns: what was logged last for each child and kind of error.
:Blocks: as long as the log's handlers do.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from actors.events import (
    ChildDown,
    ChildRestarted,
    ChildStarted,
    ChildStopped,
    MessageUndelivered,
    RestartScheduled,
    TreeGaveUp,
)

if TYPE_CHECKING:
    from actors.clock import Clock

__all__ = ["CrashLog"]

logger = logging.getLogger("headrace.supervision")

INTERVAL: Final = 10.0
"""Seconds between two lines about the same kind of failure of the same child."""
QUIET: Final = 60.0
"""Seconds without a failure after which the next one is a first one again."""
_NORMAL: Final = frozenset({"normal", "shutdown", "ignored"})


class _Repeats:
    """What was said of one kind of failure of one child."""

    __slots__ = ("last", "said", "unsaid")

    def __init__(self, now: float) -> None:
        self.said = now
        self.last = now
        self.unsaid = 0


class CrashLog:
    """A listener that logs; made once for each tree.

    Args:
        clock: Measures the intervals.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._downs: dict[tuple[str, str], ChildDown] = {}
        self._repeats: dict[tuple[str, str, str], _Repeats] = {}

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
                self._tell(event, logging.ERROR, _giving_up(event), always=True)
            case ChildStopped():
                self._tell(event, logging.WARNING, "it is not started again")
            case ChildStarted() | ChildRestarted():
                logger.debug("%s/%s runs (#%d)", *event[:3])
            case MessageUndelivered():
                logger.debug("%s/%s: undelivered: %s", event[0], event[1], event.why)

    def _tell(
        self,
        event: RestartScheduled | TreeGaveUp | ChildStopped,
        level: int,
        what_next: str,
        *,
        always: bool = False,
    ) -> None:
        """Log the failure that led to ``event``, if it is time to."""
        down = self._downs.pop((event.supervisor, event.child), None)
        if down is None:
            return
        first, unsaid = self._count(down, always=always)
        if unsaid is None:
            return
        logger.log(
            level,
            "%s/%s (#%d) %s (%r); %s%s%s",
            down.supervisor,
            down.child,
            down.incarnation,
            _WORDS.get(down.kind, down.kind),
            down.error,
            what_next,
            f"; {unsaid} more like it since the last line" if unsaid else "",
            f"\n{down.traceback.rstrip()}" if first and down.traceback else "",
        )

    def _count(self, down: ChildDown, *, always: bool) -> tuple[bool, int | None]:
        """Whether this is a first one, and how many were not told; None: be silent."""
        now = self._clock.monotonic()
        key = (down.supervisor, down.child, type(down.error).__name__)
        repeats = self._repeats.get(key)
        if repeats is None or now - repeats.last >= QUIET:
            self._repeats[key] = _Repeats(now)
            return True, 0
        repeats.last = now
        if not always and now - repeats.said < INTERVAL:
            repeats.unsaid += 1
            return False, None
        repeats.said = now
        unsaid, repeats.unsaid = repeats.unsaid, 0
        return False, unsaid


_WORDS: Final = {
    "failed": "crashed",
    "start_failed": "did not start",
    "abandoned": "had to be abandoned",
    "gave_up": "gave up",
    "fatal": "ended by a fatal error",
}


def _restarting(event: RestartScheduled) -> str:
    others = [each for each in event.affected if each != event.child]
    with_others = f" with {', '.join(others)}" if others else ""
    when = f"in {event.delay:.3g} s" if event.delay else "now"
    return (
        f"restarting{with_others} {when}, {event.used} of {event.intensity} "
        f"restarts used in {event.period:g} s"
    )


def _giving_up(event: TreeGaveUp) -> str:
    return (
        f"giving up: more than {event.intensity} restarts in {event.period:g} s; "
        f"all children of {event.supervisor} are stopped"
    )
