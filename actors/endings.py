"""Every way in which a job ends: settled, cancelled, handed back, lost with its worker.

Each way is one locked step that decides, then what follows from it without the lock:
whoever is to be woken, the future, the listeners.

:Runs on: ``settle`` on a worker's thread; everything else on any thread.
:Owns: whether the pipeline is in the cancel phase of its stop.
:Guards: the ledger's ``lock`` guards everything; no user code, no wake-up inside.
:Blocks: ``settle``, until the collector has room or the worker is to stop.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

from actors._ledger import returned_error
from actors.clock import in_turn
from actors.deliveries import Delivery
from actors.errors import Cancelled, WorkerDied
from actors.jobs import JobStatus
from actors.results import Attempt

if TYPE_CHECKING:
    from actors._group import Group
    from actors._ledger import Entry, Table, Verdict
    from actors.admission import Admission
    from actors.channel import Ticket
    from actors.clock import Clock, Lock, WakeQueue
    from actors.deliveries import Deliveries
    from actors.jobs import Job
    from actors.results import JobResult
    from actors.stop_token import StopToken

__all__ = ["Endings", "Taken"]


class Taken:
    """A job in a worker's hand, with the lease to settle it with."""

    __slots__ = ("entry", "lease")

    def __init__(self, entry: Entry, lease: int) -> None:
        self.entry = entry
        self.lease = lease

    def __repr__(self) -> str:
        return f"<Taken {self.entry.job!r}>"

    @property
    def job(self) -> Job:
        """What is in the hand."""
        return self.entry.job


class _Teller(Protocol):
    """Who hears of an ending, without the lock: the ledger."""

    def record(
        self,
        change: str,
        entry: Entry,
        result: JobResult | None = None,
        *,
        retry: tuple[Attempt, float] | None = None,
    ) -> None: ...

    def due_at(self, moment: float) -> None: ...


