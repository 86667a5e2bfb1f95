"""The nodes of a cluster: which node serves which slot, and the connections to each.

The slot map is fetched at the first call with a key, and again when a node replies MOVED, does not
answer, or does not serve the key. However many threads need it, one of them fetches it for all, at
most once per ``_MIN_FETCH_INTERVAL``; while it does not change, the interval grows to
``_MAX_FETCH_INTERVAL``.
"""
from __future__ import annotations

import os
import random
import time
import weakref
from typing import Callable, Dict, Iterator, List, Optional, Sequence

from .._exceptions import (
    AuthenticationError, ClusterDownError, DecodeError, MovedError, NdringError, NodeDownError, NoPermissionError, TimeoutError, without_traceback,
)  # fmt: skip
from .._log import log
from .commands import slot
from .driver import Driver, Event, SilenceCheck, Transport, Work
from .outages import Outages
from .replicas import Replicas
from .request import Request
from .resp import pack
from .settings import Settings
from .slots import Address, SlotMap, parse_redirect, parse_shards, parse_slots

_MIN_FETCH_INTERVAL = 0.1  # s between two fetches of the slot map, plus a random part
_MAX_FETCH_INTERVAL = 0.5  # s; a failover takes about 1 s
_REPLICAS_AGE = 30.0  # s after which a client that reads from replicas looks for new ones
_SHORT_TIMEOUT = 0.5  # s for a node to reply, while there are other nodes to try
_LONG_TIMEOUT = 2.0  # s for a second try, after no node has replied
_MAX_CANDIDATES = 4  # nodes to try, one after the other, until one replies
_MAX_KNOWN = 1000  # addresses
PROBE_WAIT = 0.1  # s that a call waits for the probe of a node that was down


