"""What a tree logs: the first failure in full, repeats counted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from actors.events import ChildDown, ChildStopped, RestartScheduled, TreeGaveUp
from supervision.crash_log import CrashLog

if TYPE_CHECKING:
    from actors.testing import VirtualClock

TRACEBACK = "Traceback (most recent call last):\n  ...\nValueError: boom\n"


class Told:
    """A crash log, fed with failures of one child; ``lines`` is what it logged."""

    def __init__(self, clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
        self._log = CrashLog(clock)
        self._caplog = caplog
        self._incarnation = 0
        caplog.set_level(logging.WARNING, "headrace.supervision")

    def fail(
        self,
        error: Exception | None = None,
        *,
        then: str = "restart",
        child: Any = "kid",
    ) -> None:
        self._incarnation += 1
        error = error or ValueError("boom")
        who = ("tree", child, self._incarnation)
        self._log(ChildDown(*who, "failed", error, TRACEBACK))
        if then == "restart":
            self._log(RestartScheduled(*who, 0.2, (child, "b"), 2, 3, 5.0))
        elif then == "give up":
            self._log(TreeGaveUp(*who, 3, 5.0, error))
        else:
            self._log(ChildStopped(*who, "failed"))

    @property
    def lines(self) -> Any:
        return self._caplog.messages


@pytest.fixture
def told(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> Any:
    return Told(clock, caplog)


def test_first_crash_says_what_happened_what_follows_and_where(told: Told) -> None:
    told.fail()

    assert told.lines == [
        "tree/kid (#1) crashed (ValueError('boom')); restarting with b in 0.2 s, "
        "2 of 3 restarts used in 5 s\n" + TRACEBACK.rstrip()
    ]


def test_repeats_are_counted_and_told_once_in_a_while(
    told: Told, clock: VirtualClock
) -> None:
    for _ in range(5):
        told.fail()
        clock.advance(1)
    assert len(told.lines) == 1

    clock.advance(6)
    told.fail()

    assert len(told.lines) == 2
    assert "4 more like it since the last line" in told.lines[1]
    assert "Traceback" not in told.lines[1]


def test_another_kind_of_error_is_a_first_one(told: Told) -> None:
    told.fail()
    told.fail(KeyError("x"))
    told.fail(child="other")

    assert [line.count("Traceback") for line in told.lines] == [1, 1, 1]


def test_after_a_quiet_minute_a_crash_is_a_first_one(
    told: Told, clock: VirtualClock
) -> None:
    told.fail()
    clock.advance(60)
    told.fail()

    assert [line.count("Traceback") for line in told.lines] == [1, 1]


def test_giving_up_is_always_told_as_an_error(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    told.fail()
    told.fail(then="give up")

    assert "giving up: more than 3 restarts in 5 s" in told.lines[1]
    assert caplog.records[1].levelno == logging.ERROR


def test_failure_without_a_restart_is_told(told: Told) -> None:
    told.fail(then="stop")

    assert "it is not started again" in told.lines[0]


def test_normal_ends_are_not_told(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    told._log(ChildDown("tree", "kid", 1, "shutdown", None, ""))
    told._log(ChildStopped("tree", "kid", 1, "shutdown"))

    assert told.lines == []
