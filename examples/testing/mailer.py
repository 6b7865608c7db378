"""A worker of your own: it sends letters through a mail server that is often busy.

Its tests are in ``test_mailer.py`` beside it.

:Runs on: a worker's thread each.
:Owns: one connection for each worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from actors import RetryPolicy, Worker, sleep

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import Job, Recipient

# After ten minutes, twenty, forty, ...: for five hours in all.
PATIENCE = RetryPolicy(max_retries=5, initial=600, maximum=24 * 3600, jitter=None)


class Letter(NamedTuple):
    address: str
    text: str


class Bounced(NamedTuple):
    """Told to the postmaster: there is nobody at this address."""

    address: str


class NoSuchAddress(Exception):
    """The server does not know the address; it never will."""


class Connection(Protocol):
    """What this worker needs of a mail server; a busy one raises ConnectionError."""

    def send(self, address: str, text: str) -> None: ...


class Mailer(Worker):
    """Sends a letter for each job, with the pause that the server asks for.

    A busy server fails the job, and the retry policy sends it again later.
    """

    connect: ClassVar[Callable[[], Connection]]
    postmaster: ClassVar[Recipient]
    pause: ClassVar[float] = 1.0

    def on_start(self) -> None:
        self.connection = type(self).connect()

    def handle(self, job: Job) -> bool:
        letter: Letter = job.payload
        try:
            self.connection.send(letter.address, letter.text)
        except NoSuchAddress:
            self.postmaster.tell(Bounced(letter.address))
            return False
        sleep(self.pause)
        return True
