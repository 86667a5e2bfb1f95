"""Nodes that are down or hang: calls for their keys fail fast, all others continue, and a service
may work on without its cache."""
from __future__ import annotations

import gc
import logging
import re
import socket
import threading
import weakref

import ndring
import numpy as np
import pytest
from fake_cluster import FakeNode
from ndring import ClusterDownError, ConnectionError, NodeDownError, NumPyRedis, PartialError, TimeoutError, UncertainWrite
from ndring._core import nodes as _nodes
from ndring._core import outages as _outages
from ndring._core import wait_limits as _wait_limits
from ndring._core import retry as _retry
from ndring._sync import transport as _transport
from routing_helpers import A, KEYS, client_of, do, key_of, lose, names, wait_until
from test_failures import client_of as client_of_stub


@pytest.fixture
def quick(monkeypatch):
    """Shortens the silence before another node is asked, and the interval between probes."""
    monkeypatch.setattr(_wait_limits, "_SILENCE_CHECK_AFTER", 0.05)
    monkeypatch.setattr(_outages, "_PROBE_INTERVAL", 0.05)


@pytest.fixture
def hold():
    event = threading.Event()
    yield event
    event.set()


def freeze(node, hold):
    """Makes a node accept everything and reply to nothing, as a stopped process does."""
    node.override = lambda node, arguments: (hold.wait(30), FakeNode.DROP)[1]
    node.slots_override = lambda node: FakeNode.DROP if hold.wait(30) else None
    node.alive_for_others = False


# Nodes that are down


def test_calls_for_a_dead_node_fail_fast_after_one_has_waited(fake, monkeypatch, caplog):
    cluster = fake()
    key, other = key_of(cluster, 1), key_of(cluster, 2)
    with client_of(cluster, retry_for=0.3) as c:
        c.mset(dict.fromkeys(KEYS, A))
        cluster.nodes[1].die()
        with caplog.at_level(logging.INFO, "ndring"), pytest.raises(NodeDownError) as caught:
            c.get(key)
        assert isinstance(caught.value, ClusterDownError) and isinstance(caught.value, ConnectionError)
        assert cluster.nodes[1].where in str(caught.value) and "has not answered for" in str(caught.value) and "refused" in str(caught.value)
        levels = [record.levelname for record in caplog.records]
        assert levels.count("WARNING") == 1 and levels.count("INFO") >= 2
        monkeypatch.setattr(_retry.Attempts, "next_pause", lambda self: pytest.fail("no call waits any more") if self._delay > _retry._FIRST_DELAY else 0.0)
        patient = c.with_options(retry_for=0.3)
        for call in (
            lambda: patient.get(key), lambda: patient.set(key, A), lambda: patient.get_or_set(key, lambda: A),
            lambda: patient.pipeline(transaction=True).get(key).execute(), lambda: patient.set(key, A, nx=True),
        ):  # fmt: skip
            with pytest.raises(NodeDownError):
                call()
        with pytest.raises(PartialError) as caught:
            c.mget([key, other])
        assert isinstance(caught.value.errors[key], NodeDownError) and np.array_equal(caught.value.results[other], A)
        cluster.nodes[1].start()
        assert np.array_equal(c.get(key), A)  # each call tries once, since that is fast
        assert not c._cluster.nodes.outages.known


def test_a_node_that_hangs_is_given_up_if_another_says_so(fake, quick, hold):
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster, socket_timeout=30, retry_for=0) as c:
        c.mset(dict.fromkeys(KEYS, A))
        freeze(cluster.nodes[1], hold)
        asked = []

        def says(node, arguments):
            if arguments[0] != b"NP.EXISTS":
                return None
            asked.append(node)
            return b"-CLUSTERDOWN Hash slot 5 is not served: its node is down\r\n" if len(asked) > 2 else b"-MOVED 5 %b\r\n" % cluster.nodes[1].where.encode()

        for node in (cluster.nodes[0], cluster.nodes[2]):
            node.override = says
        with pytest.raises(NodeDownError, match="is silent, and .* says: CLUSTERDOWN"):
            c.get(key)
        assert len(asked) == 3 and len(cluster.nodes[1].commands) > 0
        sent = len(cluster.nodes[1].commands)
        with pytest.raises(NodeDownError, match="has not answered for"):
            c.get(key)
        assert all(command == [b"PING"] for command in cluster.nodes[1].commands[sent:])  # no call waits for it
        hold.set()
        cluster.nodes[1].override = cluster.nodes[1].slots_override = None
        wait_until(lambda: found(c, key))


