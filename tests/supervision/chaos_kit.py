"""A book of all that happens in a run of chaos, and the dice that it is drawn with.

:Runs on: every thread of a run.
:Owns: a ``Book`` what it notes; each note is one step, so no lock is needed.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pykka

from actors.base import Actor
from actors.errors import Cancelled, HeadraceError
from actors.exits import Crash
from actors.ref import current_incarnation

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from actors.clock import Clock

ACTS: Final = {
    "nothing": 40,
    "crash": 15,
    "crash the ask": 3,
    "nap": 8,
    "hang": 2,
    "obey": 3,
    "stop": 2,
    "tell self": 6,
    "tell sibling": 6,
    "ask sibling": 4,
    "ask and go on": 4,
    "stop sibling": 1,
    "watch sibling": 2,
    "start child": 1,
}
"""What a message can have its actor do, and how often."""

REFUSALS: Final = (HeadraceError, pykka.ActorDeadError, pykka.Timeout, KeyError)
"""What a sender, or who administers a tree, may be told."""


class Boom(Exception):
    """A planned failure."""


class Minor(Boom):
    """One after which a decider lets the actor go on."""


class Last(Boom):
    """One after which a decider lets nobody start again."""


class Grave(Boom):
    """One that a decider passes up."""


class Doom(BaseException):
    """One that ends the tree."""


class Message:
    """Something to handle: ``token`` is its sender and a number that only grows."""

    __slots__ = ("act", "token")

    def __init__(self, token: tuple[str, int], act: str) -> None:
        self.token = token
        self.act = act

    def __repr__(self) -> str:
        return f"<{self.token[0]}/{self.token[1]}: {self.act}>"


class Handling(NamedTuple):
    """That an incarnation began, or finished, with a message."""

    message: Any
    run: Any
    at: float = 0.0


class Sent(NamedTuple):
    """How it went to send a message; ``reply`` of an ask that can still be read."""

    message: Message
    cell: Any
    accepted: bool | None
    reply: Any = None
    outcome: Any = None


class Book:
    """What happened in one run, and the dice that it is drawn with.

    Attributes:
        unit: One second of the plan, in seconds of the clock.
        rates: How often each hook fails.
        armed: Hooks fail from now on.
        faults: What must not have happened, in words.
    """

    def __init__(self, clock: Clock, rng: random.Random, unit: float) -> None:
        self.clock = clock
        self.rng = rng
        self.unit = unit
        self.rates: dict[str, float] = {}
        self.dooms = False
        self.armed = False
        self.tree: Any = None
        self.fallback: Any = None  # whom messages go to if no child is there
        self.faults: list[str] = []
        self.events: list[tuple[float, Any]] = []
        self.begun: list[Handling] = []
        self.done: list[Handling] = []
        self.told: list[Sent] = []
        self.asked: list[Sent] = []
        self.stops: list[Any] = []
        self.hooks: list[tuple[Any, str]] = []
        self.items: list[Any] = []
        self.records: list[logging.LogRecord] = []
        self.drips: dict[str, Drip] = {}
        self._here: dict[str, dict[Any, int]] = {}
        self._numbers = itertools.count()

    def note(self, event: Any) -> None:
        """Take an event of the tree."""
        self.events.append((self.clock.monotonic(), event))

    def fault(self, text: str) -> None:
        self.faults.append(text)

    # -- in user code

    @contextlib.contextmanager
    def inside(self, what: str) -> Iterator[Any]:
        """Run user code of the present incarnation, which must be the only one."""
        run: Any = current_incarnation.get()
        here = self._here.setdefault(place_of(run.cell), {})
        here[run] = here.get(run, 0) + 1
        for other in tuple(here):
            if other is not run and not (is_left(other) or is_left(run)):
                self.fault(f"{run} is in {what} while {other} is in its code")
        self.hooks.append((run, what))
        try:
            yield run
        finally:
            here[run] -= 1
            if not here[run]:
                here.pop(run, None)

    def hook(self, what: str) -> None:
        """A hook: it may fail or hang, as the dice say."""
        with self.inside(what):
            self.mess(what)

    def mess(self, what: str) -> None:
        rate = self.rates.get(what, 0.0) if self.armed else 0.0
        drawn = self.rng.random()
        if drawn < rate:
            raise self.error()
        if drawn < rate * 1.2:
            self.hang()
        elif drawn < rate * 1.22 and self.dooms:
            raise Doom(what)

    def error(self) -> Exception:
        return self.rng.choice([Boom, Boom, Minor, Last, Grave])("planned")

    def hang(self) -> None:
        """See no token; the longest is past every limit."""
        self.clock.sleep(self.rng.choice([1, 8, 100]) * self.unit)

    # -- messages

    def handle(self, message: Message, actor: Any) -> Any:
        with self.inside("on_receive") as run:
            self.begun.append(Handling(message, run))
            self.do(message.act, run, actor)
            self.done.append(Handling(message, run, self.clock.monotonic()))
            return message.token

    def do(self, act: str, run: Any, actor: Any) -> None:
        match act:
            case "crash":
                raise (
                    Doom(act)
                    if self.dooms and self.rng.random() < 0.02
                    else (self.error())
                )
            case "crash the ask":
                raise Crash(self.error())
            case "nap":
                self.clock.sleep(self.rng.random() * self.unit)
            case "hang":
                self.hang()
            case "obey":
                if not self.clock.sleep(3 * self.unit, run.stop_token):
                    raise Cancelled
            case "stop":
                actor.stop()
            case "nothing":
                pass
            case _:
                self.send_from_inside(act, run, actor)

    def send_from_inside(self, act: str, run: Any, actor: Any) -> None:
        sender = f"{place_of(run.cell)}#{run.number}@{id(run)}"
        soon = self.rng.choice([0, 1, 4]) * self.unit
        ref = run.cell.ref if act == "tell self" else self.pick()
        match act:
            case "tell self" | "tell sibling":
                self.tell(sender, ref, timeout=soon)
            case "ask sibling":
                self.ask(sender, ref, timeout=soon)
            case "ask and go on":
                self.ask(sender, ref, block=False, timeout=soon)
            case "stop sibling":
                self.stops.append(ref.stop(block=False))
            case "watch sibling":
                with contextlib.suppress(*REFUSALS):
                    if isinstance(actor, Actor):
                        actor.watch(ref, restarts=self.rng.random() < 0.5)
            case "start child":
                with contextlib.suppress(*REFUSALS, TimeoutError):
                    self.tree.restart_child(self.rng.choice("abcd"), timeout=soon)

    def message(self, sender: str) -> Message:
        acts, weights = zip(*ACTS.items(), strict=True)
        (act,) = self.rng.choices(acts, weights)
        return Message((sender, next(self._numbers)), act)

    def tell(self, sender: str, ref: Any, **options: Any) -> None:
        message = self.message(sender)
        accepted: bool | None = None  # it may be cut short by an interrupt
        outcome = None
        try:
            ref.tell(message, **options)
            accepted = True
        except REFUSALS as error:
            accepted, outcome = False, error
        finally:
            self.told.append(Sent(message, ref.cell, accepted, None, outcome))

    def ask(self, sender: str, ref: Any, **options: Any) -> None:
        message, reply, outcome = self.message(sender), None, None
        try:
            answer = ref.ask(message, **options)
        except (Exception, Doom) as error:  # noqa: BLE001  # it is judged later
            outcome = error
        else:
            if options.get("block") is False:
                reply = answer
            else:
                outcome = answer
        self.asked.append(Sent(message, ref.cell, None, reply, outcome))

    def pick(self, *, any_kind: bool = False) -> Any:
        """Any child of any supervisor, as the newest pictures show them."""
        above = self.tree
        for _ in range(20):
            children = above.which_children()
            if not children:
                above = self.tree
                continue
            child = self.rng.choice(children)
            if child.state == "undefined" and self.rng.random() < 0.9:
                continue
            if not child.is_supervisor or (any_kind and self.rng.random() < 0.5):
                return child.ref
            above = child.ref
        return self.fallback


class Drip:
    """A source of items for one place."""

    def __init__(self, clock: Clock) -> None:
        self._lock = clock.lock()
        self._items: deque[Any] = deque()
        self._waiting: dict[Any, None] = {}

    def put(self, item: Any) -> None:
        with self._lock:
            self._items.append(item)
            waiting, self._waiting = self._waiting, {}
        for wake in waiting:
            wake.put(None)

    def take(self, wake: Any) -> Any:
        with self._lock:
            if self._items:
                return self._items.popleft()
            self._waiting[wake] = None
        return None

    def withdraw(self, wake: Any) -> None:
        with self._lock:
            self._waiting.pop(wake, None)


class Overheard(logging.Handler):
    """Keeps what the library logs as an error."""

    def __init__(self, book: Book) -> None:
        super().__init__(logging.ERROR)
        self._book = book

    def emit(self, record: logging.LogRecord) -> None:
        self._book.records.append(record)


def is_left(run: Any) -> bool:
    """True for one that was left behind, and for whatever is below such a one."""
    if run.revoked:
        return True
    above = run.cell.parent
    while above is not None:
        if any(each.number <= above.number for each in above.zombies):
            return True
        above = above.parent
    return False


def place_of(cell: Any) -> str:
    """Where an actor belongs, whichever cell it has there: ``root/inner/x``."""
    names: list[str] = []
    while cell is not None:
        names.append(cell.name)
        cell = cell.parent
    return "/".join(reversed(names))
