"""Who is let in: the intake's state, the places of each kind, who waits for one.

:Runs on: ``submit`` on the submitter's thread; the rest on any thread.
:Owns: the channels, the tickets of submitters that wait, the gate of delayed jobs.
:Guards: the ledger's ``lock`` guards every field.
:Blocks: ``submit``, until there is room, its timeout, its token's cancel, or the close
    of the intake.  From inside the pipeline it never waits.
"""

from __future__ import annotations

import contextlib
import enum
from typing import TYPE_CHECKING

from actors._inside import Role, role_in
from actors.clock import Empty, in_turn
from actors.errors import Cancelled, MailboxClosed, MailboxFull
from actors.jobs import JobKind, JobStatus
from actors.mailbox import Channel
from actors.stop_token import Phase

if TYPE_CHECKING:
    from actors._ledger import Entry, Table
    from actors.channel import Ticket
    from actors.clock import Clock, Lock, WakeQueue
    from actors.stop_token import StopToken

__all__ = ["Admission", "Intake"]


class Intake(enum.IntEnum):
    """Whom the intake lets in."""

    OPEN = 0  # everybody
    INSIDE = 1  # jobs, callbacks, sinks, producers' last items, the rest of a map
    CLOSED = 2  # nobody


class Admission:
    """The door of a ledger.

    Methods whose name ends in ``_locked`` want the lock held and wake nobody: they
    return whom to wake.

    Args:
        table: Where an admitted job is entered.
        lock: The ledger's.
        owner: The ledger, to tell who submits from inside.
        capacity: Places of each kind; ``None`` for no bound.
        max_delayed: Jobs that may wait for a time before intake waits.
        nested_capacity: Jobs of a kind that may wait before a submit from inside is
            refused.
        clock: Measures the waits.
        name: For the errors' texts.
    """

    def __init__(
        self,
        table: Table,
        lock: Lock,
        owner: object,
        *,
        capacity: int | None,
        max_delayed: int,
        nested_capacity: int,
        clock: Clock,
        name: str,
    ) -> None:
        self._table = table
        self._lock = lock
        self._owner = owner
        self._max_delayed = max_delayed
        self._nested_capacity = nested_capacity
        self._clock = clock
        self._name = name
        self.channels: dict[JobKind, Channel] = {
            kind: Channel(capacity, lock=lock, clock=clock) for kind in JobKind
        }
        self.state = Intake.OPEN
        self._closed_why = ""
        self._tickets: dict[Ticket, None] = {}  # in the order in which they came
        self._gate: list[WakeQueue] = []
        self.over_capacity = 0
        self.idle: dict[str, WakeQueue] = {}  # what each worker last idled on

    def submit(
        self, entry: Entry, *, wait: bool | float, token: StopToken | None
    ) -> None:
        """Serve :meth:`Ledger.submit <actors.Ledger.submit>`."""
        mark = role_in(self._owner)
        nested = mark is not None and mark.role is not Role.PRODUCER
        entry.privileged = entry.privileged or mark is not None
        deadline = None if wait is True else self._clock.monotonic() + float(wait)
        wake: WakeQueue | None = None
        while True:
            ticket = reader = None
            try:
                with in_turn(self._lock):
                    self._check_open(entry, nested=nested)
                    entered, reader = self._try_enter(entry, nested=nested)
                    if not entered:
                        self._check_patience(entry, deadline)
                        wake = wake or self._clock.queue()
                        ticket, reader = self._queue_up(entry, wake)
                if reader is not None:
                    reader.put(None)
            except (MailboxClosed, MailboxFull):
                raise  # nothing was begun
            except BaseException:  # Ctrl-C, perhaps half way in
                self._interrupted(entry)
                raise
            if entered:
                return
            assert wake is not None  # made when the job did not enter
            if ticket is not None:
                self._wait_for_place(entry, ticket, deadline, token)
                return
            self._wait_at_gate(wake, deadline, token)

    def _interrupted(self, entry: Entry) -> None:
        """Take back a job that was half way in, unless a worker has it already.

        An idle worker may have been taken off its channel's list and not been woken:
        wake all who idle, they will look for themselves.
        """
        with in_turn(self._lock):
            channel = self.channels[entry.job.kind]
            channel.give_up_item(entry)
            for ticket in [t for t in self._tickets if t.item is entry]:
                del self._tickets[ticket]
            _, admitted = channel.discard(entry)
            if entry.status in (JobStatus.WAITING, JobStatus.DELAYED):
                self._table.forget(entry)
            wakes = self.let_in_locked(admitted) + list(self.idle.values())
        for wake in wakes:
            wake.put(None)

    def _check_open(self, entry: Entry, *, nested: bool) -> None:
        if self.state is Intake.CLOSED or (
            self.state is Intake.INSIDE and not entry.privileged
        ):
            raise self._closed_error()
        kind = entry.job.kind
        waiting = self._table.delayed if entry.job.delay else len(self.channels[kind])
        if nested and waiting >= self._nested_capacity:
            msg = (
                f"{waiting} jobs wait already ({kind.value}), and a submit "
                f"from inside {self._name} cannot wait for room: submit fewer jobs "
                "from jobs and callbacks, or raise nested_capacity"
            )
            raise MailboxFull(msg)

    def _check_patience(self, entry: Entry, deadline: float | None) -> None:
        if deadline is None or self._clock.monotonic() < deadline:
            return
        kind = entry.job.kind
        if self._table.delayed >= self._max_delayed:
            msg = (
                f"no room for {entry.job!r}: {self._max_delayed} jobs wait for a delay "
                "or a retry; wait longer, or raise max_delayed"
            )
        else:
            msg = (
                f"no room for {entry.job!r}: {self.channels[kind].capacity} "
                f"{kind.value} jobs wait for a worker; wait longer, raise capacity, or "
                "add workers"
            )
        raise MailboxFull(msg)

    def _closed_error(self) -> MailboxClosed:
        return MailboxClosed(f"{self._name} takes no new jobs: {self._closed_why}")

    def _try_enter(
        self, entry: Entry, *, nested: bool
    ) -> tuple[bool, WakeQueue | None]:
        if not nested and self._table.delayed >= self._max_delayed:
            return False, None
        if entry.job.delay:
            self._table.enter(entry, self._clock.monotonic())
            return True, None
        channel = self.channels[entry.job.kind]
        if nested and channel.capacity is not None:
            self.over_capacity += len(channel) >= channel.capacity
        if not (nested or channel.has_room):
            return False, None
        # The table first: no worker may find a job that the table does not know.
        self._table.enter(entry, self._clock.monotonic())
        return channel.offer(entry, force=nested)

    def _queue_up(
        self, entry: Entry, wake: WakeQueue
    ) -> tuple[Ticket | None, WakeQueue | None]:
        if self._table.delayed >= self._max_delayed:
            self._gate.append(wake)
            return None, None
        ticket, reader = self.channels[entry.job.kind].wait_for_place(entry, wake)
        self._tickets[ticket] = None
        return ticket, reader

    def _wait_for_place(
        self,
        entry: Entry,
        ticket: Ticket,
        deadline: float | None,
        token: StopToken | None,
    ) -> None:
        left = True if deadline is None else deadline - self._clock.monotonic()
        channel = self.channels[entry.job.kind]
        try:
            channel.wait_entered(ticket, wait=left, token=token)
        except MailboxClosed:
            raise self._closed_error() from None
        except MailboxFull:
            self._check_patience(entry, deadline)
            raise
        finally:
            with in_turn(self._lock):
                self._tickets.pop(ticket, None)

    def _wait_at_gate(
        self, wake: WakeQueue, deadline: float | None, token: StopToken | None
    ) -> None:
        """Wait until fewer than ``max_delayed`` jobs wait for a time, or so."""
        left = None
        if deadline is not None:
            left = max(0.0, deadline - self._clock.monotonic())
        if token is not None:
            token.add_waiter(wake, Phase.CANCEL)
        try:
            with contextlib.suppress(Empty):
                wake.get(timeout=left)
        finally:
            if token is not None:
                token.remove_waiter(wake)
            with in_turn(self._lock):
                if wake in self._gate:
                    self._gate.remove(wake)
                    passed_on = []
                else:  # woken, and perhaps not to use it: the next one may
                    passed_on = self.open_gate_locked()
            for other in passed_on:
                other.put(None)
        if token is not None and token.cancelled:
            raise Cancelled(token.reason)

    def open_gate_locked(self) -> list[WakeQueue]:
        """Whom to wake because jobs left the heap."""
        room = self._max_delayed - self._table.delayed
        if room <= 0 or not self._gate:
            return []
        woken, self._gate = self._gate[:room], self._gate[room:]
        return woken

    def let_in_locked(self, ticket: Ticket | None) -> list[WakeQueue]:
        """Enter the job of a waiting submitter that got a place."""
        if ticket is None:
            return []
        self._table.enter(ticket.item, self._clock.monotonic())
        return [ticket.wake]

    def shut_locked(self, why: str) -> None:
        """Let nobody in any more; nobody waits for a place."""
        self.state = Intake.CLOSED
        self._closed_why = self._closed_why or why

    def close(self, why: str, *, inside_too: bool = False) -> None:
        """Serve :meth:`Ledger.close_intake <actors.Ledger.close_intake>`."""
        with in_turn(self._lock):
            self.state = max(self.state, Intake.CLOSED if inside_too else Intake.INSIDE)
            self._closed_why = self._closed_why or why
            refused = [t for t in self._tickets if inside_too or not t.item.privileged]
            for ticket in refused:
                if self.channels[ticket.item.job.kind].give_up(ticket):
                    ticket.state = "closed"
            wakes = [ticket.wake for ticket in refused] + self._gate
            self._gate = []
        for wake in wakes:
            wake.put(None)
