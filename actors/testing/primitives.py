"""What a virtual clock hands out for code to wait on.

Each has the interface of its namesake in ``threading`` or ``queue``.  Waiting parks the
thread with the clock; waking counts it as running in the same section.  A wait of no
length is a poll and parks nobody, else polling would need time to move.

:Runs on: any thread may wake; only enrolled threads may wait.
:Owns: its own wait set.
:Guards: wait sets and queued items are guarded by the kernel's lock.
:Blocks: ``get``, ``wait`` and ``wait_for``, in virtual time.
:Order: waiters are woken in the order in which they came.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from actors.clock import Empty, raw_lock
from actors.testing.locks import SerialRLock
from actors.testing.task import RUNNING, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.testing.kernel import Kernel
    from actors.testing.task import Task

__all__ = ["VirtualCondition", "VirtualEvent", "VirtualHold", "VirtualQueue"]


class VirtualQueue:
    """A wake queue: ``queue.SimpleQueue`` in virtual time.

    ``put`` never waits for a lock, so it may be called from a foreign thread, a signal
    handler or a finaliser.  An item is handed to a waiting reader directly.
    """

    __slots__ = ("_items", "_kernel", "_waiters")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._items: deque[Any] = deque()
        self._waiters: deque[Task] = deque()

    def put(self, item: Any, /) -> None:
        """See :meth:`actors.clock.WakeQueue.put`."""
        self._kernel.put(self, item)

    def give(self, item: Any) -> None:
        """Apply a ``put``; in a section of the kernel."""
        if self._waiters:
            self._kernel.wake(self._waiters[0], result=(item,))
        else:
            self._items.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
        """See :meth:`actors.clock.WakeQueue.get`."""
        limit = None if timeout is None else nanoseconds(timeout)
        kernel = self._kernel
        task = kernel.find()
        kernel.acquire()
        if self._items:
            item = self._items.popleft()
            kernel.release()
            return item
        if not block or limit == 0:
            kernel.release()
            raise Empty
        if task is None or task.state != RUNNING:
            kernel.release()
            task = kernel.refuse(task)
        try:
            given = kernel.park(task, "queue.get()", self._waiters, limit)
        except BaseException:
            self._take_back(task)
            raise
        if given is None:
            raise Empty
        return given[0]

    def _take_back(self, task: Task) -> None:
        """The wait was broken off just as an item was handed over: pass it on."""
        with self._kernel:
            given, task.result = task.result, None
            if given is None:
                return
            if self._waiters:
                self._kernel.wake(self._waiters[0], result=given)
            else:
                self._items.appendleft(given[0])

    def get_nowait(self) -> Any:
        """See :meth:`actors.clock.WakeQueue.get_nowait`."""
        return self.get(block=False)

    def empty(self) -> bool:
        """See :meth:`actors.clock.WakeQueue.empty`."""
        with self._kernel:
            return not self._items


class VirtualCondition:
    """``threading.Condition`` in virtual time."""

    def __init__(self, kernel: Kernel, lock: Any = None) -> None:
        self._kernel = kernel
        if lock is None:
            lock = SerialRLock(kernel) if kernel.serial else threading.RLock()
        self._lock: Any = lock
        self._waiters: deque[Task] = deque()
        self.acquire = lock.acquire
        self.release = lock.release
        if hasattr(lock, "_release_save"):
            self._save: Callable[[], Any] = lock._release_save  # noqa: SLF001
            self._restore: Callable[[Any], object] = lock._acquire_restore  # noqa: SLF001
        else:
            self._save = lock.release
            self._restore = lambda _none: lock.acquire()
        owned = getattr(lock, "_is_owned", None) or getattr(lock, "locked", None)
        self._is_held: Callable[[], bool] = owned or (lambda: True)

    def __enter__(self) -> Any:
        return self._lock.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.__exit__(*exc_info)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a ``notify``; the lock is given up meanwhile.

        Returns:
            False when the timeout came first.
        """
        self._check_owned("wait on")
        if timeout is None:
            return self._wait(None)
        return timeout > 0 and self._wait(nanoseconds(timeout))

    def _wait(self, limit: int | None) -> bool:
        kernel = self._kernel
        task = kernel.current()
        kernel.acquire()
        try:
            saved = self._save()  # never blocks, and the task still counts as running
        except BaseException:  # a lock of the user's own
            kernel.release()
            raise
        try:
            return bool(kernel.park(task, "condition.wait()", self._waiters, limit))
        finally:
            self._restore(saved)

    def wait_for(
        self, predicate: Callable[[], Any], timeout: float | None = None
    ) -> Any:
        """Wait until ``predicate()`` is true; returns its last value."""
        limit = 0 if timeout is None else nanoseconds(timeout)
        end = self._kernel.now + limit
        result = predicate()
        while not result:
            left = end - self._kernel.now
            if timeout is not None and left <= 0:
                break
            self._check_owned("wait on")
            self._wait(None if timeout is None else left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        """Wake ``n`` waiting threads, in the order in which they came."""
        self._check_owned("notify on")
        kernel = self._kernel
        with kernel:
            for task in tuple(self._waiters)[:n]:
                kernel.wake(task, result=True)

    def notify_all(self) -> None:
        """Wake every waiting thread."""
        self.notify(len(self._waiters))

    def _check_owned(self, what: str) -> None:
        if not self._is_held():
            message = f"cannot {what} un-acquired lock"
            raise RuntimeError(message)


class VirtualEvent:
    """``threading.Event`` in virtual time."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._condition = VirtualCondition(kernel, raw_lock())
        self._flag = False

    def is_set(self) -> bool:
        """True between ``set`` and ``clear``."""
        return self._flag

    def set(self) -> None:
        """Wake every waiting thread, now and until ``clear``."""
        with self._condition:
            self._flag = True
            self._condition.notify_all()

    def clear(self) -> None:
        """Make ``wait`` wait again."""
        with self._condition:
            self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for ``set``; False on timeout.

        A ``clear`` that follows ``set`` at once does not take the wake-up back.
        """
        with self._condition:
            if self._flag or self._condition.wait(timeout):
                return True
        if timeout is not None and timeout <= 0:
            self._kernel.reschedule(give_way=True)
        return False


class VirtualHold:
    """A promise of work to come; time stands still until its release."""

    __slots__ = ("_kernel",)

    def __init__(self, kernel: Kernel, reason: str) -> None:
        self._kernel = kernel
        with kernel:
            kernel.holds[self] = reason

    def release(self) -> None:
        """Let time move again; a second call does nothing."""
        self._kernel.put(self, None)  # a finaliser may do it, wherever it comes

    def give(self, _item: None) -> None:
        """Apply a ``release``; in a section of the kernel."""
        if self._kernel.holds.pop(self, None) is not None:
            self._kernel.settle_count()

    def __enter__(self) -> VirtualHold:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()
