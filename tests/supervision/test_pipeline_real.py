"""What only real processes, forks, signals and interpreter exits can show."""

from __future__ import annotations

import concurrent.futures
import gc
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import textwrap
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from actors import (
    CpuPool,
    Job,
    JobTimeout,
    RemoteError,
    Worker,
    WorkerDied,
    current_job,
    job,
    sleep,
)
from actors.errors import JobNotPicklable
from actors.testing import Gate
from supervision import Pipeline

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real
LIMIT = 60  # seconds that nothing here takes


def square(x: int) -> int:
    return x * x


def pid_of(_: object = None) -> int:
    return os.getpid()


@job(kind="cpu")
def decorated(x: int) -> tuple[int, int]:
    return x, os.getpid()


def wait_for_ever(path: str) -> None:
    with open(path + ".here", "w") as here:
        here.write(str(os.getpid()))
    with open(path) as gate:
        gate.read()


def odd_error(x: int) -> None:
    raise TwoArguments(x, "b")


class TwoArguments(Exception):
    def __init__(self, a: object, b: object) -> None:
        super().__init__(a)


def who_am_i() -> Any:
    me = current_job()
    assert me is not None
    return me.id, me.name, me.kind.value, me.key


def give_a_lock() -> Any:
    import _thread

    return _thread.allocate_lock()


