"""The near cache: arrays that the process keeps, which the nodes tell it to drop.

A listener for each node from which an array was kept holds a connection with ``CLIENT TRACKING ON
BCAST``. A node tells a change on it before it answers a PING that was sent after the change was
acknowledged. So a PING sent at ``t`` and answered proves that nothing kept had changed before
``t``: for ``bound`` seconds from then on, what was read from this node is returned without asking.
If the connection is lost or the node says so, all that was read from it is dropped.

A reply and the message that makes it old come on two connections. A read therefore notes the key
before it is sent, and keeps the reply only if no message for the key, or from the node for all
keys, has come since.
"""
from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import OrderedDict
from typing import Any, Dict, Generator, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .._exceptions import ConnectionError, DecodeError, NdringError, TimeoutError
from .._log import log
from .driver import Driver, Transport, Work
from .resp import ReplyReader, pack
from .settings import seconds
from .slots import Address
from .wait_limits import WaitLimits

_OVERHEAD = 500  # bytes that an entry takes beside its data, about
_PINGS = 4  # per bound
_LONGEST_BOUND = 3600  # s
_LONGEST_WAIT = 1.0  # s until a listener sees that its client is gone
_REFUSED_PAUSE = 30.0  # s until a node that refuses tracking is asked again
_MAX_PREFIXES = 128  # what a node accepts
_MAX_PREFIX_BYTES = 16 << 10
_UNITS = {"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}


class NearCacheOptions(NamedTuple):
    """``size``: bytes. ``bound``: seconds. ``prefixes``: of the keys to keep; none: all."""

    size: int
    bound: float
    prefixes: Tuple[bytes, ...]


def parse_size(value: Any) -> int:
    """Returns a number of bytes, which may be given as ``"256mb"``. Raises TypeError or ValueError."""
    if isinstance(value, str):
        digits = value.strip().lower().rstrip("bgkmt")
        unit = value.strip().lower()[len(digits) :]
        if not digits.strip().isdigit() or unit not in _UNITS:
            raise ValueError(f"near_cache must be bytes, such as '256mb' or 268435456, not {value!r}")
        value = int(digits) * _UNITS[unit]
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"near_cache must be bytes, such as '256mb' or 268435456, not {value!r}")
    if value.__index__() < 1:
        raise ValueError(f"near_cache must be at least 1 byte, not {value!r}")
    return int(value)


def parse_options(size: Any, bound: Any, prefixes: Sequence[bytes]) -> NearCacheOptions:
    known = sorted(set(prefixes))
    known = [prefix for prefix in known if not any(prefix != other and prefix.startswith(other) for other in known)]  # nodes want no overlap
    if len(known) > _MAX_PREFIXES or sum(map(len, known)) > _MAX_PREFIX_BYTES:
        raise ValueError(f"at most {_MAX_PREFIXES} near_cache_prefixes, of {_MAX_PREFIX_BYTES} bytes together")
    within = seconds("near_cache_bound", bound)
    if within > _LONGEST_BOUND:
        raise ValueError(f"near_cache_bound must be at most {_LONGEST_BOUND} seconds, not {bound!r}")
    return NearCacheOptions(parse_size(size), within, tuple(known))


class NearCacheStats(NamedTuple):
    """``hits``, ``misses``: of reads. ``dropped``: entries that a node or a write of this client
    made old. ``evicted``: entries that left for others. ``entries``, ``bytes``: kept now."""

    hits: int
    misses: int
    dropped: int
    evicted: int
    entries: int
    bytes: int


class Source:
    """A node from which arrays are kept. ``fresh_until``: until when they may be returned.
    ``generation``: changes when all of them are dropped."""

    __slots__ = ("address", "fresh_until", "generation", "listening", "next_try", "refused", "stopped")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.fresh_until = 0.0
        self.generation = 0
        self.listening = False
        self.next_try = 0.0
        self.refused = False  # it does not tell of changes: each read asks it whether there is a newer version
        self.stopped = False  # the client was closed


class _Entry:
    __slots__ = ("value", "version", "source", "size")

    def __init__(self, value: Any, version: str, source: Source, size: int) -> None:
        self.value = value
        self.version = version
        self.source = source
        self.size = size


class _Reads:
    """The reads of a key that are under way. ``changes``: messages for the key meanwhile."""

    __slots__ = ("count", "changes")

    def __init__(self) -> None:
        self.count = 0
        self.changes = 0


