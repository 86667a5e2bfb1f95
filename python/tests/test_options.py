"""Options are validated when the client is created, and pickled with it."""
from __future__ import annotations

import copy
import datetime
import math
import multiprocessing
import pickle

import ndring
import numpy as np
import pytest
from ndring import NumPyRedis
from test_failures import A, client_of

NAN = math.nan


@pytest.mark.parametrize("name, values", [
    ("retry_for", [None, "3", NAN, -1, True, datetime.timedelta(1)]),
    ("deadline", ["3", NAN, 0, -1, False]),
    ("socket_timeout", ["3", NAN, 0, -1, True]),
    ("socket_connect_timeout", ["3", NAN, 0, -1]),
    ("max_array_bytes", [None, "3", 0, -1, 1.5, True]),
    ("max_connections", ["3", 0, -1, 1.5]),
    ("protocol", [1, 4, "x"]),
    ("on_error", [None, "make", "ignore", True]),
    ("write_concern", ["most", "", 1, True, b"all"]),
    ("read_from_replicas", [None, 0, 1, "yes"]),
    ("db", [1, "x"]),
    ("nosuch", [1]),
    ("ssl_ca_certs", ["/x"]),
    ("redis_connect_func", [print]),
    ("connection_class", [dict]),
])  # fmt: skip
def test_invalid_options(name, values):
    for value in values:
        with pytest.raises((TypeError, ValueError), match=name if name != "db" else "database"):
            NumPyRedis(**{name: value})


def test_options_that_exclude_each_other_or_require_tls():
    with pytest.raises(ValueError, match="credential_provider excludes"):
        NumPyRedis(credential_provider=object(), password="x")
    with pytest.raises(ValueError, match="ssl_validate_ocsp"):
        NumPyRedis(ssl=True, ssl_validate_ocsp=True)
    with pytest.raises(ValueError, match="ssl_cert_reqs"):
        NumPyRedis(ssl=True, ssl_cert_reqs="sometimes")


@pytest.mark.parametrize("options", [
    {"retry_for": 0}, {"retry_for": np.float64(2)}, {"retry_for": math.inf}, {"socket_timeout": None}, {"socket_connect_timeout": None}, {"deadline": 0.5},
    {"max_connections": np.int64(3)}, {"max_connections": None}, {"protocol": "3"}, {"db": None}, {"decode_responses": True},
    {"ssl": True, "ssl_cert_reqs": "none"},
])  # fmt: skip
def test_valid_options(options):
    NumPyRedis(**options)


class Provider:
    def get_credentials(self):
        return "user", "pass"


@pytest.mark.parametrize("make", [
    lambda: NumPyRedis("a", 1, socket_timeout=3, retry_for=2, deadline=1, on_error="miss", password="x", max_connections=2, max_array_bytes=5),
    lambda: NumPyRedis(["a:1", ("b", 2)], credential_provider=Provider()),
    lambda: NumPyRedis(startup_nodes=["a:1"], client_name="c", protocol=3),
    lambda: NumPyRedis.from_url("rediss://u:p@a,b:2/0?ssl_cert_reqs=none&socket_keepalive=1"),
    lambda: NumPyRedis.from_url("unix:///tmp/x?retry_for=1"),
    lambda: NumPyRedis().with_options(deadline=1, on_error="miss"),
    lambda: NumPyRedis("a", write_concern="all").with_options(read_from_replicas=True),
])  # fmt: skip
def test_a_pickled_client_has_the_same_options(make):
    c = make()
    for other in (pickle.loads(pickle.dumps(c)), pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(c)))), copy.deepcopy(c)):
        mine, its = (x._cluster.nodes.seed._pool._settings for x in (c, other))
        if mine.credential_provider is not None:
            mine, its = (s._replace(credential_provider=type(s.credential_provider)) for s in (mine, its))
        assert mine == its and other._cluster.policy == c._cluster.policy and repr(other) == repr(c)
        assert other._core.defaults == c._core.defaults and other._cluster.read_from_replicas == c._cluster.read_from_replicas
        assert other._cluster.nodes._seeds == c._cluster.nodes._seeds and other._cluster.nodes is not c._cluster.nodes


class Mine(NumPyRedis):
    pass


def test_a_pickled_subclass_keeps_its_class():
    assert type(pickle.loads(pickle.dumps(Mine("a")))) is Mine


def work(client):
    client.set("from a child", np.arange(3) + 1)
    return client.get("to a child")


def test_a_client_is_passed_to_a_spawned_process(client):
    client.set("to a child", A)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.apply(work, (client,)), A)
    assert client.get("from a child").tolist() == [1, 2, 3]


def test_with_options_shares_the_connections(stub):
    server = stub(*[b"+PONG\r\n"] * 3)
    with client_of(server) as c:
        other = c.with_options(deadline=5, on_error="miss", retry_for=1)
        assert c.ping() and other.ping() and c.ping() and server.connections == 1
        assert other._cluster.policy == (1, 5, "miss") and c._cluster.policy.on_error == "raise"
        assert other.with_options(retry_for=2)._cluster.policy == (2, 5, "miss")
        for wrong in ({"host": "x"}, {"deadline": "x"}, {"on_error": "x"}, {"retry_for": None}):
            with pytest.raises((TypeError, ValueError)):
                c.with_options(**wrong)


def test_the_password_of_a_provider(stub):
    server = stub(b"+OK\r\n", b"+PONG\r\n")
    with client_of(server, credential_provider=Provider()) as c:
        assert c.ping()
    assert server.commands[0] == [b"AUTH", b"user", b"pass"]


def test_pool_and_login_raise_our_errors(stub):
    """Neither the pool nor the login raises what redis-py would raise."""
    server = stub(*[lambda connection: None] * 4)
    with client_of(server, retry_for=0, password="x") as c, pytest.raises(ndring.NdringError):
        c.ping()
    with client_of(server, retry_for=0, max_connections=1) as c:
        held = c._cluster.nodes.seed._pool._create()
        with pytest.raises(ndring.ConnectionError, match="max_connections"):
            c.ping()
        assert not c._cluster.nodes.outages.known and held is not None  # unrelated to the node's health
