"""Children for the tests of a supervisor: a message that is a function is run."""

from __future__ import annotations

from typing import Any

import pykka

from actors.base import Actor
from supervision.child_spec import ChildSpec
from supervision.supervisor import Supervisor, SupervisorRef


class Kid(Actor):
    """One of our actors."""

    def __init__(self, log: list[str], name: str, on_start: Any = None) -> None:
        super().__init__()
        self.log, self.id = log, name
        self.handled: list[Any] = []
        self._on_start = on_start

    def on_start(self) -> None:
        self.log.append(f"start {self.id}")
        if self._on_start is not None:
            self._on_start(self)

    def on_stop(self) -> None:
        self.log.append(f"stop {self.id}")

    def on_failure(self, *exc_info: Any) -> None:
        self.log.append(f"fail {self.id}")

    def on_receive(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        self.handled.append(message)
        self.log.append(f"{self.id} got {message}")
        return message


class PykkaKid(pykka.ThreadingActor):
    """The same, written for Pykka alone."""

    def __init__(self, log: list[str], name: str, on_start: Any = None) -> None:
        super().__init__()
        self.log, self.id = log, name
        self.handled: list[Any] = []
        self._on_start = on_start

    def on_start(self) -> None:
        Kid.on_start(self)  # type: ignore[arg-type]  # the same attributes

    def on_stop(self) -> None:
        self.log.append(f"stop {self.id}")

    def on_failure(self, *exc_info: Any) -> None:
        self.log.append(f"fail {self.id}")

    def on_receive(self, message: Any) -> Any:
        return Kid.on_receive(self, message)  # type: ignore[arg-type]  # as above


def boom(kid: Any) -> None:
    """Told, it crashes its kid."""
    raise ValueError("boom")


class Nursery:
    """Makes trees of kids with one common log.

    Attributes:
        log: ``start a``, ``stop a``, ``fail a``, ``a got 1`` in the order they happen.
        events: What the trees emitted.
    """

    def __init__(self, kid_class: type[Any] = Kid) -> None:
        self.log: list[str] = []
        self.events: list[Any] = []
        self.kid_class = kid_class

    def spec(self, name: str, on_start: Any = None, **options: Any) -> ChildSpec[Any]:
        kwargs = {"log": self.log, "name": name, "on_start": on_start}
        kid_class = options.pop("kid_class", self.kid_class)
        options.setdefault("on_crash", "on_failure")
        return ChildSpec(kid_class, (), kwargs, id=name, **options)

    def grow(
        self,
        children: Any = "abc",
        strategy: str = "one_for_one",
        **options: Any,
    ) -> SupervisorRef:
        """Start a tree; strings among the children stand for kids with defaults."""
        specs = [self.spec(c) if isinstance(c, str) else c for c in children]
        return Supervisor.start(strategy, specs, on_event=self.events.append, **options)

    def take(self) -> str:
        """What happened since the last call."""
        taken = self.log[:]
        del self.log[: len(taken)]
        return ", ".join(taken)

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


def below(tree: SupervisorRef, child: str) -> SupervisorRef:
    """The ref of a nested supervisor."""
    ref = tree.ref(child)
    assert isinstance(ref, SupervisorRef)
    return ref


def states(tree: SupervisorRef) -> str:
    """``a running 1, b restarting 2``."""
    return ", ".join(
        f"{child.id} {child.state} {child.incarnation}"
        for child in tree.which_children()
    )
