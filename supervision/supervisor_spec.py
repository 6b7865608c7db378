"""What a supervisor is told about itself, checked before anything starts.

:Runs on: any thread; pure, but for the ``child_spec`` of the children's classes.
:Owns: nothing.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeAlias, cast

from actors.errors import ConfigurationError
from supervision._spec_checks import (
    in_words,
    is_above_0,
    is_capacity,
    is_count,
    is_exception_class,
    is_value,
    refuse,
    values_of,
)
from supervision.child_like import as_spec
from supervision.child_spec import RestartType
from supervision.strategies import DIRECTIVES, Decider, Strategy, intensity_needed

if TYPE_CHECKING:
    import pykka

    from supervision.child_like import ChildLike
    from supervision.child_spec import ChildSpec

__all__ = ["AutoShutdown", "Start", "SupervisorSpec"]

logger = logging.getLogger("headrace.supervision")

Start: TypeAlias = Literal["ordered", "parallel"]
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]

_STARTS: Final = ("ordered", "parallel")
_SHUTDOWNS: Final = ("never", "any_significant", "all_significant")


@dataclass(frozen=True, slots=True, eq=False, init=False)
class SupervisorSpec:
    """What a supervisor is told about itself.

    Attributes:
        strategy: A :class:`Strategy` or its value.
        children: Their specs, in the order of start; the reverse is the order of stop.
            Each may be given as a class or a pair ``(class, kwargs)`` too.
        intensity: How many restarts within ``period`` are not too many.
        period: Seconds.
        start: ``"ordered"``: each child starts when the one before it runs;
            ``"parallel"``: all at once.
        auto_shutdown: When the end of significant children ends the supervisor:
            ``"never"``, after ``"any_significant"`` one's, or after the last one's with
            ``"all_significant"``.
        decider: What to do about which error; each child's spec says it by default.
        dynamic: Its children come and go at run time, and it has no others.
        max_children: How many of those it may have at a time; ``None`` for no bound.

    Raises:
        ConfigurationError: If a field is not allowed, or an id is used twice.
    """

    strategy: Strategy
    children: tuple[ChildSpec[Any], ...]
    intensity: int
    period: float
    start: Start
    auto_shutdown: AutoShutdown
    decider: Decider | None
    dynamic: bool = field(init=False)
    max_children: int | None = field(init=False)

    def __init__(
        self,
        strategy: Strategy | str,
        children: Iterable[ChildLike[pykka.Actor]] = (),
        *,
        intensity: int = 3,
        period: float = 5.0,
        start: Start = "ordered",
        auto_shutdown: AutoShutdown = "never",
        decider: Decider | None = None,
    ) -> None:
        if not is_value(Strategy, strategy):
            _refuse("strategy", strategy, values_of(Strategy))
        if not is_count(intensity):
            _refuse("intensity", intensity, "an int of 0 or more")
        if not is_above_0(period):
            _refuse("period", period, "seconds above 0")
        if start not in _STARTS:
            _refuse("start", start, in_words(_STARTS))
        if auto_shutdown not in _SHUTDOWNS:
            _refuse("auto_shutdown", auto_shutdown, in_words(_SHUTDOWNS))
        self._set(
            strategy=Strategy(strategy),
            children=_specs_of(children),
            intensity=intensity,
            period=float(period),
            start=start,
            auto_shutdown=auto_shutdown,
            decider=_checked(decider),
            dynamic=False,
            max_children=None,
        )
        for child in self.children:
            self.check_child(child)

    @classmethod
    def for_dynamic(
        cls,
        *,
        max_children: int | None = None,
        intensity: int = 3,
        period: float = 5.0,
        decider: Decider | None = None,
    ) -> SupervisorSpec:
        """The spec of a supervisor whose children come and go at run time.

        Args:
            max_children: How many it may have at a time, those that wait for a restart
                included; ``None`` for no bound.
            intensity: How many restarts of all of them within ``period`` are not too
                many.
            period: Seconds.
            decider: What to do about which error.

        Raises:
            ConfigurationError: If an argument is not allowed.
        """
        if max_children is not None and not is_capacity(max_children):
            must_be = "an int of 1 or more, or None for no bound"
            _refuse("max_children", max_children, must_be)
        spec = cls(
            Strategy.ONE_FOR_ONE,
            (),
            intensity=intensity,
            period=period,
            decider=decider,
        )
        spec._set(dynamic=True, max_children=max_children)
        return spec

    def check_child(self, child: ChildSpec[Any]) -> None:
        """Check what this supervisor asks of a child, now or later.

        Warns when the restarts that a child's backoff leads to are too many here.

        Raises:
            ConfigurationError: If it is significant where that cannot count.
        """
        if child.significant and self.dynamic:
            _refuse_significant(
                child,
                "in a dynamic supervisor",
                "the end of a child never ends such a supervisor",
            )
        if child.significant and self.auto_shutdown == "never":
            _refuse_significant(
                child,
                "with auto_shutdown='never'",
                "give its supervisor 'any_significant' or 'all_significant'",
            )
        self._warn_of_short_window(child)

    def _warn_of_short_window(self, child: ChildSpec[Any]) -> None:
        if child.backoff is None or child.restart is RestartType.TEMPORARY:
            return
        if child.give_up == "leave_down":  # to be given up is what it is to be then
            return
        needed = intensity_needed(child.backoff, self.period)
        then = "let it run"
        if child.max_restarts is not None and child.max_restarts < needed:
            needed = child.max_restarts
            then = f"leave that to its max_restarts={needed}"
        if self.intensity < needed:
            text = (
                f"child {child.id!r}: its backoff is cut short, because a child "
                f"that always fails is given up after {self.intensity} restarts "
                f"in {self.period:g} s; intensity={needed} would {then}"
            )
            self._warn(text, child)

    def _warn(self, text: str, child: ChildSpec[Any]) -> None:
        """Tell the host, but not again when the supervisor is made from its spec.

        On a supervisor's own thread a warning that is made an error would end the tree.
        """
        window = (self.intensity, self.period)
        level, is_hosts = _nearest_caller()
        known = child.warned_of == window
        object.__setattr__(child, "warned_of", window)
        if is_hosts:
            warnings.warn(text, stacklevel=level)
        elif not known:
            logger.warning("%s", text)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _refuse(name: str, value: object, must_be: str, way_out: str = "") -> NoReturn:
    refuse("supervisor", name, value, must_be, way_out)


def _refuse_significant(child: ChildSpec[Any], when: str, way_out: str) -> NoReturn:
    where, given = f"child {child.id!r}", child.significant
    refuse(where, "significant", given, f"False {when}", way_out)


def _checked(decider: Any) -> Decider | None:
    """The decider, a mapping as a copy that nobody changes."""
    if not isinstance(decider, Mapping):
        if decider is not None and (isinstance(decider, type) or not callable(decider)):
            must_be = (
                "a mapping of Exception classes to directives, or a function of the "
                "error that returns one"
            )
            _refuse("decider", decider, must_be)
        return cast("Decider | None", decider)
    for kind, directive in decider.items():
        if not is_exception_class(kind):
            _refuse(
                "decider",
                kind,
                "a mapping whose keys are Exception classes",
                "a BaseException ends the tree, whatever a decider says",
            )
        if not isinstance(directive, str) or directive not in DIRECTIVES:
            _refuse(f"decider[{kind.__name__}]", directive, in_words(DIRECTIVES))
    return MappingProxyType(dict(decider))


def _specs_of(children: Iterable[ChildLike[pykka.Actor]]) -> tuple[ChildSpec[Any], ...]:
    if isinstance(children, Iterator):
        must_be = "a tuple or list; the first start would use up an iterator"
        _refuse("children", children, must_be)
    given: object = children  # typed wider than promised: hosts without a type checker
    if not isinstance(given, Iterable) or isinstance(given, str | Mapping):
        _refuse("children", given, "a tuple or list", "for one child write [child]")
    specs = tuple(
        as_spec(child, f"supervisor: children[{place}]")
        for place, child in enumerate(children)
    )
    for name, count in Counter(spec.id for spec in specs).items():
        if count > 1:
            msg = (
                f"child {name!r}: id must be unique, but {count} children have it; "
                "give each its own: ChildSpec(..., id=...)"
            )
            raise ConfigurationError(msg)
    return specs


def _nearest_caller() -> tuple[int, bool]:
    """How far up the stack from its caller the nearest code is that is not ours.

    Returns:
        A ``stacklevel``, and False if that code is a thread's own, and nobody's.
    """
    level, module, frame = 0, "supervision", inspect.currentframe()
    while frame is not None and module.partition(".")[0] in {"actors", "supervision"}:
        level, frame = level + 1, frame.f_back
        module = frame.f_globals.get("__name__", "") if frame else ""
    return level, module != "threading"
