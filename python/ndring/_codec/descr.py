"""numpy's descr, the description of a dtype in a .npy header, to and from ``np.dtype``.

Every descr is built and parsed by hand: ``np.dtype(text)`` accepts too many spellings from
untrusted text, and numpy 1.x lets item sizes overflow to negative numbers.
"""
from __future__ import annotations

import functools
import math
import re
from typing import Any, List, Sequence, Tuple

import numpy as np

from .._exceptions import DecodeError

#: numpy keeps item sizes in a C int.
MAX_ITEMSIZE = 2**31 - 1
#: Maximum nesting of structs; bounds the recursion here and in _dtypes.
MAX_NESTING = 64
#: Maximum axes of an array in the installed numpy.
MAX_NDIM = 32 if int(np.__version__.split(".")[0]) < 2 else 64
_MAX_SUBARRAY_NDIM = 32

_SPELLING = re.compile(
    r"[<>|=]?(?:[biufc](?:[1-9][0-9]?)|(?P<sized>[SUV])(?P<size>[0-9]{1,10})"
    r"|[mM]8(?:\[(?:[1-9][0-9]{0,9})?(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as|generic)\])?)\Z"
)


@functools.lru_cache(maxsize=1024)
def dtype_from_str(text: str) -> np.dtype[Any]:
    """Returns the builtin dtype with numpy's spelling ``text``, for example ``<f8`` or ``>M8[25us]``.

    Raises DecodeError for object dtypes and for any other spelling.
    """
    match = _SPELLING.match(text)
    if match is None:
        if text.lstrip("<>|=")[:1] == "O":
            raise DecodeError("object dtypes are pickles, which ndring never reads")
        raise DecodeError(f"not a valid dtype in a .npy file: {text[:80]!r}")
    if match.group("sized"):
        check_itemsize(int(match.group("size")) * (4 if match.group("sized") == "U" else 1))
    try:
        return np.dtype(text)
    except (TypeError, ValueError, OverflowError) as exc:
        raise DecodeError(f"the installed numpy has no dtype {text[:80]!r}") from exc


def dtype_from_descr(descr: Any, depth: int = 0) -> np.dtype[Any]:
    """Returns the dtype of a descr, as ``np.lib.format.descr_to_dtype`` would. Raises DecodeError."""
    if type(descr) is str:
        return dtype_from_str(descr)
    if type(descr) is not list or depth >= MAX_NESTING:
        raise DecodeError("descr in the .npy header is neither a dtype nor a list of fields")
    names: List[str] = []
    titles: List[Any] = []
    formats: List[np.dtype[Any]] = []
    offsets: List[int] = []
    offset = 0
    for field in descr:
        if type(field) is not tuple or not 2 <= len(field) <= 3:
            raise DecodeError("a field in descr is not (name, descr) or (name, descr, shape)")
        dtype = dtype_from_descr(field[1], depth + 1)
        if len(field) == 3:
            dtype = subarray(dtype, field[2])
        name, title = field[0], None
        if type(name) is tuple and len(name) == 2:
            title, name = name
        if type(name) is not str or not (title is None or type(title) is str):
            raise DecodeError("the name of a field in descr is not a string")
        # numpy writes the gaps of a struct as unnamed void fields, and also reads unnamed subarrays
        # as gaps.
        if not (name == "" and dtype.type is np.void and dtype.names is None):
            names.append(name)
            titles.append(title)
            formats.append(dtype)
            offsets.append(offset)
        offset = check_itemsize(offset + dtype.itemsize)
    return struct(names, formats, offsets, titles, offset)


def struct(
    names: Sequence[str],
    formats: Sequence[np.dtype[Any]],
    offsets: Sequence[int],
    titles: Sequence[Any],
    itemsize: int,
    align: bool = False,
) -> np.dtype[Any]:
    """Returns a struct dtype. Sizes and offsets are in bytes. Raises DecodeError if they are invalid."""
    check_itemsize(itemsize)
    for dtype, offset in zip(formats, offsets):
        if dtype.hasobject:
            raise DecodeError("object dtypes are pickles, which ndring never reads")
        if not 0 <= offset or offset + dtype.itemsize > itemsize:
            raise DecodeError("a field extends beyond its struct")
        if align and not dtype.alignment:
            # numpy would divide by zero and crash the process.
            raise DecodeError("an aligned struct cannot hold an aligned struct without fields")
    spec = {"names": list(names), "formats": list(formats), "offsets": list(offsets), "itemsize": itemsize}
    if any(title is not None for title in titles):
        spec["titles"] = list(titles)
    try:
        made: np.dtype[Any] = np.dtype(spec, align=align)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError) as exc:
        raise DecodeError(f"these fields do not form a dtype: {exc}") from exc
    return made


def subarray(base: np.dtype[Any], shape: Any) -> np.dtype[Any]:
    """Returns the dtype of a field that is an array of ``base``. Raises DecodeError."""
    if type(shape) is int:
        shape = (shape,)
    if (
        not isinstance(shape, (tuple, list))
        or len(shape) > _MAX_SUBARRAY_NDIM
        or any(type(n) is not int or not 0 <= n <= MAX_ITEMSIZE for n in shape)
    ):
        raise DecodeError("the shape of a field is not a tuple of lengths")
    check_itemsize(base.itemsize * math.prod(shape))
    try:
        return np.dtype((base, tuple(shape)))
    except (TypeError, ValueError, OverflowError) as exc:
        raise DecodeError(f"the installed numpy has no such subarray: {exc}") from exc


def check_itemsize(size: int) -> int:
    """Returns ``size`` (bytes). Raises DecodeError if numpy cannot represent an item of that size."""
    if not 0 <= size <= MAX_ITEMSIZE:
        raise DecodeError(f"items of {size} bytes; numpy has at most {MAX_ITEMSIZE}")
    return size


def descr_of(dtype: np.dtype[Any], spelled: "Any") -> Any:
    """Returns the descr for the header: the exact one if .npy can express it, else a plain one of
    the same item size.

    ``spelled(dtype)``: the text for a dtype without fields.
    """
    names = dtype.names
    if names is None or not issubclass(dtype.type, np.void):
        return spelled(dtype)
    descr: List[Tuple[Any, ...]] = []
    end = 0
    for name in names:
        field = dtype.fields[name]  # type: ignore[index]
        inner, offset = field[0], field[1]
        if offset < end:
            return f"|V{dtype.itemsize}"
        if offset > end:
            descr.append(("", f"|V{offset - end}"))
        end = offset + inner.itemsize
        shape: Tuple[int, ...] = ()
        while inner.subdtype is not None:
            inner, outer = inner.subdtype
            shape = (*shape, *outer)
        label = (*field[2:], name) if len(field) == 3 else name
        spec = descr_of(inner, spelled)
        descr.append((label, spec, shape) if shape else (label, spec))
    if end < dtype.itemsize:
        descr.append(("", f"|V{dtype.itemsize - end}"))
    return descr
