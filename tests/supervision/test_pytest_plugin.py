"""What the pytest plugin gives a test, what it fails, and what it leaves alone.

The tests run pytest in this process, on test files of a few lines.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import freezegun
import pytest

import actors.testing
import supervision

ROOT = Path(__file__).resolve().parent.parent.parent
INSTALLED = any(each.name == "headrace" for each in entry_points(group="pytest11"))
OPTIONS = [] if INSTALLED else ["-p", "supervision.pytest_plugin"]

# pytester forgets what is first imported in such a run; two copies would be no good.
LOADED = [freezegun, *(getattr(supervision, name) for name in supervision.__all__)]


class Run(Protocol):
    def __call__(self, source: str, *options: str) -> pytest.RunResult: ...


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest on a test file, with no patience for what will not end."""
    monkeypatch.setattr("actors.testing.leaks._GRACE", 0.05)
    # Else the run would say in whose process it is.
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)

    def run(source: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        return pytester.runpytest_inprocess(
            *OPTIONS, "--strict-markers", "-p", "no:cacheprovider", *options
        )

    return run


# -- fixtures


def test_the_virtual_clock_goes_on_while_the_test_waits(run: Run) -> None:
    result = run(
        """
        from actors import ambient_clock

        def test_hours(virtual_clock):
            assert ambient_clock() is virtual_clock
            virtual_clock.sleep(7200)
            assert virtual_clock.monotonic() == 7200
        """
    )

    result.assert_outcomes(passed=1)


def test_the_pipeline_is_on_the_clock_and_runs_all_kinds(run: Run) -> None:
    result = run(
        """
        def test_jobs(headrace_pipeline, virtual_clock):
            late = headrace_pipeline.scope(delay=60)
            cpu = headrace_pipeline.scope(kind="cpu")
            assert late.submit(len, "abc").result() == 3
            assert cpu.submit(len, "abcd").result() == 4
            assert virtual_clock.monotonic() == 60
        """
    )

    result.assert_outcomes(passed=1)


def test_the_options_of_the_pipeline_can_be_overridden(run: Run) -> None:
    result = run(
        """
        import pytest
        from actors import Worker

        class Upper(Worker):
            def handle(self, job):
                return job.payload.upper()

        @pytest.fixture
        def headrace_pipeline_options():
            return {"worker_class": Upper, "name": "mine"}

        def test_worker(headrace_pipeline):
            assert headrace_pipeline.submit_job(Job("page")).result() == "PAGE"
            assert headrace_pipeline.name == "mine"

        from actors import Job
        """
    )

    result.assert_outcomes(passed=1)


def test_the_probe_is_an_actor_on_the_clock(run: Run) -> None:
    result = run(
        """
        def test_probe(headrace_probe, virtual_clock):
            virtual_clock.call_later(60, headrace_probe.ref.tell, "late")
            assert headrace_probe.expect(str, timeout=61) == "late"
        """
    )

    result.assert_outcomes(passed=1)


def test_the_frozen_clock_moves_wall_time_with_it(run: Run) -> None:
    result = run(
        """
        import datetime, time

        def test_days(frozen_clock, headrace_pipeline, virtual_clock):
            assert frozen_clock is virtual_clock
            late = headrace_pipeline.scope(delay=86400).submit(datetime.date.today)
            assert late.result() == datetime.date(2000, 1, 2)
            assert time.time() == frozen_clock.now().timestamp() == 946771200

        def test_thawed():
            assert datetime.date.today().year > 2000
        """,
        "--durations=0",
        "-vv",
    )

    result.assert_outcomes(passed=2)
    result.stdout.no_re_match_line(r"\d{6,}\.\d+s")  # pytest's own clock went on


def test_without_freezegun_the_error_names_the_extra(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "freezegun", None)

    result = run(
        """
        def test_frozen(frozen_clock): ...
        def test_virtual(virtual_clock): ...
        """
    )

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["frozen_clock needs*pip install 'headrace[[]test[]]'*"]
    )


def test_the_fixtures_are_listed_with_what_they_do(run: Run) -> None:
    result = run("", "--fixtures")

    for name in (
        "virtual_clock",
        "headrace_pipeline",
        "headrace_probe",
        "frozen_clock",
    ):
        result.stdout.fnmatch_lines([f"{name}*"])
    result.stdout.no_fnmatch_line("*_headrace_seed*")


# -- what is left behind

IDLE = """
    import threading
    import pytest
    from actors import Actor

    class Idle(Actor):
        pass

    gate = threading.Event()
"""


