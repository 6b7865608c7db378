"""The stage that runs one attempt at a time.

An idle worker waits on its mailbox and on its kind's channel at once; an io job runs
in the worker's thread, a cpu job in a process that the worker's thread drives.

:Runs on: the worker's own thread.
:Owns: its process or engine, and its counters of busy time.
:Blocks: for as long as a job runs; on room at the collector, until its token is
    cancelled.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from actors._inside import Role, enter_role
from actors._ledger import Entry
from actors.cpu_pool import dumps_call
from actors.errors import Cancelled, HeadraceError, JobTimeout
from actors.job_context import JobContext, checkpoint, current_context
from actors.job_future import JobFuture
from actors.jobs import Job, JobKind, JobOptions
from actors.results import Attempt
from actors.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.cpu_pool import Engine
    from actors.exits import Exit
    from actors.ledger import Ledger, Taken

__all__ = ["Worker", "WorkerStats", "WorkerWiring"]


class WorkerStats:
    """How busy one worker is; written by its thread, summed by readers."""

    __slots__ = ("busy", "jobs", "since")

    def __init__(self) -> None:
        self.busy = 0.0
        self.jobs = 0
        self.since: float | None = None

    def busy_until(self, now: float) -> float:
        """Seconds spent on jobs so far, the running one included."""
        since = self.since
        return self.busy + (0.0 if since is None else max(0.0, now - since))


class WorkerWiring:
    """What a pipeline lets a worker know; shared by its incarnations.

    Args:
        ledger: Where its jobs come from.
        kind: Theirs.
        name: Its own, in the ledger.
        engine: Makes what runs a cpu job; ``None`` for an io worker.
        initializer: Called at each start.
        stats: Of a worker in this place.
        before: Incarnations that there were in this place under earlier supervisors,
            whose children count from 1 again.
    """

    __slots__ = (
        "before",
        "engine",
        "initializer",
        "kind",
        "ledger",
        "name",
        "stats",
    )

    def __init__(
        self,
        ledger: Ledger,
        kind: JobKind,
        name: str,
        *,
        engine: Callable[[], Engine] | None = None,
        initializer: Callable[[], object] | None = None,
        stats: WorkerStats | None = None,
        before: int = 0,
    ) -> None:
        self.before = before
        self.ledger = ledger
        self.kind = kind
        self.name = name
        self.engine = engine
        self.initializer = initializer
        self.stats = WorkerStats() if stats is None else stats


class Worker(Stage):
    """Runs jobs, one attempt at a time.

    Subclass it and override :meth:`handle` to serve payload jobs with state of your own
    (a connection, a model): make the state in ``on_start``, which runs again after each
    restart.
    """

    wiring: WorkerWiring | None
    _engine: Engine | None = None

    def wired(self) -> None:
        """See :meth:`Stage.wired`."""
        wiring = self.wiring
        assert wiring is not None  # called only with a wiring
        ledger = wiring.ledger
        # What the last incarnation held is settled before we take anything.
        if not ledger.worker_began(wiring.name, wiring.before + self.incarnation):
            return
        wiring.stats.since = None
        enter_role(ledger, Role.JOB, wiring.kind)
        self._engine = None if wiring.engine is None else wiring.engine()
        if wiring.initializer is not None:
            wiring.initializer()
        self.source = ledger.lane(wiring.kind, wiring.name)

    def handle(self, job: Job) -> Any:
        """Serve a payload job; override it.

        Runs in the worker's thread.  What it returns is the job's value; what it raises
        fails the attempt and leaves the worker alive.

        Args:
            job: The job; its payload is ``job.payload``.
        """
        msg = (
            f"{job!r} has a payload, but {type(self).__name__} does not override "
            "handle(); pass worker_class= a subclass that does, or submit a function"
        )
        raise HeadraceError(msg)

    def run_cpu(
        self, fn: Callable[..., Any], *args: Any, timeout: float | None = None
    ) -> Any:
        """Run a module-level function in a process of the pool, from inside ``handle``.

        The call is part of the job's own attempt: it is not counted as a job, and the
        job's token and timeout kill its process.

        Args:
            fn: A function that pickles.
            *args: Its arguments.
            timeout: Seconds it may take.

        Raises:
            Cancelled: If the job was cancelled meanwhile.
            BaseException: What the function raised.
        """
        context = current_context.get()
        if context is None or self.wiring is None:
            msg = "run_cpu() works inside handle() alone, while a job runs"
            raise HeadraceError(msg)
        ledger = self.wiring.ledger
        options = JobOptions.make(kind=JobKind.CPU, timeout=timeout)
        outer = context.entry
        call = Job.called(outer.job.id or 0, (fn, args, {}), options)
        future = JobFuture(ledger, ledger.clock)
        entry = Entry(call, outer.group, future, counted=False)
        future.belong_to(entry)
        forget = context.token().on_cancel(lambda reason: ledger.cancel(entry, reason))
        try:
            checkpoint()  # cancelled before: the call back may yet be on its way
            ledger.enter_call(entry)
            return future.result()
        except CancelledError:
            raise Cancelled(context.reason or "the call was cancelled") from None
        finally:
            forget()

    # -- the loop calls these

    def on_item(self, item: Taken) -> None:
        """Run one attempt of a job taken from the channel."""
        wiring = self.wiring
        assert wiring is not None  # only a wired worker has a source
        if self.stop_token.cancelled:
            wiring.ledger.give_back(item)
            self.source = None  # the order to stop is on its way
            return
        if wiring.kind is JobKind.IO:
            self._attempt_io(wiring, item)
        else:
            self._attempt_cpu(wiring, item)

    def _attempt_io(self, wiring: WorkerWiring, taken: Taken) -> None:
        entry, ledger = taken.entry, wiring.ledger
        entry.token = None
        began = entry.begun_at
        assert began is not None  # an io job begins in the step that takes it
        ledger.record("began", entry)
        stats, clock, job = wiring.stats, ledger.clock, entry.job
        stats.since = began
        context = JobContext(entry, self.stop_token, clock)
        timer = (
            None
            if job.timeout is None
            else clock.call_later(job.timeout, context.time_out)
        )
        value, error = None, None
        try:
            value = self._call(context)
        except KeyboardInterrupt as interrupt:
            # Fatal for the tree; the job itself is settled as failed first.
            self._finish(wiring, taken, began, None, interrupt)
            raise
        except BaseException as raised:  # noqa: BLE001  # a job's own: fails the job
            error = raised
        finally:
            if timer is not None:
                timer.cancel()
        if isinstance(error, Cancelled) and context.timed_out:
            late = JobTimeout(f"{job!r} ran longer than its timeout of {job.timeout} s")
            late.__cause__ = error
            error = late
            del late
        try:
            self._finish(wiring, taken, began, value, error)
        finally:  # the error's traceback holds this frame: no circle of the two
            del error

    def _call(self, context: JobContext) -> Any:
        """Call the job's code with the job, and what it carries, in the context."""
        entry = context.entry
        job = entry.job
        mark = current_context.set(context)
        carried = [(var, var.set(v)) for var, v in (entry.context or {}).items()]
        try:
            if job.fn is not None:
                return job.fn(*job.args, **job.kwargs)
            return self.handle(job)
        finally:
            for var, token in carried:
                var.reset(token)
            current_context.reset(mark)

    def _attempt_cpu(self, wiring: WorkerWiring, taken: Taken) -> None:
        entry, engine = taken.entry, self._engine
        assert engine is not None  # a cpu worker is wired with one
        job = entry.job
        assert job.fn is not None  # the intake refuses cpu payloads
        token = entry.token = self.stop_token.child("job")
        began = wiring.ledger.begin(taken, token.cancel if engine.kills else None)
        if began is None:
            return
        wiring.ledger.record("began", entry)
        wiring.stats.since = began
        try:
            call = dumps_call(job.fn, job.args, job.kwargs)
        except Exception as error:  # noqa: BLE001  # anything a reducer raises
            self._finish(wiring, taken, began, None, error)
            return
        meta = {"id": job.id, "key": job.key, "name": job.name}
        outcome = engine.run(call, timeout=job.timeout, token=token, meta=meta)
        self._finish(wiring, taken, began, outcome.value, outcome.error, outcome.pid)

    def _finish(  # noqa: PLR0917  # private, one call for each kind of end
        self,
        wiring: WorkerWiring,
        taken: Taken,
        began: float,
        value: Any,
        error: BaseException | None,
        pid: int | None = None,
    ) -> None:
        """Settle the attempt; waits while the collector has no room."""
        ledger, stats, entry = wiring.ledger, wiring.stats, taken.entry
        ended = ledger.clock.monotonic()
        stats.busy += ended - began
        stats.since = None
        stats.jobs += 1
        number = len(entry.attempts) + 1
        attempt = Attempt(number, wiring.name, began, ended, error, pid)
        ledger.settle(taken, attempt, value, self.stop_token)

    def on_end(self, exit: Exit) -> None:  # noqa: A002  # the word used everywhere
        """End the process, however the worker ended."""
        super().on_end(exit)
        if self._engine is not None:
            self._engine.close()
