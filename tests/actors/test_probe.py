"""A probe keeps what it gets, waits on its clock, and says what came instead."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from actors.base import Actor
from actors.clock import SYSTEM_CLOCK
from actors.errors import MailboxFull
from actors.ref import ActorDeadError
from actors.testing import Deadlock, Gate, Probe, Received, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator


class Done(NamedTuple):
    number: int


class Greeter(Actor):
    """Greets its friend when told to, once an hour has passed."""

    def __init__(self, friend: Any) -> None:
        super().__init__()
        self.friend = friend

    def on_receive(self, message: Any) -> None:
        self.clock.sleep(3600)
        self.friend.tell(f"hello, {message}")


@pytest.fixture
def clock_options() -> dict[str, Any]:
    return {"auto_advance": True}


@pytest.fixture
def probe(clock: VirtualClock) -> Iterator[Probe]:
    with Probe.start() as probe:
        yield probe


# -- what it keeps


def test_it_keeps_every_message_with_how_and_when_it_came(
    clock: VirtualClock, probe: Probe
) -> None:
    probe.ref.tell("told")
    probe.ref.ask("asked")
    clock.sleep(2)
    probe.ref.tell_control("control")
    probe.wait_for(3)

    assert probe.received == (
        Received("told", "tell", 0.0),
        Received("asked", "ask", 0.0),
        Received("control", "control", 2.0),
    )
    assert probe.messages == ["told", "asked"]
    assert probe.control == ["control"]


def test_its_ref_serves_where_an_actor_is_wanted(probe: Probe) -> None:
    greeter = Greeter.start(probe.ref)

    greeter.tell("Ada")

    assert probe.expect(timeout=3601) == "hello, Ada"
    greeter.stop()


def test_a_stopped_one_is_as_dead_as_any_actor(probe: Probe) -> None:
    probe.ref.tell("last words")

    probe.stop()

    assert probe.messages == ["last words"]
    assert not probe.ref.is_alive()
    with pytest.raises(ActorDeadError):
        probe.ref.tell("too late")


def test_a_full_mailbox_makes_its_sender_wait(clock: VirtualClock) -> None:
    gate = Gate()
    with Probe.start(capacity=1, reply=lambda _: gate.pass_through()) as probe:
        probe.ref.ask("hold it up", block=False)
        gate.wait_arrived()
        probe.ref.tell("fills the mailbox")

        with pytest.raises(MailboxFull):
            probe.ref.tell("one too many", timeout=1)
        gate.open()


# -- what it answers


def test_an_ask_gets_none_by_default(probe: Probe) -> None:
    assert probe.ref.ask("question") is None


@pytest.mark.parametrize(
    ("reply", "answer"), [(42, 42), (str.upper, "QUESTION"), ([1], [1])]
)
def test_an_ask_gets_the_canned_reply(probe: Probe, reply: Any, answer: Any) -> None:
    probe.answer(reply)

    assert probe.ref.ask("question") == answer


def test_an_exception_is_raised_to_the_asker_alone(probe: Probe) -> None:
    probe.answer(LookupError("no such thing"))

    probe.ref.tell("no question")
    with pytest.raises(LookupError, match="no such thing"):
        probe.ref.ask("question")

    assert probe.ref.is_alive()
    assert probe.messages == ["no question", "question"]


def test_a_reply_may_wait_until_the_test_lets_it(clock: VirtualClock) -> None:
    gate = Gate()

    def reply(message: str) -> str:
        gate.pass_through()
        return message.upper()

    with Probe.start(reply=reply) as probe:
        answer = probe.ref.ask("question", block=False)
        gate.wait_arrived()
        gate.open()

        assert answer.get() == "QUESTION"


# -- wait_for


@pytest.mark.parametrize(
    "what", [Done, Done(2), lambda message: message == Done(2)], ids=repr
)
def test_wait_for_finds_what_fits_among_the_rest(
    clock: VirtualClock, probe: Probe, what: Any
) -> None:
    probe.ref.tell("something else")
    clock.call_later(60, probe.ref.tell, Done(2))

    assert probe.wait_for(what, timeout=61) == Done(2)
    assert clock.monotonic() == 60


def test_wait_for_also_sees_what_has_come_before(probe: Probe) -> None:
    probe.ref.ask(Done(1))
    probe.expect(Done)

    assert probe.wait_for(Done, timeout=0) == Done(1)


def test_wait_for_a_number_returns_all_of_them(probe: Probe) -> None:
    probe.ref.tell_control("first")
    probe.ref.tell("second")

    assert sorted(probe.wait_for(2)) == ["first", "second"]


def test_wait_for_takes_control_messages_too(probe: Probe) -> None:
    probe.ref.tell_control(Done(3))

    assert probe.wait_for(Done).number == 3


def test_what_came_instead_is_told_when_it_does_not_come(probe: Probe) -> None:
    probe.ref.tell("hello")
    probe.ref.ask(Done(1))

    with pytest.raises(AssertionError) as raised:
        probe.wait_for(float, timeout=5)

    assert str(raised.value) == (
        "any float did not come within 5 s\n"
        "probe got 2 messages\n"
        "  at 0 s told 'hello'\n"
        "  at 0 s asked Done(number=1)"
    )


def test_too_few_messages_are_counted_in_the_failure(probe: Probe) -> None:
    with pytest.raises(AssertionError) as raised:
        probe.wait_for(1, timeout=1.5)

    assert str(raised.value) == (
        "1 message did not come within 1.5 s\nprobe got no messages"
    )


def test_a_long_account_shows_the_last_messages(probe: Probe) -> None:
    for number in range(30):
        probe.ref.tell(number)

    with pytest.raises(AssertionError) as raised:
        probe.wait_for(str)

    lines = str(raised.value).splitlines()
    assert lines[1:3] == ["probe got 30 messages", "  ... 10 before these"]
    assert lines[-1] == "  at 0 s told 29"
    assert len(lines) == 23


def test_a_long_message_is_cut_and_a_broken_one_is_no_trouble(probe: Probe) -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError

    probe.ref.tell("x" * 1000)
    probe.ref.tell(Broken())

    with pytest.raises(AssertionError, match="<Broken instance>") as raised:
        probe.wait_for(int)

    assert len(str(raised.value)) < 400


def test_what_came_is_told_without_addresses(probe: Probe) -> None:
    class Order: ...

    probe.ref.tell(Order())
    with pytest.raises(AssertionError) as failure:
        probe.expect("an order")

    assert "Order object>" in str(failure.value)
    assert " at 0x" not in str(failure.value)


def test_on_a_clock_that_stands_still_the_deadlock_tells_what_came() -> None:
    with VirtualClock() as clock, Probe.start() as probe:
        probe.ref.tell("hello")
        clock.settle()

        with pytest.raises(Deadlock, match="time stands still") as raised:
            probe.wait_for(2)

    assert raised.value.__notes__ == ["probe got 1 message\n  at 0 s told 'hello'"]


# -- expect


def test_expect_goes_through_the_messages_in_order(probe: Probe) -> None:
    probe.ref.tell("one")
    probe.ref.tell(Done(2))
    probe.ref.tell(3)

    assert probe.expect("one") == "one"
    assert probe.expect(Done).number == 2
    assert probe.expect(lambda number: number > 2) == 3
    probe.expect_nothing()


def test_expect_fails_on_another_message_and_shows_how_far_it_came(
    probe: Probe,
) -> None:
    probe.ref.tell("one")
    probe.ref.tell("two")
    probe.expect("one")

    with pytest.raises(AssertionError) as raised:
        probe.expect(Done)

    assert str(raised.value) == (
        "expected any Done, the next one is 'two'\n"
        "probe got 2 messages\n"
        "  at 0 s told 'one' (expected)\n"
        "  at 0 s told 'two'"
    )


def test_expect_gives_up_after_its_timeout(clock: VirtualClock, probe: Probe) -> None:
    with pytest.raises(AssertionError, match="a message did not come within 7 s"):
        probe.expect(timeout=7)

    assert clock.monotonic() == 7


def test_a_wait_without_a_limit_is_a_deadlock_when_nothing_can_come(
    probe: Probe,
) -> None:
    with pytest.raises(Deadlock):
        probe.expect(timeout=None)


# -- expect_nothing


def test_expect_nothing_lets_the_others_finish_first(probe: Probe) -> None:
    class Relay(Actor):
        def on_receive(self, message: Any) -> None:
            probe.ref.tell(message)

    relay = Relay.start()
    relay.tell("on its way")

    with pytest.raises(AssertionError, match="nothing more, got 'on its way'"):
        probe.expect_nothing()
    relay.stop()


def test_expect_nothing_waits_as_long_as_it_says(
    clock: VirtualClock, probe: Probe
) -> None:
    clock.call_later(10, probe.ref.tell, "late")

    probe.expect_nothing(within=9)
    with pytest.raises(AssertionError, match="got 'late'"):
        probe.expect_nothing(within=9)

    assert clock.monotonic() == 10


# -- real time


@pytest.mark.concurrent
def test_it_serves_senders_on_plain_threads_in_real_time() -> None:
    with Probe.start(clock=SYSTEM_CLOCK) as probe:
        sender = threading.Thread(target=probe.ref.tell, args=(Done(1),))
        sender.start()

        assert probe.expect(Done, timeout=30) == Done(1)
        sender.join()
        probe.expect_nothing()
        probe.ref.tell("more")
        with pytest.raises(AssertionError, match="got 'more'"):
            probe.expect_nothing()
