"""The receive loop of an incarnation: what becomes of each message.

It is apart from the actor's class, so that it also serves classes that were written for
Pykka alone and know none of our names.

:Runs on: the incarnation's thread.
:Owns: nothing; the message in hand is the incarnation's.
:Blocks: while there is nothing to do, and as long as a handler takes.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from actors._proxy import PROXY_MESSAGES, answer_proxy
from actors._stack import exc_info_of
from actors._watches import Told
from actors.errors import Cancelled
from actors.exits import Crash, Exit, Restarted, StopRequest, Terminated
from actors.future import complete, fail_asker
from actors.mailbox import Lane, LeaseRevoked
from actors.ref import ActorDeadError, StopMarker
from actors.stop_token import Phase

if TYPE_CHECKING:
    from actors.incarnation import Incarnation
    from actors.stop_token import StopToken

__all__ = ["Due", "ReceiveLoop", "StopNow"]

logger = logging.getLogger("headrace.actor")

_CONTROL, _DATA = Lane.CONTROL, Lane.DATA
_HEARD = frozenset({Restarted, Terminated})


class StopNow:
    """Control message: leave, if you are still this incarnation."""

    __slots__ = ("deadline", "number", "phase", "reason")

    def __init__(
        self, number: int, reason: str, deadline: float | None, phase: Phase
    ) -> None:
        self.number = number
        self.reason = reason
        self.deadline = deadline
        self.phase = phase

    def __repr__(self) -> str:
        return f"StopNow({self.reason!r})"

    def signal(self, token: StopToken) -> None:
        """Show it to whoever looks at the incarnation's token."""
        if self.phase is Phase.DRAIN:
            token.drain(self.reason)
        else:
            token.cancel(self.reason)


class Due:
    """Control message: a timer of this incarnation is due."""

    __slots__ = ("message", "number")

    def __init__(self, number: int, message: Any) -> None:
        self.number = number
        self.message = message

    def __repr__(self) -> str:
        return f"Due({self.message!r})"

    @classmethod
    def is_of(cls, number: int, message: Any) -> bool:
        """True for a timer of that incarnation."""
        return type(message) is cls and message.number == number


