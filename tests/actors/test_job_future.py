"""The future of a job, with a ledger that only says yes or no.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import weakref
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import pytest

from actors._inside import Role, role_in
from actors.errors import Cancelled, ShutdownTimeout, WouldDeadlock
from actors.job_future import JobFuture
from actors.jobs import JobStatus
from actors.results import Attempt, JobResult
from tests.actors.ledger_kit import Call, make_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors._ledger import Entry
    from actors.jobs import Job
    from actors.testing import VirtualClock


class FakeKeeper:
    """Notes what the future asks for.

    Attributes:
        cancels: The reasons it was given.
        only_waiting: Whether running jobs were to be left alone, each time.
        cancelled: Its answer.
        refusal: Raised at a wait, if there is one.
        waits: How many waits go on.
    """

    def __init__(self) -> None:
        self.cancels: list[str] = []
        self.only_waiting: list[bool] = []
        self.cancelled = True
        self.refusal: Exception | None = None
        self.waits = 0

    def cancel(self, entry: Entry, reason: str, *, only_waiting: bool = False) -> bool:
        self.cancels.append(reason)
        self.only_waiting.append(only_waiting)
        return self.cancelled

    @contextlib.contextmanager
    def waiting_for(self, entry: Entry) -> Iterator[None]:
        if self.refusal is not None:
            raise self.refusal
        self.waits += 1
        try:
            yield
        finally:
            self.waits -= 1


@pytest.fixture
def keeper() -> FakeKeeper:
    return FakeKeeper()


@pytest.fixture
def future(clock: VirtualClock, keeper: FakeKeeper) -> JobFuture:
    future = JobFuture(keeper, clock)
    future.belong_to(make_entry(7))
    return future


def result(
    job: Job,
    status: JobStatus = JobStatus.SUCCEEDED,
    *,
    value: Any = None,
    error: BaseException | None = None,
    attempts: int = 0,
) -> JobResult:
    runs = tuple(Attempt(n + 1, "w", 0.0, 1.0, error) for n in range(attempts))
    return JobResult(job, status, value, error, runs)


def end_in(future: JobFuture, status: JobStatus, *, attempts: int = 0) -> None:
    error: BaseException = Cancelled("asked")
    if status is JobStatus.RETURNED:
        error = ShutdownTimeout("handed back")
    future.complete(result(future.job, status, error=error, attempts=attempts))


WAITS: list[Callable[[JobFuture, float | None], Any]] = [
    JobFuture.result,
    JobFuture.exception,
    JobFuture.job_result,
]


# -- completion


def test_a_success_gives_its_value(future: JobFuture) -> None:
    future.complete(result(future.job, value="v"))

    assert future.done()
    assert future.result() == "v"
    assert future.exception() is None
    assert future.job_result().value == "v"


def test_a_dead_job_raises_its_own_error(future: JobFuture) -> None:
    error = ValueError("x")

    future.complete(result(future.job, JobStatus.DEAD, error=error, attempts=1))

    with pytest.raises(ValueError, match="x") as caught:
        future.result()
    assert caught.value is error
    assert future.exception() is error
    assert future.job_result().status is JobStatus.DEAD


@pytest.mark.parametrize(
    ("status", "attempts"),
    [
        (JobStatus.CANCELLED, 0),
        (JobStatus.CANCELLED, 1),  # it ran and obeyed
        (JobStatus.RETURNED, 0),  # it never began
    ],
)
def test_a_job_that_will_not_complete_is_cancelled(
    future: JobFuture, status: JobStatus, attempts: int
) -> None:
    end_in(future, status, attempts=attempts)

    assert future.cancelled()
    assert future.done()
    with pytest.raises(CancelledError):
        future.result()
    with pytest.raises(CancelledError):
        future.exception()
    assert future.job_result().status is status


def test_a_returned_job_that_had_begun_timed_out(future: JobFuture) -> None:
    end_in(future, JobStatus.RETURNED, attempts=1)

    assert not future.cancelled()
    with pytest.raises(ShutdownTimeout, match="handed back"):
        future.result()


def test_the_standard_librarys_wait_sees_its_end(future: JobFuture) -> None:
    end_in(future, JobStatus.CANCELLED)

    done, not_done = concurrent.futures.wait([future], timeout=0)

    assert done == {future}
    assert not not_done


def test_the_job_is_known_before_and_after(future: JobFuture) -> None:
    before = future.job

    future.complete(result(before))

    assert before.id == 7
    assert future.job is before


@pytest.mark.parametrize("status", JobStatus)
def test_running_means_that_an_attempt_runs(
    clock: VirtualClock, keeper: FakeKeeper, status: JobStatus
) -> None:
    entry, future = make_entry(), JobFuture(keeper, clock)
    future.belong_to(entry)

    entry.status = status

    assert future.running() is (status is JobStatus.RUNNING)


def test_a_settled_job_is_not_running(future: JobFuture) -> None:
    future.complete(result(future.job))

    assert not future.running()


def test_a_settled_jobs_entry_is_freed_at_once(
    clock: VirtualClock, keeper: FakeKeeper
) -> None:
    class Argument:
        """Something to see freed."""

    argument = Argument()
    seen = weakref.ref(argument)
    future = JobFuture(keeper, clock)
    entry = make_entry(args=(argument,))
    entry.future = future
    future.belong_to(entry)
    gc.disable()
    try:
        entry.future = None  # the ledger does so when it settles
        future.complete(result(entry.job))
        del entry, future, argument
        assert seen() is None
    finally:
        gc.enable()


# -- waiting


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_ends_when_the_job_is_settled(
    clock: VirtualClock,
    future: JobFuture,
    keeper: FakeKeeper,
    wait: Callable[[JobFuture, float | None], Any],
) -> None:
    call = Call(clock, wait, future, None)
    assert call.waits()
    assert keeper.waits == 1
    clock.advance(3)

    future.complete(result(future.job))
    clock.settle()

    assert call.error is None
    assert call.ended_at == 3.0
    assert keeper.waits == 0


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_times_out_at_exactly_its_time(
    clock: VirtualClock,
    future: JobFuture,
    keeper: FakeKeeper,
    wait: Callable[[JobFuture, float | None], Any],
) -> None:
    call = Call(clock, wait, future, 1.5)

    clock.advance(10)

    assert isinstance(call.error, TimeoutError)
    assert call.ended_at == 1.5
    assert keeper.waits == 0
    assert not future.done()
    assert keeper.cancels == []  # the job goes on


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_that_would_never_end_is_refused(
    future: JobFuture,
    keeper: FakeKeeper,
    wait: Callable[[JobFuture, float | None], Any],
) -> None:
    keeper.refusal = WouldDeadlock("no worker is left")

    with pytest.raises(WouldDeadlock):
        wait(future, None)
    with pytest.raises(WouldDeadlock), future.guard_wait():
        pass  # pragma: no cover


@pytest.mark.parametrize("wait", WAITS)
def test_a_settled_job_may_be_asked_from_anywhere(
    future: JobFuture,
    keeper: FakeKeeper,
    wait: Callable[[JobFuture, float | None], Any],
) -> None:
    keeper.refusal = WouldDeadlock("no worker is left")

    future.complete(result(future.job))

    wait(future, None)
    with future.guard_wait():
        assert keeper.waits == 0


def test_a_guarded_wait_is_told_to_the_ledger(
    future: JobFuture, keeper: FakeKeeper
) -> None:
    with future.guard_wait():
        assert keeper.waits == 1

    assert keeper.waits == 0


# -- cancel


@pytest.mark.parametrize("answer", [True, False])
def test_cancel_says_what_the_ledger_says(
    future: JobFuture, keeper: FakeKeeper, answer: bool
) -> None:
    keeper.cancelled = answer

    assert future.cancel() is answer

    assert keeper.cancels == ["the future was cancelled"]


def test_a_completed_future_is_not_cancelled(
    future: JobFuture, keeper: FakeKeeper
) -> None:
    future.complete(result(future.job))

    assert not future.cancel()

    assert keeper.cancels == []


def test_a_cancelled_future_says_so_again(
    future: JobFuture, keeper: FakeKeeper
) -> None:
    end_in(future, JobStatus.CANCELLED)

    assert future.cancel()

    assert keeper.cancels == []


# -- done-callbacks


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.CANCELLED])
def test_done_callbacks_run_inside_the_pipeline(
    future: JobFuture, keeper: FakeKeeper, status: JobStatus
) -> None:
    roles: list[Role | None] = []

    def note(done: concurrent.futures.Future[Any]) -> None:
        mark = role_in(keeper)
        roles.append(mark and mark.role)
        assert done is future
        assert future.job_result().status is status  # settled for everybody by now

    future.add_done_callback(note)

    if status is JobStatus.SUCCEEDED:
        future.complete(result(future.job))
    else:
        end_in(future, status)

    assert roles == [Role.CALLBACK]
    assert role_in(keeper) is None


def test_a_callback_of_a_done_future_runs_at_once(future: JobFuture) -> None:
    future.complete(result(future.job, value="v"))
    seen: list[Any] = []

    future.add_done_callback(lambda done: seen.append(done.result()))

    assert seen == ["v"]


def test_a_raising_callback_hurts_nobody(
    future: JobFuture, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    def fail(_: Any) -> None:
        raise RuntimeError("the callback's own")

    future.add_done_callback(fail)
    future.add_done_callback(lambda _: seen.append(1))

    future.complete(result(future.job, value="v"))

    assert future.result() == "v"
    assert seen == [1]
    assert "exception calling callback" in caplog.text


def test_a_keyboard_interrupt_of_a_callback_is_let_through(future: JobFuture) -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    future.add_done_callback(interrupt)

    with pytest.raises(KeyboardInterrupt):
        future.complete(result(future.job, value="v"))

    assert future.result() == "v"


@pytest.mark.parametrize("answer", [True, False])
def test_a_value_that_nobody_wants_spares_a_running_job(
    future: JobFuture, keeper: FakeKeeper, answer: bool
) -> None:
    keeper.cancelled = answer

    assert future.cancel_unless_begun() is answer

    assert keeper.only_waiting == [True]
    assert keeper.cancels == ["nobody wants its value any more"]


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.CANCELLED])
def test_a_settled_job_is_not_given_up_again(
    future: JobFuture, keeper: FakeKeeper, status: JobStatus
) -> None:
    if status is JobStatus.SUCCEEDED:
        future.complete(result(future.job))
    else:
        end_in(future, status)

    assert future.cancel_unless_begun() is (status is JobStatus.CANCELLED)

    assert keeper.cancels == []
