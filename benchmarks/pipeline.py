"""Jobs per second of a pipeline and of what one would use instead.

No-op jobs, so that only the hand-over is measured.  The contenders take turns in every
round: what the machine does meanwhile hits all of them, and ratios can be read where
absolute figures cannot.

    python -m benchmarks.pipeline [--jobs 20000] [--rounds 7] [--workers 4]

:Runs on: the main thread of a script, and the threads of the contenders.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

from supervision import Pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

try:
    pypeln: Any = importlib.import_module("pypeln")
except ImportError:
    pypeln = None

# Jobs, workers, capacity -> seconds.
Contender: TypeAlias = Callable[[int, int, int], float]
REFERENCE = "ThreadPoolExecutor + semaphore"


def job(number: int) -> int:
    """Do nothing."""
    return number


def executor_behind_semaphore(jobs: int, workers: int, capacity: int) -> float:
    """A bound is what the standard library leaves to its user."""
    room = threading.Semaphore(capacity + workers)

    def settled(_: Future[Any]) -> None:
        room.release()

    with ThreadPoolExecutor(workers) as executor:
        began = time.perf_counter()
        for number in range(jobs):
            room.acquire()
            executor.submit(job, number).add_done_callback(settled)
        for _ in range(capacity + workers):
            room.acquire()
        return time.perf_counter() - began


def pypeln_thread(jobs: int, workers: int, capacity: int) -> float:
    """Stages of threads behind bounded queues, without futures or supervision."""
    began = time.perf_counter()
    stage = pypeln.thread.map(job, range(jobs), workers=workers, maxsize=capacity)
    for _ in stage:
        pass
    return time.perf_counter() - began


def pipeline_submit(jobs: int, workers: int, capacity: int) -> float:
    """One future a job, as an executor gives it."""
    with Pipeline(workers, capacity=capacity) as pipeline:
        began = time.perf_counter()
        for number in range(jobs):
            pipeline.submit(job, number)
        pipeline.wait()
        return time.perf_counter() - began


def pipeline_run(jobs: int, workers: int, capacity: int) -> float:
    """For the effects alone: no future a job."""
    with Pipeline(workers, capacity=capacity) as pipeline:
        began = time.perf_counter()
        pipeline.run(job, range(jobs))
        return time.perf_counter() - began


def all_contenders() -> dict[str, Contender]:
    """Who takes part; says so when pypeln cannot."""
    found: dict[str, Contender] = {
        REFERENCE: executor_behind_semaphore,
        "Pipeline.submit": pipeline_submit,
        "Pipeline.run": pipeline_run,
    }
    if pypeln is None:
        print("pypeln is left out: it is not installed (pip install pypeln)")
    else:
        found["pypeln.thread"] = pypeln_thread
    return found


def measure(
    contenders: dict[str, Contender], options: argparse.Namespace, capacity: int
) -> None:
    """Let all contenders take turns and print the medians."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(options.rounds):
        order = list(contenders.items())
        if number % 2:
            order.reverse()
        for name, contender in order:
            seconds = contender(options.jobs, options.workers, capacity)
            rates[name].append(options.jobs / seconds)
    print(
        f"\ncapacity {capacity}, {options.workers} workers, "
        f"{options.jobs} no-op jobs, median of {options.rounds} interleaved rounds"
    )
    for name, values in rates.items():
        ratios = [a / b for a, b in zip(values, rates[REFERENCE], strict=True)]
        print(
            f"  {name:32} {statistics.median(values):10,.0f} jobs/s"
            f"   x {statistics.median(ratios):.2f}"
            f"  ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table for each capacity."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--capacity", type=int, nargs="+", default=[10, 1000])
    options = parser.parse_args(argv)
    contenders = all_contenders()
    for capacity in options.capacity:
        measure(contenders, options, capacity)
    return 0


if __name__ == "__main__":
    sys.exit(main())
