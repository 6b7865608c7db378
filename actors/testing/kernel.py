"""The one lock behind a virtual clock: which threads can run, and when time moves.

A thread that the clock knows is a :class:`Task`.  It is RUNNING, or RUNNABLE (it waits
for its turn), or PARKED in something that the clock made, or DEAD.  A *hold* is a
promise that work which the clock cannot see is on its way.  Time may act only when
``running + holds == 0``, where ``running`` counts the runnable too, and that is exact:

- *Waking counts.*  A parked task is counted as running by **whoever wakes it**, in the
  very section in which it leaves its wait set; it never counts itself.
- *Starting counts.*  A new thread is counted before it exists, by its creator.
- So at zero every task is parked or dead, and only the kernel itself, or a thread
  outside the clock's world, can make one run again.  Zero is stable: no second look and
  no cushion of real time is needed.

Who runs when several could is for :mod:`actors.testing.turns` to say.  A turn is given
at the end of each section, if nobody has it: there is no other place to forget.

Mistakes are one-sided.  A thread that blocks where the clock cannot see it keeps the
count above zero; time stands still and :class:`~actors.testing.errors.Stalled` tells
where.  Time never runs early.

:Runs on: any thread.
:Owns: the count, the timers, the holds, the tasks and the present instant.
:Guards: a section guards every field.
:Blocks: ``park``, until woken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors._wake_queue import LONGEST_WAIT
from actors.testing.errors import ClockClosed, ClockError, Deadlock, Livelock
from actors.testing.parking import Parking
from actors.testing.sight import Sight, describe, describe_deadlock
from actors.testing.task import NANO, PARKED, RUNNABLE, Alarm, Task, Timers
from actors.testing.turns import FreeTurns

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import TimerHandle
    from actors.testing.strategies import Strategy

__all__ = ["Kernel"]


class Kernel(Parking):
    """See the module's text.  ``with kernel:`` is one critical section.

    Args:
        stall_timeout: Real seconds without progress before ``Stalled``.
        hard_timeout: Real seconds before ``Stalled`` even with progress.
        max_events: Timers that may fire at one instant before ``Livelock``.
        auto_advance: Move to the next deadline whenever nothing can run.
        max_steps: Turns that may be given before ``Livelock``; in serial mode.
        strategy: Picks whose turn it is; ``None`` for free mode.
        preempts: It may take the turn away at scheduling points; in serial mode.
        together: Fire all timers of one instant at once, not one after the other.
    """

    def __init__(
        self,
        *,
        stall_timeout: float,
        hard_timeout: float,
        max_events: int,
        auto_advance: bool,
        max_steps: int,
        strategy: Strategy | None,
        preempts: bool,
        together: bool,
    ) -> None:
        for name, value in (
            ("stall_timeout", stall_timeout),
            ("hard_timeout", hard_timeout),
            ("max_steps", max_steps),
            ("max_events_per_instant", max_events),
        ):
            if not value > 0:
                message = f"{name} must be above 0, got {value}"
                raise ValueError(message)
        super().__init__(
            stall_timeout=min(stall_timeout, LONGEST_WAIT),
            hard_timeout=min(hard_timeout, LONGEST_WAIT),
            max_steps=max_steps,
            strategy=strategy,
            preempts=preempts,
        )
        self.max_events = max_events
        self.auto_advance = auto_advance
        self.together = together
        self.timers = Timers()
        self.holds: dict[object, str] = {}
        self.open = False
        self.on_move: Callable[[], None] = lambda: None
        self.on_call: Callable[[Any], None] = lambda _call: None
        self._goal: int | None = None  # How far an advance() in progress may go.
        self._events_here = 0

    def enrol_main(self) -> None:
        """Count the calling thread as the test thread; in a section."""
        super().enrol_main()
        self.open = True

    # -- time

    def arm(self, when: int, what: Alarm | TimerHandle, owner: Task | None) -> None:
        """Arm a timer; in a section."""
        self.timers.push(when, self.now, what, owner)

    def alarm(self, task: Task, timeout: int) -> None:
        """See :meth:`Parking.alarm`."""
        task.until = self.now + timeout
        task.alarm = Alarm(task)
        self.arm(task.until, task.alarm, task)

    def disarm(self, task: Task) -> None:
        """See :meth:`Parking.disarm`."""
        if task.alarm is not None:
            task.alarm.cancelled = True
            task.alarm = None
            self.timers.forget()

    def stop_driving(self) -> None:
        """See :meth:`Parking.stop_driving`."""
        self._goal = None

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
            if self._late:  # put in this very section, and may well wake somebody
                self._apply_late()
            elif not self._act():
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
        """Fire the first timer, or all that are due with it."""
        self._move_to(due)
        while not self._livelocked():
            what = self.timers.pop()
            if isinstance(what, Alarm):
                what.task.alarm = None
                self.wake(what.task)
            else:
                self.on_call(what.disarm())
            if not self.together or self.timers.first_due() != due:
                break
        return True

    def _livelocked(self) -> bool:
        self._events_here += 1
        if self._events_here <= self.max_events:
            return False
        self._events_here = 0
        return self.fail_main(
            Livelock(
                f"{self.max_events} timers fired and time still is {self.now / NANO:g} "
                f"s: something re-arms itself with no delay\n{self.describe()}"
            )
        )

    def _move_to(self, when: int) -> None:
        if when > self.now:
            self.now = when
            self._events_here = 0
            self.on_move()

    # -- ending and reporting

    def close(self) -> None:
        """Unwind every thread that waits, but the test thread; in a section.

        They run freely from here on: one of them may well wait for another.
        """
        self.closed = True
        turns, self.turns = self.turns, FreeTurns()
        for task in self.tasks:
            if task is self.main:
                continue
            if task.state == PARKED:
                self.wake(task, error=ClockClosed())
            elif task.state == RUNNABLE:
                task.error = task.error or ClockClosed()
                self.turns.ready(task)
            elif task.baton.locked():  # an interrupt may have kept it from its turn
                task.error = ClockClosed()
                task.baton.release()
        turns.runnable.clear()

    def report(self) -> str:
        """Who runs, who waits where, what is due."""
        with self:
            return self.describe()

    def describe(self) -> str:
        """See :meth:`Parking.describe`."""
        return describe(self.sight())

    def sight(self) -> Sight:
        """What a report tells; in a section."""
        return Sight(
            self.now,
            tuple(sorted(self.tasks, key=lambda task: task.path)),
            tuple(self.holds.values()),
            self.timers.pending(10),
        )
