"""Bounded hand-over of items from many senders to many readers.

A full channel makes its sender wait; that wait is the pipeline's backpressure.  A place
that comes free is given to the sender that has waited longest: whoever frees it moves
that sender's item in, and the sender wakes only to learn of it.  So the bound is strict
and senders enter in the order in which they came.

Every waiting thread blocks on a wake queue of its own.  Wakers take its registration
away under the lock and put to the queue after they have released it, so that nobody
ever holds two locks and exactly the right thread wakes.

:Runs on: any thread.
:Owns: the items that wait, the tickets of blocked senders, the list of idle readers.
:Guards: ``lock`` guards every field; an owner may pass its own lock and hold it.
:Blocks: ``put`` until there is a place, ``take`` until there is an item, both until a
    timeout or close; ``put`` also until its token is cancelled.  Nothing else.
:Order: first in, first out, also among blocked senders; ``offer_first`` goes ahead.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar

from actors.clock import Empty, ambient_clock, raw_lock
from actors.errors import Cancelled, ConfigurationError, MailboxClosed, MailboxFull
from actors.stop_token import Phase

if TYPE_CHECKING:
    from actors.clock import Clock, Lock, WakeQueue
    from actors.stop_token import StopToken

__all__ = ["Bounded", "Channel", "Ticket"]

TicketState: TypeAlias = Literal["waiting", "entered", "closed", "given up"]
T = TypeVar("T", bound="deque[Any]")

_INFINITE: Final = float("inf")


class Ticket:
    """The place in line of one sender that waits for room.

    Attributes:
        item: What the sender wants to enter.
        wake: Where the sender waits; put to it after ``state`` has changed.
        state: ``"waiting"``, then one of ``"entered"`` (the item is in, or was read
            already), ``"closed"`` (it never will be) and ``"given up"``.
    """

    __slots__ = ("item", "state", "wake")

    def __init__(self, item: Any, wake: WakeQueue) -> None:
        self.item = item
        self.wake = wake
        self.state: TicketState = "waiting"


class Bounded(Generic[T]):
    """What :class:`Channel` and :class:`actors.Mailbox` share: places and who waits.

    Not for use by itself.  Methods without a leading underscore that are not marked
    otherwise want ``lock`` held and wake nobody: they return whom to wake.

    Args:
        items: The lane that the places belong to.
        capacity: How many items have a place; ``None`` for no bound.
        lock: The raw lock that guards this object; a new one by default.
        clock: Makes the wake queues and measures timeouts; the ambient one by default.
    """

    __slots__ = (
        "__weakref__", "_capacity", "_clock", "_closed", "_free", "_items",
        "_readers", "_tickets", "lock",
    )  # fmt: skip
    _noun = "channel"

    def __init__(
        self,
        items: T,
        capacity: int | None,
        lock: Lock | None,
        clock: Clock | None,
    ) -> None:
        if capacity is not None and capacity < 1:
            message = (
                f"capacity must be at least 1 or None, got {capacity}; "
                f"use None for a {self._noun} without bound"
            )
            raise ConfigurationError(message)
        # Guards every field.  Held for O(1) work; no user code, no other lock inside.
        self.lock: Lock = raw_lock() if lock is None else lock
        self._clock = ambient_clock() if clock is None else clock
        self._capacity = capacity
        self._items = items
        self._closed = False
        # Invariant: while a ticket waits, _free <= 0.  Forced items may make it
        # negative; it is minus infinity once closed, so one comparison admits a put.
        self._free: float = _INFINITE if capacity is None else capacity
        self._tickets: deque[Ticket] = deque()
        # Invariant: while a reader is registered, at least as many wake-ups are on
        # their way to readers as there are items to read and tickets that wait.
        self._readers: OrderedDict[WakeQueue, None] = OrderedDict()

    @property
    def capacity(self) -> int | None:
        """How many items have a place; ``None`` when there is no bound."""
        return self._capacity

    @property
    def closed(self) -> bool:
        """True once closed; it never opens again."""
        return self._closed

    @property
    def waiting_senders(self) -> int:
        """How many senders wait for a place."""
        return len(self._tickets)

    # -- senders that wait

    def wait_for_place(
        self, item: Any, wake: WakeQueue
    ) -> tuple[Ticket, WakeQueue | None]:
        """Queue up behind the senders that wait already; the lock is held.

        Args:
            item: What is entered once there is a place.
            wake: Put to when the ticket's state has changed.

        Returns:
            The ticket, and an idle reader to wake (it will free a place).
        """
        ticket = Ticket(item, wake)
        self._tickets.append(ticket)
        return ticket, self._next_reader()

    def give_up(self, ticket: Ticket) -> bool:
        """Leave the line; the lock is held.

        Returns:
            True if the ticket was still waiting: its item will not enter.
        """
        if ticket.state != "waiting":
            return False
        self._tickets.remove(ticket)
        ticket.state = "given up"
        return True

    def wait_entered(
        self,
        ticket: Ticket,
        *,
        wait: bool | float = True,
        token: StopToken | None = None,
    ) -> None:
        """Wait, without the lock, until the ticket's item is in.

        Args:
            ticket: From ``wait_for_place``.
            wait: True to wait as long as it takes, else seconds on the clock.
            token: Its cancellation ends the wait.

        Raises:
            MailboxFull: If no place came in time.
            MailboxClosed: If there never will be one.
            Cancelled: If the token was cancelled first.
        """
        deadline = None if wait is True else self._clock.monotonic() + wait
        if token is not None:
            token.add_waiter(ticket.wake, Phase.CANCEL)
        try:
            while ticket.state == "waiting":
                self._wait_once(ticket, deadline, token)
        finally:  # also after an exception from outside, as a KeyboardInterrupt
            self._leave(ticket)
            if token is not None:
                token.remove_waiter(ticket.wake)
        if ticket.state == "given up":
            raise self._full_error(wait)
        if ticket.state == "closed":
            raise self._closed_error()

    def _wait_once(
        self, ticket: Ticket, deadline: float | None, token: StopToken | None
    ) -> None:
        if token is not None and token.cancelled and self._leave(ticket):
            message = f"cancelled while waiting for a place: {token.reason}"
            raise Cancelled(message)
        left = None
        if deadline is not None:
            left = max(0.0, deadline - self._clock.monotonic())
        try:
            ticket.wake.get(timeout=left)
        except Empty:
            self._leave(ticket)

    def _leave(self, ticket: Ticket) -> bool:
        if ticket.state != "waiting":
            return False
        with self.lock:
            return self.give_up(ticket)

    def _admit(self) -> Ticket | None:
        """Give a place that came free to the sender that has waited longest."""
        if not self._tickets or self._free <= 0:
            return None
        ticket = self._tickets.popleft()
        self._free -= 1
        self._append(ticket.item)
        ticket.state = "entered"
        return ticket

    def _append(self, item: Any) -> None:
        self._items.append(item)

    # -- readers that wait

    def forget_reader(self, wake: WakeQueue) -> WakeQueue | None:
        """Take an idle reader off the list; the lock is held.

        Returns:
            Another reader to wake, when this one had been woken already and leaves
            something unread.
        """
        if wake in self._readers:
            del self._readers[wake]
            return None
        return self._next_reader() if self._readable() else None

    def _pass_on(self, wake: WakeQueue) -> None:
        """Take the lock and forget a reader; wake another if it leaves something."""
        with self.lock:
            other = self.forget_reader(wake)
        if other is not None:
            other.put(None)

    def _next_reader(self) -> WakeQueue | None:
        return self._readers.popitem(last=False)[0] if self._readers else None

    def _readable(self) -> bool:
        return bool(self._items)

    # -- the end

    def _shut(self) -> tuple[list[Ticket], list[WakeQueue]]:
        """Close every door; the lock is held and the items are the caller's to take."""
        self._closed = True
        self._free = -_INFINITE
        tickets = list(self._tickets)
        for ticket in tickets:
            ticket.state = "closed"
        self._tickets.clear()
        readers = list(self._readers)
        self._readers.clear()
        return tickets, readers

    def _full_error(self, wait: bool | float) -> MailboxFull:  # noqa: FBT001
        within = f" for {wait} s" if wait else ""
        message = f"{self._noun} is full{within} (capacity {self._capacity})"
        return MailboxFull(message)

    def _closed_error(self) -> MailboxClosed:
        return MailboxClosed(f"{self._noun} is closed and takes nothing more")