def test_a_node_that_refused_connections_and_then_hangs_is_waited_for_once(fake, quick, hold):
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster, socket_timeout=30, retry_for=0) as c:
        c.mset(dict.fromkeys(KEYS, A))
        cluster.nodes[1].die()
        c.close()
        with pytest.raises(NodeDownError, match="refused"):
            c.get(key)
        freeze(cluster.nodes[1], hold)
        cluster.nodes[1].start()
        for _ in range(5):
            with pytest.raises(NodeDownError):
                c.get(key)
        assert names(cluster.nodes[1]).count(b"NP.GET") == 1


def test_an_error_does_not_grow_while_a_node_is_silent(fake, quick, hold, monkeypatch):
    monkeypatch.setattr(_nodes, "PROBE_WAIT", 0.0)
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster, retry_for=0, deadline=0.1) as c:
        c.with_options(deadline=None).mset(dict.fromkeys(KEYS, A))
        freeze(cluster.nodes[1], hold)
        nodes = c._cluster.nodes
        transport = nodes.at(nodes.find(cluster.nodes[1].where).address)
        lengths = []
        for _ in range(10):
            with pytest.raises((NodeDownError, TimeoutError)) as caught:
                c.get(key)
            lengths.append(len(re.sub(r"\d+", "", str(caught.value))))
            tries = nodes.outages.get(transport.address).tries
            do(c, nodes.probe(transport, None))
            wait_until(lambda: nodes.outages.get(transport.address).tries > tries)
        assert len(set(lengths[2:])) == 1, lengths
        assert caught.value.__cause__.__cause__ is None


def found(client, key):
    try:
        return np.array_equal(client.get(key), A)
    except NodeDownError:
        return False


@pytest.mark.blocking
def test_the_check_of_a_silent_node_ends_with_the_call(fake, quick, hold, monkeypatch):
    ends = []
    soon = _transport.Transport.with_timeout

    def record(self, request, seconds, end=None):
        ends.append(end)
        return soon(self, request, seconds, end)

    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster, socket_timeout=30, retry_for=0) as c:
        c.mset(dict.fromkeys(KEYS, A))
        freeze(cluster.nodes[1], hold)
        for node in (cluster.nodes[0], cluster.nodes[2]):
            node.override = lambda node, arguments: b"-CLUSTERDOWN down\r\n" if arguments[0] == b"NP.EXISTS" else None
        monkeypatch.setattr(_transport.Transport, "with_timeout", record)
        with pytest.raises(NodeDownError):
            c.with_options(deadline=25).get(key)
        assert ends and None not in ends and len(set(ends)) == 1


@pytest.mark.blocking
def test_a_probe_without_a_thread_ends_in_time(fake, quick, hold, monkeypatch):
    cluster = fake()
    asked = []
    with client_of(cluster, socket_timeout=30, retry_for=0) as c:
        transport = c._cluster.nodes.at(cluster.nodes[0].address)
        monkeypatch.setattr(_transport.Transport, "with_timeout", lambda self, request, seconds, end=None: asked.append((seconds, end)))
        monkeypatch.setattr(threading.Thread, "start", fails)
        do(c, c._cluster.nodes.probe(transport, 12345.0))
    assert asked == [(_nodes.PROBE_WAIT, 12345.0)]


def fails(thread):
    raise RuntimeError("can't start new thread")


