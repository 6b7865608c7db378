"""A clock for tests: time moves only when no thread can run, and only as far as told.

::

    with VirtualClock() as clock:
        worker = clock.thread(lambda: clock.sleep(3600))
        worker.start()
        clock.advance(3600)  # an hour, in a fraction of a millisecond
        worker.join()

Threads run freely within an instant.  Between instants the clock waits until every
thread that it knows waits on something that it made.

:Runs on: the test thread drives; any thread may read, wait and arm timers.  Callbacks
    of ``call_later`` run on one lazily started thread.
:Owns: the kernel, the timer thread, the holds' names.
:Blocks: ``advance``, ``settle``, ``step`` and ``run_until``, until nothing can run.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

from actors.clock import ClockFuture, SystemClock, TimerHandle, ambient
from actors.testing.errors import ClockClosed, ClockError, Deadlock, Leaked
from actors.testing.kernel import Kernel
from actors.testing.primitives import (
    VirtualCondition,
    VirtualEvent,
    VirtualHold,
    VirtualQueue,
)
from actors.testing.sight import Monitor, describe
from actors.testing.task import NANO, nanoseconds
from actors.testing.threads import EnrolledThread, enrolled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager
    from types import TracebackType

    from actors.stop_token import StopToken

__all__ = ["VirtualClock"]

_EPOCH: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_UNWIND_LIMIT: Final = 2.0  # Real seconds that a closing clock gives its threads.

_KEPT_THREADS: Final = 256  # Ended ones beyond that are forgotten.


class Freezer(Protocol):
    """What ``freeze_time(...)`` gives: a wall clock that can be told to move."""

    def move_to(self, target_datetime: dt.datetime) -> None:
        """Make it ``target_datetime``."""


class VirtualClock:
    """A :class:`actors.clock.Clock` whose time the test moves.

    A context manager: entering enrols the calling thread as the test thread and makes
    this the ambient clock.  Leaving waits until nothing can run, ends the threads that
    still wait, and raises ``Leaked`` for them.

    Args:
        start: What ``now()`` says at first; an aware datetime.
        auto_advance: Move to the next deadline whenever nothing can run, the test
            thread included; else time moves by ``advance`` and its kin alone.
        stall_timeout: Real seconds without progress after which ``Stalled`` is raised.
        hard_timeout: Real seconds after which it is raised in spite of progress.
        max_events_per_instant: Timers that may fire before ``Livelock`` is raised.
        freezer: What ``freezegun.freeze_time`` gives; moved along with this clock.
        strict_leaks: Raise ``Leaked`` at the end; else unwind in silence.

    Attributes:
        rng: A generator with a fixed seed; all jitter is drawn from it.
    """

    reschedule: Callable[[], None] | None = None
    lock = staticmethod(threading.Lock)

    def __init__(
        self,
        start: dt.datetime = _EPOCH,
        *,
        auto_advance: bool = False,
        stall_timeout: float = 5.0,
        hard_timeout: float = 120.0,
        max_events_per_instant: int = 100_000,
        freezer: Freezer | None = None,
        strict_leaks: bool = True,
    ) -> None:
        if start.tzinfo is None:
            message = f"start must be an aware datetime, got {start!r}; give it tzinfo"
            raise ValueError(message)
        self.rng = random.Random(0)
        self._start = start.astimezone(dt.UTC)
        self._freezer = freezer
        self._strict_leaks = strict_leaks
        self._kernel = Kernel(
            stall_timeout=stall_timeout,
            hard_timeout=hard_timeout,
            max_events=max_events_per_instant,
            auto_advance=auto_advance,
        )
        self._calls = VirtualQueue(self._kernel)
        self._kernel.on_call = self._calls.give
        self._kernel.on_move = self._move_freezer
        self._timer_thread: EnrolledThread | None = None
        self._threads: list[EnrolledThread] = []
        self._errors: list[BaseException] = []
        self._monitor = Monitor(self._kernel)
        self._scope = contextlib.ExitStack()

    # -- reading

    def now(self) -> dt.datetime:
        """See :meth:`actors.clock.Clock.now`."""
        return self._start + dt.timedelta(microseconds=self._kernel.now // 1000)

    def monotonic(self) -> float:
        """See :meth:`actors.clock.Clock.monotonic`; 0.0 at first."""
        return self._kernel.now / NANO

    def next_deadline(self) -> float | None:
        """Seconds until the next timer, ``None`` if there is none."""
        with self._kernel:
            due = self._kernel.timers.first_due()
            return None if due is None else (due - self._kernel.now) / NANO

    def report(self) -> str:
        """Who runs, who waits where, what is due: text for a person."""
        return self._kernel.report()

    def __repr__(self) -> str:
        return f"<VirtualClock at {self.monotonic():g} s>"

    # -- the life of the clock

    def __enter__(self) -> VirtualClock:
        if self._kernel.open:
            message = "a virtual clock is entered once; make a new one for each test"
            raise ClockError(message)
        with self._kernel:
            self._kernel.enrol_main()
        self._scope.enter_context(ambient(self))
        self._monitor.start()
        self._scope.callback(self._monitor.stop)
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
            own = (kernel.main, self._timer_thread and self._timer_thread.task)
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
            task = self._kernel.current()
            self._kernel.acquire()
            self._kernel.park(task, f"sleep({seconds:g})", None, nanoseconds(seconds))
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
        """See :meth:`actors.clock.Clock.thread`."""
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
        kernel = self._kernel
        first = None
        with kernel:
            if self._timer_thread is None:
                first = self._timer_thread = self.thread(
                    self._run_calls, name="virtual-clock-timers", daemon=True
                )
                first.enrol()
            when = kernel.now + nanoseconds(delay)
            handle = TimerHandle(when / NANO, fn, args, self)
            kernel.arm(when, handle, kernel.find())
        if first is not None:
            first.begin()
        return handle

    def cancel_timer(self, handle: TimerHandle) -> bool:
        """Serve :meth:`actors.clock.TimerHandle.cancel`."""
        with self._kernel:
            if handle.disarm() is None:
                return False
            self._kernel.timers.forget()
            return True

    def _run_calls(self) -> None:
        while True:
            fn, args = self._calls.get()
            try:
                fn(*args)
            except ClockClosed:
                raise
            except BaseException as error:  # noqa: BLE001  # raised from advance()
                self._errors.append(error)
            del fn, args

    # -- driving

    def settle(self) -> None:
        """Wait until nothing can run without time moving; fire what is due now."""
        self._drive("settle()", self._kernel.now)

    def advance(self, seconds: float) -> None:
        """Move time on, stopping at every deadline until nothing can run there.

        Args:
            seconds: How far; zero only settles.

        Raises:
            Stalled: If some thread does not come to a wait that the clock sees.
            Livelock: If timers fire without end at one instant.
        """
        if seconds < 0:
            message = f"time cannot go back, got {seconds}; advance by 0 or more"
            raise ValueError(message)
        self._drive(f"advance({seconds:g})", self._kernel.now + nanoseconds(seconds))

    def advance_to(self, when: dt.datetime | float) -> None:
        """Move time on to a moment, in the terms of ``now()`` or of ``monotonic()``."""
        if isinstance(when, dt.datetime):
            goal = (when - self._start) // dt.timedelta(microseconds=1) * 1000
        else:
            goal = round(when * NANO)
        if goal < self._kernel.now:
            message = f"time cannot go back from {self.monotonic()} s to {goal / NANO}"
            raise ValueError(message)
        self._drive(f"advance_to({when})", goal)

    def step(self) -> bool:
        """Settle, then move to the next deadline and settle; False if there is none."""
        self.settle()
        with self._kernel:
            due = self._kernel.timers.first_due()
        if due is None:
            return False
        self._drive("step()", due)
        return True

    def run_until(self, predicate: Callable[[], Any], within: float = 3600.0) -> float:
        """Step until ``predicate()`` holds while nothing can run.

        Args:
            predicate: Asked on this thread, at the beginning and after each step.
            within: Virtual seconds it may take.

        Returns:
            The moment at which it held, as ``monotonic()``.

        Raises:
            Deadlock: If it does not hold and no timer is left.
            TimeoutError: If it did not come to hold in time.
        """
        end = self._kernel.now + nanoseconds(within)
        self.settle()
        while not predicate():
            with self._kernel:
                due = self._kernel.timers.first_due()
            if due is None:
                message = f"no timer is left and it does not hold\n{self.report()}"
                raise Deadlock(message)
            if due > end:
                message = f"does not hold after {within:g} virtual s\n{self.report()}"
                raise TimeoutError(message)
            self._drive("run_until()", due)
        return self.monotonic()

    def _drive(self, doing: str, goal: int) -> None:
        self._kernel.drive(doing, goal)
        if self._errors:
            error, *others = self._errors
            self._errors.clear()
            for other in others:
                error.add_note(f"another timer callback failed too: {other!r}")
            raise error

    def _move_freezer(self) -> None:
        try:
            if self._freezer is not None:
                self._freezer.move_to(self.now())
        except Exception as error:  # noqa: BLE001  # foreign; raised from advance()
            self._errors.append(error)
