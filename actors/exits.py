"""How an incarnation ends, and who is told: who started it, and who watches it.

:Runs on: any thread.
:Owns: nothing; everything here is a value.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from actors._stack import error_text

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.ref import ActorRef

__all__ = [
    "Crash",
    "Down",
    "Exit",
    "ExitKind",
    "Failing",
    "Ignore",
    "Notice",
    "Restarted",
    "Resumed",
    "Started",
    "StopRequest",
    "Terminated",
    "Undelivered",
    "Zombie",
]

ExitKind: TypeAlias = Literal[
    "normal",
    "shutdown",
    "ignored",
    "failed",
    "start_failed",
    "abandoned",
    "gave_up",
    "fatal",
]


@dataclass(frozen=True, slots=True)
class Exit:
    """Why an incarnation ended.

    Attributes:
        kind: ``normal`` (it stopped itself or was asked through its ref), ``shutdown``
            (its supervisor stopped it), ``ignored`` (it raised :class:`Ignore` while
            starting), ``failed`` (a message), ``start_failed`` (``__init__`` or
            ``on_start``), ``abandoned`` (it would not stop in time), ``gave_up`` (a
            supervisor at its restart limit) or ``fatal`` (a ``BaseException``).
        error: What was raised.  Its traceback is taken off, for that would keep the
            dead actor alive; it stands in ``traceback`` as text.
        traceback: The formatted traceback of ``error``; for ``abandoned`` the stack of
            the thread that was left behind.
        message: The message or item that was being handled.
        directive: What the cell's decider answered; ``None`` if it was not asked, or
            wanted a resume where nothing can go on.
    """

    kind: ExitKind
    error: BaseException | None = None
    traceback: str = ""
    message: Any = None
    directive: str | None = None

    @property
    def abnormal(self) -> bool:
        """True unless nobody need wonder: normal, shutdown and ignored."""
        return self.kind not in {"normal", "shutdown", "ignored"}


class Crash(Exception):
    """Raised by a handler to answer an ask with ``error`` and then fail the actor.

    A plain exception raised while answering an ask goes to the asker alone.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)  # its text is asked for when it is shown
        self.error = error


class Ignore(Exception):
    """Raised in ``__init__`` or ``on_start`` under a supervisor: nothing to do here.

    The child is not started, and that is no failure.
    """


# -- notices: from the child's thread to the report callable given at birth


class Started(NamedTuple):
    """``on_start`` returned; the incarnation now handles messages."""

    cell: Cell
    number: int


class Failing(NamedTuple):
    """The incarnation failed and goes into ``on_failure``; ``Down`` follows.

    Only for a class that has hooks to run then.
    """

    cell: Cell
    number: int


class Resumed(NamedTuple):
    """A handler failed and the incarnation goes on, for so its decider answered.

    Attributes:
        cell: Where it lives.
        number: The incarnation.
        error: What was raised, without its traceback.
        traceback: That, as text.
    """

    cell: Cell
    number: int
    error: BaseException
    traceback: str = ""


class Down(NamedTuple):
    """The incarnation has ended; exactly one for each that was not abandoned."""

    cell: Cell
    number: int
    exit: Exit


Notice: TypeAlias = Started | Failing | Resumed | Down


# -- control messages: to whoever watches


class Terminated(NamedTuple):
    """One that is watched has ended, and will not run again.

    Attributes:
        ref: Its ref, as it was given to ``watch``.
        exit: How it ended.
    """

    ref: ActorRef[Any]
    exit: Exit


class Restarted(NamedTuple):
    """One that is watched with ``restarts=True`` runs again, as a new object.

    Attributes:
        ref: Its ref, as it was given to ``watch``.
        incarnation: The number of the new one.
        reason: How the one before ended.
    """

    ref: ActorRef[Any]
    incarnation: int
    reason: Exit


# -- what is asked, and what is left


class StopRequest(NamedTuple):
    """What an actor's ``asked_to_stop`` is given.

    Attributes:
        exit: The exit to leave with: ``normal`` or ``shutdown``.
        reason: Why, in words.
        deadline: The moment on the clock by which all must have ended, if any.
    """

    exit: Exit
    reason: str = ""
    deadline: float | None = None


class Undelivered(NamedTuple):
    """A message that no incarnation will handle, or that one failed on.

    Attributes:
        message: The message as it was told.
        child: The name of the cell.
        number: The incarnation that held it, or was the last before it.
        why: In words.
        error: What handling it raised, without traceback.
    """

    message: Any
    child: str
    number: int
    why: str
    error: BaseException | None = None


class Zombie(NamedTuple):
    """A thread that was left behind because it would not stop.

    Attributes:
        child: The name of the cell.
        number: The incarnation.
        thread: The name the thread has now.
        why: In words.
        stack: Where it was when it was left.
        since: The moment on the clock.
    """

    child: str
    number: int
    thread: str
    why: str
    stack: str
    since: float


def crash_runs_hooks(cell: Cell, actor: Any) -> bool:
    """True if the host has written anything that runs when the actor crashes.

    If not, nothing comes between :class:`Failing` and :class:`Down`, and the former
    would only wake the supervisor once more.
    """
    hooks = [actor.on_failure]
    if cell.on_crash == "on_stop":
        hooks.append(actor.on_stop)
    return any(getattr(hook, "__module__", "") != "pykka._actor" for hook in hooks)


def text_of(error: BaseException) -> str:
    """Show an exception with its traceback, whatever its class does about it."""
    try:
        return error_text(error)
    except Exception as other:  # noqa: BLE001  # the host's class: told in its place
        return f"{type(error).__name__} (cannot be shown: {other!r})\n"


def strip(error: BaseException | None) -> str:
    """Take the traceback off an exception and all it hangs on; return it as text.

    A traceback holds the frames, the frames hold the actor: an exit that is kept would
    keep the dead actor and all it refers to.
    """
    if error is None:
        return ""
    text = text_of(error)
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        # Not by assignment, which a frozen dataclass refuses.
        BaseException.with_traceback(one, None)
        with contextlib.suppress(Exception):  # the host's class: see above
            todo += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions
    return text
