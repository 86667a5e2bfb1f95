"""np.ma.MaskedArray: the data including masked elements, the mask, whether it is hard, and the fill
value."""
from __future__ import annotations

import math
from typing import Any, Callable, Dict, Mapping, Optional

import numpy as np

from . import advice as _advice

from . import dtypes as _dtypes

from .._exceptions import DecodeError, EncodeError
from . import layout as _layout
from .arrays import KEYS as _ARRAY_KEYS
from .arrays import Packed, is_writeable, pack_array, apply_flags, unpack_array
from .attrs import check_keys, flag, optional, plain_json
from .descr import MAX_ITEMSIZE, MAX_NDIM
from .memmap import refuse_truncated
from .npy import Header
from .subclasses import KIND_OF, SUBCLASSES, as_class, added_attributes, refuse_attributes

#: The keys that a masked array may have in ``py`` beside those of any array, and their types.
KEYS: Dict[str, Any] = {"base": str, "hard": bool, "mask": dict, "fill": dict, "info": dict}
_MASK_KEYS = {"kind": str, "order": str, **{key: kind for key, kind in _ARRAY_KEYS.items() if key != "string"}}
_OWN = {"_mask", "_fill_value", "_hardmask", "_sharedmask", "_isfield", "_baseclass", "_optinfo", "_basedict"}
_mask_dtype: Callable[[Any], Any] = np.ma.make_mask_descr  # untyped in numpy


def pack(value: Any, layout: str, drop_metadata: bool) -> Packed:
    """Packs a MaskedArray. Raises EncodeError."""
    state = vars(value)
    packed = pack_array(value, layout, drop_metadata)
    py: Dict[str, Any] = {"kind": "masked", **packed.py}
    base = state["_baseclass"]
    if base in KIND_OF:
        py["base"] = KIND_OF[base]
    elif not is_known_base(base):
        raise EncodeError(
            f"a MaskedArray over {_advice.full_name(base)} would not come back as such; {_advice.for_subclass(value, False)}"
        )
    if state["_hardmask"]:
        py["hard"] = True
    info = {key: item for key, item in state.items() if key not in _OWN}
    info.update(state["_optinfo"])
    if base is np.memmap:
        info = added_attributes(info, base)  # a memmap passes its attributes on to views, but comes back as an array
    if info and not drop_metadata:
        py["info"] = plain_json(info, "the MaskedArray's additional state")
        if py["info"].keys() & (_OWN | set(dir(np.ma.MaskedArray))):
            raise EncodeError("an attribute of the MaskedArray has a name that numpy uses itself; pass metadata='drop'")
    mask = state["_mask"]
    if mask is not np.ma.nomask:
        py["mask"] = _pack_mask(mask, value, packed, layout, drop_metadata)
    fill = state["_fill_value"]
    if fill is not None:
        py["fill"] = _pack_fill(np.asarray(fill), value.dtype, packed, drop_metadata)
    packed.py = py
    return packed


def is_known_base(cls: Any) -> bool:
    """Returns whether a masked array over data of that class can be restored."""
    return cls in KIND_OF or cls is np.ndarray or cls is np.memmap


def _pack_mask(
    mask: np.ndarray[Any, Any], value: Any, packed: Packed, layout: str, drop_metadata: bool
) -> Dict[str, Any]:
    node: Dict[str, Any] = {}
    if isinstance(mask, (np.bool_, np.void)):  # numpy creates these for a row of a masked struct
        node["kind"] = "scalar"
        mask = np.asarray(mask)
    if not is_known_base(type(mask)) or mask.shape != packed.shape:
        raise EncodeError(
            f"the mask of the MaskedArray has class {_advice.full_name(type(mask))} and shape {np.shape(mask)}, it is not an "
            f"array of shape {packed.shape}; store np.ma.MaskedArray(x.data, mask=m) with a mask m of that shape"
        )
    if type(mask) in KIND_OF:
        node["kind"] = KIND_OF[type(mask)]
    if not drop_metadata:
        refuse_attributes(mask, "mask of the MaskedArray")
    refuse_truncated(mask)
    mask = np.ndarray.view(mask, np.ndarray)
    fortran, data = _layout.pack(mask)
    if fortran:
        node["order"] = "F"
    dtype = _dtypes.describe(mask.dtype)
    if dtype != _dtypes.describe(_mask_dtype(value.dtype)):
        node["dtype"] = dtype
    strides = _layout.strides_to_record(mask, fortran, layout)
    if strides is not None:
        node["strides"] = list(strides)
    if not mask.flags.aligned:
        node["misaligned"] = _layout.misalignment(mask)
    if not is_writeable(mask):
        node["readonly"] = True
    packed.parts.append((b"mask", data))
    return node


