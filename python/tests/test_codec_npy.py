"""Headers: written as numpy writes them, parsed without evaluation, refused if they are invalid."""
from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from codec_helpers import LOAD_OPTIONS, numpy_saves, roundtrip
from fidelity import assert_identical, awkward_dtypes, dtype_facts, filled
from ndring import _codec
from ndring._codec import npy as _npy
from ndring._exceptions import DecodeError, EncodeError
from ndring._codec.literal import LiteralError, parse_literal

with warnings.catch_warnings():
    # It uses a marker from numpy's own pytest settings.
    warnings.simplefilter("ignore")
    from numpy.lib.tests import test_format as numpy_tests

FORMS = [
    filled((), "f8"), filled(5, ">i2"), filled((3, 4), "f4"), np.asfortranarray(filled((3, 4), "f4")),
    np.empty((0, 3), "c16"), filled((2, 10**6), "u1"), filled(3, "U4"), filled(2, "M8[25us]"),
    filled(2, [("x", "<i4"), ("y", "<f8", (3,)), (("T", "z"), "S2")]),
    filled(2, [("a", "u1"), ("p", [("q", ">i2")])]), filled(1, [(f"field_{i:05}", "u1") for i in range(300)]),
]  # fmt: skip


@pytest.mark.parametrize("array", FORMS, ids=lambda a: f"{a.dtype.str}{a.shape}")
def test_writes_what_numpy_writes(array):
    encoded = _codec.encode(array)
    assert (encoded.header, bytes(encoded.data)) == numpy_saves(array)
    assert encoded.attrs == b""


@pytest.mark.parametrize("array", FORMS, ids=lambda a: f"{a.dtype.str}{a.shape}")
def test_reads_what_numpy_writes(array):
    header_bytes, data = numpy_saves(array)
    header = _codec.parse_header(header_bytes + data)
    assert header is not None
    assert (header.shape, header.nbytes, header.data_offset) == (array.shape, len(data), len(header_bytes))
    assert header.fortran == (array.flags.f_contiguous and not array.flags.c_contiguous)
    assert dtype_facts(header.dtype) == dtype_facts(array.dtype)


@pytest.mark.parametrize(
    ("dtype", "version"),
    [
        pytest.param(np.dtype("f4"), 1, id="plain"),
        pytest.param(np.dtype([("é", "f4")]), 1, id="latin-1"),
        pytest.param(np.dtype([(f"field_{i:05}", "u1") for i in range(3000)]), 2, id="above 65,535 bytes"),
        pytest.param(np.dtype([("名前", "f4")]), 3, id="not latin-1"),
    ],
)
def test_versions(dtype, version):
    array = filled(2, dtype)
    encoded = _codec.encode(array)
    assert encoded.header[6:8] == bytes((version, 0))
    loaded = np.load(io.BytesIO(encoded.header + bytes(encoded.data)), **LOAD_OPTIONS)
    assert loaded.dtype == dtype and loaded.tobytes() == array.tobytes()
    assert_identical(roundtrip(array), array)


def test_incomplete_headers():
    raw = _codec.encode(filled(3, [("x" * 300, "f4"), ("名", "i4")])).header
    for end in range(len(raw)):
        assert _codec.parse_header(raw[:end]) is None
        assert _codec.parse_header(memoryview(raw)[:end]) is None
    assert _codec.parse_header(raw) is not None


def test_headers_are_parsed_once():
    raw = _codec.encode(filled(3, "f4")).header
    assert _codec.parse_header(raw) is _codec.parse_header(bytearray(raw + b"data"))


def test_struct_dtypes_are_not_shared():
    array = filled(3, "u1,i4")
    first, second = roundtrip(array), roundtrip(array)
    first.dtype.names = ("changed", "in place")
    assert_identical(second, array)
    assert_identical(roundtrip(array), array)


def literal(text: str, version: int = 1) -> bytes:
    """Builds a header around any text."""
    raw = text.encode("utf8" if version == 3 else "latin1")
    return b"\x93NUMPY" + bytes((version, 0)) + len(raw).to_bytes(2 if version == 1 else 4, "little") + raw


def header(descr: str = "'<f8'", order: str = "False", shape: str = "(3,)") -> bytes:
    return literal(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}")


@pytest.mark.parametrize(
    "raw",
    [
        header(), header().replace(b"'", b'"'), literal("{'shape':(3,),'fortran_order':False,'descr':'<f8'}\n"),
        literal(" {'descr' : '<f8' ,\n\t'fortran_order':False, 'shape':( 3L , ) } "),
    ],
)  # fmt: skip
def test_other_writers(raw):
    parsed = _codec.parse_header(raw)
    assert parsed is not None and (parsed.dtype, parsed.shape, parsed.fortran) == (np.dtype("<f8"), (3,), False)


