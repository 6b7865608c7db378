"""Other executors in the place of our processes, behind bytes."""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from actors.cpu_pool import (
    ExecutorEngine,
    ForeignExecutor,
    Outcome,
    dumps_call,
    usable_cores,
)
from actors.errors import (
    Cancelled,
    ConfigurationError,
    JobNotPicklable,
    JobTimeout,
    RemoteError,
    WorkerDied,
)
from actors.stop_token import StopToken
from actors.testing import VirtualClock
from tests.actors import cpu_jobs as jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 30.0


class ByHand(concurrent.futures.Executor):
    """Runs a call when the test says so."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []
        self.submitted = threading.Event()
        self.refuses: Exception | None = None
        self.ended: list[dict[str, Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if self.refuses is not None:
            raise self.refuses
        future: Any = concurrent.futures.Future()
        self.calls.append(lambda: future.set_result(fn(*args, **kwargs)))
        self.future = future
        self.submitted.set()
        return future

    def shutdown(self, wait: bool = True, **options: Any) -> None:
        self.ended.append({"wait": wait, **options})


@pytest.fixture
def threads() -> Iterator[ExecutorEngine]:
    with (
        concurrent.futures.ThreadPoolExecutor(1) as executor,
        ExecutorEngine(executor) as engine,
    ):
        yield engine


def call(engine: ExecutorEngine, fn: Any, *args: Any, **options: Any) -> Outcome:
    return engine.run(dumps_call(fn, args, {}), **options)


def driven(engine: ExecutorEngine, **options: Any) -> Callable[[], Outcome]:
    """Run a call on a thread; returns a wait for its outcome."""
    outcomes: list[Outcome] = []
    thread = threading.Thread(
        target=lambda: outcomes.append(call(engine, jobs.add, 1, 2, **options)),
        daemon=True,
    )
    thread.start()

    def outcome() -> Outcome:
        thread.join(LIMIT)
        return outcomes[0]

    return outcome


def test_calls_run_in_a_thread_pool(threads: ExecutorEngine) -> None:
    outcome = call(threads, jobs.add, 1, 2)

    assert outcome.ok
    assert outcome.value == 3
    assert outcome.ran >= 0


@pytest.mark.parametrize(
    ("fn", "kind"),
    [
        (jobs.raise_key_error, KeyError),
        (jobs.raise_two_arguments, jobs.TwoArguments),
        (jobs.raise_unpicklable, RemoteError),
        (jobs.make_lock, JobNotPicklable),
        (functools.partial(jobs.call_exit, 3), SystemExit),
    ],
)
def test_failures_come_back_as_from_our_processes(
    threads: ExecutorEngine, fn: Any, kind: type[BaseException]
) -> None:
    error = call(threads, fn).error

    assert isinstance(error, kind)
    assert call(threads, jobs.add, 1, 2).value == 3


def test_current_job_is_known_inside_a_call(threads: ExecutorEngine) -> None:
    meta = {"id": 7, "key": "k", "name": "n"}

    assert call(threads, jobs.what_runs, meta=meta).value == (7, "k", "n")
    assert jobs.what_runs() is None


def test_timeout_leaves_the_call_behind() -> None:
    executor = ByHand()
    with VirtualClock(), ExecutorEngine(executor) as engine:
        # The executor's work is held, so virtual time cannot pass: none is given.
        outcome = call(engine, jobs.add, 1, 2, timeout=0)

    assert isinstance(outcome.error, JobTimeout)
    assert "cannot kill it, so it was left behind" in str(outcome.error)
    assert executor.future.cancelled()


@pytest.mark.real
def test_timeout_passes_in_real_time() -> None:
    with ExecutorEngine(ByHand()) as engine:
        outcome = call(engine, jobs.add, 1, 2, timeout=0.05)

    assert isinstance(outcome.error, JobTimeout)


def test_cancelled_token_leaves_the_call_behind() -> None:
    executor, token = ByHand(), StopToken()
    with ExecutorEngine(executor) as engine:
        outcome = driven(engine, token=token)
        executor.submitted.wait(LIMIT)

        token.cancel("the window closed")

        error = outcome().error
    assert isinstance(error, Cancelled)
    assert str(error) == "the window closed"


def test_call_with_a_cancelled_token_never_starts() -> None:
    executor, token = ByHand(), StopToken()
    token.cancel("too late")
    with ExecutorEngine(executor) as engine:
        outcome = call(engine, jobs.add, 1, 2, token=token)

    assert str(outcome.error) == "too late"
    assert not executor.calls


def test_kill_takes_back_only_what_has_not_begun() -> None:
    executor = ByHand()
    with ExecutorEngine(executor) as engine:
        assert not engine.kill()
        outcome = driven(engine)
        executor.submitted.wait(LIMIT)
        assert not engine.kill(call=b"another")
        executor.future.set_running_or_notify_cancel()
        assert not engine.kill()

        executor.calls[0]()

        assert outcome().value == 3


def test_close_ends_the_wait() -> None:
    executor = ByHand()
    engine = ExecutorEngine(executor)
    outcome = driven(engine)
    executor.submitted.wait(LIMIT)

    engine.close()
    engine.close()

    assert isinstance(outcome().error, Cancelled)
    assert isinstance(call(engine, jobs.add, 1, 2).error, Cancelled)
    assert executor.ended == [], "it is its owner's to shut down"


def test_factory_is_called_once_for_all_engines() -> None:
    made: list[ByHand] = []

    def make() -> ByHand:
        made.append(ByHand())
        return made[-1]

    shared = ForeignExecutor(make)
    engines = [ExecutorEngine(shared) for _ in range(3)]
    assert shared.current() is shared.current() is made[0]

    for engine in engines:
        assert made[0].ended == []
        engine.close()

    assert made[0].ended == [{"wait": True}]
    assert len(made) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        concurrent.futures.BrokenExecutor("broken"),
        RuntimeError("cannot schedule new futures after shutdown"),
    ],
)
def test_executor_that_refuses_is_made_anew(refusal: Exception) -> None:
    broken, fresh = ByHand(), concurrent.futures.ThreadPoolExecutor(1)
    broken.refuses = refusal
    executors: list[concurrent.futures.Executor] = [broken, fresh]

    with ExecutorEngine(lambda: executors.pop(0)) as engine:
        assert call(engine, jobs.add, 1, 2).value == 3

    assert broken.ended == [{"wait": False}]


def test_executor_that_refuses_and_cannot_be_replaced_says_so() -> None:
    executor = ByHand()
    executor.refuses = concurrent.futures.BrokenExecutor("no more")
    with ExecutorEngine(executor) as engine:
        error = call(engine, jobs.add, 1, 2).error

    assert isinstance(error, WorkerDied)
    assert str(error) == "the executor takes no job (BrokenExecutor: no more)"


def test_factory_that_fails_is_an_outcome() -> None:
    def make() -> concurrent.futures.Executor:
        raise OSError("no scheduler")

    with ExecutorEngine(make) as engine:
        error = call(engine, jobs.add, 1, 2).error

    assert isinstance(error, WorkerDied)
    assert "OSError: no scheduler" in str(error)


def test_size_is_what_the_executor_says() -> None:
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        assert ForeignExecutor(executor).max_workers == 3
    assert ForeignExecutor(ByHand()).max_workers == usable_cores()


def test_what_is_no_executor_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cpu_workers must be a number"):
        ExecutorEngine("dask")  # type: ignore[arg-type]  # the mistake


@pytest.mark.real
@pytest.mark.slow
def test_broken_process_pool_is_made_anew() -> None:
    made: list[concurrent.futures.Executor] = []

    def make() -> concurrent.futures.Executor:
        context = multiprocessing.get_context("spawn")
        made.append(concurrent.futures.ProcessPoolExecutor(1, mp_context=context))
        return made[-1]

    with ExecutorEngine(make) as engine:
        assert call(engine, os.getpid).value != os.getpid()
        assert isinstance(
            call(engine, jobs.raise_two_arguments).error, jobs.TwoArguments
        )
        assert len(made) == 1

        error = call(engine, jobs.leave, 3).error

        assert isinstance(error, WorkerDied)
        assert "the executor broke while it ran the job" in str(error)
        assert call(engine, jobs.add, 1, 2).value == 3
        assert len(made) == 2
