"""Values that would not come back unchanged are refused, and the message suggests what to do."""
from __future__ import annotations

import collections
import fractions

import numpy as np
import pytest
from codec_helpers import roundtrip
from fidelity import HAS_STRING_DTYPE, assert_identical, filled
from ndring import _codec
from ndring._exceptions import DecodeError, EncodeError, NdringError


class Subclass(np.ndarray):
    """A subclass of ndarray in a user's program."""


class SubclassOfMatrix(np.matrix):
    """A subclass of matrix in a user's program."""


class SubclassOfMasked(np.ma.MaskedArray):
    """A subclass of MaskedArray in a user's program."""


class Float(np.float64):
    """A scalar type in a user's program."""


def test_errors_are_also_builtin_errors():
    assert issubclass(EncodeError, (NdringError, TypeError)) and issubclass(DecodeError, NdringError)
    assert issubclass(EncodeError, TypeError) and issubclass(DecodeError, ValueError)


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, "a"], object), np.array(None, object), np.zeros(2, [("a", "i4"), ("b", "O")]),
        np.zeros(2, [("a", [("b", "O")], (2,))]), np.ma.MaskedArray(np.array([1, None], object)),
        filled(3, "f4").view(Subclass), filled((2, 2), "f4").view(SubclassOfMatrix), filled(3, "f4").view(SubclassOfMasked),
        np.ma.MaskedArray(filled(3, "f4").view(Subclass)), np.ma.masked, Float(3),
        1, 1.5, True, None, "a", b"a", [1, 2], (1,), {"a": 1}, 1j, collections.deque([1]), fractions.Fraction(1, 2), memoryview(b"abc"), object(),
    ],
    ids=lambda value: f"{type(value).__name__} {str(value)[:20]!r}",
)  # fmt: skip
def test_refused(value):
    with pytest.raises(EncodeError, match="store |convert "):  # what to do: test_codec_advice.py follows it
        _codec.encode(value)


NOT_JSON = [
    {1: 2}, {"a": (1, 2)}, {"a": {1}}, {"a": np.float64(1)}, {"a": float("nan")}, {"a": float("inf")}, {"a": b"x"},
    {"vlen": str}, {"a": [{"b": (1,)}]}, {"a": {None: 1}}, {"a": "\ud800"}, {"\ud83d\ude00": 1}, {"a": object()},
]  # fmt: skip


@pytest.mark.parametrize("metadata", NOT_JSON, ids=repr)
@pytest.mark.parametrize("where", ["dtype", "field", "subarray"])
def test_metadata_that_is_not_plain_json(metadata, where):
    dtype = np.dtype("f4", metadata=metadata)
    if where == "field":
        dtype = np.dtype([("a", dtype), ("b", "i2")])
    elif where == "subarray":
        dtype = np.dtype([("a", np.dtype(("f4", (2,)), metadata=metadata))])
    array = filled(3, dtype)
    with pytest.raises(EncodeError, match="metadata='drop'"):
        _codec.encode(array)
    back = roundtrip(array, metadata="drop")
    assert back.dtype == dtype and back.dtype.metadata is None
    assert back.tobytes() == array.tobytes()


def test_metadata_that_refers_to_itself():
    loop: dict = {}
    loop["a"] = loop
    with pytest.raises(EncodeError, match="metadata='drop'"):
        _codec.encode(filled(3, np.dtype("f4", metadata=loop)))


def test_metadata_that_is_too_large():
    with pytest.raises(EncodeError, match="65536"):
        _codec.encode(filled(3, np.dtype("f4", metadata={"a": "x" * 70_000})))


def test_drop_omits_all_metadata():
    array = filled(3, np.dtype("f4", metadata={"a": 1}))
    assert _codec.encode(array, metadata="drop").attrs == b""


def test_titles_that_are_not_strings():
    with pytest.raises(EncodeError, match="title"):
        _codec.encode(np.zeros(1, {"names": ["a"], "formats": ["i4"], "titles": [5]}))


def test_attributes_of_a_subclass(tmp_path):
    mapped = np.memmap(tmp_path / "m", "f4", "w+", shape=(3,))
    for value in (filled((2, 2), "f4").view(np.matrix), filled(2, "u1,i4").view(np.recarray), mapped):
        value.__dict__["unit"] = "m"
        with pytest.raises(EncodeError, match="metadata='drop'"):
            _codec.encode(value)
        assert_identical(roundtrip(value, metadata="drop"), value)


@pytest.mark.parametrize("info", [{"a": (1,)}, {"a": np.zeros(2)}, {"sum": 1}, {"_mask": 1}, {1: 2}], ids=repr)
def test_additional_state_of_a_masked_array(info):
    masked = np.ma.MaskedArray(filled(3, "f4"), [1, 0, 1])
    masked._optinfo.update(info)
    with pytest.raises(EncodeError, match="metadata='drop'"):
        _codec.encode(masked)
    assert roundtrip(masked, metadata="drop")._optinfo == {}


def test_attributes_of_a_mask():
    masked = np.ma.MaskedArray(filled(3, "f4"))
    vars(masked)["_mask"] = np.zeros(3, bool).view(np.recarray)
    masked._mask.__dict__["unit"] = "m"
    with pytest.raises(EncodeError, match="metadata='drop'"):
        _codec.encode(masked)
    assert type(roundtrip(masked, metadata="drop")._mask) is np.recarray


def test_masked_memmaps(tmp_path):
    mapped = np.memmap(tmp_path / "m", "f4", "w+", shape=(3,))
    masked = np.ma.MaskedArray(mapped, [1, 0, 1])
    for value in (masked, masked + 1, masked[::-1]):
        assert_identical(roundtrip(value), value)


@pytest.mark.parametrize("option", ["layout", "metadata"])
def test_options_are_checked(option):
    with pytest.raises(ValueError, match=option):
        _codec.encode(np.zeros(3), **{option: "other"})


@pytest.mark.skipif(not HAS_STRING_DTYPE, reason="StringDType came with numpy 2.0")
def test_strings_with_other_missing_objects():
    for missing in ("N/A", object(), ...):
        array = np.array(["a"], dtype=np.dtypes.StringDType(na_object=missing))
        with pytest.raises(EncodeError, match="na_object=None"):
            _codec.encode(array)


@pytest.mark.skipif(not HAS_STRING_DTYPE, reason="StringDType came with numpy 2.0")
def test_masked_strings_with_a_fill_value():
    masked = np.ma.MaskedArray(np.array(["a"], dtype=np.dtypes.StringDType()), [1])
    masked._fill_value = np.array("N/A", dtype=np.dtypes.StringDType())
    with pytest.raises(EncodeError, match="the fill value"):
        _codec.encode(masked)


def test_dtypes_nested_too_deeply():
    dtype = np.dtype("i4")
    for _ in range(80):
        dtype = np.dtype([("a", dtype)])
    with pytest.raises(EncodeError, match="nests"):
        _codec.encode(np.zeros(1, dtype))
