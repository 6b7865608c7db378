"""Ends of children and what follows: restart types, groups, limits, delays.

Rules R35 to R54.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from actors import Exit, Ignore
from actors.events import (
    ChildDown,
    ChildLeftDown,
    ChildResumed,
    ChildStarted,
    RestartScheduled,
    TreeGaveUp,
)
from actors.testing import Gate
from supervision import Backoff, ChildSpec, Supervisor, SupervisorGaveUp
from tests.supervision.kids import Kid, Nursery, below, boom, states

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.testing import VirtualClock

pytestmark = pytest.mark.concurrent


def after(seconds: float, **options: Any) -> Backoff:
    """A backoff of always the same delay."""
    return Backoff(
        initial=seconds, maximum=seconds, jitter=0, first_immediate=False, **options
    )


class Starts:
    """An ``on_start`` that fails when it is told to.

    Args:
        failing: The incarnations of each child whose start fails; kids of Pykka's have
            no number, so starts are counted here.
    """

    def __init__(self, **failing: set[int]) -> None:
        self.failing = failing
        self.counts: dict[str, int] = {}

    def __call__(self, kid: Any) -> None:
        count = self.counts[kid.id] = self.counts.get(kid.id, 0) + 1
        if count in self.failing.get(kid.id, ()):
            raise OSError(f"no disk for {kid.id}")


# -- restart types


def end_normally(nursery: Nursery, clock: VirtualClock, tree: Any) -> None:
    tree.ref("a").stop()


def end_by_itself(nursery: Nursery, clock: VirtualClock, tree: Any) -> None:
    tree.ref("a").tell(lambda kid: kid.stop())


def end_by_failure(nursery: Nursery, clock: VirtualClock, tree: Any) -> None:
    tree.ref("a").tell(boom)


def end_by_abandonment(nursery: Nursery, clock: VirtualClock, tree: Any) -> None:
    gates.append(Gate())

    def hang_in_on_failure(kid: Any) -> None:
        kid.on_failure = lambda *exc_info: gates[-1].pass_through()
        raise ValueError("boom")

    tree.ref("a").tell(hang_in_on_failure)
    gates[-1].wait_arrived()
    clock.advance(5)


gates: list[Gate] = []


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize(
    ("end", "kind", "abnormal"),
    [
        (end_normally, "normal", False),
        (end_by_itself, "normal", False),
        (end_by_failure, "failed", True),
        (end_by_abandonment, "abandoned", True),
    ],
)
def test_restart_type_and_exit_kind_decide_who_comes_back(
    nursery: Nursery,
    clock: VirtualClock,
    restart: str,
    end: Callable[..., None],
    kind: str,
    abnormal: bool,
) -> None:
    """R35: permanent after all, transient after a failure, temporary never."""
    gates.clear()
    with nursery.grow([nursery.spec("a", restart=restart), "b"]) as tree:
        end(nursery, clock, tree)
        clock.settle()

        comes_back = restart == "permanent" or (restart == "transient" and abnormal)
        stays = "a undefined 1, " if restart == "transient" else ""
        expected = "a running 2, " if comes_back else stays
        assert states(tree) == f"{expected}b running 1"
        assert [event.kind for event in nursery.of(ChildDown)] == [kind]
        for gate in gates:
            gate.open()


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_nested_supervisor_that_gave_up_has_ended_abnormally(
    nursery: Nursery, clock: VirtualClock, restart: str
) -> None:
    """R35, R42, R53: it is built again, unless it is temporary: then it is gone."""
    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [nursery.spec("x"), nursery.spec("y")]),
        {"intensity": 0},
        id="inner",
        restart=restart,
    )
    with nursery.grow([inner, "b"]) as tree:
        old = below(tree, "inner").ref("y")
        nursery.take()
        below(tree, "inner").ref("x").tell(boom)
        clock.settle()

        assert not old.is_alive()
        if restart == "temporary":
            assert states(tree) == "b running 1"
            assert nursery.take() == "fail x, stop y"
        else:
            assert states(tree) == "inner running 2, b running 1"
            assert nursery.take() == "fail x, stop y, start x, start y"
            assert below(tree, "inner").ref("y").ask("new") == "new"


def test_children_added_to_a_nested_supervisor_go_with_it(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R53: its restart builds those of its spec, and no others."""
    inner = ChildSpec(
        Supervisor, ("one_for_one", [nursery.spec("x")]), {"intensity": 0}, id="inner"
    )
    with nursery.grow([inner]) as tree:
        below(tree, "inner").start_child(nursery.spec("added"))
        below(tree, "inner").terminate_child("added")
        below(tree, "inner").restart_child("added")
        below(tree, "inner").ref("x").tell(boom)
        clock.settle()

        assert states(below(tree, "inner")) == "x running 1"
        with pytest.raises(KeyError, match="it has: x"):
            below(tree, "inner").ref("added")


