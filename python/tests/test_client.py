"""Every method of the client, against a real node."""
from __future__ import annotations

import datetime
import io
import os
import threading
import time

import numpy as np
import over_tls
import pytest
from conftest import start_node, stop_node
from fidelity import assert_identical, awkward_arrays
from ndring import (
    AuthenticationError, DecodeError, EncodeError, Meta, NumPyRedis, PartialError, ServerError, TooLargeError,
)  # fmt: skip

A = np.arange(6, dtype="<f4").reshape(2, 3)
B = np.array([3, 1, 2], dtype="u1")


@pytest.fixture
def key(request):
    return request.node.name


def test_the_program_of_the_readme(client):
    arr = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32, order="F")
    arr.flags.writeable = False
    client.set("my_array", arr)
    retrieved = client.get("my_array")
    assert np.array_equal(arr, retrieved) and arr.dtype == retrieved.dtype
    assert arr.flags["F_CONTIGUOUS"] == retrieved.flags["F_CONTIGUOUS"]
    assert arr.flags["WRITEABLE"] == retrieved.flags["WRITEABLE"]


@pytest.mark.parametrize("name, array", list(awkward_arrays()), ids=lambda v: v if isinstance(v, str) else "")
def test_fidelity_through_a_node(client, name, array):
    assert client.set(name, array) is True
    assert_identical(client.get(name), array)
    (again,) = client.mget([name])
    assert_identical(again, array)
    assert client.shape(name) == np.shape(array)
    assert client.verify(name) is True


def test_every_awkward_array_at_once(client):
    arrays = {f"all:{name}": array for name, array in awkward_arrays()}
    assert client.mset(arrays) is True
    for array, got in zip(arrays.values(), client.mget(arrays)):
        assert_identical(got, array)


@pytest.mark.parametrize("kind", [str, bytes, int, float])
def test_keys(client, kind):
    key = {str: "schlüssel", bytes: b"\x00\xff\r\n", int: 17, float: 2.5}[kind]
    client.set(key, A)
    assert_identical(client.get(key), A)
    assert client.delete(key) == 1


@pytest.mark.parametrize("key", [None, True, ["k"], "", b""])
def test_invalid_keys(client, key):
    for call in (client.get, client.shape, client.delete, client.ttl, lambda k: client.set(k, A)):
        with pytest.raises(EncodeError):
            call(key)


def test_missing_keys(client):
    marker = object()
    assert client.get("none") is None
    assert client.get("none", default=marker) is marker
    assert client.get("none", out=A.copy(), default=marker) is marker
    assert client.shape("none") is None and client.dtype("none") is None and client.meta("none") is None
    assert client.memory_usage("none") is None
    assert client.verify("none") is False
    assert client.mget(["none", "none"]) == [None, None]
    assert client.mget([]) == [] and client.mset({}) is True
    assert client.delete("none") == 0 and client.exists("none") == 0 and client.delete() == 0
    assert client.ttl("none") == client.pttl("none") == -2
    assert client.expire("none", 5) is False and client.persist("none") is False


def test_conditional_writes(client, key):
    assert client.set(key, A, xx=True) is False
    assert client.set(key, A, nx=True) is True
    assert client.set(key, B, nx=True) is False
    version = client.meta(key).version
    assert client.set(key, B, if_version=version) is True
    assert client.set(key, A, if_version=version) is False
    assert client.set(key, A, xx=True, write_concern="all") is True
    assert_identical(client.get(key), A)


def test_time_to_live(client, key):
    now = time.time()
    in_an_hour = datetime.datetime.fromtimestamp(int(now) + 3600)
    for options, low, high in [
        ({"ex": 100}, 99_000, 100_000),
        ({"px": 100_000}, 99_000, 100_000),
        ({"ex": datetime.timedelta(milliseconds=99_500)}, 99_000, 100_000),
        ({"px": datetime.timedelta(seconds=100)}, 99_000, 100_000),
        ({"exat": int(now) + 3600}, 3_590_000, 3_600_000),
        ({"exat": in_an_hour}, 3_590_000, 3_600_000),
        ({"pxat": in_an_hour.astimezone(datetime.timezone.utc)}, 3_590_000, 3_600_000),
    ]:
        assert client.set(key, A, **options)
        assert low <= client.pttl(key) <= high, options
    assert client.set(key, B, keepttl=True)
    assert 3_590_000 <= client.pttl(key) <= 3_600_000
    assert client.persist(key) is True and client.ttl(key) == -1 and client.persist(key) is False
    assert client.expire(key, 50) is True and 49 <= client.ttl(key) <= 50
    assert client.pexpire(key, datetime.timedelta(seconds=40)) is True and 39_000 <= client.pttl(key) <= 40_000
    assert client.expireat(key, in_an_hour) is True and client.pttl(key) > 3_000_000
    assert client.pexpire(key, 1) is True
    while client.get(key) is not None:
        pass
    assert client.exists(key) == 0
    client.set(key, A)
    assert client.expire(key, 0) is True and client.exists(key) == 0


