"""Many calls of one function, with a bound on how many are out at a time.

``map`` is Python 3.14's ``Executor.map`` with a ``buffersize`` by default: values in
order, the first error raised in its place.  ``results`` gives every result as it
settles, failures as values.

:Runs on: the caller's thread, which also pulls the iterables; the rest of a dropped
    map on a thread of its own.
:Owns: the calls that are out and the iterator that the next ones come from.
:Blocks: ``next``, until its value is there or the timeout passes; on room for jobs.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from actors.errors import HeadraceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors import Clock, JobFuture, JobResult, WakeQueue
    from supervision.reaper import Reaper

__all__ = ["Calls", "MapIterator", "Maps", "ResultsIterator"]

logger = logging.getLogger("headrace.mapping")
T = TypeVar("T")


class Calls:
    """The calls of one map: those that are out, and those still to come.

    Args:
        submit: Submits one call; ``privileged`` when the caller is gone.
        items: Argument tuples.
        buffersize: How many may be out; ``None`` for all.
        maps: The run's list of maps; knows when the rest of this one still runs.
    """

    def __init__(
        self,
        submit: Callable[..., JobFuture],
        items: Iterator[tuple[Any, ...]],
        buffersize: int | None,
        maps: Maps,
    ) -> None:
        self._submit = submit
        self._items = items
        self._buffersize = buffersize
        self.clock = maps.clock
        self._maps = maps
        self.reaper = maps.reaper
        self.out: deque[JobFuture] = deque()
        self.error: BaseException | None = None  # of the iterable, or of a submit
        self.ended = False
        self.taken_from = False
        self.gone = False  # set by the iterator's finaliser
        maps.add(self)

    def pull(self) -> JobFuture | None:
        """Submit the next call; ``None`` when there is none."""
        if self.ended:
            return None
        try:
            args = next(self._items)
        except StopIteration:
            self.end()
            return None
        except Exception as error:  # noqa: BLE001  # raised after the results before it
            self._fail(error)
            return None
        try:
            future = self._submit(args)
        except HeadraceError as error:
            self._fail(error)
            return None
        self.out.append(future)
        return future

    def _fail(self, error: BaseException) -> None:
        self.error = error
        self.end()

    def end(self) -> None:
        """No more calls will be made."""
        self.ended = True
        self._maps.remove(self)

    def mark_gone(self) -> None:
        """The iterator is garbage; inside its finaliser."""
        self.gone = True

    def fill(self) -> None:
        """Submit until ``buffersize`` calls are out."""
        while self._buffersize is None or len(self.out) < self._buffersize:
            if self.pull() is None:
                return

    # -- when the iterator is gone

    def dropped(self) -> None:
        """The iterator is garbage: run the rest, or cancel what has not begun.

        On the reaper's thread, or earlier on one that ends the pipeline.
        """
        if self.taken_from:
            self.cancel()
        elif self._maps.begin_rest(self):
            thread = self.clock.thread(
                self.run_rest, name="headrace-map-rest", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # at the interpreter's exit, say: Maps.none_left does
                self._maps.put_rest_back(self)

    def cancel(self) -> None:
        """Cancel the calls that are out and have not begun; make no more.

        Once the run hands its jobs back, that is what becomes of these too, whichever
        of the two comes first.
        """
        self.end()
        while self.out and not self._maps.handed_back:
            self.out.pop().cancel_unless_begun()

    def run_rest(self, leave_by: float | None = None) -> None:
        """Submit what is left, values discarded; mostly on a thread of its own.

        Args:
            leave_by: When to give up; ``None`` for never.
        """
        self.out.clear()
        limit: dict[str, float] = {}
        try:
            for args in self._items:
                if leave_by is not None:
                    limit = {"patience": max(0.0, leave_by - self.clock.monotonic())}
                self._submit(args, privileged=True, **limit)
        except Exception:  # nobody is left to raise it to
            logger.exception(
                "the rest of a map whose results nobody took ended early; what was "
                "submitted before still runs"
            )
        finally:
            self.ended = True
            self._maps.end_rest()


class Maps:
    """The maps of one run that may have more calls to make.

    Guards: ``_lock`` guards both fields; held for O(1) work.

    Args:
        clock: The run's.
        reaper: The run's; learns of dropped maps.
        changed: Called when the rest of a dropped map has been submitted.
    """

    def __init__(
        self, clock: Clock, reaper: Reaper, changed: Callable[[], object]
    ) -> None:
        self.clock = clock
        self.reaper = reaper
        self._changed = changed
        self._lock = clock.lock()
        self._open: dict[Calls, None] = {}  # in the order in which they began
        self._rests = 0  # dropped maps whose rest is being submitted
        self.leave_by: float | None = None  # when the interpreter's exit gives up
        self.handed_back = False  # all calls that are out are, or are about to be

    def add(self, calls: Calls) -> None:
        """A map began."""
        with self._lock:
            self._open[calls] = None

    def remove(self, calls: Calls) -> None:
        """A map makes no more calls."""
        with self._lock:
            self._open.pop(calls, None)

    def begin_rest(self, calls: Calls) -> bool:
        """Claim the rest of a dropped map; False if there is none or it is claimed."""
        with self._lock:
            if calls not in self._open:
                return False
            del self._open[calls]
            self._rests += 1
            return True

    def put_rest_back(self, calls: Calls) -> None:
        """The rest of a dropped map could not be begun."""
        with self._lock:
            self._open[calls] = None
            self._rests -= 1

    def end_rest(self) -> None:
        """The rest of a dropped map is submitted."""
        with self._lock:
            self._rests -= 1
        self._changed()

    def none_left(self) -> bool:
        """True when no dropped map has calls to make; starts those it finds.

        Where no thread can be started, as at the interpreter's exit, it submits the
        rest itself.
        """
        for calls in self._gone():
            calls.dropped()
        for calls in self._gone():
            if self.begin_rest(calls):
                calls.run_rest(self.leave_by)
        return not self._rests

    def _gone(self) -> list[Calls]:
        with self._lock:
            return [calls for calls in self._open if calls.gone]


class _CallIterator(Generic[T]):
    """What both iterators share."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        watch = calls.reaper.watch
        self._watch = watch(self, calls.dropped, mark=calls.mark_gone)

    def __iter__(self) -> Iterator[T]:
        return self  # type: ignore[return-value]  # subclasses have __next__

    def close(self) -> None:
        """Cancel what has not begun; a generator's ``close``."""
        self._watch.detach()
        self._calls.cancel()
        self._calls.error = None

    def _end(self) -> None:
        """Raise what the iterable raised, or stop."""
        self._watch.detach()
        error, self._calls.error = self._calls.error, None
        if error is not None:
            raise error
        raise StopIteration


