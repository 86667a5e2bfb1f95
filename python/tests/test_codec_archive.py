"""Collections: dicts, tuples and lists of arrays come back the same, and any reader of .npz files
reads their arrays."""
from __future__ import annotations

import collections
import io
import json
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
import strategies
from codec_helpers import LOAD_OPTIONS, npy_of, same_memory, unpack
from fidelity import HAS_STRING_DTYPE, assert_identical, assert_same_collection, awkward_arrays, filled, is_string
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ndring import _codec
from ndring._codec import archive as _archive
from ndring._codec import numpy_results as _numpy_results
from ndring._codec import stored_zip as _zip
from ndring._exceptions import DecodeError, EncodeError

SLOW = settings(deadline=None, max_examples=200, database=None, suppress_health_check=list(HealthCheck))
NUMPY = tuple(map(int, np.__version__.split(".")[:2]))


def archive_of(encoded: _codec.Encoded) -> bytes:
    return b"".join([encoded.data, *encoded.more])


def check_archive(value: Any, **options: Any) -> Any:
    """Encodes and decodes a collection, and checks what other readers find. Returns what comes back."""
    encoded = _codec.encode(value, **options)
    assert json.loads(encoded.attrs) == {"v": 1, "py": {"kind": "archive"}} and not encoded.parts
    for buffer in (encoded.data, *encoded.more):
        assert buffer.format == "B" and buffer.ndim == 1 and buffer.contiguous and len(buffer)
    raw = np.load(io.BytesIO(npy_of(encoded)), allow_pickle=False)
    assert raw.dtype == np.uint8 and raw.tobytes() == archive_of(encoded)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert archive.testzip() is None and not archive.comment
    with np.load(io.BytesIO(raw), allow_pickle=False, **LOAD_OPTIONS) as npz:
        assert npz.files[-1] == "__ndring__" and len(npz.files) == len(set(npz.files)) == len(leaves(value)) + 1
        for name, leaf in zip(npz.files, leaves(value)):
            loaded = npz[name]
            assert loaded.shape == np.shape(leaf) and not loaded.dtype.hasobject
        assert npz["__ndring__"].dtype == np.uint8
    return unpack(encoded)


def leaves(value: Any) -> list:
    """Returns the arrays of a collection in order."""
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, (tuple, list)) else [value]


A, B, C = filled((2, 3), "f8"), filled(3, "u1"), np.float32(1.5)


@pytest.mark.parametrize(
    "value",
    [
        {}, (), [], {"a": {}}, ((),), [[], {}], {"q": A, "r": B}, (A, B), [A], [A, B, C], {"x": (A, [B, {"y": C}]), "z": []},
        {"z": A, "a": B, "m": C}, {"": A, ".": B, "..": C, "/": A, "%": B, "%2F": C}, {"a/b": A, "a": {"b": B}, "a%2Fb": C},
        {"__ndring__": A, "%5F_ndring__": C}, {"__ndring__.npy": B}, {"a": A, "a.npy": B}, {"größe": A, "名前": B, "\U0001f600": C},
        {"\0": A, "\n": B, "C:\\x": C, "/etc/passwd": A, "../up": B}, {"k" * 1024: A}, {"é" * 512: {"é" * 512: A}}, [A] * 300,
        {"0": A, "1": B}, ({"0": A},), {"file": np.empty((0, 3)), "none": np.empty(0, "S3"), "zero": np.array(3)},
    ],
    ids=lambda value: ascii(value)[:40].replace("\n", " "),
)  # fmt: skip
def test_structures(value):
    if isinstance(value, dict) and "a.npy" in value:  # np.load cannot tell these two names apart
        assert_same_collection(unpack(_codec.encode(value)), value)
    else:
        assert_same_collection(check_archive(value), value)


@pytest.mark.parametrize("name", [name for name, _ in awkward_arrays()])
def test_every_array_that_is_stored_alone_is_stored_in_collections(name):
    array = dict(awkward_arrays())[name]
    value = {"before": A, "x": array, "nested": (array, [array], {"x": array}), "after": B}
    assert_same_collection(check_archive(value), value)


