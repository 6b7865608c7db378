"""What is done while a lock of a clock's is held: O(1) of the library's own, no more.

A clock that orders threads lets others go first where a lock is taken, and never inside
the section.  It may do so because in there nobody wakes a thread, takes another lock,
starts a thread or calls foreign code.  Here that is watched over whole runs.

:Runs on: the test's thread, and whatever threads the runs under watch have.
:Owns: what each thread holds.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from actors import (
    Actor,
    Cell,
    DeadLetters,
    Job,
    Mailbox,
    Tracker,
    Worker,
    checkpoint,
)
from actors.clock import SystemClock
from actors.errors import MailboxClosed, MailboxFull
from actors.exits import Undelivered
from supervision import ChildSpec, Pipeline, Supervisor
from supervision.tree import Board, Tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import Lock, WakeQueue

# These are held for as long as a start, a factory, a terminal or a user's hook takes.
# Who waits for one waits in the clock's sight, and may wait long.
LONG = {
    ("actors.cpu_pool", "__init__"),
    ("actors._foreign_engine", "__init__"),
    ("actors.future", "set_get_hook"),
    ("supervision.console", "__init__"),
    ("supervision.pipeline", "__init__"),
}


class Watch:
    """Notes what each thread does while it holds a lock."""

    def __init__(self) -> None:
        self.faults: set[str] = set()
        self.sections = 0
        self._local = threading.local()

    def enter(self, maker: str) -> None:
        self.check(f"takes the lock of {maker}")
        self._local.held = maker
        self.sections += 1

    def leave(self) -> None:
        self._local.held = None

    def check(self, doing: str) -> None:
        held = getattr(self._local, "held", None)
        if held is not None:
            self.faults.add(f"{doing} while it holds that of {held}")


class WatchedLock:
    def __init__(self, watch: Watch, maker: str) -> None:
        self._lock = threading.Lock()
        self._watch = watch
        self._maker = maker
        self.locked = self._lock.locked

    def acquire(self, *args: Any) -> bool:
        self._watch.enter(self._maker)
        return self._lock.acquire(*args)

    def release(self) -> None:
        self._lock.release()
        self._watch.leave()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()


class WatchedQueue:
    def __init__(self, watch: Watch) -> None:
        self._queue = SystemClock.queue()
        self._watch = watch
        self.empty = self._queue.empty

    def put(self, item: Any) -> None:
        self._watch.check("puts to a wake queue")
        self._queue.put(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        self._watch.check("waits at a wake queue")
        return self._queue.get(block, timeout)

    def get_nowait(self) -> Any:
        return self.get(block=False)


class WatchingClock(SystemClock):
    """Real time, and an eye on every section."""

    def __init__(self) -> None:
        super().__init__()
        self.watch = Watch()

    def lock(self) -> Lock:
        frame = sys._getframe(1)
        module = frame.f_globals["__name__"]
        if (module, frame.f_code.co_name) in LONG:
            return threading.Lock()
        return WatchedLock(self.watch, module)

    def queue(self) -> WakeQueue:
        return WatchedQueue(self.watch)

    def thread(  # type: ignore[override]  # a static method there
        self, target: Callable[..., object], **options: Any
    ) -> threading.Thread:
        self.watch.check("makes a thread")
        return SystemClock.thread(target, **options)

    def call_later(self, *args: Any) -> Any:
        self.watch.check("arms a timer")
        return super().call_later(*args)


@pytest.fixture
def clock() -> WatchingClock:
    return WatchingClock()


def fails_twice(times: list[int]) -> int:
    times.append(1)
    if len(times) < 3:
        raise ValueError(times)
    return len(times)


def obedient(started: threading.Event) -> None:
    started.set()
    while True:
        checkpoint()


def test_a_pipeline_does_nothing_foreign_inside_a_section(clock: WatchingClock) -> None:
    seen: list[Any] = []
    started = threading.Event()
    with Pipeline(2, capacity=2, clock=clock, sink=seen.append) as pipeline:
        pipeline.add_listener(seen.append)
        again = pipeline.scope("again", retry=3)
        later = pipeline.scope("later", delay=0.01, wait=5.0)
        retried = again.submit(fails_twice, [])
        list(pipeline.map(str, range(20)))
        pipeline.run(str, range(20), sink=seen.append)
        delayed = [later.submit(str, each) for each in range(5)]
        nested = pipeline.submit(lambda: pipeline.submit(str, 1).result())
        dropped = pipeline.map(str, range(20))
        del dropped
        running = pipeline.submit(obedient, started)
        started.wait(60)
        running.cancel()
        pipeline.submit_job(Job(divmod, 1, 0)).exception(60)
        assert retried.result(60) == 3
        assert nested.result(60) == "1"
        assert [each.result(60) for each in delayed] == list("01234")
        later.cancel()

    assert clock.watch.faults == set()
    assert clock.watch.sections > 200


def test_a_stop_in_the_midst_does_nothing_foreign_either(clock: WatchingClock) -> None:
    pipeline = Pipeline(
        2, capacity=2, clock=clock, producers=[range(1000)], worker_class=Idler
    )
    Idler.began.clear()
    pipeline.start()
    Idler.began.wait(60)
    report = pipeline.stop(timeout=0.0)
    pipeline.stop()

    assert report.returned
    assert clock.watch.faults == set()


class Idler(Worker):
    began = threading.Event()

    def handle(self, job: Job) -> None:
        self.began.set()
        self.clock.sleep(60, wake_on=self.stop_token)
        checkpoint()


class Kid(Actor):
    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise ValueError(message)
        if message == "later":
            self.schedule(0.001, "due")
        return message

    def on_control(self, message: Any) -> None:
        self.stop_token.child(timeout=60).on_cancel(print)


class Plain(pykka.ThreadingActor):
    def on_receive(self, message: Any) -> Any:
        return message


def test_a_tree_does_nothing_foreign_inside_a_section(clock: WatchingClock) -> None:
    specs: list[ChildSpec[Any]] = [
        ChildSpec(Kid, id="kept", capacity=1),
        ChildSpec(Kid, id="fresh", mailbox="fresh"),
        ChildSpec(Plain),
    ]
    with Supervisor.start("one_for_all", specs, clock=clock) as tree:
        for name in ("kept", "fresh", "Plain"):
            ref = tree.ref(name)
            ref.tell("later")
            assert ref.ask("hello", timeout=60) == "hello"
        tree.ref("kept").tell("crash")
        assert tree.ref("kept").ask("again", timeout=60) == "again"
        tree.ref("kept").proxy().on_receive("x").get(timeout=60)
        tree.ref("fresh").stop(block=False)

    assert clock.watch.faults == set()
    assert clock.watch.sections > 50


def test_watching_does_nothing_foreign_inside_a_section(clock: WatchingClock) -> None:
    specs = [ChildSpec(Kid, id=name) for name in ("first", "second", "third")]
    with Supervisor.start("one_for_one", specs, clock=clock) as tree:
        refs = [tree.ref(spec) for spec in specs]
        for ref in refs:
            watcher = ref.proxy()
            for other in refs:
                if other is not ref:
                    watcher.watch(other, restarts=True).get(timeout=60)
        refs[0].tell("crash")
        assert refs[0].ask("again", timeout=60) == "again"
        refs[1].proxy().unwatch(refs[0]).get(timeout=60)
        tree.ref("third").stop(timeout=60)
        refs[0].proxy().watch(refs[2]).get(timeout=60)
        refs[0].proxy().watch(tree).get(timeout=60)

    assert clock.watch.faults == set()
    assert clock.watch.sections > 50


def test_tracking_does_nothing_foreign_inside_a_section(clock: WatchingClock) -> None:
    tracker = Tracker(clock=clock)
    tracker.add()
    waiting = threading.Thread(target=tracker.wait)
    waiting.start()
    tracker.close()
    tracker.done()
    waiting.join(60)
    with pytest.raises(MailboxClosed):
        tracker.add()
    with pytest.raises(ValueError, match="more often"):
        tracker.done()

    assert clock.watch.faults == set()
    assert clock.watch.sections > 3


class Fragile:
    """What a host may send: its finaliser runs whatever it likes."""

    dropped = 0

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __del__(self) -> None:
        Fragile.dropped += 1
        self._watch.check("lets a host's finaliser run")


def test_no_message_of_the_hosts_is_dropped_inside_a_section(
    clock: WatchingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors._remains.UNDELIVERED_KEPT", 3)
    monkeypatch.setattr("supervision.tree.UNDELIVERED_KEPT", 3)
    cell, tree = Cell(Kid, clock=clock), Tree(clock)
    mailbox, letters = Mailbox(clock=clock), DeadLetters(clock=clock)
    deadline = clock.monotonic() + 60

    for _ in range(5):
        cell.remains.keep(Fragile(clock.watch), "nobody wants it")
        tree.note_undelivered(
            Board("root", tree),
            Undelivered(Fragile(clock.watch), "kid", 1, "nobody wants it"),
        )
        mailbox.put_control_at(deadline, Fragile(clock.watch)).cancel()
        mailbox.put_control_at(deadline, Fragile(clock.watch))
        mailbox.put_control(Fragile(clock.watch))
        letters.add(Fragile(clock.watch))  # type: ignore[arg-type]  # a stand-in
    mailbox.close()
    letters.clear()

    assert Fragile.dropped >= 2 + 2 + 15 + 5
    assert clock.watch.faults == set()


def test_senders_and_readers_of_a_full_mailbox_keep_to_it(clock: WatchingClock) -> None:
    mailbox = Mailbox(1, clock=clock)
    read: list[Any] = []

    def reader() -> None:
        read.extend(mailbox.get() for _ in range(100))

    thread = threading.Thread(target=reader)
    thread.start()
    for number in range(100):
        mailbox.put(number)
    thread.join(60)
    mailbox.put("x")
    with pytest.raises(MailboxFull):
        mailbox.put("y", wait=0.001)
    mailbox.put_control_at(clock.monotonic() + 60, "late").cancel()
    mailbox.close()

    assert read == list(range(100))
    assert clock.watch.faults == set()


def test_the_watch_sees_what_it_is_for(clock: WatchingClock) -> None:
    lock, other, queue = clock.lock(), clock.lock(), clock.queue()

    with lock:
        queue.put(None)
        with other:
            pass

    assert len(clock.watch.faults) == 2
