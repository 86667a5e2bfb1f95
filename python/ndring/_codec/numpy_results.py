"""The namedtuples that numpy's own functions return, such as ``QRResult`` of ``np.linalg.qr``.

A collection of one of these classes comes back as that class. The classes are private in numpy, so
each is found as the class of a function's result.
"""
from __future__ import annotations

import functools
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np

_ONE: Any = np.ones((1, 1))
_numpy: Any = np  # the functions differ between versions

#: What a description calls a class -> number of its fields, and a call that returns an instance.
RESULTS: Dict[str, Tuple[int, Callable[[], Any]]] = {
    "numpy.linalg.EigResult": (2, lambda: np.linalg.eig(_ONE)),
    "numpy.linalg.EighResult": (2, lambda: np.linalg.eigh(_ONE)),
    "numpy.linalg.QRResult": (2, lambda: np.linalg.qr(_ONE)),
    "numpy.linalg.SVDResult": (3, lambda: np.linalg.svd(_ONE)),
    "numpy.linalg.SlogdetResult": (2, lambda: np.linalg.slogdet(_ONE)),
    "numpy.UniqueAllResult": (4, lambda: _numpy.unique_all(_ONE)),
    "numpy.UniqueCountsResult": (2, lambda: _numpy.unique_counts(_ONE)),
    "numpy.UniqueInverseResult": (2, lambda: _numpy.unique_inverse(_ONE)),
}
_NAMES = {name.rpartition(".")[2]: name for name in RESULTS}


@functools.lru_cache(maxsize=None)
def class_of(name: str) -> Any:
    """Returns the class that is called ``name`` (a key of RESULTS), or ``tuple`` if the installed
    numpy has none: its function then returns a tuple, too."""
    fields, make = RESULTS[name]
    try:
        cls = type(make())
    except AttributeError:  # numpy before 2.0 has no unique_all
        return tuple
    return cls if _NAMES.get(cls.__name__) == name and len(getattr(cls, "_fields", ())) == fields else tuple


def name_of(cls: Any) -> Optional[str]:
    """Returns what a description calls a class, None for a class that is not numpy's."""
    name = _NAMES.get(cls.__name__)
    return name if name is not None and class_of(name) is cls else None
