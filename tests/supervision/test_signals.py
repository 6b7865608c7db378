"""SIGTERM and SIGINT, delivered for real to scripts of their own.

:Runs on: the test runner's thread; each script in a process of its own.
:Owns: the processes, until they have ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from actors.errors import ConfigurationError
from supervision.signals import handle_signals

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 60.0

# What every script begins with: a target that says what is asked of it.
PREFIX = """
import os, signal, sys, threading
from supervision.signals import handle_signals

signal.signal(signal.SIGINT, signal.default_int_handler)  # may be inherited as ignored

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")  # one write: lines stay whole
    sys.stdout.flush()

class Target:
    def __init__(self):
        self.given_up = threading.Event()
        self.stopped = threading.Event()

    def stop(self, *, timeout):
        say("drain", timeout)
        self.given_up.wait(30) if "hang" in sys.argv else None
        say("drained")
        self.stopped.set()

    def stop_now(self, reason):
        say("now:", reason)
        self.given_up.set()

target = Target()
"""


class Script:
    """A running script whose lines are read one by one."""

    def __init__(self, body: str, *arguments: str) -> None:
        source = PREFIX + textwrap.dedent(body)
        self.process = subprocess.Popen(
            [sys.executable, "-c", source, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def rest(self) -> list[str]:
        """The lines up to its end."""
        output, _ = self.process.communicate(timeout=LIMIT)
        return [line.strip() for line in output.splitlines()]


@contextlib.contextmanager
def running(body: str, *arguments: str) -> Iterator[Script]:
    script = Script(body, *arguments)
    limit = threading.Timer(LIMIT, script.process.kill)
    limit.start()
    try:
        yield script
    finally:
        limit.cancel()
        script.process.kill()
        script.process.communicate()
        limit.join()


WAITING = """
with handle_signals(target, drain_timeout=7) as signals:
    say("ready")
    target.stopped.wait()
say("left", *signals.received)
sys.exit(128 + signals.received[0])
"""


@pytest.mark.real
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_drains(number: signal.Signals) -> None:
    with running(WAITING) as script:
        assert script.line() == "ready"

        script.send(number)

        assert script.rest() == ["drain 7", "drained", f"left {int(number)}"]
        assert script.process.returncode == 128 + number


@pytest.mark.real
def test_second_signal_stops_now_while_the_drain_hangs() -> None:
    with running(WAITING, "hang") as script:
        assert script.line() == "ready"
        script.send(signal.SIGTERM)
        assert script.line() == "drain 7"

        script.send(signal.SIGINT)

        assert script.rest() == ["now: second SIGINT", "drained", "left 15 2"]


@pytest.mark.real
def test_second_signal_is_obeyed_while_the_block_is_being_left() -> None:
    body = """
    with handle_signals(target) as signals:
        say("ready")
        signal.sigwait([signal.SIGUSR1])
        say("leaving")
    say("left", *signals.received)
    """
    body = (
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
        + textwrap.dedent(body)
    )
    with running(body, "hang") as script:
        assert script.line() == "ready"
        script.send(signal.SIGTERM)
        script.send(signal.SIGUSR1)
        lines = {script.line(), script.line()}
        assert lines == {"leaving", "drain 25.0"}

        script.send(signal.SIGTERM)

        assert script.rest() == ["now: second SIGTERM", "drained", "left 15 15"]


# For a script whose main thread goes on without its target.
OVER = """
def drain_over():
    for thread in threading.enumerate():
        if thread.name == "headrace-signals-drain":
            thread.join(30)
    say("over")

def go_on():
    while True:
        threading.Event().wait(0.01)
