"""Reads from replicas: how they are spread, what happens if a replica fails, and how the client learns
of the replicas. Against a cluster of stubs."""
from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from fake_cluster import FakeNode
from ndring import ConnectionError, NumPyRedis
from ndring._core import commands as _commands
from ndring._core import nodes as _nodes
from ndring._exceptions import DecodeError
from ndring._core.replicas import Replicas
from ndring._core.slots import Address, parse_shards, parse_slots
from routing_helpers import A, ASKED, KEYS, client_of, key_of, names


def spread_over(cluster, c, key, count=30):
    """Reads a key several times. Returns how many reads its primary and its replica answered."""
    primary, (replica,) = cluster.owner(key), cluster.copies[_commands.slot(key.encode())]
    for node in (primary, replica):
        node.commands.clear()
    before = replica.replica_reads
    for _ in range(count):
        assert np.array_equal(c.get(key), A)
    return names(primary).count(b"NP.GET"), replica.replica_reads - before


@pytest.mark.parametrize("hidden", [False, True], ids=["SLOTS", "SHARDS"])
def test_reads_are_spread(replicated, hidden):
    cluster = replicated(hidden)
    key = key_of(cluster, 1)
    with client_of(cluster, read_from_replicas=True) as c:
        assert c.mset(dict.fromkeys(KEYS, A))
        for node in cluster.nodes:
            node.data = dict.fromkeys(map(str.encode, KEYS), node.data[next(iter(node.data))])
        assert spread_over(cluster, c, key) == (15, 15)
        before = sum(node.replica_reads for node in cluster.nodes)
        for _ in range(4):
            assert all(np.array_equal(a, A) for a in c.mget(KEYS)) and c.exists(*KEYS) == 300 and c.ttl(key) == -1
        assert sum(node.replica_reads for node in cluster.nodes) - before > 300
        assert spread_over(cluster, c.with_options(read_from_replicas=False), key) == (30, 0)
        assert all(c.pipeline().set(key, A).get(key).execute()[0] for _ in range(4))
        assert len(c.nodes()) == 3 and len(list(c.scan_iter())) == 300
    assert cluster.redirects == 0
    with client_of(cluster) as c:
        assert spread_over(cluster, c, key) == (30, 0)


def test_a_pipeline_with_writes_reads_them(replicated):
    cluster = replicated()
    key = key_of(cluster, 1)
    with client_of(cluster, read_from_replicas=True) as c:
        for n in range(6):  # the replica has nothing
            stored, found = c.pipeline().set(key, A + n).get(key).execute()
            assert stored is True and np.array_equal(found, A + n)


def test_get_or_set_does_not_trust_replicas(replicated):
    cluster = replicated()
    key = key_of(cluster, 1)
    with client_of(cluster, read_from_replicas=True) as c:
        c.get(key)
        for node in cluster.nodes:
            node.override = lambda node, arguments: (node._do(arguments), b"$3\r\n1-1\r\n")[1] if b"WITHVERSION" in arguments else None
        made = []
        for _ in range(6):  # the replica has nothing
            assert np.array_equal(c.get_or_set(key, lambda: made.append(1) or A), A)
    assert len(made) == 1


@pytest.mark.parametrize("failure", ["MOVED", "LOADING", "CLUSTERDOWN", "READONLY", "TRYAGAIN", "lost", "dead", "silent", "refused"])
@pytest.mark.parametrize("several", [False, True], ids=["get", "mget"])
def test_the_primary_answers_if_a_replica_does_not(replicated, failure, several):
    cluster = replicated()
    key = key_of(cluster, 1)
    primary, replica = cluster.nodes[1:]
    hold = threading.Event()
    try:
        with client_of(cluster, read_from_replicas=True, retry_for=0) as c:
            c.set(key, A)
            replica.data.update(primary.data)

            def override(node, arguments):
                if arguments[0] == b"READONLY":
                    return b"-ERR not here\r\n" if failure == "refused" else None
                if arguments[0] != b"NP.GET" or failure == "refused":
                    return None
                if failure == "silent":
                    hold.wait(30)
                if failure in ("silent", "lost"):
                    return FakeNode.DROP
                return b"-MOVED 1 %b\r\n" % primary.where.encode() if failure == "MOVED" else b"-%b no\r\n" % failure.encode()

            replica.override = override
            if failure == "dead":
                replica.die()
            began = time.monotonic()
            for _ in range(10):
                assert np.array_equal(c.mget([key])[0] if several else c.get(key), A)
            assert time.monotonic() - began < 3
            if failure not in ("dead", "refused"):
                assert names(replica).count(b"NP.GET") == 1  # it is left alone for a while
            assert cluster.owner(key) is primary and not c._cluster.nodes.outages.known
    finally:
        hold.set()


