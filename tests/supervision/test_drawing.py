"""How a tree is drawn: columns that line up, and ink for what needs a look."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from actors.errors import ConfigurationError
from actors.exits import Zombie
from supervision.snapshot import ChildSnapshot, TreeSnapshot


def a_child(name: str, **differences: Any) -> ChildSnapshot:
    quiet: dict[str, Any] = {
        "state": "running",
        "actor_class": "Kid",
        "incarnation": 1,
        "restarts": 0,
        "mailbox": 0,
        "capacity": 10,
        "thread": name,
        "exit_kind": "",
        "error": "",
        "restart_in": None,
        "zombies": 0,
        "undelivered": 0,
    }
    return ChildSnapshot(id=name, **{**quiet, **differences})


def a_tree(*children: Any, name: str = "root", **differences: Any) -> TreeSnapshot:
    quiet: dict[str, Any] = {
        "strategy": "one_for_one",
        "state": "running",
        "incarnation": 1,
        "restarts": 0,
        "exit_kind": "",
        "error": "",
        "restart_in": None,
        "zombies": (),
        "undelivered": 0,
        "taken_at": 100.0,
    }
    id_ = name.rpartition("/")[2]
    made = {**quiet, **differences}
    return TreeSnapshot(id=id_, name=name, children=children, **made)


def drawn(tree: TreeSnapshot, **options: Any) -> str:
    return "\n" + tree.draw(**options) + "\n"


def test_tree_is_drawn_with_what_needs_a_look() -> None:
    """R77: nested, restarting, full, down, starting."""
    boom = {"exit_kind": "failed", "error": "ValueError: boom"}
    workers = a_tree(
        a_child("w-0"),
        a_child("w-1", state="restarting", restart_in=4.25, restarts=2, **boom),
        a_child("w-2", incarnation=12, mailbox=3, restarts=11, **boom),
        name="root/workers",
    )
    tree = a_tree(
        a_child("collector", mailbox=10),
        workers,
        a_child("mail", state="undefined", exit_kind="normal"),
        a_child("log", state="starting", incarnation=0, capacity=None, mailbox=7),
        undelivered=5,
    )

    assert (
        drawn(tree)
        == """
tree          state         #  mailbox
root          running      #1           one_for_one
├─ collector  running      #1    10/10  full
├─ workers    running      #1           one_for_one
│  ├─ w-0     running      #1
│  ├─ w-1     restarting   #1           in 4.2 s, after ValueError: boom
│  └─ w-2     running     #12     3/10  after ValueError: boom
├─ mail       down         #1           ended by itself
└─ log        starting               7

6 actors: 3 running, 1 restarting, 1 down, 1 starting; 13 restarts; 5 undelivered
"""
    )
    assert str(tree) == tree.draw()


def test_thread_left_behind_is_drawn_with_the_innermost_lines_of_its_stack() -> None:
    """R58, R77."""
    stack = "".join(f'  File "f.py", line {n}, in f\n    f{n}()\n' for n in range(30))
    zombie = Zombie("a", 1, "zombie:a", "did not stop in time", stack, 28.0)
    kid = a_child("a", incarnation=2, zombies=1)

    text = a_tree(kid, zombies=(zombie,)).draw()

    assert "└─ a  running  #2           1 zombie\n" in text
    assert (
        "\nzombie:a  left behind 1 min 12 s ago: did not stop in time\n"
        "    (40 lines above)\n"
        '    File "f.py", line 20, in f\n'
        "      f20()\n"
    ) in text
    assert text.endswith("      f29()\n\n1 actor: 1 running; 1 zombie")


STACK = '  File "disk.py", line 7, in on_receive\n    self.read()\n'


def left_behind(name: str, stack: str = STACK, since: float = 28.0) -> Zombie:
    return Zombie(name, 1, f"zombie:{name}", "did not stop in time", stack, since)


def test_threads_left_behind_at_one_place_have_one_stack() -> None:
    """R58, R77: 100 that wait for one disk are not 2,300 lines."""
    zombies = [left_behind(f"c-{n}", since=28.0 + n) for n in range(12)]
    zombies.insert(3, left_behind("other", STACK.replace("7", "8"), since=99.0))

    text = a_tree(zombies=tuple(zombies)).draw(width=40)

    assert (
        """
