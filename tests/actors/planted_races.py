"""Small programs with a race in each, for schedules to find.

Each is the body of an exploration and fails under some schedules alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.base import Actor
from actors.ref import ActorDeadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.testing import VirtualClock

LONG = 12  # sends or asks that one thread must make while another stands still


class Counter(Actor):
    """Counts what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def on_receive(self, message: object) -> int:
        self._count += 1
        return self._count


class Door(Actor):
    """Notes whether somebody knocks once it is shut."""

    def __init__(self) -> None:
        super().__init__()
        self._shut = False
        self._late = False

    def on_receive(self, message: str) -> bool:
        if message == "shut":
            self._shut = True
        elif message == "knock":
            self._late = self._shut
        return self._late


class Account(Actor):
    """A balance that others read and write."""

    def __init__(self) -> None:
        super().__init__()
        self._balance = 0

    def on_receive(self, message: Any) -> Any:
        if message == "read":
            return self._balance
        self._balance = message
        return None


class Clerk(Actor):
    """Does each piece of work that it is told."""

    def __init__(self, done: list[int]) -> None:
        super().__init__()
        self._done = done

    def on_receive(self, message: int) -> None:
        self._done.append(message)


def order_of_two_sends(clock: VirtualClock) -> None:
    """One thread sends a lot, then shuts the door; the other one only knocks.

    The knock comes too late only if the first thread runs very long while the second,
    which has a single thing to do, stands still.
    """
    _shut_after(clock, lambda counter: counter.tell("one more"))


def order_behind_asks(clock: VirtualClock) -> None:
    """The same, but the first thread waits for answers on its way."""
    _shut_after(clock, lambda counter: counter.ask("one more"))


def _shut_after(clock: VirtualClock, step: Callable[[Any], object]) -> None:
    door, counter = Door.start(), Counter.start()

    def shuts() -> None:
        for _ in range(LONG):
            step(counter)
        door.tell("shut")

    def knocks() -> None:
        door.tell("knock")

    _together(clock, knocks, shuts)
    late = door.ask("late?")
    door.stop()
    counter.stop()
    assert not late


def lost_on_stop(clock: VirtualClock) -> None:
    """A message that is sent while its receiver stops is lost in silence."""
    done: list[int] = []
    sent: list[int] = []
    clerk = Clerk.start(done)

    def sends() -> None:
        for piece in range(3):
            try:
                clerk.tell(piece)
            except ActorDeadError:
                return
            sent.append(piece)

    def stops() -> None:
        clerk.stop()

    _together(clock, sends, stops)
    assert done == sent


def lost_update(clock: VirtualClock) -> None:
    """Two threads ask, add and write back; one of the additions is lost."""
    account = Account.start()

    def deposits() -> None:
        balance: Any = account.ask("read")
        account.tell(balance + 10)

    _together(clock, deposits, deposits)
    balance = account.ask("read")
    account.stop()
    assert balance == 20


def check_then_act(clock: VirtualClock) -> None:
    """One thread looks, then acts; what it saw changes only after much other work."""
    mine, theirs = Counter.start(), Counter.start()
    state = {"open": True, "used closed": False}

    def uses() -> None:
        for _ in range(3):
            mine.tell("before")
        if state["open"]:
            mine.tell("now")
            state["used closed"] = not state["open"]

    def closes() -> None:
        for _ in range(10):
            theirs.tell("before")
        state["open"] = False

    _together(clock, uses, closes)
    mine.stop()
    theirs.stop()
    assert not state["used closed"]


def _together(clock: VirtualClock, *targets: Callable[[], object]) -> None:
    threads = [clock.thread(target, name=target.__name__) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
