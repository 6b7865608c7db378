"""The system clock: real time, real primitives, and freezegun beside it."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.util
import logging
import pickle
import queue
import subprocess
import sys
import textwrap
import threading
import types
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self, cast

import pytest
from freezegun import freeze_time

import actors.clock
from actors.clock import (
    SYSTEM_CLOCK,
    ClockFuture,
    SystemClock,
    ambient,
    ambient_clock,
    in_turn,
    raw_lock,
)
from actors.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.stop_token import StopToken

LIMIT = 10.0  # real seconds that nothing here comes near


class FakeToken:
    """A stop token that is cancelled, or not, from the beginning."""

    def __init__(self, *, cancelled: bool) -> None:
        self.cancelled = cancelled
        self.asked: list[float | None] = []

    def wait_cancelled(self, timeout: float | None = None) -> bool:
        self.asked.append(timeout)
        return self.cancelled


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


# -- reading


def test_now_is_an_aware_genuine_utc_datetime(clock: SystemClock) -> None:
    now = clock.now()

    assert type(now) is dt.datetime
    assert now.tzinfo is dt.UTC


def test_monotonic_never_goes_back(clock: SystemClock) -> None:
    readings = [clock.monotonic() for _ in range(1000)]

    assert readings == sorted(readings)


def test_the_makers_hand_out_the_standard_library_s_own(clock: SystemClock) -> None:
    assert isinstance(clock.condition(), threading.Condition)
    assert isinstance(clock.event(), threading.Event)
    assert type(clock.future()) is Future
    assert type(clock.lock()) is type(threading.Lock())
    assert clock.reschedule is None


def test_a_hold_of_real_time_holds_nothing(clock: SystemClock) -> None:
    with clock.hold("a pool job") as hold:
        hold.release()
        hold.release()


def test_a_clock_future_of_real_time_has_a_plain_condition(clock: SystemClock) -> None:
    future = ClockFuture(clock)
    future.set_result(7)

    assert isinstance(future._condition, threading.Condition)
    assert future.result(timeout=0) == 7


# -- waiting


def test_sleep_of_no_length_returns_at_once(clock: SystemClock) -> None:
    assert clock.sleep(0) is True
    assert clock.sleep(-1) is True


def test_sleep_lasts_as_long_as_asked(clock: SystemClock) -> None:
    began = clock.monotonic()

    assert clock.sleep(0.02) is True
    assert clock.monotonic() - began >= 0.02


def test_sleep_tells_whether_its_token_woke_it(clock: SystemClock) -> None:
    cancelled, quiet = FakeToken(cancelled=True), FakeToken(cancelled=False)

    assert clock.sleep(5, wake_on=cast("StopToken", cancelled)) is False
    assert clock.sleep(-5, wake_on=cast("StopToken", quiet)) is True
    assert cancelled.asked == [5]
    assert quiet.asked == [0.0]


@pytest.mark.real
def test_wait_for_gives_up_at_its_timeout(clock: SystemClock) -> None:
    condition = clock.condition()

    with condition:
        assert clock.wait_for(condition, list, timeout=0.01) == []


def test_wait_for_returns_what_the_predicate_returned(clock: SystemClock) -> None:
    condition = clock.condition()
    values: list[str] = []

    def fill() -> None:
        with condition:
            values.append("here")
            condition.notify_all()

    thread = clock.thread(fill)
    with condition:
        thread.start()
        assert clock.wait_for(condition, lambda: values, timeout=LIMIT) == ["here"]
    assert clock.join(thread, LIMIT)


@pytest.mark.real
def test_join_tells_whether_the_thread_has_ended(clock: SystemClock) -> None:
    release = clock.event()
    thread = clock.thread(release.wait, name="waits", daemon=True, args=(LIMIT,))
    thread.start()

    assert clock.join(thread, timeout=0.01) is False
    release.set()
    assert clock.join(thread, LIMIT) is True
    assert thread.name == "waits"
    assert thread.daemon


# -- timers


@pytest.fixture
def busy(clock: SystemClock) -> Iterator[threading.Event]:
    """Keep the clock's timer thread busy until the event is set."""
    begun, done = threading.Event(), threading.Event()

    def keep_busy() -> None:
        begun.set()
        done.wait(LIMIT)

    clock.call_later(0, keep_busy)
    assert begun.wait(LIMIT)
    yield done
    done.set()


@pytest.mark.real
def test_timers_fire_in_order_of_their_deadlines(
    clock: SystemClock, busy: threading.Event
) -> None:
    fired: queue.SimpleQueue[Any] = queue.SimpleQueue()
    made = [
        (clock.call_later(delay, fired.put, delay).when, delay)
        for delay in (0.03, 0.0, 0.015, 0.001)
    ]

    busy.set()

    in_order = [fired.get(timeout=LIMIT) for _ in made]
    assert in_order == [delay for _, delay in sorted(made)]


