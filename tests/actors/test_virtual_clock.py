"""The virtual clock: time that moves only when no thread can run."""

from __future__ import annotations

import datetime as dt
import os
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any

import pytest
from freezegun import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import Actor
from actors.clock import SYSTEM_CLOCK, Empty, TimerHandle, ambient_clock
from actors.stop_token import StopToken
from actors.testing import (
    ClockClosed,
    ClockError,
    Deadlock,
    FakeRecipient,
    Gate,
    Leaked,
    Livelock,
    NotEnrolled,
    Stalled,
    VirtualClock,
)
from tests.actors.programs import SCRIPTS, play

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(params=[None, 0], ids=["free", "serial"])
def clock(request: pytest.FixtureRequest) -> Iterator[VirtualClock]:
    with VirtualClock(seed=request.param) as clock:
        yield clock


def begin(clock: VirtualClock, target: Callable[..., object], *args: Any) -> Any:
    thread = clock.thread(target, args=args, name=target.__name__)
    thread.start()
    return thread


# -- reading


def test_time_begins_where_told_and_moves_by_advance_alone(clock: VirtualClock) -> None:
    assert clock.now() == START
    assert clock.monotonic() == 0.0

    clock.advance(1.5)

    assert clock.now() == START + dt.timedelta(seconds=1.5)
    assert clock.monotonic() == 1.5


def test_start_is_told_in_utc_whatever_its_zone() -> None:
    east = dt.timezone(dt.timedelta(hours=2))
    clock = VirtualClock(dt.datetime(2020, 1, 1, 12, tzinfo=east))

    assert clock.now() == dt.datetime(2020, 1, 1, 10, tzinfo=dt.UTC)
    assert clock.now().tzinfo is dt.UTC


def test_a_naive_start_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        VirtualClock(dt.datetime(2020, 1, 1))


def test_jitter_is_the_same_for_each_clock() -> None:
    assert VirtualClock().rng.random() == VirtualClock().rng.random()


def test_time_cannot_go_back(clock: VirtualClock) -> None:
    clock.advance(5)

    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance_to(4.0)


def test_advance_to_takes_either_kind_of_moment(clock: VirtualClock) -> None:
    clock.advance_to(2.5)
    assert clock.monotonic() == 2.5

    clock.advance_to(START + dt.timedelta(hours=1, microseconds=1))
    assert clock.monotonic() == 3600.000001


def test_a_freezer_moves_along() -> None:
    with (
        freeze_time(START) as frozen,
        VirtualClock(START, freezer=frozen) as clock,
    ):
        clock.call_later(10, lambda: None)
        clock.advance(60)
        stamp = dt.datetime.now(dt.UTC)

    assert stamp == START + dt.timedelta(seconds=60)


def test_an_error_of_the_freezer_is_raised_from_advance() -> None:
    class Broken:
        def move_to(self, target_datetime: dt.datetime) -> None:
            raise ZeroDivisionError

    with VirtualClock(freezer=Broken()) as clock, pytest.raises(ZeroDivisionError):
        clock.advance(1)


# -- timers


def test_timers_fire_in_order_and_time_stops_at_the_target(clock: VirtualClock) -> None:
    fired: list[tuple[str, float]] = []

    def note(name: str) -> None:
        fired.append((name, clock.monotonic()))

    for delay, name in ((3, "c"), (1, "a"), (2, "b"), (10, "beyond")):
        clock.call_later(delay, note, name)
    clock.advance(5)

    assert fired == [("a", 1.0), ("b", 2.0), ("c", 3.0)]
    assert clock.monotonic() == 5.0
    assert clock.next_deadline() == 5.0


def test_a_timer_at_the_very_target_fires(clock: VirtualClock) -> None:
    fired: list[int] = []
    clock.call_later(5, fired.append, 1)

    clock.advance(5)

    assert fired == [1]


def test_a_timer_armed_by_a_timer_fires_in_the_same_advance(
    clock: VirtualClock,
) -> None:
    fired: list[float] = []

    def again(left: int) -> None:
        fired.append(clock.monotonic())
        if left:
            clock.call_later(1, again, left - 1)

    clock.call_later(1, again, 3)
    clock.advance(3)

    assert fired == [1.0, 2.0, 3.0]


def test_a_thousand_ticks_of_a_tenth_land_exactly(clock: VirtualClock) -> None:
    seen: list[float] = []

    def tick() -> None:
        for _ in range(1000):
            clock.sleep(0.1)
            seen.append(clock.monotonic())

    begin(clock, tick)
    clock.advance(100)

    assert seen == [i / 10 for i in range(1, 1001)]


def test_a_cancelled_timer_does_not_fire(clock: VirtualClock) -> None:
    fired: list[int] = []
    handle = clock.call_later(1, fired.append, 1)

    assert handle.when == 1.0
    assert handle.cancel() is True
    assert handle.cancelled
    assert handle.cancel() is False
    clock.advance(2)
    assert fired == []
    assert clock.next_deadline() is None


