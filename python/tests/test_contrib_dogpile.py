"""The backend for dogpile.cache, with the real library."""
from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
import uuid
from pathlib import Path

import ndring
import numpy as np
import pytest
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE, CachedValue
from dogpile.cache.util import sha1_mangle_key
from fidelity import HAS_STRING_DTYPE, assert_identical, awkward_arrays
from ndring import NumPyRedis
from ndring.contrib import dogpile
from ndring.contrib.dogpile import NdringBackend, NdringMutex, array_key_generator

A = np.arange(6, dtype=">f4").reshape(2, 3)


@pytest.fixture
def key():
    return "dogpile-" + uuid.uuid4().hex


@pytest.fixture
def regions(node):
    """Returns a function that makes a region with a client of its own, like another process."""
    made = []

    def make(expiration_time=600, region=None, **arguments):
        region = region or make_region()
        region.configure("ndring", expiration_time=expiration_time, arguments={"host": node[0], "port": node[1], **arguments})
        made.append(region)
        return region

    yield make
    for region in made:
        region.actual_backend.client.close()


def test_arrays_come_back_exactly(regions):
    region, values = regions(), dict(awkward_arrays())
    region.set_multi(values)
    for (name, value), got in zip(values.items(), region.get_multi(list(values))):
        try:
            assert_identical(got, value)
        except AssertionError as exc:
            raise AssertionError(f"{name}: {exc}") from exc
    for value in (np.float32(1.5), np.void(b"abc"), np.str_("x\0y"), np.datetime64("NaT")):
        region.set("scalar", value)
        assert_identical(region.get("scalar"), value)


def test_a_value_has_memory_of_its_own(regions, key):
    region = regions()
    region.set(key, np.zeros(3))
    region.get(key)[:] = 7
    assert region.get(key).tolist() == [0, 0, 0]


def test_missing_and_deleted_values(regions, key):
    region = regions()
    assert region.get(key) is NO_VALUE and region.get_multi([key, key + "2"]) == [NO_VALUE, NO_VALUE]
    region.set_multi({key: A, key + "2": A})
    region.delete(key)
    region.delete(key)
    assert region.get(key) is NO_VALUE and region.get(key + "2") is not NO_VALUE
    region.delete_multi([key, key + "2"])
    region.delete_multi([])
    assert region.get_multi([key + "2"]) == [NO_VALUE] and region.get_multi([]) == []


def test_the_metadata_is_kept_exactly(regions, key, client):
    region = regions()
    backend, began = region.actual_backend, time.time()
    region.set(key, A)
    assert began <= backend.get(key).metadata["ct"] <= time.time()
    for metadata in ({"ct": 1700000000.1234567, "v": 2}, {"ct": 0.1, "v": 2, "ü": [1, None, "x"]}):
        backend.set(key, CachedValue(A, metadata))
        got = backend.get(key)
        assert type(got) is CachedValue and got.metadata == metadata
        assert_identical(got.payload, A)
    assert client.ttl(key) == -1 and client.dtype(key) == np.uint8


@pytest.mark.parametrize("metadata", [{"ct": object()}, {"ct": float("nan")}, {"ct": float("inf")}, {"ct": 1.0, "t": (1, 2)}, {1: 2}], ids=str)
def test_metadata_that_json_cannot_keep_is_refused(regions, key, metadata):
    with pytest.raises(ndring.EncodeError, match="metadata"):
        regions().actual_backend.set(key, CachedValue(A, metadata))


def test_collections(regions, key):
    region = regions()
    stored = {"q": A, "r": (A + 1, [np.float32(2)])}
    assert region.get_or_create(key, lambda: stored) is not None
    found = region.get(key)
    assert list(found) == ["q", "r"] and np.array_equal(found["q"], A) and np.array_equal(found["r"][0], A + 1) and found["r"][1] == [np.float32(2)]


@pytest.mark.parametrize("value", [None, 3, "text", [1, 2], {"a": 1}, np.array([object()])], ids=str)
def test_only_arrays_are_stored(regions, key, value):
    region = regions()
    for store in (lambda: region.set(key, value), lambda: region.set_multi({key: value}), lambda: region.get_or_create(key, lambda: value)):
        with pytest.raises(ndring.EncodeError):
            store()
    assert region.get(key) is NO_VALUE


