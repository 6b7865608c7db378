"""A tree of real actors on a clock that the test moves."""

from __future__ import annotations

import contextlib
import random
import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors.cell import Cell
from actors.errors import ConfigurationError, WouldDeadlock
from actors.events import (
    ChildAbandoned,
    ChildDown,
    RestartScheduled,
    TreeGaveUp,
)
from actors.incarnation import Incarnation
from actors.ref import ActorAbandoned
from actors.testing import Gate, VirtualClock
from supervision.child_spec import ChildSpec
from supervision.errors import StartFailed, SupervisorGaveUp
from supervision.strategies import Backoff
from supervision.supervisor import Supervisor
from supervision.supervisor_ref import SupervisorRef
from tests.supervision.kids import Kid, Nursery, PykkaKid, below, boom, states

if TYPE_CHECKING:
    from actors.exits import Exit


# -- start and stop


def test_d07_start_order_stop_order(nursery: Nursery) -> None:
    tree = nursery.grow("abc")
    assert states(tree) == "a running 1, b running 1, c running 1"

    tree.shutdown()

    assert nursery.take() == "start a, start b, start c, stop c, stop b, stop a"
    assert tree.wait(0)
    assert not tree.is_alive()


def test_d08_start_failure_unwinds(nursery: Nursery) -> None:
    error = OSError("no disk")

    def fail(kid: Any) -> None:
        raise error

    with pytest.raises(StartFailed, match="'c' of root") as raised:
        nursery.grow(["a", "b", nursery.spec("c", on_start=fail)])

    assert raised.value.child_id == "c"
    assert raised.value.__cause__ is error
    assert nursery.take() == "start a, start b, start c, stop b, stop a"
    assert pykka.ActorRegistry.get_all() == []


def test_bad_spec_starts_nothing(nursery: Nursery) -> None:
    with pytest.raises(ConfigurationError, match="unique"):
        nursery.grow("aa")

    assert nursery.take() == ""


def test_parallel_start_does_not_wait_for_the_one_before(
    ours: Nursery, clock: VirtualClock
) -> None:
    gate = Gate()
    slow = ours.spec("a", on_start=lambda kid: gate.pass_through())
    fast = ours.spec("b", on_start=lambda kid: gate.open())

    with ours.grow([slow, fast], start="parallel"):
        assert ours.take() in {"start a, start b", "start b, start a"}


def test_leaving_the_block_shuts_the_tree_down(nursery: Nursery) -> None:
    with nursery.grow("ab") as tree:
        nursery.take()

    assert nursery.take() == "stop b, stop a"
    assert not tree.is_alive()


def test_with_block_raises_its_own_error_not_the_trees(ours: Nursery) -> None:
    def body() -> None:
        with ours.grow("a", intensity=0) as tree:
            tree.ref("a").tell(boom)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        body()


def test_concurrent_shutdowns_are_one(ours: Nursery, clock: VirtualClock) -> None:
    tree = ours.grow("ab")
    others = [clock.thread(tree.shutdown) for _ in range(3)]

    for other in others:
        other.start()
    assert tree.shutdown()
    for other in others:
        clock.join(other)

    assert ours.take() == "start a, start b, stop b, stop a"
    assert tree.stop() is False


def test_init_and_on_start_see_siblings_that_have_not_started_yet(
    ours: Nursery,
) -> None:
    early: dict[str, Any] = {}

    def look(siblings: Any) -> Any:
        early.update(b=siblings.ref("b"), alive=siblings.ref("b").is_alive())
        siblings.ref("b").tell("early")
        return {"log": ours.log, "name": "a"}

    first = ChildSpec(Kid, kwargs=look, id="a")
    with ours.grow([first, "b"]) as tree:
        assert early == {"b": tree.ref("b"), "alive": True}
        assert tree.ref("b").ask("late") == "late"

    assert "b got early, b got late" in ours.take()


def test_kwargs_are_made_anew_for_each_start(ours: Nursery) -> None:
    made = []

    def make(siblings: Any) -> Any:
        made.append(threading.current_thread().name)
        return {"log": ours.log, "name": "a"}

    with ours.grow([ChildSpec(Kid, kwargs=make, id="a")]) as tree:
        tree.ref("a").tell(boom)
        tree.ref("a").ask("again")

    assert made == ["a", "a#2"]  # on the child's thread, each time


