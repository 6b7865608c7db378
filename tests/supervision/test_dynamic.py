"""A supervisor whose children come and go.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from actors.errors import ConfigurationError
from actors.testing import Gate
from supervision import (
    Backoff,
    ChildNotFound,
    ChildSpec,
    DynamicSupervisor,
    MaxChildren,
    StartFailed,
    Supervisor,
)
from supervision.errors import SupervisorGaveUp
from supervision.tree import Board
from tests.supervision.kids import Kid, Nursery, below, boom, states

if TYPE_CHECKING:
    from actors.testing import VirtualClock


class Payload:
    """What an argument holds on to."""


def kwargs_of(nursery: Nursery, name: str, on_start: Any = None) -> dict[str, Any]:
    return {"log": nursery.log, "name": name, "on_start": on_start}


@pytest.mark.concurrent
def test_children_without_an_id_are_numbered(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R76: one for each connection, with or without a name of its own."""
    with DynamicSupervisor.start() as tree:
        first = tree.start_child((Kid, kwargs_of(ours, "x")))
        tree.start_child((Kid, kwargs_of(ours, "y")))
        tree.start_child(ours.spec("z"))
        assert states(tree) == "Kid-1 running 1, Kid-2 running 1, z running 1"

        tree.terminate_child(first)
        assert states(tree) == "Kid-2 running 1, z running 1"
        tree.start_child((Kid, kwargs_of(ours, "x")))
        assert states(tree) == "Kid-2 running 1, z running 1, Kid-3 running 1"
        with pytest.raises(ChildNotFound):
            tree.terminate_child(first)


