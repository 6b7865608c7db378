"""Run one test under many schedules, and show the one that fails.

The operating system gives a test the same few interleavings, however often it is
repeated.  Here each seed stands for an order of its own, so that races are found on
purpose, and found again by the seed.

:Runs on: the calling thread, which is the test thread of each clock in turn.
:Owns: ``forced_seed``.
:Blocks: as long as the runs take; each has the limits of its clock.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from actors.testing.errors import (
    Livelock,
    NotDeterministic,
    ReplayDiverged,
    Stalled,
)
from actors.testing.story import StoryLog, render, short
from actors.testing.strategies import Replay, Strategy
from actors.testing.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

__all__ = ["check_determinism", "explore"]

forced_seed: int | None = None
"""Set by ``--clock-seed``: ``explore`` runs this seed and no other."""

_STARTED_IN: Final = os.path.abspath(os.curdir)  # a test may change it
_INTERRUPTS: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)
_BEFORE, _AFTER = 8, 3  # Steps shown around the place where two runs part.


def explore(
    body: Callable[[VirtualClock], object],
    *,
    seeds: int | Iterable[int] = 100,
    check_determinism: bool = False,  # the function below, for each seed
    **clock_options: Any,
) -> int:
    """Run ``body(clock)`` under many schedules; raise what the first failure raised.

    Each seed gives a clock of its own, ``VirtualClock.for_seed(seed, ...)``, already
    entered.  Neighbouring seeds differ in how threads are ordered and interrupted, so
    that races of different kinds are found.  ``body`` must set up anew whatever it
    uses, and have it stopped at its end: it is called once for each seed.

    An exception that leaves ``body``, or a thread that it leaves behind, ends the
    exploration.  It is raised as it is, with notes: the story of the schedule, and the
    line that runs this seed alone.  Then ``body`` has been called once more, with the
    recorded choices, to see whether they alone bring the failure about; the note says
    so if they do not.

    Args:
        body: The test, called with an entered clock.
        seeds: How many, from 0; or which.
        check_determinism: Run each seed twice, and raise ``NotDeterministic`` if the
            two schedules differ.
        clock_options: As for :class:`VirtualClock`.  ``strategy`` is a callable of the
            seed here, such as ``PCT``; it and ``preempt`` win over the seed's own.

    Returns:
        How many different schedules there were.

    Raises:
        ValueError: If there is no seed.
        TypeError: If ``strategy`` is one made already: a strategy serves a single run;
            if ``body`` is a generator or asynchronous, which would not run.

    Example:
        ::

            def transfer(clock):
                bank = Bank.start()
                tellers = [clock.thread(deposit, args=(bank,)) for _ in range(2)]
                for teller in tellers:
                    teller.start()
                for teller in tellers:
                    teller.join()
                assert bank.ask("balance") == 2
                bank.stop()

            def test_deposits_add_up():
                explore(transfer, seeds=300, auto_advance=True)
    """
    __tracebackhide__ = True
    different: set[bytes] = set()
    for tried, seed in enumerate(_chosen(seeds)):
        trial = _Trial(body, seed, clock_options, tried)
        different.add(_digest(trial.run()))
        if check_determinism:
            _compare(trial, 2)
    return len(different)


def check_determinism(
    body: Callable[[VirtualClock], object],
    *,
    seed: int = 0,
    runs: int = 2,
    **clock_options: Any,
) -> None:
    """Run ``body(clock)`` several times under one seed and compare the schedules.

    What differs from run to run within one process comes to light: real time, threads
    that the clock does not know, ``id`` and the order of sets of objects, a generator
    that is not ``clock.rng``, state that is kept from one run to the next.  What hangs
    on the hash seed needs runs in several processes.

    Args:
        body: As for :func:`explore`.
        seed: The seed.
        runs: How many runs, at least 2.
        clock_options: As for :func:`explore`.

    Raises:
        NotDeterministic: If two runs differ; the text has the steps of both around the
            first difference.
        ValueError: If ``runs`` is below 2.
    """
    __tracebackhide__ = True
    if runs < 2:
        message = f"runs must be at least 2 to compare, got {runs}"
        raise ValueError(message)
    _compare(_Trial(body, seed, clock_options), runs)


# -- one run


def _chosen(seeds: int | Iterable[int]) -> Iterator[int]:
    if forced_seed is not None:
        yield forced_seed
        return
    empty = True
    for seed in range(seeds) if isinstance(seeds, int) else seeds:
        empty = False
        yield seed
    if empty:
        message = "there is no seed to run; give seeds=100, or some of your own"
        raise ValueError(message)


class _Trial(NamedTuple):
    """A test under one seed."""

    body: Callable[[VirtualClock], object]
    seed: int
    options: dict[str, Any]
    passed: int = 0  # seeds before this one

    def run(self, story: StoryLog | None = None) -> VirtualClock:
        __tracebackhide__ = True
        clock = VirtualClock.for_seed(self.seed, **self._options())
        if story is not None:
            clock._kernel.story = story  # noqa: SLF001  # one that keeps all
        try:
            with clock:
                self._call(clock)
        except _INTERRUPTS:
            raise
        except BaseException as error:
            self._explain(error, clock)
            raise
        return clock

    def _call(self, clock: VirtualClock) -> None:
        __tracebackhide__ = True
        result = self.body(clock)
        if not isinstance(result, (Coroutine, Generator, AsyncGenerator)):
            return
        if not isinstance(result, AsyncGenerator):
            result.close()  # without a warning that it was never awaited
        message = (
            f"body must be a plain function, and {_name_of(self.body)} gives a "
            f"{type(result).__name__}, of which nothing has run"
        )
        raise TypeError(message)

    def _options(self) -> dict[str, Any]:
        strategy = self.options.get("strategy")
        if strategy is None:
            return self.options
        if isinstance(strategy, Strategy) or not callable(strategy):
            message = (
                f"strategy must be a callable of the seed, got {strategy!r}; a "
                "strategy serves a single run: give strategy=PCT, or "
                "strategy=lambda seed: PCT(seed, depth=2)"
            )
            raise TypeError(message)
        return {**self.options, "strategy": strategy(self.seed)}

    def _explain(self, error: BaseException, clock: VirtualClock) -> None:
        """Add to the error what a person needs to have it again."""
        story = clock.story()
        start = story.partition("\n")[0]
        if not any(note.startswith(start) for note in getattr(error, "__notes__", ())):
            error.add_note(story)  # it came out of the clock's own end
        again = self._again(error, clock) if _can_fail_again(error) else ""
        passed = f" after {self.passed} that passed" if self.passed else ""
        error.add_note(
            f"failed under seed {self.seed}{passed}; replay it with\n"
            f"    {self._replay_line()}{again}"
        )

    def _replay_line(self) -> str:
        test, _, _ = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")
        if test:
            test = re.sub(r'[$`"\\]', r"\\\g<0>", _from_here(test))  # for a shell
            return f'python -m pytest "{test}" --clock-seed={self.seed}'
        given = [f"{key}={_name_of(value)}" for key, value in self.options.items()]
        words = [_name_of(self.body), f"seeds=[{self.seed}]", *given]
        return f"explore({', '.join(words)})"

    def _again(self, error: BaseException, clock: VirtualClock) -> str:
        """Call it once more with the recorded choices; words, if it does not fail."""
        replay = {
            **self.options,
            "strategy": Replay(clock.choices),
            "preempt": clock.preempt,
            "max_steps": 2 * len(clock.schedule) + 1000,
        }
        try:
            with VirtualClock.for_seed(self.seed, **replay) as second:
                self._call(second)
        except _INTERRUPTS:
            raise
        except ReplayDiverged as diverged:
            return f"\n(the same choices took another way: {diverged})"
        except BaseException as other:  # noqa: BLE001  # only looked at
            if type(other) is type(error):
                return ""
            return f"\n(the same choices again failed otherwise: {short(other)})"
        return (
            "\n(the same choices again did not fail: something that the clock does not "
            "order has a part in it; see check_determinism)"
        )


def _can_fail_again(error: BaseException) -> bool:
    if isinstance(error, (Stalled, Livelock)):
        return False  # it would take as long again
    # pytest.fail() raises no Exception; pytest.skip() neither, and that is no failure.
    return isinstance(error, Exception) or type(error).__name__ == "Failed"


def _from_here(test: str) -> str:
    """The id of the running test from where pytest was started.

    pytest's own begins at its root directory, which may lie above or below.
    """
    file, colons, name = test.partition("::")
    tail = os.path.join(os.sep, *file.split("/"))
    frame: FrameType | None = sys._getframe()  # noqa: SLF001  # as traceback and logging do
    while frame is not None:
        if os.path.join(os.sep, frame.f_code.co_filename).endswith(tail):
            here = os.path.relpath(frame.f_code.co_filename, _STARTED_IN)
            return f"{here.replace(os.sep, '/')}{colons}{name}"
        frame = frame.f_back
    return test


def _name_of(value: Any) -> str:
    return getattr(value, "__name__", None) or short(value)


def _digest(clock: VirtualClock) -> bytes:
    """What tells one schedule from another, in few bytes; names may have numbers."""
    paths = (label.rpartition("@")[2] for label in clock.schedule)
    return hashlib.blake2b(" ".join(paths).encode(), digest_size=8).digest()


# -- two runs compared


def _compare(trial: _Trial, runs: int) -> None:
    __tracebackhide__ = True
    first = _Recording(trial)
    for number in range(2, runs + 1):
        first.check(_Recording(trial), number)


class _Recording:
    """All steps of one run."""

    def __init__(self, trial: _Trial) -> None:
        log = StoryLog(first=sys.maxsize)
        self._clock = trial.run(log)
        self._steps = log.steps
        # Not the words: they may have addresses, or numbers that go on from run to run.
        self._keys = [
            (s.now_ns, s.label.rpartition("@")[2], s.kind, s.code, s.line)
            for s in self._steps
        ]

    def check(self, other: _Recording, number: int) -> None:
        """Raise NotDeterministic if the other run took another way."""
        mine, theirs = self._keys, other._keys
        if mine == theirs and _digest(self._clock) == _digest(other._clock):
            return
        pairs = enumerate(zip(mine, theirs, strict=False))
        part = next((n for n, (a, b) in pairs if a != b), min(len(mine), len(theirs)))
        message = (
            f"seed {self._clock.seed} gives different runs: run 1 and run {number} "
            f"part at step {part}\n{self._around(part, 'run 1')}\n"
            f"{other._around(part, f'run {number}')}"
        )
        raise NotDeterministic(message)

    def _around(self, part: int, header: str) -> str:
        steps = self._steps[max(0, part - _BEFORE) : part + _AFTER]
        return render(steps, header=header)
