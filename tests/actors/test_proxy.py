"""A proxy in all the states of its actor: what it asks for waits as messages do."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors._proxy import Proxy
from actors.base import Actor
from actors.exits import Exit, Started
from actors.ref_errors import ActorDeadError, ActorDown
from actors.testing import Gate
from supervision import Backoff, ChildSpec, Supervisor

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.testing import VirtualClock
    from tests.actors.conftest import FakeSupervisor


class Player:
    pykka_traversable = True

    def __init__(self, volume: int) -> None:
        self.volume = volume

    def louder(self) -> int:
        self.volume += 1
        return self.volume


class Server(Actor):
    """Has all its attributes from ``__init__`` and ``on_start`` alone."""

    capacity = 100

    def __init__(self, gate: Gate | None = None) -> None:
        super().__init__()
        if gate is not None and self.incarnation == 2:
            gate.pass_through()
        self.port = 8000 + self.incarnation
        self.greet = lambda name: f"{name}, from {self.incarnation}"
        self.noted: list[str] = []
        self.note = self.noted.append
        self.player = Player(self.incarnation)

    def on_start(self) -> None:
        self.late = f"late {self.incarnation}"

    def on_receive(self, message: Any) -> Any:
        raise ValueError(message)


def crash(supervisor: FakeSupervisor, cell: Cell) -> None:
    cell.ref.tell("boom")
    supervisor.ended(cell)


def start(supervisor: FakeSupervisor, cell: Cell) -> None:
    cell.start()
    supervisor.expect(Started)


@pytest.fixture
def down(supervisor: FakeSupervisor) -> Cell:
    """A server that crashed; no proxy has ever seen it."""
    cell = supervisor.start(Server)
    crash(supervisor, cell)
    return cell


# -- attributes of the instance


def test_attribute_is_read_of_the_next_object(
    supervisor: FakeSupervisor, down: Cell
) -> None:
    """R1, R3: an attribute that only objects have waits for one, as a message does."""
    answers = [getattr(down.ref.proxy(), name) for name in ("port", "late")]

    start(supervisor, down)

    assert pykka.get_all(answers) == [8002, "late 2"]


def test_attribute_is_read_in_the_order_of_the_messages(
    supervisor: FakeSupervisor, down: Cell
) -> None:
    """R3: first in, first out, proxies too."""
    proxy: Any = down.ref.proxy()
    before = proxy.port
    down.ref.ask(pykka.messages.ProxySetAttr(("port",), 1), block=False)
    after = proxy.port

    start(supervisor, down)

    assert pykka.get_all([before, after]) == [8002, 1]


def test_attribute_can_be_read_before_the_first_start(
    supervisor: FakeSupervisor,
) -> None:
    """R1: a ref is good from the beginning."""
    cell = supervisor.make(Server)
    answer = cell.ref.proxy().port

    start(supervisor, cell)

    assert answer.get() == 8001


@pytest.mark.parametrize("where", ["__init__", "on_start"])
def test_attribute_can_be_read_while_the_object_is_half_made(
    supervisor: FakeSupervisor, where: str
) -> None:
    """R1: what an object lacks that has not started, it may yet get."""
    gate = Gate()

    class Slow(Server):
        def __init__(self) -> None:
            if where == "__init__":
                gate.pass_through()
            super().__init__()

        def on_start(self) -> None:
            if where == "on_start":
                gate.pass_through()
            super().on_start()

    cell = supervisor.make(Slow)
    proxy: Any = cell.ref.proxy()
    cell.start()
    gate.wait_arrived()
    answers = [proxy.late, cell.ref.proxy().late]
    gate.open()

    assert pykka.get_all(answers) == ["late 1"] * 2


def test_proxy_reads_through_restart_and_backoff(clock: VirtualClock) -> None:
    """R1, R3: of a supervised child, through its ref."""
    gate = Gate()
    backoff = Backoff(initial=5.0, jitter=0.0, first_immediate=False)
    spec = ChildSpec(Server, (gate,), backoff=backoff)
    with Supervisor.start("one_for_one", [spec]) as tree:
        tree.ref(spec).tell("boom")
        clock.settle()
        backing_off = tree.ref(spec).proxy().port
        clock.advance(5.0)
        gate.wait_arrived()
        restarting = tree.ref(spec).proxy().port
        gate.open()

        assert pykka.get_all([backing_off, restarting]) == [8002, 8002]


def test_attribute_that_the_next_object_lacks_is_its_error(
    supervisor: FakeSupervisor, down: Cell
) -> None:
    """R1: the actor answers for itself; one that runs is looked at, as Pykka does."""
    proxy: Any = down.ref.proxy()
    answer = proxy.prot

    start(supervisor, down)

    with pytest.raises(AttributeError, match="'Server' object has no attribute 'prot'"):
        answer.get()
    with pytest.raises(AttributeError, match=r"<ActorProxy for .*'prot'"):
        _ = proxy.prot


# -- what is no attribute to be read


@pytest.mark.parametrize("state", ["running", "down", "dead"])
def test_private_name_is_refused_in_every_state(
    supervisor: FakeSupervisor, state: str
) -> None:
    """R1: what begins with an underscore is no concern of others."""
    cell = supervisor.start(Server)
    proxy: Any = cell.ref.proxy()
    if state != "running":
        crash(supervisor, cell)
    if state == "dead":
        cell.finalize(Exit("shutdown"))

    for name in ("_port", "__len__"):
        with pytest.raises(AttributeError, match=name):
            getattr(proxy, name)

    assert len(cell.mailbox) == 0
    assert callable(proxy.greet)


@pytest.mark.parametrize("new", [True, False])
def test_callable_of_the_last_object_can_be_called_of_the_next(
    supervisor: FakeSupervisor, new: bool
) -> None:
    """R1: what one proxy saw, all proxies of the ref know while nobody is there."""
    cell = supervisor.start(Server)
    proxy: Any = cell.ref.proxy()
    crash(supervisor, cell)
    if new:
        proxy = cell.ref.proxy()
    missed = proxy.unheard_of  # another look, which finds the class alone
    answer = proxy.greet("Ada")
    proxy.note.defer("deferred")
    noted = proxy.noted

    start(supervisor, cell)

    assert answer.get() == "Ada, from 2"
    assert noted.get() == ["deferred"]
    with pytest.raises(AttributeError):
        missed.get()


@pytest.mark.parametrize("new", [True, False])
def test_traversable_of_the_last_object_leads_to_the_next(
    supervisor: FakeSupervisor, new: bool
) -> None:
    """R1: with the attributes and methods below it."""
    cell = supervisor.start(Server)
    proxy: Any = cell.ref.proxy()
    crash(supervisor, cell)
    if new:
        proxy = cell.ref.proxy()
    player = proxy.player
    answers = [player.volume, player.louder(), proxy.player.volume, player.balance]

    start(supervisor, cell)

    assert type(player) is Proxy
    assert player == cell.ref.proxy().player
    assert pykka.get_all(answers[:3]) == [2, 3, 3]
    with pytest.raises(AttributeError, match=r"'Player' object has no .*'balance'"):
        answers[3].get()


def test_callable_that_no_proxy_saw_is_read(
    supervisor: FakeSupervisor, down: Cell
) -> None:
    """R1: nobody knows better; what is read is what can be called."""
    answer = down.ref.proxy().greet

    start(supervisor, down)

    assert answer.get()("Ada") == "Ada, from 2"


def test_attribute_is_set_on_the_next_object(
    supervisor: FakeSupervisor, down: Cell
) -> None:
    """R1, R3: a setter waits for the object that it sets."""

    def write() -> None:
        down.ref.proxy().port = 1

    writer = supervisor.clock.thread(write, name="writer", daemon=True)
    writer.start()
    supervisor.clock.settle()
    assert len(down.mailbox) == 1
    start(supervisor, down)
    supervisor.clock.join(writer)

    assert down.ref.proxy().port.get() == 1


def test_only_the_names_of_a_dead_object_are_known(
    supervisor: FakeSupervisor,
) -> None:
    """R51: what a proxy has learned keeps no object alive."""
    cell = supervisor.start(Server)
    proxy: Any = cell.ref.proxy()
    old = weakref.ref(cell.incarnation.actor)  # type: ignore[union-attr]
    crash(supervisor, cell)
    gc.collect()

    assert old() is None
    assert {"port", "greet", "late"} <= {*dir(proxy)} & {*dir(cell.ref.proxy())}


# -- nobody will be there


@pytest.mark.parametrize("supervised", [True, False])
def test_dead_actor_is_dead_for_an_attribute_that_was_never_read(
    supervisor: FakeSupervisor, supervised: bool
) -> None:
    """R1: as Pykka has it, in the future."""
    if supervised:
        cell = supervisor.start(Server)
        proxy: Any = cell.ref.proxy()
        supervisor.stop(cell)
    else:
        ref = Server.start()
        proxy = ref.proxy()
        ref.stop()

    for name in ("port", "late", "unheard_of"):
        with pytest.raises(ActorDeadError):
            getattr(proxy, name).get()


def test_child_that_is_not_to_be_waited_for_is_down_for_attributes_too(
    supervisor: FakeSupervisor,
) -> None:
    """R3: with while_down="fail" at once."""
    cell = supervisor.start(Server, while_down="fail")
    crash(supervisor, cell)

    with pytest.raises(ActorDown):
        cell.ref.proxy().port.get(timeout=0)


# -- at the same time


@pytest.mark.concurrent
def test_reading_while_it_crashes_always_gets_an_answer(clock: VirtualClock) -> None:
    """R1, R3: whatever the moment; never an error of the proxy's own."""
    spec = ChildSpec(Server)
    read: list[Any] = []
    with Supervisor.start("one_for_one", [spec], intensity=100) as tree:
        old: Any = tree.ref(spec).proxy()

        def reader() -> None:
            for _ in range(10):
                new: Any = tree.ref(spec).proxy()
                for proxy in (old, new):
                    answers = [proxy.port, proxy.greet("x"), proxy.player.volume]
                    read.append(pykka.get_all(answers))

        readers = [clock.thread(reader, name="r", daemon=True) for _ in range(2)]
        for each in readers:
            each.start()
        for _ in range(10):
            tree.ref(spec).tell("boom")
        for each in readers:
            clock.join(each)

    assert len(read) == 40
    assert all(port > 8000 and volume > 0 for port, _, volume in read)


@pytest.mark.real
def test_reading_while_it_crashes_always_gets_an_answer_on_threads() -> None:
    """R1, R3: also where every switch of threads is possible."""
    spec = ChildSpec(Server)
    read: list[int] = []
    with Supervisor.start("one_for_one", [spec], intensity=10_000) as tree:

        def reader() -> None:
            proxies = (tree.ref(spec).proxy() for _ in range(100))
            read.extend(proxy.port.get(timeout=60) for proxy in proxies)

        readers = [threading.Thread(target=reader) for _ in range(2)]
        for each in readers:
            each.start()
        for _ in range(200):
            tree.ref(spec).tell("boom")
        for each in readers:
            each.join()

    assert len(read) == 200
