"""What a call on a socket raises, and what a handler raises that runs within it."""
from __future__ import annotations

import errno
import socket

import pytest
from ndring import ConnectionError, DecodeError, EncodeError
from ndring._patience import Patience
from ndring._stream import Stream

CODE = """
class Socket:
    def __init__(self, sock, error):
        self.fileno, self.error = sock.fileno, error
    def fail(self, *arguments):
        raise self.error
    recv_into = send = sendmsg = do_handshake = fail
"""


def raising(module, error):
    """A stream on a socket all of whose calls raise an error, in code of a module."""
    one, other = socket.socketpair()
    names = {"__name__": module}
    exec(CODE, names)
    other.send(b"x")
    stream = Stream(names["Socket"](one, error), Patience(10, 0.0))
    stream.begin(None, None)
    return stream, (one, other)


CALLS = {
    "recv_into": lambda stream: stream.recv_into(memoryview(bytearray(5))),
    "send": lambda stream: stream.send([b"one"]),
    "send many": lambda stream: stream.send([b"one", b"two"]),
    "handshake": lambda stream: stream.handshake(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", [errno.ECONNRESET, errno.EPIPE, errno.EAGAIN, errno.EFAULT, errno.ETIMEDOUT])
def test_an_error_of_a_handler_within_the_call_is_the_callers(call, code):
    error = OSError(code, "of a handler")
    stream, sockets = raising("service", error)
    with pytest.raises(OSError) as caught:
        CALLS[call](stream)
    assert caught.value is error
    for s in sockets:
        s.close()


@pytest.mark.parametrize("call", CALLS)
def test_an_error_without_a_number_is_no_sockets(call):
    """An exception that another thread sets has no frame of its own."""
    error = OSError("deadline")
    stream, sockets = raising("ssl", error)
    with pytest.raises(OSError) as caught:
        CALLS[call](stream)
    assert caught.value is error
    for s in sockets:
        s.close()


@pytest.mark.parametrize("call", CALLS)
def test_an_error_of_the_socket_is_ours(call):
    for module in ("ssl", "socket", "gevent._socket3"):
        stream, sockets = raising(module, OSError(errno.ECONNRESET, "reset"))
        if call in ("recv_into", "handshake"):
            with pytest.raises(ConnectionError, match="reset"):
                CALLS[call](stream)
        else:
            assert "reset" in str(CALLS[call](stream))  # what the node said before is still to be read
        stream.sock.error = OSError(errno.EFAULT, "Bad address")
        with pytest.raises(DecodeError if call == "recv_into" else EncodeError, match="memory of"):
            CALLS[call](stream)
        for s in sockets:
            s.close()
