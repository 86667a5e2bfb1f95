"""NumPyRedis, the client: checks arguments, encodes and decodes, and leaves routing and retries to
_cluster."""
from __future__ import annotations

import copy
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Type, Union, cast, overload

import numpy as np

from ._core import calls as _calls
from ._core.calls import Call, T
from ._core.cluster import Cluster
from ._core.commands import Meta, parse_info, slot
from ._core.degraded import UNANSWERED, Degraded, Unanswered, is_unanswered
from ._exceptions import EncodeError, NdringError, PartialError
from ._core.get_into import get_into
from ._core.get_or_set import get_or_set
from ._core.nodes import Nodes
from ._core.options import K, Key, Seconds, UnixTime, Value, encode_key, flag, key_list, parse_concern, url_options
from ._pipeline import Pipeline
from ._core.replies import checked, is_pong, is_text
from ._core.retry import make_policy
from ._core.scan import scan
from ._core.seeds import DEFAULT_PORT, parse_seeds
from ._core.settings import parse_settings
from ._core.slots import Address
from ._sync.transport import Request
from ._version import __version__
from ._views import ArrayView
from ._core.resp import pack

_POLICY = ("retry_for", "deadline", "on_error")
_CHANGEABLE = (*_POLICY, "write_concern", "read_from_replicas")


