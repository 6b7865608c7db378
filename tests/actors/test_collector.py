"""One collector in a cell, with a ledger and a sink and nobody else.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from actors._group import Group
from actors._inside import Role, role_in
from actors.collector import Collector, CollectorWiring
from actors.dead_letters import DeadLetters
from actors.exits import Exit
from actors.jobs import JobKind, JobStatus
from actors.ledger import Ledger
from actors.metrics import Metrics
from actors.stop_token import StopToken
from actors.testing import Gate
from tests.actors.ledger_kit import Call, FakeWake, attempt_of, submit

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.cell import Cell
    from actors.results import JobResult
    from tests.actors.conftest import FakeSupervisor


class Crash(BaseException):
    """Ends a collector, as nothing of the host's should."""


class Shop:
    """A ledger whose jobs are settled here, and how to start its collector.

    Attributes:
        given: The jobs whose results the sink was given, in order.
        on_result: Called by the sink with each result, after it is noted.
        failed: The groups whose sink was told to have raised.
    """

    def __init__(self, supervisor: FakeSupervisor) -> None:
        self.supervisor = supervisor
        self.clock = supervisor.clock
        self.ledger = Ledger()
        self.letters = DeadLetters()
        self.metrics = Metrics(self.clock)
        self.given: list[int] = []
        self.on_result: Callable[[JobResult], object] = lambda _: None
        self.failed: list[Group] = []
        self.wiring = self.wire("stop")

    def wire(self, on_sink_error: Literal["stop", "continue"]) -> CollectorWiring:
        self.wiring = CollectorWiring(
            self.ledger,
            sink=self.sink,
            on_sink_error=on_sink_error,
            dead_letters=self.letters,
            metrics=self.metrics,
            sink_failed=self.failed.append,
        )
        return self.wiring

    def sink(self, result: JobResult) -> None:
        self.given.append(result.id)
        self.on_result(result)

    def start(self, collector_class: type[Collector] = Collector) -> Cell:
        cell = self.supervisor.start(
            collector_class, kwargs={"wiring": self.wiring}, name="collector"
        )
        self.clock.settle()
        return cell

    def settle(
        self, *numbers: int, error: BaseException | None = None, **options: Any
    ) -> None:
        """Accept, run and settle jobs."""
        for number in numbers:
            submit(self.ledger, number, **options)
            taken = self.ledger.take(JobKind.IO, "w", FakeWake())
            assert taken is not None
            attempt = attempt_of(taken, error, ended_at=self.clock.monotonic())
            self.ledger.settle(taken, attempt, number, StopToken(name="worker"))

    def deliver(self, *numbers: int, **options: Any) -> None:
        """Settle jobs and let the collector have them."""
        self.settle(*numbers, **options)
        self.clock.settle()

    @property
    def undelivered(self) -> list[int]:
        return [result.id for result in self.ledger.report().undelivered]


@pytest.fixture
def shop(supervisor: FakeSupervisor) -> Shop:
    return Shop(supervisor)


def fail_at(number: int, error: BaseException) -> Callable[[JobResult], None]:
    def fail(result: JobResult) -> None:
        if result.id == number:
            raise error

    return fail


# -- delivering


def test_the_sink_is_given_results_in_order(shop: Shop) -> None:
    shop.start()

    shop.deliver(1, 2, 3)

    assert shop.given == [1, 2, 3]
    assert shop.undelivered == []
    assert shop.ledger.report().ok


def test_results_settled_before_its_start_are_given(shop: Shop) -> None:
    shop.settle(1, 2)

    shop.start()

    assert shop.given == [1, 2]


def test_the_sink_gets_every_final_status(shop: Shop) -> None:
    statuses: list[JobStatus] = []
    shop.on_result = lambda result: statuses.append(result.status)
    shop.start()

    shop.settle(1)
    shop.settle(2, error=OSError())
    submit(shop.ledger, 3).cancel()
    submit(shop.ledger, 4)
    shop.ledger.return_all("stop")
    shop.clock.settle()

    assert statuses == [
        JobStatus.SUCCEEDED,
        JobStatus.DEAD,
        JobStatus.CANCELLED,
        JobStatus.RETURNED,
    ]
    assert shop.ledger.root.idle


def test_the_sink_runs_inside_the_pipeline(shop: Shop) -> None:
    roles: list[Role | None] = []

    def note(_: JobResult) -> None:
        mark = role_in(shop.ledger)
        roles.append(mark and mark.role)

    shop.on_result = note
    shop.start()

    shop.deliver(1)

    assert roles == [Role.SINK]


def test_a_result_counts_as_undelivered_during_its_sink(shop: Shop) -> None:
    seen: list[list[int]] = []
    shop.on_result = lambda _: seen.append(shop.undelivered)
    shop.start()

    shop.deliver(1)

    assert seen == [[1]]
    assert shop.undelivered == []


def test_without_a_sink_results_are_acknowledged(shop: Shop) -> None:
    shop.wiring = CollectorWiring(shop.ledger)
    shop.start()

    shop.deliver(1, 2)

    assert shop.undelivered == []