def test_an_actor_left_running_fails_the_test_and_is_stopped(run: Run) -> None:
    result = run(
        IDLE
        + """
    def test_leaves_one(virtual_clock):
        Idle.start()

    def test_the_next_is_clean(virtual_clock):
        from pykka import ActorRegistry
        assert ActorRegistry.get_all() == []
        """
    )

    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["the test left running:", "  actor Idle-*"])
    result.stdout.no_fnmatch_line("*traceback entries are hidden*")


@pytest.mark.parametrize("fixture", ["headrace_pipeline", "headrace_probe"])
def test_every_fixture_brings_the_check(run: Run, fixture: str) -> None:
    result = run(f"{IDLE}\n    def test_it({fixture}): Idle.start()")

    result.assert_outcomes(failed=1)


def test_a_thread_left_running_fails_the_test_with_its_line(run: Run) -> None:
    result = run(
        IDLE
        + """
    def test_virtual(virtual_clock):
        virtual_clock.thread(lambda: virtual_clock.sleep(9), name="sleeper").start()

    def wait():
        gate.wait(30)

    def test_real(virtual_clock):
        threading.Thread(target=wait, name="forgotten").start()

    def test_that_ends_it(virtual_clock):
        gate.set()
        """
    )

    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        ["  thread 'sleeper' at *test_*.py:*", "  thread 'forgotten' at * in wait: *"]
    )


def test_a_test_without_the_fixtures_may_leave_what_it_likes(run: Run) -> None:
    result = run(
        IDLE
        + """
    def test_leaves_one():
        Idle.start()

    def test_stops_it():
        from pykka import ActorRegistry
        assert len(ActorRegistry.get_all()) == 1
        ActorRegistry.stop_all()
        """
    )

    result.assert_outcomes(passed=2)


