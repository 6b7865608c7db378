"""The cases of the specification, each under its own name.

Each derives from a test that another supervisor's own suite has: OTP's, Pekko's,
Elixir's, Trio's, Pykka's.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors import (
    Actor,
    ActorAbandoned,
    ConfigurationError,
    Exit,
    StopToken,
)
from actors.events import ChildAbandoned, RestartScheduled, TreeGaveUp
from actors.testing import Gate, VirtualClock
from supervision import (
    AlreadyPresent,
    AlreadyStarted,
    Backoff,
    ChildNotFound,
    ChildRunning,
    ChildSpec,
    StartFailed,
    Supervisor,
    SupervisorGaveUp,
)
from tests.supervision.kids import Kid, Nursery, below, boom, states

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.concurrent


def test_d01_restart_keeps_ref_and_queue(nursery: Nursery, clock: VirtualClock) -> None:
    """R1, R2, R3: what waits behind a crash is handled in order by a new object."""
    gate = Gate()
    with nursery.grow("a") as tree:
        kid = tree.ref("a")
        urn = kid.actor_urn
        old: Any = kid.ask(lambda kid: kid)
        kid.tell("before")
        kid.tell(lambda kid: gate.pass_through())
        gate.wait_arrived()
        kid.tell(boom)
        kid.tell("a")
        asked = kid.ask("b", block=False)
        kid.tell("c")

        gate.open()

        assert asked.get() == "b"
        clock.settle()
        assert tree.ref("a") is kid
        assert kid.actor_urn == urn
        registered = [r for r in pykka.ActorRegistry.get_all() if r.actor_urn == urn]
        assert len(registered) == 1
        assert registered[0] is kid
        new: Any = kid.ask(lambda kid: kid)
        assert new is not old
        assert new.handled == ["a", "b", "c"]
        assert states(tree) == "a running 2"


def test_d02_crashing_message_not_redelivered(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R4: the message that failed is kept with its error, and never handled again."""
    calls: list[Any] = []

    def fail(kid: Any) -> None:
        calls.append(kid)
        raise ValueError("boom")

    with nursery.grow("a") as tree:
        tree.ref("a").tell(fail)
        assert tree.ref("a").ask("after") == "after"

        assert len(calls) == 1
        [record] = tree.undelivered()
        assert record.message is fail
        assert (record.child, record.number) == ("a", 1)
        assert isinstance(record.error, ValueError)


def test_d03_ask_error_does_not_crash(nursery: Nursery, clock: VirtualClock) -> None:
    """R5: an error while answering goes to the asker, and the child lives on."""
    with nursery.grow("a") as tree:
        kid = tree.ref("a")
        kid.tell("kept")

        with pytest.raises(ValueError, match="boom"):
            kid.ask(boom)

        assert kid.ask(lambda kid: kid.handled) == ["kept"]
        assert states(tree) == "a running 1"
        assert tree.undelivered() == ()


def test_d04_stop_now_bypasses_full_mailbox(ours: Nursery, clock: VirtualClock) -> None:
    """R15, R18: a handler that looks at its token is stopped before what waits."""
    gate = Gate()

    def poll(kid: Any) -> None:
        gate.pass_through()
        while not kid.stop_token.cancelled:
            clock.sleep(0.1, kid.stop_token)

    with ours.grow([ours.spec("a", capacity=1)]) as tree:
        gate.open()
        tree.ref("a").tell(poll)
        gate.wait_arrived()
        tree.ref("a").tell("queued")

        tree.terminate_child("a")

        assert clock.monotonic() < 1
        assert ours.take() == "start a, stop a"
        assert [record.message for record in tree.undelivered()] == ["queued"]
        assert tree.zombies() == ()


def test_d05_ref_stop_drains(nursery: Nursery, clock: VirtualClock) -> None:
    """R16, R62, R65: a stop through the ref comes after what was sent before it."""
    gate = Gate()
    with nursery.grow([nursery.spec("a", capacity=2)]) as tree:
        kid = tree.ref("a")
        kid.tell(lambda kid: gate.pass_through())
        gate.wait_arrived()
        kid.tell(1)
        kid.tell(2)

        asked = kid.stop(block=False)
        gate.open()

        assert asked.get() is True
        assert nursery.take() == "start a, a got 1, a got 2, stop a"
        assert kid.stop() is False