def test_a_silent_node_is_left_if_another_serves_the_key(fake, quick, hold):
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster, socket_timeout=30) as c:
        c.mset(dict.fromkeys(KEYS, A))
        freeze(cluster.nodes[1], hold)
        cluster.give(key, cluster.nodes[2])
        assert np.array_equal(c.get(key), A)


def test_a_conditional_write_to_a_node_that_hangs_is_uncertain(fake, quick, hold):
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster, socket_timeout=30, retry_for=0) as c:
        c.mset(dict.fromkeys(KEYS, A))
        freeze(cluster.nodes[1], hold)
        for node in (cluster.nodes[0], cluster.nodes[2]):
            node.override = lambda node, arguments: b"-CLUSTERDOWN down\r\n" if arguments[0] == b"NP.EXISTS" else None
        with pytest.raises(UncertainWrite):
            c.set(key, A, nx=True)


def test_keys_without_a_node_fail_fast_after_one_call_has_waited(fake):
    cluster = fake()
    key, second = [k for k in KEYS if cluster.owner(k) is cluster.nodes[1]][:2]
    with client_of(cluster, retry_for=0.2) as c:
        c.mset(dict.fromkeys(KEYS, A))
        for node in cluster.nodes:
            node.override = lambda node, arguments: b"-CLUSTERDOWN Hash slot %d is not served: its node is down\r\n" % len(node.commands)
        with pytest.raises(ClusterDownError):
            c.get(key)
        before = sum(len(node.commands) for node in cluster.nodes)
        for k in (key, second):  # of another slot, with the same cause
            with pytest.raises(ClusterDownError):
                c.get(k)
        assert sum(len(node.commands) for node in cluster.nodes) == before + 2


def test_a_single_node_fails_fast_too(stub, monkeypatch):
    monkeypatch.setattr("ndring._core.outages._FAST_FAILURE", 60)  # a busy machine takes its time to refuse a connection
    server = stub(b"+OK\r\n")
    address = server.address
    with NumPyRedis(*address, retry_for=0.2) as c:
        assert c.set("k", A)
        c.close()
        server.close()
        server.close = lambda: None  # already closed
        with pytest.raises(ConnectionError, match="tried .* times in"):
            c.get("k")
        outage = c._cluster.nodes.outages.get(c._cluster.nodes.seed.address)
        tries = outage.tries
        with pytest.raises(ConnectionError):
            c.get("k")
        assert outage.tries == tries + 1


# Names that disappear while a container restarts


@pytest.fixture
def names_gone(monkeypatch):
    """Unresolvable names, by port on 127.0.0.1. Each lookup decrements the port's counter; at zero
    the name resolves again."""
    code = """
def getaddrinfo(host, port, *arguments):
    if gone.get(port):
        gone[port] -= 1
        raise gaierror(EAI_NONAME, "Name or service not known")
    return real(host, port, *arguments)
"""
    gone = {}
    module = {"__name__": "socket", "gone": gone, "real": socket.getaddrinfo, "gaierror": socket.gaierror, "EAI_NONAME": socket.EAI_NONAME}
    exec(code, module)
    monkeypatch.setattr(socket, "getaddrinfo", module["getaddrinfo"])
    return gone


