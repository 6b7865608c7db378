"""What whoever operates a tree reads of it, from the child that fails to the log."""

from __future__ import annotations

import dataclasses
import functools
import logging
import traceback
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from actors.errors import ConfigurationError
from supervision.child_spec import ChildSpec
from supervision.dynamic import DynamicSupervisor
from supervision.errors import LONGEST, ChildNotFound, StartFailed, SupervisorGaveUp
from supervision.strategies import Backoff
from supervision.supervisor import Supervisor
from tests.supervision.kids import Nursery, below, boom

if TYPE_CHECKING:
    from actors.testing import VirtualClock

SLOW = Backoff(initial=1, factor=2, maximum=60, jitter=0, first_immediate=False)


class Told:
    """The first lines of what was logged, without tracebacks."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "headrace.supervision")
        self._caplog = caplog

    @property
    def lines(self) -> list[str]:
        return [text.partition("\n")[0] for text in self._caplog.messages]

    @property
    def whole(self) -> list[str]:
        return self._caplog.messages


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    return Told(caplog)


def failing(*numbers: int) -> Any:
    """An ``on_start`` that fails in these incarnations."""

    def on_start(kid: Any) -> None:
        if kid.incarnation in numbers:
            raise OSError("refused")

    return on_start


# -- the log


def test_outage_is_told_from_its_beginning_to_its_end(
    ours: Nursery, clock: VirtualClock, told: Told
) -> None:
    """R92."""
    db = ours.spec("db", failing(2, 3), backoff=SLOW)
    with ours.grow([db], intensity=9, period=60) as tree:
        tree.ref("db").tell(boom)
        clock.advance(7)

        assert told.lines[0].startswith("root/db (#1) crashed (ValueError('boom'));")
        assert told.lines[-1] == (
            "root/db (#4) runs again, after 1 failure and 2 failed starts; it was down "
            "for 7.0 s"
        )


def test_quick_restart_is_one_line(
    ours: Nursery, clock: VirtualClock, told: Told
) -> None:
    """R92."""
    with ours.grow("a") as tree:
        tree.ref("a").tell(boom)
        clock.settle()

        assert len(told.lines) == 1


def test_child_that_a_nested_supervisor_gave_up_runs_again_behind_the_same_path(
    ours: Nursery, clock: VirtualClock, told: Told
) -> None:
    """R92: it is another child to its new supervisor, and the same to an operator."""
    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [ours.spec("x")]),
        {"intensity": 0},
        id="inner",
        backoff=SLOW,
    )
    with ours.grow([inner]) as tree:
        below(tree, "inner").ref("x").tell(boom)
        clock.advance(1)

        assert told.lines[2:] == [
            "root/inner/x (#1) runs again, after 1 failure; it was down for 1.0 s",
            "root/inner (#2) runs again, after 1 failure; it was down for 1.0 s",
        ]


def test_resumed_failure_is_logged_with_the_place_where_it_was_raised(
    ours: Nursery, clock: VirtualClock, told: Told
) -> None:
    """R92, R49."""
    with ours.grow("a", decider={ValueError: "resume"}) as tree:
        tree.ref("a").tell(boom)
        clock.settle()

        [text] = told.whole
        assert "; resumed: it goes on with the next message" in text
        assert 'in boom\n    raise ValueError("boom")\nValueError: boom' in text


def test_child_without_which_nothing_starts_is_told_as_such(
    ours: Nursery, clock: VirtualClock, told: Told
) -> None:
    """R92."""
    with pytest.raises(StartFailed):
        ours.grow(["a", ours.spec("b", failing(1))])

    assert told.lines == [
        (
            "root/b (#1) did not start (OSError('refused')); so root does not start: "
            "what runs of it is stopped, start() raises the error"
        )
    ]


def test_own_limit_of_a_child_is_the_one_that_is_counted(
    ours: Nursery, clock: VirtualClock, told: Told
) -> None:
    """R92, R46."""
    with ours.grow([ours.spec("a", max_restarts=2)]) as tree:
        tree.ref("a").tell(boom)
        clock.settle()

        assert told.lines[0].endswith("; restarting now, 1 of 2 restarts in a row used")


def test_subtree_that_a_decider_stops_can_be_had_back_as_the_log_says(
    ours: Nursery, clock: VirtualClock, told: Told
) -> None:
    """R92, R49."""
    storage = ChildSpec(
        Supervisor,
        ("one_for_one", [ours.spec("x")]),
        {"intensity": 0},
        id="storage",
    )
    with ours.grow([storage, "b"], decider={ValueError: "stop"}) as tree:
        below(tree, "storage").ref("x").tell(boom)
        clock.settle()
        assert told.lines[-1] == (
            "root/storage (#1) gave up (ValueError('boom')); it stays down, as the "
            "decider of root says; the other children go on. When the cause is gone, "
            "restart_child('storage') of root starts it again"
        )

        tree.restart_child("storage")

        assert tree.snapshot().children[0].state == "running"


def test_giving_up_despite_a_backoff_names_the_intensity_it_needs(
    ours: Nursery, clock: VirtualClock, told: Told
) -> None:
    """R92: the number of the warning."""
    with pytest.warns(UserWarning, match="intensity=3 would let it run"):
        tree = ours.grow([ours.spec("a", failing(2), backoff=SLOW)], intensity=1)
    tree.ref("a").tell(boom)
    clock.advance(10)

    assert told.lines[-1].endswith(
        "Its Backoff is cut short: intensity=3 would let it run"
    )
    with pytest.raises(SupervisorGaveUp):
        tree.wait()


def test_backoff_may_be_cut_short_where_that_is_what_it_is_for(ours: Nursery) -> None:
    """R92, R46: with give_up="leave_down" no warning, which would be an error here."""
    spec = ours.spec("a", backoff=SLOW, give_up="leave_down")
    with ours.grow([spec], intensity=1):
        pass


@pytest.mark.parametrize("depth", [0, 1])
def test_thread_left_behind_is_told_by_its_path_and_from_the_hosts_code_on(
    ours: Nursery,
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
    depth: int,
) -> None:
    """R58, R92."""
    stuck = clock.event()

    def wait_for_ever(_kid: Any) -> None:
        stuck.wait()

    specs: Any = [ours.spec("stuck", shutdown=2)]
    path = "root/stuck"
    if depth:
        specs = [ChildSpec(Supervisor, ("one_for_one", specs), id="inner")]
        path = "root/inner/stuck"
    tree = ours.grow(specs)
    parent = below(tree, "inner") if depth else tree
    parent.ref("stuck").tell(wait_for_ever)
    clock.settle()
    stop = clock.thread(lambda: parent.terminate_child("stuck"))
    stop.start()
    clock.advance(2)
    clock.join(stop)

    [record] = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    first, place, *_ = record.getMessage().splitlines()
    assert first == (
        f"{path} (#1) did not stop in time; its thread goes on as 'zombie:stuck', shut "
        "out and harmless:"
    )
    assert place.endswith("in on_receive")
    assert "kids.py" in place
    assert "left behind 0.0 s ago: did not stop in time\n    File " in str(
        tree.snapshot()
    )
    stuck.set()
    tree.shutdown()


def test_stack_of_a_start_that_hangs_begins_with_the_hosts_code(
    ours: Nursery, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """R58, R92: a nested supervisor's has the tree's own frames below it, too."""
    stuck = clock.event()

    def wait_for_ever(_supervisor: Any) -> None:
        stuck.wait()

    inner = ChildSpec(
        Supervisor,
        ("one_for_one", [ours.spec("x")]),
        id="inner",
        after_start=wait_for_ever,
        start_timeout=2,
    )

    def start() -> None:
        with pytest.raises(StartFailed):
            ours.grow([inner])

    host = clock.thread(start)
    host.start()
    clock.advance(2)
    clock.join(host)

    [record] = [r for r in caplog.records if r.levelno == logging.CRITICAL]
    place = record.getMessage().splitlines()[1]
    assert place.endswith("in wait_for_ever")
    stuck.set()
    clock.settle()


def test_stack_of_many_that_hang_at_one_place_is_logged_once(
    ours: Nursery, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """R58, R92: 100 of them were 176 kB; each has its line."""
    stuck = clock.event()

    def wait_for_ever(_kid: Any) -> None:
        stuck.wait()

    def leave_behind(*names: str) -> list[str]:
        caplog.clear()
        for name in names:
            tree.ref(name).tell(wait_for_ever)
            clock.settle()
            stop = clock.thread(functools.partial(tree.terminate_child, name))
            stop.start()
            clock.advance(2)
            clock.join(stop)
        records = [r for r in caplog.records if r.levelno == logging.CRITICAL]
        return [record.getMessage() for record in records]

    tree = ours.grow([ours.spec(name, shutdown=2) for name in "abcd"])

    first, *others = leave_behind("a", "b", "c")

    assert "stuck.wait()" in first
    assert others == [
        f"root/{name} (#1) did not stop in time; its thread goes on as "
        f"'zombie:{name}', shut out and harmless; it hangs where root/a (#1) does, "
        "whose stack was logged"
        for name in "bc"
    ]
    text = str(tree.snapshot())
    assert "3 threads  left behind" in text
    assert text.count("stuck.wait()") == 1
    clock.advance(60)
    [again] = leave_behind("d")
    assert "stuck.wait()" in again
    stuck.set()
    tree.shutdown()


# -- errors


def test_start_that_failed_shows_a_host_without_a_log_its_own_line(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R92: the cause has no frames; a note has them, and once."""
    inner = ChildSpec(
        Supervisor, ("one_for_one", [ours.spec("x", failing(1))]), id="inner"
    )
    with pytest.raises(StartFailed) as caught:
        ours.grow([inner])

    text = "".join(traceback.format_exception(caught.value))
    assert text.count('raise OSError("refused")') == 1
    assert text.startswith("OSError: refused\nIt happened here:\nTraceback")
    last = text.splitlines()[-1]
    assert last.startswith("supervision.errors.StartFailed: child 'inner' of root did")


