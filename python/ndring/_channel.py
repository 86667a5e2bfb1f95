"""Connections on loan from redis-py's pool, kept between calls.

To borrow a connection from the pool and to give it back costs more than a small command does, most of it a look at whether the node has
closed it meanwhile. So a connection that was used a moment ago is kept with its reader, and goes back to the pool when it was idle for longer.
"""
from __future__ import annotations

import os
import socket
import struct
import sys
import time
import weakref
from collections import deque
from typing import Any, Deque, Optional, Sequence

from ._wire import ReplyReader

_FRESH = 0.5  # s; for so long an idle connection is taken as it is
# The system itself ends a call that takes too long, where it can: Python would ask it before each call whether it can be done.
_TIMEOUT_BY_SYSTEM = sys.platform == "linux"


class Channel:
    """One connection and the reader of its replies."""

    __slots__ = ("connection", "sock", "reader", "used", "_timeout", "_by_system")

    def __init__(self, connection: Any, max_bytes: int) -> None:
        self.connection = connection
        self.sock = connection._sock
        self._timeout = self.sock.gettimeout()
        # Not for TLS, and not for the sockets of gevent and the like, which only look as if they waited.
        self._by_system = bool(_TIMEOUT_BY_SYSTEM and self._timeout and type(self.sock).__module__ == "socket")
        if self._by_system:
            self.limit(None)
            self.sock.settimeout(None)
        self.reader = ReplyReader(self.sock, max_bytes)
        self.used = 0.0

    def limit(self, seconds: Optional[float]) -> None:
        """Lets the node be silent for so long, if that is shorter than what it may else, which None restores."""
        timeout = self._timeout if seconds is None else min(seconds, self._timeout or seconds)
        if not self._by_system:
            self.sock.settimeout(timeout)
            return
        whole = int(timeout)
        limit = struct.pack("@ll", whole, max(1, int((timeout - whole) * 1e6)))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


class Channels:
    """The connections to one node. Safe across threads and forks, as redis-py's pool is."""

    def __init__(self, pool: Any, arguments: Sequence[str], max_bytes: int) -> None:
        self._pool = pool
        self._arguments = arguments
        self._max_bytes = max_bytes
        self._idle: Deque[Channel] = deque()
        self._retired = False
        _all.add(self)

    def borrow(self) -> Channel:
        """Returns a connection, which the caller must give back. Raises what redis-py raises."""
        while True:
            try:
                channel = self._idle.pop()  # the one that was used last
            except IndexError:
                return Channel(self._pool.get_connection(*self._arguments), self._max_bytes)
            if time.monotonic() - channel.used < _FRESH:
                return channel
            self._return(channel)  # redis-py looks at whether it is still there

    def give_back(self, channel: Channel, in_step: bool) -> None:
        """Takes a connection back; one that is out of step, or that close() has ended meanwhile, is closed."""
        if in_step and channel.connection._sock is channel.sock and not self._retired:
            channel.used = time.monotonic()
            self._idle.append(channel)
            return
        channel.connection.disconnect()
        self._pool.release(channel.connection)

    def _return(self, channel: Channel) -> None:
        channel.sock.settimeout(channel.connection.socket_timeout)
        self._pool.release(channel.connection)

    def close(self) -> None:
        while self._idle:
            try:
                self._return(self._idle.pop())
            except IndexError:  # another thread was faster
                break
        self._pool.disconnect()

    def retire(self) -> None:
        """Closes what is idle now, and the rest when it is given back."""
        self._retired = True
        while self._idle:
            try:
                self.give_back(self._idle.pop(), False)
            except IndexError:
                break
        self._pool.disconnect(inuse_connections=False)

    def forget(self) -> None:
        """Drops what belongs to the parent process, without a word to the node."""
        self._idle = deque()


_all: "weakref.WeakSet[Channels]" = weakref.WeakSet()


def _after_fork() -> None:
    for channels in list(_all):
        channels.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
