"""What becomes of a live tree when the interpreter exits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 60.0
ROOT = Path(__file__).parents[2]

HEAD = """
import os, sys, threading
from actors import Actor
from supervision import ChildSpec, Supervisor

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

class Kid(Actor):
    def on_stop(self):
        say("stopped", self.name)

    def on_receive(self, message):
        say("busy")
        self.hung.set()
        threading.Event().wait()

Kid.hung = threading.Event()
"""


def run(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HEAD + body],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.mark.real
def test_live_tree_is_ended_in_order_at_the_exit_of_the_interpreter() -> None:
    """R61: with a word on what keeps it alive, for it is hardly what was meant."""
    done = run(
        """
tree = Supervisor.start("one_for_one", [ChildSpec(Kid, id="a"), ChildSpec(Kid, id="b")])
say("leaving")
"""
    )

    assert done.stdout.split("\n")[:3] == ["leaving", "stopped b", "stopped a"]
    assert done.returncode == 0
    assert done.stderr == (
        "root: the interpreter exits while it runs; its children are stopped now. A "
        "tree does not keep the program alive: call wait() on it, or use it as a with "
        "block\n"
    )


@pytest.mark.real
def test_notice_goes_where_the_host_logs_and_not_to_stderr_as_well() -> None:
    """R61."""
    done = run(
        """
import logging
logging.basicConfig(format="%(levelname)s %(name)s", stream=sys.stdout)
tree = Supervisor.start("one_for_one", [ChildSpec(Kid, id="a")])
"""
    )

    assert done.stdout == "WARNING headrace.supervision\nstopped a\n"
    assert done.stderr == ""


@pytest.mark.real
@pytest.mark.parametrize(
    "ending",
    [
        # A loaded machine may give the child no time for long: these have enough.
        f"stop_now('enough', timeout={LIMIT})",
        f"shutdown({LIMIT})",
        "shutdown()",
    ],
    ids=["stop_now", "shutdown in time", "shutdown"],
)
def test_tree_that_was_told_to_stop_is_waited_for_without_a_word(ending: str) -> None:
    """R61, R62."""
    done = run(
        f"""
tree = Supervisor.start("one_for_one", [ChildSpec(Kid, id="a")])
tree.{ending}
"""
    )

    assert (done.stdout, done.stderr) == ("stopped a\n", "")


@pytest.mark.real
def test_tree_that_does_not_end_at_exit_is_cut_off_and_named() -> None:
    """R61: within a limit, with what was still up."""
    done = run(
        """
from actors.events import ChildDown
from supervision import tree_exit
tree_exit.LIMIT, tree_exit.MARGIN = 0.2, 0.3

def stuck(event):
    if isinstance(event, ChildDown):
        threading.Event().wait()

children = [ChildSpec(Kid, id="a"), ChildSpec(Kid, id="b")]
tree = Supervisor.start("one_for_one", children, name="plant", on_event=stuck)
"""
    )

    assert done.returncode == 0
    assert done.stderr.splitlines()[1] == (
        "plant did not end within 0.5 s at the interpreter's exit and is cut off; "
        "still up: a (running), b (stopping)"
    )


@pytest.mark.real
def test_hung_child_cannot_keep_the_process_alive() -> None:
    """R61, R58."""
    done = run(
        """
children = [ChildSpec(Kid, id="a"), ChildSpec(Kid, id="b", shutdown=0.1)]
tree = Supervisor.start("one_for_one", children)
tree.ref("b").tell("hang")
Kid.hung.wait()
"""
    )

    assert done.stdout == "busy\nstopped a\n"
    assert done.returncode == 0
    assert done.stderr.splitlines()[1] == (
        "root: these threads would not stop and are cut off in what they do: "
        "['zombie:b']"
    )


@pytest.mark.real
def test_signal_ends_a_tree_that_the_main_thread_waits_for() -> None:
    """R61."""
    done = run(
        """
import signal
from supervision import handle_signals
children = [ChildSpec(Kid, id="a"), ChildSpec(Kid, id="b")]
with Supervisor.start("one_for_one", children) as tree, handle_signals(tree) as signals:
    os.kill(os.getpid(), signal.SIGTERM)
    say("ended", tree.wait(), signals.received)
"""
    )

    assert done.stdout == "stopped b\nstopped a\nended True [15]\n", done.stderr
    assert done.returncode == 0
