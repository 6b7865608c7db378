"""What a cpu worker drives: something that runs one pickled call at a time.

:Runs on: nothing; a contract and a value.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from actors.stop_token import StopToken

__all__ = ["Engine", "Outcome"]


class Outcome(NamedTuple):
    """How one call ended; failures are values.

    Attributes:
        ok: True if the call returned.
        value: What it returned.
        error: What it raised, with the remote traceback as its cause; or
            ``RemoteError``, ``JobNotPicklable``, ``WorkerDied``, ``JobTimeout``,
            ``Cancelled``.
        ran: Seconds from the start of the call to its end, on the engine's clock.
        pid: The process that ran it, if it is known.
    """

    ok: bool
    value: Any
    error: BaseException | None
    ran: float
    pid: int | None


class Engine(Protocol):
    """Runs pickled calls, one at a time, driven by one thread."""

    @property
    def kills(self) -> bool:
        """True if a timeout, a cancel or ``kill`` ends a call that has begun."""

    @property
    def pid(self) -> int | None:
        """The process that runs the calls, if it is known and runs."""

    def run(
        self,
        call: bytes,
        *,
        timeout: float | None = None,
        token: StopToken | None = None,
        meta: dict[str, Any] | None = None,
    ) -> Outcome:
        """Run one call and wait for its end; never raises what the call raised.

        Args:
            call: What :func:`actors._pickling.dumps_call` made.
            timeout: Seconds the call may run.
            token: Its cancel phase ends the call.
            meta: Plain data for ``current_job()`` inside the call.
        """

    def kill(self, reason: str = "killed", *, call: bytes | None = None) -> bool:
        """End the call in hand; any thread.

        Args:
            reason: Becomes the text of ``Cancelled``.
            call: Only if this very call is in hand.

        Returns:
            True if the call will not complete: its outcome is ``Cancelled``.
        """

    def close(self) -> None:
        """End the running call, if any, and give everything back; any thread."""
