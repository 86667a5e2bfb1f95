"""Strides: records them if they are not the default ones, and restores them.

Data is always sent packed, in C or F order of the logical shape. Views are built with
``np.ndarray`` over separate memory, and every bound is checked here first in Python integers,
because numpy's own check can overflow.
"""
from __future__ import annotations

from typing import Any, Optional, Sequence, Tuple

import numpy as np

from .._exceptions import DecodeError, EncodeError

LAYOUTS = ("auto", "exact", "packed")
#: ``auto`` drops a layout that spans more than this many times the data.
AUTO_SPAN = 8
#: ``exact`` refuses a span above this many bytes (and above AUTO_SPAN times the data); decode has
#: the same default.
EXACT_SPAN = 512 << 20

_BYTE = np.dtype(np.uint8)
_RAW = {1: np.dtype("u1"), 2: np.dtype("u2"), 4: np.dtype("u4"), 8: np.dtype("u8")}


def default_strides(shape: Sequence[int], itemsize: int, fortran: bool) -> Tuple[int, ...]:
    """Returns the strides (bytes) of ``np.empty(shape)``; all zero for an array without elements,
    as in numpy."""
    if 0 in shape:
        return (0,) * len(shape)
    strides = []
    step = itemsize
    for length in shape if fortran else reversed(shape):
        strides.append(step)
        step *= length
    return tuple(strides if fortran else reversed(strides))


def bounds(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> Tuple[int, int]:
    """Returns the range of bytes that the elements occupy, relative to the first element: lowest
    offset, end of the highest."""
    if 0 in shape:
        return 0, 0
    low, high = 0, itemsize
    for length, stride in zip(shape, strides):
        reach = (length - 1) * stride
        if reach < 0:
            low += reach
        else:
            high += reach
    return low, high


def raw_dtype(itemsize: int) -> np.dtype[Any]:
    """Returns a dtype that copies items of that size bit for bit, including padding."""
    return _RAW[itemsize] if itemsize in _RAW else np.dtype(f"V{itemsize}")  # type: ignore[return-value]


def pack(array: np.ndarray[Any, Any]) -> Tuple[bool, memoryview]:
    """Returns whether the bytes are in F order, and the bytes, copied only if ``array`` is not
    contiguous.

    ``array`` must be exactly an ndarray and contain no references.
    """
    if not array.nbytes:
        # An array without data is both C and F contiguous; numpy writes C into the header.
        return False, memoryview(b"")
    flags = array.flags
    if flags.c_contiguous:
        # An array may be contiguous in both orders (at most one axis longer than 1); then the
        # strides of the other axes decide.
        strides = default_strides(array.shape, array.itemsize, False), default_strides(array.shape, array.itemsize, True)
        return array.strides != strides[0] and array.strides == strides[1], byte_view(array)
    if flags.f_contiguous:
        return True, byte_view(array.T)
    return False, byte_view(array.view(raw_dtype(array.itemsize)).copy())


def byte_view(array: np.ndarray[Any, Any]) -> memoryview:
    """Returns the bytes of a C-contiguous array without a copy; writable if the array is."""
    view: Any = np.ndarray((array.nbytes,), _BYTE, array)
    return memoryview(view)


def strides_to_record(array: np.ndarray[Any, Any], fortran: bool, layout: str) -> Optional[Tuple[int, ...]]:
    """Returns the strides (bytes) to record in attrs, or None. Raises EncodeError if ``"exact"``
    would span too much."""
    if layout == "packed" or array.strides == default_strides(array.shape, array.itemsize, fortran):
        return None
    low, high = bounds(array.shape, array.strides, array.itemsize)
    # Items of zero bytes (S0) count as one byte each.
    if high - low <= AUTO_SPAN * max(array.nbytes, array.size):
        return array.strides
    if layout == "auto":
        return None
    if high - low > EXACT_SPAN:
        raise EncodeError(
            f"layout='exact' needs {high - low} bytes to hold {array.nbytes} bytes of data; "
            "store it with layout='packed'"
        )
    return array.strides


def misalignment(array: np.ndarray[Any, Any]) -> int:
    """Returns the bytes between the first element and the preceding multiple of its dtype's alignment."""
    address: int = array.__array_interface__["data"][0]
    return address % alignment(array.dtype)


def alignment(dtype: np.dtype[Any]) -> int:
    """Returns the alignment of a dtype in bytes, at least 1: numpy reports 0 for an aligned struct
    without fields."""
    return dtype.alignment or 1


def checked_strides(value: Any, ndim: int) -> Optional[Tuple[int, ...]]:
    """Returns strides from attrs as a tuple, None for None. Raises DecodeError."""
    if value is None:
        return None
    if type(value) is not list or len(value) != ndim or any(
        type(s) is not int or not -(2**63) <= s < 2**63 for s in value
    ):
        raise DecodeError("strides in attrs are not one integer per axis")
    return tuple(value)


def lay_out(
    shape: Tuple[int, ...],
    dtype: np.dtype[Any],
    packed: Tuple[int, ...],
    data: np.ndarray[Any, Any],
    strides: Optional[Tuple[int, ...]],
    misaligned: Optional[int],
    max_span: Optional[int],
) -> np.ndarray[Any, Any]:
    """Returns an array of ``shape`` and ``dtype`` with ``data``, in the same memory if the layout
    permits it.

    ``packed``: strides (bytes) of the elements in ``data``, which is 1-d uint8. ``strides``: those
    of the result, None for ``packed``. ``misaligned``: bytes past a multiple of the dtype's
    alignment, None for aligned. ``max_span``: limit on allocated bytes. Raises DecodeError.
    """
    strides = packed if strides is None else strides
    same = 0 in shape or all(n == 1 or a == b for n, a, b in zip(shape, strides, packed))
    low, high = bounds(shape, strides, dtype.itemsize)
    if same and high - low <= data.nbytes:
        array: np.ndarray[Any, Any] = np.ndarray(shape, dtype, data, 0, strides)
        if misaligned is None and (array.flags.aligned or not data.nbytes):
            return array
        if misaligned is not None and misalignment(array) == misaligned % alignment(dtype):
            array.setflags(align=False)
            return array
    span = high - low
    if span > (max(EXACT_SPAN, AUTO_SPAN * data.nbytes) if max_span is None else max_span):
        raise DecodeError(f"the stored layout needs {span} bytes for {data.nbytes} bytes of data, which exceeds the limit")
    memory = np.zeros(span + alignment(dtype), _BYTE)
    address: int = memory.__array_interface__["data"][0]
    start = ((misaligned or 0) + low - address) % alignment(dtype) - low
    if data.nbytes:
        raw = raw_dtype(dtype.itemsize)
        np.ndarray(shape, raw, memory, start, strides)[...] = np.ndarray(shape, raw, data, 0, packed)
    array = np.ndarray(shape, dtype, memory, start, strides)
    if misaligned is not None:
        array.setflags(align=False)
    return array
