"""Jobs that will not run again, with why.

:Runs on: ``add`` on the collector's thread; everything else on any thread.
:Owns: the letters, in the order in which the jobs died.
:Guards: ``_lock`` guards ``_letters``.  Held for O(n) copies at most; no user code.
:Blocks: ``replay`` where submitting does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from actors.clock import ambient_clock

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from actors.clock import Clock
    from actors.job_future import JobFuture
    from actors.jobs import Job
    from actors.results import Attempt, JobResult

__all__ = ["DeadLetter", "DeadLetters"]


class DeadLetter(NamedTuple):
    """One dead job.

    Attributes:
        result: What became of it, with the job and its attempts.
        died_at: When, on the wall clock.
    """

    result: JobResult
    died_at: dt.datetime

    @property
    def id(self) -> int:
        """The job's number."""
        return self.result.id

    @property
    def job(self) -> Job:
        """The job."""
        return self.result.job

    @property
    def error(self) -> BaseException | None:
        """What its last attempt raised."""
        return self.result.error

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Its runs, oldest first."""
        return self.result.attempts


class _Submits(Protocol):
    def submit_job(self, job: Job) -> JobFuture: ...


class DeadLetters:
    """The dead jobs of a pipeline, in memory.

    Args:
        clock: Stamps the letters; the ambient clock by default.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = ambient_clock() if clock is None else clock
        self._lock = self._clock.lock()
        self._letters: list[DeadLetter] = []

    def add(self, result: JobResult) -> DeadLetter:
        """Keep a dead job's result."""
        letter = DeadLetter(result, self._clock.now())
        with self._lock:
            self._letters.append(letter)
        return letter

    def find(
        self,
        *,
        error: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        key: object = None,
        name: str | None = None,
    ) -> list[DeadLetter]:
        """The letters that match every filter given.

        Args:
            error: Class or classes that the last error is an instance of.
            key: The job's key.
            name: The job's name.
        """
        return [letter for letter in self if _matches(letter, error, key, name)]

    def take(self, letter: DeadLetter) -> bool:
        """Remove one letter; False if it is not here any more."""
        with self._lock:
            for index, mine in enumerate(self._letters):
                if mine is letter:
                    del self._letters[index]
                    return True
        return False

    def replay(
        self, pipeline: _Submits, letters: list[DeadLetter] | None = None
    ) -> list[JobFuture]:
        """Submit dead jobs again, as new jobs; each leaves the store once accepted.

        Args:
            pipeline: Where to; waits for room there.
            letters: Which ones; all by default.

        Returns:
            The new futures, in the order of the letters.

        Raises:
            MailboxClosed: If the pipeline takes nothing more; what was not accepted is
                still here.
        """
        futures = []
        for letter in list(self) if letters is None else letters:
            futures.append(pipeline.submit_job(letter.job))
            self.take(letter)
        return futures

    def clear(self) -> int:
        """Forget all letters; how many they were."""
        with self._lock:
            gone, self._letters = self._letters, []
        return len(gone)

    def __iter__(self) -> Iterator[DeadLetter]:
        with self._lock:
            return iter(list(self._letters))

    def __len__(self) -> int:
        return len(self._letters)

    def __bool__(self) -> bool:
        """A store is a store, also while it is empty."""
        return True


def _matches(
    letter: DeadLetter,
    error: type[BaseException] | tuple[type[BaseException], ...] | None,
    key: object,
    name: str | None,
) -> bool:
    return (
        (error is None or isinstance(letter.error, error))
        and (key is None or letter.job.key == key)
        and (name is None or letter.job.name == name)
    )
