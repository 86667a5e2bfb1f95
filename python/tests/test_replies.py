"""If a command gets a reply that it cannot have, the call fails and the connection is closed."""
from __future__ import annotations

import numpy as np
import pytest
from ndring import DecodeError, ServerError
from ndring._core import resp
from ndring._codec.npy import build_header
from test_failures import A, META, client_of

PING = b"+PONG\r\n"
NOT_OK = [b":1\r\n", b"+QUEUED\r\n", b"*1\r\n+OK\r\n", b"$2\r\nOK\r\n", b"#t\r\n", b"+ok\r\n", b"%0\r\n", b",1\r\n"]
NOT_FLAG = [b":2\r\n", b":-1\r\n", b"+OK\r\n", b"_\r\n", b"$1\r\n1\r\n", b"*0\r\n", b",inf\r\n", b"#t\r\n"]
NOT_COUNT = [b":-5\r\n", b":3\r\n", b"+OK\r\n", b"$-1\r\n", b",1\r\n", b"*0\r\n", b":99999999999999999999\r\n"]
NOT_TIME = [b":-3\r\n", b",inf\r\n", b"+OK\r\n", b"_\r\n", b"$2\r\n-1\r\n", b":9223372036854775808\r\n", b"*0\r\n"]
NOT_SIZE = [b":-1\r\n", b",1.5\r\n", b"+OK\r\n", b"$1\r\n1\r\n", b"*0\r\n"]
NOT_SHAPE = [b"*2\r\n+a\r\n$1\r\nb\r\n", b"*1\r\n:-1\r\n", b"*1\r\n,2\r\n", b":5\r\n", b"*65\r\n" + b":1\r\n" * 65, b"*1\r\n_\r\n", b"%1\r\n:1\r\n:2\r\n"]
NOT_META = [b":5\r\n", b"+OK\r\n", b"*0\r\n", b"*1\r\n:1\r\n", b"%1\r\n+shape\r\n:1\r\n", META.replace(b":2\r\n", b":-2\r\n", 1),
    META.replace(b":24\r\n", b":25\r\n"),
            META.replace(b"<f4", b"|O\r"), META.replace(b"1-1", b"x-y"), META.replace(b"pttl\r\n:-1", b"pttl\r\n:-9"), META.replace(b"$-1", b":77"),
            META.replace(b":152", b":-52"), META.replace(b"crc32c\r\n:0", b"crc32c\r\n:-1"), META.replace(b"parts\r\n*0", b"parts\r\n:0")]  # fmt: skip
NOT_PAGE = [b":5\r\n", b"*1\r\n:0\r\n", b"*2\r\n:0\r\n*0\r\n", b"*2\r\n$1\r\n0\r\n*1\r\n:5\r\n", b"*2\r\n$1\r\nx\r\n*0\r\n",
    b"*2\r\n$1\r\n0\r\n$1\r\nk\r\n", b"_\r\n"]
NOT_GET = [b":1\r\n", b"+OK\r\n", b"*0\r\n", b"$5\r\nhello\r\n", b"#t\r\n"]
PIECE = b"*3\r\n$%d\r\n%b\r\n$-1\r\n$3\r\n1-1\r\n"
ONE_ROW = build_header("<f4", False, (1, 2)) + bytes(8)
NOT_PIECE = [*NOT_GET, b"*5\r\n", b"*3\r\n:1\r\n$-1\r\n$3\r\n1-1\r\n", PIECE % (5, b"hello"), PIECE % (len(ONE_ROW) - 1, ONE_ROW[:-1]),
    PIECE.replace(b"$-1", b":1") % (len(ONE_ROW), ONE_ROW), PIECE.replace(b"$3\r\n1-1", b":1") % (len(ONE_ROW), ONE_ROW)]  # fmt: skip

