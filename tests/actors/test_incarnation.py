"""One life: how it begins, what ends it, and what it can no longer do after."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pykka
import pytest

from actors._loop import ReceiveLoop
from actors.base import Actor, adopt
from actors.cell import Cell
from actors.errors import Cancelled, ConfigurationError
from actors.exits import Down, Exit, Failing, Ignore, Started
from actors.ref import ActorAbandoned
from actors.testing import Gate, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.actors.conftest import FakeSupervisor


class Recorder(Actor):
    """Handles what it is told, and keeps a list of it that outlives it."""

    capacity = 100

    def __init__(self, log: list[Any] | None = None, gate: Gate | None = None) -> None:
        super().__init__()
        self.log = [] if log is None else log
        self.gate = gate
        self.fresh = True

    def on_receive(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        if message == "wait":
            assert self.gate is not None
            self.gate.pass_through()
        if message == "boom":
            error = ValueError("boom")
            raise error
        self.log.append((self.incarnation, message))
        return message, self.incarnation

    def on_stop(self) -> None:
        self.log.append((self.incarnation, "on_stop"))

    def on_failure(self, *exc_info: Any) -> None:
        self.log.append((self.incarnation, "on_failure"))


# -- start


def test_init_and_on_start_run_in_the_childs_thread(supervisor: FakeSupervisor) -> None:
    """R27: nothing of the host's runs on the supervisor's thread (D33)."""
    where: list[Any] = []
    gate = Gate()

    class Slow(Actor):
        def __init__(self) -> None:
            super().__init__()
            where.append(threading.current_thread().name)
            gate.pass_through()

        def on_start(self) -> None:
            where.append(threading.current_thread().name)

    cell = supervisor.make(Slow, name="child")
    cell.start()  # does not wait for __init__
    assert gate.wait_arrived()
    assert supervisor.notices == []
    gate.open()

    supervisor.expect(Started)

    assert where == ["child", "child"]
    run = cell.incarnation
    assert run is not None
    assert run._thread.daemon


@pytest.mark.parametrize("where", ["__init__", "on_start"])
def test_failing_start_is_one_report_and_no_hook(
    supervisor: FakeSupervisor, where: str
) -> None:
    """R36, R50: one Down, and neither on_stop nor on_failure."""
    hooks: list[str] = []

    class Broken(Actor):
        def __init__(self) -> None:
            super().__init__()
            if where == "__init__":
                raise OSError("no")

        def on_start(self) -> None:
            raise OSError("no")

        def on_stop(self) -> None:
            hooks.append("on_stop")

        def on_failure(self, *exc_info: Any) -> None:
            hooks.append("on_failure")

    cell = supervisor.make(Broken)
    cell.start()

    exit_ = supervisor.ended(cell)

    assert exit_.kind == "start_failed"
    assert isinstance(exit_.error, OSError)
    assert 'raise OSError("no")' in exit_.traceback
    assert hooks == []
    assert cell.ref.is_alive()  # it may be started again


def test_after_start_is_part_of_the_start(supervisor: FakeSupervisor) -> None:
    """R26: the child has started when after_start has returned."""
    calls: list[Any] = []

    def after_start(actor: Any) -> None:
        calls.append((actor.incarnation, threading.current_thread().name))
        if actor.incarnation == 2:
            raise ValueError

    cell = supervisor.start(Recorder, name="child", after_start=after_start)
    cell.ref.tell("boom")
    supervisor.ended(cell)

    cell.start()

    assert supervisor.ended(cell).kind == "start_failed"
    assert calls == [(1, "child"), (2, "child#2")]


def test_ignore_while_starting_is_no_failure(supervisor: FakeSupervisor) -> None:
    """R33: not started, no error."""

    class Optional(Actor):
        def on_start(self) -> None:
            raise Ignore

    cell = supervisor.make(Optional)
    cell.start()

    exit_ = supervisor.ended(cell)
    assert exit_.kind == "ignored"
    assert not exit_.abnormal


def test_no_thread_to_be_had_is_raised_to_the_starter(
    supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R34: a start failure for the supervisor to count."""

    class NoThread:
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    cell = supervisor.make(Recorder)
    with monkeypatch.context() as patch:
        patch.setattr(supervisor.clock, "thread", lambda *a, **k: NoThread())
        with pytest.raises(RuntimeError, match="new thread"):
            cell.start()
    assert supervisor.notices == []

    cell.start()

    supervisor.expect(Started)
    assert cell.ref.ask("works") == ("works", 2)


