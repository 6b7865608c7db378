"""What one actor is: Pykka's, with a mailbox that is bounded and survives a restart.

:Runs on: hooks on the actor's own thread; ``start`` and, started plain, ``__init__`` on
    the creator's.
:Owns: the classes made of adopted ones; an actor's state is its subclass's.
:Guards: ``_adopted_lock`` guards ``_adopted``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast
from weakref import WeakKeyDictionary

import pykka

from actors._numbers import Numbers
from actors._seconds import check_length
from actors.cell import UNSET, Cell, Unset
from actors.clock import raw_lock
from actors.errors import ConfigurationError
from actors.exits import Exit
from actors.future import Reply
from actors.incarnation import Incarnation, expected

if TYPE_CHECKING:
    from actors.clock import Clock, Event, TimerHandle
    from actors.exits import StopRequest
    from actors.mailbox import Source
    from actors.ref import ActorRef
    from actors.stop_token import StopToken

__all__ = ["Actor", "adopt"]

logger = logging.getLogger("headrace.actor")

_thread_numbers = Numbers()
_adopted_lock = raw_lock()  # Guards _adopted. Held for O(1) work; nothing else inside.
_adopted: WeakKeyDictionary[type[Any], type[Any]] = WeakKeyDictionary()


class CellActor(pykka.ThreadingActor):
    """A Pykka actor that lives in a cell: the base of ours and of adopted ones.

    All its own names begin with ``_headrace``, for it is put under classes that were
    written without it.
    """

    _headrace: Incarnation
    _headrace_native: ClassVar[bool] = False

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Give the object its incarnation, before any ``__init__`` runs.

        So it is there also for a class that calls ``ThreadingActor.__init__`` by name.
        """
        actor = super().__new__(cls)
        run = expected(cls)
        if run is None:  # made by hand or by a plain start
            run = Incarnation(Cell(cls, supervised=False))
        object.__setattr__(actor, "_headrace", run)  # its class's may need its __init__
        run.actor = actor
        return actor

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Take any arguments, as Pykka's does; there is nothing left to set up."""

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> ActorRef[Self]:
        """Start an actor without a supervisor, the way Pykka does.

        Its thread is not a daemon, its mailbox has the class's ``capacity`` or no
        bound, and a ``BaseException`` in it stops all actors of the process.

        Returns:
            Its ref.

        Raises:
            RuntimeError: If no thread can be started; the actor is dead then.
        """
        return cast("ActorRef[Self]", super().start(*args, **kwargs))

    def _start_actor_loop(self) -> None:
        run = self._headrace
        name = f"{type(self).__name__}-{_thread_numbers.next_for(run.cell.clock)}"
        try:
            run.start(name, daemon=self.use_daemon_thread)
        except (RuntimeError, MemoryError) as error:
            run.cell.finalize(Exit("start_failed", error))
            raise

    @staticmethod
    def _create_future() -> Reply[Any]:
        return Reply()

    # What Pykka stores in the object is the cell's. Pykka's __init__ may run all the
    # same, for a class that calls it by name: what it sets is ignored.

    @property
    def actor_urn(self) -> str:
        """The actor's unique name, the same after a restart."""
        return self._headrace.cell.urn

    @actor_urn.setter
    def actor_urn(self, urn: str) -> None:
        pass

    @property
    def actor_inbox(self) -> Any:
        """The mailbox, as Pykka knows it."""
        return self._headrace.cell.ref.actor_inbox

    @actor_inbox.setter
    def actor_inbox(self, inbox: Any) -> None:
        pass

    @property
    def actor_stopped(self) -> Event:
        """An event that is set when the actor will not run again."""
        return self._headrace.cell.stopped

    @actor_stopped.setter
    def actor_stopped(self, event: Event) -> None:
        pass

    @property
    def _actor_ref(self) -> pykka.ActorRef[Any]:
        return self._headrace.cell.ref

    @_actor_ref.setter
    def _actor_ref(self, ref: Any) -> None:
        pass

    @property
    def actor_ref(self) -> ActorRef[Self]:
        """The actor's ref, the same after a restart."""
        return self._headrace.cell.ref

    def stop(self) -> None:
        """Stop once the messages sent before are handled.

        May be called any number of times, on any thread; never waits.
        """
        run = self._headrace
        if not run.revoked:
            run.cell.ref.stop(block=False)


