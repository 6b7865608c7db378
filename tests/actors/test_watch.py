"""Who watches another hears of its end once, and of its restarts if it wants to."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors._watches import Told, Watch, Watches
from actors.base import Actor
from actors.errors import ConfigurationError
from actors.exits import Exit, Started, Terminated
from actors.incarnation import Incarnation
from actors.mailbox import LeaseRevoked
from actors.testing import Gate
from supervision import ChildSpec, Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.cell import Cell
    from actors.ref import ActorRef
    from actors.testing import VirtualClock
    from tests.actors.conftest import FakeSupervisor


class Target(Actor):
    def on_receive(self, message: Any) -> Any:
        if message == "boom":
            raise ValueError("boom")
        if callable(message):
            return message(self)
        return message


class Watcher(Actor):
    """Keeps what it hears in a list that outlives it; does what it is told."""

    def __init__(self, heard: list[Any] | None = None) -> None:
        super().__init__()
        self.heard = [] if heard is None else heard

    def on_terminated(self, ref: ActorRef[Any], exit_: Exit) -> None:
        self.heard.append((self.incarnation, "ended", ref, exit_.kind))

    def on_restarted(self, ref: ActorRef[Any], incarnation: int, reason: Exit) -> None:
        self.heard.append(("restarted", ref, incarnation, reason.kind))

    def on_control(self, message: Any) -> None:
        self.heard.append(message)

    def on_receive(self, message: Any) -> Any:
        if message == "boom":
            raise ValueError("boom")
        if callable(message):
            return message(self)
        self.heard.append(message)
        return message


def do(cell: Cell, fn: Callable[[Any], object]) -> Any:
    """Run something on an actor's thread."""
    return cell.ref.ask(fn)


def watch(watcher: Cell, *refs: Any, restarts: bool = False) -> None:
    def on_its_thread(actor: Watcher) -> None:
        for ref in refs:
            actor.watch(ref, restarts=restarts)

    do(watcher, on_its_thread)


def unwatch(watcher: Cell, ref: Any) -> None:
    do(watcher, lambda actor: actor.unwatch(ref))


def settled(cell: Cell) -> None:
    """Come back when it has read its control lane."""
    do(cell, lambda actor: None)


def start_again(supervisor: FakeSupervisor, cell: Cell) -> None:
    cell.start()
    supervisor.expect(Started)


def restart(supervisor: FakeSupervisor, cell: Cell) -> None:
    """Come back when its watchers are told: it is served next."""
    supervisor.restart(cell)
    settled(cell)


def stop(ref: ActorRef[Any]) -> None:
    """Stop a plain actor, and come back when its watchers are told: the last thing."""
    ref.stop()
    gone(ref)


def gone(ref: ActorRef[Any]) -> None:
    assert ref.cell.incarnation is not None
    ref.cell.incarnation.join()


def trace_of(cell: Cell) -> tuple[int, int]:
    """How many it watches, and how many watch it."""
    return len(cell.watches._watched), len(cell.watches._watchers)


def test_watcher_is_told_once_and_not_of_restarts(supervisor: FakeSupervisor) -> None:
    """R78: one Terminated for a watch, not on restarts; at once if it is late."""
    heard: list[Any] = []
    watcher = supervisor.start(Watcher, heard)
    target = supervisor.start(Target)
    watch(watcher, target.ref)
    watch(watcher, target.ref)

    target.ref.tell("boom")
    restart(supervisor, target)
    settled(watcher)
    assert heard == []

    supervisor.stop(target)
    settled(watcher)
    assert heard == [(1, "ended", target.ref, "shutdown")]

    watch(watcher, target.ref)
    settled(watcher)
    assert heard == [(1, "ended", target.ref, "shutdown")] * 2
    assert trace_of(watcher) == trace_of(target) == (0, 0)


def test_watcher_is_told_by_the_control_lane(supervisor: FakeSupervisor) -> None:
    """R78: a full mailbox keeps nobody from dying, and the news is read first."""
    heard: list[Any] = []
    watcher = supervisor.start(Watcher, heard, capacity=1)
    target = supervisor.start(Target)
    watch(watcher, target.ref)
    gate = Gate()
    watcher.ref.tell(lambda actor: gate.pass_through())
    gate.wait_arrived()
    watcher.ref.tell("data")

    supervisor.stop(target)
    assert heard == []
    gate.open()
    settled(watcher)

    assert heard == [(1, "ended", target.ref, "shutdown"), "data"]


