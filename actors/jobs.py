"""Jobs and their options: values, and the table of legal status changes.

:Runs on: any thread.
:Owns: nothing; a job is read-only once it is made.
"""

from __future__ import annotations

import enum
import functools
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar, overload

from actors._seconds import is_number
from actors.errors import ConfigurationError
from actors.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "FINAL",
    "Job",
    "JobKind",
    "JobOptions",
    "JobStatus",
    "NO_OPTIONS",
    "STATUS_CHANGES",
    "check_seconds",
    "job",
    "options_of",
]

F = TypeVar("F", bound="Callable[..., Any]")
Call: TypeAlias = "tuple[Callable[..., Any] | None, tuple[Any, ...], Mapping[str, Any]]"


class JobKind(enum.Enum):
    """Where a job runs: in a worker's thread, or in a worker's process."""

    IO = "io"
    CPU = "cpu"

    # Members are the only instances.  Enum's own hash is Python code, and kinds are
    # dict keys on the way of each job.
    __hash__ = object.__hash__

    @classmethod
    def of(cls, kind: JobKind | str) -> JobKind:
        """Accept a kind or its name.

        Raises:
            ConfigurationError: If it is neither.
        """
        try:
            return kind if isinstance(kind, cls) else cls(str(kind).lower())
        except ValueError:
            msg = f"kind must be 'io' or 'cpu', got {kind!r}"
            raise ConfigurationError(msg) from None


class JobStatus(enum.Enum):
    """Where a job stands; the last four are final."""

    DELAYED = "delayed"  # waits for a time: a delay or a retry's backoff
    WAITING = "waiting"  # due, waits for a worker
    RUNNING = "running"  # in a worker's hand
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"
    RETURNED = "returned"  # handed back by a stop

    __hash__ = object.__hash__  # see JobKind


FINAL: Final = frozenset(
    {JobStatus.SUCCEEDED, JobStatus.DEAD, JobStatus.CANCELLED, JobStatus.RETURNED}
)

STATUS_CHANGES: Final[Mapping[JobStatus, frozenset[JobStatus]]] = {
    JobStatus.DELAYED: frozenset(
        {JobStatus.WAITING, JobStatus.CANCELLED, JobStatus.RETURNED}
    ),
    JobStatus.WAITING: frozenset(
        {JobStatus.RUNNING, JobStatus.CANCELLED, JobStatus.RETURNED}
    ),
    JobStatus.RUNNING: FINAL | {JobStatus.DELAYED, JobStatus.WAITING},
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.DEAD: frozenset(),
    JobStatus.CANCELLED: frozenset(),
    JobStatus.RETURNED: frozenset(),
}


def check_seconds(option: str, value: float | None, *, positive: bool = False) -> None:
    """Refuse a length of time that is not a sensible number of seconds.

    Raises:
        ConfigurationError: Naming the option, the value and what is allowed.
    """
    if value is None:
        return
    allowed = "more than 0 seconds, or None" if positive else "0 or more seconds"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        msg = f"{option} must be {allowed} as a number, got {value!r}"
        raise ConfigurationError(msg)
    if not is_number(value) or value < 0 or (positive and value == 0):
        msg = f"{option} must be {allowed}, got {value!r}"
        raise ConfigurationError(msg)


class JobOptions(NamedTuple):
    """Per-job options; ``None`` means that the next wider scope decides."""

    kind: JobKind | None = None
    delay: float | None = None
    timeout: float | None = None
    retry: RetryPolicy | None = None
    key: object = None

    @classmethod
    def make(
        cls,
        *,
        kind: JobKind | str | None = None,
        delay: float | None = None,
        timeout: float | None = None,
        retry: RetryPolicy | int | None = None,
        key: object = None,
    ) -> JobOptions:
        """Validate and build.

        Raises:
            ConfigurationError: If an option has a value that is not allowed.
        """
        check_seconds("delay", delay)
        check_seconds("timeout", timeout, positive=True)
        return cls(
            None if kind is None else JobKind.of(kind),
            delay,
            timeout,
            RetryPolicy.of(retry),
            key,
        )

    def over(self, wider: JobOptions) -> JobOptions:
        """These options, with ``wider``'s where these leave it open."""
        return JobOptions(
            wider.kind if self.kind is None else self.kind,
            wider.delay if self.delay is None else self.delay,
            wider.timeout if self.timeout is None else self.timeout,
            wider.retry if self.retry is None else self.retry,
            wider.key if self.key is None else self.key,
        )


NO_OPTIONS: Final = JobOptions()
_ATTRIBUTE: Final = "__headrace_job__"
_NO_CALL: Final[Call] = (None, (), {})


def options_of(fn: object) -> JobOptions:
    """The options that :func:`job` put on a function; none if it was not used."""
    options = getattr(fn, _ATTRIBUTE, None)
    if options is None and isinstance(fn, functools.partial):
        return options_of(fn.func)
    return options if isinstance(options, JobOptions) else NO_OPTIONS


@overload
def job(fn: F, /) -> F: ...


@overload
def job(
    *,
    kind: JobKind | str | None = None,
    delay: float | None = None,
    timeout: float | None = None,
    retry: RetryPolicy | int | None = None,
    key: object = None,
) -> Callable[[F], F]: ...


