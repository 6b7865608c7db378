"""The state machine alone: notices in, calls of its hands out, no thread."""

from __future__ import annotations

import random
from typing import Any

import pytest

from actors.events import ChildDown, ChildStopped, RestartScheduled, TreeGaveUp
from actors.exits import Exit, ExitKind
from supervision.child_spec import ChildSpec
from supervision.child_state import Due, Mode, State
from supervision.errors import StartFailed
from supervision.machine import Machine
from supervision.strategies import Backoff
from tests.supervision.machine_kit import BOOM, FAILED, SHUTDOWN, Inner, Plain, Tree

# -- start and stop


def test_each_child_starts_when_the_one_before_it_runs() -> None:
    """R26: in the order of the specs."""
    tree = Tree().begin()

    assert tree.take() == "start a"
    tree.started("a")
    assert tree.take() == "start b"
    assert not tree.hands.was_ready
    tree.started("b")
    tree.started("c")
    assert tree.hands.was_ready
    assert tree.machine.mode is Mode.RUNNING


def test_parallel_start_waits_for_none() -> None:
    """R26: where that is asked for."""
    tree = Tree(start="parallel").begin()

    assert tree.take() == "start a, start b, start c"
    tree.started("c", "a")
    assert not tree.hands.was_ready
    tree.started("b")
    assert tree.hands.was_ready


def test_supervisor_without_children_is_ready_and_ends_at_once() -> None:
    tree = Tree(ids="").begin()
    assert tree.hands.was_ready

    tree.stop()

    assert tree.hands.ended == SHUTDOWN


def test_stop_is_the_reverse_and_waits_for_each() -> None:
    """R55: one after the other."""
    tree = Tree().up()

    tree.stop()
    assert tree.take() == "stop c"
    tree.down("c", SHUTDOWN)
    assert tree.take() == "close c, stop b"
    tree.down("b", SHUTDOWN)
    tree.down("a", SHUTDOWN)

    assert tree.take() == "close b, stop a, close a"
    assert tree.hands.ended == SHUTDOWN
    assert not tree.hands.timers


def test_stop_twice_is_one_stop() -> None:
    """R62: the second changes nothing."""
    tree = Tree().up()

    tree.stop()
    tree.stop(Exit("normal"))

    assert tree.take() == "stop c"
    assert tree.machine.exit == SHUTDOWN


def test_start_failure_unwinds_what_had_started() -> None:
    """R28: in reverse, and no other starts."""
    tree = Tree().begin()
    tree.started("a", "b")
    tree.take()

    tree.down("c", Exit("start_failed", BOOM))
    tree.down("b", SHUTDOWN)
    tree.down("a", SHUTDOWN)

    assert tree.take() == "close c, stop b, close b, stop a, close a"
    assert tree.hands.ended.kind == "start_failed"
    error = tree.hands.ended.error
    assert isinstance(error, StartFailed)
    assert (error.child_id, error.__cause__) == ("c", BOOM)
    assert not tree.hands.was_ready


def test_start_timeout_is_a_start_failure_with_the_thread_abandoned() -> None:
    """R31: as any start that failed."""
    tree = Tree("ab").begin()
    tree.started("a")
    tree.take()

    tree.advance(29.9)
    assert tree.take() == ""
    tree.advance(0.2)

    assert tree.take() == "abandon b, close b, stop a"
    tree.down("a", SHUTDOWN)
    assert isinstance(tree.hands.ended.error.__cause__, TimeoutError)


def test_stop_during_start_starts_nothing_more() -> None:
    """R32, R63: it does not wait for the start."""
    tree = Tree().begin()
    tree.started("a")
    tree.take()

    tree.stop()
    tree.started("b")  # its on_start returned after all: too late
    tree.down("b", SHUTDOWN)
    tree.down("a", SHUTDOWN)

    assert tree.take() == "close c, stop b, close b, stop a, close a"
    assert tree.hands.ended == SHUTDOWN


def test_no_thread_for_a_first_start_is_a_start_failure() -> None:
    """R34: of the tree."""
    tree = Tree("a")
    tree.hands.no_thread.add("a")

    tree.begin()

    assert tree.hands.ended.kind == "start_failed"


