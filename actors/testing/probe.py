"""An actor that keeps what it receives, for a test that waits for it.

::

    with Probe.start() as probe:
        Greeter.start(friend=probe.ref).tell("greet your friend")
        probe.expect("hello")
        probe.expect_nothing(within=60)

It stands where the code under test wants an actor: told, asked, sent control messages,
watched by name in the logs.  All its waits are the clock's.

:Runs on: messages are taken on the actor's thread; every method on any thread.
:Owns: what was received so far, and how far ``expect`` has come in it.
:Guards: ``_changed`` guards ``_received`` and ``_expected``.
:Blocks: ``expect`` and ``wait_for`` until the message or the timeout,
    ``expect_nothing`` for as long as it says, ``stop`` until the actor has ended.
:Order: messages in the order in which the actor took them, control before data.
"""

from __future__ import annotations

import re
import reprlib
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar, overload

from actors.base import Actor
from actors.cell import Cell
from actors.clock import ambient_clock
from actors.testing.errors import Deadlock
from actors.testing.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from types import TracebackType

    from actors.clock import Clock
    from actors.ref import ActorRef

__all__ = ["Probe", "Received"]

T = TypeVar("T")

_LINES: Final = 20  # messages that a failure shows; the last ones
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 100
_WORDS: Final = {"tell": "told", "ask": "asked", "control": "control"}


class Received(NamedTuple):
    """One message as the probe got it.

    Attributes:
        message: What was sent.
        how: ``"tell"``, ``"ask"`` or ``"control"``.
        at: When, as ``clock.monotonic()``.
    """

    message: Any
    how: Literal["tell", "ask", "control"]
    at: float


