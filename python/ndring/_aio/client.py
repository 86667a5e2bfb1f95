"""NumPyRedis for asyncio."""
from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Coroutine, Generic, Iterable, List, Optional, TypeVar

from .._core import calls, memoize, operations
from .._core.calls import Call, Defaults, T
from .._core.client import Client, present
from .._core.degraded import UNANSWERED
from .._core.driver import Work
from .._core.get_or_set import get_or_set, get_or_set_many
from .._core.operations import Core
from .._core.options import Key, Seconds, encode_key
from .._core.request import Failure
from .._core.scan import Scan
from .driver import Driver
from .pipeline import Pipeline
from .views import ArrayView
from .work import run

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    P = ParamSpec("P")
else:
    P = TypeVar("P")  # ParamSpec is new in Python 3.10
N = TypeVar("N", bound="NumPyRedis")


def _command(make: Callable[Concatenate[Defaults, P], Call[T]]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    async def method(self: NumPyRedis, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(make(self._core.defaults, *args, **kwargs))

    made: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]] = present(method, make)
    return made


def _operation(make: Callable[Concatenate[Core, P], Work[T]]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    async def method(self: NumPyRedis, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await run(make(self._core, *args, **kwargs))

    made: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]] = present(method, make)
    return made


class Memoized(memoize.Memoized, Generic[P]):
    """A function whose results are stored. Made by ``NumPyRedis.memoize()``."""

    def __init__(self, client: NumPyRedis, function: Callable[P, Any], options: memoize.Options) -> None:
        super().__init__(function, options)
        self._client = client

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return await self._client.get_or_set(self.key(*args, **kwargs), lambda: self._function(*args, **kwargs), **self._options.get_or_set)

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Deletes the stored result of the call with these arguments. Returns whether there was one."""
        return await self._client.delete(self.key(*args, **kwargs)) > 0


class NumPyRedis(Client):
    """The client for asyncio. It has the options and the methods of ``ndring.NumPyRedis``, and they
    do the same; methods that ask a node are awaited. ::

        from ndring.asyncio import NumPyRedis

        async with NumPyRedis() as client:
            await client.set("k", array, ex=60)
            array = await client.get("k")

    Tasks may share a client. Each call has a connection of its own, up to ``max_connections`` to
    each node, 64 by default; more calls wait for one. A call may be cancelled at any moment: its
    connection is closed, so no other call sees its reply, and a write may or may not have been
    done. A client can be used in several event loops, each of which has its own connections; close
    it in each.

    An array travels directly between its memory and the socket, but encoding, and decoding what is
    not a plain array, happen in the event loop. ``get_or_set`` awaits what ``make()`` returns if
    that can be awaited.
    """

    _driver = Driver

    async def __aenter__(self: N) -> N:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections of this event loop, also those in use. A later call opens new ones."""
        if self._core.near is not None:
            self._core.near.close()
        await run(self._core.cluster.nodes.close())

    aclose = close

    # Arrays

    set = _command(calls.set_)
    take = _command(calls.take)
    get_or_set = _operation(get_or_set)
    mset = _operation(operations.mset)
    mget = _operation(operations.mget)

    if TYPE_CHECKING:
        get = _operation(operations.get)
    else:

        async def get(self, key, out=None, default=None):  # the way that most calls take
            if out is None:
                near = self._core.near
                if near is None:
                    return await self._run(calls.get(self._core.defaults, key, default))
                kept = near.get(encode_key(key), monotonic())
                return await run(operations.get_near(self._core, near, key, default)) if kept is None else kept
            return await run(operations.get(self._core, key, out, default))

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
    ) -> Callable[[Callable[P, Any]], Memoized[P]]:
        """See ``ndring.NumPyRedis.memoize``. The function may be a coroutine function; calls of what
        this makes of it are awaited, and so is its ``invalidate``."""
        options = memoize.Options(ex, px, version, ignore, wait_for, lease, on_error)
        return lambda function: Memoized(self, function, options)

    def view(self, key: Key) -> ArrayView:
        """Returns a view of the stored array, from which parts are read without transferring the
        rest: ``await client.view("k")[10:20, ::2]``. See ArrayView. Asks no node yet."""
        encode_key(key)
        return ArrayView(self._core, key)

    def pipeline(self, transaction: bool = False) -> Pipeline:
        """Returns a Pipeline, which collects commands and sends them together, one batch per node.
        ``transaction``: one node executes them atomically."""
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

    def scan_iter(self, match: Optional[Key] = None, count: int = 1000) -> AsyncIterator[bytes]:
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

    async def keys(self, match: Optional[Key] = None, *, text: bool = False) -> List[Any]:
        """Returns the keys that match a glob pattern, by default all. ``text``: as str, decoded as
        UTF-8; raises UnicodeDecodeError for a key that is not. See ``scan_iter``, which does not
        collect them first."""
        return [key.decode() if text else key async for key in self.scan_iter(match)]

    # Nodes

    execute_command = _operation(operations.execute_command)
    ping = _operation(operations.ping)
    info = _operation(operations.info)
    nodes = _operation(operations.nodes)

    async def _run(self, call: Call[T]) -> T:
        core = self._core
        cluster, request = core.cluster, call.request
        at = cluster.ready(request)
        if at is None or core.near is not None and call.writes:
            return await run(core.run(call))
        began = monotonic()
        deadline = cluster.policy.deadline
        try:
            result = await at.one(request, None if deadline is None else began + deadline)
            if type(result) is Failure:
                result = await run(cluster.again(request, result, began))
            return call.finish(result)
        except UNANSWERED as exc:
            return core.missed(call, exc)


async def _keys(scan: Scan) -> AsyncIterator[bytes]:
    while True:
        keys = await run(scan.page())
        if keys is None:
            return
        for key in keys:
            yield key
