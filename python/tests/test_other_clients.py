"""Other clients read and write the same values: plain redis-py, and np.load."""
from __future__ import annotations

import io
import random

import numpy as np
import over_tls
import pytest
import redis
from ndring import NumPyRedis
from redis.cluster import RedisCluster
from test_client import npy

ARRAYS = [np.arange(6, dtype=">f4").reshape(2, 3), np.asfortranarray(np.ones((3, 2), "i8")), np.array(7), np.zeros((0, 3)), np.arange(100_000)]


@pytest.fixture(params=["Redis", "RedisCluster"])
def plain(request, node):
    client = redis.Redis(*node, **over_tls.REDIS) if request.param == "Redis" else RedisCluster(host=node[0], port=node[1], **over_tls.REDIS)
    yield client
    client.close()


# redis-py 6 warns about a default of its own RedisCluster.
@pytest.mark.filterwarnings("ignore:.*cluster_error_retry_attempts:DeprecationWarning")
@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype.str}{a.shape}")
def test_redis_py(plain, node, array):
    assert plain.execute_command("NP.SET", "plain", npy(array)) in (b"OK", True)
    reply = plain.execute_command("NP.GET", "plain")
    loaded = np.load(io.BytesIO(reply))
    assert loaded.dtype == array.dtype and (loaded.strides == array.strides or not array.size) and np.array_equal(loaded, array)
    with NumPyRedis(*node) as c:
        assert np.array_equal(c.get("plain"), array)
    assert plain.execute_command("NP.GET", "nothing") is None
    with pytest.raises(redis.ResponseError, match="BADNPY"):
        plain.execute_command("NP.SET", "plain", b"garbage")
    assert plain.delete("plain") == 1


def test_np_load_reads_what_the_client_stores(node):
    with NumPyRedis(*node) as c, redis.Redis(*node, **over_tls.REDIS) as plain:
        for array in (*ARRAYS, np.arange(12).reshape(3, 4)[::-1, ::2], np.ma.masked_array([1.0, 2.0], [True, False])):
            c.set("ours", array)
            loaded = np.load(io.BytesIO(plain.execute_command("NP.GET", "ours")))
            assert loaded.shape == array.shape and loaded.dtype == array.dtype and np.array_equal(loaded, np.ma.getdata(array))


def test_redis_py_pipelines(node):
    with redis.Redis(*node, **over_tls.REDIS) as plain:
        pipe = plain.pipeline(transaction=False)
        for i in range(100):
            pipe.execute_command("NP.SET", f"pipe{i}", npy(np.full(i, i)))
        for i in range(100):
            pipe.execute_command("NP.GET", f"pipe{i}")
        replies = pipe.execute()
        assert all(np.load(io.BytesIO(raw)).tolist() == [i] * i for i, raw in enumerate(replies[100:]))


def test_slices_match_numpy(node):
    seed = random.randrange(1 << 32)
    print("seed", seed)  # shown when the test fails
    rng = random.Random(seed)

    def end(length):
        return rng.choice([None, None, rng.randint(-length - 2, length + 2), rng.randint(-length - 2, length + 2), rng.choice([-(1 << 62), 1 << 62])])

    dtypes = ["<f4", ">i2", "?", "<U3", "M8[s]", [("a", "<i4"), ("é", "S3")], "<c16"]
    with redis.Redis(host=node[0], port=node[1], **over_tls.REDIS) as r:
        for _ in range(400):
            shape = tuple(rng.randint(0, 7) for _ in range(rng.randint(1, 5)))
            size = int(np.prod(shape))
            dtype = np.dtype(rng.choice(dtypes))
            array = np.frombuffer(np.arange(size * dtype.itemsize).astype("u1").tobytes(), dtype if dtype.kind != "U" else "V12").reshape(shape)
            if rng.random() < 0.4:
                array = np.asfortranarray(array)
            r.execute_command("NP.SET", "slice", npy(array))
            index = tuple(slice(end(n), end(n), rng.choice([None, 1, 2, 3, -1, -2, -7])) for n in shape[: rng.randint(1, len(shape))])
            text = ",".join(":".join("" if part is None else str(part) for part in (s.start, s.stop, s.step)) for s in index)
            got = np.load(io.BytesIO(r.execute_command("NP.SLICE", "slice", text)))
            want = array[index]
            assert got.shape == want.shape and got.dtype == want.dtype and got.tobytes() == want.tobytes(), (text, shape, dtype)
