"""How a job in another process tells the test that it runs."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 30.0  # seconds that no wait may take


class Beacon:
    """A named pipe that jobs write their pids to, a line each."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._lines: list[bytes] = []

    def wait(self) -> int:
        """Wait for the next job to say that it runs; returns its pid."""
        if not self._lines:
            assert readable(self._fd), "the job did not say that it runs"
            self._lines = os.read(self._fd, 4096).splitlines()
        return int(self._lines.pop(0))

    def close(self) -> None:
        os.close(self._fd)


def readable(fd: int) -> bool:
    """Wait until there is something to read, or the process of a pidfd has ended."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(LIMIT * 1000))
