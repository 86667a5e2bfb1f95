"""The namedtuples that numpy's own functions return, such as ``QRResult`` of ``np.linalg.qr``.

A collection of one of these classes comes back as that class. The classes are private in numpy, so
each is found as the class of a function's result.
"""
from __future__ import annotations

import functools
from typing import Any, Callable, Dict, Optional

import numpy as np

_ONE: Any = np.ones((1, 1))
_numpy: Any = np  # the functions differ between versions

#: What attrs call a class -> a call that returns an instance.
_MAKERS: Dict[str, Callable[[], Any]] = {
    "numpy.linalg.EigResult": lambda: np.linalg.eig(_ONE),
    "numpy.linalg.EighResult": lambda: np.linalg.eigh(_ONE),
    "numpy.linalg.QRResult": lambda: np.linalg.qr(_ONE),
    "numpy.linalg.SVDResult": lambda: np.linalg.svd(_ONE),
    "numpy.linalg.SlogdetResult": lambda: np.linalg.slogdet(_ONE),
    "numpy.UniqueAllResult": lambda: _numpy.unique_all(_ONE),
    "numpy.UniqueCountsResult": lambda: _numpy.unique_counts(_ONE),
    "numpy.UniqueInverseResult": lambda: _numpy.unique_inverse(_ONE),
}
#: What attrs call a class -> number of its fields.
FIELDS = {
    "numpy.linalg.EigResult": 2,
    "numpy.linalg.EighResult": 2,
    "numpy.linalg.QRResult": 2,
    "numpy.linalg.SVDResult": 3,
    "numpy.linalg.SlogdetResult": 2,
    "numpy.UniqueAllResult": 4,
    "numpy.UniqueCountsResult": 2,
    "numpy.UniqueInverseResult": 2,
}
_NAMES = {name.rpartition(".")[2]: name for name in _MAKERS}


@functools.lru_cache(maxsize=None)
def class_of(name: str) -> Any:
    """Returns the class that is called ``name`` (a key of FIELDS), or ``tuple`` if the installed
    numpy has none: its function then returns a tuple, too."""
    try:
        cls = type(_MAKERS[name]())
    except AttributeError:  # numpy before 2.0 has no unique_all
        return tuple
    return cls if _NAMES.get(cls.__name__) == name and len(getattr(cls, "_fields", ())) == FIELDS[name] else tuple


def name_of(cls: Any) -> Optional[str]:
    """Returns what attrs call a class, None for a class that is not numpy's."""
    name = _NAMES.get(cls.__name__)
    return name if name is not None and class_of(name) is cls else None