def test_stop_during_start_ends_it_without_a_message_handled(
    supervisor: FakeSupervisor,
) -> None:
    """R32, R63: a stop that comes during the start comes next."""
    gate = Gate()

    class Slow(Recorder):
        def on_start(self) -> None:
            gate.pass_through()

    log: list[Any] = []
    cell = supervisor.make(Slow, log)
    cell.start()
    cell.ref.tell("queued")
    gate.wait_arrived()
    cell.stop_now("never mind")
    gate.open()
    supervisor.expect(Started)

    assert supervisor.ended(cell).kind == "shutdown"
    assert log == [(1, "on_stop")]


def test_cell_takes_only_classes_that_are_fit_for_it() -> None:
    with pytest.raises(ConfigurationError, match="adopt"):
        Cell(pykka.ThreadingActor)


# -- exit, restart


def test_crash_tells_failing_then_down_after_the_hook(
    supervisor: FakeSupervisor,
) -> None:
    """R36, R37, R50: on_failure of the old object runs, on_stop does not."""
    log: list[Any] = []
    cell = supervisor.start(Recorder, log)
    cell.ref.tell("boom")

    supervisor.expect(Failing)
    down = supervisor.expect(Down)

    assert down.exit.kind == "failed"
    assert down.exit.message == "boom"
    assert down.exit.abnormal
    assert log == [(1, "on_failure")]
    run = cell.incarnation
    assert run is not None
    run.join()
    assert [type(n) for n in supervisor.notices] == [Started, Failing, Down]


def test_adopted_class_runs_on_failure_then_on_stop(supervisor: FakeSupervisor) -> None:
    """R50: but for classes that close what they hold in on_stop."""
    # on_crash="on_stop"
    log: list[Any] = []

    class Stock(pykka.ThreadingActor):
        source = "a name of its own"

        def __init__(self) -> None:
            pykka.ThreadingActor.__init__(self)  # by name
            self.name = "mine"
            self.clock = "mine too"

        def on_receive(self, message: Any) -> Any:
            if message == "boom":
                raise ValueError
            return self.name, self.clock, self.source, self.actor_urn

        def on_stop(self) -> None:
            log.append("on_stop")

        def on_failure(self, *exc_info: Any) -> None:
            log.append("on_failure")

    made = adopt(Stock)
    cell = supervisor.start(made, on_crash="on_stop")
    answer = cell.ref.ask("names")
    assert answer == ("mine", "mine too", "a name of its own", cell.urn)
    assert cell.ref.tell_control("unknown here")
    cell.ref.tell("boom")

    assert supervisor.restart(cell).kind == "failed"

    assert log == ["on_failure", "on_stop"]
    assert made is adopt(Stock)
    assert made is adopt(made)
    assert made.__name__ == "Stock"
    assert made.__qualname__ == Stock.__qualname__
    assert issubclass(made, Stock)
    assert pykka.ActorRegistry.get_by_class(Stock) == [cell.ref]
    supervisor.stop(cell)
    assert log[2:] == ["on_stop"]


def test_hook_that_raises_changes_nothing_else(
    supervisor: FakeSupervisor, caplog: pytest.LogCaptureFixture
) -> None:
    """R50: it is logged."""

    class Bad(Recorder):
        def on_stop(self) -> None:
            raise OSError("on_stop")

        def on_failure(self, *exc_info: Any) -> None:
            raise OSError("on_failure")

    cell = supervisor.start(Bad)
    cell.ref.tell("boom")
    assert supervisor.restart(cell).kind == "failed"

    assert supervisor.stop(cell).kind == "shutdown"

    texts = [str(r.exc_info[1]) for r in caplog.records if r.exc_info]
    assert texts == ["on_failure", "on_stop"]  # of the crash the supervisor tells


