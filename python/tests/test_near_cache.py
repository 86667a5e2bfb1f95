"""The near cache: hits, what makes them old, and a history that no reader may contradict."""
from __future__ import annotations

import asyncio
import os
import math
import random
import signal
import threading
import time
import uuid

import ndring.asyncio
import numpy as np
import pytest
from conftest import kill_node, start_cluster, start_node, stop_node
from ndring import NumPyRedis
from ndring._core.near_cache import Source, parse_size
from ndring._core.resp import pack
from routing_helpers import wait_until
from test_copies import in_sync

A = np.arange(6.0)
pytestmark = pytest.mark.blocking  # both clients are tried here
LATE = 0.1  # s after which a node that has lost its lease tells of it


@pytest.fixture
def key():
    return "near-" + uuid.uuid4().hex


@pytest.fixture
def near(node):
    with NumPyRedis(*node, near_cache="1mb") as c:
        yield c


def kept(client, key, expected=None):
    """Reads a key until the near cache has it, and returns the array."""
    hits = client.near_cache.hits

    def is_kept():
        found = client.get(key)
        return found is not None and client.near_cache.hits > hits

    wait_until(is_kept)
    return client.get(key)


def test_a_hit_is_the_same_read_only_array(client, near, key):
    client.set(key, A)
    first = kept(near, key)
    assert first is near.get(key) and not first.flags.writeable and np.array_equal(first, A)
    with pytest.raises(ValueError):
        first[0] = 1
    assert near.mget([key, "missing", key])[0] is first and near.near_cache.entries >= 1 and near.near_cache.bytes >= A.nbytes
    assert client.near_cache is None and near.get("missing-" + key, default=5) == 5


@pytest.mark.parametrize("change", [
    lambda c, k: c.set(k, A + 1), lambda c, k: c.delete(k), lambda c, k: c.pexpire(k, 50), lambda c, k: c.mset({k: A + 1}),
    lambda c, k: c.pipeline(transaction=True).set(k, A + 1).execute(), lambda c, k: c.delete_prefix(k),
], ids=["set", "delete", "expire", "mset", "transaction", "delete_prefix"])  # fmt: skip
def test_changes_by_others(client, near, key, change):
    client.set(key, A)
    kept(near, key)
    change(client, key)
    wait_until(lambda: not np.array_equal(near.get(key, default=0), A))


@pytest.mark.parametrize("change", [
    lambda c, k: c.set(k, A + 1), lambda c, k: c.delete(k), lambda c, k: c.mset({k: A + 1}), lambda c, k: c.pipeline().set(k, A + 1).execute(),
    lambda c, k: c.pipeline(transaction=True).delete(k).execute(), lambda c, k: c.with_options(retry_for=1).set(k, A + 1), lambda c, k: c.delete_prefix(k),
    lambda c, k: c.execute_command("NP.DEL", k), lambda c, k: c.set(k, A + 1, xx=True),
], ids=["set", "delete", "mset", "pipeline", "transaction", "with_options", "delete_prefix", "execute_command", "xx"])  # fmt: skip
def test_a_client_reads_what_it_has_written(client, near, key, change):
    for _ in range(20):
        client.set(key, A)
        wait_until(lambda: np.array_equal(near.get(key, default=0), A))
        kept(near, key)
        change(near, key)
        assert not np.array_equal(near.get(key, default=0), A)


def test_flush():
    process, address = start_node()
    try:
        with NumPyRedis(*address, near_cache=1 << 20) as near, NumPyRedis(*address) as c:
            c.set("k", A)
            kept(near, "k")
            near.flush(yes=True)
            assert near.get("k") is None and near.near_cache.entries == 0
            c.set("k", A)
            kept(near, "k")
            c.flush(yes=True)
            wait_until(lambda: near.get("k") is None)
    finally:
        stop_node(process)


def test_it_keeps_no_more_than_its_size(client, node):
    with NumPyRedis(*node, near_cache="100kb") as near:
        prefix = uuid.uuid4().hex
        for n in range(10):
            client.set(f"{prefix}{n}", np.zeros(20_000, np.uint8))
        kept(near, prefix + "0")
        for n in range(10):
            kept(near, f"{prefix}{n}")
            assert near.near_cache.bytes <= 100 << 10
        assert near.near_cache.entries == 4 and near.near_cache.evicted >= 6
        hits = near.near_cache.hits
        assert near.get(prefix + "9") is not None and near.near_cache.hits == hits + 1
        client.set(prefix, np.zeros(200_000, np.uint8))
        for _ in range(5):
            assert near.get(prefix).nbytes == 200_000
        assert near.near_cache.hits == hits + 1  # it is larger than the cache


