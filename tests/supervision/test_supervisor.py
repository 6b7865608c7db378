"""A tree of real actors on a clock that the test moves."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors.cell import Cell
from actors.errors import ConfigurationError, WouldDeadlock
from actors.events import (
    ChildDown,
)
from actors.incarnation import Incarnation
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


def test_bad_spec_starts_nothing(nursery: Nursery) -> None:
    """R22: it is found before any thread starts."""
    with pytest.raises(ConfigurationError, match="unique"):
        nursery.grow("aa")

    assert nursery.take() == ""


@pytest.mark.parametrize("options", [{"name": 7}, {"on_event": "print"}])
def test_options_of_a_tree_are_checked_before_anything_starts(
    ours: Nursery, clock: VirtualClock, options: dict[str, Any]
) -> None:
    """R22: the error names the option."""
    (option,) = options
    with pytest.raises(ConfigurationError, match=f"supervisor: {option} must be"):
        Supervisor.start("one_for_one", [ours.spec("a")], **options)

    assert ours.log == []


def test_parallel_start_does_not_wait_for_the_one_before(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R26: start="parallel" asks for it; in order is the default."""
    gate = Gate()
    slow = ours.spec("a", on_start=lambda kid: gate.pass_through())
    fast = ours.spec("b", on_start=lambda kid: gate.open())

    with ours.grow([slow, fast], start="parallel"):
        assert ours.take() in {"start a, start b", "start b, start a"}


def test_leaving_the_block_shuts_the_tree_down(nursery: Nursery) -> None:
    """R55, R61: the block is the tree's life."""
    with nursery.grow("ab") as tree:
        nursery.take()

    assert nursery.take() == "stop b, stop a"
    assert not tree.is_alive()


def test_with_block_raises_its_own_error_not_the_trees(ours: Nursery) -> None:
    """R43: what the block raised is not hidden."""

    def body() -> None:
        with ours.grow("a", intensity=0) as tree:
            tree.ref("a").tell(boom)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        body()


def test_concurrent_shutdowns_are_one(ours: Nursery, clock: VirtualClock) -> None:
    """R62: they all return after the same one stop."""
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
    """R1, R14: a ref is there before its actor, and keeps what it is told."""
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
    """R2: what must not be shared comes from a callable."""
    made = []

    def make(siblings: Any) -> Any:
        made.append(threading.current_thread().name)
        return {"log": ours.log, "name": "a"}

    with ours.grow([ChildSpec(Kid, kwargs=make, id="a")]) as tree:
        tree.ref("a").tell(boom)
        tree.ref("a").ask("again")

    assert made == ["a", "a#2"]  # on the child's thread, each time


def test_kwargs_that_raise_are_a_start_failure(ours: Nursery) -> None:
    """R28: they are a part of the start."""

    def make(siblings: Any) -> Any:
        return siblings.ref("nobody")

    with pytest.raises(StartFailed) as raised:
        ours.grow([ChildSpec(Kid, kwargs=make, id="a"), "b"])

    assert "it has: a, b" in str(raised.value.__cause__)


def test_slow_init_fails_the_start_at_its_timeout() -> None:
    """R31: to the second, and those before it stop."""
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
    """R26: it is a part of each start."""
    first = nursery.spec("a", after_start=lambda kid: kid.log.append(f"after {kid.id}"))

    with nursery.grow([first, "b"]) as tree:
        tree.ref("a").tell(boom)
        tree.ref("a").ask("x")

    assert nursery.take() == (
        "start a, after a, start b, fail a, start a, after a, a got x, stop b, stop a"
    )


def test_after_start_that_raises_is_a_start_failure(ours: Nursery) -> None:
    """R28: it is a part of the start."""
    with pytest.raises(StartFailed) as raised:
        ours.grow([ours.spec("a", after_start=boom)])

    assert isinstance(raised.value.__cause__, ValueError)


# -- strategies


