"""A reply waits on the clock and is completed once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors.clock import Full
from actors.future import Reply, complete

if TYPE_CHECKING:
    from actors.testing import VirtualClock


@pytest.fixture
def clock_options() -> dict[str, Any]:
    return {"auto_advance": True}


def test_get_waits_on_the_clock_until_there_is_a_value(clock: VirtualClock) -> None:
    reply: Reply[str] = Reply()
    clock.call_later(60, reply.set, "value")

    assert reply.get(timeout=100) == "value"

    assert clock.monotonic() == pytest.approx(60)
    assert reply.get(timeout=0) == "value"


def test_get_times_out_on_the_clock(clock: VirtualClock) -> None:
    reply: Reply[str] = Reply()

    with pytest.raises(pykka.Timeout, match="3600 seconds"):
        reply.get(timeout=3600)

    assert clock.monotonic() == pytest.approx(3600)
    assert reply._wakes == []
    with pytest.raises(pykka.Timeout):
        reply.get(timeout=-1)


def test_every_waiting_thread_gets_the_value(clock: VirtualClock) -> None:
    reply: Reply[str] = Reply()
    got: list[str] = []

    def wait() -> None:
        got.append(reply.get())

    threads = [clock.thread(wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    clock.settle()

    reply.set("value")

    for thread in threads:
        clock.join(thread)
    assert got == ["value"] * 5


def test_first_completion_wins_and_a_later_set_raises() -> None:
    # R6
    reply: Reply[str] = Reply()

    assert reply.settle("first")

    assert not reply.settle("second")
    assert not reply.fail(ValueError())
    for late in (reply.set, reply.set_exception):
        with pytest.raises(Full):
            late()
    with pytest.raises(Full):
        reply.set_get_hook(str)
    assert reply.get() == "first"


def test_exception_is_raised_with_its_traceback() -> None:
    reply: Reply[str] = Reply()
    try:
        raise KeyError("inner")
    except KeyError:
        reply.set_exception()
        raised = sys.exc_info()

    for _ in range(2):
        with pytest.raises(KeyError) as caught:
            reply.get()
        assert caught.value is raised[1]
        assert caught.traceback[-1].name == (
            "test_exception_is_raised_with_its_traceback"
        )


def test_exception_may_be_given_as_a_type_alone() -> None:
    reply: Reply[str] = Reply()

    reply.set_exception((KeyError, None, None))

    with pytest.raises(KeyError):
        reply.get()


def test_hook_is_called_once_by_many_readers(clock: VirtualClock) -> None:
    reply: Reply[int] = Reply()
    calls: list[Any] = []
    got: list[int] = []

    def hook(timeout: float | None) -> int:
        calls.append(timeout)
        return 7

    def wait() -> None:
        got.append(reply.get())

    threads = [clock.thread(wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    clock.settle()  # they wait before there is a hook

    reply.set_get_hook(hook)

    for thread in threads:
        clock.join(thread)
    assert got == [7, 7, 7]
    assert calls == [None]
    with pytest.raises(Full):
        reply.set(1)


def test_derived_futures_wait_for_the_reply(clock: VirtualClock) -> None:
    reply: Reply[Any] = Reply()
    clock.call_later(1, reply.set, [1, 2, 3])

    doubled = reply.map(lambda numbers: [2 * n for n in numbers])

    assert doubled.get() == [2, 4, 6]
    assert reply.filter(lambda n: n > 1).get() == [2, 3]
    assert reply.reduce(lambda a, b: a + b).get() == 6
    assert list(reply.join(doubled).get()) == [[1, 2, 3], [2, 4, 6]]
    assert isinstance(doubled, Reply)
    assert isinstance(doubled, pykka.ThreadingFuture)


def test_completing_a_tell_or_a_foreign_future_never_raises() -> None:
    # F3
    foreign: pykka.ThreadingFuture[Any] = pykka.ThreadingFuture()

    complete(None, "value")
    complete(foreign, "value")
    complete(foreign, error=ValueError())

    assert foreign.get() == "value"


def test_a_wake_up_without_an_answer_ends_no_wait(clock: VirtualClock) -> None:
    reply: Reply[int] = Reply(clock, awaited=True)
    reply._wakes[0].put(None)
    clock.call_later(1, reply.settle, 7)

    assert reply.get() == 7
    assert clock.monotonic() == 1
