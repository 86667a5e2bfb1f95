"""NumPy 2's StringDType. Its memory holds pointers, so the texts are stored instead.

The .npy has one unsigned 64-bit integer per element, in the logical shape: the end of its text
within the part ``utf8``, which holds all texts one after another in the order of the data. The part
``na`` marks missing elements (``na_object``), one byte (0 or 1) per element in the same order.
"""
from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from .._exceptions import DecodeError, EncodeError
from .attrs import check_keys, flag, optional
from .layout import AUTO_SPAN, EXACT_SPAN, bounds, byte_view, checked_strides, default_strides

END = np.dtype("<u8")
Parts = List[Tuple[bytes, memoryview]]

_StringDType: Any = getattr(getattr(np, "dtypes", None), "StringDType", None)


def is_string(dtype: np.dtype[Any]) -> bool:
    """Returns whether a dtype is StringDType."""
    return _StringDType is not None and isinstance(dtype, _StringDType)


def describe(dtype: Any) -> Dict[str, Any]:
    """Returns what attrs record of a StringDType. Raises EncodeError for an ``na_object`` other
    than None and nan."""
    node: Dict[str, Any] = {}
    if not dtype.coerce:
        node["strict"] = True
    if hasattr(dtype, "na_object"):
        if dtype.na_object is None:
            node["na"] = "none"
        elif type(dtype.na_object) is float and math.isnan(dtype.na_object):
            node["na"] = "nan"
        else:
            raise EncodeError(
                f"StringDType with na_object={dtype.na_object!r} cannot be stored; "
                "store x.astype(np.dtypes.StringDType(na_object=None))"
            )
    return node


def pack(array: np.ndarray[Any, Any]) -> Tuple[bool, memoryview, Parts]:
    """Returns whether the elements are in F order, the ends of their texts as bytes, and the parts."""
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    texts: List[Any] = array.ravel("F" if fortran else "C").tolist()
    has_na = hasattr(array.dtype, "na_object")
    encoded = [text.encode("utf8") if isinstance(text, str) else b"" for text in texts]
    ends = np.cumsum(np.fromiter(map(len, encoded), END, len(encoded)), dtype=END)
    parts: Parts = [(b"utf8", memoryview(b"".join(encoded)))]
    if has_na:
        missing = np.fromiter((not isinstance(text, str) for text in texts), np.uint8, len(texts))
        parts.append((b"na", byte_view(missing)))
    return fortran, byte_view(ends), parts


def restore(node: Any) -> np.dtype[Any]:
    """Returns a new StringDType from attrs. Raises DecodeError, also if numpy is older than 2.0."""
    check_keys(node, "string", {"strict": bool, "na": str})
    na = optional(node, "na")
    if na not in (None, "none", "nan"):
        raise DecodeError("'na' of the string dtype in attrs is neither none nor nan")
    if _StringDType is None:
        raise DecodeError(f"the stored array is of StringDType, which requires numpy 2.0 or newer; this is {np.__version__}")
    options: Dict[str, Any] = {} if na is None else {"na_object": None if na == "none" else np.nan}
    dtype: np.dtype[Any] = _StringDType(coerce=not flag(node, "strict"), **options)
    return dtype


def unpack(
    shape: Tuple[int, ...],
    fortran: bool,
    dtype: Any,
    data: np.ndarray[Any, Any],
    parts: Mapping[str, Any],
    strides: Optional[List[int]],
    max_span: Optional[int],
) -> np.ndarray[Any, Any]:
    """Returns an array of StringDType ``dtype`` from the ends in ``data`` (1-d uint8) and the parts.

    ``strides``: from attrs, in bytes. ``max_span``: limit on bytes allocated for the elements.
    Raises DecodeError.
    """
    texts = _texts(data.view(END), dtype, parts)
    wanted = checked_strides(strides, len(shape))
    packed = default_strides(shape, dtype.itemsize, fortran)
    order = "F" if fortran else "C"
    low, high = bounds(shape, packed if wanted is None else wanted, dtype.itemsize)
    size = len(texts) * dtype.itemsize
    if high - low > (max(EXACT_SPAN, AUTO_SPAN * size) if max_span is None else max_span):
        raise DecodeError(f"the stored layout needs {high - low} bytes for {len(texts)} texts, which exceeds the limit")
    # Elements hold pointers: a partial overlap of two would create a third, arbitrary one.
    if wanted and any(n > 1 and s % dtype.itemsize for n, s in zip(shape, wanted)):
        raise DecodeError("strides in attrs are not multiples of the item size of StringDType")
    # The flat array owns the texts; the result is a view of it with the same dtype object.
    memory = np.empty((high - low) // dtype.itemsize, dtype)
    array: np.ndarray[Any, Any] = np.ndarray(shape, memory.dtype, memory, -low, packed if wanted is None else wanted)
    if texts:
        array[...] = np.array(texts, dtype=dtype).reshape(shape, order=order)  # type: ignore[call-overload]
    return array


def _texts(ends: np.ndarray[Any, Any], dtype: Any, parts: Mapping[str, Any]) -> List[Any]:
    if "utf8" not in parts:
        raise DecodeError("part utf8 of a StringDType array is missing")
    blob = bytes(parts["utf8"])
    missing = b"\0" * len(ends)
    if hasattr(dtype, "na_object"):
        if "na" not in parts:
            raise DecodeError("part na of a StringDType array is missing")
        missing = bytes(parts["na"])
        if len(missing) != len(ends) or missing.count(0) + missing.count(1) != len(missing):
            raise DecodeError("part na of a StringDType array is not one byte of 0 or 1 per element")
    texts: List[Any] = []
    start = 0
    for end, gone in zip(ends.tolist(), missing):
        if not start <= end <= len(blob) or (gone and end != start):
            raise DecodeError("the ends of a StringDType array do not match its part utf8")
        try:
            texts.append(dtype.na_object if gone else blob[start:end].decode("utf8"))
        except UnicodeDecodeError as exc:
            raise DecodeError(f"part utf8 of a StringDType array is not UTF-8: {exc}") from exc
        start = end
    if start != len(blob):
        raise DecodeError("part utf8 of a StringDType array is longer than its texts")
    return texts
