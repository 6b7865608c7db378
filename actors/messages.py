"""The words that stages say to each other, and who can be told.

Data travels in the bounded lane of a mailbox and may make its sender wait; control
travels in the lane that never blocks and is read first.

:Runs on: any thread.
:Owns: nothing; messages are values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from actors.stop_token import StopToken

__all__ = [
    "DueChanged",
    "Recipient",
    "WorkerDown",
]


class Recipient(Protocol):
    """Whom a stage can tell something; an actor's ref is one, and so is a test's list.

    ``tell`` may wait for room, ``tell_control`` never waits.
    """

    def tell(self, message: Any, *, token: StopToken | None = None) -> None:
        """Send data; waits for room until ``token`` is cancelled."""

    def tell_control(self, message: Any) -> bool:
        """Send control; False when the recipient has ended."""


class DueChanged(NamedTuple):
    """Control, anybody to dispatcher: the first moment at which a job is due moved."""


class WorkerDown(NamedTuple):
    """Control, supervision to dispatcher: this worker ended; settle what it held.

    It names the incarnation, for the next one may have a job in hand by the time it is
    read.
    """

    worker: str
    incarnation: int
    reason: str
