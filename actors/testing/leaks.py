"""What a test leaves running: actors and threads, by name and by place.

::

    check = LeakCheck()
    ...  # the test
    assert check.find() == []

:Runs on: the test thread.
:Owns: which actors and threads there were before, and the actors found since.
:Blocks: ``find`` for up to two real seconds, only when something seems to be left;
    ``stop_actors`` for as long again, in all.
"""

from __future__ import annotations

import contextlib
import fnmatch
import gc
import logging
import os
import re
import threading
from collections import deque
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from pykka import ActorRegistry

from actors._stack import stack_of
from actors.clock import SystemClock
from actors.testing.kernel import Kernel
from actors.testing.task import PARKED, Task
from actors.testing.threads import EnrolledThread
from actors.testing.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

__all__ = ["LeakCheck"]

_LASTING: Final = ("headrace-*", "virtual-clock-*")  # ours; started once, on first use
_MOMENT: Final = 0.02  # real seconds, before it is asked to whom a thread belongs
_GRACE: Final = 2.0  # real seconds for what was told to end, on a busy machine
_STOPPING: Final = 2.0  # real seconds, or the clock's, for actors to stop in
_MOST: Final = 200_000  # objects that are looked at to find an owner

_FRAME = re.compile(r'  File "(.*)", line (\d+), in (.*)\n(?:    (.*)\n)?')
_STDLIB: Final = os.path.dirname(os.path.abspath(threading.__file__))
_ROOT: Final = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
_OURS: Final = tuple(
    os.path.join(_ROOT, name, "") for name in ("actors", "supervision")
)

# Through these everything is reachable, so nothing is found out.
_WALLS: Final = (
    CodeType,
    Kernel,
    ModuleType,
    Task,
    VirtualClock,
    logging.Handler,
    logging.Logger,
    type,
)
_WALLED_OFF: Final = ("_pytest.", "pluggy.")


class LeakCheck:
    """Compares the actors and threads that run with those at its making.

    Not counted are: threads that this library, or a virtual clock, starts once and
    keeps; what an actor from before starts, restarts or has below it; what ends within
    a grace of real time; and what belongs to an owner, see :meth:`find`.

    Args:
        ignore: Patterns of thread names, as for ``fnmatch``, that are not counted.
    """

    def __init__(self, *, ignore: Iterable[str] = ()) -> None:
        self._ignore = (*_LASTING, *ignore)
        self._threads = set(threading.enumerate())
        self._urns = {ref.actor_urn for ref in ActorRegistry.get_all()}
        self._left: list[Any] = []

    def find(self, owners: Iterable[object] = ()) -> list[str]:
        """Describe what is left, a line for each; actors first.

        Args:
            owners: Who will end what they started, such as the values of fixtures; an
                actor or thread that can be reached from one is not counted.  Iterated
                only when something is left.

        Raises:
            Stalled, Livelock: If a virtual clock of a thread does not come to rest.
        """
        self._settle()
        self._wait(self._new_actors(), self._new_threads(), _MOMENT)
        actors, threads = self._new_actors(), self._new_threads()
        if not (actors or threads):
            return []
        owned = _reachable(owners, [*_parts(actors), *threads])
        actors = [ref for ref in actors if not owned & set(map(id, _parts([ref])))]
        self._wait(actors, [t for t in threads if id(t) not in owned], _GRACE)
        self._left = [ref for ref in actors if ref.is_alive()]
        threads = [
            thread
            for thread in self._new_threads()
            if thread in threads and id(thread) not in owned
        ]
        return [*_describe_actors(self._left), *map(_describe_thread, threads)]

    def stop_actors(self) -> None:
        """Stop the actors that ``find`` described; those that will not are left."""
        deadline = SystemClock.monotonic() + _STOPPING
        tops = [ref for ref in self._left if not _is_below(ref, self._left)]
        threads = [thread for thread in map(_thread_of, self._left) if thread]
        replies = [ref.stop(block=False) for ref in reversed(tops)]
        # pykka.Timeout, or a clock that stands still: nobody can do more.
        for reply in replies:
            with contextlib.suppress(Exception):
                reply.get(timeout=_until(deadline))
        for thread in threads:
            with contextlib.suppress(Exception):
                thread.join(_until(deadline))
        self._left = []

    def _new_actors(self) -> list[Any]:
        return [
            ref
            for ref in ActorRegistry.get_all()
            if ref.actor_urn not in self._urns
            and not any(cell.urn in self._urns for cell in _cells_above(ref))
        ]

    def _new_threads(self) -> list[threading.Thread]:
        """Those that are no living actor's own."""
        urns = {ref.actor_urn for ref in ActorRegistry.get_all()}
        return [
            thread
            for thread in threading.enumerate()
            if thread not in self._threads
            and _urn_of(thread) not in urns
            and not any(fnmatch.fnmatch(thread.name, each) for each in self._ignore)
        ]

    def _settle(self) -> None:
        """Let the threads of virtual clocks, whose turn it may be, come to a wait."""
        threads = [*self._new_threads(), *map(_thread_of, self._new_actors())]
        clocks = {t._clock for t in threads if isinstance(t, EnrolledThread)}  # noqa: SLF001
        for clock in clocks:
            kernel = clock._kernel  # type: ignore[attr-defined]  # noqa: SLF001
            if kernel.main is kernel.find() and not kernel.closed:
                clock.settle()  # type: ignore[attr-defined]

    @staticmethod
    def _wait(
        actors: Iterable[Any], threads: Iterable[threading.Thread], seconds: float
    ) -> None:
        """Give what may be ending its time, in all; what cannot end, none."""
        deadline = SystemClock.monotonic() + seconds
        for thread in [*filter(None, map(_thread_of, actors)), *threads]:
            if not _stands(thread):
                threading.Thread.join(thread, _until(deadline))


