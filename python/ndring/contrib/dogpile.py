"""A backend for dogpile.cache whose values are NumPy arrays and scalars, stored exactly and without pickle. ::

    from dogpile.cache import make_region
    from ndring.contrib.dogpile import array_key_generator

    region = make_region(function_key_generator=array_key_generator)
    region.configure("ndring", expiration_time=600, arguments={"host": "cache-a"})

    @region.cache_on_arguments()
    def spectrum(signal): ...

dogpile's metadata (when the value was made) must be replaced together with the value and must not
expire or be evicted without it. So both are one entry: a 1-d uint8 array, which ``_pack`` describes.
Other clients see that array; only this backend reads the value in it.
"""
from __future__ import annotations

import hashlib
import inspect
import json
import random
import struct
import threading
import time
import uuid
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, cast

import numpy as np
from dogpile.cache import register_backend
from dogpile.cache.api import NO_VALUE, CacheBackend, CachedValue, CacheMutex

from .. import (
    BusyError, ClusterDownError, ConnectionError, DecodeError, DiskError, EncodeError, NdringError, NumPyRedis, OutOfMemoryError, TimeoutError,
    UncertainWrite, _codec,
)  # fmt: skip

__all__ = ["NdringBackend", "NdringMutex", "array_key_generator"]

_LEASE = 10.0  # s
_FIRST_DELAY = 0.01  # s; doubles up to _LAST_DELAY, then randomized
_LAST_DELAY = 0.25  # s
_OUTAGES = (ConnectionError, TimeoutError, ClusterDownError, BusyError, OutOfMemoryError, DiskError, UncertainWrite)


