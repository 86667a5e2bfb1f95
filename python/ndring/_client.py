"""NumPyRedis, the client."""
from __future__ import annotations

import copy
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Type, Union, cast, overload

import numpy as np

from . import _calls, _codec
from ._calls import Call, T
from ._cluster import Cluster
from ._commands import Meta, check_crc, meta_request, parse_info, slot
from ._degraded import UNANSWERED, Degraded, Unanswered, is_unanswered
from ._exceptions import DecodeError, EncodeError, NdringError, PartialError
from ._making import get_or_set
from ._nodes import Nodes
from ._npy import Header
from ._options import K, Key, Moment, Seconds, Value, encode_key, key_list, url_options
from ._pipeline import Pipeline
from ._replies import checked, is_pong, is_text
from ._retry import policy_of
from ._scan import scan
from ._seeds import DEFAULT_PORT, seeds_of
from ._settings import settings_of
from ._slots import Address
from ._transport import Request
from ._version import __version__
from ._wire import ReplyReader, Stored, pack

_CHANGEABLE = ("retry_for", "deadline", "on_error")


class NumPyRedis:
    """A client of ndring: what you store is exactly what you get back.

    One node of a cluster is enough to find the others: the client asks who serves what at the first call with a key, and again
    when that has changed. Several may be given, of which any is enough: ``NumPyRedis(["a:7379", "b:7379"])``, or ``startup_nodes=``.
    Options, ``max_connections`` too, are for each node; with TLS each node's certificate must hold for the
    address that the cluster announces. A Unix socket leads to the one node that has it.

    One client may be used by any number of threads, and by the child of a fork; a pickled one is another client with the same options, its
    password included. Every call is bounded: a node may be
    silent for ``socket_timeout`` seconds, and a lost connection, a busy node, or a key that no node serves is tried again
    for ``retry_for`` seconds where a second try cannot do harm. ``deadline``: seconds after which a call is over in any case. Conditional
    writes (``nx``, ``xx``, ``if_version``) are safe to repeat too: the node knows a repeat by its request id.

    Calls for the keys of a node that has not answered for ``retry_for`` raise NodeDownError at once, until it is back.
    ``on_error="miss"`` lets a service go on without its cache: a read that cannot be answered is a miss, a write is dropped;
    ``unanswered`` counts them. Wrong arguments, values that cannot be stored, a wrong password and damaged bytes still raise.

    ``max_array_bytes``: largest array that ``get`` allocates memory for. Further options are those of redis-py: ``username``, ``password``,
    ``credential_provider``, ``client_name``, ``protocol``, ``socket_keepalive``, ``max_connections``, ``ssl=True`` and ``ssl_...``.
    """

    def __init__(
        self,
        host: Union[str, Sequence[Any]] = "localhost",
        port: int = DEFAULT_PORT,
        *,
        startup_nodes: Optional[Sequence[Any]] = None,
        socket_timeout: Optional[float] = 30.0,
        socket_connect_timeout: Optional[float] = 5.0,
        retry_for: float = 10.0,
        deadline: Optional[float] = None,
        on_error: str = "raise",
        max_array_bytes: int = 4 << 30,
        **options: Any,
    ) -> None:
        self._arguments: Dict[str, Any] = {
            "host": host, "port": port, "startup_nodes": startup_nodes, "socket_timeout": socket_timeout,
            "socket_connect_timeout": socket_connect_timeout, "retry_for": retry_for, "deadline": deadline, "on_error": on_error,
            "max_array_bytes": max_array_bytes, **options,
        }  # fmt: skip
        policy = policy_of(retry_for, deadline, on_error)
        options.update(socket_timeout=socket_timeout, socket_connect_timeout=socket_connect_timeout, max_array_bytes=max_array_bytes)
        settings = settings_of(options, __version__)
        seeds = [Address("", 0)] if settings.path is not None else seeds_of(host, port, startup_nodes)
        self._cluster = Cluster(Nodes(settings, seeds), policy)
        self._where = settings.path or ", ".join(map(str, seeds))
        self._degraded = Degraded()

    @classmethod
    def from_url(cls, url: str, **options: Any) -> "NumPyRedis":
        """Returns a client for a URL that redis-py understands: ``redis://[user:password@]host[:7379]``, ``rediss://`` for TLS,
        ``unix://path``; several hosts are separated by commas. Options in its query, such as ``?socket_timeout=3&retry_for=1``, and keywords
        are those of the constructor."""
        return cls(**{**url_options(url), **options})

    def with_options(self, **changed: Any) -> "NumPyRedis":
        """Returns a client with the same connections and another ``deadline``, ``retry_for`` or ``on_error``:
        ``client.with_options(deadline=0.2).get(key)``."""
        for name in changed:
            if name not in _CHANGEABLE:
                raise TypeError(f"with_options takes {', '.join(_CHANGEABLE)}, not {name!r}")
        other = copy.copy(self)
        other._arguments = {**self._arguments, **changed}
        other._cluster = Cluster(self._cluster.nodes, policy_of(*(other._arguments[name] for name in _CHANGEABLE)))
        return other

    def __reduce__(self) -> Any:
        return _client_of, (type(self), self._arguments)

    def __copy__(self) -> "NumPyRedis":
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    @property
    def unanswered(self) -> Unanswered:
        """How many reads and writes were not answered and did not raise, because of ``on_error``."""
        return self._degraded.counts()

    def __enter__(self) -> "NumPyRedis":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._where})"

    def close(self) -> None:
        """Closes all connections. A later call opens new ones."""
        self._cluster.nodes.close()

    # Arrays

    def set(
        self,
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
    ) -> bool:
        """Stores a numpy array or scalar; False when ``nx``, ``xx`` or ``if_version`` kept it from being stored.

        ``ex``, ``px``: time to live in s, in ms, or a timedelta. ``exat``, ``pxat``: the Unix time in s, in ms, or a
        datetime, at which it expires. ``keepttl``: the time to live of the old value stays. ``nx``: only if the key is
        missing; ``xx``: only if it is there; ``if_version``: only if it is still this version (``meta(key).version``).
        ``write_concern``: ``"ONE"``, ``"SYNC"`` or ``"ALL"`` copies have it before this returns. ``layout``: ``"auto"``
        restores unusual strides unless they span more than 8 times the data, ``"exact"`` always, ``"packed"`` never.
        ``metadata="drop"`` leaves out ``dtype.metadata`` that is not plain JSON instead of raising.

        The array must not change until this returns. Raises EncodeError for what would not come back as it is (object
        arrays, unknown subclasses), ValueError for options that exclude each other, ServerError, ConnectionError, TimeoutError;
        UncertainWrite when the answer to a conditional write was lost for good.
        """
        return self._run(
            _calls.set_(
                key, value, ex=ex, px=px, exat=exat, pxat=pxat, keepttl=keepttl, nx=nx, xx=xx, if_version=if_version,
                write_concern=write_concern, layout=layout, metadata=metadata,
            )
        )  # fmt: skip

    def get(self, key: Key, out: Optional[np.ndarray[Any, Any]] = None, default: Any = None) -> Any:
        """Returns the stored array or scalar, as it was stored; ``default`` for a missing key.

        ``out``: an array of the stored dtype, shape and layout that receives the data and is returned. A mismatch raises
        DecodeError before anything is written; a stored array that was read-only leaves ``out`` writeable. When the transfer
        itself fails, the content of ``out`` is undefined. Raises CorruptError, DecodeError, ServerError, ConnectionError, TimeoutError.
        """
        if out is not None:
            try:
                return self._get_into(encode_key(key), out, default)
            except UNANSWERED as exc:
                if self._cluster.policy.on_error != "miss" or not is_unanswered(exc):
                    raise
                return self._degraded.note(_calls.get(key, default), exc)
        return self._run(_calls.get(key, default))

    def get_or_set(
        self,
        key: Key,
        make: Callable[[], Value],
        *,
        ex: Optional[Seconds] = None,
        px: Optional[Seconds] = None,
        layout: str = "auto",
        metadata: str = "error",
        wait_for: float = 30.0,
        lease: float = 10.0,
        on_error: Optional[str] = None,
    ) -> Any:
        """Returns the stored array; where there is none, stores and returns what ``make()`` returns.

        Of all callers on all machines one makes it, the others wait for up to ``wait_for`` s, then raise TimeoutError. A maker that
        dies is succeeded after ``lease`` s; one that lives may take as long as it needs. When ``make`` raises, its caller gets
        the exception and another one makes. ``ex``, ``px``, ``layout``, ``metadata``: as for ``set``. What is returned is read back
        from the node, unless it has expired already: then it is what was made. ``on_error="make"``: when the nodes cannot be asked, or another
        caller takes longer than ``wait_for``, ``make()`` is called and its result returned without an error; so it is by default where the client
        has ``on_error="miss"``.
        """
        if on_error not in (None, "raise", "make"):
            raise ValueError(f"on_error must be 'raise' or 'make', not {on_error!r}")
        makes = on_error == "make" or on_error is None and self._cluster.policy.on_error == "miss"
        asks = self._raising()
        options = {"ex": ex, "px": px, "layout": layout, "metadata": metadata}
        return get_or_set(asks, key, make, wait_for, lease, options, self._degraded if makes else None)

    def pipeline(self, transaction: bool = False) -> Pipeline:
        """Returns a Pipeline, which collects commands and sends them together."""
        return Pipeline(self._cluster, transaction, self._degraded)

    def _get_into(self, name: bytes, out: np.ndarray[Any, Any], default: Any) -> Any:
        written = False
        meta: Optional[Meta]

        def read(reader: ReplyReader) -> Optional[Stored]:
            def place(header: Header) -> Optional[memoryview]:
                nonlocal written
                if meta is not None and _same(header, meta.header):
                    written = True
                    return target
                return None  # another array by now

            return reader.stored(place)

        for _ in range(3):
            try:
                meta = self._cluster.one(meta_request(name))
                if meta is None:
                    return default
                target = _codec.check_out(out, meta.header, meta.attrs, meta.parts)
                stored = self._cluster.one(Request(pack(b"NP.GET", name, b"WITHATTRS"), read, key=name))
                if stored is None:
                    return default
                if stored.data is None and stored.attrs == meta.attrs:
                    check_crc(stored)
                    return out
            except NdringError as exc:
                if written:  # in this round or, before the array was replaced, in an earlier one
                    exc.args = (f"{exc}; the content of out is undefined",)
                raise
        raise DecodeError("the array was replaced again and again while it was read; the content of out is undefined")

    # Two, since a Mapping of keys of one type is none of keys of several types.
    @overload
    def mset(self, mapping: Mapping[Key, Value], *, layout: str = ..., metadata: str = ...) -> bool: ...

    @overload
    def mset(self, mapping: Mapping[K, Value], *, layout: str = ..., metadata: str = ...) -> bool: ...

    def mset(self, mapping: Mapping[Any, Value], *, layout: str = "auto", metadata: str = "error") -> bool:
        """Stores several arrays in one go, each whole; other clients may see some of them before the others.

        Nothing is sent if one of them cannot be encoded. Raises PartialError when some could not be stored; when none could,
        and all for the same reason, that error.
        """
        if not hasattr(mapping, "keys"):
            raise EncodeError(f"mset takes a mapping of keys to arrays, not {type(mapping).__name__}")
        keys = list(mapping.keys())
        calls = [_calls.set_(key, mapping[key], layout=layout, metadata=metadata) for key in keys]
        return all(self._several([[key] for key in keys], calls))

    def mget(self, keys: Iterable[Key]) -> List[Any]:
        """Returns the arrays of several keys in their order, None for a missing one.

        Raises PartialError when some could not be read; when none could, and all for the same reason, that error.
        """
        keys = key_list(keys)
        return self._several([[key] for key in keys], [_calls.get(key) for key in keys])

    def _several(
        self, groups: List[List[Key]], calls: List[Call[Any]], share: Callable[[Any, Any], Any] = lambda group, result: result
    ) -> List[Any]:
        """Returns the results of calls that concern a group of keys each. Raises PartialError, to which ``share`` tells what
        a group's result is for each of its keys, or the error itself where there is nothing partial about it."""
        results: List[Any] = []
        errors: Dict[Any, Exception] = {}
        misses = self._cluster.policy.on_error == "miss"
        requests = [call.request for call in calls]
        for group, call, reply in zip(groups, calls, self._cluster.many(requests) if requests else ()):
            try:
                if isinstance(reply, Exception):
                    raise reply
                results.append(call.finish(reply))
            except NdringError as exc:
                if misses and is_unanswered(exc):
                    results.append(self._degraded.note(call, exc))
                    continue
                errors.update(dict.fromkeys(group, exc))
                results.append(exc)
        if not errors:
            return results
        if all(type(result) is type(results[0]) for result in results):
            raise results[0]
        raise PartialError(errors, {k: share(g, r) for g, r in zip(groups, results) for k in g if k not in errors})

    # What is known without the data

    def meta(self, key: Key) -> Optional[Meta]:
        """Returns all that is known of an array without its data, None for a missing key."""
        return self._run(_calls.meta(key))

    def shape(self, key: Key) -> Optional[Tuple[int, ...]]:
        """Returns the shape, None for a missing key. No data travels."""
        return self._run(_calls.shape(key))

    def dtype(self, key: Key) -> Optional[np.dtype[Any]]:
        """Returns the dtype, None for a missing key. No data travels."""
        return self._run(_calls.dtype(key))

    def verify(self, key: Key) -> bool:
        """Has the node compute the CRC32C of the stored bytes again. False for a missing key. Raises CorruptError if it differs."""
        return self._run(_calls.verify(key))

    def memory_usage(self, key: Key) -> Optional[int]:
        """Returns about how many bytes of the node's memory a key and its array take, None for a missing key."""
        return self._run(_calls.memory_usage(key))

    # Keys

    def delete(self, *keys: Key) -> int:
        """Deletes keys and returns how many were there (fewer, if an answer was lost and the command repeated)."""
        return self._counted(b"NP.DEL", keys)

    def exists(self, *keys: Key) -> int:
        """Returns how many of the keys are there; one that is named twice counts twice."""
        return self._counted(b"NP.EXISTS", keys)

    def _counted(self, command: bytes, keys: Iterable[Key]) -> int:
        by_slot: Dict[int, List[Key]] = {}
        for key in keys:
            by_slot.setdefault(slot(encode_key(key)), []).append(key)
        groups = list(by_slot.values())
        calls = [_calls.counted(command, [encode_key(key) for key in group]) for group in groups]
        # Of keys that shared a command only their number is known, unless it is none or all of them.
        return sum(self._several(groups, calls, lambda group, n: {0: 0, len(group): 1}.get(n)))

    def scan_iter(self, match: Optional[Key] = None, count: int = 1000) -> Iterator[bytes]:
        """Yields the keys of all nodes. ``match`` is a pattern as Redis' KEYS has it (``*  ?  [a-z]``, ``\\`` before what is meant as it is).

        A key that is there all the time comes exactly once, also when nodes restart, come, or hand on slots that have no keys
        meanwhile; one that comes or goes may come or not. ``count``: about so many keys a round trip. When some slots are
        served by nobody it raises ClusterDownError, when a node is lost ConnectionError, rather than leave keys out.
        """
        return scan(self._cluster, None if match is None else encode_key(match, "a pattern"), count)

    def delete_prefix(self, prefix: Key) -> int:
        """Deletes all keys that begin with ``prefix`` and returns how many there were. Not atomic: what is stored meanwhile may stay."""
        start = encode_key(prefix, "a prefix")
        pattern = b"".join(b"\\" + bytes((c,)) if c in b"*?[]\\^-" else bytes((c,)) for c in start) + b"*"
        deleted = 0
        delete = self._raising().delete
        batch: List[bytes] = []
        for key in self.scan_iter(pattern):
            batch.append(key)
            if len(batch) == 1000:
                deleted += delete(*batch)
                batch = []
        return deleted + delete(*batch)

    def expire(self, key: Key, seconds: Seconds) -> bool:
        """Sets the time to live, in s or as a timedelta. False for a missing key. 0 and less deletes it."""
        return self._run(_calls.expire(key, seconds))

    def pexpire(self, key: Key, milliseconds: Seconds) -> bool:
        """Sets the time to live, in ms or as a timedelta. False for a missing key. 0 and less deletes it."""
        return self._run(_calls.pexpire(key, milliseconds))

    def expireat(self, key: Key, when: Moment) -> bool:
        """Sets when it expires: a Unix time in s, or a datetime. False for a missing key. A time that has passed deletes it."""
        return self._run(_calls.expireat(key, when))

    def persist(self, key: Key) -> bool:
        """Takes the time to live away; False if there was none, or no key."""
        return self._run(_calls.persist(key))

    def ttl(self, key: Key) -> int:
        """Returns the time to live in s, rounded; -1 for none, -2 for a missing key."""
        return self._run(_calls.ttl(key))

    def pttl(self, key: Key) -> int:
        """Returns the time to live in ms; -1 for none, -2 for a missing key."""
        return self._run(_calls.pttl(key))

    # The nodes

    def ping(self) -> bool:
        """Returns True when a node answers: the one that was given, else another one."""
        return bool(self._cluster.one(Request(pack(b"PING"), checked("PING", is_pong))))

    def info(self, section: Optional[str] = None, *, node: Optional[str] = None) -> Dict[str, Any]:
        """Returns facts and counters of a node, of one section or of all. ``node``: one of ``nodes()``, by default the one that was
        given when the client was made, or another one where that does not answer."""
        if node is not None and node not in self.nodes():
            raise ValueError(f"no node {node!r}; there are {', '.join(self.nodes())}")
        words = [b"INFO", section.encode()] if section else [b"INFO"]
        reply = self._cluster.one(Request(pack(*words), checked("INFO", is_text), node=node))
        return parse_info(reply if isinstance(reply, str) else reply.decode("utf8", "replace"))

    def nodes(self) -> List[str]:
        """Returns the addresses, ``host:port``, of the nodes that serve keys, as far as the client knows now."""
        slots = self._cluster.slots()
        return [self._where] if slots is None else sorted(str(address) for address in slots.nodes.values())

    def _raising(self) -> "NumPyRedis":
        return self if self._cluster.policy.on_error == "raise" else self.with_options(on_error="raise")

    def _run(self, call: Call[T]) -> T:
        if self._cluster.policy.on_error != "miss":
            return call.finish(self._cluster.one(call.request))
        try:
            return call.finish(self._cluster.one(call.request))
        except UNANSWERED as exc:
            if not is_unanswered(exc):
                raise
            return cast(T, self._degraded.note(call, exc))


def _client_of(kind: Type[NumPyRedis], arguments: Dict[str, Any]) -> NumPyRedis:
    return kind(**arguments)


def _same(a: Header, b: Header) -> bool:
    return a.shape == b.shape and a.fortran == b.fortran and a.nbytes == b.nbytes and repr(a.descr) == repr(b.descr)
