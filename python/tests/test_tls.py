"""TLS in front of a node. The key in testdata serves these tests only."""
from __future__ import annotations

import errno
import pathlib
import socket
import ssl

import numpy as np
import pytest
from fake_cluster import FakeCluster
from ndring import ConnectionError, NumPyRedis, TimeoutError
from ndring._core import retry as _retry
from routing_helpers import A
from signal_helpers import signals
from test_connecting import calls_of, saying
from tls_helpers import Proxy, server_context

PEM = str(pathlib.Path(__file__).parent / "testdata" / "tls.pem")


@pytest.fixture
def secured():
    cluster = FakeCluster(1)
    proxy = Proxy(server_context((PEM, None)), cluster.nodes[0].address)
    cluster.nodes[0].slots_override = lambda node: b"-ERR no\r\n"
    yield proxy.address
    cluster.close()
    proxy.close()


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(_retry.Attempts, "next_pause", lambda self: pytest.fail("a retry cannot help here"))


def test_arrays_over_tls(secured, at_once):
    large = np.arange(1 << 17, dtype="<i4")
    url = f"rediss://{secured[0]}:{secured[1]}?ssl_ca_certs={PEM}&socket_timeout=20"
    with NumPyRedis.from_url(url) as c:
        for value in (A, large, A[:0]):
            assert c.set("k", value) and np.array_equal(c.get("k"), value)
        assert c.mset({"a": A, "b": large}) and np.array_equal(c.mget(["a", "b"])[1], large)


@pytest.mark.blocking
def test_a_connection_closed_during_use_stays_encrypted(secured):
    """It reports its end, and neither sends nor reads plain text."""
    with NumPyRedis(*secured, ssl=True, ssl_ca_certs=PEM) as c:
        assert c.ping()
        connection = c._cluster.nodes.seed._pool.acquire()
        connection.stream.begin(None, None)
        connection.stream.shutdown()
        assert connection.stream.sock.version()
        with pytest.raises(ConnectionError):
            raise connection.stream.send([b"secret"]) or AssertionError("it was sent")
        with pytest.raises(ConnectionError):
            connection.stream.read(connection.reader.reply())
        c._cluster.nodes.seed._pool.release(connection, False)
        assert c.ping()


def test_an_untrusted_certificate(secured, at_once):
    with NumPyRedis(*secured, ssl=True) as c, pytest.raises(ConnectionError, match="the certificate of .* is not valid: self.signed.*ssl_ca_certs="):
        c.get("k")
    with NumPyRedis(*secured, ssl=True, ssl_cert_reqs="none") as c:
        assert c.get("k") is None


def test_an_untrusted_certificate_is_not_a_miss(secured, at_once):
    with NumPyRedis(*secured, ssl=True, on_error="miss") as c:
        for call in calls_of(c):
            with pytest.raises(ConnectionError, match="the certificate of .* is not valid"):
                call()
        assert c.unanswered == (0, 0, None)


def test_a_certificate_for_another_name(secured, at_once):
    with NumPyRedis("localhost", secured[1], ssl=True, ssl_ca_certs=PEM) as c:
        with pytest.raises(ConnectionError, match="the certificate of .* is not valid: Hostname mismatch"):
            c.get("k")
    with NumPyRedis("localhost", secured[1], ssl=True, ssl_ca_certs=PEM, ssl_check_hostname=False) as c:
        assert c.get("k") is None


def test_a_missing_ca_file(secured, at_once):
    with NumPyRedis(*secured, ssl=True, ssl_ca_certs="/no/such/file") as c, pytest.raises(ConnectionError, match="ssl_"):
        c.get("k")


@pytest.mark.blocking
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1.3", "tlsv1_3", ssl.TLSVersion.TLSv1_2, int(ssl.TLSVersion.TLSv1_3)])
def test_minimum_version(secured, at_once, version):
    url = f"rediss://{secured[0]}:{secured[1]}?ssl_ca_certs={PEM}"
    with NumPyRedis.from_url(url, ssl_min_version=version) as c:
        assert c.get("k") is None
        settings = c._cluster.nodes.seed._pool._settings
        assert settings.tls["ssl_min_version"] in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    if isinstance(version, str):
        with NumPyRedis.from_url(f"{url}&ssl_min_version={version}") as c:
            assert c.ping()


@pytest.mark.parametrize("error, text, final", [
    (OSError(errno.ECONNRESET, "Connection reset by peer"), "reset", False),
    (ValueError("check_hostname requires server_hostname"), "invalid ssl_. options", True),
])  # fmt: skip
def test_wrap_socket_fails(monkeypatch, error, text, final):
    """For example because the node has just reset the connection."""
    module = {"__name__": "ssl", "error": error}
    exec("def wrap_socket(*arguments, **options):\n    raise error", module)
    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", module["wrap_socket"])
    if final:
        monkeypatch.setattr(_retry.Attempts, "next_pause", lambda self: pytest.fail("a retry cannot help here"))
    with saying(b"") as address, NumPyRedis(*address, ssl=True, retry_for=10 if final else 0) as c:
        with pytest.raises(ConnectionError, match=text):
            c.get("k")


def test_a_node_without_tls(at_once):
    with saying(b"-ERR Protocol error: unknown\r\n") as address, NumPyRedis(*address, ssl=True) as c:
        with pytest.raises(ConnectionError, match="does not speak TLS"):
            c.get("k")


def test_a_stalled_handshake_ends_in_time():
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        with NumPyRedis(*hangs.getsockname(), ssl=True, socket_connect_timeout=0.4, retry_for=0) as c, signals(lambda: None, every=0.1):
            with pytest.raises(TimeoutError, match="during the TLS handshake: does this port speak TLS"):
                c.ping()
