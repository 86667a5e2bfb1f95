"""What both drivers need to know about sockets: what errors mean, options, what to send next. Nothing
here does I/O."""
from __future__ import annotations

import errno
import socket
import ssl
from collections import deque
from typing import Any, Deque, Iterable, Iterator, List, Sequence

from .._exceptions import ConnectionError, DecodeError, EncodeError, NdringError
from .resp import Buffer
from .settings import Settings
from .slots import Address
from .tls import explain_alert

_NO_SUCH_NAME = (getattr(socket, "EAI_NONAME", None), getattr(socket, "EAI_NODATA", -5))
#: Errors of this machine, which say nothing about the node.
LOCAL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)
RECORD = 16 << 10  # bytes, the most in one record of TLS
_TLS_PIECE = 64 << 10  # bytes per TLS write. OpenSSL says only when all of it is sent
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


def tls_pieces(buffers: Sequence[Buffer]) -> Iterable[Buffer]:
    """Returns buffers to be written one after the other: each write makes a record, so small ones
    are joined, and large ones are cut. TLS has no write of several buffers."""
    return buffers if len(buffers) == 1 and len(buffers[0]) <= _TLS_PIECE else _pieces(buffers)


def _pieces(buffers: Sequence[Buffer]) -> Iterator[Buffer]:
    joined = bytearray()
    for buffer in buffers:
        view = memoryview(buffer)
        for at in range(0, len(view), _TLS_PIECE):
            piece = view[at : at + _TLS_PIECE]
            if len(joined) + len(piece) > RECORD and joined:
                yield joined
                joined = bytearray()
            if len(piece) > RECORD:
                yield piece
            else:
                joined += piece
    if joined:
        yield joined


def connection_error(exc: OSError) -> ConnectionError:
    """Returns our exception for an OSError."""
    error = ConnectionError(f"{exc.strerror or exc}" if exc.errno is None else f"{exc.strerror or exc} (error {exc.errno})")
    error.__cause__ = exc
    if isinstance(exc, ssl.SSLError):
        explain_alert(error, exc)
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


def set_socket_options(sock: Any, settings: Settings) -> None:
    if settings.path is not None:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if settings.socket_keepalive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in settings.socket_keepalive_options.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
