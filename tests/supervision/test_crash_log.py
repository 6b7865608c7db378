"""What a tree logs: the first failure in full, repeats counted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from actors.events import (
    ChildDown,
    ChildEscalated,
    ChildInterrupted,
    ChildLeftDown,
    ChildRestarted,
    ChildResumed,
    ChildStarted,
    ChildStopped,
    RestartScheduled,
    TreeGaveUp,
)
from supervision.crash_log import CrashLog

if TYPE_CHECKING:
    from actors.testing import VirtualClock

TRACEBACK = "Traceback (most recent call last):\n  ...\nValueError: boom\n"


class Told:
    """A crash log, fed with failures of one child; ``lines`` is what it logged."""

    def __init__(self, clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
        self._log = CrashLog(clock)
        self._caplog = caplog
        self._incarnation = 0
        caplog.set_level(logging.WARNING, "headrace.supervision")

    def fail(
        self,
        error: Exception | None = None,
        *,
        then: str = "restart",
        child: Any = "kid",
    ) -> None:
        self._incarnation += 1
        error = error or ValueError("boom")
        who = ("tree", child, self._incarnation)
        self._log(ChildDown(*who, "failed", error, TRACEBACK))
        if then == "restart":
            self._log(RestartScheduled(*who, 0.2, (child, "b"), 2, 3, 5.0))
        elif then == "give up":
            self._log(TreeGaveUp(*who, 3, 5.0, error))
        elif then == "stay down":
            self._log(ChildLeftDown(*who, 3, 5.0, None, error))
        elif then == "run again":
            self._log(ChildRestarted(*who))
        else:
            self._log(ChildStopped(*who, "failed"))

    def tell(self, event: Any) -> None:
        self._log(event)

    @property
    def lines(self) -> Any:
        return self._caplog.messages


@pytest.fixture
def told(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> Any:
    return Told(clock, caplog)


def test_first_crash_says_what_happened_what_follows_and_where(told: Told) -> None:
    """R92."""
    told.fail()

    assert told.lines == [
        "tree/kid (#1) crashed (ValueError('boom')); restarting with b in 0.2 s, "
        "2 of 3 restarts used in 5 s\n" + TRACEBACK.rstrip()
    ]


def test_repeats_are_counted_and_told_once_in_a_while(
    told: Told, clock: VirtualClock
) -> None:
    """R92."""
    for _ in range(5):
        told.fail()
        clock.advance(1)
    assert len(told.lines) == 1

    clock.advance(6)
    told.fail()

    assert len(told.lines) == 2
    assert "4 more like it since the last line" in told.lines[1]
    assert "Traceback" not in told.lines[1]


def test_another_kind_of_error_is_a_first_one(told: Told) -> None:
    """R92."""
    told.fail()
    told.fail(KeyError("x"))
    told.fail(child="other")

    assert [line.count("Traceback") for line in told.lines] == [1, 1, 1]


def test_after_a_quiet_minute_a_crash_is_a_first_one(
    told: Told, clock: VirtualClock
) -> None:
    """R92."""
    told.fail()
    clock.advance(60)
    told.fail()

    assert [line.count("Traceback") for line in told.lines] == [1, 1]


def test_giving_up_is_always_told_as_an_error(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """R92."""
    told.fail()
    told.fail(then="give up")

    assert "giving up: more than 3 restarts in 5 s" in told.lines[1]
    assert caplog.records[1].levelno == logging.ERROR


def test_failure_without_a_restart_is_told(told: Told) -> None:
    """R92."""
    told.fail(then="stop")

    assert "it is not started again" in told.lines[0]


def test_normal_ends_are_not_told(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    """R92."""
    told.tell(ChildDown("tree", "kid", 1, "shutdown", None, ""))
    told.tell(ChildStopped("tree", "kid", 1, "shutdown"))

    assert told.lines == []


def test_giving_up_says_who_acts_next_and_what_helps(told: Told) -> None:
    """R92: what happened, what happens next, what one can do."""
    told.tell(ChildDown("tree/inner", "kid", 4, "failed", ValueError("boom"), ""))
    told.tell(TreeGaveUp("tree/inner", "kid", 4, 0, 5.0, None))

    [line] = told.lines
    assert line == (
        "tree/inner/kid (#4) crashed (ValueError('boom')); giving up: intensity=0 "
        "allows no restart; all children of tree/inner are stopped, tree decides what "
        "follows. If such failures pass by themselves, a Backoff gives them time and a "
        "higher limit more restarts"
    )


def test_child_left_down_is_an_error_that_says_how_to_start_it(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """R92: always told, with what one can do."""
    told.fail()
    told.fail(then="stay down")

    assert caplog.records[1].levelno == logging.ERROR
    assert told.lines[1] == (
        "tree/kid (#2) crashed (ValueError('boom')); it stays down: more than 3 "
        "restarts in 5 s; the other children go on. When the cause is gone, "
        "restart_child('kid') of tree starts it again"
    )


def test_child_left_down_by_its_own_limit_names_that_limit(told: Told) -> None:
    """R92, R46."""
    error = ValueError("boom")
    told.tell(ChildDown("tree", "kid", 3, "failed", error, ""))
    told.tell(ChildLeftDown("tree", "kid", 3, 3, 5.0, 2, error))

    told.tell(ChildDown("tree", "other", 1, "failed", error, ""))
    told.tell(TreeGaveUp("tree", "other", 1, 3, 5.0, error, 0))

    assert "it stays down: max_restarts=2 in a row are used up;" in told.lines[0]
    assert "giving up: max_restarts=0 in a row are used up;" in told.lines[1]


def test_escalation_says_who_acts_next(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """R92, R49."""
    told.tell(ChildDown("tree", "kid", 1, "failed", ValueError("boom"), ""))
    told.tell(ChildEscalated("tree", "kid", 1, ValueError("boom")))

    assert caplog.records[0].levelno == logging.ERROR
    assert told.lines[0].endswith(
        "; escalated by its decider; all children of tree are stopped, wait() raises "
        "the error"
    )


def test_resumed_failures_are_told_like_crashes(
    told: Told, clock: VirtualClock
) -> None:
    """R92, R49: the first with its traceback, repeats with a count."""
    for number in range(12):
        told.tell(ChildResumed("tree", "kid", 1, KeyError(number), TRACEBACK))
        clock.advance(1)

    first, second = told.lines
    assert first.startswith(
        "tree/kid (#1) failed on a message (KeyError(0)); resumed: it goes on with "
        "the next message, and does not handle this one again\nTraceback"
    )
    assert first.endswith(TRACEBACK.rstrip())
    assert second.endswith("; 9 more like it since the last line")


def test_interruption_says_when_it_cannot_be_seen(told: Told) -> None:
    """R92, R60."""
    told.tell(ChildInterrupted("tree", "kid", 1, "did not stop in time"))

    assert told.lines[0].startswith(
        "tree/kid (#1) did not stop in time; interrupted: Cancelled was raised"
    )


def test_fatal_end_says_who_gets_the_error(
    told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """R92, R69."""
    told.tell(ChildDown("tree", "kid", 1, "fatal", SystemExit(7), TRACEBACK))
    told.tell(ChildStopped("tree", "kid", 1, "fatal"))

    assert caplog.records[0].levelno == logging.ERROR
    assert "SystemExit(7)" in told.lines[0]
    assert "wait() and the end of the with block raise this error" in told.lines[0]


def test_failure_while_its_group_stops_is_told_when_it_runs_again(told: Told) -> None:
    """R92: no failure is lost because another child's came first."""
    told.fail(then="run again")

    assert told.lines[0].startswith(
        "tree/kid (#1) crashed (ValueError('boom')); it runs again, with its group"
    )


