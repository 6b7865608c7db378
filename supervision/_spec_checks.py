"""What the fields of specs may be, and how a wrong one is refused.

:Runs on: any thread; pure.
:Owns: nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

from actors import UNSET, Actor, adopt
from actors.errors import ConfigurationError
from supervision.strategies import Backoff

if TYPE_CHECKING:
    import enum


def refuse(
    where: str, field: str, value: object, must_be: str, way_out: str = ""
) -> NoReturn:
    """Say whose field is wrong, what is allowed, what was given, and what to do."""
    msg = f"{where}: {field} must be {must_be}, got {value!r}"
    if way_out:
        msg = f"{msg}; {way_out}"
    raise ConfigurationError(msg)


def check_child(values: Mapping[str, Any], where: str) -> None:
    """Refuse the first of a child's fields that is not allowed by itself."""
    for field, value in values.items():
        check, must_be = _CHILD.get(field, _ANYTHING)
        if not check(value):
            refuse(where, field, value, must_be)


def check_actor_class(actor_class: object, where: str) -> None:
    """Refuse what is no actor class, or none that can be supervised."""
    if isinstance(actor_class, type) and hasattr(actor_class, "use_daemon_thread"):
        try:
            adopt(actor_class)
        except ConfigurationError as error:
            msg = f"{where}: {error}"
            raise ConfigurationError(msg) from error
        if issubclass(actor_class, Actor):
            check_child({"capacity": actor_class.capacity}, where)
        return
    must_be = "a subclass of pykka.ThreadingActor"
    is_class = isinstance(actor_class, type)
    way_out = "" if is_class else "give the class, the supervisor makes the actor"
    refuse(where, "actor_class", actor_class, must_be, way_out)


def name_of(actor_class: object) -> str:
    """The name of a class, or of what was given in its place."""
    return getattr(actor_class, "__name__", None) or repr(actor_class)


def as_tuple(classes: Any) -> Any:
    """One class or several as a tuple; anything else as it is, to be refused."""
    if isinstance(classes, type):
        return (classes,)
    if isinstance(classes, Iterable) and not isinstance(classes, str | bytes):
        return tuple(classes)
    return classes


def is_seconds(value: object) -> bool:
    """True for a length of time, endless ones included."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and value >= 0  # False for NaN
    )


def is_above_0(value: object) -> bool:
    """True for a length of time that is neither nothing nor endless."""
    return is_seconds(value) and value != 0 and not math.isinf(value)  # type: ignore[arg-type]  # a number by now


def is_count(value: object) -> bool:
    """True for a whole number of 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_capacity(value: object) -> bool:
    """True for a whole number of 1 or more."""
    return is_count(value) and value != 0


def is_exception_class(value: object) -> bool:
    """True for what ``except`` takes, but for what is no ``Exception``."""
    return isinstance(value, type) and issubclass(value, Exception)


def is_value(kind: type[enum.Enum], value: object) -> bool:
    """True for a member of an enum and for the value of one."""
    return isinstance(value, kind) or value in [each.value for each in kind]


def values_of(kind: type[enum.Enum]) -> str:
    """The values of an enum in words."""
    return in_words([each.value for each in kind])


def in_words(allowed: Iterable[str]) -> str:
    """``'a', 'b' or 'c'``."""
    *most, last = [repr(each) for each in allowed]
    return f"{', '.join(most)} or {last}"


Field = tuple[Callable[[Any], bool], str]


def _one_of(*allowed: str) -> Field:
    return (lambda v: isinstance(v, str) and v in allowed), in_words(allowed)


def _unless(value: object, field: Field, words: str = "") -> Field:
    check, must_be = field
    return (lambda v: v is value or check(v)), f"{must_be}{words}"


_ANYTHING: Final[Field] = (lambda _: True), "anything"
_FLAG: Final[Field] = (lambda v: isinstance(v, bool)), "True or False"
_CAPACITY: Final[Field] = is_capacity, "an int of 1 or more"

_CHILD: Final[Mapping[str, Field]] = {
    "args": (
        lambda v: isinstance(v, Iterable) and not isinstance(v, str | bytes | Mapping),
        "a tuple or list, args=(value,) for one; those with a name are kwargs",
    ),
    "kwargs": (
        lambda v: isinstance(v, Mapping) or callable(v),
        "a mapping, or a callable of the siblings that returns one",
    ),
    "id": (lambda v: isinstance(v, str) and bool(v), "a string that is not empty"),
    "shutdown": _unless(
        None, (is_seconds, "seconds of 0 or more"), ", or None for no limit"
    ),
    "start_timeout": _unless(
        None, (is_above_0, "seconds above 0"), ", or None for no limit"
    ),
    "backoff": _unless(
        None, (lambda v: isinstance(v, Backoff), "a Backoff"), " or None"
    ),
    "mailbox": _one_of("keep", "fresh"),
    "capacity": _unless(UNSET, _unless(None, _CAPACITY, ", or None for no bound")),
    "significant": _FLAG,
    "after_start": _unless(None, (callable, "a callable of the actor"), ", or None"),
    "required": _FLAG,
    "give_up": _one_of("escalate", "leave_down"),
    "while_down": _one_of("wait", "fail"),
    "crash_on_ask": (
        lambda v: isinstance(v, tuple) and all(map(is_exception_class, v)),
        "an Exception class or a tuple of them (a BaseException is fatal anyway)",
    ),
    "on_crash": _unless(UNSET, _one_of("on_failure", "on_stop")),
    "init_in": _one_of("child", "caller"),
    "max_restarts": _unless(
        None, (is_count, "an int of 0 or more"), ", or None for no limit of its own"
    ),
    "on_timeout": _one_of("abandon", "interrupt"),
    "token": _unless(None, (lambda v: hasattr(v, "child"), "a StopToken"), " or None"),
}
