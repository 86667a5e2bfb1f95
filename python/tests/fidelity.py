"""What "exactly what you get back" means: one assertion, and arrays for which it is hard to satisfy.

Imports numpy and nothing of ndring, so that it cannot share ndring's mistakes.
"""
from __future__ import annotations

import math
import sys
from typing import Any, Iterable, Iterator, List, Tuple

import numpy as np

HAS_STRING_DTYPE = hasattr(getattr(np, "dtypes", None), "StringDType")


def assert_identical(got: Any, want: Any, *, layout: bool = True, flags: bool = True) -> None:
    """Fails unless ``got`` equals ``want`` in class, dtype, shape, strides, flags and every byte.

    ``layout=False`` ignores strides and order, ``flags=False`` the flags. np.memmap counts as
    ndarray. Ignores what cannot be kept: OWNDATA, base, the WARN_ON_WRITE flag, gaps between
    elements.
    """
    cls = np.ndarray if type(want) is np.memmap else type(want)
    assert type(got) is cls, f"class {type(got)}, not {cls}"
    if isinstance(want, np.generic):
        assert_same_dtype(got.dtype, want.dtype)
        assert scalar_bytes(got) == scalar_bytes(want)
        return
    assert isinstance(want, np.ndarray), f"{type(want)} is no array"
    assert_same_dtype(np.ndarray.view(got, np.ndarray).dtype, np.ndarray.view(want, np.ndarray).dtype)
    assert got.shape == want.shape, f"shape {got.shape}, not {want.shape}"
    if layout:
        assert got.strides == want.strides, f"strides {got.strides}, not {want.strides}"
        # They follow from shape and strides, except for items of zero bytes, for which numpy's
        # flags depend on how the array was made.
        assert got.flags.c_contiguous == want.flags.c_contiguous or not want.itemsize
        assert got.flags.f_contiguous == want.flags.f_contiguous or not want.itemsize
    if flags:
        assert got.flags.aligned == want.flags.aligned, f"aligned {got.flags.aligned}"
        assert got.flags.writeable == writeable(want), f"writeable {got.flags.writeable}"
        if not want.flags.aligned and not is_string(want.dtype):
            assert residue(got) == residue(want)
    assert item_bytes(got) == item_bytes(want), "bytes differ"
    if isinstance(want, np.ma.MaskedArray):
        _assert_same_mask(got, want, layout, flags)


def assert_same_collection(got: Any, want: Any, **options: Any) -> None:
    """Fails unless two collections have the same classes, keys in the same order, and identical arrays."""
    if not isinstance(want, (dict, tuple, list)):
        assert_identical(got, want, **options)
        return
    assert type(got) is type(want) and len(got) == len(want)
    if isinstance(want, dict):
        assert list(got) == list(want)
        got, want = list(got.values()), list(want.values())
    for one, other in zip(got, want):
        assert_same_collection(one, other, **options)


def _assert_same_mask(got: Any, want: Any, layout: bool, flags: bool) -> None:
    assert got._baseclass is (np.ndarray if want._baseclass is np.memmap else want._baseclass)
    assert got.hardmask == want.hardmask
    assert (got._mask is np.ma.nomask) == (want._mask is np.ma.nomask), "nomask is not an array of False"
    if want._mask is not np.ma.nomask:
        assert_identical(got._mask, want._mask, layout=layout, flags=flags)
    assert (got._fill_value is None) == (want._fill_value is None)
    if want._fill_value is not None:
        assert_identical(got._fill_value, want._fill_value, flags=False)
    assert got._optinfo == {key: item for key, item in want._optinfo.items() if key not in vars_of_memmap(want)}


def vars_of_memmap(array: Any) -> Iterable[str]:
    """Returns the attributes that a masked array has inherited from a memmap."""
    return ("_mmap", "filename", "offset", "mode") if array._baseclass is np.memmap else ()


def assert_same_dtype(got: np.dtype, want: np.dtype) -> None:
    """Fails unless two dtypes agree in everything that Python can see; ``==`` ignores much of it."""
    assert dtype_facts(got) == dtype_facts(want), f"{dtype_facts(got)}, not {dtype_facts(want)}"
    assert type(got) is type(want)


