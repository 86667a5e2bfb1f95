"""Opens a connection to one node: resolves the name, connects, does the TLS handshake, all within
the time limits."""
from __future__ import annotations

import asyncio
import os
import socket
from time import monotonic
from typing import Any, List, Optional, Tuple

from .._core.driver import SilenceCheck
from .._core.settings import Settings
from .._core.slots import Address
from .._core.sockets import LOCAL, connection_error, explain_tls, resolution_error, set_socket_options, tls_options_error
from .._core.tls import tls_context
from .._core.wait_limits import WaitLimits
from .._exceptions import ConnectionError, NdringError, TimeoutError
from .connection import Connection


async def connect(
    settings: Settings, address: Address, end: Optional[float], silence_check: Optional[SilenceCheck] = None, key: Optional[bytes] = None
) -> Connection:
    """Returns a new connection. Raises ConnectionError or TimeoutError with ``unreachable`` set if
    the node cannot be reached, as opposed to a local problem."""
    limit = settings.socket_connect_timeout if settings.socket_connect_timeout is not None else settings.socket_timeout
    began = monotonic()
    found = await _bounded(_addresses(settings, address), WaitLimits(limit, began, end))
    error: Optional[NdringError] = None
    for number, (family, kind, sockaddr) in enumerate(found):
        # The remaining addresses share the remaining time, or else the first one could use all of it.
        share = None if limit is None else max(0.01, (began + limit - monotonic()) / (len(found) - number))
        limits = WaitLimits(share, monotonic(), end)
        try:
            sock = await _bounded(_connected(settings, family, kind, sockaddr), limits)
            return await _opened(sock, settings, address, limits, silence_check, key)
        except (ConnectionError, TimeoutError) as exc:
            error = exc
            if exc.hopeless:
                break
    assert error is not None
    raise error


async def _bounded(doing: Any, limits: WaitLimits) -> Any:
    now = monotonic()
    try:
        return await asyncio.wait_for(doing, min(limits.remaining(now), 1e6))
    except asyncio.TimeoutError:
        error = TimeoutError(limits.describe(monotonic()))
        error.unreachable = True
        raise error from None


async def _addresses(settings: Settings, address: Address) -> List[Tuple[int, int, Any]]:
    if settings.path is not None:
        return [(socket.AF_UNIX, socket.SOCK_STREAM, settings.path)]
    family = settings.socket_type if settings.socket_type != 1 else 0
    try:
        found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, family=family, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise resolution_error(address, exc) from exc
    return [(family, kind, sockaddr) for family, kind, _, _, sockaddr in found]


async def _connected(settings: Settings, family: int, kind: int, sockaddr: Any) -> socket.socket:
    sock = None
    try:
        sock = socket.socket(family, kind)
        sock.setblocking(False)
        set_socket_options(sock, settings)
        await asyncio.get_running_loop().sock_connect(sock, sockaddr)
        return sock
    except BaseException as exc:
        if sock is not None:
            sock.close()
        if not isinstance(exc, OSError):
            raise
        # asyncio's own text, "Connect call failed", does not say why.
        error = connection_error(exc if exc.errno is None else OSError(exc.errno, os.strerror(exc.errno)))
        error.unreachable = exc.errno not in LOCAL
        raise error from exc


async def _opened(
    sock: socket.socket, settings: Settings, address: Address, limits: WaitLimits, silence_check: Optional[SilenceCheck], key: Optional[bytes]
) -> Connection:
    try:
        if settings.tls is not None:
            try:
                sock = tls_context(settings.tls).wrap_socket(sock, server_hostname=address.host, do_handshake_on_connect=False)
            except ConnectionResetError as exc:
                raise connection_error(exc)
            except (OSError, ValueError, KeyError, TypeError) as exc:
                raise tls_options_error(exc) from exc
        connection = Connection(sock, limits, settings.max_array_bytes, silence_check, key)
    except BaseException:
        sock.close()
        raise
    try:
        if settings.tls is not None:
            await connection.tls_handshake()
        connection.start()
        return connection
    except ConnectionError as exc:
        connection.close()
        explain_tls(exc, address)
        raise
    except BaseException:
        connection.close()
        raise
