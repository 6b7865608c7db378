"""Fixtures for pytest: virtual time, a pipeline on it, and what a test leaves behind.

Installed with the package, so a test only names what it wants::

    @pytest.mark.schedules(100)  # under a hundred orders of threads
    def test_a_failed_fetch_is_tried_again(headrace_pipeline, virtual_clock):
        with headrace_pipeline.scope(retry=RetryPolicy(initial=3600)) as patient:
            assert patient.submit(fetch, url).result() == "page"

A failure shows the story of the schedule and the command that has it again.  A test
that uses a fixture and leaves an actor or a thread running fails; with
``headrace_strict = true`` among pytest's options any test does.

pytest imports the plugin in every run, and before ``pytest-cov`` measures.  So it is
light, what it needs is imported by those who use it, and who measures this package
itself uses ``coverage run -m pytest``.

:Runs on: the test runner's thread.
:Owns: a :class:`_Watch` for each test; which tests have failed under which seed.
:Blocks: after a test, until its pipeline is idle and its clock at rest, in virtual
    time; for some real seconds if something seems to be left.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from actors.testing import LeakCheck, Probe, VirtualClock
    from supervision import Pipeline

__all__ = [
    "frozen_clock",
    "headrace_pipeline",
    "headrace_pipeline_options",
    "headrace_probe",
    "virtual_clock",
]

_SEED: Final = "_headrace_seed"
_MARKER: Final = (
    "schedules(n): run the test, which uses the virtual_clock fixture, under n seeds: "
    "each lets its threads run in another order"
)
_LAST_WORDS: Final = 5.0  # virtual seconds for what a pipeline still does at its end


# -- fixtures


@pytest.fixture
def virtual_clock(
    request: pytest.FixtureRequest, _headrace_seed: int | None
) -> Iterator[VirtualClock]:
    """A clock whose hours pass in no time, while the test waits for something.

    It is the clock of all that the test makes without giving it one.  One thread runs
    at a time, in an order that is the same in each run; see the marker ``schedules``.
    """
    from actors.testing import VirtualClock  # noqa: PLC0415  # see the module's text

    watch = _Watch.of(request)
    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {"auto_advance": True}
        if "frozen_clock" in request.fixturenames:
            options |= _freeze(stack)
        clock = VirtualClock.for_seed(_headrace_seed or 0, **options)
        watch.clock = clock.__enter__()
        watch.begin()
        yield clock
        watch.leave(clock)


@pytest.fixture
def frozen_clock(virtual_clock: VirtualClock) -> VirtualClock:
    """The virtual clock, and ``datetime.now()`` and ``time.time()`` moved with it.

    Needs freezegun.  Both begin at midnight of 2000-01-01, UTC.
    """
    return virtual_clock


@pytest.fixture
def headrace_pipeline_options() -> dict[str, Any]:
    """What ``headrace_pipeline`` is made with: override it, or parametrise it."""
    return {}


@pytest.fixture
def headrace_pipeline(
    request: pytest.FixtureRequest,
    virtual_clock: VirtualClock,
    headrace_pipeline_options: dict[str, Any],
) -> Iterator[Pipeline]:
    """A started :class:`supervision.Pipeline` on the virtual clock: two workers.

    Its cpu jobs run on threads, in no virtual time.  When the test has ended all its
    jobs are run to their end; a producer's or a sink's error fails the test.
    """
    from actors.testing import VirtualExecutor  # noqa: PLC0415  # see the module's text
    from supervision import Pipeline  # noqa: PLC0415

    watch = _Watch.of(request)
    pipeline = Pipeline(
        **{
            "workers": 2,
            "cpu_workers": VirtualExecutor(virtual_clock, max_workers=1),
            "clock": virtual_clock,
            "name": "headrace",
            **headrace_pipeline_options,
        }
    ).start()
    watch.pipeline = pipeline
    watch.begin()
    yield pipeline
    watch.leave(pipeline)


@pytest.fixture
def headrace_probe(
    request: pytest.FixtureRequest, virtual_clock: VirtualClock
) -> Iterator[Probe]:
    """An actor that keeps what it gets: see :class:`actors.testing.Probe`."""
    from actors.testing import Probe  # noqa: PLC0415  # see the module's text

    watch = _Watch.of(request)
    probe = Probe.start(clock=virtual_clock)
    watch.begin()
    yield probe
    watch.leave(probe)


@pytest.fixture(name=_SEED)
def _seed(request: pytest.FixtureRequest) -> int | None:
    """The seed of the ``schedules`` marker, else of ``--clock-seed``, else none."""
    seed: int | None = getattr(request, "param", None)
    if seed is None:
        seed = request.config.getoption("clock_seed")
        if request.node.get_closest_marker("schedules") is not None:
            message = (
                "@pytest.mark.schedules cannot run this test under several seeds: "
                "pytest does so for functions and methods that ask for virtual_clock "
                "by name, not in unittest.TestCase; use actors.testing.explore() there"
            )
            pytest.fail(message, pytrace=False)
    _Watch.of(request).seed = seed
    return seed


def _freeze(stack: contextlib.ExitStack) -> dict[str, Any]:
    """Freeze the wall clock until the stack ends; options of a clock that moves it."""
    try:
        from freezegun import freeze_time  # noqa: PLC0415  # an extra
    except ImportError:
        message = "frozen_clock needs freezegun: pip install 'headrace[test]'"
        raise pytest.fail.Exception(message, pytrace=False) from None
    start = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    # Else pytest takes the test for as long as it is till then. Only its own clock is
    # in there: what the code under test sees is frozen at every depth.
    frozen = freeze_time(start, ignore=["_pytest.timing"])
    return {"start": start, "freezer": stack.enter_context(frozen)}


# -- one test


class _Watch:
    """What the plugin has of one test that uses its fixtures, or of any if strict.

    Attributes:
        clock: The test's, if it uses the fixture.
        pipeline: The same.
        seed: Of that clock; ``None`` for the plain one.
        error: What the test failed with.
    """

    def __init__(self, item: pytest.Item) -> None:
        self.clock: VirtualClock | None = None
        self.pipeline: Pipeline | None = None
        self.seed: int | None = None
        self.error: BaseException | None = None
        self._item = item
        self._check: LeakCheck | None = None

    @classmethod
    def of(cls, request: pytest.FixtureRequest) -> _Watch:
        """The one of the test that asks for a fixture."""
        watch: _Watch = request.node.stash.setdefault(_WATCH, cls(request.node))
        return watch

    def begin(self) -> None:
        """From here on, what is started is the test's own."""
        from actors.testing import LeakCheck  # noqa: PLC0415  # see the module's text

        ignore = self._item.config.getini("headrace_ignore_threads")
        self._check = LeakCheck(ignore=ignore)

    def end(self) -> None:
        """Wait for the work of a test that passed; fail it if it left something."""
        if getattr(self._item, "_excinfo", None):  # unittest keeps the error for later
            self.fail(AssertionError("a method of unittest.TestCase failed"))
            return
        try:
            if self.pipeline is not None:
                self.pipeline.wait()
            if self.clock is not None:
                self.clock.settle()
            if left := self._clean_up():
                lines = "\n".join(f"  {line}" for line in left)
                pytest.fail(f"the test left running:\n{lines}", pytrace=False)
        except BaseException as error:
            self.error = error
            raise

    def fail(self, error: BaseException) -> None:
        """Note why the test failed, and clean up after it as well as can be."""
        from actors.testing import Livelock, Stalled  # noqa: PLC0415

        self.error = error
        # To bring stuck threads to rest would take as long again, in vain.
        if not isinstance(error, (Livelock, Stalled, KeyboardInterrupt, SystemExit)):
            with contextlib.suppress(Exception):  # it has failed already
                self._clean_up()

    def _clean_up(self) -> list[str]:
        """Find and stop what the test has left."""
        check = self._check
        if check is None:
            return []
        left = check.find(_owners(self._item))
        check.stop_actors()
        return left

    def leave(self, part: VirtualClock | Pipeline | Probe) -> None:
        """End what a fixture has made; after a failure there is no second one of it."""
        error = self.error
        if error is None:
            part.__exit__(None, None, None)
            return
        with contextlib.suppress(Exception):
            part.__exit__(type(error), error, error.__traceback__)
            if self.clock is not None and part is not self.clock:
                self.clock.advance(_LAST_WORDS)

    def tell(self, report: pytest.TestReport) -> None:
        """Add to the report of a failure how it came about and how to have it again."""
        clock = self.clock
        if clock is None:
            return
        seed = "" if self.seed is None else f" --clock-seed={self.seed}"
        item = self._item
        file = os.path.relpath(item.path, item.config.invocation_params.dir)
        test = "::".join([file, *item.nodeid.split("::")[1:]])
        test = re.sub(r'[$`"\\]', r"\\\g<0>", test)  # for a shell
        again = f'run it again: python -m pytest "{test}"{seed}'
        report.sections.append(("virtual clock", f"{clock.story()}\n\n{again}"))