@pytest.mark.parametrize(
    "options, error",
    [
        ({"ex": 1, "px": 1}, ValueError), ({"ex": 1, "keepttl": True}, ValueError), ({"nx": True, "xx": True}, ValueError),
        ({"nx": True, "if_version": "1-1"}, ValueError), ({"ex": 0}, ValueError), ({"px": -1}, ValueError), ({"ex": 1.5}, TypeError),
        ({"ex": "1"}, TypeError), ({"ex": True}, TypeError), ({"exat": 1.5}, TypeError), ({"write_concern": "some"}, ValueError),
        ({"layout": "odd"}, ValueError), ({"metadata": "odd"}, ValueError), ({"if_version": "x"}, ServerError),
    ],
    ids=str,
)  # fmt: skip
def test_invalid_options(client, key, options, error):
    with pytest.raises(error):
        client.set(key, A, **options)
    assert client.get(key) is None


def test_values_that_cannot_be_stored(client, key):
    for value in (np.array([object()]), [1, 2], "text", None, 3.5, np.array([(1, None)], "i4,O")):
        with pytest.raises(EncodeError):
            client.set(key, value)
        with pytest.raises(EncodeError):
            client.mset({key: A, "other": value})
    assert client.get(key) is None


def test_meta(client, key):
    client.set(key, np.asfortranarray(A), ex=100)
    meta = client.meta(key)
    assert isinstance(meta, Meta)
    assert (meta.shape, meta.dtype, meta.fortran_order, meta.itemsize, meta.size, meta.nbytes) == ((2, 3), A.dtype, True, 4, 6, 24)
    assert meta.npy_bytes == meta.data_offset + 24 and 99_000 <= meta.pttl <= 100_000 and meta.attrs is None and meta.parts == {}
    client.set(key, np.ma.masked_array(B, [True, False, True]))
    assert client.meta(key).parts.keys() == {"mask"} and client.meta(key).version > meta.version
    record = np.dtype([("x", ">i2"), ("y", "<f8", (2,))], align=True)
    client.set(key, np.zeros((2, 0, 3), record))
    assert client.shape(key) == (2, 0, 3)
    assert client.dtype(key) == record and client.dtype(key).isalignedstruct
    client.set(key, np.float64(1.5))
    assert client.shape(key) == () and client.dtype(key) == np.float64


def test_several_keys(client):
    keys = [f"several:{i}" for i in range(300)]
    client.mset({k: np.full(i, i, "<i4") for i, k in enumerate(keys)})
    assert client.exists(*keys, keys[0]) == 301
    for i, array in enumerate(client.mget(keys)):
        assert_identical(array, np.full(i, i, "<i4"))
    assert client.delete(*keys) == 300 and client.exists(*keys) == 0


def test_many_large_arrays_in_one_call(client):
    arrays = {f"large:{i}": np.full(1 << 20, i, np.uint8) for i in range(200)}
    client.mset(arrays)
    for i, array in enumerate(client.mget(arrays)):
        assert array.nbytes == 1 << 20 and (array == i).all()
    assert client.delete(*arrays) == 200


def test_partial_failure_names_the_keys(client, node):
    import redis

    with redis.Redis(*node, **over_tls.REDIS) as plain:
        plain.execute_command("NP.SET", "bad", npy(A), "ATTRS", '{"v": 99, "py": {}}')
    client.set("good", A)
    with pytest.raises(PartialError, match="1 of 2 keys failed; 'bad'") as caught:
        client.mget(["good", "bad"])
    assert isinstance(caught.value.errors["bad"], DecodeError)
    assert_identical(caught.value.results["good"], A)


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_out(client, key):
    stored = np.asfortranarray(np.arange(20_000, dtype="f8").reshape(100, 200))
    stored.flags.writeable = False
    client.set(key, stored)
    out = np.zeros((100, 200), order="F")
    assert client.get(key, out=out) is out
    assert np.array_equal(out, stored) and out.flags.writeable
    for wrong in (
        np.zeros((100, 200)), np.zeros((100, 200), ">f8", "F"), np.zeros((200, 100), order="F"), np.zeros((200, 400), order="F")[::2, ::2],
        np.zeros((100, 200), "i8", "F"), bytearray(160_000), np.ma.zeros((100, 200)), stored,
    ):  # fmt: skip
        before = bytes(wrong) if isinstance(wrong, bytearray) else wrong.tobytes("A")
        with pytest.raises(DecodeError):
            client.get(key, out=wrong)
        assert before == (bytes(wrong) if isinstance(wrong, bytearray) else wrong.tobytes("A"))
    client.set(key, np.ma.masked_array(B))
    with pytest.raises(DecodeError, match="without out="):
        client.get(key, out=B.copy())


