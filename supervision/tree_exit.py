"""What becomes of trees that still run when the interpreter exits, or forks.

:Runs on: ``has_started`` and ``has_ended`` on any thread; ``end_live_trees`` on the
    main thread, from ``atexit``; ``_after_fork_in_child`` on a forked child's.
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
from supervision.fork_guard import refuse_use
from supervision.last_words import say

if TYPE_CHECKING:
    from supervision.supervisor_ref import SupervisorRef

__all__ = ["end_live_trees", "has_ended", "has_started"]

logger = logging.getLogger("headrace.supervision")

LIMIT: Final = 10.0
"""Seconds that all live trees together have."""
MARGIN: Final = 1.0
"""Seconds beyond it before they are given up."""
_NOTICE: Final = (
    "the interpreter exits while it runs; its children are stopped now. A tree does "
    "not keep the program alive: call wait() on it, or use it as a with block"
)
_LEFT: Final = "these threads would not stop and are cut off in what they do:"

_live_lock = raw_lock()  # Guards _live. Held for O(1) work; nothing else inside.
_live: dict[SupervisorRef, int] = {}  # the trees that run here, with the process's id


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
    trees = [tree for tree in list(_live) if isinstance(tree.cell.clock, SystemClock)]
    for tree in reversed(trees):
        if not tree.stop_token.cancelled:  # nobody has had it stopped
            say(logger, logging.WARNING, f"{tree.board.name}: {_NOTICE}")
        tree.stop_now("interpreter exit", timeout=LIMIT)
    end = SystemClock.monotonic() + LIMIT + MARGIN
    for tree in reversed(trees):
        if not tree.actor_stopped.wait(max(0.0, end - SystemClock.monotonic())):
            say(logger, logging.ERROR, _cut_off(tree))
        elif zombies := [zombie.thread for zombie in tree.zombies()]:
            say(logger, logging.ERROR, f"{tree.board.name}: {_LEFT} {zombies}")


def _cut_off(tree: SupervisorRef) -> str:
    children = tree.which_children()
    left = [
        f"{each.id} ({each.state})" for each in children if each.state != "undefined"
    ]
    return (
        f"{tree.board.name} did not end within {LIMIT + MARGIN:g} s at the "
        f"interpreter's exit and is cut off; still up: {', '.join(left) or 'itself'}"
    )


def _after_fork_in_child() -> None:
    """The trees run in the parent alone: the child neither uses nor ends them."""
    global _live_lock  # noqa: PLW0603  # another thread may have held it
    _live_lock = raw_lock()
    trees = list(_live.items())
    _live.clear()
    for tree, parent in trees:
        refuse_use(tree, parent)


os.register_at_fork(after_in_child=_after_fork_in_child)
