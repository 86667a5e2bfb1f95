"""How long to wait for a node. Pure: it is told the time."""
from __future__ import annotations

import math
from typing import Optional

_STEP = 16 << 10  # bytes; fewer than these do not count as progress
_DOUBT = 1.0  # s of silence after which another node is asked, and between two such questions


class Patience:
    """The limits of one connection's waits.

    A node must make progress within ``silence`` s: begin the next reply, complete a small one, or transfer the next _STEP bytes of a large one.
    Single bytes now and then do not count. All must be over by the moment ``end``, whatever progress there is. ``heard``: whether the node has
    said anything since the call began.
    """

    __slots__ = ("silence", "end", "heard", "_since", "_moved", "_doubted", "_began")

    def __init__(self, silence: Optional[float], now: float, end: Optional[float] = None) -> None:
        self.silence = math.inf if silence is None else silence
        self.begin(now, end)

    def begin(self, now: float, end: Optional[float]) -> float:
        """Starts a call, to be over at ``end``. Returns for how long to wait for a reply before anything has to be decided."""
        self.end = math.inf if end is None else end
        self._began = self._since = self._doubted = now
        self._moved = 0
        self.heard = False
        return min(self.silence, _DOUBT) if end is None else min(self.silence, end - now, _DOUBT)

    def renew(self, now: float) -> None:
        """Starts the next reply."""
        self._since = self._doubted = now
        self._moved = 0

    def moved(self, count: int) -> bool:
        """Says that so many bytes came or went. Returns whether that is progress: the caller, which has the clock, calls renew."""
        self._moved += count
        return self._moved >= _STEP

    def left(self, now: float) -> float:
        """Returns for how many s more to wait."""
        return min(self._since + self.silence, self.end) - now

    def until_doubt(self, now: float) -> float:
        return max(0.0, self._doubted + _DOUBT - now)

    def doubts(self, now: float) -> bool:
        """Whether another node is to be asked now. It is asked once in _DOUBT s."""
        if now < self._doubted + _DOUBT:
            return False
        self._doubted = now
        return True

    def ended(self, now: float) -> bool:
        """Whether the deadline of the call has passed, rather than the node been silent for too long."""
        return now >= self.end

    def reason(self, now: float) -> str:
        if self.ended(now):
            return f"not answered within {now - self._began:.1f} s, its deadline"
        return f"silent for {now - self._since:.1f} s"
