"""Where the object is made, and what its arguments are kept for."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from actors.base import Actor
from actors.clock import current_thread_name
from actors.errors import WouldDeadlock
from actors.exits import Exit, Ignore, Started
from actors.ref import current_cell
from actors.testing import Gate

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from actors.testing import VirtualClock
    from tests.actors.conftest import FakeSupervisor

    Seen: TypeAlias = dict[tuple[str, int], str]


class Maker:
    """A thread that makes what it is given: the caller of a start.

    ``leave`` ends it; what it had not begun is not made there.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._orders = clock.queue()
        self.gone = False
        self.made = 0
        self.errors: list[BaseException] = []
        self._thread = clock.thread(self._run, name="maker")
        self._thread.start()

    def make_on(self, make: Callable[[], None]) -> bool:
        if self.gone:
            return False
        done = self._clock.queue()
        self._orders.put((make, done))
        error = done.get()
        if error is not None:
            raise error
        return True

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            make, done = order
            error = None
            try:
                make()
                self.made += 1
            except BaseException as raised:  # noqa: BLE001  # for the other thread
                error = raised
                self.errors.append(raised)
            done.put(error)
            del order, make, error

    def leave(self) -> None:
        self.gone = True
        self._orders.put(None)
        self._clock.join(self._thread)


@pytest.fixture
def maker(clock: VirtualClock) -> Any:
    maker = Maker(clock)
    yield maker
    if not maker.gone:
        maker.leave()


class Where(Actor):
    """Notes the threads that its parts run on."""

    def __init__(self, seen: Seen, **_kwargs: Any) -> None:
        super().__init__()
        self.seen = seen
        self.note("__init__")

    def note(self, where: str) -> None:
        self.seen[where, self.incarnation] = current_thread_name()

    def on_start(self) -> None:
        self.note("on_start")

    def on_receive(self, message: Any) -> Any:
        return message(self) if callable(message) else message


def boom(_actor: Any) -> None:
    raise ValueError


# -- make_on


def test_first_init_runs_where_it_is_told_to_and_the_rest_at_home(
    supervisor: FakeSupervisor, maker: Maker
) -> None:
    """R27, init_in="caller": __init__ and the factory alone; the next at home."""
    seen: Seen = {}

    def factory() -> dict[str, Any]:
        seen["factory", cell.number] = current_thread_name()
        return {"extra": 1}

    cell = supervisor.make(Where, seen, kwargs=factory, name="child")
    cell.start(maker.make_on)
    supervisor.expect(Started)
    cell.ref.tell(boom)
    supervisor.restart(cell)

    assert seen == {
        ("factory", 1): "maker",
        ("__init__", 1): "maker",
        ("on_start", 1): "child",
        ("factory", 2): "child#2",
        ("__init__", 2): "child#2",
        ("on_start", 2): "child#2",
    }
    assert maker.made == 1


def test_init_elsewhere_finds_all_it_finds_at_home(
    supervisor: FakeSupervisor, maker: Maker
) -> None:
    """R27, R10, R64: its cell, its token, its clock, sends to itself, no deadlock."""
    found: dict[str, Any] = {}

    class Looks(Where):
        def __init__(self) -> None:
            super().__init__({})
            found["cell"] = current_cell()
            found["token"] = self.stop_token.cancelled
            found["clock"] = self.clock
            found["incarnation"] = self.incarnation
            for number in range(3):  # more than it has room for
                self.actor_ref.tell(number)
            with pytest.raises(WouldDeadlock):
                self.actor_ref.ask("myself")
            with pytest.raises(WouldDeadlock):
                self.actor_ref.stop()

    cell = supervisor.make(Looks, capacity=1)
    cell.start(maker.make_on)
    supervisor.expect(Started)

    assert found == {
        "cell": cell,
        "token": False,
        "clock": supervisor.clock,
        "incarnation": 1,
    }
    assert cell.ref.ask(lambda _actor: current_cell() is cell)
    here: list[Any] = []
    maker.make_on(lambda: here.append(current_cell()))
    assert here == [None]  # the thread is its own again


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("boom"), "start_failed"),
        (Ignore(), "ignored"),
        (KeyboardInterrupt(), "fatal"),
    ],
)
def test_error_of_an_init_elsewhere_is_the_childs(
    supervisor: FakeSupervisor, maker: Maker, error: BaseException, kind: str
) -> None:
    """R28, R33, R69: the same exits as from the child's own thread."""

    class Fails(Where):
        def __init__(self) -> None:
            super().__init__({})
            raise error

    cell = supervisor.make(Fails)
    cell.start(maker.make_on)

    exit_ = supervisor.ended(cell)

    assert exit_.kind == kind
    if kind != "ignored":
        assert exit_.error is error
    assert maker.errors == [error]
    run = cell.incarnation
    assert run is not None
    assert run.actor is None
    here: list[Any] = []
    maker.make_on(lambda: here.append(current_cell()))
    assert here == [None]


def test_object_is_made_at_home_if_the_caller_has_gone(
    supervisor: FakeSupervisor, maker: Maker
) -> None:
    """R27: False says that nobody is there: the child starts all the same."""
    seen: Seen = {}
    maker.leave()
    cell = supervisor.make(Where, seen, name="child")

    cell.start(maker.make_on)

    supervisor.expect(Started)
    assert seen["__init__", 1] == "child"


