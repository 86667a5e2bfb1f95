"""The methods of both clients that are more than one command, as work for a driver.

Their signatures and documentation stand here. ``Core`` is what they need of a client.
"""
from __future__ import annotations

import contextlib
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, cast

import numpy as np

from .._exceptions import EncodeError, NdringError, PartialError
from . import calls
from .calls import Call, Defaults, T
from .cluster import Cluster
from .commands import newer_request, parse_info, slot
from .degraded import UNANSWERED, Degraded, is_unanswered
from .driver import Work
from .get_into import get_into
from .near_cache import NearCache
from .options import Key, Seconds, Value, encode_key, key_list
from .replies import checked, is_ok, is_pong, is_size, is_text
from .request import Failure, Request
from .resp import NotModified, pack
from .scan import Scan


class Core:
    """A client without its driver. ``label``: names its nodes."""

    def __init__(self, cluster: Cluster, degraded: Degraded, defaults: Defaults, label: str, near: Optional[NearCache] = None) -> None:
        self.cluster = cluster
        self.degraded = degraded
        self.defaults = defaults
        self.label = label
        self.near = near

    def but(self, on_error: Optional[str] = None, read_from_replicas: Optional[bool] = None) -> Core:
        """Returns a core that shares this one's nodes and counts but has other options."""
        mine = self.cluster
        policy = mine.policy if on_error is None else mine.policy._replace(on_error=on_error)
        replicas = mine.read_from_replicas if read_from_replicas is None else read_from_replicas
        if policy == mine.policy and replicas == mine.read_from_replicas:
            return self
        return Core(Cluster(mine.nodes, policy, replicas), self.degraded, self.defaults, self.label, self.near)

    def run(self, call: Call[T]) -> Work[T]:
        """Returns the result of a call, or that of a miss."""
        with self.writing([call]):
            try:
                return call.finish((yield from self.cluster.one(call.request)))
            except UNANSWERED as exc:
                return self.missed(call, exc)

    @contextlib.contextmanager
    def writing(self, several: Sequence[Call[Any]]) -> Iterator[None]:
        """Has the near cache forget the keys that calls write, before and after them: so a client
        reads what it has written."""
        keys = [] if self.near is None else [key for call in several if call.writes for key in call.keys]
        if self.near is None or not keys:
            yield
            return
        self.near.forget(keys)
        try:
            yield
        finally:
            self.near.forget(keys)

    def missed(self, call: Call[T], exc: NdringError) -> T:
        """Returns the result of a call that had no answer. Raises ``exc`` unless that is to be a miss."""
        if self.cluster.policy.on_error != "miss" or not is_unanswered(exc):
            raise exc
        return cast(T, self.degraded.record(call, exc))


def get(core: Core, key: Key, out: Optional[np.ndarray[Any, Any]] = None, default: Any = None) -> Work[Any]:
    """Returns the stored array or scalar, or ``default`` for a missing key.

    ``out``: an array with the stored dtype, shape and layout that receives the data and is
    returned. A mismatch raises DecodeError before anything is written. ``out`` stays writeable
    even if the stored array was read-only. If the transfer fails, the content of ``out`` is
    undefined. Raises CorruptError, DecodeError, ServerError, ConnectionError or TimeoutError.
    """
    call = calls.get(core.defaults, key, default)
    if out is None:
        return (yield from core.run(call))
    try:
        return (yield from get_into(core.cluster, encode_key(key), out, default))
    except UNANSWERED as exc:
        return core.missed(call, exc)


def get_near(core: Core, near: NearCache, key: Key, default: Any) -> Work[Any]:
    """Returns the stored array, and has the near cache keep it if it can."""
    call = calls.get(core.defaults, key, default)
    at = core.cluster.ready(call.request)
    ticket = None if at is None else near.begin(call.keys[0], at, core.cluster.nodes.driver, time.monotonic())
    if at is None or ticket is None:
        return (yield from core.run(call))
    began = time.monotonic()
    before = ticket.kept
    request = call.request if before is None else newer_request(call.keys[0], before.version)
    kept, version = None, ""
    try:
        result = yield at.one(request, core.cluster.policy.end(began))
        if type(result) is Failure:
            return call.finish((yield from core.cluster.again(call.request, result, began)))
        value = call.finish(result)
        if result is not None:
            kept, version = value, result.version
        return value
    except NotModified:
        assert before is not None
        kept, version = before.value, before.version
        return kept
    except UNANSWERED as exc:
        return core.missed(call, exc)
    finally:
        near.end(ticket, kept, version)


