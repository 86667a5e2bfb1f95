"""Iterates over the keys of all nodes, one node after the other."""
from __future__ import annotations

from typing import AbstractSet, Iterator, List, Optional

from .cluster import Cluster
from .commands import slot
from .._exceptions import ConnectionError, TimeoutError
from .replies import checked, is_page
from .._sync.transport import Request
from .resp import pack

_read_page = checked("NP.SCAN", is_page)


def scan(cluster: Cluster, match: Optional[bytes], count: int) -> Iterator[bytes]:
    slots = cluster.slots(fresh=True, complete=True)
    if slots is None:
        yield from _keys(cluster, None, match, count)
        return
    # Each node yields the keys of the slots that it had at the start: a key that exists throughout
    # is there, unless the node is lost.
    for node in list(slots.nodes):
        yield from _node(cluster, node, slots.slots_of(node), match, count)


def _node(cluster: Cluster, node: str, mine: AbstractSet[int], match: Optional[bytes], count: int) -> Iterator[bytes]:
    """Yields the keys of a node's slots. If the node has been replaced before the first of them,
    continues with the nodes that serve its slots by then."""
    begun = False
    try:
        for key in _keys(cluster, node, match, count):
            if slot(key) in mine:
                begun = True
                yield key
        return
    except (ConnectionError, TimeoutError) as exc:
        slots = cluster.slots(fresh=True)
        if slots is None or node in slots.nodes or not slots.complete:
            raise
        lost = exc
    for name in slots.nodes:
        theirs = slots.slots_of(name) & mine
        if not theirs:
            continue
        for key in _keys(cluster, name, match, count):
            if slot(key) not in theirs:
                continue
            if begun:  # which of these keys have been yielded is not known
                raise ConnectionError(f"node {node} was replaced while its keys were scanned; scan again") from lost
            yield key
    # Without such keys, the node has left the cluster after handing over its slots.


def _keys(cluster: Cluster, node: Optional[str], match: Optional[bytes], count: int) -> Iterator[bytes]:
    words: List[bytes] = [b"NP.SCAN", b"0", b"COUNT", b"%d" % count]
    if match is not None:
        words += (b"MATCH", match)
    while True:
        # By node id, because the node may restart with another address, and its cursor is still
        # valid then.
        words[1], keys = cluster.one(Request(pack(*words), _read_page, node=node))
        yield from keys
        if words[1] == b"0":
            return
