"""Tree of stop signals: root, dispatcher, workers.

A signal travels from a token to all its descendants, never to its parent or siblings.
Nothing here takes a lock on the way of a signal, so it may be given anywhere: on any
thread, in a finaliser, in a Python signal handler (on the system clock).

:Runs on: everything on any thread; callbacks on the clock's callback thread, never on
    the signalling one.
:Owns: the phase and the first reasons of each token.
:Blocks: ``wait`` and ``wait_cancelled``, until the phase is reached or the timeout.
:Order: a parent's callbacks before its children's, DRAIN's before CANCEL's, else as
    registered; of children, the oldest's first.

How it does without a lock.  Each change of shared state is one call of a dict's
C method, which is atomic under the GIL and to signal handlers.  A signaller first
*marks* a token and then looks who is registered there (children, waiters, callbacks);
whoever registers first *publishes* itself there and then looks at the mark.  Whichever
comes second sees the other.  If both do, one ``pop`` decides, so each waiter is woken
and each callback run exactly once.
"""

# ruff: noqa: SLF001  # the tokens of one tree know each other

from __future__ import annotations

import contextlib
import enum
import math
import weakref
from collections import deque
from typing import TYPE_CHECKING, TypeAlias, final

from actors._callbacks import callback_thread
from actors.clock import Empty, ambient_clock
from actors.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._callbacks import CallbackThread
    from actors.clock import Clock, TimerHandle, WakeQueue

    Listener: TypeAlias = Callable[[str], object]

__all__ = ["Phase", "StopToken"]


class Phase(enum.IntEnum):
    """How far a stop has come; it only ever rises."""

    RUNNING = 0
    DRAIN = 1
    """Accept nothing new, finish what is held."""
    CANCEL = 2
    """Give up what is held; implies DRAIN."""


# Names of the module are read faster than members of the enum.
_RUNNING, _DRAIN, _CANCEL = Phase


