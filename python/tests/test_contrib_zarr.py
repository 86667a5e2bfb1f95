"""The store for zarr, with the real library and the tests that it has for stores."""
from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import importlib.util
import inspect
import pickle
import threading
import uuid
import warnings

import ndring
import numpy as np
import pytest
from ndring import NumPyRedis

if importlib.util.find_spec("zarr") is None or importlib.metadata.version("zarr").startswith("2."):
    pytest.skip("zarr 3 needs a newer NumPy than this one: make test-numpy2 runs these tests", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about marks and imports that are zarr's own
    import zarr
    from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
    from zarr.core.buffer import cpu, default_buffer_prototype
    from zarr.testing.store import StoreTests

from ndring.contrib.zarr import NdringStore

BUFFER = cpu.Buffer.from_bytes
PROTOTYPE = default_buffer_prototype()


def run_in_a_loop(test):
    """zarr's tests are coroutines for a plugin of pytest's that not every system has."""

    @functools.wraps(test)
    def run(*arguments, **named):
        return asyncio.run(test(*arguments, **named))

    return run


@pytest.fixture
def prefix():
    return "zarr-" + uuid.uuid4().hex


class TestStore(StoreTests):
    store_cls = NdringStore
    buffer_cls = cpu.Buffer

    @pytest.fixture
    def store_kwargs(self, client, prefix):
        return {"client": client, "prefix": prefix}

    @pytest.fixture
    def store(self, open_kwargs):
        return asyncio.run(NdringStore.open(**open_kwargs))

    @pytest.fixture
    def store_not_open(self, store_kwargs):
        return NdringStore(**store_kwargs)

    async def set(self, store, key, value):
        store._client.set(store._prefix + key, value.as_numpy_array().view(np.uint8))

    async def get(self, store, key):
        return self.buffer_cls.from_bytes(store._client.get(store._prefix + key).tobytes())

    def test_store_repr(self, store, client, prefix):
        assert repr(store) == f"NdringStore({client!r}, '{prefix}')" and str(store) == f"ndring://{prefix}/"

    def test_store_supports_writes(self, store):
        assert store.supports_writes and store.supports_deletes

    def test_store_supports_partial_writes(self, store):
        assert not store.supports_partial_writes

    def test_store_supports_listing(self, store):
        assert store.supports_listing


for _name, _test in inspect.getmembers(StoreTests, inspect.isfunction):
    if _name.startswith("test_") and "_sync" in _name:  # newer than 3.1, for stores in memory: chunks would travel one by one
        setattr(TestStore, _name, None)
    elif _name.startswith("test_") and inspect.iscoroutinefunction(_test):
        setattr(TestStore, _name, run_in_a_loop(_test))


def test_zarrs_own_tests_run():
    assert sum(name.startswith("test_") for name in vars(TestStore)) >= 30


@pytest.fixture
def store(client, prefix):
    return NdringStore(client, prefix)


# Arrays


def test_arrays(store, client, prefix):
    data = np.random.default_rng(7).random((100, 60))
    array = zarr.create_array(store, shape=data.shape, chunks=(30, 20), dtype=data.dtype, fill_value=-1)
    array[:50] = data[:50]
    again = zarr.open_array(store, mode="r")
    assert np.array_equal(again[:50], data[:50]) and (again[60:] == -1).all() and np.array_equal(again[13:37, 5:45:3], data[13:37, 5:45:3])
    keys = {key.decode() for key in client.scan_iter(prefix + "/*")}
    assert keys == {f"{prefix}/zarr.json", *(f"{prefix}/c/{i}/{j}" for i in range(2) for j in range(3))}
    assert client.dtype(f"{prefix}/c/0/0") == np.uint8 and array.nbytes_stored() == sum(client.meta(key).nbytes for key in keys)


def test_groups(store):
    root = zarr.create_group(store, attributes={"unit": "m"})
    root.create_array("a/b", shape=4, dtype="i4")[:] = np.arange(4)
    root.create_group("c")
    root = zarr.open_group(store.with_read_only(True), mode="r")
    assert root.attrs["unit"] == "m" and root["a/b"][:].tolist() == [0, 1, 2, 3] and sorted(root.keys()) == ["a", "c"]
    with pytest.raises(ValueError, match="read-only"):
        root["a/b"][0] = 1
    del zarr.open_group(store)["a"]
    assert sorted(zarr.open_group(store).keys()) == ["c"]
    with pytest.raises(zarr.errors.ContainsGroupError):
        zarr.create_group(store)
    assert sorted(zarr.create_group(store, overwrite=True).keys()) == []


def test_shards_are_read_by_ranges(store, client, prefix, monkeypatch):
    array = zarr.create_array(store, shape=(64, 64), chunks=(8, 8), shards=(64, 64), dtype="f8", compressors=None)
    data = np.random.default_rng(1).random((64, 64))
    array[:] = data
    assert client.meta(f"{prefix}/c/0/0").nbytes > 32 << 10
    received = []
    read = NdringStore._read
    monkeypatch.setattr(NdringStore, "_read", lambda self, *a: received.append(read(self, *a)) or received[-1])
    assert np.array_equal(zarr.open_array(store)[8:16, 8:16], data[8:16, 8:16])
    assert sum(len(found) for found in received if found is not None) < 5000  # of 32 KiB


# The store


@pytest.mark.parametrize(
    ("byte_range", "expected"),
    [
        (None, b"0123456789"), (RangeByteRequest(2, 5), b"234"), (RangeByteRequest(0, 0), b""), (RangeByteRequest(8, 99), b"89"),
        (RangeByteRequest(20, 30), b""),
        (OffsetByteRequest(0), b"0123456789"), (OffsetByteRequest(7), b"789"), (OffsetByteRequest(10), b""), (OffsetByteRequest(99), b""),
        (SuffixByteRequest(3), b"789"), (SuffixByteRequest(10), b"0123456789"), (SuffixByteRequest(99), b"0123456789"), (SuffixByteRequest(0), b""),
    ],
)  # fmt: skip
def test_byte_ranges(store, byte_range, expected):
    async def use():
        await store.set("k", BUFFER(b"0123456789"))
        assert (await store.get("k", PROTOTYPE, byte_range)).to_bytes() == expected
        assert await store.get("missing", PROTOTYPE, byte_range) is None and (await store.get("k")).to_bytes() == b"0123456789"
        found = await store.get_partial_values(PROTOTYPE, [("k", byte_range), ("missing", byte_range), ("k", None)])
        assert [None if x is None else x.to_bytes() for x in found] == [expected, None, b"0123456789"]

    asyncio.run(use())


def test_a_range_transfers_only_its_bytes(stub):
    server = stub(*[b"$-1\r\n"] * 3)
    store = NdringStore(NumPyRedis(*server.address), "p")
    with store._client:
        assert asyncio.run(store.get("k", PROTOTYPE, RangeByteRequest(2, 5))) is None
    assert server.commands == [[b"NP.SLICE", b"p/k", b"2:5:", b"WITHATTRS"]]


def test_only_one_of_two_creates_a_value(store, client):
    async def use():
        await asyncio.gather(*(store.set_if_not_exists("k", BUFFER(b"%d" % i)) for i in range(8)))
        first = (await store.get("k", PROTOTYPE)).to_bytes()
        await store.set_if_not_exists("k", BUFFER(b"late"))
        assert (await store.get("k", PROTOTYPE)).to_bytes() == first
        await store.with_read_only(False).set("k", BUFFER(b"new"))
        assert (await store.get("k", PROTOTYPE)).to_bytes() == b"new"

    asyncio.run(use())


def test_neighbours_are_left_alone(client, prefix):
    tricky = prefix + "/v[1-3]*?^\\é"
    one, two, outer = NdringStore(client, tricky), NdringStore(client, tricky + "x"), NdringStore(client, prefix + "/")

    async def use():
        for store in (one, two):
            await store.set("a/b", BUFFER(b"1"))
            await store.set("ab", BUFFER(b"1"))
            await store.set("a", BUFFER(b"1"))
        await one.delete_dir("a")
        assert sorted([k async for k in one.list()]) == ["a", "ab"] and sorted([k async for k in two.list()]) == ["a", "a/b", "ab"]
        assert sorted([k async for k in two.list_dir("")]) == ["a", "ab"] and [k async for k in two.list_dir("/a/")] == ["b"]
        await one.clear()
        assert await one.is_empty("") and not await two.is_empty("") and len([k async for k in outer.list()]) == 3
        await outer.clear()
        assert await two.is_empty("")

    asyncio.run(use())


def test_read_only_stores_change_nothing(store):
    async def use():
        await store.set("k", BUFFER(b"1"))
        reader = store.with_read_only(True)
        for change in (lambda: reader.set("k", BUFFER(b"2")), lambda: reader.set_if_not_exists("l", BUFFER(b"2")), lambda: reader.delete("k"),
                       lambda: reader.delete_dir(""), lambda: reader.clear()):  # fmt: skip
            with pytest.raises(ValueError, match="read-only mode"):
                await change()
        assert (await reader.get("k", PROTOTYPE)).to_bytes() == b"1" and [k async for k in reader.list()] == ["k"]
        assert reader != store and reader == store.with_read_only(True)

    asyncio.run(use())


@pytest.mark.parametrize("other", [np.ones(3), np.zeros((2, 2), np.uint8), np.uint8(1), np.array(1, np.uint8)], ids=str)
def test_other_arrays_are_refused(store, client, prefix, other):
    client.set(f"{prefix}/k", other)
    with pytest.raises(ndring.DecodeError, match="that no zarr store has written"):
        asyncio.run(store.get("k", PROTOTYPE))


def test_an_outage_is_no_empty_chunk(stub):
    server = stub()
    client = NumPyRedis(*server.address, on_error="miss", retry_for=0, read_from_replicas=True)
    with client:
        store = NdringStore(client, "p")
        for call in (lambda: store.get("k", PROTOTYPE), lambda: store.get("k", PROTOTYPE, OffsetByteRequest(1)), lambda: store.exists("k"),
                     lambda: store.set("k", BUFFER(b"1")), lambda: store.delete("k"), lambda: store.getsize("k")):  # fmt: skip
            with pytest.raises(ndring.ConnectionError):
                asyncio.run(call())
        assert not store._client._cluster.read_from_replicas


def test_stores_are_equal_and_pickled(node, client, prefix):
    url = f"redis://{node[0]}:{node[1]}"
    store = NdringStore(url, prefix)
    assert store == NdringStore(url, prefix + "/") == pickle.loads(pickle.dumps(store))
    assert store != NdringStore(url, prefix + "2") and store != NdringStore(url + "?retry_for=1", prefix) and store != 1
    with store._client:
        asyncio.run(store.set("k", BUFFER(b"1")))
    assert client.exists(f"{prefix}/k")


@pytest.mark.parametrize("prefix", ["", "/", None, b"p"])
def test_a_prefix_is_needed(prefix):
    with pytest.raises(ValueError, match="prefix must be a text that is not empty"):
        NdringStore(NumPyRedis(), prefix)


def test_keys_are_text(store):
    with pytest.raises(TypeError, match="a key of a store is text, not int"):
        asyncio.run(store.get(1, PROTOTYPE))


def test_the_loop_goes_on_during_a_call(store, monkeypatch):
    """The client blocks, but in a thread."""
    release = threading.Event()
    monkeypatch.setattr(NdringStore, "_read", lambda *a: release.wait(10) and None)

    async def use():
        reading = asyncio.create_task(store.get("k", PROTOTYPE))
        await asyncio.sleep(0.05)
        assert not reading.done()
        release.set()
        assert await reading is None

    asyncio.run(use())