_WATCH: Final = pytest.StashKey[_Watch]()
_FAILED: Final = pytest.StashKey[dict[str, tuple[str, int]]]()  # node id and seed


def _owners(item: pytest.Item) -> Iterator[object]:
    """Who will stop what they started after the test.

    What fixtures hold, or will do at their end, and what the test's class and module
    hold, as set-up methods of xunit style have it; its instance if that has an end.
    """
    for name in ("instance", "cls", "module"):
        owner = getattr(item, name, None)
        if name != "instance" or hasattr(owner, "teardown_method"):
            yield from tuple(getattr(owner, "__dict__", {}).values())
    for fixture in gc.get_objects():  # there is no list of those in use
        if type(fixture) is not pytest.FixtureDef or fixture.cached_result is None:
            continue
        if fixture.argname != "headrace_probe":  # it may have been told of actors
            yield fixture.cached_result[0]
            yield getattr(fixture, "_finalizers", ())


# -- hooks


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option and the ini values."""
    group = parser.getgroup("headrace", "virtual time (headrace)")
    group.addoption(
        "--clock-seed",
        type=int,
        metavar="N",
        help="run tests that use virtual_clock, schedules or explore() under seed N",
    )
    parser.addini(
        "headrace_strict",
        "every test fails that leaves an actor or a thread running, not only those "
        "that use a fixture of headrace",
        type="bool",
        default=False,
    )
    parser.addini(
        "headrace_ignore_threads",
        "patterns of names of threads that may be left running, one a line",
        type="linelist",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and a given seed that of ``explore``."""
    config.addinivalue_line("markers", _MARKER)
    seed = config.getoption("clock_seed")
    if seed is not None:
        from actors.testing import explore  # noqa: PLC0415  # see the module's text

        module: Any = sys.modules[explore.__module__]
        before, module.forced_seed = module.forced_seed, seed
        config.add_cleanup(lambda: setattr(module, "forced_seed", before))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a marked test once for each seed."""
    definition = metafunc.definition
    marker = definition.get_closest_marker("schedules")
    if marker is None:
        return
    number = marker.args[0] if len(marker.args) == 1 and not marker.kwargs else None
    if type(number) is not int or number < 1:
        message = "schedules takes a number of seeds: @pytest.mark.schedules(100)"
        raise pytest.Collector.CollectError(message)
    if _SEED in metafunc.fixturenames:
        forced = metafunc.config.getoption("clock_seed")
        seeds = range(number) if forced is None else [forced]
        metafunc.parametrize(_SEED, seeds, indirect=True, ids="seed={}".format)
    elif marker in definition.own_markers:  # not the module's or the class's
        message = (
            f"{definition.name} is marked with schedules({number}) and does not use "
            "the virtual_clock fixture, whose threads the seeds would order"
        )
        raise pytest.Collector.CollectError(message)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the seeds that come after the first failing one of a test."""
    failed = item.session.stash.get(_FAILED, {}).get(_without_seed(item))
    if failed is not None and failed[0] != item.nodeid:  # not if it is rerun
        pytest.skip(f"it has failed with seed={failed[1]}; the other seeds can wait")


def _without_seed(item: pytest.Item) -> str:
    """What the items of one test under its seeds have in common."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or _SEED not in callspec.params:
        return ""
    return item.nodeid.replace(f"seed={callspec.params[_SEED]}", "seed=", 1)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Judge what the test has left before its fixtures end: it fails, they do not."""
    if _WATCH not in item.stash and item.config.getini("headrace_strict"):
        item.stash[_WATCH] = _Watch(item)
    if _WATCH in item.stash:
        item.stash[_WATCH].begin()
    try:
        result = yield
    except BaseException as error:
        if _WATCH in item.stash:
            item.stash[_WATCH].fail(error)
        raise
    if _WATCH in item.stash:  # also of a fixture that the test itself asked for
        item.stash[_WATCH].end()
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the story of a failure, and remember its seed."""
    report = yield
    watch = item.stash.get(_WATCH, None)
    if watch is not None and report.failed:
        watch.tell(report)
        if (test := _without_seed(item)) and watch.seed is not None:
            failed = item.session.stash.setdefault(_FAILED, {})
            failed.setdefault(test, (item.nodeid, watch.seed))
    if watch is not None and report.when == "teardown":
        del item.stash[_WATCH]  # pytest keeps the items; it has clocks and errors
    return report
