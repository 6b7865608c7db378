"""The hardest places under many schedules; the long form is run by hand.

``python -m tests.supervision.hard_places --seeds 5000``
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors import Cell, JobFuture, Ledger
from actors._bounded import Bounded
from actors._remains import Remains
from actors.testing import explore
from supervision.pipeline_run import PipelineRun
from tests.supervision.hard_places import PLACES

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS = 60


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_hard_place_keeps_its_sums_under_many_schedules(place: str) -> None:
    assert explore(PLACES[place], seeds=SEEDS, auto_advance=True) > SEEDS // 2


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_hard_place_takes_the_same_way_under_the_same_seed(place: str) -> None:
    explore(PLACES[place], seeds=6, check_determinism=True, auto_advance=True)


# -- the sums have to notice what goes wrong


def leave_whoever_waits(tickets: Any, readers: Any) -> None:
    """Wake only the readers when a mailbox closes."""
    for reader in readers:
        reader.put(None)


def refuse_nobody(self: Remains, envelope: Any) -> None:
    """Leave an ask without its answer."""


def answer_nobody(self: Cell) -> None:
    """Leave whoever asked for a stop without an answer."""


def shut_nothing(self: Ledger, why: str) -> bool:
    """Look whether all is done, and let the intake as it is."""
    return self.root.idle


def end_nothing(self: PipelineRun, *moments: Any) -> None:
    """Leave the tree as it is."""


def say_yes(self: JobFuture) -> bool:
    """Answer a cancel at random, so to speak."""
    return True


FAULTS: dict[str, tuple[type[Any], str, Callable[..., Any]]] = {
    "mailbox_close": (Bounded, "_wake_all", staticmethod(leave_whoever_waits)),
    "restart_during_put": (Remains, "refuse", refuse_nobody),
    "stop_during_start": (Cell, "answer_stops", answer_nobody),
    "pipeline_stop_during_start": (PipelineRun, "_end_tree", end_nothing),
    "settle_against_cancel": (JobFuture, "cancel_unless_begun", say_yes),
    "drain_against_submit": (Ledger, "close_if_idle", shut_nothing),
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_planted_fault_is_found_at_its_place(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, name, fault = FAULTS[place]
    monkeypatch.setattr(holder, name, fault)

    with pytest.raises(BaseException) as caught:  # noqa: PT011  # a Deadlock, say
        explore(PLACES[place], seeds=SEEDS, auto_advance=True, hard_timeout=20)

    assert any("replay it with" in note for note in caught.value.__notes__)
