"""What becomes of an incarnation's stop token when the incarnation ends."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from actors._callbacks import callback_thread
from actors.base import Actor
from actors.clock import SYSTEM_CLOCK
from actors.exits import Exit, Ignore, Started
from actors.stop_token import Phase
from actors.testing import Gate, VirtualClock
from supervision import ChildSpec, Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.cell import Cell
    from actors.stop_token import StopToken
    from tests.actors.conftest import FakeSupervisor

ENDS = {
    "failed": ValueError("failed"),
    "fatal": SystemExit(1),
    "gave_up": Exit("gave_up"),
    "normal": Exit("normal"),
}
PHASES = Phase.__members__


class Holder(Actor):
    """Has a callback on its token, and a token below it that outlives it."""

    capacity = 100

    def __init__(self, told: list[Any], below: list[StopToken]) -> None:
        super().__init__()
        self.told, self.below = told, below

    def on_start(self) -> None:
        self.stop_token.on_cancel(self.hear)
        self.below.append(self.stop_token.child("below"))

    def hear(self, reason: str) -> None:
        self.told.append((self.incarnation, reason))

    def on_failure(self, *_error: Any) -> None:
        self.told.append((self.incarnation, self.stop_token.phase.name))

    def on_receive(self, message: Any) -> None:
        if isinstance(message, BaseException):
            raise message
        message(self)

    def on_control(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        return message


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def below() -> list[StopToken]:
    return []


@pytest.fixture
def cell(supervisor: FakeSupervisor, told: list[Any], below: list[StopToken]) -> Cell:
    return supervisor.start(Holder, told, below, name="holder")


@pytest.fixture
def no_gc() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def token_of(cell: Cell) -> StopToken:
    assert cell.incarnation is not None
    return cell.incarnation.stop_token


# -- it failed


@pytest.mark.parametrize("kind", ["failed", "fatal", "gave_up"])
def test_failure_cancels_the_token(
    supervisor: FakeSupervisor,
    cell: Cell,
    told: list[Any],
    below: list[StopToken],
    kind: str,
) -> None:
    """R51: whatever it started below its token ends with it; nothing above does."""
    token = token_of(cell)
    cell.ref.tell_control(ENDS[kind])
    assert supervisor.ended(cell).kind == kind

    reason = f"holder#1 has ended: {kind}"
    assert (token.cancelled, token.reason) == (True, reason)
    assert (below[0].cancelled, below[0].reason) == (True, reason)
    assert not supervisor.token.draining
    supervisor.clock.settle()
    assert told[-1] == (1, reason)
    assert not token._callbacks


def test_failed_start_cancels_the_token(
    supervisor: FakeSupervisor, told: list[Any], below: list[StopToken]
) -> None:
    """R51: no hook runs then, so callbacks are what can undo half a start."""

    class Broken(Holder):
        def on_start(self) -> None:
            super().on_start()
            raise OSError("the port is taken")

    cell = supervisor.make(Broken, told, below)
    cell.start()
    assert supervisor.ended(cell).kind == "start_failed"

    supervisor.clock.settle()
    assert [number for number, _ in told] == [1]
    assert below[0].cancelled


def test_hooks_of_a_failure_come_before_the_cancel(
    supervisor: FakeSupervisor, cell: Cell, told: list[Any]
) -> None:
    """R51: on_failure can still wait on the clock with its token."""
    cell.ref.tell(ValueError("boom"))
    supervisor.ended(cell)
    supervisor.clock.settle()

    assert told == [(1, "RUNNING"), (1, "holder#1 has ended: failed")]


def test_waiter_on_the_token_of_a_failed_incarnation_is_woken(
    supervisor: FakeSupervisor, cell: Cell
) -> None:
    """R51, R83: a helper that waits is told as one that looks."""
    token, woken = token_of(cell), []

    def helper() -> None:
        woken.append(token.wait_cancelled())

    thread = supervisor.clock.thread(helper, name="helper", daemon=True)
    thread.start()
    supervisor.clock.settle()
    cell.ref.tell(ValueError("boom"))
    supervisor.clock.join(thread)

    assert woken == [True]


def test_failure_that_is_resumed_cancels_nothing(
    supervisor: FakeSupervisor, told: list[Any], below: list[StopToken]
) -> None:
    """R49, R51: the incarnation goes on, and its token with it."""
    cell = supervisor.start(Holder, told, below, decider=lambda _error: "resume")
    cell.ref.tell(ValueError("boom"))
    cell.ref.ask(lambda _actor: None)
    supervisor.clock.settle()

    assert not token_of(cell).draining
    assert told == []


def test_plain_actor_that_fails_cancels_its_token(
    clock: VirtualClock, told: list[Any], below: list[StopToken]
) -> None:
    """R51: without a supervisor too."""
    ref = Holder.start(told, below)
    ref.tell(ValueError("boom"))
    ref.actor_stopped.wait()
    clock.settle()

    assert below[0].cancelled
    assert len(told) == 2


# -- it did not fail


@pytest.mark.parametrize("how", ["stop", "exit", "ignored"])
def test_end_without_failure_drops_the_callbacks(
    supervisor: FakeSupervisor, told: list[Any], below: list[StopToken], how: str
) -> None:
    """R51, R13: nothing was cancelled, and nothing is called for it afterwards."""

    class Needless(Holder):
        def on_start(self) -> None:
            super().on_start()
            if how == "ignored":
                raise Ignore

    cell = supervisor.make(Needless, told, below)
    cell.start()
    if how != "ignored":
        supervisor.expect(Started)
    if how == "stop":
        cell.ref.stop(block=False)
    elif how == "exit":
        cell.ref.tell_control(ENDS["normal"])
    assert supervisor.ended(cell).kind in {"normal", "ignored"}
    token = token_of(cell)

    assert not token.draining
    assert not below[0].draining
    below[0].on_cancel(told.append)
    supervisor.token.cancel("all")
    supervisor.clock.settle()
    assert (token.reason, below[0].reason) == ("all", "all")
    assert told == ["all"]  # from the token that the host still holds


@pytest.mark.parametrize("signal", ["drain", "cancel"])
def test_shutdown_runs_each_callback_once(
    supervisor: FakeSupervisor, cell: Cell, told: list[Any], signal: str
) -> None:
    """R51, R83: a token that was cancelled has nothing left to drop or to run."""
    token = token_of(cell)
    getattr(supervisor.token, signal)("above")
    supervisor.stop(cell)
    supervisor.token.cancel("once more")
    supervisor.clock.settle()

    assert told == [(1, "above" if signal == "cancel" else "test")]
    assert not token._callbacks


def test_callbacks_of_ended_incarnations_do_not_run_at_the_end_of_the_tree(
    clock: VirtualClock, told: list[Any], below: list[StopToken]
) -> None:
    """R51, R13: each incarnation's ran when it ended."""
    spec = ChildSpec(Holder, (told, below), id="holder")
    with Supervisor.start("one_for_one", [spec]) as tree:
        for _ in range(2):
            tree.ref(spec).tell(ValueError("boom"))
            tree.ref(spec).ask(lambda _actor: None)
        clock.settle()
        told.clear()

    clock.settle()
    assert [number for number, _ in told] == [3]


