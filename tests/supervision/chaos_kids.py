"""Actors that fail in every way there is, and one that watches them.

:Runs on: their own threads.
:Owns: nothing; what happens is in the book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pykka

from actors.base import Actor
from tests.supervision.chaos_kit import Drip

if TYPE_CHECKING:
    from tests.supervision.chaos_kit import Book


class Ours(Actor):
    """One of our actors."""

    def __init__(self, book: Book, name: str) -> None:
        super().__init__()
        self.book = book
        book.hook("__init__")
        self.source = book.drips.setdefault(name, Drip(book.clock))

    def on_start(self) -> None:
        self.book.hook("on_start")

    def on_stop(self) -> None:
        self.book.hook("on_stop")

    def on_failure(self, *exc_info: Any) -> None:
        self.book.hook("on_failure")

    def on_receive(self, message: Any) -> Any:
        return self.book.handle(message, self)

    def on_control(self, message: Any) -> None:
        self.book.hook("on_control")

    def on_item(self, item: Any) -> None:
        self.book.items.append(item)
        self.book.hook("on_item")

    def on_terminated(self, ref: Any, exit: Any) -> None:  # noqa: A002  # as the base
        if ref.is_alive():
            self.book.fault(f"{self} is told the end of {ref}, which lives")
        self.book.hook("on_terminated")

    def on_restarted(self, ref: Any, incarnation: int, reason: Any) -> None:
        self.book.hook("on_restarted")


class Theirs(pykka.ThreadingActor):
    """The same, written for Pykka alone."""

    def __init__(self, book: Book, name: str) -> None:
        super().__init__()
        self.book = book
        book.hook("__init__")

    def on_start(self) -> None:
        self.book.hook("on_start")

    def on_stop(self) -> None:
        self.book.hook("on_stop")

    def on_failure(self, *exc_info: Any) -> None:
        self.book.hook("on_failure")

    def on_receive(self, message: Any) -> Any:
        return self.book.handle(message, self)


class Watcher(Actor):
    """Never fails: it must hear of each end exactly once."""

    capacity = None

    def __init__(self, book: Book) -> None:
        super().__init__()
        self.book = book
        self.watched: dict[Any, int] = {}  # the newest incarnation that it heard of

    def on_receive(self, message: tuple[str, Any]) -> Any:
        what, ref = message
        if what == "watch":
            self.watched.setdefault(ref, 0)
            self.watch(ref, restarts=True)
        elif what == "unwatch":
            self.watched.pop(ref, None)
            self.unwatch(ref)
        return list(self.watched)

    def on_terminated(self, ref: Any, exit: Any) -> None:  # noqa: A002  # as the base
        if self.watched.pop(ref, None) is None:
            self.book.fault(f"the end of {ref} is told twice, or to nobody")
        if ref.is_alive() or exit is not ref.cell.final:
            self.book.fault(f"{ref} lives, or ended otherwise than {exit}")

    def on_restarted(self, ref: Any, incarnation: int, reason: Any) -> None:
        if not self.watched.get(ref, incarnation) < incarnation:
            self.book.fault(f"restart #{incarnation} of {ref} is told late, or twice")
        self.watched[ref] = incarnation
