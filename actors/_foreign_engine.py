"""Any other ``concurrent.futures`` executor in the place of our own processes.

Only bytes go in and only bytes come out, so no argument, result or exception that does
not pickle can break it.  What it cannot do stays so: a call that has begun there is not
killed by a timeout or a cancel, it is left behind.

:Runs on: ``run`` on the one thread that drives an engine, ``kill`` and ``close`` on
    any; done-callbacks come on the executor's own threads and only wake ``run``.
:Owns: the executors that a factory made.
:Guards: ``ForeignExecutor._lock`` guards ``_executor`` and ``_users``, and is held
    while a factory runs; ``ExecutorEngine._lock`` guards the call in hand.
:Blocks: ``run``, until the call ends, its timeout passes or its token is cancelled.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import BrokenExecutor, CancelledError, Executor
from typing import TYPE_CHECKING, Any

from actors import _cpu_child
from actors._engine import Outcome
from actors._pickling import pack_call, read_reply
from actors.clock import Empty, ambient_clock
from actors.errors import Cancelled, ConfigurationError, JobTimeout, WorkerDied

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from actors.clock import Clock, WakeQueue
    from actors.stop_token import StopToken

__all__ = ["ExecutorEngine", "ForeignExecutor", "usable_cores"]


def usable_cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


class ForeignExecutor:
    """Somebody else's executor, shared by the engines over it.

    Args:
        source: An executor, which stays its owner's to shut down and cannot be
            replaced; or a callable that makes one, called again when it breaks.
        clock: Makes the lock; the ambient one by default.

    Raises:
        ConfigurationError: If ``source`` is neither.
    """

    def __init__(
        self,
        source: Executor | Callable[[], Executor],
        *,
        clock: Clock | None = None,
    ) -> None:
        given = isinstance(source, Executor)
        if not given and not callable(source):
            message = (
                "cpu_workers must be a number, a concurrent.futures.Executor or a "
                f"callable that makes one, got {source!r}"
            )
            raise ConfigurationError(message)
        self._factory: Callable[[], Executor] | None = None if given else source  # type: ignore[assignment]  # narrowed above
        # Guards _executor and _users.  Held while the factory runs, which may be long.
        self._lock = (ambient_clock() if clock is None else clock).lock()
        self._executor: Executor | None = source if given else None  # type: ignore[assignment]  # narrowed above
        self._users = 0

    @property
    def max_workers(self) -> int:
        """How many calls it runs at once: what it says, else the usable cores."""
        said = getattr(self.current(), "_max_workers", None)
        return said if isinstance(said, int) and said > 0 else usable_cores()

    def current(self) -> Executor:
        """The executor, made now if there is none."""
        with self._lock:
            if self._executor is None:
                assert self._factory is not None
                self._executor = self._factory()
            return self._executor

    def replace(self, broken: Executor) -> bool:
        """Drop an executor that is broken or shut down; the next call makes another.

        Returns:
            False if there is no factory to make another.
        """
        if self._factory is None:
            return False
        with self._lock:
            mine = self._executor is broken
            if mine:
                self._executor = None
        if mine:
            with contextlib.suppress(Exception):  # it is broken; what could it say
                broken.shutdown(wait=False)
        return True

    def attach(self) -> None:
        """Count one more engine."""
        with self._lock:
            self._users += 1

    def detach(self) -> None:
        """Count one engine less; the last one shuts down what the factory made."""
        with self._lock:
            self._users -= 1
            if self._users or self._factory is None:
                return
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True)


class ExecutorEngine:
    """Runs one call at a time on an executor that is not ours.

    Args:
        source: An executor, a callable that makes one, or a :class:`ForeignExecutor`
            that several engines share.
        clock: Timeouts are measured on it; the ambient one by default.
        name: For errors.

    Raises:
        ConfigurationError: If ``source`` is none of them.
    """

    kills = False
    pid: int | None = None

    def __init__(
        self,
        source: Executor | Callable[[], Executor] | ForeignExecutor,
        *,
        clock: Clock | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or "executor"
        self._clock = ambient_clock() if clock is None else clock
        if not isinstance(source, ForeignExecutor):
            source = ForeignExecutor(source, clock=self._clock)
        self._source = source
        # Guards the fields below; held for O(1).
        self._lock = self._clock.lock()
        self._wake: WakeQueue | None = None
        self._call: bytes | None = None
        self._future: Future[bytes] | None = None
        self._closed = False
        source.attach()

    def __enter__(self) -> ExecutorEngine:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def run(
        self,
        call: bytes,
        *,
        timeout: float | None = None,
        token: StopToken | None = None,
        meta: dict[str, Any] | None = None,
    ) -> Outcome:
        """Run one call on the executor and wait for its end.

        Args:
            call: What ``dumps_call`` made.
            timeout: Seconds until the call is left behind and the outcome is
                ``JobTimeout``; waiting for a place in the executor counts.
            token: When it is cancelled the call is left behind and the outcome is
                ``Cancelled``.
            meta: Plain data for ``current_job()`` inside the call.

        Returns:
            The outcome; what the call raised is in it.
        """
        wake = self._clock.queue()
        with self._lock:
            closed = self._closed
            self._wake, self._call = wake, call
        if closed:
            wake.put(f"{self.name} is closed")
        if token is not None:
            token.add_waiter(wake)
        began = self._clock.monotonic()
        try:
            ended = self._run(wake, pack_call(call, None, meta), timeout, token)
        finally:
            if token is not None:
                token.remove_waiter(wake)
            with self._lock:
                self._wake = self._call = self._future = None
        return Outcome(*ended, self._clock.monotonic() - began, None)

    def _run(
        self,
        wake: WakeQueue,
        frame: bytes,
        timeout: float | None,
        token: StopToken | None,
    ) -> tuple[bool, Any, BaseException | None]:
        if not wake.empty():  # closed or cancelled before it began
            return False, None, Cancelled(_reason(wake.get(), token))
        try:
            executor, future = self._submit(frame)
        except Exception as error:  # noqa: BLE001  # the executor's, or its factory's
            return False, None, _failed("takes no job", error)
        with self._lock:
            self._future = future
        future.add_done_callback(wake.put)
        try:
            with self._hold(executor):
                said = wake.get(timeout=timeout)
        except Empty:
            future.cancel()
            text = (
                f"the job ran longer than its timeout of {timeout:g} s; its executor "
                "cannot kill it, so it was left behind"
            )
            return False, None, JobTimeout(text)
        if said is not future:
            future.cancel()
            return False, None, Cancelled(_reason(said, token))
        return self._read(executor, future)

    def _hold(self, executor: Executor) -> AbstractContextManager[Any]:
        """Have virtual time wait for a call that its clock cannot see."""
        if getattr(executor, "clock", None) is self._clock:
            return contextlib.nullcontext()  # it runs on this very clock
        return self._clock.hold("a call runs in another executor")

    def _submit(self, frame: bytes) -> tuple[Executor, Future[bytes]]:
        executor = self._source.current()
        try:
            return executor, executor.submit(_cpu_child.trampoline, frame)
        except RuntimeError:  # broken, or shut down; the job has not begun
            if not self._source.replace(executor):
                raise
        executor = self._source.current()
        return executor, executor.submit(_cpu_child.trampoline, frame)

    def _read(
        self, executor: Executor, future: Future[bytes]
    ) -> tuple[bool, Any, BaseException | None]:
        try:
            return read_reply(future.result())
        except CancelledError:
            return False, None, Cancelled("the executor cancelled the job")
        except BrokenExecutor as error:
            rebuilt = self._source.replace(executor)
            text = "broke while it ran the job, by this job or by another one"
            text += (
                "; a new one is made" if rebuilt else "; give a factory to rebuild it"
            )
            return False, None, _failed(text, error)
        except Exception as error:  # noqa: BLE001  # a job's own never leaves it
            return False, None, _failed("failed while it ran the job", error)

    def kill(self, reason: str = "killed", *, call: bytes | None = None) -> bool:
        """Take back the call in hand, if the executor has not begun it.

        Args:
            reason: Becomes the text of ``Cancelled``.
            call: Only if this very call is in hand.

        Returns:
            True if the call will not run.  False if there is none, or it has begun: the
            executor cannot end it.
        """
        with self._lock:
            wake, future = self._wake, self._future
            other = call is not None and self._call is not call
        if wake is None or future is None or other or not future.cancel():
            return False
        wake.put(reason)
        return True

    def close(self) -> None:
        """Leave the call in hand behind, and the executor, if no other engine uses it.

        Thread safety:
            Any thread.

        Blocks:
            While an executor that a factory made is shut down.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            wake = self._wake
        if wake is not None:
            wake.put(f"{self.name} was closed")
        self._source.detach()


def _reason(said: Any, token: StopToken | None) -> Any:
    """What a wake-up says: a text, or None from the token."""
    return said if said is not None or token is None else token.reason


def _failed(what: str, error: Exception) -> WorkerDied:
    text = f"the executor {what} ({type(error).__name__}: {error})"
    failure = WorkerDied(text)
    failure.__cause__ = error
    return failure
