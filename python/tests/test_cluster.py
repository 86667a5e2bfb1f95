"""The client and redis-py's cluster client against three real nodes."""
from __future__ import annotations

import io
import threading
import time
import uuid

import numpy as np
import over_tls
import pytest
import redis
from conftest import start_cluster
from fidelity import assert_identical, awkward_arrays
from ndring import ClusterDownError, ConnectionError, NumPyRedis, PartialError
from redis.cluster import RedisCluster
from test_client import npy

A = np.arange(6, dtype="<f4").reshape(2, 3)
# redis-py 6 warns about a default of its own RedisCluster.
pytestmark = pytest.mark.filterwarnings("ignore:.*cluster_error_retry_attempts:DeprecationWarning")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    started = start_cluster(3, tmp_path_factory.mktemp("cluster"))
    yield started
    started.close()


@pytest.fixture(params=[0, 2], ids=["first", "last"])
def client(request, cluster):
    with NumPyRedis(*cluster.addresses[request.param], socket_timeout=20, retry_for=30) as c:
        yield c


@pytest.fixture
def prefix():
    return uuid.uuid4().hex + ":"


def dbsizes(cluster):
    sizes = []
    for address in cluster.addresses:
        with redis.Redis(*address, **over_tls.REDIS) as r:
            sizes.append(r.dbsize())
    return sizes


def moved(client):
    """Returns how often all nodes together have replied MOVED."""
    return sum(client.info("errorstats", node=node).get("errorstat_MOVED", {}).get("count", 0) for node in client.nodes())


def test_one_node_is_enough(cluster, client):
    assert sorted(client.nodes()) == sorted(f"{host}:{port}" for host, port in cluster.addresses)
    assert client.ping() and client.info()["cluster_enabled"] == 1


def test_awkward_arrays(client, prefix):
    arrays = {prefix + name: array for name, array in awkward_arrays()}
    for name, array in arrays.items():
        assert client.set(name, array) is True
        assert_identical(client.get(name), array)
        assert client.shape(name) == np.shape(array) and client.verify(name) is True
    for array, got in zip(arrays.values(), client.mget(arrays)):
        assert_identical(got, array)
    assert client.delete_prefix(prefix) == len(arrays)


def test_a_thousand_keys(cluster, client, prefix):
    before, sizes = moved(client), dbsizes(cluster)
    arrays = {f"{prefix}{i}": np.full(i % 50, i, "<i4") for i in range(1000)}
    assert client.mset(arrays) is True
    assert client.exists(*arrays) == 1000
    for got, array in zip(client.mget(arrays), arrays.values()):
        assert_identical(got, array)
    spread = [now - then for now, then in zip(dbsizes(cluster), sizes)]
    assert sum(spread) == 1000 and all(n > 150 for n in spread), spread
    for key, array in list(arrays.items())[:200]:
        assert_identical(client.get(key), array)
        assert client.expire(key, 100) and client.ttl(key) > 90 and client.persist(key)
        assert client.meta(key).shape == array.shape and client.dtype(key) == array.dtype and client.memory_usage(key) > 0
    found = [key.decode() for key in client.scan_iter(prefix + "*", count=100)]
    assert sorted(found) == sorted(arrays)
    assert client.delete(*list(arrays)[:300]) == 300
    assert client.delete_prefix(prefix) == 700 and list(client.scan_iter(prefix + "*")) == []
    assert moved(client) - before <= 2


def test_large_arrays(client, prefix):
    arrays = {f"{prefix}{i}": np.full(4 << 20, i, np.uint8) for i in range(20)}
    client.mset(arrays)
    for key, got in zip(arrays, client.mget(arrays)):
        assert_identical(got, arrays[key])
    out = np.zeros(4 << 20, np.uint8)
    for key in arrays:
        assert_identical(client.get(key, out=out), arrays[key])
    assert client.delete_prefix(prefix) == 20


def test_conditional_writes(client, prefix):
    for key in (f"{prefix}{i}" for i in range(50)):
        assert client.set(key, A, xx=True) is False and client.set(key, A, nx=True) is True and client.set(key, A, nx=True) is False
        version = client.meta(key).version
        assert client.set(key, A, if_version=version) is True and client.set(key, A, if_version=version) is False
    assert client.delete_prefix(prefix) == 50


def test_pipelines(client, prefix):
    p = client.pipeline()
    for i in range(300):
        p.set(f"{prefix}{i}", np.full(3, i), nx=True).get(f"{prefix}{i}")
    results = p.execute()
    assert results[::2] == [True] * 300 and [a.tolist() for a in results[1::2]] == [[i] * 3 for i in range(300)]
    for i in range(30):
        tag = f"{prefix}{{{i}}}"
        results = client.pipeline(transaction=True).set(tag + "a", A).set(tag + "b", A + 1).get(tag + "b").exists(tag + "a", tag + "c").execute()
        assert results[:2] == [True, True] and results[3] == 1
        assert_identical(results[2], A + 1)
    assert client.delete_prefix(prefix) == 360


