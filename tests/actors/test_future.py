"""A reply waits on the clock and is completed once."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors import _callbacks
from actors._callbacks import lasting_thread
from actors.base import Actor
from actors.clock import Full
from actors.exits import Crash
from actors.future import Reply, complete, fail_asker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.testing import VirtualClock
    from tests.actors.conftest import FakeSupervisor

LIMIT = 60.0
ROOT = Path(__file__).resolve().parents[2]


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
    """R6: a later completion is ignored where the actor makes it."""
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


# -- exceptions that nobody reads


@contextmanager
def reports(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """What is said of replies that are dropped in the block, without a collection."""
    told: list[str] = []
    gc.disable()
    try:
        with caplog.at_level(logging.DEBUG, logger="headrace.future"):
            yield told
            assert lasting_thread().flush(LIMIT)
    finally:
        gc.enable()
    records = [r for r in caplog.records if r.name == "headrace.future"]
    assert all(record.levelno == logging.ERROR for record in records)
    told += [record.getMessage() for record in records]


def handler() -> None:
    raise KeyError("from the handler")


def failed_reply(error: Exception, message: Any = "question") -> Reply[Any]:
    """Its error comes from elsewhere: the frames of an error hold what is in them."""
    reply: Reply[Any] = Reply()
    fail_asker(reply, error, "worker-1", message)
    return reply


def raised_by_handler() -> Exception:
    try:
        handler()
    except KeyError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("block", [True, False])
def test_exception_of_an_ask_makes_no_cycle_of_frames(block: bool) -> None:
    """R51: what was asked, and the actor's frames, go with the exception."""

    class Sent:
        pass

    class Failing(Actor):
        def on_receive(self, message: Any) -> None:
            raise ValueError

    def ask() -> weakref.ref[Any]:
        sent = Sent()
        with pytest.raises(ValueError, match=r"^$"):
            if block:
                ref.ask(sent)
            else:
                ref.ask(sent, block=False).get()
        return weakref.ref(sent)

    ref = Failing.start()
    gc.disable()
    try:
        sent = ask()
        left = sent()
    finally:
        gc.enable()
    ref.stop()

    assert left is None


def test_unread_exception_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """R5: an exception that goes to the asker alone is not lost if nobody reads it."""
    with reports(caplog) as told:
        reply = failed_reply(raised_by_handler())
        del reply

    [text] = told
    assert text.startswith("worker-1 raised KeyError on 'question', and nobody read")
    assert "get()" in text
    assert "in handler\n" in text
    assert text.endswith("KeyError: 'from the handler'\n")


