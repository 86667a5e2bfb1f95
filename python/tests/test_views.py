"""Parts of stored arrays: view and take, beside NumPy's own answers."""
import collections
import random

import numpy as np
import pytest

import ndring
from ndring import BoundsError, DecodeError, NumPyRedis
from ndring._codec.npy import build_header
from ndring._core import calls
from ndring._core.views import View
from test_failures import client_of

SEED = random.SystemRandom().randrange(2**32)


def same(got, want):
    assert type(got) is type(want)
    assert got.dtype == want.dtype and got.shape == want.shape
    assert got.tobytes() == want.tobytes()


def random_array(random):
    shape = tuple(random.randrange(6) for _ in range(1 + random.randrange(4)))
    dtype = random.choice(["u1", ">i2", "<f8", "S3", "U2", "M8[s]", [("a", "u1"), ("b", "<f4", (2,))]])
    array = np.frombuffer(random.randbytes(np.dtype(dtype).itemsize * int(np.prod(shape))), "u1")
    if dtype == "U2":
        array = np.array([chr(65 + b % 26) for b in array[: int(np.prod(shape))]], "U2")
    array = array.view(dtype).reshape(shape) if array.size else np.empty(shape, dtype)
    return np.asfortranarray(array) if random.random() < 0.5 else array.copy()


def random_arrays(client, key):
    """Stores 150 arrays under a key, one after the other, and yields each with the source of chance."""
    print("seed", SEED)
    r = random.Random(SEED)
    for _ in range(150):
        array = random_array(r)
        client.set(key, array)
        yield r, array


def random_slice(random, length):
    def bound():
        return random.choice([None, random.randrange(-length - 3, length + 4), 10**30, -(10**30)])

    return slice(bound(), bound(), random.choice([None, 1, 2, -1, -3, 10**30]))


def random_index(random, shape):
    items = []
    for length in shape[: random.randrange(len(shape) + 1)]:
        items.append(random.randrange(-length - 1, length + 1) if random.random() < 0.4 else random_slice(random, length))
    if random.random() < 0.3:
        items.insert(random.randrange(len(items) + 1), Ellipsis)
    return items[0] if len(items) == 1 and random.random() < 0.5 else tuple(items)


def test_views_give_what_numpy_gives(client):
    for r, array in random_arrays(client, "viewed"):
        view = client.view("viewed")
        assert (view.shape, view.dtype, view.ndim, view.size, view.nbytes) == (array.shape, array.dtype, array.ndim, array.size, array.nbytes)
        for _ in range(8):
            index = random_index(r, array.shape)
            try:
                want = array[index]
            except IndexError:
                with pytest.raises(BoundsError):
                    view[index]
                continue
            same(view[index], want)


def test_takes_give_what_numpy_gives(client):
    for r, array in random_arrays(client, "taken"):
        axis = r.randrange(-array.ndim, array.ndim)
        length = array.shape[axis]
        indices = np.array([r.randrange(-length - (r.random() < 0.02), max(length, 1)) for _ in range(r.choice([0, 1, 4, 6]))], np.int64)
        if indices.size == 6:
            indices = indices.reshape(r.choice([(2, 3), (6,), (1, 2, 3)]))
        elif indices.size == 1:
            indices = r.choice([indices, indices[0], int(indices[0])])
        try:
            want = np.take(array, indices, axis)
        except IndexError:
            if np.size(indices):
                with pytest.raises(BoundsError):
                    client.take("taken", indices, axis)
            continue
        if not want.size and np.size(indices):  # numpy looks at no index then
            continue
        same(client.take("taken", indices, axis), want)
        if np.ndim(indices) and axis >= 0:
            same(client.view("taken")[(slice(None),) * axis + (indices,)], want)
            same(client.view("taken").take(indices, axis), want)


def test_only_the_part_travels(client):
    table = np.arange(1 << 20, dtype=np.float32).reshape(4096, 256)
    client.set("table", table)
    ids = [4095, 0, -1, 17]
    before = client.info("stats")["total_net_output_bytes"]
    same(client.take("table", ids), table[ids])
    same(client.view("table")[100:104], table[100:104])
    sent = client.info("stats")["total_net_output_bytes"] - before
    assert sent < 4 * (2 * 4 * 256) + 20_000, sent  # INFO itself has about 10 KB


