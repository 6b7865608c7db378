"""One worker process: whatever becomes of it costs the call in hand and no more."""

from __future__ import annotations

import logging
import os
import signal
import threading
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from actors.clock import SystemClock
from actors.cpu_pool import CpuProcess, Outcome, dumps_call
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
from tests.actors.beacon import LIMIT, Beacon, readable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from actors.clock import Clock, TimerHandle

pytestmark = pytest.mark.real


@pytest.fixture
def process() -> Iterator[CpuProcess]:
    with CpuProcess(name="cpu-0") as process:
        yield process


@pytest.fixture
def beacon(tmp_path: Path) -> Iterator[Beacon]:
    beacon = Beacon(tmp_path / "beacon")
    yield beacon
    beacon.close()


class Driver:
    """A thread that runs one call, for tests that act meanwhile."""

    def __init__(self, run: Callable[[], Outcome]) -> None:
        self._outcomes: list[Outcome] = []
        self._thread = threading.Thread(
            target=lambda: self._outcomes.append(run()), daemon=True
        )
        self._thread.start()

    def runs(self) -> bool:
        return self._thread.is_alive()

    def outcome(self) -> Outcome:
        self._thread.join(LIMIT)
        assert self._outcomes, "the call did not end"
        return self._outcomes[0]


def call(process: CpuProcess, fn: Any, *args: Any, **options: Any) -> Outcome:
    return process.run(dumps_call(fn, args, {}), **options)


def assert_still_works(process: CpuProcess) -> None:
    assert call(process, jobs.add, 1, 2).value == 3


def test_process_starts_with_the_first_call(process: CpuProcess) -> None:
    assert process.pid is None

    outcome = call(process, jobs.pid)

    assert outcome.ok
    assert outcome.value == outcome.pid == process.pid
    assert outcome.ran > 0


@pytest.mark.parametrize(
    ("fn", "argument", "code", "words"),
    [
        (jobs.leave, (3,), 3, "exited with code 3 while it ran the job"),
        (jobs.leave, (0,), 0, "exited with code 0 while it ran the job"),
        (jobs.die, (signal.SIGKILL,), -9, "killed by SIGKILL (signal 9)"),
        (jobs.die, (signal.SIGTERM,), -15, "killed by SIGTERM (signal 15)"),
        (jobs.die, (40,), -40, "killed by signal 40"),
        (jobs.crash_in_native_code, (), -11, "SIGSEGV (signal 11)"),
    ],
)
def test_death_costs_its_call_and_says_how(
    process: CpuProcess, fn: Any, argument: tuple[Any, ...], code: int, words: str
) -> None:
    outcome = call(process, fn, *argument)

    assert isinstance(outcome.error, WorkerDied)
    assert outcome.error.exit_code == code
    assert words in str(outcome.error)
    assert f"worker process cpu-0 (pid {outcome.pid})" in str(outcome.error)
    assert_still_works(process)


def test_death_is_seen_though_a_forked_copy_lives(process: CpuProcess) -> None:
    outcome = call(process, jobs.fork_and_die)

    assert isinstance(outcome.error, WorkerDied)
    assert outcome.ran < 3
    assert_still_works(process)


def test_first_call_that_kills_its_process_is_no_crash_loop() -> None:
    clock = VirtualClock(auto_advance=True)
    with clock, CpuProcess() as process:
        for _ in range(5):
            assert isinstance(call(process, jobs.leave, 1).error, WorkerDied)

        assert clock.monotonic() < 0.1, "it backed off"


def test_death_of_an_idle_process_costs_nothing(process: CpuProcess) -> None:
    first = call(process, jobs.pid).value
    os.kill(first, signal.SIGKILL)
    wait_until_dead(first)

    outcome = call(process, jobs.pid)

    assert outcome.ok
    assert outcome.value != first


def wait_until_dead(pid: int) -> None:
    """Wait for the end of a process that may stay a zombie."""
    fd = os.pidfd_open(pid)
    assert readable(fd)
    os.close(fd)


