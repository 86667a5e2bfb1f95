"""Any input is either decoded or refused with DecodeError, and little data never allocates much memory."""
from __future__ import annotations

import json
import random
import sys
from typing import Any

import numpy as np
import pytest
from codec_helpers import aligned_buffer
from fidelity import HAS_STRING_DTYPE, awkward_arrays, filled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ndring import _codec
from ndring._codec import npy as _npy
from ndring._exceptions import DecodeError

LIMIT = 1 << 20
SEEDS = [_codec.encode(value) for name, value in awkward_arrays() if name != "large header"]
SEEDS = [encoded for encoded in SEEDS if len(encoded.data) < 4096 and len(encoded.header) < 4096]
FUZZ = settings(deadline=None, max_examples=1000, database=None, suppress_health_check=list(HealthCheck))


def take(header_bytes: bytes, data: Any, attrs: Any, parts: Any) -> Any:
    """Returns the decoded value, or None if it was refused."""
    try:
        header = _codec.parse_header(header_bytes)
        if header is None:
            return None
        if header.nbytes != len(data) and header.nbytes < LIMIT:
            data = (bytes(data) + bytes(header.nbytes))[: header.nbytes]
        value = _codec.decode(header, aligned_buffer(data), attrs, parts, max_bytes=LIMIT)
        if isinstance(value, np.ndarray) and value.size:
            # Every element is in memory of the array's own; an out-of-bounds read may crash the process.
            np.ndarray.view(value, np.ndarray).tobytes()
        return value
    except DecodeError:
        return None


def parts_of(encoded: _codec.Encoded) -> dict:
    return {name.decode(): bytes(part) for name, part in encoded.parts}


def attrs(py: Any, version: Any = 1) -> bytes:
    return json.dumps({"v": version, "py": py}).encode()


def refused(array: Any, raw: Any, parts: Any = None) -> str:
    encoded = _codec.encode(array)
    header = _codec.parse_header(encoded.header)
    with pytest.raises(DecodeError) as caught:
        _codec.decode(header, aligned_buffer(encoded.data), raw, parts or parts_of(encoded), max_bytes=LIMIT)
    return str(caught.value)


BAD_JSON = {
    "not JSON": b"{", "not UTF-8": b'{"v":1,"py":{"kind":"\xff"}}', "UTF-16": '{"v":1,"py":{}}'.encode("utf-16"),
    "not an object": b"[]", "a number": b"1", "NaN": b'{"v":1,"py":{"misaligned":NaN}}', "a key twice": b'{"v":1,"py":{},"py":{}}',
    "deep": b'{"v":1,"py":' + b"[" * 60000 + b"]" * 60000 + b"}", "unclosed": b"[" * 60000, "long": b" " * 65537,
    "no version": b'{"py":{}}', "version 2": attrs({}, 2), "version true": attrs({}, True), "version 1.0": attrs({}, 1.0),
    "py is a list": attrs([]), "py is null": attrs(None), "digits without end": b'{"v":1,"py":{"misaligned":' + b"9" * 60000 + b"}}",
}  # fmt: skip


@pytest.mark.parametrize("raw", [pytest.param(raw, id=name) for name, raw in BAD_JSON.items()])
def test_bad_json(raw):
    refused(filled(3, "f4"), raw)


@pytest.mark.parametrize("raw", [b"{}", b'{"mine":{"py":1}}', attrs({}), b'{"v":1,"py":{},"mine":[1]}', b'{"v":7}'])
def test_keys_of_other_programs_are_ignored(raw):
    encoded = _codec.encode(filled(3, "f4"))
    header = _codec.parse_header(encoded.header)
    assert _codec.decode(header, aligned_buffer(encoded.data), raw, {"mine": b"x"}).tobytes() == filled(3, "f4").tobytes()


