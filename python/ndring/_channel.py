"""The connections to one node, kept between calls.

A connection that was used a moment ago is taken as it is; one that was idle for longer is looked at first, since the node may have
closed it. An interrupted call may lose its connection at any point: what it has lost is closed when Python drops it, and no longer counts.
"""
from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections import deque
from typing import Any, Deque, Optional

from ._connect import connect
from ._exceptions import ConnectionError, DecodeError
from ._login import Login
from ._settings import Settings
from ._slots import Address
from ._stream import Doubt, Stream
from ._wire import ReplyReader

_FRESH = 0.5  # s; for so long an idle connection is taken as it is
_COLLECT_PAUSE = 1.0  # s between two searches in vain for connections that are lost


class Channel:
    """One connection and the reader of its replies."""

    __slots__ = ("stream", "reader", "used", "ended", "__weakref__")

    def __init__(self) -> None:
        self.stream: Any = None
        self.reader: Any = None
        self.used = 0.0
        self.ended = False  # maybe by close(), while it was used; it does not count any more then

    def open(self, settings: Settings, address: Address, end: Optional[float], doubt: Optional[Doubt], key: Optional[bytes]) -> None:
        """Connects and logs in. Raises NdringError."""
        stream: Stream = connect(settings, address, end, doubt, key)
        self.stream = stream
        stream.patience.silence = float("inf") if settings.socket_timeout is None else settings.socket_timeout
        stream.begin(end, key)
        self.reader = ReplyReader(stream, settings.max_array_bytes)
        login = Login(settings)
        broken = stream.send(login.buffers)
        try:
            for number in range(len(login.words)):
                login.check(number, self.reader.reply)
        except ConnectionError as exc:
            raise broken or exc
        if self.reader.pending:
            raise DecodeError("the node says more than it was asked")

    def close(self) -> None:
        self.ended = True
        if self.stream is not None:
            self.stream.cut()
            self.stream.sock.close()

    def __del__(self) -> None:
        if getattr(self, "stream", None) is not None:  # as socket.__del__ does, but without its ResourceWarning: the call was interrupted
            try:
                self.stream.sock.close()
            except OSError:
                pass


class Channels:
    """Safe across threads, forks and signals."""

    def __init__(self, settings: Settings, address: Address, doubt: Optional[Doubt]) -> None:
        self._settings = settings
        self._address = address
        self._doubt = doubt
        self._retired = False
        self._collect_again = 0.0  # not before that moment, since it was in vain
        self.opened = False  # whether there ever was a connection
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Drops what belongs to the parent process, without a word to the node."""
        self._idle: Deque[Channel] = deque()
        self._lock = threading.RLock()  # guards _open; a signal handler may make a call too
        self._open: "weakref.WeakSet[Channel]" = weakref.WeakSet()  # all that are connected or about to be

    def borrow(self, end: Optional[float] = None, key: Optional[bytes] = None) -> Channel:
        """Returns a connection, which the caller must give back. ``key``: what it is for. Raises NdringError."""
        while True:
            try:
                channel = self._idle.pop()  # the one that was used last
            except IndexError:
                break
            if not channel.ended and (time.monotonic() - channel.used < _FRESH or channel.stream.idle()):
                return channel
            self._end(channel)
        channel = self._new()
        try:
            channel.open(self._settings, self._address, end, self._doubt, key)
        except BaseException:
            self._end(channel)
            raise
        self.opened = True
        return channel

    def _new(self) -> Channel:
        channel = self._added()
        if channel is None and time.monotonic() >= self._collect_again:
            gc.collect()  # of those that interrupted calls have lost
            channel = self._added()
            if channel is None:
                self._collect_again = time.monotonic() + _COLLECT_PAUSE
        if channel is None:
            raise ConnectionError(f"all {self._settings.max_connections} connections to {self._address} are in use (max_connections)")
        return channel

    def _added(self) -> Optional[Channel]:
        """Returns a new connection, None where there are as many as there may be."""
        most = self._settings.max_connections
        with self._lock:
            if most is not None and sum(not channel.ended for channel in self._open) >= most:
                return None
            channel = Channel()
            self._open.add(channel)
            return channel

    def give_back(self, channel: Channel, in_step: bool) -> None:
        """Takes a connection back; one that is out of step, or that close() has ended meanwhile, is closed."""
        if in_step and not channel.ended and not self._retired:
            channel.used = time.monotonic()
            self._idle.append(channel)
            if not channel.ended:
                return
            try:  # close() came in between, and may not have seen it
                self._idle.remove(channel)
            except ValueError:
                return
        self._end(channel)

    def _end(self, channel: Channel) -> None:
        channel.close()
        with self._lock:
            self._open.discard(channel)

    def close(self) -> None:
        """Ends all connections, also under threads that use them: their calls go on with new ones."""
        with self._lock:
            channels = list(self._open)
        for channel in channels:
            channel.ended = True
            if channel.stream is not None:
                channel.stream.cut()
        self._drain()

    def retire(self) -> None:
        """Closes what is idle now, and the rest when it is given back."""
        self._retired = True
        self._drain()

    def _drain(self) -> None:
        while True:
            try:
                channel = self._idle.pop()
            except IndexError:
                return
            self._end(channel)


_all: "weakref.WeakSet[Channels]" = weakref.WeakSet()


def _after_fork() -> None:
    for channels in list(_all):
        channels.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
