"""One life in a cell: an actor object, a thread, a lease on the mailbox.

It starts the thread, makes the object, runs the hooks around the receive loop, and
posts exactly one report of its end, whatever ended it.

:Runs on: its own thread; ``start``, ``join``, ``revoke``, ``interrupt`` and
    ``as_zombie`` on the supervisor's.
:Owns: the actor, the thread, the message in hand.
:Guards: ``_lock`` guards ``revoked`` against ``ended``; the message in hand belongs to
    whoever pops it.
:Blocks: ``join``, and the loop while there is nothing to do.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import TYPE_CHECKING, Any, final

from actors._interrupt import InterruptibleLoop, Interrupts
from actors._loop import Due, ReceiveLoop
from actors._making import call_plainly, expected, make_elsewhere, make_object
from actors._stack import exc_info_of, stack_of
from actors.clock import ClockClosed, thread_ident
from actors.errors import Cancelled, MailboxClosed
from actors.exits import (
    Exit,
    Failing,
    Ignore,
    Resumed,
    Started,
    Zombie,
    crash_runs_hooks,
    strip,
    text_of,
)
from actors.mailbox import LeaseRevoked
from actors.ref import current_incarnation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.cell import Cell, Kwargs, MakeOn
    from actors.clock import TimerHandle
    from actors.mailbox import Source

__all__ = ["Incarnation", "expected"]

logger = logging.getLogger("headrace.actor")
pykka_logger = logging.getLogger("pykka")  # a plain start logs what Pykka logs

_DECIDED = frozenset({"failed", "start_failed", "gave_up"})  # what a decider hears of


@final
class Incarnation:
    """One life in a cell.

    Attributes:
        cell: Where it lives.
        number: 1 for the first in its cell.
        stop_token: Its own, below the cell's.
        lease: Its right to read the mailbox.
        hand: The message in hand; whoever pops it answers for it.
        actor: The object, while it lives.
        call: Calls the host's code.
        make_on: Who makes the object, if not its own thread.
        source: Where the actor also takes items from, when its mailbox is empty.
        started: ``on_start`` has returned: the object has all its attributes.
        revoked: It was left behind.
        ended: Its thread has nothing more to do.
        stop_seen: It was asked to stop through its ref.
        escaping: What a plain actor's thread ends with, if it is to end with a raise.
    """

    __slots__ = (
        "_arguments", "_interrupts", "_lock", "_thread", "actor", "call", "cell",
        "ended", "escaping", "hand", "ident", "lease", "mailbox", "make_on", "number",
        "revoked", "source", "started", "stop_seen", "stop_token",
    )  # fmt: skip

    def __init__(self, cell: Cell) -> None:
        cell.number += 1
        self.cell = cell
        self.number = cell.number
        self.mailbox = cell.mailbox
        self.stop_token = cell.token.child(f"{cell.name}#{self.number}")
        self.actor: Any = None
        self.source: Source | None = None
        self.ident: int | None = None
        self.started = False
        self.revoked = False
        self.ended = False
        self.stop_seen = False
        self.escaping: BaseException | None = None
        self.lease = cell.mailbox.new_lease()
        self._thread: Any = None
        self.make_on: MakeOn | None = None
        self._arguments = cell.args, cell.kwargs
        self._interrupts = Interrupts(cell.clock) if cell.interruptible else None
        self.call: Callable[..., Any] = call_plainly
        if self._interrupts is not None:
            self.call = self._interrupts.call
        # Invariant: one message at most, and the one who pops it answers for it.
        self.hand: list[Any] = []
        # Guards revoked against ended. Held for O(1) work.
        self._lock = cell.clock.lock()
        cell.incarnation = self

    def __repr__(self) -> str:
        return f"<Incarnation {self.cell.name}#{self.number}>"

    # -- for the cell

    def start(self, name: str, *, daemon: bool) -> None:
        """Start the thread; RuntimeError or MemoryError if there can be none."""
        clock = self.cell.clock
        self._thread = clock.thread(self._first_frame, name=name, daemon=daemon)
        try:
            self._thread.start()
        except (RuntimeError, MemoryError):
            self.ended = True
            raise

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread's end; False on timeout."""
        return self.cell.clock.join(self._thread, timeout)

    def revoke(self) -> bool:
        """Shut the thread out; False if it had ended, or was shut out before."""
        with self._lock:
            if self.ended or self.revoked:
                return False
            self.revoked = True
            return True

    def interrupt(self) -> bool:
        """Throw ``Cancelled`` into the host's code; False if none runs now."""
        return self._interrupts is not None and self._interrupts.throw()

    def as_zombie(self, why: str) -> Zombie:
        """Mark the thread as left behind, for people who look at a list of threads."""
        thread = self._thread
        stack = stack_of(self.ident)
        thread.name = f"zombie:{thread.name}"
        cell = self.cell
        since = cell.clock.monotonic()
        return Zombie(cell.name, self.number, thread.name, why, stack, since)

    # -- for the actor

    def schedule(self, delay: float, message: Any) -> TimerHandle:
        """Have ``message`` come in the control lane, if this still lives then."""
        when = self.cell.clock.monotonic() + max(0.0, delay)
        return self.mailbox.put_control_at(when, Due(self.number, message))

    # -- the thread

    # Two plain frames below everything: freezegun looks five frames up for a module
    # that it ignores, such as threading, and shows real time to code so near to it.
    def _first_frame(self) -> None:
        self._second_frame()

    def _second_frame(self) -> None:
        self._main()

    def _main(self) -> None:
        self.ident = thread_ident()
        current_incarnation.set(self)
        exit_ = Exit("fatal", SystemError("the thread left without an exit"))
        try:
            exit_ = self._decided(self._live())
        except LeaseRevoked:
            exit_ = Exit("abandoned")
        except ClockClosed:
            exit_ = Exit("shutdown")
        except BaseException as error:  # our own bug, or an async exception
            exit_ = Exit("fatal", error)
            logger.exception("%s ended by an unexpected error", self.cell.name)
        finally:
            self._end(exit_)
            del exit_  # no cycle: see ReceiveLoop.serve
        if self.escaping is not None:
            raise self.escaping

    def _decided(self, exit_: Exit) -> Exit:
        """Ask the decider about a failure that it has not heard of."""
        if exit_.directive or exit_.kind not in _DECIDED or exit_.error is None:
            return exit_
        answer = self.decide(exit_.error)
        directive = None if answer == "resume" else answer
        return dataclasses.replace(exit_, directive=directive)

    def _end(self, exit_: Exit) -> None:
        """Post the one report of this incarnation, whatever ended it."""
        try:
            exit_ = self._wind_up(exit_)
        finally:  # even if a handler of the log raises
            self._report_end(exit_)

    def _wind_up(self, exit_: Exit) -> Exit:
        """Let go of the actor and of what the exit would keep alive."""
        if self.cell.gate is not None:  # not yet, if no hook was to run
            self.cell.gate.turn_away(self.lease)
        actor, self.actor = self.actor, None
        if exit_.error is not None:  # one that will be raised keeps its traceback
            text = (strip if self.escaping is None else text_of)(exit_.error)
            # It was stripped before, if it is of a child's exit.
            exit_ = dataclasses.replace(exit_, traceback=exit_.traceback or text)
        if actor is not None and self.cell.native:
            self._guarded(actor.on_end, exit_)
        self.mailbox.forget_timers(functools.partial(Due.is_of, self.number))
        self._guarded(self._end_token, exit_.kind if exit_.abnormal else None)
        return exit_

    def _end_token(self, failure: str | None) -> None:
        """Have what it started below its token end with it, if it failed."""
        token = self.stop_token
        if failure is not None:
            token.cancel(f"{token.name} has ended: {failure}")
        token.forget_callbacks()

    def _report_end(self, exit_: Exit) -> None:
        self.cell.remains.give_up_hand(self, "its actor ended while handling it")
        with self._lock:
            self.ended = True
            left_behind = self.revoked
        if left_behind:
            self.cell.remains.forget_zombie(self.number)
            logger.info("%s, left behind, has ended", self._thread.name)
        else:
            self.cell.incarnation_ended(self, exit_)

    def _guarded(self, fn: Callable[..., object], *args: object) -> None:
        try:
            fn(*args)
        except BaseException:  # the very last hook: the report must still go out
            logger.exception("%r of %s failed", fn, self.cell.name)

    def _live(self) -> Exit:
        exit_ = None
        if self.actor is None:  # a plain one was made by the thread that called start()
            exit_ = self._begin(self._make)
        if exit_ is None:
            exit_ = self._begin(self.call, self.actor.on_start)
        if exit_ is None and self.cell.after_start is not None:
            exit_ = self._begin(self.call, self.cell.after_start, self.actor)
        if exit_ is not None:
            return exit_
        if self.cell.gate is not None:
            self.cell.gate.admit(self.lease)
        self.started = True
        self.cell.notify(Started(self.cell, self.number))
        self.check_lease()  # of one left behind right now nobody is told
        self.cell.watches.restarted(self.number)
        try:
            exit_ = self._loop().serve()
        except MailboxClosed:  # the cell was ended by somebody else
            exit_ = Exit("shutdown")
        try:
            return self._leave(exit_)
        finally:  # no cycle: see ReceiveLoop.serve
            del exit_

    def _loop(self) -> ReceiveLoop:
        if self._interrupts is None:
            return ReceiveLoop(self)
        return InterruptibleLoop(self)

    def _make(self) -> None:
        make_on, self.make_on = self.make_on, None
        elsewhere = functools.partial(make_elsewhere, self)
        if make_on is None or not make_on(elsewhere):
            make_object(self, self.call)

    def take_arguments(self) -> tuple[Sequence[Any], Kwargs]:
        """What its object is made from; let go of here, for it is made once."""
        arguments, self._arguments = self._arguments, ((), None)
        return arguments

    def _begin(self, step: Callable[..., object], *args: Any) -> Exit | None:
        """Run ``__init__`` or ``on_start``; an exit if that was the end."""
        cell = self.cell
        try:
            step(*args)
        except (Exception, Cancelled) as error:  # noqa: BLE001  # the actor's own
            self.check_lease()
            if isinstance(error, Ignore) and cell.supervised:
                return Exit("ignored")
            if self.obeys(error):
                return Exit("shutdown")
            self._log_end(error)
            if not cell.supervised:
                cell.close()
            return Exit("start_failed", error)
        except BaseException as error:  # noqa: BLE001  # the actor's own: the exit
            self.check_lease()
            if self.obeys(error):
                return Exit("shutdown")
            if not cell.supervised:
                cell.close()
                self.escaping = error
            return Exit("fatal", error)
        self.check_lease()
        return None

    def obeys(self, error: BaseException) -> bool:
        """True if the actor's code was cut short because it is to stop."""
        if isinstance(error, ClockClosed):
            return True
        return isinstance(error, Cancelled) and self.stop_token.cancelled

    def check_lease(self) -> None:
        """Raise LeaseRevoked if this was left behind."""
        if self.revoked:
            raise LeaseRevoked

    def decide(self, error: BaseException) -> str | None:
        """Ask the cell's decider what a failure calls for, if it has one."""
        decider = self.cell.decider
        if decider is None or not isinstance(error, Exception):
            return None
        try:
            return decider(error) or "restart"
        except Exception:  # the host's: a failure must have its end all the same
            logger.exception(
                "the decider of %s raised on %r; that counts as restart",
                self.cell.name, error,
            )  # fmt: skip
            return "restart"

    def resumed(self, error: BaseException) -> None:
        """Report a failure that changes nothing else."""
        self.check_lease()
        cell, text = self.cell, strip(error)
        cell.notify(Resumed(cell, self.number, error, text))

    # -- the end

    def _leave(self, exit_: Exit) -> Exit:
        """Run the hooks that go with the exit, in Pykka's order for a plain actor."""
        cell, actor, error = self.cell, self.actor, exit_.error
        if cell.gate is not None:
            cell.gate.turn_away(self.lease)
        if exit_.kind == "failed" and error is not None:
            self._log_end(error)
            if not cell.supervised:
                cell.close()
            elif crash_runs_hooks(cell, actor):
                cell.notify(Failing(cell, self.number))
            args = (type(error), error, error.__traceback__)
            exit_ = self._hook(exit_, actor.on_failure, *args)
            if cell.on_crash == "on_stop":
                exit_ = self._hook(exit_, actor.on_stop)
            return exit_
        if not cell.supervised:
            if exit_.kind == "fatal":
                self._bring_all_down(error)
            cell.close()
            self.log.debug("Stopped %s", actor)
        return self._hook(exit_, actor.on_stop)

    def _hook(self, exit_: Exit, fn: Callable[..., object], *args: Any) -> Exit:
        """Run ``on_stop`` or ``on_failure``; only a BaseException changes the exit."""
        try:
            self.call(fn, *args)
        except (Exception, Cancelled) as error:  # noqa: BLE001  # changes nothing else
            if not self.obeys(error):
                self._log_failure(error)
        except BaseException as error:  # noqa: BLE001  # the hook's own: the exit
            if exit_.kind == "fatal" or self.obeys(error):
                return exit_
            if exit_.kind == "failed" and not self.cell.supervised:
                self.escaping = error
            elif not self.cell.supervised:
                self._bring_all_down(error)
            return Exit("fatal", error, message=exit_.message)
        return exit_

    def _bring_all_down(self, error: BaseException | None) -> None:
        """Say what a BaseException of a plain actor does; the cell does it."""
        self.log.debug("%r in %s. Stopping all actors.", error, self.actor)
        self.cell.condemned.note()

    @property
    def log(self) -> logging.Logger:
        """Pykka's logger for a plain actor."""
        return logger if self.cell.supervised else pykka_logger

    def _log_end(self, error: BaseException) -> None:
        """Log what ended a plain actor; of another's end its supervisor has to tell."""
        if not self.cell.supervised:
            self._log_failure(error)

    def _log_failure(self, error: BaseException) -> None:
        who = self.cell.ref if self.actor is None else self.actor
        self.log.error("Unhandled exception in %s:", who, exc_info=exc_info_of(error))
