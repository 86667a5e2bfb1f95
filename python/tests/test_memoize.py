"""memoize and get_or_set_many, with both clients, and the digest of arguments."""
from __future__ import annotations

import asyncio
import datetime
import enum
import pickle
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import ndring.asyncio
import numpy as np
import pytest
from ndring import NumPyRedis, TimeoutError
from ndring._core.digest import digest
from test_failures import client_of

A = np.arange(6.0).reshape(2, 3)
pytestmark = pytest.mark.blocking  # both clients are tried here


class Color(enum.Enum):
    RED = 1


class Bits(enum.IntFlag):
    READ = 1
    WRITE = 2
    ALL = 7


class Subclass(np.ndarray):
    """Its instances may have more than their elements."""


# Digests

DIFFERENT = [
    None, True, 1, 1.0, 1j, "1", b"1", 0, False, 0.0, -0.0, "", b"", [], (), {}, frozenset(), [1], (1,), {1: 2}, {2: 1}, {1}, [1, [2]], [[1], 2],
    ["ab", "c"], ["a", "bc"], ["abc"], 1 << 100, float("nan"), float("inf"), Color.RED, datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc), datetime.timedelta(1), np.dtype("<f8"), np.dtype("<f4"), np.float64(1), np.int64(1),
    np.bool_(True), np.array(1.0), np.array([1.0]), np.array([[1.0]]), np.arange(6.0), A, A.T, A.astype("<f4"), A.astype(">f8"),
    np.zeros((0, 3)), np.zeros((3, 0)),
    np.array(["a"]), np.array([b"a"]), np.array(["2020"], "M8[Y]"), np.array([(1, 2)], [("x", "i4"), ("y", "i4")]),
    np.array([(1, 2)], [("x", "i4"), ("z", "i4")]),
    np.array([[1.0]]).view(np.matrix), np.rec.array([(1,)], [("x", "i4")]), Bits(0), Bits(1), Bits(3), Bits(4),
    datetime.time(12), datetime.time(12, tzinfo=datetime.timezone.utc),
    np.ma.MaskedArray([1.0, 2.0], mask=[0, 1]), np.ma.MaskedArray([1.0, 2.0], mask=[1, 0]), np.ma.MaskedArray([1.0, 2.0]), np.array([1.0, 2.0]),
]  # fmt: skip


def test_different_values_have_different_digests():
    digests = [digest(value) for value in DIFFERENT]
    assert len(set(digests)) == len(DIFFERENT), [value for value in DIFFERENT if digests.count(digest(value)) > 1]


def test_layout_and_flags_do_not_matter():
    read_only = A.copy()
    read_only.flags.writeable = False
    wide = np.zeros((2, 6))
    wide[:, ::2] = A
    for same in (np.asfortranarray(A), A[::-1][::-1], read_only, wide[:, ::2], np.lib.stride_tricks.as_strided(A, A.shape, A.strides), A.view()):
        assert digest(same) == digest(A)
    hidden = np.ma.MaskedArray([1.0, 7.0], mask=[0, 1])
    assert digest(hidden) == digest(np.ma.MaskedArray([1.0, 2.0], mask=[0, 1]))
    assert digest({1: 2, "a": A}) == digest({"a": A, 1: 2}) and digest({1, "a"}) == digest(frozenset(["a", 1]))
    assert digest(bytearray(b"x")) == digest(b"x")


def test_what_lies_between_the_elements_does_not_matter():
    """Its content is undefined."""
    table = np.zeros(20, [("a", "i1"), ("b", "f8"), ("c", "i1")])
    padded = np.dtype([("a", "i1"), ("b", "f8"), ("c", "i1")], align=True)
    ones, zeros = (np.frombuffer(bytes([byte]) * padded.itemsize * 3, padded).copy() for byte in (255, 0))
    for array in (ones, zeros):
        for name in padded.names:
            array[name] = 1
    assert digest(ones) == digest(zeros) and len({digest(table[["a", "c"]][::2]) for _ in range(20)}) == 1
    long = np.arange(5, dtype=np.longdouble) / 3
    other = np.frombuffer(long.tobytes(), np.longdouble).copy()
    if long.dtype.itemsize == 16:
        other.view(np.uint8).reshape(5, 16)[:, 10:] = 7
    assert digest(long) == digest(other) != digest(long.astype("f8").astype(np.longdouble))
    assert digest(long + 1j) == digest(other + 1j) != digest(long + 2j)
    assert len({digest(np.longdouble(value)) for value in ("inf", "-inf", "nan", "0", "-0.0", "1")}) == 6


