"""Children that end their supervisor, come and go, watch and are watched.

Rules R72 to R80, and R90, R91: what a tree tells of itself.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors import ActorDeadError, Exit, WouldDeadlock
from actors.testing import Gate
from supervision import (
    AlreadyPresent,
    AlreadyStarted,
    Backoff,
    ChildNotFound,
    ChildRunning,
    ChildSpec,
    DynamicSupervisor,
    MaxChildren,
    Supervisor,
    SupervisorGaveUp,
)
from tests.supervision.kids import Kid, Nursery, below, boom, states

if TYPE_CHECKING:
    from actors.testing import VirtualClock

pytestmark = pytest.mark.concurrent

SLOW = Backoff(initial=10, maximum=10, jitter=0, first_immediate=False)


# -- auto shutdown


@pytest.mark.parametrize(
    ("restart", "crashes", "ends"),
    [
        ("transient", False, True),
        ("transient", True, False),
        ("temporary", False, True),
        ("temporary", True, True),
    ],
)
def test_end_of_a_significant_child_ends_its_supervisor(
    nursery: Nursery, clock: VirtualClock, restart: str, crashes: bool, ends: bool
) -> None:
    """R72: a normal end of any, and every end of a temporary one."""
    children = [nursery.spec("a", significant=True, restart=restart), "b"]
    tree = nursery.grow(children, auto_shutdown="any_significant")
    if crashes:
        tree.ref("a").tell(boom)
    else:
        tree.ref("a").stop()
    clock.settle()

    assert tree.is_alive() is not ends
    assert tree.wait(0) if ends else tree.shutdown()


def test_auto_shutdown_goes_up_as_a_normal_end(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R72: a supervisor that ends so is itself a significant child that ended well."""
    exits: list[Exit] = []
    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [nursery.spec("x", significant=True), nursery.spec("y")]),
        {"auto_shutdown": "any_significant"},
        id="inner",
        significant=True,
    )
    tree = nursery.grow(["a", inner], auto_shutdown="all_significant")
    tree.when_ended(exits.append)
    nursery.take()

    below(tree, "inner").ref("x").stop()

    assert tree.wait()
    clock.settle()
    assert [each.kind for each in exits] == ["shutdown"]
    assert nursery.take() == "stop x, stop y, stop a"


@pytest.mark.parametrize(
    ("restart", "expected"),
    [
        ("permanent", "a running 1, inner running 2"),
        ("transient", "a running 1, inner undefined 1"),
        ("temporary", "a running 1"),
    ],
)
def test_nested_auto_shutdown_is_no_failure_to_the_one_above(
    nursery: Nursery, clock: VirtualClock, restart: str, expected: str
) -> None:
    """R35, R72: it comes back if it is permanent, and by no other reason."""
    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [nursery.spec("x", significant=True)]),
        {"auto_shutdown": "any_significant"},
        id="inner",
        restart=restart,
    )
    with nursery.grow(["a", inner]) as tree:
        below(tree, "inner").ref("x").stop()
        clock.settle()

        assert states(tree) == expected


