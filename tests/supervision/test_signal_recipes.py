"""The recipes of ``docs/signals.rst`` and ``examples/draining.py``, with real signals.

What a page calls a file is taken from it as it stands.  gunicorn is the real one; Qt's
event loop is played by a poll(2) that does not come back to Python by itself.

:Runs on: the test runner's thread; each program in a process of its own.
:Owns: the processes, until they have ended.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pages import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "signals.rst").read_text(encoding="utf-8")
LIMIT = 60.0

pytestmark = [pytest.mark.real, pytest.mark.slow]


class Program:
    """A running program whose lines, of both outputs, are read one by one."""

    def __init__(self, command: list[str], folder: Path, *, fds: list[int]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
                "HOME": str(folder),  # where gunicorn keeps its control socket
            },
            pass_fds=fds,
            start_new_session=True,  # to end its own processes with it
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []

    def until(self, part: str) -> str:
        """Read up to the line that has ``part``."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if part in line:
                return line.rstrip("\n")
        pytest.fail(f"it ended without {part!r}:\n" + "\n".join(self.lines))

    def kill(self) -> None:
        """End it, and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def rest(self) -> list[str]:
        """All lines up to its end, the first ones too."""
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip("\n") for line in self.process.stdout)
        self.process.wait(LIMIT)
        return self.lines


@contextlib.contextmanager
def running(
    *command: object, folder: Path, fds: list[int] | None = None
) -> Iterator[Program]:
    program = Program([str(part) for part in command], folder, fds=fds or [])
    limit = threading.Timer(LIMIT, program.kill)
    limit.start()
    try:
        yield program
    finally:
        limit.cancel()
        limit.join()
        program.kill()
        program.process.communicate()


def write_files(folder: Path, **more: str) -> None:
    """Put the files of the page into a folder, and others."""
    files = {block.file: block.text for block in blocks(PAGE) if block.file}
    files |= {f"{name}.py": textwrap.dedent(text) for name, text in more.items()}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


# -- gunicorn

# The page's application with a job that the test can see and hold.
HELD = """
    import os, sys
    import shop

    def say(*words):
        sys.stdout.write(" ".join(map(str, words)) + "\\n")  # one write, one line
        sys.stdout.flush()

    def send_receipt(order):
        say("began", order, "in", os.getpid())
        os.read(int(os.environ["GATE"]), 1)
        say("finished", order)

    def stop(timeout, stop=shop.pipeline.stop):
        say("ends within", timeout)
        return stop(timeout=timeout)

    shop.send_receipt = send_receipt
    shop.pipeline.stop = stop
    app = shop.app
"""


class Server:
    """gunicorn on a free port of this machine, and the gate that holds its jobs."""

    def __init__(self, program: Program, port: int, gate: int) -> None:
        self.until = program.until
        self.rest = program.rest
        self.process = program.process
        self._port = port
        self._gate = gate

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=LIMIT)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def let_go(self, jobs: int) -> None:
        os.write(self._gate, b"." * jobs)


@contextlib.contextmanager
def serving(folder: Path, *options: str, app: str = "held:app") -> Iterator[Server]:
    gate, opener = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.environ["GATE"] = str(gate)
        bind = f"fd://{listener.fileno()}"
        command = ["-m", "gunicorn", "--bind", bind, *options, app]
        fds = [gate, listener.fileno()]
        try:
            with running(*command, folder=folder, fds=fds) as program:
                # Ours stays open: what the kernel has queued is not reset by a close.
                yield Server(program, listener.getsockname()[1], opener)
        finally:
            del os.environ["GATE"]
            os.close(opener)  # what still waits at the gate goes on
            os.close(gate)


# The same recipe with a tree in the place of the pipeline.
TREE = """
    import os
    from actors import Actor
    from supervision import ChildSpec, Supervisor

    class Receipts(Actor):
        sent = 0

        def on_receive(self, order):
            send_receipt(order)
            Receipts.sent += 1

    class Tree:
        def start(self):
            self.ref = Supervisor.start("one_for_one", [ChildSpec(Receipts)])

        def submit(self, fn, order):
            self.ref.ref("Receipts").tell(order)

        def stop(self, timeout):
            return self.ref.stop(timeout=timeout)

        def report(self):
            return f"{Receipts.sent} sent, {len(self.ref.undelivered())} given up"

    pipeline = Tree()
