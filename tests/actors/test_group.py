"""The sums of a group of jobs, pure.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors._group import Group
from actors.jobs import FINAL, JobStatus
from tests.actors.ledger_kit import FakeWake, result_of

STATUSES = sorted(FINAL, key=lambda status: status.value)


def sums(group: Group) -> tuple[int, ...]:
    return (
        group.accepted,
        group.succeeded,
        group.dead,
        group.cancelled,
        group.returned,
        group.unsettled,
    )


def adds_up(group: Group) -> bool:
    accepted, *ends = sums(group)
    return accepted == sum(ends)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (JobStatus.SUCCEEDED, (1, 1, 0, 0, 0, 0)),
        (JobStatus.DEAD, (1, 0, 1, 0, 0, 0)),
        (JobStatus.CANCELLED, (1, 0, 0, 1, 0, 0)),
        (JobStatus.RETURNED, (1, 0, 0, 0, 1, 0)),
    ],
)
def test_each_final_status_has_a_sum_of_its_own(
    status: JobStatus, expected: tuple[int, ...]
) -> None:
    group = Group("all")
    group.accept()

    group.settle(result_of(1, status))

    assert sums(group) == expected


def test_a_job_counts_in_every_group_of_its_chain() -> None:
    root = Group("root")
    middle = Group("middle", root)
    inner = Group("inner", middle)
    aside = Group("aside", root)

    inner.accept()

    assert [g.accepted for g in (root, middle, inner, aside)] == [1, 1, 1, 0]
    assert inner.root is root
    assert root.root is root


def test_a_group_is_within_itself_and_those_above() -> None:
    root = Group("root")
    inner, aside = Group("inner", root), Group("aside", root)

    assert inner.within(inner)
    assert inner.within(root)
    assert not inner.within(aside)
    assert not root.within(inner)


def test_a_group_is_idle_only_once_all_is_delivered() -> None:
    group = Group("all")
    idle = [group.idle]

    group.accept()
    idle.append(group.idle)
    group.settle(result_of(1))
    idle.append(group.idle)
    group.delivered()
    idle.append(group.idle)

    assert idle == [True, False, False, True]


def test_the_last_delivery_wakes_the_waiters_once() -> None:
    group = Group("all")
    for _ in range(2):
        group.accept()
        group.settle(result_of(1))
    wake = FakeWake()
    group.waiters.append(wake)

    assert group.delivered() == []
    assert group.delivered() == [wake]
    assert group.waiters == []


def test_a_delivery_wakes_each_group_that_became_idle() -> None:
    root = Group("root")
    inner = Group("inner", root)
    root.accept()  # another job keeps the root busy
    inner.accept()
    inner.settle(result_of(2))
    of_root, of_inner = FakeWake(), FakeWake()
    root.waiters.append(of_root)
    inner.waiters.append(of_inner)

    assert inner.delivered() == [of_inner]
    assert root.waiters == [of_root]


def test_the_first_error_of_the_dead_is_kept() -> None:
    root = Group("root")
    inner = Group("inner", root)
    first, second = ValueError("first"), ValueError("second")
    for error in (first, second):
        inner.accept()
        inner.settle(result_of(1, JobStatus.DEAD, error))

    assert inner.first_error is first
    assert root.first_error is first


def test_a_cancelled_jobs_error_is_not_the_first_error() -> None:
    group = Group("all")
    group.accept()

    group.settle(result_of(1, JobStatus.CANCELLED, ValueError("asked to")))

    assert group.first_error is None


def test_returned_jobs_are_kept_with_every_group() -> None:
    root = Group("root")
    inner = Group("inner", root)
    inner.accept()
    result = result_of(7, JobStatus.RETURNED)

    inner.settle(result)

    assert inner.returned_jobs == [result.job]
    assert root.returned_jobs == [result.job]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([None, "deliver", *STATUSES])),
        max_size=40,
    )
)
def test_the_sums_add_up_whatever_happens(
    steps: list[tuple[int, JobStatus | str | None]],
) -> None:
    root = Group("root")
    middle = Group("middle", root)
    groups = [root, middle, Group("inner", middle)]
    unsettled, pending = [0, 0, 0], [0, 0, 0]
    for place, step in steps:
        group = groups[place]
        if step is None:
            group.accept()
            unsettled[place] += 1
        elif step == "deliver" and pending[place]:
            group.delivered()
            pending[place] -= 1
        elif isinstance(step, JobStatus) and unsettled[place]:
            group.settle(result_of(1, step))
            unsettled[place] -= 1
            pending[place] += 1

        assert all(adds_up(g) for g in groups)
        for index, g in enumerate(groups):
            assert g.unsettled == sum(unsettled[index:])
            assert g.pending == sum(pending[index:])
            assert g.idle == (not any(unsettled[index:]) and not any(pending[index:]))
