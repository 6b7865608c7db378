"""The locked shell: what a job's life looks like from outside, without any stage.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

import dataclasses
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import pytest

from actors._group import Group
from actors._inside import Role, inside, role_in
from actors.errors import Cancelled, MailboxClosed, ShutdownTimeout, WorkerDied
from actors.events import (
    JobAccepted,
    JobEvent,
    JobLate,
    JobRetried,
    JobSettled,
    Listeners,
)
from actors.job_future import JobFuture
from actors.jobs import JobKind, JobStatus
from actors.ledger import Intake, Ledger, Taken
from actors.messages import DueChanged
from actors.retry import RetryPolicy
from actors.stop_token import StopToken
from actors.testing import FakeRecipient, VirtualClock
from tests.actors.ledger_kit import (
    Call,
    FakeWake,
    attempt_of,
    entry_of,
    make_entry,
    submit,
)

if TYPE_CHECKING:
    from actors._ledger import Verdict
    from actors.clock import WakeQueue
    from actors.deliveries import Delivery

IO, CPU = JobKind.IO, JobKind.CPU
FLAT = RetryPolicy(1, initial=4.0, jitter=None)


@pytest.fixture
def ledger(clock: VirtualClock) -> Ledger:
    return Ledger()


@pytest.fixture
def token() -> StopToken:
    return StopToken(name="worker")


def take(ledger: Ledger, kind: JobKind = IO, worker: str = "w") -> Taken:
    taken = ledger.take(kind, worker, FakeWake())
    assert taken is not None
    return taken


def idle(ledger: Ledger, kind: JobKind = IO, worker: str = "w") -> FakeWake:
    """A worker that waits for a job."""
    wake = FakeWake()
    assert ledger.take(kind, worker, wake) is None
    return wake


def settle(
    ledger: Ledger,
    taken: Taken,
    error: BaseException | None = None,
    value: Any = None,
    token: StopToken | None = None,
) -> Verdict | None:
    attempt = attempt_of(taken, error, ended_at=ledger.clock.monotonic())
    return ledger.settle(taken, attempt, value, token or StopToken(name="worker"))


def results(ledger: Ledger) -> list[Delivery]:
    return ledger.deliveries.take_for("collector", FakeWake()) or []


def statuses(ledger: Ledger) -> list[JobStatus]:
    return [delivery.result.status for delivery in results(ledger)]


# -- from submit to settle


def test_a_submitted_job_waits_for_a_worker(ledger: Ledger) -> None:
    future = submit(ledger)

    taken = take(ledger)

    assert taken.entry is entry_of(future)
    assert future.running()
    assert ledger.depth(IO) == 0
    assert ledger.counts()["in_flight"] == 1


def test_each_kind_has_workers_of_its_own(ledger: Ledger) -> None:
    submit(ledger, 1, kind="cpu")

    idle(ledger, IO)

    assert take(ledger, CPU).entry.job.id == 1


def test_an_idle_worker_is_woken_by_a_submit(ledger: Ledger) -> None:
    io, cpu = idle(ledger, IO), idle(ledger, CPU)

    submit(ledger)

    assert (io.puts, cpu.puts) == (1, 0)


def test_a_worker_that_withdrew_passes_its_wake_on(ledger: Ledger) -> None:
    first, second = FakeWake(), FakeWake()
    lane, other = ledger.lane(IO, "one"), ledger.lane(IO, "two")
    assert lane.take(first) is None
    assert other.take(second) is None
    submit(ledger)
    assert (first.puts, second.puts) == (1, 0)

    lane.withdraw(first)

    assert second.puts == 1
    assert other.take(second) is not None


def test_a_settled_job_completes_its_future(ledger: Ledger) -> None:
    future = submit(ledger)

    settle(ledger, take(ledger), value="v")

    assert future.result() == "v"
    assert ledger.report().succeeded == 1
    assert statuses(ledger) == [JobStatus.SUCCEEDED]


def test_a_dead_jobs_error_tells_of_its_attempts(
    ledger: Ledger, clock: VirtualClock
) -> None:
    future = submit(ledger, retry=FLAT)
    error = OSError("second")
    settle(ledger, take(ledger, worker="one"), OSError("first"))
    clock.advance(4)
    ledger.release_due()
    settle(ledger, take(ledger, worker="two"), error)

    with pytest.raises(OSError, match="second") as caught:
        future.result()

    assert caught.value is error
    (note,) = error.__notes__
    assert note == (
        "headrace: job 1 (nothing) is dead; attempt 1 on one after 0 s: "
        "OSError('first'), attempt 2 on two after 0 s: OSError('second')"
    )


def test_an_io_job_begins_when_it_is_taken(ledger: Ledger, clock: VirtualClock) -> None:
    submit(ledger)
    submit(ledger, 2, kind="cpu")
    clock.advance(3)

    assert take(ledger, IO).entry.begun_at == 3.0
    assert take(ledger, CPU).entry.begun_at is None


def test_a_cpu_job_begins_when_its_worker_says_so(
    ledger: Ledger, clock: VirtualClock
) -> None:
    submit(ledger, kind="cpu")
    taken = take(ledger, CPU)
    clock.advance(3)

    assert ledger.begin(taken, None) == 3.0

    assert taken.entry.begun_at == 3.0


def test_a_lost_lease_does_not_begin(ledger: Ledger) -> None:
    future = submit(ledger, kind="cpu")
    taken = take(ledger, CPU)
    assert future.cancel()

    assert ledger.begin(taken, None) is None

    assert taken.entry.begun_at is None


def test_a_job_given_back_goes_ahead_of_new_ones(ledger: Ledger) -> None:
    submit(ledger, 1)
    submit(ledger, 2)
    taken = take(ledger)

    ledger.give_back(taken)

    assert take(ledger).entry is taken.entry
    assert taken.entry.attempts == []


def test_giving_back_wakes_an_idle_worker(ledger: Ledger) -> None:
    submit(ledger)
    taken = take(ledger)
    wake = idle(ledger, worker="other")

    ledger.give_back(taken)

    assert wake.puts == 1


def test_a_lost_lease_gives_nothing_back(ledger: Ledger) -> None:
    submit(ledger, kind="cpu")
    taken = take(ledger, CPU)
    ledger.worker_died("w", 1, "gone")

    ledger.give_back(taken)

    assert ledger.depth(CPU) == 1
    ledger.take(CPU, "w", FakeWake())
    idle(ledger, CPU, "v")


def test_taking_lets_a_waiting_submitter_in(clock: VirtualClock) -> None:
    ledger = Ledger(capacity=1)
    submit(ledger)
    call = Call(clock, lambda: submit(ledger, 2, wait=True))
    assert call.waits()

    take(ledger)
    clock.settle()

    assert not call.waits()
    assert ledger.report().accepted == 2


# -- the lease


def test_the_first_settle_wins_and_later_ones_are_late(ledger: Ledger) -> None:
    future = submit(ledger)
    taken = take(ledger)

    assert settle(ledger, taken, value="first") is not None
    assert settle(ledger, taken, value="second") is None

    assert future.result() == "first"
    assert ledger.counts()["late"] == 1
    assert len(results(ledger)) == 1


def test_an_abandoned_workers_settle_is_late(ledger: Ledger) -> None:
    """R12, R59: an old lease settles nothing."""
    future = submit(ledger)
    taken = take(ledger)
    ledger.worker_died("w", 1, "it hung")

    assert settle(ledger, taken, value="too late") is None

    assert isinstance(future.exception(), WorkerDied)
    assert ledger.report().dead == 1
    assert len(results(ledger)) == 1


@pytest.mark.concurrent
def test_of_many_settles_exactly_one_wins(clock: VirtualClock) -> None:
    ledger = Ledger()
    future = submit(ledger)
    taken = take(ledger)
    wins: list[Any] = []

    def say(value: int) -> None:
        if settle(ledger, taken, value=value) is not None:
            wins.append(value)

    threads = [clock.thread(say, args=(n,)) for n in range(6)]
    threads.append(clock.thread(ledger.worker_died, args=("w", 1, "killed")))
    for thread in threads:
        thread.start()
    for thread in threads:
        clock.join(thread)

    assert len(wins) + (future.exception() is not None) == 1
    assert ledger.counts()["late"] == 6 - len(wins)
    assert len(results(ledger)) == 1
    report = ledger.report()
    assert report.accepted == report.succeeded + report.dead == 1


# -- a worker's death


def test_a_begun_job_of_a_dead_worker_failed(ledger: Ledger) -> None:
    future = submit(ledger)
    take(ledger)

    ledger.worker_died("w", 1, "segmentation fault")

    error = future.exception()
    assert isinstance(error, WorkerDied)
    assert "w died while it ran <Job #1 nothing io>: segmentation fault" in str(error)
    assert len(future.job_result().attempts) == 1


def test_a_dead_workers_job_is_retried_by_its_policy(
    ledger: Ledger, clock: VirtualClock
) -> None:
    future = submit(ledger, retry=FLAT)
    take(ledger)
    ledger.worker_died("w", 1, "killed")
    assert not future.done()

    clock.advance(4)
    ledger.release_due()
    settle(ledger, take(ledger), value="v")

    assert future.result() == "v"
    assert [type(a.error) for a in future.job_result().attempts] == [
        WorkerDied,
        type(None),
    ]


def test_a_job_taken_and_not_begun_is_queued_again(ledger: Ledger) -> None:
    future = submit(ledger, kind="cpu")
    submit(ledger, 2, kind="cpu")
    taken = take(ledger, CPU)
    wake = idle(ledger, IO)

    ledger.worker_died("w", 1, "killed")

    assert not future.done()
    again = take(ledger, CPU, "v")
    assert again.entry is taken.entry
    assert again.lease != taken.lease
    assert again.entry.attempts == []
    assert wake.puts == 0


def test_late_news_of_a_worker_that_was_followed_is_ignored(ledger: Ledger) -> None:
    """R12: of an incarnation that another has followed."""
    future = submit(ledger)
    ledger.worker_began("w", 2)
    taken = take(ledger)

    ledger.worker_died("w", 1, "it hung")

    assert not future.done()
    settle(ledger, taken, value="v")
    assert future.result() == "v"


def test_a_worker_that_was_left_behind_begins_no_more(ledger: Ledger) -> None:
    """R12, R59: its late start takes no job out of its successor's hand."""
    future = submit(ledger)
    assert ledger.worker_began("w", 2)
    take(ledger)

    assert not ledger.worker_began("w", 1)

    assert not future.done()


