"""Critical sections of a virtual clock's kernel, and puts that never wait for one.

:Runs on: any thread.
:Owns: the kernel's one lock, and the puts that are not applied yet.
:Guards: ``_mutex`` guards what the kernel owns, but ``_late``.
:Blocks: ``acquire``, for O(1).
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from actors.clock import raw_lock, thread_ident

__all__ = ["Receiver", "Sections"]


class Receiver(Protocol):
    """Something that can be put to."""

    def give(self, item: Any) -> None:
        """Take what was put; in a section."""


class Sections:
    """``with sections:`` is one critical section.

    Attributes:
        holder: The identity of the thread that is in a section.
    """

    def __init__(self) -> None:
        self.holder: int | None = None
        self._mutex = raw_lock()
        # Puts not yet applied.  Appended to without the lock, so that a finaliser or a
        # signal handler may put while its own thread is inside a section; applied by
        # whoever has the lock, at the latest before it counts anybody as parked.
        self._late: deque[tuple[Receiver, Any]] = deque()

    def before_release(self) -> None:
        """Do what every section ends with; in a section."""
        raise NotImplementedError

    def acquire(self) -> None:
        """Begin a section; what was put before it is applied first."""
        self._mutex.acquire()
        self.holder = thread_ident()
        if self._late:
            self._apply_late()

    def release(self) -> None:
        """End a section."""
        try:
            self.before_release()
        finally:
            self.holder = None
            self._mutex.release()
        if self._late:
            self._flush()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def put(self, receiver: Receiver, item: Any) -> None:
        """Have ``receiver.give(item)`` called in a section, without waiting for it.

        Publish, then look: if the lock is taken, its holder looks after its release.
        """
        self._late.append((receiver, item))
        self._flush()

    def _flush(self) -> None:
        while self._late and self._mutex.acquire(blocking=False):
            self.holder = thread_ident()
            try:
                self._apply_late()
                self.before_release()
            finally:
                self.holder = None
                self._mutex.release()

    def _apply_late(self) -> None:
        late = self._late
        while late:
            receiver, item = late.popleft()
            receiver.give(item)
