"""An Executor's view of a pipeline: options for its jobs, and a group they end in.

:Runs on: the host's threads.
:Owns: its group of jobs in the pipeline's present run.
:Guards: ``_lock`` guards the group's making.
:Blocks: ``submit`` and its like on room; ``wait``, ``run`` and the iterators until
    their jobs are settled.
"""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any, Final

from actors import NO_OPTIONS, Group, Report
from actors.errors import ConfigurationError, SinkError
from supervision.mapping import Calls, MapIterator, ResultsIterator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextvars import ContextVar

    from actors import Job, JobFuture, JobOptions, JobResult, Submitter
    from supervision.pipeline import Pipeline
    from supervision.pipeline_run import PipelineRun

__all__ = ["Scope"]

_DEFAULT: Any = object()
_FOREVER: Final = 1e9  # seconds


class Scope(concurrent.futures.Executor):
    """A named group of jobs with options of their own; made by ``Pipeline.scope``."""

    def __init__(
        self,
        pipeline: Pipeline,
        name: str,
        options: JobOptions,
        *,
        wait: bool | float = True,
        context: Sequence[ContextVar[Any]] = (),
    ) -> None:
        given: object = wait  # typed wider than promised
        if not isinstance(given, bool) and not (
            isinstance(given, (int, float)) and given >= 0
        ):
            msg = f"wait must be True, False or 0 or more seconds, got {wait!r}"
            raise ConfigurationError(msg)
        self._pipeline = pipeline
        self.name = name
        self._options = options
        # The system's waits overflow at 9.2e9 seconds; nobody waits for 1e9.
        self._patience = wait is True or (wait if wait < _FOREVER else True)
        self._context = tuple(context)
        self._lock = pipeline.clock.lock()
        self._bound: tuple[PipelineRun, Submitter] | None = None

    def __repr__(self) -> str:
        return f"<Scope {self.name!r} of {self._pipeline!r}>"

    # -- an executor

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobFuture:
        """Submit a call; waits while there is no room.

        From inside the pipeline (a job, a done-callback, the sink) it never waits.

        Args:
            fn: A callable; for ``kind="cpu"`` one that pickles.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The job's future; whatever is wrong with the arguments arrives in it.

        Raises:
            ConfigurationError: If ``fn`` is not callable.
            MailboxClosed: If the intake is closed.
            MailboxFull: If ``wait=`` was not True and there was no room in time.
        """
        future = self._submitter().submit(fn, args, kwargs)
        assert future is not None  # asked for by default
        return future

    def submit_job(self, job: Job) -> JobFuture:
        """Submit a Job made by hand; it stays as it is, ``future.job`` is the copy."""
        future = self._submitter().submit_job(job)
        assert future is not None  # asked for by default
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = _DEFAULT,
    ) -> Iterator[Any]:
        """Call ``fn`` on each item; values in order, raising as ``Executor.map`` does.

        The iterables are pulled on the caller's thread: ``buffersize`` calls now, then
        one for each value taken.  An iterator that is dropped before its first value
        still runs everything; one closed half way cancels what has not begun.

        Args:
            fn: A callable.
            *iterables: Its arguments, side by side.
            timeout: Seconds from now in which all values must be taken.
            chunksize: Accepted for the standard library's sake; jobs are not chunked.
            buffersize: How many calls may be out; by default the capacity plus the
                workers of the jobs' kind, ``None`` for all at once.

        Raises:
            TimeoutError: From ``next``, when the time is over.
        """
        if chunksize < 1:
            msg = "chunksize must be >= 1."
            raise ConfigurationError(msg)
        clock = self._pipeline.clock
        deadline = None if timeout is None else clock.monotonic() + timeout
        calls = self._calls(fn, iterables, self._buffer(fn, buffersize))
        calls.fill()
        return MapIterator(calls, deadline)

    def results(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        buffersize: int | None = _DEFAULT,
    ) -> Iterator[JobResult]:
        """Call ``fn`` on each item; every result as it settles, failures as values.

        Pulls and closes as :meth:`map` does.
        """
        run = self._run()
        queue = run.clock.queue()
        calls = self._calls(fn, iterables, self._buffer(fn, buffersize), done=queue.put)
        calls.fill()
        return ResultsIterator(calls, queue)

    def run(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        sink: Callable[[JobResult], object] | None = None,
        key: object = None,
    ) -> Report:
        """Call ``fn`` on each item for its effects, and wait for the end of all.

        Args:
            fn: A callable.
            *iterables: Its arguments, side by side; pulled on the caller's thread.
            sink: Gets each result in place of the pipeline's own sink, on the
                collector's thread.
            key: Each job's key: a callable of the arguments, or one key for all.

        Returns:
            The sums of these jobs alone.

        Raises:
            SinkError: If ``sink`` raised, after everything else is settled.
            WouldDeadlock: From inside the pipeline, where the wait could never end.
            Exception: What an iterable raised, after what it gave before is settled.
        """
        run, submitter = self._bind()
        run.guard.forbid_wait("run()")
        group = Group(f"{self.name}.run", submitter.group, sink=sink)
        mine = submitter.narrowed(group, NO_OPTIONS, wait=self._patience, context=())
        error = None
        what = f"those of {self.name}.run()"
        with run.ledger.waits.waiting_for_kind(mine.kind_of(fn), what):
            try:
                for args in zip(*iterables, strict=False):
                    this_key = key(*args) if callable(key) else key
                    mine.submit(fn, args, {}, future=False, key=this_key)
            except Exception as raised:  # noqa: BLE001  # raised again below
                error = raised
            run.wait_for_group(group, None)
        if error is not None:
            raise error
        if group.sink_error is not None:
            msg = "the sink of run() raised; results it was not given are in the report"
            raise SinkError(msg) from group.sink_error
        return run.ledger.report(group)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  # Executor's signature
        """End nothing but this view: wait for its jobs, as leaving its ``with`` does.

        Args:
            wait: Wait until the scope's jobs are settled and delivered.
            cancel_futures: Cancel them first.
        """
        if cancel_futures:
            self.cancel("the scope was shut down")
        if wait:
            self.wait()

    # -- a group

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until every job of the scope is settled and delivered.

        Args:
            timeout: Seconds; ``None`` for no limit.

        Returns:
            True when it is so, False on timeout.

        Raises:
            WouldDeadlock: From inside the pipeline.
        """
        run, submitter = self._bind()
        run.guard.forbid_wait("wait()", jobs_too=True)
        return run.wait_for_group(submitter.group, timeout)

    def cancel(self, reason: str = "the scope was cancelled") -> int:
        """Give up every job of the scope.

        Returns:
            How many will not complete; running io jobs end only if they obey.
        """
        if not self._pipeline.has_run:
            return 0
        run, submitter = self._bind()
        return run.ledger.cancel_group(submitter.group, reason)

    def report(self) -> Report:
        """The sums of the scope's jobs."""
        if not self._pipeline.has_run:
            return Report()
        run, submitter = self._bind()
        return run.ledger.report(submitter.group)

    # -- private

    def _run(self) -> PipelineRun:
        return self._bind()[0]

    def _submitter(self) -> Submitter:
        return self._bind()[1]

    def _bind(self) -> tuple[PipelineRun, Submitter]:
        """The pipeline's present run, and our submitter and group in it."""
        run = self._pipeline.current_run()
        bound = self._bound
        if bound is not None and bound[0] is run:
            return bound
        with self._lock:
            if self._bound is None or self._bound[0] is not run:
                self._bound = (run, self._make_submitter(run))
            return self._bound

    def _make_submitter(self, run: PipelineRun) -> Submitter:
        group = Group(self.name, run.ledger.root)
        return run.submitter.narrowed(
            group, self._options, wait=self._patience, context=self._context
        )

    def _buffer(self, fn: Callable[..., Any], given: int | None) -> int | None:
        if given is _DEFAULT:
            return self._run().buffersize(self._submitter().kind_of(fn))
        if given is not None and (
            isinstance(given, bool) or not isinstance(given, int)
        ):
            msg = f"buffersize must be an integer or None, got {given!r}"
            raise TypeError(msg)
        if given is not None and given < 1:
            msg = "buffersize must be None or > 0"
            raise ConfigurationError(msg)
        return given

    def _calls(
        self,
        fn: Callable[..., Any],
        iterables: tuple[Iterable[Any], ...],
        buffersize: int | None,
        *,
        done: Callable[[Any], object] | None = None,
    ) -> Calls:
        submitter = self._submitter()

        def submit(
            args: tuple[Any, ...],
            *,
            privileged: bool = False,
            patience: bool | float = True,
        ) -> JobFuture:
            by = submitter
            if privileged:  # nobody is left to be told that there was no room
                by = by.narrowed(by.group, NO_OPTIONS, wait=patience, context=())
            future = by.submit(fn, args, {}, privileged=privileged)
            assert future is not None  # asked for by default
            if done is not None and not privileged:  # else nobody is left to take it
                future.add_done_callback(done)
            return future

        items = iter(zip(*iterables, strict=False))
        return Calls(submit, items, buffersize, self._run().maps)