def test_many_children_that_fail_alike_are_counted(
    told: Told, clock: VirtualClock
) -> None:
    """R92: 1,000 connections whose server has gone do not flood the log."""
    for number in range(1000):
        told.fail(child=f"connection-{number}")
    assert len(told.lines) == 10
    assert "others that fail alike within 10 s are only counted" in told.lines[9]

    clock.advance(10)
    told.fail(child="another")

    assert "; 990 more children of tree failed alike" in told.lines[10]
    assert told.lines[10].endswith(TRACEBACK.rstrip())


def test_storm_of_children_does_not_hide_another_kind_of_failure(told: Told) -> None:
    """R92."""
    for number in range(100):
        told.fail(child=f"connection-{number}")
    told.fail(KeyError("x"), child="connection-0")
    told.fail(child="connection-1", then="give up")

    assert "KeyError('x')" in told.lines[10]
    assert "giving up" in told.lines[11]


def test_what_is_remembered_of_children_that_come_and_go_is_bounded(told: Told) -> None:
    """R92."""
    for number in range(5000):
        told.fail(child=f"connection-{number}")

    assert len(told._log._repeats) <= 1000
    assert not told._log._downs


def test_restart_of_a_large_group_names_only_some(told: Told) -> None:
    """R92."""
    names = tuple(f"w-{number}" for number in range(30))
    told.tell(ChildDown("tree", "w-0", 1, "failed", ValueError("boom"), ""))
    told.tell(RestartScheduled("tree", "w-0", 1, 0.0, names, 1, 3, 5.0))

    assert "restarting with w-1, w-2, w-3, w-4, w-5 and 24 others now" in told.lines[0]


