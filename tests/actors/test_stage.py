"""What the stages of a pipeline have in common: the wiring.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors.stage import Stage

if TYPE_CHECKING:
    from tests.actors.conftest import FakeSupervisor


class Mill(Stage):
    """Notes the order of its life."""

    def __init__(self, log: list[Any], grain: str = "rye") -> None:
        super().__init__()
        self.log = log
        self.grain = grain
        log.append(("init", grain, self.wiring))

    def wired(self) -> None:
        self.log.append(("wired", self.wiring))

    def on_start(self) -> None:
        self.log.append(("on_start",))

    def on_receive(self, message: Any) -> Any:
        if message == "boom":
            raise ValueError(message)
        return (message, self.wiring, self.incarnation)


def test_a_stage_is_wired_between_init_and_start(supervisor: FakeSupervisor) -> None:
    log: list[Any] = []

    supervisor.start(Mill, log, kwargs={"wiring": "belt", "grain": "oats"})

    assert log == [("init", "oats", "belt"), ("wired", "belt"), ("on_start",)]


def test_a_restarted_stage_is_wired_again(supervisor: FakeSupervisor) -> None:
    log: list[Any] = []
    cell = supervisor.start(Mill, log, kwargs={"wiring": "belt"})
    cell.ref.tell("boom")

    supervisor.restart(cell)

    assert cell.ref.ask("who") == ("who", "belt", 2)
    assert log.count(("wired", "belt")) == 2


def test_a_plain_stage_has_no_wiring() -> None:
    log: list[Any] = []
    ref = Mill.start(log)

    answer = ref.ask("who")

    ref.stop()
    assert answer == ("who", None, 1)
    assert log == [("init", "rye", None), ("on_start",)]


def test_a_stage_remembers_what_it_was_made_with() -> None:
    log: list[Any] = []
    ref = Mill.start(log, grain="oats")

    made_with = ref.proxy().made_with.get()

    ref.stop()
    assert made_with == ((log,), {"grain": "oats"})


def test_wiring_that_fails_is_a_failed_start(supervisor: FakeSupervisor) -> None:
    class Broken(Mill):
        def wired(self) -> None:
            raise OSError("no power")

    cell = supervisor.make(Broken, [], kwargs={"wiring": "belt"})
    cell.start()

    exit_ = supervisor.ended(cell)

    assert exit_.kind == "start_failed"
    assert isinstance(exit_.error, OSError)


@pytest.mark.parametrize("wiring", [0, "", ()])
def test_any_wiring_but_none_wires(supervisor: FakeSupervisor, wiring: Any) -> None:
    log: list[Any] = []

    supervisor.start(Mill, log, kwargs={"wiring": wiring})

    assert ("wired", wiring) in log
