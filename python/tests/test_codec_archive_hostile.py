"""Any bytes of a collection are either decoded or refused with DecodeError, within bounded memory."""
from __future__ import annotations

import io
import json
import random
import struct
import tracemalloc
import zipfile
import zlib
from typing import Any, Callable, List, Tuple

import numpy as np
import pytest
from fidelity import awkward_arrays, filled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ndring import _codec
from ndring._codec import archive as _archive
from ndring._codec import stored_zip as _zip
from ndring._exceptions import DecodeError
from test_codec_hostile import FUZZ, LIMIT, mutate, tree

COLLECTION = b'{"v":1,"py":{"kind":"archive"}}'
A, B = filled((2, 3), "f8"), filled(3, "u1")
VALUE = {"a": A, "b": (B, [A.T]), "m": np.ma.MaskedArray(B, [1, 0, 1]), "s": np.str_("x"), "e": {}}


def archive_of(value: Any) -> bytes:
    encoded = _codec.encode(value)
    return b"".join([encoded.data, *encoded.more])


def decode(raw: bytes, attrs: bytes = COLLECTION, **options: Any) -> Any:
    header = _codec.parse_header(_codec.encode(np.frombuffer(raw, np.uint8)).header if raw else _codec.encode(np.empty(0, np.uint8)).header)
    buffer = np.empty(len(raw), np.uint8)
    buffer[:] = np.frombuffer(raw, np.uint8) if raw else 0
    return _codec.decode(header, buffer, attrs, {}, max_bytes=LIMIT, **options)


def refused(raw: bytes, text: str = "") -> None:
    with pytest.raises(DecodeError, match=text):
        decode(raw)


def taken(raw: bytes) -> None:
    """Decodes, reads every byte of the result, and accepts a refusal."""
    try:
        touch(decode(raw))
    except DecodeError:
        pass


def touch(value: Any) -> None:
    if isinstance(value, (tuple, list)):
        for item in value:
            touch(item)
    elif isinstance(value, dict):
        touch(list(value.values()))
    elif isinstance(value, np.ndarray) and value.size:
        np.ndarray.view(value, np.ndarray).tobytes()


def build(entries: List[Tuple[bytes, bytes]]) -> bytes:
    """Returns the archive of entries with these names and bytes."""
    out, listed = b"", []
    for name, data in entries:
        entry = _zip.Entry(name, len(data), zlib.crc32(data), len(out))
        out += _zip.local_header(entry) + data
        listed.append(entry)
    return out + _zip.directory(listed, len(out))


def entries_of(raw: bytes) -> List[Tuple[bytes, bytes]]:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return [(info.filename.encode(), archive.read(info)) for info in archive.infolist()]


def npy(array: Any) -> bytes:
    encoded = _codec.encode(np.asarray(array))
    return encoded.header + bytes(encoded.data)


def description(text: Any, blobs: bytes = b"") -> Tuple[bytes, bytes]:
    raw = text if isinstance(text, bytes) else json.dumps(text).encode()
    raw += b" " * (-(len(raw) + 1) % 64) + b"\n" + blobs
    return b"__ndring__.npy", npy(np.frombuffer(raw, np.uint8))


def described(tree: Any, *arrays: Tuple[bytes, Any], blobs: bytes = b"") -> bytes:
    """Returns an archive with these arrays and this description."""
    return build([*((name, npy(array)) for name, array in arrays), description({"v": 1, "tree": tree}, blobs)])


def test_the_helpers_build_what_the_client_writes():
    assert build(entries_of(archive_of(VALUE))) == archive_of(VALUE)
    assert decode(described({"dict": [["a", {}]]}, (b"a.npy", B)))["a"].tolist() == B.tolist()


# ---- the archive


def patched(raw: bytes, at: int, new: bytes) -> bytes:
    return raw[:at] + new + raw[at + len(new) :]


RAW = archive_of(VALUE)


def test_every_byte_outside_of_the_arrays_counts():
    """No byte of the headers can change without a refusal, and none of the arrays with one."""
    spans, position = [], 0
    for _, start, end in _zip.read(memoryview(RAW), 100):
        spans.append((position, start))
        position = end
    spans.append((position, len(RAW)))
    for start, end in spans:
        for at in range(start, end):
            refused(patched(RAW, at, bytes([RAW[at] ^ 1])))


