"""One worker process, driven by one thread; a death costs the call in hand alone.

:Runs on: ``run`` on the one thread that drives the process; ``kill`` and ``close`` on
    any; a timeout on the clock's timer thread, a cancel on the stop tokens' thread.
:Owns: the process, through its link, and the call in hand.
:Guards: ``_lock`` guards ``_link``, ``_call``, ``_closed`` and the call's fields.
:Blocks: ``run``, until the call ends, its timeout passes or its token is cancelled;
    ``close``, until the process is gone.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from actors import _cpu_child
from actors._cpu_link import CpuLink, cannot_start, check_start, initializer_failed
from actors._engine import Outcome
from actors._main_script import main_reference, refuse_while_importing_main
from actors._pickling import dumps_call, pack_call, read_reply
from actors.clock import Empty, ambient_clock
from actors.errors import (
    Cancelled,
    ConfigurationError,
    JobTimeout,
    UsedAfterFork,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.clock import Clock, TimerHandle, WakeQueue
    from actors.stop_token import StopToken

__all__ = ["CpuProcess"]

logger = logging.getLogger("headrace.cpu_pool")

_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.1, 30.0
_GRACE = 2.0  # for the end of a process that was asked to end, in real seconds


class CpuProcess:
    """One worker process, driven by one thread.

    It starts with the first call.  After a death the next call starts a new one at
    once; only when processes die before their first call do calls wait, from 0.1 s,
    doubling up to 30 s.

    Args:
        initializer: Called once in each new process.
        initargs: Its arguments.
        start_method: Only ``"exec"``: a fresh interpreter.
        clock: Timeouts and backoff are measured on it; the ambient one by default.
            Virtual time stands still while a call runs, so no timeout passes there.
        name: For logs and errors.

    Raises:
        ConfigurationError: If ``start_method`` is not known.
        JobNotPicklable: If the initializer or its arguments cannot travel.
    """

    kills = True

    def __init__(
        self,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        start_method: str = "exec",
        clock: Clock | None = None,
        name: str | None = None,
    ) -> None:
        check_start(initializer, start_method)
        self.name = name or "cpu-process"
        self._initializer = initializer and dumps_call(initializer, initargs, {})
        self._clock = ambient_clock() if clock is None else clock
        self._home = os.getpid()
        self._main = main_reference()  # asked now: at exit __main__ has lost its file
        # Guards _link, _call, _closed and the fields of the call.  Held for O(1) work:
        # a kill is a system call that does not wait.
        self._lock = self._clock.lock()
        self._link: CpuLink | None = None
        self._call: _Call | None = None
        self._closed = False
        # Invariant: only the driving thread touches these.
        self._early_deaths = 0
        self._path: list[str] = []

    def __repr__(self) -> str:
        return f"<CpuProcess {self.name} pid={self.pid}>"

    def __enter__(self) -> CpuProcess:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process's id; ``None`` before the first call and after a death."""
        link = self._link
        return None if link is None else link.pid

    def run(
        self,
        call: bytes,
        *,
        timeout: float | None = None,
        token: StopToken | None = None,
        meta: dict[str, Any] | None = None,
    ) -> Outcome:
        """Run one call in the process and wait for its end.

        Args:
            call: What ``dumps_call`` made.
            timeout: Seconds the call may run, from when a process that is ready gets
                it; then the process is killed.
            token: When it is cancelled the process is killed.
            meta: Plain data for ``current_job()`` inside the call.

        Raises:
            UsedAfterFork: In a forked copy of the process that made this object.
            RuntimeError: If another thread is in ``run``.
        """
        mine = self._begin(call, token)
        take_back = None
        try:
            if token is not None and mine.error is None:
                # Called too if it was cancelled since we looked.
                take_back = token.on_cancel(partial(self._on_token_thread, mine))
            return self._run(mine, timeout, meta)
        except _NoReplyError as end:
            return Outcome(False, None, end.error, end.ran, end.pid)  # noqa: FBT003
        except BaseException:
            self._discard()  # Ctrl-C on this thread: nobody will read the reply
            raise
        finally:
            if take_back is not None:
                take_back()
            self._end(mine)

    @property
    def closed(self) -> bool:
        """True once ``close`` was called."""
        return self._closed

    def kill(self, reason: str = "killed", *, call: bytes | None = None) -> bool:
        """End the call in hand by killing the process.

        Args:
            reason: Becomes the text of ``Cancelled``.
            call: Only if this very call is in hand.

        Returns:
            True if the call will not complete: its outcome is ``Cancelled``.  False if
            there is none, or it has completed.

        Thread safety:
            Any thread; never blocks.
        """
        mine = self._call
        if mine is None or (call is not None and mine.call is not call):
            return False
        return self._kill(mine, Cancelled(reason))

    def close(self) -> None:
        """End the process; a call in hand, or a later one, is cancelled.

        Thread safety:
            Any thread but a forked copy's.

        Blocks:
            Until the process is gone: at most seconds.
        """
        wake = self._clock.queue()
        with self._lock:
            self._closed = True
            call = self._call
            if call is not None:
                call.closers.append(wake)
        if call is not None:
            self._kill(call, Cancelled(f"{self.name} was closed"))
            with self._clock.hold("a killed process is ending"):
                wake.get()  # put by the driving thread, which reaps the process
        self._discard(_GRACE)

    # -- the call in hand

    def _begin(self, call: bytes, token: StopToken | None) -> _Call:
        if os.getpid() != self._home:
            message = (
                f"{self.name} belongs to process {self._home} and was used in its "
                f"forked copy {os.getpid()}; make a new one there"
            )
            raise UsedAfterFork(message)
        mine = _Call(call, self._clock.queue())
        with self._lock:
            busy = self._call is not None
            if not busy:
                self._call = mine
            closed = self._closed
        if busy:
            message = f"{self.name} has a call in hand; one thread drives a process"
            raise RuntimeError(message)
        if closed:
            mine.error = Cancelled(f"{self.name} is closed")
        elif token is not None and token.cancelled:
            mine.error = Cancelled(token.reason)
        return mine

    def _end(self, mine: _Call) -> None:
        if mine.killed or mine.closers:
            self._discard()
        with self._lock:
            self._call = None
            closers = mine.closers
        for wake in closers:
            wake.put(None)

    def _run(
        self, mine: _Call, timeout: float | None, meta: dict[str, Any] | None
    ) -> Outcome:
        """Give the call to a process that lives, and wait for the reply."""
        while True:
            link = self._link_for(mine)
            began = self._clock.monotonic()
            timer = self._start_timer(mine, timeout)
            try:
                with self._clock.hold("a call runs in a worker process"):
                    sent = self._send(link, mine.call, meta)
                    reply = self._receive(link) if sent else None
            finally:
                if timer is not None:
                    timer.cancel()
            ran = self._clock.monotonic() - began
            if reply is not None and self._complete(mine, link):
                return self._outcome(reply, ran, link)
            code = self._discard(0.0 if mine.killed else _GRACE)
            if sent or mine.error is not None:
                raise _NoReplyError(mine.error or link.died(code), ran, link.pid)
            logger.debug("%s: process %d had died idle", self.name, link.pid)

    def _send(self, link: CpuLink, call: bytes, meta: dict[str, Any] | None) -> bool:
        """Send the call; False if the process had died idle and cannot begin it."""
        if link.served and not link.quiet():
            return False
        path = None
        if self._path != sys.path:
            path = self._path = sys.path.copy()
        try:
            link.send(pack_call(call, path, meta))
        except (EOFError, OSError):
            return not link.served
        return True

    @staticmethod
    def _receive(link: CpuLink) -> bytes | bytearray | None:
        try:
            return link.receive()
        except (EOFError, OSError):
            return None

    def _complete(self, mine: _Call, link: CpuLink) -> bool:
        """Claim the reply; False if a kill was first, and then it is told to nobody."""
        with self._lock:
            mine.done = not mine.killed
            link.served = True
            return mine.done

    def _outcome(self, reply: bytes | bytearray, ran: float, link: CpuLink) -> Outcome:
        if reply[:1] == _cpu_child.GUARD:
            self._discard(_GRACE)  # it ends by itself
        ok, value, error = read_reply(reply)
        return Outcome(ok, value, error, ran, link.pid)

    # -- a process for it

    def _link_for(self, mine: _Call) -> CpuLink:
        """The living process, or a new one that has run the initializer.

        Raises:
            _NoReplyError: If the call was killed meanwhile, or no process would live.
        """
        if mine.error is None and self._link is not None:
            return self._link
        if mine.error is None and self._early_deaths:
            self._back_off(mine)
        if mine.error is not None:
            raise _NoReplyError(mine.error)
        refuse_while_importing_main()
        failure = self._start(mine)
        if mine.error is not None:
            raise _NoReplyError(mine.error)
        if failure is not None:
            self._early_deaths += 1
            raise _NoReplyError(failure)
        self._early_deaths = 0
        assert self._link is not None  # just made; only we take it away
        return self._link

    def _start(self, mine: _Call) -> BaseException | None:
        """Start a process; returns why there is none."""
        try:
            link = CpuLink(self.name)
        except (ConfigurationError, OSError) as error:
            return cannot_start(error)
        with self._lock:
            self._link = link
            if mine.killed:
                link.kill()
        with self._clock.hold("a worker process is starting"):
            try:
                self._path = link.greet(self._initializer, self._main)
                reply = link.receive()
            except (EOFError, OSError):
                return link.died_early(self._discard(_GRACE))
        if reply[:1] == _cpu_child.READY:
            return None
        self._discard(_GRACE)
        return initializer_failed(self.name, read_reply(reply).error)

    def _back_off(self, mine: _Call) -> None:
        """Wait: processes that die before their first call would be a crash loop."""
        delay = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2 ** (self._early_deaths - 1))
        delay *= 1 - 0.2 * self._clock.rng.random()  # not all at the same moment
        logger.warning(
            "%s: %d processes in a row died before their first job; the next one "
            "starts in %.1f s",
            self.name,
            self._early_deaths,
            delay,
        )
        try:
            mine.wake.get(timeout=delay)
        except Empty:
            return

    def _discard(self, grace: float = 0.0) -> int | None:
        """End and reap the process, if there is one; returns its exit code."""
        with self._lock:
            link, self._link = self._link, None
        return None if link is None else link.end(grace)

    # -- ends of the call that come from other threads

    def _start_timer(self, mine: _Call, timeout: float | None) -> TimerHandle | None:
        if timeout is None:
            return None
        return self._clock.call_later(timeout, self._on_timer_thread, mine, timeout)

    def _on_timer_thread(self, mine: _Call, timeout: float) -> None:
        text = f"the job ran longer than its timeout of {timeout:g} s; its process was"
        self._kill(mine, JobTimeout(f"{text} killed"))

    def _on_token_thread(self, mine: _Call, reason: str) -> None:
        self._kill(mine, Cancelled(reason))

    def _kill(self, call: _Call, error: BaseException) -> bool:
        with self._lock:
            if self._call is not call or call.done or call.error is not None:
                return False
            call.error, call.killed = error, True
            if self._link is not None:
                self._link.kill()
        call.wake.put(None)
        return True


class _Call:
    """The call in hand; its fields are guarded by the process's lock.

    Invariant: ``done`` and ``killed`` are never both true; who sets one first decides.
    """

    __slots__ = ("call", "closers", "done", "error", "killed", "wake")

    def __init__(self, call: bytes, wake: WakeQueue) -> None:
        self.call = call
        self.wake = wake
        self.done = False  # the reply was claimed
        self.killed = False  # error was set by a kill: the process is dead or dying
        self.error: BaseException | None = None
        self.closers: list[WakeQueue] = []


class _NoReplyError(Exception):
    """The call ended without a reply."""

    def __init__(
        self, error: BaseException, ran: float = 0.0, pid: int | None = None
    ) -> None:
        self.error = error
        self.ran = ran
        self.pid = pid
