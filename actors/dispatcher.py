"""The stage that keeps what needs time or a decision.

A job that is due goes from its submitter to an idle worker through its kind's channel,
never through this thread.  The dispatcher moves delayed and retried jobs into their
channels when they are due, and settles what a dead worker had in hand.

:Runs on: the dispatcher's own thread.
:Owns: one timer, set to the first moment at which a job is due.
:Blocks: on its mailbox alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from actors.messages import DueChanged, WorkerDown
from actors.stage import Stage

if TYPE_CHECKING:
    from actors.exits import Exit
    from actors.ledger import Ledger

__all__ = ["Dispatcher"]

_LONGEST_WAIT: Final = 1e9  # seconds; the system's waits overflow at 9.2e9


class Dispatcher(Stage):
    """Releases jobs when they are due; one per pipeline.

    Its state is in the ledger, so a restart loses nothing: the first thing a new
    incarnation does is look what is due.
    """

    wiring: Ledger | None

    def wired(self) -> None:
        """See :meth:`Stage.wired`."""
        self._timer: Any = None
        self.actor_ref.tell_control(DueChanged())

    def on_control(self, message: object) -> Exit | None:
        """Serve ``DueChanged`` and ``WorkerDown``."""
        ledger = self.wiring
        assert ledger is not None  # a dispatcher is always wired
        if isinstance(message, WorkerDown):
            ledger.worker_died(message.worker, message.incarnation, message.reason)
        elif isinstance(message, DueChanged):
            self._release_due(ledger)
        else:
            return super().on_control(message)
        return None

    def _release_due(self, ledger: Ledger) -> None:
        next_due = ledger.release_due()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if next_due is not None and next_due != math.inf:
            wait = max(0.0, next_due - ledger.clock.monotonic())
            self._timer = self.schedule(min(wait, _LONGEST_WAIT), DueChanged())
