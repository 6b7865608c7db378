"""``headrace run``: turns the command's options into a Pipeline and tells its outcome.

Three threads share a run: the producer reads inputs and makes jobs of them, the
collector writes results, the main thread waits.  Each counter has one writer.

:Runs on: ``run`` on the main thread, which signals need; ``_Run.jobs`` on the
    producer's thread, ``Results`` on the collector's.
:Owns: the pipeline, the console, and every descriptor that it opens.
:Blocks: ``run``, until every job has ended or a signal's drain is over.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from actors import Job, JobKind, RetryPolicy, SystemClock
from actors.errors import HeadraceError, ProducerError, SinkError
from supervision.cli_expression import Expression
from supervision.cli_input import Source
from supervision.cli_output import open_output, private_stdout
from supervision.cli_prints import printed_above
from supervision.cli_results import Results
from supervision.cli_target import kind_of, load_work
from supervision.console import Console, LiveLine, log_to
from supervision.errors import StartFailed
from supervision.pipeline import Pipeline
from supervision.progress import Rate, Tally, closing_line, live_line, view_of
from supervision.signals import handle_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from actors import Report
    from supervision.cli_options import RunOptions

__all__ = ["exit_code", "run"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_STOPPING = (
    "stopping: no new jobs, finishing what is in flight (Ctrl-C again: abandon it)"
)


def run(options: RunOptions) -> int:
    """Run every job of the command and tell what became of them.

    Returns:
        The exit status.

    Raises:
        ConfigurationError: Before anything has run, if the command line asks for
            something that is not there.
    """
    clock = SystemClock()
    with contextlib.ExitStack() as cleanup:
        stderr = cleanup.enter_context(
            # Its own descriptor, for what jobs print may be led away from 2.
            open(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
        )
        console = Console(stderr, clock=clock)
        if options.verbose:
            cleanup.enter_context(log_to(console))
        descriptor = cleanup.enter_context(private_stdout())
        work = load_work(options)
        source = Source(options, cleanup)
        if options.output is not None:
            descriptor = open_output(options.output, inputs=source.identities)
            cleanup.callback(os.close, descriptor)
        return _Run(
            options, work, source=source, output=descriptor, console=console
        ).run()


class _StopReading(Exception):
    """An input was refused, and ``--strict-input`` was given."""


class _Run:
    """One run of the command, from the first input to the exit status."""

    def __init__(
        self,
        options: RunOptions,
        work: Callable[..., Any],
        *,
        source: Source,
        output: int,
        console: Console,
    ) -> None:
        self._options = options
        self._work = work
        self._kind = kind_of(options, work)
        self._retry = _retry_policy(options)
        self._source = source
        self._output = output
        self._console = console
        self._clock = console.clock
        self._unreadable = 0  # the producer's thread
        self._refused = False  # the producer's thread: an input, with --strict-input
        self._started = self._clock.event()  # what stops has something to stop
        self._stopping = False
        self._failure: str | None = None
        self._signals: list[int] = []
        self._interrupted = False
        self._results = Results(
            output,
            console,
            clock=self._clock,
            ordered=options.ordered,
            verbose=options.verbose,
            on_failure=self._on_write_failure,
        )
        cpu = self._kind is JobKind.CPU
        self._pipeline = Pipeline(
            1 if cpu else options.workers or 8,
            cpu_workers=options.workers if cpu else 1,
            capacity=options.capacity,
            producers=[self.jobs()],
            sink=self._results.take,
            clock=self._clock,
            name="run",
        )

    def run(self) -> int:
        """Run until every job has ended, or a signal's drain is over."""
        try:
            return self._run_and_tell()
        except KeyboardInterrupt:  # a third signal, or one after the drain
            if not self._signals:
                raise
            self._console.say("headrace: interrupted")
            return 128 + self._signals[0]

    def _run_and_tell(self) -> int:
        began = self._clock.monotonic()
        received = self._drive()
        seconds = self._clock.monotonic() - began
        tally, gone = self._tally(), self._results.reader_gone
        if self._failure is not None and not gone:
            self._console.say(f"headrace: {self._failure}")
        left_quietly = gone and not received
        if not (self._options.quiet or left_quietly):
            self._console.say(closing_line(tally, seconds))
        return exit_code(
            signals=received,
            reader_gone=gone,
            refused=self._refused,
            failed=self._failure is not None and not gone,
            clean=tally.ok == tally.settled,
        )

    def _drive(self) -> list[int]:
        """Run the pipeline from start to end; the signals that came meanwhile."""
        pipeline, limit = self._pipeline, self._options.drain_timeout
        with (
            self._late_signals(),
            handle_signals(self, drain_timeout=limit) as handler,
        ):
            self._signals = handler.received
            try:
                pipeline.start()
                self._started.set()
                with self._progress():
                    self._wait()
                    self._end_reading()
                    self._finish(pipeline.stop(limit))
            except StartFailed as error:
                self._failure = _told(error)
            finally:
                self._started.set()
        return handler.received

    def _wait(self) -> None:
        try:
            self._pipeline.wait()
        except HeadraceError as error:  # the producer's, the sink's, the tree's
            self._failure = _told(error)

    def _finish(self, report: Report) -> None:
        try:
            self._results.finish()
        except OSError as error:
            self._failure = f"results cannot be written: {_reason(error)}"
        left = len(report.undelivered)
        if left:
            lost = f"{left} {'result was' if left == 1 else 'results were'} not written"
            why = self._failure or "the writing of results was cut short"
            self._failure = f"{why}; {lost}"

    # -- the producer

    def jobs(self) -> Iterator[Job]:
        """Make a job of each input; on the producer's thread."""
        options = self._options
        name = "-e" if isinstance(self._work, Expression) else None
        with contextlib.suppress(_StopReading):
            for value in self._source.values(self._on_bad_input, self._output):
                if not self._results.admit() or self._stopping:
                    return
                yield Job(
                    self._work,
                    value,
                    kind=self._kind,
                    timeout=options.timeout,
                    retry=self._retry,
                    name=name,
                )

    def _on_bad_input(self, place: str, why: str) -> None:
        self._unreadable += 1
        hint = ""
        if self._unreadable == 1 and place.startswith("line"):
            hint = "; if the input is plain text, use --lines"
        self._console.say(f"dead: {place} {why}{hint}")
        if self._options.strict_input:
            self._refused = True
            raise _StopReading

    def _end_reading(self) -> None:
        """End every wait of the producer, for input or for its turn; any thread."""
        self._source.wake()
        self._results.close()

    def _on_write_failure(self, reader_gone: bool) -> None:  # noqa: FBT001  # a callback
        self._end_reading()
        if reader_gone:
            self._pipeline.stop_now("the reader of the results has gone")

    # -- signals: the target of handle_signals

    def stop(self, *, timeout: float) -> Report:
        """Drain, as the first signal asks; on a thread of the signal handling."""
        self._stopping = True
        self._end_reading()
        self._console.say(_STOPPING)
        self._started.wait()
        return self._pipeline.stop(timeout)

    def stop_now(self, reason: str) -> None:
        """Abandon what is in flight, as the second signal asks."""
        self._console.say("abandoning what is in flight")
        self._started.wait()
        self._pipeline.stop_now(reason)

    @contextlib.contextmanager
    def _late_signals(self) -> Iterator[None]:
        """Have signals that the drain has no use for end the command."""
        old = {number: signal.getsignal(number) for number in _SIGNALS}
        try:
            for number in _SIGNALS:
                signal.signal(number, self._on_late_signal)
            yield
        finally:
            if not self._interrupted:  # else more of them may come, up to the exit
                for number, was in old.items():
                    signal.signal(number, signal.SIG_DFL if was is None else was)

    def _on_late_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._interrupted:
            os._exit(128 + (self._signals or [number])[0])
        self._interrupted = True
        raise KeyboardInterrupt

    # -- what the human sees

    @contextlib.contextmanager
    def _progress(self) -> Iterator[None]:
        """Show the live line for a block, where one is wanted."""
        console, wanted = self._console, self._options.progress
        shown = wanted == "line" or (wanted == "auto" and console.terminal)
        if self._options.quiet or not shown:
            yield
            return
        period = 0.1 if console.terminal else 1.0
        with LiveLine(console, self._live_text(), clock=self._clock, period=period):
            if not console.terminal:
                yield
                return
            with printed_above(console, clock=self._clock):
                yield

    def _live_text(self) -> Callable[[int], str]:
        rate = Rate()

        def on_drawing_thread(columns: int) -> str:
            snapshot, tally = self._pipeline.snapshot(), self._tally()
            view = view_of(snapshot)._replace(
                settled=tally.settled,
                per_second=rate.add(self._clock.monotonic(), tally.settled),
                busy=snapshot.busy[self._kind],
                workers=snapshot.workers[self._kind],
                dead=tally.dead,
                note="stopping" if self._stopping else "",
            )
            return live_line(view, columns)

        return on_drawing_thread

    def _tally(self) -> Tally:
        tally = self._results.tally()
        return tally._replace(dead=tally.dead + self._unreadable)


