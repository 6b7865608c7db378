"""What a person reads about a schedule."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from actors import mailbox
from actors.ref import StopMarker
from actors.testing import VirtualClock
from actors.testing.story import Step, StoryLog, render, short

if TYPE_CHECKING:
    from types import CodeType

SECOND = 1_000_000_000


class Deposit(NamedTuple):
    amount: int


class Rude:
    def __repr__(self) -> str:
        raise KeyError("no")


def here() -> tuple[CodeType, int]:
    frame = sys._getframe(1)
    return frame.f_code, frame.f_lineno


def rows(log: StoryLog, limit: int = 60) -> list[str]:
    return log.text(limit).splitlines()[1:]


@pytest.fixture
def log() -> StoryLog:
    return StoryLog()


def test_columns_are_aligned(log: StoryLog) -> None:
    code, line = here()
    log.step(0, "bank@0.1", "", None, 0)
    log.handles(0, "bank@0.1", Deposit(10))
    log.step(SECOND + SECOND // 2, "a long name@0.2", "sleep(1.5)", code, line)

    assert log.text(header="seed 7: FIFO()") == (
        "seed 7: FIFO()\n"
        "     at  who          what                      where\n"
        "    0 s  bank         starts\n"
        "                      handles Deposit(amount=10)\n"
        "  1.5 s  a long name  goes on after sleep(1.5)  "
        f"test_story.py:{line}  code, line = here()"
    )


def test_time_and_name_are_shown_when_they_change(log: StoryLog) -> None:
    for number, (name, now) in enumerate(
        (("a", 0), ("a", 0), ("b", 0), ("a", SECOND)), 1
    ):
        log.handles(now, f"{name}@0.1", number)

    assert rows(log) == [
        "  0 s  a    handles 1",
        "            handles 2",
        "       b    handles 3",
        "  1 s  a    handles 4",
    ]


def test_namesakes_are_shown_with_their_paths(log: StoryLog) -> None:
    for label in ("worker@0.1", "worker@0.2", "bank@0.3"):
        log.step(0, label, "", None, 0)

    assert "worker@0.1" in log.text()
    assert "worker@0.2" in log.text()
    assert "bank@" not in log.text()


def test_equal_steps_in_a_row_are_one_row(log: StoryLog) -> None:
    code, line = here()
    for _ in range(3):
        log.step(0, "poller@0.1", "goes on", code, line)

    (row,) = rows(log)

    assert "goes on, 3 times" in row


def test_turn_of_an_actor_is_left_out_before_its_message(log: StoryLog) -> None:
    code = mailbox.Mailbox.put.__code__
    log.step(0, "bank@0.1", "queue.get()", code, code.co_firstlineno)
    log.handles(0, "bank@0.1", "read")
    log.step(0, "bank@0.1", "queue.get()", code, code.co_firstlineno)

    assert rows(log) == [
        "  0 s  bank  handles 'read'",
        "             goes on in Mailbox.put",
    ]


def test_equal_messages_in_a_row_are_one_row(log: StoryLog) -> None:
    for _ in range(12):
        log.handles(0, "bank@0.1", "one more")

    assert rows(log) == ["  0 s  bank  handles 'one more', 12 times"]


@pytest.mark.parametrize("names", ["ab", "abc"])
def test_rows_that_come_again_and_again_are_shown_once(
    log: StoryLog, names: str
) -> None:
    for name in names * 9 + "d":
        log.handles(0, f"{name}@0.{name}", "work")

    shown = rows(log)

    assert len(shown) == len(names) + 2
    assert shown[-2].endswith(f"-- the same {len(names)} rows, 8 times more")
    assert shown[-1] == "  0 s  d    handles 'work'"


def test_rows_that_come_twice_are_shown_twice(log: StoryLog) -> None:
    for name in "abab":
        log.handles(0, f"{name}@0.{name}", "work")

    assert len(rows(log)) == 4


def test_lines_are_joined_across_a_comprehension(log: StoryLog) -> None:
    codes = [here(), *[here() for _ in "a"]]
    for code, line in codes:
        log.step(0, "poller@0.1", "goes on", code, line)

    assert "goes on, 2 times" in log.text()


def test_control_messages_are_told_apart(log: StoryLog) -> None:
    log.handles(0, "bank@0.1", "stop", control=True)

    assert "handles control 'stop'" in log.text()


def test_order_to_stop_is_in_words(log: StoryLog) -> None:
    log.handles(0, "bank@0.1", StopMarker(), control=True)

    assert rows(log) == ["  0 s  bank  is asked to stop"]


def test_turns_inside_the_library_are_left_out_of_a_long_story(log: StoryLog) -> None:
    code = mailbox.Mailbox.put.__code__
    for number in range(8):
        log.handles(0, "bank@0.1", number)
        log.step(0, "other@0.2", "queue.get()", code, code.co_firstlineno)

    assert len(rows(log, limit=16)) == 16
    assert rows(log, limit=8)[-1] == "  -- 8 steps inside the library left out"
    assert not any("Mailbox.put" in row for row in rows(log, limit=8))


def test_control_messages_are_left_out_before_data(log: StoryLog) -> None:
    for number in range(8):
        log.handles(0, "bank@0.1", number)
        log.handles(0, "bank@0.1", f"control {number}", control=True)

    shown = rows(log, limit=8)

    assert len(shown) == 9
    assert not any("control" in row for row in shown)


def test_faults_are_shown_even_in_the_middle(log: StoryLog) -> None:
    for number in range(100):
        log.handles(0, "bank@0.1", number)
        if number in (50, 60):
            log.fault(0, "bank@0.1", f"crashed before {number}")

    shown = rows(log, limit=8)

    assert [row for row in shown if row.startswith("!")] == [
        "! 0 s  bank  fault: crashed before 50",
        "! 0 s  bank  fault: crashed before 60",
    ]
    assert sum("left out" in row for row in shown) == 3


def test_fault_is_marked_in_the_first_column(log: StoryLog) -> None:
    log.handles(0, "bank@0.1", "read")
    log.fault(0, "bank@0.1", "delayed by 0.500 s")

    assert rows(log)[1].startswith("!")
    assert rows(log)[1].endswith("  fault: delayed by 0.500 s")


def test_middle_of_a_long_story_is_left_out(log: StoryLog) -> None:
    for number in range(50):
        log.handles(0, "bank@0.1", number)

    shown = rows(log, limit=8)

    assert [row.split()[-1] for row in shown if "handles" in row] == [
        *"01",
        *("44", "45", "46", "47", "48", "49"),
    ]
    assert shown[2].endswith("-- 42 steps left out")
    assert "bank" in shown[3]  # after a gap the name is shown again


def test_left_out_steps_are_counted_before_they_are_joined(log: StoryLog) -> None:
    code, line = here()
    for number in range(10):
        for _ in range(5):
            log.step(0, f"poller@0.{number}", "goes on", code, line)

    assert "-- 40 steps left out" in log.text(limit=2)


def test_log_keeps_the_first_and_the_last_steps_alone() -> None:
    log = StoryLog(first=2, last=3)
    for number in range(100):
        log.handles(0, "bank@0.1", number)

    assert log.count == 100
    assert [row.split()[-1] for row in rows(log) if "handles" in row] == [
        *("0", "1", "97", "98", "99")
    ]
    assert "-- 95 steps left out" in log.text()


def test_nothing_is_a_story_too(log: StoryLog) -> None:
    assert log.text(header="seed 0") == "seed 0\n  nothing happened"


def test_source_that_is_gone_is_named_by_its_function() -> None:
    namespace: dict[str, Any] = {}
    exec(compile("def gone(): pass", "<gone>", "exec"), namespace)

    text = render([Step(0, "a@0", "sleep(1)", namespace["gone"].__code__, 1)])

    assert text.endswith("goes on after sleep(1)  <gone>:1  gone")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Deposit(3), "Deposit(amount=3)"),
        (("read", 1), "('read', 1)"),
        (object(), "<object object>"),
        ("two\nlines", "'two\\nlines'"),
        (list(range(100)), "[0, 1, 2, 3, ...]"),
        (Rude(), "<Rude, whose repr raises KeyError>"),
    ],
)
def test_messages_are_short_and_without_addresses(message: Any, text: str) -> None:
    assert short(message) == text


def test_huge_messages_are_cut() -> None:
    assert len(short("x" * 10_000)) <= 80
    assert len(short({str(n): "y" * 1000 for n in range(1000)})) <= 80
    assert short(Deposit, 10).endswith("...")


def test_story_of_a_clock_has_seed_strategy_and_turns() -> None:
    with VirtualClock(seed=3, auto_advance=True) as clock:
        thread = clock.thread(lambda: clock.sleep(2), name="sleeper")
        thread.start()
        thread.join()

    story = clock.story()

    assert story.startswith("seed 3: RandomChoice(3), preempt='block'\n")
    assert "sleeper" in story
    assert "goes on after sleep(2)" in story
    assert "thread.join()" in story


def test_error_that_leaves_the_clock_has_the_story_as_a_note() -> None:
    with pytest.raises(KeyError) as caught, VirtualClock(seed=3):
        raise KeyError(1)

    assert caught.value.__notes__[0].startswith("seed 3: RandomChoice(3)")
