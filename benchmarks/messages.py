"""Tell and ask: our actor against Pykka's own, in interleaved rounds.

Pykka's actor has a ``queue.Queue(maxsize)`` for its inbox, the nearest thing it has to
a bounded mailbox.  Read the ratios (ours to Pykka's, in messages/s), not the numbers.

    python -m benchmarks.messages [--messages 50000] [--rounds 5]

:Runs on: the main thread, which tells and asks; each actor on its own thread.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
import gc
import queue
import statistics
import time
from typing import TYPE_CHECKING, Any

import pykka

from actors.base import Actor

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


def measure(cls: type[Any], run: Callable[[Any, int], float], messages: int) -> float:
    gc.collect()
    ref = cls.start()
    try:
        return run(ref, messages)
    finally:
        ref.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{'':12}{'capacity':>9}{'pykka':>12}{'ours':>12}{'ratio':>8}")
    for run in (tell, ask):
        for capacity in (10, 100, 1000, None):
            stock = type("Stock", (Stock,), {"bound": capacity or 0})
            ours = type("Ours", (Ours,), {"capacity": capacity})
            theirs, mine = [], []
            for _ in range(options.rounds):
                theirs.append(measure(stock, run, options.messages))
                mine.append(measure(ours, run, options.messages))
            a, b = statistics.median(theirs), statistics.median(mine)
            print(
                f"{run.__name__:12}{capacity!s:>9}{a:>12,.0f}{b:>12,.0f}{b / a:>8.2f}"
            )


if __name__ == "__main__":
    main()
