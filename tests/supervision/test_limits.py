"""What follows from the end of a child, without a thread.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

from typing import Any

import pytest

from actors.events import (
    ChildEscalated,
    ChildInterrupted,
    ChildLeftDown,
    ChildResumed,
    RestartScheduled,
    TreeGaveUp,
)
from actors.exits import Exit
from supervision.child_spec import ChildSpec
from supervision.child_state import Mode
from supervision.strategies import Backoff
from tests.supervision.machine_kit import BOOM, FAILED, SHUTDOWN, Inner, Plain, Tree

NORMAL = Exit("normal")


def spec(child: str, **options: Any) -> ChildSpec[Any]:
    return ChildSpec(Plain, id=child, **options)


# -- limits


def crash(tree: Tree, child: str, times: int = 1) -> None:
    for _ in range(times):
        tree.down(child)
        tree.advance(0)
        if tree.state(child) == "starting":
            tree.started(child)


def test_flapping_child_is_left_down_and_the_others_run() -> None:
    """R42: give_up="leave_down": a window of its own, and only it goes."""
    flapping = spec("b", give_up="leave_down")
    tree = Tree(specs={"b": flapping}, intensity=2).up()

    crash(tree, "b", 3)
    assert tree.states() == "running undefined running"
    [event] = tree.events(ChildLeftDown)
    assert (event.child, event.intensity, event.max_restarts) == ("b", 2, None)
    crash(tree, "a", 2)  # the flapping one has not used up their restarts

    assert tree.states() == "running undefined running"
    assert tree.machine.mode is Mode.RUNNING


def test_child_left_down_in_a_group_does_not_keep_the_others_down() -> None:
    """R41: the group starts without it."""
    flapping = spec("b", give_up="leave_down")
    tree = Tree(strategy="one_for_all", specs={"b": flapping}, intensity=0).up()
    tree.down("b")

    assert tree.states() == "running undefined running"


@pytest.mark.parametrize("kind", ["failed", "start_failed"])
def test_max_restarts_counts_those_in_a_row(kind: Any) -> None:
    """R46: a limit per child, the same for crashes and for failing starts."""
    tree = Tree("a", specs={"a": spec("a", max_restarts=2)}).up()

    for _ in range(2):
        tree.down("a", Exit(kind, BOOM))
        tree.advance(0)
        if kind == "failed":
            tree.started("a")
    assert tree.machine.mode is Mode.RUNNING
    tree.down("a", Exit(kind, BOOM))

    assert tree.machine.mode.value == "over"
    [event] = tree.events(TreeGaveUp)
    assert event.max_restarts == 2


def test_max_restarts_begins_anew_after_a_period_of_peace() -> None:
    """R46: restarts in a row, not in a life."""
    tree = Tree("a", specs={"a": spec("a", max_restarts=1)}, period=5).up()

    for _ in range(5):
        crash(tree, "a")
        tree.advance(5)

    assert tree.states() == "running"


def test_max_restarts_0_with_leave_down_is_never_restarted() -> None:
    """R46: the two together."""
    plugin = spec("a", max_restarts=0, give_up="leave_down")
    tree = Tree("ab", specs={"a": plugin}).up()
    tree.down("a")

    assert tree.states() == "undefined running"
    assert tree.events(ChildLeftDown)[0].max_restarts == 0


def test_optional_child_that_does_not_start_leaves_the_tree_to_start() -> None:
    """R28: required=False: the start goes on, and it is tried again."""
    tree = Tree(specs={"b": spec("b", required=False)}).begin()
    tree.started("a")
    tree.down("b", Exit("start_failed", BOOM))
    assert tree.state("b") == "restarting"
    assert tree.state("c") == "starting"
    tree.started("c")

    assert tree.hands.was_ready
    tree.advance(0)
    tree.started("b")
    assert tree.states() == "running running running"


def test_optional_child_that_never_starts_is_left_down() -> None:
    """R28, R42: required=False with give_up="leave_down" takes nobody down."""
    plugin = spec("b", required=False, give_up="leave_down")
    tree = Tree(specs={"b": plugin}, intensity=2).begin()
    tree.started("a")
    for _ in range(3):
        tree.down("b", Exit("start_failed", BOOM))
        tree.advance(0)
    tree.started("c")

    assert tree.states() == "running undefined running"
    assert tree.hands.was_ready


def test_optional_child_that_never_ran_is_left_down_whatever_give_up_says() -> None:
    """R28, R42: the tree goes on without it; the others have their own window."""
    tree = Tree(specs={"b": spec("b", required=False)}, intensity=1).begin()
    tree.started("a")
    for _ in range(2):
        tree.down("b", Exit("start_failed", BOOM))
        tree.advance(0)
    tree.started("c")
    assert tree.states() == "running undefined running"
    crash(tree, "a")
    assert tree.states() == "running undefined running"


def test_optional_child_that_has_run_may_take_the_tree_down() -> None:
    """R42: it is optional at the start; give_up is for what comes after."""
    tree = Tree(specs={"b": spec("b", required=False)}, intensity=0).up()
    tree.down("b")

    assert tree.machine.mode is Mode.STOPPING


def test_optional_temporary_child_that_does_not_start_is_gone() -> None:
    """R28, R35: it is not tried again."""
    plugin = spec("b", required=False, restart="temporary")
    tree = Tree(specs={"b": plugin}).begin()
    tree.started("a")
    tree.down("b", Exit("start_failed", BOOM))
    tree.started("c")

    assert tree.hands.was_ready
    assert [child.id for child in tree.machine.children] == ["a", "c"]


# -- directives


def test_decider_may_stop_a_child_for_good() -> None:
    """R49: stop: also a permanent one is not restarted."""
    tree = Tree(specs={"b": spec("b", restart="permanent")}).up()
    tree.down("b", Exit("failed", BOOM, directive="stop"))

    assert tree.states() == "running undefined running"
    assert tree.events(RestartScheduled) == []


def test_decider_may_escalate() -> None:
    """R49: the supervisor fails with the child's error, whatever restarts are left."""
    tree = Tree().up()
    tree.down("b", Exit("failed", BOOM, directive="escalate"))
    tree.down("c", SHUTDOWN)
    tree.down("a", SHUTDOWN)

    assert tree.hands.ended == Exit("gave_up", BOOM)
    assert [event.child for event in tree.events(ChildEscalated)] == ["b"]
    assert tree.events(TreeGaveUp) == []


