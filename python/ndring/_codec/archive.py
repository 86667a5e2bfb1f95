"""Several arrays under one key: dicts, tuples and lists of arrays, nested.

They are stored as an array of bytes: an .npz, which is a ZIP archive of .npy files. Its last entry,
``__ndring__.npy``, holds what the other entries lack: a JSON text that says which dicts, tuples and
lists the arrays are in, then the attrs and parts of each array. docs/attrs.md describes it.

An entry is an array as the client stores it alone: the same .npy, attrs and parts.
"""
from __future__ import annotations

import json
import re
import zlib
from typing import Any, Callable, Dict, Iterator, List, Mapping, NoReturn, Optional, Sequence, Tuple, Union

import numpy as np

from . import advice as _advice

from . import attrs as _attrs

from . import kinds as _kinds

from . import numpy_results as _numpy_results

from .._exceptions import DecodeError, EncodeError
from . import stored_zip as _zip
from .layout import AUTO_SPAN, EXACT_SPAN, bounds, byte_view
from .npy import Header, build_header, parse_header

CLASSES: Any = (dict, tuple, list)
MAX_DEPTH = 16
#: Maximum number of arrays and collections in one collection.
MAX_ITEMS = 1 << 16
#: Maximum length of a dict's key, in bytes of UTF-8.
MAX_KEY = 1024
#: Maximum length of the JSON text, in bytes. Parsed it needs about 25 times as much memory.
_MAX_TEXT = 4 << 20
_MAX_DIGITS = 20  # of an integer in it
_JOINED = 4096  # bytes; shorter buffers are copied into one

_DESCRIPTION = "__ndring__"
_DESCRIPTION_ENTRY = _DESCRIPTION.encode() + b".npy"
_ESCAPED = re.compile(r"[\x00-\x1f\x7f%/\\:]")

Buffer = Union[bytes, memoryview]
Path = Tuple[Union[str, int], ...]


def _component(key: str) -> bytes:
    """Returns what a dict's key contributes to the names of its entries: different for every key,
    and harmless as a name of a file."""
    escaped = _ESCAPED.sub(lambda match: f"%{ord(match.group()):02X}", key)
    if escaped in ("", ".", "..") or escaped.startswith(_DESCRIPTION):
        escaped = (f"%{ord(key[0]):02X}" if key else "%") + escaped[1:]
    return escaped.encode()


# ---- writing


def pack(value: Any, encode: Callable[[Any], Any]) -> Tuple[bytes, List[memoryview], object]:
    """Returns header and data of the .npy that holds the archive, and the owner of the data's memory.

    ``encode``: encodes one array. Long buffers of data are views of the arrays' own memory. Raises
    EncodeError for what cannot be restored, and says where in ``value`` it is.
    """
    packer = _Packer(value, encode)
    tree = packer.add(value, (), b"")
    packer.finish(tree)
    return build_header("|u1", False, (packer.position,)), packer.buffers, packer.encoded


