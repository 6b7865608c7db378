"""Our base class passes what Pykka tests its own with."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType


def _runner() -> ModuleType:
    path = Path(__file__).with_name("run_suite.py")
    spec = importlib.util.spec_from_file_location("pykka_run_suite", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.real
@pytest.mark.slow
def test_pykkas_own_suite_passes_with_our_base_class() -> None:
    """R71: Pykka's own tests are the acceptance test of a plain start."""
    runner = _runner()
    try:
        passed, output = runner.run()
    except runner.Unavailable as error:
        pytest.skip(f"Pykka's source distribution cannot be had: {error}")

    assert passed, output