def test_an_attempt_that_obeyed_its_workers_stop_has_failed(ledger: Ledger) -> None:
    """R7: nobody has cancelled the job."""
    token = StopToken(name="worker")
    future = submit(ledger)
    taken = take(ledger)
    token.cancel("its supervisor restarts")

    settle(ledger, taken, Cancelled("its supervisor restarts"), token=token)

    assert isinstance(future.exception(), WorkerDied)
    assert "its supervisor restarts" in str(future.exception())


def test_one_that_obeyed_its_own_cancel_or_a_stop_has_not(ledger: Ledger) -> None:
    token = StopToken(name="worker")
    futures = [submit(ledger, 1), submit(ledger, 2)]
    first, second = take(ledger), take(ledger, worker="v")
    futures[0].cancel()
    token.cancel("its supervisor restarts")
    settle(ledger, first, Cancelled("the future was cancelled"), token=token)
    ledger.begin_stopping("the pipeline stops")
    settle(ledger, second, Cancelled("its supervisor restarts"), token=token)

    assert statuses(ledger) == [JobStatus.CANCELLED, JobStatus.RETURNED]


def test_a_new_incarnation_settles_what_the_last_one_held(ledger: Ledger) -> None:
    future = submit(ledger)
    take(ledger)

    ledger.worker_began("w", 2)

    assert "it was restarted" in str(future.exception())


