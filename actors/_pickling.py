"""How a call becomes bytes, and how a worker process's reply becomes an outcome.

:Runs on: :func:`dumps_call` on the submitter's thread, :func:`read_reply` on the
    thread that drives the process.
:Owns: nothing.
"""

from __future__ import annotations

import importlib
import io
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

from actors import _cpu_child
from actors._main_script import main_reference
from actors.errors import ConfigurationError, JobNotPicklable, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["RemoteTraceback", "Reply", "dumps_call", "pack_call", "read_reply"]

_PROTOCOL = 5

GUARD_TEXT = (
    "the script asked for worker processes while a worker process imported it; "
    "put what starts the work below: if __name__ == '__main__':"
)


class RemoteTraceback(Exception):
    """The traceback of an exception as the worker process formatted it.

    It is the ``__cause__`` of an exception that came from a worker process, so that
    Python prints it above the local traceback.
    """

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class Reply(NamedTuple):
    """A decoded reply: a value, or the error that stands for it."""

    ok: bool
    value: Any
    error: BaseException | None


# -- there


def dumps_call(
    fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> bytes:
    """Pickle a call for a worker process.

    Functions travel by reference.  What plain pickle refuses (a lambda, a function
    defined inside a function) travels by value if cloudpickle is installed, and so does
    everything when ``__main__`` has no file that a worker process could import (a
    notebook, a prompt).

    Raises:
        JobNotPicklable: If the call cannot travel; the text names the function, what is
            wrong and the way out.
    """
    call = (fn, tuple(args), dict(kwargs))
    by_value = main_reference() is None
    cloudpickle = _cloudpickle() if by_value else None
    if by_value and cloudpickle is None and _module_of(fn) == "__main__":
        raise JobNotPicklable(_no_main_text(fn))
    try:
        if cloudpickle is None:
            return pickle.dumps(call, _PROTOCOL)
        return bytes(cloudpickle.dumps(call, _PROTOCOL))
    except Exception as error:  # noqa: BLE001  # whatever a __reduce__ raises
        return _dumps_by_value(call, cloudpickle, error)


def _dumps_by_value(call: tuple[Any, ...], tried: Any, error: Exception) -> bytes:
    """Try cloudpickle after plain pickle gave up, or say why the call cannot travel."""
    cloudpickle = _cloudpickle()
    if cloudpickle is not None and tried is None:
        try:
            return bytes(cloudpickle.dumps(call, _PROTOCOL))
        except Exception as second:  # noqa: BLE001  # whatever a __reduce__ raises
            error = second
    dumps = pickle.dumps if cloudpickle is None else cloudpickle.dumps
    text = _blame(call, dumps, error, way_out=cloudpickle is None)
    raise JobNotPicklable(text) from error


def _blame(
    call: tuple[Any, ...],
    dumps: Callable[..., bytes],
    error: Exception,
    *,
    way_out: bool,
) -> str:
    fn, args, kwargs = call
    start = f"job {describe(fn)} cannot be sent to a worker process: "
    why = f"{type(error).__name__}: {error}"
    if not _pickles(dumps, fn):
        end = "define the function at the top level of a module"
        if way_out:
            end += ", or pip install cloudpickle for lambdas and inner functions"
        return f"{start}the function does not pickle ({why}); {end}"
    named = [*((f"argument {n}", a) for n, a in enumerate(args, 1)), *kwargs.items()]
    for name, value in named:
        if not _pickles(dumps, value):
            what = f"{name} of type {type(value).__qualname__} does not pickle ({why})"
            end = "pass plain data and make the object inside the job"
            if way_out and callable(value):
                end += ", or pip install cloudpickle for lambdas and inner functions"
            return f"{start}{what}; {end}"
    return f"{start}{why}; pass plain data and make the object inside the job"


def _pickles(dumps: Callable[..., bytes], value: Any) -> bool:
    try:
        dumps(value, _PROTOCOL)
    except Exception:  # noqa: BLE001  # whatever a __reduce__ raises
        return False
    return True


def _no_main_text(fn: Callable[..., Any]) -> str:
    return (
        f"job {describe(fn)} cannot be sent to a worker process: __main__ has no file "
        "that a worker process could import; define the function in a module, or "
        "pip install cloudpickle"
    )


def _cloudpickle() -> Any:
    try:
        return importlib.import_module("cloudpickle")  # 15 ms that few jobs need
    except ImportError:
        return None


def describe(fn: object) -> str:
    """Name a callable for a text: its module and qualified name."""
    inner = getattr(fn, "func", fn)  # a functools.partial says nothing by itself
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return f"{_module_of(inner)}.{name}"


def _module_of(fn: object) -> str:
    inner = getattr(fn, "func", fn)
    return str(getattr(inner, "__module__", None) or type(inner).__module__)


def pack_call(
    call: bytes, path: list[str] | None = None, meta: dict[str, Any] | None = None
) -> bytes:
    """Put what travels with a call in front of it.

    Args:
        call: A pickled ``(fn, args, kwargs)``.
        path: The parent's ``sys.path``, when it has changed.
        meta: What ``current`` is while the job runs.
    """
    if path is None and meta is None:
        return _cpu_child.HEADER.pack(0) + call
    header = pickle.dumps((path, meta), _PROTOCOL)
    return b"".join((_cpu_child.HEADER.pack(len(header)), header, call))


# -- and back


def read_reply(reply: bytes | bytearray) -> Reply:
    """Decode the reply to a call."""
    tag = bytes(reply[:1])
    if tag == _cpu_child.VALUE:
        return _read_value(reply)
    if tag == _cpu_child.GUARD:
        return Reply(ok=False, value=None, error=ConfigurationError(GUARD_TEXT))
    if tag == _cpu_child.NO_RESULT:
        return Reply(ok=False, value=None, error=_no_result(*_loads(reply, 1)))
    error = _read_error(reply)
    if tag == _cpu_child.NO_LOAD:
        error = _no_load(error)
    return Reply(ok=False, value=None, error=error)


def _loads(data: bytes | bytearray, start: int = 0) -> Any:
    """Unpickle what a worker process pickled."""
    if data.find(b"__mp_main__", start) < 0:
        return pickle.loads(memoryview(data)[start:])
    return _Loader(io.BytesIO(memoryview(data)[start:])).load()


class _Loader(pickle.Unpickler):
    """Knows that ``__mp_main__`` there is ``__main__`` here."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name == "__mp_main__":
            module_name = "__main__"
        return super().find_class(module_name, global_name)


def _read_value(reply: bytes | bytearray) -> Reply:
    try:
        return Reply(ok=True, value=_loads(reply, 1), error=None)
    except Exception as error:  # noqa: BLE001  # whatever the value's class raises
        text = (
            "the result came back and could not be unpickled here: "
            f"{type(error).__name__}: {error}; return plain data"
        )
        remote = RemoteError(text)
        remote.__cause__ = error
        return Reply(ok=False, value=None, error=remote)


def _read_error(reply: bytes | bytearray) -> BaseException:
    """Rebuild an exception; its cause is the remote traceback."""
    pickled, said, text = _loads(reply, 1)
    error: BaseException | None = None
    if pickled is not None:
        try:
            error = _rebuild(_loads(pickled))
        except Exception:  # noqa: BLE001  # its class unpickles there and not here
            error = None
    if not isinstance(error, BaseException):
        error = RemoteError(said)
    error.__cause__ = RemoteTraceback(text)
    return error


def _rebuild(found: Any) -> Any:
    """Make an exception of what was sent, without its ``__init__`` if need be."""
    if not isinstance(found, tuple):
        return found
    kind, args, state = found
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def _no_load(error: BaseException) -> BaseException:
    """Say that the call arrived and could not be made into a function there."""
    text = (
        "the worker process could not load the job: "
        f"{type(error).__name__}: {error}; its function and arguments must come from "
        "modules that a worker process can import"
    )
    refused = JobNotPicklable(text)
    refused.__cause__ = error
    return refused


def _no_result(fn: str, kind: str, why: str) -> JobNotPicklable:
    text = (
        f"the result of job {fn}, of type {kind}, cannot be sent back from its worker "
        f"process ({why}); return plain data"
    )
    return JobNotPicklable(text)