def test_get_or_set_over_threads(cluster, prefix):
    made, results = [], []

    def work(n):
        with NumPyRedis(*cluster.addresses[n % 3]) as c:
            for i in range(10):

                def make(i=i):
                    made.append(i)
                    time.sleep(0.05)
                    return np.full(3, i)

                results.append((i, c.get_or_set(f"{prefix}{i}", make, ex=100)))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(made) == list(range(10)) and len(results) == 60 and all((a == i).all() for i, a in results)


def new_redis_py(address, **options):
    if options.pop("from_url", False):
        return RedisCluster.from_url(f"{over_tls.SCHEME}://%s:%d" % address, **{**over_tls.IN_URLS, **options})
    return RedisCluster(host=address[0], port=address[1], **{**over_tls.REDIS, **options})


# redis-py uses RESP3 by default since version 5.
PROTOCOLS = [{}, {"protocol": 3}] if int(redis.__version__.split(".")[0]) >= 5 else [{}]


@pytest.fixture(params=[{**p, **u} for p in PROTOCOLS for u in ({}, {"from_url": True})], ids=lambda o: " ".join(o) or "plain")
def plain(request, cluster):
    client = new_redis_py(cluster.addresses[1], **request.param)
    yield client
    client.close()


def loaded(raw):
    return np.load(io.BytesIO(raw))


def test_redis_py(cluster, plain, prefix):
    with NumPyRedis(*cluster.addresses[0]) as c:
        before = moved(c)
        for i in range(100):
            assert plain.execute_command("NP.SET", f"{prefix}{i}", npy(np.full(3, i))) in (b"OK", True)
        for i in range(100):
            assert loaded(plain.execute_command("NP.GET", f"{prefix}{i}")).tolist() == [i] * 3
            assert plain.execute_command("NP.SHAPE", f"{prefix}{i}") == [3]
            assert plain.exists(f"{prefix}{i}") == 1 and plain.expire(f"{prefix}{i}", 100) and 90 < plain.ttl(f"{prefix}{i}") <= 100
        assert plain.execute_command("NP.GET", prefix) is None
        with pytest.raises(redis.ResponseError, match="BADNPY"):
            plain.execute_command("NP.SET", prefix, b"garbage")
        assert [a.tolist() for a in c.mget(f"{prefix}{i}" for i in range(100))] == [[i] * 3 for i in range(100)]
        assert sum(plain.delete(f"{prefix}{i}") for i in range(50)) == 50
        assert c.delete_prefix(prefix) == 50
        assert moved(c) == before


def test_redis_py_pipelines(cluster, plain, prefix):
    with plain.pipeline() as p:
        for i in range(100):
            p.execute_command("NP.SET", f"{prefix}{i}", npy(np.full(3, i)))
        assert all(reply in (b"OK", True) for reply in p.execute())
        for i in range(100):
            p.execute_command("NP.GET", f"{prefix}{i}")
            p.expire(f"{prefix}{i}", 100)
        replies = p.execute()
        assert [loaded(raw).tolist() for raw in replies[::2]] == [[i] * 3 for i in range(100)] and all(replies[1::2])
        p.execute_command("NP.GET", f"{prefix}1").execute_command("NP.SET", f"{prefix}2", b"garbage").execute_command("NP.GET", f"{prefix}none")
        replies = p.execute(raise_on_error=False)
        assert loaded(replies[0]).tolist() == [1] * 3 and isinstance(replies[1], redis.ResponseError) and replies[2] is None
        for i in range(100):
            p.delete(f"{prefix}{i}")
        assert p.execute() == [1] * 100


def test_redis_py_node_by_node(cluster, plain, prefix):
    primaries = plain.get_primaries()
    assert sorted((node.host, node.port) for node in primaries) == sorted(cluster.addresses)
    told = plain.cluster_info()
    assert (told["cluster_state"], told["cluster_slots_ok"], told["cluster_size"]) == ("ok", "16384", "3")

    def sizes():
        return [plain.dbsize(target_nodes=node) for node in primaries]

    before, together = sizes(), plain.dbsize(target_nodes=RedisCluster.PRIMARIES)
    assert together == sum(before)
    keys = [f"{prefix}{i}" for i in range(300)]
    for key in keys:
        plain.execute_command("NP.SET", key, npy(A))
    grown = [now - then for now, then in zip(sizes(), before)]
    assert sum(grown) == 300 and all(n > 40 for n in grown), grown
    assert plain.dbsize(target_nodes=RedisCluster.PRIMARIES) == together + 300
    assert sorted(key.decode() for key in plain.scan_iter(match=prefix + "*", count=20)) == sorted(keys)
    for key in keys:
        assert loaded(plain.get_node_from_key(key).redis_connection.execute_command("NP.GET", key)).tolist() == A.tolist()
    assert sum(plain.delete(key) for key in keys) == 300
    assert sizes() == before