"""


def shop_of(kind: str, folder: Path) -> None:
    write_files(folder, held=HELD)
    if kind == "tree":
        shop = folder / "shop.py"
        made = re.compile(r"^pipeline = .*\n", re.MULTILINE)
        text = shop.read_text(encoding="utf-8")
        assert made.search(text)
        tree = textwrap.dedent(TREE).replace("\\", r"\\")
        shop.write_text(made.sub(tree, text), encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("pipeline", ["-k", "sync"], "accepted 3 = 3 succeeded"),
        ("pipeline", ["-k", "gthread", "--threads", "2"], "accepted 3 = 3 succeeded"),
        ("tree", ["--preload"], "3 sent, 0 given up"),
    ],
)
def test_gunicorn_worker_finishes_what_it_accepted_when_the_master_is_told_to_stop(
    kind: str, options: list[str], told: str, tmp_path: Path
) -> None:
    shop_of(kind, tmp_path)
    with serving(tmp_path, *options) as server:
        for order in "abc":
            assert server.get(f"/{order}") == (202, f"accepted {order}\n")
        server.until("began")

        server.process.send_signal(signal.SIGTERM)

        server.until("ends within 20")
        server.let_go(3)
        assert told in server.until("receipts: ")
        lines = server.rest()
        assert server.process.returncode == 0
    assert {f"finished {order}" for order in "abc"} <= set(lines)
    assert not any("Traceback" in line for line in lines)


def test_gunicorn_worker_that_has_served_its_requests_drains_before_the_next_one(
    tmp_path: Path,
) -> None:
    shop_of("pipeline", tmp_path)
    with serving(tmp_path, "--max-requests", "1") as server:
        server.get("/a")
        first = server.until("began a")
        server.until("ends within 20")
        server.let_go(1)
        server.get("/b")
        second = server.until("began b")
        server.process.send_signal(signal.SIGTERM)
        server.let_go(1)
        lines = server.rest()
        assert server.process.returncode == 0

    assert first.split()[-1] != second.split()[-1]
    assert lines.index("finished a") < lines.index(second)
    told = [line for line in lines if "receipts: accepted 1 = 1 succeeded" in line]
    assert len(told) == 2


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGINT])
def test_gunicorn_worker_in_a_drain_gives_up_at_a_second_signal(
    number: signal.Signals, tmp_path: Path
) -> None:
    shop_of("pipeline", tmp_path)
    with serving(tmp_path) as server:
        server.get("/a")
        began = server.until("began a")
        server.process.send_signal(signal.SIGTERM)
        server.until("ends within 20")

        os.kill(int(began.split()[-1]), number)

        told = server.until("receipts: ")
        lines = server.rest()
    assert "accepted 1 = 0 succeeded + 0 dead + 0 cancelled + 1 returned" in told
    assert "finished a" not in lines
    assert not any("SIGKILL" in line for line in lines)


def test_gunicorn_worker_gives_up_at_once_at_a_first_quick_signal(
    tmp_path: Path,
) -> None:
    shop_of("pipeline", tmp_path)
    with serving(tmp_path) as server:
        server.get("/a")
        server.until("began a")

        server.process.send_signal(signal.SIGINT)

        server.until("ends within 0")
        told = server.until("receipts: ")
        server.rest()
    assert "accepted 1 = 0 succeeded + 0 dead + 0 cancelled + 1 returned" in told


@pytest.mark.parametrize("kind", ["pipeline", "tree"])
def test_what_was_started_before_the_fork_says_so_in_a_gunicorn_worker(
    kind: str, tmp_path: Path
) -> None:
    """R93: the forked child's copy refuses use, naming both processes."""
    shop_of(kind, tmp_path)
    early = "import shop\nshop.pipeline.start()\n" + textwrap.dedent(HELD)
    (tmp_path / "held.py").write_text(early, encoding="utf-8")
    conf = tmp_path / "gunicorn.conf.py"
    conf.write_text("", encoding="utf-8")

    with serving(tmp_path, "--preload") as server:
        status, _ = server.get("/a")
        booted = server.until("Booting worker with pid")
        refused = server.until("UsedAfterFork:")
        server.process.send_signal(signal.SIGTERM)
        server.rest()

    assert status == 500
    assert str(server.process.pid) in refused
    assert booted.split()[-1] in refused


# -- Qt

# As much of PySide6 as the recipe uses.  The main thread is in one call into C that no
# signal interrupts: they come to other threads, as they may in Qt, which resumes it.
QT = """
    import ctypes, os, select, signal, struct

    libc = ctypes.CDLL(None)
    SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}

    class Qt:
        class ConnectionType:
            QueuedConnection = 2

    class QSocketNotifier:
        class Type:
            Read = 0

        made = []

        def __init__(self, fd, kind):
            self.fd, self.activated = fd, self
            self.made.append(self)

        def connect(self, slot):
            self.slot = slot

    class QCoreApplication:
        def __init__(self, argv):
            self.reading, self.writing = os.pipe()

        def exec(self):
            while True:
                fds = [self.reading, *(each.fd for each in QSocketNotifier.made)]
                asked = b"".join(struct.pack("ihh", fd, select.POLLIN, 0) for fd in fds)
                polled = ctypes.create_string_buffer(asked, len(asked))
                signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
                libc.poll(polled, ctypes.c_ulong(len(fds)), -1)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
                answers = struct.iter_unpack("ihh", polled.raw)
                ready = {fd for fd, _, got in answers if got}
                if self.reading in ready:
                    return 0
                for each in QSocketNotifier.made:
                    if each.fd in ready:
                        each.slot(each.fd)

    class QMetaObject:
        @staticmethod
        def invokeMethod(app, name, kind):
            assert (name, kind) == ("quit", Qt.ConnectionType.QueuedConnection)
            os.write(app.writing, b".")
"""

