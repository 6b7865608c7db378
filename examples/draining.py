"""Three actors in a row that lose nothing when they are told to stop.

The walker sends each file of a folder to the hasher, which sends its digest to the
printer.  A first SIGTERM or SIGINT drains: the walker, started last, sends no more, the
hasher hashes what it was sent, the printer prints it, then the tree ends.  A second one
stops at once, in the middle of a file.

    python examples/draining.py DIRECTORY        # and: kill -TERM <its pid>

:Runs on: each actor on its own thread; ``main`` on the main thread.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors import Actor, Cancelled
from supervision import ChildSpec, Supervisor, handle_signals

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actors import ActorRef


class Printer(Actor):
    """The end of the row."""

    def on_receive(self, message: tuple[Path, str]) -> None:
        print("{1}  {0}\n".format(*message), end="", flush=True)  # one write, one line


class Hasher(Actor):
    """The middle: at most ten paths wait for it, then the walker does."""

    capacity = 10

    def __init__(self, printer: ActorRef[Printer]) -> None:
        super().__init__()
        self.printer = printer

    def on_receive(self, message: Path) -> None:
        """Hash one file; a drain lets it go on, a stop does not."""
        digest = hashlib.sha256()
        with message.open("rb") as file:
            while block := file.read(1 << 20):
                if self.stop_token.cancelled:
                    raise Cancelled(self.stop_token.reason)
                digest.update(block)
        self.printer.tell((message, digest.hexdigest()))


class Walker(Actor):
    """The source; it tells itself to go on, so that it can be told to stop as well."""

    def __init__(self, hasher: ActorRef[Hasher], folder: Path, rounds: int) -> None:
        super().__init__()
        self.hasher = hasher
        self.sent = 0
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        self.paths = itertools.chain.from_iterable(itertools.repeat(files, rounds))

    def on_receive(self, message: str) -> None:
        """Send one file; stop after the last, or when the tree drains."""
        path = None if self.stop_token.draining else next(self.paths, None)
        if path is None:
            self.stop()
            return
        self.hasher.tell(path, token=self.stop_token)
        self.sent += 1
        self.actor_ref.tell(message)

    def on_stop(self) -> None:
        """Say how many there were."""
        sys.stderr.write(f"sent {self.sent}\n")


def hasher_needs(siblings: Any) -> Mapping[str, Any]:
    return {"printer": siblings.ref("Printer")}


def walker_needs(options: Mapping[str, Any], siblings: Any) -> Mapping[str, Any]:
    return {"hasher": siblings.ref("Hasher"), **options}


def main(argv: Sequence[str] | None = None) -> int:
    """Hash a folder until a signal comes, or so many times."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=sys.maxsize)
    options = parser.parse_args(argv)

    hasher = ChildSpec(Hasher, kwargs=hasher_needs)
    needs = partial(walker_needs, vars(options))
    walker = ChildSpec(Walker, kwargs=needs, on_crash="on_stop")  # it tells its count
    # In this order: the end of the inner block waits for a drain that a signal began.
    with (
        Supervisor.start("rest_for_one", [ChildSpec(Printer), hasher, walker]) as tree,
        handle_signals(tree, drain_timeout=20) as signals,
    ):
        source = tree.ref(walker)
        source.tell("next")  # not before the handlers: a signal must find them
        source.actor_stopped.wait()
        tree.stop(timeout=20)  # the end without a signal is a drain as well
    lost = [each for each in tree.undelivered() if each.message != "next"]
    why = "stopped by a signal" if signals.received else "all rounds done"
    print(f"{why}: {len(lost)} given up")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