def slot_map(address):
    """Returns the owners of all slots, as (first, last, host, port), as the node at that address
    reports them."""
    with redis.Redis(*address, **over_tls.REDIS) as r:
        rows = r.execute_command("CLUSTER", "SLOTS")
    return sorted((first, last, primary[0].decode(), primary[1]) for first, last, primary, *_ in rows)


def owner(address, slot):
    return next((host, port) for first, last, host, port in slot_map(address) if first <= slot <= last)


def settled(addresses):
    """Returns whether all nodes report the same owners, each with a fair share."""
    maps = [slot_map(address) for address in addresses]
    shares = {address: sum(last - first + 1 for first, last, *at in maps[0] if tuple(at) == address) for address in addresses}
    return all(m == maps[0] for m in maps) and all(share > 16384 / len(addresses) / 2 for share in shares.values())


def wait_until(condition, limit=60):
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_redis_py_follows_shards_to_a_new_node(tmp_path):
    """A node that joins receives empty shards, so the clients' slot maps are wrong until they are
    redirected."""
    started = start_cluster(2, tmp_path)
    clients = []
    try:
        clients = [new_redis_py(started.addresses[0], **options) for options in PROTOCOLS for _ in range(2)]
        third = started.add()
        with NumPyRedis(*third) as c, redis.Redis(*third, **over_tls.REDIS) as r:
            wait_until(lambda: settled(started.addresses))
            keys = (f"k{i}" for i in range(1000))
            key = next(key for key in keys if owner(third, r.execute_command("CLUSTER", "KEYSLOT", key)) == third)
            before = moved(c)
            for i, plain in enumerate(clients):
                assert plain.get_node_from_key(key).port != third[1]
                if i % 2:
                    with plain.pipeline() as p:
                        assert p.execute_command("NP.SET", key, npy(A)).execute()[0] in (b"OK", True)
                else:
                    assert plain.execute_command("NP.SET", key, npy(A)) in (b"OK", True)
                assert moved(c) > before
                before = moved(c)
                assert loaded(plain.execute_command("NP.GET", key)).tolist() == A.tolist()
                assert plain.delete(key) == 1
    finally:
        for plain in clients:
            plain.close()
        started.close()


def test_a_node_is_killed_and_comes_back(tmp_path):
    """With one copy of each array, since no other node takes the place of the killed one then."""
    started = start_cluster(3, tmp_path, "--replicas", "1")
    try:
        with NumPyRedis(*started.addresses[0], socket_timeout=20, retry_for=60) as c, NumPyRedis(*started.addresses[0], retry_for=1) as hasty:
            arrays = {f"k{i}": np.full(i % 50, i, "<i4") for i in range(600)}
            c.mset(arrays)
            hasty.get("k1")
            with redis.Redis(*started.addresses[2], **over_tls.REDIS) as r:
                lost = {key.decode() for key in r.scan_iter(count=1000)}
            assert 0 < len(lost) < 600
            started.kill(2)
            with pytest.raises(PartialError) as caught:
                hasty.mget(arrays)
            assert set(caught.value.errors) == lost
            assert all(isinstance(e, (ConnectionError, ClusterDownError)) for e in caught.value.errors.values())
            for key, got in caught.value.results.items():
                assert_identical(got, arrays[key])
            with pytest.raises((ConnectionError, ClusterDownError)):
                list(hasty.scan_iter())
            for key in sorted(set(arrays) - lost)[:50]:
                assert hasty.set(key, arrays[key]) is True
            results = []
            waiting = threading.Thread(target=lambda: results.append(c.mget(arrays)))  # retries until the node is back
            waiting.start()
            started.restart(2)
            waiting.join(90)
            assert not waiting.is_alive()
            for got, array in zip(results[0], arrays.values()):
                assert_identical(got, array)
            assert sorted(key.decode() for key in c.scan_iter()) == sorted(arrays)
            # Also a client that knows only the first node, which is dead now.
            started.kill(0)
            with redis.Redis(*started.addresses[1], **over_tls.REDIS) as r:
                alive = [key for key in r.scan_iter(count=1000)]
            for key in alive[:20]:
                assert_identical(c.get(key), arrays[key.decode()])
            started.restart(0)
            assert all(got is not None for got in c.mget(arrays))
    finally:
        started.close()
