"""Users and what they may do."""
from __future__ import annotations

import numpy as np
import pytest
import redis
from ndring import AuthenticationError, NoPermissionError, NumPyRedis, PartialError
from ndring._core import retry as _retry
from routing_helpers import A
from test_connecting import calls_of
from test_failures import client_of

NO = b"-NOPERM User me has no permissions to access one of the keys used as arguments\r\n"


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(_retry.Attempts, "next_pause", lambda self: pytest.fail("a retry cannot help here"))


def test_a_user_of_a_url(stub, at_once):
    for options, auth in ({}, [b"AUTH", b"me", b"p:w"]), ({"protocol": 3}, [b"HELLO", b"3", b"AUTH", b"me", b"p:w"]):
        server = stub(b"+OK\r\n" if not options else b"%0\r\n", b"+PONG\r\n")
        with NumPyRedis.from_url(f"redis://me:p%3Aw@{server.address[0]}:{server.address[1]}", **options) as c:
            assert c.ping()
        assert server.commands[0] == auth


def test_a_missing_permission_is_raised_and_is_not_an_outage(stub, at_once):
    """It is a wrong setting, so on_error="miss" must not hide it."""
    for more in ({}, {"on_error": "miss"}):
        server = stub(*[NO] * 99)
        with client_of(server, **more) as c:
            for call in (
                lambda: c.get("k"), lambda: c.set("k", A), lambda: c.set("k", A, nx=True), lambda: c.get_or_set("k", lambda: A), lambda: c.delete("k"),
            ):  # fmt: skip
                asked = len(server.commands)
                with pytest.raises(NoPermissionError, match="no permissions") as caught:
                    call()
                assert len(server.commands) == asked + 1
                assert isinstance(caught.value, AuthenticationError) and isinstance(caught.value, redis.exceptions.NoPermissionError)
            assert caught.value.prefix == "NOPERM" and c.unanswered == (0, 0, None) and server.connections == 1


def test_a_missing_permission_for_some_keys(stub, at_once):
    server = stub(b"+OK\r\n", NO)
    with client_of(server) as c, pytest.raises(PartialError) as caught:
        c.mset({"a": A, "b": A})
    assert [type(error) for error in caught.value.errors.values()] == [NoPermissionError]
    server = stub(b"+OK\r\n", NO, b"-EXECABORT Transaction discarded because of previous errors.\r\n")
    with client_of(server) as c, pytest.raises(NoPermissionError):
        c.pipeline(transaction=True).set("a", A).execute()


def test_a_login_needs_no_permission_for_what_is_optional(fake):
    """A user may lack CLIENT and CLUSTER: nothing depends on a name, and redirects are followed without the slot map."""
    cluster = fake(2)
    answer = type(cluster.nodes[0])._answer
    refused = []

    def restricted(node, arguments, state):
        if arguments[0].upper() in (b"CLIENT", b"CLUSTER", b"READONLY"):
            refused.append(arguments[0])
            return NO
        return answer(node, arguments, state)

    for node in cluster.nodes:
        node._answer = restricted.__get__(node)
    with NumPyRedis(*cluster.nodes[0].address, client_name="me") as c:
        for i in range(20):
            assert c.set(f"k{i}", A + i) and np.array_equal(c.get(f"k{i}"), A + i)
    assert {b"CLIENT", b"CLUSTER"} <= set(refused) and cluster.redirects


def test_calls_of_a_user_without_permissions(fake, at_once):
    cluster = fake(1)
    cluster.nodes[0].override = lambda node, arguments: NO
    with NumPyRedis(*cluster.nodes[0].address, on_error="miss") as c:
        for call in calls_of(c):
            with pytest.raises((NoPermissionError, PartialError)):
                call()
        assert c.unanswered == (0, 0, None)
