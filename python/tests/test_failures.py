"""What the client does if the node or the network fails."""
from __future__ import annotations

import pickle
import socket
import threading

import ndring
import numpy as np
import pytest
import redis
from conftest import start_node, stop_node
from ndring import (
    BusyError, ConnectionError, CorruptError, CrossSlotError, DecodeError, NdringError, NumPyRedis, PartialError, ServerError, TimeoutError,
    UncertainWrite,
)  # fmt: skip
from ndring._core import commands as _commands
from routing_helpers import command
from test_client import npy

A = np.arange(6, dtype="<f4").reshape(2, 3)


def whole(array=A, attrs=b"$-1\r\n", crc=None, parts=b"*0\r\n", data=None):
    """Returns a reply to NP.GET WITHATTRS, by default without attrs and parts."""
    body = npy(array) if data is None else data
    if not crc:
        crc = _commands._crc32c(body, 0) if _commands._crc32c else 0
    return b"*5\r\n$%d\r\n%b\r\n%b$3\r\n1-1\r\n:%d\r\n%b" % (len(body), body, attrs, crc, parts)


def client_of(stub, **options):
    return NumPyRedis(*stub.address, **{"socket_timeout": 10, "retry_for": 10, **options})


def test_a_lost_read_is_repeated(stub):
    server = stub(None, whole()[:100], whole())  # closed; cut inside the reply
    server.answers[1] = lambda connection: connection.sendall(whole()[:100])
    with client_of(server) as c:
        assert np.array_equal(c.get("k"), A)
    assert server.commands == [[b"NP.GET", b"k", b"WITHATTRS"]] * 3 and server.connections == 3


def test_a_read_is_repeated_wherever_its_reply_ends(stub):
    reply = whole()
    cuts = [*range(1, len(reply), 9), *range(len(reply) - 40, len(reply))]
    server = stub()
    with client_of(server) as c:
        for cut in cuts:
            server.answers += [lambda connection: (connection.sendall(reply[:cut]), connection.shutdown(socket.SHUT_WR)), reply]
            assert np.array_equal(c.get("k"), A), cut
    assert len(server.commands) == 2 * len(cuts)


def test_a_lost_write_is_repeated(stub):
    server = stub(None, b"+OK\r\n")
    with client_of(server) as c:
        assert c.set("k", A) is True
    assert len(server.commands) == 2 and server.commands[0] == server.commands[1]


def test_a_lost_conditional_write_is_repeated_with_its_request_id(stub):
    server = stub(None, b"$-1\r\n", b"+OK\r\n")
    with client_of(server) as c:
        assert c.set("k", A, nx=True) is False
        assert c.set("k", A, xx=True) is True
    first, second, third = (command[command.index(b"REQID") + 1] for command in server.commands)
    assert first == second != third


def test_a_conditional_write_without_a_reply_is_uncertain(stub):
    server = stub()
    with client_of(server, retry_for=0.05) as c:
        with pytest.raises(UncertainWrite) as caught:
            c.set("k", A, if_version="1-1")
        assert isinstance(caught.value.__cause__, ConnectionError)
        with pytest.raises(ConnectionError):
            c.set("k", A)


def test_a_conditional_write_that_was_never_sent_is_not_uncertain():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    with NumPyRedis(*address, retry_for=0.05) as c, pytest.raises(ConnectionError):
        c.set("k", A, nx=True)


def test_a_restarted_node_is_found_again():
    process, address = start_node()
    with NumPyRedis(*address, retry_for=60) as c:
        c.set("k", A)
        stop_node(process)
        restarted = []
        thread = threading.Thread(target=lambda: restarted.append(start_node("--listen", f"default={address[0]}:{address[1]}")))
        thread.start()
        try:
            assert c.get("k") is None  # the node started with an empty disk
            assert c.set("k", A)
        finally:
            thread.join()
            stop_node(restarted[0][0])


@pytest.mark.parametrize("reply", [b"-BUSY too many uploads\r\n", b"-LOADING\r\n", b"-TRYAGAIN later\r\n"])
def test_a_busy_node_is_retried(stub, reply):
    server = stub(reply, reply, b"+OK\r\n", *[reply] * 1000)
    with client_of(server) as c:
        assert c.set("k", A)
        assert len(server.commands) == 3 and server.connections == 1
    with client_of(server, retry_for=0.05) as c, pytest.raises(BusyError):
        c.set("k", A)


