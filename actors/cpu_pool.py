"""Processes for cpu jobs, one for each thread that drives one.

Nothing is shared between two processes, no queue, no lock, no semaphore: a process that
dies, however it dies, costs exactly the call it had in hand, a timeout or a cancel
kills one process and disturbs no other, and the next call starts a new one.

``_cpu_process`` drives one process, ``_cpu_link`` starts and ends it, ``_cpu_child`` is
what runs inside, and ``_foreign_engine`` puts any other executor in their place.

:Runs on: ``submit``, ``lend`` and ``shutdown`` on any thread; calls are driven, and
    done-callbacks run, on threads of the pool's own, one for each process.
:Owns: the pool's threads and processes, and the calls that wait for one.
:Guards: ``_Core.lock`` guards all of ``_Core``.
:Blocks: ``shutdown``, until the accepted calls have ended, unless told not to wait.
"""

from __future__ import annotations

import atexit
import itertools
import os
import weakref
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, TypeVar

from actors._cpu_link import check_start
from actors._cpu_process import CpuProcess
from actors._engine import Engine, Outcome
from actors._foreign_engine import ExecutorEngine, ForeignExecutor, usable_cores
from actors._pickling import dumps_call
from actors.clock import ClockFuture, Empty, ambient_clock
from actors.errors import (
    Cancelled,
    ConfigurationError,
    HeadraceError,
    MailboxClosed,
    UsedAfterFork,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from actors.clock import Clock

__all__ = [
    "CpuPool",
    "CpuProcess",
    "Engine",
    "ExecutorEngine",
    "ForeignExecutor",
    "Outcome",
    "dumps_call",
    "usable_cores",
]

T = TypeVar("T")


class CpuPool(Executor):
    """A ``concurrent.futures.Executor`` of worker processes.

    Processes start when calls need them.  ``cancel()`` of a future whose call runs
    kills the call's process and is then true.  Errors in arguments arrive in the
    future.  Given to a pipeline as ``cpu_workers`` it lends one process to each cpu
    worker.

    Args:
        max_workers: At most so many processes; one for each usable core by default.
        initializer: Called once in each new process.
        initargs: Its arguments.
        start_method: Only ``"exec"``: a fresh interpreter.
        clock: Makes the threads and futures; the ambient one by default.
        name: For the names of threads and processes.

    Raises:
        ConfigurationError: If ``max_workers`` or ``start_method`` is not allowed.
        JobNotPicklable: If the initializer or its arguments cannot travel.

    Example:
        >>> import math
        >>> with CpuPool(2) as pool:
        ...     list(pool.map(math.factorial, [3, 5]))
        [6, 120]
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        start_method: str = "exec",
        clock: Clock | None = None,
        name: str | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = usable_cores()
        if max_workers <= 0:
            message = "max_workers must be greater than 0"
            raise ConfigurationError(message)
        check_start(initializer, start_method)
        if initializer is not None:
            dumps_call(initializer, initargs, {})
        self._max_workers = max_workers
        self._clock = ambient_clock() if clock is None else clock
        self._name = name or "cpu-pool"
        self._options: dict[str, Any] = {
            "initializer": initializer,
            "initargs": initargs,
            "clock": self._clock,
        }
        self._core = _Core(self._clock)
        self._lent: list[CpuProcess] = []
        _open[next(_made)] = self._core
        # No reference, no new call: what was accepted runs, then the threads end.  A
        # finaliser takes no lock; it leaves a note for a thread that reads.
        weakref.finalize(self, self._core.queue.put, None).atexit = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` in a process.

        Returns:
            Its future; an argument that cannot travel is an error in it.

        Raises:
            MailboxClosed: After ``shutdown``.
        """
        core = self._core
        core.refuse_forked_copy()
        future = _PoolFuture(self._clock)
        try:
            future.call = dumps_call(fn, args, kwargs)
        except HeadraceError as error:
            future.set_exception(error)
            return future
        with core.lock:
            if core.closed:
                message = "cannot schedule new futures after shutdown"
                raise MailboxClosed(message)
            core.waiting += 1
            number = len(core.threads)
            if core.waiting > core.idle and number < self._max_workers:
                self._start_thread(number)
            core.queue.put(future)
        return future

    def _start_thread(self, number: int) -> None:
        """Start one more thread; without one more the others do its work."""
        name = f"{self._name}-{number}"
        process = CpuProcess(name=name, **self._options)
        thread = self._clock.thread(
            _drive, name=name, daemon=True, args=(self._core, process)
        )
        try:
            thread.start()
        except RuntimeError:
            if not number:
                self._core.waiting -= 1
                raise
        else:
            self._core.threads.append(thread)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Accept no more calls; those accepted run to their end.

        Processes that were lent stay their borrowers' to close.

        Args:
            wait: Wait until all of them have ended and the processes are gone.
            cancel_futures: Cancel the calls that no process has begun.
        """
        core = self._core
        core.refuse_forked_copy()
        with core.lock:
            core.closed = True
        if cancel_futures:
            core.cancel_waiting()
        core.queue.put(None)
        if wait:
            core.wait_ended()

    def lend(self, *, name: str | None = None) -> CpuProcess:
        """Make a process with this pool's options for somebody who drives it.

        The borrower closes it.  Calls that are submitted to the pool itself have
        processes of their own.

        Args:
            name: For logs and errors.

        Raises:
            ConfigurationError: If ``max_workers`` processes are lent and not closed.
            MailboxClosed: After ``shutdown``.
        """
        core = self._core
        with core.lock:
            self._lent = [process for process in self._lent if not process.closed]
            number = len(self._lent)
            if core.closed:
                message = "cannot lend a process after shutdown"
                raise MailboxClosed(message)
            if number >= self._max_workers:
                message = (
                    f"all {number} processes of {self._name} are lent; close one, or "
                    "make the pool with a larger max_workers"
                )
                raise ConfigurationError(message)
            name = name or f"{self._name}-lent-{number}"
            process = CpuProcess(name=name, **self._options)
            self._lent.append(process)
        return process


class _PoolFuture(ClockFuture):
    """The future of one call; cancelling it kills the call's process."""

    call = b""
    process: CpuProcess | None = None

    def cancel(self) -> bool:
        """Give the call up; True if it will not complete."""
        if super().cancel():
            return True
        process = self.process
        if process is None or not process.kill("future cancelled", call=self.call):
            return self.cancelled()
        self.become_cancelled()
        return True

    def run_in(self, process: CpuProcess) -> None:
        """Run the call and complete the future; the process's driving thread."""
        self.process = process
        if not self.set_running_or_notify_cancel():
            return
        try:
            outcome = process.run(self.call)
        except BaseException as error:  # noqa: BLE001  # ours; nobody else would tell
            self.set_exception(error)
            return
        self.process, self.call = None, b""
        if outcome.ok:
            self.set_result(outcome.value)
        elif isinstance(outcome.error, Cancelled):
            self.become_cancelled()
        else:
            self.set_exception(outcome.error)

    def become_cancelled(self) -> None:
        """Be cancelled though the call had begun; a second call does nothing."""
        with self._condition:
            if self._state != "RUNNING":
                return
            self._state = "CANCELLED_AND_NOTIFIED"
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]  # not in typeshed


