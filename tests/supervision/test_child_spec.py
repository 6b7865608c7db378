"""Specs are checked when they are made, before anything starts."""

from __future__ import annotations

import abc
import copy
import dataclasses
import pickle
from typing import Any

import pykka
import pytest

from actors import UNSET, Actor, StopToken
from actors.errors import ConfigurationError
from supervision.child_spec import ChildSpec, RestartType
from supervision.strategies import Backoff
from supervision.supervisor import Supervisor
from supervision.supervisor_spec import SupervisorSpec


class Plain(pykka.ThreadingActor):
    pass


class Other(pykka.ThreadingActor):
    pass


class FakeSupervisor(pykka.ThreadingActor):
    is_supervisor = True

    @classmethod
    def check_arguments(cls, *args: Any, **kwargs: Any) -> None:
        SupervisorSpec(*args, **kwargs)


# -- every field


def test_r24_defaults_are_those_of_the_documentation() -> None:
    """R24: transient, 5 s to stop, 30 s to start, no backoff, mailbox kept."""
    spec = ChildSpec(Plain)

    assert {field.name: getattr(spec, field.name) for field in fields()} == {
        "actor_class": Plain,
        "args": (),
        "kwargs": {},
        "id": "Plain",
        "restart": RestartType.TRANSIENT,
        "shutdown": 5.0,
        "start_timeout": 30.0,
        "backoff": None,
        "mailbox": "keep",
        "capacity": UNSET,
        "significant": False,
        "after_start": None,
        "required": True,
        "give_up": "escalate",
        "while_down": "wait",
        "crash_on_ask": (),
        "on_crash": UNSET,
        "init_in": "child",
        "max_restarts": None,
        "on_timeout": "abandon",
        "token": None,
    }


def fields() -> tuple[dataclasses.Field[Any], ...]:
    return tuple(field for field in dataclasses.fields(ChildSpec) if field.init)


def test_r24_nested_supervisor_has_no_limit_of_its_own() -> None:
    """R24: shutdown is None for supervisors; its children have limits."""
    spec = ChildSpec(FakeSupervisor, ("one_for_one", []))

    assert spec.is_supervisor
    assert (spec.shutdown, spec.start_timeout) == (None, None)


def test_every_wrong_field_is_refused_by_name() -> None:
    """R22, R23: a wrong field is refused by name, with the child and the value."""
    table: list[tuple[dict[str, Any], str]] = [
        ({"restart": "always"}, "'permanent', 'transient' or 'temporary'"),
        ({"restart": None}, "'permanent'"),
        ({"restart": True}, "'permanent'"),
        ({"shutdown": -1}, "seconds of 0 or more, or None for no limit"),
        ({"shutdown": "5"}, "seconds"),
        ({"shutdown": float("nan")}, "seconds"),
        ({"shutdown": True}, "seconds"),
        ({"start_timeout": 0}, "seconds above 0, or None for no limit"),
        ({"start_timeout": -2}, "seconds"),
        ({"start_timeout": float("inf")}, "None for no limit"),
        ({"backoff": 3}, "a Backoff or None"),
        ({"mailbox": "new"}, "'keep' or 'fresh'"),
        ({"capacity": 0}, "an int of 1 or more, or None for no bound"),
        ({"capacity": 2.5}, "an int"),
        ({"capacity": True}, "an int"),
        ({"significant": 1}, "True or False"),
        ({"significant": None}, "True or False"),
        ({"significant": True, "restart": "permanent"}, "use restart='transient'"),
        ({"after_start": "setup"}, "a callable of the actor, or None"),
        ({"required": "no"}, "True or False"),
        ({"give_up": "stop"}, "'escalate' or 'leave_down'"),
        ({"give_up": None}, "'escalate' or 'leave_down'"),
        ({"while_down": "block"}, "'wait' or 'fail'"),
        ({"while_down": ["fail"]}, "'wait' or 'fail'"),
        ({"crash_on_ask": KeyboardInterrupt}, "an Exception class"),
        ({"crash_on_ask": (ValueError, SystemExit)}, "a BaseException is fatal anyway"),
        ({"crash_on_ask": ValueError("x")}, "an Exception class or a tuple of them"),
        ({"crash_on_ask": "ValueError"}, "an Exception class"),
        ({"crash_on_ask": ["ValueError"]}, "an Exception class"),
        ({"crash_on_ask": None}, "an Exception class"),
        ({"on_crash": "on_start"}, "'on_failure' or 'on_stop'"),
        ({"on_crash": None}, "'on_failure' or 'on_stop'"),
        ({"init_in": "parent"}, "'child' or 'caller'"),
        ({"max_restarts": -1}, "an int of 0 or more, or None"),
        ({"max_restarts": 2.0}, "an int"),
        ({"max_restarts": False}, "an int"),
        ({"on_timeout": "kill"}, "'abandon' or 'interrupt'"),
        ({"token": 3}, "a StopToken or None"),
        ({"args": "abc"}, "args=(value,) for one"),
        ({"args": 3}, "a tuple or list"),
        ({"args": {"config": 1}}, "those with a name are kwargs"),
        ({"kwargs": 3}, "a mapping, or a callable of the siblings"),
        ({"kwargs": (1, 2)}, "a mapping"),
        ({"id": ""}, "a string that is not empty"),
        ({"id": 7}, "a string"),
    ]
    for options, told in table:
        field = next(iter(options))
        with pytest.raises(ConfigurationError) as error:
            ChildSpec(Plain, **{"id": "kid", **options})
        text = str(error.value)
        assert text.startswith(f"child {options.get('id', 'kid')!r}: {field} must be")
        assert told in text, options
        assert "got " in text
    assert {next(iter(options)) for options, _ in table} == {
        field.name for field in fields() if field.name != "actor_class"
    }


