"""What a virtual clock promises, whoever has his turn when: D1 to D9, and the oracle.

D10, the same trace for the same seed, is in ``tests/supervision/test_scenario.py``.
"""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pykka
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.base import Actor
from actors.stop_token import StopToken
from actors.testing import Deadlock, VirtualClock
from actors.testing.errors import ClockError
from actors.testing.parking import Parking
from tests.actors.programs import SCRIPTS, WORDS, play

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.clock import TimerHandle
    from actors.testing.task import Task

SEEDS = range(6)  # one of each kind that explore alternates
TICKS = 1000


@pytest.fixture(params=[None, *SEEDS], ids=["free", *(f"seed={n}" for n in SEEDS)])
def clock(request: pytest.FixtureRequest) -> Iterator[VirtualClock]:
    made = (
        VirtualClock(seed=None)
        if request.param is None
        else VirtualClock.for_seed(request.param)
    )
    with made as clock:
        yield clock


def test_d01_timers_fire_in_order_and_time_stops_at_the_target(
    clock: VirtualClock,
) -> None:
    fired: list[tuple[str, float]] = []

    def arm(name: str) -> None:
        clock.call_later(float(name), lambda: fired.append((name, clock.monotonic())))

    def wait(when: float) -> None:
        clock.sleep(when)
        fired.append((f"slept {when}", clock.monotonic()))

    makers = [
        clock.thread(arm, args=["3"], name="maker"),
        clock.thread(arm, args=["1"], name="maker"),
        clock.thread(wait, args=[2], name="sleeper"),
        clock.thread(arm, args=["10"], name="maker"),
    ]
    for maker in makers:
        maker.start()
    clock.advance(5)

    assert fired == [("1", 1.0), ("slept 2", 2.0), ("3", 3.0)]
    assert clock.monotonic() == 5.0
    assert clock.next_deadline() == 5.0


def test_d02_timer_armed_by_a_timer_fires_in_the_same_advance(
    clock: VirtualClock,
) -> None:
    fired: list[float] = []

    def again(left: int) -> None:
        fired.append(clock.monotonic())
        if left:
            clock.call_later(1, again, left - 1)

    clock.call_later(1, again, 3)
    clock.advance(3.5)

    assert fired == [1.0, 2.0, 3.0]
    assert clock.monotonic() == 3.5


def test_d03_a_thousand_ticks_of_a_tenth_land_exactly(clock: VirtualClock) -> None:
    seen: list[list[float]] = [[], []]

    def tick(mine: list[float]) -> None:
        for _ in range(TICKS):
            clock.sleep(0.1)
            mine.append(clock.monotonic())

    for mine in seen:
        clock.thread(tick, args=[mine], name="ticker").start()
    clock.advance(TICKS / 10)

    assert seen == [[i / 10 for i in range(1, TICKS + 1)]] * 2


def test_d04_cancel_succeeds_before_the_callback_alone(clock: VirtualClock) -> None:
    answers: dict[str, bool] = {}
    handles: dict[str, TimerHandle] = {}

    def on_timer_thread() -> None:
        answers["in itself"] = handles["fires"].cancel()
        answers["another, before"] = handles["never"].cancel()

    handles["never"] = clock.call_later(2, lambda: answers.update({"fired": True}))
    handles["fires"] = clock.call_later(1, on_timer_thread)
    clock.advance(3)
    answers["after"] = handles["fires"].cancel()
    answers["twice"] = handles["never"].cancel()

    assert answers == {
        "in itself": False,
        "another, before": True,
        "after": False,
        "twice": False,
    }


def test_d05_sleep_woken_by_its_stop_token_returns_false_in_time(
    clock: VirtualClock,
) -> None:
    token, log = StopToken(clock=clock), []

    def sleeper() -> None:
        woken = clock.sleep(10, wake_on=token)
        log.append((woken, clock.monotonic()))

    def canceller() -> None:
        clock.sleep(4)
        token.cancel("enough")

    for target in (sleeper, canceller, sleeper):
        clock.thread(target, name=target.__name__).start()
    clock.advance(20)

    assert log == [(False, 4.0), (False, 4.0)]


class Slow(Actor):
    """Takes its time for every message."""

    capacity = 2

    def on_receive(self, message: float) -> float:
        self.clock.sleep(message)
        return self.clock.monotonic()


def test_d06_ask_times_out_and_the_late_reply_is_still_good(
    clock: VirtualClock,
) -> None:
    slow = Slow.start()
    log: list[Any] = []

    def asker() -> None:
        future = slow.ask(5.0, block=False)
        with pytest.raises(pykka.Timeout):
            future.get(timeout=2)
        log.append(clock.monotonic())
        log.append(future.get(timeout=10))
        log.append(clock.monotonic())
        slow.stop()

    clock.thread(asker, name="asker").start()
    clock.advance(20)

    assert log == [2.0, 5.0, 5.0]


