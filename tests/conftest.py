"""What every test is held to, and the virtual clock that most of them run on.

A test ends what it started.  One thread of a test runs at a time, in the order of one
seed; a test marked ``concurrent`` runs under several, and in free mode as well.

:Runs on: the test runner's thread.
:Owns: the hypothesis profiles and the ``--repeat`` option.
"""

from __future__ import annotations

import os
import threading
import time
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from hypothesis import HealthCheck, settings
from pykka import ActorRegistry

from actors.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# An installed package brings the plugin; a plain source tree does not.
_INSTALLED = any(each.name == "headrace" for each in entry_points(group="pytest11"))
pytest_plugins = ["pytester", *([] if _INSTALLED else ["supervision.pytest_plugin"])]

# A library thread that is started once, on first use, and serves the whole process.
LAZY_THREADS = "headrace-"
# The standard library starts these once and keeps them.
LASTING_PROCESSES = ("resource_tracker", "forkserver")
# What a thread or a process that was told to end may take for it, on a loaded machine.
GRACE = 10.0
# The seeds that a concurrent test runs under, unless --repeat says how many.
SEEDS = 5

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
        metavar="N",
        help="run each concurrent test under N seeds, on real threads N times",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not metafunc.definition.get_closest_marker("concurrent"):
        return
    times = metafunc.config.getoption("--repeat")
    if "clock_seed" in metafunc.fixturenames:
        if metafunc.config.getoption("--clock-seed") is not None:
            return
        seeds = range(times or SEEDS)
        free = max(1, len(seeds) // 10)
        ids = [f"seed={seed}" for seed in seeds] + ["free"] * free
        metafunc.parametrize("clock_seed", [*seeds, *[None] * free], ids=ids)
    elif times is not None and times > 1:
        metafunc.fixturenames.append("repetition")
        metafunc.parametrize("repetition", range(times), indirect=True)


@pytest.fixture
def repetition(request: pytest.FixtureRequest) -> int:
    """Which run of a repeated test this is."""
    return int(request.param)


@pytest.fixture
def clock_seed(request: pytest.FixtureRequest) -> int | None:
    """The order of the test's threads; ``None`` leaves it to the operating system."""
    given: int | None = request.config.getoption("--clock-seed")
    return given or 0


@pytest.fixture
def clock_options() -> dict[str, Any]:
    """What else the test's clock is made with; modules override it."""
    return {}


@pytest.fixture
def clock(
    clock_seed: int | None, clock_options: dict[str, Any]
) -> Iterator[VirtualClock]:
    if clock_seed is None:
        made = VirtualClock(seed=None, **clock_options)
    else:
        made = VirtualClock.for_seed(clock_seed, **clock_options)
    with made as clock:
        yield clock


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell how a failure on the test's clock came about."""
    report = yield
    clock = getattr(item, "funcargs", {}).get("clock")
    if report.failed and isinstance(clock, VirtualClock):
        report.sections.append(("virtual clock", clock.story()))
    return report


@pytest.fixture(autouse=True)
def nothing_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread, actor or process behind; stop the actors."""
    real = request.node.get_closest_marker("real") is not None
    threads = set(threading.enumerate())
    processes = _children() if real else set()

    yield

    actors = sorted(str(ref) for ref in ActorRegistry.get_all())
    if actors:
        ActorRegistry.stop_all(timeout=GRACE)
    left = _still_alive(set(threading.enumerate()) - threads)
    if real:
        left += _still_running(_children() - processes)
    assert not actors, f"actors left behind, stopped now: {', '.join(actors)}"
    assert not left, f"left behind: {', '.join(left)}"


def _still_alive(threads: set[threading.Thread]) -> list[str]:
    """The names of those that do not end within the grace they share."""
    deadline = time.monotonic() + GRACE  # noqa: TID251  # real threads, real time
    threads = {t for t in threads if not t.name.startswith(LAZY_THREADS)}
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))  # noqa: TID251
    return sorted(f"thread {thread.name}" for thread in threads if thread.is_alive())


def _children() -> set[psutil.Process]:
    """The processes below this one; listing them is too slow for every test."""
    return set(psutil.Process().children(recursive=True))


def _still_running(processes: set[psutil.Process]) -> list[str]:
    """What those run that do not end within the grace; they are ended then."""
    commands = {process: _command(process) for process in processes}
    ours = [
        process
        for process, command in commands.items()
        if not any(lasting in command for lasting in LASTING_PROCESSES)
    ]
    _, running = psutil.wait_procs(ours, timeout=GRACE)
    for process in running:
        process.kill()
    return [f"process {process.pid} ({commands[process]})" for process in running]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended while we looked
        return ""
