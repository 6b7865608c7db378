"""What a supervisor shows of its children, whenever somebody looks."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import Actor
from actors.exits import Exit
from supervision.child_spec import ChildSpec
from supervision.child_state import Child, State
from supervision.picture import Painter, Picture

LIMIT = 60.0


def a_child(name: str, *, restart: Any = "transient") -> Child:
    spec = ChildSpec(Actor, id=name, restart=restart)
    return Child(spec, SimpleNamespace(ref=f"ref of {name}"))


def shown(picture: Picture) -> str:
    return " ".join(f"{info.id}:{info.state}" for info in picture.children)


def test_new_children_come_last_and_gone_ones_leave() -> None:
    """R77: children are added and removed at run time."""
    a, b = a_child("a"), a_child("b", restart="temporary")
    painter = Painter([a, b])
    assert shown(painter.paint(())) == "a:starting b:starting"

    c = a_child("c")
    b.state = State.UNDEFINED
    picture = painter.paint([b, c])

    assert shown(picture) == "a:starting c:starting"
    assert picture.find("b") is None


def test_picture_stays_what_it_was() -> None:
    """R21a: pictures are immutable, also those that nobody has looked at yet."""
    children = [a_child(f"c{number}") for number in range(200)]
    painter = Painter(children)
    before = painter.paint(())
    children[7].state = State.RUNNING
    between = painter.paint([children[7]])
    children[7].state = State.STOPPING
    after = painter.paint([children[7]])

    assert [p.children[7].state for p in (after, between, before)] == [
        "stopping",
        "running",
        "starting",
    ]


def test_child_in_the_place_of_a_gone_one_is_shown_in_either_order() -> None:
    """R77: deleted and started again under its id within one transition."""
    for new_first in (True, False):
        old, new = a_child("a", restart="temporary"), a_child("a")
        painter = Painter([old, a_child("b")])
        old.state = State.UNDEFINED

        picture = painter.paint([new, old] if new_first else [old, new])

        assert {info.id: info.state for info in picture.children} == {
            "a": "starting",
            "b": "starting",
        }
        assert painter.paint([old]) is picture


def test_picture_tells_the_last_exit_and_the_moment_of_the_restart() -> None:
    """R77."""
    child = a_child("a")
    painter = Painter([child])
    child.state, child.exit = State.RESTARTING, Exit("failed", ValueError("boom"))
    child.group = SimpleNamespace(at=12.5)  # type: ignore[assignment]  # all that is read

    [info] = painter.paint([child]).children

    assert (info.state, info.exit, info.restart_at) == ("restarting", child.exit, 12.5)


OPERATIONS = st.lists(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from([*State, None])),
        min_size=1,
        max_size=4,
    ),
    max_size=30,
)


@given(OPERATIONS, st.integers(0, 300), st.randoms(use_true_random=False))
def test_pictures_are_as_if_drawn_whole_each_time(
    batches: Any, others: int, order: Any
) -> None:
    """R21a: whenever and in whatever order somebody looks."""
    model = {f"x{n}": a_child(f"x{n}", restart="temporary") for n in range(others)}
    painter = Painter(model.values())
    taken: list[tuple[Picture, list[tuple[str, str]]]] = []
    for batch in batches:
        changed = []
        for number, state in batch:
            child = model.pop(f"c{number}", None) or a_child(
                f"c{number}", restart="temporary"
            )
            child.state = state or State.RUNNING
            changed.append(child)
            if state is not State.UNDEFINED:
                model[child.id] = child
        picture = painter.paint(changed)
        whole = Painter(model.values()).paint(())
        taken.append((picture, sorted((i.id, i.state) for i in whole.children)))

    order.shuffle(taken)

    for picture, expected in taken:
        assert sorted((i.id, i.state) for i in picture.children) == expected


def test_transition_costs_what_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """R76, R21a: 10,000 children that start one by one are not 50 million steps."""
    copied = 0
    worked_in = Picture._worked_in

    def counted(self: Picture) -> Any:
        nonlocal copied
        infos = worked_in(self)
        copied += len(infos)
        return infos

    monkeypatch.setattr(Picture, "_worked_in", counted)
    painter = Painter([])
    picture = painter.paint(())
    for number in range(10_000):
        child = a_child(f"c{number}", restart="temporary")
        for state in (State.STARTING, State.RUNNING):
            child.state = state
            picture = painter.paint([child])

    assert copied < 20_000 * 100
    assert len(picture.children) == 10_000


def test_what_is_gone_is_not_kept_by_pictures_that_nobody_reads() -> None:
    """R76: a thousand that come and go beside one that stays."""
    painter = Painter([a_child("stays")])
    picture = painter.paint(())
    for number in range(1000):
        child = a_child(f"c{number}", restart="temporary")
        painter.paint([child])
        child.state = State.UNDEFINED
        picture = painter.paint([child])

    assert picture._before is None
    assert shown(picture) == "stays:starting"


def test_long_chain_of_unread_pictures_is_worked_in_and_let_go() -> None:
    """R21a: no recursion, however many transitions nobody has looked at."""
    children = [a_child(f"c{number}") for number in range(10_000)]
    painter = Painter(children)
    last = first = painter.paint(())
    for child in children[:150]:
        child.state = State.RUNNING
        last = painter.paint([child])
    assert last._before is not None

    assert sum(info.state == "running" for info in last.children) == 150
    assert sum(info.state == "running" for info in first.children) == 0


@pytest.mark.real
def test_readers_of_one_picture_at_the_same_time_see_the_same() -> None:
    """R21a: any thread, without a lock."""
    children = [a_child(f"c{number}") for number in range(1000)]
    painter = Painter(children)
    start = threading.Barrier(4, timeout=LIMIT)
    seen: list[set[int]] = []

    def read(pictures: list[Picture]) -> None:
        start.wait()
        sums = {
            sum(info.state == "running" for info in picture.children) - number
            for number, picture in enumerate(pictures)
        }
        seen.append(sums)

    pictures = []
    for child in children[:14]:
        pictures.append(painter.paint(()))
        child.state = State.RUNNING
        painter.paint([child])
    threads = [threading.Thread(target=read, args=(pictures,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)

    assert seen == [{0}] * 4