@pytest.mark.parametrize("size", [0, 1, 21, 22, 45, 46, 98, 100, len(RAW) - 1])
def test_cut_off(size):
    refused(RAW[:size])
    refused(RAW[len(RAW) - size :])


@pytest.mark.parametrize("raw", [b"\0" * 100, RAW + b"\0", b"\0" + RAW, RAW + RAW, RAW[:-22] + RAW[-22:] * 2], ids=range(5))
def test_more_than_an_archive(raw):
    refused(raw)


def other_zip(write: Callable[[zipfile.ZipFile], None], **options: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as archive:
        write(archive)
    return out.getvalue()


def write_all(archive: zipfile.ZipFile) -> None:
    for name, data in entries_of(RAW):
        archive.writestr(name.decode(), data)


def write_with_comment(archive: zipfile.ZipFile) -> None:
    write_all(archive)
    archive.comment = b"x"


@pytest.mark.parametrize(
    "raw",
    [other_zip(write_all), other_zip(write_all, compression=zipfile.ZIP_DEFLATED), other_zip(write_with_comment), other_zip(lambda archive: None)],
    ids=["zipfile", "compressed", "comment", "empty"],
)  # fmt: skip
def test_archives_of_other_programs(raw):
    refused(raw)


def end(count: int, size: int, offset: int) -> bytes:
    return _zip._END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)


@pytest.mark.parametrize("count", [0, 1, 2, 0xFFFE, 0xFFFF])
@pytest.mark.parametrize("size", [0, 46, 100, 0xFFFFFFFE, 0xFFFFFFFF])
@pytest.mark.parametrize("offset", [0, 1, 0xFFFFFFFE, 0xFFFFFFFF])
def test_ends_of_the_directory(count, size, offset):
    refused(end(count, size, offset))
    refused(RAW[:-22] + end(count, size, offset))
    for wide in (0, 1, 2**31, 2**62, 2**63, 2**64 - 1):
        tail = _zip._END64.pack(b"PK\6\6", 44, 45, 45, 0, 0, wide, wide, size, offset) + _zip._LOCATOR.pack(b"PK\6\7", 0, wide, 1)
        refused(tail + end(count, size, offset))
        tail = _zip._END64.pack(b"PK\6\6", 44, 45, 45, 0, 0, count, count, wide, wide) + _zip._LOCATOR.pack(b"PK\6\7", 0, offset, 1)
        refused(RAW[:-22] + tail + end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF))


@pytest.mark.parametrize("size", [0, 1, 10**6, 0xFFFFFFFE, 0xFFFFFFFF, 2**40, 2**64 - 1])
def test_sizes_of_entries(size):
    """A directory that agrees with itself, but not with the archive."""
    entry = _zip.Entry(b"__ndring__.npy", size, 0, 0)
    header = _zip.local_header(entry)
    refused(header + _zip.directory([entry], len(header)))
    if size != len(RAW):
        refused(header + RAW + _zip.directory([entry], len(header) + len(RAW)))


def test_overlapping_entries():
    data = npy(B)
    first = _zip.Entry(b"a.npy", len(data), zlib.crc32(data), 0)
    start = _zip.local_header(first) + data
    for listed in ([first, first], [first, first._replace(name=b"b.npy")], [first._replace(offset=64)]):
        refused(start + _zip.directory(listed, len(start)))


@pytest.mark.parametrize("gap", [b"\0", bytes(64), RAW])
def test_gaps(gap):
    """Bytes that no entry has: before the first one, between two, and before the directory."""
    entries = entries_of(RAW)
    for where in range(len(entries) + 1):
        out, listed = b"", []
        for i, (name, data) in enumerate(entries):
            out += gap if i == where else b""
            listed.append(_zip.Entry(name, len(data), zlib.crc32(data), len(out)))
            out += _zip.local_header(listed[-1]) + data
        out += gap if where == len(entries) else b""
        out += _zip.directory(listed, len(out))
        assert zipfile.ZipFile(io.BytesIO(out)).testzip() is None
        refused(out)


# ---- the description