class HandTimers(SystemClock):
    """Real time, but its timers fire when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[tuple[float, Callable[[], object]]] = []

    def call_later(
        self, delay: float, fn: Callable[..., object], *args: Any
    ) -> TimerHandle:
        self.timers.append((delay, partial(fn, *args)))
        return super().call_later(3600, fn, *args)

    def fire(self) -> None:
        for _, fn in self.timers:
            fn()


@pytest.mark.parametrize("fn", [jobs.say_and_wait, jobs.say_and_hold_the_gil])
def test_timeout_kills_and_replaces(beacon: Beacon, fn: Any) -> None:
    clock = HandTimers()
    with CpuProcess(clock=clock) as process:
        driver = Driver(lambda: call(process, fn, beacon.path, timeout=2.5))
        pid = beacon.wait()

        clock.fire()

        error = driver.outcome().error
        assert isinstance(error, JobTimeout)
        assert str(error) == (
            "the job ran longer than its timeout of 2.5 s; its process was killed"
        )
        assert [delay for delay, _ in clock.timers] == [2.5]
        assert not psutil.pid_exists(pid)
        assert_still_works(process)


def test_real_timeout_passes() -> None:
    with CpuProcess() as process:
        assert isinstance(call(process, signal.pause, timeout=0.05).error, JobTimeout)


def test_timeout_runs_from_when_the_process_is_ready() -> None:
    with CpuProcess(initializer=jobs.work, initargs=(0,)) as process:
        outcome = call(process, jobs.add, 1, 2, timeout=2.0)

    assert outcome.value == 3


def test_virtual_time_stands_still_while_a_call_runs() -> None:
    with VirtualClock() as clock, CpuProcess() as process:
        ended: list[float] = []

        def run() -> None:
            outcome = call(process, jobs.work, 10, timeout=1)
            assert outcome.ran == 0
            ended.append(clock.monotonic())

        thread = clock.thread(run)
        thread.start()
        clock.advance(3600)
        clock.join(thread)

    assert ended == [0]


def test_cancelled_token_kills_the_process(process: CpuProcess, beacon: Beacon) -> None:
    token = StopToken()
    driver = Driver(lambda: call(process, jobs.say_and_wait, beacon.path, token=token))
    beacon.wait()

    token.cancel("the window closed")

    outcome = driver.outcome()
    assert isinstance(outcome.error, Cancelled)
    assert str(outcome.error) == "the window closed"
    assert_still_works(process)


def test_draining_token_lets_the_call_end(process: CpuProcess) -> None:
    token = StopToken()
    token.drain("no more")

    assert call(process, jobs.add, 1, 2, token=token).value == 3


def test_call_with_a_cancelled_token_never_starts(process: CpuProcess) -> None:
    token = StopToken()
    token.cancel("too late")

    outcome = call(process, jobs.add, 1, 2, token=token)

    assert isinstance(outcome.error, Cancelled)
    assert process.pid is None


def test_token_of_an_ended_call_kills_no_later_one(process: CpuProcess) -> None:
    token = StopToken()
    call(process, jobs.add, 1, 2, token=token)

    token.cancel()

    assert_still_works(process)


def test_kill_ends_the_call_in_hand(process: CpuProcess, beacon: Beacon) -> None:
    wanted = dumps_call(jobs.say_and_wait, (beacon.path,), {})
    driver = Driver(lambda: process.run(wanted))
    beacon.wait()

    assert not process.kill(call=b"another")
    assert process.kill("enough", call=wanted)

    assert str(driver.outcome().error) == "enough"
    assert not process.kill()
    assert_still_works(process)


@pytest.mark.concurrent
def test_kill_and_completion_agree_on_who_was_first(process: CpuProcess) -> None:
    blob = dumps_call(jobs.add, (1, 2), {})
    for _ in range(3):
        process.run(blob)
        driver = Driver(lambda: process.run(blob))
        killed = False
        while driver.runs() and not killed:
            killed = process.kill(call=blob)

        outcome = driver.outcome()

        assert isinstance(outcome.error, Cancelled) if killed else outcome.value == 3


def test_second_thread_in_run_is_refused(process: CpuProcess, beacon: Beacon) -> None:
    driver = Driver(lambda: call(process, jobs.say_and_wait, beacon.path))
    beacon.wait()

    with pytest.raises(RuntimeError, match="one thread drives a process"):
        call(process, jobs.add, 1, 2)

    process.kill()
    driver.outcome()


def test_close_ends_the_call_and_the_process(beacon: Beacon) -> None:
    process = CpuProcess()
    driver = Driver(lambda: call(process, jobs.say_and_wait, beacon.path))
    pid = beacon.wait()

    process.close()

    assert not psutil.pid_exists(pid)
    assert isinstance(driver.outcome().error, Cancelled)
    assert isinstance(call(process, jobs.add, 1, 2).error, Cancelled)
    process.close()


def test_closed_processes_leave_no_descriptor_and_no_zombie() -> None:
    before = len(os.listdir("/proc/self/fd"))
    others = set(psutil.Process().children())

    for fn in (jobs.pid, jobs.pid, jobs.crash_in_native_code):
        with CpuProcess() as process:
            call(process, fn)

    assert len(os.listdir("/proc/self/fd")) == before
    assert set(psutil.Process().children()) <= others


def test_exception_comes_back_with_its_remote_traceback(process: CpuProcess) -> None:
    error = call(process, jobs.raise_key_error).error

    assert isinstance(error, KeyError)
    assert error.args == ("the key",)
    assert 'in raise_key_error\n    raise KeyError("the key")' in str(error.__cause__)
    assert "_cpu_child" not in str(error.__cause__)


def test_exception_that_does_not_unpickle_keeps_its_class(process: CpuProcess) -> None:
    error = call(process, jobs.raise_two_arguments).error

    assert isinstance(error, jobs.TwoArguments)
    assert str(error) == "/index gave 404"
    assert (error.page, error.code) == ("/index", 404)
    assert_still_works(process)


def test_exception_that_does_not_pickle_is_told_in_words(process: CpuProcess) -> None:
    error = call(process, jobs.raise_unpicklable).error

    assert isinstance(error, RemoteError)
    assert "cpu_jobs.Unpicklable: holds a lock" in str(error)
    assert "in raise_unpicklable" in str(error.__cause__)
    assert_still_works(process)


def test_system_exit_is_the_calls_own_error(process: CpuProcess) -> None:
    outcome = call(process, jobs.call_exit, 3)

    assert isinstance(outcome.error, SystemExit)
    assert process.pid == outcome.pid
    assert_still_works(process)


def test_result_that_does_not_pickle_is_a_clear_error(process: CpuProcess) -> None:
    outcome = call(process, jobs.make_lock)

    assert isinstance(outcome.error, JobNotPicklable)
    assert "the result of job tests.actors.cpu_jobs.make_lock, of type lock" in str(
        outcome.error
    )
    assert process.pid == outcome.pid
    assert_still_works(process)


def test_result_that_does_not_unpickle_is_a_clear_error(process: CpuProcess) -> None:
    outcome = call(process, jobs.make_treacherous, os.getpid())

    assert isinstance(outcome.error, RemoteError)
    assert "could not be unpickled here: ValueError: not at home" in str(outcome.error)
    assert_still_works(process)


def test_function_that_cannot_be_imported_there_is_a_clear_error(
    process: CpuProcess,
) -> None:
    blob = dumps_call(jobs.add, (1, 2), {}).replace(b"cpu_jobs", b"cpu_jabs")

    error = process.run(blob).error

    assert isinstance(error, JobNotPicklable)
    assert "the worker process could not load the job: ModuleNotFoundError" in str(
        error
    )
    assert_still_works(process)


@pytest.mark.slow
def test_fifty_megabytes_travel_both_ways(process: CpuProcess) -> None:
    size = 50_000_000

    assert call(process, jobs.size_of, b"x" * size).value == size
    assert len(call(process, jobs.make_bytes, size).value) == size


def test_death_in_the_middle_of_a_big_argument_is_seen(
    process: CpuProcess, beacon: Beacon
) -> None:
    call(process, jobs.pid)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)  # it reads nothing
    driver = Driver(lambda: call(process, jobs.size_of, b"x" * 5_000_000))

    os.kill(process.pid, signal.SIGKILL)

    assert driver.outcome().value == 5_000_000  # it had not begun: sent to a new one


def test_initializer_runs_once_in_each_process() -> None:
    with CpuProcess(initializer=jobs.remember, initargs=("model",)) as process:
        assert call(process, jobs.remembered).value == ["model"]
        assert call(process, jobs.remembered).value == ["model"]

        call(process, jobs.leave, 1)

        assert call(process, jobs.remembered).value == ["model"]


def test_failing_initializer_is_a_clear_error_and_backs_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    clock = VirtualClock(auto_advance=True)
    moments = []
    with clock, CpuProcess(initializer=jobs.fail_to_start, name="cpu-1") as process:
        for _ in range(12):
            error = call(process, jobs.add, 1, 2).error
            moments.append(clock.monotonic())
            assert isinstance(error, WorkerDied)
            assert "the initializer of cpu-1 failed (OSError: no model at" in str(error)
            assert isinstance(error.__cause__, OSError)

    waits = [b - a for a, b in pairwise(moments)]
    assert moments[0] == 0
    for place, wait in enumerate(waits):
        assert 0.8 * min(30, 0.1 * 2**place) <= wait <= min(30, 0.1 * 2**place)
    assert "1 processes in a row" in caplog.text


def test_initializer_that_ends_the_process_is_a_clear_error() -> None:
    with CpuProcess(initializer=jobs.leave, initargs=(7,)) as process:
        error = call(process, jobs.add, 1, 2).error

    assert isinstance(error, WorkerDied)
    assert "exited with code 7 before it could take its first job" in str(error)


def test_cancel_ends_a_backoff_at_once() -> None:
    with VirtualClock() as clock:
        process = CpuProcess(initializer=jobs.fail_to_start)
        token = StopToken(clock=clock)
        call(process, jobs.add, 1, 2)
        outcomes: list[Outcome] = []
        thread = clock.thread(
            lambda: outcomes.append(call(process, jobs.add, 1, 2, token=token))
        )
        thread.start()
        clock.settle()
        token.cancel("stop now")
        clock.join(thread)
        process.close()
        assert clock.monotonic() == 0

    assert isinstance(outcomes[0].error, Cancelled)


def test_cancel_ends_a_hanging_initializer(beacon: Beacon) -> None:
    token = StopToken()
    with CpuProcess(initializer=jobs.say_and_wait, initargs=(beacon.path,)) as process:
        driver = Driver(lambda: call(process, jobs.add, 1, 2, token=token))
        beacon.wait()

        token.cancel()

        assert isinstance(driver.outcome().error, Cancelled)


def test_failed_start_is_an_outcome(
    process: CpuProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", "/nowhere/python")
        error = call(process, jobs.add, 1, 2).error

    assert isinstance(error, WorkerDied)
    assert "no worker process could be started" in str(error)
    assert_still_works(process)


def test_where_no_process_is_possible_the_error_says_so(
    process: CpuProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("actors._cpu_link.POSIX", False)
        error = call(process, jobs.add, 1, 2).error

    assert isinstance(error, ConfigurationError)
    assert "worker processes need Linux or macOS" in str(error)


@pytest.mark.parametrize("method", ["fork", "spawn", ""])
def test_other_start_methods_are_refused(method: str) -> None:
    with pytest.raises(ConfigurationError, match="start_method must be 'exec'"):
        CpuProcess(start_method=method)


def test_initializer_must_be_callable() -> None:
    with pytest.raises(TypeError, match="initializer must be a callable"):
        CpuProcess(initializer="model")  # type: ignore[arg-type]  # the mistake


def test_path_of_the_parent_is_followed(
    process: CpuProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(process, jobs.pid)
    monkeypatch.syspath_prepend(tmp_path)

    assert str(tmp_path) in call(process, jobs.path_of_this_process).value


def test_current_job_is_known_inside_a_call(process: CpuProcess) -> None:
    meta = {"id": 7, "key": "k", "name": "n"}

    assert call(process, jobs.what_runs, meta=meta).value == (7, "k", "n")
    assert call(process, jobs.what_runs).value is None


def test_process_ignores_interrupts_and_blocks_no_signal(process: CpuProcess) -> None:
    assert call(process, jobs.signals).value == (True, set())


def test_process_has_one_thread_and_loads_no_package(process: CpuProcess) -> None:
    loaded = call(process, eval, "set(__import__('sys').modules)").value

    assert not loaded & {"actors", "pykka", "psutil", "threading", "multiprocessing"}
    assert call(process, jobs.threads).value == 1


def test_call_may_start_processes_of_its_own(process: CpuProcess) -> None:
    assert call(process, jobs.start_process_of_its_own).value == 42


def test_ctrl_c_on_the_driving_thread_ends_the_call(beacon: Beacon) -> None:
    class Interrupting(SystemClock):
        def hold(self, reason: str) -> Any:  # type: ignore[override]  # raises instead
            if "runs" in reason:
                raise KeyboardInterrupt
            return super().hold(reason)

    clock: Clock = Interrupting()
    with CpuProcess(clock=clock) as process:
        with pytest.raises(KeyboardInterrupt):
            call(process, jobs.add, 1, 2)

        assert process.pid is None
