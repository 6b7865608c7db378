"""Starts: their order, their failures, their limits, what becomes of the rest.

Rules R22 to R34, and R69 to R71: what a ``BaseException`` does.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors import Actor, ActorDeadError, Exit, Incarnation
from actors.events import ChildAbandoned, ChildDown, RestartScheduled, TreeGaveUp
from actors.testing import Gate
from supervision import (
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    StartFailed,
    Supervisor,
    SupervisorGaveUp,
    tree_exit,
)
from tests.supervision.kids import Kid, Nursery, below, boom, states

if TYPE_CHECKING:
    from actors.testing import VirtualClock

pytestmark = pytest.mark.concurrent


def fail(kid: Any) -> None:
    raise OSError("no disk")


# -- order


def test_next_child_starts_only_when_all_of_a_nested_tree_runs(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R26, R53: a supervisor has started when the last of its children has."""
    gate = Gate()
    inner = ChildSpec(
        Supervisor,
        (
            "one_for_one",
            [ours.spec("x"), ours.spec("y", lambda k: gate.pass_through())],
        ),
        id="inner",
    )
    trees: list[Any] = []
    starter = clock.thread(lambda: trees.append(ours.grow(["a", inner, "b"])))
    starter.start()
    gate.wait_arrived()
    clock.settle()
    assert ours.take() == "start a, start x, start y"
    gate.open()
    clock.join(starter)

    assert ours.take() == "start b"
    trees[0].shutdown()


