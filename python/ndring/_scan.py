"""Iterates over the keys of all nodes, one node after the other."""
from __future__ import annotations

from typing import Iterator, Optional

from ._cluster import Cluster
from ._exceptions import ConnectionError, TimeoutError
from ._replies import checked, is_page
from ._transport import Request
from ._wire import pack

_read_page = checked("NP.SCAN", is_page)


def scan(cluster: Cluster, match: Optional[bytes], count: int) -> Iterator[bytes]:
    slots = cluster.slots(fresh=True, complete=True)
    if slots is None:
        yield from _node(cluster, None, match, count)
        return
    # Slots are handed over without keys only, so a key that exists throughout stays on the node
    # that had it at the start.
    for node in list(slots.nodes):
        yield from _node(cluster, node, match, count)


def _node(cluster: Cluster, node: Optional[str], match: Optional[bytes], count: int) -> Iterator[bytes]:
    words = [b"NP.SCAN", b"0", b"COUNT", b"%d" % count]
    if match is not None:
        words += (b"MATCH", match)
    while True:
        try:
            # By node id, because the node may restart with another address, and its cursor is still
            # valid then.
            words[1], keys = cluster.one(Request(pack(*words), _read_page, node=node))
        except (ConnectionError, TimeoutError):
            slots = cluster.slots(fresh=True)
            if node is None or slots is None or node in slots.nodes or not slots.complete:
                raise
            return  # the node left the cluster, after handing over its slots without keys
        yield from keys
        if words[1] == b"0":
            return
