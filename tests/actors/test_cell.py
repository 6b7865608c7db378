"""What survives a restart, and that every message is accounted for."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors.base import Actor, adopt
from actors.cell import Cell
from actors.errors import Cancelled, WouldDeadlock
from actors.exits import Crash, Down, Exit, Started
from actors.ref import ActorDeadError, ActorRestarted, SendTimeout
from actors.testing import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.exits import StopRequest
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


# -- identity, mailbox, messages


def test_restart_keeps_ref_urn_registry_and_queue(supervisor: FakeSupervisor) -> None:
    """R1, R3: one ref, urn and registry entry, FIFO order, queued asks (D01)."""
    log: list[Any] = []
    gate = Gate()
    cell = supervisor.start(Recorder, log, gate)
    ref, urn = cell.ref, cell.urn
    for message in ("wait", "boom", "a"):
        ref.tell(message)
    asked = ref.ask("b", block=False)
    ref.tell("c")
    gate.open()

    supervisor.restart(cell)

    assert asked.get() == ("b", 2)
    assert ref.ask("d") == ("d", 2)
    assert cell.ref is ref
    assert cell.urn == urn
    assert pykka.ActorRegistry.get_all().count(ref) == 1
    assert log == [
        (1, "wait"),
        (1, "on_failure"),
        (2, "a"),
        (2, "b"),
        (2, "c"),
        (2, "d"),
    ]


def test_ref_is_alive_through_restart_and_dead_after_the_end(
    supervisor: FakeSupervisor,
) -> None:
    """R1: is_alive() is False only after the final stop."""
    cell = supervisor.make(Recorder)
    assert cell.ref.is_alive()
    cell.start()
    supervisor.expect(Started)
    cell.ref.tell("boom")
    exit_ = supervisor.ended(cell)
    assert cell.ref.is_alive()

    cell.finalize(exit_)

    assert not cell.ref.is_alive()
    assert cell.ref not in pykka.ActorRegistry.get_all()
    assert cell.stopped.is_set()


def test_restart_makes_a_new_object_from_the_same_arguments(
    supervisor: FakeSupervisor,
) -> None:
    """R2: no attribute of the old object is reused, arguments are shared."""
    log: list[Any] = []
    cell = supervisor.start(Recorder, log)
    cell.ref.tell(lambda actor: setattr(actor, "fresh", False))
    assert cell.ref.proxy().fresh.get() is False

    cell.ref.tell("boom")
    supervisor.restart(cell)

    assert cell.ref.proxy().fresh.get() is True
    assert cell.ref.ask(lambda actor: actor.log is log)


def test_kwargs_may_be_a_factory_for_each_incarnation(
    supervisor: FakeSupervisor,
) -> None:
    """R2: mutable state comes from a factory, asked by each incarnation."""
    calls: list[str] = []

    def factory() -> dict[str, Any]:
        calls.append(threading.current_thread().name)
        return {"log": []}

    cell = supervisor.start(Recorder, kwargs=factory, name="child")
    cell.ref.tell("boom")
    supervisor.restart(cell)

    assert calls == ["child", "child#2"]


def test_crashing_message_is_not_redelivered_but_undelivered(
    supervisor: FakeSupervisor,
) -> None:
    """R4: kept with exception, child and incarnation (D02)."""
    told: list[Any] = []
    cell = supervisor.start(Recorder, name="child", on_undelivered=told.append)
    cell.ref.tell("boom")

    exit_ = supervisor.restart(cell)

    cell.ref.ask("after")
    (record,) = cell.undelivered
    assert told == [record]
    assert (record.message, record.child, record.number) == ("boom", "child", 1)
    assert isinstance(record.error, ValueError)
    assert record.error is exit_.error
    assert cell.undelivered_count == 1
    assert supervisor.notices.count(supervisor.notices[-1]) == 1


def test_error_while_asked_goes_to_the_asker_alone(supervisor: FakeSupervisor) -> None:
    """R5: an Exception answers the ask and the child lives on (D03)."""
    cell = supervisor.start(Recorder)

    with pytest.raises(ValueError, match="boom"):
        cell.ref.ask("boom")

    assert cell.ref.ask("next") == ("next", 1)
    assert not cell.undelivered


def test_crash_answers_the_ask_and_fails_the_actor(supervisor: FakeSupervisor) -> None:
    """R5: Crash replies and then fails the child."""

    def crash(_actor: Any) -> None:
        raise Crash(KeyError("k"))

    cell = supervisor.start(Recorder)

    with pytest.raises(KeyError):
        cell.ref.ask(crash)

    exit_ = supervisor.ended(cell)
    assert exit_.kind == "failed"
    assert isinstance(exit_.error, KeyError)
    assert not cell.undelivered


def test_crash_of_a_tell_is_known_by_its_error(supervisor: FakeSupervisor) -> None:
    """R5: what a Crash was made from is the error everywhere."""

    def crash(_actor: Any) -> None:
        raise Crash(KeyError("k"))

    cell = supervisor.start(Recorder)
    cell.ref.tell(crash)

    assert isinstance(supervisor.ended(cell).error, KeyError)
    assert [type(u.error) for u in cell.undelivered] == [KeyError]


def test_traceback_of_a_crash_says_where_it_was_raised(
    supervisor: FakeSupervisor,
) -> None:
    """R5, R51: an error that was only handed to Crash has no place of its own."""

    def crash(_actor: Any) -> None:
        raise Crash(KeyError("k"))

    cell = supervisor.start(Recorder)
    cell.ref.tell(crash)

    traceback = supervisor.ended(cell).traceback

    assert traceback.startswith("Traceback")
    assert 'raise Crash(KeyError("k"))' in traceback
    assert traceback.endswith("KeyError: 'k'\n")


class Nameless(Crash):
    """Never called its base's ``__init__``: it has no ``error``."""

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize(
    "crash",
    [Crash("text"), Crash(None), Crash(KeyError), Nameless()],  # type: ignore[arg-type]
)
def test_crash_without_an_error_is_the_error(
    supervisor: FakeSupervisor, crash: Crash
) -> None:
    """R5, R6, R7: a Crash made wrong loses neither the ask nor the tell."""

    def fail(_actor: Any) -> None:
        raise crash

    cell = supervisor.start(Recorder)
    with pytest.raises(Crash) as raised:
        cell.ref.ask(fail)
    assert raised.value is crash
    exit_ = supervisor.restart(cell)
    assert (exit_.kind, exit_.error) == ("failed", crash)

    cell.ref.tell(fail)
    exit_ = supervisor.ended(cell)
    assert (exit_.kind, exit_.error) == ("failed", crash)
    assert [(u.message, u.error) for u in cell.undelivered] == [(fail, crash)]