class Endings:
    """How the jobs of one ledger end.

    Args:
        table: Where every job stands.
        lock: The ledger's.
        admission: Whose channels the jobs wait in.
        deliveries: Where the results go.
        clock: Stamps the ends.
        teller: Hears of each end.
    """

    def __init__(
        self,
        table: Table,
        lock: Lock,
        admission: Admission,
        deliveries: Deliveries,
        *,
        clock: Clock,
        teller: _Teller,
    ) -> None:
        self._table = table
        self._lock = lock
        self._admission = admission
        self._channels = admission.channels
        self._deliveries = deliveries
        self._clock = clock
        self._teller = teller
        self._stopping = False
        self._living: dict[str, int] = {}  # each worker's incarnation that takes jobs

    # -- an attempt has ended

    def settle(
        self, taken: Taken, attempt: Attempt, value: Any, token: StopToken
    ) -> Verdict | None:
        """Serve :meth:`Ledger.settle <actors.Ledger.settle>`."""
        entry = taken.entry
        with in_turn(self._lock):
            if token.cancelled and self._is_cut_short(entry, attempt):
                attempt = _death(entry, token.reason, attempt)
            verdict = self._table.settle(
                entry,
                taken.lease,
                attempt,
                value,
                rng=self._clock.rng,
                stopping=self._stopping,
            )
            ticket, wake = self._deliver(entry, verdict, wait=True)
        if wake is not None:
            wake.put(None)
        self._after_settle(entry, verdict, attempt)
        if ticket is not None:
            self._deliveries.wait_for_room(ticket, token)
        return verdict

    def _is_cut_short(self, entry: Entry, attempt: Attempt) -> bool:
        """True if the attempt obeyed an order that was its worker's alone.

        Nobody cancelled the job and the pipeline goes on: its supervisor restarts, say.
        """
        obeyed = isinstance(attempt.error, Cancelled) and entry.cancel_reason is None
        return obeyed and not self._stopping

    def _deliver(
        self, entry: Entry, verdict: Verdict | None, *, wait: bool
    ) -> tuple[Ticket | None, WakeQueue | None]:
        """Send a final result on its way; the lock is held."""
        if verdict is None or verdict.result is None or not entry.counted:
            return None, None
        delivery = entry.delivery = Delivery(verdict.result, entry.group)
        return self._deliveries.enter_locked(delivery, wait=wait)

    def _after_settle(
        self, entry: Entry, verdict: Verdict | None, attempt: Attempt | None = None
    ) -> None:
        if verdict is None:
            self._teller.record("late", entry)
            return
        result = verdict.result
        if result is None:
            assert attempt is not None  # only a failed attempt is followed by another
            assert verdict.due_at is not None
            self._teller.due_at(verdict.due_at)
            self._teller.record("retried", entry, retry=(attempt, verdict.due_at))
            return
        if result.status is JobStatus.DEAD and entry.counted:
            with contextlib.suppress(Exception):  # an error's own repr may raise
                _note_attempts(result)
        delivery, entry.delivery = entry.delivery, None
        try:
            self._announce(entry, result)
        finally:
            if delivery is not None:
                self._deliveries.announced(delivery)

    def _announce(self, entry: Entry, result: JobResult) -> None:
        future, entry.future = entry.future, None
        if future is not None:
            future.complete(result)
        self._teller.record("settled", entry, result)

    def worker_began(self, worker: str, incarnation: int) -> bool:
        """Serve :meth:`Ledger.worker_began <actors.Ledger.worker_began>`."""
        with in_turn(self._lock):
            if incarnation < self._living.get(worker, 0):
                return False
            self._living[worker] = incarnation
        self.worker_died(worker, incarnation, "it was restarted")
        return True

    def worker_died(self, worker: str, incarnation: int, reason: str) -> None:
        """Serve :meth:`Ledger.worker_died <actors.Ledger.worker_died>`."""
        verdict = attempt = None
        with in_turn(self._lock):
            entry = self._table.in_hand.get(worker)
            if entry is None or incarnation < self._living.get(worker, 0):
                return
            wakes: list[WakeQueue] = []
            if entry.begun_at is None:
                verdict, wakes = self._put_back(entry)
            else:
                number, now = len(entry.attempts) + 1, self._clock.monotonic()
                attempt = Attempt(number, worker, entry.begun_at, now, None)
                attempt = _death(entry, reason, attempt)
                verdict = self._table.settle(
                    entry,
                    entry.lease,
                    attempt,
                    None,
                    rng=self._clock.rng,
                    stopping=self._stopping,
                )
                _, wake = self._deliver(entry, verdict, wait=False)
                wakes = [] if wake is None else [wake]
        for wake in wakes:
            wake.put(None)
        if verdict is not None:
            self._after_settle(entry, verdict, attempt)

    def give_back(self, taken: Taken) -> None:
        """Serve :meth:`Ledger.give_back <actors.Ledger.give_back>`."""
        entry = taken.entry
        with in_turn(self._lock):
            if entry.lease != taken.lease:
                return
            verdict, wakes = self._put_back(entry)
        for wake in wakes:
            wake.put(None)
        if verdict is not None:
            self._after_settle(entry, verdict)

    def _put_back(self, entry: Entry) -> tuple[Verdict | None, list[WakeQueue]]:
        """Put a job that did not run to the head of its channel; the lock is held.

        In the cancel phase nobody would take it there: it is handed back.
        """
        self._table.put_back(entry)
        if self._stopping and entry.counted:
            return self._end(entry, JobStatus.RETURNED, returned_error(entry.job))
        reader = self._channels[entry.job.kind].offer_first(entry)
        return None, [] if reader is None else [reader]

    # -- giving up

    def cancel(self, entry: Entry, reason: str, *, only_waiting: bool = False) -> bool:
        """Serve :meth:`JobFuture.cancel <actors.JobFuture.cancel>`; never blocks."""
        verdict = None
        wakes: list[WakeQueue] = []
        with in_turn(self._lock):
            if entry.status is JobStatus.RUNNING:
                if only_waiting and entry.begun_at is not None:
                    return False
                entry.cancel_reason = entry.cancel_reason or reason
                ended = entry.kill is not None or entry.begun_at is None
            elif entry.status in (JobStatus.WAITING, JobStatus.DELAYED):
                ended = True
            else:
                return entry.status is JobStatus.CANCELLED
            kill, token = entry.kill, entry.token
            if ended:
                error = Cancelled(reason)
                verdict, wakes = self._end(entry, JobStatus.CANCELLED, error)
        for wake in wakes:
            wake.put(None)
        if token is not None:
            token.cancel(reason)
        if kill is not None:
            kill(reason)
        if verdict is not None:
            self._after_settle(entry, verdict)
        return ended

    def _end(
        self, entry: Entry, status: JobStatus, error: BaseException
    ) -> tuple[Verdict, list[WakeQueue]]:
        """End a job from outside its attempt; the lock is held."""
        wakes: list[WakeQueue] = []
        if entry.status is JobStatus.WAITING:
            _, ticket = self._channels[entry.job.kind].discard(entry)
            wakes += self._admission.let_in_locked(ticket)
        verdict = self._table.withdraw(entry, status, error, self._clock.monotonic())
        wakes += self._admission.open_gate_locked()
        _, collector = self._deliver(entry, verdict, wait=False)
        return verdict, wakes if collector is None else [*wakes, collector]

    def cancel_group(self, group: Group, reason: str) -> int:
        """Cancel every job of a group; how many will not complete."""
        return sum(self.cancel(entry, reason) for entry in self._unsettled(group))

    def cancel_waiting(self, root: Group, reason: str) -> int:
        """Cancel every job that has not begun; how many."""
        return sum(
            self.cancel(entry, reason, only_waiting=True)
            for entry in self._unsettled(root)
        )

    def _unsettled(self, group: Group) -> list[Entry]:
        with in_turn(self._lock):
            return self._table.unsettled(group)

    def _waiting(self, root: Group) -> list[Entry]:
        entries = self._unsettled(root)
        return [e for e in entries if e.status is not JobStatus.RUNNING]

    # -- handing back

    def begin_stopping(self, root: Group) -> None:
        """Enter the cancel phase: what waits is handed back; nobody is let in."""
        self._stopping = True
        for entry in self._waiting(root):
            self._hand_back(entry, only_waiting=True)

    def return_all(self, root: Group) -> None:
        """Hand back every job that is not settled, those in hand too."""
        self.begin_stopping(root)
        for entry in self._unsettled(root):
            self._hand_back(entry, only_waiting=False)

    def _hand_back(self, entry: Entry, *, only_waiting: bool) -> None:
        with in_turn(self._lock):
            if entry.job.id not in self._table.entries or (
                only_waiting and entry.status is JobStatus.RUNNING
            ):
                return
            kill = entry.kill
            error = returned_error(entry.job)
            verdict, wakes = self._end(entry, JobStatus.RETURNED, error)
        for wake in wakes:
            wake.put(None)
        if kill is not None:
            kill("the pipeline stopped")
        self._after_settle(entry, verdict)


def _death(entry: Entry, reason: str, attempt: Attempt) -> Attempt:
    """The attempt, ended by its worker's death."""
    worker = attempt.worker
    error = WorkerDied(f"{worker} died while it ran {entry.job!r}: {reason}")
    return attempt._replace(error=error)


def _note_attempts(result: JobResult) -> None:
    """Tell on the error itself which job raised it, and in which attempts."""
    error = result.error
    assert error is not None  # a dead job has one
    job = result.job
    runs = ", ".join(
        f"attempt {a.number} on {a.worker} after {a.ran:.3g} s: {a.error!r:.200}"
        for a in result.attempts
    )
    note = f"headrace: job {job.id} ({job.name}) is dead; {runs}"
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
