"""Is a seed one run?  Fifteen actors played again and again, their traces compared.

The scenario is that of the tests (``tests/supervision/scenario.py``).  Each table says
how many different traces there were: 1 for a seed played under any circumstances, as
many as possible for as many seeds.

    python -m benchmarks.traces --runs 500 --seeds 5 [--load 2] [--hogs 3]
                                [--switch-interval 1e-6]
    python -m benchmarks.traces --hash-seeds 15 --seeds 3 [--python OTHER ...]
    python -m benchmarks.traces --behaviours 500

:Runs on: the main thread; the scenario on threads of its clock.
:Owns: the processes and threads that only burn time, and ends them.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from actors.testing import RandomChoice, VirtualClock
from tests.supervision.scenario import Outcome, run_order, run_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_LOAD = 3600  # seconds after which a process that burns time ends by itself
BURN = f"import time\nend = time.time() + {LONGEST_LOAD}\nwhile time.time() < end: pass"


@contextlib.contextmanager
def load(processes: int, hogs: int, switch_interval: float | None) -> Iterator[None]:
    """Disturb: other processes, other threads of this one, hasty switches."""
    burning = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(processes)]
    over = threading.Event()

    def hog() -> None:
        while not over.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=hog, daemon=True) for _ in range(hogs)]
    before = sys.getswitchinterval()
    if switch_interval is not None:
        sys.setswitchinterval(switch_interval)
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        sys.setswitchinterval(before)
        for process in burning:
            process.kill()
            process.wait()
        for thread in threads:
            thread.join()


def difference(one: Outcome, other: Outcome) -> str:
    """Where two runs that should be alike part."""
    for what in ("trace", "schedule"):
        pairs = itertools.zip_longest(getattr(one, what), getattr(other, what))
        for place, (a, b) in enumerate(pairs):
            if a != b:
                return f"{what}[{place}]: {a} != {b}"
    return "they are alike"


def repeat(seeds: range, runs: int) -> bool:
    """Play each seed many times; True if each has one trace."""
    print(
        "seed  clock                                  runs  traces  events  turns  ms"
    )
    alike = True
    for seed in seeds:
        first, digests, begun = run_seed(seed), set(), time.perf_counter()
        for _ in range(runs):
            outcome = run_seed(seed)
            if outcome.digest != first.digest and len(digests) < 2:
                print(f"      {difference(first, outcome)}")
            digests.add(outcome.digest)
        took = 1000 * (time.perf_counter() - begun) / runs
        clock = VirtualClock.for_seed(seed)
        print(
            f"{seed:4}  {f'{clock.strategy!r}, {clock.preempt}':37}  {runs:4}"
            f"  {len(digests):6}  {len(first.trace):6}  {len(first.schedule):5}"
            f"  {took:.0f}",
            flush=True,
        )
        alike = alike and digests == {first.digest}
    return alike


def behaviours(count: int) -> bool:
    """Play each of many seeds once; True if one in five was new to some actor."""
    print("seeds               seeds  traces  per-actor traces  last moments")
    enough = True
    kinds = {
        "orders and jitter": run_seed,
        "orders alone": run_order,
        "random, block": lambda n: run_order(
            n, strategy=RandomChoice(n), preempt="block"
        ),
    }
    for name, play in kinds.items():
        outcomes = [play(seed) for seed in range(count)]
        different = len({outcome.behaviour for outcome in outcomes})
        print(
            f"{name:18}  {count:5}  {len({x.digest for x in outcomes}):6}"
            f"  {different:16}  {len({x.trace[-1].time_ns for x in outcomes}):12}",
            flush=True,
        )
        enough = enough and different * 5 >= count
    return enough


def digests_in(python: str, seeds: range, hash_seed: int) -> tuple[str, ...]:
    """The digests that another process comes to."""
    words = ["-m", "benchmarks.traces", "--digests", "--seeds", str(len(seeds))]
    env = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(
        [python, *words], env=env, capture_output=True, text=True, check=True
    )
    return tuple(done.stdout.split())


def across(pythons: list[str], seeds: range, hash_seeds: int) -> bool:
    """Play in processes of other hash seeds and other Pythons; True if all agree."""
    print("seeds  processes  hash seeds  digests           python")
    seen: set[tuple[str, ...]] = set()
    for python in pythons:
        here = {digests_in(python, seeds, n) for n in range(1, hash_seeds + 1)}
        first = "" if not here else min(here)[0]
        print(
            f"{len(seeds):5}  {hash_seeds:9}  1..{hash_seeds:<7}"
            f"  {len(here)} ({first[:12]})  {python}",
            flush=True,
        )
        seen |= here
    print(f"{len(seen)} different among all processes")
    return len(seen) == 1


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--runs", type=int, default=20)
    options.add_argument("--seeds", type=int, default=2)
    options.add_argument("--load", type=int, default=0, help="processes that burn time")
    options.add_argument("--hogs", type=int, default=0, help="threads that do")
    options.add_argument("--switch-interval", type=float)
    options.add_argument("--hash-seeds", type=int, default=0)
    options.add_argument("--python", nargs="*", default=[], help="others to compare")
    options.add_argument("--behaviours", type=int, default=0, help="different seeds")
    options.add_argument("--digests", action="store_true", help="print them, no table")
    given = options.parse_args()
    seeds = range(given.seeds)
    if given.digests:
        print("\n".join(run_seed(seed).digest for seed in seeds))
        return
    with load(given.load, given.hogs, given.switch_interval):
        if given.behaviours:
            good = behaviours(given.behaviours)
        elif given.hash_seeds:
            good = across([sys.executable, *given.python], seeds, given.hash_seeds)
        else:
            good = repeat(seeds, given.runs)
    sys.exit(not good)


if __name__ == "__main__":
    main()
