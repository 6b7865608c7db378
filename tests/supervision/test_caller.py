"""The caller's thread makes what a start asks it to; a signal may break in anywhere."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from actors.clock import SYSTEM_CLOCK
from supervision import caller as module
from supervision.caller import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

LIMIT = 30.0  # real seconds
ROOT = Path(__file__).parents[2]


class Strike:
    """Raises ``KeyboardInterrupt`` before one instruction of the module."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.count = 0

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename != module.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and not self.entering(frame):
            self.count += 1
            if self.count == self.at:
                raise KeyboardInterrupt
        return self

    @staticmethod
    def entering(frame: FrameType) -> bool:
        """Whether the caller is not there yet: then nobody knows of it."""
        return frame.f_code.co_name == "wait_for" and frame.f_lasti < 4


@contextmanager
def traced(trace: Any) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def start(at: int | None) -> tuple[int, list[Any], list[str]]:
    """Let a child have its object made; interrupt its caller there, if it comes by."""
    caller, started = Caller(SYSTEM_CLOCK), Future[str]()
    answers: list[Any] = []
    made: list[str] = []

    def child() -> None:
        try:
            answers.append(caller.make_on(lambda: made.append("object")))
        except BaseException as error:  # noqa: BLE001  # it is the child's end
            answers.append(error)
        started.set_result("started")

    thread = SYSTEM_CLOCK.thread(child, daemon=True)
    thread.start()
    strike = Strike(at)
    try:
        with traced(strike):
            caller.wait_for(started, timeout=LIMIT)
    except KeyboardInterrupt:
        pass
    assert SYSTEM_CLOCK.join(thread, LIMIT), f"the child waits for ever, after {at}"
    return strike.count, answers, made


@pytest.mark.real
def test_interrupted_caller_leaves_no_child_waiting() -> None:
    """R27, R63: at each instruction; the child is told, and nothing is made twice.

    In a process of its own: CPython 3.11 may spin for ever in the first instruction
    of a function when an earlier test has traced instructions.
    """
    code = "from tests.supervision.test_caller import check; check()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=4 * LIMIT,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def check() -> None:
    """Interrupt the caller at each instruction in turn."""
    count, answers, made = start(None)
    assert (answers, made) == ([True], ["object"])

    for at in range(1, count + 10):
        _, (answer,), made = start(at)
        if answer is False:  # it makes its object itself
            assert made == []
        elif answer is True:
            assert made == ["object"]
        else:
            assert isinstance(answer, KeyboardInterrupt | InterruptedError)
