"""Children that do what they should not; the tree keeps its promises all the same."""

from __future__ import annotations

import gc
import math
import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors.base import Actor
from actors.clock import SYSTEM_CLOCK, SystemClock
from actors.errors import MailboxFull
from actors.events import ChildAbandoned, TreeGaveUp
from actors.exits import Crash
from actors.ref import ActorAbandoned, ActorDeadError
from actors.testing import Gate, VirtualClock
from supervision.child_spec import ChildSpec
from supervision.errors import StartFailed, SupervisorGaveUp
from supervision.strategies import Backoff
from supervision.supervisor import Supervisor
from supervision.supervisor_ref import Budget
from tests.supervision.kids import Kid, Nursery, below, boom, states

if TYPE_CHECKING:
    from actors.ref import ActorRef
    from supervision.supervisor_ref import SupervisorRef


@pytest.fixture
def clock_options() -> dict[str, Any]:
    """Move time by itself while the test waits."""
    return {"auto_advance": True}


# -- limits without end


@pytest.mark.parametrize("limit", [math.inf, 1e300])
def test_limit_without_end_is_no_limit(limit: float) -> None:
    spec = ChildSpec(Kid, ([], "a"), id="a", shutdown=limit, start_timeout=1e300)
    tree = Supervisor.start("one_for_one", [spec], clock=SYSTEM_CLOCK)
    ref = tree.ref("a")
    ref.tell("x", timeout=limit)

    assert ref.ask("y", timeout=limit) == "y"
    tree.terminate_child("a", timeout=limit)
    tree.restart_child("a", timeout=limit)
    tree.start_child(ChildSpec(Kid, ([], "b"), id="b"), timeout=limit)
    tree.terminate_child("b", timeout=limit)
    tree.delete_child("b", timeout=limit)
    assert tree.shutdown(timeout=limit)
    assert tree.wait(timeout=limit)


def test_limit_without_end_is_no_limit_in_virtual_time(ours: Nursery) -> None:
    tree = ours.grow([ours.spec("a", shutdown=math.inf)])

    assert tree.ref("a").ask("y", timeout=math.inf) == "y"
    assert tree.shutdown(timeout=math.inf)
    assert tree.cell.clock.monotonic() == 0


# -- siblings that are not there yet, or no more


def test_ask_of_a_sibling_that_starts_later_ends_with_the_start_timeout(
    ours: Nursery, clock: VirtualClock
) -> None:
    # It can never be answered: the sibling starts after the one that asks.
    later = ours.spec("later")
    seen: list[ActorRef[Any]] = []

    def ask(kid: Any) -> None:
        seen[0].ask("x")

    def remember(siblings: Any) -> Any:
        seen.append(siblings.ref("later"))
        return {"log": ours.log, "name": "first", "on_start": ask}

    first = ChildSpec(Kid, (), remember, id="first", start_timeout=30)

    with pytest.raises(StartFailed, match="did not start within 30 s"):
        ours.grow([first, later])

    assert clock.monotonic() == 30
    assert not seen[0].is_alive()


def test_ask_of_a_sibling_that_starts_at_the_same_time_is_answered(
    ours: Nursery,
) -> None:
    def make(siblings: Any) -> Any:
        other = siblings.ref("other")
        return {
            "log": ours.log,
            "name": "first",
            "on_start": lambda kid: other.ask("early", timeout=5),
        }

    first = ChildSpec(Kid, (), make, id="first")

    with ours.grow([first, "other"], start="parallel"):
        assert "other got early" in ours.log