def test_kwargs_that_raise_are_a_start_failure(ours: Nursery) -> None:
    def make(siblings: Any) -> Any:
        return siblings.ref("nobody")

    with pytest.raises(StartFailed) as raised:
        ours.grow([ChildSpec(Kid, kwargs=make, id="a"), "b"])

    assert "it has: a, b" in str(raised.value.__cause__)


def test_d33_init_and_on_start_in_child_thread(ours: Nursery) -> None:
    seen = []

    class Curious(Kid):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            seen.append(threading.current_thread())

        def on_start(self) -> None:
            seen.append(threading.current_thread())
            self.actor_ref.tell(lambda kid: seen.append(threading.current_thread()))

    with ours.grow([ours.spec("a", kid_class=Curious)]) as tree:
        tree.ref("a").ask("wait")

    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert seen[0].name == "a"
    assert seen[0].daemon


def test_d33_slow_init_does_not_block_beyond_its_start_timeout() -> None:
    with VirtualClock(auto_advance=True) as clock:
        gate, nursery = Gate(), Nursery()

        class Slow(Kid):
            def __init__(self, **kwargs: Any) -> None:
                gate.pass_through()

        slow = nursery.spec("b", kid_class=Slow, start_timeout=7)
        with pytest.raises(StartFailed) as raised:
            nursery.grow(["a", slow])

        assert clock.monotonic() == 7
        assert isinstance(raised.value.__cause__, TimeoutError)
        assert nursery.take() == "start a, stop a"
        gate.open()


def test_after_start_runs_on_the_child_before_the_next_one_starts(
    nursery: Nursery,
) -> None:
    first = nursery.spec("a", after_start=lambda kid: kid.log.append(f"after {kid.id}"))

    with nursery.grow([first, "b"]) as tree:
        tree.ref("a").tell(boom)
        tree.ref("a").ask("x")

    assert nursery.take() == (
        "start a, after a, start b, fail a, start a, after a, a got x, stop b, stop a"
    )


def test_after_start_that_raises_is_a_start_failure(ours: Nursery) -> None:
    with pytest.raises(StartFailed) as raised:
        ours.grow([ours.spec("a", after_start=boom)])

    assert isinstance(raised.value.__cause__, ValueError)


# -- restart types


def test_d09_permanent_normal(nursery: Nursery, clock: VirtualClock) -> None:
    with nursery.grow([nursery.spec("a", restart="permanent")]) as tree:
        kid = tree.ref("a")

        assert kid.stop() is True
        assert kid.ask("hello") == "hello"
        clock.settle()

        assert states(tree) == "a running 2"
        assert tree.ref("a") is kid


def test_d10_transient_normal(nursery: Nursery, clock: VirtualClock) -> None:
    with nursery.grow("ab") as tree:
        assert tree.ref("a").stop() is True
        clock.settle()

        assert states(tree) == "a undefined 1, b running 1"
        assert not tree.ref("a").is_alive()


def test_d11_temporary_abnormal(nursery: Nursery, clock: VirtualClock) -> None:
    with nursery.grow([nursery.spec("a", restart="temporary"), "b"]) as tree:
        tree.ref("a").tell(boom)
        clock.settle()

        assert states(tree) == "b running 1"
        assert not tree.ref("a").is_alive()


def test_handler_error_of_an_ask_does_not_crash(
    nursery: Nursery, clock: VirtualClock
) -> None:
    with nursery.grow("a") as tree:
        with pytest.raises(ValueError, match="boom"):
            tree.ref("a").ask(boom)

        assert states(tree) == "a running 1"


# -- strategies


@pytest.mark.parametrize(
    ("strategy", "numbers"),
    [
        pytest.param("one_for_one", "a running 1, b running 2, c running 1", id="d12"),
        pytest.param("rest_for_one", "a running 1, b running 2, c running 2", id="d13"),
        pytest.param("one_for_all", "a running 2, b running 2, c running 2", id="d14"),
    ],
)
def test_d12_d13_d14_strategy_restarts_whom_it_affects(
    nursery: Nursery, clock: VirtualClock, strategy: str, numbers: str
) -> None:
    with nursery.grow("abc", strategy) as tree:
        tree.ref("b").tell(boom)
        clock.settle()

        assert states(tree) == numbers


