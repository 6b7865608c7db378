"""Where rules meet: two things happen to one child at the same time.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors import ActorDeadError, StopToken, WouldDeadlock
from actors.events import ChildDown, ChildFailing, TreeGaveUp
from actors.testing import Gate
from supervision import (
    Backoff,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    StartFailed,
    Supervisor,
    SupervisorGaveUp,
)
from tests.supervision.kids import Kid, Nursery, below, boom, states

if TYPE_CHECKING:
    from actors.testing import VirtualClock

pytestmark = pytest.mark.concurrent

SLOW = Backoff(initial=10, maximum=10, jitter=0, first_immediate=False)


class Lingering(Kid):
    """Passes the gate of its test in ``on_failure``."""

    gate: Any = None

    def on_failure(self, *exc_info: Any) -> None:
        super().on_failure(*exc_info)
        self.gate.pass_through()


def lingering(ours: Nursery, gate: Gate, name: str, **options: Any) -> ChildSpec[Any]:
    kind = type("Lingering", (Lingering,), {"gate": gate})
    return ours.spec(name, kid_class=kind, **options)


# -- a request and a restart


def test_start_child_under_way_goes_on_with_the_group_that_restarts(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R29, R39, R75: it has not failed itself; who asked for it gets it, later."""
    gate = Gate()
    got: list[Any] = []

    def hold(kid: Kid) -> None:
        if kid.incarnation == 1:
            gate.pass_through()

    def add() -> None:
        got.append(tree.start_child(ours.spec("c", hold)))

    with ours.grow("ab", "one_for_all") as tree:
        adding = clock.thread(add)
        adding.start()
        gate.wait_arrived()
        tree.ref("a").tell(boom)
        clock.settle()
        assert got == []
        gate.open()
        clock.join(adding)

        clock.settle()
        assert states(tree) == "a running 2, b running 2, c running 2"
        assert got == [tree.ref("c")]
        assert got[0].ask("alive") == "alive"