@pytest.mark.parametrize("call", ["get", "ping", "mget", "transaction"])
def test_a_name_that_disappears_for_a_while_is_waited_for(stub, names_gone, call):
    answers = {"ping": [b"+PONG\r\n"], "transaction": [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n$-1\r\n"]}.get(call, [b"$-1\r\n"])
    server = stub(*2 * answers)
    with client_of_stub(server) as c:
        run = {
            "get": lambda: c.get("k"), "ping": c.ping, "mget": lambda: c.mget(["k"]), "transaction": lambda: c.pipeline(True).get("k").execute(),
        }[call]  # fmt: skip
        expected = run()
        c.close()
        names_gone[server.address[1]] = 2
        assert run() == expected and not names_gone[server.address[1]]


def test_a_node_whose_name_does_not_return_is_down(fake, names_gone):
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster, retry_for=0.1) as c:
        c.mset(dict.fromkeys(KEYS, A))
        cluster.nodes[1].die()
        names_gone[cluster.nodes[1].address[1]] = 10**6
        with pytest.raises(NodeDownError, match="does not resolve"):
            c.get(key)
        assert c._cluster.nodes.outages.get(cluster.nodes[1].address).waited
        assert c.with_options(on_error="miss").get(key) is None
        names_gone.clear()
        cluster.nodes[1].start()
        assert np.array_equal(c.get(key), A)


# on_error="miss"


@pytest.fixture
def broken(fake):
    """A client whose node 1 is dead. Yields the client, a key of that node, and a key of another."""
    cluster = fake()
    with client_of(cluster, retry_for=0.05, on_error="miss") as c:
        c.mset(dict.fromkeys(KEYS, A))
        cluster.nodes[1].die()
        yield c, key_of(cluster, 1), key_of(cluster, 2)


def test_reads_are_misses_and_writes_are_dropped(broken, caplog):
    c, key, other = broken
    default = object()
    with caplog.at_level(logging.WARNING, "ndring"):
        assert c.get(key) is None and c.get(key, default=default) is default and c.get(key, out=np.zeros_like(A)) is None
        assert c.mget([key, other])[0] is None and np.array_equal(c.mget([key, other])[1], A)
        assert c.shape(key) is None and c.meta(key) is None and c.dtype(key) is None and c.memory_usage(key) is None
        assert c.exists(key, other) == 1 and c.ttl(key) == c.pttl(key) == -2 and c.verify(key) is False
        reads = c.unanswered
        assert c.set(key, A) is False and c.set(key, A, nx=True) is False and c.mset({key: A, other: A}) is False
        assert c.expire(key, 1) is False and c.persist(key) is False and c.delete(key, other) == 1
        assert c.pipeline().get(key, default).set(key, A).ttl(other).execute() == [default, False, -1]
        assert c.pipeline(transaction=True).set(key, A).get(key).execute() == [False, None]
    assert reads.writes == 0 and reads.reads >= 13 and isinstance(reads.error, NodeDownError)
    assert c.unanswered.writes == 8 and c.unanswered.reads == reads.reads + 2
    assert any("calls bypassed the cache" in record.message for record in caplog.records)


def test_delete_prefix_drops_nothing_silently(fake):
    cluster = fake(1)
    with client_of(cluster, retry_for=0.05, on_error="miss") as c:
        assert c.mset({"a1": A, "a2": A})
        cluster.nodes[0].override = lambda node, arguments: b"-BUSY uploads\r\n" if arguments[0] == b"NP.DEL" else None
        with pytest.raises(ndring.BusyError):
            c.delete_prefix("a")
        assert c.delete("a1") == 0 and c.unanswered.writes == 1
        cluster.nodes[0].override = None
        assert c.delete_prefix("a") == 2


def test_a_dropped_write_is_not_kept_in_memory(broken):
    c, key, _ = broken
    value = np.zeros(1 << 17)
    alive = weakref.ref(value)
    assert c.set(key, value) is False and c.mset({key: value}) is False and c.pipeline().set(key, value).execute() == [False]
    del value
    gc.collect()
    assert alive() is None and c.unanswered.writes == 3 and isinstance(c.unanswered.error, NodeDownError)


def test_get_or_set_calls_make_during_an_outage(broken):
    c, key, other = broken
    made = []

    def make():
        made.append(1)
        return A + 1

    assert np.array_equal(c.get_or_set(key, make), A + 1) and len(made) == 1
    assert np.array_equal(c.get_or_set(other, make), A) and len(made) == 1
    strict = c.with_options(on_error="raise")
    assert np.array_equal(strict.get_or_set(key, make, on_error="make"), A + 1) and len(made) == 2
    for call in (lambda: strict.get_or_set(key, make), lambda: c.get_or_set(key, make, on_error="raise")):
        with pytest.raises(NodeDownError):
            call()
    assert len(made) == 2
    assert c.unanswered.reads == 2


def test_an_error_of_make_reaches_the_caller(broken):
    c, key, _ = broken
    for error in (ZeroDivisionError(), TimeoutError("of another client"), ndring.ClusterDownError("CLUSTERDOWN")):

        def make():
            raise error

        with pytest.raises(type(error)) as caught:
            c.get_or_set(key, make)
        assert caught.value is error


def test_make_is_called_once_even_if_the_node_is_lost_afterwards(fake):
    cluster = fake()
    key = key_of(cluster, 1)
    made = []

    def make():
        made.append(1)
        for node in cluster.nodes:
            if node.alive:
                node.die()
        return A

    with client_of(cluster, retry_for=0.05, on_error="miss") as c:
        for node in cluster.nodes:
            node.override = lambda node, arguments: (node._do(arguments), b"$3\r\n1-1\r\n")[1] if b"WITHVERSION" in arguments else None
        assert np.array_equal(c.get_or_set(key, make), A) and len(made) == 1
        assert c.unanswered.writes == 1


def test_another_caller_computes_for_too_long(fake):
    cluster = fake()
    with client_of(cluster) as c:
        for node in cluster.nodes:
            node.override = lambda node, arguments: b"$-1\r\n" if arguments[0] == b"NP.SET" else b":1\r\n" if arguments[0] == b"NP.EXISTS" else None
        with pytest.raises(TimeoutError):
            c.get_or_set("k", lambda: A, wait_for=0.05)
        assert np.array_equal(c.get_or_set("k", lambda: A, wait_for=0.05, on_error="make"), A)


@pytest.mark.parametrize("reply", [b"-NOAUTH no\r\n", b"-NOPERM no\r\n", b"-BADNPY no\r\n", b"-TOOLARGE no\r\n",
    b"-CROSSSLOT no\r\n", b"-CORRUPT no\r\n", b"-ERR no\r\n",
                                   b"-NOREPLICAS no\r\n", b":77\r\n"])  # fmt: skip
def test_errors_that_are_not_outages_still_raise(stub, reply):
    server = stub(*[reply] * 4)
    with client_of_stub(server, on_error="miss", retry_for=0) as c:
        for call in (lambda: c.set("k", A), lambda: c.verify("k"), lambda: c.mset({"a": A}), lambda: c.pipeline().set("k", A).execute()):
            with pytest.raises(ndring.NdringError):
                call()
        for call, error in (
            (lambda: c.set("k", [1]), ndring.EncodeError), (lambda: c.set("k", np.array([object()])), ndring.EncodeError),
            (lambda: c.get(b""), ndring.EncodeError), (lambda: c.set("k", A, ex=-1), ValueError), (lambda: c.set("k", A, nx=True, xx=True), ValueError),
            (lambda: c.get_or_set("k", lambda: A, on_error="x"), ValueError),
        ):  # fmt: skip
            with pytest.raises(error):
                call()
        assert c.unanswered == (0, 0, None)


@pytest.mark.parametrize("reply", [b"-OOM full\r\n", b"-DISKFULL no\r\n", b"-MISCONF no\r\n", b"-BUSY uploads\r\n", b"-LOADING\r\n"])
def test_writes_that_the_node_cannot_accept_now_are_dropped(stub, reply):
    with client_of_stub(stub(*[reply] * 3), on_error="miss", retry_for=0) as c:
        assert c.set("k", A) is False and c.mset({"k": A}) is False and c.unanswered.writes == 2


# What may be repeated, and what must not


def test_repeats_of_a_conditional_write_are_bounded(fake, monkeypatch):
    monkeypatch.setattr(_retry, "_SAFE_REPEAT", 0.1)
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster, retry_for=3600) as c:
        c.get(key)
        lose(cluster.nodes[1], times=10**6)
        with pytest.raises(UncertainWrite):
            c.set(key, A, nx=True)
        assert names(cluster.nodes[1]).count(b"NP.SET") >= 2