def dtype_facts(dtype: np.dtype) -> Any:
    """Returns everything that Python can see of a dtype, including metadata with the types inside it."""
    # After newbyteorder("<") numpy says "<" where it otherwise says "=", also in repr; both mean
    # the native order. NPY_NEEDS_PYAPI (0x10) and NPY_NEEDS_INIT (0x08) say how numpy copies and
    # creates items; whether structs have them depends on how they were made.
    facts: List[Any] = [
        dtype.str, dtype.char, dtype.kind, dtype.num, dtype.type, dtype.itemsize, dtype.alignment, dtype.isnative,
        dtype.byteorder.replace("<>"[sys.byteorder == "big"], "="), dtype.isalignedstruct, dtype.hasobject, dtype.flags & ~0x18,
        dtype.shape, None if dtype.metadata is None else typed(dict(dtype.metadata)),
    ]  # fmt: skip
    if is_string(dtype):
        facts.append(dtype.coerce)  # type: ignore[attr-defined]
        facts.append(repr(getattr(dtype, "na_object", "no na_object")))
    if dtype.subdtype is not None:
        facts.append(dtype_facts(dtype.subdtype[0]))
    if dtype.names is not None:
        facts.append(dtype.names)
        fields = dtype.fields or {}
        facts.append({key: (dtype_facts(field[0]), *field[1:]) for key, field in fields.items()})
    return facts


