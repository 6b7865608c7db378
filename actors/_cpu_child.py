"""What runs inside a worker process: a loop that takes a call and sends a reply.

::

    CpuProcess (parent)                     this module, loaded by path (child)
      set-up frame  ------ socket pair ------>  main(): sys.path, initializer
                    <-----  READY or error  --
      call frame    ----------------------->   trampoline(): load, run, dump
                    <-----  reply frame  -----
      life-line (write end)  --- pipe --->     its end kills this process

The module is loaded by its path under the name ``headrace_cpu_child`` and imports
nothing of the package, so a job that does not use the package does not pay for it.
The script of the parent is imported, as ``__mp_main__``, by the first call that names
something of ``__main__``, and not before.

:Runs on: the main thread of a worker process; :func:`trampoline` also on the workers
    of any other ``concurrent.futures`` executor.
:Owns: the process's ends of the socket pair and of the life-line.
:Blocks: while it waits for the next call; the end of the parent ends it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pickle
import signal
import struct
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType

    # How to find the parent's script: the name of its module, or its path.
    MainReference = tuple[str | None, str | None]

__all__ = [
    "GUARD",
    "HEADER",
    "MODULE_NAME",
    "NO_LOAD",
    "NO_RESULT",
    "RAISED",
    "READY",
    "VALUE",
    "dump_error",
    "read_frame",
    "trampoline",
    "write_frame",
]

MODULE_NAME = "headrace_cpu_child"

# The first byte of a reply.
VALUE, RAISED, NO_LOAD, NO_RESULT, GUARD, READY = b"V", b"R", b"L", b"U", b"G", b"1"

_LENGTH = struct.Struct("<Q")
HEADER = struct.Struct("<I")
_CHUNK = 65536
_PROTOCOL = 5

_meta: ContextVar[dict[str, Any] | None] = ContextVar("headrace_cpu_meta", default=None)
_main_reference: MainReference | None = None
_main_module: ModuleType | None = None
_importing_main = False
_reply_fd = -1


def __getattr__(name: str) -> Any:
    """Give ``current``: what was sent along with the running job, or ``None``."""
    if name == "current":
        return _meta.get()
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


# -- frames: eight bytes of length, then the payload


def read_frame(fd: int, wait: Callable[[], object] | None = None) -> bytes | bytearray:
    """Read one frame, calling ``wait`` before each read; ``EOFError`` at the end.

    Call and reply alternate strictly, so a read never meets the next frame's bytes
    and the first one usually brings the whole frame.
    """
    data = _read(fd, wait)
    while len(data) < _LENGTH.size:
        data += _read(fd, wait)
    size = _LENGTH.unpack_from(data)[0]
    if len(data) == size + _LENGTH.size:
        return data[_LENGTH.size :]
    frame = bytearray(size)
    frame[: len(data) - _LENGTH.size] = data[_LENGTH.size :]
    rest = memoryview(frame)[len(data) - _LENGTH.size :]
    while rest:
        if wait is not None:
            wait()
        count = os.readv(fd, [rest])
        if not count:
            raise EOFError
        rest = rest[count:]
    return frame


def _read(fd: int, wait: Callable[[], object] | None) -> bytes:
    if wait is not None:
        wait()
    data = os.read(fd, _CHUNK)
    if not data:
        raise EOFError
    return data


def write_frame(
    fd: int, payload: bytes, wait: Callable[[], object] | None = None
) -> None:
    """Write one frame, calling ``wait`` when there is no room for all of it."""
    head = _LENGTH.pack(len(payload))
    small = len(payload) < _CHUNK
    for part in (head + payload,) if small else (head, payload):
        rest = memoryview(part)
        while rest:
            try:
                rest = rest[os.write(fd, rest) :]
            except BlockingIOError:
                if wait is None:
                    raise
                wait()


# -- one call


def trampoline(frame: bytes | bytearray) -> bytes:
    """Run a packed call; bytes in, bytes out, and no exception ever leaves it.

    An executor that ships only bytes cannot be broken by an argument, a result or an
    exception that does not pickle.  The reply is a tag byte and a pickle.
    """
    sys.modules.setdefault(MODULE_NAME, sys.modules[__name__])
    try:
        meta, (fn, args, kwargs) = _unpack_call(frame)
    except BaseException as error:  # noqa: BLE001  # the job's: it becomes the reply
        return dump_error(NO_LOAD, error)
    token = _meta.set(meta)
    try:
        value = fn(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001  # the job's: it becomes the reply
        return dump_error(RAISED, error)
    finally:
        _meta.reset(token)
        _flush()
    return _dump_value(fn, value)


def _unpack_call(
    frame: bytes | bytearray,
) -> tuple[dict[str, Any] | None, tuple[Any, Any, Any]]:
    size = HEADER.unpack_from(frame)[0]
    meta = None
    if size:
        path, meta = pickle.loads(memoryview(frame)[HEADER.size :])
        if path is not None:
            sys.path[:] = path
    return meta, _load(frame, HEADER.size + size)


def _load(frame: bytes | bytearray, start: int = 0) -> Any:
    if _main_reference is None or frame.find(b"__main__", start) < 0:
        return pickle.loads(memoryview(frame)[start:])
    return _Loader(io.BytesIO(memoryview(frame)[start:])).load()


class _Loader(pickle.Unpickler):
    """Finds what belongs to the parent's ``__main__`` in its script, imported late."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name == "__main__":
            _import_main()
        return super().find_class(module_name, global_name)