FIRST = "signals_for_qt = SignalsForQt()  # first\n"


@pytest.fixture
def window(tmp_path: Path) -> Path:
    """The folder with the page's window, and a package that stands in for PySide6."""
    write_files(tmp_path)
    package = tmp_path / "PySide6"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "QtCore.py").write_text(textwrap.dedent(QT), encoding="utf-8")
    return tmp_path


def change(folder: Path, old: str, new: str) -> None:
    path = folder / "window.py"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("order", ["Qt's first", "Qt's second"])
def test_qt_program_ends_by_a_signal_and_keeps_its_own(
    order: str, window: Path
) -> None:
    if order == "Qt's second":
        change(window, FIRST, "")
        change(window, "    tree.when_ended(", f"    {FIRST}    tree.when_ended(")
    with running("window.py", folder=window) as program:
        program.until("ready")

        program.process.send_signal(signal.SIGUSR1)
        program.until("SIGUSR1")
        program.process.send_signal(signal.SIGTERM)

        assert program.rest() == [
            "ready",
            "SIGUSR1",
            "the greeter stops: DRAIN",
            f"left, signals: [{signal.SIGTERM:d}]",
        ]
        assert program.process.returncode == 0


def test_qt_program_without_a_descriptor_of_its_own_ends_by_a_signal(
    window: Path,
) -> None:
    change(window, FIRST, "")
    with running("window.py", folder=window) as program:
        program.until("ready")

        program.process.send_signal(signal.SIGINT)

        assert program.rest() == [
            "ready",
            "the greeter stops: DRAIN",
            f"left, signals: [{signal.SIGINT:d}]",
        ]


def test_qt_program_that_no_signal_has_to_end_gives_its_descriptor_back(
    window: Path,
) -> None:
    change(window, "    app.exec()\n", "    quit_app(None); app.exec()\n")
    change(
        window,
        'print("left, signals:", signals.received, flush=True)\n',
        "now = signal.set_wakeup_fd(-1)\n"
        'print("left", now == signals_for_qt.writing.fileno())\n',
    )
    with running("window.py", folder=window) as program:
        lines = program.rest()

    assert lines == ["ready", "the greeter stops: DRAIN", "left True"]


def test_qt_program_whose_tree_ends_before_its_event_loop_leaves_it(
    window: Path,
) -> None:
    change(window, "    tree.when_ended(", "    tree.shutdown(); tree.when_ended(")
    with running("window.py", folder=window) as program:
        lines = program.rest()

    assert lines == ["the greeter stops: CANCEL", "ready", "left, signals: []"]


# -- examples/draining.py

DRAINING = ROOT / "examples" / "draining.py"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in "abc":
        (folder / name).write_text(name, encoding="utf-8")
    return folder


def digests(lines: list[str]) -> list[str]:
    return [line for line in lines if re.match(r"[0-9a-f]{64}  ", line)]


def test_draining_example_ends_by_itself(files: Path) -> None:
    with running(DRAINING, files, "--rounds", "2", folder=files) as program:
        lines = program.rest()

    assert len(digests(lines)) == 6
    assert "sent 6" in lines
    assert lines[-1] == "all rounds done: 0 given up"
    assert program.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_draining_example_prints_all_that_was_sent(
    number: signal.Signals, files: Path
) -> None:
    with running(DRAINING, files, folder=files) as program:
        program.until("/c")

        program.process.send_signal(number)

        lines = program.rest()
    assert f"sent {len(digests(lines))}" in lines
    assert lines[-1] == "stopped by a signal: 0 given up"
    assert program.process.returncode == 0


def test_draining_example_gives_up_at_a_second_signal(files: Path) -> None:
    with (files / "d").open("wb") as endless:
        endless.truncate(1 << 38)  # a hole: nothing but its end is missing
    with running(DRAINING, files, folder=files) as program:
        program.until("/c")
        program.process.send_signal(signal.SIGTERM)

        program.process.send_signal(signal.SIGINT)

        lines = program.rest()
    assert len(digests(lines)) == 3
    sent = next(int(line.split()[1]) for line in lines if line.startswith("sent "))
    assert lines[-1] == f"stopped by a signal: {sent - 3} given up"
    assert program.process.returncode == 1
