"""References to actors: valid across restarts, because they point to the cell.

:Runs on: any thread.
:Owns: which incarnation runs on the present thread, a context variable.
:Blocks: ``tell`` and ``ask`` while the mailbox is full, ``ask`` and ``stop`` until the
    reply; each for at most its ``timeout``.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import pykka
from pykka.messages import _ActorStop as StopMarker  # the one private name we need

from actors._gated import MailboxDown
from actors._proxy import Proxy
from actors._seconds import check_length
from actors.clock import thread_ident
from actors.errors import MailboxClosed, MailboxFull, WouldDeadlock
from actors.future import Reply
from actors.ref_errors import (
    ActorAbandoned,
    ActorDeadError,
    ActorDown,
    ActorRestarted,
    SendTimeout,
)

if TYPE_CHECKING:
    from actors.cell import Cell, Incarnation
    from actors.clock import Event
    from actors.stop_token import StopToken

__all__ = [
    "ActorAbandoned",
    "ActorDeadError",
    "ActorDown",
    "ActorRef",
    "ActorRestarted",
    "SendTimeout",
    "StopMarker",
    "current_cell",
]

A = TypeVar("A", bound=pykka.Actor)

# The incarnation whose code this context runs; see running_here().
current_incarnation: ContextVar[Incarnation | None] = ContextVar(
    "headrace_incarnation", default=None
)


class Envelope:
    """A message and the reply it wants; private to the cell's own parts."""

    __slots__ = ("message", "reply_to")

    def __init__(self, message: Any, reply_to: Any = None) -> None:
        self.message = message
        self.reply_to = reply_to


class StopEnvelope(Envelope):
    """A request to stop once the messages before it are handled."""

    __slots__ = ("number",)

    def __init__(self, reply_to: Reply[bool], number: int) -> None:
        super().__init__(StopMarker(), reply_to)
        self.number = number  # of the incarnation it is meant for


def running_here() -> Incarnation | None:
    """The live incarnation whose thread this is, if any.

    A context that a handler copied and carried to another thread does not count, nor
    does a thread that was left behind.
    """
    run = current_incarnation.get()
    if run is None or run.ident != thread_ident() or run.revoked:
        return None
    return run


def current_cell() -> Cell | None:
    """The cell whose actor runs on this thread, or ``None``."""
    run = running_here()
    return None if run is None else run.cell


