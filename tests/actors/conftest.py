"""What the tests of cells and incarnations share: a supervisor that only listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors.cell import Cell
from actors.exits import Down, Exit, Failing, Started
from actors.stop_token import StopToken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actors.testing import VirtualClock


class FakeSupervisor:
    """Collects reports; its ``make`` makes a cell that sends them here."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.token = StopToken(name="supervisor")
        self.notices: list[Any] = []
        self._wake = clock.queue()
        self.cells: list[Cell] = []

    def report(self, notice: Any) -> None:
        self.notices.append(notice)
        self._wake.put(notice)

    def make(self, actor_class: type[Any], *args: Any, **options: Any) -> Cell:
        cell = Cell(actor_class, args, report=self.report, token=self.token, **options)
        self.cells.append(cell)
        return cell

    def start(self, actor_class: type[Any], *args: Any, **options: Any) -> Cell:
        cell = self.make(actor_class, *args, **options)
        cell.start()
        self.expect(Started)
        return cell

    def expect(self, kind: type[Any]) -> Any:
        notice = self._wake.get()
        assert type(notice) is kind, notice
        return notice

    def next_notice(self) -> Any:
        """Wait for the next notice, whatever it is."""
        return self._wake.get()

    def expect_started(self, cell: Cell) -> None:
        """Wait until the present incarnation runs."""
        while self.expect(Started).number != cell.number:
            pass

    def restart(self, cell: Cell) -> Exit:
        """Wait for its end and start it again."""
        exit_ = self.ended(cell)
        cell.start()
        self.expect(Started)
        return exit_

    def ended(self, cell: Cell) -> Exit:
        notice = self._wake.get()
        if type(notice) is Failing:
            notice = self._wake.get()
        assert type(notice) is Down, notice
        assert notice.cell is cell
        exit_: Exit = notice.exit
        return exit_

    def stop(self, cell: Cell) -> Exit:
        cell.stop_now("test")
        exit_ = self.ended(cell)
        cell.finalize(exit_)
        return exit_


@pytest.fixture
def supervisor(clock: VirtualClock) -> Iterator[FakeSupervisor]:
    supervisor = FakeSupervisor(clock)
    yield supervisor
    for cell in supervisor.cells:
        if cell.final is None:
            cell.stop_now("the test is over")
            run = cell.incarnation
            if run is not None and not run.revoked:
                run.join()
            cell.finalize(Exit("shutdown"))