class NumPyRedis:
    """A client for an ndring cluster: what you store is exactly what you get back.

    One node is enough: the client asks it which node serves which keys at the first call with a
    key, and asks again when that changes. With several nodes any one that answers will do:
    ``NumPyRedis(["a:7379", "b:7379"])`` or ``startup_nodes=``. All options, also
    ``max_connections``, apply to each node. With TLS, each node's certificate must be valid for the
    address that the cluster announces. A Unix socket connects to one node only.

    Threads may share a client, and so may a forked child. A pickled client becomes a new client
    with the same options, including the password.

    Every call is bounded. A node may be silent for ``socket_timeout`` seconds. Where a repeat is
    safe, the client retries for ``retry_for`` seconds after a lost connection, while a node is
    busy, and while no node serves the key. ``deadline`` limits the whole call, in seconds.
    Conditional writes (``nx``, ``xx``, ``if_version``) are safe to repeat too, because they carry a
    request id that the node recognizes, and so does the node that takes over if it dies.

    When a node has not answered for ``retry_for`` seconds, calls for its keys raise NodeDownError
    at once until it answers again. With ``on_error="miss"`` a service works on without its cache:
    reads that cannot be answered are misses, writes are dropped, and ``unanswered`` counts both.
    Wrong arguments, values that cannot be stored, a wrong password and corrupt data still raise.

    ``write_concern``: how many copies must have an array before ``set``, ``mset``, ``get_or_set``
    or a pipeline's ``set`` returns; see ``set``. Other writes have the nodes' default.

    ``read_from_replicas=True`` spreads ``get``, ``mget``, ``exists``, ``meta``, ``shape``,
    ``dtype``, ``ttl``, ``pttl`` and pipelines of these over all copies of a key. A replica may be
    about 1 s behind its primary, so such a read may return an older array than an earlier one did,
    and may not see this client's own last write. If a replica does not answer, the primary does.

    ``max_array_bytes``: the largest array that ``get`` allocates memory for, in bytes. Further
    options are those of redis-py: ``username``, ``password``, ``credential_provider``,
    ``client_name``, ``protocol``, ``socket_keepalive``, ``max_connections``, ``ssl=True`` and
    ``ssl_...``. docs/python.md lists every option.
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
        write_concern: Optional[str] = None,
        read_from_replicas: bool = False,
        **options: Any,
    ) -> None:
        self._arguments: Dict[str, Any] = {
            "host": host, "port": port, "startup_nodes": startup_nodes, "socket_timeout": socket_timeout,
            "socket_connect_timeout": socket_connect_timeout, "retry_for": retry_for, "deadline": deadline, "on_error": on_error,
            "max_array_bytes": max_array_bytes, "write_concern": write_concern, "read_from_replicas": read_from_replicas, **options,
        }  # fmt: skip
        policy = make_policy(retry_for, deadline, on_error)
        options.update(socket_timeout=socket_timeout, socket_connect_timeout=socket_connect_timeout, max_array_bytes=max_array_bytes)
        settings = parse_settings(options, __version__)
        seeds = [Address("", 0)] if settings.path is not None else parse_seeds(host, port, startup_nodes)
        self._write_concern = parse_concern(write_concern)
        self._cluster = Cluster(Nodes(settings, seeds), policy, flag("read_from_replicas", read_from_replicas))
        self._label = settings.path or ", ".join(map(str, seeds))
        self._degraded = Degraded()

    @classmethod
    def from_url(cls, url: str, **options: Any) -> "NumPyRedis":
        """Returns a client for a URL in redis-py's syntax: ``redis://[user:password@]host[:7379]``,
        ``rediss://`` for TLS, ``unix://path``. Commas separate several hosts:
        ``redis://a:7379,b:7379``. The query string (``?socket_timeout=3&retry_for=1``) and keyword
        arguments take the constructor's options; keywords win. Raises ValueError for an invalid
        URL."""
        return cls(**{**url_options(url), **options})

    def with_options(self, **changed: Any) -> "NumPyRedis":
        """Returns a client that shares this one's connections but has another ``deadline``,
        ``retry_for``, ``on_error``, ``write_concern`` or ``read_from_replicas``:
        ``client.with_options(deadline=0.2).get(key)``."""
        for name in changed:
            if name not in _CHANGEABLE:
                raise TypeError(f"with_options accepts {', '.join(_CHANGEABLE)}, not {name!r}")
        other = copy.copy(self)
        other._arguments = {**self._arguments, **changed}
        other._write_concern = parse_concern(other._arguments["write_concern"])
        policy = make_policy(*(other._arguments[name] for name in _POLICY))
        other._cluster = Cluster(self._cluster.nodes, policy, flag("read_from_replicas", other._arguments["read_from_replicas"]))
        return other

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self._arguments)

    def __copy__(self) -> "NumPyRedis":
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    @property
    def unanswered(self) -> Unanswered:
        """How many reads became misses and how many writes were dropped because of ``on_error``,
        and the last error."""
        return self._degraded.counts()

    def __enter__(self) -> "NumPyRedis":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._label})"

    def close(self) -> None:
        """Closes all connections, also those in use. A later call opens new ones."""
        self._cluster.nodes.close()

    # Arrays

    def set(
        self,
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
    ) -> bool:
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
        return self._run(
            _calls.set_(
                key, value, ex=ex, px=px, exat=exat, pxat=pxat, keepttl=keepttl, nx=nx, xx=xx, if_version=if_version,
                write_concern=self._write_concern if write_concern is None else write_concern, layout=layout, metadata=metadata,
            )
        )  # fmt: skip

    def get(self, key: Key, out: Optional[np.ndarray[Any, Any]] = None, default: Any = None) -> Any:
        """Returns the stored array or scalar, or ``default`` for a missing key.

        ``out``: an array with the stored dtype, shape and layout that receives the data and is
        returned. A mismatch raises DecodeError before anything is written. ``out`` stays writeable
        even if the stored array was read-only. If the transfer fails, the content of ``out`` is
        undefined. Raises CorruptError, DecodeError, ServerError, ConnectionError or TimeoutError.
        """
        if out is not None:
            try:
                return get_into(self._cluster, encode_key(key), out, default)
            except UNANSWERED as exc:
                if self._cluster.policy.on_error != "miss" or not is_unanswered(exc):
                    raise
                return self._degraded.record(_calls.get(key, default), exc)
        return self._run(_calls.get(key, default))

    def view(self, key: Key) -> ArrayView:
        """Returns a view of the stored array, from which parts are read without transferring the
        rest: ``client.view("k")[10:20, ::2]``. See ArrayView. Asks no node yet."""
        encode_key(key)
        return ArrayView(self, key)

    def take(self, key: Key, indices: Any, axis: int = 0) -> Any:
        """Returns the elements at ``indices`` along an axis, as ``np.take`` does, or None for a
        missing key. Only they are transferred: rows of an embedding table, for example. ::

            rows = client.take("embeddings", ids)  # shape (len(ids), 768)

        ``indices``: integers in an array of any shape, at most 65,536; negative ones count from the
        end. The result is a new ndarray with the stored dtype; classes (matrix, recarray) and flags
        are not restored. Raises BoundsError, which is an IndexError, DecodeError for a masked array
        or StringDType, and what ``get`` raises.
        """
        return self._run(_calls.take(key, indices, axis))

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
        """Returns the stored array. If the key is missing, stores what ``make()`` returns and
        returns that.

        Of all callers on all machines only one calls ``make``. The others wait for up to
        ``wait_for`` seconds, then raise TimeoutError. While ``make`` runs, its caller holds a lease
        and renews it, so ``make`` may take as long as it needs. If that process dies, another
        caller takes over after ``lease`` seconds. If ``make`` raises, its caller gets the exception
        and another caller calls ``make``. ``ex``, ``px``, ``layout``, ``metadata``: as for ``set``.
        The result is read back from the node, unless it has already expired. Only the first look-up
        may read from a replica. ::

            client.get_or_set(f"features:{user}", lambda: compute(user), ex=3600)

        ``on_error="make"``: if no node answers, or another caller takes longer than ``wait_for``,
        call ``make()`` and return its result without raising. This is the default for a client with
        ``on_error="miss"``.
        """
        if on_error not in (None, "raise", "make"):
            raise ValueError(f"on_error must be 'raise' or 'make', not {on_error!r}")
        make_on_error = on_error == "make" or on_error is None and self._cluster.policy.on_error == "miss"
        raising = self._raising()
        store = raising.with_options(read_from_replicas=False) if self._cluster.read_from_replicas else raising
        options = {"ex": ex, "px": px, "layout": layout, "metadata": metadata}
        return get_or_set(store, store._cluster, key, make, wait_for, lease, options, self._degraded if make_on_error else None, raising.get)

    def pipeline(self, transaction: bool = False) -> Pipeline:
        """Returns a Pipeline, which collects commands and sends them together, one batch per node.
        ``transaction``: one node executes them atomically. ::

            with client.pipeline() as p:
                stored, b = p.set("a", array).get("b").execute()
        """
        return Pipeline(self._cluster, transaction, self._degraded, self._write_concern)

    # Two overloads, since Mapping is invariant in its key type: Mapping[str, Value] is not a
    # Mapping[Key, Value].
    @overload
    def mset(self, mapping: Mapping[Key, Value], *, layout: str = ..., metadata: str = ...) -> bool: ...

    @overload
    def mset(self, mapping: Mapping[K, Value], *, layout: str = ..., metadata: str = ...) -> bool: ...

    def mset(self, mapping: Mapping[Any, Value], *, layout: str = "auto", metadata: str = "error") -> bool:
        """Stores several arrays, sent together. Each array is stored atomically, the set of them is not.

        Sends nothing if one of them cannot be encoded. If only some could be stored it raises
        PartialError; if all failed for the same reason, it raises that error.
        """
        if not hasattr(mapping, "keys"):
            raise EncodeError(f"mset requires a mapping from keys to arrays, not {type(mapping).__name__}")
        keys = list(mapping.keys())
        calls = [_calls.set_(key, mapping[key], write_concern=self._write_concern, layout=layout, metadata=metadata) for key in keys]
        return all(self._fan_out([[key] for key in keys], calls))

    def mget(self, keys: Iterable[Key]) -> List[Any]:
        """Returns the arrays of several keys in order, None for each missing key.

        If only some could be read it raises PartialError; if all failed for the same reason, it
        raises that error.
        """
        keys = key_list(keys)
        return self._fan_out([[key] for key in keys], [_calls.get(key) for key in keys])

    def _fan_out(
        self, groups: List[List[Key]], calls: List[Call[Any]], share: Callable[[Any, Any], Any] = lambda group, result: result
    ) -> List[Any]:
        """Returns the results of calls, each of which concerns a group of keys. Raises the error
        itself if all calls failed alike, else PartialError. ``share(group, result)``: the result of
        each single key of a group, for PartialError."""
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
                    results.append(self._degraded.record(call, exc))
                    continue
                errors.update(dict.fromkeys(group, exc))
                results.append(exc)
        if not errors:
            return results
        if len({type(result) for result in results}) == 1:
            raise results[0]
        raise PartialError(errors, {k: share(g, r) for g, r in zip(groups, results) for k in g if k not in errors})

    # Metadata

    def meta(self, key: Key) -> Optional[Meta]:
        """Returns the array's metadata without transferring its data, or None for a missing key."""
        return self._run(_calls.meta(key))

    def shape(self, key: Key) -> Optional[Tuple[int, ...]]:
        """Returns the shape without transferring the data, or None for a missing key."""
        return self._run(_calls.shape(key))

    def dtype(self, key: Key) -> Optional[np.dtype[Any]]:
        """Returns the dtype without transferring the data, or None for a missing key."""
        return self._run(_calls.dtype(key))

    def verify(self, key: Key) -> bool:
        """Makes the node recompute the CRC32C of the stored bytes. Returns True if it matches,
        False for a missing key. Raises CorruptError if it differs."""
        return self._run(_calls.verify(key))

    def memory_usage(self, key: Key) -> Optional[int]:
        """Returns approximately how many bytes of the node's memory the key and its array use, or
        None for a missing key."""
        return self._run(_calls.memory_usage(key))

    # Keys

    def delete(self, *keys: Key) -> int:
        """Deletes keys and returns how many existed. If the client had to repeat the command after
        a lost reply, the count is that of the repeat, so it may be too small, and the repeat also
        deletes what another client has stored in between."""
        return self._count_keys(b"NP.DEL", keys)

    def exists(self, *keys: Key) -> int:
        """Returns how many of the keys exist. A key that is named twice counts twice."""
        return self._count_keys(b"NP.EXISTS", keys)

    def _count_keys(self, command: bytes, keys: Iterable[Key]) -> int:
        by_slot: Dict[int, List[Key]] = {}
        for key in keys:
            by_slot.setdefault(slot(encode_key(key)), []).append(key)
        groups = list(by_slot.values())
        calls = [_calls.count_keys(command, [encode_key(key) for key in group]) for group in groups]
        # For keys that share a command only their count is known, and so each key's result only if
        # that is none or all.
        return sum(self._fan_out(groups, calls, lambda group, n: {0: 0, len(group): 1}.get(n)))

    def scan_iter(self, match: Optional[Key] = None, count: int = 1000) -> Iterator[bytes]:
        """Yields the keys of all nodes. ``match``: a glob pattern as in Redis' KEYS (``*``, ``?``,
        ``[a-z]``, ``\\`` to escape). ``count``: approximately how many keys to fetch per round
        trip.

        A key that exists throughout the scan is yielded exactly once, even if nodes restart, join,
        or hand over slots without keys. A key that is stored or deleted meanwhile may or may not be
        yielded. The scan never omits keys silently: it raises ClusterDownError if no node serves
        some of the slots, ConnectionError if it loses a node, also if replicas take its place after
        it has yielded some of its keys.
        """
        return scan(self._cluster, None if match is None else encode_key(match, "a pattern"), count)

    def delete_prefix(self, prefix: Key) -> int:
        """Deletes all keys that begin with ``prefix`` and returns how many it deleted. Not atomic:
        keys stored meanwhile may remain."""
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
        """Sets the time to live, in seconds or as a timedelta; 0 or less deletes the key. Returns
        False for a missing key."""
        return self._run(_calls.expire(key, seconds))

    def pexpire(self, key: Key, milliseconds: Seconds) -> bool:
        """Sets the time to live, in milliseconds or as a timedelta; 0 or less deletes the key.
        Returns False for a missing key."""
        return self._run(_calls.pexpire(key, milliseconds))

    def expireat(self, key: Key, when: UnixTime) -> bool:
        """Sets the expiry: Unix time in seconds, or a datetime; a past time deletes the key.
        Returns False for a missing key."""
        return self._run(_calls.expireat(key, when))

    def persist(self, key: Key) -> bool:
        """Removes the time to live. Returns False if there was none, or for a missing key."""
        return self._run(_calls.persist(key))

    def ttl(self, key: Key) -> int:
        """Returns the time to live in seconds, rounded; -1 if the key does not expire, -2 for a
        missing key."""
        return self._run(_calls.ttl(key))

    def pttl(self, key: Key) -> int:
        """Returns the time to live in milliseconds; -1 if the key does not expire, -2 for a missing key."""
        return self._run(_calls.pttl(key))

    # Nodes

    def ping(self) -> bool:
        """Returns True if a node answers: the one given to the constructor, or else another one."""
        return bool(self._cluster.one(Request(pack(b"PING"), checked("PING", is_pong))))

    def info(self, section: Optional[str] = None, *, node: Optional[str] = None) -> Dict[str, Any]:
        """Returns the sections of Redis' INFO for one node as a dict. ``section``: only this one.
        ``node``: one of ``nodes()``; by default the one given to the constructor, or another one if
        that does not answer."""
        if node is not None and node not in self.nodes():
            raise ValueError(f"unknown node {node!r}; the nodes are {', '.join(self.nodes())}")
        words = [b"INFO", section.encode()] if section else [b"INFO"]
        reply = self._cluster.one(Request(pack(*words), checked("INFO", is_text), node=node))
        return parse_info(reply if isinstance(reply, str) else reply.decode("utf8", "replace"))

    def nodes(self) -> List[str]:
        """Returns the addresses (``host:port``) of the nodes that currently serve keys, as far as
        the client knows."""
        slots = self._cluster.slots()
        return [self._label] if slots is None else sorted(str(address) for address in slots.nodes.values())

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
            return cast(T, self._degraded.record(call, exc))


def _rebuild(kind: Type[NumPyRedis], arguments: Dict[str, Any]) -> NumPyRedis:
    return kind(**arguments)
