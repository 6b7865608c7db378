"""Run Pykka's own test suite with our actor and our reply in place of Pykka's.

The suite comes from the source distribution of exactly the installed version.  It must
pass whole, but for the tests in ``EXCEPTIONS``, each with its reason.

    python tests/pykka/run_suite.py          # exits 0 or 1, never skips
    PYKKA_SDIST=pykka-4.5.0.tar.gz python tests/pykka/run_suite.py      # no download
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "headrace"
AT_LEAST = 150  # an empty collection must not look like a green suite
LIMIT = 300  # seconds; the suite takes about two

EXCEPTIONS: dict[str, str] = {}
"""Tests that are deselected, each with the reason: none."""

OURS = """\
from actors.base import Actor as ThreadingActor
from actors.future import Reply as ThreadingFuture
"""

SWAPS = {
    "tests/conftest.py": (
        "from pykka import ActorRegistry, ThreadingActor, ThreadingFuture\n",
        f"from pykka import ActorRegistry\n{OURS}",
    ),
    "tests/test_threading_actor.py": ("from pykka import ThreadingActor\n", OURS),
}

# pytest-mock is not needed for the little that the suite uses of it.
MOCKER = """

@pytest.fixture
def mocker():
    import types
    import unittest.mock as mock

    undo = []

    def patch_object(*args, **kwargs):
        patcher = mock.patch.object(*args, **kwargs)
        undo.append(patcher)
        return patcher.start()

    yield types.SimpleNamespace(
        Mock=mock.Mock,
        MagicMock=mock.MagicMock,
        NonCallableMock=mock.NonCallableMock,
        patch=types.SimpleNamespace(object=patch_object),
    )
    for patcher in reversed(undo):
        patcher.stop()
"""


class Unavailable(Exception):
    """The source distribution cannot be had."""


def source_distribution() -> Path:
    """The archive, or a folder with its contents: given, cached, or downloaded."""
    version = importlib.metadata.version("pykka")
    given = os.environ.get("PYKKA_SDIST")
    if given:
        return Path(given)
    name = f"pykka-{version}.tar.gz"
    if (CACHE / name).exists():
        return CACHE / name
    CACHE.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
        "--no-binary", ":all:", "--dest", str(CACHE), f"pykka=={version}",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    if done.returncode or not (CACHE / name).exists():
        message = f"pip could not download {name}: {done.stderr.strip()[-500:]}"
        raise Unavailable(message)
    return CACHE / name


def unpack(source: Path, into: Path) -> Path:
    """Put the suite below ``into`` and the classes in it; returns its folder."""
    if source.is_dir():
        folder = into / source.name
        shutil.copytree(source, folder)
    else:
        with tarfile.open(source) as archive:
            archive.extractall(into, filter="data")
        (folder,) = into.iterdir()
    for name, (old, new) in SWAPS.items():
        path = folder / name
        text = path.read_text()
        if text.count(old) != 1:
            message = f"{name} is not as expected: {old!r} is not in it once"
            raise RuntimeError(message)
        path.write_text(text.replace(old, new))
    with (folder / "tests/conftest.py").open("a") as conftest:
        conftest.write(MOCKER)
    return folder


def run() -> tuple[bool, str]:
    """Run the suite; whether it passed, and what pytest printed."""
    source = source_distribution()
    with tempfile.TemporaryDirectory() as scratch:
        folder = unpack(source, Path(scratch))
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
            "-o", "faulthandler_timeout=60", "tests",
        ]  # fmt: skip
        for test in EXCEPTIONS:
            command += ["--deselect", test]
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    passed = re.search(r"(\d+) passed", done.stdout)
    enough = passed is not None and int(passed[1]) >= AT_LEAST
    clean = re.search(r"\d+ (skipped|xfailed|failed|error)", done.stdout) is None
    return done.returncode == 0 and enough and clean, done.stdout


def main() -> int:
    """Print what pytest printed; 0 if the suite passed."""
    try:
        passed, output = run()
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    print(output, end="")
    for test, reason in EXCEPTIONS.items():
        print(f"left out: {test}: {reason}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
