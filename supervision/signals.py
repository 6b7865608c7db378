"""Ends a pipeline or a tree when the operating system asks for it.

A signal handler interrupts the main thread anywhere, perhaps while it holds a lock, so
ours does no more than append to a list and put to a wake queue.  Two threads wait for
the first and for the second signal and do what each asks for: two, because the first is
busy with the drain when the second comes.  They are started beforehand, so
that an ending needs nothing that could be lacking then.

:Runs on: ``handle_signals`` and ``close`` on the main thread, as Python demands; the
    target's methods on the threads ``headrace-signals-drain`` and
    ``headrace-signals-now``.
:Owns: both threads and, until closed, the handlers of SIGTERM and SIGINT.
:Blocks: ``close``, until a drain that a signal began has ended.
"""

from __future__ import annotations

import itertools
import logging
import signal
from typing import TYPE_CHECKING, Protocol, final

from actors.clock import SystemClock
from actors.errors import ConfigurationError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

__all__ = ["SignalHandling", "Stoppable", "handle_signals"]

logger = logging.getLogger("headrace.signals")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stoppable(Protocol):
    """What a signal can end: a ``Pipeline``, a ``SupervisorRef`` or the like."""

    def stop(self, *, timeout: float) -> object:
        """Drain, then end, within ``timeout`` seconds; may block that long."""

    def stop_now(self, reason: str) -> None:
        """Give up what is in hand and end; never blocks."""


def handle_signals(target: Stoppable, *, drain_timeout: float = 25.0) -> SignalHandling:
    """Drain ``target`` at the first SIGTERM or SIGINT, stop it now at the second.

    Use it as a context manager, inside the target's own ``with``, or call it and keep
    what it returns; leaving the block, or ``close()``, puts the old handlers back.

    Args:
        target: The pipeline or tree to end.
        drain_timeout: Seconds the drain may take; a supervisor like Kubernetes kills
            after 30.

    Raises:
        ConfigurationError: If not called on the main thread, which alone gets signals;
            if ``drain_timeout`` is negative; or if ``target`` cannot be stopped.

    Example:
        ::

            with Pipeline(8) as pipeline, handle_signals(pipeline):
                pipeline.run(save, rows)
    """
    if not drain_timeout >= 0:
        message = f"drain_timeout must be at least 0, got {drain_timeout}"
        raise ConfigurationError(message)
    for method in ("stop", "stop_now"):
        if not callable(getattr(target, method, None)):
            message = (
                f"target must have a method {method}(), got {target!r}; "
                "pass a Pipeline or a SupervisorRef"
            )
            raise ConfigurationError(message)
    return SignalHandling(target, drain_timeout)


@final
class SignalHandling:
    """SIGTERM and SIGINT in our hands; made by :func:`handle_signals`.

    Attributes:
        received: The numbers of all signals received, in order; a command's exit status
            is 128 plus the first.
    """

    def __init__(self, target: Stoppable, drain_timeout: float) -> None:
        self.received: list[int] = []
        self._target = target
        self._drain_timeout = drain_timeout
        self._closed = False
        self._numbers = itertools.count()
        # Each gets one signal's number, or None to end its thread without one.
        self._first = SystemClock.queue()
        self._second = SystemClock.queue()
        self._drained = SystemClock.queue()
        self._threads: list[threading.Thread] = []
        self._old: dict[signal.Signals, Any] = {}
        try:
            self._install()
            self._start("headrace-signals-drain", self._on_drain_thread)
            self._start("headrace-signals-now", self._on_now_thread)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SignalHandling:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Put the old handlers back; a second call does nothing.

        A drain that a signal began is waited for first, so that a second signal can
        still cut it short.  A handler that somebody else installed meanwhile stays.

        Raises:
            ConfigurationError: If not called on the main thread.
        """
        if self._closed:
            return
        if self.received and self._threads:
            self._drained.get()
        for number, old in self._old.items():
            if signal.getsignal(number) == self._on_signal:
                # None: the handler was not installed by Python and is out of reach.
                _set_handler(number, signal.SIG_DFL if old is None else old)
        self._closed = True
        self._first.put(None)
        self._second.put(None)
        for thread in self._threads:
            SystemClock.join(thread)

    def _install(self) -> None:
        for number in _SIGNALS:
            self._old[number] = _set_handler(number, self._on_signal)

    def _start(self, name: str, work: Callable[[], None]) -> None:
        thread = SystemClock.thread(work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        # Runs in the main thread between any two steps: no lock, no logging, no wait.
        self.received.append(number)
        earlier = next(self._numbers)
        if earlier < 2:
            (self._second if earlier else self._first).put(number)

    def _on_drain_thread(self) -> None:
        number = self._first.get()
        if number is None:
            return
        name, limit = signal.Signals(number).name, self._drain_timeout
        try:
            logger.info(
                "received %s; draining for at most %g s, a second signal stops now",
                name,
                limit,
            )
            self._target.stop(timeout=limit)
        except Exception:  # the target's: the signal must still end it
            logger.exception("the drain after %s failed; stopping now", name)
            self._stop_now(f"the drain after {name} failed")
        finally:
            self._drained.put(None)

    def _on_now_thread(self) -> None:
        number = self._second.get()
        if number is None:
            return
        name = signal.Signals(number).name
        logger.warning("received a second signal, %s; stopping now", name)
        self._stop_now(f"second {name}")

    def _stop_now(self, reason: str) -> None:
        try:
            self._target.stop_now(reason)
        except Exception:  # the target's; nothing is left to try, and others may wait
            logger.exception("stopping now (%s) failed", reason)


def _set_handler(number: signal.Signals, handler: Any) -> Any:
    """Install a handler; the old one is returned."""
    try:
        return signal.signal(number, handler)
    except ValueError as error:
        message = (
            "signals must be handled on the main thread, which alone gets them; "
            "call handle_signals and leave its block there"
        )
        raise ConfigurationError(message) from error
