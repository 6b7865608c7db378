"""What all supervisors of one tree share, and where each of them publishes.

:Runs on: any thread.
:Owns: the tree's listeners, and the records of undelivered messages and zombies.
:Guards: ``Tree._lock`` guards ``_left_behind``, ``_undelivered`` and the
    ``undelivered_count`` of each board.
:Blocks: nothing.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, overload

from actors.events import Listeners, MessageUndelivered
from supervision.child_like import id_of
from supervision.crash_log import CrashLog
from supervision.errors import ChildNotFound
from supervision.picture import Picture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pykka

    from actors.cell import Cell
    from actors.clock import Clock
    from actors.events import ChildEscalated, Listener, TreeGaveUp
    from actors.exits import Undelivered, Zombie
    from actors.ref import ActorRef
    from supervision.child_spec import ChildSpec
    from supervision.supervisor import Supervisor
    from supervision.supervisor_ref import SupervisorRef
    from supervision.supervisor_spec import SupervisorSpec

__all__ = ["Board", "Refs", "Tree"]

A = TypeVar("A", bound="pykka.Actor")

UNDELIVERED_KEPT: Final = 1000
"""How many undelivered messages a tree keeps; older ones are only counted."""
MOST_NAMED: Final = 20
"""How many children an error names."""


class Refs:
    """The refs of one supervisor's children, there before the children start.

    Args:
        supervisor: Its name, for errors.
        refs: By child id.
    """

    __slots__ = ("_refs", "_supervisor")

    def __init__(self, supervisor: str, refs: Mapping[str, ActorRef[Any]]) -> None:
        self._supervisor = supervisor
        self._refs = refs

    @overload
    def ref(self, child: ChildSpec[Supervisor] | type[Supervisor]) -> SupervisorRef: ...

    @overload
    def ref(self, child: ChildSpec[A]) -> ActorRef[A]: ...

    @overload
    def ref(self, child: type[A]) -> ActorRef[A]: ...

    @overload
    def ref(self, child: str) -> ActorRef[Any]: ...

    def ref(self, child: str | type[Any] | ChildSpec[Any]) -> ActorRef[Any]:
        """The ref of a child, by its id, its spec or, given as a class, by that.

        Raises:
            ChildNotFound: If there is none; it names those there are.
        """
        child_id = child if isinstance(child, str) else id_of(child)
        try:
            return self._refs[child_id]
        except KeyError:
            there = ", ".join(list(self._refs)[:MOST_NAMED]) or "none"
            message = f"{self._supervisor} has no child {child_id!r}; it has: {there}"
            raise ChildNotFound(message) from None

    def find(self, child_id: str) -> ActorRef[Any] | None:
        """The ref of the child with that id, if there is one."""
        return self._refs.get(child_id)

    def newest_first(self) -> list[ActorRef[Any]]:
        """All refs, that of the child which was added last first."""
        return list(self._refs.values())[::-1]


class Tree:
    """What all supervisors of one tree share; it outlives each of them.

    Args:
        clock: The tree's clock.
        on_event: Told each event, after the log.

    Attributes:
        listeners: Told each event.
        make_on: Runs the first ``__init__`` of those children whose is for the caller.
    """

    make_on: Callable[[Callable[[], None]], bool] | None = None

    def __init__(self, clock: Clock, on_event: Listener | None = None) -> None:
        self.clock = clock
        self.listeners = Listeners(CrashLog(clock), clock=clock)
        if on_event is not None:
            self.listeners.add(on_event)
        self._undelivered: deque[tuple[str, Undelivered]] = deque(
            maxlen=UNDELIVERED_KEPT
        )
        self._left_behind: tuple[tuple[str, Cell], ...] = ()
        # Guards the fields named in the module's text.  O(depth) or O(kept), no calls.
        self._lock = clock.lock()

    def note_undelivered(self, board: Board, record: Undelivered) -> None:
        """Keep a message that no child of a supervisor will handle; on any thread."""
        supervisor, place = board.name, cast("Board | None", board)
        with self._lock:
            while place is not None:
                place.undelivered_count += 1
                place = place.above
            kept = self._undelivered
            # Let go of at the return: not inside, its own finaliser may do anything.
            _oldest = kept.popleft() if len(kept) == kept.maxlen else None
            kept.append((supervisor, record))
        self.listeners.emit(
            MessageUndelivered(
                supervisor, record.child, record.number, record.message, record.why
            )
        )

    def note_left_behind(self, supervisor: str, cell: Cell) -> None:
        """Remember a cell that has a thread too many."""
        with self._lock:
            before = self._left_behind  # the others are let go of at the return
            known = tuple(each for each in before if each[1].zombies)
            if not any(each[1] is cell for each in known):
                known = (*known, (supervisor, cell))
            self._left_behind = known

    def undelivered(self, supervisor: str) -> tuple[Undelivered, ...]:
        """The newest undelivered messages below a supervisor."""
        with self._lock:
            kept = tuple(self._undelivered)
        return tuple(record for name, record in kept if _is_below(name, supervisor))

    def zombies(self, supervisor: str) -> tuple[Zombie, ...]:
        """The threads left behind below a supervisor that still run."""
        return tuple(
            zombie
            for name, cell in self._left_behind
            if _is_below(name, supervisor)
            for zombie in cell.zombies
        )


def _is_below(name: str, supervisor: str) -> bool:
    return name == supervisor or name.startswith(f"{supervisor}/")


class Board:
    """Where one supervisor publishes; it outlives the supervisor's restarts.

    Args:
        name: The supervisor's path in the tree: ``root/workers``.
        tree: What it shares with the others.
        above: That of the supervisor above.

    Attributes:
        picture: The newest.
        refs: Of the present incarnation's children.
        spec: What the present incarnation was told; ``None`` before the first.
        gave_up: Why it gave up, if it did.
        strategy: In words, for people: ``one_for_one``, or ``dynamic``.
        state: The supervisor's own: ``starting``, ``running``, ``stopping``, ``over``.
        ends_by_itself: It ends, or has ended, by its ``auto_shutdown``.
        undelivered_count: How many messages below it became undelivered in all.
    """

    __slots__ = (
        "_deadline", "_hurried", "above", "ends_by_itself", "gave_up", "name",
        "picture", "refs", "spec", "state", "strategy", "tree", "undelivered_count",
    )  # fmt: skip

    def __init__(self, name: str, tree: Tree, above: Board | None = None) -> None:
        self.name = name
        self.tree = tree
        self.above = above
        self.undelivered_count = 0
        self.picture = Picture()
        self.refs = Refs(name, {})
        self.spec: SupervisorSpec | None = None
        self.gave_up: TreeGaveUp | ChildEscalated | None = None
        self._deadline: float | None = None
        self._hurried: Callable[[float], object] | None = None
        self.strategy = ""
        self.state = "starting"
        self.ends_by_itself = False

    def hurry(self, deadline: float | None) -> None:
        """Note by when the tree is to end, for a root that reads no orders any more.

        Args:
            deadline: The moment; ``None`` changes nothing.
        """
        if deadline is None:
            return
        # 1. We write, then look who listens. 2. A last will listens, then looks what
        # was written.  Whichever comes second sees the other.
        self._deadline = deadline
        if self._hurried is not None:
            self._hurried(deadline)

    def hear_deadlines(self, fn: Callable[[float], object]) -> None:
        """Call ``fn`` with each deadline, and with the last there was."""
        self._hurried = fn
        if self._deadline is not None:
            fn(self._deadline)
