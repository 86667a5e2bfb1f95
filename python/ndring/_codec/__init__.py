"""Encodes arrays as bytes and decodes them again: what comes back is exactly what was stored.

A plain array (exactly ndarray, contiguous, writable, aligned, with a dtype that .npy can express)
is sent and received as a header and the array's own memory, without a copy. What .npy cannot
express goes into ``attrs`` and ``parts``; see docs/attrs.md. A dict, tuple or list of arrays is
sent as an archive, whose long buffers are the arrays' own memory too, and received as one buffer,
of which its arrays are views; see archive.py.
"""
from __future__ import annotations

import functools
from typing import Any, Mapping, Optional, Tuple

import numpy as np

from . import archive as _archive

from . import attrs as _attrs

from . import convert as _convert

from .._exception_origin import is_decode_error
from .._exceptions import DecodeError
from . import kinds as _kinds
from .descr import dtype_from_str
from .layout import LAYOUTS, byte_view, checked_strides, default_strides
from .memmap import missing_bytes, refuse_truncated
from .npy import Header, build_header, parse_header

__all__ = ["Encoded", "Header", "check_out", "decode", "encode", "parse_header"]

_ndarray: Any = np.ndarray
_BYTE = np.dtype(np.uint8)
_METADATA = ("error", "drop")


class Encoded:
    """An encoded value: ``header`` followed by ``data`` and ``more`` is a complete .npy file.

    ``header``: bytes, a multiple of 64. ``data``: 1-d memoryview of bytes, often of the array's own
    memory, so the array must not change until it is sent. ``attrs``: JSON, or empty. ``parts``:
    pairs of name and memoryview of bytes. ``keep``: the object that owns the memory of the views.
    ``more``: the data of a collection after ``data``, as ``data``; empty for an array.
    """

    __slots__ = ("header", "data", "attrs", "parts", "keep", "more")

    def __init__(
        self,
        header: bytes,
        data: memoryview,
        attrs: bytes,
        parts: Tuple[Tuple[bytes, memoryview], ...],
        keep: object,
        more: Tuple[memoryview, ...] = (),
    ) -> None:
        self.header = header
        self.data = data
        self.attrs = attrs
        self.parts = parts
        self.keep = keep
        self.more = more


