"""A whole tree at one moment, whatever it does."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import sys
from typing import TYPE_CHECKING, Any

import pytest

from actors.testing import Gate
from supervision.child_spec import ChildSpec
from supervision.dynamic import DynamicSupervisor
from supervision.errors import StartFailed
from supervision.strategies import Backoff
from supervision.supervisor import Supervisor
from tests.supervision.kids import Kid, Nursery, below, boom

if TYPE_CHECKING:
    from actors.testing import VirtualClock
    from supervision.snapshot import TreeSnapshot


def found(snapshot: TreeSnapshot, path: str) -> Any:
    """What is at a path below the root: ``inner/x``."""
    entry: Any = snapshot
    for name in path.split("/"):
        [entry] = [child for child in entry.children if child.id == name]
    return entry


def nested(ours: Nursery, *children: Any, **options: Any) -> ChildSpec[Any]:
    specs = [ours.spec(c) if isinstance(c, str) else c for c in children]
    return ChildSpec(Supervisor, ("rest_for_one", specs), options, id="inner")


def test_snapshot_shows_each_level_with_what_it_is(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77."""
    with ours.grow([ours.spec("a", capacity=3), nested(ours, "x")], name="top") as tree:
        snapshot = tree.snapshot()

        a, x, inner = (found(snapshot, path) for path in ("a", "inner/x", "inner"))
        assert (snapshot.name, snapshot.state, snapshot.strategy) == (
            "top",
            "running",
            "one_for_one",
        )
        assert (inner.name, inner.strategy, inner.state) == (
            "top/inner",
            "rest_for_one",
            "running",
        )
        assert (a.actor_class, a.incarnation, a.capacity, a.thread) == (
            "Kid",
            1,
            3,
            "a",
        )
        assert (x.state, x.mailbox, x.exit_kind, x.error) == ("running", 0, "", "")
        assert below(tree, "inner").snapshot() == inner


