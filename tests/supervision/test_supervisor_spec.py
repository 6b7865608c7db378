"""What a supervisor is told is checked before anything starts."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pykka
import pytest

from actors import Actor
from actors.errors import ConfigurationError
from supervision.child_spec import ChildSpec
from supervision.strategies import Backoff, Strategy
from supervision.supervisor import Supervisor
from supervision.supervisor_spec import SupervisorSpec


class Plain(pykka.ThreadingActor):
    pass


class Other(pykka.ThreadingActor):
    pass


KID = ChildSpec(Plain, id="kid")


def test_r24_defaults_are_those_of_the_documentation() -> None:
    """R24: intensity 3 in 5 s."""
    spec = SupervisorSpec("rest_for_one")

    assert spec.strategy is Strategy.REST_FOR_ONE
    assert (spec.children, spec.intensity, spec.period) == ((), 3, 5.0)
    assert (spec.start, spec.auto_shutdown, spec.decider) == ("ordered", "never", None)
    assert (spec.dynamic, spec.max_children) == (False, None)


def test_every_wrong_field_of_a_supervisor_is_refused() -> None:
    """R22, R23: a wrong field is refused by its name, with what is allowed."""
    significant = ChildSpec(Plain, id="kid", significant=True)
    table: list[tuple[Any, dict[str, Any], list[str]]] = [
        ([KID, ChildSpec(Plain, id="kid")], {}, ["child 'kid': id", "unique", "id="]),
        ([Plain, Plain], {}, ["child 'Plain': id", "2 children"]),
        ([KID], {"intensity": -1}, ["intensity must be an int of 0 or more, got -1"]),
        ([KID], {"intensity": 1.5}, ["intensity", "1.5"]),
        ([KID], {"intensity": True}, ["intensity"]),
        ([KID], {"period": 0}, ["period must be seconds above 0, got 0"]),
        ([KID], {"period": -1}, ["period"]),
        ([KID], {"period": float("inf")}, ["period"]),
        ([KID], {"period": float("nan")}, ["period"]),
        ([KID], {"period": "5"}, ["period"]),
        ([KID], {"start": "random"}, ["start must be 'ordered' or 'parallel'"]),
        ([KID], {"start": ["ordered"]}, ["start"]),
        (
            [KID],
            {"auto_shutdown": "always"},
            ["auto_shutdown must be 'never', 'any_significant' or 'all_significant'"],
        ),
        ([KID], {"auto_shutdown": True}, ["auto_shutdown", "got True"]),
        (
            [significant],
            {},
            [
                "child 'kid': significant must be False with auto_shutdown='never'",
                "'any_significant' or 'all_significant'",
            ],
        ),
        ([KID], {"decider": "stop"}, ["decider must be a mapping", "got 'stop'"]),
        ([KID], {"decider": KeyError}, ["decider must be a mapping", "or a function"]),
        (
            [KID],
            {"decider": {KeyError: "ignore"}},
            ["decider[KeyError] must be 'restart', 'resume', 'stop' or 'escalate'"],
        ),
        ([KID], {"decider": {KeyError: None}}, ["decider[KeyError]"]),
        ([KID], {"decider": {"KeyError": "stop"}}, ["decider", "got 'KeyError'"]),
        (
            [KID],
            {"decider": {KeyboardInterrupt: "resume"}},
            ["keys are Exception classes", "a BaseException ends the tree"],
        ),
        (iter([KID]), {}, ["children must be a tuple or list", "iterator"]),
        (KID, {}, ["children must be a tuple or list", "write [child]"]),
        (Plain, {}, ["children must be a tuple or list", "write [child]"]),
        ("Plain", {}, ["children must be a tuple or list", "write [child]"]),
        ({"kid": Plain}, {}, ["children must be a tuple or list"]),
        (None, {}, ["children must be a tuple or list"]),
        ([KID, 7], {}, ["children[1] must be an actor class, a pair", "got 7"]),
        ((Plain, {"a": 1}), {}, ["children[1]", "beside its class: (class, kwargs)"]),
        ([object], {}, ["child 'object': actor_class"]),
    ]
    for children, options, parts in table:
        with pytest.raises(ConfigurationError) as error:
            SupervisorSpec("one_for_one", children, **options)
        for part in parts:
            assert part in str(error.value), (options, part)


def test_every_wrong_field_of_a_dynamic_one_is_refused() -> None:
    """R22: as for the static ones."""
    table: list[tuple[dict[str, Any], str]] = [
        ({"max_children": 0}, "max_children must be an int of 1 or more, or None"),
        ({"max_children": 1.5}, "max_children"),
        ({"max_children": True}, "max_children"),
        ({"intensity": -1}, "intensity"),
        ({"period": 0}, "period"),
        ({"decider": 3}, "decider"),
    ]
    for options, told in table:
        with pytest.raises(ConfigurationError, match=told):
            SupervisorSpec.for_dynamic(**options)


def test_bad_tree_starts_nothing() -> None:
    """R22: the specs are checked before anything starts."""
    started: list[str] = []

    class Kid(Actor):
        def __init__(self) -> None:
            super().__init__()
            started.append("Kid")

    inner: list[Any] = [Kid, ChildSpec(Kid, id="b", significant=True)]
    bad: list[Any] = [[Kid, (Kid, {})], [Kid, "x"], inner]
    for children in bad:
        with pytest.raises(ConfigurationError):
            Supervisor.start("one_for_one", children)
    with pytest.raises(ConfigurationError, match="child 'inner': child 'b': signif"):
        ChildSpec(Supervisor, ("one_for_one", inner), id="inner")

    assert started == []


def test_unknown_strategy_is_refused_with_the_allowed_ones() -> None:
    """R22: strategies are known ones."""
    with pytest.raises(ConfigurationError, match="'rest_for_one' or 'one_for_all'"):
        SupervisorSpec("one_for_two", [])


def test_unknown_field_is_a_type_error() -> None:
    """R22: unknown fields are errors."""
    with pytest.raises(TypeError, match="max_restarts"):
        SupervisorSpec("one_for_one", [], max_restarts=3)  # type: ignore[call-arg]


def test_children_are_specs_in_their_order_however_they_were_given() -> None:
    """R25: a class, a pair, a spec."""
    spec = SupervisorSpec("one_for_one", [Plain, (Other, {"a": 1}), KID])

    assert [child.id for child in spec.children] == ["Plain", "Other", "kid"]
    assert spec.children[1].kwargs == {"a": 1}
    assert spec.children[2] is KID


def test_a_mapping_of_deciders_is_kept_as_it_was_checked() -> None:
    """R22, R49: what is changed later would not have been checked."""
    given: dict[Any, Any] = {KeyError: "resume"}

    decider: Any = SupervisorSpec("one_for_one", [], decider=given).decider
    given[KeyError] = "nonsense"

    assert dict(decider) == {KeyError: "resume"}
    with pytest.raises(TypeError):
        decider[KeyError] = "nonsense"


@pytest.mark.parametrize("auto_shutdown", ["any_significant", "all_significant"])
def test_significant_children_are_welcome_where_they_count(auto_shutdown: Any) -> None:
    """R23: refused with auto_shutdown=never only."""
    child = ChildSpec(Plain, significant=True)
    spec = SupervisorSpec("one_for_one", [child], auto_shutdown=auto_shutdown)

    assert spec.children == (child,)


def test_a_child_added_later_must_satisfy_the_same() -> None:
    """R23: significant is refused with auto_shutdown=never and in dynamic ones."""
    significant = ChildSpec(Plain, id="kid", significant=True)
    static = SupervisorSpec("one_for_one", [])
    dynamic = SupervisorSpec.for_dynamic()

    with pytest.raises(
        ConfigurationError, match=r"'kid': signif.*auto_shutdown='never'"
    ):
        static.check_child(significant)
    with pytest.raises(
        ConfigurationError, match=r"'kid': signif.*a dynamic supervisor"
    ):
        dynamic.check_child(significant)
    dynamic.check_child(KID)


def test_a_dynamic_supervisor_begins_without_children_and_restarts_one_for_one() -> (
    None
):
    """R76: one_for_one only."""
    spec = SupervisorSpec.for_dynamic(max_children=5, intensity=7, period=2)

    assert (spec.strategy, spec.children) == (Strategy.ONE_FOR_ONE, ())
    assert (spec.dynamic, spec.max_children) == (True, 5)
    assert (spec.intensity, spec.period) == (7, 2.0)


# -- the warning of a window too short for a backoff


def test_window_that_cuts_the_backoff_short_warns_with_the_needed_intensity() -> None:
    child = ChildSpec(Plain, id="kid", backoff=Backoff())

    with pytest.warns(UserWarning, match=r"'kid'.*intensity=7"):
        SupervisorSpec("one_for_one", [child])
    SupervisorSpec("one_for_one", [child], intensity=7)


def test_a_limit_of_the_childs_own_needs_no_more_than_itself() -> None:
    """R46: the child is given up by its own limit first, as it was asked for."""
    child = ChildSpec(Plain, id="kid", backoff=Backoff(), max_restarts=4)

    with pytest.warns(UserWarning, match=r"intensity=4 would leave .* max_restarts=4"):
        SupervisorSpec("one_for_one", [child])
    SupervisorSpec("one_for_one", [child], intensity=4)


def test_a_child_that_never_restarts_needs_no_window() -> None:
    SupervisorSpec("one_for_one", [ChildSpec(Plain, restart="temporary", backoff=SLOW)])


def test_a_tree_is_warned_of_once() -> None:
    child = ChildSpec(Quiet, backoff=SLOW)
    inner = ChildSpec(Quiet, id="inner kid", backoff=SLOW)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        nested = ChildSpec(Supervisor, ("one_for_one", [inner]))
        with Supervisor.start("one_for_one", [child, nested]):
            pass

    assert [(warning.filename, str(warning.message)[:17]) for warning in told] == [
        (__file__, "child 'inner kid'"),
        (__file__, "child 'Quiet': it"),
    ]


def test_children_that_only_the_supervisor_sees_are_warned_of_in_its_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    child = ChildSpec(Quiet, backoff=SLOW)
    children = {"strategy": "one_for_one", "children": [child]}

    nested = ChildSpec(Supervisor, kwargs=lambda siblings: children)
    with Supervisor.start("one_for_one", [nested]):
        pass

    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.message[:13] for record in told] == ["child 'Quiet'"]


class Quiet(Actor):
    pass


SLOW = Backoff()


def test_the_warning_points_at_the_hosts_line() -> None:
    child = ChildSpec(Plain, backoff=Backoff())

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        SupervisorSpec("one_for_one", [child])
        ChildSpec(Supervisor, ("one_for_one", [child]), id="inner")
        SupervisorSpec.for_dynamic().check_child(child)

    assert [warning.filename for warning in told] == [__file__] * 3