@pytest.mark.parametrize(
    "read",
    [
        lambda reply: reply.get(),
        lambda reply: reply.map(str).get(),
        lambda reply: reply.filter(bool).get(),
        lambda reply: reply.reduce(max).get(),
        lambda reply: reply.join(Reply()).get(),
        lambda reply: pykka.get_all([reply]),
        lambda reply: list(reply.__await__()),
    ],
)
def test_exception_that_was_read_is_not_logged(
    read: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with reports(caplog) as told, pytest.raises(KeyError):
        read(failed_reply(raised_by_handler()))

    gc.collect()
    assert told == []


def test_exception_behind_a_mapped_reply_that_nobody_reads_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with reports(caplog) as told:
        mapped = failed_reply(raised_by_handler()).map(str)
        del mapped
        gc.collect()

    assert len(told) == 1


class Unshowable(Exception):
    """Cannot be formatted."""

    @property
    def __cause__(self) -> Any:  # type: ignore[override]  # a class that is bad at it
        message = "no cause is to be had"
        raise RuntimeError(message)


def test_unread_exception_that_cannot_be_shown_is_told_by_its_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R5: what the host's class does about it is no reason to say nothing."""
    with reports(caplog) as told:
        reply = failed_reply(Unshowable())
        del reply

    [text] = told
    assert text.startswith("worker-1 raised Unshowable on 'question', and nobody read")
    assert "cannot be shown: RuntimeError('no cause is to be had')" in text


def test_refusal_that_nobody_reads_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    with reports(caplog) as told:
        reply: Reply[Any] = Reply()
        complete(reply, error=pykka.ActorDeadError("stopped"))
        del reply

    assert told == []


def test_late_exception_of_an_answered_ask_is_no_news(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R6: an ask keeps its first end; a later one is ignored."""
    with reports(caplog) as told:
        reply: Reply[Any] = Reply()
        reply.settle("first")
        fail_asker(reply, KeyError("late"), "worker-1", "question")
        assert reply.get() == "first"
        del reply

    assert told == []


def test_exception_goes_to_a_foreign_future_too() -> None:
    foreign: pykka.ThreadingFuture[Any] = pykka.ThreadingFuture()

    fail_asker(None, KeyError(), "worker-1", "tell")
    fail_asker(foreign, KeyError("told"), "worker-1", "ask")

    with pytest.raises(KeyError, match="told"):
        foreign.get()


def test_asker_is_answered_even_if_nobody_can_be_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_thread(clock: Any) -> Any:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_callbacks, "callback_thread", no_thread)
        reply = failed_reply(raised_by_handler())

    with reports(caplog) as told:
        with pytest.raises(KeyError):
            reply.get()
        del reply

    assert told == []


class Unspeakable:
    def __repr__(self) -> str:
        raise ValueError("no")


def test_message_that_cannot_be_shown_spoils_no_later_report(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with reports(caplog) as told:
        failed_reply(raised_by_handler(), Unspeakable())
        failed_reply(raised_by_handler(), "next")

    assert [text.split(",")[0] for text in told] == [
        "worker-1 raised KeyError on a message of type Unspeakable",
        "worker-1 raised KeyError on 'next'",
    ]


class Greeter(Actor):
    def greet(self, name: str) -> str:
        if not name:
            raise ValueError("nobody")
        return f"Hello, {name}"

    def on_receive(self, message: Any) -> str:
        if message == "crash":
            raise Crash(ValueError("nobody"))
        return self.greet(message)


def test_actor_reports_the_unread_exceptions_of_its_asks(
    supervisor: FakeSupervisor, caplog: pytest.LogCaptureFixture
) -> None:
    """R5: of an ask's exception its reader hears, else the log; the child lives on."""
    ref = supervisor.start(Greeter, name="greeter").ref

    with reports(caplog) as told:
        ref.ask("", block=False)
        ref.proxy().greet("")
        assert ref.ask("Ada", block=True) == "Hello, Ada"

    assert [text.split(",")[0] for text in told] == [
        "greeter raised ValueError on ''",
        "greeter raised ValueError on ProxyCall(attr_path=('greet'",
    ]
    assert ref.cell.number == 1


def test_actor_reports_no_exception_that_is_told_elsewhere(
    supervisor: FakeSupervisor, caplog: pytest.LogCaptureFixture
) -> None:
    cell = supervisor.start(Greeter)

    with reports(caplog) as told:
        with pytest.raises(ValueError, match="nobody"):
            cell.ref.ask("")
        cell.ref.proxy().greet.defer("Ada")
        cell.ref.ask("crash", block=False)
        supervisor.restart(cell)
        gc.collect()

    assert told == []


def test_exception_of_an_ask_whose_asker_gave_up_is_logged(
    clock: VirtualClock, supervisor: FakeSupervisor, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(Actor):
        def on_receive(self, message: Any) -> None:
            clock.sleep(10)
            raise ValueError("too late")

    cell = supervisor.start(Slow)

    with reports(caplog) as told:
        with pytest.raises(pykka.Timeout):
            cell.ref.ask("question", timeout=5)
        supervisor.stop(cell)

    assert "ValueError: too late" in told[0]


UNREAD = """
import logging
from actors import Actor

logging.basicConfig(format="%(message)s")

class Greeter(Actor):
    def greet(self, name):
        raise ValueError(name)

greeter = Greeter.start()
for number in range(100):
    greeter.proxy().greet(number)
greeter.stop()
"""


@pytest.mark.real
def test_unread_exceptions_are_told_before_the_interpreter_ends() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", UNREAD],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )

    assert ran.stderr.count("and nobody read the reply") == 100
    assert ran.stderr.count("\nValueError: ") == 100
