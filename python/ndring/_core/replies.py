"""Checks what a command may reply. After any other reply the stream cannot be trusted, and the
client closes the connection."""
from __future__ import annotations

import re
from typing import Any, Callable

from .._exceptions import DecodeError
from .resp import Reading, ReplyReader

_VERSION = re.compile(rb"\d{1,20}-\d{1,20}")
_LARGEST = 2**63 - 1
_MAX_DIMENSIONS = 64


def checked(command: str, check: Callable[[Any], bool]) -> Callable[[ReplyReader], Reading[Any]]:
    """Returns a function that reads a reply and raises DecodeError unless it passes the check."""

    def read(reader: ReplyReader) -> Reading[Any]:
        reply = yield from reader.reply()
        if not check(reply):
            raise DecodeError(f"unexpected reply to {command}: {repr(reply)[:60]}: the connection is out of sync, or this is not ndring")
        return reply

    return read


def is_ok(reply: Any) -> bool:
    return type(reply) is str and reply == "OK"


def is_ok_or_null(reply: Any) -> bool:
    return reply is None or is_ok(reply)


def is_version_or_null(reply: Any) -> bool:
    return reply is None or type(reply) is bytes and _VERSION.fullmatch(reply) is not None


def is_flag(reply: Any) -> bool:
    return type(reply) is int and reply in (0, 1)


def is_size_or_null(reply: Any) -> bool:
    return reply is None or is_size(reply)


def is_size(reply: Any) -> bool:
    return type(reply) is int and 0 <= reply <= _LARGEST


def is_time(reply: Any) -> bool:
    """For TTL: -1 means that the key does not expire, -2 that it is missing."""
    return type(reply) is int and -2 <= reply <= _LARGEST


def is_shape_or_null(reply: Any) -> bool:
    return reply is None or type(reply) is list and len(reply) <= _MAX_DIMENSIONS and all(map(is_size, reply))


def is_pong(reply: Any) -> bool:
    return type(reply) is str and reply == "PONG"


def is_text(reply: Any) -> bool:
    return type(reply) in (str, bytes)


def is_page(reply: Any) -> bool:
    """For NP.SCAN: a cursor and keys."""
    if type(reply) is not list or len(reply) != 2 or type(reply[1]) is not list:
        return False
    cursor, keys = reply
    return type(cursor) is bytes and 0 < len(cursor) <= 20 and cursor.isdigit() and all(type(key) is bytes for key in keys)


def up_to(most: int) -> Callable[[Any], bool]:
    return lambda reply: is_size(reply) and reply <= most
