"""Worker processes against the standard library's, in one interleaved run.

Prints the round trip of a no-op and the throughput of 5 ms jobs, each with the median
ratio of rounds that alternate between the two, so that a noisy machine hurts both.

    python -m benchmarks.cpu_pool [ROUNDS]

:Runs on: the main thread, which submits; the pools' own threads and processes.
:Owns: nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from actors.cpu_pool import CpuPool, CpuProcess, dumps_call

if TYPE_CHECKING:
    from collections.abc import Callable

PROCESSES = 2


def nothing() -> None:
    """The no-op."""


def busy(turns: int) -> int:
    """About 5 ms of work."""
    total = 0
    for n in range(turns):
        total += n * n
    return total


def turns_of_five_milliseconds() -> int:
    busy(10_000)
    began = time.perf_counter()
    busy(200_000)
    return int(200_000 * 0.005 / (time.perf_counter() - began))


def round_trips(submit: Callable[[], object], count: int = 1000) -> float:
    """Microseconds from a call to its result, one at a time."""
    began = time.perf_counter()
    for _ in range(count):
        submit()
    return (time.perf_counter() - began) / count * 1e6


def throughput(pool: Executor, turns: int, count: int = 200) -> float:
    """Jobs a second, all submitted at once."""
    began = time.perf_counter()
    for future in [pool.submit(busy, turns) for _ in range(count)]:
        future.result()
    return count / (time.perf_counter() - began)


def burst(pool: Executor, count: int = 3000) -> float:
    """No-ops a second, all submitted at once."""
    began = time.perf_counter()
    for future in [pool.submit(nothing) for _ in range(count)]:
        future.result()
    return count / (time.perf_counter() - began)


def respawn(process: CpuProcess) -> float:
    """Milliseconds of the first call after a death, to a function that is built in."""
    process.run(dumps_call(os._exit, (1,), {}))
    began = time.perf_counter()
    process.run(dumps_call(abs, (1,), {}))
    return (time.perf_counter() - began) * 1e3


def compare(
    what: str,
    rounds: int,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    unit: str,
) -> None:
    """Alternate, and print both medians and the median of the rounds' ratios."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{what:42} {mine:9.1f} {other:9.1f} {unit:4} ratio {ratio:5.2f}")


def main(rounds: int) -> None:
    turns = turns_of_five_milliseconds()
    context = multiprocessing.get_context("spawn")
    call = dumps_call(nothing, (), {})
    with (
        CpuProcess() as process,
        CpuPool(PROCESSES) as pool,
        ProcessPoolExecutor(PROCESSES, mp_context=context) as standard,
    ):
        for executor in (pool, standard):  # start them
            list(executor.map(busy, [turns] * 8))
        process.run(call)
        print(f"{'':42} {'headrace':>9} {'stdlib':>9}")
        theirs = partial(round_trips, lambda: standard.submit(nothing).result())
        ours = partial(round_trips, lambda: process.run(call))
        compare("round trip, process driven directly", rounds, ours, theirs, "us")
        ours = partial(round_trips, lambda: pool.submit(nothing).result())
        compare("round trip, pool", rounds, ours, theirs, "us")
        compare(
            "no-ops, all at once", rounds, lambda: burst(pool),
            lambda: burst(standard), "/s",
        )  # fmt: skip
        compare(
            "5 ms jobs, two processes", rounds, lambda: throughput(pool, turns),
            lambda: throughput(standard, turns), "/s",
        )  # fmt: skip
        deaths = [respawn(process) for _ in range(rounds)]
        print(f"first call after a death {statistics.median(deaths):27.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
