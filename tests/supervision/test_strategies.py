"""The pure decisions: affected children, deciders, the restart window, backoff."""

from __future__ import annotations

import logging
import math
import random
from typing import Any

import pytest

from actors.errors import ConfigurationError
from supervision.strategies import (
    Backoff,
    Decider,
    Directive,
    RestartWindow,
    Strategy,
    decide,
    intensity_needed,
)


@pytest.mark.parametrize(
    ("strategy", "failed", "affected"),
    [
        ("one_for_one", "b", "b"),
        ("rest_for_one", "a", "abc"),
        ("rest_for_one", "b", "bc"),
        ("rest_for_one", "c", "c"),
        ("one_for_all", "b", "abc"),
    ],
)
def test_strategy_says_whom_a_failure_affects(
    strategy: str, failed: str, affected: str
) -> None:
    """R39: one_for_one, rest_for_one and one_for_all as OTP has them."""
    assert Strategy(strategy).affected(list("abc"), failed) == list(affected)


# -- deciders


class Fault(Exception):
    pass


class DiskFault(Fault):
    pass


class FullDisk(DiskFault, OSError):
    pass


BY_CLASS: Decider = {
    Fault: "stop",
    DiskFault: "resume",
    OSError: "escalate",
    LookupError: "restart",
}


@pytest.mark.parametrize(
    ("error", "directive"),
    [
        (Fault(), "stop"),
        (DiskFault(), "resume"),
        (FullDisk(), "resume"),  # the first of its bases, as attributes are found
        (FileNotFoundError(), "escalate"),
        (KeyError(), "restart"),
        (ValueError(), "restart"),
        (ExceptionGroup("several", [Fault()]), "restart"),
    ],
)
def test_the_most_specific_class_of_a_mapping_wins(
    error: Exception, directive: str
) -> None:
    """R49: a decider maps the type of the error; what is not in it restarts."""
    assert decide(BY_CLASS, error, child="kid") == directive


def test_exception_in_a_mapping_stands_for_any_other() -> None:
    """R49: so a default is written."""
    decider: Decider = {Exception: "escalate", ValueError: "resume"}

    assert decide(decider, KeyError(), child="kid") == "escalate"
    assert decide(decider, UnicodeError(), child="kid") == "resume"


def test_an_empty_mapping_restarts() -> None:
    """R49: as no decider does."""
    assert decide({}, KeyError(), child="kid") == "restart"


@pytest.mark.parametrize("directive", ["restart", "resume", "stop", "escalate"])
def test_a_function_is_asked_about_the_error_itself(directive: Directive) -> None:
    """R49: what a class cannot tell, a function can."""
    error, asked = OSError(28, "no space left"), []

    def decider(error: Exception) -> Directive:
        asked.append(error)
        return directive

    assert decide(decider, error, child="kid") == directive
    assert asked == [error]


def test_a_function_without_a_word_restarts(caplog: pytest.LogCaptureFixture) -> None:
    """R49: as a mapping without the class does, and as quietly."""

    def decider(error: Exception) -> Directive | None:
        if isinstance(error, KeyError):
            return "stop"
        return None

    assert decide(decider, ValueError(), child="kid") == "restart"
    assert caplog.records == []


def test_a_function_that_raises_restarts_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R49: a decider's own error must not decide about the tree."""

    def decider(error: Exception) -> Directive:
        raise LookupError("my bug")

    assert decide(decider, ValueError("x"), child="kid") == "restart"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "decider raised when it was asked about ValueError('x')" in record.message
    assert "child 'kid'; what the child's spec says is done" in record.message
    assert "LookupError: my bug" in caplog.text


