"""A deadlock names who waits for whom."""

from __future__ import annotations

from typing import Any

import pytest

from actors import Actor
from actors.testing import Deadlock, VirtualClock

pytestmark = pytest.mark.parametrize("seed", [None, 0])


class Friend(Actor):
    """Asks the other of two before it answers."""

    other: Any = None

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Friend.Meet):
            self.other = message.other
            return None
        return self.other.ask(message)

    class Meet:
        def __init__(self, other: Any) -> None:
            self.other = other


def text_of(error: pytest.ExceptionInfo[Deadlock]) -> str:
    return str(error.value).splitlines()[1]


def test_two_actors_that_ask_each_other_are_a_circle(seed: int | None) -> None:
    with VirtualClock(seed=seed, strict_leaks=False):
        ann, bob = Friend.start(), Friend.start()
        ann.ask(Friend.Meet(bob))
        bob.ask(Friend.Meet(ann))

        with pytest.raises(Deadlock) as error:
            ann.ask("how are you?")

    circle = "the waits form a circle: {0} waits for the reply of {1}, which waits for "
    circle += "the reply of {0}"
    names = ["Friend-0", "Friend-1"]
    assert text_of(error) in (circle.format(*names), circle.format(*reversed(names)))


def test_two_actors_that_fill_each_others_mailbox_are_a_circle(
    seed: int | None,
) -> None:
    class Talker(Friend):
        capacity = 1

        def on_receive(self, message: Any) -> Any:
            if isinstance(message, Friend.Meet):
                return super().on_receive(message)
            for n in range(3 if message == "go" else 0):
                self.other.tell(n)
            return None

    with VirtualClock(seed=seed, strict_leaks=False) as clock:
        ann, bob = Talker.start(), Talker.start()
        ann.ask(Friend.Meet(bob))
        bob.ask(Friend.Meet(ann))
        ann.tell("go")
        bob.tell("go")
        event = clock.event()

        with pytest.raises(Deadlock) as error:
            event.wait()

    assert "the waits form a circle: " in text_of(error)
    assert "waits for room in the mailbox of Talker-" in text_of(error)


def test_a_join_and_a_lock_are_a_chain(seed: int | None) -> None:
    if seed is None:
        pytest.skip(
            "in free mode a lock is threading's own, which nobody can look into"
        )
    with VirtualClock(seed=seed, strict_leaks=False) as clock:
        lock, event = clock.lock(), clock.event()

        def holder() -> None:
            with lock:
                event.wait()

        def waiter() -> None:
            with lock:
                pass

        threads = [
            clock.thread(target, name=target.__name__) for target in (holder, waiter)
        ]
        threads[0].start()
        clock.settle()
        threads[1].start()

        with pytest.raises(Deadlock) as error:
            threads[1].join()

    assert text_of(error) == (
        "test thread waits for the end of waiter, which waits for a lock held by holder"
    )
