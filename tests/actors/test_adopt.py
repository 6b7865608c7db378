"""Classes written for Pykka alone, in whatever shape, live in a cell as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors.base import adopt
from actors.exits import Started

if TYPE_CHECKING:
    from tests.actors.conftest import FakeSupervisor


class Stock(pykka.ThreadingActor):
    """Answers with what it is asked; ``boom`` fails it."""

    def on_receive(self, message: Any) -> Any:
        if message == "boom":
            raise ValueError(message)
        return message


def lives_twice(supervisor: FakeSupervisor, actor_class: type[Any]) -> None:
    """Start it, crash it, start it again; it answers each time."""
    cell = supervisor.start(adopt(actor_class))
    assert cell.ref.ask("first") == "first"
    cell.ref.tell("boom")
    assert supervisor.restart(cell).kind == "failed"
    assert cell.ref.ask("second") == "second"


def test_class_may_watch_its_attributes_before_its_init(
    supervisor: FakeSupervisor,
) -> None:
    class Watched(Stock):
        names: list[str]

        def __init__(self) -> None:
            object.__setattr__(self, "names", [])
            super().__init__()

        def __setattr__(self, name: str, value: Any) -> None:
            self.names.append(name)
            object.__setattr__(self, name, value)

    lives_twice(supervisor, Watched)


def test_init_subclass_of_a_class_is_not_called_for_its_adoption(
    supervisor: FakeSupervisor,
) -> None:
    roles: list[str] = []

    class Registered(Stock):
        def __init_subclass__(cls, *, role: str) -> None:
            roles.append(role)

    class Member(Registered, role="member"):
        pass

    lives_twice(supervisor, Member)
    assert roles == ["member"]


def test_class_may_have_slots_and_a_metaclass_of_its_own(
    supervisor: FakeSupervisor,
) -> None:
    class Meta(type(Stock)):  # type: ignore[misc]  # ABCMeta, today
        tag: str

        def __new__(cls, *args: Any, **_options: Any) -> Any:
            return super().__new__(cls, *args)

        def __init__(cls, *args: Any, tag: str = "none") -> None:
            super().__init__(*args)
            cls.tag = tag

    class Tagged(Stock, metaclass=Meta, tag="given"):
        __slots__ = ("held",)

        def __init__(self) -> None:
            super().__init__()
            self.held = 1

    lives_twice(supervisor, Tagged)


def test_attributes_named_like_ours_are_the_classs_own(
    supervisor: FakeSupervisor,
) -> None:
    class Namesake(Stock):
        name = clock = source = stop_token = incarnation = schedule = cell = "mine"
        capacity = on_control = on_item = on_end = asked_to_stop = "mine"

        def __init__(self) -> None:
            pykka.ThreadingActor.__init__(self)

    lives_twice(supervisor, Namesake)


def test_init_may_use_the_ref_before_it_calls_pykkas(
    supervisor: FakeSupervisor,
) -> None:
    class Late(Stock):
        def __init__(self) -> None:
            self.seen = self.actor_ref, self.actor_urn
            super().__init__()

    cell = supervisor.start(adopt(Late))

    assert cell.ref.proxy().seen.get() == (cell.ref, cell.urn)


def test_stop_of_a_class_that_overrides_it_is_the_actors_own(
    supervisor: FakeSupervisor,
) -> None:
    stopped: list[str] = []

    class Closing(Stock):
        def stop(self) -> None:
            stopped.append("closing")
            super().stop()

    cell = supervisor.start(adopt(Closing))
    cell.ref.proxy().stop()

    assert supervisor.ended(cell).kind == "normal"
    assert stopped == ["closing"]


@pytest.mark.parametrize("way", ["own __new__", "singleton", "metaclass"])
def test_class_that_gives_no_object_of_its_own_fails_to_start(
    supervisor: FakeSupervisor, way: str
) -> None:
    kept: list[Any] = []

    class Single(Stock):
        def __new__(cls) -> Any:
            if way == "own __new__":
                return object.__new__(cls)
            if way == "singleton" and kept:
                return kept[0]
            kept.append(super().__new__(cls))
            return kept[0]

    class Meta(type(Stock)):  # type: ignore[misc]  # ABCMeta, today
        def __call__(cls) -> Any:
            return kept[0] if kept else super().__call__()

    class Cached(Stock, metaclass=Meta):
        def __init__(self) -> None:
            super().__init__()
            kept.append(self)

    cell = supervisor.make(adopt(Cached if way == "metaclass" else Single))
    cell.start()
    if way != "own __new__":
        supervisor.expect(Started)
        cell.ref.tell("boom")
        supervisor.ended(cell)
        cell.start()

    exit_ = supervisor.ended(cell)

    assert exit_.kind == "start_failed"
    assert "no new actor" in str(exit_.error)


def test_property_that_raises_spoils_no_proxy(supervisor: FakeSupervisor) -> None:
    class Half(Stock):
        @property
        def bad(self) -> None:
            raise OSError("bad")

        def good(self) -> str:
            return "good"

    proxy = supervisor.start(adopt(Half)).ref.proxy()

    assert proxy.good().get() == "good"
    with pytest.raises(OSError, match="bad"):
        proxy.bad.get()