def test_a_silent_replica_leaves_time_for_the_primary(replicated):
    cluster = replicated()
    key = key_of(cluster, 1)
    primary, replica = cluster.nodes[1:]
    hold = threading.Event()
    try:
        with client_of(cluster, read_from_replicas=True) as c:
            c.set(key, A)
            replica.override = lambda node, arguments: FakeNode.DROP if arguments[0] == b"NP.GET" and hold.wait(30) else None
            hurried = c.with_options(deadline=0.8)
            for _ in range(4):
                assert np.array_equal(hurried.get(key), A)
            assert names(replica).count(b"NP.GET") == 1
    finally:
        hold.set()


def test_a_replica_takes_over_while_clients_read_from_it(replicated):
    cluster = replicated()
    key = key_of(cluster, 1)
    dead, heir = cluster.nodes[1:]
    with client_of(cluster, read_from_replicas=True) as c:
        c.set(key, A)
        heir.data.update(dead.data)
        assert sum(spread_over(cluster, c, key, 4)) == 4
        cluster.promote(dead, heir)
        dead.die()
        for _ in range(10):
            assert np.array_equal(c.get(key), A)
        assert c.set(key, A, xx=True) is True


def test_a_cluster_with_one_primary_and_a_replica(fake):
    """The client does not take the only primary for the only node."""
    cluster = fake(2)
    primary, replica = cluster.nodes
    cluster.owners = [primary] * 16384
    cluster.copies = [(replica,)] * 16384
    with client_of(cluster) as c:
        assert c.set("k", A) and c.nodes() == [primary.where]
        cluster.promote(primary, replica)
        primary.die()
        assert np.array_equal(c.get("k"), A) and c.set("k", A) and c.nodes() == [replica.where]


def test_a_scan_omits_no_keys_of_a_node_that_was_replaced(replicated):
    cluster = replicated()
    with client_of(cluster, retry_for=0.3) as c:
        c.mset(dict.fromkeys(KEYS, A))
        every = sorted(map(str.encode, KEYS))
        walk = c.scan_iter(count=10)
        found = [next(walk)]
        last = cluster.nodes[2]
        cluster.promote(last, cluster.nodes[1])  # before its turn
        last.die()
        assert sorted([*found, *walk]) == every
        walk = c.scan_iter(count=10)
        first = next(walk)
        dead = cluster.owner(first)
        heir = next(node for node in cluster.nodes[:2] if node is not dead)
        cluster.promote(dead, heir)
        dead.die()
        with pytest.raises(ConnectionError, match="was replaced while its keys were scanned"):
            list(walk)
        assert sorted(c.scan_iter()) == every


@pytest.mark.parametrize("value", [None, 1, "yes", "primary"])
def test_an_invalid_read_from_replicas(value):
    for call in (lambda: NumPyRedis(read_from_replicas=value), lambda: NumPyRedis().with_options(read_from_replicas=value)):
        with pytest.raises(TypeError, match="read_from_replicas must be True or False"):
            call()


def test_read_from_replicas_in_a_url():
    assert NumPyRedis.from_url("redis://a,b?read_from_replicas=yes")._cluster.read_from_replicas is True
    assert NumPyRedis.from_url("redis://a?read_from_replicas=0")._cluster.read_from_replicas is False
    with pytest.raises(ValueError, match="read_from_replicas"):
        NumPyRedis.from_url("redis://a?read_from_replicas=perhaps")