def test_fields_take_what_is_at_their_edges() -> None:
    """R22: what a field may be at its edges is taken, and kept as it was given."""
    token = StopToken()
    table: list[tuple[str, Any]] = [
        ("restart", RestartType.PERMANENT),
        ("shutdown", 0),
        ("shutdown", None),
        ("shutdown", float("inf")),
        ("start_timeout", 0.001),
        ("start_timeout", None),
        ("backoff", Backoff()),
        ("mailbox", "fresh"),
        ("capacity", 1),
        ("capacity", None),
        ("significant", True),
        ("after_start", print),
        ("required", False),
        ("give_up", "leave_down"),
        ("while_down", "fail"),
        ("crash_on_ask", (KeyError, OSError)),
        ("on_crash", "on_stop"),
        ("init_in", "caller"),
        ("max_restarts", 0),
        ("on_timeout", "interrupt"),
        ("token", token),
        ("kwargs", dict),
        ("args", (1,)),
    ]
    for field, value in table:
        options: dict[str, Any] = {field: value}
        assert getattr(ChildSpec(Plain, **options), field) == value


def test_the_texts_of_a_refusal_read_as_one_sentence() -> None:
    """R22: value, what is allowed, what to do."""
    with pytest.raises(ConfigurationError) as error:
        ChildSpec(Plain, restart="permanent", significant=True)

    assert str(error.value) == (
        "child 'Plain': significant must be False with restart='permanent', got True; "
        "such a child comes back whenever it ends; "
        "use restart='transient' or 'temporary'"
    )


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_a_child_that_may_end_for_good_may_be_significant(restart: str) -> None:
    """R23: only permanent children cannot be significant."""
    assert ChildSpec(Plain, restart=restart, significant=True).significant


def test_unknown_field_is_a_type_error() -> None:
    """R22: unknown fields are errors."""
    with pytest.raises(TypeError, match="retsart"):
        ChildSpec(Plain, retsart="permanent")  # type: ignore[call-arg]


@pytest.mark.parametrize("not_an_actor", [object, "Plain", None, Plain.__init__])
def test_actor_class_must_be_an_actor_class(not_an_actor: Any) -> None:
    """R22: the class is checked first, and named."""
    with pytest.raises(ConfigurationError, match=r"actor_class must be .*Threading"):
        ChildSpec(not_an_actor)


def test_an_actor_in_place_of_its_class_is_told_apart() -> None:
    """R22: the usual mistake has a word of its own."""
    with pytest.raises(ConfigurationError, match="give the class, the supervisor"):
        ChildSpec(Plain.start())  # type: ignore[arg-type]
    pykka.ActorRegistry.stop_all()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (KeyError, (KeyError,)),
        ([KeyError, OSError], (KeyError, OSError)),
        (iter([KeyError]), (KeyError,)),
        ((), ()),
    ],
)
def test_exceptions_that_crash_on_ask_become_a_tuple(given: Any, kept: Any) -> None:
    """R5: one type or several."""
    assert ChildSpec(Plain, crash_on_ask=given).crash_on_ask == kept


def test_strings_become_their_enums() -> None:
    assert ChildSpec(Plain, restart="permanent").restart is RestartType.PERMANENT


# -- what a spec is


def test_spec_is_a_read_only_key() -> None:
    spec = ChildSpec(Plain)

    assert {spec: 1}[spec] == 1
    with pytest.raises(AttributeError):
        spec.id = "other"  # type: ignore[misc]


def test_repr_names_the_child_and_leaves_its_arguments_out() -> None:
    spec = ChildSpec(Plain, kwargs={"password": "secret"}, id="kid")

    assert repr(spec) == "ChildSpec(Plain, id='kid', restart='transient')"
    assert repr(ChildSpec(Plain)).startswith("ChildSpec(Plain, id='Plain'")


def test_it_knows_whether_it_was_given_an_id() -> None:
    assert not ChildSpec(Plain).named
    assert ChildSpec(Plain, id="Plain").named


def test_a_copy_keeps_whether_it_was_given_an_id() -> None:
    unnamed = ChildSpec(Plain)

    replaced = dataclasses.replace(unnamed, shutdown=1)
    changes: dict[str, Any] = {"actor_class": Other}
    of_another_class: Any = dataclasses.replace(unnamed, **changes)

    assert (replaced.id, replaced.named) == ("Plain", False)
    assert (of_another_class.id, of_another_class.named) == ("Other", False)
    assert not copy.copy(unnamed).named
    assert dataclasses.replace(unnamed, id="kid").named


