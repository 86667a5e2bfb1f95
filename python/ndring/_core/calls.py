"""One Call per method of the client: its request, and how to turn the reply into the result. Client
and pipeline share them."""
from __future__ import annotations

import operator
import uuid
from typing import Any, Callable, Generic, List, Optional, Sequence, Tuple, TypeVar

import numpy as np

from .commands import Meta, get_request, meta_request, piece_request, restore, restore_piece, set_request
from .._exceptions import DecodeError
from .options import Key, Seconds, UnixTime, Value, checked_indices, duration, encode_key, set_options, unix_time
from .replies import checked, is_flag, is_ok, is_ok_or_null, is_shape_or_null, is_size_or_null, is_time, is_version_or_null, up_to
from .._sync.transport import Request
from .resp import Piece, pack

T = TypeVar("T")


class Call(Generic[T]):
    """A request and ``finish``, which turns its reply into the result. ``keys``: the keys it
    concerns. ``writes``: whether it changes anything. ``miss``: the result that means "nothing
    there" or "nothing done"."""

    __slots__ = ("request", "finish", "keys", "writes", "miss")

    def __init__(self, request: Request, finish: Callable[[Any], T], keys: Tuple[bytes, ...], writes: bool = False, miss: Any = None) -> None:
        self.request = request
        self.finish = finish
        self.keys = keys
        self.writes = writes
        self.miss = miss


def _call(check: Callable[[Any], bool], finish: Callable[[Any], T], name: bytes, key: Key, *arguments: bytes) -> Call[T]:
    encoded = encode_key(key)
    writes, spread = check is is_flag, check in (is_shape_or_null, is_time)
    request = Request(pack(name, encoded, *arguments), checked(name.decode(), check), key=encoded, writes=writes, spread=spread)
    miss = False if check is is_flag else -2 if check is is_time else None
    return Call(request, finish, (encoded,), writes, miss)


def set_(
    key: Key,
    value: Value,
    *,
    ex: Optional[Seconds] = None,
    px: Optional[Seconds] = None,
    exat: Optional[UnixTime] = None,
    pxat: Optional[UnixTime] = None,
    keepttl: bool = False,
    nx: bool = False,
    xx: bool = False,
    if_version: Optional[str] = None,
    write_concern: Optional[str] = None,
    layout: str = "auto",
    metadata: str = "error",
    convert: bool = False,
) -> Call[bool]:
    if ex is px is exat is pxat is if_version is write_concern is None and not (keepttl or nx or xx):
        encoded = encode_key(key)
        return Call(set_request(encoded, value, layout, metadata, (), convert=convert), _is_done, (encoded,), True, False)
    words = set_options(ex, px, exat, pxat, keepttl, nx, xx, if_version, write_concern)
    conditional = bool(nx or xx or if_version is not None)
    return _set(key, value, words, conditional, layout, metadata, _is_done, is_ok_or_null if conditional else is_ok, convert)


def _is_done(reply: Any) -> bool:
    return reply is not None


def set_version(key: Key, value: Any, *, px: int, nx: bool = False, if_version: Optional[str] = None) -> Call[Optional[str]]:
    """A conditional write that returns the new version, or None if the condition did not hold."""
    words = set_options(None, px, None, None, False, nx, False, if_version, None) + [b"WITHVERSION"]
    return _set(key, value, words, True, "packed", "error", lambda reply: None if reply is None else reply.decode(), is_version_or_null)


def _set(
    key: Key, value: Any, words: List[bytes], conditional: bool, layout: str, metadata: str, finish: Callable[[Any], T],
    check: Callable[[Any], bool], convert: bool = False,
) -> Call[T]:  # fmt: skip
    encoded = encode_key(key)
    if conditional:
        words += (b"REQID", uuid.uuid4().hex.encode())
    return Call(set_request(encoded, value, layout, metadata, words, conditional, check, convert), finish, (encoded,), True, False)


def get(key: Key, default: Any = None) -> Call[Any]:
    encoded = encode_key(key)
    if default is None:
        return Call(get_request(encoded), restore, (encoded,))
    return Call(get_request(encoded), lambda stored: default if stored is None else restore(stored), (encoded,), False, default)


def take(key: Key, indices: Any, axis: int) -> Call[Any]:
    flat, shape = checked_indices(indices)
    at = operator.index(axis)
    request = piece_request(b"NP.TAKE", encode_key(key), b"%d" % at, b",".join([b"%d" % i for i in flat]))

    def finish(piece: Optional[Piece]) -> Any:
        array = restore_piece(piece)
        if array is None:
            return None
        if not -array.ndim <= at < array.ndim or array.shape[at] != len(flat):
            raise DecodeError(f"{len(flat)} indices were taken along axis {at}, and the reply has shape {array.shape}")
        if len(shape) == 1:
            return array
        first = at % array.ndim
        return array.reshape(array.shape[:first] + shape + array.shape[first + 1 :])[()]

    return Call(request, finish, (request.key or b"",))


def part(key: Key, selection: bytes) -> Call[Any]:
    """``selection``: what NP.SLICE takes."""
    request = piece_request(b"NP.SLICE", encode_key(key), selection)
    return Call(request, restore_piece, (request.key or b"",))


def count_keys(name: bytes, keys: Sequence[bytes]) -> Call[int]:
    """DEL or EXISTS for keys of one slot."""
    writes = name == b"NP.DEL"
    request = Request(pack(name, *keys), checked(name.decode(), up_to(len(keys))), key=keys[0], writes=writes, spread=not writes)
    return Call(request, int, tuple(keys), writes, 0)


def meta(key: Key) -> Call[Optional[Meta]]:
    return _meta(key, lambda found: found)


def shape(key: Key) -> Call[Optional[Tuple[int, ...]]]:
    return _call(is_shape_or_null, lambda reply: None if reply is None else tuple(reply), b"NP.SHAPE", key)


def dtype(key: Key) -> Call[Optional[np.dtype[Any]]]:
    return _meta(key, lambda found: None if found is None else found.dtype)


def _meta(key: Key, finish: Callable[[Optional[Meta]], T]) -> Call[T]:
    encoded = encode_key(key)
    return Call(meta_request(encoded), finish, (encoded,))


def verify(key: Key) -> Call[bool]:
    call = _call(is_ok_or_null, _is_done, b"NP.VERIFY", key)
    call.miss = False
    return call


def expire(key: Key, seconds: Seconds) -> Call[bool]:
    return _call(is_flag, bool, b"NP.EXPIRE", key, b"%d" % duration(seconds, 1, "seconds"))


def pexpire(key: Key, milliseconds: Seconds) -> Call[bool]:
    return _call(is_flag, bool, b"NP.PEXPIRE", key, b"%d" % duration(milliseconds, 1000, "milliseconds"))


def expireat(key: Key, when: UnixTime) -> Call[bool]:
    return _call(is_flag, bool, b"EXPIREAT", key, b"%d" % unix_time(when, 1, "when"))


def persist(key: Key) -> Call[bool]:
    return _call(is_flag, bool, b"NP.PERSIST", key)


def ttl(key: Key) -> Call[int]:
    return _call(is_time, int, b"NP.TTL", key)


def pttl(key: Key) -> Call[int]:
    return _call(is_time, int, b"NP.PTTL", key)


def memory_usage(key: Key) -> Call[Optional[int]]:
    encoded = encode_key(key)
    read = checked("MEMORY USAGE", is_size_or_null)
    return Call(Request(pack(b"MEMORY", b"USAGE", encoded), read, key=encoded), lambda reply: reply, (encoded,))
