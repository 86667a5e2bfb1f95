"""One connection of an event loop. What arrives goes straight into the memory that a reply asks for."""
from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import weakref
from time import monotonic
from typing import Any, List, Optional, Set

from .._core.driver import SilenceCheck
from .._core.exchange import Steps
from .._core.resp import Buffer, ReplyReader
from .._core.sockets import RECORD, WOULD_BLOCK, Outgoing, bad_memory_error, connection_error, tls_pieces
from .._core.tls import is_closed
from .._core.wait_limits import WaitLimits
from .._exceptions import ConnectionError, NdringError, TimeoutError
from .work import run

_MAX_UNREAD = 1 << 20  # bytes that may wait here until a call reads them
_SHORT = 64 << 10  # bytes of a command that the socket usually takes at once
_TURN = 1 << 20  # bytes that TLS sends or receives before other tasks have their turn
_DONE: Any = object()
#: The sockets of all connections. A garbage collection would close a socket that only a cycle holds
#: before the event loop has forgotten it, and the loop would then forget the next one with its number.
_sockets: Set[socket.socket] = set()


class Connection:
    """A non-blocking socket that the event loop watches. ``silence_check``: see ``_core.driver``;
    None if there is no other node to ask. ``key``: of the command under way."""

    def __init__(self, sock: socket.socket, limits: WaitLimits, max_bytes: int, silence_check: Optional[SilenceCheck], key: Optional[bytes]) -> None:
        self.limits = limits
        self.reader = ReplyReader(max_bytes)
        self._sock = sock
        _sockets.add(sock)
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._fd = sock.fileno()
        self._loop = asyncio.get_running_loop()
        self._silence_check = silence_check
        self._key = key
        self._steps: Optional[Steps] = None  # while it waits for bytes
        self._target: Optional[memoryview] = None  # where it wants them
        self._outcome: Any = None  # what it wants instead of more bytes: to send, to end, or to raise
        self._waiter: Optional[asyncio.Future[None]] = None
        self._held: List[Connection] = []  # itself while a call waits, for the loop to hold it and so the task: a loop holds tasks weakly
        self._timer: Optional[asyncio.Handle] = None
        self._timer_at = 0.0  # when it fires, by the loop's clock; uvloop's handles do not always say
        self._wake_at = 0.0  # when the call is to be woken
        self._blocked = False  # whether the call waits for the socket to be ready
        self._arriving = False  # whether a listener waits for bytes
        self._full = False  # whether too many bytes wait to be read
        self._lost: Optional[NdringError] = None
        self._closed = False

    @property
    def usable(self) -> bool:
        """Whether the node has neither closed the connection nor sent unexpected data."""
        return self._lost is None and not self._closed and not self.reader.pending

    def start(self) -> None:
        """Begins to receive."""
        # The loop holds an idle connection weakly, so that a dropped client closes its connections.
        self._loop.add_reader(self._fd, _receive, weakref.ref(self), self._held)

    def close(self) -> None:
        """Ends the connection at once, with all that is still to be sent. A call that uses it sees
        a closed connection."""
        if not self._closed:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            if not self._loop.is_closed():
                self._loop.remove_reader(self._fd)
                self._loop.remove_writer(self._fd)
            _close(self._sock)
            self._lose(None)

    def __del__(self) -> None:
        if not self._closed:  # perhaps in another thread
            sock = _Dropped(self._sock)
            with contextlib.suppress(RuntimeError):  # the loop is closed, and watches nothing
                self._loop.call_soon_threadsafe(_forget, self._loop, self._fd, sock)

    async def run(self, steps: Steps, end: Optional[float], key: Optional[bytes]) -> None:
        """Sends and receives what an Exchange asks for, and waits as a Listener does. The call must
        be over at ``end``."""
        patience = self.limits.begin(monotonic(), end)
        self._key = key
        try:
            step: Any = next(steps)
            while True:
                if type(step) is list:
                    self._steps = None  # it waits for the socket, no longer for bytes
                    left = self._send_at_once(step)
                    step = steps.send((await self._send(left)) if left else None)
                elif type(step) is float:
                    step = steps.send(await self._arrives(step))
                elif self._lost is not None:
                    if self._lost.hopeless:
                        raise self._lost
                    step = steps.send(0)
                else:
                    self._outcome = None
                    self._steps, self._target = steps, step
                    if self._full:
                        self._full = False
                        self.start()
                        self._loop.call_soon(self._receive)  # TLS may hold bytes that the loop does not see
                    await self._wait(patience)
                    step = self._outcome
                    if step is _DONE:
                        return
                    if isinstance(step, BaseException):
                        raise step
        except StopIteration:
            pass
        finally:
            self._steps = self._target = self._outcome = None

    async def _arrives(self, seconds: float) -> bool:
        """Returns whether bytes come within some seconds, or the connection is lost."""
        if not self.reader.pending and self._lost is None:
            self._waiter = self._loop.create_future()
            self._arriving = True
            self._held.append(self)
            self._wake_in(seconds)
            try:
                await self._waiter
            finally:
                self._arriving = False
                self._waiter = None
                self._held.clear()
        return self.reader.pending > 0 or self._lost is not None

    async def tls_handshake(self) -> None:
        """Performs the TLS handshake."""
        sock: Any = self._sock
        while True:
            try:
                sock.do_handshake()
                return
            except ssl.SSLWantReadError:
                await self._until_ready(self._loop.add_reader, self._loop.remove_reader)
            except ssl.SSLWantWriteError:
                await self._until_ready(self._loop.add_writer, self._loop.remove_writer)
            except OSError as exc:
                raise connection_error(exc)

    def _send_at_once(self, buffers: List[Buffer]) -> List[Buffer]:
        """Sends of a short command what the socket takes now. Returns what is left."""
        if len(buffers) > 1 or len(buffers[0]) > _SHORT or self._closed:
            return buffers
        command = buffers[0]
        try:
            count = self._sock.send(command)
        except OSError:
            return buffers  # sending it again tells why
        # A new list: the command must be as it was if it is repeated.
        return [] if count == len(command) else [memoryview(command)[count:]]

    async def _send(self, buffers: List[Buffer]) -> Optional[NdringError]:
        """Sends all buffers. Returns an error if the node has closed the connection, because its
        last reply is still to be read."""
        if self._tls:
            return await self._send_tls(buffers)
        outgoing = Outgoing(buffers)
        while outgoing and not self._closed:
            try:
                count = self._sock.sendmsg(outgoing.vector())
            except OSError as exc:
                if exc.errno in WOULD_BLOCK:
                    await self._until_ready(self._loop.add_writer, self._loop.remove_writer)
                elif is_closed(exc):
                    return connection_error(exc)
                elif exc.errno == errno.EFAULT:
                    raise bad_memory_error(exc, False)
                else:
                    raise connection_error(exc)
                continue
            if self.limits.made_progress(count):
                self.limits.restart(monotonic())
            outgoing.sent(count)
        return self._lost if self._closed else None

    async def _send_tls(self, buffers: List[Buffer]) -> Optional[NdringError]:
        turn = 0
        for piece in tls_pieces(buffers):
            while not self._closed:
                try:
                    count = self._sock.send(piece)
                except ssl.SSLWantWriteError:
                    await self._until_ready(self._loop.add_writer, self._loop.remove_writer)
                    continue
                except OSError as exc:
                    if is_closed(exc):
                        return connection_error(exc)
                    raise connection_error(exc)
                if self.limits.made_progress(count):
                    self.limits.restart(monotonic())
                turn += count
                break
            if turn >= _TURN:  # a node that takes bytes as fast as they are encrypted would not let this wait
                turn = 0
                self._check_deadline()
                await asyncio.sleep(0)
        return self._lost if self._closed else None

    def _check_deadline(self) -> None:
        now = monotonic()
        if self.limits.deadline_passed(now):
            raise TimeoutError(self.limits.describe(now))

    async def _until_ready(self, watch: Any, unwatch: Any) -> None:
        self._blocked = True
        watch(self._fd, self._ready)
        try:
            await self._wait(self.limits.remaining(monotonic()))
        finally:
            if not self._closed:
                unwatch(self._fd)

    def _ready(self) -> None:
        self._blocked = False
        self._wake()

    async def _wait(self, patience: float) -> None:
        """Waits for what the call wants, at first for ``patience`` seconds. Raises TimeoutError, or
        what ``silence_check`` raises."""
        limits = self.limits
        while True:
            waiter = self._waiter = self._loop.create_future()
            self._held.append(self)
            self._wake_in(min(patience, 1e6))
            try:
                await waiter
            finally:
                self._waiter = None
                self._held.clear()
            if self._is_over():
                return
            now = monotonic()
            left = limits.remaining(now)
            if left <= 0:
                error = TimeoutError(limits.describe(now))
                error.unreachable = not limits.deadline_passed(now) or not limits.heard
                raise error
            if self._silence_check is not None and limits.silence_check_due(now):
                await run(self._silence_check(self._key, limits.end))
                if self._is_over():  # it came meanwhile
                    return
            patience = left if self._silence_check is None else min(left, limits.until_silence_check(monotonic()))

    def _is_over(self) -> bool:
        return self._outcome is not None if self._steps is not None else not self._blocked or self._closed

    def _wake_in(self, seconds: float) -> None:
        """Wakes the call after some seconds. Most calls end earlier, so a timer stays for the next
        ones instead of being cancelled and created again."""
        self._wake_at = self._loop.time() + seconds
        if self._timer is None or self._timer_at > self._wake_at:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._wake_at
        self._timer = self._loop.call_at(self._wake_at, _timer_fired, weakref.ref(self))

    def _timer_fired(self) -> None:
        self._timer = None
        if self._waiter is not None:
            if self._loop.time() < self._wake_at:
                self._set_timer()
            else:
                self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Called by the event loop

    def _receive(self) -> None:
        turn = 0
        while not self._full and self._lost is None:
            try:
                count = self._sock.recv_into(self.reader.space() if self._target is None else self._target)
            except OSError as exc:
                if isinstance(exc, (ssl.SSLWantReadError, ssl.SSLWantWriteError)) or exc.errno in WOULD_BLOCK and not isinstance(exc, ssl.SSLError):
                    return
                self._lose(bad_memory_error(exc, True) if exc.errno == errno.EFAULT else connection_error(exc))
                return
            if not count:
                self._lose(None)
                return
            self.limits.heard = True
            if self.limits.made_progress(count):
                self.limits.restart(monotonic())
            self._advance(count)
            if not self._tls or self._closed:
                return
            turn += count
            sock: Any = self._sock
            # A call gives its memory in records of TLS, of which the loop sees only the first: that
            # of a large array is filled before the loop is asked again.
            if not sock.pending() and (self._target is None or len(self._target) < RECORD or turn >= _TURN):
                return

    def _advance(self, count: int) -> None:
        """Gives the call what has come, or keeps it if no call waits for it."""
        steps = self._steps
        if self._target is None or steps is None:
            if count:
                self.reader.received(count)
                if self._arriving:
                    self._wake()
            if self.reader.pending > _MAX_UNREAD:
                self._full = True
                self._loop.remove_reader(self._fd)
            return
        self._target = None
        try:
            step: Any = steps.send(count)
        except StopIteration:
            self._finish(_DONE)
        except Exception as exc:
            self._finish(exc)
        else:
            if type(step) is not memoryview:
                self._finish(step)
            elif self._lost is not None:
                self._finish(self._lost)
            else:
                self._target = step

    def _finish(self, outcome: Any) -> None:
        self._outcome = outcome
        self._target = None
        self._wake()

    def _lose(self, error: Optional[NdringError]) -> None:
        """The connection is lost. ``error``: why; None if it was closed."""
        if self._lost is None:
            self._lost = error or ConnectionError("the node closed the connection")
            if not self._closed:
                self._loop.remove_reader(self._fd)
        if self._target is None:
            self._wake()
        elif error is not None:
            self._finish(error)
        else:
            self._advance(0)

    def _break(self) -> None:
        """Ends the call under way and the connection after an exception of a signal handler, because
        of which received bytes may be missing."""
        self._lose(ConnectionError("a signal handler interrupted the event loop"))
        if self._steps is not None and self._outcome is None:
            self._finish(self._lost)


class _Dropped:
    """The socket of a connection that was dropped. It stays open, so that no other one gets its
    number, until the loop has forgotten it or is closed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def __del__(self) -> None:
        _close(self._sock)


def _close(sock: socket.socket) -> None:
    _sockets.discard(sock)
    sock.close()


def _receive(weak: weakref.ref[Connection], held: List[Connection]) -> None:
    connection = weak()
    if connection is not None:
        try:
            connection._receive()
        except BaseException:
            connection._break()
            raise


def _timer_fired(held: weakref.ref[Connection]) -> None:
    connection = held()
    if connection is not None:
        connection._timer_fired()


def _forget(loop: asyncio.AbstractEventLoop, fd: int, sock: _Dropped) -> None:
    loop.remove_reader(fd)
    loop.remove_writer(fd)
