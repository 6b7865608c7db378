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
import os
from typing import TYPE_CHECKING, Final

from actors import (
    Group,
    JobKind,
    JobOptions,
    Ledger,
    Metrics,
    Role,
    StopToken,
    Submitter,
    WorkerStats,
    role_in,
)
from actors.errors import (
    ProducerError,
    ShutdownTimeout,
    SinkError,
    UsedAfterFork,
    WouldDeadlock,
)
from actors.events import ChildAbandoned, ChildDown, Listeners
from actors.messages import WorkerDown
from supervision.mapping import Maps
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


class PipelineRun:
    """From one start to one stop.

    Args:
        options: What the pipeline was asked to be.
        listeners: Who hears of jobs' and children's events.
    """

    def __init__(self, options: PipelineOptions, listeners: Listeners) -> None:
        self.options = options
        self.clock = options.clock
        self.pid = os.getpid()
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
        self.stopped: Future[Report] = self.clock.future()
        self.stopped.set_running_or_notify_cancel()  # nobody's cancel() gets at it
        self.tree: SupervisorRef | None = None
        self._lock = self.clock.lock()
        self._finished = False
        self._hurry = False
        self._tree_over = False
        self._raised = False  # what went wrong was raised to the host once

    # -- start

    def start(self) -> None:
        """Start the tree; returns when all children run.

        Raises:
            StartFailed: If a worker's, sink's or producer's own code failed.
        """
        self.tree = build_tree(self)
        self.tree.when_ended(self.tree_ended)

    @property
    def finished(self) -> bool:
        """True when the run is over."""
        return self._finished

    def on_event(self, event: object) -> None:
        """Hear what happens in the tree, on a supervisor's thread; never blocks."""
        if isinstance(event, (ChildDown, ChildAbandoned)) and "worker" in event.child:
            why = event.kind if isinstance(event, ChildDown) else event.why
            dispatcher = self.ledger.dispatcher
            if dispatcher is not None:
                dispatcher.tell_control(WorkerDown(event.child, event.incarnation, why))
        self.producers.hear(event)
        self.ledger.tell(event)

    def tree_ended(self, exit: Exit) -> None:  # noqa: A002  # the word used everywhere
        """The tree is over: whoever still waits is told, nothing stays open."""
        why = f"its tree of actors ended ({exit.kind})"
        if not self._finished and exit.kind not in ("normal", "shutdown"):
            logger.error(
                "%s: %s; every unfinished job is handed back",
                self.options.name,
                why,
                exc_info=exit.error,
            )
        self.token.cancel(why)
        self._tree_over = True
        self._finish(why)

    # -- looking

    def snapshot(self) -> Snapshot:
        """Everything at this moment."""
        return self.metrics.snapshot(self.ledger, self.stats, self.options.capacity)

    def buffersize(self, kind: JobKind) -> int | None:
        """How many calls of a map may be out: capacity plus workers of the kind."""
        capacity = self.options.capacity
        return None if capacity is None else capacity + self.workers[kind]

    def check_process(self) -> None:
        """Refuse to work in a forked copy, which has none of the threads.

        Raises:
            UsedAfterFork: Naming both processes.
        """
        here = os.getpid()
        if here != self.pid:
            msg = (
                f"{self.options.name} was started in process {self.pid} and cannot be "
                f"used in its forked child {here}, which has none of its threads; make "
                "a new Pipeline there"
            )
            raise UsedAfterFork(msg)

    # -- waiting

    def forbid_wait(self, what: str, *, jobs_too: bool = False) -> None:
        """Refuse a wait on the whole from inside.

        Args:
            what: The call, for the error.
            jobs_too: Refuse it to jobs and producers as well.

        Raises:
            WouldDeadlock: If the caller is inside the pipeline.
        """
        self.check_process()
        mark = role_in(self.ledger)
        if mark is None:
            return
        if mark.role in (Role.JOB, Role.PRODUCER) and not jobs_too:
            return
        msg = (
            f"{what} from inside {mark.role.value} of {self.options.name} would wait "
            "for itself; call it from the host's own thread"
        )
        raise WouldDeadlock(msg)

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
            # The producers first: what the last one brought is accepted by then.
            lambda: self._finished or (self.producers.all_ended and self.quiet()),
            deadline,
            root,
        )
        if done:
            self.raise_errors()
        return done

    def raise_errors(self) -> None:
        """Raise what a producer, the sink or the tree failed with, once."""
        root = self.ledger.root
        if self._raised:
            return
        error = self.producers.error
        if error is not None:
            self._raised = True
            msg = f"a producer of {self.options.name} raised {error!r}"
            raise ProducerError(msg) from error
        if root.sink_error is not None:
            self._raised = True
            msg = (
                f"the sink of {self.options.name} raised {root.sink_error!r}; results "
                "it was not given are in report().undelivered"
            )
            raise SinkError(msg) from root.sink_error
        if self._finished and self.tree is not None:
            self._raised = True
            self.tree.wait(0)

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
        if self._finished or self.pid != os.getpid():
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
