"""Draws the tree of a pipeline and starts it.

::

    root Supervisor (one_for_one)
     |- collector                              permanent
     |- dispatcher                             permanent
     |- workers: Supervisor (one_for_one)      permanent; backoff
     |    |- io-worker-0 .. N-1                run jobs in their thread
     |    '- cpu-worker-0 .. M-1               each drives one process
     '- producers: Supervisor (one_for_one)    temporary

Children start in this order, which is the order of need, and stop in the reverse.
Refs, mailboxes and the ledger survive restarts, so nobody need fall with another.  A
worker that fails to start again backs off for as long as another of its kind runs; see
:mod:`supervision.crew`.  A producer that fails too often is left down alone.
Stop tokens go from the run's own to a node ``dispatcher``, which outlives incarnations,
from there to the dispatcher's and the workers' supervisor's, and on to each worker's.
The collector's is shielded: it delivers what a cancel hands back.

:Runs on: the host's thread; the callables of siblings on a child's.
:Owns: nothing; everything belongs to the run.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Final

from actors import (
    Collector,
    CollectorWiring,
    CpuPool,
    CpuProcess,
    Dispatcher,
    ExecutorEngine,
    JobKind,
    Producer,
    ProducerWiring,
    Worker,
    WorkerWiring,
    current_cell,
)
from supervision.child_spec import ChildSpec, RestartType
from supervision.crew import worker_name
from supervision.strategies import Backoff, Strategy
from supervision.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actors import Engine, Group
    from supervision.child_spec import Kwargs, Siblings
    from supervision.pipeline_options import ProducerLike
    from supervision.pipeline_run import PipelineRun
    from supervision.supervisor_ref import SupervisorRef

__all__ = ["build_tree"]

_RESTARTS_A_WORKER: Final = 10


def build_tree(run: PipelineRun) -> SupervisorRef:
    """Start the tree of a run; returns once all children run."""
    options = run.options
    children: list[ChildSpec[Any]] = [
        ChildSpec(
            Collector,
            kwargs={"wiring": _collector_wiring(run)},
            id="collector",
            restart="permanent",
            token=run.collect_token,
        ),
        ChildSpec(
            Dispatcher,
            kwargs={"wiring": run.ledger},
            id="dispatcher",
            restart="permanent",
            token=run.dispatch_token,
        ),
        ChildSpec(
            Supervisor,
            kwargs=functools.partial(_workers, run),
            id="workers",
            restart="permanent",
            token=run.dispatch_token,
        ),
    ]
    if options.producers:
        children.append(
            ChildSpec(
                Supervisor,
                kwargs=functools.partial(_producers, run),
                id="producers",
                restart="temporary",
            )
        )
    return Supervisor.start(
        Strategy.ONE_FOR_ONE,
        children,
        on_event=run.on_event,
        clock=run.clock,
        name=options.name,
        token=run.token,
    )


def _collector_wiring(run: PipelineRun) -> CollectorWiring:
    options = run.options

    def sink_failed(group: Group) -> None:
        if group is run.ledger.root:
            run.close_intake("its sink raised")

    return CollectorWiring(
        run.ledger,
        sink=options.sink,
        on_sink_error=options.on_sink_error,
        dead_letters=options.dead_letters,
        metrics=run.metrics,
        sink_failed=sink_failed,
    )


def _workers(run: PipelineRun, siblings: Siblings) -> Mapping[str, Any]:
    """The workers' supervisor: built when its elder siblings have refs."""
    dispatcher: Any = siblings.ref("dispatcher")
    run.ledger.dispatcher = dispatcher
    engines = _engines(run)
    before = run.crew.begin_anew()
    specs = [
        _worker(run, kind, place, engines, before)
        for kind, count in run.workers.items()
        for place in range(count)
    ]
    return {
        "strategy": Strategy.ONE_FOR_ONE,
        "children": specs,
        "intensity": _RESTARTS_A_WORKER * len(specs),
        "start": "parallel",
    }


def _worker(
    run: PipelineRun,
    kind: JobKind,
    place: int,
    engines: Callable[[str], Engine],
    before: Mapping[str, int],
) -> ChildSpec[Any]:
    options = run.options
    name = worker_name(kind, place)
    io = kind is JobKind.IO
    initializer = None
    if io and options.initializer is not None:
        initializer = functools.partial(options.initializer, *options.initargs)
    wiring = WorkerWiring(
        run.ledger,
        kind,
        name,
        engine=None if io else functools.partial(engines, name),
        initializer=initializer,
        stats=run.stats[kind][place],
        before=before[name],
    )
    return ChildSpec(
        (options.worker_class or Worker) if io else Worker,
        kwargs={"wiring": wiring},
        id=name,
        restart="permanent",
        backoff=Backoff(),
        # A pipeline starts with all of them or not at all.  Begun again, it goes on
        # with those that start; the others are tried again after their backoff.
        required=run.tree is None,
    )


def _engines(run: PipelineRun) -> Callable[[str], Engine]:
    """What makes the engine of each cpu worker."""
    options, given = run.options, run.options.cpu_workers
    if isinstance(given, CpuPool):
        return lambda _: given.lend()
    if given is None or isinstance(given, int):
        return lambda name: CpuProcess(
            initializer=options.initializer,
            initargs=options.initargs,
            clock=run.clock,
            name=name,
        )
    foreign = run.foreign
    assert foreign is not None  # made by the run for what is not our own
    return lambda name: ExecutorEngine(foreign, clock=run.clock, name=name)


def _producers(run: PipelineRun, siblings: Siblings) -> Mapping[str, Any]:  # noqa: ARG001
    specs = [
        _producer(run, given, f"producer-{place}")
        for place, given in enumerate(run.options.producers)
    ]
    return {"strategy": Strategy.ONE_FOR_ONE, "children": specs, "start": "parallel"}


def _producer(run: PipelineRun, given: ProducerLike, name: str) -> ChildSpec[Any]:
    spec = _spec_of(given, name)
    wiring = ProducerWiring(
        run.ledger,
        lambda item, token: run.submitter.submit_job(item, future=False, token=token),
        functools.partial(_ended, run, spec.id),
    )
    run.producers.add(spec.id)
    return dataclasses.replace(
        spec,
        kwargs=_wired(spec.kwargs, wiring),
        give_up="leave_down",  # else the others would end before they are exhausted
    )


def _ended(run: PipelineRun, name: str, error: BaseException | None) -> None:
    """On the producer's thread: it brings no more."""
    cell = current_cell()
    assert cell is not None  # a producer is an actor
    told = cell.incarnation is not None and cell.incarnation.stop_token.draining
    if error is None and told and not run.token.draining:
        return  # its supervisor fails, and is heard of: it was not exhausted
    run.producers.ended(name, error)


def _spec_of(given: ProducerLike, name: str) -> ChildSpec[Any]:
    if isinstance(given, ChildSpec):
        # Only a producer that says it resumes is begun again after it raised.
        again = given.actor_class.restart != "temporary"
        return (
            given
            if again
            else dataclasses.replace(given, restart=RestartType.TEMPORARY)
        )
    if isinstance(given, Producer):
        args, kwargs = given.made_with
        return ChildSpec(type(given), args, kwargs, id=name, restart=given.restart)
    return ChildSpec(Producer, (given,), id=name, restart=Producer.restart)


def _wired(kwargs: Kwargs, wiring: ProducerWiring) -> Kwargs:
    if callable(kwargs):
        return lambda siblings: {**kwargs(siblings), "wiring": wiring}
    return {**kwargs, "wiring": wiring}