def test_ignored_child_is_no_failure() -> None:
    """R33: the next one starts."""
    tree = Tree("ab").begin()

    tree.down("a", Exit("ignored"))
    tree.started("b")

    assert tree.hands.was_ready
    assert tree.states() == "undefined running"


# -- restarts


@pytest.mark.parametrize(
    ("strategy", "calls"),
    [
        ("one_for_one", "start b"),
        ("rest_for_one", "stop c, start b, start c"),
        ("one_for_all", "stop c, stop a, start a, start b, start c"),
    ],
)
def test_group_stops_in_reverse_and_starts_in_order(strategy: str, calls: str) -> None:
    """R39: by strategy."""
    tree = Tree(strategy=strategy).up()

    tree.down("b")
    while tree.states() != "running running running":
        for each, kid in tree.kids.items():
            if kid.state is State.STOPPING:
                tree.down(each, SHUTDOWN)
            if kid.state is State.STARTING:
                tree.started(each)
        tree.advance(0)

    assert tree.take() == calls


def test_restart_goes_through_the_queue_of_the_supervisor() -> None:
    """R21, R30: behind what waits there."""
    tree = Tree("a").up()

    tree.down("a")
    assert tree.take() == ""
    assert tree.state("a") == "restarting"

    tree.advance(0)
    assert tree.take() == "start a"


def test_temporary_sibling_of_a_group_restart_is_removed() -> None:
    """R40: it is not restarted."""
    temporary = ChildSpec(Plain, id="b", restart="temporary")
    tree = Tree(strategy="one_for_all", specs={"b": temporary}).up()

    tree.down("a")
    tree.down("c", SHUTDOWN)
    tree.down("b", SHUTDOWN)
    tree.advance(0)
    tree.started("a")

    assert tree.take() == "stop c, stop b, close b, start a, start c"
    assert [child.id for child in tree.machine.children] == ["a", "c"]


def test_other_child_that_fails_in_a_group_start_becomes_the_trigger() -> None:
    """R41: all stop once more."""
    tree = Tree(strategy="one_for_all").up()
    tree.down("a")
    tree.down("c", SHUTDOWN)
    tree.down("b", SHUTDOWN)
    tree.advance(0)
    tree.started("a")
    tree.take()

    tree.down("b", Exit("start_failed", BOOM))
    assert tree.take() == "stop a"
    tree.down("a", SHUTDOWN)
    tree.advance(0)
    tree.started("a", "b", "c")

    assert tree.take() == "start a, start b, start c"
    assert len(tree.events(RestartScheduled)) == 2


def test_rest_for_one_start_failure_leaves_those_before_it() -> None:
    """R41: only the rest stops once more."""
    tree = Tree(strategy="rest_for_one").up()
    tree.down("a")
    tree.down("c", SHUTDOWN)
    tree.down("b", SHUTDOWN)
    tree.advance(0)
    tree.started("a")
    tree.take()

    tree.down("b", Exit("start_failed", BOOM))
    tree.advance(0)

    assert tree.take() == "start b"
    assert tree.states() == "running starting restarting"


def test_crash_of_an_earlier_child_widens_the_group() -> None:
    """R39: there is one group at last."""
    tree = Tree(strategy="rest_for_one").up()
    tree.down("b")
    assert tree.take() == "stop c"

    tree.down("a")
    tree.down("c", SHUTDOWN)
    tree.advance(0)
    tree.started("a", "b", "c")

    assert tree.take() == "start a, start b, start c"
    assert tree.states() == "running running running"


def test_sibling_that_ends_normally_by_itself_stays_down() -> None:
    """R35, R39: a group does not bring it back."""
    tree = Tree(strategy="one_for_all").up()
    tree.down("a")  # c is asked to stop; b not yet

    tree.down("b", Exit("normal"))
    tree.down("c", SHUTDOWN)
    tree.advance(0)
    tree.started("a")

    assert tree.take() == "stop c, close b, start a, start c"


def test_failing_restart_is_counted_and_tried_again_until_the_limit() -> None:
    """R30, R42: each try is one failure."""
    tree = Tree("a", intensity=2).up()

    tree.down("a")
    tree.advance(0)
    tree.down("a", Exit("start_failed", BOOM))
    tree.advance(0)
    tree.down("a", Exit("start_failed", BOOM))

    assert tree.hands.ended.kind == "gave_up"
    assert tree.hands.ended.error is BOOM
    assert len(tree.events(TreeGaveUp)) == 1