def test_dead_object_is_kept_by_nothing(
    supervisor: FakeSupervisor, caplog: pytest.LogCaptureFixture
) -> None:
    """R51: neither by the exit's error, nor an old proxy, nor the undelivered."""
    caplog.set_level(logging.CRITICAL, "headrace")  # pytest keeps records, with frames
    cell = supervisor.start(Recorder)
    proxy = cell.ref.proxy()
    old = weakref.ref(cell.incarnation.actor)  # type: ignore[union-attr]

    def chained(actor: Any) -> None:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner

    cell.ref.tell(chained)
    exit_ = supervisor.restart(cell)
    cell.ref.ask("next")

    gc.collect()
    assert old() is None
    assert exit_.error is not None
    assert exit_.error.__traceback__ is None
    assert "inner" in exit_.traceback
    assert "outer" in exit_.traceback
    assert cell.last_exit is exit_
    assert proxy.incarnation.get() == 2
    assert proxy == cell.ref.proxy()
    assert proxy.restart_reason.get() is exit_


def test_proxy_of_a_traversable_attribute_follows_a_restart_too(
    supervisor: FakeSupervisor,
) -> None:
    """R51, R1: an old proxy speaks to the new object (F12)."""

    class Player:
        pykka_traversable = True

        def __init__(self) -> None:
            self.volume = 5

    class Owner(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.player = Player()

    cell = supervisor.start(Owner)
    player = cell.ref.proxy().player
    old = weakref.ref(cell.incarnation.actor)  # type: ignore[union-attr]
    assert player.volume.get() == 5
    cell.ref.tell("boom")
    supervisor.restart(cell)
    cell.ref.ask("next")

    gc.collect()

    assert old() is None
    assert player.volume.get() == 5
    assert player == cell.ref.proxy().player


def test_proxy_can_be_made_while_there_is_no_actor(supervisor: FakeSupervisor) -> None:
    """R1: a ref is good through the whole restart."""
    cell = supervisor.make(Recorder)
    proxy = cell.ref.proxy()
    answer = proxy.on_receive("early")

    cell.start()
    supervisor.expect(Started)

    assert answer.get() == ("early", 1)
    assert proxy.fresh.get() is True  # an attribute that __init__ sets


def test_each_incarnation_has_a_fresh_token_below_the_supervisors(
    supervisor: FakeSupervisor,
) -> None:
    """R88: a restart never starts with a signalled token."""
    cell = supervisor.start(Recorder)
    first = cell.incarnation.stop_token  # type: ignore[union-attr]
    cell.stop_now("restart with its group")
    assert supervisor.restart(cell).kind == "shutdown"
    second = cell.incarnation.stop_token  # type: ignore[union-attr]

    assert first.cancelled
    assert not second.cancelled
    assert not supervisor.token.cancelled
    supervisor.token.cancel("all")
    assert second.cancelled
    supervisor.stop(cell)


def test_exit_returned_from_on_control_ends_the_actor(
    supervisor: FakeSupervisor,
) -> None:
    class Leaver(Actor):
        def on_control(self, message: Any) -> Exit:
            return Exit("gave_up", ValueError("last cause"), "its traceback")

    cell = supervisor.start(Leaver)
    cell.ref.tell_control("leave")

    exit_ = supervisor.ended(cell)
    assert exit_.kind == "gave_up"
    assert exit_.traceback == "its traceback"


def test_cell_ends_itself_when_nobody_hears_of_its_end() -> None:
    def deaf(notice: Any) -> None:
        if type(notice) is Down:
            raise RuntimeError("the supervisor is gone")

    with VirtualClock():
        for report in (deaf, lambda notice: type(notice) is not Down):
            cell = Cell(Recorder, report=report)
            run = cell.start()
            asked = cell.ref.ask("x", block=False)
            cell.ref.tell("boom")
            run.join()

            assert cell.final is not None
            assert cell.final.kind == "failed"
            assert asked.get() == ("x", 1)


# -- abandon


def test_abandoned_ask_gets_an_error_and_the_zombie_is_listed(
    supervisor: FakeSupervisor, caplog: pytest.LogCaptureFixture
) -> None:
    """R58: named, logged with its stack, listed (D21, the child's side)."""
    gate = Gate()
    log: list[Any] = []
    cell = supervisor.start(Recorder, log, gate, name="stuck")
    asked = cell.ref.ask("wait", block=False)
    gate.wait_arrived()
    token = cell.incarnation.stop_token  # type: ignore[union-attr]

    stack = cell.abandon("its shutdown time of 5 s is over")

    with pytest.raises(ActorAbandoned):
        asked.get()
    assert stack is not None
    assert "pass_through" in stack
    (zombie,) = cell.zombies
    assert zombie.thread == "zombie:stuck"
    assert zombie.stack == stack
    assert zombie.since == supervisor.clock.monotonic()
    assert token.cancelled
    assert any(t.name == "zombie:stuck" and t.daemon for t in threading.enumerate())
    (record,) = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    assert "5 s is over" in record.getMessage()
    assert "pass_through" in record.getMessage()
    assert cell.last_exit == Exit("abandoned", traceback=stack)
    assert cell.abandon("again") is None

    run = cell.incarnation
    gate.open()
    assert run is not None
    run.join()
    assert cell.zombies == ()
    assert log == [(1, "wait")]  # its handler went on, but no hook ran
    assert [type(n) for n in supervisor.notices] == [Started]


def test_abandoned_tell_is_undelivered_once(supervisor: FakeSupervisor) -> None:
    """R58, R7: the current tell is undelivered."""
    gate = Gate()
    cell = supervisor.start(Recorder, None, gate)
    cell.ref.tell("wait")
    cell.ref.tell("queued")
    gate.wait_arrived()
    run = cell.incarnation
    cell.abandon("it hangs")

    cell.start()
    supervisor.expect(Started)
    gate.open()
    assert run is not None
    run.join()

    assert [u.message for u in cell.undelivered] == ["wait"]
    assert cell.ref.ask(lambda actor: actor.log) == [(2, "queued")]


def test_zombie_cannot_hurt_the_live_incarnation(supervisor: FakeSupervisor) -> None:
    """R59: it hangs in on_failure and then tries everything (D22)."""
    gate = Gate()
    tried: list[Any] = []

    class Stuck(Recorder):
        def on_failure(self, *exc_info: Any) -> None:
            if self.incarnation == 1:
                gate.pass_through()
                self.stop()
                tried.append(self.actor_ref.stop())
                self.actor_ref.tell("from the zombie")
                self.schedule(0, "a timer of the zombie's")
                raise SystemExit(3)

    cell = supervisor.start(Stuck)
    cell.ref.tell("boom")
    supervisor.expect(Failing)
    gate.wait_arrived()
    run = cell.incarnation
    assert cell.abandon("on_failure hangs") is not None
    cell.start()
    supervisor.expect(Started)

    gate.open()
    assert run is not None
    run.join()
    supervisor.clock.settle()

    assert tried == [False]
    assert cell.ref.ask("x") == ("x", 2)
    assert cell.ref in pykka.ActorRegistry.get_all()
    assert cell.zombies == ()
    assert [type(n) for n in supervisor.notices] == [Started, Failing, Started]
    assert cell.ref.ask(lambda actor: actor.log[0]) == (2, "from the zombie")


def test_zombie_that_wakes_before_the_next_start_takes_no_message(
    supervisor: FakeSupervisor,
) -> None:
    """R59: while the restart waits for its backoff."""
    gate = Gate()
    cell = supervisor.start(Recorder, None, gate)
    cell.ref.tell("wait")
    gate.wait_arrived()
    run = cell.incarnation
    assert run is not None
    cell.abandon("it hangs")
    cell.ref.tell("for the next one")

    gate.open()
    run.join()
    cell.start()
    supervisor.expect(Started)

    assert cell.ref.ask(lambda actor: actor.log) == [(2, "for the next one")]
    assert [u.message for u in cell.undelivered] == ["wait"]


def test_stop_of_an_object_left_behind_stops_nobody(
    supervisor: FakeSupervisor,
) -> None:
    """R59: on another thread, as a timer of its own would."""
    gate = Gate()
    cell = supervisor.start(Recorder, None, gate)
    cell.ref.tell("wait")
    gate.wait_arrived()
    run = cell.incarnation
    assert run is not None
    left_behind = run.actor
    cell.abandon("it hangs")
    cell.start()
    supervisor.expect(Started)

    left_behind.stop()

    assert cell.ref.ask("alive") == ("alive", 2)
    gate.open()
    run.join()


@pytest.mark.parametrize("where", ["__init__", "on_start"])
def test_start_that_comes_too_late_is_ignored(
    supervisor: FakeSupervisor, where: str
) -> None:
    """R31, R59: it was left behind while it started."""
    gate = Gate()
    log: list[Any] = []

    class Slow(Recorder):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            if where == "__init__" and self.incarnation == 1:
                gate.pass_through()

        def on_start(self) -> None:
            log.append(self.incarnation)
            if where == "on_start" and self.incarnation == 1:
                gate.pass_through()

    cell = supervisor.make(Slow)
    run = cell.start()
    gate.wait_arrived()
    assert cell.abandon("start_timeout") is not None
    cell.start()
    supervisor.expect(Started)

    gate.open()
    run.join()

    assert cell.ref.ask("x") == ("x", 2)
    assert log == ([2] if where == "__init__" else [1, 2])
    assert [n.number for n in supervisor.notices] == [2]


def test_abandoning_what_has_ended_says_so(supervisor: FakeSupervisor) -> None:
    """R58: never waited for again, and not twice."""
    cell = supervisor.make(Recorder)
    assert cell.abandon("never started") is None
    cell.start()
    supervisor.expect(Started)
    cell.ref.tell("boom")
    supervisor.ended(cell)
    run = cell.incarnation
    assert run is not None
    run.join()

    assert cell.abandon("too late") is None
    assert cell.zombies == ()


def test_stop_request_read_by_a_zombie_is_not_lost(supervisor: FakeSupervisor) -> None:
    """R59, R16: the next incarnation honours it."""
    # The moment between receiving and taking in hand, played by hand.
    cell = supervisor.start(Recorder)
    run = cell.incarnation
    assert run is not None
    assert run.revoke()
    run.hand.append(_taken(cell, stop=True))

    cell.remains.give_up_hand(run)

    assert len(cell.mailbox) == 1
    cell.mailbox.revoke()
    run.join()
    cell.start()
    supervisor.expect(Started)
    assert supervisor.ended(cell).kind == "normal"


def _taken(cell: Cell, *, stop: bool) -> Any:
    other = Cell(Recorder)
    if stop:
        other.ref.stop(block=False)
    envelope = other.mailbox.get()
    envelope.number = cell.number
    return envelope


# -- what must not keep the report of an end back


@dataclass(frozen=True)
class FrozenError(Exception):
    """An error that refuses to be changed."""

    code: int


@pytest.mark.parametrize("where", ["on_start", "on_receive"])
def test_error_that_cannot_be_changed_is_reported(
    supervisor: FakeSupervisor, where: str
) -> None:
    """R36: a frozen dataclass, say."""

    class Frozen(Recorder):
        def on_start(self) -> None:
            if where == "on_start":
                raise FrozenError(3)

        def on_receive(self, message: Any) -> None:
            raise FrozenError(3)

    cell = supervisor.make(Frozen)
    cell.start()
    if where == "on_receive":
        supervisor.expect(Started)
        cell.ref.tell("x")

    exit_ = supervisor.ended(cell)

    assert exit_.error == FrozenError(3)
    assert exit_.error.__traceback__ is None
    assert "raise FrozenError(3)" in exit_.traceback


def test_error_that_cannot_be_shown_is_reported(supervisor: FakeSupervisor) -> None:
    """R36: whatever its class does when asked."""

    class Unshown(Exception):
        @property
        def __cause__(self) -> None:  # type: ignore[override]
            raise OSError("no cause")

    def fail(_actor: Any) -> None:
        raise Unshown

    cell = supervisor.start(Recorder)
    cell.ref.tell(fail)

    exit_ = supervisor.ended(cell)

    assert type(exit_.error) is Unshown
    assert "Unshown" in exit_.traceback


@contextmanager
def _log_that_raises() -> Iterator[None]:
    class Raising(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise OSError("the disk of the log is full")

    handler, log = Raising(), logging.getLogger("headrace.actor")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("asked", [True, False])
def test_log_that_raises_keeps_neither_report_nor_answer_back(
    supervisor: FakeSupervisor, asked: bool
) -> None:
    """R6, R36: nor does a handler of the log."""

    class Bad(Recorder):
        def on_failure(self, *exc_info: Any) -> None:
            raise KeyError("logged")

    cell = supervisor.start(Bad)
    with _log_that_raises():
        if asked:
            with pytest.raises(ValueError, match="boom"):
                cell.ref.ask("boom")
        else:
            cell.ref.tell("boom")
        exit_ = supervisor.ended(cell)

    assert exit_.kind == "fatal"


@pytest.mark.parametrize("asked", [True, False])
def test_message_in_hand_at_an_unexpected_end_is_answered_for(
    supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """R6, R7, R36: as an exception thrown into the thread would do."""

    def interrupted(loop: ReceiveLoop, envelope: Any) -> None:
        loop._hand.append(envelope)
        raise OSError("from outside")

    monkeypatch.setattr(ReceiveLoop, "_handle", interrupted)
    cell = supervisor.start(Recorder)
    if asked:
        with pytest.raises(ActorAbandoned):
            cell.ref.ask("x")
    else:
        cell.ref.tell("x")

    assert supervisor.ended(cell).kind == "fatal"
    assert [u.message for u in cell.undelivered] == ([] if asked else ["x"])


def test_message_may_lie_about_its_class(supervisor: FakeSupervisor) -> None:
    class Untouchable:
        @property  # type: ignore[misc]  # that is the point
        def __class__(self) -> Any:
            raise OSError("hands off")

    cell = supervisor.start(Recorder)
    message = Untouchable()
    cell.ref.tell("boom")
    cell.ref.tell(message)
    supervisor.ended(cell)

    cell.finalize(Exit("failed"))

    assert len(cell.undelivered) == 2


# -- Cancelled


@pytest.mark.parametrize("told", [True, False])
def test_cancelled_start_is_a_shutdown_if_it_was_told_to_stop(
    supervisor: FakeSupervisor, told: bool
) -> None:
    """R32: an __init__ or on_start that obeys its token."""

    class Obedient(Recorder):
        def on_start(self) -> None:
            if told:
                self.stop_token.wait_cancelled()
            raise Cancelled

    cell = supervisor.make(Obedient)
    cell.start()
    if told:
        cell.stop_now("test")

    assert supervisor.ended(cell).kind == ("shutdown" if told else "start_failed")


@pytest.mark.parametrize("hook", ["on_stop", "on_failure"])
def test_cancelled_hook_changes_nothing_else(
    supervisor: FakeSupervisor, hook: str
) -> None:
    """R50: Cancelled out of a hook is no BaseException like others."""

    class Obedient(Recorder):
        def on_stop(self) -> None:
            raise Cancelled

        def on_failure(self, *exc_info: Any) -> None:
            raise Cancelled

    cell = supervisor.start(Obedient)
    if hook == "on_failure":
        cell.ref.tell("boom")
        assert supervisor.restart(cell).kind == "failed"

    assert supervisor.stop(cell).kind == "shutdown"


# -- BaseException


@pytest.mark.parametrize("asked", [True, False])
def test_base_exception_is_fatal_and_stays_in_the_tree(
    supervisor: FakeSupervisor, asked: bool
) -> None:
    """R69: to the asker, and fatal; others are untouched (D24, F1, F8)."""
    bystander = supervisor.start(Recorder)
    error = SystemExit(7)
    log: list[Any] = []

    def leave(_actor: Any) -> None:
        raise error

    cell = supervisor.start(Recorder, log)
    if asked:
        with pytest.raises(SystemExit):
            cell.ref.ask(leave)
    else:
        cell.ref.tell(leave)

    exit_ = supervisor.ended(cell)

    assert exit_.kind == "fatal"
    assert exit_.error is error
    assert log == [(1, "on_stop")]
    assert [u.message for u in cell.undelivered] == ([] if asked else [leave])
    assert bystander.ref.ask("alive") == ("alive", 1)


@pytest.mark.parametrize("hook", ["__init__", "on_start", "on_stop", "on_failure"])
def test_base_exception_in_any_hook_is_one_fatal_report(
    supervisor: FakeSupervisor, hook: str
) -> None:
    """R36, R69: whatever ended it (F2, F7)."""
    error = KeyboardInterrupt()

    class Fatal(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.leave_in("__init__")

        def leave_in(self, here: str) -> None:
            if hook == here:
                raise error

        def on_start(self) -> None:
            self.leave_in("on_start")

        def on_stop(self) -> None:
            self.leave_in("on_stop")

        def on_failure(self, *exc_info: Any) -> None:
            self.leave_in("on_failure")

    cell = supervisor.make(Fatal)
    cell.start()
    if hook in {"on_stop", "on_failure"}:
        supervisor.expect(Started)
    stopping = cell.ref.stop(block=False) if hook == "on_stop" else None
    if hook == "on_failure":
        cell.ref.tell("boom")

    exit_ = supervisor.ended(cell)

    assert exit_.kind == "fatal"
    assert exit_.error is error
    cell.finalize(exit_)
    if stopping is not None:
        assert stopping.get() is True


def test_last_hook_runs_in_every_ending_and_cannot_spoil_it(
    supervisor: FakeSupervisor,
) -> None:
    """R54, R36: where a supervisor stops its children."""
    ends: list[str] = []

    class Last(Recorder):
        def on_start(self) -> None:
            if self.incarnation == 3:
                raise ValueError

        def on_end(self, exit: Exit) -> None:  # noqa: A002
            ends.append(exit.kind)
            raise SystemExit

    cell = supervisor.start(Last)
    cell.ref.tell("boom")
    supervisor.restart(cell)
    cell.ref.stop(block=False)
    supervisor.ended(cell)
    cell.start()
    supervisor.ended(cell)

    assert ends == ["failed", "normal", "start_failed"]


def test_timers_die_with_their_incarnation_and_hold_nothing(
    clock: VirtualClock,
) -> None:
    """R13: a long timer of a dead object is not kept until it is due."""

    class Payload:
        pass

    class Timed(Actor):
        heard: ClassVar[list[Any]] = []

        def on_receive(self, message: Any) -> Any:
            self.schedule(1e6, message)
            raise ValueError

        def on_control(self, message: Any) -> None:
            self.heard.append(message)

    cell = Cell(Timed, clock=clock, report=lambda notice: True)
    cell.start()
    payload = Payload()
    seen = weakref.ref(payload)
    cell.ref.tell(payload)
    del payload
    clock.settle()
    cell.remains.undelivered.clear()
    cell.last_exit = None
    assert cell.incarnation is not None

    assert seen() is None
    cell.start()
    clock.advance(2e6)
    assert Timed.heard == []
    cell.stop_now()
    clock.settle()
    cell.finalize(Exit("shutdown"))
