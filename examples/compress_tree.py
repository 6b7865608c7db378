"""Compress every file below a directory, and lose a worker process on the way.

CPU jobs: each worker drives a process of its own.  Half way through one of the
processes is killed, as the kernel does when memory runs out.  The job it had in hand
fails once, its retry succeeds, and every file is compressed all the same.

    python examples/compress_tree.py DIRECTORY TARGET

:Runs on: ``compress`` in a cpu worker's process; the rest on the main thread.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
import lzma
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from actors import RetryPolicy, WorkerDied, job
from supervision import Pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors import JobResult

# Compressing again does no harm, so a death is worth another attempt.
AGAIN = RetryPolicy(max_retries=3, initial=0.01, retry_on=WorkerDied)


@job(kind="cpu", timeout=120, retry=AGAIN)
def compress(source: Path, target: Path) -> tuple[int, int]:
    """Compress one file; the new file appears whole or not at all."""
    data = source.read_bytes()
    packed = lzma.compress(data, preset=9)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    unfinished.write_bytes(packed)
    unfinished.replace(target)
    return len(data), len(packed)


def kill_process_of(result: JobResult) -> None:
    """Kill the process that ran a job; by now it is busy with another one."""
    process_id = result.attempts[-1].process_id
    if process_id is not None:
        os.kill(process_id, signal.SIGKILL)
        print(f"killed process {process_id}")


def tell(result: JobResult) -> None:
    """Say what became of one file."""
    source = result.job.args[0]
    if not result.ok:
        print(f"{source}: {result.error}", file=sys.stderr)
        return
    before, after = result.value
    last = result.attempts[-1]
    again = f", attempt {last.number}" if last.number > 1 else ""
    print(f"{source}: {before} -> {after} bytes in process {last.process_id}{again}")
    for attempt in result.attempts[:-1]:
        print(f"  attempt {attempt.number} failed: {attempt.error}")


def main(argv: Sequence[str] | None = None) -> int:
    """Compress a tree with two processes; exit with 1 if a file is missing."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args(argv)
    sources = sorted(path for path in options.folder.rglob("*") if path.is_file())
    targets = [
        options.target / path.relative_to(options.folder).with_name(f"{path.name}.xz")
        for path in sources
    ]

    processes = set()
    with Pipeline(1, cpu_workers=2) as pipeline:
        results = pipeline.results(compress, sources, targets)
        for number, result in enumerate(results, start=1):
            tell(result)
            processes |= {attempt.process_id for attempt in result.attempts}
            if number == len(sources) // 2:
                kill_process_of(result)
    report = pipeline.report()
    print(f"{report}; {len(processes)} processes")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
