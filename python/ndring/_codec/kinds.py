"""The classes beside ndarray that are restored: scalars, matrix, recarray, chararray, MaskedArray.

Only these. Any other subclass may have state that the client cannot restore, and is refused.
"""
from __future__ import annotations

import sys
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from . import advice as _advice

from .._exceptions import DecodeError, EncodeError
from . import masked as _masked
from .arrays import KEYS, Packed, dtype_of, pack_array, apply_flags, unpack_array
from .attrs import check_keys
from .layout import byte_view
from .npy import Header
from .registered import is_registered
from .subclasses import KIND_OF, SUBCLASSES, as_class, refuse_attributes

#: ``kind`` in attrs of several arrays in one archive, see archive.py.
COLLECTION = "archive"

_UTF32 = "utf-32-le" if sys.byteorder == "little" else "utf-32-be"


def pack(value: Any, layout: str, drop_metadata: bool) -> Packed:
    """Packs an array or scalar of any known class. Raises EncodeError."""
    cls = type(value)
    if cls is np.ndarray:
        return pack_array(value, layout, drop_metadata)
    if cls is np.ma.MaskedArray:
        return _masked.pack(value, layout, drop_metadata)
    if cls in KIND_OF or cls is np.memmap:
        if not drop_metadata:
            refuse_attributes(value, cls.__name__)
        packed = pack_array(value, layout, drop_metadata)
        if cls in KIND_OF:
            packed.py = {"kind": KIND_OF[cls], **packed.py}
        return packed
    if isinstance(value, np.generic):
        return _pack_scalar(value, drop_metadata)
    if isinstance(value, np.ndarray):
        known_base = _masked.is_known_base(getattr(value, "_baseclass", None))
        raise EncodeError(
            f"an array of class {_advice.full_name(cls)} would not come back as such; {_advice.for_subclass(value, known_base)}"
        )
    suggestion = _advice.for_array_like(value) if _advice.is_array_like(value) else _advice.for_value(value)
    raise EncodeError(f"only NumPy arrays, NumPy scalars, and dicts, tuples and lists of them can be stored, not {_advice.full_name(cls)}; {suggestion}")


def _pack_scalar(value: np.generic, drop_metadata: bool) -> Packed:
    dtype = value.dtype
    if type(value) is not dtype.type:
        raise EncodeError(
            f"a scalar of class {_advice.full_name(type(value))} would not come back as such; store np.asarray(x)"
        )
    if dtype.type is np.str_:
        # Not str(value), which would drop trailing NULs.
        raw = value.encode(_UTF32, "surrogatepass")  # type: ignore[attr-defined]
        try:
            raw.decode(_UTF32, "surrogatepass")
        except UnicodeDecodeError as exc:
            raise EncodeError(f"the text has a character beyond U+10FFFF ({exc}); store np.asarray(x)") from exc
    elif dtype.type is np.bytes_ or issubclass(dtype.type, np.void) or is_registered(dtype):
        raw = value.tobytes()
    else:
        raw = bytes(memoryview(value))  # type: ignore[arg-type]  # The padding of a longdouble too.
    memory = np.frombuffer(raw, np.uint8) if raw else np.empty(0, np.uint8)
    # numpy makes arrays of empty text one character wide unless it is given their memory.
    packed = pack_array(np.ndarray((), dtype, memory), "packed", drop_metadata)
    packed.py = {"kind": "scalar", **{key: node for key, node in packed.py.items() if key == "dtype"}}
    return packed


def unpack(
    header: Header, data: np.ndarray[Any, Any], py: Dict[str, Any], parts: Mapping[str, Any], max_span: Optional[int]
) -> Any:
    """Returns the value that ``pack`` packed. ``data``: writable 1-d uint8 of ``header.nbytes``
    bytes. Raises DecodeError."""
    kind = _kind(py)
    if kind == "masked":
        return _masked.unpack(header, data, py, parts, max_span)
    array = unpack_array(header, data, py, parts, max_span)
    if kind == "scalar":
        return _scalar(array)
    if kind is not None:
        array = as_class(array, SUBCLASSES[kind])
    return apply_flags(array, py)


def _kind(py: Mapping[str, Any]) -> Optional[str]:
    kind = py.get("kind")
    if kind is None and "kind" not in py:
        check_keys(py, "py", KEYS)
    elif kind == "masked":
        check_keys(py, "py", {**KEYS, **_masked.KEYS, "kind": str})
    elif type(kind) is str and kind in SUBCLASSES:
        check_keys(py, "py", {**KEYS, "kind": str})
    elif kind == "scalar":
        check_keys(py, "py", {"kind": str, "dtype": object})
    else:
        raise DecodeError(f"kind {str(kind)[:40]!r} in attrs is unknown: it was stored by a newer ndring")
    return kind


def _scalar(array: np.ndarray[Any, Any]) -> Any:
    if array.shape != ():
        raise DecodeError(f"a scalar with shape {array.shape}")
    if array.dtype.hasobject:
        raise DecodeError("a scalar of StringDType")
    if array.dtype.type is np.str_:
        order = "utf-32-be" if array.dtype.str[0] == ">" else "utf-32-le"
        return np.str_(bytes(byte_view(array)).decode(order, "surrogatepass") if array.nbytes else "")
    if array.dtype.type is np.bytes_:
        return np.bytes_(bytes(byte_view(array)) if array.nbytes else b"")
    return array[()]


def outline(header: Header, py: Dict[str, Any]) -> Tuple[Optional[Any], np.dtype[Any], Any]:
    """Returns class, dtype and recorded strides of a stored value. The class is None if the value
    has more than data, or is a collection, whose dtype is that of its archive."""
    if py.get("kind") == COLLECTION:
        check_keys(py, "py", {"kind": str})
        return None, header.dtype, None
    kind = _kind(py)
    cls = np.ndarray if kind is None else SUBCLASSES.get(kind)
    if "string" in py:
        cls = None
    return cls, dtype_of(header, py), py.get("strides")
