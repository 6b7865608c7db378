"""What a test leaves running is found and named; what others own, or ends, is not."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors.base import Actor
from actors.clock import SYSTEM_CLOCK
from actors.testing import LeakCheck, VirtualClock
from supervision import ChildSpec, Pipeline, Strategy, Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = __file__


class Busy(Actor):
    """Works on each message until it is let go on."""

    def on_receive(self, gate: threading.Event) -> None:
        gate.wait(30)


class Idle(Actor):
    """Fails on an error that it is told."""

    def on_receive(self, message: Any) -> None:
        if isinstance(message, Exception):
            raise message


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left in these tests will not end: not to be waited for."""
    monkeypatch.setattr("actors.testing.leaks._GRACE", 0.05)


never_ends = pytest.mark.usefixtures("impatient")


def wait_at(gate: threading.Event) -> None:
    gate.wait(30)


# -- what is found


def test_nothing_is_left_where_nothing_was_started() -> None:
    assert LeakCheck().find() == []


@never_ends
def test_a_thread_is_named_with_the_line_it_waits_at(gate: threading.Event) -> None:
    check = LeakCheck()
    thread = threading.Thread(target=wait_at, args=(gate,), name="forgotten")
    thread.start()

    (left,) = check.find()
    gate.set()
    thread.join()

    assert left.startswith(f"thread 'forgotten' at {HERE}:")
    assert left.endswith(" in wait_at: gate.wait(30)")


@never_ends
def test_a_daemon_thread_is_called_one(gate: threading.Event) -> None:
    check = LeakCheck()
    thread = threading.Thread(target=wait_at, args=(gate,), daemon=True)
    thread.start()

    assert check.find()[0].startswith("daemon thread 'Thread-")
    gate.set()
    thread.join()


@never_ends
@pytest.mark.parametrize("actor_class", [Idle, pykka.ThreadingActor])
def test_an_idle_actor_is_named_and_stopped(actor_class: Any) -> None:
    check = LeakCheck()
    ref = actor_class.start()

    (left,) = check.find()
    check.stop_actors()

    assert left.startswith(f"actor {actor_class.__name__}")
    assert not ref.is_alive()
    assert check.find() == []


