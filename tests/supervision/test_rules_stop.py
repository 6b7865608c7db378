"""Endings: in each state, at the worst moment, by everybody at once; and drains.

Rules R55 to R68.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors import ActorDeadError, ConfigurationError, Exit, WouldDeadlock
from actors.events import ChildAbandoned, ChildDown, ChildStopped
from actors.testing import Gate
from supervision import (
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    StartFailed,
    Supervisor,
)
from tests.supervision.kids import Kid, Nursery, PykkaKid, below, boom, states

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.testing import VirtualClock
    from supervision import SupervisorRef

pytestmark = pytest.mark.concurrent

SLOW = Backoff(initial=1000, maximum=1000, jitter=0, first_immediate=False)


# -- a stop in each state


class Stuck(Kid):
    """Passes the gate of its nursery in the hook that its id names."""

    gate: Any = None

    def on_start(self) -> None:
        super().on_start()
        if self.id == "starting" and self.incarnation == 2:
            self.gate.pass_through()

    def on_stop(self) -> None:
        super().on_stop()
        if self.id == "stopping":
            self.gate.pass_through()

    def on_failure(self, *exc_info: Any) -> None:
        super().on_failure(*exc_info)
        if self.id == "failing":
            self.gate.pass_through()


def put_into(state: str, ours: Nursery, clock: VirtualClock, gate: Gate) -> Any:
    """A tree with one child in that state, between two others."""
    stuck = type("Stuck", (Stuck,), {"gate": gate})
    spec = ours.spec(
        state,
        kid_class=stuck,
        restart="permanent",
        backoff=SLOW if state == "backoff" else None,
        shutdown=60,
    )
    tree = ours.grow(["a", spec, "c"], intensity=9)
    kid = tree.ref(state)
    if state in {"starting", "failing", "backoff"}:
        kid.tell(boom)
    elif state == "busy":
        kid.tell(lambda kid: gate.pass_through())
    elif state == "down":
        tree.terminate_child(kid)
    elif state == "stopping":
        kid.stop(block=False)
    if state in {"starting", "failing", "busy", "stopping"}:
        gate.wait_arrived()
    clock.settle()
    return tree


def by_stop_all(tree: SupervisorRef) -> None:
    tree.tell_control(None)  # something that a supervisor does not know
    pykka.ActorRegistry.stop_all(block=False)
    tree.stop_now("and quickly", timeout=2)


ENDINGS: dict[str, Callable[[SupervisorRef], object]] = {
    "shutdown": lambda tree: tree.shutdown(timeout=2),
    "stop": lambda tree: tree.stop(timeout=2),
    "stop_now": lambda tree: tree.stop_now("now", timeout=2),
    "stop_all": by_stop_all,
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "state", ["starting", "failing", "backoff", "busy", "down", "stopping"]
)
def test_tree_ends_in_its_time_whatever_state_a_child_is_in(
    ours: Nursery, clock: VirtualClock, state: str, ending: str
) -> None:
    """R57, R58, R63, R66, R68: all is closed, once; only a drain starts who is owed."""
    gate = Gate()
    tree = put_into(state, ours, clock, gate)
    refs = [tree.ref(name) for name in ("a", state, "c")]
    queued = None
    if refs[1].is_alive():
        refs[1].tell("left")
        queued = refs[1].ask("asked", block=False)
    ours.take()

    ender = clock.thread(ENDINGS[ending], args=[tree])
    ender.start()
    clock.advance(2)

    assert not tree.is_alive()
    assert tree.wait(0)
    drains = (state, ending) == ("backoff", "stop")
    assert ("start" in ours.take()) == drains
    assert not any(ref.is_alive() for ref in refs)
    assert pykka.ActorRegistry.get_all() == []
    hangs = state in {"starting", "failing", "busy", "stopping"}
    assert [zombie.child for zombie in tree.zombies()] == [state] * hangs
    stopped = [event.child for event in ours.of(ChildStopped)]
    assert sorted(stopped) == sorted(["a", state, "c"])
    if queued is not None and drains:
        assert queued.get(timeout=0) == "asked"
    elif queued is not None:
        with pytest.raises(ActorDeadError):
            queued.get(timeout=0)
        assert "left" in [record.message for record in tree.undelivered()]
    gate.open()
    clock.settle()
    assert clock.join(ender, 0)
    assert tree.zombies() == ()
    assert ours.take() == ""


@pytest.mark.parametrize("ending", ["shutdown", "stop", "stop_now", "stop_all"])
def test_tree_ends_while_its_first_children_start(
    ours: Nursery, clock: VirtualClock, ending: str
) -> None:
    """R28, R32, R63: whoever started it is told; those that had started stop."""
    gate = Gate()
    failures: list[StartFailed] = []

    def start() -> None:
        try:
            ours.grow(["a", ours.spec("b", lambda kid: gate.pass_through()), "c"])
        except StartFailed as error:
            failures.append(error)

    starter = clock.thread(start)
    starter.start()
    gate.wait_arrived()
    [tree] = pykka.ActorRegistry.get_by_class(Supervisor)
    ender = clock.thread(ENDINGS[ending], args=[tree])
    ender.start()
    clock.advance(2)

    assert len(failures) == 1
    assert ours.take() == "start a, start b, stop a"
    gate.open()
    clock.settle()
    assert clock.join(ender, 0)
    assert clock.join(starter, 0)


# -- everybody at once


def test_everybody_stops_it_and_each_hook_runs_once(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R62: shutdown, stop, stop_now, the registry and children that leave as well."""
    tree = nursery.grow("abc")
    targets: list[Any] = [
        tree.shutdown,
        tree.shutdown,
        tree.stop,
        lambda: tree.stop_now("now"),
        pykka.ActorRegistry.stop_all,
        lambda: tree.ref("b").stop(),
        lambda: _quietly(tree.terminate_child, "c"),
        lambda: _quietly(tree.terminate_child, "c"),
    ]
    threads = [clock.thread(target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        clock.join(thread)

    assert not tree.is_alive()
    assert sorted(nursery.log) == sorted(
        f"{what} {name}" for what in ("start", "stop") for name in "abc"
    )
    assert tree.stop() is False
    assert tree.shutdown() is True


def _quietly(fn: Callable[..., object], *args: Any) -> None:
    with contextlib.suppress(ActorDeadError):
        fn(*args)


def test_terminate_twice_at_once_is_one_stop(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R62, R75: both callers return when it is down, not before."""
    gate = Gate()
    returned: list[bool] = []

    def end() -> None:
        tree.terminate_child("a")
        returned.append(kid.is_alive())

    with nursery.grow([nursery.spec("a", shutdown=60), "b"]) as tree:
        kid = tree.ref("a")
        kid.tell(lambda kid: gate.pass_through())
        gate.wait_arrived()
        threads = [clock.thread(end) for _ in range(3)]
        for thread in threads:
            thread.start()
        clock.settle()
        assert returned == []
        gate.open()
        for thread in threads:
            clock.join(thread)

        assert returned == [False] * 3
        assert nursery.log.count("stop a") == 1


def test_child_that_leaves_while_its_tree_stops_is_not_waited_for_in_vain(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R67: stopped by its sibling's on_stop; permanent, and yet it does not return."""

    class Herald(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def on_stop(self) -> None:
            super().on_stop()
            refs["a"].stop(block=False)
            refs["b"].tell(boom)

    children = [
        nursery.spec("a", restart="permanent"),
        nursery.spec("b", restart="permanent"),
        nursery.spec("c", kid_class=Herald),
    ]
    tree = nursery.grow(children)
    refs = {name: tree.ref(name) for name in "ab"}
    nursery.take()

    assert tree.shutdown()

    kinds = {event.child: event.kind for event in nursery.of(ChildDown)}
    assert kinds["a"] in {"normal", "shutdown"}
    assert kinds["b"] in {"failed", "shutdown"}
    assert nursery.log[0] == "stop c"
    assert "start a" not in nursery.log
    assert "start b" not in nursery.log


def test_blocking_stop_from_below_is_refused_at_every_height(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R64: of oneself, one's supervisor, its supervisor; not of an uncle."""
    inner = ChildSpec(Supervisor, ("one_for_one", [ours.spec("x")]), id="inner")
    with ours.grow(["uncle", inner]) as tree:
        x = below(tree, "inner").ref("x")
        for stop in (
            x.stop,
            below(tree, "inner").stop,
            below(tree, "inner").shutdown,
            tree.stop,
            tree.shutdown,
            lambda: below(tree, "inner").terminate_child("x"),
            lambda: tree.terminate_child("inner"),
        ):
            with pytest.raises(WouldDeadlock):
                x.ask(lambda kid, stop=stop: stop())
        assert x.ask(lambda kid: tree.ref("uncle").stop()) is True
        assert x.ask(lambda kid: tree.terminate_child("uncle")) is None

        assert states(below(tree, "inner")) == "x running 1"
        x.ask(lambda kid: [kid.stop() for _ in range(3)])
        clock.settle()
        assert states(below(tree, "inner")) == "x undefined 1"


# -- order and limits


def test_nested_trees_stop_depth_first_in_reverse(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R55: each awaited before the next is asked, through all levels."""

    def supervisor(name: str, *children: Any) -> ChildSpec[Any]:
        return ChildSpec(Supervisor, ("one_for_one", children), id=name)

    deep = supervisor("deep", nursery.spec("d"), nursery.spec("e"))
    middle = supervisor("middle", nursery.spec("b"), deep, nursery.spec("f"))
    tree = nursery.grow(["a", middle, "g"])
    starts = [f"start {name}" for name in "abdefg"]
    assert nursery.take() == ", ".join(starts)

    tree.shutdown()

    assert nursery.take() == ", ".join(f"stop {name}" for name in "gfedba")


def test_each_child_has_its_own_time_and_what_is_left_of_the_trees(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R56, R57: 3 s of its own, then 2 s of the tree's 5, then nothing at all."""
    gate = Gate()
    limits = {"a": 60, "b": 60, "c": 3}
    tree = nursery.grow([nursery.spec(n, shutdown=s) for n, s in limits.items()])
    for name in "abc":
        tree.ref(name).tell(lambda kid: gate.pass_through())
    gate.wait_arrived(count=3)
    ending = clock.thread(tree.shutdown, args=[5])
    ending.start()
    clock.advance(2.999)
    assert nursery.of(ChildAbandoned) == []
    clock.advance(0.001)
    assert [event.child for event in nursery.of(ChildAbandoned)] == ["c"]
    clock.advance(1.999)
    assert [event.child for event in nursery.of(ChildAbandoned)] == ["c"]
    clock.advance(0.001)

    assert [event.child for event in nursery.of(ChildAbandoned)] == ["c", "b", "a"]
    assert not tree.is_alive()
    clock.join(ending)
    gate.open()


@pytest.mark.parametrize("kid_class", [Kid, PykkaKid])
def test_zombie_can_do_no_harm_when_it_wakes(
    ours: Nursery, clock: VirtualClock, kid_class: Any
) -> None:
    """R6, R58, R59, R69: not by a reply, a stop, a send, a fatal error."""
    gate = Gate()

    def rise(kid: Any) -> None:
        gate.pass_through()
        kid.stop()
        with contextlib.suppress(ActorDeadError):
            kid.actor_ref.stop(block=False)
        raise KeyboardInterrupt

    spec = ours.spec("a", kid_class=kid_class, shutdown=2)
    with ours.grow([spec, "b"]) as tree:
        asked = tree.ref("a").ask(rise, block=False)
        gate.wait_arrived()
        ending = clock.thread(tree.terminate_child, args=["a"])
        ending.start()
        clock.advance(2)
        clock.join(ending)
        new = tree.restart_child("a")
        [zombie] = tree.zombies()
        with pytest.raises(ActorDeadError):
            asked.get(timeout=0)

        gate.open()
        clock.settle()

        assert tree.zombies() == ()
        assert new.ask("alive") == "alive"
        assert states(tree) == "a running 1, b running 1"
        assert zombie.thread not in [t.name for t in threading.enumerate()]


def test_zombie_that_wakes_in_on_start_starts_nothing(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R19, R31, R58, R59: the third incarnation runs; the second is never up."""
    gate = Gate()
    starts: list[Any] = []

    def hang(kid: Any) -> None:
        starts.append(kid)
        if len(starts) == 2:
            gate.pass_through()
            kid.actor_ref.tell("from the dead")

    with nursery.grow([nursery.spec("a", hang, start_timeout=3)]) as tree:
        tree.ref("a").tell(boom)
        clock.advance(3)
        assert states(tree) == "a running 3"
        events = len(nursery.events)
        nursery.take()

        gate.open()
        clock.settle()

        assert tree.zombies() == ()
        assert states(tree) == "a running 3"
        assert nursery.take() in {"", "a got from the dead"}
        assert len(nursery.events) == events


def test_threads_of_a_tree_keep_no_process_alive(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R61: whatever the class says; its children's children too."""

    class Lasting(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        use_daemon_thread = False

    inner = ChildSpec(
        Supervisor, ("one_for_one", [nursery.spec("x", kid_class=Lasting)]), id="inner"
    )
    with nursery.grow([nursery.spec("a", kid_class=Lasting), inner]) as tree:
        seen: list[Any] = [
            tree.ref("a").ask(lambda kid: threading.current_thread().daemon),
            below(tree, "inner").ref("x").ask(lambda k: threading.current_thread()),
        ]
        assert seen[0] is True
        assert seen[1].daemon is True


def test_final_stop_closes_before_it_tells(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R68: who hears of the end finds the ref dead, unregistered, all asks answered."""
    gate = Gate()
    found: list[tuple[bool, bool, int]] = []
    asked: list[Any] = []

    class Watcher(Kid):
        def on_terminated(self, ref: Any, exit: Exit) -> None:  # noqa: A002
            answered = 0
            for future in asked:
                with pytest.raises(ActorDeadError):
                    future.get(timeout=0)
                answered += 1
            registered = ref in pykka.ActorRegistry.get_all()
            found.append((ref.is_alive(), registered, answered))

    children = ["a", nursery.spec("w", kid_class=Watcher)]
    with nursery.grow(children) as tree:
        kid = tree.ref("a")
        tree.ref("w").ask(lambda watcher: watcher.watch(kid))
        kid.tell(lambda kid: gate.pass_through())
        gate.wait_arrived()
        asked += [kid.ask(number, block=False) for number in range(3)]
        kid.tell("left")
        ending = clock.thread(tree.terminate_child, args=["a"])
        ending.start()
        clock.settle()
        gate.open()
        clock.join(ending)
        clock.settle()

        assert found == [(False, False, 3)]
        assert [record.message for record in tree.undelivered()] == ["left"]


def test_stop_all_during_a_backoff_ends_the_tree_when_the_backoff_is_over(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R63, R66: permanent children in a nested tree, one of them waiting.

    A stop through a ref comes after what was sent before it, so that of the child that
    waits for its restart waits with it; the tree's own ending would not.
    """
    specs = [nursery.spec(n, restart="permanent", backoff=SLOW) for n in "xy"]
    inner = ChildSpec(
        Supervisor, ("one_for_all", specs), id="inner", restart="permanent"
    )
    tree = nursery.grow([inner, nursery.spec("b", restart="permanent")])
    below(tree, "inner").ref("x").tell(boom)
    clock.settle()

    ending = clock.thread(pykka.ActorRegistry.stop_all)
    ending.start()
    for _ in range(3):
        clock.advance(1000)

    assert clock.join(ending, 0)
    assert tree.wait(0)
    assert pykka.ActorRegistry.get_all() == []


def test_dynamic_children_that_hang_share_one_deadline_with_a_budget(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R55, R57: all at once, also as a nested supervisor."""
    gate = Gate()
    pool = ChildSpec(DynamicSupervisor, id="pool")
    tree = nursery.grow(["a", pool])
    for number in range(5):
        ref = below(tree, "pool").start_child(nursery.spec(f"k{number}", shutdown=60))
        ref.tell(lambda kid: gate.pass_through())
    gate.wait_arrived(count=5)
    ending = clock.thread(tree.shutdown, args=[4])
    ending.start()
    clock.advance(3.999)
    assert tree.is_alive()
    clock.advance(0.001)

    assert not tree.is_alive()
    assert len(tree.zombies()) == 5
    clock.join(ending)
    gate.open()


# -- drains


def sums(nursery: Nursery, tree: SupervisorRef, accepted: list[Any]) -> None:
    """Every accepted tell was handled or is undelivered, once."""
    handled = [line.partition(" got ")[2] for line in nursery.log if " got " in line]
    kept = [str(r.message) for r in tree.undelivered() if not callable(r.message)]
    assert sorted(handled + kept) == sorted(str(each) for each in accepted)


def test_drain_handles_full_mailboxes_and_accounts_for_blocked_senders(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R7, R8, R16: what was in is handled; who comes too late is told, or counted."""
    gate = Gate()
    accepted: list[str] = []

    def send(name: str) -> None:
        with contextlib.suppress(ActorDeadError):
            tree.ref(name).tell(f"late {name}")
            accepted.append(f"late {name}")

    tree = nursery.grow([nursery.spec(n, capacity=2) for n in "abc"])
    for name in "abc":
        tree.ref(name).tell(lambda kid: gate.pass_through())
        for number in range(2):
            gate.wait_arrived(count="abc".index(name) + 1)
            tree.ref(name).tell(f"{name}{number}")
            accepted.append(f"{name}{number}")
    senders = [clock.thread(send, args=[name]) for name in "abc"]
    for sender in senders:
        sender.start()
    clock.settle()
    drained: Any = tree.stop(block=False)
    clock.settle()
    gate.open()

    assert drained.get() is True
    for sender in senders:
        clock.join(sender)
    early = [f"{name}{number}" for name in "abc" for number in range(2)]
    for each in early:
        assert sum(line.endswith(f" got {each}") for line in nursery.log) == 1
    sums(nursery, tree, accepted)
    stops = [line for line in nursery.log if line.startswith("stop")]
    assert stops == ["stop c", "stop b", "stop a"]


def test_what_a_draining_child_sends_to_those_before_it_is_handled(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R16, R55: the last to start is the first to drain, and feeds those before it."""

    def pass_on(text: str, *to: str) -> Any:
        def handler(kid: Any) -> None:
            kid.log.append(f"{kid.id} passed {text}")
            rest = to[1:]
            message: Any = pass_on(text, *rest) if rest else text
            refs[to[0]].tell(message)

        return handler

    tree = nursery.grow("abc")
    refs = {name: tree.ref(name) for name in "abc"}
    for number in range(3):
        refs["c"].tell(pass_on(str(number), "b", "a"))

    assert tree.stop() is True

    assert [line for line in nursery.log if line.startswith("a got")] == [
        "a got 0",
        "a got 1",
        "a got 2",
    ]
    assert tree.undelivered() == ()


def test_sends_to_oneself_in_a_drain_are_accounted_for(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R7, R10, R16: behind the stop they are not handled, and not lost."""
    accepted: list[str] = []

    def again(kid: Any) -> None:
        gate.pass_through()
        for number in range(3):
            kid.actor_ref.tell(f"own {number}")
            accepted.append(f"own {number}")

    gate = Gate()
    tree = nursery.grow([nursery.spec("a", capacity=1), "b"])
    tree.ref("a").tell(again)
    gate.wait_arrived()
    drained: Any = tree.stop(block=False)
    clock.settle()
    gate.open()

    assert drained.get() is True
    sums(nursery, tree, accepted)


def test_crash_during_a_drain_costs_the_message_alone(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R3, R4, R7, R16: its child goes on with what was behind it."""
    exits: list[Exit] = []
    gate = Gate()
    tree = nursery.grow(
        [nursery.spec(name, restart="permanent") for name in "abc"], "one_for_all"
    )
    tree.when_ended(exits.append)
    for name in "abc":
        tree.ref(name).tell(lambda kid: gate.pass_through())
    gate.wait_arrived(count=3)
    for name in "abc":
        tree.ref(name).tell(f"before {name}")
    drained: Any = tree.stop(block=False)
    clock.settle()  # c is asked to drain
    tree.ref("b").tell(boom)
    tree.ref("b").tell("behind b")
    behind = tree.ref("b").ask("asked", block=False)
    gate.open()

    assert drained.get() is True
    assert tree.wait()
    clock.settle()  # when_ended may come after whoever waits for the end
    assert behind.get(timeout=0) == "asked"
    for name in "abc":
        assert f"{name} got before {name}" in nursery.log
        assert nursery.log.count(f"start {name}") == 1 + (name == "b")
    assert "b got behind b" in nursery.log
    assert [r.message for r in tree.undelivered()] == [boom]
    downs = [(e.child, e.kind) for e in nursery.of(ChildDown)]
    assert sorted(downs) == [
        ("a", "normal"),
        ("b", "failed"),
        ("b", "normal"),
        ("c", "normal"),
    ]
    assert [each.kind for each in exits] == ["normal"]


def test_drain_cuts_the_backoff_of_a_child_short(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R3, R16, R48: what waits for it is handled, and its delay is not waited for."""
    tree = nursery.grow(["a", nursery.spec("b", backoff=SLOW), "c"])
    tree.ref("b").tell(boom)
    clock.settle()
    for name in "abc":
        tree.ref(name).tell(f"for {name}")

    assert tree.stop() is True

    assert clock.monotonic() == 0
    assert "a got for a" in nursery.log
    assert "b got for b" in nursery.log
    assert "c got for c" in nursery.log
    assert [r.message for r in tree.undelivered()] == [boom]


def test_stop_now_starts_no_child_in_its_backoff(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R7, R48, R63: its messages are undelivered, at once."""
    tree = nursery.grow([nursery.spec("b", backoff=SLOW)])
    tree.ref("b").tell(boom)
    clock.settle()
    tree.ref("b").tell("for b")
    assert tree.shutdown()

    assert clock.monotonic() == 0
    assert nursery.log.count("start b") == 1
    assert [r.message for r in tree.undelivered()] == [boom, "for b"]


def test_drain_in_the_middle_of_a_group_restart_loses_nothing(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R3, R14, R16: siblings that wait for their group are started and drained."""
    tree = nursery.grow(
        [nursery.spec("a", backoff=SLOW), "b", nursery.spec("c", mailbox="fresh")],
        "one_for_all",
    )
    tree.ref("a").tell(boom)
    clock.settle()
    for name in "abc":
        tree.ref(name).tell(f"for {name}")
    assert tree.stop() is True

    assert clock.monotonic() == 0
    assert {"a got for a", "b got for b"} <= set(nursery.log)
    assert [r.message for r in tree.undelivered()] == [boom, "for c"]


def test_drain_of_a_nested_tree_drains_each_level(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R16, R55, R81: grandchildren too, within one stop."""
    gate = Gate()
    inner = ChildSpec(
        Supervisor, ("one_for_one", [nursery.spec("x"), nursery.spec("y")]), id="inner"
    )
    tree = nursery.grow(["a", inner])
    refs = [tree.ref("a"), *(below(tree, "inner").ref(name) for name in "xy")]
    for ref in refs:
        ref.tell(lambda kid: gate.pass_through())
    gate.wait_arrived(count=3)
    for ref in refs:
        ref.tell("waits")
    drained: Any = tree.stop(block=False)
    clock.settle()
    assert tree.stop_token.draining
    assert not tree.stop_token.cancelled
    gate.open()

    assert drained.get() is True
    told = [line for line in nursery.log if not line.startswith("start")]
    assert sorted(told) == sorted(
        [f"{name} got waits" for name in "axy"] + [f"stop {name}" for name in "axy"]
    )
    assert [line for line in told if line.startswith("stop")] == [
        "stop y",
        "stop x",
        "stop a",
    ]


def test_second_order_ends_a_drain_at_once(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R16, R62, R81: what waits is undelivered; both orders are answered."""
    gate = Gate()
    tree = nursery.grow([nursery.spec("a", shutdown=60), "b"])
    tree.ref("a").tell(lambda kid: gate.pass_through())
    gate.wait_arrived()
    tree.ref("a").tell("waits")
    drained: Any = tree.stop(block=False)
    clock.settle()
    ending = clock.thread(tree.shutdown)
    ending.start()
    clock.settle()
    gate.open()
    clock.join(ending)

    assert drained.get(timeout=0) is True
    assert "a got waits" not in nursery.log
    assert [r.message for r in tree.undelivered()] == ["waits"]


def test_nothing_is_started_once_the_stop_has_begun(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R48, R63: requests are refused, also those that a hook makes."""
    refused: list[str] = []

    class Stubborn(Kid):
        def on_stop(self) -> None:
            super().on_stop()
            requests: list[Callable[[], object]] = [
                lambda: tree.start_child(ours.spec("late")),
                lambda: tree.restart_child("c"),
            ]
            for request in requests:
                try:
                    request()
                except (ActorDeadError, ConfigurationError) as error:
                    refused.append(type(error).__name__)

    tree = ours.grow([ours.spec("a", kid_class=Stubborn), "b", "c"])
    tree.terminate_child("c")
    ours.take()

    tree.shutdown()

    assert refused == ["ActorDeadError"] * 2
    assert ours.take() == "stop b, stop a"