def test_a_silent_node_times_out(stub):
    hold = threading.Event()
    server = stub(lambda connection: hold.wait(60), lambda connection: (connection.sendall(whole()[:90]), hold.wait(60)))
    try:
        for _ in range(2):
            with client_of(server, socket_timeout=0.1, retry_for=0) as c, pytest.raises(TimeoutError) as caught:
                c.get("k")
            assert isinstance(caught.value, redis.TimeoutError)
            hold.set()
            hold.clear()
    finally:
        hold.set()


def test_error_replies(stub):
    server = stub(b"-CROSSSLOT no\r\n", b"-CORRUPT the bytes differ\r\n", b"-ERR something else\r\n", b"-BADNPY no\r\n")
    with client_of(server) as c:
        with pytest.raises(CrossSlotError, match="CROSSSLOT no") as caught:
            c.get("k")
        assert isinstance(caught.value, redis.ResponseError) and caught.value.prefix == "CROSSSLOT"
        with pytest.raises(CorruptError):
            c.verify("k")
        with pytest.raises(ServerError, match="ERR something else"):
            c.ping()
        with pytest.raises(ndring.InvalidArrayError):
            c.set("k", A)
    assert server.connections == 1


@pytest.mark.skipif(_commands._crc32c is None, reason="the crc32c package is not installed")
def test_wrong_checksum(stub):
    flipped = bytearray(npy(A))
    flipped[-1] ^= 1
    good = _commands._crc32c(npy(A), 0)
    server = stub(whole(data=bytes(flipped), crc=good), whole())
    with client_of(server) as c:
        with pytest.raises(CorruptError, match="received bytes"):
            c.get("k")
        assert np.array_equal(c.get("k"), A)
    assert server.connections == 1