@never_ends
def test_an_actor_busy_for_ever_is_named_with_its_line(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = LeakCheck()
    ref = Busy.start()
    ref.tell(gate)

    found = check.find()
    monkeypatch.setattr("actors.testing.leaks._STOPPING", 0.05)
    check.stop_actors()  # it does not stop, and this comes back
    gate.set()
    ref.actor_stopped.wait(30)

    assert len(found) == 1
    assert "in on_receive: gate.wait(30)" in found[0]


def test_a_tree_is_named_by_its_top_and_stopped_as_a_whole() -> None:
    check = LeakCheck()
    with VirtualClock():
        children = [ChildSpec(Idle, id="first"), ChildSpec(Idle, id="second")]
        tree = Supervisor.start(Strategy.ONE_FOR_ONE, children)

        (left,) = check.find()
        check.stop_actors()

        assert left == "actor root (Supervisor) with 2 below it"
        assert not tree.is_alive()


def test_a_pipeline_left_running_is_stopped() -> None:
    check = LeakCheck()
    with VirtualClock(auto_advance=True):
        pipeline = Pipeline(1, cpu_workers=1).start()

        (left,) = check.find()
        check.stop_actors()

        assert "(Supervisor) with 5 below it" in left
        assert check.find() == []
        pipeline.stop()


# -- virtual time


@pytest.mark.parametrize("seed", [None, 0])
def test_a_thread_that_waits_on_a_virtual_clock_is_found(seed: int | None) -> None:
    check = LeakCheck()
    with VirtualClock(seed=seed, strict_leaks=False) as clock:
        thread = clock.thread(lambda: clock.sleep(9), name="sleeper")
        thread.start()

        (left,) = check.find()

    assert left.startswith(f"thread 'sleeper' at {HERE}:")


@pytest.mark.parametrize("seed", [None, 0])
def test_a_thread_whose_turn_it_still_is_comes_to_its_end(seed: int | None) -> None:
    check = LeakCheck()
    with VirtualClock(seed=seed) as clock:
        clock.thread(lambda: None).start()
        clock.call_later(1, lambda: None)  # starts the clock's own thread
        Idle.start().stop(block=False)

        assert check.find() == []


# -- what is not counted


def test_what_ran_before_is_not_counted(gate: threading.Event) -> None:
    thread = threading.Thread(target=wait_at, args=(gate,))
    thread.start()
    ref = Idle.start()

    assert LeakCheck().find() == []

    gate.set()
    thread.join()
    ref.stop()


def test_threads_of_the_library_and_ignored_ones_are_not_counted(
    gate: threading.Event,
) -> None:
    check = LeakCheck(ignore=["TMonitor*"])
    threads = [
        threading.Thread(target=wait_at, args=(gate,), name=name)
        for name in ("headrace-timers", "TMonitor-1")
    ]
    for thread in threads:
        thread.start()

    assert check.find() == []

    gate.set()
    for thread in threads:
        thread.join()


def test_a_thread_that_is_just_ending_is_not_counted() -> None:
    check = LeakCheck()
    gate = threading.Event()
    thread = threading.Thread(target=wait_at, args=(gate,))
    thread.start()
    timer = SYSTEM_CLOCK.call_later(0.05, gate.set)

    assert check.find() == []
    timer.cancel()


def test_an_actor_that_is_restarted_is_not_counted() -> None:
    first = ChildSpec(Idle, id="first")
    with (
        VirtualClock(auto_advance=True) as clock,
        Supervisor.start(Strategy.ONE_FOR_ONE, [first]) as tree,
    ):
        check = LeakCheck()

        tree.ref("first").tell(ValueError("a crash"))
        clock.sleep(60)

        assert tree.which_children()[0].restarts == 1
        assert check.find() == []


def _pool_in_a_closure(pool: ThreadPoolExecutor) -> object:
    def make() -> ThreadPoolExecutor:
        return pool

    return make


def _pool_in_a_generator(pool: ThreadPoolExecutor) -> object:
    def fixture(pool: ThreadPoolExecutor) -> Iterator[str]:
        yield "its address"
        pool.shutdown()

    generator = fixture(pool)
    next(generator)
    return generator


@pytest.mark.parametrize(
    "owner",
    [
        lambda pool: pool,
        lambda pool: {"deep": [{"down": pool}]},
        lambda pool: pool.shutdown,
        _pool_in_a_closure,
        _pool_in_a_generator,
    ],
    ids=["itself", "container", "method", "closure", "generator"],
)
@never_ends
def test_what_an_owner_can_reach_is_not_counted(
    owner: Callable[[ThreadPoolExecutor], object],
) -> None:
    with ThreadPoolExecutor() as pool:
        check = LeakCheck()
        pool.submit(int).result()

        assert check.find([owner(pool)]) == []
        assert len(check.find()) == 1


def test_an_actor_belongs_to_the_one_who_has_its_ref_or_its_pipeline() -> None:
    with VirtualClock(auto_advance=True):
        pipeline = Pipeline(1, cpu_workers=1)
        check = LeakCheck()
        ref = Idle.start()
        pipeline.start()

        assert check.find([[ref], {"pipeline": pipeline}]) == []

        ref.stop()
        pipeline.stop()


def test_the_clock_module_and_loggers_make_nobody_an_owner() -> None:
    with VirtualClock(strict_leaks=False) as clock:
        check = LeakCheck()
        clock.thread(lambda: clock.sleep(9), name="sleeper").start()

        left = check.find([clock, threading, clock.condition(), LeakCheck])

    assert len(left) == 1