@pytest.mark.real
def test_a_timer_never_fires_early(clock: SystemClock) -> None:
    fired: queue.SimpleQueue[Any] = queue.SimpleQueue()
    handle = clock.call_later(0.02, lambda: fired.put(clock.monotonic()))

    assert fired.get(timeout=LIMIT) >= handle.when


@pytest.mark.real
def test_a_timer_made_later_for_sooner_fires_first(clock: SystemClock) -> None:
    fired: queue.SimpleQueue[Any] = queue.SimpleQueue()
    late = clock.call_later(3600, fired.put, "late")
    clock.call_later(0.001, fired.put, "soon")

    assert fired.get(timeout=LIMIT) == "soon"
    assert late.cancel()


@pytest.mark.real
def test_a_timer_without_end_does_not_hurt_the_others(clock: SystemClock) -> None:
    fired: queue.SimpleQueue[Any] = queue.SimpleQueue()
    endless = clock.call_later(float("inf"), fired.put, "never")
    clock.call_later(1e12, fired.put, "in an age")
    clock.call_later(0.001, fired.put, "soon")

    assert fired.get(timeout=LIMIT) == "soon"
    clock.call_later(0.001, fired.put, "again")
    assert fired.get(timeout=LIMIT) == "again"
    assert endless.cancel()


@pytest.mark.real
def test_a_cancelled_timer_does_not_fire(
    clock: SystemClock, busy: threading.Event
) -> None:
    fired: queue.SimpleQueue[Any] = queue.SimpleQueue()
    handle = clock.call_later(0, fired.put, "cancelled")

    assert handle.cancel() is True
    assert handle.cancelled
    assert handle.cancel() is False
    busy.set()
    clock.call_later(0, fired.put, "after")
    assert fired.get(timeout=LIMIT) == "after"
    assert fired.empty()


@pytest.mark.real
def test_cancel_is_refused_once_the_call_has_begun(clock: SystemClock) -> None:
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    handles: queue.SimpleQueue[Any] = queue.SimpleQueue()
    handle = clock.call_later(
        0, lambda: answers.put(handles.get(timeout=LIMIT).cancel())
    )
    handles.put(handle)

    assert answers.get(timeout=LIMIT) is False
    assert handle.cancel() is False


@pytest.mark.real
def test_cancelled_timers_do_not_pile_up(clock: SystemClock) -> None:
    kept = clock.call_later(7200, print)
    for _ in range(5000):
        clock.call_later(3600, print).cancel()

    assert len(clock._timers) < 300
    assert kept.cancel()


@pytest.mark.real
def test_a_failing_callback_is_logged_and_the_next_one_runs(
    clock: SystemClock, caplog: pytest.LogCaptureFixture
) -> None:
    fired: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def fail() -> None:
        raise ValueError("of the callback")

    with caplog.at_level(logging.ERROR, logger="headrace.clock"):
        clock.call_later(0, fail)
        clock.call_later(0.001, fired.put, "next")
        assert fired.get(timeout=LIMIT) == "next"

    assert "later ones still run" in caplog.text
    assert "of the callback" in caplog.text


@pytest.mark.real
@pytest.mark.parametrize("error", [SystemExit, Cancelled])
def test_a_callback_that_wants_to_leave_takes_no_other_with_it(
    clock: SystemClock, error: type[BaseException]
) -> None:
    fired: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def leave() -> None:
        raise error

    clock.call_later(0, leave)
    clock.call_later(0.001, fired.put, "next")

    assert fired.get(timeout=LIMIT) == "next"


def test_waits_without_end_are_no_error(clock: SystemClock) -> None:
    condition, thread = clock.condition(), clock.thread(int)
    thread.start()
    answers = iter([False, True])

    with condition:
        clock.call_later(0.01, lambda: _notify(condition))
        assert clock.wait_for(condition, lambda: next(answers), float("inf"))
    assert clock.join(thread, float("inf"))


def _notify(condition: threading.Condition) -> None:
    with condition:
        condition.notify()


def test_a_timer_thread_that_cannot_start_is_tried_again(
    clock: SystemClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fired: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            clock.call_later(0, fired.put, "lost")

    clock.call_later(0, fired.put, "fired")
    assert fired.get(timeout=LIMIT) == "fired"


@pytest.mark.real
def test_a_forked_child_starts_its_own_timer_thread() -> None:
    script = """
        import os, queue
        from actors.clock import SYSTEM_CLOCK

        fired = queue.SimpleQueue()
        SYSTEM_CLOCK.call_later(0, fired.put, "parent")
        assert fired.get(timeout=10) == "parent"
        SYSTEM_CLOCK.call_later(3600, fired.put, "the parent's own")
        child = os.fork()
        if child == 0:
            SYSTEM_CLOCK.call_later(0, fired.put, "child")
            word = fired.get(timeout=10)
            os._exit(0 if word == "child" and not SYSTEM_CLOCK._timers else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert len(SYSTEM_CLOCK._timers) == 1
    """

    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        check=True,
        timeout=60,
    )