def _retry_policy(options: RunOptions) -> RetryPolicy | None:
    if options.retries is None:
        return None  # what the function's own @job says, else one run
    usual = RetryPolicy(options.retries)
    return RetryPolicy(
        options.retries,
        initial=usual.initial if options.backoff is None else options.backoff,
        maximum=usual.maximum if options.max_backoff is None else options.max_backoff,
    )


def _told(error: HeadraceError) -> str:
    """What made the run give up, as one line."""
    cause = error.__cause__
    if isinstance(error, ProducerError) and cause is not None:
        return f"the input cannot be read: {_reason(cause)}"
    if isinstance(error, SinkError) and cause is not None:
        return f"results cannot be written: {_reason(cause)}"
    return f"gave up: {error}"


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"{type(error).__name__}: {error}"


def exit_code(
    *, signals: list[int], reader_gone: bool, refused: bool, failed: bool, clean: bool
) -> int:
    """Choose the exit status; the first reason that holds wins.

    Args:
        signals: Signals received, in order.
        reader_gone: Nobody reads the results any more.
        refused: An input was not what it should be, and ``--strict-input`` was given.
        failed: The input or the output failed.
        clean: Every input became a job that succeeded.
    """
    if signals:
        return 128 + signals[0]
    if reader_gone:
        return 128 + signal.SIGPIPE
    if refused:
        return 2
    if failed:
        return 3
    return 0 if clean else 1
