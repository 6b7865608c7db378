"""Threads that a virtual clock knows.

:Runs on: ``start`` and ``join`` on any thread; ``run`` on the new one.
:Owns: the tie between a thread and its task.
:Guards: tasks are guarded by the kernel's lock.
:Blocks: ``join``, in virtual time, until the thread has ended.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any

from actors.clock import _ambient
from actors.testing.errors import ClockClosed, ClockError
from actors.testing.task import DEAD, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from actors.clock import Clock
    from actors.testing.kernel import Kernel
    from actors.testing.task import Task

__all__ = ["EnrolledThread", "enrolled"]


@contextlib.contextmanager
def enrolled(clock: Clock, kernel: Kernel, name: str) -> Iterator[None]:
    """Make the calling thread known to a clock for a block."""
    if kernel.find() is not None:
        message = "this thread is enrolled already"
        raise ClockError(message)
    with kernel:
        task = kernel.enrol(name, foreign=True)
        kernel.adopt(task)
    token = _ambient.set(clock)
    try:
        kernel.resume(task)
        yield
    finally:
        _ambient.reset(token)
        kernel.retire(task)


class EnrolledThread(threading.Thread):
    """A thread that the clock knows from before its start to its last line.

    It is always a daemon: the clock itself sees to it that it ends, or says that it
    does not.

    Attributes:
        task: What the clock has of it; ``None`` before its start.
        asked_daemon: What it would be on a real clock.
    """

    def __init__(
        self,
        clock: Clock,
        kernel: Kernel,
        target: Callable[..., object],
        *,
        name: str | None,
        daemon: bool,
        args: Sequence[Any],
    ) -> None:
        # One that is stuck would keep the process alive after the last test.
        super().__init__(target=target, name=name, daemon=True, args=args)
        self.asked_daemon = daemon
        self._clock = clock
        self._kernel = kernel
        self.task: Task | None = None

    def start(self) -> None:
        """Start it; it counts as running from here, before it exists."""
        with self._kernel:
            self.enrol()
        self.begin()
        self._kernel.reschedule()

    def enrol(self) -> None:
        """Count the thread as running; in a section of the kernel."""
        if self.task is None:
            self.task = self._kernel.enrol(self.name)
            self.task.thread = self

    def begin(self) -> None:
        """Start an enrolled thread."""
        task = self.task
        try:
            super().start()
        except BaseException:
            with self._kernel:
                if task is not None and task.ident is None:
                    self._kernel.forget(task)
                    self.task = None
            raise

    def run(self) -> None:
        """Run the target under the clock."""
        task = self.task
        with self._kernel:
            if task is None or task.state == DEAD:
                return  # a signal handler broke off its start
            self._kernel.adopt(task)
        _ambient.set(self._clock)
        try:
            self._kernel.resume(task)
            super().run()
        except ClockClosed:
            pass
        except BaseException:  # noqa: BLE001  # told as threading tells it, in turn
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), self)))
        finally:
            self._kernel.retire(task)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, in virtual time if the caller is enrolled."""
        me, task, kernel = self._kernel.find(), self.task, self._kernel
        if me is not None and task is not None and me is not task:
            limit = None if timeout is None else nanoseconds(timeout)
            kernel.acquire()
            if task.state == DEAD:
                kernel.release()
            elif limit == 0:
                kernel.release()
                kernel.reschedule(give_way=True)
                return
            elif not kernel.park(me, f"join({task.name})", task.joiners, limit):
                return
            timeout = None  # what is left of it are its last few bytecodes
        super().join(timeout)