def test_error_of_an_ask_that_failed_the_actor_makes_no_cycle(
    supervisor: FakeSupervisor,
) -> None:
    """R51: the asker's traceback has the actor's frames, and so keeps them, but them
    alone: once it is let go of, and the next has failed too, they are gone.
    """

    class Fragile(Actor):
        def on_receive(self, kind: type[BaseException]) -> None:
            raise kind

    cell = supervisor.start(Fragile, crash_on_ask=(ValueError,))
    dead = []
    gc.disable()
    try:
        for error in (ValueError, KeyError, SystemExit) * 10:
            assert cell.incarnation is not None
            dead.append(weakref.ref(cell.incarnation.actor))
            with contextlib.suppress(error):
                cell.ref.ask(error)
            if error is KeyError:
                cell.ref.tell(error)
            supervisor.restart(cell)
            supervisor.notices.clear()
        supervisor.clock.settle()
        left = [ref() for ref in dead]
    finally:
        gc.enable()

    assert left[:-1] == [None] * 29  # of the last one, last_exit has the error


def test_fresh_mailbox_drops_tells_and_refuses_asks_at_restart(
    supervisor: FakeSupervisor,
) -> None:
    """R11: tells are undelivered, asks get ActorRestarted."""
    gate = Gate()
    cell = supervisor.start(Recorder, None, gate, mailbox="fresh")
    cell.ref.tell("wait")
    cell.ref.tell("boom")
    cell.ref.tell("queued")
    asked = cell.ref.ask("asked", block=False)
    gate.open()

    supervisor.restart(cell)

    with pytest.raises(ActorRestarted):
        asked.get()
    assert [u.message for u in cell.undelivered] == ["boom", "queued"]
    assert cell.ref.ask("new") == ("new", 2)


