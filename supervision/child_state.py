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
    from collections.abc import Mapping

    from actors.exits import Exit
    from supervision.child_spec import ChildSpec
    from supervision.groups import Group

__all__ = [
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
Notice: TypeAlias = Literal["started", "failing", "down"] | DueKind

EXPECTED: Final[Mapping[Notice, frozenset[State]]] = {
    "started": frozenset({State.STARTING}),
    "failing": frozenset({State.RUNNING}),
    "down": LIVE,
    "start_due": frozenset({State.STARTING}),
    "stop_due": frozenset({State.STOPPING}),
    "failing_due": frozenset({State.FAILING}),
}
"""The states in which a notice means something; in any other it is stale."""


class Due(NamedTuple):
    """A timer of the machine: of a child's incarnation, or of a group's stamp."""

    what: DueKind | Literal["restart_due"]
    child: str
    number: int


class Timer(Protocol):
    """What ``call_at`` returns."""

    def cancel(self) -> object:
        """Take the call back, if it has not come yet."""


class Child:
    """One child as the machine sees it.

    Attributes:
        spec: What it was told.
        state: Where it stands.
        number: Its current or last incarnation.
        restarts: How many incarnations came after a failure.
        exit: How its last incarnation ended.
        handle: For the hands' own use.
    """

    __slots__ = (
        "exit",
        "failures",
        "group",
        "handle",
        "number",
        "restarts",
        "spec",
        "started_at",
        "state",
        "timer",
        "was_up",
    )

    def __init__(self, spec: ChildSpec[Any], handle: Any = None) -> None:
        self.spec = spec
        self.handle = handle
        self.state = State.WAITING
        self.number = 0
        self.restarts = 0
        self.exit: Exit | None = None
        self.failures = 0  # in a row, for the backoff
        self.started_at: float | None = None
        self.was_up = False
        self.group: Group | None = None
        self.timer: Timer | None = None

    @property
    def id(self) -> str:
        """The spec's id."""
        return self.spec.id

    @property
    def has_had_its_start(self) -> bool:
        """True when the start of the tree need not wait for it any more."""
        return self.was_up or self.state is State.UNDEFINED

    @property
    def is_gone(self) -> bool:
        """True when its supervisor knows it no more."""
        return (
            self.state is State.UNDEFINED and self.spec.restart is RestartType.TEMPORARY
        )

    def disarm(self) -> None:
        """Cancel the timer of the state that ends now."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Hands(Protocol):
    """What the machine can do to the world; none of it waits."""

    def start(self, child: Child) -> int:
        """Start a new incarnation; its number.  RuntimeError if no thread can start."""

    def stop(self, child: Child, deadline: float | None) -> None:
        """Ask the incarnation to stop, until a moment on the clock."""

    def busy(self, child: Child) -> bool:
        """True when the incarnation is handling something."""

    def abandon(self, child: Child, why: str) -> str | None:
        """Leave the incarnation's thread behind.

        Returns:
            The stack it was in; ``None`` if it had ended first: a notice says so.
        """

    def finalize(self, child: Child, exit_: Exit) -> None:
        """Close the child for good."""

    def call_at(self, moment: float, due: Due) -> Timer:
        """Feed ``due`` back in at ``moment``."""

    def emit(self, event: Any) -> None:
        """Tell an event."""

    def ready(self) -> None:
        """All children have started."""

    def end(self, exit_: Exit) -> None:
        """All children are down; the supervisor may go."""
