"""How long to wait for a node. Pure: callers pass the time."""
from __future__ import annotations

import math
from typing import Optional

_MIN_PROGRESS = 16 << 10  # bytes; fewer do not count as progress
_SILENCE_CHECK_AFTER = 1.0  # s of silence until another node is asked, and between two such checks


class WaitLimits:
    """The time limits of the waits on one connection.

    A node must make progress within ``silence_timeout`` seconds: begin the next reply, complete a
    small one, or transfer the next _MIN_PROGRESS bytes of a large one. A byte now and then does not
    count. The call must be over at ``end``, however much progress there is. ``heard``: whether the
    node has sent anything since the call began.
    """

    __slots__ = ("silence_timeout", "end", "heard", "_since", "_progress", "_last_check", "_began")

    def __init__(self, silence_timeout: Optional[float], now: float, end: Optional[float] = None) -> None:
        self.silence_timeout = math.inf if silence_timeout is None else silence_timeout
        self.begin(now, end)

    def begin(self, now: float, end: Optional[float]) -> float:
        """Starts a call that must be over at ``end``. Returns how long to wait for a reply before
        calling ``remaining``."""
        self.end = math.inf if end is None else end
        self._began = self._since = self._last_check = now
        self._progress = 0
        self.heard = False
        return min(self.silence_timeout, _SILENCE_CHECK_AFTER) if end is None else min(self.silence_timeout, end - now, _SILENCE_CHECK_AFTER)

    def restart(self, now: float) -> None:
        """Starts the wait for the next reply."""
        self._since = self._last_check = now
        self._progress = 0

    def made_progress(self, count: int) -> bool:
        """Records transferred bytes. Returns whether they are progress; then the caller, which has
        the clock, calls ``restart``."""
        self._progress += count
        return self._progress >= _MIN_PROGRESS

    def remaining(self, now: float) -> float:
        """Returns how many seconds to wait at most."""
        return min(self._since + self.silence_timeout, self.end) - now

    def until_silence_check(self, now: float) -> float:
        return max(0.0, self._last_check + _SILENCE_CHECK_AFTER - now)

    def silence_check_due(self, now: float) -> bool:
        """Whether to ask another node now. True once per _SILENCE_CHECK_AFTER seconds."""
        if now < self._last_check + _SILENCE_CHECK_AFTER:
            return False
        self._last_check = now
        return True

    def deadline_passed(self, now: float) -> bool:
        """Whether the deadline has passed, as opposed to the node being silent for too long."""
        return now >= self.end

    def describe(self, now: float) -> str:
        if self.deadline_passed(now):
            return f"no reply within {now - self._began:.1f} s, the deadline"
        return f"silent for {now - self._since:.1f} s"