@pytest.mark.parametrize("answer", ["reload", 3, True, "", [], b"stop", Strategy])
def test_a_function_that_answers_nonsense_restarts_and_is_logged(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """R49: only a directive is obeyed."""
    assert decide(lambda error: answer, ValueError("x"), child="kid") == "restart"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"answered {answer!r}" in record.message
    assert "have it return 'restart' or 'resume' or 'stop' or 'esc" in record.message


def test_a_base_exception_of_a_function_is_not_swallowed() -> None:
    """R69: who presses Ctrl-C while a decider runs means the tree."""

    def decider(error: Exception) -> Directive:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decide(decider, ValueError(), child="kid")


# -- the restart window


@pytest.mark.parametrize(
    ("intensity", "moments", "allowed"),
    [
        (2, [0, 0, 0], [True, True, False]),
        (2, [0, 1, 6.1, 6.2], [True, True, True, True]),
        (2, [0, 1, 6.1, 6.2, 6.3], [True, True, True, True, False]),
        (0, [0], [False]),
        (1, [0, 5], [True, False]),  # one exactly as old as the period counts
        (1, [0, 5.001], [True, True]),
        (1, [0.1, 5.1], [True, False]),
    ],
)
def test_restart_window_slides(
    intensity: int, moments: list[float], allowed: list[bool]
) -> None:
    """R42: more than ``intensity`` within ``period``; 0 is one too many at once."""
    window = RestartWindow(intensity, 5.0)

    assert [window.note(moment) for moment in moments] == allowed


def test_restart_window_says_how_much_is_used() -> None:
    window = RestartWindow(3, 5.0)
    window.note(0.0)
    window.note(4.0)

    assert [window.used(now) for now in (4.0, 5.0, 5.5, 9.5)] == [2, 2, 1, 0]


# -- backoff


@pytest.mark.parametrize(
    ("options", "delays"),
    [
        ({"initial": 1, "maximum": 4}, [0, 1, 2, 4, 4]),
        ({"initial": 1, "maximum": 4, "first_immediate": False}, [1, 2, 4, 4]),
        ({"initial": 2, "factor": 1, "maximum": 9}, [0, 2, 2, 2]),
        ({"initial": 1, "factor": 3, "maximum": 10}, [0, 1, 3, 9, 10]),
    ],
)
def test_backoff_grows_by_the_formula_up_to_its_maximum(
    options: dict[str, Any], delays: list[float]
) -> None:
    """R44: first 0, then initial * factor**n, at most the maximum."""
    backoff = Backoff(**options)

    assert [backoff.delay(n) for n in range(len(delays))] == delays


def test_backoff_jitter_lengthens_by_its_fraction_and_is_capped_last() -> None:
    """R44: min(max, min * factor**n * (1 + U(0, jitter))), the cap last."""
    backoff = Backoff(initial=1, maximum=4, jitter=0.5, first_immediate=False)
    same = random.Random(7)
    expected = [min(4.0, 2**n * (1 + same.random() * 0.5)) for n in range(5)]

    rng = random.Random(7)
    delays = [backoff.delay(n, rng) for n in range(5)]

    assert delays == expected
    assert max(delays) == 4.0


def test_backoff_of_many_failures_does_not_overflow() -> None:
    """R44: no overflow for large n."""
    assert Backoff(maximum=30).delay(100_000, random.Random(0)) == 30


@pytest.mark.parametrize(
    ("reset_after", "ran", "resets"),
    [(10, 9.9, False), (10, 10, True), (None, 14, False), (None, 15.05, True)],
)
def test_backoff_resets_after_a_long_enough_run(
    reset_after: float | None, ran: float, resets: bool
) -> None:
    """R45: after reset_after seconds of running, by default half initial + maximum."""
    assert Backoff(reset_after=reset_after).resets_after(ran) is resets


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"initial": 0}, "initial"),
        ({"initial": -1}, "initial"),
        ({"initial": math.inf, "maximum": math.inf}, "initial"),
        ({"initial": "0.1"}, "initial"),
        ({"factor": None}, "factor"),
        ({"jitter": True}, "jitter"),
        ({"reset_after": "10"}, "reset_after"),
        ({"factor": 0.5}, "factor"),
        ({"initial": 2, "maximum": 1}, "maximum"),
        ({"jitter": -0.1}, "jitter"),
        ({"reset_after": -1}, "reset_after"),
        ({"initial": float("nan")}, "initial"),
    ],
)
def test_backoff_refuses_what_makes_no_sense(
    options: dict[str, Any], field: str
) -> None:
    """R22: checked when it is made."""
    with pytest.raises(ConfigurationError, match=field):
        Backoff(**options)


@pytest.mark.parametrize(
    ("backoff", "period"),
    [
        (Backoff(), 5.0),
        (Backoff(first_immediate=False), 5.0),
        (Backoff(initial=1, maximum=4), 60.0),
        (Backoff(initial=0.1, factor=1), 5.05),
        (Backoff(initial=30, maximum=30), 5.0),
    ],
)
def test_intensity_needed_is_the_least_that_never_gives_up(
    backoff: Backoff, period: float
) -> None:
    needed = intensity_needed(backoff, period)

    assert survives(backoff, needed, period)
    assert not survives(backoff, needed - 1, period)


def survives(backoff: Backoff, intensity: int, period: float) -> bool:
    window, moment = RestartWindow(intensity, period), 0.0
    for failures in range(300):
        if not window.note(moment):
            return False
        moment += backoff.delay(failures)
    return True