def test_new_replicas_are_noticed(replicated, monkeypatch):
    cluster = replicated()
    copies, cluster.copies = cluster.copies, [()] * 16384
    key = key_of(cluster, 1)
    monkeypatch.setattr(_nodes, "_REPLICAS_AGE", 0.0)
    with client_of(cluster, read_from_replicas=True) as c:
        c.set(key, A)
        c.get(key)
        cluster.copies = copies
        cluster.nodes[2].data.update(cluster.nodes[1].data)
        until = time.monotonic() + 10
        while not cluster.nodes[2].replica_reads:
            assert np.array_equal(c.get(key), A) and time.monotonic() < until


# Parsing and choosing

R, S = Address("r", 1), Address("s", 2)


def test_replicas_in_slots():
    row = [0, 9, [b"p", 1, b"p"], [b"r", 1, b"r", []], [b"s", 2], [b"s", 0], [None, 3], b"x", []]
    found = parse_slots([row, [10, 19, [b"r", 1, b"r"]]], ASKED)
    assert found.nodes == {"p": ("p", 1), "r": ("r", 1)} and found.owners()[9] == ("p", 1)
    assert found.replicas_by_slot()[9] == (R, S, Address("seed", 3)) and found.replicas_by_slot()[10] == ()
    assert parse_slots([row[:3]], ASKED).replicas_by_slot() is None


def test_replicas_in_shards():
    def node(name, role, health=b"online", **more):
        return {b"id": name, "port": 1, b"endpoint": name, b"role": role, b"health": health, **more}

    def flat(value):
        if isinstance(value, dict):
            return [flat(x) for pair in value.items() for x in pair]
        return [flat(x) for x in value] if isinstance(value, list) else value

    nodes = [node(b"p", b"master"), node(b"r", b"replica"), node(b"q", b"replica", b"loading"), node(b"f", "replica", "fail")]
    reply = [{b"slots": [0, 4, 7, 7], b"nodes": nodes}, {b"slots": [], b"nodes": [node(b"s", b"replica")]}, {b"slots": [9, 9], b"nodes": nodes[:1]}]
    for form in (reply, flat(reply)):
        assert parse_shards(form, ASKED) == ((0, 4, (R,)), (7, 7, (R,)))


@pytest.mark.parametrize(
    "reply",
    [
        None, 7, [1], [[]], [[b"slots"]], [{b"slots": [0, 1]}], [{b"slots": [0, 1 << 14], b"nodes": []}], [{b"slots": [b"0"], b"nodes": []}],
        [{b"slots": [], b"nodes": [1]}], [[]] * 16385,
    ],
    ids=lambda reply: repr(reply)[:40],
)  # fmt: skip
def test_invalid_shards(reply):
    with pytest.raises(DecodeError):
        parse_shards(reply, ASKED)


def test_replicas_take_turns_and_rest():
    r = Replicas()
    assert r.choose(0, 1, 0.0) is None
    r.install([(R, S)] * 2 + [()])
    assert [r.choose(0, n, 0.0) for n in range(4)] == [None, R, S, None] and r.choose(2, 1, 0.0) is None
    assert [r.choose(0, n, 0.0, [R]) for n in range(3)] == [None, S, None]
    r.failed(R, 0.0)
    r.failed(R, 0.1)  # of a call that began before
    assert r.choose(0, 1, 0.9) is S and r.choose(0, 1, 1.0) is R
    r.failed(R, 1.0)
    assert r.choose(0, 1, 2.9) is S and r.choose(0, 1, 3.0) is R
    for n in range(20):
        r.failed(R, 100.0 * n + 100)
    assert r.choose(0, 1, 2029.0) is S and r.choose(0, 1, 2031.0) is R
    r.answered(R)
    r.failed(R, 3000.0)
    assert r.choose(0, 1, 3001.0) is R
    r.answered(R)
    r.has_no_copy(S, 0, 4000.0)
    assert r.choose(0, 2, 4001.0) is None and r.choose(1, 2, 4001.0) is S and r.choose(0, 2, 4030.0) is S
    r.has_no_copy(S, 0, 5000.0)
    r.install([(R, S)])
    assert r.choose(0, 2, 5000.0) is S
