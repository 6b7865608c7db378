"""What a mailbox and a channel share: places, and the threads that wait for them.

A place that comes free is given to the sender that has waited longest: whoever frees
it moves that sender's item in, and the sender wakes only to learn of it.  So the bound
is strict and senders enter in the order in which they came.

Every waiting thread blocks on a wake queue of its own.  Wakers take its registration
away under the lock and put to the queue after they have released it, so that nobody
ever holds two locks and exactly the right thread wakes.

:Runs on: any thread.
:Owns: the places, the tickets of blocked senders, the list of idle readers.
:Guards: ``lock`` guards every field.
:Blocks: ``wait_entered``, until the item is in, a timeout, close or cancellation.
:Order: first in, first out, for senders and for readers.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar

from actors.clock import Empty, ambient_clock, in_turn
from actors.errors import Cancelled, ConfigurationError, MailboxClosed, MailboxFull
from actors.stop_token import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.clock import Clock, Lock, WakeQueue
    from actors.stop_token import StopToken

__all__ = ["Bounded", "NEVER", "Ticket"]

TicketState: TypeAlias = Literal[
    "waiting", "entered", "closed", "given up", "turned away"
]
T = TypeVar("T", bound="deque[Any]")

NEVER: Final = float("-inf")
"""A moment that has always passed."""


class Ticket:
    """The place in line of one sender that waits for room.

    Attributes:
        item: What the sender wants to enter.
        wake: Where the sender waits; put to it after ``state`` has changed.
        state: ``"waiting"``, then one of ``"entered"`` (the item is in, or was read
            already), ``"closed"`` (it never will be), ``"given up"`` and ``"turned
            away"`` (by a gate).
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
        lock: The lock that guards this object; one of the clock's by default.
        clock: Makes the wake queues and the lock, and measures timeouts; the ambient
            one by default.
    """

    __slots__ = (
        "__weakref__", "_capacity", "_clock", "_closed", "_items", "_readers",
        "_room", "_tickets", "lock",
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
        self._clock = ambient_clock() if clock is None else clock
        # Guards every field.  Held for O(1) work; no user code, no wake-up and no other
        # lock inside.
        self.lock: Lock = self._clock.lock() if lock is None else lock
        self._capacity = capacity
        self._items = items
        self._closed = False
        # How many items are too many for one more.  Two lengths are compared and no
        # count is kept: it would cost two writes for each item.  0 once closed, so
        # that one comparison admits a put.  Invariant: while a ticket waits, no less
        # than this are in (forced items may make it more).
        self._room = sys.maxsize if capacity is None else capacity
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

    def make_wake(self) -> WakeQueue:
        """Make a wake queue for :meth:`wait_for_place`."""
        return self._clock.queue()

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

    def give_up_item(self, item: Any) -> None:
        """Give up every ticket of an item; the lock is held."""
        for ticket in [t for t in self._tickets if t.item is item]:
            self.give_up(ticket)

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
        with in_turn(self.lock):
            return self.give_up(ticket)

    def _admit(self) -> Ticket | None:
        """Give a place that came free to the sender that has waited longest."""
        if not self._tickets or not self._has_place():
            return None
        ticket = self._tickets.popleft()
        self._append(ticket.item)
        ticket.state = "entered"
        return ticket

    def _has_place(self) -> bool:
        return len(self._items) < self._room

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
        with in_turn(self.lock):
            other = self.forget_reader(wake)
        if other is not None:
            other.put(None)

    def _doze(self, wake: WakeQueue, until: float | None) -> float:
        """Wait for a wake-up; returns ``until`` if none came before."""
        if until is None:
            wake.get()
            return NEVER
        try:
            wake.get(timeout=max(0.0, until - self._clock.monotonic()))
        except Empty:
            return until  # not what the clock shows: that may be a rounding error less
        return NEVER

    def _next_reader(self) -> WakeQueue | None:
        return self._readers.popitem(last=False)[0] if self._readers else None

    def _readable(self) -> bool:
        return bool(self._items)

    def take_data(self) -> list[Any]:
        """Take all items at once; waiting senders move up.

        Returns:
            The items, in order, without those of senders that had to wait.
        """
        tickets = []
        with in_turn(self.lock):
            items = list(self._items)
            self._items.clear()
            while (ticket := self._admit()) is not None:
                tickets.append(ticket)
        self._wake_all(tickets, ())
        return items

    # -- the end

    def _shut(self) -> tuple[list[Ticket], list[WakeQueue]]:
        """Close every door; the lock is held and the items are the caller's to take."""
        self._closed = True
        self._room = 0
        tickets = list(self._tickets)
        for ticket in tickets:
            ticket.state = "closed"
        self._tickets.clear()
        readers = list(self._readers)
        self._readers.clear()
        return tickets, readers

    @staticmethod
    def _wake_all(tickets: Iterable[Ticket], readers: Iterable[WakeQueue]) -> None:
        for ticket in tickets:
            ticket.wake.put(None)
        for reader in readers:
            reader.put(None)

    def _refusal(self, wait: bool | float) -> Exception:  # noqa: FBT001
        return self._closed_error() if self._closed else self._full_error(wait)

    def _full_error(self, wait: bool | float) -> MailboxFull:  # noqa: FBT001
        within = f" for {wait} s" if wait else ""
        message = f"{self._noun} is full{within} (capacity {self._capacity})"
        return MailboxFull(message)

    def _check_open(self) -> None:
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> MailboxClosed:
        return MailboxClosed(f"{self._noun} is closed and takes nothing more")
