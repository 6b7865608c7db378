"""What the four stages of a pipeline have in common: they are wired before they start.

A host subclasses a stage with any ``__init__`` it likes; what the pipeline wants the
stage to know arrives beside the constructor's arguments, as ``wiring=``.

:Runs on: the stage's own thread under supervision; the creator's when started plain.
:Owns: nothing but the wiring it was given.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

from actors.base import Actor

__all__ = ["Stage"]


class _StageMeta(abc.ABCMeta):
    """Takes ``wiring=`` out of the constructor's arguments."""

    def __call__(cls, *args: Any, wiring: Any = None, **kwargs: Any) -> Any:
        stage: Any = cls.__new__(cls, *args, **kwargs)  # type: ignore[arg-type]  # a class, seen from its metaclass
        stage.wiring = wiring
        stage.made_with = (args, kwargs)
        stage.__init__(*args, **kwargs)
        if wiring is not None:
            stage.wired()
        return stage


class Stage(Actor, metaclass=_StageMeta):
    """An actor of a pipeline.

    Subclass :class:`~actors.Producer`, :class:`~actors.Worker` or
    :class:`~actors.Collector`, not this.  ``on_start``, ``on_stop`` and ``on_failure``
    are free for the subclass and need not call ``super()``.
    """

    capacity: ClassVar[int | None] = 10

    wiring: Any
    """What the pipeline lets this stage know; ``None`` when started plain."""

    made_with: tuple[tuple[Any, ...], dict[str, Any]]
    """The constructor's arguments: what a restart makes the next object from."""

    def wired(self) -> None:
        """Take up the wiring; runs after ``__init__``, before ``on_start``."""
