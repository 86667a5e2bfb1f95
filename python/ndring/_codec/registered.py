"""Dtypes that other packages register with numpy, such as ml_dtypes' bfloat16.

.npy has no name for them. Their bits are stored as unsigned integers of the same size, which every
language can read, and attrs name the real dtype. The client imports only the packages listed here,
and looks up only these names.
"""
from __future__ import annotations

import importlib
from typing import Any, Dict, Optional, Tuple

import numpy as np

from .._exceptions import DecodeError

#: package -> name -> bytes per item
ALLOWED: Dict[str, Dict[str, int]] = {
    "ml_dtypes": {
        "bfloat16": 2,
        "bcomplex32": 4,
        "complex32": 4,
        "float4_e2m1fn": 1,
        "float6_e2m3fn": 1,
        "float6_e3m2fn": 1,
        "float8_e3m4": 1,
        "float8_e4m3": 1,
        "float8_e4m3b11": 1,
        "float8_e4m3b11fnuz": 1,
        "float8_e4m3fn": 1,
        "float8_e4m3fnuz": 1,
        "float8_e5m2": 1,
        "float8_e5m2fnuz": 1,
        "float8_e8m0fnu": 1,
        "int1": 1,
        "int2": 1,
        "int4": 1,
        "uint1": 1,
        "uint2": 1,
        "uint4": 1,
    }
}
_BITS = {1: "|u1", 2: "u2", 4: "u4"}


def is_registered(dtype: np.dtype[Any]) -> bool:
    """Returns whether a package other than numpy defines this dtype. For dtypes without fields."""
    return dtype.num >= 256 or dtype.type.__module__.partition(".")[0] != "numpy"


def name_of(dtype: np.dtype[Any]) -> Optional[str]:
    """Returns ``package.name`` for a registered dtype that is listed here and in native byte order,
    else None."""
    kind = dtype.type
    package, name = kind.__module__.partition(".")[0], kind.__name__
    if ALLOWED.get(package, {}).get(name) != dtype.itemsize or not dtype.isnative:
        return None
    return f"{package}.{name}"


def bits_of(dtype: np.dtype[Any]) -> str:
    """Returns the descr of the unsigned integer type that stores the dtype's bits."""
    text = _BITS[dtype.itemsize]
    return text if text[0] == "|" else np.dtype(text).str


def parse_name(name: str) -> Tuple[str, str, int]:
    """Returns package, name and item size (bytes) of an allowed ``package.name``. Raises DecodeError."""
    package, _, short = name.partition(".")
    size = ALLOWED.get(package, {}).get(short)
    if size is None:
        raise DecodeError(f"ndring cannot restore the dtype {name[:80]!r}")
    return package, short, size


def load(name: str) -> np.dtype[Any]:
    """Returns the dtype of an allowed ``package.name``. Raises DecodeError if the package is not
    installed."""
    package, short, size = parse_name(name)
    try:
        module = importlib.import_module(package)
        scalar = getattr(module, short, None)
    except ImportError as exc:
        raise DecodeError(f"the stored array is of dtype {name}: install the package {package} to read it") from exc
    except (RuntimeError, SystemError, TypeError, ValueError, AttributeError) as exc:  # a package that does not work with this numpy
        raise DecodeError(f"the stored array is of dtype {name}, but the package {package} does not load: {exc}") from exc
    if scalar is None:
        raise DecodeError(f"the stored array is of dtype {name}, which the installed {package} lacks")
    dtype = np.dtype(scalar)
    if dtype.itemsize != size:
        raise DecodeError(f"{name} has items of {dtype.itemsize} bytes here, but was stored with {size}")
    return dtype
