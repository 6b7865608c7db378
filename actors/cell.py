"""The place of an actor: what survives a restart.

A *cell* has the ref, the urn, the mailbox and the counters.  What dies is the
*incarnation* in it: one actor object, one thread, one lease on the mailbox.  A restart
is a new incarnation in the same cell; a thread that will not stop loses its lease and
is left behind, harmless.

:Runs on: the thread of whoever supervises the cell; ``notify``, ``stopping_for`` and
    ``incarnation_ended`` on the incarnation's; readers on any.
:Owns: the ref, the mailbox, what is left of earlier incarnations.
:Guards: ``_lock`` guards ``_ending``, ``final``, ``_watchers`` and ``_stop_replies``.
:Blocks: nothing, but that a plain actor's ``BaseException`` stops all actors.
"""

from __future__ import annotations

import functools
import logging
import uuid
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import pykka

from actors._condemned import Condemned
from actors._gated import GatedMailbox
from actors._in_hand import in_hand
from actors._loop import StopNow
from actors._making import is_native
from actors._numbers import Numbers
from actors._remains import Remains, guarded
from actors._unset import UNSET, Unset
from actors._watches import Watches
from actors.clock import ambient_clock
from actors.exits import Down, Exit
from actors.future import complete
from actors.incarnation import Incarnation
from actors.mailbox import Mailbox
from actors.ref import ActorDeadError, ActorRef
from actors.stop_token import Phase, StopToken

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Mapping, Sequence

    from actors.clock import Clock
    from actors.exits import Notice, Undelivered, Zombie

__all__ = ["Cell", "Incarnation", "UNSET", "Unset"]

logger = logging.getLogger("headrace.cell")

Capacity: TypeAlias = int | Unset | None
Kwargs: TypeAlias = "Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None"
MakeOn: TypeAlias = "Callable[[Callable[[], None]], bool]"

_names = Numbers()


