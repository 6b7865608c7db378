from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

from actors import JobKind, Report, Snapshot
from actors.testing import VirtualClock
from supervision.progress import (
    Rate,
    Tally,
    View,
    closing_line,
    live_line,
    start_progress,
    view_of,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

    from actors import Clock

BUSY = View(
    settled=108,
    per_second=37.2,
    busy=12,
    workers=12,
    queued=10,
    capacity=10,
    retried=0,
    dead=0,
)


def test_live_line_shows_the_work_at_a_glance() -> None:
    expected = "108 jobs  37/s  busy 12/12  queue 10/10  retried 0  dead 0"

    assert live_line(BUSY) == expected


@pytest.mark.parametrize(
    ("view", "part"),
    [
        (BUSY._replace(settled=1_234_567), "1,234,567 jobs"),
        (BUSY._replace(per_second=0.0), "  0/s"),
        (BUSY._replace(per_second=3.14159), "  3.1/s"),
        (BUSY._replace(per_second=9.96), "  10/s"),
        (BUSY._replace(per_second=31_415.9), "  31,416/s"),
        (BUSY._replace(capacity=None, queued=12_000), "queue 12,000  "),
        (BUSY._replace(settled=1), "1 job  "),
        (BUSY._replace(delayed=3), "queue 10/10  delayed 3  retried 0"),
        (BUSY._replace(note="stopping"), "stopping:  108 jobs"),
    ],
)
def test_live_line_formats_each_figure(view: View, part: str) -> None:
    assert part in live_line(view, 200)


@pytest.mark.parametrize("columns", [0, 1, 2, 20, 59, 60])
def test_live_line_never_wraps_on_a_narrow_terminal(columns: int) -> None:
    line = live_line(BUSY, columns)

    assert len(line) <= max(0, columns - 1)
    assert live_line(BUSY).startswith(line)


@pytest.mark.parametrize(
    ("tally", "seconds", "expected"),
    [
        (Tally(60, 1, 3), 0.19122, "60 ok, 1 dead, 3 retried in 0.2 s (319/s)"),
        (Tally(0, 0), 0.004, "0 ok, 0 dead in 0.00 s"),
        (Tally(0, 0), 0.0, "0 ok, 0 dead in 0.00 s"),
        (Tally(5, 0), 0.0, "5 ok, 0 dead in 0.00 s"),
        (Tally(1, 0), 12.34, "1 ok, 0 dead in 12.3 s (4.9/min)"),
        (Tally(1_500, 0), 59.97, "1,500 ok, 0 dead in 1 min 00 s (25/s)"),
        (Tally(60, 0), 125.2, "60 ok, 0 dead in 2 min 05 s (28.8/min)"),
        (Tally(60, 0), 3_600.0, "60 ok, 0 dead in 1 h 00 min (1.0/min)"),
        (
            Tally(7, 0, 0, 2, 11),
            1.0,
            "7 ok, 0 dead, 2 cancelled, 11 not run in 1.0 s (7.0/s)",
        ),
    ],
)
def test_closing_line_tells_the_outcome(
    tally: Tally, seconds: float, expected: str
) -> None:
    assert closing_line(tally, seconds) == expected


def test_rate_forgets_what_is_older_than_its_span() -> None:
    rate = Rate(span=3.0)

    rates = [rate.add(float(t), 100 * min(t, 5)) for t in range(12)]

    assert rates[0] == 0.0
    assert rates[3] == pytest.approx(100.0)
    assert rates[11] == 0.0


def test_rate_of_one_moment_is_zero() -> None:
    rate = Rate()
    rate.add(1.0, 0)

    assert rate.add(1.0, 50) == 0.0


# -- a pipeline's own progress

MOMENT = Snapshot(
    jobs_per_second=5.0,
    queue_depth={JobKind.IO: 3, JobKind.CPU: 1},
    workers={JobKind.IO: 8, JobKind.CPU: 2},
    busy={JobKind.IO: 7, JobKind.CPU: 1},
    retried=4,
    capacity=10,
    report=Report(accepted=30, succeeded=18, dead=2),
)
SHOWN = "20 jobs  5.0/s  busy 8/10  queue 4/10  retried 4  dead 2"


class FakeRun:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.stopped: Future[Report] = clock.future()

    def snapshot(self) -> Snapshot:
        return MOMENT


def test_both_kinds_of_workers_are_shown_together() -> None:
    assert live_line(view_of(MOMENT)) == SHOWN


def test_progress_without_a_terminal_is_logged_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO, "headrace.progress")

    with VirtualClock() as clock:
        run = FakeRun(clock)
        start_progress(run)
        clock.advance(25.0)
        run.stopped.set_result(Report())
        clock.advance(25.0)

    assert caplog.messages == [SHOWN, SHOWN]


def test_progress_on_a_terminal_is_a_live_line_while_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal: Any = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)

    with VirtualClock() as clock:
        run = FakeRun(clock)
        start_progress(run)
        clock.advance(1.0)
        run.stopped.set_result(Report())
        clock.advance(1.0)

    assert terminal.getvalue() == f"\r\x1b[K{SHOWN}\r\x1b[K"
