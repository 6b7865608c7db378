"""The words of a mailbox's reader: lanes, leases, and where it also looks for work.

:Runs on: any thread.
:Owns: nothing; these are values and a contract.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from actors.clock import WakeQueue

__all__ = ["Lane", "LeaseRevoked", "Source", "revoked"]


class Lane(IntEnum):
    """Where what ``receive`` returns came from, in the order of reading."""

    CONTROL = 0
    DATA = 1
    SOURCE = 2


class LeaseRevoked(BaseException):
    """The lease is no longer current: this thread must not read the mailbox again.

    A ``BaseException``, so that no handler of an ordinary error keeps a shut-out
    thread going.
    """


def revoked(lease: int) -> LeaseRevoked:
    """What a reader gets whose lease is no longer the current one."""
    return LeaseRevoked(f"lease {lease} is no longer current; this reader must end")


class Source(Protocol):
    """Where a reader finds work when its own lanes are empty."""

    def take(self, wake: WakeQueue, /) -> Any | None:
        """Take the next item, or register as waiting; never waits itself.

        Returns:
            The item; ``None`` if there is none: ``wake`` is then registered, once,
            and is put to when there may be something.
        """

    def withdraw(self, wake: WakeQueue, /) -> None:
        """End the registration; if it was spent on a wake-up, wake another reader."""