BAD_TREES = [
    None, 1, [], "", True, {}, {"attrs": 1}, {"unknown": 1}, {"dict": []} | {"v": 1}, {"dict": {}}, {"dict": None}, {"dict": [1]}, {"dict": [[]]},
    {"dict": [["a"]]}, {"dict": [["a", {}, 1]]}, {"dict": [[1, {}]]}, {"dict": [["b", {}]]}, {"dict": [["a", {}], ["a", {}]]}, {"dict": [["\ud800", {}]]},
    {"dict": [["a", {}], ["b", {}]]}, {"dict": [["a", None]]}, {"dict": [["a", 0]]}, {"list": [{}]}, {"list": {}},
    {"tuple": [{}, {}]}, {"tuple": None}, {"class": "numpy.linalg.QRResult"}, {"tuple": [], "class": "numpy.linalg.QRResult"},
    {"tuple": [{"list": []}] * 2, "class": "os.system"}, {"tuple": [], "class": None}, {"tuple": [], "class": []}, {"list": [], "class": "tuple"},
    {"dict": [["a", {}]], "list": []}, {"tuple": [{"list": []}] * 3, "class": "numpy.linalg.QRResult"},
    *({"dict": [["a", node]]} for node in (
        {"attrs": -1}, {"attrs": 1}, {"attrs": 2**70}, {"attrs": "1"}, {"attrs": None}, {"attrs": True}, {"attrs": 1.0}, {"parts": 1}, {"parts": {}},
        {"parts": [1]}, {"parts": [["x"]]}, {"parts": [["x", -1]]}, {"parts": [["x", 2**64]]}, {"parts": [[1, 0]]}, {"parts": [["x", 1, 2]]},
        {"parts": [["x", 1]]}, {"attrs": 0, "parts": [], "more": 1})),
]  # fmt: skip


@pytest.mark.parametrize("tree", BAD_TREES, ids=lambda tree: json.dumps(tree)[:60])
def test_bad_descriptions(tree):
    refused(described(tree, (b"a.npy", B)))
    refused(described(tree))


@pytest.mark.parametrize("tree", [{"dict": []}, {"list": []}, {"tuple": []}, {"dict": [["a", {"dict": []}]]}])
def test_arrays_that_the_description_lacks(tree):
    assert decode(described(tree)) in ({}, [], (), {"a": {}})
    refused(described(tree, (b"a.npy", B)), "more than")


def test_bad_descriptions_of_archives_that_match_them():
    refused(described({}, (b".npy", B)), "unknown keys")
    refused(described({"dict": [["a", {}], ["a", {}]]}, (b"a.npy", B), (b"a.npy", B)), "twice")
    # A negative size would give the text itself as a part.
    refused(described({"dict": [["a", {"parts": [["x", -64], ["y", 64]]}]]}, (b"a.npy", B)), "exceed")
    refused(described({"dict": [["a", {"parts": [["x", 1]]}]]}, (b"a.npy", B)), "exceed")


BAD_TEXTS = {
    "empty": b"", "not JSON": b"{", "not UTF-8": b'{"v":1,"tree":{"dict":[["\xff",{}]]}}', "UTF-16": '{"v":1,"tree":{"list":[]}}'.encode("utf-16-le"),
    "a list": b"[]", "NaN": b'{"v":NaN,"tree":{"list":[]}}', "version 2": b'{"v":2,"tree":{"list":[]}}', "version true": b'{"v":true,"tree":{"list":[]}}',
    "no version": b'{"tree":{"list":[]}}', "another key": b'{"v":1,"tree":{"list":[]},"x":1}', "a key twice": b'{"v":1,"v":1,"tree":{"list":[]}}',
    "deep": b'{"v":1,"tree":' + b'{"list":[' * 100000 + b"]}" * 100000 + b"}", "unclosed": b"[" * 100000,
    "digits": b'{"v":' + b"1" * 100000 + b',"tree":{"list":[]}}',
}  # fmt: skip


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in BAD_TEXTS.items()])
def test_bad_texts(text):
    refused(build([description(text)]), "an integer of 100000 digits" if text.endswith(b"1" * 9 + b',"tree":{"list":[]}}') else "description")


