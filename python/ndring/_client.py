"""NumPyRedis, the client that blocks."""
from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Callable, Generic, Iterable, Iterator, List, Literal, Optional, TypeVar, overload

from ._core import calls, memoize, operations
from ._core.calls import Call, Defaults, T
from ._core.client import Client, present
from ._core.degraded import UNANSWERED
from ._core.driver import Work
from ._core.get_or_set import get_or_set, get_or_set_many
from ._core.operations import Core
from ._core.options import Key, Seconds, Value, encode_key
from ._core.request import Failure
from ._core.scan import Scan
from ._pipeline import Pipeline
from ._sync.driver import Driver, run
from ._views import ArrayView

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    P = ParamSpec("P")
else:
    P = TypeVar("P")  # ParamSpec is new in Python 3.10
R = TypeVar("R")
N = TypeVar("N", bound="NumPyRedis")


def _command(make: Callable[Concatenate[Defaults, P], Call[T]]) -> Callable[Concatenate[Any, P], T]:
    def method(self: NumPyRedis, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(make(self._core.defaults, *args, **kwargs))

    made: Callable[Concatenate[Any, P], T] = present(method, make)
    return made


def _operation(make: Callable[Concatenate[Core, P], Work[T]]) -> Callable[Concatenate[Any, P], T]:
    def method(self: NumPyRedis, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run(make(self._core, *args, **kwargs))

    made: Callable[Concatenate[Any, P], T] = present(method, make)
    return made


class Memoized(memoize.Memoized, Generic[P, R]):
    """A function whose results are stored. Made by ``NumPyRedis.memoize()``."""

    def __init__(self, client: NumPyRedis, function: Callable[P, R], options: memoize.Options) -> None:
        super().__init__(function, options)
        self._client = client

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        result: R = self._client.get_or_set(self.key(*args, **kwargs), lambda: self._function(*args, **kwargs), **self._options.get_or_set)
        return result

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Deletes the stored result of the call with these arguments. Returns whether there was one."""
        return self._client.delete(self.key(*args, **kwargs)) > 0


class NumPyRedis(Client):
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

    ``near_cache``: bytes, such as ``"256mb"``, of read-only arrays that ``get`` keeps in the process
    and returns without asking a node. The nodes tell what changes; an array that another client has
    replaced is not returned for longer than ``near_cache_bound`` seconds plus 0.1.
    ``near_cache_prefixes``: of the keys to keep, by default all.

    ``max_array_bytes``: the largest array that ``get`` allocates memory for, in bytes. Further
    options are those of redis-py: ``username``, ``password``, ``credential_provider``,
    ``client_name``, ``protocol``, ``socket_keepalive``, ``max_connections``, ``ssl=True`` and
    ``ssl_...``. docs/python.md lists every option.
    """

    _driver = Driver

    def __enter__(self: N) -> N:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # As a mapping

    def __getitem__(self, key: Key) -> Any:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __setitem__(self, key: Key, value: Value) -> None:
        self.set(key, value)

    def __delitem__(self, key: Key) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key: Key) -> bool:
        return self.exists(key) > 0

    def __len__(self) -> int:
        return self.dbsize()

    def __bool__(self) -> bool:
        return True  # also without keys

    def __iter__(self) -> Iterator[bytes]:
        return self.scan_iter()

    @overload
    def keys(self, match: Optional[Key] = ..., *, text: Literal[True]) -> List[str]: ...

    @overload
    def keys(self, match: Optional[Key] = ..., *, text: bool = ...) -> List[Any]: ...

    def keys(self, match: Optional[Key] = None, *, text: bool = False) -> List[Any]:
        """Returns the keys that match a glob pattern, by default all. ``text``: as str, decoded as
        UTF-8; raises UnicodeDecodeError for a key that is not. See ``scan_iter``, which does not
        collect them first."""
        return [key.decode() if text else key for key in self.scan_iter(match)]

    def close(self) -> None:
        """Closes all connections, also those in use. A later call opens new ones."""
        if self._core.near is not None:
            self._core.near.close()
        run(self._core.cluster.nodes.close())

    # Arrays

    set = _command(calls.set_)
    take = _command(calls.take)
    get_or_set = _operation(get_or_set)
    mset = _operation(operations.mset)
    mget = _operation(operations.mget)

    if TYPE_CHECKING:
        get = _operation(operations.get)
    else:

        def get(self, key, out=None, default=None):  # the way that most calls take
            if out is None:
                near = self._core.near
                if near is None:
                    return self._run(calls.get(self._core.defaults, key, default))
                kept = near.get(encode_key(key), monotonic())
                return run(operations.get_near(self._core, near, key, default)) if kept is None else kept
            return run(operations.get(self._core, key, out, default))

        present(get, operations.get)

    get_or_set_many = _operation(get_or_set_many)

    def memoize(
        self,
        ex: Optional[Seconds] = None,
        *,
        px: Optional[Seconds] = None,
        version: Any = "",
        ignore: Iterable[str] = (),
        wait_for: float = 30.0,
        lease: float = 10.0,
        on_error: Optional[str] = None,
    ) -> Callable[[Callable[P, R]], Memoized[P, R]]:
        """Returns a decorator that stores the results of a function, which must be arrays, and returns
        them for equal arguments, in this process or another. Of all callers on all machines only one
        computes, as with ``get_or_set``, whose options these are. ::

            @client.memoize(ex=3600)
            def features(user, weights): ...

            features.invalidate(7, weights)  # deletes the result of one call

        Arguments are NumPy arrays and plain values: numbers, text, bytes, dates, enums, and lists,
        tuples, sets and dicts of them. Arrays are equal if dtype, shape and elements are, whatever
        their layout. The key is that of the function's module and qualified name, ``version`` and a
        digest of the arguments (``features.key(7, weights)``): pass another ``version`` when the
        function computes something else. ``ignore``: names of parameters that do not matter, such
        as ``self``. Raises TypeError for an argument that has no digest.
        """
        options = memoize.Options(ex, px, version, ignore, wait_for, lease, on_error)
        return lambda function: Memoized(self, function, options)

    def view(self, key: Key) -> ArrayView:
        """Returns a view of the stored array, from which parts are read without transferring the
        rest: ``client.view("k")[10:20, ::2]``. See ArrayView. Asks no node yet."""
        encode_key(key)
        return ArrayView(self._core, key)

    def pipeline(self, transaction: bool = False) -> Pipeline:
        """Returns a Pipeline, which collects commands and sends them together, one batch per node.
        ``transaction``: one node executes them atomically. ::

            with client.pipeline() as p:
                stored, b = p.set("a", array).get("b").execute()
        """
        return Pipeline(self._core, transaction)

    # Metadata

    meta = _command(calls.meta)
    shape = _command(calls.shape)
    dtype = _command(calls.dtype)
    verify = _command(calls.verify)
    memory_usage = _command(calls.memory_usage)

    # Keys

    delete = _operation(operations.delete)
    exists = _operation(operations.exists)
    delete_prefix = _operation(operations.delete_prefix)
    expire = _command(calls.expire)
    pexpire = _command(calls.pexpire)
    expireat = _command(calls.expireat)
    persist = _command(calls.persist)
    ttl = _command(calls.ttl)
    pttl = _command(calls.pttl)

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
        return _keys(operations.begin_scan(self._core, match, count))

    dbsize = _operation(operations.dbsize)
    flush = _operation(operations.flush)

    # Nodes

    execute_command = _operation(operations.execute_command)
    ping = _operation(operations.ping)
    info = _operation(operations.info)
    nodes = _operation(operations.nodes)

    def _run(self, call: Call[T]) -> T:
        core = self._core
        cluster, request = core.cluster, call.request
        at = cluster.ready(request)
        if at is None or core.near is not None and call.writes:
            return run(core.run(call))
        began = monotonic()
        deadline = cluster.policy.deadline
        try:
            result = at.one(request, None if deadline is None else began + deadline)
            if type(result) is Failure:
                result = run(cluster.again(request, result, began))
            return call.finish(result)
        except UNANSWERED as exc:
            return core.missed(call, exc)


def _keys(scan: Scan) -> Iterator[bytes]:
    while True:
        keys = run(scan.page())
        if keys is None:
            return
        yield from keys
