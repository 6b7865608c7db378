"""The parent's side of one worker process: its start, its connection, its end.

:Runs on: ``greet``, ``send`` and ``receive`` on the driving thread; ``kill`` on any;
    ``end`` on whoever took the process away from the others.
:Owns: the process, this side of its socket pair, the life-line and a pidfd.
:Blocks: ``send`` and ``receive``, until the process answers or is gone; ``end``, for
    at most the grace it is given and then seconds.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import weakref

from actors import _cpu_child
from actors.errors import ConfigurationError, WorkerDied

__all__ = ["CpuLink", "cannot_start", "check_start", "initializer_failed"]

logger = logging.getLogger("headrace.cpu_pool")

# Loads the child's module by path: no package is imported, and its cached bytecode is
# used, which running it as a script would not.
_BOOT = (
    "import sys;sys.path=[p for p in sys.path if p];"  # nothing of this directory
    "from importlib.machinery import SourceFileLoader as L;"
    "p=sys.argv.pop(1);n=sys.argv.pop(1);m=type(sys)(n);m.__file__=p;sys.modules[n]=m;"
    "exec(L(n,p).get_code(n),m.__dict__);m.main(sys.argv)"
)
POSIX = os.name == "posix"
_REAP = 5.0  # for the end of a killed process, in real seconds

_HINTS = {
    signal.SIGKILL: "; the kernel's out-of-memory killer is a common cause",
    signal.SIGSEGV: "; native code crashed",
    signal.SIGABRT: "; native code gave up",
    signal.SIGBUS: "; native code crashed",
}


class CpuLink:
    """One worker process that was just started, and the connection to it.

    Args:
        name: For the process list and for errors.

    Raises:
        ConfigurationError: Where worker processes are not possible.
        OSError: If the system has no room for another process.

    Attributes:
        pid: The process's id.
        served: True once it has answered a call.
    """

    def __init__(self, name: str) -> None:
        _refuse_where_impossible()
        self.name = name
        self.served = False
        self._connection, there = socket.socketpair()
        life, kept = os.pipe()
        self._life = io.FileIO(kept, "w")
        try:
            self._popen = _start(name, there.fileno(), life)
        except BaseException:
            self._connection.close()
            self._life.close()
            raise
        finally:
            there.close()
            os.close(life)
        self.pid = self._popen.pid
        self._pidfd = _open_pidfd(self.pid)
        self._connection.settimeout(0)
        self._fd = self._connection.fileno()
        self._readable = self._poll_for(select.POLLIN)
        _live.add(self)

    def _poll_for(self, events: int) -> select.poll:
        # The process's end is watched too: what it forked may hold its end of the
        # connection open when it is gone.
        poll = select.poll()
        poll.register(self._fd, events)
        if self._pidfd is not None:
            poll.register(self._pidfd, select.POLLIN)
        return poll

    def greet(
        self, initializer: bytes | None, main: tuple[str | None, str | None] | None
    ) -> list[str]:
        """Send what the process needs before its first call.

        Args:
            initializer: A pickled call.
            main: What ``main_reference`` said.

        Returns:
            The ``sys.path`` that was sent.
        """
        path = sys.path.copy()
        setup = {
            "path": path,
            "argv": sys.argv,
            "main": main,
            "initializer": initializer,
        }
        self.send(pickle.dumps(setup, 5))
        return path

    def send(self, frame: bytes) -> None:
        """Send one frame.

        Raises:
            EOFError, OSError: If the process is gone; it has not got the whole frame.
        """
        _cpu_child.write_frame(self._fd, frame, self._wait_writable)

    def receive(self) -> bytes | bytearray:
        """Wait for one frame.

        Raises:
            EOFError, OSError: If the process is gone.
        """
        return _cpu_child.read_frame(self._fd, self._wait_readable)

    def quiet(self) -> bool:
        """True if the process lives and has nothing to say, as between two calls."""
        return not self._readable.poll(0)

    def _wait_readable(self) -> None:
        self._wait(self._readable)

    def _wait_writable(self) -> None:
        self._wait(self._poll_for(select.POLLOUT))

    def _wait(self, poll: select.poll) -> None:
        if all(fd != self._fd for fd, _ in poll.poll()):
            raise EOFError  # gone, and nothing of it is left to read

    def kill(self) -> None:
        """Kill the process; the driving thread sees its end.  Never blocks."""
        with contextlib.suppress(OSError):
            if self._pidfd is None:
                os.kill(self.pid, signal.SIGKILL)  # not reaped before end()
            else:
                signal.pidfd_send_signal(self._pidfd.fileno(), signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def end(self, grace: float) -> int | None:
        """End the connection, then the process, and give everything back.

        Args:
            grace: Real seconds to end by itself before it is killed.

        Returns:
            The exit code, negative for a signal; ``None`` if it does not end.
        """
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        if not (grace and self._gone(grace)):
            self.kill()
            if not self._gone(_REAP):
                logger.error("%s: process %d does not end", self.name, self.pid)
        code = self._popen.poll()
        _live.discard(self)
        self._give_back()
        return code

    def _gone(self, timeout: float) -> bool:
        if self._pidfd is None:
            try:
                self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                return False
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))

    def _give_back(self) -> None:
        self._connection.close()
        self._life.close()
        if self._pidfd is not None:
            self._pidfd.close()

    def forget(self) -> None:
        """Drop a forked copy, so that it does not keep the process alive."""
        self._popen.returncode = 0  # not ours to reap
        self._give_back()

    # -- in words

    def died(self, code: int | None) -> WorkerDied:
        """The error of the call that the process had in hand when it died."""
        text = f"worker process {self.name} (pid {self.pid}) {_ending(code)}"
        return WorkerDied(f"{text} while it ran the job{_hint(code)}", code)

    def died_early(self, code: int | None) -> WorkerDied:
        """The error of the call that a process died before it could take."""
        text = f"worker process {self.name} (pid {self.pid}) {_ending(code)}"
        return WorkerDied(f"{text} before it could take its first job", code)


def _start(name: str, connection: int, life: int) -> subprocess.Popen[bytes]:
    """Start a fresh interpreter that holds the two descriptors and no other."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001  # as multiprocessing does
    source = str(_cpu_child.__file__)
    words = [_BOOT, source, _cpu_child.MODULE_NAME, connection, life, os.getpid(), name]
    # Ctrl-C must not reach it before it has begun to ignore it.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(
            [sys.executable, *flags, "-c", *map(str, words)],
            stdin=subprocess.DEVNULL,
            pass_fds=(connection, life),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _open_pidfd(pid: int) -> io.FileIO | None:
    try:
        return io.FileIO(os.pidfd_open(pid))
    except (AttributeError, OSError):
        return None  # not Linux: the end of the connection is all there is to see


