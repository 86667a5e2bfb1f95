"""A store for zarr 3: metadata and chunks of zarr arrays, each under a key of its own. ::

    import zarr
    from ndring.contrib.zarr import NdringStore

    store = NdringStore(NumPyRedis("cache-a"), "volumes/7")
    array = zarr.create_array(store, shape=(4096, 4096), chunks=(512, 512), dtype="f4")

To zarr a missing chunk is one that was never written: it reads as the fill value. So the nodes must
not evict (``maxmemory-policy noeviction``, the default) nor lose what is stored here, unless
another copy exists and a chunk that reads as empty does no harm.
"""
from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Callable, Iterable, List, Optional, Tuple, TypeVar, Union

import numpy as np
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, default_buffer_prototype

from .. import DecodeError, NumPyRedis

__all__ = ["NdringStore"]

T = TypeVar("T")


async def _run(function: Callable[..., T], *arguments: Any) -> T:
    """Calls a method of the blocking client without blocking the event loop: the only place that
    knows that the client blocks."""
    return await asyncio.to_thread(function, *arguments)


class NdringStore(Store):
    """Keeps each value as a 1-d uint8 array under ``prefix``, a slash and zarr's key.

    ``client``: a NumPyRedis, or a URL as for ``NumPyRedis.from_url``. ``prefix``: not empty, because
    ``clear`` and ``list`` concern all keys under it. Byte ranges transfer only their bytes. The store
    reads from primaries, so that it sees its own writes, and raises what the client raises, also for
    a client with ``on_error="miss"``: a miss would read as a chunk of fill values.

    A pickled store has the client's options, *including the password*. ``close`` leaves the client
    and its connections open.
    """

    supports_writes = True
    supports_deletes = True
    supports_listing = True
    supports_partial_writes = False

    def __init__(self, client: Union[NumPyRedis, str], prefix: str, *, read_only: bool = False) -> None:
        super().__init__(read_only=read_only)
        if isinstance(client, str):
            client = NumPyRedis.from_url(client)
        if not isinstance(prefix, str) or not prefix.strip("/"):
            raise ValueError(f"prefix must be a text that is not empty, such as 'volumes/7', not {prefix!r}")
        self._client = client.with_options(on_error="raise", read_from_replicas=False)
        self._prefix = prefix.rstrip("/") + "/"

    def with_read_only(self, read_only: bool = False) -> "NdringStore":
        return type(self)(self._client, self._prefix, read_only=read_only)

    def __str__(self) -> str:
        return f"ndring://{self._prefix}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._client!r}, {self._prefix.rstrip('/')!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return False
        return (self._prefix, self.read_only, self._client.__reduce__()) == (other._prefix, other.read_only, other._client.__reduce__())

    # Reading

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        await self._ensure_open()
        found = await _run(self._read, key, _slice(byte_range))
        if found is None:
            return None
        buffer = (prototype or default_buffer_prototype()).buffer
        byte = buffer.create_zero_length().as_array_like().dtype  # int8 or uint8, which depends on the version of zarr
        return buffer.from_array_like(found.view(byte))

    async def get_partial_values(self, prototype: Any, key_ranges: Iterable[Tuple[str, Any]]) -> List[Any]:
        return await asyncio.gather(*(self.get(key, prototype, byte_range) for key, byte_range in key_ranges))

    def _read(self, key: str, part: Optional[slice]) -> Optional[np.ndarray[Any, Any]]:
        name = self._name(key)
        if part is None:
            found = self._client.get(name)
        else:
            try:
                found = self._client.view(name)[part]
            except KeyError:
                return None
        if found is None:
            return None
        if type(found) is not np.ndarray or found.dtype != np.uint8 or found.ndim != 1:
            raise DecodeError(f"{name!r} holds an array that no zarr store has written: {getattr(found, 'dtype', None)}, shape {getattr(found, 'shape', None)}")
        return found

    async def exists(self, key: str) -> bool:
        await self._ensure_open()
        return await _run(self._client.exists, self._name(key)) == 1

    async def getsize(self, key: str) -> int:
        await self._ensure_open()
        meta = await _run(self._client.meta, self._name(key))
        if meta is None:
            raise FileNotFoundError(key)
        return meta.nbytes

    # Writing

    async def set(self, key: str, value: Any) -> None:
        await self._write(key, value, False)

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        await self._write(key, value, True)

    async def _write(self, key: str, value: Any, nx: bool) -> None:
        self._check_writable()
        await self._ensure_open()
        if not isinstance(value, Buffer):
            raise TypeError(f"{type(self).__name__}.set(): `value` must be a Buffer instance. Got an instance of {type(value)} instead.")
        array = np.ascontiguousarray(value.as_numpy_array()).view(np.uint8)
        await _run(lambda: self._client.set(self._name(key), array, nx=nx, layout="packed"))

    async def set_partial_values(self, key_start_values: Iterable[Tuple[str, int, Any]]) -> None:
        raise NotImplementedError(f"{type(self).__name__} replaces whole values only")

    async def delete(self, key: str) -> None:
        self._check_writable()
        await self._ensure_open()
        await _run(self._client.delete, self._name(key))

    async def delete_dir(self, prefix: str) -> None:
        self._check_writable()
        await self._ensure_open()
        folder = prefix.rstrip("/")
        await _run(self._client.delete_prefix, self._prefix + (folder + "/" if folder else ""))

    # Listing

    async def list(self) -> AsyncIterator[str]:
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        await self._ensure_open()
        for key in await _run(self._keys, prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        await self._ensure_open()
        folder = prefix.strip("/")
        folder = folder + "/" if folder else ""
        for name in {key[len(folder) :].partition("/")[0] for key in await _run(self._keys, folder)}:
            yield name

    def _keys(self, prefix: str) -> List[str]:
        start = (self._prefix + prefix).encode()
        pattern = b"".join(b"\\" + bytes((c,)) if c in b"*?[]\\^-" else bytes((c,)) for c in start) + b"*"
        return [key[len(self._prefix.encode()) :].decode() for key in self._client.scan_iter(pattern)]

    def _name(self, key: str) -> str:
        if not isinstance(key, str):
            raise TypeError(f"a key of a store is text, not {type(key).__name__}")
        return self._prefix + key


def _slice(byte_range: Any) -> Optional[slice]:
    """Returns the slice that a byte range of zarr's means, None for everything. Raises ValueError."""
    if byte_range is None:
        return None
    if isinstance(byte_range, RangeByteRequest):
        return slice(byte_range.start, byte_range.end)
    if isinstance(byte_range, OffsetByteRequest):
        return slice(byte_range.offset, None)
    if isinstance(byte_range, SuffixByteRequest):
        return slice(-byte_range.suffix, None) if byte_range.suffix else slice(0, 0)
    raise ValueError(f"Unexpected byte_range, got {byte_range}.")
