"""Parts of a stored array, read without transferring the rest."""
from __future__ import annotations

import operator
from typing import Any, List, Optional, Tuple

import numpy as np

from .._exceptions import BoundsError, DecodeError
from . import calls
from .commands import Meta
from .driver import Work
from .operations import Core
from .options import Key

_TRIES = 3


class View:
    """A stored array of which only what is asked for is transferred. Everything raises KeyError for
    a missing key."""

    __slots__ = ("_core", "_key")

    def __init__(self, core: Core, key: Key) -> None:
        self._core = core
        self._key = key

    def shape(self) -> Work[Tuple[int, ...]]:
        found: Tuple[int, ...] = self._found((yield from self._core.run(calls.shape(self._core.defaults, self._key))))
        return found

    def dtype(self) -> Work[np.dtype[Any]]:
        found: np.dtype[Any] = self._found((yield from self._core.run(calls.dtype(self._core.defaults, self._key))))
        return found

    def meta(self) -> Work[Meta]:
        found: Meta = self._found((yield from self._core.run(calls.meta(self._core.defaults, self._key))))
        return found

    def whole(self, dtype: Any) -> Work[np.ndarray[Any, Any]]:
        whole = self._found((yield from self._core.run(calls.get(self._core.defaults, self._key))))
        if isinstance(whole, np.ma.MaskedArray):
            raise DecodeError("a masked array is more than its data: get it without a view")
        if not isinstance(whole, (np.ndarray, np.generic)):
            raise DecodeError("the key holds a collection of arrays: get it without a view")
        return np.asarray(whole, dtype)

    def take(self, indices: Any, axis: int) -> Work[Any]:
        return self._found((yield from self._core.run(calls.take(self._core.defaults, self._key, indices, axis))))

    def part(self, index: Any) -> Work[Any]:
        """Returns what ``view[index]`` is."""
        items: List[Any] = list(index) if isinstance(index, tuple) else [index]
        if any(item is Ellipsis for item in items):
            return (yield from self._with_ellipsis(items))
        return (yield from self._part(items))

    def _with_ellipsis(self, items: List[Any]) -> Work[Any]:
        at = [i for i, item in enumerate(items) if item is Ellipsis]
        if len(at) > 1:
            raise IndexError("an index can only have a single ellipsis ('...')")
        for _ in range(_TRIES):
            dims = len((yield from self.shape()))
            missing = dims - len(items) + 1
            if missing < 0:
                raise IndexError(f"too many indices: the array has {dims} axes, but {len(items) - 1} were indexed")
            try:
                part = yield from self._part(items[: at[0]] + [slice(None)] * missing + items[at[0] + 1 :], dims, at[0])
            except BoundsError:
                if len((yield from self.shape())) == dims:
                    raise
                continue
            if part is not None:
                return part
        raise DecodeError(f"the array was replaced by one with another number of axes during each of {_TRIES} attempts to read it")

    def _part(self, items: List[Any], dims: Optional[int] = None, ellipsis: int = 0) -> Work[Any]:
        """Returns a part; None if ``dims`` is not the number of axes any more. ``ellipsis``: where it was."""
        last = () if dims is None else (Ellipsis,)  # with it numpy returns a 0-d array instead of a scalar
        if not items:
            return (yield from self.whole(None))[last]
        texts, dropped, lists = [], [], []
        for axis, item in enumerate(items):
            if isinstance(item, slice):
                texts.append(_slice_text(item))
            elif _is_integer(item):
                i = operator.index(item)
                texts.append(f"{i}:{i + 1 if i != -1 else ''}")
                dropped.append(axis)
            elif item is None:
                raise IndexError("an index may not have None: add the axis to the result")
            else:
                texts.append(":")
                lists.append(axis)
        if lists:
            behind = dims is not None and lists[0] >= ellipsis
            return (yield from self._taken(items, lists, dropped, lists[0] - len(items) if behind else lists[0]))
        array = self._found((yield from self._core.run(calls.part(self._key, ",".join(texts).encode()))))
        if dims is not None and array.ndim != dims:
            return None
        if array.ndim < len(items) or any(array.shape[axis] > 1 for axis in dropped):
            raise DecodeError(f"the reply has shape {array.shape}, which the index cannot give")
        for axis in dropped:
            if not array.shape[axis]:
                raise BoundsError(f"BOUNDS index out of bounds: {items[axis]} along axis {axis}")
        return array[tuple(0 if axis in dropped else slice(None) for axis in range(array.ndim)) + last]

    def _taken(self, items: List[Any], lists: List[int], dropped: List[int], axis: int) -> Work[Any]:
        """Returns the elements at the indices of one axis."""
        if len(lists) > 1 or dropped or any(isinstance(item, slice) and item != slice(None) for item in items):
            raise IndexError("an index with a list of integers may have nothing else but ':' and '...'")
        return (yield from self.take(items[lists[0]], axis))

    def _found(self, result: Any) -> Any:
        if result is None:
            raise KeyError(self._key)
        return result


def _is_integer(item: Any) -> bool:
    return isinstance(item, (int, np.integer)) and not isinstance(item, bool) or isinstance(item, np.ndarray) and item.ndim == 0 and item.dtype.kind in "iu"


def _slice_text(item: slice) -> str:
    if item.step is not None and operator.index(item.step) == 0:
        raise ValueError("slice step cannot be zero")
    return ":".join("" if n is None else "%d" % operator.index(n) for n in (item.start, item.stop, item.step))
