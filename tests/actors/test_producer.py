"""A producer in a cell, with a host that takes what it brings.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from actors._inside import Role, role_in
from actors.errors import Cancelled, MailboxClosed
from actors.exits import Exit
from actors.producer import Producer, ProducerWiring
from actors.testing import Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors.cell import Cell
    from actors.stop_token import StopToken
    from tests.actors.conftest import FakeSupervisor


class Host:
    """What a pipeline is to a producer.

    Attributes:
        items: What was brought.
        ends: What ``ended`` was told.
        on_submit: Called with each item and the producer's token before it is taken.
    """

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.ends: list[BaseException | None] = []
        self.roles: list[Role | None] = []
        self.on_submit: Callable[[Any, StopToken], None] = lambda _item, _token: None
        self.wiring = ProducerWiring(self, self.submit, self.ends.append)

    def submit(self, item: Any, token: StopToken) -> None:
        mark = role_in(self)
        self.roles.append(mark and mark.role)
        self.on_submit(item, token)
        self.items.append(item)


@pytest.fixture
def host(supervisor: FakeSupervisor) -> Host:
    return Host()


def start(
    supervisor: FakeSupervisor, host: Host, producer: Any = Producer, *args: Any
) -> Cell:
    cell = supervisor.start(producer, *args, kwargs={"wiring": host.wiring})
    supervisor.clock.settle()
    return cell


def test_everything_of_an_iterable_is_brought_in_order(
    supervisor: FakeSupervisor, host: Host
) -> None:
    cell = start(supervisor, host, Producer, [1, 2, 3])

    assert host.items == [1, 2, 3]
    assert host.ends == [None]
    assert supervisor.ended(cell) == Exit("normal")


def test_an_empty_producer_ends_at_once(supervisor: FakeSupervisor, host: Host) -> None:
    cell = start(supervisor, host)

    assert host.ends == [None]
    assert supervisor.ended(cell) == Exit("normal")


def test_a_subclass_says_what_it_produces(
    supervisor: FakeSupervisor, host: Host
) -> None:
    class Squares(Producer):
        def __init__(self, count: int) -> None:
            super().__init__()
            self.count = count

        def produce(self) -> Iterator[int]:
            for number in range(self.count):
                yield number**2

    start(supervisor, host, Squares, 4)

    assert host.items == [0, 1, 4, 9]


def test_the_next_item_is_pulled_when_the_last_has_room(
    supervisor: FakeSupervisor, host: Host
) -> None:
    gate, pulled = Gate(), []

    def pull() -> Iterator[int]:
        for number in range(3):
            pulled.append(number)
            yield number

    host.on_submit = lambda _item, _token: gate.pass_through()
    start(supervisor, host, Producer, pull())

    assert pulled == [0]
    gate.open()
    supervisor.clock.settle()
    assert pulled == [0, 1, 2]


def test_items_come_from_a_thread_of_its_own(
    supervisor: FakeSupervisor, host: Host
) -> None:
    start(supervisor, host, Producer, [1])

    assert host.roles == [Role.PRODUCER]


def test_a_raising_iterator_ends_it_with_the_error(
    supervisor: FakeSupervisor, host: Host
) -> None:
    error = OSError("disk")

    def pull() -> Iterator[int]:
        yield 1
        raise error

    cell = start(supervisor, host, Producer, pull())

    assert host.items == [1]
    assert host.ends == [error]
    exit_ = supervisor.ended(cell)
    assert (exit_.kind, exit_.error) == ("failed", error)


def test_a_produce_that_raises_is_told_too(
    supervisor: FakeSupervisor, host: Host
) -> None:
    error = OSError("disk")

    class Broken(Producer):
        def produce(self) -> Iterator[Any]:
            raise error

    cell = start(supervisor, host, Broken)

    assert host.ends == [error]
    assert supervisor.ended(cell).kind == "failed"


def test_an_item_that_is_refused_is_the_producers_error(
    supervisor: FakeSupervisor, host: Host
) -> None:
    error = ValueError("no job")

    def refuse(_item: Any, _token: StopToken) -> None:
        raise error

    host.on_submit = refuse
    start(supervisor, host, Producer, [1, 2])

    assert host.ends == [error]
    assert host.items == []


@pytest.mark.parametrize("error", [MailboxClosed("closed"), Cancelled("stop")])
def test_a_closed_intake_is_its_normal_end(
    supervisor: FakeSupervisor, host: Host, error: BaseException
) -> None:
    def refuse(_item: Any, _token: StopToken) -> None:
        raise error

    host.on_submit = refuse
    cell = start(supervisor, host, Producer, [1, 2])

    assert host.ends == [None]
    assert supervisor.ended(cell) == Exit("normal")


def test_a_drain_ends_it_before_its_next_item(
    supervisor: FakeSupervisor, host: Host
) -> None:
    pulled: list[int] = []

    def pull() -> Iterator[int]:
        for number in range(5):
            pulled.append(number)
            yield number

    def drain(item: Any, _token: StopToken) -> None:
        if item == 2:
            supervisor.token.drain("enough")

    host.on_submit = drain
    cell = start(supervisor, host, Producer, pull())

    assert host.items == pulled == [0, 1, 2]
    assert host.ends == [None]
    assert supervisor.ended(cell) == Exit("normal")


def test_its_token_goes_with_each_item(supervisor: FakeSupervisor, host: Host) -> None:
    tokens: list[StopToken] = []
    host.on_submit = lambda _item, token: tokens.append(token)

    start(supervisor, host, Producer, [1, 2])

    assert tokens[0] is tokens[1]
    supervisor.token.cancel("stop")
    assert tokens[0].cancelled


@pytest.mark.concurrent
def test_the_order_to_stop_ends_its_wait_for_room(
    supervisor: FakeSupervisor, host: Host
) -> None:
    def wait_for_room(_item: Any, token: StopToken) -> None:
        token.wait_cancelled()
        raise Cancelled(token.reason)

    host.on_submit = wait_for_room
    cell = start(supervisor, host, Producer, [1, 2])

    cell.stop_now("stop")

    assert supervisor.ended(cell) == Exit("shutdown")
    assert host.items == []
    assert host.ends == [None]


def test_the_order_to_stop_comes_before_the_next_pull(
    supervisor: FakeSupervisor, host: Host
) -> None:
    gate = Gate()

    def pull() -> Iterator[int]:
        yield 1
        gate.pass_through()  # an iterator of the host's does not hear of a stop
        yield 2
        yield 3

    cell = start(supervisor, host, Producer, pull())

    cell.stop_now("stop")
    gate.open()

    assert supervisor.ended(cell) == Exit("shutdown")
    assert host.items == [1, 2]


def test_it_says_only_once_that_it_ended(
    supervisor: FakeSupervisor, host: Host
) -> None:
    cell = start(supervisor, host, Producer, [1])
    supervisor.ended(cell)

    assert host.ends == [None]


def test_a_transient_producer_goes_on_after_a_crash(
    supervisor: FakeSupervisor, host: Host
) -> None:
    class Resumes(Producer):
        restart: ClassVar[str] = "transient"
        done: ClassVar[list[int]] = []

        def produce(self) -> Iterator[int]:
            for number in range(len(self.done), 4):
                self.done.append(number)
                yield number
                if number == 1:
                    raise OSError("disk")

    cell = start(supervisor, host, Resumes)
    assert host.ends == []  # it is not over

    exit_ = supervisor.restart(cell)
    supervisor.clock.settle()

    assert exit_.kind == "failed"
    assert host.items == [0, 1, 2, 3]
    assert host.ends == [None]


def test_a_plain_producer_pulls_nothing() -> None:
    ref = Producer.start(iter([1]))

    produced = ref.proxy().produce().get()

    ref.stop()
    assert list(produced) == [1]
