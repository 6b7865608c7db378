"""The tree of stop signals: who is told, when, how often, and on which thread.

:Runs on: the test runner's thread, and threads of a virtual clock.
:Owns: nothing.
"""

from __future__ import annotations

import logging
import math
import random
import signal
import sys
import threading
import weakref
from collections import Counter
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from actors._callbacks import lasting_thread
from actors.base import Actor
from actors.clock import SYSTEM_CLOCK, Empty, SystemClock
from actors.errors import ConfigurationError
from actors.exits import Exit
from actors.stop_token import Phase, StopToken
from actors.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actors.cell import Cell
    from tests.actors.conftest import FakeSupervisor

LIMIT = 60.0


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Let threads take turns every few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(*works: Callable[[], None]) -> None:
    """Run every callable on a thread of its own, all at once; raise what one raised."""
    ready = threading.Barrier(len(works))
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        ready.wait(LIMIT)
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


def callbacks_done() -> None:
    """Wait until the system clock's thread has run all callbacks put so far."""
    assert lasting_thread().flush(LIMIT)


# -- phases and reasons


def test_phases_only_rise_and_cancel_implies_drain() -> None:
    """R81: phases only rise, CANCEL implies DRAIN."""
    token = StopToken()
    assert (token.phase, token.draining, token.cancelled) == (0, False, False)
    assert Phase.RUNNING < Phase.DRAIN < Phase.CANCEL

    token.drain()
    assert (token.phase, token.draining, token.cancelled) == (Phase.DRAIN, True, False)

    token.cancel()
    assert (token.phase, token.draining, token.cancelled) == (Phase.CANCEL, True, True)

    token.drain("too late")
    assert token.phase is Phase.CANCEL


def test_cancel_of_a_running_token_shows_draining_too() -> None:
    """R81: a token that was cancelled at once is draining too."""
    token = StopToken()

    token.cancel("now")

    assert token.draining
    assert token.wait(0)


def test_first_reason_of_each_phase_wins() -> None:
    """R83: the first reason of each phase wins."""
    token = StopToken()
    assert token.reason == ""

    token.drain("first drain")
    token.drain("second drain")
    assert token.reason == "first drain"

    token.cancel("first cancel")
    token.cancel("second cancel")
    assert token.reason == "first cancel"


def test_own_reason_stays_when_the_parent_is_signalled_later() -> None:
    """R83: a token's own reason came first."""
    root = StopToken()
    child = root.child()
    grandchild = child.child()
    child.cancel("own")

    root.cancel("from above")

    assert (child.reason, grandchild.reason) == ("own", "own")


def test_repr_tells_name_phase_and_reason() -> None:
    token = StopToken(name="root")
    assert repr(token) == "<StopToken root RUNNING>"

    token.drain("host ends")

    assert repr(token) == "<StopToken root DRAIN 'host ends'>"


# -- who is told


def test_signal_reaches_all_below_and_nobody_else() -> None:
    """R82: a signal reaches all below, never parent or siblings."""
    root = StopToken(name="root")
    t, s = root.child("t"), root.child("s")
    c1, c2 = t.child("c1"), t.child("c2")
    g = c1.child("g")

    t.cancel("t alone")

    assert [token.cancelled for token in (t, c1, c2, g)] == [True] * 4
    assert {token.reason for token in (t, c1, c2, g)} == {"t alone"}
    assert [token.phase for token in (root, s)] == [Phase.RUNNING] * 2


def test_token_is_born_with_both_phases_of_its_parent() -> None:
    """R82: under a cancelled token a child is born cancelled."""
    parent = StopToken()
    parent.drain("closing")
    parent.cancel("timeout")

    child = parent.child()
    told: list[str] = []

    assert (child.phase, child.reason) == (Phase.CANCEL, "timeout")
    child.on_drain(told.append)
    callbacks_done()
    assert told == ["closing"]


