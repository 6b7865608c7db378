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
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from actors.clock import (
    SystemClock,
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
from actors.testing.sight import Sight, describe, describe_deadlock
from actors.testing.task import (
    DEAD,
    NANO,
    OUTSIDE,
    PARKED,
    RUNNING,
    Alarm,
    Path,
    Task,
    Timers,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import TimerHandle

__all__ = ["Kernel"]


class _Receiver(Protocol):
    def give(self, item: Any) -> None: ...


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
        self.timers = Timers()
        self.holds: dict[object, str] = {}
        self.tasks: dict[Task, None] = {}  # A set that keeps its order.
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
            path: Path = (*OUTSIDE, self._foreign)
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
            task.doing, task.waiters = doing, waiters
            if waiters is not None:
                waiters.append(task)
            if timeout is not None:
                task.until = self.now + timeout
                task.alarm = Alarm(task)
                self.arm(task.until, task.alarm, task)
            task.state = PARKED
            self.running -= 1
            self.settle_count()
        finally:
            self.release()
        if task is self.main:
            self._wait_watched(task)
        else:
            task.baton.acquire()
        result, error = task.result, task.error
        task.result = task.error = None
        if error is not None:
            raise error
        return result

    def wake(
        self, task: Task, *, result: Any = None, error: BaseException | None = None
    ) -> None:
        """Make a parked task run; in a section.  It counts from this moment on."""
        if task.alarm is not None:
            task.alarm.cancelled = True
            task.alarm = None
            self.timers.forget()
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
                left = hard - SystemClock.monotonic()
                if task.baton.acquire(timeout=max(0.0, min(self.stall_timeout, left))):
                    return
                if left <= self.stall_timeout:
                    self._stall(f"still busy after {self.hard_timeout:g}")
                if self.progress == before:
                    self._stall(f"no progress for {self.stall_timeout:g}")
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

    def arm(self, when: int, what: Alarm | TimerHandle, owner: Task | None) -> None:
        """Arm a timer; in a section."""
        self.timers.push(when, self.now, what, owner)

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
        due = self.timers.first_due()
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
            self.wake(main, error=Deadlock(describe_deadlock(self.sight(), main, due)))
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
        what = self.timers.pop()
        if isinstance(what, Alarm):
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

    def close(self) -> None:
        """Unwind every parked thread but the test thread; in a section."""
        self.closed = True
        for task in self.tasks:
            if task is not self.main and task.state == PARKED:
                self.wake(task, error=ClockClosed())

    def report(self) -> str:
        """Who runs, who waits where, what is due."""
        with self:
            return describe(self.sight())

    def sight(self) -> Sight:
        """What a report tells; in a section."""
        return Sight(
            self.now,
            tuple(sorted(self.tasks, key=lambda task: task.path)),
            tuple(self.holds.values()),
            self.timers.pending(10),
        )