def test_d06_self_stop_full_mailbox(nursery: Nursery, clock: VirtualClock) -> None:
    """R10, R64: an actor with a full mailbox sends to itself and stops itself."""
    gate = Gate()

    def leave(kid: Any) -> None:
        gate.pass_through()
        kid.actor_ref.tell("own")
        kid.stop()
        kid.stop()
        kid.actor_ref.tell("late")

    with nursery.grow([nursery.spec("a", capacity=1)]) as tree:
        kid = tree.ref("a")
        kid.tell(leave)
        gate.wait_arrived()
        kid.tell("queued")
        gate.open()
        clock.settle()

        assert nursery.take() == "start a, a got queued, a got own, stop a"
        assert states(tree) == "a undefined 1"
        assert [record.message for record in tree.undelivered()] == ["late"]


def test_d07_start_order_stop_order(nursery: Nursery) -> None:
    """R26, R55: children start in order and stop in reverse."""
    tree = nursery.grow("abc")
    assert states(tree) == "a running 1, b running 1, c running 1"

    tree.shutdown()

    assert nursery.take() == "start a, start b, start c, stop c, stop b, stop a"
    assert tree.wait(0)
    assert not tree.is_alive()


def test_d08_start_failure_unwinds(nursery: Nursery) -> None:
    """R28: those that have started stop in reverse; the starter is told who failed."""
    error = OSError("no disk")

    def fail(kid: Any) -> None:
        raise error

    with pytest.raises(StartFailed, match="'c' of root") as raised:
        nursery.grow(["a", "b", nursery.spec("c", on_start=fail), "d"])

    assert raised.value.child_id == "c"
    assert raised.value.__cause__ is error
    assert nursery.take() == "start a, start b, start c, stop b, stop a"
    assert pykka.ActorRegistry.get_all() == []


def test_d09_permanent_normal(nursery: Nursery, clock: VirtualClock) -> None:
    """R35, R65: a permanent child comes back also when it was asked to stop."""
    with nursery.grow([nursery.spec("a", restart="permanent")]) as tree:
        kid = tree.ref("a")

        assert kid.stop() is True
        assert kid.ask("hello") == "hello"
        clock.settle()

        assert states(tree) == "a running 2"
        assert tree.ref("a") is kid


def test_d10_transient_normal(nursery: Nursery, clock: VirtualClock) -> None:
    """R35, R65, R75: a transient child that was stopped stays down; its spec stays."""
    with nursery.grow("ab") as tree:
        old = tree.ref("a")
        assert old.stop() is True
        clock.settle()
        assert states(tree) == "a undefined 1, b running 1"
        assert not old.is_alive()

        new = tree.restart_child("a")

        assert new.ask("hello") == "hello"
        assert states(tree) == "a running 1, b running 1"


def test_d11_temporary_abnormal(nursery: Nursery, clock: VirtualClock) -> None:
    """R35, R75: a temporary child is never restarted, and its spec goes with it."""
    with nursery.grow([nursery.spec("a", restart="temporary"), "b"]) as tree:
        tree.ref("a").tell(boom)
        clock.settle()

        assert states(tree) == "b running 1"
        assert not tree.ref("a").is_alive()
        with pytest.raises(ChildNotFound):
            tree.restart_child("a")


def test_d12_one_for_one_base(nursery: Nursery, clock: VirtualClock) -> None:
    """R39: only the one that failed."""
    with nursery.grow("abc", "one_for_one") as tree:
        tree.ref("b").tell(boom)
        clock.settle()

        assert states(tree) == "a running 1, b running 2, c running 1"


def test_d13_rest_for_one_base(nursery: Nursery, clock: VirtualClock) -> None:
    """R39: that one and those that started after it."""
    with nursery.grow("abc", "rest_for_one") as tree:
        nursery.take()
        tree.ref("b").tell(boom)
        clock.settle()

        assert states(tree) == "a running 1, b running 2, c running 2"
        assert nursery.take() == "fail b, stop c, start b, start c"