def test_child_of_a_draining_token_is_born_draining_and_can_be_cancelled() -> None:
    """R82: under a draining token a child is born draining."""
    root = StopToken()
    root.drain("closing")

    child = root.child()
    assert (child.phase, child.reason) == (Phase.DRAIN, "closing")
    root.cancel("now")

    assert (child.phase, child.reason) == (Phase.CANCEL, "now")


def test_nothing_is_ever_unsignalled() -> None:
    """R82: what is signalled stays so."""
    root = StopToken()
    root.cancel()

    assert all(root.child().cancelled for _ in range(3))
    assert root.cancelled


def test_signal_goes_past_a_token_that_another_thread_is_marking() -> None:
    """R82: another thread has marked the middle token, not yet its child."""
    root = StopToken()
    middle = root.child()
    leaf = middle.child()
    middle._mark(Phase.CANCEL, "the other thread's")

    root.cancel("ours")

    assert leaf.cancelled
    assert middle.reason == leaf.reason == "the other thread's"
    assert root.reason == "ours"


@pytest.mark.concurrent
@pytest.mark.usefixtures("fast_switching")
def test_every_descendant_shows_the_signal_when_it_returns() -> None:
    """R82: all show it on return, while threads signal and make children."""
    for seed in range(10):
        signalled_while_growing(seed)


def signalled_while_growing(seed: int) -> None:
    root = StopToken()
    made = [root]

    def work(seed: int, *, at_root: bool) -> Callable[[], None]:
        rng = random.Random(seed)

        def grow_and_signal() -> None:
            for _ in range(4):
                grow(made, rng, 50)
                token = root if at_root else rng.choice(made)
                phase = rng.choice([Phase.DRAIN, Phase.CANCEL])
                (token.drain if phase is Phase.DRAIN else token.cancel)()
                late = [t for t in list(made) if is_below(t, token) and t.phase < phase]
                assert not late, f"not told when the signal returned: {late}"

        return grow_and_signal

    in_threads(*(work(4 * seed + n, at_root=n == 3) for n in range(4)))


def grow(made: list[StopToken], rng: random.Random, count: int) -> None:
    for _ in range(count):
        parent = rng.choice(made)
        known = parent.phase
        child = parent.child()
        made.append(child)
        assert child.phase >= known, "born without its parent's phase"


def is_below(token: StopToken | None, ancestor: StopToken) -> bool:
    while token is not None:
        if token is ancestor:
            return True
        token = token._parent
    return False


@pytest.mark.concurrent
@pytest.mark.usefixtures("fast_switching")
def test_signal_that_meets_another_one_on_its_way_waits_for_no_promise() -> None:
    """R82: all show it on return, also where signals meet."""
    for _ in range(5):
        chain = [StopToken()]
        for _ in range(1_000):
            chain.append(chain[-1].child())

        def signal_from(start: int, chain: list[StopToken] = chain) -> None:
            chain[start].cancel()
            assert all(token.cancelled for token in chain[start:])

        in_threads(*(partial(signal_from, start) for start in (0, 100, 200, 500)))


# -- what is dropped, and depth


def test_dropped_token_leaves_no_trace_in_its_parent() -> None:
    """R86: a dropped token leaves no trace in its parent."""
    root = StopToken()
    kept = root.child("kept")

    def make_and_drop() -> None:
        dropped = root.child()
        dropped.on_cancel(print)
        dropped.child().child()

    for _ in range(100):
        make_and_drop()

    assert [ref() for ref in root._children] == [kept]


def test_dropped_middle_token_still_passes_signals() -> None:
    """R86: a dropped middle token still passes signals."""
    root = StopToken()
    grandchild = root.child().child()

    root.drain("down")

    assert grandchild.reason == "down"


@pytest.mark.real
def test_finished_waits_and_taken_back_callbacks_leave_no_trace() -> None:
    token = StopToken()

    token.wait(0.001)
    token.on_cancel(print)()

    assert not token._waiters
    assert not token._callbacks


def test_very_deep_tree_is_signalled_and_dropped_without_recursion() -> None:
    """R86: depth has no limit."""
    root = StopToken()
    token = root
    for _ in range(10_000):
        token = token.child()

    root.cancel("deep")
    assert token.reason == "deep"

    gone = weakref.ref(token)
    del token
    assert gone() is None
    assert not root._children


