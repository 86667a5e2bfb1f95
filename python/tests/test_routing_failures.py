"""Nodes that die, hang, move or come back, and how often the client fetches the slot map meanwhile.
Against a cluster of stubs."""
from __future__ import annotations

import threading
import time

import pytest
from ndring import BusyError, ConnectionError, NumPyRedis, PartialError, TimeoutError
from ndring._core import nodes as _nodes
from routing_helpers import A, KEYS, client_of, in_threads, key_of, wait_until


# Failing nodes


def test_another_node_has_the_map_if_the_first_is_dead(fake):
    cluster = fake()
    with client_of(cluster, retry_for=5) as c:
        c.mset(dict.fromkeys(KEYS, A))
        seed, heir = cluster.nodes[:2]
        seed.die()
        cluster.owners = [heir if node is seed else node for node in cluster.owners]
        heir.data.update(seed.data)
        assert all(a is not None for a in c.mget(KEYS))
        assert c.ping() and c.info()["name"] in (1, 2) and len(c.nodes()) == 2
        assert len(list(c.scan_iter())) == 300


def test_the_seed_is_retried(fake):
    """All nodes restart with new addresses at once; only the seed still has its address."""
    cluster = fake()
    with client_of(cluster) as c:
        c.mset(dict.fromkeys(KEYS, A))
        for node in cluster.nodes:
            node.die()
        cluster.nodes[0].start()
        for node in cluster.nodes[1:]:
            node.start(("127.0.0.1", 0))
        assert all(a is not None for a in c.mget(KEYS))
        assert sorted(c.nodes()) == sorted(node.where for node in cluster.nodes)


def test_no_map_from_a_dead_seed():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()
    with NumPyRedis(*address, retry_for=0.1) as c:
        for call in (lambda: c.get("k"), lambda: c.mget(["a", "b"]), lambda: list(c.scan_iter()), c.nodes, lambda: c.pipeline(True).get("k").execute()):
            with pytest.raises(ConnectionError):
                call()


def test_a_silent_seed_is_given_up_in_time(stub):
    hold = threading.Event()
    server = stub()
    server.slots = b""
    try:
        with NumPyRedis(*server.address, socket_timeout=0.2, retry_for=0) as c, pytest.raises(TimeoutError):
            c.get("k")
    finally:
        hold.set()


def test_connections_to_a_node_that_left_are_closed(fake):
    cluster = fake()
    with client_of(cluster) as c:
        c.mset(dict.fromkeys(KEYS, A))
        gone, heir = cluster.nodes[2], cluster.nodes[0]
        assert gone._open
        cluster.owners = [heir if node is gone else node for node in cluster.owners]
        time.sleep(0.2)
        c.mget(KEYS)
        wait_until(lambda: not gone._open)
        assert len(c._cluster.nodes._transports) == 2


# How often the map is fetched


def test_many_redirected_threads_fetch_the_map_once(fake):
    cluster = fake()
    with client_of(cluster) as c:
        c.mset(dict.fromkeys(KEYS, A))
        for key in KEYS:
            if cluster.owner(key) is not cluster.nodes[2]:
                cluster.give(key, cluster.nodes[2])
        time.sleep(0.2)
        before = cluster.asked_for_slots
        start = threading.Barrier(16)
        in_threads(16, lambda n: (start.wait(), [c.get(key) for key in KEYS[n::16]]))
        assert cluster.asked_for_slots == before + 1
        assert cluster.redirects <= 2 * 16


def test_a_dead_node_causes_few_fetches(fake):
    cluster = fake()
    with client_of(cluster, retry_for=2) as c:
        c.mset(dict.fromkeys(KEYS, A))
        cluster.nodes[1].die()
        time.sleep(0.2)
        before = cluster.asked_for_slots
        began = time.monotonic()

        def work(n):
            with pytest.raises(PartialError):
                c.mget(KEYS)

        in_threads(12, work)
        took = time.monotonic() - began
        # At 0, then after pauses of at least 0.2, 0.4 and 0.5 s.
        assert cluster.asked_for_slots - before <= 3 + 2 * took


def test_a_busy_node_causes_no_fetch(fake):
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster, retry_for=0.5) as c:
        c.get(key)
        cluster.nodes[1].override = lambda node, arguments: b"-BUSY uploads\r\n"
        time.sleep(0.2)
        with pytest.raises(BusyError):
            c.set(key, A)
    assert cluster.asked_for_slots == 1


def test_a_node_that_hangs_does_not_delay_a_fetch(fake, monkeypatch):
    monkeypatch.setattr(_nodes, "_LONG_TIMEOUT", 0.2)
    cluster = fake()
    hold = threading.Event()
    with client_of(cluster, 1) as c:
        c.mset(dict.fromkeys(KEYS, A))
        cluster.nodes[0].slots_override = lambda node: (hold.wait(30), b"")[1]
        cluster.nodes[0].die()
        cluster.nodes[0].start()  # only new connections, none of which is answered in time
        key = key_of(cluster, 2)
        cluster.give(key, cluster.nodes[1])
        time.sleep(0.2)
        began = time.monotonic()
        assert all(a is not None for a in c.mget(KEYS))
        for _ in range(20):
            assert c.get(key) is not None
        assert time.monotonic() - began < 10
        hold.set()
