"""An exception thrown into an actor's thread, to break off what the host's code does.

It is the last resort before a thread is left behind, and best effort: Python raises
such an exception at the thread's next bytecode instruction, so it breaks off a loop and
not a wait in C: a sleep, a lock, a socket.  What it hits must not be ours: between two
messages it would lose one.  So it is thrown only while the host's code runs, between
the two edges of :meth:`Interrupts.call`.  What that code calls it can hit, our refs and
mailboxes among it; they are built to be cut short anywhere, by signal handlers.

:Runs on: ``call`` on the actor's thread, ``throw`` on any other.
:Owns: whether the host's code runs, and an exception that is under way.
:Guards: ``_lock`` lets one thread throw at a time; the actor's thread takes no lock.
:Blocks: nothing; ``call`` takes as long as what it calls.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, TypeVar, final

from actors._loop import ReceiveLoop
from actors._proxy import PROXY_MESSAGES, answer_proxy
from actors.clock import thread_ident
from actors.errors import Cancelled
from actors.future import complete
from actors.mailbox import LeaseRevoked
from actors.ref import StopMarker

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.clock import Clock
    from actors.exits import Exit
    from actors.incarnation import Incarnation

__all__ = ["InterruptibleLoop", "Interrupts"]

T = TypeVar("T")

_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exc.argtypes = (ctypes.c_ulong, ctypes.py_object)
_set_async_exc.restype = ctypes.c_int
_NO_EXCEPTION = ctypes.py_object()


@final
class Interrupts:
    """The host's code of one incarnation, and a way to break it off.

    Args:
        clock: Makes the lock.
    """

    __slots__ = ("_ident", "_inside", "_lock", "_throwing", "_thrown")

    def __init__(self, clock: Clock) -> None:
        self._ident = 0
        self._inside = False
        self._thrown = False
        self._throwing = False
        self._lock = clock.lock()  # Held for O(1) work.

    def call(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Call the host's code; ``Cancelled`` may come out of it at any point.

        When this has returned or raised, nothing is under way any more.  The race, told
        by thread:

        1. T, the thrower, sets ``_throwing``, then looks at ``_inside``.
        2. A, the actor, clears ``_inside``, then waits while ``_throwing``.
        3. Whichever is second sees the other, so once A goes on, what T threw has been
           thrown, and nobody throws again.
        4. It may have struck A on the way here: it is spent then, and A begins anew.
           Else A takes it back.
        """
        self._ident = thread_ident()
        try:
            self._inside = True
            return fn(*args, **kwargs)
        finally:
            while True:
                try:
                    self._inside = False
                    while self._throwing:
                        pass
                    if self._thrown:
                        _set_async_exc(self._ident, _NO_EXCEPTION)
                        self._thrown = False
                    break
                except Cancelled:
                    continue

    def throw(self) -> bool:
        """Throw ``Cancelled`` into the host's code; False if it does not run now."""
        with self._lock:
            self._throwing = True
            try:
                if not self._inside:
                    return False
                self._thrown = True
                done: int = _set_async_exc(self._ident, Cancelled)
                return done == 1
            finally:
                self._throwing = False


class _Shielding:
    """An actor to its loop: what belongs to the host goes through ``call``."""

    __slots__ = ("_actor", "_call")

    def __init__(self, run: Incarnation) -> None:
        self._actor = run.actor
        self._call = run.call

    def __repr__(self) -> str:
        return str(self._actor)

    def on_item(self, item: Any) -> object:
        return self._call(self._actor.on_item, item)

    def on_control(self, message: Any) -> object:
        return self._call(self._actor.on_control, message)

    def on_terminated(self, *news: Any) -> object:
        return self._call(self._actor.on_terminated, *news)

    def on_restarted(self, *news: Any) -> object:
        return self._call(self._actor.on_restarted, *news)

    def asked_to_stop(self, request: Any) -> object:
        return self._call(self._actor.asked_to_stop, request)


@final
class InterruptibleLoop(ReceiveLoop):
    """The loop of an actor that may be interrupted; another pays nothing for it."""

    __slots__ = ("_bare", "_call")

    def __init__(self, run: Incarnation) -> None:
        super().__init__(run)
        self._bare = run.actor
        self._call = run.call
        self._actor = _Shielding(run)

    def _handle(self, envelope: Any) -> Exit | None:
        # The other loop's, step for step: that one has no call to spare for a message.
        self._hand.append(envelope)
        if self._run.revoked:
            self._cell.remains.give_up_hand(self._run)
            raise LeaseRevoked
        message = envelope.message
        kind = type(message)
        if kind is StopMarker:
            return self._stop_after_this(envelope)
        try:
            if self._on_delivery is not None:
                self._on_delivery(self._cell.name, message, False)  # noqa: FBT003
            if kind in PROXY_MESSAGES:
                answer = self._call(answer_proxy, self._bare, message)
            else:
                answer = self._call(self._bare.on_receive, message)
        except BaseException as error:  # noqa: BLE001  # the actor's own: to the asker
            self._drop_hand()
            return self._raised(envelope, error)
        self._drop_hand()
        if envelope.reply_to is not None:
            complete(envelope.reply_to, answer)
        return None
