"""A clock for tests: time moves only when no thread can run, and only as far as told.

::

    with VirtualClock() as clock:
        worker = clock.thread(lambda: clock.sleep(3600))
        worker.start()
        clock.advance(3600)  # an hour, in a fraction of a millisecond
        worker.join()

Time stands still until every thread that the clock knows waits on something that it
made.  Within an instant threads run one at a time, in an order drawn from a seed; in
free mode they run as the operating system has it.

:Runs on: the test thread drives; any thread may read, wait and arm timers.  Callbacks
    of ``call_later`` run on one lazily started thread.
:Owns: the kernel, the timer thread, the holds' names.
:Blocks: ``advance``, ``settle``, ``step`` and ``run_until``, until nothing can run.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import random
import threading
from typing import TYPE_CHECKING, Any, Final

from actors.clock import ClockFuture, SystemClock, TimerHandle, ambient
from actors.testing.driving import Driving
from actors.testing.errors import ClockError, Leaked
from actors.testing.faults import Faults
from actors.testing.kernel import Kernel
from actors.testing.locks import SerialLock
from actors.testing.primitives import (
    VirtualCondition,
    VirtualEvent,
    VirtualHold,
    VirtualQueue,
)
from actors.testing.sight import Monitor, describe
from actors.testing.strategies import Preempt, RandomChoice, Strategy, plan
from actors.testing.task import nanoseconds
from actors.testing.threads import EnrolledThread, enrolled
from actors.testing.timer_calls import TimerCalls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager
    from types import TracebackType

    from actors.stop_token import StopToken
    from actors.testing.driving import Freezer

__all__ = ["VirtualClock"]

_EPOCH: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_INTERRUPTS: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)
_UNWIND_LIMIT: Final = 2.0  # Real seconds that a closing clock gives its threads.

_KEPT_THREADS: Final = 256  # Ended ones beyond that are forgotten.


class VirtualClock(Driving):
    """A :class:`actors.clock.Clock` whose time the test moves.

    A context manager: entering enrols the calling thread as the test thread and makes
    this the ambient clock.  Leaving waits until nothing can run, ends the threads that
    still wait, and raises ``Leaked`` for them.  An exception that leaves the block gets
    the story of the schedule as a note.

    Args:
        start: What ``now()`` says at first; an aware datetime.
        seed: One thread runs at a time, in an order drawn from this number: the same
            seed gives the same run.  A thread that blocks on something that the clock
            has not made then holds up all others.  ``None``, without a ``strategy``,
            is *free mode*: threads run as the operating system has it within each
            instant.
        strategy: Picks the order instead of the seed, which then serves ``rng`` alone.
        preempt: Where the turn can be taken from a thread that could go on: with
            ``"block"`` nowhere, it runs until it waits; with ``"send"`` at whatever
            other threads can see: before it sends, takes a lock of the library, or has
            started a thread.
        auto_advance: Move to the next deadline whenever nothing can run, the test
            thread included; else time moves by ``advance`` and its kin alone.
        together: Whether all timers of one instant fire at once, so that the strategy
            orders what they wake; the default is True in serial mode, and False in
            free mode.
        stall_timeout: Real seconds without progress after which ``Stalled`` is raised.
        hard_timeout: Real seconds after which it is raised in spite of progress.
        max_steps: Turns that may be given before ``Livelock`` is raised.
        max_events_per_instant: Timers that may fire before ``Livelock`` is raised.
        faults: What goes wrong when messages are delivered, drawn from the seed.
        freezer: What ``freezegun.freeze_time`` gives; moved along with this clock.
        strict_leaks: Raise ``Leaked`` at the end; else unwind in silence.

    Raises:
        ValueError: If an argument is not one of those named here.
        TypeError: If an argument is of another type.

    Attributes:
        seed: As given; 0 if it was ``None``.
        rng: A generator seeded with it; all jitter is drawn from it.
        strategy: Who picks the order; ``None`` in free mode.
        preempt: As given.
        reschedule: A scheduling point, to be called by code that shares data without
            sending; ``None`` unless ``preempt`` is ``"send"`` in serial mode.
        on_delivery: See :attr:`actors.clock.Clock.on_delivery`.
    """

    def __init__(
        self,
        start: dt.datetime = _EPOCH,
        *,
        seed: int | None = 0,
        strategy: Strategy | None = None,
        preempt: Preempt = "block",
        auto_advance: bool = False,
        together: bool | None = None,
        stall_timeout: float = 5.0,
        hard_timeout: float = 120.0,
        max_steps: int = 1_000_000,
        max_events_per_instant: int = 100_000,
        faults: Faults | None = None,
        freezer: Freezer | None = None,
        strict_leaks: bool = True,
    ) -> None:
        _check(seed, strategy, preempt, faults)
        if strategy is None and seed is not None:
            strategy = RandomChoice(seed)
        self.seed = seed or 0
        self.rng = random.Random(self.seed)
        self.strategy = strategy
        self.preempt = preempt
        self._strict_leaks = strict_leaks
        kernel = Kernel(
            stall_timeout=stall_timeout,
            hard_timeout=hard_timeout,
            max_steps=max_steps,
            max_events=max_events_per_instant,
            auto_advance=auto_advance,
            strategy=strategy,
            preempts=preempt == "send",
            together=strategy is not None if together is None else together,
        )
        super().__init__(start, freezer, kernel)
        self.reschedule: Callable[[], None] | None = (
            kernel.reschedule if kernel.preempts else None
        )
        self.on_delivery: Callable[[str, Any, bool], None] | None = None
        if kernel.serial or faults is not None:
            self.on_delivery = self._deliver
        self._inject: Callable[[str, Any], None] | None = None
        if faults is not None:
            self._inject = faults.injector(
                self.seed, sleep=self.sleep, note=self._note_fault
            )
        self._calls = TimerCalls(self, kernel, self._errors)
        self._threads: list[EnrolledThread] = []
        self._numbers = itertools.count(1)
        self._monitor = Monitor(kernel)
        self._scope = contextlib.ExitStack()
        # Kept apart from the kernel's, which runs freely once it has closed.
        self._turns = kernel.turns

    @classmethod
    def for_seed(cls, seed: int, **options: Any) -> VirtualClock:
        """Make the clock that :func:`explore` and the ``schedules`` marker use.

        Args:
            seed: Stands for a strategy and for a way to preempt, in turn.
            options: As for the class; ``strategy`` and ``preempt`` win over the seed.
        """
        strategy, preempt = plan(seed)
        planned = {"strategy": strategy, "preempt": preempt, **options}
        return cls(**planned, seed=seed)

    def _deliver(self, actor: str, message: Any, control: bool) -> None:  # noqa: FBT001  # the protocol's
        kernel = self._kernel
        kernel.story.handles(kernel.now, self._label(), message, control=control)
        if self._inject is not None and not control:
            self._inject(actor, message)

    def _note_fault(self, what: str) -> None:
        self._kernel.story.fault(self._kernel.now, self._label(), what)

    def _label(self) -> str:
        task = self._kernel.find()
        return "outside" if task is None else task.label

    @property
    def schedule(self) -> list[str]:
        """Who got the turn, in order, as ``name@0.1.2``; empty in free mode."""
        return list(self._turns.schedule)

    @property
    def choices(self) -> list[tuple[int, int]]:
        """Which of how many was picked at each choice; :class:`Replay` takes it."""
        return list(self._turns.choices)

    def story(self, limit: int = 60) -> str:
        """The last steps of the schedule, for a person: who, where, what, in order.

        Args:
            limit: How many steps.
        """
        header = f"seed {self.seed}: {self.strategy!r}, preempt={self.preempt!r}"
        return self._kernel.story.text(limit, header=header)

    # -- the life of the clock

    def __enter__(self) -> VirtualClock:
        if self._kernel.open:
            message = "a virtual clock is entered once; make a new one for each test"
            raise ClockError(message)
        self._monitor.start()
        self._scope.callback(self._monitor.stop)
        self._scope.enter_context(ambient(self))
        with self._kernel:
            self._kernel.enrol_main()
        try:
            self._kernel.await_turn()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        late = None if error is not None else self._settle_last()
        leaked = self._close()
        if error is not None:
            for other in self._errors:
                error.add_note(f"a timer callback failed too: {other!r}")
            if self._kernel.serial and not isinstance(error, _INTERRUPTS):
                error.add_note(self.story())
        elif late is not None:
            raise late
        elif leaked is not None and self._strict_leaks:
            raise leaked

    def _settle_last(self) -> BaseException | None:
        # A stopped actor answers before its thread has ended: settle, then judge.
        try:
            self.settle()
        except ClockError as error:
            return error if self._strict_leaks else None
        except BaseException as error:  # noqa: BLE001  # a callback's, raised later
            return error
        return None

    def _close(self) -> Leaked | None:
        kernel = self._kernel
        leaked = None
        with kernel:
            own = (kernel.main, self._calls.task)
            left = tuple(task for task in kernel.tasks if task not in own)
            if left:  # described while they still wait where they do
                sight = kernel.sight()._replace(tasks=left)
                leaked = Leaked(f"still there at the clock's end\n{describe(sight)}")
            kernel.close()
        end = SystemClock.monotonic() + _UNWIND_LIMIT
        for thread in tuple(self._threads):
            if thread.ident is not None:
                threading.Thread.join(thread, max(0.0, end - SystemClock.monotonic()))
        assert kernel.main is not None  # entered
        kernel.retire(kernel.main)
        self._scope.close()
        return leaked

    def enrolled(self, name: str) -> AbstractContextManager[None]:
        """Enrol the calling, foreign thread for a block, so that it may wait here."""
        return enrolled(self, self._kernel, name)

    # -- waiting, and the makers of what is waited on

    def sleep(self, seconds: float, wake_on: StopToken | None = None) -> bool:
        """See :meth:`actors.clock.Clock.sleep`; no length of time parks nobody."""
        if wake_on is not None:
            return not wake_on.wait_cancelled(max(0.0, seconds))
        if seconds > 0:
            task, doing = self._kernel.current(), f"sleep({float(seconds):g})"
            limit = nanoseconds(seconds)
            self._kernel.acquire()
            self._kernel.park(task, doing, None, limit)
        else:
            self._kernel.reschedule(give_way=True)
        return True

    @staticmethod
    def wait_for(
        condition: VirtualCondition,
        predicate: Callable[[], Any],
        timeout: float | None = None,
    ) -> Any:
        """See :meth:`actors.clock.Clock.wait_for`."""
        return condition.wait_for(predicate, timeout)

    def queue(self) -> VirtualQueue:
        """See :meth:`actors.clock.Clock.queue`."""
        return VirtualQueue(self._kernel)

    def future(self) -> Future[Any]:
        """See :meth:`actors.clock.Clock.future`."""
        return ClockFuture(self)

    def lock(self) -> Any:
        """See :meth:`actors.clock.Clock.lock`."""
        return SerialLock(self._kernel) if self._kernel.serial else threading.Lock()

    def condition(self, lock: Any = None) -> VirtualCondition:
        """See :meth:`actors.clock.Clock.condition`."""
        return VirtualCondition(self._kernel, lock)

    def event(self) -> VirtualEvent:
        """See :meth:`actors.clock.Clock.event`."""
        return VirtualEvent(self._kernel)

    def thread(
        self,
        target: Callable[..., object],
        *,
        name: str | None = None,
        daemon: bool = False,
        args: Sequence[Any] = (),
    ) -> EnrolledThread:
        """See :meth:`actors.clock.Clock.thread`.

        One without a name is called after its target, and numbered by this clock: the
        interpreter's own numbers would be others in each run.
        """
        if name is None:
            number = next(self._numbers)
            name = f"Thread-{number} ({getattr(target, '__name__', 'call')})"
        thread = EnrolledThread(
            self, self._kernel, target, name=name, daemon=daemon, args=args
        )
        if len(self._threads) >= _KEPT_THREADS:
            self._threads = [t for t in self._threads if t.is_alive() or not t.ident]
        self._threads.append(thread)
        return thread

    @staticmethod
    def join(thread: threading.Thread, timeout: float | None = None) -> bool:
        """See :meth:`actors.clock.Clock.join`."""
        thread.join(timeout)
        return not thread.is_alive()

    def hold(self, reason: str) -> VirtualHold:
        """See :meth:`actors.clock.Clock.hold`; time stands still until its release.

        Hand over the work's result first, then release.
        """
        return VirtualHold(self._kernel, reason)

    # -- timers

    def call_later(
        self, delay: float, fn: Callable[..., object], *args: Any
    ) -> TimerHandle:
        """See :meth:`actors.clock.Clock.call_later`.

        An exception of ``fn`` is raised from the next ``advance`` or its kin.
        """
        return self._calls.call_later(delay, fn, args)


def _check(seed: object, strategy: object, preempt: object, faults: object) -> None:
    """Refuse what callers without a type checker may give."""
    if preempt not in ("block", "send"):
        message = f"preempt must be 'block' or 'send', got {preempt!r}"
        raise ValueError(message)
    for name, value, kind in (
        ("seed", seed, int),
        ("strategy", strategy, Strategy),
        ("faults", faults, Faults),
    ):
        if value is not None and not isinstance(value, kind):
            message = f"{name} must be {kind.__name__} or None, got {value!r}"
            raise TypeError(message)
