"""Distinguishes exceptions that a call raised itself from those that a signal handler raised during
the call.

A handler may raise anything at any moment, for example TimeoutError from SIGALRM. Such an exception
is the caller's and must reach it unchanged. The traceback shows the difference: a handler adds its
own frame below the frame that made the call.
"""
from __future__ import annotations

from typing import AbstractSet, Optional

#: Modules whose code runs below a socket call: none for plain sockets (C code), Python code for
#: TLS, gevent and eventlet.
_SOCKETS = frozenset({"socket", "ssl", "gevent", "eventlet"})
#: Modules whose code runs while a TLS context is created.
_CONTEXT = frozenset({"ndring", "ssl"})
#: Modules whose code runs while a value is decoded.
_DECODING = frozenset({"ndring", "numpy", "ml_dtypes", "json", "re", "encodings", "codecs", "importlib", "zoneinfo"})
#: Modules whose exceptions that code raises.
_RAISED = frozenset({"builtins", "numpy", "json", "ndring"})


def is_socket_error(exc: OSError) -> bool:
    """Whether the socket call itself failed. Must be called by the function that made the call."""
    return isinstance(exc.errno, int) and _raised_below(exc, _SOCKETS)


def is_tls_setup_error(exc: Exception) -> bool:
    """Whether creating the TLS context failed. Must be called by the function that creates it."""
    return _raised_below(exc, _CONTEXT)


def is_decode_error(exc: Exception) -> bool:
    """Whether decoding failed, as opposed to being interrupted. Must be called by the function that
    called the decoder."""
    if isinstance(exc, ImportError):  # from a package that registers dtypes, whichever module raises it
        return True
    if isinstance(exc, (MemoryError, OSError)):  # unrelated to the value
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
