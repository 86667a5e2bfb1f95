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
from typing import Callable, Dict, Iterator, List, Optional, Sequence

from ._commands import slot
from ._exceptions import AuthenticationError, ClusterDownError, DecodeError, MovedError, NdringError, NodeDownError, TimeoutError, to_keep
from ._log import log
from ._outages import Outages
from ._settings import Settings
from ._slots import Address, SlotMap, parse_slots, redirect_of
from ._stream import Doubt
from ._transport import Request, Transport
from ._wire import pack

_FIRST_PAUSE = 0.1  # s between two questions for the map; a random part of it comes on top
_LAST_PAUSE = 1.0  # s
_FIRST_PATIENCE = 0.5  # s that a node has to answer it, as long as there are others to ask
_PATIENCE = 2.0  # s that it has when none of them did
_ASKED_AT_ONCE = 4  # nodes, one after the other, until one answers
_MOST_KNOWN = 1000  # addresses
_MOMENT = 0.1  # s that a call waits for a look at a node that was down


class Nodes:
    """Safe across threads, forks and signals. ``seeds``: the nodes that were given, of which one is enough."""

    def __init__(self, settings: Settings, seeds: Sequence[Address]) -> None:
        self._settings = settings
        self._seeds = list(dict.fromkeys(seeds))
        #: Whether redirects can be followed: a Unix socket leads to one node.
        self.routable = settings.path is None
        self._transports: Dict[Address, Transport] = {}
        self._map: Optional[SlotMap] = None
        self.seed = self.at(self._seeds[0])
        #: The node that gets everything, as long as none other is known of.
        self.lone: Optional[Transport] = None if self.routable else self.seed
        self._table: Optional[List[Optional[Transport]]] = None  # by slot
        self._known: Dict[Address, None] = {}  # all that were ever named, the last of them last
        self._ids: Dict[str, Address] = {}
        self._failed: Dict[Address, None] = {}  # those that did not answer when they were last asked for the map
        self._pause = _FIRST_PAUSE
        self.outages = Outages()
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Drops what belongs to threads that are not there after a fork."""
        self._asking: Dict[str, Callable[[], Optional[_Asking]]] = {}  # holds the one that asks for the map
        self._asked = 0  # how often that was done
        self._not_before = 0.0
        self._error: Optional[NdringError] = None  # of the last time

    # Where a command goes

    def route(self, request: Request, end: Optional[float] = None) -> Transport:
        """Returns the node for a command. Raises NdringError when the first map cannot be had, ValueError for an unknown node."""
        if request.node is not None:
            return self.find(request.node)
        if request.key is None:
            return self.lone or self._first_seed()
        if self._table is None and self.lone is None:
            self._ask_now(end)
        lone, table = self.lone, self._table
        if lone is not None or table is None:
            return lone or self.seed
        return table[slot(request.key)] or self.some()

    def _first_seed(self) -> Transport:
        if self.outages.known or self._failed:
            for address in self._seeds:
                if address not in self._failed and self.outages.get(address) is None:
                    return self.at(address)
        return self.seed

    def at(self, address: Address) -> Transport:
        transport = self._transports.get(address)
        if transport is None:
            doubt = _doubt_of(weakref.ref(self), address) if self.routable else None
            transport = self._transports.setdefault(address, Transport(self._settings, address, doubt))
            transport.proven = self._map is not None
        return transport

    def some(self, besides: Optional[Transport] = None) -> Transport:
        """Returns a node by chance, another one than ``besides`` if there is."""
        current = self._map.nodes.values() if self._map is not None and self.lone is None else ()
        all_known = [self.at(address) for address in dict.fromkeys((*self._seeds, *current))]
        others = [t for t in all_known if t is not besides]
        well = [t for t in others if t.address not in self._failed and self.outages.get(t.address) is None]
        return random.choice(well or others) if others else besides or self.seed

    def slots(self, fresh: bool, end: Optional[float] = None) -> Optional[SlotMap]:
        """Returns who serves what, None while one node gets everything. ``fresh``: asks for it now. Raises why it is not known."""
        if self.routable and (fresh or self._map is None):
            self._ask_now(end)
        return None if self.lone is not None else self._map

    @property
    def slots_known(self) -> bool:
        return self._table is not None

    def find(self, node: str) -> Transport:
        """Returns a node by its id or its ``host:port``. Raises ValueError for one that was never heard of."""
        address = self._ids.get(node)
        for address in [address] if address else [a for a in list(self._transports) if str(a) == node]:
            return self.at(address)
        raise ValueError(f"no node {node!r} is known; nodes() names them")

    def close(self) -> None:
        for transport in list(self._transports.values()):
            transport.close()

    # Nodes that do not answer

    def _doubt(self, address: Address, key: Optional[bytes], end: float) -> None:
        """Is called when a node was silent for a moment: raises if another node says that it is not worth waiting for."""
        outage = self.outages.get(address)
        if outage is not None and outage.waited:
            outage.fell_silent()
            raise outage.describe(address, time.monotonic())
        if key is None or self.lone is not None or self._map is None:
            return
        other = self.some(self.at(address))
        if other.address == address:
            return
        try:
            other.soon(Request(pack(b"NP.EXISTS", key)), _FIRST_PATIENCE, end)
            error: NdringError = TimeoutError(f"silent, and {other.address} serves the key now")
        except ClusterDownError as exc:
            error = NodeDownError(f"CLUSTERDOWN node {address} is silent, and {other.address} says: {exc}")
        except MovedError as exc:
            try:
                if redirect_of(str(exc), other.address).address == address:
                    return
            except DecodeError:
                return
            error = TimeoutError(f"silent, and {other.address} says: {exc}")
        except NdringError:
            return
        error.unreachable = True
        raise error

    def look(self, transport: Transport, end: Optional[float]) -> None:
        """Looks, beside the calls, whether a node is back. Waits a moment for the answer, and not beyond ``end``."""
        found = threading.Event()

        def ask(patience: float = _PATIENCE, end: Optional[float] = None) -> None:
            began = time.monotonic()
            try:
                transport.soon(Request(pack(b"PING")), patience, end)
            except NdringError as exc:
                if not exc.is_reply:
                    self.outages.failed(transport.address, began, time.monotonic(), exc)
                    return
            self.back(transport.address)
            found.set()

        try:
            threading.Thread(target=ask, name="ndring-look", daemon=True).start()
        except RuntimeError:  # the interpreter ends, or the system has no more threads
            ask(_MOMENT, end)
        found.wait(_MOMENT if end is None else max(0.0, min(_MOMENT, end - time.monotonic())))

    def back(self, address: Address) -> None:
        """Says that a node has answered."""
        outage = self.outages.answered(address)
        if outage is not None and outage.waited:
            log.warning("node %s answers again, after %.1f s", address, time.monotonic() - outage.since)

    # Asking for the map

    def _ask_now(self, end: Optional[float] = None) -> None:
        """Waits for an answer, to this thread or to another that has asked meanwhile. Raises why there is none."""
        seen = self._asked
        while self._asked == seen:
            other = self._ask(None, False, end)
            if other is not None and not other.wait(end):
                raise TimeoutError("the deadline passed while another thread asked for the map of the cluster")
        error = self._error
        if error is not None:
            raise to_keep(error) from error  # since others raise it too

    def refresh(self, prefer: Optional[Transport] = None, moved: bool = False, end: Optional[float] = None) -> None:
        """Asks for the map again, unless another thread does that now or has done it just before. ``prefer``: a node that
        is known to answer. ``moved``: there is more than one node, whatever it says."""
        if self._map is not None and time.monotonic() >= self._not_before:
            self._ask(prefer, moved, end, True)

    def _ask(self, prefer: Optional[Transport], moved: bool, end: Optional[float], unless_new: bool = False) -> Optional["_Asking"]:
        """Asks for the map. Returns the one that does so already, if there is one that may still have an answer. ``unless_new``: not just
        after another has asked."""
        mine = _Asking()
        try:
            # A weak reference, since a signal may end the call at a moment when it cannot say so.
            held = self._asking.setdefault("map", weakref.ref(mine))
            other = held()
            if other is not mine:
                if other is None or other.is_lost():
                    self._asking.pop("map", None)
                    return None
                return other
            if not unless_new or time.monotonic() >= self._not_before:
                self._ask_each(prefer, moved, end)
            return None
        finally:
            held = self._asking.get("map", _nothing)
            if held() is mine:
                self._asking.pop("map", None)
            mine.done.set()

    def _ask_each(self, prefer: Optional[Transport], moved: bool, end: Optional[float]) -> None:
        news = False
        error: Optional[NdringError] = None
        silent: List[Transport] = []
        try:
            candidates = zip(self._candidates(prefer), range(_ASKED_AT_ONCE))
            # Each has a short time first, since one that hangs must not hold up the call while others would answer.
            rounds = [(transport, _FIRST_PATIENCE) for transport, _ in candidates]
            rounds = [(transport, _PATIENCE) for transport, _ in rounds] if len(rounds) == 1 else rounds
            while rounds:
                transport, patience = rounds.pop(0)
                began = time.monotonic()
                try:
                    reply = transport.soon(Request(pack(b"CLUSTER", b"SLOTS")), patience, end)
                    found = parse_slots(reply, transport.address)
                except NdringError as exc:
                    if exc.hopeless and len(self._seeds) == 1 and self._map is None:
                        error = exc
                        break
                    if not exc.is_reply and not isinstance(exc, DecodeError):
                        error = error if error is not None and exc.hopeless else exc  # while another seed may come back, there is hope
                        self._failed[transport.address] = None
                        if isinstance(exc, TimeoutError) and patience < _PATIENCE:
                            silent.append(transport)
                        elif exc.unreachable:
                            self.outages.failed(transport.address, began, time.monotonic(), exc)
                        if not rounds:
                            rounds, silent = [(t, _PATIENCE) for t in silent], []
                        continue
                    if isinstance(exc, AuthenticationError) and exc.prefix != "NOPERM":
                        error = exc
                        break
                    found = SlotMap((), {})  # it knows of no cluster, or may not tell
                self._failed.pop(transport.address, None)
                self.outages.answered(transport.address)
                error = None
                if found.ranges or self._map is None:
                    news = self._adopt(found, transport, moved)
                    self._drop_others()
                    break
        finally:
            self._error = None if error is None else to_keep(error)
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
        ordered = [*current, *self._seeds, *former]
        for address in sorted(dict.fromkeys(ordered), key=lambda address: address in self._failed):
            if prefer is None or address != prefer.address:
                yield self.at(address)

    def _adopt(self, found: SlotMap, said: Transport, moved: bool) -> bool:
        """Makes it the map; returns whether it is another one than before."""
        if found == self._map and (self.lone is None or not moved):
            return False
        self._map = found
        for transport in list(self._transports.values()):
            transport.proven = True
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
            if address not in current and address not in self._seeds:
                del self._transports[address]
                transport.retire()
                self.outages.answered(address)
        for address in list(self._failed):
            if address not in current and address not in self._known and address not in self._seeds:
                del self._failed[address]


def _doubt_of(held: "weakref.ref[Nodes]", address: Address) -> Doubt:
    """Returns the ``doubt`` of a node's connections. They do not hold the nodes: a client that is dropped closes what it has at once."""

    def doubt(key: Optional[bytes], end: float) -> None:
        nodes = held()
        if nodes is not None:
            nodes._doubt(address, key, end)

    return doubt


def _nothing() -> None:
    return None


class _Asking:
    """One thread's question for the map. ``done`` is set when it has its answer."""

    __slots__ = ("done", "_began", "__weakref__")

    def __init__(self) -> None:
        self.done = threading.Event()
        self._began = time.monotonic()

    def is_lost(self) -> bool:
        """Whether it takes longer than it can: its call was interrupted, and lives on in a traceback."""
        return time.monotonic() - self._began > 3 * _ASKED_AT_ONCE * _PATIENCE

    def wait(self, end: Optional[float]) -> bool:
        """Waits for the answer. False if ``end`` came first."""
        left = 3 * _ASKED_AT_ONCE * _PATIENCE if end is None else max(0.0, end - time.monotonic())
        return self.done.wait(left) or end is None


_all: "weakref.WeakSet[Nodes]" = weakref.WeakSet()


def _after_fork() -> None:
    for nodes in list(_all):
        nodes.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
