"""Decisions of a supervisor: whom a failure affects, what follows, how often, how soon.

The three strategies and the sliding window of restarts mean what they mean in OTP's
``supervisor``.  A burst of ``intensity`` failures is survived, and a sustained rate of
``intensity / period``; one more, and the supervisor gives up.

:Runs on: any thread; pure, but for :class:`RestartWindow`, which one thread owns, and
    :func:`decide`, which asks the host on the failed child's thread.
:Owns: a ``RestartWindow`` its moments.
"""

from __future__ import annotations

import enum
import logging
import math
from collections import deque
from collections.abc import Callable, ItemsView, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, TypeVar, cast

from actors.errors import ConfigurationError
from supervision.errors import shown

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

__all__ = [
    "Backoff",
    "DIRECTIVES",
    "Decider",
    "Directive",
    "RestartWindow",
    "Strategy",
    "decide",
    "intensity_needed",
]

logger = logging.getLogger("headrace.supervision")

T = TypeVar("T")

Directive: TypeAlias = Literal["restart", "resume", "stop", "escalate"]
"""What a decider says about a failure.

``"restart"`` it as its spec says, which is what happens without a decider; ``"resume"``
with the same object and mailbox, the message alone is given up; ``"stop"`` leaves it
down; ``"escalate"`` has its supervisor give up.
"""


class Directives(Protocol):
    """A mapping of classes of errors to directives, as a type checker sees it.

    ``Mapping`` is invariant in its keys, and the values of a dict in a variable are
    ``str`` to a type checker: ``{OSError: "stop"}`` would be refused.  What the values
    are is checked when the spec is made.
    """

    def items(self) -> ItemsView[type[Exception], str]:
        """As a mapping's."""


Decider: TypeAlias = Directives | Callable[[Exception], Directive | None]
"""Directives by the class of the error, or a function of the error.

Of several classes that fit the most specific one wins; for what no class fits, and
where a function returns ``None``, the answer is ``"restart"``.
"""

DIRECTIVES: Final[Mapping[str, Directive]] = {
    "restart": "restart",
    "resume": "resume",
    "stop": "stop",
    "escalate": "escalate",
}


class Strategy(enum.Enum):
    """Which children are started again when one of them fails."""

    ONE_FOR_ONE = "one_for_one"
    """Only the one that failed."""
    REST_FOR_ONE = "rest_for_one"
    """That one and those started after it."""
    ONE_FOR_ALL = "one_for_all"
    """All of them."""

    def affected(self, children: Sequence[T], failed: T) -> list[T]:
        """The children to start again, in the order of ``children``."""
        if self is Strategy.ONE_FOR_ONE:
            return [failed]
        if self is Strategy.ONE_FOR_ALL:
            return list(children)
        return list(children[children.index(failed) :])


def decide(decider: Decider, error: Exception, *, child: str) -> Directive:
    """What to do about the failure of a child.

    A function that raises, or answers something else, is logged and taken to have said
    ``"restart"``.

    Args:
        decider: The supervisor's, checked.
        error: What the child failed with.
        child: Its name, for the log.
    """
    if isinstance(decider, Mapping):
        directives: Mapping[type, Directive] = decider
        for kind in type(error).__mro__:  # from the most specific one on
            if kind in directives:
                return directives[kind]
        return "restart"
    ask = cast("Callable[[Exception], object]", decider)
    try:
        answer = ask(error)
    except Exception:
        logger.exception(
            "the decider raised when it was asked about %s of child %r; "
            "what the child's spec says is done, as without a decider",
            shown(error),
            child,
        )
        return "restart"
    if answer is None:
        return "restart"
    if isinstance(answer, str) and answer in DIRECTIVES:
        return DIRECTIVES[answer]
    logger.error(
        "the decider answered %r when it was asked about %s of child %r; what the "
        "child's spec says is done, as without a decider; have it return %s",
        answer,
        shown(error),
        child,
        " or ".join(map(repr, DIRECTIVES)),
    )
    return "restart"


