"""Put the actors of an existing Pykka application under a supervisor, as they are.

``Reader`` and ``Totals`` are written for Pykka and know nothing of supervision.  One
message kills the reader: it comes back under the same ref with its mailbox kept, so
the messages sent behind the bad one are answered.

    python examples/pykka_host.py FILE...

:Runs on: each actor on its own thread; ``main`` on the main thread.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pykka

from supervision import ChildSpec, Strategy, Supervisor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NO_SUCH_FILE = Path("no such file")


# -- the application as it was


class Totals(pykka.ThreadingActor):
    """Adds up what the readers report."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0
        self.files = 0

    def add(self, lines: int) -> None:
        """Count one more file."""
        self.lines += lines
        self.files += 1

    def summary(self) -> str:
        """What was counted so far."""
        return f"{self.lines} lines in {self.files} files"


class Reader(pykka.ThreadingActor):
    """Counts the lines of the file that each message names."""

    def __init__(self, totals: Any) -> None:
        super().__init__()
        self.totals = totals

    def on_receive(self, message: Path) -> int:
        """Raises if the file cannot be read, which ends this actor."""
        with message.open("rb") as file:
            lines = sum(1 for _ in file)
        self.totals.add(lines).get()
        return lines

    def on_failure(self, *exc_info: Any) -> None:
        """Say what happened."""
        print(f"the reader crashed: {exc_info[1]}")


# -- and what was added


def reader_needs(siblings: Any) -> Mapping[str, Any]:
    """Evaluated at each start of a reader."""
    return {"totals": siblings.ref("Totals").proxy()}


def main(argv: Sequence[str] | None = None) -> int:
    """Count the lines of files, with a crash on the way."""
    logging.basicConfig(level=logging.CRITICAL)
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args(argv)

    totals, reads = ChildSpec(Totals), ChildSpec(Reader, kwargs=reader_needs)
    with Supervisor.start(Strategy.ONE_FOR_ONE, [totals, reads]) as tree:
        reader = tree.ref(reads)
        urn = reader.actor_urn
        middle = len(options.files) // 2
        answers = [reader.ask(path, block=False) for path in options.files[:middle]]
        reader.tell(NO_SUCH_FILE)  # a tell has nobody to raise to: the actor crashes
        answers += [reader.ask(path, block=False) for path in options.files[middle:]]
        for path, answer in zip(options.files, answers, strict=True):
            print(f"{path}: {answer.get(timeout=30)} lines")
        same = reader.actor_urn == urn and reader.is_alive()
        print(f"the same ref, alive again: {same}")
        print(tree.ref(totals).proxy().summary().get(timeout=30))
    return 0


if __name__ == "__main__":
    sys.exit(main())