# By name: the call, on a client or a pipeline, and replies that no node gives to it.
CALLS = {
    "set": (lambda c: c.set("k", A), [*NOT_OK, b"$-1\r\n", b"_\r\n"]),
    "set nx": (lambda c: c.set("k", A, nx=True), NOT_OK),
    "get": (lambda c: c.get("k"), NOT_GET),
    "take": (lambda c: c.take("k", [0]), NOT_PIECE),
    "delete": (lambda c: c.delete("{k}1", "{k}2"), NOT_COUNT),
    "exists": (lambda c: c.exists("{k}1", "{k}2"), NOT_COUNT),
    "shape": (lambda c: c.shape("k"), NOT_SHAPE),
    "meta": (lambda c: c.meta("k"), NOT_META),
    "dtype": (lambda c: c.dtype("k"), NOT_META),
    "verify": (lambda c: c.verify("k"), NOT_OK),
    "expire": (lambda c: c.expire("k", 1), NOT_FLAG),
    "pexpire": (lambda c: c.pexpire("k", 1), NOT_FLAG),
    "expireat": (lambda c: c.expireat("k", 1), NOT_FLAG),
    "persist": (lambda c: c.persist("k"), NOT_FLAG),
    "ttl": (lambda c: c.ttl("k"), NOT_TIME),
    "pttl": (lambda c: c.pttl("k"), NOT_TIME),
    "memory_usage": (lambda c: c.memory_usage("k"), NOT_SIZE),
}
OF_CLIENTS = {
    **CALLS,
    "get out": (lambda c: c.get("k", out=np.zeros_like(A)), NOT_META),
    "view": (lambda c: c.view("k")[0], NOT_PIECE),
    "mset": (lambda c: c.mset({"k": A}), [*NOT_OK, b"$-1\r\n"]),
    "mget": (lambda c: c.mget(["k"]), NOT_GET),
    "scan_iter": (lambda c: list(c.scan_iter()), NOT_PAGE),
    "delete_prefix": (lambda c: c.delete_prefix("k"), NOT_PAGE),
    "ping": (lambda c: c.ping(), [b"+OK\r\n", b"$4\r\nPONG\r\n", b":1\r\n", b"_\r\n"]),
    "info": (lambda c: c.info(), [b":1\r\n", b"_\r\n", b"*0\r\n"]),
    "get_or_set": (lambda c: c.get_or_set("k", lambda: A), NOT_GET),
}


@pytest.mark.parametrize("name", OF_CLIENTS)
def test_replies_that_no_node_gives(stub, name):
    call, replies = OF_CLIENTS[name]
    server = stub(*[answer for reply in replies for answer in (reply, PING)])
    with client_of(server, retry_for=0) as c:
        for number, reply in enumerate(replies, 1):
            with pytest.raises(DecodeError):
                print(reply, call(c))
            if name != "ping":
                assert c.ping() and server.connections == number + 1, reply  # on a new connection
            else:
                server.answers.pop(0)


@pytest.mark.parametrize("name", CALLS)
def test_replies_that_no_node_gives_in_a_pipeline(stub, name):
    call, replies = CALLS[name]
    server = stub(*[answer for reply in replies for answer in (reply, PING)])
    with client_of(server, retry_for=0) as c:
        for reply in replies:
            with c.pipeline() as p:
                call(p)
                (result,) = p.execute(raise_on_error=False)
            assert isinstance(result, DecodeError), (reply, result)
            assert c.ping()


@pytest.mark.parametrize("name", CALLS)
def test_replies_that_no_node_gives_in_a_transaction(stub, name):
    call, replies = CALLS[name]
    server = stub(*[answer for reply in replies for answer in (b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n" + reply, PING)])
    with client_of(server, retry_for=0) as c:
        for reply in replies:
            with c.pipeline(transaction=True) as p, pytest.raises(DecodeError):
                call(p)
                print(reply, p.execute())
            assert c.ping()


def test_invalid_reply_to_the_login(stub):
    for reply in (b":1\r\n", b"+QUEUED\r\n", b"*0\r\n"):
        server = stub(reply, PING)
        with client_of(server, retry_for=0, password="x") as c, pytest.raises(DecodeError):
            c.ping()


def test_a_reply_that_begins_at_the_end_of_the_buffer():
    size = resp._FIRST_BUFFER
    pieces = [b":1\r\n" * (size // 4), b"*2\r\n"]

    def read(reading):
        try:
            target = next(reading)
            while True:
                piece = pieces.pop(0)
                target[: len(piece)] = piece
                target = reading.send(len(piece))
        except StopIteration as stop:
            return stop.value

    reader = resp.ReplyReader(1000)
    for _ in range(size // 4):
        assert read(reader.reply()) == 1
    assert read(reader.items()) == 2


# Connections that must not be reused


def test_bytes_after_an_error_reply_do_not_reach_the_next_command(stub):
    server = stub(b"-ERR no\r\n+PONG\r\n", b"$-1\r\n")
    with client_of(server, retry_for=0) as c:
        with pytest.raises(ServerError, match="ERR no"):
            c.verify("k")
        assert c.get("k") is None
    assert server.connections == 2
