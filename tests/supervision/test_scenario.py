"""A whole pipeline and a tree beside it: one seed is one run, to the last step.

Long runs of the same are made by hand: ``python -m benchmarks.traces``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actors.testing import Replay, VirtualClock
from tests.supervision.scenario import Outcome, run, run_order, run_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (0, 1)  # one that lets threads run until they wait, one that interrupts them


@pytest.fixture
def hasty_switches() -> Iterator[None]:
    """Have the interpreter switch threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return run_seed(SEEDS[0])


def test_scenario_has_all_that_could_vary(outcome: Outcome) -> None:
    actors = {step.actor.partition("#")[0] for step in outcome.trace}
    events = "\n".join(step.event for step in outcome.trace)

    assert len(actors - {"MainThread", "submits", "cancels"}) >= 11
    assert "crash in it 1 WorkerDied" in events  # a crash with the job in hand
    assert "too slow 1 JobTimeout" in events
    assert "JobSettled 6 dead" in events  # after two retries
    assert "ChildRestarted io-worker" in events
    assert "ChildRestarted clerk 2" in events
    assert "dead: ['6 at 00:0" in events  # a dead letter's stamp
    assert "JobBegan 9 cpu" in events
    assert "tick 4: " in events
    assert outcome.report.unsettled == 0
    assert outcome.report.cancelled
    assert outcome.report.dead


@pytest.mark.slow
@pytest.mark.usefixtures("hasty_switches")
@pytest.mark.parametrize("seed", SEEDS)
def test_seed_is_one_trace_however_often_it_runs(seed: int) -> None:
    assert len({run_seed(seed).digest for _ in range(20)}) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_d10_same_seed_and_recorded_choices_give_the_same_trace(seed: int) -> None:
    first, second = run_seed(seed), run_seed(seed)
    replay = Replay(first.choices)
    again = run_seed(seed, strategy=replay)

    assert second.trace == first.trace
    assert second.schedule == first.schedule
    assert again.trace == first.trace
    assert again.schedule == first.schedule
    assert replay.left == 0


def test_different_orders_are_different_behaviours() -> None:
    assert len({run_order(seed).behaviour for seed in range(12)}) >= 8


def test_scenario_ends_well_when_threads_run_freely() -> None:
    clock = VirtualClock(seed=None, auto_advance=True)

    report = run(clock).report

    assert report.unsettled == 0
    assert clock.schedule == []


@pytest.mark.real
@pytest.mark.slow
def test_hash_seed_changes_nothing(outcome: Outcome) -> None:
    program = (
        "from tests.supervision.scenario import run_seed\n"
        f"print(*(run_seed(seed).digest for seed in {SEEDS}))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for hash_seed in (1, 2, 3)
    }

    assert len(said) == 1
    assert outcome.digest in said.pop()
