"""Exploration: finds planted races, tells their story, replays them from the seed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from actors.clock import SYSTEM_CLOCK, ambient_clock
from actors.testing import (
    FIFO,
    PCT,
    Leaked,
    NotDeterministic,
    RandomChoice,
    Replay,
    VirtualClock,
    check_determinism,
    explore,
)
from tests.actors.planted_races import (
    Counter,
    check_then_act,
    lost_on_stop,
    lost_update,
    order_behind_asks,
    order_of_two_sends,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

RACES = [
    order_of_two_sends,
    lost_on_stop,
    lost_update,
    order_behind_asks,
    check_then_act,
]
module: Any = sys.modules[explore.__module__]


class Broken(Exception):
    """What the bodies of these tests fail with."""


def two_threads(clock: VirtualClock) -> list[str]:
    """A body with a few schedules; returns the order of its two threads."""
    order: list[str] = []
    threads = [clock.thread(order.append, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return order


def fails_in_one_order(clock: VirtualClock) -> None:
    if two_threads(clock) == ["b", "a"]:
        raise Broken


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda seed: monkeypatch.setattr(module, "forced_seed", seed)


def failure(body: Callable[[VirtualClock], object], **options: Any) -> BaseException:
    with pytest.raises((AssertionError, Broken)) as caught:
        explore(body, auto_advance=True, **options)
    return caught.value


# -- finding


@pytest.mark.parametrize("race", RACES)
def test_planted_race_is_found_and_found_again_from_its_seed(race: Any) -> None:
    error = failure(race, seeds=1000)

    line = error.__notes__[-1]
    seed = int(line.rpartition("--clock-seed=")[2])
    again = failure(race, seeds=[seed])
    assert again.__notes__[0] == error.__notes__[0]  # the story, to the letter


def test_body_gets_an_entered_clock_and_its_options() -> None:
    seen = []

    def body(clock: VirtualClock) -> None:
        clock.sleep(5)
        seen.append((ambient_clock() is clock, clock.seed, clock.monotonic()))

    explore(body, seeds=3, auto_advance=True)

    assert seen == [(True, 0, 5.0), (True, 1, 5.0), (True, 2, 5.0)]


def test_different_schedules_are_counted() -> None:
    assert explore(two_threads, seeds=50) > 1
    assert explore(lambda clock: clock.settle(), seeds=10) == 1


def test_many_seeds_behave_in_many_ways() -> None:
    assert explore(asked_by_four, seeds=40, auto_advance=True) > 20


def asked_by_four(clock: VirtualClock) -> None:
    counter = Counter.start()
    threads = [clock.thread(counter.ask, name=f"asks-{n}", args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.ask("last") == 5
    counter.stop()


def test_seeds_may_be_given_one_by_one() -> None:
    seen: list[int] = []

    explore(lambda clock: seen.append(clock.seed), seeds=iter([7, 3]))

    assert seen == [7, 3]


def test_no_seed_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="there is no seed to run"):
        explore(two_threads, seeds=0)
    with pytest.raises(ValueError, match="there is no seed to run"):
        explore(two_threads, seeds=[])


def test_strategy_is_made_anew_for_each_seed() -> None:
    seen = []
    explore(
        lambda clock: seen.append(repr(clock.strategy)),
        seeds=2,
        strategy=lambda seed: PCT(seed, depth=2, steps=9),
    )
    explore(lambda clock: seen.append(repr(clock.strategy)), seeds=1, strategy=PCT)

    assert seen[:2] == ["PCT(0, depth=2, steps=9)", "PCT(1, depth=2, steps=9)"]
    assert seen[2].startswith("PCT(0, ")


@pytest.mark.parametrize("strategy", [FIFO(), RandomChoice(1), "PCT"])
def test_strategy_that_is_made_already_is_refused(strategy: Any) -> None:
    with pytest.raises(TypeError, match="give strategy=PCT"):
        explore(two_threads, strategy=strategy)


def a_generator(clock: VirtualClock) -> Iterator[None]:
    yield


async def a_coroutine(clock: VirtualClock) -> None: ...


async def an_asynchronous_generator(clock: VirtualClock) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("body", [a_generator, a_coroutine, an_asynchronous_generator])
def test_body_that_would_not_run_is_refused(
    body: Callable[[VirtualClock], object],
) -> None:
    with pytest.raises(TypeError, match=f"{body.__name__} gives a .*nothing has run"):
        explore(body, seeds=3)


@pytest.mark.parametrize("seeds", ["abc", 3.5, [None], [1.5]])
def test_seeds_that_are_no_numbers_are_refused(seeds: Any) -> None:
    with pytest.raises(TypeError, match=r"integer|iterable"):
        explore(two_threads, seeds=seeds)


def test_preemption_may_be_chosen() -> None:
    seen = set()
    explore(lambda clock: seen.add(clock.preempt), seeds=12, preempt="block")

    assert seen == {"block"}


# -- failing


def test_failure_is_raised_as_it_is_with_its_story() -> None:
    error = failure(fails_in_one_order)

    assert type(error) is Broken
    story, line = error.__notes__
    assert story.startswith("seed ")
    assert "test thread" in story
    assert "python -m pytest" in line


def test_replay_line_names_this_test_under_pytest(
    request: pytest.FixtureRequest,
) -> None:
    def body(clock: VirtualClock) -> None:
        raise Broken

    line = failure(body).__notes__[-1]

    assert line == (
        "failed under seed 0; replay it with\n"
        f'    python -m pytest "{request.node.nodeid}" --clock-seed=0'
    )


@pytest.mark.parametrize("name", ['say "hi"', "$HOME", "`id`", "a\\b"])
def test_replay_line_is_safe_in_a_shell(
    name: str, request: pytest.FixtureRequest
) -> None:
    def body(clock: VirtualClock) -> None:
        raise Broken

    line = failure(body).__notes__[-1].splitlines()[1]

    shell = f'python() {{ printf %s "$3"; }}\n{line}'
    heard = subprocess.run(["sh", "-c", shell], capture_output=True, check=True)
    assert heard.stdout.decode() == request.node.nodeid


def test_replay_line_begins_where_pytest_was_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def body(clock: VirtualClock) -> None:
        # as if the root directory were this file's
        test = f"{Path(__file__).name}::test_it (call)"
        monkeypatch.setenv("PYTEST_CURRENT_TEST", test)
        raise Broken

    start = Path(__file__).parent.parent
    monkeypatch.setattr("actors.testing.exploration._STARTED_IN", str(start))
    line = failure(body).__notes__[-1]

    assert '"actors/test_explore.py::test_it"' in line


def test_replay_line_is_a_call_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(clock: VirtualClock) -> None:
        if clock.seed == 3:
            # pytest sets it again at each of its steps, so not before
            monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
            raise Broken

    line = failure(body, preempt="send", strategy=PCT).__notes__[-1]

    assert line == (
        "failed under seed 3 after 3 that passed; replay it with\n"
        "    explore(body, seeds=[3], auto_advance=True, preempt='send', strategy=PCT)"
    )


def test_error_of_the_clocks_end_has_its_story_too() -> None:
    def body(clock: VirtualClock) -> None:
        clock.thread(clock.event().wait, name="left").start()

    with pytest.raises(Leaked) as caught:
        explore(body)

    story, line = caught.value.__notes__
    assert "left" in story
    assert "--clock-seed=0" in line


def test_pytest_fail_is_a_failure() -> None:
    with pytest.raises(pytest.fail.Exception) as caught:
        explore(lambda clock: pytest.fail("no"))

    assert "--clock-seed=0" in caught.value.__notes__[-1]


def test_pytest_skip_is_let_through_at_once() -> None:
    calls = []

    def body(clock: VirtualClock) -> None:
        calls.append(1)
        pytest.skip("not here")

    with pytest.raises(pytest.skip.Exception):
        explore(body)

    assert calls == [1]


def test_failure_that_does_not_come_again_is_told() -> None:
    calls = []

    def body(clock: VirtualClock) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise Broken

    line = failure(body).__notes__[-1]

    assert calls == [1, 1]
    assert "the same choices again did not fail" in line


def test_replay_that_takes_another_way_is_told() -> None:
    calls = []

    def body(clock: VirtualClock) -> None:
        calls.append(1)
        if len(calls) > 1:
            two_threads(clock)
        raise Broken

    line = failure(body).__notes__[-1]

    assert "took another way: the run is not the recorded one: at choice 0" in line


def test_replay_that_fails_otherwise_is_told() -> None:
    calls = []

    def body(clock: VirtualClock) -> None:
        calls.append(1)
        raise Broken if len(calls) == 1 else KeyError(3)

    error = failure(body)

    assert type(error) is Broken
    assert "failed otherwise: KeyError(3)" in error.__notes__[-1]


def test_body_is_called_again_only_after_a_failure() -> None:
    calls: list[VirtualClock] = []

    explore(calls.append, seeds=5)

    assert len(calls) == 5


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_interrupt_goes_through(interrupt: type[BaseException]) -> None:
    calls = []

    def body(clock: VirtualClock) -> None:
        calls.append(1)
        raise interrupt

    with pytest.raises(interrupt):
        explore(body)

    assert calls == [1]


def test_nothing_is_left_behind_by_a_failure() -> None:
    failure(fails_in_one_order)

    assert ambient_clock() is SYSTEM_CLOCK


def test_exploration_inside_an_exploration() -> None:
    def outer(clock: VirtualClock) -> None:
        assert explore(two_threads, seeds=10) > 1
        assert ambient_clock() is clock
        clock.sleep(1)

    assert explore(outer, seeds=2, auto_advance=True) == 1


def test_recorded_choices_replay_the_run() -> None:
    schedules = []
    for seed in range(20):
        with VirtualClock.for_seed(seed, auto_advance=True) as clock:
            asked_by_four(clock)
        with VirtualClock(
            seed=seed,
            strategy=Replay(clock.choices),
            preempt=clock.preempt,
            auto_advance=True,
        ) as second:
            asked_by_four(second)
        assert second.schedule == clock.schedule
        schedules.append(tuple(clock.schedule))

    assert len(set(schedules)) > 10


# -- a seed that is forced


def test_forced_seed_runs_alone(forced: Callable[[int], None]) -> None:
    seen: list[int] = []
    forced(42)

    assert explore(lambda clock: seen.append(clock.seed), seeds=10) == 1
    assert seen == [42]


# -- determinism


def test_same_seed_takes_the_same_way() -> None:
    for seed in range(10):
        check_determinism(asked_by_four, seed=seed, runs=3, auto_advance=True)


def test_names_may_go_on_counting() -> None:
    names = iter(range(100))

    def body(clock: VirtualClock) -> None:
        clock.thread(int, name=f"t-{next(names)}").start()

    check_determinism(body, runs=3)


def test_run_that_keeps_state_is_caught() -> None:
    kept: list[int] = []

    def body(clock: VirtualClock) -> None:
        kept.append(1)
        for _ in kept:
            two_threads(clock)

    with pytest.raises(NotDeterministic) as caught:
        check_determinism(body, seed=5)

    text = str(caught.value)
    assert text.startswith("seed 5 gives different runs: run 1 and run 2 part at step")
    assert "\nrun 1\n" in text
    assert "\nrun 2\n" in text
    assert "thread.join()" in text


def test_run_that_waits_for_another_time_is_caught() -> None:
    waits = iter([1.0, 1.0, 2.0])

    def body(clock: VirtualClock) -> None:
        clock.sleep(next(waits))

    with pytest.raises(NotDeterministic, match="run 1 and run 3 part at step 0"):
        check_determinism(body, runs=3, auto_advance=True)


def test_each_seed_of_an_exploration_can_be_checked() -> None:
    calls: list[int] = []

    def body(clock: VirtualClock) -> None:
        calls.append(clock.seed)
        if len(calls) == 8:
            two_threads(clock)

    with pytest.raises(NotDeterministic):
        explore(body, seeds=10, check_determinism=True)

    assert len(calls) <= 9


def test_one_run_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="runs must be at least 2 to compare, got 1"):
        check_determinism(two_threads, runs=1)
