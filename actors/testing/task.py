"""One thread as a virtual clock sees it, and the heap of what is due.

:Runs on: any thread, in a section of the kernel.
:Owns: nothing; a kernel owns its tasks and its timers.
:Guards: all of it is guarded by the kernel's lock.
:Order: timers by deadline, then by the instant, the thread and the turn they were made
    in; nothing depends on how threads race.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from actors.clock import TimerHandle, raw_lock

if TYPE_CHECKING:
    import threading
    from types import CodeType

__all__ = [
    "Alarm",
    "DEAD",
    "NANO",
    "OUTSIDE",
    "PARKED",
    "Path",
    "RUNNABLE",
    "RUNNING",
    "Site",
    "Task",
    "Timers",
    "nanoseconds",
]

NANO: Final = 1_000_000_000
_LONGEST_WAIT: Final = 1e11  # Some three thousand years stand for no end at all.
RUNNING: Final = "running"
RUNNABLE: Final = "runnable"  # It can run and has not got its turn.
PARKED: Final = "parked"
DEAD: Final = "dead"

Path: TypeAlias = tuple[int, ...]
Site: TypeAlias = "tuple[CodeType, int]"
"""A line of code."""

OUTSIDE: Final[Path] = (1 << 30,)  # Sorts behind every path of the test's own threads.


def nanoseconds(seconds: float) -> int:
    """Whole nanoseconds; a wait of any length above zero has at least one.

    Without that a deadline kept as a float could lie a hair ahead of the clock, and a
    loop that waits for the rest would poll for ever at one instant.
    """
    if seconds > 0:
        return max(1, round(min(seconds, _LONGEST_WAIT) * NANO))
    if seconds <= 0:
        return 0
    message = f"a wait must be a number of seconds, got {seconds}"
    raise ValueError(message)


_OUTSIDE: Final = str(OUTSIDE[0])


class Task:
    """One thread that the clock knows.

    Attributes:
        path: Who started it, as numbers from the test thread down; free of races.
        label: Its name and path, which tell threads of one name apart.
        doing: What it waits in, for the report.
        until: When its wait times out, in nanoseconds.
        waiters: The wait set that it stands in; its waker takes it out.
        result: What its waker has for it; ``None`` when the wait timed out.
        error: What its wait must raise instead.
        joiners: The tasks that wait for its end.
        site: Where it goes on when it gets its turn, for the story.
    """

    __slots__ = (
        "alarm",
        "baton",
        "children",
        "doing",
        "error",
        "ident",
        "joiners",
        "label",
        "name",
        "path",
        "result",
        "site",
        "state",
        "thread",
        "timers",
        "until",
        "waiters",
    )

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.label = f"{name}@{'.'.join(map(str, path)).replace(_OUTSIDE, 'outside')}"
        self.state = RUNNING
        self.doing = ""
        self.until: int | None = None
        self.ident: int | None = None
        self.thread: threading.Thread | None = None
        self.children = 0
        self.timers = 0
        self.alarm: Alarm | None = None
        self.waiters: deque[Task] | None = None
        self.joiners: deque[Task] = deque()
        self.result: Any = None
        self.error: BaseException | None = None
        self.site: Site | None = None
        # Locked while the thread runs and while it waits; waking unlocks it once.
        self.baton = raw_lock()
        self.baton.acquire()


class Alarm:
    """The timer of a task's wait."""

    __slots__ = ("cancelled", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.cancelled = False


class Timers:
    """What is due when; cancelled entries are dropped when convenient."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Path, int, Alarm | TimerHandle]] = []
        self._foreign = 0
        self._dead = 0

    def push(
        self, when: int, now: int, what: Alarm | TimerHandle, owner: Task | None
    ) -> None:
        """Arm a timer; ``owner`` is the task of the thread that asks."""
        if owner is None:
            self._foreign += 1
            path, number = OUTSIDE, self._foreign
        else:
            owner.timers += 1
            path, number = owner.path, owner.timers
        heapq.heappush(self._heap, (when, now, path, number, what))

    def pop(self) -> Alarm | TimerHandle:
        """Take the first; ``first_due`` has just been asked."""
        return heapq.heappop(self._heap)[4]

    def first_due(self) -> int | None:
        """The next deadline, ``None`` if there is none."""
        while self._heap and self._heap[0][4].cancelled:
            heapq.heappop(self._heap)
            self._dead -= 1
        return self._heap[0][0] if self._heap else None

    def forget(self) -> None:
        """One more timer in the heap was cancelled; amortised O(1)."""
        self._dead += 1
        if self._dead > 100 and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if not entry[4].cancelled]
            heapq.heapify(self._heap)
            self._dead = 0

    def pending(self, limit: int) -> tuple[tuple[int, Alarm | TimerHandle], ...]:
        """The first ``limit`` timers, for a report."""
        alive = [entry for entry in self._heap if not entry[4].cancelled]
        return tuple((entry[0], entry[4]) for entry in heapq.nsmallest(limit, alive))
