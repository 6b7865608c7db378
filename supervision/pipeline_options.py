"""What a pipeline was asked to be, checked before anything starts.

:Runs on: the host's thread; pure but for asking the host for its cores.
:Owns: nothing.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from actors import (
    CpuPool,
    ForeignExecutor,
    Producer,
    Worker,
    check_seconds,
    usable_cores,
)
from actors.errors import ConfigurationError
from supervision._spec_checks import NAME, is_name
from supervision.child_like import as_spec
from supervision.child_spec import ChildSpec, RestartType

if TYPE_CHECKING:
    from actors import Clock, DeadLetters, JobResult, RetryPolicy
    from supervision.child_like import ChildLike

__all__ = [
    "CpuWorkers",
    "PipelineOptions",
    "ProducerLike",
    "check_producers",
    "cpu_count",
    "foreign_of",
]

CpuWorkers: TypeAlias = (
    "int | CpuPool | concurrent.futures.Executor"
    " | Callable[[], concurrent.futures.Executor] | None"
)
ProducerLike: TypeAlias = "Producer | ChildLike[Producer] | Iterable[Any]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineOptions:
    """The arguments of :class:`supervision.Pipeline`, valid."""

    workers: int
    cpu_workers: CpuWorkers
    capacity: int | None
    max_delayed: int
    retry: RetryPolicy | None
    timeout: float | None
    worker_class: type[Worker] | None
    producers: tuple[ProducerLike, ...]
    sink: Callable[[JobResult], object] | None
    on_sink_error: Literal["stop", "continue"]
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    dead_letters: DeadLetters
    clock: Clock
    name: str
    progress: bool
    nested_capacity: int

    def __post_init__(self) -> None:
        """Check every option; the first wrong one is named."""
        _check_count("workers", self.workers)
        if self.capacity is not None:
            _check_count("capacity", self.capacity, "use None for no bound")
        if not is_name(self.name):
            msg = f"name must be {NAME}, got {self.name!r}"
            raise ConfigurationError(msg)
        _check_count("max_delayed", self.max_delayed)
        _check_count("nested_capacity", self.nested_capacity)
        check_seconds("timeout", self.timeout, positive=True)
        self._check_cpu_workers()
        # Typed wider than promised: hosts without a type checker.
        cls: object = self.worker_class
        if cls is not None and not (isinstance(cls, type) and issubclass(cls, Worker)):
            msg = f"worker_class must be a subclass of actors.Worker, got {cls!r}"
            raise ConfigurationError(msg)
        for option in ("sink", "initializer"):
            value = getattr(self, option)
            if value is not None and not callable(value):
                msg = f"{option} must be callable or None, got {value!r}"
                # concurrent.futures raises this class for an initializer
                raise TypeError(msg)
        if self.on_sink_error not in ("stop", "continue"):
            msg = (
                f"on_sink_error must be 'stop' or 'continue', "
                f"got {self.on_sink_error!r}"
            )
            raise ConfigurationError(msg)

    def _check_cpu_workers(self) -> None:
        given: object = self.cpu_workers
        if given is None or isinstance(given, (CpuPool, concurrent.futures.Executor)):
            return
        if isinstance(given, int):
            _check_count("cpu_workers", given)
        elif not callable(given):
            msg = (
                "cpu_workers must be a number of processes, a CpuPool, an Executor or "
                f"a callable that makes one, got {given!r}"
            )
            raise ConfigurationError(msg)

    @property
    def takes_payloads(self) -> bool:
        """True when the workers have a ``handle`` of their own."""
        return (
            self.worker_class is not None
            and self.worker_class.handle is not Worker.handle
        )


def check_producers(producers: Iterable[ProducerLike]) -> tuple[ProducerLike, ...]:
    """Refuse what cannot produce; make specs of classes and of pairs of one.

    Raises:
        ConfigurationError: Naming the one that cannot.
    """
    if isinstance(producers, Producer):
        producers = (producers,)
    return tuple(_producer(given, place) for place, given in enumerate(producers))


def _producer(given: Any, place: int) -> ProducerLike:
    first = given[0] if isinstance(given, tuple) and given else given
    if isinstance(first, type) and issubclass(first, Producer):
        return _spec_of(first, as_spec(given, f"producers[{place}]"), place)
    produces = isinstance(given, (Producer, Iterable))
    if isinstance(given, ChildSpec):
        produces = issubclass(given.actor_class, Producer)
    if not produces or isinstance(given, (str, bytes)):
        msg = (
            f"producers[{place}] must be a Producer, a Producer class, a pair "
            "(class, kwargs) or a ChildSpec of one, or an iterable of jobs, "
            f"got {given!r}"
        )
        raise ConfigurationError(msg)
    return cast("ProducerLike", given)


def _spec_of(
    cls: type[Producer], spec: ChildSpec[Producer], place: int
) -> ChildSpec[Producer]:
    """What became of a class, named and restarted as producers are."""
    if not spec.named:
        spec = spec.with_id(f"producer-{place}")
    if hasattr(cls, "child_spec"):
        return spec
    return dataclasses.replace(spec, restart=RestartType(cls.restart))


def foreign_of(options: PipelineOptions) -> ForeignExecutor | None:
    """Somebody else's executor, to be shared by the cpu workers, if that was given."""
    given = options.cpu_workers
    if given is None or isinstance(given, (int, CpuPool)):
        return None
    return ForeignExecutor(given, clock=options.clock)


def cpu_count(given: CpuWorkers, foreign: ForeignExecutor | None) -> int:
    """How many cpu workers there are to be."""
    if isinstance(given, int):
        return given
    if foreign is not None:
        return foreign.max_workers
    count = getattr(given, "_max_workers", None)
    return count if isinstance(count, int) and count > 0 else usable_cores()


def _check_count(option: str, value: object, way_out: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        hint = f"; {way_out}" if way_out else ""
        msg = f"{option} must be a whole number of at least 1, got {value!r}{hint}"
        raise ConfigurationError(msg)