def test_snapshot_is_values_that_can_be_kept_and_sent(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77: immutable, and nothing of it keeps an actor or an exception alive."""
    with ours.grow(["a", nested(ours, "x")]) as tree:
        tree.ref("a").tell(boom)
        clock.settle()
        snapshot = tree.snapshot()

        with pytest.raises(dataclasses.FrozenInstanceError):
            snapshot.state = "x"  # type: ignore[misc]  # what is tested
        assert pickle.loads(pickle.dumps(snapshot)) == snapshot
        tree.ref("a").tell(boom)
        clock.settle()
        assert (
            found(snapshot, "a").incarnation,
            found(tree.snapshot(), "a").restarts,
        ) == (
            2,
            2,
        )


def test_restarting_child_shows_why_and_when(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77."""
    backoff = Backoff(first_immediate=False, initial=9, jitter=0)
    with ours.grow([ours.spec("a", backoff=backoff)]) as tree:
        tree.ref("a").tell(boom)
        clock.settle()
        clock.advance(4)
        tree.ref("a").tell("waits")

        a = found(tree.snapshot(), "a")

        assert (a.state, a.restart_in, a.restarts, a.thread) == ("restarting", 5, 1, "")
        assert (a.exit_kind, a.error) == ("failed", "ValueError: boom")
        assert (a.mailbox, a.undelivered) == (1, 1)
        clock.advance(5)
        a = found(tree.snapshot(), "a")
        assert (a.state, a.restart_in, a.thread) == ("running", None, "a#2")


def test_full_mailbox_and_zombie_are_shown(ours: Nursery, clock: VirtualClock) -> None:
    """R77, R58."""
    gate = Gate()
    spec = ours.spec("a", capacity=1, shutdown=2)
    with ours.grow([spec, "b"], "one_for_all") as tree:
        tree.ref("a").tell(lambda kid: gate.pass_through())
        clock.settle()
        tree.ref("a").tell("waits")
        assert found(tree.snapshot(), "a").mailbox == 1

        tree.ref("b").tell(boom)
        clock.settle()
        clock.advance(2.5)
        snapshot = tree.snapshot()

        assert [zombie.child for zombie in snapshot.zombies] == ["a"]
        assert found(snapshot, "a").zombies == 1
        assert "zombie:a  left behind 0.5 s ago: did not stop in time" in str(snapshot)
        gate.open()
        clock.settle()
        assert tree.snapshot().zombies == ()


def busy_with(ours: Nursery, clock: VirtualClock, message: Any) -> Any:
    """What a snapshot shows of a child that hangs in one message."""
    gate = Gate()

    class Hangs(Kid):
        def on_receive(self, message: Any) -> Any:
            gate.pass_through()

    with ours.grow([ours.spec("a", kid_class=Hangs)]) as tree:
        assert found(tree.snapshot(), "a").handling == ""
        tree.ref("a").tell(message)
        gate.wait_arrived()
        child = found(tree.snapshot(), "a")
        assert f"handles {child.handling}" in tree.snapshot().draw(width=120)
        gate.open()
        clock.settle()
        assert found(tree.snapshot(), "a").handling == ""
    return child


def test_busy_child_shows_the_message_in_hand(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77: what hangs, though its mailbox is empty."""
    child = busy_with(ours, clock, "resize 17.jpg")

    assert (child.state, child.mailbox) == ("running", 0)
    assert child.handling == "'resize 17.jpg'"


@pytest.mark.parametrize("kind", [str, bytes, list, dict])
def test_huge_message_is_shown_short(
    ours: Nursery, clock: VirtualClock, kind: Any
) -> None:
    """R77."""
    huge = {str: "x" * 10**6, bytes: bytes(10**6), list: [1] * 10**6}
    message = huge.get(kind, dict.fromkeys(range(10**5)))

    assert 10 < len(busy_with(ours, clock, message).handling) <= 80


def test_call_of_a_proxy_in_hand_is_shown_as_a_call(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77."""
    gate = Gate()

    class Resizer(Kid):
        def resize(self, path: str, *, width: int) -> None:
            gate.pass_through()

    with ours.grow([ours.spec("a", kid_class=Resizer)]) as tree:
        tree.ref("a").proxy().resize("17.jpg", width=100)
        gate.wait_arrived()

        assert found(tree.snapshot(), "a").handling == "resize('17.jpg', width=100)"
        gate.open()


def test_message_that_cannot_be_shown_costs_only_its_text(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77."""

    class Unshowable:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    assert "Unshowable" in busy_with(ours, clock, Unshowable()).handling


def test_message_that_shows_the_tree_itself_does_not_go_round(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77: two of them would do it for ever."""
    gate, looks = Gate(), []

    class Curious:
        def __repr__(self) -> str:
            looks.append(str(tree.snapshot()))
            return "<curious>"

    class Hangs(Kid):
        def on_receive(self, message: Any) -> Any:
            gate.pass_through()

    with ours.grow([ours.spec(name, kid_class=Hangs) for name in "ab"]) as tree:
        for name in "ab":
            tree.ref(name).tell(Curious())
        clock.settle()

        looks.clear()  # the clock looks at messages, too
        snapshot = tree.snapshot()

        assert [found(snapshot, name).handling for name in "ab"] == ["<curious>"] * 2
        assert len(looks) == 2
        assert looks[0].count("handles Curious") == 2
        gate.open()


def test_undelivered_messages_are_counted_by_supervisor(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77, R4."""
    with ours.grow(["a", nested(ours, "x", "y")]) as tree:
        below(tree, "inner").ref("x").tell(boom)
        tree.ref("a").tell(boom)
        clock.settle()
        snapshot = tree.snapshot()

        assert (snapshot.undelivered, found(snapshot, "inner").undelivered) == (2, 1)
        assert found(snapshot, "inner/y").undelivered == 0


def test_snapshot_of_a_tree_that_starts(ours: Nursery, clock: VirtualClock) -> None:
    """R77: from any thread, whatever the supervisor does."""
    gate = Gate()
    trees: list[Any] = []

    def keep(kid: Any) -> None:
        trees.append(kid.actor_ref.cell.parent.ref)
        gate.pass_through()

    def grow() -> None:
        with ours.grow(["a", nested(ours, ours.spec("x", keep)), "b"]):
            pass

    thread = clock.thread(grow, name="host")
    thread.start()
    gate.wait_arrived()

    inner = trees[0].snapshot()
    root = trees[0].cell.parent.ref.snapshot()

    assert (root.state, found(root, "b").state) == ("starting", "starting")
    assert (inner.state, found(inner, "x").state) == ("starting", "starting")
    assert found(root, "a").state == "running"
    gate.open()
    clock.join(thread, None)


def test_snapshot_of_a_tree_that_stops(ours: Nursery, clock: VirtualClock) -> None:
    """R77."""
    gate = Gate()
    tree = ours.grow(["a", "b"])
    tree.ref("b").tell(lambda kid: gate.pass_through())
    clock.settle()
    tree.stop_now("enough", timeout=30)
    clock.settle()

    snapshot = tree.snapshot()

    assert (snapshot.state, found(snapshot, "b").state) == ("stopping", "stopping")
    assert found(snapshot, "a").state == "running"
    gate.open()
    assert tree.wait()


def test_snapshot_after_the_end(ours: Nursery, clock: VirtualClock) -> None:
    """R77."""
    with ours.grow(["a", nested(ours, "x")]) as tree:
        pass

    snapshot = tree.snapshot()

    assert (snapshot.state, snapshot.exit_kind) == ("undefined", "shutdown")
    assert found(snapshot, "inner/x").state == "undefined"
    assert str(snapshot).splitlines()[1].endswith("  one_for_one, stopped")


def test_root_that_gave_up_says_so(ours: Nursery, clock: VirtualClock) -> None:
    """R77, R42."""
    tree = ours.grow("a", intensity=0)
    tree.ref("a").tell(boom)
    clock.settle()

    assert "gave up: ValueError: boom" in str(tree.snapshot())
    assert tree.snapshot().state == "undefined"


def test_nested_supervisor_that_gives_up_is_stopping_before_its_own_hears_of_it(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77: from its own state, one transition ahead of the picture above."""
    gate = Gate()
    with ours.grow([nested(ours, "x", "y", intensity=0)]) as tree:
        inner = below(tree, "inner")
        inner.ref("x").tell(lambda kid: gate.pass_through())
        clock.settle()
        inner.ref("y").tell(boom)
        clock.settle()

        assert found(tree.snapshot(), "inner").state == "stopping"
        assert inner.snapshot().state == "stopping"
        gate.open()
        clock.settle()
        assert found(tree.snapshot(), "inner").incarnation == 2
        assert found(tree.snapshot(), "inner/x").state == "running"


def test_error_that_cannot_be_shown_costs_only_its_text(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77."""

    class Unshowable(ValueError):
        def __str__(self) -> str:
            raise ZeroDivisionError

    def fail(kid: Any) -> None:
        raise Unshowable

    def fail_without_words(kid: Any) -> None:
        raise ValueError

    with ours.grow("ab") as tree:
        tree.ref("a").tell(fail)
        tree.ref("b").tell(fail_without_words)
        clock.settle()

        snapshot = tree.snapshot()

        assert found(snapshot, "a").error == "Unshowable: (cannot be shown)"
        assert found(snapshot, "b").error == "ValueError"


def test_start_that_failed_is_in_the_last_picture(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77."""
    trees: list[Any] = []

    def fail(kid: Any) -> None:
        trees.append(kid.actor_ref.cell.parent.ref)
        raise ValueError("no")

    with pytest.raises(StartFailed):
        ours.grow(["a", ours.spec("b", fail)])

    snapshot = trees[0].snapshot()
    assert (snapshot.state, snapshot.exit_kind) == ("undefined", "start_failed")
    assert "did not start: ValueError: no" in str(snapshot)


def test_children_that_come_and_go_are_shown_while_they_are_there(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77, R76."""
    with DynamicSupervisor.start() as tree:
        for name in ("a", "b", "c"):
            tree.start_child(ours.spec(name, restart="temporary"))
        tree.terminate_child("b")

        snapshot = tree.snapshot()

        assert snapshot.strategy == "dynamic"
        assert [child.id for child in snapshot.children] == ["a", "c"]
        assert str(snapshot).endswith("2 actors: 2 running")


@pytest.mark.concurrent
def test_snapshots_beside_a_storm_of_crashes_never_go_back(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77, R21a: from any thread, at any moment, in the order things happen."""
    seen: list[list[int]] = []
    done = clock.event()

    def look() -> None:
        while not done.is_set():
            children = tree.snapshot().children
            seen.append([child.incarnation for child in children])
            done.wait(0.1)

    with ours.grow("abc", "one_for_all", intensity=100) as tree:
        thread = clock.thread(look, name="observer")
        thread.start()
        for _ in range(5):
            tree.ref("b").tell(boom)
            clock.advance(0.2)
        done.set()
        clock.join(thread, None)
        last = [child.incarnation for child in tree.snapshot().children]

    assert last == [6, 6, 6]
    for earlier, later in zip(seen, [*seen[1:], last], strict=True):
        assert all(a <= b for a, b in zip(earlier, later, strict=True))


def test_tree_that_was_told_to_stop_is_stopped(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77: also when it drained, which its children take for a normal end."""
    tree = ours.grow([ours.spec("a"), ours.spec("b"), "c"])
    tree.ref("b").stop()
    tree.stop()

    assert [
        line.split("  ")[-1].strip() for line in str(tree.snapshot()).splitlines()[1:5]
    ] == [
        "one_for_one, stopped",
        "stopped",
        "ended by itself",
        "stopped",
    ]


def test_tree_that_ends_with_a_significant_child_ends_by_itself(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77, R72."""
    job = ours.spec("job", significant=True)
    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [job]),
        {"auto_shutdown": "any_significant"},
        id="inner",
        significant=True,
    )
    tree = ours.grow([inner, "b"], auto_shutdown="any_significant")
    below(tree, "inner").ref("job").stop()
    assert tree.wait()

    text = str(tree.snapshot())

    assert text.count("one_for_one, ended by itself") == 2
    assert "b       down   #1           stopped" in text


def test_deep_tree_is_shown_to_its_bottom(ours: Nursery, clock: VirtualClock) -> None:
    """R77: its depth costs no frames."""
    inner = ours.spec("leaf")
    for depth in range(60, 0, -1):
        inner = ChildSpec(Supervisor, ("one_for_one", [inner]), id=str(depth))

    with ours.grow([inner]) as tree:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(len(inspect.stack(0)) + 50)
        try:
            shot = tree.snapshot()
        finally:
            sys.setrecursionlimit(limit)
        lines = shot.draw().splitlines()

    assert len([line for line in lines if "one_for_one" in line]) == 61
    assert any("leaf  running" in line for line in lines)
