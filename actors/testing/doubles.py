"""Stand-ins for the parts around the one under test.

:Runs on: any thread.
:Owns: what was told so far; the gate's arrivals.
:Guards: ``_changed`` guards each one's fields.
:Blocks: ``Gate.pass_through`` until opened; ``wait_...`` as long as the caller says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.clock import ambient_clock

if TYPE_CHECKING:
    from actors.clock import Clock

__all__ = ["FakeRecipient", "Gate"]


class Gate:
    """A place in the code under test that the test lets it pass.

    The code calls :meth:`pass_through`; the test waits for it with
    :meth:`wait_arrived`, looks around, and opens.

    Args:
        clock: Whose waits they are; the ambient clock by default.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        clock = ambient_clock() if clock is None else clock
        self._changed = clock.condition()
        self._arrived = 0
        self._opened = False

    @property
    def arrived(self) -> int:
        """How many calls have come to the gate, let through or not."""
        return self._arrived

    def pass_through(self) -> None:
        """Say that this thread is here, and wait until the gate is open."""
        with self._changed:
            self._arrived += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._opened)

    def wait_arrived(self, timeout: float | None = None, *, count: int = 1) -> bool:
        """Wait until ``count`` calls have arrived; False on timeout."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: self._arrived >= count, timeout))

    def open(self) -> None:
        """Let everyone through from now on."""
        with self._changed:
            self._opened = True
            self._changed.notify_all()


class FakeRecipient:
    """A ref that keeps what it is told.

    Args:
        clock: Whose waits they are; the ambient clock by default.
        gate: Each ``tell`` passes through it, as a sender waits at a full mailbox.

    Attributes:
        messages: What ``tell`` brought, in order.
        control: What ``tell_control`` brought, in order.
        error: Raised by ``tell`` when set, and ``tell_control`` then says False: what
            a dead actor's ref does.
    """

    def __init__(self, clock: Clock | None = None, *, gate: Gate | None = None) -> None:
        clock = ambient_clock() if clock is None else clock
        self._changed = clock.condition()
        self._gate = gate
        self.messages: list[Any] = []
        self.control: list[Any] = []
        self.error: BaseException | None = None

    def tell(
        self,
        message: Any,
        *,
        timeout: float | None = None,  # noqa: ARG002
        token: Any = None,  # noqa: ARG002
    ) -> None:
        """Keep a message."""
        if self._gate is not None:
            self._gate.pass_through()
        if self.error is not None:
            raise self.error
        self._keep(self.messages, message)

    def tell_control(self, message: Any) -> bool:
        """Keep a control message; False when the recipient is dead."""
        if self.error is not None:
            return False
        self._keep(self.control, message)
        return True

    def _keep(self, kept: list[Any], message: Any) -> None:
        with self._changed:
            kept.append(message)
            self._changed.notify_all()

    def wait_told(self, count: int, timeout: float | None = None) -> bool:
        """Wait until ``count`` messages of both lanes have come; False on timeout."""
        with self._changed:
            return bool(
                self._changed.wait_for(
                    lambda: len(self.messages) + len(self.control) >= count, timeout
                )
            )