# -- limits


def test_permanent_child_that_is_stopped_again_and_again_uses_the_limit(
    nursery: Nursery, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """R35, R42: each is one restart; wait and log say so, though nothing was raised."""
    tree = nursery.grow([nursery.spec("a", restart="permanent"), "b"], intensity=2)
    for incarnation in (2, 3):
        assert tree.ref("a").stop() is True
        clock.settle()
        assert states(tree) == f"a running {incarnation}, b running 1"
    assert tree.ref("a").stop() is True

    with pytest.raises(SupervisorGaveUp) as raised:
        tree.wait()
    assert raised.value.__cause__ is None
    assert "None" not in str(raised.value)
    assert "root/a (#3) stopped; giving up" in caplog.text
    assert nursery.take().endswith("stop a, stop b")


def test_self_stop_in_on_start_is_a_good_start_and_a_normal_end(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R35, R64: the tree starts; a permanent child that does so uses the limit up."""
    leaves = nursery.spec("a", on_start=lambda kid: kid.stop())
    with nursery.grow([leaves, "b"]) as tree:
        clock.settle()
        assert states(tree) == "a undefined 1, b running 1"
        assert sorted(nursery.log) == ["start a", "start b", "stop a"]

    stays = nursery.spec("a", on_start=lambda kid: kid.stop(), restart="permanent")
    tree = nursery.grow([stays], intensity=3)
    with pytest.raises(SupervisorGaveUp):
        tree.wait()
    assert [e.incarnation for e in nursery.of(TreeGaveUp)] == [4]


@pytest.mark.parametrize(
    ("pause", "survives"), [(4.999, False), (5.0, False), (5.001, True)]
)
def test_failure_of_exactly_the_period_ago_counts(
    nursery: Nursery, clock: VirtualClock, pause: float, survives: bool
) -> None:
    """R42: more than the intensity within the period, its edge included (OTP)."""
    tree = nursery.grow("a", intensity=1, period=5)
    tree.ref("a").tell(boom)
    clock.advance(pause)
    tree.ref("a").tell(boom)
    clock.settle()

    assert tree.is_alive() is survives
    if survives:
        tree.shutdown()
    else:
        with pytest.raises(SupervisorGaveUp):
            tree.wait()


def test_group_restart_counts_once_however_many_it_restarts(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R39, R42: one entry for each failure, none for the siblings."""
    tree = nursery.grow("abcd", "one_for_all", intensity=2)
    for incarnation, name in ((2, "a"), (3, "c")):
        tree.ref(name).tell(boom)
        clock.settle()
        running = ", ".join(f"{each} running {incarnation}" for each in "abcd")
        assert states(tree) == running

    tree.ref("d").tell(boom)
    with pytest.raises(SupervisorGaveUp):
        tree.wait()


def test_sibling_that_fails_while_it_is_stopped_for_a_group_is_not_counted(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R39, R42: it was going anyway, and comes back with the others."""

    def trip(kid: Kid) -> None:
        kid.stop_token.wait_cancelled()
        raise ValueError("tripped")

    with ours.grow("abc", "one_for_all", intensity=1) as tree:
        tree.ref("c").tell(trip)
        clock.settle()
        tree.ref("a").tell(boom)
        clock.settle()

        assert states(tree) == "a running 2, b running 2, c running 2"
        assert ours.of(TreeGaveUp) == []


def test_restarts_by_hand_are_not_counted(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R42: with an intensity of 0, as often as one likes."""
    with nursery.grow("ab", intensity=0) as tree:
        for _ in range(10):
            tree.terminate_child("a")
            tree.restart_child("a")

        assert states(tree) == "a running 1, b running 1"


def test_left_down_child_does_not_use_the_limit_of_the_others(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R42, R46: it has a window of its own; theirs is whole when it is gone."""
    flapping = nursery.spec("a", give_up="leave_down")
    with nursery.grow([flapping, "b"], intensity=2) as tree:
        for _ in range(3):
            tree.ref("a").tell(boom)
            clock.settle()
        assert states(tree) == "a undefined 3, b running 1"
        for _ in range(2):
            tree.ref("b").tell(boom)
            clock.settle()
        assert states(tree) == "a undefined 3, b running 3"

        tree.restart_child("a").tell(boom)  # and it begins anew
        clock.settle()

        assert states(tree) == "a running 2, b running 3"
        assert len(nursery.of(ChildLeftDown)) == 1


def test_wait_raises_the_same_end_to_everybody_each_time(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R43: the second wait, the end of the block, another thread's."""
    causes: list[BaseException | None] = []

    def wait() -> None:
        try:
            tree.wait()
        except SupervisorGaveUp as error:
            causes.append(error.__cause__)

    def leave() -> None:
        with tree:
            clock.settle()

    tree = nursery.grow("a", intensity=0)
    others = [clock.thread(wait) for _ in range(2)]
    for other in others:
        other.start()
    tree.ref("a").tell(boom)
    for other in others:
        clock.join(other)
    wait()
    with pytest.raises(SupervisorGaveUp) as raised:
        leave()
    causes.append(raised.value.__cause__)

    assert len(causes) == 4
    assert len({id(cause) for cause in causes}) == 1
    assert isinstance(causes[0], ValueError)


def test_storm_of_crashes_restarts_each_once_and_leaks_no_thread(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R52: as many restarts as crashes."""
    names = [f"k{number}" for number in range(20)]
    with nursery.grow(names, intensity=20) as tree:
        before = threading.active_count()
        for name in names:
            tree.ref(name).tell(boom)
        clock.settle()

        assert states(tree) == ", ".join(f"{name} running 2" for name in names)
        assert len(nursery.of(RestartScheduled)) == 20
        for name in names:
            tree.ref(name).ask("alive")
        assert threading.active_count() == before


def test_storm_that_is_too_much_gives_up_once(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R42, R52: whoever crashed meanwhile too."""
    names = [f"k{number}" for number in range(10)]
    tree = nursery.grow(names, "one_for_all", intensity=2)
    for name in names:
        tree.ref(name).tell(boom)
    clock.settle()

    if tree.is_alive():  # siblings that a group restart stopped in time do not count
        assert len(nursery.of(RestartScheduled)) <= 2
        clock.advance(6)
        for _ in range(3):
            tree.ref("k0").tell(boom)
            clock.settle()
    with pytest.raises(SupervisorGaveUp):
        tree.wait()
    assert len(nursery.of(TreeGaveUp)) == 1


# -- one report for each incarnation


HOOKS = ["__init__", "on_start", "on_receive", "on_stop", "on_failure"]
ERRORS = [ValueError, Ignore, KeyboardInterrupt, SystemExit, GeneratorExit]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("error", ERRORS)
def test_whatever_a_hook_raises_is_one_end_of_one_incarnation(
    nursery: Nursery, clock: VirtualClock, hook: str, error: type[BaseException]
) -> None:
    """R36, R50, R69: a BaseException ends the tree and comes out of it; else it lives.

    In each of the hooks, in a child that was added and is then used and stopped.
    """
    raised = error()

    class Bad(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def hit(self, here: str) -> None:
            if here == hook:
                raise raised

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.hit("__init__")

        def on_start(self) -> None:
            self.hit("on_start")

        def on_stop(self) -> None:
            self.hit("on_stop")

        def on_failure(self, *exc_info: Any) -> None:
            self.hit("on_failure")

        def on_receive(self, message: Any) -> None:
            if message == "crash":
                raise LookupError("crash")
            self.hit("on_receive")

    fatal = not issubclass(error, Exception)
    tree = nursery.grow("ab", intensity=9)
    outcome: BaseException | None = None
    try:
        ref = tree.start_child(
            nursery.spec("bad", kid_class=Bad, restart="temporary"), timeout=100
        )
        ref.tell("crash" if hook == "on_failure" else "hello")
        clock.settle()
        ref.stop(block=False)
    except Exception as error_:  # noqa: BLE001  # a dead ref, a failed start
        outcome = error_
    clock.settle()

    downs = [event for event in nursery.of(ChildDown) if event.child == "bad"]
    assert len(downs) == 1
    if fatal:
        assert downs[0].kind == "fatal"
        with pytest.raises(error) as caught:
            tree.wait()
        assert caught.value is raised
        assert nursery.take() == "start a, start b, stop b, stop a"
    else:
        assert states(tree) == "a running 1, b running 1"
        tree.shutdown()
    if hook in {"__init__", "on_start"} and error is ValueError:
        assert outcome is not None
        assert outcome.__cause__ is raised


@pytest.mark.parametrize("on_crash", ["on_failure", "on_stop"])
def test_hooks_that_raise_change_nothing_else(
    nursery: Nursery,
    clock: VirtualClock,
    on_crash: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R50: on a crash and on a stop; the restart and the stop go on, the log has it."""

    class Clumsy(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def on_stop(self) -> None:
            super().on_stop()
            raise RuntimeError("clumsy stop")

        def on_failure(self, *exc_info: Any) -> None:
            super().on_failure(*exc_info)
            raise RuntimeError("clumsy failure")

    with nursery.grow([nursery.spec("a", kid_class=Clumsy, on_crash=on_crash)]) as tree:
        tree.ref("a").tell(boom)
        assert tree.ref("a").ask("alive") == "alive"
        clock.settle()
        [down] = nursery.of(ChildDown)
        assert down.kind == "failed"
        assert isinstance(down.error, ValueError)

    crash = "fail a" if on_crash == "on_failure" else "fail a, stop a"
    assert nursery.take() == f"start a, {crash}, start a, a got alive, stop a"
    assert "clumsy failure" in caplog.text
    assert "clumsy stop" in caplog.text
    assert nursery.of(ChildDown)[-1].kind == "shutdown"


# -- failing


def test_next_incarnation_starts_only_when_the_last_one_is_down(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R37, R38: a slow on_failure holds the restart up, for its shutdown time."""
    gate = Gate()

    class Careful(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def on_failure(self, *exc_info: Any) -> None:
            gate.pass_through()
            self.log.append(f"cleaned {self.id}")

    with nursery.grow([nursery.spec("a", kid_class=Careful, shutdown=9)]) as tree:
        tree.ref("a").tell(boom)
        gate.wait_arrived()
        clock.advance(8.9)
        assert nursery.take() == "start a"
        assert states(tree) == "a stopping 1"
        gate.open()
        clock.settle()

        assert nursery.take() == "cleaned a, start a"
        assert tree.zombies() == ()


def test_failing_child_without_a_limit_is_left_behind_by_the_trees_budget(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R37, R57, R63: also in its on_failure; nothing is started any more."""
    gate = Gate()

    class Stuck(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def on_failure(self, *exc_info: Any) -> None:
            gate.pass_through()

    tree = nursery.grow([nursery.spec("a", kid_class=Stuck, shutdown=None), "b"])
    tree.ref("a").tell(boom)
    gate.wait_arrived()
    clock.advance(10_000)
    assert states(tree) == "a stopping 1, b running 1"
    nursery.take()
    ending = clock.thread(tree.shutdown, args=[2.0])
    ending.start()
    clock.advance(1.9)
    assert tree.is_alive()
    clock.advance(0.1)

    assert not tree.is_alive()
    clock.join(ending)
    assert nursery.take() == "stop b"
    gate.open()


# -- groups


def test_temporary_child_fails_alone_and_goes_with_a_group(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R39, R40: its own crash restarts nobody; another's removes it."""
    temporary = [nursery.spec(each, restart="temporary") for each in "bd"]
    children = ["a", temporary[0], "c", temporary[1]]
    with nursery.grow(children, "one_for_all") as tree:
        tree.ref("d").tell(boom)
        clock.settle()
        assert states(tree) == "a running 1, b running 1, c running 1"
        nursery.take()

        tree.ref("a").tell(boom)
        clock.settle()

        assert states(tree) == "a running 2, c running 2"
        assert nursery.take() == "fail a, stop c, stop b, start a, start c"


def test_one_for_all_child_that_fails_in_the_group_start_is_the_new_trigger(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R41: those that had started again are stopped again, in reverse."""
    on_start = Starts(b={2})
    children = [nursery.spec(each, on_start) for each in "abc"]
    with nursery.grow(children, "one_for_all") as tree:
        nursery.take()
        tree.ref("c").tell(boom)
        clock.settle()

        assert nursery.take() == (
            "fail c, stop b, stop a, start a, start b, stop a, "
            "start a, start b, start c"
        )
        assert states(tree) == "a running 3, b running 3, c running 2"
        assert nursery.of(RestartScheduled)[-1].used == 2


def test_rest_for_one_child_that_fails_in_the_group_start_leaves_those_before_it(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R41: a is not touched at all, b is not restarted twice."""
    on_start = Starts(c={2, 3})
    children = [nursery.spec(each, on_start) for each in "abcd"]
    with nursery.grow(children, "rest_for_one") as tree:
        nursery.take()
        tree.ref("b").tell(boom)
        clock.settle()

        assert nursery.take() == (
            "fail b, stop d, stop c, start b, start c, start c, start c, start d"
        )
        assert states(tree) == "a running 1, b running 2, c running 4, d running 2"


@pytest.mark.parametrize("strategy", ["rest_for_one", "one_for_all"])
@pytest.mark.parametrize("hangs", [True, False])
def test_stop_while_a_child_fails_to_start_inside_a_group_restart(
    ours: Nursery, clock: VirtualClock, strategy: str, hangs: bool
) -> None:
    """R30, R32, R41, R63: the stop comes first, nothing starts after it."""
    gate = Gate()

    def on_start(kid: Kid) -> None:
        if kid.id == "b" and kid.incarnation > 1:
            gate.pass_through()
            raise OSError("no disk")

    children = [ours.spec(each, on_start) for each in "abc"]
    tree = ours.grow(children, strategy)
    tree.ref("a").tell(boom)
    gate.wait_arrived()
    ours.take()

    tree.stop_now("enough", timeout=1)
    if not hangs:
        gate.open()
    clock.advance(1)

    assert not tree.is_alive()
    assert tree.wait(0)
    assert ours.take() == "stop a"
    assert len(tree.zombies()) == hangs
    gate.open()


def test_group_waits_for_the_longest_delay_of_its_members(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R41, R44, R47: siblings stop at once; the delay of whoever failed last counts."""
    on_start = Starts(b={2})
    children = [
        nursery.spec("a", on_start, backoff=after(2)),
        nursery.spec("b", on_start, backoff=after(7)),
        nursery.spec("c", on_start),
    ]
    with nursery.grow(children, "one_for_all", intensity=9) as tree:
        nursery.take()
        tree.ref("a").tell(boom)
        clock.advance(1.999)
        assert nursery.take() == "fail a, stop c, stop b"
        clock.advance(0.001)
        assert nursery.take() == "start a, start b, stop a"
        clock.advance(6.999)
        assert nursery.take() == ""
        assert states(tree) == "a restarting 2, b restarting 2, c restarting 1"
        clock.advance(0.001)

        assert nursery.take() == "start a, start b, start c"


def test_two_members_of_a_rest_that_fail_apart_start_together(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R38, R47: the later crash of an earlier child takes the waiting one in."""
    children = [
        "a",
        ours.spec("b", backoff=after(3)),
        ours.spec("c", backoff=after(10)),
    ]
    with ours.grow(children, "rest_for_one", intensity=9) as tree:
        tree.ref("c").tell(boom)
        clock.advance(1)
        tree.ref("b").tell(boom)
        clock.advance(3)
        assert states(tree) == "a running 1, b restarting 1, c restarting 1"
        ours.take()
        clock.advance(5.999)
        assert ours.take() == ""
        clock.advance(0.001)

        assert ours.take() == "start b, start c"


def test_terminated_member_of_a_waiting_group_does_not_come_back_with_it(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R47, R48: the others start without it, also if it was the one that failed."""
    children = [nursery.spec(each, backoff=after(5)) for each in "abcd"]
    with nursery.grow(children, "one_for_all", intensity=9) as tree:
        tree.ref("b").tell(boom)
        clock.advance(1)
        tree.terminate_child("b")
        tree.terminate_child("d")
        tree.delete_child("d")
        nursery.take()
        clock.advance(4)

        assert nursery.take() == "start a, start c"
        assert states(tree) == "a running 2, b undefined 1, c running 2"
        tree.restart_child("b")
        tree.ref("a").tell(boom)
        clock.advance(5)
        assert states(tree) == "a running 3, b running 2, c running 3"


def test_ignore_in_a_group_restart_leaves_the_child_out(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R33, R39: no failure, no second try; the others go on."""
    starts = Starts()

    def on_start(kid: Any) -> None:
        starts(kid)
        if kid.id == "b" and starts.counts["b"] == 2:
            raise Ignore

    children = [nursery.spec(each, on_start, restart="permanent") for each in "abc"]
    with nursery.grow(children, "one_for_all", intensity=1) as tree:
        tree.ref("a").tell(boom)
        clock.settle()

        assert states(tree) == "a running 2, b undefined 2, c running 2"
        assert not tree.ref("b").is_alive()
        tree.restart_child("b")
        assert states(tree) == "a running 2, b running 1, c running 2"


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_optional_child_that_fails_at_first_is_tried_again_as_its_strategy_says(
    nursery: Nursery, clock: VirtualClock, strategy: str
) -> None:
    """R28, R30, R41: required=False: the tree starts, the failure is one restart."""
    on_start = Starts(b={1})
    children = [
        nursery.spec("a", on_start),
        nursery.spec("b", on_start, required=False),
        nursery.spec("c", on_start),
    ]
    with nursery.grow(children, strategy, intensity=1) as tree:
        clock.settle()

        a = 2 if strategy == "one_for_all" else 1
        assert states(tree).startswith(f"a running {a}, b running 2, c running")
        assert nursery.log.count("start b") == 2
        [scheduled] = nursery.of(RestartScheduled)
        assert (scheduled.child, scheduled.used) == ("b", 1)


# -- backoff


def test_failing_starts_prolong_the_delay_and_time_down_does_not_reset_it(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R30, R44, R45: only time that it ran counts, from a start that succeeded."""
    on_start = Starts(a={2, 3, 4, 5})
    backoff = Backoff(
        initial=1, maximum=16, jitter=0, first_immediate=False, reset_after=3
    )
    spec = nursery.spec("a", on_start, backoff=backoff)
    with nursery.grow([spec], intensity=99) as tree:
        tree.ref("a").tell(boom)
        clock.advance(1 + 2 + 4 + 8 + 16)
        assert states(tree) == "a running 6"
        clock.advance(2.9)
        tree.ref("a").tell(boom)
        clock.advance(16)
        clock.advance(3)
        tree.ref("a").tell(boom)
        clock.advance(1)
        assert states(tree) == "a running 8"

    delays = [event.delay for event in nursery.of(RestartScheduled)]
    assert delays == [1, 2, 4, 8, 16, 16, 1]


def test_backoffs_of_two_children_are_counted_apart(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R44: per child, also in one group."""
    backoff = Backoff(initial=1, maximum=8, jitter=0, first_immediate=False)
    children = [nursery.spec(each, backoff=backoff) for each in "ab"]
    with nursery.grow(children, "one_for_all", intensity=99) as tree:
        for name in "aabab":
            tree.ref(name).tell(boom)
            clock.advance(8)

    delays = [(e.child, e.delay) for e in nursery.of(RestartScheduled)]
    expected = [("a", 1), ("a", 1), ("b", 1), ("a", 1), ("b", 1)]
    assert [child for child, _ in delays] == [child for child, _ in expected]
    assert all(delay in {1, 2, 4} for _, delay in delays)
    assert delays[2] == ("b", 1)


def test_first_restart_is_immediate_and_the_next_are_not(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R44: first_immediate, then the formula from its beginning, up to the cap."""
    backoff = Backoff(initial=3, factor=10, maximum=40, jitter=0)
    with nursery.grow([nursery.spec("a", backoff=backoff)], intensity=99) as tree:
        for _ in range(5):
            tree.ref("a").tell(boom)
            clock.advance(0)
            clock.advance(40)

    delays = [event.delay for event in nursery.of(RestartScheduled)]
    assert delays[0] == 0
    assert delays[1] in {0, 3}  # it ran for 40 s, which is longer than it needs
    assert max(delays) <= 40


# -- deciders


def test_most_specific_class_of_a_decider_wins(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R49: by the error's own classes, not by the order of the mapping."""

    class Mild(KeyError):
        pass

    def fail(error: Exception) -> Any:
        def handler(kid: Any) -> None:
            raise error

        return handler

    decider: Any = {
        Exception: "stop",
        LookupError: "restart",
        KeyError: "resume",
        IndexError: "escalate",
    }
    tree = nursery.grow("abcd", decider=decider)
    tree.ref("a").tell("before")
    tree.ref("a").tell(fail(Mild("mild")))
    tree.ref("b").tell(fail(LookupError("lost")))
    tree.ref("c").tell(fail(OSError("gone")))
    clock.settle()

    assert states(tree) == "a running 1, b running 2, c undefined 1, d running 1"
    assert tree.ref("a").ask(lambda kid: kid.handled) == ["before"]
    [resumed] = nursery.of(ChildResumed)
    assert isinstance(resumed.error, Mild)
    escalated = IndexError("up")
    tree.ref("d").tell(fail(escalated))
    with pytest.raises(SupervisorGaveUp) as raised:
        tree.wait()
    assert raised.value.__cause__ is escalated


def test_escalation_is_decided_anew_at_each_level(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R42, R49: the one above judges the error that a nested one failed with."""

    def fail(kid: Any) -> None:
        raise KeyError("up")

    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [nursery.spec("x")]),
        {"decider": {KeyError: "escalate"}},
        id="inner",
    )
    tree = nursery.grow([inner, "b"], decider={KeyError: "stop"})
    below(tree, "inner").ref("x").tell(fail)
    clock.settle()

    assert states(tree) == "inner undefined 1, b running 1"
    assert tree.shutdown()


def test_decider_that_raises_counts_as_restart(
    nursery: Nursery, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """R27, R49: the supervisor is not hurt by it, and somebody is told."""
    asked: list[str] = []

    def decide(error: Exception) -> Any:
        asked.append(threading.current_thread().name)
        raise RuntimeError("cannot decide")

    with nursery.grow("ab", decider=decide) as tree:
        tree.ref("a").tell(boom)
        clock.settle()

        assert states(tree) == "a running 2, b running 1"
        assert asked == ["a"]
        assert "cannot decide" in caplog.text


# -- what is kept of the one before


def test_new_object_can_read_why_it_is_there(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R51: in its __init__ already; the reason keeps no dead object alive."""
    seen: list[tuple[int, str, str]] = []
    dead: list[Any] = []

    class Curious(Kid):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            reason: Exit | None = self.restart_reason
            kind = "" if reason is None else reason.kind
            text = "" if reason is None else reason.traceback
            seen.append((self.incarnation, kind, text))
            dead.append(weakref.ref(self))

    with ours.grow([ours.spec("a", kid_class=Curious)]) as tree:
        tree.ref("a").tell(boom)
        tree.ref("a").ask("alive")
        clock.settle()
        gc.collect()

        assert [(number, kind) for number, kind, _ in seen] == [(1, ""), (2, "failed")]
        assert 'raise ValueError("boom")' in seen[1][2]
        assert dead[0]() is None
        assert dead[1]() is not None


def test_starts_and_restarts_are_told_apart(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R91: the second start of one that was never up is its first."""
    on_start = Starts(a={1})
    with nursery.grow([nursery.spec("a", on_start, required=False)]):
        clock.settle()

    [started] = nursery.of(ChildStarted)
    assert started.incarnation == 2
