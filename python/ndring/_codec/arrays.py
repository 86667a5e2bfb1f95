"""One ndarray with its dtype, layout and flags, to bytes and attrs and back."""
from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from . import advice as _advice

from . import dtypes as _dtypes

from . import layout as _layout

from .._exceptions import DecodeError, EncodeError
from . import strings as _strings
from .attrs import flag, optional
from .memmap import refuse_truncated
from .npy import Header

#: The keys that any array may have in ``py``, and their types.
KEYS: Dict[str, Any] = {"dtype": object, "string": dict, "strides": list, "misaligned": int, "readonly": bool}


class Packed:
    """An encoded array: ``descr``, ``fortran`` and ``shape`` for the header, ``data``, and the
    contents of attrs and parts."""

    __slots__ = ("descr", "fortran", "shape", "data", "py", "parts", "keep")

    def __init__(
        self,
        descr: Any,
        fortran: bool,
        shape: Tuple[int, ...],
        data: memoryview,
        py: Dict[str, Any],
        parts: List[Tuple[bytes, memoryview]],
        keep: object,
    ) -> None:
        self.descr = descr
        self.fortran = fortran
        self.shape = shape
        self.data = data
        self.py = py
        self.parts = parts
        self.keep = keep


def pack_array(value: np.ndarray[Any, Any], layout: str, drop_metadata: bool) -> Packed:
    """Packs an array of any class as a plain ndarray. Raises EncodeError."""
    refuse_truncated(value)
    base = np.ndarray.view(value, np.ndarray)
    py: Dict[str, Any] = {}
    parts: List[Tuple[bytes, memoryview]] = []
    descr: Any
    if _strings.is_string(base.dtype):
        descr = _strings.END.str
        py["string"] = _strings.describe(base.dtype)
        fortran, data, parts = _strings.pack(base)
    else:
        try:
            descr, node = _dtypes.header_descr(base.dtype, drop_metadata)
        except _dtypes.UnsupportedDtype as exc:
            raise EncodeError(f"{exc}; {_advice.for_dtype(value)}") from exc
        if node is not None:
            py["dtype"] = node
        fortran, data = _layout.pack(base)
    strides = _layout.strides_to_record(base, fortran, layout)
    if strides is not None:
        py["strides"] = list(strides)
    if not value.flags.aligned:
        py["misaligned"] = _layout.misalignment(base)
    if not is_writeable(value):
        py["readonly"] = True
    return Packed(descr, fortran, base.shape, data, py, parts, value)


def is_writeable(array: np.ndarray[Any, Any]) -> bool:
    """Returns ``array.flags.writeable`` without the warning that numpy issues for results of
    ``np.broadcast_arrays``."""
    try:
        return not array.__array_interface__["data"][1] or array.flags.writeable
    except FutureWarning:  # raised if the caller turns warnings into errors; such an array is writable
        return True


def unpack_array(
    header: Header, data: np.ndarray[Any, Any], py: Mapping[str, Any], parts: Mapping[str, Any], max_span: Optional[int]
) -> np.ndarray[Any, Any]:
    """Returns the array that ``pack_array`` packed, still writable: see ``apply_flags``. Raises
    DecodeError.

    ``data``: 1-d uint8 of ``header.nbytes`` bytes. ``py``: only its keys and their types have been
    checked.
    """
    dtype = dtype_of(header, py)
    if "string" in py:
        return _strings.unpack(header.shape, header.fortran, dtype, data, parts, optional(py, "strides"), max_span)
    misaligned = optional(py, "misaligned")
    if misaligned is not None and misaligned < 0:
        raise DecodeError("'misaligned' in attrs is negative")
    return _layout.lay_out(
        header.shape,
        dtype,
        header.strides,
        data,
        _layout.checked_strides(optional(py, "strides"), len(header.shape)),
        misaligned,
        max_span,
    )


def dtype_of(header: Header, py: Mapping[str, Any]) -> np.dtype[Any]:
    """Returns the dtype of the array, either new or immutable. Raises DecodeError if attrs and
    header disagree."""
    if "string" in py:
        if "dtype" in py or header.descr != _strings.END.str:
            raise DecodeError("attrs say StringDType, but the header does not hold the ends of texts (<u8)")
        return _strings.restore(py["string"])
    if "dtype" not in py:
        return header.dtype
    dtype = _dtypes.restore(py["dtype"])
    if dtype.itemsize != header.itemsize or dtype.hasobject or dtype.subdtype is not None:
        raise DecodeError(f"attrs say dtype {dtype!r}, which does not match the header's items of {header.itemsize} bytes")
    return dtype


def apply_flags(array: np.ndarray[Any, Any], py: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Sets the flags that attrs record and returns ``array``. Must come last, because views
    recompute the flags."""
    if "misaligned" in py:
        array.setflags(align=False)
    if flag(py, "readonly"):
        array.setflags(write=False)
    return array