def test_another_workers_death_leaves_a_job_alone(ledger: Ledger) -> None:
    future = submit(ledger)
    take(ledger)

    ledger.worker_died("v", 1, "killed")

    assert not future.done()


def test_an_idle_workers_death_changes_nothing(ledger: Ledger) -> None:
    submit(ledger)

    ledger.worker_died("w", 1, "killed")

    assert ledger.report().unsettled == 1


# -- what waits for a time


def test_a_retry_goes_ahead_of_new_jobs(ledger: Ledger, clock: VirtualClock) -> None:
    submit(ledger, 1, retry=FLAT)
    settle(ledger, take(ledger), OSError())
    for number in (2, 3):
        submit(ledger, number)
    clock.advance(4)

    assert ledger.release_due() is None

    assert [take(ledger, worker=w).entry.job.id for w in "abc"] == [1, 2, 3]


def test_a_retry_needs_no_place(clock: VirtualClock) -> None:
    ledger = Ledger(capacity=1)
    submit(ledger, 1, retry=FLAT)
    settle(ledger, take(ledger), OSError())
    submit(ledger, 2)
    clock.advance(4)

    ledger.release_due()

    assert ledger.depth(IO) == 2


def test_release_tells_when_the_next_is_due(
    ledger: Ledger, clock: VirtualClock
) -> None:
    for number, delay in enumerate([5.0, 2.0, 9.0], 1):
        submit(ledger, number, delay=delay)
    wakes = [idle(ledger, worker=worker) for worker in "ab"]
    clock.advance(5)

    assert ledger.release_due() == 9.0

    assert [wake.puts for wake in wakes] == [1, 1]
    assert [take(ledger, worker=w).entry.job.id for w in "ab"] == [2, 1]


