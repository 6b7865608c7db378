"""The locked shell around the table of jobs; outlives every stage.

Jobs that are due wait in one channel per kind, behind the ledger's own lock, so that a
submit is one locked step.  Whoever settles a job completes its future and sees to its
delivery; nobody holds the lock while doing so.

:Runs on: any thread; intake waits on the submitter's thread alone.
:Owns: the table, the channels and the state of the intake.
:Guards: ``lock`` guards everything below it.  Held for O(1) work, but for the views and
    mass endings, which are O(jobs); no user code, no other lock, no wake-up inside.
:Blocks: ``submit``, until there is room, its timeout, or the intake closes;
    ``wait_idle``.  Nothing else.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from actors._group import Group
from actors._inside import Role, inside, role_in
from actors._ledger import DeliveryState, Table, returned_error
from actors.admission import Admission, Intake
from actors.clock import Empty, ambient_clock, raw_lock
from actors.errors import Cancelled, WorkerDied, WouldDeadlock
from actors.jobs import JobKind, JobStatus
from actors.messages import DueChanged, ResultsPosted
from actors.results import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors._ledger import Delivery, Entry, Verdict
    from actors.clock import Clock, WakeQueue
    from actors.events import Listeners
    from actors.messages import Recipient
    from actors.results import JobResult, Report
    from actors.stop_token import StopToken

__all__ = ["Intake", "Lane", "Ledger", "Taken"]

logger = logging.getLogger("headrace.ledger")


class Taken:
    """A job in a worker's hand, with the lease to settle it with."""

    __slots__ = ("entry", "lease")

    def __init__(self, entry: Entry, lease: int) -> None:
        self.entry = entry
        self.lease = lease


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
        self.workers = workers or {JobKind.IO: 1, JobKind.CPU: 1}
        self.root = Group(name)
        self.collector: Recipient | None = None
        self.dispatcher: Recipient | None = None
        self._listeners = listeners
        self.lock = raw_lock()
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
        self._stopping = False
        self._waiting_jobs = dict.fromkeys(JobKind, 0)  # jobs that wait for a kind

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
            self._tell_dispatcher(entry.due_at)
        self.record("accepted", entry)

    def enter_call(self, entry: Entry) -> None:
        """Enter a nested call, ahead of new jobs and past the bound; never waits."""
        with self.lock:
            self._table.enter(entry, self.clock.monotonic())
            reader = self._channels[entry.job.kind].offer_first(entry)
        if reader is not None:
            reader.put(None)

    def close_intake(self, why: str, *, inside_too: bool = False) -> None:
        """Let nobody in from outside any more; with ``inside_too``, nobody at all.

        Submitters that wait are woken and raise ``MailboxClosed``.
        """
        self._admission.close(why, inside_too=inside_too)

    @property
    def intake(self) -> Intake:
        """Whom the intake lets in now."""
        return self._admission.state

    # -- workers

    def lane(self, kind: JobKind, worker: str) -> Lane:
        """Where the worker named ``worker`` takes its jobs from."""
        return Lane(self, kind, worker)

    def take(self, kind: JobKind, worker: str, wake: WakeQueue) -> Taken | None:
        """Serve :meth:`Lane.take`."""
        with self.lock:
            popped = self._channels[kind].pop(wake)
            if popped is None:
                return None
            entry, ticket = popped
            lease = self._table.take(entry, worker)
            wakes = self._admission.let_in_locked(ticket)
        for submitter in wakes:
            submitter.put(None)
        return Taken(entry, lease)

    def withdraw(self, kind: JobKind, wake: WakeQueue) -> None:
        """Serve :meth:`Lane.withdraw`."""
        with self.lock:
            other = self._channels[kind].forget_reader(wake)
        if other is not None:
            other.put(None)

    def begin(
        self, taken: Taken, kill: Callable[[str], object] | None = None
    ) -> float | None:
        """Start an attempt; when it began, or ``None`` if the lease is lost.

        Args:
            taken: The job in hand.
            kill: Ends the attempt at once from any thread; for cpu jobs.
        """
        entry = taken.entry
        now = self.clock.monotonic()
        with self.lock:
            if entry.lease != taken.lease:
                return None
            entry.begun_at = now
            entry.kill = kill
        self.record("began", entry)
        return now

    def give_back(self, taken: Taken) -> None:
        """Put a job that has not begun back at the head of its channel."""
        with self.lock:
            if taken.entry.lease != taken.lease:
                return
            reader = self._requeue(taken.entry)
        if reader is not None:
            reader.put(None)

    def _requeue(self, entry: Entry) -> WakeQueue | None:
        self._table.put_back(entry)
        entry.fast_lane = True
        return self._channels[entry.job.kind].offer_first(entry)

    def settle(
        self, taken: Taken, attempt: Attempt, value: Any = None
    ) -> Verdict | None:
        """Settle one attempt: the single decision; the first call with the lease wins.

        The winner completes the future here, on its own thread.  Delivery of a final
        result is the caller's: it tells the collector.

        Returns:
            The verdict, or ``None`` when the lease was lost (the result is dropped and
            counted as late).
        """
        with self.lock:
            verdict = self._table.settle(
                taken.entry,
                taken.lease,
                attempt,
                value,
                rng=self.clock.rng,
                stopping=self._stopping,
            )
        self._after_settle(taken.entry, verdict)
        return verdict

    def _after_settle(self, entry: Entry, verdict: Verdict | None) -> None:
        if verdict is None:
            self.record("late", entry)
        elif verdict.result is None:
            self.record("retried", entry)
            if verdict.due_at is not None:
                self._tell_dispatcher(verdict.due_at)
        else:
            self._complete(entry, verdict.result)

    def _complete(self, entry: Entry, result: JobResult) -> None:
        if result.status is JobStatus.DEAD and result.error is not None:
            _note_attempts(result)
        if entry.future is not None:
            entry.future.complete(result)
        self.record("settled", entry, result)

    def worker_died(self, worker: str, reason: str) -> None:
        """Settle what a dead worker had in hand: a failed attempt if it had begun."""
        now = self.clock.monotonic()
        reader = verdict = None
        with self.lock:
            entry = self._table.in_hand.get(worker)
            if entry is None:
                return
            if entry.begun_at is None:
                reader = self._requeue(entry)
            else:
                error = WorkerDied(
                    f"{worker} died while it ran {entry.job!r}: {reason}"
                )
                attempt = Attempt(
                    len(entry.attempts) + 1, worker, entry.begun_at, now, error
                )
                verdict = self._table.settle(
                    entry,
                    entry.lease,
                    attempt,
                    None,
                    rng=self.clock.rng,
                    stopping=self._stopping,
                )
        if reader is not None:
            reader.put(None)
        if verdict is not None:
            self._after_settle(entry, verdict)
            self._post(verdict)

    def _post(self, verdict: Verdict) -> None:
        """Leave a result, settled off its worker, for the collector to fetch."""
        if verdict.delivery is None:
            return
        with self.lock:
            if verdict.delivery.state is DeliveryState.MAILED:
                verdict.delivery.state = DeliveryState.POSTED
        if self.collector is not None:
            self.collector.tell_control(ResultsPosted())

    def post(self, verdict: Verdict) -> None:
        """Leave a settled result for the collector to fetch, instead of telling it."""
        self._post(verdict)

    # -- the dispatcher

    def release_due(self) -> float | None:
        """Move the jobs that are due to the head of their channels.

        Returns:
            When the next one is due, or ``None``.
        """
        with self.lock:
            due = self._table.pop_due(self.clock.monotonic())
            readers = []
            for entry in due:
                entry.fast_lane = True
                readers.append(self._channels[entry.job.kind].offer_first(entry))
            next_due = self._table.next_due()
            wakes = self._admission.open_gate_locked()
        for wake in wakes + [reader for reader in readers if reader is not None]:
            wake.put(None)
        return next_due

    def _tell_dispatcher(self, due_at: float) -> None:
        with self.lock:
            first = self._table.next_due()
        if self.dispatcher is not None and first is not None and due_at <= first:
            self.dispatcher.tell_control(DueChanged())

    # -- giving up

    def cancel(self, entry: Entry, reason: str) -> bool:
        """Serve :meth:`JobFuture.cancel <actors.JobFuture.cancel>`; never blocks."""
        with self.lock:
            if entry.status in (JobStatus.WAITING, JobStatus.DELAYED):
                ended = True
            elif entry.status is JobStatus.RUNNING:
                entry.cancel_reason = entry.cancel_reason or reason
                ended = entry.kill is not None or entry.begun_at is None
            else:
                return entry.status is JobStatus.CANCELLED
            kill, token = entry.kill, entry.token
            verdict, wakes = (
                self._end(entry, JobStatus.CANCELLED, Cancelled(reason))
                if ended
                else (None, [])
            )
        for wake in wakes:
            wake.put(None)
        if token is not None:
            token.cancel(reason)
        if kill is not None:
            kill(reason)
        if verdict is not None:
            self._after_settle(entry, verdict)
            self._post(verdict)
        return ended

    def _end(
        self, entry: Entry, status: JobStatus, error: BaseException
    ) -> tuple[Verdict, list[WakeQueue]]:
        """End a job from outside its attempt; the lock is held."""
        wakes: list[WakeQueue] = []
        if entry.status is JobStatus.WAITING:
            _, ticket = self._channels[entry.job.kind].discard(entry)
            wakes = self._admission.let_in_locked(ticket)
        verdict = self._table.withdraw(entry, status, error, self.clock.monotonic())
        return verdict, wakes + self._admission.open_gate_locked()

    def cancel_group(self, group: Group, reason: str) -> int:
        """Cancel every job of a group; how many will not complete."""
        with self.lock:
            entries = self._table.unsettled(group)
        return sum(self.cancel(entry, reason) for entry in entries)

    def cancel_waiting(self, reason: str) -> int:
        """Cancel every job that has not begun; how many."""
        with self.lock:
            waiting = [
                e
                for e in self._table.entries.values()
                if e.status is not JobStatus.RUNNING
            ]
        return sum(self.cancel(entry, reason) for entry in waiting)

    def begin_stopping(self, why: str) -> None:
        """Enter the cancel phase: nobody gets in, what waits is handed back."""
        self.close_intake(why, inside_too=True)
        with self.lock:
            self._stopping = True
            waiting = [
                e
                for e in self._table.entries.values()
                if e.status is not JobStatus.RUNNING
            ]
        self._return(waiting, only_waiting=True)

    def return_all(self, why: str) -> None:
        """Hand back every job that is not settled, those in hand too."""
        self.begin_stopping(why)
        with self.lock:
            entries = list(self._table.entries.values())
        self._return(entries, only_waiting=False)

    def _return(self, entries: list[Entry], *, only_waiting: bool) -> None:
        for entry in entries:
            with self.lock:
                if entry.job.id not in self._table.entries or (
                    only_waiting and entry.status is JobStatus.RUNNING
                ):
                    continue
                kill = entry.kill
                verdict, wakes = self._end(
                    entry, JobStatus.RETURNED, returned_error(entry.job)
                )
            for wake in wakes:
                wake.put(None)
            if kill is not None:
                kill("the pipeline stopped")
            self._after_settle(entry, verdict)
            self._post(verdict)

    # -- delivery

    def hand(self, delivery: Delivery) -> bool:
        """Mark a result as handed to the sink; False if it was before."""
        with self.lock:
            return self._table.hand(delivery)

    def acknowledge(self, delivery: Delivery) -> None:
        """Forget a delivered result."""
        with self.lock:
            wakes = self._table.acknowledge(delivery)
        for wake in wakes:
            wake.put(None)

    def keep(self, delivery: Delivery) -> None:
        """Leave a result undelivered for good: it stands in the report."""
        with self.lock:
            wakes = self._table.keep(delivery)
        for wake in wakes:
            wake.put(None)

    def posted(self, *, mailed_too: bool = False) -> list[Delivery]:
        """The results left for the collector; with ``mailed_too``, also those told."""
        states = [DeliveryState.POSTED]
        if mailed_too:
            states.append(DeliveryState.MAILED)
        with self.lock:
            return self._table.to_deliver(*states)

    def lost_in_hand(self) -> list[Delivery]:
        """The results that a dead collector had handed and not acknowledged."""
        with self.lock:
            return self._table.to_deliver(DeliveryState.HANDED)

    def keep_undelivered(self) -> None:
        """Give up delivery of everything: the collector is gone."""
        with self.lock:
            left = [
                d
                for d in self._table.undelivered.values()
                if d.state is not DeliveryState.KEPT
            ]
            wakes = [wake for d in left for wake in self._table.keep(d)]
        for wake in wakes:
            wake.put(None)

    # -- waiting and looking

    def add_idle_waiter(self, group: Group, wake: WakeQueue) -> bool:
        """Put to ``wake`` once the group is idle; False if it is idle now."""
        with self.lock:
            if group.idle:
                return False
            group.waiters.append(wake)
            return True

    def remove_idle_waiter(self, group: Group, wake: WakeQueue) -> None:
        """Take an idle waiter back."""
        with self.lock, contextlib.suppress(ValueError):
            group.waiters.remove(wake)

    def wait_idle(
        self,
        group: Group,
        timeout: float | None = None,
        *,
        settled: Callable[[], bool] | None = None,
    ) -> bool:
        """Wait until everything accepted is settled and delivered.

        Args:
            group: Whose jobs.
            timeout: Seconds; ``None`` for no limit.
            settled: Ends the wait early when true at a wake-up.

        Returns:
            True when it is so, False on timeout.
        """
        deadline = None if timeout is None else self.clock.monotonic() + timeout
        wake = self.clock.queue()
        while self.add_idle_waiter(group, wake):
            left = None if deadline is None else deadline - self.clock.monotonic()
            try:
                if left is not None and left <= 0:
                    raise Empty  # noqa: TRY301  # the same end as a wait that timed out
                wake.get(timeout=left)
            except Empty:
                self.remove_idle_waiter(group, wake)
                return group.idle
            if settled is not None and settled():
                self.remove_idle_waiter(group, wake)
                return group.idle
        return True

    @contextlib.contextmanager
    def waiting_for(self, entry: Entry) -> Iterator[None]:
        """Allow or refuse a wait for a job's end by the calling thread.

        Raises:
            WouldDeadlock: If only the caller, or only threads that wait like it, could
                bring that end about.
        """
        mark = role_in(self)
        if mark is None or mark.role is Role.PRODUCER:
            yield
            return
        if mark.role is not Role.JOB:
            msg = (
                f"{mark.role.value} of {self.root.name} must not wait for {entry.job!r}:"
                " the pipeline would wait for itself; add a done-callback instead"
            )
            raise WouldDeadlock(msg)
        needed = entry.job.kind
        with self.lock:
            own = mark.kind is needed
            if own and self._waiting_jobs[needed] + 1 >= self.workers[needed]:
                count = self.workers[needed]
                msg = (
                    f"all {count} {needed.value} workers of {self.root.name} would wait"
                    f" for jobs like {entry.job!r}, which no worker is left to run; add"
                    " workers, or let the job submit and return"
                )
                raise WouldDeadlock(msg)
            self._waiting_jobs[needed] += own
        try:
            yield
        finally:
            with self.lock:
                self._waiting_jobs[needed] -= own

    def report(self, group: Group | None = None) -> Report:
        """The sums of a group, or of everything."""
        with self.lock:
            return self._table.report(self.root if group is None else group)

    def depth(self, kind: JobKind) -> int:
        """How many jobs of a kind are due and wait for a worker."""
        return len(self._channels[kind])

    def counts(self) -> dict[str, int]:
        """Jobs delayed and in hand; attempts retried, late and over capacity."""
        with self.lock:
            return {
                "delayed": self._table.delayed,
                "in_flight": len(self._table.in_hand),
                "retried": self._table.retried,
                "late": self._table.late,
                "over_capacity": self._admission.over_capacity,
            }

    # -- telling

    def record(
        self, change: str, entry: Entry, result: JobResult | None = None
    ) -> None:
        """Hear of every change of a job: the one place where a listener is told.

        Called after the change, on the thread that made it, without the lock.
        """
        listeners = self._listeners
        if listeners:
            from actors.events import job_event  # noqa: PLC0415  # only with listeners

            with inside(self, Role.LISTENER):
                listeners.emit(job_event(change, entry, result))


def _note_attempts(result: JobResult) -> None:
    """Tell on the error itself which job raised it, and in which attempts."""
    error = result.error
    assert error is not None  # only called for dead jobs
    job = result.job
    runs = ", ".join(
        f"attempt {a.number} on {a.worker} after {a.ran:.3g} s: {a.error!r:.200}"
        for a in result.attempts
    )
    note = f"headrace: job {job.id} ({job.name}) is dead; {runs}"
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
