"""Results on their way to the sink, from the settling of a job to its acknowledgement.

A settled result enters the results channel in the very step that settles its job.  The
collector takes what is there, marks each result as handed just before it calls the
sink, and acknowledges afterwards.  After its death what was taken and not handed goes
back into the channel; what was handed is not given twice, but stands in the report.

A result is over for its group when the sink has had it, or never will, *and* whoever
settled the job has completed its future and told the listeners: what these submit comes
from inside, and whoever waits for the group finds all futures done.

:Runs on: ``take``, ``hand``, ``acknowledge`` and ``keep`` on the collector's thread;
    ``wait_for_room`` on a worker's; ``announced`` on the settling one; the rest on any
    thread.
:Owns: the results channel and the results that are not acknowledged.
:Guards: the ledger's ``lock`` guards everything but ``Delivery.is_announced``.  Methods
    whose name ends in ``_locked`` want it held and wake nobody: they return whom to
    wake.
:Blocks: ``wait_for_room``, until the collector has room or the worker is to stop.
:Order: as settled; what a dead collector left goes first.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from actors.channel import Channel
from actors.clock import in_turn
from actors.errors import Cancelled, MailboxClosed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors._group import Group
    from actors.channel import Ticket
    from actors.clock import Clock, Lock, WakeQueue
    from actors.results import JobResult
    from actors.stop_token import StopToken

__all__ = ["Deliveries", "Delivery", "DeliveryState"]

_BATCH: Final = 64  # results that the collector takes at a time


class DeliveryState(enum.Enum):
    """Where a settled result stands."""

    READY = "ready"  # in the channel, or about to be
    TAKEN = "taken"  # in the collector's hand
    HANDED = "handed"  # the sink was called, or is being called
    KEPT = "kept"  # the sink will not be called again; it stands in the report


class Delivery:
    """A settled result that is not acknowledged, or whose future is not complete.

    Attributes:
        is_announced: The future is complete and the listeners have heard.
        is_over: Acknowledged or kept.
        counted: The group was told, once both are true.
    """

    __slots__ = (
        "counted",
        "group",
        "is_announced",
        "is_over",
        "owner",
        "result",
        "state",
    )

    def __init__(self, result: JobResult, group: Group) -> None:
        self.result = result
        self.group = group
        self.state = DeliveryState.READY
        self.owner: object = None
        self.is_announced = self.is_over = self.counted = False

    def __repr__(self) -> str:
        return f"<Delivery of {self.result!r}>"


class Deliveries:
    """The results channel of a ledger.

    Args:
        lock: The ledger's.
        capacity: Results that may wait for the collector before workers wait;
            ``None`` for no bound.
        clock: Measures nothing, makes the wake queues.
    """

    def __init__(self, lock: Lock, capacity: int | None, clock: Clock) -> None:
        self._lock = lock
        self._channel = Channel(capacity, lock=lock, clock=clock)
        self.open: dict[int, Delivery] = {}  # by job

    # -- in

    def enter_locked(
        self, delivery: Delivery, *, wait: bool
    ) -> tuple[Ticket | None, WakeQueue | None]:
        """Enter a result; with ``wait`` and no room, a ticket to wait with.

        Returns:
            The ticket, and whom to wake.
        """
        self.open[delivery.result.id] = delivery
        if self._channel.closed:  # too late for a sink; whoever waits was told
            self._keep_locked(delivery)
            return None, None
        entered, reader = self._channel.offer(delivery, force=not wait)
        if entered:
            return None, reader
        return self._channel.wait_for_place(delivery, self._channel.make_wake())

    def wait_for_room(self, ticket: Ticket, token: StopToken) -> None:
        """Wait until a result is in; once the token is cancelled it goes in anyway."""
        try:
            self._channel.wait_entered(ticket, token=token)
        except Cancelled:
            with in_turn(self._lock):
                if self._channel.closed:
                    return
                _, reader = self._channel.offer(ticket.item, force=True)
            if reader is not None:
                reader.put(None)
        except MailboxClosed:
            pass  # the collector is gone for good: the result stands in the report

    # -- the collector's side; it is a Source

    def take_for(self, owner: object, wake: WakeQueue) -> list[Delivery] | None:
        """Take what is there; ``None``: ``wake`` is put to when there is something."""
        batch: list[Delivery] = []
        wakes: list[WakeQueue] = []
        with in_turn(self._lock):
            while len(batch) < _BATCH and (len(self._channel) or not batch):
                popped = self._channel.pop(wake)
                if popped is None:
                    break
                delivery, ticket = popped
                if ticket is not None:
                    wakes.append(ticket.wake)
                if delivery.state is DeliveryState.READY:
                    delivery.state, delivery.owner = DeliveryState.TAKEN, owner
                    batch.append(delivery)
        for sender in wakes:
            sender.put(None)
        return batch or None

    def withdraw(self, wake: WakeQueue) -> None:
        """The collector does not wait any more; a wake-up it had goes to the next."""
        with in_turn(self._lock):
            other = self._channel.forget_reader(wake)
        if other is not None:
            other.put(None)

    def hand(self, delivery: Delivery, owner: object) -> bool:
        """Mark a result as handed to the sink; False if it is not this owner's."""
        with in_turn(self._lock):
            mine = delivery.state is DeliveryState.TAKEN and delivery.owner is owner
            if mine:
                delivery.state = DeliveryState.HANDED
            return mine

    def recover(self) -> None:
        """After a collector's death: what it had not handed is ready again."""
        with in_turn(self._lock):
            wakes: list[WakeQueue] = []
            for delivery in self.open.values():
                if delivery.state is DeliveryState.TAKEN:
                    wakes += self._ready_again_locked(delivery)
                elif delivery.state is DeliveryState.HANDED:
                    wakes += self._keep_locked(delivery)
        for wake in wakes:
            wake.put(None)

    def _ready_again_locked(self, delivery: Delivery) -> list[WakeQueue]:
        delivery.state, delivery.owner = DeliveryState.READY, None
        if self._channel.closed:
            return []
        # A reader there is one that was left behind, or its successor by now.
        reader = self._channel.offer_first(delivery)
        return [] if reader is None else [reader]

    def acknowledge(self, delivered: Iterable[Delivery]) -> None:
        """Forget delivered results."""
        wakes: list[WakeQueue] = []
        with in_turn(self._lock):
            for delivery in delivered:
                if self.open.get(delivery.result.id) is delivery and (
                    delivery.state is DeliveryState.HANDED
                ):
                    del self.open[delivery.result.id]
                    wakes += self._over_locked(delivery)
        for wake in wakes:
            wake.put(None)

    def keep(self, delivery: Delivery) -> None:
        """Leave a result undelivered for good: it stands in the report."""
        with in_turn(self._lock):
            wakes = self._keep_locked(delivery)
        for wake in wakes:
            wake.put(None)

    def _keep_locked(self, delivery: Delivery) -> list[WakeQueue]:
        if delivery.state is DeliveryState.KEPT:
            return []
        delivery.state = DeliveryState.KEPT
        return self._over_locked(delivery)

    def announced(self, delivery: Delivery) -> None:
        """The job's future is complete, and whoever listens has been told."""
        # Without the lock, for it is rarely needed: each side first says that it is
        # done, then looks at the other, so that at least one of them sees both.
        delivery.is_announced = True
        if not delivery.is_over:
            return
        with in_turn(self._lock):
            wakes = self._count_locked(delivery)
        for wake in wakes:
            wake.put(None)

    def _over_locked(self, delivery: Delivery) -> list[WakeQueue]:
        delivery.is_over = True
        return self._count_locked(delivery) if delivery.is_announced else []

    @staticmethod
    def _count_locked(delivery: Delivery) -> list[WakeQueue]:
        if delivery.counted:
            return []
        delivery.counted = True
        return delivery.group.delivered()

    def undelivered_locked(self, group: Group) -> list[JobResult]:
        """The results of a group that are not acknowledged, as settled."""
        return [d.result for d in self.open.values() if d.group.within(group)]

    def close(self) -> None:
        """The collector is gone for good: everything open stands in the report."""
        with in_turn(self._lock):
            _, tickets, readers = self._channel.shut()
            wakes = [ticket.wake for ticket in tickets] + readers
            for delivery in self.open.values():
                wakes += self._keep_locked(delivery)
        for wake in wakes:
            wake.put(None)
