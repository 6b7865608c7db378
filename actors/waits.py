"""Who waits for the end of jobs: hosts for a group, jobs for each other.

:Runs on: the thread that waits.
:Owns: the count of jobs that wait for jobs of each kind.
:Guards: the ledger's ``lock`` guards it, and each group's waiters.
:Blocks: nothing itself; it only says who may.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from actors._inside import Role, role_in
from actors.clock import in_turn
from actors.errors import WouldDeadlock
from actors.jobs import JobKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from actors._group import Group
    from actors._ledger import Entry
    from actors.clock import Lock, WakeQueue

__all__ = ["Waits"]


class Waits:
    """The waits on one ledger.

    Args:
        lock: The ledger's.
        owner: The ledger, to tell who is inside.
        workers: How many workers each kind has.
        name: For the errors' texts.
    """

    def __init__(
        self, lock: Lock, owner: object, workers: Mapping[JobKind, int], name: str
    ) -> None:
        self._lock = lock
        self._owner = owner
        self._workers = workers
        self._name = name
        self._waiting = dict.fromkeys(JobKind, 0)

    def add(self, group: Group, wake: WakeQueue) -> bool:
        """Put to ``wake`` once the group is idle; False if it is idle now."""
        with in_turn(self._lock):
            if group.idle:
                return False
            group.waiters.append(wake)
            return True

    def remove(self, group: Group, wake: WakeQueue) -> None:
        """Take a waiter back."""
        with in_turn(self._lock), contextlib.suppress(ValueError):
            group.waiters.remove(wake)

    def waiting_for(self, entry: Entry) -> AbstractContextManager[None]:
        """Allow or refuse the calling thread a wait for a job's end.

        Raises:
            WouldDeadlock: If only the caller, or only threads that wait like it, could
                bring that end about.
        """
        return self.waiting_for_kind(entry.job.kind, entry.job)

    @contextlib.contextmanager
    def waiting_for_kind(self, kind: JobKind, what: object) -> Iterator[None]:
        """The same for jobs of a kind; ``what`` they are, for the error's text."""
        mark = role_in(self._owner)
        if mark is None or mark.role is Role.PRODUCER:
            yield
            return
        if mark.role is not Role.JOB:
            msg = (
                f"{mark.role.value} of {self._name} must not wait for {what}: "
                "the pipeline would wait for itself; add a done-callback instead"
            )
            raise WouldDeadlock(msg)
        if mark.kind is not kind:  # another kind's workers will end it
            yield
            return
        self._begin(kind, what)
        try:
            yield
        finally:
            with in_turn(self._lock):
                self._waiting[kind] -= 1

    def _begin(self, kind: JobKind, what: object) -> None:
        workers = self._workers[kind]
        with in_turn(self._lock):
            room = self._waiting[kind] + 1 < workers
            self._waiting[kind] += room
        if not room:
            msg = (
                f"all {workers} {kind.value} workers of {self._name} would wait for "
                f"jobs like {what}, which no worker is left to run; add workers,"
                " or let the job submit and return"
            )
            raise WouldDeadlock(msg)
