"""Runs jobs through a supervised tree of actors; a ``concurrent.futures.Executor``.

:Runs on: the host's threads.
:Owns: the options and the present run.
:Guards: ``_lock`` guards ``_run`` and the scopes' names.  Never held while a tree
    starts; ``_starting`` serialises that.
:Blocks: ``start`` until all workers run; the rest as each method says.
"""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from actors import (
    DeadLetters,
    JobOptions,
    Numbers,
    Report,
    RetryPolicy,
    Snapshot,
    ambient_clock,
)
from actors.errors import ConfigurationError
from actors.events import Listeners
from supervision import exit_drain
from supervision.pipeline_options import PipelineOptions, check_producers
from supervision.pipeline_run import PipelineRun
from supervision.progress import start_progress
from supervision.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Future
    from contextvars import ContextVar
    from types import TracebackType

    from actors import Clock, JobKind, JobResult, Submitter, Worker
    from supervision.pipeline_options import CpuWorkers, ProducerLike
    from supervision.supervisor_ref import SupervisorRef

__all__ = ["Pipeline"]

_names = Numbers(1)
_ERROR_STOP: Final = 5.0  # seconds to stop in when a with block ends by an exception


class Pipeline(Scope):
    """Jobs in, through bounded channels to workers, results out to a sink.

    Making one starts nothing; ``with``, ``start()`` or the first ``submit`` does.
    After ``stop()`` a ``start()`` begins a new run with new sums.

    Args:
        workers: Io workers, each a thread; ``max_workers=`` is the same.
        cpu_workers: Processes for cpu jobs: how many, a :class:`CpuPool`, another
            Executor, or a callable that makes one; one for each usable core by default.
            They start with the first cpu job.
        capacity: Jobs of a kind that may be due and wait for a worker before a submit
            waits; ``None`` for no bound.
        max_delayed: Jobs that may wait for a delay or a retry before intake waits.
        retry: A :class:`RetryPolicy` or a number of retries; ``None`` is one attempt.
        timeout: Seconds one attempt may take; ``None`` for no limit.
        worker_class: A :class:`Worker` subclass for the io workers.
        producers: Producers, producer classes, pairs ``(class, kwargs)`` or specs of
            one, or iterables of jobs.
        sink: Gets every final result, on the collector's thread.
        on_sink_error: ``"stop"`` closes the intake and drains without the sink,
            ``"continue"`` goes on and counts.
        initializer: Called at the start of each worker thread and worker process.
        initargs: Its arguments.
        dead_letters: Where dead jobs go; a store of its own by default.
        clock: The ambient clock by default.
        name: For logs and threads.
        progress: Show a live line, or a periodic log line without a terminal.
        nested_capacity: Jobs of a kind that may wait before a submit from inside the
            pipeline, which never waits, is refused.
        max_workers: The standard library's name for ``workers``.

    Raises:
        ConfigurationError: If an option is not allowed (a ``ValueError``).
    """

    def __init__(
        self,
        workers: int = 8,
        *,
        cpu_workers: CpuWorkers = None,
        capacity: int | None = 10,
        max_delayed: int = 10_000,
        retry: RetryPolicy | int | None = None,
        timeout: float | None = None,
        worker_class: type[Worker] | None = None,
        producers: Iterable[ProducerLike] = (),
        sink: Callable[[JobResult], object] | None = None,
        on_sink_error: Literal["stop", "continue"] = "stop",
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        dead_letters: DeadLetters | None = None,
        clock: Clock | None = None,
        name: str | None = None,
        progress: bool = False,
        nested_capacity: int = 10_000,
        max_workers: int | None = None,
    ) -> None:
        if max_workers is not None:
            if max_workers <= 0:
                msg = "max_workers must be greater than 0"
                raise ConfigurationError(msg)
            workers = max_workers
        clock = ambient_clock() if clock is None else clock
        name = f"pipeline-{_names.next_for(clock)}" if name is None else name
        self.clock = clock  # what a scope makes its lock with
        super().__init__(self, name, JobOptions())
        self._options_of_run = PipelineOptions(
            workers=workers,
            cpu_workers=cpu_workers,
            capacity=capacity,
            max_delayed=max_delayed,
            retry=RetryPolicy.of(retry),
            timeout=timeout,
            worker_class=worker_class,
            producers=check_producers(producers),
            sink=sink,
            on_sink_error=on_sink_error,
            initializer=initializer,
            initargs=tuple(initargs),
            dead_letters=(
                DeadLetters(clock=clock) if dead_letters is None else dead_letters
            ),
            clock=clock,
            name=name,
            progress=progress,
            nested_capacity=nested_capacity,
        )
        self._max_workers = workers
        self._listeners = Listeners(clock=clock)
        self._starting = clock.lock()
        self._present: PipelineRun | None = None

    def __repr__(self) -> str:
        return f"<Pipeline {self.name!r}>"

    # -- life

    def start(self) -> Self:
        """Start the tree of actors, if it does not run; idempotent.

        Returns:
            The pipeline.

        Raises:
            StartFailed: If a worker's, sink's or producer's own start failed.
            SupervisorGaveUp: If all workers of a kind raised ``Ignore``.
            UsedAfterFork: In a forked child of the process that started it.
        """
        with self._starting:
            run = self._present
            if run is not None and not run.finished:
                run.guard.check_process()
                return self
            run = PipelineRun(self._options_of_run, self._listeners)
            run.start()
            self._present = run
        exit_drain.register(run)
        watched = run.reaper.watch(self, run.abandoned_by_host)
        run.stopped.add_done_callback(lambda _: watched.detach())
        if self._options_of_run.progress:
            start_progress(run)
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drain without a limit; after an exception, stop within 5 s.

        Raises:
            SupervisorGaveUp, ProducerError, SinkError: If the block itself did not
                raise: what the tree, a producer or the sink failed with.  What the
                block raises for want of a tree has a note that says why there is none.
        """
        if exc_type is not None:
            self._end(f"its with block raised {exc_type.__name__}", 0, _ERROR_STOP)
            if self._present is not None:
                self._present.errors.explain(exc)
            return
        self.shutdown()
        run = self._present
        if run is not None:
            run.raise_errors()

    @property
    def tree(self) -> SupervisorRef | None:
        """The supervisors and stages of the present run; ``None`` before its start.

        ``print(pipeline.tree.snapshot())`` draws them.
        """
        return None if self._present is None else self._present.tree

    def drain(self, timeout: float | None = None) -> Report:
        """Close the intake and wait until everything is settled and delivered.

        Args:
            timeout: Seconds; ``None`` for no limit.

        Raises:
            ShutdownTimeout: With the report; it goes on draining.
            WouldDeadlock: From inside the pipeline.
        """
        run = self.current_run()
        run.guard.forbid_wait("drain()", jobs_too=True)
        return run.drain(timeout)

    def stop(self, timeout: float = 25.0) -> Report:
        """Drain, then cancel what runs, then hand back what is left; idempotent.

        Args:
            timeout: Seconds for all of it; the last fifth, at most a second, is for
                running jobs to obey their cancel.

        Returns:
            The sums, with every unfinished Job.

        Raises:
            WouldDeadlock: From inside the pipeline.  Nothing else.
        """
        grace = min(1.0, timeout / 5)
        return self._end("it was stopped", timeout - grace, grace)

    def stop_now(self, reason: str = "it was stopped now") -> None:
        """Hand back everything at once; never blocks.  Call ``stop`` to end threads."""
        run = self._present
        if run is not None:
            run.stop_now(reason)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  # Executor's signature
        """End it as ``Executor.shutdown`` does, without a limit of time.

        Args:
            wait: Wait for the end; False leaves it to a background thread.
            cancel_futures: Cancel the jobs that have not begun.

        Raises:
            WouldDeadlock: From inside the pipeline, when it is to wait.
        """
        run = self._run_to_end()
        if wait:
            run.guard.forbid_wait("shutdown(wait=True)", jobs_too=True)
        run.close_intake("it was shut down")
        if cancel_futures:
            run.ledger.cancel_waiting("it was shut down with cancel_futures=True")
        if wait:
            run.end("it was shut down", drain=None, grace=None)
        elif not run.finished:
            run.end_in_background("it was shut down")

    def _end(self, why: str, drain: float | None, grace: float | None) -> Report:
        run = self._run_to_end()
        run.guard.forbid_wait("stop()", jobs_too=True)
        return run.end(why, drain=drain, grace=grace)

    def _run_to_end(self) -> PipelineRun:
        """The present run; one that has ended, if it was never started."""
        run = self._present
        if run is None:
            with self._starting:  # it may be starting just now
                run = self._present
                if run is None:
                    run = PipelineRun(self._options_of_run, self._listeners)
                    run.end("it was never started", drain=0, grace=0)
                    self._present = run
        run.guard.check_process()
        return run

    # -- looking

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the producers have ended and nothing is unsettled.

        The intake stays open.  Returns also when the pipeline has stopped.

        Args:
            timeout: Seconds; ``None`` for no limit.

        Returns:
            True when it is so, False on timeout.

        Raises:
            ProducerError, SinkError, SupervisorGaveUp: What went wrong, once.
            WouldDeadlock: From inside the pipeline.
        """
        run = self.current_run()
        run.guard.forbid_wait("wait()", jobs_too=True)
        return run.wait(timeout)

    @property
    def stopped(self) -> Future[Report]:
        """A future of the final report, for a GUI that must not block."""
        return self.current_run().stopped

    def report(self) -> Report:
        """The sums of this run; after the end, of the last one."""
        return self.current_run().ledger.report() if self.has_run else Report()

    def snapshot(self) -> Snapshot:
        """Rates, latencies, queue depths and utilisation at this moment."""
        return self.current_run().snapshot() if self.has_run else Snapshot()

    @property
    def dead_letters(self) -> DeadLetters:
        """Where this pipeline's dead jobs are."""
        return self._options_of_run.dead_letters

    def add_listener(self, fn: Callable[[Any], object]) -> Callable[[], None]:
        """Tell ``fn`` every event of jobs and children from now on.

        It runs on whatever thread the thing happens on, so it must be short and must
        not wait; one that raises is logged once.  Events are in :mod:`actors.events`.

        Returns:
            A callable that takes it out again.
        """
        return self._listeners.add(fn)

    def cancel(self, reason: str = "everything was cancelled") -> int:
        """Give up every job; see :meth:`Scope.cancel`."""
        return super().cancel(reason)

    # -- scopes

    def scope(
        self,
        name: str | None = None,
        *,
        kind: JobKind | str | None = None,
        key: object = None,
        delay: float | None = None,
        timeout: float | None = None,
        retry: RetryPolicy | int | None = None,
        wait: bool | float = True,
        context: Sequence[ContextVar[Any]] = (),
    ) -> Scope:
        """The same Executor with options for its jobs and a group of its own.

        Args:
            name: For logs and ``report()``.
            kind: ``"io"`` or ``"cpu"``.
            key: The jobs' key.
            delay: Seconds before the first attempt.
            timeout: Seconds one attempt may take.
            retry: A policy or a number of retries.
            wait: How long a submit waits for room: True, False or seconds.
            context: Context variables whose present values travel with each job.
        """
        options = JobOptions.make(
            kind=kind, delay=delay, timeout=timeout, retry=retry, key=key
        )
        return Scope(self, name or "scope", options, wait=wait, context=context)

    # -- private

    @property
    def has_run(self) -> bool:
        """True once it was started, or ended before that."""
        return self._present is not None

    def current_run(self) -> PipelineRun:
        """The present run, started if there was none; the ended one after a stop."""
        run = self._present
        if run is None:
            self.start()
            run = self._present
            assert run is not None  # start() sets it
        run.guard.check_process()
        return run

    def _make_submitter(self, run: PipelineRun) -> Submitter:
        return run.submitter


# Here, not there: after the trees' own, which must run later, so that it runs before.
atexit.register(exit_drain.drain_all)
