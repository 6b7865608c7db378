"""Breaking off what an actor's own code does, and nothing else.

Most of it runs in real time: an exception thrown into a thread strikes where the
interpreter looks for it, which no clock orders.
"""

from __future__ import annotations

import dis
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from pykka.messages import ProxyGetAttr

from actors._interrupt import InterruptibleLoop, Interrupts
from actors._loop import ReceiveLoop
from actors.base import Actor
from actors.cell import Cell
from actors.clock import SYSTEM_CLOCK
from actors.errors import Cancelled
from actors.exits import Down, Exit, Started
from actors.ref_errors import ActorAbandoned, ActorDeadError
from actors.testing import Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.actors.conftest import FakeSupervisor

LIMIT = 30.0  # seconds that nothing here comes near


class Listener:
    """A supervisor in real time that only listens."""

    def __init__(self) -> None:
        self.notices = SYSTEM_CLOCK.queue()
        self.cells: list[Cell] = []

    def make(self, actor_class: type[Any], *args: Any, **options: Any) -> Cell:
        options = {"interruptible": True, **options}
        cell = Cell(
            actor_class, args, report=self.notices.put, clock=SYSTEM_CLOCK, **options
        )
        self.cells.append(cell)
        return cell

    def start(self, actor_class: type[Any], *args: Any, **options: Any) -> Cell:
        cell = self.make(actor_class, *args, **options)
        cell.start()
        assert isinstance(self.next(), Started)
        return cell

    def next(self) -> Any:
        return self.notices.get(timeout=LIMIT)

    def ended(self) -> Exit:
        while not isinstance(notice := self.next(), Down):
            pass
        exit_: Exit = notice.exit
        return exit_


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    for cell in listener.cells:
        run = cell.incarnation
        if cell.final is None and run is not None:
            cell.stop_now("the test is over")
            assert run.join(LIMIT)
        cell.finalize(Exit("shutdown"))


class Spinner(Actor):
    """Spins in one of its parts until that is broken off."""

    def __init__(self, where: str, spinning: threading.Event) -> None:
        super().__init__()
        self.where = where
        self.spinning = spinning
        self.log: list[str] = []
        self.spin_in("__init__")

    def spin_in(self, here: str) -> None:
        if here == self.where:
            self.spinning.set()
            while True:
                pass

    def on_start(self) -> None:
        self.spin_in("on_start")

    def on_receive(self, message: Any) -> Any:
        if message == "boom":
            raise ValueError
        self.spin_in("on_receive")
        return message

    def work(self) -> None:
        self.spin_in("proxy")

    @property
    def reading(self) -> None:
        self.spin_in("property")

    def on_control(self, message: Any) -> None:
        self.spin_in("on_control")

    def on_item(self, item: Any) -> None:
        self.spin_in("on_item")

    def asked_to_stop(self, request: Any) -> Exit | None:
        self.spin_in("asked_to_stop")
        return request.exit  # type: ignore[no-any-return]

    def on_stop(self) -> None:
        self.spin_in("on_stop")

    def on_failure(self, *exc_info: Any) -> None:
        self.spin_in("on_failure")


class OneItem:
    """A source of one item."""

    def __init__(self) -> None:
        self.items = [1]

    def take(self, wake: Any) -> Any:
        return self.items.pop() if self.items else None

    def withdraw(self, wake: Any) -> None:
        pass


def spin(actor: Any) -> None:
    actor.spin_in("after_start")


def with_source(actor: Any) -> None:
    actor.source = OneItem()


DRIVES: dict[str, Callable[[Cell], object]] = {
    "__init__": lambda cell: None,
    "on_start": lambda cell: None,
    "after_start": lambda cell: None,
    "factory": lambda cell: None,
    "on_receive": lambda cell: cell.ref.tell("x"),
    "proxy": lambda cell: cell.ref.proxy().work(),
    "property": lambda cell: cell.ref.ask(ProxyGetAttr(("reading",)), block=False),
    "on_control": lambda cell: cell.ref.tell_control("x"),
    "on_item": lambda cell: None,
    "asked_to_stop": lambda cell: cell.stop_now("now"),
    "on_stop": lambda cell: cell.ref.stop(block=False),
    "on_failure": lambda cell: cell.ref.tell("boom"),
}

ENDS = {"on_stop": "normal", "on_failure": "failed"}


