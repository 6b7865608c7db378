"""Who goes on next, when a virtual clock runs one thread at a time.

The clock asks its strategy whenever more than one thread could have the next turn.  A
strategy draws from generators of its own, seeded once, and looks at nothing else: so
the same seed gives the same answers, on every Python and every machine.

:Runs on: whichever thread gives up its turn, in a section of the kernel.
:Owns: the generator, the priorities or the place in a recording, for one run.
:Guards: guarded by the kernel's lock; a strategy serves one clock.
:Blocks: nothing; a strategy must neither wait nor call back into the clock.
"""

from __future__ import annotations

import abc
import operator
import random
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from actors.testing.errors import ReplayDiverged

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "Choice",
    "FIFO",
    "PCT",
    "Preempt",
    "RandomChoice",
    "Replay",
    "Runnable",
    "Strategy",
    "plan",
]

Preempt: TypeAlias = Literal["block", "send"]
Choice: TypeAlias = tuple[int, int]  # The index chosen, of how many.

# A priority scheduler starves whoever polls without saying so; the operating system
# does not.  After so many choices PCT is fair, which no run of a test comes near.
_FAIR_AFTER: Final = 20_000

_STAYS: Final = (0.8, 0.95, 0.5, 0.9)
_STEPS: Final = (50, 200, 1000)


class Runnable(Protocol):
    """A thread that could have the next turn."""

    @property
    def label(self) -> str:
        """Its name and path, as ``clock.schedule`` has it: ``worker@0.1.2``."""

    @property
    def path(self) -> tuple[int, ...]:
        """Who started it, as numbers from the test thread down; no two are alike."""


class Strategy(abc.ABC):
    """Base of all strategies; subclass it for an order of your own.

    A strategy serves one clock for one run.  Give it a ``repr`` from which it can be
    made again: the story of a failing schedule prints it.
    """

    @abc.abstractmethod
    def choose(self, runnable: Sequence[Runnable], current: Runnable | None) -> int:
        """Say who has the next turn.

        Called only when there is a choice, in a section of the kernel: do not wait,
        and do not touch the clock.  What it raises ends the run.

        Args:
            runnable: Who could go on, at least two, in the order in which they became
                able to.
            current: The one of them that has just come to a scheduling point or has
                yielded; ``None`` when the thread that ran waits or has ended.

        Returns:
            The index in ``runnable``.
        """

    def yielded(self, task: Runnable) -> None:  # noqa: B027  # a hook, empty by choice
        """Take note that a thread polls: ``sleep(0)``, ``wait(0)`` and their like.

        Called before the choice that follows, and when there is none too.  A strategy
        that could choose it again and again must see to it here that others get on.
        """


class RandomChoice(Strategy):
    """Each of the runnable threads with the same probability, at every choice.

    Finds what two or three lucky choices bring about.  Without ``stay`` it hardly ever
    lets one thread run long while another stands still, and with it only as long as
    the first one does not wait: that is what :class:`PCT` is for.

    Args:
        seed: Of the generator.
        stay: The probability that a thread which could go on does, without any choice;
            at 0.9 it gets past ten scheduling points on average.

    Raises:
        ValueError: If ``stay`` is not between 0 and 1.
    """

    def __init__(self, seed: int, *, stay: float = 0.0) -> None:
        if not 0 <= stay <= 1:
            message = f"stay is a probability from 0 to 1, got {stay}"
            raise ValueError(message)
        self._seed = seed
        self._stay = stay
        self._rng = random.Random(f"choices of {seed}")

    def choose(self, runnable: Sequence[Runnable], current: Runnable | None) -> int:
        """See :meth:`Strategy.choose`."""
        if current is not None and self._stay and self._rng.random() < self._stay:
            return runnable.index(current)
        return _draw(self._rng, len(runnable))

    def __repr__(self) -> str:
        stay = f", stay={self._stay:g}" if self._stay else ""
        return f"RandomChoice({self._seed}{stay})"


class PCT(Strategy):
    """Random priorities, and a few random moments at which the first falls behind.

    Every thread gets a random priority when it is first seen, and the runnable one of
    the highest priority goes on.  At ``depth - 1`` choices, drawn from the first
    ``steps``, the thread that would have gone on falls behind all others.  A race that
    ``depth`` ordered steps bring about is then found with probability at least
    ``1 / (threads * steps ** (depth - 1))`` in each run, however long one of the
    threads has to run alone.

    The algorithm is that of Burckhardt, Kothari, Musuvathi and Nagarakatte, "A
    Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010.
    Added to it: a thread that yields falls behind all others too, so that no poller
    starves the thread that it waits for, and after 20,000 choices every choice is a
    random one.

    Args:
        seed: Of the generator.
        depth: How many ordered steps the race needs; 1 means priorities alone.
        steps: How many choices the run is thought to have.  Far too small, and all of
            its falls come early; far too large, and most come after the end.

    Raises:
        ValueError: If ``depth`` or ``steps`` is below 1.
    """

    def __init__(self, seed: int, depth: int = 3, steps: int = 200) -> None:
        for name, value in (("depth", depth), ("steps", steps)):
            if value < 1:
                message = f"{name} must be at least 1, got {value}"
                raise ValueError(message)
        self._seed = seed
        self._depth = depth
        self._steps = steps
        self._rng = random.Random(f"priorities of {seed}")
        # Step -> priority.  The order among the fallen is random as well.
        self._falls: dict[int, float] = {}
        while len(self._falls) < min(depth - 1, steps):
            step = 1 + _draw(self._rng, steps)
            self._falls.setdefault(step, -1.0 - len(self._falls))
        self._lowest = -1.0 - len(self._falls)
        self._priorities: dict[tuple[int, ...], float] = {}
        self._count = 0

    def choose(
        self,
        runnable: Sequence[Runnable],
        current: Runnable | None,  # noqa: ARG002  # its priority says it all
    ) -> int:
        """See :meth:`Strategy.choose`."""
        self._count += 1
        if self._count > _FAIR_AFTER:
            return _draw(self._rng, len(runnable))
        priorities = [self._priority(task) for task in runnable]
        best = priorities.index(max(priorities))
        fallen = self._falls.get(self._count)
        if fallen is not None:
            self._priorities[runnable[best].path] = priorities[best] = fallen
            best = priorities.index(max(priorities))
        return best

    def yielded(self, task: Runnable) -> None:
        """Put it behind all others."""
        self._lowest -= 1.0
        self._priorities[task.path] = self._lowest

    def _priority(self, task: Runnable) -> float:
        priority = self._priorities.get(task.path)
        if priority is None:
            priority = self._priorities[task.path] = self._rng.random()
        return priority

    def __repr__(self) -> str:
        return f"PCT({self._seed}, depth={self._depth}, steps={self._steps})"