def test_start_child_that_fails_after_its_group_restarted_is_still_discarded(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R29, R39: its second start is the one that is asked for."""
    gate = Gate()
    failures: list[StartFailed] = []

    def on_start(kid: Kid) -> None:
        if kid.incarnation == 1:
            gate.pass_through()
        else:
            raise OSError("no disk")

    def add() -> None:
        try:
            tree.start_child(ours.spec("c", on_start))
        except StartFailed as error:
            failures.append(error)

    with ours.grow("ab", "one_for_all") as tree:
        adding = clock.thread(add)
        adding.start()
        gate.wait_arrived()
        tree.ref("a").tell(boom)
        clock.settle()
        gate.open()
        clock.join(adding)

        clock.settle()
        assert isinstance(failures[0].__cause__, OSError)
        assert states(tree) == "a running 2, b running 2"


def test_temporary_start_child_under_way_is_removed_by_a_group(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R40, R75: as any temporary sibling; who asked for it is told."""
    gate = Gate()
    failures: list[StartFailed] = []

    def add() -> None:
        spec = ours.spec("c", lambda kid: gate.pass_through(), restart="temporary")
        try:
            tree.start_child(spec)
        except StartFailed as error:
            failures.append(error)

    with ours.grow("ab", "one_for_all") as tree:
        adding = clock.thread(add)
        adding.start()
        gate.wait_arrived()
        tree.ref("a").tell(boom)
        clock.settle()
        gate.open()
        clock.join(adding)
        clock.settle()

        assert len(failures) == 1
        assert states(tree) == "a running 2, b running 2"


def test_terminate_of_a_child_in_its_on_failure_keeps_it_down(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R48, R62, R75: its restart was not even scheduled; the failure is still told."""
    gate = Gate()
    with ours.grow([lingering(ours, gate, "a", shutdown=60), "b"]) as tree:
        tree.ref("a").tell(boom)
        gate.wait_arrived()
        ending = clock.thread(tree.terminate_child, args=["a"])
        ending.start()
        clock.settle()
        gate.open()
        clock.join(ending)
        clock.advance(100)

        assert states(tree) == "a undefined 1, b running 1"
        assert [event.kind for event in ours.of(ChildDown)] == ["failed"]


def test_on_start_may_start_a_sibling(ours: Nursery, clock: VirtualClock) -> None:
    """R21, R75: while the tree itself still starts."""

    def add(kid: Kid) -> None:
        if kid.incarnation == 1:
            root: Any = pykka.ActorRegistry.get_by_class(Supervisor)[0]
            root.start_child(ours.spec("added"))

    with ours.grow([ours.spec("a", add), "b"]) as tree:
        assert sorted(states(tree).split(", ")) == [
            "a running 1",
            "added running 1",
            "b running 1",
        ]


def test_two_that_terminate_each_other_are_bounded_by_their_limits(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R56, R58, R64: nobody looks ahead; each is left behind after its time."""
    gate = Gate()

    def end(other: str) -> Any:
        def handler(kid: Kid) -> None:
            gate.pass_through()
            tree.terminate_child(other)

        return handler

    with ours.grow([ours.spec(n, shutdown=3) for n in "ab"]) as tree:
        tree.ref("a").tell(end("b"))
        tree.ref("b").tell(end("a"))
        gate.wait_arrived(count=2)
        gate.open()
        clock.advance(3)
        clock.settle()

        assert states(tree) == "a undefined 1, b undefined 1"
        assert tree.zombies() == ()


# -- a directive and a group


@pytest.mark.parametrize("directive", ["stop", "escalate"])
def test_directive_for_a_failure_holds_although_a_group_restart_came_between(
    ours: Nursery, clock: VirtualClock, directive: str
) -> None:
    """R39, R49: a is in its on_failure when b has the whole group restart."""

    def lose(kid: Kid) -> None:
        raise LookupError("lost")

    gate = Gate()
    children = [lingering(ours, gate, "a", shutdown=60), "b"]
    decider: Any = {LookupError: directive}
    tree = ours.grow(children, "one_for_all", decider=decider)
    tree.ref("a").tell(lose)
    gate.wait_arrived()
    tree.ref("b").tell(boom)
    clock.settle()
    gate.open()
    clock.settle()

    if directive == "stop":
        assert states(tree) == "a undefined 1, b running 2"
        tree.shutdown()
    else:
        with pytest.raises(SupervisorGaveUp) as raised:
            tree.wait()
        assert isinstance(raised.value.__cause__, LookupError)
        assert ours.of(TreeGaveUp) == []


# -- endings of a nested supervisor, through its own ref


@pytest.mark.parametrize("ending", ["shutdown", "stop"])
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_ending_of_a_nested_tree_returns_when_it_is_down(
    nursery: Nursery, clock: VirtualClock, ending: str, restart: str
) -> None:
    """R35, R62, R65: one that was drained through its ref is as any child that was;
    a shutdown is administrative: its own supervisor does not build it again.
    """
    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [nursery.spec("x"), nursery.spec("y")]),
        id="inner",
        restart=restart,
    )
    with nursery.grow(["a", inner]) as tree:
        nursery.take()
        assert getattr(below(tree, "inner"), ending)() is True

        assert nursery.log[:2] == ["stop y", "stop x"]
        clock.settle()
        expected = "a running 1, inner undefined 1"
        if restart == "permanent" and ending == "stop":
            expected = "a running 1, inner running 2"
        assert states(tree) == ("a running 1" if restart == "temporary" else expected)


@pytest.mark.parametrize("obeys", [False, True])
def test_shutdown_of_a_nested_tree_has_its_own_budget(
    ours: Nursery, clock: VirtualClock, obeys: bool
) -> None:
    """R57, R62: its children's limits are cut, the rest of the tree goes on."""
    gate = Gate()
    answers: list[bool] = []
    inner = ChildSpec(
        Supervisor, ("one_for_one", [ours.spec("x", shutdown=60)]), id="inner"
    )
    with ours.grow(["a", inner]) as tree:
        nested = below(tree, "inner")
        nested.ref("x").tell(lambda kid: gate.pass_through())
        gate.wait_arrived()
        ending = clock.thread(lambda: answers.append(nested.shutdown(timeout=3)))
        ending.start()
        clock.advance(2.9)
        assert nested.is_alive()
        if obeys:
            gate.open()
        clock.advance(0.1)
        clock.join(ending)

        assert answers == [True]
        assert states(tree) == "a running 1, inner undefined 1"
        assert len(tree.zombies()) == (not obeys)
        assert nested.shutdown() is True
        gate.open()


