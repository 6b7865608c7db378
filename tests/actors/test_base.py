"""Started plain, an actor is Pykka's own, less the hangs; time may be frozen."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from typing import Any

import freezegun
import pykka
import pytest

from actors.base import Actor, adopt
from actors.cell import Cell
from actors.errors import ConfigurationError
from actors.exits import Exit
from actors.future import Reply
from actors.ref import ActorDeadError, ActorRef
from actors.testing import Gate, VirtualClock


class Plain(Actor):
    """Does what it is told to, and keeps a list."""

    def __init__(self, log: list[Any] | None = None) -> None:
        super().__init__()
        self.log = [] if log is None else log

    def on_receive(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        if isinstance(message, BaseException):
            raise message
        self.log.append(message)
        return message

    def on_stop(self) -> None:
        self.note("on_stop")

    def on_failure(self, *exc_info: Any) -> None:
        self.note("on_failure")

    def note(self, hook: str) -> None:
        ref = self.actor_ref
        self.log.append((hook, ref.is_alive(), ref in pykka.ActorRegistry.get_all()))


def thread_of(ref: ActorRef[Any]) -> threading.Thread:
    run = ref.cell.incarnation
    assert run is not None
    thread: threading.Thread = run._thread
    return thread


# -- plain is Pykka's


def test_plain_actor_is_not_a_daemon_and_has_no_bound() -> None:
    """R71: a plain start has a thread and a mailbox like Pykka's."""

    class Daemon(Plain):
        use_daemon_thread = True

    plain, daemon = Plain.start(), Daemon.start()

    assert isinstance(plain, pykka.ActorRef)
    assert plain.cell.mailbox.capacity is None
    assert not thread_of(plain).daemon
    assert thread_of(plain).name.startswith("Plain-")
    assert thread_of(daemon).daemon
    assert plain.stop()
    assert daemon.stop()


def test_plain_actor_has_the_capacity_of_its_class(clock: VirtualClock) -> None:
    class Sized(Plain):
        capacity = 3

    ref = Sized.start()

    assert ref.cell.mailbox.capacity == 3
    ref.stop()


