"""numpy's own subclasses of ndarray that come back as themselves, but for MaskedArray."""
from __future__ import annotations

from typing import Any, Dict, Mapping

import numpy as np

from ._exceptions import EncodeError

#: kind in attrs -> class.
SUBCLASSES: Dict[str, Any] = {"matrix": np.matrix, "recarray": np.recarray, "chararray": np.char.chararray}
#: The other way round.
KIND_OF: Dict[Any, str] = {cls: kind for kind, cls in SUBCLASSES.items()}

#: What the instances of a class have in __dict__ from the start.
_BORN_WITH: Dict[Any, Dict[str, Any]] = {
    np.matrix: {"_getitem": False},
    np.memmap: dict.fromkeys(("_mmap", "filename", "offset", "mode")),
}


class _Blank(np.ndarray):
    """A subclass of ndarray that asks nothing of its instances."""


def own_attributes(attributes: Mapping[str, Any], cls: Any) -> Dict[str, Any]:
    """Returns those of the attributes that an array of that class has not by itself."""
    born = _BORN_WITH.get(cls, {})
    return {name: value for name, value in attributes.items() if name not in born}


def refuse_attributes(array: np.ndarray[Any, Any], what: str) -> None:
    """Raises EncodeError if somebody has set attributes on an array."""
    own = own_attributes(getattr(array, "__dict__", {}), type(array))
    if own:
        raise EncodeError(
            f"the {what} has attributes of its own ({', '.join(sorted(map(str, own))[:5])}), which would be lost; "
            "pass metadata='drop' to store it without them"
        )


def as_class(array: np.ndarray[Any, Any], cls: Any) -> Any:
    """Returns a view of an array in that class, whatever its shape and dtype.

    A view by ``array.view(cls)`` asks the class, and numpy's classes refuse or change some of the arrays that
    numpy itself makes of them: a matrix may have three axes, a chararray may hold integers.
    """
    view: Any = array.view(_Blank)
    view.__class__ = cls
    vars(view).update(_BORN_WITH.get(cls, {}))
    return view