def test_cancel_is_refused_in_and_after_the_callback(clock: VirtualClock) -> None:
    answers: list[bool] = []
    handles: list[TimerHandle] = []
    handles.append(clock.call_later(1, lambda: answers.append(handles[0].cancel())))

    clock.advance(1)
    answers.append(handles[0].cancel())

    assert answers == [False, False]


def test_cancelled_timers_and_timeouts_do_not_pile_up(clock: VirtualClock) -> None:
    queue, kept = clock.queue(), clock.call_later(7200, print)

    def reader() -> None:
        while queue.get(timeout=3600):
            clock.sleep(0)

    thread = begin(clock, reader)
    for _ in range(1000):
        clock.call_later(3600, print).cancel()
        queue.put(1)
        clock.settle()

    assert len(clock._kernel.timers._heap) < 300
    queue.put(0)
    thread.join()
    assert kept.cancel()


def test_an_error_of_a_callback_is_raised_from_advance(clock: VirtualClock) -> None:
    fired: list[int] = []

    def fail(word: str) -> None:
        raise ValueError(word)

    clock.call_later(1, fail, "the first")
    clock.call_later(2, fail, "the second")
    clock.call_later(3, fired.append, 3)

    with pytest.raises(ValueError, match="the first") as caught:
        clock.advance(5)

    assert "the second" in caught.value.__notes__[0]
    assert fired == [3]
    assert clock.monotonic() == 5.0
    clock.advance(1)


def test_an_error_of_a_callback_is_raised_at_the_end_at_the_latest() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    def body() -> None:
        with VirtualClock(auto_advance=True) as clock:
            clock.call_later(1, fail)
            clock.sleep(5)
            assert clock.monotonic() == 5.0

    with pytest.raises(ZeroDivisionError):
        body()


def test_an_error_of_the_body_is_not_replaced_by_one_of_a_callback() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    def body() -> None:
        with VirtualClock(auto_advance=True) as clock:
            clock.call_later(1, fail)
            clock.sleep(2)
            raise ValueError("of the body")

    with pytest.raises(ValueError, match="of the body") as caught:
        body()

    assert "ZeroDivisionError" in caught.value.__notes__[0]


def test_timers_of_one_instant_fire_in_the_order_of_their_making(
    clock: VirtualClock,
) -> None:
    fired: list[int] = []
    for number in range(20):
        clock.call_later(1, fired.append, number)

    clock.advance(1)

    assert fired == list(range(20))


@pytest.mark.concurrent
def test_the_order_of_one_instant_does_not_depend_on_racing_makers() -> None:
    outcomes = set()
    for _ in range(30):
        with VirtualClock(seed=None) as clock:
            fired: list[str] = []

            def make(name: str, clock: Any = clock, fired: Any = fired) -> None:
                for number in range(3):
                    os.sched_yield()
                    clock.call_later(1, fired.append, f"{name}{number}")

            for name in "abcd":
                begin(clock, make, name)
            clock.advance(1)
        outcomes.add(tuple(fired))

    assert len(outcomes) == 1


def test_a_timer_without_delay_fires_without_time_moving(clock: VirtualClock) -> None:
    fired: list[float] = []
    clock.call_later(0, lambda: fired.append(clock.monotonic()))
    clock.call_later(-1, lambda: fired.append(clock.monotonic()))

    clock.settle()

    assert fired == [0.0, 0.0]


def test_a_timer_without_end_never_fires(clock: VirtualClock) -> None:
    handle = clock.call_later(float("inf"), print)

    clock.advance(1e9)

    assert handle.cancel()


# -- sleeping and waiting


def test_sleep_ends_at_its_deadline_and_not_before(clock: VirtualClock) -> None:
    log: list[float] = []

    def sleeper() -> None:
        assert clock.sleep(3)
        log.append(clock.monotonic())

    begin(clock, sleeper)
    clock.advance(2.999999)
    assert log == []
    clock.advance(0.000001)
    assert log == [3.0]


def test_sleep_of_no_length_parks_nobody(clock: VirtualClock) -> None:
    assert clock.sleep(0)
    assert clock.sleep(-1)
    assert clock.monotonic() == 0.0


def test_a_wait_shorter_than_a_nanosecond_still_ends(clock: VirtualClock) -> None:
    deadline = 0.1 + 0.2  # a hair above 0.3
    queue, polls = clock.queue(), []

    def until_deadline() -> None:
        while (left := deadline - clock.monotonic()) > 0:
            polls.append(left)
            with pytest.raises(Empty):
                queue.get(timeout=left)

    thread = begin(clock, until_deadline)
    clock.advance(1)

    assert clock.join(thread)
    assert len(polls) <= 2


