"""Threads that a virtual clock knows: who runs, who waits, and whose turn it is.

:Runs on: any thread.
:Owns: the tasks, the count of those that can run, the turns.
:Guards: a section guards every field.
:Blocks: ``park``, until woken; ``resume`` and ``reschedule``, until it is their turn.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

from actors.clock import SystemClock, current_thread_name, thread_ident
from actors.testing.errors import ClockClosed, Livelock, NotEnrolled, Stalled
from actors.testing.sections import Sections
from actors.testing.sight import is_theirs, may_hold_foreign_lock, site_of
from actors.testing.story import StoryLog
from actors.testing.task import DEAD, OUTSIDE, PARKED, RUNNABLE, RUNNING, Path, Task
from actors.testing.turns import FreeTurns, SerialTurns

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from actors.testing.strategies import Strategy

__all__ = ["Parking"]


class Parking(Sections):
    """The part of a :class:`~actors.testing.kernel.Kernel` that knows its threads.

    Args:
        stall_timeout: Real seconds without progress before ``Stalled``.
        hard_timeout: Real seconds before ``Stalled`` even with progress.
        max_steps: Turns that may be given before ``Livelock``; in serial mode.
        strategy: Picks whose turn it is; ``None`` for free mode.
        preempts: It may take the turn away at scheduling points; in serial mode.
    """

    def __init__(
        self,
        *,
        stall_timeout: float,
        hard_timeout: float,
        max_steps: int,
        strategy: Strategy | None,
        preempts: bool,
    ) -> None:
        super().__init__()
        self.stall_timeout = stall_timeout
        self.hard_timeout = hard_timeout
        self.max_steps = max_steps
        self.serial = strategy is not None
        self.preempts = self.serial and preempts
        self.turns = (
            FreeTurns() if strategy is None else SerialTurns(strategy, self._note_turn)
        )
        self.story = StoryLog()
        self.now = 0
        self.running = 0
        self.progress = 0
        self.tasks: dict[Task, None] = {}  # A set that keeps its order.
        self.main: Task | None = None
        self.closed = False
        self._steps = 0
        self._by_ident: dict[int, Task] = {}
        self._foreign = 0

    # -- what time has to do with it

    def alarm(self, task: Task, timeout: int) -> None:
        """Have a task that is about to park woken after ``timeout``; in a section."""
        raise NotImplementedError

    def disarm(self, task: Task) -> None:
        """Take its alarm back; in a section."""
        raise NotImplementedError

    def settle_count(self) -> None:
        """Let time act while nothing can run; in a section."""
        raise NotImplementedError

    def stop_driving(self) -> None:
        """The test thread waits for nothing any more; in a section."""
        raise NotImplementedError

    def describe(self) -> str:
        """Who runs, who waits where, what is due; in a section."""
        raise NotImplementedError

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
        """Count a new thread as running; in a section.

        The thread calls ``adopt``, then ``resume``: it waits there for its first turn.
        """
        parent = None if foreign else self.find()
        if parent is None:
            self._foreign += 1
            path: Path = (*OUTSIDE, self._foreign)
        else:
            parent.children += 1
            path = (*parent.path, parent.children)
        task = self._admit(Task(name, path))
        self.turns.ready(task)
        return task

    def enrol_main(self) -> None:
        """Count the calling thread as the test thread; in a section."""
        self.main = self._admit(Task("test thread", (0,)))
        self.turns.begin(self.main)
        self.adopt(self.main)

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
            self.turns.leave(task)
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
            self._check_turns(task)
            task.doing, task.waiters = doing, waiters
            if waiters is not None:
                waiters.append(task)
            if timeout is not None:
                self.alarm(task, timeout)
            if self.serial:
                task.site = site_of(sys._getframe(1))  # noqa: SLF001  # it is public
            self.turns.leave(task)
            task.state = PARKED
            self.running -= 1
            self.settle_count()
        finally:
            self.release()
        return self.resume(task)

    def resume(self, task: Task) -> Any:
        """Wait, outside a section, until the calling thread's task may run."""
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
        self.disarm(task)
        if task.waiters is not None:
            task.waiters.remove(task)
            task.waiters = None
        task.result, task.error, task.until = result, error, None
        self.running += 1
        self.progress += 1
        self.turns.ready(task)

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
        with self:
            message = f"{why} s of real time\n{self.describe()}"
        raise Stalled(message)

    def _withdraw(self, task: Task) -> None:
        with self:
            self.stop_driving()
            if task.state == PARKED:
                self.wake(task)
            if task.state == RUNNABLE:
                self.turns.seize(task)
            task.baton.acquire(blocking=False)

    # -- turns, in serial mode

    def reschedule(self, *, give_way: bool = False) -> None:
        """Let the strategy decide whether the calling thread goes on.

        Nothing happens in free mode, inside a section (a finaliser may run there), and
        on a thread that has no turn to give.

        Args:
            give_way: It polls: let another run if any can.  Else nothing happens
                unless this kernel ``preempts``.
        """
        if not (self.preempts or give_way):
            return
        ident = thread_ident()
        task = self._by_ident.get(ident)
        if task is None or task is not self.turns.current or self.holder == ident:
            return
        with self:
            turns = self.turns
            self._check_turns(task)
            here = sys._getframe(1)  # noqa: SLF001  # it is public
            if not turns.runnable or may_hold_foreign_lock(here):
                return
            self.progress += 1
            self._steps += 1
            task.doing = "goes on"
            task.site = site_of(here)
            if give_way:
                turns.give_way(task)
            elif turns.preempt(task):
                return
        self.resume(task)

    def before_release(self) -> None:
        """Give the turn to somebody, if nobody has it; in a section."""
        turns = self.turns
        if not turns.runnable or turns.current is not None:
            return
        self._steps += 1
        if self._steps > self.max_steps:
            self._steps = 0
            self.fail_main(
                lambda: Livelock(
                    f"{self.max_steps} turns were given and nothing came of it: "
                    f"messages go round without end\n{self.describe()}"
                )
            )
        turns.give()
        failure = turns.failure
        if failure is not None and self.fail_main(lambda: failure):
            turns.failure = None

    def fail_main(self, make_error: Callable[[], Exception]) -> bool:
        """Have the test thread's wait raise; False if it does not wait."""
        main = self.main
        if main is None or main.state == RUNNING:
            return False
        if main.state == PARKED:
            self.stop_driving()
            self.wake(main, error=make_error())
        else:
            main.error = make_error()
        return True

    def _check_turns(self, task: Task) -> None:
        """Raise, in the test thread, what went wrong with the strategy."""
        failure = self.turns.failure
        if failure is not None and task is self.main:
            self.turns.failure = None
            raise failure

    def _note_turn(self, task: Task, kept: bool) -> None:  # noqa: FBT001
        code, line = task.site or (None, 0)
        if kept and code is not None and not is_theirs(code):
            return  # a line of the library that nobody came between: no news
        self.story.step(self.now, task.label, task.doing, code, line)