def test_group_stops_in_reverse_and_starts_in_order(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R39: also those that started before the one that failed."""
    with nursery.grow("abc", "one_for_all") as tree:
        nursery.take()

        tree.ref("b").tell(boom)
        clock.settle()

        assert nursery.take() == "fail b, stop c, stop a, start a, start b, start c"


# -- intensity


def test_failing_restart_counts_and_a_stop_comes_through(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R30, R42: a start that fails is one more restart."""
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
    """R43: nobody takes it for a good end."""

    def body() -> None:
        with ours.grow("a", intensity=0) as tree:
            tree.ref("a").tell(boom)
            clock.settle()

    with pytest.raises(SupervisorGaveUp, match="boom"):
        body()


# -- backoff


def test_ref_stays_alive_and_its_mailbox_fills_during_backoff(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R1, R14: it takes messages up to its bound."""
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


def test_budget_cuts_every_nested_limit(ours: Nursery, clock: VirtualClock) -> None:
    """R57: three seconds for all levels together."""
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
    """R57: also where a child has no limit of its own."""
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
    """R56: an idle child stops in order."""
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
    """R16, R57: the drain and the stop after it."""
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
    """R15, R18: the order is there while it works."""
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
    """R88: a restart begins unsignalled."""
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
    """R31, R37, R58: the siblings do not notice."""
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
    """R50: a class of Pykka's may close things in on_stop."""
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
    """R63: what has stopped does not start again."""
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


def test_fatal_error_of_a_grandchild_ends_the_whole_tree(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R69: upward, each level in order."""
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
    """R28, R69: the same object."""

    def interrupt(kid: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ours.grow(["a", ours.spec("b", on_start=interrupt)])

    assert ours.take() == "start a, start b, stop a"


def test_nested_start_failure_names_the_way_down(ours: Nursery) -> None:
    """R28: a cause for each level."""

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
    """R66: they do not come back."""
    tree = nursery.grow([nursery.spec(each, restart="permanent") for each in "ab"])

    pykka.ActorRegistry.stop_all()

    assert tree.wait()
    assert pykka.ActorRegistry.get_all() == []


def test_waits_from_inside_the_tree_would_deadlock(ours: Nursery) -> None:
    """R64: they are refused; an order that does not wait is not."""
    with ours.grow("a") as tree:
        for wait in (tree.wait, tree.shutdown, tree.stop):
            with pytest.raises(WouldDeadlock, match="stop_now"):
                tree.ref("a").ask(lambda kid, wait=wait: wait())

        tree.ref("a").ask(lambda kid: tree.stop(block=False))
        tree.wait()


def test_wait_says_false_when_its_time_is_over() -> None:
    """R90: its time is the clock's."""
    with VirtualClock(auto_advance=True) as clock, Nursery().grow("a") as tree:
        assert tree.wait(3) is False
        assert clock.monotonic() == 3


def test_when_ended_is_called_once_with_the_exit(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R68: before the end, and after it."""
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
    """R67: an event tells of it."""

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
    """R32: the tree ends within the stop's own time."""
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
    """R34: as any other start that failed."""
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
    """R34: told to the starter."""

    def start(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Cell, "start", start)

    with pytest.raises(StartFailed, match="can't start new thread"):
        ours.grow("a")


@pytest.mark.concurrent
def test_shutdown_cancels_each_child_when_its_turn_comes(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R55, R82: all see DRAIN at once; who obeys CANCEL does not end out of order."""

    def serve(kid: Any) -> None:
        kid.stop_token.wait()
        kid.stop_token.wait_cancelled()
        ours.log.append(f"{kid.id} obeys")

    inner = ChildSpec(Supervisor, ("one_for_one", [ours.spec("x")]), id="inner")
    tree = ours.grow(["a", inner, "b"])
    tree.ref("a").tell(serve)
    below(tree, "inner").ref("x").tell(serve)
    clock.settle()
    ours.take()
    tree.shutdown()

    assert ours.take() == "stop b, x obeys, stop x, a obeys, stop a"
    assert tree.stop_token.cancelled


@pytest.mark.concurrent
def test_stop_now_cancels_all_at_once(ours: Nursery, clock: VirtualClock) -> None:
    """R82: everybody gives up what is held."""
    tree = ours.grow("ab")
    tokens: list[Any] = []
    for name in "ab":
        tree.ref(name).ask(lambda kid: tokens.append(kid.stop_token))
    tree.stop_now("at once")

    assert [token.cancelled for token in tokens] == [True, True]


def test_interrupted_shutdown_stops_now(
    ours: Nursery, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R57: Ctrl-C while a shutdown waits for slow children: they are not waited for."""
    gate = Gate()
    tree = ours.grow([ours.spec("a", shutdown=60)])
    tree.ref("a").tell(lambda kid: gate.pass_through())
    gate.wait_arrived()

    def interrupted(limit: float | None) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(tree, "_has_ended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tree.shutdown()
    clock.advance(1.0)

    assert not tree.is_alive()
    gate.open()


def test_error_of_a_block_tells_that_the_tree_had_given_up(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R43: what came of the give-up must not hide it."""
    with (
        pytest.raises(pykka.ActorDeadError, match=r"a has ended \(") as no,
        ours.grow("a", intensity=0) as tree,
    ):
        tree.ref("a").tell(boom)
        clock.settle()
        tree.ref("a").ask("hello")

    [note] = no.value.__notes__
    assert note.startswith("meanwhile root gave up on its child 'a': intensity=0")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "more than 1 restart in 5 s; the last failure was ValueError"),
        ({"max_restarts": 1}, "max_restarts=1 in a row are used up; the last failure"),
    ],
)
def test_whoever_waits_is_told_who_used_up_which_limit(
    ours: Nursery, clock: VirtualClock, options: Any, why: str
) -> None:
    """R42, R43: the child and the limit stand in the error."""
    intensity = 9 if options else 1
    tree = ours.grow([ours.spec("a", **options), "b"], intensity=intensity)
    for _ in range(2):
        tree.ref("a").tell(boom)
    clock.settle()

    with pytest.raises(SupervisorGaveUp) as caught:
        tree.wait()
    assert str(caught.value).startswith(f"root gave up on its child 'a': {why}")
