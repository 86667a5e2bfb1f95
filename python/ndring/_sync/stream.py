"""One non-blocking socket. Every wait is bounded on the monotonic clock, however often signals
interrupt it.

Only exceptions of the socket call itself become connection errors. What a signal handler raises is
not caught.
"""
from __future__ import annotations

import errno
import select
import socket
import ssl
from time import monotonic
from typing import Any, Callable, Generator, Iterable, Optional, Sequence

from .._core.resp import Buffer, Reading, T
from .._core.sockets import WOULD_BLOCK, Outgoing, bad_memory_error, connection_error, tls_pieces
from .._core.tls import is_closed
from .._core.wait_limits import WaitLimits
from .._exception_origin import is_socket_error
from .._exceptions import ConnectionError, TimeoutError

#: Called while a node is silent, with the key of the command and the time by which the call must be
#: over. Raises if waiting for the node is useless.
SilenceCheck = Callable[[Optional[bytes], float], None]


class Stream:
    """``key``: of the command under way. ``silence_check``: see above; None if there is no other
    node to ask."""

    __slots__ = ("sock", "limits", "key", "silence_check", "_first_wait", "_tls", "_readable", "_writable")

    def __init__(self, sock: Any, limits: WaitLimits, silence_check: Optional[SilenceCheck] = None, key: Optional[bytes] = None) -> None:
        self.sock = sock
        self.limits = limits
        self.key = key
        self.silence_check = silence_check
        self._first_wait = 0.0
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._readable = _poller(sock, True)
        self._writable = _poller(sock, False)

    def begin(self, end: Optional[float], key: Optional[bytes]) -> None:
        now = monotonic()
        self._first_wait = self.limits.begin(now, end)
        self.key = key

    def is_quiet(self) -> bool:
        """Whether the node has neither closed the connection nor sent unexpected data."""
        if not self._tls:
            return not self._readable(0)
        return not self.sock.pending() and (not self._readable(0) or self._has_no_data())

    def _has_no_data(self) -> bool:
        """Whether what the node has sent are only messages of TLS, such as new keys."""
        try:
            self.sock.recv_into(bytearray(1))
        except OSError as exc:
            if not is_socket_error(exc):
                raise
            return isinstance(exc, ssl.SSLWantReadError)
        return False

    def wait(self, reading: bool) -> None:
        """Waits until the socket is ready. Raises TimeoutError, or what ``silence_check`` raises."""
        self._first_wait = 0.0
        ready, limits = self._readable if reading else self._writable, self.limits
        while True:
            now = monotonic()
            left = limits.remaining(now)
            if left <= 0:
                error = TimeoutError(limits.describe(now))
                error.unreachable = not limits.deadline_passed(now) or not limits.heard
                raise error
            if ready(left if self.silence_check is None else min(left, limits.until_silence_check(now))):
                return
            if self.silence_check is not None and limits.silence_check_due(monotonic()):
                self.silence_check(self.key, limits.end)

    def recv_into(self, target: memoryview) -> int:
        """Receives at least one byte. 0 means that the node has closed the connection."""
        first, self._first_wait = self._first_wait, 0.0
        # For nearly all replies the first poll suffices, which needs no clock.
        if self._tls:
            self._before_tls(first)
        elif not (first > 0 and self._readable(first)):
            self.wait(True)
        while True:
            try:
                count: int = self.sock.recv_into(target)
            except OSError as exc:
                if not is_socket_error(exc):
                    raise
                self._wait_or_raise(exc, True)
                continue
            self.limits.heard = True
            if self.limits.made_progress(count):
                self.limits.restart(monotonic())
            return count

    def _before_tls(self, first: float) -> None:
        """TLS may have bytes that poll does not see, and what poll sees may be none. So only the
        first wait is here, and the others when there are none."""
        if first <= 0:
            self._check_deadline()
        elif not self.sock.pending():
            self._readable(first)

    def _check_deadline(self) -> None:
        """Bytes may come and go without a wait, as fast as TLS takes them."""
        now, limits = monotonic(), self.limits
        if limits.deadline_passed(now):
            error = TimeoutError(limits.describe(now))
            error.unreachable = not limits.heard
            raise error

    def read(self, reading: Reading[T]) -> T:
        """Receives what a reply needs, and returns the reply."""
        try:
            target = next(reading)
            while True:
                target = reading.send(self.recv_into(target))
        except StopIteration as stop:
            reply: T = stop.value
            return reply

    def run(self, steps: Generator[Any, Any, Any]) -> None:
        """Sends and receives what an Exchange asks for, and waits as a Listener does."""
        try:
            step = next(steps)
            while True:
                if type(step) is list:
                    step = steps.send(self.send(step))
                elif type(step) is float:
                    step = steps.send(self._tls and self.sock.pending() > 0 or self._readable(step))
                else:
                    step = steps.send(self.recv_into(step))
        except StopIteration:
            pass

    def send(self, buffers: Sequence[Buffer]) -> Optional[ConnectionError]:
        """Sends all buffers. Returns an error if the node has closed the connection, because its
        last reply is still to be read."""
        if self._tls:
            return self._send_each(tls_pieces(buffers))
        if len(buffers) > 1 and hasattr(self.sock, "sendmsg"):
            return self._send_many(buffers)
        return self._send_each(buffers)

    def _send_each(self, buffers: Iterable[Buffer]) -> Optional[ConnectionError]:
        for buffer in buffers:
            left = memoryview(buffer)
            while len(left):
                try:
                    count = self.sock.send(left)
                except OSError as exc:
                    if not is_socket_error(exc):
                        raise
                    if is_closed(exc):
                        return connection_error(exc)
                    self._wait_or_raise(exc, False)
                    continue
                if count == len(left) and not self._tls:
                    break
                left = left[count:]
                self._progress(count)
        return None

    def _send_many(self, buffers: Sequence[Buffer]) -> Optional[ConnectionError]:
        outgoing = Outgoing(buffers)
        while outgoing:
            try:
                count = self.sock.sendmsg(outgoing.vector())
            except OSError as exc:
                if not is_socket_error(exc):
                    raise
                if is_closed(exc):
                    return connection_error(exc)
                self._wait_or_raise(exc, False)
                continue
            self._progress(count)
            outgoing.sent(count)
        return None

    def _progress(self, count: int) -> None:
        """Records that bytes were sent. If that took long, the precomputed first wait is no longer valid."""
        if self.limits.made_progress(count):
            self._first_wait = 0.0
            self.limits.restart(monotonic())
            if self._tls:
                self._check_deadline()

    def tls_handshake(self) -> None:
        """Performs the TLS handshake."""
        while True:
            try:
                self.sock.do_handshake()
            except OSError as exc:
                if not is_socket_error(exc):
                    raise
                self._wait_or_raise(exc, False)
                continue
            return

    def _wait_or_raise(self, exc: OSError, reading: bool) -> None:
        """Waits if the error says that the socket is not ready, else raises it as one of ours."""
        if isinstance(exc, ssl.SSLWantReadError):
            self.wait(True)
        elif isinstance(exc, ssl.SSLWantWriteError):
            self.wait(False)
        elif exc.errno in WOULD_BLOCK and not isinstance(exc, ssl.SSLError):
            self.wait(reading)
        elif exc.errno == errno.EFAULT:
            raise bad_memory_error(exc, reading)
        else:
            raise connection_error(exc)

    def shutdown(self) -> None:
        """Ends the connection, possibly while another thread uses it, which then sees a closed
        connection. Never raises."""
        try:
            if self._tls:  # SSLSocket.shutdown would first drop TLS, and the other thread would go on in plain text
                secured: ssl.SSLSocket = self.sock
                super(ssl.SSLSocket, secured).shutdown(socket.SHUT_RDWR)
            else:
                self.sock.shutdown(socket.SHUT_RDWR)
        except (OSError, ValueError):
            pass


def _poller(sock: Any, reading: bool) -> Callable[[float], bool]:
    """Returns a function that waits up to a number of seconds and returns whether the socket is ready."""
    if not hasattr(select, "poll"):  # on Windows, and under eventlet, which removes it
        both = ([sock], []) if reading else ([], [sock])
        return lambda seconds: any(select.select(*both, [], None if seconds > 1e6 else seconds))
    poller = select.poll()
    poller.register(sock, select.POLLIN if reading else select.POLLOUT)
    poll = poller.poll
    # Rounded up, because a wait that ends too early would be repeated at once.
    return lambda seconds: bool(poll(None if seconds > 1e6 else int(seconds * 1000) + 1 if seconds else 0))
