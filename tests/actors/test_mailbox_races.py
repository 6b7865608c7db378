"""Mailbox and channel under many real threads at once: nothing lost, nothing twice.

:Runs on: the test runner's thread and real threads that take turns very often.
:Owns: nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
import threading
from collections import Counter
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from actors.clock import Empty, WakeQueue
from actors.errors import MailboxClosed, MailboxFull
from actors.mailbox import Channel, Lane, LeaseRevoked, Mailbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 60.0

pytestmark = [pytest.mark.concurrent, pytest.mark.usefixtures("fast_switching")]


class ChannelSource:
    """A channel as a source, as the ledger is one."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def take(self, wake: WakeQueue) -> Any | None:
        with self.channel.lock:
            popped = self.channel.pop(wake)
        if popped is None:
            return None
        item, ticket = popped
        if ticket is not None:
            ticket.wake.put(None)
        return item

    def withdraw(self, wake: WakeQueue) -> None:
        with self.channel.lock:
            other = self.channel.forget_reader(wake)
        if other is not None:
            other.put(None)


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Let threads take turns every few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(*works: Callable[[], None]) -> None:
    """Run each on a real thread, all at once; raise what one raised."""
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(w,), daemon=True) for w in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    for error in errors:
        raise error
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"


@pytest.mark.parametrize("capacity", [1, 7, None])
def test_racing_put_get_and_close_lose_and_double_nothing(
    capacity: int | None,
) -> None:
    mailbox = Mailbox(capacity)
    accepted: list[list[Any]] = [[] for _ in range(6)]
    received: list[list[Any]] = [[] for _ in range(2)]
    leftovers: list[list[Any]] = []
    lengths: list[int] = []
    enough = threading.Event()
    sending = threading.Barrier(6, action=enough.set)  # when all are done
    wanted = random.Random().randrange(900)

    def send(number: int) -> None:
        with contextlib.suppress(MailboxClosed):
            for index in range(300):
                with contextlib.suppress(MailboxFull):
                    mailbox.put((number, index), wait=(True, 0.001, False)[number % 3])
                    accepted[number].append((number, index))
        sending.wait(LIMIT)

    def read(number: int) -> None:
        with contextlib.suppress(MailboxClosed):
            while True:
                with contextlib.suppress(Empty):
                    received[number].append(mailbox.get(0.001))
                    lengths.append(len(mailbox))
                    if len(received[0]) + len(received[1]) > wanted:
                        enough.set()

    def close() -> None:
        enough.wait(LIMIT)
        leftovers.append(mailbox.close())

    in_threads(
        *[partial(send, number) for number in range(6)],
        *[partial(read, number) for number in range(2)],
        close,
        close,
    )

    sent = Counter(itertools.chain(*accepted))
    assert Counter(itertools.chain(*received, *leftovers)) == sent
    assert max(sent.values(), default=1) == 1
    assert max(lengths, default=0) <= (capacity or 10_000)


def test_racing_leases_give_each_message_to_one_reader() -> None:
    mailbox = Mailbox(5)
    received: list[Any] = []
    readers: list[threading.Thread] = []
    again: SimpleQueue[bool] = SimpleQueue()

    def read(lease: int) -> None:
        with contextlib.suppress(LeaseRevoked):
            while (message := mailbox.receive(lease)[1]) is not None:
                received.append(message)
                if message % 10 == 0:  # and read on, in a race with the next reader
                    again.put(True)
            again.put(False)

    def send() -> None:
        for number in range(2000):
            mailbox.put(number, wait=LIMIT)
        mailbox.put(None, wait=LIMIT)

    def replace_readers() -> None:
        while True:
            lease = mailbox.new_lease()
            readers.append(threading.Thread(target=read, args=(lease,), daemon=True))
            readers[-1].start()
            if not again.get(timeout=LIMIT):
                return

    in_threads(send, replace_readers)
    mailbox.revoke()
    for reader in readers:
        reader.join(LIMIT)

    assert not any(reader.is_alive() for reader in readers)
    assert sorted(received) == list(range(2000))