# -- freezegun


def test_monotonic_stays_genuine_while_frozen(clock: SystemClock) -> None:
    before = clock.monotonic()
    with freeze_time("2030-05-06 07:08:09"):
        inside = clock.monotonic()

    assert before <= inside < before + LIMIT


def test_now_follows_freezegun_and_stays_genuine(clock: SystemClock) -> None:
    genuine = dt.datetime
    with freeze_time("2030-05-06 07:08:09") as frozen:
        first = clock.now()
        frozen.tick(dt.timedelta(seconds=1.5))
        second = clock.now()

    assert type(first) is type(second) is genuine
    assert first == dt.datetime(2030, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
    assert second - first == dt.timedelta(seconds=1.5)


def test_now_is_not_shifted_by_a_frozen_offset(clock: SystemClock) -> None:
    with freeze_time("2030-05-06 07:08:09", tz_offset=-4):
        stamp = clock.now()

    assert stamp == dt.datetime(2030, 5, 6, 7, 8, 9, tzinfo=dt.UTC)


def test_a_stamp_taken_while_frozen_pickles_without_freezegun(
    clock: SystemClock,
) -> None:
    with freeze_time("2030-05-06 07:08:09"):
        stamp = clock.now()

    pickled = pickle.dumps(stamp)

    assert b"freezegun" not in pickled
    assert pickle.loads(pickled) == stamp


def test_now_survives_a_thaw_by_another_thread(
    clock: SystemClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class JustThawed(dt.datetime):
        @classmethod
        def utcnow(cls) -> Self:
            raise IndexError("list index out of range")

    monkeypatch.setattr(
        actors.clock, "dt", types.SimpleNamespace(datetime=JustThawed, UTC=dt.UTC)
    )

    assert type(clock.now()) is dt.datetime


@pytest.mark.real
def test_waits_are_real_while_frozen(clock: SystemClock) -> None:
    fired: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with freeze_time("2030-05-06 07:08:09"):
        began = clock.monotonic()
        clock.call_later(0.01, fired.put, "fired")
        assert fired.get(timeout=LIMIT) == "fired"
        assert clock.sleep(0.01)
        condition = clock.condition()
        with condition:
            assert not clock.wait_for(condition, lambda: False, timeout=0.01)

    assert 0.03 <= clock.monotonic() - began < LIMIT


def test_a_clock_imported_while_frozen_has_genuine_time() -> None:
    spec = importlib.util.find_spec("actors.clock")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with freeze_time("2030-05-06 07:08:09"):
        spec.loader.exec_module(module)
        inside = module.SYSTEM_CLOCK.monotonic()
        frozen = module.SYSTEM_CLOCK.now()
    after = SYSTEM_CLOCK.monotonic()

    assert inside <= after < inside + LIMIT
    assert type(frozen) is dt.datetime
    assert frozen.year == 2030
    assert abs(module.SYSTEM_CLOCK.now() - SYSTEM_CLOCK.now()).total_seconds() < LIMIT


# -- the ambient clock


def test_the_ambient_clock_is_the_system_s_unless_one_is_entered(
    clock: SystemClock,
) -> None:
    assert ambient_clock() is SYSTEM_CLOCK
    with ambient(clock):
        assert ambient_clock() is clock
        with ambient(SYSTEM_CLOCK):
            assert ambient_clock() is SYSTEM_CLOCK
        assert ambient_clock() is clock
    assert ambient_clock() is SYSTEM_CLOCK


def test_the_ambient_clock_is_left_when_the_block_raises(clock: SystemClock) -> None:
    with contextlib.suppress(ValueError), ambient(clock):
        raise ValueError

    assert ambient_clock() is SYSTEM_CLOCK


def test_a_foreign_thread_does_not_see_the_ambient_clock(clock: SystemClock) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with ambient(clock):
        thread = threading.Thread(target=lambda: seen.put(ambient_clock()))
        thread.start()
        thread.join(LIMIT)

    assert seen.get(timeout=LIMIT) is SYSTEM_CLOCK


def test_a_lock_in_turn_is_the_lock_itself_not_taken() -> None:
    lock = raw_lock()

    assert in_turn(lock) is lock
    assert not lock.locked()


def test_a_held_lock_in_turn_is_waited_for_after_all() -> None:
    lock = raw_lock()
    lock.acquire()
    entered: list[bool] = []

    def enter() -> None:
        with in_turn(lock):
            entered.append(True)

    thread = SYSTEM_CLOCK.thread(enter)
    thread.start()
    assert not entered
    lock.release()
    assert SYSTEM_CLOCK.join(thread, 30)

    assert entered


@pytest.mark.concurrent
def test_sections_in_turn_exclude_each_other() -> None:
    lock = raw_lock()
    inside = most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(2_000):
            with in_turn(lock):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [SYSTEM_CLOCK.thread(work) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert all(SYSTEM_CLOCK.join(thread, 60) for thread in threads)

    assert most == 1