def test_odd_errors_and_names_are_told_all_the_same(told: Told) -> None:
    """R92: a host's exception that cannot be shown, a long one, a per cent sign."""

    class Unshowable(ValueError):
        def __repr__(self) -> str:
            raise ZeroDivisionError

    told.fail(Unshowable())
    told.fail(KeyError("x" * 5000))
    told.fail(child="100%s", then="stay down")

    assert "(Unshowable, which cannot be shown)" in told.lines[0]
    assert len(told.lines[1].partition("\n")[0]) < 500
    assert "tree/100%s" in told.lines[2]


def test_traceback_that_was_told_before_is_not_told_again(told: Told) -> None:
    """R92: by the nested supervisor that gave up, or when the thread was left."""
    for child, kind in [("inner", "gave_up"), ("kid", "abandoned")]:
        told.tell(ChildDown("tree", child, 1, kind, ValueError("boom"), TRACEBACK))
        told.tell(ChildStopped("tree", child, 1, kind))

    assert told.lines == [
        f"tree/{who} (ValueError('boom')); it is not started again"
        for who in ("inner (#1) gave up", "kid (#1) had to be abandoned")
    ]


def test_limit_that_is_reached_first_is_the_one_that_is_told(told: Told) -> None:
    """R92, R46: max_restarts=2 binds before an intensity of 3, and not before 1."""
    scheduled = RestartScheduled("tree", "kid", 1, 0.0, ("kid",), 1, 3, 5.0, 1, 2)
    for child, event in [
        ("kid", scheduled),
        ("a", scheduled._replace(child="a", intensity=1)),
        ("b", scheduled._replace(child="b", max_restarts=None)),
    ]:
        told.tell(ChildDown("tree", child, 1, "failed", ValueError("boom"), ""))
        told.tell(event)

    assert [line.partition("now, ")[2] for line in told.lines] == [
        "1 of 2 restarts in a row used",
        "1 of 1 restarts used in 5 s",
        "1 of 3 restarts used in 5 s",
    ]


