"""What a supervisor shows of its children: a picture after each transition.

A supervisor replaces its :class:`Picture` after each transition; readers take the
newest one from any thread, without a message and without a lock.  A transition costs
what has changed, not what there is, for a supervisor may have 10,000 children: a
picture knows its changes to the one before, and the first reader works them in.

:Runs on: a ``Painter`` on its supervisor's thread; everything else on any thread.
:Owns: a ``Painter`` what it has drawn; pictures are values.
:Blocks: nothing.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, final

from supervision.child_state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from actors.exits import Exit
    from actors.ref import ActorRef
    from supervision.child_state import Child

__all__ = ["ChildCounts", "ChildInfo", "Painter", "Picture"]


class ChildInfo(NamedTuple):
    """One child at one moment.

    Attributes:
        id: Its spec's id.
        state: ``running``, ``starting``, ``restarting``, ``stopping`` or ``undefined``
            (down for good).
        ref: Its ref.
        incarnation: Number of the present or last one; 0 before the first.
        restarts: How often its own end, and no sibling's, has made it start again; the
            one that it waits for is counted.
        is_supervisor: True for a nested supervisor.
        exit: How its last incarnation ended, if one has.
        restart_at: The moment on the clock before which it does not start again, if it
            waits for one.
        by_order: That one ended because its supervisor stopped it.
    """

    id: str
    state: str
    ref: ActorRef[Any]
    incarnation: int
    restarts: int
    is_supervisor: bool
    exit: Exit | None = None
    restart_at: float | None = None
    by_order: bool = False


class ChildCounts(NamedTuple):
    """How many children a supervisor has, in the words of OTP's ``count_children``.

    Attributes:
        specs: All it has a spec of.
        active: Those with a thread.
        restarting: Those that wait for their restart.
        supervisors: Nested supervisors among all.
        actors: The others.
    """

    specs: int
    active: int
    restarting: int
    supervisors: int
    actors: int


# What a child's state is called outside; WAITING is part of the supervisor's start.
_PUBLIC: Final[Mapping[State, str]] = {
    State.WAITING: "starting",
    State.STARTING: "starting",
    State.RUNNING: "running",
    State.FAILING: "stopping",
    State.STOPPING: "stopping",
    State.RESTARTING: "restarting",
    State.UNDEFINED: "undefined",
}


# A child's id, and what it is now; None: it is known no more.
Change: TypeAlias = "tuple[str, ChildInfo | None]"

PICTURES_APART: Final = 64
"""A picture stands on its own after this part of its children have changed."""


@final
class Picture:
    """A supervisor's children after one transition, in the order of start.

    It never changes; only how it is kept does: as the changes to the one before, until
    somebody looks.

    Args:
        infos: All children, by id.
        before: The one before, if ``changes`` lead from that one to this.
        changes: In the order they happened.
    """

    __slots__ = ("_before", "_changes", "_children", "_infos")

    def __init__(
        self,
        infos: dict[str, ChildInfo] | None = None,
        before: Picture | None = None,
        changes: Iterable[Change] = (),
    ) -> None:
        if infos is None and before is None:
            infos = {}
        self._infos = infos
        self._before = before
        self._changes = tuple(changes)
        self._children: tuple[ChildInfo, ...] | None = None

    @property
    def children(self) -> tuple[ChildInfo, ...]:
        """All of them."""
        children = self._children
        if children is None:
            children = self._children = tuple(self._worked_in().values())
        return children

    def find(self, child_id: str) -> ChildInfo | None:
        """One of them."""
        return self._worked_in().get(child_id)

    def _worked_in(self) -> dict[str, ChildInfo]:
        """All of them by id.

        Readers may do it at the same time: both come to the same.  ``_infos`` is set
        before the others are let go of, so whoever reads those first and then finds no
        ``_infos`` has them in hand.
        """
        behind: list[tuple[Change, ...]] = []
        picture = self
        while True:
            before, changes = picture._before, picture._changes
            infos = picture._infos
            if infos is not None:
                break
            behind.append(changes)
            assert before is not None
            picture = before
        if behind:
            infos = infos.copy()
            for child_id, info in itertools.chain.from_iterable(reversed(behind)):
                if info is None:
                    infos.pop(child_id, None)
                else:
                    infos[child_id] = info
            self._infos = infos
            self._before, self._changes = None, ()  # nobody keeps what is gone
        return infos


class Painter:
    """Makes the pictures of one supervisor; on its thread.

    Only children that have changed are drawn anew: 1,000 that crash at once are 6,000
    transitions.  Children may come and go.

    Args:
        children: In the order of start.
    """

    def __init__(self, children: Iterable[Child]) -> None:
        self._known = {child.id: child for child in children}
        self._newest = Picture({c.id: _info_of(c) for c in self._known.values()})
        self._apart = 0  # changes since the last picture that stood on its own

    def paint(self, changed: Iterable[Child]) -> Picture:
        """The picture after the children in ``changed`` have changed.

        Args:
            changed: New ones too, and those that are gone.
        """
        known = self._known
        changes: list[Change] = []
        for child in dict.fromkeys(changed):
            if not child.is_gone:
                known[child.id] = child
                changes.append((child.id, _info_of(child)))
            elif known.get(child.id) is child:  # and not one that took its id
                del known[child.id]
                changes.append((child.id, None))
        if changes:
            self._newest = picture = Picture(None, self._newest, changes)
            self._apart += len(changes)
            if self._apart * PICTURES_APART >= len(known):
                self._apart = 0
                picture._worked_in()  # noqa: SLF001  # the same module
        return self._newest


def _info_of(child: Child) -> ChildInfo:
    group = child.group
    return ChildInfo(
        child.id,
        _PUBLIC[child.state],
        child.handle.ref,
        child.number,
        child.restarts,
        child.spec.is_supervisor,
        child.exit,
        None if group is None or child.state is not State.RESTARTING else group.at,
        child.by_order,
    )
