"""Keys, sizes and times as text."""
from __future__ import annotations

import re
from typing import Any, Optional

import numpy as np

_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
_BYTES = {name[1].encode(): char.encode() for char, name in _NAMES.items()}
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.?))", re.DOTALL)


def escape_key(key: bytes, encoding: Optional[str] = "utf-8") -> str:
    """Returns a key as one line of text from which ``unescape_key`` restores it: printable
    characters as they are, a backslash as ``\\\\``, all other bytes as ``\\n``, ``\\r``, ``\\t`` or
    ``\\xff``. ``encoding``: of the output; what it cannot express counts as not printable."""
    out = []
    for char in key.decode("utf-8", "surrogateescape"):
        raw = char.encode("utf-8", "surrogateescape")
        if char in _NAMES:
            out.append(_NAMES[char])
        elif char.isprintable() and _is_encodable(char, encoding):
            out.append(char)
        else:
            out.append("".join(f"\\x{byte:02x}" for byte in raw))
    return "".join(out)


def unescape_key(text: bytes) -> bytes:
    """Returns the key that ``escape_key`` has written. Raises ValueError for any other escape."""

    def restore(found: "re.Match[bytes]") -> bytes:
        if found[1] is not None:
            return bytes([int(found[1], 16)])
        if found[2] not in _BYTES:
            raise ValueError(f"unknown escape {escape_key(found[0])}; known are \\\\ \\n \\r \\t and \\x with two hexadecimal digits")
        return _BYTES[found[2]]

    return _ESCAPE.sub(restore, text)


def _is_encodable(char: str, encoding: Optional[str]) -> bool:
    if char.isascii():
        return True
    try:
        char.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def one_line(text: str) -> str:
    """Returns a message, which may contain text of a server, as one line without control characters."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Returns text with control characters escaped, which could move the cursor or hide a part."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def dtype_text(dtype: np.dtype[Any]) -> str:
    """Returns a dtype as one word, such as ``float32`` or ``[('a','<i4'),('b','>f8')]``."""
    return one_line(str(dtype)).replace("', '", "','").replace(", ", ",").replace(": ", ":").replace(" ", "_")


def shape_text(shape: Any) -> str:
    """Returns a shape as one word, such as ``(2,3)``."""
    return repr(tuple(shape)).replace(" ", "")


def human_size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f}{unit}" if unit == "B" else f"{size:.1f}{unit}"
        size /= 1024
    return f"{size:.1f}TiB"


def seconds_left(pttl: int) -> Optional[int]:
    """Returns a time to live in seconds, rounded up; None if there is none."""
    return None if pttl < 0 else -(-pttl // 1000)


def human_time(seconds: int) -> str:
    """Returns a duration in its two largest units, such as ``1h30m``."""
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    for (name, size), (smaller, length) in zip(units, units[1:]):
        if seconds >= size:
            rest = seconds % size // length
            return f"{seconds // size}{name}" + (f"{rest}{smaller}" if rest else "")
    return f"{seconds}s"


def dtype_json(dtype: np.dtype[Any]) -> Any:
    """Returns a dtype as ``np.lib.format`` writes it: a string, or a list of fields. Where that
    does not say what the dtype is, returns its name."""
    if dtype.names is None:
        try:
            return dtype.str if np.dtype(dtype.str) == dtype and dtype.kind != "T" else str(dtype)
        except TypeError:
            return str(dtype)
    try:
        return [list(field) for field in dtype.descr]
    except ValueError:  # fields that overlap or are out of order
        return str(dtype)
