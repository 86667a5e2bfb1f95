"""Collections in a node: every call that concerns a value, through real connections."""
from __future__ import annotations

import io

import numpy as np
import pytest
from fidelity import assert_same_collection, filled
from ndring import DecodeError, EncodeError, TooLargeError
from ndring._core import calls as _calls
from routing_helpers import do

A, B = filled((200, 300), "f8"), filled(3, "u1")
VALUE = {"q": A, "r": (B, [A.T, np.ma.MaskedArray(B, [1, 0, 1])]), "none": {}}


def test_set_and_get(client):
    short, medium = [filled(5000, "u1")] * 2, [filled(20_000, "u1")] * 2  # sent in one buffer; in several, with a checksum on every machine
    for value in (VALUE, (A, B), [A], {}, (), [np.float32(i) for i in range(2000)], short, medium):
        assert client.set("c", value) is True
        assert_same_collection(client.get("c"), value)
        assert client.verify("c")


def test_numpy_results(client):
    client.set("qr", np.linalg.qr(np.eye(3)))
    back = client.get("qr")
    assert_same_collection(back, np.linalg.qr(np.eye(3)))
    q, r = back
    assert back[0] is q and np.array_equal(q @ r, np.eye(3))


def test_a_collection_is_replaced_as_a_whole(client):
    client.set("c", VALUE)
    version = client.meta("c").version
    assert client.set("c", [B], if_version=version) and not client.set("c", [A], if_version=version)
    assert not client.set("c", [A], nx=True) and client.set("c", [A, B], xx=True, ex=100)
    assert_same_collection(client.get("c"), [A, B])
    assert 90 < client.ttl("c") <= 100


def test_several_at_once(client):
    assert client.mset({"a": VALUE, "b": A, "c": (B,)})
    for got, want in zip(client.mget(["a", "b", "c", "missing"]), [VALUE, A, (B,), None]):
        assert got is None if want is None else assert_same_collection(got, want) is None
    with client.pipeline() as p:
        results = p.set("d", VALUE).get("d").set("d", [B]).get("d").get("missing").execute()
    assert results[0] is results[2] is True and results[4] is None
    assert_same_collection([results[1], results[3]], [VALUE, [B]])
    with client.pipeline(transaction=True) as p:
        assert_same_collection(p.set("{t}x", VALUE).get("{t}x").execute()[1], VALUE)


def test_get_or_set(client):
    client.delete("made")
    assert_same_collection(client.get_or_set("made", lambda: VALUE), VALUE)
    assert_same_collection(client.get_or_set("made", lambda: {}), VALUE)


def test_arrays_of_other_packages(client):
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return A

    with pytest.raises(EncodeError, match="convert=True"):
        client.set("t", {"x": Tensor()})
    assert client.set("t", {"x": Tensor(), "y": Tensor()}, convert=True, ex=100) and client.mset({"u": Tensor()}, convert=True)
    assert_same_collection(client.get_or_set("v", Tensor, convert=True), A)
    with client.pipeline() as p:
        assert_same_collection(p.set("w", Tensor(), convert=True).get("w").execute()[1], A)
    assert_same_collection(client.get("t"), {"x": A, "y": A})
    assert_same_collection(client.get("u"), A)


def test_metadata_is_that_of_the_archive(client):
    client.set("c", {"q": A, "r": B})
    meta = client.meta("c")
    assert meta.dtype == client.dtype("c") == np.uint8 and client.shape("c") == meta.shape == (meta.nbytes,)
    assert A.nbytes < meta.nbytes < A.nbytes + 2000 and meta.attrs == b'{"v":1,"py":{"kind":"archive"}}' and meta.parts == {}


def test_parts_and_views_are_refused(client):
    client.set("c", VALUE)
    view = client.view("c")
    for read in (
        lambda: np.asarray(view), lambda: view[:10], lambda: view[0], lambda: view[...], lambda: view[[1, 2]], lambda: view[()],
        lambda: client.take("c", [1]), lambda: client.get("c", out=np.empty(view.shape, np.uint8)),
    ):  # fmt: skip
        with pytest.raises(DecodeError, match="collection"):
            read()


def test_other_readers_list_the_arrays(client):
    """What a program without ndring does with the bytes of the value."""
    client.set("c", VALUE)
    raw = client.get("c")
    assert isinstance(raw, dict)
    whole = do(client, client._cluster.one(_calls.get_request(b"c")))
    with np.load(io.BytesIO(whole.data.tobytes())) as npz:
        assert npz.files == ["q", "r/0", "r/1/0", "r/1/1", "__ndring__"]
        assert np.array_equal(npz["q"], A) and np.array_equal(npz["r/1/0"], A.T)


def test_too_large(client):
    with pytest.raises(TooLargeError):
        client.set("c", [np.zeros(300 << 20, "u1")] * 2)
    client.delete("c")