def test_restarted_nested_tree_is_up_when_all_of_it_is(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R26, R39, R53: in a group restart its sibling waits for it, too."""
    gate = Gate()
    starts: list[Any] = []

    def second_hangs(kid: Kid) -> None:
        starts.append(kid)
        if len(starts) == 2:
            gate.pass_through()

    inner = ChildSpec(
        Supervisor, ("one_for_one", [ours.spec("x", second_hangs)]), id="inner"
    )
    with ours.grow(["a", inner, "b"], "one_for_all") as tree:
        ours.take()
        tree.ref("a").tell(boom)
        gate.wait_arrived()
        clock.settle()

        assert ours.take() == "fail a, stop b, stop x, start a, start x"
        assert states(tree) == "a running 2, inner starting 2, b restarting 1"
        gate.open()
        clock.settle()
        assert ours.take() == "start b"


# -- failures


def test_unwinding_survives_hooks_that_raise(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R28, R50: all of them stop, and the first cause is the one that is told."""

    class Clumsy(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def on_stop(self) -> None:
            super().on_stop()
            raise RuntimeError("clumsy")

    children = [
        nursery.spec("a", kid_class=Clumsy),
        nursery.spec("b", kid_class=Clumsy),
        nursery.spec("c", fail),
    ]
    with pytest.raises(StartFailed) as raised:
        nursery.grow(children)

    assert isinstance(raised.value.__cause__, OSError)
    assert nursery.take() == "start a, start b, start c, stop b, stop a"


def test_child_that_hangs_in_its_stop_does_not_hold_the_unwinding_up(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R28, R56, R58: it is left behind after its time, and the starter is told."""
    gate = Gate()

    class Hanging(Kid):
        def on_stop(self) -> None:
            gate.pass_through()

    raised: list[StartFailed] = []

    def start() -> None:
        hangs = ours.spec("b", kid_class=Hanging, shutdown=3)
        try:
            ours.grow(["a", hangs, ours.spec("c", fail)])
        except StartFailed as error:
            raised.append(error)

    starter = clock.thread(start)
    starter.start()
    clock.advance(2.9)
    assert raised == []
    clock.advance(0.1)
    clock.join(starter)

    assert raised[0].child_id == "c"
    assert ours.take() == "start a, start b, start c, stop a"
    gate.open()


def test_nested_start_failure_unwinds_from_the_inside(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R28: inner ones first, in reverse; then those around it."""
    deep = ChildSpec(
        Supervisor,
        ("one_for_one", [nursery.spec("d"), nursery.spec("e", fail)]),
        id="deep",
    )
    middle = ChildSpec(
        Supervisor, ("one_for_all", [nursery.spec("b"), deep]), id="middle"
    )
    with pytest.raises(StartFailed) as raised:
        nursery.grow(["a", middle, "f"])

    assert nursery.take() == (
        "start a, start b, start d, start e, stop d, stop b, stop a"
    )
    chain: list[str] = []
    error: BaseException | None = raised.value
    while isinstance(error, StartFailed):
        chain.append(error.child_id)
        error = error.__cause__
    assert chain == ["middle", "deep", "e"]
    assert isinstance(error, OSError)


def test_parallel_start_that_fails_stops_also_those_that_still_start(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R28, R32: start="parallel": nobody is left behind in its on_start."""
    gate = Gate()

    def patient(kid: Kid) -> None:
        gate.open()
        kid.stop_token.wait_cancelled()

    def impatient(kid: Kid) -> None:
        gate.pass_through()
        raise OSError("no disk")

    children = [ours.spec("a", patient), ours.spec("b", impatient)]
    with pytest.raises(StartFailed, match="'b'"):
        ours.grow(children, start="parallel")

    assert pykka.ActorRegistry.get_all() == []
    assert ours.of(ChildAbandoned) == []


@pytest.mark.parametrize("dynamic", [False, True])
def test_start_child_that_does_not_start_in_time_is_as_if_it_had_never_been(
    nursery: Nursery, clock: VirtualClock, dynamic: bool
) -> None:
    """R29, R31, R59: its thread is left behind and harmless; its name is free."""
    gate = Gate()
    failures: list[StartFailed] = []

    def start() -> None:
        spec = nursery.spec("a", lambda kid: gate.pass_through(), start_timeout=4)
        try:
            tree.start_child(spec)
        except StartFailed as error:
            failures.append(error)

    tree = DynamicSupervisor.start() if dynamic else nursery.grow("b")
    with tree:
        starter = clock.thread(start)
        starter.start()
        gate.wait_arrived()
        clock.advance(3.9)
        assert failures == []
        clock.advance(0.1)
        clock.join(starter)

        assert isinstance(failures[0].__cause__, TimeoutError)
        assert "a" not in [child.id for child in tree.which_children()]
        new = tree.start_child(nursery.spec("a"))
        gate.open()
        clock.settle()
        assert new.ask("alive") == "alive"
        assert tree.zombies() == ()


def test_failing_start_child_touches_no_sibling_whatever_the_strategy(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R29, R42: it is not a restart, and counts as none."""
    with nursery.grow("ab", "one_for_all", intensity=0) as tree:
        for _ in range(3):
            with pytest.raises(StartFailed):
                tree.start_child(nursery.spec("c", fail))

        assert states(tree) == "a running 1, b running 1"


def test_restart_that_times_out_goes_on_with_its_backoff(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R30, R31, R44: each hung start is one more failure, and one more thread left."""
    gate = Gate()
    starts: list[float] = []

    def hang_later(kid: Any) -> None:
        starts.append(clock.monotonic())
        if len(starts) in {2, 3}:
            gate.pass_through()

    backoff = Backoff(initial=1, maximum=8, jitter=0, first_immediate=False)
    spec = nursery.spec("a", hang_later, start_timeout=5, backoff=backoff)
    with nursery.grow([spec], intensity=99) as tree:
        tree.ref("a").tell(boom)
        clock.advance(1 + 5 + 2 + 5 + 4)

        assert starts == [0, 1, 8, 17]
        assert states(tree) == "a running 4"
        assert [zombie.number for zombie in tree.zombies()] == [2, 3]
        gate.open()
        clock.settle()
        assert tree.zombies() == ()
        assert states(tree) == "a running 4"


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
@pytest.mark.parametrize("what", ["start_child", "restart_child"])
def test_no_thread_for_a_child_is_told_to_who_asked(
    ours: Nursery,
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    error: type[Exception],
) -> None:
    """R29, R34: the supervisor and the others go on."""

    def refuse(*_args: Any, **_options: Any) -> None:
        raise error("can't start new thread")

    with ours.grow("ab") as tree:
        tree.terminate_child("b")
        with monkeypatch.context() as patch:
            patch.setattr(Incarnation, "start", refuse)
            with pytest.raises(StartFailed, match="can't start new thread"):
                if what == "start_child":
                    tree.start_child(ours.spec("c"))
                else:
                    tree.restart_child("b")

        assert states(tree) == "a running 1, b undefined 1" or what == "restart_child"
        assert tree.ref("a").ask("alive") == "alive"
        assert tree.restart_child("b").ask("alive") == "alive"


def test_no_memory_for_a_thread_is_one_more_failed_restart(
    ours: Nursery, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R30, R34."""
    whole = Incarnation.start
    refused: list[str] = []

    def refuse_once(run: Incarnation, name: str, *, daemon: bool) -> None:
        if not refused:
            refused.append(name)
            run.ended = True
            raise MemoryError
        whole(run, name, daemon=daemon)

    with ours.grow("a") as tree:
        monkeypatch.setattr(Incarnation, "start", refuse_once)
        tree.ref("a").tell(boom)
        clock.settle()

        assert tree.ref("a").ask("alive") == "alive"
        assert [event.used for event in ours.of(RestartScheduled)] == [1, 2]


def test_tree_without_a_thread_for_its_root_leaves_nothing(
    ours: Nursery, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R28, R34."""

    def refuse(run: Incarnation, name: str, *, daemon: bool) -> None:
        run.ended = True
        raise MemoryError("no room")

    monkeypatch.setattr(Incarnation, "start", refuse)
    with pytest.raises(StartFailed, match="no room"):
        ours.grow("a")

    assert not pykka.ActorRegistry.get_all()
    assert not tree_exit._live


@pytest.mark.parametrize("begun", [False, True])
def test_start_that_is_interrupted_at_once_leaves_nothing(
    ours: Nursery,
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    begun: bool,
) -> None:
    """R61, R63: Ctrl-C may come before or after the root's thread has begun."""
    whole = Incarnation.start

    def interrupted(run: Incarnation, name: str, *, daemon: bool) -> None:
        if begun:
            whole(run, name, daemon=daemon)
            clock.settle()
        raise KeyboardInterrupt

    monkeypatch.setattr(Incarnation, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ours.grow([])
    clock.settle()

    assert not pykka.ActorRegistry.get_all()
    assert not tree_exit._live


def test_supervisor_whose_on_start_does_not_call_ours_is_refused(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R28: nobody would ever be told that its children do not start."""

    class Forgetful(Supervisor):
        def on_start(self) -> None:
            pass

    with pytest.raises(StartFailed) as raised:
        Forgetful.start("one_for_one", [ours.spec("a")])
    assert "super().on_start()" in str(raised.value.__cause__)

    nested = ChildSpec(Forgetful, ("one_for_one", [ours.spec("a")]))
    with pytest.raises(StartFailed, match=r"super\(\).on_start\(\)"):
        ours.grow([nested])
    assert ours.log == []


def test_hook_after_the_start_of_a_nested_supervisor_is_called(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R26."""
    seen: list[Any] = []
    inner = ChildSpec(Supervisor, ("one_for_one", []), after_start=seen.append)

    with ours.grow([inner]):
        assert [type(each) for each in seen] == [Supervisor]


@pytest.mark.parametrize("truth", [lambda self: False, lambda self: 1 / 0])
def test_error_without_truth_is_told_like_any_other(
    ours: Nursery, clock: VirtualClock, truth: Any
) -> None:
    """R28, R29, R69: a class with a length of 0 counts as false."""
    untrue = type("Untrue", (Exception,), {"__bool__": truth})
    fatal = type("Fatal", (BaseException,), {"__bool__": truth})

    def raise_untrue(kid: Any) -> None:
        raise untrue("no disk")

    def raise_fatal(kid: Any) -> None:
        raise fatal("the end")

    with pytest.raises(StartFailed) as raised:
        ours.grow([ours.spec("a", raise_untrue)])
    assert type(raised.value.__cause__) is untrue
    with pytest.raises(fatal):
        ours.grow([ours.spec("a", raise_fatal)])

    with ours.grow("a") as tree:
        with pytest.raises(StartFailed) as raised:
            tree.start_child(ours.spec("b", raise_untrue))
        assert type(raised.value.__cause__) is untrue
        assert states(tree) == "a running 1"


def test_start_failure_deep_down_is_told_in_a_few_words(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R28: each level that quoted the one below would double the quotes."""
    spec = ours.spec("a", fail)
    for depth in range(12, 0, -1):
        spec = ChildSpec(Supervisor, ("one_for_one", [spec]), id=str(depth))

    with pytest.raises(StartFailed) as raised:
        ours.grow([spec])

    assert str(raised.value) == (
        "child '1' of root did not start: child 'a' of "
        "root/1/2/3/4/5/6/7/8/9/10/11/12 did not start: OSError('no disk')"
    )
    assert raised.value.child_id == "1"


def test_stop_that_a_child_asks_for_in_init_is_honoured_once_it_runs(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R16, R27, R64: behind what it had sent to itself before."""

    class Brief(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.actor_ref.tell("first")
            self.stop()
            self.actor_ref.tell("late")

    with nursery.grow([nursery.spec("a", kid_class=Brief), "b"]) as tree:
        clock.settle()

        lines = [line for line in nursery.log if line != "start b"]
        assert lines == ["start a", "a got first", "stop a"]
        assert states(tree) == "a undefined 1, b running 1"
        assert [r.message for r in tree.undelivered()] == ["late"]


def test_kwargs_and_hooks_run_on_no_supervisors_thread(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R27: nor does after_start, nor a decider; the root's thread is never theirs."""
    threads: set[str] = set()

    def note(*_args: Any) -> Any:
        threads.add(threading.current_thread().name)

    class Noting(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def on_start(self) -> None:
            note()

        def on_stop(self) -> None:
            note()

        def on_failure(self, *exc_info: Any) -> None:
            note()

    def kwargs(siblings: Any) -> Any:
        note()
        return {"log": nursery.log, "name": "a"}

    spec = ChildSpec(Noting, kwargs=kwargs, id="a", after_start=note)
    with nursery.grow([spec], decider=note) as tree:
        tree.ref("a").tell(boom)
        tree.ref("a").ask("alive")

    assert threads == {"a", "a#2"}


# -- BaseException


def leave(kid: Any) -> None:
    raise SystemExit(3)


def test_fatal_error_leaves_the_block_and_each_wait_as_the_same_object(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R69: also when the block itself goes on for a while."""
    interrupt = KeyboardInterrupt("mine")
    waited: list[BaseException] = []

    def hit(kid: Any) -> None:
        raise interrupt

    def wait() -> None:
        try:
            tree.wait()
        except KeyboardInterrupt as error:
            waited.append(error)

    def body() -> None:
        with tree:
            tree.ref("b").tell(hit)
            clock.settle()

    tree = nursery.grow("ab")
    waiter = clock.thread(wait)
    waiter.start()
    with pytest.raises(KeyboardInterrupt) as raised:
        body()
    clock.join(waiter)
    wait()

    assert raised.value is interrupt
    assert [error is interrupt for error in waited] == [True, True]


def test_fatal_error_during_a_stop_is_not_lost(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R67, R69: a shutdown under way still ends in order, and the wait raises it."""

    class Bad(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def on_stop(self) -> None:
            super().on_stop()
            raise SystemExit(9)

    tree = nursery.grow(["a", nursery.spec("b", kid_class=Bad), "c"])
    nursery.take()

    assert tree.shutdown() is True

    assert nursery.take() == "stop c, stop b, stop a"
    with pytest.raises(SystemExit, match="9"):
        tree.wait()


def test_two_fatal_errors_end_one_tree_once(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R69: one of them is raised, both are told of, nobody hangs."""
    errors = [SystemExit(1), SystemExit(2)]
    gate = Gate()

    def hit(error: BaseException) -> Any:
        def handler(kid: Any) -> None:
            gate.pass_through()
            raise error

        return handler

    tree = nursery.grow("abc")
    for name, error in zip("ac", errors, strict=True):
        tree.ref(name).tell(hit(error))
    gate.wait_arrived(count=2)
    gate.open()
    with pytest.raises(SystemExit) as raised:
        tree.wait()

    assert raised.value in errors
    fatal = [e.error for e in nursery.of(ChildDown) if e.kind == "fatal"]
    assert {id(error) for error in fatal} == {id(error) for error in errors}


@pytest.mark.parametrize("dynamic", [False, True])
def test_fatal_error_in_a_start_child_ends_the_tree_and_answers_who_asked(
    nursery: Nursery, clock: VirtualClock, dynamic: bool
) -> None:
    """R29, R69: nobody waits for ever, and the error is raised by the wait."""
    tree = DynamicSupervisor.start() if dynamic else nursery.grow("ab")

    with pytest.raises((StartFailed, ActorDeadError, SystemExit)):
        tree.start_child(nursery.spec("c", leave))

    with pytest.raises(SystemExit, match="3"):
        tree.wait()


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_fatal_error_goes_up_through_supervisors_of_each_restart_type(
    nursery: Nursery, clock: VirtualClock, restart: str
) -> None:
    """R35, R69: no level restarts anything."""
    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [nursery.spec("x", restart="permanent"), nursery.spec("y")]),
        id="inner",
        restart=restart,
    )
    tree = nursery.grow(["a", inner, "b"], intensity=99)
    nursery.take()
    below(tree, "inner").ref("x").tell(leave)

    with pytest.raises(SystemExit):
        tree.wait()
    assert nursery.take() == "stop x, stop y, stop b, stop a"
    assert nursery.of(TreeGaveUp) == []


def test_base_exception_of_a_plain_actor_ends_trees_as_pykka_ends_actors(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R66, R71: Pykka's rule for actors that nobody supervises is ActorRegistry's
    stop_all; a tree that it meets ends in order, without an error of its own.
    """
    exits: list[Exit] = []

    class Plain(Actor):
        def on_receive(self, message: Any) -> None:
            raise KeyboardInterrupt

    tree = nursery.grow([nursery.spec(n, restart="permanent") for n in "ab"])
    tree.when_ended(exits.append)
    plain = Plain.start()
    plain.tell("go")

    assert tree.wait()
    clock.settle()
    assert [exit_.kind for exit_ in exits] == ["normal"]
    assert not plain.is_alive()
    assert pykka.ActorRegistry.get_all() == []


def test_give_up_during_the_start_of_a_later_child_fails_the_start(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R28, R42: the starter gets StartFailed, with the failure that was too many."""
    gate = Gate()
    raised: list[StartFailed] = []

    def start() -> None:
        children = ["a", ours.spec("b", lambda kid: gate.pass_through())]
        try:
            ours.grow(children, intensity=0)
        except StartFailed as error:
            raised.append(error)

    starter = clock.thread(start)
    starter.start()
    gate.wait_arrived()
    [a] = pykka.ActorRegistry.get_by_class(Kid)[:1]
    a.tell(boom)
    clock.settle()
    gate.open()
    clock.join(starter)

    causes: list[BaseException] = [raised[0]]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    assert isinstance(causes[-1], ValueError)
    assert not isinstance(raised[0], SupervisorGaveUp)
    assert "start b" in ours.log
    assert pykka.ActorRegistry.get_all() == []