@pytest.mark.real
@pytest.mark.parametrize("where", list(DRIVES))
def test_code_that_never_ends_is_broken_off(listener: Listener, where: str) -> None:
    """R60: wherever the host's code runs; the incarnation ends as one that obeys."""
    spinning = threading.Event()

    def factory() -> dict[str, Any]:
        if where == "factory":
            spinning.set()
            while True:
                pass
        return {}

    cell = listener.make(
        Spinner,
        where,
        spinning,
        kwargs=factory,
        after_start=with_source if where == "on_item" else spin,
    )
    cell.start()
    DRIVES[where](cell)
    assert spinning.wait(LIMIT)

    assert cell.interrupt("it does not stop")

    exit_ = listener.ended()
    assert exit_.kind == ENDS.get(where, "shutdown")
    run = cell.incarnation
    assert run is not None
    assert run.stop_token.reason in {"it does not stop", "now"}
    assert run.join(LIMIT)
    assert not run.hand


@pytest.mark.real
@pytest.mark.parametrize("asked", [True, False])
def test_message_that_was_broken_off_is_accounted_for(
    listener: Listener, asked: bool
) -> None:
    """R60, R6, R7: the ask fails, the tell is undelivered; the rest is kept."""
    spinning = threading.Event()
    cell = listener.start(Spinner, "on_receive", spinning)
    reply = None
    if asked:
        reply = cell.ref.ask("x", block=False)
    else:
        cell.ref.tell("x")
    assert spinning.wait(LIMIT)
    cell.ref.tell("behind it")

    assert cell.interrupt("enough")

    assert listener.ended().kind == "shutdown"
    if reply is not None:
        with pytest.raises(ActorDeadError, match="while handling"):
            reply.get(timeout=LIMIT)
    assert [u.message for u in cell.undelivered] == ([] if asked else ["x"])
    assert len(cell.mailbox) == 1


@pytest.mark.real
def test_code_that_catches_it_goes_on_and_can_be_interrupted_again(
    listener: Listener,
) -> None:
    """R60: best effort; each call throws once."""
    caught: list[type[BaseException]] = []
    spinning = [threading.Event(), threading.Event()]

    class Stubborn(Actor):
        def on_receive(self, message: Any) -> Any:
            try:
                spinning[0].set()
                while True:
                    pass
            except BaseException as error:  # noqa: BLE001  # as bad code does
                caught.append(type(error))
            spinning[1].set()
            while True:
                pass

    cell = listener.start(Stubborn)
    cell.ref.tell("x")
    for event in spinning:
        assert event.wait(LIMIT)
        assert cell.interrupt("enough")

    assert listener.ended().kind == "shutdown"
    assert caught == [Cancelled]


@pytest.mark.real
def test_wait_in_c_ends_first(listener: Listener) -> None:
    """R60, F17: a lock is not broken off; the exception strikes when it is had."""
    lock, waiting, after = threading.Lock(), threading.Event(), []

    class Waits(Actor):
        def on_receive(self, message: Any) -> Any:
            waiting.set()
            with lock:
                pass
            for number in range(1000):
                after.append(number)  # noqa: PERF402  # it is to be struck here

    cell = listener.start(Waits)
    with lock:
        cell.ref.tell("x")
        assert waiting.wait(LIMIT)
        assert cell.interrupt("enough")
        assert cell.incarnation is not None
        assert cell.incarnation.hand

    assert listener.ended().kind == "shutdown"
    assert len(after) < 1000


# -- what it must not do


def test_nothing_is_thrown_between_messages(supervisor: FakeSupervisor) -> None:
    """R60: an idle actor is in our code: it is told by its token alone."""
    cell = supervisor.start(Actor, interruptible=True)

    assert not cell.interrupt("enough")

    assert cell.incarnation is not None
    assert cell.incarnation.stop_token.cancelled
    supervisor.stop(cell)


def test_ordinary_cell_is_never_interrupted(supervisor: FakeSupervisor) -> None:
    """R60: the default is to abandon; its loop is the plain one."""
    gate = Gate()

    class Busy(Actor):
        def on_receive(self, message: Any) -> Any:
            gate.pass_through()

    cell = supervisor.make(Busy)
    assert not cell.interrupt("before it started")
    cell.start()
    supervisor.expect(Started)
    cell.ref.tell("x")
    gate.wait_arrived()

    assert not cell.interrupt("while it is busy")

    gate.open()


def test_one_left_behind_is_not_interrupted(supervisor: FakeSupervisor) -> None:
    """R58, R59: a zombie is never waited for or called again."""
    gate = Gate()

    class Busy(Actor):
        def on_receive(self, message: Any) -> Any:
            gate.pass_through()

    cell = supervisor.start(Busy, interruptible=True)
    asked = cell.ref.ask("x", block=False)
    gate.wait_arrived()
    assert cell.abandon("it does not stop") is not None

    assert not cell.interrupt("too late")

    gate.open()
    with pytest.raises(ActorAbandoned):
        asked.get()


