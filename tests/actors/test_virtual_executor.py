"""Calls that take virtual time, on a stand-in for a pool."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any

import pytest

from actors.clock import SYSTEM_CLOCK
from actors.testing import ClockError, VirtualClock, VirtualExecutor
from supervision import Pipeline
from tests.actors import cpu_jobs as jobs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=[None, 0, 1], ids=["free", "seed=0", "seed=1"])
def clock(request: pytest.FixtureRequest) -> Iterator[VirtualClock]:
    with VirtualClock(seed=request.param, auto_advance=True) as clock:
        yield clock


def test_call_takes_its_duration(clock: VirtualClock) -> None:
    executor = VirtualExecutor(duration=5.0)

    assert executor.submit(pow, 2, 10).result() == 1024
    assert clock.monotonic() == 5.0


def test_keyword_arguments_arrive(clock: VirtualClock) -> None:
    assert VirtualExecutor().submit(int, "ff", base=16).result() == 255


def test_function_runs_at_the_end_of_its_duration(clock: VirtualClock) -> None:
    assert VirtualExecutor(duration=3.0).submit(clock.monotonic).result() == 3.0


def test_function_may_wait_on_the_clock(clock: VirtualClock) -> None:
    VirtualExecutor(duration=1.0).submit(clock.sleep, 2.0).result()

    assert clock.monotonic() == 3.0


def test_calls_run_at_once_up_to_the_limit(clock: VirtualClock) -> None:
    executor = VirtualExecutor(duration=1.0, max_workers=2)
    futures = [executor.submit(clock.monotonic) for _ in range(5)]

    assert [future.result() for future in futures] == [1, 1, 2, 2, 3]


def test_without_a_limit_all_run_at_once(clock: VirtualClock) -> None:
    executor = VirtualExecutor(duration=1.0)
    futures = [executor.submit(clock.monotonic) for _ in range(50)]

    assert {future.result() for future in futures} == {1.0}


def test_duration_may_hang_on_the_call(clock: VirtualClock) -> None:
    executor = VirtualExecutor(duration=lambda fn, args, kwargs: args[0] / 2)
    futures = [executor.submit(float, seconds) for seconds in (4, 2)]
    futures[0].result()

    assert futures[1].done()
    assert clock.monotonic() == 2.0


def test_duration_that_raises_fails_the_call(clock: VirtualClock) -> None:
    executor = VirtualExecutor(duration=lambda fn, args, kwargs: args[0])

    with pytest.raises(IndexError):
        executor.submit(dict).result()
    with pytest.raises(ValueError, match="at least 0, got -1"):
        executor.submit(abs, -1).result()


def test_exception_goes_to_its_future(clock: VirtualClock) -> None:
    with pytest.raises(ZeroDivisionError):
        VirtualExecutor().submit(divmod, 1, 0).result()


def test_call_that_waits_can_be_cancelled(clock: VirtualClock) -> None:
    executor = VirtualExecutor(duration=1.0, max_workers=1)
    first, second, third = (executor.submit(clock.monotonic) for _ in range(3))
    clock.settle()

    assert not first.cancel()
    assert second.cancel()
    assert third.result() == 2.0
    assert second.cancelled()


def test_waiting_for_all_works(clock: VirtualClock) -> None:
    executor = VirtualExecutor(duration=lambda fn, args, kwargs: args[0])
    futures = [executor.submit(float, seconds) for seconds in (1, 2, 9)]
    for future in futures:
        future.add_done_callback(lambda future: done.append(future.result()))
    done: list[float] = []

    assert futures[2].result(timeout=20) == 9
    assert done == [1, 2, 9]


def test_map_keeps_the_order(clock: VirtualClock) -> None:
    executor = VirtualExecutor(duration=lambda fn, args, kwargs: 10 - args[0])

    assert list(executor.map(pow, [1, 2, 3], [2, 2])) == [1, 4]
    assert clock.monotonic() == 9.0


def test_map_has_its_timeout_in_virtual_time(clock: VirtualClock) -> None:
    executor = VirtualExecutor(duration=2.0, max_workers=1)
    results = executor.map(abs, [1, 2, 3], timeout=5.0)

    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(TimeoutError):
        next(results)
    assert clock.monotonic() == 5.0
    executor.shutdown()


def test_map_that_is_dropped_cancels_the_rest(clock: VirtualClock) -> None:
    ran: list[int] = []
    executor = VirtualExecutor(duration=1.0, max_workers=1)
    results: Any = executor.map(ran.append, range(5))
    next(results)
    results.close()
    executor.shutdown()

    assert ran == [0, 1]


def test_shutdown_waits_for_what_was_submitted(clock: VirtualClock) -> None:
    with VirtualExecutor(duration=1.0, max_workers=1) as executor:
        futures = [executor.submit(abs, n) for n in range(3)]

    assert clock.monotonic() == 3.0
    assert all(future.done() for future in futures)


def test_shutdown_can_cancel_what_waits(clock: VirtualClock) -> None:
    executor = VirtualExecutor(duration=1.0, max_workers=1)
    futures = [executor.submit(abs, n) for n in range(3)]
    clock.settle()
    executor.shutdown(cancel_futures=True)

    assert [future.cancelled() for future in futures] == [False, True, True]
    assert clock.monotonic() == 1.0


def test_shutdown_need_not_wait(clock: VirtualClock) -> None:
    executor = VirtualExecutor(duration=1.0)
    future = executor.submit(abs, -1)
    executor.shutdown(wait=False)

    assert not future.done()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, -1)
    assert future.result() == 1


def test_cancelled_by_shutdown_wakes_who_waits(clock: VirtualClock) -> None:
    told: list[str] = []

    def wait(future: concurrent.futures.Future[Any]) -> None:
        try:
            future.result()
        except concurrent.futures.CancelledError:
            told.append("cancelled")

    executor = VirtualExecutor(duration=1.0, max_workers=1)
    futures = [executor.submit(abs, n) for n in range(2)]
    clock.settle()
    waiter = clock.thread(wait, args=(futures[1],))
    waiter.start()
    clock.settle()
    executor.shutdown(wait=False, cancel_futures=True)
    waiter.join()

    assert told == ["cancelled"]
    executor.shutdown()


def test_executor_that_is_left_alone_leaves_no_thread() -> None:
    with VirtualClock(auto_advance=True):  # raises Leaked if one is left
        VirtualExecutor(duration=1.0, max_workers=2).submit(abs, 1).result()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ClockError, match="make the executor inside"):
        VirtualExecutor()
    with pytest.raises(ValueError, match="max_workers must be at least 1 or None"):
        VirtualExecutor(SYSTEM_CLOCK, max_workers=0)
    with pytest.raises(ValueError, match="duration must be seconds of at least 0"):
        VirtualExecutor(SYSTEM_CLOCK, duration=-1.0)


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_pipeline_runs_its_cpu_jobs_in_virtual_time(seed: int | None) -> None:
    def duration(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
        assert fn is jobs.add  # the job's own, not what carries it
        return float(args[0])

    with VirtualClock(seed=seed, auto_advance=True) as clock:
        executor = VirtualExecutor(duration=duration, max_workers=2)
        with Pipeline(1, cpu_workers=executor) as pipeline:
            cpu = pipeline.scope(kind="cpu")
            futures = [cpu.submit(jobs.add, seconds, 1) for seconds in (3, 4, 5)]
            assert [future.result() for future in futures] == [4, 5, 6]
            assert clock.monotonic() == 8.0  # 3, then 5 on the one; 4 on the other


def test_pipeline_times_out_a_call_in_virtual_time() -> None:
    with VirtualClock(seed=0, auto_advance=True) as clock:
        executor = VirtualExecutor(duration=100.0, max_workers=1)
        with Pipeline(1, cpu_workers=executor) as pipeline:
            future = pipeline.scope(kind="cpu", timeout=5.0).submit(jobs.add, 1, 2)
            with pytest.raises(TimeoutError):
                future.result()
            assert clock.monotonic() == 5.0
        executor.shutdown()  # the call was left behind