F4 = filled(3, "f4")
BAD_ATTRS = [
    {"unknown": 1}, {"kind": "pickle"}, {"kind": None}, {"kind": 1}, {"kind": []}, {"kind": "scalar"}, {"readonly": 1},
    {"readonly": False}, {"readonly": None}, {"misaligned": -1},
    {"misaligned": True}, {"misaligned": "1"}, {"strides": None}, {"strides": []}, {"strides": [4, 4]}, {"strides": [4.0]},
    {"strides": ["4"]}, {"strides": [True]}, {"strides": [2**63]}, {"strides": [2**62]}, {"strides": [-(2**62)]},
    {"strides": [2**40]}, {"strides": {"0": 4}}, {"dtype": None}, {"dtype": 1}, {"dtype": []}, {"dtype": {}},
    {"dtype": "O"}, {"dtype": "|O8"}, {"dtype": "object"}, {"dtype": "<f8"}, {"dtype": "f4,f4"}, {"dtype": {"str": "<f8"}},
    {"dtype": {"str": "<f4", "char": "?"}}, {"dtype": {"str": "<f4", "char": "O"}}, {"dtype": {"str": "<f4", "char": "ff"}},
    {"dtype": {"char": "f"}}, {"dtype": {"str": "<f4", "record": True}}, {"dtype": {"str": "<f4", "record": False}},
    {"dtype": {"str": "<f4", "meta": []}}, {"dtype": {"str": "<f4", "base": "<f4"}}, {"dtype": {"base": "<f4"}},
    {"dtype": {"base": "<f4", "shape": [1]}}, {"dtype": {"base": "<u1", "shape": [4]}},
    {"dtype": {"fields": []}}, {"dtype": {"size": 4}}, {"dtype": {"fields": {}, "size": 4}}, {"dtype": {"fields": [1], "size": 4}},
    {"dtype": {"fields": [["a", "<f4"]], "size": 4}}, {"dtype": {"fields": [["a", "<f4", 1]], "size": 4}},
    {"dtype": {"fields": [["a", "<f4", -1]], "size": 4}}, {"dtype": {"fields": [["a", "O", 0]], "size": 4}},
    {"dtype": {"fields": [[1, "<f4", 0]], "size": 4}}, {"dtype": {"fields": [["a", "<f4", 0, 1]], "size": 4}},
    {"dtype": {"fields": [["a", "<f4", 0.0]], "size": 4}}, {"dtype": {"fields": [["a", "<i2", 0], ["a", "<i2", 2]], "size": 4}},
    {"dtype": {"fields": [["a", "<i2", 1]], "size": 4, "align": True}}, {"dtype": {"fields": [], "size": 4, "align": 1}},
    {"dtype": {"fields": [["a", "<i2", 0]], "size": 4, "of": "<f8"}}, {"dtype": {"fields": [], "size": 4, "of": "O"}},
    {"dtype": {"fields": [], "size": 4, "of": {"base": "u1", "shape": [4]}}}, {"dtype": {"fields": [], "size": -4}},
    {"dtype": {"fields": [], "size": 2**40}}, {"dtype": {"ext": "os.system", "order": "|"}}, {"dtype": {"ext": "ml_dtypes.int4"}},
    {"string": {}}, {"string": 1}, {"string": {"na": "x"}}, {"base": "matrix"}, {"mask": {}}, {"fill": {}}, {"hard": True},
    {"info": {}}, {"kind": "masked", "mask": {}}, {"kind": "masked", "mask": []}, {"kind": "masked", "fill": {}},
    {"kind": "masked", "base": "ndarray"}, {"kind": "masked", "hard": 1},
    {"kind": "masked", "info": {"_mask": 1}}, {"kind": "masked", "info": {"sum": 1}}, {"kind": "masked", "info": []},
]  # fmt: skip


@pytest.mark.parametrize("py", BAD_ATTRS, ids=lambda py: json.dumps(py)[:70])
def test_bad_attrs(py):
    refused(F4, attrs(py))


def test_alignment_zero():
    # numpy 1.x gives an aligned struct without fields alignment 0, and divides by it.
    empty = {"fields": [], "size": 0, "align": True}
    take(_codec.encode(F4).header, F4, attrs({"dtype": {"fields": [["a", empty, 0]], "size": 4, "align": True}}), {})
    take(_codec.encode(F4).header, F4, attrs({"dtype": {"fields": [], "size": 4, "align": True}, "misaligned": 1}), {})


def test_masks_of_zero_byte_items():
    # 2**40 items of zero bytes need no data, but a mask of one byte each.
    header = _npy.build_header([("a", "|S0"), ("b", "<U0")], False, (2**40,))
    assert take(header, b"", attrs({"kind": "masked"}), {})._mask is np.ma.nomask
    assert take(header, b"", attrs({"kind": "masked", "mask": {}}), {"mask": b""}) is None


@pytest.mark.parametrize("kind", ["matrix", "recarray", "chararray", "masked"])
def test_classes_of_any_shape_and_dtype(kind):
    # numpy creates a 1-d matrix and a chararray of floats only indirectly, but it does create them.
    value = take(_codec.encode(F4).header, F4, attrs({"kind": kind}), {})
    assert type(value).__name__.lower().startswith(kind) and value.tobytes() == F4.tobytes()