12 threads  left behind 1 min 01 s to 1 min 12 s ago: did not stop in time
  zombie:c-0, zombie:c-1, and 10 more
    File "disk.py", line 7, in on_receive
      self.read()

zombie:other  left behind 1.0 s ago: did not stop in time
    File "disk.py", line 8, in on_receive
      self.read()

0 actors: none; 13 zombies"""
        in text
    )
    assert a_tree(zombies=tuple(zombies[:2])).draw().splitlines()[3:5] == [
        "2 threads  left behind 1 min 11 s to 1 min 12 s ago: did not stop in time",
        "  zombie:c-0, zombie:c-1",
    ]


def test_places_where_threads_were_left_behind_are_limited_too() -> None:
    """R58, R77: the most frequent are drawn."""
    zombies = [left_behind(f"c-{n}", STACK.replace("7", str(n))) for n in range(9)]
    zombies += [left_behind("d", STACK.replace("7", "8"))]
    tree = a_tree(zombies=tuple(zombies))

    text = tree.draw(most=2)

    assert text.count("File ") == 2
    assert "2 threads  left behind" in text
    assert "\n\nand 7 threads left behind at 7 other places\n\n" in text
    assert tree.draw(most=8).count("File ") == 9


# -- what it is busy with


def test_busy_child_is_drawn_with_what_it_handles() -> None:
    """R77: it may hang there, with an empty mailbox."""
    text = a_tree(
        a_child("a", handling="'resize 17.jpg'"),
        a_child("b", handling="x" * 80, exit_kind="failed", error="E: x"),
        a_child("c", handling="y" * 80),
    ).draw(width=120)

    a, b, c = text.splitlines()[2:5]
    assert a == "├─ a  running  #1           handles 'resize 17.jpg'"
    assert b.endswith(f"  handles {'x' * 29}…, after E: x")
    assert c.endswith(f"  handles {'y' * 80}")


def test_of_many_quiet_children_the_busy_ones_are_drawn_first() -> None:
    """R77."""
    children = [a_child(f"c-{number}") for number in range(100)]
    children[50] = a_child("c-50", handling="'slow'")

    text = a_tree(*children).draw(most=2)

    assert [line.split()[1] for line in text.splitlines()[2:5]] == [
        "c-0",
        "c-50",
        "and",
    ]


# -- names that a table has to cope with


@pytest.mark.parametrize("width", [60, 80, 120])
def test_long_names_are_cut_in_the_middle_to_what_fits(width: int) -> None:
    """R77: lines stay as narrow as they are to be; the values keep the whole."""
    name = "begin-" + "x" * 130 + "-end"
    failed: Any = {"exit_kind": "failed", "error": "ValueError: " + "y" * 200}
    tree = a_tree(
        a_child(name, mailbox=10, **failed),
        a_tree(a_child(name, state="restarting"), name=f"root/{name}"),
    )

    lines = tree.draw(width=width).splitlines()

    assert max(map(len, lines[:-2])) == width
    assert re.match("├─ begin[x-]*…[x-]*-end  running ", lines[2])
    assert lines[4].startswith("   └─ beg")
    assert "restarting" in lines[4]
    assert tree.children[0].id == name


def test_narrow_terminal_shows_something_of_each_column() -> None:
    """R77: a mailbox column without any number goes first."""
    failed: Any = {"exit_kind": "failed", "error": "ValueError: boom"}
    tree = a_tree(a_child("a-child-with-a-long-name", **failed))

    assert (
        drawn(tree, width=40)
        == """
