from __future__ import annotations

import datetime as dt
import decimal
import json
import os
import pathlib
from typing import Any

import pytest

from actors import Attempt, Job, JobOptions, JobResult, JobStatus
from actors.clock import SystemClock
from actors.errors import ConfigurationError
from supervision.cli_output import (
    InOrder,
    JsonLines,
    dead_line,
    open_output,
    plain,
    result_line,
    traceback_of,
)


class Rude:
    def __str__(self) -> str:
        raise RuntimeError


def settled(
    number: int = 7,
    value: Any = "out",
    *,
    error: BaseException | None = None,
    runs: int = 1,
) -> JobResult:
    job = Job(str, "in").numbered(number, JobOptions())
    status = JobStatus.DEAD if error else JobStatus.SUCCEEDED
    attempts = tuple(Attempt(n + 1, "io-worker-0", 0.0, 1.0) for n in range(runs))
    return JobResult(job, status, value, error, attempts, 0.5, 0.00134)


@pytest.mark.parametrize(
    ("ran", "shown"),
    [(0.00134, 1.3), (1.23456, 1234.6), (0.0000312, 0.031), (0.0, 0.0)],
)
def test_milliseconds_have_the_digits_that_say_something(
    ran: float, shown: float
) -> None:
    job = settled().job
    result = JobResult(job, JobStatus.SUCCEEDED, 1, None, (), 0.0, ran)

    assert json.loads(result_line(result, "x"))["ms"] == shown


def test_result_is_one_line_of_json() -> None:
    line = result_line(settled(), "a.txt")

    assert line == (
        b'{"job":7,"ok":true,"in":"a.txt","out":"out","attempts":1,"ms":1.3}\n'
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ((1, 2), [1, 2]),
        ({"a": [1.5, True]}, {"a": [1.5, True]}),
        ("naïve\n\u2028", "naïve\n\u2028"),
        ("\udcff.txt", "\udcff.txt"),
        (b"bytes", "bytes"),
        (b"\xff", "\\xff"),
        ({3}, [3]),
        ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "null": "b", "(1, 2)": "c"}),
        (float("nan"), None),
        ([float("inf"), 1.0], [None, 1.0]),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (decimal.Decimal("1.10"), "1.10"),
        (dt.date(2000, 1, 1), "2000-01-01"),
        pytest.param(10**5_000, hex(10**5_000), id="huge"),
        ([Rude()], ["<Rude that cannot be shown>"]),
    ],
)
def test_any_value_becomes_one_line_of_json(value: Any, expected: Any) -> None:
    line = result_line(settled(value=value), None)

    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert json.loads(line)["out"] == expected


def test_value_that_holds_itself_becomes_text() -> None:
    value: list[Any] = [1]
    value.append(value)

    assert json.loads(result_line(settled(value=value), None))["out"][0] == 1


def test_text_is_written_as_itself_not_escaped() -> None:
    assert '"naïve"'.encode() in result_line(settled(value="naïve"), None)


def test_plain_keeps_what_json_has() -> None:
    value = {"a": [None, True, 1, 1.5, "s"]}

    assert plain(value) == value


@pytest.mark.parametrize(
    ("error", "runs", "expected"),
    [
        (ValueError("boom"), 1, 'dead: job 7 ("a.txt"): ValueError: boom'),
        (
            ValueError("boom"),
            4,
            'dead: job 7 ("a.txt"): ValueError: boom (after 4 runs)',
        ),
        (KeyError("k"), 1, "dead: job 7 (\"a.txt\"): KeyError: 'k'"),
        (ValueError(), 1, 'dead: job 7 ("a.txt"): ValueError'),
        (ValueError("two\nlines"), 1, 'dead: job 7 ("a.txt"): ValueError: two\\nlines'),
        (ValueError("\x1b[2J"), 1, 'dead: job 7 ("a.txt"): ValueError: \\x1b[2J'),
        (
            ValueError(Rude()),
            1,
            'dead: job 7 ("a.txt"): ValueError: <ValueError that cannot be shown>',
        ),
    ],
)
def test_dead_job_is_one_line(error: Exception, runs: int, expected: str) -> None:
    assert dead_line(settled(error=error, runs=runs), "a.txt") == expected


def test_dead_line_stays_short_and_printable() -> None:
    line = dead_line(settled(error=ValueError("x" * 10_000)), {"k": "\udcff" * 10_000})

    assert len(line) < 1_000
    assert line.isprintable()


def test_traceback_shows_where_a_job_failed() -> None:
    try:
        raise ValueError("boom")
    except ValueError as error:
        shown = traceback_of(error)

    assert shown.startswith("Traceback")
    assert shown.endswith("ValueError: boom")
    assert traceback_of(None) == ""


def test_results_are_written_in_the_order_of_their_jobs() -> None:
    written: list[int] = []
    order = InOrder(lambda r: written.append(r.id), window=9, clock=SystemClock())

    for number in (2, 3, 1, 5):
        order.take(settled(number))
    before = list(written)
    order.finish()

    assert before == [1, 2, 3]
    assert written == [1, 2, 3, 5]


def test_window_admits_a_job_for_each_result_written() -> None:
    clock = SystemClock()
    order = InOrder(lambda r: None, window=2, clock=clock)
    admitted = clock.queue()

    def produce() -> None:
        while order.admit():
            admitted.put("job")
        admitted.put("closed")

    producer = clock.thread(produce)
    producer.start()
    assert [admitted.get(timeout=10) for _ in range(2)] == ["job", "job"]
    order.take(settled(2))  # held back: nothing is admitted for it
    assert admitted.empty()
    order.take(settled(1))
    assert [admitted.get(timeout=10) for _ in range(2)] == ["job", "job"]
    order.close()

    assert admitted.get(timeout=10) == "closed"
    assert not order.admit()
    assert clock.join(producer, 10)


def test_lines_are_written_whole_through_a_small_pipe() -> None:
    clock = SystemClock()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    line = b"x" * 300_000 + b"\n"

    def write() -> None:
        JsonLines(writing).write(line)
        os.close(writing)

    writer = clock.thread(write)
    writer.start()
    with open(reading, "rb") as stream:
        assert stream.read() == line
    assert clock.join(writer, 10)


def test_output_file_is_emptied(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")

    os.close(open_output(str(path)))

    assert path.read_text() == ""


def test_output_that_is_the_input_is_refused_untouched(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "both"
    path.write_text("1\n")
    at = path.stat()

    with pytest.raises(ConfigurationError, match="is the input, which it would empty"):
        open_output(str(path), inputs={(at.st_dev, at.st_ino)})

    assert path.read_text() == "1\n"


def test_output_that_cannot_be_written_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigurationError, match=r"-o: cannot write .*is a directory"):
        open_output(str(tmp_path))
    with pytest.raises(ConfigurationError, match="no such file or directory"):
        open_output(str(tmp_path / "missing" / "out"))


def test_device_is_an_output_that_needs_no_emptying() -> None:
    os.close(open_output(os.devnull))
