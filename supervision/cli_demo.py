"""``headrace demo``: three things go wrong before your eyes, and nothing is lost.

A process is killed with ``SIGKILL``, a job fails twice, a worker itself crashes.  What
is told is what the pipeline's own events say, in the order in which they come.

:Runs on: the main thread tells the story; events come in on a queue from wherever they
    happen; workers run the jobs.
:Owns: the pipeline of the demo.
:Blocks: for about six seconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import textwrap
from typing import TYPE_CHECKING, Any, ClassVar

from actors import (
    Empty,
    Job,
    JobKind,
    RetryPolicy,
    SystemClock,
    Worker,
    checkpoint,
    sleep,
)
from actors.events import (
    ChildDown,
    ChildRestarted,
    JobBegan,
    JobRetried,
    JobSettled,
)
from supervision.cli_expression import Expression
from supervision.console import Console, LiveLine
from supervision.pipeline import Pipeline
from supervision.progress import live_line, view_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from actors import Clock, Report

__all__ = ["demo", "draw_tree", "tell"]

_IO_WORKERS = 3
_CPU_WORKERS = 2
_PATIENCE = 10.0  # seconds for what must come; nothing here takes one
_COUNT_PRIMES = (
    "sum(all(n % d for d in range(2, int(n ** 0.5) + 1)) for n in range(2, x))"
)
_USUAL = RetryPolicy(2, initial=0.1)


class DemoWorker(Worker):
    """A worker with a bug that can be switched on for one job."""

    bugs: ClassVar[list[str]] = []

    def on_item(self, item: Any) -> None:
        """Crash with the job in hand, if a bug waits; else run it."""
        with contextlib.suppress(IndexError):
            raise RuntimeError(self.bugs.pop())
        super().on_item(item)


class _Flapping:
    """A job that fails twice."""

    def __init__(self) -> None:
        self._runs = 0

    def __call__(self) -> str:
        self._runs += 1
        checkpoint()
        if self._runs <= 2:
            message = f"no route to host (run {self._runs})"
            raise ConnectionError(message)
        return "connected"


def look_up(number: int) -> int:
    """What the io workers do all day: wait for somebody else."""
    sleep(0.12)
    return number


def demo() -> int:
    """Tell the story on stdout.

    Returns:
        0 when every job came out once, as it should; else 1.
    """
    clock = SystemClock()
    return _Story(Console(sys.stdout, clock=clock), clock).run()


# -- what is told, pure


def tell(event: object) -> str | None:
    """Put an event into words; None for those that are not news."""
    if isinstance(event, JobRetried):
        return (
            f"job {event.job.id} failed on {event.attempt.worker}: "
            f"{_error(event.attempt.error)}; it will run again"
        )
    if isinstance(event, JobSettled) and len(event.result.attempts) > 1:
        what = "succeeded" if event.result.ok else "is dead"
        runs = len(event.result.attempts)
        return f"job {event.result.id} {what} at attempt {runs}"
    if isinstance(event, ChildDown) and event.error is not None:
        return f"{event.child} crashed: {_error(event.error)}"
    if isinstance(event, ChildRestarted):
        return (
            f"{event.child} is back behind the same ref, incarnation "
            f"{event.incarnation}"
        )
    return None


def _error(error: BaseException | None) -> str:
    text = f"{type(error).__name__}: {error}".partition(" while it ran ")[0]
    return text if len(text) <= 90 else text[:87] + "..."


def draw_tree(name: str, notes: Mapping[str, str]) -> str:
    """Draw the demo's tree of actors, with a note beside whom something happened to."""
    workers = [
        *(f"io-worker-{n}" for n in range(_IO_WORKERS)),
        *(f"cpu-worker-{n}" for n in range(_CPU_WORKERS)),
    ]
    rows = [
        ("", f"{name} (supervisor)"),
        (" |- ", "collector"),
        (" |- ", "dispatcher"),
        (" |- ", "workers (supervisor)"),
        *((" |    |- ", worker) for worker in workers[:-1]),
        (" |    '- ", workers[-1]),
        (" '- ", "producers (supervisor)"),
        ("      '- ", "producer-0"),
    ]
    lines = []
    for branch, who in rows:
        note = f"   <- {notes[who]}" if who in notes else ""
        lines.append(f"    {branch}{who}{note}")
    return "\n".join(lines)


# -- the story


