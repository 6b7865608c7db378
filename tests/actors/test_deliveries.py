"""Results on their way to the sink, with collectors that live and die.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actors._group import Group
from actors.deliveries import Deliveries, Delivery, DeliveryState
from actors.stop_token import StopToken
from tests.actors.ledger_kit import Call, FakeWake, result_of

if TYPE_CHECKING:
    from actors.testing import VirtualClock

ONE, OTHER = object(), object()  # collectors
READY, TAKEN = DeliveryState.READY, DeliveryState.TAKEN
HANDED, KEPT = DeliveryState.HANDED, DeliveryState.KEPT


class Desk:
    """Deliveries with a group that results are settled into."""

    def __init__(self, clock: VirtualClock, capacity: int | None = 10) -> None:
        self.clock = clock
        self.group = Group("all")
        self.lock = clock.lock()
        self.deliveries = Deliveries(self.lock, capacity, clock)
        self.token = StopToken(name="worker")

    def settled(self, number: int, group: Group | None = None) -> Delivery:
        group = self.group if group is None else group
        result = result_of(number)
        group.accept()
        group.settle(result)
        return Delivery(result, group)

    def enter(
        self, number: int, group: Group | None = None, *, announced: bool = True
    ) -> Delivery:
        """Enter a result past the bound, as any thread but a worker does."""
        delivery = self.settled(number, group)
        with self.lock:
            _, reader = self.deliveries.enter_locked(delivery, wait=False)
        if reader is not None:
            reader.put(None)
        if announced:
            self.deliveries.announced(delivery)
        return delivery

    def work(self, number: int) -> Call:
        """Enter a result as a worker does, on a thread of its own."""

        def work() -> None:
            delivery = self.settled(number)
            with self.lock:
                ticket, reader = self.deliveries.enter_locked(delivery, wait=True)
            if reader is not None:
                reader.put(None)
            self.deliveries.announced(delivery)
            if ticket is not None:
                self.deliveries.wait_for_room(ticket, self.token)

        return Call(self.clock, work)

    def take(self, owner: object = ONE) -> list[Delivery]:
        return self.deliveries.take_for(owner, FakeWake()) or []

    def numbers(self, owner: object = ONE) -> list[int]:
        return [delivery.result.id for delivery in self.take(owner)]

    def undelivered(self) -> list[int]:
        with self.lock:
            results = self.deliveries.undelivered_locked(self.group)
        return [result.id for result in results]


@pytest.fixture
def desk(clock: VirtualClock) -> Desk:
    return Desk(clock)


# -- the way of one result


def test_a_result_goes_from_ready_to_acknowledged(desk: Desk) -> None:
    delivery = desk.enter(1)
    assert delivery.state is READY

    assert desk.take() == [delivery]
    assert delivery.state is TAKEN
    assert desk.deliveries.hand(delivery, ONE)
    assert delivery.state is HANDED
    assert desk.undelivered() == [1]
    desk.deliveries.acknowledge([delivery])

    assert desk.undelivered() == []
    assert desk.group.idle


def test_results_are_taken_in_batches_in_order(desk: Desk) -> None:
    for number in range(100):
        desk.enter(number)

    first, second = desk.numbers(), desk.numbers()

    assert first == list(range(64))
    assert second == list(range(64, 100))


def test_a_collector_without_results_is_woken_by_one(desk: Desk) -> None:
    wake = FakeWake()
    assert desk.deliveries.take_for(ONE, wake) is None

    desk.enter(1)
    desk.enter(2)

    assert wake.puts == 1


def test_a_collector_that_withdrew_is_not_woken(desk: Desk) -> None:
    wake = FakeWake()
    desk.deliveries.take_for(ONE, wake)

    desk.deliveries.withdraw(wake)
    desk.enter(1)

    assert wake.puts == 0


def test_a_collector_that_withdraws_passes_its_wake_on(desk: Desk) -> None:
    left_behind, successor = FakeWake(), FakeWake()
    desk.deliveries.take_for(ONE, left_behind)
    desk.deliveries.take_for(OTHER, successor)
    desk.enter(1)
    assert (left_behind.puts, successor.puts) == (1, 0)

    desk.deliveries.withdraw(left_behind)

    assert successor.puts == 1
    assert desk.numbers(OTHER) == [1]


# -- who may do what


def test_a_result_is_handed_once(desk: Desk) -> None:
    delivery = desk.enter(1)
    desk.take()

    assert desk.deliveries.hand(delivery, ONE)
    assert not desk.deliveries.hand(delivery, ONE)


def test_only_its_taker_may_hand_a_result(desk: Desk) -> None:
    delivery = desk.enter(1)
    assert not desk.deliveries.hand(delivery, ONE)  # nobody took it yet
    desk.take(ONE)

    assert not desk.deliveries.hand(delivery, OTHER)
    assert delivery.state is TAKEN
    assert desk.deliveries.hand(delivery, ONE)


@pytest.mark.parametrize("ending", ["acknowledge", "keep"])
def test_a_group_is_busy_until_the_future_is_complete(desk: Desk, ending: str) -> None:
    delivery = desk.enter(1, announced=False)
    desk.take()
    desk.deliveries.hand(delivery, ONE)
    if ending == "keep":
        desk.deliveries.keep(delivery)
    else:
        desk.deliveries.acknowledge([delivery])
    wake = FakeWake()
    desk.group.waiters.append(wake)
    assert desk.group.pending == 1

    desk.deliveries.announced(delivery)
    desk.deliveries.announced(delivery)

    assert desk.group.idle
    assert wake.puts == 1


@pytest.mark.parametrize("state", [READY, TAKEN, KEPT])
def test_only_a_handed_result_is_acknowledged(desk: Desk, state: DeliveryState) -> None:
    delivery = desk.enter(1)
    delivery.state = state

    desk.deliveries.acknowledge([delivery])

    assert desk.undelivered() == [1]
    assert desk.group.pending == 1


def test_a_second_acknowledgement_changes_nothing(desk: Desk) -> None:
    delivery = desk.enter(1)
    desk.take()
    desk.deliveries.hand(delivery, ONE)

    desk.deliveries.acknowledge([delivery])
    desk.deliveries.acknowledge([delivery])

    assert desk.group.pending == 0


# -- after a collector's death


def test_recovery_sends_again_what_was_not_handed(desk: Desk) -> None:
    for number in (1, 2, 3):
        desk.enter(number)
    batch = desk.take(ONE)
    desk.deliveries.hand(batch[0], ONE)
    desk.enter(4)

    desk.deliveries.recover()

    assert desk.numbers(OTHER) == [2, 3, 4]
    assert batch[0].state is KEPT


def test_what_was_handed_stands_in_the_report(desk: Desk) -> None:
    delivery = desk.enter(1)
    desk.take()
    desk.deliveries.hand(delivery, ONE)
    wake = FakeWake()
    desk.group.waiters.append(wake)

    desk.deliveries.recover()

    assert desk.undelivered() == [1]
    assert desk.group.idle  # nobody waits for what will not come
    assert wake.puts == 1


def test_a_dead_collectors_late_words_change_nothing(desk: Desk) -> None:
    handed, taken = desk.enter(1), desk.enter(2)
    desk.take(ONE)
    desk.deliveries.hand(handed, ONE)
    desk.deliveries.recover()

    assert not desk.deliveries.hand(taken, ONE)
    desk.deliveries.acknowledge([handed])
    desk.deliveries.keep(handed)

    assert desk.undelivered() == [1, 2]
    assert desk.group.pending == 1
    assert desk.numbers(OTHER) == [2]


def test_a_result_taken_again_is_not_its_old_takers(desk: Desk) -> None:
    delivery = desk.enter(1)
    desk.take(ONE)
    desk.deliveries.recover()
    desk.take(OTHER)

    assert not desk.deliveries.hand(delivery, ONE)
    assert desk.deliveries.hand(delivery, OTHER)


def test_recovery_wakes_a_collector_that_waits_already(desk: Desk) -> None:
    wake = FakeWake()
    desk.enter(1)
    desk.take(ONE)
    desk.deliveries.take_for(OTHER, wake)

    desk.deliveries.recover()

    assert wake.puts == 1


def test_recovery_with_nothing_taken_changes_nothing(desk: Desk) -> None:
    desk.enter(1)
    desk.enter(2)

    desk.deliveries.recover()

    assert desk.numbers() == [1, 2]


# -- kept for the report


def test_a_kept_result_counts_as_delivered_once(desk: Desk) -> None:
    delivery = desk.enter(1)
    desk.take()
    desk.deliveries.hand(delivery, ONE)

    desk.deliveries.keep(delivery)
    desk.deliveries.keep(delivery)

    assert desk.undelivered() == [1]
    assert desk.group.pending == 0


def test_keeping_the_last_result_wakes_those_who_wait(desk: Desk) -> None:
    wake = FakeWake()
    delivery = desk.enter(1)
    desk.take()
    desk.deliveries.hand(delivery, ONE)
    desk.group.waiters.append(wake)

    desk.deliveries.keep(delivery)

    assert wake.puts == 1


def test_undelivered_results_are_told_by_group(desk: Desk) -> None:
    inner = Group("inner", desk.group)
    desk.enter(1)
    mine = desk.enter(2, inner)

    with desk.lock:
        results = desk.deliveries.undelivered_locked(inner)

    assert results == [mine.result]
    assert desk.undelivered() == [1, 2]


# -- room


def test_a_worker_waits_while_the_collector_has_no_room(clock: VirtualClock) -> None:
    desk = Desk(clock, capacity=2)
    calls = [desk.work(number) for number in (1, 2, 3)]
    assert [call.waits() for call in calls] == [False, False, True]
    assert desk.undelivered() == [1, 2, 3]

    taken = desk.numbers()
    clock.settle()

    assert taken == [1, 2, 3]  # a freed place lets the next one in at once
    assert not calls[2].waits()


def test_workers_enter_in_the_order_they_came(clock: VirtualClock) -> None:
    desk = Desk(clock, capacity=1)
    calls = [desk.work(number) for number in range(5)]

    assert desk.numbers() == [0, 1, 2, 3, 4]
    clock.settle()

    assert not any(call.waits() for call in calls)


def test_other_threads_enter_past_the_bound(clock: VirtualClock) -> None:
    desk = Desk(clock, capacity=1)

    for number in (1, 2, 3):
        desk.enter(number)

    assert desk.numbers() == [1, 2, 3]


def test_a_stopping_worker_does_not_wait_for_room(clock: VirtualClock) -> None:
    desk = Desk(clock, capacity=1)
    desk.enter(1)
    call = desk.work(2)

    desk.token.cancel("stop")
    clock.settle()

    assert call.ended_at == 0.0
    assert call.error is None
    assert desk.numbers() == [1, 2]


def test_no_bound_makes_nobody_wait(clock: VirtualClock) -> None:
    desk = Desk(clock, capacity=None)

    assert not any(desk.work(number).waits() for number in range(50))


# -- the end


def test_close_leaves_everything_in_the_report(clock: VirtualClock) -> None:
    desk = Desk(clock, capacity=1)
    desk.enter(1)
    call = desk.work(2)
    wake = FakeWake()
    desk.group.waiters.append(wake)

    desk.deliveries.close()
    clock.settle()

    assert not call.waits()
    assert call.error is None
    assert desk.undelivered() == [1, 2]
    assert desk.group.idle
    assert wake.puts == 1


def test_a_result_after_the_close_stands_in_the_report(desk: Desk) -> None:
    desk.deliveries.close()

    assert not desk.work(1).waits()

    assert desk.undelivered() == [1]
    assert desk.group.idle


def test_a_stopping_worker_meets_a_closed_desk(clock: VirtualClock) -> None:
    desk = Desk(clock, capacity=1)
    desk.enter(1)
    delivery = desk.settled(2)
    with desk.lock:
        ticket, _ = desk.deliveries.enter_locked(delivery, wait=True)
    assert ticket is not None
    desk.token.cancel("stop")
    desk.deliveries.close()

    desk.deliveries.wait_for_room(ticket, desk.token)

    assert desk.undelivered() == [1, 2]


def test_a_worker_that_stops_as_the_desk_closes_ends(clock: VirtualClock) -> None:
    desk = Desk(clock, capacity=1)
    desk.enter(1)
    call = desk.work(2)

    desk.token.cancel("stop")
    desk.deliveries.close()
    clock.settle()

    assert call.error is None
    assert not call.waits()
    assert desk.undelivered() == [1, 2]
    assert desk.group.idle


def test_recovery_after_the_close_changes_nothing(desk: Desk) -> None:
    delivery = desk.enter(1)
    desk.take()
    desk.deliveries.close()

    desk.deliveries.recover()

    assert delivery.state is KEPT
    assert desk.undelivered() == [1]
    assert desk.group.pending == 0


def test_a_stopping_workers_result_wakes_the_collector(clock: VirtualClock) -> None:
    desk = Desk(clock, capacity=1)
    desk.enter(1)
    desk.work(2)
    assert desk.numbers() == [1, 2]
    wake = FakeWake()
    assert desk.deliveries.take_for(ONE, wake) is None

    desk.token.cancel("stop")
    desk.work(3)

    assert wake.puts == 1


@pytest.mark.concurrent
def test_each_result_reaches_one_sink_through_deaths(clock: VirtualClock) -> None:
    desk = Desk(clock, capacity=3)
    handed: list[int] = []

    def work(first: int) -> None:
        for number in range(first, first + 10):
            delivery = Delivery(result_of(number), desk.group)
            with desk.lock:
                desk.group.accept()
                desk.group.settle(delivery.result)
                ticket, reader = desk.deliveries.enter_locked(delivery, wait=True)
            if reader is not None:
                reader.put(None)
            desk.deliveries.announced(delivery)
            if ticket is not None:
                desk.deliveries.wait_for_room(ticket, desk.token)

    def collect() -> None:
        lives = 0
        while len(handed) < 40:
            lives += 1
            owner = object()
            desk.deliveries.recover()
            wake = clock.queue()
            batch = desk.deliveries.take_for(owner, wake)
            if batch is None:
                wake.get()
                batch = desk.deliveries.take_for(owner, wake) or []
            # Every third life ends after one result, with the others in its hand.
            for delivery in batch[:1] if lives % 3 == 0 else batch:
                assert desk.deliveries.hand(delivery, owner)
                handed.append(delivery.result.id)
                desk.deliveries.acknowledge([delivery])

    threads = [clock.thread(work, args=(first,)) for first in (0, 10, 20, 30)]
    threads.append(clock.thread(collect))
    for thread in threads:
        thread.start()
    for thread in threads:
        clock.join(thread)

    assert sorted(handed) == list(range(40))
    assert desk.undelivered() == []
    assert desk.group.idle
