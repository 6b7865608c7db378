"""The pure table of the ledger: what is accepted, where it stands, how it ends.

No thread, no lock, no clock: every method is told the time.  The locked shell around
it is :mod:`actors.ledger`.

:Runs on: whoever holds the ledger's lock.
:Owns: entries, the heap of delayed jobs, what each worker has in hand, and the sums of
    every group.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from actors.errors import Cancelled, HeadraceError, ShutdownTimeout
from actors.jobs import FINAL, STATUS_CHANGES, JobStatus
from actors.results import Attempt, JobResult, Report

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Mapping
    from contextvars import ContextVar

    from actors._group import Group
    from actors.deliveries import Delivery
    from actors.job_future import JobFuture
    from actors.jobs import Job
    from actors.stop_token import StopToken

__all__ = ["Entry", "Table", "Verdict"]

_FEW: Final = 64  # ended jobs in the heap that are not worth tidying away


class Entry:
    """One accepted job and everything the ledger knows about it."""

    __slots__ = (
        "accepted_at",
        "attempts",
        "begun_at",
        "cancel_reason",
        "context",
        "counted",
        "counted_in",
        "delivery",
        "due_at",
        "fast_lane",
        "future",
        "group",
        "in_heap",
        "job",
        "kill",
        "lease",
        "privileged",
        "ran",
        "refusal",
        "status",
        "token",
        "worker",
    )

    def __init__(
        self,
        job: Job,
        group: Group,
        future: JobFuture | None = None,
        *,
        counted: bool = True,
        privileged: bool = False,
        context: Mapping[ContextVar[Any], Any] | None = None,
    ) -> None:
        self.job = job
        self.group = group
        self.future = future
        self.counted = counted  # False: a nested call, part of its job's own attempt
        self.counted_in = 0  # how many groups of the chain have counted it
        self.privileged = privileged  # enters also while the intake is draining
        self.context = context
        self.status = JobStatus.WAITING
        self.lease = 0
        self.attempts: list[Attempt] = []
        self.accepted_at = 0.0
        self.due_at = 0.0
        self.begun_at: float | None = None
        self.ran = 0.0
        self.worker = ""
        self.fast_lane = False  # due again: goes ahead of new jobs, needs no place
        self.cancel_reason: str | None = None
        self.token: StopToken | None = None
        self.kill: Callable[[str], object] | None = None
        self.refusal: HeadraceError | None = None
        self.delivery: Delivery | None = None  # from its end until that is announced
        self.in_heap: _InHeap | None = None  # while it waits for a time

    def change(self, status: JobStatus) -> None:
        """Move to another status, if the table of changes allows it."""
        if status not in STATUS_CHANGES[self.status]:
            msg = (
                f"{self.job!r} cannot go from {self.status.value} to {status.value}; "
                "this is a bug in headrace, please report it"
            )
            raise HeadraceError(msg)
        self.status = status


class _InHeap:
    """What the heap has of a delayed job; empty once the job has ended.

    The heap drops its own things under the ledger's lock.  It must not be the last to
    hold a job: the arguments' own finalisers may do anything.
    """

    __slots__ = ("entry",)

    def __init__(self, entry: Entry) -> None:
        self.entry: Entry | None = entry


class Verdict(NamedTuple):
    """What a call of ``settle`` decided.

    Attributes:
        result: The final result; ``None`` when the job is tried again.
        due_at: When the next attempt is due; ``None`` when the result is final.
    """

    result: JobResult | None
    due_at: float | None = None


class Table:
    """Every accepted job in exactly one place."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}  # counted, accepted and not settled
        self.in_hand: dict[str, Entry] = {}  # by worker
        self.delayed = 0
        self.late = 0
        self.retried = 0
        self._heap: list[tuple[float, int, _InHeap]] = []
        self._pushed = 0

    # -- in

    def enter(self, entry: Entry, now: float) -> bool:
        """Accept a job; True if it is due now, False if it waits in the heap."""
        entry.accepted_at = now
        if entry.counted:
            self.entries[_id(entry)] = entry
            entry.group.accept(entry)
        delay = entry.job.delay
        if not delay:
            return True
        self._delay(entry, now + delay)
        return False

    def forget(self, entry: Entry) -> None:
        """Undo ``enter``, however far it came: the job was never accepted."""
        self.entries.pop(_id(entry), None)
        for group in entry.group.chain[: entry.counted_in]:
            group.accepted -= 1
            group.unsettled -= 1
        entry.counted_in = 0
        if entry.status is JobStatus.DELAYED:
            self._undelay(entry)
            entry.status = JobStatus.CANCELLED

    def _delay(self, entry: Entry, due_at: float) -> None:
        in_heap = _InHeap(entry)
        # These call nothing, so no signal handler runs between them: see forget.
        entry.status = JobStatus.DELAYED
        entry.in_heap = in_heap
        entry.due_at = due_at
        self._pushed += 1
        self.delayed += 1
        heapq.heappush(self._heap, (due_at, self._pushed, in_heap))
        if len(self._heap) > 2 * self.delayed + _FEW:  # more ended than not
            self._heap = [x for x in self._heap if x[2].entry is not None]
            heapq.heapify(self._heap)

    def _undelay(self, entry: Entry) -> None:
        """A job waits for its time no more; the heap passes over it."""
        assert entry.in_heap is not None  # it has the status DELAYED
        entry.in_heap.entry = None
        entry.in_heap = None
        self.delayed -= 1

    def next_due(self) -> float | None:
        """When the first delayed job is due; ``None`` when none waits for a time."""
        heap = self._heap
        while heap and heap[0][2].entry is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> list[Entry]:
        """Take the jobs that are due out of the heap, earliest first."""
        due: list[Entry] = []
        while (at := self.next_due()) is not None and at <= now:
            entry = heapq.heappop(self._heap)[2].entry
            assert entry is not None  # next_due has passed over the empty ones
            entry.change(JobStatus.WAITING)
            self._undelay(entry)
            due.append(entry)
        return due

    # -- in hand

    def take(self, entry: Entry, worker: str, begun_at: float | None) -> int:
        """Give a job into a worker's hand; returns the lease to settle it with."""
        entry.change(JobStatus.RUNNING)
        entry.worker = worker
        entry.lease += 1
        entry.begun_at = begun_at
        self.in_hand[worker] = entry
        return entry.lease

    def put_back(self, entry: Entry) -> None:
        """Take a job that has not begun out of its worker's hand; raises the lease."""
        self._drop(entry)
        entry.change(JobStatus.WAITING)

    def _drop(self, entry: Entry) -> None:
        entry.lease += 1
        if self.in_hand.get(entry.worker) is entry:
            del self.in_hand[entry.worker]
        entry.kill = None

    # -- out

    def settle(
        self,
        entry: Entry,
        lease: int,
        attempt: Attempt,
        value: Any,
        *,
        rng: random.Random,
        stopping: bool,
    ) -> Verdict | None:
        """Decide what an attempt's end means; the first call with the lease wins.

        Args:
            entry: The job.
            lease: What ``take`` returned.
            attempt: The attempt that ended.
            value: What it returned.
            rng: Generator for the jitter of a retry.
            stopping: True in the cancel phase of a stop.

        Returns:
            The verdict, or ``None`` when the lease is not the current one.
        """
        if entry.lease != lease:
            self.late += not isinstance(attempt.error, Cancelled)
            return None
        self._drop(entry)
        entry.attempts.append(attempt)
        entry.ran += attempt.ran
        status = status_of(attempt.error, entry.cancel_reason, stopping=stopping)
        error = attempt.error
        if status is JobStatus.DEAD:
            wait = self._retry_wait(entry, attempt, rng)
            if wait is not None and not stopping:
                self.retried += 1
                self._delay(entry, attempt.ended_at + wait)
                return Verdict(None, entry.due_at)
            if wait is not None:  # it has tries left that a stop leaves no time for
                status = JobStatus.RETURNED
        if status is JobStatus.RETURNED:
            error = returned_error(entry.job)
        return self._close(entry, status, value, error, attempt.ended_at)

    @staticmethod
    def _retry_wait(entry: Entry, attempt: Attempt, rng: random.Random) -> float | None:
        policy = entry.job.retry
        if policy is None or attempt.error is None or entry.cancel_reason is not None:
            return None
        elapsed = attempt.ended_at - entry.accepted_at
        return policy.next_delay(attempt.number, attempt.error, elapsed, rng)

    def withdraw(
        self, entry: Entry, status: JobStatus, error: BaseException, now: float
    ) -> Verdict:
        """End a job from outside its attempt: cancelled, returned or never to run.

        A job in hand loses its lease, so whatever its worker says later is late.
        """
        if entry.status is JobStatus.DELAYED:
            self._undelay(entry)
        elif entry.status is JobStatus.RUNNING:
            self._drop(entry)
            if entry.begun_at is not None:
                number = len(entry.attempts) + 1
                run = Attempt(number, entry.worker, entry.begun_at, now, error)
                entry.attempts.append(run)
                entry.ran += run.ran
        return self._close(entry, status, None, error, now)

    def _close(
        self,
        entry: Entry,
        status: JobStatus,
        value: Any,
        error: BaseException | None,
        now: float,
    ) -> Verdict:
        entry.change(status)
        waited = max(0.0, now - entry.accepted_at - entry.ran)
        attempts, entry.attempts = tuple(entry.attempts), []
        result = JobResult(entry.job, status, value, error, attempts, waited, entry.ran)
        if entry.counted:
            del self.entries[_id(entry)]
            entry.group.settle(result)
        return Verdict(result)

    # -- views

    def unsettled(self, group: Group) -> list[Entry]:
        """The jobs of a group that are not settled, in the order they were accepted."""
        return [e for e in self.entries.values() if e.group.within(group)]

    def report(self, group: Group, undelivered: Iterable[JobResult]) -> Report:
        """The sums of a group, with its unfinished jobs and undelivered results."""
        return Report(
            accepted=group.accepted,
            succeeded=group.succeeded,
            dead=group.dead,
            cancelled=group.cancelled,
            returned=group.returned,
            undelivered=tuple(undelivered),
            unfinished=tuple(e.job for e in self.unsettled(group))
            + tuple(group.returned_jobs),
            first_error=group.first_error,
        )


def status_of(
    error: BaseException | None, cancel_reason: str | None, *, stopping: bool
) -> JobStatus:
    """The final status that an attempt's end stands for, retries left aside."""
    if error is None:
        return JobStatus.SUCCEEDED
    if isinstance(error, Cancelled):
        if stopping and cancel_reason is None:
            return JobStatus.RETURNED
        return JobStatus.CANCELLED
    return JobStatus.DEAD


def returned_error(job: Job) -> ShutdownTimeout:
    """What a job's future gets that had begun when a stop handed it back."""
    msg = f"{job!r} was still running when the pipeline stopped; it was handed back"
    return ShutdownTimeout(msg, None, job)


def _id(entry: Entry) -> int:
    number = entry.job.id
    assert number is not None  # numbered at intake
    return number


assert set(STATUS_CHANGES) >= FINAL  # the table names every status