@pytest.mark.parametrize(
    ("needed", "max_restarts", "intensity", "way_out"),
    [
        (8, None, 3, "Its Backoff is cut short: intensity=8 would let it run"),
        (
            2,
            None,
            3,
            (
                "If such failures pass by themselves, a longer Backoff gives them time "
                "and a higher intensity more restarts"
            ),
        ),
        (
            2,
            2,
            3,
            (
                "If such failures pass by themselves, a higher max_restarts gives its "
                "Backoff more time"
            ),
        ),
    ],
)
def test_giving_up_despite_a_backoff_recommends_none(
    told: Told, needed: Any, max_restarts: Any, intensity: Any, way_out: str
) -> None:
    """R92: what one can do, and has not done."""
    error = ValueError("boom")
    told.tell(ChildDown("tree", "kid", 4, "failed", error, ""))
    told.tell(TreeGaveUp("tree", "kid", 4, intensity, 5.0, error, max_restarts, needed))

    assert told.lines[0].endswith(f"wait() raises the error. {way_out}")


@pytest.mark.parametrize(
    ("supervisor", "what_next"),
    [
        (
            "tree",
            (
                "so tree does not start: what runs of it is stopped, start() raises "
                "the error"
            ),
        ),
        (
            "tree/inner",
            (
                "so tree/inner does not start: what runs of it is stopped, tree "
                "decides what follows"
            ),
        ),
    ],
)
def test_child_without_which_the_tree_does_not_start_says_so(
    told: Told, supervisor: str, what_next: str
) -> None:
    """R92."""
    who = (supervisor, "kid", 1)
    told.tell(ChildDown(*who, "start_failed", ValueError("boom"), ""))
    told.tell(ChildStopped(*who, "start_failed", "start_failed", kept=True))

    assert told.lines == [
        f"{supervisor}/kid (#1) did not start (ValueError('boom')); {what_next}"
    ]


def test_failure_while_its_tree_ends_says_why_nothing_follows(told: Told) -> None:
    """R92."""
    told.tell(ChildDown("tree", "kid", 1, "failed", ValueError("boom"), ""))
    told.tell(ChildStopped("tree", "kid", 1, "failed", "shutdown", kept=True))

    assert told.lines[0].endswith("; it is not started again, for tree ends")


def test_subtree_that_a_decider_stops_says_who_did_and_how_it_comes_back(
    told: Told,
) -> None:
    """R92, R49."""
    for child, kept in [("storage", True), ("session", False)]:
        error = OSError("disk full")
        told.tell(ChildDown("tree", child, 1, "gave_up", error, TRACEBACK, "stop"))
        told.tell(ChildStopped("tree", child, 1, "gave_up", kept=kept))

    assert told.lines == [
        (
            "tree/storage (#1) gave up (OSError('disk full')); it stays down, as the "
            "decider of tree says; the other children go on. When the cause is gone, "
            "restart_child('storage') of tree starts it again"
        ),
        (
            "tree/session (#1) gave up (OSError('disk full')); it stays down, as the "
            "decider of tree says"
        ),
    ]


# -- that it runs again


class Outage:
    """Failures and starts of one child; ``ups`` is what was logged of its recovery."""

    def __init__(
        self, told: Told, clock: VirtualClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "headrace.supervision")
        self.told, self.clock, self._caplog = told, clock, caplog
        self._number = 0

    def fail(
        self, kind: str = "start_failed", delay: float = 0.0, child: Any = "db"
    ) -> None:
        self._number += 1
        who = ("tree", child, self._number)
        self.told.tell(ChildDown(*who, kind, OSError("refused"), ""))
        self.told.tell(RestartScheduled(*who, delay, (child,), 1, 3, 5.0))
        self.clock.advance(delay)

    def start(self, child: Any = "db", event: Any = ChildRestarted) -> None:
        self.told.tell(event("tree", child, self._number + 1))

    @property
    def ups(self) -> list[str]:
        records = self._caplog.records
        return [r.getMessage() for r in records if r.levelno == logging.INFO]


