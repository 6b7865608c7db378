"""What a supervisor is told about itself, checked before anything starts.

:Runs on: any thread; pure.
:Owns: nothing.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from actors.errors import ConfigurationError
from supervision._spec_checks import is_above_0, is_count, is_value, values_of
from supervision.child_spec import ChildSpec
from supervision.strategies import Strategy, intensity_needed

__all__ = ["Start", "SupervisorSpec"]

Start: TypeAlias = Literal["ordered", "parallel"]


@dataclass(frozen=True, slots=True, eq=False, init=False)
class SupervisorSpec:
    """What a supervisor is told about itself.

    Attributes:
        strategy: A :class:`Strategy` or its value.
        children: The specs, in the order of start; the reverse is the order of stop.
        intensity: How many restarts within ``period`` are not too many.
        period: Seconds.
        start: ``"ordered"``: each child starts when the one before it runs;
            ``"parallel"``: all at once.

    Raises:
        ConfigurationError: If a field is not allowed, or an id is used twice.
    """

    strategy: Strategy
    children: tuple[ChildSpec[Any], ...]
    intensity: int
    period: float
    start: Start

    def __init__(
        self,
        strategy: Strategy | str,
        children: Iterable[ChildSpec[Any]],
        *,
        intensity: int = 3,
        period: float = 5.0,
        start: Start = "ordered",
    ) -> None:
        _check_flag(
            is_value(Strategy, strategy), "strategy", strategy, values_of(Strategy)
        )
        _check_flag(is_count(intensity), "intensity", intensity, "an int of 0 or more")
        _check_flag(is_above_0(period), "period", period, "seconds above 0")
        _check_flag(
            start in {"ordered", "parallel"}, "start", start, "'ordered' or 'parallel'"
        )
        set_field = object.__setattr__
        set_field(self, "strategy", Strategy(strategy))
        set_field(self, "children", _check_children(children))
        set_field(self, "intensity", intensity)
        set_field(self, "period", float(period))
        set_field(self, "start", start)
        self._warn_of_short_window()

    def _warn_of_short_window(self) -> None:
        for child in self.children:
            if child.backoff is None:
                continue
            needed = intensity_needed(child.backoff, self.period)
            if self.intensity < needed:
                text = (
                    f"child {child.id!r}: its backoff is cut short, because a child "
                    f"that always fails is given up after {self.intensity} restarts "
                    f"in {self.period:g} s; intensity={needed} would let it run"
                )
                warnings.warn(text, stacklevel=4)


def _check_flag(allowed: bool, name: str, value: object, must_be: str) -> None:  # noqa: FBT001
    if not allowed:
        msg = f"supervisor: {name} must be {must_be}, got {value!r}"
        raise ConfigurationError(msg)


def _check_children(children: Iterable[ChildSpec[Any]]) -> tuple[ChildSpec[Any], ...]:
    _check_flag(
        not isinstance(children, Iterator),
        "children",
        children,
        "a tuple or list; the first start would use up an iterator",
    )
    specs = tuple(children)
    for place, spec in enumerate(specs):
        given: object = spec  # typed wider than promised: hosts without a type checker
        if not isinstance(given, ChildSpec):
            msg = f"supervisor: children[{place}] must be a ChildSpec, got {spec!r}"
            raise ConfigurationError(msg)
    for name, count in Counter(spec.id for spec in specs).items():
        if count > 1:
            msg = (
                f"child {name!r}: id must be unique, but {count} children have it; "
                "give them id="
            )
            raise ConfigurationError(msg)
    return specs