def test_no_thread_for_a_restart_is_tried_again() -> None:
    """R34: and counted."""
    tree = Tree("a").up()
    tree.hands.no_thread.add("a")

    tree.down("a")
    tree.advance(0)

    assert tree.take() == "start a"
    assert len(tree.events(RestartScheduled)) == 2


def test_start_failure_of_a_child_that_was_up_does_not_fail_the_tree() -> None:
    """R30: although the tree still starts."""
    tree = Tree("ab").begin()
    tree.started("a")
    tree.down("a")
    tree.advance(0)
    tree.down("a", Exit("start_failed", BOOM))
    tree.started("b")

    assert tree.hands.was_ready
    tree.advance(0)
    tree.started("a")
    assert tree.states() == "running running"


def test_group_starts_together_after_the_delay_of_its_trigger() -> None:
    """R47: its siblings stop at once."""
    slow = ChildSpec(Plain, id="a", backoff=Backoff(initial=2, first_immediate=False))
    tree = Tree("ab", "one_for_all", {"a": slow}).up()

    tree.down("a")
    tree.down("b", SHUTDOWN)
    assert tree.take() == "stop b"
    tree.advance(1.99)
    assert tree.take() == ""
    tree.advance(0.5)

    assert tree.take() == "start a"


def test_widened_group_keeps_the_later_moment() -> None:
    """R47: nobody starts early."""
    slow = ChildSpec(Plain, id="b", backoff=Backoff(initial=2, first_immediate=False))
    tree = Tree("ab", "rest_for_one", {"b": slow}).up()
    tree.down("b")

    tree.down("a")
    tree.advance(1.9)
    assert tree.take() == ""
    tree.advance(1)

    assert tree.take() == "start a"


def test_backoff_follows_the_formula_and_resets() -> None:
    """R44, R45: by the moments it is told."""
    backoff = Backoff(initial=1, maximum=4, jitter=0, reset_after=10)
    tree = Tree("a", specs={"a": ChildSpec(Plain, id="a", backoff=backoff)}).up()

    for _ in range(4):
        tree.down("a")
        tree.advance(9)
        tree.started("a")
    tree.advance(11)
    tree.down("a")

    delays = [event.delay for event in tree.events(RestartScheduled)]
    assert delays == [0, 1, 2, 4, 0]


def test_stale_notices_change_nothing() -> None:
    """R19: of an earlier incarnation, of another state."""
    tree = Tree("a").up()
    tree.down("a")
    tree.advance(0)
    tree.started("a")
    seen = len(tree.hands.events)

    tree.down("a", number=1)
    tree.machine.started(tree.kids["a"], 1, tree.now)
    tree.machine.failing(tree.kids["a"], 1, tree.now)
    tree.machine.due(Due("start_due", "a", 1), tree.now)
    tree.machine.due(Due("restart_due", "", 1), tree.now)

    assert len(tree.hands.events) == seen
    assert tree.states() == "running"


def test_timer_of_a_limit_that_was_changed_since_is_stale() -> None:
    """R19, R56: what was due and not yet read does not cut the new limit short."""
    spec = ChildSpec(Plain, id="a", shutdown=10)
    tree = Tree("a", specs={"a": spec}).up()
    tree.stop(drain=True)
    (drained,) = tree.hands.timers
    tree.hands.timers.clear()  # it is due, and waits to be read

    tree.stop()
    tree.machine.due(drained[1], tree.now)

    assert tree.take() == "drain a, stop a"
    assert tree.states() == "stopping"


def test_timer_of_a_child_that_is_gone_is_not_that_of_another_of_its_id() -> None:
    """R19: both are at their first incarnation."""
    tree = Tree("a")
    tree.begin()
    (start,) = tree.hands.timers
    tree.hands.timers.clear()  # it is due, and waits to be read
    tree.started("a")
    tree.machine.terminate_child(tree.kids["a"], tree.now)
    tree.down("a", SHUTDOWN)
    tree.machine.start_child(tree.kids["a"], tree.now)
    tree.take()

    tree.machine.due(start[1], tree.now)

    assert tree.take() == ""
    assert tree.states() == "starting"


# -- limits


