"""A forked child has a copy of the tree and none of its threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors import UsedAfterFork
from supervision import fork_guard

pytestmark = pytest.mark.real

LIMIT = 60.0
ROOT = Path(__file__).parents[2]

HEAD = """
import os, sys, warnings
from actors import Actor, UsedAfterFork
from supervision import ChildSpec, DynamicSupervisor, Supervisor

warnings.simplefilter("ignore")  # of Python 3.12: fork beside threads

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

def refused(fn, *args, **kwargs):
    try:
        answer = fn(*args, **kwargs)
    except UsedAfterFork as error:
        return str(error)
    return f"not refused, but answered {answer!r}"

HOME = os.getpid()

class Kid(Actor):
    value = 3

    def on_receive(self, message):
        return message

    def on_stop(self):
        say("stopped", self.name)

    def __del__(self):
        if os.getpid() != HOME:
            say("finalised in the child")

def in_child(fn, *args):
    pid = os.fork()
    if pid == 0:
        fn(*args)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def run(body: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + body],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_every_use_of_the_copy_is_refused() -> None:
    """R93: of the tree, of its actors, of a proxy made before; at every depth."""
    told = run(
        """
inner = ChildSpec(Supervisor, ("one_for_one", [ChildSpec(Kid, id="x")]), id="inner")
with Supervisor.start("one_for_one", [ChildSpec(Kid, id="a"), inner]) as tree:
    a, below = tree.ref("a"), tree.ref("inner")
    proxy, x = a.proxy(), below.ref("x")

    def child():
        for fn, *args in [
            (a.tell, 1), (a.ask, 1), (a.stop,), (a.proxy,), (a.is_alive,),
            (a.tell_control, 1), (getattr, proxy, "value"), (proxy.on_receive, 1),
            (getattr, a, "actor_inbox"), (x.tell, 1), (below.wait,),
            (tree.wait,), (tree.shutdown,), (tree.stop,), (tree.stop_now, "x"),
            (tree.which_children,), (tree.count_children,), (tree.snapshot,),
            (tree.zombies,), (tree.undelivered,), (tree.ref, "a"),
            (tree.start_child, Kid), (tree.terminate_child, "a"),
            (tree.restart_child, "a"), (tree.delete_child, "a"),
            (tree.when_ended, print), (tree.__exit__, None, None, None),
        ]:
            text = refused(fn, *args)
            if str(HOME) not in text or str(os.getpid()) not in text:
                say(fn, args, text)
        for options in [{"block": False}, {"timeout": 1}]:
            say(refused(a.ask, 1, **options) == refused(a.stop, **options))
        say(refused(a.tell, 1).replace(str(HOME), "H").replace(str(os.getpid()), "C"))

    say(in_child(child))
    say(a.ask("goes on"), x.ask("below too"))
"""
    )

    assert told.splitlines() == [
        "True",
        "True",
        (
            "root/a belongs to a tree of process H and cannot be used in its forked "
            "child C, which has none of its threads; start a new tree there"
        ),
        "0",
        "goes on below too",
        "stopped x",
        "stopped a",
    ]


def test_child_that_exits_ends_nothing_of_its_parent() -> None:
    """R93: by sys.exit() out of the with block, with its atexit and its finalisers."""
    told = run(
        """
with Supervisor.start("one_for_one", [ChildSpec(Kid, id="a")]) as tree:
    pid = os.fork()
    if pid == 0:
        say("child leaves")
        sys.exit(3)
    say("child left", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    say(tree.ref("a").ask("still here"))
"""
    )

    lines = [line for line in told.splitlines() if not line.startswith("finalised")]
    assert lines == ["child leaves", "child left 3", "still here", "stopped a"]


def test_copy_of_an_actor_is_not_finalised_by_what_the_child_does() -> None:
    """R93: it could close a connection that the parent still uses."""
    told = run(
        """
import gc
tree = Supervisor.start("one_for_one", [ChildSpec(Kid, id="a")])
held = [tree]

def child():
    held.clear()
    globals().pop("tree")
    gc.collect()
    say("child is done")

in_child(child)
tree.shutdown()
"""
    )

    assert told.splitlines() == ["child is done", "stopped a"]


def test_new_tree_in_the_child_works_and_ends_by_itself() -> None:
    """R93: only the copy is refused; also in a child of the child."""
    told = run(
        """
def grow():
    with Supervisor.start("one_for_one", [ChildSpec(Kid, id="b")]) as tree:
        say(tree.ref("b").ask("answers in the child"))
        say(in_child(lambda: say(refused(tree.wait)[:16])))

with Supervisor.start("one_for_one", [ChildSpec(Kid, id="a")]) as tree:
    say(in_child(grow))
"""
    )

    lines = [line for line in told.splitlines() if not line.startswith("finalised")]
    assert lines == [
        "answers in the child",
        "root belongs to ",
        "0",
        "stopped b",
        "0",
        "stopped a",
    ]


def test_dynamic_children_are_refused_too() -> None:
    """R93, R76."""
    told = run(
        """
with DynamicSupervisor.start() as tree:
    ref = tree.start_child(Kid)
    in_child(lambda: say(refused(ref.tell, 1)[:10]))
"""
    )

    assert told.splitlines() == ["root/Kid-1", "stopped Kid-1"]


def test_tree_that_has_ended_says_so_in_the_child_as_well() -> None:
    """R93: what is dead is dead in both."""
    told = run(
        """
import pykka
with Supervisor.start("one_for_one", [ChildSpec(Kid, id="a")]) as tree:
    ref = tree.ref("a")

def child():
    try:
        ref.tell(1)
    except pykka.ActorDeadError:
        say("dead", tree.wait())

in_child(child)
"""
    )

    assert "dead True" in told


def test_tree_that_is_deep_is_refused_to_its_bottom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R93: no recursion, whose limit would let the lower part be used."""
    info = SimpleNamespace(id="leaf", ref=SimpleNamespace(), is_supervisor=False)
    tree: Any = None
    for depth in range(2_000):
        board = SimpleNamespace(
            name=f"at-{depth}", picture=SimpleNamespace(children=[info])
        )
        tree = SimpleNamespace(board=board)
        info = SimpleNamespace(id="tree", ref=tree, is_supervisor=True)

    monkeypatch.setattr(fork_guard, "_kept", [])
    fork_guard.refuse_use(tree, 1)

    with pytest.raises(UsedAfterFork, match="at-1999"):
        tree.board()


def test_handler_that_forks_and_returns_ends_the_child() -> None:
    """R93: the copied loop has nobody to serve, so the child's only thread ends."""
    text = run(
        """
class Forking(Actor):
    def on_receive(self, message):
        return os.fork()

with Supervisor.start("one_for_one", [Forking]) as tree:
    pid = tree.ref("Forking").ask("fork")
    say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    )
    assert text == "0\n"
