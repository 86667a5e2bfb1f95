"""When a command is tried again, and when not. Pure: it is told the time, and how long to wait is all that it says."""
from __future__ import annotations

import math
import random
from typing import Any, NamedTuple, Optional

from ._settings import seconds

_FIRST_DELAY = 0.02  # s; doubles up to _LAST_DELAY, and is cut to a random part
_LAST_DELAY = 1.0  # s
# How long a node knows a request id is 60 s: a repeat must come well before.
_REMEMBERED = 45.0  # s


class Policy(NamedTuple):
    """``retry_for``: s for which a call is tried again. ``deadline``: s after which it is over in any case. ``on_error``: what becomes of a
    call that cannot be answered."""

    retry_for: float
    deadline: Optional[float]
    on_error: str

    def end(self, began: float) -> Optional[float]:
        return None if self.deadline is None else began + self.deadline


def policy_of(retry_for: Any, deadline: Any, on_error: Any) -> Policy:
    """Returns a policy that was checked. Raises TypeError or ValueError."""
    if on_error not in ("raise", "miss"):
        raise ValueError(f"on_error must be 'raise' or 'miss', not {on_error!r}")
    return Policy(seconds("retry_for", retry_for, zero=True), seconds("deadline", deadline, optional=True), on_error)


class Attempts:
    """The tries of one call. ``end``: the moment by which it must be over."""

    __slots__ = ("began", "end", "_retry_for", "_delay", "_wait")

    def __init__(self, policy: Policy, began: float) -> None:
        self.began = began
        self.end = policy.end(began)
        self._retry_for = policy.retry_for
        self._delay = _FIRST_DELAY
        self._wait = 0.0

    def pause(self) -> float:
        """Returns for how many s to wait before the next try, if there is time for one."""
        self._wait = random.uniform(self._delay / 2, self._delay)
        self._delay = min(2 * self._delay, _LAST_DELAY)
        return self._wait

    def waited(self, now: float) -> float:
        """Returns for how long a node that did not answer was given: all the time that the call has, or what its deadline left of that."""
        return self._retry_for if self.end is None or now + self._wait < self.end else min(self._retry_for, now - self.began)

    def is_over(self, now: float, conditional: bool = False) -> bool:
        """Whether there is no time for the pause and another try. A ``conditional`` write must not be repeated when the node may have
        forgotten its request id."""
        next_try = now + self._wait
        limit = min(self._retry_for, _REMEMBERED) if conditional else self._retry_for
        return next_try - self.began > limit or next_try >= (math.inf if self.end is None else self.end)
