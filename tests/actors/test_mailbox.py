"""The mailbox: its bound, its lanes, its leases, and who wakes when.

:Runs on: the test runner's thread, and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from actors.clock import Empty, SystemClock, WakeQueue
from actors.errors import Cancelled, ConfigurationError, MailboxClosed, MailboxFull
from actors.mailbox import Lane, LeaseRevoked, Mailbox
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
            except Exception as error:  # noqa: BLE001  # for the test to look at
                self.error = error
            except (Cancelled, LeaseRevoked) as error:
                self.error = error
            self.ended_at = clock.monotonic()

        self.thread = clock.thread(run, daemon=True)
        self.thread.start()
        clock.settle()

    @property
    def waits(self) -> bool:
        return self.ended_at is None


class FakeSource:
    """Items for a reader, and a note of who is registered and who withdrew."""

    def __init__(self) -> None:
        self.items: deque[Any] = deque()
        self.registered: list[WakeQueue] = []
        self.withdrawn: list[WakeQueue] = []
        self.on_take: Callable[[], object] = lambda: None

    def take(self, wake: WakeQueue) -> Any | None:
        self.on_take()
        if self.items:
            return self.items.popleft()
        if wake not in self.registered:
            self.registered.append(wake)
        return None

    def withdraw(self, wake: WakeQueue) -> None:
        self.withdrawn.append(wake)
        if wake in self.registered:
            self.registered.remove(wake)

    def offer(self, item: Any) -> None:
        self.items.append(item)
        if self.registered:
            self.registered.pop(0).put(None)


# -- the bound


@pytest.mark.parametrize("capacity", [0, -1])
def test_capacity_below_one_is_refused(capacity: int) -> None:
    with pytest.raises(ConfigurationError, match=f"at least 1 or None, got {capacity}"):
        Mailbox(capacity)


def test_messages_come_out_in_the_order_they_went_in() -> None:
    mailbox = Mailbox(5)

    for number in range(5):
        mailbox.put(number)

    assert [mailbox.get() for _ in range(5)] == [0, 1, 2, 3, 4]


def test_length_counts_data_and_not_control() -> None:
    mailbox = Mailbox(5)
    mailbox.put("data")
    mailbox.put_control("control")

    assert len(mailbox) == 1
    assert mailbox.capacity == 5
    assert not mailbox.closed


@pytest.mark.parametrize("wait", [False, 0, 0.0])
def test_put_without_waiting_raises_when_full(wait: float) -> None:
    mailbox = Mailbox(1)
    mailbox.put("first")

    with pytest.raises(MailboxFull, match="capacity 1"):
        mailbox.put("second", wait=wait)

    assert mailbox.close() == ["first"]


def test_unbounded_mailbox_never_makes_a_sender_wait() -> None:
    mailbox = Mailbox(None)

    for number in range(10_000):
        mailbox.put(number, wait=False)

    assert len(mailbox) == 10_000
    assert mailbox.capacity is None


def test_full_mailbox_makes_its_sender_wait_for_a_read(clock: VirtualClock) -> None:
    mailbox = Mailbox(1)
    mailbox.put("first")

    sender = Running(clock, mailbox.put, "second")
    waited = sender.waits
    first = mailbox.get()
    clock.settle()

    assert (waited, first, sender.waits) == (True, "first", False)
    assert mailbox.get() == "second"


def test_put_times_out_at_exactly_its_time(clock: VirtualClock) -> None:
    mailbox = Mailbox(1)
    mailbox.put("first")
    sender = Running(clock, lambda: mailbox.put("second", wait=2.5))

    clock.advance(2.4999)
    waited = sender.waits
    clock.advance(10)

    assert waited
    assert sender.ended_at == 2.5
    assert isinstance(sender.error, MailboxFull)
    assert mailbox.close() == ["first"]
    assert mailbox.waiting_senders == 0


def test_sender_that_timed_out_leaves_the_line_to_the_next(clock: VirtualClock) -> None:
    mailbox = Mailbox(1)
    mailbox.put("first")
    Running(clock, lambda: mailbox.put("impatient", wait=1))
    patient = Running(clock, mailbox.put, "patient")
    clock.advance(2)

    mailbox.get()
    clock.settle()

    assert not patient.waits
    assert mailbox.close() == ["patient"]


def test_blocked_senders_enter_in_the_order_they_came(clock: VirtualClock) -> None:
    mailbox = Mailbox(2)
    for number in range(2):
        mailbox.put(number)
    for number in range(2, 10):
        Running(clock, mailbox.put, number)

    read = [mailbox.get() for _ in range(10)]

    assert read == list(range(10))


def test_new_sender_does_not_overtake_a_blocked_one(clock: VirtualClock) -> None:
    mailbox = Mailbox(1)
    mailbox.put("first")
    Running(clock, mailbox.put, "blocked")
    mailbox.get()

    with pytest.raises(MailboxFull):
        mailbox.put("late", wait=False)

    assert mailbox.get() == "blocked"


def test_forced_message_goes_past_the_bound_and_counts(clock: VirtualClock) -> None:
    """R10: what an actor sends to itself never waits."""
    mailbox = Mailbox(1)
    mailbox.put(1)
    mailbox.put(2, force=True)
    sender = Running(clock, mailbox.put, 3)

    length = len(mailbox)
    mailbox.get()
    clock.settle()
    still_waits = sender.waits
    mailbox.get()
    clock.settle()

    assert (length, still_waits, sender.waits) == (2, True, False)
    assert mailbox.get() == 3


def test_bound_holds_under_many_virtual_senders(clock: VirtualClock) -> None:
    mailbox = Mailbox(3)
    seen: list[int] = []

    def send(number: int) -> None:
        for index in range(20):
            mailbox.put((number, index))
            seen.append(len(mailbox))

    for number in range(8):
        Running(clock, send, number)
    read = []
    for _ in range(160):
        seen.append(len(mailbox))
        read.append(mailbox.get())

    assert max(seen) == 3
    assert all(
        [i for n, i in read if n == number] == list(range(20)) for number in range(8)
    )


# -- a token ends a sender's wait


def test_cancelled_token_ends_the_wait_of_its_sender(clock: VirtualClock) -> None:
    mailbox, token = Mailbox(1), StopToken()
    mailbox.put("first")
    sender = Running(clock, lambda: mailbox.put("second", token=token))

    token.cancel("enough")
    clock.settle()

    assert isinstance(sender.error, Cancelled)
    assert "enough" in str(sender.error)
    assert mailbox.close() == ["first"]


def test_token_that_only_drains_lets_its_sender_wait_on(clock: VirtualClock) -> None:
    mailbox, token = Mailbox(1), StopToken()
    mailbox.put("first")
    sender = Running(clock, lambda: mailbox.put("second", token=token))

    token.drain()
    clock.settle()
    waited = sender.waits
    mailbox.get()
    clock.settle()

    assert waited
    assert not sender.waits
    assert sender.error is None


def test_cancelled_token_refuses_the_wait_but_not_the_put() -> None:
    mailbox, token = Mailbox(1), StopToken()
    token.cancel()

    mailbox.put("there is room", token=token)
    with pytest.raises(Cancelled):
        mailbox.put("there is none", token=token)

    assert mailbox.close() == ["there is room"]


@pytest.mark.parametrize("lane", ["data", "control"])
def test_put_that_a_signal_cuts_short_still_wakes_the_actor(
    clock: VirtualClock, lane: str
) -> None:
    class Interrupted(Mailbox):
        def _next_reader(self) -> Any:
            taken = super()._next_reader()
            if taken is not None:
                raise KeyboardInterrupt
            return taken

    mailbox = Interrupted()
    lease, got = mailbox.new_lease(), []
    reader = clock.thread(lambda: got.append(mailbox.receive(lease)))
    reader.start()
    clock.settle()

    with pytest.raises(KeyboardInterrupt):
        (mailbox.put if lane == "data" else mailbox.put_control)("x")
    clock.settle()

    assert [item for _, item in got] == ["x"]
    mailbox.close()


def test_error_from_outside_takes_the_sender_out_of_the_line() -> None:
    class Interrupted:
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            raise KeyboardInterrupt

    clock = SystemClock()
    clock.queue = Interrupted  # type: ignore[assignment]
    mailbox = Mailbox(1, clock=clock)
    mailbox.put("first")

    with pytest.raises(KeyboardInterrupt):
        mailbox.put("second")

    assert mailbox.waiting_senders == 0
    assert mailbox.close() == ["first"]


# -- the control lane


def test_control_message_overtakes_full_data_lane() -> None:
    """R15: all queued control is read before the next data message."""
    mailbox = Mailbox(2)
    mailbox.put("a")
    mailbox.put("b")

    mailbox.put_control("stop")
    mailbox.put_control("now")

    assert [mailbox.get() for _ in range(4)] == ["stop", "now", "a", "b"]


def test_control_never_waits_however_much_there_is() -> None:
    """R15: it does not count against the bound."""
    mailbox = Mailbox(1)
    mailbox.put("data")

    for number in range(1000):
        mailbox.put_control(number)

    assert [mailbox.get() for _ in range(1001)] == [*range(1000), "data"]


def test_control_wakes_the_waiting_reader(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    reader = Running(clock, mailbox.get)

    mailbox.put_control("stop")
    clock.settle()

    assert reader.value == "stop"


# -- reading with a limit


def test_get_times_out_at_exactly_its_time(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    reader = Running(clock, mailbox.get, 0.3)

    clock.advance(5)

    assert isinstance(reader.error, Empty)
    assert reader.ended_at == 0.3


def test_get_with_no_time_raises_at_once_when_empty() -> None:
    with pytest.raises(Empty):
        Mailbox().get(0)


def test_get_with_no_time_takes_what_is_there() -> None:
    mailbox = Mailbox()
    mailbox.put("data")

    assert mailbox.get(0) == "data"


def test_reader_that_timed_out_is_not_woken_later(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    Running(clock, mailbox.get, 1)
    clock.advance(1)
    other = Running(clock, mailbox.get)

    mailbox.put("data")
    clock.settle()

    assert other.value == "data"


# -- the end


def test_close_returns_the_leftovers_once() -> None:
    mailbox = Mailbox()
    mailbox.put("a")
    mailbox.put("b")
    mailbox.put_control("dropped")

    assert mailbox.close() == ["a", "b"]
    assert mailbox.close() == []
    assert mailbox.closed
    assert len(mailbox) == 0


@pytest.mark.parametrize("capacity", [1, None])
def test_closed_mailbox_refuses_everything(capacity: int | None) -> None:
    """R8: enqueue and close are atomic."""
    mailbox = Mailbox(capacity)
    lease = mailbox.new_lease()
    mailbox.close()

    refused: list[Callable[[], object]] = [
        lambda: mailbox.put(1),
        lambda: mailbox.put(1, wait=False),
        lambda: mailbox.put(1, force=True),
        lambda: mailbox.put_control(1),
        lambda: mailbox.put_control_at(0.0, 1),
        mailbox.get,
        lambda: mailbox.receive(lease),
        lambda: mailbox.receive(lease, FakeSource()),
    ]
    for call in refused:
        with pytest.raises(MailboxClosed, match="mailbox is closed"):
            call()


def test_close_wakes_every_blocked_sender(clock: VirtualClock) -> None:
    """R8: nobody waits at a closed mailbox."""
    mailbox = Mailbox(1)
    mailbox.put("accepted")
    senders = [Running(clock, mailbox.put, number) for number in range(20)]

    leftovers = mailbox.close()
    clock.settle()

    assert leftovers == ["accepted"]
    assert all(isinstance(sender.error, MailboxClosed) for sender in senders)


def test_close_wakes_the_waiting_reader(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    lease = mailbox.new_lease()
    reader = Running(clock, mailbox.receive, lease)

    mailbox.close()
    clock.settle()

    assert isinstance(reader.error, MailboxClosed)


# -- taking everything


def test_take_data_hands_the_places_to_waiting_senders(clock: VirtualClock) -> None:
    mailbox = Mailbox(2)
    mailbox.put("a")
    mailbox.put("b")
    senders = [Running(clock, mailbox.put, number) for number in range(3)]

    taken = mailbox.take_data()
    clock.settle()

    assert taken == ["a", "b"]
    assert [sender.waits for sender in senders] == [False, False, True]
    assert mailbox.take_data() == [0, 1]


# -- leases


def test_receive_tells_the_lane_of_each_message() -> None:
    mailbox = Mailbox()
    lease = mailbox.new_lease()
    mailbox.put("data")
    mailbox.put_control("control")

    received = [mailbox.receive(lease) for _ in range(2)]

    assert received == [(Lane.CONTROL, "control"), (Lane.DATA, "data")]


def test_receive_hands_a_freed_place_to_a_waiting_sender(clock: VirtualClock) -> None:
    mailbox = Mailbox(1)
    lease = mailbox.new_lease()
    mailbox.put("first")
    sender = Running(clock, mailbox.put, "second")

    received = [mailbox.receive(lease) for _ in range(2)]
    clock.settle()

    assert received == [(Lane.DATA, "first"), (Lane.DATA, "second")]
    assert not sender.waits


def test_newer_lease_shuts_the_waiting_reader_out(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    old = Running(clock, mailbox.receive, mailbox.new_lease())

    new = Running(clock, mailbox.receive, mailbox.new_lease())
    mailbox.put("for the new one")
    clock.settle()

    assert isinstance(old.error, LeaseRevoked)
    assert new.value == (Lane.DATA, "for the new one")


def test_revoked_lease_takes_no_message() -> None:
    """R59: who was shut out reads nothing."""
    mailbox = Mailbox()
    source = FakeSource()
    source.items.append("job")
    lease = mailbox.new_lease()
    mailbox.revoke()
    mailbox.put("data")
    mailbox.put_control("control")

    for asked in (None, source):
        with pytest.raises(LeaseRevoked):
            mailbox.receive(lease, asked)

    current = mailbox.new_lease()
    assert [mailbox.receive(current, source)[1] for _ in range(3)] == [
        "control",
        "data",
        "job",
    ]


def test_revoked_lease_takes_no_item_of_an_idle_source() -> None:
    mailbox = Mailbox()
    source = FakeSource()
    source.items.append("job")
    lease = mailbox.new_lease()
    mailbox.revoke()

    with pytest.raises(LeaseRevoked):
        mailbox.receive(lease, source)

    assert list(source.items) == ["job"]


def test_message_given_to_a_reader_that_is_shut_out_is_not_lost(
    clock: VirtualClock,
) -> None:
    """R59, R7: the next reader has it."""
    mailbox = Mailbox()
    old = Running(clock, mailbox.receive, mailbox.new_lease())

    mailbox.put("data")  # the old reader is on its way to it
    lease = mailbox.new_lease()
    clock.settle()
    received = [old.value] if old.error is None else [mailbox.receive(lease)]

    assert received == [(Lane.DATA, "data")]


def test_shut_out_reader_leaves_the_new_readers_wake_ups_alone(
    clock: VirtualClock,
) -> None:
    mailbox = Mailbox()
    stale = mailbox.new_lease()
    reader = Running(clock, mailbox.receive, mailbox.new_lease())

    zombie = Running(clock, mailbox.receive, stale)
    mailbox.put("data")
    clock.settle()

    assert isinstance(zombie.error, LeaseRevoked)
    assert reader.value == (Lane.DATA, "data")


def test_nobody_may_receive_after_a_revoke() -> None:
    mailbox = Mailbox()
    mailbox.revoke()
    mailbox.put("data")

    with pytest.raises(LeaseRevoked):
        mailbox.receive(1)


def test_leftover_of_a_lease_is_kept_for_the_next_one() -> None:
    mailbox = Mailbox()
    mailbox.new_lease()
    mailbox.put("kept")

    lease = mailbox.new_lease()

    assert mailbox.receive(lease) == (Lane.DATA, "kept")


def test_waiting_reader_that_is_shut_out_is_never_given_a_wake_up() -> None:
    mailbox = Mailbox()
    stale = mailbox.new_lease()
    mailbox._look(stale, mailbox._holder[1], float("-inf"))
    assert len(mailbox._readers) == 1

    mailbox.new_lease()

    assert not mailbox._readers


# -- suspension


def test_suspended_mailbox_serves_control_alone(clock: VirtualClock) -> None:
    """R17, R14: control is served while the data lane is suspended."""
    mailbox = Mailbox()
    lease = mailbox.new_lease()
    mailbox.suspend()
    mailbox.put("data")
    reader = Running(clock, mailbox.receive, lease)
    waited = reader.waits

    mailbox.put_control("control")
    clock.settle()

    assert waited
    assert reader.value == (Lane.CONTROL, "control")


def test_senders_fill_a_suspended_mailbox_to_its_bound(clock: VirtualClock) -> None:
    """R14: nothing is dropped; they fill up to the bound and then block."""
    mailbox = Mailbox(2)
    mailbox.suspend()

    senders = [Running(clock, mailbox.put, number) for number in range(3)]

    assert [sender.waits for sender in senders] == [False, False, True]
    mailbox.close()
    clock.settle()


def test_resume_wakes_the_reader_for_what_came_meanwhile(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    lease = mailbox.new_lease()
    mailbox.suspend()
    reader = Running(clock, mailbox.receive, lease)
    mailbox.put("data")
    clock.settle()
    waited = reader.waits

    mailbox.resume()
    clock.settle()

    assert waited
    assert reader.value == (Lane.DATA, "data")


def test_suspended_reader_takes_nothing_from_its_source(clock: VirtualClock) -> None:
    mailbox, source = Mailbox(), FakeSource()
    lease = mailbox.new_lease()
    mailbox.suspend()
    source.items.append("job")
    reader = Running(clock, mailbox.receive, lease, source)
    waited = reader.waits

    mailbox.resume()
    clock.settle()

    assert waited
    assert reader.value == (Lane.SOURCE, "job")


def test_suspended_reader_passes_the_wake_up_of_its_source_on(
    clock: VirtualClock,
) -> None:
    mailbox, source = Mailbox(), FakeSource()
    reader = Running(clock, mailbox.receive, mailbox.new_lease(), source)
    mailbox.suspend()

    source.offer("job")
    clock.settle()

    assert reader.waits
    assert source.withdrawn
    mailbox.resume()
    clock.settle()
    assert reader.value == (Lane.SOURCE, "job")


# -- what becomes due


def test_due_message_comes_at_exactly_its_time(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    reader = Running(clock, mailbox.get)

    mailbox.put_control_at(3.0, "tick")
    clock.advance(2.9999)
    waited = reader.waits
    clock.advance(1)

    assert waited
    assert (reader.value, reader.ended_at) == ("tick", 3.0)
    assert not mailbox._readers


def test_thousand_tenths_of_a_second_come_at_their_times(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    stamps: list[float] = []

    def read() -> None:
        for number in range(1, 1001):
            mailbox.put_control_at(number / 10, number)
            mailbox.get()
            stamps.append(clock.monotonic())

    Running(clock, read)
    clock.advance(100)

    assert stamps == [number / 10 for number in range(1, 1001)]


def test_earlier_timer_shortens_the_wait_of_the_reader(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    mailbox.put_control_at(10.0, "late")
    reader = Running(clock, mailbox.get)

    mailbox.put_control_at(1.0, "early")
    clock.advance(20)

    assert (reader.value, reader.ended_at) == ("early", 1.0)


def test_equal_deadlines_keep_the_order_they_were_made_in(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    for number in range(20):
        mailbox.put_control_at(1.0, number)
    clock.advance(1)

    assert [mailbox.get() for _ in range(20)] == list(range(20))


def test_due_message_overtakes_data_and_not_control(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    mailbox.put("data")
    mailbox.put_control_at(0.0, "due")
    mailbox.put_control("control")

    assert [mailbox.get() for _ in range(3)] == ["control", "due", "data"]


def test_due_message_is_not_starved_by_a_flood_of_control(clock: VirtualClock) -> None:
    """R21: what is due queues up in the control lane, whatever else is in there."""
    mailbox = Mailbox()
    mailbox.put_control_at(1.0, "due")
    for _ in range(3):
        mailbox.put_control("flood")
    clock.advance(1)

    read = []
    for _ in range(5):
        read.append(mailbox.get())
        mailbox.put_control("flood")  # there is more of it whenever one looks

    assert read == ["flood", "flood", "flood", "due", "flood"]


def test_due_messages_of_a_flood_come_in_the_order_of_their_times(
    clock: VirtualClock,
) -> None:
    """R21, R15: restart work and API calls are served in turn, ahead of data."""
    mailbox = Mailbox()
    mailbox.put("data")
    mailbox.put_control_at(2.0, "late")
    mailbox.put_control_at(1.0, "early")
    mailbox.put_control("first")

    read = [mailbox.get()]
    mailbox.put_control("between")
    clock.advance(3)
    read += [mailbox.get(), mailbox.get(), mailbox.get(), mailbox.get()]

    assert read == ["first", "between", "early", "late", "data"]


def test_data_is_served_while_a_timer_is_not_due(clock: VirtualClock) -> None:
    mailbox = Mailbox(1)
    lease = mailbox.new_lease()
    mailbox.put_control_at(5.0, "later")
    mailbox.put("first")
    sender = Running(clock, mailbox.put, "second")

    received = [mailbox.receive(lease)[1] for _ in range(2)]
    clock.settle()

    assert received == ["first", "second"]
    assert not sender.waits


def test_get_gives_up_before_a_later_timer(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    mailbox.put_control_at(5.0, "later")
    reader = Running(clock, mailbox.get, 1.0)

    clock.advance(10)

    assert isinstance(reader.error, Empty)
    assert reader.ended_at == 1.0


def test_cancelled_timer_never_comes(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    timer = mailbox.put_control_at(1.0, "taken back")
    mailbox.put_control_at(2.0, "comes")
    reader = Running(clock, mailbox.get)

    first, second = timer.cancel(), timer.cancel()
    clock.advance(5)

    assert (first, second) == (True, False)
    assert (reader.value, reader.ended_at) == ("comes", 2.0)


def test_timer_that_came_cannot_be_cancelled(clock: VirtualClock) -> None:
    mailbox = Mailbox()
    timer = mailbox.put_control_at(0.0, "came")
    mailbox.get()

    assert timer.cancelled
    assert not timer.cancel()


def test_cancelled_timers_do_not_pile_up() -> None:
    mailbox = Mailbox()
    kept = mailbox.put_control_at(1e9, "kept")

    for number in range(1000):
        mailbox.put_control_at(1e9 + number, number).cancel()

    assert len(mailbox._timers) <= 3
    assert not kept.cancelled


def test_close_drops_the_timers() -> None:
    mailbox = Mailbox()
    timer = mailbox.put_control_at(1e9, "dropped")

    mailbox.close()

    assert timer.cancelled
    assert not timer.cancel()


# -- a source


def test_source_is_asked_after_the_own_lanes() -> None:
    mailbox, source = Mailbox(), FakeSource()
    lease = mailbox.new_lease()
    source.items.append("job")
    mailbox.put("data")
    mailbox.put_control("control")
    mailbox.put_control_at(0.0, "due")

    received = [mailbox.receive(lease, source) for _ in range(4)]

    assert received == [
        (Lane.CONTROL, "control"),
        (Lane.CONTROL, "due"),
        (Lane.DATA, "data"),
        (Lane.SOURCE, "job"),
    ]


def test_source_is_served_while_a_timer_is_not_due() -> None:
    mailbox, source = Mailbox(), FakeSource()
    lease = mailbox.new_lease()
    source.items.append("job")
    mailbox.put_control_at(1e9, "later")

    assert mailbox.receive(lease, source) == (Lane.SOURCE, "job")
    assert not mailbox._readers


def test_source_wakes_the_idle_reader(clock: VirtualClock) -> None:
    mailbox, source = Mailbox(), FakeSource()
    reader = Running(clock, mailbox.receive, mailbox.new_lease(), source)

    source.offer("job")
    clock.settle()

    assert reader.value == (Lane.SOURCE, "job")
    assert not mailbox._readers


def test_reader_woken_by_control_withdraws_from_its_source(
    clock: VirtualClock,
) -> None:
    mailbox, source = Mailbox(), FakeSource()
    reader = Running(clock, mailbox.receive, mailbox.new_lease(), source)

    mailbox.put_control("stop")
    clock.settle()

    assert reader.value == (Lane.CONTROL, "stop")
    assert source.registered == []
    assert source.withdrawn


def test_reader_woken_for_nothing_waits_on(clock: VirtualClock) -> None:
    mailbox, source = Mailbox(), FakeSource()
    reader = Running(clock, mailbox.receive, mailbox.new_lease(), source)

    source.registered.pop().put(None)  # its item went to another reader
    clock.settle()
    waited = reader.waits
    source.offer("job")
    clock.settle()

    assert waited
    assert reader.value == (Lane.SOURCE, "job")


@pytest.mark.parametrize("end", ["revoke", "close"])
def test_reader_that_ends_withdraws_from_its_source(
    clock: VirtualClock, end: str
) -> None:
    mailbox, source = Mailbox(), FakeSource()
    Running(clock, mailbox.receive, mailbox.new_lease(), source)

    getattr(mailbox, end)()
    clock.settle()

    assert source.registered == []


def test_source_that_raises_leaves_no_registration_behind() -> None:
    mailbox, source = Mailbox(), FakeSource()
    lease = mailbox.new_lease()
    mailbox.put_control_at(1e9, "keeps the lanes from being empty")

    def fail() -> None:
        raise ValueError

    source.on_take = fail
    with pytest.raises(ValueError):  # noqa: PT011  # the source's own
        mailbox.receive(lease, source)

    assert not mailbox._readers
    assert source.withdrawn


def test_message_that_comes_while_the_source_is_asked_is_seen(
    clock: VirtualClock,
) -> None:
    mailbox, source = Mailbox(), FakeSource()
    asked = itertools.count(1)

    def on_take() -> None:
        if next(asked) == 2:
            mailbox.put_control("in between")

    source.on_take = on_take

    reader = Running(clock, mailbox.receive, mailbox.new_lease(), source)

    assert reader.value == (Lane.CONTROL, "in between")


def test_spent_wake_ups_do_not_pile_up(clock: VirtualClock) -> None:
    mailbox, source = Mailbox(), FakeSource()
    lease = mailbox.new_lease()

    for _ in range(50):
        reader = Running(clock, mailbox.receive, lease, source)
        with clock.hold("both in one moment"):
            source.offer("job")
            mailbox.put_control("control")
        clock.settle()
        both = {reader.value, mailbox.receive(lease, source)}
        assert both == {(Lane.CONTROL, "control"), (Lane.SOURCE, "job")}

    left = 0
    with contextlib.suppress(Empty):
        while mailbox._holder[1].get_nowait() is None:
            left += 1
    assert left <= 2


# -- many threads at once


@pytest.mark.concurrent
def test_virtual_time_never_moves_while_a_message_is_on_its_way(
    clock: VirtualClock,
) -> None:
    mailbox, echo = Mailbox(1), Mailbox(1)
    stamps: list[float] = []

    def answer() -> None:
        while (message := mailbox.get()) is not None:
            echo.put((message, clock.monotonic()))

    def ask() -> None:
        for number in range(50):
            clock.sleep(1.0)
            mailbox.put(number)
            assert echo.get() == (number, clock.monotonic())
            stamps.append(clock.monotonic())
        mailbox.put(None)

    running = [Running(clock, answer), Running(clock, ask)]
    clock.advance(50)

    assert [r.error for r in running] == [None, None]
    assert stamps == [float(n) for n in range(1, 51)]
