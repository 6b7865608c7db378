"""Strategies that break their contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors.testing import Strategy, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actors.testing.strategies import Runnable


class Broken(Strategy):
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def choose(self, runnable: Sequence[Runnable], current: Runnable | None) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def __repr__(self) -> str:
        return "Broken()"


class Outcome(BaseException):
    """As pytest.fail() raises."""


@pytest.mark.parametrize("preempt", ["block", "send"])
@pytest.mark.parametrize("answer", [None, 0.5, "first", -1, 99, Outcome("no")])
def test_strategy_that_answers_nonsense_fails_the_test_alone(
    answer: Any, preempt: Any
) -> None:
    ended: list[int] = []
    kind = Outcome if isinstance(answer, Outcome) else IndexError

    def work(number: int) -> None:
        clock.sleep(1)
        ended.append(number)

    with (
        pytest.raises(kind, match=r"no|Broken\(\) chose .* of \d runnable threads"),
        VirtualClock(strategy=Broken(answer), preempt=preempt) as clock,
    ):
        threads = [clock.thread(work, args=[number]) for number in range(3)]
        for thread in threads:
            thread.start()
        clock.advance(2)

    assert sorted(ended) in ([], [0, 1, 2])
