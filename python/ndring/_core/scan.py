"""Finds the keys of all nodes, one node after the other."""
from __future__ import annotations

from typing import AbstractSet, List, Optional, Tuple

from .._exceptions import ConnectionError, NdringError, TimeoutError
from .cluster import Cluster
from .commands import slot
from .driver import Work
from .replies import checked, is_page
from .request import Request
from .resp import pack
from .slots import SlotMap

_read_page = checked("NP.SCAN", is_page)


class Scan:
    """A scan under way. ``page`` returns some of the keys, None at the end."""

    def __init__(self, cluster: Cluster, match: Optional[bytes], count: int) -> None:
        self._cluster = cluster
        self._words: List[bytes] = [b"NP.SCAN", b"0", b"COUNT", b"%d" % count]
        if match is not None:
            self._words += (b"MATCH", match)
        self._parts: Optional[List[_Part]] = None

    def page(self) -> Work[Optional[List[bytes]]]:
        if self._parts is None:
            slots = yield from self._cluster.slots(fresh=True, complete=True)
            # Each node yields the keys of the slots that it had at the start: a key that exists
            # throughout is there, unless the node is lost.
            self._parts = [_Part(None, None)] if slots is None else [_Part(node, slots.slots_of(node)) for node in slots.nodes]
        while self._parts:
            part = self._parts[0]
            try:
                keys = yield from self._page_of(part)
            except (ConnectionError, TimeoutError) as exc:
                if part.slots is None or part.before:
                    raise
                # The node has been replaced, or has left the cluster after handing over its slots.
                self._parts[:1] = _successors(part, part.slots, (yield from self._cluster.slots(fresh=True)), exc)
                continue
            if part.cursor == b"0":
                del self._parts[0]
            if keys:
                return keys
        return None

    def _page_of(self, part: "_Part") -> Work[List[bytes]]:
        self._words[1] = part.cursor
        # By node id, because the node may restart with another address, and its cursor is still
        # valid then.
        part.cursor, keys = yield from self._cluster.one(Request(pack(*self._words), _read_page, node=part.node))
        if part.slots is not None:
            keys = [key for key in keys if slot(key) in part.slots]
        if keys and part.lost is not None:  # which of these keys have been yielded is not known
            raise ConnectionError(f"node {part.before} was replaced while its keys were scanned; scan again") from part.lost
        part.begun = part.begun or bool(keys)
        found: List[bytes] = keys
        return found


class _Part:
    """The keys of some slots, on one node. ``node``: None for the only one. ``begun``: whether keys
    have been returned. ``before``: the node that it continues for, which is gone; ``lost``: why, if
    some of its keys had been returned."""

    __slots__ = ("node", "slots", "cursor", "begun", "before", "lost")

    def __init__(
        self, node: Optional[str], slots: Optional[AbstractSet[int]], before: Optional[str] = None, lost: Optional[NdringError] = None
    ) -> None:
        self.node = node
        self.slots = slots
        self.cursor = b"0"
        self.begun = False
        self.before = before
        self.lost = lost


def _successors(part: _Part, mine: AbstractSet[int], now: Optional[SlotMap], lost: NdringError) -> List[_Part]:
    """Returns the parts that continue for a node that is gone. Raises ``lost`` if it is not."""
    if now is None or part.node in now.nodes or not now.complete:
        raise lost
    theirs: List[Tuple[str, AbstractSet[int]]] = [(name, now.slots_of(name) & mine) for name in now.nodes]
    return [_Part(name, slots, part.node, lost if part.begun else None) for name, slots in theirs if slots]