class Here:
    """A fifo pair: a job says it is there, and waits."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self.path = str(folder / name)
        os.mkfifo(self.path)
        os.mkfifo(self.path + ".here")
        self._fd = os.open(self.path + ".here", os.O_RDWR | os.O_NONBLOCK)

    def pid(self) -> int:
        """Wait, for so long at most, until a job says which process it is in."""
        readable, _, _ = select.select([self._fd], [], [], LIMIT)
        assert readable, "no job came"
        return int(os.read(self._fd, 100))

    def __del__(self) -> None:
        os.close(self._fd)


def run_script(code: str, *args: str, expect: int | None = 0) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *args],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if expect is not None:
        assert done.returncode == expect, done.stderr
    return done.stdout, done.stderr


# -- cpu jobs


def test_cpu_jobs_run_in_other_processes() -> None:
    with Pipeline(2, cpu_workers=2) as pipeline:
        pids = set(pipeline.scope(kind="cpu").map(pid_of, range(20)))
        number, its_pid = pipeline.submit(decorated, 3).result(LIMIT)

    assert number == 3
    assert os.getpid() not in pids | {its_pid}
    assert 1 <= len(pids) <= 2


def test_a_cpu_job_is_killed_when_cancelled(tmp_path: Path) -> None:
    here = Here(tmp_path)
    with Pipeline(1, cpu_workers=1) as pipeline:
        cpu = pipeline.scope(kind="cpu")
        future = cpu.submit(wait_for_ever, here.path)
        killed = here.pid()

        assert future.cancel() is True
        assert future.cancelled()
        assert cpu.submit(pid_of).result(LIMIT) != killed

    assert pipeline.report().cancelled == 1
    assert pipeline.snapshot().late == 0


def test_a_cpu_job_is_killed_at_its_timeout(tmp_path: Path) -> None:
    here = Here(tmp_path)
    with Pipeline(1, cpu_workers=1) as pipeline:
        future = pipeline.scope(kind="cpu", timeout=1).submit(wait_for_ever, here.path)

        with pytest.raises(JobTimeout):
            future.result(LIMIT)
        assert pipeline.scope(kind="cpu").submit(square, 3).result(LIMIT) == 9


def test_a_killed_process_is_retried_when_asked(tmp_path: Path) -> None:
    here = Here(tmp_path)
    with Pipeline(1, cpu_workers=1, retry=1) as pipeline:
        future = pipeline.scope(kind="cpu").submit(wait_for_ever, here.path)
        os.kill(here.pid(), signal.SIGKILL)
        second = here.pid()
        with open(here.path, "w") as gate:
            gate.write("go")

        assert future.result(LIMIT) is None
        first, last = future.job_result().attempts
        assert isinstance(first.error, WorkerDied)
        assert first.error.exit_code == -signal.SIGKILL
        assert last.process_id == second


def test_what_cannot_travel_is_said_clearly_and_costs_its_job_alone() -> None:
    with Pipeline(1, cpu_workers=1) as pipeline:
        cpu = pipeline.scope(kind="cpu")
        result = cpu.submit(give_a_lock).exception(LIMIT)
        argument = cpu.submit(square, give_a_lock()).exception(LIMIT)
        odd = cpu.submit(odd_error, 1).exception(LIMIT)

        assert cpu.submit(square, 5).result(LIMIT) == 25

    assert isinstance(result, JobNotPicklable)
    assert isinstance(argument, JobNotPicklable)
    assert isinstance(odd, (TwoArguments, RemoteError))
    assert "odd_error" in "".join(traceback.format_exception(odd))


def test_a_cpu_job_knows_its_job() -> None:
    with Pipeline(1, cpu_workers=1) as pipeline:
        future = pipeline.submit_job(Job(who_am_i, kind="cpu", key="k", name="asks"))

        assert future.result(LIMIT) == (1, "asks", "cpu", "k")


class Thumbnails(Worker):
    def handle(self, job: Job) -> Any:
        if job.payload == "fail":
            return self.run_cpu(odd_error, 1)
        return self.run_cpu(decorated, job.payload)


def test_handle_may_call_into_a_process() -> None:
    with Pipeline(4, cpu_workers=1, worker_class=Thumbnails) as pipeline:
        futures = [pipeline.submit_job(Job(n)) for n in range(10)]
        values = [f.result(LIMIT) for f in futures]
        with pytest.raises((TwoArguments, RemoteError)):
            pipeline.submit_job(Job("fail")).result(LIMIT)

    assert [v[0] for v in values] == list(range(10))
    assert len({v[1] for v in values}) == 1
    assert pipeline.report().accepted == 11


class Patient(Worker):
    def handle(self, job: Job) -> Any:
        return self.run_cpu(wait_for_ever, job.payload)


def test_cancelling_a_job_kills_the_call_that_is_part_of_it(tmp_path: Path) -> None:
    here = Here(tmp_path)
    with Pipeline(1, cpu_workers=1, worker_class=Patient) as pipeline:
        future = pipeline.submit_job(Job(here.path))
        here.pid()

        assert future.cancel() is False
        assert concurrent.futures.wait([future], LIMIT).done
        assert future.cancelled()


def test_a_cpu_pool_lends_its_processes() -> None:
    with CpuPool(2) as pool:
        with Pipeline(1, cpu_workers=pool) as pipeline:
            assert pipeline.scope(kind="cpu").submit(square, 4).result(LIMIT) == 16
        assert pool.submit(square, 5).result(LIMIT) == 25


def test_any_executor_takes_the_processes_place() -> None:
    with (
        concurrent.futures.ThreadPoolExecutor(3) as executor,
        Pipeline(1, cpu_workers=executor) as pipeline,
    ):
        assert list(pipeline.scope(kind="cpu").map(square, range(9))) == [
            n * n for n in range(9)
        ]
        assert pipeline.snapshot().workers[Job(square, kind="cpu").kind] == 3


def make_executor() -> concurrent.futures.Executor:
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(1, mp_context=context)


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_broken_executor_is_made_again_by_its_factory() -> None:
    with Pipeline(1, cpu_workers=make_executor) as pipeline:
        cpu = pipeline.scope(kind="cpu")

        assert isinstance(cpu.submit(kill_myself).exception(LIMIT), WorkerDied)
        assert cpu.submit(square, 6).result(LIMIT) == 36


warmed: list[int] = []


def warm_up(n: int) -> None:
    warmed.append(n)


def warmth() -> list[int]:
    return warmed


def test_the_initializer_runs_in_each_thread_and_process() -> None:
    warmed.clear()
    with Pipeline(3, cpu_workers=1, initializer=warm_up, initargs=(7,)) as pipeline:
        assert pipeline.submit(len, warmed).result(LIMIT) == 3
        assert pipeline.scope(kind="cpu").submit(warmth).result(LIMIT) == [7]


# -- scripts, forks, exits


def test_a_forked_child_is_told_that_it_has_no_pipeline() -> None:
    out, _ = run_script(
        """
        import os
        from supervision import Pipeline
        with Pipeline(1, cpu_workers=1) as pipeline:
            pipeline.submit(len, "abc").result()
            r, w = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    pipeline.submit(len, "abc")
                except Exception as error:
                    os.write(w, f"{type(error).__name__}: {error}".encode())
                os._exit(0)
            os.waitpid(child, 0)
            print(os.read(r, 1000).decode(), os.getpid(), child)
        """
    )

    text, parent, child = out.rsplit(" ", 2)
    assert text.startswith("UsedAfterFork")
    assert parent in text
    assert child.strip() in text


def test_an_interpreters_exit_drains_what_was_accepted() -> None:
    out, err = run_script(
        """
        import os
        from supervision import Pipeline
        from actors import sleep
        pipeline = Pipeline(2, cpu_workers=1)
        for n in range(10):
            pipeline.submit(lambda n=n: (sleep(0.01), os.write(1, b'%d\\n' % n)))
        """
    )

    assert sorted(map(int, out.split())) == list(range(10))
    assert err == ""


def test_a_pipeline_that_nobody_holds_ends_its_threads() -> None:
    run_script(
        """
        import gc, threading
        from supervision import Pipeline
        before = set(threading.enumerate())
        pipeline = Pipeline(4, cpu_workers=1)
        pipeline.submit(len, "abc").result()
        run = pipeline.current_run()
        del pipeline
        gc.collect()
        assert run.stopped.result(30).succeeded == 1
        for thread in set(threading.enumerate()) - before:
            if not thread.name.startswith("headrace-"):
                thread.join(30)
                assert not thread.is_alive(), thread
        """
    )


def test_cpu_functions_of_a_guarded_script_work(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        textwrap.dedent(
            """
            from supervision import Pipeline
            def cube(n): return n ** 3
            if __name__ == "__main__":
                with Pipeline(1, cpu_workers=2) as pipeline:
                    print(list(pipeline.scope(kind="cpu").map(cube, range(4))))
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )

    assert done.stdout == "[0, 1, 8, 27]\n", done.stderr


