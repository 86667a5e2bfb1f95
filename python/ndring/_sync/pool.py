"""The connections to one node, kept between calls.

A connection that was used a moment ago is reused without a check. One that was idle for longer is
checked first, because the node may have closed it. An interrupted call may lose its connection at
any point: Python then drops the object, which closes the connection and frees its place.
"""
from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections import deque
from typing import Any, Deque, Optional

from .._core.login import Login
from .._core.resp import ReplyReader
from .._core.settings import Settings
from .._core.slots import Address
from .._exceptions import ConnectionError
from .connect import connect
from .stream import SilenceCheck, Stream

_TRUSTED_IDLE = 0.5  # s; a connection that was idle for less is reused without a check
_COLLECT_INTERVAL = 1.0  # s between two garbage collections that find no lost connection


class Connection:
    """A connection and the reader for its replies."""

    __slots__ = ("stream", "reader", "last_used", "closed", "__weakref__")

    def __init__(self) -> None:
        self.stream: Any = None
        self.reader: Any = None
        self.last_used = 0.0
        self.closed = False  # possibly by close() during a call; it no longer counts against max_connections

    def open(self, settings: Settings, address: Address, end: Optional[float], silence_check: Optional[SilenceCheck], key: Optional[bytes]) -> None:
        """Connects and logs in. Raises NdringError."""
        stream: Stream = connect(settings, address, end, silence_check, key)
        self.stream = stream
        stream.limits.silence_timeout = float("inf") if settings.socket_timeout is None else settings.socket_timeout
        stream.begin(end, key)
        self.reader = ReplyReader(settings.max_array_bytes)
        login = Login(settings)
        stream.run(login.steps(self.reader))

    def close(self) -> None:
        self.closed = True
        if self.stream is not None:
            self.stream.shutdown()
            self.stream.sock.close()

    def __del__(self) -> None:
        if getattr(self, "stream", None) is not None:  # as socket.__del__ does, but without its ResourceWarning, as after an interrupted call
            try:
                self.stream.sock.close()
            except OSError:
                pass


class ConnectionPool:
    """Safe to use from several threads, after a fork, and in signal handlers."""

    def __init__(self, settings: Settings, address: Address, silence_check: Optional[SilenceCheck]) -> None:
        self._settings = settings
        self._address = address
        self.ever_connected = False
        self._silence_check = silence_check
        self._retired = False
        self._next_collect = 0.0  # earliest time for the next garbage collection
        self.reset_after_fork()
        _all.add(self)

    def reset_after_fork(self) -> None:
        """Drops the parent's connections without sending anything to the node."""
        self._idle: Deque[Connection] = deque()
        self._lock = threading.RLock()  # guards _open; reentrant, since a signal handler may make a call
        self._open: "weakref.WeakSet[Connection]" = weakref.WeakSet()  # connected or connecting

    def acquire(self, end: Optional[float] = None, key: Optional[bytes] = None) -> Connection:
        """Returns a connection, which the caller must release. ``key``: of the command it is for.
        Raises NdringError."""
        while True:
            try:
                connection = self._idle.pop()  # the most recently used one
            except IndexError:
                break
            if not connection.closed and (time.monotonic() - connection.last_used < _TRUSTED_IDLE or connection.stream.is_quiet()):
                return connection
            self._discard(connection)
        connection = self._create()
        try:
            connection.open(self._settings, self._address, end, self._silence_check, key)
        except BaseException:
            self._discard(connection)
            raise
        self.ever_connected = True
        return connection

    def _create(self) -> Connection:
        connection = self._try_add()
        if connection is None and time.monotonic() >= self._next_collect:
            gc.collect()  # may free connections of interrupted calls
            connection = self._try_add()
            if connection is None:
                self._next_collect = time.monotonic() + _COLLECT_INTERVAL
        if connection is None:
            raise ConnectionError(f"all {self._settings.max_connections} connections to {self._address} are in use (max_connections)")
        return connection

    def _try_add(self) -> Optional[Connection]:
        """Returns a new connection, or None if max_connections are open."""
        most = self._settings.max_connections
        with self._lock:
            if most is not None and sum(not connection.closed for connection in self._open) >= most:
                return None
            connection = Connection()
            self._open.add(connection)
            return connection

    def release(self, connection: Connection, reusable: bool) -> None:
        """Takes back a connection. Closes it unless it is reusable, and if close() or retire() was
        called meanwhile."""
        if reusable and not connection.closed and not self._retired:
            connection.last_used = time.monotonic()
            self._idle.append(connection)
            if not connection.closed:
                return
            try:  # close() ran in between and may have missed it
                self._idle.remove(connection)
            except ValueError:
                return
        self._discard(connection)

    def _discard(self, connection: Connection) -> None:
        connection.close()
        with self._lock:
            self._open.discard(connection)

    def close(self) -> None:
        """Closes all connections, also those in use: calls under way continue on new ones."""
        with self._lock:
            pool = list(self._open)
        for connection in pool:
            connection.closed = True
            if connection.stream is not None:
                connection.stream.shutdown()
        self._close_idle()

    def retire(self) -> None:
        """Closes idle connections now and the others when they are released."""
        self._retired = True
        self._close_idle()

    def _close_idle(self) -> None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            self._discard(connection)


_all: "weakref.WeakSet[ConnectionPool]" = weakref.WeakSet()


def _after_fork() -> None:
    for pool in list(_all):
        pool.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
