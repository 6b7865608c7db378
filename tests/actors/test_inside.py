"""The mark of the thread that runs inside a pipeline.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

import contextvars

import pytest

from actors._inside import Inside, Role, enter_role, inside, role_in
from actors.jobs import JobKind
from actors.testing import VirtualClock
from tests.actors.ledger_kit import Call

OWNER = object()


def test_a_plain_thread_is_inside_nobody() -> None:
    assert role_in(OWNER) is None


def test_a_block_marks_its_caller_for_its_owner() -> None:
    with inside(OWNER, Role.SINK):
        assert role_in(OWNER) == Inside(OWNER, Role.SINK)
        assert role_in(object()) is None

    assert role_in(OWNER) is None


def test_the_innermost_mark_of_each_owner_counts() -> None:
    other = object()

    with inside(OWNER, Role.SINK), inside(other, Role.CALLBACK):
        within = role_in(other)
        assert within is not None
        assert within.role is Role.CALLBACK
        assert role_in(OWNER) == Inside(OWNER, Role.SINK)
        with inside(OWNER, Role.LISTENER):
            innermost = role_in(OWNER)
            assert innermost is not None
            assert innermost.role is Role.LISTENER


def test_a_block_left_by_an_error_is_over() -> None:
    with pytest.raises(KeyError), inside(OWNER, Role.LISTENER):
        raise KeyError

    assert role_in(OWNER) is None


def test_a_role_lasts_for_the_rest_of_its_thread() -> None:
    def enter() -> Inside | None:
        enter_role(OWNER, Role.JOB, JobKind.CPU)
        with inside(OWNER, Role.CALLBACK):
            pass
        return role_in(OWNER)

    mark = contextvars.copy_context().run(enter)

    assert mark == Inside(OWNER, Role.JOB, JobKind.CPU)
    assert role_in(OWNER) is None


def test_a_thread_started_inside_does_not_inherit_the_mark() -> None:
    with VirtualClock() as clock, inside(OWNER, Role.SINK):
        call = Call(clock, role_in, OWNER)

        assert not call.waits()
        assert call.error is None
        assert call.value is None
