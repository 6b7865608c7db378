"""What comes between: interrupts, finalisers and strangers.

Whatever it is, the virtual clock ends in an error or goes on; it does not hang, and
time does not run early.
"""

from __future__ import annotations

import gc
import math
import signal
import threading
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from actors.clock import SYSTEM_CLOCK, Empty, ambient_clock
from actors.testing import (
    ClockError,
    Deadlock,
    Livelock,
    Stalled,
    VirtualClock,
)
from actors.testing.sections import Sections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Interrupt(Exception):  # it is not an error
    """What the signal handlers of these tests raise."""


@pytest.fixture
def interrupt() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Run a function as a signal handler of the main thread; returns when it has."""
    before = signal.getsignal(signal.SIGUSR1)
    ident = threading.main_thread().ident
    assert ident is not None

    def on_other_thread(fn: Callable[[], object]) -> None:
        done = threading.Event()

        def on_signal(*_: object) -> None:
            try:
                fn()
            finally:
                done.set()

        handlers.append(on_signal)
        signal.pthread_kill(ident, signal.SIGUSR1)
        done.wait()

    handlers: list[Callable[[], None]] = []
    signal.signal(signal.SIGUSR1, lambda *_: handlers.pop()())
    yield on_other_thread
    signal.signal(signal.SIGUSR1, before)


def fail() -> None:
    raise Interrupt


# -- time never runs early


def test_lock_given_up_by_a_wait_goes_to_who_wants_it_first() -> None:
    seen: list[tuple[str, float]] = []

    with VirtualClock(seed=0, auto_advance=True) as clock:
        condition = clock.condition()

        def want() -> None:
            with condition:
                seen.append(("other", clock.monotonic()))

        other = clock.thread(want)
        with condition:
            other.start()
            clock.sleep(1)
            condition.wait(5)
            seen.append(("test", clock.monotonic()))
        other.join()

    assert seen == [("other", 1.0), ("test", 6.0)]


def test_time_waits_for_a_lock_that_a_stranger_holds() -> None:
    taken, released = threading.Event(), threading.Event()

    with VirtualClock(seed=0, auto_advance=True) as clock:
        lock = clock.lock()

        def hold() -> None:
            with lock:
                taken.set()
                released.wait()

        stranger = threading.Thread(target=hold)
        stranger.start()
        taken.wait()
        clock.call_later(50, print)
        releaser = clock.thread(released.set)
        releaser.start()
        with lock:
            now = clock.monotonic()
        stranger.join()

    assert now == 0.0


def test_lock_of_a_thread_that_has_ended_is_a_deadlock() -> None:
    with VirtualClock(seed=0) as clock:
        lock = clock.lock()
        stranger = threading.Thread(target=lock.acquire)
        stranger.start()
        stranger.join()

        with pytest.raises(Deadlock, match=r"lock\.acquire"):
            lock.acquire()


# -- arguments that no wait can take


@pytest.mark.parametrize("seconds", [math.nan, "5"])
@pytest.mark.parametrize("seed", [None, 0])
def test_wait_of_no_length_leaves_the_clock_in_order(
    seconds: Any, seed: int | None
) -> None:
    with VirtualClock(seed=seed, auto_advance=True) as clock:
        queue = clock.queue()

        with pytest.raises((ValueError, TypeError)):
            queue.get(timeout=seconds)
        with pytest.raises((ValueError, TypeError)):
            clock.call_later(seconds, print)
        clock.sleep(1)

        assert clock.monotonic() == 1.0


def test_sleep_takes_any_real_number() -> None:
    with VirtualClock(seed=0, auto_advance=True) as clock:
        clock.sleep(Fraction(1, 2))  # type: ignore[arg-type]

        assert clock.monotonic() == 0.5


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"seed": "7"}, TypeError, "seed must be int or None, got '7'"),
        ({"seed": 1.5}, TypeError, "seed must be int"),
        ({"strategy": object}, TypeError, "strategy must be Strategy"),
        ({"faults": 0.5}, TypeError, "faults must be Faults"),
        ({"stall_timeout": -1}, ValueError, "stall_timeout must be above 0, got -1"),
        ({"stall_timeout": math.nan}, ValueError, "stall_timeout must be above 0"),
        ({"hard_timeout": 0}, ValueError, "hard_timeout must be above 0"),
        ({"max_steps": 0}, ValueError, "max_steps must be above 0"),
        ({"max_events_per_instant": -5}, ValueError, "max_events_per_instant must be"),
    ],
)
def test_wrong_options_are_refused_at_once(
    options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        VirtualClock(**options)


def test_timeouts_may_be_endless() -> None:
    with VirtualClock(
        seed=0, stall_timeout=math.inf, hard_timeout=math.inf, auto_advance=True
    ) as clock:
        clock.sleep(1)


# -- polling without end


@pytest.mark.parametrize("who", ["threads", "test"])
@pytest.mark.parametrize("poll", ["sleep", "reschedule"])
def test_threads_that_poll_without_end_are_a_livelock(who: str, poll: str) -> None:
    over: list[int] = []

    def ask_again() -> None:
        while not over:
            if poll == "sleep":
                clock.sleep(0)
            else:
                clock.reschedule()  # type: ignore[misc]

    with VirtualClock(seed=0, preempt="send", max_steps=200) as clock:
        for _ in range(2):
            clock.thread(ask_again).start()
        with pytest.raises(Livelock, match="200 turns were given"):
            ask_again() if who == "test" else clock.advance(1)
        over.append(1)


# -- interrupts


def test_item_of_an_interrupted_wait_goes_to_the_next_reader(
    interrupt: Callable[[Callable[[], object]], None],
) -> None:
    got: list[str] = []

    with VirtualClock(seed=0) as clock:
        queue = clock.queue()
        second = clock.thread(lambda: got.append(queue.get()))

        def give_and_fail() -> None:
            queue.put("item")
            raise Interrupt

        def start_and_interrupt() -> None:
            second.start()
            clock.sleep(0)
            interrupt(give_and_fail)

        clock.thread(start_and_interrupt).start()
        with pytest.raises(Interrupt):
            queue.get()
        clock.settle()
        second.join()

    assert got == ["item"]


def test_signal_handler_that_waits_is_refused(
    interrupt: Callable[[Callable[[], object]], None],
) -> None:
    with VirtualClock(seed=0) as clock:
        clock.call_later(1, interrupt, clock.queue().get)

        with pytest.raises(
            ClockError, match=r"handler cannot wait, its thread is parked in advance"
        ):
            clock.advance(2)

        clock.advance(2)


def test_interrupts_in_sections_leave_the_clock_usable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a signal handler would raise, at the worst moments."""
    real = Sections.release
    with VirtualClock(seed=0, auto_advance=True) as clock:
        event = clock.event()
        other = clock.thread(event.wait)
        other.start()
        clock.settle()
        monkeypatch.setattr(Sections, "release", lambda _self: fail())
        with pytest.raises(Interrupt):
            clock.next_deadline()
        with pytest.raises(Interrupt):
            clock.sleep(1)
        monkeypatch.setattr(Sections, "release", real)

        event.set()
        clock.sleep(1)
        other.join()


