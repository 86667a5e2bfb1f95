"""The connections of one event loop to one node, kept between calls."""
from __future__ import annotations

import asyncio
import weakref
from collections import deque
from time import monotonic
from typing import Deque, MutableSet, Optional

from .._core.driver import SilenceCheck
from .._core.login import Login
from .._core.settings import Settings
from .._core.slots import Address
from .._exceptions import ConnectionError
from .connect import connect
from .connection import Connection

#: To one node, unless max_connections says otherwise. More calls wait until one is free.
DEFAULT_CONNECTIONS = 64


class ConnectionPool:
    """Each call has a place, of which there are ``max_connections``, and a connection while it is
    under way."""

    def __init__(self, settings: Settings, address: Address, silence_check: Optional[SilenceCheck]) -> None:
        self._settings = settings
        self._address = address
        self._silence_check = silence_check
        self._most = DEFAULT_CONNECTIONS if settings.max_connections is None else settings.max_connections
        self._taken = 0  # places
        self._waiting: Deque[asyncio.Future[None]] = deque()  # calls that wait for a place
        self._idle: Deque[Connection] = deque()
        self._open: MutableSet[Connection] = weakref.WeakSet()
        self.retired = False

    async def acquire(self, end: Optional[float], key: Optional[bytes]) -> Connection:
        """Returns a connection, which the caller must release. ``key``: of the command it is for.
        Raises NdringError."""
        if self._taken < self._most:
            self._taken += 1
        else:
            await self._wait_for_place(end)
        try:
            while self._idle:
                connection = self._idle.pop()  # the most recently used one
                if connection.usable:
                    return connection
                connection.close()
            return await self._connect(end, key)
        except BaseException:
            self._give_up_place()
            raise

    async def _wait_for_place(self, end: Optional[float]) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        limit = self._settings.socket_timeout
        left = min(1e6 if limit is None else limit, 1e6 if end is None else end - monotonic())
        try:
            await asyncio.wait({place}, timeout=left)
        except BaseException:
            if place.done():
                self._give_up_place()
            place.cancel()
            raise
        if not place.done():
            place.cancel()
            raise ConnectionError(f"all {self._most} connections to {self._address} are in use (max_connections)")

    def _give_up_place(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)  # it is the waiting call's now
                return
        self._taken -= 1

    async def _connect(self, end: Optional[float], key: Optional[bytes]) -> Connection:
        settings = self._settings
        connection = await connect(settings, self._address, end, self._silence_check, key)
        self._open.add(connection)
        try:
            connection.limits.silence_timeout = float("inf") if settings.socket_timeout is None else settings.socket_timeout
            await connection.run(Login(settings).steps(connection.reader), end, key)
        except BaseException:
            connection.close()
            raise
        return connection

    def release(self, connection: Connection, reusable: bool) -> None:
        """Takes back a connection. Closes it unless it is reusable, and if retire() was called meanwhile."""
        if reusable and not self.retired and connection.usable:
            self._idle.append(connection)
        else:
            connection.close()
        self._give_up_place()

    def close(self) -> None:
        """Closes all connections, also those in use: calls under way continue on new ones. Those that
        wait here for a place open connections that are closed after their use."""
        self.retired = True
        self._idle.clear()
        for connection in list(self._open):
            connection.close()

    def retire(self) -> None:
        """Closes idle connections now and the others when they are released."""
        self.retired = True
        while self._idle:
            self._idle.pop().close()
