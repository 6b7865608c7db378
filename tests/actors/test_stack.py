"""The stack of another thread, as text."""

from __future__ import annotations

import tempfile
import threading
import traceback
from typing import TYPE_CHECKING, Any

from actors._stack import stack_of
from actors.testing import Gate, VirtualClock

if TYPE_CHECKING:
    import pytest


def test_stack_is_what_format_stack_says() -> None:
    expected, got = traceback.format_stack(), stack_of(threading.get_ident())

    # Without the last one: the two calls stand on the same line, the rest may be deep.
    assert "".join(expected[-10:-1]) in got
    assert "in test_stack_is_what_format_stack_says" in got


def test_stack_of_a_waiting_thread_ends_where_it_waits() -> None:
    with VirtualClock() as clock:
        gate = Gate()
        thread = clock.thread(gate.pass_through)
        thread.start()
        gate.wait_arrived()
        clock.settle()

        stack = stack_of(thread.ident)

        assert "in pass_through" in stack
        assert "self._changed.wait_for(" in stack
        assert stack.index("in run\n") < stack.index("in pass_through")
        gate.open()
        clock.join(thread)
        assert "ended" in stack_of(None)


def test_no_place_for_a_file_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)

    assert "no space left" in stack_of(threading.get_ident())


def test_only_the_innermost_frames_of_a_deep_stack_are_kept() -> None:
    def deep(depth: int) -> str:
        return deep(depth - 1) if depth else stack_of(threading.get_ident())

    assert 90 < deep(150).count(" in deep\n") < 150
