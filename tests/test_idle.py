"""An idle tree sleeps: nothing in it wakes up periodically.

:Runs on: the test runner's thread; the pipeline in a process of its own.
:Owns: nothing.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
IDLE = 10.0  # seconds
LIMIT = 30.0

PROGRAM = """
import math, sys
from supervision import Pipeline, handle_signals

with Pipeline(4, cpu_workers=2) as pipeline, handle_signals(pipeline):
    cpu = pipeline.scope(kind="cpu")
    assert list(cpu.map(math.sqrt, [1, 4, 9, 16])) == [1, 2, 3, 4]
    assert list(pipeline.map(math.sqrt, [1, 4])) == [1, 2]
    pipeline.wait()
    print("idle", flush=True)
    sys.stdin.readline()
print(pipeline.report())
"""


@contextlib.contextmanager
def idle_pipeline() -> Iterator[subprocess.Popen[str]]:
    """A process with a started pipeline that has worked and now waits for its stdin."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "idle\n"
            yield process
        finally:
            process.kill()


def wake_ups(process_id: int) -> dict[int, int]:
    """Voluntary context switches of each thread, of the process and its children."""
    process = psutil.Process(process_id)
    return {
        thread.id: psutil.Process(thread.id).num_ctx_switches().voluntary
        for each in (process, *process.children(recursive=True))
        for thread in each.threads()
    }


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts per thread")
def test_idle_tree_causes_no_periodic_wake_ups() -> None:
    with idle_pipeline() as process:
        threading.Event().wait(1.0)  # what follows the last job, an acknowledgement
        before = wake_ups(process.pid)

        threading.Event().wait(IDLE)

        after = wake_ups(process.pid)
        output, _ = process.communicate("go on\n", timeout=LIMIT)

    assert process.returncode == 0
    assert output == "accepted 6 = 6 succeeded + 0 dead + 0 cancelled + 0 returned\n"
    assert after.keys() == before.keys()
    assert len(after) >= 6, "the tree's threads were not seen"
    woken = {thread: after[thread] - before[thread] for thread in after}
    assert sum(woken.values()) < 5, f"woke up in {IDLE:g} s, by thread: {woken}"
