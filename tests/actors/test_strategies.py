"""Who goes on next: each strategy against a list, without a thread."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from actors.testing import (
    FIFO,
    PCT,
    RandomChoice,
    Replay,
    ReplayDiverged,
    Strategy,
    VirtualClock,
)
from actors.testing.strategies import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class FakeThread(NamedTuple):
    path: tuple[int, ...]

    @property
    def label(self) -> str:
        return f"thread@{'.'.join(map(str, self.path))}"


THREADS = [FakeThread((0, n)) for n in range(3)]


def chosen(strategy: Strategy, times: int, among: Sequence[Any] = THREADS) -> list[int]:
    return [strategy.choose(among, None) for _ in range(times)]


@pytest.mark.parametrize("make", [RandomChoice, PCT])
def test_same_seed_makes_the_same_choices(make: Callable[[int], Strategy]) -> None:
    runs = {tuple(chosen(make(7), 100)) for _ in range(3)}

    assert len(runs) == 1


def test_choices_of_a_seed_never_change() -> None:
    # A replayed seed must mean the same on each Python, and after an update.
    assert chosen(RandomChoice(7), 12) == [2, 1, 1, 2, 2, 0, 2, 0, 1, 0, 0, 2]
    assert chosen(PCT(1, depth=3, steps=8), 8) == [0, 0, 0, 2, 1, 1, 1, 1]


@pytest.mark.parametrize("make", [RandomChoice, PCT])
def test_different_seeds_make_different_choices(
    make: Callable[[int], Strategy],
) -> None:
    assert len({tuple(chosen(make(seed), 30)) for seed in range(50)}) > 2


def test_random_choice_gives_everybody_a_fair_share() -> None:
    shares = Counter(chosen(RandomChoice(1), 3000))

    assert all(900 < shares[n] < 1100 for n in range(3))


def test_stay_lets_the_running_thread_go_on() -> None:
    strategy = RandomChoice(1, stay=0.9)
    stayed = [strategy.choose(THREADS, THREADS[1]) for _ in range(1000)].count(1)

    assert 900 < stayed < 970
    assert {strategy.choose(THREADS, None) for _ in range(100)} == {0, 1, 2}


def test_priorities_let_one_run_until_a_fall() -> None:
    falls = set()
    for seed in range(100):
        choices = chosen(PCT(seed, depth=2, steps=20), 40)
        changes = [n for n in range(1, 40) if choices[n] != choices[n - 1]]
        assert len(changes) <= 1
        falls.update(changes)

    assert falls <= set(range(20))
    assert len(falls) > 10


def test_depth_one_has_no_fall() -> None:
    for seed in range(20):
        assert len(set(chosen(PCT(seed, depth=1), 500))) == 1


def test_who_fell_is_behind_newcomers() -> None:
    for seed in range(20):
        strategy = PCT(seed, depth=2, steps=1)
        first = strategy.choose(THREADS[:2], None)  # the other one fell
        fallen = THREADS[1 - first]

        assert strategy.choose([fallen, THREADS[2]], None) == 1


def test_more_falls_than_steps_are_cut() -> None:
    assert len(chosen(PCT(0, depth=10, steps=2), 10)) == 10


def test_poller_falls_behind_all_others() -> None:
    for seed in range(20):
        strategy = PCT(seed, depth=3, steps=2)
        for _ in range(4):
            poller = THREADS[strategy.choose(THREADS, None)]
            strategy.yielded(poller)

            assert THREADS[strategy.choose(THREADS, None)] is not poller


def test_two_pollers_take_turns() -> None:
    strategy = PCT(0, depth=1)
    seen = []
    for _ in range(6):
        index = strategy.choose(THREADS[:2], None)
        strategy.yielded(THREADS[index])
        seen.append(index)

    assert seen in ([0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0])


def test_priorities_end_before_they_starve_anybody_for_ever() -> None:
    strategy = PCT(0, depth=1)
    chosen(strategy, 20_000)

    assert len(set(chosen(strategy, 100))) == 3


@pytest.mark.parametrize(
    ("options", "name"), [({"depth": 0}, "depth"), ({"steps": 0}, "steps")]
)
def test_bad_numbers_are_named(options: dict[str, int], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        PCT(0, **options)


def test_bad_stay_is_named() -> None:
    with pytest.raises(ValueError, match="stay is a probability from 0 to 1, got 2"):
        RandomChoice(0, stay=2)


def test_first_come_is_first_served() -> None:
    assert chosen(FIFO(), 5) == [0] * 5


def test_replay_makes_the_recorded_choices() -> None:
    strategy = Replay([(2, 3), (0, 3), (1, 2)])

    assert strategy.left == 3
    assert chosen(strategy, 2) == [2, 0]
    assert strategy.choose(THREADS[:2], None) == 1
    assert strategy.left == 0


def test_replay_says_where_the_run_is_another() -> None:
    strategy = Replay([(0, 3), (0, 2)])
    chosen(strategy, 1)

    with pytest.raises(ReplayDiverged) as caught:
        strategy.choose(THREADS, None)

    assert "at choice 1 the recording had 2 threads" in str(caught.value)
    assert "3 could go on (thread@0.0, thread@0.1, thread@0.2)" in str(caught.value)


def test_replay_says_that_the_recording_ended() -> None:
    with pytest.raises(ReplayDiverged, match="at choice 0 the recording ends here"):
        Replay([]).choose(THREADS, None)


def test_loose_replay_makes_the_best_of_it() -> None:
    strategy = Replay([(2, 3)], strict=False)

    assert strategy.choose(THREADS[:2], None) == 1
    assert strategy.choose(THREADS, None) == 0


@pytest.mark.parametrize("choice", [(2, 2), (-1, 2), (0, 0)])
def test_replay_refuses_what_is_no_choice(choice: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"a choice is \(index, of how many\)"):
        Replay([choice])


def test_strategies_can_be_told_apart_in_a_story() -> None:
    assert repr(RandomChoice(7)) == "RandomChoice(7)"
    assert repr(RandomChoice(7, stay=0.5)) == "RandomChoice(7, stay=0.5)"
    assert repr(PCT(7, depth=2, steps=50)) == "PCT(7, depth=2, steps=50)"
    assert repr(FIFO()) == "FIFO()"
    assert repr(Replay([(0, 2)])) == "Replay(<1 choices>)"
    assert repr(Replay([], strict=False)) == "Replay(<0 choices>, strict=False)"


def test_plan_depends_on_the_seed_alone() -> None:
    for seed in range(50):
        first, second = plan(seed), plan(seed)

        assert repr(first) == repr(second)
        assert chosen(first[0], 50) == chosen(second[0], 50)


def test_plan_alternates_strategies_and_preemption() -> None:
    kinds = {(type(strategy), preempt) for strategy, preempt in map(plan, range(12))}

    assert kinds == {
        (RandomChoice, "block"),
        (RandomChoice, "send"),
        (PCT, "block"),
        (PCT, "send"),
    }


def test_a_strategy_of_ones_own_orders_threads() -> None:
    class LastFirst(Strategy):
        def choose(self, runnable: Sequence[Any], current: Any) -> int:
            return len(runnable) - 1

    order: list[str] = []
    with VirtualClock(strategy=LastFirst()) as clock:
        for name in "abc":
            clock.thread(order.append, args=(name,)).start()
        clock.settle()

    assert order == ["c", "b", "a"]
