"""A state machine with a fake world, driven by child ids: no thread, no clock.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

import random
from typing import Any

import pykka

from actors.exits import Exit
from supervision.child_spec import ChildSpec
from supervision.child_state import Child, Due
from supervision.machine import Machine
from supervision.supervisor_spec import SupervisorSpec

BOOM = ValueError("boom")
FAILED = Exit("failed", BOOM)
SHUTDOWN = Exit("shutdown")


class Plain(pykka.ThreadingActor):
    pass


class Inner(pykka.ThreadingActor):
    is_supervisor = True


class FakeHands:
    """Writes down what the machine does; ``log`` reads ``start a``, ``stop a``, ..."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.events: list[Any] = []
        self.timers: list[tuple[float, Due]] = []
        self.deadlines: dict[str, float | None] = {}
        self.busy_ids: set[str] = set()
        self.no_thread: set[str] = set()
        self.interruptible: set[str] = set()
        self.mail: dict[str, int] = {}
        self.ended: Any = None
        self.was_ready = False

    def start(self, child: Any) -> Any:
        if child.id in self.no_thread:
            self.no_thread.discard(child.id)
            raise RuntimeError("can't start new thread")
        self.log.append(f"start {child.id}")
        return child.number + 1

    def stop(self, child: Any, deadline: Any) -> None:
        self.log.append(f"stop {child.id}")
        self.deadlines[child.id] = deadline

    def busy(self, child: Any) -> Any:
        return child.id in self.busy_ids

    def drain(self, child: Any, deadline: Any) -> None:
        self.log.append(f"drain {child.id}")
        self.deadlines[child.id] = deadline

    def interrupt(self, child: Any, why: Any) -> bool:
        done = child.id in self.interruptible
        if done:
            self.log.append(f"interrupt {child.id}")
        return done

    def make(self, child: Any) -> None:
        self.log.append(f"make {child.id}")

    def forget(self, child: Any) -> None:
        self.log.append(f"forget {child.id}")

    def forget_arguments(self, child: Any) -> None:
        child.spec = child.spec.without_arguments()

    def ref(self, child: Any) -> Any:
        return f"ref of {child.id}"

    def waiting(self, child: Any) -> int:
        return self.mail.get(child.id, 0)

    def abandon(self, child: Any, why: Any) -> Any:
        self.log.append(f"abandon {child.id}")
        return "stack"

    def finalize(self, child: Any, exit_: Any) -> None:
        self.log.append(f"close {child.id}")

    def call_at(self, moment: Any, due: Any) -> Any:
        entry = (moment, due)
        self.timers.append(entry)
        return FakeTimer(self.timers, entry)

    def emit(self, event: Any) -> None:
        self.events.append(event)

    def ready(self) -> None:
        self.was_ready = True

    def end(self, exit_: Any) -> None:
        self.ended = exit_


class FakeTimer:
    def __init__(self, timers: Any, entry: Any) -> None:
        self._timers, self._entry = timers, entry

    def cancel(self) -> None:
        if self._entry in self._timers:
            self._timers.remove(self._entry)


class Tree:
    """A machine with its fake world, driven by child ids."""

    def __init__(
        self,
        ids: Any = "abc",
        strategy: str = "one_for_one",
        specs: Any = None,
        **options: Any,
    ) -> None:
        specs = specs or {}
        self.hands = FakeHands()
        children = [
            specs.get(each) or ChildSpec(Plain, id=each, restart="transient")
            for each in ids
        ]
        spec = SupervisorSpec(strategy, children, **{"intensity": 9, **options})
        self.kids = {each.id: Child(each) for each in children}
        self.machine = Machine(
            "tree", spec, list(self.kids.values()), self.hands, rng=random.Random(0)
        )
        self.now = 0.0

    def begin(self) -> Any:
        self.machine.begin(self.now)
        return self

    def up(self) -> Any:
        """Start everything."""
        self.begin()
        while not self.hands.was_ready:
            self.started(*[k for k in self.kids if self.state(k) == "starting"])
        self.take()
        return self

    def started(self, *ids: Any) -> None:
        for each in ids:
            self.machine.started(self.kids[each], self.kids[each].number, self.now)

    def down(self, child: Any, exit_: Any = FAILED, number: int | None = None) -> None:
        kid = self.kids[child]
        self.machine.down(
            kid, kid.number if number is None else number, exit_, self.now
        )

    def failing(self, child: Any) -> None:
        self.machine.failing(self.kids[child], self.kids[child].number, self.now)

    def stop(
        self, exit_: Any = SHUTDOWN, deadline: Any = None, *, drain: bool = False
    ) -> None:
        self.machine.stop(exit_, deadline, self.now, drain=drain)

    def advance(self, seconds: float) -> None:
        """Move time, feeding timers back in as they come due."""
        end = self.now + seconds
        while self.hands.timers:
            entry = min(self.hands.timers, key=lambda each: each[0])
            if entry[0] > end:
                break
            self.hands.timers.remove(entry)
            self.now = max(self.now, entry[0])
            self.machine.due(entry[1], self.now)
        self.now = end

    def take(self) -> Any:
        """What happened since the last call, in words."""
        log, self.hands.log = ", ".join(self.hands.log), []
        return log

    def state(self, child: Any) -> Any:
        return self.kids[child].state.value

    def states(self) -> Any:
        return " ".join(kid.state.value for kid in self.kids.values())

    def events(self, kind: Any) -> Any:
        return [event for event in self.hands.events if isinstance(event, kind)]
