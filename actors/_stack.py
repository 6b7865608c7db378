"""Where another thread is, as text, without touching its frames.

``sys._current_frames`` gives live frame objects.  To walk them while their thread runs
on and ends crashed CPython 3.11.7: a segmentation fault in about one of 2,000 walks.
So the interpreter's own fault handler is asked, which makes no objects.

:Runs on: any thread.
:Owns: nothing.
:Blocks: for a temporary file and for the source lines.
"""

from __future__ import annotations

import faulthandler
import linecache
import re
import tempfile

__all__ = ["stack_of"]

_FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)')


def stack_of(ident: int | None) -> str:
    """Format the stack of the thread with this identity, most recent call last.

    Returns:
        What ``traceback.format_stack`` would; a line that says so if it cannot be had:
        the thread has ended, or more than a hundred threads are younger.
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
    return "".join(_frame(line) for line in reversed(found[1].splitlines()))


def _frame(line: str) -> str:
    frame = _FRAME.fullmatch(line)
    if frame is None:  # "..." after a hundred frames
        return f"{line}\n"
    file, number, name = frame["file"], int(frame["line"]), frame["name"]
    source = linecache.getline(file, number).strip()
    text = f'  File "{file}", line {number}, in {name}\n'
    return f"{text}    {source}\n" if source else text
