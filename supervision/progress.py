"""Progress for a human: one live line on a terminal, one closing line everywhere.

What is said is decided by pure functions of a :class:`View` or a :class:`Tally`.

:Runs on: any thread; ``start_progress`` looks on a thread of its own.
:Owns: that thread, which ends with the run that it looks at.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, NamedTuple, Protocol

from supervision.console import Console

if TYPE_CHECKING:
    from concurrent.futures import Future

    from actors import Clock, Report, Snapshot

__all__ = [
    "Rate",
    "Tally",
    "View",
    "closing_line",
    "live_line",
    "start_progress",
    "view_of",
]

logger = logging.getLogger("headrace.progress")


class View(NamedTuple):
    """What the live line shows, read at one moment."""

    settled: int
    per_second: float
    busy: int
    workers: int
    queued: int
    capacity: int | None
    retried: int
    dead: int
    delayed: int = 0
    note: str = ""


class Tally(NamedTuple):
    """What became of every job, for the closing line."""

    ok: int
    dead: int
    retried: int = 0
    cancelled: int = 0
    returned: int = 0

    @property
    def settled(self) -> int:
        """How many jobs have ended, whatever way."""
        return self.ok + self.dead + self.cancelled + self.returned


def live_line(view: View, columns: int = 80) -> str:
    """Format the live line, cut to what fits the terminal without wrapping."""
    capacity = "" if view.capacity is None else f"/{view.capacity:,}"
    parts = [
        f"{view.settled:,} {'job' if view.settled == 1 else 'jobs'}",
        _per_second(view.per_second),
        f"busy {view.busy}/{view.workers}",
        f"queue {view.queued:,}{capacity}",
        f"retried {view.retried:,}",
        f"dead {view.dead:,}",
    ]
    if view.delayed:
        parts.insert(4, f"delayed {view.delayed:,}")
    if view.note:
        parts.insert(0, f"{view.note}:")
    return "  ".join(parts)[: max(0, columns - 1)]


def closing_line(tally: Tally, seconds: float) -> str:
    """Format the one line that stands at the end of every run."""
    parts = [f"{tally.ok:,} ok", f"{tally.dead:,} dead"]
    if tally.retried:
        parts.append(f"{tally.retried:,} retried")
    if tally.cancelled:
        parts.append(f"{tally.cancelled:,} cancelled")
    if tally.returned:
        parts.append(f"{tally.returned:,} not run")
    done = tally.ok + tally.dead
    rate = f" ({_per_second(done / seconds)})" if seconds > 0 and done else ""
    return f"{', '.join(parts)} in {_duration(seconds)}{rate}"


def _per_second(rate: float) -> str:
    if 0 < rate < 0.95:
        return f"{60 * rate:.1f}/min"
    return f"{rate:.1f}/s" if 0 < rate < 9.95 else f"{rate:,.0f}/s"


def _duration(seconds: float) -> str:
    if seconds < 0.1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


class Rate:
    """How fast a count rose over the last few seconds; pure, told the time."""

    __slots__ = ("_samples", "_span")

    def __init__(self, span: float = 3.0) -> None:
        self._span = span
        self._samples: list[tuple[float, int]] = []

    def add(self, now: float, count: int) -> float:
        """Note ``count`` at ``now``; returns the rise a second."""
        samples = self._samples
        samples.append((now, count))
        while len(samples) > 2 and samples[1][0] <= now - self._span:
            del samples[0]
        then, before = samples[0]
        return (count - before) / (now - then) if now > then else 0.0


class Watched(Protocol):
    """A run of a pipeline, as far as its progress is concerned."""

    @property
    def clock(self) -> Clock:
        """Times the looks."""

    @property
    def stopped(self) -> Future[Report]:
        """Done when the run is over."""

    def snapshot(self) -> Snapshot:
        """Everything at this moment."""


def start_progress(run: Watched) -> None:
    """Show a run's progress until it is over.

    A terminal at stderr gets the live line; without one, the logger
    ``headrace.progress`` gets the same text every 10 s.

    Args:
        run: What to look at; the thread that looks ends with it.
    """
    over = run.clock.event()
    run.stopped.add_done_callback(lambda _: over.set())
    console = Console(sys.stderr, clock=run.clock)
    period = 0.1 if console.terminal else 10.0

    def on_progress_thread() -> None:
        while not over.wait(period):
            text = live_line(view_of(run.snapshot()), console.columns())
            if console.terminal:
                console.draw(text)
            else:
                logger.info("%s", text)
        console.erase()

    run.clock.thread(on_progress_thread, name="headrace-progress", daemon=True).start()


def view_of(snapshot: Snapshot) -> View:
    """What the live line shows of a pipeline, both kinds of workers together."""
    report = snapshot.report
    return View(
        settled=report.accepted - report.unsettled,
        per_second=snapshot.jobs_per_second,
        busy=sum(snapshot.busy.values()),
        workers=sum(snapshot.workers.values()),
        queued=sum(snapshot.queue_depth.values()),
        capacity=snapshot.capacity,
        retried=snapshot.retried,
        dead=report.dead,
        delayed=snapshot.delayed,
    )