def test_the_dispatcher_is_told_of_an_earlier_moment(ledger: Ledger) -> None:
    recipient = ledger.dispatcher = FakeRecipient()
    submit(ledger, 1)
    assert recipient.control == []

    submit(ledger, 2, delay=5.0)
    submit(ledger, 3, delay=9.0)  # it will look at 5.0 anyway
    submit(ledger, 4, delay=2.0)

    assert recipient.control == [DueChanged(), DueChanged()]
    assert recipient.messages == []


def test_the_dispatcher_is_told_of_a_retry(ledger: Ledger) -> None:
    recipient = ledger.dispatcher = FakeRecipient()
    submit(ledger, retry=FLAT)

    settle(ledger, take(ledger), OSError())

    assert recipient.control == [DueChanged()]


def test_a_dead_dispatcher_costs_no_delayed_job(
    ledger: Ledger, clock: VirtualClock
) -> None:
    recipient = ledger.dispatcher = FakeRecipient()
    recipient.error = RuntimeError("dead")
    submit(ledger, delay=5.0)
    clock.advance(5)

    ledger.release_due()  # what the next one does first

    assert take(ledger).entry.job.id == 1


def test_jobs_that_come_due_let_submitters_in(clock: VirtualClock) -> None:
    ledger = Ledger(max_delayed=1)
    submit(ledger, 1, delay=2.0)
    call = Call(clock, lambda: submit(ledger, 2, wait=True))
    clock.advance(2)
    assert call.waits()

    ledger.release_due()
    clock.settle()

    assert call.error is None
    assert not call.waits()


def test_a_cancelled_delayed_job_lets_submitters_in(clock: VirtualClock) -> None:
    ledger = Ledger(max_delayed=1)
    future = submit(ledger, 1, delay=2.0)
    call = Call(clock, lambda: submit(ledger, 2, wait=True))

    assert future.cancel()
    clock.settle()

    assert call.error is None
    assert not call.waits()


# -- cancel


def test_a_waiting_job_is_cancelled_and_leaves_its_place(clock: VirtualClock) -> None:
    ledger = Ledger(capacity=1)
    future = submit(ledger)
    call = Call(clock, lambda: submit(ledger, 2, wait=True))

    assert future.cancel()
    clock.settle()

    assert future.cancelled()
    assert not call.waits()
    assert take(ledger).entry.job.id == 2
    assert ledger.report().cancelled == 1
    assert statuses(ledger) == [JobStatus.CANCELLED]


def test_a_delayed_job_is_cancelled_for_certain(
    ledger: Ledger, clock: VirtualClock
) -> None:
    future = submit(ledger, delay=5.0)

    assert future.cancel()

    clock.advance(9)
    assert ledger.release_due() is None
    assert ledger.counts()["delayed"] == 0
    idle(ledger)


def test_a_running_io_job_is_only_asked(ledger: Ledger) -> None:
    future = submit(ledger)
    taken = take(ledger)
    token = taken.entry.token = StopToken(name="job")

    assert not future.cancel()

    assert token.cancelled
    assert taken.entry.cancel_reason == "the future was cancelled"
    assert not future.done()
    settle(ledger, taken, value="it did not obey")
    assert future.result() == "it did not obey"


def test_a_running_io_job_that_obeys_is_cancelled(ledger: Ledger) -> None:
    future = submit(ledger)
    taken = take(ledger)
    future.cancel()

    settle(ledger, taken, Cancelled("asked"))

    assert future.cancelled()
    assert ledger.report().cancelled == 1


def test_a_running_cpu_job_is_killed_and_cancelled(ledger: Ledger) -> None:
    future = submit(ledger, kind="cpu")
    taken = take(ledger, CPU)
    killed: list[str] = []
    ledger.begin(taken, killed.append)

    assert future.cancel()

    assert killed == ["the future was cancelled"]
    assert future.cancelled()
    assert settle(ledger, taken, Cancelled("killed")) is None
    assert ledger.report().cancelled == 1
    assert ledger.counts()["late"] == 0