def test_prefixes(client, node, key):
    with NumPyRedis(*node, near_cache="1mb", near_cache_prefixes=["near-", "x"]) as near:
        client.mset({key: A, "other" + key: A})
        kept(near, key)
        for _ in range(5):
            near.get("other" + key)
        assert near.near_cache.entries == 1
        client.set(key, A + 1)
        wait_until(lambda: np.array_equal(near.get(key), A + 1))


def test_prefixes_that_overlap(client, node, key):
    with NumPyRedis(*node, near_cache="1mb", near_cache_prefixes=["near-", "near-x", "near-"]) as near:
        client.set(key, A)
        kept(near, key)
        assert near._core.near.options.prefixes == (b"near-",)


def test_get_or_set_is_a_write_of_the_client(client, node, key):
    """The listener is too late to say so."""
    with NumPyRedis(*node, near_cache="1mb", near_cache_bound=30) as near:
        client.set(key, A)
        kept(near, key)
        client.delete(key)
        assert np.array_equal(near.get_or_set(key, lambda: A + 1), A + 1)
        assert np.array_equal(near.get(key), A + 1)


def test_mget_names_what_was_kept_in_its_errors(stub, client, near, key):
    client.set(key, A)
    first = kept(near, key)
    with pytest.raises(ndring.PartialError) as caught:
        near.with_options(deadline=1e-9).mget([key, "other" + key])
    assert caught.value.results[key] is first and list(caught.value.errors) == ["other" + key]


def test_clients_that_are_closed_at_once_leave_no_listener(node, key):
    closed = []
    for _ in range(30):
        with NumPyRedis(*node, near_cache="1mb") as near:
            near.set(key, A)
            near.get(key)
        closed.append(near)
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "ndring-near"])


def test_only_what_can_be_shared_is_kept(client, near, key):
    client.set(key, A)
    kept(near, key)
    entries = near.near_cache.entries
    client.set(key + "m", np.ma.MaskedArray([1, 2], mask=[0, 1]))
    for _ in range(5):
        got = near.get(key + "m")
        got[0] = 5
    assert near.near_cache.entries == entries
    client.set(key + "s", np.float32(2))
    assert kept(near, key + "s") == np.float32(2)
    client.set(key + "v", np.array((1, 2.0), "i4,f8")[()])
    for _ in range(5):
        near.get(key + "v")["f0"] = 5  # a structured scalar can be changed
    assert near.get(key + "v")["f0"] == 1


def test_a_lost_node_is_forgotten(key):
    process, address = start_node()
    with NumPyRedis(*address, near_cache="1mb", retry_for=0, on_error="miss") as near:
        near.set(key, A)
        kept(near, key)
        kill_node(process)
        wait_until(lambda: near.near_cache.entries == 0)
        assert near.get(key) is None and near.unanswered.reads == 1
        restarted, _ = start_node("--listen", f"default={address[0]}:{address[1]}")
        try:
            wait_until(lambda: near.set(key, A + 1))
            assert np.array_equal(kept(near, key), A + 1)
        finally:
            stop_node(restarted)


def test_a_silent_node_is_not_trusted(key):
    """Its process is stopped: within the bound its arrays are returned, and then no more."""
    process, address = start_node()
    try:
        with NumPyRedis(*address, near_cache="1mb", near_cache_bound=0.5, retry_for=0, socket_timeout=0.2) as near:
            near.set(key, A)
            kept(near, key)
            os.kill(process.pid, signal.SIGSTOP)
            stopped = time.monotonic()
            with pytest.raises(ndring.NdringError):
                while True:
                    assert np.array_equal(near.get(key), A)
                    last = time.monotonic()
            assert last - stopped <= 0.5 + 0.2
            os.kill(process.pid, signal.SIGCONT)
            patient = near.with_options(retry_for=20)
            wait_until(lambda: np.array_equal(patient.with_options(on_error="miss").get(key, default=0), A))
            kept(patient, key)
    finally:
        os.kill(process.pid, signal.SIGCONT)
        stop_node(process)