@pytest.mark.parametrize("capacity", [1, 3])
def test_readers_with_a_source_never_miss_a_wake_up(capacity: int) -> None:
    channel = Channel(capacity)
    mailboxes = [Mailbox() for _ in range(4)]
    got: list[list[tuple[Lane, Any]]] = [[] for _ in mailboxes]
    arrived: SimpleQueue[Any] = SimpleQueue()

    def work(number: int) -> None:
        mailbox, source = mailboxes[number], ChannelSource(channel)
        lease = mailbox.new_lease()
        while (received := mailbox.receive(lease, source))[1] is not None:
            got[number].append(received)
            if received[0] is Lane.SOURCE:
                arrived.put(received)

    def send(number: int) -> None:
        for index in range(300):
            channel.put((number, index), wait=LIMIT)

    def control() -> None:
        for index in range(300):
            for mailbox in mailboxes:
                mailbox.put_control(index)
                mailbox.put(index, wait=LIMIT)
        arrived.put("control")

    def end() -> None:
        for _ in range(901):
            arrived.get(timeout=LIMIT)  # Empty if a wake-up was lost
        for mailbox in mailboxes:
            mailbox.put(None, wait=LIMIT)

    in_threads(
        *[partial(work, number) for number in range(4)],
        *[partial(send, number) for number in range(3)],
        control,
        end,
    )

    jobs = [item for each in got for lane, item in each if lane is Lane.SOURCE]
    assert sorted(jobs) == [(n, i) for n in range(3) for i in range(300)]
    for each in got:
        assert [i for lane, i in each if lane is Lane.CONTROL] == list(range(300))
        assert [i for lane, i in each if lane is Lane.DATA] == list(range(300))


@pytest.mark.parametrize("capacity", [1, 4, None])
def test_racing_readers_and_senders_share_a_channel(capacity: int | None) -> None:
    channel = Channel(capacity)
    accepted: list[list[Any]] = [[] for _ in range(5)]
    taken: list[list[Any]] = [[] for _ in range(5)]
    lengths: list[int] = []
    leftovers: list[list[Any]] = []
    done = threading.Barrier(6)

    def send(number: int) -> None:
        for index in range(300):
            with contextlib.suppress(MailboxFull):
                channel.put((number, index), wait=(True, 0.001)[number % 2])
                accepted[number].append((number, index))
        done.wait(LIMIT)

    def read(number: int) -> None:
        with contextlib.suppress(MailboxClosed):
            while True:
                with contextlib.suppress(Empty):
                    taken[number].append(channel.take((None, 0.0005)[number % 2]))
                    lengths.append(len(channel))

    def close() -> None:
        done.wait(LIMIT)
        leftovers.append(channel.close())

    in_threads(
        *[partial(send, number) for number in range(5)],
        *[partial(read, number) for number in range(5)],
        close,
    )

    sent = sorted(itertools.chain(*accepted))
    assert sorted(itertools.chain(*taken, *leftovers)) == sent
    assert max(lengths, default=0) <= (capacity or 10_000)


def test_racing_discards_take_out_each_item_once_or_never() -> None:
    channel = Channel(3)
    items = [object() for _ in range(600)]
    discarded: list[object] = []
    taken: list[object] = []

    def send(part: list[object]) -> None:
        for item in part:
            channel.put(item, wait=LIMIT)

    def discard(part: list[object]) -> None:
        for item in part:
            with channel.lock:
                was_there, ticket = channel.discard(item)
            if ticket is not None:
                ticket.wake.put(None)
            if was_there:
                discarded.append(item)

    def read() -> None:
        while (item := channel.take(LIMIT)) is not None:
            taken.append(item)

    def work() -> None:
        in_threads(
            *[partial(send, items[start::3]) for start in range(3)],
            *[partial(discard, items) for _ in range(2)],
        )
        channel.put(None, wait=LIMIT)
        channel.put(None, wait=LIMIT)

    in_threads(work, read, read)

    ids = Counter(map(id, [*discarded, *taken]))
    assert ids == Counter(map(id, items))
    assert len(channel) == 0
