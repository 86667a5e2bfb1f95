"""Opens a connection to one node: resolves the name, connects, does the TLS handshake, all within
the time limits."""
from __future__ import annotations

import errno
import os
import socket
from time import monotonic
from typing import Any, List, Optional, Tuple

from .._core.settings import Settings
from .._core.slots import Address
from .._core.sockets import LOCAL, connection_error, resolution_error, set_socket_options
from .._core.tls import explain_handshake, explain_silence, options_error
from .._core.wait_limits import WaitLimits
from .._exception_origin import is_tls_setup_error, is_socket_error
from .._exceptions import ConnectionError, NdringError, TimeoutError
from .stream import SilenceCheck, Stream

_IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR)


def connect(
    settings: Settings, address: Address, end: Optional[float], silence_check: Optional[SilenceCheck] = None, key: Optional[bytes] = None
) -> Stream:
    """Returns a new connection. Raises ConnectionError or TimeoutError with ``unreachable`` set if
    the node cannot be reached, as opposed to a local problem."""
    limit = settings.socket_connect_timeout if settings.socket_connect_timeout is not None else settings.socket_timeout
    found = _addresses(settings, address)
    error: Optional[NdringError] = None
    began = monotonic()
    for number, (family, kind, sockaddr) in enumerate(found):
        # The remaining addresses share the remaining time, or else the first one could use all of it.
        share = None if limit is None else max(0.01, (began + limit - monotonic()) / (len(found) - number))
        try:
            return _connect_to(settings, address, family, kind, sockaddr, WaitLimits(share, monotonic(), end), silence_check, key)
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
    except (OSError, UnicodeError) as exc:
        if isinstance(exc, OSError) and not (is_socket_error(exc) or isinstance(exc, socket.gaierror)):  # a program may have replaced getaddrinfo
            raise
        raise resolution_error(address, exc) from exc
    return [(family, kind, sockaddr) for family, kind, _, _, sockaddr in found]


def _connect_to(
    settings: Settings, address: Address, family: int, kind: int, sockaddr: Any, limits: WaitLimits, silence_check: Optional[SilenceCheck],
    key: Optional[bytes],
) -> Stream:
    sock: Any = None
    stream: Optional[Stream] = None
    try:
        try:
            sock = socket.socket(family, kind)
            sock.setblocking(False)
            set_socket_options(sock, settings)
            code = sock.connect_ex(sockaddr)
        except OSError as exc:
            if not is_socket_error(exc):
                raise
            error = connection_error(exc)
            error.unreachable = exc.errno not in LOCAL
            raise error
        stream = Stream(sock, limits, silence_check, key)
        if code in _IN_PROGRESS and family != getattr(socket, "AF_UNIX", None):
            stream.wait(False)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            error = connection_error(OSError(code, os.strerror(code)))
            error.unreachable = code not in LOCAL
            raise error
        if settings.tls is not None:
            stream = _start_tls(settings, address, stream)
        sock = None  # owned by the stream now
        return stream
    finally:
        if sock is not None:
            sock.close()


def _start_tls(settings: Settings, address: Address, plain: Stream) -> Stream:
    assert settings.tls is not None
    try:
        context = settings.tls.context()
    except (OSError, ValueError, KeyError, TypeError) as exc:
        if not is_tls_setup_error(exc):
            raise
        raise options_error(exc) from exc
    try:
        sock = context.wrap_socket(plain.sock, server_hostname=address.host, do_handshake_on_connect=False)
    except OSError as exc:  # the node closed the connection
        if not is_socket_error(exc):
            raise
        raise connection_error(exc)
    except ValueError as exc:
        if not is_tls_setup_error(exc):
            raise
        raise options_error(exc) from exc
    stream = Stream(sock, plain.limits, plain.silence_check, plain.key)
    try:
        stream.tls_handshake()
    except ConnectionError as exc:
        sock.close()
        explain_handshake(exc, address)
        raise
    except TimeoutError as exc:
        sock.close()
        explain_silence(exc)
        raise
    except BaseException:
        sock.close()
        raise
    return stream
