"""Does for objects that are gone what their finalisers must not do themselves.

The garbage collector may run a finaliser anywhere, also inside a locked section of
ours; so a finaliser only puts a note here, and one daemon thread acts on it.

:Runs on: a note is put anywhere, finalisers included; it is acted on on the daemon
    thread ``headrace-reaper``, started by the first ``watch``.
:Owns: the queue of notes and that thread.
:Guards: ``_lock`` guards the start of the thread.
:Blocks: nothing; a note must not block either, for others wait behind it.
"""

from __future__ import annotations

import logging
import os
import weakref
from typing import TYPE_CHECKING, Any, final

from actors import SYSTEM_CLOCK, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Clock, WakeQueue

__all__ = ["Reaper", "reaper_for"]

logger = logging.getLogger("headrace.reaper")


@final
class Reaper:
    """The thread, and what it reads; made by :func:`reaper_for`.

    Args:
        clock: Makes the thread and what it waits on.
        lasting: It is for everybody, and no ``close`` ends it.
    """

    def __init__(self, clock: Clock, *, lasting: bool = False) -> None:
        self._clock = clock
        self._lasting = lasting
        self._reset()

    def _reset(self) -> None:
        self._notes = self._clock.queue()
        self._lock = self._clock.lock()
        self._running = False

    def watch(
        self,
        obj: object,
        fn: Callable[[], object],
        *,
        mark: Callable[[], object] | None = None,
    ) -> Any:
        """Call ``fn()`` on the reaper's thread once ``obj`` is garbage.

        Args:
            obj: What is watched; neither ``fn`` nor ``mark`` may refer to it.
            fn: Must not block.
            mark: Called in the finaliser itself: may set an attribute, and no more.

        Returns:
            The ``weakref.finalize``; its ``detach()`` ends the watch.
        """
        with self._lock:
            start, self._running = not self._running, True
        if start:
            self._clock.thread(self._run, name="headrace-reaper", daemon=True).start()
        finalizer = weakref.finalize(obj, _note, self._notes, fn, mark)
        finalizer.atexit = False
        return finalizer

    def close(self) -> None:
        """Act on no later note, and end the thread."""
        if not self._lasting:
            self._notes.put(None)

    def _run(self) -> None:
        notes = self._notes
        while (fn := notes.get()) is not None:
            try:
                fn()
            except Exception:  # the note's own: the next ones are acted on
                logger.exception("%r failed after its owner was dropped", fn)
            del fn


def _note(
    notes: WakeQueue, fn: Callable[[], object], mark: Callable[[], object] | None
) -> None:
    """The finaliser: no lock, no wait."""
    if mark is not None:
        mark()
    notes.put(fn)


_REAPER = Reaper(SYSTEM_CLOCK, lasting=True)
os.register_at_fork(after_in_child=_REAPER._reset)  # noqa: SLF001


def reaper_for(clock: Clock) -> Reaper:
    """The process's one reaper in real time; one of its own under any other clock.

    A note must be acted on by a thread that its clock knows, or the moment would be
    real time's to choose.  Whoever asked for it closes it.
    """
    return _REAPER if isinstance(clock, SystemClock) else Reaper(clock)
