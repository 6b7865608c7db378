"""A child may be given as a class, as a class with arguments, or as a spec."""

from __future__ import annotations

import dataclasses
from typing import Any, Self, assert_type

import pykka
import pytest

from actors import Actor
from actors.errors import ConfigurationError
from supervision.child_like import ChildLike, as_spec
from supervision.child_spec import ChildSpec, RestartType
from supervision.supervisor import Supervisor


class Plain(pykka.ThreadingActor):
    pass


class Core(Actor):
    """Carries its default spec."""

    @classmethod
    def child_spec(cls) -> ChildSpec[Self]:
        return ChildSpec(cls, kwargs={"config": 1}, restart="permanent", shutdown=60)


class LocalCore(Core):
    """Inherits it."""


class QuickCore(Core):
    """Changes it."""

    @classmethod
    def child_spec(cls) -> ChildSpec[Self]:
        return dataclasses.replace(super().child_spec(), shutdown=1)


class BareCore(Core):
    """Carries none again."""

    child_spec = None  # type: ignore[assignment]


def test_a_class_is_its_default_spec() -> None:
    """R25: a child may be given as a class."""
    spec = as_spec(Plain)

    assert_type(spec, ChildSpec[Plain])
    assert (spec.actor_class, spec.id, spec.named) == (Plain, "Plain", False)
    assert spec.restart is RestartType.TRANSIENT


def test_a_pair_is_a_class_with_its_arguments() -> None:
    """R25: a child may be given as (class, kwargs)."""
    spec = as_spec((Plain, {"size": 3}))

    assert_type(spec, ChildSpec[Plain])
    assert (spec.actor_class, spec.args, spec.kwargs) == (Plain, (), {"size": 3})


def test_a_pair_may_have_a_callable_of_the_siblings() -> None:
    """R2, R25: mutable arguments are made anew at each start."""

    def wired(siblings: Any) -> dict[str, Any]:
        return {"core": siblings.ref("Core")}

    spec = as_spec((Plain, wired))

    assert spec.kwargs is wired


def test_a_spec_is_taken_as_it_is() -> None:
    """R25: a child may be given as a ChildSpec; the class's default has no say then."""
    spec = ChildSpec(Core)

    assert_type(as_spec(spec), ChildSpec[Core])
    assert as_spec(spec) is spec
    assert spec.restart is RestartType.TRANSIENT


@pytest.mark.parametrize(
    ("given", "restart", "shutdown", "kwargs"),
    [
        (Core, "permanent", 60, {"config": 1}),
        (LocalCore, "permanent", 60, {"config": 1}),
        (QuickCore, "permanent", 1, {"config": 1}),
        (BareCore, "transient", 5, {}),
        ((Core, {"port": 80}), "permanent", 60, {"port": 80}),
        ((LocalCore, {"port": 80}), "permanent", 60, {"port": 80}),
        ((BareCore, {"port": 80}), "transient", 5, {"port": 80}),
    ],
)
def test_a_class_may_carry_its_default_spec(
    given: Any, restart: str, shutdown: float, kwargs: Any
) -> None:
    """R25: child_spec() of the class; a pair has its own kwargs in place of those."""
    spec = as_spec(given)

    assert spec.actor_class is (given[0] if isinstance(given, tuple) else given)
    assert spec.restart is RestartType(restart)
    assert (spec.shutdown, spec.kwargs) == (shutdown, kwargs)
    assert spec.id == spec.actor_class.__name__


def test_a_supervisor_may_be_given_as_a_pair() -> None:
    """R25, R22: its children are checked as in a spec."""
    spec = as_spec((Supervisor, {"strategy": "one_for_one", "children": [Plain]}))

    assert spec.is_supervisor
    with pytest.raises(ConfigurationError, match=r"'Supervisor': .* unique"):
        as_spec((Supervisor, {"strategy": "one_for_one", "children": [Plain, Plain]}))


class Unbound(Actor):
    def child_spec(self) -> Any:
        return ChildSpec(Unbound)


class Nothing(Actor):
    @classmethod
    def child_spec(cls) -> Any:
        return None


class Fixed(Actor):
    @classmethod
    def child_spec(cls) -> Any:
        return ChildSpec(Fixed)


class OfFixed(Fixed):
    pass


def test_what_is_no_child_is_refused_with_a_way_out() -> None:
    """R22: the error says what may be given, what was, and what to do."""
    table: list[tuple[Any, str]] = [
        (7, "a child must be an actor class, a pair .* or a ChildSpec, got 7"),
        ("Plain", "got 'Plain'"),
        (None, "got None"),
        ({"a": 1}, r"got \{'a': 1\}; .* beside its class: \(class, kwargs\)"),
        ((Plain,), r"for positional arguments write ChildSpec\(class, args\)"),
        ((Plain, 1, 2), "for positional arguments"),
        ([Plain, {"a": 1}], "for positional arguments"),
        ((Plain, (1, 2)), r"child 'Plain': kwargs must be a mapping.*got \(1, 2\)"),
        ((Plain, None), "child 'Plain': kwargs must be a mapping.*got None"),
        ((Plain, Core), "got .*Plain.*Core"),
        (("Plain", {}), "got"),
        (object, "child 'object': actor_class must be a subclass of pykka.Thr"),
        ((object, {}), "child 'object': actor_class must be a subclass of pykka.Thr"),
        (Unbound, "child 'Unbound': child_spec must be a classmethod.*@classmethod"),
        (Nothing, r"child 'Nothing': child_spec\(\) must return a ChildSpec.*got None"),
        (OfFixed, r"child 'OfFixed': .* this class, got ChildSpec\(Fixed, .*of cls"),
        ((OfFixed, {}), r"child 'OfFixed': child_spec\(\) must return"),
    ]
    for given, told in table:
        with pytest.raises(ConfigurationError, match=told):
            as_spec(given)


def test_an_actor_that_runs_already_is_refused_with_a_way_out() -> None:
    """R22: a supervisor makes its actors itself."""
    ref = Plain.start()

    given: Any
    for given in (ref, ref.proxy()):
        with pytest.raises(ConfigurationError, match="the supervisor starts it itself"):
            as_spec(given)
    ref.stop()


def test_the_error_says_where_the_child_was_given() -> None:
    given: Any = 7
    with pytest.raises(ConfigurationError, match=r"producers\[2\] must be an actor cl"):
        as_spec(given, "producers[2]")


def test_children_of_all_three_kinds_have_one_type() -> None:
    """R25: for type checkers; this file is checked with mypy --strict."""
    children: list[ChildLike[Any]] = [Plain]
    children.append((Core, {"config": 2}))
    children.append(ChildSpec(Core, id="second"))

    assert [as_spec(child).id for child in children] == ["Plain", "Core", "second"]


def test_children_given_as_classes_run() -> None:
    """R25: everything that takes children takes all three."""
    with Supervisor.start("one_for_one", [Quiet, ChildSpec(Quiet, id="b")]) as tree:
        assert [child.id for child in tree.which_children()] == ["Quiet", "b"]


class Quiet(Actor):
    pass
