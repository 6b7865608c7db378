"""Keeps what jobs print off the live line of a terminal.

While a live line is shown, descriptors 1 and 2 lead into a pipe, and a thread says each
line that comes out of it above the live line: what Python prints, and C, and child
processes.

:Runs on: ``printed_above`` on the main thread; the lines are said on a thread of its
    own.
:Owns: the pipe and that thread.
:Blocks: a job's print, while the terminal takes no bytes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from supervision.cli_input import Wakeup, read_chunks, split_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors import Clock
    from supervision.console import Console

__all__ = ["printed_above"]


@contextlib.contextmanager
def printed_above(console: Console, *, clock: Clock) -> Iterator[None]:
    """Show what is printed during the block line by line above the live line.

    Args:
        console: Has the live line; its stream's descriptor is neither 1 nor 2.
        clock: Makes the thread.
    """
    reading, writing = os.pipe()
    wakeup = Wakeup()

    def on_printing_thread() -> None:
        for line in split_lines(_until_empty(reading, wakeup)):
            console.say(line.decode("utf-8", "backslashreplace"))

    thread = clock.thread(on_printing_thread, name="headrace-prints", daemon=True)
    before = [(number, os.dup(number)) for number in (1, 2)]
    for number, _ in before:
        os.dup2(writing, number)
    os.close(writing)
    thread.start()
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        for number, saved in before:
            os.dup2(saved, number)
            os.close(saved)
        wakeup.set()
        clock.join(thread)
        wakeup.close()
        os.close(reading)


def _until_empty(reading: int, wakeup: Wakeup) -> Iterator[bytes]:
    """All that is printed until the wake-up; a child may hold the other end longer."""
    yield from read_chunks(reading, wakeup)
    os.set_blocking(reading, False)
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(reading, 1 << 16):
            yield chunk