class FIFO(Strategy):
    """Whoever has been able to go on for the longest time.

    A single fair order without chance, for reading what a program does: as if each
    thread's turn lasted until it waits, and under ``preempt="send"`` until its next
    send.
    """

    def choose(
        self,
        runnable: Sequence[Runnable],  # noqa: ARG002  # always the first
        current: Runnable | None,  # noqa: ARG002
    ) -> int:
        """See :meth:`Strategy.choose`."""
        return 0

    def __repr__(self) -> str:
        return "FIFO()"


class Replay(Strategy):
    """The choices of an earlier run again.

    Args:
        choices: What ``clock.choices`` was at the end of that run.
        strict: Raise ``ReplayDiverged`` as soon as the run is not the recorded one;
            else make the best of it, and take the first after the recording's end.

    Raises:
        ValueError: If some entry is not an index and a larger number.

    Attributes:
        left: How many choices the run has not come to; 0 after a faithful replay.
    """

    def __init__(self, choices: Iterable[Choice], *, strict: bool = True) -> None:
        self._choices = tuple(choices)
        self._strict = strict
        self._next = 0
        for index, of in self._choices:
            if not 0 <= index < of:
                message = (
                    f"a choice is (index, of how many), got ({index}, {of}); "
                    "give it what clock.choices was"
                )
                raise ValueError(message)

    @property
    def left(self) -> int:
        """See the class."""
        return len(self._choices) - self._next

    def choose(
        self,
        runnable: Sequence[Runnable],
        current: Runnable | None,  # noqa: ARG002
    ) -> int:
        """See :meth:`Strategy.choose`."""
        if not self.left:
            if self._strict:
                self._diverge(runnable, "the recording ends here")
            return 0
        index, of = self._choices[self._next]
        if self._strict and of != len(runnable):
            self._diverge(runnable, f"the recording had {of} threads to choose from")
        self._next += 1
        return min(index, len(runnable) - 1)

    def _diverge(self, runnable: Sequence[Runnable], why: str) -> None:
        who = ", ".join(task.label for task in runnable)
        message = (
            f"the run is not the recorded one: at choice {self._next} {why}, now "
            f"{len(runnable)} could go on ({who}); something else than the clock "
            "decides what this program does: time, a set's order, random, another "
            "thread, or the code has changed"
        )
        raise ReplayDiverged(message)

    def __repr__(self) -> str:
        strict = "" if self._strict else ", strict=False"
        return f"Replay(<{len(self._choices)} choices>{strict})"


def plan(seed: int) -> tuple[Strategy, Preempt]:
    """Choose the strategy and the preemption that stand for a seed.

    A function of the seed alone, so that a seed replays by itself.  Neighbouring seeds
    differ in kind, for no kind finds every race.  How many of 300 seeds of one kind
    found the races of benchmarks/races.py:

    ==================  =====  ====  ======  ====  ======
    kind                sends  stop  update  asks  window
    ==================  =====  ====  ======  ====  ======
    random, block         143    70     224     0       0
    random, send            0   171     254     0       5
    stay=0.8, send         44    92     233     0      14
    stay=0.95, send       104    79     226     0       3
    PCT depth 1, send     106    21      76    83       0
    PCT depth 3, send      78    29      91    28       2
    this plan              88    89     179    21       8
    ==================  =====  ====  ======  ====  ======

    Returns:
        A new strategy, and where threads may be interrupted: wherever they wait
        (``"block"``), or before each send and each lock as well (``"send"``).
    """
    rounds, turn = divmod(operator.index(seed), 6)  # 1.5 would pass for another plan
    if turn == 0:
        return RandomChoice(seed), "block"
    if turn == 3:
        return RandomChoice(seed), "send"
    if turn in (1, 4):
        stay = _STAYS[(2 * rounds + turn // 4) % len(_STAYS)]
        return RandomChoice(seed, stay=stay), "send"
    # How many steps a run has is not known beforehand, and may not be measured in
    # another run: seeds differ in it, too.
    depth, steps = 1 + rounds % 4, _STEPS[rounds // 4 % len(_STEPS)]
    return PCT(seed, depth, steps), "send" if turn == 2 else "block"


def _draw(rng: random.Random, count: int) -> int:
    # random() is promised to stay the same from one Python to the next; randrange is
    # not.
    return int(rng.random() * count)
