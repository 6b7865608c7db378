"""A supervisor whose own loop fails leaves no orphan."""

from __future__ import annotations

from typing import Any

import pytest

from actors import ActorDeadError
from actors.testing import Gate, VirtualClock
from supervision.child_spec import ChildSpec
from supervision.errors import StartFailed, SupervisorGaveUp
from supervision.machine import Machine
from supervision.strategies import Backoff
from supervision.supervisor import Supervisor
from tests.supervision.kids import Nursery, below, boom, states


def test_bug_in_a_supervisor_stops_its_children_in_order(
    ours: Nursery, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R54: as a stop would."""
    tree = ours.grow("abc")
    ours.take()

    def broken(self: Any, child: Any, number: int, now: float) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(Machine, "failing", broken)
    tree.ref("b").tell(boom)

    with pytest.raises(SupervisorGaveUp) as raised:
        tree.wait()
    assert str(raised.value.__cause__) == "bug"
    assert ours.take() == "fail b, stop c, stop a"
    assert not any(tree.ref(each).is_alive() for each in "abc")


def test_broken_machine_stops_all_at_once(
    ours: Nursery, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R54: if nothing else can be done."""
    tree = ours.grow("ab")

    def broken(self: Any, *args: Any) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(Machine, "down", broken)
    monkeypatch.setattr(Machine, "take_over", broken)
    tree.ref("b").tell(boom)

    with pytest.raises(SupervisorGaveUp):
        tree.wait()
    clock.settle()
    assert not any(tree.ref(each).is_alive() for each in "ab")


def test_nested_supervisor_is_restarted_after_a_bug(
    ours: Nursery, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R53, R54: it is a child like others."""
    inner = ChildSpec(Supervisor, ("one_for_one", [ours.spec("x")]), id="inner")
    whole = Machine.failing
    with ours.grow([inner]) as tree:

        def broken(self: Any, child: Any, number: int, now: float) -> None:
            monkeypatch.setattr(Machine, "failing", whole)
            raise RuntimeError("bug")

        monkeypatch.setattr(Machine, "failing", broken)
        below(tree, "inner").ref("x").tell(boom)
        clock.settle()

        assert states(tree) == "inner running 2"
        assert below(tree, "inner").ref("x").ask("new") == "new"


def test_supervisor_left_behind_in_its_start_stops_its_children(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R31, R54: its thread still answers for them."""
    gate = Gate()
    slow = ours.spec("y", on_start=lambda kid: gate.pass_through(), shutdown=3)
    inner = ChildSpec(
        Supervisor, ("one_for_one", [ours.spec("x"), slow]), id="inner", start_timeout=2
    )

    def start() -> None:
        with pytest.raises(StartFailed, match="inner"):
            ours.grow(["a", inner])

    starter = clock.thread(start)
    starter.start()
    clock.advance(2)
    assert clock.join(starter, 0)
    assert ours.take() == "start a, start x, start y, stop a"

    clock.advance(3)
    assert ours.take() == "stop x"
    gate.open()


class Hanging(Supervisor):
    """Passes the gate of its test on its own thread, which a supervisor must not."""

    gate: Any = None

    def on_receive(self, message: Any) -> None:
        self.gate.pass_through()


def hanging(ours: Nursery, gate: Gate, **options: Any) -> ChildSpec[Any]:
    kind = type("Hanging", (Hanging,), {"gate": gate})
    in_backoff = ours.spec("y", restart="permanent", backoff=Backoff(initial=30))
    children = [ours.spec("x", restart="permanent"), in_backoff]
    options.setdefault("restart", "permanent")
    return ChildSpec(kind, ("one_for_one", children), id="inner", **options)


def test_supervisor_left_behind_while_it_hangs_leaves_no_orphans(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R54, R58, R59: nobody else would ever stop its children."""
    gate = Gate()
    with ours.grow([hanging(ours, gate, shutdown=2), "a"], "one_for_all") as tree:
        inner = below(tree, "inner")
        before = [inner.ref("x"), inner.ref("y")]
        inner.tell("hang")
        gate.wait_arrived()
        tree.ref("a").tell(boom)
        clock.settle()
        assert [each.is_alive() for each in before] == [True, True]
        ours.take()

        clock.advance(3.1)

        assert [each.is_alive() for each in before] == [False, False]
        happened = ours.take().split(", ")
        assert sorted(happened[:4]) == ["start x", "start y", "stop x", "stop y"]
        assert states(tree) == "inner running 2, a running 2"
        gate.open()
        clock.settle()
        assert states(tree) == "inner running 2, a running 2"
        assert states(below(tree, "inner")) == "x running 1, y running 1"


def test_end_of_a_tree_leaves_no_orphans_of_a_supervisor_that_hangs(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R54, R57: also when one of them waits for its restart."""
    gate = Gate()
    tree = ours.grow([hanging(ours, gate)], intensity=9)
    inner = below(tree, "inner")
    before = [inner.ref("x"), inner.ref("y")]
    for _ in range(2):
        before[1].tell(boom)
        clock.settle()
    assert states(inner) == "x running 1, y restarting 2"
    inner.tell("hang")
    gate.wait_arrived()

    ender = clock.thread(lambda: tree.shutdown(timeout=2))
    ender.start()
    clock.advance(3.1)
    assert clock.join(ender, 0)

    assert [each.is_alive() for each in before] == [False, False]
    gate.open()
    clock.settle()
    assert tree.zombies() == ()


def test_request_that_a_supervisor_took_before_it_hung_is_refused(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R54, R75: and one that it did not come to read; its successor serves none."""
    gate, slow = Gate(), Gate()
    told: list[str] = []

    def add(name: str) -> None:
        with pytest.raises(ActorDeadError):
            inner.start_child(ours.spec(name, lambda kid: slow.pass_through()))
        told.append(name)

    with ours.grow([hanging(ours, gate, shutdown=2), "a"], "one_for_all") as tree:
        inner = below(tree, "inner")
        clock.thread(add, args=("taken",)).start()
        slow.wait_arrived()
        inner.tell("hang")
        gate.wait_arrived()
        clock.thread(add, args=("unread",)).start()
        clock.settle()
        tree.ref("a").tell(boom)
        clock.advance(3.1)

        assert sorted(told) == ["taken", "unread"]
        assert states(inner) == "x running 1, y running 1"
        gate.open()
        slow.open()
        clock.settle()
        assert states(inner) == "x running 1, y running 1"


@pytest.mark.concurrent
@pytest.mark.parametrize("how", ["before", "after"])
def test_last_will_keeps_the_deadline_of_a_shutdown(
    ours: Nursery, clock: VirtualClock, how: str
) -> None:
    """R54, R57: whether it is asked for before the loop has failed, or after."""
    gate = Gate()

    class Failing(Supervisor):
        def on_receive(self, message: Any) -> None:
            raise ValueError(message)

    tree = Failing.start("one_for_one", [ours.spec("a", shutdown=None)])
    tree.ref("a").tell(lambda kid: gate.pass_through())
    gate.wait_arrived()
    tree.tell("bug")
    if how == "after":
        clock.settle()
    ended: list[bool] = []
    ending = clock.thread(lambda: ended.append(tree.shutdown(timeout=2)))
    ending.start()
    clock.advance(2.0)
    clock.join(ending)

    assert ended == [True]
    gate.open()
