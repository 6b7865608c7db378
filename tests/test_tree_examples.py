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
    # The picture has what the supervisor has read so far, so only who is in it is sure.
    drawn = re.findall(r"^[├└]─ (\w+) +\w+ +#\d", output, re.MULTILINE)
    assert drawn == ["Backend", "Core", "Scrobbler", "Notifier", "Server"]
    assert "WARNING host/Scrobbler (#1) crashed (ValueError(" in errors
    assert "WARNING host/Server (#1) crashed (ValueError(" in errors
    assert "ERROR host/Notifier (#4) did not start" in errors
    assert "restart_child('Notifier') of host starts it again" in errors


def test_supervised_host_names_the_child_whose_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, errors = run("supervised_host.py", taken.getsockname()[1])

    assert code == 1
    last = errors.splitlines()[-1]
    assert "StartFailed: child 'Server' of host did not start: OSError(" in last


def test_nested_trees_decide_each_failure_where_there_is_a_remedy() -> None:
    code, output, errors = run("nested_trees.py")

    assert code == 0, output + errors
    _, start, twice, bug, broken, full = re.split(
        r"^(?=[a-z].*:$)", "\n" + output, flags=re.MULTILINE
    )
    assert start.splitlines()[:4] == [
        "the start:",
        "    ChildStarted library/storage/Checker",
        "    ChildStarted library/storage/Writer",
        "    ChildStarted library/storage/Index",
    ]
    assert "ChildResumed library/storage/Writer\n    words: []" in twice
    assert re.findall("ChildRestarted (.*)", bug) == [
        "library/storage/Writer",
        "library/storage/Index",
    ]
    assert "words: ['ada']" in bug
    assert "ChildEscalated library/storage/Writer" in broken
    assert re.findall("ChildRestarted (.*)", broken) == [
        "library/storage",
        "library/Desk",
    ]
    assert "words: []" in broken
    assert "ChildStopped library/storage\n    words: closed" in full
    assert re.search(r"Desk +running +#2", full)


def test_flapping_service_leaves_the_page_up_and_comes_back() -> None:
    code, output, errors = run("flapping_service.py")

    assert code == 0, output + errors
    told = re.findall(r"^(\d+): (.*)$", output, re.MULTILINE)
    assert [int(number) for number, _ in told] == list(range(1, len(told) + 1))
    shown = [text for _, text in told]
    assert shown[:4] == [
        "21 degrees",
        "22 degrees",
        "23 degrees",
        "23 degrees a moment ago, the connection has just failed",
    ]
    assert set(shown[4:-1]) == {"23 degrees a while ago"}
    assert shown[-1] == "24 degrees"
    assert "WARNING root/Client (#1) crashed (ConnectionResetError(" in errors
    assert "WARNING root/Client (#2) did not start (ConnectionRefusedError(" in errors
    assert re.search(r"Ticker +running +#1$", output, re.MULTILINE)
    assert "UserWarning" not in errors  # the intensity suits the backoff


def test_dynamic_children_come_misbehave_and_go() -> None:
    code, output, errors = run("dynamic_children.py")

    assert code == 0, output + errors
    told = [line for line in output.splitlines() if re.match("(ada|bob|eve): ", line)]
    assert told[2].startswith("eve: sorry: root/pool has 2 children")
    assert told[:2] + told[3:] == [
        "ada: welcome to Connection-1",
        "bob: welcome to Connection-2",
        "bob: (closed)",
        "ada: (closed)",
        "eve: welcome to Connection-3",
        "eve: HELLO",
        "eve: (closed)",
    ]
    assert "WARNING root/pool/Connection-2 (#1) crashed (ValueError(" in errors
    assert "ERROR" not in errors
