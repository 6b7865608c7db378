"""What a ref raises when its actor cannot take or answer a message.

They are apart from the other errors because each is one of Pykka's too: code written
for Pykka catches them.

:Runs on: any thread.
:Owns: nothing; everything here is a value.
"""

from __future__ import annotations

import pykka
from pykka import ActorDeadError

from actors.errors import HeadraceError, MailboxFull

__all__ = [
    "ActorAbandoned",
    "ActorDeadError",
    "ActorDown",
    "ActorRestarted",
    "SendTimeout",
]


class ActorAbandoned(HeadraceError, ActorDeadError):
    """The actor did not stop in time and was left behind while it held this ask."""


class ActorDown(HeadraceError, ActorDeadError):
    """The actor does not run just now, and is not to be waited for.

    The message was not sent.  The ref is still good: it works again once the actor has
    been restarted.  Only for a child with ``while_down="fail"``.
    """


class ActorRestarted(HeadraceError, ActorDeadError):
    """The actor was restarted with a fresh mailbox; this ask was in the old one."""


class SendTimeout(MailboxFull, pykka.Timeout):
    """The mailbox stayed full for the whole timeout; the message was not sent."""