def test_stop_request_survives_a_fresh_mailbox(supervisor: FakeSupervisor) -> None:
    """R11, R16: a stop is no message of the old life."""
    gate = Gate()
    cell = supervisor.start(Recorder, None, gate, mailbox="fresh")
    cell.ref.tell("wait")
    cell.ref.tell("boom")
    answer = cell.ref.stop(block=False)
    gate.open()

    supervisor.ended(cell)
    cell.start()
    supervisor.expect(Started)

    exit_ = supervisor.ended(cell)
    assert exit_.kind == "normal"
    cell.finalize(exit_)
    assert answer.get() is True


def test_senders_fill_the_mailbox_and_wait_while_it_restarts(
    supervisor: FakeSupervisor,
) -> None:
    """R14, R3: nothing is dropped; senders fill up to the bound, then block."""
    cell = supervisor.start(Recorder, capacity=2)
    cell.ref.tell("boom")
    supervisor.ended(cell)
    cell.ref.tell(1)
    cell.ref.tell(2)
    with pytest.raises(SendTimeout):
        cell.ref.tell(3, timeout=0)
    told = Gate()

    def send() -> None:
        cell.ref.tell(3)
        told.pass_through()

    sender = supervisor.clock.thread(send)
    sender.start()
    supervisor.clock.settle()
    assert told.arrived == 0

    cell.start()
    supervisor.expect(Started)

    told.open()
    supervisor.clock.join(sender)
    assert cell.ref.ask(lambda actor: [m for _, m in actor.log]) == [1, 2, 3]


def test_blocked_sender_gets_dead_error_at_the_end(supervisor: FakeSupervisor) -> None:
    """R8: a sender blocked at the final stop gets ActorDeadError (F10)."""
    cell = supervisor.make(Recorder, capacity=1)
    cell.ref.tell("in")
    errors: list[Any] = []

    def send() -> None:
        with pytest.raises(ActorDeadError) as caught:
            cell.ref.tell("blocked")
        errors.append(caught.value)

    sender = supervisor.clock.thread(send)
    sender.start()
    supervisor.clock.settle()

    cell.finalize(Exit("shutdown"))

    supervisor.clock.join(sender)
    assert len(errors) == 1
    assert [u.message for u in cell.undelivered] == ["in"]  # not the blocked one


def test_end_answers_every_message_once_in_the_mailbox(
    supervisor: FakeSupervisor,
) -> None:
    """R68: tells undelivered, asks failed, stops answered, watchers told, in order."""
    cell = supervisor.make(Recorder)
    seen: list[Any] = []
    cell.on_final(lambda exit_: seen.append((exit_.kind, cell.ref.is_alive())))
    cell.ref.tell("told")
    asked = cell.ref.ask("asked", block=False)
    stop = cell.ref.stop(block=False)

    assert cell.finalize(Exit("shutdown"))

    with pytest.raises(ActorDeadError, match="stopped before handling"):
        asked.get()
    assert stop.get() is True
    assert [u.message for u in cell.undelivered] == ["told"]
    assert seen == [("shutdown", False)]
    assert not cell.finalize(Exit("failed"))
    assert cell.final == Exit("shutdown")
    with pytest.raises(ActorDeadError):
        cell.ref.tell("late")
    with pytest.raises(ActorDeadError):
        cell.start()
    cell.on_final(lambda exit_: seen.append(exit_.kind))
    assert seen[1:] == ["shutdown"]


def test_callback_of_the_end_can_be_taken_back(supervisor: FakeSupervisor) -> None:
    """R68, R79: whoever needs it no longer leaves nothing in the cell."""
    cell = supervisor.make(Recorder)
    told: list[str] = []
    take_back = cell.on_final(lambda exit_: told.append(exit_.kind))
    cell.on_final(lambda exit_: told.append(f"also {exit_.kind}"))

    take_back()
    take_back()
    cell.finalize(Exit("shutdown"))
    cell.on_final(lambda exit_: told.append(f"late {exit_.kind}"))()

    assert told == ["also shutdown", "late shutdown"]


def test_undelivered_list_is_bounded_and_counted(supervisor: FakeSupervisor) -> None:
    """R4: the newest are kept, all are counted."""
    cell = supervisor.make(Recorder, capacity=None)
    for number in range(1500):
        cell.ref.tell(number)

    cell.finalize(Exit("shutdown"))

    assert cell.undelivered_count == 1500
    assert [u.message for u in cell.undelivered] == list(range(500, 1500))


