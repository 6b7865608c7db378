"""Faults at a delivery: what is drawn, and what it does to the receiver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors.base import Actor
from actors.exits import Crash
from actors.jobs import JobStatus
from actors.ref import ActorDeadError
from actors.testing import FaultInjected, Faults, VirtualClock, explore
from supervision import ChildSpec, Pipeline, Strategy, Supervisor

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


# -- on a clock


class Clerk(Actor):
    """Keeps what it handles, and when."""

    def __init__(self, kept: list[tuple[Any, float]]) -> None:
        super().__init__()
        self._kept = kept

    def on_receive(self, message: Any) -> Any:
        self._kept.append((message, self.clock.monotonic()))
        return message


def test_crash_fails_the_receiver_and_answers_the_asker() -> None:
    kept: list[Any] = []
    faults = Faults(crash=1.0)
    with VirtualClock(seed=0, auto_advance=True, faults=faults) as clock:
        clerk = Clerk.start(kept)
        with pytest.raises(FaultInjected):
            clerk.ask("work")
        clerk.actor_stopped.wait()
        with pytest.raises(ActorDeadError):
            clerk.tell("more")

    assert not kept
    assert "! " in clock.story()
    assert "fault: crashed before 'work'" in clock.story()


def test_crashed_child_is_restarted() -> None:
    kept: list[tuple[Any, float]] = []
    faults = Faults(crash=1.0, only=lambda actor, message: message == "bad")
    with VirtualClock(seed=0, auto_advance=True, faults=faults):
        spec = ChildSpec(Clerk, (kept,))
        with Supervisor.start(Strategy.ONE_FOR_ONE, [spec]) as tree:
            clerk = tree.ref(spec)
            for message in ("one", "bad", "two"):
                clerk.tell(message)
            assert clerk.ask("last") == "last"

    assert [message for message, _ in kept] == ["one", "two", "last"]


@pytest.mark.parametrize("seed", range(5))
def test_delayed_messages_of_one_sender_keep_their_order(seed: int) -> None:
    kept: list[tuple[Any, float]] = []
    faults = Faults(delay=0.5, max_delay=10.0)
    clock = VirtualClock.for_seed(seed, auto_advance=True, faults=faults)
    with clock:
        clerk = Clerk.start(kept)
        for number in range(20):
            clerk.tell(number)
        clerk.stop()

    assert [message for message, _ in kept] == list(range(20))
    assert kept[-1][1] > 10  # and they did take their time


def test_stop_is_never_touched() -> None:
    with VirtualClock(seed=0, faults=Faults(crash=1.0, delay=1.0)) as clock:
        Clerk.start([]).stop()

        assert clock.monotonic() == 0.0


def test_crashed_worker_loses_no_job() -> None:
    def body(clock: VirtualClock) -> None:
        with Pipeline(2) as pipeline:
            results = list(pipeline.results(abs, range(8)))
        assert len(results) == 8
        report = pipeline.report()
        assert report.succeeded + report.dead == 8
        statuses.update(result.status for result in results)

    statuses: set[JobStatus] = set()
    faults = Faults(crash=0.2, delay=0.2, only=lambda name, _: name.startswith("io-"))
    explore(body, seeds=6, auto_advance=True, faults=faults)

    assert JobStatus.SUCCEEDED in statuses


def test_faults_of_a_seed_replay() -> None:
    stories = []
    for _ in range(2):
        kept: list[tuple[Any, float]] = []
        faults = Faults(delay=0.5, crash=0.05)
        with VirtualClock.for_seed(4, auto_advance=True, faults=faults) as clock:
            clerk = Clerk.start(kept)
            for number in range(20):
                try:
                    clerk.tell(number)
                except ActorDeadError:
                    break
            clerk.stop()
        stories.append(clock.story())

    assert stories[0] == stories[1]
    assert "fault: delayed" in stories[0]


def test_free_mode_has_faults_too() -> None:
    with (
        VirtualClock(seed=None, faults=Faults(crash=1.0)),
        pytest.raises(FaultInjected),
    ):
        Clerk.start([]).ask("work")
