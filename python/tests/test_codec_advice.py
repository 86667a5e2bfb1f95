"""The suggestions in errors, followed: what they say to store can be stored, and holds what the
value held."""
from __future__ import annotations

import collections
import datetime
import decimal
import fractions
from typing import Any

import numpy as np
import pytest
from codec_helpers import roundtrip, unpack
from fidelity import HAS_STRING_DTYPE, assert_identical, assert_same_collection, filled
from ndring import _codec
from ndring._exceptions import EncodeError
from numpy.ma import mrecords


class Subclass(np.ndarray):
    """A subclass of ndarray in a user's program."""


class SubclassOfMasked(np.ma.MaskedArray):
    """A subclass of MaskedArray in a user's program."""


class Float(np.float64):
    """A scalar type in a user's program."""


class Table:
    """Has the methods of a DataFrame that matter here, as pandas documents them."""

    def __init__(self, columns: dict) -> None:
        self.columns = columns

    def keys(self) -> Any:
        return self.columns.keys()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(list(self.columns.values()), dtype or object).T

    def to_numpy(self, dtype: Any = None) -> np.ndarray:
        return self.__array__(dtype)


def advice(value: Any, **options: Any) -> str:
    with pytest.raises(EncodeError) as caught:
        _codec.encode(value, **options)
    return str(caught.value)


def followed(value: Any, expression: str, **options: Any) -> Any:
    """Follows the suggestion in the error, checks that it is there, and returns what comes back."""
    assert expression in advice(value, **options)
    new = eval(expression, {"x": value, "np": np, "datetime": datetime})
    back = roundtrip(new)
    assert_identical(back, new)
    return back


