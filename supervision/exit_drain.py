"""What becomes of pipelines that still run when the interpreter exits.

They are drained with the threads that exist, within a limit; what is left is named.

:Runs on: the main thread, from ``atexit``; ``register`` on any.
:Owns: the runs of this process that may have to be drained.
:Blocks: the interpreter's exit, for at most 25 s.
"""

from __future__ import annotations

import itertools
import logging
import weakref
from typing import TYPE_CHECKING, Final

from supervision.last_words import say

if TYPE_CHECKING:
    from supervision.pipeline_run import PipelineRun

__all__ = ["drain_all", "drain_at_exit", "register"]

logger = logging.getLogger("headrace.pipeline")

LIMIT: Final = 25.0
_started = itertools.count()
_live: weakref.WeakValueDictionary[int, PipelineRun] = weakref.WeakValueDictionary()


def register(run: PipelineRun) -> None:
    """Drain ``run`` at the interpreter's exit, should it not have ended by then."""
    _live[next(_started)] = run


def drain_all() -> None:
    """Drain what still runs, the newest first; ``atexit`` calls it.

    The jobs of a newer pipeline may submit to an older one; hardly the other way round.
    """
    for run in reversed(list(_live.values())):
        try:
            drain_at_exit(run, LIMIT)
        except Exception:  # one pipeline's, as on a clock that stands still
            logger.exception("%s could not be drained at exit", run.options.name)


def drain_at_exit(run: PipelineRun, timeout: float) -> None:
    """Drain one run with the threads that exist, then hand back what is left."""
    if run.finished or run.guard.is_elsewhere:
        return
    why = "the interpreter exits"
    run.close_intake(why)
    run.maps.leave_by = deadline = run.clock.monotonic() + timeout
    root = run.ledger.root
    if not run.waiting.until(lambda: run.quiet() or run.finished, deadline, root):
        left = run.ledger.report().unfinished
        say(
            logger,
            logging.CRITICAL,
            f"{run.options.name}: the interpreter exits with {len(left)} unfinished "
            f"jobs, which are lost: {', '.join(map(repr, left[:10]))}; leave the "
            "pipeline's with block, or call stop(), before the end",
        )
    run.stop_now(why)