def test_d14_one_for_all_message_queued_at_a_sibling_reaches_the_new_one(
    ours: Nursery, clock: VirtualClock
) -> None:
    with ours.grow("abc", "one_for_all") as tree:
        gate = Gate()
        old = tree.ref("c").ask(lambda kid: kid)
        tree.ref("c").tell(lambda kid: gate.pass_through())
        asked = tree.ref("c").ask(lambda kid: kid, block=False)
        gate.wait_arrived()

        tree.ref("b").tell(boom)
        clock.settle()
        gate.open()

        assert asked.get() is not old
        clock.settle()
        assert states(tree) == "a running 2, b running 2, c running 2"


def test_group_stops_in_reverse_and_starts_in_order(
    nursery: Nursery, clock: VirtualClock
) -> None:
    with nursery.grow("abc", "one_for_all") as tree:
        nursery.take()

        tree.ref("b").tell(boom)
        clock.settle()

        assert nursery.take() == "fail b, stop c, stop a, start a, start b, start c"


# -- intensity


def test_d15_intensity_gives_up(nursery: Nursery, clock: VirtualClock) -> None:
    tree = nursery.grow("ab", intensity=2, period=5)
    nursery.take()

    for _ in range(3):
        tree.ref("a").tell(boom)
        clock.settle()

    with pytest.raises(SupervisorGaveUp) as raised:
        tree.wait()
    assert isinstance(raised.value.__cause__, ValueError)
    assert nursery.take() == "fail a, start a, fail a, start a, fail a, stop b"
    assert not tree.is_alive()
    assert tree.cell.final is not None
    assert tree.cell.final.kind == "gave_up"
    [event] = nursery.of(TreeGaveUp)
    assert (event.child, event.intensity) == ("a", 2)


def test_d16_intensity_window_slides(nursery: Nursery, clock: VirtualClock) -> None:
    tree = nursery.grow("a", intensity=2, period=5)

    for pause in (0, 0, 5.1, 0):
        clock.advance(pause)
        tree.ref("a").tell(boom)
        clock.settle()
    assert states(tree) == "a running 5"

    tree.ref("a").tell(boom)
    with pytest.raises(SupervisorGaveUp):
        tree.wait()


def test_d17_intensity_zero(nursery: Nursery) -> None:
    tree = nursery.grow("a", intensity=0)

    tree.ref("a").tell(boom)

    with pytest.raises(SupervisorGaveUp):
        tree.wait()
    assert nursery.take() == "start a, fail a"


def test_failing_restart_counts_and_a_stop_comes_through(
    ours: Nursery, clock: VirtualClock
) -> None:
    starts = []

    def second_fails(kid: Any) -> None:
        starts.append(1)
        if len(starts) > 1:
            raise OSError("no disk")

    tree = ours.grow([ours.spec("a", on_start=second_fails)], intensity=5)
    tree.ref("a").tell(boom)

    with pytest.raises(SupervisorGaveUp) as raised:
        tree.wait()

    assert isinstance(raised.value.__cause__, OSError)
    assert len(starts) == 6


def test_leaving_the_block_of_a_tree_that_gave_up_raises(
    ours: Nursery, clock: VirtualClock
) -> None:
    def body() -> None:
        with ours.grow("a", intensity=0) as tree:
            tree.ref("a").tell(boom)
            clock.settle()

    with pytest.raises(SupervisorGaveUp, match="boom"):
        body()


# -- backoff


def test_d18_backoff_sequence_and_cap(nursery: Nursery, clock: VirtualClock) -> None:
    backoff = Backoff(initial=1, maximum=4, jitter=0.5, first_immediate=False)
    same = random.Random(clock.seed)
    expected = [min(4, 2**n * (1 + same.random() * 0.5)) for n in range(4)]

    with nursery.grow([nursery.spec("a", backoff=backoff)], intensity=99) as tree:
        for number, delay in enumerate(expected, start=1):
            tree.ref("a").tell(boom)
            clock.advance(delay - 0.001)
            assert states(tree) == f"a restarting {number}"
            clock.advance(0.001)
            assert states(tree) == f"a running {number + 1}"

    assert [event.delay for event in nursery.of(RestartScheduled)] == expected
    assert max(expected) == 4