class _Packer:
    """Writes an archive. ``buffers``: its bytes. ``position``: how many there are. ``encoded``: the arrays."""

    def __init__(self, root: Any, encode: Callable[[Any], Any]) -> None:
        self._root = root
        self._encode = encode
        self._entries: List[_zip.Entry] = []
        self._blobs: List[memoryview] = []  # attrs and parts of all arrays
        self._short = bytearray()
        self._items = 0
        self._reach = 0
        self.buffers: List[memoryview] = []
        self.position = 0
        self.encoded: List[Any] = []

    def add(self, value: Any, path: Path, name: bytes) -> Dict[str, Any]:
        """Adds a value and returns its node of the description. ``name``: of its entry."""
        self._items += 1
        if self._items > MAX_ITEMS:
            raise EncodeError(f"more than {MAX_ITEMS} arrays in one collection; store np.stack(x) if they have one shape, or several parts under one key each")
        cls = type(value)
        if not isinstance(value, CLASSES):
            return self._add_array(value, path, name)
        if len(path) >= MAX_DEPTH:
            self._refuse(f"a collection nests deeper than {MAX_DEPTH} levels; store x under a key of its own", path)
        prefix = name + b"/" if path else b""
        if cls is dict:
            return {"dict": [[key, self.add(item, (*path, key), prefix + self._key(key, path))] for key, item in value.items()]}
        if cls is list:
            return {"list": self._add_items(value, path, prefix)}
        if cls is tuple:
            return {"tuple": self._add_items(value, path, prefix)}
        known = _numpy_results.name_of(cls) if isinstance(value, tuple) else None
        if known is None:
            self._refuse(f"a {_advice.full_name(cls)} would not come back as such; {_advice.for_collection(value)}", path)
        return {"tuple": self._add_items(value, path, prefix), "class": known}

    def _add_items(self, items: Sequence[Any], path: Path, prefix: bytes) -> List[Any]:
        return [self.add(item, (*path, i), b"%b%d" % (prefix, i)) for i, item in enumerate(items)]

    def _key(self, key: Any, path: Path) -> bytes:
        if type(key) is not str:
            self._refuse(f"a key of a dict is {_advice.full_name(type(key))}, not str; store {{str(key): value for key, value in x.items()}}", path)
        try:
            if len(key.encode()) <= MAX_KEY:
                return _component(key)
            reason = f"is longer than {MAX_KEY} bytes"
        except UnicodeEncodeError:
            reason = "is not Unicode"
        return self._refuse(f"the key {key[:40]!r} of a dict {reason}; store (np.array(list(x)), list(x.values()))", path)

    def _add_array(self, value: Any, path: Path, name: bytes) -> Dict[str, Any]:
        try:
            encoded = self._encode(value)
        except EncodeError as exc:
            self._refuse_item(exc, path)
        self.encoded.append(encoded)
        self._add_entry(name + b".npy", [encoded.header, encoded.data])
        node: Dict[str, Any] = {}
        if encoded.attrs:
            node["attrs"] = len(encoded.attrs)
            self._blobs.append(memoryview(encoded.attrs))
            self._reach += _reach(encoded.keep, _attrs.load(encoded.attrs))
        if encoded.parts:
            node["parts"] = [[part.decode(), len(data)] for part, data in encoded.parts]
            self._blobs += [data for _, data in encoded.parts]
        return node

    def finish(self, tree: Dict[str, Any]) -> None:
        """Adds the description and the directory. Raises EncodeError above their limits."""
        text = json.dumps({"v": 1, "tree": tree}, separators=(",", ":")).encode("ascii")
        if len(text) > _MAX_TEXT:
            raise EncodeError(f"the names in the collection take {len(text)} bytes, the limit is {_MAX_TEXT}; store several parts under one key each")
        buffers: List[Buffer] = [text + b" " * (-(len(text) + 1) % _zip.ALIGN) + b"\n"]
        size = len(buffers[0])
        for blob in self._blobs:
            padding = bytes(-size % _zip.ALIGN)
            buffers += (padding, blob)
            size += len(padding) + len(blob)
        self._add_entry(_DESCRIPTION_ENTRY, [build_header("|u1", False, (size,)), *buffers])
        self._append(_zip.directory(self._entries, self.position))
        self._flush()
        if self._reach > max(EXACT_SPAN, AUTO_SPAN * self.position):
            raise EncodeError(f"the strides of its arrays need {self._reach} bytes for a collection of {self.position} bytes; store it with layout='packed'")

    def _add_entry(self, name: bytes, buffers: Sequence[Buffer]) -> None:
        crc = 0
        for buffer in buffers:
            crc = zlib.crc32(buffer, crc)
        entry = _zip.Entry(name, sum(map(len, buffers)), crc, self.position)
        self._entries.append(entry)
        self._append(_zip.local_header(entry))
        for buffer in buffers:
            self._append(buffer)

    def _append(self, buffer: Buffer) -> None:
        self.position += len(buffer)
        if len(buffer) < _JOINED:
            self._short += buffer
        else:
            self._flush()
            self.buffers.append(memoryview(buffer))

    def _flush(self) -> None:
        if self._short:
            self.buffers.append(memoryview(bytes(self._short)))
            self._short = bytearray()

    def _refuse(self, text: str, path: Path) -> NoReturn:
        raise EncodeError(text + _place(path))

    def _refuse_item(self, exc: EncodeError, path: Path) -> NoReturn:
        """Raises the error for an item that cannot be stored. For a list or tuple without any array,
        such as one of numbers, it concerns the whole of it."""
        value = self._root
        for depth in range(len(path)):
            if not isinstance(value, dict) and not any(_has_arrays(item, set()) for item in value):
                what = f"a {type(value).__name__} of {_advice.full_name(type(value[path[depth]]))} is not a collection of arrays"
                self._refuse(f"{what}; {_advice.for_value(value)}", path[:depth])
            value = value[path[depth]]
        raise EncodeError(f"{exc}{_place(path)}") from exc


