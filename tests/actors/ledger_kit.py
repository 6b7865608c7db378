"""What the tests of the ledger, its parts and the stages around it share.

:Runs on: the test runner's thread and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors._group import Group
from actors._ledger import Entry
from actors.job_future import JobFuture
from actors.jobs import Job, JobOptions, JobStatus
from actors.results import Attempt, JobResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.jobs import JobKind
    from actors.ledger import Ledger, Taken
    from actors.retry import RetryPolicy
    from actors.testing import VirtualClock


def nothing() -> None:
    """What a job does whose work does not matter."""


class FakeWake:
    """A wake queue that only counts."""

    def __init__(self) -> None:
        self.puts = 0

    def put(self, item: Any, /) -> None:
        self.puts += 1

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        raise AssertionError

    def get_nowait(self) -> Any:
        raise AssertionError

    def empty(self) -> bool:
        return not self.puts


class Call:
    """A call on a thread of its own, with what came of it and when.

    Once made, the thread has ended or waits on the clock.
    """

    def __init__(self, clock: VirtualClock, fn: Callable[..., Any], *args: Any) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.ended_at: float | None = None

        def run() -> None:
            try:
                self.value = fn(*args)
            except BaseException as error:  # noqa: BLE001  # for the test to look at
                self.error = error
            self.ended_at = clock.monotonic()

        self.thread = clock.thread(run, daemon=True)
        self.thread.start()
        clock.settle()

    def waits(self) -> bool:
        """True while it has not ended; no property: it changes behind one's back."""
        return self.ended_at is None


def decided_job(
    *,
    fn: Callable[..., Any] = nothing,
    args: tuple[Any, ...] = (),
    number: int = 1,
    kind: JobKind | str = "io",
    delay: float | None = None,
    timeout: float | None = None,
    retry: RetryPolicy | int | None = None,
    key: object = None,
) -> Job:
    """A numbered job, every option decided."""
    options = JobOptions.make(
        kind=kind, delay=delay, timeout=timeout, retry=retry, key=key
    )
    return Job.called(number, (fn, args, {}), options)


def make_entry(
    number: int = 1,
    group: Group | None = None,
    *,
    counted: bool = True,
    privileged: bool = False,
    **options: Any,
) -> Entry:
    """An entry that stands nowhere yet."""
    return Entry(
        decided_job(number=number, **options),
        Group("root") if group is None else group,
        counted=counted,
        privileged=privileged,
    )


def submit(ledger: Ledger, number: int = 1, **options: Any) -> JobFuture:
    """Submit a job with a future; raises unless there is room at once."""
    wait = options.pop("wait", False)
    entry = make_entry(number, options.pop("group", ledger.root), **options)
    future = entry.future = JobFuture(ledger, ledger.clock)
    future.belong_to(entry)
    ledger.submit(entry, wait=wait)
    return future


def entry_of(future: JobFuture) -> Entry:
    """The entry of a job that is not settled."""
    entry = future._entry
    assert entry is not None
    return entry


def attempt_of(
    taken: Taken | Entry,
    error: BaseException | None = None,
    *,
    ended_at: float = 0.0,
    began_at: float | None = None,
) -> Attempt:
    """How the attempt in hand ended."""
    entry = taken if isinstance(taken, Entry) else taken.entry
    began = entry.begun_at if began_at is None else began_at
    number = len(entry.attempts) + 1
    return Attempt(number, entry.worker, began or 0.0, ended_at, error)


def result_of(
    number: int = 1,
    status: JobStatus = JobStatus.SUCCEEDED,
    error: BaseException | None = None,
    **options: Any,
) -> JobResult:
    """A final result."""
    times = {name: options.pop(name, 0.0) for name in ("waited", "ran")}
    job = decided_job(number=number, **options)
    return JobResult(job, status, None, error, (), times["waited"], times["ran"])
