"""The reply to an ask: a Pykka future whose waits are the clock's.

:Runs on: any thread; ``settle`` and ``set`` on the one that has the answer.
:Owns: one value or exception, and the wake queues of the threads that wait for it.
:Guards: ``_lock`` guards ``_result``, ``_get_hook`` and ``_wakes``.
:Blocks: ``get``, until there is a result or the timeout.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import pykka

from actors._unread import guard
from actors.clock import Empty, Full, ambient_clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import TypeAlias

    from actors._unread import Unread
    from actors.clock import Clock

    ExcInfo: TypeAlias = tuple[
        type[BaseException] | None, BaseException | None, TracebackType | None
    ]

__all__ = ["Reply", "complete", "fail_asker"]

logger = logging.getLogger("headrace.future")

T = TypeVar("T")

_UNSET: Any = object()


class Reply(pykka.ThreadingFuture[T]):
    """What an ask returns; it is completed exactly once.

    It is a ``pykka.ThreadingFuture`` to whoever holds it.  A second ``set`` raises, as
    Pykka's does; the actor's own thread uses ``settle``, which lets the first win.

    Args:
        clock: Whose time ``get`` waits in; the ambient clock by default.
        awaited: The thread that makes it will wait for it: what it waits on is made
            now, for between the question and the wait every microsecond counts: the
            actor's thread is awake already.
    """

    _unread: Unread | None = None  # here, for few have one

    def __init__(self, clock: Clock | None = None, *, awaited: bool = False) -> None:
        # Not super().__init__(): Pykka's condition is not the clock's, and costs more
        # than everything else here together.
        self._clock = ambient_clock() if clock is None else clock
        self._lock = self._clock.lock()
        self._maker_waits_on = self._clock.queue() if awaited else None
        self._wakes = [] if self._maker_waits_on is None else [self._maker_waits_on]
        self._value: Any = _UNSET
        self._exc_info: ExcInfo | None = None
        self._get_hook = None
        self._hook_lock: Any = None
        self._hook_value: Any = _UNSET

    def get(self, *, timeout: float | None = None) -> Any:
        """Return the value, or raise the exception, when it is there.

        Args:
            timeout: Seconds on the clock; ``None`` waits as long as it takes.

        Raises:
            pykka.Timeout: If there is no result after ``timeout``.
        """
        while self._value is _UNSET and self._get_hook is None:
            self._wait(timeout)  # it may end early, after an interrupt
        if self._get_hook is not None:
            return self._call_hook(self._get_hook, timeout)
        if self._exc_info is None:
            return self._value
        if self._unread is not None:
            self._unread.read()
        exc_type, error, traceback = self._exc_info
        if error is None:
            assert exc_type is not None
            error = exc_type()
        try:
            if error.__traceback__ is not traceback:
                # Not its own, which a class may have overridden.
                raise BaseException.with_traceback(error, traceback)
            raise error
        finally:  # it holds this frame now
            del self, error, traceback

    def _wait(self, timeout: float | None) -> None:
        """Return once there is a result or a hook."""
        wake, self._maker_waits_on = self._maker_waits_on, None
        if wake is None:
            with self._lock:
                if self._has_end():
                    return
                wake = self._clock.queue()
                self._wakes.append(wake)
        try:
            wake.get(timeout=None if timeout is None else max(0.0, timeout))
        except Empty:
            with self._lock:
                if self._has_end():
                    return
                self._wakes.remove(wake)
            message = f"{round(timeout or 0, 3):g} seconds"
            raise pykka.Timeout(message) from None

    def _has_end(self) -> bool:
        return self._value is not _UNSET or self._get_hook is not None

    def _call_hook(self, hook: Callable[[float | None], T], timeout: float | None) -> T:
        if self._hook_value is _UNSET:
            with self._hook_lock:
                if self._hook_value is _UNSET:
                    self._hook_value = hook(timeout)
        value: T = self._hook_value
        return value

    def settle(
        self,
        value: Any = None,
        exc_info: ExcInfo | None = None,
        unread: Unread | None = None,
    ) -> bool:
        """Complete the reply, unless it is complete already.

        Args:
            value: The answer.
            exc_info: What to raise instead.
            unread: Told when somebody reads that.

        Returns:
            True if this call completed it.
        """
        with self._lock:
            if self._has_end():
                return False
            self._exc_info = exc_info
            if unread is not None:
                self._unread = unread
            self._value = value
            wakes = self._wakes
            if not wakes:
                return True
            self._wakes = []
        for wake in wakes:
            wake.put(None)
        return True

    def fail(self, error: BaseException) -> bool:
        """Complete the reply with an exception, unless it is complete already."""
        return self.settle(None, (type(error), error, error.__traceback__))

    def set(self, value: T | None = None) -> None:
        """Complete the reply; raises ``queue.Full`` if it is complete already."""
        if not self.settle(value):
            raise Full

    def set_exception(self, exc_info: ExcInfo | None = None) -> None:
        """Complete the reply with ``exc_info``, or the exception being handled."""
        assert exc_info is None or len(exc_info) == 3
        if not self.settle(None, sys.exc_info() if exc_info is None else exc_info):
            raise Full

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:
        """Have ``get`` return what ``func(timeout)`` returns, called once."""
        hook_lock = self._clock.lock()
        with self._lock:
            if self._value is not _UNSET:
                raise Full
            self._hook_lock = hook_lock
            self._get_hook = func
            wakes, self._wakes = self._wakes, []
        for wake in wakes:
            wake.put(None)


def fail_asker(reply: Any, error: BaseException, actor: str, message: Any) -> None:
    """Give an ask the exception that its handler raised; logged if nobody reads it.

    For an exception that is told nowhere else: the actor lives on.

    Args:
        reply: As for :func:`complete`.
        error: What was raised.
        actor: The actor's name, for the log.
        message: What it was asked.
    """
    if reply.__class__ is not Reply:
        complete(reply, error=error)
        return
    unread = guard(error, actor, message)
    exc_info = type(error), error, error.__traceback__
    if not reply.settle(None, exc_info, unread) and unread is not None:
        unread.read()  # the asker was told something else before


def complete(reply: Any, value: Any = None, error: BaseException | None = None) -> None:
    """Give an ask its end; a reply that has one already keeps it.

    Args:
        reply: A :class:`Reply`, any other ``pykka.Future``, or ``None`` for a tell.
        value: The answer.
        error: What to raise at the asker instead.
    """
    if reply is None:
        return
    if reply.__class__ is Reply:
        if error is None:
            reply.settle(value)
        else:
            reply.fail(error)
        return
    try:
        if error is None:
            reply.set(value)
        else:
            reply.set_exception((type(error), error, error.__traceback__))
    except Exception:  # a foreign future's: complete already, most likely
        logger.debug("%r did not take its result", reply, exc_info=True)
