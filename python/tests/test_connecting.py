"""The first call: errors if nothing or another server listens, several seeds, identification, TLS."""
from __future__ import annotations

import contextlib
import logging
import socket
import threading
import traceback

import numpy as np
import pytest
from conftest import start_node, stop_node
from ndring import AuthenticationError, ConnectionError, DecodeError, EncodeError, NumPyRedis, ServerError, TooLargeError
from ndring._core import commands as _commands
from ndring._core import retry as _retry
from routing_helpers import A, command
from test_failures import client_of as client_of_stub


def nothing():
    """Returns an address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return closed.getsockname()


@contextlib.contextmanager
def saying(answer, read=True):
    """A server of another kind, which sends the same bytes to every client, and may read first."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                if read:
                    connection.recv(1000)
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@pytest.fixture
def at_once(monkeypatch):
    """Fails if a call pauses before a retry."""
    monkeypatch.setattr(_retry.Attempts, "next_pause", lambda self: pytest.fail("a retry cannot help here"))


def resolving(*answers):
    """Returns a replacement for getaddrinfo: raises errors, as that module does, then returns an
    address. The last result repeats."""
    code = """
def getaddrinfo(*arguments):
    answer = answers.pop(0) if len(answers) > 1 else answers[0]
    if isinstance(answer, Exception):
        raise type(answer)(*answer.args)
    return [answer]
"""
    module = {"__name__": "socket", "answers": list(answers)}
    exec(code, module)
    return module["getaddrinfo"]


# Nothing listens, or another server


def test_nothing_listens(caplog):
    host, port = nothing()
    with NumPyRedis(host, port, retry_for=0.2) as c, caplog.at_level(logging.INFO, "ndring"):
        for call in (lambda: c.get("k"), lambda: c.ping(), lambda: c.nodes()):
            with pytest.raises(ConnectionError, match=f"{host}:{port}.*Connection refused.*tried .* in .* s. Check that ndring runs there"):
                call()
    assert any(record.levelno == logging.INFO and "refused" in record.message for record in caplog.records)  # logged while it waits