def test_resumed_child_is_told_and_nothing_else_happens() -> None:
    """R49: resume keeps object and mailbox."""
    tree = Tree().up()
    tree.machine.resumed(tree.kids["b"], 1, BOOM)
    tree.machine.resumed(tree.kids["b"], 7, BOOM)  # of nobody

    assert tree.states() == "running running running"
    assert [event.error for event in tree.events(ChildResumed)] == [BOOM]


# -- significant children


@pytest.mark.parametrize(
    ("policy", "restart", "exit_", "ends"),
    [
        ("any_significant", "transient", NORMAL, True),
        ("any_significant", "transient", FAILED, False),
        ("any_significant", "temporary", FAILED, True),
        ("any_significant", "temporary", NORMAL, True),
        ("all_significant", "transient", NORMAL, False),
        ("all_significant", "temporary", FAILED, False),
    ],
)
def test_significant_child_may_end_its_supervisor(
    policy: str, restart: str, exit_: Exit, ends: bool
) -> None:
    """R72: transient ones by a normal end, temporary ones by any."""
    specs = {
        "a": spec("a", significant=True, restart=restart),
        "b": spec("b", significant=True, restart=restart),
    }
    tree = Tree(specs=specs, auto_shutdown=policy).up()
    tree.down("a", exit_)

    assert (tree.machine.mode is Mode.STOPPING) == ends
    if ends:
        assert tree.machine.exit == SHUTDOWN


def test_last_significant_child_ends_its_supervisor() -> None:
    """R72: all_significant."""
    specs = {each: spec(each, significant=True) for each in "ab"}
    tree = Tree(specs=specs, auto_shutdown="all_significant").up()
    tree.down("a", NORMAL)
    assert tree.machine.mode is Mode.RUNNING
    tree.down("b", NORMAL)

    assert tree.machine.mode.value == "stopping"


