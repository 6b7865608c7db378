"""What becomes of trees that still run when the interpreter exits.

:Runs on: ``has_started`` and ``has_ended`` on any thread; ``end_live_trees`` on the
    main thread, from ``atexit``.
:Owns: the set of live trees of this process.
:Guards: ``_live_lock`` guards ``_live``.
:Blocks: the interpreter's exit, for at most 11 s.
"""

from __future__ import annotations

import atexit
import logging
import os
from typing import TYPE_CHECKING, Final

from actors import SystemClock, raw_lock

if TYPE_CHECKING:
    from supervision.supervisor_ref import SupervisorRef

__all__ = ["end_live_trees", "has_ended", "has_started"]

logger = logging.getLogger("headrace.supervision")

LIMIT: Final = 10.0
"""Seconds that all live trees together have."""
MARGIN: Final = 1.0
"""Seconds beyond it before they are given up."""

_live_lock = raw_lock()  # Guards _live. Held for O(1) work; nothing else inside.
_live: dict[SupervisorRef, int] = {}  # the trees that run, with the process they are of


def has_started(tree: SupervisorRef) -> None:
    """End the tree at the interpreter's exit, should it run until then."""
    with _live_lock:
        _live[tree] = os.getpid()


def has_ended(tree: SupervisorRef) -> None:
    """Forget the tree."""
    with _live_lock:
        _live.pop(tree, None)


@atexit.register
def end_live_trees() -> None:
    """End what the host has not, with the threads that exist."""
    trees = [
        tree
        for tree, pid in list(_live.items())
        if pid == os.getpid() and isinstance(tree.cell.clock, SystemClock)
    ]
    for tree in reversed(trees):
        logger.info("%s still runs at the interpreter's exit: stopped", tree.board.name)
        tree.stop_now("interpreter exit", timeout=LIMIT)
    end = SystemClock.monotonic() + LIMIT + MARGIN
    for tree in reversed(trees):
        if not tree.actor_stopped.wait(max(0.0, end - SystemClock.monotonic())):
            logger.error("%s did not end at the interpreter's exit", tree.board.name)