BAD = {
    "text": b"hello\r\n",
    "simple string": b"+OK\r\n",
    "huge array": b"*99999999999\r\n",
    "huge bulk": b"*5\r\n$999999999999\r\n",
    "negative bulk": b"*5\r\n$-7\r\n",
    "length is text": b"*5\r\n$abc\r\n",
    "no npy": b"*5\r\n$5\r\nhello\r\n",
    "object dtype": whole(data=b"\x93NUMPY\x01\x00\x46\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(69) + b"\n" + b"x" * 8),
    "size differs": whole(data=npy(A) + b"x"),
    "overflow": whole(data=b"\x93NUMPY\x01\x00\x46\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (2305843009213693952,)}".ljust(69)[:69] + b"\n"),
    "crc is text": whole().replace(b":", b"+", 1)[: len(whole())],
    "wrong end": whole()[:-4] + b"*1\r\n",
    "nested": b"*5\r\n*1\r\n",
    "part without name": whole(parts=b"*2\r\n:1\r\n$1\r\nx\r\n"),
    "error within": b"*5\r\n$%d\r\n%b\r\n-ERR oops\r\n" % (len(npy(A)), npy(A)),
    "line without end": b"+" + b"x" * 200_000,
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_replies(stub, name):
    server = stub(lambda connection: connection.sendall(BAD[name]), b"+PONG\r\n")
    with client_of(server, retry_for=0) as c:
        with pytest.raises(NdringError) as caught:
            c.get("k")
        assert isinstance(caught.value, (DecodeError, ConnectionError, CorruptError)), caught.value
        assert c.ping()  # on a new connection
    assert server.connections == 2


def test_attrs_of_another_version(stub):
    attrs = b'{"v": 99, "py": {"x": 1}}'
    server = stub(whole(attrs=b"$%d\r\n%b\r\n" % (len(attrs), attrs), crc=_commands._crc32c and _commands._crc32c(npy(A) + attrs, 0)), b"+PONG\r\n")
    with client_of(server) as c:
        with pytest.raises(DecodeError, match="update ndring"):
            c.get("k")
        assert c.ping()
    assert server.connections == 1


def test_unsolicited_replies(stub):
    server = stub(b"+PONG\r\n+PONG\r\n", b"$-1\r\n")
    with client_of(server) as c:
        assert c.ping()
        assert c.get("k") is None
    assert server.connections == 2


META = (b"*26\r\n$5\r\nshape\r\n*2\r\n:2\r\n:3\r\n$5\r\ndtype\r\n$3\r\n<f4\r\n$13\r\nfortran_order\r\n:0\r\n$8\r\nitemsize\r\n:4\r\n$4\r\nsize\r\n:6\r\n"
        b"$6\r\nnbytes\r\n:24\r\n$9\r\nnpy_bytes\r\n:152\r\n$11\r\ndata_offset\r\n:128\r\n$6\r\ncrc32c\r\n:0\r\n$4\r\npttl\r\n:-1\r\n"
        b"$7\r\nversion\r\n$3\r\n1-1\r\n$5\r\nattrs\r\n$-1\r\n$5\r\nparts\r\n*0\r\n")  # fmt: skip


def test_failed_transfer_into_out(stub):
    other = whole(A.astype("i4"))
    server = stub(META, lambda connection: connection.sendall(whole()[:150]), META, other, META, whole())
    with client_of(server, retry_for=0) as c:
        out = np.zeros_like(A)
        with pytest.raises(ConnectionError, match="content of out is undefined"):
            c.get("k", out=out)
        out[...] = 0
        assert c.get("k", out=out) is out and np.array_equal(out, A)  # the array was another one for a moment


def test_array_replaced_while_it_is_read_into_out(stub):
    attrs = b'{"of": "another reader"}'
    changed = whole(attrs=b"$%d\r\n%b\r\n" % (len(attrs), attrs))
    server = stub(META, changed, META.replace(b"<f4", b"<i4"), *[META, changed] * 3)
    with client_of(server, retry_for=0) as c:
        for message in ("out is of dtype", "replaced during each of 3 attempts"):
            out = np.zeros_like(A)
            with pytest.raises(DecodeError, match=f"{message}.*content of out is undefined"):
                c.get("k", out=out)


def test_many_keys_of_a_dead_node():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    with NumPyRedis(*address, retry_for=0.05) as c, pytest.raises(ConnectionError):
        c.mget([f"k{i}" for i in range(100_000)])


def test_partial_failure_of_a_pipeline(stub):
    server = stub(b"+OK\r\n", b"-OOM full\r\n", b"+OK\r\n")
    with client_of(server) as c, pytest.raises(PartialError) as caught:
        c.mset({"a": A, "b": A, "c": A})
    assert caught.value.results == {"a": True, "c": True} and isinstance(caught.value.errors["b"], ndring.OutOfMemoryError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.results == caught.value.results and str(again) == str(caught.value)


def test_failure_of_all_keys_is_not_a_partial_error(stub):
    server = stub(b"-OOM full\r\n", b"-OOM full\r\n", b"-ERR no\r\n")
    with client_of(server) as c:
        with pytest.raises(ndring.OutOfMemoryError):
            c.mset({"a": A, "b": A})
        with pytest.raises(ServerError, match="ERR no"):
            c.delete("a")
    with client_of(stub(), retry_for=0) as c:
        for call in (lambda: c.mget(["a", "b"]), lambda: c.exists("a", "b", "c")):
            with pytest.raises(ConnectionError):
                call()


def test_numbers_of_resp3(stub):
    server = stub(b",1.5\r\n", b"#t\r\n", b"%1\r\n+a\r\n~2\r\n:1\r\n_\r\n", b"=7\r\ntxt:abc\r\n", b",x\r\n")
    with client_of(server) as c:
        assert command(c, b"X") == 1.5 and command(c, b"X") is True and command(c, b"X") == {"a": [1, None]} and command(c, b"X") == "abc"
        with pytest.raises(DecodeError):
            command(c, b"X")


def test_an_interrupted_pipeline_resumes_where_it_stopped(stub):
    server = stub(whole(), None, whole(A + 1), whole(A + 2))
    with client_of(server) as c:
        a, b, third = c.mget(["a", "b", "c"])
    assert np.array_equal(a, A) and np.array_equal(b, A + 1) and np.array_equal(third, A + 2)
    assert [command[1] for command in server.commands] == [b"a", b"b", b"b", b"c"]


def test_resp3_connections(node):
    if int(redis.__version__.split(".")[0]) < 5:
        with NumPyRedis(*node) as c:  # redis-py 4 has no RESP3: the values read there are RESP2
            assert c.ping()
        return
    with NumPyRedis(*node, protocol=3) as c:
        assert c.set("resp3", A) and np.array_equal(c.get("resp3"), A)
        assert c.get("none") is None and c.meta("resp3").shape == (2, 3) and c.info()["cluster_enabled"] == 1