class _Core:
    """What the threads of a pool share, so that they need no reference to the pool."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.queue = clock.queue()  # futures, and None at the end
        self.home = os.getpid()
        # Guards the fields below, and keeps None behind every future in the queue.
        self.lock = clock.lock()
        self.threads: list[threading.Thread] = []
        self.waiting = 0  # futures in the queue
        self.idle = 0  # threads that wait for one
        self.closed = False

    def take(self) -> _PoolFuture | None:
        """Wait for the next future; None at the end."""
        with self.lock:
            self.idle += 1
        future: _PoolFuture | None = self.queue.get()
        with self.lock:
            self.idle -= 1
            self.waiting -= future is not None
        return future

    def cancel_waiting(self) -> None:
        """Cancel what no thread has taken."""
        try:
            while True:
                future = self.queue.get_nowait()
                if future is not None:
                    with self.lock:
                        self.waiting -= 1
                    future.cancel()
                    future.set_running_or_notify_cancel()
        except Empty:
            return

    def wait_ended(self) -> None:
        """Wait for the threads, which close their processes."""
        with self.lock:
            threads = list(self.threads)
        for thread in threads:
            self.clock.join(thread)

    def refuse_forked_copy(self) -> None:
        """Raise in a forked copy of the process, which has no threads."""
        if os.getpid() != self.home:
            message = (
                f"the pool belongs to process {self.home} and was used in its forked "
                f"copy {os.getpid()}; make a new one there"
            )
            raise UsedAfterFork(message)


def _drive(core: _Core, process: CpuProcess) -> None:
    """Run calls in one process until the end."""
    try:
        while (future := core.take()) is not None:
            future.run_in(process)
            del future
        core.queue.put(None)  # for the next thread
    finally:
        process.close()


_made = itertools.count()
_open: weakref.WeakValueDictionary[int, _Core] = weakref.WeakValueDictionary()


def _drain_at_exit() -> None:
    """Let the accepted calls end before the interpreter does, as the standard does."""
    for core in list(_open.values()):  # in the order in which they were made
        if core.home == os.getpid():
            with core.lock:
                core.closed = True
            core.queue.put(None)
            core.wait_ended()


atexit.register(_drain_at_exit)
