"""What a cell keeps of messages that nobody will handle, and of threads left behind.

:Runs on: any thread.
:Owns: the list of undelivered messages and their count, the list of zombies, the places
    where those hang.
:Guards: ``_lock`` guards all four.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final, final

from actors.errors import MailboxClosed
from actors.exits import Undelivered
from actors.future import complete
from actors.ref import ActorAbandoned, ActorDeadError, ActorRestarted, StopMarker

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.cell import Cell
    from actors.exits import Zombie
    from actors.incarnation import Incarnation

__all__ = ["Remains", "guarded"]

logger = logging.getLogger("headrace.cell")

UNDELIVERED_KEPT: Final = 1000
"""How many undelivered messages a cell keeps; older ones are only counted."""
SAME_PLACE: Final = 60.0
"""Seconds in which a stack is not logged again for others that hang there too."""
PLACES_KEPT: Final = 100


@final
class Remains:
    """What is left of the incarnations of one cell.

    That of the top cell also knows which stacks were logged lately, of all below it.

    Args:
        cell: Whose.
        on_undelivered: Told each undelivered message, on any thread.

    Attributes:
        undelivered: The last of the undelivered messages.
        undelivered_count: How many there were in all.
        zombies: The threads left behind that still run.
    """

    __slots__ = (
        "_cell", "_lock", "_on_undelivered", "_places", "undelivered",
        "undelivered_count", "zombies",
    )  # fmt: skip

    def __init__(
        self, cell: Cell, on_undelivered: Callable[[Undelivered], object] | None
    ) -> None:
        self._cell = cell
        self._on_undelivered = on_undelivered
        # Guards all below.  Held for O(1) work; nothing else inside.
        self._lock = cell.clock.lock()
        self.undelivered: deque[Undelivered] = deque(maxlen=UNDELIVERED_KEPT)
        self.undelivered_count = 0
        self.zombies: tuple[Zombie, ...] = ()
        self._places: dict[
            str, tuple[float, str]
        ] = {}  # stack: when it was told, whose

    # -- messages

    def keep(self, message: Any, why: str, error: BaseException | None = None) -> None:
        """Note a message that will not be handled; a plain start keeps none."""
        cell = self._cell
        if not cell.supervised:
            return
        record = Undelivered(message, cell.name, cell.number, why, error)
        with self._lock:
            kept = self.undelivered  # let go of at the return, not inside: finalisers
            _oldest = kept.popleft() if len(kept) == kept.maxlen else None
            kept.append(record)
            self.undelivered_count += 1
        if self._on_undelivered is not None:
            guarded(self._on_undelivered, record)

    def drop_queued(self) -> None:
        """Empty the mailbox for the next incarnation, but for requests to stop."""
        cell = self._cell
        for envelope in cell.mailbox.take_data():
            if type(envelope.message) is StopMarker:
                cell.mailbox.put(envelope, force=True)
            elif envelope.reply_to is None:
                self.keep(envelope.message, "restarted with a fresh mailbox")
            else:
                error = ActorRestarted(f"{cell.ref} was restarted")
                complete(envelope.reply_to, error=error)

    def refuse(self, envelope: Any) -> None:
        """Answer an ask or a stop that the end of the cell found in the mailbox."""
        if type(envelope.message) is StopMarker:
            complete(envelope.reply_to, value=True)
            return
        message = f"{self._cell.ref} stopped before handling the message"
        complete(envelope.reply_to, error=ActorDeadError(message))

    def give_up_hand(
        self, run: Incarnation, why: str = "its handler did not end in time"
    ) -> None:
        """Answer for the message in hand, if nobody has: nobody handles it any more."""
        try:
            envelope = run.hand.pop()
        except IndexError:
            return
        cell = self._cell
        if type(envelope.message) is StopMarker:
            try:  # the next incarnation is to honour it
                cell.mailbox.put(envelope, force=True)
            except MailboxClosed:
                complete(envelope.reply_to, value=True)
        elif envelope.reply_to is None:
            self.keep(envelope.message, why)
        else:
            error = ActorAbandoned(f"{cell.ref} will not answer: {why}")
            complete(envelope.reply_to, error=error)

    # -- threads

    def add_zombie(self, zombie: Zombie) -> None:
        """List a thread that was left behind."""
        with self._lock:
            self.zombies += (zombie,)

    def tell_zombie(self, zombie: Zombie) -> None:
        """Log that a thread was left behind, and where it is.

        Many may hang at the same place, as all do that wait for one host: the stack is
        told of the first.
        """
        names, top = [self._cell.name], self._cell
        while top.parent is not None:
            top = top.parent
            names.append(top.name)
        who = f"{'/'.join(reversed(names))} (#{zombie.number})"
        other = top.remains.told_before(zombie, who)
        where = f":\n{zombie.stack.rstrip()}"
        if other is not None:
            where = f"; it hangs where {other} does, whose stack was logged"
        logger.critical(
            "%s %s; its thread goes on as %r, shut out and harmless%s",
            who, zombie.why, zombie.thread, where,
        )  # fmt: skip

    def told_before(self, zombie: Zombie, who: str) -> str | None:
        """Who hung at the same place lately; ``None`` notes that this one does now."""
        stack, now = zombie.stack, zombie.since
        if not stack.startswith("  File"):  # none was to be had
            return None
        with self._lock:
            when, other = self._places.get(stack, (now, None))
            if other is not None and now - when < SAME_PLACE:
                return other
            self._places.pop(stack, None)
            if len(self._places) >= PLACES_KEPT:
                del self._places[next(iter(self._places))]
            self._places[stack] = now, who
        return None

    def forget_zombie(self, number: int) -> None:
        """A thread that had been left behind has ended."""
        with self._lock:
            self.zombies = tuple(z for z in self.zombies if z.number != number)


def guarded(fn: Callable[[Any], object], value: object) -> None:
    """Tell somebody else's callable; what it raises is logged."""
    try:
        fn(value)
    except Exception:  # a watcher's own: nobody else's business
        logger.exception("%r failed on %r; nothing else is affected", fn, value)