def encode(value: Any, *, layout: str = "auto", metadata: str = "error", convert: bool = False) -> Encoded:
    """Encodes a NumPy array or scalar, or a collection: a dict, tuple or list of such values.

    ``layout``: ``"auto"`` records unusual strides unless they span more than 8 times the data,
    ``"exact"`` always records them, ``"packed"`` never. ``metadata``: ``"error"`` raises for a
    ``dtype.metadata`` that is not plain JSON, ``"drop"`` omits all metadata. ``convert``: True takes
    the arrays of other packages too, by DLPack or ``__array__``, as new plain arrays. Raises
    EncodeError for a value that would not come back unchanged, ValueError for another ``layout`` or
    ``metadata``.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {LAYOUTS}, not {layout!r}")
    if metadata not in _METADATA:
        raise ValueError(f"metadata must be one of {_METADATA}, not {metadata!r}")
    if type(value) is _ndarray:
        dtype = value.dtype
        char = dtype.char
        if char != "V" and dtype.names is None and dtype.metadata is None:
            plain = _plain_header(char, dtype.str, value.shape, value.strides)
            if plain is not None and value.flags.behaved:
                header, fortran = plain
                refuse_truncated(value)
                source = value.T if fortran else value
                return Encoded(header, memoryview(_ndarray((value.nbytes,), _BYTE, source)), b"", (), value)
    elif isinstance(value, _archive.CLASSES):
        one = functools.partial(encode, layout=layout, metadata=metadata, convert=convert)
        header, buffers, keep = _archive.pack(value, one)
        return Encoded(header, buffers[0], _attrs.dump({"kind": _kinds.COLLECTION}, value), (), keep, tuple(buffers[1:]))
    converted = convert and _convert.is_convertible(value)
    packed = _kinds.pack(_convert.to_array(value) if converted else value, layout, metadata == "drop")
    if converted:
        packed.py.pop("readonly", None)  # of the view that DLPack gives, not of the value
    header = build_header(packed.descr, packed.fortran, packed.shape)
    return Encoded(header, packed.data, _attrs.dump(packed.py, value), tuple(packed.parts), packed.keep)


@functools.lru_cache(maxsize=1024)
def _plain_header(
    char: str, text: str, shape: Tuple[int, ...], strides: Tuple[int, ...]
) -> Optional[Tuple[bytes, bool]]:
    """Returns the header and whether the data is in F order, or None if the array needs more than a
    header."""
    try:
        dtype = dtype_from_str(text)
    except DecodeError:
        return None
    # Compare the type characters, because dtypes that differ in them compare equal: 'l' and 'q',
    # 'S1' and 'c'.
    if dtype.char != char or dtype.itemsize == 0:
        return None
    if strides == default_strides(shape, dtype.itemsize, False):
        return build_header(text, False, shape), False
    if strides == default_strides(shape, dtype.itemsize, True):
        return build_header(text, True, shape), True
    return None


def decode(
    header: Header,
    data: np.ndarray[Any, Any],
    attrs: Optional[bytes],
    parts: Optional[Mapping[str, Any]] = None,
    *,
    max_bytes: Optional[int] = None,
) -> Any:
    """Returns the stored value.

    ``data``: 1-d uint8 of ``header.nbytes`` bytes, writable and not used elsewhere, because a plain
    array, and each array of a collection, becomes a view of this memory. So do writable ``parts``; read-only ones are copied.
    ``max_bytes``: limit on memory allocated beside ``data`` to restore a layout; by default 512
    MiB, or 8 times the data if that is more. Raises DecodeError, and nothing else, for any invalid
    input.
    """
    if not attrs:
        dtype = header._dtype
        if dtype is not None and type(data) is _ndarray and data.nbytes == header.nbytes:
            try:
                array = _ndarray(header.shape, dtype, data, 0, header.strides)
            except (TypeError, ValueError) as exc:
                raise DecodeError(f"the data does not match its header: {exc}") from exc
            if array.flags.behaved:
                return array
    try:
        py, raw = _attrs.load(attrs), _writable_bytes(data, header.nbytes)
        if py.get("kind") == _kinds.COLLECTION:
            return _archive.unpack(header, raw, py, max_bytes)
        return _kinds.unpack(header, raw, py, parts or {}, max_bytes)
    except DecodeError:
        raise
    except Exception as exc:  # numpy may raise anything for attrs that are well-formed but make no sense
        if not is_decode_error(exc):
            raise
        raise DecodeError(f"the stored value cannot be restored: {type(exc).__name__}: {exc}") from exc


def decode_piece(header: Header, data: np.ndarray[Any, Any], attrs: Optional[bytes]) -> np.ndarray[Any, Any]:
    """Returns a part of a stored array as an ndarray with the array's dtype. ``header``, ``data``:
    of the part, as for ``decode``. ``attrs``: of the array. Raises DecodeError."""
    try:
        kind, dtype, _ = _kinds.outline(header, _attrs.load(attrs))
        if kind is None:
            raise DecodeError("parts of a masked array, of StringDType or of a collection cannot be read: get the whole value")
        return _ndarray(header.shape, dtype, _writable_bytes(data, header.nbytes), 0, header.strides)
    except DecodeError:
        raise
    except Exception as exc:  # as in decode
        if not is_decode_error(exc):
            raise
        raise DecodeError(f"the stored value cannot be restored: {type(exc).__name__}: {exc}") from exc


def _writable_bytes(data: Any, nbytes: int) -> np.ndarray[Any, Any]:
    """Returns ``data`` as writable 1-d uint8 of ``nbytes`` bytes; copies it if it is read-only."""
    array: np.ndarray[Any, Any] = data if isinstance(data, _ndarray) else np.frombuffer(data, _BYTE) if len(data) else np.empty(0, _BYTE)
    if array.dtype != _BYTE or array.ndim != 1 or not array.flags.c_contiguous:
        raise DecodeError("data is not 1-d uint8")
    if array.nbytes != nbytes:
        raise DecodeError(f"{array.nbytes} bytes of data, but the header says {nbytes}")
    return array if array.flags.writeable else array.copy()


def check_out(
    out: Any, header: Header, attrs: Optional[bytes], part_sizes: Optional[Mapping[str, int]] = None
) -> memoryview:
    """Returns the writable bytes of ``out``, ready to receive the stored data.

    ``out`` must be an ndarray of the stored class, dtype (compared with ``==``) and shape,
    contiguous in the stored order, and with the recorded strides if there are any (axes of length 1
    aside). It stays writable even if the stored array was read-only. ``part_sizes`` is reserved: no
    value that has parts today can be received into ``out``. Raises DecodeError on a mismatch,
    before anything is written.
    """
    try:
        kind, dtype, strides = _kinds.outline(header, _attrs.load(attrs))
    except DecodeError:
        raise
    except Exception as exc:  # as in decode; also packages that fail to load
        if not is_decode_error(exc):
            raise
        raise DecodeError(f"the stored value cannot be restored: {type(exc).__name__}: {exc}") from exc
    if not isinstance(out, _ndarray):
        raise DecodeError(f"out is {type(out).__name__}, not an ndarray")
    if kind is None:
        raise DecodeError("the stored value is not a plain array (it is a scalar, a masked array, StringDType or a collection): get it without out=")
    if type(out) is not kind and not (type(out) is np.memmap and kind is _ndarray):
        raise DecodeError(f"out is {type(out).__name__}, but the stored array is {kind.__name__}")
    base = _ndarray.view(out, _ndarray)
    if base.dtype != dtype:
        raise DecodeError(f"out is of dtype {base.dtype!r}, but the stored array is of {dtype!r}")
    if base.shape != header.shape:
        raise DecodeError(f"out is of shape {base.shape}, but the stored array is of {header.shape}")
    if not out.flags.writeable:
        raise DecodeError("out is read-only")
    missing = missing_bytes(base)
    if missing:
        raise DecodeError(f"out maps a file that was truncated: {missing} bytes of it are gone")
    if not (base.flags.f_contiguous if header.fortran else base.flags.c_contiguous):
        raise DecodeError(f"out is not contiguous in the stored order, {'F' if header.fortran else 'C'}")
    wanted = checked_strides(strides, base.ndim)
    if wanted is not None and any(n > 1 and a != b for n, a, b in zip(base.shape, wanted, base.strides)) and base.size:
        raise DecodeError(f"out has strides {base.strides}, but the stored array has {wanted}: get it without out=")
    return byte_view(base.T if header.fortran else base) if base.nbytes else memoryview(bytearray())