def test_exit_that_is_told_is_the_target_s(supervisor: FakeSupervisor) -> None:
    """R78: the watcher is told how it ended."""
    exits: list[Exit] = []

    class Listener(Actor):
        def on_terminated(self, ref: ActorRef[Any], exit_: Exit) -> None:
            exits.append(exit_)

        def on_receive(self, message: Any) -> None:
            self.watch(message)

    listener = supervisor.start(Listener)
    target = supervisor.start(Target)
    listener.ref.ask(target.ref)
    target.ref.tell("boom")
    exit_ = supervisor.ended(target)
    target.finalize(exit_)
    listener.ref.ask(target.ref)

    assert exits[0] is exit_
    assert (exit_.kind, repr(exit_.error)) == ("failed", "ValueError('boom')")


def test_restarts_are_told_on_request(supervisor: FakeSupervisor) -> None:
    """R80: with restarts=True each restart is told, and then the end, once."""
    heard: list[Any] = []
    watcher = supervisor.start(Watcher, heard)
    target = supervisor.start(Target)
    watch(watcher, target.ref, restarts=True)

    for _ in range(2):
        target.ref.tell("boom")
        supervisor.restart(target)
    target.stop_now("moves house")
    supervisor.restart(target)
    supervisor.stop(target)
    settled(watcher)

    assert heard == [
        ("restarted", target.ref, 2, "failed"),
        ("restarted", target.ref, 3, "failed"),
        ("restarted", target.ref, 4, "shutdown"),
        (1, "ended", target.ref, "shutdown"),
    ]


def test_newest_call_says_whether_restarts_are_told(supervisor: FakeSupervisor) -> None:
    """R79, R80: to watch again changes what is told, not how often."""
    heard: list[Any] = []
    watcher = supervisor.start(Watcher, heard)
    target = supervisor.start(Target)

    for number, restarts in enumerate([False, True, True, False], 2):
        watch(watcher, target.ref, restarts=restarts)
        target.ref.tell("boom")
        restart(supervisor, target)
        settled(watcher)
        assert heard[-1:] == (
            [("restarted", target.ref, number, "failed")] if restarts else heard[-1:]
        )

    assert len(heard) == 2
    assert (trace_of(watcher), trace_of(target)) == ((1, 0), (0, 1))


def test_start_that_fails_is_no_restart(supervisor: FakeSupervisor) -> None:
    """R80: a restart is told when the new object runs, with the last failure."""
    heard: list[Any] = []
    starts: list[int] = []

    class Shaky(Target):
        def on_start(self) -> None:
            starts.append(1)
            if len(starts) in {2, 3}:
                raise OSError("not yet")

    watcher = supervisor.start(Watcher, heard)
    target = supervisor.start(Shaky)
    watch(watcher, target.ref, restarts=True)

    target.ref.tell("boom")
    supervisor.ended(target)
    for _ in range(2):
        target.start()
        assert supervisor.ended(target).kind == "start_failed"
    start_again(supervisor, target)
    settled(target)
    settled(watcher)

    assert heard == [("restarted", target.ref, 4, "start_failed")]


def test_unwatch_discards_what_is_not_yet_read(supervisor: FakeSupervisor) -> None:
    """R79: unwatch discards a Terminated, and a Restarted, that is queued already."""
    heard: list[Any] = []
    watcher = supervisor.start(Watcher, heard)
    target, other = supervisor.start(Target), supervisor.start(Target)
    watch(watcher, target.ref, other.ref, restarts=True)

    def while_busy(actor: Watcher) -> None:
        other.ref.tell("boom")
        restart(supervisor, other)
        supervisor.stop(target)
        actor.unwatch(target.ref)
        actor.unwatch(other.ref)
        actor.unwatch(other.ref)

    do(watcher, while_busy)
    supervisor.stop(other)
    settled(watcher)

    assert heard == []
    assert [trace_of(cell) for cell in (watcher, target, other)] == [(0, 0)] * 3


