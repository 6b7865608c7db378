"""What code inside a running job can ask for.

:Runs on: the thread that runs the job.
:Owns: the context variable of the current job.
:Blocks: ``sleep``, until its time is over or the job's stop token is cancelled.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from actors.clock import ambient_clock
from actors.errors import Cancelled
from actors.jobs import Job, JobOptions

if TYPE_CHECKING:
    from actors._ledger import Entry
    from actors.clock import Clock
    from actors.stop_token import StopToken

__all__ = ["JobContext", "checkpoint", "current_context", "current_job", "sleep"]


class JobContext:
    """One attempt of one job, seen from inside.

    Race, thought through: (1) the job makes its token, stores it in the entry, then
    looks at the reasons; (2) whoever cancels stores the reason, then looks for a token.
    One of the two sees the other, so no cancel is missed.
    """

    __slots__ = ("_worker_token", "clock", "entry", "timed_out")

    def __init__(self, entry: Entry, worker_token: StopToken, clock: Clock) -> None:
        self.entry = entry
        self.clock = clock
        self.timed_out = False
        self._worker_token = worker_token

    @property
    def reason(self) -> str | None:
        """Why the job shall end; ``None`` while it may go on."""
        if self.timed_out:
            return f"it ran longer than its timeout of {self.entry.job.timeout} s"
        if self.entry.cancel_reason is not None:
            return self.entry.cancel_reason
        token = self._worker_token
        return (token.reason or "stopped") if token.cancelled else None

    def token(self) -> StopToken:
        """The attempt's own stop token, made when first asked for."""
        token = self.entry.token
        if token is None:
            token = self.entry.token = self._worker_token.child("job")
            reason = self.reason
            if reason is not None:
                token.cancel(reason)
        return token

    def time_out(self) -> None:
        """Ask the job to end because its timeout passed; on the clock's thread."""
        self.timed_out = True
        token = self.entry.token
        if token is not None:
            token.cancel(self.reason or "")


current_context: ContextVar[JobContext | None] = ContextVar(
    "headrace_job", default=None
)


def current_job() -> Job | None:
    """The job that the calling code runs in; ``None`` outside one.

    Inside a worker process it has the job's number, kind, key and name alone.
    """
    context = current_context.get()
    if context is not None:
        return context.entry.job
    child = sys.modules.get("headrace_cpu_child")
    meta: dict[str, Any] | None = getattr(child, "current", None)
    if meta is None:
        return None
    options = JobOptions.make(kind="cpu", key=meta["key"])
    return Job(None, name=meta["name"]).numbered(meta["id"], options)


def checkpoint() -> None:
    """Leave the job here if its stop token asks for it; cheap, call it often.

    Outside a job, and inside a worker process (which is killed instead), it does
    nothing.

    Raises:
        Cancelled: If the job was cancelled, its timeout passed, or the pipeline stops.
            A ``BaseException``: let it pass after clean-up.
    """
    context = current_context.get()
    if context is not None:
        reason = context.reason
        if reason is not None:
            raise Cancelled(reason)


def sleep(seconds: float) -> None:
    """Sleep inside a job, on the pipeline's clock, and leave at once when cancelled.

    Args:
        seconds: How long; outside a job on the ambient clock.

    Raises:
        Cancelled: As :func:`checkpoint` does.
    """
    context = current_context.get()
    if context is None:
        ambient_clock().sleep(seconds)
        return
    checkpoint()
    context.clock.sleep(seconds, wake_on=context.token())
    checkpoint()
