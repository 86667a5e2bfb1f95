"""The client and redis-py's cluster client against three real nodes."""
from __future__ import annotations

import io
import threading
import time
import uuid

import numpy as np
import pytest
import redis
from conftest import start_cluster
from fidelity import assert_identical, awkward_arrays
from ndring import ClusterDownError, ConnectionError, NumPyRedis, PartialError
from redis.cluster import RedisCluster
from test_client import npy

A = np.arange(6, dtype="<f4").reshape(2, 3)
# redis-py 6 warns of a default of its own RedisCluster.
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
        with redis.Redis(*address) as r:
            sizes.append(r.dbsize())
    return sizes


def moved(client):
    """How often all nodes together have said MOVED."""
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


def test_conditions(client, prefix):
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


def test_redis_py(cluster, prefix):
    with RedisCluster(host=cluster.addresses[1][0], port=cluster.addresses[1][1]) as r, NumPyRedis(*cluster.addresses[0]) as c:
        for i in range(100):
            assert r.execute_command("NP.SET", f"{prefix}{i}", npy(np.full(3, i))) in (b"OK", True)
        for i in range(100):
            assert np.load(io.BytesIO(r.execute_command("NP.GET", f"{prefix}{i}"))).tolist() == [i] * 3
            assert r.execute_command("NP.SHAPE", f"{prefix}{i}") == [3]
        assert [a.tolist() for a in c.mget(f"{prefix}{i}" for i in range(100))] == [[i] * 3 for i in range(100)]
        p = r.pipeline()
        for i in range(100):
            p.execute_command("NP.GET", f"{prefix}{i}")
        assert [np.load(io.BytesIO(raw)).tolist() for raw in p.execute()] == [[i] * 3 for i in range(100)]
        assert c.delete_prefix(prefix) == 100


def test_a_node_is_killed_and_comes_back(tmp_path):
    started = start_cluster(3, tmp_path)
    try:
        with NumPyRedis(*started.addresses[0], socket_timeout=20, retry_for=60) as c, NumPyRedis(*started.addresses[0], retry_for=1) as hasty:
            arrays = {f"k{i}": np.full(i % 50, i, "<i4") for i in range(600)}
            c.mset(arrays)
            hasty.get("k1")
            with redis.Redis(*started.addresses[2]) as r:
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
            waiting = threading.Thread(target=lambda: results.append(c.mget(arrays)))  # goes on trying until the node is there
            waiting.start()
            started.restart(2)
            waiting.join(90)
            assert not waiting.is_alive()
            for got, array in zip(results[0], arrays.values()):
                assert_identical(got, array)
            assert sorted(key.decode() for key in c.scan_iter()) == sorted(arrays)
            # Also one that knows the first node only, which is dead now.
            started.kill(0)
            with redis.Redis(*started.addresses[1]) as r:
                alive = [key for key in r.scan_iter(count=1000)]
            for key in alive[:20]:
                assert_identical(c.get(key), arrays[key.decode()])
            started.restart(0)
            assert all(got is not None for got in c.mget(arrays))
    finally:
        started.close()