class Nodes:
    """Safe to use from several threads, after a fork, and in signal handlers, as far as its driver
    is. ``seeds``: the given nodes, any one of which is enough."""

    def __init__(self, settings: Settings, seeds: Sequence[Address], driver: Driver) -> None:
        self.driver = driver
        self._settings = settings
        self._seeds = list(dict.fromkeys(seeds))
        #: Whether redirects can be followed. A Unix socket reaches one node only.
        self.routable = settings.path is None
        self._transports: Dict[Address, Transport] = {}
        self._map: Optional[SlotMap] = None
        self.seed = self.at(self._seeds[0])
        #: The node that gets every command while no other node is known, else None.
        self.single: Optional[Transport] = None if self.routable else self.seed
        self._table: Optional[List[Optional[Transport]]] = None  # by slot
        self._known: Dict[Address, None] = {}  # every address seen so far, the latest last
        self._ids: Dict[str, Address] = {}
        self._failed: Dict[Address, None] = {}  # nodes that did not answer the last fetch of the slot map
        self._pause = _MIN_FETCH_INTERVAL
        self.outages = Outages()
        self.replicas = Replicas()
        self._readers: Dict[Address, Transport] = {}  # connections that read from replicas
        self._wants_replicas = False
        self.reset_after_fork()
        _all.add(self)

    def reset_after_fork(self) -> None:
        """Drops the state of threads that do not exist after a fork."""
        self._fetching: Dict[str, Callable[[], Optional[_MapFetch]]] = {}  # at most one entry: the fetch under way
        self._fetches = 0  # fetches completed so far
        self._next_fetch = 0.0
        self._error: Optional[NdringError] = None  # of the last fetch

    # Routing

    def routed(self, request: Request) -> Optional[Transport]:
        """Returns the node that the slot map names for a command, None if something else decides."""
        table = self._table
        return None if table is None or request.key is None or request.node is not None else table[slot(request.key)]

    def route(self, request: Request, end: Optional[float] = None) -> Work[Transport]:
        """Returns the node for a command. Raises NdringError if the first slot map cannot be
        fetched, ValueError for an unknown node."""
        if request.node is not None:
            return self.find(request.node)
        if request.key is None:
            return self.single or self._first_seed()
        if self._table is None and self.single is None:
            yield from self._fetch_map(end)
        single, table = self.single, self._table
        if single is not None or table is None:
            return single or self.seed
        return table[slot(request.key)] or self.any_node()

    def want_replicas(self) -> None:
        """Makes the next fetch of the slot map look for all replicas."""
        if not self._wants_replicas:
            self._wants_replicas = True
            self._next_fetch = 0.0

    def reader(self, request: Request, number: int, end: Optional[float] = None) -> Work[Optional[Transport]]:
        """Returns the replica that a read should go to, None for the primary. ``number``: grows by
        one per call. Raises NdringError if the first slot map cannot be fetched."""
        if request.key is None or not self.routable:
            return None
        if self._map is None:
            yield from self._fetch_map(end)
        elif self._next_fetch == 0.0:  # it was fetched before replicas were wanted
            yield from self.refresh(end=end)
        elif time.monotonic() > self._next_fetch + _REPLICAS_AGE:  # no error tells of new replicas
            yield from self.refresh_soon()
        address = self.replicas.choose(slot(request.key), number, time.monotonic(), tuple(self.outages.known))
        if address is None:
            return None
        reader = self._readers.get(address)
        if reader is None:
            reader = self._readers.setdefault(address, self.driver.transport(self._settings.for_replicas(), address, None))
        return reader

    def _first_seed(self) -> Transport:
        if self.outages.known or self._failed:
            for address in self._seeds:
                if address not in self._failed and self.outages.get(address) is None:
                    return self.at(address)
        return self.seed

    def at(self, address: Address) -> Transport:
        transport = self._transports.get(address)
        if transport is None:
            silence_check = _silence_check_for(weakref.ref(self), address) if self.routable else None
            transport = self._transports.setdefault(address, self.driver.transport(self._settings, address, silence_check))
            transport.cluster_seen = self._map is not None
        return transport

    def any_node(self, other_than: Optional[Transport] = None) -> Transport:
        """Returns a random node, preferably one that works, and not ``other_than`` if there is another."""
        current = self._current() if self.single is None else ()
        all_known = [self.at(address) for address in dict.fromkeys((*self._seeds, *current))]
        others = [t for t in all_known if t is not other_than]
        healthy = [t for t in others if t.address not in self._failed and self.outages.get(t.address) is None]
        return random.choice(healthy or others) if others else other_than or self.seed

    def slots(self, fresh: bool, end: Optional[float] = None) -> Work[Optional[SlotMap]]:
        """Returns the slot map, or None while a single node serves everything. ``fresh``: fetches
        it now. Raises the reason if it is unknown."""
        if self.routable and (fresh or self._map is None):
            yield from self._fetch_map(end)
        return None if self.single is not None else self._map

    @property
    def slots_known(self) -> bool:
        return self._table is not None

    def find(self, node: str) -> Transport:
        """Returns a node by its id or its ``host:port``. Raises ValueError for an unknown one."""
        address = self._ids.get(node)
        for address in [address] if address else [a for a in list(self._transports) if str(a) == node]:
            return self.at(address)
        raise ValueError(f"unknown node {node!r}; nodes() lists them")

    def close(self) -> Work[None]:
        for transport in [*self._transports.values(), *self._readers.values()]:
            yield transport.close()

    # Outages

    def check_silent(self, address: Address, key: Optional[bytes], end: float) -> Work[None]:
        """Called when a node has been silent for a while. Raises if another node says that waiting
        for it is useless."""
        outage = self.outages.get(address)
        if outage is not None and outage.waited:
            outage.mark_slow()
            raise outage.to_error(address, time.monotonic())
        if key is None or self.single is not None or self._map is None:
            return
        other = self.any_node(self.at(address))
        if other.address == address:
            return
        try:
            yield other.with_timeout(Request(pack(b"NP.EXISTS", key)), _SHORT_TIMEOUT, end)
            error: NdringError = TimeoutError(f"silent, and {other.address} serves the key now")
        except ClusterDownError as exc:
            error = NodeDownError(f"CLUSTERDOWN node {address} is silent, and {other.address} says: {exc}")
        except MovedError as exc:
            try:
                if parse_redirect(str(exc), other.address).address == address:
                    return
            except DecodeError:
                return
            error = TimeoutError(f"silent, and {other.address} says: {exc}")
        except NdringError:
            return
        error.unreachable = True
        raise error

    def probe(self, transport: Transport, end: Optional[float]) -> Work[None]:
        """Pings a node in the background to see if it answers again. Waits briefly for the result,
        and not beyond ``end``."""
        found = self.driver.event()
        if not self.driver.spawn(self._ping(transport, found, _LONG_TIMEOUT, None), "ndring-look"):
            yield from self._ping(transport, found, PROBE_WAIT, end)
        yield self.driver.wait(found, PROBE_WAIT if end is None else max(0.0, min(PROBE_WAIT, end - time.monotonic())))

    def _ping(self, transport: Transport, found: Event, timeout: float, end: Optional[float]) -> Work[None]:
        began = time.monotonic()
        try:
            yield transport.with_timeout(Request(pack(b"PING")), timeout, end)
        except NdringError as exc:
            if not exc.is_reply:
                self.outages.record_failure(transport.address, began, time.monotonic(), exc)
                return
        self.mark_alive(transport.address)
        found.set()

    def mark_alive(self, address: Address) -> None:
        """Records that a node has answered."""
        outage = self.outages.record_answer(address)
        if outage is not None and outage.waited:
            log.warning("node %s answers again, after %.1f s", address, time.monotonic() - outage.since)

    # Fetching the slot map

    def refresh_soon(self, wait: float = 0.0) -> Work[None]:
        """Starts to fetch the slot map in the background, if it is time, and waits up to ``wait``
        seconds for it. For calls that have no time left, or must not wait for other silent nodes."""
        if self._map is None or self._fetching or time.monotonic() < self._next_fetch:
            return
        done = self.driver.event()
        if self.driver.spawn(self._refresh_and_tell(done), "ndring-look") and wait:
            yield self.driver.wait(done, wait)

    def _refresh_and_tell(self, done: Event) -> Work[None]:
        try:
            yield from self.refresh()
        finally:
            done.set()

    def _fetch_map(self, end: Optional[float] = None) -> Work[None]:
        """Waits until this or another thread has fetched the slot map. Raises the error if that failed."""
        seen = self._fetches
        while self._fetches == seen:
            other = yield from self._fetch_or_join(None, False, end)
            if other is not None and not (yield from other.wait(end)):
                raise TimeoutError("the deadline passed while another thread fetched the slot map")
        error = self._error
        if error is not None:
            raise without_traceback(error) from error  # a copy, because other threads raise it too

    def refresh(self, prefer: Optional[Transport] = None, moved: bool = False, end: Optional[float] = None) -> Work[None]:
        """Fetches the slot map again, unless another thread is doing so or has just done it.
        ``prefer``: a node that is known to answer. ``moved``: a redirect proved that there are
        several nodes, whatever this node says."""
        if self._map is not None and time.monotonic() >= self._next_fetch:
            yield from self._fetch_or_join(prefer, moved, end, True)

    def _fetch_or_join(self, prefer: Optional[Transport], moved: bool, end: Optional[float], unless_new: bool = False) -> Work[Optional[_MapFetch]]:
        """Fetches the slot map, or returns the fetch already under way, if that may still succeed.
        ``unless_new``: does nothing right after another fetch."""
        mine = _MapFetch(self.driver)
        try:
            # A weak reference, because a signal may end the call before it can remove its entry.
            held = self._fetching.setdefault("map", weakref.ref(mine))
            other = held()
            if other is not mine:
                if other is None or other.is_lost():
                    self._fetching.pop("map", None)
                    return None
                return other
            if not unless_new or time.monotonic() >= self._next_fetch:
                yield from self._fetch_from_candidates(prefer, moved, end)
            return None
        finally:
            held = self._fetching.get("map", _nothing)
            if held() is mine:
                self._fetching.pop("map", None)
            mine.done.set()

    def _fetch_from_candidates(self, prefer: Optional[Transport], moved: bool, end: Optional[float]) -> Work[None]:
        news = False
        error: Optional[NdringError] = None
        silent: List[Transport] = []
        candidates = zip(self._candidates(prefer), range(_MAX_CANDIDATES))
        # Each node gets a short timeout first, so that one that hangs does not delay the call
        # while others would reply.
        rounds = [(transport, _SHORT_TIMEOUT) for transport, _ in candidates]
        rounds = [(transport, _LONG_TIMEOUT) for transport, _ in rounds] if len(rounds) == 1 else rounds
        while rounds:
            transport, timeout = rounds.pop(0)
            began = time.monotonic()
            try:
                reply = yield transport.with_timeout(Request(pack(b"CLUSTER", b"SLOTS")), timeout, end)
                found = yield from self._with_replicas(parse_slots(reply, transport.address), transport, end)
            except NdringError as exc:
                if exc.hopeless and len(self._seeds) == 1 and self._map is None:
                    error = exc
                    break
                if not exc.is_reply and not isinstance(exc, DecodeError):
                    error = error if error is not None and exc.hopeless else exc  # not hopeless while another seed may come back
                    self._failed[transport.address] = None
                    if isinstance(exc, TimeoutError) and timeout < _LONG_TIMEOUT:
                        silent.append(transport)
                    elif exc.unreachable:
                        self.outages.record_failure(transport.address, began, time.monotonic(), exc)
                    if not rounds:
                        rounds, silent = [(t, _LONG_TIMEOUT) for t in silent], []
                    continue
                if isinstance(exc, AuthenticationError) and not isinstance(exc, NoPermissionError):
                    error = exc
                    break
                found = SlotMap((), {})  # not a cluster, or the user may not ask
            self._failed.pop(transport.address, None)
            self.outages.record_answer(transport.address)
            error = None
            if found.ranges or self._map is None:
                news = self._install_map(found, transport, moved)
                self._drop_unlisted()
                break
        # Not after an interruption: then those that wait for this fetch begin another one.
        self._error = None if error is None else without_traceback(error)
        self._fetches += 1
        self._pause = _MIN_FETCH_INTERVAL if news else min(2 * self._pause, _MAX_FETCH_INTERVAL)
        self._next_fetch = time.monotonic() + random.uniform(self._pause, 1.5 * self._pause)

    def _with_replicas(self, found: SlotMap, transport: Transport, end: Optional[float]) -> Work[SlotMap]:
        """Adds the replicas that CLUSTER SLOTS does not name, if this client reads from replicas."""
        if not self._wants_replicas or not found.ranges:
            return found
        try:
            reply = yield transport.with_timeout(Request(pack(b"CLUSTER", b"SHARDS")), _SHORT_TIMEOUT, end)
            return found._replace(replicas=tuple(sorted({*found.replicas, *parse_shards(reply, transport.address)})))
        except NdringError as exc:  # an older server, or the user may not ask: the primaries answer all reads
            log.debug("no replicas from %s: %s", transport.address, exc)
            return found

    def _candidates(self, prefer: Optional[Transport]) -> Iterator[Transport]:
        """Yields the nodes to ask: first those that answered last time, shuffled, so that clients
        do not all ask the same one."""
        if prefer is not None:
            yield prefer
        current = self._current() if self.single is None else []
        random.shuffle(current)
        former = [address for address in self._known if address not in current]
        random.shuffle(former)
        ordered = [*current, *self._seeds, *former]
        for address in sorted(dict.fromkeys(ordered), key=lambda address: address in self._failed):
            if prefer is None or address != prefer.address:
                yield self.at(address)

    def _current(self) -> List[Address]:
        """Returns the addresses in the slot map."""
        if self._map is None:
            return []
        return list(dict.fromkeys((*self._map.nodes.values(), *(a for _, _, addresses in self._map.replicas for a in addresses))))

    def _install_map(self, found: SlotMap, source: Transport, moved: bool) -> bool:
        """Installs a slot map. Returns whether it differs from the previous one."""
        if found == self._map and (self.single is None or not moved):
            return False
        self._map = found
        for transport in list(self._transports.values()):
            transport.cluster_seen = True
        self.replicas.install(found.replicas_by_slot())
        if self._table is None and (not found.ranges or len(found.nodes) == 1 and not found.replicas and not moved):
            self.single = source  # keep this address: the one in the node's reply may not be reachable from here
            return True
        transports = {address: self.at(address) for address in found.nodes.values()}
        self._table = [None if owner is None else transports[owner] for owner in found.owners()]
        self.single = None
        for address in (*transports, *self._current()):
            self._known.pop(address, None)
            self._known[address] = None
        self._ids = {**{name: address for name, address in self._ids.items() if name not in found.nodes}, **found.nodes}
        for address in list(self._known)[:-_MAX_KNOWN]:
            del self._known[address]
        for node in list(self._ids)[:-_MAX_KNOWN]:
            del self._ids[node]
        return True

    def _drop_unlisted(self) -> None:
        """Closes the connections to nodes that are not in the slot map."""
        current = set(self._current())
        for address, transport in list(self._readers.items()):
            if address not in current:
                del self._readers[address]
                transport.retire()
        for address, transport in list(self._transports.items()):
            if address not in current and address not in self._seeds:
                del self._transports[address]
                transport.retire()
                self.outages.record_answer(address)
        for address in list(self._failed):
            if address not in current and address not in self._known and address not in self._seeds:
                del self._failed[address]


