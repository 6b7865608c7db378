"""Groups: children that stop together, wait together and start together.

:Runs on: the supervisor's thread.
:Owns: which child is in which group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervision.child_state import LIVE, Child, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervision.child_state import Timer

__all__ = ["Group", "Groups"]


class Group:
    """Children that stop, wait and start together.

    Invariant: a child is in at most one group, and only while it has a stop or a start
    before it.
    """

    __slots__ = ("_latest", "_left", "at", "members", "stamp", "starting", "timer")

    def __init__(self, members: list[Child], stamp: int, at: float | None) -> None:
        self.members = dict.fromkeys(members)  # in the order of start
        self.stamp = stamp
        self.at = at  # None once that moment has come
        self.starting = False
        self.timer: Timer | None = None
        # Taken from the end, so that no step looks at the members it is done with.
        self._left = members[:]
        self._latest: Child | None = None

    def last_live(self) -> Child | None:
        """The last member that has a thread; before the members start."""
        left = self._left
        while left and (left[-1].state not in LIVE or left[-1].group is not self):
            left.pop()
        return left[-1] if left else None

    def begin_to_start(self) -> None:
        """The members start from now on."""
        self.starting = True
        self._left = list(self.members)[::-1]

    def next_to_start(self, *, one_by_one: bool) -> Child | None:
        """The next member to start, taken off; ``None`` if nobody is to start now.

        Args:
            one_by_one: Not while the one before has yet to run.
        """
        latest = self._latest
        if (
            one_by_one
            and latest is not None
            and latest.group is self
            and latest.state is State.STARTING
        ):
            return None
        while self._left:
            child = self._left.pop()
            if child.group is self and child.state not in LIVE:
                self._latest = child
                return child
        return None


class Groups:
    """The groups of one supervisor."""

    def __init__(self) -> None:
        self._groups: dict[int, Group] = {}  # by their stamp
        # Invariant: whatever may have a step to do is in here.
        self._stirred: dict[int, Group] = {}
        self._stamps = 0

    def __iter__(self) -> Iterator[Group]:
        return iter(tuple(self._groups.values()))

    def gather(self, members: list[Child], at: float | None) -> Group:
        """Put children in a new group, out of the ones that they were in.

        Args:
            members: In the order of start.
            at: The moment before which they do not start.
        """
        self._stamps += 1
        group = Group(members, self._stamps, at)
        for child in members:
            self.leave(child)
            child.group = group
        self._groups[group.stamp] = group
        self.stir(group)
        return group

    def stir(self, group: Group) -> None:
        """Something has changed that may let the group do a step."""
        if group.stamp in self._groups:
            self._stirred[group.stamp] = group

    def stirred(self) -> Iterator[Group]:
        """The groups that may have a step to do."""
        return iter(tuple(self._stirred.values()))

    def rest(self, group: Group) -> None:
        """The group has nothing to do until it is stirred."""
        self._stirred.pop(group.stamp, None)

    def leave(self, child: Child) -> None:
        """Take a child out of its group, if it is in one."""
        group, child.group = child.group, None
        if group is None:
            return
        del group.members[child]
        if group.members:
            self.stir(group)
        else:
            self._drop(group)

    def come_due(self, stamp: int) -> None:
        """The moment of the group with that stamp has come, if it is still there."""
        group = self._groups.get(stamp)
        if group is not None:
            group.at = group.timer = None
            self.stir(group)

    def clear(self) -> None:
        """Nobody starts any more."""
        for group in self:
            for child in group.members:
                child.group = None
            self._drop(group)

    def _drop(self, group: Group) -> None:
        del self._groups[group.stamp]
        self.rest(group)
        if group.timer is not None:
            group.timer.cancel()
