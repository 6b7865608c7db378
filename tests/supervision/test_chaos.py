"""Many things at once: nothing is lost, nothing is told twice."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any

import pytest

from actors.clock import SYSTEM_CLOCK
from actors.ref import ActorDeadError
from supervision.child_spec import ChildSpec
from supervision.supervisor import Supervisor
from tests.supervision.kids import Kid, Nursery, PykkaKid, below, boom

if TYPE_CHECKING:
    from actors.clock import Clock
    from actors.testing import VirtualClock


def test_siblings_that_crash_at_once_are_each_restarted_once(
    ours: Nursery, clock: VirtualClock
) -> None:
    ids = [f"k{n}" for n in range(40)]
    with ours.grow(ids, intensity=40) as tree:
        for each in ids:
            tree.ref(each).tell(boom)
        clock.settle()

        assert {child.incarnation for child in tree.which_children()} == {2}
        assert {child.state for child in tree.which_children()} == {"running"}


@pytest.mark.concurrent
@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
@pytest.mark.parametrize("seed", range(3))
def test_chaos_conserves_every_message(
    clock: VirtualClock, seed: int, strategy: str
) -> None:
    check_conservation(clock, random.Random(seed), strategy)


@pytest.mark.concurrent
def test_chaos_in_real_time_conserves_every_message() -> None:
    check_conservation(SYSTEM_CLOCK, random.Random(9), "one_for_one")


def check_conservation(clock: Clock, rng: random.Random, strategy: str) -> None:
    """accepted tells = handled + undelivered, each once; every ask is answered once."""
    nursery = Nursery(rng.choice([Kid, PykkaKid]))
    handled: list[Any] = []
    accepted: list[Any] = []
    asks: list[Any] = []
    boxes = ["keep", "keep", "fresh"]
    specs = [
        nursery.spec(f"k{n}", mailbox=rng.choice(boxes), capacity=rng.choice([3, None]))
        for n in range(3)
    ]
    inner = ChildSpec(
        Supervisor,
        (strategy, [nursery.spec("x"), nursery.spec("y")]),
        {"intensity": 10_000},
        id="inner",
    )
    tree = nursery.grow([*specs, inner], strategy, intensity=10_000, clock=clock)
    refs = [*(tree.ref(spec) for spec in specs), *map(below(tree, "inner").ref, "xy")]

    def work(number: int, rng: random.Random) -> None:
        for n in range(60):
            ref, token = rng.choice(refs), (number, n)
            what = rng.random()
            with contextlib.suppress(ActorDeadError):
                if what < 0.2:
                    asks.append(ref.ask(Task(handled, token), block=False))
                else:
                    ref.tell(Task(handled, token, crash=what > 0.9))
                    accepted.append(token)

    seeds = [rng.random() for _ in range(4)]
    senders = [
        clock.thread(work, args=[number, random.Random(each)])
        for number, each in enumerate(seeds)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        clock.join(sender)
    tree.shutdown()

    told = [record.message.token for record in tree.undelivered()]
    answered = [each for each in handled if each not in set(accepted)]
    handled_tells = [each for each in handled if each in set(accepted)]
    assert sorted(handled_tells + told) == sorted(accepted)
    for ask in asks:
        with contextlib.suppress(ActorDeadError):
            answered.remove(ask.get(timeout=10))
    assert answered == []


class Task:
    """A message that notes that it was handled, or crashes."""

    def __init__(self, handled: Any, token: Any, *, crash: bool = False) -> None:
        self.handled, self.token, self.crash = handled, token, crash

    def __call__(self, kid: Any) -> Any:
        if self.crash:
            raise ValueError(self.token)
        self.handled.append(self.token)
        return self.token