def _place(path: Path) -> str:
    """Returns the end of an error's text: where the x of its suggestion is."""
    text = "".join(f"[{key!r}]" for key in path)
    return f" (where x is the collection's item {text[:200]})" if path else ""


def _has_arrays(value: Any, seen: Any) -> bool:
    """Whether a value is an array, a dict, or a list or tuple that has one in it. ``seen``: ids of
    the lists and tuples that were looked at."""
    if not isinstance(value, (list, tuple)):
        return isinstance(value, (np.ndarray, np.generic, dict)) or _advice.is_array_like(value)
    if id(value) in seen or len(seen) > MAX_ITEMS:
        return False
    seen.add(id(value))
    return any(_has_arrays(item, seen) for item in value)


def _reach(value: Any, py: Mapping[str, Any]) -> int:
    """Returns the bytes that an array and its mask span if a reader has to allocate memory for them,
    because strides are recorded or the texts of StringDType, else 0."""
    total = 0
    for array, node in ((value, py), (getattr(value, "_mask", None), py.get("mask", {}))):
        if "strides" in node or "string" in node:
            base = np.ndarray.view(array, np.ndarray)
            low, high = bounds(base.shape, base.strides, base.itemsize)
            total += high - low
    return total


# ---- reading


def unpack(header: Header, data: np.ndarray[Any, Any], py: Mapping[str, Any], max_bytes: Optional[int]) -> Any:
    """Returns the collection that ``pack`` packed. Its arrays are views of ``data``, which is
    writable 1-d uint8 of ``header.nbytes`` bytes. Raises DecodeError.

    ``max_bytes``: limit on memory allocated beside ``data`` for all layouts together; by default 512
    MiB, or 8 times the data if that is more.
    """
    _attrs.check_keys(py, "py", {"kind": str})
    if header.descr != "|u1" or len(header.shape) != 1:
        raise DecodeError("attrs say that the array is an archive, but it is not one axis of bytes")
    return _Unpacker(data, max(EXACT_SPAN, AUTO_SPAN * data.nbytes) if max_bytes is None else max_bytes).value()


