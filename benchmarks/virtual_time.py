"""What virtual time costs: an hour of ticks, a ball between two actors, a sleep.

CPU time stands beside wall time: on a busy machine only the former means anything.

    python -m benchmarks.virtual_time [--rounds 3]

:Runs on: the main thread, which drives the clocks; actors and tickers on their own.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from actors import Actor
from actors.testing import RandomChoice, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600
TICKERS = 10
MESSAGES = 10_000
SLEEPS = 20_000

MODES: dict[str, Callable[[], VirtualClock]] = {
    "free": lambda: VirtualClock(seed=None),
    "serial, block": lambda: VirtualClock(seed=1),
    "serial, send": lambda: VirtualClock(
        seed=1, strategy=RandomChoice(1), preempt="send"
    ),
}


class Cost(NamedTuple):
    """Seconds for a number of steps."""

    wall: float
    cpu: float
    steps: int


class Ticker(Actor):
    """Ticks once a second."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = 0

    def on_start(self) -> None:
        self.schedule(1.0, "tick")

    def on_control(self, message: object) -> None:  # noqa: ARG002  # there is one
        self.ticks += 1
        self.schedule(1.0, "tick")

    def on_receive(self, message: Any) -> int:  # noqa: ARG002  # there is one
        return self.ticks


class Player(Actor):
    """Returns the ball."""

    def on_receive(self, message: Any) -> None:
        left, me, other = message
        if left:
            other.tell((left - 1, other, me))


def ticking_actors(clock: VirtualClock) -> int:
    tickers = [Ticker.start() for _ in range(TICKERS)]
    clock.advance(HOUR)
    ticks = sum(ticker.ask("how many?") for ticker in tickers)
    for ticker in tickers:
        ticker.stop()
    return ticks


def ticking_threads(clock: VirtualClock) -> int:
    ticks = [0] * TICKERS

    def tick(number: int) -> None:
        for _ in range(HOUR):
            clock.sleep(1)
            ticks[number] += 1

    for number in range(TICKERS):
        clock.thread(tick, args=[number]).start()
    clock.advance(HOUR)
    return sum(ticks)


def ping_pong(clock: VirtualClock) -> int:
    one, other = Player.start(), Player.start()
    one.tell((MESSAGES, one, other))
    clock.settle()
    one.stop()
    other.stop()
    return MESSAGES


def sleeping(clock: VirtualClock) -> int:
    def sleep() -> None:
        for _ in range(SLEEPS):
            clock.sleep(0.001)

    clock.thread(sleep).start()
    clock.advance(SLEEPS / 1000)
    return SLEEPS


def measure(work: Callable[[VirtualClock], int], make: Callable[[], Any]) -> Cost:
    with make() as clock:
        wall, cpu = time.perf_counter(), time.process_time()
        steps = work(clock)
        return Cost(time.perf_counter() - wall, time.process_time() - cpu, steps)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    print("work             clock          steps   wall s   cpu s   us/step (cpu)")
    for work in (ticking_actors, ticking_threads, ping_pong, sleeping):
        for mode, make in MODES.items():
            costs = [measure(work, make) for _ in range(given.rounds)]
            wall = statistics.median(cost.wall for cost in costs)
            cpu = statistics.median(cost.cpu for cost in costs)
            steps = costs[0].steps
            print(
                f"{work.__name__:16} {mode:13} {steps:6}  {wall:7.2f}  {cpu:6.2f}"
                f"  {1e6 * cpu / steps:8.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
