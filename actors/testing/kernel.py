"""The one lock behind a virtual clock: which threads can run, and when time moves.

A thread that the clock knows is a :class:`Task`.  It is RUNNING, or PARKED in
something that the clock made, or DEAD.  A *hold* is a promise that work which the clock
cannot see is on its way.  Time may act only when ``running + holds == 0``, and that is
exact:

- *Waking counts.*  A parked task is counted as running by **whoever wakes it**, in the
  very section in which it leaves its wait set; it never counts itself.
- *Starting counts.*  A new thread is counted before it exists, by its creator.
- So at zero every task is parked or dead, and only the kernel itself, or a thread
  outside the clock's world, can make one run again.  Zero is stable: no second look and
  no cushion of real time is needed.

Mistakes are one-sided.  A thread that blocks where the clock cannot see it keeps the
count above zero; time stands still and :class:`~actors.testing.errors.Stalled` tells
where.  Time never runs early.

:Runs on: any thread.
:Owns: the count, the timers, the holds, the tasks and the present instant.
:Guards: ``_mutex`` guards every field but ``_late``.
:Blocks: ``park``, until woken.
:Order: timers by deadline, then by the instant, the thread and the turn they were made
    in; nothing depends on how threads race.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeAlias

from actors.clock import (
    SystemClock,
    TimerHandle,
    current_thread_name,
    raw_lock,
    thread_ident,
)
from actors.testing.errors import (
    ClockClosed,
    ClockError,
    Deadlock,
    Livelock,
    NotEnrolled,
    Stalled,
)
from actors.testing.sight import Sight, describe

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

__all__ = ["DEAD", "NANO", "PARKED", "RUNNING", "Kernel", "Task", "nanoseconds"]

NANO: Final = 1_000_000_000
RUNNING: Final = "running"
PARKED: Final = "parked"
DEAD: Final = "dead"

Path: TypeAlias = tuple[Any, ...]

_OUTSIDE: Final[Path] = (1 << 30,)  # Sorts behind every path of the test's own threads.


def nanoseconds(seconds: float) -> int:
    """Whole nanoseconds; a wait of any length above zero has at least one.

    Without that a deadline kept as a float could lie a hair ahead of the clock, and a
    loop that waits for the rest would poll for ever at one instant.
    """
    return max(1, round(seconds * NANO)) if seconds > 0 else 0


class _Receiver(Protocol):
    def give(self, item: Any) -> None: ...


class Task:
    """One thread that the clock knows.

    Attributes:
        path: Who started it, as numbers from the test thread down; free of races.
        doing: What it waits in, for the report.
        until: When its wait times out, in nanoseconds.
        waiters: The wait set that it stands in; its waker takes it out.
        result: What its waker has for it; ``None`` when the wait timed out.
        error: What its wait must raise instead.
        joiners: The tasks that wait for its end.
    """

    __slots__ = (
        "alarm",
        "baton",
        "children",
        "doing",
        "error",
        "ident",
        "joiners",
        "name",
        "path",
        "result",
        "state",
        "thread",
        "timers",
        "until",
        "waiters",
    )

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.state = RUNNING
        self.doing = ""
        self.until: int | None = None
        self.ident: int | None = None
        self.thread: threading.Thread | None = None
        self.children = 0
        self.timers = 0
        self.alarm: _Alarm | None = None
        self.waiters: deque[Task] | None = None
        self.joiners: deque[Task] = deque()
        self.result: Any = None
        self.error: BaseException | None = None
        # Locked while the thread runs and while it waits; waking unlocks it once.
        self.baton = raw_lock()
        self.baton.acquire()


class _Alarm:
    """The timer of a task's wait."""

    __slots__ = ("cancelled", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.cancelled = False


class Kernel:
    """See the module's text.  ``with kernel:`` is one critical section.

    Args:
        stall_timeout: Real seconds without progress before ``Stalled``.
        hard_timeout: Real seconds before ``Stalled`` even with progress.
        max_events: Timers that may fire at one instant before ``Livelock``.
        auto_advance: Move to the next deadline whenever nothing can run.
    """

    def __init__(
        self,
        *,
        stall_timeout: float,
        hard_timeout: float,
        max_events: int,
        auto_advance: bool,
    ) -> None:
        self.stall_timeout = stall_timeout
        self.hard_timeout = hard_timeout
        self.max_events = max_events
        self.auto_advance = auto_advance
        self.now = 0
        self.running = 0
        self.progress = 0
        self.holds: dict[object, str] = {}
        self.tasks: dict[Task, None] = {}
        self.main: Task | None = None
        self.open = False
        self.closed = False
        self.on_move: Callable[[], None] = lambda: None
        self.on_call: Callable[[Any], None] = lambda _call: None
        self._mutex = raw_lock()
        # Puts not yet applied.  Appended to without the lock, so that a finaliser or a
        # signal handler may put while its own thread is inside a section; applied by
        # whoever has the lock, at the latest before it counts anybody as parked.
        self._late: deque[tuple[_Receiver, Any]] = deque()
        self._by_ident: dict[int, Task] = {}
        self._heap: list[tuple[int, int, Path, int, _Alarm | TimerHandle]] = []
        self._dead_timers = 0
        self._foreign = 0
        self._goal: int | None = None  # How far an advance() in progress may go.
        self._events_here = 0

    # -- sections

    def acquire(self) -> None:
        """Begin a section; what was put before it is applied first."""
        self._mutex.acquire()
        if self._late:
            self._apply_late()

    def release(self) -> None:
        """End a section."""
        self._mutex.release()
        if self._late:
            self._flush()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def put(self, receiver: _Receiver, item: Any) -> None:
        """Have ``receiver.give(item)`` called in a section, without waiting for it.

        Publish, then look: if the lock is taken, its holder looks after its release.
        """
        self._late.append((receiver, item))
        self._flush()

    def _flush(self) -> None:
        while self._late and self._mutex.acquire(blocking=False):
            try:
                self._apply_late()
            finally:
                self._mutex.release()

    def _apply_late(self) -> None:
        late = self._late
        while late:
            receiver, item = late.popleft()
            receiver.give(item)

    # -- tasks

    def find(self) -> Task | None:
        """The calling thread's task, if the clock knows it."""
        return self._by_ident.get(thread_ident())

    def current(self) -> Task:
        """The calling thread's task; raises ``NotEnrolled`` if it has none."""
        return self.find() or self.refuse()

    def refuse(self) -> Task:
        """Raise ``NotEnrolled`` for the calling thread."""
        message = (
            f"thread {current_thread_name()!r} is not enrolled with this virtual clock"
            f"{', which is closed' if self.closed else ''}; start it with "
            "clock.thread(...) or wrap the wait in clock.enrolled(name)"
        )
        raise NotEnrolled(message)

    def enrol(self, name: str, *, foreign: bool = False) -> Task:
        """Count a new thread as running; in a section."""
        parent = None if foreign else self.find()
        if parent is None:
            self._foreign += 1
            path: Path = (*_OUTSIDE, self._foreign)
        else:
            parent.children += 1
            path = (*parent.path, parent.children)
        return self._admit(Task(name, path))

    def enrol_main(self) -> None:
        """Count the calling thread as the test thread; in a section."""
        self.main = self._admit(Task("test thread", (0,)))
        self.adopt(self.main)
        self.open = True

    def _admit(self, task: Task) -> Task:
        self.tasks[task] = None
        self.running += 1
        self.progress += 1
        return task

    def adopt(self, task: Task) -> None:
        """Tie an enrolled task to the calling thread."""
        task.ident = thread_ident()
        self._by_ident[task.ident] = task

    def retire(self, task: Task) -> None:
        """The task's thread ends, or leaves the clock's world."""
        with self:
            for joiner in tuple(task.joiners):
                self.wake(joiner, result=True)
            task.state = DEAD
            self.tasks.pop(task, None)
            if task.ident is not None:
                self._by_ident.pop(task.ident, None)
            self.running -= 1
            self.settle_count()

    # -- parking and waking

    def park(
        self,
        task: Task,
        doing: str,
        waiters: deque[Task] | None,
        timeout: int | None = None,
    ) -> Any:
        """Wait, in a section that this call ends.

        Args:
            task: The calling thread's own.
            doing: What for, in words.
            waiters: The wait set to stand in.
            timeout: Nanoseconds after which the wait ends by itself.

        Returns:
            What the waker had to give; ``None`` on timeout.
        """
        try:
            if self.closed:
                raise ClockClosed
            task.doing, task.result, task.waiters = doing, None, waiters
            if waiters is not None:
                waiters.append(task)
            if timeout is not None:
                task.until = self.now + timeout
                task.alarm = _Alarm(task)
                self.push(task.until, task.alarm, task)
            task.state = PARKED
            self.running -= 1
            self.settle_count()
        finally:
            self.release()
        if task is self.main:
            self._wait_watched(task)
        else:
            task.baton.acquire()
        error, task.error = task.error, None
        if error is not None:
            raise error
        return task.result

    def wake(
        self, task: Task, *, result: Any = None, error: BaseException | None = None
    ) -> None:
        """Make a parked task run; in a section.  It counts from this moment on."""
        if task.alarm is not None:
            task.alarm.cancelled = True
            task.alarm = None
            self.forget_timer()
        if task.waiters is not None:
            task.waiters.remove(task)
            task.waiters = None
        task.result, task.error, task.until = result, error, None
        task.state = RUNNING
        self.running += 1
        self.progress += 1
        task.baton.release()

    def _wait_watched(self, task: Task) -> None:
        """Wait as the test thread, and speak up when nothing happens."""
        hard = SystemClock.monotonic() + self.hard_timeout
        try:
            while True:
                before = self.progress
                if task.baton.acquire(timeout=self.stall_timeout):
                    return
                if self.progress == before:
                    self._stall(f"no progress for {self.stall_timeout:g}")
                if SystemClock.monotonic() >= hard:
                    self._stall(f"still busy after {self.hard_timeout:g}")
        except BaseException:  # ours, or a signal handler's: put the books in order
            self._withdraw(task)
            raise

    def _stall(self, why: str) -> NoReturn:
        message = f"{why} s of real time\n{self.report()}"
        raise Stalled(message)

    def _withdraw(self, task: Task) -> None:
        with self:
            self._goal = None
            if task.state == PARKED:
                self.wake(task)
            task.baton.acquire(blocking=False)

    # -- time

    def push(self, when: int, what: _Alarm | TimerHandle, owner: Task | None) -> None:
        """Arm a timer; in a section."""
        if owner is None:
            self._foreign += 1
            path, number = _OUTSIDE, self._foreign
        else:
            owner.timers += 1
            path, number = owner.path, owner.timers
        heapq.heappush(self._heap, (when, self.now, path, number, what))

    def forget_timer(self) -> None:
        """A timer in the heap was cancelled; in a section."""
        self._dead_timers += 1
        if self._dead_timers > 100 and self._dead_timers * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if not entry[4].cancelled]
            heapq.heapify(self._heap)
            self._dead_timers = 0

    def next_due(self) -> int | None:
        """The next deadline; in a section."""
        while self._heap and self._heap[0][4].cancelled:
            heapq.heappop(self._heap)
            self._dead_timers -= 1
        return self._heap[0][0] if self._heap else None

    def drive(self, doing: str, goal: int) -> None:
        """Let time go on to ``goal``, and wait until nothing can run there."""
        task = self.current()
        if task is not self.main:
            message = f"{doing} is for the thread that entered the clock"
            raise ClockError(message)
        self.acquire()
        self._goal = max(goal, self.now)
        self.park(task, doing, None)

    def settle_count(self) -> None:
        """Let time act while nothing can run; in a section."""
        self.progress += 1
        while self.open and not (self.running or self.holds or self.closed):
            if not self._act():
                return

    def _act(self) -> bool:
        """Nothing can run: fire one timer, else answer the test thread."""
        due = self.next_due()
        if self._goal is not None:
            limit = self._goal
        else:
            limit = due if self.auto_advance and due is not None else self.now
        if due is not None and due <= limit:
            return self._fire(due)
        main = self.main
        if main is None or main.state != PARKED:
            return False
        if self._goal is None:
            self.wake(main, error=Deadlock(self._why_deadlocked(main, due)))
        else:
            self._move_to(self._goal)
            self._goal = None
            self.wake(main, result=True)
        return True

    def _fire(self, due: int) -> bool:
        self._move_to(due)
        self._events_here += 1
        if self._events_here > self.max_events and self.main is not None:
            self._goal, self._events_here = None, 0
            message = (
                f"{self.max_events} timers fired and time still is {self.now / NANO:g} "
                f"s: something re-arms itself with no delay\n{describe(self.sight())}"
            )
            self.wake(self.main, error=Livelock(message))
            return True
        what = heapq.heappop(self._heap)[4]
        if isinstance(what, _Alarm):
            what.task.alarm = None
            self.wake(what.task)
        else:
            self.on_call(what.disarm())
        return True

    def _move_to(self, when: int) -> None:
        if when > self.now:
            self.now = when
            self._events_here = 0
            self.on_move()

    # -- ending and reporting

    def close(self) -> list[Task]:
        """Unwind every parked thread but the test thread; return those enrolled."""
        with self:
            left = [task for task in self.tasks if task is not self.main]
            self.closed = True
            for task in left:
                if task.state == PARKED:
                    self.wake(task, error=ClockClosed())
            return left

    def report(self) -> str:
        """Who runs, who waits where, what is due."""
        with self:
            return describe(self.sight())

    def sight(self) -> Sight:
        """What a report tells; in a section."""
        timers = heapq.nsmallest(10, (e for e in self._heap if not e[4].cancelled))
        return Sight(
            self.now,
            tuple(sorted(self.tasks, key=lambda task: task.path)),
            tuple(self.holds.values()),
            tuple((when, what) for when, *_, what in timers),
        )

    def _why_deadlocked(self, main: Task, due: int | None) -> str:
        if due is None:
            why = "nothing is left that could wake it"
        else:
            why = (
                f"time stands still at {self.now / NANO:g} s, the next timer is due at "
                f"{due / NANO:g} s: use advance(), run_until() or auto_advance=True"
            )
        return (
            f"the test thread waits in {main.doing} and {why}\n{describe(self.sight())}"
        )
