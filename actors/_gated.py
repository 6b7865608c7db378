"""A mailbox that turns senders away while its actor does not run.

:Runs on: ``admit`` and ``turn_away`` on the actor's thread and its supervisor's; the
    rest as in the mailbox.
:Owns: whether the gate is shut.
:Guards: ``lock``, the mailbox's, guards it.
:Blocks: as the mailbox.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from actors.errors import MailboxFull
from actors.mailbox import Mailbox

if TYPE_CHECKING:
    from actors.clock import Clock, WakeQueue
    from actors.mailbox import Ticket
    from actors.stop_token import StopToken

__all__ = ["GatedMailbox", "MailboxDown"]


class MailboxDown(MailboxFull):
    """The actor does not run; the message was not sent."""


class GatedMailbox(Mailbox):
    """A mailbox with a gate for data, which is shut until ``admit``.

    A shut gate is a lane without room, so an open one costs a sender nothing.  What is
    in the lane already stays, control passes, and so does what is put with ``force``:
    an actor's messages to itself and the request to stop.
    """

    __slots__ = ("_shut_out",)

    def __init__(self, capacity: int | None, *, clock: Clock) -> None:
        super().__init__(capacity, clock=clock)
        # Invariant: while True and not closed, there is no room and no ticket waits.
        self._shut_out = True
        self._room = 0

    def admit(self, lease: int) -> None:
        """Open the gate, unless the lease is another's by now."""
        with self.lock:
            if lease == self._holder[0] and not self._closed:
                self._shut_out = False
                self._room = sys.maxsize if self._capacity is None else self._capacity

    def turn_away(self, lease: int | None = None) -> None:
        """Shut the gate, unless the lease is another's by now; free who waits at it."""
        with self.lock:
            if self._closed or lease not in {None, self._holder[0]}:
                return
            self._shut_out = True
            self._room = 0
            tickets = list(self._tickets)
            for ticket in tickets:
                ticket.state = "turned away"
            self._tickets.clear()
        self._wake_all(tickets, ())

    def wait_for_place(
        self, item: Any, wake: WakeQueue
    ) -> tuple[Ticket, WakeQueue | None]:
        """Queue up, if the gate is open; see :meth:`Mailbox.wait_for_place`."""
        if self._shut_out:
            raise self._down_error()
        return super().wait_for_place(item, wake)

    def wait_entered(
        self,
        ticket: Ticket,
        *,
        wait: bool | float = True,
        token: StopToken | None = None,
    ) -> None:
        """Wait until the item is in; see :meth:`Mailbox.wait_entered`.

        Raises:
            MailboxDown: If the gate was shut first.
        """
        super().wait_entered(ticket, wait=wait, token=token)
        if ticket.state == "turned away":
            raise self._down_error()

    def _refusal(self, wait: bool | float) -> Exception:  # noqa: FBT001
        if self._shut_out and not self._closed:
            return self._down_error()
        return super()._refusal(wait)

    def _down_error(self) -> MailboxDown:
        return MailboxDown(f"{self._noun} takes nothing while its actor does not run")
