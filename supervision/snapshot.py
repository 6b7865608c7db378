"""A whole tree at one moment, as values, and drawn for people.

:Runs on: any thread; taking one sends no message and waits for nobody.
:Owns: nothing; snapshots are values.
:Blocks: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

from supervision.drawing import draw

if TYPE_CHECKING:
    from actors.exits import Exit, Zombie
    from supervision.picture import ChildInfo
    from supervision.supervisor_ref import SupervisorRef

__all__ = ["ChildSnapshot", "TreeSnapshot", "take_snapshot"]

LONGEST: Final = 1000
"""Characters of an error that are kept."""
_WITH_A_THREAD: Final = frozenset({"running", "stopping"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSnapshot:
    """One actor at one moment.

    Attributes:
        id: Its spec's id.
        state: ``running``, ``starting``, ``restarting``, ``stopping`` or ``undefined``
            (down; the drawing says so).
        actor_class: The name of its class.
        incarnation: Number of the present or last one; 0 before the first.
        restarts: How often its own end, and no sibling's, has made it start again; the
            one that it waits for is counted.
        mailbox: How many messages wait in it.
        capacity: How many it holds; ``None`` for no bound.
        thread: The name of its thread, empty while it has none.
        exit_kind: How its last incarnation ended (see :class:`actors.Exit`); empty if
            none has.
        error: What that one failed on, as text; empty if it did not fail.
        restart_in: Seconds until it starts again, if it waits for that.
        zombies: How many threads of it were left behind and still run.
        undelivered: How many of its messages nobody will handle.
        by_order: Its last incarnation ended because its supervisor stopped it.
        handling: The message that it handles at this moment, as a short ``repr`` (of a
            proxy's, the call); empty if it is idle, or busy with something else: a
            start, a hook, a timer.
    """

    is_supervisor: ClassVar[Literal[False]] = False

    id: str
    state: str
    actor_class: str
    incarnation: int
    restarts: int
    mailbox: int
    capacity: int | None
    thread: str
    exit_kind: str
    error: str
    restart_in: float | None
    zombies: int
    undelivered: int
    by_order: bool = False
    handling: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSnapshot:
    """A supervisor and all below it at one moment; ``str()`` draws it.

    Each supervisor's children are shown after one and the same transition; a nested one
    may be a transition ahead of the one above it.

    Attributes:
        id: Its spec's id; the root's name.
        name: Its path in the tree: ``root/workers``.
        strategy: ``one_for_one`` and so on.
        state: As a child's.
        incarnation: As a child's.
        restarts: As a child's.
        exit_kind: As a child's; of the root, how the tree ended.
        error: As a child's.
        restart_in: As a child's.
        children: In the order of start; a nested supervisor is a ``TreeSnapshot``.
        zombies: The threads left behind anywhere below that still run.
        undelivered: How many messages, to anybody below, nobody will handle.
        taken_at: The moment on the tree's clock.
        by_order: As a child's; of the root, that it did not end by its auto_shutdown.
    """

    is_supervisor: ClassVar[Literal[True]] = True

    id: str
    name: str
    strategy: str
    state: str
    incarnation: int
    restarts: int
    exit_kind: str
    error: str
    restart_in: float | None
    children: tuple[ChildSnapshot | TreeSnapshot, ...]
    zombies: tuple[Zombie, ...]
    undelivered: int
    taken_at: float
    by_order: bool = False

    def draw(self, *, width: int = 80, most: int = 40) -> str:
        """The tree as lines of text.

        Args:
            width: Columns of the terminal, which each line of the table is made to
                fit: names are cut in the middle, remarks at the end.  So much as tells
                one from another is left of both, in however narrow a terminal.
            most: How many children of one supervisor are drawn, and how many places
                where threads were left behind.  Of more children, those that run
                quietly are only counted, the idle ones first.

        Raises:
            ConfigurationError: If one of them is no whole number, or less than 1 and 0.
        """
        return draw(self, width=width, most=most)

    def __str__(self) -> str:
        return self.draw()


Entry: TypeAlias = ChildSnapshot | TreeSnapshot


def take_snapshot(ref: SupervisorRef) -> TreeSnapshot:
    """A supervisor and all below it, now."""
    above: Any = ref.cell.parent
    info = None
    if above is not None:
        info = above.ref.board.picture.find(ref.cell.name)
    return _tree(ref, info, ref.cell.clock.monotonic())


def _tree(root: SupervisorRef, info: ChildInfo | None, now: float) -> TreeSnapshot:
    """From the bottom up, and not by recursion: a tree may be deep."""
    todo: list[tuple[Any, ChildInfo | None]] = [(root, info)]
    found = []
    while todo:
        ref, info = todo.pop()
        children = ref.board.picture.children
        found.append((ref, info, children))
        todo += [(each.ref, each) for each in children if each.is_supervisor]
    drawn: dict[int, TreeSnapshot] = {}
    for ref, info, children in reversed(found):
        below = tuple(
            drawn.pop(id(each.ref)) if each.is_supervisor else _child(each, now)
            for each in children
        )
        drawn[id(ref)] = _supervisor(ref, info, below, now)
    return drawn[id(root)]


def _supervisor(
    ref: SupervisorRef, info: ChildInfo | None, below: tuple[Entry, ...], now: float
) -> TreeSnapshot:
    board, cell = ref.board, ref.cell
    exit_ = cell.final if info is None else info.exit
    return TreeSnapshot(
        id=cell.name,
        name=board.name,
        strategy=board.strategy,
        state=_state(ref, info),
        incarnation=cell.number,
        restarts=0 if info is None else info.restarts,
        exit_kind="" if exit_ is None else exit_.kind,
        error=_error_of(exit_),
        restart_in=None if info is None else _time_left(info, now),
        children=below,
        zombies=board.tree.zombies(board.name),
        undelivered=board.undelivered_count,
        taken_at=now,
        by_order=not board.ends_by_itself if info is None else info.by_order,
    )


def _state(ref: SupervisorRef, info: ChildInfo | None) -> str:
    """A supervisor's state, as the one above sees it; the root has only its own."""
    own = ref.board.state
    leaves = own in {"stopping", "over"}  # the one above has not heard of it yet
    if info is not None:
        return "stopping" if leaves and info.state == "running" else info.state
    if ref.cell.final is not None:
        return "undefined"
    return "stopping" if leaves else own


def _child(info: ChildInfo, now: float) -> ChildSnapshot:
    cell: Any = info.ref.cell
    thread = ""
    if info.state in _WITH_A_THREAD or (info.state == "starting" and info.incarnation):
        thread = cell.thread_name
        if info.incarnation > 1:
            thread += f"#{info.incarnation}"
    return ChildSnapshot(
        id=info.id,
        state=info.state,
        actor_class=cell.actor_class.__name__,
        incarnation=info.incarnation,
        restarts=info.restarts,
        mailbox=len(cell.mailbox),
        capacity=cell.mailbox.capacity,
        thread=thread,
        exit_kind="" if info.exit is None else info.exit.kind,
        error=_error_of(info.exit),
        restart_in=_time_left(info, now),
        zombies=len(cell.zombies),
        undelivered=cell.undelivered_count,
        by_order=info.by_order,
        handling=cell.handling if info.state in _WITH_A_THREAD else "",
    )


def _time_left(info: ChildInfo, now: float) -> float | None:
    return None if info.restart_at is None else max(0.0, info.restart_at - now)


def _error_of(exit_: Exit | None) -> str:
    """What an incarnation failed on, as text: it keeps no exception alive."""
    if exit_ is None or exit_.error is None:
        return ""
    try:
        text = str(exit_.error)
    except Exception:  # noqa: BLE001  # the host's class
        text = "(cannot be shown)"
    kind = type(exit_.error).__name__
    return f"{kind}: {text}"[:LONGEST] if text else kind