# -- callbacks


def test_callback_runs_once_per_phase_with_the_reason_of_its_phase() -> None:
    """R83: a callback runs once, with its phase's reason."""
    token = StopToken()
    told: list[str] = []
    token.on_cancel(lambda reason: told.append(f"cancel {reason}"))
    token.on_drain(lambda reason: told.append(f"drain {reason}"))

    token.drain("a")
    token.drain("b")
    callbacks_done()
    assert told == ["drain a"]

    token.cancel("c")
    token.cancel("d")
    callbacks_done()
    assert told == ["drain a", "cancel c"]


def test_cancel_runs_drain_callbacks_before_cancel_callbacks() -> None:
    token = StopToken()
    told: list[str] = []
    token.on_cancel(lambda reason: told.append("cancel"))
    token.on_drain(lambda reason: told.append("drain"))

    token.cancel()

    callbacks_done()
    assert told == ["drain", "cancel"]


def test_callback_registered_late_runs_once() -> None:
    """R83: a callback that is registered late runs once."""
    token = StopToken()
    token.cancel("before")
    told: list[str] = []

    token.on_drain(told.append)
    token.on_cancel(told.append)

    callbacks_done()
    assert told == ["before", "before"]


def test_callbacks_of_parents_run_before_those_of_children() -> None:
    root = StopToken()
    child = root.child()
    told: list[str] = []
    child.on_cancel(lambda reason: told.append("child"))
    root.on_cancel(lambda reason: told.append("root"))

    root.cancel()

    callbacks_done()
    assert told == ["root", "child"]


