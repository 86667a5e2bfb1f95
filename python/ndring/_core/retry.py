"""Decides how long a call retries. Pure: callers pass the time, and do the sleeping."""
from __future__ import annotations

import math
import random
from typing import Any, NamedTuple, Optional

from .settings import seconds

_FIRST_DELAY = 0.01  # s; doubles up to _LAST_DELAY, then randomized
_LAST_DELAY = 0.25  # s; a failover takes about 1 s
_SAFE_REPEAT = 45.0  # s; a request id is remembered for 60 s, and a repeat must arrive well before that
_LEAST_TRY = 0.05  # s, or a tenth of the deadline: with less time left a try would only end in a timeout that hides the reason
_NO_REPLICAS_FOR = 3.0  # s; a failover or a replica that reconnects takes less, a copy that must be made takes much longer


class Policy(NamedTuple):
    """``retry_for``: s to retry for. ``deadline``: s after which a call ends in any case.
    ``on_error``: ``"raise"`` or ``"miss"``."""

    retry_for: float
    deadline: Optional[float]
    on_error: str

    def end(self, began: float) -> Optional[float]:
        return None if self.deadline is None else began + self.deadline


def make_policy(retry_for: Any, deadline: Any, on_error: Any) -> Policy:
    """Returns a validated policy. Raises TypeError or ValueError."""
    if on_error not in ("raise", "miss"):
        raise ValueError(f"on_error must be 'raise' or 'miss', not {on_error!r}")
    return Policy(seconds("retry_for", retry_for, zero=True), seconds("deadline", deadline, optional=True), on_error)


class Attempts:
    """The tries of one call. ``end``: the time by which it must be over, None for no deadline."""

    __slots__ = ("began", "end", "_last_try", "_retry_for", "_delay", "_wait")

    def __init__(self, policy: Policy, began: float) -> None:
        self.began = began
        self.end = policy.end(began)
        self._last_try = math.inf if policy.deadline is None else began + policy.deadline - min(_LEAST_TRY, policy.deadline / 10)
        self._retry_for = policy.retry_for
        self._delay = _FIRST_DELAY
        self._wait = 0.0

    def next_pause(self) -> float:
        """Returns the pause, in s, before the next try, if there is time for one."""
        self._wait = random.uniform(self._delay / 2, self._delay)
        self._delay = min(2 * self._delay, _LAST_DELAY)
        return self._wait

    def too_late(self, now: float) -> bool:
        """Whether the deadline leaves no time for another try."""
        return now >= self._last_try

    def time_given(self, now: float) -> float:
        """Returns how long the call has waited for a node in vain: ``retry_for``, or less if its
        deadline came first."""
        return self._retry_for if self.end is None or now + self._wait < self.end else min(self._retry_for, now - self.began)

    def out_of_time(self, now: float, conditional: bool = False, no_replicas: Optional[float] = None) -> bool:
        """Whether there is no time left for the pause and another try. A ``conditional`` write must
        not be repeated once its request id may be forgotten. ``no_replicas``: since when there are
        too few copies, if that is what the command waits for."""
        next_try = now + self._wait
        limit = min(self._retry_for, _SAFE_REPEAT) if conditional else self._retry_for
        if no_replicas is not None and next_try - no_replicas > _NO_REPLICAS_FOR:
            return True
        return next_try - self.began > limit or self.too_late(next_try)
