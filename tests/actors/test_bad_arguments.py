"""Lengths of time that are none are refused before they do anything."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor
from actors.errors import ConfigurationError
from actors.jobs import check_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.testing import VirtualClock

NO_NUMBERS = ["1", math.nan, True, 10**400, [1]]


class Timed(Actor):
    def on_receive(self, message: Any) -> Any:
        return self.schedule(message, "due") if message != "hello" else message


def short(value: object) -> str:
    return repr(value)[:9]


@pytest.mark.parametrize("timeout", NO_NUMBERS, ids=short)
def test_timeout_that_is_no_number_is_refused(
    clock: VirtualClock, timeout: Any
) -> None:
    """R22: also when the mailbox has room, and nothing is sent."""
    ref = Timed.start()
    calls: list[Callable[[], Any]] = [
        lambda: ref.tell("hello", timeout=timeout),
        lambda: ref.ask("hello", timeout=timeout),
        lambda: ref.ask("hello", block=False, timeout=timeout),
        lambda: ref.stop(timeout=timeout),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError) as caught:
            call()
        assert str(caught.value) == (
            "timeout must be a number of seconds, or None for no limit, "
            f"got {timeout!r}"
        )

    assert ref.ask("hello") == "hello"
    ref.stop()


@pytest.mark.parametrize("timeout", [None, 1, 0.5, math.inf])
def test_timeout_that_is_a_number_is_taken(clock: VirtualClock, timeout: Any) -> None:
    """R22."""
    ref = Timed.start()

    ref.tell("hello", timeout=timeout)
    assert ref.ask("hello", timeout=timeout) == "hello"
    assert ref.stop(timeout=timeout)


def test_time_that_has_passed_is_no_time(clock: VirtualClock) -> None:
    """The rest of a deadline may be below 0: what there is room for is still sent."""
    ref = Timed.start()

    ref.tell("hello", timeout=-1)
    assert ref.ask("hello", block=False, timeout=-1).get() == "hello"
    ref.stop()


@pytest.mark.parametrize("delay", [*NO_NUMBERS, None], ids=short)
def test_delay_of_a_timer_is_a_number(clock: VirtualClock, delay: Any) -> None:
    """R22."""
    ref = Timed.start()

    with pytest.raises(ConfigurationError, match="delay must be a number of seconds"):
        ref.ask(delay)
    ref.stop()


@pytest.mark.parametrize("seconds", [*NO_NUMBERS, None], ids=short)
def test_virtual_time_moves_by_numbers(clock: VirtualClock, seconds: Any) -> None:
    """R22."""
    with pytest.raises(ConfigurationError, match="seconds must be a number of seconds"):
        clock.advance(seconds)
    with pytest.raises(ConfigurationError, match="when must be a datetime or a number"):
        clock.advance_to(seconds)
    with pytest.raises(ConfigurationError, match="within must be a number of seconds"):
        clock.run_until(lambda: True, within=seconds)

    assert clock.monotonic() == 0.0


def test_virtual_time_runs_until_a_callable_says_so(clock: VirtualClock) -> None:
    """R22."""
    truth: Any = True

    with pytest.raises(ConfigurationError, match="predicate must be a callable"):
        clock.run_until(truth)


def test_number_beyond_any_float_is_no_time() -> None:
    """R22."""
    with pytest.raises(ConfigurationError, match="delay must be 0 or more seconds"):
        check_seconds("delay", 10**400)
