"""Draws a snapshot of a tree as lines of text.

What is well is drawn with little ink: an empty mailbox is blank, a quiet child has no
remark.  ``#3`` is the incarnation, as in the log.

:Runs on: any thread.
:Owns: nothing.
:Blocks: nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from actors.errors import ConfigurationError
from supervision._columns import cut, cut_middle, fill, harmless, width_of
from supervision._words import count, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actors.exits import Zombie
    from supervision.snapshot import ChildSnapshot, Entry, TreeSnapshot

__all__ = ["draw"]

REMARK: Final = 20
"""Columns that remarks have, if they need them, before names are cut."""
NAME: Final = 12
"""Columns that names have before remarks are cut to less than that."""
LEAST: Final = 6
"""Columns that a remark, or a name beside its lines, has in any terminal."""
HANDLED: Final = 30
"""Columns of the message in hand, if there is an error to tell as well."""
STACK: Final = 20
"""Lines of a zombie's stack that are drawn, the innermost."""
_WORDS: Final = {
    "undefined": "down",
    "normal": "ended by itself",
    "shutdown": "stopped",
    "ignored": "had nothing to do",
    "failed": "failed",
    "start_failed": "did not start",
    "abandoned": "left behind",
    "gave_up": "gave up",
    "fatal": "failed for good",
}
_ENDS: Final = {"start_failed": "did not start:", "gave_up": "gave up:"}
_BEFORE: Final = {"start_failed": "after failed start:", "gave_up": "after giving up:"}
SOON: Final = 0.05
"""Seconds that would be drawn as 0.0."""


class _Row(NamedTuple):
    """One line of the tree, by its columns; before the name stand its lines."""

    name: str
    state: str = ""
    incarnation: str = ""
    mailbox: str = ""
    remark: str = ""
    guide: str = ""


_HEAD: Final = _Row("tree", "state", "#", "mailbox")
# A line, whose it is, and what the lines of the children of that one begin with.
_Line: TypeAlias = "tuple[_Row | None, Entry | None, str]"
_END: Final[_Line] = (None, None, "")


def draw(tree: TreeSnapshot, *, width: int, most: int) -> str:
    """The tree, then what has been left behind, then the sums."""
    _check("width", width, 1)
    _check("most", most, 0)
    rows = [_HEAD, _row(tree, tree.name), *_below(tree, "", most)]
    lines = [*_aligned(rows, width), *_zombies(tree, width, most), "", _sums(tree)]
    return "\n".join(lines)


