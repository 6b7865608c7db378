"""Items a second through one mailbox, beside ``queue.Queue``.

Rounds of the contestants are interleaved and the median of each is taken, so that what
else the machine does hurts all alike: read the ratios, not the rates.

    python -m benchmarks.mailbox --rounds 9

:Runs on: the main thread reads, one thread for each producer writes.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
import queue
import statistics
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from actors.mailbox import Channel, Mailbox

if TYPE_CHECKING:
    from collections.abc import Callable

CAPACITIES = (10, 100, 1000)
PRODUCERS = (1, 4)
# What one producer must reach with Mailbox.get, as a ratio to queue.Queue.
TARGETS = {10: 0.75, 100: 1.5, 1000: 2.0}


class Contestant(NamedTuple):
    """How to put into and take out of one freshly made thing."""

    put: Callable[[Any], object]
    take: Callable[[], object]


def plain_queue(capacity: int) -> Contestant:
    inbox: queue.Queue[Any] = queue.Queue(capacity)
    return Contestant(inbox.put, inbox.get)


def mailbox_get(capacity: int) -> Contestant:
    mailbox = Mailbox(capacity)
    return Contestant(mailbox.put, mailbox.get)


def mailbox_receive(capacity: int) -> Contestant:
    mailbox = Mailbox(capacity)
    return Contestant(mailbox.put, partial(mailbox.receive, mailbox.new_lease()))


def channel_take(capacity: int) -> Contestant:
    channel = Channel(capacity)
    return Contestant(channel.put, channel.take)


CONTESTANTS = {
    "queue.Queue": plain_queue,
    "Mailbox.get": mailbox_get,
    "Mailbox.receive": mailbox_receive,
    "Channel.take": channel_take,
}


def rate(contestant: Contestant, producers: int, items: int) -> float:
    """Pass ``items`` through and return how many a second that was."""
    share = items // producers

    def produce(put: Callable[[Any], object] = contestant.put) -> None:
        for number in range(share):
            put(number)

    threads = [threading.Thread(target=produce) for _ in range(producers)]
    take = contestant.take
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for _ in range(share * producers):
        take()
    elapsed = time.perf_counter() - started
    for thread in threads:
        thread.join()
    return share * producers / elapsed


def medians(
    capacity: int, producers: int, *, items: int, rounds: int
) -> dict[str, float]:
    """Run interleaved rounds and return each contestant's median rate."""
    rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(rounds):
        for name, make in CONTESTANTS.items():
            rates[name].append(rate(make(capacity), producers, items))
    return {name: statistics.median(each) for name, each in rates.items()}


def row(capacity: int, producers: int, result: dict[str, float]) -> tuple[str, bool]:
    """One line of the table, and whether it meets its target."""
    base = result["queue.Queue"]
    cells = [f"{capacity:>8} {producers:>9} {base / 1e3:>8.0f} k"]
    cells += [
        f"{value / 1e3:>8.0f} k {value / base:>5.2f}x"
        for name, value in result.items()
        if name != "queue.Queue"
    ]
    ratio = result["Mailbox.get"] / base
    target = TARGETS[capacity] if producers == 1 else None
    if target is None:
        return "  ".join(cells), True
    met = ratio >= target
    verdict = f"{'met' if met else 'MISSED'} (>= {target}x)"
    return "  ".join([*cells, verdict]), met


def main(arguments: list[str] | None = None) -> int:
    """Print the table; the exit code is 1 if a target is missed and ``--check``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each (7)")
    parser.add_argument("--items", type=int, default=100_000, help="in a round")
    parser.add_argument("--check", action="store_true", help="fail below a target")
    options = parser.parse_args(arguments)

    print(f"Python {sys.version.split()[0]}, items a second, medians of", end=" ")
    print(f"{options.rounds} interleaved rounds of {options.items}")
    print("capacity producers  queue.Queue      Mailbox.get", end="")
    print("   Mailbox.receive      Channel.take  target (Mailbox.get)")
    all_met = True
    for capacity in CAPACITIES:
        for producers in PRODUCERS:
            result = medians(
                capacity, producers, items=options.items, rounds=options.rounds
            )
            line, met = row(capacity, producers, result)
            all_met &= met
            print(line, flush=True)
    return 1 if options.check and not all_met else 0


if __name__ == "__main__":
    sys.exit(main())