def test_digests_do_not_change():
    """They are keys, which other versions of Python, NumPy and ndring must find again."""
    assert digest((None, 1, "é", 1.5, [A, np.float32(2)], {"a": True})) == "5ac6c68b434fe984b7ff7a059f9b5a10ad4cbbdc"
    assert digest(np.array([(1, 2.0)], [("x", "<i4"), ("y", "<f8", (1,))])) == "c1cae7aa2bd61df95cc8a56b20f6f4bee56b017d"


@pytest.mark.parametrize("value", [object(), len, np.array([None]), (1, [object()]), type("L", (list,), {})(), np, A.view(Subclass), memoryview(b"x")], ids=str)
def test_values_without_a_digest(value):
    with pytest.raises(TypeError, match="no stable digest"):
        digest(value)


def test_nested_without_end():
    endless = []
    endless.append(endless)
    with pytest.raises(TypeError, match="too deeply"):
        digest(endless)


# memoize


def test_a_function_is_called_once(client):
    calls = []

    @client.memoize(ex=100, version=uuid.uuid4())
    def scaled(array, factor=2, *more, **options):
        """Scales."""
        calls.append((array, factor))
        return array * factor

    assert scaled.__name__ == "scaled" and scaled.__doc__ == "Scales." and scaled.__wrapped__(A, 3)[0, 1] == 3
    calls.clear()
    for _ in range(2):
        assert np.array_equal(scaled(A), A * 2) and np.array_equal(scaled(np.asfortranarray(A), factor=2), A * 2)
    assert len(calls) == 1 and scaled.key(A) == scaled.key(array=A, factor=2) != scaled.key(A, 3) != scaled.key(A, 3, 4) != scaled.key(A, 3, x=4)
    assert 90 < client.ttl(scaled.key(A)) <= 100
    assert scaled.invalidate(A) is True and scaled.invalidate(A) is False
    scaled(A)
    assert len(calls) == 2


def test_versions_and_names_make_different_keys(client):
    def f(x):
        return x

    def g(x):
        return x

    keys = {client.memoize(version=v)(function).key(1) for v in (3, 1, 2) for function in (f, g)}
    assert len(keys) == 6 and all(key.startswith(f"ndring:memo:{__name__}.") for key in keys)


def test_methods_and_ignored_parameters(client):
    class Model:
        calls = 0

        @client.memoize(ex=100, ignore=["self", "log"], version=uuid.uuid4())
        def predict(self, x, log=None):
            Model.calls += 1
            return np.array([x])

    one, other = Model(), Model()
    assert one.predict(1).tolist() == other.predict(1, log=print).tolist() == [1] and Model.calls == 1
    assert Model.predict.key(one, 1) == Model.predict.key(other, 1, log=len) == one.predict.key(1)
    assert one.predict.invalidate(1) is True and other.predict.invalidate(1) is False and one.predict.__doc__ is None


def test_wrong_uses(client):
    with pytest.raises(TypeError, match=r"@client.memoize\(\)"):
        client.memoize(lambda: 1)
    with pytest.raises(TypeError, match="no parameter y"):
        client.memoize(ignore=["y"], version=1)(lambda x: x)
    with pytest.raises(TypeError, match=r"\['self'\]"):
        client.memoize(ignore="self")
    with pytest.raises(TypeError, match="no stable digest.*ignore="):
        client.memoize(version=1)(lambda x: A)(object())
    with pytest.raises(ndring.EncodeError):
        client.memoize(version=1)(lambda x: "text")(uuid.uuid4().hex)

    def local(x):
        return x

    for several in (lambda x: x, local):
        with pytest.raises(TypeError, match="pass version="):
            client.memoize()(several)
    with pytest.raises(TypeError, match="parameters"):
        client.memoize()(dict)


def of_the_module(x):
    return np.array([x])


def test_a_memoized_function_is_pickled_by_its_name(client, monkeypatch):
    memoized = client.memoize(ex=10)(of_the_module)
    monkeypatch.setattr(sys.modules[__name__], "of_the_module", memoized)
    assert pickle.loads(pickle.dumps(memoized)) is memoized