def test_a_cpu_job_that_nothing_can_kill_is_asked(ledger: Ledger) -> None:
    future = submit(ledger, kind="cpu")
    taken = take(ledger, CPU)
    token = taken.entry.token = StopToken(name="job")
    ledger.begin(taken, None)

    assert not future.cancel()

    assert token.cancelled
    assert not future.done()


def test_the_first_reason_to_cancel_stays(ledger: Ledger) -> None:
    submit(ledger)
    taken = take(ledger)

    ledger.cancel(taken.entry, "first")
    ledger.cancel(taken.entry, "second")

    assert taken.entry.cancel_reason == "first"


def test_a_settled_job_is_not_cancelled(ledger: Ledger) -> None:
    submit(ledger)
    taken = take(ledger)
    settle(ledger, taken)

    assert not ledger.cancel(taken.entry, "too late")

    assert ledger.report().succeeded == 1


def test_a_second_cancel_says_the_same(ledger: Ledger) -> None:
    entry = entry_of(submit(ledger))

    assert ledger.cancel(entry, "first")
    assert ledger.cancel(entry, "second")

    assert ledger.report().cancelled == 1


def test_a_group_is_cancelled_without_the_others(ledger: Ledger) -> None:
    group = Group("mail", ledger.root)
    mine = [submit(ledger, number, group=group) for number in (1, 2, 3)]
    other = submit(ledger, 4)
    take(ledger)

    assert ledger.cancel_group(group, "window closed") == 2

    assert [future.cancelled() for future in mine] == [False, True, True]
    assert not other.cancelled()
    assert ledger.report(group).cancelled == 2


def test_cancel_waiting_leaves_running_jobs_alone(ledger: Ledger) -> None:
    futures = [submit(ledger, 1), submit(ledger, 2), submit(ledger, 3, delay=5.0)]
    taken = take(ledger)

    assert ledger.cancel_waiting("shutdown") == 2

    assert taken.entry.cancel_reason is None
    assert [future.cancelled() for future in futures] == [False, True, True]


def test_cancel_waiting_ends_what_is_taken_and_not_begun(ledger: Ledger) -> None:
    future = submit(ledger, kind="cpu")
    taken = take(ledger, CPU)

    assert ledger.cancel_waiting("shutdown") == 1

    assert future.cancelled()
    assert ledger.begin(taken, None) is None


def test_a_job_that_began_meanwhile_is_not_waiting(ledger: Ledger) -> None:
    submit(ledger)
    taken = take(ledger)  # between the list of those that wait and its turn

    assert not ledger._endings.cancel(taken.entry, "shutdown", only_waiting=True)

    assert taken.entry.cancel_reason is None


@pytest.mark.concurrent
def test_cancel_against_take_has_one_winner(clock: VirtualClock) -> None:
    ledger = Ledger(capacity=None)
    futures = [submit(ledger, number) for number in range(1, 21)]
    taken: list[Taken] = []

    def cancel_all() -> None:
        for future in futures:
            future.cancel()

    def take_all() -> None:
        while (one := ledger.take(IO, "w", FakeWake())) is not None:
            taken.append(one)
            settle(ledger, one)

    threads = [clock.thread(cancel_all), clock.thread(take_all)]
    for thread in threads:
        thread.start()
    for thread in threads:
        clock.join(thread)

    report = ledger.report()
    assert report.succeeded == len(taken)
    assert report.accepted == report.succeeded + report.cancelled == 20
    assert all(future.done() for future in futures)
    assert ledger.depth(IO) == 0


# -- nested calls


def test_a_nested_call_goes_ahead_and_past_the_bound(clock: VirtualClock) -> None:
    ledger = Ledger(capacity=1)
    submit(ledger, 1, kind="cpu")
    call = make_entry(1, ledger.root, kind="cpu", counted=False)

    ledger.enter_call(call)

    assert take(ledger, CPU).entry is call
    assert ledger.report().accepted == 1


def test_a_nested_call_wakes_an_idle_worker(ledger: Ledger) -> None:
    wake = idle(ledger, CPU)

    ledger.enter_call(make_entry(1, ledger.root, kind="cpu", counted=False))

    assert wake.puts == 1


def test_a_nested_calls_result_goes_to_no_sink(ledger: Ledger) -> None:
    call = make_entry(1, ledger.root, kind="cpu", counted=False)
    future = call.future = JobFuture(ledger)
    future.belong_to(call)
    ledger.enter_call(call)

    settle(ledger, take(ledger, CPU), value="v")

    assert future.result() == "v"
    assert results(ledger) == []