@final
class StopToken:
    """One node of the tree: asks the code that holds it to stop, by phases.

    A token is held by whoever looks at it; its parent knows it weakly.  One that
    nobody holds is gone, with its callbacks; one that has children lives as long as
    they do.

    Args:
        clock: Whose time the waits use; the ambient clock by default.
        name: What ``repr`` and log lines call it.

    Thread safety:
        Every method on any thread.  ``drain``, ``cancel`` and all attributes also in a
        signal handler, when the clock is a ``SystemClock``.

    Example:
        >>> root = StopToken(name="root")
        >>> worker = root.child("worker")
        >>> root.drain("host shuts down")
        >>> worker.draining, worker.cancelled, worker.reason
        (True, False, 'host shuts down')
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_children",
        "_clock",
        "_limit",
        "_parent",
        "_reasons",
        "_shield",
        "_stale",
        "_told",
        "_waiters",
        "cancelled",
        "draining",
        "name",
    )

    cancelled: bool
    """True in phase CANCEL. Read only; one attribute, for a look at every step."""

    draining: bool
    """True in phase DRAIN and beyond. Read only."""

    def __init__(self, *, clock: Clock | None = None, name: str | None = None) -> None:
        self.name = "root" if name is None else name
        self.cancelled = False
        self.draining = False
        self._clock = ambient_clock() if clock is None else clock
        # Strong upwards: a middle token that only its children hold still passes
        # signals.  Weak downwards: a dropped token removes itself.
        self._parent: StopToken | None = None
        self._children: dict[weakref.ref[StopToken], None] = {}  # as they were made
        self._shield = False
        self._limit: float | None = None  # its own, a moment on the clock
        self._stale: deque[_Limit] | None = None
        # Invariant: a phase is in _reasons before the flag of that phase is set.
        self._reasons: dict[Phase, str] = {}
        # Invariant: all descendants (up to shields) show phase _told, new ones too.
        self._told = _RUNNING
        self._waiters: dict[tuple[Phase, int], WakeQueue] = {}
        self._callbacks: dict[_Callback, None] = {}

    def __repr__(self) -> str:
        reason = f" {self.reason!r}" if self.draining else ""
        return f"<StopToken {self.name} {self.phase.name}{reason}>"

    def child(
        self,
        name: str | None = None,
        *,
        shield: bool = False,
        timeout: float | None = None,
    ) -> StopToken:
        """Make a token below this one; under a signalled token it is born signalled.

        Args:
            name: What ``repr`` and log lines call it.
            shield: Keep CANCEL of the tokens above out, for clean-up and a last flush.
                DRAIN comes through, and so do its own ``cancel`` and timeout.
            timeout: Cancel it after so many seconds, while somebody holds it.

        Raises:
            ConfigurationError: If ``timeout`` is negative.
        """
        if timeout is not None and not timeout >= 0:
            message = f"timeout must be at least 0, got {timeout}; None sets no limit"
            raise ConfigurationError(message)
        token = StopToken(clock=self._clock, name="child" if name is None else name)
        token._parent = self
        token._shield = shield
        self._children[weakref.ref(token, self._children.pop)] = None  # publish
        if self.draining:  # then look
            token.drain(self._reasons[_DRAIN])
            if self.cancelled and not shield:
                token.cancel(self._reasons[_CANCEL])
        if timeout is not None:
            self._cancel_after(timeout, token)
        return token

    def _cancel_after(self, timeout: float, token: StopToken) -> None:
        if timeout == math.inf:
            return
        token._limit = self._clock.monotonic() + timeout
        if timeout == 0:
            token.cancel(_timeout_passed(timeout))
        if token.cancelled:
            return
        # A dropped token's timer cannot be cancelled by the finaliser, which may run
        # inside the clock's lock: it leaves the timer here for the next call.
        if self._stale is None:
            self._stale = deque()
        with contextlib.suppress(IndexError):  # another thread may take the last one
            while self._stale:
                self._stale.popleft().handle.cancel()
        limit = _Limit(token, self._stale.append)
        limit.handle = self._clock.call_later(timeout, limit.passed, timeout)

    @property
    def phase(self) -> Phase:
        """How far the stop has come."""
        if self.cancelled:
            return _CANCEL
        return _DRAIN if self.draining else _RUNNING

    @property
    def reason(self) -> str:
        """The first reason given for the present phase; empty while running."""
        return self._reasons.get(self.phase, "")

    @property
    def deadline(self) -> float | None:
        """The moment on the clock that cancels it unless it is cancelled before.

        The first of its own timeout's and those of the tokens above, up to a shield,
        which keeps theirs out.  ``None`` if there is none.
        """
        first, token = math.inf, self
        while True:
            if token._limit is not None:
                first = min(first, token._limit)
            if token._shield or token._parent is None:
                return None if first == math.inf else first
            token = token._parent

    # -- signalling

    def drain(self, reason: str = "") -> None:
        """Ask this token and all below it to finish what they hold.

        When it returns, every descendant shows it.  The first reason of a phase wins.
        """
        self._signal(_DRAIN, reason)

    def cancel(self, reason: str = "") -> None:
        """Ask this token and all below it, up to shields, to give up what they hold.

        When it returns, every descendant shows it.  The first reason of a phase wins.
        """
        self._signal(_CANCEL, reason)

    def _signal(self, phase: Phase, reason: str) -> None:
        if self._told >= phase:
            return
        # All are marked before anybody is woken: who wakes finds the whole tree told.
        reached: list[tuple[StopToken, Phase]] = []
        todo = [(self, phase, reason)]
        while todo:  # a loop: a deep tree must not recurse
            token, phase, reason = todo.pop()
            if token._told >= phase:
                continue
            # A token that is marked and not yet told is being signalled by another
            # thread, which may not have come to its children: never skip it.
            reason = token._mark(phase, reason)
            reached.append((token, phase))
            for ref in reversed(list(token._children)):  # the oldest is next to go
                child = ref()
                if child is not None:
                    capped = _DRAIN if child._shield else phase
                    todo.append((child, capped, reason))
        for token, phase in reached:
            token._wake(phase)
        for token, phase in reached:
            token._told = max(token._told, phase)

    def _mark(self, phase: Phase, reason: str) -> str:
        """Show the phase; the reason that won is returned."""
        self._reasons.setdefault(_DRAIN, reason)
        self.draining = True
        if phase is _CANCEL:
            reason = self._reasons.setdefault(_CANCEL, reason)
            self.cancelled = True
            return reason
        return self._reasons[_DRAIN]

    def _wake(self, phase: Phase) -> None:
        for key in list(self._waiters):
            if key[0] <= phase:
                wake = self._waiters.pop(key, None)
                if wake is not None:
                    wake.put(None)
        if self._callbacks:
            for callback in sorted(self._callbacks, key=_Callback.order):
                if callback.phase <= phase:
                    self._run(callback)

    # -- being told

    def on_drain(self, fn: Listener) -> Callable[[], bool]:
        """Call ``fn(reason)`` once, when this token drains or is cancelled.

        It is called also if that was long ago.  It runs on a thread of its clock's,
        one callback after the other, so it should be brief; an exception is logged and
        stops neither the signal nor the other callbacks.

        Returns:
            Takes the callback back; True if that prevented its call.
        """
        return self._on(_DRAIN, fn)

    def on_cancel(self, fn: Listener) -> Callable[[], bool]:
        """Call ``fn(reason)`` once, when this token is cancelled; see ``on_drain``.

        An actor's own token is cancelled also when its incarnation fails.
        """
        return self._on(_CANCEL, fn)

    def _on(self, phase: Phase, fn: Listener) -> Callable[[], bool]:
        callback = _Callback(phase, fn, callback_thread(self._clock))
        self._callbacks[callback] = None  # publish
        if self.phase >= phase:  # then look
            self._run(callback)

        def take_back() -> bool:
            return self._callbacks.pop(callback, self) is None

        return take_back

    def forget_callbacks(self) -> None:
        """Take all its callbacks back, for they are of no more use.

        Those of a signal that is under way are called: its mark is seen before they
        are.  The tokens below it and those who wait keep hearing of its signals.  An
        actor's own token is told so when its incarnation has ended.
        """
        for callback in sorted(self._callbacks, key=_Callback.order):
            if self._take(callback) and self.phase >= callback.phase:  # take, then look
                self._call(callback)

    def _run(self, callback: _Callback) -> None:
        if self._take(callback):
            self._call(callback)

    def _take(self, callback: _Callback) -> bool:
        return self._callbacks.pop(callback, self) is None  # one thread gets None

    def _call(self, callback: _Callback) -> None:
        callback.thread.put(callback.fn, self._reasons[callback.phase])

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until this token drains or is cancelled.

        Args:
            timeout: Seconds on the token's clock; ``None`` waits as long as it takes.

        Returns:
            True if it has come to that, False after ``timeout``.
        """
        return self._wait(_DRAIN, timeout)

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        """Wait until this token is cancelled; see ``wait``."""
        return self._wait(_CANCEL, timeout)

    def _wait(self, phase: Phase, timeout: float | None) -> bool:
        if self.phase >= phase or (timeout is not None and timeout <= 0):
            return self.phase >= phase
        if timeout == math.inf:
            timeout = None
        wake = self._clock.queue()
        try:
            self.add_waiter(wake, phase)
            with contextlib.suppress(Empty):
                wake.get(timeout=timeout)
        finally:
            self.remove_waiter(wake)
        return self.phase >= phase

    def add_waiter(self, wake: WakeQueue, phase: Phase = Phase.CANCEL) -> None:
        """Put None to ``wake`` once, when the phase is reached or if it is already.

        For code that waits for several things on one wake queue, which must call
        ``remove_waiter`` in the end.  Adding what was added does nothing.
        """
        key = (phase, id(wake))  # the entry holds the queue: the id is not used again
        self._waiters[key] = wake  # publish
        if self.phase >= phase and self._waiters.pop(key, None) is not None:  # look
            wake.put(None)

    def remove_waiter(self, wake: WakeQueue) -> None:
        """Forget ``wake``; a None may already be in it."""
        for phase in (_DRAIN, _CANCEL):
            self._waiters.pop((phase, id(wake)), None)


class _Callback:
    """One registered callback; equal to itself alone."""

    __slots__ = ("fn", "phase", "thread")

    def __init__(self, phase: Phase, fn: Listener, thread: CallbackThread) -> None:
        self.phase = phase
        self.fn = fn
        self.thread = thread

    def order(self) -> Phase:
        """Sort DRAIN's before CANCEL's; sorting keeps the order of registration."""
        return self.phase


class _Limit(weakref.ref[StopToken]):
    """The time limit of a token that may be dropped before."""

    __slots__ = ("handle",)

    handle: TimerHandle

    def passed(self, timeout: float) -> None:
        """Cancel the token, if it is still there; runs on the clock's timer thread."""
        token = self()
        if token is not None:
            token.cancel(_timeout_passed(timeout))


def _timeout_passed(timeout: float) -> str:
    return f"its timeout of {timeout:g} s passed"
