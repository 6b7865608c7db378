"""The places where races are hardest to get right, each as a body for ``explore``.

Every body is one small run with strict sums: whatever was let in comes out once, by one
of the ways that are promised, and whatever was refused does not come out at all.

    python -m tests.supervision.hard_places --seeds 5000 [--lines] [PLACE ...]

With ``--lines`` the turn may be taken at every line of the library, also where it reads
without a lock: some fifty times as many scheduling points, and ten times as slow.

:Runs on: the test thread of the clock that each body is given.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pykka import ActorDeadError, Timeout

from actors import Actor, Job, JobFuture, JobResult, JobStatus, RetryPolicy, sleep
from actors.clock import ambient_clock
from actors.errors import Cancelled, MailboxClosed, MailboxFull, ShutdownTimeout
from actors.events import (
    ChildDown,
    ChildRestarted,
    ChildStarted,
    JobAccepted,
    JobSettled,
    MessageUndelivered,
)
from actors.mailbox import Lane, LeaseRevoked, Mailbox
from actors.stop_token import StopToken
from actors.testing import PCT, RandomChoice, VirtualClock, VirtualExecutor, explore
from supervision import ChildSpec, Pipeline, Supervisor
from supervision.supervisor import StartFailed, SupervisorGaveUp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from actors.testing import Strategy
    from supervision import SupervisorRef

    Body = Callable[[VirtualClock], None]


ROOT: Final = Path(__file__).resolve().parents[2]


class Boom(Exception):
    """A failure on purpose."""


def together(clock: VirtualClock, *targets: Callable[[], object]) -> None:
    """Run each on a thread of its own; raise what the first of them raised."""
    errors: list[BaseException] = []

    def guarded(target: Callable[[], object]) -> None:
        try:
            target()
        except Exception as error:  # noqa: BLE001  # raised again below
            errors.append(error)

    threads = [
        clock.thread(guarded, args=[target], name=target.__name__) for target in targets
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        clock.join(thread)
    for error in errors:
        raise error


def in_order(seen: list[tuple[int, int]]) -> bool:
    """Whether what each sender sent comes in the order in which it was sent."""
    last: dict[int, int] = {}
    for sender, index in seen:
        if index <= last.get(sender, -1):
            return False
        last[sender] = index
    return True


# -- a mailbox closes


def mailbox_close(clock: VirtualClock) -> None:
    """Senders that wait in all ways, two readers that follow each other, a close.

    Each put entered and was read or handed back, once, or it raised.
    """
    mailbox = Mailbox(2, clock=clock)
    token = StopToken(clock=clock)
    pauses = [clock.rng.choice([0.0, 0.1, 0.1]) for _ in range(2)]
    pauses.append(clock.rng.choice([0.0, 0.1, 0.2]))
    entered: list[tuple[int, int]] = []
    refused: list[tuple[int, int]] = []
    read: dict[int, list[tuple[int, int]]] = {}
    left: list[tuple[int, int]] = []
    closed: list[bool] = []
    waits: list[Any] = [True, 0.1, 0.1, False]
    newest = [0]

    def sends(number: int) -> Callable[[], None]:
        def sender() -> None:
            for index in range(3):
                late = bool(closed)
                try:
                    mailbox.put(
                        (number, index),
                        wait=waits[number],
                        token=token if number == 1 else None,
                    )
                except (MailboxClosed, MailboxFull, Cancelled):
                    refused.append((number, index))
                else:
                    entered.append((number, index))
                    assert not late, "entered after the close"
                assert len(mailbox) <= 2

        return sender

    def reader() -> None:
        lease = mailbox.new_lease()
        newest[0] = max(newest[0], lease)
        mine = read.setdefault(lease, [])
        with contextlib.suppress(MailboxClosed, LeaseRevoked):
            while True:
                shut_out = lease < newest[0]
                lane, item = mailbox.receive(lease)
                assert not shut_out, "read with a lease that is over"
                if lane is Lane.DATA:
                    mine.append(item)
                clock.sleep(pauses[0])

    def controls() -> None:
        with contextlib.suppress(MailboxClosed):
            mailbox.put_control("now")
            mailbox.put_control_at(0.1, "later")

    def cancels() -> None:
        clock.sleep(pauses[1])
        token.cancel("enough")

    def closes() -> None:
        clock.sleep(pauses[2])
        left.extend(mailbox.close())
        closed.append(True)

    together(
        clock, reader, *(sends(n) for n in range(4)), reader, controls, cancels, closes
    )
    came_out = [*itertools.chain(*read.values()), *left]

    assert sorted(came_out) == sorted(entered)
    assert sorted([*entered, *refused]) == [(n, i) for n in range(4) for i in range(3)]
    assert all(in_order([*mine, *left]) for mine in read.values())
    assert mailbox.close() == []
    assert not mailbox.waiting_senders


# -- an actor restarts while others send to it


class Fragile(Actor):
    """Notes what it handles, and fails with what it is told to fail with."""

    capacity = 1

    def __init__(self, handled: list[Any]) -> None:
        super().__init__()
        self._handled = handled

    def on_receive(self, message: Any) -> Any:
        self._handled.append(message)
        if message[1] == 1 and message[0] < 2:
            raise Boom(message)
        return message


def restart_during_put(clock: VirtualClock) -> None:
    """Tells, asks and stops race with two restarts of their receiver.

    Each tell that returned was handled or is undelivered, once; each ask is answered.
    """
    handled: list[Any] = []
    events: list[Any] = []
    told: list[Any] = []
    refused: list[Any] = []
    replies: dict[Any, Any] = {}
    stops: list[Any] = []
    mailbox: Any = clock.rng.choice(["keep", "keep", "fresh"])
    spec = ChildSpec(Fragile, (handled,), mailbox=mailbox, restart="permanent")
    tree = Supervisor.start(
        "one_for_one", [spec], intensity=20, on_event=events.append, clock=clock
    )
    fragile = tree.ref(spec)

    def tells(number: int, timeout: float | None) -> Callable[[], None]:
        def teller() -> None:
            for index in range(3):
                try:
                    fragile.tell((number, index), timeout=timeout)
                except (ActorDeadError, Timeout):
                    refused.append((number, index))
                else:
                    told.append((number, index))

        return teller

    def asks() -> None:
        for index in range(3):
            replies[2, index] = fragile.ask((2, index), block=False)

    def stops_it() -> None:
        stops.append(fragile.stop(block=False))

    def shuts_down() -> None:
        clock.sleep(clock.rng.choice([0.0, 0.0, 0.1]))
        tree.shutdown()

    together(clock, tells(0, None), tells(1, 0.1), asks, stops_it, shuts_down)
    undelivered = [e.message for e in events if isinstance(e, MessageUndelivered)]
    crashes = {(0, 1), (1, 1)}

    for message in told:
        # The message that crashed its handler was handled and is undelivered too.
        if message in crashes:
            assert message in undelivered
        else:
            assert (message in handled) != (message in undelivered), message
    assert max(Counter(handled).values(), default=0) <= 1
    assert max(Counter(undelivered).values(), default=0) <= 1
    assert not set(refused) & {*handled, *undelivered}
    assert sorted(undelivered) == sorted(u.message for u in tree.undelivered())
    assert in_order(handled)
    for message, reply in replies.items():
        answer = answer_of(reply)
        assert (answer == message) == (message in handled), (message, answer)
        assert answer == message or isinstance(answer, ActorDeadError)
    assert [reply.get(timeout=0) for reply in stops] in ([True], [False])
    assert not fragile.is_alive()


def answer_of(reply: Any) -> Any:
    """The value or the error of a reply that is there; fails if none is."""
    try:
        return reply.get(timeout=0)
    except ActorDeadError as error:
        return error


# -- a tree, and a pipeline, stop while they start


class Sapling(Actor):
    """Starts slowly; each of its lives has to begin and end in order."""

    def __init__(self, log: list[tuple[str, str, int]], wait: float) -> None:
        super().__init__()
        self._log = log
        self._wait = wait

    def note(self, what: str) -> None:
        self._log.append((what, self.name, self.incarnation))

    def on_start(self) -> None:
        if self._wait < 0:
            self.note("fails")
            raise Boom(self.name)
        self.clock.sleep(self._wait)
        self.note("started")

    def on_stop(self) -> None:
        self.note("stopped")

    def on_failure(self, *_error: Any) -> None:
        self.note("failed")

    def on_receive(self, message: Any) -> Any:
        self.note(f"handles {message}")
        return message


class Herald(Sapling):
    """Tells the ref of its supervisor to the test."""

    def __init__(self, log: list[Any], wait: float, heard: Any) -> None:
        super().__init__(log, wait)
        self._heard = heard

    def on_start(self) -> None:
        super().on_start()
        assert self.actor_ref.cell.parent is not None  # it has a supervisor
        self._heard.put(self.actor_ref.cell.parent.ref)


def stop_during_start(clock: VirtualClock) -> None:
    """A tree is stopped, in one of three ways, while its children start.

    Every life that began ended once, and nobody waits for ever.
    """
    rng = clock.rng
    log: list[tuple[str, str, int]] = []
    events: list[Any] = []
    heard = clock.queue()
    way = rng.choice(["stop_now", "stop", "shutdown"])
    waits = [rng.choice([0.0, 0.0, 0.1, -1.0]) for _ in range(3)]
    start: Any = rng.choice(["ordered", "parallel"])
    children: list[ChildSpec[Any]] = [
        ChildSpec(Herald, (log, 0.0, heard), id="herald"),
        ChildSpec(Supervisor, ("one_for_all", inner(log, waits[0])), id="inner"),
        *(
            ChildSpec(Sapling, (log, wait), id=f"s{wait}{n}")
            for n, wait in enumerate(waits[1:])
        ),
    ]
    outcome: list[Any] = []

    def starts() -> None:
        try:
            outcome.append(
                Supervisor.start(
                    "one_for_one",
                    children,
                    start=start,
                    on_event=events.append,
                    clock=clock,
                )
            )
        except StartFailed as error:
            outcome.append(error)

    def stops() -> None:
        tree: SupervisorRef = heard.get()
        if way == "stop_now":
            tree.stop_now("at once")
        elif way == "stop":
            reply: Any = tree.stop(block=False)
            assert reply.get(timeout=50) in (True, False)
        else:
            assert tree.shutdown()
        with contextlib.suppress(SupervisorGaveUp, StartFailed):
            assert tree.wait(50)
        for child in ("herald", "inner"):
            assert not tree.ref(child).is_alive()
            with contextlib.suppress(ActorDeadError):
                tree.ref(child).tell("too late")
                raise AssertionError("a dead actor takes messages")

    together(clock, starts, stops)
    check_lives(log, events)
    assert len(outcome) == 1


def inner(log: list[Any], wait: float) -> list[ChildSpec[Any]]:
    return [ChildSpec(Sapling, (log, w), id=f"i{n}") for n, w in enumerate((0.0, wait))]


def check_lives(log: list[tuple[str, str, int]], events: list[Any]) -> None:
    """Each life that started ended by one hook, and each start and end was told."""
    began = Counter((name, n) for what, name, n in log if what == "started")
    ended = Counter((name, n) for what, name, n in log if what in ("stopped", "failed"))
    assert set(began.values()) | set(ended.values()) <= {1}
    assert ended == began, (began, ended)
    kinds = (ChildStarted, ChildRestarted)
    started = Counter(
        (e.supervisor, e.child, e.incarnation) for e in events if isinstance(e, kinds)
    )
    down = Counter(
        (e.supervisor, e.child, e.incarnation)
        for e in events
        if isinstance(e, ChildDown)
    )
    assert set(started.values()) | set(down.values()) <= {1}
    assert started.keys() <= down.keys(), (started, down)


class Sums:
    """A pipeline, with everything that was told of its jobs."""

    def __init__(self, clock: VirtualClock, **options: Any) -> None:
        self.clock = clock
        self.futures: list[JobFuture] = []
        self.accepted: Counter[int] = Counter()
        self.settled: Counter[int] = Counter()
        self.told: list[JobResult] = []
        self.called_back: Counter[int] = Counter()
        self.crashed: list[ChildDown] = []
        self.executor = VirtualExecutor(clock, duration=0.1, max_workers=1)
        self.pipeline = Pipeline(
            2,
            cpu_workers=self.executor,
            sink=self.told.append,
            clock=clock,
            **{"capacity": 1, **options},
        )
        self.pipeline.add_listener(self.hear)

    def hear(self, event: Any) -> None:
        if isinstance(event, JobAccepted):
            self.accepted[event.job.id or 0] += 1
        elif isinstance(event, JobSettled):
            self.settled[event.result.id] += 1
        elif isinstance(event, ChildDown) and event.kind in ("failed", "fatal"):
            self.crashed.append(event)

    def submit(self, job: Job, wait: Any = True) -> JobFuture | None:
        """Submit it; None if it was refused."""
        scope = self.pipeline.scope(wait=wait)
        try:
            future = scope.submit_job(job)
        except (MailboxClosed, MailboxFull):
            return None
        self.futures.append(future)
        future.add_done_callback(self.called)
        return future

    def called(self, future: Any) -> None:
        self.called_back[future.job.id] += 1

    def work(self, seconds: float) -> float:
        sleep(seconds)
        return seconds

    def check(self) -> None:
        """Let in once, settled once, told once or undelivered; no future is open."""
        self.clock.sleep(1.0)  # who did not obey a stop ends by himself
        self.executor.shutdown()
        assert not self.crashed
        report = self.pipeline.report()
        assert report.unsettled == 0
        assert report.accepted == sum(self.accepted.values())
        assert set(self.accepted.values()) <= {1}
        assert self.settled == self.accepted
        told = Counter(result.id for result in self.told)
        told.update(result.id for result in report.undelivered)
        assert told == self.accepted
        assert all(future.done() for future in self.futures)
        assert self.called_back == Counter(f.job.id or 0 for f in self.futures)
        assert self.called_back.keys() <= self.accepted.keys()
        by_id = {r.id: r for r in (*self.told, *report.undelivered)}
        for future in self.futures:
            assert future.job_result(0) is by_id[future.job.id or 0]
        counts = Counter(result.status for result in by_id.values())
        assert counts[JobStatus.SUCCEEDED] == report.succeeded
        assert counts[JobStatus.DEAD] == report.dead
        assert counts[JobStatus.CANCELLED] == report.cancelled
        assert counts[JobStatus.RETURNED] == report.returned


def pipeline_stop_during_start(clock: VirtualClock) -> None:
    """A pipeline is started, used and stopped, each on a thread of its own."""
    rng = clock.rng
    slow = rng.choice([0.0, 0.1])
    limit = rng.choice([0.0, 0.1, 5.0])
    at_once = rng.random() < 0.3
    sums = Sums(
        clock,
        initializer=lambda: clock.sleep(slow),
        producers=[producing(clock, rng.choice([0.0, 0.1]))],
    )

    def starts() -> None:
        sums.pipeline.start()

    def submits() -> None:
        for fn, seconds in ((sums.work, 0.0), (clock.sleep, 0.1), (sums.work, 0.1)):
            if sums.pipeline.has_run:  # else this would be a start too
                sums.submit(Job(fn, seconds))
            clock.sleep(seconds)

    def stops() -> None:
        if at_once:
            sums.pipeline.stop_now("at once")
        assert sums.pipeline.stop(limit).unsettled == 0

    together(clock, starts, submits, stops)
    report = sums.pipeline.stop()
    sums.check()
    assert sums.pipeline.report() == report, "changed after the stop"


def producing(clock: VirtualClock, pause: float) -> Iterator[Job]:
    for _ in range(3):
        clock.sleep(pause)
        yield Job(lambda: None)


# -- a job is settled while it is cancelled


def settle_against_cancel(clock: VirtualClock) -> None:
    """Jobs end by themselves at the very instant at which others end them.

    Three threads cancel them, one may stop the pipeline.  A cancel that answered True
    was the end; every job has one end.
    """
    rng = clock.rng
    sums = Sums(clock, capacity=None, retry=RetryPolicy(1, initial=0.1, jitter=None))
    pauses = [rng.choice([0.0, 0.1, 0.1, 0.2]) for _ in range(4)]
    stopped = rng.random() < 0.5
    answers: list[tuple[JobFuture, bool]] = []
    ran: Counter[str] = Counter()

    def work(name: str, seconds: float, wait: Any = sleep) -> str:
        wait(seconds)
        ran[name] += 1
        if name == "fails":
            raise Boom(name)
        return name

    jobs = [
        Job(work, "quick", 0.0),
        Job(work, "short", 0.1),
        Job(work, "fails", 0.1),
        Job(work, "stubborn", 0.1, clock.sleep),
        Job(abs, -1, kind="cpu"),
        Job(work, "late", 0.0, delay=0.1),
    ]
    with sums.pipeline:
        for job in jobs:
            sums.submit(job)

        def cancels() -> None:
            clock.sleep(pauses[0])
            answers.extend((future, future.cancel()) for future in sums.futures)

        def cancels_backwards() -> None:
            clock.sleep(pauses[1])
            backwards = reversed(sums.futures)
            answers.extend((future, future.cancel()) for future in backwards)

        def cancels_unbegun() -> None:
            clock.sleep(pauses[2])
            answers.extend((each, each.cancel_unless_begun()) for each in sums.futures)

        def waits() -> None:
            for future in sums.futures:
                with contextlib.suppress(Exception):
                    future.job_result(0.1)

        def stops() -> None:
            clock.sleep(pauses[3])
            if stopped:
                sums.pipeline.stop(0.0)

        together(clock, cancels, cancels_backwards, cancels_unbegun, waits, stops)
    sums.check()

    for future, answer in answers:
        result = future.job_result(0)
        unbegun = result.status is JobStatus.RETURNED and not result.attempts
        assert future.cancelled() == (result.status is JobStatus.CANCELLED or unbegun)
        assert future.cancelled() or not answer
        assert result.status is not JobStatus.RETURNED or stopped
        name = result.job.args[0]
        if isinstance(name, str) and not stopped:
            assert ran[name] <= len(result.attempts)
        assert not result.ok or result.attempts


# -- a pipeline drains while jobs come in


def drain_against_submit(clock: VirtualClock) -> None:
    """Submitters of all kinds race with a drain.

    What was let in succeeds and is delivered before the drain returns; nothing is let
    in after it.
    """
    rng = clock.rng
    sums = Sums(clock, producers=[producing(clock, rng.choice([0.0, 0.1]))])
    pause = rng.choice([0.0, 0.0, 0.1])
    patience = rng.choice([None, None, 0.05])
    drained: list[Any] = []

    def parent() -> None:
        sums.submit(Job(sums.work, 0.0))

    def submits() -> None:
        for seconds in (0.0, 0.1, 0.0):
            late = bool(drained)
            taken = sums.submit(Job(sums.work, seconds))
            assert not (late and taken), "let in after the drain"

    def tries() -> None:
        for _ in range(3):
            future = sums.submit(Job(parent), wait=rng.choice([False, 0.1]))
            if future is not None:
                future.add_done_callback(lambda _: sums.submit(Job(sums.work, 0.0)))

    def delays() -> None:
        sums.submit(Job(sums.work, 0.0, delay=0.1))
        sums.submit(Job(abs, -1, kind="cpu"))

    def drains() -> None:
        clock.sleep(pause)
        try:
            report = sums.pipeline.drain(patience)
        except ShutdownTimeout:
            report = sums.pipeline.drain()
        drained.append(report)

    sums.pipeline.start()
    together(clock, submits, tries, delays, drains)
    report = sums.pipeline.stop()
    sums.check()

    assert drained[0].unsettled == 0
    assert drained[0].accepted == report.accepted == report.succeeded
    assert not drained[0].undelivered


PLACES: Final[dict[str, Body]] = {
    body.__name__: body
    for body in (
        mailbox_close,
        restart_during_put,
        stop_during_start,
        pipeline_stop_during_start,
        settle_against_cancel,
        drain_against_submit,
    )
}


# -- by hand


def line_by_line(body: Body) -> Body:
    """Make every line of the library that may lose its turn a scheduling point."""
    files = {
        str(path)
        for package in ("actors", "supervision")
        for path in (ROOT / package).glob("*.py")
        # Inside a raw lock nobody may lose his turn; see actors.clock.
        if "raw_lock()" not in path.read_text()
    }

    def at_line(frame: FrameType, event: str, arg: Any) -> Any:
        clock = ambient_clock()
        if event == "line" and clock.reschedule is not None:
            clock.reschedule()
        return at_line

    def at_call(frame: FrameType, event: str, arg: Any) -> Any:
        return at_line if frame.f_code.co_filename in files else None

    @functools.wraps(body)
    def traced(clock: VirtualClock) -> None:
        threading.settrace(at_call)
        sys.settrace(at_call)
        try:
            body(clock)
        finally:
            sys.settrace(None)
            threading.settrace(None)

    return traced


def strategy_for_lines(seed: int) -> Strategy:
    """Choose for thousands of steps: turns that last, and falls that come late."""
    if seed % 2:
        return PCT(seed, depth=2 + seed // 2 % 4, steps=(1000, 6000)[seed // 2 % 2])
    return RandomChoice(seed, stay=(0.0, 0.9)[seed // 2 % 2])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("places", nargs="*", help="all by default")
    options.add_argument("--seeds", type=int, default=60)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--lines", action="store_true", help="interrupt every line")
    given = options.parse_args()
    seeds = range(given.first, given.first + given.seeds)
    print("place                         seeds  schedules  ms a seed", flush=True)
    for name in given.places or PLACES:
        begun = time.perf_counter()
        body = PLACES[name]
        how: dict[str, Any] = {}
        if given.lines:
            body = line_by_line(body)
            how = {"strategy": strategy_for_lines, "preempt": "send"}
        different = explore(body, seeds=seeds, auto_advance=True, **how)
        took = 1000 * (time.perf_counter() - begun) / len(seeds)
        print(f"{name:28}  {len(seeds):5}  {different:9}  {took:9.1f}", flush=True)


if __name__ == "__main__":
    main()
