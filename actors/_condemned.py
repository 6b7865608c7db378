"""Who goes down with a plain actor whose ``BaseException`` stops all, as Pykka has it.

:Runs on: the thread of the actor that ends.
:Owns: the list of those who were alive when it struck.
:Blocks: ``stop``, until each has stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import pykka

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Condemned"]


@final
class Condemned:
    """The actors of one moment, but for the one that condemns them.

    Args:
        urn: Its own.
    """

    __slots__ = ("_refs", "_urn")

    def __init__(self, urn: str) -> None:
        self._urn = urn
        self._refs: Sequence[pykka.ActorRef[Any]] | None = None

    def note(self) -> None:
        """Note those of now; one started while the hooks still run is spared."""
        if self._refs is None:
            others = pykka.ActorRegistry.get_all()
            self._refs = [ref for ref in others if ref.actor_urn != self._urn]

    def stop(self) -> None:
        """Stop them, the youngest first."""
        self.note()
        for ref in reversed(self._refs or ()):
            ref.stop()