def test_a_subclass_collects_in_its_own_way(shop: Shop) -> None:
    collected: list[int] = []

    class Ledgerman(Collector):
        def collect(self, result: JobResult) -> None:
            collected.append(result.value)

    shop.start(Ledgerman)

    shop.deliver(1, 2)

    assert collected == [1, 2]
    assert shop.given == []


def test_a_groups_own_sink_gets_its_results(shop: Shop) -> None:
    mine: list[int] = []
    group = Group("run", shop.ledger.root, sink=lambda result: mine.append(result.id))
    shop.start()

    shop.deliver(1)
    shop.deliver(2, group=group)

    assert mine == [2]
    assert shop.given == [1]
    assert shop.undelivered == []


def test_the_dead_alone_are_kept_as_letters(shop: Shop) -> None:
    shop.start()

    shop.deliver(1)
    shop.deliver(2, error=OSError())
    submit(shop.ledger, 3).cancel()
    shop.clock.settle()

    assert [letter.id for letter in shop.letters] == [2]


def test_every_result_is_counted_in_the_metrics(shop: Shop) -> None:
    shop.start()

    shop.deliver(1, 2)
    shop.clock.advance(4)

    assert shop.metrics.jobs_per_second() == 0.5


def test_those_who_wait_for_a_group_are_woken(shop: Shop) -> None:
    gate = Gate()
    shop.on_result = lambda _: gate.pass_through()
    shop.start()
    shop.deliver(1)
    wake = FakeWake()
    assert shop.ledger.waits.add(shop.ledger.root, wake)

    assert wake.puts == 0
    gate.open()
    shop.clock.settle()

    assert wake.puts == 1


def test_a_slow_sink_acknowledges_as_it_goes(shop: Shop) -> None:
    seen: list[list[int]] = []

    def slow(_: JobResult) -> None:
        seen.append(shop.undelivered)
        shop.clock.sleep(1)

    shop.settle(1, 2, 3)
    shop.on_result = slow
    shop.start()

    shop.clock.advance(10)

    assert seen == [[1, 2, 3], [2, 3], [3]]


def test_quick_results_are_acknowledged_together(shop: Shop) -> None:
    seen: list[list[int]] = []
    shop.settle(1, 2, 3)
    shop.on_result = lambda _: seen.append(shop.undelivered)

    shop.start()

    assert seen == [[1, 2, 3]] * 3
    assert shop.undelivered == []


# -- a sink that raises


def test_a_failing_sink_is_given_nothing_more(shop: Shop) -> None:
    error = OSError("disk")
    shop.on_result = fail_at(2, error)
    cell = shop.start()

    shop.deliver(1, 2, 3)

    assert shop.given == [1, 2]
    assert shop.undelivered == [2, 3]
    assert shop.failed == [shop.ledger.root]
    assert shop.ledger.root.sink_error is error
    assert shop.ledger.root.idle  # nobody waits for what will not come
    assert cell.number == 1


def test_a_failing_sink_may_be_told_to_go_on(shop: Shop) -> None:
    shop.wire("continue")
    shop.on_result = fail_at(2, OSError("disk"))
    shop.start()

    shop.deliver(1, 2, 3)

    assert shop.given == [1, 2, 3]
    assert shop.undelivered == [2]
    assert shop.wiring.sink_errors == 1
    assert shop.failed == []
    assert shop.ledger.root.sink_error is None


