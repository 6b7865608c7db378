"""What the decider of a cell is asked, and what its answer does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors.base import Actor
from actors.clock import current_thread_name
from actors.errors import Cancelled
from actors.exits import Crash, Down, Exit, Failing, Resumed
from actors.testing import Gate

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.cell import Cell
    from actors.exits import StopRequest
    from tests.actors.conftest import FakeSupervisor


class Doer(Actor):
    """Does what it is told to; keeps a count over its own life."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0

    def on_receive(self, message: Callable[[Any], Any]) -> Any:
        answer = message(self)
        self.done += 1
        return answer


class Decider:
    """Answers one thing, and keeps what it was asked."""

    def __init__(self, answer: str = "restart") -> None:
        self.answer = answer
        self.asked: list[tuple[type[Exception], str]] = []

    def __call__(self, error: Exception) -> str:
        self.asked.append((type(error), current_thread_name()))
        return self.answer


def raising(error: BaseException) -> Callable[[Any], Any]:
    def fail(_actor: Any) -> None:
        raise error

    return fail


def resumed(supervisor: FakeSupervisor, cell: Cell) -> BaseException:
    notice: Resumed = supervisor.expect(Resumed)
    assert (notice.cell, notice.number) == (cell, cell.number)
    assert "Traceback" in notice.traceback
    return notice.error


# -- resume


def test_resume_keeps_the_object_and_its_mailbox(supervisor: FakeSupervisor) -> None:
    """R49: resume keeps object and mailbox; the message is undelivered."""
    cell = supervisor.start(Doer, decider=Decider("resume"), capacity=10)
    error, gate = ValueError("boom"), Gate()
    boom = raising(error)
    cell.ref.tell(lambda _actor: gate.pass_through())
    cell.ref.tell(boom)
    behind = cell.ref.ask(lambda actor: (actor.done, actor.incarnation), block=False)
    gate.open()

    assert resumed(supervisor, cell) is error

    assert error.__traceback__ is None  # its frames hold the actor
    assert behind.get() == (1, 1)
    (record,) = cell.undelivered
    assert (record.message, record.error) == (boom, error)
    assert cell.last_exit is None
    assert not cell.incarnation.hand  # type: ignore[union-attr]


@pytest.mark.parametrize("how", ["Crash", "crash_on_ask"])
def test_resumed_ask_is_answered(supervisor: FakeSupervisor, how: str) -> None:
    """R49, R5, R6: the asker gets the error and the object goes on."""
    decider = Decider("resume")
    cell = supervisor.start(Doer, decider=decider, crash_on_ask=(LookupError,))
    error = KeyError("k")

    with pytest.raises(KeyError) as caught:
        cell.ref.ask(raising(Crash(error) if how == "Crash" else error))

    assert caught.value is error
    assert resumed(supervisor, cell) is error
    assert cell.ref.ask(lambda actor: actor.incarnation) == 1
    assert [asked for asked, _ in decider.asked] == [KeyError]
    assert not cell.undelivered


def test_resume_of_a_control_message_loses_no_other(supervisor: FakeSupervisor) -> None:
    """R49, R20: control messages still queued are served by the same object."""
    gate = Gate()

    class Fragile(Doer):
        def on_control(self, message: Any) -> None:
            if message == "boom":
                gate.pass_through()
                raise ValueError
            self.done = message

    cell = supervisor.start(Fragile, decider=Decider("resume"))
    cell.ref.tell_control("boom")
    cell.ref.tell_control(7)
    gate.open()

    resumed(supervisor, cell)

    assert cell.ref.ask(lambda actor: (actor.done, actor.incarnation)) == (7, 1)


def test_resume_after_an_item_takes_the_next_one(supervisor: FakeSupervisor) -> None:
    """R49: an item of a source that failed is the source's; the object goes on."""
    taken: list[int] = []

    class Items:
        def __init__(self) -> None:
            self.items = [2, 1]

        def take(self, wake: Any) -> Any:
            return self.items.pop() if self.items else None

        def withdraw(self, wake: Any) -> None:
            pass

    class Taker(Doer):
        def on_start(self) -> None:
            self.source = Items()

        def on_item(self, item: int) -> None:
            taken.append(item)
            if item == 1:
                raise ValueError

    cell = supervisor.start(Taker, decider=Decider("resume"))

    resumed(supervisor, cell)

    supervisor.clock.settle()
    assert taken == [1, 2]
    assert cell.number == 1