def test_thread_left_behind_leaves_no_callback_when_it_ends(
    supervisor: FakeSupervisor, cell: Cell, told: list[Any], below: list[StopToken]
) -> None:
    """R51, R58: they run when it is abandoned; what it registers then, at once."""
    gate, token = Gate(), token_of(cell)

    def hang(actor: Any) -> None:
        gate.pass_through()
        actor.stop_token.on_cancel(lambda _reason: told.append("late"))

    cell.ref.tell(hang)
    gate.wait_arrived()
    assert cell.abandon("too slow")
    supervisor.clock.settle()
    assert told == [(1, "too slow")]
    assert below[0].reason == "too slow"

    run = cell.incarnation
    assert run is not None
    gate.open()
    run.join()
    supervisor.clock.settle()

    assert told == [(1, "too slow"), "late"]
    assert not token._callbacks


# -- nothing is left


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize("kind", ["failed", "normal"])
def test_callbacks_keep_no_dead_object(
    supervisor: FakeSupervisor, cell: Cell, kind: str
) -> None:
    """R51: token, callback and actor are no circle once the incarnation has ended."""
    assert cell.incarnation is not None
    old = weakref.ref(cell.incarnation.actor)

    cell.ref.tell_control(ENDS[kind])
    supervisor.ended(cell)
    cell.incarnation.join()
    supervisor.clock.settle()

    assert old() is None


