"""Whole programs that use worker processes: scripts, prompts, and their ends."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.actors.beacon import LIMIT, Beacon, readable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Run: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROOT = Path(__file__).parents[2]

FUNCTIONS = """
from actors.cpu_pool import CpuPool

class Page:
    def __init__(self, size): self.size = size
    def __eq__(self, other): return self.size == other.size

def double(page):
    return Page(page.size * 2)
"""
START = """
with CpuPool(2) as pool:
    assert pool.submit(double, Page(21)).result() == Page(42)
    assert all(p == Page(2) for p in pool.map(double, [Page(1)] * 5))
print("done")
"""
GUARDED = FUNCTIONS + "\nif __name__ == '__main__':\n" + textwrap.indent(START, "    ")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run python with arguments in a directory of its own."""

    def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    return run


def test_functions_of_a_guarded_script_work(run: Run, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(GUARDED)

    done = run("script")

    assert (done.stdout, done.stderr) == ("done\n", "")


def test_functions_of_a_module_that_was_run_work(run: Run, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    relative = "from .names import size\n" + GUARDED + "    assert size == 21\n"
    (package / "names.py").write_text("size = 21\n")
    (package / "tool.py").write_text(relative)
    (package / "__main__.py").write_text(relative)

    for name in ("package.tool", "package"):
        done = run("-m", name)
        assert (done.stdout, done.stderr) == ("done\n", "")


def test_functions_of_an_archive_work(run: Run, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        archive.writestr("__main__.py", GUARDED)

    done = run("app.pyz")

    assert (done.stdout, done.stderr) == ("done\n", "")


def test_script_without_a_guard_gets_a_clear_error(run: Run, tmp_path: Path) -> None:
    note = "open('imports', 'a').write('x')\n"
    (tmp_path / "script.py").write_text(note + FUNCTIONS + START)

    done = run("script.py")

    assert done.returncode == 1
    assert "done" not in done.stdout
    assert (
        "actors.errors.ConfigurationError: the script asked for worker" in done.stderr
    )
    assert "if __name__ == '__main__':" in done.stderr
    assert len((tmp_path / "imports").read_text()) == 2, "imported again and again"


def test_script_without_a_guard_that_ignores_results_ends(
    run: Run, tmp_path: Path
) -> None:
    note = "open('imports', 'a').write('x')\n"
    start = "with CpuPool(2) as pool:\n    f = pool.submit(double, Page(21))\n"
    (tmp_path / "script.py").write_text(note + FUNCTIONS + start + "print(f)")

    done = run("script.py")

    assert "raised ConfigurationError" in done.stdout
    assert len((tmp_path / "imports").read_text()) == 2, "imported again and again"


def test_script_whose_jobs_are_elsewhere_needs_no_guard(
    run: Run, tmp_path: Path
) -> None:
    source = """
    import math
    from actors.cpu_pool import CpuPool
    with CpuPool(2) as pool:
        print(list(pool.map(math.factorial, [3, 4])))
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(source))

    done = run("script.py")

    assert (done.stdout, done.stderr) == ("[6, 24]\n", "")


def test_script_that_fails_on_import_says_so(run: Run, tmp_path: Path) -> None:
    source = GUARDED + "else:\n    raise OSError('no such table')\n"
    (tmp_path / "script.py").write_text(source)

    done = run("script.py")

    assert "could not load the job: OSError: no such table" in done.stderr


@pytest.mark.parametrize("how", ["-c", "-"])
def test_functions_typed_at_a_prompt_travel_by_value(run: Run, how: str) -> None:
    pytest.importorskip("cloudpickle")
    source = FUNCTIONS + START

    done = run("-c", source) if how == "-c" else run("-", stdin=source)

    assert (done.stdout, done.stderr) == ("done\n", "")


def test_functions_typed_at_a_prompt_without_cloudpickle(run: Run) -> None:
    start = "import sys; sys.modules['cloudpickle'] = None\n"

    done = run("-c", start + FUNCTIONS + START)

    assert "JobNotPicklable: job __main__.double cannot be sent" in done.stderr
    assert "pip install cloudpickle" in done.stderr


def test_empty_entry_of_the_path_is_followed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def triple(x): return 3 * x")
    source = """
    import sys
    assert '' in sys.path
    import mine
    from actors.cpu_pool import CpuPool
    with CpuPool(1) as pool:
        print(pool.submit(mine.triple, 14).result())
    """

    assert run("-c", textwrap.dedent(source)).stdout == "42\n"


def test_prints_of_a_call_come_before_its_result(run: Run, tmp_path: Path) -> None:
    source = """
    import os
    from actors.cpu_pool import CpuPool
    def speak(word, *, die=False):
        print(word)
        if die:
            os.kill(os.getpid(), 9)
        print(word, end='')
    if __name__ == '__main__':
        with CpuPool(1) as pool:
            pool.submit(speak, 'one').result()
            print(' two', flush=True)
            pool.submit(speak, 'three', die=True).exception()
            print('four')
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(source))

    assert run("script.py").stdout == "one\none two\nthree\nfour\n"


def test_pool_left_open_at_exit_finishes_its_calls(run: Run, tmp_path: Path) -> None:
    source = """
    from actors.cpu_pool import CpuPool
    def speak(word): print(word)
    if __name__ == '__main__':
        pool = CpuPool(1)
        for number in range(5):
            pool.submit(speak, number)
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(source))

    done = run("script.py")

    assert (done.stdout, done.stderr) == ("0\n1\n2\n3\n4\n", "")


def test_forked_copy_is_refused_and_keeps_nothing_alive(
    run: Run, tmp_path: Path
) -> None:
    source = """
    import os, warnings
    warnings.simplefilter('ignore')
    from actors.cpu_pool import CpuPool, CpuProcess, dumps_call
    from actors.errors import UsedAfterFork
    process, pool = CpuProcess(), CpuPool(1)
    call = dumps_call(os.getpid, (), {})
    assert process.run(call).ok
    assert pool.submit(os.getpid).result()
    reader, writer = os.pipe()
    copy = os.fork()
    if not copy:
        for use in (lambda: process.run(call), lambda: pool.submit(os.getpid)):
            try:
                use()
            except UsedAfterFork as error:
                assert str(os.getppid()) in str(error)
            else:
                os._exit(1)
        os.read(reader, 1)
        raise SystemExit
    pid = process.pid
    process.close()
    pool.shutdown()
    assert not os.path.exists(f'/proc/{pid}')
    os.write(writer, b'.')
    print(os.waitpid(copy, 0)[1])
    """

    done = run("-c", textwrap.dedent(source))

    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("job", ["say_and_wait", "say_and_hold_the_gil"])
def test_no_process_outlives_a_killed_parent(tmp_path: Path, job: str) -> None:
    beacon = Beacon(tmp_path / "beacon")
    source = f"""
    from actors.cpu_pool import CpuPool
    from tests.actors.cpu_jobs import {job}
    CpuPool(1).submit({job}, {beacon.path!r}).result()
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(source)], cwd=ROOT)
    end = os.pidfd_open(beacon.wait())

    parent.kill()
    parent.wait(LIMIT)

    assert readable(end), "the worker process lives on"
    os.close(end)
    beacon.close()
