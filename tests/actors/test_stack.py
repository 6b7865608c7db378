"""The stack of another thread, and that of an error, as text."""

from __future__ import annotations

import tempfile
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from actors._stack import _texts, error_text, stack_of
from actors.testing import Gate, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable


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


def test_stack_of_a_hosts_code_begins_with_it_and_ends_in_ours() -> None:
    def wait() -> None:
        gate.pass_through()

    with VirtualClock() as clock:
        gate = Gate()
        thread = clock.thread(wait)
        thread.start()
        gate.wait_arrived()
        clock.settle()

        first, *rest = stack_of(thread.ident).splitlines()

        assert first.startswith(f'  File "{__file__}", line ')
        assert first.endswith(", in wait")
        assert any(line.endswith(", in pass_through") for line in rest)
        gate.open()
        clock.join(thread)


def test_no_place_for_a_file_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)

    assert "no space left" in stack_of(threading.get_ident())


def test_only_the_innermost_frames_of_a_deep_stack_are_kept() -> None:
    def deep(depth: int) -> str:
        return deep(depth - 1) if depth else stack_of(threading.get_ident())

    assert 90 < deep(150).count(" in deep\n") < 150


# -- errors


def _raised_at(depth: int, error: Exception) -> Exception:
    def go(depth: int) -> None:
        if depth:
            go(depth - 1)
        raise error

    try:
        go(depth)
    except Exception as caught:  # noqa: BLE001  # any kind is asked about
        return caught
    raise AssertionError


def _chained() -> BaseException:
    try:
        raise KeyError("inner")
    except KeyError as inner:
        return _raised_at(1, ValueError("outer").with_traceback(inner.__traceback__))


def _with_suggestion() -> BaseException:
    counter = 1
    try:
        eval("countr")
    except NameError as error:
        del counter
        return error
    raise AssertionError


def _noted() -> BaseException:
    error = _raised_at(0, ValueError("two\nlines"))
    error.add_note("a note")
    return error


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: _raised_at(3, ValueError("x")),
        lambda: _raised_at(200, RecursionError("deep")),
        lambda: _raised_at(0, SyntaxError("bad", ("f.py", 1, 2, "a b", 1, 3))),
        lambda: _raised_at(0, ExceptionGroup("g", [_raised_at(1, KeyError("k"))])),
        lambda: ValueError("never raised"),
        _chained,
        _noted,
        _with_suggestion,
    ],
)
def test_error_is_told_as_python_tells_it(
    make: Callable[[], BaseException], again: bool
) -> None:
    if again:
        error_text(make())

    error = make()

    assert error_text(error) == "".join(traceback.format_exception(error))


def test_texts_of_many_errors_do_not_pile_up() -> None:
    for number in range(500):
        space: dict[str, Any] = {}
        exec(f"def fail():\n    raise ValueError({number})", space)
        with pytest.raises(ValueError, match=str(number)) as caught:
            space["fail"]()
        assert f"ValueError: {number}" in error_text(caught.value)

    assert len(_texts) <= 100