def typed(value: Any) -> Any:
    """Returns a value with its types spelled out, because ``1``, ``True`` and ``1.0`` compare equal."""
    if isinstance(value, dict):
        return {(type(key), key): typed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [typed(item) for item in value]
    return type(value), value


def is_string(dtype: np.dtype) -> bool:
    """Returns whether a dtype is NumPy 2's StringDType."""
    return HAS_STRING_DTYPE and isinstance(dtype, np.dtypes.StringDType)  # type: ignore[attr-defined]


def writeable(array: np.ndarray) -> bool:
    """Returns the WRITEABLE flag without the warning for results of np.broadcast_arrays."""
    try:
        return bool(array.flags.writeable)
    except FutureWarning:
        return True


def residue(array: np.ndarray) -> int:
    """Returns the bytes between the first element and the preceding multiple of its alignment."""
    address: int = array.__array_interface__["data"][0]
    return address % (array.dtype.alignment or 1)


def item_bytes(array: np.ndarray) -> Any:
    """Returns the memory of every item in C order, including padding inside items; for StringDType,
    the texts."""
    base = np.ndarray.view(array, np.ndarray)
    if is_string(base.dtype):
        return [None if item is None else "nan" if isinstance(item, float) and math.isnan(item) else item
                for item in base.ravel().tolist()]  # fmt: skip
    if not base.nbytes:
        return b""
    # Copying void items copies their memory; struct items would be copied field by field.
    return base.view(np.dtype(f"V{base.itemsize}")).tobytes()


def scalar_bytes(scalar: np.generic) -> Any:
    """Returns the memory of a scalar; for text its characters, including trailing NULs."""
    if isinstance(scalar, np.str_):
        return [ord(character) for character in scalar]
    if isinstance(scalar, np.bytes_):
        return list(scalar)
    if isinstance(scalar, np.void) or scalar.dtype.num >= 256:
        return scalar.tobytes()
    return bytes(memoryview(scalar))


def memory(size: int, start: int = 1) -> np.ndarray:
    """Returns ``size`` bytes, 1-d uint8, in which neighbours differ."""
    return (np.arange(start, start + size, dtype=np.uint64) * 37 % 251).astype(np.uint8)


def filled(shape: Any, dtype: Any) -> np.ndarray:
    """Returns an array whose memory is ``memory()``, including padding."""
    dtype = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return np.ndarray(shape, dtype, memory(math.prod(shape) * dtype.itemsize))


def awkward_arrays() -> Iterator[Tuple[str, Any]]:
    """Yields pairs of a name and an array or scalar that must come back identical with the default
    options."""
    yield from _plain()
    yield from _layouts()
    yield from _dtypes()
    yield from _classes()
    yield from _odd_classes()
    yield from _masked()
    if HAS_STRING_DTYPE:
        yield from _strings()


def _plain() -> Iterator[Tuple[str, Any]]:
    for char in "?bhilqBHILQefdgFDGSUVmM":
        text = {"S": "S5", "U": "U3", "V": "V7", "m": "m8[ns]", "M": "M8[D]"}.get(char, char)
        yield f"1-d {text}", filled(6, text)
        yield f"2-d F {text}", np.asfortranarray(filled((3, 4), text))
        yield f"0-d {text}", filled((), text)
        yield f"empty {text}", np.empty((0, 3), text)
        if np.dtype(text).newbyteorder().str != np.dtype(text).str:
            yield f"swapped {text}", filled((2, 3), np.dtype(text).newbyteorder())
    yield "odd bools", np.frombuffer(bytearray(b"\x00\x01\x02\xff"), "?")
    yield "nan payloads", np.array([0x7FF0000000000001, 0xFFF8DEADBEEF0001, 0x8000000000000000], "u8").view("f8")
    yield "swapped signalling nan", np.array([0x7F800001], ">u4").view(">f4")
    for unit in ("Y", "25us", "as", "7W"):
        yield f"datetime {unit}", np.array([0, 1, -(2**63)], "i8").view(f"M8[{unit}]")
        yield f"timedelta {unit}", np.array([0, 1, -(2**63)], "i8").view(f">m8[{unit}]")
    yield "generic timedelta", np.array([3], "i8").view("m8")
    yield "32 axes", filled((1,) * 30 + (2, 3), "u2")
    yield "text with NULs", np.array(["a\0b", "", "\0"])


def _layouts() -> Iterator[Tuple[str, Any]]:
    cube = filled((4, 5, 6), "i4")
    yield "3-d transpose", cube.transpose(1, 0, 2)
    yield "3-d reversed axes", cube.T
    yield "slice", cube[::2, 1:, ::3]
    yield "negative strides", cube[::-1, :, ::-2]
    yield "flat reversed", filled(7, "f8")[::-1]
    yield "field view", filled(5, "i4,f8,u1")["f1"]
    yield "real part", filled(5, "c16").real
    yield "newaxis", filled(5, "i4")[None, :, None]
    yield "length-1 axis", cube[1:2]
    yield "length-1 axis with stride 0", np.lib.stride_tricks.as_strided(cube, (1, 6), (0, 4))
    yield "zero-length axis", cube[:, 2:2, ::-1]
    yield "zero-length slice", filled(6, "f8")[3:3]
    yield "no elements, odd strides", np.ndarray((0, 3), "f8", np.empty(0, "u1"), 0, (-99, 12345))
    yield "broadcast", np.broadcast_to(filled(3, "i2"), (4, 3))
    yield "broadcast scalar", np.broadcast_to(np.float64(1.5), (2, 3))
    yield "broadcast_arrays", np.broadcast_arrays(filled(3, "i2"), np.zeros((2, 3)))[0]
    yield "writable stride 0", np.ndarray((4, 3), "i2", memory(6), 0, (0, 2))
    yield "sliding windows", np.lib.stride_tricks.sliding_window_view(filled(9, "f4"), 3)
    yield "partial overlap", np.ndarray((5,), "i8", memory(64), 0, (8,))[:3].view()
    yield "overlap by bytes", np.ndarray((5,), "u4", memory(8), 0, (1,))
    yield "diagonal", np.einsum("ii->i", filled((4, 4), "u4"))
    frozen = filled((3, 2), "u2")
    frozen.setflags(write=False)
    yield "read-only", frozen
    yield "read-only F", frozen.T
    for offset in (1, 2, 3):
        yield f"misaligned by {offset}", np.ndarray((3, 2), "f4", memory(40), offset)
    yield "misaligned strides", np.ndarray((3,), "f4", memory(40), 0, (5,))
    yield "misaligned and read-only", _read_only(np.ndarray((3,), "f8", memory(40), 1))
    yield "misaligned text", np.ndarray((3,), "U2", memory(40), 1)
    flagged = filled(3, "f8")
    flagged.setflags(align=False)
    yield "aligned memory with the flag off", flagged
    flagged_bytes = filled(3, "u1")
    flagged_bytes.setflags(align=False)
    yield "bytes with the aligned flag off", flagged_bytes
    yield "struct slice", filled((4, 3), np.dtype("u1,f8", align=True))[::-2, 1:]


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def _dtypes() -> Iterator[Tuple[str, Any]]:
    for name, dtype in awkward_dtypes():
        yield name, filled((3, 2), dtype)
        yield f"{name}, 0-d", filled((), dtype)
        yield f"{name}, empty", np.empty((2, 0), dtype)
        yield f"{name}, every other", filled(6, dtype)[::-2]
        yield f"{name}, field", _wrapped(dtype)
    yield "S0", filled(3, [("a", "S0"), ("b", "i4")])["a"]
    yield "U0", filled((2, 3), [("a", "U0"), ("b", "i4")])["a"]
    yield "V0", np.empty(3, "V0")
    yield "several fields", filled(4, "i4,f8,u1,i2")[["f2", "f0"]]


def _wrapped(dtype: np.dtype) -> np.ndarray:
    inner = np.dtype([("x", "u1"), ("y", dtype), ("z", dtype, (2, 1))])
    return filled(2, inner)


def awkward_dtypes() -> Iterator[Tuple[str, np.dtype]]:
    """Yields pairs of a name and a dtype."""
    spec = {"names": ["a", "b"], "formats": ["u1", "f8"]}
    yield "packed struct", np.dtype("u1,<i4,>f8,S3,U2,3u2")
    yield "aligned struct", np.dtype("u1,f8,u2", align=True)
    yield "aligned struct without padding", np.dtype("f8,i8", align=True)
    yield "gap at the start and at the end", np.dtype({**spec, "offsets": [3, 7], "itemsize": 20})
    yield "out of order", np.dtype({**spec, "offsets": [8, 0]})
    yield "overlap", np.dtype({**spec, "offsets": [2, 0]})
    yield "aligned out of order", np.dtype({**spec, "offsets": [8, 0], "itemsize": 16}, align=True)
    yield "titles", np.dtype([(("Title", "a"), "i4"), ("b", "f4"), (("Ü", "c"), "u1")])
    yield "titles out of order", np.dtype({**spec, "offsets": [8, 0], "titles": ["T", None]})
    yield "unicode names", np.dtype([("größe", "i4"), ("名前", "f4"), ("it's \"x\" \\ \n\t", "u1")])
    yield "empty name", np.dtype({"names": [""], "formats": ["i4"]})
    yield "empty name of void", np.dtype({"names": ["", "b"], "formats": ["V4", "i2"]})
    yield "nested", np.dtype([("p", [("x", "f4"), ("y", "u1", (2, 3))]), ("q", np.dtype("u1,i4", align=True), (2,))])
    yield "subarray of subarray", np.dtype([("a", np.dtype((np.dtype(("i2", (2,))), (3,))))])
    yield "subarray of none", np.dtype([("a", "i4", (0,)), ("b", "u1")])
    yield "one field", np.dtype([("a", "f8")])
    yield "no fields but size", np.dtype({"names": [], "formats": [], "offsets": [], "itemsize": 8})
    yield "record", np.dtype((np.record, [("a", "i4"), ("b", "f8")]))
    yield "aligned record", np.dtype((np.record, np.dtype("u1,i4", align=True)))
    yield "record in a struct", np.dtype([("r", (np.record, [("a", "i4")]))])
    yield "void with record type", np.dtype((np.record, "V8"))
    yield "base and fields", np.dtype((np.int32, {"real": (np.int16, 0), "imag": (np.int16, 2)}))
    yield "swapped base and fields", np.dtype((">i4", {"names": ["h", "l"], "formats": [">i2", "i2"], "offsets": [0, 2]}))
    yield "datetime and fields", np.dtype(("M8[25us]", {"names": ["h"], "formats": ["i4"], "offsets": [4]}))
    yield "long long and fields", np.dtype(("q", {"names": ["h"], "formats": ["L"], "offsets": [0]}))
    for char in "cqQlLpP":
        yield f"character {char}", np.dtype(char)
    yield "swapped long long", np.dtype("q").newbyteorder()
    yield "characters in fields", np.dtype([("a", "c"), ("b", "q"), ("c", "l"), ("d", "Q", (2,))])
    yield "metadata", np.dtype("f4", metadata={"unit": "m", "n": [1, 2.5, None, True, {"x": "ü"}]})
    yield "empty metadata", np.dtype("f4", metadata={})
    yield "metadata on long long", np.dtype("q", metadata={"a": 1})
    yield "metadata on a struct", np.dtype("u1,i4", metadata={"a": 1})
    yield "metadata on an aligned struct", np.dtype(np.dtype("u1,i4", align=True), metadata={"a": 1})
    yield "metadata in fields", np.dtype([("a", np.dtype("f4", metadata={"unit": "s"})), ("b", "i4")])
    yield "metadata on a subarray", np.dtype([("a", np.dtype(("i4", (2,)), metadata={"x": [1]}))])
    yield "metadata on a record", np.dtype((np.record, np.dtype("u1,i4", metadata={"a": 1})))
    yield "metadata on base and fields", np.dtype(
        np.dtype((np.int32, {"real": (np.int16, 0), "imag": (np.int16, 2)})), metadata={"a": 1}
    )
    yield "large header", np.dtype([(f"field_{i:05}", "u1") for i in range(3000)])


def _classes() -> Iterator[Tuple[str, Any]]:
    for char in "?bhilqBHILQefdgFDG":
        yield f"scalar {char}", filled((), char)[()]
    yield "scalar longdouble padding", filled((), "g")[()]
    yield "scalar datetime", np.datetime64(12345, "25us")
    yield "scalar NaT", np.timedelta64("NaT", "as")
    for text in ("", "a", "a\0", "\0", "ü\U0001f600\0\0", "\ud800"):
        yield f"scalar {text!r}", np.str_(text)
    for raw in (b"", b"a", b"a\0", b"\0"):
        yield f"scalar {raw!r}", np.bytes_(raw)
        yield f"scalar void {raw!r}", np.void(raw)
    yield "scalar struct", filled(2, np.dtype("u1,f8", align=True))[1]
    yield "scalar record", filled(2, (np.record, [("a", "i4"), ("b", "U2")]))[1]
    yield "scalar with metadata", filled(2, np.dtype("u1,i4", metadata={"a": 1}))[1]
    yield "matrix", filled((2, 3), "f4").view(np.matrix)
    yield "matrix F read-only", _read_only(filled((2, 3), "f4").T.view(np.matrix))
    yield "recarray", filled(3, "u1,f8").view(np.recarray)
    yield "recarray aligned, every other", filled(6, np.dtype("u1,f8", align=True)).view(np.recarray)[::-2]
    yield "recarray of no struct", filled(3, "i4").view(np.recarray)
    yield "misaligned recarray", np.ndarray((2,), np.dtype("u1,f8", align=True), memory(40), 1).view(np.recarray)
    yield "chararray", filled((2, 2), "S3").view(np.char.chararray)
    yield "chararray U, every other", filled((4, 2), "U3").view(np.char.chararray)[::2]


def _odd_classes() -> Iterator[Tuple[str, Any]]:
    """Arrays that numpy's classes refuse to become by conversion, and that numpy creates nevertheless."""
    matrix = filled((1, 10), [("a", "f8"), ("b", "f8")]).view(np.matrix).view((float, 2))
    yield "matrix of three axes", matrix
    yield "matrix of one axis", np.ndarray.reshape(filled((2, 2), "i4").view(np.matrix)[:, None], -1)
    yield "masked matrix of three axes", np.ma.MaskedArray(matrix)
    yield "chararray of integers", filled(3, "S4").view(np.char.chararray).view("i4")
    yield "chararray of structs", filled(3, "S4").view(np.char.chararray).view("S2,S2")
    yield "comparison of a masked chararray", np.ma.MaskedArray(filled(3, "S4").view(np.char.chararray), [1, 0, 1]) == b"a"
    recarray = filled(3, "f4,f4").view(np.recarray)
    np.ndarray.dtype.__set__(recarray, np.dtype("i4,i4"))  # type: ignore[attr-defined]
    yield "recarray of no records", recarray
    yield "recarray of base and fields", filled(3, np.dtype((np.int32, {"lo": (np.int16, 0), "hi": (np.int16, 2)}))).view(np.recarray)
    masked = np.ma.masked_array(filled((2, 3), "i4").view(np.matrix), mask=[[1, 0, 0], [0, 0, 1]])
    yield "mean of a masked matrix", masked.mean(axis=0)
    yield "comparison of a masked matrix", masked > 1
    yield "masked by a scalar", _masked_structs()[0].view(np.ma.MaskedArray)
    yield "fill value of two items", np.ma.MaskedArray(filled(2, np.dtype((np.int32, {"lo": (np.int16, 0), "hi": (np.int16, 2)}))))
    yield "masked by a recarray", _masked_by(masked.data.view(np.ndarray), np.zeros((2, 3), bool).view(np.recarray))


def _masked_structs() -> Any:
    """Returns a masked array of structs."""
    return np.ma.MaskedArray(filled(2, "i4,f8"), [(1, 0), (0, 1)], hard_mask=True)


def _masked_by(data: Any, mask: Any) -> Any:
    array = np.ma.MaskedArray(data)
    vars(array)["_mask"] = mask
    return array


def _masked() -> Iterator[Tuple[str, Any]]:
    data = filled((3, 4), "f8")
    mask = filled((3, 4), "u1") % 2 == 0
    array = np.ma.MaskedArray
    yield "masked", array(data, mask)
    yield "masked, nomask", array(data)
    yield "masked, all False", array(data, np.zeros((3, 4), bool))
    yield "masked, hard", array(data, mask, hard_mask=True)
    yield "masked, fill value", array(data, mask, fill_value=-1)
    yield "masked, fill value nan", array(data, fill_value=np.nan)
    yield "masked, F", array(data.T, mask.T)
    yield "masked, F mask", array(data, np.asfortranarray(mask))
    yield "masked, odd mask bytes", array(filled(4, "i4"), np.frombuffer(bytearray(b"\x00\x02\x01\xff"), "?"))
    yield "masked, slice", array(data, mask)[::-1, ::2]
    yield "masked, read-only", _read_only(array(data, mask))
    shared = array(data, mask, copy=False)
    shared._mask.setflags(write=False)
    yield "masked, read-only mask", shared
    yield "masked, 0-d", array(filled((), "i4"), True)
    yield "masked, empty", array(np.empty((0, 2)), np.empty((0, 2), bool))
    struct = filled(3, np.dtype([("a", "u1"), ("b", "f8", (2,)), ("c", [("d", "i2")])], align=True))
    yield "masked struct", array(struct, mask=[(True, [False, True], (True,))] * 3)
    yield "masked struct with fill value", array(struct, fill_value=filled((), struct.dtype))
    yield "masked text", array(np.array(["ab", "c"]), [True, False], fill_value="N/A")
    yield "masked datetime", array(np.array([1, 2], "M8[s]"), [True, False], fill_value=np.datetime64(9, "s"))
    yield "masked long long", array(filled(3, "q"), [1, 0, 1], fill_value=5)
    yield "masked matrix", array(filled((2, 3), "i4").view(np.matrix), [[1, 0, 0], [0, 1, 1]])
    yield "masked recarray", array(filled(2, "u1,i4").view(np.recarray), [(1, 0), (0, 1)])
    yield "masked with info", _with_info(array(filled(3, "i4"), [1, 0, 1]))
    yield "masked by a broadcast mask", _broadcast_mask(array(data, mask))


def _with_info(array: Any) -> Any:
    array._optinfo["unit"] = "m"
    array._basedict["unit"] = "m"
    return array


def _broadcast_mask(array: Any) -> Any:
    array._mask = np.broadcast_to(np.array([True, False, False, True]), array.shape)
    return array


def _strings() -> Iterator[Tuple[str, Any]]:
    make = np.dtypes.StringDType  # type: ignore[attr-defined]
    texts = ["a", "", "b\0", "ü" * 40, "\U0001f600", "x" * 300]
    flat = np.array(texts, dtype=make())
    yield "strings", flat
    yield "strings 2-d", flat.reshape(2, 3)
    yield "strings F", flat.reshape(2, 3).T
    yield "strings every other", flat[::-2]
    yield "strings broadcast", np.broadcast_to(flat[:2], (3, 2))
    yield "strings 0-d", np.array(texts[3], dtype=make())
    yield "strings empty", np.empty((0, 2), dtype=make())
    yield "strings strict", np.array(texts, dtype=make(coerce=False))
    yield "strings with None", np.array(["a", None, ""], dtype=make(na_object=None))
    yield "strings with nan", np.array(["a", np.nan, ""], dtype=make(na_object=np.nan, coerce=False))
    yield "strings read-only", _read_only(flat[:2].copy())
    yield "masked strings", np.ma.MaskedArray(flat, [1, 0, 0, 1, 0, 0])
    yield "recarray of strings", flat.view(np.recarray)
