"""Critical sections of a virtual clock's kernel, and puts that never wait for one.

:Runs on: any thread.
:Owns: the kernel's one lock, and the puts that are not applied yet.
:Guards: ``_mutex`` guards what the kernel owns, but ``_late``.
:Blocks: ``acquire``, for O(1).
"""

from __future__ import annotations

import abc
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from actors.clock import thread_ident
from actors.testing.errors import ClockError

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Receiver", "Sections"]


class Receiver(Protocol):
    """Something that can be put to."""

    def give(self, item: Any) -> None:
        """Take what was put; in a section."""


class Sections(abc.ABC):
    """``with sections:`` is one critical section.

    Attributes:
        holder: The identity of the thread that is in a section.
    """

    def __init__(self) -> None:
        self.holder: int | None = None
        # It knows whose it is: an interrupt may come between its taking and the next
        # line, or before its release, and leave it taken.
        self._mutex = threading.RLock()
        self._opener: FrameType | None = None  # Where the present section began.
        # Puts not yet applied.  Appended to without the lock, so that a finaliser or a
        # signal handler may put while its own thread is inside a section; applied by
        # whoever has the lock, at the latest before it counts anybody as parked.
        self._late: deque[tuple[Receiver, Any]] = deque()

    @abc.abstractmethod
    def before_release(self) -> None:
        """Do what every section ends with; in a section."""

    def acquire(self) -> None:
        """Begin a section; what was put before it is applied first.

        Raises:
            ClockError: If the calling thread is in one: its finaliser or signal handler
                would change what is half changed.
        """
        if self.holder == thread_ident():
            self._refuse_nested()
        try:
            self._mutex.acquire()
            self.holder = thread_ident()
            self._opener = sys._getframe(1)  # noqa: SLF001  # it is public
            if self._late:
                self._apply_late()
        except BaseException:  # a signal handler's
            self.break_off()
            raise

    def release(self) -> None:
        """End a section."""
        try:
            self.before_release()
        finally:
            self.holder = self._opener = None
            self._mutex.release()
        if self._late:
            self._flush()

    __enter__ = acquire

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def inside(self) -> bool:
        """True if the calling thread is in a section."""
        return self._mutex._is_owned()  # type: ignore[attr-defined,no-any-return]  # noqa: SLF001  # as threading.Condition asks it

    def break_off(self) -> None:
        """End the calling thread's section, which an interrupt has left open."""
        while self.inside():
            self.holder = self._opener = None
            self._mutex.release()

    def _refuse_nested(self) -> None:
        frame: FrameType | None = sys._getframe(2)  # noqa: SLF001  # it is public
        while frame is not None and frame is not self._opener:
            frame = frame.f_back
        if frame is None:  # nobody is in it any more: its end was interrupted
            self.break_off()
            return
        message = (
            "a finaliser or a signal handler came while its thread was at work in the "
            "clock; there it can put to a queue or release a hold, nothing else"
        )
        raise ClockError(message)

    def put(self, receiver: Receiver, item: Any) -> None:
        """Have ``receiver.give(item)`` called in a section, without waiting for it.

        Publish, then look: if the lock is taken, its holder looks after its release.
        """
        self._late.append((receiver, item))
        self._flush()

    def _flush(self) -> None:
        if self.holder == thread_ident():
            return
        try:
            while self._late and self._mutex.acquire(blocking=False):
                self.holder = thread_ident()
                self._opener = sys._getframe()  # noqa: SLF001  # it is public
                try:
                    self._apply_late()
                    self.before_release()
                finally:
                    self.holder = self._opener = None
                    self._mutex.release()
        except BaseException:  # a signal handler's
            self.break_off()
            raise

    def _apply_late(self) -> None:
        late = self._late
        while late:
            receiver, item = late.popleft()
            receiver.give(item)