@pytest.mark.usefixtures("no_gc")
def test_restarts_leave_no_token_in_the_parent(
    supervisor: FakeSupervisor, cell: Cell, below: list[StopToken]
) -> None:
    """R86: 1,000 of them, and no garbage collection."""
    dead = []
    for number in range(1000):
        assert cell.incarnation is not None
        dead.append(weakref.ref(cell.incarnation.actor))
        cell.ref.tell(ValueError(number))
        supervisor.restart(cell)
        below.clear()
    supervisor.clock.settle()

    assert [ref() for ref in supervisor.token._children] == [token_of(cell)]
    assert not token_of(cell)._children
    assert not [ref for ref in dead if ref() is not None]


@pytest.mark.real
@pytest.mark.usefixtures("no_gc")
def test_restarts_leave_no_token_in_the_parent_on_threads() -> None:
    """R86: on the system's clock, by a supervisor; also what was taken from below."""
    told: list[Any] = []
    below: list[StopToken] = []
    spec = ChildSpec(Holder, (told, below))
    options: Any = {"intensity": 10**6, "period": 0.001, "clock": SYSTEM_CLOCK}
    with Supervisor.start("one_for_one", [spec], **options) as tree:
        for number in range(1000):
            tree.ref(spec).tell(ValueError(number))
            tree.ref(spec).ask(lambda _actor: None, timeout=60)
        above = tree.stop_token
        below.clear()
        assert callback_thread(SYSTEM_CLOCK).flush(60)

        (left,) = [ref() for ref in above._children]
        assert left is token_of(tree.ref(spec).cell)
        assert len(told) == 2000


# -- at the same time


@pytest.mark.concurrent
@pytest.mark.parametrize("kind", ["failed", "normal"])
def test_end_and_signal_from_above_run_a_callback_once_at_most(
    clock: VirtualClock, kind: str
) -> None:
    """R51, R83: whoever comes first; of a failure exactly once."""
    told: list[Any] = []
    below: list[StopToken] = []
    spec = ChildSpec(Holder, (told, below), restart="temporary")
    tree = Supervisor.start("one_for_one", [spec])
    ref = tree.ref(spec)
    token = token_of(ref.cell)
    ref.tell_control(ENDS[kind])
    tree.stop_token.cancel("above")
    ref.actor_stopped.wait()
    tree.shutdown()
    clock.settle()

    heard = [reason for _, reason in told if reason not in PHASES]
    assert len(heard) == 1 if kind == "failed" else len(heard) <= 1
    assert below[0].cancelled
    assert not token._callbacks


class Held:
    """Waits below a token, and holds up who wakes it."""

    def __init__(self, clock: VirtualClock) -> None:
        self.gate = Gate(clock)

    def put(self, _: None) -> None:
        self.gate.pass_through()


@pytest.mark.usefixtures("below")
def test_end_does_not_take_back_what_a_signal_under_way_will_call(
    supervisor: FakeSupervisor, cell: Cell, told: list[Any]
) -> None:
    """R83: a token shows the signal before its callbacks are called.

    1. T marks all tokens, and is about to call whom they concern.  2. The actor sees
    the mark and ends.
    """
    clock = supervisor.clock
    held = Held(clock)
    supervisor.token.add_waiter(held)  # type: ignore[arg-type]
    signaller = clock.thread(lambda: supervisor.token.cancel("above"))
    signaller.start()
    held.gate.wait_arrived()
    assert token_of(cell).cancelled

    cell.ref.tell_control(Exit("normal"))
    supervisor.ended(cell)
    held.gate.open()
    clock.join(signaller)
    clock.settle()

    assert told == [(1, "above")]
    assert not token_of(cell)._callbacks
