"""The store of dead jobs.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from actors.dead_letters import DeadLetters
from actors.errors import MailboxClosed
from actors.job_future import JobFuture
from actors.jobs import Job, JobStatus
from actors.ledger import Ledger
from tests.actors.ledger_kit import nothing, result_of

if TYPE_CHECKING:
    from actors.dead_letters import DeadLetter
    from actors.testing import VirtualClock


@pytest.fixture
def clock_options() -> dict[str, Any]:
    return {"auto_advance": True}


@pytest.fixture
def letters(clock: VirtualClock) -> DeadLetters:
    return DeadLetters()


class FakePipeline:
    """Takes so many jobs, then it is closed."""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.jobs: list[Job] = []

    def submit_job(self, job: Job) -> JobFuture:
        if len(self.jobs) >= self.room:
            raise MailboxClosed("closed")
        self.jobs.append(job)
        return JobFuture(Ledger())


def add(
    letters: DeadLetters, number: int, error: BaseException, key: object = None
) -> DeadLetter:
    return letters.add(result_of(number, JobStatus.DEAD, error, key=key))


def numbers(found: list[DeadLetter]) -> list[int]:
    return [letter.id for letter in found]


def test_a_letter_tells_what_died_and_when(
    letters: DeadLetters, clock: VirtualClock
) -> None:
    error = ValueError("x")
    clock.advance(90)

    letter = add(letters, 7, error, "k")

    assert (letter.id, letter.error, letter.attempts) == (7, error, ())
    assert letter.job is letter.result.job
    assert letter.died_at == dt.datetime(2000, 1, 1, 0, 1, 30, tzinfo=dt.UTC)
    assert list(letters) == [letter]


def test_an_empty_store_is_still_a_store(letters: DeadLetters) -> None:
    assert len(letters) == 0
    assert bool(letters)


def test_letters_stand_in_the_order_of_death(letters: DeadLetters) -> None:
    for number in (3, 1, 2):
        add(letters, number, ValueError())

    assert numbers(list(letters)) == [3, 1, 2]


def test_find_gives_what_matches_every_filter(letters: DeadLetters) -> None:
    add(letters, 1, KeyError(), "a")
    add(letters, 2, ValueError(), "a")
    add(letters, 3, KeyError(), "b")

    assert numbers(letters.find()) == [1, 2, 3]
    assert numbers(letters.find(error=LookupError)) == [1, 3]
    assert numbers(letters.find(error=(ValueError, OSError))) == [2]
    assert numbers(letters.find(key="a")) == [1, 2]
    assert numbers(letters.find(error=KeyError, key="a")) == [1]
    assert numbers(letters.find(name="nothing")) == [1, 2, 3]
    assert letters.find(name="another") == []


def test_a_letter_is_taken_once(letters: DeadLetters) -> None:
    first, second = (add(letters, 1, ValueError()) for _ in range(2))

    assert letters.take(second)
    assert not letters.take(second)

    assert list(letters) == [first]  # by identity: equal ones stay


def test_clear_says_how_many_there_were(letters: DeadLetters) -> None:
    for number in range(3):
        add(letters, number, ValueError())

    assert letters.clear() == 3
    assert letters.clear() == 0


def test_a_replayed_letter_leaves_the_store(letters: DeadLetters) -> None:
    pipeline = FakePipeline()
    first, second = add(letters, 1, ValueError()), add(letters, 2, ValueError())

    futures = letters.replay(pipeline, [second])

    assert len(futures) == 1
    assert pipeline.jobs == [second.job]
    assert list(letters) == [first]


def test_replay_takes_all_in_order_by_default(letters: DeadLetters) -> None:
    pipeline = FakePipeline()
    for number in (1, 2, 3):
        add(letters, number, ValueError())

    letters.replay(pipeline)

    assert [job.id for job in pipeline.jobs] == [1, 2, 3]
    assert not len(letters)


def test_what_a_replay_could_not_submit_stays(letters: DeadLetters) -> None:
    pipeline = FakePipeline(room=1)
    for number in (1, 2, 3):
        add(letters, number, ValueError())

    with pytest.raises(MailboxClosed):
        letters.replay(pipeline)

    assert numbers(list(letters)) == [2, 3]


def test_letters_added_meanwhile_do_not_disturb_a_walk(letters: DeadLetters) -> None:
    add(letters, 1, ValueError())

    for letter in letters:
        add(letters, letter.id + 1, ValueError())

    assert numbers(list(letters)) == [1, 2]


@pytest.mark.concurrent
def test_each_letter_is_taken_by_one_thread_alone(
    letters: DeadLetters, clock: VirtualClock
) -> None:
    all_letters = [add(letters, number, ValueError()) for number in range(40)]
    taken: list[DeadLetter] = []

    def take_all() -> None:
        taken.extend(letter for letter in all_letters if letters.take(letter))

    calls = [clock.thread(take_all) for _ in range(4)]
    for thread in calls:
        thread.start()
    for thread in calls:
        clock.join(thread)

    assert sorted(numbers(taken)) == list(range(40))


def test_the_store_needs_no_clock_of_its_own() -> None:
    letters = DeadLetters()

    letter = letters.add(result_of(1, JobStatus.DEAD, ValueError()))

    assert letter.died_at.tzinfo is dt.UTC
    assert letter.job.fn is nothing