def test_giving_up_shows_where_the_last_failure_was_raised(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R92."""
    tree = ours.grow("a", intensity=0)
    tree.ref("a").tell(boom)
    clock.settle()

    for _ in range(2):  # told once
        with pytest.raises(SupervisorGaveUp) as caught:
            tree.wait()
        [note] = notes_of(caught.value.__cause__)
        assert note.endswith('in boom\n    raise ValueError("boom")\nValueError: boom')
        assert not notes_of(caught.value)


def notes_of(error: BaseException | None) -> list[str]:
    return list(getattr(error, "__notes__", ()))


def test_error_that_is_raised_again_and_again_has_one_note_of_ours(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R92: bounded; and a note of the host's stays."""
    again = OSError("refused")
    again.add_note("the host's")

    def fail(_kid: Any) -> None:
        raise again

    with ours.grow("a") as tree:
        for _ in range(5):
            with pytest.raises(StartFailed):
                tree.start_child(ours.spec("b", fail))

    theirs, one_of_ours = notes_of(again)
    assert theirs == "the host's"
    assert one_of_ours.startswith("It happened here:\n")
    assert len(one_of_ours) < LONGEST + 50


def test_error_that_takes_no_notes_is_told_without(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R92: a host's class may be frozen."""

    @dataclasses.dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    def fail(_kid: Any) -> None:
        raise Frozen(7)

    with pytest.raises(StartFailed, match=r"Frozen\(code=7\)"):
        ours.grow([ours.spec("a", fail)])


def test_note_of_a_deep_recursion_has_its_last_lines(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R92: bounded."""

    def one(depth: int) -> None:
        other(depth)

    def other(depth: int) -> None:
        if not depth:
            raise ValueError("deep")
        one(depth - 1)

    tree = ours.grow("a", intensity=0)
    tree.ref("a").tell(lambda _kid: one(100))
    clock.settle()

    with pytest.raises(SupervisorGaveUp) as caught:
        tree.wait()
    [note] = notes_of(caught.value.__cause__)
    assert note.startswith("It happened here:\n...\n  ")
    assert note.endswith("ValueError: deep")
    assert len(note) < LONGEST + 50


def test_error_that_was_never_raised_has_no_note(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R92: a permanent child that stops too often fails on nothing."""
    tree = ours.grow([ours.spec("a", restart="permanent")], intensity=0)
    tree.ref("a").stop()

    with pytest.raises(SupervisorGaveUp) as caught:
        tree.wait()
    assert not notes_of(caught.value)


def test_child_that_is_not_there_is_named_without_quotes_around(
    ours: Nursery, clock: VirtualClock
) -> None:
    """R75: the same error as of terminate_child, and a KeyError."""
    seen: list[Exception] = []

    def look(siblings: Any) -> dict[str, Any]:
        try:
            siblings.ref("x")
        except KeyError as error:
            seen.append(error)
        return {"log": ours.log, "name": "b"}

    kid = ours.kid_class
    with ours.grow(["a", ChildSpec(kid, (), look, id="b")]) as tree:
        with pytest.raises(KeyError) as caught:
            tree.ref("x")
        seen.append(caught.value)

    assert [type(error) for error in seen] == [ChildNotFound] * 2
    assert {str(error) for error in seen} == {"root has no child 'x'; it has: a, b"}


@pytest.mark.parametrize(
    ("returned", "shown"),
    [
        (None, "got None; it may lack a return"),
        ([], "got []"),
        ({"core"}, "got {'core'}"),
        ("x" * 5000, "got 'xxxxxxxxxxxx...xxxxxxxxxxxxx'"),
    ],
)
def test_callable_kwargs_that_return_no_arguments_are_named(
    ours: Nursery, clock: VirtualClock, returned: Any, shown: str
) -> None:
    """R92: with the child, and with no name of ours."""
    spec = ChildSpec(ours.kid_class, (), lambda _siblings: returned, id="web")

    with pytest.raises(StartFailed) as caught:
        ours.grow([spec])

    cause = caught.value.__cause__
    assert isinstance(cause, ConfigurationError)
    assert str(cause) == (
        "child 'web': its callable kwargs must return a mapping of argument names to "
        f"values, {shown}"
    )


def test_kwargs_may_be_any_mapping(ours: Nursery, clock: VirtualClock) -> None:
    """R92."""
    given = MappingProxyType({"log": ours.log, "name": "a"})

    with ours.grow([ChildSpec(ours.kid_class, (), lambda _siblings: given, id="a")]):
        assert ours.take() == "start a"


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (("one_for_one", []), {}),
        ((), {"strategy": "one_for_one"}),
        ((), {"children": []}),
    ],
)
def test_dynamic_supervisor_says_that_it_takes_neither_strategy_nor_children(
    args: Any, kwargs: Any
) -> None:
    """R76."""
    with pytest.raises(ConfigurationError) as caught:
        ChildSpec(DynamicSupervisor, args, kwargs, id="sessions")

    assert str(caught.value) == (
        "child 'sessions': a DynamicSupervisor takes neither strategy nor children: it "
        "is one_for_one, and its children come by start_child(); write "
        'ChildSpec(DynamicSupervisor, (), {"max_children": ...})'
    )


@pytest.mark.parametrize(
    ("kind", "args", "kwargs", "wrong"),
    [
        (Supervisor, (), {}, "missing a required argument: 'strategy'"),
        (
            Supervisor,
            ("one_for_one", ()),
            {"intensty": 3},
            "unexpected keyword argument 'intensty'",
        ),
        (DynamicSupervisor, (), {"max": 3}, "unexpected keyword argument 'max'"),
    ],
)
def test_wrong_arguments_of_a_nested_supervisor_are_named_without_names_of_ours(
    kind: Any, args: Any, kwargs: Any, wrong: str
) -> None:
    """R92."""
    with pytest.raises(ConfigurationError, match=wrong) as caught:
        ChildSpec(kind, args, kwargs, id="inner")
    assert "Spec." not in str(caught.value)
