from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.clock import SystemClock
from actors.errors import ConfigurationError
from supervision.cli_input import (
    Wakeup,
    json_values,
    open_input,
    read_chunks,
    split_lines,
    text_lines,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    made = Wakeup()
    yield made
    made.close()


@given(st.lists(st.binary(max_size=5).map(lambda b: b.replace(b"\r", b"\n"))))
def test_lines_do_not_depend_on_where_chunks_end(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    expected = whole.split(b"\n")
    if not expected[-1]:
        expected.pop()

    assert list(split_lines(chunks)) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], []),
        ([b"a", b"b"], ["a", "b"]),
        ([b"a\r", b"b"], ["a", "b"]),
        ([b"", b"a"], ["", "a"]),
        (["naïve".encode(), b"\xff.txt"], ["naïve", "\udcff.txt"]),
    ],
)
def test_text_lines_are_given_as_they_are(
    data: list[bytes], expected: list[str]
) -> None:
    assert list(text_lines(data)) == expected


def test_json_lines_give_their_values() -> None:
    lines = [b'\xef\xbb\xbf{"a": 1}', b"", b" [1, 2] \r", b"null", '"naïve"'.encode()]

    values = list(json_values(lines, lambda place, why: None))

    assert values == [{"a": 1}, [1, 2], None, "naïve"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"hello world", "is not JSON: expecting value at column 1: 'hello world'"),
        (b'{"a": }', "is not JSON: expecting value at column 7"),
        (b"{'a': 1}", "is not JSON: expecting property name"),
        (b"1 2", "is not JSON: extra data at column 3"),
        (b'"\xff"', "is not JSON: it is not UTF-8 at byte 2"),
        (b"[" * 100_000, "is not JSON: nested too deeply"),
        (b"9" * 5_000, "is not JSON: "),
        (b"x" * 5_000, "..."),
    ],
)
def test_line_that_is_not_json_is_told_with_its_number(line: bytes, told: str) -> None:
    bad: list[tuple[str, str]] = []

    values = list(json_values([b"1", line, b"3"], lambda *at: bad.append(at)))

    assert values == [1, 3]
    [(place, why)] = bad
    assert place == "line 2"
    assert told in why
    assert len(why) < 250


def test_reading_is_told_to_stop_by_an_exception() -> None:
    class Enough(Exception):
        pass

    def stop(place: str, why: str) -> None:
        raise Enough

    values: list[Any] = []
    with contextlib.suppress(Enough):
        values += json_values([b"oops", b"2"], stop)

    assert values == []


@pytest.mark.real
def test_wake_up_ends_the_wait_for_input(wakeup: Wakeup) -> None:
    clock = SystemClock()
    reading, writing = os.pipe()
    os.write(writing, b"first\n")
    chunks = read_chunks(reading, wakeup)
    assert next(chunks) == b"first\n"

    clock.call_later(0.01, wakeup.set)

    assert list(chunks) == []
    os.close(reading)
    os.close(writing)


def test_wake_up_after_the_end_is_harmless() -> None:
    wakeup = Wakeup()
    wakeup.set()
    wakeup.close()

    wakeup.set()


def test_file_is_read_to_its_end(wakeup: Wakeup, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"ab\n" * 100_000)
    descriptor = open_input(str(path))

    lines = list(split_lines(read_chunks(descriptor, wakeup)))

    os.close(descriptor)
    assert lines == [b"ab"] * 100_000


def test_missing_or_wrong_input_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"-i: cannot read .*no such file"):
        open_input(str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match="is a directory; for the files"):
        open_input(str(tmp_path))