@final
class Cell:
    """The place of one actor.

    Whoever supervises makes it, calls ``start`` for each incarnation, hears of its life
    through ``report`` and calls ``finalize`` when there will be no other.

    Args:
        actor_class: A subclass of :class:`actors.Actor`, or what :func:`actors.adopt`
            makes of another ``pykka.ThreadingActor``.
        args: Positional arguments of each incarnation, shared between them.
        kwargs: The same by keyword, or what makes them, on the incarnation's thread.
        name: Name in logs and of the thread; made from the class by default.
        capacity: Of the mailbox; by default the class's, else 10 under a supervisor.
        mailbox: ``"keep"`` keeps queued messages for the next incarnation, ``"fresh"``
            makes them undelivered at a restart.
        clock: The ambient clock by default.
        token: Parent of each incarnation's own stop token.
        report: Told :class:`Started`, :class:`Failing` and :class:`Down` on the
            actor's thread.  It must not block.  If a ``Down`` finds nobody (it raises
            or returns False) the cell ends itself.
        parent: The supervisor's cell; only used to see who is above whom.
        on_crash: ``"on_stop"`` runs ``on_stop`` after ``on_failure``.
        thread_name: Name of the thread, if not ``name``.
        supervised: False is a plain start as Pykka has it.
        on_undelivered: Told each undelivered message, on any thread.
        after_start: Called with the actor, on its thread, as the end of each start.
        decider: Asked about each failure that is an ``Exception``, on the actor's
            thread; its answer is in the exit, and ``"resume"`` lets it go on.
        crash_on_ask: Errors that fail the actor also when they answer an ask.
        while_down: ``"fail"`` refuses tells and asks with ``ActorDown`` while no
            incarnation runs; ``"wait"`` queues them.
        interruptible: ``interrupt`` may break off what it does.

    Attributes:
        ref: The one ref, valid for the cell's whole life.
        urn: Pykka's name for it.
        mailbox: Its mailbox.
        gate: The same, if it is one that refuses data while no incarnation runs.
        number: The present incarnation's; 0 before the first start.
        incarnation: The present or last incarnation.
        handling: The message in its hand, in words; empty if there is none.
        last_exit: How the one before ended.
        final: How the cell ended, or ``None`` while it may run again.
        stopped, dead: An event and a flag, set when the cell has ended.
        remains: What is left of the incarnations: messages and threads.
        watches: Whom it watches, and who watches it.
    """

    def __init__(
        self,
        actor_class: type[Any],
        args: Sequence[Any] = (),
        kwargs: Kwargs = None,
        *,
        name: str | None = None,
        capacity: Capacity = UNSET,
        mailbox: Literal["keep", "fresh"] = "keep",
        clock: Clock | None = None,
        token: StopToken | None = None,
        report: Callable[[Notice], object] | None = None,
        parent: Cell | None = None,
        on_crash: Literal["on_failure", "on_stop"] = "on_failure",
        thread_name: str | None = None,
        supervised: bool = True,
        on_undelivered: Callable[[Undelivered], object] | None = None,
        after_start: Callable[[Any], object] | None = None,
        decider: Callable[[Exception], str] | None = None,
        crash_on_ask: tuple[type[Exception], ...] = (),
        while_down: Literal["wait", "fail"] = "wait",
        interruptible: bool = False,
    ) -> None:
        self.actor_class = actor_class
        self.native = is_native(actor_class)  # an Actor of ours, not an adopted class
        self.args = args
        self.kwargs = kwargs
        self.clock = ambient_clock() if clock is None else clock
        self.name = name or f"{actor_class.__name__}-{_names.next_for(self.clock)}"
        self.thread_name = thread_name or self.name
        self.token = token or StopToken(clock=self.clock, name=self.name)
        self.report = report
        self.parent = parent
        self.on_crash = on_crash
        self.supervised = supervised
        self.after_start = after_start
        self.decider = decider
        self.crash_on_ask = crash_on_ask
        self.interruptible = interruptible
        self.urn = uuid.uuid4().urn
        if capacity is UNSET and self.native:
            capacity = actor_class.capacity
        if isinstance(capacity, Unset):
            capacity = 10 if supervised else None
        kind = GatedMailbox if while_down == "fail" else Mailbox
        self.mailbox = kind(capacity, clock=self.clock)
        self.gate = self.mailbox if isinstance(self.mailbox, GatedMailbox) else None
        self._fresh = mailbox == "fresh"
        self.remains = Remains(self, on_undelivered)
        self.watches = Watches(self)
        self.stopped = self.clock.event()
        self.dead = False
        self.number = 0
        self.incarnation: Incarnation | None = None
        self.last_exit: Exit | None = None
        self.final: Exit | None = None
        self.stops_done = -1  # stops for this and earlier incarnations are carried out
        self._ending = False
        self._stop_replies: list[Any] = []
        self._leftovers: list[Any] = []
        self._watchers: dict[Callable[[Exit], object], None] = {}
        self.condemned = Condemned(self.urn)  # by a plain actor
        self._lock = self.clock.lock()
        self.ref: ActorRef[Any] = ActorRef(self)

    def __repr__(self) -> str:
        return f"<Cell {self.name}#{self.number}>"

    handling = property(in_hand)

    # -- for whoever supervises

    def start(self, make_on: MakeOn | None = None) -> Incarnation:
        """Begin the next incarnation on a new thread.

        Args:
            make_on: Runs what it is given, the making of the object, on another thread
                and returns True, or returns False if nobody is there to do it: then it
                is made on the actor's thread.  It is called there, may wait, and raises
                what the making raised.

        Returns:
            It; ``report`` hears :class:`Started` or :class:`Down` from its thread.

        Raises:
            RuntimeError, MemoryError: If no thread can be started; nothing is reported
                then.
            ActorDeadError: If the cell has ended.
        """
        if self.dead:
            message = f"{self.ref} has ended and cannot be started again"
            raise ActorDeadError(message)
        self.answer_stops()
        if self.number == 0:
            pykka.ActorRegistry.register(self.ref)
        elif self._fresh:
            self.remains.drop_queued()
        run = Incarnation(self)
        run.make_on = make_on
        suffix = "" if run.number == 1 else f"#{run.number}"
        run.start(f"{self.thread_name}{suffix}", daemon=True)
        return run

    def forget_arguments(self) -> None:
        """Let go of ``args`` and ``kwargs``, once it will not be started again."""
        self.args, self.kwargs = (), None  # an incarnation at its start has its own

    def stop_now(
        self,
        reason: str = "",
        *,
        deadline: float | None = None,
        phase: Phase = Phase.CANCEL,
    ) -> None:
        """Stop the present incarnation before it handles another message.

        Its token is signalled next: a busy handler that obeys it finds the order.

        Args:
            reason: Why, in words.
            deadline: By when all below it must have ended; a supervisor's children too.
            phase: DRAIN for a supervisor whose children shall go on until their turn.
        """
        if (run := self.incarnation) is None:
            return
        if self.gate is not None:
            self.gate.turn_away(run.lease)
        order = StopNow(run.number, reason, deadline, phase)
        self.ref.tell_control(order)
        order.signal(run.stop_token)

    def interrupt(self, why: str) -> bool:
        """Break off what the present incarnation does, if that is the host's code.

        Its token is cancelled and ``Cancelled`` raised in its thread: at the next
        bytecode instruction, so a wait in C ends first.  It then ends as one that obeys
        its token; but code that catches everything can go on.

        Returns:
            False if it is not in the host's code, or not interruptible.
        """
        if (run := self.incarnation) is None or run.revoked:
            return False
        run.stop_token.cancel(why)
        return run.interrupt()

    def abandon(self, why: str) -> str | None:
        """Leave the present incarnation's thread behind: it would not stop.

        It can read no message, answer no ask and end no later incarnation any more.

        Returns:
            The stack it was in; ``None`` if it had ended first, and reported so.
        """
        run = self.incarnation
        if run is None or not run.revoke():
            return None
        run.stop_token.cancel(why)
        self.mailbox.revoke()
        if self.gate is not None:
            self.gate.turn_away()
        zombie = run.as_zombie(why)
        self.remains.add_zombie(zombie)
        self.remains.give_up_hand(run)
        self.last_exit = Exit("abandoned", traceback=zombie.stack)
        self.remains.tell_zombie(zombie)
        if run.ended:  # it had gone by the time it was listed
            self.remains.forget_zombie(run.number)
        return zombie.stack

    @property
    def zombies(self) -> tuple[Zombie, ...]:
        """The threads left behind that still run."""
        return self.remains.zombies

    @property
    def undelivered(self) -> deque[Undelivered]:
        """The last of the messages that nobody will handle."""
        return self.remains.undelivered

    @property
    def undelivered_count(self) -> int:
        """How many messages became undelivered in all."""
        return self.remains.undelivered_count

    def finalize(self, exit: Exit) -> bool:  # noqa: A002  # the word used everywhere
        """End the cell: it will never run again.

        Queued messages become undelivered, asks get ``ActorDeadError``, stops are
        answered True, ``on_final`` callbacks run.

        Returns:
            False if it had ended before.
        """
        with self._lock:
            if self._ending:
                return False
            self._ending = True
        self.close()
        with self._lock:  # not before: a watcher that comes now is told at once
            self.final = exit
            watchers, self._watchers = self._watchers, {}
        leftovers, self._leftovers = self._leftovers, []
        for envelope in leftovers:
            self.remains.refuse(envelope)
        self.answer_stops()
        self.watches.end(exit)
        for watcher in watchers:
            watcher(exit)
        return True

    def close(self) -> None:
        """Take the cell off: mailbox closed, unregistered, ``stopped`` set.

        The first half of ``finalize``; messages left in the mailbox are answered in the
        second.
        """
        if self.dead:
            return
        for envelope in self.mailbox.close():
            if envelope.reply_to is None:
                self.remains.keep(envelope.message, "stopped before handling it")
            else:
                self._leftovers.append(envelope)
        pykka.ActorRegistry.unregister(self.ref)
        self.dead = True
        self.stopped.set()

    def on_final(self, fn: Callable[[Exit], object]) -> Callable[[], None]:
        """Call ``fn(exit)`` once when the cell ends, or now if it has.

        It runs on the thread that ends the cell; an exception is logged.

        Returns:
            Takes ``fn`` back, if it has not been called.
        """
        watcher = functools.partial(guarded, fn)
        with self._lock:
            final = self.final
            if final is None:
                self._watchers[watcher] = None
        if final is not None:
            watcher(final)
        return functools.partial(self._forget_watcher, watcher)

    def _forget_watcher(self, watcher: Callable[[Exit], object]) -> None:
        with self._lock:
            self._watchers.pop(watcher, None)

    def suspend(self) -> None:
        """Leave data in the mailbox; only control is read until ``resume``."""
        self.mailbox.suspend()

    def resume(self) -> None:
        """Read data again."""
        self.mailbox.resume()

    def answer_stops(self) -> None:
        """Tell those who asked the last incarnation to stop that it did.

        Call it when an incarnation that stopped will be followed by another; ``start``
        and ``finalize`` do it too.
        """
        with self._lock:
            replies, self._stop_replies = self._stop_replies, []
        for reply in replies:
            complete(reply, value=True)

    # -- for the incarnation

    def stopping_for(self, reply: Any) -> None:
        """Keep the answer to a stop until the incarnation is down for all to see."""
        with self._lock:
            self._stop_replies.append(reply)

    def notify(self, notice: Notice) -> bool:
        """Tell ``report``; False if nobody is there to hear it."""
        try:
            return self.report is not None and self.report(notice) is not False
        except Exception:  # the supervisor's own: this child must still end in order
            logger.exception("%s: its supervisor cannot hear %r", self.name, notice)
            return False

    def incarnation_ended(self, run: Incarnation, exit: Exit) -> None:  # noqa: A002
        """Report the end; end the cell too if no supervisor hears of it."""
        self.last_exit = exit
        if run.stop_seen:
            self.stops_done = run.number
        if self.notify(Down(self, run.number, exit)):
            return
        self.finalize(exit)
        if not self.supervised and exit.kind == "fatal" and run.escaping is None:
            self.condemned.stop()