def test_sleep_woken_by_its_stop_token_says_so_in_time(clock: VirtualClock) -> None:
    token, log = StopToken(clock=clock), []

    def sleeper() -> None:
        log.append((clock.sleep(10, wake_on=token), clock.monotonic()))
        log.append((clock.sleep(10, wake_on=token), clock.monotonic()))

    begin(clock, sleeper)
    clock.call_later(4, token.cancel, "enough")
    clock.advance(20)

    assert log == [(False, 4.0), (False, 4.0)]


def test_sleep_with_a_quiet_stop_token_lasts_its_time(clock: VirtualClock) -> None:
    token, log = StopToken(clock=clock), []

    def sleeper() -> None:
        log.append((clock.sleep(10, wake_on=token), clock.monotonic()))

    begin(clock, sleeper)
    clock.advance(20)

    assert log == [(True, 10.0)]


def test_a_condition_wakes_its_waiters_in_their_order(clock: VirtualClock) -> None:
    condition, woken = clock.condition(), []

    def waiter(name: str) -> None:
        with condition:
            assert condition.wait()
            woken.append(name)

    for name in "abc":
        begin(clock, waiter, name)
        clock.settle()
    with condition:
        condition.notify()
    clock.settle()
    assert woken == ["a"]
    with condition:
        condition.notify_all()
    clock.settle()
    assert sorted(woken) == ["a", "b", "c"]


def test_a_condition_s_wait_times_out_in_virtual_time(clock: VirtualClock) -> None:
    condition, log = clock.condition(threading.Lock()), []

    def waiter() -> None:
        with condition:
            log.append((condition.wait(2), clock.monotonic()))
            log.append((condition.wait(0), clock.monotonic()))
            log.append((condition.wait_for(lambda: 0, 3), clock.monotonic()))
            log.append((clock.wait_for(condition, lambda: 7, 3), clock.monotonic()))

    begin(clock, waiter)
    clock.advance(10)

    assert log == [(False, 2.0), (False, 2.0), (0, 5.0), (7, 5.0)]


def test_wait_for_keeps_its_deadline_through_idle_wake_ups(clock: VirtualClock) -> None:
    condition, log = clock.condition(), []

    def waiter() -> None:
        with condition:
            log.append((condition.wait_for(lambda: False, 5), clock.monotonic()))

    begin(clock, waiter)
    for _ in range(3):
        clock.advance(1)
        with condition:
            condition.notify_all()
    clock.advance(10)

    assert log == [(False, 5.0)]


def test_a_condition_gives_up_all_levels_of_a_reentrant_lock(
    clock: VirtualClock,
) -> None:
    condition, seen = clock.condition(), []

    def waiter() -> None:
        with condition, condition:
            condition.wait(1)
            seen.append(condition._is_held())

    begin(clock, waiter)
    clock.settle()
    with condition:
        pass
    clock.advance(1)

    assert seen == [True]


@pytest.mark.parametrize("lock", [threading.Lock, threading.RLock])
def test_a_condition_is_used_under_its_lock_alone(
    clock: VirtualClock, lock: Callable[[], Any]
) -> None:
    condition = clock.condition(lock())

    with pytest.raises(RuntimeError, match="un-acquired"):
        condition.wait(1)
    with pytest.raises(RuntimeError, match="un-acquired"):
        condition.notify()
    with pytest.raises(RuntimeError, match="un-acquired"):
        condition.wait_for(lambda: False)


def test_an_event_wakes_all_and_stays_set(clock: VirtualClock) -> None:
    event, log = clock.event(), []

    def waiter() -> None:
        log.append((event.wait(10), clock.monotonic()))

    for _ in range(3):
        begin(clock, waiter)
    clock.advance(2)
    assert not event.is_set()
    event.set()
    event.clear()
    clock.settle()
    assert log == [(True, 2.0)] * 3
    begin(clock, waiter)
    clock.advance(10)
    assert log[3] == (False, 12.0)
    event.set()
    assert event.wait()
    assert event.is_set()


def test_a_future_waits_in_virtual_time(clock: VirtualClock) -> None:
    future, late, log = clock.future(), clock.future(), []

    def waiter() -> None:
        log.append((future.result(timeout=10), clock.monotonic()))
        with pytest.raises(FutureTimeout):
            late.result(timeout=10)
        log.append((None, clock.monotonic()))
        log.append((late.result(), clock.monotonic()))

    begin(clock, waiter)
    clock.call_later(3, future.set_result, "in time")
    clock.call_later(15, late.set_result, "late")
    clock.advance(20)

    assert log == [("in time", 3.0), (None, 13.0), ("late", 15.0)]


# -- the wake queue