def test_d14_one_for_all_base(nursery: Nursery, clock: VirtualClock) -> None:
    """R3, R39: all of them; a message queued at a sibling reaches the new one."""
    with nursery.grow("abc", "one_for_all") as tree:
        gate = Gate()
        old = tree.ref("c").ask(lambda kid: kid)
        tree.ref("c").tell(lambda kid: gate.pass_through())
        asked = tree.ref("c").ask(lambda kid: kid, block=False)
        gate.wait_arrived()

        tree.ref("b").tell(boom)
        clock.settle()
        gate.open()

        assert asked.get() is not old
        clock.settle()
        assert states(tree) == "a running 2, b running 2, c running 2"


def test_d15_intensity_gives_up(nursery: Nursery, clock: VirtualClock) -> None:
    """R42, R43: one failure more than the intensity, and all stop in reverse."""
    exits: list[Exit] = []
    tree = nursery.grow("ab", intensity=2, period=5)
    tree.when_ended(exits.append)
    nursery.take()

    for _ in range(3):
        tree.ref("a").tell(boom)
        clock.settle()

    with pytest.raises(SupervisorGaveUp) as raised:
        tree.wait()
    assert isinstance(raised.value.__cause__, ValueError)
    assert nursery.take() == "fail a, start a, fail a, start a, fail a, stop b"
    assert not tree.is_alive()
    clock.settle()
    [exit_] = exits
    assert exit_.kind == "gave_up"
    assert exit_.error is raised.value.__cause__
    [event] = nursery.of(TreeGaveUp)
    assert (event.child, event.intensity) == ("a", 2)


def test_d16_intensity_window_slides(nursery: Nursery, clock: VirtualClock) -> None:
    """R42: failures older than the period do not count."""
    tree = nursery.grow("a", intensity=2, period=5)

    for pause in (0, 0, 5.1, 0):
        clock.advance(pause)
        tree.ref("a").tell(boom)
        clock.settle()
    assert states(tree) == "a running 5"

    tree.ref("a").tell(boom)
    with pytest.raises(SupervisorGaveUp):
        tree.wait()


def test_d17_intensity_zero(nursery: Nursery) -> None:
    """R42: the first failure is one too many."""
    tree = nursery.grow("a", intensity=0)

    tree.ref("a").tell(boom)

    with pytest.raises(SupervisorGaveUp):
        tree.wait()
    assert nursery.take() == "start a, fail a"


def test_d18_backoff_sequence_and_cap(nursery: Nursery, clock: VirtualClock) -> None:
    """R44, R90: the delays are those of the formula, to the millisecond."""
    backoff = Backoff(initial=1, maximum=4, jitter=0.5, first_immediate=False)
    same = random.Random(clock.seed)
    expected = [min(4, 2**n * (1 + same.random() * 0.5)) for n in range(4)]

    with nursery.grow([nursery.spec("a", backoff=backoff)], intensity=99) as tree:
        for number, delay in enumerate(expected, start=1):
            tree.ref("a").tell(boom)
            clock.advance(delay - 0.001)
            assert states(tree) == f"a restarting {number}"
            clock.advance(0.001)
            assert states(tree) == f"a running {number + 1}"

    assert [event.delay for event in nursery.of(RestartScheduled)] == expected
    assert max(expected) == 4


def test_d19_backoff_reset(nursery: Nursery, clock: VirtualClock) -> None:
    """R45: a child that ran long enough begins anew."""
    backoff = Backoff(initial=1, maximum=8, jitter=0, reset_after=10)

    with nursery.grow([nursery.spec("a", backoff=backoff)], intensity=99) as tree:
        for pause in (0, 0, 2, 11):
            clock.advance(pause)
            tree.ref("a").tell(boom)
            clock.advance(8)

    assert [event.delay for event in nursery.of(RestartScheduled)] == [0, 1, 2, 0]


def test_d20_stop_during_backoff(nursery: Nursery, clock: VirtualClock) -> None:
    """R48, R63: a tree whose child waits for its restart ends at once."""
    backoff = Backoff(initial=60, maximum=60, first_immediate=False)
    tree = nursery.grow([nursery.spec("a", backoff=backoff)])
    tree.ref("a").tell(boom)
    clock.advance(30)
    nursery.take()

    tree.shutdown()

    assert clock.monotonic() == 30
    assert nursery.take() == ""
    assert clock.next_deadline() is None