def _check(option: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        msg = f"{option} must be a whole number of at least {least}, got {value!r}"
        raise ConfigurationError(msg)


# -- the table


def _aligned(rows: list[_Row], width: int) -> Iterator[str]:
    shown = [1, 2, 3]
    widths = [max(len(row[at]) for row in rows) for at in shown]
    longest = max(len(row.guide) + width_of(row.name) for row in rows)
    wanted = min(REMARK, max(width_of(row.remark) for row in rows))
    room = width - sum(widths) - 2 * 4
    if room < min(longest, NAME) + wanted and not any(row.mailbox for row in rows[1:]):
        room += widths[2] + 2  # that column has but a head
        del shown[2]
    names = min(longest, max(room - wanted, NAME))
    remarks = max(room - names, LEAST)
    for row in rows:
        name = cut_middle(row.name, max(names - len(row.guide), LEAST))
        cells = [fill(row.guide + name, names)]
        cells += [_placed(row, at, widths[at - 1]) for at in shown]
        cells.append(cut(row.remark, remarks))
        yield "  ".join(cells).rstrip()


def _placed(row: _Row, at: int, width: int) -> str:
    """One column of a line: the state to the left, numbers to the right."""
    return row[at].ljust(width) if at == 1 else row[at].rjust(width)


def _below(tree: TreeSnapshot, guide: str, most: int) -> Iterator[_Row]:
    """The lines of a supervisor's children, and of theirs."""
    begun = [_children(tree, guide, most)]
    while begun:  # a loop: a deep tree must not recurse
        row, child, onward = next(begun[-1], _END)
        if row is None:
            begun.pop()
            continue
        yield row
        if child is not None and child.is_supervisor:
            begun.append(_children(child, onward, most))


def _children(tree: TreeSnapshot, guide: str, most: int) -> Iterator[_Line]:
    """The lines of a supervisor's children alone."""
    drawn, others = _chosen(tree.children, most)
    for place, child in enumerate(drawn):
        is_last = place == len(drawn) - 1 and not others
        corner, onward = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        yield _row(child, child.id, guide + corner), child, guide + onward
    if others:
        states = {_state(each) for each in others}
        alike = states.pop() if len(states) == 1 else ""
        remark = "" if alike else _states(others)
        name = f"and {len(others):,} more"
        yield _Row(name, alike, remark=remark, guide=f"{guide}└─ "), None, ""


def _chosen(children: tuple[Entry, ...], most: int) -> tuple[list[Entry], list[Entry]]:
    """Which children are drawn and which are counted, each in the order of start."""
    if len(children) <= most + 1:  # "and 1 more" is as long as the one
        return list(children), []
    places = sorted(range(len(children)), key=lambda at: (_calm(children[at]), at))
    drawn = set(places[:most])
    return (
        [child for at, child in enumerate(children) if at in drawn],
        [child for at, child in enumerate(children) if at not in drawn],
    )


def _calm(child: Entry) -> int:
    """How little it needs a look: 0 does, 1 is busy, 2 is idle."""
    if child.is_supervisor or child.state != "running" or child.zombies:
        return 0
    if _is_full(child):
        return 0
    return 1 if child.handling else 2


def _row(each: Entry, name: str, guide: str = "") -> _Row:
    return _Row(
        harmless(name),
        _state(each),
        f"#{each.incarnation}" if each.incarnation else "",
        "" if each.is_supervisor else _mailbox(each),
        harmless(", ".join(_remarks(each))),
        guide,
    )


def _state(each: Entry) -> str:
    return _WORDS.get(each.state, each.state)


def _mailbox(child: ChildSnapshot) -> str:
    if not child.mailbox or child.capacity is None:
        return str(child.mailbox or "")
    return f"{child.mailbox}/{child.capacity}"


def _is_full(child: ChildSnapshot) -> bool:
    return child.capacity is not None and child.mailbox >= child.capacity


def _remarks(each: Entry) -> Iterator[str]:
    """What one should know of it, the most urgent first."""
    if each.is_supervisor:
        yield each.strategy
    if each.restart_in is not None:
        yield "now" if each.restart_in < SOON else f"in {seconds(each.restart_in)}"
    if not each.is_supervisor:
        if _is_full(each):
            yield "full"
        if each.zombies:
            yield count(each.zombies, "zombie")
        if each.handling:
            what = cut(each.handling, HANDLED) if each.error else each.handling
            yield f"handles {what}"
    if each.error:
        ends = _BEFORE if each.state == "running" else _ENDS
        yield f"{ends.get(each.exit_kind, 'after')} {' '.join(each.error.split())}"
    elif each.state == "undefined" and each.exit_kind:
        yield _end(each)


def _end(each: Entry) -> str:
    """How one that is down ended, in words."""
    kind = each.exit_kind
    if kind == "normal" and (each.by_order or each.is_supervisor):  # it drained
        kind = "shutdown"
    elif kind == "shutdown" and each.is_supervisor and not each.by_order:
        kind = "normal"  # by its auto_shutdown
    return _WORDS.get(kind, kind)


# -- below the table


def _zombies(tree: TreeSnapshot, width: int, most: int) -> Iterator[str]:
    """The threads that were left behind, by the places where they are."""
    places: dict[tuple[str, str], list[Zombie]] = {}
    for zombie in tree.zombies:
        places.setdefault((zombie.stack, zombie.why), []).append(zombie)
    groups = sorted(places.values(), key=len, reverse=True)
    if len(groups) > most + 1:  # one more is drawn, as of the children
        groups, others = groups[:most], groups[most:]
    else:
        others = []
    for group in groups:
        yield ""
        yield from _place(group, tree.taken_at, width)
    if others:
        yield ""
        threads = count(sum(map(len, others)), "thread")
        yield f"and {threads} left behind at {count(len(others), 'other place')}"


def _place(zombies: list[Zombie], now: float, width: int) -> Iterator[str]:
    """Those at one place, and their stack."""
    first = zombies[0]
    ages = [seconds(now - since) for since in sorted({z.since for z in zombies})]
    ago = ages[0] if ages[0] == ages[-1] else f"{ages[-1]} to {ages[0]}"
    names = [harmless(zombie.thread) for zombie in zombies]
    who = names[0] if len(names) == 1 else count(len(names), "thread")
    yield f"{who}  left behind {ago} ago: {harmless(first.why)}"
    if len(names) > 1:
        yield f"  {_some(names, width - 2)}"
    stack = first.stack.rstrip().splitlines()
    if len(stack) > STACK:
        yield f"    ({len(stack) - STACK} lines above)"
    for line in stack[-STACK:]:
        yield f"  {harmless(line)}"


def _some(names: list[str], width: int) -> str:
    """As many names as fit into a line, one at least, and how many there are else."""
    whole = ", ".join(names)
    if width_of(whole) <= width:
        return whole
    shown = 1
    while shown < len(names):
        text = f"{', '.join(names[: shown + 1])}, and {len(names) - shown - 1:,} more"
        if width_of(text) > width:
            break
        shown += 1
    return f"{', '.join(names[:shown])}, and {len(names) - shown:,} more"


def _sums(tree: TreeSnapshot) -> str:
    """What an operator wants to know first, next to the prompt."""
    actors = [each for each in _all_below(tree) if not each.is_supervisor]
    words = [f"{count(len(actors), 'actor')}: {_states(actors) or 'none'}"]
    restarts = sum(each.restarts for each in _all_below(tree))
    if restarts:
        words.append(count(restarts, "restart"))
    if tree.zombies:
        words.append(count(len(tree.zombies), "zombie"))
    if tree.undelivered:
        words.append(f"{tree.undelivered:,} undelivered")
    return "; ".join(words)


def _all_below(tree: TreeSnapshot) -> Iterator[Entry]:
    todo = [*reversed(tree.children)]
    while todo:  # a loop: see above
        child = todo.pop()
        yield child
        if child.is_supervisor:
            todo += reversed(child.children)


def _states(entries: Sequence[Entry]) -> str:
    """``9,958 running, 2 restarting``."""
    states = Counter(map(_state, entries))
    return ", ".join(f"{number:,} {state}" for state, number in states.most_common())
