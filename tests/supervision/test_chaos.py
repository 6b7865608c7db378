"""Everything at once, in every order: nothing is lost or told twice, all ends.

A hundred runs under ten seeds, as in CI; ``--repeat 202`` makes them two thousand.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from actors.clock import SYSTEM_CLOCK
from tests.supervision.chaos_checks import check
from tests.supervision.chaos_run import ChaosRun
from tests.supervision.kids import Nursery, boom

if TYPE_CHECKING:
    from actors.testing import VirtualClock

PARTS = range(3)


@pytest.fixture
def clock_options() -> dict[str, Any]:
    return {"auto_advance": True, "hard_timeout": 60}


def test_siblings_that_crash_at_once_are_each_restarted_once(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R52: n crashes are n restarts, each child once, and no give-up."""
    ids = [f"k{n}" for n in range(40)]
    with ours.grow(ids, intensity=40) as tree:
        for each in ids:
            tree.ref(each).tell(boom)
        clock.settle()

        assert {child.incarnation for child in tree.which_children()} == {2}
        assert {child.state for child in tree.which_children()} == {"running"}


@pytest.mark.concurrent
@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
@pytest.mark.parametrize("part", PARTS)
def test_chaos_conserves_every_message(
    clock: VirtualClock, clock_seed: int | None, part: int, strategy: str
) -> None:
    """R7, R6, R52, R78: whatever fails, hangs, restarts and stops, and in any order."""
    run = ChaosRun(clock, random.Random(f"{part} of {clock_seed}"), strategy)

    check(run, run.live())


@pytest.mark.real
def test_chaos_in_real_time_conserves_every_message() -> None:
    """R7, R60: the same on real threads, which may be interrupted."""
    run = ChaosRun(SYSTEM_CLOCK, random.Random(9), "one_for_one", unit=0.02)

    check(run, run.live())