def test_d19_backoff_reset(nursery: Nursery, clock: VirtualClock) -> None:
    backoff = Backoff(initial=1, maximum=8, jitter=0, reset_after=10)

    with nursery.grow([nursery.spec("a", backoff=backoff)], intensity=99) as tree:
        for pause in (0, 0, 2, 11):
            clock.advance(pause)
            tree.ref("a").tell(boom)
            clock.advance(8)

    assert [event.delay for event in nursery.of(RestartScheduled)] == [0, 1, 2, 0]


def test_d20_stop_during_backoff(nursery: Nursery, clock: VirtualClock) -> None:
    backoff = Backoff(initial=60, maximum=60, first_immediate=False)
    tree = nursery.grow([nursery.spec("a", backoff=backoff)])
    tree.ref("a").tell(boom)
    clock.advance(30)
    nursery.take()

    tree.shutdown()

    assert clock.monotonic() == 30
    assert nursery.take() == ""
    assert clock.next_deadline() is None


def test_ref_stays_alive_and_its_mailbox_fills_during_backoff(
    ours: Nursery, clock: VirtualClock
) -> None:
    backoff = Backoff(initial=60, maximum=60, first_immediate=False)
    with ours.grow([ours.spec("a", backoff=backoff, capacity=2)]) as tree:
        kid = tree.ref("a")
        kid.tell(boom)
        clock.advance(1)

        kid.tell(1)
        kid.tell(2)
        with pytest.raises(pykka.Timeout):
            kid.ask(3, timeout=0)
        assert kid.is_alive()

        clock.advance(60)
        assert "a got 1, a got 2" in ours.take()


# -- limits


def test_d21_shutdown_timeout_zombie(nursery: Nursery, clock: VirtualClock) -> None:
    gate = Gate()

    def hang(kid: Any) -> None:
        gate.pass_through()

    tree = nursery.grow([nursery.spec("a", shutdown=30)])
    asked = tree.ref("a").ask(hang, block=False)
    gate.wait_arrived()

    tree.stop(block=False)
    clock.advance(29.9)
    assert tree.is_alive()
    assert tree.zombies() == ()
    clock.advance(0.2)

    assert not tree.is_alive()
    [zombie] = tree.zombies()
    assert (zombie.child, zombie.thread) == ("a", "zombie:a")
    assert "gate.pass_through()" in zombie.stack
    [thread] = [t for t in threading.enumerate() if t.name == "zombie:a"]
    assert thread.daemon
    with pytest.raises(ActorAbandoned):
        asked.get()
    [event] = nursery.of(ChildAbandoned)
    assert event.stack == zombie.stack
    gate.open()
    clock.settle()
    assert tree.zombies() == ()


def test_d22_zombie_harmless(ours: Nursery, clock: VirtualClock) -> None:
    gate = Gate()

    class Stuck(Kid):
        def on_failure(self, *exc_info: Any) -> None:
            if self.incarnation == 1:
                gate.pass_through()

    with ours.grow([ours.spec("a", kid_class=Stuck), "b"]) as tree:
        kid = tree.ref("a")
        kid.tell(boom)
        kid.tell(1)
        clock.advance(4.9)
        assert "a got 1" not in ours.take()
        clock.advance(0.2)
        assert ours.take() == "start a, a got 1"
        assert len(tree.zombies()) == 1

        gate.open()
        clock.settle()

        assert tree.zombies() == ()
        assert kid.ask(2) == 2
        assert kid.ask(lambda kid: kid.handled) == [1, 2]
        assert pykka.ActorRegistry.get_by_urn(kid.actor_urn) is kid
        assert states(tree) == "a running 2, b running 1"


