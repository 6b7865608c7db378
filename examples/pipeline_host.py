"""A service that embeds the tree: it counts the words of files until told to stop.

The host subclasses ``Producer`` (what to do next), ``Worker`` (how to do it, with
something opened once for each incarnation) and gives a sink.  A first SIGTERM or SIGINT
drains: no new file is begun, every file that was accepted is counted and printed.  A
second one stops at once.

    python examples/pipeline_host.py DIRECTORY        # and: kill -TERM <its pid>

:Runs on: ``produce`` on the producer's thread, ``handle`` on a worker's, ``Totals.add``
    on the collector's; the rest on the main thread.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from actors import Job, Producer, RetryPolicy, Worker, checkpoint
from supervision import Pipeline, handle_signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actors import JobResult


class Folder(Producer):
    """Every text file of a folder, round after round."""

    def __init__(self, folder: Path, rounds: int | None) -> None:
        super().__init__()
        self.folder = folder
        self.rounds = rounds

    def produce(self) -> Iterator[Job]:
        """Yield a job a file; pulled only when the last one has found room."""
        for number in itertools.count(1):
            if self.rounds is not None and number > self.rounds:
                return
            for path in sorted(self.folder.glob("*.txt")):
                yield Job(path, key=f"round {number}", retry=RetryPolicy(2))


class WordCount(Worker):
    """Counts words, all but the common ones."""

    def on_start(self) -> None:
        """Open what the worker needs; runs again after each restart."""
        self.common = {"a", "an", "and", "of", "the", "to"}

    def handle(self, job: Job) -> int:
        """Count one file; runs in this worker's own thread."""
        words = 0
        with job.payload.open() as file:
            for line in file:
                checkpoint()
                words += sum(word not in self.common for word in line.lower().split())
        return words


class Totals:
    """The sink; its state belongs to the collector's thread until the end."""

    def __init__(self) -> None:
        self.files = 0
        self.words = 0

    def add(self, result: JobResult) -> None:
        """Take one final result."""
        if not result.ok:
            print(f"{result.job.payload}: {result.error}", file=sys.stderr)
            return
        self.files += 1
        self.words += result.value
        name = result.job.payload.name
        print(f"{result.job.key}: {name} {result.value}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Count until a signal comes, or for a number of rounds."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, help="stop by itself after so many")
    options = parser.parse_args(argv)

    totals = Totals()
    pipeline = Pipeline(
        4,
        worker_class=WordCount,
        producers=[Folder(options.folder, options.rounds)],
        sink=totals.add,
        name="word-count",
    )
    # The handlers first: a signal may come as soon as the tree runs.
    with handle_signals(pipeline, drain_timeout=20) as signals, pipeline:
        pipeline.wait()
    why = "stopped by a signal" if signals.received else "all rounds done"
    print(f"{why}: {totals.words} words in {totals.files} files")
    print(pipeline.report())
    return 0 if pipeline.report().ok else 1


if __name__ == "__main__":
    sys.exit(main())
