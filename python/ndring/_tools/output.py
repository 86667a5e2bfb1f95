"""Standard output and standard error, with errors that are one line."""
from __future__ import annotations

import os
import sys
from typing import Any, Optional

from .text import escape_key, one_line, printable

OK, FAILED, USAGE = 0, 1, 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count
PIPE_CLOSED = 141  # 128 + SIGPIPE


class Failure(Exception):
    """Ends the command. Its text is for the user."""

    code = FAILED


class UsageError(Failure):
    """The command line is invalid."""

    code = USAGE


class PipeClosed(Exception):
    """The reader of standard output has gone, as ``head`` does. There is nothing to report."""


def reason(error: BaseException) -> str:
    """Returns what happened, without the file's name, which the caller adds."""
    return (isinstance(error, OSError) and error.strerror) or one_line(str(error)) or type(error).__name__


def complain(text: str) -> None:
    """Writes a line to standard error, if there is one."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"ndring: {_encodable(printable(text), sys.stderr.encoding)}\n")
            sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nothing is left to tell the user


def _encodable(text: str, encoding: Optional[str]) -> str:
    encoding = encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


class Output:
    """Standard output. Each method raises Failure if it cannot write, PipeClosed if the reader has gone."""

    def __init__(self) -> None:
        self.encoding: Optional[str] = getattr(sys.stdout, "encoding", None)

    @property
    def is_terminal(self) -> bool:
        return sys.stdout is not None and sys.stdout.isatty()

    def line(self, text: str) -> None:
        self._do(lambda: sys.stdout.write(_encodable(text, self.encoding) + "\n"))

    def write(self, data: Any) -> int:
        """Writes bytes. Together with ``flush`` this is all that numpy needs of a file."""
        self._do(lambda: sys.stdout.buffer.write(data))
        return len(data)

    def flush(self) -> None:
        if sys.stdout is not None:
            self._do(lambda: sys.stdout.flush())

    def key(self, key: bytes) -> str:
        return escape_key(key, self.encoding)

    def _do(self, call: Any) -> None:
        if sys.stdout is None:
            raise Failure("standard output is closed: nothing can be written")
        try:
            call()
        except BrokenPipeError:
            raise PipeClosed from None
        except OSError as exc:
            raise Failure(f"cannot write to standard output: {reason(exc)}") from exc


def abandon_stdout() -> None:
    """Makes the interpreter's own flush at exit succeed after a write has failed."""
    if sys.stdout is None:
        return
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass  # the stream has no descriptor
