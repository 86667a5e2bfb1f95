"""``python -m ndring``: tools for people."""
from __future__ import annotations

import argparse
import os
import sys
from typing import Any, List, NoReturn, Optional

from . import __version__, _import
from ._exceptions import NdringError
from ._tools import getset, info, ls, ping
from ._tools.connect import add_common
from ._tools.output import FAILED, INTERRUPTED, OK, PIPE_CLOSED, USAGE, Failure, Output, PipeClosed, abandon_stdout, complain
from ._tools.text import one_line

DESCRIPTION = (
    "Tools for the arrays of an ndring cluster. Exit codes: 0 for success, 1 if a key does not exist, a node does not answer or something else "
    "fails, 2 for an invalid command line, 130 after Ctrl-C, 141 if the reader of the output has gone."
)
PROGRAM = "python -m ndring"


class _Parser(argparse.ArgumentParser):
    """Reports an invalid command line in one line."""

    def error(self, message: str) -> NoReturn:
        complain(f"{one_line(message)}; {self.prog} --help shows the options")
        raise SystemExit(USAGE)


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"ndring {__version__}")
    add_common(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, add_arguments, run, text, description in (
        ("ping", ping.add_arguments, ping.run, ping.HELP, ping.DESCRIPTION),
        ("ls", ls.add_arguments, ls.run, ls.HELP, ls.DESCRIPTION),
        ("get", getset.add_get_arguments, getset.get, getset.GET_HELP, getset.GET_DESCRIPTION),
        ("set", getset.add_set_arguments, getset.set_, getset.SET_HELP, getset.SET_DESCRIPTION),
        ("info", info.add_arguments, info.run, info.HELP, info.DESCRIPTION),
    ):
        command = commands.add_parser(name, help=text, description=description, allow_abbrev=False)
        add_common(command)
        add_arguments(command)
        command.set_defaults(run=run)
    imports = commands.add_parser("import", help=_import.HELP, description=_import.DESCRIPTION, allow_abbrev=False)
    _import.add_arguments(imports)
    imports.set_defaults(run=lambda options, out: _import.run(options))
    return parser


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs a command and returns its exit code. Raises nothing."""
    if sys.stderr is None:  # closed; print() would fall back to standard output
        sys.stderr = open(os.devnull, "w")
    out = Output()
    try:
        code = _run(arguments, out)
        out.flush()
        return code
    except PipeClosed:
        code = PIPE_CLOSED
    except BrokenPipeError:  # while argparse or the import wrote
        code = PIPE_CLOSED
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Failure as exc:
        complain(str(exc))
        code = exc.code
    except (NdringError, MemoryError, OSError) as exc:
        text = one_line(str(exc)) or type(exc).__name__
        complain(text.replace("retry_for= sets", "--timeout sets"))
        code = FAILED
    _finish(out)
    return code


def _run(arguments: Optional[List[str]], out: Output) -> int:
    parser = make_parser()
    try:
        options: Any = parser.parse_args(arguments)
    except SystemExit as exc:  # after --help, --version or an invalid command line
        return exc.code if isinstance(exc.code, int) else OK
    if options.command is None:
        parser.print_help()
        return OK
    return int(options.run(options, out))


def _finish(out: Output) -> None:
    """Writes what was written before the failure, if that is still possible."""
    try:
        out.flush()
    except (Failure, PipeClosed, KeyboardInterrupt):
        abandon_stdout()


if __name__ == "__main__":
    sys.exit(main())