def test_deadlock_on_the_way_out_of_a_wait_is_not_hidden() -> None:
    with VirtualClock(seed=0, auto_advance=True) as clock:
        condition, gate = clock.condition(), clock.event()

        def keep() -> None:
            with condition:
                gate.wait()

        keeper = clock.thread(keep, name="keeper")
        with (
            pytest.raises(Deadlock, match="waits for a lock held by keeper"),
            condition,
        ):
            keeper.start()
            condition.wait(1)
        gate.set()
        keeper.join()


def test_wait_broken_off_by_the_end_of_the_clock_ends_quietly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hooked: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", hooked.append)

    with VirtualClock(seed=0, strict_leaks=False) as clock:
        condition = clock.condition()

        def wait() -> None:
            with condition:
                condition.wait()

        def notify_and_keep() -> None:
            with condition:
                condition.notify()
                clock.sleep(100)

        clock.thread(wait).start()
        clock.settle()
        clock.thread(notify_and_keep).start()

    assert hooked == []


# -- finalisers, and other code that comes in between


def collect_inside_a_section(clock: VirtualClock, do: Callable[[], object]) -> None:
    """Have a finaliser come at the worst moment."""

    class Cyclic:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            do()

    class Puts:
        def give(self, _item: None) -> None:
            gc.collect()

    Cyclic()
    clock._kernel.put(Puts(), None)