def test_failure_can_be_resumed_any_number_of_times(supervisor: FakeSupervisor) -> None:
    """R49, R7: each failed tell is undelivered once and reported once."""
    cell = supervisor.start(Doer, decider=Decider("resume"))

    for _ in range(50):
        cell.ref.tell(raising(ValueError()))
        resumed(supervisor, cell)

    assert cell.undelivered_count == 50
    assert cell.ref.ask(lambda actor: actor.done) == 0


@pytest.mark.concurrent
def test_resume_against_a_stop_ends_the_actor_once(supervisor: FakeSupervisor) -> None:
    """R49, R18, R36: a stop that comes while the decider answers is not lost."""
    stops: list[int] = []

    class Stops(Doer):
        def on_stop(self) -> None:
            stops.append(self.incarnation)

    cell = supervisor.start(Stops, decider=Decider("resume"))
    cell.ref.tell(raising(ValueError()))

    cell.stop_now("enough")

    notice = supervisor.next_notice()
    if isinstance(notice, Resumed):
        notice = supervisor.next_notice()
    assert isinstance(notice, Down)
    assert notice.exit.kind == "shutdown"
    assert stops == [1]
    cell.finalize(notice.exit)
    assert cell.undelivered_count == 1


@pytest.mark.concurrent
def test_resume_against_abandoning_lets_no_zombie_go_on(
    supervisor: FakeSupervisor,
) -> None:
    """R49, R58, R59: a decider that answers too late resumes nobody."""
    gate, handled = Gate(), []

    def decider(_error: Exception) -> str:
        gate.pass_through()
        return "resume"

    class Notes(Doer):
        def on_receive(self, message: Any) -> Any:
            handled.append(self.incarnation)
            return super().on_receive(message)

    cell = supervisor.start(Notes, decider=decider)
    cell.ref.tell(raising(ValueError()))
    gate.wait_arrived()
    asked = cell.ref.ask(lambda actor: actor.incarnation, block=False)

    assert cell.abandon("its decider takes too long") is not None
    gate.open()
    cell.start()

    supervisor.expect_started(cell)
    assert asked.get() == 2
    supervisor.clock.settle()
    assert handled == [1, 2]
    assert cell.zombies == ()
    assert not [n for n in supervisor.notices if isinstance(n, Resumed)]


# -- the other answers


@pytest.mark.parametrize("answer", ["restart", "stop", "escalate"])
def test_answer_stands_in_the_exit(supervisor: FakeSupervisor, answer: str) -> None:
    """R49, R27: asked once, on the actor's own thread; the supervisor reads it."""
    decider = Decider(answer)
    cell = supervisor.start(Doer, decider=decider, name="child")
    cell.ref.tell(raising(ValueError("boom")))

    exit_ = supervisor.ended(cell)

    assert (exit_.kind, exit_.directive) == ("failed", answer)
    assert exit_.message is not None
    assert "ValueError: boom" in exit_.traceback
    assert decider.asked == [(ValueError, "child")]


@pytest.mark.parametrize("answer", ["stop", "resume"])
@pytest.mark.parametrize("where", ["__init__", "on_start", "after_start"])
def test_failing_start_is_decided_and_never_resumed(
    supervisor: FakeSupervisor, where: str, answer: str
) -> None:
    """R49, R30: there is nothing to go on with: resume counts as no answer."""

    class Broken(Doer):
        def __init__(self) -> None:
            super().__init__()
            self.fail_in("__init__")

        def on_start(self) -> None:
            self.fail_in("on_start")

        def fail_in(self, here: str) -> None:
            if here == where:
                raise OSError(here)

    decider = Decider(answer)
    cell = supervisor.make(
        Broken, decider=decider, after_start=lambda actor: actor.fail_in("after_start")
    )
    cell.start()

    exit_ = supervisor.ended(cell)

    assert exit_.kind == "start_failed"
    assert exit_.directive == ("stop" if answer == "stop" else None)
    assert [asked for asked, _ in decider.asked] == [OSError]


