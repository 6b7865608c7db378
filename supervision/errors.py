"""What goes wrong with a tree: its start, its end, the administration of its children.

:Runs on: any thread.
:Owns: nothing; exceptions are values.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from actors.errors import HeadraceError

if TYPE_CHECKING:
    from actors.ref import ActorRef

__all__ = [
    "AlreadyPresent",
    "AlreadyStarted",
    "ChildNotFound",
    "ChildRestarting",
    "ChildRunning",
    "MaxChildren",
    "StartFailed",
    "SupervisorGaveUp",
]

LONGEST: Final = 4000
"""Characters of a traceback in a note, of its end; a deep recursion has more."""
_HERE: Final = "It happened here:"


class StartFailed(HeadraceError, RuntimeError):
    """A child did not start.

    At the start of a tree the tree did not start either, and those already started were
    stopped.  ``__cause__`` is what the child raised.

    Attributes:
        child_id: The child's id.
    """

    def __init__(self, message: str, child_id: str = "") -> None:
        super().__init__(message)
        self.child_id = child_id


class SupervisorGaveUp(HeadraceError, RuntimeError):
    """A supervisor had more restarts than its intensity allows and stopped its tree.

    ``__cause__`` is the last failure.
    """


class AlreadyStarted(HeadraceError, RuntimeError):
    """``start_child``: a child of that id is there, and not down.

    Attributes:
        ref: Its ref.
    """

    def __init__(self, message: str, ref: ActorRef[Any]) -> None:
        super().__init__(message)
        self.ref = ref


class AlreadyPresent(HeadraceError, RuntimeError):
    """``start_child``: a child of that id is there and down; it can be restarted."""


class ChildRunning(HeadraceError, RuntimeError):
    """``restart_child`` or ``delete_child``: the child is not down."""


class ChildRestarting(HeadraceError, RuntimeError):
    """``restart_child`` or ``delete_child``: the child waits for its restart."""


class ChildNotFound(HeadraceError, KeyError):
    """There is no child of that id."""

    __str__ = Exception.__str__  # a KeyError would show it in quotes


class MaxChildren(HeadraceError, RuntimeError):
    """``start_child``: the supervisor has as many children as it may have."""


def start_failure(
    supervisor: str, child_id: str, cause: BaseException | None, traceback: str = ""
) -> StartFailed:
    """What a supervisor ends with when one of its children does not start."""
    first: BaseException | None = cause
    while isinstance(first, StartFailed) and isinstance(first.__cause__, StartFailed):
        first = first.__cause__  # its name is a path: it says what is between
    said = str(first) if isinstance(first, StartFailed) else shown(first)
    message = f"child {child_id!r} of {supervisor} did not start: {said}"
    failure = StartFailed(message, child_id)
    caused_by(failure, cause, traceback)
    return failure


def caused_by(
    error: HeadraceError, cause: BaseException | None, traceback: str
) -> None:
    """Give an error its cause, and that one a note of where it was raised.

    The cause itself has no frames any more: they would keep the dead actor alive.  One
    that is raised again and again has a note of the last time.
    """
    error.__cause__ = cause
    if cause is None or not traceback or isinstance(cause, StartFailed):
        return  # there is nothing to say, or its own cause says it
    text = traceback.rstrip()
    if len(text) > LONGEST:  # the last lines tell the most
        _, _, last = text[-LONGEST:].partition("\n")
        text = f"...\n{last}"
    with contextlib.suppress(Exception):  # the host's class, which may be frozen
        notes = [each for each in getattr(cause, "__notes__", ()) if _HERE not in each]
        cause.__notes__ = [*notes, f"{_HERE}\n{text}"]


def shown(error: BaseException | None) -> str:
    """An error in words; one that cannot be shown still has its type."""
    try:
        return repr(error)
    except Exception:  # noqa: BLE001  # the host's class
        return f"{type(error).__name__}, which cannot be shown"