def test_large_array(client, key):
    array = np.arange(64 << 20, dtype=np.int64)  # 512 MiB
    client.set(key, array)
    back = client.get(key)
    assert back.nbytes == 512 << 20 and np.array_equal(array, back)
    array[:] = 0
    assert np.array_equal(client.get(key, out=array), back)
    assert client.delete(key) == 1
    with pytest.raises(TooLargeError):
        client.set(key, np.zeros((512 << 20) + 1, np.uint8))
    assert client.ping()


def test_max_array_bytes(node, key):
    with NumPyRedis(*node, max_array_bytes=1000) as small:
        small.set(key, np.zeros(10, np.uint8))
        assert small.get(key).nbytes == 10
        small.set(key, np.zeros(2 << 20, np.uint8))
        with pytest.raises(DecodeError, match="exceeds the limit of"):
            small.get(key)
        assert small.ping()


def test_info_and_ping(client):
    assert client.ping() is True
    info = client.info()
    assert info["cluster_enabled"] == 1 and info["redis_mode"] == "cluster" and isinstance(info["used_cpu_user"], float)
    client.set("k", A)
    assert client.info("keyspace")["db0"]["keys"] >= 1 and "redis_mode" not in client.info("keyspace")


def test_from_url(node):
    host, port = node
    for url in (f"redis://{host}:{port}", f"redis://{host}:{port}/0?socket_timeout=3"):
        with NumPyRedis.from_url(url) as c:
            assert c.ping()
    assert repr(NumPyRedis.from_url("redis://somewhere")) == "NumPyRedis(somewhere:7379)"
    assert repr(NumPyRedis()) == "NumPyRedis(localhost:7379)"
    assert repr(NumPyRedis.from_url("unix:///tmp/x.sock")) == "NumPyRedis(/tmp/x.sock)"
    with pytest.raises(ValueError):
        NumPyRedis.from_url("http://somewhere")


def test_closed_client_reconnects(node):
    c = NumPyRedis(*node)
    with c:
        assert c.ping()
    assert c.ping()
    c.close()


def test_threads(client):
    errors = []

    def work(n):
        try:
            for i in range(50):
                array = np.full((n + 1) * 1000 + i, n, "<i4")
                client.set(f"thread:{n}", array)
                assert_identical(client.get(f"thread:{n}"), array)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


@pytest.mark.blocking
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork(client, key):
    client.set(key, A)  # the parent has a connection now
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for i in range(50):
                client.set(key + "child", np.full(i, i))
                assert client.get(key + "child").tolist() == [i] * i
            code = 0
        finally:
            os._exit(code)
    for i in range(50):
        client.set(key, np.full(i, i))
        assert client.get(key).tolist() == [i] * i
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert client.get(key + "child").tolist() == [49] * 49


def test_scan_and_delete_prefix(client):
    keys = [f"scan*[{i}]" for i in range(2500)]
    client.mset({k: B for k in keys})
    client.set("scanx", B)
    found = [k.decode() for k in client.scan_iter(r"scan\**", count=10)]
    assert sorted(found) == sorted(keys)
    assert sorted(client.scan_iter("scan[*x]*", count=5000)) == sorted(k.encode() for k in [*keys, "scanx"])
    assert keys[7].encode() in set(client.scan_iter())
    assert list(client.scan_iter("scan-nothing*")) == []
    assert client.delete_prefix("scan*[") == 2500 and client.exists("scanx") == 1
    assert client.delete_prefix("scan") == 1 and client.delete_prefix("scan") == 0


def test_password():
    process, address = start_node("--requirepass", "secret")
    try:
        with NumPyRedis(*address, password="secret") as c:
            c.set("k", A)
            assert_identical(c.get("k"), A)
        with NumPyRedis.from_url(f"redis://:secret@{address[0]}:{address[1]}") as c:
            assert c.exists("k") == 1
        with NumPyRedis(*address) as c, pytest.raises(AuthenticationError):
            c.get("k")
        with NumPyRedis(*address, password="wrong") as c, pytest.raises(AuthenticationError):
            c.get("k")
    finally:
        stop_node(process)
