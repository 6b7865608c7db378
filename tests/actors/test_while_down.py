"""A child whose senders are told at once when it does not run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors._gated import GatedMailbox, MailboxDown
from actors.base import Actor
from actors.errors import Cancelled, MailboxClosed, MailboxFull
from actors.exits import Exit, Started
from actors.ref_errors import ActorDeadError, ActorDown, SendTimeout
from actors.stop_token import StopToken
from actors.testing import Gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.cell import Cell
    from actors.testing import VirtualClock
    from tests.actors.conftest import FakeSupervisor


class Doer(Actor):
    """Does what it is told to; anything else it notes."""

    capacity = 3

    def __init__(self, log: list[Any] | None = None) -> None:
        super().__init__()
        self.log: list[Any] = [] if log is None else log

    def on_receive(self, message: Any) -> Any:
        if callable(message):
            return message(self)
        self.log.append((self.incarnation, message))
        return message

    def noted(self) -> list[Any]:
        return self.log


def boom(_actor: Any) -> None:
    message = "boom"
    raise ValueError(message)


def start(supervisor: FakeSupervisor, *args: Any, **options: Any) -> Cell:
    options = {"while_down": "fail", "name": "child", **options}
    return supervisor.start(Doer, *args, **options)


def refuses(cell: Cell) -> bool:
    """Whether every way to send is refused; sends to nobody else."""
    before = len(cell.mailbox)
    refusals = 0
    for send in (
        lambda: cell.ref.tell("told"),
        lambda: cell.ref.tell("told", timeout=0),
        lambda: cell.ref.tell("told", timeout=10),
        lambda: cell.ref.ask("asked"),
        lambda: cell.ref.ask("asked", timeout=10),
        lambda: cell.ref.ask("asked", block=False).get(timeout=0),
        lambda: cell.ref.proxy().noted().get(timeout=0),
    ):
        try:
            send()
        except ActorDown:
            refusals += 1
    return refusals == 7 and len(cell.mailbox) == before


# -- when


def test_sends_are_refused_before_the_first_start(supervisor: FakeSupervisor) -> None:
    """R14, while_down="fail": until it has started there is nobody to wait for."""
    cell = supervisor.make(Doer, while_down="fail", name="child")

    assert refuses(cell)
    with pytest.raises(ActorDown, match=r"child does not run now \(not started yet\)"):
        cell.ref.tell("x")

    cell.start()
    supervisor.expect(Started)
    assert cell.ref.ask("x") == "x"


def test_sends_are_refused_from_a_failure_to_the_next_start(
    supervisor: FakeSupervisor,
) -> None:
    """R1, R14: refused while on_failure runs and in the backoff; then the ref works."""
    gate = Gate()

    class Lingers(Doer):
        def on_failure(self, *exc_info: Any) -> None:
            gate.pass_through()

    cell = supervisor.start(Lingers, while_down="fail", name="child")
    ref = cell.ref
    ref.tell(boom)
    gate.wait_arrived()
    assert refuses(cell)
    gate.open()
    supervisor.ended(cell)
    assert refuses(cell)
    assert ref.is_alive()
    with pytest.raises(ActorDown, match=r"\(failed\); nothing was sent: send again"):
        ref.tell("x")

    cell.start()
    supervisor.expect(Started)

    assert ref.ask("x") == "x"
    assert [u.message for u in cell.undelivered] == [boom]


def test_sends_are_refused_while_it_starts_again(supervisor: FakeSupervisor) -> None:
    """R14: a start that takes long, or fails, is not waited for either."""
    gate = Gate()

    class Slow(Doer):
        def on_start(self) -> None:
            if self.incarnation == 2:
                gate.pass_through()
                raise OSError

    cell = supervisor.start(Slow, while_down="fail")
    cell.ref.tell(boom)
    supervisor.ended(cell)

    cell.start()
    gate.wait_arrived()
    assert refuses(cell)
    gate.open()
    assert supervisor.ended(cell).kind == "start_failed"
    assert refuses(cell)

    cell.start()
    supervisor.expect(Started)
    assert cell.ref.ask("x") == "x"


def test_stop_of_one_that_did_not_fail_refuses_at_once(
    supervisor: FakeSupervisor,
) -> None:
    """R39: a sibling that a group restart stops is down from the order on."""
    busy, log = Gate(), []  # type: ignore[var-annotated]
    cell = start(supervisor, log)
    cell.ref.tell(lambda _actor: busy.pass_through())
    cell.ref.tell("queued before")
    busy.wait_arrived()

    cell.stop_now("a sibling failed")

    assert refuses(cell)
    busy.open()
    assert supervisor.ended(cell).kind == "shutdown"
    assert refuses(cell)
    cell.start()
    supervisor.expect(Started)
    cell.ref.ask("after")
    assert log == [(2, "queued before"), (2, "after")]


def test_abandoned_one_is_down_and_its_zombie_cannot_change_that(
    supervisor: FakeSupervisor,
) -> None:
    """R58, R59: neither may a zombie's late start open, nor its end shut, the gate."""
    starts, ends = Gate(), Gate()

    class Hangs(Doer):
        def on_start(self) -> None:
            if self.incarnation == 1:
                starts.pass_through()

        def on_stop(self) -> None:
            if self.incarnation == 2:
                ends.pass_through()

    cell = supervisor.make(Hangs, while_down="fail")
    cell.start()
    starts.wait_arrived()
    assert cell.abandon("did not start in time") is not None
    starts.open()
    supervisor.clock.settle()
    assert refuses(cell)

    cell.start()
    supervisor.expect(Started)
    cell.stop_now("now")
    ends.wait_arrived()
    assert cell.abandon("did not stop in time") is not None
    assert refuses(cell)
    cell.start()
    supervisor.expect(Started)
    ends.open()
    supervisor.clock.settle()

    assert cell.ref.ask("x") == "x"
    assert cell.zombies == ()


