"""The options of the ``headrace`` command: the parser, and the value it makes.

:Runs on: the main thread.
:Owns: nothing.
"""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from actors import __version__
from actors.errors import ConfigurationError
from supervision.cli_modules import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Parser", "RunOptions", "check_together", "make_parser", "parse"]

_EXIT_CODES = """\
exit status: 0 all ok; 1 at least one dead job; 2 wrong usage, import or input format;
3 given up, the input or the output failed; 130/143 after SIGINT/SIGTERM, drained;
141 when the reader of the results has gone
"""

_RUN_TEXT = """\
Runs FUNCTION(x), or EXPR with x, for every input x, on supervised workers.
Results go to stdout as JSON Lines, one for each job that succeeded; dead jobs, progress
and whatever the jobs print go to stderr.
"""

_RUN_EXAMPLES = f"""\
examples:
  headrace run -e "hashlib.file_digest(open(x,'rb'),'sha256').hexdigest()" --files .
  headrace run app:parse -k cpu -j 4 --retries 3 --timeout 60 -i in.jsonl -o out.jsonl
  seq 10 | headrace run -e "x * x"

The first Ctrl-C or SIGTERM takes no new jobs and finishes what is in flight; the second
abandons it.

{_EXIT_CODES}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The command line of ``headrace run``, parsed and checked one by one."""

    target: str | None
    expression: str | None
    input: str | None
    lines: bool
    files: list[str] | None
    glob: list[str]
    hidden: bool
    strict_input: bool
    kind: str | None
    workers: int | None
    capacity: int
    timeout: float | None
    retries: int | None
    backoff: float | None
    max_backoff: float | None
    output: str | None
    ordered: bool
    drain_timeout: float
    quiet: bool
    verbose: bool
    progress: str


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong; the whole usage is one ``--help`` away."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            ConfigurationError: Always.
        """
        text = f"{message} (see: {self.prog} --help)"
        raise ConfigurationError(text)


def check_together(options: argparse.Namespace) -> None:
    """Refuse options of ``run`` that are right one by one and wrong together.

    Raises:
        ConfigurationError: Naming them and the way out.
    """
    if options.expression is None and options.target is None:
        message = "nothing to run: give MODULE:FUNCTION before the options, or -e EXPR"
        last = options.files[-1] if options.files else ""
        if ":" in last:
            message += f" ({last!r} was read as a path of --files)"
        raise ConfigurationError(message)
    if options.expression is not None and options.target is not None:
        message = f"-e and {options.target!r} are both given; choose one"
        raise ConfigurationError(message)
    if options.files is not None:
        for name, given in (("-i", options.input), ("--lines", options.lines)):
            if given:
                message = f"--files and {name} exclude each other; choose one"
                raise ConfigurationError(message)
    else:
        for name, given in (("--glob", options.glob), ("--hidden", options.hidden)):
            if given:
                message = f"{name} needs --files PATH"
                raise ConfigurationError(message)
    if not options.retries:
        limits = (
            ("--backoff", options.backoff),
            ("--max-backoff", options.max_backoff),
        )
        for name, seconds in limits:
            if seconds is not None:
                message = f"{name} needs --retries N, with N at least 1"
                raise ConfigurationError(message)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        ConfigurationError: Naming the first thing that is wrong with it.
    """
    parser, commands = make_parser()
    namespace, unknown = parser.parse_known_args(arguments)
    if unknown:
        command = commands[namespace.command]
        name = unknown[0].partition("=")[0]
        known = re.findall(r"--[a-z][a-z-]*", command.format_help())
        guess = did_you_mean(name, set(known))
        message = f"unknown option or argument {name!r}{guess}"
        message += f" (see: {command.prog} --help)"
        raise ConfigurationError(message)
    return namespace


