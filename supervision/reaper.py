"""Does for objects that are gone what their finalisers must not do themselves.

The garbage collector may run a finaliser anywhere, also inside a locked section of
ours; so a finaliser only puts a note here, and one daemon thread acts on it.

:Runs on: ``note`` anywhere, finalisers included; the notes on the daemon thread
    ``headrace-reaper``, started by ``watch``.
:Owns: the queue of notes and that thread.
:Guards: ``_lock`` guards the start of the thread.
:Blocks: nothing; a note must not block either, for others wait behind it.
"""

from __future__ import annotations

import logging
import os
import weakref
from typing import TYPE_CHECKING, Any, Final

from actors import SYSTEM_CLOCK, raw_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import WakeQueue

__all__ = ["watch"]

logger = logging.getLogger("headrace.reaper")


class _Reaper:
    """The one thread, and what it reads."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        # Real time on purpose: a note comes from code that no virtual clock schedules.
        self._notes = SYSTEM_CLOCK.queue()
        self._lock = raw_lock()
        self._running = False

    def watch(
        self, obj: object, fn: Callable[[], object], mark: Callable[[], object] | None
    ) -> Any:
        with self._lock:
            start, self._running = not self._running, True
        if start:
            thread = SYSTEM_CLOCK.thread(self._run, name="headrace-reaper", daemon=True)
            thread.start()
        finalizer = weakref.finalize(obj, _note, self._notes, fn, mark)
        finalizer.atexit = False
        return finalizer

    def _run(self) -> None:
        notes = self._notes
        while True:
            fn = notes.get()
            try:
                fn()
            except Exception:  # the note's own: the next ones are acted on
                logger.exception("%r failed after its owner was dropped", fn)
            del fn


_REAPER: Final = _Reaper()


def _note(
    notes: WakeQueue, fn: Callable[[], object], mark: Callable[[], object] | None
) -> None:
    """The finaliser: no lock, no wait."""
    if mark is not None:
        mark()
    notes.put(fn)


def watch(
    obj: object, fn: Callable[[], object], *, mark: Callable[[], object] | None = None
) -> Any:
    """Call ``fn()`` on the reaper's thread once ``obj`` is garbage.

    Args:
        obj: What is watched; neither ``fn`` nor ``mark`` may refer to it.
        fn: Must not block.
        mark: Called in the finaliser itself: may set an attribute, and no more.

    Returns:
        The ``weakref.finalize``; its ``detach()`` ends the watch.
    """
    return _REAPER.watch(obj, fn, mark)