class Probe:
    """A running actor and what it has received; :meth:`start` makes one.

    ``expect`` goes through the messages one by one and is strict about their order;
    ``wait_for`` looks at all of them and does not care what else came.

    Attributes:
        ref: The actor's ref, for the code under test.
    """

    def __init__(self, clock: Clock, name: str, capacity: int | None) -> None:
        self._clock = clock
        self._name = name
        self._changed = clock.condition()
        self._received: list[Received] = []
        self._expected = 0  # That many are behind what expect() looks at.
        self._reply: Any = None
        cell = Cell(_ProbeActor, (self,), name=name, clock=clock, capacity=capacity)
        self.ref: ActorRef[Any] = cell.ref
        cell.start()

    @classmethod
    def start(
        cls,
        *,
        reply: Any = None,
        clock: Clock | None = None,
        name: str = "probe",
        capacity: int | None = None,
    ) -> Probe:
        """Start a probe.

        Args:
            reply: What to answer when asked, see :meth:`answer`.
            clock: Whose waits they are; the ambient clock by default.
            name: For logs, threads and failures.
            capacity: Of its mailbox; no bound by default.
        """
        probe = cls(ambient_clock() if clock is None else clock, name, capacity)
        probe.answer(reply)
        return probe

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the actor once it has taken what was sent before; idempotent."""
        self.ref.stop()

    def __repr__(self) -> str:
        return f"<Probe {self._name!r}: {len(self._received)} received>"

    # -- answering

    def answer(self, reply: Any) -> None:
        """Answer each ask so from now on.

        Args:
            reply: An exception is raised to the asker; a function is called with the
                message, on the actor's thread, and its value is the answer (it may wait
                in a :class:`Gate`); anything else is the answer.
        """
        self._reply = reply

    def _take(self, message: Any, how: Literal["tell", "ask", "control"]) -> Any:
        """Keep a message; on the actor's thread."""
        with self._changed:
            self._received.append(Received(message, how, self._clock.monotonic()))
            self._changed.notify_all()
        reply = self._reply
        if how != "ask":
            return None
        if isinstance(reply, BaseException):
            raise reply
        return reply(message) if callable(reply) else reply

    # -- looking

    @property
    def received(self) -> tuple[Received, ...]:
        """Every message so far, with how and when it came."""
        with self._changed:
            return tuple(self._received)

    @property
    def messages(self) -> list[Any]:
        """What was told and asked so far, in order."""
        return [each.message for each in self.received if each.how != "control"]

    @property
    def control(self) -> list[Any]:
        """What came in the control lane so far, in order."""
        return [each.message for each in self.received if each.how == "control"]

    # -- waiting

    @overload
    def wait_for(self, what: type[T], timeout: float | None = ...) -> T: ...

    @overload
    def wait_for(self, what: int, timeout: float | None = ...) -> list[Any]: ...

    @overload
    def wait_for(self, what: Any, timeout: float | None = ...) -> Any: ...

    def wait_for(self, what: Any, timeout: float | None = 3.0) -> Any:
        """Wait until something has come, among whatever else, now or before.

        Args:
            what: How many messages in all; or a class, a predicate or an equal of one
                message.
            timeout: Seconds; ``None`` for no limit.

        Returns:
            The first message that fits; for a number, all messages so far.

        Raises:
            AssertionError: If it did not come in time; its text has what came instead.
            Deadlock: If it can no more come, or the clock's time stands still.
        """
        __tracebackhide__ = True
        if isinstance(what, int) and not isinstance(what, bool):
            if not self._wait_more(what, self._deadline(timeout)):
                self._fail(f"{_count(what)} did not come{_limit(timeout)}")
            return [each.message for each in self.received]
        deadline, index = self._deadline(timeout), 0
        while self._wait_more(index + 1, deadline):
            message = self._received[index].message
            if _fits(what, message):
                return message
            index += 1
        return self._fail(f"{_in_words(what)} did not come{_limit(timeout)}")

    @overload
    def expect(self, what: type[T], *, timeout: float | None = ...) -> T: ...

    @overload
    def expect(self, what: Any = ..., *, timeout: float | None = ...) -> Any: ...

    def expect(self, what: Any = object, *, timeout: float | None = 3.0) -> Any:
        """Wait for the next message and check that it is this one.

        The next is the first, then the one after the last that was expected.

        Args:
            what: Its class, a predicate, or an equal; any message by default.
            timeout: Seconds; ``None`` for no limit.

        Returns:
            The message.

        Raises:
            AssertionError: If another one came, or none in time.
            Deadlock: If none can come, or the clock's time stands still.
        """
        __tracebackhide__ = True
        index = self._expected
        if not self._wait_more(index + 1, self._deadline(timeout)):
            self._fail(f"{_in_words(what)} did not come{_limit(timeout)}")
        message = self._received[index].message
        if not _fits(what, message):
            self._fail(f"expected {_in_words(what)}, the next one is {_short(message)}")
        self._expected = index + 1
        return message

    def expect_nothing(self, *, within: float = 0.0) -> None:
        """Check that nothing came beyond what was expected, and nothing comes.

        Args:
            within: Seconds to wait.  Without it, what others have sent by now counts;
                on a virtual clock that is all they send before time moves.

        Raises:
            AssertionError: As soon as something comes.
        """
        __tracebackhide__ = True
        if isinstance(self._clock, VirtualClock):
            self._clock.settle()
        else:  # what was sent before this is taken before it
            self.ref.ask(_PING)
        if self._wait_more(self._expected + 1, self._deadline(within)):
            message = self._received[self._expected].message
            self._fail(f"expected nothing more, got {_short(message)}")

    def _deadline(self, timeout: float | None) -> float | None:
        return None if timeout is None else self._clock.monotonic() + timeout

    def _wait_more(self, count: int, deadline: float | None) -> bool:
        """Wait until that many have come in all; False on timeout."""
        clock = self._clock
        left = None if deadline is None else max(0.0, deadline - clock.monotonic())
        try:
            with self._changed:
                return bool(
                    clock.wait_for(
                        self._changed, lambda: len(self._received) >= count, left
                    )
                )
        except Deadlock as error:
            error.add_note(self._account())
            raise

    def _fail(self, why: str) -> Any:
        __tracebackhide__ = True
        message = f"{why}\n{self._account()}"
        raise AssertionError(message)

    def _account(self) -> str:
        """What came, a line for each message."""
        received = self.received
        lines = [f"{self._name} got {_count(len(received))}"]
        first = max(0, len(received) - _LINES)
        if first:
            lines.append(f"  ... {first} before these")
        for number, each in enumerate(received[first:], first):
            met = " (expected)" if number < self._expected else ""
            told = f"{_WORDS[each.how]} {_short(each.message)}{met}"
            lines.append(f"  at {each.at:g} s {told}")
        return "\n".join(lines)


_PING: Final = object()


class _ProbeActor(Actor):
    """The probe's actor."""

    def __init__(self, probe: Probe) -> None:
        super().__init__()
        self._probe = probe

    def on_receive(self, message: Any) -> Any:
        """Keep it, and answer if asked."""
        if message is _PING:
            return None
        asked = self._headrace.hand[-1].reply_to is not None
        return self._probe._take(message, "ask" if asked else "tell")  # noqa: SLF001

    def on_control(self, message: Any) -> None:
        """Keep it."""
        self._probe._take(message, "control")  # noqa: SLF001


def _fits(what: Any, message: Any) -> bool:
    if isinstance(what, type):
        return isinstance(message, what)
    if callable(what):
        return bool(what(message))
    return bool(message == what)


def _in_words(what: Any) -> str:
    if what is object:
        return "a message"
    if isinstance(what, type):
        return f"any {what.__qualname__}"
    if callable(what):
        return f"a message that fits {getattr(what, '__qualname__', what)}"
    return _short(what)


def _count(number: int) -> str:
    return "1 message" if number == 1 else f"{number or 'no'} messages"


def _limit(timeout: float | None) -> str:
    return "" if timeout is None else f" within {timeout:g} s"


def _short(message: Any) -> str:
    """The message in few words, the same in each run of a seed."""
    return _ADDRESS.sub("", _SHORT.repr(message))