def make_parser() -> tuple[Parser, Mapping[str, argparse.ArgumentParser]]:
    """Make the parser, and by name those of the subcommands that exist."""
    parser = Parser(
        prog="headrace",
        description="Runs jobs through supervised actors: an xargs for Python "
        "functions that survives.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="version", version=f"headrace {__version__}"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_run(
        commands.add_parser(
            "run",
            help="run a function or an expression for every input",
            usage="headrace run MODULE:FUNCTION | -e EXPR  [-i FILE | --files PATH...] "
            "[options]",
            description=_RUN_TEXT,
            epilog=_RUN_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
    )
    commands.add_parser(
        "demo",
        help="watch a worker be killed, a job flap and the tree heal; needs no input",
    )
    commands.add_parser(
        "doctor", help="check python, cores, worker processes, extras and import names"
    )
    return parser, commands.choices


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        nargs="?",
        metavar="MODULE:FUNCTION",
        help="called with each input; the module is also looked for in the current "
        "directory",
    )
    parser.add_argument(
        "-e",
        dest="expression",
        metavar="EXPR",
        help="a Python expression of x instead; the modules it names are imported",
    )
    _add_input(parser.add_argument_group("input"))
    _add_work(parser.add_argument_group("work"))
    _add_retry(parser.add_argument_group("retry"))
    _add_output(parser.add_argument_group("output and progress"))


def _add_input(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-i",
        "--input",
        metavar="FILE",
        help="read JSON Lines from FILE, - for stdin (default: stdin)",
    )
    group.add_argument(
        "--lines", action="store_true", help="each line is an input, as text, not JSON"
    )
    group.add_argument(
        "--files",
        nargs="+",
        metavar="PATH",
        help="each regular file named, or below a directory named, is an input, by its "
        "path; links to directories are not followed, hidden names are passed over",
    )
    group.add_argument(
        "--glob",
        action="append",
        default=[],
        metavar="P",
        help="with --files: only names that match P, for instance '*.py'; may be "
        "repeated; a P with a slash is matched with the path below PATH",
    )
    group.add_argument(
        "--hidden", action="store_true", help="with --files: hidden names, too"
    )
    group.add_argument(
        "--strict-input",
        action="store_true",
        help="stop with status 2 at the first input that cannot be read (default: it "
        "counts as a dead job, and the rest goes on)",
    )


def _add_work(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-k",
        "--kind",
        choices=("io", "cpu"),
        help="io runs jobs in threads, cpu in processes (default: what the function's "
        "@job says, else io)",
    )
    group.add_argument(
        "-j",
        "--workers",
        type=_whole(1),
        metavar="N",
        help="at most N jobs at once (default: 8 for io, the usable cores for cpu)",
    )
    group.add_argument(
        "--capacity",
        type=_whole(1),
        default=10,
        metavar="N",
        help="at most N jobs wait for a worker; reading waits meanwhile (default: 10)",
    )
    group.add_argument(
        "--timeout",
        type=_seconds(positive=True),
        metavar="S",
        help="seconds that one run of a job may take; -k cpu kills its process, -k io "
        "can only cancel it between its checkpoints",
    )
    group.add_argument(
        "--drain-timeout",
        type=_seconds(),
        default=25.0,
        metavar="S",
        help="seconds that jobs in flight may take after a first Ctrl-C or SIGTERM "
        "(default: 25)",
    )


def _add_retry(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--retries",
        type=_whole(0),
        metavar="N",
        help="run a failing job again at most N times: --retries 3 is at most 4 runs "
        "(default: 0); errors that another run would only repeat, such as TypeError or "
        "FileNotFoundError, are never retried",
    )
    group.add_argument(
        "--backoff",
        type=_seconds(),
        metavar="S",
        help="longest wait before the first retry, doubled for each further one; the "
        "wait is a random part of it (default: 0.1)",
    )
    group.add_argument(
        "--max-backoff",
        type=_seconds(),
        metavar="S",
        help="longest wait before any retry (default: 30)",
    )


def _add_output(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o", "--output", metavar="FILE", help="write results to FILE, emptied first"
    )
    group.add_argument(
        "--ordered",
        action="store_true",
        help="results in the order of the inputs (default: as jobs end)",
    )
    group.add_argument(
        "-q", "--quiet", action="store_true", help="no progress, no closing line"
    )
    group.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="dead jobs with traceback, and what the library logs",
    )
    group.add_argument(
        "--progress",
        choices=("auto", "line", "none"),
        default="auto",
        help="auto: a live line on a terminal; line: also elsewhere, once a second",
    )


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            message = f"must be a whole number of at least {least}, got {text!r}"
            raise argparse.ArgumentTypeError(message)
        return value

    return parse


def _seconds(*, positive: bool = False) -> Callable[[str], float]:
    allowed = "more than 0" if positive else "0 or more"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0 or (positive and value == 0):
            message = f"must be {allowed} seconds, got {text!r}"
            raise argparse.ArgumentTypeError(message)
        return value

    return parse
