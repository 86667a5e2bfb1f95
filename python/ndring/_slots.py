"""The slot map and redirects, parsed from ``CLUSTER SLOTS``, MOVED and ASK. All of it comes over
the network and is checked."""
from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ._exceptions import DecodeError

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
    """``ranges``: first slot, last slot and node id, sorted. ``nodes``: node id -> address."""

    ranges: Tuple[Tuple[int, int, str], ...]
    nodes: Dict[str, Address]

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


def parse_slots(reply: Any, asked: Address) -> SlotMap:
    """Parses the reply to ``CLUSTER SLOTS``. Ignores replicas and fields added by later versions.
    Raises DecodeError."""
    if not isinstance(reply, list) or len(reply) > SLOTS:
        raise DecodeError("CLUSTER SLOTS did not reply with a list of ranges")
    ranges: List[Tuple[int, int, str]] = []
    nodes: Dict[str, Address] = {}
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
    ranges.sort()
    if any(before[1] >= after[0] for before, after in zip(ranges, ranges[1:])):
        raise DecodeError("CLUSTER SLOTS has a slot twice")
    return SlotMap(tuple(ranges), nodes)
