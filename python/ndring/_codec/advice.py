"""Suggestions for values that cannot be stored. A test follows every suggestion and stores the result."""
from __future__ import annotations

import collections.abc
import datetime
import numbers
from typing import Any

import numpy as np

_LARGEST = 2**63


def full_name(cls: Any) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def is_array_like(value: Any) -> bool:
    """Returns whether a value offers its array by DLPack or by ``__array__``."""
    cls = type(value)
    return hasattr(cls, "__array__") or hasattr(cls, "__dlpack__") and hasattr(cls, "__dlpack_device__")


def for_value(value: Any) -> str:
    """Returns the suggestion for a value that is neither a NumPy array or scalar nor a collection."""
    if value is None:
        return "to record that there is no value, store np.empty(0)"
    if isinstance(value, (str, bytes, bytearray, memoryview, bool, float, complex)):
        return "store np.asarray(x)"
    if isinstance(value, int):
        return "store np.asarray(x)" if -_LARGEST <= value < _LARGEST else "store its digits, np.asarray(str(x))"
    if isinstance(value, numbers.Number):
        return "store np.float64(x), or np.asarray(str(x)) to keep every digit"
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return "store np.datetime64(x.astimezone(datetime.timezone.utc).replace(tzinfo=None))"
    if isinstance(value, datetime.date):
        return "store np.datetime64(x)"
    if isinstance(value, datetime.timedelta):
        return "store np.timedelta64(x)"
    if callable(getattr(value, "to_numpy", None)):
        return "store x.to_numpy(dtype=float), or with another dtype than object; columns of different dtypes as {name: x[name].to_numpy(...) for name in x}"
    if callable(getattr(value, "keys", None)):
        return "store {name: np.asarray(value) for name, value in x.items()}"
    if isinstance(value, collections.abc.Collection) and any(isinstance(item, (np.ndarray, np.generic)) for item in value):
        return "store list(x)"
    if hasattr(value, "__getitem__") or hasattr(value, "__array__"):
        return "store np.asarray(x, dtype=float), or with another dtype that fits its items"
    if hasattr(value, "__iter__"):
        return "store np.asarray(list(x), dtype=float), or with another dtype that fits its items"
    return "store the arrays that it contains, for example as a dict"


def for_array_like(value: Any) -> str:
    """Returns the suggestion for a value that ``convert=True`` takes."""
    return f"pass convert=True to store the array that it offers, or {for_value(value)}"


def for_unconverted(value: Any) -> str:
    """Returns the suggestion for a value whose array NumPy does not take."""
    if "bfloat16" in str(getattr(value, "dtype", "")):
        return "NumPy has no bfloat16: store x.float(), which has the same values"
    if getattr(value, "requires_grad", False) is True:
        return "store x.detach()"
    return "store an array of a dtype that NumPy has, in the memory of this process"


def for_collection(value: Any) -> str:
    """Returns the suggestion for a dict, tuple or list of a class that would be lost."""
    if isinstance(value, dict):
        return "store dict(x)"
    if isinstance(value, list):
        return "store list(x)"
    return "store tuple(x) or x._asdict()" if hasattr(value, "_asdict") else "store tuple(x)"


def for_subclass(value: np.ndarray[Any, Any], known_base: bool) -> str:
    """Returns the suggestion for an array whose class would be lost.

    ``known_base``: for a masked array, whether the class of its data can be restored.
    """
    if not isinstance(value, np.ma.MaskedArray):
        return "store np.asarray(x)"
    if known_base:
        return "store x.view(np.ma.MaskedArray)"
    return (
        "store np.ma.MaskedArray(np.asarray(x.data), mask=np.ma.getmask(x), fill_value=x.fill_value, hard_mask=x.hardmask)"
    )


def for_objects(dtype: np.dtype[Any]) -> str:
    """Returns the suggestion for an array of Python objects."""
    if dtype.names is None:
        return "convert it first: x.astype(float) for numbers, x.astype('U') for strings"
    name = next(name for name in dtype.names if dtype.fields[name][0].hasobject)  # type: ignore[index]
    return f"store each field under its own key, converted if it holds objects: x[{name!r}].astype('U')"


def for_dtype(value: Any) -> str:
    """Returns the suggestion for an array or scalar whose dtype cannot be described."""
    names = value.dtype.names
    if isinstance(value, np.ma.MaskedArray) and names:
        # Each field has its own mask, which a view as bytes would lose.
        return f"store each field under its own key: x[{names[0]!r}]"
    return f"store the same bytes without the dtype: x.view('V{value.dtype.itemsize}')"
