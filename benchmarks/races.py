"""How often each way of ordering threads finds each of some planted races.

What the plan of ``explore`` is made of was chosen by these figures.

    python -m benchmarks.races --seeds 300

:Runs on: the main thread is the test thread of each clock.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from actors.testing import PCT, RandomChoice, Strategy, VirtualClock
from actors.testing.strategies import Preempt, plan
from tests.actors import planted_races as races

if TYPE_CHECKING:
    from collections.abc import Callable

RACES = {
    "sends": races.order_of_two_sends,
    "stop": races.lost_on_stop,
    "update": races.lost_update,
    "asks": races.order_behind_asks,
    "window": races.check_then_act,
}
KINDS: dict[str, Callable[[int], tuple[Strategy, Preempt]]] = {
    "random, block": lambda seed: (RandomChoice(seed), "block"),
    "random, send": lambda seed: (RandomChoice(seed), "send"),
    "stay=0.8, send": lambda seed: (RandomChoice(seed, stay=0.8), "send"),
    "stay=0.95, send": lambda seed: (RandomChoice(seed, stay=0.95), "send"),
    "PCT depth 1, send": lambda seed: (PCT(seed, depth=1), "send"),
    "PCT depth 3, send": lambda seed: (PCT(seed, depth=3), "send"),
    "this plan": plan,
}


def finds(
    race: Callable[[VirtualClock], None],
    kind: Callable[[int], tuple[Strategy, Preempt]],
    seed: int,
) -> bool:
    """Whether the race shows under a seed."""
    strategy, preempt = kind(seed)
    clock = VirtualClock(
        seed=seed, strategy=strategy, preempt=preempt, auto_advance=True
    )
    try:
        with clock:
            race(clock)
    except AssertionError:
        return True
    return False


def main() -> None:
    """Print a row for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=300)
    seeds = range(parser.parse_args().seeds)
    print(f"{'kind':18}", *(f"{name:>7}" for name in RACES))
    for name, kind in KINDS.items():
        row = (
            sum(finds(race, kind, seed) for seed in seeds) for race in RACES.values()
        )
        print(f"{name:18}", *(f"{found:7}" for found in row))


if __name__ == "__main__":
    main()
