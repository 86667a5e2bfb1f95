"""One non-blocking socket. Every wait ends by a moment on the monotonic clock, however often signals interrupt it.

Only what the call on the socket raises becomes an error of the connection; what a signal handler raises passes through.
"""
from __future__ import annotations

import errno
import select
import socket
import ssl
from collections import deque
from time import monotonic
from typing import Any, Callable, Deque, List, Optional, Sequence, Union

from ._exceptions import ConnectionError, DecodeError, EncodeError, NdringError, TimeoutError
from ._interrupts import is_of_socket
from ._patience import Patience

Buffer = Union[bytes, memoryview]
#: Is asked whether a silent node is worth waiting for, with the key that the command concerns and the moment by which the call is over;
#: raises if it is not.
Doubt = Callable[[Optional[bytes], float], None]

_MAX_VECTOR = 512  # buffers given to the system at once; Linux takes 1024
_MAX_TLS = 1 << 20  # bytes given to TLS at once
_AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)


class Stream:
    """``key``: of the command under way. ``doubt``: see above; None of it means that there is no other node to ask."""

    __slots__ = ("sock", "patience", "key", "doubt", "_first", "_tls", "_readable", "_writable")

    def __init__(self, sock: Any, patience: Patience, doubt: Optional[Doubt] = None, key: Optional[bytes] = None) -> None:
        self.sock = sock
        self.patience = patience
        self.key = key
        self.doubt = doubt
        self._first = 0.0
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._readable = _waiter(sock, True)
        self._writable = _waiter(sock, False)

    def begin(self, end: Optional[float], key: Optional[bytes]) -> None:
        now = monotonic()
        self._first = self.patience.begin(now, end)
        self.key = key

    def idle(self) -> bool:
        """Whether the node has neither sent anything that was not asked for nor closed the connection."""
        return not self._readable(0)

    def wait(self, reading: bool) -> None:
        """Waits until the socket is ready. Raises TimeoutError, or what ``doubt`` raises."""
        self._first = 0.0
        ready, patience = self._readable if reading else self._writable, self.patience
        while True:
            now = monotonic()
            left = patience.left(now)
            if left <= 0:
                error = TimeoutError(patience.reason(now))
                error.unreachable = not patience.ended(now) or not patience.heard
                raise error
            if ready(left if self.doubt is None else min(left, patience.until_doubt(now))):
                return
            if self.doubt is not None and patience.doubts(monotonic()):
                self.doubt(self.key, patience.end)

    def recv_into(self, target: memoryview) -> int:
        """Receives at least one byte; 0 means that the node has closed the connection."""
        first, self._first = self._first, 0.0
        # TLS may hold bytes that the socket does not show. The first look is the only one of nearly all replies: it needs no clock.
        if not self._tls and not (first > 0 and self._readable(first)):
            self.wait(True)
        while True:
            try:
                count: int = self.sock.recv_into(target)
            except OSError as exc:
                if not is_of_socket(exc):
                    raise
                self._blocked(exc, True)
                continue
            self.patience.heard = True
            if self.patience.moved(count):
                self.patience.renew(monotonic())
            return count

    def send(self, buffers: Sequence[Buffer]) -> Optional[ConnectionError]:
        """Sends all buffers. Returns an error where the node has closed the connection: what it said before is still to be read."""
        if len(buffers) > 1 and not self._tls and hasattr(self.sock, "sendmsg"):
            return self._send_many(buffers)
        for buffer in buffers:
            left = memoryview(buffer)
            while len(left):
                try:
                    count = self.sock.send(left[:_MAX_TLS] if self._tls else left)
                except OSError as exc:
                    if not is_of_socket(exc):
                        raise
                    if exc.errno in (errno.EPIPE, errno.ECONNRESET):
                        return failure(exc)
                    self._blocked(exc, False)
                    continue
                if count == len(left):
                    break
                left = left[count:]
                self._progress(count)
        return None

    def _send_many(self, buffers: Sequence[Buffer]) -> Optional[ConnectionError]:
        waiting: Deque[Buffer] = deque(buffers)
        while waiting:
            vector: List[Buffer] = [waiting[i] for i in range(min(len(waiting), _MAX_VECTOR))]
            try:
                count = self.sock.sendmsg(vector)
            except OSError as exc:
                if not is_of_socket(exc):
                    raise
                if exc.errno in (errno.EPIPE, errno.ECONNRESET):
                    return failure(exc)
                self._blocked(exc, False)
                continue
            self._progress(count)
            while waiting and count >= len(waiting[0]):
                count -= len(waiting.popleft())
            if count:
                waiting[0] = memoryview(waiting[0])[count:]
        return None

    def _progress(self, count: int) -> None:
        """Notes that so many bytes were sent. Where they took time, the limit of the first look is too late."""
        if self.patience.moved(count):
            self._first = 0.0
            self.patience.renew(monotonic())

    def handshake(self) -> None:
        """Does TLS' handshake."""
        while True:
            try:
                self.sock.do_handshake()
            except OSError as exc:
                if not is_of_socket(exc):
                    raise
                self._blocked(exc, False)
                continue
            return

    def _blocked(self, exc: OSError, reading: bool) -> None:
        """Waits, if that is what the error asks for. Raises it otherwise."""
        if isinstance(exc, ssl.SSLWantReadError):
            self.wait(True)
        elif isinstance(exc, ssl.SSLWantWriteError):
            self.wait(False)
        elif exc.errno in _AGAIN and not isinstance(exc, ssl.SSLError):
            self.wait(reading)
        elif exc.errno == errno.EFAULT:
            raise _unreachable_memory(exc, reading)
        else:
            raise failure(exc)

    def cut(self) -> None:
        """Ends the connection under the thread that uses it, which then sees that the node is gone. Never raises."""
        try:
            if self._tls:  # its own shutdown takes TLS away first: the other thread would go on in plain text
                secured: ssl.SSLSocket = self.sock
                super(ssl.SSLSocket, secured).shutdown(socket.SHUT_RDWR)
            else:
                self.sock.shutdown(socket.SHUT_RDWR)
        except (OSError, ValueError):
            pass


def failure(exc: OSError) -> ConnectionError:
    """Returns our exception for the system's."""
    error = ConnectionError(f"{exc.strerror or exc}" if exc.errno is None else f"{exc.strerror or exc} (error {exc.errno})")
    error.__cause__ = exc
    return error


def _unreachable_memory(exc: OSError, reading: bool) -> NdringError:
    error: NdringError
    if reading:
        error = DecodeError("the memory of out cannot be written: is it a memmap of a file that is shorter now?")
    else:
        error = EncodeError("the memory of the array cannot be read: is it a memmap of a file that is shorter now? Nothing was stored")
    error.__cause__ = exc
    return error


def _waiter(sock: Any, reading: bool) -> Callable[[float], bool]:
    """Returns a function that waits for up to so many s, and says whether the socket is ready."""
    if not hasattr(select, "poll"):  # on Windows, and under eventlet, which takes it away
        both = ([sock], []) if reading else ([], [sock])
        return lambda seconds: any(select.select(*both, [], None if seconds > 1e6 else seconds))
    poller = select.poll()
    poller.register(sock, select.POLLIN if reading else select.POLLOUT)
    poll = poller.poll
    # Rounded up, since a wait that ends too early would be repeated at once.
    return lambda seconds: bool(poll(None if seconds > 1e6 else int(seconds * 1000) + 1 if seconds else 0))