class _Quiet:
    """Keeps the making of an adopted class from its own ``__init_subclass__``.

    That may want arguments, or note each subclass in a list of the host's.
    """

    def __init_subclass__(cls, **_kwargs: Any) -> None:
        """Do nothing, and call no other."""


class Actor(CellActor):
    """An actor; subclass it as you would ``pykka.ThreadingActor``.

    Started with ``start()`` it behaves as Pykka's.  Under a supervisor its thread is a
    daemon, its mailbox is bounded, ``__init__`` runs on its own thread, and an object
    that fails is followed by a new one behind the same ref.

    Attributes:
        capacity: Class attribute: how many messages its mailbox holds, ``None`` for no
            bound.  Not set, it is 10 under a supervisor and no bound otherwise.

    Example:
        >>> class Greeter(Actor):
        ...     def greet(self, name):
        ...         return f"Hello, {name}"
        >>> greeter = Greeter.start()
        >>> greeter.proxy().greet("Ada").get()
        'Hello, Ada'
        >>> greeter.stop()
        True
    """

    _headrace_native = True

    capacity: ClassVar[int | Unset | None] = UNSET

    @property
    def name(self) -> str:
        """Its name in logs: the child's id under a supervisor."""
        return self._headrace.cell.name

    @property
    def clock(self) -> Clock:
        """The clock to wait on and to measure with."""
        return self._headrace.cell.clock

    @property
    def stop_token(self) -> StopToken:
        """Signalled before a stop that does not wait for the mailbox.

        A handler that takes long looks at it: ``self.stop_token.cancelled``.

        Each incarnation has its own, which ends with it.  If it fails, the token is
        cancelled after the last hook: callbacks run, and whatever else was given the
        token, or one below it, is told.  If it ends otherwise and was not cancelled,
        nothing is: its callbacks are dropped, and tokens below it go on hearing of
        signals from above.  Callbacks run on another thread, perhaps when the next
        incarnation has begun; what that needs to find undone belongs in ``on_failure``
        or ``on_stop``.
        """
        return self._headrace.stop_token

    @property
    def incarnation(self) -> int:
        """1 for the first object in its place, 2 after one restart, and so on."""
        return self._headrace.number

    @property
    def restart_reason(self) -> Exit | None:
        """How the object before this one ended; ``None`` for the first."""
        return self._headrace.cell.last_exit

    @property
    def source(self) -> Source | None:
        """Where the actor also takes items from when its mailbox is empty.

        Each item goes to ``on_item``.  Set it in ``__init__`` or ``on_start``.
        """
        return self._headrace.source

    @source.setter
    def source(self, source: Source | None) -> None:
        self._headrace.source = source

    def schedule(self, delay: float, message: Any) -> TimerHandle:
        """Have ``on_control`` called with ``message`` after ``delay`` seconds.

        It never comes to a later incarnation.

        Returns:
            A handle with ``cancel()``.
        """
        check_length("delay", delay, none_ok=False)
        return self._headrace.schedule(delay, message)

    def watch(self, ref: ActorRef[Any], *, restarts: bool = False) -> None:
        """Have ``on_terminated`` called once when another actor has ended for good.

        At once if it has ended already.  To watch it twice is to watch it once; the
        watch ends with that call, with ``unwatch``, or with this actor, whose restarts
        it survives.  The news overtakes all messages and needs no room.

        Args:
            ref: The other's ref; a supervisor's will do.
            restarts: Have ``on_restarted`` called too; the newest call decides.

        Raises:
            ConfigurationError: If it is this actor's own ref, or one of Pykka's.

        Thread safety:
            Any thread; the hooks run on the actor's.  On one that was left behind it
            does nothing.
        """
        run = self._headrace
        run.cell.watches.watch(run, ref, restarts=restarts)

    def unwatch(self, ref: ActorRef[Any]) -> None:
        """Watch another actor no longer; also news that waits to be read is dropped."""
        run = self._headrace
        run.cell.watches.unwatch(run, ref)

    def on_terminated(self, ref: ActorRef[Any], exit: Exit) -> None:  # noqa: A002  # the word used everywhere
        """Do what is to be done when an actor that this one watches has ended.

        On the actor's thread, before any data message.  An exception fails the actor,
        and the next one is not told again.

        Args:
            ref: The ref that was watched.
            exit: How it ended.
        """
        logger.debug("%s: %s, which it watches, ended: %s", self, ref, exit.kind)

    def on_restarted(self, ref: ActorRef[Any], incarnation: int, reason: Exit) -> None:
        """Do what is to be done when an actor that this one watches runs again.

        Only after ``watch(ref, restarts=True)``.  On the actor's thread, before any
        data message.  An exception fails the actor.

        Args:
            ref: The ref that is watched, and goes on being so.
            incarnation: The number of the new object behind it.
            reason: How the one before ended.
        """
        logger.debug(
            "%s: %s, which it watches, runs again as #%d: the one before %s",
            self, ref, incarnation, reason.kind,
        )  # fmt: skip

    def on_control(self, message: Any) -> Exit | None:
        """Handle a control message; on the actor's thread, before any data message.

        An exception fails the actor, as it does for a tell.

        Returns:
            ``None``, or an :class:`Exit` to end with.
        """
        logger.warning("Unexpected control message received by %s: %r", self, message)
        return None

    def on_item(self, item: Any) -> None:
        """Handle an item of ``source``; on the actor's thread.

        An exception fails the actor.
        """
        logger.warning("Unexpected item received by %s: %r", self, item)

    def asked_to_stop(self, request: StopRequest) -> Exit | None:
        """Say whether to stop at once; for people who write supervisors.

        Called on the actor's thread, each time a stop is asked for.

        Returns:
            The exit to leave with; ``None`` to go on handling messages for now and
            leave later, by an :class:`Exit` that ``on_control`` returns.
        """
        return request.exit

    def on_end(self, exit: Exit) -> None:  # noqa: A002  # the word used everywhere
        """Do what must be done in every ending; for people who write supervisors.

        The last call on the actor's thread, after ``on_stop`` or ``on_failure``; also
        when ``on_start`` failed, and when the thread had been left behind.  Anything it
        raises is logged.
        """


