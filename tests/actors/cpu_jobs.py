"""Jobs that the tests of worker processes run; imported by those processes too."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import signal
import sys
import threading
from typing import Any, NoReturn

from actors.job_context import current_job


def add(a: int, b: int) -> int:
    return a + b


def pid() -> int:
    return os.getpid()


def die(number: int) -> None:
    os.kill(os.getpid(), number)
    signal.pause()


def leave(code: int) -> NoReturn:
    os._exit(code)


def call_exit(code: int) -> NoReturn:
    sys.exit(code)


def crash_in_native_code() -> None:
    ctypes.string_at(0)


def fork_and_die() -> None:
    """Die while a forked copy holds this process's end of the connection."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)  # until the original is gone
        signal.alarm(3)
        signal.pause()
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def say_and_wait(fifo: str) -> None:
    """Tell the test that this job runs, then wait for ever, or nearly so."""
    signal.alarm(60)
    tell(fifo)
    while True:
        signal.pause()


def say_and_hold_the_gil(fifo: str) -> None:
    """Tell the test, then run native code that never gives the GIL back."""
    tell(fifo)
    re.match(r"(a+)+$", "a" * 60 + "b")


def tell(fifo: str) -> None:
    with open(fifo, "w") as file:
        file.write(f"{os.getpid()}\n")


class TwoArguments(Exception):
    """Pickles, and does not unpickle: its args are one text."""

    def __init__(self, page: str, code: int) -> None:
        super().__init__(f"{page} gave {code}")
        self.page = page
        self.code = code


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("holds a lock")
        self.lock = threading.Lock()


def raise_key_error() -> NoReturn:
    raise KeyError("the key")


def raise_two_arguments() -> NoReturn:
    raise TwoArguments("/index", 404)


def raise_unpicklable() -> NoReturn:
    raise Unpicklable


def make_lock() -> Any:
    return threading.Lock()


def make_bytes(size: int) -> bytes:
    return b"x" * size


def size_of(data: bytes) -> int:
    return len(data)


class Treacherous:
    """Pickles there and does not unpickle here."""

    def __init__(self, home: int) -> None:
        self.home = home

    def __setstate__(self, state: dict[str, Any]) -> None:
        if os.getpid() == state["home"]:
            raise ValueError("not at home")
        self.__dict__.update(state)


def make_treacherous(home: int) -> Treacherous:
    return Treacherous(home)


_calls: list[str] = []


def remember(word: str) -> None:
    _calls.append(word)


def remembered() -> list[str]:
    return _calls


def fail_to_start() -> NoReturn:
    raise OSError("no model at /models/a")


def work(size: int) -> bytes:
    """Some milliseconds of work and a result of some size."""
    total = 0
    for n in range(60_000):
        total += n * n
    return b"x" * size


def path_of_this_process() -> list[str]:
    return sys.path


def what_runs() -> Any:
    job = current_job()
    return None if job is None else (job.id, job.key, job.name)


def signals() -> tuple[bool, set[int]]:
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return ignored, {int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, ())}


def threads() -> int:
    return threading.active_count()


def loaded() -> set[str]:
    return set(sys.modules)


def start_process_of_its_own() -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(add, (20, 22))