def test_d21_shutdown_timeout_zombie(nursery: Nursery, clock: VirtualClock) -> None:
    """R56, R58: a child that does not stop in its time is left behind, and told of."""
    gate = Gate()

    def hang(kid: Any) -> None:
        gate.pass_through()

    tree = nursery.grow([nursery.spec("a", shutdown=30)])
    asked = tree.ref("a").ask(hang, block=False)
    gate.wait_arrived()

    ending = clock.thread(tree.shutdown)
    ending.start()
    clock.advance(29.9)
    assert tree.is_alive()
    assert tree.zombies() == ()
    clock.advance(0.2)

    assert not tree.is_alive()
    clock.join(ending)
    [zombie] = tree.zombies()
    assert (zombie.child, zombie.thread) == ("a", "zombie:a")
    assert "gate.pass_through()" in zombie.stack
    [thread] = [t for t in threading.enumerate() if t.name == "zombie:a"]
    assert thread.daemon
    with pytest.raises(ActorAbandoned):
        asked.get()
    [event] = nursery.of(ChildAbandoned)
    assert event.stack == zombie.stack
    gate.open()
    clock.settle()
    assert tree.zombies() == ()


def test_d22_zombie_harmless(nursery: Nursery, clock: VirtualClock) -> None:
    """R37, R59: one that hangs in on_failure is replaced; it wakes and hurts nobody."""
    gate = Gate()
    failures: list[Any] = []

    class Stuck(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def on_failure(self, *exc_info: Any) -> None:
            failures.append(self)
            if len(failures) == 1:
                gate.pass_through()

    with nursery.grow([nursery.spec("a", kid_class=Stuck), "b"]) as tree:
        kid = tree.ref("a")
        kid.tell(boom)
        kid.tell(1)
        clock.advance(4.9)
        assert "a got 1" not in nursery.take()
        clock.advance(0.2)
        assert nursery.take() == "start a, a got 1"
        assert len(tree.zombies()) == 1

        gate.open()
        clock.settle()

        assert tree.zombies() == ()
        assert kid.ask(2) == 2
        assert kid.ask(lambda kid: kid.handled) == [1, 2]
        assert pykka.ActorRegistry.get_by_urn(kid.actor_urn) is kid
        assert states(tree) == "a running 2, b running 1"


def test_d23_base_exception_scoped(nursery: Nursery, clock: VirtualClock) -> None:
    """R69: it ends its own tree, in order, and comes out of the wait; no other's."""
    tree, other = nursery.grow("abc", name="first"), nursery.grow("x", name="second")
    plain = pykka.ThreadingActor.start()
    interrupt = KeyboardInterrupt()

    def raise_interrupt(kid: Any) -> None:
        raise interrupt

    try:
        nursery.take()
        tree.ref("b").tell(raise_interrupt)

        with pytest.raises(KeyboardInterrupt) as raised:
            tree.wait()

        assert raised.value is interrupt
        assert nursery.take() == "stop b, stop c, stop a"
        assert not tree.is_alive()
        assert other.ref("x").ask("still here") == "still here"
        assert plain.is_alive()
    finally:
        other.shutdown()
        plain.stop()


def test_d24_system_exit_in_ask(nursery: Nursery, clock: VirtualClock) -> None:
    """R6, R69: the asker gets it, the tree's wait raises it, nobody hangs."""
    exit_ = SystemExit(7)

    def leave(kid: Any) -> None:
        raise exit_

    tree = nursery.grow("ab")
    behind = Gate()
    tree.ref("a").tell(lambda kid: behind.pass_through())
    behind.wait_arrived()
    asked = tree.ref("a").ask(leave, block=False)
    queued = tree.ref("a").ask("queued", block=False)
    behind.open()

    with pytest.raises(SystemExit) as answered:
        asked.get()
    with pytest.raises(pykka.ActorDeadError):
        queued.get()
    with pytest.raises(SystemExit) as raised:
        tree.wait()

    assert answered.value is exit_
    assert raised.value is exit_
    assert exit_.code == 7


def test_d25_auto_shutdown_any(nursery: Nursery, clock: VirtualClock) -> None:
    """R72: the normal end of a significant child ends its supervisor."""
    exits: list[Exit] = []
    children = [nursery.spec("a", significant=True), "b"]
    tree = nursery.grow(children, auto_shutdown="any_significant")
    tree.when_ended(exits.append)

    tree.ref("a").stop()

    assert tree.wait()
    clock.settle()
    assert [exit_.kind for exit_ in exits] == ["shutdown"]
    assert nursery.take() == "start a, start b, stop a, stop b"


BAD_SPECS: list[tuple[Callable[[Nursery], Any], str]] = [
    (lambda n: n.grow(["b", "a", "a"]), "id.*'a'|'a'.*id"),
    (lambda n: n.grow([n.spec("a", restart="always")]), "'a'.*restart"),
    (lambda n: n.grow("a", period=0), "period"),
    (lambda n: n.grow([n.spec("a", shutdown=-1)]), "'a'.*shutdown"),
    (
        lambda n: n.grow(
            [n.spec("a", significant=True, restart="permanent")],
            auto_shutdown="any_significant",
        ),
        "'a'.*significant",
    ),
    (lambda n: n.grow([n.spec("a", significant=True)]), "'a'.*significant"),
    (lambda n: n.grow("a", "all_for_one"), "strategy"),
    (lambda n: n.grow("a", intensity=-1), "intensity"),
    (lambda n: n.grow("a", auto_shutdown="always"), "auto_shutdown"),
]


@pytest.mark.parametrize(("build", "names"), BAD_SPECS, ids=[n for _, n in BAD_SPECS])
def test_d26_bad_specs_table(nursery: Nursery, build: Any, names: str) -> None:
    """R22, R23: the error names field and child, and nothing has started."""
    with pytest.raises(ConfigurationError, match=names):
        build(nursery)

    assert nursery.take() == ""
    assert nursery.events == []
    assert pykka.ActorRegistry.get_all() == []


def test_d27_child_admin(nursery: Nursery, clock: VirtualClock) -> None:
    """R75: the outcomes of OTP's supervisor."""
    spec = nursery.spec("a")
    with nursery.grow([]) as tree:
        first = tree.start_child(spec)
        with pytest.raises(AlreadyStarted) as caught:
            tree.start_child(nursery.spec("a"))
        assert caught.value.ref is first

        tree.terminate_child("a")
        tree.terminate_child("a")
        assert states(tree) == "a undefined 1"
        assert not first.is_alive()
        with pytest.raises(AlreadyPresent):
            tree.start_child(spec)

        second = tree.restart_child("a")
        assert second.is_alive()
        assert tree.ref("a") is second
        with pytest.raises(ChildRunning):
            tree.restart_child("a")
        with pytest.raises(ChildRunning):
            tree.delete_child("a")

        tree.terminate_child(second)
        tree.delete_child("a")
        with pytest.raises(ChildNotFound):
            tree.delete_child("a")
        with pytest.raises(ChildNotFound):
            tree.restart_child("a")
        with pytest.raises(ChildNotFound):
            tree.terminate_child("a")
        assert tree.which_children() == ()


def test_d28_watch_once_not_on_restart(nursery: Nursery, clock: VirtualClock) -> None:
    """R78, R79: one notice, after the final stop; a late watch gets one at once."""
    heard: list[tuple[str, Any, str]] = []

    class Watcher(Kid):
        def on_terminated(self, ref: Any, exit: Exit) -> None:  # noqa: A002
            heard.append((self.id, ref, exit.kind))

    watchers = [nursery.spec(each, kid_class=Watcher) for each in ("w", "late")]
    with nursery.grow(["a", *watchers]) as tree:
        target = tree.ref("a")
        tree.ref("w").ask(lambda kid: kid.watch(target))
        tree.ref("w").ask(lambda kid: kid.watch(target))
        target.tell(boom)
        clock.settle()
        assert states(tree).startswith("a running 2")
        assert heard == []

        target.stop()
        clock.settle()
        assert heard == [("w", target, "normal")]

        tree.ref("late").ask(lambda kid: kid.watch(target))
        clock.settle()
        assert heard[1:] == [("late", target, "normal")]


def test_d29_nested_gave_up(nursery: Nursery, clock: VirtualClock) -> None:
    """R42, R53: a supervisor that gave up is rebuilt, until its own gives up too."""

    def inner(siblings: Any) -> Any:
        return {"children": [nursery.spec("x"), nursery.spec("y")], "intensity": 0}

    spec = ChildSpec(Supervisor, ("one_for_one",), inner, id="inner")
    tree = nursery.grow([spec, "z"], intensity=1)
    nursery.take()
    old = below(tree, "inner").ref("x")

    old.tell(boom)
    clock.settle()
    assert nursery.take() == "fail x, stop y, start x, start y"
    assert not old.is_alive()
    assert below(tree, "inner").ref("x").is_alive()
    assert states(tree) == "inner running 2, z running 1"

    below(tree, "inner").ref("x").tell(boom)
    with pytest.raises(SupervisorGaveUp) as raised:
        tree.wait()
    assert isinstance(raised.value.__cause__, ValueError)
    assert nursery.take() == "fail x, stop y, stop z"


def test_d30_token_descendants_only() -> None:
    """R82: the token itself and those below it; not its parent, not its sibling."""
    root = StopToken(name="root")
    t, s = root.child("t"), root.child("s")
    c1, c2 = t.child("c1"), t.child("c2")
    g = c1.child("g")

    t.cancel()

    assert [each.cancelled for each in (t, c1, g, c2)] == [True] * 4
    assert [each.cancelled for each in (root, s)] == [False] * 2


def test_d31_token_born_cancelled() -> None:
    """R82: a token made under a cancelled one is cancelled."""
    parent = StopToken()
    parent.cancel("enough")

    child = parent.child()

    assert child.cancelled
    assert child.draining
    assert child.reason == "enough"
    assert not StopToken().cancelled


def test_d32_plain_start_is_pykka(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """R71: the core of Pykka's contract.

    Pykka's own suite, with our base class in the place of its own, runs in CI as
    ``tests/pykka/run_suite.py``, which lists every test that is left out: none.
    """
    seen: list[tuple[str, bool, list[Any]]] = []

    class Plain(Actor):
        def look(self, hook: str) -> None:
            registered = list(pykka.ActorRegistry.get_all())
            seen.append((hook, self.actor_ref.is_alive(), registered))

        def on_stop(self) -> None:
            self.look("on_stop")

        def on_failure(self, *_exc_info: Any) -> None:
            self.look("on_failure")

        def on_receive(self, message: Any) -> Any:
            return message(self)

    stopped, failed = Plain.start(), Plain.start()
    assert set(pykka.ActorRegistry.get_all()) == {stopped, failed}

    with pytest.raises(ValueError, match="boom"):
        failed.ask(boom)
    assert failed.is_alive()
    failed.tell(boom)
    failed.actor_stopped.wait()
    clock.settle()
    assert stopped.stop() is True
    assert stopped.stop() is False
    clock.settle()

    assert seen == [("on_failure", False, [stopped]), ("on_stop", False, [])]
    assert "Unhandled exception in" in caplog.text
    with pytest.raises(pykka.ActorDeadError):
        stopped.tell("late")


def test_d33_init_and_on_start_in_child_thread(
    nursery: Nursery, clock: VirtualClock
) -> None:
    """R27, R31: both run in the child's thread, which its supervisor waits for no
    longer than the start timeout, and without being blocked by it.
    """
    seen: list[threading.Thread] = []
    gate = Gate()

    class Curious(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            seen.append(threading.current_thread())

        def on_start(self) -> None:
            seen.append(threading.current_thread())

        def on_receive(self, message: Any) -> None:
            seen.append(threading.current_thread())

    class Slow(nursery.kid_class):  # type: ignore[name-defined,misc]  # of either kind
        def __init__(self, **kwargs: Any) -> None:
            gate.pass_through()

    failures: list[StartFailed] = []

    def add_slow() -> None:
        try:
            tree.start_child(nursery.spec("b", kid_class=Slow, start_timeout=7))
        except StartFailed as error:
            failures.append(error)

    with nursery.grow([nursery.spec("a", kid_class=Curious)]) as tree:
        tree.ref("a").ask("look")
        assert len(seen) == 3
        assert len(set(seen)) == 1
        assert (seen[0].name, seen[0].daemon) == ("a", True)

        adding = clock.thread(add_slow)
        adding.start()
        gate.wait_arrived()
        tree.start_child(nursery.spec("c"))  # the supervisor serves others meanwhile
        clock.advance(6.9)
        assert failures == []
        clock.advance(0.2)
        clock.join(adding)

        assert isinstance(failures[0].__cause__, TimeoutError)
        assert states(tree) == "a running 1, c running 1"
        assert [zombie.child for zombie in tree.zombies()] == ["b"]
        gate.open()
