"""The cache for Django, with the real library."""
from __future__ import annotations

import asyncio
import socket
import threading
import time
import uuid

import ndring
import numpy as np
import pytest
from django.core.cache import CacheHandler, CacheKeyWarning
from django.core.cache.backends.base import BaseCache
from django.core.exceptions import ImproperlyConfigured
from fidelity import assert_identical, awkward_arrays
from ndring.contrib import django as contrib

A = np.arange(6, dtype=">f4").reshape(2, 3)


@pytest.fixture(autouse=True)
def close_clients():
    yield
    for client in contrib._clients.values():
        client.close()
    contrib._clients.clear()


@pytest.fixture
def make(node):
    """Returns a function that makes a cache as Django does."""

    def make(**settings):
        options = {"BACKEND": "ndring.contrib.django.NdringCache", "LOCATION": f"{node[0]}:{node[1]}", "KEY_PREFIX": uuid.uuid4().hex, **settings}
        return CacheHandler({"default": options})["default"]

    return make


@pytest.fixture
def cache(make):
    return make()


def pttl(cache, key):
    return cache.client.pttl(cache.make_key(key))


@pytest.mark.filterwarnings("ignore::django.core.cache.CacheKeyWarning")  # the names of the arrays have blanks
def test_arrays_come_back_exactly(cache):
    values = dict(awkward_arrays())
    assert cache.set_many(values) == []
    found = cache.get_many([*values, "missing"])
    assert list(found) == list(values)
    for name, value in values.items():
        try:
            assert_identical(found[name], value)
        except AssertionError as exc:
            raise AssertionError(f"{name}: {exc}") from exc
    for value in (np.float32(1.5), np.bool_(True), np.datetime64("NaT")):
        cache.set("scalar", value)
        assert_identical(cache.get("scalar"), value)


@pytest.mark.parametrize("value", [None, 3, "text", [1, 2], {"a": 1}, object(), np.array([object()])], ids=str)
def test_only_arrays_are_stored(cache, value):
    for store in (cache.set, cache.add, cache.get_or_set, lambda key, value: cache.set_many({key: value})):
        with pytest.raises(ndring.EncodeError):
            store("k", value)
    assert not cache.has_key("k")


def test_get_set_delete(cache):
    assert cache.get("k") is None and cache.get("k", 5) == 5 and "k" not in cache and not cache.delete("k")
    cache.set("k", A)
    assert_identical(cache.get("k"), A)
    assert "k" in cache and cache.has_key("k") and cache.delete("k") and not cache.delete("k") and cache.get("k") is None
    cache.set_many({"a": A, "b": A, "c": A})
    cache.delete_many(["a", "b", "x"])
    assert list(cache.get_many(["a", "b", "c"])) == ["c"]
    cache.delete_many([])
    assert cache.get_many([]) == {} and cache.set_many({}) == []
    cache.set(7, A)  # Django turns any key into text
    assert cache.has_key("7")


def test_add(cache):
    assert cache.add("k", A) and not cache.add("k", np.ones(1))
    assert_identical(cache.get("k"), A)
    assert 299_000 < pttl(cache, "k") <= 300_000
    assert not cache.add("k", A, timeout=0) and cache.add("other", A, timeout=-1) and not cache.has_key("other")


@pytest.mark.parametrize(("timeout", "least", "most"), [(60, 59_000, 60_000), (0.5, 100, 500), (None, -1, -1)])
def test_timeouts(make, timeout, least, most):
    cache = make()
    cache.set("a", A, timeout)
    cache.set_many({"b": A}, timeout)
    cache.add("c", A, timeout)
    cache.get_or_set("d", A, timeout)
    cache.set("e", A, 1000)
    assert cache.touch("e", timeout)
    default = make(TIMEOUT=timeout if timeout != 0.5 else None)
    default.set("f", A)
    assert all(least <= pttl(cache, key) <= most for key in "abcde")
    assert pttl(default, "f") == -1 if timeout in (None, 0.5) else least <= pttl(default, "f") <= most


@pytest.mark.parametrize("timeout", [0, -1, -0.5])
def test_timeouts_that_are_over(cache, timeout):
    cache.set_many({key: A for key in "abcd"})
    cache.set("a", A, timeout)
    assert cache.set_many({"b": A}, timeout) == []
    assert cache.touch("c", timeout) and not cache.touch("c", timeout)
    assert_identical(cache.get_or_set("d", np.ones(1), timeout), A)
    assert cache.get_or_set("e", lambda: np.ones(1), timeout).tolist() == [1]
    assert list(cache.get_many("abcde")) == ["d"]


def test_a_default_timeout_of_zero_stores_nothing(make):
    cache = make(TIMEOUT=0)
    cache.set("k", A)
    assert not cache.has_key("k")
    cache.set("k", A, 10)
    assert cache.has_key("k")