def test_watch_again_after_unwatch_is_told_once(supervisor: FakeSupervisor) -> None:
    """R79: what was queued for the old watch does not count for the new one."""
    heard: list[Any] = []
    watcher = supervisor.start(Watcher, heard)
    target = supervisor.start(Target)
    watch(watcher, target.ref)

    def while_busy(actor: Watcher) -> None:
        supervisor.stop(target)
        actor.unwatch(target.ref)
        actor.watch(target.ref)

    do(watcher, while_busy)
    settled(watcher)

    assert heard == [(1, "ended", target.ref, "shutdown")]


def test_restart_that_is_told_after_a_newer_one_is_dropped(
    supervisor: FakeSupervisor,
) -> None:
    """R59, R80: a thread left behind at its start may come to tell of it late."""
    heard: list[Any] = []
    watcher, target = supervisor.start(Watcher, heard), supervisor.start(Target)
    watch(watcher, target.ref, restarts=True)
    for _ in range(2):
        target.ref.tell("boom")
        supervisor.restart(target)

    target.watches.restarted(2)
    settled(watcher)

    assert [each[2] for each in heard] == [2, 3]


def test_restart_queued_for_an_old_watch_is_not_told_to_the_new_one(
    supervisor: FakeSupervisor,
) -> None:
    """R79, R80: unwatch discards it, also if the same one is watched again."""
    heard: list[Any] = []
    watcher, target = supervisor.start(Watcher, heard), supervisor.start(Target)
    watch(watcher, target.ref, restarts=True)

    def while_busy(actor: Watcher) -> None:
        target.ref.tell("boom")
        restart(supervisor, target)
        actor.unwatch(target.ref)
        actor.watch(target.ref, restarts=True)

    do(watcher, while_busy)
    settled(watcher)
    assert heard == []
    target.ref.tell("boom")
    restart(supervisor, target)
    settled(watcher)

    assert heard == [("restarted", target.ref, 3, "failed")]


def test_watches_survive_the_watcher_s_restart(supervisor: FakeSupervisor) -> None:
    """R79: watches belong to the cell; the next incarnation hears what is queued."""
    heard: list[Any] = []
    watcher = supervisor.start(Watcher, heard)
    early, late = supervisor.start(Target), supervisor.start(Target)
    watch(watcher, early.ref, late.ref)

    watcher.ref.tell("boom")
    supervisor.ended(watcher)
    supervisor.stop(early)  # between two incarnations
    start_again(supervisor, watcher)
    settled(watcher)
    supervisor.stop(late)
    settled(watcher)

    assert heard == [
        (2, "ended", early.ref, "shutdown"),
        (2, "ended", late.ref, "shutdown"),
    ]


def test_hook_that_raises_fails_the_watcher_and_loses_no_other_news(
    supervisor: FakeSupervisor,
) -> None:
    """R20: the failed one is not told again; what is still queued is."""
    heard: list[Any] = []

    class Nervous(Watcher):
        def on_terminated(self, ref: ActorRef[Any], exit_: Exit) -> None:
            super().on_terminated(ref, exit_)
            if len(self.heard) == 1:
                raise RuntimeError("too much")

    watcher = supervisor.start(Nervous, heard)
    targets = [supervisor.start(Target) for _ in range(3)]
    watch(watcher, *(target.ref for target in targets))
    gate = Gate()
    watcher.ref.tell(lambda actor: gate.pass_through())
    gate.wait_arrived()
    for target in targets:
        supervisor.stop(target)
    gate.open()

    exit_ = supervisor.restart(watcher)
    settled(watcher)

    assert exit_.message == Terminated(targets[0].ref, Exit("shutdown"))
    assert [(who, ref) for who, _, ref, _ in heard] == [
        (1, targets[0].ref), (2, targets[1].ref), (2, targets[2].ref)
    ]  # fmt: skip


def test_watcher_that_ends_is_taken_off(supervisor: FakeSupervisor) -> None:
    """R79: an ended watcher is told nothing and leaves no trace in those it watched."""
    watcher = supervisor.start(Watcher)
    targets = [supervisor.start(Target) for _ in range(3)]
    watch(watcher, *(target.ref for target in targets))

    supervisor.stop(watcher)

    assert [trace_of(cell) for cell in (watcher, *targets)] == [(0, 0)] * 4
    for target in targets:
        supervisor.stop(target)