def test_significant_child_that_is_terminated_ends_nobody() -> None:
    """R73: nor one that a group restart stops, nor one that is not significant."""
    specs = {"a": spec("a", significant=True, restart="temporary")}
    tree = Tree(specs=specs, auto_shutdown="any_significant").up()
    tree.machine.terminate_child(tree.kids["a"], tree.now)
    tree.down("a", SHUTDOWN)
    tree.down("b", NORMAL)

    assert tree.machine.mode is Mode.RUNNING


def test_significant_sibling_of_a_group_restart_ends_nobody() -> None:
    """R73: it did not end by itself."""
    specs = {"c": spec("c", significant=True, restart="temporary")}
    tree = Tree(
        strategy="one_for_all", specs=specs, auto_shutdown="any_significant"
    ).up()
    tree.down("a")
    tree.down("c", SHUTDOWN)
    tree.down("b", SHUTDOWN)
    tree.advance(0)

    assert tree.machine.mode is Mode.RUNNING
    assert tree.states() == "starting restarting undefined"


def test_significant_end_during_the_start_waits_for_the_start() -> None:
    """R72: whoever starts the tree gets it, and it ends then."""
    specs = {"a": spec("a", significant=True)}
    tree = Tree(specs=specs, auto_shutdown="any_significant").begin()
    tree.started("a")
    tree.down("a", NORMAL)
    assert tree.state("b") == "starting"
    tree.started("b")
    tree.started("c")

    assert tree.hands.was_ready
    assert tree.machine.mode.value == "stopping"


# -- interrupts


def test_interrupt_comes_before_the_abandon() -> None:
    """R60: on_timeout="interrupt": an exception, some grace, and then as ever."""
    tree = Tree("a", specs={"a": spec("a", shutdown=3, on_timeout="interrupt")}).up()
    tree.hands.interruptible.add("a")
    tree.stop()
    tree.advance(3)
    assert tree.take() == "stop a, interrupt a"
    assert len(tree.events(ChildInterrupted)) == 1
    tree.advance(0.9)
    assert tree.take() == ""
    tree.advance(0.1)

    assert tree.take() == "abandon a, close a"


def test_interrupted_child_that_ends_is_not_abandoned() -> None:
    """R60: it has stopped as it was asked to."""
    tree = Tree("a", specs={"a": spec("a", shutdown=3, on_timeout="interrupt")}).up()
    tree.hands.interruptible.add("a")
    tree.stop()
    tree.advance(3)
    tree.down("a", SHUTDOWN)

    assert tree.take() == "stop a, interrupt a, close a"
    assert tree.hands.ended == SHUTDOWN


def test_interrupt_that_cannot_be_is_an_abandon() -> None:
    """R60: the thread is in code of ours, or has none."""
    tree = Tree("a", specs={"a": spec("a", shutdown=3, on_timeout="interrupt")}).up()
    tree.stop()
    tree.advance(3)

    assert tree.take() == "stop a, abandon a, close a"


def test_interrupted_start_is_a_failed_start() -> None:
    """R31, R60: however the thread ended."""
    slow = spec("a", start_timeout=3, on_timeout="interrupt")
    tree = Tree("a", specs={"a": slow}).begin()
    tree.hands.interruptible.add("a")
    tree.advance(3)
    tree.down("a", SHUTDOWN)

    assert tree.hands.ended.kind == "start_failed"


# -- drains


def test_drain_asks_each_in_reverse_and_waits() -> None:
    """R16, R55: each handles what waits before the one before it is asked."""
    tree = Tree().up()
    tree.stop(NORMAL, drain=True)
    assert tree.take() == "drain c"
    tree.down("c", NORMAL)
    tree.down("b", NORMAL)
    tree.down("a", NORMAL)

    assert tree.take() == "close c, drain b, close b, drain a, close a"
    assert tree.hands.ended == NORMAL


def test_drain_keeps_time_for_a_stop() -> None:
    """R57: with a deadline the drain may take all but the last second."""
    tree = Tree(specs={each: spec(each, shutdown=0.5) for each in "abc"}).up()
    tree.stop(NORMAL, 20.0, drain=True)
    tree.advance(18.9)  # longer than its own limit: the time is the tree's
    assert tree.take() == "drain c"
    tree.advance(0.1)
    assert tree.take() == "stop c"
    tree.down("c", SHUTDOWN)
    assert tree.take() == "close c, stop b"
    assert tree.hands.deadlines["b"] == 19.5
    tree.advance(0.5)
    assert tree.take() == "abandon b, close b, stop a"
    tree.advance(0.5)

    assert tree.take() == "abandon a, close a"
    assert tree.now == 20.0