def _dump_value(fn: object, value: object) -> bytes:
    try:
        return _dump_with(pickle, value)
    except Exception as error:  # noqa: BLE001  # whatever a __reduce__ raises
        with contextlib.suppress(Exception):  # not installed, or no better: see below
            return _dump_with(importlib.import_module("cloudpickle"), value)
        name = f"{getattr(fn, '__module__', '?')}.{getattr(fn, '__qualname__', fn)}"
        what = (name, type(value).__qualname__, f"{type(error).__name__}: {error}")
        return NO_RESULT + pickle.dumps(what, _PROTOCOL)


def _dump_with(pickler: Any, value: object) -> bytes:
    buffer = io.BytesIO()  # getvalue() hands its bytes over without a copy
    buffer.write(VALUE)
    pickler.Pickler(buffer, _PROTOCOL).dump(value)
    return buffer.getvalue()


def dump_error(tag: bytes, error: BaseException) -> bytes:
    """Make a reply of an exception.

    A class with an ``__init__`` of its own often pickles and does not unpickle, so
    the way back is tried here, then a way around the ``__init__``; the text travels in
    any case.

    Args:
        tag: ``RAISED`` or ``NO_LOAD``.
        error: What was raised.
    """
    import traceback  # noqa: PLC0415  # 5 ms that only a failure needs to pay

    own = error.__traceback__
    tb = own.tb_next if own is not None else None  # without this module's own frame
    text = "".join(traceback.format_exception(type(error), error, tb))
    kind = type(error)
    said = "".join(traceback.format_exception_only(kind, error)).strip()
    return tag + pickle.dumps((_pickled(error), said, text), _PROTOCOL)


def _pickled(error: BaseException) -> bytes | None:
    """Pickle an exception in a form that also unpickles; ``None`` if there is none."""
    for form in (error, (type(error), error.args, error.__dict__)):
        try:
            pickled = pickle.dumps(form, _PROTOCOL)
            pickle.loads(pickled)
        except Exception:  # noqa: BLE001  # whatever its __reduce__ or __init__ raises
            continue
        return pickled
    return None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, or nobody reads it any more
            stream.flush()


# -- the parent's script


def _leave_by_guard() -> NoReturn:
    _flush()
    with contextlib.suppress(OSError):
        write_frame(_reply_fd, GUARD)
    os._exit(1)