def test_coroutine_functions(node):
    async def main():
        async with ndring.asyncio.NumPyRedis(*node) as c:
            calls = []

            @c.memoize(ex=100, version=uuid.uuid4())
            async def slow(x):
                calls.append(x)
                await asyncio.sleep(0.05)
                return A * x

            @c.memoize(ex=100, version=uuid.uuid4())
            def plain(x):
                calls.append(x)
                return A * x

            for function in (slow, plain):
                calls.clear()
                results = await asyncio.gather(*(function(2) for _ in range(10)))
                assert len(calls) == 1 and all(np.array_equal(result, A * 2) for result in results)
                assert await function.invalidate(2) is True and await function.invalidate(2) is False

    asyncio.run(main())


def test_keys_are_those_of_another_process(client):
    code = """
import numpy as np
from ndring import NumPyRedis
def f(a, b): ...
f.__module__ = 'm'
print(NumPyRedis().memoize()(f).key(np.arange(3.0), {'x': 1, 'y': {2, 3}}))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(ndring.__file__).parents[1])

    def f(a, b): ...

    f.__module__, f.__qualname__ = "m", "f"  # as a function of a module
    assert run.stdout.strip() == client.memoize()(f).key(np.arange(3.0), {"y": {3, 2}, "x": 1}), run.stderr


# get_or_set_many


def keys_of(count):
    prefix = uuid.uuid4().hex
    return [f"{prefix}-{n}" for n in range(count)]


def test_only_what_is_missing_is_made(client):
    keys = keys_of(5)
    client.mset({keys[1]: A, keys[3]: A + 1})
    asked = []

    def make(missing):
        asked.append(missing)
        return {key: np.array([len(key)]) for key in missing}

    found = client.get_or_set_many(keys, make, ex=100)
    assert asked == [[keys[0], keys[2], keys[4]]] and np.array_equal(found[1], A) and np.array_equal(found[3], A + 1) and found[0].tolist() == [len(keys[0])]
    assert 90 < client.ttl(keys[0]) <= 100 and client.ttl(keys[1]) == -1
    again = client.get_or_set_many(keys + keys[:1], lambda missing: pytest.fail("all are there"))
    assert len(again) == 6 and np.array_equal(again[5], found[0])
    assert client.get_or_set_many([], lambda missing: pytest.fail("no keys")) == []


def test_make_may_return_a_list(client):
    keys = keys_of(3)
    assert [int(a) for a in client.get_or_set_many(iter(keys), lambda missing: [np.array(n) for n in range(len(missing))])] == [0, 1, 2]
    for wrong, text in ((lambda missing: [A], "1 arrays for 2 keys"), (lambda missing: {missing[0]: A}, "no array for")):
        with pytest.raises(ValueError, match=text):
            client.get_or_set_many(keys_of(2), wrong)
    with pytest.raises(ndring.EncodeError, match="several keys"):
        client.get_or_set_many("abc", lambda missing: {})


def test_each_key_is_made_by_one_caller(node):
    keys = keys_of(12)
    made, results, lock = [], [], threading.Lock()

    def call(n):
        def make(missing):
            with lock:
                made.extend(missing)
            time.sleep(0.1)  # time for the others to ask
            return {key: np.array(keys.index(key)) for key in missing}

        with NumPyRedis(*node) as c:
            mine = keys[n : n + 8]
            results.append([int(a) for a in c.get_or_set_many(mine, make)] == list(range(n, n + 8)))

    threads = [threading.Thread(target=call, args=(n,)) for n in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert results == [True] * 5 and sorted(made) == sorted(keys)


def test_a_failed_make_gives_all_locks_back(client):
    keys = keys_of(4)

    def fail(missing):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        client.get_or_set_many(keys, fail, lease=60)
    began = time.monotonic()
    assert len(client.get_or_set_many(keys, lambda missing: dict.fromkeys(missing, A), lease=60)) == 4
    assert time.monotonic() - began < 30


def test_a_caller_that_waits_too_long(node, client):
    keys = keys_of(2)
    entered, release = threading.Event(), threading.Event()

    def make(missing):
        entered.set()
        release.wait(30)
        return dict.fromkeys(missing, A)

    thread = threading.Thread(target=lambda: NumPyRedis(*node).get_or_set_many(keys[:1], make))
    thread.start()
    try:
        assert entered.wait(30)
        with pytest.raises(TimeoutError, match=keys[0]):
            client.get_or_set_many(keys, lambda missing: dict.fromkeys(missing, A), wait_for=0.1)
        assert np.array_equal(client.get(keys[1]), A)  # which was this caller's
        found = client.get_or_set_many(keys, lambda missing: dict.fromkeys(missing, A + 1), wait_for=0.1, on_error="make")
        assert np.array_equal(found[0], A + 1) and np.array_equal(found[1], A)
    finally:
        release.set()
        thread.join()


def test_without_an_answer_make_is_called_once(fake):
    cluster = fake(1)
    with client_of(type("Server", (), {"address": cluster.nodes[0].address}), retry_for=0, on_error="miss") as c:
        cluster.nodes[0].override = lambda node, arguments: b"-CLUSTERDOWN down\r\n"
        asked = []

        def make(missing):
            asked.append(missing)
            return dict.fromkeys(missing, A)

        assert len(c.get_or_set_many(["a", "b"], make)) == 2 and asked == [["a", "b"]]


def test_get_or_set_many_for_asyncio(node):
    async def main():
        keys = keys_of(6)
        made = []

        async def make(missing):
            made.extend(missing)
            await asyncio.sleep(0.05)
            return {key: np.array(keys.index(key)) for key in missing}

        async with ndring.asyncio.NumPyRedis(*node) as c:
            several = await asyncio.gather(*(c.get_or_set_many(keys, make) for _ in range(5)))
            assert sorted(made) == sorted(keys) and all([int(a) for a in found] == list(range(6)) for found in several)

    asyncio.run(main())


# As a mapping


def test_a_client_is_like_a_mapping():
    from conftest import start_node, stop_node

    process, address = start_node()
    try:
        with NumPyRedis(*address) as c:
            assert len(c) == 0 and bool(c) and c.keys() == [] and list(c) == []
            c["a"] = A
            assert c.mset({"b1": A, "b2": A}, ex=100) and 90 < c.ttl("b1") <= 100 and c.mset({"b1": A}, px=5000) and 0 < c.pttl("b1") <= 5000
            assert "a" in c and "x" not in c and len(c) == c.dbsize() == 3 and sorted(c.keys()) == [b"a", b"b1", b"b2"]
            assert sorted(c.keys("b*", text=True)) == ["b1", "b2"] and np.array_equal(c["a"], A) and sorted(c) == sorted(c.keys())
            del c["a"]
            for access in (lambda: c["a"], lambda: c.__delitem__("a")):
                with pytest.raises(KeyError):
                    access()
            c.set(b"\xff", A)
            with pytest.raises(UnicodeDecodeError):
                c.keys(text=True)
            for no in ({}, {"yes": False}, {"yes": 1}):
                with pytest.raises(ValueError, match="yes=True"):
                    c.flush(**no)
            assert len(c) == 3 and c.flush(yes=True) is True and len(c) == 0
            assert c.execute_command("ECHO", "x") == b"x"
            c["k"] = A
            assert c.execute_command("NP.TTL", "k") == -1 and c.execute_command("EXISTS", "k", key="k") == 1 and c.execute_command("ECHO", "") == b""
            with pytest.raises(ndring.ServerError, match="unknown command"):
                c.execute_command("NOSUCH", 1)
            with pytest.raises(ValueError):
                c.execute_command()
    finally:
        stop_node(process)


def test_the_nodes_of_a_cluster_as_a_mapping(fake):
    cluster = fake()
    with client_of(type("Server", (), {"address": cluster.nodes[0].address})) as c:
        asked = []
        for n, node in enumerate(cluster.nodes):
            node.override = lambda node, arguments, n=n: (
                asked.append((n, arguments[0])) or (b":%d\r\n" % (n + 1) if arguments[0] == b"DBSIZE" else b"+OK\r\n")
                if arguments[0] in (b"DBSIZE", b"FLUSHALL") else None
            )
        assert len(c) == 6 and c.flush(yes=True)
        assert sorted(asked) == [(n, name) for n in range(3) for name in (b"DBSIZE", b"FLUSHALL")]


def test_a_command_that_may_have_been_executed_is_not_repeated(stub):
    server = stub(None, b"+OK\r\n")
    with client_of(server) as c:
        with pytest.raises(ndring.NdringError):
            c.execute_command("INCR", "k")
    assert len(server.commands) == 1
