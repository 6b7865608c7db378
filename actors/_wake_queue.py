"""What a waiting thread blocks on in real time.

:Runs on: any thread; ``put`` also in signal handlers and finalisers.
:Owns: a queue its items.
:Blocks: ``get``, until there is an item or its time is over.
:Order: first in, first out.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
import types
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Empty",
    "Full",
    "LONGEST_WAIT",
    "PatientQueue",
    "RealTime",
    "SignalProofQueue",
    "WakeQueue",
    "wake_queue",
]

Empty = queue.Empty
Full = queue.Full
LONGEST_WAIT: Final = threading.TIMEOUT_MAX / 2
"""Seconds: to ask the system for a longer wait, or for one without end, overflows."""


class WakeQueue(Protocol):
    """What one waiting thread blocks on: whoever wakes it puts something here.

    ``put`` never blocks and takes no lock of ours, so a system clock's wake queue may
    be put to from a signal handler or a finaliser.
    """

    def put(self, item: Any, /) -> None:
        """Wake the waiting thread, or the next ``get``."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
        """Wait for an item; raises ``Empty`` after ``timeout`` seconds."""

    def get_nowait(self) -> Any:
        """Take an item if there is one, else raise ``Empty``."""

    def empty(self) -> bool:
        """True when a ``get`` would wait."""


def _genuine_monotonic() -> Callable[[], float]:
    monotonic = time.monotonic  # noqa: TID251  # this module is time's one home
    if isinstance(monotonic, types.BuiltinFunctionType):
        return monotonic
    # Imported while a freezer is active: clock_gettime is not patched by freezegun.
    gettime, which = time.clock_gettime, time.CLOCK_MONOTONIC
    return lambda: gettime(which)


class RealTime:
    """The monotonic clock of the system.

    ``monotonic`` is an attribute of a class because freezegun rewrites attributes of
    modules alone.
    """

    monotonic = staticmethod(_genuine_monotonic())


class SignalProofQueue:
    """What ``queue.SimpleQueue`` is, for a Python older than 3.13.

    There a ``SimpleQueue.get`` with a timeout waits for ever when a signal handler
    interrupts it and its deadline has passed when the handler returns.  A lock's
    ``acquire`` with a timeout does not.  ``put`` is as safe as SimpleQueue's, in a
    signal handler too: two calls of C methods that never wait.
    """

    __slots__ = ("_gate", "_items")

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        # Closed while locked.  Invariant: each put is followed by an opening, so a
        # reader that waits at the gate will look again after it.
        self._gate = threading.Lock()
        self._gate.acquire()

    def put(self, item: Any, /) -> None:
        """See :meth:`WakeQueue.put`."""
        self._items.append(item)
        try:
            self._gate.release()
        except RuntimeError:  # open already
            return

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
        """See :meth:`WakeQueue.get`."""
        end = None
        if timeout is not None:
            end = RealTime.monotonic() + min(timeout, LONGEST_WAIT)
        last_look = not block
        while True:
            try:
                item = self._items.popleft()
            except IndexError:
                if last_look:
                    raise Empty from None
            else:
                if self._items:  # two puts opened once: let the next reader look too
                    with contextlib.suppress(RuntimeError):
                        self._gate.release()
                return item
            if end is None:
                self._gate.acquire()
            else:
                left = end - RealTime.monotonic()
                last_look = left <= 0 or not self._gate.acquire(timeout=left)

    def get_nowait(self) -> Any:
        """See :meth:`WakeQueue.get_nowait`."""
        return self.get(block=False)

    def empty(self) -> bool:
        """See :meth:`WakeQueue.empty`."""
        return not self._items


class PatientQueue(queue.SimpleQueue[Any]):
    """A ``queue.SimpleQueue`` that can also wait for ever and a day."""

    __slots__ = ()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
        """See :meth:`WakeQueue.get`."""
        if timeout is not None:
            timeout = min(timeout, LONGEST_WAIT)
        return super().get(block, timeout)


wake_queue: Callable[[], WakeQueue] = (
    PatientQueue if sys.version_info >= (3, 13) else SignalProofQueue
)
