"""The ``headrace`` command: from its arguments to its exit status.

The parser (``cli_options``) says what exists; each subcommand's work lies in a module
of its own, which is imported when it is asked for.

:Runs on: the main thread.
:Owns: nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from actors.errors import ConfigurationError
from supervision.cli_options import RunOptions, check_together, make_parser, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Its arguments; those of the process by default.

    Returns:
        The exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _fill_standard_descriptors()
    try:
        return _run(_attach_expression(arguments))
    except ConfigurationError as error:
        return _complain(str(error), 2)
    except SystemExit as ending:  # argparse: --help, --version
        return ending.code if isinstance(ending.code, int) else 0
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:  # the reader of --help or of a report has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except Exception as error:  # last resort: no traceback reaches the user
        if "-v" in arguments or "--verbose" in arguments:
            raise
        told = f"{type(error).__name__}: {error}"
        return _complain(f"internal error: {told}; -v shows where, please report it", 3)


def _fill_standard_descriptors() -> None:
    """Keep what we open from becoming stdin, stdout or stderr, if one is closed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _complain(message: str, status: int) -> int:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # closed or gone
        sys.stderr.write(f"headrace: {message}\n")
    return status


def _attach_expression(arguments: list[str]) -> list[str]:
    """Let an expression begin with a minus: argparse would take it for an option."""
    out: list[str] = []
    for argument in arguments:
        if out and out[-1] == "-e" and argument.startswith("-"):
            out[-1] = f"-e{argument}"
        else:
            out.append(argument)
    return out


def _run(arguments: list[str]) -> int:
    if not arguments:
        make_parser()[0].print_help(sys.stderr)
        return 2
    namespace = parse(arguments)
    options = vars(namespace)
    command = options.pop("command")
    if command == "demo":
        from supervision.cli_demo import demo  # noqa: PLC0415

        return demo()
    if command == "doctor":
        from supervision.cli_doctor import doctor  # noqa: PLC0415

        return doctor()
    check_together(namespace)
    from supervision.cli_run import run  # noqa: PLC0415

    return run(RunOptions(**options))
