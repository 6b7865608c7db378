"""A thread that waits for a start, and makes objects for it meanwhile.

Some objects must be made on one certain thread: those of a GUI toolkit on its main
thread.  A child with ``init_in="caller"`` has its first ``__init__`` run here, on the
thread that called ``start`` or ``start_child``, which waits anyway.

:Runs on: ``make_on`` on the child's thread, ``wait_for`` on the caller's.
:Owns: the queue of what is to be made.
:Blocks: ``make_on`` until it is made; ``wait_for`` until the start has come about.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from actors import Empty

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from actors import Clock, WakeQueue

__all__ = ["Caller", "patience"]

T = TypeVar("T")

AGES: Final = 1e9
"""Seconds; thirty years are no limit."""


def patience(timeout: float | None) -> float | None:
    """What a future takes: none for a limit of decades, which would overflow."""
    return None if timeout is None or timeout >= AGES else timeout


class _Order:
    """Something to make; whoever pops ``claim`` decides what becomes of it.

    Attributes:
        claim: What makes it.
        done: Put to when the caller has made it, or will not.
        made: It has.
        error: What that raised.
    """

    __slots__ = ("claim", "done", "error", "made")

    def __init__(self, make: Callable[[], None], done: WakeQueue) -> None:
        self.claim = [make]
        self.done = done
        self.made = False
        self.error: BaseException | None = None


@final
class Caller:
    """The caller's thread, as the children's threads see it.

    Args:
        clock: Makes what both wait on.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._orders = clock.queue()
        # All that there were.  A signal may interrupt the caller anywhere, as between
        # taking one and making it; on leaving it answers each once more.
        self._given: list[_Order] = []
        self._left = False

    def make_on(self, make: Callable[[], None]) -> bool:
        """Have ``make()`` run on the caller's thread; what it raises is raised here.

        Returns:
            False if the caller is there no more: ``make`` did not run.
        """
        order = _Order(make, self._clock.queue())
        self._given.append(order)
        self._orders.put(order)
        # 1. We give, then look whether it has left. 2. It leaves, then looks what was
        # given.  Whichever is second sees the other; the claim is popped once.
        if self._left:
            with contextlib.suppress(IndexError):
                order.claim.pop()
                return False
        order.done.get()
        if order.error is not None and not order.made:
            raise order.error
        return order.made

    def wait_for(self, started: Future[T], timeout: float | None = None) -> T:
        """Wait for ``started``, and make what is asked for until then.

        Raises:
            TimeoutError: If it has not come about after ``timeout`` seconds.
            BaseException: What ``started`` was completed with.
        """
        try:
            started.add_done_callback(self._wake)
            deadline = None if timeout is None else self._clock.monotonic() + timeout
            while not started.done():
                self._make_next(deadline)
        finally:
            self._leave()
        return started.result(0)

    def _wake(self, _: Future[Any]) -> None:
        self._orders.put(None)

    def _make_next(self, deadline: float | None) -> None:
        left = None if deadline is None else deadline - self._clock.monotonic()
        if left is not None and left <= 0:
            message = "the child did not start in time; its start goes on"
            raise TimeoutError(message)
        try:
            order = self._orders.get(timeout=left)
        except Empty:
            return
        if order is None:
            return
        try:
            make = order.claim.pop()
        except IndexError:  # it makes it itself
            return
        order.error = InterruptedError("whoever started it was interrupted")
        try:
            make()
            order.made = True
        except BaseException as error:  # the child's own: it fails there
            order.error = error
            if not isinstance(error, Exception):
                raise
        finally:
            order.done.put(None)

    def _leave(self) -> None:
        self._left = True
        for order in self._given:
            with contextlib.suppress(IndexError):
                order.claim.pop()
            order.done.put(None)