def job(fn: Any = None, /, **options: Any) -> Any:
    """Say how a function wants to run as a job.

    The same function comes back, with its options in an attribute: calling it runs it
    here and now, and it still pickles by reference.

    Args:
        fn: The function, when used as ``@job`` without options.
        **options: ``kind`` (``"io"`` or ``"cpu"``), ``delay`` and ``timeout`` in
            seconds, ``retry`` (a :class:`RetryPolicy` or a number of retries), ``key``.

    Raises:
        ConfigurationError: If an option has a value that is not allowed.
    """
    made = JobOptions.make(**options)

    def mark(function: F) -> F:
        setattr(function, _ATTRIBUTE, made)
        return function

    return mark if fn is None else mark(fn)


class Job:
    """One piece of work: a function with arguments, or a payload for a worker class.

    Read-only.  A callable first argument is a function to call; a payload that happens
    to be callable is given through :meth:`Job.of`.

    Args:
        fn_or_payload: The function, or the payload that ``Worker.handle`` gets.
        *args: The function's arguments.
        kind: ``"io"`` runs in a worker's thread, ``"cpu"`` in a worker's process.
        delay: Seconds to wait before the first attempt.
        timeout: Seconds that one attempt may take; ``None`` for no limit.
        retry: A :class:`RetryPolicy`, a number of retries, or ``None``: what the
            function or the pipeline says.
        key: What the job is about, for the host's own use.
        name: For logs; the function's name by default.
        kwargs: The function's keyword arguments.

    Raises:
        ConfigurationError: If an option has a value that is not allowed.
    """

    __slots__ = (
        "_args",
        "_delay",
        "_fn",
        "_id",
        "_key",
        "_kind",
        "_kwargs",
        "_name",
        "_payload",
        "_retry",
        "_timeout",
    )

    def __init__(
        self,
        fn_or_payload: Any,
        *args: Any,
        kind: JobKind | str | None = None,
        delay: float | None = None,
        timeout: float | None = None,
        retry: RetryPolicy | int | None = None,
        key: object = None,
        name: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        options = JobOptions.make(
            kind=kind, delay=delay, timeout=timeout, retry=retry, key=key
        )
        if callable(fn_or_payload):
            self._fill(None, (fn_or_payload, args, kwargs or {}), None, options, name)
            return
        if args or kwargs:
            msg = (
                f"a payload takes no arguments, got {fn_or_payload!r} with some; "
                "give a callable to call, or put everything into the payload"
            )
            raise ConfigurationError(msg)
        self._fill(None, _NO_CALL, fn_or_payload, options, name)

    def _fill(
        self,
        id: int | None,  # noqa: A002  # the contract's name
        call: Call,
        payload: Any,
        options: JobOptions,
        name: str | None,
    ) -> None:
        self._id = id
        self._fn, self._args, self._kwargs = call
        self._payload = payload
        self._kind, self._delay, self._timeout, self._retry, self._key = options
        self._name = name

    @classmethod
    def of(cls, payload: Any, **options: Any) -> Job:
        """Make a job with a payload, also when the payload is callable.

        Args:
            payload: What ``Worker.handle`` gets as ``job.payload``.
            **options: As for :class:`Job`, but for the function's arguments.
        """
        made = cls(None, **options)
        made._payload = payload
        return made

    @classmethod
    def called(cls, id: int, call: Call, options: JobOptions) -> Job:  # noqa: A002
        """Make the numbered job of a plain call, every option decided."""
        made = cls.__new__(cls)
        made._fill(id, call, None, options, None)  # noqa: SLF001  # its own class
        return made

    def numbered(self, id: int, options: JobOptions) -> Job:  # noqa: A002
        """Make the copy that a pipeline works with: numbered, every option decided."""
        made = type(self).__new__(type(self))
        call = (self._fn, self._args, self._kwargs)
        made._fill(id, call, self._payload, options, self._name)  # noqa: SLF001
        return made

    @property
    def id(self) -> int | None:
        """Its number in the pipeline, from 1; ``None`` until submitted."""
        return self._id

    @property
    def fn(self) -> Callable[..., Any] | None:
        """The function; ``None`` for a payload job."""
        return self._fn

    @property
    def payload(self) -> Any:
        """What ``Worker.handle`` is given; ``None`` for a function job."""
        return self._payload

    @property
    def args(self) -> tuple[Any, ...]:
        """The function's arguments."""
        return self._args

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The function's keyword arguments."""
        return self._kwargs

    @property
    def kind(self) -> JobKind:
        """Where it runs; io unless said otherwise."""
        return self._kind or JobKind.IO

    @property
    def delay(self) -> float:
        """Seconds between its acceptance and its first attempt."""
        return self._delay or 0.0

    @property
    def timeout(self) -> float | None:
        """Seconds one attempt may take; ``None`` for no limit."""
        return self._timeout

    @property
    def retry(self) -> RetryPolicy | None:
        """When it is tried again; ``None`` for one attempt."""
        return self._retry

    @property
    def key(self) -> object:
        """What the job is about, in the host's own terms."""
        return self._key

    @property
    def name(self) -> str:
        """For logs: what it was called, else the function's or payload's type name."""
        if self._name is not None:
            return self._name
        if self._fn is not None:
            return getattr(self._fn, "__qualname__", None) or type(self._fn).__name__
        return type(self._payload).__name__

    @property
    def options(self) -> JobOptions:
        """The options given to this job, undecided ones ``None``."""
        return JobOptions(
            self._kind, self._delay, self._timeout, self._retry, self._key
        )

    def __repr__(self) -> str:
        number = "unsubmitted" if self._id is None else f"#{self._id}"
        return f"<Job {number} {self.name} {self.kind.value}>"
