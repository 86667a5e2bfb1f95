"""numpy's own subclasses of ndarray that come back as themselves, but for MaskedArray."""
from __future__ import annotations

from typing import Any, Dict

import numpy as np

from ._exceptions import DecodeError

#: kind in attrs -> class.
SUBCLASSES: Dict[str, Any] = {"matrix": np.matrix, "recarray": np.recarray, "chararray": np.char.chararray}
#: The other way round.
KIND_OF: Dict[Any, str] = {cls: kind for kind, cls in SUBCLASSES.items()}


def view_as(array: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """Returns an array as a view of the class that ``kind`` names. Raises DecodeError where it cannot be one."""
    if kind == "matrix" and array.ndim != 2:
        raise DecodeError(f"a matrix of {array.ndim} dimensions")
    if kind == "chararray" and array.dtype.char not in "SUc":
        raise DecodeError(f"a chararray of dtype {array.dtype}")
    if kind == "recarray" and array.dtype.names is not None and array.dtype.type is not np.record:
        raise DecodeError("a recarray whose dtype is no record")
    return array.view(SUBCLASSES[kind])