def test_error_of_the_way_there_is_a_start_failure(
    supervisor: FakeSupervisor,
) -> None:
    """R28: whatever keeps the object from being made fails the start."""

    def make_on(_make: Callable[[], None]) -> bool:
        raise TimeoutError

    cell = supervisor.make(Where, {})
    cell.start(make_on)

    exit_ = supervisor.ended(cell)

    assert exit_.kind == "start_failed"
    assert isinstance(exit_.error, TimeoutError)


@pytest.mark.concurrent
def test_child_left_behind_before_its_turn_is_never_made(
    supervisor: FakeSupervisor, maker: Maker
) -> None:
    """R31, R58, R59: the caller makes no object for an incarnation that is gone."""
    gate = Gate()
    seen: Seen = {}
    busy = supervisor.clock.thread(maker.make_on, args=(gate.pass_through,))
    busy.start()
    gate.wait_arrived()
    cell = supervisor.make(Where, seen, name="child")
    cell.start(maker.make_on)

    assert cell.abandon("did not start in time") is not None
    cell.start()
    supervisor.expect(Started)
    gate.open()

    supervisor.clock.join(busy)
    supervisor.clock.settle()
    assert seen == {("__init__", 2): "child#2", ("on_start", 2): "child#2"}
    assert cell.zombies == ()
    assert cell.ref.ask("alive") == "alive"
    assert maker.errors == []


@pytest.mark.concurrent
def test_child_left_behind_while_it_is_made_hurts_nobody(
    supervisor: FakeSupervisor, maker: Maker
) -> None:
    """R31, R58, R59: its stack is where the __init__ hangs; it ends when that does."""
    gate, ended = Gate(), []

    class Hangs(Where):
        def __init__(self, seen: Seen) -> None:
            super().__init__(seen)
            if self.incarnation == 1:
                gate.pass_through()

        def on_end(self, exit: Exit) -> None:  # noqa: A002
            ended.append((self.incarnation, exit.kind))

    cell = supervisor.make(Hangs, {})
    cell.start(maker.make_on)
    gate.wait_arrived()

    stack = cell.abandon("did not start in time")
    cell.start()
    supervisor.expect(Started)
    gate.open()

    supervisor.clock.settle()
    assert stack is not None
    assert "gate.pass_through()" in stack
    assert cell.zombies == ()
    assert cell.ref.ask(lambda actor: actor.incarnation) == 2
    assert ended == [(1, "abandoned")]


def test_stop_while_it_is_made_elsewhere_comes_next(
    supervisor: FakeSupervisor, maker: Maker
) -> None:
    """R32, R63: the stop waits in the control lane; no message is handled first."""
    gate = Gate()

    class Slow(Where):
        def __init__(self) -> None:
            super().__init__({})
            gate.pass_through()

    cell = supervisor.make(Slow)
    cell.ref.tell(boom)
    cell.start(maker.make_on)
    gate.wait_arrived()
    cell.stop_now("enough")
    gate.open()

    supervisor.expect(Started)
    assert supervisor.ended(cell).kind == "shutdown"
    assert not cell.undelivered


# -- arguments


class Big:
    """An argument that somebody counts on being let go of."""


class Careless(Actor):
    """Keeps nothing of what it is made from."""

    def __init__(self, *_args: Any, gate: Gate | None = None, **_kwargs: Any) -> None:
        super().__init__()
        if gate is not None:
            gate.pass_through()

    def on_receive(self, message: Any) -> Any:
        return message


@pytest.mark.parametrize("factory", [True, False])
def test_arguments_of_a_temporary_child_are_not_retained(
    supervisor: FakeSupervisor, factory: bool
) -> None:
    """R76: nor those of a factory, nor the factory itself."""
    big, kwarg = Big(), Big()
    gone = [weakref.ref(big), weakref.ref(kwarg)]
    kwargs: Any = {"big": kwarg}
    if factory:
        kwargs = lambda held=kwarg: {"big": held}  # noqa: E731
    cell = supervisor.make(Careless, big, kwargs=kwargs)
    del big, kwarg, kwargs

    cell.start()
    cell.forget_arguments()
    supervisor.expect(Started)

    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert cell.ref.ask("alive") == "alive"


@pytest.mark.concurrent
def test_arguments_forgotten_at_the_start_still_make_the_object(
    supervisor: FakeSupervisor,
) -> None:
    """R76: an incarnation at its start has its own, whoever is first."""
    seen: Seen = {}
    cell = supervisor.make(Where, seen, name="child")

    cell.start()
    cell.forget_arguments()

    supervisor.expect(Started)
    assert seen["__init__", 1] == "child"


def test_arguments_are_let_go_of_when_the_start_fails(
    supervisor: FakeSupervisor,
) -> None:
    """R76, R51: neither the exit nor its traceback keeps them."""

    class Fails(Careless):
        def __init__(self, big: Big) -> None:
            super().__init__(big)
            raise ValueError

    big = Big()
    gone = weakref.ref(big)
    cell = supervisor.make(Fails, big)
    del big

    cell.start()
    cell.forget_arguments()

    assert supervisor.ended(cell).kind == "start_failed"
    gc.collect()
    assert gone() is None


def test_arguments_serve_each_incarnation_until_forgotten(
    supervisor: FakeSupervisor,
) -> None:
    """R2: a restart makes a new object from the same arguments."""
    seen: Seen = {}
    cell = supervisor.start(Where, seen)
    for _ in range(3):
        cell.ref.tell(boom)
        supervisor.restart(cell)

    assert cell.ref.ask(lambda actor: actor.seen is seen)
    assert [number for where, number in seen if where == "__init__"] == [1, 2, 3, 4]
