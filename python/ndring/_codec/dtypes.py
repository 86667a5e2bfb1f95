"""Complete dtypes to and from JSON, including what descr cannot express.

A node is a string such as ``"<f8"`` if that describes the dtype completely, else an object:

=========  ==========================================================================================
key        meaning
=========  ==========================================================================================
str        the dtype's string; with ``char``, numpy's type character if it differs (``q`` for ``l``, ``c`` for ``S1``)
ext        ``package.name`` of a registered dtype; with ``order``, ``<``, ``>`` or ``|``
base       node of the items of a subarray; with ``shape``
fields     list of ``[name, node, offset]`` or ``[name, node, offset, title]``; with ``size``, and ``align``, ``of``
record     true: scalars are ``np.record``
meta       ``dtype.metadata``
=========  ==========================================================================================
"""
from __future__ import annotations

import functools
import json
import math
import sys
from typing import Any, Dict, List, Tuple, Union

import numpy as np

from . import advice as _advice

from .._exceptions import DecodeError, EncodeError
from . import registered as _registered
from .attrs import check_keys, flag, plain_json
from .descr import MAX_NESTING, descr_of, dtype_from_descr, dtype_from_str, struct, subarray

Node = Union[str, Dict[str, Any]]

_ORDER = "<" if sys.byteorder == "little" else ">"
_KEYS = {
    "str": str, "char": str, "ext": str, "order": str, "base": object, "shape": list, "fields": list, "size": int,
    "align": bool, "of": object, "record": bool, "meta": dict,
}  # fmt: skip
#: Which keys occur together, apart from meta and record.
_FORMS = (
    {"str"}, {"str", "char"}, {"ext", "order"}, {"base", "shape"}, {"fields", "size"}, {"fields", "size", "align"},
    {"fields", "size", "of"},
)  # fmt: skip


# ---- writing


class UnsupportedDtype(EncodeError):
    """Raised for a dtype that cannot be restored. The caller, who knows the array, adds what to do
    about it."""


def describe(dtype: np.dtype[Any], drop_metadata: bool = False, depth: int = 0) -> Node:
    """Returns the node for a dtype. Raises EncodeError if it holds objects or cannot be restored."""
    if dtype.hasobject:
        raise EncodeError(f"dtype {dtype} holds Python objects, which ndring never pickles; {_advice.for_objects(dtype)}")
    if depth >= MAX_NESTING:
        raise UnsupportedDtype(f"the dtype nests deeper than {MAX_NESTING} levels")
    node: Node
    if dtype.names is not None:
        node = _describe_struct(dtype, drop_metadata, depth)
    elif dtype.subdtype is not None:
        base, shape = dtype.subdtype
        # np.concatenate of structs with gaps, in numpy 1.24, builds subarrays of the old size over
        # items of the new one.
        if (math.prod(shape) * base.itemsize, base.alignment) != (dtype.itemsize, dtype.alignment):
            raise UnsupportedDtype(f"numpy built a field of {dtype.itemsize} bytes, aligned to {dtype.alignment}, for {dtype!r}")
        node = {"base": describe(base, drop_metadata, depth + 1), "shape": list(shape)}
    else:
        node = _describe_item(dtype)
    if dtype.metadata is not None and not drop_metadata:
        meta = plain_json(dtype.metadata, "dtype.metadata")
        node = {"str": node, "meta": meta} if isinstance(node, str) else {**node, "meta": meta}
    return node


def _describe_item(dtype: np.dtype[Any]) -> Node:
    if _registered.is_registered(dtype):
        name = _registered.name_of(dtype)
        if name is None:
            raise UnsupportedDtype(f"ndring cannot restore dtype {dtype!r} ({dtype.type.__module__})")
        return {"ext": name, "order": "|" if dtype.itemsize == 1 else _ORDER}
    text = dtype.str
    try:
        plain = dtype_from_str(text)
    except DecodeError as exc:
        raise UnsupportedDtype(f"dtype {dtype!r} cannot be stored: {exc}") from exc
    node: Node = text
    if plain.char != dtype.char:
        node = {"str": text, "char": dtype.char}
    if dtype.type is np.record:
        return {"str": text, "record": True}
    if dtype.type is not plain.type and plain.char == dtype.char:
        raise UnsupportedDtype(f"dtype {dtype!r} has the scalar type {dtype.type}, which cannot be restored")
    return node


def _describe_struct(dtype: np.dtype[Any], drop_metadata: bool, depth: int) -> Node:
    fields: List[List[Any]] = []
    for name in dtype.names:  # type: ignore[union-attr]
        inner, offset, *title = dtype.fields[name]  # type: ignore[index]
        if title and type(title[0]) is not str:
            raise UnsupportedDtype(f"the title {title[0]!r} of field {name!r} is not a string")
        fields.append([name, describe(inner, drop_metadata, depth + 1), offset, *title])
    node: Dict[str, Any] = {"fields": fields, "size": dtype.itemsize}
    if dtype.isalignedstruct:
        node["align"] = True
    if dtype.type is np.record:
        node["record"] = True
    elif dtype.type is not np.void:
        node["of"] = _describe_item(dtype)
    return node


