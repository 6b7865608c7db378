"""Numbers for names: on and on in real time, from the beginning with each other clock.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

import gc
import weakref

from actors import Actor, Numbers
from actors.clock import SYSTEM_CLOCK, SystemClock
from actors.testing import VirtualClock


def test_real_time_has_one_series_for_all_its_clocks() -> None:
    numbers = Numbers(1)

    assert [numbers.next_for(SYSTEM_CLOCK) for _ in range(2)] == [1, 2]
    assert numbers.next_for(SystemClock()) == 3


def test_each_virtual_clock_has_a_series_of_its_own() -> None:
    numbers, one, other = Numbers(), VirtualClock(), VirtualClock()

    assert [numbers.next_for(one) for _ in range(3)] == [0, 1, 2]
    assert numbers.next_for(other) == 0
    assert numbers.next_for(one) == 3
    assert numbers.next_for(SYSTEM_CLOCK) == 0


def test_a_clock_is_not_kept_alive_by_its_series() -> None:
    numbers, clock = Numbers(), VirtualClock()
    numbers.next_for(clock)
    gone = weakref.ref(clock)

    del clock
    gc.collect()

    assert gone() is None


class Anonymous(Actor):
    """An actor that nobody names."""


def test_two_runs_on_virtual_clocks_have_the_same_names() -> None:
    schedules = []
    for _ in range(2):
        with VirtualClock(seed=1) as clock:
            refs = [Anonymous.start() for _ in range(3)]
            names = [ref.cell.name for ref in refs]
            for ref in refs:
                ref.stop()
        schedules.append((names, clock.schedule))

    assert schedules[0] == schedules[1]
    assert schedules[0][0] == ["Anonymous-0", "Anonymous-1", "Anonymous-2"]