def _until(deadline: float) -> float:
    return max(0.0, deadline - SystemClock.monotonic())


# -- whose is it


def _reachable(owners: Iterable[object], wanted: Collection[object]) -> set[int]:
    """The ids of the wanted objects that the owners refer to, however deep."""
    missing = set(map(id, wanted))
    found: set[int] = set()
    seen: set[int] = set()
    todo = deque(owners)
    while todo and missing and len(seen) < _MOST:
        each = todo.popleft()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if id(each) in missing:
            missing.discard(id(each))
            found.add(id(each))
        todo.extend(_referents(each))
    return found


def _referents(obj: object) -> Iterable[object]:
    kind = type(obj)
    if issubclass(kind, _WALLS) or kind.__module__.startswith(_WALLED_OFF):
        return ()
    if isinstance(obj, FunctionType):  # not its globals
        return (obj.__closure__, obj.__defaults__, obj.__kwdefaults__)
    return gc.get_referents(obj)


def _parts(refs: Iterable[Any]) -> Iterator[object]:
    """What an owner may have of an actor."""
    for ref in refs:
        yield ref
        yield getattr(ref, "cell", ref)


def _cells_above(ref: Any) -> Iterator[Any]:
    cell = getattr(ref, "cell", None)
    while cell is not None and cell.parent is not None:
        cell = cell.parent
        yield cell


def _is_below(ref: Any, refs: Iterable[Any]) -> bool:
    urns = {each.actor_urn for each in refs}
    return any(cell.urn in urns for cell in _cells_above(ref))


def _served(thread: threading.Thread) -> Any:
    """The incarnation, or Pykka's own actor, whose loop the thread runs."""
    return getattr(getattr(thread, "_target", None), "__self__", None)


def _urn_of(thread: threading.Thread) -> str | None:
    """Which actor's thread it is; ``None`` also for one that was left behind."""
    served = _served(thread)
    if getattr(served, "revoked", False):
        return None
    urn = getattr(getattr(served, "cell", served), "urn", None)
    return urn or getattr(served, "actor_urn", None)


def _thread_of(ref: Any) -> threading.Thread | None:
    urn = ref.actor_urn
    return next((t for t in threading.enumerate() if _urn_of(t) == urn), None)


def _stands(thread: threading.Thread) -> bool:
    """It waits on a virtual clock that has settled: it will not end by itself."""
    task = getattr(thread, "task", None)
    return task is not None and task.state == PARKED


# -- in words


def _describe_actors(refs: list[Any]) -> Iterator[str]:
    for ref in refs:
        if _is_below(ref, refs):
            continue
        cell = getattr(ref, "cell", None)
        kind = ref.actor_class.__name__
        name = getattr(cell, "name", kind)
        if not name.startswith(kind):
            name = f"{name} ({kind})"
        below = sum(any(c is cell for c in _cells_above(other)) for other in refs)
        more = f" with {below} below it" if below else ""
        thread = _thread_of(ref)
        yield f"actor {name}{more}{_place(thread) if thread else ''}"


def _describe_thread(thread: threading.Thread) -> str:
    daemon = getattr(thread, "asked_daemon", thread.daemon)
    kind = "daemon thread" if daemon else "thread"
    return f"{kind} {thread.name!r}{_place(thread)}"


def _place(thread: threading.Thread) -> str:
    """The nearest line of the user's code that it is in, if there is one."""
    frames = _FRAME.findall(stack_of(thread.ident))
    for file, line, name, source in reversed(frames):
        path = os.path.abspath(file)
        library = path.startswith(_OURS) or (
            path.startswith(_STDLIB) and "site-packages" not in path
        )
        if not library and f"{os.sep}pykka{os.sep}" not in path:
            return f" at {file}:{line} in {name}: {source}"
    return ""