def test_a_server_without_tracking(stub):
    """Each read asks it whether there is a newer version, so that data travels only if there is."""
    from test_failures import client_of, whole

    server = stub(b"-ERR unknown subcommand 'TRACKING'\r\n")  # to the listener, or to the first read
    with client_of(server, near_cache="1mb", retry_for=0) as near:
        source = near._core.near._sources.setdefault(near._cluster.nodes.seed.address, Source(near._cluster.nodes.seed.address))
        source.refused, source.next_try = True, math.inf
        server.answers[:] = [whole(), whole(), b"+NOTMODIFIED\r\n", b"+NOTMODIFIED\r\n", whole(A[:3]), b"+NOTMODIFIED\r\n", b"$-1\r\n", whole()]
        near.get("k")  # fetches the slot map first, and is not kept
        first = near.get("k")
        assert first is near.get("k") is near.get("k") and not first.flags.writeable
        second = near.get("k")
        assert second.tolist() == [0, 1, 2] and near.get("k") is second and near.get("k") is None
        assert near.get("k") is not None
    asked = [command for command in server.commands if command[0] == b"NP.GET"]
    assert [b"IFNEWER" in command for command in asked] == [False, False, True, True, True, True, True, True]


def test_a_user_who_may_not_track(client, node, key, monkeypatch):
    from ndring._core.near_cache import Listener

    def refused(self, reader, limits):
        yield pack(b"CLIENT", b"NOSUCH")
        yield from reader.reply()

    monkeypatch.setattr(Listener, "steps", refused)
    with NumPyRedis(*node, near_cache="1mb") as near:
        client.set(key, A)
        wait_until(lambda: near.get(key) is near.get(key))
        client.set(key, A + 1)
        assert np.array_equal(near.get(key), A + 1) and near.near_cache.hits == 0


def test_wrong_options():
    assert [parse_size(v) for v in (5, "5", "5b", "2kb", "256mb", "1GB", np.int64(7))] == [5, 5, 5, 2048, 256 << 20, 1 << 30, 7]
    for wrong in ("", "mb", "5m", "1.5gb", "-1", 0, -5):
        with pytest.raises(ValueError):
            parse_size(wrong)
    for wrong in (True, 1.5, [5]):
        with pytest.raises(TypeError):
            parse_size(wrong)
    many = [str(number) for number in range(1000, 1129)]
    for wrong in ({"near_cache_bound": 0}, {"near_cache_bound": float("inf")}, {"near_cache_prefixes": many}, {"read_from_replicas": True}):
        with pytest.raises(ValueError):
            NumPyRedis(near_cache=5, **wrong)
    with pytest.raises(ndring.EncodeError):
        NumPyRedis(near_cache=5, near_cache_prefixes="abc")
    with NumPyRedis.from_url("redis://h?near_cache=5mb&near_cache_bound=2") as c:
        assert c._core.near.options == (5 << 20, 2.0, ())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork(client, near, key):
    client.set(key, A)
    kept(near, key)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert near.near_cache.entries == 0 and np.array_equal(kept(near, key), A)
            client.set(key, A + 1)
            wait_until(lambda: np.array_equal(near.get(key), A + 1))
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    wait_until(lambda: np.array_equal(near.get(key), A + 1))


def test_a_closed_or_dropped_client_ends_its_listeners(client, node, key):
    def listeners():
        return [thread for thread in threading.enumerate() if thread.name == "ndring-near"]

    client.set(key, A)
    with NumPyRedis(*node, near_cache="1mb") as near:
        kept(near, key)
        assert listeners()
    wait_until(lambda: not listeners())
    near = NumPyRedis(*node, near_cache="1mb")
    kept(near, key)
    assert listeners()
    del near
    wait_until(lambda: not listeners())


def test_for_asyncio(client, node, key):
    async def main():
        async with ndring.asyncio.NumPyRedis(*node, near_cache="1mb") as near:
            client.set(key, A)
            while near.near_cache.hits < 3:
                found = await near.get(key)
                await asyncio.sleep(0.01)
            assert found is await near.get(key) and not found.flags.writeable
            await near.set(key, A + 1)
            assert np.array_equal(await near.get(key), A + 1)
            hits = near.near_cache.hits
            while near.near_cache.hits == hits:
                await near.get(key)
                await asyncio.sleep(0.01)
            client.set(key, A + 2)
            while not np.array_equal(await near.get(key), A + 2):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_what_was_kept_without_tracking_is_dropped_once_the_node_tracks(client, node, key):
    """Nothing told of its changes."""
    with NumPyRedis(*node, near_cache="1mb") as near:
        assert near.ping() and near.get(key) is None
        address = near._cluster.nodes.seed.address
        source = near._core.near._sources[address] = Source(address)
        source.refused, source.next_try = True, math.inf
        client.set(key, A)
        first = near.get(key)
        assert near.get(key) is first and near.near_cache.entries == 1
        client.set(key, A + 1)
        source.next_try = 0.0
        near.get("another key")  # begins to listen
        wait_until(lambda: source.fresh_until > 0)
        assert np.array_equal(near.get(key), A + 1)


