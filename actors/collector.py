"""The stage that gives each final result to the sink.

A result is marked as handed in the ledger, given to the sink, then acknowledged.  After
the collector's death the ledger sends again what was not handed; what was handed and
not acknowledged is not given twice, but stands in the report.

:Runs on: the collector's own thread.
:Owns: the metrics and the dead letters' intake.
:Blocks: for as long as the host's sink does.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from actors._inside import Role, enter_role
from actors.jobs import JobStatus
from actors.messages import ResultSettled, ResultsPosted
from actors.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._group import Group
    from actors._ledger import Delivery
    from actors.dead_letters import DeadLetters
    from actors.exits import Exit
    from actors.ledger import Ledger
    from actors.metrics import Metrics
    from actors.results import JobResult

__all__ = ["Collector", "CollectorWiring"]

logger = logging.getLogger("headrace.collector")


class _Redeliver(NamedTuple):
    """Control, to itself: fetch whatever the last incarnation left."""


class CollectorWiring:
    """What a pipeline lets the collector know; survives its incarnations.

    Args:
        ledger: Where results stand until acknowledged.
        sink: The host's sink; ``None`` for none.
        on_sink_error: ``"stop"`` closes the intake and drains without the sink,
            ``"continue"`` goes on and counts.
        dead_letters: Where dead jobs go.
        metrics: What counts them.
        sink_failed: Told whose sink raised, on the collector's thread.
    """

    __slots__ = (
        "dead_letters",
        "ledger",
        "metrics",
        "on_sink_error",
        "sink",
        "sink_errors",
        "sink_failed",
    )

    def __init__(
        self,
        ledger: Ledger,
        *,
        sink: Callable[[JobResult], object] | None = None,
        on_sink_error: Literal["stop", "continue"] = "stop",
        dead_letters: DeadLetters | None = None,
        metrics: Metrics | None = None,
        sink_failed: Callable[[Group], object] = lambda _: None,
    ) -> None:
        self.ledger = ledger
        self.sink = sink
        self.on_sink_error = on_sink_error
        self.dead_letters = dead_letters
        self.metrics = metrics
        self.sink_failed = sink_failed
        self.sink_errors = 0


class Collector(Stage):
    """Gives each final result to the sink, at most once.

    Subclass it and override :meth:`collect` to do more than call a sink.
    """

    wiring: CollectorWiring | None

    def wired(self) -> None:
        """See :meth:`Stage.wired`."""
        assert self.wiring is not None  # called only with a wiring
        enter_role(self.wiring.ledger, Role.SINK)
        # Once on_start is through: what the last incarnation left.
        self.actor_ref.tell_control(_Redeliver())

    def collect(self, result: JobResult) -> None:
        """Take one final result; override it, or pass a sink to the pipeline.

        Runs in the collector's thread, once for each result, in the order in which they
        were settled as far as one worker's are concerned.  What it raises is a sink
        error: see ``on_sink_error``.
        """
        if self.wiring is not None and self.wiring.sink is not None:
            self.wiring.sink(result)

    def on_receive(self, message: Any) -> Any:
        """Deliver a result that its worker sent."""
        if isinstance(message, ResultSettled):
            self._deliver(message.delivery)
            return None
        return super().on_receive(message)

    def on_control(self, message: object) -> Exit | None:
        """Deliver results that wait in the ledger."""
        wiring = self.wiring
        assert wiring is not None  # a collector is always wired
        if isinstance(message, _Redeliver):
            for delivery in wiring.ledger.lost_in_hand():
                wiring.ledger.keep(delivery)
            for delivery in wiring.ledger.posted(mailed_too=True):
                self._deliver(delivery)
        elif isinstance(message, ResultsPosted):
            for delivery in wiring.ledger.posted():
                self._deliver(delivery)
        else:
            return super().on_control(message)
        return None

    def _deliver(self, delivery: Delivery) -> None:
        wiring = self.wiring
        assert wiring is not None  # a collector is always wired
        ledger = wiring.ledger
        if not ledger.hand(delivery):
            return
        self._note(wiring, delivery.result)
        # The group whose sink this result is for: an inner one's own, or the root's.
        owner = delivery.group if delivery.group.sink else delivery.group.root
        if owner.sink_error is not None:
            ledger.keep(delivery)
            return
        try:
            if delivery.group.sink is not None:
                delivery.group.sink(delivery.result)
            else:
                self.collect(delivery.result)
        except Exception as error:  # noqa: BLE001  # the host's sink: see on_sink_error
            self._sink_raised(wiring, owner, delivery, error)
        else:
            ledger.acknowledge(delivery)

    @staticmethod
    def _note(wiring: CollectorWiring, result: JobResult) -> None:
        if wiring.metrics is not None:
            wiring.metrics.record(result)
        if result.status is JobStatus.DEAD and wiring.dead_letters is not None:
            wiring.dead_letters.add(result)

    def _sink_raised(
        self,
        wiring: CollectorWiring,
        owner: Group,
        delivery: Delivery,
        error: Exception,
    ) -> None:
        wiring.sink_errors += 1
        if wiring.on_sink_error == "continue":
            then = "going on; this result stands in the report"
        else:
            owner.sink_error = error
            then = "the rest drains without the sink and stands in the report"
            wiring.sink_failed(owner)
        logger.error("the sink raised on %r; %s", delivery.result, then, exc_info=error)
        wiring.ledger.keep(delivery)