def test_watch_in_the_last_hook_leaves_no_trace(supervisor: FakeSupervisor) -> None:
    target = supervisor.start(Target)

    class Late(Actor):
        def on_stop(self) -> None:
            self.watch(target.ref)

        def on_end(self, exit_: Exit) -> None:
            self.watch(target.ref)

    watcher = supervisor.start(Late)
    supervisor.stop(watcher)

    assert trace_of(target) == trace_of(watcher) == (0, 0)


def test_ended_watcher_watches_nobody(supervisor: FakeSupervisor) -> None:
    actors: list[Actor] = []
    watcher, target = supervisor.start(Watcher), supervisor.start(Target)
    do(watcher, actors.append)
    supervisor.stop(watcher)

    actors[0].watch(target.ref)

    assert trace_of(target) == trace_of(watcher) == (0, 0)
    actors[0].unwatch(target.ref)
    assert trace_of(target) == trace_of(watcher) == (0, 0)


@pytest.mark.parametrize("ended", [False, True])
def test_watch_that_was_cut_short_can_be_begun_again(
    supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """R78: an interrupt came when one book had it and the other had not."""
    heard: list[Any] = []
    watcher, target = supervisor.start(Watcher, heard), supervisor.start(Target)

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    def on_its_thread(actor: Watcher) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Watches, "_enter", interrupted)
            with pytest.raises(KeyboardInterrupt):
                actor.watch(target.ref)

    do(watcher, on_its_thread)
    if ended:
        supervisor.stop(target)
    watch(watcher, target.ref)
    if not ended:
        supervisor.stop(target)
    settled(watcher)

    assert heard == [(1, "ended", target.ref, "shutdown")]
    assert trace_of(target) == trace_of(watcher) == (0, 0)


def test_watching_oneself_is_refused(supervisor: FakeSupervisor) -> None:
    watcher = supervisor.start(Watcher)

    with pytest.raises(ConfigurationError, match="cannot watch itself"):
        watch(watcher, watcher.ref)


class Plain(pykka.ThreadingActor):
    pass


def test_refs_that_nobody_tells_of_are_refused(supervisor: FakeSupervisor) -> None:
    watcher, target = supervisor.start(Watcher), supervisor.start(Target)
    stranger = Plain.start()

    for wrong in (stranger, target.ref.proxy(), "Target"):
        for call in (watch, unwatch):
            with pytest.raises(ConfigurationError, match="ref of a supervised actor"):
                call(watcher, wrong)

    stranger.stop()
    assert trace_of(watcher) == (0, 0)


def test_plain_actors_watch_and_are_watched() -> None:
    """R78: it needs no supervisor."""
    heard: list[Any] = []
    watcher, target = Watcher.start(heard), Target.start()
    watcher.ask(lambda actor: actor.watch(target))

    stop(target)
    watcher.ask("later")
    watcher.ask(lambda actor: actor.watch(target))
    watcher.ask("still later")
    watcher.stop()

    ended = (1, "ended", target, "normal")
    assert heard == [ended, "later", ended, "still later"]


def test_plain_actor_that_fails_is_told_too() -> None:
    heard: list[Any] = []
    watcher, target = Watcher.start(heard), Target.start()
    watcher.ask(lambda actor: actor.watch(target))

    target.tell("boom")
    gone(target)
    watcher.ask("later")
    watcher.stop()

    assert heard == [(1, "ended", target, "failed"), "later"]


def test_exit_of_a_plain_actor_that_ends_with_a_raise_says_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R78: its thread raises the error too, so only the exit's text is sure to stay."""

    class Fatal(Target):
        def on_failure(self, *_error: Any) -> None:
            raise SystemExit(3)

    class Reader(Watcher):
        def on_terminated(self, ref: ActorRef[Any], exit_: Exit) -> None:
            self.heard.append((exit_.kind, exit_.traceback))

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    heard: list[Any] = []
    watcher, target = Reader.start(heard), Fatal.start()
    watcher.ask(lambda actor: actor.watch(target))

    target.tell("boom")
    gone(target)
    watcher.stop()

    [(kind, text)] = heard
    assert kind == "fatal"
    assert "in on_failure\n    raise SystemExit(3)\n" in text


