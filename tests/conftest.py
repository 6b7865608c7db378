"""What every test is held to: it ends what it started.

:Runs on: the test runner's thread.
:Owns: the hypothesis profiles and the ``--repeat`` option.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from pykka import ActorRegistry

# A library thread that is started once, on first use, and serves the whole process.
LAZY_THREADS = "headrace-"
# What a thread that was told to end may take for it, on a loaded machine.
GRACE = 10.0

settings.register_profile(
    "headrace",
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "ci", parent=settings.get_profile("headrace"), derandomize=True, print_blob=True
)
settings.register_profile(
    "thorough", parent=settings.get_profile("headrace"), max_examples=2_000
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "headrace"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--repeat",
        type=int,
        default=1,
        metavar="N",
        help="run each selected test N times (for the concurrent ones)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    times = metafunc.config.getoption("--repeat")
    if times > 1:
        metafunc.fixturenames.append("repetition")
        metafunc.parametrize("repetition", range(times), indirect=True)


@pytest.fixture
def repetition(request: pytest.FixtureRequest) -> int:
    """Which run of a repeated test this is."""
    return int(request.param)


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail a test that leaves a thread or an actor behind, and stop the actors."""
    before = set(threading.enumerate())

    yield

    actors = sorted(str(ref) for ref in ActorRegistry.get_all())
    if actors:
        ActorRegistry.stop_all(timeout=GRACE)
    threads = _still_alive(set(threading.enumerate()) - before)
    assert not actors, f"actors left behind, stopped now: {', '.join(actors)}"
    assert not threads, f"threads left behind: {', '.join(threads)}"


def _still_alive(threads: set[threading.Thread]) -> list[str]:
    """The names of those that do not end within the grace they share."""
    deadline = time.monotonic() + GRACE  # noqa: TID251  # real threads, real time
    for thread in threads:
        if not thread.name.startswith(LAZY_THREADS):
            thread.join(max(0.0, deadline - time.monotonic()))  # noqa: TID251
    return sorted(
        thread.name
        for thread in threads
        if thread.is_alive() and not thread.name.startswith(LAZY_THREADS)
    )