def test_tell_from_on_stop_to_a_sibling_that_has_stopped_is_an_error_of_the_hook(
    ours: Nursery,
) -> None:
    """R55, R68: it is dead by then, and says so."""
    errors: list[BaseException] = []

    class Farewell(Kid):
        sibling: ActorRef[Any]

        def on_stop(self) -> None:
            try:
                self.sibling.tell("bye")
            except ActorDeadError as error:
                errors.append(error)
            super().on_stop()

    tree = ours.grow([ours.spec("a", kid_class=Farewell), "b"])
    tree.ref("a").proxy().sibling = tree.ref("b")

    assert tree.shutdown()

    assert len(errors) == 1
    assert ours.take() == "start a, start b, stop b, stop a"


def test_tell_from_on_stop_to_a_sibling_that_comes_back_is_kept_for_it(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R3, R39: its next incarnation gets it."""

    class Farewell(Kid):
        sibling: ActorRef[Any]

        def on_stop(self) -> None:
            self.sibling.tell("bye")

    children = [ours.spec("a", kid_class=Farewell), "b"]
    with ours.grow(children, "one_for_all") as tree:
        tree.ref("a").proxy().sibling = tree.ref("b")
        tree.ref("b").tell(boom)
        clock.settle()

        assert states(tree) == "a running 2, b running 2"
        assert "b got bye" in ours.log
        tree.ref("a").proxy().sibling = tree.ref("a")  # it says it to itself now


def test_cycle_of_asks_is_broken_by_the_stop_of_the_tree(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R58: each waits for the other, and neither looks at its token."""
    asked: list[BaseException] = []
    gate = Gate()

    def ask(other: Any) -> Any:
        def handler(kid: Any) -> None:
            gate.pass_through()
            try:
                other.ask("x")
            except ActorDeadError as error:
                asked.append(error)

        return handler

    tree = ours.grow([ours.spec("a", shutdown=3), ours.spec("b", shutdown=5)])
    a, b = tree.ref("a"), tree.ref("b")
    a.tell(ask(b))
    b.tell(ask(a))
    gate.wait_arrived(count=2)
    gate.open()
    clock.settle()

    assert tree.shutdown()

    assert clock.monotonic() <= 8
    assert len(ours.of(ChildAbandoned)) >= 1
    assert {type(error) for error in asked} <= {ActorDeadError, ActorAbandoned}
    clock.settle()
    assert not tree.zombies()


# -- stops at bad moments


def test_stop_of_a_child_during_its_backoff_is_honoured(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R16, R65: by its next incarnation."""
    backoff = Backoff(initial=10, maximum=10, first_immediate=False)
    with ours.grow([ours.spec("a", backoff=backoff)], intensity=9) as tree:
        tree.ref("a").tell(boom)
        clock.settle()
        assert states(tree) == "a restarting 1"

        assert tree.ref("a").stop() is True

        clock.settle()
        assert states(tree) == "a undefined 2"


def test_budget_holds_while_a_start_and_a_group_restart_are_pending(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R32, R57, R63: two seconds for all of it."""
    gate = Gate()

    def hang_later(kid: Kid) -> None:
        if kid.incarnation > 1:
            gate.pass_through()

    children = [ours.spec("a", hang_later, shutdown=60), "b", "c"]
    tree = ours.grow(children, "one_for_all")
    tree.ref("b").tell(boom)
    gate.wait_arrived()
    clock.settle()
    assert states(tree) == "a starting 2, b restarting 1, c restarting 1"

    assert tree.shutdown(timeout=2)

    assert clock.monotonic() == 2
    assert len(tree.zombies()) == 1
    assert not any(tree.ref(name).is_alive() for name in "abc")
    gate.open()


def test_stop_all_during_the_start_ends_the_tree(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R63, R66: whoever starts it is told."""
    gate = Gate()
    raised: list[BaseException] = []

    def start() -> None:
        try:
            ours.grow(["a", ours.spec("b", lambda kid: gate.pass_through()), "c"])
        except StartFailed as error:
            raised.append(error)

    starter = clock.thread(start)
    starter.start()
    gate.wait_arrived()

    answers = pykka.ActorRegistry.stop_all(block=False)
    clock.advance(10)

    assert len(answers) == 3
    assert all(answer.get() is True for answer in answers)
    assert len(raised) == 1
    assert "start c" not in ours.log
    assert not pykka.ActorRegistry.get_all()
    gate.open()
    clock.join(starter)


def test_nested_supervisors_that_give_up_at_once_count_once_each(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R42, R53: each is a failure of its own."""

    def inner(name: str) -> ChildSpec[Any]:
        return ChildSpec(
            Supervisor,
            ("one_for_one", [ours.spec("kid")]),
            {"intensity": 0},
            id=name,
        )

    tree = ours.grow([inner("x"), inner("y")], intensity=2)
    kids = [below(tree, name).ref("kid") for name in "xy"]
    for kid in kids:
        kid.tell(boom)
    clock.settle()

    assert states(tree) == "x running 2, y running 2"
    gave_up = {event.supervisor for event in ours.of(TreeGaveUp)}
    assert gave_up == {"root/x", "root/y"}
    assert not any(kid.is_alive() for kid in kids)

    below(tree, "x").ref("kid").tell(boom)
    with pytest.raises(SupervisorGaveUp):
        tree.wait()


def test_budget_for_one_incarnation_does_not_hurry_the_next(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R19, R57: it is of the incarnation that it was meant for."""
    gate = Gate()
    inner = ChildSpec(Supervisor, ("one_for_one", [ours.spec("kid")]), id="inner")
    tree = ours.grow([inner])
    kid = below(tree, "inner").ref("kid")

    below(tree, "inner").tell_control(Budget(0, deadline=0.0))
    kid.tell(lambda kid: kid.clock.sleep(3))
    kid.tell(lambda kid: gate.pass_through())
    clock.settle()

    assert tree.shutdown()
    assert clock.monotonic() == 3
    assert not ours.of(ChildAbandoned)
    gate.open()


# -- slow and broken kwargs


def test_slow_kwargs_are_part_of_the_start_and_its_timeout(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R27, R31: they run on the child's thread."""
    gate = Gate()

    def slow(siblings: Any) -> Any:
        gate.pass_through()
        return {}

    spec = ChildSpec(Kid, (ours.log, "slow"), slow, id="slow", start_timeout=7)

    with pytest.raises(StartFailed, match="did not start within 7 s"):
        ours.grow(["a", spec])

    assert clock.monotonic() == 7
    assert ours.take() == "start a, stop a"
    gate.open()


# -- the supervisor stays responsive


def test_restart_loop_of_one_child_starves_neither_stop_nor_others(
    ours: Nursery,
) -> None:
    """R21, R30: they are served in turn."""

    def fail_later(kid: Kid) -> None:
        if kid.incarnation > 1:
            raise OSError("no")

    tree = ours.grow([ours.spec("a", fail_later), "b"], intensity=300)
    tree.ref("a").tell(boom)

    tree.ref("b").tell(boom)
    assert tree.ref("b").ask("fine") == "fine"
    with pytest.raises(SupervisorGaveUp):
        tree.wait()

    # One of the 300 restarts is b's.
    assert len([line for line in ours.log if line == "start a"]) == 300


def test_full_mailbox_of_a_child_in_backoff_refuses_who_does_not_wait(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R14: at its bound."""
    backoff = Backoff(initial=10, maximum=10, first_immediate=False)
    child = ours.spec("a", backoff=backoff, capacity=2)
    with ours.grow([child], intensity=9) as tree:
        ref = tree.ref("a")
        ref.tell(boom)
        clock.settle()
        ref.tell(1)
        ref.tell(2)

        with pytest.raises(MailboxFull):
            ref.tell(3, timeout=0)

        assert ref.ask("x") == "x"
        assert clock.monotonic() == 10
        assert "a got 3" not in ours.log


def test_children_live_on_the_clock_that_the_tree_was_given() -> None:
    """R90: not on the ambient one."""
    given = SystemClock()
    kid = ChildSpec(Kid, ([], "kid"), id="kid")
    inner = ChildSpec(Supervisor, ("one_for_one", [kid]), id="inner")

    with Supervisor.start("one_for_one", [kid, inner], clock=given) as tree:
        refs = tree.ref("kid"), below(tree, "inner").ref("kid")

        assert [ref.ask(lambda kid: kid.clock) is given for ref in refs] == [True] * 2


# -- nothing piles up


class Plain(Actor):
    """Crashes at ``boom``."""

    def on_receive(self, message: Any) -> Any:
        if message == "boom":
            raise ValueError(message)
        return message


def _crash(tree: SupervisorRef, times: int) -> None:
    ref = tree.ref("Plain")
    for _ in range(times):
        ref.tell("boom")
        ref.ask("alive")


@pytest.mark.slow
def test_thousands_of_restarts_leave_nothing_behind() -> None:
    """R51, R52, R86: no object, no thread, no token."""
    spec = ChildSpec(Plain)
    options: Any = {"intensity": 10**6, "period": 0.001, "clock": SYSTEM_CLOCK}
    with Supervisor.start("one_for_one", [spec], **options) as tree:
        _crash(tree, 1100)  # what is kept of undelivered messages is kept by now
        gc.collect()
        objects, threads = len(gc.get_objects()), threading.active_count()

        _crash(tree, 1000)

        gc.collect()
        assert len(gc.get_objects()) - objects < 100
        assert threading.active_count() <= threads
        living = [o for o in gc.get_objects() if type(o) is Plain]
        assert len(living) == 1


# -- errors that cannot be asked for what an error has


class NoTruth(Exception):
    """Also one that has a length, of 0."""

    def __bool__(self) -> bool:
        return False


class NoText(Exception):
    def __repr__(self) -> str:
        return repr(self)

    __str__ = __repr__


class NoTraceback(Exception):
    def with_traceback(self, _traceback: Any) -> Any:
        raise TypeError("not mine")


class Odd(Kid):
    """Raises in its hooks what it is made with."""

    def __init__(self, log: list[str], kind: type[Exception], where: str) -> None:
        super().__init__(log, "odd")
        self.kind, self.where = kind, where

    def on_receive(self, message: Any) -> Any:
        if message == "raise":
            raise self.kind
        if message == "crash":
            raise Crash(self.kind())
        return message

    def on_failure(self, *exc_info: Any) -> None:
        if self.where == "on_failure":
            raise self.kind

    def on_stop(self) -> None:
        if self.where == "on_stop":
            raise self.kind


@pytest.mark.parametrize("kind", [NoTruth, NoText, NoTraceback])
@pytest.mark.parametrize("where", ["ask", "crash", "on_failure", "on_stop", "decider"])
def test_odd_error_is_a_failure_like_any_other(
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
    where: str,
    kind: type[Exception],
) -> None:
    """R5, R6, R36, R50: nothing that is done with it may end anybody."""
    caplog.set_level("DEBUG")

    def decide(error: Exception) -> None:
        if where == "decider":
            raise kind

    spec = ChildSpec(Odd, ([], kind, where), id="odd")
    other = ChildSpec(Odd, ([], kind, where), id="other")
    with Supervisor.start("one_for_all", [spec, other], decider=decide) as tree:
        ref = tree.ref("odd")
        if where == "ask":
            with pytest.raises(kind):
                ref.ask("raise")
        elif where == "crash":
            with pytest.raises(kind):
                ref.ask("crash")
        else:
            ref.tell("raise")
        clock.settle()

        number = 1 if where == "ask" else 2
        assert states(tree) == f"odd running {number}, other running {number}"
        assert ref.ask("next") == "next"
        assert tree.ref("other").ask("next") == "next"

    unhandled = [each for each in caplog.records if "Unhandled" in each.message]
    assert all(each.exc_info for each in unhandled)