def test_thread_that_cannot_start_leaves_it_down(
    supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R34: no thread, no actor: senders are told."""
    cell = supervisor.make(Doer, while_down="fail")

    def no_thread(*_args: Any, **_options: Any) -> Any:
        message = "can't start new thread"
        raise RuntimeError(message)

    with monkeypatch.context() as patch:
        patch.setattr("actors.incarnation.Incarnation.start", no_thread)
        with pytest.raises(RuntimeError):
            cell.start()

    assert refuses(cell)
    cell.stop_now("it never started")
    cell.finalize(Exit("shutdown"))


def test_the_end_is_told_as_death(supervisor: FakeSupervisor) -> None:
    """R8, R68: a cell that has ended is dead, not down."""
    cell = start(supervisor)
    cell.ref.tell("accepted")
    supervisor.stop(cell)

    with pytest.raises(ActorDeadError, match="not found") as caught:
        cell.ref.tell("x")

    assert not isinstance(caught.value, ActorDown)


# -- what is not affected


def test_default_waits(supervisor: FakeSupervisor) -> None:
    """R14: by default nothing is refused, messages wait for the next incarnation."""
    cell = supervisor.start(Doer)
    cell.ref.tell(boom)
    supervisor.ended(cell)
    cell.ref.tell("x")
    asked = cell.ref.ask("y", block=False)

    cell.start()

    assert asked.get() == "y"
    assert cell.gate is None


def test_what_was_queued_stays_queued(supervisor: FakeSupervisor) -> None:
    """R3, R7: FIFO order and queued asks, as without it."""
    log: list[Any] = []
    gate = Gate()
    cell = start(supervisor, log, capacity=10)
    cell.ref.tell(lambda _actor: gate.pass_through())
    cell.ref.tell(boom)
    cell.ref.tell(1)
    asked = cell.ref.ask(2, block=False)
    gate.open()

    supervisor.restart(cell)

    assert asked.get() == 2
    assert log == [(2, 1), (2, 2)]


def test_self_sends_pass_in_every_hook(supervisor: FakeSupervisor) -> None:
    """R10: an actor's messages to itself are kept for its next incarnation too."""
    log: list[Any] = []

    class Talks(Doer):
        def __init__(self, log: list[Any]) -> None:
            super().__init__(log)
            self.say("__init__")

        def say(self, where: str) -> None:
            for number in range(5):  # more than it has room for
                self.actor_ref.tell((where, number))

        def on_start(self) -> None:
            self.say("on_start")

        def on_failure(self, *exc_info: Any) -> None:
            self.say("on_failure")

        def on_stop(self) -> None:
            self.say("on_stop")

    cell = supervisor.start(Talks, log, while_down="fail", capacity=1)
    cell.ref.ask(lambda actor: actor.actor_ref.tell(boom))
    supervisor.restart(cell)
    supervisor.clock.settle()
    told = [where for (number, (where, i)) in log if i == 0]
    supervisor.stop(cell)

    assert told == ["__init__", "on_start", "on_failure", "__init__", "on_start"]
    last = [u.message for u in cell.undelivered if u.message is not boom]
    assert last == [("on_stop", number) for number in range(5)]


def test_stop_request_and_control_pass_while_it_is_down(
    supervisor: FakeSupervisor,
) -> None:
    """R15, R16: the supervisor's control and a request to stop are never refused."""
    seen: list[Any] = []

    class Listens(Doer):
        def on_control(self, message: Any) -> None:
            seen.append(message)

    cell = supervisor.make(Listens, while_down="fail")
    assert cell.ref.tell_control("hello")
    answer = cell.ref.stop(block=False)
    cell.start()
    supervisor.expect(Started)

    exit_ = supervisor.ended(cell)
    cell.finalize(exit_)

    assert exit_.kind == "normal"
    assert answer.get() is True
    assert seen == ["hello"]


# -- senders that wait when it goes down


def blocked(supervisor: FakeSupervisor, send: Callable[[], Any]) -> Any:
    """Send on a thread of its own; what came of it, once the thread has ended."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(send())
        except (ActorDeadError, pykka.Timeout, Cancelled) as error:
            outcome.append(error)

    thread = supervisor.clock.thread(run)
    thread.start()
    supervisor.clock.settle()

    def end() -> Any:
        supervisor.clock.join(thread)
        return outcome[0]

    return end


@pytest.mark.parametrize("how", ["tell", "ask", "timeout", "token"])
def test_blocked_sender_is_freed_when_it_goes_down(
    supervisor: FakeSupervisor, how: str
) -> None:
    """R9, R14: whoever waits for room learns that nobody makes any."""
    gate = Gate()
    cell = start(supervisor, capacity=1)
    ref, token = cell.ref, StopToken()
    ref.tell(lambda _actor: gate.pass_through())
    gate.wait_arrived()
    ref.tell(boom)
    sends: dict[str, Callable[[], Any]] = {
        "tell": lambda: ref.tell("x"),
        "ask": lambda: ref.ask("x"),
        "timeout": lambda: ref.tell("x", timeout=60),
        "token": lambda: ref.tell("x", token=token),
    }
    end = blocked(supervisor, sends[how])

    cell.stop_now("it is down now")
    outcome = end()
    gate.open()

    assert type(outcome) is ActorDown
    assert supervisor.ended(cell).kind == "shutdown"
    assert len(cell.mailbox) == 1


def test_blocked_sender_still_times_out_while_it_runs(
    supervisor: FakeSupervisor,
) -> None:
    """R9: a full mailbox of a live actor is waited for, as ever."""
    gate = Gate()
    cell = start(supervisor, capacity=1)
    cell.ref.tell(lambda _actor: gate.pass_through())
    gate.wait_arrived()
    cell.ref.tell("fills it")
    end = blocked(supervisor, lambda: cell.ref.tell("x", timeout=3))

    supervisor.clock.advance(3)

    assert type(end()) is SendTimeout
    gate.open()


@pytest.mark.concurrent
def test_every_message_is_handled_refused_or_undelivered_once(
    supervisor: FakeSupervisor,
) -> None:
    """R6, R7, R8: senders against failures, stops and restarts."""
    clock = supervisor.clock
    handled: list[int] = []

    class Chaotic(Actor):
        capacity = 2

        def on_receive(self, message: int) -> int:
            if message % 7 == 0:
                raise ValueError
            handled.append(message)
            return message

    cell = supervisor.start(Chaotic, while_down="fail")
    refused: list[int] = []
    replies: list[tuple[int, Any]] = []
    over = clock.event()

    def send(first: int) -> None:
        for number in range(first, 150, 3):
            try:
                if number % 2:
                    cell.ref.tell(number)
                else:
                    replies.append((number, cell.ref.ask(number, block=False)))
            except ActorDown:
                refused.append(number)

    def supervise() -> None:
        stops = 0
        while True:
            notice = supervisor.next_notice()
            if isinstance(notice, Started) and stops < 5:
                stops += 1
                cell.stop_now("as a sibling of one that failed")
            if hasattr(notice, "exit"):
                if over.is_set():
                    cell.finalize(notice.exit)
                    return
                cell.start()

    senders = [clock.thread(send, args=(first,)) for first in range(3)]
    watcher = clock.thread(supervise)
    for thread in (*senders, watcher):
        thread.start()
    for sender in senders:
        clock.join(sender)
    over.set()
    cell.ref.stop(block=False)
    clock.join(watcher)

    failed = []
    for number, reply in replies:
        try:
            reply.get(timeout=0)
        except (ActorDeadError, ValueError):
            failed.append(number)
    undelivered = [u.message for u in cell.undelivered]
    assert sorted(handled + refused + failed + undelivered) == list(range(150))


# -- the mailbox alone


def test_gate_of_a_closed_mailbox_stays_closed(clock: VirtualClock) -> None:
    """R8: neither way out of the end."""
    mailbox = GatedMailbox(2, clock=clock)
    lease = mailbox.new_lease()
    mailbox.close()

    mailbox.admit(lease)
    mailbox.turn_away(lease)

    for wait, force in ((False, False), (True, False), (True, True)):
        with pytest.raises(MailboxClosed):
            mailbox.put("x", wait=wait, force=force)


@pytest.mark.parametrize("capacity", [2, None])
def test_gate_opens_to_the_whole_capacity(
    clock: VirtualClock, capacity: int | None
) -> None:
    """R9: no more and no less than without a gate."""
    mailbox = GatedMailbox(capacity, clock=clock)
    with pytest.raises(MailboxDown, match="while its actor does not run"):
        mailbox.put("x")
    mailbox.put("forced", force=True)
    mailbox.admit(mailbox.new_lease())

    mailbox.put("y")

    assert mailbox.get() == "forced"
    assert mailbox.capacity == capacity
    mailbox.put("z")
    if capacity is None:
        mailbox.put("and more")
        return
    with pytest.raises(MailboxFull):
        mailbox.put("too much", wait=False)


def test_refused_message_of_an_inbox_is_told_so(supervisor: FakeSupervisor) -> None:
    """R14: code that puts envelopes by hand is refused too."""
    cell = supervisor.make(Doer, while_down="fail")

    class Envelope:
        message, reply_to = "x", None

    with pytest.raises(MailboxDown):
        cell.ref.actor_inbox.put(Envelope())
    cell.finalize(Exit("shutdown"))
