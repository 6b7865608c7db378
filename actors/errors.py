"""Every exception that the library raises on purpose, sorted by whose doing it is.

All but :class:`Cancelled` have one root, :class:`HeadraceError`, and also derive from
the builtin that a caller would expect.  :class:`Cancelled` is a ``BaseException``, so
that ``except Exception`` inside a job cannot swallow a stop.

:Runs on: any thread.
:Owns: nothing; exceptions are values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actors.jobs import Job
    from actors.results import Report

__all__ = [
    "Cancelled",
    "ConfigurationError",
    "DeadJobs",
    "HeadraceError",
    "JobNotPicklable",
    "JobTimeout",
    "MailboxClosed",
    "MailboxFull",
    "MissingExtra",
    "ProducerError",
    "RemoteError",
    "ShutdownTimeout",
    "SinkError",
    "UsedAfterFork",
    "WorkerDied",
    "WouldDeadlock",
]


class HeadraceError(Exception):
    """Root of every error that the library raises on purpose."""


# -- your configuration


class ConfigurationError(HeadraceError, ValueError):
    """An option has a value that is not allowed; nothing was started."""


class MissingExtra(HeadraceError, ImportError):
    """A feature needs a package that is not installed; the text names the extra."""


class JobNotPicklable(HeadraceError, TypeError):
    """A cpu job, or its result, cannot travel to or from a worker process."""


# -- you asked not to wait, or for something that could never end


class MailboxFull(HeadraceError):
    """No room came within the time that the sender was willing to wait."""


class WouldDeadlock(HeadraceError, RuntimeError):
    """The wait could never end: the caller itself is what it would wait for."""


# -- closed by you


class MailboxClosed(HeadraceError, RuntimeError):
    """The mailbox, channel or intake is closed and takes nothing more."""


class UsedAfterFork(HeadraceError, RuntimeError):
    """A started pipeline or tree was used in a forked child, which has no threads."""


class Cancelled(BaseException):
    """The stop token of the running job asked for its end.

    Raised by :func:`actors.checkpoint` and :func:`actors.sleep` inside a job.  Let it
    pass, after clean-up: the worker catches it and the job ends as cancelled.
    """


# -- the job, or what ran it, failed


class JobTimeout(HeadraceError, TimeoutError):
    """One attempt of a job ran longer than the job's own timeout."""


class WorkerDied(HeadraceError, RuntimeError):
    """The worker, or the worker's process, ended while the job ran.

    Attributes:
        exit_code: The process's exit code, minus the number of the signal that killed
            it; ``None`` for a thread.
    """

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type[WorkerDied], tuple[str, int | None]]:
        return type(self), (str(self.args[0]), self.exit_code)


class RemoteError(HeadraceError, RuntimeError):
    """Stands for an exception of a worker process that could not be unpickled here.

    Its text has the original type and message, its cause the remote traceback.
    """


class ProducerError(HeadraceError, RuntimeError):
    """A producer's iterator raised; ``__cause__`` is what it raised."""


class SinkError(HeadraceError, RuntimeError):
    """The host's sink raised; results not given to it are in the report."""


class DeadJobs(HeadraceError, RuntimeError):
    """At least one job is dead; ``__cause__`` is the first one's error.

    Attributes:
        report: The report that was asked.
    """

    def __init__(self, message: str, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = report


# -- timed out


class ShutdownTimeout(HeadraceError, TimeoutError):
    """The time given to an ending was not enough.

    Attributes:
        report: What was settled by then, with the unfinished jobs; ``None`` on a
            single job's future.
        job: The job that was handed back, on a future.
    """

    def __init__(
        self, message: str, report: Report | None = None, job: Job | None = None
    ) -> None:
        super().__init__(message)
        self.report = report
        self.job = job
