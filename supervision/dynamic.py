"""A supervisor whose children come and go: one for each connection, session, device.

:Runs on: the supervisor's own thread; ``start`` on the caller's.
:Owns: what every supervisor owns.
:Blocks: ``start``, until it runs.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from actors.errors import ConfigurationError
from supervision.strategies import Strategy
from supervision.supervisor import Supervisor
from supervision.supervisor_spec import SupervisorSpec

if TYPE_CHECKING:
    from actors import StopToken
    from actors.clock import Clock
    from actors.events import Listener
    from supervision.strategies import Decider
    from supervision.supervisor_ref import SupervisorRef

__all__ = ["DynamicSupervisor"]


class DynamicSupervisor(Supervisor):
    """Starts without children; each is started and stopped while it runs.

    A child fails alone, and all stop at the same time.  To start or to terminate one
    takes as long among ten thousand as among ten.  A child whose spec has no ``id`` is
    numbered: ``Connection-1``.  Its spec goes when it is down for good.

    As a nested supervisor: ``ChildSpec(DynamicSupervisor, (), {"max_children": 100})``.
    When that one is restarted it has no children.

    Args:
        max_children: How many it may have, those that wait for their restart included;
            ``None`` for any number.
        intensity: More than this many restarts of all its children together within
            ``period`` seconds, and it gives up.
        period: Seconds.
        decider: What each failure of a child asks for; see :class:`Supervisor`.
    """

    def __init__(
        self,
        *,
        max_children: int | None = None,
        intensity: int = 3,
        period: float = 5.0,
        decider: Decider | None = None,
    ) -> None:
        super().__init__(Strategy.ONE_FOR_ONE)
        self._spec = SupervisorSpec.for_dynamic(
            max_children=max_children,
            intensity=intensity,
            period=period,
            decider=decider,
        )

    @classmethod
    def check_arguments(cls, *args: Any, **kwargs: Any) -> None:
        """Check what a nested one will be made from; starts nothing.

        Raises:
            ConfigurationError: If it would be refused.
        """
        if cls.__init__ is DynamicSupervisor.__init__:
            if args or not kwargs.keys().isdisjoint({"strategy", "children"}):
                msg = (
                    f"a {cls.__name__} takes neither strategy nor children: it is "
                    f"one_for_one, and its children come by start_child(); write "
                    f'ChildSpec({cls.__name__}, (), {{"max_children": ...}})'
                )
                raise ConfigurationError(msg)
            inspect.signature(cls.__init__).bind(None, *args, **kwargs)
            SupervisorSpec.for_dynamic(**kwargs)

    @classmethod
    def start(  # type: ignore[override]  # it has neither strategy nor children
        cls,
        *,
        max_children: int | None = None,
        intensity: int = 3,
        period: float = 5.0,
        decider: Decider | None = None,
        on_event: Listener | None = None,
        clock: Clock | None = None,
        name: str | None = None,
        token: StopToken | None = None,
    ) -> SupervisorRef:
        """Start one as the root of a tree.

        Args:
            max_children: How many children it may have; ``None`` for any number.
            intensity: More restarts than this within ``period`` end the tree.
            period: Seconds.
            decider: What each failure of a child asks for.
            on_event: Told each supervision event; see :meth:`Supervisor.start`.
            clock: The ambient clock by default.
            name: Name of the root, ``"root"`` by default.
            token: Parent of the root's stop token; one of its own by default.

        Raises:
            ConfigurationError: If an option is not allowed.

        Example:
            ::

                with DynamicSupervisor.start(max_children=100) as connections:
                    ref = connections.start_child((Connection, {"socket": socket}))
                    connections.terminate_child(ref)
        """
        options: dict[str, Any] = {
            "max_children": max_children,
            "intensity": intensity,
            "period": period,
            "decider": decider,
        }
        SupervisorSpec.for_dynamic(**options)
        return cls._grow(
            (), options, on_event=on_event, clock=clock, name=name, token=token
        )
