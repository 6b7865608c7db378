"""One run of chaos: a tree of unruly actors, those who disturb it, and its end.

:Runs on: the test runner's thread, and a few that it starts.
:Owns: nothing; what happens is in the book.
"""

from __future__ import annotations

import contextlib
import logging
import math
from typing import TYPE_CHECKING, Any, Final

import pykka

from actors.events import ChildAbandoned, ChildRestarted, ChildStarted, ChildStopped
from actors.ref import ActorDeadError
from actors.testing import VirtualClock
from supervision.child_spec import ChildSpec
from supervision.dynamic import DynamicSupervisor
from supervision.errors import StartFailed, SupervisorGaveUp
from supervision.strategies import Backoff
from supervision.supervisor import Supervisor
from tests.supervision.chaos_kids import Ours, Theirs, Watcher
from tests.supervision.chaos_kit import (
    REFUSALS,
    Book,
    Boom,
    Doom,
    Drip,
    Grave,
    Last,
    Minor,
    Overheard,
    is_left,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from actors.clock import Clock
    from actors.exits import Exit

HOOKS: Final = (
    "__init__", "kwargs", "on_start", "after_start", "on_stop", "on_failure",
    "on_control", "on_item", "on_terminated", "on_restarted",
)  # fmt: skip
OF_A_CHILD: Final = ("terminate", "restart", "delete")
SENDERS: Final = 4
STEPS: Final = 40
ENOUGH: Final = 100_000
"""An intensity that nobody uses up."""
DIRECTIVES: Final[dict[type[Exception], Any]] = {
    Minor: "resume",
    Last: "stop",
    Grave: "escalate",
}


class ChaosRun:
    """One tree, those who disturb it, and the book of it.

    Args:
        clock: Virtual, or the real one.
        rng: All that is drawn is drawn from it.
        strategy: The root's.
        unit: One second of the plan, in seconds of the clock.
    """

    def __init__(
        self, clock: Clock, rng: random.Random, strategy: str, unit: float = 1.0
    ) -> None:
        self.clock, self.rng, self.strategy, self.unit = clock, rng, strategy, unit
        self.book = book = Book(clock, rng, unit)
        calm = rng.choice([0.3, 1.0, 1.0])
        book.rates = {hook: calm * rng.choice([0.0, 0.05, 0.2, 0.4]) for hook in HOOKS}
        book.dooms = rng.random() < 0.15
        self.virtual = unit == 1.0
        self.news = 0
        self.left_down: dict[str, bool] = {}  # who has a window of its own
        self.optional: dict[str, bool] = {}  # who has one until it runs
        self.watcher: Any = None

    # -- the tree

    def child(self, name: str | None, **options: Any) -> ChildSpec[Any]:
        rng, book, unit = self.rng, self.book, self.unit
        label = name or "nobody"

        def made(_siblings: Any) -> Any:
            book.hook("kwargs")
            return {"book": book, "name": label}

        plain = {"book": book, "name": label}
        drawn = {
            "restart": rng.choice(
                [*["permanent"] * 4, *["transient"] * 3, "temporary"]
            ),
            "shutdown": rng.choice([5 * unit, 5 * unit, unit, 0, None]),
            "start_timeout": rng.choice([5 * unit, 30 * unit, None]),
            "mailbox": rng.choice(["keep", "keep", "fresh"]),
            "capacity": rng.choice([1, 3, None]),
            "required": rng.random() < 0.8,
            "give_up": rng.choice(["escalate", "escalate", "leave_down"]),
            "while_down": rng.choice(["wait", "wait", "fail"]),
            "crash_on_ask": rng.choice([(), (), Grave]),
            "on_crash": rng.choice(["on_failure", "on_stop"]),
            "init_in": rng.choice(["child", "child", "caller"]),
            "max_restarts": rng.choice([None, None, None, 4]),
            "on_timeout": "abandon" if self.virtual else "interrupt",
            "after_start": lambda _actor: book.hook("after_start"),
        }
        if rng.random() < 0.3:
            drawn["backoff"] = Backoff(
                initial=0.1 * unit, maximum=2 * unit, first_immediate=rng.random() < 0.5
            )
        kind = rng.choice([Ours, Ours, Theirs])
        kwargs: Any = made if rng.random() < 0.5 else plain
        spec = ChildSpec(kind, (), kwargs, id=name, **{**drawn, **options})
        if name is not None:
            self.left_down.setdefault(name, spec.give_up == "leave_down")
            self.optional.setdefault(name, not spec.required)
        return spec

    def options(self, *, intensities: tuple[int, ...]) -> dict[str, Any]:
        """What a supervisor is told, apart from its children."""
        rng = self.rng
        options: dict[str, Any] = {
            "intensity": rng.choice(intensities),
            "period": rng.choice([1, 5]) * self.unit,
            "decider": rng.choice([None, DIRECTIVES, self.decide]),
        }
        return options

    def decide(self, error: Exception) -> Any:
        with self.book.inside("decider"):
            if self.rng.random() < 0.1:
                raise Boom("the decider")
            return DIRECTIVES.get(type(error))

    def group(self, names: str, options: dict[str, Any]) -> list[ChildSpec[Any]]:
        """The children of one supervisor, some of them significant."""
        rng, group = self.rng, []
        if rng.random() < (0.1 if "a" in names else 0.3):
            options["auto_shutdown"] = rng.choice(
                ["any_significant", "all_significant"]
            )
        for name in names:
            more: dict[str, Any] = {}
            if "auto_shutdown" in options and rng.random() < 0.5:
                restart = rng.choice(["transient", "temporary"])
                more = {"significant": True, "restart": restart}
            if options["intensity"] != ENOUGH:
                more["backoff"] = None
            group.append(self.child(name, **more))
        return group

    def nested(self, name: str, names: str) -> ChildSpec[Any]:
        rng = self.rng
        options = self.options(intensities=(ENOUGH, 2, 0))
        options["start"] = rng.choice(["ordered", "parallel"])
        specs = self.group(names, options)
        if name == "inner":
            specs.insert(rng.randrange(3), self.nested("deep", "uv"))
        strategy = rng.choice(["one_for_one", "rest_for_one", "one_for_all"])
        return ChildSpec(
            Supervisor,
            (strategy, specs),
            options,
            id=name,
            restart=rng.choice(["permanent", "transient"]),
            shutdown=rng.choice([None, None, 6 * self.unit]),
            start_timeout=rng.choice([None, None, 20 * self.unit]),
        )

    def grow(self) -> Any:
        rng = self.rng
        options = self.options(intensities=(ENOUGH, ENOUGH, ENOUGH, 3))
        if options["decider"] is not None and rng.random() < 0.8:
            options["decider"] = {Minor: "resume", Last: "stop"}
        specs = [*self.group("abcd", options), self.nested("inner", "xy")]
        pool = self.options(intensities=(ENOUGH,))
        pool["max_children"] = rng.choice([None, 3])
        specs.append(ChildSpec(DynamicSupervisor, (), pool, id="pool"))
        rng.shuffle(specs)
        start: Any = rng.choice(["ordered", "parallel"])
        return Supervisor.start(
            self.strategy, specs, start=start, on_event=self.book.note,
            clock=self.clock, **options,
        )  # fmt: skip

    # -- those who disturb it

    def send(self, number: int) -> None:
        for _ in range(STEPS):
            self.step(f"sender {number}")
            if not self.book.tree.is_alive() and self.rng.random() < 0.2:
                return

    def step(self, sender: str) -> None:
        book, rng = self.book, self.rng
        ref, soon = book.pick(), rng.choice([0, 1, 5]) * self.unit
        what = rng.random()
        if what < 0.45:
            book.tell(sender, ref)
        elif what < 0.53:
            book.tell(sender, ref, timeout=soon)
        elif what < 0.65:
            book.ask(sender, ref, block=False)
        elif what < 0.73:
            book.ask(sender, ref, timeout=soon)
        elif what < 0.77:
            book.ask(sender, ref)
        elif what < 0.81:
            ref.tell_control("poke")
        elif what < 0.85:
            book.drips.setdefault(ref.cell.name, Drip(self.clock)).put(object())
        elif what < 0.88:
            book.stops.append(ref.stop(block=False))
        elif what < 0.92:
            ref = book.pick(any_kind=True)
            self.watcher.tell((rng.choice(["watch", "watch", "unwatch"]), ref))
        elif what < 0.94:
            self.look()
        else:
            self.clock.sleep(rng.random() * 3 * self.unit)

    def administer(self) -> None:
        """Add, end, restart and forget children; whatever comes of it is answered."""
        rng, tree = self.rng, self.book.tree
        for _ in range(STEPS):
            self.clock.sleep(rng.random() * self.unit)
            # A doom too: an object may be made here, and then it comes out here.
            with contextlib.suppress(*REFUSALS, TimeoutError, Doom):
                where = rng.choice([tree, tree.ref("inner"), tree.ref("pool")])
                self.request(where, rng.choice(["start", "start", *OF_A_CHILD]))

    def request(self, where: Any, what: str) -> None:
        rng, soon = self.rng, self.rng.choice([None, 1, 40])
        limit = None if soon is None else soon * self.unit
        children = where.which_children()
        down = [each for each in children if each.state == "undefined"]
        if down and rng.random() < 0.7:
            what, children = "restart", down
        if what != "start" and not children:
            return
        if what == "start":
            self.news += 1
            name = rng.choice([f"new-{self.news}", None, "a", "x"])
            own = self.left_down.get(str(name), True)
            give_up = "leave_down" if own else "escalate"
            child: Any = self.child(name, backoff=None, give_up=give_up, required=True)
            child_id = str(name)
        else:
            info = rng.choice(children)
            child_id = info.id
            child = info.ref if what == "terminate" else info.id
        seen = len(self.book.events)
        try:
            getattr(where, f"{what}_child")(child, timeout=limit)
        except StartFailed:
            pass
        except ActorDeadError:
            self.check_that_none_was_forgotten(where.board.name, child_id, what, seen)

    def check_that_none_was_forgotten(
        self, supervisor: str, child: str, what: str, seen: int
    ) -> None:
        """A request ended with its supervisor: what it was for had not come about."""
        left = [e for _, e in self.book.events if isinstance(e, ChildAbandoned)]
        if any(f"{supervisor}/".startswith(f"{e[0]}/{e[1]}/") for e in left):
            return  # it was for a child of the one that was left behind
        answers: tuple[Any, ...] = (ChildStopped,)
        if what != "terminate":
            answers = ChildStarted, ChildRestarted, ChildStopped
        now = self.clock.monotonic()
        for at, event in self.book.events[seen:]:
            same = event[:2] == (supervisor, child)
            if same and isinstance(event, answers) and at < now and self.virtual:
                self.book.fault(f"{what} of {child} was not answered at {at}: {event}")

    def look(self) -> None:
        """All that can be read at any time, of the same moment where that is said."""
        tree, book = self.book.tree, self.book
        before = sum("Undelivered" in type(e).__name__ for _, e in tuple(book.events))
        shot = tree.snapshot()
        if not str(shot):
            book.fault("a snapshot draws nothing")
        if shot.undelivered < before:
            book.fault(f"{shot.undelivered} undelivered, {before} were told before")
        todo = [shot]
        while todo:
            one = todo.pop()
            todo += [each for each in one.children if each.is_supervisor]
            if sum(each.undelivered for each in todo) > shot.undelivered:
                book.fault("more undelivered below than in all")
        counts, children = tree.count_children(), tree.which_children()
        if counts.specs != counts.supervisors + counts.actors:
            book.fault(f"{counts} do not add up")
        if counts.specs < counts.active + counts.restarting:
            book.fault(f"{counts} do not add up")
        if len({child.id for child in children}) != len(children):
            book.fault(f"an id twice: {children}")
        tree.zombies()
        tree.undelivered()

    # -- its life

    def live(self) -> Exit | None:
        """The whole run; how the tree ended, ``None`` if it never ran."""
        overheard = Overheard(self.book)
        for name in ("headrace", "pykka"):
            logging.getLogger(name).addHandler(overheard)
        try:
            return self._live()
        finally:
            for name in ("headrace", "pykka"):
                logging.getLogger(name).removeHandler(overheard)

    def _live(self) -> Exit | None:
        book, rng, clock = self.book, self.rng, self.clock
        book.armed = rng.random() < 0.1
        try:
            book.tree = tree = self.grow()
        except (StartFailed, Boom, Doom):
            clock.sleep(1000 * self.unit)  # zombies of the start
            return None
        book.fallback = tree.ref("a")
        book.armed = True
        self.watcher = Watcher.start(book)
        tasks: list[tuple[Callable[..., None], list[Any]]]
        tasks = [(self.send, [number]) for number in range(SENDERS)]
        tasks.append((self.administer, []))
        threads = [clock.thread(task, args=args) for task, args in tasks]
        for thread in threads:
            thread.start()
        clock.sleep(rng.choice([1, 5, 30, 60]) * self.unit)
        self.end(tree)
        for thread in threads:
            clock.join(thread)
        if isinstance(clock, VirtualClock):
            clock.settle()
            for each in dict.fromkeys(by for by, _ in book.hooks):
                if not (each.ended or is_left(each)):
                    book.fault(f"{each} lives on after the end")
        clock.sleep(10_000 if self.virtual else 3)  # whoever was left behind ends
        final: Exit = tree.cell.final
        return final

    def end(self, tree: Any) -> None:
        rng, clock = self.rng, self.clock
        if rng.random() < 0.3:  # an ending that a second one cuts short
            tree.stop(block=False)
            clock.sleep(rng.choice([0, 1, 5]) * self.unit)
        began, limit = clock.monotonic(), math.inf
        match rng.choice(["shutdown", "limit", "drain", "drain limit", "now"]):
            case "shutdown":
                tree.shutdown()
            case "limit":
                limit = rng.choice([0, 1, 10]) * self.unit
                while not tree.shutdown(limit):
                    pass
            case "drain":
                tree.stop()
            case "drain limit":
                limit = rng.choice([0.5, 3, 20]) * self.unit
                with contextlib.suppress(pykka.Timeout):
                    tree.stop(timeout=limit)
            case "now":
                tree.stop_now("now")
                limit = 1.0
        with contextlib.suppress(SupervisorGaveUp, Doom, Boom, StartFailed):
            tree.wait()
        if clock.monotonic() - began > limit + 5:
            self.book.fault(f"{limit} s became {clock.monotonic() - began}")
