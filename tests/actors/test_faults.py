"""Faults at a delivery: what is drawn, and what it does to the receiver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors.exits import Crash
from actors.testing import FaultInjected, Faults

if TYPE_CHECKING:
    from collections.abc import Callable


class Receiver:
    """Has messages delivered to it under some faults."""

    def __init__(self, faults: Faults, seed: int = 0) -> None:
        self.waits: list[float] = []
        self.notes: list[str] = []
        self._inject = faults.injector(
            seed, sleep=self.waits.append, note=self.notes.append
        )

    def deliver(self, count: int, actor: str = "bank", message: Any = "read") -> int:
        """Returns how often it crashed."""
        crashes = 0
        for _ in range(count):
            try:
                self._inject(actor, message)
            except Crash:
                crashes += 1
        return crashes


def test_nothing_happens_without_a_probability() -> None:
    receiver = Receiver(Faults())

    assert receiver.deliver(1000) == 0
    assert not receiver.waits
    assert not receiver.notes


def test_receiver_crashes_as_often_as_said() -> None:
    assert 200 < Receiver(Faults(crash=0.25)).deliver(1000) < 300
    assert Receiver(Faults(crash=1.0)).deliver(10) == 10


def test_receiver_waits_as_often_and_as_long_as_said() -> None:
    receiver = Receiver(Faults(delay=0.25, max_delay=8.0))
    receiver.deliver(1000)

    assert 200 < len(receiver.waits) < 300
    assert 3 < sum(receiver.waits) / len(receiver.waits) < 5
    assert max(receiver.waits) <= 8


def test_receiver_waits_before_it_crashes() -> None:
    receiver = Receiver(Faults(crash=1.0, delay=1.0))

    receiver.deliver(1)

    assert [note.split()[0] for note in receiver.notes] == ["delayed", "crashed"]


def test_same_seed_draws_the_same_faults() -> None:
    faults = Faults(crash=0.3, delay=0.3)
    runs = []
    for seed in (7, 7, 8):
        receiver = Receiver(faults, seed)
        receiver.deliver(50)
        runs.append(receiver.notes)

    assert runs[0] == runs[1] != runs[2]


def test_another_probability_moves_no_other_fault() -> None:
    few, many = Receiver(Faults(delay=0.2)), Receiver(Faults(delay=0.2, crash=0.5))
    few.deliver(100)
    many.deliver(100)

    assert few.waits == many.waits


def test_only_says_which_deliveries_may_fail() -> None:
    faults = Faults(crash=1.0, only=lambda actor, message: (actor, message) == ("a", 1))
    receiver = Receiver(faults)

    assert receiver.deliver(1, "a", 1) == 1
    assert receiver.deliver(1, "a", 2) == 0
    assert receiver.deliver(1, "b", 1) == 0


def test_crash_names_actor_and_message() -> None:
    inject = Faults(crash=1.0).injector(0, sleep=float, note=str)

    with pytest.raises(Crash) as caught:
        inject("bank", ("deposit", 3))

    text = "bank was crashed before it handled ('deposit', 3)"
    assert isinstance(caught.value.error, FaultInjected)
    assert str(caught.value.error) == text


def test_faults_stand_in_the_notes() -> None:
    receiver = Receiver(Faults(crash=1.0, delay=1.0, max_delay=0.001))
    receiver.deliver(1)

    assert receiver.notes[0].startswith("delayed by 0.00")
    assert receiver.notes[1] == "crashed before 'read'"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Faults(crash=2), "crash is a probability from 0 to 1, got 2"),
        (lambda: Faults(delay=-0.1), "delay is a probability from 0 to 1, got -0.1"),
        (lambda: Faults(crash=float("nan")), "crash is a probability"),
        (lambda: Faults(max_delay=0), "max_delay must be seconds above 0, got 0"),
        (lambda: Faults(max_delay=float("inf")), "max_delay must be seconds above 0"),
    ],
)
def test_bad_numbers_are_named(make: Callable[[], Faults], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_only_must_be_callable() -> None:
    with pytest.raises(TypeError, match="only must be callable or None, got 'bank'"):
        Faults(only="bank")  # type: ignore[arg-type]  # that is the test
