"""The wake queue of the system clock: waits that end, also when signals interrupt.

:Runs on: the test runner's thread and threads of the tests.
:Owns: SIGALRM, while a test interrupts itself.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from actors._wake_queue import SignalProofQueue
from actors.clock import SYSTEM_CLOCK, Empty, WakeQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 60.0

both = pytest.mark.parametrize("make", [SYSTEM_CLOCK.queue, SignalProofQueue])


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Let threads take turns every few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@both
def test_items_come_out_in_order(make: Callable[[], WakeQueue]) -> None:
    wake = make()
    assert wake.empty()

    for item in (1, None, 3):
        wake.put(item)

    assert not wake.empty()
    assert [wake.get(), wake.get_nowait(), wake.get(timeout=1)] == [1, None, 3]
    assert wake.empty()


@both
def test_empty_queue_says_so_when_there_is_no_time(
    make: Callable[[], WakeQueue],
) -> None:
    wake = make()
    wake.put("taken")
    wake.get()

    for options in ({"block": False}, {"timeout": 0}, {"timeout": 0.001}):
        with pytest.raises(Empty):
            wake.get(**options)
    with pytest.raises(Empty):
        wake.get_nowait()


@pytest.mark.real
@pytest.mark.parametrize("timeout", [float("inf"), 1e300, 1e10])
@both
def test_wait_without_end_is_no_error(
    make: Callable[[], WakeQueue], timeout: float
) -> None:
    wake = make()
    threading.Timer(0.01, wake.put, ["came"]).start()

    assert wake.get(timeout=timeout) == "came"


@pytest.mark.concurrent
@pytest.mark.usefixtures("fast_switching")
@both
def test_every_item_reaches_one_of_many_readers(
    make: Callable[[], WakeQueue],
) -> None:
    wake = make()
    got: list[int] = []

    def read(timeout: float | None) -> None:
        while (item := wake.get(timeout=timeout)) is not None:
            got.append(item)

    def write(start: int) -> None:
        for number in range(start, start + 200):
            wake.put(number)

    readers = [threading.Thread(target=read, args=(t,)) for t in (None, LIMIT, LIMIT)]
    writers = [threading.Thread(target=write, args=(n,)) for n in (0, 1_000, 2_000)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join(LIMIT)
    for _ in readers:
        wake.put(None)
    for thread in readers:
        thread.join(LIMIT)

    assert not any(thread.is_alive() for thread in readers)
    assert sorted(got) == [start + n for start in (0, 1_000, 2_000) for n in range(200)]


@pytest.mark.real
@both
def test_wait_ends_although_its_deadline_passes_in_a_signal_handler(
    make: Callable[[], WakeQueue],
) -> None:
    interrupted = 0

    def handler(number: int, frame: object) -> None:
        nonlocal interrupted
        interrupted += 1
        assert interrupted == 1, "the wait goes on after its deadline"
        while SYSTEM_CLOCK.monotonic() < deadline + 0.01:
            pass

    old = signal.signal(signal.SIGALRM, handler)
    try:
        deadline = SYSTEM_CLOCK.monotonic() + 0.1
        signal.setitimer(signal.ITIMER_REAL, 0.05, 10)
        with pytest.raises(Empty):
            make().get(timeout=0.1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert interrupted == 1


@pytest.mark.real
@both
def test_put_in_a_signal_handler_wakes_the_interrupted_reader(
    make: Callable[[], WakeQueue],
) -> None:
    wake = make()
    old = signal.signal(signal.SIGALRM, lambda number, frame: wake.put(number))
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    try:
        got = [wake.get(timeout=timeout) for timeout in (None, LIMIT) * 500]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert set(got) == {signal.SIGALRM}
