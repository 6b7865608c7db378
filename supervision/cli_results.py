"""What ``headrace run`` does with each result: count it, write it, say that it is dead.

:Runs on: ``take`` and ``finish`` on the collector's thread, or after its end;
    ``admit`` on the producer's; ``close`` and ``tally`` on any.
:Owns: the counts of results, which the collector's thread alone writes.
:Blocks: as ``JsonLines.write`` and ``InOrder.admit`` do.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from actors import JobStatus
from supervision.cli_output import (
    InOrder,
    JsonLines,
    dead_line,
    result_line,
    traceback_of,
)
from supervision.progress import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Clock, JobResult
    from supervision.console import Console

__all__ = ["ORDERED_WINDOW", "Results"]

ORDERED_WINDOW = 1_000
"""Jobs that may be under way or held back with ``--ordered``."""


class Results:
    """The sink of a run.

    Args:
        descriptor: Where lines go.
        console: Where dead jobs are told.
        clock: Makes what ``admit`` waits on.
        ordered: Write in the order of the jobs.
        verbose: Tell the traceback of a dead job, too.
        on_failure: Told, on the collector's thread, that a line cannot be written:
            ``True`` when its reader has gone, ``False`` before the error is raised.

    Attributes:
        reader_gone: Nobody reads the lines any more; what comes is counted only.
    """

    def __init__(
        self,
        descriptor: int,
        console: Console,
        *,
        clock: Clock,
        ordered: bool,
        verbose: bool,
        on_failure: Callable[[bool], object],
    ) -> None:
        self._lines = JsonLines(descriptor)
        self._shares_terminal = console.terminal and os.isatty(descriptor)
        self._console = console
        self._verbose = verbose
        self._on_failure = on_failure
        self._order: InOrder | None = None
        if ordered:
            self._order = InOrder(self._write, window=ORDERED_WINDOW, clock=clock)
        self._ended = dict.fromkeys(JobStatus, 0)
        self._retried = 0
        self.reader_gone = False

    # -- the producer's side

    def admit(self) -> bool:
        """Wait until one more job may come; False when none may."""
        return self._order is None or self._order.admit()

    def close(self) -> None:
        """Let no more jobs come; ends a wait in ``admit``."""
        if self._order is not None:
            self._order.close()

    # -- the collector's side

    def take(self, result: JobResult) -> None:
        """Count a result and write it, in its turn."""
        self._ended[result.status] += 1
        self._retried += max(0, len(result.attempts) - 1)
        if self._order is None:
            self._write(result)
        else:
            self._order.take(result)

    def finish(self) -> None:
        """Write what waited for a turn that never came."""
        if self._order is not None:
            self._order.finish()

    def _write(self, result: JobResult) -> None:
        value_in = result.job.args[0]
        if result.ok:
            self._emit(result_line(result, value_in))
        elif result.status is JobStatus.DEAD:
            told = dead_line(result, value_in)
            if self._verbose:
                told = f"{told}\n{traceback_of(result.error)}"
            self._console.say(told)

    def _emit(self, line: bytes) -> None:
        if self.reader_gone:
            return
        try:
            if self._shares_terminal:
                with self._console.hidden():
                    self._lines.write(line)
            else:
                self._lines.write(line)
        except BrokenPipeError:
            self.reader_gone = True
            self._on_failure(True)  # noqa: FBT003  # a callback's one argument
        except OSError:
            self._on_failure(False)  # noqa: FBT003
            raise

    # -- anybody's

    def tally(self) -> Tally:
        """What became of the jobs so far."""
        ended = self._ended
        return Tally(
            ok=ended[JobStatus.SUCCEEDED],
            dead=ended[JobStatus.DEAD],
            retried=self._retried,
            cancelled=ended[JobStatus.CANCELLED],
            returned=ended[JobStatus.RETURNED],
        )
