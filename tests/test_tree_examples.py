"""The programs of ``examples/`` that show supervision print what happens in them.

:Runs on: the test runner's thread; each program in a process of its own.
:Owns: nothing.
"""

from __future__ import annotations

import re
import socket

import pytest

from tests.test_examples import run

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    return number


def test_supervised_host_serves_on_while_its_frontends_fail(port: int) -> None:
    code, output, errors = run("supervised_host.py", port)

    assert code == 0, output + errors
    scrobbled = [line for line in output.splitlines() if line.startswith("scrobbled")]
    assert [line.split(": ")[1] for line in scrobbled] == [
        "First Light by Ada",
        "Second Wind by Grace",
        "First Light by Ada",
    ]
    answers = [
        line for line in output.splitlines() if re.match(r"(\d|nonsense): ", line)
    ]
    assert answers == [
        "0: Ada - First Light",
        "1: Station Jingle",
        "2: Grace - Second Wind",
        "nonsense: no answer",
        "0: Ada - First Light",
    ]
    assert re.search(r"Scrobbler +running +#2 +after ValueError", output)
    assert re.search(r"Notifier +down +#4 .*ConnectionRefused", output)
    assert re.search(r"Server +running +#2 +after ValueError", output)
    assert "ERROR host/Notifier (#4) did not start" in errors
    assert "restart_child('Notifier') of host starts it again" in errors


def test_supervised_host_names_the_child_whose_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, errors = run("supervised_host.py", taken.getsockname()[1])

    assert code == 1
    last = errors.splitlines()[-1]
    assert "StartFailed: child 'Server' of host did not start: OSError(" in last
