"""The package gives its names on first use, and looks as if it always had them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import supervision

ROOT = Path(__file__).resolve().parent.parent.parent


def test_every_public_name_is_there_and_listed() -> None:
    assert set(supervision.__all__) <= set(dir(supervision))
    assert all(getattr(supervision, name).__module__ for name in supervision.__all__)


def test_a_name_is_looked_up_once() -> None:
    found = supervision.Pipeline

    assert vars(supervision)["Pipeline"] is found


def test_an_unknown_name_is_an_attribute_error_with_a_suggestion() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Pipelin'") as raised:
        _ = supervision.Pipelin  # type: ignore[attr-defined]

    assert (raised.value.name, raised.value.obj) == ("Pipelin", supervision)


def test_a_public_class_pickles() -> None:
    copy = pickle.loads(pickle.dumps(supervision.Backoff(initial=3)))

    assert copy == supervision.Backoff(initial=3)


@pytest.mark.real
def test_importing_the_package_imports_nothing_else_of_ours() -> None:
    program = (
        "import sys, supervision\n"
        "print(*sorted(m for m in sys.modules"
        " if m.partition('.')[0] in ('actors', 'supervision', 'pykka', 'psutil')))\n"
        "from supervision import *\n"
        "print(Pipeline.__name__)"
    )

    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.splitlines() == ["supervision", "Pipeline"]
