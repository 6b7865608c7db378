"""The pool: a ``concurrent.futures.Executor`` that a death does not break."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import queue
import random
import signal
import threading
import weakref
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from actors.cpu_pool import CpuPool, usable_cores
from actors.errors import (
    ConfigurationError,
    JobNotPicklable,
    MailboxClosed,
    WorkerDied,
)
from actors.testing import VirtualClock
from tests.actors import cpu_jobs as jobs
from tests.actors.beacon import LIMIT, Beacon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.real


@pytest.fixture
def pool() -> Iterator[CpuPool]:
    with CpuPool(2, name="pool") as pool:
        yield pool


@pytest.fixture
def beacon(tmp_path: Path) -> Iterator[Beacon]:
    beacon = Beacon(tmp_path / "beacon")
    yield beacon
    beacon.close()


def test_pool_is_an_executor(pool: CpuPool) -> None:
    assert isinstance(pool, concurrent.futures.Executor)
    assert pool.submit(jobs.add, 1, b=2).result(LIMIT) == 3
    assert list(pool.map(jobs.add, range(9), range(9), timeout=LIMIT)) == [
        2 * n for n in range(9)
    ]
    done, _ = concurrent.futures.wait(
        [pool.submit(jobs.pid) for _ in range(4)], timeout=LIMIT
    )
    assert 1 <= len({future.result() for future in done}) <= 2


def test_processes_run_side_by_side(pool: CpuPool, beacon: Beacon) -> None:
    futures = [pool.submit(jobs.say_and_wait, beacon.path) for _ in range(2)]

    first, second = beacon.wait(), beacon.wait()

    assert first != second
    assert all(future.cancel() for future in futures)


def test_idle_process_is_used_before_another_starts(pool: CpuPool) -> None:
    pids = {pool.submit(jobs.pid).result(LIMIT) for _ in range(5)}

    assert len(pids) <= 2
    assert pool.submit(jobs.pid).result(LIMIT) in pids | {0}


@pytest.mark.parametrize("workers", [0, -1])
def test_max_workers_is_checked_in_the_words_of_the_standard_library(
    workers: int,
) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0") as ours:
        CpuPool(workers)
    with pytest.raises(ValueError, match="max_workers") as theirs:
        concurrent.futures.ThreadPoolExecutor(workers)

    assert str(ours.value) == str(theirs.value)
    assert isinstance(ours.value, ConfigurationError)


def test_initializer_is_checked_in_the_words_of_the_standard_library() -> None:
    with pytest.raises(TypeError, match="initializer must be a callable"):
        CpuPool(1, initializer=3)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(JobNotPicklable):
        CpuPool(1, initializer=print, initargs=(threading.Lock(),))


def test_default_is_one_process_for_each_usable_core() -> None:
    with CpuPool() as pool:
        assert pool._max_workers == usable_cores() >= 1


def test_death_costs_one_future(pool: CpuPool) -> None:
    futures = [pool.submit(jobs.work, 10) for _ in range(4)]
    victim = pool.submit(jobs.die, signal.SIGKILL)
    futures += [pool.submit(jobs.work, 10) for _ in range(4)]

    error = victim.exception(LIMIT)

    assert isinstance(error, WorkerDied)
    assert "worker process pool-" in str(error)
    assert all(future.result(LIMIT) for future in futures)


def test_bad_argument_arrives_in_the_future(pool: CpuPool) -> None:
    future = pool.submit(jobs.add, threading.Lock(), 1)

    assert isinstance(future.exception(LIMIT), JobNotPicklable)
    assert pool.submit(jobs.add, 1, 2).result(LIMIT) == 3


def test_cancel_of_a_waiting_call_keeps_it_from_running() -> None:
    with CpuPool(1) as pool:
        pool.submit(jobs.pid).result(LIMIT)
        running = pool.submit(jobs.work, 10)
        waiting = pool.submit(jobs.remember, "cancelled")

        assert waiting.cancel()
        running.result(LIMIT)
        assert pool.submit(jobs.remembered).result(LIMIT) == []


def test_cancel_of_a_running_call_kills_its_process(beacon: Beacon) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with CpuPool(1) as pool:
        future = pool.submit(jobs.say_and_wait, beacon.path)
        future.add_done_callback(told.put)
        pid = beacon.wait()

        assert future.running()
        assert future.cancel()

        assert future.cancelled()
        assert future.done()
        assert told.get(timeout=LIMIT) is future
        assert next(concurrent.futures.as_completed([future], LIMIT)) is future
        assert pool.submit(jobs.pid).result(LIMIT) != pid


def test_cancel_of_a_running_call_wakes_those_who_wait_for_it(
    pool: CpuPool, beacon: Beacon
) -> None:
    future = pool.submit(jobs.say_and_wait, beacon.path)
    beacon.wait()
    woken: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def wait() -> None:
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(LIMIT)
        woken.put(concurrent.futures.wait([future], LIMIT).done)

    thread = threading.Thread(target=wait)
    thread.start()
    future.cancel()

    assert woken.get(timeout=LIMIT) == {future}
    thread.join(LIMIT)


def test_cancel_of_an_ended_call_is_false(pool: CpuPool) -> None:
    future = pool.submit(jobs.add, 1, 2)
    future.result(LIMIT)

    assert not future.cancel()
    assert future.result() == 3


def test_shutdown_lets_accepted_calls_end() -> None:
    others = set(psutil.Process().children())
    pool = CpuPool(1)
    futures = [pool.submit(jobs.add, n, n) for n in range(10)]

    pool.shutdown()

    assert [future.result(0) for future in futures] == [2 * n for n in range(10)]
    assert set(psutil.Process().children()) <= others
    with pytest.raises(
        RuntimeError, match="cannot schedule new futures after shutdown"
    ):
        pool.submit(jobs.add, 1, 2)
    with pytest.raises(MailboxClosed):
        pool.lend()
    pool.shutdown()


def test_shutdown_can_cancel_what_waits(beacon: Beacon) -> None:
    pool = CpuPool(1)
    running = pool.submit(jobs.say_and_wait, beacon.path)
    beacon.wait()
    waiting = [pool.submit(jobs.add, n, n) for n in range(10)]

    pool.shutdown(wait=False, cancel_futures=True)

    assert all(future.cancelled() for future in waiting)
    assert not running.done()
    running.cancel()
    pool.shutdown()


def test_shutdown_without_waiting_returns_at_once(beacon: Beacon) -> None:
    pool = CpuPool(1)
    running = pool.submit(jobs.say_and_wait, beacon.path)
    beacon.wait()

    pool.shutdown(wait=False)

    assert not running.done()
    running.cancel()
    pool.shutdown()


def test_pool_that_nobody_refers_to_ends_its_threads() -> None:
    pool = CpuPool(1)
    future = pool.submit(jobs.work, 10)
    gone = weakref.ref(pool)
    threads = pool._core.threads

    del pool
    gc.collect()

    assert gone() is None
    assert len(future.result(LIMIT)) == 10
    threads[0].join(LIMIT)
    assert not threads[0].is_alive()


def test_initializer_runs_once_in_each_process() -> None:
    with CpuPool(2, initializer=jobs.remember, initargs=("model",)) as pool:
        for future in [pool.submit(jobs.remembered) for _ in range(8)]:
            assert future.result(LIMIT) == ["model"]


def test_callback_may_submit(pool: CpuPool) -> None:
    ends: queue.SimpleQueue[int] = queue.SimpleQueue()

    def again(future: concurrent.futures.Future[int]) -> None:
        pool.submit(jobs.add, future.result(), 1).add_done_callback(
            lambda last: ends.put(last.result())
        )

    pool.submit(jobs.add, 1, 1).add_done_callback(again)

    assert ends.get(timeout=LIMIT) == 3


def test_pool_lends_as_many_processes_as_it_has() -> None:
    with CpuPool(2, initializer=jobs.remember, initargs=("lent",)) as pool:
        first, second = pool.lend(), pool.lend(name="cpu-worker-1")
        assert second.name == "cpu-worker-1"
        assert first._initializer == second._initializer is not None
        with pytest.raises(ConfigurationError, match="all 2 processes of cpu-pool"):
            pool.lend()

        first.close()

        pool.lend().close()
        second.close()


def test_pool_runs_under_a_virtual_clock() -> None:
    with VirtualClock() as clock, CpuPool(2) as pool:
        futures = [pool.submit(jobs.add, n, 1) for n in range(6)]

        assert [future.result() for future in futures] == [1, 2, 3, 4, 5, 6]
        assert clock.monotonic() == 0


@pytest.mark.concurrent
def test_every_future_ends_though_some_are_cancelled_at_any_moment(
    pool: CpuPool,
) -> None:
    futures = [pool.submit(jobs.add, n, 1) for n in range(60)]

    cancelled = {n for n in range(0, 60, 20) if futures[n].cancel()}

    concurrent.futures.wait(futures, LIMIT)
    assert {n for n in range(60) if futures[n].cancelled()} == cancelled
    assert all(futures[n].result(0) == n + 1 for n in range(60) if n not in cancelled)


@pytest.mark.slow
def test_fifty_random_kills_cost_at_most_one_future_each(pool: CpuPool) -> None:
    kills, total = 50, 400
    others = set(psutil.Process().children())
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    futures = [pool.submit(jobs.work, 50_000) for _ in range(total)]
    for future in futures:
        future.add_done_callback(ended.put)
    dice = random.Random(7)

    for _ in range(kills):
        for _ in range(dice.randrange(1, 6)):
            ended.get(timeout=LIMIT)
        children = [
            child for child in psutil.Process().children() if child not in others
        ]
        if children:
            with contextlib.suppress(psutil.NoSuchProcess):  # ended by itself meanwhile
                dice.choice(children).kill()

    concurrent.futures.wait(futures, LIMIT)
    errors = [error for future in futures if (error := future.exception(0))]
    assert all(isinstance(error, WorkerDied) for error in errors)
    assert kills / 2 < len(errors) <= kills
    assert all(len(f.result(0)) == 50_000 for f in futures if not f.exception(0))
