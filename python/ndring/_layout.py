"""Strides: recorded where an array has not those of a fresh one, and laid out again.

Data always travels packed, in C or F order of the logical shape. A view is built with ``np.ndarray`` over memory of
its own, and every bound is checked here in Python integers first: numpy's own check can wrap around.
"""
from __future__ import annotations

from typing import Any, Optional, Sequence, Tuple

import numpy as np

from ._exceptions import DecodeError, EncodeError

LAYOUTS = ("auto", "exact", "packed")
#: ``auto`` gives a layout up when it spans more than this many times the data.
AUTO_SPAN = 8
#: ``exact`` refuses a span above this many bytes and above AUTO_SPAN times the data; decode has the same default.
EXACT_SPAN = 512 << 20

_BYTE = np.dtype(np.uint8)
_RAW = {1: np.dtype("u1"), 2: np.dtype("u2"), 4: np.dtype("u4"), 8: np.dtype("u8")}


def default_strides(shape: Sequence[int], itemsize: int, fortran: bool) -> Tuple[int, ...]:
    """Returns the strides (bytes) of ``np.empty(shape)``: numpy gives an array without elements zeros."""
    if 0 in shape:
        return (0,) * len(shape)
    strides = []
    step = itemsize
    for length in shape if fortran else reversed(shape):
        strides.append(step)
        step *= length
    return tuple(strides if fortran else reversed(strides))


def bounds(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> Tuple[int, int]:
    """Returns the bytes that the elements touch, from the first element: lowest, and one past the highest."""
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
    """Returns a dtype that copies items of that size bit for bit, padding and all."""
    return _RAW[itemsize] if itemsize in _RAW else np.dtype(f"V{itemsize}")  # type: ignore[return-value]


def pack(array: np.ndarray[Any, Any]) -> Tuple[bool, memoryview]:
    """Returns whether the bytes are in F order, and the bytes. They are copied only when ``array`` is not contiguous.

    ``array`` must be of class ndarray itself and hold no references.
    """
    if not array.nbytes:
        # An array without data is both C and F contiguous, and numpy's headers then say C.
        return False, memoryview(b"")
    flags = array.flags
    if flags.c_contiguous:
        # With one long axis at most, the order is told apart by the strides of the others alone.
        strides = default_strides(array.shape, array.itemsize, False), default_strides(array.shape, array.itemsize, True)
        return array.strides != strides[0] and array.strides == strides[1], byte_view(array)
    if flags.f_contiguous:
        return True, byte_view(array.T)
    return False, byte_view(array.view(raw_dtype(array.itemsize)).copy())


def byte_view(array: np.ndarray[Any, Any]) -> memoryview:
    """Returns the bytes of a C-contiguous array, without a copy; writable where the array is."""
    view: Any = np.ndarray((array.nbytes,), _BYTE, array)
    return memoryview(view)


def strides_to_record(array: np.ndarray[Any, Any], fortran: bool, layout: str) -> Optional[Tuple[int, ...]]:
    """Returns the strides (bytes) that attrs must carry, or None. Raises EncodeError for an absurd exact span."""
    if layout == "packed" or array.strides == default_strides(array.shape, array.itemsize, fortran):
        return None
    low, high = bounds(array.shape, array.strides, array.itemsize)
    # Items of no bytes (S0) are counted as one byte each.
    if high - low <= AUTO_SPAN * max(array.nbytes, array.size):
        return array.strides
    if layout == "auto":
        return None
    if high - low > EXACT_SPAN:
        raise EncodeError(
            f"layout='exact' would take {high - low} bytes to hold {array.nbytes} bytes of data; "
            "store it with layout='packed'"
        )
    return array.strides


def residue(array: np.ndarray[Any, Any]) -> int:
    """Returns how many bytes the first element lies past a multiple of its dtype's alignment."""
    address: int = array.__array_interface__["data"][0]
    return address % alignment(array.dtype)


def alignment(dtype: np.dtype[Any]) -> int:
    """Returns the alignment of a dtype in bytes, at least 1: numpy says 0 of an aligned struct without fields."""
    return dtype.alignment or 1


def checked_strides(value: Any, ndim: int) -> Optional[Tuple[int, ...]]:
    """Returns strides that attrs carry, as a tuple; None stays None. Raises DecodeError."""
    if value is None:
        return None
    if type(value) is not list or len(value) != ndim or any(
        type(s) is not int or not -(2**63) <= s < 2**63 for s in value
    ):
        raise DecodeError("strides in attrs are not one whole number an axis")
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
    """Returns an array of ``shape`` and ``dtype`` that holds ``data``, in that memory where its layout permits.

    ``packed``: strides (bytes) in which the elements lie in ``data``, which is 1-d uint8. ``strides``: those of the
    result, None for ``packed``. ``misaligned``: bytes past the dtype's alignment, None for aligned. ``max_span``:
    bytes that may be allocated. Raises DecodeError.
    """
    strides = packed if strides is None else strides
    same = 0 in shape or all(n == 1 or a == b for n, a, b in zip(shape, strides, packed))
    low, high = bounds(shape, strides, dtype.itemsize)
    if same and high - low <= data.nbytes:
        array: np.ndarray[Any, Any] = np.ndarray(shape, dtype, data, 0, strides)
        if misaligned is None and (array.flags.aligned or not data.nbytes):
            return array
        if misaligned is not None and residue(array) == misaligned % alignment(dtype):
            array.setflags(align=False)
            return array
    span = high - low
    if span > (max(EXACT_SPAN, AUTO_SPAN * data.nbytes) if max_span is None else max_span):
        raise DecodeError(f"the stored layout takes {span} bytes for {data.nbytes} bytes of data: above the limit")
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
