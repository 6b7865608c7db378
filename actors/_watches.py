"""Who watches whom: that an actor has ended, or was restarted, is told to others.

Each cell has one book with two pages: whom it watches, and who watches it.  A watch is
on both.  What it has to tell travels in the watcher's control lane, and is checked
against the book once more when it is read: the watch may be over by then.

:Runs on: ``watch`` and ``unwatch`` on any thread, mostly the watcher's; ``restarted``
    and ``end`` on the thread of the one that is watched; ``receive`` on the watcher's.
:Owns: both pages of one cell, and how it ended.
:Guards: ``_lock`` guards every field of ``Watches``.
:Blocks: nothing; telling is a ``put_control``.

How two books agree without ever holding two locks.  Who watches writes the first page
of its own book, then the second of the other's, then looks whether the first still
says so; who stops watching strikes the first out, then the second.  If both happen at
once, either the striking out comes last or the look finds the first page struck out;
so no second page keeps a watch that is over.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, final

from actors.errors import ConfigurationError, MailboxClosed
from actors.exits import Restarted, Terminated
from actors.mailbox import LeaseRevoked
from actors.ref import ActorRef

if TYPE_CHECKING:
    from typing import TypeAlias

    from actors.cell import Cell
    from actors.exits import Exit
    from actors.incarnation import Incarnation

    News: TypeAlias = Terminated | Restarted

__all__ = ["Told", "Watches"]


@final
class Watch:
    """One cell's watch over another; equal to itself alone.

    Attributes:
        cell: Who watches.
        ref: Whom, by the ref it was given.
        restarts: Restarts are told too.
        newest: The newest incarnation that was told.
    """

    __slots__ = ("cell", "newest", "ref", "restarts")

    def __init__(self, cell: Cell, ref: ActorRef[Any]) -> None:
        self.cell = cell
        self.ref = ref
        self.restarts = False
        self.newest = 0

    def tell(self, news: News) -> None:
        """Send it to the watcher; one that has ended wants to know no more."""
        with contextlib.suppress(MailboxClosed):
            self.cell.mailbox.put_control(Told(self, news))


@final
class Told:
    """Control message: news of one that is, or was, watched."""

    __slots__ = ("news", "watch")

    def __init__(self, watch: Watch, news: News) -> None:
        self.watch = watch
        self.news = news

    def __repr__(self) -> str:
        return repr(self.news)


@final
class Watches:
    """The book of one cell."""

    __slots__ = ("_cell", "_exit", "_lock", "_watched", "_watchers")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        # Held for O(1) work, or to copy a page; nothing else inside.
        self._lock = cell.clock.lock()
        self._watched: dict[Cell, Watch] = {}
        self._watchers: dict[Watch, None] = {}
        self._exit: Exit | None = None  # Invariant: once it is set, both are empty.

    # -- as the one that watches

    def watch(self, run: Incarnation, ref: ActorRef[Any], *, restarts: bool) -> None:
        """Have the end of another told, once; see :meth:`actors.Actor.watch`.

        Args:
            run: Who asks: one that was left behind has no say any more.
            ref: Whom to watch.
            restarts: Tell its restarts too; the newest call says.
        """
        target = _cell_of(ref)
        if target is self._cell:
            message = f"{ref} cannot watch itself; its on_stop is called when it ends"
            raise ConfigurationError(message)
        fresh = Watch(self._cell, ref)
        with self._lock:
            if run.revoked or self._exit is not None:
                return
            watch = self._watched.setdefault(target, fresh)
            watch.restarts = restarts
        # Also if it is not fresh: an interrupt may have come between the two pages.  To
        # tell an end twice does no harm, the first that is read ends the watch.
        target.watches._enter(watch)  # noqa: SLF001  # the other book
        if not self._is_current(watch):
            target.watches._strike_out(watch)  # noqa: SLF001  # the other book

    def unwatch(self, run: Incarnation, ref: ActorRef[Any]) -> None:
        """Have nothing told any more; what is told and unread is dropped when read."""
        target = _cell_of(ref)
        with self._lock:
            watch = None if run.revoked else self._watched.pop(target, None)
        if watch is not None:
            target.watches._strike_out(watch)  # noqa: SLF001  # the other book

    def receive(self, run: Incarnation, told: Told) -> News | None:
        """What the actor is to hear of this; ``None`` if it wants to hear no more.

        Raises:
            LeaseRevoked: If this thread was left behind: the next one hears of it.
        """
        watch, news = told.watch, told.news
        with self._lock:
            revoked = run.revoked
            current = self._watched.get(watch.ref.cell) is watch
            if current and not revoked and news.__class__ is Terminated:
                del self._watched[watch.ref.cell]
            wanted = True
            if isinstance(news, Restarted) and not revoked:
                # A thread that was left behind just then may tell of its start late.
                wanted = watch.restarts and watch.newest < news.incarnation
                watch.newest = max(watch.newest, news.incarnation)
        if revoked:
            watch.tell(news)
            raise LeaseRevoked
        return news if current and wanted else None

    def _is_current(self, watch: Watch) -> bool:
        with self._lock:
            return self._watched.get(watch.ref.cell) is watch

    # -- as the one that is watched

    def _enter(self, watch: Watch) -> None:
        with self._lock:
            exit_ = self._exit
            if exit_ is None:
                self._watchers[watch] = None
        if exit_ is not None:
            watch.tell(Terminated(watch.ref, exit_))

    def _strike_out(self, watch: Watch) -> None:
        with self._lock:
            self._watchers.pop(watch, None)

    def restarted(self, number: int) -> None:
        """Tell those who want to know that there is a next incarnation, which runs."""
        reason = self._cell.last_exit
        if reason is None:  # the first that came so far
            return
        with self._lock:
            watchers = list(self._watchers)
        for watch in watchers:
            if watch.restarts:
                watch.tell(Restarted(watch.ref, number, reason))

    # -- as both

    def end(self, exit: Exit) -> None:  # noqa: A002  # the word used everywhere
        """Tell all watchers, the late ones too, and watch nobody any more."""
        with self._lock:
            self._exit = exit
            watchers, self._watchers = self._watchers, {}
            watched, self._watched = self._watched, {}
        for watch in watchers:
            watch.tell(Terminated(watch.ref, exit))
        for target, watch in watched.items():
            target.watches._strike_out(watch)  # noqa: SLF001  # the other book


def _cell_of(ref: object) -> Cell:
    if isinstance(ref, ActorRef):
        return ref.cell
    message = (
        f"ref must be the ref of a supervised actor or of an actors.Actor, got {ref!r};"
        f" Pykka's own actors tell nobody of their end, and a proxy has its actor_ref"
    )
    raise ConfigurationError(message)
