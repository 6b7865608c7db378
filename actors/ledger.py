"""The locked shell around the table of jobs; outlives every stage.

Jobs that are due wait in one channel per kind, results in another, all behind the
ledger's own lock, so that a submit is one locked step and a settle is another.  Whoever
settles a job completes its future; nobody holds the lock while doing so.

:Runs on: any thread; intake waits on the submitter's thread alone.
:Owns: the table, and its parts: the intake, the endings, the results on their way, the
    waits.
:Guards: ``lock`` guards everything below it.  Held for O(1) work, but for the views and
    mass endings, which are O(jobs); no user code, no other lock, no wake-up inside.
:Blocks: ``submit``, until there is room, its timeout, or the intake closes;
    ``settle``, until the collector has room or the worker is to stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors._group import Group
from actors._inside import Role, inside
from actors._ledger import Table
from actors.admission import Admission, Intake
from actors.clock import ambient_clock, in_turn
from actors.deliveries import Deliveries
from actors.endings import Endings, Taken
from actors.events import job_event
from actors.jobs import JobKind, JobStatus
from actors.messages import DueChanged
from actors.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from actors._ledger import Entry, Verdict
    from actors.clock import Clock, WakeQueue
    from actors.events import Listeners
    from actors.messages import Recipient
    from actors.results import Attempt, JobResult, Report
    from actors.stop_token import StopToken

__all__ = ["Intake", "Lane", "Ledger", "Taken"]


class Lane:
    """One worker's view of its kind's channel: where its receive loop takes from.

    Invariant: a worker has at most one job in hand, so N workers hold at most N.
    """

    def __init__(self, ledger: Ledger, kind: JobKind, worker: str) -> None:
        self._ledger = ledger
        self._kind = kind
        self._worker = worker

    def take(self, wake: WakeQueue) -> Taken | None:
        """Take the next job; ``None``: ``wake`` is put to when there may be one."""
        return self._ledger.take(self._kind, self._worker, wake)

    def withdraw(self, wake: WakeQueue) -> None:
        """Stop waiting; a wake-up already spent on us is passed on."""
        self._ledger.withdraw(self._kind, wake)


class Ledger:
    """Every accepted job, from its acceptance until its result is acknowledged.

    Args:
        capacity: Jobs of a kind that may be due and wait for a worker; ``None`` for no
            bound.
        max_delayed: Jobs that may wait for a time before intake waits.
        nested_capacity: Jobs of a kind that may wait before a submit from inside, which
            never waits, is refused.
        workers: How many workers each kind has, for telling a deadlock.
        clock: The ambient clock by default.
        listeners: Who hears of changes.
        name: For logs.

    Attributes:
        root: The group that counts everything.
        deliveries: Results on their way to the sink.
        waits: Who waits for the end of jobs.
        dispatcher: Told when the first moment at which a job is due has moved.
    """

    def __init__(
        self,
        *,
        capacity: int | None = 10,
        max_delayed: int = 10_000,
        nested_capacity: int = 10_000,
        workers: dict[JobKind, int] | None = None,
        clock: Clock | None = None,
        listeners: Listeners | None = None,
        name: str = "pipeline",
    ) -> None:
        self.clock = ambient_clock() if clock is None else clock
        self.root = Group(name)
        self.dispatcher: Recipient | None = None
        self._listeners = listeners
        self.lock = self.clock.lock()
        # Guarded by lock from here on.
        self._table = Table()
        self._admission = Admission(
            self._table,
            self.lock,
            self,
            capacity=capacity,
            max_delayed=max_delayed,
            nested_capacity=nested_capacity,
            clock=self.clock,
            name=name,
        )
        self._channels = self._admission.channels
        self.deliveries = Deliveries(self.lock, capacity, self.clock)
        self.waits = Waits(self.lock, self, workers or dict.fromkeys(JobKind, 1), name)
        self._endings = Endings(
            self._table,
            self.lock,
            self._admission,
            self.deliveries,
            clock=self.clock,
            teller=self,
        )

    # -- intake

    def submit(
        self,
        entry: Entry,
        *,
        wait: bool | float = True,
        token: StopToken | None = None,
    ) -> None:
        """Accept a job: a place of its kind first, then table and channel in one step.

        From inside (a job, a done-callback, a sink) it never waits.

        Args:
            entry: The job.
            wait: False or seconds: how long to wait for room; True for no limit.
            token: Ends the wait when it is cancelled.

        Raises:
            MailboxClosed: If the intake is closed.
            MailboxFull: If there was no room in time, or none for a submit from inside.
            Cancelled: If ``token`` was cancelled while it waited.
        """
        self._admission.submit(entry, wait=wait, token=token)
        if entry.job.delay:
            self.due_at(entry.due_at)
        if self._listeners:
            self.record("accepted", entry)

    def enter_call(self, entry: Entry) -> None:
        """Enter a nested call, ahead of new jobs and past the bound; never waits.

        One that was cancelled before it came here stays out.
        """
        with in_turn(self.lock):
            if entry.status is not JobStatus.WAITING:
                return
            self._table.enter(entry, self.clock.monotonic())
            reader = self._channels[entry.job.kind].offer_first(entry)
        if reader is not None:
            reader.put(None)

    def close_intake(self, why: str, *, inside_too: bool = False) -> None:
        """Let nobody in from outside any more; with ``inside_too``, nobody at all.

        Submitters that wait are woken and raise ``MailboxClosed``.
        """
        self._admission.close(why, inside_too=inside_too)

    def close_if_idle(self, why: str) -> bool:
        """Let nobody in any more, if nothing is unsettled or undelivered.

        It is one step: what a producer still brings is let in before it, and waited
        for, or is refused.

        Returns:
            True if nothing is left; nothing will come either.
        """
        with in_turn(self.lock):
            if self.root.idle:
                self._admission.shut_locked(why)
            return self.root.idle

    @property
    def intake(self) -> Intake:
        """Whom the intake lets in now."""
        return self._admission.state

    # -- workers

    def lane(self, kind: JobKind, worker: str) -> Lane:
        """Where the worker named ``worker`` takes its jobs from."""
        return Lane(self, kind, worker)

    def take(self, kind: JobKind, worker: str, wake: WakeQueue) -> Taken | None:
        """Serve :meth:`Lane.take`; an io job begins in this very step."""
        with in_turn(self.lock):
            popped = self._channels[kind].pop(wake)
            if popped is None:
                self._admission.idle[worker] = wake
                return None
            entry, ticket = popped
            begun_at = None if kind is JobKind.CPU else self.clock.monotonic()
            lease = self._table.take(entry, worker, begun_at)
            wakes = [] if ticket is None else self._admission.let_in_locked(ticket)
        for submitter in wakes:
            submitter.put(None)
        return Taken(entry, lease)

    def withdraw(self, kind: JobKind, wake: WakeQueue) -> None:
        """Serve :meth:`Lane.withdraw`."""
        with in_turn(self.lock):
            other = self._channels[kind].forget_reader(wake)
        if other is not None:
            other.put(None)

    def begin(self, taken: Taken, kill: Callable[[str], object] | None) -> float | None:
        """Start a cpu attempt.

        Args:
            taken: The job in hand.
            kill: Ends the attempt for certain, from any thread; ``None`` if nothing
                can.

        Returns:
            When it began, or ``None`` if the lease is lost.
        """
        entry = taken.entry
        now = self.clock.monotonic()
        with in_turn(self.lock):
            if entry.lease != taken.lease:
                return None
            entry.begun_at = now
            entry.kill = kill
        return now

    def give_back(self, taken: Taken) -> None:
        """Put a job that was not run back at the head of its channel."""
        self._endings.give_back(taken)

    def settle(
        self, taken: Taken, attempt: Attempt, value: Any, token: StopToken
    ) -> Verdict | None:
        """Settle one attempt: the single decision; the first call with the lease wins.

        The winner completes the future here, on its own thread, then waits until the
        collector has room for the result.

        Args:
            taken: The job in hand.
            attempt: How it ended.
            value: What it returned.
            token: The worker's: once it is cancelled, the result does not wait; an
                attempt that obeyed it has failed, if nobody cancelled the job.

        Returns:
            The verdict, or ``None`` when the lease was lost (the result is dropped and
            counted as late).
        """
        return self._endings.settle(taken, attempt, value, token)

    def worker_began(self, worker: str, incarnation: int) -> bool:
        """A worker is about to take jobs; what the one before it held is settled.

        Returns:
            False if another has followed it by now: it was left behind, and takes none.
        """
        return self._endings.worker_began(worker, incarnation)

    def worker_died(self, worker: str, incarnation: int, reason: str) -> None:
        """Settle what a dead worker had in hand: a failed attempt if it had begun.

        Late news of an incarnation that another has followed by now is ignored.
        """
        self._endings.worker_died(worker, incarnation, reason)

    # -- the dispatcher

    def release_due(self) -> float | None:
        """Move the jobs that are due to the head of their channels.

        Returns:
            When the next one is due, or ``None``.
        """
        with in_turn(self.lock):
            due = self._table.pop_due(self.clock.monotonic())
            wakes: list[WakeQueue | None] = [
                self._channels[entry.job.kind].offer_first(entry) for entry in due
            ]
            next_due = self._table.next_due()
            wakes += self._admission.open_gate_locked()
        for wake in wakes:
            if wake is not None:
                wake.put(None)
        return next_due

    def due_at(self, moment: float) -> None:
        """Tell the dispatcher of a job that is due then, if it is the first."""
        with in_turn(self.lock):
            first = self._table.next_due()
        if self.dispatcher is not None and first is not None and moment <= first:
            self.dispatcher.tell_control(DueChanged())

    # -- giving up

    def cancel(self, entry: Entry, reason: str, *, only_waiting: bool = False) -> bool:
        """Serve :meth:`JobFuture.cancel <actors.JobFuture.cancel>`; never blocks."""
        return self._endings.cancel(entry, reason, only_waiting=only_waiting)

    def cancel_group(self, group: Group, reason: str) -> int:
        """Cancel every job of a group; how many will not complete."""
        return self._endings.cancel_group(group, reason)

    def cancel_waiting(self, reason: str) -> int:
        """Cancel every job that has not begun; how many."""
        return self._endings.cancel_waiting(self.root, reason)

    def begin_stopping(self, why: str) -> None:
        """Enter the cancel phase: nobody gets in, what waits is handed back."""
        self.close_intake(why, inside_too=True)
        self._endings.begin_stopping(self.root)

    def return_all(self, why: str) -> None:
        """Hand back every job that is not settled, those in hand too."""
        self.close_intake(why, inside_too=True)
        self._endings.return_all(self.root)

    # -- waiting and looking

    def waiting_for(self, entry: Entry) -> AbstractContextManager[None]:
        """Serve :meth:`JobFuture.result <actors.JobFuture.result>`."""
        return self.waits.waiting_for(entry)

    def report(self, group: Group | None = None) -> Report:
        """The sums of a group, or of everything."""
        group = self.root if group is None else group
        with in_turn(self.lock):
            return self._table.report(group, self.deliveries.undelivered_locked(group))

    def depth(self, kind: JobKind) -> int:
        """How many jobs of a kind are due and wait for a worker."""
        return len(self._channels[kind])

    def counts(self) -> dict[str, int]:
        """Jobs delayed and in hand; attempts retried, late and over capacity."""
        with in_turn(self.lock):
            return {
                "delayed": self._table.delayed,
                "in_flight": len(self._table.in_hand),
                "retried": self._table.retried,
                "late": self._table.late,
                "over_capacity": self._admission.over_capacity,
            }

    # -- telling

    def record(
        self,
        change: str,
        entry: Entry,
        result: JobResult | None = None,
        *,
        retry: tuple[Attempt, float] | None = None,
    ) -> None:
        """Hear of every change of a job: the one place where a listener is told.

        Called after the change, on the thread that made it, without the lock; by then
        the job may have gone on, so what is told of the change is passed along.
        """
        if self._listeners:
            self.tell(job_event(change, entry, result, retry))

    def tell(self, event: object) -> None:
        """Tell the listeners an event; their submits and waits are from inside."""
        listeners = self._listeners
        if listeners:
            with inside(self, Role.LISTENER):
                listeners.emit(event)
