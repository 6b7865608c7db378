"""A ``concurrent.futures`` executor whose calls take virtual time.

Real pools finish in any order and in real time.  This one stands in for them: what it
runs takes as long as the test says, and ends in the same order each time.

:Runs on: ``submit``, ``map`` and ``shutdown`` on any thread that the clock knows; calls
    and done-callbacks on the executor's own threads.
:Owns: those threads, and the calls that wait for one.
:Guards: ``_lock`` guards ``_waiting``, ``_threads``, ``_started`` and ``_closed``.
:Blocks: ``shutdown(wait=True)``, until all has ended; the results of ``map``.
:Order: calls begin in the order in which they were submitted.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from actors import _cpu_child
from actors.clock import SYSTEM_CLOCK, ambient_clock, raw_lock
from actors.testing.errors import ClockClosed, ClockError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator

    from actors.clock import Clock

__all__ = ["VirtualExecutor"]


class VirtualExecutor(concurrent.futures.Executor):
    """Runs calls on threads of a virtual clock, each after a wait of its duration.

    A call sleeps its duration on the clock, then runs its function, which may itself
    wait on the clock, and sets its future.  There are no idle threads: what is not shut
    down leaves nothing behind once its calls have ended.

    Wait for the results by ``future.result()``, ``map`` or ``shutdown``:
    ``concurrent.futures.wait`` and ``as_completed`` wait where no clock sees it.

    It also is an engine for a pipeline: ``Pipeline(..., cpu_workers=VirtualExecutor(
    max_workers=2))``.  Give ``max_workers`` there, for the pipeline has as many cpu
    workers, and else as many as the machine has cores.

    Args:
        clock: Whose time it is; the ambient virtual clock by default.
        duration: Seconds that each call takes, or a callable of ``(fn, args, kwargs)``
            that says so for one call, on the thread that is to run it.  What it raises
            the call fails with.  Of a pipeline's job it sees the job's own function.
        max_workers: How many calls run at once; ``None`` for no limit.

    Raises:
        ClockError: If there is no virtual clock around and none is given.
        ValueError: If ``duration`` is below 0 or ``max_workers`` below 1.

    Attributes:
        clock: Whose time it is.  A pipeline on the same clock lets time go on while a
            call runs here; for any other executor it has time stand still.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        duration: float | Callable[[Any, tuple[Any, ...], dict[str, Any]], float] = 0.0,
        max_workers: int | None = None,
    ) -> None:
        if clock is None:
            clock = ambient_clock()
            if clock is SYSTEM_CLOCK:
                message = (
                    "there is no virtual clock here; make the executor inside "
                    "`with VirtualClock()`, or give it clock="
                )
                raise ClockError(message)
        if max_workers is not None and max_workers < 1:
            message = f"max_workers must be at least 1 or None, got {max_workers}"
            raise ValueError(message)
        if not callable(duration):
            _check_duration(duration)
        self.clock = clock
        self._duration = duration
        self._max_workers = max_workers  # The name by which pipelines know it.
        # Guards the fields below.  Held for O(1); nothing is called inside.
        self._lock = raw_lock()
        self._waiting: deque[_Call] = deque()
        # Invariant: a thread leaves it in the section that finds nothing waiting.
        self._threads: dict[int, threading.Thread] = {}
        self._started = 0
        self._closed = False

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[Any]:
        """Run ``fn(*args, **kwargs)`` on a thread of the clock; never waits.

        Returns:
            A future whose waits are the clock's.  It can be cancelled until the call's
            duration has begun.

        Raises:
            RuntimeError: After ``shutdown``.
        """
        call = _Call(self.clock.future(), fn, args, kwargs)
        with self._lock:
            if self._closed:
                message = "cannot schedule new futures after shutdown"
                raise RuntimeError(message)
            self._waiting.append(call)
            if len(self._threads) == self._max_workers:
                return call.future
            self._started += 1
            number = self._started
            thread = self.clock.thread(
                self._work, name=f"executor-{number}", daemon=True, args=(number,)
            )
            self._threads[number] = thread
        thread.start()
        return call.future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,  # noqa: ARG002  # the calls are not shipped
    ) -> Iterator[Any]:
        """See :meth:`concurrent.futures.Executor.map`; ``timeout`` is virtual time."""
        end = None if timeout is None else self.clock.monotonic() + timeout
        futures = deque(
            self.submit(fn, *args) for args in zip(*iterables, strict=False)
        )
        return self._results(futures, end)

    def _results(
        self, futures: deque[concurrent.futures.Future[Any]], end: float | None
    ) -> Iterator[Any]:
        try:
            while futures:
                left = None if end is None else end - self.clock.monotonic()
                value = futures[0].result(left)
                del futures[0]
                yield value
                del value
        finally:
            for future in futures:
                future.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  # the signature of the standard library
        """Take no more calls.

        Args:
            wait: Wait, in virtual time, until all calls have ended.
            cancel_futures: Cancel the calls that have not begun.
        """
        with self._lock:
            self._closed = True
            dropped = tuple(self._waiting) if cancel_futures else ()
            if dropped:
                self._waiting.clear()
            threads = tuple(self._threads.values())
        for call in dropped:
            call.future.cancel()
            call.future.set_running_or_notify_cancel()
        if wait:
            for thread in threads:
                self.clock.join(thread)

    # -- on the executor's threads

    def _work(self, number: int) -> None:
        while (call := self._next(number)) is not None:
            self._run(call)
            del call

    def _next(self, number: int) -> _Call | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            del self._threads[number]
            return None

    def _run(self, call: _Call) -> None:
        future = call.future
        if not future.set_running_or_notify_cancel():
            return
        try:
            self.clock.sleep(self._length(call))
            value = call.fn(*call.args, **call.kwargs)
        except ClockClosed:
            raise
        except BaseException as error:  # noqa: BLE001  # the call's: to its future
            future.set_exception(error)
        else:
            future.set_result(value)

    def _length(self, call: _Call) -> float:
        if not callable(self._duration):
            return self._duration
        return _check_duration(self._duration(*_told(call)))


class _Call(NamedTuple):
    future: concurrent.futures.Future[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def _check_duration(duration: float) -> float:
    if not duration >= 0:
        message = f"duration must be seconds of at least 0, got {duration}"
        raise ValueError(message)
    return duration


def _told(call: _Call) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The call as the test knows it: a pipeline packs its jobs into bytes."""
    if call.fn is _cpu_child.trampoline:
        with contextlib.suppress(Exception):  # it will fail in its own words
            return _cpu_child._unpack_call(call.args[0])[1]  # noqa: SLF001  # ours
    return call.fn, call.args, call.kwargs
