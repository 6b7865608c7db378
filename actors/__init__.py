"""One actor: what it is, what it blocks on, and the stages of a pipeline.

The parts, from values to actors:

* ``errors``, ``jobs``, ``results``, ``retry``, ``messages``, ``events``: values and
  policies, without a thread.
* ``clock``: the one source of time and of everything that code may block on.
* ``stop_token``, ``tracker``, ``mailbox``, ``ledger``, ``dead_letters``, ``metrics``,
  ``cpu_pool``: thread-safe parts, without an actor.
* ``base``, ``cell``, ``ref``, ``future``: the actor, on Pykka.
* ``producer``, ``dispatcher``, ``worker``, ``collector``: the stages.

A job's walk: ``submit`` takes a place of the job's kind and enters the job into the
:class:`Ledger` and the kind's :class:`Channel` in one locked step; an idle
:class:`Worker` takes it, with a lease; ``settle`` is the one decision on each attempt;
its winner completes the future and tells the :class:`Collector`, which gives the result
to the sink and acknowledges it.  The :class:`Dispatcher` only sees jobs that wait for a
time, and what dead workers leave.

Tests find a clock that stands still in :mod:`actors.testing`.

:Runs on: import only.
:Owns: the package's logger, with a handler that does nothing.
"""

import logging

from actors._group import Group
from actors._inside import Role, role_in
from actors._numbers import Numbers
from actors._version import __version__ as __version__
from actors.base import Actor, adopt
from actors.cell import UNSET, Cell
from actors.channel import Channel
from actors.clock import (
    SYSTEM_CLOCK,
    Clock,
    ClockClosed,
    Empty,
    SystemClock,
    WakeQueue,
    ambient_clock,
    raw_lock,
)
from actors.collector import Collector, CollectorWiring
from actors.cpu_pool import (
    CpuPool,
    CpuProcess,
    Engine,
    ExecutorEngine,
    ForeignExecutor,
    usable_cores,
)
from actors.dead_letters import DeadLetter, DeadLetters
from actors.dispatcher import Dispatcher
from actors.errors import (
    Cancelled,
    ConfigurationError,
    DeadJobs,
    HeadraceError,
    JobNotPicklable,
    JobTimeout,
    MailboxClosed,
    MailboxFull,
    MissingExtra,
    ProducerError,
    RemoteError,
    ShutdownTimeout,
    SinkError,
    UsedAfterFork,
    WorkerDied,
    WouldDeadlock,
)
from actors.exits import (
    Crash,
    Down,
    Exit,
    Failing,
    Ignore,
    Restarted,
    Resumed,
    Started,
    StopRequest,
    Terminated,
    Undelivered,
    Zombie,
)
from actors.incarnation import Incarnation
from actors.job_context import checkpoint, current_job, sleep
from actors.job_future import JobFuture
from actors.jobs import (
    NO_OPTIONS,
    Job,
    JobKind,
    JobOptions,
    JobStatus,
    check_seconds,
    job,
    options_of,
)
from actors.ledger import Ledger
from actors.mailbox import Mailbox
from actors.messages import Recipient
from actors.metrics import Metrics, Snapshot
from actors.producer import Producer, ProducerWiring
from actors.ref import ActorRef, current_cell
from actors.ref_errors import (
    ActorAbandoned,
    ActorDeadError,
    ActorDown,
    ActorRestarted,
    SendTimeout,
)
from actors.results import Attempt, JobResult, Report
from actors.retry import PROGRAMMING_ERRORS, RetryPolicy
from actors.stop_token import Phase, StopToken
from actors.submitter import Submitter
from actors.tracker import Tracker
from actors.worker import Worker, WorkerStats, WorkerWiring

__all__ = [
    "Actor",
    "ActorAbandoned",
    "ActorDeadError",
    "ActorDown",
    "ActorRef",
    "ActorRestarted",
    "Attempt",
    "Cancelled",
    "Cell",
    "Channel",
    "Clock",
    "ClockClosed",
    "Collector",
    "CollectorWiring",
    "ConfigurationError",
    "CpuPool",
    "CpuProcess",
    "Crash",
    "DeadJobs",
    "DeadLetter",
    "DeadLetters",
    "Dispatcher",
    "Down",
    "Empty",
    "Engine",
    "ExecutorEngine",
    "Exit",
    "Failing",
    "ForeignExecutor",
    "Group",
    "HeadraceError",
    "Ignore",
    "Incarnation",
    "Job",
    "JobFuture",
    "JobKind",
    "JobNotPicklable",
    "JobOptions",
    "JobResult",
    "JobStatus",
    "JobTimeout",
    "Ledger",
    "Mailbox",
    "MailboxClosed",
    "MailboxFull",
    "Metrics",
    "MissingExtra",
    "NO_OPTIONS",
    "Numbers",
    "PROGRAMMING_ERRORS",
    "Phase",
    "Producer",
    "ProducerError",
    "ProducerWiring",
    "Recipient",
    "RemoteError",
    "Report",
    "Restarted",
    "Resumed",
    "RetryPolicy",
    "Role",
    "SYSTEM_CLOCK",
    "SendTimeout",
    "ShutdownTimeout",
    "SinkError",
    "Snapshot",
    "Started",
    "StopRequest",
    "StopToken",
    "Submitter",
    "SystemClock",
    "Terminated",
    "Tracker",
    "UNSET",
    "Undelivered",
    "UsedAfterFork",
    "WakeQueue",
    "Worker",
    "WorkerDied",
    "WorkerStats",
    "WorkerWiring",
    "WouldDeadlock",
    "Zombie",
    "__version__",
    "adopt",
    "ambient_clock",
    "check_seconds",
    "checkpoint",
    "current_cell",
    "current_job",
    "job",
    "options_of",
    "raw_lock",
    "role_in",
    "sleep",
    "usable_cores",
]

logging.getLogger("headrace").addHandler(logging.NullHandler())
