"""What becomes of notes that finalisers leave, and on whose thread.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from actors import SYSTEM_CLOCK
from actors.testing import VirtualClock
from supervision import Pipeline
from supervision.reaper import reaper_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervision.reaper import Reaper


class Thing:
    """Something to drop."""


@pytest.fixture
def reaper(clock: VirtualClock) -> Iterator[Reaper]:
    reaper = reaper_for(clock)
    yield reaper
    reaper.close()


def test_real_time_has_one_reaper_that_no_close_ends() -> None:
    reaper, acted = reaper_for(SYSTEM_CLOCK), SYSTEM_CLOCK.queue()
    reaper.close()
    thing = Thing()
    reaper.watch(thing, lambda: acted.put(threading.current_thread().name))

    del thing

    assert acted.get(timeout=60) == "headrace-reaper"
    assert reaper_for(SYSTEM_CLOCK) is reaper


def test_a_note_is_acted_on_by_a_thread_that_the_clock_knows(
    clock: VirtualClock, reaper: Reaper
) -> None:
    things = [Thing() for _ in range(3)]
    acted: list[tuple[int, bool]] = []

    def act(number: int) -> None:
        acted.append((number, clock.sleep(1)))

    for number, thing in enumerate(things):
        reaper.watch(thing, partial(act, number))

    del thing, things[1], things[0]
    assert acted == []
    clock.advance(2)

    assert acted == [(1, True), (0, True)]
    things.clear()
    clock.advance(1)
    assert acted[2:] == [(2, True)]


def test_what_was_marked_is_marked_in_the_finaliser_itself(
    clock: VirtualClock, reaper: Reaper
) -> None:
    thing, said = Thing(), []
    reaper.watch(thing, lambda: said.append("acted"), mark=lambda: said.append("mark"))

    del thing
    assert said == ["mark"]

    clock.settle()
    assert said == ["mark", "acted"]


def test_a_watch_that_was_ended_leaves_no_note(
    clock: VirtualClock, reaper: Reaper
) -> None:
    thing, said = Thing(), []
    reaper.watch(thing, lambda: said.append("acted")).detach()

    del thing
    clock.settle()

    assert said == []


def test_a_note_that_fails_does_not_stop_the_next(
    clock: VirtualClock, reaper: Reaper, caplog: pytest.LogCaptureFixture
) -> None:
    things, said = [Thing(), Thing()], ["nothing"]
    reaper.watch(things[0], lambda: 1 // 0)
    reaper.watch(things[1], lambda: said.append("acted"))

    with caplog.at_level(logging.ERROR, "headrace.reaper"):
        things.clear()
        clock.settle()

    assert said == ["nothing", "acted"]
    assert "failed after its owner was dropped" in caplog.text


def test_the_rest_of_a_dropped_map_runs_at_the_same_moment_in_each_run() -> None:
    def run(seed: int) -> tuple[Any, ...]:
        done: list[tuple[float, int]] = []
        with VirtualClock(seed=seed, preempt="send", auto_advance=True) as clock:

            def work(number: int) -> None:
                clock.sleep(0.25)
                done.append((clock.monotonic(), number))

            with Pipeline(2, capacity=2, clock=clock) as pipeline:
                dropped = pipeline.map(work, range(10))
                del dropped
                clock.sleep(0.1)
                pipeline.submit(work, 100)
        return done, clock.schedule

    for seed in range(5):
        first = run(seed)
        assert len(first[0]) == 11
        assert run(seed) == first
