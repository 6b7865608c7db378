"""Specs are checked when they are made, before anything starts."""

from __future__ import annotations

from typing import Any

import pykka
import pytest

from actors.errors import ConfigurationError
from supervision.child_spec import ChildSpec, RestartType
from supervision.strategies import Backoff, Strategy
from supervision.supervisor_spec import SupervisorSpec


class Plain(pykka.ThreadingActor):
    pass


class FakeSupervisor(pykka.ThreadingActor):
    is_supervisor = True

    @classmethod
    def check_arguments(cls, *args: Any, **kwargs: Any) -> None:
        SupervisorSpec(*args, **kwargs)


def test_d26_bad_specs_table() -> None:
    table: list[tuple[dict[str, Any], str]] = [
        ({"restart": "always"}, "restart"),
        ({"restart": None}, "restart"),
        ({"shutdown": -1}, "shutdown"),
        ({"shutdown": "5"}, "shutdown"),
        ({"shutdown": float("nan")}, "shutdown"),
        ({"shutdown": True}, "shutdown"),
        ({"start_timeout": 0}, "start_timeout"),
        ({"start_timeout": -2}, "start_timeout"),
        ({"backoff": 3}, "backoff"),
        ({"mailbox": "new"}, "mailbox"),
        ({"capacity": 0}, "capacity"),
        ({"capacity": 2.5}, "capacity"),
        ({"after_start": "setup"}, "after_start"),
        ({"on_crash": "on_start"}, "on_crash"),
        ({"args": "abc"}, "args"),
        ({"args": 3}, "args"),
        ({"token": 3}, "token"),
        ({"kwargs": 3}, "kwargs"),
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
    ]
    for options, field in table:
        with pytest.raises(ConfigurationError) as error:
            ChildSpec(Plain, **{"id": "kid", **options})
        assert f": {field} must be" in str(error.value), options
        assert repr(options.get("id", "kid")) in str(error.value), options


def test_d26_bad_supervisors_table() -> None:
    kid = ChildSpec(Plain, id="kid")
    table: list[tuple[Any, dict[str, Any], list[str]]] = [
        ([kid, ChildSpec(Plain, id="kid")], {}, ["child 'kid'", "id", "unique"]),
        ([kid], {"intensity": -1}, ["intensity", "-1"]),
        ([kid], {"intensity": 1.5}, ["intensity", "1.5"]),
        ([kid], {"intensity": True}, ["intensity"]),
        ([kid], {"period": 0}, ["period", "0"]),
        ([kid], {"period": -1}, ["period"]),
        ([kid], {"period": float("inf")}, ["period"]),
        ([kid], {"start": "random"}, ["start", "'random'"]),
        (iter([kid]), {}, ["children", "iterator"]),
        ([kid, 7], {}, [r"children[1]", "ChildSpec", "got 7"]),
    ]
    for children, options, parts in table:
        with pytest.raises(ConfigurationError) as error:
            SupervisorSpec("one_for_one", children, **options)
        for part in parts:
            assert part in str(error.value), (options, part)


def test_unknown_strategy_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(ConfigurationError, match="'rest_for_one' or 'one_for_all'"):
        SupervisorSpec("one_for_two", [])


def test_unknown_field_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        ChildSpec(Plain, retsart="permanent")  # type: ignore[call-arg]


@pytest.mark.parametrize("not_an_actor", [object, "Plain", None, Plain.__init__])
def test_actor_class_must_be_an_actor_class(not_an_actor: Any) -> None:
    with pytest.raises(ConfigurationError, match="actor_class"):
        ChildSpec(not_an_actor)


def test_defaults_are_those_of_the_documentation() -> None:
    spec = ChildSpec(Plain)

    assert spec.id == "Plain"
    assert spec.restart is RestartType.TRANSIENT
    assert (spec.shutdown, spec.start_timeout, spec.backoff) == (5.0, 30.0, None)
    assert spec.mailbox == "keep"


def test_default_of_a_nested_supervisor_has_no_limit_of_its_own() -> None:
    spec = ChildSpec(FakeSupervisor, ("one_for_one", []))

    assert spec.is_supervisor
    assert (spec.shutdown, spec.start_timeout) == (None, None)


def test_strings_become_their_enums() -> None:
    assert ChildSpec(Plain, restart="permanent").restart is RestartType.PERMANENT
    assert SupervisorSpec("rest_for_one", []).strategy is Strategy.REST_FOR_ONE


def test_spec_is_a_read_only_key() -> None:
    spec = ChildSpec(Plain)

    assert {spec: 1}[spec] == 1
    with pytest.raises(AttributeError):
        spec.id = "other"  # type: ignore[misc]


def test_nested_children_are_checked_with_the_outer_spec() -> None:
    twice = [ChildSpec(Plain), ChildSpec(Plain)]

    with pytest.raises(ConfigurationError, match=r"'inner'.*'Plain'.*unique"):
        ChildSpec(FakeSupervisor, ("one_for_one", twice), id="inner")
    with pytest.raises(ConfigurationError, match=r"'inner'.*nonsense"):
        ChildSpec(FakeSupervisor, ("one_for_one", []), {"nonsense": 1}, id="inner")


def test_children_of_a_callable_are_checked_when_it_is_called() -> None:
    spec = ChildSpec(FakeSupervisor, kwargs=lambda siblings: {"children": 7})

    assert spec.is_supervisor


def test_window_that_cuts_the_backoff_short_warns_with_the_needed_intensity() -> None:
    child = ChildSpec(Plain, id="kid", backoff=Backoff())

    with pytest.warns(UserWarning, match=r"'kid'.*intensity=7"):
        SupervisorSpec("one_for_one", [child])
    SupervisorSpec("one_for_one", [child], intensity=7)


@pytest.mark.parametrize(
    ("restart", "restarted_kinds"),
    [
        (
            RestartType.PERMANENT,
            {"normal", "shutdown", "failed", "start_failed", "abandoned", "gave_up"},
        ),
        (RestartType.TRANSIENT, {"failed", "start_failed", "abandoned", "gave_up"}),
        (RestartType.TEMPORARY, set()),
    ],
)
def test_restart_type_says_which_exits_restart(
    restart: RestartType, restarted_kinds: set[str]
) -> None:
    kinds = {
        "normal",
        "shutdown",
        "failed",
        "start_failed",
        "abandoned",
        "gave_up",
        "fatal",
    }

    assert {kind for kind in kinds if restart.restarts(kind)} == restarted_kinds