def test_a_script_without_a_guard_gets_a_clear_error(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        textwrap.dedent(
            """
            from supervision import Pipeline
            def cube(n): return n ** 3
            with Pipeline(1, cpu_workers=2) as pipeline:
                future = pipeline.scope(kind="cpu").submit(cube, 2)
                print(type(future.exception(30)).__name__, future.exception())
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )

    assert "__main__" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_sigterm_drains_a_pipeline() -> None:
    out, _ = run_script(
        """
        import os, signal
        from actors import sleep
        from supervision import Pipeline, handle_signals
        with Pipeline(2, cpu_workers=1) as pipeline, handle_signals(pipeline):
            for n in range(6):
                pipeline.submit(sleep, 0.05)
            os.kill(os.getpid(), signal.SIGTERM)
            pipeline.stopped.result(30)
        print(pipeline.report())
        """
    )

    assert out == "accepted 6 = 6 succeeded + 0 dead + 0 cancelled + 0 returned\n"


def test_a_second_signal_hands_everything_back() -> None:
    out, _ = run_script(
        """
        import os, signal, threading
        from supervision import Pipeline, handle_signals
        never = threading.Event()
        with Pipeline(1, cpu_workers=1) as pipeline, handle_signals(pipeline):
            pipeline.submit(never.wait)
            pipeline.submit(never.wait)
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            pipeline.stopped.result(30)
        print(pipeline.report())
        """
    )

    assert out == "accepted 2 = 0 succeeded + 0 dead + 0 cancelled + 2 returned\n"


def test_shutdown_without_wait_does_not_hang_the_exit() -> None:
    run_script(
        """
        from actors import sleep
        from supervision import Pipeline
        pipeline = Pipeline(1, cpu_workers=1)
        pipeline.submit(sleep, 0.1)
        pipeline.shutdown(wait=False)
        """
    )


def test_stop_leaves_no_thread_or_process_behind() -> None:
    gate = Gate()
    pipeline = Pipeline(2, cpu_workers=2)
    with pipeline:
        pipeline.scope(kind="cpu").submit(square, 2).result(LIMIT)
        pipeline.submit(gate.open)
        pipeline.submit(sleep, 0)
        gate.wait_arrived(0)

    gc.collect()
    assert pipeline.report().succeeded == 3  # the fixtures look for what is left


def test_a_storm_of_interrupts_leaves_a_pipeline_well() -> None:
    out, _ = run_script(
        """
        import signal
        from supervision import Pipeline

        def interrupt(number, frame):
            raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, interrupt)
        hits = 0
        with Pipeline(2, cpu_workers=1, capacity=3) as pipeline:
            for _ in range(3000):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.0005)
                    while True:
                        pipeline.submit(len, "abc")
                except KeyboardInterrupt:
                    hits += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                assert pipeline.scope(wait=10).submit(len, "abcd").result(10) == 4
            report = pipeline.drain(30)
        assert report.accepted == report.succeeded, report
        print(hits)
        """
    )

    assert int(out) == 3000
