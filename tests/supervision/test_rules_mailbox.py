"""What the mailbox of a child promises, whatever happens to its child.

Rules R1 to R14, and the control lane's: R15 to R21.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors import ActorDeadError, ActorDown, ActorRestarted, Crash, SendTimeout
from actors.testing import Gate
from supervision import Backoff, SupervisorGaveUp
from tests.supervision.kids import Kid, Nursery, boom, states

if TYPE_CHECKING:
    from actors.testing import VirtualClock

pytestmark = pytest.mark.concurrent

SLOW = Backoff(initial=10, maximum=10, jitter=0, first_immediate=False)


def crash(kid: Any) -> None:
    """Asked, it answers and then crashes its kid."""
    raise Crash(ValueError("crash"))


def told(nursery: Nursery) -> list[Any]:
    """What the kids handled."""
    return [line.partition(" got ")[2] for line in nursery.log if " got " in line]


# -- identity


def test_every_hook_of_every_incarnation_finds_the_ref_alive_and_registered(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R1: through start, failure, backoff and restart; dead only after the end."""
    seen: list[tuple[str, bool, int]] = []

    def look(where: str, ref: Any) -> None:
        entries = [r for r in pykka.ActorRegistry.get_all() if r is ref]
        seen.append((where, ref.is_alive(), len(entries)))

    class Looking(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            look("init", self.actor_ref)

        def on_start(self) -> None:
            look("start", self.actor_ref)

        def on_stop(self) -> None:
            look("stop", self.actor_ref)

        def on_failure(self, *exc_info: Any) -> None:
            look("failure", self.actor_ref)

    with nursery.grow([nursery.spec("a", kid_class=Looking, backoff=SLOW)]) as tree:
        kid = tree.ref("a")
        kid.tell(boom)
        clock.advance(5)
        look("backoff", kid)
        clock.advance(5)

    wheres = ["init", "start", "failure", "backoff", "init", "start", "stop"]
    assert seen == [(where, True, 1) for where in wheres]
    look("end", kid)
    assert seen[-1] == ("end", False, 0)


def test_arguments_are_shared_and_attributes_are_not(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R2: the same argument objects at each start, and nothing of the old object."""
    with nursery.grow("a") as tree:
        kid = tree.ref("a")
        kid.ask(lambda kid: setattr(kid, "mark", 1))
        kid.tell(boom)

        assert kid.ask(lambda kid: kid.log is nursery.log)
        assert not kid.ask(lambda kid: hasattr(kid, "mark"))


def test_proxy_and_attribute_futures_follow_the_restart(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R1: a proxy that was made before the crash speaks to the new object."""
    with nursery.grow("a") as tree:
        proxy: Any = tree.ref("a").proxy()
        tree.ref("a").tell("old")
        tree.ref("a").tell(boom)
        tree.ref("a").tell("new")

        assert proxy.handled.get() == ["new"]


# -- asks


def test_ask_times_out_on_the_clock_while_its_actor_waits_for_its_restart(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R6, R14, R90: at its second; the message stays, its late answer hurts nobody."""
    timeouts: list[float] = []

    def ask() -> None:
        try:
            kid.ask("patient", timeout=3)
        except pykka.Timeout:
            timeouts.append(clock.monotonic())

    with nursery.grow([nursery.spec("a", backoff=SLOW)]) as tree:
        kid = tree.ref("a")
        kid.tell(boom)
        clock.settle()
        asking = clock.thread(ask)
        asking.start()
        clock.advance(9.999)
        assert timeouts == [3.0]
        assert told(nursery) == []

        clock.advance(0.001)

        assert told(nursery) == ["patient"]
        assert kid.ask("next") == "next"
        clock.join(asking)


def test_crash_answers_its_asker_and_fails_the_child(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R3, R5, R6: those who asked behind it are answered by the next object."""
    gate = Gate()
    with nursery.grow("ab", "one_for_all") as tree:
        kid = tree.ref("a")
        kid.tell(lambda kid: gate.pass_through())
        gate.wait_arrived()
        crashing = kid.ask(crash, block=False)
        behind = [kid.ask(number, block=False) for number in range(3)]
        gate.open()

        with pytest.raises(ValueError, match="crash"):
            crashing.get()
        assert pykka.get_all(behind) == [0, 1, 2]
        clock.settle()
        assert states(tree) == "a running 2, b running 2"
        assert tree.undelivered() == ()  # it was answered


def test_crash_on_ask_takes_subclasses_and_spares_the_rest(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R5: a listed type fails the child, with all that derive from it."""

    def fail(error: Exception) -> Any:
        def handler(kid: Any) -> None:
            raise error

        return handler

    spec = nursery.spec("a", crash_on_ask=(LookupError, OSError))
    with nursery.grow([spec], intensity=9) as tree:
        for error, incarnation in (
            (KeyError("k"), 2),
            (ValueError("v"), 2),
            (ConnectionResetError("c"), 3),
            (TypeError("t"), 3),
        ):
            with pytest.raises(type(error)):
                tree.ref("a").ask(fail(error))
            clock.settle()
            assert states(tree) == f"a running {incarnation}"


def test_asks_of_a_tree_that_gives_up_are_all_answered(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R6, R42, R68: those queued at the one that failed, and at its siblings."""
    gate = Gate()
    tree = nursery.grow("abc", intensity=0)
    asked = []
    for name in "abc":
        tree.ref(name).tell(lambda kid: gate.pass_through())
        gate.wait_arrived(count="abc".index(name) + 1)
        if name == "b":
            tree.ref(name).tell(boom)
        asked += [tree.ref(name).ask(number, block=False) for number in range(3)]
    gate.open()

    with pytest.raises(SupervisorGaveUp):
        tree.wait()

    for future in asked:  # each has its value or its error by now
        with contextlib.suppress(ActorDeadError):
            assert future.get(timeout=0) in range(3)
    for future in asked[3:6]:
        with pytest.raises(ActorDeadError):
            future.get(timeout=0)


# -- the bound


def test_sender_that_is_blocked_through_restarts_gets_in_once(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R3, R9, R14: it waits through backoff and a second crash, and is handled once."""
    accepted: list[str] = []

    def send() -> None:
        kid.tell("blocked")
        accepted.append("blocked")

    spec = nursery.spec("a", backoff=SLOW, capacity=1)
    with nursery.grow([spec], intensity=9) as tree:
        kid = tree.ref("a")
        kid.tell(boom)
        clock.settle()
        kid.tell(boom)  # fills it; it crashes the next incarnation
        sending = clock.thread(send)
        sending.start()
        clock.advance(9)
        assert accepted == []
        clock.advance(1)
        assert accepted == ["blocked"]
        assert told(nursery) == []
        clock.advance(10)

        assert told(nursery) == ["blocked"]
        clock.join(sending)


def test_tell_gives_up_at_its_second_while_the_child_is_down(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R9, R14, R90: what was refused is not handled later."""
    refused: list[float] = []

    def send() -> None:
        try:
            kid.tell("refused", timeout=2.5)
        except SendTimeout:
            refused.append(clock.monotonic())

    with nursery.grow([nursery.spec("a", backoff=SLOW, capacity=1)]) as tree:
        kid = tree.ref("a")
        kid.tell(boom)
        clock.settle()
        kid.tell("kept")
        sending = clock.thread(send)
        sending.start()
        clock.advance(20)
        clock.join(sending)

        assert refused == [2.5]
        assert told(nursery) == ["kept"]


@pytest.mark.parametrize("end", ["terminate", "shutdown", "give up"])
def test_blocked_senders_are_freed_by_each_ending(
    nursery: Nursery, clock: VirtualClock, end: str
) -> None:
    """R7, R8: each gets ActorDeadError, or its message is accounted for."""
    outcomes: list[str] = []

    def send(number: int) -> None:
        try:
            kid.tell(f"blocked {number}")
            outcomes.append("accepted")
        except ActorDeadError:
            outcomes.append("refused")

    gate = Gate()
    tree = nursery.grow([nursery.spec("a", capacity=1), "b"], intensity=0)
    kid = tree.ref("a")
    kid.tell(lambda kid: gate.pass_through())
    gate.wait_arrived()
    kid.tell("queued")
    senders = [clock.thread(send, args=[number]) for number in range(3)]
    for sender in senders:
        sender.start()
    clock.settle()
    assert outcomes == []

    if end == "give up":
        tree.ref("b").tell(boom)
        clock.settle()
        gate.open()
        with pytest.raises(SupervisorGaveUp):
            tree.wait()
    elif end == "terminate":
        ending = clock.thread(tree.terminate_child, args=["a"])
        ending.start()
        clock.settle()
        gate.open()
        clock.join(ending)
        tree.shutdown()
    else:
        ending = clock.thread(tree.shutdown)
        ending.start()
        clock.settle()
        gate.open()
        clock.join(ending)
    for sender in senders:
        clock.join(sender)

    assert len(outcomes) == 3
    kept = [r.message for r in tree.undelivered() if r.child == "a"]
    assert len(told(nursery)) + len(kept) == 1 + outcomes.count("accepted")


def test_sends_to_oneself_in_init_and_on_start_pass_a_full_mailbox(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R10: in every hook; they are handled once it runs, also after a restart."""

    class Eager(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            for number in range(3):
                self.actor_ref.tell(f"init {number}")

        def on_start(self) -> None:
            for number in range(3):
                self.actor_ref.tell(f"start {number}")

        def on_failure(self, *exc_info: Any) -> None:
            for number in range(3):
                self.actor_ref.tell(f"failure {number}")

    own = [f"{hook} {number}" for hook in ("init", "start") for number in range(3)]
    failing = [f"failure {number}" for number in range(3)]
    with nursery.grow([nursery.spec("a", kid_class=Eager, capacity=1)]) as tree:
        clock.settle()
        assert told(nursery) == own
        tree.ref("a").tell(boom)
        clock.settle()

        assert told(nursery) == [*own, *failing, *own]


def test_user_lane_of_a_group_waits_until_each_member_runs(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R14: a message to a sibling is not handled before its own new start."""
    gate = Gate()

    def hold(kid: Kid) -> None:
        if kid.incarnation == 2:
            gate.pass_through()

    with ours.grow([ours.spec("a", hold), "b"], "one_for_all") as tree:
        tree.ref("a").tell(boom)
        gate.wait_arrived()
        tree.ref("a").tell("for a")
        tree.ref("b").tell("for b")
        clock.settle()
        assert told(ours) == []
        assert states(tree) == "a starting 2, b restarting 1"
        gate.open()
        clock.settle()

        assert sorted(told(ours)) == ["for a", "for b"]


# -- mailbox="fresh"


def test_fresh_mailbox_drops_what_waits_and_keeps_the_stop(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R7, R11, R16: tells are undelivered, asks told why, a queued stop is honoured."""
    gate = Gate()
    with nursery.grow([nursery.spec("a", mailbox="fresh", backoff=SLOW)]) as tree:
        kid = tree.ref("a")
        kid.tell(lambda kid: gate.pass_through())
        gate.wait_arrived()
        kid.tell(boom)
        kid.tell("queued")
        asked = kid.ask("asked", block=False)
        stopped = kid.stop(block=False)
        gate.open()
        clock.settle()
        kid.tell("in the backoff")
        clock.advance(10)

        assert stopped.get(timeout=0) is True
        with pytest.raises(ActorRestarted):
            asked.get(timeout=0)
        assert told(nursery) == []
        assert states(tree) == "a undefined 2"
        kept = [record.message for record in tree.undelivered()]
        assert kept == [boom, "queued", "in the backoff"]


def test_fresh_mailboxes_of_a_group_restart_are_each_emptied(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R7, R11, R39: a sibling that is restarted begins afresh too, if it says so."""
    gate = Gate()
    children = ["a", "c", nursery.spec("b", mailbox="fresh")]  # b stops first
    with nursery.grow(children, "one_for_all") as tree:
        for name in "bc":
            tree.ref(name).tell(lambda kid: gate.pass_through())
        gate.wait_arrived(count=2)
        for name in "bc":
            tree.ref(name).tell(f"for {name}")
        tree.ref("a").tell(boom)
        clock.settle()
        gate.open()
        clock.settle()

        assert told(nursery) == ["for c"]
        assert [r.message for r in tree.undelivered()] == [boom, "for b"]


# -- while_down="fail"


def test_one_that_fails_while_down_does_so_through_a_group_restart(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R14, R39: it is down although it did not fail itself; and up again after it."""
    children = [
        nursery.spec("a", backoff=SLOW),
        nursery.spec("b", while_down="fail"),
        "c",
    ]
    with nursery.grow(children, "one_for_all") as tree:
        b = tree.ref("b")
        assert b.ask("up") == "up"
        tree.ref("a").tell(boom)
        clock.settle()

        with pytest.raises(ActorDown):
            b.ask("down")
        with pytest.raises(ActorDown):
            b.tell("down")
        assert b.is_alive()
        tree.ref("c").tell("waits")
        clock.advance(10)

        assert b.ask("up again") == "up again"
        assert told(nursery) == ["up", "waits", "up again"]


def test_last_refusal_of_one_that_was_left_down_is_its_death(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R8, R42: down while it may come back, dead when it will not."""
    options: Any = {"while_down": "fail", "give_up": "leave_down", "max_restarts": 1}
    spec = nursery.spec("a", backoff=SLOW, **options)
    with nursery.grow([spec, "b"], intensity=9) as tree:
        kid = tree.ref("a")
        kid.tell(boom)
        clock.settle()
        with pytest.raises(ActorDown):
            kid.tell("x")
        clock.advance(10)
        kid.tell(boom)
        clock.settle()

        with pytest.raises(ActorDeadError) as raised:
            kid.tell("x")
        assert not isinstance(raised.value, ActorDown)
        assert states(tree) == "a undefined 2, b running 1"


# -- timers and control


def test_timer_of_an_incarnation_dies_with_it_wherever_it_is_due(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R13: before the failure it comes; in the backoff and after it, never."""
    heard: list[tuple[int, str]] = []

    class Ticking(Kid):
        def on_start(self) -> None:
            for delay in (1, 5, 12):
                self.schedule(delay, f"after {delay}")

        def on_control(self, message: Any) -> None:
            heard.append((self.incarnation, message))

    with ours.grow([ours.spec("a", kid_class=Ticking, backoff=SLOW)]) as tree:
        clock.advance(2)
        tree.ref("a").tell(boom)
        clock.advance(11)  # at 13 s: it runs again since 12 s
        assert heard == [(1, "after 1"), (2, "after 1")]
        clock.advance(20)

    assert heard[2:] == [(2, "after 5"), (2, "after 12")]


def test_control_is_served_while_the_user_lane_is_suspended(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R15, R17: full mailboxes and a backoff keep no administrator waiting."""
    children = [nursery.spec(each, backoff=SLOW, capacity=1) for each in "ab"]
    with nursery.grow(children, intensity=9) as tree:
        for name in "ab":
            tree.ref(name).tell(boom)
        clock.settle()
        for name in "ab":
            tree.ref(name).tell("fills it")

        tree.terminate_child("a")
        tree.delete_child("a")
        tree.start_child(nursery.spec("c"))

        assert clock.monotonic() == 0
        assert states(tree) == "b restarting 1, c running 1"
        kept = [record.message for record in tree.undelivered()]
        assert kept.count("fills it") == 1


def test_failing_control_handler_loses_no_later_control_message(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R15, R20: it fails the child; what was queued behind it comes to the next."""
    heard: list[tuple[int, Any]] = []
    gate = Gate()

    class Controlled(Kid):
        def on_control(self, message: Any) -> None:
            if message == "fail":
                raise ValueError(message)
            heard.append((self.incarnation, message))

    with ours.grow([ours.spec("a", kid_class=Controlled)]) as tree:
        kid = tree.ref("a")
        kid.tell(lambda kid: gate.pass_through())
        gate.wait_arrived()
        kid.tell("data")
        for message in ("first", "fail", "last"):
            assert kid.tell_control(message)
        gate.open()
        clock.settle()

        assert heard == [(1, "first"), (2, "last")]
        assert told(ours) == ["data"]
        assert states(tree) == "a running 2"


def test_supervisor_serves_everybody_while_its_children_hang(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R21, R21a: one hangs in its start, one in its stop, one in its failure."""
    gate = Gate()

    class Hanging(Kid):
        def on_start(self) -> None:
            if self.id == "start" and self.incarnation == 2:
                gate.pass_through()

        def on_stop(self) -> None:
            if self.id == "stop":
                gate.pass_through()

        def on_failure(self, *exc_info: Any) -> None:
            if self.id == "failure":
                gate.pass_through()

    names = ("start", "stop", "failure")
    children = [ours.spec(each, kid_class=Hanging, shutdown=60) for each in names]
    with ours.grow(children, intensity=9) as tree:
        tree.ref("start").tell(boom)
        tree.ref("failure").tell(boom)
        ending = clock.thread(tree.terminate_child, args=["stop"])
        ending.start()
        gate.wait_arrived(count=3)
        clock.settle()

        ours_too = tree.start_child(ours.spec("d"))
        ours_too.tell(boom)
        assert ours_too.ask("fine") == "fine"
        clock.settle()
        assert tree.count_children().active == 4
        assert states(tree) == (
            "start starting 2, stop stopping 1, failure stopping 1, d running 2"
        )
        tree.terminate_child("d")
        assert clock.monotonic() == 0
        gate.open()
        clock.join(ending)


def test_requests_and_a_restart_loop_share_one_line(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R21, R30: a child that never starts again lets each request through in turn."""
    starts: list[int] = []

    def fail_again(kid: Kid) -> None:
        starts.append(kid.incarnation)
        if kid.incarnation > 1:
            clock.sleep(0.001)
            raise OSError("no disk")

    added: list[int] = []

    def work() -> None:
        for number in range(5):
            tree.start_child(ours.spec(f"k{number}"))
            tree.terminate_child(f"k{number}")
            added.append(len(starts))
            clock.sleep(0.003)

    tree = ours.grow([ours.spec("a", fail_again)], intensity=400)
    worker = clock.thread(work)
    tree.ref("a").tell(boom)
    worker.start()
    clock.advance(1)

    with pytest.raises(SupervisorGaveUp):
        tree.wait()
    clock.join(worker)
    assert len(starts) == 401
    assert len(added) == 5
    assert added[-1] < 20
