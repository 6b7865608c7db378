"""What the host sees of a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors.events import (
    ChildDown,
    ChildFailing,
    ChildRestarted,
    ChildStarted,
    ChildStopped,
    RestartScheduled,
)
from supervision.child_spec import ChildSpec
from supervision.strategies import Backoff
from supervision.supervisor import Supervisor
from tests.supervision.kids import Nursery, below, boom, states

if TYPE_CHECKING:
    from actors.testing import VirtualClock


def test_events_tell_the_whole_story_in_order(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R91: each with supervisor, child and incarnation."""
    with ours.grow("a") as tree:
        tree.ref("a").tell(boom)
        clock.settle()

    story = [
        (type(event), event.incarnation)
        for event in ours.events
        if not hasattr(event, "message")
    ]
    assert story == [
        (ChildStarted, 1),
        (ChildFailing, 1),
        (ChildDown, 1),
        (RestartScheduled, 1),
        (ChildRestarted, 2),
        (ChildDown, 2),
        (ChildStopped, 2),
    ]


def test_raising_listener_hurts_nobody(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def listener(event: Any) -> None:
        raise ValueError("listener")

    specs = [Nursery().spec("a")]
    with Supervisor.start("one_for_one", specs, on_event=listener) as tree:
        tree.ref("a").tell(boom)
        clock.settle()
        assert states(tree) == "a running 2"


def test_counts_tell_the_supervisors_from_the_others(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R77: as OTP counts them."""
    backoff = Backoff(first_immediate=False, initial=9)
    inner = ChildSpec(Supervisor, ("one_for_one", [ours.spec("x")]), id="inner")
    children = ["a", inner, ours.spec("b", backoff=backoff), "c"]
    with ours.grow(children) as tree:
        tree.ref("b").tell(boom)
        tree.ref("c").stop()
        clock.settle()

        assert tree.count_children() == (4, 2, 1, 1, 3)
        assert below(tree, "inner").count_children() == (1, 1, 0, 0, 1)


def test_undelivered_messages_are_kept_with_child_and_error(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R4: for whoever asks the tree."""
    with ours.grow("ab") as tree:
        tree.ref("a").tell(boom)
        clock.settle()

        [record] = tree.undelivered()
        assert (record.child, record.number, record.message) == ("a", 1, boom)
        assert isinstance(record.error, ValueError)


def test_ref_of_an_unknown_child_names_those_there_are(ours: Nursery) -> None:
    with ours.grow("ab") as tree, pytest.raises(KeyError, match="it has: a, b"):
        tree.ref("c")


def test_spec_is_a_key_for_its_ref(ours: Nursery) -> None:
    spec = ours.spec("a")
    with ours.grow([spec]) as tree:
        assert tree.ref(spec) is tree.ref("a")


def test_picture_is_redrawn_for_those_that_changed_alone(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R21a: a transition costs what it changes."""
    with ours.grow([ours.spec("a", restart="temporary"), "b", "c"]) as tree:
        before = tree.which_children()
        tree.ref("a").tell(boom)
        tree.ref("c").tell(boom)
        clock.settle()

        after = tree.which_children()

        assert [child.id for child in before] == ["a", "b", "c"]
        assert [(child.id, child.incarnation) for child in after] == [
            ("b", 1),
            ("c", 2),
        ]
        assert after[0] is before[1]
