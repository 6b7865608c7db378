from __future__ import annotations

import io
import logging

import pytest

from actors.clock import SystemClock
from supervision.console import Console, LiveLine, is_terminal, log_to


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_message_stands_above_the_live_line(terminal: Terminal) -> None:
    console = Console(terminal, clock=SystemClock())

    console.draw("1 job")
    console.say("dead: job 1")

    assert terminal.getvalue() == "\r\x1b[K1 job\r\x1b[Kdead: job 1\n1 job"


def test_unchanged_live_line_is_not_drawn_again(terminal: Terminal) -> None:
    console = Console(terminal, clock=SystemClock())

    console.draw("1 job")
    console.draw("1 job")

    assert terminal.getvalue() == "\r\x1b[K1 job"


def test_erased_live_line_does_not_come_back(terminal: Terminal) -> None:
    console = Console(terminal, clock=SystemClock())
    console.draw("1 job")

    console.erase()
    console.say("done")

    assert terminal.getvalue() == "\r\x1b[K1 job\r\x1b[Kdone\n"


def test_stream_that_is_no_terminal_gets_plain_lines() -> None:
    stream = io.StringIO()
    console = Console(stream, clock=SystemClock())

    console.draw("1 job")
    console.draw("2 jobs")
    console.erase()

    assert stream.getvalue() == "1 job\n2 jobs\n"


def test_console_outlives_a_reader_that_has_gone() -> None:
    console = Console(Gone(), clock=SystemClock())

    console.draw("1 job")
    console.say("dead: job 1")


def test_closed_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()

    assert not is_terminal(stream)


@pytest.mark.parametrize("name", ["", "dumb"])
def test_terminal_that_cannot_redraw_is_treated_as_none(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TERM", name)

    assert not is_terminal(terminal)


@pytest.mark.real
def test_live_line_is_gone_when_it_is_left(terminal: Terminal) -> None:
    clock = SystemClock()
    console, drawn = Console(terminal, clock=clock), clock.event()

    def text(columns: int) -> str:
        drawn.set()
        return "1 job"

    with LiveLine(console, text, clock=clock, period=0.001):
        assert drawn.wait(10.0)

    assert terminal.getvalue().endswith("\r\x1b[K")


def test_log_is_said_above_the_live_line_for_a_block() -> None:
    stream = io.StringIO()
    console = Console(stream, clock=SystemClock())
    logger = logging.getLogger("headrace.worker")
    before = logging.getLogger("headrace").level

    with log_to(console):
        logger.debug("detail")
        logger.info("started")
        logger.error("broken", exc_info=ValueError("deep"))
    logger.error("afterwards")

    assert stream.getvalue() == (
        "headrace.worker: started\nheadrace.worker: broken\nValueError: deep\n"
    )
    assert logging.getLogger("headrace").level == before