def test_capacity_is_given_else_the_class_else_ten(supervisor: FakeSupervisor) -> None:
    """R24: the given capacity, else that of the class, else 10."""

    class Bare(Actor):
        pass

    class Sized(Actor):
        capacity = 3

    assert supervisor.make(Bare).mailbox.capacity == 10
    assert supervisor.make(Sized).mailbox.capacity == 3
    assert supervisor.make(Sized, capacity=None).mailbox.capacity is None
    assert supervisor.make(adopt(pykka.ThreadingActor)).mailbox.capacity == 10


# -- control lane


@pytest.mark.concurrent
def test_stop_now_overtakes_a_full_mailbox(supervisor: FakeSupervisor) -> None:
    """R15, R18: the token first, then a control message, read next (D04)."""
    log: list[Any] = []
    cell = supervisor.start(Recorder, log, capacity=1)
    busy = Gate()

    def poll(actor: Any) -> None:
        busy.open()
        busy.pass_through()
        actor.stop_token.wait_cancelled()

    cell.ref.tell(poll)
    supervisor.clock.settle()
    cell.ref.tell("queued")

    cell.stop_now("enough")

    exit_ = supervisor.ended(cell)
    assert exit_.kind == "shutdown"
    assert supervisor.clock.monotonic() == 0.0
    assert log == [(1, "on_stop")]
    cell.finalize(exit_)
    assert [u.message for u in cell.undelivered] == ["queued"]


@pytest.mark.concurrent
def test_the_token_is_cancelled_before_the_end_begins(
    supervisor: FakeSupervisor,
) -> None:
    """R18: also if the order is read before its sender comes to the token."""
    seen: list[bool] = []

    class Looks(Actor):
        def on_stop(self) -> None:
            seen.append(self.stop_token.cancelled)

    supervisor.stop(supervisor.start(Looks))

    assert seen == [True]


def test_control_overtakes_data_and_is_served_while_suspended(
    supervisor: FakeSupervisor,
) -> None:
    """R15, R17: queued control before the next message, and while suspended."""

    class Both(Recorder):
        def on_control(self, message: Any) -> None:
            self.log.append(("control", message))
            if message == "resume":
                cell.resume()

    log: list[Any] = []
    gate = Gate()
    cell = supervisor.start(Both, log, gate)
    cell.ref.tell("wait")
    gate.wait_arrived()
    cell.ref.tell("data")
    cell.suspend()
    cell.ref.tell_control(1)
    gate.open()
    supervisor.clock.settle()
    assert log == [(1, "wait"), ("control", 1)]

    cell.ref.tell_control("resume")

    supervisor.clock.settle()
    assert log[2:] == [("control", "resume"), (1, "data")]
    supervisor.stop(cell)
    assert cell.ref.tell_control("late") is False


def test_failing_control_handler_fails_the_actor_and_loses_nothing(
    supervisor: FakeSupervisor,
) -> None:
    """R20: control messages still queued go to the next incarnation."""

    class Fragile(Recorder):
        def on_control(self, message: Any) -> None:
            if message == "gate":
                gate.pass_through()
            if message == "boom":
                raise ValueError
            self.log.append((self.incarnation, message))

    log: list[Any] = []
    gate = Gate()
    cell = supervisor.start(Fragile, log)
    for message in ("gate", "boom", "later"):
        cell.ref.tell_control(message)
    gate.open()

    exit_ = supervisor.restart(cell)

    assert (exit_.kind, exit_.message) == ("failed", "boom")
    cell.ref.ask("data")
    assert log == [(1, "gate"), (1, "on_failure"), (2, "later"), (2, "data")]


def test_stop_now_for_an_earlier_incarnation_is_ignored(
    supervisor: FakeSupervisor,
) -> None:
    """R19: what is meant for another incarnation is stale."""
    gate = Gate()
    cell = supervisor.start(Recorder, None, gate)
    cell.ref.tell("wait")
    cell.ref.tell("boom")
    gate.wait_arrived()
    gate.open()
    supervisor.ended(cell)
    cell.stop_now("too late: it is down")

    cell.start()
    supervisor.expect(Started)

    assert cell.ref.ask("alive") == ("alive", 2)


