"""How starting a tree fails, and how a tree ends that did not end well.

:Runs on: any thread.
:Owns: nothing; exceptions are values.
"""

from __future__ import annotations

from actors.errors import HeadraceError

__all__ = ["StartFailed", "SupervisorGaveUp"]


class StartFailed(HeadraceError, RuntimeError):
    """A child did not start, so the tree did not; those already started were stopped.

    ``__cause__`` is what the child raised.

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


def start_failure(
    supervisor: str, child_id: str, cause: BaseException | None
) -> StartFailed:
    """What a supervisor ends with when one of its children does not start."""
    message = f"child {child_id!r} of {supervisor} did not start: {cause!r}"
    failure = StartFailed(message, child_id)
    failure.__cause__ = cause
    return failure
