"""One child as its supervisor sees it: its states, and the notices that count.

A child's states::

    WAITING --> STARTING --> RUNNING --> FAILING --.
                   |            |           |      |
                   |            '--> STOPPING      |   any of these four ends by a
                   v                    v          v   down notice or is abandoned
               RESTARTING (a restart is coming) or UNDEFINED (down for good)

:Runs on: the supervisor's thread.
:Owns: a ``Child`` its state and its timer.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, TypeAlias

from supervision.child_spec import RestartType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors.exits import Exit
    from supervision.child_spec import ChildSpec
    from supervision.groups import Group
    from supervision.strategies import RestartWindow

    MakeOn: TypeAlias = Callable[[Callable[[], None]], bool]

__all__ = [
    "Answerable",
    "Child",
    "Due",
    "DueKind",
    "EXPECTED",
    "Hands",
    "LIVE",
    "Mode",
    "State",
]


class State(enum.Enum):
    """Where one child stands."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    FAILING = "failing"
    STOPPING = "stopping"
    RESTARTING = "restarting"
    UNDEFINED = "undefined"


class Mode(enum.Enum):
    """Where the supervisor itself stands."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    OVER = "over"


LIVE: Final = frozenset({State.STARTING, State.RUNNING, State.FAILING, State.STOPPING})
"""States in which the child has a thread."""

DueKind: TypeAlias = Literal["start_due", "stop_due", "failing_due"]
Notice: TypeAlias = Literal["started", "failing", "down"]

EXPECTED: Final[Mapping[Notice, frozenset[State]]] = {
    "started": frozenset({State.STARTING}),
    "failing": frozenset({State.RUNNING}),
    "down": LIVE,
}
"""The states in which a notice means something; in any other it is stale."""


class Due(NamedTuple):
    """A timer of the machine: of a child or of a group, by the stamp that it has.

    An id and an incarnation would not do: both may be those of a newer child, or of a
    limit that has been changed since.
    """

    what: DueKind | Literal["restart_due"]
    child: str
    stamp: int


class Timer(Protocol):
    """What ``call_at`` returns."""

    def cancel(self) -> object:
        """Take the call back, if it has not come yet."""


class Answerable(Protocol):
    """Who waits for a start or a stop.

    Attributes:
        keeps_spec: If the start fails, the spec is not thrown away.
    """

    keeps_spec: bool

    def succeed(self, ref: Any) -> None:
        """It is done."""

    def fail(self, error: BaseException) -> None:
        """It will not be."""


class Child:
    """One child as the machine sees it.

    Attributes:
        spec: What it was told.
        state: Where it stands.
        number: Its current or last incarnation.
        restarts: How many incarnations came after a failure.
        exit: How its last incarnation ended.
        handle: For the hands' own use.
        make_on: Who runs its first ``__init__``, if not its own thread.
        failures: How many there were in a row, for backoff and ``max_restarts``.
        was_up: It has left its ``on_start`` once.
        was_added: It was not there when its supervisor started.
        was_tried: Its first start has failed, and the start of the tree goes on.
        ordered_down: Whoever administers the tree has it stopped: it does not restart.
        draining: Its stop lets it handle what waits in its mailbox.
        stop_by: When its own time to stop is over, once it has begun.
        interrupted: An exception was thrown into the thread that would not end.
        discarded: Its spec goes when it is down.
        by_order: Its last incarnation ended because its supervisor stopped it.
        start_request: Who asked for its start, and has not been told how it went.
        stop_requests: Who asked for its stop, likewise.
    """

    __slots__ = (
        "by_order",
        "discarded",
        "draining",
        "exit",
        "failures",
        "group",
        "handle",
        "interrupted",
        "make_on",
        "number",
        "ordered_down",
        "restarts",
        "spec",
        "stamp",
        "start_request",
        "started_at",
        "state",
        "stop_by",
        "stop_requests",
        "timer",
        "was_added",
        "was_tried",
        "was_up",
        "window",
    )

    def __init__(self, spec: ChildSpec[Any], handle: Any = None) -> None:
        self.spec = spec
        self.handle = handle
        self.state = State.WAITING
        self.number = 0
        self.restarts = 0
        self.exit: Exit | None = None
        self.make_on: MakeOn | None = None
        self.failures = 0
        self.started_at: float | None = None
        self.was_up = False
        self.was_added = False
        self.was_tried = False
        self.ordered_down = False
        self.draining = False
        self.stop_by: float | None = None
        self.interrupted = False
        self.discarded = False
        self.by_order = False
        self.window: RestartWindow | None = None  # its own, if it has one
        self.start_request: Answerable | None = None
        self.stop_requests: list[Answerable] = []
        self.group: Group | None = None
        self.timer: Timer | None = None
        self.stamp = 0  # of the timer; a due with another one is stale

    @property
    def id(self) -> str:
        """The spec's id."""
        return self.spec.id

    @property
    def has_had_its_start(self) -> bool:
        """True when the start of the tree need not wait for it any more."""
        return self.was_up or self.was_tried or self.state is State.UNDEFINED

    @property
    def is_gone(self) -> bool:
        """True when its supervisor knows it no more."""
        return self.state is State.UNDEFINED and (
            self.discarded or self.spec.restart is RestartType.TEMPORARY
        )

    def disarm(self) -> None:
        """Cancel the timer of the state that ends now."""
        self.stamp = 0
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Hands(Protocol):
    """What the machine can do to the world; none of it waits."""

    def start(self, child: Child) -> int:
        """Start a new incarnation; its number.

        Raises:
            RuntimeError, MemoryError: If no thread can be started.
        """

    def stop(self, child: Child, deadline: float | None) -> None:
        """Ask the incarnation to stop, until a moment on the clock."""

    def drain(self, child: Child, deadline: float | None) -> None:
        """Ask it to stop once it has handled what waits in its mailbox."""

    def interrupt(self, child: Child, why: str) -> bool:
        """Throw an exception into the incarnation's thread; False if that cannot be."""

    def busy(self, child: Child) -> bool:
        """True when the incarnation is handling something."""

    def waiting(self, child: Child) -> int:
        """How many messages wait in its mailbox, orders to stop included."""

    def abandon(self, child: Child, why: str) -> str | None:
        """Leave the incarnation's thread behind.

        Returns:
            The stack it was in; ``None`` if it had ended first: a notice says so.
        """

    def finalize(self, child: Child, exit_: Exit) -> None:
        """Close the child for good."""

    def make(self, child: Child) -> None:
        """Give the child a place of its own; also after it was closed for good.

        Raises:
            ConfigurationError: If its class cannot have one; nothing has changed then.
        """

    def forget(self, child: Child) -> None:
        """The child is known no more."""

    def forget_arguments(self, child: Child) -> None:
        """What it was made from is not needed any more."""

    def ref(self, child: Child) -> Any:
        """The child's ref."""

    def call_at(self, moment: float, due: Due) -> Timer:
        """Feed ``due`` back in at ``moment``."""

    def emit(self, event: Any) -> None:
        """Tell an event."""

    def ready(self) -> None:
        """All children have started."""

    def end(self, exit_: Exit) -> None:
        """All children are down; the supervisor may go."""
