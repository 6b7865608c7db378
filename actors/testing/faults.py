"""What may go wrong at a delivery: the receiver crashes, or takes its time.

A fault comes right before an actor handles a message.  So a crash loses the message in
hand as a real one does, and a delay is the receiver's own wait: what one sender sends
to one actor still comes in order.

:Runs on: the receiving actor's thread; ``only`` too.
:Owns: nothing; the generator of one run is its injector's.
:Guards: in serial mode one thread runs at a time; in free mode the generator's draws
    are atomic, and in no order that comes again.
:Blocks: a delay, in virtual time.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.exits import Crash
from actors.testing.errors import FaultInjected
from actors.testing.story import short

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Faults"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Which faults a virtual clock injects, and how often.

    Give it to ``VirtualClock(faults=...)`` or ``explore(..., faults=...)``.  It is a
    value: what is drawn comes from a generator that each clock seeds from its own seed,
    so a seed has its faults as it has its order.  Every fault stands in the story.

    Data messages, asks and the jobs that a worker takes are deliveries; what goes
    through the control lane (stops, exit reports, timers) is never touched.

    Args:
        crash: The probability that the receiver fails with :class:`FaultInjected`
            instead of handling the message.  An asker gets that error too.
        delay: The probability that the receiver waits first.  On a clock without
            ``auto_advance`` somebody has to move time for it.
        max_delay: Seconds; the wait is drawn between 0 and this.
        only: Called with the actor's name and the message, on the actor's thread; where
            it says False nothing happens.  What it raises the actor fails with.

    Raises:
        ValueError: If a probability is not between 0 and 1, or ``max_delay`` is not a
            finite number above 0.
        TypeError: If ``only`` cannot be called.

    Example:
        Every tenth delivery to a worker crashes it::

            faults = Faults(crash=0.1, only=lambda actor, _: actor.startswith("io-"))
            explore(body, seeds=200, faults=faults)
    """

    crash: float = 0.0
    delay: float = 0.0
    max_delay: float = 1.0
    only: Callable[[str, Any], bool] | None = None

    def __post_init__(self) -> None:
        for name in ("crash", "delay"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                message = f"{name} is a probability from 0 to 1, got {value}"
                raise ValueError(message)
        if not 0 < self.max_delay < float("inf"):
            message = f"max_delay must be seconds above 0, got {self.max_delay}"
            raise ValueError(message)
        only: object = self.only  # typed wider than promised
        if only is not None and not callable(only):
            message = f"only must be callable or None, got {only!r}"
            raise TypeError(message)

    def injector(
        self,
        seed: int,
        *,
        sleep: Callable[[float], object],
        note: Callable[[str], object],
    ) -> Callable[[str, Any], None]:
        """Make what a clock calls at each delivery.

        Args:
            seed: The clock's.
            sleep: Waits on the clock.
            note: Told each fault in words, before it happens.

        Returns:
            A callable of the actor's name and the message.  It returns, or raises
            :class:`actors.Crash` to fail the actor.
        """
        rng = random.Random(f"faults of {seed}")

        def on_actor_thread(actor: str, message: Any) -> None:
            if self.only is not None and not self.only(actor, message):
                return
            # Three draws whatever comes of them: another probability then moves no
            # other fault.
            crashes = rng.random() < self.crash
            waits = rng.random() < self.delay
            wait = rng.random() * self.max_delay
            if waits:
                note(f"delayed by {wait:.3f} s")
                sleep(wait)
            if crashes:
                note(f"crashed before {short(message, 40)}")
                text = f"{actor} was crashed before it handled {short(message)}"
                raise Crash(FaultInjected(text))

        return on_actor_thread
