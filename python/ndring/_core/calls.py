"""The methods that are one command: its request, and how to turn the reply into the result. Both
clients and the pipeline have them under these names, with the signatures and documentation that
stand here."""
from __future__ import annotations

import operator
import uuid
from typing import Any, Callable, Generic, List, NamedTuple, Optional, Sequence, Tuple, TypeVar

import numpy as np

from .._exceptions import DecodeError
from .commands import Meta, get_request, meta_request, piece_request, restore, restore_piece, set_request
from .options import Key, Seconds, UnixTime, Value, checked_indices, duration, encode_key, set_options, unix_time
from .replies import checked, is_flag, is_ok, is_ok_or_null, is_shape_or_null, is_size_or_null, is_time, is_version_or_null, up_to
from .request import Request
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


class Defaults(NamedTuple):
    """What a client says for all of its calls."""

    write_concern: Optional[str] = None


def _call(check: Callable[[Any], bool], finish: Callable[[Any], T], name: bytes, key: Key, *arguments: bytes) -> Call[T]:
    encoded = encode_key(key)
    writes, spread = check is is_flag, check in (is_shape_or_null, is_time)
    request = Request(pack(name, encoded, *arguments), checked(name.decode(), check), key=encoded, writes=writes, spread=spread)
    miss = False if check is is_flag else -2 if check is is_time else None
    return Call(request, finish, (encoded,), writes, miss)


def set_(
    defaults: Defaults,
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
    """Stores a NumPy array or scalar. Returns False if ``nx``, ``xx`` or ``if_version``
    prevented it, else True.

    ``ex``, ``px``: time to live in seconds or milliseconds, or as a timedelta. ``exat``,
    ``pxat``: expiry as Unix time in seconds or milliseconds, or as a datetime. ``keepttl``:
    keep the old value's time to live. ``nx``: only if the key is missing. ``xx``: only if it
    exists. ``if_version``: only if the stored array has this version (``meta(key).version``).
    ``write_concern``: wait until ``"one"``, ``"sync"`` (all that are in sync) or ``"all"``
    copies have it; None: the client's, and if it has none, the nodes' default. ``layout``:
    ``"auto"`` restores unusual strides unless they span more than 8 times the data, ``"exact"``
    always restores them, ``"packed"`` never. ``metadata="drop"`` omits ``dtype.metadata`` that
    is not plain JSON instead of raising.

    Do not modify the array until this returns. Raises EncodeError for values that would not
    come back unchanged (object arrays, unknown subclasses), ValueError for options that exclude
    each other, UncertainWrite if it is unknown whether the array was stored, NoReplicasError if
    there are too few copies, and ServerError, ConnectionError or TimeoutError.

    A plain write whose reply was lost is repeated, which may overwrite what another client has
    stored in between.
    """
    if write_concern is None:
        write_concern = defaults.write_concern
    if ex is px is exat is pxat is None and if_version is write_concern is None and not (keepttl or nx or xx):
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


def get(defaults: Defaults, key: Key, default: Any = None) -> Call[Any]:
    """Returns the stored array or scalar, or ``default`` for a missing key."""
    encoded = encode_key(key)
    if default is None:
        return Call(get_request(encoded), restore, (encoded,))
    return Call(get_request(encoded), lambda stored: default if stored is None else restore(stored), (encoded,), False, default)


def take(defaults: Defaults, key: Key, indices: Any, axis: int = 0) -> Call[Any]:
    """Returns the elements at ``indices`` along an axis, as ``np.take`` does, or None for a
    missing key. Only they are transferred: rows of an embedding table, for example. ::

        rows = client.take("embeddings", ids)  # shape (len(ids), 768)

    ``indices``: integers in an array of any shape, at most 65,536; negative ones count from the
    end. The result is a new ndarray with the stored dtype; classes (matrix, recarray) and flags
    are not restored. Raises BoundsError, which is an IndexError, DecodeError for a masked array
    or StringDType, and what ``get`` raises.
    """
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


def meta(defaults: Defaults, key: Key) -> Call[Optional[Meta]]:
    """Returns the array's metadata without transferring its data, or None for a missing key."""
    return _meta(key, lambda found: found)


def shape(defaults: Defaults, key: Key) -> Call[Optional[Tuple[int, ...]]]:
    """Returns the shape without transferring the data, or None for a missing key."""
    return _call(is_shape_or_null, lambda reply: None if reply is None else tuple(reply), b"NP.SHAPE", key)


def dtype(defaults: Defaults, key: Key) -> Call[Optional[np.dtype[Any]]]:
    """Returns the dtype without transferring the data, or None for a missing key."""
    return _meta(key, lambda found: None if found is None else found.dtype)


def _meta(key: Key, finish: Callable[[Optional[Meta]], T]) -> Call[T]:
    encoded = encode_key(key)
    return Call(meta_request(encoded), finish, (encoded,))


def verify(defaults: Defaults, key: Key) -> Call[bool]:
    """Makes the node recompute the CRC32C of the stored bytes. Returns True if it matches,
    False for a missing key. Raises CorruptError if it differs."""
    call = _call(is_ok_or_null, _is_done, b"NP.VERIFY", key)
    call.miss = False
    return call


def expire(defaults: Defaults, key: Key, seconds: Seconds) -> Call[bool]:
    """Sets the time to live, in seconds or as a timedelta; 0 or less deletes the key. Returns
    False for a missing key."""
    return _call(is_flag, bool, b"NP.EXPIRE", key, b"%d" % duration(seconds, 1, "seconds"))


def pexpire(defaults: Defaults, key: Key, milliseconds: Seconds) -> Call[bool]:
    """Sets the time to live, in milliseconds or as a timedelta; 0 or less deletes the key.
    Returns False for a missing key."""
    return _call(is_flag, bool, b"NP.PEXPIRE", key, b"%d" % duration(milliseconds, 1000, "milliseconds"))


def expireat(defaults: Defaults, key: Key, when: UnixTime) -> Call[bool]:
    """Sets the expiry: Unix time in seconds, or a datetime; a past time deletes the key.
    Returns False for a missing key."""
    return _call(is_flag, bool, b"EXPIREAT", key, b"%d" % unix_time(when, 1, "when"))


def persist(defaults: Defaults, key: Key) -> Call[bool]:
    """Removes the time to live. Returns False if there was none, or for a missing key."""
    return _call(is_flag, bool, b"NP.PERSIST", key)


def ttl(defaults: Defaults, key: Key) -> Call[int]:
    """Returns the time to live in seconds, rounded; -1 if the key does not expire, -2 for a
    missing key."""
    return _call(is_time, int, b"NP.TTL", key)


def pttl(defaults: Defaults, key: Key) -> Call[int]:
    """Returns the time to live in milliseconds; -1 if the key does not expire, -2 for a missing key."""
    return _call(is_time, int, b"NP.PTTL", key)


def memory_usage(defaults: Defaults, key: Key) -> Call[Optional[int]]:
    """Returns approximately how many bytes of the node's memory the key and its array use, or
    None for a missing key."""
    encoded = encode_key(key)
    read = checked("MEMORY USAGE", is_size_or_null)
    return Call(Request(pack(b"MEMORY", b"USAGE", encoded), read, key=encoded), lambda reply: reply, (encoded,))
