"""What happened under a virtual clock, in order, for a person to read.

Recording is cheap and formats nothing but messages, which may change later on; the rest
is put into words when somebody asks, mostly because a test failed::

    seed 7: PCT(7, depth=2, steps=50), preempt='send'
           at  who          what                       where
          0 s  bank         starts
               first        starts
               second       starts
               bank         handles 'read'
               first        goes on                    bank.py:31  n = bank.ask("read")
                            -- the same 2 rows, 11 times more
    !   1.5 s  bank         fault: crashed before 90
          2 s  test thread  goes on after join(first)  bank.py:40  first.join()

A mark in the first column shows an injected fault.

:Runs on: ``step`` and its kin on the thread that gets or has the turn; ``text`` on any.
:Owns: the first and the last steps of one run.
:Guards: in serial mode one thread runs at a time; in free mode steps may be recorded at
    once, each by one append, which the interpreter makes atomic.
:Blocks: nothing; the ``repr`` of a message is the user's code.
"""

from __future__ import annotations

import functools
import linecache
import os
import re
import reprlib
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from actors.ref import StopMarker

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType

__all__ = ["Step", "StoryLog", "render", "short"]

_NANO: Final = 1_000_000_000
_HERE: Final = os.path.dirname(os.path.abspath(__file__))
_ROOT: Final = os.path.dirname(os.path.dirname(_HERE))
_OURS: Final = (os.path.join(_ROOT, "actors"), os.path.join(_ROOT, "supervision"))
_GOES_ON: Final = "goes on"
_FIRST_KEPT: Final = 100
_LAST_KEPT: Final = 1000
_WHO_WIDTH: Final = 24
_WHAT_WIDTH: Final = 48
_SOURCE_WIDTH: Final = 60
_ALONE: Final = _WHAT_WIDTH + _SOURCE_WIDTH  # Of what has nothing in the last column.
_PLAIN: Final = frozenset({int, float, bool, type(None)})
_ADDRESS: Final = re.compile(r" at 0x[0-9A-Fa-f]+")


class Step(NamedTuple):
    """One step of a run.

    Attributes:
        now_ns: The virtual time, in nanoseconds.
        label: Whose step, as ``name@path``.
        doing: What it waited in before its turn, or what it does.
        code: Where, or ``None``.
        line: The line in it.
        kind: Whether it got its turn, or what else it is.
        times: How many equal steps in a row this one stands for.
    """

    now_ns: int
    label: str
    doing: str
    code: CodeType | None
    line: int
    kind: Literal["turn", "message", "control", "fault", "gap"] = "turn"
    times: int = 1


_NOBODY: Final = Step(-1, "", "", None, 0)


class StoryLog:
    """Keeps the first and the last steps of a run.

    Args:
        first: How many of the first steps are kept.
        last: How many of the last.

    Attributes:
        count: How many steps there were in all.
    """

    def __init__(self, first: int = _FIRST_KEPT, last: int = _LAST_KEPT) -> None:
        self._room = first
        self._first: list[Step] = []
        self._last: deque[Step] = deque(maxlen=last)
        self.count = 0

    def step(
        self, now: int, label: str, doing: str, code: CodeType | None, line: int
    ) -> None:
        """Note that a thread gets its turn.

        Args:
            now: The virtual time, in nanoseconds.
            label: Whose turn, as ``name@path``.
            doing: What it waited in, ``"sleep(1)"``; empty when it starts, and ``"goes
                on"`` when it only let the others have a chance.
            code: Where it goes on, or ``None``.
            line: The line in it.
        """
        self._keep(Step(now, label, doing, code, line))

    def handles(
        self, now: int, label: str, message: Any, *, control: bool = False
    ) -> None:
        """Note that an actor is about to handle a message.

        Called on the actor's own thread, outside of every section: the ``repr`` of the
        message is asked for here and now, before the handler changes it.
        """
        if type(message) is StopMarker:
            text = "is asked to stop"
        else:
            text = f"handles {'control ' if control else ''}{short(message)}"
        self._keep(Step(now, label, text, None, 0, "control" if control else "message"))

    def fault(self, now: int, label: str, what: str) -> None:
        """Note an injected fault."""
        self._keep(Step(now, label, f"fault: {what}", None, 0, "fault"))

    def _keep(self, step: Step) -> None:
        self.count += 1
        if len(self._first) < self._room:
            self._first.append(step)
        else:
            self._last.append(step)

    def text(self, limit: int = 60, *, header: str = "") -> str:
        """Put the story into words.

        Args:
            limit: How many rows; of a longer story the middle is left out.
            header: Lines to begin with.
        """
        return render(self.steps, header=header, limit=limit)

    @property
    def steps(self) -> list[Step]:
        """What was kept, in order, with a gap for what was not."""
        steps = [*self._first, *self._last]
        lost = self.count - len(steps)
        if lost > 0:
            steps.insert(len(self._first), Step(0, "", "", None, 0, "gap", lost))
        return steps


