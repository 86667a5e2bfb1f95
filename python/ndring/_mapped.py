"""Arrays in files that have become shorter: to touch what is missing ends the process with SIGBUS, so it is found before."""
from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from ._exceptions import EncodeError

_MOST_BASES = 16


def check_mapped(value: Any) -> None:
    """Raises EncodeError for an array whose memory is a mapped file that ends before the array does."""
    base, offset = value, 0
    for _ in range(_MOST_BASES):
        if isinstance(base, np.memmap) and base.offset is not None:
            offset = base.offset - base.offset % mmap.ALLOCATIONGRANULARITY  # where in the file the mapping begins
        base = getattr(base, "base", None)
        if base is None:
            return
        if isinstance(base, memoryview):
            base = base.obj
        if isinstance(base, mmap.mmap):
            _check(value, base, offset)
            return


def _check(value: np.ndarray[Any, Any], mapped: mmap.mmap, offset: int) -> None:
    try:
        size, start = mapped.size() - offset, np.frombuffer(mapped, np.uint8).__array_interface__["data"][0]
    except (OSError, ValueError):  # it has no file, or was closed
        return
    if size >= len(mapped):
        return
    end = np.lib.array_utils.byte_bounds(value)[1] if hasattr(np.lib, "array_utils") else np.byte_bounds(value)[1]
    if end - start > -(-size // mmap.PAGESIZE) * mmap.PAGESIZE:  # the rest of the last page can be read
        raise EncodeError(f"the array is in a file that has only {size + offset} bytes now: nothing was stored")
