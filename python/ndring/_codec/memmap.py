"""Memory-mapped arrays. Touching a page that was truncated from the file kills the process with
SIGBUS, so check the file first."""
from __future__ import annotations

import mmap
from typing import Any, Optional, Tuple

import numpy as np

from .._exceptions import EncodeError
from .layout import bounds


def missing_bytes(array: np.ndarray[Any, Any]) -> int:
    """Returns how many bytes of an array lie past the end of the file that it maps; 0 for any other
    array.

    The file may still be truncated between this check and the transfer; then the transfer fails.
    """
    found = _mapping(array)
    if found is None or not array.nbytes:
        return 0
    mapping, offset = found
    try:
        size = mapping.size()
    except (OSError, ValueError):  # anonymous memory, or a mapping that is closed or has no descriptor
        return 0
    start: int = np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
    first: int = array.__array_interface__["data"][0]
    end = first - start + bounds(array.shape, array.strides, array.itemsize)[1]
    return max(0, offset + end - size)


def refuse_truncated(array: np.ndarray[Any, Any]) -> None:
    """Raises EncodeError if the file that the array maps was truncated."""
    missing = 0 if array.base is None else missing_bytes(array)
    if missing:
        raise EncodeError(
            f"the file that the array maps was truncated: {missing} bytes of the array are gone. Map the file again"
        )


def _mapping(array: Any) -> Optional[Tuple[mmap.mmap, int]]:
    """Returns what an array maps, and the mapping's offset in the file (0 if unknown)."""
    offset = 0
    while array is not None:
        if isinstance(array, mmap.mmap):
            return array, offset
        if isinstance(array, np.memmap) and type(getattr(array, "offset", None)) is int:
            offset = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return None
