"""Hypothesis strategies: dtypes and arrays of every kind that numpy can create."""
from __future__ import annotations

import math
import warnings
from typing import Any, Callable, Dict

import numpy as np
from fidelity import memory
from hypothesis import strategies as st
from numpy.ma import mrecords

UNITS = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"]
NAMES = ["a", "b", "x y", "größe", "名前", "it's", 'say "hi"', "back\\slash", "tab\t", "new\nline", "\x00", "", "f0"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "m/s", "ü", '"', "\U0001f600"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["k", "ü", ""]), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
METADATA = st.dictionaries(st.sampled_from(["unit", "v", "größe", ""]), JSON, max_size=2)


@st.composite
def leaf_dtypes(draw: Any) -> np.dtype:
    """A dtype without fields: any character, byte order, unit or length, sometimes with metadata."""
    kind = draw(st.sampled_from(["char", "sized", "time"]))
    if kind == "char":
        dtype = np.dtype(draw(st.sampled_from(list("?bhilqpBHILQPefdgFDGc"))))
    elif kind == "sized":
        dtype = np.dtype(f"{draw(st.sampled_from('SUV'))}{draw(st.integers(1, 9))}")
    else:
        count = draw(st.sampled_from(["", "2", "25"]))
        dtype = np.dtype(f"{draw(st.sampled_from(['m8', 'M8']))}[{count}{draw(st.sampled_from(UNITS))}]")
    if draw(st.booleans()):
        dtype = dtype.newbyteorder()
    if draw(st.integers(0, 9)) == 0:
        dtype = np.dtype(dtype, metadata=draw(METADATA))  # type: ignore[call-overload]
    return dtype


@st.composite
def struct_dtypes(draw: Any, inner: Any) -> np.dtype:
    """A struct: packed, aligned, or with offsets that leave gaps, overlap or go backwards; titles;
    records."""
    count = draw(st.integers(0, 4))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=count, max_size=count, unique=True))
    formats = []
    for _ in names:
        dtype = draw(inner)
        if draw(st.integers(0, 3)) == 0:
            dtype = np.dtype((dtype, tuple(draw(st.lists(st.integers(0, 3), min_size=1, max_size=2)))))
        elif draw(st.integers(0, 5)) == 0:
            dtype = np.dtype([("none", "S0"), ("u", "U0")]).fields[draw(st.sampled_from(["none", "u"]))][0]  # type: ignore[index]
        formats.append(dtype)
    style = draw(st.sampled_from(["packed", "aligned", "offsets"]))
    spec: Any = {"names": names, "formats": formats}
    if draw(st.integers(0, 4)) == 0:
        spec["titles"] = [draw(st.sampled_from([None, f"title {i}"])) for i in range(count)]
    if style == "offsets":
        spec["offsets"] = [draw(st.integers(0, 20)) for _ in names]
        end = max((o + f.itemsize for o, f in zip(spec["offsets"], formats)), default=0)
        spec["itemsize"] = end + draw(st.integers(0, 3))
    # An aligned struct without fields has alignment 0, and numpy crashes on a field of it.
    dtype = np.dtype(spec, align=style == "aligned" and count > 0 and all(f.alignment for f in formats))
    if draw(st.integers(0, 4)) == 0 and dtype.itemsize:
        dtype = np.dtype((np.record, dtype))
    if draw(st.integers(0, 9)) == 0:
        dtype = np.dtype(dtype, metadata=draw(METADATA))  # type: ignore[call-overload]
    return dtype


@st.composite
def base_dtypes(draw: Any) -> np.dtype:
    """A dtype of the ``(base, fields)`` form."""
    base = draw(st.sampled_from(["i4", ">i4", "q", "f8", "S8", "M8[us]", "V8"]))
    size = np.dtype(base).itemsize
    spec: Any = {"names": ["lo", "hi"], "formats": [draw(st.sampled_from(["i2", ">u2", "S1"])) for _ in range(2)]}
    spec["offsets"] = [draw(st.integers(0, size - 2)) for _ in range(2)]
    return np.dtype((base, np.dtype({**spec, "itemsize": size})))


def dtypes() -> Any:
    """Any dtype that can be stored, except StringDType and registered dtypes."""
    leaves = leaf_dtypes() | base_dtypes()
    return leaves | struct_dtypes(st.recursive(leaves, struct_dtypes, max_leaves=3))


@st.composite
def arrays(draw: Any, dtype: Any = None) -> np.ndarray:
    """An array over memory without repetition: any order, view, overlap, misalignment and flags."""
    dtype = draw(dtypes() if dtype is None else dtype)
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 1, 2, 3, 4]), max_size=4)))
    style = draw(st.sampled_from(["fresh", "views", "windows"]))
    offset = draw(st.sampled_from([0, 0, 0, 1, 4]))
    if style == "windows":
        reach = 3 * max(dtype.itemsize, 1)
        strides = tuple(draw(st.integers(-reach, reach)) for _ in shape)
        low = sum(min(0, (n - 1) * s) for n, s in zip(shape, strides)) if 0 not in shape else 0
        high = sum(max(0, (n - 1) * s) for n, s in zip(shape, strides)) if 0 not in shape else 0
        raw = memory(high - low + dtype.itemsize + offset, draw(st.integers(0, 250)))
        array = np.ndarray(shape, dtype, raw, offset - low, strides)
    else:
        raw = memory(math.prod(shape) * dtype.itemsize + offset, draw(st.integers(0, 250)))
        order: Any = draw(st.sampled_from("CF"))
        array = np.ndarray(shape, dtype, raw, offset, order=order)
        if style == "views":
            array = draw(_viewed(array))
    if draw(st.integers(0, 3)) == 0:
        array.setflags(write=False)
    if draw(st.integers(0, 9)) == 0:
        array.setflags(align=False)
    return array


