"""The threads that run the callbacks of stop tokens, one for each clock.

The system clock's also does what finalisers must not do themselves.

Starting a thread takes locks, which a signal handler must not do: it may have
interrupted their holder.  On a ``SystemClock`` the thread is therefore started when the
first callback is registered, and then stays: a daemon that nothing wakes but work.
Handing it a call is then an ``append`` and a wake queue's ``put``, both safe in a
handler.  No signal handler uses another clock: there the thread is started by the call
that is handed over and ends when it finds no more, so that none is left when a virtual
clock ends.

:Runs on: ``callback_thread`` and ``put`` on any thread, ``put`` also in signal handlers
    on a ``SystemClock``; ``_work`` on the thread itself.
:Owns: the threads and the calls that wait for them.
:Guards: ``_registry_lock`` guards ``_threads``; ``CallbackThread._lock`` guards
    ``_running``.
:Blocks: the thread itself, between calls; ``flush``, until it has made some.
:Order: calls run one after the other, in the order they were put.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from actors.clock import SYSTEM_CLOCK, Empty, SystemClock, raw_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import Clock

    Listener: TypeAlias = Callable[[str], object]

__all__ = ["CallbackThread", "callback_thread", "lasting_thread"]

logger = logging.getLogger("headrace.stop_token")


class CallbackThread:
    """Runs callbacks on a thread of its own; made by :func:`callback_thread`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stays = isinstance(clock, SystemClock)
        self._calls: deque[tuple[Listener, str]] = deque()
        self._wake = clock.queue()  # one None for each call, if the thread stays
        # Guards _running.  Held for O(1) work, nothing inside.  No signal handler takes
        # it: on a SystemClock put() does not.
        self._lock = clock.lock()
        # Invariant: while _running, a thread will yet look into _calls.
        self._running = False

    def prepare(self) -> None:
        """Make ``put`` safe in a signal handler."""
        if self._stays:
            self._start()

    def put(self, fn: Listener, reason: str) -> None:
        """Have ``fn(reason)`` called."""
        self._calls.append((fn, reason))
        if self._stays:
            self._wake.put(None)
        else:
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait until what was put so far has run; False after ``timeout`` seconds."""
        done = self._clock.queue()
        self.put(done.put, "")
        try:
            done.get(timeout=timeout)
        except Empty:
            return False
        return True

    def _start(self) -> None:
        with self._lock:
            if self._running:
                return
            self._running = True
        clock, name = self._clock, "headrace-callbacks"
        try:
            clock.thread(self._work, name=name, daemon=True).start()
        except BaseException:
            self._running = False
            raise

    def _work(self) -> None:
        while True:
            if self._stays:
                self._wake.get()
            # 1. This thread finds no call. 2. A signaller appends one and finds
            # _running set. 3. This thread clears it and ends.  The lock makes 1 and 3
            # one step, so the signaller either comes before it or starts a new thread.
            with self._lock:
                if not self._calls:
                    self._running = False
                    return
                fn, reason = self._calls.popleft()
            try:
                fn(reason)
            except BaseException:  # a callback's SystemExit must not end the others
                logger.exception("stop callback %r failed; the others still run", fn)
            del fn


_registry_lock = raw_lock()  # Guards _threads. Held for O(1) work; nothing else inside.
_threads: weakref.WeakValueDictionary[int, CallbackThread]
_threads = weakref.WeakValueDictionary()


def callback_thread(clock: Clock) -> CallbackThread:
    """The one callback thread of a clock, ready to be put to from a signal handler."""
    # The entry holds the clock, so while it is there the id is not used again.
    thread = _threads.get(id(clock))
    if thread is None:
        fresh = CallbackThread(clock)
        with _registry_lock:
            thread = _threads.setdefault(id(clock), fresh)
    thread.prepare()
    return thread


def lasting_thread() -> CallbackThread:
    """The one that stays, whatever the clock: for what a finaliser leaves to be done.

    Its ``put`` takes no lock and never waits.
    """
    return callback_thread(SYSTEM_CLOCK)


def _forget_threads() -> None:
    # A forked child has none of the threads, and perhaps a lock that nobody releases.
    global _registry_lock, _threads  # noqa: PLW0603
    _registry_lock = raw_lock()
    _threads = weakref.WeakValueDictionary()


os.register_at_fork(after_in_child=_forget_threads)
