"""Listeners are told each event in order, and cannot hurt the code that emits."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from actors.events import ChildStarted, Listeners

if TYPE_CHECKING:
    import pytest

EVENT = ChildStarted("tree", "kid", 1)


def test_listeners_are_told_in_the_order_they_were_added() -> None:
    seen: list[object] = []
    listeners = Listeners(lambda event: seen.append(("first", event)))
    listeners.add(lambda event: seen.append(("second", event)))

    listeners.emit(EVENT)

    assert seen == [("first", EVENT), ("second", EVENT)]


def test_listeners_are_false_while_there_are_none() -> None:
    listeners = Listeners()
    assert not listeners

    remove = listeners.add(print)
    assert listeners

    remove()
    remove()
    assert not listeners


def test_removing_one_of_two_equal_listeners_leaves_the_other() -> None:
    seen: list[object] = []
    listeners = Listeners()
    remove = listeners.add(seen.append)
    listeners.add(seen.append)

    remove()
    listeners.emit(EVENT)

    assert seen == [EVENT]


def test_raising_listener_is_logged_once_and_stops_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[object] = []
    listeners = Listeners(lambda event: 1 / 0, seen.append)

    with caplog.at_level(logging.ERROR, "headrace.events"):
        listeners.emit(EVENT)
        listeners.emit(EVENT)

    assert seen == [EVENT, EVENT]
    assert len(caplog.records) == 1


def test_log_that_raises_too_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    listeners = Listeners(lambda event: 1 / 0, seen.append)
    monkeypatch.setattr(logging.Logger, "handle", lambda *_args: 1 / 0)

    listeners.emit(EVENT)

    assert seen == [EVENT]


def test_events_are_told_apart_by_their_class() -> None:
    match EVENT:
        case ChildStarted(supervisor="tree", child=child):
            assert child == "kid"
