"""The client against three real nodes with two copies of each array: a primary is killed, and
replicas answer reads."""
from __future__ import annotations

import itertools
import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import over_tls
import pytest
import redis
from conftest import start_cluster
from fidelity import assert_identical
from ndring import NumPyRedis, UncertainWrite
from ndring._core.commands import slot
from routing_helpers import in_threads
from test_cluster import wait_until

A = np.arange(6, dtype="<f4").reshape(2, 3)


def info(address, section="replication"):
    with redis.Redis(*address, **over_tls.REDIS) as r:
        return r.info(section)


def in_sync(addresses):
    """Returns whether all nodes serve, and all of their shards have two copies in sync."""
    told = [info(address) for address in addresses]
    return sum(node["shards_primary"] for node in told) == 256 and all(
        (node["durability"], node["shards_degraded"], node["shards_least_copies"], node["learners"]) == ("ok", 0, 2, 0) for node in told
    )  # fmt: skip


@pytest.fixture
def cluster(tmp_path):
    started = start_cluster(3, tmp_path)
    try:
        wait_until(lambda: in_sync(started.addresses))
        yield started
    finally:
        started.close()


def copies(address, key):
    """Returns the epoch of a key's shard and the addresses of its copies, the primary first, as the
    node at that address reports them."""
    with redis.Redis(*address, **over_tls.REDIS) as r:
        told = json.loads(r.execute_command("CLUSTER", "TOPOLOGY"))
    at = {node["id"]: (node["host"], node["port"]) for node in told["nodes"]}
    shard = told["shards"][slot(key.encode()) * len(told["shards"]) // 16384]
    return shard["epoch"], [at[shard["primary"]], *(at[n] for n in shard["in_sync"] if n != shard["primary"])]


def keys_of(cluster, i):
    """Returns an iterator over keys whose primary is a node."""
    return (key for key in (f"k{n}" for n in itertools.count()) if copies(cluster.addresses[0], key)[1][0] == cluster.addresses[i])


def noise(*seed):
    """Returns 1 to 16 KiB of random bytes, the same for the same numbers."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (int(rng.integers(1, 17)), 1024), np.uint8)


def identical(got, want):
    return got is not None and got.dtype == want.dtype and np.array_equal(got, want)


@pytest.mark.parametrize("frozen", [False, True], ids=["at once", "before it can reply"])
def test_no_acknowledged_write_is_lost_when_a_primary_is_killed(cluster, frozen):
    """Two threads write and read, each its own keys, and others store new keys if they are missing, two
    threads each key. All keys have the same primary, which is killed meanwhile. ``frozen``: while its
    writes are on the way to the other copies, so that they are done although no client knows it."""
    tags = list(itertools.islice(keys_of(cluster, 1), 8))
    stop = threading.Event()
    written = [{}, {}]  # by each writer: the newest acknowledged array of each key
    stored = {}  # by new key: whether each of the two has stored it, None if that is unknown
    rounds = [0, 0, 0]
    under_way = set()  # conditional writes

    def write(c, who):
        for n in itertools.count():
            key, array = f"{{{tags[n % len(tags)]}}}{who}", noise(who, n)
            assert c.set(key, array) is True
            written[who][key] = n
            assert_identical(c.get(key), array)
            rounds[who] += 1
            if stop.is_set():
                return

    def new_key(n):
        return f"{{{tags[n % len(tags)]}}}new{n}"

    def store(c, n, who):
        array = noise(2 + who, n)
        under_way.add((n, who))
        try:
            return c.set(new_key(n), array, nx=True)
        except UncertainWrite:
            return None
        finally:
            under_way.remove((n, who))

    def race(c):
        with ThreadPoolExecutor(16) as pool:
            for first in itertools.count(step=8):
                told = list(pool.map(lambda i: store(c, first + i // 2, i % 2), range(16)))
                stored.update((first + i, told[2 * i : 2 * i + 2]) for i in range(8))
                rounds[2] += 1
                if stop.is_set():
                    return

    def wait_for_rounds(more):
        wanted = [n + more for n in rounds]
        wait_until(lambda: stop.is_set() or all(n >= m for n, m in zip(rounds, wanted)), 25)

    def to_others(signal_number):
        for i in (0, 2):
            cluster.processes[i].send_signal(signal_number)

    def caught():
        """Stops the other nodes. Returns True if that has caught a conditional write on its way to
        them; else they go on."""
        to_others(signal.SIGSTOP)
        until = time.monotonic() + 0.3  # before the primary's lease ends
        while time.monotonic() < until:
            told = info(cluster.addresses[1])
            lacking = sum(told["master_repl_offset"] - of["offset"] for of in told.values() if isinstance(of, dict))
            if under_way and lacking > 2:  # more records than the writers' one each
                return True
        to_others(signal.SIGCONT)
        return stop.is_set()

    def kill():
        wait_for_rounds(50)
        try:
            wait_until(caught if frozen else lambda: stop.is_set() or under_way, 25)
            cluster.kill(1)
        finally:
            to_others(signal.SIGCONT)
        wait_for_rounds(50)

    def work(i):
        try:
            (lambda: write(c, 0), lambda: write(c, 1), lambda: race(c), kill)[i]()
        finally:
            stop.set()

    def check(c):
        for who in (0, 1):
            for key, n in written[who].items():
                assert_identical(c.get(key), noise(who, n))
        for n, told in stored.items():
            got = c.get(new_key(n))
            there = [identical(got, noise(2 + who, n)) for who in (0, 1)]
            assert any(there) or got is None and told == [None, None], (n, told)
            assert all(said in (None, fact) for said, fact in zip(told, there)), (n, told, there)

    with NumPyRedis(*cluster.addresses[0], socket_timeout=20, retry_for=30) as c:
        in_threads(4, work)
        check(c)
    assert sum(info(cluster.addresses[i])["failovers"] for i in (0, 2)) > 0
    cluster.restart(1)
    wait_until(lambda: in_sync(cluster.addresses))
    for address in cluster.addresses:
        assert info(address)["possible_losses"] == 0
        with NumPyRedis(*address, socket_timeout=20, retry_for=30) as c:
            check(c)


def test_replicas_answer_reads(cluster):
    key = next(keys_of(cluster, 1))

    def answered(address):
        gets = info(address, "commandstats").get("cmdstat_np.get", {"calls": 0, "failed_calls": 0})
        return gets["calls"] - gets["failed_calls"]

    def spread(c):
        """Reads the key 40 times. Returns the arrays, and how many of them each node has answered: the
        primary, the replica and the node without a copy."""
        while True:
            before = copies(cluster.addresses[0], key)
            nodes = list(dict.fromkeys([*before[1], *cluster.addresses]))
            had = [answered(address) for address in nodes]
            arrays = [c.get(key) for _ in range(40)]
            counts = [answered(address) - n for address, n in zip(nodes, had)]
            if copies(cluster.addresses[0], key) == before:  # no other node has become the primary
                return arrays, counts

    def is_even():
        arrays, counts = spread(reader)
        for got in arrays:
            if got is not None:  # the replica may not have it yet
                assert_identical(got, A)
        return counts == [20, 20, 0] and all(got is not None for got in arrays)

    with NumPyRedis(*cluster.addresses[0], socket_timeout=20, retry_for=30) as c:
        assert c.set(key, A) is True
        reader = c.with_options(read_from_replicas=True)
        wait_until(is_even)  # at first the client may also ask the node without a copy
        arrays, counts = spread(c)
        assert counts == [40, 0, 0]
        for got in arrays:
            assert_identical(got, A)