def test_budget_cuts_every_nested_limit(ours: Nursery, clock: VirtualClock) -> None:
    gate = Gate()
    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [ours.spec("x", shutdown=60), ours.spec("y", shutdown=60)]),
        id="inner",
    )
    tree = ours.grow([ours.spec("a", shutdown=60), inner])
    for kid in (
        tree.ref("a"),
        below(tree, "inner").ref("x"),
        below(tree, "inner").ref("y"),
    ):
        kid.tell(lambda kid: gate.pass_through())
    gate.wait_arrived(count=3)

    ending = clock.thread(tree.shutdown, args=[3.0])
    ending.start()
    clock.advance(2.9)
    assert tree.is_alive()
    clock.advance(0.1)

    assert not tree.is_alive()
    assert clock.join(ending, 0)
    assert [zombie.child for zombie in tree.zombies()] == ["y", "x", "a"]
    gate.open()


def test_budget_that_comes_later_shortens_the_stop_under_way(
    ours: Nursery, clock: VirtualClock
) -> None:
    gate = Gate()
    inner = ChildSpec(
        Supervisor, ("one_for_one", [ours.spec("x", shutdown=None)]), id="inner"
    )
    tree = ours.grow([inner])
    below(tree, "inner").ref("x").tell(lambda kid: gate.pass_through())
    gate.wait_arrived()

    tree.stop(block=False)
    clock.advance(1000)
    assert tree.is_alive()
    tree.stop_now("enough", timeout=2.0)
    clock.advance(2)

    assert not tree.is_alive()
    gate.open()


@pytest.mark.parametrize("busy", [True, False])
def test_shutdown_of_0_gives_up_at_once_only_if_busy(
    ours: Nursery, clock: VirtualClock, busy: bool
) -> None:
    gate = Gate()
    tree = ours.grow([ours.spec("a", shutdown=0)])
    if busy:
        tree.ref("a").tell(lambda kid: gate.pass_through())
        gate.wait_arrived()

    tree.shutdown()

    assert clock.monotonic() == 0
    assert len(tree.zombies()) == busy
    assert ("stop a" in ours.take()) is not busy
    gate.open()


def test_stop_as_pykka_has_it_ends_the_tree_within_its_timeout(
    ours: Nursery, clock: VirtualClock
) -> None:
    gate = Gate()
    tree = ours.grow([ours.spec("a", shutdown=60), "b"])
    tree.ref("a").tell(lambda kid: gate.pass_through())
    gate.wait_arrived()
    answers = []

    ending = clock.thread(lambda: answers.append(tree.stop(timeout=5.0)))
    ending.start()
    clock.advance(5)

    assert answers == [True]
    assert not tree.is_alive()
    assert tree.cell.final is not None
    assert tree.cell.final.kind == "normal"
    gate.open()


def test_busy_handler_sees_its_token_before_it_is_stopped(
    ours: Nursery, clock: VirtualClock
) -> None:
    tree = ours.grow("a")
    seen = []
    tree.ref("a").tell(lambda kid: seen.append(kid.stop_token.wait_cancelled()))
    clock.settle()

    tree.shutdown()

    assert seen == [True]
    assert tree.stop_token.cancelled


def test_each_incarnation_has_a_fresh_token_below_the_trees(
    ours: Nursery, clock: VirtualClock
) -> None:
    tree = ours.grow("a")
    first: Any = tree.ref("a").ask(lambda kid: kid.stop_token)
    first.cancel("only this one")
    tree.ref("a").tell(boom)

    second: Any = tree.ref("a").ask(lambda kid: kid.stop_token)

    assert not second.cancelled
    tree.stop_token.cancel("all")
    assert second.cancelled
    tree.shutdown()


def test_hung_restart_is_abandoned_and_tried_again(
    nursery: Nursery, clock: VirtualClock
) -> None:
    gate, starts = Gate(), []

    def hang_once(kid: Any) -> None:
        starts.append(kid)
        if len(starts) == 2:
            gate.pass_through()

    spec = nursery.spec("a", on_start=hang_once, start_timeout=7)
    with nursery.grow([spec, "b"]) as tree:
        tree.ref("a").tell(boom)
        tree.ref("a").tell(1)
        clock.advance(6.9)
        assert states(tree) == "a starting 2, b running 1"
        assert tree.ref("b").ask("fine") == "fine"

        clock.advance(0.2)

        assert states(tree) == "a running 3, b running 1"
        assert tree.ref("a").ask(lambda kid: kid.handled) == [1]
        assert [zombie.number for zombie in tree.zombies()] == [2]
        gate.open()


