"""What a supervisor is told: how to start, restart and stop each child.

Specs are values, checked when they are made, so that a bad one is found before any
thread starts.  A ``ChildSpec`` is also a typed key: ``tree.ref(spec)`` is a ref of the
spec's actor class.

:Runs on: any thread; pure.
:Owns: nothing.
"""

from __future__ import annotations

import copy
import enum
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
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
    arguments_of,
    as_tuple,
    check_actor_class,
    check_child,
    hinting,
    is_value,
    name_of,
    refuse,
    values_of,
)

if TYPE_CHECKING:
    import pykka

    from actors import StopToken
    from actors.cell import Unset
    from actors.ref import ActorRef
    from supervision.strategies import Backoff
    from supervision.supervisor import Supervisor
    from supervision.supervisor_ref import SupervisorRef

__all__ = ["ChildSpec", "RestartType", "Siblings"]

A = TypeVar("A", bound="pykka.Actor")
# Covariant, so that a list of different children is a list of specs of actors.
A_co = TypeVar("A_co", bound="pykka.Actor", covariant=True)
Mailbox: TypeAlias = Literal["keep", "fresh"]
Hooks: TypeAlias = Literal["on_failure", "on_stop"]
GiveUp: TypeAlias = Literal["escalate", "leave_down"]
WhileDown: TypeAlias = Literal["wait", "fail"]
InitIn: TypeAlias = Literal["child", "caller"]
OnTimeout: TypeAlias = Literal["abandon", "interrupt"]

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
    def ref(self, child: ChildSpec[Supervisor] | type[Supervisor]) -> SupervisorRef: ...

    @overload
    def ref(self, child: ChildSpec[A]) -> ActorRef[A]: ...

    @overload
    def ref(self, child: type[A]) -> ActorRef[A]: ...

    @overload
    def ref(self, child: str) -> ActorRef[Any]: ...

    def ref(self, child: str | type[Any] | ChildSpec[Any]) -> ActorRef[Any]:
        """The ref of a sibling; it exists before the sibling has started."""


