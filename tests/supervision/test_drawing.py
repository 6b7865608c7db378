"""How a tree is drawn: columns that line up, and ink for what needs a look."""

from __future__ import annotations

import math
from typing import Any

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


def test_long_error_is_cut_to_the_width_and_names_never() -> None:
    """R77."""
    error = "OSError: first line\n" + "x" * 300
    tree = a_tree(a_child("a-child-with-a-long-name", exit_kind="failed", error=error))

    narrow, wide = tree.draw(width=72), tree.draw(width=120)

    assert max(map(len, narrow.splitlines())) == 72
    assert max(map(len, wide.splitlines())) == 120
    assert "after OSError: first…\n" in narrow
    assert "after OSError: first line xxx" in wide
    assert "a-child-with-a-long-name" in tree.draw(width=10)


def test_each_way_to_end_has_its_words() -> None:
    """R77, R35."""
    ends = {
        "normal": "ended by itself",
        "shutdown": "stopped",
        "ignored": "had nothing to do",
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
