"""Random programs of threads, and an oracle that watches what their code does.

:Runs on: the test thread; the programs on threads of the clock.
:Owns: nothing; each program has its own clock.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from actors.clock import Empty

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors.testing import VirtualClock


class Oracle:
    """Knows which threads are in user code; none may be when time moves.

    It looks at what user code does, not at what the kernel counts.

    Attributes:
        violations: What must not have happened.
        most: How many threads of the clock were in user code at once.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.in_user_code: set[int] = set()
        self.foreign: set[int] = set()
        self.violations: list[str] = []
        self.most = 0
        move_freezer = clock._kernel.on_move

        def on_move() -> None:
            if self.in_user_code:
                self.violations.append(f"time moved to {clock.monotonic()}")
            move_freezer()

        clock._kernel.on_move = on_move

    def call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Leave user code for a call of the clock."""
        me = threading.get_ident()
        self.in_user_code.discard(me)
        try:
            return fn(*args, **kwargs)
        finally:
            self._enter(me)

    def run(self, target: Callable[..., Any], *args: Any) -> None:
        """Run a thread's target as user code."""
        me = threading.get_ident()
        self._enter(me)
        try:
            target(*args)
        finally:
            self.in_user_code.discard(me)

    def run_foreign(self, target: Callable[..., Any], *args: Any) -> None:
        """Run the target of a thread that the clock does not know."""
        me = threading.get_ident()
        self.foreign.add(me)
        try:
            self.run(target, *args)
        finally:
            self.foreign.discard(me)

    def _enter(self, me: int) -> None:
        self.in_user_code.add(me)
        self.most = max(self.most, len(self.in_user_code - self.foreign))


class Program:
    """A random program of threads that sleep, wait, wake and start each other."""

    def __init__(self, clock: VirtualClock, scripts: list[list[tuple[str, int]]]):
        self.clock = clock
        self.oracle = Oracle(clock)
        self.scripts = scripts
        self.queues = [clock.queue() for _ in range(3)]
        self.events = [clock.event() for _ in range(3)]
        self.condition = clock.condition()
        self.late: list[str] = []
        self.started = self.ended = 0

    def thread(self, number: int) -> threading.Thread:
        self.started += 1
        return self.clock.thread(self.oracle.run, args=(self.play, number))

    def play(self, number: int) -> None:
        for word, size in self.scripts[number]:
            before = self.clock.monotonic()
            limit = getattr(self, word)(number, size)
            for _ in range(size):
                os.sched_yield()
            if limit is not None and self.clock.monotonic() - before > limit + 1e-9:
                self.late.append(f"{word} {size}")
        self.ended += 1

    def sleep(self, number: int, size: int) -> float:
        before = self.clock.monotonic()
        self.oracle.call(self.clock.sleep, size / 10)
        if abs(self.clock.monotonic() - before - size / 10) > 1e-9:
            self.late.append("a sleep not as long as asked")
        return size / 10

    def put(self, number: int, size: int) -> float:
        self.oracle.call(self.queues[size % 3].put, number)
        return 0.0

    def get(self, number: int, size: int) -> float:
        with contextlib.suppress(Empty):
            self.oracle.call(self.queues[size % 3].get, timeout=size / 10)
        return size / 10

    def set(self, number: int, size: int) -> float:
        self.oracle.call(self.events[size % 3].set)
        return 0.0

    def clear(self, number: int, size: int) -> float:
        self.oracle.call(self.events[size % 3].clear)
        return 0.0

    def wait(self, number: int, size: int) -> float:
        self.oracle.call(self.events[size % 3].wait, size / 10)
        return size / 10

    def notify(self, number: int, size: int) -> float:
        self.oracle.call(self.condition.acquire)  # it may wait for its turn there
        try:
            self.oracle.call(self.condition.notify, size)
        finally:
            self.condition.release()
        return 0.0

    def await_notice(self, number: int, size: int) -> float:
        self.oracle.call(self.condition.acquire)
        try:
            self.oracle.call(self.condition.wait, size / 10)
        finally:
            self.condition.release()
        return size / 10

    def later(self, number: int, size: int) -> float:
        call = self.oracle.call
        put = self.queues[size % 3].put
        handle = call(
            self.clock.call_later, size / 10, self.oracle.run, call, put, number
        )
        if size == 3:
            call(handle.cancel)
        return 0.0

    def spawn(self, number: int, size: int) -> float:
        if number + 4 < len(self.scripts):
            self.oracle.call(self.thread(number + 4).start)
        return 0.0

    def hold(self, number: int, size: int) -> float:
        hold = self.oracle.call(self.clock.hold, "a moment")
        foreign = threading.Thread(
            target=self.oracle.run_foreign, args=(self.oracle.call, hold.release)
        )
        foreign.start()
        foreign.join()  # unseen by the clock, which must stand still
        return 0.0


WORDS = (
    "sleep put get set clear wait notify await_notice later spawn hold".split()  # noqa: SIM905
)
SCRIPTS = st.lists(
    st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 7)), max_size=8),
    min_size=1,
    max_size=8,
)


def play(
    clock: VirtualClock, scripts: list[list[tuple[str, int]]], *, driven: bool
) -> Program:
    """Run a program on a clock that nobody has entered yet.

    Args:
        clock: Its clock.
        scripts: What each thread does; the first four start at once.
        driven: Move time from here; else the clock does so by itself.
    """
    with clock:
        program = Program(clock, scripts)
        for number in range(min(4, len(scripts))):
            program.thread(number).start()
        if driven:
            clock.advance(100)
        else:
            clock.sleep(100)
    return program
