"""Pykka's proxies, for actors that restart: what they ask for, and how it is done.

:Runs on: a ``Proxy`` on any thread, ``answer_proxy`` on the actor's.
:Owns: what a proxy knows of the actor's names.
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
    """A ``pykka.ActorProxy`` that does not hold on to one actor object.

    What it is asked for while the actor restarts waits for the next object, as any
    message does.  What is a method, or traversable, it then knows from the class and
    from the last object that a proxy has seen.  Each other public name counts as an
    attribute to be read, and whether there is one is for the next object to say: in the
    future stands what it has, its ``AttributeError``, or an ``ActorDeadError``.
    """

    actor_ref: ActorRef[A]

    def __init__(
        self, *, actor_ref: ActorRef[A], attr_path: tuple[str, ...] | None = None
    ) -> None:
        actor = actor_ref.started_actor()
        super().__init__(actor_ref=actor_ref, attr_path=attr_path)
        self._has_seen(actor)

    @property
    def _actor(self) -> A:
        actor: A = self.actor_ref.live_actor()
        return actor

    @_actor.setter
    def _actor(self, actor: A) -> None:
        """Ignore what pykka would store."""

    def __getattr__(self, name: str) -> Any:
        path = (*self._attr_path, name)
        if path in self._known_attrs:
            return self._get(name)
        if name.startswith("_"):  # private, whatever there is
            message = f"{self} has no attribute {name!r}"
            raise AttributeError(message)
        actor = self.actor_ref.started_actor()
        try:
            found = self._get(name)
        except AttributeError:
            if self._has_seen(actor):
                raise
        else:
            self._has_seen(actor)
            return found
        if path in self._known_attrs:
            return self._get(name)
        return self.actor_ref.ask(ProxyGetAttr(attr_path=path), block=False)

    def _get(self, name: str) -> Any:
        found = super().__getattr__(name)
        if found.__class__ is pykka.ActorProxy:  # of a traversable attribute
            found.__class__ = Proxy
            state = vars(found)
            state.pop("_actor", None)
            state["_known_attrs"] = self._known_attrs
        return found

    def _has_seen(self, actor: Any) -> bool:
        """Note what pykka has just learned; True if it was from this very object.

        Args:
            actor: The object that was there just before, or ``None``.
        """
        ref = self.actor_ref
        if actor is not None and ref.started_actor() is actor:  # so all the time
            ref.known_attrs = self._known_attrs
            return True
        self._known_attrs = {**self._known_attrs, **ref.known_attrs}
        return False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, pykka.ActorProxy):
            return False
        return (
            self.actor_ref.actor_urn == other.actor_ref.actor_urn
            and self._attr_path == other._attr_path
        )

    def __hash__(self) -> int:
        return hash((self.actor_ref.actor_urn, self._attr_path))