def test_shutdown_of_a_nested_tree_in_its_backoff_calls_that_off(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R48, R63: it does not wait for a restart, only to stop it again."""
    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [nursery.spec("x")]),
        {"intensity": 0},
        id="inner",
        backoff=SLOW,
    )
    with nursery.grow(["a", inner]) as tree:
        below(tree, "inner").ref("x").tell(boom)
        clock.settle()
        assert states(tree) == "a running 1, inner restarting 1"
        nursery.take()

        assert below(tree, "inner").shutdown() is True

        clock.advance(100)
        assert states(tree) == "a running 1, inner undefined 1"
        assert nursery.take() == ""


# -- fatal errors of code that is no hook


@pytest.mark.parametrize("where", ["kwargs", "after_start", "decider", "start decider"])
def test_fatal_error_of_any_code_of_the_host_ends_the_tree(
    nursery: Nursery, clock: VirtualClock, where: str
) -> None:
    """R36, R69: one down for each incarnation, and the same object out of the wait."""
    interrupt = KeyboardInterrupt(where)
    armed: list[bool] = []

    def hit(*_args: Any) -> Any:
        if armed:
            raise interrupt

    def kwargs(siblings: Any) -> Any:
        if where == "kwargs":
            hit()
        return {"log": nursery.log, "name": "a", "on_start": on_start}

    def on_start(kid: Any) -> None:
        if armed and where == "start decider":
            raise OSError("no disk")

    def decide(error: Exception) -> Any:
        if where == "decider" or isinstance(error, OSError):
            hit()

    spec = ChildSpec(
        nursery.kid_class,
        kwargs=kwargs,
        id="a",
        after_start=hit if where == "after_start" else None,
    )
    tree = nursery.grow(["b", spec, "c"], decider=decide)
    armed.append(True)
    tree.ref("a").tell(boom)

    with pytest.raises(KeyboardInterrupt) as raised:
        tree.wait()
    assert raised.value is interrupt
    downs = [(e.child, e.incarnation) for e in nursery.of(ChildDown)]
    assert len(downs) == len(set(downs))


def test_fatal_error_goes_through_a_sibling_that_asked(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R6, R69: the asker is hit by it too; the tree ends once, with the same object."""
    exit_ = SystemExit(5)

    def leave(kid: Any) -> None:
        raise exit_

    tree = nursery.grow("abc")
    b = tree.ref("b")
    tree.ref("a").tell(lambda kid: b.ask(leave))

    with pytest.raises(SystemExit) as raised:
        tree.wait()
    assert raised.value is exit_
    assert not any(tree.ref(name).is_alive() for name in "abc")
    stops = [line for line in nursery.log if line.startswith("stop")]
    assert sorted(stops) == ["stop a", "stop b", "stop c"]


# -- listeners


def test_listener_may_order_and_not_wait(ours: Nursery, clock: VirtualClock) -> None:
    """R21a, R64: it is on the supervisor's own thread."""
    refused: list[str] = []

    def listen(event: Any) -> None:
        if not isinstance(event, ChildFailing):
            return
        for wait in (
            tree.wait,
            tree.stop,
            tree.shutdown,
            lambda: tree.start_child(ours.spec("more")),
            lambda: tree.terminate_child("b"),
        ):
            try:
                wait()
            except WouldDeadlock:
                refused.append("refused")
        tree.stop(block=False)

    specs = [ours.spec(name) for name in "ab"]
    tree = Supervisor.start("one_for_one", specs, on_event=listen)
    tree.ref("a").tell(boom)

    assert tree.wait()
    assert refused == ["refused"] * 5


# -- no time, and many


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize("ending", ["shutdown", "stop"])
def test_ending_without_time_lets_idle_children_run_their_hooks(
    ours: Nursery, clock: VirtualClock, ending: str, busy: bool
) -> None:
    """R56, R57: who is busy is left behind at once; no virtual time passes."""
    gate = Gate()
    tree = ours.grow("abc")
    if busy:
        tree.ref("b").tell(lambda kid: gate.pass_through())
        gate.wait_arrived()
    ours.take()

    getattr(tree, ending)(timeout=0)

    assert clock.monotonic() == 0
    assert tree.wait()
    assert [zombie.child for zombie in tree.zombies()] == ["b"] * busy
    expected = "stop c, stop a" if busy else "stop c, stop b, stop a"
    assert ours.take() == expected
    gate.open()


def test_messages_of_last_hooks_are_accounted_for(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R7, R10, R68: what on_failure sends to itself comes to the next object; what
    on_stop sends is undelivered.
    """

    class Talking(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def on_stop(self) -> None:
            self.actor_ref.tell("from on_stop")

        def on_failure(self, *exc_info: Any) -> None:
            self.actor_ref.tell("from on_failure")

    tree = nursery.grow([nursery.spec("a", kid_class=Talking)])
    tree.ref("a").tell(boom)
    tree.ref("a").ask("x")
    clock.settle()
    tree.shutdown()

    assert "a got from on_failure" in nursery.log
    assert [r.message for r in tree.undelivered()] == [boom, "from on_stop"]


def test_supervisor_that_fails_in_the_middle_of_a_group_restart_leaves_no_orphan(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R54: its children stop in order, those that wait for a start never start."""
    gate = Gate()

    def hold(kid: Kid) -> None:
        if kid.incarnation == 2:
            gate.pass_through()

    class Fragile(Supervisor):
        def on_control(self, message: Any) -> Any:
            if message == "fail":
                raise RuntimeError("bug")
            return super().on_control(message)

    inner = ChildSpec(
        Fragile,
        ("one_for_all", [ours.spec("x"), ours.spec("y", hold), ours.spec("z")]),
        id="inner",
        restart="temporary",
    )
    with ours.grow(["a", inner]) as tree:
        refs = [below(tree, "inner").ref(name) for name in "xyz"]
        refs[0].tell(boom)
        gate.wait_arrived()
        ours.take()
        below(tree, "inner").tell_control("fail")
        clock.settle()
        gate.open()
        clock.settle()

        assert states(tree) == "a running 1"
        assert ours.take() == "stop y, stop x"
        for ref in refs:
            with pytest.raises(ActorDeadError):
                ref.tell("x")
    assert len(ours.of(ChildDown)) == len(
        {(e.supervisor, e.child, e.incarnation) for e in ours.of(ChildDown)}
    )


def test_stop_now_of_a_nested_tree_is_for_good_in_each_state(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R48, R62, R63: also in its backoff, from within, and again."""
    specs = [
        ChildSpec(
            Supervisor,
            ("one_for_one", [nursery.spec(f"{name} x")]),
            {"intensity": 0},
            id=name,
            restart="permanent",
            backoff=SLOW,
        )
        for name in ("waits", "runs", "within")
    ]
    with nursery.grow(specs) as tree:
        nested = {spec.id: below(tree, spec.id) for spec in specs}
        nested["waits"].ref("waits x").tell(boom)
        clock.settle()
        nested["within"].ref("within x").ask(
            lambda kid: nested["within"].stop_now("from within")
        )
        for name in ("waits", "runs", "runs"):
            nested[name].stop_now("enough")
        clock.advance(100)

        assert [child.state for child in tree.which_children()] == ["undefined"] * 3
        assert tree.zombies() == ()


class Unspeakable(Exception):
    """Can neither be printed nor shown."""

    def __str__(self) -> str:
        raise RuntimeError("not even its name")

    __repr__ = __str__


def test_error_that_cannot_be_shown_is_an_error_like_others(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R28, R29, R36, R43: in a start, in an added child, in the last failure."""

    def fail(kid: Any) -> None:
        raise Unspeakable

    with pytest.raises(StartFailed, match="Unspeakable") as unstarted:
        nursery.grow(["a", nursery.spec("b", fail)])
    assert isinstance(unstarted.value.__cause__, Unspeakable)

    tree = nursery.grow("ab", intensity=1)
    with pytest.raises(StartFailed, match="Unspeakable"):
        tree.start_child(nursery.spec("c", fail))
    tree.ref("a").tell(fail)
    clock.settle()
    assert states(tree) == "a running 2, b running 1"
    tree.ref("a").tell(fail)
    with pytest.raises(SupervisorGaveUp, match="Unspeakable") as gave_up:
        tree.wait()
    assert isinstance(gave_up.value.__cause__, Unspeakable)


def test_requests_to_a_nested_tree_that_goes_down_are_answered(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R62, R63, R75: those that it served, with its end; later ones, by the next."""
    gate = Gate()
    answers: list[Any] = []
    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [ours.spec("x")]),
        {"intensity": 0},
        id="inner",
        backoff=SLOW,
    )

    def add(spec: ChildSpec[Any]) -> None:
        try:
            answers.append(below(tree, "inner").start_child(spec))
        except (StartFailed, ActorDeadError) as error:
            answers.append(error)

    with ours.grow(["a", inner]) as tree:
        hangs = ours.spec("n", lambda kid: gate.pass_through(), shutdown=2)
        first = clock.thread(add, args=[hangs])
        first.start()
        gate.wait_arrived()
        below(tree, "inner").ref("x").tell(boom)
        clock.advance(2)
        assert clock.join(first, 0)
        assert isinstance(answers[0], StartFailed | ActorDeadError)

        second = clock.thread(add, args=[ours.spec("m")])
        second.start()
        clock.advance(9.9)
        assert len(answers) == 1
        clock.advance(0.1)
        assert clock.join(second, 0)
        assert answers[1].ask("alive") == "alive"
        clock.settle()
        assert states(below(tree, "inner")) == "x running 1, m running 1"
        gate.open()


def test_administration_in_a_storm_of_group_restarts_ends_in_peace(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R21, R48, R52, R75: whatever came first, each child is up or was terminated."""

    def administer() -> None:
        for _ in range(3):
            with contextlib.suppress(ChildRunning, ChildRestarting, StartFailed):
                tree.terminate_child("b")
                tree.restart_child("b")

    def crash() -> None:
        for name in "aabca":
            with contextlib.suppress(ActorDeadError):
                tree.ref(name).tell(boom)

    with nursery.grow("abc", "rest_for_one", intensity=50) as tree:
        threads = [clock.thread(each) for each in (administer, crash) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            clock.join(thread)
        clock.settle()

        found = {child.id: child.state for child in tree.which_children()}
        assert found["a"] == found["c"] == "running"
        if found["b"] != "running":
            assert found["b"] == "undefined"
            tree.restart_child("b")
        for name in "abc":
            assert tree.ref(name).ask("alive") == "alive"


def test_token_of_an_earlier_incarnation_or_a_host_stops_nobody_else(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R82, R88: an old token is of the past; a signalled parent is shown, no stop."""
    host = StopToken(name="host")
    with ours.grow("ab", token=host) as tree:
        old: Any = tree.ref("a").ask(lambda kid: kid.stop_token)
        tree.ref("a").tell(boom)
        tree.ref("a").ask("alive")
        old.cancel("late")
        assert not tree.ref("a").ask(lambda kid: kid.stop_token.cancelled)
        assert not tree.stop_token.cancelled

        host.cancel("the host has enough")
        assert tree.ref("a").ask(lambda kid: kid.stop_token.cancelled)
        tree.ref("b").tell(boom)
        assert tree.ref("b").ask(lambda kid: kid.stop_token.reason) == (
            "the host has enough"
        )
        clock.settle()
        assert states(tree) == "a running 2, b running 2"


# -- a request and the end


def test_start_child_during_which_its_supervisor_ends_says_so(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R29, R32: it is not the child that failed."""
    gate = Gate()
    got: list[Any] = []

    def add() -> None:
        with pytest.raises(ActorDeadError, match="root ended before 'b' ran"):
            tree.start_child(ours.spec("b", lambda kid: gate.pass_through()))
        got.append("told")

    tree = ours.grow("a")
    adding = clock.thread(add)
    adding.start()
    gate.wait_arrived()
    tree.stop(block=False)
    clock.settle()
    gate.open()
    clock.join(adding)

    assert got == ["told"]
    assert tree.wait()


def test_refused_shutdown_of_a_nested_tree_leaves_it_its_time(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R57, R64: whoever is refused has changed nothing."""
    refused: list[WouldDeadlock] = []
    gate = Gate()
    inner = ChildSpec(Supervisor, ("one_for_one", [ours.spec("x")]), id="inner")

    def listen(event: Any) -> None:
        if isinstance(event, ChildFailing):
            try:
                below(tree, "inner").shutdown(timeout=1)
            except WouldDeadlock as error:
                refused.append(error)

    specs = [ours.spec("a"), inner]
    tree = Supervisor.start("one_for_one", specs, on_event=listen)
    tree.ref("a").tell(boom)
    clock.settle()
    assert len(refused) == 1
    clock.advance(60)
    below(tree, "inner").ref("x").tell(lambda kid: gate.pass_through())
    gate.wait_arrived()

    below(tree, "inner").order_termination("x")
    clock.settle()

    assert tree.zombies() == ()
    gate.open()
    tree.shutdown()