@pytest.mark.parametrize(
    ("kid_class", "hooks"), [(Kid, "fail a"), (PykkaKid, "fail a, stop a")]
)
def test_crash_ends_with_the_hooks_that_the_class_expects(
    clock: VirtualClock, kid_class: Any, hooks: str
) -> None:
    log: list[str] = []
    spec = ChildSpec(
        kid_class, kwargs={"log": log, "name": "a"}, id="a", restart="temporary"
    )

    with Supervisor.start("one_for_one", [spec]) as tree:
        tree.ref("a").tell(boom)
        clock.settle()

    assert ", ".join(log) == f"start a, {hooks}"


@pytest.mark.parametrize("strategy", ["rest_for_one", "one_for_all"])
def test_shutdown_in_the_middle_of_a_group_restart(
    nursery: Nursery, clock: VirtualClock, strategy: str
) -> None:
    gate = Gate()
    tree = nursery.grow("abc", strategy)
    tree.ref("c").tell(lambda kid: gate.pass_through())
    gate.wait_arrived()
    tree.ref("a").tell(boom)
    clock.settle()  # c is asked to stop, b waits for its turn
    nursery.take()

    tree.stop(block=False)
    clock.settle()
    gate.open()

    assert tree.wait()
    assert nursery.take() == "stop c, stop b"


# -- endings


def test_d23_base_exception_scoped(nursery: Nursery, clock: VirtualClock) -> None:
    tree, other = nursery.grow("abc", name="first"), nursery.grow("x", name="second")
    plain = pykka.ThreadingActor.start()
    interrupt = KeyboardInterrupt()

    def raise_interrupt(kid: Any) -> None:
        raise interrupt

    try:
        nursery.take()
        tree.ref("b").tell(raise_interrupt)

        with pytest.raises(KeyboardInterrupt) as raised:
            tree.wait()

        assert raised.value is interrupt
        assert nursery.take() == "stop b, stop c, stop a"
        assert not tree.is_alive()
        assert other.ref("x").ask("still here") == "still here"
        assert plain.is_alive()
    finally:
        other.shutdown()
        plain.stop()


def test_fatal_error_of_a_grandchild_ends_the_whole_tree(
    ours: Nursery, clock: VirtualClock
) -> None:
    exit_ = SystemExit(7)

    def leave(kid: Any) -> None:
        raise exit_

    inner = ChildSpec(Supervisor, ("one_for_one", [ours.spec("x")]), id="inner")
    tree = ours.grow(["a", inner, "b"])

    with pytest.raises(SystemExit):
        below(tree, "inner").ref("x").ask(leave)

    with pytest.raises(SystemExit) as raised:
        tree.wait()
    assert raised.value is exit_
    assert ours.take() == "start a, start x, start b, stop x, stop b, stop a"