Kwargs: TypeAlias = Mapping[str, Any] | Callable[[Siblings], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class ChildSpec(Generic[A_co]):
    """How one child is made, restarted and stopped.

    A copy with other fields is made by ``dataclasses.replace``.

    Attributes:
        actor_class: A ``pykka.ThreadingActor`` subclass, ours or an unmodified one.
        args: Positional arguments of its constructor, the same objects at each start.
        kwargs: Keyword arguments, or a callable of the siblings that makes them anew
            at each start, on the thread that runs ``__init__``.
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
        significant: Its end may end its supervisor, as the supervisor's
            ``auto_shutdown`` says.  Not for a permanent child, which always comes back.
        after_start: Called with the actor, on its thread, after each ``on_start`` and
            before the next sibling starts: ``after_start=Core.setup``.
        required: False lets the tree start without it when it does not start.  It is
            tried again, and left down when it has never run and fails too often.
        give_up: What becomes of it after too many restarts: ``"escalate"`` has its
            supervisor give up, ``"leave_down"`` leaves it down and its siblings
            running, until somebody restarts it.
        while_down: What a sender meets while it is down and may come back: ``"wait"``
            for its next start, or ``"fail"`` at once with ``ActorDown``.
        crash_on_ask: The exceptions that fail it also when they are raised while it
            answers an ask.  Any other goes to the asker alone.
        on_crash: The hooks that a crash ends with: ``"on_failure"`` alone, or
            ``"on_stop"`` after it.  By default the former for an ``actors.Actor``, the
            latter for any other class, which may close its resources there.
        init_in: Whose thread runs its first ``__init__``: the ``"child"``'s own, or
            the ``"caller"``'s who starts the tree, for an object that belongs there.
        max_restarts: How many restarts in a row it may need before ``give_up`` is
            done; ``None`` leaves that to its supervisor's intensity alone.
        on_timeout: What is done to its thread when it does not stop in time:
            ``"abandon"`` it, or ``"interrupt"`` it first and abandon it if that did
            not help.
        token: Parent of its incarnations' stop tokens, when they are to be signalled by
            something else than the tree; its supervisor's own by default.
        warned_of: For supervisors: the window that the host has been warned of.

    Raises:
        ConfigurationError: If a field is not allowed; it names the field and the child.
    """

    actor_class: type[A_co]
    args: tuple[Any, ...]
    kwargs: Kwargs
    id: str
    restart: RestartType
    shutdown: float | None
    start_timeout: float | None
    backoff: Backoff | None
    mailbox: Mailbox
    capacity: int | Unset | None
    significant: bool
    after_start: Callable[[A_co], object] | None
    required: bool
    give_up: GiveUp
    while_down: WhileDown
    crash_on_ask: tuple[type[Exception], ...]
    on_crash: Hooks | Unset
    init_in: InitIn
    max_restarts: int | None
    on_timeout: OnTimeout
    token: StopToken | None
    warned_of: tuple[int, float] | None = field(init=False)

    @hinting
    def __init__(
        self,
        actor_class: type[A_co],
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
        significant: bool = False,
        after_start: Callable[[A_co], object] | None = None,
        required: bool = True,
        give_up: GiveUp = "escalate",
        while_down: WhileDown = "wait",
        crash_on_ask: type[Exception] | Iterable[type[Exception]] = (),
        on_crash: Hooks | Unset = UNSET,
        init_in: InitIn = "child",
        max_restarts: int | None = None,
        on_timeout: OnTimeout = "abandon",
        token: StopToken | None = None,
    ) -> None:
        where = f"child {name_of(actor_class) if id is None else id!r}"
        check_actor_class(actor_class, where)
        is_supervisor = bool(getattr(actor_class, "is_supervisor", False))
        if shutdown is UNSET:
            shutdown = None if is_supervisor else DEFAULT_SHUTDOWN
        if start_timeout is UNSET:
            start_timeout = None if is_supervisor else DEFAULT_START_TIMEOUT
        if id is None or isinstance(id, _ClassName):
            id = _ClassName(actor_class.__name__)  # noqa: A001  # as above
        if not is_value(RestartType, restart):
            refuse(where, "restart", restart, values_of(RestartType))
        values = {
            "actor_class": actor_class,
            "args": args,
            "kwargs": kwargs,
            "id": id,
            "restart": RestartType(restart),
            "shutdown": shutdown,
            "start_timeout": start_timeout,
            "backoff": backoff,
            "mailbox": mailbox,
            "capacity": capacity,
            "significant": significant,
            "after_start": after_start,
            "required": required,
            "give_up": give_up,
            "while_down": while_down,
            "crash_on_ask": as_tuple(crash_on_ask),
            "on_crash": on_crash,
            "init_in": init_in,
            "max_restarts": max_restarts,
            "on_timeout": on_timeout,
            "token": token,
        }
        check_child(values, where)
        values["args"] = tuple(args)
        if kwargs is _NO_KWARGS:
            values["kwargs"] = {}  # for copy.deepcopy and pickle
        values["warned_of"] = None
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check_together(where)

    def __repr__(self) -> str:
        # Arguments may be long, or secret.
        name, restart = name_of(self.actor_class), self.restart.value
        return f"ChildSpec({name}, id={str(self.id)!r}, restart={restart!r})"

    @property
    def is_supervisor(self) -> bool:
        """True for a nested supervisor."""
        return bool(getattr(self.actor_class, "is_supervisor", False))

    @property
    def named(self) -> bool:
        """True if an id was given; else it is the class's name."""
        return not isinstance(self.id, _ClassName)

    def with_id(self, id: str) -> ChildSpec[A_co]:  # noqa: A002  # the field's name
        """The same spec for a child of another name."""
        check_child({"id": id}, f"child {self.id!r}")
        return self._copy(id=id)

    def without_arguments(self) -> ChildSpec[A_co]:
        """The same spec with nothing to make the actor from, which is kept no longer.

        It is for a child that will not be started again.
        """
        return self._copy(args=(), kwargs={})

    def _copy(self, **changes: Any) -> ChildSpec[A_co]:
        """Copy without the checks, which the original has passed."""
        spec = copy.copy(self)
        for name, value in changes.items():
            object.__setattr__(spec, name, value)
        return spec

    def _check_together(self, where: str) -> None:
        """Check what depends on more than one field."""
        if self.significant and self.restart is RestartType.PERMANENT:
            must_be = "False with restart='permanent'"
            way_out = (
                "such a child comes back whenever it ends; "
                "use restart='transient' or 'temporary'"
            )
            refuse(where, "significant", self.significant, must_be, way_out)
        check = getattr(self.actor_class, "check_arguments", None)
        if check is None or not isinstance(self.kwargs, Mapping):
            return
        try:  # the children of a nested supervisor, when they are known already
            check(*self.args, **self.kwargs)
            taken = inspect.signature(self.actor_class.__init__)
            taken.bind(None, *self.args, **self.kwargs)
        except ConfigurationError as error:
            msg = f"{where}: {error}"
            raise ConfigurationError(msg) from error
        except TypeError as error:
            taken_by_name = ", ".join(arguments_of(self.actor_class))
            msg = f"{where}: {error}; it takes: {taken_by_name}"
            raise ConfigurationError(msg) from error


class _ClassName(str):
    """An id that nobody gave; a copy for another class has that one's name."""

    __slots__ = ()
