"""The calls that a virtual clock makes later, on one lazily started thread.

:Runs on: ``call_later`` and ``cancel_timer`` on any thread; the calls on one thread of
    the clock's own.
:Owns: that thread, and the queue of what is due.
:Guards: the kernel's lock guards ``_thread`` and the handles.
:Blocks: nothing but the thread, until the next call is due.
:Order: by deadline, then as :class:`actors.testing.task.Timers` has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.clock import ClockClosed, TimerHandle
from actors.testing.primitives import VirtualQueue
from actors.testing.task import NANO, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.testing.kernel import Kernel
    from actors.testing.task import Task
    from actors.testing.threads import EnrolledThread
    from actors.testing.virtual_clock import VirtualClock

__all__ = ["TimerCalls"]


class TimerCalls:
    """Serves ``call_later`` of one clock.

    Args:
        clock: Makes the thread.
        kernel: Has the time.
        errors: What calls raise is added to it.
    """

    def __init__(
        self, clock: VirtualClock, kernel: Kernel, errors: list[BaseException]
    ) -> None:
        self._clock = clock
        self._kernel = kernel
        self._errors = errors
        self._due = VirtualQueue(kernel)
        self._thread: EnrolledThread | None = None
        kernel.on_call = self._due.give

    @property
    def task(self) -> Task | None:
        """What the clock has of the thread; ``None`` before its start."""
        return None if self._thread is None else self._thread.task

    def call_later(
        self, delay: float, fn: Callable[..., object], args: Sequence[Any]
    ) -> TimerHandle:
        """See :meth:`actors.clock.Clock.call_later`."""
        kernel = self._kernel
        wait = nanoseconds(delay)
        first = None
        with kernel:
            if self.task is None:
                first = self._thread = self._clock.thread(
                    self._run, name="virtual-clock-timers", daemon=True
                )
                first.enrol()
            when = kernel.now + wait
            handle = TimerHandle(when / NANO, fn, args, self)
            kernel.arm(when, handle, kernel.find())
        if first is not None:
            try:
                first.begin()
            except BaseException:
                handle.cancel()
                raise
        return handle

    def cancel_timer(self, handle: TimerHandle) -> bool:
        """Serve :meth:`actors.clock.TimerHandle.cancel`."""
        with self._kernel:
            if handle.disarm() is None:
                return False
            self._kernel.timers.forget()
            return True

    def _run(self) -> None:
        while True:
            fn, args = self._due.get()
            try:
                fn(*args)
            except ClockClosed:
                raise
            except BaseException as error:  # noqa: BLE001  # raised from advance()
                self._errors.append(error)
            del fn, args