class ReceiveLoop:
    """Serves one incarnation's mailbox and source with its actor."""

    __slots__ = (
        "_actor", "_cell", "_crashes", "_hand", "_native", "_on_delivery", "_run",
    )  # fmt: skip

    def __init__(self, run: Incarnation) -> None:
        self._run = run
        self._cell = run.cell
        self._actor = run.actor
        self._hand = run.hand
        self._native = run.cell.native
        self._crashes: tuple[type[Exception], ...] = (Crash, *run.cell.crash_on_ask)
        self._on_delivery = run.cell.clock.on_delivery

    def serve(self) -> Exit:
        """Handle messages and items until there is an exit.

        Raises:
            LeaseRevoked: If the incarnation was left behind.
            MailboxClosed: If somebody else ended the cell.
        """
        run, step = self._run, self._step
        receive, lease = run.mailbox.receive, run.lease
        while True:  # no local holds an item while the next is waited for
            exit_ = step(*receive(lease, run.source))
            if exit_ is not None:
                try:
                    return exit_
                finally:  # raised at an asker, its error holds this frame: no cycle
                    del exit_

    def _step(self, lane: Lane, item: Any) -> Exit | None:
        if lane is _DATA:
            return self._handle(item)
        if lane is _CONTROL:
            return self._take_control(item)
        try:
            if self._on_delivery is not None:
                self._on_delivery(self._cell.name, item, False)  # noqa: FBT003
            self._actor.on_item(item)
        except BaseException as error:  # noqa: BLE001  # the actor's own: the exit
            return self._broken_off(item, error)
        return None

    def _take_control(self, item: Any) -> Exit | None:
        if type(item) is Told:
            item = self._cell.watches.receive(self._run, item)
            if item is None:  # it is watched no longer
                return None
        try:
            if self._on_delivery is not None:
                self._on_delivery(self._cell.name, item, True)  # noqa: FBT003
            return self._control(item)
        except BaseException as error:  # noqa: BLE001  # the actor's own: the exit
            return self._broken_off(item, error)

    def _broken_off(self, item: Any, error: BaseException) -> Exit | None:
        self._run.check_lease()
        return self._failed(_told(error), item)

    def _handle(self, envelope: Any) -> Exit | None:
        self._hand.append(envelope)
        if self._run.revoked:  # between receiving and here: see give_up_hand
            self._cell.remains.give_up_hand(self._run)
            raise LeaseRevoked
        message = envelope.message
        kind = type(message)  # a message may lie about its __class__, or refuse
        if kind is StopMarker:
            return self._stop_after_this(envelope)
        try:
            if self._on_delivery is not None:
                self._on_delivery(self._cell.name, message, False)  # noqa: FBT003
            if kind in PROXY_MESSAGES:
                answer = answer_proxy(self._actor, message)
            else:
                answer = self._actor.on_receive(message)
        except BaseException as error:  # noqa: BLE001  # the actor's own: to the asker
            self._drop_hand()
            return self._raised(envelope, error)
        self._drop_hand()
        if envelope.reply_to is not None:
            complete(envelope.reply_to, answer)
        return None

    def _drop_hand(self) -> None:
        """The message is handled; LeaseRevoked if it was answered for already."""
        try:
            self._hand.pop()
        except IndexError:
            raise LeaseRevoked from None

    def _raised(self, envelope: Any, error: BaseException) -> Exit | None:
        message, reply, cell = envelope.message, envelope.reply_to, self._cell
        if self._run.obeys(error):
            complete(
                reply, error=ActorDeadError(f"{cell.ref} stopped while handling it")
            )
            if reply is None:
                cell.remains.keep(message, "stopped while handling it")
            return Exit("shutdown", message=message)
        told = _told(error)
        if reply is None:
            cell.remains.keep(message, "its handler raised", told)
            return self._failed(told, message)
        envelope.reply_to = None  # the error's frames hold it: else a cycle
        if not isinstance(error, (Exception, Cancelled)):
            complete(reply, error=error)
            return self._failed(error, message)
        try:
            self._run.log.info(
                "Exception returned from %s to caller:",
                self._actor,
                exc_info=exc_info_of(told),
            )
        finally:  # even if a handler of the log raises
            crashes = isinstance(error, self._crashes)
            if crashes:  # its supervisor tells of it
                complete(reply, error=told)
            else:
                fail_asker(reply, told, cell.name, message)
        return self._failed(told, message) if crashes else None

    def _failed(self, error: BaseException, message: Any) -> Exit | None:
        """The exit of a failure; ``None`` if the decider lets the actor go on."""
        exit_ = self._exit_for(error, message)
        if exit_.kind != "failed" or self._cell.decider is None:
            return exit_
        directive = self._run.decide(error)
        if directive != "resume":
            return dataclasses.replace(exit_, directive=directive)
        self._run.resumed(error)
        return None

    def _exit_for(self, error: BaseException, message: Any) -> Exit:
        if self._run.obeys(error):
            return Exit("shutdown", message=message)
        if isinstance(error, (Exception, Cancelled)):
            return Exit("failed", error, message=message)
        return Exit("fatal", error, message=message)

    def _stop_after_this(self, envelope: Any) -> Exit | None:
        self._drop_hand()
        cell = self._cell
        if self._on_delivery is not None:
            self._on_delivery(cell.name, envelope.message, True)  # noqa: FBT003
        if getattr(envelope, "number", self._run.number) <= cell.stops_done:
            complete(envelope.reply_to, value=True)  # the last incarnation did it
            return None
        self._run.stop_seen = True
        cell.stopping_for(envelope.reply_to)
        return self._stop(StopRequest(Exit("normal")))

    def _stop(self, request: StopRequest) -> Exit | None:
        if not self._native:
            return request.exit
        try:
            exit_: Exit | None = self._actor.asked_to_stop(request)
        except BaseException as error:  # noqa: BLE001  # the actor's own: the exit
            return self._exit_for(error, request)  # to go on would lose the request
        return exit_

    def _control(self, item: Any) -> Exit | None:
        if item.__class__ is StopNow:
            if item.number != self._run.number:
                return None  # it was for one before
            item.signal(self._run.stop_token)  # its sender may yet come to it
            return self._stop(StopRequest(Exit("shutdown"), item.reason, item.deadline))
        if item.__class__ is Due:
            if item.number != self._run.number:
                return None
            item = item.message
        if not self._native:
            logger.warning(
                "%s takes no control message, dropped: %r", self._actor, item
            )
            return None
        if item.__class__ in _HEARD:
            self._hear(item)
            return None
        exit_ = self._actor.on_control(item)
        return exit_ if exit_.__class__ is Exit else None

    def _hear(self, news: Any) -> None:
        if news.__class__ is Terminated:
            self._actor.on_terminated(news.ref, news.exit)
        else:
            self._actor.on_restarted(*news)


def _told(error: BaseException) -> BaseException:
    """What was raised, or what was given to a crash; that at least says where."""
    told = getattr(error, "error", None) if isinstance(error, Crash) else error
    if not isinstance(told, BaseException):  # Crash("text"): it must not lose the ask
        return error
    if told.__traceback__ is None:
        BaseException.with_traceback(told, error.__traceback__)
    return told
