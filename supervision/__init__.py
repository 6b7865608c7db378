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

:Runs on: import only.
:Owns: nothing.
"""

from supervision.child_spec import ChildSpec, RestartType
from supervision.errors import StartFailed, SupervisorGaveUp
from supervision.pipeline import Pipeline
from supervision.scope import Scope
from supervision.signals import handle_signals
from supervision.strategies import Backoff, Strategy
from supervision.supervisor import Supervisor
from supervision.supervisor_ref import SupervisorRef

__all__ = [
    "Backoff",
    "ChildSpec",
    "Pipeline",
    "RestartType",
    "Scope",
    "StartFailed",
    "Strategy",
    "Supervisor",
    "SupervisorGaveUp",
    "SupervisorRef",
    "handle_signals",
]