def test_supervisor_s_end_is_told(clock: VirtualClock) -> None:
    """R78: a SupervisorRef is watched as any other."""
    heard: list[Any] = []
    watcher = Watcher.start(heard)
    with Supervisor.start("one_for_one", [ChildSpec(Target)]) as tree:
        child = tree.ref("Target")
        watcher.ask(lambda actor: (actor.watch(tree), actor.watch(child)))
    watcher.ask("later")
    watcher.stop()

    assert heard == [
        (1, "ended", child, "shutdown"),
        (1, "ended", tree, "shutdown"),
        "later",
    ]


def test_children_watch_each_other_in_a_tree(clock: VirtualClock) -> None:
    """R79: the supervisor's restarts keep the watch, its end takes it off."""
    heard: list[Any] = []
    specs: list[ChildSpec[Any]] = [ChildSpec(Watcher, (heard,)), ChildSpec(Target)]
    with Supervisor.start("one_for_all", specs) as tree:
        watcher, target = tree.ref("Watcher"), tree.ref("Target")
        watcher.ask(lambda actor: actor.watch(target, restarts=True))
        target.tell("boom")
        target.ask("until it is there again")
        watcher.ask("later")

    assert heard == [
        ("restarted", target, 2, "failed"),
        "later",
        (2, "ended", target, "shutdown"),
    ]
    assert trace_of(target.cell) == trace_of(watcher.cell) == (0, 0)


def test_callback_on_the_end_can_be_taken_back(supervisor: FakeSupervisor) -> None:
    """R78: who does not run in an actor has a callback, told once, late or not."""
    target = supervisor.start(Target)
    told: list[str] = []
    target.on_final(lambda exit_: told.append("taken back"))()
    kept = target.on_final(lambda exit_: told.append("kept"))

    supervisor.stop(target)
    late = target.on_final(lambda exit_: told.append("late"))
    kept()
    late()

    assert told == ["kept", "late"]
    assert not target._watchers


# -- whoever was left behind


def test_zombie_neither_watches_nor_unwatches(
    clock: VirtualClock, supervisor: FakeSupervisor
) -> None:
    """R59: a thread that was left behind has no say in the live one's watches."""
    heard: list[Any] = []
    gate = Gate()
    watcher = supervisor.start(Watcher, heard)
    kept, never = supervisor.start(Target), supervisor.start(Target)
    watch(watcher, kept.ref)

    def stuck(actor: Watcher) -> None:
        gate.pass_through()
        actor.watch(never.ref)
        actor.unwatch(kept.ref)
        actor.watch(kept.ref, restarts=True)

    watcher.ref.tell(stuck)
    gate.wait_arrived()
    zombie = watcher.incarnation
    assert zombie is not None
    watcher.abandon("it is stuck")
    start_again(supervisor, watcher)
    settled(watcher)
    gate.open()
    zombie.join()
    kept.ref.tell("boom")
    restart(supervisor, kept)
    supervisor.stop(never)
    settled(watcher)

    assert heard == []
    assert trace_of(watcher)[0] == 1


def test_zombie_that_has_news_in_hand_leaves_it_to_the_next(
    supervisor: FakeSupervisor,
) -> None:
    """R59: it was shut out between reading the news and looking whether it counts."""
    heard: list[Any] = []
    watcher, target = supervisor.start(Watcher, heard), supervisor.start(Target)
    watch(watcher, target.ref)
    [in_hand] = watcher.watches._watched.values()
    zombie = watcher.incarnation
    assert zombie is not None
    watcher.stop_now("to begin anew")
    supervisor.restart(watcher)
    zombie.revoked = True

    with pytest.raises(LeaseRevoked):
        watcher.watches.receive(
            zombie, Told(in_hand, Terminated(target.ref, Exit("shutdown")))
        )
    settled(watcher)

    assert heard == [(2, "ended", target.ref, "shutdown")]


# -- races


