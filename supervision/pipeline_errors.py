"""What a run of a pipeline went wrong with, raised to its host once.

:Runs on: ``gave_up`` on a supervisor's thread, the rest on the host's.
:Owns: why the run gave up, and whether the host was told.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from actors.errors import HeadraceError, ProducerError, SinkError
from supervision.errors import SupervisorGaveUp, shown

if TYPE_CHECKING:
    from actors import Exit, Group
    from supervision.producing import Producers
    from supervision.supervisor_ref import SupervisorRef

__all__ = ["RunErrors", "cause_of"]


def cause_of(exit_: Exit) -> str:
    """How a tree ended, in words."""
    if exit_.kind == "gave_up":
        return f"it gave up, and the last failure was {shown(exit_.error)}"
    failure = "" if exit_.error is None else f": {shown(exit_.error)}"
    return f"its tree of actors ended ({exit_.kind}){failure}"


class RunErrors:
    """The errors of one run.

    Args:
        name: The pipeline's.
        root: Knows what the sink raised.
        producers: Know what one of them raised.

    Attributes:
        tree: Raises what it ended by, if nobody had ordered that.
        exit: How it ended, once it has.
    """

    def __init__(self, name: str, root: Group, producers: Producers) -> None:
        self.tree: SupervisorRef | None = None
        self.exit: Exit | None = None
        self._name = name
        self._root = root
        self._producers = producers
        self._lost: SupervisorGaveUp | None = None
        self._raised = False

    def gave_up(self, why: str, cause: BaseException | None) -> None:
        """Remember why the run gives up, when it is not its tree that does."""
        if self._lost is None:
            self._lost = SupervisorGaveUp(f"{self._name} gave up: {why}")
            self._lost.__cause__ = cause

    def raise_once(self, *, finished: bool) -> None:
        """Raise the gravest of what went wrong, if nothing was raised before.

        Args:
            finished: The run is over.

        Raises:
            SupervisorGaveUp, ProducerError, SinkError: Of these the first.
            BaseException: What ended the tree fatally, the same object.
        """
        if self._raised:
            return
        try:
            if finished:
                self._raise_of_end()
            self._raise_of_producers()
            self._raise_of_sink()
        except BaseException:
            self._raised = True
            raise

    def _raise_of_end(self) -> None:
        if self._lost is not None:
            raise self._lost
        if self.tree is not None:
            self.tree.wait(0)

    def _raise_of_producers(self) -> None:
        error = self._producers.error
        if error is not None:
            msg = f"a producer of {self._name} raised {shown(error)}"
            raise ProducerError(msg) from error

    def _raise_of_sink(self) -> None:
        error = self._root.sink_error
        if error is not None:
            msg = (
                f"the sink of {self._name} raised {shown(error)}; results it was not "
                "given are in report().undelivered"
            )
            raise SinkError(msg) from error

    def explain(self, error: BaseException | None) -> None:
        """Tell on what a block raised that the pipeline had ended under it."""
        if not isinstance(error, (CancelledError, HeadraceError)):
            return
        if self._lost is not None:
            error.add_note(f"headrace: {self._lost}")
        elif self.exit is not None and self.exit.abnormal:
            error.add_note(f"headrace: {self._name} had ended: {cause_of(self.exit)}")
