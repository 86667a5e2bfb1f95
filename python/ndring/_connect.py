"""A connection to one node: find its addresses, connect, do TLS' handshake. All of it ends in time."""
from __future__ import annotations

import errno
import os
import socket
import ssl
from time import monotonic
from typing import Any, List, Optional, Tuple

from ._exceptions import ConnectionError, NdringError, TimeoutError
from ._interrupts import is_of_context, is_of_socket
from ._patience import Patience
from ._settings import Settings
from ._slots import Address
from ._stream import Doubt, Stream, failure
from ._tls import tls_context

_NO_SUCH_NAME = (getattr(socket, "EAI_NONAME", None), getattr(socket, "EAI_NODATA", -5))
_IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR)
_LOCAL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def connect(
    settings: Settings, address: Address, end: Optional[float], doubt: Optional[Doubt] = None, key: Optional[bytes] = None
) -> Stream:
    """Returns a connection on which nothing was said yet. Raises ConnectionError or TimeoutError, whose ``unreachable`` says that it is
    the node that cannot be reached."""
    limit = settings.socket_connect_timeout if settings.socket_connect_timeout is not None else settings.socket_timeout
    found = _addresses(settings, address)
    error: Optional[NdringError] = None
    began = monotonic()
    for number, (family, kind, where) in enumerate(found):
        # What is left is shared by the addresses that are left, lest the first one has it all.
        share = None if limit is None else max(0.01, (began + limit - monotonic()) / (len(found) - number))
        try:
            return _connected(settings, address, family, kind, where, Patience(share, monotonic(), end), doubt, key)
        except (ConnectionError, TimeoutError) as exc:
            error = exc
            if exc.hopeless:
                break
    assert error is not None
    raise error


def _addresses(settings: Settings, address: Address) -> List[Tuple[int, int, Any]]:
    if settings.path is not None:
        return [(socket.AF_UNIX, socket.SOCK_STREAM, settings.path)]
    try:
        found = socket.getaddrinfo(address.host, address.port, settings.socket_type if settings.socket_type != 1 else 0, socket.SOCK_STREAM)
    except OSError as exc:
        if not (is_of_socket(exc) or isinstance(exc, socket.gaierror)):  # the look-up may be a function of the program's own
            raise
        error = ConnectionError(f"the name {address.host!r} does not resolve: {exc.strerror}")
        error.unreachable = True
        error.hopeless = exc.errno in _NO_SUCH_NAME
        raise error from exc
    except UnicodeError as exc:
        error = ConnectionError(f"{address.host[:60]!r} is not a valid host name: {exc}")
        error.hopeless = True
        raise error from exc
    return [(family, kind, where) for family, kind, _, _, where in found]


def _connected(
    settings: Settings, address: Address, family: int, kind: int, where: Any, patience: Patience, doubt: Optional[Doubt],
    key: Optional[bytes],
) -> Stream:
    sock: Any = None
    stream: Optional[Stream] = None
    try:
        try:
            sock = socket.socket(family, kind)
            sock.setblocking(False)
            if family != getattr(socket, "AF_UNIX", None):
                _tune(sock, settings)
            code = sock.connect_ex(where)
        except OSError as exc:
            if not is_of_socket(exc):
                raise
            error = failure(exc)
            error.unreachable = exc.errno not in _LOCAL
            raise error
        stream = Stream(sock, patience, doubt, key)
        if code in _IN_PROGRESS and family != getattr(socket, "AF_UNIX", None):
            stream.wait(False)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            error = failure(OSError(code, os.strerror(code)))
            error.unreachable = code not in _LOCAL
            raise error
        if settings.tls is not None:
            stream = _secured(settings, address, stream)
        sock = None  # it belongs to the stream
        return stream
    finally:
        if sock is not None:
            sock.close()


def _secured(settings: Settings, address: Address, plain: Stream) -> Stream:
    assert settings.tls is not None
    try:
        context = tls_context(settings.tls)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        if not is_of_context(exc):
            raise
        raise _unusable(exc) from exc
    try:
        sock = context.wrap_socket(plain.sock, server_hostname=address.host, do_handshake_on_connect=False)
    except OSError as exc:  # the node has closed the connection
        if not is_of_socket(exc):
            raise
        raise failure(exc)
    except ValueError as exc:
        if not is_of_context(exc):
            raise
        raise _unusable(exc) from exc
    stream = Stream(sock, plain.patience, plain.doubt, plain.key)
    try:
        stream.handshake()
    except ConnectionError as exc:
        sock.close()
        if isinstance(exc.__cause__, ssl.SSLCertVerificationError):
            exc.hopeless = True
            exc.args = (f"the certificate of {address} does not hold: {exc.__cause__.verify_message or exc}",)
        elif isinstance(exc.__cause__, ssl.SSLError) and exc.__cause__.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
            exc.hopeless = True
            exc.args = (f"{address} does not speak TLS: use redis:// instead of rediss:// ({exc})",)
        raise
    except BaseException:
        sock.close()
        raise
    return stream


def _unusable(exc: Exception) -> ConnectionError:
    error = ConnectionError(f"TLS cannot be used with these ssl_* options: {exc}")
    error.hopeless = True
    return error


def _tune(sock: Any, settings: Settings) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if settings.socket_keepalive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in settings.socket_keepalive_options.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
