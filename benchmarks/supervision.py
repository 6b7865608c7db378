"""What supervision costs: restarts, healing, starts and stops of many, memory.

Pykka has no supervisor, so its part is what a host would write by hand at the least:
start an actor again from the ``on_failure`` of the one before, or start and stop many.

    python -m benchmarks.supervision [--rounds 5] [--children 100 1000 5000] [--check]

``--check`` fails below the targets: 3,000 restarts a second of one child, and 200
crashes healed within 0.2 s.

:Runs on: the main thread; every child on its own thread.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
import gc
import logging
import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil
import pykka

from actors import Actor
from supervision import ChildSpec, Supervisor, SupervisorRef

if TYPE_CHECKING:
    from collections.abc import Callable

RESTARTS_TARGET = 3_000
HEALED_TARGET = 0.2


class Crashing(Actor):
    """Crashes as soon as it runs, so many times."""

    def __init__(self, times: int, done: threading.Event) -> None:
        super().__init__()
        self._times = times
        self._done = done

    def on_start(self) -> None:
        if self.incarnation <= self._times:
            self.actor_ref.tell("boom")
        else:
            self._done.set()

    def on_receive(self, message: Any) -> Any:
        raise ValueError(message)


class StockCrashing(pykka.ThreadingActor):
    """The same by hand: each one's on_failure starts the next."""

    use_daemon_thread = True

    def __init__(self, left: int, done: threading.Event) -> None:
        super().__init__()
        self._left = left
        self._done = done

    def on_start(self) -> None:
        if self._left:
            self.actor_ref.tell("boom")
        else:
            self._done.set()
            self.stop()

    def on_failure(self, *_exc_info: Any) -> None:
        type(self).start(self._left - 1, self._done)

    def on_receive(self, message: Any) -> Any:
        raise ValueError(message)


class Kid(Actor):
    """Crashes when told to."""

    def on_receive(self, message: Any) -> Any:
        if message == "boom":
            raise ValueError(message)
        return message


class StockKid(pykka.ThreadingActor):
    """Pykka's own."""


def restarts_a_second(times: int) -> float:
    """One child that crashes again and again."""
    done = threading.Event()
    begun = time.perf_counter()
    spec = ChildSpec(Crashing, (times, done))
    with Supervisor.start("one_for_one", [spec], intensity=times + 1):
        done.wait()
        return times / (time.perf_counter() - begun)


def stock_restarts_a_second(times: int) -> float:
    """The same with Pykka, by hand."""
    done = threading.Event()
    begun = time.perf_counter()
    StockCrashing.start(times, done)
    done.wait()
    return times / (time.perf_counter() - begun)


def seconds_to_heal(children: int) -> float:
    """All children crash at once; until each has been restarted and answers."""
    specs = [ChildSpec(Kid, id=f"kid-{n}") for n in range(children)]
    with Supervisor.start(
        "one_for_one", specs, intensity=children, start="parallel"
    ) as tree:
        refs = [tree.ref(spec) for spec in specs]
        begun = time.perf_counter()
        for ref in refs:
            ref.tell("boom")
        answers = [ref.ask(n, block=False) for n, ref in enumerate(refs)]
        assert [answer.get() for answer in answers] == list(range(children))
        took = time.perf_counter() - begun
        assert len(tree.undelivered()) == children
        return took


def curve(children: int) -> tuple[float, float, float]:
    """Seconds to start and to stop so many, and the bytes that each takes."""
    specs = [ChildSpec(Kid, id=f"kid-{n}") for n in range(children)]
    before = memory()
    begun = time.perf_counter()
    tree: SupervisorRef = Supervisor.start("one_for_one", specs)
    started = time.perf_counter()
    used = (memory() - before) / children
    tree.shutdown()
    return started - begun, time.perf_counter() - started, used


def stock_curve(children: int) -> tuple[float, float, float]:
    """The same with Pykka."""
    before = memory()
    begun = time.perf_counter()
    refs = [StockKid.start() for _ in range(children)]
    started = time.perf_counter()
    used = (memory() - before) / children
    stopped = time.perf_counter()
    for answer in [ref.stop(block=False) for ref in reversed(refs)]:
        answer.get()
    return started - begun, time.perf_counter() - stopped, used


def memory() -> int:
    """Bytes of this process."""
    gc.collect()
    size: int = psutil.Process().memory_info().rss
    return size


def rounds(count: int, *contenders: Callable[[], float]) -> list[list[float]]:
    """Let the contenders take turns; what each measured in each round."""
    measured: list[list[float]] = [[] for _ in contenders]
    for _ in range(count):
        for results, contender in zip(measured, contenders, strict=True):
            gc.collect()
            results.append(contender())
    return measured


def show_restarts(count: int, times: int) -> bool:
    """Print the restarts; True if the target is met."""
    ours, stock = rounds(
        count,
        lambda: restarts_a_second(times),
        lambda: stock_restarts_a_second(times),
    )
    ratio = statistics.median(a / b for a, b in zip(ours, stock, strict=True))
    print(
        f"restarts of one child a second: {statistics.median(ours):,.0f} "
        f"({min(ours):,.0f} to {max(ours):,.0f}); by hand with Pykka "
        f"{statistics.median(stock):,.0f}; ratio {ratio:.2f}"
    )
    return statistics.median(ours) >= RESTARTS_TARGET


def show_healing(count: int, children: int) -> bool:
    """Print the time to heal; True if the target is met."""
    [times] = rounds(count, lambda: seconds_to_heal(children))
    print(
        f"{children} simultaneous crashes healed in {statistics.median(times):.3f} s "
        f"({min(times):.3f} to {max(times):.3f})"
    )
    return statistics.median(times) <= HEALED_TARGET


def show_curve(sizes: list[int]) -> None:
    """Print what many children cost, beside as many plain Pykka actors."""
    print(f"{'children':>9}{'start':>9}{'each':>9}{'stop':>9}{'each':>9}{'memory':>11}")
    for children in sizes:
        for name, measure in (("", curve), ("Pykka", stock_curve)):
            started, stopped, used = measure(children)
            print(
                f"{children:>9,}{started:>8.2f}s{started / children * 1e6:>7.0f}us"
                f"{stopped:>8.2f}s{stopped / children * 1e6:>7.0f}us"
                f"{used / 1024:>8.1f} KiB {name}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--restarts", type=int, default=3_000)
    parser.add_argument("--children", type=int, nargs="*", default=[100, 1000, 5000])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    logging.getLogger("pykka").addHandler(logging.NullHandler())
    logging.getLogger("pykka").propagate = False
    met = show_restarts(options.rounds, options.restarts)
    met &= show_healing(options.rounds, 200)
    show_curve(options.children)
    if options.check and not met:
        sys.exit("below the targets")


if __name__ == "__main__":
    main()
