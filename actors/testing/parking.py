"""Threads that a virtual clock knows: who runs, who waits, and whose turn it is.

:Runs on: any thread.
:Owns: the tasks, the count of those that can run, the turns.
:Guards: a section guards every field.
:Blocks: ``park``, until woken; ``resume`` and ``reschedule``, until it is their turn.
"""

from __future__ import annotations

import abc
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from actors.clock import SystemClock, current_thread_name, thread_ident
from actors.testing.errors import (
    ClockClosed,
    ClockError,
    Livelock,
    NotEnrolled,
    Stalled,
)
from actors.testing.sections import Sections
from actors.testing.sight import is_theirs, may_hold_foreign_lock, site_of
from actors.testing.story import StoryLog
from actors.testing.task import DEAD, OUTSIDE, PARKED, RUNNABLE, RUNNING, Path, Task
from actors.testing.turns import FreeTurns, SerialTurns

if TYPE_CHECKING:
    from collections import deque
    from types import FrameType

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

    @abc.abstractmethod
    def alarm(self, task: Task, timeout: int) -> None:
        """Have a task that is about to park woken after ``timeout``; in a section."""

    @abc.abstractmethod
    def disarm(self, task: Task) -> None:
        """Take its alarm back; in a section."""

    @abc.abstractmethod
    def settle_count(self) -> None:
        """Let time act while nothing can run; in a section."""

    @abc.abstractmethod
    def stop_driving(self) -> None:
        """The test thread waits for nothing any more; in a section."""

    @abc.abstractmethod
    def describe(self) -> str:
        """Who runs, who waits where, what is due; in a section."""

    # -- tasks

    def find(self) -> Task | None:
        """The calling thread's task, if the clock knows it."""
        return self._by_ident.get(thread_ident())

    def current(self) -> Task:
        """The calling thread's task; raises ``NotEnrolled`` if it has none."""
        return self.find() or self.refuse()

    def is_outside(self, ident: int) -> bool:
        """True if that is the identity of a thread, and not of one the clock knows."""
        return ident not in self._by_ident and ident in sys._current_frames()  # noqa: SLF001

    def refuse(self, task: Task | None = None) -> NoReturn:
        """Raise what the calling thread, whose task this is, gets instead of a wait."""
        if task is not None:
            message = (
                f"a signal handler cannot wait, its thread is {task.state} in "
                f"{task.doing}: let it put to a queue, or raise"
            )
            raise ClockError(message)
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
        self.adopt(self.main)
        if self.turns.current is None:
            self.turns.begin(self.main)
        else:  # of a thread that was started before
            self.turns.ready(self.main)

    def await_turn(self) -> None:
        """Wait, as the test thread that has just been enrolled, for its first turn."""
        main = self.main
        if main is not None and main.state == RUNNABLE:
            self.resume(main)

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
            self.forget(task)

    def forget(self, task: Task) -> None:
        """See :meth:`retire`; in a section."""
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
        if task.state != RUNNING:
            self.release()
            self.refuse(task)
        try:
            try:
                self._leave(task, doing, waiters, timeout)
            finally:
                self.release()
            return self.resume(task)
        except BaseException:  # a signal handler's, unless it is ours
            self._withdraw(task)
            raise

    def _leave(
        self, task: Task, doing: str, waiters: deque[Task] | None, timeout: int | None
    ) -> None:
        task.result = None
        if self.closed:
            raise ClockClosed
        self._check_turns(task)
        task.doing, task.waiters = doing, waiters
        if waiters is not None:
            waiters.append(task)
        if timeout is not None:
            self.alarm(task, timeout)
        if self.serial:
            task.site = site_of(sys._getframe(2))  # noqa: SLF001  # it is public
        self.turns.leave(task)
        task.state = PARKED
        self.running -= 1
        self.settle_count()

    def resume(self, task: Task) -> Any:
        """Wait, outside a section, until the calling thread's task may run."""
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
        while True:
            before = self.progress
            left = hard - SystemClock.monotonic()
            if task.baton.acquire(timeout=max(0.0, min(self.stall_timeout, left))):
                return
            if left <= self.stall_timeout:
                self._stall(f"still busy after {self.hard_timeout:g}")
            if self.progress == before:
                self._stall(f"no progress for {self.stall_timeout:g}")

    def _stall(self, why: str) -> NoReturn:
        with self:
            message = f"{why} s of real time\n{self.describe()}"
        raise Stalled(message)

    def _withdraw(self, task: Task) -> None:
        """Put the books in order for a thread whose wait was broken off; idempotent."""
        self.break_off()  # what waits is in no other section
        with self:
            if task is self.main:
                self.stop_driving()
            if task.state == PARKED:
                self.wake(task)
            if task.state == RUNNABLE:
                self.turns.seize(task)
            task.error = None
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
        task = self.find()
        if task is None or task is not self.turns.current or self.inside():
            return
        here = sys._getframe(1)  # noqa: SLF001  # it is public
        try:
            if not self._keeps_turn(task, here, give_way):
                self.resume(task)
        except BaseException:  # a signal handler's, unless it is ours
            self._withdraw(task)
            raise

    def _keeps_turn(self, task: Task, here: FrameType, give_way: bool) -> bool:  # noqa: FBT001
        with self:
            turns = self.turns
            self._check_turns(task)
            if give_way:
                self._count_step(task)
            if not turns.runnable or may_hold_foreign_lock(here):
                return True
            if not give_way:
                self._count_step(task)
            self.progress += 1
            task.doing = "goes on"
            task.site = site_of(here)
            if not give_way:
                return turns.preempt(task)
            turns.give_way(task)
            return False

    def _count_step(self, task: Task | None = None) -> None:
        """One more turn is given, or ``task`` has it again; in a section."""
        self._steps += 1
        if self._steps <= self.max_steps:
            return
        self._steps = 0
        error = Livelock(
            f"{self.max_steps} turns were given and there is no end: messages go "
            f"round, or somebody polls or ticks for ever\n{self.describe()}"
        )
        if task is not None and task is self.main:
            raise error
        self.fail_main(error)

    def before_release(self) -> None:
        """Give the turn to somebody, if nobody has it; in a section."""
        turns = self.turns
        if not turns.runnable or turns.current is not None:
            return
        self._count_step()
        turns.give()
        failure = turns.failure
        if failure is not None and self.fail_main(failure):
            turns.failure = None

    def fail_main(self, error: BaseException) -> bool:
        """Have the test thread's wait raise; False if it does not wait."""
        main = self.main
        if main is None or main.state == RUNNING:
            return False
        if main.state == PARKED:
            self.stop_driving()
            self.wake(main, error=error)
        else:
            main.error = error
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