def _pack_fill(fill: np.ndarray[Any, Any], dtype: np.dtype[Any], packed: Packed, drop_metadata: bool) -> Dict[str, Any]:
    if fill.dtype.hasobject:
        raise EncodeError(
            f"the fill value {fill!r} of the MaskedArray cannot be stored; store "
            "np.ma.MaskedArray(np.asarray(x), mask=np.ma.getmask(x), hard_mask=x.hardmask)"
        )
    node = _dtypes.describe(fill.dtype, drop_metadata)
    packed.parts.append((b"fill", _layout.pack(np.ascontiguousarray(fill))[1]))
    known: Dict[str, Any] = {"shape": list(fill.shape)} if fill.shape else {}
    return known if node == _dtypes.describe(dtype, drop_metadata) else {"dtype": node, **known}


def unpack(
    header: Header,
    data: np.ndarray[Any, Any],
    py: Mapping[str, Any],
    parts: Mapping[str, Any],
    max_span: Optional[int],
) -> Any:
    """Returns the MaskedArray that ``pack`` packed. Raises DecodeError."""
    array = unpack_array(header, data, py, parts, max_span)
    base: Any = np.ndarray
    if "base" in py:
        if py["base"] not in SUBCLASSES:
            raise DecodeError(f"the base {py['base'][:40]!r} of a masked array in attrs is unknown")
        base = SUBCLASSES[py["base"]]
    info = py.get("info", {})
    if info.keys() & (_OWN | set(dir(np.ma.MaskedArray))):
        raise DecodeError("'info' in attrs has a name that numpy uses itself")
    mask: Any = np.ma.nomask
    if "mask" in py:
        mask = _unpack_mask(py["mask"], array, parts, max_span)
    fill = _unpack_fill(py["fill"], array.dtype, parts) if "fill" in py else None
    masked = as_class(array, np.ma.MaskedArray)
    # Write to __dict__, because the public setters copy the mask and convert the fill value.
    vars(masked).update(
        _mask=mask, _sharedmask=False, _isfield=False, _hardmask=flag(py, "hard"), _fill_value=fill, _baseclass=base,
        _optinfo=info, _basedict=info, **info,
    )  # fmt: skip
    return apply_flags(masked, py)


def _part(parts: Mapping[str, Any], name: str, nbytes: int) -> np.ndarray[Any, Any]:
    if name not in parts:
        raise DecodeError(f"part {name} of a masked array is missing")
    raw = parts[name]
    array = np.frombuffer(raw, np.uint8) if len(raw) else np.empty(0, np.uint8)
    if array.nbytes != nbytes:
        raise DecodeError(f"part {name} has {array.nbytes} bytes, not {nbytes}")
    return array if array.flags.writeable else array.copy()


def _unpack_mask(
    node: Mapping[str, Any], array: np.ndarray[Any, Any], parts: Mapping[str, Any], max_span: Optional[int]
) -> np.ndarray[Any, Any]:
    check_keys(node, "mask", _MASK_KEYS)
    dtype = _dtypes.restore(node["dtype"]) if "dtype" in node else _mask_dtype(array.dtype)
    if not _is_bool(dtype) or node.get("order", "F") != "F":
        raise DecodeError("the mask in attrs is not boolean, or its order is unknown")
    misaligned = optional(node, "misaligned")
    if misaligned is not None and misaligned < 0:
        raise DecodeError("'misaligned' in attrs is negative")
    mask = _layout.lay_out(
        array.shape,
        dtype,
        _layout.default_strides(array.shape, dtype.itemsize, "order" in node),
        _part(parts, "mask", array.size * dtype.itemsize),
        _layout.checked_strides(optional(node, "strides"), array.ndim),
        misaligned,
        max_span,
    )
    if node.get("kind") == "scalar":
        if array.shape != ():
            raise DecodeError("the mask in attrs is a scalar, but the array is not")
        return apply_flags(mask, node)[()]  # type: ignore[no-any-return]
    if "kind" in node:
        if node["kind"] not in SUBCLASSES:
            raise DecodeError(f"the class {node['kind'][:40]!r} of a mask in attrs is unknown")
        mask = as_class(mask, SUBCLASSES[node["kind"]])
    return apply_flags(mask, node)


def _is_bool(dtype: np.dtype[Any]) -> bool:
    while dtype.subdtype is not None:
        dtype = dtype.subdtype[0]
    if dtype.names is None:
        return dtype.type is np.bool_
    return all(_is_bool(dtype.fields[name][0]) for name in dtype.names)  # type: ignore[index]


def _unpack_fill(node: Mapping[str, Any], dtype: np.dtype[Any], parts: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    check_keys(node, "fill", {"dtype": object, "shape": list})
    shape = tuple(node.get("shape", ()))
    if len(shape) > MAX_NDIM or any(type(n) is not int or not 0 <= n <= MAX_ITEMSIZE for n in shape):
        raise DecodeError("the shape of the fill value in attrs is not one length per axis")
    own = _dtypes.restore(node["dtype"]) if "dtype" in node else dtype
    if own.hasobject or own.subdtype is not None:
        raise DecodeError("the dtype of the fill value in attrs is not valid for one")
    packed = _layout.default_strides(shape, own.itemsize, False)
    return _layout.lay_out(shape, own, packed, _part(parts, "fill", math.prod(shape) * own.itemsize), None, None, None)
