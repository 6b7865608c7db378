"""The dispatcher in a cell, with a ledger and nobody else.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors.dispatcher import Dispatcher
from actors.errors import WorkerDied
from actors.exits import Exit
from actors.jobs import JobKind
from actors.ledger import Ledger
from actors.messages import DueChanged, WorkerDown
from actors.retry import RetryPolicy
from actors.stop_token import StopToken
from tests.actors.ledger_kit import FakeWake, attempt_of, submit

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.clock import WakeQueue
    from actors.ledger import Taken
    from tests.actors.conftest import FakeSupervisor


@pytest.fixture
def ledger(supervisor: FakeSupervisor) -> Ledger:
    return Ledger()


class Fragile(Dispatcher):
    """Crashes when told to."""

    def on_receive(self, message: Any) -> Any:
        raise ValueError(message)


def start(supervisor: FakeSupervisor, ledger: Ledger) -> Cell:
    cell = supervisor.start(Fragile, kwargs={"wiring": ledger}, name="dispatcher")
    recipient: Any = cell.ref
    ledger.dispatcher = recipient
    supervisor.clock.settle()
    return cell


def take(ledger: Ledger, wake: WakeQueue | None = None) -> Taken | None:
    return ledger.take(JobKind.IO, "w", FakeWake() if wake is None else wake)


def must_take(ledger: Ledger) -> Taken:
    taken = take(ledger)
    assert taken is not None
    return taken


def fail(ledger: Ledger, taken: Taken) -> None:
    attempt = attempt_of(taken, OSError(), ended_at=ledger.clock.monotonic())
    ledger.settle(taken, attempt, None, StopToken(name="worker"))


def test_a_delayed_job_is_released_at_its_time(
    supervisor: FakeSupervisor, ledger: Ledger
) -> None:
    start(supervisor, ledger)
    submit(ledger, delay=5.0)

    supervisor.clock.advance(4.999)
    assert take(ledger) is None
    supervisor.clock.advance(0.001)

    assert must_take(ledger).entry.job.id == 1


def test_an_idle_worker_is_woken_at_that_time(
    supervisor: FakeSupervisor, ledger: Ledger
) -> None:
    start(supervisor, ledger)
    submit(ledger, delay=5.0)
    wake = FakeWake()
    take(ledger, wake)

    supervisor.clock.advance(5)

    assert wake.puts == 1


def test_an_earlier_job_moves_the_timer(
    supervisor: FakeSupervisor, ledger: Ledger
) -> None:
    start(supervisor, ledger)
    released: list[int | None] = []
    for number, delay in enumerate([9.0, 3.0, 6.0], 1):
        submit(ledger, number, delay=delay)

    for _ in range(3):
        supervisor.clock.advance(3)
        released.append(must_take(ledger).entry.job.id)

    assert released == [2, 3, 1]


def test_there_is_one_timer_however_many_jobs_wait(
    supervisor: FakeSupervisor, ledger: Ledger
) -> None:
    start(supervisor, ledger)
    for number in range(1, 6):
        submit(ledger, number, delay=10.0 - number)
    supervisor.clock.settle()

    moments = [supervisor.clock.next_deadline()]
    while supervisor.clock.step():
        moments.append(supervisor.clock.next_deadline())

    assert moments == [5.0, 1.0, 1.0, 1.0, 1.0, None]


def test_without_delayed_jobs_there_is_no_timer(
    supervisor: FakeSupervisor, ledger: Ledger
) -> None:
    start(supervisor, ledger)
    future = submit(ledger, delay=5.0)
    supervisor.clock.settle()

    future.cancel()
    ledger.dispatcher.tell_control(DueChanged())  # type: ignore[union-attr]  # it is set above
    supervisor.clock.settle()

    assert supervisor.clock.next_deadline() is None


def test_a_retry_is_released_after_its_backoff(
    supervisor: FakeSupervisor, ledger: Ledger
) -> None:
    start(supervisor, ledger)
    submit(ledger, retry=RetryPolicy(1, initial=4.0, jitter=None))
    supervisor.clock.advance(1)
    fail(ledger, must_take(ledger))

    supervisor.clock.advance(3.999)
    assert take(ledger) is None
    supervisor.clock.advance(0.001)

    assert len(must_take(ledger).entry.attempts) == 1


def test_a_dead_workers_job_is_settled(
    supervisor: FakeSupervisor, ledger: Ledger
) -> None:
    cell = start(supervisor, ledger)
    future = submit(ledger)
    must_take(ledger)

    cell.ref.tell_control(WorkerDown("w", 1, "segmentation fault"))
    supervisor.clock.settle()

    error = future.exception(timeout=0)
    assert isinstance(error, WorkerDied)
    assert "segmentation fault" in str(error)


def test_late_news_of_a_dead_worker_is_ignored(
    supervisor: FakeSupervisor, ledger: Ledger
) -> None:
    """R12, R19: news names the incarnation; stale news is dropped."""
    cell = start(supervisor, ledger)
    future = submit(ledger)
    ledger.worker_began("w", 2)
    must_take(ledger)

    cell.ref.tell_control(WorkerDown("w", 1, "it hung"))
    supervisor.clock.settle()

    assert not future.done()


def test_a_restarted_dispatcher_looks_what_is_due(
    supervisor: FakeSupervisor, ledger: Ledger
) -> None:
    cell = start(supervisor, ledger)
    submit(ledger, 1, delay=2.0)
    submit(ledger, 2, delay=8.0)
    supervisor.clock.settle()
    cell.ref.tell("boom")
    assert supervisor.ended(cell).kind == "failed"
    supervisor.clock.advance(5)
    assert take(ledger) is None  # nobody is there to release it

    cell.start()
    supervisor.clock.settle()

    assert must_take(ledger).entry.job.id == 1
    supervisor.clock.advance(3)
    assert must_take(ledger).entry.job.id == 2


def test_the_dead_ones_timer_does_not_disturb(
    supervisor: FakeSupervisor, ledger: Ledger
) -> None:
    cell = start(supervisor, ledger)
    submit(ledger, delay=2.0)
    supervisor.clock.settle()
    cell.ref.tell("boom")
    supervisor.restart(cell)

    supervisor.clock.advance(2)

    assert must_take(ledger).entry.job.id == 1
    assert supervisor.clock.next_deadline() is None


def test_the_order_to_stop_ends_it(supervisor: FakeSupervisor, ledger: Ledger) -> None:
    cell = start(supervisor, ledger)
    submit(ledger, delay=2.0)

    exit_ = supervisor.stop(cell)

    assert exit_ == Exit("shutdown")


def test_a_control_message_it_does_not_know_is_logged(
    supervisor: FakeSupervisor, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    cell = start(supervisor, ledger)

    cell.ref.tell_control("what?")
    supervisor.clock.settle()

    assert "Unexpected control message" in caplog.text
    assert cell.number == 1