@pytest.mark.parametrize(
    "spec",
    [
        ChildSpec(Plain),
        ChildSpec(FakeSupervisor, ["one_for_one"]),
        ChildSpec(Plain, (1,), {"a": 2}, crash_on_ask=KeyError, significant=True),
    ],
)
def test_a_copy_without_changes_is_the_same(spec: ChildSpec[Any]) -> None:
    replaced = dataclasses.replace(spec)

    assert all(
        getattr(replaced, field.name) == getattr(spec, field.name) for field in fields()
    )


def test_with_id_is_the_same_spec_under_another_name() -> None:
    spec = ChildSpec(Plain, (1,), {"a": 2}, restart="temporary", capacity=3)

    other = spec.with_id("Plain-1")

    assert (other.id, other.named) == ("Plain-1", True)
    assert (spec.id, spec.named) == ("Plain", False)
    same = {field.name for field in fields()} - {"id"}
    assert all(getattr(other, name) is getattr(spec, name) for name in same)


def test_with_id_refuses_what_is_no_id() -> None:
    """R22: as the constructor does."""
    with pytest.raises(ConfigurationError, match="child 'Plain': id must be a string"):
        ChildSpec(Plain).with_id("")


def test_arguments_can_be_dropped_without_a_check_of_their_absence() -> None:
    """R76: the arguments of a temporary child are not retained."""
    spec = ChildSpec(FakeSupervisor, ("one_for_one", [Plain]), id="inner")

    bare = spec.without_arguments()

    assert (bare.args, dict(bare.kwargs)) == ((), {})  # type: ignore[arg-type]
    assert bare.id == "inner"
    assert spec.args


# -- nested supervisors


def test_nested_children_are_checked_with_the_outer_spec() -> None:
    """R22: before anything starts, at every depth; each child on the way is named."""
    twice = [Plain, Plain]

    with pytest.raises(ConfigurationError, match=r"'inner'.*'Plain'.*unique"):
        ChildSpec(FakeSupervisor, ("one_for_one", twice), id="inner")
    with pytest.raises(ConfigurationError, match=r"'inner'.*nonsense"):
        ChildSpec(FakeSupervisor, ("one_for_one", []), {"nonsense": 1}, id="inner")
    with pytest.raises(ConfigurationError, match=r"^child 'inner': missing .*strategy"):
        ChildSpec(Supervisor, id="inner")


def test_children_of_a_callable_are_checked_when_it_is_called() -> None:
    spec = ChildSpec(FakeSupervisor, kwargs=lambda siblings: {"children": 7})

    assert spec.is_supervisor


# -- restart types


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
    """R35: permanent on all, transient on failures, temporary never; fatal never."""
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


# -- for type checkers: this file is checked with mypy --strict


class Named(Actor):
    def hello(self) -> str:
        return "hello"


def test_a_spec_is_typed_by_its_actor_class() -> None:
    spec: ChildSpec[Named] = ChildSpec(Named, after_start=Named.hello).with_id("x")
    several = [ChildSpec(Named), ChildSpec(Plain)]
    actors: list[ChildSpec[pykka.ThreadingActor]] = [*several, spec]

    ChildSpec(Plain, after_start=Named.hello)  # type: ignore[arg-type]
    assert len(SupervisorSpec("one_for_one", actors[1:]).children) == 2


class Sealed(abc.ABCMeta):
    """Forbids subclasses of its classes."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        if any(isinstance(base, Sealed) for base in bases):
            raise TypeError("sealed")
        return super().__new__(cls, name, bases, body)


def test_class_that_cannot_be_supervised_is_refused_before_anything_starts() -> None:
    """R22: not on the supervisor's thread, when one of it is to start."""

    class Bounded(Actor):
        capacity = 0

    class Final(pykka.ThreadingActor, metaclass=Sealed):
        pass

    class NoActor:
        use_daemon_thread = True

    with pytest.raises(ConfigurationError, match=r"child 'Bounded': capacity .* got 0"):
        ChildSpec(Bounded)
    with pytest.raises(ConfigurationError, match=r"child 'Final'.*TypeError.'sealed'"):
        ChildSpec(Final)
    with pytest.raises(ConfigurationError, match=r"child 'NoActor'.*actor_class"):
        ChildSpec(NoActor)  # type: ignore[type-var]  # that is the point


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda spec: pickle.loads(pickle.dumps(spec))]
)
def test_spec_can_be_copied_and_pickled(twin: Any) -> None:
    """R22: it is a value."""
    spec = ChildSpec(Plain, backoff=Backoff())

    same = twin(spec)

    assert repr(same) == repr(spec)
    assert (same.args, same.kwargs, same.named) == ((), {}, False)
    assert same.capacity is UNSET
    assert same.on_crash is UNSET