def mset(
    core: Core,
    mapping: Mapping[Any, Value],
    *,
    ex: Optional[Seconds] = None,
    px: Optional[Seconds] = None,
    layout: str = "auto",
    metadata: str = "error",
    convert: bool = False,
) -> Work[bool]:
    """Stores several arrays, sent together. Each array is stored atomically, the set of them is not.
    ``ex``, ``px``, ``layout``, ``metadata``, ``convert``: as for ``set``.

    Sends nothing if one of them cannot be encoded. If only some could be stored it raises
    PartialError; if all failed for the same reason, it raises that error.
    """
    if not hasattr(mapping, "keys"):
        raise EncodeError(f"mset requires a mapping from keys to arrays, not {type(mapping).__name__}")
    keys = list(mapping.keys())
    options: Dict[str, Any] = {"ex": ex, "px": px, "layout": layout, "metadata": metadata, "convert": convert}
    stores = [calls.set_(core.defaults, key, mapping[key], **options) for key in keys]
    return all((yield from _fan_out(core, [[key] for key in keys], stores)))


def mget(core: Core, keys: Iterable[Key]) -> Work[List[Any]]:
    """Returns the arrays of several keys in order, None for each missing key.

    If only some could be read it raises PartialError; if all failed for the same reason, it
    raises that error.
    """
    listed = key_list(keys)
    if core.near is None:
        return (yield from _fan_out(core, [[key] for key in listed], [calls.get(core.defaults, key) for key in listed]))
    now = time.monotonic()
    found = [core.near.get(encode_key(key), now) for key in listed]
    left = [key for key, value in zip(listed, found) if value is None]
    try:
        others = iter((yield from _fan_out(core, [[key] for key in left], [calls.get(core.defaults, key) for key in left])))
    except NdringError as exc:
        kept = {key: value for key, value in zip(listed, found) if value is not None}
        if not kept:
            raise
        failed = exc if isinstance(exc, PartialError) else PartialError(dict.fromkeys(left, exc), {})
        raise PartialError(failed.errors, {**kept, **failed.results}) from exc
    return [next(others) if value is None else value for value in found]


def delete(core: Core, *keys: Key) -> Work[int]:
    """Deletes keys and returns how many existed. If the client had to repeat the command after
    a lost reply, the count is that of the repeat, so it may be too small, and the repeat also
    deletes what another client has stored in between."""
    return (yield from _count_keys(core, b"NP.DEL", keys))


def exists(core: Core, *keys: Key) -> Work[int]:
    """Returns how many of the keys exist. A key that is named twice counts twice."""
    return (yield from _count_keys(core, b"NP.EXISTS", keys))


def _count_keys(core: Core, command: bytes, keys: Iterable[Key]) -> Work[int]:
    by_slot: Dict[int, List[Key]] = {}
    for key in keys:
        by_slot.setdefault(slot(encode_key(key)), []).append(key)
    groups = list(by_slot.values())
    counts = [calls.count_keys(command, [encode_key(key) for key in group]) for group in groups]
    # For keys that share a command only their count is known, and so each key's result only if
    # that is none or all.
    return sum((yield from _fan_out(core, groups, counts, lambda group, n: {0: 0, len(group): 1}.get(n))))


def _fan_out(
    core: Core, groups: List[List[Any]], several: List[Call[Any]], share: Callable[[Any, Any], Any] = lambda group, result: result
) -> Work[List[Any]]:
    """Returns the results of calls, each of which concerns a group of keys. Raises the error
    itself if all calls failed alike, else PartialError. ``share(group, result)``: the result of
    each single key of a group, for PartialError."""
    results: List[Any] = []
    errors: Dict[Any, Exception] = {}
    misses = core.cluster.policy.on_error == "miss"
    requests = [call.request for call in several]
    with core.writing(several):
        replies = (yield from core.cluster.many(requests)) if requests else ()
    for group, call, reply in zip(groups, several, replies):
        try:
            if isinstance(reply, Exception):
                raise reply
            results.append(call.finish(reply))
        except NdringError as exc:
            if misses and is_unanswered(exc):
                results.append(core.degraded.record(call, exc))
                continue
            errors.update(dict.fromkeys(group, exc))
            results.append(exc)
    if not errors:
        return results
    if len({type(result) for result in results}) == 1:
        raise results[0]
    raise PartialError(errors, {k: share(g, r) for g, r in zip(groups, results) for k in g if k not in errors})


def delete_prefix(core: Core, prefix: Key) -> Work[int]:
    """Deletes all keys that begin with ``prefix`` and returns how many it deleted. Not atomic:
    keys stored meanwhile may remain."""
    start = encode_key(prefix, "a prefix")
    pattern = b"".join(b"\\" + bytes((c,)) if c in b"*?[]\\^-" else bytes((c,)) for c in start) + b"*"
    scan = Scan(core.cluster, pattern, 1000)
    deleted = 0
    raising = core.but(on_error="raise")
    while True:
        page = yield from scan.page()
        if page is None:
            return deleted
        deleted += yield from delete(raising, *page)


def ping(core: Core) -> Work[bool]:
    """Returns True if a node answers: the one given to the constructor, or else another one."""
    return bool((yield from core.cluster.one(Request(pack(b"PING"), checked("PING", is_pong)))))


