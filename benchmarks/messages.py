"""Tell and ask: our actor against Pykka's own, in interleaved rounds.

Ours is a child of a supervisor with a bounded mailbox.  Pykka's actor has a
``queue.Queue(maxsize)`` for its inbox, the nearest thing it has to one.  Read the
ratios (ours to Pykka's, in messages/s), not the numbers.

    python -m benchmarks.messages [--messages 50000] [--rounds 5] [--check]

``--check`` fails below the targets at capacity 100 and 1000: 1.0 for tell, 0.95 for
ask.

:Runs on: the main thread, which tells and asks; each actor on its own thread.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
import gc
import queue
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import pykka

from actors import Actor
from supervision import ChildSpec, Supervisor

TARGETS = {"tell": 1.0, "ask": 0.95}

if TYPE_CHECKING:
    from collections.abc import Callable


class Stock(pykka.ThreadingActor):
    """Pykka's, with a bounded inbox."""

    bound = 0

    def __init__(self) -> None:
        super().__init__()
        self.actor_inbox = queue.Queue(maxsize=self.bound)
        self._actor_ref = pykka.ActorRef(self)

    def on_receive(self, message: Any) -> Any:
        return message


class Ours(Actor):
    """Ours."""

    def on_receive(self, message: Any) -> Any:
        return message


def tell(ref: Any, messages: int) -> float:
    begun = time.perf_counter()
    for number in range(messages):
        ref.tell(number)
    ref.ask(None)
    return messages / (time.perf_counter() - begun)


def ask(ref: Any, messages: int) -> float:
    messages //= 10
    begun = time.perf_counter()
    for number in range(messages):
        ref.ask(number)
    return messages / (time.perf_counter() - begun)


def theirs(capacity: int | None, run: Callable[[Any, int], float], count: int) -> float:
    gc.collect()
    ref = type("Stock", (Stock,), {"bound": capacity or 0}).start()
    try:
        return run(ref, count)
    finally:
        ref.stop()


def ours(capacity: int | None, run: Callable[[Any, int], float], count: int) -> float:
    gc.collect()
    spec = ChildSpec(Ours, capacity=capacity)
    with Supervisor.start("one_for_one", [spec]) as tree:
        return run(tree.ref(spec), count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    missed = []
    print(f"{'':12}{'capacity':>9}{'pykka':>12}{'ours':>12}{'ratio':>8}")
    for run in (tell, ask):
        for capacity in (10, 100, 1000, None):
            stock, mine = [], []
            for _ in range(options.rounds):
                stock.append(theirs(capacity, run, options.messages))
                mine.append(ours(capacity, run, options.messages))
            ratio = statistics.median(b / a for a, b in zip(stock, mine, strict=True))
            a, b = statistics.median(stock), statistics.median(mine)
            name = run.__name__
            print(f"{name:12}{capacity!s:>9}{a:>12,.0f}{b:>12,.0f}{ratio:>8.2f}")
            if capacity in {100, 1000} and ratio < TARGETS[name]:
                missed.append(f"{name} at {capacity}")
    if options.check and missed:
        sys.exit(f"below the targets: {', '.join(missed)}")


if __name__ == "__main__":
    main()
