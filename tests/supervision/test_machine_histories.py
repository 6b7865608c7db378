"""The state machine alone, in random histories of all that can come in.

A pretended world has a thread for each incarnation: it starts, fails, hangs, ends, and
its notices come late.  Whatever happens, and in whatever order, all comes to an end.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from actors.events import (
    ChildEscalated,
    RestartScheduled,
    TreeGaveUp,
)
from actors.exits import Exit
from supervision.administration import Administration, Request
from supervision.child_spec import ChildSpec
from supervision.child_state import LIVE, Child, Due, Mode, State
from supervision.machine import Machine
from supervision.strategies import Backoff
from supervision.supervisor_spec import SupervisorSpec
from tests.supervision.chaos_checks import HISTORY, LETTERS
from tests.supervision.machine_kit import (
    BOOM,
    SHUTDOWN,
    FakeHands,
    Inner,
    Plain,
)

if TYPE_CHECKING:
    from supervision.administration import What

STEPS: Final = 400
FATAL: Final = Exit("fatal", SystemExit(3))
KINDS: Final = ["failed", "failed", "normal", "shutdown", "abandoned", "gave_up"]
DIRECTIVES: Final = [*[None] * 20, *["restart"] * 6, *["stop"] * 4, "escalate"]


class Thread:
    """What the world knows of one incarnation."""

    def __init__(self, child: Child, number: int, place: int) -> None:
        self.child, self.number = child, number
        self.place = place
        self.phase = "starting"
        self.told = self.left = False


class World(FakeHands):
    """Hands with threads at the other end, whose notices wait in one lane."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.machine: Any = None
        self.threads: dict[Child, Thread] = {}
        self.lane: deque[tuple[Any, ...]] = deque()
        self.closed: Counter[tuple[Child, int]] = Counter()
        self.places: Counter[Child] = Counter()
        self.ends = self.readies = 0

    def start(self, child: Any) -> Any:
        assert child not in self.threads, f"{child.id} has a thread already"
        assert not self.closed[child, self.places[child]], f"{child.id} is closed"
        if self.rng.random() < 0.03:
            raise RuntimeError("can't start new thread")
        number, place = child.number + 1, self.places[child]
        self.threads[child] = Thread(child, number, place)
        return child.number + 1

    def stop(self, child: Any, deadline: Any) -> None:
        machine = self.machine
        if machine.mode is Mode.STOPPING and not machine.spec.dynamic:
            later = machine.children[machine.children.index(child) + 1 :]
            told = child not in self.threads or self.threads[child].told
            assert told or not any(each.state in LIVE for each in later), "not in order"
        self._tell(child)

    def drain(self, child: Any, deadline: Any) -> None:
        self._tell(child)

    def _tell(self, child: Any) -> None:
        if child in self.threads:  # else its notice is on the way
            self.threads[child].told = True

    def busy(self, child: Any) -> Any:
        return self.rng.random() < 0.5

    def interrupt(self, child: Any, why: Any) -> bool:
        return child in self.threads and self.rng.random() < 0.5

    def abandon(self, child: Any, why: Any) -> Any:
        if child in self.threads and self.rng.random() < 0.2:
            self.end_thread(self.threads[child], SHUTDOWN)  # just before
        thread = self.threads.pop(child, None)
        if thread is None:
            return None
        thread.left = True
        return "stack"

    def make(self, child: Any) -> None:
        self.places[child] += 1
        child.handle = SimpleNamespace(ref=f"{child.id}, place {self.places[child]}")

    def finalize(self, child: Any, exit_: Any) -> None:
        assert child not in self.threads, f"{child.id} is closed while it runs"
        self.closed[child, self.places[child]] += 1

    def ready(self) -> None:
        self.readies += 1

    def end(self, exit_: Any) -> None:
        self.ends += 1
        super().end(exit_)

    # -- what threads do

    def end_thread(self, thread: Thread, exit_: Exit) -> None:
        del self.threads[thread.child]
        self.lane.append(("down", thread, exit_))

    def move(self, thread: Thread) -> None:
        """Let one thread do its next thing."""
        rng = self.rng
        what = rng.random()
        if thread.phase == "starting":
            if what < (0.97 if self.machine.mode is Mode.STARTING else 0.75):
                thread.phase = "running"
                self.lane.append(("started", thread))
            elif what < 0.8:
                self.end_thread(thread, Exit("ignored"))
            else:
                self.end_thread(thread, self.failure("start_failed"))
        elif thread.told and what < 0.6:
            self.end_thread(thread, rng.choice([SHUTDOWN, Exit("normal")]))
        elif thread.phase == "running" and what < 0.3:
            thread.phase = "failing"
            self.lane.append(("failing", thread))
        elif thread.phase == "failing":
            self.end_thread(thread, self.failure("failed"))
        elif what < 0.35:
            self.lane.append(("resumed", thread, BOOM))
        elif what < 0.7:
            self.end_thread(thread, self.failure(rng.choice(KINDS)))

    def failure(self, kind: Any) -> Exit:
        if self.rng.random() < 0.002:
            return FATAL
        error = None if kind in {"normal", "shutdown"} else BOOM
        directive = None if error is None else self.rng.choice(DIRECTIVES)
        return Exit(kind, error, directive=directive)