def test_interruptible_actor_is_like_any_other(supervisor: FakeSupervisor) -> None:
    """R60, R5, R15: messages, proxies, control, errors and stops as ever."""

    class Plain(Actor):
        value = 1

        def on_receive(self, message: Any) -> Any:
            if message == "boom":
                raise KeyError
            return message

        def twice(self, number: int) -> int:
            return 2 * number

        def on_control(self, message: Any) -> Exit | None:
            return message if isinstance(message, Exit) else None

    cell = supervisor.start(Plain, interruptible=True)
    proxy = cell.ref.proxy()
    assert cell.ref.ask("x") == "x"
    assert proxy.twice(2).get() == 4
    proxy.value = 3
    assert proxy.value.get() == 3
    with pytest.raises(KeyError):
        cell.ref.ask("boom")
    cell.ref.tell("boom")
    assert supervisor.restart(cell).kind == "failed"
    assert cell.ref.ask("x") == "x"
    cell.ref.tell_control(Exit("gave_up"))
    assert supervisor.restart(cell).kind == "gave_up"
    stopped = cell.ref.stop(block=False)
    exit_ = supervisor.ended(cell)
    cell.finalize(exit_)
    assert (exit_.kind, stopped.get()) == ("normal", True)


# -- the edges


@pytest.mark.real
def test_no_throw_at_any_moment_strikes_outside_the_call() -> None:
    """R60: two threads against one that enters and leaves; only the call raises."""
    interrupts = Interrupts(SYSTEM_CLOCK)
    over = threading.Event()
    outcome: dict[str, int] = {"returned": 0, "struck": 0, "thrown": 0}
    outside: list[BaseException] = []

    def throw() -> None:
        while not over.is_set():
            outcome["thrown"] += interrupts.throw()

    def handler(rounds: int) -> int:
        total = 0
        for number in range(rounds):
            total += number
        return total

    def enter_and_leave() -> None:
        for number in range(1_000_000):
            if outcome["struck"] >= 100:
                break
            try:
                try:
                    value = interrupts.call(handler, number % 400)
                except Cancelled:
                    outcome["struck"] += 1
                else:
                    assert value == sum(range(number % 400))
                    outcome["returned"] += 1
                for _ in range(20):  # here it would strike, were one under way
                    pass
            except BaseException as error:  # noqa: BLE001  # what must not be
                outside.append(error)
        over.set()

    threads = [threading.Thread(target=throw) for _ in range(2)]
    threads.append(threading.Thread(target=enter_and_leave))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
    finally:
        sys.setswitchinterval(before)

    assert outside == []
    assert outcome["struck"] == 100
    assert outcome["returned"] > 0
    assert outcome["thrown"] >= outcome["struck"]


@pytest.mark.real
def test_messages_are_accounted_for_whenever_it_strikes(listener: Listener) -> None:
    """R60, R6, R7: each tell handled or undelivered, each ask answered, once."""
    begun: list[int] = []
    done: list[int] = []

    class Busy(Actor):
        capacity = None

        def on_receive(self, message: int) -> int:
            begun.append(message)
            for _ in range(message % 40):
                pass
            done.append(message)
            return message

    cell = listener.start(Busy)
    told = range(0, 2000, 2)
    replies = {}
    for number in told:
        cell.ref.tell(number)
        replies[number + 1] = cell.ref.ask(number + 1, block=False)
    while len(cell.mailbox):
        cell.interrupt("a whim")
        cell.stop_now("a whim")
        assert listener.ended().kind == "shutdown"
        cell.start()
    cell.ref.stop(block=False)
    cell.finalize(listener.ended())

    undelivered = {u.message for u in cell.undelivered}
    answered = {number for number, reply in replies.items() if _answers(reply)}
    assert begun == sorted(begun)
    assert len(set(begun)) == len(begun)
    # What it struck on the way to the first line of a handler has not begun.
    assert set(range(2000)) <= set(begun) | undelivered | set(replies) - answered
    assert set(told) <= set(done) | undelivered
    assert cell.undelivered_count == len(undelivered)
    # What it struck between the last line of a handler and our own is both.
    assert answered <= set(done)


def _answers(reply: Any) -> bool:
    try:
        reply.get(timeout=LIMIT)
    except ActorDeadError:
        return False
    return True


def test_the_two_loops_take_the_same_steps() -> None:
    """R60: the interruptible loop repeats the other one; neither may drift."""

    def steps(loop: type[ReceiveLoop]) -> list[str]:
        names = [
            str(step.argval)
            for step in dis.get_instructions(loop._handle)
            if step.opname.startswith(("LOAD_ATTR", "LOAD_METHOD", "LOAD_GLOBAL"))
        ]
        return [name for name in names if name not in {"_call", "_bare", "_actor"}]

    assert steps(InterruptibleLoop) == steps(ReceiveLoop)
