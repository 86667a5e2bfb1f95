"""Arrays over memory-mapped files. To touch a page that the file no longer has ends the process with SIGBUS, so it is asked first."""
from __future__ import annotations

import mmap
from typing import Any, Optional, Tuple

import numpy as np

from ._exceptions import EncodeError
from ._layout import bounds


def missing_bytes(array: np.ndarray[Any, Any]) -> int:
    """Returns how many bytes of an array lie past the end of the file that it is mapped from; 0 for any other array.

    The file may be cut off between this look and the transfer; then the transfer fails.
    """
    found = _mapping(array)
    if found is None or not array.nbytes:
        return 0
    mapping, offset = found
    try:
        size = mapping.size()
    except (OSError, ValueError):  # anonymous memory; a mapping that keeps no descriptor, or has been closed
        return 0
    start: int = np.frombuffer(mapping, np.uint8).__array_interface__["data"][0]
    first: int = array.__array_interface__["data"][0]
    end = first - start + bounds(array.shape, array.strides, array.itemsize)[1]
    return max(0, offset + end - size)


def refuse_cut_off(array: np.ndarray[Any, Any]) -> None:
    """Raises EncodeError for an array of which bytes are missing."""
    missing = 0 if array.base is None else missing_bytes(array)
    if missing:
        raise EncodeError(
            f"the file that the array is mapped from has become shorter: {missing} bytes of the array are gone. Map the file again"
        )


def _mapping(array: Any) -> Optional[Tuple[mmap.mmap, int]]:
    """Returns what an array is mapped from, and where in the file the mapping begins: 0 where that is not known."""
    offset = 0
    while array is not None:
        if isinstance(array, mmap.mmap):
            return array, offset
        if isinstance(array, np.memmap) and type(getattr(array, "offset", None)) is int:
            offset = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return None