def test_a_queue_is_first_in_first_out(clock: VirtualClock) -> None:
    queue = clock.queue()
    assert queue.empty()
    for number in range(5):
        queue.put(number)

    assert not queue.empty()
    assert [queue.get() for _ in range(4)] == [0, 1, 2, 3]
    assert queue.get_nowait() == 4
    with pytest.raises(Empty):
        queue.get_nowait()
    with pytest.raises(Empty):
        queue.get(timeout=0)
    assert clock.monotonic() == 0.0


def test_a_queue_may_carry_none(clock: VirtualClock) -> None:
    queue, got = clock.queue(), []
    thread = begin(clock, lambda: got.append(queue.get()))
    clock.settle()

    queue.put(None)

    thread.join()
    assert got == [None]


def test_a_queue_s_get_times_out_in_virtual_time(clock: VirtualClock) -> None:
    queue, log = clock.queue(), []

    def reader() -> None:
        with pytest.raises(Empty):
            queue.get(timeout=2)
        log.append(clock.monotonic())
        log.append(queue.get(timeout=2))
        log.append(clock.monotonic())

    begin(clock, reader)
    clock.call_later(3, queue.put, "item")
    clock.advance(10)

    assert log == [2.0, "item", 3.0]


def test_readers_of_a_queue_are_served_in_their_order(clock: VirtualClock) -> None:
    queue, got = clock.queue(), []

    def reader(name: str) -> None:
        got.append((name, queue.get()))

    for name in "abc":
        begin(clock, reader, name)
        clock.settle()
    for number in range(3):
        queue.put(number)
        clock.settle()

    assert got == [("a", 0), ("b", 1), ("c", 2)]


def test_a_put_inside_a_section_of_the_clock_is_applied_after_it(
    clock: VirtualClock,
) -> None:
    """A finaliser or a signal handler may run in the middle of anything."""
    queue, other = clock.queue(), clock.queue()
    thread = begin(clock, queue.get)
    clock.settle()

    with clock._kernel:
        queue.put("wake")
        other.put(1)
        other.put(2)

    thread.join()
    assert [other.get_nowait(), other.get_nowait()] == [1, 2]


def test_a_full_buffer_parks_its_sender_until_there_is_room(
    clock: VirtualClock,
) -> None:
    """Capacity 2 and a reader that takes one item a second: puts at 0,0,0,1,2,3."""
    condition = clock.condition()
    items: list[int] = []
    times: list[float] = []

    def sender() -> None:
        for number in range(6):
            with condition:
                condition.wait_for(lambda: len(items) < 2)
                items.append(number)
                condition.notify_all()
            times.append(clock.monotonic())

    def reader() -> None:
        for _ in range(6):
            with condition:
                condition.wait_for(lambda: items)
                items.pop(0)
                condition.notify_all()
            clock.sleep(1)

    begin(clock, reader)
    clock.settle()
    begin(clock, sender)
    clock.advance(10)

    assert times == [0, 0, 0, 1, 2, 3]


# -- threads


def test_advance_waits_for_all_that_a_timer_sets_off(clock: VirtualClock) -> None:
    first, log = clock.queue(), []

    def relay(source: Any, target: Any) -> None:
        target.put(source.get() + 1)

    source = first
    for _ in range(20):
        target = clock.queue()
        begin(clock, relay, source, target)
        source = target
    begin(clock, lambda: log.append((source.get(), clock.monotonic())))
    clock.call_later(1, first.put, 0)
    clock.call_later(1.000001, log.append, "the next timer")
    clock.advance(2)

    assert log == [(20, 1.0), "the next timer"]


def test_a_new_thread_counts_before_it_runs(clock: VirtualClock) -> None:
    log: list[float] = []
    for _ in range(10):
        begin(clock, lambda: log.append(clock.monotonic()))

    clock.advance(1)

    assert log == [0.0] * 10


def test_join_waits_in_virtual_time(clock: VirtualClock) -> None:
    sleeper = begin(clock, clock.sleep, 5)
    log: list[tuple[bool, float]] = []

    def joiner() -> None:
        log.append((clock.join(sleeper, 2), clock.monotonic()))
        log.append((clock.join(sleeper, 0), clock.monotonic()))
        sleeper.join(timeout=1)
        log.append((sleeper.is_alive(), clock.monotonic()))
        log.append((clock.join(sleeper), clock.monotonic()))

    begin(clock, joiner)
    clock.advance(10)

    assert log == [(False, 2.0), (False, 2.0), (True, 3.0), (True, 5.0)]


def test_a_thread_that_is_not_started_cannot_be_joined(clock: VirtualClock) -> None:
    with pytest.raises(RuntimeError, match="before it is started"):
        clock.thread(print).join()


def test_a_thread_cannot_join_itself(clock: VirtualClock) -> None:
    errors = []

    def joins_itself() -> None:
        with pytest.raises(RuntimeError, match="current thread"):
            threading.current_thread().join()
        errors.append(1)

    begin(clock, joins_itself)
    clock.settle()

    assert errors == [1]