def test_own_timer_comes_only_to_the_incarnation_that_set_it(
    supervisor: FakeSupervisor,
) -> None:
    """R13: timers armed by an incarnation die with it."""

    class Timed(Recorder):
        def on_start(self) -> None:
            self.schedule(10, ("tick", self.incarnation))

        def on_control(self, message: Any) -> None:
            self.log.append(message)

    log: list[Any] = []
    cell = supervisor.start(Timed, log)
    supervisor.clock.advance(5)
    cell.ref.tell("boom")
    supervisor.restart(cell)

    supervisor.clock.advance(5)
    supervisor.clock.settle()
    assert log == [(1, "on_failure")]
    supervisor.clock.advance(5)
    supervisor.clock.settle()

    assert log == [(1, "on_failure"), ("tick", 2)]


def test_cancelled_timer_never_comes(supervisor: FakeSupervisor) -> None:
    """R13: an actor can take its timer back."""

    class Timed(Recorder):
        def on_control(self, message: Any) -> None:
            self.log.append(message)

    log: list[Any] = []
    cell = supervisor.start(Timed, log)
    handle: Any = cell.ref.ask(lambda actor: actor.schedule(10, "tick"))
    assert handle.cancel()

    supervisor.clock.advance(20)

    supervisor.clock.settle()
    assert log == []


def test_supervising_actor_can_put_off_its_stop(supervisor: FakeSupervisor) -> None:
    """R16: a stop of a supervisor ends when its children have."""

    class Slow(Recorder):
        def asked_to_stop(self, request: StopRequest) -> Exit | None:
            self.log.append((request.exit.kind, request.reason, request.deadline))
            self.schedule(3, request.exit)
            return None

        def on_control(self, message: Any) -> Exit | None:
            assert isinstance(message, Exit)
            return message

    log: list[Any] = []
    cell = supervisor.start(Slow, log)
    cell.stop_now("why", deadline=7.0)
    supervisor.clock.settle()
    assert log == [("shutdown", "why", 7.0)]

    supervisor.clock.advance(3)

    assert supervisor.ended(cell).kind == "shutdown"
    assert log[1:] == [(1, "on_stop")]


# -- source


def test_idle_actor_takes_from_its_source_after_its_mailbox(
    supervisor: FakeSupervisor,
) -> None:
    class Items:
        """A source of three items."""

        def __init__(self) -> None:
            self.items = [3, 2, 1]

        def take(self, wake: Any) -> Any:
            return self.items.pop() if self.items else None

        def withdraw(self, wake: Any) -> None:
            pass

    class Taker(Recorder):
        def on_start(self) -> None:
            if self.incarnation == 1:
                self.source = Items()

        def on_item(self, item: int) -> None:
            self.log.append(item)
            if item == 2:
                raise ValueError("bad item")

    log: list[Any] = []
    cell = supervisor.make(Taker, log)
    cell.ref.tell("first")
    cell.start()
    supervisor.expect(Started)

    exit_ = supervisor.restart(cell)

    assert log == [(1, "first"), 1, 2, (1, "on_failure")]
    assert (exit_.kind, exit_.message) == ("failed", 2)
    assert not cell.undelivered  # an item of a source is accounted for there


# -- stop


def test_ref_stop_drains_and_is_answered_once_down_for_all(
    supervisor: FakeSupervisor,
) -> None:
    """R16, R65: messages before it are handled; it needs no room (D05)."""
    log: list[Any] = []
    gate = Gate()
    cell = supervisor.start(Recorder, log, gate, capacity=2)
    cell.ref.tell("wait")
    gate.wait_arrived()
    cell.ref.tell(1)
    cell.ref.tell(2)

    first = cell.ref.stop(block=False)  # the mailbox is full
    second = cell.ref.stop(block=False)
    gate.open()

    exit_ = supervisor.ended(cell)
    assert exit_.kind == "normal"
    assert log == [(1, "wait"), (1, 1), (1, 2), (1, "on_stop")]
    with pytest.raises(pykka.Timeout):
        first.get(timeout=0)
    cell.finalize(exit_)
    assert first.get() is True
    assert second.get() is True
    assert cell.ref.stop() is False


