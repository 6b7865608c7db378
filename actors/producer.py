"""The stage that brings jobs in.

:Runs on: the producer's own thread.
:Owns: the iterator that it pulls from.
:Blocks: on the iterator; on room for the next job, which is the pipeline's
    backpressure, until its stop token is cancelled.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, ClassVar

from actors._inside import Role, enter_role
from actors.errors import Cancelled, MailboxClosed
from actors.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from actors.clock import WakeQueue
    from actors.stop_token import StopToken

__all__ = ["Producer", "ProducerWiring"]


class _Pull(enum.Enum):
    """What a producer's source always has: the order to pull the next item."""

    NEXT = "next item"

    def __repr__(self) -> str:
        return "<the next item>"


_PULL = _Pull.NEXT


class ProducerWiring:
    """What a pipeline lets a producer know.

    Args:
        owner: Whose inside the producer's thread is.
        submit: Brings one payload or Job in; waits for room until the token's cancel.
        ended: Told once when the iterator is exhausted or raised.
    """

    __slots__ = ("ended", "owner", "submit")

    def __init__(
        self,
        owner: object,
        submit: Callable[[Any, StopToken], object],
        ended: Callable[[BaseException | None], object],
    ) -> None:
        self.owner = owner
        self.submit = submit
        self.ended = ended


class Producer(Stage):
    """Brings jobs in: subclass it and override :meth:`produce`, or give an iterable.

    An instance given to a pipeline is a template: its class and constructor arguments
    make the producer anew in the producer's own thread.

    Args:
        items: Payloads or Jobs, when ``produce`` is not overridden.
    """

    wiring: ProducerWiring | None

    restart: ClassVar[str] = "temporary"
    """An iterator that raised is not begun again; ``"transient"`` only for a producer
    whose ``produce`` resumes by itself."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__()
        self._items = items

    def produce(self) -> Iterator[Any]:
        """Yield payloads or :class:`Job` objects; override it.

        Runs in the producer's thread, one item at a time, each pulled when the last one
        has found room.  Its end ends the producer; what it raises reaches the host as
        :class:`~actors.errors.ProducerError`.
        """
        return iter(self._items)

    def wired(self) -> None:
        """See :meth:`Stage.wired`."""
        assert self.wiring is not None  # called only with a wiring
        enter_role(self.wiring.owner, Role.PRODUCER)
        self._iterator: Iterator[Any] | None = None
        self.source = self

    # -- the loop's source is the producer itself: there is always a next item to pull

    def take(self, wake: WakeQueue) -> object:  # noqa: ARG002  # never waits
        """Say that there is something to do; :meth:`on_item` does it."""
        return _PULL

    def withdraw(self, wake: WakeQueue) -> None:
        """Nobody ever waits here."""

    def on_item(self, item: object) -> None:  # noqa: ARG002  # only says: go on
        """Pull the next item and submit it; waits for room."""
        wiring = self.wiring
        assert wiring is not None  # only a wired producer has a source
        if self.stop_token.draining:
            self._end(None)
            return
        try:
            if self._iterator is None:
                self._iterator = iter(self.produce())
            payload = next(self._iterator, _PULL)
            if payload is _PULL:
                self._end(None)
            else:
                wiring.submit(payload, self.stop_token)
        except (Cancelled, MailboxClosed):
            self._end(None)
        except Exception as error:
            if self.restart == "temporary":
                self._end(error)
            raise

    def _end(self, error: BaseException | None) -> None:
        """Say that nothing more comes, once, and stop."""
        if self.source is not None:
            self.source = None
            if self.wiring is not None:
                self.wiring.ended(error)
            self.stop()