BAD = {
    "wrong magic": b"\x93NUMPZ\x01\x00\x00\x00",
    "wrong magic, short": b"PK",
    "version 0": b"\x93NUMPY\x00\x00\x00\x00\x00\x00" + bytes(60),
    "version 4": b"\x93NUMPY\x04\x00\x10\x00\x00\x00" + bytes(60),
    "minor version": b"\x93NUMPY\x01\x01\x10\x00" + bytes(60),
    "no literal": literal("__import__('os').system('true')"),
    "empty": literal(""),
    "not a dict": literal("('descr', 'fortran_order', 'shape')"),
    "a key is missing": literal("{'descr': '<f8', 'shape': (3,)}"),
    "a key too many": literal("{'descr': '<f8', 'fortran_order': False, 'shape': (3,), 'x': 1}"),
    "a key twice": literal("{'descr': '<f8', 'descr': '<f4', 'fortran_order': False, 'shape': (3,)}"),
    "something follows": literal("{'descr': '<f8', 'fortran_order': False, 'shape': (3,)} + 1"),
    "call in shape": header(shape="(int(3),)"),
    "negative": header(shape="(-3,)"),
    "bool in shape": header(shape="(True,)"),
    "float in shape": header(shape="(3.0,)"),
    "number for shape": header(shape="3"),
    "list for shape": header(shape="[3]"),
    "bracketed number": header(shape="(3)"),
    "overflow": header(shape=f"({2**62},)"),
    "overflow of one": header(shape=f"({2**63},)"),
    "overflow with a zero": header(shape=f"(0, {2**62}, 4)"),
    "digits without end": header(shape=f"({'9' * 5000},)"),
    "65 axes": header(shape="(" + "1," * 65 + ")"),
    "order": header(order="1"),
    "order None": header(order="None"),
    "object": header("'|O'"),
    "object in a struct": header("[('a', '<f8'), ('b', [('c', '|O8')])]"),
    "comma dtype": header("'f4,f4'"),
    "name of a dtype": header("'float64'"),
    "no such size": header("'<f7'"),
    "zero units": header("'<M8[0us]'"),
    "unknown unit": header("'<M8[parsec]'"),
    "negative size by overflow": header("'|V3000000000'"),
    "negative text size by overflow": header("'<U1000000000'"),
    "number for descr": header("8"),
    "tuple for descr": header("('<f8', (2,))"),
    "field without descr": header("[('a',)]"),
    "field name": header("[(1, '<f8')]"),
    "title": header("[((1, 'a'), '<f8')]"),
    "same name twice": header("[('a', '<f8'), ('a', '<f8')]"),
    "subarray negative": header("[('a', '<f8', (-1,))]"),
    "subarray too large": header(f"[('a', '<f8', ({2**31},))]"),
    "subarray of many axes": header("[('a', '<f8', (" + "1," * 70 + "))]"),
    "struct too large": header("[('a', '|V2000000000'), ('b', '|V2000000000')]"),
    "nested without end": header("[('a', " * 5000 + "'<f8'" + ")]" * 5000),
    "brackets without end": literal("[" * 60000),
    "bad escape": literal(r"{'descr': '\q', 'fortran_order': False, 'shape': (3,)}"),
    "bad code point": literal(r"{'descr': '\UFFFFFFFF', 'fortran_order': False, 'shape': (3,)}"),
    "not UTF-8": b"\x93NUMPY\x03\x00\x04\x00\x00\x00\xff\xff\xff\xff",
    "header above 1 MiB": b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
}


@pytest.mark.parametrize("raw", [pytest.param(raw, id=name) for name, raw in BAD.items()])
def test_invalid_headers_are_refused(raw):
    with pytest.raises(DecodeError):
        assert _codec.parse_header(raw) is not None


@pytest.mark.parametrize("name", ["basic_arrays", "record_arrays"])
def test_numpys_own_arrays(name):
    for array in getattr(numpy_tests, name):
        if array.dtype.hasobject:
            with pytest.raises(EncodeError):
                _codec.encode(array)
        else:
            assert_identical(roundtrip(array), array)


@pytest.mark.parametrize("dtype", [pytest.param(dtype, id=name) for name, dtype in awkward_dtypes()])
def test_header_has_the_real_item_size(dtype):
    parsed = _codec.parse_header(_codec.encode(filled(2, dtype)).header)
    assert parsed is not None and parsed.itemsize == dtype.itemsize and parsed.dtype.itemsize == dtype.itemsize


def test_header_above_one_mebibyte():
    dtype = np.dtype([(f"{'x' * 100}{i}", "u1") for i in range(10_000)])
    with pytest.raises(EncodeError, match="1048576"):
        _codec.encode(np.zeros(1, dtype))


def test_lone_surrogate_in_a_name():
    array = np.zeros(1, [("\ud800", "u1")])
    assert_identical(roundtrip(array), array)


@pytest.mark.parametrize("value", [{"a": [1, -2, (), (3,), ((4, "x"), True)], "b'": None}, "\\'\"\n\x01é名\U0001f600", [], ()])
def test_literals(value):
    assert parse_literal(repr(value)) == value
    assert parse_literal(ascii(value)) == value


@pytest.mark.parametrize("text", ["", "1 2", "(1 2)", "[1,,2]", "(,)", "{1: 2}", "{'a' 1}", "'a", "'a\n'", "1.5", "0x10", "a", "b'x'"])
def test_not_literals(text):
    with pytest.raises(LiteralError):
        parse_literal(text)


def test_build_header_is_aligned():
    for n in range(200):
        raw = _npy.build_header([("x" * n, "<f8")], False, (1,) * (n % 5))
        assert len(raw) % 64 == 0 and raw.endswith(b"\n")
