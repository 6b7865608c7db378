"""Where another thread is, and where an error came from, as text.

Of another thread ``sys._current_frames`` gives live frame objects.  To walk them while
their thread runs on and ends crashed CPython 3.11.7: a segmentation fault in about one
of 2,000 walks.  So the interpreter's own fault handler is asked, which makes no
objects.

:Runs on: any thread.
:Owns: the texts of the stacks that errors came from lately.
:Blocks: for a temporary file and for the source lines.
"""

from __future__ import annotations

import faulthandler
import linecache
import os
import re
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from types import CodeType, TracebackType

    Steps: TypeAlias = tuple[tuple[CodeType, int], ...]
    ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

__all__ = ["error_text", "exc_info_of", "stack_of"]

TEXTS_KEPT: Final = 100
DEEPEST_KEPT: Final = 50
"""Deeper stacks are rare and their keys long: they are formatted each time."""

_texts: dict[Steps, str] = {}

# Our own code and the way into a thread, as the names of their files begin.
_BELOW_HOSTS: Final = (
    str(Path(__file__).parent) + os.sep,
    str(Path(__file__).parents[1] / "supervision") + os.sep,
    str(Path(linecache.__file__).with_name("threading.py")),
)
_FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)')


def stack_of(ident: int | None) -> str:
    """Format the stack of the thread with this identity, most recent call last.

    An actor's begins with the host's code: the loop below that is the same in all.

    Returns:
        What ``traceback.format_stack`` would, from there on; a line that says so if it
        cannot be had: the thread has ended, or more than a hundred threads are younger.
    """
    try:
        with tempfile.TemporaryFile() as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            dump = file.read().decode("utf-8", "replace")
    except (OSError, RuntimeError) as error:
        return f"  (no stack to be had: {error})\n"
    head = rf"^(?:Current thread|Thread) 0x0*{ident or 0:x}\b.*\n((?: +.*\n)*)"
    found = re.search(head, dump, re.MULTILINE)
    if found is None:
        return "  (no stack to be had: it has ended, or too many threads run)\n"
    lines = found[1].splitlines()[::-1]
    hosts = (at for at, line in enumerate(lines) if not _is_ours(line))
    return "".join(_frame(line) for line in lines[next(hosts, 0) :])


def _is_ours(line: str) -> bool:
    """True for a frame that every actor's thread begins with."""
    frame = _FRAME.fullmatch(line)
    return frame is not None and frame["file"].startswith(_BELOW_HOSTS)


def _frame(line: str) -> str:
    frame = _FRAME.fullmatch(line)
    if frame is None:  # "..." after a hundred frames
        return f"{line}\n"
    file, number, name = frame["file"], int(frame["line"]), frame["name"]
    source = linecache.getline(file, number).strip()
    text = f'  File "{file}", line {number}, in {name}\n'
    return f"{text}    {source}\n" if source else text


def exc_info_of(error: BaseException) -> ExcInfo:
    """What a log line is given for an error.

    Logging would ask for the truth of the error itself, and one that counts as false
    would lose its traceback.
    """
    return type(error), error, error.__traceback__


def error_text(error: BaseException) -> str:
    """Format an error as ``traceback.format_exception`` does.

    An actor that crashes again and again does so in the same place.  To look up its
    source lines again took two thirds of the time of its end; they are kept.
    """
    trace = error.__traceback__
    chained = error.__cause__ is not None or error.__context__ is not None
    if trace is None or chained or isinstance(error, BaseExceptionGroup):
        return "".join(traceback.format_exception(error))
    last = traceback.TracebackException(type(error), error, trace, limit=0)
    lines = "".join(last.format_exception_only())
    return f"Traceback (most recent call last):\n{_trace_text(trace)}{lines}"


def _trace_text(trace: TracebackType) -> str:
    steps = _steps_of(trace)
    text = _texts.get(steps)
    if text is None:
        text = "".join(traceback.format_tb(trace))
        if len(steps) <= DEEPEST_KEPT:
            if len(_texts) >= TEXTS_KEPT:
                _texts.clear()
            _texts[steps] = text
    return text


def _steps_of(trace: TracebackType | None) -> Steps:
    steps = []
    while trace is not None:
        steps.append((trace.tb_frame.f_code, trace.tb_lasti))
        trace = trace.tb_next
    return tuple(steps)