class ActorRef(pykka.ActorRef[A]):
    """A ``pykka.ActorRef`` that stays valid, and the same, when its actor restarts.

    Attributes:
        cell: What it points to: the actor's place, which outlives each incarnation.
    """

    def __init__(self, cell: Cell) -> None:
        # Not super().__init__(): it would take everything from one actor object.
        self.cell = cell
        self.actor_class = cell.actor_class
        self.actor_urn = cell.urn
        self._put = cell.mailbox.put
        self._clock = cell.clock
        self._stand_in: Any = None
        self.known_attrs: dict[Any, Any] = {}  # what a proxy saw last in an object

    @property
    def actor_inbox(self) -> Any:  # type: ignore[override]  # read-only here
        """What Pykka calls the mailbox; for code that puts envelopes by hand."""
        return Inbox(self.cell)

    @property
    def actor_stopped(self) -> Event:  # type: ignore[override]  # read-only here
        """An event that is set when the actor will not run again."""
        return self.cell.stopped

    @property
    def _actor_weakref(self) -> Any:  # type: ignore[override]  # read by pykka's proxy
        return self.live_actor

    def live_actor(self) -> Any:
        """The actor, or while there is none an empty object of its class.

        A proxy looks at it only to learn names, so one made while the actor restarts
        knows what the class has, and looks again for what it does not know.
        """
        run = self.cell.incarnation
        actor = None if run is None else run.actor
        if actor is not None:
            return actor
        if self._stand_in is None:
            self._stand_in = object.__new__(self.actor_class)
        return self._stand_in

    def started_actor(self) -> Any:
        """The actor if it is there with all its attributes, else ``None``.

        A plain one counts from its ``__init__`` on, as Pykka's does.
        """
        run = self.cell.incarnation
        if run is None or not (run.started or not self.cell.supervised):
            return None
        return run.actor

    def is_alive(self) -> bool:
        """True until the actor has stopped for good; also while it restarts."""
        return not self.cell.dead

    def tell(
        self,
        message: Any,
        *,
        timeout: float | None = None,
        token: StopToken | None = None,
    ) -> None:
        """Send a message; wait for room while the mailbox is full.

        An actor's messages to itself never wait.

        Args:
            message: Anything.
            timeout: Seconds to wait for room; ``None`` waits as long as it takes.
            token: Its cancellation ends the wait.

        Raises:
            ActorDeadError: If the actor is dead, or dies while this waits for room;
                ``ActorDown`` if it does not run now and is not to be waited for.
            SendTimeout: If there was no room in time (a ``pykka.Timeout``).
            Cancelled: If ``token`` was cancelled during the wait.
        """
        if timeout is not None:
            check_length("timeout", timeout)
        try:
            self._put(Envelope(message), wait=False)
        except MailboxFull:
            self._put_waiting(Envelope(message), timeout, token)
        except MailboxClosed:
            raise self._not_found() from None

    def _put_waiting(
        self, envelope: Envelope, timeout: float | None, token: StopToken | None = None
    ) -> None:
        """Put into a mailbox that was full a moment ago."""
        run = running_here()
        own = run is not None and run.cell is self.cell
        wait: bool | float = True if timeout is None else max(0.0, timeout)
        try:
            self._put(envelope, wait=wait, force=own, token=token)
        except MailboxDown:
            raise self._down() from None
        except MailboxFull:
            message = f"no room in the mailbox of {self} after {timeout} seconds"
            raise SendTimeout(message) from None
        except MailboxClosed:
            raise self._not_found() from None

    def _not_found(self) -> ActorDeadError:
        final = self.cell.final
        if final is None or not self.cell.supervised:  # in Pykka's words
            return ActorDeadError(f"{self} not found")
        why: str = final.kind
        if final.error is not None:
            why = f"{why}: {type(final.error).__name__}"
        return ActorDeadError(f"{self} not found: {self.cell.name} has ended ({why})")

    def _down(self) -> ActorDown:
        last = self.cell.last_exit
        why = "not started yet" if last is None else last.kind
        message = (
            f"{self.cell.name} does not run now ({why}); nothing was sent: "
            f"send again once it is restarted, or give it while_down='wait'"
        )
        return ActorDown(message)

    def tell_control(self, message: Any) -> bool:
        """Send to the control lane, which is read first and never full.

        The actor's ``on_control`` gets it.

        Returns:
            True if it was queued, False if the actor is dead.
        """
        try:
            self.cell.mailbox.put_control(message)
        except MailboxClosed:
            return False
        return True

    @overload
    def ask(
        self, message: Any, *, block: Literal[False], timeout: float | None = None
    ) -> pykka.Future[Any]: ...

    @overload
    def ask(
        self, message: Any, *, block: Literal[True], timeout: float | None = None
    ) -> Any: ...

    @overload
    def ask(
        self, message: Any, *, block: bool = True, timeout: float | None = None
    ) -> Any | pykka.Future[Any]: ...

    def ask(
        self, message: Any, *, block: bool = True, timeout: float | None = None
    ) -> Any | pykka.Future[Any]:
        """Send a message and wait for the reply, or return a future of it.

        Every ask is answered once: by a value, by the handler's exception, or by an
        ``ActorDeadError``.

        Args:
            message: Anything.
            block: False returns the future.
            timeout: Seconds for the room in the mailbox and the reply together.

        Raises:
            pykka.Timeout: If there was no reply in time; ``SendTimeout`` if not even
                room, then the message was not sent.
            WouldDeadlock: If an actor asks itself and would wait for ever.
            Exception: What the handler raised.
        """
        if timeout is not None:
            check_length("timeout", timeout)
        elif block:
            self._refuse_own_wait()
        reply: Reply[Any] = Reply(self._clock, awaited=block)
        envelope = Envelope(message, reply)
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        try:
            try:
                self._put(envelope, wait=False)
            except MailboxFull:
                self._put_waiting(envelope, timeout)
        except MailboxClosed:
            reply.fail(self._not_found())
        except ActorDeadError as error:
            reply.fail(error)
        if not block:
            return reply
        try:
            if deadline is None:
                return reply.get()
            return reply.get(timeout=deadline - self._clock.monotonic())
        except BaseException:  # it holds this frame, and the reply holds it: no cycle
            del reply, envelope
            raise

    def _refuse_own_wait(self) -> None:
        run = running_here()
        if run is not None and run.cell is self.cell and not self.cell.dead:
            message = f"{self} asks itself and would wait for ever; use block=False"
            raise WouldDeadlock(message)

    @overload
    def stop(self, *, block: Literal[True], timeout: float | None = None) -> bool: ...

    @overload
    def stop(
        self, *, block: Literal[False], timeout: float | None = None
    ) -> pykka.Future[bool]: ...

    @overload
    def stop(
        self, *, block: bool = True, timeout: float | None = None
    ) -> bool | pykka.Future[bool]: ...

    def stop(
        self, *, block: bool = True, timeout: float | None = None
    ) -> bool | pykka.Future[bool]:
        """Ask the actor to stop once it has handled the messages sent before.

        The request itself needs no room in the mailbox.

        Args:
            block: False returns a future of the answer.
            timeout: Seconds to wait for the answer.

        Returns:
            True if this or an earlier request stopped it, False if it was dead.

        Raises:
            pykka.Timeout: If it had not stopped in time; it still will.
            WouldDeadlock: If it blocks and is called by the actor itself or below it.
        """
        check_length("timeout", timeout)
        if block:
            self._refuse_stop_from_below()
        reply: Reply[bool] = Reply(self._clock)
        run = current_incarnation.get()
        left_behind = run is not None and run.revoked and run.cell is self.cell
        try:
            if left_behind:
                reply.settle(value=False)
            else:
                self._put(StopEnvelope(reply, self.cell.number), force=True)
        except MailboxClosed:
            reply.settle(value=False)
        if not block:
            return reply
        return bool(reply.get(timeout=timeout))

    def _refuse_stop_from_below(self) -> None:
        cell = current_cell()
        while cell is not None:
            if cell is self.cell:
                message = (
                    f"a blocking stop of {self} from inside would wait for itself; "
                    f"use stop(block=False)"
                )
                raise WouldDeadlock(message)
            cell = cell.parent

    def proxy(self) -> pykka.ActorProxy[A]:
        """Wrap the ref in a proxy that, like it, stays valid when the actor restarts.

        While it does, calls, reads and writes wait for the next object.

        Raises:
            ActorDeadError: If the actor is dead.
        """
        return Proxy(actor_ref=self)


class Inbox:
    """A mailbox as Pykka's ``actor_inbox``."""

    __slots__ = ("_mailbox",)

    def __init__(self, cell: Cell) -> None:
        self._mailbox = cell.mailbox

    def put(self, envelope: Any) -> None:
        """Put an envelope: anything with ``message`` and ``reply_to``."""
        self._mailbox.put(Envelope(envelope.message, envelope.reply_to))

    def get(self) -> Any:
        """Take the next envelope; only for an actor that was not started."""
        return self._mailbox.get()

    def empty(self) -> bool:
        """True if no data message waits."""
        return not len(self._mailbox)
