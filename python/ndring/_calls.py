"""The commands that concern one key, each as a request and what its reply means. Client and pipeline share them."""
from __future__ import annotations

import uuid
from typing import Any, Callable, Generic, List, Optional, Sequence, Tuple, TypeVar

import numpy as np

from ._commands import Meta, get_request, parse_meta, restore, set_request
from ._options import Key, Moment, Seconds, Value, encode_key, moment, set_options, whole
from ._transport import Request
from ._wire import pack

T = TypeVar("T")


class Call(Generic[T]):
    """A request; ``finish`` makes the result of its reply. ``keys``: those that it concerns."""

    __slots__ = ("request", "finish", "keys")

    def __init__(self, request: Request, finish: Callable[[Any], T], keys: Tuple[bytes, ...]) -> None:
        self.request = request
        self.finish = finish
        self.keys = keys


def _call(finish: Callable[[Any], T], name: bytes, key: Key, *arguments: bytes) -> Call[T]:
    encoded = encode_key(key)
    return Call(Request(pack(name, encoded, *arguments), key=encoded), finish, (encoded,))


def set_(
    key: Key,
    value: Value,
    *,
    ex: Optional[Seconds] = None,
    px: Optional[Seconds] = None,
    exat: Optional[Moment] = None,
    pxat: Optional[Moment] = None,
    keepttl: bool = False,
    nx: bool = False,
    xx: bool = False,
    if_version: Optional[str] = None,
    write_concern: Optional[str] = None,
    layout: str = "auto",
    metadata: str = "error",
) -> Call[bool]:
    if ex is px is exat is pxat is if_version is write_concern is None and not (keepttl or nx or xx):
        encoded = encode_key(key)
        return Call(set_request(encoded, value, layout, metadata, ()), _is_done, (encoded,))
    words = set_options(ex, px, exat, pxat, keepttl, nx, xx, if_version, write_concern)
    return _set(key, value, words, bool(nx or xx or if_version is not None), layout, metadata, _is_done)


def _is_done(reply: Any) -> bool:
    return reply is not None


def set_version(key: Key, value: Any, *, px: int, nx: bool = False, if_version: Optional[str] = None) -> Call[Optional[str]]:
    """Is a conditional write whose result is the new version, None if the condition did not hold."""
    words = set_options(None, px, None, None, False, nx, False, if_version, None) + [b"WITHVERSION"]
    return _set(key, value, words, True, "packed", "error", lambda reply: None if reply is None else reply.decode())


def _set(
    key: Key, value: Any, words: List[bytes], conditional: bool, layout: str, metadata: str, finish: Callable[[Any], T]
) -> Call[T]:
    encoded = encode_key(key)
    if conditional:
        words += (b"REQID", uuid.uuid4().hex.encode())
    return Call(set_request(encoded, value, layout, metadata, words, conditional), finish, (encoded,))


def get(key: Key, default: Any = None) -> Call[Any]:
    encoded = encode_key(key)
    if default is None:
        return Call(get_request(encoded), restore, (encoded,))
    return Call(get_request(encoded), lambda stored: default if stored is None else restore(stored), (encoded,))


def counted(name: bytes, keys: Sequence[bytes]) -> Call[int]:
    """Is DEL or EXISTS of keys of one slot."""
    return Call(Request(pack(name, *keys), key=keys[0]), int, tuple(keys))


def meta(key: Key) -> Call[Optional[Meta]]:
    return _call(parse_meta, b"NP.META", key)


def shape(key: Key) -> Call[Optional[Tuple[int, ...]]]:
    return _call(lambda reply: None if reply is None else tuple(reply), b"NP.SHAPE", key)


def dtype(key: Key) -> Call[Optional[np.dtype[Any]]]:
    def finish(reply: Any) -> Optional[np.dtype[Any]]:
        found = parse_meta(reply)
        return None if found is None else found.dtype

    return _call(finish, b"NP.META", key)


def verify(key: Key) -> Call[bool]:
    return _call(lambda reply: reply is not None, b"NP.VERIFY", key)


def expire(key: Key, seconds: Seconds) -> Call[bool]:
    return _call(bool, b"NP.EXPIRE", key, b"%d" % whole(seconds, 1, "seconds"))


def pexpire(key: Key, milliseconds: Seconds) -> Call[bool]:
    return _call(bool, b"NP.PEXPIRE", key, b"%d" % whole(milliseconds, 1000, "milliseconds"))


def expireat(key: Key, when: Moment) -> Call[bool]:
    return _call(bool, b"EXPIREAT", key, b"%d" % moment(when, 1, "when"))


def persist(key: Key) -> Call[bool]:
    return _call(bool, b"NP.PERSIST", key)


def ttl(key: Key) -> Call[int]:
    return _call(int, b"NP.TTL", key)


def pttl(key: Key) -> Call[int]:
    return _call(int, b"NP.PTTL", key)


def memory_usage(key: Key) -> Call[Optional[int]]:
    encoded = encode_key(key)
    return Call(Request(pack(b"MEMORY", b"USAGE", encoded), key=encoded), lambda reply: None if reply is None else int(reply), (encoded,))
