"""One run of a pipeline: its ledger, its tree of actors, and how both end.

A ``Pipeline`` makes a new run at each start; the run does not refer to the pipeline, so
that a pipeline nobody holds can be noticed and its run ended.

:Runs on: the host's threads; ``tree_ended`` on the thread that ends the tree.
:Owns: the ledger, the tree, the stop token, the counters, the state of the ending.
:Guards: ``_lock`` guards ``_finished``.
:Blocks: ``start`` until all children run; ``wait``, ``drain`` and ``end`` as they say.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Final

from actors import (
    Group,
    JobKind,
    JobOptions,
    Ledger,
    Metrics,
    StopToken,
    Submitter,
    WorkerStats,
)
from actors.errors import ShutdownTimeout
from actors.events import ChildAbandoned, ChildDown, Listeners, TreeGaveUp
from actors.messages import WorkerDown
from supervision.crew import Crew
from supervision.errors import shown
from supervision.mapping import Maps
from supervision.pipeline_errors import RunErrors, cause_of
from supervision.pipeline_guard import Guard
from supervision.pipeline_options import cpu_count, foreign_of
from supervision.pipeline_tree import build_tree
from supervision.producing import Producers
from supervision.reaper import reaper_for
from supervision.waiting import Waiting

if TYPE_CHECKING:
    from concurrent.futures import Future

    from actors import Exit, Report, Snapshot
    from supervision.pipeline_options import PipelineOptions
    from supervision.supervisor_ref import SupervisorRef

__all__ = ["PipelineRun"]

logger = logging.getLogger("headrace.pipeline")

_LEAST_TREE_TIME: Final = 0.1  # seconds that healthy threads end in
_FALL_TIME: Final = 5.0  # seconds that a tree which ends by itself may take


class PipelineRun:
    """From one start to one stop.

    Args:
        options: What the pipeline was asked to be.
        listeners: Who hears of jobs' and children's events.
    """

    def __init__(self, options: PipelineOptions, listeners: Listeners) -> None:
        self.options = options
        self.clock = options.clock
        self.token = StopToken(clock=self.clock, name=options.name)
        self.dispatch_token = self.token.child("dispatcher")
        self.collect_token = self.token.child("collector", shield=True)
        self.foreign = foreign_of(options)
        self.workers = {
            JobKind.IO: options.workers,
            JobKind.CPU: cpu_count(options.cpu_workers, self.foreign),
        }
        self.stats = {
            kind: [WorkerStats() for _ in range(count)]
            for kind, count in self.workers.items()
        }
        self.ledger = Ledger(
            capacity=options.capacity,
            max_delayed=options.max_delayed,
            nested_capacity=options.nested_capacity,
            workers=self.workers,
            clock=self.clock,
            listeners=listeners,
            name=options.name,
        )
        self.guard = Guard(options.name, self.ledger)
        self.submitter = Submitter(
            self.ledger,
            JobOptions(timeout=options.timeout, retry=options.retry),
            takes_payloads=options.takes_payloads,
        )
        self.metrics = Metrics(self.clock)
        self.waiting = Waiting(self.clock, self.ledger)
        self.reaper = reaper_for(self.clock)
        self.maps = Maps(self.clock, self.reaper, self.waiting.wake)
        self.producers = Producers(
            len(options.producers),
            f"{options.name}/producers",
            self.waiting.wake,
            clock=self.clock,
        )
        self.crew = Crew(self.workers, f"{options.name}/workers")
        self.errors = RunErrors(options.name, self.ledger.root, self.producers)
        self.stopped: Future[Report] = self.clock.future()
        self.stopped.set_running_or_notify_cancel()  # nobody's cancel() gets at it
        self.tree: SupervisorRef | None = None
        self._lock = self.clock.lock()
        self._finished = False
        self._hurry = False
        self._falls = False
        self._tree_over = False

    # -- start

    def start(self) -> None:
        """Start the tree; returns when all children run.

        Raises:
            StartFailed: If a worker's, sink's or producer's own code failed.
            SupervisorGaveUp: If all workers of a kind raised ``Ignore``.
        """
        try:
            self.tree = self.errors.tree = build_tree(self)
        except BaseException:  # a producer may have brought jobs in by then
            self._finish("it did not start")
            raise
        self.tree.when_ended(self.tree_ended)
        if self.token.cancelled:  # there was no tree yet to be told
            self.end("it did not start", drain=0, grace=_FALL_TIME)
            self.raise_errors()

    @property
    def finished(self) -> bool:
        """True when the run is over."""
        return self._finished

    def on_event(self, event: object) -> None:
        """Hear what happens in the tree, on a supervisor's thread; never blocks."""
        if isinstance(event, (ChildDown, ChildAbandoned)) and self.crew.has(event):
            why = event.kind if isinstance(event, ChildDown) else event.why
            number = self.crew.number(event)
            self._tell_dispatcher(WorkerDown(event.child, number, why))
        self.producers.hear(event)
        self.ledger.tell(event)
        lost = self.crew.hear(event)
        if lost is not None:
            error = event.error if isinstance(event, ChildDown) else None
            self.errors.gave_up(lost, error)
            self._log_end(lost, error)
            self._fall(f"it gave up: {lost}")
        elif isinstance(event, TreeGaveUp) and event.supervisor == self.options.name:
            self._fall(f"it gave up, and the last failure was {shown(event.error)}")
        elif isinstance(event, ChildDown) and event.kind == "fatal":
            self._fall(f"{event.child} ended by {shown(event.error)}")

    def _tell_dispatcher(self, news: WorkerDown) -> None:
        if self.ledger.dispatcher is not None:
            self.ledger.dispatcher.tell_control(news)

    def _fall(self, why: str) -> None:
        """The tree ends by itself: hand back what waits before the workers stop.

        What a worker has in hand is handed back too, if it obeys its token; the rest is
        when the tree has ended.
        """
        self._falls = True
        self.close_intake(why)
        self._cancel(why)
        # Not before: it would cancel the jobs in hand, which are to be handed back.
        if self.tree is not None:
            self.tree.stop_now(why, timeout=_FALL_TIME)

    def tree_ended(self, exit: Exit) -> None:  # noqa: A002  # the word used everywhere
        """The tree is over: whoever still waits is told, nothing stays open."""
        self.errors.exit = exit
        why = cause_of(exit)
        if not self._finished and exit.abnormal:
            self._log_end(why, exit.error)
        self.token.cancel(why)
        self._tree_over = True
        self._finish(why)

    def _log_end(self, why: str, error: BaseException | None) -> None:
        logger.error(
            "%s: %s; every unfinished job is handed back",
            self.options.name,
            why,
            exc_info=None if error is None else (type(error), error, None),
        )

    # -- looking

    def snapshot(self) -> Snapshot:
        """Everything at this moment."""
        return self.metrics.snapshot(self.ledger, self.stats, self.options.capacity)

    def buffersize(self, kind: JobKind) -> int | None:
        """How many calls of a map may be out: capacity plus workers of the kind."""
        capacity = self.options.capacity
        return None if capacity is None else capacity + self.workers[kind]

    # -- waiting

    def wait_for_group(self, group: Group, timeout: float | None) -> bool:
        """Wait until a group is idle or the run is over; True if it is idle."""
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        return (
            self.waiting.until(lambda: group.idle or self._finished, deadline, group)
            and group.idle
        )

    def wait(self, timeout: float | None) -> bool:
        """Wait until the producers have ended and nothing is unsettled.

        Raises:
            ProducerError, SinkError, SupervisorGaveUp: What went wrong, once.
        """
        root = self.ledger.root
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        done = self.waiting.until(
            lambda: self._finished or (self._has_done_all() and not self._falls),
            deadline,
            root,
        )
        if done:
            self.raise_errors()
        return done

    def raise_errors(self) -> None:
        """Raise what the tree, a producer or the sink failed with, once."""
        self.errors.raise_once(finished=self._finished)

    def _has_done_all(self) -> bool:
        # The producers first: what the last one brought is accepted by then.
        return self.producers.all_ended and self.quiet()

    def quiet(self) -> bool:
        """True when all is settled and delivered, and no dropped map has more."""
        return self.maps.none_left() and self.ledger.root.idle

    def _drained(self, why: str) -> bool:
        """True when all is settled and delivered, and a producer brings no more."""
        return self.maps.none_left() and self.ledger.close_if_idle(why)

    # -- the end; every step may be taken by several threads at once

    def close_intake(self, why: str) -> None:
        """Step 1: nothing new from outside; producers stop at their next item."""
        self.ledger.close_intake(why)
        self.token.drain(why)

    def drain(self, timeout: float | None) -> Report:
        """Close the intake and wait until all is settled and delivered.

        Raises:
            ShutdownTimeout: If that took too long; it goes on.
        """
        why = "it is draining"
        self.close_intake(why)
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        root = self.ledger.root
        if not self.waiting.until(
            lambda: self._drained(why) or self._finished, deadline, root
        ):
            report = self.ledger.report()
            msg = (
                f"{self.options.name} did not drain within {timeout} s: "
                f"{report.unsettled} jobs are unsettled; it goes on draining"
            )
            raise ShutdownTimeout(msg, report)
        return self.ledger.report()

    def end(self, why: str, *, drain: float | None, grace: float | None) -> Report:
        """Drain, then cancel, then hand back what is left, then end the tree.

        Args:
            why: For logs and errors.
            drain: Seconds to drain; ``None`` for no limit, 0 not to.
            grace: Seconds that running jobs are given to obey, and the tree to end.
        """
        if self._finished:
            return self.stopped.result()
        self.close_intake(why)
        clock, root, until = self.clock, self.ledger.root, self.waiting.until
        began = clock.monotonic()
        if drain != 0:
            until(
                lambda: self._hurry or self._drained(why) or self._finished,
                None if drain is None else began + drain,
                root,
            )
        now = clock.monotonic()
        if not self._drained(why):
            self._cancel(why)
            obey_by = None if grace is None else now + grace / 2
            until(lambda: self._hurry or self._finished or root.idle, obey_by, root)
            self.ledger.return_all(why)
            give_by = None if grace is None else now + grace * 3 / 4
            until(lambda: self._hurry or self._finished or root.idle, give_by, root)
        stop_by, leave_by = None, math.inf
        if grace is not None and drain is not None:
            stop_by = now + grace
            leave_by = began + max(drain + grace, _LEAST_TREE_TIME)
        if self._hurry:
            stop_by = leave_by = clock.monotonic() + _LEAST_TREE_TIME
        self._end_tree(why, stop_by, leave_by)
        return self._finish(why)

    def stop_now(self, why: str) -> None:
        """Hand everything back at once; never blocks.  An ``end`` under way hurries."""
        self.close_intake(why)
        self._cancel(why)
        self.ledger.return_all(why)
        self._hurry = True
        self.waiting.wake()

    def _cancel(self, why: str) -> None:
        self.maps.handed_back = True
        self.ledger.begin_stopping(why)
        self.token.cancel(why)

    def _end_tree(self, why: str, stop_by: float | None, leave_by: float) -> None:
        """End the threads.

        Args:
            why: For logs.
            stop_by: When who has not obeyed is left behind; ``None`` for never.
            leave_by: When nobody waits for the end any more; it comes all the same.
        """
        if self.tree is None:
            return
        if stop_by is None:
            self.tree.shutdown()
            return
        now = self.clock.monotonic()
        self.tree.stop_now(why, timeout=max(0.0, stop_by - now))
        self.waiting.until(lambda: self._tree_over, leave_by, self.ledger.root)

    def _finish(self, why: str) -> Report:
        """The last step: nothing is left that could deliver or run."""
        self.ledger.return_all(why)
        self.ledger.deliveries.close()
        with self._lock:
            first, self._finished = not self._finished, True
        report = self.ledger.report()
        if first:
            self.token.cancel(why)
            self.reaper.close()
            self.stopped.set_result(report)
        self.waiting.wake()
        return report

    # -- ends that nobody asked for

    def abandoned_by_host(self) -> None:
        """Nobody refers to the pipeline any more: finish its jobs, end its threads."""
        if self._finished or self.guard.is_elsewhere:
            return
        self.end_in_background("nobody refers to it any more")

    def end_in_background(self, why: str) -> None:
        """Drain and end without a limit, on a thread of its own."""
        thread = self.clock.thread(
            lambda: self.end(why, drain=None, grace=None),
            name="headrace-shutdown",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:  # at the interpreter's exit, which drains by itself
            logger.info("%s: %s; no thread to end it", self.options.name, why)