class MapIterator(_CallIterator[Any]):
    """Values in the order of the calls.

    Args:
        calls: The calls, filled.
        deadline: When the next value must be there, on the clock; ``None`` for never.
    """

    def __init__(self, calls: Calls, deadline: float | None) -> None:
        super().__init__(calls)
        self._deadline = deadline

    def __next__(self) -> Any:
        calls = self._calls
        calls.taken_from = True
        if not calls.out:
            self._end()
        future = calls.out.popleft()
        left = None
        if self._deadline is not None:
            left = max(0.0, self._deadline - calls.clock.monotonic())
        try:
            value = future.result(left)
        except BaseException:
            future.cancel()
            del future  # the error's traceback holds this frame: no circle of the two
            self.close()
            raise
        calls.pull()
        return value


class ResultsIterator(_CallIterator["JobResult"]):
    """Results as they settle.

    Args:
        calls: The calls.
        queue: Where each of their futures is put once it is done.
    """

    def __init__(self, calls: Calls, queue: WakeQueue) -> None:
        super().__init__(calls)
        self._queue = queue

    def __next__(self) -> JobResult:
        calls = self._calls
        calls.taken_from = True
        if not calls.out:
            self._end()
        if self._queue.empty():
            with calls.out[0].guard_wait():
                future = self._queue.get()
        else:
            future = self._queue.get()
        calls.out.remove(future)
        calls.pull()
        result: JobResult = future.job_result()
        return result