def short(message: Any, limit: int = 80) -> str:
    """The ``repr`` of a message, cut short, without addresses; never raises.

    Long strings and collections are cut inside, so that the message's class and first
    fields stay to be seen.  A ``repr`` that raises is told in its place.
    """
    if _is_plain(message) or (
        type(message) is tuple and len(message) <= 4 and all(map(_is_plain, message))
    ):
        return _cut(repr(message), limit)  # four times as fast, and most are such
    try:
        text = _short.repr(message)
    except Exception as error:  # noqa: BLE001  # the host's class: told in its place
        text = f"<{type(message).__name__}, whose repr raises {type(error).__name__}>"
    if " at 0x" in text:
        text = _ADDRESS.sub("", text)
    if "\n" in text:
        text = " ".join(text.split())
    return _cut(text, limit)


def render(steps: Iterable[Step], *, header: str = "", limit: int | None = None) -> str:
    """Put steps into a table: time at each change, who at each change, what, where.

    Rows that a person need not see are joined: equal ones in a row, two or three that
    come again and again, and the turn in which an actor takes the message that it then
    handles.

    Args:
        steps: In order.
        header: Lines to begin with.
        limit: How many rows.  Of a longer table the turns at lines of the library are
            left out, then what actors were told by the library, then the middle.
    """
    rows = _fold(_merge(map(_in_words, steps)))
    left_out = 0
    for needless in (_is_inner, _is_control):
        if limit is not None and len(rows) > limit:
            left_out += sum(row.times for row in rows if needless(row))
            rows = _fold(_merge(row for row in rows if not needless(row)))
    rows = _cut_middle(rows, limit)
    lines = _table(rows) if rows else ["  nothing happened"]
    if left_out:
        lines.append(f"  -- {left_out} steps inside the library left out")
    return "\n".join(header.splitlines() + lines)


# -- recording


@functools.lru_cache(maxsize=4096)
def _is_library(filename: str) -> bool:
    folder, name = os.path.split(filename)
    return (
        folder in _OURS
        or folder.startswith(tuple(ours + os.sep for ours in _OURS))
        or os.path.basename(folder) in ("pykka", "futures")
        or name in ("threading.py", "contextlib.py", "functools.py", "queue.py")
    )


def _is_plain(value: Any) -> bool:
    kind = type(value)
    return kind in _PLAIN or (kind is str and len(value) <= 50)


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = 50
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 4

    def repr_instance(self, x: Any, level: int) -> str:  # noqa: ARG002  # reprlib's
        # reprlib's own hides what went wrong, and cuts the middle out of fields.
        return repr(x)


_short: Final = _Short()


# -- joining rows


def _in_words(step: Step) -> Step:
    if step.kind == "gap":
        return step._replace(doing=f"-- {step.times} steps left out")
    if step.kind != "turn":
        return step
    text = _GOES_ON if step.doing else "starts"
    if step.code is not None and not _has_place(step) and step.doing:
        text = f"{_GOES_ON} in {step.code.co_qualname}"
    # A wait without an argument says no more than the source line does.
    if step.doing and step.doing != _GOES_ON and not step.doing.endswith("()"):
        text = f"{text} after {step.doing}"
    return step._replace(doing=text)


def _merge(steps: Iterable[Step]) -> list[Step]:
    rows: list[Step] = []
    for step in steps:
        last = rows[-1] if rows else None
        if last is None or last.label != step.label or last.now_ns != step.now_ns:
            rows.append(step)
        elif _alike(last, step):
            rows[-1] = last._replace(times=last.times + step.times)
        elif step.kind in ("message", "control") and _is_inner(last):
            rows[-1] = step
        else:
            rows.append(step)
    return rows


