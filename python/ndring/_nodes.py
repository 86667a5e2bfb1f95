"""The nodes of a cluster: which of them serves which slot, and how to reach each.

The map is asked for at the first call that has a key, and again when a node says MOVED, is gone, or may not serve. However many
threads want that at once, one of them asks, for all; and never more often than each ``_FIRST_PAUSE``, while asking tells
nothing new up to ``_LAST_PAUSE``.
"""
from __future__ import annotations

import os
import random
import threading
import time
import weakref
from typing import Any, Dict, Iterator, List, Optional

from ._commands import slot
from ._exceptions import DecodeError, NdringError
from ._slots import Address, SlotMap, parse_slots
from ._transport import Request, Transport
from ._wire import pack

_FIRST_PAUSE = 0.1  # s between two questions for the map; a random part of it comes on top
_LAST_PAUSE = 1.0  # s
_PATIENCE = 2.0  # s that a node has to answer it
_ASKED_AT_ONCE = 4  # nodes, one after the other, until one answers
_MOST_KNOWN = 1000  # addresses


class Nodes:
    """Safe across threads and forks."""

    def __init__(self, options: Dict[str, Any], max_bytes: int) -> None:
        self._options = options
        self._max_bytes = max_bytes
        self.seed = Transport(options, max_bytes)
        #: Whether redirects can be followed: a Unix socket leads to one node.
        self.routable = "path" not in options
        #: The node that gets everything, as long as none other is known of.
        self.lone: Optional[Transport] = None if self.routable else self.seed
        self._table: Optional[List[Optional[Transport]]] = None  # by slot
        self._map: Optional[SlotMap] = None
        self._transports: Dict[Address, Transport] = {self.seed.address: self.seed}
        self._known: Dict[Address, None] = {}  # all that were ever named, the last of them last
        self._ids: Dict[str, Address] = {}
        self._failed: Dict[Address, None] = {}  # those that did not answer when they were last asked for the map
        self._pause = _FIRST_PAUSE
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Drops what belongs to threads that are not there after a fork."""
        self._lock = threading.Lock()  # is held by the one that asks for the map
        self._asked = 0  # how often that was done
        self._not_before = 0.0
        self._error: Optional[NdringError] = None  # of the last time

    # Where a command goes

    def route(self, request: Request) -> Transport:
        """Returns the node for a command. Raises NdringError when the first map cannot be had, ValueError for an unknown node."""
        if request.node is not None:
            return self.find(request.node)
        if request.key is None:
            return self.lone or self.seed
        if self._table is None and self.lone is None:
            self._ask_now()
        lone, table = self.lone, self._table
        if lone is not None or table is None:
            return lone or self.seed
        return table[slot(request.key)] or self.some()

    def at(self, address: Address) -> Transport:
        transport = self._transports.get(address)
        if transport is None:
            options = {**self._options, "host": address.host, "port": address.port}
            transport = self._transports.setdefault(address, Transport(options, self._max_bytes))
        return transport

    def some(self, besides: Optional[Transport] = None) -> Transport:
        """Returns a node by chance, another one than ``besides`` if there is."""
        current = self._map.nodes.values() if self._map is not None and self.lone is None else ()
        others = [t for t in (self.seed, *map(self.at, current)) if t is not besides and t.address not in self._failed]
        return random.choice(others) if others else besides or self.seed

    def slots(self, fresh: bool) -> Optional[SlotMap]:
        """Returns who serves what, None while one node gets everything. ``fresh``: asks for it now. Raises why it is not known."""
        if self.routable and (fresh or self._map is None):
            self._ask_now()
        return None if self.lone is not None else self._map

    def find(self, node: str) -> Transport:
        """Returns a node by its id or its ``host:port``. Raises ValueError for one that was never heard of."""
        address = self._ids.get(node)
        for address in [address] if address else [a for a in list(self._transports) if str(a) == node]:
            return self.at(address)
        raise ValueError(f"no node {node!r} is known; nodes() names them")

    def close(self) -> None:
        for transport in list(self._transports.values()):
            transport.close()

    # Asking for the map

    def _ask_now(self) -> None:
        """Waits for an answer, to this thread or to another that has asked meanwhile. Raises why there is none."""
        seen = self._asked
        with self._lock:
            if self._asked == seen:
                self._ask(None, False)
            error = self._error
        if error is not None:
            raise type(error)(*error.args) from error  # a copy, since others raise it too

    def refresh(self, prefer: Optional[Transport] = None, moved: bool = False) -> None:
        """Asks for the map again, unless another thread does that now or has done it just before. ``prefer``: a node that
        is known to answer. ``moved``: there is more than one node, whatever it says."""
        if self._map is None or time.monotonic() < self._not_before or not self._lock.acquire(blocking=False):
            return
        try:
            if time.monotonic() >= self._not_before:
                self._ask(prefer, moved)
        finally:
            self._lock.release()

    def _ask(self, prefer: Optional[Transport], moved: bool) -> None:
        """Is for the holder of the lock."""
        news = False
        error: Optional[NdringError] = None
        try:
            for transport, _ in zip(self._candidates(prefer), range(_ASKED_AT_ONCE)):
                try:
                    reply = transport.soon(Request(pack(b"CLUSTER", b"SLOTS")), _PATIENCE)
                    found = parse_slots(reply, transport.address)
                except NdringError as exc:
                    if not exc.is_reply and not isinstance(exc, DecodeError):
                        error = exc
                        self._failed[transport.address] = None
                        continue
                    found = SlotMap((), {})  # it knows of no cluster, or may not tell
                self._failed.pop(transport.address, None)
                error = None
                if found.ranges or self._map is None:
                    news = self._adopt(found, transport, moved)
                    self._drop_others()
                    break
        finally:
            self._error = error
            self._asked += 1
            self._pause = _FIRST_PAUSE if news else min(2 * self._pause, _LAST_PAUSE)
            self._not_before = time.monotonic() + random.uniform(self._pause, 1.5 * self._pause)

    def _candidates(self, prefer: Optional[Transport]) -> Iterator[Transport]:
        """Yields whom to ask: first those that answered last time, in any order, lest all clients ask the same one."""
        if prefer is not None:
            yield prefer
        current = list(self._map.nodes.values()) if self._map is not None and self.lone is None else []
        random.shuffle(current)
        former = [address for address in self._known if address not in current]
        random.shuffle(former)
        ordered = [*current, self.seed.address, *former]
        for address in sorted(dict.fromkeys(ordered), key=lambda address: address in self._failed):
            if prefer is None or address != prefer.address:
                yield self.at(address)

    def _adopt(self, found: SlotMap, said: Transport, moved: bool) -> bool:
        """Makes it the map; returns whether it is another one than before."""
        if found == self._map and (self.lone is None or not moved):
            return False
        self._map = found
        if self._table is None and (not found.ranges or len(found.nodes) == 1 and not moved):
            self.lone = said  # what a single node calls itself may be a name that does not reach it from here
            return True
        transports = {address: self.at(address) for address in found.nodes.values()}
        self._table = [None if owner is None else transports[owner] for owner in found.owners()]
        self.lone = None
        for address in transports:
            self._known.pop(address, None)
            self._known[address] = None
        self._ids = {**{name: address for name, address in self._ids.items() if name not in found.nodes}, **found.nodes}
        for address in list(self._known)[:-_MOST_KNOWN]:
            del self._known[address]
        for node in list(self._ids)[:-_MOST_KNOWN]:
            del self._ids[node]
        return True

    def _drop_others(self) -> None:
        """Gives up the connections to what is not, or no longer, in the map."""
        current = set(self._map.nodes.values()) if self._map is not None else set()
        for address, transport in list(self._transports.items()):
            if address not in current and transport is not self.seed:
                del self._transports[address]
                transport.retire()
        for address in list(self._failed):
            if address not in current and address not in self._known and address != self.seed.address:
                del self._failed[address]


_all: "weakref.WeakSet[Nodes]" = weakref.WeakSet()


def _after_fork() -> None:
    for nodes in list(_all):
        nodes.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