@SLOW
@given(st.recursive(strategies.arrays(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
                    | st.lists(inner, max_size=3).map(tuple), max_leaves=4))  # fmt: skip
def test_any_nesting_of_any_arrays(value):
    try:
        encoded = _codec.encode(value if isinstance(value, (dict, tuple, list)) else [value], layout="exact")
    except EncodeError as exc:
        assert "not Unicode" in str(exc)  # a key with a lone surrogate
        return
    assert_same_collection(unpack(encoded), value if isinstance(value, (dict, tuple, list)) else [value])


def test_readers_of_npz_files_find_the_arrays():
    value = {"q": A, "pair": (B, A.T), "c": C}
    with np.load(io.BytesIO(archive_of(_codec.encode(value)))) as npz:
        assert npz.files == ["q", "pair/0", "pair/1", "c", "__ndring__"]
        assert_identical(npz["q"], A)
        assert_identical(npz["pair/1"], A.T)
        assert npz["c"] == C
    with np.load(io.BytesIO(archive_of(_codec.encode([A, B])))) as npz:
        assert npz.files == ["0", "1", "__ndring__"]


def test_equal_values_have_equal_bytes():
    value = {"a": A, "m": np.ma.MaskedArray(B, [1, 0, 1])}
    assert npy_of(_codec.encode(value)) == npy_of(_codec.encode({"a": A.copy(), "m": value["m"].copy()}))


# ---- memory


def test_arrays_are_sent_from_their_own_memory():
    large, fortran, mask = filled((100, 100), "f8"), filled((100, 100), "i4").T, filled((100, 100), "?")
    encoded = _codec.encode({"a": large, "b": [fortran, np.ma.MaskedArray(large, mask, copy=False)], "small": B})
    views = [encoded.data, *encoded.more]
    for array, copies in ((large, 2), (fortran, 1), (mask, 1)):
        assert sum(len(view) == array.nbytes and same_memory(array, view) for view in views) == copies
    assert sum(map(len, views)) - 2 * large.nbytes - fortran.nbytes - mask.nbytes < 4096


def test_short_buffers_are_joined():
    assert len(_codec.encode([B] * 30).more) == 0
    assert len(_codec.encode([A, filled(5000, "u1"), B]).more) == 2


def test_arrays_come_back_as_separate_views_of_one_buffer():
    value = {"a": filled(5, "u1"), "b": filled(7, "c16"), "c": filled((3, 3), "g").T, "d": np.ma.MaskedArray(filled(3, "f8"), [0, 1, 0])}
    encoded = _codec.encode(value)
    header = _codec.parse_header(encoded.header)
    buffer = np.empty(header.nbytes, np.uint8)
    buffer[:] = np.frombuffer(archive_of(encoded), np.uint8)
    back = _codec.decode(header, buffer, encoded.attrs)
    arrays = [back["a"], back["b"], back["c"], back["d"].data, back["d"].mask]
    start = buffer.__array_interface__["data"][0]
    for i, array in enumerate(arrays):
        assert np.shares_memory(array, buffer) and array.flags.writeable and array.flags.aligned
        assert (array.__array_interface__["data"][0] - start) % 64 == 0
        assert not any(np.shares_memory(array, other) for other in arrays[i + 1 :])


def test_a_buffer_that_is_not_aligned():
    encoded = _codec.encode({"a": A, "b": filled(3, "c16")})
    header = _codec.parse_header(encoded.header)
    buffer = np.empty(header.nbytes + 1, np.uint8)[1:]
    buffer[:] = np.frombuffer(archive_of(encoded), np.uint8)
    assert_same_collection(_codec.decode(header, buffer, encoded.attrs), {"a": A, "b": filled(3, "c16")})


def test_one_array_twice_comes_back_as_two():
    back = unpack(_codec.encode((A, A)))
    assert not np.shares_memory(*back)


# ---- ZIP64


@pytest.fixture
def small_zip64(monkeypatch):
    """ZIP64's fields from 100 bytes and 3 entries."""
    monkeypatch.setattr(_zip, "_LARGE", 100)
    monkeypatch.setattr(_zip, "_MANY", 3)


@pytest.mark.parametrize("value", [{}, [B], {"a": filled(1000, "u1"), "b": B, "c": {"d": filled(10, "f8")}}, [B] * 20], ids=lambda v: str(len(v)))
def test_zip64(small_zip64, value):
    with zipfile.ZipFile(io.BytesIO(archive_of(_codec.encode(value)))) as archive:
        assert archive.infolist()[-1].extract_version == 45
    assert_same_collection(check_archive(value), value)


def test_entries_beyond_4_gib():
    """Without their memory: the headers of entries of these sizes, read again from a sparse file's worth of offsets."""
    first = _zip.Entry(b"a.npy", 5 << 30, 1, 0)
    second = _zip.Entry(b"b.npy", 100, 2, len(_zip.local_header(first)) + first.size)
    end = second.offset + len(_zip.local_header(second)) + second.size
    assert end > 1 << 32 and (second.offset + len(_zip.local_header(second))) % 64 == 0

    class Sparse(io.RawIOBase):
        """A file that has only a directory, at its end."""

        tail = _zip.directory([first, second], end)
        at = 0

        def seekable(self) -> bool:
            return True

        def readable(self) -> bool:
            return True

        def tell(self) -> int:
            return self.at

        def seek(self, offset: int, whence: int = 0) -> int:
            self.at = offset + (0, self.at, end + len(self.tail))[whence]
            return self.at

        def readinto(self, target: Any) -> int:
            piece = self.tail[self.at - end : self.at - end + len(target)]
            target[: len(piece)] = piece
            self.at += len(piece)
            return len(piece)

    found = zipfile.ZipFile(io.BufferedReader(Sparse())).infolist()
    assert [(info.filename, info.file_size, info.header_offset) for info in found] == [("a.npy", 5 << 30, 0), ("b.npy", 100, second.offset)]


def test_many_entries():
    value = [np.uint8(i % 256) for i in range(_archive.MAX_ITEMS - 1)]
    encoded = _codec.encode(value)
    assert len(zipfile.ZipFile(io.BytesIO(archive_of(encoded))).infolist()) == _archive.MAX_ITEMS
    assert unpack(encoded) == value


def test_the_crc_of_each_entry():
    raw = archive_of(_codec.encode({"a": A, "m": np.ma.MaskedArray(B, [1, 0, 1])}))
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        for info in archive.infolist():
            assert info.CRC == zlib.crc32(archive.read(info)) and info.compress_type == zipfile.ZIP_STORED


# ---- classes


RESULTS = {
    "EigResult": lambda: np.linalg.eig(A[:2, :2]), "EighResult": lambda: np.linalg.eigh(np.eye(2)), "QRResult": lambda: np.linalg.qr(np.eye(3)),
    "SVDResult": lambda: np.linalg.svd(np.eye(3)), "SlogdetResult": lambda: np.linalg.slogdet(np.eye(3)),
    "UniqueAllResult": lambda: np.unique_all(np.array([3, 1, 3])), "UniqueCountsResult": lambda: np.unique_counts(np.array([3, 1, 3])),
    "UniqueInverseResult": lambda: np.unique_inverse(np.array([3, 1, 3])),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_results_of_numpy(name):
    if name.startswith("Unique") and NUMPY < (2, 0):
        pytest.skip("numpy 2.0 brought it")
    value = RESULTS[name]()
    back = unpack(_codec.encode({"r": value}))["r"]
    assert_same_collection(back, value)
    assert type(back).__name__ == ("tuple" if NUMPY < (1, 25) else name)


def test_the_list_of_results_is_complete():
    assert {name.rpartition(".")[2] for name in _numpy_results.RESULTS} == set(RESULTS)
    for name, make in RESULTS.items():
        if hasattr(np, "unique_all") or not name.startswith("Unique"):
            assert [fields for full, (fields, _) in _numpy_results.RESULTS.items() if full.endswith(name)] == [len(make())]


def test_namedtuples_of_programs_that_are_named_like_numpys():
    with pytest.raises(EncodeError, match=r"store tuple\(x\) or x._asdict\(\)"):
        _codec.encode(collections.namedtuple("QRResult", "Q R")(A, B))


def test_results_of_a_numpy_that_has_more_classes(monkeypatch):
    # They are tuples where numpy's own functions return tuples.
    QRResult = collections.namedtuple("QRResult", "Q R")
    monkeypatch.setitem(_numpy_results.RESULTS, "numpy.linalg.QRResult", (2, lambda: QRResult(A, B)))
    _numpy_results.class_of.cache_clear()
    encoded = _codec.encode([QRResult(A, B)])
    assert_same_collection(unpack(encoded), [QRResult(A, B)])
    Other = collections.namedtuple("Other", "Q R")
    for older in (lambda: (A, B), lambda: (A, B, C), lambda: None.qr, lambda: Other(A, B)):
        monkeypatch.setitem(_numpy_results.RESULTS, "numpy.linalg.QRResult", (2, older))
        _numpy_results.class_of.cache_clear()
        assert_same_collection(unpack(encoded), [(A, B)])
    _numpy_results.class_of.cache_clear()


# ---- limits


def nested(depth: int, cls: type = list) -> Any:
    value: Any = A
    for _ in range(depth):
        value = {"a": value} if cls is dict else cls([value])
    return value


def test_depth():
    for cls in (list, tuple, dict):
        assert_same_collection(check_archive(nested(16, cls)), nested(16, cls))
        with pytest.raises(EncodeError, match="deeper than 16 levels"):
            _codec.encode(nested(17, cls))
    loop: list = [A]
    loop.append(loop)
    with pytest.raises(EncodeError, match="deeper"):
        _codec.encode(loop)


def test_lists_that_share_lists_of_numbers():
    value: list = [1]
    for _ in range(14):
        value = [value] * 8  # 8**14 ways through it
    with pytest.raises(EncodeError, match="not a collection of arrays"):
        _codec.encode(value)


def test_items():
    with pytest.raises(EncodeError, match="more than 65536"):
        _codec.encode([C] * _archive.MAX_ITEMS)
    with pytest.raises(EncodeError, match="more than 65536"):
        _codec.encode([[]] * _archive.MAX_ITEMS)


def test_names():
    for key in ("k" * 1025, "é" * 513, "\ud800", "\ud83d\ude00"):
        with pytest.raises(EncodeError, match="the key"):
            _codec.encode({key: A})
    with pytest.raises(EncodeError, match="the names"):
        _codec.encode({f"{i:01000}": () for i in range(4500)})


def test_layout():
    # Together they would need more memory than a reader allocates.
    wide = np.zeros(400 << 20, "u1")[:: (400 << 20) - 1]  # numpy touches only two pages of it
    assert _codec.encode([wide, A], layout="exact")
    with pytest.raises(EncodeError, match="layout='packed'"):
        _codec.encode([wide, wide], layout="exact")
    assert_same_collection(unpack(_codec.encode([wide, wide])), [wide, wide], layout=False)
    with pytest.raises(ValueError, match="layout"):
        _codec.encode({}, layout="other")
    assert unpack(_codec.encode([A[::-1]], layout="packed"))[0].strides == A.strides
    dtype = np.dtype("f4", metadata={"a": object()})
    assert unpack(_codec.encode([filled(3, dtype)], metadata="drop"))[0].dtype.metadata is None


@pytest.mark.skipif(not HAS_STRING_DTYPE, reason="StringDType came with numpy 2.0")
def test_layouts_of_strings_count_too():
    text = np.broadcast_to(np.array("a", dtype=np.dtypes.StringDType()), 1000)
    assert is_string(text.dtype)
    assert_same_collection(unpack(_codec.encode([text] * 3)), [text] * 3)


# ---- other readers of the value


def test_out_refuses_collections():
    encoded = _codec.encode([A])
    header = _codec.parse_header(encoded.header)
    with pytest.raises(DecodeError, match="a collection"):
        _codec.check_out(np.empty(header.nbytes, np.uint8), header, encoded.attrs)
    with pytest.raises(DecodeError, match="of a collection"):
        _codec.decode_piece(header, np.empty(header.nbytes, np.uint8), encoded.attrs)
