"""Makes the copies of a tree's refs in a forked child refuse their use.

The child has none of the threads: whoever asked there would wait for ever, and what was
told would be handled by nobody.  Each copy of a ref is put on a stand-in for its cell
that raises.  The copies of the cells, and so of the actors, are kept: their finalisers
could close what the parent still uses, such as a connection.

:Runs on: the only thread of a forked child, before anything else does.
:Owns: what has been replaced.
:Blocks: nothing; it takes no lock, for another thread may have held it at the fork.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NoReturn

from actors import UsedAfterFork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervision.supervisor_ref import SupervisorRef

__all__ = ["refuse_use"]

_OF_THE_REF: Final = frozenset({"actor_class", "actor_urn"})
_kept: Final[list[Any]] = []


def refuse_use(tree: SupervisorRef, parent: int) -> None:
    """Have the copies of a tree's refs raise ``UsedAfterFork`` from now on.

    Args:
        tree: The copy of a live tree's ref.
        parent: The process that the tree runs in.
    """
    for ref, name in list(_refs(tree)):
        absent = _Absent(name, parent)
        parts = vars(ref)
        _let_go(parts.get("cell"))
        _kept.append(parts.copy())
        for part in parts.keys() - _OF_THE_REF:
            setattr(ref, part, absent)


def _let_go(cell: Any) -> None:
    """End the copied loop of the actor that forked, when its handler is done."""
    run = None if cell is None else cell.incarnation
    if run is not None:
        run.revoked = True
        run.hand.clear()


def _refs(tree: SupervisorRef) -> Iterator[tuple[Any, str]]:
    """A tree's ref and those of all below it, each with its path."""
    trees: list[Any] = [tree]
    while trees:  # a loop: a deep tree must not recurse
        above = trees.pop()
        board = above.board
        yield above, board.name
        for info in board.picture.children:
            if info.is_supervisor:
                trees.append(info.ref)
            else:
                yield info.ref, f"{board.name}/{info.id}"


class _Absent:
    """Stands for whatever a ref needs; whoever asks it for anything is told why not."""

    def __init__(self, name: str, parent: int) -> None:
        self._name = name
        self._parent = parent

    def __repr__(self) -> str:
        return f"<{self._name}, which runs in process {self._parent}>"

    def __getattr__(self, attribute: str) -> NoReturn:
        self._refuse()

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        self._refuse()

    def _refuse(self) -> NoReturn:
        message = (
            f"{self._name} belongs to a tree of process {self._parent} and cannot be "
            f"used in its forked child {os.getpid()}, which has none of its threads; "
            f"start a new tree there"
        )
        raise UsedAfterFork(message)
