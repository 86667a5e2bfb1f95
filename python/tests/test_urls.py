"""from_url accepts the URLs that redis-py accepts."""
from __future__ import annotations

import numpy as np
import pytest
from conftest import start_node, stop_node
from ndring import AuthenticationError, ConnectionError, NumPyRedis
from routing_helpers import command


@pytest.mark.parametrize(
    "query",
    ["", "/0", "?db=0", "?socket_timeout=3", "?socket_connect_timeout=2.5", "?socket_keepalive=yes", "?retry_on_timeout=true", "?max_connections=7",
     "?health_check_interval=5", "?client_name=me", "?encoding=utf-8", "?encoding_errors=strict", "?decode_responses=",
    "?retry_for=1.5&max_array_bytes=1000000",
     "?decode_responses=True", "?socket_read_size=1000", "?socket_type=2", "?timeout=5", "?retry_on_error=ConnectionError", "?protocol=2", "?protocol=3",
     "?lib_name=me&lib_version=1", "?socket_timeout=3&client_name=me&max_connections=2"],
)  # fmt: skip
def test_options_of_a_url(node, query):
    with NumPyRedis.from_url(f"redis://{node[0]}:{node[1]}{query}") as c:
        assert c.set("url", np.arange(3)) and c.get("url").tolist() == [0, 1, 2]
        if "client_name" in query:
            assert command(c, b"CLIENT", b"GETNAME") == b"me"


def test_options_have_their_effect():
    c = NumPyRedis.from_url("redis://u:p%40ss@h:1?socket_timeout=3&max_connections=7&retry_for=1.5&max_array_bytes=10&socket_keepalive=1", socket_timeout=4)
    settings = c._cluster.nodes.seed._pool._settings
    assert (c._cluster.nodes.seed.address, settings.username, settings.password, settings.socket_timeout) == (("h", 1), "u", "p@ss", 4)
    assert settings.socket_keepalive and settings.max_connections == 7 and settings.tls is None
    assert c._cluster.policy.retry_for == 1.5 and settings.max_array_bytes == 10
    tls = NumPyRedis.from_url("rediss://h?ssl_check_hostname=False&ssl_cert_reqs=none")
    assert tls._cluster.nodes.seed._pool._settings.tls == {"ssl_check_hostname": False, "ssl_cert_reqs": "none"} and tls._core.label == "h:7379"
    for redis_retries in ("retry_on_timeout=yes", "retry_on_error=TimeoutError"):  # accepted, but the client retries on its own and has its own errors
        with NumPyRedis.from_url(f"redis://127.0.0.1:1?retry_for=0&{redis_retries}") as c, pytest.raises(ConnectionError):
            c.ping()


def test_unix_socket(stub, tmp_path):
    server = stub(b"+OK\r\n", b"+PONG\r\n", path=tmp_path / "a socket")
    query = "db=0&socket_timeout=3&socket_connect_timeout=1&socket_keepalive=1&retry_on_timeout=1&health_check_interval=5&retry_for=2"
    with NumPyRedis.from_url(f"unix://:secret@{tmp_path}/a%20socket?{query}") as c:
        assert c.ping() and c._core.label == f"{tmp_path}/a socket" and c._cluster.policy.retry_for == 2
    assert server.commands == [[b"AUTH", b"secret"], [b"PING"]]


@pytest.mark.parametrize(
    "url, error, text",
    [
        ("redis://h?nosuch=1", TypeError, "nosuch"),
        ("rediss://h?nosuch=1", TypeError, "nosuch"),
        ("unix:///x?nosuch=1", TypeError, "nosuch"),
        ("unix:///x?db=1", ValueError, "one database"),
        ("redis://h?ssl_check_hostname=1", TypeError, "ssl_check_hostname"),  # must not be ignored: there is no TLS to check
        ("redis://h?protocol=4", ValueError, "protocol must be 2 or 3"),
        ("redis://h?timeout=x", ValueError, "timeout"),
        ("redis://h?max_connections=x", ValueError, "max_connections"),
        ("redis://h?socket_type=x", ValueError, "socket_type"),
        ("redis://h?encoding=nosuch", ValueError, "encoding"),
        ("redis://h?retry=1", ValueError, "retry cannot be given in a URL"),
        ("redis://h?parser_class=x", ValueError, "parser_class cannot"),
        ("redis://h?connection_class=x", ValueError, "connection_class cannot"),
        ("redis://h?redis_connect_func=x", ValueError, "redis_connect_func cannot"),
        ("rediss://h?ssl_min_version=x", ValueError, "ssl_min_version"),
        ("rediss://h?ssl_min_version=99", ValueError, "ssl_min_version"),
        (f"unix:///tmp/{'x' * 103}", ValueError, "path of a Unix socket"),
        (f"unix:///tmp/{'%C3%A9' * 55}", ValueError, "path of a Unix socket"),
        ("redis://h/1", ValueError, "one database"),
        ("redis://h?db=3", ValueError, "one database"),
        ("redis://h?socket_timeout=x", ValueError, "socket_timeout"),
        ("redis://h?retry_for=x", ValueError, "retry_for"),
        ("redis://h?max_array_bytes=1.5", ValueError, "max_array_bytes"),
        ("http://h", ValueError, "redis://"),
    ],
)
def test_invalid_urls(url, error, text):
    with pytest.raises(error, match=text):
        NumPyRedis.from_url(url)


def test_password_of_a_url():
    process, address = start_node("--requirepass", "p@:/ss")
    try:
        where = f"{address[0]}:{address[1]}"
        for authority in ("default:p%40%3A%2Fss@", ":p%40%3A%2Fss@"):
            with NumPyRedis.from_url(f"redis://{authority}{where}") as c:
                assert c.ping()
        with NumPyRedis.from_url(f"redis://:wrong@{where}") as c, pytest.raises(AuthenticationError):
            c.ping()
    finally:
        stop_node(process)
