"""Bounded hand-over of items from many senders to many readers.

A full channel makes its sender wait; that wait is the pipeline's backpressure.

:Runs on: any thread.
:Owns: the items that wait.
:Guards: ``lock`` guards every field; an owner may pass its own lock and hold it.
:Blocks: ``put`` until there is a place, ``take`` until there is an item, both until a
    timeout or close; ``put`` also until its token is cancelled.  Nothing else.
:Order: first in, first out, also among blocked senders; ``offer_first`` goes ahead.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from actors._bounded import Bounded, Ticket
from actors.clock import in_turn

if TYPE_CHECKING:
    from actors.clock import Clock, Lock, WakeQueue
    from actors.stop_token import StopToken

__all__ = ["Channel", "Ticket"]


class Channel(Bounded["_Lane"]):
    """Bounded hand-over with any number of senders and of readers.

    ``put``, ``take``, ``close``, ``wait_entered``, ``len`` and the properties are for
    everybody.  The other methods are for an owner that keeps more than items behind
    ``lock`` (a ledger enters a job here and in its table in one step): they want
    the lock held, never wait, and return whom to wake once the lock is released.

    Args:
        capacity: How many items may wait; ``None`` for no bound.
        lock: The owner's lock; one of the clock's by default.
        clock: Makes the wake queues and measures timeouts; the ambient one by default.

    Raises:
        ConfigurationError: If ``capacity`` is less than 1.
    """

    __slots__ = ("_first",)

    def __init__(
        self,
        capacity: int | None = 10,
        *,
        lock: Lock | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(_Lane(), capacity, lock, clock)
        self._first = _Lane()  # read before _items, outside the bound

    def __len__(self) -> int:
        first, items = self._first, self._items
        return len(first) - first.struck_out + len(items) - items.struck_out

    # -- for everybody

    def put(
        self, x: Any, *, wait: bool | float = True, token: StopToken | None = None
    ) -> None:
        """Enter an item; wait for a place while the channel is full.

        Args:
            x: The item.
            wait: True to wait as long as it takes, False not to, else seconds.
            token: Its cancellation ends the wait.

        Raises:
            MailboxFull: If there was no place, or none came in time.
            MailboxClosed: If the channel is closed, or closes during the wait.
            Cancelled: If the token was cancelled during the wait.
        """
        ticket = None
        lock = self.lock
        if lock.locked():  # looked at here: it saves a call for each item
            in_turn(lock)
        with lock:
            items = self._items
            if items.present is None and len(items) < self._room and not self._readers:
                items.append(x)
                return  # nothing else to do: the common case
            entered, reader = self.offer(x)
            if not entered:
                if wait <= 0:
                    raise self._full_error(wait)
                ticket, reader = self.wait_for_place(x, self._clock.queue())
        if reader is not None:
            reader.put(None)
        if ticket is not None:
            self.wait_entered(ticket, wait=wait, token=token)

    def take(self, timeout: float | None = None) -> Any:
        """Take the next item; wait while there is none.

        Args:
            timeout: Seconds to wait; ``None`` for as long as it takes.

        Raises:
            Empty: If nothing came in time.
            MailboxClosed: If the channel is closed.
        """
        popped = None
        with self.lock:
            items = self._items
            if items and items.present is None and not (self._tickets or self._first):
                return items.popleft()  # nothing else to do: the common case
            if items or self._first:
                popped = self._pop()
        item, ticket = popped or self._wait(timeout)
        if ticket is not None:
            ticket.wake.put(None)
        return item

    def _wait(self, timeout: float | None) -> tuple[Any, Ticket | None]:
        clock = self._clock
        wake = clock.queue()
        deadline = None if timeout is None else clock.monotonic() + timeout
        left = timeout
        try:
            while True:
                with in_turn(self.lock):
                    popped = self.pop(wake)
                if popped is not None:
                    return popped
                if self._closed:
                    raise self._closed_error()  # noqa: TRY301  # same clean-up
                if deadline is not None:
                    left = max(0.0, deadline - clock.monotonic())
                wake.get(timeout=left)
        except BaseException:  # Empty, or one from outside: leave no trace behind
            self._pass_on(wake)
            raise

    def close(self) -> list[Any]:
        """Refuse every later put, and wake all who wait, for good.

        Returns:
            The items that nobody took, in order.  Those of blocked senders are not
            among them: these senders get ``MailboxClosed``.
        """
        with in_turn(self.lock):
            items, tickets, readers = self.shut()
        self._wake_all(tickets, readers)
        return items

    # -- for an owner that holds the lock

    @property
    def has_room(self) -> bool:
        """True if an item that is not forced would enter; the lock is held."""
        return self._has_place()

    def offer(self, item: Any, *, force: bool = False) -> tuple[bool, WakeQueue | None]:
        """Enter an item if there is room; the lock is held.

        Args:
            item: The item.
            force: Enter it past the bound; it counts all the same.

        Returns:
            Whether it is in, and a reader to wake.

        Raises:
            MailboxClosed: If the channel is closed.
        """
        items = self._items
        if len(items) - items.struck_out < self._room or (force and not self._closed):
            items.append(item)
            if items.present is not None:
                items.present[id(item)] += 1
            return True, self._next_reader() if self._readers else None
        self._check_open()
        return False, None

    def offer_first(self, item: Any) -> WakeQueue | None:
        """Enter an item ahead of all but earlier such ones; the lock is held.

        It needs no place and does not count against the capacity: it is work that
        had been let in before.

        Returns:
            A reader to wake.

        Raises:
            MailboxClosed: If the channel is closed.
        """
        self._check_open()
        self._first.add(item)
        return self._next_reader()

    def pop(self, wake: WakeQueue) -> tuple[Any, Ticket | None] | None:
        """Take the next item, or register as an idle reader; the lock is held.

        Args:
            wake: Put to, once, when there may be an item.

        Returns:
            The item and the ticket of the sender that got its place, to be woken;
            ``None`` if there is no item.
        """
        if not (self._items or self._first):
            self._readers[wake] = None
            return None
        if self._readers:
            self._readers.pop(wake, None)
        return self._pop()

    def discard(self, item: Any) -> tuple[bool, Ticket | None]:
        """Take out one item by identity, wherever it stands; the lock is held.

        Amortised O(1).

        Returns:
            Whether it was there, and the ticket of the sender that got its place, to
            be woken.
        """
        if self._first.strike(item):
            return True, None
        if not self._items.strike(item):
            return False, None
        return True, self._admit()

    def shut(self) -> tuple[list[Any], list[Ticket], list[WakeQueue]]:
        """Close; the lock is held.

        Returns:
            The items in order, the tickets that are now closed, and the idle readers:
            wake the last two.
        """
        items = [*self._first.drain(), *self._items.drain()]
        tickets, readers = self._shut()
        return items, tickets, readers

    def _pop(self) -> tuple[Any, Ticket | None]:
        if self._first:
            return self._first.pop_next(), None
        items = self._items
        item = items.popleft() if items.present is None else items.pop_next()
        return item, self._admit() if self._tickets else None

    def _has_place(self) -> bool:
        return len(self._items) - self._items.struck_out < self._room

    def _append(self, item: Any) -> None:
        self._items.add(item)

    def _readable(self) -> bool:
        return bool(self._items or self._first)


class _Lane(deque[Any]):
    """First in, first out; an item in the middle can be struck out in O(1).

    Struck items stay where they are until they come to the head or are more than half.

    Attributes:
        present: How many of each item (by ``id``) are in the lane and not struck out;
            ``None`` until something is struck out: the lane then costs a deque's time.
        struck: How many of each are struck out; the first ones that come are meant.
        struck_out: Their sum.
    """

    # Invariant: the head is not struck out; an empty lane has present None.
    __slots__ = ("present", "struck", "struck_out")

    def __init__(self) -> None:
        super().__init__()
        self.present: Counter[int] | None = None
        self.struck: Counter[int] = Counter()
        self.struck_out = 0

    def add(self, item: Any) -> None:
        self.append(item)
        if self.present is not None:
            self.present[id(item)] += 1

    def pop_next(self) -> Any:
        item = self.popleft()
        if self.present is not None:
            _count_down(self.present, id(item))
            self._tidy()
        return item

    def strike(self, item: Any) -> bool:
        if not self:
            return False
        if self.present is None:
            self.present = Counter(map(id, self))
        if not _count_down(self.present, id(item)):
            return False
        self.struck[id(item)] += 1
        self.struck_out += 1
        self._tidy()
        return True

    def drain(self) -> list[Any]:
        """Take everything that is not struck out."""
        items = [item for item in self if not self._passes(item)]
        self.clear()
        self._tidy()
        return items

    def _tidy(self) -> None:
        while self and self._passes(self[0]):
            self.popleft()
        if self.struck_out * 2 > len(self):
            alive = [item for item in self if not self._passes(item)]
            self.clear()
            self.extend(alive)
        if not self:
            self.present = None

    def _passes(self, item: Any) -> bool:
        """True if this one is struck out; it must then leave the lane."""
        if not self.struck_out or not _count_down(self.struck, id(item)):
            return False
        self.struck_out -= 1
        return True


def _count_down(counts: Counter[int], key: int) -> bool:
    left = counts.get(key, 0) - 1
    if left > 0:
        counts[key] = left
    else:
        counts.pop(key, None)
    return left >= 0