class _Story:
    """The demo's pipeline and what happens to it."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._events = clock.queue()
        self._notes: dict[str, str] = {}
        self._processes: dict[str, int] = {}  # of the cpu workers, as far as known
        self._enough = False
        self._delivered: list[int] = []  # the collector's thread
        self._pipeline = Pipeline(
            _IO_WORKERS,
            cpu_workers=_CPU_WORKERS,
            capacity=4,
            worker_class=DemoWorker,
            producers=[self._jobs()],
            sink=lambda result: self._delivered.append(result.id),
            clock=clock,
            name="demo",
        )
        self._began = clock.monotonic()

    def run(self) -> int:
        """Play all scenes; 0 when the sums are right at the end."""
        self._pipeline.add_listener(self._events.put)
        self._console.say(
            f"{_IO_WORKERS} io workers (threads) and {_CPU_WORKERS} cpu workers (each "
            "with a process) under supervisors:\n\n" + draw_tree("demo", {}) + "\n"
        )
        with self._pipeline, self._live_line():
            self._say("jobs flow: look-ups for io, prime counting for cpu")
            self._pause(1.0)
            finished = self._kill_a_process()
            finished &= self._let_a_job_flap()
            finished &= self._crash_a_worker()
            self._pause(0.8)
            self._enough = True
            self._say("enough: no new jobs, what is in flight is finished")
            report = self._pipeline.stop(_PATIENCE)
        self._console.say("\n" + draw_tree("demo", self._notes) + "\n")
        return self._verdict(report, finished=finished)

    def _jobs(self) -> Iterator[Job]:
        """Bring jobs in until told that it is enough; on the producer's thread."""
        primes = Expression(_COUNT_PRIMES)
        number = 0
        while not self._enough:
            number += 1
            if number % 16:
                yield Job(look_up, number, retry=_USUAL)
            else:
                yield Job(primes, 120_000, kind=JobKind.CPU, retry=_USUAL)

    def _verdict(self, report: Report, *, finished: bool) -> int:
        once = len(self._delivered) == len(set(self._delivered)) == report.accepted
        self._console.say(f"{report}")
        if finished and report.ok and once:
            self._console.say("Every job came out, and came out once.")
            return 0
        self._console.say("That is not what should have happened; please report it.")
        return 1

    # -- scenes

    def _kill_a_process(self) -> bool:
        began = self._wait_for(
            lambda e: isinstance(e, JobBegan) and e.worker in self._processes
        )
        if began is None:
            return False
        self._pause(0.05)
        worker, job = began.worker, began.job
        pid = self._processes.pop(worker)
        self._say(f"! kill -9 {pid}: the process of {worker} dies while it runs a job")
        os.kill(pid, signal.SIGKILL)
        settled = self._wait_for(
            lambda e: isinstance(e, JobSettled) and e.result.id == job.id
        )
        self._wait_for(lambda _: worker in self._processes)
        new = self._processes.get(worker)
        self._say(f"{worker} goes on in a new process, {new}; nobody else noticed")
        self._notes[worker] = f"process {pid} was killed, {new} took its place"
        return settled is not None and bool(settled.result.ok)

    def _let_a_job_flap(self) -> bool:
        self._pause(0.6)
        self._say("! a job that fails twice comes in, with 3 retries")
        policy = RetryPolicy(3, initial=0.4, jitter=None)
        future = self._pipeline.submit_job(Job(_Flapping(), name="flap", retry=policy))
        settled = self._wait_for(
            lambda e: isinstance(e, JobSettled) and e.result.id == future.job.id
        )
        return settled is not None and bool(settled.result.ok)

    def _crash_a_worker(self) -> bool:
        self._pause(0.6)
        self._say("! the next io worker that takes a job hits a bug of its own")
        DemoWorker.bugs.append("a bug in the worker itself")
        back = self._wait_for(lambda e: isinstance(e, ChildRestarted))
        if back is None:
            return False
        child, number = back.child, back.incarnation
        self._notes[child] = f"crashed and was restarted: incarnation {number}"
        return True

    # -- telling

    def _wait_for(self, wanted: Callable[[Any], bool]) -> Any:
        """Tell what happens until what is waited for has; None if it does not come."""
        deadline = self._clock.monotonic() + _PATIENCE
        while True:
            try:
                event = self._events.get(timeout=deadline - self._clock.monotonic())
            except (Empty, ValueError):  # ValueError: the time is over
                return None
            self._hear(event)
            if wanted(event):
                return event

    def _pause(self, seconds: float) -> None:
        """Let time pass, telling what happens meanwhile."""
        deadline = self._clock.monotonic() + seconds
        while (left := deadline - self._clock.monotonic()) > 0:
            with contextlib.suppress(Empty):
                self._hear(self._events.get(timeout=left))

    def _hear(self, event: Any) -> None:
        if isinstance(event, JobSettled):
            for attempt in event.result.attempts[-1:]:
                if attempt.process_id is not None:
                    self._processes[attempt.worker] = attempt.process_id
        told = tell(event)
        if told is not None:
            self._say("  " + told)

    def _say(self, text: str) -> None:
        at = f"{self._clock.monotonic() - self._began:5.1f} s  "
        indent = " " * (len(at) + len(text) - len(text.lstrip()))
        self._console.say(textwrap.fill(at + text, 79, subsequent_indent=indent))

    def _live_line(self) -> contextlib.AbstractContextManager[object]:
        console = self._console
        if not console.terminal:
            return contextlib.nullcontext()
        return LiveLine(
            console,
            lambda columns: live_line(view_of(self._pipeline.snapshot()), columns),
            clock=self._clock,
        )
