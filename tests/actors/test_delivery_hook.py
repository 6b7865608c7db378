"""What a clock's ``on_delivery`` is told, and what it may do to the receiver.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors import Actor, Crash, Job, Worker, current_cell
from actors.clock import SYSTEM_CLOCK
from actors.errors import Cancelled
from actors.ref import StopMarker
from actors.testing import VirtualClock
from supervision import ChildSpec, Pipeline, Supervisor, SupervisorRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Hook:
    """Notes what it is told; ``then`` says what else it does.

    Attributes:
        told: Name, message and whether it was control, of everything in order.
        then: Called with name and message, of what is no control.
    """

    def __init__(self) -> None:
        self.told: list[tuple[str, Any, bool]] = []
        self.then: Callable[[str, Any], object] = lambda _name, _message: None

    def __call__(self, name: str, message: Any, control: bool) -> None:
        cell = current_cell()
        assert cell is not None
        assert cell.name == name
        self.told.append((name, message, control))
        if not control:
            self.then(name, message)

    def data(self, name: str) -> list[Any]:
        return [what for who, what, control in self.told if who == name and not control]

    def control(self, name: str) -> list[str]:
        return [
            type(what).__name__
            for who, what, control in self.told
            if who == name and control
        ]

    def crash_once_on(self, message: Any) -> None:
        def then(_name: str, what: Any) -> None:
            if what == message:
                self.then = lambda _name, _message: None
                raise Crash(ValueError("injected"))

        self.then = then


@pytest.fixture
def hook() -> Hook:
    return Hook()


@pytest.fixture
def clock(hook: Hook) -> Iterator[VirtualClock]:
    with VirtualClock(seed=0, auto_advance=True) as virtual:
        virtual.on_delivery = hook
        yield virtual


class Native(Actor):
    def on_receive(self, message: Any) -> Any:
        if message == "later":
            self.schedule(1.0, "timer")
        return message

    def on_control(self, message: Any) -> None:
        """Take it."""


class Adopted(pykka.ThreadingActor):
    def on_receive(self, message: Any) -> Any:
        return message


def tree(clock: VirtualClock, *classes: type[Any]) -> SupervisorRef:
    return Supervisor.start(
        "one_for_one", [ChildSpec(each) for each in classes], clock=clock
    )


def test_real_time_has_no_hook() -> None:
    assert SYSTEM_CLOCK.on_delivery is None
    assert VirtualClock(seed=None).on_delivery is None


@pytest.mark.parametrize("kind", [Native, Adopted])
def test_every_data_message_is_told_before_it_is_handled(
    clock: VirtualClock, hook: Hook, kind: type[Any]
) -> None:
    with tree(clock, kind) as root:
        ref = root.ref(kind.__name__)
        ref.tell("told")
        assert ref.ask("asked") == "asked"
        assert ref.proxy().on_receive("proxied").get() == "proxied"

    told, asked, proxied = hook.data(kind.__name__)
    assert (told, asked, proxied.args) == ("told", "asked", ("proxied",))


def test_control_is_told_and_marked_as_such(clock: VirtualClock, hook: Hook) -> None:
    with tree(clock, Native) as root:
        root.ref("Native").ask("later")
        clock.sleep(2.0)

    assert hook.control("Native") == ["Due", "StopNow"]
    assert [repr(what) for who, what, _ in hook.told if who == "Native"] == [
        "'later'",
        "Due('timer')",
        "StopNow('root stops it')",
    ]


def test_a_stop_in_the_data_lane_is_control_too(
    clock: VirtualClock, hook: Hook
) -> None:
    ref = Native.start()
    ref.tell("first")
    ref.stop()

    assert hook.data(ref.cell.name) == ["first"]
    assert hook.control(ref.cell.name) == [StopMarker.__name__]


@pytest.mark.parametrize("kind", [Native, Adopted])
def test_a_crash_fails_the_receiver_of_a_tell(
    clock: VirtualClock, hook: Hook, kind: type[Any]
) -> None:
    hook.crash_once_on("bad")
    with tree(clock, kind) as root:
        ref = root.ref(kind.__name__)
        ref.tell("bad")
        assert ref.ask("good") == "good"
        (lost,) = root.undelivered()
        (info,) = root.which_children()

    assert (lost.message, lost.why, repr(lost.error)) == (
        "bad",
        "its handler raised",
        "ValueError('injected')",
    )
    assert info.incarnation == 2


@pytest.mark.parametrize("kind", [Native, Adopted])
def test_a_crash_fails_the_receiver_of_an_ask_and_the_asker(
    clock: VirtualClock, hook: Hook, kind: type[Any]
) -> None:
    hook.crash_once_on("bad")
    with tree(clock, kind) as root:
        ref = root.ref(kind.__name__)
        with pytest.raises(ValueError, match="injected"):
            ref.ask("bad")
        assert ref.ask("good") == "good"
        (info,) = root.which_children()

    assert info.incarnation == 2


def test_a_delay_is_the_receivers_own_wait(clock: VirtualClock, hook: Hook) -> None:
    hook.then = lambda _name, message: message == "slow" and clock.sleep(5.0)
    with tree(clock, Native) as root:
        ref = root.ref("Native")
        ref.tell("slow")
        ref.tell("next")
        began = clock.monotonic()
        assert ref.ask("last") == "last"

    assert clock.monotonic() - began == 5.0
    assert hook.data("Native") == ["slow", "next", "last"]


def test_a_delay_may_be_cut_short_by_the_actors_stop(
    clock: VirtualClock, hook: Hook
) -> None:
    def wait(_name: str, _message: Any) -> None:
        cell = current_cell()
        assert cell is not None
        assert cell.incarnation is not None
        token = cell.incarnation.stop_token
        if not clock.sleep(60.0, wake_on=token):
            raise Cancelled(token.reason)

    hook.then = wait
    root = tree(clock, Native)
    root.ref("Native").tell("slow")
    clock.sleep(1.0)

    root.shutdown()

    assert clock.monotonic() == 1.0
    (lost,) = root.undelivered()
    assert lost.why == "stopped while handling it"


class Doubler(Worker):
    def handle(self, job: Any) -> Any:
        return 2 * job.payload


def test_a_job_is_told_to_the_worker_and_a_result_to_the_collector(
    clock: VirtualClock, hook: Hook
) -> None:
    with Pipeline(1, worker_class=Doubler, producers=[[21]], name="shop") as pipeline:
        pipeline.wait()

    (taken,) = hook.data("io-worker-0")
    assert taken.job.payload == 21
    assert repr(taken) == f"<Taken {taken.job!r}>"
    ((delivery,),) = hook.data("collector")
    assert repr(delivery) == f"<Delivery of {delivery.result!r}>"
    (producer,) = {who for who, what, _ in hook.told if repr(what) == "<the next item>"}
    assert producer.startswith("producer")


def test_a_crash_before_a_job_restarts_the_worker_and_fails_the_attempt(
    clock: VirtualClock, hook: Hook
) -> None:
    crashes = iter([True, False])

    def then(name: str, _message: Any) -> None:
        if name == "io-worker-0" and next(crashes):
            raise Crash(ValueError("injected"))

    hook.then = then
    with Pipeline(1, worker_class=Doubler, retry=1) as pipeline:
        result = pipeline.submit_job(Job.of(21)).job_result()
        (worker,) = [
            each for each in workers_of(pipeline) if each.id.startswith("io-worker")
        ]

    assert result.value == 42
    errors = [type(attempt.error).__name__ for attempt in result.attempts]
    assert errors == ["WorkerDied", "NoneType"]
    assert worker.incarnation == 2


def test_a_crash_of_the_collector_loses_no_result(
    clock: VirtualClock, hook: Hook
) -> None:
    seen: list[Any] = []
    crashes = iter([True])

    def then(name: str, _message: Any) -> None:
        if name == "collector" and next(crashes, False):
            raise Crash(ValueError("injected"))

    hook.then = then
    with Pipeline(2, sink=lambda result: seen.append(result.value)) as pipeline:
        report = pipeline.run(abs, range(-5, 0))

    assert sorted(seen) == [1, 2, 3, 4, 5]
    assert report.succeeded == 5
    assert not report.undelivered


def test_the_hook_is_read_once_for_each_incarnation(
    clock: VirtualClock, hook: Hook
) -> None:
    other = Hook()
    with tree(clock, Native) as root:
        ref = root.ref("Native")
        ref.ask("one")
        clock.on_delivery = other
        ref.ask("two")
        hook.crash_once_on("bad")
        ref.tell("bad")
        ref.ask("three")

    assert hook.data("Native") == ["one", "two", "bad"]
    assert other.data("Native") == ["three"]


def workers_of(pipeline: Pipeline) -> tuple[Any, ...]:
    run = pipeline._present
    assert run is not None
    assert run.tree is not None
    workers = run.tree.ref("workers")
    assert isinstance(workers, SupervisorRef)
    return workers.which_children()