def test_a_failing_sink_is_told_in_the_log(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.on_result = fail_at(1, OSError("disk"))
    shop.start()

    shop.deliver(1)

    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "the sink raised on <JobResult #1" in record.getMessage()
    assert "the rest drains without the sink" in record.getMessage()


def test_one_groups_failing_sink_spares_the_others(shop: Shop) -> None:
    mine: list[int] = []

    def fail(result: JobResult) -> None:
        mine.append(result.id)
        raise OSError("disk")

    group = Group("run", shop.ledger.root, sink=fail)
    shop.start()

    shop.deliver(1, 2, group=group)
    shop.deliver(3)

    assert mine == [1]
    assert shop.given == [3]
    assert shop.failed == [group]
    assert shop.undelivered == [1, 2]


def test_the_dead_are_letters_though_the_sink_failed(shop: Shop) -> None:
    shop.on_result = fail_at(1, OSError("disk"))
    shop.start()

    shop.deliver(1)
    shop.deliver(2, error=OSError())

    assert [letter.id for letter in shop.letters] == [2]
    assert shop.given == [1]


# -- crash and restart


def test_after_a_crash_nothing_is_given_twice(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    shop.settle(1, 2, 3, 4)
    shop.on_result = fail_at(2, Crash())
    cell = shop.start()
    assert supervisor.ended(cell).kind == "fatal"
    assert shop.given == [1, 2]
    assert shop.undelivered == [2, 3, 4]

    cell.start()
    shop.clock.settle()

    assert shop.given == [1, 2, 3, 4]
    assert shop.undelivered == [2]  # handed, and nobody knows what came of it


def test_results_settled_while_it_is_dead_come_later(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    shop.on_result = fail_at(1, Crash())
    cell = shop.start()
    shop.settle(1)
    supervisor.ended(cell)
    shop.settle(2, 3)

    cell.start()
    shop.deliver(4)

    assert shop.given == [1, 2, 3, 4]
    assert shop.undelivered == [1]


def test_after_a_crash_those_who_wait_are_woken(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    shop.on_result = fail_at(1, Crash())
    shop.settle(1)
    wake = FakeWake()
    shop.ledger.waits.add(shop.ledger.root, wake)
    cell = shop.start()
    supervisor.ended(cell)
    assert wake.puts == 0

    cell.start()
    shop.clock.settle()

    assert wake.puts == 1


def test_an_abandoned_collectors_result_is_kept(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    gate = Gate()
    shop.settle(1, 2)
    shop.on_result = lambda result: gate.pass_through() if result.id == 1 else None
    cell = shop.start()
    cell.abandon("its sink hangs")

    cell.start()
    shop.clock.settle()
    assert shop.given == [1, 2]
    gate.open()  # the thread that was left behind goes on
    shop.clock.settle()

    assert shop.given == [1, 2]
    assert shop.undelivered == [1]
    assert shop.ledger.root.pending == 0


def test_a_collector_skips_what_was_taken_from_it(shop: Shop) -> None:
    shop.settle(1, 2)

    def another_recovers(result: JobResult) -> None:
        if result.id == 1:
            shop.ledger.deliveries.recover()

    shop.on_result = another_recovers

    shop.start()

    assert shop.given == [1, 2]  # the second from the channel, not from its hand
    assert shop.undelivered == [1]


def test_a_restart_keeps_on_draining_without_the_sink(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    shop.on_result = fail_at(1, OSError("disk"))
    cell = shop.start()
    shop.deliver(1)
    cell.abandon("for a test")
    cell.start()
    shop.clock.settle()

    shop.deliver(2)

    assert shop.given == [1]
    assert shop.undelivered == [1, 2]


# -- stop


def test_the_order_to_stop_leaves_results_for_the_next(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    gate = Gate()
    shop.settle(1, 2, 3)
    shop.on_result = lambda _: gate.pass_through()
    cell = shop.start()

    cell.stop_now("stop")
    gate.open()

    assert supervisor.ended(cell) == Exit("shutdown")
    assert shop.given == [1]
    assert shop.undelivered == [2, 3]
    cell.start()
    shop.clock.settle()
    assert shop.given == [1, 2, 3]
    assert shop.undelivered == []


def test_an_idle_collector_stops_at_once(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    cell = shop.start()

    assert supervisor.stop(cell) == Exit("shutdown")

    shop.settle(1)
    assert shop.undelivered == [1]


def test_a_closed_desk_keeps_what_comes_late(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    cell = shop.start()
    supervisor.stop(cell)
    shop.ledger.deliveries.close()

    shop.settle(1)

    assert shop.undelivered == [1]


def test_a_slow_sink_slows_the_workers_down(supervisor: FakeSupervisor) -> None:
    shop = Shop(supervisor)
    gate = Gate()
    shop.on_result = lambda _: gate.pass_through()
    shop.start()
    shop.deliver(1)

    worker = Call(shop.clock, lambda: shop.settle(*range(2, 20)))

    assert worker.waits()
    assert shop.ledger.report().succeeded == 12  # one in the sink, ten wait, one here
    gate.open()
    shop.clock.settle()
    assert not worker.waits()
    assert shop.given == list(range(1, 20))


# -- threads against each other


@pytest.mark.concurrent
def test_each_result_is_given_once_through_crashes(supervisor: FakeSupervisor) -> None:
    shop = Shop(supervisor)
    clock = shop.clock
    crashes = 0

    def crash_sometimes(_: JobResult) -> None:
        nonlocal crashes
        if len(shop.given) % 7 == 0:
            crashes += 1
            raise Crash

    def work(first: int) -> None:
        for number in range(first, first + 10):
            submit(shop.ledger, number, wait=True)
            taken = shop.ledger.take(JobKind.IO, f"w{first}", FakeWake())
            assert taken is not None  # each takes as many as it has submitted
            attempt = attempt_of(taken, ended_at=clock.monotonic())
            shop.ledger.settle(taken, attempt, None, StopToken(name="worker"))

    shop.on_result = crash_sometimes
    cell = shop.start()
    threads = [clock.thread(work, args=(first,)) for first in (1, 11, 21)]
    for thread in threads:
        thread.start()
    for _ in range(30 // 7):
        assert supervisor.restart(cell).kind == "fatal"
    for thread in threads:
        clock.join(thread)
    clock.settle()

    assert sorted(shop.given) == list(range(1, 31))
    assert crashes == 4
    assert shop.ledger.root.idle
    assert set(shop.undelivered) <= set(shop.given)