def test_child_that_hangs_in_its_failure_is_abandoned_and_replaced() -> None:
    """R37, R38: after its shutdown time."""
    tree = Tree("a").up()

    tree.failing("a")
    tree.advance(4.9)
    assert tree.take() == ""
    tree.advance(0.2)

    assert tree.take() == "abandon a, start a"


def test_child_that_does_not_stop_is_abandoned_and_the_stop_goes_on() -> None:
    """R58: and nobody waits for it again."""
    tree = Tree("ab").up()

    tree.stop()
    tree.advance(5)

    assert tree.take() == "stop b, abandon b, close b, stop a"


def test_down_wins_over_an_abandon_that_came_too_late() -> None:
    """R36, R58: it ended first."""
    tree = Tree("a").up()
    tree.hands.abandon = lambda child, why: None

    tree.stop()
    tree.advance(5)
    assert tree.hands.ended is None
    tree.down("a", SHUTDOWN)

    assert tree.hands.ended == SHUTDOWN


@pytest.mark.parametrize(
    ("busy", "calls"), [(True, "stop a, abandon a, close a"), (False, "stop a")]
)
def test_limit_of_0_gives_up_at_once_only_when_busy(busy: bool, calls: str) -> None:
    """R56: who is idle has a moment."""
    tree = Tree("a", specs={"a": ChildSpec(Plain, id="a", shutdown=0)}).up()
    tree.hands.busy_ids = {"a"} if busy else set()

    tree.stop()

    assert tree.take() == calls


def test_no_limit_waits_for_ever() -> None:
    """R56: None."""
    tree = Tree("a", specs={"a": ChildSpec(Plain, id="a", shutdown=None)}).up()

    tree.stop()

    assert tree.hands.timers == []
    assert tree.hands.deadlines == {"a": None}


def test_budget_cuts_each_limit() -> None:
    """R57: to what is left."""
    tree = Tree("ab").up()

    tree.stop(deadline=3.0)
    tree.advance(1)
    tree.down("b", SHUTDOWN)
    tree.advance(1.9)
    assert tree.take() == "stop b, close b, stop a"
    tree.advance(0.1)

    assert tree.take() == "abandon a, close a"
    assert tree.hands.deadlines == {"b": 3.0, "a": 3.0}


def test_later_stop_can_only_shorten_the_budget() -> None:
    """R57, R62: never longer."""
    tree = Tree("a").up()

    tree.stop()
    tree.stop(deadline=2.0)
    tree.stop(deadline=4.0)

    assert tree.hands.deadlines == {"a": 2.0}
    tree.advance(2)
    assert tree.hands.ended == SHUTDOWN


def test_nested_supervisor_gets_the_deadline_and_a_grace_to_keep_it() -> None:
    """R57: it abandons its own children."""
    tree = Tree("a", specs={"a": ChildSpec(Inner, id="a")}).up()

    tree.stop(deadline=2.0)
    tree.advance(2.5)
    assert tree.take() == "stop a"
    tree.advance(0.6)

    assert tree.hands.deadlines == {"a": 2.0}
    assert tree.take() == "abandon a, close a"


# -- endings


def test_fatal_exit_stops_all_and_is_passed_up() -> None:
    """R69: nothing restarts."""
    tree = Tree().up()
    fatal = Exit("fatal", KeyboardInterrupt())

    tree.down("b", fatal)
    tree.down("c", SHUTDOWN)
    tree.down("a", SHUTDOWN)

    assert tree.take() == "close b, stop c, close c, stop a, close a"
    assert tree.hands.ended is fatal


def test_fatal_exit_during_a_stop_replaces_its_exit() -> None:
    """R69: it is not lost."""
    tree = Tree("a").up()
    fatal = Exit("fatal", SystemExit(3))
    tree.stop()

    tree.down("a", fatal)

    assert tree.hands.ended is fatal


def test_pending_restart_is_cancelled_by_a_stop() -> None:
    """R48: its timer too."""
    slow = ChildSpec(Plain, id="a", backoff=Backoff(first_immediate=False))
    tree = Tree("a", specs={"a": slow}).up()
    tree.down("a")

    tree.stop()
    tree.advance(60)

    assert tree.take() == "close a"
    assert tree.hands.ended == SHUTDOWN
    assert tree.hands.timers == []


