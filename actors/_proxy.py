"""Pykka's proxies, for actors that restart: what they ask for, and how it is done.

:Runs on: a ``Proxy`` on any thread, ``answer_proxy`` on the actor's.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pykka
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

if TYPE_CHECKING:
    from actors.ref import ActorRef

__all__ = ["PROXY_MESSAGES", "Proxy", "answer_proxy"]

A = TypeVar("A", bound=pykka.Actor)

PROXY_MESSAGES = frozenset({ProxyCall, ProxyGetAttr, ProxySetAttr})


def answer_proxy(actor: Any, message: Any) -> Any:
    """Do what a proxy asks of the actor: a call, a read or a write of an attribute."""
    path = message.attr_path
    kind = message.__class__
    target = actor
    for name in path[:-1] if kind is ProxySetAttr else path:
        target = getattr(target, name)
    if kind is ProxyCall:
        return target(*message.args, **message.kwargs)
    if kind is ProxySetAttr:
        setattr(target, path[-1], message.value)
        return None
    return target


class Proxy(pykka.ActorProxy[A]):
    """A ``pykka.ActorProxy`` that does not hold on to one actor object."""

    actor_ref: ActorRef[A]

    @property
    def _actor(self) -> A:
        actor: A = self.actor_ref.live_actor()
        return actor

    @_actor.setter
    def _actor(self, actor: A) -> None:
        """Ignore what pykka would store."""

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        if found.__class__ is pykka.ActorProxy:  # of a traversable attribute
            found.__class__ = Proxy
            vars(found).pop("_actor", None)
        return found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, pykka.ActorProxy):
            return False
        return (
            self.actor_ref.actor_urn == other.actor_ref.actor_urn
            and self._attr_path == other._attr_path
        )

    def __hash__(self) -> int:
        return hash((self.actor_ref.actor_urn, self._attr_path))
