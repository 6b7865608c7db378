"""What can travel to a worker process and back, and what is said when it cannot."""

from __future__ import annotations

import functools
import pickle
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import pytest

from actors._cpu_child import trampoline
from actors._main_script import main_reference
from actors._pickling import describe, dumps_call, pack_call, read_reply
from actors.errors import JobNotPicklable, RemoteError
from tests.actors import cpu_jobs as jobs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def no_cloudpickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A ``__main__`` as a notebook or a prompt has it: without a file."""
    main = types.ModuleType("__main__")
    source = "def double(x):\n    return factor * x\nfactor = 2\nclass Page: pass\n"
    exec(source, main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


def there_and_back(fn: Any, *args: Any, **kwargs: Any) -> Any:
    reply = read_reply(trampoline(pack_call(dumps_call(fn, args, kwargs))))
    if reply.error is not None:
        raise reply.error
    return reply.value


def test_functions_travel_by_reference() -> None:
    blob = dumps_call(jobs.add, (1, 2), {})

    assert b"tests.actors.cpu_jobs" in blob
    assert there_and_back(jobs.add, 1, b=2) == 3


def test_lambdas_and_closures_travel_by_value() -> None:
    pytest.importorskip("cloudpickle")
    offset = 40

    assert there_and_back(lambda x: x + offset, 2) == 42
    assert there_and_back(functools.partial(lambda x, y: x + y, 1), 2) == 3
    assert there_and_back(map, lambda x: x + 1, [1]) is not None


def test_result_may_be_a_closure() -> None:
    pytest.importorskip("cloudpickle")

    assert there_and_back(lambda: lambda: 5)() == 5


@pytest.mark.usefixtures("no_cloudpickle")
def test_without_cloudpickle_a_lambda_is_refused_with_the_way_out() -> None:
    with pytest.raises(JobNotPicklable) as caught:
        dumps_call(lambda: 1, (), {})

    text = str(caught.value)
    assert "job tests.actors.test_pickling.test_without_cloudpickle" in text
    assert "<lambda> cannot be sent to a worker process" in text
    assert "define the function at the top level of a module" in text
    assert "or pip install cloudpickle" in text


@pytest.mark.usefixtures("no_cloudpickle")
def test_without_cloudpickle_a_lambda_argument_is_named() -> None:
    with pytest.raises(
        JobNotPicklable, match=r"argument 2 of type function .* pip inst"
    ):
        dumps_call(map, (1, lambda: 1), {})


def test_argument_that_cannot_travel_is_named() -> None:
    with pytest.raises(JobNotPicklable) as caught:
        dumps_call(jobs.add, (1,), {"b": threading.Lock()})

    text = str(caught.value)
    assert "job tests.actors.cpu_jobs.add cannot be sent" in text
    assert "b of type lock does not pickle (TypeError: cannot pickle" in text
    assert "make the object inside the job" in text
    assert caught.value.__cause__ is not None


def test_notebook_functions_travel_by_value(notebook: types.ModuleType) -> None:
    pytest.importorskip("cloudpickle")

    blob = dumps_call(notebook.double, (21,), {})
    sys.modules["__main__"] = types.ModuleType("__main__")  # as it is in the process

    assert main_reference() is None
    reply = read_reply(trampoline(pack_call(blob)))
    assert reply.value == 42


def test_notebook_values_travel_by_value(notebook: types.ModuleType) -> None:
    pytest.importorskip("cloudpickle")

    blob = dumps_call(type, (notebook.Page(),), {})
    sys.modules["__main__"] = types.ModuleType("__main__")

    assert read_reply(trampoline(pack_call(blob))).value.__name__ == "Page"


@pytest.mark.usefixtures("no_cloudpickle")
def test_without_cloudpickle_a_notebook_function_is_refused(
    notebook: types.ModuleType,
) -> None:
    with pytest.raises(JobNotPicklable, match=r"__main__ has no file .* pip install"):
        dumps_call(notebook.double, (21,), {})

    assert dumps_call(jobs.add, (1, 2), {})


@pytest.mark.usefixtures("no_cloudpickle")
def test_result_without_cloudpickle_is_refused_with_its_type() -> None:
    with pytest.raises(
        JobNotPicklable, match=r"make_lock, of type lock, .* plain data"
    ):
        there_and_back(jobs.make_lock)


def test_unpicklable_exception_is_told_in_words() -> None:
    with pytest.raises(RemoteError, match=r"cpu_jobs\.Unpicklable: holds a lock"):
        there_and_back(jobs.raise_unpicklable)


def test_exception_class_that_is_gone_here_is_told_in_words() -> None:
    blob = dumps_call(jobs.raise_key_error, (), {})
    reply = bytearray(trampoline(pack_call(blob)))
    start = reply.index(b"KeyError")
    reply[start : start + 8] = b"KayError"

    error = read_reply(reply).error

    assert isinstance(error, RemoteError)
    assert str(error) == "KeyError: 'the key'"


def test_trampoline_lets_no_exception_out() -> None:
    reply = read_reply(trampoline(pack_call(b"no pickle")))

    assert isinstance(reply.error, JobNotPicklable)
    assert isinstance(reply.error.__cause__, pickle.UnpicklingError)


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (jobs.add, "tests.actors.cpu_jobs.add"),
        (functools.partial(jobs.add, 1), "tests.actors.cpu_jobs.add"),
        (jobs.TwoArguments, "tests.actors.cpu_jobs.TwoArguments"),
        (len, "builtins.len"),
        ([].append, "builtins.list.append"),
    ],
)
def test_callables_have_names(fn: Any, name: str) -> None:
    assert describe(fn) == name


def test_main_is_found_by_name_by_path_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.touch()
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)

    assert main_reference() is None
    main.__file__ = "<stdin>"
    assert main_reference() is None
    main.__file__ = str(script)
    assert main_reference() == (None, str(script))
    main.__spec__ = types.SimpleNamespace(name="package.tool")  # type: ignore[assignment]  # enough of one
    assert main_reference() == ("package.tool", None)
    main.__spec__ = types.SimpleNamespace(name="__main__")  # type: ignore[assignment]  # enough of one
    assert main_reference() == ("__main__", str(tmp_path))
