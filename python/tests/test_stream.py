"""Exceptions that a socket call raises, and those that a signal handler raises during it."""
from __future__ import annotations

import errno
import socket

import pytest
from ndring import ConnectionError, DecodeError, EncodeError, TimeoutError
from ndring._core import wait_limits as _wait_limits
from ndring._sync import stream as _stream
from ndring._core.wait_limits import WaitLimits
from ndring._sync.stream import Stream

CODE = """
class Socket:
    def __init__(self, sock, error):
        self.fileno, self.error = sock.fileno, error
    def fail(self, *arguments):
        raise self.error
    recv_into = send = sendmsg = do_handshake = fail
"""


def raising(module, error):
    """Returns a stream on a socket whose calls all raise an error, from code of the given module."""
    one, other = socket.socketpair()
    names = {"__name__": module}
    exec(CODE, names)
    other.send(b"x")
    stream = Stream(names["Socket"](one, error), WaitLimits(10, 0.0))
    stream.begin(None, None)
    return stream, (one, other)


CALLS = {
    "recv_into": lambda stream: stream.recv_into(memoryview(bytearray(5))),
    "send": lambda stream: stream.send([b"one"]),
    "send many": lambda stream: stream.send([b"one", b"two"]),
    "handshake": lambda stream: stream.tls_handshake(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", [errno.ECONNRESET, errno.EPIPE, errno.EAGAIN, errno.EFAULT, errno.ETIMEDOUT])
def test_an_error_of_a_handler_reaches_the_caller(call, code):
    error = OSError(code, "of a handler")
    stream, sockets = raising("service", error)
    with pytest.raises(OSError) as caught:
        CALLS[call](stream)
    assert caught.value is error
    for s in sockets:
        s.close()


@pytest.mark.parametrize("call", CALLS)
def test_an_error_without_errno_is_not_the_sockets(call):
    """An exception injected by another thread has no frame of its own."""
    error = OSError("deadline")
    stream, sockets = raising("ssl", error)
    with pytest.raises(OSError) as caught:
        CALLS[call](stream)
    assert caught.value is error
    for s in sockets:
        s.close()


@pytest.mark.parametrize("call", CALLS)
def test_an_error_of_the_socket_becomes_ours(call):
    for module in ("ssl", "socket", "gevent._socket3"):
        stream, sockets = raising(module, OSError(errno.ECONNRESET, "reset"))
        if call in ("recv_into", "handshake"):
            with pytest.raises(ConnectionError, match="reset"):
                CALLS[call](stream)
        else:
            assert "reset" in str(CALLS[call](stream))  # the node's last reply is still to be read
        stream.sock.error = OSError(errno.EFAULT, "Bad address")
        with pytest.raises(DecodeError if call == "recv_into" else EncodeError, match="memory of"):
            CALLS[call](stream)
        for s in sockets:
            s.close()


class Slow:
    """A socket that accepts a few bytes at a time, each time advancing a clock, and never receives
    anything."""

    def __init__(self, clock, step, blocks):
        self.clock, self.step, self.blocks, self.calls = clock, step, blocks, 0

    def fileno(self):
        return 0

    def sendmsg(self, buffers):
        return self.send(b"".join(buffers))

    def send(self, data):
        self.calls += 1
        if self.blocks and self.calls % 2:
            raise BlockingIOError(errno.EAGAIN, "not now")
        self.clock[0] += self.step
        return min(len(data), 20_000)


@pytest.mark.parametrize("buffers", [1, 3])
@pytest.mark.parametrize("blocks", [False, True])
def test_the_wait_for_a_reply_ends_with_the_call_however_long_sending_took(monkeypatch, blocks, buffers):
    clock, waits = [100.0], []

    def waiter(seconds):
        waits.append((clock[0], seconds))
        if not writing:
            clock[0] += seconds
        return writing

    monkeypatch.setattr(_stream, "monotonic", lambda: clock[0])
    monkeypatch.setattr(_stream, "is_socket_error", lambda error: True)
    monkeypatch.setattr(_stream, "_poller", lambda sock, reading: waiter)
    stream = Stream(Slow(clock, 0.1, blocks), WaitLimits(30, 100.0))
    stream.begin(100.5, None)
    writing = True
    assert stream.send([bytes(60_000 // buffers)] * buffers) is None
    writing = False
    with pytest.raises(TimeoutError, match="deadline"):
        stream.recv_into(memoryview(bytearray(5)))
    assert waits and all(at + seconds <= 100.5 + 1e-9 for at, seconds in waits), waits


def test_the_silence_check_receives_key_and_deadline(monkeypatch):
    class Asked(Exception):
        pass

    def doubt(*arguments):
        raise Asked(*arguments)

    monkeypatch.setattr(_wait_limits, "_SILENCE_CHECK_AFTER", 0.01)
    one, other = socket.socketpair()
    stream = Stream(one, WaitLimits(30, 0.0), doubt)
    end = _stream.monotonic() + 30
    stream.begin(end, b"key")
    with pytest.raises(Asked) as caught:
        stream.recv_into(memoryview(bytearray(5)))
    assert caught.value.args == (b"key", end)
    for s in (one, other):
        s.close()
