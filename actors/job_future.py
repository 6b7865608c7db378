"""The future of one submitted job.

:Runs on: ``result``, ``exception``, ``job_result`` and ``cancel`` on the host's
    threads; completed by the thread that settles the job.
:Owns: the job's result once it is settled.
:Blocks: ``result``, ``exception`` and ``job_result``, until the job is settled or the
    timeout passes.
"""

from __future__ import annotations

import contextlib
import logging
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Protocol

from actors._inside import Role, inside
from actors.clock import ClockFuture
from actors.jobs import JobStatus

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from actors._ledger import Entry
    from actors.clock import Clock
    from actors.jobs import Job
    from actors.results import JobResult

__all__ = ["JobFuture"]

logger = logging.getLogger("headrace.job_future")


class _Keeper(Protocol):
    """What a future asks of the ledger that its job stands in."""

    def cancel(
        self, entry: Entry, reason: str, *, only_waiting: bool = False
    ) -> bool: ...

    def waiting_for(self, entry: Entry) -> AbstractContextManager[None]: ...


class JobFuture(ClockFuture):
    """A ``concurrent.futures.Future`` of a job in a pipeline.

    ``result()`` raises the job's original exception, never a wrapper, with its attempts
    as notes.  A :class:`~actors.errors.JobTimeout` from it is the job's own timeout; a
    plain ``TimeoutError`` is the wait's.

    Made by a pipeline; a host has no reason to make one.
    """

    def __init__(self, keeper: _Keeper, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._keeper = keeper
        # Invariant: the entry refers to us only until it is settled, and we to it: a
        # settled job is freed without the garbage collector.
        self._entry: Entry | None = None
        self._job: Job | None = None
        self._job_result: JobResult | None = None

    def belong_to(self, entry: Entry) -> None:
        """Tie the future to its entry; called once, by the intake."""
        self._entry, self._job = entry, entry.job

    @property
    def job(self) -> Job:
        """The numbered job."""
        assert self._job is not None  # tied by the intake at birth
        return self._job

    @property
    def has_callbacks(self) -> bool:
        """True while done-callbacks wait for the end."""
        return bool(self._done_callbacks)  # type: ignore[attr-defined]  # not in typeshed

    def running(self) -> bool:
        """True while an attempt runs."""
        entry = self._entry
        return entry is not None and entry.status is JobStatus.RUNNING

    def cancel(self) -> bool:
        """Give the job up.

        Returns:
            True only when the job will not complete: it waited, or it was a cpu job
            and its process was killed.  For a running io job the stop token is set and
            the answer is False; the future becomes cancelled if the job obeys.

        Thread safety:
            Any thread; never blocks.
        """
        entry = self._entry
        if self.done() or entry is None:
            return self.cancelled()
        return self._keeper.cancel(entry, "the future was cancelled")

    def cancel_unless_begun(self) -> bool:
        """Give the job up if it still waits; leave one that runs alone.

        Returns:
            True when it will not complete.
        """
        entry = self._entry
        if self.done() or entry is None:
            return self.cancelled()
        reason = "nobody wants its value any more"
        return self._keeper.cancel(entry, reason, only_waiting=True)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the job and return its value.

        Args:
            timeout: Seconds to wait, on the pipeline's clock; ``None`` for no limit.

        Raises:
            TimeoutError: If it was not settled in time; the job goes on.
            CancelledError: If it was cancelled, or returned before it began.
            WouldDeadlock: From a sink, done-callback or listener of the same pipeline,
                and from a job when every worker of the needed kind waits like this.
            BaseException: What the job raised.
        """
        try:
            entry = self._entry
            if self.done() or entry is None:
                return self._outcome(timeout)
            with self._keeper.waiting_for(entry):
                return self._outcome(timeout)
        finally:  # the error's traceback holds this frame: no circle of the two
            del self

    def _outcome(self, timeout: float | None) -> Any:
        try:
            value = super().result(timeout)
            if value is None:  # the base class drops an error that counts as false
                error = super().exception(0)
                if error is not None:
                    raise error
            return value
        finally:  # as above
            del self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the job and return what it raised; waits as :meth:`result` does."""
        entry = self._entry
        if self.done() or entry is None:
            return super().exception(timeout)
        with self._keeper.waiting_for(entry):
            return super().exception(timeout)

    def job_result(self, timeout: float | None = None) -> JobResult:
        """Wait for the job and return what became of it, failures as values.

        Waits as :meth:`result` does, and raises only what its wait raises.
        """
        with contextlib.suppress(CancelledError):
            self.exception(timeout)
        result = self._job_result
        assert result is not None  # set before the future completes
        return result

    def guard_wait(self) -> AbstractContextManager[None]:
        """Enter it around a wait for this job by other means than ``result``.

        Raises:
            WouldDeadlock: Where ``result`` would.
        """
        entry = self._entry
        if entry is None:
            return contextlib.nullcontext()  # settled, there is nothing to wait for
        return self._keeper.waiting_for(entry)

    def complete(self, result: JobResult) -> None:
        """Complete the future with the settled result; the settling thread calls it.

        Done-callbacks run here, on this thread; their exceptions are logged by
        ``concurrent.futures``.
        """
        self._job_result = result
        self._entry = None
        if result.ok:
            self.set_result(result.value)
        elif result.status is JobStatus.CANCELLED or (
            result.status is JobStatus.RETURNED and not result.attempts
        ):
            super().cancel()
            self.set_running_or_notify_cancel()
        else:
            self.set_exception(result.error)

    def _invoke_callbacks(self) -> None:
        if not self.has_callbacks:
            return
        try:
            with inside(self._keeper, Role.CALLBACK):
                super()._invoke_callbacks()  # type: ignore[misc]  # not in typeshed
        except KeyboardInterrupt:
            raise
        except BaseException:  # a callback's own: whoever settles jobs goes on
            logger.exception(
                "a done-callback of %r raised; later ones are skipped", self
            )