@pytest.mark.concurrent
def test_max_children_counts_those_that_restart(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R76: a child in its backoff has its place."""
    backoff = Backoff(initial=10, maximum=10, first_immediate=False)
    with DynamicSupervisor.start(max_children=2, intensity=5) as tree:
        ref = tree.start_child(ours.spec("a", backoff=backoff))
        tree.start_child(ours.spec("b"))
        ref.tell(boom)
        clock.settle()
        assert states(tree) == "a restarting 1, b running 1"
        with pytest.raises(MaxChildren, match="max_children=2"):
            tree.start_child(ours.spec("c"))

        tree.terminate_child("b")
        tree.start_child(ours.spec("c"))


@pytest.mark.concurrent
def test_children_stop_at_the_same_time_under_one_deadline(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R55: ten that hang take the time of one."""
    gate = Gate()
    tree = DynamicSupervisor.start()
    for n in range(10):
        tree.start_child(ours.spec(f"k{n}", shutdown=30)).tell(
            lambda kid: gate.pass_through()
        )
    gate.wait_arrived(count=10)
    ending = clock.thread(tree.shutdown)
    ending.start()
    clock.advance(29.9)
    assert tree.is_alive()
    clock.advance(0.2)
    clock.join(ending)

    assert not tree.is_alive()
    assert len(tree.zombies()) == 10
    gate.open()
    clock.settle()


@pytest.mark.concurrent
def test_dynamic_child_is_restarted_alone_and_forgotten_when_down(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R39, R76: one_for_one; a spec goes with its child."""
    with DynamicSupervisor.start() as tree:
        first, second = (tree.start_child(ours.spec(name)) for name in "ab")
        first.tell(boom)
        clock.settle()
        assert states(tree) == "a running 2, b running 1"
        second.stop()
        clock.settle()
        assert states(tree) == "a running 2"


@pytest.mark.concurrent
def test_dynamic_supervisor_gives_up_as_any_other(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R42: the intensity is of all its children together."""
    tree = DynamicSupervisor.start(intensity=1)
    first, second = (tree.start_child(ours.spec(name)) for name in "ab")
    first.tell(boom)
    second.tell(boom)
    clock.settle()

    with pytest.raises(SupervisorGaveUp):
        tree.wait()


@pytest.mark.concurrent
def test_restarted_dynamic_supervisor_has_no_children(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R53: the static children are built again, the dynamic ones are not."""
    spec = ChildSpec(DynamicSupervisor, (), {"intensity": 0}, id="pool")
    with ours.grow(["a", spec]) as tree:
        pool = below(tree, "pool")
        pool.start_child(ours.spec("x")).tell(boom)
        clock.settle()

        assert states(tree) == "a running 1, pool running 2"
        assert pool.which_children() == ()
        pool.start_child(ours.spec("x"))
        assert states(pool) == "x running 1"


def test_arguments_of_temporary_children_are_not_retained(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R76: what a child was made from is not held for a restart that never comes."""

    class Holder(Kid):
        def __init__(self, payload: Any, log: Any, name: str) -> None:
            super().__init__(log, name)

    with DynamicSupervisor.start() as tree:
        payload = Payload()
        seen = weakref.ref(payload)
        tree.start_child(
            ChildSpec(Holder, (payload, ours.log, "a"), restart="temporary")
        )
        clock.settle()
        del payload
        gc.collect()

        assert seen() is None


def test_a_failing_start_leaves_no_trace(ours: Nursery, clock: VirtualClock) -> None:
    """R29: in a dynamic supervisor too."""

    def fail(kid: Any) -> None:
        raise LookupError("no")

    with DynamicSupervisor.start() as tree:
        with pytest.raises(StartFailed):
            tree.start_child(ours.spec("a", fail))
        assert tree.which_children() == ()
        assert tree.count_children().specs == 0


def test_dynamic_supervisor_refuses_what_it_has_no_use_for() -> None:
    """R22, R23: significant children and bad limits."""
    with pytest.raises(ConfigurationError, match="max_children"):
        DynamicSupervisor.start(max_children=0)
    with pytest.raises(ConfigurationError, match="pool"):
        ChildSpec(DynamicSupervisor, (), {"max_children": -1}, id="pool")
    with DynamicSupervisor.start() as tree, pytest.raises(ConfigurationError):
        tree.start_child(ChildSpec(Kid, ([], "a"), significant=True))


def test_start_and_terminate_touch_no_other_child(ours: Nursery) -> None:
    """R76: O(1): the machine looks at the child alone."""
    with DynamicSupervisor.start() as tree:
        for n in range(50):
            tree.start_child(ours.spec(f"k{n}"))
        machine: Any = tree.cell.incarnation.actor._machine  # type: ignore[union-attr]
        looks: list[int] = []

        class Counting(dict[str, Any]):
            def values(self) -> Any:
                looks.append(1)
                return super().values()

            def __iter__(self) -> Any:
                looks.append(1)
                return super().__iter__()

        machine.by_id = Counting(machine.by_id)
        tree.start_child(ours.spec("new"))
        tree.terminate_child("new")
        tree.ref("k7").tell(boom)

        assert looks == []


def test_child_that_can_have_no_place_is_as_if_it_had_never_been(
    ours: Nursery, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R29: whatever is refused on the supervisor's thread."""
    with DynamicSupervisor.start() as tree:
        spec = ours.spec("ada")
        monkeypatch.setattr(Kid, "capacity", 0)

        with pytest.raises(ConfigurationError):
            tree.start_child(spec)

        monkeypatch.undo()
        assert tree.start_child(spec).is_alive()


def test_nested_supervisors_that_are_gone_leave_nothing_but_a_sum(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R76: one for each session, thousands a day."""
    with DynamicSupervisor.start() as tree:
        for _ in range(3):
            inner = ChildSpec(Supervisor, ("one_for_one", [ours.spec("x")]))
            ref = tree.start_child(inner)
            ref.ref("x").tell(boom)
            clock.settle()
            tree.terminate_child(ref)
            del ref
        gc.collect()

        assert tree.snapshot().undelivered == 3
        boards = [each for each in gc.get_objects() if type(each) is Board]
        ours_alone = [each for each in boards if each.tree is tree.board.tree]
        assert [each.name for each in ours_alone] == ["root"]
