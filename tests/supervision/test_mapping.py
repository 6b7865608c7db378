"""Many calls of one function, with a ledger and no worker: the test settles the jobs.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from actors import Cancelled, JobKind
from actors.errors import MailboxClosed
from actors.ledger import Ledger
from actors.stop_token import StopToken
from actors.testing import Gate, VirtualClock
from supervision.mapping import Calls, MapIterator, Maps, ResultsIterator
from supervision.reaper import reaper_for
from tests.actors.ledger_kit import Call, FakeWake, attempt_of, submit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actors.job_future import JobFuture
    from actors.ledger import Taken


class Shop:
    """Submits calls to a ledger, and settles them when the test says so.

    Attributes:
        pulled: What was pulled from the iterable.
        privileged: Whether each submit was said to be of a caller that is gone.
        closed_at: The number of the submit that is refused.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.ledger = Ledger(capacity=None)
        self.changes = 0
        self.reaper = reaper_for(clock)
        self.maps = Maps(clock, self.reaper, self.changed)
        self.pulled: list[Any] = []
        self.privileged: list[bool] = []
        self.numbers = itertools.count(1)
        self.closed_at: int | None = None
        self.hand: dict[int, Taken] = {}
        self.done = clock.queue()

    def changed(self) -> None:
        self.changes += 1

    def submit(self, args: tuple[Any, ...], *, privileged: bool = False) -> JobFuture:
        number = next(self.numbers)
        if number == self.closed_at:
            raise MailboxClosed("closed")
        self.privileged.append(privileged)
        future = submit(self.ledger, number, args=args, privileged=privileged)
        future.add_done_callback(self.done.put)
        return future

    def pull_from(self, items: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        for item in items:
            self.pulled.append(item)
            yield (item,)

    def calls(self, items: Iterable[Any], buffersize: int | None = None) -> Calls:
        calls = Calls(self.submit, self.pull_from(items), buffersize, self.maps)
        calls.fill()
        return calls

    def map(
        self,
        items: Iterable[Any],
        buffersize: int | None = None,
        deadline: float | None = None,
    ) -> MapIterator:
        return MapIterator(self.calls(items, buffersize), deadline)

    def begin(self) -> int:
        """Take the next job; its number."""
        taken = self.ledger.take(JobKind.IO, f"w{len(self.hand)}", FakeWake())
        assert taken is not None
        number = taken.entry.job.id or 0
        self.hand[number] = taken
        return number

    def end(self, number: int, error: BaseException | None = None) -> None:
        """Settle a job, with ten times its number as the value."""
        while number not in self.hand:
            self.begin()
        taken = self.hand[number]
        attempt = attempt_of(taken, error, ended_at=self.clock.monotonic())
        self.ledger.settle(taken, attempt, number * 10, StopToken())

    @property
    def cancelled(self) -> int:
        return self.ledger.report().cancelled


@pytest.fixture
def shop(clock: VirtualClock) -> Iterator[Shop]:
    shop = Shop(clock)
    yield shop
    shop.reaper.close()


# -- map


def test_values_come_in_the_order_of_the_calls(shop: Shop) -> None:
    values = shop.map("abc")
    for number in (3, 1, 2):
        shop.end(number)

    assert list(values) == [10, 20, 30]
    assert list(values) == []


def test_only_so_many_calls_are_out_at_a_time(shop: Shop) -> None:
    values = shop.map("abcde", buffersize=2)
    assert shop.pulled == ["a", "b"]
    shop.end(1)

    assert next(values) == 10

    assert shop.pulled == ["a", "b", "c"]
    values.close()


def test_without_a_bound_everything_is_pulled_at_once(shop: Shop) -> None:
    values = shop.map("abcde")

    assert shop.pulled == list("abcde")
    values.close()


def test_an_error_comes_in_its_place_and_ends_the_map(shop: Shop) -> None:
    error = ValueError("x")
    values = shop.map("abcd")
    shop.end(1)
    shop.end(2, error)

    assert next(values) == 10
    with pytest.raises(ValueError, match="x") as caught:
        next(values)

    assert caught.value is error
    assert list(values) == []
    assert shop.cancelled == 2  # what had not begun


def test_the_iterables_error_comes_after_its_values(shop: Shop) -> None:
    def items() -> Iterator[str]:
        yield "a"
        raise OSError("disk")

    values = shop.map(items())
    shop.end(1)

    assert next(values) == 10
    with pytest.raises(OSError, match="disk"):
        next(values)
    assert list(values) == []


def test_a_refused_submit_comes_after_the_values_before(shop: Shop) -> None:
    shop.closed_at = 2
    values = shop.map("abc")
    shop.end(1)

    assert next(values) == 10
    with pytest.raises(MailboxClosed):
        next(values)


def test_a_value_times_out_at_the_maps_deadline(shop: Shop) -> None:
    values = shop.map("ab", deadline=2.5)
    shop.begin()
    call = Call(shop.clock, next, values)

    shop.clock.advance(10)

    assert isinstance(call.error, TimeoutError)
    assert call.ended_at == 2.5
    assert shop.cancelled == 1
    assert shop.hand[1].entry.cancel_reason is not None  # asked to end


def test_a_closed_map_leaves_running_jobs_alone(shop: Shop) -> None:
    values = shop.map("abc", buffersize=2)
    shop.begin()

    values.close()

    assert shop.cancelled == 1
    assert shop.hand[1].entry.cancel_reason is None
    assert shop.pulled == ["a", "b"]
    assert list(values) == []


# -- a map that nobody takes from any more


def test_a_dropped_maps_rest_still_runs(shop: Shop) -> None:
    calls = shop.calls("abcd", buffersize=2)

    calls.dropped()
    shop.clock.settle()

    assert shop.pulled == list("abcd")
    assert shop.privileged == [False, False, True, True]
    assert shop.cancelled == 0
    assert shop.changes == 1
    assert shop.maps.none_left()


def test_a_dropped_map_that_was_used_is_cancelled(shop: Shop) -> None:
    calls = shop.calls("abcd", buffersize=2)
    values = MapIterator(calls, None)
    shop.end(1)
    next(values)

    calls.dropped()

    assert shop.cancelled == 2
    assert shop.pulled == list("abc")
    assert shop.maps.none_left()


def test_a_dropped_map_that_is_all_out_needs_nothing(shop: Shop) -> None:
    calls = shop.calls("ab")

    calls.dropped()

    assert shop.changes == 0
    assert shop.cancelled == 0


def test_a_rest_is_run_once(shop: Shop) -> None:
    calls = shop.calls("abcd", buffersize=1)

    calls.dropped()
    calls.dropped()
    shop.clock.settle()

    assert shop.pulled == list("abcd")
    assert shop.changes == 1


def test_the_pipelines_end_starts_the_rests_it_finds(shop: Shop) -> None:
    gate = Gate()

    def items() -> Iterator[str]:
        yield "a"
        gate.pass_through()
        yield "b"

    calls = shop.calls(items(), buffersize=1)
    assert shop.maps.none_left()  # its iterator may still be in use

    calls.mark_gone()

    assert not shop.maps.none_left()
    gate.open()
    shop.clock.settle()
    assert shop.maps.none_left()
    assert shop.pulled == ["a", "b"]


def test_a_rest_that_fails_is_logged_and_over(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.closed_at = 3
    calls = shop.calls("abcd", buffersize=1)

    calls.dropped()
    shop.clock.settle()

    assert "the rest of a map whose results nobody took ended early" in caplog.text
    assert shop.maps.none_left()
    assert shop.ledger.report().accepted == 2


# -- results


def test_results_come_as_they_settle(shop: Shop) -> None:
    results = ResultsIterator(shop.calls("abc"), shop.done)
    for number in (2, 3, 1):
        shop.end(number)

    assert [result.id for result in results] == [2, 3, 1]
    assert list(results) == []


def test_results_have_failures_as_values(shop: Shop) -> None:
    error = ValueError("x")
    results = ResultsIterator(shop.calls("abc"), shop.done)
    shop.end(1, error)
    shop.end(2)
    shop.end(3, Cancelled("asked"))

    given = list(results)

    assert [result.ok for result in given] == [False, True, False]
    assert given[0].error is error


def test_the_next_call_follows_each_result(shop: Shop) -> None:
    results = ResultsIterator(shop.calls("abcd", buffersize=2), shop.done)
    shop.end(2)

    next(results)

    assert shop.pulled == list("abc")
    results.close()
    assert shop.cancelled == 1  # the first one runs


def test_a_result_is_waited_for(shop: Shop) -> None:
    results = ResultsIterator(shop.calls("ab"), shop.done)
    call = Call(shop.clock, next, results)
    assert call.waits()
    shop.clock.advance(3)

    shop.end(2)
    shop.clock.settle()

    assert call.value.id == 2
    assert call.ended_at == 3.0
    results.close()
