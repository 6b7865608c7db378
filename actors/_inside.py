"""Which part of which pipeline the calling code runs in.

A submit from inside never waits, and a wait that only its own thread could end raises
:class:`~actors.errors.WouldDeadlock`; both need to know who is calling.

:Runs on: any thread; the mark belongs to the thread's context.
:Owns: the context variable.
"""

from __future__ import annotations

import contextlib
import enum
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.jobs import JobKind

__all__ = ["Inside", "Role", "enter_role", "inside", "role_in"]


class Role(enum.Enum):
    """What the calling thread is doing for the pipeline."""

    JOB = "a job"
    SINK = "the sink"
    CALLBACK = "a done-callback"
    LISTENER = "a listener"
    PRODUCER = "a producer"


class Inside(NamedTuple):
    """The mark: whose, in which role, for a job its worker's kind; and the one before.

    A job of one pipeline may run the done-callback of another's: it is inside both.
    """

    owner: object
    role: Role
    kind: JobKind | None = None
    outer: Inside | None = None


_inside: ContextVar[Inside | None] = ContextVar("headrace_inside", default=None)


def enter_role(owner: object, role: Role, kind: JobKind | None = None) -> None:
    """Mark the calling thread for the rest of its life."""
    _inside.set(Inside(owner, role, kind))


def role_in(owner: object) -> Inside | None:
    """The caller's innermost mark inside ``owner``, else ``None``."""
    mark = _inside.get()
    while mark is not None and mark.owner is not owner:
        mark = mark.outer
    return mark


@contextlib.contextmanager
def inside(owner: object, role: Role) -> Iterator[None]:
    """Mark the calling thread for a block."""
    token = _inside.set(Inside(owner, role, None, _inside.get()))
    try:
        yield
    finally:
        _inside.reset(token)
