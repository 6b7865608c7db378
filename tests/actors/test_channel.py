"""The channel: many senders, many readers, and an owner that holds its lock.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from actors.clock import Empty, WakeQueue, raw_lock
from actors.errors import Cancelled, ConfigurationError, MailboxClosed, MailboxFull
from actors.mailbox import Channel, Ticket
from actors.stop_token import StopToken

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.testing import VirtualClock


class Running:
    """A call on a thread of its own, with what came of it and when."""

    def __init__(self, clock: VirtualClock, fn: Callable[..., Any], *args: Any) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.ended_at: float | None = None

        def run() -> None:
            try:
                self.value = fn(*args)
            except (Exception, Cancelled) as error:  # noqa: BLE001  # for the test
                self.error = error
            self.ended_at = clock.monotonic()

        self.thread = clock.thread(run, daemon=True)
        self.thread.start()
        clock.settle()

    @property
    def waits(self) -> bool:
        return self.ended_at is None


class FakeWake:
    """A wake queue that only counts."""

    def __init__(self) -> None:
        self.puts = 0

    def put(self, item: Any, /) -> None:
        self.puts += 1

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        raise AssertionError

    def get_nowait(self) -> Any:
        raise AssertionError

    def empty(self) -> bool:
        return not self.puts


def item_of(popped: tuple[Any, Ticket | None] | None) -> Any:
    assert popped is not None
    return popped[0]


def full_channel(capacity: int) -> Channel:
    channel = Channel(capacity)
    for number in range(capacity):
        channel.put(number)
    return channel


# -- for everybody


@pytest.mark.parametrize("capacity", [0, -5])
def test_capacity_below_one_is_refused(capacity: int) -> None:
    with pytest.raises(ConfigurationError, match="use None for a channel without"):
        Channel(capacity)


def test_items_come_out_in_the_order_they_went_in() -> None:
    channel = full_channel(4)

    assert [channel.take() for _ in range(4)] == [0, 1, 2, 3]


def test_put_without_waiting_raises_when_full() -> None:
    with pytest.raises(MailboxFull, match="channel is full"):
        full_channel(1).put("x", wait=False)


def test_put_times_out_at_exactly_its_time(clock: VirtualClock) -> None:
    channel = full_channel(1)
    sender = Running(clock, lambda: channel.put("late", wait=0.7))

    clock.advance(5)

    assert isinstance(sender.error, MailboxFull)
    assert sender.ended_at == 0.7
    assert channel.close() == [0]


def test_take_times_out_at_exactly_its_time(clock: VirtualClock) -> None:
    reader = Running(clock, Channel().take, 0.3)

    clock.advance(5)

    assert isinstance(reader.error, Empty)
    assert reader.ended_at == 0.3


def test_take_with_no_time_never_waits() -> None:
    channel = Channel()
    with pytest.raises(Empty):
        channel.take(0)
    channel.put("x")

    assert channel.take(0) == "x"


def test_blocked_senders_enter_in_the_order_they_came(clock: VirtualClock) -> None:
    channel = full_channel(2)
    for number in range(2, 8):
        Running(clock, channel.put, number)

    assert [channel.take() for _ in range(8)] == list(range(8))


def test_every_item_goes_to_exactly_one_reader(clock: VirtualClock) -> None:
    channel = Channel(2)
    readers = [Running(clock, channel.take) for _ in range(5)]

    for number in range(5):
        channel.put(number)
    clock.settle()

    assert sorted(reader.value for reader in readers) == [0, 1, 2, 3, 4]
    assert len(channel) == 0


def test_longest_waiting_reader_gets_the_first_item(clock: VirtualClock) -> None:
    channel = Channel()
    readers = [Running(clock, channel.take) for _ in range(3)]

    channel.put("x")
    clock.settle()

    assert [reader.value for reader in readers] == ["x", None, None]
    channel.close()
    clock.settle()


def test_senders_behind_one_place_use_every_idle_reader(clock: VirtualClock) -> None:
    channel, busy = Channel(1), clock.event()
    done: list[int] = []

    def work() -> None:
        done.append(channel.take())
        busy.wait()

    for _ in range(4):
        Running(clock, work)
    with clock.hold("four senders in one instant"):
        senders = [
            clock.thread(channel.put, args=(number,), daemon=True)
            for number in range(4)
        ]
        for sender in senders:
            sender.start()
    clock.settle()

    assert sorted(done) == [0, 1, 2, 3]
    busy.set()
    clock.settle()


def test_reader_that_times_out_passes_its_wake_up_on(clock: VirtualClock) -> None:
    channel = Channel()
    readers = [Running(clock, channel.take, 1.0), Running(clock, channel.take)]
    clock.call_later(1.0, channel.put, "x")  # in the very moment of the timeout

    clock.advance(2)

    assert [r.value for r in readers].count("x") == 1
    channel.close()
    clock.settle()


def test_reader_that_timed_out_is_not_woken_later(clock: VirtualClock) -> None:
    channel = Channel()
    Running(clock, channel.take, 1)
    clock.advance(1)
    other = Running(clock, channel.take)

    channel.put("x")
    clock.settle()

    assert other.value == "x"


def test_close_returns_leftovers_and_wakes_everybody(clock: VirtualClock) -> None:
    channel = full_channel(2)
    senders = [Running(clock, channel.put, number) for number in range(5)]

    leftovers = channel.close()
    clock.settle()

    assert leftovers == [0, 1]
    assert channel.close() == []
    assert all(isinstance(sender.error, MailboxClosed) for sender in senders)
    assert channel.closed


def test_close_wakes_idle_readers(clock: VirtualClock) -> None:
    channel = Channel()
    readers = [Running(clock, channel.take) for _ in range(3)]

    channel.close()
    clock.settle()

    assert all(isinstance(reader.error, MailboxClosed) for reader in readers)


def test_closed_channel_refuses_everything() -> None:
    channel = Channel()
    channel.close()

    refused: list[Callable[[], object]] = [
        lambda: channel.put(1),
        channel.take,
        lambda: channel.offer(1),
        lambda: channel.offer(1, force=True),
        lambda: channel.offer_first(1),
    ]
    for call in refused:
        with pytest.raises(MailboxClosed, match="channel is closed"):
            call()


def test_cancelled_token_ends_the_wait_of_its_sender(clock: VirtualClock) -> None:
    channel, token = full_channel(1), StopToken()
    sender = Running(clock, lambda: channel.put("x", token=token))

    token.cancel("enough")
    clock.settle()

    assert isinstance(sender.error, Cancelled)
    assert channel.waiting_senders == 0


# -- for an owner that holds the lock


def test_owner_may_bring_its_own_lock() -> None:
    lock = raw_lock()

    assert Channel(lock=lock).lock is lock


def test_offer_enters_while_there_is_room() -> None:
    channel = Channel(1)

    assert channel.offer("a") == (True, None)
    assert channel.offer("b") == (False, None)
    assert len(channel) == 1


def test_offer_tells_which_reader_to_wake() -> None:
    channel, first, second = Channel(5), FakeWake(), FakeWake()
    assert channel.pop(first) is None
    assert channel.pop(second) is None

    woken = [channel.offer(number)[1] for number in range(3)]

    assert woken == [first, second, None]
    assert first.puts == 0


def test_reader_is_registered_once_however_often_it_asks() -> None:
    channel, wake = Channel(), FakeWake()
    for _ in range(3):
        channel.pop(wake)

    assert channel.offer(1) == (True, wake)
    assert channel.offer(2) == (True, None)


def test_reader_that_got_an_item_is_no_longer_registered() -> None:
    channel, early, late = Channel(), FakeWake(), FakeWake()
    channel.pop(early)
    channel.pop(late)
    assert channel.offer("for early") == (True, early)
    assert channel.pop(late) == ("for early", None)  # woken by something else
    channel.pop(early)

    assert channel.offer("next") == (True, early)
    assert channel.offer("more") == (True, None)


def test_forced_item_goes_past_the_bound_and_counts() -> None:
    channel = Channel(1)
    channel.offer(1)
    channel.offer(2, force=True)
    ticket, _ = channel.wait_for_place(3, FakeWake())

    assert len(channel) == 2
    assert channel.pop(FakeWake()) == (1, None)
    assert channel.pop(FakeWake()) == (2, ticket)
    assert ticket.state == "entered"


def test_first_items_go_ahead_in_their_own_order_and_need_no_place() -> None:
    channel = Channel(2)
    channel.offer("a")
    channel.offer_first("r1")
    channel.offer_first("r2")

    assert channel.offer("b") == (True, None)
    assert channel.offer("c") == (False, None)
    assert len(channel) == 4
    wake = FakeWake()
    assert [item_of(channel.pop(wake)) for _ in range(4)] == ["r1", "r2", "a", "b"]


def test_taking_a_first_item_frees_no_place() -> None:
    channel = Channel(1)
    channel.offer("a")
    channel.offer_first("r")
    ticket, _ = channel.wait_for_place("b", FakeWake())

    assert channel.pop(FakeWake()) == ("r", None)
    assert ticket.state == "waiting"
    assert channel.pop(FakeWake()) == ("a", ticket)


def test_first_item_wakes_a_reader() -> None:
    channel, wake = Channel(), FakeWake()
    channel.pop(wake)

    assert channel.offer_first("r") is wake


def test_ticket_enters_when_a_place_comes_free() -> None:
    channel = full_channel(1)
    ticket, reader = channel.wait_for_place("x", FakeWake())
    assert (ticket.state, reader, channel.waiting_senders) == ("waiting", None, 1)

    assert channel.pop(FakeWake()) == (0, ticket)

    assert (ticket.state, ticket.item) == ("entered", "x")
    assert channel.waiting_senders == 0
    assert not channel.give_up(ticket)


def test_ticket_that_is_given_up_never_enters() -> None:
    channel = full_channel(1)
    ticket, _ = channel.wait_for_place("x", FakeWake())

    assert channel.give_up(ticket)
    assert not channel.give_up(ticket)
    assert ticket.state == "given up"
    assert channel.pop(FakeWake()) == (0, None)
    assert channel.pop(FakeWake()) is None


def test_ticket_is_closed_with_the_channel() -> None:
    channel, reader = full_channel(1), FakeWake()
    ticket, _ = channel.wait_for_place("x", FakeWake())

    items, tickets, readers = channel.shut()
    channel.pop(reader)

    assert (items, tickets, readers) == ([0], [ticket], [])
    assert ticket.state == "closed"


def test_shut_returns_the_idle_readers_and_first_items_first() -> None:
    channel, wake = Channel(), FakeWake()
    channel.pop(wake)
    assert channel.shut() == ([], [], [wake])

    channel = full_channel(2)
    channel.offer_first("r")
    channel.discard(0)
    assert channel.shut() == (["r", 1], [], [])


def test_ticket_wakes_an_idle_reader_that_will_free_its_place() -> None:
    channel, first, second = Channel(1), FakeWake(), FakeWake()
    channel.pop(first)
    channel.pop(second)
    assert channel.offer("a") == (True, first)

    ticket, reader = channel.wait_for_place("b", FakeWake())

    assert reader is second
    assert channel.pop(second) == ("a", ticket)
    assert channel.pop(first) == ("b", None)


def test_forgotten_reader_passes_its_wake_up_on() -> None:
    channel, first, second = Channel(), FakeWake(), FakeWake()
    channel.pop(first)
    channel.pop(second)
    assert channel.offer("x") == (True, first)

    assert channel.forget_reader(first) is second
    assert channel.pop(second) == ("x", None)


def test_forgotten_reader_that_was_not_woken_wakes_nobody() -> None:
    channel, first, second = Channel(), FakeWake(), FakeWake()
    channel.pop(first)
    channel.pop(second)

    assert channel.forget_reader(first) is None
    assert channel.offer("x") == (True, second)


def test_forgotten_reader_wakes_nobody_for_nothing() -> None:
    channel, first, second, third = Channel(), FakeWake(), FakeWake(), FakeWake()
    channel.pop(first)
    channel.pop(second)
    channel.offer("x")
    assert item_of(channel.pop(third)) == "x"

    assert channel.forget_reader(first) is None


# -- discarding


def test_discarded_item_is_passed_over_and_gives_its_place_on() -> None:
    channel = Channel(3)
    items = [f"item {number}" for number in range(4)]
    for item in items[:3]:
        channel.offer(item)
    ticket, _ = channel.wait_for_place(items[3], FakeWake())

    assert channel.discard(items[1]) == (True, ticket)

    assert ticket.state == "entered"
    assert len(channel) == 3
    wake = FakeWake()
    left = [item_of(channel.pop(wake)) for _ in range(3)]
    assert left == [items[0], items[2], items[3]]
    assert channel.pop(wake) is None


def test_item_is_discarded_by_identity_and_once() -> None:
    channel, item, equal = Channel(), [1], [1]
    channel.offer(item)

    assert channel.discard(equal) == (False, None)
    assert channel.discard(item) == (True, None)
    assert channel.discard(item) == (False, None)
    assert len(channel) == 0


def test_taken_item_cannot_be_discarded() -> None:
    channel, items = Channel(), [object(), object(), object()]
    for item in items:
        channel.offer(item)
    channel.discard(items[1])
    channel.pop(FakeWake())

    assert channel.discard(items[0]) == (False, None)
    assert channel.discard(items[2]) == (True, None)


def test_discarded_first_item_frees_no_place() -> None:
    channel, retry = Channel(1), object()
    channel.offer("a")
    channel.offer_first(retry)
    ticket, _ = channel.wait_for_place("b", FakeWake())

    assert channel.discard(retry) == (True, None)
    assert ticket.state == "waiting"
    assert len(channel) == 1


def test_same_object_offered_twice_is_discarded_once() -> None:
    channel, item = Channel(), object()
    channel.offer(item)
    channel.offer("between")
    channel.offer(item)

    channel.discard(item)

    assert len(channel) == 2
    assert channel.close() == ["between", item]


def test_discarding_everything_leaves_an_ordinary_channel() -> None:
    channel, items = Channel(None), [object() for _ in range(1000)]
    for item in items:
        channel.offer(item)

    for item in reversed(items):
        assert channel.discard(item)[0]

    assert len(channel) == 0
    assert channel._items.present is None
    assert not channel._items.struck
    assert channel.pop(FakeWake()) is None


def test_discarded_items_are_let_go_of_though_the_head_stays() -> None:
    channel, items = Channel(None), [object() for _ in range(1000)]
    for item in items:
        channel.offer(item)

    for item in items[1:]:
        channel.discard(item)

    assert len(channel) == 1
    assert deque.__len__(channel._items) <= 2
    assert channel.close() == [items[0]]


# -- any order of calls


class AnyOrder(RuleBasedStateMachine):
    """The channel beside a plain list; wake-ups are on their way until used."""

    def __init__(self) -> None:
        super().__init__()
        self.capacity = 2
        self.channel = Channel(self.capacity)
        self.first: list[object] = []
        self.items: list[object] = []
        self.tickets: list[Ticket] = []
        self.idle: list[WakeQueue] = []
        self.woken: list[WakeQueue] = []

    def wake(self, reader: WakeQueue | None) -> None:
        if reader is not None:
            assert reader is self.idle.pop(0)
            self.woken.append(reader)

    def place_came_free(self, ticket: Ticket | None) -> None:
        expected = None
        if self.tickets and len(self.items) < self.capacity:
            expected = self.tickets.pop(0)
            self.items.append(expected.item)
        assert ticket is expected
        assert ticket is None or ticket.state == "entered"

    @rule(force=st.booleans())
    def offer(self, force: bool) -> None:
        item = object()
        entered, reader = self.channel.offer(item, force=force)
        assert entered is (force or len(self.items) < self.capacity)
        if entered:
            self.items.append(item)
            self.wake(reader)
            return
        ticket, reader = self.channel.wait_for_place(item, FakeWake())
        self.tickets.append(ticket)
        self.wake(reader)

    @rule()
    def offer_first(self) -> None:
        item = object()
        self.wake(self.channel.offer_first(item))
        self.first.append(item)

    def take(self, wake: WakeQueue) -> None:
        popped = self.channel.pop(wake)
        if popped is None:
            assert not self.first
            assert not self.items
            if wake not in self.idle:
                self.idle.append(wake)
            return
        item, ticket = popped
        if wake in self.idle:
            self.idle.remove(wake)
        if self.first:
            assert item is self.first.pop(0)
            assert ticket is None
        else:
            assert item is self.items.pop(0)
            self.place_came_free(ticket)

    @rule()
    def new_reader(self) -> None:
        self.take(FakeWake())

    @precondition(lambda self: self.woken)
    @rule(data=st.data())
    def woken_reader_arrives(self, data: st.DataObject) -> None:
        self.take(self.woken.pop(data.draw(st.integers(0, len(self.woken) - 1))))

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def idle_reader_looks_for_another_reason(self, data: st.DataObject) -> None:
        self.take(data.draw(st.sampled_from(self.idle)))

    @precondition(lambda self: self.woken)
    @rule(data=st.data())
    def woken_reader_leaves(self, data: st.DataObject) -> None:
        wake = self.woken.pop(data.draw(st.integers(0, len(self.woken) - 1)))
        other = self.channel.forget_reader(wake)
        assert (other is not None) is bool(self.idle and (self.first or self.items))
        self.wake(other)

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def idle_reader_leaves(self, data: st.DataObject) -> None:
        wake = data.draw(st.sampled_from(self.idle))
        self.idle.remove(wake)
        assert self.channel.forget_reader(wake) is None

    @precondition(lambda self: self.items or self.first)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.first + self.items))
        was_there, ticket = self.channel.discard(item)
        assert was_there
        if item in self.first:
            self.first.remove(item)
            assert ticket is None
        else:
            self.items.remove(item)
            self.place_came_free(ticket)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.tickets))
        assert self.channel.give_up(ticket)
        self.tickets.remove(ticket)

    @rule()
    def shut(self) -> None:
        items, tickets, readers = self.channel.shut()
        assert items == self.first + self.items
        assert tickets == self.tickets
        assert readers == self.idle
        self.__init__()  # type: ignore[misc]  # the next channel

    @invariant()
    def lengths_agree(self) -> None:
        assert len(self.channel) == len(self.first) + len(self.items)
        assert self.channel.waiting_senders == len(self.tickets)

    @invariant()
    def no_sender_waits_beside_a_free_place(self) -> None:
        assert not self.tickets or len(self.items) >= self.capacity

    @invariant()
    def no_wake_up_is_lost(self) -> None:
        to_read = len(self.first) + len(self.items) + len(self.tickets)
        assert not self.idle or len(self.woken) >= to_read


TestAnyOrder = AnyOrder.TestCase
