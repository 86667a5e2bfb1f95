"""The walk over the keys of all nodes, one after the other."""
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
    # What changes its owner has no keys, so that those that are there all the time are with whom they were with at the start.
    for node in list(slots.nodes):
        yield from _node(cluster, node, match, count)


def _node(cluster: Cluster, node: Optional[str], match: Optional[bytes], count: int) -> Iterator[bytes]:
    words = [b"NP.SCAN", b"0", b"COUNT", b"%d" % count]
    if match is not None:
        words += (b"MATCH", match)
    while True:
        try:
            # By its id, since it may come back with another address; its cursor is still good then.
            words[1], keys = cluster.one(Request(pack(*words), _read_page, node=node))
        except (ConnectionError, TimeoutError):
            slots = cluster.slots(fresh=True)
            if node is None or slots is None or node in slots.nodes or not slots.complete:
                raise
            return  # it has left, and handed on what it had: nothing
        yield from keys
        if words[1] == b"0":
            return
