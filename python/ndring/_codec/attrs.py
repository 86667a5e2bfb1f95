"""The attrs of a value: a JSON object, in which ndring's Python client uses the keys ``v`` and ``py``.

docs/attrs.md documents ``py``. Other keys belong to other programs and are ignored. Attrs come over
the network and are treated as hostile until every key and type has been checked.
"""
from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .._exceptions import DecodeError, EncodeError
from . import advice as _advice

VERSION = 1
#: The server's limit, in bytes.
MAX_ATTRS = 64 << 10
_MAX_METADATA_NESTING = 32


def dump(py: Mapping[str, Any], value: Any) -> bytes:
    """Returns the attrs for ``py``, empty if ``py`` is. Raises EncodeError above 64 KiB."""
    if not py:
        return b""
    raw = json.dumps({"v": VERSION, "py": py}, separators=(",", ":"), allow_nan=False).encode("ascii")
    if len(raw) > MAX_ATTRS:
        raise EncodeError(
            f"describing what .npy cannot express of this array takes {len(raw)} bytes of attrs; the limit is {MAX_ATTRS}. "
            f"Pass metadata='drop' if the metadata is that long, else {_advice.for_dtype(value)}"
        )
    return raw


def load(raw: Any) -> Dict[str, Any]:
    """Returns the ``py`` object of attrs, empty if there is none. Raises DecodeError."""
    if not raw:
        return {}
    raw = bytes(raw)
    if len(raw) > MAX_ATTRS:
        raise DecodeError(f"attrs of {len(raw)} bytes; the limit is {MAX_ATTRS}")
    try:
        attrs = json.loads(raw.decode("utf8"), object_pairs_hook=reject_duplicates, parse_constant=reject_constant)
    except (ValueError, RecursionError) as exc:
        raise DecodeError(f"attrs are not JSON: {exc}") from exc
    if type(attrs) is not dict:
        raise DecodeError("attrs are not a JSON object")
    if "py" not in attrs:
        return {}
    if type(attrs.get("v")) is not int or attrs["v"] != VERSION:
        raise DecodeError(f"attrs have version {str(attrs.get('v'))[:40]}, this client knows {VERSION}: update ndring")
    if type(attrs["py"]) is not dict:
        raise DecodeError("'py' in attrs is not an object")
    return attrs["py"]


def reject_duplicates(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def check_keys(node: Any, what: str, known: Mapping[str, Any]) -> None:
    """Raises DecodeError unless ``node`` is an object whose keys are all in ``known`` and have the
    type given there.

    An unknown key is an error, because ignoring it would silently lose a property of the array.
    """
    if type(node) is not dict:
        raise DecodeError(f"{what} in attrs is not an object")
    for key, value in node.items():
        if key not in known:
            raise DecodeError(f"{what} in attrs has the unknown key {key[:40]!r}: it was stored by a newer ndring")
        if type(value) is not known[key] and known[key] is not object:
            raise DecodeError(f"{key!r} of {what} in attrs has the wrong type")


def flag(node: Mapping[str, Any], key: str) -> bool:
    """Returns whether a flag is set. Flags are written only when set, so false is an error. Raises
    DecodeError."""
    if key not in node:
        return False
    if node[key] is not True:
        raise DecodeError(f"{key!r} in attrs is not true")
    return True


def plain_json(value: Any, what: str) -> Dict[str, Any]:
    """Returns a copy of a mapping that JSON restores exactly. Raises EncodeError for any other mapping."""
    copy: Dict[str, Any] = _copy_plain(value if type(value) is dict else dict(value), 0)
    if copy is _NOT_PLAIN:
        raise EncodeError(
            f"{what} is not plain JSON (dicts with str keys, lists, str, numbers, bools, None) and would not come "
            "back unchanged; pass metadata='drop' to store the array without it"
        )
    return copy


_NOT_PLAIN: Any = object()


def _copy_plain(value: Any, depth: int) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if abs(value) < 1 << 4096 else _NOT_PLAIN
    if kind is float:
        return value if value - value == 0 else _NOT_PLAIN
    if kind is str:
        return value if _is_unicode(value) else _NOT_PLAIN
    if depth >= _MAX_METADATA_NESTING:
        return _NOT_PLAIN
    if kind is list:
        items = [_copy_plain(item, depth + 1) for item in value]
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in items) else items
    if kind is dict:
        if any(type(key) is not str or not _is_unicode(key) for key in value):
            return _NOT_PLAIN
        pairs = {key: _copy_plain(item, depth + 1) for key, item in value.items()}
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in pairs.values()) else pairs
    return _NOT_PLAIN


def _is_unicode(text: str) -> bool:
    # JSON would turn two adjacent lone surrogates into one character.
    try:
        text.encode("utf8")
    except UnicodeEncodeError:
        return False
    return True


def optional(node: Mapping[str, Any], key: str) -> Optional[Any]:
    """Returns the value of a key that may be absent. A null is an error. Raises DecodeError."""
    if key not in node:
        return None
    if node[key] is None:
        raise DecodeError(f"{key!r} in attrs is null")
    return node[key]
