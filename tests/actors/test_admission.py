"""The door of a ledger: who is let in, who waits, who is refused, and when.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from actors._group import Group
from actors._inside import Role, inside
from actors._ledger import Entry, Table
from actors.admission import Admission, Intake
from actors.errors import Cancelled, MailboxClosed, MailboxFull
from actors.jobs import JobKind, JobStatus
from actors.stop_token import StopToken
from tests.actors.ledger_kit import Call, FakeWake, make_entry

if TYPE_CHECKING:
    from actors.testing import VirtualClock

OWNER = object()


class Door:
    """An admission with what a ledger has around it."""

    def __init__(
        self,
        clock: VirtualClock,
        *,
        capacity: int | None = 2,
        max_delayed: int = 10,
        nested_capacity: int = 10,
    ) -> None:
        self.clock = clock
        self.lock = clock.lock()
        self.table = Table()
        self.group = Group("all")
        self.numbers = iter(range(1, 10_000))
        self.admission = Admission(
            self.table,
            self.lock,
            OWNER,
            capacity=capacity,
            max_delayed=max_delayed,
            nested_capacity=nested_capacity,
            clock=clock,
            name="shop",
        )

    def entry(self, **options: Any) -> Entry:
        return make_entry(next(self.numbers), self.group, **options)

    def submit(
        self,
        *,
        wait: bool | float = False,
        token: StopToken | None = None,
        **options: Any,
    ) -> Entry:
        entry = self.entry(**options)
        self.admission.submit(entry, wait=wait, token=token)
        return entry

    def later(
        self,
        *,
        wait: bool | float = True,
        token: StopToken | None = None,
        role: Role | None = None,
        **options: Any,
    ) -> Call:
        """Submit on a thread of its own, in a role if one is given."""
        entry = self.entry(**options)

        def submit() -> Entry:
            if role is None:
                self.admission.submit(entry, wait=wait, token=token)
            else:
                with inside(OWNER, role):
                    self.admission.submit(entry, wait=wait, token=token)
            return entry

        return Call(self.clock, submit)

    def take(self, kind: JobKind = JobKind.IO) -> Entry:
        """Take the next job as a worker does, and let the next sender in."""
        with self.lock:
            popped = self.admission.channels[kind].pop(FakeWake())
            assert popped is not None
            entry, ticket = popped
            wakes = self.admission.let_in_locked(ticket)
        for wake in wakes:
            wake.put(None)
        assert isinstance(entry, Entry)
        return entry

    def release_due(self) -> list[Entry]:
        """Take the due jobs out of the heap, as the dispatcher does."""
        with self.lock:
            due = self.table.pop_due(self.clock.monotonic())
            wakes = self.admission.open_gate_locked()
        for wake in wakes:
            wake.put(None)
        return due

    def cancel(self, entry: Entry) -> None:
        """Cancel a delayed job, as a ledger does."""
        with self.lock:
            error = Cancelled("asked")
            now = self.clock.monotonic()
            self.table.withdraw(entry, JobStatus.CANCELLED, error, now)
            wakes = self.admission.open_gate_locked()
        for wake in wakes:
            wake.put(None)

    def depth(self, kind: JobKind = JobKind.IO) -> int:
        return len(self.admission.channels[kind])

    @property
    def accepted(self) -> int:
        return len(self.table.entries)


@pytest.fixture
def door(clock: VirtualClock) -> Door:
    return Door(clock)


# -- the bound


def test_as_many_enter_as_there_are_places(door: Door) -> None:
    door.submit()
    door.submit()

    with pytest.raises(MailboxFull, match="2 io jobs wait for a worker"):
        door.submit()

    assert door.depth() == door.accepted == 2


def test_each_kind_has_places_of_its_own(door: Door) -> None:
    for _ in range(2):
        door.submit(kind="cpu")

    door.submit()

    with pytest.raises(MailboxFull, match="2 cpu jobs wait for a worker"):
        door.submit(kind="cpu")


def test_without_a_bound_nobody_waits(clock: VirtualClock) -> None:
    door = Door(clock, capacity=None)

    for _ in range(100):
        door.submit()

    assert door.depth() == 100
    assert door.admission.over_capacity == 0


def test_a_refused_job_is_not_accepted(door: Door) -> None:
    door.submit()
    door.submit()

    with pytest.raises(MailboxFull):
        door.submit()

    assert door.group.accepted == 2


def test_a_waiting_submitter_is_not_accepted_yet(door: Door) -> None:
    door.submit()
    door.submit()

    call = door.later()

    assert call.waits()
    assert door.group.accepted == 2
    door.take()
    door.clock.settle()
    assert not call.waits()
    assert door.group.accepted == 3


def test_a_freed_place_is_handed_to_the_longest_waiting(door: Door) -> None:
    entries = [door.submit(), door.submit()]
    calls = [door.later() for _ in range(3)]

    taken = [door.take() for _ in range(5)]
    door.clock.settle()

    assert taken == entries + [call.value for call in calls]
    assert not any(call.waits() for call in calls)


def test_a_newcomer_does_not_pass_those_who_wait(door: Door) -> None:
    door.submit()
    door.submit()
    waiting = door.later()

    door.take()  # the place is the waiting one's at once, though it has not woken

    with pytest.raises(MailboxFull):
        door.submit()
    door.clock.settle()
    assert not waiting.waits()


def test_a_jobs_wait_counts_from_its_acceptance(door: Door) -> None:
    door.submit()
    door.submit()
    call = door.later()
    door.clock.advance(5)

    door.take()
    door.clock.settle()

    assert call.value.accepted_at == 5.0


# -- patience


@pytest.mark.parametrize("wait", [0.25, 3, 60.5])
def test_a_submit_times_out_at_exactly_its_time(door: Door, wait: float) -> None:
    door.submit()
    door.submit()
    door.clock.advance(1)
    call = door.later(wait=wait)

    door.clock.advance(1000)

    assert isinstance(call.error, MailboxFull)
    assert call.ended_at == 1 + wait
    assert "2 io jobs wait for a worker; wait longer" in str(call.error)
    assert door.accepted == 2


def test_a_timed_out_submitter_leaves_the_line(door: Door) -> None:
    door.submit()
    door.submit()
    impatient = door.later(wait=1.0)
    patient = door.later()
    door.clock.advance(1)

    door.take()
    door.clock.settle()

    assert isinstance(impatient.error, MailboxFull)
    assert not patient.waits()
    assert door.depth() == 2


def test_a_place_just_in_time_is_taken(door: Door) -> None:
    door.submit()
    door.submit()
    call = door.later(wait=1.0)
    door.clock.advance(0.999)

    door.take()
    door.clock.advance(1)

    assert call.error is None
    assert call.ended_at == 0.999


def test_a_cancelled_token_ends_the_wait(door: Door) -> None:
    door.submit()
    door.submit()
    token = StopToken(name="producer")
    call = door.later(token=token)

    token.cancel("stop")
    door.clock.settle()

    assert isinstance(call.error, Cancelled)
    assert door.accepted == 2


def test_a_draining_token_does_not_end_the_wait(door: Door) -> None:
    door.submit()
    door.submit()
    token = StopToken(name="producer")
    call = door.later(token=token)

    token.drain("soon")
    door.clock.settle()

    assert call.waits()
    door.take()
    door.clock.settle()
    assert call.error is None


# -- delayed jobs


def test_a_delayed_job_needs_no_place(door: Door) -> None:
    door.submit()
    door.submit()

    entry = door.submit(delay=5.0)

    assert door.depth() == 2
    assert door.table.delayed == 1
    assert entry.due_at == 5.0


@pytest.mark.parametrize("delay", [None, 5.0])
def test_intake_is_shut_while_too_many_jobs_are_delayed(
    clock: VirtualClock, delay: float | None
) -> None:
    door = Door(clock, max_delayed=2)
    door.submit(delay=9.0)
    door.submit(delay=9.0)

    with pytest.raises(MailboxFull, match="2 jobs wait for a delay or a retry"):
        door.submit(delay=delay)

    assert door.accepted == 2


def test_the_gate_times_out_at_exactly_its_time(clock: VirtualClock) -> None:
    door = Door(clock, max_delayed=1)
    door.submit(delay=9.0)
    call = door.later(wait=2.5)

    clock.advance(5)

    assert isinstance(call.error, MailboxFull)
    assert call.ended_at == 2.5
    assert door.admission._gate == []


def test_a_job_that_comes_due_opens_the_gate(clock: VirtualClock) -> None:
    door = Door(clock, max_delayed=1)
    door.submit(delay=3.0)
    call = door.later()
    clock.advance(3)
    assert call.waits()

    door.release_due()
    clock.settle()

    assert call.ended_at == 3.0
    assert call.error is None


def test_one_opening_lets_all_immediate_jobs_in(clock: VirtualClock) -> None:
    door = Door(clock, max_delayed=1, capacity=10)
    door.submit(delay=3.0)
    calls = [door.later() for _ in range(4)]
    clock.advance(3)

    door.release_due()  # one place in the heap, and four that do not need it
    clock.settle()

    assert not any(call.waits() for call in calls)
    assert door.depth() == 4


def test_one_place_in_the_heap_lets_one_delayed_job_in(clock: VirtualClock) -> None:
    door = Door(clock, max_delayed=2)
    first = door.submit(delay=9.0)
    door.submit(delay=9.0)
    calls = [door.later(delay=9.0) for _ in range(4)]

    door.cancel(first)
    clock.settle()

    assert sum(not call.waits() for call in calls) == 1
    assert door.table.delayed == 2
    door.admission.close("over", inside_too=True)


def test_a_gate_waiter_that_gave_up_passes_its_wake_on(clock: VirtualClock) -> None:
    door = Door(clock, max_delayed=1, capacity=10)
    door.submit(delay=3.0)
    token = StopToken(name="producer")
    first = door.later(token=token)
    second = door.later()
    clock.advance(3)

    with door.lock:
        door.table.pop_due(3.0)
        wakes = door.admission.open_gate_locked()
    token.cancel("stop")  # the first one was chosen, and will not go in
    for wake in wakes:
        wake.put(None)
    clock.settle()

    assert isinstance(first.error, Cancelled)
    assert second.error is None
    assert not second.waits()


def test_a_cancelled_token_ends_the_wait_at_the_gate(clock: VirtualClock) -> None:
    door = Door(clock, max_delayed=1)
    door.submit(delay=9.0)
    token = StopToken(name="producer")
    call = door.later(token=token)

    token.cancel("stop")
    clock.settle()

    assert isinstance(call.error, Cancelled)
    assert str(call.error) == "stop"
    assert door.admission._gate == []


def test_from_the_gate_one_goes_on_to_the_line(clock: VirtualClock) -> None:
    door = Door(clock, capacity=1, max_delayed=1)
    door.submit()
    door.submit(delay=3.0)
    call = door.later(wait=10.0)
    clock.advance(3)

    door.release_due()
    clock.settle()
    assert call.waits()  # past the gate, but there is no place
    clock.advance(20)

    assert isinstance(call.error, MailboxFull)
    assert call.ended_at == 10.0  # its patience is one and the same


# -- from inside


@pytest.mark.parametrize("role", [Role.JOB, Role.SINK, Role.CALLBACK, Role.LISTENER])
def test_from_inside_one_goes_past_the_bound(door: Door, role: Role) -> None:
    door.submit()
    door.submit()

    with inside(OWNER, role):
        entry = door.submit(wait=True)

    assert entry.privileged
    assert door.depth() == 3
    assert door.admission.over_capacity == 1


def test_within_the_bound_nothing_is_over_capacity(door: Door) -> None:
    with inside(OWNER, Role.JOB):
        door.submit()
        door.submit()

    assert door.admission.over_capacity == 0


def test_from_inside_the_gate_does_not_count(clock: VirtualClock) -> None:
    door = Door(clock, max_delayed=1)
    door.submit(delay=9.0)

    with inside(OWNER, Role.JOB):
        door.submit(wait=True)
        door.submit(wait=True, delay=9.0)

    assert door.accepted == 3


def test_nested_jobs_have_a_bound_that_refuses(clock: VirtualClock) -> None:
    door = Door(clock, capacity=1, nested_capacity=3)

    with inside(OWNER, Role.JOB):
        for _ in range(3):
            door.submit(wait=True)
        with pytest.raises(MailboxFull, match="raise nested_capacity"):
            door.submit(wait=True)
        door.submit(kind="cpu", wait=True)  # a bound for each kind

    assert door.depth() == 3


def test_forced_jobs_hold_back_those_outside(door: Door) -> None:
    with inside(OWNER, Role.JOB):
        for _ in range(4):
            door.submit()
    call = door.later()

    door.take()
    door.take()
    door.clock.settle()
    assert call.waits()  # two are still there, as many as may wait
    door.take()
    door.clock.settle()

    assert not call.waits()
    assert door.depth() == 2


def test_a_producer_waits_for_room_like_a_host(door: Door) -> None:
    door.submit()
    door.submit()

    call = door.later(role=Role.PRODUCER)

    assert call.waits()
    door.take()
    door.clock.settle()
    assert call.value.privileged


# -- the close


def test_a_new_door_is_open_to_everybody(door: Door) -> None:
    assert door.admission.state is Intake.OPEN


def test_a_closed_intake_refuses_those_outside(door: Door) -> None:
    door.admission.close("it drains")

    with pytest.raises(MailboxClosed, match="shop takes no new jobs: it drains"):
        door.submit()

    assert door.admission.state is Intake.INSIDE


@pytest.mark.parametrize("role", list(Role))
def test_a_draining_intake_lets_the_inside_in(door: Door, role: Role) -> None:
    door.admission.close("it drains")

    with inside(OWNER, role):
        door.submit()

    assert door.accepted == 1


def test_a_draining_intake_lets_privileged_jobs_in(door: Door) -> None:
    door.admission.close("it drains")

    door.submit(privileged=True)

    assert door.accepted == 1


def test_inside_another_pipeline_is_outside_here(door: Door) -> None:
    door.admission.close("it drains")

    with inside(object(), Role.JOB), pytest.raises(MailboxClosed):
        door.submit()


@pytest.mark.parametrize("role", list(Role))
def test_after_the_last_close_nobody_gets_in(door: Door, role: Role) -> None:
    door.admission.close("stop", inside_too=True)

    with inside(OWNER, role), pytest.raises(MailboxClosed):
        door.submit(privileged=True)


def test_an_intake_never_opens_again(door: Door) -> None:
    door.admission.close("first", inside_too=True)

    door.admission.close("second")

    assert door.admission.state is Intake.CLOSED
    with pytest.raises(MailboxClosed, match="first"):
        door.submit()


def test_a_close_wakes_whom_it_refuses_at_once(door: Door) -> None:
    door.submit()
    door.submit()
    outside = [door.later() for _ in range(2)]
    privileged = door.later(privileged=True)
    door.clock.advance(1)

    door.admission.close("it drains")
    door.clock.settle()

    for call in outside:
        assert isinstance(call.error, MailboxClosed)
        assert str(call.error) == "shop takes no new jobs: it drains"
        assert call.ended_at == 1.0
    assert privileged.waits()
    door.admission.close("stop", inside_too=True)


def test_a_close_lets_privileged_submitters_in_later(door: Door) -> None:
    door.submit()
    door.submit()
    outside = door.later()
    privileged = door.later(role=Role.PRODUCER)
    door.admission.close("it drains")

    door.take()
    door.clock.settle()

    assert isinstance(outside.error, MailboxClosed)
    assert privileged.error is None
    assert not privileged.waits()


def test_the_last_close_wakes_privileged_submitters_too(door: Door) -> None:
    door.submit()
    door.submit()
    calls = [door.later(role=Role.PRODUCER), door.later(privileged=True)]

    door.admission.close("stop", inside_too=True)
    door.clock.settle()

    assert all(isinstance(call.error, MailboxClosed) for call in calls)
    assert door.accepted == 2


def test_a_close_sorts_those_at_the_gate(clock: VirtualClock) -> None:
    door = Door(clock, max_delayed=1)
    door.submit(delay=9.0)
    outside, privileged = door.later(), door.later(privileged=True)

    door.admission.close("it drains")
    clock.settle()

    assert isinstance(outside.error, MailboxClosed)
    assert privileged.waits()
    clock.advance(9)
    door.release_due()
    clock.settle()
    assert privileged.error is None
    assert not privileged.waits()


def test_an_entered_submitter_is_not_refused_by_a_close(door: Door) -> None:
    door.submit()
    door.submit()
    call = door.later()
    with door.lock:
        popped = door.admission.channels[JobKind.IO].pop(FakeWake())
        assert popped is not None
        wakes = door.admission.let_in_locked(popped[1])

    door.admission.close("it drains")  # before the submitter has woken
    for wake in wakes:
        wake.put(None)
    door.clock.settle()

    assert call.error is None
    assert door.group.accepted == 3


def test_waiting_leaves_no_trace_behind(door: Door) -> None:
    door.submit()
    door.submit()
    door.later()
    door.later(wait=1.0)
    token = StopToken()
    door.later(token=token)

    token.cancel()
    door.clock.advance(2)
    door.take()
    door.clock.settle()

    assert door.admission._tickets == {}
    assert door.admission._gate == []
    assert door.admission.channels[JobKind.IO].waiting_senders == 0


# -- threads against each other


@pytest.mark.concurrent
def test_the_bound_holds_and_nothing_is_lost(clock: VirtualClock) -> None:
    door = Door(clock, capacity=3)
    taken: list[Entry] = []
    deepest = 0

    def submit_some() -> None:
        for _ in range(10):
            door.submit(wait=True)

    def take_all() -> None:
        nonlocal deepest
        wake = clock.queue()
        while len(taken) < 40:
            with door.lock:
                channel = door.admission.channels[JobKind.IO]
                deepest = max(deepest, len(channel))
                popped = channel.pop(wake)
                wakes = (
                    [] if popped is None else door.admission.let_in_locked(popped[1])
                )
            for other in wakes:
                other.put(None)
            if popped is None:
                wake.get()
            else:
                taken.append(popped[0])

    threads = [clock.thread(submit_some) for _ in range(4)]
    threads.append(clock.thread(take_all))
    for thread in threads:
        thread.start()
    for thread in threads:
        clock.join(thread)

    assert len(taken) == len(set(taken)) == door.group.accepted == 40
    assert deepest == 3
    assert door.admission._tickets == {}


@pytest.mark.concurrent
def test_a_close_against_submitters_loses_nobody(clock: VirtualClock) -> None:
    door = Door(clock, capacity=2)
    outcomes: Counter[str] = Counter()

    def submit(privileged: bool) -> None:
        try:
            door.submit(wait=True, privileged=privileged)
        except MailboxClosed:
            outcomes["refused"] += 1
        else:
            outcomes["privileged" if privileged else "outside"] += 1

    threads = [clock.thread(submit, args=(n % 2 == 0,)) for n in range(8)]
    for thread in threads:
        thread.start()
    door.admission.close("it drains")
    clock.settle()
    while door.depth():
        door.take()
        clock.settle()
    for thread in threads:
        clock.join(thread)

    assert outcomes["privileged"] == 4
    assert outcomes.total() == 8
    assert door.group.accepted == outcomes["privileged"] + outcomes["outside"]


@pytest.mark.concurrent
def test_the_gate_loses_no_submitter(clock: VirtualClock) -> None:
    door = Door(clock, capacity=100, max_delayed=2)
    entered: list[float] = []

    def submit(delay: float | None) -> None:
        door.submit(wait=True, delay=delay)
        entered.append(clock.monotonic())

    door.submit(delay=1.0)
    door.submit(delay=1.0)
    threads = [clock.thread(submit, args=(1.0 if n % 2 else None,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        clock.advance(1)
        assert door.table.delayed <= 2
        door.release_due()
    for thread in threads:
        clock.join(thread)

    assert len(entered) == 12
    assert door.admission._gate == []


def test_a_close_wakes_the_waiting_submitters_as_they_came(clock: VirtualClock) -> None:
    door, refused = Door(clock, capacity=1), []
    door.submit()

    def submit(number: int) -> None:
        try:
            door.submit(wait=True)
        except MailboxClosed:
            refused.append(number)

    threads = []
    for number in range(30):
        threads.append(clock.thread(submit, args=(number,)))
        threads[-1].start()
        clock.settle()
    woken: list[Any] = []
    for ticket in door.admission._tickets:
        ticket.wake = _Noting(ticket.wake, woken)
    order = [ticket.wake for ticket in door.admission._tickets]

    door.admission.close("enough", inside_too=True)
    for thread in threads:
        clock.join(thread)

    assert woken == order
    assert sorted(refused) == list(range(30))


class _Noting:
    """A wake queue that notes each put."""

    def __init__(self, queue: Any, noted: list[Any]) -> None:
        self._queue = queue
        self._noted = noted

    def put(self, item: Any) -> None:
        self._noted.append(self)
        self._queue.put(item)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)