def info(core: Core, section: Optional[str] = None, *, node: Optional[str] = None) -> Work[Dict[str, Any]]:
    """Returns the sections of Redis' INFO for one node as a dict. ``section``: only this one.
    ``node``: one of ``nodes()``; by default the one given to the constructor, or another one if
    that does not answer."""
    if node is not None:
        known = yield from nodes(core)
        if node not in known:
            raise ValueError(f"unknown node {node!r}; the nodes are {', '.join(known)}")
    words = [b"INFO", section.encode()] if section else [b"INFO"]
    reply = yield from core.cluster.one(Request(pack(*words), checked("INFO", is_text), node=node))
    return parse_info(reply if isinstance(reply, str) else reply.decode("utf8", "replace"))


def nodes(core: Core) -> Work[List[str]]:
    """Returns the addresses (``host:port``) of the nodes that currently serve keys, as far as
    the client knows."""
    slots = yield from core.cluster.slots()
    return [core.label] if slots is None else sorted(str(address) for address in slots.nodes.values())


def dbsize(core: Core) -> Work[int]:
    """Returns how many keys there are on all nodes."""
    return sum((yield from _on_all_nodes(core, Request(pack(b"DBSIZE"), checked("DBSIZE", is_size)))))


def flush(core: Core, *, yes: bool = False) -> Work[bool]:
    """Deletes all keys of all nodes. ``yes=True`` says that this is meant; without it, raises ValueError."""
    if yes is not True:
        raise ValueError("flush deletes all keys of all clients: pass yes=True if that is what you want")
    try:
        yield from _on_all_nodes(core, Request(pack(b"FLUSHALL"), checked("FLUSHALL", is_ok), writes=True))
    finally:
        if core.near is not None:
            core.near.clear()
    return True


def _on_all_nodes(core: Core, request: Request) -> Work[List[Any]]:
    """Returns the replies of all nodes. Raises the first error."""
    slots = yield from core.cluster.slots(fresh=True, complete=True)
    if slots is None:
        return [(yield from core.cluster.one(request))]
    to_each = [Request(request.buffers, request.read, node=node, writes=request.writes) for node in slots.nodes]
    replies = yield from core.cluster.many(to_each)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def execute_command(core: Core, *arguments: Key, key: Optional[Key] = None) -> Work[Any]:
    """Sends any command and returns its reply as bytes, str, int, float, bool, None, list or dict.
    ``key``: goes to the node that serves this key; by default that of the first argument after the
    command's name. Follows redirects, but does not repeat a command that may have been executed."""
    if not arguments:
        raise ValueError("pass the name of a command")
    words = [encode_key(word, "an argument") if word not in ("", b"") else b"" for word in arguments]
    at = encode_key(key) if key is not None else words[1] if len(words) > 1 else None
    once = Cluster(core.cluster.nodes, core.cluster.policy._replace(retry_for=0.0), False)
    try:
        return (yield from once.one(Request(pack(*words), key=at or None, writes=True)))
    finally:
        if core.near is not None:
            core.near.clear()  # which keys it has changed is not known


def begin_scan(core: Core, match: Optional[Key], count: int) -> Scan:
    return Scan(core.cluster, None if match is None else encode_key(match, "a pattern"), count)


def execute(core: Core, pending: List[Call[Any]], transaction: bool, raise_on_error: bool) -> Work[List[Any]]:
    """Sends the commands of a pipeline and returns their results."""
    if not pending:
        return []
    requests = [call.request for call in pending]
    with core.writing(pending):
        if transaction:
            check_slots(pending)
            try:
                replies = yield from core.cluster.transaction(requests)
            except UNANSWERED as exc:
                if core.cluster.policy.on_error != "miss" or not is_unanswered(exc):
                    raise
                replies = [exc] * len(pending)
        else:
            replies = yield from core.cluster.many(requests)
    results = [_finished(call, reply) for call, reply in zip(pending, replies)]
    if core.cluster.policy.on_error == "miss":
        results = [core.degraded.record(call, r) if is_unanswered(r) else r for call, r in zip(pending, results)]
    if raise_on_error:
        for number, result in enumerate(results, 1):
            if isinstance(result, Exception):
                result.args = (f"{result} (command {number} of the pipeline)", *result.args[1:])  # appended: the prefix must stay first
                raise result
    return results


def _finished(call: Call[Any], reply: Any) -> Any:
    if isinstance(reply, Exception):
        return reply
    try:
        return call.finish(reply)
    except NdringError as exc:
        return exc


def check_slots(pending: List[Call[Any]]) -> None:
    """Raises ValueError if the keys belong to different slots."""
    seen: Dict[int, bytes] = {}
    for call in pending:
        for key in call.keys:
            seen.setdefault(slot(key), key)
            if len(seen) > 1:
                one, other = seen.values()
                raise ValueError(f"keys {one!r} and {other!r} belong to different slots; give them the same {{tag}}")
