"""Parts of a stored array, read without transferring the rest."""
from __future__ import annotations

from typing import Any, Optional, Tuple

import numpy as np

from ._core.operations import Core
from ._core.options import Key
from ._core.views import View
from ._sync.driver import run


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

    __slots__ = ("_view", "_key")

    def __init__(self, core: Core, key: Key) -> None:
        self._view = View(core, key)
        self._key = key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._key!r})"

    @property
    def shape(self) -> Tuple[int, ...]:
        return run(self._view.shape())

    @property
    def dtype(self) -> np.dtype[Any]:
        return run(self._view.dtype())

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return run(self._view.meta()).size

    @property
    def nbytes(self) -> int:
        return run(self._view.meta()).nbytes

    def __len__(self) -> int:
        shape = self.shape
        if not shape:
            raise TypeError("len() of unsized object")
        return shape[0]

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("the array must be transferred: it cannot be had without a copy")
        return run(self._view.whole(dtype))

    def take(self, indices: Any, axis: int = 0) -> Any:
        """See ``NumPyRedis.take``."""
        return run(self._view.take(indices, axis))

    def __getitem__(self, index: Any) -> Any:
        return run(self._view.part(index))