class Ticket(NamedTuple):
    """A read that may be kept. Everything is as it was before the read was sent."""

    key: bytes
    source: Source
    generation: int
    changes: int
    kept: Optional[_Entry] = None  # what to ask for a newer version of


class NearCache:
    """Safe to use from several threads, after a fork, and in signal handlers."""

    def __init__(self, options: NearCacheOptions) -> None:
        self.options = options
        self._hits = self._misses = self._dropped = self._evicted = 0
        self.reset_after_fork()
        _all.add(self)

    def reset_after_fork(self) -> None:
        """Drops everything: the listeners are the parent's."""
        self._lock = threading.RLock()  # guards everything below; reentrant, since a signal handler may make a call
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()  # the most recently used one last
        self._bytes = 0
        self._reads: Dict[bytes, _Reads] = {}
        self._sources: Dict[Address, Source] = {}

    def stats(self) -> NearCacheStats:
        return NearCacheStats(self._hits, self._misses, self._dropped, self._evicted, len(self._entries), self._bytes)

    def get(self, key: bytes, now: float) -> Any:
        """Returns the array that is kept under a key, None if there is none that may be returned."""
        entry = self._entries.get(key)
        if entry is None or now >= entry.source.fresh_until:
            self._misses += 1
            return None
        self._hits += 1
        try:
            self._entries.move_to_end(key)
        except KeyError:  # it was dropped just now
            pass
        return entry.value

    def begin(self, key: bytes, transport: Transport, driver: Driver, now: float) -> Optional[Ticket]:
        """Notes a read that is about to be sent. Returns None if its reply cannot be kept."""
        prefixes = self.options.prefixes
        if prefixes and not key.startswith(prefixes):
            return None
        source = self._sources.get(transport.address)
        if source is None or not source.listening:
            self._listen(transport, driver, now)
            if source is None or not source.refused:
                return None
        if now >= source.fresh_until and not source.refused:
            return None
        with self._lock:
            reads = self._reads.get(key)
            if reads is None:
                reads = self._reads[key] = _Reads()
            reads.count += 1
            kept = self._entries.get(key) if source.refused else None
            return Ticket(key, source, source.generation, reads.changes, kept if kept is not None and kept.source is source else None)

    def end(self, ticket: Ticket, value: Any, version: str = "") -> None:
        """Keeps the reply to a read, unless it may be old already. ``value``: None for no reply."""
        with self._lock:
            reads = self._reads.get(ticket.key)
            if reads is None:  # of the process before a fork
                return
            reads.count -= 1
            if not reads.count:
                self._reads.pop(ticket.key, None)
            if value is None or reads.changes != ticket.changes or ticket.source.generation != ticket.generation:
                return
            size = _kept_size(value)
            if size is None or size + len(ticket.key) > self.options.size:
                return
            size += len(ticket.key)
            self._drop(ticket.key)
            self._entries[ticket.key] = _Entry(value, version, ticket.source, size)
            self._bytes += size
            while self._bytes > self.options.size:
                self._drop(next(iter(self._entries)))
                self._evicted += 1

    def forget(self, keys: Iterable[bytes]) -> None:
        """Drops keys, and what reads of them that are under way will bring."""
        with self._lock:
            for key in keys:
                reads = self._reads.get(key)
                if reads is not None:
                    reads.changes += 1
                self._dropped += self._drop(key)

    def forget_source(self, source: Source) -> None:
        """Drops all that was read from a node, and what reads that are under way will bring."""
        with self._lock:
            source.generation += 1
            for key in [key for key, entry in self._entries.items() if entry.source is source]:
                self._dropped += self._drop(key)

    def close(self) -> None:
        """Drops everything, and ends the listeners."""
        with self._lock:
            sources, self._sources = list(self._sources.values()), {}
        for source in sources:
            source.stopped = True
            source.fresh_until = 0.0
            self.forget_source(source)

    def clear(self) -> None:
        for source in list(self._sources.values()):
            self.forget_source(source)

    def _drop(self, key: bytes) -> bool:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size
        return entry is not None

    # Listeners

    def _listen(self, transport: Transport, driver: Driver, now: float) -> None:
        """Starts to listen to a node."""
        with self._lock:
            source = self._sources.setdefault(transport.address, Source(transport.address))
            if source.listening or now < source.next_try:
                return
            source.listening = True
            source.next_try = now + self.options.bound
        started = False
        try:
            started = driver.spawn(_listen(weakref.ref(self), transport, source, self.options), "ndring-near")
        finally:  # also if a signal handler raises
            if not started:
                source.listening = False

    def lost(self, source: Source) -> None:
        """A listener has ended."""
        source.fresh_until = 0.0
        self.forget_source(source)
        source.listening = False  # last, because a new listener makes the source fresh