def test_finaliser_may_release_a_hold_inside_a_section() -> None:
    with VirtualClock(seed=0) as clock:
        hold = clock.hold("something")

        collect_inside_a_section(clock, hold.release)
        clock.advance(1)

        assert "held by" not in clock.report()


def test_finaliser_that_would_wait_inside_a_section_is_refused() -> None:
    raised: list[BaseException] = []

    with VirtualClock(seed=0) as clock:

        def ask() -> None:
            try:
                clock.queue().get()
            except ClockError as error:
                raised.append(error)

        collect_inside_a_section(clock, ask)
        clock.settle()

    assert "a finaliser or a signal handler came" in str(raised[0])


def test_report_calls_no_repr_of_the_user() -> None:
    class Sly:
        def __call__(self) -> None: ...

        def __repr__(self) -> str:
            return clock.report()

    with VirtualClock(seed=0) as clock:
        clock.call_later(5, partial(print, Sly()))
        clock.call_later(6, Sly())

        assert "5 s calls print, 6 s calls " in clock.report()


def test_excepthook_runs_in_the_turn_of_its_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log: list[str] = []
    clock = VirtualClock(seed=0, auto_advance=True)

    def tell_slowly(_: object) -> None:
        clock.sleep(1)
        log.append("told")

    monkeypatch.setattr(threading, "excepthook", tell_slowly)

    with clock:
        thread = clock.thread(fail)
        thread.start()
        thread.join()
        log.append("joined")

    assert log == ["told", "joined"]


# -- threads that do not start, or start too early


# What threading calls to start a thread, from 3.13 on and before.
JOINABLE = "_start_joinable_thread"
START = JOINABLE if hasattr(threading, JOINABLE) else "_start_new_thread"


def no_thread(*_: object, **__: object) -> None:
    message = "can't start new thread"
    raise RuntimeError(message)


def test_timers_work_after_their_thread_could_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fired: list[str] = []

    with VirtualClock(seed=0) as clock:
        with monkeypatch.context() as patch:
            patch.setattr(threading, START, no_thread)
            with pytest.raises(RuntimeError, match="can't start"):
                clock.call_later(1, fired.append, "refused")
        clock.call_later(2, fired.append, "called")
        clock.advance(3)

    assert fired == ["called"]


def test_thread_whose_start_was_interrupted_ends_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[int] = []
    real = threading.Thread.start

    def start_and_fail(thread: threading.Thread) -> None:
        started.append(thread)
        raise Interrupt

    started: list[threading.Thread] = []
    with VirtualClock(seed=0) as clock:
        thread = clock.thread(ran.append, args=[1])
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start_and_fail)
            with pytest.raises(Interrupt):
                thread.start()
        real(started[0])
        clock.advance(1)
        threading.Thread.join(thread)

    assert ran == []


def test_clock_whose_watchdog_cannot_start_is_not_entered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threading, START, no_thread)

    with pytest.raises(RuntimeError, match="can't start"), VirtualClock(seed=0):
        pass

    assert ambient_clock() is SYSTEM_CLOCK


def test_test_thread_waits_for_its_turn_to_enter() -> None:
    inside: list[str] = []
    clock = VirtualClock(seed=0)
    begun, proceed = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        proceed.wait()
        inside.append("thread")

    thread = clock.thread(work)
    thread.start()
    begun.wait()
    threading.Thread(target=proceed.set).start()
    with clock:
        inside.append("test")
        thread.join()

    assert inside == ["thread", "test"]


def test_a_clock_that_stalled_can_be_used_again() -> None:
    lock, log = threading.Lock(), []
    lock.acquire()

    def work() -> None:
        with lock:
            log.append("in")
        clock.sleep(1)
        log.append("slept")

    with VirtualClock(seed=0, stall_timeout=0.1) as clock:
        thread = clock.thread(work)
        thread.start()
        with pytest.raises(Stalled):
            clock.advance(5)
        lock.release()
        clock.advance(5)
        thread.join()

    assert log == ["in", "slept"]


def test_poll_of_an_empty_queue_raises_empty() -> None:
    with VirtualClock(seed=0) as clock, pytest.raises(Empty):
        clock.queue().get(timeout=-1)