def _silence_check_for(held: "weakref.ref[Nodes]", address: Address) -> SilenceCheck:
    """Returns the silence check for connections to a node. It holds Nodes weakly, so that a dropped
    client closes its connections at once."""

    def silence_check(key: Optional[bytes], end: float) -> Work[None]:
        nodes = held()
        if nodes is not None:
            yield from nodes.check_silent(address, key, end)

    return silence_check


def _nothing() -> None:
    return None


class _MapFetch:
    """A fetch of the slot map by one call. ``done``: set when it has ended."""

    __slots__ = ("done", "_driver", "_began", "__weakref__")

    def __init__(self, driver: Driver) -> None:
        self.done = driver.event()
        self._driver = driver
        self._began = time.monotonic()

    def is_lost(self) -> bool:
        """Whether it has taken longer than possible: its call was interrupted, and a traceback
        keeps it alive."""
        return time.monotonic() - self._began > 3 * _MAX_CANDIDATES * _LONG_TIMEOUT

    def wait(self, end: Optional[float]) -> Work[bool]:
        """Waits for the end of the fetch. Returns False if ``end`` came first."""
        left = 3 * _MAX_CANDIDATES * _LONG_TIMEOUT if end is None else max(0.0, end - time.monotonic())
        return (yield self._driver.wait(self.done, left)) or end is None


_all: "weakref.WeakSet[Nodes]" = weakref.WeakSet()


def _after_fork() -> None:
    for nodes in list(_all):
        nodes.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
