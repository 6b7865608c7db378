"""What became of a job, of its attempts, and of all jobs together.

:Runs on: any thread.
:Owns: nothing; results and reports are read-only once they are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from actors.errors import DeadJobs, HeadraceError
from actors.jobs import JobStatus

if TYPE_CHECKING:
    from actors.jobs import Job

__all__ = ["Attempt", "JobResult", "Report"]


class Attempt(NamedTuple):
    """One run of a job.

    Attributes:
        number: From 1.
        worker: Name of the worker that ran it.
        began_at: When it began, on the pipeline's monotonic clock.
        ended_at: When it ended.
        error: What it raised; ``None`` when it succeeded.
        process_id: Of the process that ran it; ``None`` for a thread.
    """

    number: int
    worker: str
    began_at: float
    ended_at: float
    error: BaseException | None = None
    process_id: int | None = None

    @property
    def ran(self) -> float:
        """Seconds it ran."""
        return self.ended_at - self.began_at


class JobResult:
    """What became of a job; read-only.

    Attributes are properties: ``job``, ``status`` (final), ``error``, ``attempts``,
    ``waited`` and ``ran`` in seconds.
    """

    __slots__ = ("_attempts", "_error", "_job", "_ran", "_status", "_value", "_waited")

    def __init__(  # noqa: PLR0917  # on the hot path: positions are cheapest
        self,
        job: Job,
        status: JobStatus,
        value: Any = None,
        error: BaseException | None = None,
        attempts: tuple[Attempt, ...] = (),
        waited: float = 0.0,
        ran: float = 0.0,
    ) -> None:
        self._job = job
        self._status = status
        self._value = value
        self._error = error
        self._attempts = attempts
        self._waited = waited
        self._ran = ran

    @property
    def job(self) -> Job:
        """The job, with its payload or arguments, key and name."""
        return self._job

    @property
    def id(self) -> int:
        """The job's number."""
        return self._job.id or 0

    @property
    def status(self) -> JobStatus:
        """Succeeded, dead, cancelled or returned."""
        return self._status

    @property
    def ok(self) -> bool:
        """True when it succeeded."""
        return self._status is JobStatus.SUCCEEDED

    @property
    def value(self) -> Any:
        """What the job returned.

        Raises:
            BaseException: The job's own error when it did not succeed.
        """
        if self._status is JobStatus.SUCCEEDED:
            return self._value
        if self._error is not None:
            try:
                raise self._error
            finally:  # the error's traceback holds this frame: no circle of the two
                del self
        msg = f"{self._job!r} has no value, it was {self._status.value}"
        raise HeadraceError(msg)

    @property
    def error(self) -> BaseException | None:
        """Why it did not succeed; ``None`` when it did."""
        return self._error

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Its runs, oldest first; empty when it never began."""
        return self._attempts

    @property
    def waited(self) -> float:
        """Seconds between acceptance and settling in which it did not run."""
        return self._waited

    @property
    def ran(self) -> float:
        """Seconds that its attempts took together."""
        return self._ran

    @property
    def duration(self) -> float:
        """Seconds from acceptance to settling: ``waited + ran``."""
        return self._waited + self._ran

    def __repr__(self) -> str:
        outcome = repr(self._value) if self.ok else repr(self._error)
        return f"<JobResult #{self.id} {self._status.value} {outcome:.80}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The sums of a pipeline, a scope or one ``run``, at one moment.

    ``accepted = succeeded + dead + cancelled + returned + jobs not yet settled``.

    Attributes:
        accepted: Jobs let in.
        succeeded: Jobs that returned a value.
        dead: Jobs that failed for good.
        cancelled: Jobs given up because somebody asked.
        returned: Jobs handed back by a stop.
        undelivered: Results that the sink was not given, or did not acknowledge.
        unfinished: The jobs not yet settled, and those returned.
        first_error: The first dead job's error.
    """

    accepted: int = 0
    succeeded: int = 0
    dead: int = 0
    cancelled: int = 0
    returned: int = 0
    undelivered: tuple[JobResult, ...] = ()
    unfinished: tuple[Job, ...] = ()
    first_error: BaseException | None = None

    @property
    def unsettled(self) -> int:
        """Jobs accepted and not yet settled."""
        settled = self.succeeded + self.dead + self.cancelled + self.returned
        return self.accepted - settled

    @property
    def ok(self) -> bool:
        """True when every accepted job succeeded and every result was delivered."""
        return self.succeeded == self.accepted and not self.undelivered

    def raise_for_dead(self) -> None:
        """Raise if a job is dead.

        Raises:
            DeadJobs: From the first dead job's error.
        """
        if self.dead:
            some = "1 job is dead" if self.dead == 1 else f"{self.dead} jobs are dead"
            msg = f"{some}; the first error was {self.first_error!r}"
            raise DeadJobs(msg, self) from self.first_error

    def __str__(self) -> str:
        text = (
            f"accepted {self.accepted} = {self.succeeded} succeeded + {self.dead} dead"
            f" + {self.cancelled} cancelled + {self.returned} returned"
        )
        return text + (f" + {self.unsettled} unsettled" if self.unsettled else "")
