"""When a failed attempt is tried again, and after how long.

Full jitter is drawn uniformly from zero to the exponential delay: M. Brooker,
"Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).

:Runs on: any thread; pure.
:Owns: nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from actors.errors import ConfigurationError, JobNotPicklable, WouldDeadlock

if TYPE_CHECKING:
    import random

__all__ = ["PROGRAMMING_ERRORS", "RetryPolicy"]

ErrorTypes: TypeAlias = tuple[type[BaseException], ...]

PROGRAMMING_ERRORS: Final[ErrorTypes] = (
    TypeError,
    NameError,
    AttributeError,
    ImportError,
    NotImplementedError,
    FileNotFoundError,
    IsADirectoryError,
    PermissionError,
    JobNotPicklable,
    WouldDeadlock,
)
"""Errors that another attempt would only repeat."""


class RetryPolicy:
    """How often, and after which delays, a failing job runs again.

    Retry number *n* waits ``min(maximum, initial * factor ** (n - 1))`` seconds, with
    full jitter a random part of that.  Of ``retry_on`` and ``never_on`` the most
    specific class that the error belongs to decides; on a tie, ``never_on``.

    Args:
        max_retries: Runs after the first one: 3 retries are at most 4 runs.
        initial: Seconds before the first retry, before jitter.
        factor: What each further delay is multiplied by; at least 1.
        maximum: Seconds that no delay exceeds.
        jitter: ``"full"`` or ``None``.
        max_elapsed: Seconds since the job's acceptance after which no retry starts;
            ``None`` for no limit.
        retry_on: Exception classes that are tried again.
        never_on: Exception classes that are not.

    Raises:
        ConfigurationError: If an option has a value that is not allowed.
    """

    __slots__ = (
        "factor",
        "initial",
        "jitter",
        "max_elapsed",
        "max_retries",
        "maximum",
        "never_on",
        "retry_on",
    )

    def __init__(
        self,
        max_retries: int = 3,
        *,
        initial: float = 0.1,
        factor: float = 2.0,
        maximum: float = 30.0,
        jitter: Literal["full"] | None = "full",
        max_elapsed: float | None = None,
        retry_on: type[BaseException] | ErrorTypes = (Exception,),
        never_on: type[BaseException] | ErrorTypes = PROGRAMMING_ERRORS,
    ) -> None:
        self.max_retries = max_retries
        self.initial = initial
        self.factor = factor
        self.maximum = maximum
        self.jitter = jitter
        self.max_elapsed = max_elapsed
        self.retry_on = _error_types("retry_on", retry_on)
        self.never_on = _error_types("never_on", never_on)
        self._check()

    def _check(self) -> None:
        retries: object = self.max_retries
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            msg = f"max_retries must be a whole number of 0 or more, got {retries!r}"
            raise ConfigurationError(msg)
        for option in ("initial", "maximum", "max_elapsed"):
            value = getattr(self, option)
            if value is None and option == "max_elapsed":
                continue
            if not _is_number(value) or value < 0:
                msg = f"{option} must be 0 or more seconds, got {value!r}"
                raise ConfigurationError(msg)
        if not _is_number(self.factor) or self.factor < 1:
            msg = f"factor must be a number of 1 or more, got {self.factor!r}"
            raise ConfigurationError(msg)
        if self.jitter not in ("full", None):
            msg = f"jitter must be 'full' or None, got {self.jitter!r}"
            raise ConfigurationError(msg)

    @classmethod
    def of(cls, retry: RetryPolicy | int | None) -> RetryPolicy | None:
        """Accept a policy, a number of retries, or ``None``.

        Raises:
            ConfigurationError: If it is something else.
        """
        if retry is None or isinstance(retry, cls):
            return retry
        if isinstance(retry, int) and not isinstance(retry, bool):
            return cls(retry)
        msg = f"retry must be a RetryPolicy, a number of retries or None, got {retry!r}"
        raise ConfigurationError(msg)

    def retries(self, error: BaseException) -> bool:
        """True if ``error`` is of a class that is tried again."""
        for cls in type(error).__mro__:
            if cls in self.never_on:
                return False
            if cls in self.retry_on:
                return True
        return False

    def delay(self, retry: int, rng: random.Random) -> float:
        """Seconds before retry number ``retry`` (from 1)."""
        ceiling = self.maximum
        if self.initial:
            doublings = (retry - 1) * math.log(self.factor) + math.log(self.initial)
            if doublings < math.log(self.maximum or 1e-300):
                ceiling = min(ceiling, self.initial * self.factor ** (retry - 1))
        else:
            ceiling = 0.0
        return rng.uniform(0.0, ceiling) if self.jitter == "full" else ceiling

    def next_delay(
        self, attempt: int, error: BaseException, elapsed: float, rng: random.Random
    ) -> float | None:
        """Decide after a failed attempt.

        Args:
            attempt: Number of the attempt that failed, from 1.
            error: What it raised.
            elapsed: Seconds since the job was accepted.
            rng: Generator that the jitter is drawn from.

        Returns:
            Seconds to wait before the next attempt, or ``None`` to give up.
        """
        if attempt > self.max_retries or not self.retries(error):
            return None
        wait = self.delay(attempt, rng)
        if self.max_elapsed is not None and elapsed + wait > self.max_elapsed:
            return None
        return wait

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RetryPolicy):
            return NotImplemented
        return all(getattr(self, a) == getattr(other, a) for a in self.__slots__)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, a) for a in self.__slots__))

    def __repr__(self) -> str:
        return (
            f"RetryPolicy(max_retries={self.max_retries}, initial={self.initial}, "
            f"factor={self.factor}, maximum={self.maximum}, jitter={self.jitter!r})"
        )


def _is_number(value: object) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and not math.isnan(value)
    )


def _error_types(option: str, given: type[BaseException] | ErrorTypes) -> ErrorTypes:
    types = given if isinstance(given, tuple) else (given,)
    for each in list[object](types):  # wider than promised: hosts without types
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            msg = f"{option} must be exception classes, got {each!r}"
            raise ConfigurationError(msg)
    return types
