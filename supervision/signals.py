"""Ends a pipeline or a tree when the operating system asks for it.

A Python signal handler runs in the main thread between two of its steps, and so not
before a long C call has ended; and a signal that comes just as the main thread goes to
sleep on a lock is seen when something else wakes it.  So the signals come here by
Python's wake-up descriptor: the interpreter writes the number of each into a pipe at
once.  One thread reads it and counts; another one drains, since the reader must see the
second signal meanwhile.  Both are started beforehand, so that an ending needs nothing
that could be lacking then.

What is no longer for the target, a third signal or one after its end, goes to the
handler that was there before.  Only the main thread can run that, so there the Python
handler decides and does it; for all else it is not needed.

:Runs on: ``handle_signals`` and ``close`` on the main thread, as Python demands; the
    target's ``stop`` on the thread ``headrace-signals-drain``, its ``stop_now`` there
    or on ``headrace-signals``, which reads the pipe.
:Owns: both threads, the pipe and, until closed, the handlers of SIGTERM and SIGINT and
    the wake-up descriptor.
:Blocks: ``close``, until a drain that a signal began has ended; an exception out of an
    older signal handler ends that wait.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from typing import TYPE_CHECKING, Protocol, final

from actors import SystemClock
from actors.errors import ConfigurationError
from supervision._spec_checks import is_seconds

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

__all__ = ["SignalHandling", "Stoppable", "handle_signals"]

logger = logging.getLogger("headrace.signals")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_NO_FD = -1
_MARK = 0  # no signal has this number


class Stoppable(Protocol):
    """What a signal can end: a ``Pipeline``, a ``SupervisorRef`` or the like."""

    def stop(self, *, timeout: float) -> object:
        """Drain, then end, within ``timeout`` seconds; may block that long."""

    def stop_now(self, reason: str) -> None:
        """Give up what is in hand and end; never blocks."""


def handle_signals(target: Stoppable, *, drain_timeout: float = 25.0) -> SignalHandling:
    """Drain ``target`` at the first SIGTERM or SIGINT, stop it now at the second.

    Later ones do what they did before: Ctrl-C raises ``KeyboardInterrupt`` in the main
    thread, SIGTERM ends the process, your own handler is called.  So does the second,
    once the drain is over: a main thread that goes on without the target can be ended.

    Use it as a context manager, or call it and keep what it returns; leaving the block,
    or ``close()``, waits for a drain that has begun and puts the old handlers back.

    A pipeline's own block drains at its end: have it inside, as in the example.  A
    tree's block stops at its end: have it outside, or it cuts a drain short.

    Args:
        target: The pipeline or tree to end.
        drain_timeout: Seconds the drain may take; a supervisor like Kubernetes kills
            after 30.

    Raises:
        ConfigurationError: If not called on the main thread, which alone gets signals;
            if ``drain_timeout`` is not 0 or more; or if ``target`` cannot be stopped.

    Example:
        ::

            pipeline = Pipeline(8)
            with handle_signals(pipeline), pipeline:
                pipeline.run(save, rows)

            with Supervisor.start("one_for_one", specs) as tree, handle_signals(tree):
                tree.wait()
    """
    if not is_seconds(drain_timeout):
        message = (
            f"drain_timeout must be at least 0 seconds as a number, got "
            f"{drain_timeout!r}; math.inf sets no limit"
        )
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
            is 128 plus the first.  Those that came too late for the target count, too.
    """

    def __init__(self, target: Stoppable, drain_timeout: float) -> None:
        self.received: list[int] = []
        self._target = target
        self._drain_timeout = drain_timeout
        self._closed = False
        self._ours = 2  # so many signals are the target's; its drain's thread lowers it
        self._runs = 0  # of our handler; signals that come together share one
        self._passed = 0  # signals passed on
        self._putting_back = False
        self._late: list[int] = []  # what came meanwhile
        self._first = SystemClock.queue()  # one signal's number, or None: closed
        self._drained = SystemClock.queue()
        self._counted = SystemClock.queue()
        self._threads: list[threading.Thread] = []
        self._old: dict[signal.Signals, Any] = {}
        self._old_fd = _NO_FD
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        try:
            self._install()
            self._start("headrace-signals", self._on_reader_thread)
            self._start("headrace-signals-drain", self._on_drain_thread)
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
        still cut it short.  If a third one raises ``KeyboardInterrupt`` here, the old
        handlers are put back nevertheless.  A handler that somebody else installed
        meanwhile stays.

        Raises:
            ConfigurationError: If not called on the main thread.
        """
        if self._closed:
            return
        if self in _installed:
            self._has_fd()  # on the main thread only
        try:
            if len(self._threads) == 2:
                self._wait_counted()
                if self.received:
                    self._drained.get()
        finally:
            self._put_back()
        for thread in self._threads:
            SystemClock.join(thread)

    def _wait_counted(self) -> None:
        """Wait until the reader has counted what was received before."""
        while not _write(self._write_fd, _MARK):
            pass  # 64 Ki signals are unread: the reader makes room right now
        self._counted.get()

    def _install(self) -> None:
        # The descriptor first, or a signal can be lost: (1) it comes before the
        # descriptor is there, nothing is written; (2) the main thread sets the
        # descriptor; (3) the handler runs, finds it and believes it was written to.
        self._old_fd = _set_fd(self._write_fd)
        _installed.append(self)
        for number in _SIGNALS:
            self._old[number] = _set_handler(number, self._on_signal)

    def _put_back(self) -> None:
        """Give handlers and descriptor back, unless somebody else has them now."""
        self._putting_back = True
        try:
            for number, old in self._old.items():
                if signal.getsignal(number) == self._on_signal:
                    # None: it was not installed by Python and is out of reach.
                    _set_handler(number, signal.SIG_DFL if old is None else old)
        finally:  # an old handler may raise as soon as it is back
            self._closed = True
            self._putting_back = False
            self._close_pipe()
        for late in self._late:
            self._pass_on(late, None)

    def _close_pipe(self) -> None:
        if self in _installed:
            _installed.remove(self)
            now = _set_fd(self._old_fd)
            if now != self._write_fd:
                _set_fd(now)
        os.close(self._write_fd)  # the reader reads what is in the pipe, then its end
        if not self._threads:
            os.close(self._read_fd)

    def _put_back_in_child(self) -> None:
        """Give all back in a forked child, which has the pipe but not the threads."""
        self._threads.clear()
        self._put_back()

    def _start(self, name: str, work: Callable[[], None]) -> None:
        thread = SystemClock.thread(work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # Runs in the main thread between any two steps: no lock, no logging, no wait.
        if self in _installed:
            # The interpreter has written the number, if the descriptor was ours.
            if not self._has_fd():
                _write(self._write_fd, number)
            self._runs += 1
            # Each may be too few: signals at once share a run, and the reader may lag.
            came = max(self._runs, len(self.received))
            if came - self._passed <= self._ours:
                return
            self._passed += 1
        if self._putting_back:  # which nothing must interrupt
            self._late.append(number)
        else:
            self._pass_on(number, frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Do what the signal did before; may raise, or end the process."""
        old = self._old.get(signal.Signals(number))
        if callable(old):
            ours = {each._write_fd for each in _installed}  # noqa: SLF001
            if not (self._closed or self._old_fd in {_NO_FD, *ours}):
                _write(self._old_fd, number)  # a handler of ours does so itself
            old(number, frame)
        elif old != signal.SIG_IGN:
            _set_handler(signal.Signals(number), signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _has_fd(self) -> bool:
        now = _set_fd(self._write_fd)
        if now != self._write_fd:
            _set_fd(now)
        return now == self._write_fd

    def _on_reader_thread(self) -> None:
        while numbers := os.read(self._read_fd, 4096):
            for number in numbers:
                if number in _SIGNALS:
                    self._count(number)
                elif number == _MARK:
                    self._counted.put(None)
                elif self._old_fd != _NO_FD:  # whose descriptor it was wants the others
                    _write(self._old_fd, number)
        os.close(self._read_fd)
        self._first.put(None)

    def _count(self, number: int) -> None:
        self.received.append(number)
        if len(self.received) == 1:
            self._first.put(number)
        elif len(self.received) == 2 == self._ours:
            name = signal.Signals(number).name
            logger.warning("received a second signal, %s; stopping now", name)
            self._stop_now(f"second {name}")

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
            self._ours = min(len(self.received), 2)
            self._drained.put(None)

    def _stop_now(self, reason: str) -> None:
        try:
            self._target.stop_now(reason)
        except Exception:  # the target's; nothing is left to try, and others may wait
            logger.exception("stopping now (%s) failed", reason)


def _set_handler(number: signal.Signals, handler: Any) -> Any:
    """Install a handler; the old one is returned."""
    with _on_main_thread_only():
        return signal.signal(number, handler)


def _set_fd(fd: int) -> int:
    """Make ``fd`` the wake-up descriptor; the old one is returned."""
    with _on_main_thread_only():
        return signal.set_wakeup_fd(fd, warn_on_full_buffer=False)


@contextlib.contextmanager
def _on_main_thread_only() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        message = (
            "signals must be handled on the main thread, which alone gets them; "
            "call handle_signals and leave its block there"
        )
        raise ConfigurationError(message) from error


def _write(fd: int, number: int) -> bool:
    """Write one byte if there is room; a full pipe has signals enough."""
    with contextlib.suppress(OSError):
        return os.write(fd, bytes((number,))) == 1
    return False


_installed: list[SignalHandling] = []


def _put_back_in_child() -> None:
    # The forked child shares the pipe: a signal to it must not end its parent, and
    # should do in it what it did before.
    for handling in reversed(_installed[:]):
        handling._put_back_in_child()  # noqa: SLF001


os.register_at_fork(after_in_child=_put_back_in_child)
