"""What becomes of a live tree when the interpreter exits or the process forks."""

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
    done = run(
        """
tree = Supervisor.start("one_for_one", [ChildSpec(Kid, id="a"), ChildSpec(Kid, id="b")])
say("leaving")
"""
    )

    assert done.stdout.split("\n")[:3] == ["leaving", "stopped b", "stopped a"]
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.real
def test_hung_child_cannot_keep_the_process_alive() -> None:
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


@pytest.mark.real
def test_forked_child_leaves_the_tree_to_its_parent() -> None:
    done = run(
        """
import warnings
warnings.simplefilter("ignore")
tree = Supervisor.start("one_for_one", [ChildSpec(Kid, id="a")])
pid = os.fork()
if pid == 0:
    say("child leaves")
    sys.exit(0)
say("child left", os.waitpid(pid, 0)[1])
"""
    )

    assert done.stdout == "child leaves\nchild left 0\nstopped a\n"


@pytest.mark.real
def test_signal_ends_a_tree_that_the_main_thread_waits_for() -> None:
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
