"""What a type checker knows of a tree; this file is checked with mypy --strict.

What it must refuse has a comment that ignores the error, which mypy reports as unused
where there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

import pykka
import pytest

from actors import Actor, ActorRef
from actors.errors import ConfigurationError
from supervision.child_spec import ChildSpec
from supervision.dynamic import DynamicSupervisor
from supervision.strategies import Decider, Directive, decide
from supervision.supervisor import Supervisor, SupervisorRef
from supervision.supervisor_spec import SupervisorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actors.testing import VirtualClock
    from supervision.child_like import ChildLike
    from supervision.child_spec import Siblings


class Kid(Actor):
    pass


class Plain(pykka.ThreadingActor):
    pass


class Plain2(Plain):
    pass


class NoActor:
    pass


KID = ChildSpec(Kid)
INNER = ChildSpec(Supervisor, ("one_for_one", [Plain]), id="inner")
CROWD = ChildSpec(DynamicSupervisor, id="crowd")


def test_refs_of_children_are_typed_by_what_they_are_asked_for_with(
    clock: VirtualClock,
) -> None:
    nested = (Supervisor, {"strategy": "one_for_one"})
    with Supervisor.start("one_for_one", [KID, INNER, CROWD, nested]) as tree:
        assert_type(tree.ref(KID), ActorRef[Kid])
        assert_type(tree.ref(Kid), ActorRef[Kid])
        assert_type(tree.ref(INNER), SupervisorRef)
        assert_type(tree.ref(CROWD), SupervisorRef)
        assert_type(tree.ref("Kid"), ActorRef[Any])
        inner = tree.ref(Supervisor)
        assert_type(inner, SupervisorRef)

        assert inner.which_children() == ()


def test_refs_of_siblings_are_typed_likewise(clock: VirtualClock) -> None:
    """R92: a sibling that is a supervisor can be asked for its children."""

    def kwargs(siblings: Siblings) -> Mapping[str, Any]:
        assert_type(siblings.ref(KID), ActorRef[Kid])
        assert_type(siblings.ref(INNER), SupervisorRef)
        assert_type(siblings.ref(CROWD), SupervisorRef)
        assert_type(siblings.ref("Kid"), ActorRef[Any])
        assert [c.id for c in siblings.ref(INNER).which_children()] == ["Plain"]
        return {}

    last = ChildSpec(Plain, (), kwargs, id="last")
    with Supervisor.start("one_for_one", [KID, INNER, CROWD, last]):
        pass


def test_children_started_later_are_typed_likewise(clock: VirtualClock) -> None:
    with Supervisor.start("one_for_one", [KID, INNER]) as tree:
        for child in ("Kid", "inner"):
            tree.terminate_child(child)

        assert_type(tree.restart_child(KID), ActorRef[Kid])
        inner = tree.restart_child(INNER)
        assert_type(inner, SupervisorRef)
        tree.terminate_child(inner)
        assert_type(tree.restart_child(inner), SupervisorRef)
        tree.terminate_child(tree.ref(Kid))
        assert_type(tree.restart_child("Kid"), ActorRef[Any])
        kid = tree.ref(Kid)
        tree.terminate_child(kid)
        assert_type(tree.restart_child(kid), ActorRef[Kid])
        assert_type(tree.start_child(Plain), ActorRef[Plain])
        assert_type(tree.start_child((Plain2, {}), timeout=1), ActorRef[Plain2])
        assert_type(tree.start_child(CROWD), SupervisorRef)


def test_children_may_be_of_any_actors_and_of_nothing_else() -> None:
    specs = [KID, KID.with_id("second")]
    pairs = [(Kid, {"a": 1})]
    classes = [Kid, Plain]
    some: list[ChildLike[Any]] = [Kid, (Plain, {}), INNER]
    for children in (specs, pairs, classes, some):
        SupervisorSpec("one_for_one", children)
    with Supervisor.start("one_for_one", [Kid, (Plain, {}), INNER]):
        pass
    with Supervisor.start("one_for_one", specs):
        pass
    with Supervisor.start("one_for_one", classes):
        pass

    with pytest.raises(ConfigurationError, match="NoActor"):
        Supervisor.start("one_for_one", [NoActor])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="NoActor"):
        Supervisor.start("one_for_one", [Kid, (NoActor, {})])  # type: ignore[list-item]


def test_decider_may_stand_in_a_variable() -> None:
    """R49."""
    one = {OSError: "stop"}
    two = {OSError: "stop", KeyError: "resume"}
    typed: dict[type[OSError], Directive] = {OSError: "stop"}

    def by_function(error: Exception) -> Directive:
        return "stop"

    given: list[Decider] = [one, two, typed, by_function, lambda _error: "stop"]
    for decider in (*given, {OSError: "stop"}):
        spec = SupervisorSpec("one_for_one", [Kid], decider=decider)
        assert spec.decider is not None
        assert decide(spec.decider, OSError(), child="kid") == "stop"


def test_decider_of_what_is_no_error_is_refused() -> None:
    """R49: keys by a type checker, values when the spec is made."""
    numbers = {1: "stop"}
    with pytest.raises(ConfigurationError, match="keys are Exception classes"):
        SupervisorSpec("one_for_one", [], decider=numbers)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"decider\[OSError\] must be"):
        SupervisorSpec("one_for_one", [], decider={OSError: "stopp"})