def test_last_of_the_significant_ends_it_also_if_others_were_terminated(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R72, R73: terminate_child triggers nothing, and the rest still counts."""
    children = [nursery.spec(name, significant=True) for name in "abc"]
    tree = nursery.grow([*children, "d"], auto_shutdown="all_significant")
    tree.ref("a").stop()
    tree.terminate_child("b")
    tree.ref("d").stop()
    clock.settle()
    assert tree.is_alive()

    tree.ref("c").stop()

    assert tree.wait()


def test_last_significant_child_that_is_terminated_ends_nobody(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R73: nor does the significant sibling that a group restart removes."""
    children = [
        "a",
        nursery.spec("b", significant=True),
        nursery.spec("c", significant=True, restart="temporary"),
    ]
    options: Any = {"auto_shutdown": "any_significant"}
    with nursery.grow(children, "one_for_all", **options) as tree:
        tree.ref("a").tell(boom)
        clock.settle()
        assert states(tree) == "a running 2, b running 2"
        tree.terminate_child("b")
        clock.settle()
        assert states(tree) == "a running 2, b undefined 2"

        tree.restart_child("b").stop()
        assert tree.wait()


def test_significant_child_ends_its_supervisor_during_anothers_backoff(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R48, R72: at once; the pending restart is called off."""
    children = [nursery.spec("a", significant=True), nursery.spec("b", backoff=SLOW)]
    tree = nursery.grow(children, auto_shutdown="any_significant")
    tree.ref("b").tell(boom)
    clock.settle()

    tree.ref("a").stop()

    assert tree.wait()
    assert clock.monotonic() == 0
    assert nursery.log.count("start b") == 1


# -- administration


def test_child_may_be_administered_by_whoever_is_not_below_it(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R64, R75: by a sibling, a nephew, another's on_stop; not from below it."""
    inner = ChildSpec(Supervisor, ("one_for_one", [ours.spec("x")]), id="inner")
    with ours.grow(["a", "b", inner]) as tree:
        a, x = tree.ref("a"), below(tree, "inner").ref("x")
        a.ask(lambda kid: tree.terminate_child("b"))
        assert x.ask(lambda kid: tree.restart_child("b").is_alive())
        x.ask(lambda kid: tree.terminate_child("b"))
        assert x.ask(lambda kid: below(tree, "inner").start_child(ours.spec("y")))
        with pytest.raises(WouldDeadlock):
            x.ask(lambda kid: tree.terminate_child("inner"))
        a.ask(lambda kid: tree.terminate_child("inner"))

        assert states(tree) == "a running 1, b undefined 1, inner undefined 1"


def test_each_outcome_in_each_state(nursery: Nursery, clock: VirtualClock) -> None:
    """R75, R77: while it starts, stops, and is gone."""
    gate = Gate()

    class Slow(Kid):
        def on_start(self) -> None:
            if self.id == "slow":
                gate.pass_through()

    slow = nursery.spec("slow", kid_class=Slow)
    with nursery.grow([]) as tree:
        starting = clock.thread(tree.start_child, args=[slow])
        starting.start()
        gate.wait_arrived()
        clock.settle()
        assert states(tree) == "slow starting 1"
        with pytest.raises(AlreadyStarted):
            tree.start_child(slow)
        for request in (tree.restart_child, tree.delete_child):
            with pytest.raises(ChildRunning):
                request("slow")
        gate.open()
        clock.join(starting)

        busy = Gate()
        tree.ref("slow").tell(lambda kid: busy.pass_through())
        busy.wait_arrived()
        ending = clock.thread(tree.terminate_child, args=["slow"])
        ending.start()
        clock.settle()
        assert states(tree) == "slow stopping 1"
        with pytest.raises(AlreadyStarted):
            tree.start_child(slow)
        for request in (tree.restart_child, tree.delete_child):
            with pytest.raises(ChildRunning):
                request("slow")
        busy.open()
        clock.join(ending)

        with pytest.raises(AlreadyPresent):
            tree.start_child(slow)
        tree.delete_child("slow")
        tree.start_child(nursery.spec("slow")).stop()


def test_terminated_temporary_child_is_gone_with_its_name(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R75: not_found afterwards; its name can be used again, its old ref cannot."""
    with nursery.grow([nursery.spec("a", restart="temporary"), "b"]) as tree:
        old = tree.ref("a")
        tree.terminate_child(old)
        for request in (tree.terminate_child, tree.restart_child, tree.delete_child):
            with pytest.raises(ChildNotFound):
                request("a")
        new = tree.start_child(nursery.spec("a"))

        with pytest.raises(ChildNotFound):
            tree.terminate_child(old)
        assert new.is_alive()
        assert not old.is_alive()


def test_start_child_during_a_group_restart_joins_the_next_one(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R21, R39, R75: it is served meanwhile, and not restarted with this one."""
    gate = Gate()

    def hold(kid: Kid) -> None:
        if kid.incarnation == 2:
            gate.pass_through()

    with ours.grow([ours.spec("a", hold), "b"], "one_for_all") as tree:
        tree.ref("a").tell(boom)
        gate.wait_arrived()
        tree.start_child(ours.spec("c"))
        clock.settle()
        assert states(tree) == "a starting 2, b restarting 1, c running 1"
        gate.open()
        clock.settle()
        assert states(tree) == "a running 2, b running 2, c running 1"

        tree.ref("b").tell(boom)
        clock.settle()
        assert states(tree) == "a running 3, b running 3, c running 2"


def test_terminated_child_of_a_group_that_stops_stays_down(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R39, R48, R75: asked for while it is being stopped for the group."""
    gate = Gate()
    with ours.grow("abc", "one_for_all") as tree:
        tree.ref("c").tell(lambda kid: gate.pass_through())
        gate.wait_arrived()
        tree.ref("a").tell(boom)
        clock.settle()
        ending = clock.thread(tree.terminate_child, args=["c"])
        ending.start()
        clock.settle()
        tree.terminate_child("a")  # has failed, and waits for its restart
        gate.open()
        clock.join(ending)
        clock.settle()

        assert states(tree) == "a undefined 1, b running 2, c undefined 1"


def test_dynamic_supervisor_takes_no_more_than_it_may_however_many_ask(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R76: also while they start, and one that waits for its restart has its place."""
    outcomes: list[str] = []

    def add(number: int) -> None:
        try:
            tree.start_child(nursery.spec(f"k{number}", backoff=SLOW))
            outcomes.append("started")
        except MaxChildren:
            outcomes.append("refused")

    with DynamicSupervisor.start(max_children=3) as tree:
        threads = [clock.thread(add, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            clock.join(thread)
        assert sorted(outcomes) == ["refused"] * 5 + ["started"] * 3

        first = tree.which_children()[0]
        first.ref.tell(boom)
        clock.settle()
        assert tree.count_children().restarting == 1
        with pytest.raises(MaxChildren):
            tree.start_child(nursery.spec("more"))
        tree.terminate_child(first.id)
        tree.start_child(nursery.spec("more"))


def test_children_can_be_looked_at_from_anywhere_at_any_time(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R21a, R77: in each hook, in a listener, in kwargs, and after the end."""
    looks: list[int] = []
    trees: list[Any] = []

    def look(*_args: Any) -> None:
        for tree in trees:
            assert len(tree.which_children()) == tree.count_children().specs == 2
            assert str(tree.snapshot())
            looks.append(1)

    class Looking(Kid):
        def on_start(self) -> None:
            look()

        def on_stop(self) -> None:
            look()

        def on_failure(self, *exc_info: Any) -> None:
            look()

    specs = [ours.spec(name, kid_class=Looking) for name in "ab"]
    tree = Supervisor.start("one_for_all", specs, on_event=look)
    trees.append(tree)
    tree.ref("a").tell(boom)
    clock.settle()
    tree.ref("b").ask(look)
    tree.shutdown()
    look()

    assert len(looks) > 15
    assert states(tree) == "a undefined 2, b undefined 2"


# -- watches


class Watcher(Kid):
    """Notes what it hears."""

    heard: list[tuple[str, str]]

    def on_terminated(self, ref: Any, exit: Exit) -> None:  # noqa: A002
        self.heard.append((ref.cell.name, exit.kind))

    def on_restarted(self, ref: Any, incarnation: int, reason: Exit) -> None:
        self.heard.append((f"{ref.cell.name}#{incarnation}", reason.kind))


def watching(nursery: Nursery) -> tuple[ChildSpec[Any], list[tuple[str, str]]]:
    heard: list[tuple[str, str]] = []
    kind = type("Watcher", (Watcher,), {"heard": heard})
    return nursery.spec("w", kid_class=kind), heard


@pytest.mark.parametrize(
    ("end", "kind"),
    [("terminate", "shutdown"), ("stop", "normal"), ("crash", "failed")],
)
def test_watcher_is_told_how_a_child_ended(
    nursery: Nursery, clock: VirtualClock, end: str, kind: str
) -> None:
    """R78: once, whoever ended it."""
    spec, heard = watching(nursery)
    with nursery.grow([spec, nursery.spec("a", restart="temporary")]) as tree:
        a = tree.ref("a")
        tree.ref("w").ask(lambda kid: kid.watch(a))
        if end == "terminate":
            tree.terminate_child("a")
        elif end == "stop":
            a.stop()
        else:
            a.tell(boom)
        clock.settle()

        assert heard == [("a", kind)]


def test_watch_lasts_through_group_restarts_of_both(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R78, R79, R80: it belongs to the watcher's place; restarts only if asked for."""
    spec, heard = watching(nursery)
    with nursery.grow([spec, "a", "b"], "one_for_all") as tree:
        a, b = tree.ref("a"), tree.ref("b")
        tree.ref("w").ask(lambda kid: kid.watch(a))
        tree.ref("w").ask(lambda kid: kid.watch(b, restarts=True))
        a.tell(boom)
        clock.settle()
        assert heard == [("b#2", "shutdown")]
        tree.ref("w").tell(boom)
        clock.settle()
        assert heard == [("b#2", "shutdown"), ("b#3", "shutdown")]

        tree.terminate_child("a")
        tree.terminate_child("b")
        clock.settle()

    assert heard[2:] == [("a", "shutdown"), ("b", "shutdown")]


def test_watch_of_one_in_its_backoff_waits_for_its_end(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R48, R78: it is no end; to call its restart off is."""
    spec, heard = watching(nursery)
    with nursery.grow([spec, nursery.spec("a", backoff=SLOW)]) as tree:
        a = tree.ref("a")
        a.tell(boom)
        clock.settle()
        tree.ref("w").ask(lambda kid: kid.watch(a))
        clock.settle()
        assert heard == []
        tree.terminate_child("a")
        clock.settle()
        assert [name for name, _ in heard] == ["a"]

        tree.restart_child("a").stop()  # a new place: nobody watches that
        clock.settle()
        assert len(heard) == 1


def test_nested_supervisor_and_its_children_are_watched_alike(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R53, R78: children of a supervisor that is rebuilt have ended, it has not."""
    spec, heard = watching(nursery)
    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [nursery.spec("x"), nursery.spec("y")]),
        {"intensity": 0},
        id="inner",
    )
    with nursery.grow([spec, inner]) as tree:
        x, y = (below(tree, "inner").ref(name) for name in "xy")
        for ref in (tree.ref("inner"), x, y):
            tree.ref("w").ask(lambda kid, ref=ref: kid.watch(ref))
        x.tell(boom)
        clock.settle()
        assert heard == [("x", "failed"), ("y", "shutdown")] or heard == [
            ("y", "shutdown"),
            ("x", "failed"),
        ]
        tree.terminate_child("inner")
        clock.settle()

        assert heard[2:] == [("inner", "shutdown")]


def test_watcher_with_a_full_mailbox_holds_no_dying_thread_up(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R15, R78: the notice comes first when it reads again."""
    spec, heard = watching(nursery)
    gate = Gate()
    with nursery.grow([spec, "a"]) as tree:
        a, w = tree.ref("a"), tree.ref("w")
        w.ask(lambda kid: kid.watch(a))
        w.tell(lambda kid: gate.pass_through())
        gate.wait_arrived()
        for _ in range(10):
            w.tell(lambda kid: heard.append(("data", "")))
        tree.terminate_child("a")
        assert not a.is_alive()
        gate.open()
        clock.settle()

        assert heard[0] == ("a", "shutdown")
        assert heard[1:] == [("data", "")] * 10


def test_whole_tree_that_gives_up_is_told_to_watchers_outside(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R42, R78: each child's own end, and the tree's."""
    spec, heard = watching(nursery)
    tree = nursery.grow("ab", intensity=0, name="doomed")
    with nursery.grow([spec], name="other") as other:
        for ref in (tree, tree.ref("a"), tree.ref("b")):
            other.ref("w").ask(lambda kid, ref=ref: kid.watch(ref))
        tree.ref("a").tell(boom)
        with pytest.raises(SupervisorGaveUp):
            tree.wait()
        clock.settle()

        ends = [("a", "failed"), ("b", "shutdown"), ("doomed", "gave_up")]
        assert sorted(heard) == ends


# -- time and events


def test_waits_of_children_are_on_the_trees_clock(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R90: an ask, a tell, a token's wait, each to the second."""
    ends: dict[str, float] = {}
    gate = Gate()

    def ask(kid: Kid) -> None:
        with pytest.raises(pykka.Timeout):
            tree.ref("busy").ask("x", timeout=3)
        ends["ask"] = clock.monotonic()

    def tell(kid: Kid) -> None:
        with pytest.raises(pykka.Timeout):
            tree.ref("full").tell("x", timeout=4)
        ends["tell"] = clock.monotonic()

    def wait(kid: Kid) -> None:
        assert not kid.stop_token.wait(5)
        ends["token"] = clock.monotonic()

    children = ["a", "b", "c", "busy", ours.spec("full", capacity=1)]
    with ours.grow(children) as tree:
        for name in ("busy", "full"):
            tree.ref(name).tell(lambda kid: gate.pass_through())
        gate.wait_arrived(count=2)
        tree.ref("full").tell("fills it")
        for name, handler in zip("abc", (ask, tell, wait), strict=True):
            tree.ref(name).tell(handler)
        clock.advance(10)

        assert ends == {"ask": 3, "tell": 4, "token": 5}
        gate.open()
        clock.settle()
        assert tree.undelivered() == ()


def lines(nursery: Nursery, child: str) -> list[str]:
    """The kinds of the events of one child, with the incarnation."""
    return [
        f"{type(event).__name__} {event.incarnation}"
        for event in nursery.events
        if event.child == child
    ]


def test_events_of_a_childs_life_are_in_order(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R91: a crash, a failing restart, a hung one, a good one, a stop."""
    gate = Gate()
    starts: list[Any] = []

    def on_start(kid: Any) -> None:
        starts.append(kid)
        if len(starts) == 2:
            raise OSError("no disk")
        if len(starts) == 3:
            gate.pass_through()

    spec = nursery.spec("a", on_start, start_timeout=5)
    with nursery.grow([spec], intensity=9) as tree:
        tree.ref("a").tell(boom)
        clock.advance(5)
        clock.settle()

    assert lines(nursery, "a") == [
        "ChildStarted 1",
        "MessageUndelivered 1",
        "ChildFailing 1",
        "ChildDown 1",
        "RestartScheduled 1",
        "ChildDown 2",
        "RestartScheduled 2",
        "ChildAbandoned 3",
        "ChildDown 3",
        "RestartScheduled 3",
        "ChildRestarted 4",
        "ChildDown 4",
        "ChildStopped 4",
    ]
    gate.open()


def test_listener_that_raises_hurts_nobody(
    nursery: Nursery, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """R27, R91: neither the supervisor whose thread it is on, nor the restart."""

    def listen(event: Any) -> None:
        raise RuntimeError("deaf")

    specs = [nursery.spec(name) for name in "ab"]
    with Supervisor.start("one_for_one", specs, on_event=listen) as tree:
        tree.ref("a").tell(boom)
        clock.settle()
        assert states(tree) == "a running 2, b running 1"
    assert "deaf" in caplog.text


def test_requests_after_the_end_are_refused_each_time(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R62, R75, R77: pictures can still be had."""
    tree = nursery.grow("a")
    tree.shutdown()

    for request in (
        lambda: tree.start_child(nursery.spec("b")),
        lambda: tree.terminate_child("a"),
        lambda: tree.restart_child("a"),
        lambda: tree.delete_child("a"),
    ):
        with pytest.raises(ActorDeadError):
            request()
    assert states(tree) == "a undefined 1"
