"""What a supervisor is told: how to start, restart and stop each child.

Specs are values, checked when they are made, so that a bad one is found before any
thread starts.  A ``ChildSpec`` is also a typed key: ``tree.ref(spec)`` is a ref of the
spec's actor class.

:Runs on: any thread; pure.
:Owns: nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    overload,
)

from actors import UNSET
from actors.errors import ConfigurationError
from supervision._spec_checks import (
    is_above_0,
    is_count,
    is_seconds,
    is_value,
    values_of,
)
from supervision.strategies import Backoff

if TYPE_CHECKING:
    import pykka

    from actors import StopToken
    from actors.cell import Unset
    from actors.ref import ActorRef

__all__ = ["ChildSpec", "RestartType", "Siblings"]

A = TypeVar("A", bound="pykka.Actor")
Mailbox: TypeAlias = Literal["keep", "fresh"]
Hooks: TypeAlias = Literal["on_failure", "on_stop"]

DEFAULT_SHUTDOWN: Final = 5.0
DEFAULT_START_TIMEOUT: Final = 30.0
_NO_KWARGS: Final[Mapping[str, Any]] = MappingProxyType({})


class RestartType(enum.Enum):
    """After which exits a child starts again."""

    PERMANENT = "permanent"
    """After every exit but a fatal one, a deliberate stop of the child included."""
    TRANSIENT = "transient"
    """Only after a failure."""
    TEMPORARY = "temporary"
    """Never; its spec goes with it."""

    def restarts(self, kind: str) -> bool:
        """True when a child that ends this way, unasked by its supervisor, restarts.

        Args:
            kind: The kind of the child's exit.
        """
        return kind in _RESTARTED[self]

    def comes_back(self, kind: str, *, asked: bool) -> bool:
        """True when a child that went down in a group restart starts with its group.

        Args:
            kind: The kind of the child's exit.
            asked: It was asked to stop for the group; else it ended by itself.
        """
        return self.restarts(kind) or (asked and self is not RestartType.TEMPORARY)


_FAILURES = frozenset({"failed", "start_failed", "abandoned", "gave_up"})
# "fatal" is in no row: a BaseException stops the tree upward.
_RESTARTED: Final[Mapping[RestartType, frozenset[str]]] = {
    RestartType.PERMANENT: _FAILURES | {"normal", "shutdown"},
    RestartType.TRANSIENT: _FAILURES,
    RestartType.TEMPORARY: frozenset(),
}


class Siblings(Protocol):
    """What a callable ``kwargs`` is given: the children of the same supervisor."""

    @overload
    def ref(self, child: ChildSpec[A]) -> ActorRef[A]: ...

    @overload
    def ref(self, child: str) -> ActorRef[Any]: ...

    def ref(self, child: str | ChildSpec[Any]) -> ActorRef[Any]:
        """The ref of a sibling; it exists before the sibling has started."""


Kwargs: TypeAlias = "Mapping[str, Any] | Callable[[Siblings], Mapping[str, Any]]"


@dataclass(frozen=True, slots=True, eq=False, init=False)
class ChildSpec(Generic[A]):
    """How one child is made, restarted and stopped.

    Attributes:
        actor_class: A ``pykka.ThreadingActor`` subclass, ours or an unmodified one.
        args: Positional arguments of its constructor, the same objects at each start.
        kwargs: Keyword arguments, or a callable of the siblings that makes them anew
            at each start, on the child's thread.
        id: Its name among its siblings; the class's name by default.
        restart: A :class:`RestartType` or its value.
        shutdown: Seconds it may take to stop before it is abandoned; ``None`` waits
            for ever, 0 gives up at once when it is busy.  5 by default, ``None`` for
            a supervisor, whose children have limits of their own.
        start_timeout: Seconds that ``__init__`` and ``on_start`` may take; ``None`` for
            no limit.  30 by default, ``None`` for a supervisor.
        backoff: Delays between restarts; none by default.
        mailbox: ``"keep"`` what waits in it through a restart, or begin ``"fresh"``.
        capacity: Bound of its mailbox, ``None`` for no bound; by default its class's,
            else 10.
        after_start: Called with the actor, on its thread, after each ``on_start`` and
            before the next sibling starts: ``after_start=Core.setup``.
        on_crash: The hooks that a crash ends with: ``"on_failure"`` alone, or
            ``"on_stop"`` after it.  By default the former for an ``actors.Actor``, the
            latter for any other class, which may close its resources there.
        token: Parent of its incarnations' stop tokens, when they are to be signalled by
            something else than the tree; its supervisor's own by default.

    Raises:
        ConfigurationError: If a field is not allowed; it names the field and the child.
    """

    actor_class: type[A]
    args: tuple[Any, ...]
    kwargs: Kwargs
    id: str
    restart: RestartType
    shutdown: float | None
    start_timeout: float | None
    backoff: Backoff | None
    mailbox: Mailbox
    capacity: int | Unset | None
    after_start: Callable[[A], object] | None
    on_crash: Hooks | Unset
    token: StopToken | None

    def __init__(
        self,
        actor_class: type[A],
        args: Iterable[Any] = (),
        kwargs: Kwargs = _NO_KWARGS,
        *,
        id: str | None = None,  # noqa: A002  # the name that OTP gave it
        restart: RestartType | str = RestartType.TRANSIENT,
        shutdown: float | Unset | None = UNSET,
        start_timeout: float | Unset | None = UNSET,
        backoff: Backoff | None = None,
        mailbox: Mailbox = "keep",
        capacity: int | Unset | None = UNSET,
        after_start: Callable[[A], object] | None = None,
        on_crash: Hooks | Unset = UNSET,
        token: StopToken | None = None,
    ) -> None:
        where = f"child {_name_of(actor_class) if id is None else id!r}"
        _check_class(actor_class, where)
        is_supervisor = bool(getattr(actor_class, "is_supervisor", False))
        if shutdown is UNSET:
            shutdown = None if is_supervisor else DEFAULT_SHUTDOWN
        if start_timeout is UNSET:
            start_timeout = None if is_supervisor else DEFAULT_START_TIMEOUT
        values = {
            "actor_class": actor_class,
            "args": args,
            "kwargs": kwargs,
            "id": actor_class.__name__ if id is None else id,
            "restart": restart,
            "shutdown": shutdown,
            "start_timeout": start_timeout,
            "backoff": backoff,
            "mailbox": mailbox,
            "capacity": capacity,
            "after_start": after_start,
            "on_crash": on_crash,
            "token": token,
        }
        for name, (check, must_be) in _FIELDS.items():
            if not check(values[name]):
                msg = f"{where}: {name} must be {must_be}, got {values[name]!r}"
                raise ConfigurationError(msg)
        values["args"] = tuple(args)
        values["restart"] = RestartType(restart)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        _check_nested(self)

    @property
    def is_supervisor(self) -> bool:
        """True for a nested supervisor."""
        return bool(getattr(self.actor_class, "is_supervisor", False))


_FIELDS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "args": (
        lambda v: isinstance(v, Iterable) and not isinstance(v, str | bytes | Mapping),
        "a tuple or list",
    ),
    "kwargs": (
        lambda v: isinstance(v, Mapping) or callable(v),
        "a mapping, or a callable of the siblings that returns one",
    ),
    "id": (lambda v: isinstance(v, str) and bool(v), "a string that is not empty"),
    "restart": (lambda v: is_value(RestartType, v), values_of(RestartType)),
    "shutdown": (
        lambda v: v is None or is_seconds(v),
        "seconds of 0 or more, or None for no limit",
    ),
    "start_timeout": (
        lambda v: v is None or is_above_0(v),
        "seconds above 0, or None for no limit",
    ),
    "backoff": (lambda v: v is None or isinstance(v, Backoff), "a Backoff or None"),
    "mailbox": (lambda v: v in ("keep", "fresh"), "'keep' or 'fresh'"),
    "capacity": (
        lambda v: v is UNSET or v is None or (is_count(v) and v >= 1),
        "an int of 1 or more, or None for no bound",
    ),
    "after_start": (
        lambda v: v is None or callable(v),
        "a callable of the actor, or None",
    ),
    "token": (lambda v: v is None or hasattr(v, "child"), "a StopToken or None"),
    "on_crash": (
        lambda v: v is UNSET or v in ("on_failure", "on_stop"),
        "'on_failure' or 'on_stop'",
    ),
}


def _name_of(actor_class: object) -> str:
    return getattr(actor_class, "__name__", None) or repr(actor_class)


def _check_class(actor_class: object, where: str) -> None:
    if isinstance(actor_class, type) and hasattr(actor_class, "use_daemon_thread"):
        return
    msg = (
        f"{where}: actor_class must be a subclass of pykka.ThreadingActor, "
        f"got {actor_class!r}"
    )
    raise ConfigurationError(msg)


def _check_nested(spec: ChildSpec[Any]) -> None:
    """Check the children of a nested supervisor, when they are known already."""
    check = getattr(spec.actor_class, "check_arguments", None)
    if check is None or not isinstance(spec.kwargs, Mapping):
        return
    try:
        check(*spec.args, **spec.kwargs)
    except (ConfigurationError, TypeError) as error:
        msg = f"child {spec.id!r}: {error}"
        raise ConfigurationError(msg) from error
