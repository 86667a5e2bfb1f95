"""The slot map and redirects, parsed from ``CLUSTER SLOTS``, MOVED and ASK. All of it comes over
the network and is checked."""
from __future__ import annotations

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from .._exceptions import DecodeError

SLOTS = 16384
_MAX_HOST = 255  # bytes, as in DNS


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(text: str, asked: Address) -> Address:
    """Parses ``host:port``. Without a host it is the host of the node that was asked. Raises DecodeError."""
    host, _, port = text.rpartition(":")
    if len(port) > 5 or not (port.isascii() and port.isdigit()):
        raise DecodeError(f"{text[:40]!r} is not an address")
    return _checked(host.strip("[]"), int(port), asked)


def _checked(host: Any, port: Any, asked: Address) -> Address:
    if isinstance(host, bytes):
        host = host.decode("utf8", "replace")
    if host in ("", None):
        host = asked.host
    if type(host) is not str or len(host) > _MAX_HOST or not host.isprintable() or type(port) is not int or not 0 < port < 65536:
        raise DecodeError(f"{str(host)[:40]!r}, {str(port)[:40]!r} is not an address")
    return Address(host, port)


class Redirect(NamedTuple):
    """``address``: the node to ask. ``asking``: for this command only, and preceded by ASKING."""

    address: Address
    asking: bool


def parse_redirect(text: str, asked: Address) -> Redirect:
    """Parses the error ``MOVED slot host:port`` or ``ASK slot host:port``. Raises DecodeError."""
    words = text.split(" ")
    if len(words) < 3:
        raise DecodeError(f"{text[:60]!r} names no node")
    return Redirect(parse_address(words[2], asked), words[0] == "ASK")


class SlotMap(NamedTuple):
    """``ranges``: first slot, last slot and node id, sorted. ``nodes``: node id -> address, without
    nodes that serve no slots. ``replicas``: first slot, last slot and the addresses of nodes that
    may have copies; ranges may overlap."""

    ranges: Tuple[Tuple[int, int, str], ...]
    nodes: Dict[str, Address]
    replicas: Tuple[Tuple[int, int, Tuple[Address, ...]], ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every slot has a node."""
        return sum(last + 1 - first for first, last, _ in self.ranges) == SLOTS

    def owners(self) -> List[Optional[Address]]:
        """Returns the address of each slot's node."""
        owners: List[Optional[Address]] = [None] * SLOTS
        for first, last, node in self.ranges:
            owners[first : last + 1] = [self.nodes[node]] * (last + 1 - first)
        return owners

    def slots_of(self, node: str) -> Set[int]:
        """Returns the slots of a node."""
        return {slot for first, last, name in self.ranges if name == node for slot in range(first, last + 1)}

    def replicas_by_slot(self) -> Optional[List[Tuple[Address, ...]]]:
        """Returns the replicas of each slot, None if there are none at all."""
        if not self.replicas:
            return None
        found: List[Tuple[Address, ...]] = [()] * SLOTS
        for first, last, addresses in self.replicas:
            for slot in range(first, last + 1):
                found[slot] = tuple(dict.fromkeys(found[slot] + addresses)) if found[slot] else addresses
        return found


def parse_slots(reply: Any, asked: Address) -> SlotMap:
    """Parses the reply to ``CLUSTER SLOTS``. Ignores fields added by later versions, and replicas
    without a usable address. Raises DecodeError."""
    if not isinstance(reply, list) or len(reply) > SLOTS:
        raise DecodeError("CLUSTER SLOTS did not reply with a list of ranges")
    ranges: List[Tuple[int, int, str]] = []
    nodes: Dict[str, Address] = {}
    replicas: List[Tuple[int, int, Tuple[Address, ...]]] = []
    for row in reply:
        if not isinstance(row, list) or len(row) < 3 or not isinstance(row[2], list) or len(row[2]) < 2:
            raise DecodeError("a row of CLUSTER SLOTS is not two slots and a node")
        first, last, node = row[:3]
        if type(first) is not int or type(last) is not int or not 0 <= first <= last < SLOTS:
            raise DecodeError(f"CLUSTER SLOTS has an invalid range, {str(first)[:20]} to {str(last)[:20]}")
        address = _checked(node[0], node[1], asked)
        name = node[2] if len(node) > 2 else None
        name = name.decode("ascii", "replace")[:64] if isinstance(name, bytes) and name else str(address)
        if nodes.setdefault(name, address) != address:
            raise DecodeError(f"CLUSTER SLOTS has two addresses for node {name!r}")
        ranges.append((first, last, name))
        copies = _replicas(((copy[0], copy[1]) for copy in row[3:] if isinstance(copy, list) and len(copy) > 1), asked)
        if copies:
            replicas.append((first, last, copies))
    ranges.sort()
    if any(before[1] >= after[0] for before, after in zip(ranges, ranges[1:])):
        raise DecodeError("CLUSTER SLOTS has a slot twice")
    return SlotMap(tuple(ranges), nodes, tuple(sorted(replicas)))


def _replicas(pairs: Iterable[Tuple[Any, Any]], asked: Address) -> Tuple[Address, ...]:
    found: Dict[Address, None] = {}
    for host, port in pairs:
        try:
            found[_checked(host, port, asked)] = None
        except DecodeError:
            pass  # the primary answers every read
    return tuple(sorted(found))


def parse_shards(reply: Any, asked: Address) -> Tuple[Tuple[int, int, Tuple[Address, ...]], ...]:
    """Parses the replicas in the reply to ``CLUSTER SHARDS``, for ``SlotMap.replicas``.

    ``CLUSTER SLOTS`` names only replicas that serve no slots themselves, since older clients take
    every other for a replica and nothing else. An entry here is a primary with all of its slots,
    and each of its replicas may have copies of a part of them only. Raises DecodeError.
    """
    if not isinstance(reply, list) or len(reply) > SLOTS:
        raise DecodeError("CLUSTER SHARDS did not reply with a list")
    found: List[Tuple[int, int, Tuple[Address, ...]]] = []
    for entry in map(_fields, reply):
        slots, nodes = entry.get("slots"), entry.get("nodes")
        if not isinstance(slots, list) or not isinstance(nodes, list) or not all(type(n) is int and 0 <= n < SLOTS for n in slots):
            raise DecodeError("an entry of CLUSTER SHARDS is not slots and nodes")
        copies = [node for node in map(_fields, nodes) if node.get("role") == b"replica" and node.get("health") == b"online"]
        addresses = _replicas(((node.get("endpoint") or node.get("ip"), node.get("port")) for node in copies), asked)
        if addresses:
            found += ((first, last, addresses) for first, last in zip(slots[::2], slots[1::2]) if first <= last)
    return tuple(sorted(found))


def _fields(reply: Any) -> Dict[str, Any]:
    """Returns a map as RESP2 or RESP3 have it, with names as str and texts as bytes."""
    if isinstance(reply, list):
        if len(reply) % 2:
            raise DecodeError("a map in CLUSTER SHARDS has a name without a value")
        pairs: Iterable[Tuple[Any, Any]] = zip(reply[::2], reply[1::2])
    elif isinstance(reply, dict):
        pairs = reply.items()
    else:
        raise DecodeError("CLUSTER SHARDS has a value where a map is expected")
    return {
        name.decode("utf8", "replace") if isinstance(name, bytes) else str(name): value.encode() if isinstance(value, str) else value
        for name, value in pairs
    }