@pytest.mark.parametrize(("answer", "directive"), [("stop", "stop"), ("resume", None)])
def test_supervisor_that_gave_up_is_decided(
    supervisor: FakeSupervisor, answer: str, directive: str | None
) -> None:
    """R49, R42: a supervisor's own exit is decided like any other failure."""

    class GivesUp(Doer):
        def on_control(self, message: Any) -> Exit:
            return Exit("gave_up", ValueError("a child's"), "the child's traceback")

    decider = Decider(answer)
    cell = supervisor.start(GivesUp, decider=decider)
    cell.ref.tell_control("now")

    exit_ = supervisor.ended(cell)

    assert (exit_.kind, exit_.directive) == ("gave_up", directive)
    assert exit_.traceback == "the child's traceback"
    assert [asked for asked, _ in decider.asked] == [ValueError]


def test_stop_that_fails_is_never_resumed(supervisor: FakeSupervisor) -> None:
    """R49, R16: to go on would lose the stop that somebody waits for."""

    class Reluctant(Doer):
        def asked_to_stop(self, request: StopRequest) -> Exit | None:
            raise ValueError

    decider = Decider("resume")
    cell = supervisor.start(Reluctant, decider=decider)
    cell.stop_now("now")

    exit_ = supervisor.ended(cell)

    assert (exit_.kind, exit_.directive) == ("failed", None)
    assert len(decider.asked) == 1


def test_decider_hears_of_no_other_ending(supervisor: FakeSupervisor) -> None:
    """R49: not of a stop, of Cancelled, of a BaseException, of an answered ask."""
    decider = Decider("resume")

    def start() -> Cell:
        return supervisor.start(Doer, decider=decider)

    supervisor.stop(start())
    cell = start()
    with pytest.raises(ValueError, match="an answer"):
        cell.ref.ask(raising(ValueError("an answer")))
    cell.ref.tell(raising(Cancelled()))
    assert supervisor.ended(cell).kind == "failed"
    cell = start()
    cell.ref.tell(raising(SystemExit(7)))
    assert supervisor.ended(cell).kind == "fatal"

    assert decider.asked == []


def test_failing_decider_counts_as_restart(
    supervisor: FakeSupervisor, caplog: pytest.LogCaptureFixture
) -> None:
    """R49: a decider's own error keeps no report back."""

    def broken(_error: Exception) -> str:
        raise KeyError

    cell = supervisor.start(Doer, decider=broken, name="child")
    cell.ref.tell(raising(ValueError()))

    assert supervisor.ended(cell).directive == "restart"

    assert "the decider of child raised on ValueError()" in caplog.text


def test_failing_is_told_only_when_the_actor_does_not_go_on(
    supervisor: FakeSupervisor,
) -> None:
    """R37, R49: a resumed actor runs no on_failure, so nothing is failing."""

    class Careful(Doer):
        def on_failure(self, *_exc_info: Any) -> None:
            """Without one there is nothing to be announced."""

    decider = Decider("resume")
    cell = supervisor.start(Careful, decider=decider)
    cell.ref.tell(raising(ValueError()))
    resumed(supervisor, cell)
    decider.answer = "restart"
    cell.ref.tell(raising(ValueError()))
    supervisor.ended(cell)

    assert [type(n) for n in supervisor.notices].count(Failing) == 1


# -- crash_on_ask


def test_listed_error_answers_the_ask_and_fails_the_actor(
    supervisor: FakeSupervisor,
) -> None:
    """R5: raising a type listed in crash_on_ask replies and then fails the child."""
    cell = supervisor.start(Doer, crash_on_ask=(LookupError, OSError))

    with pytest.raises(ValueError, match="mine"):
        cell.ref.ask(raising(ValueError("mine")))
    with pytest.raises(KeyError):
        cell.ref.ask(raising(KeyError("k")))

    exit_ = supervisor.ended(cell)
    assert exit_.kind == "failed"
    assert isinstance(exit_.error, KeyError)
    assert not cell.undelivered
