"""Parts of a stored array, read without transferring the rest."""
from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

import numpy as np

from ._core import calls as _calls
from ._exceptions import BoundsError, DecodeError
from ._core.options import Key

if TYPE_CHECKING:
    from ._client import NumPyRedis

_TRIES = 3


class ArrayView:
    """A stored array of which only what is asked for is transferred. Created by
    ``NumPyRedis.view()``. ::

        table = client.view("table")
        table.shape              # asks for the metadata only
        table[10:20, ::2]        # transfers these elements
        table[-1], table[..., 0]
        table[[3, 1, 7]]         # rows by index, at most 65,536
        table[:, ids]
        np.asarray(table)        # transfers all

    Every access asks the node, so another client may replace the array in between. Each result is a
    new ndarray, or a scalar where numpy returns one; classes (matrix, recarray) and flags of
    the stored array are not restored. An index may have integers, slices, ``...``, and for one axis a
    list or array of integers.

    Raises KeyError for a missing key, BoundsError, which is an IndexError, DecodeError for a collection,
    a masked array and a part of StringDType, and what ``NumPyRedis.get`` raises.
    """

    __slots__ = ("_client", "_key")

    def __init__(self, client: "NumPyRedis", key: Key) -> None:
        self._client = client
        self._key = key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._key!r})"

    @property
    def shape(self) -> Tuple[int, ...]:
        return self._found(self._client.shape(self._key))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._found(self._client.dtype(self._key))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(self._found(self._client.meta(self._key)).size)

    @property
    def nbytes(self) -> int:
        return int(self._found(self._client.meta(self._key)).nbytes)

    def __len__(self) -> int:
        shape = self.shape
        if not shape:
            raise TypeError("len() of unsized object")
        return shape[0]

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("the array must be transferred: it cannot be had without a copy")
        whole = self._found(self._client.get(self._key))
        if isinstance(whole, np.ma.MaskedArray):
            raise DecodeError("a masked array is more than its data: get it without a view")
        if not isinstance(whole, (np.ndarray, np.generic)):
            raise DecodeError("the key holds a collection of arrays: get it without a view")
        return np.asarray(whole, dtype)

    def take(self, indices: Any, axis: int = 0) -> Any:
        """See ``NumPyRedis.take``."""
        return self._found(self._client.take(self._key, indices, axis))

    def __getitem__(self, index: Any) -> Any:
        items: List[Any] = list(index) if isinstance(index, tuple) else [index]
        if any(item is Ellipsis for item in items):
            return self._with_ellipsis(items)
        return self._part(items)

    def _with_ellipsis(self, items: List[Any]) -> Any:
        at = [i for i, item in enumerate(items) if item is Ellipsis]
        if len(at) > 1:
            raise IndexError("an index can only have a single ellipsis ('...')")
        for _ in range(_TRIES):
            dims = self.ndim
            missing = dims - len(items) + 1
            if missing < 0:
                raise IndexError(f"too many indices: the array has {dims} axes, but {len(items) - 1} were indexed")
            try:
                part = self._part(items[: at[0]] + [slice(None)] * missing + items[at[0] + 1 :], dims, at[0])
            except BoundsError:
                if self.ndim == dims:
                    raise
                continue
            if part is not None:
                return part
        raise DecodeError(f"the array was replaced by one with another number of axes during each of {_TRIES} attempts to read it")

    def _part(self, items: List[Any], dims: Optional[int] = None, ellipsis: int = 0) -> Any:
        """Returns a part; None if ``dims`` is not the number of axes any more. ``ellipsis``: where it was."""
        last = () if dims is None else (Ellipsis,)  # with it numpy returns a 0-d array instead of a scalar
        if not items:
            return np.asarray(self)[last]
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
            return self._taken(items, lists, dropped, lists[0] - len(items) if behind else lists[0])
        array = self._found(self._client._run(_calls.part(self._key, ",".join(texts).encode())))
        if dims is not None and array.ndim != dims:
            return None
        if array.ndim < len(items) or any(array.shape[axis] > 1 for axis in dropped):
            raise DecodeError(f"the reply has shape {array.shape}, which the index cannot give")
        for axis in dropped:
            if not array.shape[axis]:
                raise BoundsError(f"BOUNDS index out of bounds: {items[axis]} along axis {axis}")
        return array[tuple(0 if axis in dropped else slice(None) for axis in range(array.ndim)) + last]

    def _taken(self, items: List[Any], lists: List[int], dropped: List[int], axis: int) -> Any:
        """Returns the elements at the indices of one axis."""
        if len(lists) > 1 or dropped or any(isinstance(item, slice) and item != slice(None) for item in items):
            raise IndexError("an index with a list of integers may have nothing else but ':' and '...'")
        return self.take(items[lists[0]], axis)

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
