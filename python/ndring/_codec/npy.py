"""Headers of .npy files: written byte for byte as numpy does, read without evaluating anything.

::

    \\x93NUMPY | major minor | length: <H (1.0) or <I (2.0, 3.0) | literal, padded with spaces to 64 bytes, newline | data

Version 1.0 up to 65,535 bytes of latin-1, 2.0 above, 3.0 (UTF-8) if the text is not latin-1.
"""
from __future__ import annotations

import functools
from typing import Any, Optional, Tuple, Union

import numpy as np

from .._exceptions import DecodeError, EncodeError
from .descr import MAX_NDIM, dtype_from_descr
from .layout import default_strides
from .literal import LiteralError, parse_literal

MAGIC = b"\x93NUMPY"
#: Maximum bytes of a header, including the magic. The server has the same limit.
MAX_HEADER = 1 << 20
#: numpy pads the header so that the growing axis may reach this many digits when a file is appended
#: to in place.
_GROWTH_DIGITS = 21
_ALIGN = 64
#: Longer headers are parsed again each time, to keep the cache within about 4 MiB.
_CACHED_HEADER = 4096
_INTP_MAX = 2**63 - 1


class Header:
    """A parsed header. Immutable; shared between threads and calls.

    ``shape``: lengths of the axes. ``fortran``: whether the data is in F order. ``data_offset``:
    bytes before the data. ``nbytes``: bytes of data. ``strides``: in bytes, of a new array with
    that shape and order. ``descr``: numpy's descr, a string or a list of fields.
    """

    __slots__ = ("descr", "shape", "fortran", "data_offset", "nbytes", "itemsize", "strides", "_dtype")

    def __init__(self, descr: Any, shape: Tuple[int, ...], fortran: bool, data_offset: int) -> None:
        dtype = dtype_from_descr(descr)
        if len(shape) > MAX_NDIM:
            raise DecodeError(f"{len(shape)} dimensions; the installed numpy has at most {MAX_NDIM}")
        # numpy ignores zero-length axes when it checks for overflow, so this does too.
        count, nonzero = 1, max(dtype.itemsize, 1)
        for length in shape:
            count *= length
            nonzero *= length or 1
        if nonzero > _INTP_MAX:
            raise DecodeError(f"shape {shape} of {dtype.itemsize}-byte items overflows")
        self.descr = descr
        self.shape = shape
        self.fortran = fortran
        self.data_offset = data_offset
        self.itemsize = dtype.itemsize
        self.nbytes = count * dtype.itemsize
        self.strides = default_strides(shape, dtype.itemsize, fortran)
        # `a.dtype.names = ...` changes a struct dtype in place, so each array gets a new one.
        self._dtype: Optional[np.dtype[Any]] = dtype if dtype.names is None else None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype; a new object per call if it is a struct."""
        return self._dtype if self._dtype is not None else dtype_from_descr(self.descr)

    def __repr__(self) -> str:
        order = "F" if self.fortran else "C"
        return f"Header(dtype={self.dtype!r}, shape={self.shape}, order={order!r}, data_offset={self.data_offset})"


def build_header(descr: Any, fortran: bool, shape: Tuple[int, ...]) -> bytes:
    """Returns magic and header, a multiple of 64 bytes in length. Raises EncodeError above 1 MiB.

    ``descr`` is numpy's: a string such as ``"<f8"``, or a list of ``(name, descr[, shape])``.
    """
    text = f"{{'descr': {descr!r}, 'fortran_order': {fortran!r}, 'shape': {shape!r}, }}"
    if shape:
        text += " " * (_GROWTH_DIGITS - len(repr(shape[-1 if fortran else 0])))
    try:
        raw, version, prefix = text.encode("latin1"), 1, 10
    except UnicodeEncodeError:
        # UTF-8 always works, because repr() escapes lone surrogates.
        raw, version, prefix = text.encode("utf8"), 3, 12
    total = _padded(prefix + len(raw) + 1)
    if version == 1 and total - prefix > 0xFFFF:
        version, prefix = 2, 12
        total = _padded(prefix + len(raw) + 1)
    if total > MAX_HEADER:
        raise EncodeError(f"the dtype needs a header of {total} bytes; the limit is {MAX_HEADER}")
    length = (total - prefix).to_bytes(prefix - 8, "little")
    return MAGIC + bytes((version, 0)) + length + raw + b" " * (total - prefix - len(raw) - 1) + b"\n"


def _padded(size: int) -> int:
    return size + (-size) % _ALIGN


def parse_header(prefix: Union[bytes, bytearray, memoryview]) -> Optional[Header]:
    """Returns the header at the start of ``prefix``, or None if it needs more bytes.

    Raises DecodeError if it is not the header of a .npy file, has an object dtype, or does not fit
    the installed numpy.
    """
    size = len(prefix)
    if size < 12:
        if bytes(prefix[:6]) != MAGIC[:size]:
            raise DecodeError("not a .npy file: wrong magic")
        if size < 10:
            return None
    major = prefix[6]
    if major == 1:
        end = 10 + prefix[8] + (prefix[9] << 8)
    elif size < 12:
        return None
    else:
        end = 12 + int.from_bytes(prefix[8:12], "little")
    if size < end or end > MAX_HEADER:
        _check_preamble(bytes(prefix[:8]))
        if end > MAX_HEADER:
            raise DecodeError(f"a header of {end} bytes; the limit is {MAX_HEADER}")
        return None
    raw = bytes(prefix[:end])
    return _parse(raw) if end <= _CACHED_HEADER else _parse.__wrapped__(raw)


def _check_preamble(raw: bytes) -> None:
    if raw[:6] != MAGIC:
        raise DecodeError("not a .npy file: wrong magic")
    if raw[7] != 0 or not 1 <= raw[6] <= 3:
        raise DecodeError(f".npy version {raw[6]}.{raw[7]} is unknown")


@functools.lru_cache(maxsize=1024)
def _parse(raw: bytes) -> Header:
    _check_preamble(raw)
    try:
        text = raw[10:].decode("latin1") if raw[6] == 1 else raw[12:].decode("utf8" if raw[6] == 3 else "latin1")
        fields = parse_literal(text)
    except (LiteralError, UnicodeDecodeError) as exc:
        raise DecodeError(f"the .npy header cannot be read: {exc}") from exc
    if type(fields) is not dict or fields.keys() != {"descr", "fortran_order", "shape"}:
        raise DecodeError("the .npy header is not a dict of exactly descr, fortran_order and shape")
    shape, fortran = fields["shape"], fields["fortran_order"]
    if type(fortran) is not bool:
        raise DecodeError("fortran_order in the .npy header is not True or False")
    if type(shape) is not tuple or any(type(n) is not int or not 0 <= n <= _INTP_MAX for n in shape):
        raise DecodeError("shape in the .npy header is not a tuple of lengths")
    return Header(fields["descr"], shape, fortran, len(raw))