def test_a_text_without_end_or_too_long():
    refused(build([(b"__ndring__.npy", npy(np.frombuffer(b'{"v":1,"tree":{"list":[]}}', np.uint8)))]), "no end")
    refused(build([description(b" " * (5 << 20))]), "too long")


def test_limits_of_depth_and_items():
    tree: Any = {"list": []}
    for _ in range(15):
        tree = {"tuple": [tree]}
    assert decode(described(tree))
    refused(described({"list": [tree]}), "deeper")
    most = _archive.MAX_ITEMS - 1
    assert decode(described({"list": [{"list": []}] * most})) == [[]] * most
    refused(described({"list": [{"list": []}] * (most + 1)}), "too many")


@pytest.mark.parametrize("name", [b"", b"b.npy", b"a", b"A.npy", b"a.npy\0", b"../a.npy", b"\xff.npy"])
def test_names_of_entries(name):
    refused(described({"dict": [["a", {}]]}, (name, B)), "missing")


@pytest.mark.parametrize("entry", [b"", b"x", npy(B)[:-1], npy(B) + b"x", npy(B)[:20], npy(B).replace(b"|u1", b"|O8"), b"PK\3\4" * 20], ids=repr)
def test_entries_that_are_no_arrays(entry):
    refused(build([(b"a.npy", entry), description({"v": 1, "tree": {"dict": [["a", {}]]}})]))
    refused(build([(b"__ndring__.npy", entry)]))


@pytest.mark.parametrize("array", [B.reshape(3, 1), B.astype("u2"), B.astype("i1"), np.array(3, "u1")], ids=lambda a: f"{a.dtype} {a.shape}")
def test_descriptions_that_are_no_bytes(array):
    refused(build([(b"__ndring__.npy", npy(array))]), "one axis of bytes")


def test_descriptions_under_another_name():
    text = {"v": 1, "tree": {"list": []}}
    assert decode(build([description(text)])) == []
    for name in (b"__ndring__", b"0.npy", b"", b"__NDRING__.npy"):
        refused(build([(name, description(text)[1])]), "last entry")


@pytest.mark.parametrize("more", [b"x", bytes(64), b"{}" * 100], ids=len)
def test_descriptions_with_more_bytes(more):
    refused(described({"list": []}, blobs=more), "more than")
    refused(described({"dict": [["a", {"attrs": 2}]]}, (b"a.npy", B), blobs=b"{}" + more), "more than")


def test_a_collection_as_an_entry():
    # Else a few bytes could nest without end.
    refused(described({"dict": [["a", {"attrs": len(COLLECTION)}]]}, (b"a.npy", np.frombuffer(RAW, np.uint8)), blobs=COLLECTION), "archive")


def test_attrs_of_entries():
    def with_attrs(py: Any, array: Any = B) -> bytes:
        attrs = json.dumps({"v": 1, "py": py}).encode()
        return described({"dict": [["a", {"attrs": len(attrs)}]]}, (b"a.npy", array), blobs=attrs)

    assert not decode(with_attrs({"readonly": True}))["a"].flags.writeable
    refused(with_attrs({"unknown": 1}), "unknown key")
    refused(with_attrs({"kind": "masked", "mask": {}}), "part mask")
    refused(with_attrs({"strides": [2**40]}), "limit")
    refused(with_attrs({"readonly": True})[:-22] + end(2, 1, 1))


@pytest.mark.parametrize("attrs", [b'{"v":1,"py":{"kind":"archive","x":1}}', b'{"v":1,"py":{"kind":"archive","readonly":true}}'])
def test_attrs_of_the_value(attrs):
    with pytest.raises(DecodeError, match="unknown key"):
        decode(RAW, attrs)


@pytest.mark.parametrize("array", [np.frombuffer(RAW, np.uint8)[None], np.frombuffer(RAW, np.int8), np.frombuffer(RAW[:1], np.uint8).reshape(())])
def test_arrays_that_are_no_archive(array):
    encoded = _codec.encode(array)
    data = np.frombuffer(bytearray(encoded.data), np.uint8)
    with pytest.raises(DecodeError, match="one axis of bytes"):
        _codec.decode(_codec.parse_header(encoded.header), data, COLLECTION, {})


# ---- memory


