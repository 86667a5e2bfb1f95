"""Opens a connection to one node: resolves the name, connects, does the TLS handshake, all within
the time limits."""
from __future__ import annotations

import asyncio
import errno
import os
import socket
from time import monotonic
from typing import Any, List, Optional, Tuple

from .._core.driver import SilenceCheck
from .._core.settings import Settings
from .._core.slots import Address
from .._core.sockets import LOCAL, connection_error, resolution_error, set_socket_options
from .._core.tls import TlsOptions, explain_handshake, explain_silence, options_error
from .._core.wait_limits import WaitLimits
from .._exceptions import ConnectionError, NdringError, TimeoutError
from .connection import Connection
from .work import wake


async def connect(
    settings: Settings, address: Address, end: Optional[float], silence_check: Optional[SilenceCheck] = None, key: Optional[bytes] = None
) -> Connection:
    """Returns a new connection. Raises ConnectionError or TimeoutError with ``unreachable`` set if
    the node cannot be reached, as opposed to a local problem."""
    limit = settings.socket_connect_timeout if settings.socket_connect_timeout is not None else settings.socket_timeout
    began = monotonic()
    found = await _addresses(settings, address, WaitLimits(limit, began, end))
    error: Optional[NdringError] = None
    for number, (family, kind, sockaddr) in enumerate(found):
        # The remaining addresses share the remaining time, or else the first one could use all of it.
        share = None if limit is None else max(0.01, (began + limit - monotonic()) / (len(found) - number))
        limits = WaitLimits(share, monotonic(), end)
        try:
            sock = await _connected(settings, family, kind, sockaddr, limits)
            return await _opened(sock, settings, address, limits, silence_check, key)
        except (ConnectionError, TimeoutError) as exc:
            error = exc
            if exc.hopeless:
                break
    assert error is not None
    raise error


async def _in_time(awaited: asyncio.Future[Any], limits: WaitLimits) -> None:
    """Waits until a future is done. Does not use asyncio.wait_for, which before Python 3.12 ignores
    that its caller is cancelled if the future is done by then."""
    await asyncio.wait({awaited}, timeout=min(limits.remaining(monotonic()), 1e6))
    if not awaited.done():
        error = TimeoutError(limits.describe(monotonic()))
        error.unreachable = True
        raise error


async def _addresses(settings: Settings, address: Address, limits: WaitLimits) -> List[Tuple[int, int, Any]]:
    if settings.path is not None:
        return [(socket.AF_UNIX, socket.SOCK_STREAM, settings.path)]
    family = settings.socket_type if settings.socket_type != 1 else 0
    loop = asyncio.get_running_loop()
    looking = asyncio.ensure_future(loop.getaddrinfo(address.host, address.port, family=family, type=socket.SOCK_STREAM))
    try:
        await _in_time(looking, limits)
        return [(family, kind, sockaddr) for family, kind, _, _, sockaddr in looking.result()]
    except (OSError, UnicodeError) as exc:
        raise resolution_error(address, exc) from exc
    finally:
        looking.cancel()  # if it has failed, this also says that its error is known


async def _connected(settings: Settings, family: int, kind: int, sockaddr: Any, limits: WaitLimits) -> socket.socket:
    sock = None
    try:
        sock = socket.socket(family, kind)
        sock.setblocking(False)
        set_socket_options(sock, settings)
        code = sock.connect_ex(sockaddr)
        if code in (errno.EINPROGRESS, errno.EINTR):
            await _writable(sock.fileno(), limits)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        return sock
    except BaseException as exc:
        if sock is not None:
            sock.close()
        if not isinstance(exc, OSError):
            raise
        error = connection_error(exc)
        error.unreachable = exc.errno not in LOCAL
        raise error from exc


async def _writable(fd: int, limits: WaitLimits) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(fd, wake, ready)
    try:
        await _in_time(ready, limits)
    finally:
        loop.remove_writer(fd)


async def _opened(
    sock: socket.socket, settings: Settings, address: Address, limits: WaitLimits, silence_check: Optional[SilenceCheck], key: Optional[bytes]
) -> Connection:
    try:
        if settings.tls is not None:
            sock = _secured(sock, settings.tls, address)
        connection = Connection(sock, limits, settings.max_array_bytes, silence_check, key)
    except BaseException:
        sock.close()
        raise
    try:
        if settings.tls is not None:
            await _shake_hands(connection, address)
        connection.start()
        return connection
    except BaseException:
        connection.close()
        raise


def _secured(sock: socket.socket, options: TlsOptions, address: Address) -> socket.socket:
    try:
        context = options.context()
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise options_error(exc) from exc
    try:
        return context.wrap_socket(sock, server_hostname=address.host, do_handshake_on_connect=False)
    except ValueError as exc:
        raise options_error(exc) from exc
    except OSError as exc:  # the node closed the connection
        raise connection_error(exc)


async def _shake_hands(connection: Connection, address: Address) -> None:
    try:
        await connection.tls_handshake()
    except ConnectionError as exc:
        explain_handshake(exc, address)
        raise
    except TimeoutError as exc:
        explain_silence(exc)
        raise
