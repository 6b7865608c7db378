"""Draws a snapshot of a tree as lines of text.

What is well is drawn with little ink: an empty mailbox is blank, a quiet child has no
remark.  ``#3`` is the incarnation, as in the log.

:Runs on: any thread.
:Owns: nothing.
:Blocks: nothing.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from supervision._words import count, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from supervision.snapshot import ChildSnapshot, Entry, TreeSnapshot

__all__ = ["draw"]

REMARK: Final = 20
"""Characters that a remark has at the least, whatever else there is in its line."""
STACK: Final = 20
"""Lines of a zombie's stack that are drawn, the innermost."""
_WORDS: Final = {
    "undefined": "down",
    "normal": "ended by itself",
    "shutdown": "stopped",
    "ignored": "had nothing to do",
}
_ENDS: Final = {"start_failed": "did not start:", "gave_up": "gave up:"}
_BEFORE: Final = {"start_failed": "after failed start:", "gave_up": "after giving up:"}
SOON: Final = 0.05
"""Seconds that would be drawn as 0.0."""


class _Row(NamedTuple):
    """One line of the tree, by its columns."""

    name: str
    state: str = ""
    incarnation: str = ""
    mailbox: str = ""
    remark: str = ""


_HEAD: Final = _Row("tree", "state", "#", "mailbox")
# A line, whose it is, and what the lines of the children of that one begin with.
_Line: TypeAlias = "tuple[_Row | None, Entry | None, str]"
_END: Final[_Line] = (None, None, "")


def draw(tree: TreeSnapshot, *, width: int, most: int) -> str:
    """The tree, then what has been left behind, then the sums."""
    rows = [_HEAD, _row(tree, tree.name), *_below(tree, "", most)]
    lines = [*_aligned(rows, width), *_zombies(tree), "", _sums(tree)]
    return "\n".join(lines)


# -- the table


def _aligned(rows: list[_Row], width: int) -> Iterator[str]:
    columns = list(zip(*rows, strict=True))[:-1]
    widths = [max(map(len, column)) for column in columns]
    left = max(REMARK, width - sum(widths) - 2 * len(widths))
    for row in rows:
        name, state, incarnation, mailbox, remark = row
        cells = (
            name.ljust(widths[0]),
            state.ljust(widths[1]),
            incarnation.rjust(widths[2]),
            mailbox.rjust(widths[3]),
            remark if len(remark) <= left else f"{remark[: left - 1]}…",
        )
        yield "  ".join(cells).rstrip()


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
        yield _row(child, f"{guide}{corner}{child.id}"), child, guide + onward
    if others:
        states = {_state(each) for each in others}
        alike = states.pop() if len(states) == 1 else ""
        remark = "" if alike else _states(others)
        yield (
            _Row(f"{guide}└─ and {len(others):,} more", alike, remark=remark),
            None,
            "",
        )


def _chosen(children: tuple[Entry, ...], most: int) -> tuple[list[Entry], list[Entry]]:
    """Which children are drawn and which are counted, each in the order of start."""
    if len(children) <= most + 1:  # "and 1 more" is as long as the one
        return list(children), []
    places = sorted(range(len(children)), key=lambda at: (_is_quiet(children[at]), at))
    drawn = set(places[:most])
    return (
        [child for at, child in enumerate(children) if at in drawn],
        [child for at, child in enumerate(children) if at not in drawn],
    )


def _is_quiet(child: Entry) -> bool:
    if child.is_supervisor or child.state != "running" or child.zombies:
        return False
    return not _is_full(child)


def _row(each: Entry, name: str) -> _Row:
    return _Row(
        name,
        _state(each),
        f"#{each.incarnation}" if each.incarnation else "",
        "" if each.is_supervisor else _mailbox(each),
        ", ".join(_remarks(each)),
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


def _zombies(tree: TreeSnapshot) -> Iterator[str]:
    """Each thread that was left behind, with the place where it is."""
    for zombie in tree.zombies:
        yield ""
        ago = seconds(tree.taken_at - zombie.since)
        yield f"{zombie.thread}  left behind {ago} ago: {zombie.why}"
        stack = zombie.stack.rstrip().splitlines()
        if len(stack) > STACK:
            yield f"    ({len(stack) - STACK} lines above)"
        yield from textwrap.indent("\n".join(stack[-STACK:]), "  ").splitlines()


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