def test_values_expire(cache):
    cache.set("k", A, 0.3)
    time.sleep(0.4)
    assert cache.get("k") is None and not cache.touch("k") and not cache.touch("k", None)


def test_touch(cache):
    cache.set("k", A, 10)
    assert cache.touch("k") and 299_000 < pttl(cache, "k") <= 300_000
    assert cache.touch("k", None) and cache.touch("k", None) and pttl(cache, "k") == -1


def test_versions(make):
    cache = make()
    cache.set("k", A)
    cache.set("k", np.ones(1), version=2)
    assert_identical(cache.get("k"), A)
    assert cache.get("k", version=2).tolist() == [1] and cache.get("k", version=3) is None
    assert list(cache.get_many(["k"], version=2)) == ["k"] and cache.touch("k", version=2) and not cache.touch("k", version=3)
    cache.set("l", A, version=2)
    cache.delete_many(["l"])
    assert cache.has_key("l", version=2)
    cache.delete_many(["l"], version=2)
    assert not cache.has_key("l", version=2)
    assert cache.delete("k", version=2) and cache.has_key("k") and not cache.has_key("k", version=2)
    assert cache.incr_version("k") == 2 and cache.decr_version("k", version=2) == 1
    assert_identical(cache.get("k"), A)
    with pytest.raises(ValueError, match="not found"):
        cache.incr_version("missing")
    second = make(VERSION=2, KEY_PREFIX=cache.key_prefix)
    second.set("k", np.zeros(2))
    assert_identical(cache.get("k"), A)
    assert cache.get("k", version=2).tolist() == [0, 0]


def test_incr(cache):
    cache.set("n", np.uint8(250), 50)
    assert cache.incr("n") == 251 and cache.incr("n", 4) == 255 and type(cache.get("n")) is np.uint8
    assert 1000 < pttl(cache, "n") <= 50_000
    with pytest.raises(OverflowError, match="plus 1 does not fit into uint8"):
        cache.incr("n")
    assert cache.decr("n", 255) == 0
    with pytest.raises(OverflowError):
        cache.decr("n")
    assert cache.get("n") == 0
    with pytest.raises(ValueError, match="'missing' not found"):
        cache.incr("missing")
    for value in (A, np.float64(1), np.timedelta64(1, "s"), np.array(1)):
        cache.set("n", value)
        with pytest.raises(TypeError, match="NumPy integers such as"):
            cache.incr("n")