"""


@pytest.mark.real
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_third_signal_does_what_it_did_before(number: signal.Signals) -> None:
    body = f"""
    target.stop_now = lambda reason: say("now:", reason)  # and does not end
    try:
        with handle_signals(target) as signals:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            say("two")
            try:
                signal.raise_signal({int(number)})
            except KeyboardInterrupt:
                target.given_up.set()
                raise
    finally:
        say("left", *signals.received)
    """
    with running(body, "hang") as script:
        lines = script.rest()

    assert script.process.returncode == -number
    assert "two" in lines
    assert (lines[-1] == "left 15 2 2") == (number == signal.SIGINT)


@pytest.mark.real
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_does_what_it_did_before_once_the_drain_is_over(
    number: signal.Signals,
) -> None:
    body = """
    try:
        with handle_signals(target) as signals:
            say("ready")
            target.stopped.wait()
            drain_over()
            go_on()
    finally:
        handler = signal.getsignal(signal.SIGINT)
        say("left", *signals.received, handler is signal.default_int_handler)
    """
    with running(OVER + textwrap.dedent(body)) as script:
        assert script.line() == "ready"
        script.send(signal.SIGTERM)
        assert [script.line() for _ in range(3)] == ["drain 25.0", "drained", "over"]

        script.send(number)

        said = script.rest()
        assert script.process.returncode == -number
    assert said == (["left 15 2 True"] if number == signal.SIGINT else [])


@pytest.mark.real
def test_tree_that_has_given_up_leaves_signals_to_the_main_thread() -> None:
    body = """
    from actors import Actor
    from supervision import Supervisor

    class Failing(Actor):
        def on_receive(self, message):
            raise ValueError(message)

    ended = threading.Event()
    tree = Supervisor.start("one_for_one", [Failing], intensity=0)
    with handle_signals(tree) as signals:
        tree.when_ended(lambda exit: ended.set())
        tree.ref("Failing").tell("no")
        ended.wait()
        say("ready")
        drain_over()
        go_on()
    """
    with running(OVER + textwrap.dedent(body)) as script:
        assert script.line() == "ready"
        script.send(signal.SIGINT)
        assert script.line() == "over"

        script.send(signal.SIGINT)

        script.rest()
        assert script.process.returncode == -signal.SIGINT


@pytest.mark.real
def test_first_signal_is_not_passed_on_if_its_handler_runs_after_the_drain() -> None:
    body = """
    import ctypes

    over = os.pipe()

    def watch():
        target.stopped.wait()
        drain_over()
        os.write(over[1], b".")

    with handle_signals(target) as signals:
        threading.Thread(target=watch).start()
        read, byte = ctypes.CDLL(None).read, ctypes.create_string_buffer(1)
        say("ready")
        while read(over[0], byte, ctypes.c_size_t(1)) != 1:  # in C; once if restarted
            pass
    say("left", *signals.received)
    """
    with running(OVER + textwrap.dedent(body)) as script:
        assert script.line() == "ready"

        script.send(signal.SIGTERM)

        assert script.rest()[-1] == "left 15"
        assert script.process.returncode == 0


@pytest.mark.real
def test_handler_of_your_own_is_called_for_later_signals() -> None:
    body = """
    signal.signal(signal.SIGTERM, lambda number, frame: say("mine:", number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with handle_signals(target) as signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        target.stopped.wait()
        drain_over()
        for number in signal.SIGTERM, signal.SIGINT, signal.SIGTERM:
            signal.raise_signal(number)
    say("left", *signals.received)
    """
    with running(OVER + textwrap.dedent(body), "hang") as script:
        lines = script.rest()

    assert sorted(lines[:2]) == ["drain 25.0", "now: second SIGTERM"]
    assert lines[2:] == [
        "drained",
        "over",
        "mine: 15",
        "mine: 15",
        "left 15 15 15 2 15",
    ]


@pytest.mark.real
def test_outer_block_gets_the_signals_that_the_inner_one_has_no_use_for() -> None:
    body = """
    outer = Target()
    outer.stop = lambda *, timeout: say("outer drain")
    outer.stop_now = lambda reason: say("outer now")
    with handle_signals(outer) as above:
        with handle_signals(target) as signals:
            signal.raise_signal(signal.SIGTERM)
            signals._threads[1].join()  # the drain's
            signal.raise_signal(signal.SIGINT)
    say("left", *signals.received, "above", *above.received)
    """
    with running(body) as script:
        lines = script.rest()

    assert lines == ["drain 25.0", "drained", "outer drain", "left 15 2 above 2"]


@pytest.mark.real
def test_end_of_the_block_puts_all_back_if_a_late_signal_interrupts_it() -> None:
    body = """
    def handlers():
        return signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    class Interrupted:
        put = None

        def get(self):
            signal.raise_signal(signal.SIGINT)

    before = handlers()
    target.stop_now = lambda reason: say("now:", reason)
    try:
        with handle_signals(target) as signals:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            drained, signals._drained = signals._drained, Interrupted()
            Interrupted.put = drained.put
    except KeyboardInterrupt:
        say("interrupted", handlers() == before, signal.set_wakeup_fd(-1))
    signals.close()
    target.given_up.set()
    drained.get()
    for thread in signals._threads:
        thread.join(30)
    say("left", *signals.received, threading.active_count())
    """
    with running(body, "hang") as script:
        lines = script.rest()

    assert sorted(lines[:-2]) == [
        "drain 25.0",
        "interrupted True -1",
        "now: second SIGTERM",
    ]
    assert lines[-2:] == ["drained", "left 15 15 2 1"]


@pytest.mark.real
def test_forked_child_that_lives_on_does_not_hold_up_the_end_of_the_block() -> None:
    body = """
    gate, opener = os.pipe()
    with handle_signals(target) as signals:
        child = os.fork()
        if not child:
            os.close(opener)
            signals.close()
            os.read(gate, 1)  # as long as its parent
            os._exit(0)
    say("left")
    os.close(opener)
    os.waitpid(child, 0)
    """
    with running(body) as script:
        assert script.rest() == ["left"]


@pytest.mark.real
def test_failing_drain_stops_now_and_is_logged() -> None:
    body = """
    import logging
    logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)

    def stop(*, timeout):
        raise TimeoutError("still busy")

    target.stop = stop
    with handle_signals(target):
        say("ready")
        target.given_up.wait()
    """
    with running(body) as script:
        assert script.line() == "ready"
        script.send(signal.SIGTERM)
        lines = script.rest()

    assert lines[0] == "ERROR the drain after SIGTERM failed; stopping now"
    assert "TimeoutError: still busy" in lines
    assert lines[-1] == "now: the drain after SIGTERM failed"


@pytest.mark.real
def test_leaving_the_block_without_a_signal_asks_nothing_of_the_target() -> None:
    body = """
    with handle_signals(target) as signals:
        pass
    signals.close()
    say("left", signals.received, threading.active_count())
    """
    with running(body) as script:
        assert script.rest() == ["left [] 1"]


@pytest.mark.real
def test_storm_of_signals_during_waits_never_deadlocks() -> None:
    """R85."""
    body = """
    from actors.stop_token import StopToken

    def storm():
        for _ in range(20_000):
            os.kill(os.getpid(), signal.SIGTERM)

    late = []
    signal.signal(signal.SIGTERM, lambda number, frame: late.append(number))
    with handle_signals(target) as signals:
        sender = threading.Thread(target=storm)
        sender.start()
        lock = threading.Lock()
        while sender.is_alive():
            token = StopToken()
            token.on_drain(lambda reason: None)
            token.child().wait(1e-5)
            token.cancel()
            with lock:
                token.wait()
    say("left", 1 < len(late) < len(signals.received))
    """
    with running(body, "hang") as script:
        lines = script.rest()

    assert lines[-1] == "left True"
    assert sorted(lines[:-1]) == ["drain 25.0", "drained", "now: second SIGTERM"]


@pytest.mark.real
def test_signal_is_obeyed_while_the_main_thread_cannot_run_a_handler() -> None:
    body = """
    import hashlib
    with handle_signals(target):
        say("ready")
        hashlib.pbkdf2_hmac("sha256", b"", b"", 500_000_000)  # one call into C
    """
    with running(body) as script:
        assert script.line() == "ready"

        script.send(signal.SIGTERM)

        assert script.line() == "drain 25.0"
        assert script.line() == "drained"
        assert script.process.poll() is None


@pytest.mark.real
def test_signal_to_a_forked_child_does_to_it_what_it_did_before() -> None:
    body = """
    with handle_signals(target) as signals:
        child = os.fork()
        if not child:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        say("child ended by", os.WTERMSIG(status))
    say("left", signals.received)
    """
    with running(body) as script:
        assert script.rest() == ["child ended by 15", "left []"]


@pytest.mark.real
def test_signal_is_obeyed_after_an_event_loop_took_the_wakeup_descriptor() -> None:
    body = """
    import asyncio

    async def main():
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, say, "loop's")
        say("ready")
        await asyncio.to_thread(target.stopped.wait)

    with handle_signals(target) as signals:
        asyncio.run(main())
    say("left", signals.received)
    """
    with running(body) as script:
        assert script.line() == "ready"
        script.send(signal.SIGUSR1)
        assert script.line() == "loop's"
        script.send(signal.SIGTERM)
        assert script.rest() == ["drain 25.0", "drained", "left [15]"]


@pytest.mark.real
def test_event_loop_that_had_the_wakeup_descriptor_gets_its_other_signals() -> None:
    body = """
    import asyncio

    async def main():
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, say, "loop's")
        with handle_signals(target) as signals:
            say("ready")
            await asyncio.to_thread(target.stopped.wait)
        say("left", signals.received)

    asyncio.run(main())
    """
    with running(body) as script:
        assert script.line() == "ready"
        script.send(signal.SIGUSR1)
        assert script.line() == "loop's"
        script.send(signal.SIGTERM)
        assert script.rest() == ["drain 25.0", "drained", "left [15]"]


# -- a tree


TREE = """
from actors import Actor, Cancelled
from supervision import ChildSpec, Supervisor

