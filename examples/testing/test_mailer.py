"""Hours of retries, and many orders of threads, in about a second.

The fixtures come with headrace; nothing is imported for them.

    cd examples/testing && python -m pytest

:Runs on: the test's thread; workers on threads that the virtual clock runs in turn.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actors import Job
from mailer import PATIENCE, Bounced, Letter, Mailer, NoSuchAddress

if TYPE_CHECKING:
    from actors.testing import Probe, VirtualClock
    from supervision import Pipeline


class FakeServer:
    """Knows everybody but ``nobody``, and is busy as often as the test says."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.busy = 0
        self.sent: list[tuple[float, str]] = []

    def send(self, address: str, text: str) -> None:
        self.clock.sleep(0.2)  # others get a turn meanwhile
        assert text
        if self.busy:
            self.busy -= 1
            raise ConnectionError
        if address == "nobody":
            raise NoSuchAddress
        self.sent.append((self.clock.monotonic(), address))


@pytest.fixture
def server(virtual_clock: VirtualClock) -> FakeServer:
    return FakeServer(virtual_clock)


@pytest.fixture
def headrace_pipeline_options(
    server: FakeServer, headrace_probe: Probe
) -> dict[str, Any]:
    """What the pipeline of these tests is made with: our worker, among friends."""

    class WiredMailer(Mailer):
        connect = staticmethod(lambda: server)
        postmaster = headrace_probe.ref

    return {"worker_class": WiredMailer, "workers": 2, "retry": PATIENCE}


def mail(pipeline: Pipeline, *addresses: str) -> list[bool]:
    """Send a letter to each; what became of them."""
    jobs = [Job(Letter(address, "hello")) for address in addresses]
    futures = [pipeline.submit_job(job) for job in jobs]
    return [future.result() for future in futures]


def test_a_worker_pauses_between_two_letters(
    headrace_pipeline: Pipeline, server: FakeServer
) -> None:
    mail(headrace_pipeline, "ada", "bob", "cy", "dee")

    assert [at for at, _ in server.sent] == pytest.approx([0.2, 0.2, 1.4, 1.4])


def test_a_busy_server_is_tried_again_for_hours(
    headrace_pipeline: Pipeline, server: FakeServer, virtual_clock: VirtualClock
) -> None:
    server.busy = 5

    assert mail(headrace_pipeline, "ada") == [True]

    hours = virtual_clock.monotonic() / 3600
    assert 5 < hours < 6


def test_the_postmaster_hears_of_an_unknown_address_once(
    headrace_pipeline: Pipeline, headrace_probe: Probe
) -> None:
    assert mail(headrace_pipeline, "nobody", "ada") == [False, True]

    headrace_probe.expect(Bounced("nobody"))
    headrace_probe.expect_nothing(within=24 * 3600)


@pytest.mark.schedules(50)  # 50 seeds: 50 orders in which the threads take turns
def test_every_letter_is_sent_once_in_whatever_order(
    headrace_pipeline: Pipeline, server: FakeServer
) -> None:
    server.busy = 3
    everybody = [f"reader-{number}" for number in range(6)]

    assert all(mail(headrace_pipeline, *everybody))

    assert sorted(address for _, address in server.sent) == everybody