def test_stops_of_one_incarnation_do_not_stop_the_next(
    supervisor: FakeSupervisor,
) -> None:
    """R62, R65: concurrent stops are one stop, for a permanent child too."""
    gate = Gate()
    cell = supervisor.start(Recorder, None, gate)
    cell.ref.tell("wait")
    gate.wait_arrived()
    answers = [cell.ref.stop(block=False) for _ in range(3)]
    gate.open()

    supervisor.restart(cell)

    assert [answer.get() for answer in answers] == [True, True, True]
    assert cell.ref.ask("still here") == ("still here", 2)


def test_stop_request_behind_a_crash_stops_the_next_incarnation(
    supervisor: FakeSupervisor,
) -> None:
    """R16, R65: a request that nobody has carried out is kept."""
    cell = supervisor.start(Recorder)
    cell.ref.tell("boom")
    answer = cell.ref.stop(block=False)
    supervisor.ended(cell)
    cell.start()
    supervisor.expect(Started)

    exit_ = supervisor.ended(cell)
    assert exit_.kind == "normal"
    cell.finalize(exit_)
    assert answer.get() is True


def test_stop_request_before_the_first_start_stops_that(
    supervisor: FakeSupervisor,
) -> None:
    """R16, R65: what was sent before it is handled first, as ever."""
    log: list[Any] = []
    cell = supervisor.make(Recorder, log)
    cell.ref.tell("before")
    answer = cell.ref.stop(block=False)

    cell.start()
    supervisor.expect(Started)

    exit_ = supervisor.ended(cell)
    cell.finalize(exit_)
    assert exit_.kind == "normal"
    assert answer.get() is True
    assert log == [(1, "before"), (1, "on_stop")]


def test_actor_never_blocks_on_its_own_full_mailbox(supervisor: FakeSupervisor) -> None:
    """R10, R64: self-sends and self-stops go past the bound (D06)."""
    log: list[Any] = []

    def fill(actor: Any) -> int:
        for number in range(5):
            actor.actor_ref.tell(number)
        actor.actor_ref.ask("asked", block=False)
        for _ in range(3):
            actor.stop()
        return len(cell.mailbox)

    cell = supervisor.start(Recorder, log, capacity=1)
    assert cell.ref.ask(fill) == 9

    assert supervisor.ended(cell).kind == "normal"
    assert log == [*[(1, n) for n in range(5)], (1, "asked"), (1, "on_stop")]


def test_blocking_stop_from_inside_would_deadlock(supervisor: FakeSupervisor) -> None:
    """R64: of oneself or an ancestor raises; block=False is allowed."""
    parent = supervisor.start(Recorder, name="parent")
    child = supervisor.start(Recorder, name="child", parent=parent)

    for target in (child, parent):
        with pytest.raises(WouldDeadlock):
            child.ref.ask(lambda _actor, ref=target.ref: ref.stop())
    assert parent.ref.ask(lambda _actor: child.ref.is_alive())

    stops = child.ref.ask(lambda _actor: parent.ref.stop(block=False))

    exit_ = supervisor.ended(parent)
    parent.finalize(exit_)
    assert stops.get() is True


def test_stop_now_is_idempotent_and_harmless_when_dead(
    supervisor: FakeSupervisor,
) -> None:
    """R62: repeated stops are one; hooks run once."""
    log: list[Any] = []
    cell = supervisor.make(Recorder, log)
    cell.stop_now("not started")
    cell.start()
    supervisor.expect(Started)
    for _ in range(3):
        cell.stop_now("now")
    exit_ = supervisor.ended(cell)
    cell.finalize(exit_)
    cell.stop_now("dead")

    assert log == [(1, "on_stop")]
    assert [type(n) for n in supervisor.notices] == [Started, Down]


def test_handler_that_obeys_its_token_ends_as_shutdown(
    supervisor: FakeSupervisor,
) -> None:
    """R18, R6: the ask fails, the tell is undelivered."""

    def obey(actor: Any) -> None:
        actor.stop_token.wait_cancelled()
        raise Cancelled

    log: list[Any] = []
    cell = supervisor.start(Recorder, log)
    asked = cell.ref.ask(obey, block=False)
    supervisor.clock.settle()

    assert supervisor.stop(cell).kind == "shutdown"

    with pytest.raises(ActorDeadError, match="while handling"):
        asked.get()
    assert log == [(1, "on_stop")]
    cell = supervisor.start(Recorder, log)
    cell.ref.tell(obey)
    supervisor.clock.settle()
    supervisor.stop(cell)
    assert [u.message for u in cell.undelivered] == [obey]