def test_a_call_cancelled_before_it_enters_stays_out(ledger: Ledger) -> None:
    call = make_entry(1, ledger.root, kind="cpu", counted=False)
    assert ledger.cancel(call, "its job was cancelled meanwhile")

    ledger.enter_call(call)

    assert ledger.depth(CPU) == 0
    idle(ledger, CPU)


# -- the ending


def test_a_draining_ledger_lets_the_inside_in(ledger: Ledger) -> None:
    ledger.close_intake("it drains")

    with pytest.raises(MailboxClosed, match="it drains"):
        submit(ledger)
    with inside(ledger, Role.JOB):
        submit(ledger, 2)

    assert ledger.intake is Intake.INSIDE


def test_an_idle_ledger_closes_for_good_in_one_step(ledger: Ledger) -> None:
    assert ledger.close_if_idle("drained")

    with inside(ledger, Role.JOB), pytest.raises(MailboxClosed, match="drained"):
        submit(ledger)


def test_a_busy_ledger_stays_open(ledger: Ledger) -> None:
    submit(ledger, 1)

    assert not ledger.close_if_idle("drained")
    settle(ledger, take(ledger))
    assert not ledger.close_if_idle("drained")  # a result is still to be delivered

    submit(ledger, 2)


def test_stopping_hands_back_what_has_not_begun(ledger: Ledger) -> None:
    futures = [submit(ledger, 1), submit(ledger, 2), submit(ledger, 3, delay=5.0)]
    taken = take(ledger)

    ledger.begin_stopping("stop")

    assert ledger.intake is Intake.CLOSED
    report = ledger.report()
    assert (report.returned, report.unsettled) == (2, 1)
    assert [future.cancelled() for future in futures] == [False, True, True]
    settle(ledger, taken, value="v")
    assert futures[0].result() == "v"


def test_a_failure_while_stopping_is_not_retried(ledger: Ledger) -> None:
    future = submit(ledger, retry=FLAT)
    taken = take(ledger)
    ledger.begin_stopping("stop")

    settle(ledger, taken, OSError())

    assert isinstance(future.exception(), ShutdownTimeout)
    assert ledger.report().returned == 1


def test_return_all_takes_jobs_out_of_hands(ledger: Ledger) -> None:
    io, cpu = submit(ledger, 1), submit(ledger, 2, kind="cpu")
    taken = take(ledger)
    killed: list[str] = []
    ledger.begin(take(ledger, CPU, "v"), killed.append)

    ledger.return_all("stop")

    assert killed == ["the pipeline stopped"]
    for future in (io, cpu):
        error = future.exception()
        assert isinstance(error, ShutdownTimeout)
        assert error.job is future.job
    report = ledger.report()
    assert (report.returned, report.unsettled) == (2, 0)
    assert settle(ledger, taken, value="too late") is None
    assert ledger.counts()["late"] == 1


def test_return_all_twice_returns_each_job_once(ledger: Ledger) -> None:
    submit(ledger)

    ledger.return_all("stop")
    ledger.return_all("stop")

    assert ledger.report().returned == 1
    assert statuses(ledger) == [JobStatus.RETURNED]


def test_a_job_given_back_while_stopping_is_returned(ledger: Ledger) -> None:
    future = submit(ledger)
    taken = take(ledger)
    ledger.begin_stopping("stop")

    ledger.give_back(taken)

    assert future.cancelled()
    assert ledger.report().returned == 1
    idle(ledger)


def test_a_dead_worker_returns_its_job_while_stopping(ledger: Ledger) -> None:
    future = submit(ledger, kind="cpu")
    take(ledger, CPU)
    ledger.begin_stopping("stop")

    ledger.worker_died("w", 1, "killed")

    assert future.cancelled()
    assert ledger.report().returned == 1


# -- results


def test_a_worker_waits_while_the_collector_has_no_room(
    clock: VirtualClock, token: StopToken
) -> None:
    ledger = Ledger(capacity=1)
    submit(ledger, 1)
    first = take(ledger)
    submit(ledger, 2)
    second = take(ledger, worker="v")
    settle(ledger, first)

    call = Call(clock, lambda: settle(ledger, second, token=token))

    assert call.waits()
    assert ledger.report().succeeded == 2  # settled and told, before the wait
    assert len(results(ledger)) == 2
    clock.settle()
    assert not call.waits()