def test_an_unknown_name(at_once, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", resolving(socket.gaierror(socket.EAI_NONAME, "Name or service not known")))
    with NumPyRedis("no-such-host") as c:
        for call in (lambda: c.get("k"), c.ping, lambda: c.mget(["a", "b"]), lambda: c.pipeline(True).get("k").execute()):
            with pytest.raises(ConnectionError, match="'no-such-host' does not resolve"):
                call()


def test_a_temporary_failure_of_the_name_server(stub, monkeypatch):
    server = stub(b"+PONG\r\n")
    away = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    monkeypatch.setattr(socket, "getaddrinfo", resolving(away, away, *socket.getaddrinfo("127.0.0.1", server.address[1], 0, socket.SOCK_STREAM)[:1]))
    with NumPyRedis("ndring.internal", server.address[1]) as c:
        assert c.ping()


def calls_of(client):
    """One call of each kind that may be a miss."""
    return [
        lambda: client.get("k"), lambda: client.get("k", out=np.zeros_like(A)), lambda: client.set("k", A), lambda: client.mget(["a", "b"]),
        lambda: client.pipeline().get("k").execute(), lambda: client.pipeline(True).set("k", A).execute(), lambda: client.get_or_set("k", lambda: A),
    ]  # fmt: skip


def test_wrong_settings_are_not_misses(at_once):
    """Otherwise every call would be a miss for ever."""
    with saying(b"-ERR Protocol error: unknown\r\n") as address:
        for c, text in (
            (NumPyRedis(*address, ssl=True, on_error="miss"), "does not speak TLS"),
            (NumPyRedis(*address, ssl=True, ssl_ca_certs="/no/such/file", on_error="miss"), "ssl_"),
            (NumPyRedis("a" * 70 + ".internal", on_error="miss"), "not a valid host name"),
        ):  # fmt: skip
            with c:
                for call in calls_of(c):
                    with pytest.raises(ConnectionError, match=text):
                        call()
                assert c.unanswered == (0, 0, None)


def test_an_unknown_name_is_a_miss(at_once, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", resolving(socket.gaierror(socket.EAI_NONAME, "Name or service not known")))
    with NumPyRedis("cache", on_error="miss") as c:
        assert [call() is None for call in calls_of(c)[:2]] == [True, True]
        assert c.set("k", A) is False and c.mget(["a", "b"]) == [None, None] and np.array_equal(c.get_or_set("k", lambda: A), A)
        assert c.pipeline().get("k").execute() == [None] and c.pipeline(True).set("k", A).execute() == [False]


def test_a_replaced_getaddrinfo(at_once, monkeypatch):
    """Programs wrap getaddrinfo with their own caches."""

    def getaddrinfo(*arguments):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with NumPyRedis("no-such-host") as c, pytest.raises(ConnectionError, match="'no-such-host' does not resolve"):
        c.get("k")


def test_a_host_name_that_is_too_long(at_once):
    with NumPyRedis("a" * 70 + ".internal") as c, pytest.raises(ConnectionError, match="is not a valid host name"):
        c.get("k")


@pytest.mark.parametrize("answer, text", [
    (b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n400 Bad Request", "speaks HTTP"),
    (b"\x15\x03\x01\x00\x02\x02\x16", "speaks TLS"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "not ndring"),
    (b"-DENIED ndring runs in protected mode\r\n", "DENIED"),
])  # fmt: skip
def test_another_server_listens(at_once, answer, text):
    with saying(answer) as address, NumPyRedis(*address) as c:
        for call in (lambda: c.get("k"), c.ping):
            with pytest.raises((DecodeError, ServerError), match=text):
                call()


def test_the_http_port_of_a_node(at_once):
    process, address = start_node("--bind", "127.0.0.1", "--http-port", "0")
    try:
        with NumPyRedis(*address) as c:
            port = int(c.info("server")["http_port"]) if "http_port" in c.info("server") else None
        if port:
            with NumPyRedis(address[0], port) as c, pytest.raises(DecodeError, match="HTTP"):
                c.get("k")
    finally:
        stop_node(process)


def test_a_redis_server(stub, at_once):
    server = stub(b"-ERR unknown command 'NP.GET', with args beginning with: 'k' 'WITHATTRS' \r\n", b"-ERR unknown command `NP.SET`\r\n")
    server.slots = b"-ERR This instance has cluster support disabled\r\n"
    with client_of_stub(server) as c:
        for call in (lambda: c.get("k"), lambda: c.set("k", A)):
            with pytest.raises(ServerError, match="speaks the Redis protocol but is not ndring"):
                call()


@pytest.mark.parametrize("arguments, error, text", [
    (("redis://h:1",), ValueError, "from_url"), (("h:1",), ValueError, r"NumPyRedis\('h', 1\)"), (("h", 0), ValueError, "port"),
    (("h", 65536), ValueError, "port"),
    (("h", "x"), TypeError, "port"), (("h", None), TypeError, "port"), (("h", True), TypeError, "port"),
    (("h/x",), ValueError, "not a host name"), (("",), ValueError, "not a host name"),
    ((None,), TypeError, "list"), ((b"h",), TypeError, "list"), ((["h:x"],), TypeError, "port"), (([],), ValueError, "empty"),
    ((["redis://h"],), ValueError, "from_url"),
    (([5],), TypeError, "a node must be"), (([("h",)],), TypeError, "a node must be"),
])  # fmt: skip
def test_invalid_addresses(arguments, error, text):
    with pytest.raises(error, match=text):
        NumPyRedis(*arguments)


# Several seeds


def seeds(client):
    return [str(address) for address in client._cluster.nodes._seeds]


@pytest.mark.blocking
def test_forms_of_several_nodes():
    class Node:
        host, port = "c", 3

    assert seeds(NumPyRedis(["a:1", "b", "[::1]:4", "::1", ("c", 2), Node()])) == ["a:1", "b:7379", "::1:4", "::1:7379", "c:2", "c:3"]
    assert seeds(NumPyRedis(startup_nodes=[Node(), "a:1", "a:1"])) == ["c:3", "a:1"]
    assert seeds(NumPyRedis(["a", "b"], 5)) == ["a:5", "b:5"] and seeds(NumPyRedis("a")) == ["a:7379"]
    c = NumPyRedis.from_url("redis://u:p%2C@a:1,b,[::1]:2?retry_for=3&deadline=2&on_error=miss")
    assert seeds(c) == ["a:1", "b:7379", "::1:2"] and c._cluster.policy == (3, 2, "miss")
    assert c._cluster.nodes.at(c._cluster.nodes._seeds[1])._pool._settings.password == "p,"
    with pytest.raises(ValueError, match="empty host"):
        NumPyRedis.from_url("redis://a,,b")


def test_a_dead_first_seed_costs_no_time(fake, at_once):
    cluster = fake()
    for call in ("get", "mget", "scan", "info"):
        with NumPyRedis([nothing(), cluster.nodes[1].address]) as c:
            if call == "get":
                assert c.get("k") is None
            elif call == "mget":
                assert c.mget(["a", "b", "c"]) == [None] * 3
            elif call == "scan":
                assert list(c.scan_iter()) == []
            c.nodes()
            assert c.ping() and c.info()["name"] == 1


def test_a_first_seed_that_hangs_delays_briefly(fake):
    cluster = fake()
    with socket.create_server(("127.0.0.1", 0)) as hangs, NumPyRedis([hangs.getsockname(), cluster.nodes[1].address], deadline=20) as c:
        assert c.get("k") is None and len(c.nodes()) == 3


def test_no_seed_answers():
    one, two = nothing(), nothing()
    with NumPyRedis([one, two], retry_for=0.1) as c, pytest.raises(ConnectionError, match="refused"):
        c.get("k")


# Identification


def test_a_client_identifies_itself(node):
    with NumPyRedis(*node, client_name="service") as c:
        text = command(c, b"CLIENT", b"INFO")
    text = text if isinstance(text, str) else text.decode()
    assert " lib-name=ndring " in f" {text} " and " lib-ver=" in text and "lib-ver= " not in text and " name=service " in text


def test_a_node_without_client_setinfo_works():
    with saying(b"-ERR unknown subcommand\r\n" * 2 + b"+PONG\r\n", read=False) as address:
        with NumPyRedis(*address, retry_for=0) as c, pytest.raises(DecodeError, match="more than the expected replies"):
            c.ping()


def test_a_missing_password_is_reported_for_values_of_any_size():
    process, address = start_node("--requirepass", "secret")
    try:
        with NumPyRedis(*address) as c:
            for value in (A, np.zeros(100_000, np.uint8), np.zeros(80 << 20, np.uint8)):
                for call in (
                    lambda: c.set("k", value), lambda: c.set("k", value, nx=True), lambda: c.mset({"k": value, "j": value}),
                    lambda: c.pipeline(True).set("k", value).execute(), lambda: c.pipeline().set("k", value).execute(),
                ):  # fmt: skip
                    with pytest.raises(AuthenticationError, match="password"):
                        call()
        with NumPyRedis(*address, password="wrong") as c, pytest.raises(AuthenticationError):
            c.get("k")
        with NumPyRedis(*address, password="secret") as c:
            assert c.set("k", A)
    finally:
        stop_node(process)


def test_a_refused_login_is_not_its_own_cause(stub):
    server = stub(b"-WRONGPASS invalid username-password pair\r\n")
    with client_of_stub(server, password="x") as c, pytest.raises(AuthenticationError) as caught:
        c.ping()
    assert caught.value.__cause__ is not caught.value
    traceback.format_exception(type(caught.value), caught.value, caught.value.__traceback__)


def test_too_many_clients_is_retried(stub):
    server = stub(lambda connection: connection.sendall(b"-ERR max number of clients reached\r\n"), b"+OK\r\n", b"+PONG\r\n")
    with client_of_stub(server, password="x") as c:
        assert c.ping()


@pytest.mark.parametrize("reply", [b"-ERR max number of clients reached\r\n", b"-ERR too many new connections from this address\r\n"])
def test_a_node_without_room_is_retried_after_the_login_too(stub, reply):
    def full(connection):
        connection.sendall(reply)
        connection.close()

    with client_of_stub(stub(b"+OK\r\n", full, b"+OK\r\n", b"+PONG\r\n"), password="x") as c:
        assert c.ping()


# Values for which the node or the client has no memory


class Refusing:
    """Replies to the first command at once, and closes the connection without reading the rest of it."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, connection):
        connection.sendall(self.answer)


@pytest.mark.parametrize("answer, error", [(b"-ERR Protocol error: invalid bulk length\r\n", TooLargeError), (b"-TOOLARGE the limit is 5\r\n", TooLargeError),
                                           (b"-ERR Protocol error: unauthenticated bulk length\r\n", AuthenticationError)])  # fmt: skip
def test_the_last_reply_before_the_node_closes_the_connection(answer, error):
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                said = b""
                while b"NP.SET" not in said:
                    part = connection.recv(10_000)
                    if not part:
                        break
                    if b"CLUSTER" in part:
                        connection.sendall(b"-ERR no\r\n")
                    elif b"SETINFO" in part:
                        connection.sendall(b"+OK\r\n+OK\r\n")
                    said += part
                else:
                    connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with NumPyRedis(*server.getsockname()) as c:
            value = np.zeros(32 << 20, np.uint8)
            for call in (
                lambda: c.set("k", value), lambda: c.set("k", value, nx=True), lambda: c.pipeline().set("k", value).execute(),
                lambda: c.pipeline(True).set("k", value).execute(),
            ):  # fmt: skip
                with pytest.raises(error):
                    call()
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def test_unreadable_memory_is_not_a_lost_connection(stub, monkeypatch, tmp_path):
    """The file is truncated between encoding and sending."""
    encode = _commands._codec.encode

    def then_cut(value, **options):
        encoded = encode(value, **options)
        with open(path, "r+b") as file:
            file.truncate(4096)
        return encoded

    monkeypatch.setattr(_commands._codec, "encode", then_cut)
    monkeypatch.setattr(_commands, "MAX_SUMMED", -1)
    path = tmp_path / "array"
    mapped = np.memmap(path, np.uint8, "w+", 0, 1 << 20)
    with client_of_stub(stub()) as c, pytest.raises(EncodeError, match="cannot read the memory of the array"):
        c.set("k", mapped)
