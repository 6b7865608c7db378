"""One worker in a cell, with a ledger and nobody else.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

import contextvars
import pickle
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from actors._engine import Outcome
from actors._inside import Role, role_in
from actors.errors import (
    Cancelled,
    HeadraceError,
    JobNotPicklable,
    JobTimeout,
    WorkerDied,
)
from actors.exits import Exit
from actors.job_context import checkpoint, current_job, sleep
from actors.jobs import Job, JobKind, JobOptions, JobStatus
from actors.ledger import Ledger
from actors.retry import RetryPolicy
from actors.submitter import Submitter
from actors.testing import Gate
from actors.worker import Worker, WorkerStats, WorkerWiring
from tests.actors.ledger_kit import FakeWake, entry_of, submit

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.cell import Cell
    from actors.job_future import JobFuture
    from actors.ledger import Taken
    from actors.stop_token import StopToken
    from actors.testing import VirtualClock
    from tests.actors.conftest import FakeSupervisor

LANGUAGE: contextvars.ContextVar[str] = contextvars.ContextVar("language", default="-")


def square(x: int) -> int:
    return x * x


class FakeEngine:
    """Runs a call here and now, or does what the test says.

    Attributes:
        kills: What a worker process has and a foreign executor has not.
        on_run: Called instead of the pickled call.
        runs: What ``run`` was given besides the call.
        closed: How often it was closed.
    """

    pid = 4711

    def __init__(self, clock: VirtualClock, *, kills: bool = True) -> None:
        self.clock = clock
        self.kills = kills
        self.on_run: Callable[[StopToken], Any] | None = None
        self.runs: list[dict[str, Any]] = []
        self.closed = 0

    def run(
        self,
        call: bytes,
        *,
        timeout: float | None = None,
        token: StopToken | None = None,
        meta: dict[str, Any] | None = None,
    ) -> Outcome:
        self.runs.append({"timeout": timeout, "meta": meta})
        assert token is not None
        try:
            if self.on_run is not None:
                value = self.on_run(token)
            else:
                fn, args, kwargs = pickle.loads(call)
                value = fn(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  # an outcome, as an engine says
            return Outcome(False, None, error, 0.0, self.pid)
        return Outcome(True, value, None, 0.0, self.pid)

    def kill(self, reason: str = "killed", *, call: bytes | None = None) -> bool:
        raise AssertionError

    def close(self) -> None:
        self.closed += 1


class Shop:
    """A ledger, and how to start a worker on it."""

    def __init__(self, supervisor: FakeSupervisor) -> None:
        self.supervisor = supervisor
        self.clock = supervisor.clock
        self.ledger = Ledger(workers={JobKind.IO: 1, JobKind.CPU: 1})
        self.submitter = Submitter(self.ledger, JobOptions(), takes_payloads=True)
        self.stats = WorkerStats()
        self.engine = FakeEngine(self.clock)
        self.numbers = iter(range(1, 1000))

    def start(
        self,
        worker_class: type[Worker] = Worker,
        *,
        kind: JobKind = JobKind.IO,
        initializer: Callable[[], object] | None = None,
    ) -> Cell:
        name = f"{kind.value}-worker"
        wiring = WorkerWiring(
            self.ledger,
            kind,
            name,
            engine=(lambda: self.engine) if kind is JobKind.CPU else None,
            initializer=initializer,
            stats=self.stats,
        )
        cell = self.supervisor.start(worker_class, kwargs={"wiring": wiring}, name=name)
        self.clock.settle()
        return cell

    def submit(self, fn: Callable[..., Any], *args: Any, **options: Any) -> JobFuture:
        """Submit a job, and let it come as far as it can."""
        future = submit(self.ledger, next(self.numbers), fn=fn, args=args, **options)
        self.clock.settle()
        return future

    def payload(self, payload: Any) -> JobFuture:
        future = self.submitter.submit_job(Job.of(payload))
        assert future is not None
        self.clock.settle()
        return future


@pytest.fixture
def shop(supervisor: FakeSupervisor) -> Shop:
    return Shop(supervisor)


def raises(error: BaseException) -> None:
    raise error


# -- io jobs


def test_a_job_runs_on_the_workers_thread(shop: Shop) -> None:
    shop.start()

    future = shop.submit(square, 3)

    assert future.result(0) == 9
    (attempt,) = future.job_result(0).attempts
    assert (attempt.number, attempt.worker, attempt.process_id) == (
        1,
        "io-worker",
        None,
    )


def test_one_job_at_a_time_in_order(shop: Shop) -> None:
    gate, begun = Gate(), []

    def job(number: int) -> None:
        begun.append(number)
        gate.pass_through()

    shop.start()
    futures = [shop.submit(job, number) for number in range(3)]

    assert begun == [0]
    assert [future.running() for future in futures] == [True, False, False]
    gate.open()
    shop.clock.settle()
    assert begun == [0, 1, 2]


def test_jobs_submitted_before_the_worker_wait_for_it(shop: Shop) -> None:
    future = shop.submit(square, 3)
    assert not future.done()

    shop.start()

    assert future.result(0) == 9


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(3), GeneratorExit(), WorkerDied("y")]
)
def test_whatever_a_job_raises_fails_that_job_alone(
    shop: Shop, error: BaseException
) -> None:
    """R70: SystemExit and GeneratorExit fail the job, not the worker."""
    cell = shop.start()

    future = shop.submit(raises, error)

    assert future.exception(0) is error
    assert shop.submit(square, 3).result(0) == 9
    assert cell.number == 1


def test_a_keyboard_interrupt_fails_the_job_then_the_worker(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    """R70: only KeyboardInterrupt is fatal."""
    error = KeyboardInterrupt()
    cell = shop.start()

    future = shop.submit(raises, error)

    assert supervisor.ended(cell).kind == "fatal"
    assert future.exception(0) is error
    assert shop.ledger.report().dead == 1


def test_times_are_measured_on_the_pipelines_clock(shop: Shop) -> None:
    shop.clock.advance(1)
    future = shop.submit(lambda: sleep(4))
    shop.clock.advance(2)
    shop.start()

    shop.clock.advance(10)

    result = future.job_result(0)
    assert (result.waited, result.ran) == (2.0, 4.0)
    (attempt,) = result.attempts
    assert (attempt.began_at, attempt.ended_at) == (3.0, 7.0)


def test_the_job_knows_itself_while_it_runs(shop: Shop) -> None:
    shop.start()

    future = shop.submit(current_job)

    assert future.result(0) is future.job
    assert current_job() is None


def test_the_job_runs_inside_its_pipeline(shop: Shop) -> None:
    shop.start()

    mark = shop.submit(lambda: role_in(shop.ledger)).result(0)

    assert (mark.role, mark.kind) == (Role.JOB, JobKind.IO)


def test_carried_variables_last_as_long_as_the_job(shop: Shop) -> None:
    shop.start()
    seen: list[str] = []
    scope = shop.submitter.narrowed(
        shop.ledger.root, JobOptions(), wait=True, context=(LANGUAGE,)
    )
    mark = LANGUAGE.set("fr")
    scope.submit(lambda: seen.append(LANGUAGE.get()), (), {})
    LANGUAGE.reset(mark)

    shop.submit(lambda: seen.append(LANGUAGE.get()))

    assert seen == ["fr", "-"]


def test_a_retried_job_runs_again_with_a_new_number(shop: Shop) -> None:
    outcomes = iter([OSError("first"), None])

    def flaky() -> str:
        error = next(outcomes)
        if error is not None:
            raise error
        return "v"

    shop.start()
    policy = RetryPolicy(1, initial=4.0, jitter=None)
    future = shop.submit(flaky, retry=policy)

    shop.clock.advance(4)
    shop.ledger.release_due()
    shop.clock.settle()

    assert future.result(0) == "v"
    assert [a.number for a in future.job_result(0).attempts] == [1, 2]


# -- timeouts and cancels


def test_a_timeout_ends_the_job_at_its_checkpoint(shop: Shop) -> None:
    shop.start()
    future = shop.submit(lambda: sleep(60), timeout=2.5)

    shop.clock.advance(60)

    error = future.exception(0)
    assert isinstance(error, JobTimeout)
    assert "ran longer than its timeout of 2.5 s" in str(error)
    assert isinstance(error.__cause__, Cancelled)
    assert future.job_result(0).ran == 2.5


def test_a_job_in_time_leaves_no_timer(shop: Shop) -> None:
    shop.start()

    shop.submit(square, 3, timeout=2.5)

    assert shop.clock.next_deadline() is None


def test_a_job_past_its_timeout_may_still_return(shop: Shop) -> None:
    shop.start()
    future = shop.submit(lambda: shop.clock.sleep(5), timeout=2.5)

    shop.clock.advance(5)

    assert future.exception(0) is None


def test_each_attempt_has_the_whole_timeout(shop: Shop) -> None:
    shop.start()
    policy = RetryPolicy(1, initial=0.0, jitter=None)
    future = shop.submit(lambda: sleep(60), timeout=2.0, retry=policy)
    shop.clock.advance(2)
    shop.ledger.release_due()
    shop.clock.advance(1.9)
    assert future.running()

    shop.clock.advance(0.1)

    assert [a.ran for a in future.job_result(0).attempts] == [2.0, 2.0]
    assert isinstance(future.exception(0), JobTimeout)


def test_a_cancelled_job_leaves_its_sleep_at_once(shop: Shop) -> None:
    shop.start()
    future = shop.submit(lambda: sleep(60))
    shop.clock.advance(1)

    assert not future.cancel()
    shop.clock.settle()

    assert future.cancelled()
    assert future.job_result(0).ran == 1.0


def test_a_job_that_swallows_its_cancel_completes(shop: Shop) -> None:
    gate = Gate()

    def stubborn() -> str:
        gate.pass_through()
        with pytest.raises(Cancelled):
            checkpoint()
        return "done all the same"

    shop.start()
    future = shop.submit(stubborn)
    future.cancel()
    gate.open()
    shop.clock.settle()

    assert future.result(0) == "done all the same"


def test_each_attempt_makes_a_token_of_its_own(shop: Shop) -> None:
    tokens: list[StopToken | None] = []

    def fail() -> None:
        tokens.append(entry_of(future).token)
        sleep(1)  # makes one
        raise OSError

    policy = RetryPolicy(1, initial=0.0, jitter=None)
    future = shop.submit(fail, retry=policy)
    shop.start()
    shop.clock.advance(1)
    shop.ledger.release_due()
    shop.clock.advance(1)

    assert future.done()
    assert tokens == [None, None]


# -- stop


def test_a_stop_returns_the_job_that_obeys(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    cell = shop.start()
    future = shop.submit(lambda: sleep(60))
    shop.ledger.begin_stopping("stop")

    exit_ = supervisor.stop(cell)

    assert exit_ == Exit("shutdown")
    assert shop.ledger.report().returned == 1
    assert future.done()


def test_an_idle_worker_stops_at_once(shop: Shop, supervisor: FakeSupervisor) -> None:
    cell = shop.start()

    assert supervisor.stop(cell) == Exit("shutdown")

    wake = FakeWake()
    assert shop.ledger.take(JobKind.IO, "another", wake) is None
    shop.submit(square, 3)
    assert wake.puts == 1  # the one that left is not in the line any more


def test_a_worker_told_to_stop_gives_its_job_back(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    begun: list[int] = []
    cell = shop.start()
    supervisor.token.cancel("stop")  # its order to leave is still on the way

    future = shop.submit(begun.append, 1)

    assert begun == []
    assert not future.done()
    assert shop.ledger.depth(JobKind.IO) == 1
    assert entry_of(future).attempts == []
    assert supervisor.stop(cell) == Exit("shutdown")


def test_an_abandoned_worker_is_late_and_harmless(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    gate = Gate()
    cell = shop.start()
    future = shop.submit(gate.pass_through)
    cell.abandon("it hangs")

    cell.start()
    shop.clock.settle()

    assert isinstance(future.exception(0), WorkerDied)
    assert shop.submit(square, 3).result(0) == 9
    gate.open()
    shop.clock.settle()
    assert shop.ledger.counts()["late"] == 1
    assert shop.ledger.report().dead == 1


def test_a_restart_settles_what_was_in_hand_first(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    gate = Gate()
    cell = shop.start()
    future = shop.submit(gate.pass_through, retry=RetryPolicy(1, jitter=None))
    cell.abandon("it hangs")

    cell.start()
    shop.clock.settle()

    assert shop.ledger.counts() == {
        "delayed": 1,
        "in_flight": 0,
        "retried": 1,
        "late": 0,
        "over_capacity": 0,
    }
    assert not future.done()
    gate.open()
    shop.clock.settle()


# -- the subclass form


class Press(Worker):
    """Serves payloads with a state of its own."""

    starts: ClassVar[list[str]] = []

    def on_start(self) -> None:
        self.starts.append("heated")
        self.heat = 100

    def handle(self, job: Job) -> Any:
        if job.payload == "jam":
            raise ValueError(job.payload)
        return (job.payload, self.heat, current_job() is job)


def test_a_subclass_serves_payloads_with_its_state(shop: Shop) -> None:
    Press.starts.clear()
    shop.start(Press)

    assert shop.payload("page").result(0) == ("page", 100, True)
    assert isinstance(shop.payload("jam").exception(0), ValueError)
    assert shop.payload("page").result(0) == ("page", 100, True)
    assert Press.starts == ["heated"]


def test_a_subclass_runs_function_jobs_too(shop: Shop) -> None:
    shop.start(Press)

    assert shop.submit(square, 3).result(0) == 9


def test_without_a_handler_a_payload_fails(shop: Shop) -> None:
    shop.start()

    error = shop.payload("page").exception(0)

    assert isinstance(error, HeadraceError)
    assert "Worker does not override handle()" in str(error)


def test_the_initializer_runs_in_each_incarnation(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    calls: list[int] = []
    cell = shop.start(initializer=lambda: calls.append(1))

    shop.submit(raises, KeyboardInterrupt())
    supervisor.restart(cell)

    assert calls == [1, 1]
    assert shop.submit(square, 3).result(0) == 9


def test_an_initializer_that_fails_is_a_failed_start(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    wiring = WorkerWiring(
        shop.ledger, JobKind.IO, "w", initializer=lambda: raises(OSError("no model"))
    )
    cell = supervisor.make(Worker, kwargs={"wiring": wiring})
    cell.start()

    exit_ = supervisor.ended(cell)

    assert exit_.kind == "start_failed"
    assert isinstance(exit_.error, OSError)


# -- how busy


def test_stats_count_jobs_and_busy_time(shop: Shop) -> None:
    shop.start()
    shop.submit(lambda: sleep(4))
    shop.clock.advance(1)
    assert shop.stats.since == 0.0
    assert shop.stats.busy_until(1.0) == 1.0

    shop.clock.advance(9)

    assert (shop.stats.jobs, shop.stats.busy) == (1, 4.0)
    assert shop.stats.busy_until(10.0) == 4.0


def test_a_new_incarnation_is_not_busy(shop: Shop) -> None:
    gate = Gate()
    cell = shop.start()
    shop.submit(gate.pass_through)
    shop.clock.advance(1)
    cell.abandon("it hangs")

    cell.start()
    shop.clock.settle()

    assert shop.stats.since is None
    gate.open()
    shop.clock.settle()


# -- cpu jobs


def test_a_cpu_job_runs_in_the_engine(shop: Shop) -> None:
    shop.start(kind=JobKind.CPU)

    future = shop.submit(square, 3, kind="cpu", key="k", timeout=7.0)

    assert future.result(0) == 9
    (attempt,) = future.job_result(0).attempts
    assert (attempt.worker, attempt.process_id) == ("cpu-worker", 4711)
    assert shop.engine.runs == [
        {"timeout": 7.0, "meta": {"id": 1, "key": "k", "name": "square"}}
    ]


def test_an_engines_error_is_the_attempts(shop: Shop) -> None:
    error = WorkerDied("killed by SIGKILL", -9)
    shop.engine.on_run = lambda _token: raises(error)
    shop.start(kind=JobKind.CPU)

    assert shop.submit(square, 3, kind="cpu").exception(0) is error

    shop.engine.on_run = None
    assert shop.submit(square, 3, kind="cpu").result(0) == 9


def test_a_call_that_does_not_pickle_fails_its_job(shop: Shop) -> None:
    shop.start(kind=JobKind.CPU)

    future = shop.submit(square, shop.clock, kind="cpu")

    assert isinstance(future.exception(0), JobNotPicklable)
    assert shop.engine.runs == []
    assert shop.submit(square, 3, kind="cpu").result(0) == 9


def until_killed(token: StopToken) -> None:
    token.wait_cancelled()
    raise Cancelled(token.reason)


def test_a_running_cpu_job_is_cancelled_for_certain(shop: Shop) -> None:
    shop.engine.on_run = until_killed
    shop.start(kind=JobKind.CPU)
    future = shop.submit(square, 3, kind="cpu")
    assert future.running()

    assert future.cancel()

    assert future.cancelled()
    shop.clock.settle()
    shop.engine.on_run = None
    assert shop.submit(square, 3, kind="cpu").result(0) == 9
    assert shop.ledger.counts()["late"] == 0


def test_a_job_lost_before_it_began_does_not_run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = shop.ledger.begin

    def cancelled_first(taken: Taken, kill: Any) -> float | None:
        assert shop.ledger.cancel(taken.entry, "just in time")
        return begin(taken, kill)

    monkeypatch.setattr(shop.ledger, "begin", cancelled_first)
    shop.start(kind=JobKind.CPU)

    future = shop.submit(square, 3, kind="cpu")

    assert future.cancelled()
    assert shop.engine.runs == []
    assert shop.stats.jobs == 0


def test_an_engine_that_cannot_kill_is_only_asked(shop: Shop) -> None:
    shop.engine = FakeEngine(shop.clock, kills=False)
    shop.engine.on_run = until_killed
    shop.start(kind=JobKind.CPU)
    future = shop.submit(square, 3, kind="cpu")

    assert not future.cancel()
    shop.clock.settle()

    assert future.cancelled()  # it obeyed


def test_a_stop_kills_the_running_cpu_job(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    shop.engine.on_run = until_killed
    cell = shop.start(kind=JobKind.CPU)
    future = shop.submit(square, 3, kind="cpu")
    shop.ledger.begin_stopping("stop")

    assert supervisor.stop(cell) == Exit("shutdown")

    assert future.job_result(0).status is JobStatus.RETURNED


def test_the_engine_is_closed_with_its_worker(
    shop: Shop, supervisor: FakeSupervisor
) -> None:
    cell = shop.start(kind=JobKind.CPU)
    assert shop.engine.closed == 0

    supervisor.stop(cell)

    assert shop.engine.closed == 1


def test_cpu_time_counts_as_busy(shop: Shop) -> None:
    shop.engine.on_run = lambda _token: shop.clock.sleep(3)
    shop.start(kind=JobKind.CPU)
    shop.submit(square, 3, kind="cpu")

    shop.clock.advance(5)

    assert (shop.stats.busy, shop.stats.jobs) == (3.0, 1)


# -- run_cpu


class Resizer(Worker):
    """Hands the hard part to a process."""

    timeout: ClassVar[float | None] = None

    def handle(self, job: Job) -> Any:
        return self.run_cpu(square, job.payload, timeout=self.timeout)


def test_run_cpu_gives_the_value_to_its_handler(shop: Shop) -> None:
    shop.start(Resizer)
    shop.start(kind=JobKind.CPU)

    future = shop.payload(3)

    assert future.result(0) == 9
    assert shop.ledger.report().accepted == 1
    assert shop.engine.runs[0]["meta"]["id"] == future.job.id


def test_run_cpu_raises_what_the_function_raised(shop: Shop) -> None:
    error = ValueError("x")
    shop.engine.on_run = lambda _token: raises(error)
    shop.start(Resizer)
    shop.start(kind=JobKind.CPU)

    assert shop.payload(3).exception(0) is error


def test_a_cancelled_job_ends_its_run_cpu(shop: Shop) -> None:
    shop.engine.on_run = until_killed
    shop.start(Resizer)
    shop.start(kind=JobKind.CPU)
    future = shop.payload(3)

    future.cancel()
    shop.clock.settle()

    assert future.cancelled()
    shop.engine.on_run = None
    assert shop.payload(3).result(0) == 9


@pytest.mark.concurrent
def test_a_job_cancelled_before_run_cpu_enters_nothing(shop: Shop) -> None:
    gate = Gate()

    class Slow(Resizer):
        def handle(self, job: Job) -> Any:
            gate.pass_through()
            return super().handle(job)

    shop.start(Slow)
    cpu = shop.start(kind=JobKind.CPU)
    future = shop.payload(3)
    gate.wait_arrived()
    future.cancel()
    gate.open()
    shop.clock.settle()

    assert future.cancelled()
    assert cpu.number == 1
    assert shop.submit(square, 3, kind="cpu").result(0) == 9


def test_run_cpu_passes_its_timeout_on(shop: Shop) -> None:
    class Hasty(Resizer):
        timeout: ClassVar[float | None] = 2.5

    shop.start(Hasty)
    shop.start(kind=JobKind.CPU)

    shop.payload(3)

    assert shop.engine.runs[0]["timeout"] == 2.5


def test_run_cpu_outside_a_job_is_refused() -> None:
    with pytest.raises(HeadraceError, match="inside handle"):
        ref = Resizer.start()
        try:
            ref.proxy().run_cpu(square, 3).get()
        finally:
            ref.stop()


# -- threads against each other


@pytest.mark.concurrent
def test_workers_share_their_kinds_jobs(supervisor: FakeSupervisor) -> None:
    clock = supervisor.clock
    ledger = Ledger(capacity=3)
    ran: list[int] = []
    for number in range(3):
        wiring = WorkerWiring(ledger, JobKind.IO, f"w{number}")
        supervisor.start(Worker, kwargs={"wiring": wiring})

    def submit_some(first: int) -> None:
        for number in range(first, first + 10):
            submit(ledger, number, fn=ran.append, args=(number,), wait=True)

    def collect() -> None:
        wake = clock.queue()
        left = 30
        while left:
            batch = ledger.deliveries.take_for("collector", wake)
            if batch is None:
                wake.get()
                continue
            for delivery in batch:
                assert ledger.deliveries.hand(delivery, "collector")
            ledger.deliveries.acknowledge(batch)
            left -= len(batch)

    threads = [clock.thread(submit_some, args=(n,)) for n in (1, 11, 21)]
    threads.append(clock.thread(collect))
    for thread in threads:
        thread.start()
    for thread in threads:
        clock.join(thread)

    assert sorted(ran) == list(range(1, 31))
    assert ledger.report().succeeded == 30
    assert ledger.report().ok