def test_a_cancel_does_not_wait_for_the_collector(clock: VirtualClock) -> None:
    ledger = Ledger(capacity=1)
    submit(ledger, 1)
    settle(ledger, take(ledger))
    future = submit(ledger, 2)

    assert future.cancel()

    assert len(results(ledger)) == 2


@pytest.mark.parametrize("end", ["settle", "cancel", "death", "return"])
def test_every_ending_wakes_an_idle_collector(ledger: Ledger, end: str) -> None:
    wake = FakeWake()
    future = submit(ledger)
    assert ledger.deliveries.take_for("collector", wake) is None

    if end == "cancel":
        future.cancel()
    elif end == "return":
        ledger.begin_stopping("stop")
    else:
        taken = take(ledger)
        assert wake.puts == 0
        if end == "settle":
            settle(ledger, taken)
        else:
            ledger.worker_died("w", 1, "killed")

    assert wake.puts == 1
    assert len(results(ledger)) == 1


def test_undelivered_results_stand_in_the_report(ledger: Ledger) -> None:
    submit(ledger)
    settle(ledger, take(ledger), value="v")

    (result,) = ledger.report().undelivered

    assert result.value == "v"
    assert not ledger.report().ok


def test_a_report_can_be_had_for_a_group(ledger: Ledger) -> None:
    group = Group("mail", ledger.root)
    submit(ledger, 1, group=group)
    submit(ledger, 2)

    assert ledger.report(group).accepted == 1
    assert [job.id for job in ledger.report(group).unfinished] == [1]
    assert ledger.report().accepted == 2


# -- telling


def listened(clock: VirtualClock) -> tuple[Ledger, list[JobEvent]]:
    events: list[JobEvent] = []
    return Ledger(listeners=Listeners(events.append)), events


def test_listeners_hear_of_every_change(clock: VirtualClock) -> None:
    ledger, events = listened(clock)
    future = submit(ledger, retry=FLAT)
    first = take(ledger)
    settle(ledger, first, OSError())
    settle(ledger, first, OSError())
    clock.advance(4)
    ledger.release_due()
    settle(ledger, take(ledger), value="v")

    kinds = [type(event) for event in events]

    assert kinds == [JobAccepted, JobRetried, JobLate, JobSettled]
    retried, settled = events[1], events[3]
    assert isinstance(retried, JobRetried)
    assert retried.due_at == 4.0
    assert isinstance(settled, JobSettled)
    assert settled.result is future.job_result()


def test_a_listener_is_inside_and_without_the_lock(clock: VirtualClock) -> None:
    marks: list[Any] = []

    def listen(event: JobEvent) -> None:
        mark = role_in(heard)
        marks.append(mark and mark.role)
        heard.report()  # would hang under the lock

    heard = Ledger(listeners=Listeners(listen))

    submit(heard).cancel()

    assert marks == [Role.LISTENER, Role.LISTENER]


def test_a_done_callback_runs_without_the_lock(ledger: Ledger) -> None:
    seen: list[int] = []
    future = submit(ledger)
    future.add_done_callback(lambda _: seen.append(ledger.report().succeeded))

    settle(ledger, take(ledger))

    assert seen == [1]


def test_a_returned_futures_wait_ends(ledger: Ledger, clock: VirtualClock) -> None:
    future = submit(ledger)
    call = Call(clock, future.result)

    ledger.return_all("stop")
    clock.settle()

    assert isinstance(call.error, CancelledError)


# -- everything at once