HELD = threading.Event()

class Source(Actor):
    def on_stop(self):
        say("source stops in", self.stop_token.phase.name)

class Sink(Actor):
    def on_receive(self, number):
        if number == 1:
            say("ready")
            if "hang" in sys.argv:
                self.stop_token.wait_cancelled()
                raise Cancelled
            HELD.wait()
        say("handled", number, "in", self.stop_token.phase.name)

    def on_stop(self):
        say("sink stops in", self.stop_token.phase.name)

inner = ChildSpec(Supervisor, ("one_for_one", [ChildSpec(Source)]))
with (
    Supervisor.start("one_for_one", [ChildSpec(Sink), inner]) as tree,
    handle_signals(tree, drain_timeout=60) as signals,
):
    for number in 1, 2, 3:
        tree.ref("Sink").tell(number)
    tree.stop_token.on_drain(lambda reason: HELD.set())
    tree.wait()
say("left", *signals.received, [each.message for each in tree.undelivered()])
"""


@pytest.mark.real
def test_first_signal_has_a_tree_handle_what_was_sent() -> None:
    """R81, R82: the whole tree shows DRAIN, its sources end first."""
    with running(TREE) as script:
        assert script.line() == "ready"

        script.send(signal.SIGTERM)

        assert sorted(script.rest()) == sorted(
            [
                "source stops in DRAIN",
                "handled 1 in DRAIN",
                "handled 2 in DRAIN",
                "handled 3 in DRAIN",
                "sink stops in DRAIN",
                "left 15 []",
            ]
        )


@pytest.mark.real
def test_second_signal_has_a_tree_give_up_what_was_sent() -> None:
    """R81: DRAIN at the first signal, CANCEL at the second."""
    with running(TREE, "hang") as script:
        assert script.line() == "ready"
        script.send(signal.SIGTERM)
        assert script.line() == "source stops in DRAIN"

        script.send(signal.SIGINT)

        assert script.rest() == [
            "sink stops in CANCEL",
            "left 15 2 [1, 2, 3]",
        ]


@pytest.mark.real
def test_block_of_a_tree_that_is_left_waits_for_a_drain_that_has_begun() -> None:
    body = TREE.replace("    tree.wait()\n", "    tree.stop_token.wait()\n")
    with running(body) as script:
        assert script.line() == "ready"

        script.send(signal.SIGTERM)

        assert script.rest()[-1] == "left 15 []"


# -- in this process, without a signal


class Idle:
    def stop(self, *, timeout: float) -> None:
        raise AssertionError

    def stop_now(self, reason: str) -> None:
        raise AssertionError


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


def test_old_handlers_come_back() -> None:
    before = handlers()

    with handle_signals(Idle()):
        with handle_signals(Idle()) as inner:
            assert inner._on_signal in handlers()
        assert inner._on_signal not in handlers()
        assert handlers() != before

    assert handlers() == before


def test_no_handler_is_there_without_the_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    descriptors: list[int] = []
    install = signal.signal

    def watched(number: int, handler: Any) -> Any:
        descriptors.append(signal.set_wakeup_fd(-1))
        signal.set_wakeup_fd(descriptors[-1], warn_on_full_buffer=False)
        return install(number, handler)

    monkeypatch.setattr(signal, "signal", watched)
    with handle_signals(Idle()):
        pass

    assert len(descriptors) == 4
    assert -1 not in descriptors


def test_old_handlers_come_back_after_an_exception() -> None:
    before = handlers()

    with pytest.raises(ValueError, match="host's"), handle_signals(Idle()):
        raise ValueError("host's")

    assert handlers() == before


def test_plain_call_handles_signals_until_closed() -> None:
    before = handlers()

    signals = handle_signals(Idle())
    assert handlers() == [signals._on_signal] * 2
    signals.close()
    signals.close()

    assert handlers() == before


def test_handler_installed_by_somebody_else_meanwhile_stays() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with handle_signals(Idle()):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_than_the_main_one_are_refused() -> None:
    before = handlers()
    errors: list[BaseException] = []

    def call() -> None:
        with pytest.raises(ConfigurationError, match="on the main thread") as caught:
            handle_signals(Idle())
        errors.append(caught.value)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(LIMIT)

    assert len(errors) == 1
    assert handlers() == before


def test_closing_on_another_thread_is_refused_and_changes_nothing() -> None:
    refused: list[str] = []

    with handle_signals(Idle()) as signals:

        def close() -> None:
            with pytest.raises(ConfigurationError) as caught:
                signals.close()
            refused.append(str(caught.value))

        thread = threading.Thread(target=close)
        thread.start()
        thread.join(LIMIT)
        assert handlers() == [signals._on_signal] * 2

    assert "leave its block there" in refused[0]


@pytest.mark.parametrize("drain_timeout", [-1, float("nan")])
def test_impossible_drain_timeout_is_refused(drain_timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="drain_timeout must be at least 0"):
        handle_signals(Idle(), drain_timeout=drain_timeout)


def test_target_that_cannot_be_stopped_is_refused_at_once() -> None:
    before = handlers()

    with pytest.raises(ConfigurationError, match=r"must have a method stop\(\)"):
        handle_signals(object())  # type: ignore[arg-type]

    assert handlers() == before


def test_handlers_come_back_when_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = handlers()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        handle_signals(Idle())

    assert handlers() == before
