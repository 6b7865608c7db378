"""What must be true after a run of chaos.

:Runs on: the test runner's thread, after the run.
:Owns: nothing.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Any, Final

import pykka

from actors.events import (
    ChildAbandoned,
    ChildDown,
    ChildEscalated,
    ChildFailing,
    ChildInterrupted,
    ChildLeftDown,
    ChildRestarted,
    ChildResumed,
    ChildStarted,
    ChildStopped,
    MessageUndelivered,
    RestartScheduled,
    TreeGaveUp,
    TreeShutsDown,
)
from actors.ref import ActorDeadError
from actors.ref_errors import SendTimeout
from tests.supervision.chaos_kit import REFUSALS, Boom, Doom, Message, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actors.exits import Exit
    from tests.supervision.chaos_run import ChaosRun

LETTERS: Final = {
    ChildStarted: "s",
    ChildRestarted: "s",
    ChildResumed: "r",
    ChildFailing: "f",
    ChildInterrupted: "i",
    ChildAbandoned: "a",
    ChildDown: "d",
    RestartScheduled: "R",
    TreeGaveUp: "G",
    ChildLeftDown: "L",
    ChildEscalated: "E",
    TreeShutsDown: "T",
    ChildStopped: "x",
}
LIVES: Final = r"(i?s?r*i?f?i?a?dR?){}[GLE]?xT?"
"""All that one place is told of, from a start until it is closed."""
HISTORY: Final = re.compile(f"({LIVES.format('*')}({LIVES.format('+')})*)?")
"""Only the first start of a supervisor's child may be called off before it began."""


def check(run: ChaosRun, final: Exit | None) -> None:
    """Check everything; the faults are listed in one failure."""
    book = run.book
    faults = list(book.faults)
    for find in (messages, asks, order, hooks, histories, restarts, logs):
        faults += find(run)
    if final is not None:
        faults += after_the_end(run)
    assert not faults, "\n".join(faults[:30])


def after_the_end(run: ChaosRun) -> Iterable[str]:
    book, tree = run.book, run.book.tree
    if tree.zombies():
        yield f"still left behind: {tree.zombies()}"
    for reply in book.stops:
        try:
            reply.get(timeout=0)
        except pykka.Timeout:
            yield f"a stop was never answered: {reply}"
    watched = run.watcher.ask(("list", None))
    run.watcher.stop()
    yield from (f"the end of {ref} was never told" for ref in watched)
    undelivered = [e for _, e in book.events if isinstance(e, MessageUndelivered)]
    records = tree.undelivered()
    told = Counter(id(event.message) for event in undelivered)
    kept = Counter(id(record.message) for record in records)
    if len(undelivered) <= 1000 and told != kept:
        yield f"{len(undelivered)} undelivered are told, {len(records)} are kept"
    shot = tree.snapshot()
    if shot.undelivered != len(undelivered):
        yield f"{len(undelivered)} undelivered are told, {shot.undelivered} counted"
    str(shot)


# -- messages


def messages(run: ChaosRun) -> Iterable[str]:
    """Each accepted tell is handled or undelivered, once; no other ever shows up."""
    book = run.book
    begun = Counter(each.message for each in book.begun)
    done = finished(run)
    lost = Counter(
        e.message for _, e in book.events
        if isinstance(e, MessageUndelivered) and isinstance(e.message, Message)
    )  # fmt: skip
    yield from (f"{m} is begun {n} times" for m, n in begun.items() if n > 1)
    for sent in book.told:
        ends = (sent.message in done) + lost[sent.message]
        if sent.accepted is False and (ends or begun[sent.message]):
            yield f"{sent.message} was refused ({sent.outcome!r}) and came"
        elif sent.accepted and ends != 1:
            by = done.get(sent.message)
            if ends == 2 and lost[sent.message] == 1 and by and by.revoked:
                continue  # its thread was left behind just then
            if ends == 2 and by and by.cell.interruptible:
                continue  # or broken off just then
            yield f"{sent.message} to {sent.cell} had {ends} ends: {by}, {lost}"
    for sent in book.asked:
        if lost[sent.message]:
            yield f"the ask {sent.message} is undelivered"


def finished(run: ChaosRun) -> dict[Any, Any]:
    """Who handled which message, but for those who were left behind before."""
    left = {
        (f"{e.supervisor}/{e.child}", e.incarnation): at
        for at, e in run.book.events
        if isinstance(e, ChildAbandoned)
    }
    return {
        message: by
        for message, by, at in run.book.done
        if not by.revoked or at <= left.get((place_of(by.cell), by.number), at)
    }


def asks(run: ChaosRun) -> Iterable[str]:
    """Each ask is answered, by what became of it."""
    book = run.book
    begun = Counter(each.message for each in book.begun)
    done = finished(run)
    for sent in book.asked:
        message, outcome = sent.message, sent.outcome
        if sent.reply is not None:
            try:
                outcome = sent.reply.get(timeout=0)
            except pykka.Timeout:
                yield f"{message} to {sent.cell} was never answered"
                continue
            except (Exception, Doom) as error:  # noqa: BLE001  # judged below
                outcome = error
        by = done.get(message)
        if outcome == message.token:
            if by is None:
                yield f"{message} is answered and was not handled"
        elif isinstance(outcome, SendTimeout):
            if begun[message]:
                yield f"{message} was not sent and came"
        elif isinstance(outcome, (Boom, Doom)):
            if by is not None or not begun[message]:
                yield f"{message} is answered by {outcome!r}, but handled by {by}"
        elif isinstance(outcome, ActorDeadError):
            if by is not None and not (by.revoked or by.cell.interruptible):
                yield f"{message} is answered by {outcome!r}, but handled by {by}"
        elif not isinstance(outcome, REFUSALS):
            yield f"{message} is answered by {outcome!r}"