def test_d07_full_mailbox_parks_its_sender(clock: VirtualClock) -> None:
    slow = Slow.start()
    put_at: list[float] = []

    def sender() -> None:
        for _ in range(6):
            slow.tell(1.0)
            put_at.append(clock.monotonic())
        slow.stop()

    clock.thread(sender, name="sender").start()
    clock.advance(20)

    # One in hand and two in the mailbox; then one for each that is done.
    assert put_at == [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]


class Notes(Actor):
    """Notes when it handles what."""

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[tuple[str, float]] = []

    def on_receive(self, message: str) -> list[tuple[str, float]]:
        if message != "all":
            self.handled.append((message, self.clock.monotonic()))
        return self.handled


def test_d08_time_stands_still_until_a_held_result_is_handled(
    clock: VirtualClock,
) -> None:
    notes = Notes.start()
    hold, may_end = clock.hold("a job in a pool"), threading.Event()

    def in_the_pool() -> None:
        assert may_end.wait(30)
        notes.tell("result")
        hold.release()

    clock.call_later(1, notes.tell, "timer")
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(in_the_pool)
        clock.thread(may_end.set, name="lets it end").start()
        clock.advance(2)
        job.result(30)

    assert notes.ask("all") == [("result", 0.0), ("timer", 1.0)]
    notes.stop()


def test_d09_wait_that_cannot_end_is_a_deadlock_at_once(clock: VirtualClock) -> None:
    one, other = clock.queue(), clock.queue()
    circle = [
        clock.thread(one.get, name="first in the circle"),
        clock.thread(other.get, name="second in the circle"),
    ]
    for thread in circle:
        thread.start()

    with pytest.raises(Deadlock) as caught:
        circle[0].join()

    text = str(caught.value)
    assert "first in the circle" in text
    assert "second in the circle" in text
    assert text.count("queue.get()") >= 2
    one.put(None)
    other.put(None)


def test_d09_wait_while_time_is_paused_names_the_next_deadline(
    clock: VirtualClock,
) -> None:
    sleeper = clock.thread(clock.sleep, args=[7], name="sleeper")
    sleeper.start()

    with pytest.raises(Deadlock, match="7 s"):
        sleeper.join()

    clock.advance(7)
    sleeper.join()


# -- the oracle: what user code does, not what the kernel counts


@pytest.mark.slow
@settings(max_examples=100)
@given(scripts=SCRIPTS, seed=st.integers(0, 500), auto_advance=st.booleans())
def test_one_thread_at_most_is_in_user_code_and_none_while_time_moves(
    scripts: list[list[tuple[str, int]]], seed: int, auto_advance: bool
) -> None:
    clock = VirtualClock.for_seed(seed, auto_advance=auto_advance)
    program = play(clock, scripts, driven=not auto_advance)

    assert program.oracle.violations == []
    assert program.oracle.most == 1
    assert program.late == []
    assert program.ended == program.started


def exercise(number: int) -> list[list[tuple[str, int]]]:
    """A program in which threads sleep, and wait for and wake each other."""
    chance = random.Random(number)
    return [
        [("sleep", 1), *((chance.choice(WORDS), chance.randrange(8)) for _ in range(7))]
        for _ in range(8)
    ]


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_a_thread_that_is_counted_only_when_it_runs_is_caught(
    seed: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oracle has to see the mistake that the kernel is built to avoid."""
    assert [caught(seed, number) for number in range(10)] == [False] * 10

    let_woken_threads_count_themselves(monkeypatch)

    assert [caught(seed, number) for number in range(10)] == [True] * 10


def caught(seed: int | None, number: int) -> bool:
    options: dict[str, Any] = {"strict_leaks": False, "stall_timeout": 1.0}
    clock = (
        VirtualClock(seed=None, **options)
        if seed is None
        else VirtualClock.for_seed(seed, **options)
    )
    try:
        program = play(clock, exercise(number), driven=True)
    except ClockError:
        return True
    # A thread that time overtook may not even have had its turn before the end.
    lost = program.started - program.ended
    return bool(program.oracle.violations or program.late or lost)


def let_woken_threads_count_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    wake, resume = Parking.wake, Parking.resume
    uncounted: set[Task] = set()

    def wake_without_counting(self: Parking, task: Task, **given: Any) -> None:
        wake(self, task, **given)
        self.running -= 1
        uncounted.add(task)

    def resume_and_count(self: Parking, task: Task) -> Any:
        try:
            return resume(self, task)
        finally:
            if task in uncounted:
                uncounted.remove(task)
                with self:
                    self.running += 1

    monkeypatch.setattr(Parking, "wake", wake_without_counting)
    monkeypatch.setattr(Parking, "resume", resume_and_count)
