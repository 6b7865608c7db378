"""What the fields of specs may be, and how a wrong one is refused.

:Runs on: any thread; pure.
:Owns: nothing.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, cast

from actors import UNSET, Actor, adopt
from actors.errors import ConfigurationError
from supervision.strategies import Backoff

if TYPE_CHECKING:
    import enum

F = TypeVar("F", bound=Callable[..., None])

NAME: Final = (
    "a string that is not empty, printable and without '/', which divides paths"
)


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


def check_root(values: Mapping[str, Any]) -> None:
    """Refuse the first option of a tree's root that is not allowed."""
    for option, value in values.items():
        check, must_be = _ROOT[option]
        if not check(value):
            refuse("supervisor", option, value, must_be)


def check_timeout(doing: str, timeout: object, *, none_ok: bool = True) -> None:
    """Refuse what is no time to wait, before anything is done.

    Args:
        doing: What it is the limit of, for the error.
        timeout: What was given.
        none_ok: ``None`` stands for no limit.
    """
    if not (timeout is None and none_ok) and not is_seconds(timeout):
        no_limit = "None" if none_ok else "math.inf"
        must_be = f"seconds of 0 or more as a number, or {no_limit} for no limit"
        refuse(doing, "timeout", timeout, must_be)


def hinting(init: F) -> F:
    """Have the ``__init__`` of a spec say where the arguments of its class belong.

    Type checkers and signatures see the plain one.
    """
    own = frozenset(inspect.signature(init).parameters)

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        others = kwargs.keys() - own
        if others:
            _refuse_misplaced(args[0] if args else kwargs.get("actor_class"), others)
        init(self, *args, **kwargs)

    return cast("F", checked)


def _refuse_misplaced(actor_class: object, others: Iterable[str]) -> None:
    """Refuse arguments of the actor that were given to its spec."""
    if not isinstance(actor_class, type):
        return
    misplaced = [each for each in arguments_of(actor_class) if each in others]
    if misplaced:
        name = name_of(actor_class)
        belong = ", ".join(f'"{each}": ...' for each in misplaced)
        msg = (
            f"child {name!r}: ChildSpec has no field {misplaced[0]!r}, but {name} has "
            f"an argument of that name: those are in the spec's kwargs, "
            f"ChildSpec({name}, args, {{{belong}}})"
        )
        raise ConfigurationError(msg)


def arguments_of(actor_class: Any) -> list[str]:
    """What an actor's ``__init__`` can be given by name."""
    parameters = list(inspect.signature(actor_class.__init__).parameters.values())
    return [
        each.name
        for each in parameters[1:]
        if each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY}
    ]


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
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return float(value) >= 0  # False for NaN
    except OverflowError:  # an int that no clock can add to its time
        return False


def is_name(value: object) -> bool:
    """True for what a line of a log and a path such as ``root/workers`` can hold."""
    return (
        isinstance(value, str)
        and bool(value)
        and "/" not in value
        and value.isprintable()
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

_TOKEN: Final[Field] = _unless(
    None, (lambda v: hasattr(v, "child"), "a StopToken"), " or None"
)

_CHILD: Final[Mapping[str, Field]] = {
    "args": (
        lambda v: isinstance(v, Iterable) and not isinstance(v, str | bytes | Mapping),
        "a tuple or list, args=(value,) for one; those with a name are kwargs",
    ),
    "kwargs": (
        lambda v: (
            all(isinstance(key, str) for key in v)
            if isinstance(v, Mapping)
            else callable(v)
        ),
        "a mapping, or a callable of the siblings that returns one, keyed by strings",
    ),
    "id": (is_name, NAME),
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
    "token": _TOKEN,
}

_ROOT: Final[Mapping[str, Field]] = {
    "name": _unless(None, (is_name, NAME), ", or None for 'root'"),
    "on_event": _unless(None, (callable, "a callable of the event"), ", or None"),
    "clock": _unless(
        None,
        (lambda v: hasattr(v, "monotonic") and hasattr(v, "thread"), "a Clock"),
        ", or None for the ambient one",
    ),
    "token": _TOKEN,
}