def _import_main() -> None:
    global _main_module, _importing_main  # noqa: PLW0603  # once in a process
    if _main_module is not None or _main_reference is None:
        return
    name, path = _main_reference
    code, details = _main_code(name, path)
    module = type(sys)("__mp_main__")
    module.__dict__.update(details)
    previous = sys.modules["__main__"]
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    _importing_main = True
    try:
        exec(code, module.__dict__)  # the parent's own script
    except BaseException:
        sys.modules["__main__"] = previous
        del sys.modules["__mp_main__"]
        raise
    finally:
        _importing_main = False
    _main_module = module


def _main_code(name: str | None, path: str | None) -> tuple[CodeType, dict[str, Any]]:
    """Find the code of the parent's script, and what its module knows of itself."""
    if name is None:
        script = path or ""
        with io.open_code(script) as file:
            return compile(file.read(), script, "exec"), {"__file__": script}
    from importlib.machinery import PathFinder  # noqa: PLC0415
    from importlib.util import find_spec  # noqa: PLC0415  # 5 ms, only when needed

    # The main module of a directory or an archive has no name to import it by.
    spec = PathFinder.find_spec(name, [path]) if path else find_spec(name)
    code: CodeType | None = None
    if spec is not None and spec.loader is not None:
        code = spec.loader.get_code(name)  # type: ignore[attr-defined]  # optional API
    if code is None or spec is None:
        message = f"no code found for the module {name}"
        raise ImportError(message, name=name)
    package = name.rpartition(".")[0] if not spec.submodule_search_locations else name
    return code, {"__file__": spec.origin, "__package__": package}


# -- the process


def main(argv: list[str]) -> None:
    """Serve calls until the parent ends the connection.

    Args:
        argv: The program's arguments: connection, life-line and the parent's pid.
    """
    global _reply_fd, _main_reference  # noqa: PLW0603  # set once, at the start
    connection, life, parent = (int(word) for word in argv[1:4])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for fd in (connection, life):
        os.set_inheritable(fd, False)  # noqa: FBT003  # positional only
    _watch(life, parent)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a killed job's lines are kept
    _reply_fd = connection
    try:
        setup = pickle.loads(read_frame(connection))
        sys.path[:], sys.argv[:] = setup["path"], setup["argv"]
        _main_reference = setup["main"]
        reply = _initialize(setup["initializer"])
        write_frame(connection, reply)
        while reply is not None:
            write_frame(connection, trampoline(read_frame(connection)))
    except (EOFError, OSError):
        return  # the parent closed the connection, or is gone


def _initialize(call: bytes | None) -> bytes:
    if call is None:
        return READY
    try:
        fn, args, kwargs = _load(call)
        fn(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001  # the host's: it becomes the reply
        return dump_error(RAISED, error)
    finally:
        _flush()
    return READY


def _watch(life: int, parent: int) -> None:
    """Make the end of the parent, however it comes, the end of this process."""
    if not _arm_signal(life):
        import _thread  # noqa: PLC0415  # no signal there (macOS): a thread waits

        _thread.start_new_thread(_wait_for_the_end, (life,))
    if os.getppid() != parent:
        os._exit(1)


def _wait_for_the_end(life: int) -> None:
    with contextlib.suppress(OSError):
        os.read(life, 1)
    os._exit(1)


def _arm_signal(life: int) -> bool:
    """Ask the kernel to kill this process when the life-line ends.

    It works while native code holds the GIL, where a watching thread could not run,
    and leaves a job that forks in a process of one thread.

    Returns:
        False where the kernel has no such signal.
    """
    try:
        import fcntl  # noqa: PLC0415  # not on every platform

        if not _kernel_signals(fcntl):
            return False
        fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
        _make_async(fcntl, life)
    except (ImportError, AttributeError, OSError):
        return False
    return True


def _make_async(fcntl: Any, fd: int) -> None:
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_ASYNC)


def _kernel_signals(fcntl: Any) -> bool:
    """Try it on a pipe of our own, with a harmless signal that is blocked."""
    wanted = {signal.SIGIO}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    end, other = os.pipe()
    try:
        _make_async(fcntl, end)
        os.close(other)
        return signal.sigtimedwait(wanted, 0) is not None
    finally:
        os.close(end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