class Channel(Bounded["_Lane"]):
    """Bounded hand-over with any number of senders and of readers.

    ``put``, ``take``, ``close``, ``wait_entered``, ``len`` and the properties are for
    everybody.  The other methods are for an owner that keeps more than items behind
    ``lock`` (a ledger enters a job here and in its table in one step): they want
    the lock held, never wait, and return whom to wake once the lock is released.

    Args:
        capacity: How many items may wait; ``None`` for no bound.
        lock: The owner's raw lock; a new one by default.
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
        with self.lock:
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
        wake = self._clock.queue()
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        try:
            while True:
                with self.lock:
                    if self._closed:
                        raise self._closed_error()
                    popped = self.pop(wake)
                if popped is not None:
                    break
                left = None
                if deadline is not None:
                    left = max(0.0, deadline - self._clock.monotonic())
                wake.get(timeout=left)
        except BaseException:  # Empty, or one from outside: leave no trace behind
            self._pass_on(wake)
            raise
        item, ticket = popped
        if ticket is not None:
            ticket.wake.put(None)
        return item

    def close(self) -> list[Any]:
        """Refuse every later put, and wake all who wait, for good.

        Returns:
            The items that nobody took, in order.  Those of blocked senders are not
            among them: these senders get ``MailboxClosed``.
        """
        with self.lock:
            items, tickets, readers = self.shut()
        for ticket in tickets:
            ticket.wake.put(None)
        for reader in readers:
            reader.put(None)
        return items

    # -- for an owner that holds the lock

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
        if self._free > 0 or (force and not self._closed):
            self._free -= 1
            items = self._items
            items.append(item)
            if items.present is not None:
                items.present[id(item)] += 1
            return True, self._next_reader() if self._readers else None
        if self._closed:
            raise self._closed_error()
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
        if self._closed:
            raise self._closed_error()
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
        ticket = None
        if self._first:
            item = self._first.pop_next()
        elif self._items:
            items = self._items
            item = items.popleft() if items.present is None else items.pop_next()
            self._free += 1
            if self._tickets:
                ticket = self._admit()
        else:
            self._readers[wake] = None
            return None
        if self._readers:
            self._readers.pop(wake, None)
        return item, ticket

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
        self._free += 1
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