def run_all(clock: VirtualClock, *works: Callable[[], object]) -> None:
    """Run each on a thread of its own, all at once."""
    threads = [clock.thread(work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        clock.join(thread)


def told_of(heard: list[Any], ref: ActorRef[Any]) -> int:
    return sum(news[1:3] == ("ended", ref) for news in heard)


@pytest.mark.concurrent
def test_target_that_ends_while_it_is_watched_is_told_once(
    clock: VirtualClock, supervisor: FakeSupervisor
) -> None:
    """R78: exactly one, whether the watch comes before, in or after the end."""
    heard: list[list[Any]] = [[] for _ in range(4)]
    watchers = [supervisor.start(Watcher, each) for each in heard]
    target = supervisor.start(Target)

    def end() -> None:
        target.ref.stop(block=False)

    run_all(clock, end, *(lambda w=w: watch(w, target.ref) for w in watchers))
    target.finalize(supervisor.ended(target))
    for watcher in watchers:
        settled(watcher)

    assert [told_of(each, target.ref) for each in heard] == [1] * 4
    assert {trace_of(cell) for cell in (*watchers, target)} == {(0, 0)}


@pytest.mark.concurrent
def test_unwatch_that_comes_first_discards_and_one_that_comes_later_does_not(
    clock: VirtualClock, supervisor: FakeSupervisor
) -> None:
    """R79: unwatch and the end race; nothing is heard after unwatch returned."""
    heard: list[Any] = []
    late: list[int] = []
    watcher, target = supervisor.start(Watcher, heard), supervisor.start(Target)
    watch(watcher, target.ref)

    def on_its_thread(actor: Watcher) -> None:
        actor.unwatch(target.ref)
        late.append(len(heard))

    run_all(clock, lambda: do(watcher, on_its_thread), lambda: supervisor.stop(target))
    settled(watcher)

    assert len(heard) == late[0]
    assert trace_of(watcher) == trace_of(target) == (0, 0)


@pytest.mark.concurrent
def test_watcher_that_fails_meanwhile_hears_of_each_target_once(
    clock: VirtualClock, supervisor: FakeSupervisor
) -> None:
    """R78, R79: restarts of the watcher lose nothing and double nothing."""
    heard: list[Any] = []
    watcher = supervisor.start(Watcher, heard)
    targets = [Target.start() for _ in range(4)]
    watch(watcher, *targets)

    def fail() -> None:
        for _ in range(3):
            watcher.ref.tell("boom")
            supervisor.restart(watcher)

    run_all(clock, fail, *(lambda t=t: stop(t) for t in targets))
    settled(watcher)

    assert [told_of(heard, target) for target in targets] == [1] * 4
    assert trace_of(watcher) == (0, 0)


@pytest.mark.concurrent
def test_watcher_that_is_left_behind_hears_nothing_its_successor_all(
    clock: VirtualClock, supervisor: FakeSupervisor
) -> None:
    """R59, R79: news goes to the live one; the zombie registers for nobody."""
    heard: list[Any] = []
    watcher = supervisor.start(Watcher, heard)
    targets = [Target.start() for _ in range(3)]
    unwatched = supervisor.start(Target)
    watch(watcher, *targets)
    gate = Gate()

    def stuck(actor: Watcher) -> None:
        gate.pass_through()
        actor.watch(unwatched.ref)

    def replace() -> None:
        watcher.abandon("it is stuck")
        start_again(supervisor, watcher)

    watcher.ref.tell(stuck)
    gate.wait_arrived()
    run_all(clock, replace, *(lambda t=t: stop(t) for t in targets))
    gate.open()
    settled(watcher)
    clock.settle()

    assert [told_of(heard, target) for target in targets] == [1] * 3
    assert {number for number, *_ in heard} == {2}
    assert trace_of(watcher) == trace_of(unwatched) == (0, 0)


@pytest.mark.concurrent
def test_actors_that_watch_each_other_may_end_at_once(clock: VirtualClock) -> None:
    """R79: neither end waits for the other, nor leaves a trace."""
    heard: list[list[Any]] = [[], [], []]
    refs = [Watcher.start(each) for each in heard]

    def watch_the_others(ref: ActorRef[Any]) -> None:
        others = [other for other in refs if other is not ref]
        ref.ask(lambda actor: [actor.watch(other) for other in others])

    run_all(clock, *(lambda r=r: watch_the_others(r) for r in refs))
    run_all(clock, *(lambda r=r: stop(r) for r in refs))

    assert {trace_of(ref.cell) for ref in refs} == {(0, 0)}
    for ref, each in zip(refs, heard, strict=True):
        assert all(told_of(each, other) <= 1 for other in refs)
        assert told_of(each, ref) == 0


@pytest.mark.concurrent
def test_watches_agree_whatever_is_done_at_once(
    clock: VirtualClock, supervisor: FakeSupervisor, clock_seed: int | None
) -> None:
    """R78, R79: watch and unwatch from many threads, ends in between; both pages agree.

    A watch that is the last word on its target is told once.
    """
    heard: list[Any] = []
    actors: list[Watcher] = []
    watcher = supervisor.start(Watcher, heard)
    do(watcher, actors.append)
    targets = [Target.start() for _ in range(3)]
    stays = Target.start()

    def fuss(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(6):
            ref = rng.choice([*targets, stays])
            if rng.random() < 0.5:
                actors[0].watch(ref, restarts=rng.random() < 0.5)
            else:
                actors[0].unwatch(ref)

    seeds = [100 * (clock_seed or 0) + each for each in range(3)]
    run_all(
        clock,
        *(lambda s=s: fuss(s) for s in seeds),
        *(lambda t=t: stop(t) for t in targets),
    )
    settled(watcher)
    agreed = [len(ref.cell.watches._watchers) for ref in (*targets, stays)]
    assert agreed == [0, 0, 0, len(watcher.watches._watched)]

    heard.clear()
    watch(watcher, *targets, stays)
    settled(watcher)
    stop(stays)
    settled(watcher)

    assert [told_of(heard, ref) for ref in (*targets, stays)] == [1] * 4
    assert trace_of(watcher) == (0, 0)


def test_dying_thread_waits_for_none_of_its_many_watchers(
    supervisor: FakeSupervisor,
) -> None:
    """R78: a thousand watchers, all busy and full, keep nobody from dying."""
    heard: list[Any] = []
    watchers = [supervisor.make(Watcher, heard, capacity=1) for _ in range(1000)]
    target = supervisor.start(Target)
    for watcher in watchers:
        run = Incarnation(watcher)  # it runs nowhere: nobody reads its mailbox
        watcher.watches.watch(run, target.ref, restarts=False)
        watcher.ref.tell("full")

    supervisor.stop(target)

    assert trace_of(target) == (0, 0)
    assert all(len(watcher.mailbox._control) == 1 for watcher in watchers)
    for watcher in watchers:
        watcher.finalize(Exit("shutdown"))


# -- nothing is kept


def watches_alive() -> int:
    return sum(type(each) is Watch for each in gc.get_objects())


def test_watches_that_are_over_are_gone_without_a_collection(
    supervisor: FakeSupervisor,
) -> None:
    watcher, target = supervisor.start(Watcher), supervisor.start(Target)
    before = watches_alive()
    gc.disable()
    try:
        for _ in range(1000):
            watch(watcher, target.ref)
            unwatch(watcher, target.ref)
        assert watches_alive() == before

        watch(watcher, target.ref)
        supervisor.stop(target)
        for _ in range(1000):
            watch(watcher, target.ref)
        settled(watcher)
        assert watches_alive() == before
    finally:
        gc.enable()


@pytest.mark.slow
@pytest.mark.parametrize("lasting", ["watcher", "target"])
def test_short_lives_leave_nothing_in_long_ones(lasting: str) -> None:
    """R79: thousands that end, watched or watching, are kept by nobody."""
    heard: list[Any] = []
    keeper = Watcher.start(heard)
    cells: list[weakref.ref[Any]] = []

    def live() -> None:
        short = Watcher.start()
        watching, watched = (keeper, short) if lasting == "watcher" else (short, keeper)
        watching.ask(lambda actor: actor.watch(watched, restarts=True))
        cells.append(weakref.ref(short.actor_stopped))
        stop(short)

    for _ in range(1000):
        live()
    keeper.ask("later")
    assert len(heard) == 1 + (1000 if lasting == "watcher" else 0)
    heard.clear()
    gc.collect()

    assert trace_of(keeper.cell) == (0, 0)
    assert not any(cell() for cell in cells)
    keeper.stop()