def test_fatal_error_in_on_start_is_raised_to_the_starter(ours: Nursery) -> None:
    def interrupt(kid: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ours.grow(["a", ours.spec("b", on_start=interrupt)])

    assert ours.take() == "start a, start b, stop a"


def test_d29_nested_gave_up(nursery: Nursery, clock: VirtualClock) -> None:
    def inner(siblings: Any) -> Any:
        return {"children": [nursery.spec("x"), nursery.spec("y")], "intensity": 0}

    spec = ChildSpec(Supervisor, ("one_for_one",), inner, id="inner")
    tree = nursery.grow([spec, "z"], intensity=1)
    nursery.take()
    old = below(tree, "inner").ref("x")

    old.tell(boom)
    clock.settle()
    assert nursery.take() == "fail x, stop y, start x, start y"
    assert not old.is_alive()
    assert below(tree, "inner").ref("x").is_alive()
    assert states(tree) == "inner running 2, z running 1"

    below(tree, "inner").ref("x").tell(boom)
    with pytest.raises(SupervisorGaveUp) as raised:
        tree.wait()
    assert isinstance(raised.value.__cause__, ValueError)
    assert nursery.take() == "fail x, stop y, stop z"


def test_nested_start_failure_names_the_way_down(ours: Nursery) -> None:
    def fail(kid: Any) -> None:
        raise OSError("no disk")

    inner = ChildSpec(
        Supervisor, ("one_for_one", [ours.spec("x", on_start=fail)]), id="inner"
    )

    with pytest.raises(StartFailed, match="'inner' of root") as raised:
        ours.grow(["a", inner])

    cause = raised.value.__cause__
    assert isinstance(cause, StartFailed)
    assert cause.child_id == "x"
    assert isinstance(cause.__cause__, OSError)
    assert ours.take() == "start a, start x, stop a"


def test_registry_stop_all_ends_a_tree_with_permanent_children(
    nursery: Nursery, clock: VirtualClock
) -> None:
    tree = nursery.grow([nursery.spec(each, restart="permanent") for each in "ab"])

    pykka.ActorRegistry.stop_all()

    assert tree.wait()
    assert pykka.ActorRegistry.get_all() == []


def test_waits_from_inside_the_tree_would_deadlock(ours: Nursery) -> None:
    with ours.grow("a") as tree:
        for wait in (tree.wait, tree.shutdown, tree.stop):
            with pytest.raises(WouldDeadlock, match="stop_now"):
                tree.ref("a").ask(lambda kid, wait=wait: wait())

        tree.ref("a").ask(lambda kid: tree.stop(block=False))
        tree.wait()


def test_wait_says_false_when_its_time_is_over() -> None:
    with VirtualClock(auto_advance=True) as clock, Nursery().grow("a") as tree:
        assert tree.wait(3) is False
        assert clock.monotonic() == 3


def test_when_ended_is_called_once_with_the_exit(
    ours: Nursery, clock: VirtualClock
) -> None:
    exits: list[Exit] = []
    tree = ours.grow("a")
    tree.when_ended(exits.append)
    assert exits == []

    tree.shutdown()
    clock.settle()
    tree.when_ended(exits.append)

    assert [each.kind for each in exits] == ["shutdown", "shutdown"]


def test_abnormal_exit_during_a_stop_is_reported_not_restarted(
    ours: Nursery, clock: VirtualClock
) -> None:
    def trip(kid: Any) -> None:
        kid.stop_token.wait_cancelled()
        raise ValueError("tripped")

    tree = ours.grow("ab")
    tree.ref("b").tell(trip)
    clock.settle()

    tree.shutdown()

    assert ours.take() == "start a, start b, fail b, stop a"
    kinds = [(event.child, event.kind) for event in ours.of(ChildDown)]
    assert kinds == [("b", "failed"), ("a", "shutdown")]


def test_stop_interrupts_the_wait_for_a_starting_child(
    ours: Nursery, clock: VirtualClock
) -> None:
    gate = Gate()
    slow = ours.spec("b", on_start=lambda kid: gate.pass_through(), restart="permanent")
    tree = None

    def start() -> None:
        nonlocal tree
        with contextlib.suppress(StartFailed):
            ours.grow(["a", slow, "c"])

    starter = clock.thread(start)
    starter.start()
    gate.wait_arrived()
    [root] = pykka.ActorRegistry.get_by_class(Supervisor)
    assert isinstance(root, SupervisorRef)
    root.stop_now("changed my mind", timeout=1.0)
    clock.advance(1)

    assert clock.join(starter, 0)
    assert ours.take() == "start a, start b, stop a"
    gate.open()


# -- threads that cannot start


def test_no_thread_for_a_restart_is_tried_again(
    ours: Nursery, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = Incarnation.start, []

    def start(self: Any, name: Any, *, daemon: Any) -> None:
        if self.number == 2:
            refused.append(self)
            raise RuntimeError("can't start new thread")
        real(self, name, daemon=daemon)

    with ours.grow("a") as tree:
        monkeypatch.setattr(Incarnation, "start", start)
        tree.ref("a").tell(boom)
        clock.settle()

        assert len(refused) == 1
        assert states(tree) == "a running 3"
        assert tree.ref("a").ask("fine") == "fine"


def test_no_thread_for_the_root_is_a_start_failure(
    ours: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Cell, "start", start)

    with pytest.raises(StartFailed, match="can't start new thread"):
        ours.grow("a")