def _alike(one: Step, other: Step) -> bool:
    # By line and not by code: a comprehension may have code of its own.
    if (one.doing, one.line, one.kind) != (other.doing, other.line, other.kind):
        return False
    return one.code is other.code or (_file(one) == _file(other) != "")


def _file(step: Step) -> str:
    return "" if step.code is None else step.code.co_filename


def _fold(rows: list[Step]) -> list[Step]:
    """Show two or three rows that come again and again once."""
    folded: list[Step] = []
    begin = 0
    while begin < len(rows):
        size, again = _cycle(rows, begin)
        folded += rows[begin : begin + size]
        begin += size
        if again:
            steps = sum(row.times for row in rows[begin : begin + again * size])
            text = f"-- the same {size} rows, {again} times more"
            folded.append(Step(0, "", text, None, 0, "gap", steps))
            begin += again * size
    return folded


def _cycle(rows: list[Step], begin: int) -> tuple[int, int]:
    """How long a cycle begins here, and how often it comes again; ``(1, 0)``: none."""
    for size in (2, 3):
        cycle = rows[begin : begin + size]
        again = 0
        start = begin + size
        while rows[start : start + size] == cycle and cycle[0] != cycle[-1]:
            again += 1
            start += size
        if again > 1:
            return size, again
    return 1, 0


def _is_inner(step: Step) -> bool:
    """Whether it is a turn that tells nothing of the user's own code."""
    return step.kind == "turn" and not _has_place(step) and step.doing != "starts"


def _is_control(step: Step) -> bool:
    return step.kind == "control"


def _cut_middle(rows: list[Step], limit: int | None) -> list[Step]:
    if limit is None or len(rows) <= limit:
        return rows
    first, last = limit // 4, len(rows) - limit + limit // 4
    faults = [n for n in range(first, last) if rows[n].kind == "fault"]
    kept: list[Step] = rows[:first]
    begin = first
    for index in [*faults[-limit:], last]:
        left_out = sum(row.times for row in rows[begin:index])
        if left_out:
            kept.append(_in_words(Step(0, "", "", None, 0, "gap", left_out)))
        kept += rows[index : index + 1]
        begin = index + 1
    return kept + rows[last + 1 :]


# -- the table


def _names(rows: Iterable[Step]) -> dict[str, str]:
    """A label without its path, where no other thread shown has the same name."""
    bare = {row.label: row.label.rpartition("@")[0] or row.label for row in rows}
    owners = Counter(bare.values())
    return {
        label: _cut(name if owners[name] == 1 else label, _WHO_WIDTH)
        for label, name in bare.items()
    }


def _table(rows: list[Step]) -> list[str]:
    names = _names(rows)
    cells = [("", "at", "who", "what", "where")]
    before = _NOBODY
    for row in rows:
        gap = row.kind == "gap"
        same_time = gap or row.now_ns == before.now_ns
        same_name = gap or row.label == before.label
        cells.append(
            (
                "!" if row.kind == "fault" else "",
                "" if same_time else f"{row.now_ns / _NANO:.10g} s",
                "" if same_name else names[row.label],
                _what(row),
                _where(row),
            )
        )
        before = _NOBODY if gap else row
    # What has nothing in the last column may be longer than the column before it.
    when = max(len(at) for _, at, *_ in cells)
    who = max(len(name) for _, _, name, *_ in cells)
    what = min(_WHAT_WIDTH, max(len(text) if place else 0 for *_, text, place in cells))
    return [
        f"{mark:1} {at:>{when}}  {name:<{who}}  "
        f"{_cut(text, what if place else _ALONE):<{what}}  {place}".rstrip()
        for mark, at, name, text, place in cells
    ]


def _what(row: Step) -> str:
    many = row.times > 1 and row.kind != "gap"
    return f"{row.doing}, {row.times} times" if many else row.doing


def _has_place(row: Step) -> bool:
    return row.code is not None and not _is_library(row.code.co_filename)


def _where(row: Step) -> str:
    if row.code is None or not _has_place(row):
        return ""
    filename = row.code.co_filename
    source = linecache.getline(filename, row.line).strip()
    text = _cut(source or row.code.co_qualname, _SOURCE_WIDTH)
    return f"{os.path.basename(filename)}:{row.line}  {text}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