def test_a_region_expires_values_and_the_node_drops_them(regions, key, client):
    region = regions(expiration_time=0.3, ndring_expiration_time=1.5)
    made = []

    def make():
        made.append(1)
        return np.full(3, len(made))

    assert region.get_or_create(key, make).tolist() == region.get_or_create(key, make).tolist() == [1, 1, 1]
    assert 1000 < client.pttl(key) <= 1500
    time.sleep(0.4)
    assert region.get(key) is NO_VALUE and region.get(key, ignore_expiration=True).tolist() == [1, 1, 1]
    assert region.get_or_create(key, make).tolist() == [2, 2, 2]
    region.set_multi({key: A})
    assert 1000 < client.pttl(key) <= 1500
    time.sleep(1.6)
    assert region.get(key, ignore_expiration=True) is NO_VALUE and not client.exists(key)


def test_several_values_are_made_at_once(regions, key):
    region, asked = regions(distributed_lock=True), []

    def make(*keys):
        asked.append(keys)
        return [np.full(2, len(k)) for k in keys]

    region.set(key, A)
    got = region.get_or_create_multi([key, key + "2", key + "33"], make)
    assert_identical(got[0], A)
    assert [len(key) + 1] * 2 == got[1].tolist() and len(asked) == 1 and sorted(asked[0]) == sorted([key + "2", key + "33"])
    assert region.get(key + "33").tolist() == [len(key) + 2] * 2


def test_invalidation(regions, key):
    region = regions()
    region.set(key, A)
    time.sleep(0.01)
    region.invalidate()
    assert region.get(key) is NO_VALUE
    assert region.get_or_create(key, lambda: np.ones(1)).tolist() == [1]


def test_key_manglers(regions, client, key):
    region = regions(region=make_region(key_mangler=lambda name: "app:" + sha1_mangle_key(name.encode())))
    region.set_multi({key: A, "x" * 100_000: np.ones(2)})
    assert client.exists("app:" + sha1_mangle_key(key.encode())) == 1 and not client.exists(key)
    assert_identical(region.get(key), A)
    assert region.get("x" * 100_000).tolist() == [1, 1]


# Arguments


