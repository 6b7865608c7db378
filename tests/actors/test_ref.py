"""A ref bounds its waits, never waits for itself, and stays valid."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors.base import Actor
from actors.cell import Cell
from actors.errors import Cancelled, HeadraceError, MailboxFull, WouldDeadlock
from actors.exits import Exit
from actors.ref import (
    ActorAbandoned,
    ActorDeadError,
    ActorRef,
    ActorRestarted,
    SendTimeout,
    current_cell,
)
from actors.stop_token import StopToken
from actors.testing import Gate, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator


class Doer(Actor):
    """Calls what it is told, with itself."""

    capacity = 1

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: Any) -> Any:
        return message(self) if callable(message) else message


@pytest.fixture
def clock_options() -> dict[str, Any]:
    return {"auto_advance": True}


@pytest.fixture
def clock(clock: VirtualClock) -> Iterator[VirtualClock]:
    yield clock
    pykka.ActorRegistry.stop_all()


class Busy:
    """An actor with a full mailbox, until it is let go."""

    def __init__(self) -> None:
        self._gate = Gate()
        self.ref: ActorRef[Doer] = Doer.start()
        self.ref.tell(lambda _actor: self._gate.pass_through())
        self._gate.wait_arrived()
        self.ref.tell("fills it")

    def let_go(self) -> None:
        self._gate.open()


@pytest.fixture
def busy(clock: VirtualClock) -> Iterator[Busy]:
    busy = Busy()
    yield busy
    busy.let_go()


def test_tell_waits_for_room_at_most_its_timeout(
    clock: VirtualClock, busy: Busy
) -> None:
    """R9: timeout= bounds the wait for room."""
    with pytest.raises(SendTimeout, match="no room"):
        busy.ref.tell("x", timeout=2)

    assert clock.monotonic() == pytest.approx(2)
    assert issubclass(SendTimeout, MailboxFull)
    assert issubclass(SendTimeout, pykka.Timeout)


def test_tell_ends_its_wait_when_the_token_is_cancelled(
    clock: VirtualClock, busy: Busy
) -> None:
    """R9: so does a token."""
    token = StopToken()
    clock.call_later(3, token.cancel, "enough")

    with pytest.raises(Cancelled):
        busy.ref.tell("x", token=token)

    assert clock.monotonic() == pytest.approx(3)


def test_ask_timeout_bounds_room_and_reply_together(
    clock: VirtualClock, busy: Busy
) -> None:
    """R9: one timeout for the enqueue and the reply."""
    with pytest.raises(SendTimeout):
        busy.ref.ask("x", timeout=2)
    assert clock.monotonic() == pytest.approx(2)
    clock.call_later(3, busy.let_go)

    with pytest.raises(pykka.Timeout) as caught:
        busy.ref.ask(lambda actor: actor.clock.sleep(10), timeout=5)

    assert not isinstance(caught.value, SendTimeout)
    assert clock.monotonic() == pytest.approx(7)


def test_unblocking_ask_with_a_timeout_bounds_the_room(
    clock: VirtualClock, busy: Busy
) -> None:
    """R9: also when nobody waits for the reply."""
    with pytest.raises(SendTimeout):
        busy.ref.ask("x", block=False, timeout=0)


def test_blocked_ask_of_an_actor_that_dies_is_answered(
    clock: VirtualClock, busy: Busy
) -> None:
    """R6, R8: an ask blocked at the final stop is answered."""
    clock.call_later(1, busy.ref.cell.finalize, Exit("shutdown"))

    with pytest.raises(ActorDeadError, match="not found"):
        busy.ref.ask("x")


def test_zero_timeout_still_sends_when_there_is_room(clock: VirtualClock) -> None:
    """R9: a timeout of nothing is no refusal."""
    got: list[str] = []
    gate, ref = Gate(), Doer.start()

    def answer_late(_actor: Doer) -> None:
        gate.pass_through()
        got.append("sent")

    with pytest.raises(pykka.Timeout):
        ref.ask(answer_late, timeout=0)
    gate.open()

    assert ref.stop()
    assert got == ["sent"]


def test_stop_of_a_full_actor_needs_no_room(clock: VirtualClock, busy: Busy) -> None:
    """R16: a FIFO marker, exempt from the bound (F5)."""
    answer = busy.ref.stop(block=False)
    busy.let_go()

    assert answer.get() is True
    assert busy.ref.stop() is False


def test_blocking_ask_of_oneself_would_deadlock(clock: VirtualClock) -> None:
    """R64, R10: an actor never waits for itself."""
    ref = Doer.start()

    with pytest.raises(WouldDeadlock):
        ref.ask(lambda actor: actor.actor_ref.ask("x"))
    with pytest.raises(WouldDeadlock):
        ref.ask(lambda actor: setattr(actor.actor_ref.proxy(), "count", 3))
    later = ref.ask(lambda actor: actor.actor_ref.ask("later", block=False))

    assert isinstance(later, pykka.Future)
    assert later.get() == "later"


def test_control_message_goes_past_a_full_mailbox(
    clock: VirtualClock, busy: Busy
) -> None:
    """R15: control never counts against the bound."""
    assert busy.ref.tell_control("x") is True
    busy.let_go()
    busy.ref.stop()

    assert busy.ref.tell_control("x") is False


def test_current_cell_is_the_one_whose_actor_runs_here(clock: VirtualClock) -> None:
    ref = Doer.start()
    copied: list[contextvars.Context] = []

    def look(_actor: Any) -> bool:
        copied.append(contextvars.copy_context())
        return current_cell() is ref.cell

    assert current_cell() is None
    assert ref.ask(look)
    assert copied[0].run(current_cell) is None  # a context carried to another thread


def test_another_actors_full_mailbox_is_not_ones_own(
    clock: VirtualClock, busy: Busy
) -> None:
    """R10: only self-sends are exempt."""
    other = Doer.start()

    with pytest.raises(SendTimeout):
        other.ask(lambda _actor: busy.ref.tell("x", timeout=0))


def test_proxy_speaks_to_the_present_actor(clock: VirtualClock) -> None:
    ref = Doer.start()
    proxy = ref.proxy()

    proxy.count = 4

    assert proxy.count.get() == 4
    assert proxy == ref.proxy()
    assert hash(proxy) == hash(ref.proxy())
    assert proxy != Doer.start().proxy()
    assert proxy != "something else"
    ref.stop()
    with pytest.raises(ActorDeadError):
        ref.proxy()


def test_errors_of_restart_and_abandonment_are_of_both_roots() -> None:
    for error in (ActorAbandoned, ActorRestarted):
        assert issubclass(error, ActorDeadError)
        assert issubclass(error, HeadraceError)
        assert issubclass(error, pykka.ActorDeadError)


def test_registry_finds_and_broadcasts_to_ours(clock: VirtualClock) -> None:
    got: list[Any] = []
    ref = Doer.start()
    assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) is ref
    assert pykka.ActorRegistry.get_by_class_name("Doer") == [ref]

    pykka.ActorRegistry.broadcast(lambda _actor: got.append("heard"), Doer)

    ref.stop()
    assert got == ["heard"]


def test_stop_all_ends_supervised_and_plain_actors(clock: VirtualClock) -> None:
    """R66: for a cell whose supervisor lets it end."""
    plain, cell = Doer.start(), Cell(Doer)
    cell.start()

    answers = pykka.ActorRegistry.stop_all()

    assert answers == [True, True]
    assert not plain.is_alive()
    assert not cell.ref.is_alive()
    assert cell.final == Exit("normal")
