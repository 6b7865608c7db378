"""Locks that serial scheduling can see.

A thread that finds one taken parks with the clock instead of blocking, so that its
holder, who may be waiting for a turn, gets one.  Taking one is a scheduling point,
before it is taken and never while it is held.

:Runs on: any thread; one that the clock does not know blocks in real time.
:Owns: who holds the lock, and who waits for it.
:Guards: the wait set is guarded by the kernel's lock.
:Blocks: ``acquire``, in virtual time.
:Order: waiters are woken in the order in which they came; a newcomer may overtake them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from actors.clock import raw_lock, thread_ident
from actors.testing.task import nanoseconds

if TYPE_CHECKING:
    from actors.testing.kernel import Kernel
    from actors.testing.task import Task

__all__ = ["SerialLock", "SerialRLock"]


class SerialLock:
    """``threading.Lock`` for one thread at a time.

    Args:
        kernel: Whose threads it orders.

    Attributes:
        owner: The identity of the thread that holds it, ``None`` if nobody does.
    """

    __slots__ = ("_kernel", "_lock", "_point", "_waiters", "_wanted", "owner")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._point = kernel.preempts
        self._lock = raw_lock()
        # Raised before a look at the lock that may end in parking, so that a release
        # either sees it or comes before that look.
        self._wanted = 0
        self._waiters: deque[Task] = deque()
        self.owner: int | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002
        """See ``threading.Lock.acquire``."""
        if self._point:
            self._kernel.reschedule()
        taken = self._lock.acquire(blocking=False)
        if not taken and blocking:
            taken = self._wait(timeout)
        if taken:
            self.owner = thread_ident()
        return taken

    def _wait(self, timeout: float) -> bool:
        kernel = self._kernel
        task = kernel.find()
        if task is None or kernel.closed:
            return self._lock.acquire(timeout=timeout)
        end = None if timeout < 0 else kernel.now + nanoseconds(timeout)
        self._wanted += 1
        try:
            while True:
                kernel.acquire()
                kernel.holds.pop(task, None)
                if self._lock.acquire(blocking=False):
                    kernel.release()
                    return True
                left = None if end is None else end - kernel.now
                if left is not None and left <= 0:
                    kernel.release()
                    return False
                if self._is_held_outside():
                    kernel.holds[task] = "a lock that some other thread has taken"
                self._park(task, left)
        finally:
            self._wanted -= 1

    def _park(self, task: Task, timeout: int | None) -> None:
        kernel = self._kernel
        try:
            kernel.park(task, "lock.acquire()", self._waiters, timeout)
        except BaseException:
            with kernel:
                kernel.holds.pop(task, None)
            kernel.put(self, None)  # it may have been this thread's turn to try
            raise

    def _is_held_outside(self) -> bool:
        """True if a thread that the clock does not know has it, which takes real time.

        Between taking it and saying so, and again before giving it back, it has no
        owner.  A thread of the clock's own is never interrupted there.
        """
        owner = self.owner
        return owner is None or self._kernel.is_outside(owner)

    def release(self) -> None:
        """See ``threading.Lock.release``."""
        self.owner = None
        self._lock.release()
        if self._wanted:
            self._kernel.put(self, None)

    def give(self, _item: None) -> None:
        """Let the first who waits try again; in a section of the kernel."""
        if self._waiters:
            self._kernel.wake(self._waiters[0])

    def locked(self) -> bool:
        """See ``threading.Lock.locked``."""
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # A wait on a condition that was broken off ends without the lock.
        if kind is None or self.owner == thread_ident():
            self.release()


class SerialRLock(SerialLock):
    """``threading.RLock`` for one thread at a time."""

    __slots__ = ("_depth",)

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002
        """See ``threading.RLock.acquire``."""
        if self.owner != thread_ident() and not super().acquire(blocking, timeout):
            return False
        self._depth += 1
        return True

    def release(self) -> None:
        """See ``threading.RLock.release``."""
        if self.owner != thread_ident():
            message = "cannot release un-acquired lock"
            raise RuntimeError(message)
        self._depth -= 1
        if not self._depth:
            super().release()

    def _is_owned(self) -> bool:
        return self.owner == thread_ident()

    def _release_save(self) -> int:
        depth, self._depth = self._depth, 0
        super().release()
        return depth

    def _acquire_restore(self, depth: Any) -> None:
        self._restore_owner()
        self._depth = depth

    def _restore_owner(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._wait(-1)
        self.owner = thread_ident()