def order(run: ChaosRun) -> Iterable[str]:
    """What one sender tells one place comes in that order."""
    last: dict[Any, tuple[str, int]] = {}
    for message, by, _ in run.book.begun:
        key = by.cell, message.token[0]
        if not by.revoked and last.get(key, ("", -1)) > message.token:
            yield f"{message} to {by} comes after {last[key]}"
        last[key] = message.token


# -- hooks


def hooks(run: ChaosRun) -> Iterable[str]:
    """One incarnation ends by one hook, or by two if it is to; each once."""
    seen: defaultdict[Any, list[str]] = defaultdict(list)
    for each, what in run.book.hooks:
        if what in {"on_stop", "on_failure", "on_start", "__init__"}:
            seen[each].append(what)
    allowed = {(), ("on_stop",), ("on_failure",)}
    for each, names in seen.items():
        begin = names[: names.index("on_start") + 1] if "on_start" in names else names
        if begin not in (["__init__"], ["__init__", "on_start"]):
            yield f"{each} begins with {names}"
        both = ("on_failure", "on_stop")
        may = allowed | ({both} if each.cell.on_crash == "on_stop" else set())
        if tuple(names[len(begin) :]) not in may:
            yield f"{each} ends with {names}"


# -- events


def histories(run: ChaosRun) -> Iterable[str]:
    """The events of each place come in a legal order, and it is closed at the end."""
    of: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    lives: defaultdict[tuple[str, str, int], list[Any]] = defaultdict(list)
    downs: Counter[str] = Counter()  # of supervisors
    for _, event in run.book.events:
        if type(event) in LETTERS:
            supervisor, child = event[:2]
            of[supervisor, child].append(event)
            lives[supervisor, child, downs[supervisor]].append(event)
            if isinstance(event, ChildDown):
                downs[f"{supervisor}/{child}"] += 1
    left = [
        f"{e.supervisor}/{e.child}"
        for _, e in run.book.events
        if isinstance(e, ChildAbandoned)
    ]
    for place, events in lives.items():
        if any(f"{place[0]}/".startswith(f"{each}/") for each in left):
            continue  # a supervisor left behind ends its children all the same
        text = "".join(LETTERS[type(event)] for event in events)
        if not HISTORY.fullmatch(text):
            yield f"{place} went through {text}"
        number = 0
        for event in events:
            if event.incarnation < number:
                yield f"{place} goes back from #{number}: {event}"
            over = isinstance(event, (ChildStopped, TreeShutsDown))
            number = 0 if over else event.incarnation
    yield from give_ups(of)


def give_ups(of: dict[tuple[str, str], list[Any]]) -> Iterable[str]:
    """A supervisor gives up once at most; it then is told to have ended so."""
    for (supervisor, _), events in of.items():
        given = [e for e in events if isinstance(e, (TreeGaveUp, ChildEscalated))]
        above, _, name = supervisor.rpartition("/")
        downs = [e for e in of.get((above, name), ()) if isinstance(e, ChildDown)]
        if above and len(given) > sum(e.kind != "shutdown" for e in downs):
            yield f"{supervisor} gave up {len(given)} times: {downs}"
        if not above and len(given) > 1:
            yield f"{supervisor} gave up {len(given)} times"


def restarts(run: ChaosRun) -> Iterable[str]:
    """No more of them than the window allows, and none too early."""
    moments: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)
    not_before: dict[tuple[str, str], float] = {}
    up: set[tuple[str, str]] = set()
    for at, event in run.book.events:
        supervisor, child = event[:2]
        if isinstance(event, (ChildStarted, ChildRestarted)):
            up.add((supervisor, child))
        if isinstance(event, RestartScheduled):
            own = run.left_down.get(child, True) or (
                run.optional.get(child, False) and (supervisor, child) not in up
            )
            window = moments[supervisor, child if own else ""]
            window.append(at)
            while window[0] + event.period < at:
                window.popleft()
            not_before[supervisor, child] = at + event.delay
            if len(window) > event.intensity:
                yield f"restart number {len(window)} in the window: {event}"
        elif isinstance(event, ChildRestarted):
            if at < not_before.pop((supervisor, child), 0.0) - 0.001:
                yield f"{event} came before its delay was over"
        elif isinstance(event, ChildStopped):
            moments.pop((supervisor, child), None)
            not_before.pop((supervisor, child), None)
        elif isinstance(event, ChildDown):  # of a supervisor: its next one counts anew
            below = f"{supervisor}/{child}"
            up = {key for key in up if not key[0].startswith(below)}
            for key in list(moments):
                if key[0].startswith(below):
                    del moments[key]


def logs(run: ChaosRun) -> Iterable[str]:
    """No error is logged that nobody planned."""
    for record in run.book.records:
        text = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        planned = error is None or isinstance(error, (Boom, Doom))
        expected = (
            (record.name == "headrace.supervision" and "cannot stop" not in text)
            or (record.name == "headrace.cell" and "shut out and harmless" in text)
            or "Unhandled exception in" in text
            or "nobody read the reply" in text
        )
        if not (planned and expected):
            yield f"{record.name} logged: {text}"