def test_strict_holds_every_test_to_it(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nheadrace_strict = true")

    result = run(
        IDLE
        + """
    def test_leaves_one():
        Idle.start()

    def test_leaves_none():
        '''
        >>> 1 + 1
        2
        '''

    @pytest.mark.skip
    def test_skipped(): ...
        """,
        "--doctest-modules",
    )

    result.assert_outcomes(failed=1, passed=2, skipped=1)


def test_threads_with_certain_names_may_be_allowed(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeini("[pytest]\nheadrace_ignore_threads =\n    monitor-*\n    other")

    result = run(
        IDLE
        + """
    def test_leaves_one(virtual_clock):
        threading.Thread(target=gate.wait, name="monitor-1").start()

    def test_ends_it():
        gate.set()
        """
    )

    result.assert_outcomes(passed=2)


def test_what_a_fixture_will_stop_is_no_leak(run: Run) -> None:
    result = run(
        """
        from concurrent.futures import ThreadPoolExecutor
        import pytest
        from actors import Actor
        from supervision import Pipeline

        class Idle(Actor):
            pass

        @pytest.fixture
        def pool():
            with ThreadPoolExecutor() as pool:
                yield pool

        @pytest.fixture(scope="module")
        def lasting():
            with ThreadPoolExecutor() as pool:
                yield pool.submit

        @pytest.fixture
        def start(virtual_clock):
            started = []
            yield lambda: started.append(Idle.start())
            for ref in started:
                ref.stop()

        @pytest.fixture
        def pipeline(virtual_clock):
            pipeline = Pipeline(2, cpu_workers=1)
            yield pipeline
            pipeline.stop()

        def test_pool(pool, virtual_clock):
            pool.submit(int).result()

        def test_lasting(lasting, virtual_clock):
            lasting(int).result()

        def test_start(start, virtual_clock):
            start()

        def test_pipeline(pipeline):
            with pipeline.scope(delay=5) as late:
                late.submit(int)

        class TestOldStyle:
            def setup_method(self):
                self.pool = ThreadPoolExecutor()

            def teardown_method(self):
                self.pool.shutdown()

            def test_it(self, virtual_clock):
                self.pool.submit(int).result()
        """
    )

    result.assert_outcomes(passed=5)


def test_a_test_that_keeps_an_actor_on_itself_has_left_it(run: Run) -> None:
    result = run(
        """
        from actors import Actor

        class TestForgetful:
            def test_it(self, virtual_clock):
                self.ref = Actor.start()
        """
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["the test left running:", "  actor Actor-*"])


def test_a_fixture_that_forgets_its_own_is_an_error(run: Run) -> None:
    result = run(
        """
        import pytest

        @pytest.fixture
        def sleeper(virtual_clock):
            virtual_clock.thread(lambda: virtual_clock.sleep(9), name="sleeper").start()

        def test_passes(sleeper): ...
        """
    )

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*Leaked: still there*", "*sleeper: parked in*"])


def test_a_fixture_asked_for_late_brings_the_check_too(run: Run) -> None:
    result = run(
        IDLE
        + """
    def test_late(request):
        request.getfixturevalue("headrace_pipeline")
        Idle.start()
        """
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["  actor Idle-*"])


def test_a_failed_test_is_cleaned_up_after_and_fails_once(run: Run) -> None:
    result = run(
        IDLE
        + """
    def test_fails(headrace_pipeline, headrace_probe, virtual_clock):
        Idle.start()
        headrace_pipeline.submit(virtual_clock.event().wait)
        assert headrace_probe.messages == ["none of this"]

    def test_skips(headrace_pipeline):
        Idle.start()
        pytest.skip("in the middle")

    @pytest.mark.xfail(strict=True)
    def test_xfails(virtual_clock):
        Idle.start()
        assert 0

    def test_the_next_is_clean(virtual_clock):
        from pykka import ActorRegistry
        assert ActorRegistry.get_all() == []
        """
    )

    result.assert_outcomes(failed=1, skipped=1, xfailed=1, passed=1)


def test_a_callback_that_fails_late_fails_the_test(run: Run) -> None:
    result = run(
        """
        def test_it(virtual_clock):
            virtual_clock.call_later(0, int, "not a number")
        """
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ValueError: invalid literal*"])


def test_the_work_left_is_done_and_its_errors_fail_the_test(run: Run) -> None:
    result = run(
        """
        import pytest

        DONE = []

        def test_late_work(headrace_pipeline):
            headrace_pipeline.scope(delay=3600).submit(DONE.append, 1)

        def test_it_was_done():
            assert DONE == [1]

        def broken(result):
            raise ValueError("a broken sink")

        @pytest.mark.parametrize("headrace_pipeline_options", [{"sink": broken}])
        def test_sink(headrace_pipeline):
            headrace_pipeline.submit(int)

        def test_never_ends(headrace_pipeline, virtual_clock):
            headrace_pipeline.submit(virtual_clock.event().wait)
        """
    )

    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*SinkError:*a broken sink*", "*Deadlock: *"])


def test_unittest_cases_are_served_as_well(run: Run) -> None:
    result = run(
        """
        import unittest
        import pytest
        from actors import Actor, ambient_clock

        class Idle(Actor):
            pass

        @pytest.mark.usefixtures("virtual_clock")
        class Test(unittest.TestCase):
            def setUp(self):
                self.ref = Idle.start()
                self.addCleanup(self.ref.stop)

            def test_passes(self):
                ambient_clock().sleep(3600)

            def test_fails(self):
                Idle.start()
                self.fail("its own way")

            def test_leaves_one(self):
                Idle.start()

            @pytest.mark.schedules(3)
            def test_cannot_have_seeds(self): ...
        """
    )

    result.assert_outcomes(passed=1, failed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*use actors.testing.explore*",
            "*AssertionError: its own way",
            "*actor Idle-*",
        ]
    )


def test_a_clock_is_not_kept_when_its_test_is_over(run: Run) -> None:
    result = run(
        """
        import gc, weakref

        SEEN = []

        def test_passes(headrace_pipeline, virtual_clock):
            SEEN.append(weakref.ref(virtual_clock))

        def test_it_is_gone():
            gc.collect()
            assert SEEN[0]() is None
        """
    )

    result.assert_outcomes(passed=2)


# -- seeds

RACE = """
    import pytest

    SEEDS = []

    @pytest.mark.schedules(8)
    def test_race(virtual_clock):
        SEEDS.append(virtual_clock.seed)
        assert virtual_clock.seed != 3

    def test_seeds():
        print("seeds", *SEEDS)
"""


def test_a_marked_test_runs_under_each_seed_until_one_fails(run: Run) -> None:
    result = run(RACE, "-rfs", "-s")

    result.assert_outcomes(passed=4, failed=1, skipped=4)
    result.stdout.fnmatch_lines(["*seeds 0 1 2 3*"])
    result.stdout.fnmatch_lines(["SKIPPED*has failed with seed=3*"])
    result.stdout.fnmatch_lines(["FAILED *::test_race[[]seed=3[]]*"])


def test_a_failing_seed_that_is_run_again_is_not_skipped(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        """
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            for _ in range(2):
                runtestprotocol(item, nextitem=nextitem)
            return True
        """
    )

    result = run(RACE)

    result.assert_outcomes(passed=8, failed=2, skipped=8)


def test_seeds_that_begin_with_the_failing_one_are_skipped_too(run: Run) -> None:
    result = run(RACE.replace("schedules(8)", "schedules(40)"))

    result.assert_outcomes(passed=4, failed=1, skipped=36)


def test_a_failure_shows_its_story_and_the_command_that_has_it_again(run: Run) -> None:
    result = run(
        """
        import pytest
        from actors import Actor

        class Greeter(Actor):
            def on_receive(self, message):
                return f"hello, {message}"

        @pytest.mark.schedules(1)
        def test_greets(virtual_clock):
            greeter = Greeter.start()
            answer = greeter.ask("Ada")
            greeter.stop()
            assert answer == "good bye"
        """
    )

    result.stdout.fnmatch_lines(
        [
            "*- virtual clock -*",
            "seed 0: *",
            "*Greeter-*starts*",
            'run it again: python -m pytest "*::*[[]seed=0[]]" --clock-seed=0',
        ]
    )


def test_a_plain_test_is_had_again_without_a_seed(run: Run) -> None:
    result = run("def test_fails(virtual_clock): assert 0")

    result.stdout.fnmatch_lines(["seed 0: *", 'run it again: *::test_fails"'])


def test_the_command_is_one_for_where_and_how_it_is_typed(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = pytester.mkdir("below")
    pytester.makeini("[pytest]")
    monkeypatch.chdir(below)
    source = """
        import pytest

        @pytest.mark.parametrize("name", ['say "$HOME"'])
        def test_fails(virtual_clock, name): assert 0
        """
    result = run(source, str(pytester.path))

    lines = result.outlines
    again = next(line for line in lines if line.startswith("run it again"))
    file = f"{test_the_command_is_one_for_where_and_how_it_is_typed.__name__}.py"
    assert again == (
        f'run it again: python -m pytest "../{file}::test_fails[say \\"\\$HOME\\"]"'
    )


def test_a_given_seed_is_the_only_one(run: Run) -> None:
    result = run(
        RACE
        + """
    def test_plain(virtual_clock):
        assert virtual_clock.seed == 11

    def test_explore():
        from actors.testing import explore
        seen = []
        explore(lambda clock: seen.append(clock.seed), seeds=100)
        assert seen == [11]
        """,
        "--clock-seed=11",
        "-s",
    )

    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*seeds 11*"])


def test_the_given_seed_is_forgotten_after_the_run(run: Run) -> None:
    run("def test_it(): ...", "--clock-seed=11")
    seen: list[int] = []

    actors.testing.explore(lambda clock: seen.append(clock.seed), seeds=2)

    assert seen == [0, 1]


def test_other_parameters_have_seeds_of_their_own(run: Run) -> None:
    result = run(
        """
        import pytest

        @pytest.mark.schedules(3)
        @pytest.mark.parametrize("bad", [True, False])
        def test_it(bad, virtual_clock):
            assert not bad
        """
    )

    result.assert_outcomes(failed=1, skipped=2, passed=3)


@pytest.mark.parametrize(
    ("mark", "fixture", "told"),
    [
        ("schedules(3)", "", "*does not use the virtual_clock fixture*"),
        ("schedules", "virtual_clock", "*takes a number of seeds*"),
        ("schedules(0)", "virtual_clock", "*takes a number of seeds*"),
        ("schedules('7')", "virtual_clock", "*takes a number of seeds*"),
    ],
)
def test_a_mark_that_cannot_work_is_an_error(
    run: Run, mark: str, fixture: str, told: str
) -> None:
    result = run(
        f"""
        import pytest

        @pytest.mark.{mark}
        def test_it({fixture}): ...
        """
    )

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([told])


def test_a_mark_for_a_module_is_for_those_who_use_the_clock(run: Run) -> None:
    result = run(
        """
        import pytest

        pytestmark = pytest.mark.schedules(3)

        def test_it(headrace_pipeline): ...
        def test_without(): ...
        """
    )

    result.assert_outcomes(passed=4)


# -- nothing for those who do not use it


@pytest.mark.real
@pytest.mark.slow
def test_the_plugin_imports_nothing_and_says_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    pytester.makepyfile(
        """
        import sys

        def test_it():
            ours = {m for m in sys.modules if m.split(".")[0] in (
                "actors", "supervision", "pykka", "psutil", "freezegun")}
            assert ours <= {"supervision", "supervision.pytest_plugin"}
        """
    )

    def told(*options: str) -> list[str]:
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
            capture_output=True,
            text=True,
            check=True,
        )
        return [*ended.stdout.split(" in ")[:-1], ended.stderr]

    assert told(*OPTIONS) == told("-p", "no:headrace")