def text_of(dtype: np.dtype[Any]) -> str:
    """Returns the header's text for a dtype without fields."""
    return _registered.bits_of(dtype) if _registered.is_registered(dtype) else dtype.str


def header_descr(dtype: np.dtype[Any], drop_metadata: bool) -> Tuple[str, Any]:
    """Returns descr for the header, and the node for attrs: None if descr describes the dtype completely.

    Raises EncodeError for a dtype that cannot be stored or would not come back unchanged.
    """
    node = describe(dtype, drop_metadata)
    descr = descr_of(dtype, text_of)
    try:
        if node == (describe(dtype_from_descr(descr)) if isinstance(descr, list) else descr):
            return descr, None
        _check_restorable(json.dumps(node), dtype.alignment, dtype.itemsize)
    except DecodeError as exc:
        raise UnsupportedDtype(f"dtype {dtype!r} cannot be restored: {exc}") from exc
    return descr, node


@functools.lru_cache(maxsize=256)
def _check_restorable(node: str, alignment: int, itemsize: int) -> None:
    back = restore(json.loads(node))
    if json.dumps(describe(back)) != node or (back.alignment, back.itemsize) != (alignment, itemsize):
        raise UnsupportedDtype(f"numpy builds a different dtype from the description of this one: {node[:200]}")


# ---- reading


def restore(node: Any, depth: int = 0) -> np.dtype[Any]:
    """Returns a new dtype from its node. Raises DecodeError for invalid nodes and for object dtypes."""
    if type(node) is str:
        return dtype_from_str(node)
    if depth >= MAX_NESTING:
        raise DecodeError(f"the dtype in attrs nests deeper than {MAX_NESTING} levels")
    check_keys(node, "dtype", _KEYS)
    if node.keys() - {"meta", "record"} not in _FORMS:
        raise DecodeError("the dtype in attrs is incomplete")
    try:
        dtype = _restore(node, depth)
        if flag(node, "record"):
            if dtype.type is not np.void or dtype.subdtype is not None:
                raise DecodeError("'record' in attrs applies to a dtype without fields")
            dtype = np.dtype((np.record, dtype))
        if "meta" in node:
            dtype = np.dtype(dtype, metadata=node["meta"])  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError) as exc:
        if isinstance(exc, DecodeError):
            raise
        raise DecodeError(f"numpy cannot build the dtype that attrs describe: {exc}") from exc
    return dtype


def _restore(node: Dict[str, Any], depth: int) -> np.dtype[Any]:
    if "fields" in node:
        return _restore_struct(node, depth)
    if "base" in node:
        return subarray(restore(node["base"], depth + 1), node["shape"])
    if "ext" in node:
        if node["order"] != ("|" if _registered.parse_name(node["ext"])[2] == 1 else _ORDER):
            raise DecodeError(f"{node['ext']} was stored on a machine with the other byte order")
        return _registered.load(node["ext"])
    dtype = dtype_from_str(node["str"])
    return _with_char(dtype, node["char"]) if "char" in node else dtype


def _with_char(dtype: np.dtype[Any], char: str) -> np.dtype[Any]:
    if len(char) != 1 or char not in "bhilqpBHILQPfdgFDGc":
        raise DecodeError(f"{char[:8]!r} in attrs is not a type character")
    other = np.dtype(char)
    if not dtype.isnative:
        other = other.newbyteorder()
    # Characters differ between platforms: if this one stands for another size, only the string counts.
    return other if other.str == dtype.str else dtype


def _restore_struct(node: Dict[str, Any], depth: int) -> np.dtype[Any]:
    names, formats, offsets, titles = [], [], [], []
    for field in node["fields"]:
        if type(field) is not list or not 3 <= len(field) <= 4:
            raise DecodeError("a field in attrs is not [name, dtype, offset] or [name, dtype, offset, title]")
        name, inner, offset, title = field if len(field) == 4 else (*field, None)
        if type(name) is not str or type(offset) is not int or (len(field) == 4 and type(title) is not str):
            raise DecodeError("a field in attrs has an invalid name, offset or title")
        names.append(name)
        formats.append(restore(inner, depth + 1))
        offsets.append(offset)
        titles.append(title)
    dtype = struct(names, formats, offsets, titles, node["size"], flag(node, "align"))
    if "of" in node:
        base = restore(node["of"], depth + 1)
        if base.itemsize != dtype.itemsize or base.names is not None or base.subdtype is not None or base.type is np.void:
            raise DecodeError("the base of a dtype in attrs does not match its fields")
        dtype = np.dtype((base, dtype))
    return dtype
