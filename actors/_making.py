"""The making of an actor's object, on its own thread or on another.

:Runs on: the actor's thread; ``make_elsewhere`` on whichever thread makes it instead.
:Owns: for which incarnation the present thread makes an object, a context variable.
:Blocks: as long as the host's ``__init__`` takes.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from actors.clock import thread_ident
from actors.errors import ConfigurationError
from actors.ref import current_incarnation

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.incarnation import Incarnation

__all__ = ["call_plainly", "expected", "is_native", "make_elsewhere", "make_object"]

T = TypeVar("T")

# The incarnation that waits for the object now being made on this thread.
_expecting: ContextVar[Incarnation | None] = ContextVar(
    "headrace_expecting", default=None
)


def expected(actor_class: type[Any]) -> Incarnation | None:
    """The incarnation that the object now being made is for; asked once for each."""
    run = _expecting.get()
    if run is None or run.cell.actor_class is not actor_class:
        return None
    _expecting.set(None)
    return run


def is_native(actor_class: type[Any]) -> bool:
    """True for an actor of ours, False for an adopted class.

    Raises:
        ConfigurationError: If it is neither.
    """
    native: bool | None = getattr(actor_class, "_headrace_native", None)
    if native is None:
        message = (
            f"actor_class must be an actors.Actor, got {actor_class!r}; "
            f"use actors.adopt() for a plain pykka.ThreadingActor"
        )
        raise ConfigurationError(message)
    return native


def make_object(run: Incarnation, call: Callable[..., Any]) -> None:
    """Make the incarnation's object, which finds its way to ``run.actor`` itself.

    Args:
        run: Whose.
        call: Calls the host's code.
    """
    actor_class = run.cell.actor_class
    args, kwargs = run.take_arguments()
    try:
        if callable(kwargs):
            kwargs = _checked(call(kwargs), run)
        before = _expecting.set(run)
        try:
            made = call(actor_class, *args, **(kwargs or {}))
        finally:
            _expecting.reset(before)
        if made is not run.actor:
            message = (
                f"{actor_class.__name__}() gave no new actor; "
                f"each start needs an object of its own"
            )
            raise TypeError(message)  # noqa: TRY301  # the clean-up is the same
    except BaseException:
        run.actor = None  # half made: no hook may see it
        raise


def _checked(kwargs: object, run: Incarnation) -> Mapping[str, Any]:
    """What a callable ``kwargs`` returned, if that is arguments by name."""
    if isinstance(kwargs, Mapping):
        return kwargs
    message = (
        f"child {run.cell.name!r}: its callable kwargs must return a mapping of "
        f"argument names to values, got {reprlib.repr(kwargs)}"
    )
    if kwargs is None:
        message += "; it may lack a return"
    raise ConfigurationError(message)


def call_plainly(fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """What stands for :meth:`Interrupts.call` where nothing is interrupted."""
    return fn(*args, **kwargs)


def make_elsewhere(run: Incarnation) -> None:
    """Make it on this thread, which is not the actor's but counts as such meanwhile.

    If the actor's thread was left behind while it waited for this, nothing is made.
    """
    if run.revoked:
        return
    # Also what shows where the start hangs, should it be left behind: it hangs here.
    own, run.ident = run.ident, thread_ident()
    before = current_incarnation.set(run)
    try:
        make_object(run, call_plainly)
    finally:
        current_incarnation.reset(before)
        run.ident = own
