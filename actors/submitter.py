"""Turns what a host wants done into numbered jobs with every option decided.

:Runs on: any thread that submits.
:Owns: the numbers of the jobs.
:Blocks: where the ledger's intake does.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from actors._ledger import Entry
from actors.errors import ConfigurationError
from actors.job_future import JobFuture
from actors.jobs import NO_OPTIONS, Job, JobKind, JobOptions, options_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextvars import ContextVar

    from actors._group import Group
    from actors.ledger import Ledger
    from actors.stop_token import StopToken

__all__ = ["Submitter"]


class Submitter:
    """Builds jobs and enters them into a ledger.

    The nearest word on an option wins: the job's own, then the scope's, then the
    function's (:func:`actors.job`), then the pipeline's.

    Args:
        ledger: Where jobs go.
        defaults: The pipeline's options.
        takes_payloads: False when no worker has a ``handle`` for them.
        number: Gives the jobs their numbers; shared by a pipeline's scopes.
        group: What the jobs are counted in; the ledger's root by default.
        options: The scope's options.
        wait: How long a submit waits for room: True, False or seconds.
        context: Context variables that travel with each job.
    """

    def __init__(
        self,
        ledger: Ledger,
        defaults: JobOptions,
        *,
        takes_payloads: bool = False,
        number: Callable[[], int] | None = None,
        group: Group | None = None,
        options: JobOptions | None = None,
        wait: bool | float = True,
        context: Sequence[ContextVar[Any]] = (),
    ) -> None:
        self.ledger = ledger
        self.group = ledger.root if group is None else group
        self._defaults = defaults
        self._takes_payloads = takes_payloads
        self._number = itertools.count(1).__next__ if number is None else number
        self._options = NO_OPTIONS if options is None else options
        self._plain = self._options.over(defaults)  # for functions without their own
        self._wait = wait
        self._context = tuple(context)

    def narrowed(
        self,
        group: Group,
        options: JobOptions,
        *,
        wait: bool | float,
        context: Sequence[ContextVar[Any]],
    ) -> Submitter:
        """The same with a scope's options, group, patience and context."""
        return Submitter(
            self.ledger,
            self._defaults,
            takes_payloads=self._takes_payloads,
            number=self._number,
            group=group,
            options=options.over(self._options),
            wait=wait,
            context=(*self._context, *context),
        )

    def submit(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        future: bool = True,
        privileged: bool = False,
        key: object = None,
    ) -> JobFuture | None:
        """Submit a call; returns its future once it is accepted.

        Args:
            fn: A callable.
            args: Its arguments.
            kwargs: Its keyword arguments.
            future: False when nobody wants one.
            privileged: The intake lets it in also while it drains.
            key: This job's key, before any other.
        """
        given: object = fn  # typed wider than promised: hosts without a type checker
        if not callable(given):
            msg = (
                f"a job must be callable, got {given!r}; submit a function with its "
                "arguments, or a payload with submit_job(Job(payload))"
            )
            raise ConfigurationError(msg)
        options = self._decide(fn)
        if key is not None:
            options = options._replace(key=key)
        job = Job.called(self._number(), (fn, args, kwargs), options)
        return self._enter(job, future=future, privileged=privileged)

    def kind_of(self, fn: object) -> JobKind:
        """Where a call of ``fn`` would run."""
        return self._decide(fn).kind or JobKind.IO

    def submit_job(
        self,
        item: Any,
        *,
        future: bool = True,
        privileged: bool = False,
        token: StopToken | None = None,
    ) -> JobFuture | None:
        """Submit a Job made by hand, or a payload; returns its entry once accepted."""
        source = item if isinstance(item, Job) else Job.of(item)
        options = source.options.over(self._decide(source.fn))
        if source.fn is None:
            self._check_payload(source, options)
        job = source.numbered(self._number(), options)
        return self._enter(job, future=future, privileged=privileged, token=token)

    def _check_payload(self, source: Job, options: JobOptions) -> None:
        if options.kind is JobKind.CPU:
            msg = (
                f"a cpu job must be callable, got the payload {source.payload!r}; "
                "submit a function, or an io job whose handle() calls run_cpu()"
            )
            raise ConfigurationError(msg)
        if not self._takes_payloads:
            msg = (
                f"a job must be callable, got the payload {source.payload!r}, and no "
                "worker serves payloads; pass worker_class= a Worker subclass with a "
                "handle(), or submit a function"
            )
            raise ConfigurationError(msg)

    def _decide(self, fn: object) -> JobOptions:
        of_function = options_of(fn)
        if of_function is NO_OPTIONS:
            return self._plain
        return self._options.over(of_function).over(self._defaults)

    def _enter(
        self,
        job: Job,
        *,
        future: bool,
        privileged: bool,
        token: StopToken | None = None,
    ) -> JobFuture | None:
        ledger = self.ledger
        promise = JobFuture(ledger, ledger.clock) if future else None
        carried = {v: v.get() for v in self._context if _is_set(v)}
        entry = Entry(
            job, self.group, promise, privileged=privileged, context=carried or None
        )
        if promise is not None:
            promise.belong_to(entry)
        ledger.submit(entry, wait=self._wait, token=token)
        return promise


def _is_set(variable: ContextVar[Any]) -> bool:
    try:
        variable.get()
    except LookupError:
        return False
    return True
