"""The pure table of the ledger: as tables of cases, and as a model of random lives.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

import random
import weakref
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from actors._group import Group
from actors._ledger import Entry, Table, Verdict, returned_error, status_of
from actors.errors import Cancelled, HeadraceError, ShutdownTimeout, WorkerDied
from actors.jobs import FINAL, STATUS_CHANGES, JobStatus
from actors.results import Attempt
from actors.retry import RetryPolicy
from tests.actors.ledger_kit import attempt_of, make_entry

FLAT = RetryPolicy(1, initial=4.0, jitter=None)
RNG = random.Random(0)


def entered(table: Table, number: int = 1, now: float = 0.0, **options: Any) -> Entry:
    entry = make_entry(number, **options)
    table.enter(entry, now)
    return entry


def settle(
    table: Table,
    entry: Entry,
    lease: int,
    error: BaseException | None = None,
    *,
    ended_at: float = 0.0,
    value: Any = None,
    stopping: bool = False,
) -> Verdict | None:
    attempt = attempt_of(entry, error, ended_at=ended_at)
    return table.settle(entry, lease, attempt, value, rng=RNG, stopping=stopping)


def run(table: Table, entry: Entry, **options: Any) -> Verdict | None:
    return settle(table, entry, table.take(entry, "w", 0.0), **options)


# -- in


def test_a_job_without_delay_is_due_when_accepted() -> None:
    table, entry = Table(), make_entry()

    assert table.enter(entry, 5.0)

    assert entry.status is JobStatus.WAITING
    assert entry.accepted_at == 5.0
    assert table.entries == {1: entry}
    assert table.next_due() is None
    assert entry.group.accepted == entry.group.unsettled == 1


def test_a_delayed_job_is_due_after_its_delay() -> None:
    table, entry = Table(), make_entry(delay=2.0)

    assert not table.enter(entry, 5.0)

    assert entry in table.unsettled(entry.group)
    assert table.delayed == 1
    assert table.next_due() == 7.0
    assert table.pop_due(6.999) == []
    assert table.pop_due(7.0) == [entry]
    assert entry.status is JobStatus.WAITING
    assert table.delayed == 0
    assert table.next_due() is None


def test_jobs_come_due_earliest_first_and_in_order() -> None:
    table = Table()
    delays = [3.0, 1.0, 2.0, 1.0]
    for number, delay in enumerate(delays, 1):
        entered(table, number, delay=delay)

    due = table.pop_due(2.0)

    assert [entry.job.id for entry in due] == [2, 4, 3]
    assert table.delayed == 1


def test_a_delayed_job_that_ended_is_never_due() -> None:
    table = Table()
    first = entered(table, 1, delay=1.0)
    entered(table, 2, delay=2.0)

    table.withdraw(first, JobStatus.CANCELLED, Cancelled("asked"), 0.5)

    assert table.delayed == 1
    assert table.next_due() == 2.0
    assert [entry.job.id for entry in table.pop_due(9.0)] == [2]


def test_jobs_that_ended_do_not_fill_the_heap() -> None:
    table = Table()
    stays = entered(table, 1, delay=5.0)

    for number in range(2, 2000):
        entry = entered(table, number, delay=1e6)
        table.withdraw(entry, JobStatus.CANCELLED, Cancelled("asked"), 0.0)

    assert len(table._heap) < 200
    assert table.delayed == 1
    assert table.pop_due(5.0) == [stays]


def test_the_heap_is_never_the_last_to_hold_a_job() -> None:
    # It drops its own under the ledger's lock; an argument's finaliser may do anything.
    class Argument:
        pass

    table, argument = Table(), Argument()
    entered(table, 1, delay=5.0)
    entry = entered(table, 2, delay=9.0, args=(argument,))
    gone = weakref.ref(argument)

    table.withdraw(entry, JobStatus.CANCELLED, Cancelled("asked"), 0.0)
    del entry, argument

    assert gone() is None
    assert len(table._heap) == 2


# -- in hand


def test_taking_gives_a_new_lease_each_time() -> None:
    table, entry = Table(), make_entry()
    table.enter(entry, 0.0)

    first = table.take(entry, "one", None)
    table.put_back(entry)
    second = table.take(entry, "two", 3.0)

    assert first < second == entry.lease
    assert table.in_hand == {"two": entry}
    assert entry.worker == "two"
    assert entry.begun_at == 3.0


def test_a_job_put_back_has_no_attempt() -> None:
    table = Table()
    entry = entered(table)
    lease = table.take(entry, "w", None)

    table.put_back(entry)

    assert entry.status is JobStatus.WAITING
    assert entry.attempts == []
    assert table.in_hand == {}
    assert settle(table, entry, lease) is None


@pytest.mark.parametrize("stale", [-1, 1, 7])
def test_only_the_current_lease_settles(stale: int) -> None:
    """R12: whoever holds an older lease is stale."""
    table = Table()
    entry = entered(table)
    lease = table.take(entry, "w", 0.0)

    assert settle(table, entry, lease + stale) is None
    assert table.late == 1
    assert entry.status is JobStatus.RUNNING

    assert settle(table, entry, lease) is not None


def test_the_second_settle_of_a_lease_is_late() -> None:
    table = Table()
    entry = entered(table)
    lease = table.take(entry, "w", 0.0)
    first = settle(table, entry, lease)

    assert settle(table, entry, lease, ValueError()) is None

    assert table.late == 1
    assert entry.group.succeeded == entry.group.accepted == 1
    assert first is not None
    assert first.result is not None
    assert len(first.result.attempts) == 1


def test_an_attempt_that_obeyed_its_cancel_is_not_late() -> None:
    table = Table()
    entry = entered(table)
    lease = table.take(entry, "w", 0.0)
    table.withdraw(entry, JobStatus.CANCELLED, Cancelled("asked"), 1.0)

    assert settle(table, entry, lease, Cancelled("asked")) is None

    assert table.late == 0


# -- out


@pytest.mark.parametrize(
    ("error", "cancel_reason", "stopping", "expected"),
    [
        (None, None, False, JobStatus.SUCCEEDED),
        (None, "asked", True, JobStatus.SUCCEEDED),
        (ValueError(), None, False, JobStatus.DEAD),
        (ValueError(), "asked", False, JobStatus.DEAD),
        (SystemExit(), None, False, JobStatus.DEAD),
        (WorkerDied("killed"), None, True, JobStatus.DEAD),
        (Cancelled(), "asked", False, JobStatus.CANCELLED),
        (Cancelled(), None, False, JobStatus.CANCELLED),
        (Cancelled(), "asked", True, JobStatus.CANCELLED),
        (Cancelled(), None, True, JobStatus.RETURNED),
    ],
)
def test_an_attempts_end_stands_for_one_status(
    error: BaseException | None,
    cancel_reason: str | None,
    stopping: bool,
    expected: JobStatus,
) -> None:
    assert status_of(error, cancel_reason, stopping=stopping) is expected


def test_a_success_is_final_with_its_value() -> None:
    table = Table()
    entry = entered(table, now=1.0)
    lease = table.take(entry, "w", 3.0)

    verdict = settle(table, entry, lease, value="v", ended_at=7.0)

    assert verdict is not None
    result = verdict.result
    assert result is not None
    assert verdict.due_at is None
    assert (result.status, result.value) == (JobStatus.SUCCEEDED, "v")
    assert (result.waited, result.ran, result.duration) == (2.0, 4.0, 6.0)
    assert result.attempts == (Attempt(1, "w", 3.0, 7.0),)
    assert table.entries == {}
    assert table.in_hand == {}


def test_a_failure_with_tries_left_waits_in_the_heap() -> None:
    table = Table()
    entry = entered(table, retry=FLAT)

    verdict = run(table, entry, error=OSError(), ended_at=2.0)

    assert verdict == Verdict(None, 6.0)
    assert entry.status is JobStatus.DELAYED
    assert (table.delayed, table.retried, table.next_due()) == (1, 1, 6.0)
    assert table.in_hand == {}
    assert entry.group.unsettled == 1


def test_the_last_failure_is_final_with_all_attempts() -> None:
    table = Table()
    entry = entered(table, retry=FLAT)
    first, second = OSError("first"), OSError("second")
    run(table, entry, error=first, ended_at=2.0)
    table.pop_due(6.0)
    lease = table.take(entry, "v", 10.0)

    verdict = settle(table, entry, lease, second, ended_at=11.0)

    assert verdict is not None
    assert verdict.result is not None
    assert verdict.result.status is JobStatus.DEAD
    assert verdict.result.error is second
    assert [a.error for a in verdict.result.attempts] == [first, second]
    assert [a.number for a in verdict.result.attempts] == [1, 2]
    assert verdict.result.ran == 3.0
    assert verdict.result.waited == 8.0
    assert entry.group.dead == 1


@pytest.mark.parametrize(
    ("error", "retry", "cancel_reason"),
    [
        (OSError(), None, None),  # nobody asked for retries
        (TypeError(), FLAT, None),  # another attempt would only repeat it
        (SystemExit(), FLAT, None),
        (OSError(), FLAT, "asked"),  # nobody wants it any more
        (OSError(), RetryPolicy(1, initial=4.0, max_elapsed=1.0, jitter=None), None),
    ],
)
def test_a_failure_without_reason_to_retry_is_dead(
    error: BaseException, retry: RetryPolicy | None, cancel_reason: str | None
) -> None:
    table = Table()
    entry = entered(table, retry=retry)
    entry.cancel_reason = cancel_reason

    run(table, entry, error=error)

    assert entry.status is JobStatus.DEAD
    assert table.retried == 0


def test_a_stop_returns_what_it_leaves_no_time_for() -> None:
    table = Table()
    entry = entered(table, retry=FLAT)

    verdict = run(table, entry, error=OSError(), stopping=True)

    assert verdict is not None
    assert verdict.result is not None
    assert verdict.result.status is JobStatus.RETURNED
    assert isinstance(verdict.result.error, ShutdownTimeout)
    assert entry.group.returned_jobs == [entry.job]


def test_a_failure_without_tries_is_dead_in_a_stop_too() -> None:
    table = Table()
    entry = entered(table)

    run(table, entry, error=OSError(), stopping=True)

    assert entry.status is JobStatus.DEAD


def test_a_job_that_obeys_a_stop_is_returned() -> None:
    table = Table()
    entry = entered(table)

    verdict = run(table, entry, error=Cancelled("stop"), stopping=True)

    assert verdict is not None
    assert verdict.result is not None
    assert verdict.result.status is JobStatus.RETURNED
    assert isinstance(verdict.result.error, ShutdownTimeout)


@pytest.mark.parametrize("status", [JobStatus.CANCELLED, JobStatus.RETURNED])
def test_a_waiting_job_is_withdrawn_without_an_attempt(status: JobStatus) -> None:
    table = Table()
    entry = entered(table, now=1.0)
    error = Cancelled("asked")

    verdict = table.withdraw(entry, status, error, 4.0)

    assert verdict.result is not None
    assert verdict.result.status is status
    assert verdict.result.error is error
    assert verdict.result.attempts == ()
    assert (verdict.result.waited, verdict.result.ran) == (3.0, 0.0)
    assert table.entries == {}


def test_withdrawing_a_begun_job_ends_its_attempt() -> None:
    table = Table()
    entry = entered(table)
    lease = table.take(entry, "w", 2.0)
    error = returned_error(entry.job)

    verdict = table.withdraw(entry, JobStatus.RETURNED, error, 5.0)

    assert verdict.result is not None
    assert verdict.result.attempts == (Attempt(1, "w", 2.0, 5.0, error),)
    assert verdict.result.ran == 3.0
    assert table.in_hand == {}
    assert settle(table, entry, lease) is None


def test_withdrawing_a_job_taken_but_not_begun_counts_no_run() -> None:
    table = Table()
    entry = entered(table)
    table.take(entry, "w", None)

    verdict = table.withdraw(entry, JobStatus.CANCELLED, Cancelled(), 5.0)

    assert verdict.result is not None
    assert verdict.result.attempts == ()
    assert table.in_hand == {}


def test_a_dropped_job_forgets_how_to_be_killed() -> None:
    table = Table()
    entry = entered(table, retry=FLAT)
    lease = table.take(entry, "w", 0.0)
    entry.kill = lambda _: None

    settle(table, entry, lease, OSError())

    assert entry.kill is None


def test_an_old_attempt_does_not_empty_its_workers_hand() -> None:
    table = Table()
    first, second = entered(table, 1), entered(table, 2)
    table.take(first, "w", 0.0)
    table.take(second, "w", 1.0)  # the worker was restarted, the first is to be settled

    table.withdraw(first, JobStatus.CANCELLED, Cancelled(), 2.0)

    assert table.in_hand == {"w": second}


def test_a_nested_call_is_in_no_sum() -> None:
    table = Table()
    entry = entered(table, counted=False)

    verdict = run(table, entry, value="v")

    assert verdict is not None
    assert verdict.result is not None
    assert verdict.result.value == "v"
    assert entry.group.accepted == entry.group.succeeded == 0
    assert entry.group.idle
    assert table.entries == {}


# -- status changes


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("goal", JobStatus)
def test_only_changes_of_the_table_are_allowed(
    status: JobStatus, goal: JobStatus
) -> None:
    entry = make_entry()
    entry.status = status

    if goal in STATUS_CHANGES[status]:
        entry.change(goal)
        assert entry.status is goal
    else:
        with pytest.raises(HeadraceError, match=f"from {status.value} to {goal.value}"):
            entry.change(goal)
        assert entry.status is status


def test_nothing_leads_out_of_a_final_status() -> None:
    assert not any(STATUS_CHANGES[status] for status in FINAL)


# -- views


def test_unsettled_jobs_are_listed_by_group_in_order() -> None:
    table, root = Table(), Group("root")
    inner = Group("inner", root)
    first = entered(table, 1, group=inner)
    second = entered(table, 2, group=root)
    third = entered(table, 3, group=inner)

    assert table.unsettled(root) == [first, second, third]
    assert table.unsettled(inner) == [first, third]


def test_a_report_has_sums_and_unfinished_jobs() -> None:
    table, root = Table(), Group("root")
    entries = [entered(table, number, group=root) for number in (1, 2, 3, 4)]
    error = OSError()
    verdict = run(table, entries[0])
    run(table, entries[1], error=error)
    table.withdraw(entries[2], JobStatus.RETURNED, returned_error(entries[2].job), 0.0)
    assert verdict is not None
    assert verdict.result is not None

    report = table.report(root, [verdict.result])

    assert str(report) == (
        "accepted 4 = 1 succeeded + 1 dead + 0 cancelled + 1 returned + 1 unsettled"
    )
    assert report.undelivered == (verdict.result,)
    assert report.unfinished == (entries[3].job, entries[2].job)
    assert report.first_error is error


# -- random lives


class TableLives(RuleBasedStateMachine):
    """Random jobs, workers and ends; what every moment must look like.

    Workers: ``w0`` to ``w3``, each with at most one job in hand.  ``attempts`` are what
    threads may still call ``settle`` with; most of them are late by then.
    """

    attempts = Bundle("attempts")

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.table = Table()
        self.root = Group("root")
        inner = Group("inner", self.root)
        self.groups = [self.root, inner, Group("innermost", inner)]
        self.accepted: list[Entry] = []
        self.waiting: list[Entry] = []  # the model's channel
        self.ended: dict[int, JobStatus] = {}
        self.late = 0
        self.stopping = False

    def _ended(self, entry: Entry, verdict: Verdict | None) -> None:
        assert verdict is not None
        if verdict.result is None:
            assert not self.stopping
            assert verdict.due_at is not None
            assert verdict.due_at >= self.now
            return
        number = verdict.result.id
        assert number not in self.ended, "a job ended twice"
        assert verdict.result.status in FINAL
        self.ended[number] = verdict.result.status

    @rule(seconds=st.sampled_from([0.5, 1.0, 10.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        place=st.integers(0, 2),
        delay=st.sampled_from([None, 1.0, 3.0]),
        retries=st.integers(0, 2),
    )
    def accept(self, place: int, delay: float | None, retries: int) -> None:
        retry = RetryPolicy(retries, initial=2.0, jitter=None)
        number = len(self.accepted) + 1
        entry = make_entry(number, self.groups[place], delay=delay, retry=retry)
        self.accepted.append(entry)
        if self.table.enter(entry, self.now):
            self.waiting.append(entry)

    @rule()
    def release_due(self) -> None:
        self.waiting[:0] = self.table.pop_due(self.now)

    @precondition(lambda self: self.waiting)
    @rule(target=attempts, worker=st.integers(0, 3), begun=st.booleans())
    def take(self, worker: int, begun: bool) -> Any:
        name = f"w{worker}"
        if name in self.table.in_hand:
            return multiple()
        entry = self.waiting.pop(0)
        lease = self.table.take(entry, name, self.now if begun else None)
        return (entry, lease)

    @rule(
        attempt=consumes(attempts),
        error=st.sampled_from([None, OSError, TypeError, Cancelled]),
    )
    def settle(self, attempt: Any, error: type[BaseException] | None) -> None:
        self._settle(attempt, error)

    @rule(attempt=attempts)
    def settle_and_do_so_again(self, attempt: Any) -> None:
        self._settle(attempt, None)
        entry, lease = attempt
        assert entry.lease != lease
        self._settle(attempt, OSError)

    def _settle(self, attempt: Any, error: type[BaseException] | None) -> None:
        entry, lease = attempt
        current = entry.lease == lease
        raised = None if error is None else error("model")
        verdict = settle(
            self.table,
            entry,
            lease,
            raised,
            ended_at=self.now,
            stopping=self.stopping,
        )
        if current:
            self._ended(entry, verdict)
        else:
            assert verdict is None, "a lost lease settled a job"
            self.late += error is not Cancelled

    @rule(worker=st.integers(0, 3))
    def worker_dies(self, worker: int) -> None:
        entry = self.table.in_hand.get(f"w{worker}")
        if entry is None:
            return
        if entry.begun_at is None:
            self.table.put_back(entry)
            self.waiting.insert(0, entry)
        else:
            self._settle((entry, entry.lease), WorkerDied)

    @rule(worker=st.integers(0, 3))
    def worker_gives_back(self, worker: int) -> None:
        entry = self.table.in_hand.get(f"w{worker}")
        if entry is not None:
            self.table.put_back(entry)
            self.waiting.insert(0, entry)

    @precondition(lambda self: self.table.entries)
    @rule(data=st.data(), status=st.sampled_from(["cancelled", "returned"]))
    def withdraw(self, data: st.DataObject, status: str) -> None:
        entry = data.draw(st.sampled_from(list(self.table.entries.values())))
        if entry in self.waiting:
            self.waiting.remove(entry)
        error = Cancelled("asked")
        verdict = self.table.withdraw(entry, JobStatus(status), error, self.now)
        self._ended(entry, verdict)

    @precondition(lambda self: self.table.in_hand)
    @rule(data=st.data())
    def ask_a_running_job_to_end(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(list(self.table.in_hand.values())))
        entry.cancel_reason = "asked"

    @rule()
    def stop_begins(self) -> None:
        self.stopping = True

    # -- what holds at every moment

    @invariant()
    def every_job_is_in_exactly_one_place(self) -> None:
        heap = [x.entry for _, _, x in self.table._heap if x.entry is not None]
        for entry in self.accepted:
            number = entry.job.id
            places = [
                heap.count(entry),
                self.waiting.count(entry),
                list(self.table.in_hand.values()).count(entry),
                number in self.ended,
            ]
            assert sum(places) == 1, (entry.job, places)
            assert (number in self.table.entries) == (number not in self.ended)
        assert self.table.delayed == len(heap)

    @invariant()
    def every_status_tells_the_place(self) -> None:
        for entry in self.accepted:
            number = entry.job.id
            assert number is not None
            if number in self.ended:
                assert entry.status is self.ended[number]
            elif entry in self.waiting:
                assert entry.status is JobStatus.WAITING
            elif entry.status is JobStatus.RUNNING:
                assert self.table.in_hand[entry.worker] is entry
            else:
                assert entry.status is JobStatus.DELAYED

    @invariant()
    def the_sums_add_up_in_every_group(self) -> None:
        for group in self.groups:
            report = self.table.report(group, ())
            mine = [e for e in self.accepted if e.group.within(group)]
            assert report.accepted == len(mine)
            assert report.unsettled == group.unsettled
            assert report.unsettled == len(self.table.unsettled(group))
            for status in FINAL:
                ends = sum(e.status is status for e in mine)
                assert getattr(report, status.value) == ends

    @invariant()
    def late_settles_are_counted(self) -> None:
        assert self.table.late == self.late

    @invariant()
    def next_due_is_the_first_of_the_delayed(self) -> None:
        due = [e.due_at for e in self.accepted if e.status is JobStatus.DELAYED]
        assert self.table.next_due() == min(due, default=None)


TestTableLives = TableLives.TestCase