@pytest.fixture
def outage(told: Told, clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> Outage:
    return Outage(told, clock, caplog)


def test_end_of_an_outage_is_told_with_its_failures_and_its_length(
    outage: Outage,
) -> None:
    """R92: whoever read that it was down can read that it is up."""
    outage.fail("failed")
    for delay in (1, 2, 4, 60):
        outage.fail(delay=delay)
    outage.start()

    assert outage.ups == [
        (
            "tree/db (#6) runs again, after 1 failure and 4 failed starts; it was down "
            "for 1 min 07 s"
        )
    ]


def test_one_quick_restart_is_no_outage(outage: Outage) -> None:
    """R92: that it restarts now was told."""
    outage.fail("failed", 0.9)
    outage.start()
    outage.start(child="other")

    assert outage.ups == []


def test_failed_start_or_a_long_wait_makes_an_outage(outage: Outage) -> None:
    """R92."""
    outage.fail("failed")
    outage.fail()
    outage.start()
    outage.fail("failed", 30, child="mail")
    outage.start(child="mail")

    assert outage.ups == [
        "tree/db (#3) runs again, after 1 failure and 1 failed start",
        "tree/mail (#4) runs again, after 1 failure; it was down for 30 s",
    ]


def test_child_that_never_ran_runs_and_not_again(outage: Outage) -> None:
    """R92: an optional one, whose first starts failed."""
    outage.fail(delay=5)
    outage.start(event=ChildStarted)

    assert outage.ups == [
        "tree/db (#2) runs, after 1 failed start; it was down for 5.0 s"
    ]


def test_recoveries_are_no_more_than_the_failures_that_were_told(
    outage: Outage,
) -> None:
    """R92: a child that crashes every two seconds does not flood the log."""
    for _ in range(30):
        outage.fail("failed", 2)
        outage.start()

    failures = [line for line in outage.told.lines if "crashed" in line]
    assert len(failures) == 6
    assert len(outage.ups) == 6
    assert outage.ups[1].startswith("tree/db (#7) runs again, after 5 failures;")


def test_of_many_that_fail_alike_only_those_told_are_told_again(outage: Outage) -> None:
    """R92: 1,000 connections whose server comes back."""
    for number in range(100):
        outage.fail("failed", child=f"c-{number}")
    outage.clock.advance(5)
    for number in range(100):
        outage.start(child=f"c-{number}")

    assert len(outage.ups) == 10
    assert outage.told._log._outages.keys() == {
        ("tree", f"c-{n}") for n in range(10, 100)
    }


def test_failures_of_another_hour_are_not_counted(outage: Outage) -> None:
    """R92."""
    outage.fail("failed")
    outage.start()
    outage.clock.advance(3600)
    outage.fail("failed", 2)
    outage.start()

    assert outage.ups == [
        "tree/db (#3) runs again, after 1 failure; it was down for 2.0 s"
    ]


def test_child_that_was_stopped_in_order_was_in_no_outage(outage: Outage) -> None:
    """R92."""
    outage.fail("failed")
    outage.start()
    outage.told.tell(ChildStopped("tree", "db", 2, "shutdown", kept=True))
    outage.clock.advance(3600)
    outage.start(event=ChildStarted)

    assert outage.ups == []
    assert not outage.told._log._outages


def test_what_is_remembered_of_outages_is_bounded(outage: Outage) -> None:
    """R92."""
    for number in range(3000):
        outage.fail(child=f"c-{number}")

    assert len(outage.told._log._outages) == 1000


def test_failure_told_with_its_recovery_has_no_second_line(
    told: Told, outage: Outage
) -> None:
    """R92: it failed while its group was being stopped, and waited with it."""
    told.tell(ChildDown("tree", "kid", 1, "failed", ValueError("boom"), ""))
    outage.clock.advance(5)
    told.tell(ChildRestarted("tree", "kid", 2))

    assert len(told.lines) == 1
    assert "it runs again, with its group" in told.lines[0]