@pytest.mark.concurrent
def test_every_job_ends_once_through_all_endings(clock: VirtualClock) -> None:
    ledger = Ledger(capacity=3)
    futures: list[JobFuture] = []
    policy = RetryPolicy(2, initial=0.0, jitter=None)
    done = clock.event()

    def submit_some(first: int) -> None:
        for number in range(first, first + 15):
            future = submit(ledger, number, wait=True, retry=policy)
            futures.append(future)
            if number % 5 == 0:
                future.cancel()

    def wait_for_job(lane: Any, wake: WakeQueue) -> Taken | None:
        while not done.is_set():
            taken: Taken | None = lane.take(wake)
            if taken is not None:
                return taken
            wake.get()
        lane.withdraw(wake)
        return None

    def work(name: str) -> None:
        lane, wake = ledger.lane(IO, name), clock.queue()
        wakes.append(wake)
        runs = 0
        token = StopToken(name=name)
        while (taken := wait_for_job(lane, wake)) is not None:
            runs += 1
            if runs % 7 == 0:
                ledger.worker_died(name, 1, "killed")
            elif runs % 5 == 0:
                ledger.give_back(taken)
                continue
            error = OSError() if runs % 3 == 0 else None
            settle(ledger, taken, error, token=token)
            ledger.release_due()

    def collect() -> None:
        wake = clock.queue()
        wakes.append(wake)
        while not done.is_set():
            batch = ledger.deliveries.take_for("collector", wake)
            if batch is None:
                wake.get()
                continue
            for delivery in batch:
                delivered.append(delivery.result.id)
                assert ledger.deliveries.hand(delivery, "collector")
            ledger.deliveries.acknowledge(batch)

    wakes: list[WakeQueue] = []
    delivered: list[int] = []
    submitters = [clock.thread(submit_some, args=(1 + 15 * n,)) for n in range(3)]
    others = [clock.thread(work, args=(name,)) for name in ("a", "b", "c")]
    others.append(clock.thread(collect))
    for thread in (*submitters, *others):
        thread.start()
    for thread in submitters:
        clock.join(thread)
    idle_again = clock.queue()
    if ledger.waits.add(ledger.root, idle_again):
        idle_again.get()
    done.set()
    for wake in wakes:
        wake.put(None)
    for thread in others:
        clock.join(thread)

    report = ledger.report()
    assert report.accepted == len(futures) == 45
    assert report.unsettled == 0
    assert report.undelivered == ()
    assert sorted(delivered) == list(range(1, 46))
    assert all(future.done() for future in futures)
    assert ledger.counts()["in_flight"] == ledger.counts()["delayed"] == 0


class Unshowable(Exception):
    """Cannot be put into words."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """Takes no notes."""

    why: str = "frozen"


@pytest.mark.parametrize("error", [Unshowable(), Frozen()])
def test_an_error_that_takes_no_note_completes_its_future(
    ledger: Ledger, error: Exception
) -> None:
    future = submit(ledger)

    settle(ledger, take(ledger), error)

    assert future.exception(0) is error
    assert ledger.report().dead == 1


def test_a_callback_that_raises_past_everything_hurts_no_worker(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    def leave(_: Any) -> None:
        raise SystemExit

    future = submit(ledger)
    future.add_done_callback(leave)

    settle(ledger, take(ledger), value="v")

    assert future.result(0) == "v"
    assert "a done-callback of <JobFuture" in caplog.text


@pytest.mark.concurrent
def test_a_stop_against_everybody_leaves_nothing_open(clock: VirtualClock) -> None:
    ledger = Ledger(capacity=2)
    futures: list[JobFuture] = []
    policy = RetryPolicy(5, initial=0.0, jitter=None)
    halfway, stopped = clock.event(), clock.event()

    def submit_some(first: int) -> None:
        for number in range(first, first + 10):
            try:
                futures.append(submit(ledger, number, wait=True, retry=policy))
            except MailboxClosed:
                return
            if len(futures) >= 4:  # with nobody to collect, it soon comes to a halt
                halfway.set()

    def work(name: str) -> None:
        wake, token = clock.queue(), StopToken(name=name)
        wakes.append((wake, token))
        runs = 0
        while not stopped.is_set():
            taken = ledger.take(IO, name, wake)
            if taken is None:
                wake.get()
                continue
            runs += 1
            if runs % 4 == 0:
                ledger.give_back(taken)
            else:
                error = [None, OSError(), Cancelled("stop")][runs % 3]
                settle(ledger, taken, error, token=token)
            ledger.release_due()

    wakes: list[tuple[WakeQueue, StopToken]] = []
    submitters = [clock.thread(submit_some, args=(1 + 10 * n,)) for n in range(3)]
    workers = [clock.thread(work, args=(name,)) for name in ("a", "b")]
    for thread in (*submitters, *workers):
        thread.start()
    halfway.wait()
    ledger.begin_stopping("stop")
    ledger.return_all("stop")
    stopped.set()
    for wake, token in wakes:
        token.cancel("stop")
        wake.put(None)
    for thread in (*submitters, *workers):
        clock.join(thread)
    ledger.return_all("stop")  # as the pipeline does once its workers are gone
    ledger.deliveries.close()

    report = ledger.report()
    assert report.accepted == len(futures)
    assert report.unsettled == 0
    assert sorted(r.id for r in report.undelivered) == sorted(
        future.job.id or 0 for future in futures
    )
    assert all(future.done() for future in futures)
    assert ledger.root.idle