class _Unpacker:
    """Reads an archive. ``budget``: bytes that may still be allocated for layouts."""

    def __init__(self, data: np.ndarray[Any, Any], budget: int) -> None:
        self._data = data
        self._bytes = byte_view(data)
        self._budget = budget
        self._items = 0
        entries = _zip.read(self._bytes, MAX_ITEMS + 1)
        if not entries or entries[-1][0] != _DESCRIPTION_ENTRY:
            raise DecodeError(f"the last entry of a collection's archive is not {_DESCRIPTION_ENTRY.decode()}")
        header, start, end = self._npy(*entries.pop())
        if header.descr != "|u1" or len(header.shape) != 1:
            raise DecodeError("the description of a collection is not one axis of bytes")
        self._entries: Iterator[Tuple[bytes, int, int]] = iter(entries)
        text = bytes(self._bytes[start : min(end, start + _MAX_TEXT + _zip.ALIGN)]).partition(b"\n")
        if not text[1]:
            raise DecodeError("the description of a collection has no end, or is too long")
        self._tree = _parse(text[0])
        # Attrs and parts follow the text, each at a multiple of 64 bytes.
        self._description, self._description_end = start, end
        self._blob = len(text[0]) + 1

    def _npy(self, name: bytes, start: int, end: int) -> Tuple[Header, int, int]:
        """Returns the header of an entry, and where its data starts and ends."""
        header = parse_header(self._bytes[start:end])
        if header is None or header.data_offset + header.nbytes != end - start:
            raise DecodeError(f"the entry {name[:80]!r} of a collection's archive is not a .npy file of its size")
        return header, start + header.data_offset, end

    def value(self) -> Any:
        result = self._value(self._tree, b"", 0)
        if next(self._entries, None) is not None or self._description + self._blob != self._description_end:
            raise DecodeError("a collection's archive has more than its description says")
        return result

    def _value(self, node: Any, name: bytes, depth: int) -> Any:
        self._items += 1
        if type(node) is not dict or self._items > MAX_ITEMS:
            raise DecodeError("the description of a collection has an item that is not an object, or too many items")
        keys = node.keys()
        if keys <= {"attrs", "parts"} and depth:
            return self._array(node, name)
        if depth >= MAX_DEPTH:
            raise DecodeError(f"a collection nests deeper than {MAX_DEPTH} levels")
        prefix = name + b"/" if depth else b""
        if keys == {"dict"}:
            return self._dict(node["dict"], prefix, depth)
        if keys == {"list"}:
            return self._sequence(node["list"], prefix, depth)
        if keys == {"tuple"}:
            return tuple(self._sequence(node["tuple"], prefix, depth))
        if keys == {"tuple", "class"}:
            return self._numpy_result(node["class"], self._sequence(node["tuple"], prefix, depth))
        raise DecodeError(f"an item of a collection has the unknown keys {str(sorted(keys))[:80]}: it was stored by a newer ndring")

    def _sequence(self, nodes: Any, prefix: bytes, depth: int) -> List[Any]:
        if type(nodes) is not list:
            raise DecodeError("a list or tuple in the description of a collection is not an array")
        return [self._value(node, b"%b%d" % (prefix, i), depth + 1) for i, node in enumerate(nodes)]

    def _dict(self, pairs: Any, prefix: bytes, depth: int) -> Dict[str, Any]:
        if type(pairs) is not list or not all(type(pair) is list and len(pair) == 2 and type(pair[0]) is str for pair in pairs):
            raise DecodeError("a dict in the description of a collection is not an array of [key, item]")
        try:
            result = {key: self._value(node, prefix + _component(key), depth + 1) for key, node in pairs}
        except UnicodeEncodeError as exc:
            raise DecodeError("a key of a collection is not Unicode") from exc
        if len(result) != len(pairs):
            raise DecodeError("a key of a collection occurs twice")
        return result

    def _numpy_result(self, name: Any, items: List[Any]) -> Any:
        if type(name) is not str or name not in _numpy_results.RESULTS or _numpy_results.RESULTS[name][0] != len(items):
            raise DecodeError(f"a tuple of {len(items)} items cannot be a {str(name)[:80]!r}: it was stored by a newer ndring")
        return tuple.__new__(_numpy_results.class_of(name), items)

    def _array(self, node: Dict[str, Any], name: bytes) -> Any:
        entry = next(self._entries, None)
        if entry is None or entry[0] != name + b".npy":
            raise DecodeError(f"the entry {name[:80]!r} of a collection's archive is missing")
        header, start, end = self._npy(*entry)
        data = self._data[start:end]
        if not node:
            dtype = header.dtype
            array: np.ndarray[Any, Any] = np.ndarray(header.shape, dtype, data, 0, header.strides)
            if array.flags.behaved:
                return array
        py = _attrs.load(self._next_blob(node["attrs"]).tobytes()) if "attrs" in node else {}
        parts: Dict[str, Any] = {}
        listed = node.get("parts", [])
        if type(listed) is not list:
            raise DecodeError("the parts in the description of a collection are not an array")
        for item in listed:
            if type(item) is not list or len(item) != 2 or type(item[0]) is not str:
                raise DecodeError("a part in the description of a collection is not [name, size]")
            parts[item[0]] = self._next_blob(item[1])
        value = _kinds.unpack(header, data, py, parts, self._budget)
        self._budget -= _reach(value, py)
        return value

    def _next_blob(self, size: Any) -> np.ndarray[Any, Any]:
        """Returns the next attrs or part: 1-d uint8, a view of the data."""
        start = self._blob + -self._blob % _zip.ALIGN
        if type(size) is not int or size < 0 or self._description + start + size > self._description_end:
            raise DecodeError("attrs or parts of a collection exceed its description")
        self._blob = start + size
        return self._data[self._description + start : self._description + self._blob]


def _parse(text: bytes) -> Any:
    try:
        description = json.loads(text.decode("utf8"), object_pairs_hook=_attrs.reject_duplicates, parse_constant=_attrs.reject_constant, parse_int=_integer)
    except (ValueError, RecursionError) as exc:
        raise DecodeError(f"the description of a collection is not JSON: {exc}") from exc
    if type(description) is not dict or description.keys() != {"v", "tree"} or type(description["v"]) is not int or description["v"] != 1:
        raise DecodeError("the description of a collection is not of version 1: update ndring")
    return description["tree"]


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)