def test_layouts_share_one_limit():
    """Each of these is within the limit, all of them are not."""
    attrs = json.dumps({"v": 1, "py": {"strides": [LIMIT // 8]}}).encode()
    node, blob = {"attrs": len(attrs)}, attrs + bytes(-len(attrs) % 64)

    def archive(count: int) -> bytes:
        arrays = [(b"%d.npy" % i, B) for i in range(count)]
        return described({"list": [node] * count}, *arrays, blobs=(blob * count)[: 64 * len(blob) // 64 * (count - 1) + len(attrs)])

    assert len(decode(archive(3))) == 3
    refused(archive(5), "limit")


def test_a_directory_that_claims_the_whole_archive():
    raw = archive_of([np.zeros(10 << 20, "u1")])[:-22] + end(2, 100, 0)
    data = np.frombuffer(bytearray(raw), np.uint8)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match="directory"):
            _zip.read(memoryview(data), 100)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_little_data_needs_little_memory():
    tree = {"dict": [[str(i), {"list": []}] for i in range(50000)]}
    raw = described(tree)
    tracemalloc.start()
    try:
        decode(raw)
        assert tracemalloc.get_traced_memory()[1] < 40 * len(raw)
    finally:
        tracemalloc.stop()


# ---- mutations

SEEDS: List[Any] = [VALUE, {}, [A] * 3, {"x": [array for _, array in list(awkward_arrays())[::7] if array.nbytes < 500 and array.dtype.itemsize < 500]},
                    [np.ma.MaskedArray(B, [1, 0, 1], fill_value=3)], {"t": (B[::-1], A[:, ::2], np.void(b"a"))}]  # fmt: skip
ARCHIVES = [archive_of(value) for value in SEEDS]
FEWER = settings(FUZZ, max_examples=500, suppress_health_check=list(HealthCheck))


@FEWER
@given(st.sampled_from(ARCHIVES), st.integers(0, 2**32))
def test_mutated_bytes(raw, seed):
    rng = random.Random(seed)
    for _ in range(5):
        taken(mutate(raw, rng))


@FEWER
@given(st.sampled_from(ARCHIVES), st.integers(0, 2**32))
def test_mutated_entries(raw, seed):
    """The archive itself is intact, so that what reads names, headers, arrays and the description is reached."""
    rng = random.Random(seed)
    entries = entries_of(raw)
    for _ in range(5):
        changed = [(mutate(name, rng) if rng.random() < 0.05 else name, mutate(data, rng) if rng.random() < 0.2 else data) for name, data in entries]
        if rng.random() < 0.3:
            rng.shuffle(changed)
        if rng.random() < 0.3:
            changed.insert(rng.randrange(len(changed)), rng.choice(entries))
        if rng.random() < 0.3:
            del changed[rng.randrange(len(changed))]
        taken(build(changed))


@FEWER
@given(st.sampled_from(ARCHIVES), st.integers(0, 2**32))
def test_mutated_descriptions(raw, seed):
    rng = random.Random(seed)
    entries = entries_of(raw)
    data = entries[-1][1]
    body = data[_codec.parse_header(data).data_offset :]
    text, _, blobs = body.partition(b"\n")
    for _ in range(5):
        nodes = json.loads(text)
        changed = {"v": 1, "tree": tree(nodes["tree"], rng)} if rng.random() < 0.7 else nodes
        new = json.dumps(changed).encode()
        new = mutate(new, rng) if rng.random() < 0.3 else new
        taken(build([*entries[:-1], description(new, mutate(blobs, rng) if rng.random() < 0.5 else blobs)]))


@FEWER
@given(st.sampled_from(ARCHIVES), st.integers(0, 2**32))
def test_mutated_numbers(raw, seed):
    """16-, 32- and 64-bit numbers in the headers, replaced by others that mean something."""
    rng = random.Random(seed)
    for _ in range(5):
        at, (kind, top) = rng.randrange(max(0, len(raw) - 400), len(raw) - 8), rng.choice([("<H", 1 << 16), ("<L", 1 << 32), ("<Q", 1 << 64)])
        number = rng.choice([0, 1, 22, 46, len(raw), len(raw) - 22, top - 1, top // 2, rng.randrange(top)])
        taken(patched(raw, at, struct.pack(kind, number)))