def adopt(actor_class: type[Any]) -> type[Any]:
    """Make a ``pykka.ThreadingActor`` subclass fit for a cell.

    Args:
        actor_class: Any such class, written without us.

    Returns:
        A subclass of it under the same name, the same one each time; the class itself
        if it is an :class:`Actor`.

    Raises:
        ConfigurationError: If it is no ``pykka.ThreadingActor``.
    """
    given: object = actor_class
    if not (isinstance(given, type) and issubclass(given, pykka.Actor)):
        message = f"actor_class must be an actor's class, got {actor_class!r}"
        raise ConfigurationError(message)
    if issubclass(actor_class, CellActor):
        return actor_class
    if issubclass(CellActor, actor_class):  # one of Pykka's own
        return CellActor
    with _adopted_lock:
        made = _adopted.get(actor_class)
    if made is None:
        names = {"__module__": actor_class.__module__, "__doc__": actor_class.__doc__}
        try:
            bases = (_Quiet, actor_class, CellActor)
            made = type(actor_class.__name__, bases, names)
            made.__qualname__ = actor_class.__qualname__
        except Exception as error:  # the metaclass's own: some forbid subclasses
            message = (
                f"actor_class {actor_class!r} cannot be supervised, because no "
                f"subclass of it can be made: {error!r}"
            )
            raise ConfigurationError(message) from error
        with _adopted_lock:
            made = _adopted.setdefault(actor_class, made)
    return made
