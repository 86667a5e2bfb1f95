"""numpy's own subclasses of ndarray that are restored as such, except MaskedArray."""
from __future__ import annotations

from typing import Any, Dict, Mapping

import numpy as np

from .._exceptions import EncodeError

#: kind in attrs -> class.
SUBCLASSES: Dict[str, Any] = {"matrix": np.matrix, "recarray": np.recarray, "chararray": np.char.chararray}
#: The inverse.
KIND_OF: Dict[Any, str] = {cls: kind for kind, cls in SUBCLASSES.items()}

#: The attributes that numpy itself sets on every instance of a class.
_INITIAL_ATTRIBUTES: Dict[Any, Dict[str, Any]] = {
    np.matrix: {"_getitem": False},
    np.memmap: dict.fromkeys(("_mmap", "filename", "offset", "mode")),
}


class _Blank(np.ndarray):  # type: ignore[type-arg]  # a class of numpy 1.24 takes none
    """A subclass of ndarray without requirements on its instances."""


def added_attributes(attributes: Mapping[str, Any], cls: Any) -> Dict[str, Any]:
    """Returns the attributes that numpy does not set itself on every instance of the class."""
    born = _INITIAL_ATTRIBUTES.get(cls, {})
    return {name: value for name, value in attributes.items() if name not in born}


def refuse_attributes(array: np.ndarray[Any, Any], what: str) -> None:
    """Raises EncodeError if a program has set attributes on the array."""
    own = added_attributes(getattr(array, "__dict__", {}), type(array))
    if own:
        raise EncodeError(
            f"the {what} has attributes ({', '.join(sorted(map(str, own))[:5])}) that would be lost; "
            "pass metadata='drop' to store it without them"
        )


def as_class(array: np.ndarray[Any, Any], cls: Any) -> Any:
    """Returns a view of an array as that class, whatever its shape and dtype.

    ``array.view(cls)`` would call the class, and numpy's classes reject or change some of the
    arrays that numpy itself creates: a matrix may have three axes, a chararray may hold integers.
    """
    view: Any = array.view(_Blank)
    view.__class__ = cls
    vars(view).update(_INITIAL_ATTRIBUTES.get(cls, {}))
    return view