def test_a_thread_that_cannot_start_is_not_counted(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    thread = clock.thread(print)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            thread.start()

    clock.advance(1)
    assert clock.monotonic() == 1.0


def test_a_thread_is_started_once(clock: VirtualClock) -> None:
    thread = begin(clock, clock.sleep, 1)

    with pytest.raises(RuntimeError, match="once"):
        thread.start()
    clock.advance(1)
    assert clock.join(thread)


def test_threads_have_the_clock_as_their_ambient_one(clock: VirtualClock) -> None:
    seen: list[bool] = []
    assert ambient_clock() is clock

    begin(clock, lambda: seen.append(ambient_clock() is clock))
    clock.call_later(0, lambda: seen.append(ambient_clock() is clock))
    clock.settle()

    assert seen == [True, True]


def test_the_ambient_clock_is_the_system_s_again_afterwards() -> None:
    with VirtualClock():
        pass

    assert ambient_clock() is SYSTEM_CLOCK


def test_many_short_threads_do_not_pile_up(clock: VirtualClock) -> None:
    for _ in range(1000):
        begin(clock, lambda: None).join()

    assert len(clock._threads) <= 256


def test_an_error_of_a_thread_goes_where_python_sends_it(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)

    def fails() -> None:
        raise ZeroDivisionError

    begin(clock, fails).join()

    assert [error.exc_type for error in errors] == [ZeroDivisionError]


# -- the foreign world


def test_time_stands_still_under_a_hold(clock: VirtualClock) -> None:
    """A pool's thread hands its result over before a timer of one second fires."""
    queue, log = clock.queue(), []

    reads = threading.Event()

    def reader() -> None:
        reads.set()
        log.append((queue.get(), clock.monotonic()))

    begin(clock, reader)
    clock.call_later(1, log.append, "timer")
    with ThreadPoolExecutor(1) as pool:
        hold = clock.hold("a job in the pool")

        def job() -> None:
            reads.wait(30)
            queue.put("result")
            hold.release()

        pool.submit(job)
        clock.advance(5)

    assert log == [("result", 0.0), "timer"]
    hold.release()


def test_a_hold_is_a_context_manager(clock: VirtualClock) -> None:
    with clock.hold("nothing much"):
        assert "held by: nothing much" in clock.report()

    clock.advance(1)


def test_a_foreign_thread_may_put(clock: VirtualClock) -> None:
    queue, hold = clock.queue(), clock.hold("a foreign thread")

    def foreign() -> None:
        queue.put("hello")
        hold.release()

    thread = threading.Thread(target=foreign)
    thread.start()

    assert queue.get() == "hello"
    thread.join()


def test_a_foreign_thread_may_not_wait(clock: VirtualClock) -> None:
    queue, event, condition = clock.queue(), clock.event(), clock.condition()
    refused: list[str] = []

    def foreign() -> None:
        waits: list[Callable[[], object]] = [queue.get, event.wait, condition.wait]
        waits.append(lambda: clock.sleep(1))
        with condition:
            for wait in waits:
                with pytest.raises(NotEnrolled, match="outsider"):
                    wait()
                refused.append("refused")

    thread = threading.Thread(target=foreign, name="outsider")
    thread.start()
    thread.join()

    assert len(refused) == 4
    assert clock.now() == START


def test_a_foreign_thread_may_enrol(clock: VirtualClock) -> None:
    log: list[Any] = []
    hold = clock.hold("the foreign thread's arrival")

    def foreign() -> None:
        with clock.enrolled("guest"):
            hold.release()
            log.append(ambient_clock() is clock)
            clock.sleep(3)
            log.append(clock.monotonic())
            with pytest.raises(ClockError), clock.enrolled("twice"):
                pass
        log.append(ambient_clock() is clock)

    thread = threading.Thread(target=foreign)
    thread.start()
    clock.advance(5)
    thread.join()

    assert log == [True, 3.0, False]


def test_only_the_test_thread_drives(clock: VirtualClock) -> None:
    refused: list[int] = []

    def drives() -> None:
        with pytest.raises(ClockError):
            clock.advance(1)
        refused.append(1)

    begin(clock, drives)
    clock.settle()

    assert refused == [1]


# -- driving


def test_step_goes_from_deadline_to_deadline(clock: VirtualClock) -> None:
    seen: list[float] = []
    for delay in (1, 4, 4):
        clock.call_later(delay, lambda: seen.append(clock.monotonic()))

    assert clock.step()
    assert seen == [1.0]
    assert clock.step()
    assert seen == [1.0, 4.0, 4.0]
    assert not clock.step()


def test_run_until_stops_at_the_first_moment_it_holds(clock: VirtualClock) -> None:
    ticks: list[float] = []

    def ticker() -> None:
        for _ in range(100):
            clock.sleep(0.5)
            ticks.append(clock.monotonic())

    begin(clock, ticker)

    assert clock.run_until(lambda: len(ticks) == 7) == 3.5
    assert clock.run_until(lambda: True) == 3.5
    with pytest.raises(TimeoutError, match="does not hold after 2 virtual s"):
        clock.run_until(lambda: False, within=2)
    assert clock.monotonic() == 5.5
    with pytest.raises(Deadlock, match="no timer is left"):
        clock.run_until(lambda: False)


def test_auto_advance_goes_to_the_next_deadline_by_itself() -> None:
    with VirtualClock(auto_advance=True) as clock:
        queue = clock.queue()
        clock.call_later(3600, queue.put, "an hour later")

        assert queue.get() == "an hour later"
        assert clock.monotonic() == 3600.0
        clock.sleep(10)
        assert clock.monotonic() == 3610.0


def test_auto_advance_counts_the_test_thread() -> None:
    ticks: list[float] = []
    with VirtualClock(auto_advance=True) as clock:
        stop = clock.event()

        def ticker() -> None:
            while not stop.wait(1):
                ticks.append(clock.monotonic())

        thread = begin(clock, ticker)
        for _ in range(100):
            os.sched_yield()  # the test is busy setting up
        assert ticks == []
        clock.sleep(2.5)
        stop.set()
        thread.join()

    assert ticks == [1.0, 2.0]


def test_settle_comes_before_auto_advance() -> None:
    with VirtualClock(auto_advance=True) as clock:
        clock.call_later(5, print)

        clock.settle()

        assert clock.monotonic() == 0.0


# -- what goes wrong, and what is said then


def test_a_wait_that_cannot_end_is_a_deadlock_at_once(clock: VirtualClock) -> None:
    inbox = clock.queue()

    def stuck_worker() -> None:
        clock.condition()
        inbox.get()

    thread = begin(clock, stuck_worker)
    began = SYSTEM_CLOCK.monotonic()
    with pytest.raises(Deadlock, match="nothing is left that could wake it") as caught:
        clock.event().wait()

    text = str(caught.value)
    assert SYSTEM_CLOCK.monotonic() - began < 2
    assert "test thread: parked in condition.wait() at test_virtual_clock.py" in text
    assert "stuck_worker: parked in queue.get() at test_virtual_clock.py" in text
    inbox.put(None)
    thread.join()


def test_a_wait_while_time_is_paused_names_the_next_deadline(
    clock: VirtualClock,
) -> None:
    with pytest.raises(Deadlock, match=r"next timer is due at 7 s: use advance\(\)"):
        clock.sleep(7)

    assert clock.monotonic() == 0.0
    assert clock.next_deadline() is None


def test_a_clock_is_usable_after_a_deadlock(clock: VirtualClock) -> None:
    queue = clock.queue()
    with pytest.raises(Deadlock):
        queue.get()

    queue.put("kept")
    assert queue.get() == "kept"
    clock.advance(1)


@pytest.mark.real
def test_a_thread_that_blocks_unseen_is_shown_with_its_line() -> None:
    lock = threading.Lock()
    with VirtualClock(stall_timeout=0.3) as clock:
        lock.acquire()

        def blocks_unseen() -> None:
            with lock:  # the line to be shown
                pass

        with pytest.raises(Stalled, match=r"no progress for 0\.3 s") as caught:
            begin(clock, blocks_unseen)
            clock.advance(1)
        lock.release()
        assert clock.monotonic() == 0.0

    text = str(caught.value)
    assert "blocks_unseen: running" in text
    assert "with lock:  # the line to be shown" in text


@pytest.mark.real
def test_a_hold_that_is_not_released_is_named() -> None:
    with VirtualClock(stall_timeout=0.1) as clock:
        hold = clock.hold("job 17 in the pool")
        with pytest.raises(Stalled, match="held by: job 17 in the pool"):
            clock.advance(1)
        hold.release()
        clock.advance(1)

        assert clock.monotonic() == 1.0


@pytest.mark.real
def test_messages_that_go_round_without_end_are_a_stall() -> None:
    with VirtualClock(hard_timeout=0.2) as clock:
        ping, pong = clock.queue(), clock.queue()

        def relay(source: Any, target: Any) -> None:
            while (item := source.get()) != "stop":
                target.put(item)
            target.put("stop")

        begin(clock, relay, ping, pong)
        begin(clock, relay, pong, ping)
        ping.put("ball")
        with pytest.raises(Stalled, match=r"still busy after 0\.2 s"):
            clock.settle()
        ping.put("stop")


def test_timers_that_re_arm_without_delay_are_a_livelock() -> None:
    with VirtualClock(max_events_per_instant=100) as clock:
        going = [True]

        def again() -> None:
            if going:
                clock.call_later(0, again)

        clock.call_later(1, again)
        with pytest.raises(Livelock, match="time still is 1 s"):
            clock.advance(5)
        going.clear()
        clock.advance(5)


def test_as_many_timers_spread_over_time_are_no_livelock() -> None:
    with VirtualClock(max_events_per_instant=100) as clock:

        def ticker() -> None:
            for _ in range(500):
                clock.sleep(1)

        begin(clock, ticker)
        clock.advance(500)


@pytest.mark.real
def test_the_test_thread_s_own_stall_is_reported_by_the_monitor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    heard = threading.Event()

    class FakeStderr:
        def write(self, text: str) -> None:
            said.append(text)
            heard.set()

    with VirtualClock(stall_timeout=0.05) as clock:
        queue = clock.queue()
        thread = begin(clock, queue.get)
        clock.settle()
        monkeypatch.setattr(sys, "stderr", FakeStderr())
        assert heard.wait(10)  # past the clock, which does not see it
        queue.put(None)
        thread.join()

    assert "has not come back to the clock" in said[0]
    assert "parked in queue.get()" in said[0]


def test_threads_that_still_wait_at_the_end_are_leaks() -> None:
    outcome: list[str] = []
    threads = []

    def leaks(clock: VirtualClock) -> None:
        try:
            clock.queue().get()
        except Exception:  # noqa: BLE001  # must not catch it
            outcome.append("swallowed")
        except ClockClosed:
            outcome.append("unwound")
            raise

    with (
        pytest.raises(Leaked, match=r"leaks: parked in queue\.get") as caught,
        VirtualClock() as clock,
    ):
        threads += [begin(clock, leaks, clock), begin(clock, leaks, clock)]

    assert str(caught.value).count("leaks: parked") == 2
    assert outcome == ["unwound", "unwound"]
    assert not any(thread.is_alive() for thread in threads)


def test_leaks_may_be_unwound_in_silence() -> None:
    with VirtualClock(strict_leaks=False) as clock:
        thread = begin(clock, clock.sleep, 5)

    assert not thread.is_alive()


def test_an_error_of_the_body_is_not_replaced_by_leaks() -> None:
    threads = []

    def body() -> None:
        with VirtualClock() as clock:
            threads.append(begin(clock, clock.sleep, 5))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()

    assert not threads[0].is_alive()


def test_threads_that_end_by_themselves_at_the_end_are_no_leaks() -> None:
    for _ in range(20):
        with VirtualClock() as clock:
            queue = clock.queue()
            thread = begin(clock, queue.get)
            queue.put("stop")

        assert not thread.is_alive()


def test_the_clock_leaves_no_thread_of_its_own() -> None:
    before = set(threading.enumerate())
    with VirtualClock() as clock:
        clock.call_later(1, print)
        clock.advance(0.5)

    assert set(threading.enumerate()) == before


def test_a_clock_is_entered_once() -> None:
    with VirtualClock() as clock:
        pass

    with pytest.raises(ClockError, match="entered once"), clock:
        pass
    with pytest.raises(NotEnrolled, match="which is closed"):
        clock.sleep(1)


def test_two_clocks_do_not_disturb_each_other() -> None:
    with VirtualClock() as outer, VirtualClock() as inner:
        sleeper = begin(inner, inner.sleep, 5)
        inner.advance(5)
        assert inner.join(sleeper)
        assert outer.monotonic() == 0.0
        assert ambient_clock() is inner


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_wait_ended_by_a_signal_handler_leaves_the_books_in_order(
    clock: VirtualClock, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = clock.queue()
    main = clock._kernel.main
    assert main is not None

    class Interrupted:
        def __init__(self, baton: Any) -> None:
            self.baton, self.release = baton, baton.release

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            if timeout > 0:
                queue.put("handed over in that moment")
                raise error
            return bool(self.baton.acquire(blocking, timeout))

    baton = main.baton
    main.baton = Interrupted(baton)  # type: ignore[assignment]
    hold = clock.hold("so that nothing is a deadlock")
    with pytest.raises(error):
        queue.get()
    main.baton = baton
    hold.release()

    assert queue.get() == "handed over in that moment"
    clock.advance(1)
    assert clock.report().count("running") == 2


# -- the oracle: what user code does, not what the kernel counts


@pytest.mark.slow
@pytest.mark.concurrent
@settings(max_examples=100)
@given(scripts=SCRIPTS, auto_advance=st.booleans())
def test_time_never_moves_while_a_thread_is_in_user_code(
    scripts: list[list[tuple[str, int]]], auto_advance: bool
) -> None:
    clock = VirtualClock(seed=None, auto_advance=auto_advance)
    program = play(clock, scripts, driven=not auto_advance)

    assert program.oracle.violations == []
    assert program.late == []
    assert program.ended >= min(4, len(scripts))


@pytest.mark.slow
@pytest.mark.concurrent
def test_many_threads_exchange_everything_in_the_time_it_takes() -> None:
    for round_number in range(5):
        chance = random.Random(round_number)
        with VirtualClock(seed=None) as clock:
            queues = [clock.queue() for _ in range(8)]
            done = clock.queue()
            received: list[int] = []

            def sender(
                number: int, pauses: list[float], clock: Any = clock, to: Any = queues
            ) -> None:
                for index, pause in enumerate(pauses):
                    clock.sleep(pause)
                    to[(number + index) % 8].put(number * 1000 + index)

            def reader(
                source: Any, clock: Any = clock, keep: Any = received, end: Any = done
            ) -> None:
                while True:
                    try:
                        keep.append(source.get(timeout=1000))
                    except Empty:
                        end.put(clock.monotonic())
                        return

            for source in queues:
                begin(clock, reader, source)
            for number in range(20):
                pauses = [chance.choice((0, 0.001, 0.5)) for _ in range(50)]
                begin(clock, sender, number, pauses)
            clock.advance(1100)
            ends = [done.get_nowait() for _ in range(8)]

        assert sorted(received) == sorted(
            n * 1000 + i for n in range(20) for i in range(50)
        )
        assert all(1000 <= end <= 1025 for end in ends)


# -- the stand-ins


def test_a_gate_stops_the_code_until_it_is_opened(clock: VirtualClock) -> None:
    gate, log = Gate(), []

    def passes() -> None:
        gate.pass_through()
        log.append(clock.monotonic())

    assert not gate.wait_arrived(timeout=0)
    for _ in range(2):
        begin(clock, passes)
    assert gate.wait_arrived(count=2)
    assert gate.arrived == 2
    clock.advance(3)
    assert log == []
    gate.open()
    clock.settle()
    assert log == [3.0, 3.0]
    gate.pass_through()


def test_a_gate_works_in_real_time_too() -> None:
    gate = Gate(SYSTEM_CLOCK)
    thread = threading.Thread(target=gate.pass_through)
    thread.start()

    assert gate.wait_arrived(10)
    assert not gate.wait_arrived(0.001, count=2)
    gate.open()
    thread.join(10)
    assert not thread.is_alive()


def test_a_fake_recipient_keeps_what_it_is_told(clock: VirtualClock) -> None:
    recipient = FakeRecipient()

    recipient.tell("one")
    recipient.tell("two", timeout=1)

    assert recipient.tell_control("now") is True
    assert recipient.messages == ["one", "two"]
    assert recipient.control == ["now"]
    assert recipient.wait_told(3)
    assert not recipient.wait_told(4, timeout=0)


def test_a_fake_recipient_can_be_dead(clock: VirtualClock) -> None:
    recipient = FakeRecipient()
    recipient.error = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        recipient.tell("one")
    assert recipient.tell_control("now") is False
    assert recipient.messages == recipient.control == []


def test_a_fake_recipient_can_make_its_sender_wait(clock: VirtualClock) -> None:
    gate = Gate()
    recipient = FakeRecipient(gate=gate)
    thread = begin(clock, recipient.tell, "one")

    assert gate.wait_arrived()
    assert recipient.tell_control("overtakes")
    assert recipient.messages == []
    gate.open()
    assert clock.join(thread)
    assert recipient.messages == ["one"]


@pytest.mark.parametrize("seed", [None, 0])
def test_a_closing_clock_ends_its_own_actors_alone_and_without_a_word(
    seed: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    class Echo(Actor):
        def on_receive(self, message: Any) -> Any:
            self.clock.sleep(message)
            return message

    outside = Echo.start()
    with (
        pytest.raises(Leaked, match=r"(?s)Echo.*Echo"),
        VirtualClock(seed=seed) as clock,
    ):
        busy, idle = Echo.start(), Echo.start()
        busy.tell(5)
        clock.settle()

    assert outside.ask(0) == 0
    assert not busy.is_alive()
    assert not idle.is_alive()
    assert caplog.records == []
    outside.stop()


def test_a_story_has_no_line_of_the_test_runner() -> None:
    with VirtualClock(seed=0) as clock:
        begin(clock, lambda: clock.sleep(1))
        clock.advance(2)

    assert "python.py" not in clock.story()


def test_threads_without_a_name_are_numbered_by_their_clock() -> None:
    def names() -> list[str]:
        with VirtualClock(seed=0) as clock:
            threads = [clock.thread(clock.settle) for _ in range(2)]
            return [thread.name for thread in threads]

    assert names() == names() == ["Thread-1 (settle)", "Thread-2 (settle)"]


def test_a_thread_of_the_clock_cannot_keep_the_process_alive() -> None:
    with VirtualClock() as clock:
        assert clock.thread(clock.settle).daemon


def test_an_interrupt_bears_no_story() -> None:
    with pytest.raises(KeyboardInterrupt) as error, VirtualClock():
        raise KeyboardInterrupt

    assert not hasattr(error.value, "__notes__")