def test_init_runs_in_the_creators_thread(clock: VirtualClock) -> None:
    """R71: __init__ runs where start() is called."""

    class Where(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.made_in = threading.current_thread()

    ref = Where.start()

    assert ref.proxy().made_in.get() is threading.current_thread()
    ref.stop()


def test_flag_and_registry_are_cleared_before_on_stop(clock: VirtualClock) -> None:
    """R71: the order of Pykka's end."""
    log: list[Any] = []
    ref = Plain.start(log)

    ref.stop()

    assert log == [("on_stop", False, False)]
    assert ref.actor_stopped.is_set()


def test_flag_and_registry_are_cleared_before_on_failure(clock: VirtualClock) -> None:
    """R71: the order of Pykka's failure."""
    log: list[Any] = []
    ref = Plain.start(log)

    ref.tell(ValueError("boom"))

    clock.join(thread_of(ref))
    assert log == [("on_failure", False, False)]


def test_log_lines_are_pykkas(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """R71: what Pykka logs, in Pykka's logger."""

    def life(cls: type[Any]) -> list[tuple[str, str, bool]]:
        caplog.clear()
        ref = cls.start()
        with pytest.raises(KeyError):
            ref.ask(KeyError("asked"))
        ref.ask("unexpected")
        ref.stop()
        ref = cls.start()
        ref.tell(ValueError("told"))
        ref.actor_stopped.wait()
        clock.settle()
        return [
            (r.levelname, r.getMessage().split("(")[0], bool(r.exc_info))
            for r in caplog.records
            if r.name == "pykka"
        ]

    class Raises:
        def on_receive(self, message: Any) -> None:
            if isinstance(message, BaseException):
                raise message
            super().on_receive(message)  # type: ignore[misc]  # a mixin

    caplog.set_level(logging.DEBUG)
    ours = life(type("Same", (Raises, Actor), {}))
    theirs = life(type("Same", (Raises, pykka.ThreadingActor), {}))

    assert ours == theirs
    assert len(ours) == 10


def test_base_exception_stops_all_actors(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """R71: as Pykka has it, for a plain start alone."""
    caplog.set_level(logging.DEBUG, "pykka")
    log: list[Any] = []
    ref, other = Plain.start(log), Plain.start()
    thread = thread_of(other)

    ref.tell(SystemExit())

    clock.join(thread_of(ref))
    clock.join(thread)
    assert log == [("on_stop", False, False)]
    assert not other.is_alive()
    assert f"SystemExit() in {ref}. Stopping all actors." in caplog.messages


def test_on_start_that_raises_ends_the_actor_without_hooks(
    clock: VirtualClock,
) -> None:
    """R71: neither on_stop nor on_failure, as Pykka has it."""
    log: list[Any] = []

    class Broken(Plain):
        def on_start(self) -> None:
            raise ValueError

    ref = Broken.start(log)

    ref.actor_stopped.wait()
    clock.settle()
    assert log == []
    assert ref not in pykka.ActorRegistry.get_all()


def test_actor_that_was_not_started_takes_messages(clock: VirtualClock) -> None:
    actor = Plain()
    actor.actor_ref.tell("early")
    assert not actor.actor_inbox.empty()

    assert actor.actor_inbox.get().message == "early"

    assert actor.incarnation == 1
    assert actor.restart_reason is None
    assert not actor.stop_token.cancelled
    assert actor.clock is clock
    assert actor.source is None
    assert isinstance(actor._create_future(), Reply)


def test_class_may_call_pykkas_init_by_name(clock: VirtualClock) -> None:
    class ByName(Actor):
        def __init__(self) -> None:
            pykka.ThreadingActor.__init__(self)

        def on_receive(self, message: Any) -> Any:
            return self.actor_urn

    ref = ByName.start()

    assert ref.ask("urn") == ref.actor_urn
    ref.stop()
    assert ref.actor_stopped.is_set()


def test_envelope_put_into_the_inbox_by_hand_is_handled(clock: VirtualClock) -> None:
    from pykka._envelope import Envelope

    ref = Plain.start()
    future: pykka.ThreadingFuture[Any] = pykka.ThreadingFuture()
    twice: pykka.ThreadingFuture[Any] = pykka.ThreadingFuture()
    twice.set("already")

    ref.actor_inbox.put(Envelope("one", reply_to=twice))
    ref.actor_inbox.put(Envelope("two", reply_to=future))
    ref.actor_inbox.put(Envelope(KeyError("three"), reply_to=twice))

    assert ref.ask("three") == "three"
    assert future.get() == "two"
    ref.stop()


def test_stop_message_of_pykkas_stops_the_actor(clock: VirtualClock) -> None:
    log: list[Any] = []
    ref = Plain.start(log)

    ref.ask(pykka.messages._ActorStop())

    clock.settle()
    assert log == [("on_stop", False, False)]


def test_actor_made_in_an_init_is_one_of_its_own(clock: VirtualClock) -> None:
    class Outer(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Plain.start()
            self.twin = None if isinstance(self, Inner) else Inner.start()

    class Inner(Outer):
        pass

    ref = Outer.start()

    proxy = ref.proxy()
    refs = {ref, proxy.inner.get(), proxy.twin.get()}
    assert len({r.actor_urn for r in refs}) == 3
    pykka.ActorRegistry.stop_all()


def test_default_hooks_only_warn(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    actor = Actor()

    assert actor.on_control("control") is None
    actor.on_item("item")
    actor.on_end(Exit("normal"))

    assert len(caplog.messages) == 2
    assert actor.name.startswith("Actor-")


def test_no_thread_to_be_had_leaves_no_live_actor(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoThread:
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    actor = Plain()
    ref: ActorRef[Any] = actor.actor_ref
    asked = ref.ask("queued", block=False)
    pykka.ActorRegistry.register(ref)
    monkeypatch.setattr(clock, "thread", lambda *a, **k: NoThread())

    with pytest.raises(RuntimeError):
        actor._start_actor_loop()

    assert not ref.is_alive()
    assert ref not in pykka.ActorRegistry.get_all()
    with pytest.raises(ActorDeadError):
        asked.get()


@pytest.mark.parametrize("wrong", [int, 3, "Plain"])
def test_only_actor_classes_can_be_adopted(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="actor's class"):
        adopt(wrong)


# -- less the hangs. Each of these hangs with stock Pykka 4.5.0.


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_f1_ask_gets_the_base_exception(
    clock: VirtualClock, error: type[BaseException]
) -> None:
    """R71, R6: the asker does not hang (F1)."""
    ref = Plain.start()

    with pytest.raises(error):
        ref.ask(error())

    clock.join(thread_of(ref))
    assert not ref.is_alive()


def escaped(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What threads ended with, instead of a report of it."""
    kept: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda a: kept.append(a.exc_value))
    return kept


def test_f2_base_exception_in_on_start_ends_the_actor(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R71: the actor is dead, and says so (F2)."""

    class Fatal(Plain):
        def on_start(self) -> None:
            gate.pass_through()
            raise error

    error = SystemExit()
    kept = escaped(monkeypatch)
    gate = Gate()
    other = Plain.start()
    ref = Fatal.start()
    asked = ref.ask("x", block=False)
    gate.open()

    with pytest.raises(ActorDeadError):
        asked.get()

    assert not ref.is_alive()
    assert ref not in pykka.ActorRegistry.get_all()
    clock.join(thread_of(ref))
    assert kept == [error]  # as with Pykka's, nobody else is stopped
    assert other.stop()


def test_f3_reply_completed_by_another_does_not_hurt(clock: VirtualClock) -> None:
    """R71, R6: a second completion is ignored (F3)."""
    ref = Plain.start()
    gate = Gate()
    ref.tell(lambda _actor: gate.pass_through())
    futures = [ref.ask(message, block=False) for message in ("a", ValueError())]
    for future in futures:
        future.set("first")
    gate.open()

    assert ref.ask("alive") == "alive"

    assert [future.get() for future in futures] == ["first", "first"]
    ref.stop()


def test_f4_ask_that_comes_after_the_end_is_refused(clock: VirtualClock) -> None:
    """R71, R8: enqueue and close are atomic (F4)."""
    # The check and the put are one step: there is no moment in between.
    late: list[Any] = []

    class Late(Plain):
        def on_stop(self) -> None:
            late.append(self.actor_ref.ask("x", block=False))

    ref = Late.start()
    ref.stop()

    with pytest.raises(ActorDeadError):
        late[0].get()
    with pytest.raises(ActorDeadError):
        ref.ask("x")


def test_f5_stop_of_a_full_busy_actor_keeps_to_its_timeout() -> None:
    """R71, R16: a stop needs no room (F5)."""

    class Sized(Plain):
        capacity = 1

    with VirtualClock(auto_advance=True) as clock:
        ref = Sized.start()
        gate = Gate()
        ref.tell(lambda _actor: gate.pass_through())
        gate.wait_arrived()
        ref.tell("fills it")
        begun = clock.monotonic()

        with pytest.raises(pykka.Timeout):
            ref.stop(timeout=0.3)

        assert clock.monotonic() - begun == pytest.approx(0.3)
        gate.open()
        clock.join(thread_of(ref))
        assert not ref.is_alive()


def test_f6_self_stop_with_a_full_mailbox_returns(clock: VirtualClock) -> None:
    """R71, R10: no self-deadlock (F6)."""

    class Sized(Plain):
        capacity = 1

    def fill_and_stop(actor: Any) -> None:
        actor.actor_ref.tell("fills it")
        actor.actor_ref.tell("and more")
        actor.stop()
        actor.stop()

    log: list[Any] = []
    ref = Sized.start(log)

    ref.ask(fill_and_stop)

    clock.join(thread_of(ref))
    assert log == ["fills it", "and more", ("on_stop", False, False)]


def test_f7_base_exception_in_on_stop_still_answers(clock: VirtualClock) -> None:
    """R71, R62: a stop is answered (F7)."""
    hooks: list[str] = []

    class Fatal(Plain):
        def on_stop(self) -> None:
            hooks.append("on_stop")
            raise KeyboardInterrupt

    ref, other = Fatal.start(), Plain.start()

    assert ref.stop()

    assert hooks == ["on_stop"]
    clock.join(thread_of(ref))
    assert not other.is_alive()  # what Pykka does with a BaseException


def test_base_exception_spares_an_actor_started_after_it(clock: VirtualClock) -> None:
    gate = Gate()

    class Fatal(Plain):
        def on_stop(self) -> None:
            gate.pass_through()

    ref, other = Fatal.start(), Plain.start()
    ref.tell(SystemExit())
    gate.wait_arrived()
    later = Plain.start()
    gate.open()
    clock.join(thread_of(ref))

    assert not other.is_alive()
    assert later.is_alive()
    later.stop()


def test_f7_base_exception_in_on_failure_still_ends_the_rest(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R71: nobody is left behind (F7, F8)."""
    error = SystemExit()
    kept = escaped(monkeypatch)

    class Fatal(Plain):
        def on_failure(self, *exc_info: Any) -> None:
            raise error

    gate = Gate()
    ref = Fatal.start()
    ref.tell(lambda _actor: gate.pass_through())
    ref.tell(ValueError())
    asked = ref.ask("queued", block=False)
    gate.open()

    with pytest.raises(ActorDeadError):
        asked.get()
    clock.join(thread_of(ref))
    assert kept == [error]


def test_f9_asks_behind_a_crash_get_an_error(clock: VirtualClock) -> None:
    """R71, R6: every ask is answered (F9)."""
    gate = Gate()
    ref = Plain.start()
    ref.tell(lambda _actor: gate.pass_through())
    ref.tell(ValueError())
    asked = ref.ask("queued", block=False)
    stop = ref.stop(block=False)
    gate.open()

    with pytest.raises(ActorDeadError, match="stopped before handling"):
        asked.get()
    assert stop.get() is True


def test_f10_sender_blocked_at_the_end_gets_an_error(clock: VirtualClock) -> None:
    """R71, R8: no message is lost in a dead mailbox (F10)."""

    class Sized(Plain):
        capacity = 1

    gate = Gate()
    log: list[Any] = []
    ref = Sized.start(log)

    def crash(_actor: Any) -> None:
        gate.pass_through()
        raise ValueError

    ref.tell(crash)
    gate.wait_arrived()
    ref.tell("fills it")
    errors: list[Any] = []

    def send(number: int) -> None:
        try:
            ref.tell(number)
        except ActorDeadError as error:
            errors.append(error)

    senders = [clock.thread(send, args=(number,)) for number in range(20)]
    for sender in senders:
        sender.start()
    clock.settle()

    gate.open()

    for sender in senders:
        clock.join(sender)
    assert len(errors) == 20
    assert log == [("on_failure", False, False)]


# -- time

FROZEN = dt.datetime(2031, 5, 6, 7, 8, 9, tzinfo=dt.UTC)


def deep(depth: int) -> float:
    """Ask the time from ``depth`` frames below the caller."""
    return deep(depth - 1) if depth else time.time()  # noqa: TID251


class Items:
    """A source of one item, an event that says it was handled."""

    def __init__(self) -> None:
        self.handled = threading.Event()
        self.items = [self.handled]

    def take(self, wake: Any) -> Any:
        return self.items.pop() if self.items else None

    def withdraw(self, wake: Any) -> None:
        pass


class Reader(Actor):
    """Reads the time in each hook: right there, and from frames below it."""

    def __init__(self, seen: dict[str, list[float]]) -> None:
        super().__init__()
        self.seen = seen
        self.look("__init__", time.time())  # noqa: TID251
        self.source = self.items = Items()

    def look(self, where: str, now: float) -> None:
        self.seen[where] = [now, *(deep(depth) for depth in range(12))]

    def read(self) -> None:
        self.look("proxy", time.time())  # noqa: TID251

    def on_start(self) -> None:
        self.look("on_start", time.time())  # noqa: TID251

    def on_receive(self, message: Any) -> None:
        self.look("on_receive", time.time())  # noqa: TID251
        if message == "boom":
            raise ValueError

    def on_control(self, message: Any) -> None:
        self.look("on_control", time.time())  # noqa: TID251

    def on_item(self, item: Any) -> None:
        self.look("on_item", time.time())  # noqa: TID251
        item.set()

    def on_stop(self) -> None:
        self.look("on_stop", time.time())  # noqa: TID251

    def on_failure(self, *exc_info: Any) -> None:
        self.look("on_failure", time.time())  # noqa: TID251


@pytest.mark.parametrize("ending", ["stop", "boom"])
@pytest.mark.parametrize("supervised", [False, True])
def test_frozen_time_is_frozen_at_every_depth_in_every_hook(
    supervised: bool, ending: str
) -> None:
    # F14: near the thread's base freezegun sees threading and shows real time. On the
    # system clock: the virtual clock's threads have frames of their own there.
    seen: dict[str, list[float]] = {}
    with freezegun.freeze_time(FROZEN):
        if supervised:
            cell = Cell(Reader, (seen,))
            cell.start()
            ref: ActorRef[Any] = cell.ref
        else:
            ref = Reader.start(seen)
        assert ref.tell_control("x")
        ref.ask("x")
        ref.proxy().read().get()
        thread = thread_of(ref)
        if ending == "stop":
            ref.stop()
        else:
            ref.tell("boom")
        thread.join(10)

    always = ["__init__", "on_start", "on_receive", "on_control", "proxy"]
    assert set(always) < set(seen)
    assert ("on_stop" if ending == "stop" else "on_failure") in seen
    wrong = {
        where: times
        for where, times in seen.items()
        if set(times) != {FROZEN.timestamp()}
    }
    assert not wrong


def test_frozen_time_is_frozen_for_items_of_a_source() -> None:
    seen: dict[str, list[float]] = {}
    with freezegun.freeze_time(FROZEN):
        ref = Reader.start(seen)
        assert ref.proxy().items.get().handled.wait(10)
        ref.stop()

    assert set(seen["on_item"]) == {FROZEN.timestamp()}


@pytest.mark.real
def test_ask_times_out_while_time_is_frozen() -> None:
    # F14: stock Pykka's future never does. On the system clock, in real time.
    with freezegun.freeze_time(FROZEN):
        ref = Plain.start()
        release = threading.Event()
        ref.tell(lambda _actor: release.wait(10))

        with pytest.raises(pykka.Timeout):
            ref.ask("x", timeout=0.02)

        release.set()
        assert ref.stop()