class RestartWindow:
    """Counts restarts in a sliding window of monotonic time.

    Args:
        intensity: How many restarts are allowed within ``period``.
        period: The window's length in seconds; a restart exactly that old counts.
    """

    __slots__ = ("_moments", "intensity", "period")

    def __init__(self, intensity: int, period: float) -> None:
        self.intensity = intensity
        self.period = period
        self._moments: deque[float] = deque()

    def note(self, now: float) -> bool:
        """Count one failure; False when it is one too many."""
        self._moments.append(now)
        self._forget(now)
        return len(self._moments) <= self.intensity

    def used(self, now: float) -> int:
        """How many failures the window holds at ``now``."""
        self._forget(now)
        return len(self._moments)

    def _forget(self, now: float) -> None:
        # Compared in the form of a sum: now - period rounds differently near the edge.
        while self._moments and self._moments[0] + self.period < now:
            self._moments.popleft()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long a child stays down before its next start.

    Delay number *n* (from 0) is ``initial * factor ** n``, up to a fraction ``jitter``
    longer, and never more than ``maximum``.

    Attributes:
        initial: Seconds of the first delay.
        factor: What each further delay is multiplied by; at least 1.
        maximum: Seconds that no delay exceeds, jitter included.
        jitter: Random part by which a delay may grow, as a fraction of it.
        first_immediate: The first restart does not wait; the delays come after it.
        reset_after: Seconds after which a child that ran that long begins anew at the
            first delay; by default half of ``initial + maximum``.

    Raises:
        ConfigurationError: If a value is not allowed.
    """

    initial: float = 0.1
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.2
    first_immediate: bool = True
    reset_after: float | None = None

    def __post_init__(self) -> None:
        for field in ("initial", "factor", "maximum", "jitter", "reset_after"):
            value = getattr(self, field)
            is_left_out = field == "reset_after" and value is None
            _check(is_left_out or _is_number(value), field, value, "a number")
        _check(0 < self.initial < math.inf, "initial", self.initial, "seconds above 0")
        _check(self.factor >= 1, "factor", self.factor, "at least 1")
        _check(
            self.maximum >= self.initial,
            "maximum",
            self.maximum,
            f"at least initial ({self.initial:g})",
        )
        _check(self.jitter >= 0, "jitter", self.jitter, "a fraction of 0 or more")
        _check(
            self.reset_after is None or self.reset_after >= 0,
            "reset_after",
            self.reset_after,
            "seconds of 0 or more, or None",
        )

    def delay(self, failures: int, rng: random.Random | None = None) -> float:
        """Seconds to wait after failure number ``failures`` in a row, from 0.

        Args:
            failures: How many failures came before this one without a reset.
            rng: Where jitter is drawn from; none is added without it.
        """
        n = failures - 1 if self.first_immediate else failures
        if n < 0:
            return 0.0
        try:
            delay = self.initial * self.factor**n
        except OverflowError:
            return self.maximum
        if rng is not None and self.jitter:
            delay *= 1 + rng.random() * self.jitter
        return min(self.maximum, delay)

    def resets_after(self, ran: float) -> bool:
        """True when a child that ran ``ran`` seconds begins anew at the first delay."""
        if self.reset_after is not None:
            return ran >= self.reset_after
        return ran >= (self.initial + self.maximum) / 2


def intensity_needed(backoff: Backoff, period: float) -> int:
    """The least intensity with which a child that always fails is never given up.

    Delays only grow, so the first ``period`` seconds hold the most failures.
    """
    moment, failures = 0.0, 0
    while moment <= period:
        delay = backoff.delay(failures)
        failures += 1
        if delay and backoff.delay(failures) == delay:  # it stays the same from here on
            return failures + math.floor((period - moment) / delay)
        moment += delay
    return failures


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check(allowed: bool, field: str, value: object, must_be: str) -> None:  # noqa: FBT001
    if not allowed:
        msg = f"backoff: {field} must be {must_be}, got {value!r}"
        raise ConfigurationError(msg)