def test_exits_by_themselves_during_a_stop_are_not_waited_for_in_vain() -> None:
    """R67: in any order."""
    tree = Tree().up()
    tree.stop()

    tree.down("b")
    tree.down("a", Exit("normal"))
    tree.down("c", SHUTDOWN)

    assert tree.take() == "stop c, close b, close a, close c"
    kinds = {event.child: event.kind for event in tree.events(ChildDown)}
    assert kinds == {"a": "normal", "b": "failed", "c": "shutdown"}
    assert tree.hands.ended == SHUTDOWN


def test_give_up_during_the_start_fails_the_start() -> None:
    """R28, R42: the starter is told."""
    tree = Tree("ab", intensity=0).begin()
    tree.started("a")

    tree.down("a")
    tree.down("b", SHUTDOWN)

    assert tree.hands.ended.kind == "gave_up"
    assert not tree.hands.was_ready


def test_every_child_is_closed_exactly_once() -> None:
    """R68: whatever came before."""
    tree = Tree(strategy="one_for_all").up()
    tree.down("b")
    tree.stop()
    for each in "ca":
        tree.down(each, SHUTDOWN)

    stopped = [event.child for event in tree.events(ChildStopped)]
    assert sorted(stopped) == ["a", "b", "c"]


@pytest.mark.parametrize("seed", range(40))
def test_random_histories_always_come_to_an_end(seed: int) -> None:
    rng = random.Random(seed)
    strategy = rng.choice(["one_for_one", "rest_for_one", "one_for_all"])
    specs = {
        each: ChildSpec(
            Plain,
            id=each,
            restart=rng.choice(["permanent", "transient", "temporary"]),
            backoff=rng.choice([None, Backoff(initial=0.1, maximum=1)]),
        )
        for each in "abcd"
    }
    start = rng.choice(["ordered", "parallel"])
    tree = Tree("abcd", strategy, specs, intensity=1000, start=start).begin()
    kinds: list[ExitKind] = [
        "failed",
        "normal",
        "start_failed",
        "abandoned",
        "gave_up",
    ]

    for _ in range(300):
        each = rng.choice("abcd")
        state = tree.kids[each].state
        if state is State.STARTING and rng.random() < 0.8:
            tree.started(each)
        elif state is State.STOPPING:
            tree.down(each, rng.choice([SHUTDOWN, FAILED]))
        elif state is State.RUNNING and rng.random() < 0.3:
            tree.failing(each)
        elif state in (State.RUNNING, State.FAILING) and rng.random() < 0.5:
            tree.down(each, Exit(rng.choice(kinds), BOOM))
        else:
            tree.advance(rng.random())
        check(tree)
    tree.stop()
    for _ in range(4):
        for each, kid in tree.kids.items():
            if kid.state is State.STOPPING:
                tree.down(each, SHUTDOWN)

    assert tree.hands.ended is not None
    assert tree.hands.timers == []
    stopped = [event.child for event in tree.events(ChildStopped)]
    assert sorted(stopped) == ["a", "b", "c", "d"]


def check(tree: Any) -> None:
    """Nothing is stuck: who has no thread waits for a timer, a sibling or nothing."""
    machine = tree.machine
    for group in machine._groups:
        assert all(child.group is group for child in group.members)
    coming = [
        k for k in machine.children if k.state in (State.WAITING, State.RESTARTING)
    ]
    if machine.mode in (Mode.STARTING, Mode.RUNNING):
        assert all(child.group in list(machine._groups) for child in coming)
        if coming:
            moving = {State.STARTING, State.STOPPING, State.FAILING}
            assert tree.hands.timers or any(k.state in moving for k in machine.children)


def test_work_of_a_machine_grows_with_its_children_and_not_faster() -> None:
    # 200 children that crash at once do not make it look at 200 groups at each notice
    def looks(count: int) -> int:
        tree = Tree([str(n) for n in range(count)], intensity=10_000).up()
        seen = 0

        def step_of(group: Any) -> bool:
            nonlocal seen
            seen += 1
            return bool(Machine._step_of(tree.machine, group))

        tree.machine._step_of = step_of
        for child in tree.kids:
            tree.down(child)
        tree.advance(0)
        for child in tree.kids:
            tree.started(child)
        assert tree.states() == "running " * (count - 1) + "running"
        return seen

    assert looks(200) <= 11 * looks(20)