class NdringBackend(CacheBackend):
    """Stores the arrays of a dogpile region. These arguments belong to the backend; all others go to
    ``NumPyRedis``, ``host`` and ``port`` included:

    ``client``: a NumPyRedis, shared with the rest of the program. ``url``: as for
    ``NumPyRedis.from_url``. ``ndring_expiration_time``: seconds, also as a float, after which the node drops a
    value. It should be longer than the region's ``expiration_time``, because dogpile serves an old
    value while a new one is made. Without it values stay until they are evicted.
    ``distributed_lock``: True lets one process of all make a missing value; otherwise one thread of
    each process does. ``lock_timeout``: seconds (10) after which another process takes over from one
    that died; a living one keeps its lock for as long as it needs.

    A value that is not a NumPy array or scalar raises EncodeError. With ``on_error="miss"`` an
    outage is a miss, and a lock that cannot be had is done without.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        options = dict(arguments)
        client, url = options.pop("client", None), options.pop("url", None)
        self.expiration_time: Optional[float] = options.pop("ndring_expiration_time", None)
        self.distributed_lock: bool = options.pop("distributed_lock", False)
        self.lock_timeout: float = options.pop("lock_timeout", _LEASE)
        if client is not None and (url is not None or options):
            raise TypeError(f"pass either client or {', '.join(filter(None, [url and 'url', *options]))}")
        self._px = _milliseconds("ndring_expiration_time", self.expiration_time)
        if _milliseconds("lock_timeout", self.lock_timeout) is None:
            raise ValueError("lock_timeout must be a number of seconds: a lock without a timeout outlives a process that dies")
        self.client: NumPyRedis = client if client is not None else NumPyRedis(**options) if url is None else NumPyRedis.from_url(url, **options)

    def get(self, key: str) -> Any:
        return _unpack(key, self.client.get(key))

    def get_multi(self, keys: Sequence[str]) -> List[Any]:
        return [_unpack(key, stored) for key, stored in zip(keys, self.client.mget(keys))]

    def set(self, key: str, value: Any) -> None:
        self.client.set(key, _pack(value), px=self._px)

    def set_multi(self, mapping: Mapping[str, Any]) -> None:
        with self.client.pipeline() as p:
            for key, value in mapping.items():
                p.set(key, _pack(value), px=self._px)
            p.execute()

    def delete(self, key: str) -> None:
        self.client.delete(key)

    def delete_multi(self, keys: Sequence[str]) -> None:
        self.client.delete(*keys)

    def has_lock_timeout(self) -> bool:
        return self.distributed_lock

    def get_mutex(self, key: str) -> Optional["NdringMutex"]:
        return NdringMutex(self.client, key, self.lock_timeout) if self.distributed_lock else None


def _milliseconds(name: str, seconds: Any) -> Optional[int]:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
        raise ValueError(f"{name} must be a positive number of seconds, not {seconds!r}")
    return max(1, round(seconds * 1000))


# Entries

_MAGIC = b"\x93NDDP\x01"  # ends with the version of the form
_START = struct.Struct("<6s2xI")
_ALIGNMENT = 64


def _pack(value: Any) -> np.ndarray[Any, Any]:
    """Returns an entry: magic, the length of the JSON, the JSON, zeros up to a multiple of 64 bytes, a complete .npy
    file, attrs, and the parts. The JSON has dogpile's ``metadata`` and the lengths of what follows;
    docs/attrs.md describes attrs and parts."""
    payload, metadata = value
    encoded = _codec.encode(payload)
    sections: List[Any] = [encoded.header, encoded.data, *encoded.more, encoded.attrs, *(part for _, part in encoded.parts)]
    about = {
        "metadata": metadata, "header": len(encoded.header), "data": len(encoded.data) + sum(map(len, encoded.more)), "attrs": len(encoded.attrs),
        "parts": [[name.decode(), len(part)] for name, part in encoded.parts],
    }  # fmt: skip
    try:
        text = json.dumps(about, allow_nan=False).encode()
    except (TypeError, ValueError) as exc:
        raise EncodeError(f"dogpile's metadata is not plain JSON: {exc}") from exc
    if json.loads(text)["metadata"] != metadata:
        raise EncodeError("dogpile's metadata is not plain JSON and would not come back unchanged")
    entry = np.zeros(_padded(_START.size + len(text)) + sum(map(len, sections)), np.uint8)
    memory = memoryview(cast(Any, entry))
    _START.pack_into(memory, 0, _MAGIC, len(text))
    memory[_START.size : _START.size + len(text)] = text
    at = _padded(_START.size + len(text))
    for section in sections:
        memory[at : at + len(section)] = section
        at += len(section)
    return entry


def _unpack(key: str, entry: Any) -> Any:
    """Returns the value and the metadata in an entry, NO_VALUE for None. The value lies in the
    entry's memory. Raises DecodeError."""
    if entry is None:
        return NO_VALUE
    if type(entry) is not np.ndarray or entry.dtype != np.uint8 or entry.ndim != 1 or entry[: len(_MAGIC)].tobytes() != _MAGIC:
        raise DecodeError(f"{key!r} holds an array that no region has stored; delete it, or give the region a key_mangler with a prefix of its own")
    try:
        _, length = _START.unpack_from(entry[: _START.size].tobytes())
        about: Dict[str, Any] = json.loads(entry[_START.size : _START.size + length].tobytes())
        sizes = [about["header"], about["data"], about["attrs"], *(size for _, size in about["parts"])]
        if any(type(size) is not int or size < 0 for size in sizes) or _padded(_START.size + length) + sum(sizes) != len(entry):
            raise ValueError("its lengths do not add up")
        at, sections = _padded(_START.size + length), []
        for size in sizes:
            sections.append(entry[at : at + size])
            at += size
        header, data, attrs, *parts = sections
        names = [name for name, _ in about["parts"]]
        metadata = about["metadata"]
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as exc:
        raise DecodeError(f"the entry of {key!r} is damaged: {exc}") from exc
    parsed = _codec.parse_header(header.tobytes())
    if parsed is None:
        raise DecodeError(f"the entry of {key!r} is damaged: its header is cut off")
    return CachedValue(_codec.decode(parsed, data, attrs.tobytes(), dict(zip(names, parts))), metadata)


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


# Locks


