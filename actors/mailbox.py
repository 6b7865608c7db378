"""Bounded inbox of one actor.

A full data lane makes its sender wait; that wait is backpressure.  Control messages
are read first and never wait, so a stop always gets through.  The one reader may also
take from a :class:`Source` once its lanes are empty: an idle worker waits for a control
message and for a job at the same time, on one wake queue.

A mailbox outlives the actor that reads it: each incarnation reads through a lease, and
a newer lease, or none, shuts the older reader out.

:Runs on: ``get`` and ``receive`` on the owner's thread, everything else on any thread.
:Owns: both lanes, the timers of the control lane, the lease and the closed flag.
:Guards: ``lock`` guards every field.
:Blocks: ``put`` until there is a place, ``get`` and ``receive`` until there is
    something to read.  Nothing else.
:Order: first in, first out within a lane and among blocked senders.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from actors._bounded import NEVER, Bounded, Ticket
from actors._reading import Lane, LeaseRevoked, Source, revoked
from actors._timers import Timers
from actors.channel import Channel
from actors.clock import Empty, in_turn
from actors.errors import MailboxClosed, MailboxFull

if TYPE_CHECKING:
    from actors.clock import Clock, TimerHandle, WakeQueue
    from actors.stop_token import StopToken

__all__ = ["Channel", "Lane", "LeaseRevoked", "Mailbox", "Source", "Ticket"]

_CONTROL, _DATA, _SOURCE = Lane  # a global is cheaper to read than a member
_NOTHING: Final[Any] = object()
_Found: TypeAlias = tuple[Lane, Any, Ticket | None]


class Mailbox(Bounded["deque[Any]"]):
    """A bounded data lane and an unbounded control lane that is read first.

    ``put``, ``put_control``, ``get``, ``close``, ``len`` and the properties are for
    everybody.  The rest is for people who write actors or supervisors.

    Args:
        capacity: How many data messages it holds; ``None`` for no bound.
        clock: Makes the wake queues and measures timeouts; the ambient one by default.

    Raises:
        ConfigurationError: If ``capacity`` is less than 1.

    Example:
        >>> mailbox = Mailbox(capacity=1)
        >>> mailbox.put("data")
        >>> mailbox.put_control("stop")
        >>> mailbox.get(), mailbox.get()
        ('stop', 'data')
    """

    __slots__ = (
        "_control",
        "_holder",
        "_leases",
        "_only_data",
        "_suspended",
        "_timers",
        "forget_timers",
    )
    _noun = "mailbox"

    def __init__(
        self, capacity: int | None = 10, *, clock: Clock | None = None
    ) -> None:
        super().__init__(deque(), capacity, None, clock)
        self._control: deque[Any] = deque()
        self._suspended = False
        # Invariant: True only while there is no control message, no timer and no
        # suspension, so that one look is enough to serve data.
        self._only_data = True
        self._timers = Timers(self.lock, self._control.append)
        self.forget_timers = self._timers.forget
        self._leases = 0
        # The current lease and its reader's wake queue, read together without the lock.
        # Lease 0 is nobody's; its wake queue is never waited on.
        self._holder: tuple[int, WakeQueue] = (0, self._clock.queue())

    def __len__(self) -> int:
        return len(self._items)

    # -- senders

    def put(
        self,
        x: Any,
        *,
        wait: bool | float = True,
        force: bool = False,
        token: StopToken | None = None,
    ) -> None:
        """Put a data message; wait for a place while the lane is full.

        Args:
            x: The message.
            wait: True to wait as long as it takes, False not to, else seconds.
            force: Go past the bound and never wait (an actor's own messages to
                itself, a stop marker); the message counts all the same.
            token: Its cancellation ends the wait.

        Raises:
            MailboxFull: If there was no place, or none came in time.
            MailboxClosed: If the mailbox is closed, or closes during the wait.
            Cancelled: If the token was cancelled during the wait.
        """
        ticket = None
        lock = self.lock
        try:
            if lock.locked():  # looked at here: it saves a call for each message
                in_turn(lock)
            with lock:
                items = self._items
                if len(items) < self._room or (force and not self._closed):
                    items.append(x)
                    if not self._readers:
                        return
                    reader = self._next_reader()
                elif self._closed or wait <= 0:
                    raise self._refusal(wait)  # noqa: TRY301  # nothing was begun
                else:
                    ticket, reader = self.wait_for_place(x, self._clock.queue())
            if reader is not None:
                reader.put(None)
        except (MailboxClosed, MailboxFull):
            raise
        except BaseException:
            self._interrupted()
            raise
        if ticket is not None:
            self.wait_entered(ticket, wait=wait, token=token)

    def put_control(self, x: Any) -> None:
        """Put a control message: it is read before data, and this never waits.

        Raises:
            MailboxClosed: If the mailbox is closed.
        """
        try:
            with self.lock:
                self._check_open()
                self._control.append(x)
                self._only_data = False
                reader = self._next_reader()
            if reader is not None:
                reader.put(None)
        except MailboxClosed:
            raise
        except BaseException:
            self._interrupted()
            raise

    def _interrupted(self) -> None:
        """Wake the actor whom a put that a signal cut short may have failed to wake."""
        # A handler raises between any two steps, as after the reader was taken off the
        # list: nobody else would wake it, a stop no more than a message.
        self._holder[1].put(None)

    def put_control_at(self, deadline: float, x: Any) -> TimerHandle:
        """Put a control message once ``clock.monotonic()`` has reached ``deadline``.

        No thread waits for it but the reader, in the wait it makes anyway; a reader
        that is busy finds it when it reads next.

        Returns:
            A handle; its ``cancel`` takes the message back if it was not due yet.

        Raises:
            MailboxClosed: If the mailbox is closed.
        """
        with self.lock:
            self._check_open()
            timer = self._timers.add(deadline, x)
            self._only_data = False
            # Only a new earliest one shortens the reader's wait.
            reader = self._next_reader() if self._timers[0][2] is timer else None
        if reader is not None:
            reader.put(None)
        return timer

    # -- the reader

    def get(self, timeout: float | None = None) -> Any:
        """Take the next message, control first; wait while there is none.

        Args:
            timeout: Seconds to wait; ``None`` for as long as it takes.

        Raises:
            Empty: If nothing came in time.
            MailboxClosed: If the mailbox is closed; nothing is left in it then.
        """
        item: Any = _NOTHING
        ticket = None
        with self.lock:
            if self._only_data and (items := self._items):
                if not self._tickets:
                    return items.popleft()
                item = items.popleft()
                ticket = self._admit()
        if item is _NOTHING:
            clock = self._clock
            deadline = None if timeout is None else clock.monotonic() + timeout
            return self._wait(None, clock.queue(), None, deadline)[1]
        if ticket is not None:
            ticket.wake.put(None)
        return item

    def receive(self, lease: int, source: Source | None = None) -> tuple[Lane, Any]:
        """Take what is next: control, what is due, data, then from the source.

        While suspended there is only control.  An item that the source gave is always
        returned, even if the lease is revoked in that very moment: whether its result
        counts is for the source's own leases to say.

        Raises:
            LeaseRevoked: If the lease is no longer current; nothing was taken.
            MailboxClosed: If the mailbox is closed.
        """
        if source is not None and self._idle():
            current, wake = self._holder
            if lease != current:
                raise revoked(lease)
            item = source.take(wake)
            if item is not None:
                return _SOURCE, item
            return self._wait(lease, wake, source, None)
        item = _NOTHING
        ticket = None
        with in_turn(self.lock):
            current, wake = self._holder
            if lease != current:
                raise revoked(lease)
            if self._only_data and (items := self._items):
                item = items.popleft()
                if not self._tickets:
                    return _DATA, item
                ticket = self._admit()
        if item is _NOTHING:
            return self._wait(lease, wake, source, None)
        if ticket is not None:
            ticket.wake.put(None)
        return _DATA, item

    def new_lease(self) -> int:
        """Give the right to read to a new reader; the older one is shut out and woken.

        Returns:
            What the new reader calls ``receive`` with.
        """
        wake = self._clock.queue()
        with self.lock:
            self._leases += 1
            lease = self._leases
            old = self._hand_over(lease, wake)
        old.put(None)
        return lease

    def revoke(self) -> None:
        """Shut the reader out and wake it; until ``new_lease`` nobody may receive."""
        wake = self._clock.queue()
        with self.lock:
            old = self._hand_over(0, wake)
        old.put(None)

    def suspend(self) -> None:
        """Serve no data until ``resume``; control is served, senders fill the lane."""
        with self.lock:
            self._suspended = True
            self._only_data = False

    def resume(self) -> None:
        """Serve data again."""
        with self.lock:
            self._suspended = False
            readers = list(self._readers)
            self._readers.clear()
        self._wake_all((), readers)

    def close(self) -> list[Any]:
        """Refuse every later put, and wake all who wait, for good.

        Control messages and timers are dropped.  Blocked senders get
        ``MailboxClosed``; their messages are not among the leftovers.

        Returns:
            The data messages that nobody read, in order; none the second time.
        """
        with self.lock:
            items = list(self._items)
            self._items.clear()
            dropped = [*self._control, *self._timers.drop()]
            self._control.clear()
            tickets, readers = self._shut()
        self._wake_all(tickets, readers)
        dropped.clear()  # not inside: a message's own finaliser may do anything
        return items

    # -- in the reader's thread

    def _idle(self) -> bool:
        """Whether only the source can have something; no lock, a moment old."""
        own = self._control or self._items or self._timers
        return not (own or self._suspended or self._closed)

    def _pop(self, now: float) -> _Found | None:
        """Take what is next in the own lanes; the lock is held."""
        if self._timers:  # behind the control that came before, ahead of what comes
            self._timers.deliver_due(now)
        self._only_data = not (self._control or self._timers or self._suspended)
        if self._control:
            return _CONTROL, self._control.popleft(), None
        if self._items and not self._suspended:
            item = self._items.popleft()
            return _DATA, item, self._admit() if self._tickets else None
        self._check_open()
        return None

    def _wait(
        self,
        lease: int | None,
        wake: WakeQueue,
        source: Source | None,
        deadline: float | None,
    ) -> tuple[Lane, Any]:
        """Wait for the own lanes and the source at once.

        No wake-up is lost: the reader registers here, then with the source, each in
        one step with seeing it empty, so whoever fills either afterwards puts to
        ``wake``.  One left over from an earlier wait only makes it look once more.
        """
        reached = NEVER
        try:
            while True:
                found, until = self._look(lease, wake, reached)
                if found is not None:
                    break
                if source is not None:
                    item = self._ask(source, wake)
                    if item is not None:
                        found = _SOURCE, item, None
                        break
                if deadline is not None:
                    if reached >= deadline:
                        raise Empty  # noqa: TRY301  # the clean-up is the same
                    until = deadline if until is None else min(until, deadline)
                reached = self._doze(wake, until)
        except BaseException:
            self._pass_on(wake)
            if source is not None:
                source.withdraw(wake)
            raise
        lane, item, ticket = found
        if lane is _SOURCE:
            self._pass_on(wake)
        elif source is not None:
            source.withdraw(wake)
        if ticket is not None:
            ticket.wake.put(None)
        return lane, item

    def _ask(self, source: Source, wake: WakeQueue) -> Any | None:
        if not self._suspended:
            return source.take(wake)
        source.withdraw(wake)  # what it woke us for is for somebody else
        return None

    def _look(
        self, lease: int | None, wake: WakeQueue, reached: float
    ) -> tuple[_Found | None, float | None]:
        """Take from the own lanes or register; also tell when the next timer is due."""
        now = max(reached, self._clock.monotonic()) if self._timers else reached
        with self.lock:
            if lease is not None and lease != self._holder[0]:
                raise revoked(lease)
            self._readers.pop(wake, None)
            found = self._pop(now)
            if found is None:
                self._readers[wake] = None
            return found, self._timers.next_deadline

    def _hand_over(self, lease: int, wake: WakeQueue) -> WakeQueue:
        """Make another lease the current one; returns the older reader, to wake."""
        old = self._holder[1]
        self._holder = (lease, wake)
        self._readers.pop(old, None)
        return old

    def _readable(self) -> bool:
        return bool(self._control or self._items or self._timers)
