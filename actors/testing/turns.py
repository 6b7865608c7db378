"""Whose turn it is: everybody's at once, or one thread's at a time.

In free mode whoever can run runs, and the operating system orders them.  In serial mode
one thread runs; when it waits, ends, gives way or comes to a scheduling point, a
:class:`~actors.testing.strategies.Strategy` picks the next among those that can run.
All that a strategy sees comes from the threads of the test itself, so that the same
strategy makes the same choices each time.

:Runs on: any thread, in a section of the kernel.
:Owns: who has the turn, who waits for it, and the record of both.
:Guards: all of it is guarded by the kernel's lock.
:Order: ``runnable`` is in the order in which its threads came to be able to run.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from actors.testing.task import RUNNABLE, RUNNING

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.testing.strategies import Choice, Strategy
    from actors.testing.task import Task

__all__ = ["FreeTurns", "SerialTurns", "Turns"]


class Turns:
    """What the kernel asks of either mode; this one lets everybody run.

    Attributes:
        current: Who has the turn; always ``None`` in free mode.
        runnable: Who waits for it; always empty in free mode.
        schedule: The labels of those who got it, in order.
        choices: Which of how many was picked, each time that there was a choice.
        failure: What the strategy raised, until told; it is not asked again.
    """

    serial = False

    def __init__(self) -> None:
        self.current: Task | None = None
        self.runnable: list[Task] = []
        self.schedule: list[str] = []
        self.choices: list[Choice] = []
        self.failure: BaseException | None = None

    def begin(self, task: Task) -> None:
        """The test thread enters, running."""
        task.state = RUNNING

    def ready(self, task: Task) -> None:
        """A thread that was new or parked can run."""
        task.state = RUNNING
        task.baton.release()

    def leave(self, task: Task) -> None:
        """A running thread parks or ends."""

    def seize(self, task: Task) -> None:
        """A thread runs on, turn or not: its wait was broken from outside."""

    def give(self) -> None:
        """Give the turn, which nobody has, to one of ``runnable``."""

    def preempt(self, task: Task) -> bool:  # noqa: ARG002  # nobody has a turn here
        """Ask whether ``task``, which has the turn, may go on; True if it may."""
        return True

    def give_way(self, task: Task) -> None:
        """Let another of ``runnable``, which is not empty, run before ``task``."""


T = TypeVar("T")

FreeTurns: Final = Turns


@functools.lru_cache(maxsize=1024)
def _choice(index: int, count: int) -> Choice:
    """One object for all equal choices, for a long run makes millions."""
    return index, count


class SerialTurns(Turns):
    """One at a time, in the order that a strategy picks.

    Args:
        strategy: Who picks.
        on_turn: Called with each thread that gets its turn, and whether it kept it.
    """

    serial = True

    def __init__(
        self, strategy: Strategy, on_turn: Callable[[Task, bool], None]
    ) -> None:
        super().__init__()
        self._strategy = strategy
        self._on_turn = on_turn
        self._broken = False

    def begin(self, task: Task) -> None:
        """See :meth:`Turns.begin`."""
        task.state = RUNNING
        self.current = task

    def ready(self, task: Task) -> None:
        """See :meth:`Turns.ready`."""
        task.state = RUNNABLE
        self.runnable.append(task)

    def leave(self, task: Task) -> None:
        """See :meth:`Turns.leave`."""
        if self.current is task:
            self.current = None
        elif task.state == RUNNABLE:
            self.runnable.remove(task)

    def seize(self, task: Task) -> None:
        """See :meth:`Turns.seize`."""
        self.leave(task)
        self.begin(task)

    def give(self) -> None:
        """See :meth:`Turns.give`."""
        self._let(self.runnable.pop(self._choose(None)))

    def preempt(self, task: Task) -> bool:
        """See :meth:`Turns.preempt`."""
        self.runnable.append(task)
        index = self._choose(task)
        chosen = self.runnable[index]
        if chosen is task:
            self.runnable.pop()
            self._note(task, kept=True)
            return True
        task.state = RUNNABLE
        del self.runnable[index]
        self._let(chosen)
        return False

    def give_way(self, task: Task) -> None:
        """See :meth:`Turns.give_way`."""
        self._ask(lambda: self._strategy.yielded(task), None)
        self.give()
        self.ready(task)

    def _choose(self, current: Task | None) -> int:
        runnable = self.runnable
        count = len(runnable)
        if count == 1:
            return 0
        index = self._ask(lambda: self._pick(tuple(runnable), current), 0)
        self.choices.append(_choice(index, count))
        return index

    def _pick(self, runnable: tuple[Task, ...], current: Task | None) -> int:
        count = len(runnable)
        chosen: Any = self._strategy.choose(runnable, current)
        try:
            index = operator.index(chosen)
        except TypeError:
            index = -1
        if not 0 <= index < count:
            message = f"{self._strategy!r} chose {chosen!r} of {count} runnable threads"
            raise IndexError(message)
        return index

    def _ask(self, question: Callable[[], T], otherwise: T) -> T:
        """Ask the strategy, in whatever thread this is; it fails in the test thread."""
        if self._broken:
            return otherwise
        try:
            return question()
        except BaseException as error:  # noqa: BLE001  # a user's; the kernel raises it
            self.failure = error
            self._broken = True
            return otherwise

    def _let(self, task: Task) -> None:
        self.current = task
        task.state = RUNNING
        self._note(task)
        task.baton.release()

    def _note(self, task: Task, *, kept: bool = False) -> None:
        self.schedule.append(task.label)
        self._on_turn(task, kept)