def test_arguments(node, key):
    with NumPyRedis(*node) as client:
        region = make_region().configure("ndring", arguments={"client": client})
        assert region.actual_backend.client is client
        region.set(key, A)
    region = make_region().configure("ndring", arguments={"url": f"redis://{node[0]}:{node[1]}", "retry_for": 1})
    with region.actual_backend.client as client:
        assert_identical(region.get(key), A)
        assert client._arguments["retry_for"] == 1
    region = make_region().configure_from_config(
        {"c.backend": "ndring", "c.arguments.host": node[0], "c.arguments.port": node[1], "c.arguments.ndring_expiration_time": 5}, "c."
    )
    with region.actual_backend.client:
        assert region.actual_backend.expiration_time == 5 and region.get(key) is not NO_VALUE


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"client": 1, "host": "a"}, TypeError, "either client or host"),
        ({"client": 1, "url": "redis://a"}, TypeError, "either client or url"),
        ({"hots": "a"}, TypeError, "hots"),
        ({"ndring_expiration_time": 0}, ValueError, "ndring_expiration_time must be a positive number of seconds, not 0"),
        ({"ndring_expiration_time": "60"}, ValueError, "not '60'"),
        ({"distributed_lock": True, "lock_timeout": None}, ValueError, "lock_timeout"),
        ({"distributed_lock": True, "lock_timeout": float("nan")}, ValueError, "lock_timeout"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        NdringBackend(arguments)


# Entries that no region has stored


def test_other_arrays_and_damaged_entries_are_refused(regions, client, key):
    region = regions()
    region.set(key, A)
    good = client.get(key)
    length = struct.unpack_from("<I", good, 8)[0]
    about = json.loads(good[12 : 12 + length].tobytes())

    def entry(**changed):
        text = json.dumps({**about, **changed}).encode()
        start = -(-(12 + len(text)) // 64) * 64
        head = np.zeros(start, np.uint8)
        head[:8], head[12 : 12 + len(text)] = good[:8], np.frombuffer(text, np.uint8)
        struct.pack_into("<I", head, 8, len(text))
        return np.concatenate([head, good[-(-(12 + length) // 64) * 64 :]])

    client.set(key, entry())
    assert_identical(region.get(key), A)
    other = good.copy()
    other[5] += 1  # a later version of the form
    bad = [
        other,
        A, np.float64(1), good.astype(np.int8), good[:-1], good[:10], good[:4], good[:0], good.reshape(1, -1), np.append(good, good[:1]),
        entry(header=about["header"] - 1), entry(header=10, data=about["data"] + about["header"] - 10), entry(data=-1), entry(data="x"),
        entry(data=float(about["data"])), entry(parts=3), entry(parts=[["mask", 0], ["mask"]]), entry(parts={}, attrs=None),
    ]  # fmt: skip
    for broken in bad:
        client.set(key, broken)
        with pytest.raises(ndring.DecodeError):
            region.get(key)
    client.set(key, np.ones(3))
    with pytest.raises(ndring.DecodeError, match=f"'{key}' holds an array that no region has stored"):
        region.get_multi([key])


# Locks


def test_one_process_makes_a_value_for_all(regions, key):
    made, results = [], []

    def make():
        made.append(1)
        time.sleep(0.4)
        return A

    def call():
        results.append(regions(distributed_lock=True).get_or_create(key, make))

    threads = [threading.Thread(target=call) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(results) == 5 and all(np.array_equal(result, A) for result in results)


def test_without_distributed_lock_dogpile_uses_its_own(regions, key):
    region = regions()
    assert region.actual_backend.get_mutex(key) is None and not region.actual_backend.has_lock_timeout()
    assert regions(distributed_lock=True).actual_backend.has_lock_timeout()


def test_a_lock_excludes_others(node, client, key):
    with NumPyRedis(*node) as other:
        one, two = NdringMutex(client, key), NdringMutex(other, key)
        assert one.acquire() and one.locked() and two.locked()
        assert not two.acquire(wait=False) and not one.acquire(wait=False)
        two.release()  # not its lock: nothing happens
        assert one.locked()
        taken = []
        waiter = threading.Thread(target=lambda: taken.append(two.acquire()))
        waiter.start()
        time.sleep(0.1)
        assert not taken
        one.release()
        waiter.join(10)
        assert taken == [True] and not one.acquire(wait=False)
        two.release()
        deadline = time.monotonic() + 5
        while one.locked() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not one.locked()


def test_a_lock_is_renewed_while_it_is_held(client, key):
    lock = NdringMutex(client, key, lease=0.3)
    assert lock.acquire()
    time.sleep(1)
    assert not NdringMutex(client, key).acquire(wait=False)
    lock.release()


def test_the_lock_of_a_dead_process_ends(client, key):
    dead = NdringMutex(client, key, lease=0.3)
    assert dead.acquire()
    dead._held[1].set()  # as if its thread were gone
    began, heir = time.monotonic(), NdringMutex(client, key)
    assert heir.acquire() and time.monotonic() - began < 5
    assert dead._held is not None
    dead.release()  # the other one's lock stays
    time.sleep(0.05)
    assert dead.locked()
    heir.release()


def test_a_lock_that_was_lost_is_not_renewed(client, key):
    lock = NdringMutex(client, key, lease=0.15)
    assert lock.acquire()
    client.set(lock._key, np.zeros(16, np.uint8))
    lock._held[2].join(5)
    assert not lock._held[2].is_alive() and client.ttl(lock._key) == -1
    lock.release()
    assert client.get(lock._key).tolist() == [0] * 16


def test_a_lock_that_is_lost_during_its_release_stays_with_its_new_holder(client, key):
    lock = NdringMutex(client, key)
    assert lock.acquire()
    store = lock._client.set

    def lose_it_first(*arguments, **options):
        client.set(lock._key, np.zeros(16, np.uint8))
        return store(*arguments, **options)

    lock._client.set = lose_it_first
    lock.release()
    time.sleep(0.05)
    assert client.get(lock._key).tolist() == [0] * 16 and client.ttl(lock._key) == -1


def test_a_lock_whose_lease_is_half_over_is_not_taken(client, key):
    lock = NdringMutex(client, key, lease=0.3)
    store = lock._client.set
    lock._client.set = lambda *arguments, **options: (store(*arguments, **options), time.sleep(0.15))[0]  # the reply is late
    assert not lock.acquire(wait=False) and lock._held is None
    time.sleep(0.05)
    heir = NdringMutex(client, key)
    assert heir.acquire(wait=False)
    heir.release()


def test_waiters_write_nothing_and_ask_the_primary(client, key):
    holder = NdringMutex(client, key)
    assert holder.acquire()
    waiter = NdringMutex(client.with_options(read_from_replicas=True), key)
    waiter._client.set = lambda *arguments, **options: pytest.fail("a node remembers a limited number of conditional writes")
    assert not waiter.acquire(wait=False) and not waiter._client._cluster.read_from_replicas
    holder.release()


def test_long_keys_have_locks(client, key):
    lock, other = NdringMutex(client, key * 2000), NdringMutex(client, key * 2001)
    assert lock.acquire() and not NdringMutex(client, key * 2000).acquire(wait=False) and other.acquire(wait=False)
    lock.release()
    other.release()


def test_outages():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()  # where nothing listens any more
    raising = {"host": address[0], "port": address[1], "retry_for": 0, "socket_connect_timeout": 1, "distributed_lock": True}
    region = make_region().configure("ndring", arguments=raising)
    with pytest.raises(ndring.ConnectionError):
        region.get_or_create("k", lambda: A)
    with pytest.raises(ndring.ConnectionError):
        region.actual_backend.get_mutex("k").acquire()
    region = make_region().configure("ndring", arguments={**raising, "on_error": "miss"})
    assert_identical(region.get_or_create("k", lambda: A), A)
    mutex = region.actual_backend.get_mutex("k")
    assert mutex.acquire() and mutex.acquire(wait=False)
    mutex.release()
    region.set_multi({"k": A})
    region.delete("k")
    assert region.get_multi(["k"]) == [NO_VALUE] and region.actual_backend.client.unanswered.writes >= 2


# Keys of functions


def test_functions_of_arrays(regions):
    region, calls = regions(region=make_region(function_key_generator=array_key_generator)), []
    name = uuid.uuid4().hex

    @region.cache_on_arguments(namespace=name)
    def total(array, scale=1):
        calls.append(1)
        return array.sum() * np.float64(scale)

    long = np.zeros(5000)
    other = long.copy()
    other[2500] = 1  # str() abbreviates both alike
    assert [total(long), total(other), total(long, 2), total(other, scale=2), total(long), total(scale=1, array=other)] == [0, 1, 0, 2, 0, 1]
    assert len(calls) == 4
    total.invalidate(long)
    assert total(long) == 0 and len(calls) == 5

    class Model:
        @region.cache_on_arguments(namespace=name)
        def predict(self, x):
            calls.append(1)
            return x + 1

    assert Model().predict(long).sum() == Model().predict(long).sum() == 5000 and len(calls) == 6


def test_keys_of_functions_tell_arguments_apart():
    generate = array_key_generator("n", lambda *args, **kwargs: None)
    x = np.arange(6)
    arguments = [
        (), (None,), (0,), (False,), (0.0,), (-0.0,), (0j,), ("",), (b"",), ("0",), (b"0",), (np.int64(0),), (np.float64(0),), (np.array(0),),
        ([],), ((),), ({},), (0, 0), ((0, 0),), ([0, 0],), (1, 23), (12, 3), ([0], [0]), ([[0], 0],), ({"a": 0},), ({0: "a"},),
        ({"a": 0, "b": 1},), ("ab", "c"), ("a", "bc"), (x,), (x.astype(">i8"),), (x.astype("i4"),), (x.reshape(2, 3),), (x.reshape(3, 2),), (x[::-1],), (x, x),
        ([x, x],),
        (x.view("f8"),), (x.view("M8[s]"),), (np.ma.MaskedArray(x, mask=[1, 0, 0, 0, 0, 0]),),
        (np.ma.MaskedArray(x, mask=[0, 1, 0, 0, 0, 0]),), (x.view(np.matrix),), (x.astype("S1"),), ("\ud800",),
    ]  # fmt: skip
    if HAS_STRING_DTYPE:
        arguments += [(np.array(["a", "bc"], "T"),), (np.array(["ab", "c"], "T"),)]
    keys = [generate(*a) for a in arguments]
    assert len(set(keys)) == len(keys)
    assert [generate(*a) for a in arguments] == keys and generate(a=x) != generate(b=x)
    assert re.fullmatch(r"test_contrib_dogpile:test_keys\w+\.<locals>\.<lambda>\|n\|[0-9a-f]{64}", keys[0])


def test_keys_of_functions_do_not_depend_on_the_layout_or_the_process():
    generate = array_key_generator(None, lambda x: None)
    x = np.arange(6).reshape(2, 3)
    frozen = x.copy()
    frozen.flags.writeable = False
    assert len({generate(a) for a in (x, np.asfortranarray(x), frozen, np.repeat(x, 2, axis=0)[::2])}) == 1
    assert generate({"a": 1, "b": x}) == generate({"b": x, "a": 1})
    digest = generate(np.arange(3, dtype="<i4")).rpartition("|")[2]
    assert digest == "ac8178939c54ed619743bc8297058debedb0e2e4acbe8b2e1c569bfb637ce452"


@pytest.mark.parametrize("argument", [object(), {1, 2}, [object()], range(3)], ids=lambda a: type(a).__name__)
def test_keys_of_functions_refuse_what_has_no_bytes_of_its_own(argument):
    with pytest.raises(TypeError, match="array_key_generator cannot make a key from"):
        array_key_generator(None, lambda x: None)(argument)
    with pytest.raises(ndring.EncodeError):
        array_key_generator(None, lambda x: None)(np.array([object()]))


def test_the_entry_point_is_the_backend():
    text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text()
    target = re.search(r'^\[project\.entry-points\."dogpile\.cache"\]\nndring = "([\w.]+):(\w+)"', text, re.MULTILINE)
    assert target[1] == dogpile.__name__ and getattr(dogpile, target[2]) is NdringBackend
