"""Parts of a stored array, read without transferring the rest."""
from __future__ import annotations

from typing import Any, Coroutine, Tuple

import numpy as np

from .._core.operations import Core
from .._core.options import Key
from .._core.views import View
from .work import run


class ArrayView:
    """A stored array of which only what is asked for is transferred; see ``ndring.ArrayView``.
    Everything is awaited::

        table = client.view("table")
        await table.shape
        await table[10:20, ::2]
        await table.array()         # all of it
    """

    __slots__ = ("_view", "_key")

    def __init__(self, core: Core, key: Key) -> None:
        self._view = View(core, key)
        self._key = key

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._key!r})"

    @property
    def shape(self) -> Coroutine[Any, Any, Tuple[int, ...]]:
        return run(self._view.shape())

    @property
    def dtype(self) -> Coroutine[Any, Any, np.dtype[Any]]:
        return run(self._view.dtype())

    async def array(self, dtype: Any = None) -> np.ndarray[Any, Any]:
        """Returns all of the array's data."""
        return await run(self._view.whole(dtype))

    async def take(self, indices: Any, axis: int = 0) -> Any:
        """See ``NumPyRedis.take``."""
        return await run(self._view.take(indices, axis))

    def __getitem__(self, index: Any) -> Coroutine[Any, Any, Any]:
        return run(self._view.part(index))