def _kept_size(value: Any) -> Optional[int]:
    """Returns the bytes that a value takes, None if it cannot be kept. Makes an array read-only."""
    if type(value) is np.ndarray and not value.dtype.hasobject:
        whole: Any = value
        while isinstance(whole, np.ndarray):  # the arrays whose memory it shares, too
            whole.flags.writeable = False
            size, whole = int(whole.nbytes), whole.base
        return max(int(value.nbytes), size) + _OVERHEAD
    return int(value.nbytes) + _OVERHEAD if isinstance(value, np.generic) and not isinstance(value, np.void) else None


def _listen(held: weakref.ref[NearCache], transport: Transport, source: Source, options: NearCacheOptions) -> Work[None]:
    """Listens to a node until the connection is lost. Holds the cache weakly, so that a dropped
    client ends its listeners."""
    try:
        yield transport.listen(Listener(held, source, options))
    except NdringError as exc:
        if exc.is_reply:
            source.refused = True
            source.next_try = time.monotonic() + _REFUSED_PAUSE
        if held() is not None and not source.stopped:
            log.log(logging.WARNING if exc.is_reply else logging.INFO, "the near cache keeps nothing of %s for now: %s", source.address, exc)
    finally:
        near = held()
        if near is not None:
            near.lost(source)


class Listener:
    """What is said on the connection of a listener; see ``exchange``. Its steps may also be a
    number: to wait this many seconds until bytes come. The driver sends whether they have."""

    key = None
    reusable = False

    def __init__(self, held: weakref.ref[NearCache], source: Source, options: NearCacheOptions) -> None:
        self._held = held
        self._source = source
        self._options = options

    def steps(self, reader: ReplyReader, limits: WaitLimits) -> Generator[Any, Any, None]:
        words: List[bytes] = [b"CLIENT", b"TRACKING", b"ON", b"BCAST"]
        for prefix in self._options.prefixes:
            words += (b"PREFIX", prefix)
        yield pack(*words)
        if (yield from self._read(reader, limits)) != "OK":
            raise DecodeError("unexpected reply to CLIENT TRACKING")
        self._forget(None)  # what was kept while this node told nothing: its changes were not heard
        while True:
            sent = time.monotonic()
            yield pack(b"PING")
            answered = False
            while True:
                now = time.monotonic()
                until = sent + (self._options.bound / _PINGS if answered else self._options.bound)
                if not reader.pending and not (yield max(0.0, min(until - now, _LONGEST_WAIT))):
                    if self._held() is None or self._source.stopped:
                        return
                    if time.monotonic() < until:
                        continue
                    if answered:
                        break
                    raise TimeoutError(f"no reply to PING within {self._options.bound} s")
                message = yield from self._read(reader, limits)
                if message == "PONG" and not answered:
                    answered = True
                    self._source.refused = False
                    self._source.fresh_until = sent + self._options.bound
                elif type(message) is not list or len(message) != 2 or message[0] != b"invalidate":
                    raise DecodeError(f"unexpected message {repr(message)[:60]}")
                else:
                    self._forget(message[1])

    def _read(self, reader: ReplyReader, limits: WaitLimits) -> Generator[Any, Any, Any]:
        limits.restart(time.monotonic())
        return (yield from reader.reply())

    def _forget(self, keys: Any) -> None:
        near = self._held()
        if near is None:
            raise ConnectionError("the client is gone")
        if keys is None:
            near.forget_source(self._source)
        elif type(keys) is list and all(type(key) is bytes for key in keys):
            near.forget(keys)
        else:
            raise DecodeError(f"unexpected keys {repr(keys)[:60]}")

    def fail(self, exc: NdringError) -> None:
        raise exc


_all: weakref.WeakSet[NearCache] = weakref.WeakSet()


def _after_fork() -> None:
    for near in list(_all):
        near.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
