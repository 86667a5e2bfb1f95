"""Chooses the copy that answers a read, for clients that read from replicas. Pure: callers pass the
time and a random number.

A replica that fails is left out for a while, longer each time, and a replica without a copy of a
slot is left out for that slot. The caller then asks the primary, so a choice is never wrong, only slow.
"""
from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

from .slots import Address

_FIRST_REST = 1.0  # s without reads after a failure; doubles up to _LAST_REST
_LAST_REST = 30.0  # s
_NO_COPY_FOR = 30.0  # s without reads for a slot after MOVED: the replica has no copy, or an old one
_MAX_NO_COPY = 20_000


class Replicas:
    """``by_slot``: the replicas of each slot, None if the map names none."""

    def __init__(self) -> None:
        self.by_slot: Optional[List[Tuple[Address, ...]]] = None
        self._resting: Dict[Address, Tuple[float, float]] = {}  # until when, for how long
        self._no_copy: Dict[Tuple[Address, int], float] = {}  # until when

    def install(self, by_slot: Optional[List[Tuple[Address, ...]]]) -> None:
        """Replaces the replicas after the slot map has changed."""
        self.by_slot = by_slot
        self._no_copy.clear()

    def choose(self, slot: int, number: int, now: float, down: Sequence[object] = ()) -> Optional[Address]:
        """Returns a replica of the slot, or None for its primary: all in turn as ``number`` grows.
        ``down``: addresses to leave out."""
        if self.by_slot is None:
            return None
        live = [address for address in self.by_slot[slot] if address not in down and self._is_live(address, slot, now)]
        chosen = number % (1 + len(live))
        return live[chosen - 1] if chosen else None

    def _is_live(self, address: Address, slot: int, now: float) -> bool:
        resting = self._resting.get(address)
        return (resting is None or now >= resting[0]) and now >= self._no_copy.get((address, slot), now)

    def failed(self, address: Address, now: float) -> None:
        """Records that a replica did not answer a read, or replied that it cannot."""
        until, rest = self._resting.get(address, (now, 0.0))
        if now >= until:
            rest = min(2 * rest, _LAST_REST) or _FIRST_REST
            self._resting[address] = now + rest, rest

    def has_no_copy(self, address: Address, slot: int, now: float) -> None:
        """Records that a replica redirected a read."""
        if len(self._no_copy) >= _MAX_NO_COPY:
            self._no_copy.clear()
        self._no_copy[address, slot] = now + _NO_COPY_FOR

    def answered(self, address: Address) -> None:
        """Records that a replica answered a read."""
        if self._resting:
            self._resting.pop(address, None)
