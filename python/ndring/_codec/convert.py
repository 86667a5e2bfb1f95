"""``convert=True``: arrays of other packages, as NumPy arrays over the same memory if possible."""
from __future__ import annotations

from typing import Any, Optional

import numpy as np

from .._exceptions import EncodeError
from .._log import log
from . import advice as _advice

#: DLPack's numbers of the devices whose memory the processor reads: CPU, pinned and managed memory.
_HOST_DEVICES = (1, 3, 11, 13)
_DEVICES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 14: "oneAPI"}
# What packages raise if they cannot export an array. Anything else may come from a signal handler.
_FAILURES = (BufferError, RuntimeError, TypeError, ValueError, AttributeError)


def to_array(value: Any) -> np.ndarray[Any, Any]:
    """Returns the array that ``value`` gives by DLPack or else by ``__array__``, possibly read-only.

    Logs what it was. Raises EncodeError for a value that offers neither, that is in the memory of
    another device, or whose dtype NumPy does not have or is of Python objects.
    """
    cls, name = type(value), _advice.full_name(type(value))
    failed: Optional[BaseException] = None
    array: Optional[np.ndarray[Any, Any]] = None
    device = 1
    try:
        if hasattr(cls, "__dlpack__"):
            device = int(value.__dlpack_device__()[0])
            if device in _HOST_DEVICES:
                array = np.from_dlpack(value)
    except _FAILURES as exc:
        failed = exc
    if device not in _HOST_DEVICES:
        raise EncodeError(
            f"the {name} is in the memory of a device ({_DEVICES.get(device, f'number {device} of DLPack')}); "
            "store x.cpu() of torch, x.get() of cupy, np.asarray(x) of jax"
        )
    try:
        if array is None and hasattr(cls, "__array__"):
            array = np.asarray(value)
    except _FAILURES as exc:
        failed = exc
    if array is None:
        reason = "" if failed is None else f": {type(failed).__name__}: {failed}"
        raise EncodeError(f"NumPy cannot convert the {name}{reason}; {_advice.for_unconverted(value)}") from failed
    if array.dtype.hasobject:
        raise EncodeError(f"the {name} converts to an array of Python objects, which ndring never pickles; {_advice.for_value(value)}")
    log.info("converted a %s to an array of %s, shape %s", name, array.dtype, array.shape)
    # DLPack's strides of an array without elements say nothing about it.
    return array if array.size else np.empty(array.shape, array.dtype)


def is_convertible(value: Any) -> bool:
    """Returns whether a value offers its array, and is neither a NumPy array nor a NumPy scalar."""
    return _advice.is_array_like(value) and not isinstance(value, (np.ndarray, np.generic))
