"""What both drivers need to know about sockets: what errors mean, options, what to send next. Nothing
here does I/O."""
from __future__ import annotations

import errno
import socket
import ssl
from collections import deque
from typing import Any, Deque, List, Sequence

from .._exceptions import ConnectionError, DecodeError, EncodeError, NdringError
from .resp import Buffer
from .settings import Settings
from .slots import Address

_NO_SUCH_NAME = (getattr(socket, "EAI_NONAME", None), getattr(socket, "EAI_NODATA", -5))
#: Errors of this machine, which say nothing about the node.
LOCAL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)
#: Errors of sending that mean that the node has closed the connection.
CLOSED = (errno.EPIPE, errno.ECONNRESET)
MAX_TLS = 1 << 20  # bytes per TLS write
_MAX_VECTOR = 512  # buffers per system call; Linux allows 1024


class Outgoing:
    """Buffers of which a part has been sent."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self._waiting: Deque[Buffer] = deque(buffers)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def vector(self) -> List[Buffer]:
        """Returns what to send next."""
        return [self._waiting[i] for i in range(min(len(self._waiting), _MAX_VECTOR))]

    def sent(self, count: int) -> None:
        while self._waiting and count >= len(self._waiting[0]):
            count -= len(self._waiting.popleft())
        if count:
            self._waiting[0] = memoryview(self._waiting[0])[count:]


def connection_error(exc: OSError) -> ConnectionError:
    """Returns our exception for an OSError."""
    error = ConnectionError(f"{exc.strerror or exc}" if exc.errno is None else f"{exc.strerror or exc} (error {exc.errno})")
    error.__cause__ = exc
    return error


def bad_memory_error(exc: OSError, reading: bool) -> NdringError:
    error: NdringError
    if reading:
        error = DecodeError("cannot write to the memory of out: is it a memmap of a file that was truncated?")
    else:
        error = EncodeError("cannot read the memory of the array: is it a memmap of a file that was truncated? Nothing was stored")
    error.__cause__ = exc
    return error


def resolution_error(address: Address, exc: Exception) -> ConnectionError:
    """Returns the error for a name that does not resolve."""
    if isinstance(exc, UnicodeError):
        error = ConnectionError(f"{address.host[:60]!r} is not a valid host name: {exc}")
        error.hopeless = True
        return error
    error = ConnectionError(f"the name {address.host!r} does not resolve: {getattr(exc, 'strerror', None) or exc}")
    error.unreachable = True
    error.hopeless = getattr(exc, "errno", None) in _NO_SUCH_NAME
    return error


def explain_tls(error: ConnectionError, address: Address) -> None:
    """Says in an error what is wrong if its cause is TLS."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        error.hopeless = True
        error.args = (f"the certificate of {address} is not valid: {cause.verify_message or error}",)
    elif isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        error.hopeless = True
        error.args = (f"{address} does not speak TLS: use redis:// instead of rediss:// ({error})",)


def tls_options_error(exc: Exception) -> ConnectionError:
    error = ConnectionError(f"invalid ssl_* options: {exc}")
    error.hopeless = True
    return error


def set_socket_options(sock: Any, settings: Settings) -> None:
    if settings.path is not None:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if settings.socket_keepalive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in settings.socket_keepalive_options.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
