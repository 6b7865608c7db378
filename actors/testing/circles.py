"""Who waits for whom, when nothing can run any more.

Nothing is noted down while threads run.  The stacks of threads that stand still tell
what each waits in, and the library's own objects tell who could end that wait: the
holder of a lock, the actor that reads a mailbox, the one that has an ask in hand.

:Runs on: whichever thread reports, in a section of the kernel.
:Owns: nothing.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from actors._bounded import Bounded
from actors.future import Reply
from actors.incarnation import Incarnation
from actors.testing.locks import SerialLock
from actors.testing.task import PARKED
from actors.testing.threads import EnrolledThread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

    from actors.testing.task import Task

__all__ = ["describe_waits"]

# The methods in which threads wait for one another, and in what words.
_WAITS: Final = {
    SerialLock._wait.__code__: "a lock held by",  # noqa: SLF001  # of the same family
    Bounded.wait_entered.__code__: "room in the mailbox of",
    Reply._wait.__code__: "the reply of",  # noqa: SLF001  # there is no public place
    EnrolledThread.join.__code__: "the end of",
}


class _Stand(NamedTuple):
    """What the stack of one thread tells.

    Attributes:
        how: What it waits for, in words; empty if that is nobody's doing.
        what: The lock, mailbox, reply or thread.
        run: The incarnation whose thread it is.
    """

    how: str
    what: Any
    run: Incarnation | None


def describe_waits(
    tasks: Sequence[Task], first: Task, frames: Mapping[int, FrameType]
) -> str:
    """Name the circle of waits, else the chain of them that begins with ``first``.

    Args:
        tasks: All threads of the clock.
        first: The test thread.
        frames: The present frame of each thread, by its identity.

    Returns:
        A line for a person; empty if nobody waits for anybody.
    """
    stands = {
        task: _stand(frames.get(task.ident or 0))
        for task in tasks
        if task.state == PARKED
    }
    waits = {task: _whom(stand, stands) for task, stand in stands.items()}
    for task in (first, *tasks):
        circle = _circle(task, waits)
        if circle:
            names = _chain([*circle, circle[0]], stands)
            return f"the waits form a circle: {names}"
    chain = _path(first, waits)
    return _chain(chain, stands) if len(chain) > 1 else ""


def _stand(frame: FrameType | None) -> _Stand:
    how, what = "", None
    while frame is not None:
        words = _WAITS.get(frame.f_code)
        if words is not None and not how:
            how, what = words, frame.f_locals.get("self")
        me = frame.f_locals.get("self") if "self" in frame.f_code.co_varnames else None
        if me.__class__ is Incarnation:
            return _Stand(how, what, me)
        frame = frame.f_back
    return _Stand(how, what, None)


def _whom(stand: _Stand, stands: Mapping[Task, _Stand]) -> Task | None:
    """The thread that could end a wait, if it stands still too."""
    what = stand.what
    for task, other in stands.items():
        if isinstance(what, SerialLock):
            found = what.owner is not None and what.owner == task.ident
        elif isinstance(what, EnrolledThread):
            found = what.task is task
        elif other.run is None or what is None:
            found = False
        elif isinstance(what, Bounded):
            found = other.run.mailbox is what
        else:
            found = _is_asked(other.run, what)
        if found:
            return task
    return None


def _is_asked(run: Incarnation, reply: Any) -> bool:
    waiting = (*run.hand, *run.mailbox._items)  # noqa: SLF001  # it stands still
    return any(getattr(each, "reply_to", None) is reply for each in waiting)


def _path(first: Task, waits: Mapping[Task, Task | None]) -> list[Task]:
    path = [first]
    while (after := waits.get(path[-1])) is not None and after not in path:
        path.append(after)
    return path


def _circle(first: Task, waits: Mapping[Task, Task | None]) -> list[Task]:
    path = _path(first, waits)
    after = waits.get(path[-1])
    return path[path.index(after) :] if after in path else []


def _chain(path: list[Task], stands: Mapping[Task, _Stand]) -> str:
    text = path[0].name
    for here, after in itertools.pairwise(path):
        which = "" if here is path[0] else ", which"
        text += f"{which} waits for {stands[here].how} {after.name}"
    return text
