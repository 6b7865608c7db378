"""Who may wait for the end of jobs.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

import pytest

from actors._group import Group
from actors._inside import Role, enter_role, inside
from actors.clock import raw_lock
from actors.errors import WouldDeadlock
from actors.jobs import JobKind
from actors.testing import Gate, VirtualClock
from actors.waits import Waits
from tests.actors.ledger_kit import FakeWake, make_entry

if TYPE_CHECKING:
    from collections.abc import Callable

OWNER = object()
IO_JOB, CPU_JOB = make_entry(1), make_entry(2, kind="cpu")


@pytest.fixture
def waits() -> Waits:
    workers = {JobKind.IO: 3, JobKind.CPU: 1}
    return Waits(raw_lock(), OWNER, workers, "shop")


def in_job(kind: JobKind, fn: Callable[[], Any]) -> Any:
    """Call ``fn`` as a job on a worker of a kind would."""

    def call() -> Any:
        enter_role(OWNER, Role.JOB, kind)
        return fn()

    return contextvars.copy_context().run(call)


def nested_waits(waits: Waits, depth: int) -> None:
    """So many io jobs wait at once."""
    if depth:
        with waits.waiting_for(IO_JOB):
            nested_waits(waits, depth - 1)


# -- for a group


def test_a_wait_for_an_idle_group_is_over(waits: Waits) -> None:
    group = Group("all")

    assert not waits.add(group, FakeWake())

    assert group.waiters == []


def test_a_waiter_is_kept_until_taken_back(waits: Waits) -> None:
    group, wake = Group("all"), FakeWake()
    group.accept()

    assert waits.add(group, wake)
    assert group.waiters == [wake]

    waits.remove(group, wake)
    waits.remove(group, wake)  # it may have been woken and dropped meanwhile
    assert group.waiters == []


# -- for a job


def test_a_host_may_wait_for_any_job(waits: Waits) -> None:
    with waits.waiting_for(IO_JOB), waits.waiting_for(CPU_JOB):
        assert not any(waits._waiting.values())


def test_a_producer_may_wait_for_any_job(waits: Waits) -> None:
    with inside(OWNER, Role.PRODUCER), waits.waiting_for(IO_JOB):
        assert not any(waits._waiting.values())


@pytest.mark.parametrize("role", [Role.SINK, Role.CALLBACK, Role.LISTENER])
def test_what_the_pipeline_waits_for_must_not_wait(waits: Waits, role: Role) -> None:
    with (
        inside(OWNER, role),
        pytest.raises(WouldDeadlock, match=f"{role.value} of shop must not wait"),
        waits.waiting_for(IO_JOB),
    ):
        pass  # pragma: no cover


def test_another_pipelines_sink_is_a_host_here(waits: Waits) -> None:
    with inside(object(), Role.SINK), waits.waiting_for(IO_JOB):
        pass


def test_a_job_may_wait_for_the_other_kind(waits: Waits) -> None:
    def wait() -> None:
        with waits.waiting_for(CPU_JOB):
            assert not any(waits._waiting.values())

    in_job(JobKind.IO, wait)


def test_jobs_may_wait_while_a_worker_is_left(waits: Waits) -> None:
    in_job(JobKind.IO, lambda: nested_waits(waits, 2))


def test_the_last_free_worker_must_not_wait(waits: Waits) -> None:
    with pytest.raises(WouldDeadlock, match="all 3 io workers of shop would wait"):
        in_job(JobKind.IO, lambda: nested_waits(waits, 3))


def test_a_lone_worker_must_not_wait_at_all(waits: Waits) -> None:
    def wait() -> None:
        with waits.waiting_for(CPU_JOB):
            pass  # pragma: no cover

    with pytest.raises(WouldDeadlock, match="all 1 cpu workers"):
        in_job(JobKind.CPU, wait)


def test_a_wait_that_is_over_leaves_its_worker(waits: Waits) -> None:
    for _ in range(5):
        in_job(JobKind.IO, lambda: nested_waits(waits, 2))

    assert waits._waiting[JobKind.IO] == 0


def test_a_wait_left_by_an_error_is_over(waits: Waits) -> None:
    def wait() -> None:
        with waits.waiting_for(IO_JOB):
            raise TimeoutError

    with pytest.raises(TimeoutError):
        in_job(JobKind.IO, wait)

    assert waits._waiting[JobKind.IO] == 0


def test_a_refused_wait_is_not_counted(waits: Waits) -> None:
    def wait() -> None:
        with waits.waiting_for(IO_JOB), waits.waiting_for(IO_JOB):
            with pytest.raises(WouldDeadlock), waits.waiting_for(IO_JOB):
                pass  # pragma: no cover
            assert waits._waiting[JobKind.IO] == 2

    in_job(JobKind.IO, wait)


@pytest.mark.concurrent
def test_of_many_jobs_all_but_one_worker_may_wait(clock: VirtualClock) -> None:
    outcomes: list[str] = []
    waits = Waits(clock.lock(), OWNER, {JobKind.IO: 4, JobKind.CPU: 1}, "shop")
    gate = Gate()

    def job() -> None:
        enter_role(OWNER, Role.JOB, JobKind.IO)
        try:
            with waits.waiting_for(IO_JOB):
                gate.pass_through()
                outcomes.append("waited")
        except WouldDeadlock:
            outcomes.append("refused")

    threads = [clock.thread(job) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert gate.wait_arrived(count=3)
    clock.settle()
    assert outcomes == ["refused"] * 5
    gate.open()
    for thread in threads:
        clock.join(thread)

    assert outcomes[5:] == ["waited"] * 3
