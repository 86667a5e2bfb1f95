"""A digest of a function's arguments that is the same in every process, on every version of Python
and NumPy. Pure."""
from __future__ import annotations

import datetime
import enum
import hashlib
from typing import Any, Callable, Dict, Type

import numpy as np

from .. import _codec
from .._codec.advice import full_name
from .._codec.layout import byte_view
from .._codec.subclasses import KIND_OF

_MAX_DEPTH = 32


def digest(value: Any) -> str:
    """Returns 40 hexadecimal digits. Arrays count by dtype, shape and elements, not by layout or
    flags. Raises TypeError for a value that has no stable digest."""
    return _digest(value, 0)


def _digest(value: Any, depth: int) -> str:
    h = hashlib.blake2b(digest_size=20)
    _feed(h.update, value, depth)
    return h.hexdigest()


def _feed(update: Callable[[Any], Any], value: Any, depth: int) -> None:
    # Every value begins with its kind and its length, so that no two sequences of values give the
    # same bytes.
    kind = type(value)
    if isinstance(value, (np.ndarray, np.generic)):
        _feed_array(update, value)
        return
    if isinstance(value, enum.Enum):
        # Combinations of flags have no name, or not in each version of Python.
        _text(update, b"enum", f"{full_name(kind)}.{value.value if isinstance(value, enum.Flag) else value.name}")
        return
    simple = _SIMPLE.get(kind)
    if simple is not None:
        _text(update, kind.__name__.encode(), simple(value))
        return
    if kind in (bytes, bytearray):
        raw = bytes(value)
        update(b"bytes:%d:" % len(raw))
        update(raw)
        return
    if depth == _MAX_DEPTH:
        raise TypeError("arguments nested too deeply for a stable digest")
    if kind in (list, tuple):
        update(b"%s:%d:" % (kind.__name__.encode(), len(value)))
        for item in value:
            _feed(update, item, depth + 1)
    elif kind in (set, frozenset):
        update(b"set:%d:" % len(value))
        for text in sorted(_digest(item, depth + 1) for item in value):
            update(text.encode())
    elif kind is dict:
        update(b"dict:%d:" % len(value))
        for text, key in sorted((_digest(key, depth + 1), key) for key in value):
            update(text.encode())
            _feed(update, value[key], depth + 1)
    elif isinstance(value, np.dtype):
        _feed_dtype(update, value)
    else:
        raise _no_digest(kind)


def _no_digest(kind: Type[Any]) -> TypeError:
    return TypeError(
        f"an argument of class {full_name(kind)} has no stable digest: pass arrays and plain values (numbers, text, bytes, dates, "
        "and lists, tuples, sets and dicts of them), or name the parameter in ignore="
    )


def _text(update: Callable[[Any], Any], kind: bytes, text: str) -> None:
    raw = text.encode("utf8", "surrogatepass")
    update(b"%s:%d:" % (kind, len(raw)))
    update(raw)


_SIMPLE: Dict[Type[Any], Callable[[Any], str]] = {
    type(None): lambda value: "", bool: str, int: hex, float: float.hex, complex: lambda value: value.real.hex() + value.imag.hex(), str: str,
    datetime.date: datetime.date.isoformat, datetime.datetime: lambda value: _time_text(value), datetime.time: lambda value: _time_text(value),
    datetime.timedelta: lambda value: f"{value.days} {value.seconds} {value.microseconds}",
}  # fmt: skip


def _time_text(value: Any) -> str:
    # Two zones may have the same offset at this time, or none for a time without a date.
    return str(value.isoformat()) if value.tzinfo is None else f"{value.isoformat()} {value.tzinfo}"


def _feed_dtype(update: Callable[[Any], Any], dtype: np.dtype[Any]) -> None:
    if dtype.hasobject and dtype.kind != "T":
        raise TypeError(f"an array of Python objects ({dtype}) has no stable digest")
    empty = _codec.encode(np.empty(0, dtype), metadata="drop")
    described = empty.header.rstrip(b" \n") + b"|" + empty.attrs
    update(b"dtype:%d:" % len(described))
    update(described)


def _feed_array(update: Callable[[Any], Any], value: Any) -> None:
    kind = type(value)
    masked = kind is np.ma.MaskedArray
    if kind in KIND_OF:  # a matrix, whose operators mean something else
        update(KIND_OF[kind].encode() + b":")
    elif masked:
        update(b"masked:")
    elif kind in (np.ndarray, np.memmap):
        update(b"array:")
    elif isinstance(value, np.generic) and kind is value.dtype.type:
        update(b"scalar:")
    else:
        raise _no_digest(kind)
    _feed_dtype(update, value.dtype)
    update(b"%d:" % value.ndim + b",".join(b"%d" % n for n in value.shape) + b";")
    if masked:
        _feed_elements(update, np.ma.getmaskarray(value))
        value = np.ma.filled(value)
    _feed_elements(update, np.asarray(value).view(np.ndarray))


def _feed_elements(update: Callable[[Any], Any], array: np.ndarray[Any, Any]) -> None:
    """Feeds the elements in C order, without what lies between them."""
    dtype = array.dtype
    if dtype.names is not None:
        for name in dtype.names:  # there may be padding, of which the content is undefined
            _feed_elements(update, array[name])
    elif dtype.kind == "T":  # StringDType, whose elements lie elsewhere
        for item in array.ravel().tolist():
            _text(update, b"missing" if not isinstance(item, str) else b"str", str(item))
    elif dtype.char == "G":
        _feed_elements(update, array.real)
        _feed_elements(update, array.imag)
    elif dtype.char == "g" and dtype.itemsize > 8:  # with padding, and in another format on another machine
        mantissa, exponent = np.frexp(array)
        high = mantissa.astype("<f8")
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            low = (mantissa - high).astype("<f8")
        for part in (high, low, exponent.astype("<i4")):
            _feed_elements(update, np.asarray(part))
    else:
        array = np.ascontiguousarray(array)
        update(b"%d:" % array.nbytes)
        if array.nbytes:
            update(byte_view(array))