class History:
    """What was written when, by key: a reader must not see anything that had been replaced for longer than the bound."""

    def __init__(self, keys):
        self.acknowledged = {key: [(0, 0.0)] for key in keys}  # values and when they were acknowledged

    def oldest(self, key, moment):
        """Returns the least value that a read that began then may see."""
        return max(value for value, when in self.acknowledged[key][-200:] if when <= moment)


def check_history(nodes, seconds, bound, disturb=lambda: None, seed=None):
    seed = random.randrange(1 << 32) if seed is None else seed
    print("seed", seed)
    rng = random.Random(seed)
    keys = [f"history-{uuid.uuid4().hex}-{n}" for n in range(20)]
    history, failed, reads = History(keys), [], [0]
    end = time.monotonic() + seconds
    with NumPyRedis(nodes, near_cache="1mb", near_cache_bound=bound, retry_for=10) as near, NumPyRedis(nodes, retry_for=10) as c:
        c.mset({key: np.array([0]) for key in keys})

        def write():
            n = 0
            while time.monotonic() < end and not failed:
                n += 1
                key = rng.choice(keys)
                try:
                    c.set(key, np.array([n]))
                except ndring.NdringError:
                    continue  # perhaps done: then a reader may see more than the history says, which it may anyway
                history.acknowledged[key].append((n, time.monotonic()))
                if n % 7 == 0:
                    time.sleep(rng.random() / 200)

        def read():
            choose = random.Random(seed + threading.get_ident())
            while time.monotonic() < end and not failed:
                key = choose.choice(keys)
                began = time.monotonic()
                try:
                    found = near.get(key)
                except ndring.NdringError:
                    continue
                reads[0] += 1
                least = history.oldest(key, began - bound - LATE)
                if found is None or found[0] < least:
                    failed.append((key, None if found is None else int(found[0]), least))
                time.sleep(choose.random() / 2000)

        threads = [threading.Thread(target=write), *(threading.Thread(target=read) for _ in range(3))]
        for t in threads:
            t.start()
        try:
            while time.monotonic() < end and not failed:
                disturb()
                time.sleep(0.01)
        finally:
            for t in threads:
                t.join()
        stats = near.near_cache
    print(reads[0], "reads,", stats.hits, "hits,", sum(map(len, history.acknowledged.values())), "writes")
    assert not failed, failed[:3]
    assert stats.hits > reads[0] / 10
    return stats


def test_no_read_is_older_than_the_bound(node):
    check_history([f"{node[0]}:{node[1]}"], 3, 0.5)


def test_no_read_is_older_than_the_bound_while_nodes_stop_and_die(tmp_path):
    """NDRING_NEAR_TIME: seconds."""
    seconds = float(os.environ.get("NDRING_NEAR_TIME", "12"))
    seed = int(os.environ.get("NDRING_SEED", random.randrange(1 << 32)))
    rng = random.Random(seed)
    cluster = start_cluster(3, tmp_path)
    try:
        wait_until(lambda: in_sync(cluster.addresses))
        faults = {"stop": 0, "kill": 0}

        def disturb():
            number = rng.randrange(3)
            if rng.random() < 0.5:
                faults["stop"] += 1
                os.kill(cluster.processes[number].pid, signal.SIGSTOP)
                time.sleep(rng.random() * 2)
                os.kill(cluster.processes[number].pid, signal.SIGCONT)
            else:
                faults["kill"] += 1
                cluster.kill(number)
                time.sleep(rng.random() * 2)
                cluster.restart(number)
            time.sleep(rng.random())
            wait_until(lambda: in_sync(cluster.addresses))

        stats = check_history([f"{host}:{port}" for host, port in cluster.addresses], seconds, 1.0, disturb, seed)
        print(faults, stats)
    finally:
        cluster.close()
