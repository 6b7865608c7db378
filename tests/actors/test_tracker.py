"""What is under way is counted, and waited for to its end."""

from __future__ import annotations

import pytest

from actors.clock import SYSTEM_CLOCK, Clock
from actors.errors import MailboxClosed
from actors.testing import Gate, VirtualClock
from actors.tracker import Tracker


def test_wait_returns_only_when_closed_and_empty(clock: VirtualClock) -> None:
    """R89: a wait returns only when the tracker is closed and empty."""
    tracker = Tracker()
    seen: list[tuple[bool, float]] = []
    start = clock.monotonic()

    def wait() -> None:
        seen.append((tracker.wait(), clock.monotonic() - start))

    clock.thread(wait).start()
    tracker.add()
    tracker.add()
    clock.advance(1)
    tracker.done()
    tracker.done()
    clock.advance(1)
    assert (len(tracker), seen) == (0, [])  # empty, not closed
    tracker.add()
    tracker.close()
    clock.advance(1)
    assert (len(tracker), seen) == (1, [])  # closed, not empty
    tracker.done()
    clock.settle()

    assert seen == [(True, 3)]
    assert tracker.wait()


@pytest.mark.parametrize("timeout", [None, 6, float("inf")])
def test_wait_ends_when_an_empty_tracker_is_closed(timeout: float | None) -> None:
    """R89: closing an empty tracker is the end too."""
    with VirtualClock(auto_advance=True) as clock:
        tracker = Tracker()
        clock.call_later(5, tracker.close)
        start = clock.monotonic()

        assert tracker.wait(timeout)

        assert clock.monotonic() - start == 5


def test_wait_gives_up_on_the_clock() -> None:
    """R89: a wait in vain ends at its timeout, and leaves nothing."""
    with VirtualClock(auto_advance=True) as clock:
        tracker = Tracker()
        start = clock.monotonic()

        assert not tracker.wait(7)
        assert not tracker.wait(0)
        assert not tracker.wait(-1)

        assert clock.monotonic() - start == 7
        assert tracker._waiters == {}


def test_task_under_way_may_begin_others_after_the_close(clock: VirtualClock) -> None:
    """R89: closed and not empty, it takes what the tasks themselves begin."""
    tracker = Tracker()
    with tracker:
        tracker.close()
        tracker.close()
        with tracker:
            assert (len(tracker), tracker.closed) == (2, True)
        assert not tracker.wait(0)

    assert tracker.wait(0)


def test_nothing_begins_after_the_end() -> None:
    """R89: whoever was told of the end can rely on it."""
    tracker = Tracker()
    tracker.close()

    with pytest.raises(MailboxClosed, match="closed and empty"):
        tracker.add()

    assert tracker.wait(0)
    assert repr(tracker) == "<Tracker closed, 0 under way>"


def test_more_ends_than_beginnings_are_refused() -> None:
    tracker = Tracker()
    with pytest.raises(ValueError, match="more often than add"):
        tracker.done()

    assert (len(tracker), tracker.closed) == (0, False)


def test_task_that_raises_is_counted_out() -> None:
    tracker = Tracker()
    with pytest.raises(KeyError), tracker:
        raise KeyError

    assert len(tracker) == 0


def test_wake_up_that_brings_nothing_ends_no_wait(clock: VirtualClock) -> None:
    tracker = Tracker()
    seen: list[bool] = []
    thread = clock.thread(lambda: seen.append(tracker.wait(10)))
    thread.start()
    clock.settle()
    [wake] = tracker._waiters

    wake.put(None)
    clock.advance(9)
    assert seen == []
    clock.advance(1)

    assert seen == [False]


@pytest.mark.concurrent
def test_everybody_hears_of_the_end_once_all_have_ended(clock: VirtualClock) -> None:
    """R89: tasks that begin others and a close race; all who wait hear of the end."""
    tracker, gate = Tracker(), Gate()
    ended: list[int] = []
    heard: list[int] = []

    def task(depth: int) -> None:
        try:
            if depth:
                tracker.add()
                clock.thread(task, args=(depth - 1,)).start()
        finally:
            ended.append(depth)
            tracker.done()

    def wait() -> None:
        gate.pass_through()
        assert tracker.wait()
        heard.append(len(ended))

    waiting = [clock.thread(wait) for _ in range(3)]
    for thread in waiting:
        thread.start()
    for _ in range(4):
        tracker.add()
        clock.thread(task, args=(3,)).start()
    gate.open()
    tracker.close()
    for thread in waiting:
        clock.join(thread)

    assert heard == [16] * 3
    assert tracker._waiters == {}


class Interrupting:
    """A waiter that is ahead of the others: a signal strikes who wakes it, once."""

    def __init__(self) -> None:
        self.struck = False

    def put(self, _: None) -> None:
        if not self.struck:
            self.struck = True
            raise KeyboardInterrupt


@pytest.mark.parametrize("last", ["done", "close"])
def test_interrupt_of_who_ends_it_leaves_nobody_waiting(
    clock: VirtualClock, last: str
) -> None:
    """R89: Ctrl-C, or on_timeout="interrupt", may come between two wake-ups."""
    tracker = Tracker()
    heard: list[bool] = []
    tracker.add()
    tracker._waiters[Interrupting()] = None  # type: ignore[index]
    thread = clock.thread(lambda: heard.append(tracker.wait()))
    thread.start()
    clock.settle()

    if last == "done":
        tracker.close()
    else:
        tracker.done()
    with pytest.raises(KeyboardInterrupt):
        getattr(tracker, last)()
    clock.join(thread)

    assert heard == [True]


@pytest.mark.real
@pytest.mark.parametrize("timeout", [None, float("inf")])
def test_tracker_works_in_real_time(timeout: float | None) -> None:
    real: Clock = SYSTEM_CLOCK
    tracker = Tracker(clock=real)
    tracker.add()

    def task() -> None:
        tracker.close()
        tracker.done()

    real.thread(task).start()

    assert tracker.wait(timeout)
