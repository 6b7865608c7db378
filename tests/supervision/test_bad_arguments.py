"""What a host can give wrongly at run time is refused before it takes effect."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import pytest

from actors import Actor
from actors.errors import ConfigurationError
from supervision import (
    ChildNotFound,
    ChildSpec,
    DynamicSupervisor,
    Pipeline,
    Supervisor,
    handle_signals,
)
from tests.supervision.kids import states

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.testing import VirtualClock

BAD_SECONDS = ["5", -1, -0.001, math.nan, True, 10**400, [1]]
ENDINGS = ["stop", "shutdown", "wait"]
CHANGES = ["terminate_child", "restart_child", "delete_child"]


class Kid(Actor):
    pass


class Named(Kid):
    @classmethod
    def child_spec(cls) -> ChildSpec[Any]:
        return ChildSpec(cls, id="of its own")


class Sized(Actor):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        call()
    return str(caught.value)


# -- times


@pytest.mark.parametrize("seconds", BAD_SECONDS, ids=lambda each: repr(each)[:9])
def test_time_that_is_none_is_refused_before_anything_ends(
    clock: VirtualClock, seconds: Any
) -> None:
    """R22: the option, what is allowed and the value; the tree runs on."""
    must_be = f"seconds of 0 or more as a number, or None for no limit, got {seconds!r}"
    nested = ChildSpec(Supervisor, ("one_for_one", [Kid]), id="nested")
    with Supervisor.start("one_for_one", [Kid, nested]) as tree:
        for place in (tree, tree.ref(nested)):
            for ending in ENDINGS:
                text = refusal(lambda: getattr(place, ending)(timeout=seconds))  # noqa: B023
                assert text == f"{ending}: timeout must be {must_be}"
            text = refusal(lambda: place.stop_now("enough", timeout=seconds))  # noqa: B023
            assert text == f"stop_now: timeout must be {must_be}".replace(
                "None", "math.inf"
            )
        for change in ["start_child", *CHANGES]:
            text = refusal(lambda: getattr(tree, change)(Kid, timeout=seconds))  # noqa: B023
            assert text == f"{change}: timeout must be {must_be}"
        clock.settle()

        assert not tree.stop_token.draining
        assert states(tree) == "Kid running 1, nested running 1"
        assert states(tree.ref(nested)) == "Kid running 1"


def test_stop_now_has_a_time(clock: VirtualClock) -> None:
    """R22: None, which would fail a nested supervisor alone, is refused for all."""
    with Supervisor.start("one_for_one", [Kid]) as tree:
        nothing: Any = None
        assert "or math.inf for no limit, got None" in refusal(
            lambda: tree.stop_now("enough", timeout=nothing)
        )
        assert tree.is_alive()


@pytest.mark.parametrize("timeout", [0, 0.0, 3, 2.5, None, math.inf])
def test_time_that_is_one_is_taken(clock: VirtualClock, timeout: Any) -> None:
    """R22: 0, None and inf are allowed where a time is."""
    tree = Supervisor.start("one_for_one", [Kid])

    assert tree.shutdown(timeout=timeout)
    assert tree.wait(timeout=timeout)
    assert tree.stop(timeout=timeout) is False


@pytest.mark.parametrize("seconds", [*BAD_SECONDS, None], ids=lambda v: repr(v)[:9])
def test_drain_time_of_signals_is_a_number(clock: VirtualClock, seconds: Any) -> None:
    """R22."""
    with Supervisor.start("one_for_one", [Kid]) as tree:
        text = refusal(lambda: handle_signals(tree, drain_timeout=seconds))

    assert text.startswith("drain_timeout must be at least 0 seconds")
    assert repr(seconds) in text


# -- children


def test_class_stands_for_its_child_in_every_change(clock: VirtualClock) -> None:
    """R25: a class that was given for a child names it, as for tree.ref()."""
    with Supervisor.start("one_for_one", [Kid, Named]) as tree:
        for kind, child_id in [(Kid, "Kid"), (Named, "of its own")]:
            old = tree.ref(kind)
            tree.terminate_child(kind)
            assert not old.is_alive()

            assert tree.restart_child(kind) is tree.ref(child_id)

            tree.terminate_child(kind)
            tree.delete_child(kind)
            assert child_id not in states(tree)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("child", [None, 3, (Kid, {}), object()], ids=repr)
def test_what_is_no_child_is_refused(
    clock: VirtualClock, change: str, child: Any
) -> None:
    """R22: with the four things that are."""
    with Supervisor.start("one_for_one", [Kid]) as tree:
        text = refusal(lambda: getattr(tree, change)(child))

        assert text == (
            "root: a child must be its id, its spec, the class that was given for it, "
            f"or its ref, got {child!r}"
        )
        assert states(tree) == "Kid running 1"


@pytest.mark.parametrize("change", [*CHANGES, "order_termination"])
def test_unknown_id_is_told_by_whatever_takes_one(
    clock: VirtualClock, change: str
) -> None:
    """R22: an order that nobody waits for says so as well."""
    with (
        Supervisor.start("one_for_one", [Kid]) as tree,
        pytest.raises(ChildNotFound, match="root has no child 'typo'; it has: Kid"),
    ):
        getattr(tree, change)("typo")


# -- the root


@pytest.mark.parametrize(
    ("option", "value", "must_be"),
    [
        ("clock", 3, "a Clock, or None"),
        ("token", 3, "a StopToken or None"),
        ("on_event", 3, "a callable of the event, or None"),
        ("name", 3, "a string that is not empty"),
        ("name", "", "not empty"),
        ("name", "a/b", "without '/'"),
        ("name", "a\nb", "printable"),
    ],
)
def test_option_of_a_root_is_refused_by_name(
    clock: VirtualClock, option: str, value: Any, must_be: str
) -> None:
    """R22."""
    options: dict[str, Any] = {option: value}
    for start in (
        lambda: Supervisor.start("one_for_one", [Kid], **options),
        lambda: DynamicSupervisor.start(**options),
    ):
        text = refusal(start)
        assert text.startswith(f"supervisor: {option} must be ")
        assert must_be in text
        assert text.endswith(f"got {value!r}")


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "bell\a", 3])
def test_name_that_no_path_can_hold_is_refused(clock: VirtualClock, name: Any) -> None:
    """R22: paths such as root/workers stand in logs, pictures and errors."""
    must_be = "must be a string that is not empty, printable and without '/'"

    assert f"id {must_be}" in refusal(lambda: ChildSpec(Kid, id=name))
    assert f"id {must_be}" in refusal(lambda: ChildSpec(Kid).with_id(name))
    assert f"name {must_be}" in refusal(lambda: Pipeline(name=name))


@pytest.mark.parametrize("name", ["a", "of its own", "db:5432", "Größe", "<a.b>", "\\"])
def test_name_that_a_path_can_hold_is_taken(clock: VirtualClock, name: str) -> None:
    """R22."""
    with Supervisor.start("one_for_one", [ChildSpec(Kid, id=name)], name=name) as tree:
        assert states(tree) == f"{name} running 1"


def test_listener_of_the_end_is_a_callable(clock: VirtualClock) -> None:
    """R22: where it is given, and not when the tree has ended."""
    with Supervisor.start("one_for_one", [Kid]) as tree:
        nothing: Any = 3

        text = refusal(lambda: tree.when_ended(nothing))

    assert text == "when_ended: fn must be a callable of the exit, got 3"


# -- arguments of children


def test_keyword_arguments_have_names(clock: VirtualClock) -> None:
    """R22."""
    kwargs: Any = {1: 1}

    assert refusal(lambda: ChildSpec(Kid, kwargs=kwargs)) == (
        "child 'Kid': kwargs must be a mapping, or a callable of the siblings that "
        "returns one, keyed by strings, got {1: 1}"
    )


def test_argument_of_the_actor_given_to_its_spec_is_shown_its_place() -> None:
    """R22: what everybody writes at first for a nested supervisor."""
    maker: Any = ChildSpec

    text = refusal(
        lambda: maker(Supervisor, ("one_for_one", [Kid]), intensity=0, period=1)
    )

    assert text == (
        "child 'Supervisor': ChildSpec has no field 'intensity', but Supervisor has an "
        "argument of that name: those are in the spec's kwargs, "
        'ChildSpec(Supervisor, args, {"intensity": ..., "period": ...})'
    )
    assert '{"size": ...}' in refusal(lambda: maker(actor_class=Sized, size=3))


def test_field_that_nobody_has_is_pythons_own_error() -> None:
    """R22: and the signature is the one that is written down."""
    maker: Any = ChildSpec
    for args in ((Kid,), (), (3,)):
        with pytest.raises(TypeError, match="unexpected keyword argument 'shutdwn'"):
            maker(*args, shutdwn=3)

    assert "start_timeout" in inspect.signature(ChildSpec).parameters


@pytest.mark.parametrize(
    ("kind", "args", "kwargs", "taken"),
    [
        (
            Supervisor,
            ("one_for_one",),
            {"intensty": 3},
            (
                "'intensty'; it takes: strategy, children, intensity, period, start, "
                "auto_shutdown, decider"
            ),
        ),
        (
            DynamicSupervisor,
            (),
            {"max": 3},
            "'max'; it takes: max_children, intensity, period, decider",
        ),
    ],
)
def test_wrong_argument_of_a_nested_supervisor_is_told_the_right_ones(
    kind: Any, args: Any, kwargs: Any, taken: str
) -> None:
    """R22."""
    assert refusal(lambda: ChildSpec(kind, args, kwargs)).endswith(taken)