@pytest.mark.parametrize(
    ("value", "expression", "wanted"),
    [
        (1, "np.asarray(x)", 1), (True, "np.asarray(x)", True), (1.5, "np.asarray(x)", 1.5), (1j, "np.asarray(x)", 1j),
        ("a", "np.asarray(x)", "a"), (b"a", "np.asarray(x)", b"a"), (-(2**63), "np.asarray(x)", -(2**63)),
        (2**63, "np.asarray(str(x))", str(2**63)), (-(2**70), "np.asarray(str(x))", str(-(2**70))),
        (memoryview(b"ab"), "np.asarray(x)", [97, 98]), (bytearray(b"ab"), "np.asarray(x)", [97, 98]),
        (fractions.Fraction(1, 2), "np.float64(x)", 0.5), (decimal.Decimal("0.1"), "np.asarray(str(x))", "0.1"),
        ([1, 2], "np.asarray(x, dtype=float)", [1, 2]), ((1,), "np.asarray(x, dtype=float)", [1]),
        (collections.deque([1]), "np.asarray(x, dtype=float)", [1]), (range(3), "np.asarray(x, dtype=float)", [0, 1, 2]),
        ({3}, "np.asarray(list(x), dtype=float)", [3]), (frozenset({3}), "np.asarray(list(x), dtype=float)", [3]),
        (datetime.date(2026, 1, 2), "np.datetime64(x)", np.datetime64("2026-01-02")),
        (datetime.datetime(2026, 1, 2, 3), "np.datetime64(x)", np.datetime64("2026-01-02T03")),
        (datetime.timedelta(seconds=3), "np.timedelta64(x)", np.timedelta64(3, "s")),
        (datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
         "np.datetime64(x.astimezone(datetime.timezone.utc).replace(tzinfo=None))", np.datetime64("2026-01-02T02")),
        (Table({"a": [1, 2], "b": [3, 4]}), "x.to_numpy(dtype=float)", [[1, 3], [2, 4]]),
        (None, "np.empty(0)", []),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_objects(value, expression, wanted):
    back = followed(value, expression)
    assert np.array_equal(back, np.asarray(wanted))


def test_iterators():
    assert followed(iter([1, 2]), "np.asarray(list(x), dtype=float)").tolist() == [1, 2]


class Mapping(collections.UserDict):
    """A mapping that is not a dict."""


Point = collections.namedtuple("Point", "x y")
ONE, TWO = filled((2, 3), "f4"), filled(3, "i8")


class Names(list):
    """A subclass of list in a user's program."""


@pytest.mark.parametrize(
    ("value", "expression"),
    [
        (Mapping(a=[1, 2], b=TWO), "{name: np.asarray(value) for name, value in x.items()}"),
        (collections.OrderedDict(a=ONE, b=TWO), "dict(x)"), (collections.defaultdict(list, a=ONE), "dict(x)"), (collections.Counter(), "dict(x)"),
        (Names([ONE, TWO]), "list(x)"), (collections.deque([ONE, TWO]), "list(x)"), (Point(ONE, TWO), "tuple(x)"), (Point(ONE, TWO), "x._asdict()"),
        ({1: ONE, 2.5: TWO}, "{str(key): value for key, value in x.items()}"), ({np.str_("a"): ONE}, "{str(key): value for key, value in x.items()}"),
        ({"k" * 2000: ONE, "b": TWO}, "(np.array(list(x)), list(x.values()))"), ({"\ud800": ONE}, "(np.array(list(x)), list(x.values()))"),
        ([ONE] * 70_000, "np.stack(x)"),
    ],
    ids=lambda value: ascii(value)[:30].replace("\n", " "),
)  # fmt: skip
def test_collections(value, expression):
    assert expression in advice(value)
    new = eval(expression, {"x": value, "np": np})
    assert_same_collection(unpack(_codec.encode(new)), new)


@pytest.mark.parametrize(
    ("value", "place", "expression"),
    [
        ({"a": ONE, "b": [1, 2]}, "['b']", "np.asarray(x, dtype=float)"), ({"a": {"b": (ONE, 1)}}, "['a']['b'][1]", "np.asarray(x)"),
        ([ONE, None], "[1]", "np.empty(0)"), ([ONE, [[1, 2], [3, 4]]], "[1]", "np.asarray(x, dtype=float)"), ((ONE, "text"), "[1]", "np.asarray(x)"),
        ({"a": [ONE, Point(ONE, TWO)]}, "['a'][1]", "tuple(x)"), ({"a": {2: ONE}}, "['a']", "{str(key): value for key, value in x.items()}"),
        ([np.array([1, "a"], object)], "[0]", "x.astype('U')"), ({"a": filled(3, "f4").view(Subclass)}, "['a']", "np.asarray(x)"),
        ({"it's": 1}, '["it\'s"]', "np.asarray(x)"), ([[[[ONE], 1.5]]], "[0][0][1]", "np.asarray(x)"), ([ONE, (1, True)], "[1]", "np.asarray(x, dtype=float)"),
    ],
    ids=lambda value: ascii(value)[:30].replace("\n", " "),
)  # fmt: skip
def test_items_of_collections(value, place, expression):
    """The error says which item it is about, and the suggestion works for it."""
    text = advice(value)
    assert expression in text and text.endswith(f"(where x is the collection's item {place})")
    new = eval(expression, {"x": eval(f"value{place}"), "np": np})
    assert_same_collection(unpack(_codec.encode([new])), [new])


def test_deep_collections():
    value: Any = ONE
    for _ in range(17):
        value = [value]
    assert "store x under a key of its own (where x is the collection's item [0]" in advice(value)
    assert unpack(_codec.encode(value[0]))


def test_strides_of_collections():
    wide = np.zeros(300 << 20, "u1")[:: (300 << 20) - 1]
    assert "layout='packed'" in advice([wide] * 2, layout="exact")
    assert len(unpack(_codec.encode([wide] * 2, layout="packed"))) == 2


def test_any_other_object():
    assert "the arrays that it contains" in advice(object())


def masked_like(value: Any, expression: str) -> None:
    back = followed(value, expression)
    assert type(back) is np.ma.MaskedArray and back.shape == value.shape
    assert np.ma.getmaskarray(back).tolist() == np.asarray(np.ma.getmaskarray(value)).tolist()
    assert np.asarray(back.data).tobytes() == np.asarray(value.data).tobytes()
    if value is not np.ma.masked:  # np.ma.masked has no fill value to ask for
        assert back.fill_value == value.fill_value and back.hardmask == value.hardmask


STRUCT = np.ma.MaskedArray(filled(2, "i4,f8"), [(1, 0), (0, 1)], hard_mask=True)


@pytest.mark.parametrize(
    "value",
    [
        STRUCT[0], STRUCT.view(mrecords.MaskedRecords), np.ma.masked, np.ma.MaskedArray([1.0], True).sum(),
        SubclassOfMasked([1.0, 2.0], [1, 0], fill_value=7, hard_mask=True), SubclassOfMasked(filled((2, 3), "i4")),
        SubclassOfMasked(filled((2, 3), "i4").view(np.matrix), [[1, 0, 0], [0, 1, 1]]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_masked_arrays_of_other_classes(value):
    masked_like(value, "x.view(np.ma.MaskedArray)")


@pytest.mark.parametrize("cls", [np.ma.MaskedArray, SubclassOfMasked])
@pytest.mark.parametrize("mask", [np.ma.nomask, [1, 0, 1]], ids=str)
def test_masked_arrays_over_other_classes(cls, mask):
    value = cls(filled(3, "f4").view(Subclass), mask, fill_value=7, hard_mask=True)
    masked_like(value, "np.ma.MaskedArray(np.asarray(x.data), mask=np.ma.getmask(x), fill_value=x.fill_value, hard_mask=x.hardmask)")


def test_masks_of_other_classes():
    for mask in (np.ma.MaskedArray([True, False, True]), np.array([True, False])):
        value = np.ma.MaskedArray(filled(3, "f4"))
        vars(value)["_mask"] = mask
        assert "store np.ma.MaskedArray(x.data, mask=m)" in advice(value)
        new = np.ma.MaskedArray(value.data, mask=np.resize(np.asarray(mask), 3))
        assert roundtrip(new).mask.tolist() == [True, False, True]


@pytest.mark.parametrize("value", [filled(3, "f4").view(Subclass), Float(3), filled((), "i4").view(Subclass)], ids=repr)
def test_other_classes(value):
    assert followed(value, "np.asarray(x)").tobytes() == value.tobytes()


def test_characters_beyond_unicode():
    value = np.array([0x110000, 0x41], "<u4").view("<U2")[0]
    back = followed(value, "np.asarray(x)")
    assert back.tobytes() == np.array([0x110000, 0x41], "<u4").tobytes()


@pytest.mark.parametrize(
    ("value", "expression"),
    [
        (np.array([1, 2.5], object), "x.astype(float)"), (np.array([1, "a"], object), "x.astype('U')"),
        (np.array(None, object), "x.astype('U')"), (np.ma.MaskedArray(np.array([1, 2], object), [1, 0]), "x.astype(float)"),
        (np.array([(1, 2), (3, "a")], [("a", "i4"), ("b", "O")]), "x['b'].astype('U')"),
        (np.zeros(2, [("a", "i4"), ("it's", "O")]), 'x["it\'s"].astype(\'U\')'),
        (np.zeros(2, [("a", "O", (2,))]), "x['a'].astype('U')"),
    ],
    ids=str,
)  # fmt: skip
def test_objects_in_arrays(value, expression):
    back = followed(value, expression)
    assert np.ma.getmaskarray(back).tolist() == np.ma.getmaskarray(value).tolist() if value.dtype.names is None else True


def nested(depth: int) -> np.dtype:
    dtype = np.dtype("i4")
    for _ in range(depth):
        dtype = np.dtype([("a", dtype)])
    return dtype


@pytest.mark.parametrize(
    "dtype",
    [
        nested(80), np.dtype({"names": ["a", "b"], "formats": ["i4", "u1"], "titles": [5, None]}),
        np.dtype([(f"field {i}", "u1", (1,)) for i in range(6000)], align=True),
    ],
    ids=["nested", "title", "large"],
)  # fmt: skip
def test_dtypes_too_large_for_attrs(dtype):
    value = filled(3, dtype)
    assert followed(value, f"x.view('V{dtype.itemsize}')").tobytes() == value.view(f"V{dtype.itemsize}").tobytes()


def test_dtypes_that_numpy_builds_wrongly():
    struct = np.dtype({"names": ["a", "b"], "formats": ["?", "?"], "offsets": [0, 0], "itemsize": 3})
    value = np.concatenate([filled(2, [("x", struct, (1,))])] * 2)
    if value.dtype.itemsize != 3 or value.dtype["x"].subdtype[0].itemsize == 3:
        pytest.skip("this NumPy gets it right")
    assert followed(value, "x.view('V3')").nbytes == 12


def test_masked_dtypes_too_large_for_attrs():
    dtype = np.dtype({"names": ["a", "b"], "formats": ["i4", "u1"], "titles": [5, None]})
    back = followed(np.ma.MaskedArray(filled(3, dtype), [(1, 0), (0, 1), (0, 0)]), "x['a']")
    assert back.mask.tolist() == [True, False, False]


def test_scalars_too_large_for_attrs():
    value = filled(1, {"names": ["a"], "formats": ["i4"], "titles": [5]})[0]
    assert followed(value, "x.view('V4')").tobytes() == value.tobytes()


def test_spans():
    value = np.zeros(600 << 20, "u1")[:: (600 << 20) - 1]  # numpy touches only two pages of it
    assert "layout='packed'" in advice(value, layout="exact")
    assert_identical(roundtrip(value, layout="packed"), value, layout=False)


@pytest.mark.skipif(not HAS_STRING_DTYPE, reason="StringDType came with numpy 2.0")
def test_fill_values_of_strings():
    value = np.ma.MaskedArray(np.array(["a"], dtype=np.dtypes.StringDType()), [1])
    value._fill_value = np.array("N/A", dtype=np.dtypes.StringDType())
    assert followed(value, "np.ma.MaskedArray(np.asarray(x), mask=np.ma.getmask(x), hard_mask=x.hardmask)").mask.tolist() == [True]


@pytest.mark.skipif(not HAS_STRING_DTYPE, reason="StringDType came with numpy 2.0")
@pytest.mark.parametrize("missing", ["N/A", object(), ...], ids=lambda value: type(value).__name__)
def test_strings_with_other_missing_objects(missing):
    value = np.array(["a", missing], dtype=np.dtypes.StringDType(na_object=missing))
    back = followed(value, "x.astype(np.dtypes.StringDType(na_object=None))")
    assert back.tolist() == ["a", None]
