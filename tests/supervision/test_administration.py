"""Children that are started, stopped and forgotten while their supervisor runs.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from actors import ActorDeadError, Ignore, WouldDeadlock
from actors.errors import ConfigurationError
from actors.exits import Failing
from actors.testing import Gate
from supervision import (
    AlreadyPresent,
    AlreadyStarted,
    Backoff,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    ChildSpec,
    StartFailed,
    Supervisor,
)
from tests.supervision.kids import Kid, Nursery, below, boom, states

if TYPE_CHECKING:
    from actors.testing import VirtualClock

pytestmark = pytest.mark.concurrent


def test_started_child_is_supervised_like_the_others(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R75: it comes last, stops first and is restarted by its strategy."""
    with ours.grow("ab", "rest_for_one") as tree:
        ref = tree.start_child(ours.spec("c"))
        ours.take()
        tree.ref("b").tell(boom)
        clock.settle()

        assert ours.take() == "fail b, stop c, start b, start c"
        assert tree.ref("c") is ref
    assert ours.take() == "stop c, stop b, stop a"


def test_start_child_that_fails_is_as_if_it_had_never_been(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R29: the spec is discarded, the caller is told, the supervisor goes on."""

    def fail(kid: Any) -> None:
        raise LookupError("no port")

    with ours.grow("a") as tree:
        for _ in range(5):  # more often than the intensity allows
            with pytest.raises(StartFailed, match="no port") as caught:
                tree.start_child(ours.spec("b", fail))
            assert caught.value.child_id == "b"
            assert isinstance(caught.value.__cause__, LookupError)

        assert states(tree) == "a running 1"
        tree.start_child(ours.spec("b"))
        assert states(tree) == "a running 1, b running 1"


def test_ignored_child_is_no_error_and_keeps_its_spec(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R33: not started, no error; a temporary one is dropped."""

    def ignore(kid: Any) -> None:
        raise Ignore

    with ours.grow([]) as tree:
        assert not tree.start_child(ours.spec("a", ignore)).is_alive()
        assert not tree.start_child(
            ours.spec("b", ignore, restart="temporary")
        ).is_alive()

        assert states(tree) == "a undefined 1"


def test_failed_restart_child_keeps_the_spec(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R75: restart_child that fails leaves the child down."""
    broken: list[bool] = []

    def start(kid: Any) -> None:
        if broken:
            raise LookupError("broken")

    with ours.grow([ours.spec("a", start)]) as tree:
        tree.terminate_child("a")
        broken.append(True)
        with pytest.raises(StartFailed, match="broken"):
            tree.restart_child("a")
        assert states(tree) == "a undefined 1"
        broken.clear()
        tree.restart_child("a")
        assert states(tree) == "a running 1"


def test_terminate_calls_a_pending_restart_off(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R48, R75: nothing starts after terminate_child, and restarting has its word."""
    backoff = Backoff(initial=10, maximum=10, first_immediate=False)
    spec = ours.spec("a", backoff=backoff)
    with ours.grow([spec, "b"]) as tree:
        tree.ref("a").tell(boom)
        clock.settle()
        assert states(tree) == "a restarting 1, b running 1"
        with pytest.raises(ChildRestarting):
            tree.restart_child("a")
        with pytest.raises(ChildRestarting):
            tree.delete_child("a")
        with pytest.raises(AlreadyStarted):
            tree.start_child(spec)

        tree.terminate_child("a")
        clock.advance(100)

        assert states(tree) == "a undefined 1, b running 1"


def test_deleted_child_of_a_pending_restart_is_forgotten(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R48: terminate and delete during the backoff."""
    backoff = Backoff(initial=10, maximum=10, first_immediate=False)
    with ours.grow([ours.spec("a", backoff=backoff)]) as tree:
        tree.ref("a").tell(boom)
        clock.settle()
        tree.terminate_child("a")
        tree.delete_child("a")
        clock.advance(100)

        assert tree.which_children() == ()


def test_terminate_waits_until_the_child_is_down(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R56, R75: its own shutdown time holds; the caller waits that long."""
    gate = Gate()
    with ours.grow([ours.spec("a", shutdown=30), "b"]) as tree:
        tree.ref("a").tell(lambda kid: gate.pass_through())
        gate.wait_arrived()
        done: list[float] = []

        def end() -> None:
            tree.terminate_child("a")
            done.append(clock.monotonic())

        ending = clock.thread(end)
        ending.start()
        clock.advance(29.9)
        assert done == []
        clock.advance(0.2)
        clock.join(ending)

        assert states(tree) == "a undefined 1, b running 1"
        assert [zombie.child for zombie in tree.zombies()] == ["a"]
        gate.open()


def test_timeout_ends_the_wait_and_not_the_request(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R75: a start that takes long goes on."""
    gate = Gate()
    with ours.grow([]) as tree:
        errors: list[Exception] = []

        def start() -> None:
            try:
                tree.start_child(
                    ours.spec("a", lambda kid: gate.pass_through()), timeout=2
                )
            except TimeoutError as error:
                errors.append(error)

        starting = clock.thread(start)
        starting.start()
        clock.advance(2)
        clock.join(starting)
        assert len(errors) == 1
        gate.open()
        clock.settle()

        assert states(tree) == "a running 1"


def test_requests_are_answered_when_the_tree_ends(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R62, R63: nobody waits for a supervisor that is gone."""
    gate = Gate()
    tree = ours.grow([])
    errors: list[Exception] = []

    def start() -> None:
        try:
            tree.start_child(ours.spec("a", lambda kid: gate.pass_through()))
        except (StartFailed, ActorDeadError) as error:
            errors.append(error)

    starting = clock.thread(start)
    starting.start()
    gate.wait_arrived()
    tree.stop_now("over", timeout=0)
    gate.open()
    clock.join(starting)
    assert len(errors) == 1
    tree.wait()

    with pytest.raises(ActorDeadError):
        tree.start_child(ours.spec("b"))
    with pytest.raises(ActorDeadError):
        tree.terminate_child("a")


def test_a_child_may_start_a_sibling_and_not_end_itself(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R64: what would wait for itself is refused, the rest works from inside."""
    with ours.grow("a") as tree:
        kid = tree.ref("a")
        assert kid.ask(lambda _: tree.start_child(ours.spec("b")).is_alive())
        with pytest.raises(WouldDeadlock):
            kid.ask(lambda _: tree.terminate_child("a"))
        kid.ask(lambda _: tree.terminate_child("b"))

        assert states(tree) == "a running 1, b undefined 1"


def test_specs_are_checked_before_they_are_sent(ours: Nursery) -> None:
    """R22: a bad child is refused on the caller's thread."""
    with ours.grow([]) as tree:
        with pytest.raises(ConfigurationError):
            tree.start_child("a")  # type: ignore[call-overload]  # on purpose
        with pytest.raises(ConfigurationError, match="auto_shutdown"):
            tree.start_child(ours.spec("a", significant=True))


def test_many_threads_administer_one_supervisor(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R21, R52: each request is answered once, whoever else asks."""
    with ours.grow([]) as tree:
        outcomes: list[str] = []

        def work() -> None:
            for what in ("start", "terminate", "restart", "delete"):
                try:
                    if what == "start":
                        tree.start_child(ours.spec("a"))
                    else:
                        getattr(tree, f"{what}_child")("a")
                    outcomes.append(what)
                except (
                    AlreadyStarted,
                    AlreadyPresent,
                    ChildRunning,
                    ChildNotFound,
                    StartFailed,
                ) as error:
                    outcomes.append(type(error).__name__)

        workers = [clock.thread(work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            clock.join(worker)

        assert len(outcomes) == 16
        assert outcomes.count("start") - outcomes.count("delete") == len(
            tree.which_children()
        )


def test_class_that_was_given_for_a_child_is_a_key(ours: Nursery) -> None:
    """R25: for what has no spec of its own at hand."""

    class Named(Kid):
        @classmethod
        def child_spec(cls) -> ChildSpec[Any]:
            return ChildSpec(cls, (ours.log, "n"), id="named")

    with Supervisor.start("one_for_one", [Named]) as tree:
        assert tree.ref(Named) is tree.ref("named")
        with pytest.raises(KeyError, match="it has: named"):
            tree.ref(Kid)


# -- children whose first object is made elsewhere


class Window(Kid):
    """Notes where it is made."""

    made_on: ClassVar[list[str]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        Window.made_on.append(threading.current_thread().name)


def test_first_init_runs_on_the_callers_thread(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R27: init_in="caller", for objects of a GUI; a restart is the child's own."""
    Window.made_on.clear()
    here = threading.current_thread().name
    spec = ours.spec("w", kid_class=Window, init_in="caller")
    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [ours.spec("v", kid_class=Window, init_in="caller")]),
        id="inner",
    )
    with ours.grow(["a", spec, inner]) as tree:
        assert Window.made_on == [here, here]
        tree.ref("w").tell(boom)
        clock.settle()
        assert Window.made_on[2:] == ["w#2"]
        below(tree, "inner").start_child(
            ours.spec("u", kid_class=Window, init_in="caller")
        )
        assert Window.made_on[3:] == [here]


def test_init_on_the_callers_thread_that_raises_fails_the_start(ours: Nursery) -> None:
    """R28: the same as on its own thread."""

    class Broken(Kid):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            raise LookupError("no display")

    with pytest.raises(StartFailed, match="no display"):
        ours.grow(["a", ours.spec("w", kid_class=Broken, init_in="caller")])
    assert ours.take() == "start a, stop a"


def test_notice_of_an_earlier_place_is_stale(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R19: incarnation 1 of a restarted child's old place is not that of the new."""
    with ours.grow("a") as tree:
        old = tree.ref("a").cell
        tree.terminate_child("a")
        tree.restart_child("a")

        assert old.report is not None
        old.report(Failing(old, 1))  # as if it had waited to be read
        clock.settle()
        assert states(tree) == "a running 1"
        clock.advance(10)
        assert states(tree) == "a running 1"
