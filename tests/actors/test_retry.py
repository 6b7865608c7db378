"""When a failed attempt is tried again: a pure decision, tested as a table."""

from __future__ import annotations

import random

import pytest

from actors.errors import ConfigurationError, JobTimeout, WorkerDied
from actors.retry import PROGRAMMING_ERRORS, RetryPolicy

RNG = random.Random(0)


def delays(policy: RetryPolicy, n: int) -> list[float]:
    return [policy.delay(i, RNG) for i in range(1, n + 1)]


def test_delays_double_up_to_the_maximum_without_jitter() -> None:
    policy = RetryPolicy(initial=1.0, factor=2.0, maximum=5.0, jitter=None)

    assert delays(policy, 5) == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_full_jitter_stays_between_zero_and_the_exponential_delay() -> None:
    policy = RetryPolicy(initial=1.0, factor=2.0, maximum=5.0)

    drawn = [delays(policy, 4) for _ in range(200)]

    for each in drawn:
        assert all(0 <= d <= c for d, c in zip(each, [1, 2, 4, 5], strict=True))
    assert max(each[3] for each in drawn) > 4
    assert min(each[3] for each in drawn) < 1


def test_the_same_seed_draws_the_same_delays() -> None:
    policy = RetryPolicy()

    first = [policy.delay(i, random.Random(7)) for i in range(1, 5)]
    again = [policy.delay(i, random.Random(7)) for i in range(1, 5)]

    assert first == again


def test_a_huge_retry_number_does_not_overflow() -> None:
    policy = RetryPolicy(10**6, jitter=None)

    assert policy.delay(10**6, RNG) == 30.0


def test_a_zero_initial_delay_retries_at_once() -> None:
    assert RetryPolicy(initial=0, jitter=None).delay(5, RNG) == 0.0


def test_three_retries_are_at_most_four_runs() -> None:
    policy = RetryPolicy(jitter=None)
    error = ValueError("x")

    decided = [policy.next_delay(n, error, 0.0, RNG) for n in range(1, 6)]

    assert decided == [0.1, 0.2, 0.4, None, None]


@pytest.mark.parametrize("cls", PROGRAMMING_ERRORS)
def test_programming_errors_are_not_retried(cls: type[BaseException]) -> None:
    assert RetryPolicy().next_delay(1, cls("x"), 0.0, RNG) is None


@pytest.mark.parametrize("cls", [OSError, ValueError, ConnectionError, JobTimeout])
def test_other_errors_are_retried(cls: type[BaseException]) -> None:
    assert RetryPolicy().retries(cls("x"))


def test_a_dead_worker_is_retried() -> None:
    assert RetryPolicy().retries(WorkerDied("x", -9))


class Special(FileNotFoundError):
    pass


@pytest.mark.parametrize(
    ("retry_on", "never_on", "error", "retried"),
    [
        (FileNotFoundError, (), FileNotFoundError(), True),
        ((Exception,), (OSError,), FileNotFoundError(), False),
        ((FileNotFoundError,), (OSError,), FileNotFoundError(), True),
        ((FileNotFoundError,), (OSError,), ConnectionError(), False),
        ((OSError,), (Special,), Special(), False),
        ((OSError,), (OSError,), OSError(), False),
        ((KeyError,), (), ValueError(), False),
    ],
)
def test_the_most_specific_class_wins_and_never_on_wins_a_tie(
    retry_on: type[BaseException],
    never_on: type[BaseException],
    error: BaseException,
    retried: bool,
) -> None:
    policy = RetryPolicy(retry_on=retry_on, never_on=never_on)

    assert policy.retries(error) is retried


def test_no_retry_starts_after_max_elapsed() -> None:
    policy = RetryPolicy(initial=1.0, jitter=None, max_elapsed=10.0)

    assert policy.next_delay(1, OSError(), 9.0, RNG) == 1.0
    assert policy.next_delay(1, OSError(), 9.5, RNG) is None


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": True}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"initial": -1}, "initial"),
        ({"initial": float("nan")}, "initial"),
        ({"factor": 0.5}, "factor"),
        ({"maximum": "x"}, "maximum"),
        ({"max_elapsed": -1}, "max_elapsed"),
        ({"jitter": "half"}, "jitter"),
        ({"retry_on": 3}, "retry_on"),
        ({"never_on": (ValueError, "x")}, "never_on"),
    ],
)
def test_a_bad_option_is_named(options: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        RetryPolicy(**options)  # type: ignore[arg-type]


def test_equal_options_make_equal_policies() -> None:
    policy, same = RetryPolicy(2, initial=1.0), RetryPolicy(2, initial=1.0)

    assert policy == same
    assert hash(policy) == hash(same)
    assert policy != RetryPolicy(3, initial=1.0)
    assert policy != 2


def test_a_policy_says_what_it_is() -> None:
    assert repr(RetryPolicy(2, jitter=None)) == (
        "RetryPolicy(max_retries=2, initial=0.1, factor=2.0, maximum=30.0, jitter=None)"
    )


def test_a_number_is_a_policy_and_none_stays_none() -> None:
    assert RetryPolicy.of(2) == RetryPolicy(2)
    assert RetryPolicy.of(None) is None
    with pytest.raises(ConfigurationError, match="retry"):
        RetryPolicy.of("three")  # type: ignore[arg-type]
