"""Who starts, watches, restarts and stops actors, and the pipeline built of them.

::

    root Supervisor (one_for_one)
     |- collector      gives results to the sink
     |- dispatcher     keeps what waits for a time
     |- workers        Supervisor: io-worker-0 .. N-1, cpu-worker-0 .. M-1
     '- producers      Supervisor: what brings jobs in

A supervisor is an actor whose state is its children: it starts them in order, restarts
those that fail behind the same ref, and stops them in reverse.  A :class:`Pipeline` is
such a tree around a ledger of jobs that outlives every actor in it.

:meth:`Supervisor.start` starts a tree of what it is told: a :class:`ChildSpec` for each
child, or just its class.  What it returns is a :class:`SupervisorRef`: the refs of the
children, ``start_child`` and ``terminate_child``, ``snapshot()`` to look at it all,
``stop()`` to drain and ``shutdown()`` to stop.  A :class:`DynamicSupervisor` begins
without children.  A supervisor inside another is a child like any other; one that
restarts too often gives up, and the one above decides.

From the bottom up: what it is told (``child_spec``, ``supervisor_spec``,
``strategies``), what it decides without a thread (``limits``, ``groups``, ``ending``,
``moves``, ``machine``), the actor that does it (``supervisor``, ``dynamic``, ``hands``,
``administration``), and what the host holds of it (``supervisor_ref``,
``children_ref``, ``picture``, ``snapshot``).

Each name is imported on first use: pytest imports this package in every run, for the
plugin, and other people's tests shall not wait for a pipeline that they do not use.

:Runs on: import only.
:Owns: nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervision.child_like import ChildLike
    from supervision.child_spec import ChildSpec, RestartType, Siblings
    from supervision.dynamic import DynamicSupervisor
    from supervision.errors import (
        AlreadyPresent,
        AlreadyStarted,
        ChildNotFound,
        ChildRestarting,
        ChildRunning,
        MaxChildren,
        StartFailed,
        SupervisorGaveUp,
    )
    from supervision.pipeline import Pipeline
    from supervision.scope import Scope
    from supervision.signals import handle_signals
    from supervision.snapshot import TreeSnapshot
    from supervision.strategies import Backoff, Decider, Directive, Strategy
    from supervision.supervisor import Supervisor
    from supervision.supervisor_ref import SupervisorRef
else:
    import importlib

    _HOMES = {
        "AlreadyPresent": "errors",
        "AlreadyStarted": "errors",
        "Backoff": "strategies",
        "ChildLike": "child_like",
        "ChildNotFound": "errors",
        "ChildRestarting": "errors",
        "ChildRunning": "errors",
        "ChildSpec": "child_spec",
        "Decider": "strategies",
        "Directive": "strategies",
        "DynamicSupervisor": "dynamic",
        "MaxChildren": "errors",
        "Pipeline": "pipeline",
        "RestartType": "child_spec",
        "Scope": "scope",
        "Siblings": "child_spec",
        "StartFailed": "errors",
        "Strategy": "strategies",
        "Supervisor": "supervisor",
        "SupervisorGaveUp": "errors",
        "SupervisorRef": "supervisor_ref",
        "TreeSnapshot": "snapshot",
        "handle_signals": "signals",
    }

    def __getattr__(name):
        home = _HOMES.get(name)
        if home is None:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *__all__})


__all__ = [
    "AlreadyPresent",
    "AlreadyStarted",
    "Backoff",
    "ChildLike",
    "ChildNotFound",
    "ChildRestarting",
    "ChildRunning",
    "ChildSpec",
    "Decider",
    "Directive",
    "DynamicSupervisor",
    "MaxChildren",
    "Pipeline",
    "RestartType",
    "Scope",
    "Siblings",
    "StartFailed",
    "Strategy",
    "Supervisor",
    "SupervisorGaveUp",
    "SupervisorRef",
    "TreeSnapshot",
    "handle_signals",
]