def test_misaligned_is_taken_modulo_the_alignment():
    encoded = _codec.encode(F4)
    value = take(encoded.header, encoded.data, attrs({"misaligned": 10**30}), {})
    assert value.tobytes() == F4.tobytes() and not value.flags.aligned


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 2), (2, 1, 9)])
def test_strides_that_overflow(shape):
    # numpy's own check adds in 64 bits, overflows and accepts these.
    array = filled(shape, "f8")
    for wild in (2**62, -(2**62), 2**61, 2**63 - 1, -(2**63)):
        for axis in range(len(shape)):
            if shape[axis] > 1:
                strides = [8] * len(shape)
                strides[axis] = wild
                assert "limit" in refused(array, attrs({"strides": strides}))


@pytest.mark.parametrize(
    "node",
    [{"strides": [2**62]}, {"strides": [1, 1]}, {"order": "C"}, {"order": 1}, {"dtype": "<f4"}, {"dtype": "|u1"},
     {"dtype": {"fields": [["a", "|b1", 0], ["b", "<f4", 0]], "size": 4}}, {"readonly": 0}, {"kind": "x"},
     {"kind": "masked"}, {"kind": "scalar"}, {"kind": 1}, {"string": {}}],
    ids=str,
)  # fmt: skip
def test_bad_masks(node):
    refused(np.ma.MaskedArray(F4, [1, 0, 1]), attrs({"kind": "masked", "mask": node}))


@pytest.mark.parametrize("node", [{"dtype": "O"}, {"dtype": "<f8"}, {"strides": []}, {"dtype": {"base": "<f4", "shape": [1]}},
                                  {"shape": [2]}, {"shape": [0]}, {"shape": [-1]}, {"shape": [2**70]}, {"shape": [1] * 99}, {"shape": ["1"]},
                                  {"shape": [True]}, {"shape": 1}], ids=str)  # fmt: skip
def test_bad_fill_values(node):
    refused(F4, attrs({"kind": "masked", "fill": node}), {"fill": b"1234"})


@pytest.mark.parametrize("parts", [{"mask": b""}, {"mask": b"12"}, {"mask": b"1234"}, {"Mask": b"123"}])
def test_bad_mask_parts(parts):
    refused(F4, attrs({"kind": "masked", "mask": {}}), parts)


@pytest.mark.skipif(not HAS_STRING_DTYPE, reason="StringDType came with numpy 2.0")
@pytest.mark.parametrize(
    ("ends", "parts", "node"),
    [
        ([1, 2], {}, {}), ([1, 2], {"utf8": b"a"}, {}), ([1, 2], {"utf8": b"abc"}, {}), ([2, 1], {"utf8": b"a"}, {}),
        ([1, 2**63], {"utf8": b"ab"}, {}), ([1, 2**64 - 1], {"utf8": b"ab"}, {}), ([1, 2], {"utf8": "ü".encode()}, {}),
        ([1, 2], {"utf8": b"\xff\xff"}, {}), ([3, 6], {"utf8": b"\xed\xa0\x80" * 2}, {}), ([1, 2], {"utf8": b"ab"}, {"na": "none"}),
        ([1, 2], {"utf8": b"ab", "na": b"\0"}, {"na": "none"}), ([1, 2], {"utf8": b"ab", "na": b"\0\2"}, {"na": "none"}),
        ([1, 2], {"utf8": b"ab", "na": b"\0\1"}, {"na": "nan"}), ([1, 2], {"utf8": b"ab"}, {"strict": False}),
        ([1, 2], {"utf8": b"ab"}, {"coerce": True}),
    ],
)  # fmt: skip
def test_bad_strings(ends, parts, node):
    refused(np.array(ends, "<u8"), attrs({"string": node}), parts)


@pytest.mark.skipif(not HAS_STRING_DTYPE, reason="StringDType came with numpy 2.0")
@pytest.mark.parametrize("strides", [[8], [1], [2**40], [-8]])
def test_bad_strides_of_strings(strides):
    # Partly overlapping elements would be pointers made of two halves.
    refused(np.array([1, 2], "<u8"), attrs({"string": {}, "strides": strides}), {"utf8": b"ab"})


@pytest.mark.skipif(HAS_STRING_DTYPE, reason="for numpy before 2.0")
def test_strings_require_numpy_2():
    assert "numpy 2.0" in refused(np.array([1, 2], "<u8"), attrs({"string": {}}), {"utf8": b"ab"})