def _refuse_where_impossible() -> None:
    if not POSIX:
        text = (
            f"worker processes need Linux or macOS, this is {sys.platform}; use io "
            "jobs, or give cpu_workers another executor"
        )
        raise ConfigurationError(text)
    if getattr(sys, "frozen", False) or not sys.executable:
        text = (
            "worker processes need a Python interpreter to run, and sys.executable is "
            f"{sys.executable!r}; give cpu_workers another executor"
        )
        raise ConfigurationError(text)


def _ending(code: int | None) -> str:
    if code is None:
        return "closed its connection and does not end"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name} (signal {-code})"
    except ValueError:
        return f"was killed by signal {-code}"


def _hint(code: int | None) -> str:
    return "" if code is None or code >= 0 else _HINTS.get(-code, "")  # type: ignore[call-overload]  # an IntEnum is its int


def check_start(initializer: object, start_method: str) -> None:
    """Check the options that a process and a pool share.

    Raises:
        TypeError: As ``concurrent.futures`` raises it for an initializer.
        ConfigurationError: If the start method is not known.
    """
    if initializer is not None and not callable(initializer):
        message = "initializer must be a callable"
        raise TypeError(message)
    if start_method != "exec":
        message = (
            f"start_method must be 'exec', got {start_method!r}; a fork of a program "
            "with threads can deadlock"
        )
        raise ConfigurationError(message)


def cannot_start(error: Exception) -> BaseException:
    if isinstance(error, ConfigurationError):
        return error
    failure = WorkerDied(f"no worker process could be started: {error}")
    failure.__cause__ = error
    return failure


def initializer_failed(name: str, error: BaseException | None) -> BaseException:
    if isinstance(error, ConfigurationError):
        return error
    text = (
        f"the initializer of {name} failed ({type(error).__name__}: {error}); no job "
        "can run in its processes until it succeeds"
    )
    failure = WorkerDied(text)
    failure.__cause__ = error
    return failure


_live: weakref.WeakSet[CpuLink] = weakref.WeakSet()


def _forget_in_forked_child() -> None:
    for link in list(_live):
        with contextlib.suppress(Exception):  # half made when another thread forked
            link.forget()
    _live.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_forked_child)