tree          state     #
root          running  #1  one_for_one
└─ a-ch…name  running  #1  after ValueE…

1 actor: 1 running
"""
    )
    assert "└─ a-ch…name  running  #1  after…" in tree.draw(width=1)


def test_names_and_errors_cannot_break_the_table() -> None:
    """R77: no line ends within one, and no terminal is told what to do."""
    failed: Any = {"exit_kind": "failed", "error": "E: \x1b[2J"}
    zombie = left_behind("two\nlines")
    tree = a_tree(a_child("two\nlines\x1b[31m", **failed), zombies=(zombie,))

    text = tree.draw()

    assert "└─ two\\nlines\\x1b[31m  running  #1           after E: \\x1b[2J" in text
    assert "zombie:two\\nlines  left behind" in text
    assert "\x1b" not in text


def test_wide_characters_take_two_columns() -> None:
    """R77: as they do in a terminal."""
    tree = a_tree(a_child("音楽"), a_child("e\u0301te\u0301"), a_child("plain"))

    assert (
        tree.draw().partition("\n\n")[0]
        == """
tree      state     #  mailbox
root      running  #1           one_for_one
├─ 音楽   running  #1
├─ e\u0301te\u0301    running  #1
└─ plain  running  #1
""".strip()
    )
    long = a_tree(a_child("音" * 40)).draw(width=60).splitlines()[2]
    assert long == "└─ 音音音音音…音音音音音   running  #1"  # 24 + 2 columns, not 25


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"width": "x"}, "width must be a whole number of at least 1, got 'x'"),
        ({"width": 0}, "width must be a whole number of at least 1, got 0"),
        ({"width": True}, "width must be .*, got True"),
        ({"most": -1}, "most must be a whole number of at least 0, got -1"),
        ({"most": 2.5}, "most must be .*, got 2.5"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, Any], says: str
) -> None:
    """R77."""
    with pytest.raises(ConfigurationError, match=says):
        a_tree().draw(**options)


def test_no_child_at_all_may_be_wanted() -> None:
    """R77: the sums alone."""
    text = a_tree(a_child("a"), a_child("b")).draw(most=0)

    assert text.splitlines()[2] == "└─ and 2 more  running"


# -- many


def test_of_many_children_the_quiet_ones_are_counted() -> None:
    """R76: 10,000 are not 10,000 lines."""
    children = [a_child(f"c-{number}") for number in range(10_000)]
    children[5000] = a_child("c-5000", mailbox=10)
    children[7000] = a_child("c-7000", state="stopping")

    text = a_tree(*children).draw(most=4)

    assert [line.split()[1] for line in text.splitlines()[2:-2]] == [
        "c-0",
        "c-1",
        "c-5000",
        "c-7000",
        "and",
    ]
    assert "└─ and 9,996 more  running\n" in text
    assert text.endswith("10,000 actors: 9,999 running, 1 stopping")


def test_more_that_are_not_alike_are_told_by_state() -> None:
    """R76."""
    children = [a_child(f"c-{number}", state="restarting") for number in range(5)]
    children += [a_child(f"d-{number}", state="stopping") for number in range(2)]

    text = a_tree(*children).draw(most=3)

    line = text.splitlines()[5]
    assert line.startswith("└─ and 4 more  ")
    assert line.endswith("  2 restarting, 2 stopping")


def test_one_more_child_is_drawn_and_not_counted() -> None:
    """R77: "and 1 more" is as long as the one."""
    text = a_tree(a_child("a"), a_child("b")).draw(most=1)

    assert "└─ b" in text
    assert "more" not in text


def test_long_error_is_cut_to_the_width_before_names_are() -> None:
    """R77."""
    error = "OSError: first line\n" + "x" * 300
    tree = a_tree(a_child("a-child-with-a-long-name", exit_kind="failed", error=error))

    narrow, wide = tree.draw(width=72), tree.draw(width=120)

    assert max(map(len, narrow.splitlines())) == 72
    assert max(map(len, wide.splitlines())) == 120
    assert "after OSError: first…\n" in narrow
    assert "after OSError: first line xxx" in wide
    assert "a-child-with-a-long-name" in narrow


def test_each_way_to_end_has_its_words() -> None:
    """R77, R35."""
    ends = {
        "normal": "ended by itself",
        "shutdown": "stopped",
        "ignored": "had nothing to do",
    }
    ends |= {  # an error there need not be
        "failed": "failed",
        "start_failed": "did not start",
        "abandoned": "left behind",
        "gave_up": "gave up",
        "fatal": "failed for good",
    }
    for kind, words in ends.items():
        text = a_tree(a_child("a", state="undefined", exit_kind=kind)).draw()
        assert text.splitlines()[2].endswith(words)

    failed = {
        "failed": "after E: x",
        "start_failed": "did not start: E: x",
        "gave_up": "gave up: E: x",
    }
    for kind, words in failed.items():
        down = a_child("a", state="undefined", exit_kind=kind, error="E: x")
        text = a_tree(down).draw()
        assert text.splitlines()[2].endswith(words)


def test_what_failed_and_runs_again_says_that_this_was_before() -> None:
    """R77."""
    failed = {
        "failed": "after E: x",
        "start_failed": "after failed start: E: x",
        "gave_up": "after giving up: E: x",
    }
    for kind, words in failed.items():
        text = a_tree(a_child("a", exit_kind=kind, error="E: x")).draw()
        assert text.splitlines()[2].endswith(f"  {words}")


def test_end_by_order_is_told_from_one_by_itself() -> None:
    """R77: a drained child ends normally, a tree with auto_shutdown by a shutdown."""
    over: dict[str, Any] = {"state": "undefined"}
    for each, words in [
        (a_child("a", exit_kind="normal", by_order=True, **over), "stopped"),
        (a_child("a", exit_kind="normal", **over), "ended by itself"),
        (a_child("a", exit_kind="shutdown", **over), "stopped"),
        (a_tree(name="root/a", exit_kind="normal", **over), "one_for_one, stopped"),
        (
            a_tree(name="root/a", exit_kind="shutdown", by_order=True, **over),
            "one_for_one, stopped",
        ),
        (
            a_tree(name="root/a", exit_kind="shutdown", **over),
            "one_for_one, ended by itself",
        ),
    ]:
        assert a_tree(each).draw().splitlines()[2].endswith(f"  {words}")


def test_restart_that_is_due_is_now() -> None:
    """R77."""
    due, soon = (
        a_tree(a_child("a", state="restarting", restart_in=left)).draw()
        for left in (0.04, 0.05)
    )
    assert due.splitlines()[2].endswith("  now")
    assert soon.splitlines()[2].endswith("  in 0.1 s")


def test_long_waits_are_told_in_minutes_and_hours() -> None:
    """R77."""
    for length, words in [(9.94, "9.9 s"), (59, "59 s"), (72, "1 min 12 s")]:
        text = a_tree(a_child("a", state="restarting", restart_in=length)).draw()
        assert f"in {words}" in text
    text = a_tree(a_child("a", state="restarting", restart_in=7260)).draw()
    assert "in 2 h 01 min" in text
    text = a_tree(a_child("a", state="restarting", restart_in=math.inf)).draw()
    assert "in inf s" in text


def test_deep_tree_is_drawn_to_its_bottom() -> None:
    """R77: whatever the limit of recursion is."""
    tree = a_tree(a_child("leaf"))
    for depth in range(2_000, 0, -1):
        tree = a_tree(tree, name=f"at-{depth}")

    lines = tree.draw().splitlines()

    assert lines[-3].split()[:2] == ["└─", "leaf"]
    assert len(lines) == 1 + 2_001 + 1 + 2


def test_tree_without_children_is_drawn() -> None:
    """R77."""
    assert a_tree().draw().endswith("\n\n0 actors: none")