class NdringMutex(CacheMutex):
    """A lock of all processes: a small array with a random token, whose time to live is the lease.

    A thread renews it while it is held. Renewal and release change the lock only if it still has
    this holder's token. Threads may share the object, and one may release what another has acquired.
    """

    def __init__(self, client: NumPyRedis, key: str, lease: float = _LEASE) -> None:
        self._bypass = client._arguments["on_error"] == "miss"
        self._client = client.with_options(on_error="raise", read_from_replicas=False)
        name = key.encode()
        self._key = b"ndring:dogpile-lock:" + (name if len(name) <= 60_000 else hashlib.sha256(name).digest())
        self._lease = lease
        self._held: Optional[Tuple[bytes, threading.Event, threading.Thread]] = None  # set by the holder only

    def acquire(self, wait: bool = True) -> bool:
        """Takes the lock. Returns False if it is taken and ``wait`` is False. With
        ``on_error="miss"`` it returns True during an outage: the caller works on without a lock."""
        delay = _FIRST_DELAY
        while True:
            try:
                if self._take():
                    return True
            except _OUTAGES:
                if not self._bypass:
                    raise
                return True
            if not wait:
                return False
            time.sleep(random.uniform(delay / 2, delay))
            delay = min(2 * delay, _LAST_DELAY)

    def release(self) -> None:
        """Gives the lock back. Does nothing if it was not held, as after an outage."""
        held, self._held = self._held, None
        if held is None:
            return
        token, done, thread = held
        done.set()
        thread.join()
        try:
            self._extend(token, 1)  # there is no conditional delete, so the lock expires
        except NdringError:
            pass  # the lease ends by itself

    def locked(self) -> bool:
        """Returns whether anyone has the lock."""
        return self._client.exists(self._key) == 1

    def _take(self) -> bool:
        if self._client.exists(self._key):  # a node remembers only a limited number of conditional writes
            return False
        token, began = uuid.uuid4().bytes, time.monotonic()
        if not self._client.set(self._key, np.frombuffer(token, np.uint8).copy(), nx=True, px=max(1, round(self._lease * 1000))):
            return False
        if time.monotonic() - began > self._lease / 3:
            # The lease began when the node wrote it, which may be long ago if this was a repeat.
            self._extend(token, 1)
            return False
        done = threading.Event()
        thread = threading.Thread(target=self._renew, args=(token, done), name="ndring-dogpile-lock", daemon=True)
        self._held = token, done, thread
        thread.start()
        return True

    def _renew(self, token: bytes, done: threading.Event) -> None:
        while not done.wait(self._lease / 3):
            try:
                if not self._extend(token, max(1, round(self._lease * 1000))):
                    return  # too late: another process may have the lock
            except NdringError:
                pass  # the next try may still be in time

    def _extend(self, token: bytes, milliseconds: int) -> bool:
        """Sets the time to live of the lock. Returns False if it has another token."""
        with self._client.pipeline(transaction=True) as p:
            stored, meta = p.get(self._key).meta(self._key).execute()
        if stored is None or stored.tobytes() != token:
            return False
        return self._client.set(self._key, stored, if_version=meta.version, px=milliseconds)


# Keys


def array_key_generator(namespace: Optional[str], fn: Callable[..., Any], to_str: Any = str) -> Callable[..., str]:
    """A ``function_key_generator`` for functions of arrays. dogpile's own uses ``str(argument)``,
    which abbreviates arrays, so that different ones get the same key.

    The key is the function's name and a SHA-256 of its arguments: arrays (dtype, shape and
    elements), NumPy scalars, None, bool, int, float, complex, str, bytes, and lists, tuples and dicts
    of these; anything else raises TypeError. Arguments may be given by position or by name. A first
    parameter ``self`` or ``cls`` is left out. ``to_str`` is ignored.
    """
    name = f"{fn.__module__}:{fn.__qualname__}" + (f"|{namespace}" if namespace is not None else "")
    signature = inspect.signature(fn)
    left_out = next((name for name in signature.parameters if name in ("self", "cls")), None)

    def generate_key(*args: Any, **kwargs: Any) -> str:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = {name: value for name, value in bound.arguments.items() if name != left_out}
        digest = hashlib.sha256()
        _feed(digest.update, arguments)
        return f"{name}|{digest.hexdigest()}"

    return generate_key


def _feed(update: Callable[[Any], None], value: Any) -> None:
    """Feeds a value to a digest with its type and its length, so that no two values feed the same bytes."""
    kind = type(value)
    if isinstance(value, (np.ndarray, np.generic)):
        # A plain array's order and flags do not matter; of all others everything does.
        encoded = _codec.encode(np.array(value, order="C") if kind is np.ndarray else value)
        update(b"a%d:%d:" % (len(encoded.header) + len(encoded.data), len(encoded.attrs)))
        for section in (encoded.header, encoded.data, encoded.attrs):
            update(section)
        for name, part in encoded.parts:
            update(b"p%d:%d:" % (len(name), len(part)) + name)
            update(part)
    elif value is None or kind in (bool, int, float, complex):
        text = repr(value).encode()
        update(b"%s:%d:" % (kind.__name__.encode(), len(text)) + text)
    elif kind in (str, bytes):
        raw = value if kind is bytes else value.encode("utf8", "surrogatepass")
        update(b"%s:%d:" % (kind.__name__.encode(), len(raw)) + raw)
    elif kind in (list, tuple):
        update(b"%s:%d:" % (kind.__name__.encode(), len(value)))
        for item in value:
            _feed(update, item)
    elif kind is dict:
        update(b"dict:%d:" % len(value))
        for key in sorted(value, key=lambda key: (type(key).__name__, key)):
            _feed(update, key)
            _feed(update, value[key])
    else:
        raise TypeError(f"array_key_generator cannot make a key from {kind.__name__}: pass arrays, numbers, text, bytes, and lists, tuples and dicts of these")


register_backend("ndring", "ndring.contrib.dogpile", "NdringBackend")
