"""Tells what a call raised from what a signal handler raised while the call ran.

A handler may raise anything at any moment, TimeoutError from SIGALRM for example. That is the caller's own business: it must reach the
caller as it is. The traceback tells the two apart: a handler has a frame of its own below the frame that made the call.
"""
from __future__ import annotations

from typing import AbstractSet, Optional

#: Whose code runs below a call on a socket: C code for plain sockets, Python for TLS and for gevent's and eventlet's sockets.
_SOCKETS = frozenset({"socket", "ssl", "gevent", "eventlet"})
#: Whose code runs while TLS' context is made.
_CONTEXT = frozenset({"ndring", "ssl"})
#: Whose code runs while a value is decoded.
_DECODING = frozenset({"ndring", "numpy", "ml_dtypes", "json", "re", "encodings", "codecs", "importlib", "zoneinfo"})
#: Whose exceptions that code raises.
_RAISED = frozenset({"builtins", "numpy", "json", "ndring"})


def is_of_socket(exc: OSError) -> bool:
    """Whether the call on the socket has failed. For the function that made the call."""
    return isinstance(exc.errno, int) and _raised_below(exc, _SOCKETS)


def is_of_context(exc: Exception) -> bool:
    """Whether TLS' context could not be made. For the function that makes it."""
    return _raised_below(exc, _CONTEXT)


def is_of_decoding(exc: Exception) -> bool:
    """Whether decoding has failed, rather than been interrupted. For the function that called the decoder."""
    if isinstance(exc, ImportError):  # of a package that registers dtypes, in whatever module it fails
        return True
    if isinstance(exc, (MemoryError, OSError)):  # says nothing of the value
        return False
    return _top(type(exc).__module__) in _RAISED and _raised_below(exc, _DECODING)


def _raised_below(exc: BaseException, modules: AbstractSet[str]) -> bool:
    at = exc.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
        if _top(at.tb_frame.f_globals.get("__name__")) not in modules:
            return False
    return True


def _top(module: Optional[str]) -> str:
    return (module or "").partition(".")[0]