def test_incr_loses_no_increment(make):
    cache = make()
    cache.set("n", np.int64(0))
    threads = [threading.Thread(target=lambda: [make(KEY_PREFIX=cache.key_prefix).incr("n") for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get("n") == 100


def test_get_or_set_lets_one_caller_compute(make):
    cache, made, results = make(), [], []

    def compute():
        made.append(1)
        time.sleep(0.3)
        return A

    threads = [threading.Thread(target=lambda: results.append(make(KEY_PREFIX=cache.key_prefix).get_or_set("k", compute))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(results) == 5 and all(np.array_equal(result, A) for result in results)
    assert cache.get_or_set("other", np.ones(1)).tolist() == cache.get_or_set("other", np.zeros(1)).tolist() == [1]


def test_clear_deletes_only_this_cache(make, client):
    one, two, neighbour = make(KEY_PREFIX="clear*"), make(KEY_PREFIX="clearly"), make(KEY_PREFIX="")
    client.set("clear*", A)
    for cache in (one, two, neighbour):
        cache.set("k", A)
        cache.set("k", A, version=2)
    one.clear()
    assert not one.has_key("k") and not one.has_key("k", version=2)
    assert client.exists("clear*") and all(cache.has_key("k") and cache.has_key("k", version=2) for cache in (two, neighbour))
    neighbour.clear()
    assert not neighbour.has_key("k") and two.has_key("k")
    two.clear()
    client.delete("clear*")


def my_key(key, prefix, version):
    return f"mine/{prefix}/{version}/{key}"


def test_key_functions(make, client):
    cache = make(KEY_FUNCTION="test_contrib_django.my_key")
    cache.set("k", A)
    assert client.exists(f"mine/{cache.key_prefix}/1/k") == 1 and cache.has_key("k")
    with pytest.raises(ImproperlyConfigured, match="KEY_FUNCTION"):
        cache.clear()
    assert cache.has_key("k")


def test_keys_that_memcached_does_not_take_warn(cache):
    for call in (cache.get, cache.has_key, cache.delete, cache.touch, lambda key: cache.set(key, A), lambda key: cache.get_many([key])):
        with pytest.warns(CacheKeyWarning):
            call("a blank")


if hasattr(BaseCache, "aget"):  # since Django 4.0

    def test_async_methods(cache):
        async def use():
            await cache.aset("k", A)
            assert_identical(await cache.aget("k"), A)
            assert await cache.aget_or_set("l", lambda: np.ones(1)) == [1]
            assert list(await cache.aget_many(["k", "l"])) == ["k", "l"]
            assert await cache.adelete("k") and not await cache.ahas_key("k")

        asyncio.run(use())


# Settings


def test_caches_share_a_client(make, node, monkeypatch):
    assert make().client is not make(LOCATION="redis://%s:%d" % node).client
    assert make().client is make(KEY_PREFIX="x", OPTIONS={}).client is make(OPTIONS={"MAX_ENTRIES": 9, "CULL_FREQUENCY": 2}).client
    assert make(OPTIONS={"retry_for": 1}).client is not make().client
    assert make(OPTIONS={"retry_for": 1, "deadline": 2}).client is make(OPTIONS={"deadline": 2, "retry_for": 1}).client
    clients, connect = [], contrib._make_client
    monkeypatch.setattr(contrib, "_make_client", lambda *arguments: time.sleep(0.05) or connect(*arguments))
    threads = [threading.Thread(target=lambda: clients.append(make(OPTIONS={"retry_for": 3}).client)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, clients))) == 1 and clients[0]._arguments["retry_for"] == 3

    class Credentials:
        def get_credentials(self):
            return ("user", "secret")

    one, two = Credentials(), Credentials()
    assert contrib._shared_client(("a",), {"credential_provider": one}) is contrib._shared_client(("a",), {"credential_provider": one})
    assert contrib._shared_client(("a",), {"credential_provider": one}) is not contrib._shared_client(("a",), {"credential_provider": two})


@pytest.mark.parametrize(
    ("location", "nodes"),
    [
        ("", ("localhost",)),
        ([], ("localhost",)),
        ("a", ("a",)),
        ("a:1,b:2", ("a:1", "b:2")),
        ("a:1; b:2;", ("a:1", "b:2")),
        (["a:1", "b:2"], ("a:1", "b:2")),
        ("redis://u:p@a:1,b:2?retry_for=3", ("redis://u:p@a:1,b:2?retry_for=3",)),
        (["redis://a:1"], ("redis://a:1",)),
        (("redis://u:p@a:1?retry_for=3", "redis://u:p@b:2?retry_for=3"), ("redis://u:p@a:1,b:2?retry_for=3",)),
        (["redis://a:1", "redis://b:2"], ("redis://a:1,b:2",)),
        ("unix:///run/ndring.sock", ("unix:///run/ndring.sock",)),
    ],
)
def test_locations(location, nodes):
    assert contrib._nodes(location) == nodes


@pytest.mark.parametrize(
    "location",
    [
        ["redis://u:p@a", "redis://b"], ["redis://a", "rediss://b"], ["redis://a?x=1", "redis://b"], ["redis://a", "b"],
        ["unix:///a", "unix:///a"],
    ],
)  # fmt: skip
def test_locations_that_differ_in_more_than_their_hosts(location):
    with pytest.raises(ImproperlyConfigured, match="their hosts only"):
        contrib._nodes(location)


def test_urls_and_options_connect(make, node):
    for location in (f"redis://{node[0]}:{node[1]}", [f"redis://{node[0]}:{node[1]}"] * 2, [f"{node[0]}:{node[1]}"]):
        cache = make(LOCATION=location, OPTIONS={"client_name": "pages"})
        cache.set("k", A)
        assert_identical(cache.get("k"), A)
        assert cache.client._arguments["client_name"] == "pages"
    with pytest.raises(TypeError, match="hots"):
        make(OPTIONS={"hots": 1}).get("k")


def test_pages_work_on_without_the_cache(make):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "%s:%d" % server.getsockname()  # where nothing listens any more
    cache = make(LOCATION=address, OPTIONS={"on_error": "miss", "retry_for": 0})
    cache.set("k", A)
    assert cache.get("k") is None and not cache.add("k", A) and cache.get_many(["k"]) == {} and not cache.delete("k") and not cache.touch("k")
    assert cache.set_many({"k": A, "l": A}) == ["k", "l"] and not cache.has_key("k") and not cache.touch("k", None)
    assert_identical(cache.get_or_set("k", lambda: A), A)
    with pytest.raises(ValueError, match="not found"):
        cache.incr("k")
    raising = make(LOCATION=address, OPTIONS={"retry_for": 0})
    for call in (raising.get, raising.delete, raising.clear, lambda *key: raising.set("k", A), lambda *key: raising.set_many({"k": A})):
        with pytest.raises(ndring.ConnectionError):
            call("k") if call != raising.clear else call()