class Asked(Request):
    """A request that counts its answers."""

    __slots__ = ("answers",)

    def __init__(self, what: What, child: Any) -> None:
        super().__init__(what, child, Future())
        self.answers = 0

    def succeed(self, ref: Any) -> None:
        self.answers += 1

    def fail(self, error: BaseException) -> None:
        self.answers += 1


class History:
    """One machine, its world, and what was asked of it."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        self.world = world = World(rng)
        self.now = 0.0
        self.requests: list[Asked] = []
        self.spec = self.draw_spec()
        children = [Child(each) for each in self.spec.children]
        for child in children:
            world.make(child)
        self.machine = world.machine = Machine("tree", self.spec, children, world)
        self.administration = Administration(self.machine)
        self.machine.begin(self.now)

    def draw_spec(self) -> SupervisorSpec:
        rng = self.rng
        self.policy: Any = "never"
        self.intensity = intensity = rng.choice([*[1000] * 6, 5, 0])
        if rng.random() < 0.2:
            most = rng.choice([None, 3])
            return SupervisorSpec.for_dynamic(max_children=most, intensity=intensity)
        self.policy = rng.choice(
            [*["never"] * 4, "any_significant", "all_significant", "all_significant"]
        )
        strategy = rng.choice(["one_for_one", "rest_for_one", "one_for_all"])
        return SupervisorSpec(
            strategy,
            [self.draw_child(each) for each in "abcd"],
            intensity=intensity,
            start=rng.choice(["ordered", "parallel"]),
            auto_shutdown=self.policy,
        )

    def draw_child(self, name: str) -> ChildSpec[Any]:
        rng = self.rng
        restart = rng.choice(["permanent", "transient", "transient", "temporary"])
        kind = rng.choice([Plain, Plain, Plain, Inner])
        limits: dict[str, Any] = {"shutdown": rng.choice([None, 0, 1, 5])}
        if kind is Plain:
            limits["start_timeout"] = rng.choice([None, 1, 30])
        backoff = Backoff(initial=0.1, maximum=1)
        return ChildSpec(
            kind,
            id=name,
            restart=restart,
            backoff=backoff if self.intensity == 1000 and rng.random() < 0.2 else None,
            required=rng.random() < 0.7,
            give_up=rng.choice(["escalate", "leave_down", "leave_down"]),
            max_restarts=rng.choice([None, None, None, None, 2]),
            on_timeout=rng.choice(["abandon", "interrupt"]),
            significant=(
                self.policy != "never" and restart != "permanent" and rng.random() < 0.3
            ),
            **limits,
        )

    # -- what comes in

    def step(self) -> None:
        rng, world = self.rng, self.world
        what = rng.random()
        if what < 0.4 and world.threads:
            world.move(rng.choice(list(world.threads.values())))
        elif what < 0.75 and world.lane:
            self.hear(world.lane.popleft())
        elif what < 0.85:
            self.advance(rng.choice([0.0, 0.0, rng.random(), rng.random(), 6.0]))
        elif what < 0.97:
            self.ask()
        elif what < 0.98:
            self.machine.shorten(self.now + 5, self.now)
        elif what < 0.982:
            self.stop()
        self.look()

    def hear(self, notice: tuple[Any, ...]) -> None:
        machine, (what, *rest) = self.machine, notice
        if isinstance(rest[0], Thread):
            self.hear_of(what, *rest)
        elif what == "asked":
            self.administration.serve(rest[0], self.now)
        else:
            machine.due(rest[0], self.now)
        self.administration.answer()

    def hear_of(self, what: str, thread: Thread, *more: Any) -> None:
        """Take a notice; that of an earlier place is dropped before, by its cell."""
        machine, child = self.machine, thread.child
        if thread.place != self.world.places[child]:
            return
        before, left = child.state, thread.left
        if what == "resumed":
            machine.resumed(child, thread.number, *more)
        else:
            getattr(machine, what)(child, thread.number, *more, self.now)
        assert not left or child.state is before, f"{what} of a thread left behind"

    def advance(self, seconds: float) -> None:
        """Move time; what comes due goes to the end of the lane."""
        world, end = self.world, self.now + seconds
        while world.timers:
            entry = min(world.timers, key=lambda each: each[0])
            if entry[0] > end:
                break
            world.timers.remove(entry)
            self.now = max(self.now, entry[0])
            due: Due = entry[1]
            world.lane.append(("due", due))
            if self.rng.random() < 0.8:
                while world.lane:
                    self.hear(world.lane.popleft())
        self.now = max(self.now, end)

    def ask(self) -> None:
        rng, ids = self.rng, list(self.machine.by_id)
        what: Any = rng.choice(["start", "terminate", "restart", "restart", "delete"])
        child: Any = rng.choice([*ids, "nobody"])
        if what == "start":
            child = self.draw_child(rng.choice([*ids, f"new-{len(self.requests)}"]))
            if self.spec.dynamic and child.significant:
                return
        request = Asked(what, child)
        self.requests.append(request)
        self.world.lane.append(("asked", request))

    def stop(self) -> None:
        rng = self.rng
        deadline = rng.choice([None, None, self.now, self.now + 3])
        drain = rng.random() < 0.5
        self.machine.stop(SHUTDOWN, deadline, self.now, drain=drain)
        self.administration.answer()

    # -- what must be true

    def look(self) -> None:
        machine, world = self.machine, self.world
        coming = {State.WAITING, State.RESTARTING}
        known = set(machine.children)
        coming_down = {e[1].child for e in world.lane if e[0] == "down"}
        for child in known:
            if child.state not in LIVE:
                assert child not in world.threads, f"{child.id} has a thread"
            elif child not in world.threads:
                assert child in coming_down, f"{child.id} hangs"
            if child.state in coming and machine.mode in {Mode.STARTING, Mode.RUNNING}:
                assert child.group is not None, f"{child.id} waits for nothing"
        assert set(world.threads) <= known
        if machine.mode in {Mode.STARTING, Mode.RUNNING}:
            for group in machine._groups:
                moves = any(each.state in LIVE for each in group.members)
                due = any(
                    Due("restart_due", "", group.stamp) in e for e in self.duties()
                )
                assert moves or due or not group.members, "a group waits for nothing"
        most = self.spec.max_children
        assert most is None or len(machine.by_id) <= most

    def duties(self) -> list[tuple[Any, ...]]:
        return [*self.world.timers, *self.world.lane]

    def finish(self) -> None:
        """Let it end; a thread that was told may still hang until its time is over."""
        world = self.world
        self.stop()
        for _ in range(10_000):
            if self.machine.mode is Mode.OVER and not world.lane:
                return
            if world.lane:
                self.hear(world.lane.popleft())
            elif world.threads and (self.rng.random() < 0.7 or not world.timers):
                world.move(self.rng.choice(list(world.threads.values())))
            else:
                self.advance(10.0)
        pytest.fail(f"it does not end: {[c.state for c in self.machine.children]}")

    def check(self) -> None:
        world, events = self.world, self.world.events
        assert (world.ends, world.timers, world.threads) == (1, [], {})
        assert world.readies <= 1
        places = {(c, n + 1) for c, count in world.places.items() for n in range(count)}
        assert world.closed == dict.fromkeys(places, 1)
        assert all(request.answers == 1 for request in self.requests)
        self.administration.close()
        assert all(request.answers == 1 for request in self.requests)
        gave_up = [e for e in events if isinstance(e, (TreeGaveUp, ChildEscalated))]
        assert len(gave_up) <= 1
        assert all(
            each.used <= each.intensity
            for each in events
            if isinstance(each, RestartScheduled)
        )
        told: defaultdict[str, str] = defaultdict(str)
        for event in events:
            told[event.child] += LETTERS[type(event)]
        for child, text in told.items():
            assert HISTORY.fullmatch(text), f"{child} went through {text}"


@pytest.mark.parametrize("part", range(20))
def test_random_histories_come_to_an_end_with_all_closed_and_answered(
    part: int,
) -> None:
    """R21a, R30, R38, R48, R55, R62, R63, R75: whatever comes in, in any order."""
    for seed in range(part * 20, part * 20 + 20):
        history = History(seed)
        try:
            for _ in range(STEPS):
                if history.machine.mode is Mode.OVER:
                    break
                history.step()
            history.finish()
            history.check()
        except BaseException as error:
            error.add_note(f"seed {seed}: {history.spec}")
            raise