@st.composite
def _viewed(draw: Any, array: np.ndarray) -> np.ndarray:
    for _ in range(draw(st.integers(1, 3))):
        how = draw(st.sampled_from(["slice", "transpose", "newaxis", "broadcast", "field"]))
        if how == "slice" and array.ndim:
            steps = [draw(st.sampled_from([-2, -1, 1, 2])) for _ in array.shape]
            array = array[tuple(slice(None, None, step) for step in steps)]
        elif how == "transpose":
            array = array.transpose(draw(st.permutations(range(array.ndim))))
        elif how == "newaxis" and array.ndim < 6:
            array = array[(slice(None),) * draw(st.integers(0, array.ndim)) + (None,)]
        elif how == "broadcast" and array.ndim < 6:
            array = np.broadcast_to(array, (draw(st.integers(0, 3)), *array.shape))
        elif how == "field" and array.dtype.names:
            array = array[draw(st.sampled_from(array.dtype.names))]
    return array


#: numpy's classes, and masked arrays over each of them.
CLASSES = [np.ndarray, np.matrix, np.recarray, np.char.chararray, np.ma.MaskedArray, mrecords.MaskedRecords]
#: What programs do with arrays before they store them. Operations that numpy rejects are skipped.
OPERATIONS: Dict[str, Callable[[Any], Any]] = {
    "first": lambda x: x[0],
    "first element": lambda x: x[(0,) * x.ndim],
    "element": lambda x: x.flat[0],
    "new axis": lambda x: x[:, None],
    "new axes": lambda x: x[None, ..., None],
    "every other": lambda x: x[..., ::-2],
    "no elements": lambda x: x[..., :0],
    "transpose": lambda x: x.T,
    "swapped axes": lambda x: np.ndarray.swapaxes(x, 0, -1),
    "reshape": lambda x: np.ndarray.reshape(x, -1),
    "to no axes": lambda x: np.ndarray.reshape(x, ()),
    "squeeze": lambda x: np.ndarray.squeeze(x),
    "ravel": lambda x: x.ravel(),
    "mean": lambda x: x.mean(axis=0),
    "sum": lambda x: x.sum(axis=-1),
    "sum of all": lambda x: x.sum(),
    "kept dimensions": lambda x: x.max(keepdims=True),
    "any": lambda x: x.any(axis=0),
    "cumsum": lambda x: x.cumsum(axis=0),
    "comparison": lambda x: x == x,
    "product": lambda x: x * 2,
    "negative": lambda x: -x,
    "concatenate": lambda x: np.concatenate([x, x]),
    "masked concatenate": lambda x: np.ma.concatenate([x, x]),
    "stack": lambda x: np.stack([x, x]),
    "take": lambda x: x.take([0, 0], axis=0),
    "sorted": lambda x: np.sort(x, axis=0),
    "argsort": lambda x: x.argsort(axis=0),
    "copy": lambda x: x.copy("K"),
    "read-only": lambda x: (x.setflags(write=False), x)[1],
    "misaligned": lambda x: (x.setflags(align=False), x)[1],
    "mask": lambda x: x.mask,
    "filled": lambda x: x.filled(),
    "compressed": lambda x: x.compressed(),
    "hard mask": lambda x: x.harden_mask(),
    "mask out": lambda x: (x.__setitem__(0, np.ma.masked), x)[1],
    "fill value": lambda x: x.set_fill_value(None) or x,
    "first field": lambda x: x[x.dtype.names[0]],
    "last field": lambda x: x[x.dtype.names[-1]],
    "several fields": lambda x: x[list(x.dtype.names[::-2])],
    "items as bytes": lambda x: x.view(f"V{x.itemsize}"),
    "items as single bytes": lambda x: x.view("u1"),
    "items as pairs": lambda x: x.view((f"V{x.itemsize // 2}", 2)),
    "items as structs": lambda x: x.view([("a", f"V{x.itemsize // 2}"), ("b", f"S{x.itemsize // 2}")]),
}
#: Not for structs: numpy 1.24 corrupts its own memory when it promotes or sorts some of them.
NOT_OF_STRUCTS = {
    "mean", "sum", "sum of all", "kept dimensions", "any", "cumsum", "comparison", "product", "negative", "concatenate", "masked concatenate",
    "stack", "sorted", "argsort",
}  # fmt: skip


@st.composite
def values(draw: Any) -> Any:
    """Any value that numpy computes from an array: of each class, after operations that change
    class, shape, dtype and mask."""
    value = draw(arrays(leaf_dtypes() | dtypes()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in draw(st.lists(st.sampled_from([*CLASSES, *OPERATIONS]), min_size=1, max_size=5)):
            changed = _changed(draw, value, step)
            value = value if changed is None else changed
    return value


def _changed(draw: Any, value: Any, step: Any) -> Any:
    try:
        if step in NOT_OF_STRUCTS and value.dtype.names is not None:
            return None
        if step is np.ma.MaskedArray:
            mask = np.resize(np.array(draw(st.lists(st.booleans(), min_size=1, max_size=3))), value.shape)
            return np.ma.MaskedArray(value, mask if draw(st.booleans()) else np.ma.nomask, copy=False, subok=draw(st.booleans()))
        return OPERATIONS[step](value) if isinstance(step, str) else value.view(step)
    except Exception:  # numpy does not support this operation
        return None