@pytest.mark.parametrize("data", [np.zeros(3, "f4"), np.zeros((2, 6), "u1"), np.zeros(24, "u1")[::2], b"", b"x", bytes(13)])
def test_data_of_the_wrong_type(data):
    header = _codec.parse_header(_codec.encode(F4).header)
    for raw in (None, attrs({"readonly": True})):
        if isinstance(data, np.ndarray) and data.nbytes == 12 and raw is None:
            continue  # The plain path checks only the size: the memory is the caller's, and fits.
        with pytest.raises(DecodeError):
            _codec.decode(header, data, raw)


# ---- mutations of valid input


def mutate(raw: bytes, rng: random.Random) -> bytes:
    """Flips, drops, doubles or replaces some bytes, also by bytes that have a meaning here."""
    out = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out) + 1)
        how = rng.randrange(5)
        if how == 0 and at < len(out):
            out[at] = rng.randrange(256)
        elif how == 1:
            del out[at : at + rng.randint(1, 8)]
        elif how == 2:
            out[at:at] = out[at : at + rng.randint(1, 20)]
        elif how == 3:
            out[at:at] = rng.choice(WORDS)
        elif at < len(out):
            out[at] = rng.choice(b'0123456789-{}[],:"\'()')
    return bytes(out)


WORDS = [b"null", b"true", b"-1", b"0", b"1", b"4", b"99999999999999999999", b"9223372036854775807", b'"<f8"', b'"|V8"', b"[]",
         b"{}", b"O", b'"record":true,', b'"align":true,', b'"readonly":true,', b'"strides":[8],', b'"str"', b"(", b")", b"[("]  # fmt: skip


@FUZZ
@given(st.sampled_from(range(len(SEEDS))), st.integers(0, 2**32))
def test_mutated_bytes(index, seed):
    encoded, rng = SEEDS[index], random.Random(seed)
    parts = parts_of(encoded)
    for _ in range(20):
        raw_header = mutate(encoded.header, rng) if rng.random() < 0.4 else encoded.header
        raw_attrs = mutate(encoded.attrs, rng) if rng.random() < 0.7 else encoded.attrs
        raw_parts = {k: mutate(v, rng) if rng.random() < 0.3 else v for k, v in parts.items() if rng.random() < 0.9}
        take(raw_header, encoded.data, raw_attrs, raw_parts)


def tree(value: Any, rng: random.Random) -> Any:
    """Returns a JSON value with some nodes replaced, also by nodes of other valid attrs."""
    if rng.random() < 0.1:
        return rng.choice(NODES)
    if isinstance(value, dict):
        changed = {key: tree(item, rng) for key, item in value.items() if rng.random() < 0.95}
        if rng.random() < 0.1:
            changed[rng.choice(KEYS)] = rng.choice(NODES)
        return changed
    if isinstance(value, list):
        return [tree(item, rng) for item in value if rng.random() < 0.95]
    return value


KEYS = ["kind", "dtype", "strides", "misaligned", "readonly", "mask", "fill", "base", "hard", "info", "string", "str", "char",
        "ext", "order", "shape", "fields", "size", "align", "of", "record", "meta", "na", "strict"]  # fmt: skip
NODES: list = [None, True, False, 0, 1, -1, 3, 8, 16, 2**31, 2**62, 2**70, 1.5, "", "a", "<f4", "|V8", "|S0", "O", "masked", "scalar",
               "matrix", "recarray", "chararray", [], {}, [8], [0], [-8, 8], ["a", "<f4", 0]]  # fmt: skip


def collect(value: Any) -> None:
    """Adds every node of valid attrs to NODES."""
    NODES.append(value)
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        collect(item)


for _encoded in SEEDS:
    if _encoded.attrs:
        collect(json.loads(_encoded.attrs)["py"])


@FUZZ
@given(st.sampled_from(range(len(SEEDS))), st.integers(0, 2**32))
def test_mutated_trees(index, seed):
    encoded, rng = SEEDS[index], random.Random(seed)
    py = json.loads(encoded.attrs)["py"] if encoded.attrs else {}
    for _ in range(20):
        take(encoded.header, encoded.data, attrs(tree(py, rng)), parts_of(encoded))


def test_nothing_imports_pickle():
    package = sys.modules["ndring._codec"].__file__.rpartition("/")[0]
    for name, module in list(sys.modules.items()):
        if name.startswith("ndring._") and getattr(module, "__file__", "").startswith(package):
            assert not {"pickle", "copyreg", "ast", "eval"} & vars(module).keys()
