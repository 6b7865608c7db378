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
from typing import TYPE_CHECKING, Final, Literal

from actors._inside import Role, enter_role
from actors._stack import exc_info_of
from actors.jobs import JobStatus
from actors.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors._group import Group
    from actors.clock import WakeQueue
    from actors.dead_letters import DeadLetters
    from actors.deliveries import Delivery
    from actors.ledger import Ledger
    from actors.metrics import Metrics
    from actors.results import JobResult

__all__ = ["Collector", "CollectorWiring"]

logger = logging.getLogger("headrace.collector")

_LONGEST_SILENCE: Final = 0.005  # seconds of sink calls between acknowledgements


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
        self.wiring.ledger.deliveries.recover()
        self.source = self

    def collect(self, result: JobResult) -> None:
        """Take one final result; override it, or pass a sink to the pipeline.

        Runs in the collector's thread, once for each result, in the order in which they
        were settled as far as one worker's are concerned.  What it raises is a sink
        error: see ``on_sink_error``.
        """
        if self.wiring is not None and self.wiring.sink is not None:
            self.wiring.sink(result)

    # -- the loop's source is the results channel

    def take(self, wake: WakeQueue) -> list[Delivery] | None:
        """Take the results that are there."""
        wiring = self.wiring
        assert wiring is not None  # only a wired collector has a source
        return wiring.ledger.deliveries.take_for(self, wake)

    def withdraw(self, wake: WakeQueue) -> None:
        """Stop waiting for results."""
        if self.wiring is not None:
            self.wiring.ledger.deliveries.withdraw(wake)

    def on_item(self, item: list[Delivery]) -> None:
        """Deliver results; acknowledge them together while the sink is quick."""
        wiring = self.wiring
        assert wiring is not None  # only a wired collector has a source
        deliveries, clock = wiring.ledger.deliveries, wiring.ledger.clock
        delivered: list[Delivery] = []
        report_by = clock.monotonic() + _LONGEST_SILENCE
        try:
            for delivery in item:
                if self.stop_token.cancelled:  # the rest is the next collector's
                    self.source = None  # the order to stop is on its way
                    break
                if self._deliver(wiring, delivery):
                    delivered.append(delivery)
                if clock.monotonic() >= report_by:
                    deliveries.acknowledge(delivered)
                    delivered.clear()
                    report_by = clock.monotonic() + _LONGEST_SILENCE
        finally:  # also when the sink ends the collector
            deliveries.acknowledge(delivered)

    def _deliver(self, wiring: CollectorWiring, delivery: Delivery) -> bool:
        """Give one result to its sink; True if that is to be acknowledged."""
        deliveries = wiring.ledger.deliveries
        if not deliveries.hand(delivery, self):
            return False
        self._note(wiring, delivery.result)
        # The group whose sink this result is for: an inner one's own, or the root's.
        group = delivery.group
        owner = group if group.sink is not None else group.root
        if owner.sink_error is not None:
            deliveries.keep(delivery)
            return False
        try:
            if group.sink is not None:
                group.sink(delivery.result)
            else:
                self.collect(delivery.result)
        except Exception as error:  # noqa: BLE001  # the host's sink: see on_sink_error
            self._sink_raised(wiring, owner, delivery, error)
            return False
        return True

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
        logger.error(
            "the sink raised on %r; %s",
            delivery.result,
            then,
            exc_info=exc_info_of(error),
        )
        wiring.ledger.deliveries.keep(delivery)