def test_the_array_that_is_read_is_writable_and_of_its_own(client):
    client.set("rows", np.arange(6).reshape(2, 3))
    for got in (client.take("rows", [1]), client.view("rows")[1:]):
        got[...] = 9
    same(client.get("rows"), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("index", [True, None, 1.0, "x", [0.5], [True, False], np.array([True, False]), (0, [1]), ([0], [1]), (slice(1), [0]), (..., ...)])
def test_what_an_index_may_not_have(client, index):
    client.set("few", np.zeros((2, 2)))
    with pytest.raises((IndexError, TypeError)):
        client.view("few")[index]


def test_too_many_axes(client):
    client.set("one axis", np.zeros(3))
    client.set("no axes", np.array(5))
    for key, index in [("one axis", (0, 0)), ("one axis", (0, ..., 0)), ("one axis", (slice(1), slice(1))), ("no axes", 0), ("no axes", slice(1))]:
        with pytest.raises(IndexError):
            client.view(key)[index]
    with pytest.raises(BoundsError):
        client.take("one axis", 0, axis=1)
    assert client.view("no axes")[()] == 5
    assert client.view("no axes")[...] == 5
    with pytest.raises(TypeError):
        len(client.view("no axes"))


def test_missing_keys(client):
    view = client.view("missing")
    assert client.take("missing", [0]) is None
    uses = [lambda: view[0], lambda: view[...], lambda: view.shape, lambda: len(view), lambda: view.take([0]), lambda: view.nbytes]
    for use in [*uses, lambda: np.asarray(view)]:
        with pytest.raises(KeyError):
            use()
    with pytest.raises(TypeError):
        client.view(None)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_classes_and_flags(client):
    record = np.rec.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")])
    frozen = np.arange(4)
    frozen.setflags(write=False)
    strided = np.arange(40)[::4]
    for value in (record, np.matrix([[1, 2], [3, 4]]), np.char.array(["ab", "c"]), frozen, strided):
        client.set("kind", value)
        for got, want in [(client.take("kind", [1]), value[[1]]), (client.view("kind")[:1], value[:1])]:
            assert type(got) is np.ndarray and got.flags.writeable
            assert got.dtype == want.dtype and got.tolist() == want.tolist()
    client.set("kind", np.ma.masked_array([1, 2, 3], [0, 1, 0]))
    for read in (lambda: client.take("kind", [1]), lambda: client.view("kind")[:1]):
        with pytest.raises(DecodeError, match="masked"):
            read()
    for read in (lambda: client.view("kind")[()], lambda: client.view("kind")[...][:1], lambda: np.asarray(client.view("kind"))):
        with pytest.raises(DecodeError, match="masked"):
            read()
    assert client.ping()


def test_indices_of_other_types(client):
    array = np.arange(12).reshape(3, 4)
    client.set("typed", array)
    view = client.view("typed")
    point = collections.namedtuple("point", "i j")
    same(view[point(1, 2)], array[1, 2])
    same(view[True:3, np.int8(1) : np.uint64(3)], array[1:3, 1:3])
    same(view[..., [0, -1]], array[..., [0, -1]])
    with pytest.raises(ValueError):
        view[::0]
    with pytest.raises(BoundsError) as caught:
        view[3]
    assert caught.value.prefix == "BOUNDS"


@pytest.mark.parametrize("index", [(..., 0), (..., [0, 1]), (0, ...), ([0, 1], ...)])
@pytest.mark.parametrize("after", [(5,), (4, 5, 6)])
def test_an_array_that_is_replaced_by_one_with_other_axes(client, monkeypatch, index, after):
    client.set("replaced", np.zeros((4, 5)))
    later = np.arange(np.prod(after)).reshape(after)
    shape = View.shape

    def replace_then(self):
        found = yield from shape(self)
        yield from self._core.run(calls.set_(self._core.defaults, "replaced", later))
        return found

    monkeypatch.setattr(View, "shape", replace_then)
    same(client.view("replaced")[index], later[index])


def test_limits_of_take(client):
    client.set("long", np.arange(100_000, dtype=np.uint16))
    indices = np.arange(65_536)[::-1] - 65_536
    same(client.take("long", indices), np.arange(100_000, dtype=np.uint16)[indices])
    with pytest.raises(ValueError, match="65537 indices"):
        client.take("long", np.arange(65_537))
    client.set("wide", np.zeros((2, 1 << 20)))
    with pytest.raises(ndring.TooLargeError):
        client.take("wide", [0] * 10_000)


def test_pipelines_of_takes(client):
    tables = {f"{{t}}{i}": np.random.default_rng(i).random((50, 4)) for i in range(5)}
    client.mset(tables)
    ids = [3, -1, 3]
    with client.pipeline() as p:
        for key in tables:
            p.take(key, ids)
        p.take("missing", ids)
        results = p.execute()
    assert results.pop() is None
    for got, table in zip(results, tables.values()):
        same(got, table[ids])
    with client.pipeline(transaction=True) as p:
        results = p.take("{t}0", 1, axis=1).take("{t}1", [0]).execute()
    same(results[0], tables["{t}0"][:, 1])
    same(results[1], tables["{t}1"][[0]])


def test_a_miss_when_no_node_answers(silent_address=("127.0.0.1", 1)):
    client = NumPyRedis(*silent_address, retry_for=0.1, on_error="miss", socket_timeout=0.2)
    assert client.take("k", [0]) is None
    with pytest.raises(KeyError):
        client.view("k")[0]
    assert client.unanswered.reads >= 2


def test_views_are_values(client):
    view = client.view("eye")
    assert repr(view) == "ArrayView('eye')"
    client.set("eye", np.eye(3))
    same(np.asarray(view), np.eye(3))
    same(np.asarray(view, np.float32), np.eye(3, dtype=np.float32))
    assert [row.tolist() for row in view] == np.eye(3).tolist()


@pytest.mark.parametrize("shape", [(), (2,), (3, 4), (1, 4)])
def test_a_reply_of_another_shape(stub, shape):
    npy = build_header("|u1", False, shape) + bytes(int(np.prod(shape)))
    reply = b"*3\r\n$%d\r\n%b\r\n$-1\r\n$3\r\n1-1\r\n" % (len(npy), npy)
    server = stub(reply, reply, reply)
    client = client_of(server)
    with pytest.raises(DecodeError):
        client.take("k", [[0, 1, 2]], axis=1)
    with pytest.raises(DecodeError):
        client.view("k")[0, 1]