def test_callback_never_runs_in_the_signalling_or_registering_thread() -> None:
    threads: list[int] = []
    token = StopToken()
    token.on_drain(lambda reason: threads.append(threading.get_ident()))

    token.drain()
    token.on_drain(lambda reason: threads.append(threading.get_ident()))

    callbacks_done()
    assert len(threads) == 2
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3)])
def test_raising_callback_is_logged_and_stops_nothing(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """R83: a callback that raises stops nothing."""

    def fail(reason: str) -> None:
        raise error

    root = StopToken()
    child = root.child()
    told: list[str] = []
    root.on_cancel(fail)
    root.on_cancel(told.append)
    child.on_cancel(told.append)

    with caplog.at_level(logging.ERROR, logger="headrace.stop_token"):
        root.cancel("why")
        callbacks_done()

    assert told == ["why", "why"]
    assert child.cancelled
    [record] = caplog.records
    assert "fail" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_callback_taken_back_is_not_called() -> None:
    token = StopToken()
    told: list[str] = []
    take_back = token.on_cancel(told.append)

    assert take_back()
    assert not take_back()
    token.cancel()

    callbacks_done()
    assert told == []


def test_callback_cannot_be_taken_back_once_its_phase_is_reached() -> None:
    token = StopToken()
    told: list[str] = []
    take_back = token.on_drain(told.append)
    token.drain()

    assert not take_back()
    callbacks_done()
    assert told == [""]


def test_callback_may_signal_and_register() -> None:
    first, second = StopToken(), StopToken()
    told: list[str] = []
    second.on_cancel(told.append)
    first.on_drain(second.cancel)
    first.on_drain(lambda reason: second.on_drain(told.append))

    first.drain("chain")

    callbacks_done()
    callbacks_done()
    assert told == ["chain", "chain"]


@pytest.mark.concurrent
@pytest.mark.usefixtures("fast_switching")
def test_racing_signals_and_registrations_run_each_callback_once() -> None:
    """R83: each callback runs once, whatever races."""
    for _ in range(10):
        register_while_signalled()


def register_while_signalled() -> None:
    root = StopToken()
    tokens = [root.child() for _ in range(5)]
    told: Counter[int] = Counter()

    def register(numbers: range) -> None:
        for number in numbers:
            token = tokens[number % 5]
            on = token.on_drain if number % 2 else token.on_cancel
            on(partial(count, told, number))

    in_threads(
        partial(register, range(200)),
        partial(register, range(200, 400)),
        *(root.drain, root.cancel, tokens[0].cancel, tokens[1].drain),
    )
    callbacks_done()
    assert told == Counter(range(400))


def count(told: Counter[int], number: int, reason: str) -> None:
    told[number] += 1


def test_idle_callback_thread_ends_and_comes_again_in_virtual_time(
    clock: VirtualClock,
) -> None:
    threads: list[threading.Thread] = []
    for times in range(1, 4):
        token = StopToken()
        token.on_drain(lambda reason: threads.append(threading.current_thread()))

        token.drain()
        clock.settle()

        assert len(threads) == times
        threads[-1].join(LIMIT)
        assert not threads[-1].is_alive()


def test_never_called_callbacks_leave_no_thread_in_virtual_time() -> None:
    with VirtualClock():
        token = StopToken()
        token.on_cancel(print)
    assert not token.cancelled


def test_callbacks_in_virtual_time_run_before_time_moves(clock: VirtualClock) -> None:
    token = StopToken()
    seen: list[float] = []
    start = clock.monotonic()

    def slow(reason: str) -> None:
        seen.append(clock.monotonic() - start)
        clock.sleep(2)
        seen.append(clock.monotonic() - start)

    token.on_drain(slow)
    token.drain()
    clock.advance(5)

    assert seen == [0, 2]


@pytest.mark.concurrent
@pytest.mark.usefixtures("fast_switching")
def test_no_call_is_lost_when_the_virtual_callback_thread_is_ending(
    clock: VirtualClock,
) -> None:
    told: Counter[int] = Counter()

    def signal_many(start: int) -> None:
        for number in range(start, start + 100):
            token = StopToken(clock=clock)
            token.on_cancel(partial(count, told, number))
            token.cancel()

    threads = [clock.thread(signal_many, args=(n * 1_000,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    clock.settle()

    assert sum(told.values()) == len(told) == 300


# -- waiting


def test_wait_returns_at_once_when_signalled(clock: VirtualClock) -> None:
    """R84: a wait ends at the signal."""
    root = StopToken()
    token = root.child()
    seen: list[tuple[bool, float]] = []
    start = clock.monotonic()

    def wait() -> None:
        seen.append((token.wait(100), clock.monotonic() - start))

    clock.thread(wait).start()
    clock.advance(7)
    root.drain()
    clock.settle()

    assert seen == [(True, 7)]


def test_wait_times_out_exactly_on_the_clock(clock: VirtualClock) -> None:
    """R84: a wait's timeout is the clock's."""
    token = StopToken()
    seen: list[tuple[bool, float]] = []
    start = clock.monotonic()

    def wait() -> None:
        seen.append((token.wait(10), clock.monotonic() - start))

    clock.thread(wait).start()
    clock.advance(9.999)
    assert seen == []
    clock.advance(0.001)
    assert seen == [(False, 10)]


def test_wait_cancelled_is_not_woken_by_drain(clock: VirtualClock) -> None:
    token = StopToken()
    seen: list[tuple[bool, float]] = []
    start = clock.monotonic()

    def wait(limit: float) -> None:
        seen.append((token.wait_cancelled(limit), clock.monotonic() - start))

    clock.thread(wait, args=(5.0,)).start()
    clock.thread(wait, args=(50.0,)).start()
    token.drain()
    clock.advance(6)
    assert seen == [(False, 5)]

    token.cancel()
    clock.settle()
    assert seen == [(False, 5), (True, 6)]


def test_sleep_of_the_clock_ends_when_the_token_is_cancelled(
    clock: VirtualClock,
) -> None:
    token = StopToken()
    seen: list[tuple[bool, float]] = []
    start = clock.monotonic()

    def rest() -> None:
        seen.append((clock.sleep(60, wake_on=token), clock.monotonic() - start))

    clock.thread(rest).start()
    clock.advance(1)
    token.drain()
    clock.advance(1)
    token.cancel()
    clock.settle()

    assert seen == [(False, 2)]


@pytest.mark.parametrize("timeout", [0, -1.0])
def test_wait_without_time_only_looks(timeout: float) -> None:
    token = StopToken()
    assert not token.wait(timeout)
    token.drain()
    assert token.wait(timeout)
    assert not token.wait_cancelled(timeout)


def test_endless_timeouts_are_no_timeouts() -> None:
    token = StopToken()
    child = token.child(timeout=math.inf)
    waiting = threading.Thread(target=child.wait, args=(math.inf,))
    waiting.start()

    token.drain()

    waiting.join(LIMIT)
    assert not waiting.is_alive()


def test_waiter_is_put_to_once_when_its_phase_is_reached() -> None:
    token = StopToken()
    drain: SimpleQueue[None] = SimpleQueue()
    cancel: SimpleQueue[None] = SimpleQueue()
    token.add_waiter(drain, Phase.DRAIN)
    token.add_waiter(drain, Phase.DRAIN)
    token.add_waiter(cancel, Phase.CANCEL)

    token.drain()
    assert (drain.qsize(), cancel.qsize()) == (1, 0)
    token.cancel()
    assert (drain.qsize(), cancel.qsize()) == (1, 1)
    assert not token._waiters


def test_waiter_added_late_is_put_to_at_once() -> None:
    token = StopToken()
    token.drain()
    drain: SimpleQueue[None] = SimpleQueue()
    cancel: SimpleQueue[None] = SimpleQueue()

    token.add_waiter(drain, Phase.DRAIN)
    token.add_waiter(cancel, Phase.CANCEL)

    assert (drain.qsize(), cancel.qsize()) == (1, 0)


def test_removed_waiter_is_not_put_to() -> None:
    token = StopToken()
    wake: SimpleQueue[None] = SimpleQueue()
    token.add_waiter(wake, Phase.DRAIN)
    token.add_waiter(wake, Phase.CANCEL)

    token.remove_waiter(wake)
    token.remove_waiter(wake)
    token.cancel()

    assert wake.empty()


def test_whoever_is_woken_finds_the_whole_tree_told() -> None:
    root = StopToken()
    leaf = root.child().child()

    class Wake:
        seen: Phase | None = None

        def put(self, item: Any, /) -> None:
            self.seen = leaf.phase

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            raise Empty

        def get_nowait(self) -> Any:
            raise Empty

        def empty(self) -> bool:
            return True

    wake = Wake()
    root.add_waiter(wake, Phase.DRAIN)
    root.cancel()

    assert wake.seen is Phase.CANCEL


@pytest.mark.concurrent
@pytest.mark.usefixtures("fast_switching")
def test_no_waiter_is_missed_by_a_racing_signal() -> None:
    """R84: no waiter is missed by a racing signal."""
    for _ in range(50):
        root = StopToken()
        tokens = [root.child().child() for _ in range(4)]
        in_threads(*(partial(check_woken, t) for t in tokens), root.cancel)


def check_woken(token: StopToken) -> None:
    assert token.wait_cancelled(LIMIT)


# -- shields and time limits


def test_shield_keeps_cancel_of_ancestors_out_but_not_drain() -> None:
    """R87: a shield keeps CANCEL of those above out, not DRAIN."""
    root = StopToken()
    shielded = root.child(shield=True)
    below = shielded.child()

    root.cancel("stop")
    born = root.child(shield=True)

    assert [t.phase for t in (shielded, below, born)] == [Phase.DRAIN] * 3
    assert {t.reason for t in (shielded, below, born)} == {"stop"}


def test_shielded_token_obeys_its_own_cancel() -> None:
    """R87: a shielded token obeys its own cancel."""
    root = StopToken()
    shielded = root.child(shield=True)
    below = shielded.child()
    root.cancel()

    shielded.cancel("own")

    assert (shielded.reason, below.reason) == ("own", "own")


def test_timeout_cancels_the_token_and_all_below_it(clock: VirtualClock) -> None:
    """R87: a timeout cancels its token and all below."""
    root = StopToken()
    limited = root.child(timeout=5)
    below = limited.child(timeout=60)

    clock.advance(4.999)
    assert not limited.cancelled
    clock.advance(0.001)

    assert (limited.cancelled, below.cancelled, root.cancelled) == (True, True, False)
    assert below.reason == "its timeout of 5 s passed"


def test_shield_keeps_timeouts_of_ancestors_out(clock: VirtualClock) -> None:
    """R87: a shield keeps timeouts of those above out, not its own."""
    limited = StopToken().child(timeout=5)
    shielded = limited.child(shield=True, timeout=8)

    clock.advance(7.999)
    assert (shielded.draining, shielded.cancelled) == (True, False)
    clock.advance(0.001)

    assert shielded.cancelled


def test_deadline_is_the_first_of_its_own_and_those_above(clock: VirtualClock) -> None:
    """R87: the deadline is the first of those up to a shield."""
    now = clock.monotonic()
    root = StopToken()
    five = root.child(timeout=5)
    shielded = five.child(shield=True)

    assert root.deadline is root.child().deadline is None
    assert root.child(timeout=math.inf).deadline is None
    assert five.deadline == five.child().child().deadline == now + 5
    assert five.child(timeout=3).child(timeout=8).deadline == now + 3
    assert shielded.deadline is None
    assert shielded.child(timeout=9).deadline == now + 9
    assert five.child(shield=True, timeout=7).child().deadline == now + 7


def test_deadline_is_when_the_token_is_cancelled(clock: VirtualClock) -> None:
    """R87: nothing is cancelled before its deadline, nor later."""
    rng = random.Random(7)
    tokens = [StopToken()]
    for _ in range(50):
        timeout = rng.choice([None, float(rng.randint(1, 60))])
        parent, shield = rng.choice(tokens), rng.random() < 0.2
        tokens.append(parent.child(shield=shield, timeout=timeout))

    for _ in range(60):
        clock.advance(1)
        now = clock.monotonic()
        past = [t.deadline is not None and t.deadline <= now for t in tokens]
        assert past == [token.cancelled for token in tokens]


def test_deadline_is_told_of_a_token_that_was_born_cancelled() -> None:
    """R87: a limit under a cancelled token is known, and arms no timer."""
    root = StopToken()
    root.cancel()

    born = root.child(timeout=5)

    assert born.deadline is not None
    assert born.cancelled


def test_timeout_of_nothing_cancels_at_once() -> None:
    """R87: a timeout of 0 has passed."""
    assert StopToken().child(timeout=0).cancelled


@pytest.mark.parametrize("timeout", [-1, math.nan])
def test_impossible_timeout_is_refused(timeout: float) -> None:
    with pytest.raises(ConfigurationError, match="timeout must be at least 0, got"):
        StopToken().child(timeout=timeout)


def test_timers_of_dropped_tokens_are_cancelled(clock: VirtualClock) -> None:
    root = StopToken()
    for _ in range(10):
        root.child(timeout=1_000)
    last = root.child(timeout=2_000)

    deadline = clock.next_deadline()

    assert deadline is not None
    assert deadline - clock.monotonic() == 2_000
    assert not last.cancelled


# -- who has one


def test_tree_of_actors_has_a_token_for_each(supervisor: FakeSupervisor) -> None:
    """R81: a tree's tokens are a tree too; DRAIN and CANCEL go down it."""
    first, second = (supervisor.start(Holder) for _ in range(2))
    tokens = [token_of(cell) for cell in (first, second)]
    assert [token.phase for token in tokens] == [Phase.RUNNING] * 2

    supervisor.token.drain("closing")
    assert [token.reason for token in tokens] == ["closing"] * 2
    assert not any(token.cancelled for token in tokens)
    first.stop_now("first alone")

    assert [token.cancelled for token in tokens] == [True, False]
    assert supervisor.ended(first) == Exit("shutdown")


def test_each_incarnation_has_a_fresh_token(supervisor: FakeSupervisor) -> None:
    """R88: a restart starts with an unsignalled token of its own."""
    cell = supervisor.start(Holder)
    old = token_of(cell)
    cell.ref.tell("cancel and fail")

    supervisor.restart(cell)

    new = token_of(cell)
    assert (old.cancelled, new.phase) == (True, Phase.RUNNING)
    supervisor.token.cancel("above")
    assert new.reason == "above"


def test_incarnation_under_a_signalled_parent_is_born_signalled(
    supervisor: FakeSupervisor,
) -> None:
    """R88: a restart starts with a signalled token only if the parent is signalled."""
    cell = supervisor.start(Holder)
    supervisor.token.drain("closing")
    cell.ref.tell("cancel and fail")

    supervisor.restart(cell)

    assert token_of(cell).reason == "closing"


def token_of(cell: Cell) -> StopToken:
    token: StopToken = cell.ref.ask("token", block=True)
    return token


class Holder(Actor):
    """Hands out its token, or fails."""

    def on_receive(self, message: Any) -> StopToken:
        if message == "cancel and fail":
            self.stop_token.cancel()
            raise ValueError(message)
        return self.stop_token


# -- which clock


def test_children_take_the_clock_of_their_parent(clock: VirtualClock) -> None:
    system = StopToken(clock=SYSTEM_CLOCK)

    assert system.child()._clock is SYSTEM_CLOCK
    assert StopToken().child()._clock is clock


def test_one_callback_thread_serves_all_tokens_of_the_system_clock() -> None:
    names: list[str] = []
    idents: set[int] = set()
    for _ in range(5):
        token = StopToken(clock=SYSTEM_CLOCK)
        token.on_drain(lambda reason: names.append(threading.current_thread().name))
        token.on_drain(lambda reason: idents.add(threading.get_ident()))
        token.drain()
        callbacks_done()

    assert names == ["headrace-callbacks"] * 5
    assert len(idents) == 1


@pytest.mark.real
def test_plain_tokens_start_no_thread() -> None:
    clock = SystemClock()

    def no_thread(*args: object, **options: object) -> threading.Thread:
        raise AssertionError

    clock.thread = no_thread  # type: ignore[method-assign]
    token = StopToken(clock=clock)
    token.child().wait(0.001)
    token.cancel()

    with pytest.raises(AssertionError):
        token.on_cancel(print)


# -- signal handlers


@pytest.mark.real
def test_signalling_from_a_signal_handler_never_deadlocks() -> None:
    """R85: a signal handler may signal wherever it interrupts."""
    current = StopToken()
    runs = 0
    called: Counter[int] = Counter()

    def handler(number: int, frame: object) -> None:
        nonlocal runs
        runs += 1
        current.drain("signal")
        current.cancel("signal")

    old = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    try:
        rounds = 0
        while runs < 5_000:
            rounds += 1
            current = token = StopToken(clock=SYSTEM_CLOCK)
            child = token.child().child()
            token.on_cancel(partial(count, called, rounds))
            child.wait(1e-5)
            child.on_drain(lambda reason: None)()
            token.child(timeout=100)
            if rounds % 50 == 0:
                assert child.wait_cancelled(LIMIT)
            token.cancel()
            assert child.cancelled
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    callbacks_done()
    assert called == Counter(range(1, rounds + 1))


def test_the_oldest_child_is_signalled_first() -> None:
    # A set of weak references would give them in the order of their addresses.
    root, woken = StopToken(), []
    tokens = [root.child(str(number)) for number in range(50)]
    del tokens[10:40]  # their places in memory are used again
    tokens += [root.child(str(number)) for number in range(50, 80)]

    class Wake(SimpleQueue[None]):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def put(self, item: Any, *_: Any) -> None:
            woken.append(self.name)

    below = [token.child(f"{token.name}.1") for token in tokens]
    for token in [*below, *tokens]:
        token.add_waiter(Wake(token.name))
    root.cancel()

    assert woken == [name for t in tokens for name in (t.name, f"{t.name}.1")]