def test_cancelled_that_nobody_asked_for_is_a_failure(
    supervisor: FakeSupervisor,
) -> None:
    def stray(_actor: Any) -> None:
        raise Cancelled

    cell = supervisor.start(Recorder)
    with pytest.raises(Cancelled):
        cell.ref.ask(stray)
    assert cell.ref.ask("alive") == ("alive", 1)
    cell.ref.tell(stray)

    assert supervisor.ended(cell).kind == "failed"


def test_stops_are_answered_once_the_cell_is_dead(
    supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R68: who is told that it stopped finds it closed and dead."""
    cell = supervisor.start(Recorder)
    dead: list[bool] = []
    answer_stops = Cell.answer_stops

    def spy(cell: Cell) -> None:
        dead.append(cell.dead and cell.mailbox.closed)
        answer_stops(cell)

    monkeypatch.setattr(Cell, "answer_stops", spy)

    supervisor.stop(cell)

    assert dead == [True]


def test_who_learns_of_the_end_finds_the_cell_ended(
    supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R68: who asks to be told during the end is told after it."""
    cell = supervisor.start(Recorder)
    alive: list[bool] = []
    unregister = pykka.ActorRegistry.unregister

    def meanwhile(ref: Any) -> None:
        cell.on_final(lambda _exit: alive.append(cell.ref.is_alive()))
        unregister(ref)

    monkeypatch.setattr(pykka.ActorRegistry, "unregister", meanwhile)

    supervisor.stop(cell)

    assert alive == [False]


# -- conservation


@contextmanager
def _quick_switches() -> Iterator[None]:
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(old)


@pytest.mark.concurrent
def test_every_message_is_handled_or_undelivered_once(
    supervisor: FakeSupervisor,
) -> None:
    """R6, R7: three senders against crashes and restarts."""
    clock = supervisor.clock
    with _quick_switches():
        handled: list[int] = []

        class Chaotic(Actor):
            capacity = 5

            def on_receive(self, message: int) -> int:
                if message % 17 == 0:
                    raise ValueError
                handled.append(message)
                return message

        cell = supervisor.start(Chaotic)
        replies: list[tuple[int, Any]] = []

        def send(first: int) -> None:
            for number in range(first, 300, 3):
                if number % 2:
                    cell.ref.tell(number)
                else:
                    replies.append((number, cell.ref.ask(number, block=False)))

        senders = [clock.thread(send, args=(first,)) for first in range(3)]
        for sender in senders:
            sender.start()
        for number in range(1, 300, 2):
            if number % 17 == 0:
                supervisor.restart(cell)
        for sender in senders:
            clock.join(sender)
        assert cell.ref.stop(block=False) is not None
        cell.finalize(supervisor.ended(cell))

        undelivered = [u.message for u in cell.undelivered]
        failed = [n for n, reply in replies if _raises(reply)]
        assert sorted(handled + undelivered + failed) == list(range(300))


@pytest.mark.concurrent
def test_abandoning_at_any_moment_loses_nothing(supervisor: FakeSupervisor) -> None:
    """R7, R58, R59: between receiving, taking in hand, handling and answering."""
    clock = supervisor.clock
    with _quick_switches():
        handled: list[int] = []

        class Quick(Actor):
            capacity = 5

            def on_receive(self, message: int) -> int:
                handled.append(message)
                return message

        cell = supervisor.start(Quick)
        replies: list[tuple[int, Any]] = []

        def send() -> None:
            for number in range(0, 200, 2):
                cell.ref.tell(number)
                replies.append((number + 1, cell.ref.ask(number + 1, block=False)))

        sender = clock.thread(send)
        sender.start()
        for _ in range(20):
            assert cell.abandon("a whim") is not None
            cell.start()
            supervisor.expect(Started)
        clock.join(sender)
        cell.ref.stop(block=False)
        cell.finalize(supervisor.ended(cell))
        clock.settle()

        undelivered = {u.message for u in cell.undelivered}
        refused = {n for n, reply in replies if _raises(reply)}
        assert set(handled) | undelivered | refused == set(range(200))
        assert len(handled) == len(set(handled))
        assert cell.undelivered_count == len(undelivered)
        assert cell.zombies == ()


def _raises(reply: Any) -> bool:
    try:
        reply.get()
    except (ValueError, ActorDeadError):
        return True
    return False
