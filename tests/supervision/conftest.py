"""What the tests of a tree begin with: a virtual clock, and children on it.

:Runs on: the test runner's thread.
:Owns: nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.supervision.kids import Kid, Nursery, PykkaKid

if TYPE_CHECKING:
    from actors.testing import VirtualClock


@pytest.fixture(params=[Kid, PykkaKid], ids=["ours", "pykka"])
def nursery(request: pytest.FixtureRequest, clock: VirtualClock) -> Any:
    return Nursery(request.param)


@pytest.fixture
def ours(clock: VirtualClock) -> Any:
    return Nursery()