def test_drain_without_a_deadline_ends_with_the_childs_own_limit() -> None:
    """R56: 30 s are for the drain and the stop."""
    tree = Tree("a", specs={"a": spec("a", shutdown=30)}).up()
    tree.stop(NORMAL, drain=True)
    tree.advance(29)
    assert tree.take() == "drain a, stop a"
    assert tree.hands.deadlines["a"] == 30.0
    tree.advance(1)

    assert tree.take() == "abandon a, close a"


def test_stop_now_during_a_drain_ends_the_drain() -> None:
    """R16, R81: the second signal."""
    tree = Tree().up()
    tree.stop(NORMAL, 20.0, drain=True)
    tree.stop(SHUTDOWN, 1.0)
    assert tree.take() == "drain c, stop c"
    tree.down("c", SHUTDOWN)

    assert tree.take() == "close c, stop b"


def test_budget_before_the_stop_is_kept_for_the_drain() -> None:
    """R57: control messages come in any order."""
    tree = Tree("a").up()
    tree.machine.shorten(10.0, tree.now)
    tree.stop(NORMAL, drain=True)
    tree.advance(9)

    assert tree.take() == "drain a, stop a"


def test_nested_supervisor_drains_within_the_same_deadline() -> None:
    """R57: it is asked to drain, then to stop."""
    tree = Tree("a", specs={"a": ChildSpec(Inner, id="a")}).up()
    tree.stop(NORMAL, 10.0, drain=True)
    assert tree.hands.deadlines["a"] == 10.0
    tree.advance(9)

    assert tree.take() == "drain a, stop a"


def test_children_that_do_not_run_are_not_drained() -> None:
    """R32, R63: what starts is stopped, what waits is closed."""
    backoff = Backoff(initial=9, maximum=9, first_immediate=False)
    tree = Tree(specs={"b": spec("b", backoff=backoff)}).up()
    tree.down("b")
    tree.stop(NORMAL, drain=True)
    tree.down("c", NORMAL)

    assert tree.take() == "drain c, close c, close b, drain a"


def test_child_that_fails_in_a_drain_goes_on_with_what_waits() -> None:
    """R3, R16: whether its turn has come or not; at once, without its backoff."""
    backoff = Backoff(initial=9, maximum=9, first_immediate=False)
    tree = Tree(specs={each: spec(each, backoff=backoff) for each in "abc"}).up()
    tree.hands.mail = {"b": 2, "c": 2}
    tree.stop(NORMAL, drain=True)
    tree.down("c")  # asked already: one of the two is the order
    tree.down("b")
    assert tree.take() == "drain c, start c, drain c, start b"
    tree.started("b")
    tree.down("c", NORMAL)
    assert tree.take() == "close c, drain b"
    tree.down("b", NORMAL)

    assert tree.take() == "close b, drain a"
    assert [event.delay for event in tree.events(RestartScheduled)] == [0.0, 0.0]


@pytest.mark.parametrize("why", ["nothing waits", "time is over", "limit", "normal"])
def test_child_that_fails_in_a_drain_may_be_done(why: str) -> None:
    """R63: nothing starts that is not needed, nor after a stop at once."""
    intensity = 0 if why == "limit" else 9
    tree = Tree("a", intensity=intensity).up()
    tree.hands.mail = {"a": 1 if why == "nothing waits" else 9}
    tree.stop(NORMAL, 10.0, drain=True)
    if why == "time is over":
        tree.advance(9.5)
    tree.down("a", NORMAL if why == "normal" else FAILED)

    assert tree.take().endswith("close a")
    assert tree.hands.ended == NORMAL


def test_later_budget_gives_a_stopping_child_no_time_anew() -> None:
    """R56, R57: its own limit counts from when it was asked first."""
    tree = Tree("a", specs={"a": spec("a", shutdown=5)}).up()
    tree.stop()
    tree.advance(4)
    tree.machine.shorten(100.0, tree.now)
    tree.advance(1)

    assert tree.take() == "stop a, stop a, abandon a, close a"
