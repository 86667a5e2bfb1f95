"""Remembers nodes that do not answer, and keys that no node serves. Pure: callers pass the time.

The first calls for a node that is down wait for it, for ``retry_for`` seconds. Once one of them has
given up, later calls do not wait. If failing is fast (the machine refuses the connection), each
call tries once. If it takes time (the machine is off, or the process hangs), calls do not try at
all, and the client probes the node every _PROBE_INTERVAL seconds.
"""
from __future__ import annotations

import re
from typing import Dict, Hashable, Optional, cast

from .._exceptions import NdringError, NodeDownError, without_traceback

_PROBE_INTERVAL = 1.0  # s between two probes of a node
_FAST_FAILURE = 0.05  # s; after a failure that took less than this, every call may try
_NEW_OUTAGE_AFTER = 2.0  # s without a failure, after which the next one starts a new outage, unless a call has given up on this one
_KEEP_NODE = 300.0  # s without a failure, after which a node's outage is forgotten in any case
_KEEP_CAUSE = 60.0  # s, the same for other causes, whose end the client does not see
_MAX_OUTAGES = 1000

_NUMBERS = re.compile(r"\b(slot|shard) \d+")


def cause_key(error: NdringError) -> str:
    """Returns the text of a CLUSTERDOWN reply without the slot: the same for all replies with the
    same cause."""
    return _NUMBERS.sub(r"\1", str(error))[:500]


def is_cached(error: NdringError) -> bool:
    """Whether an error repeats what ``Outage.to_error`` reports, as opposed to the failure of a new try."""
    return isinstance(error, NodeDownError) and isinstance(error.__cause__, NdringError)


class Outage:
    """``since``, ``last``: time of the first and the last failure. ``tries``: number of failures.
    ``waited``: longest time for which a call has retried in vain, in s. ``took``: s that the last
    try took. ``error``: its error."""

    __slots__ = ("since", "last", "tries", "waited", "took", "error", "_last_probe")

    def __init__(self, now: float) -> None:
        self.since = self.last = self._last_probe = now
        self.tries = 0
        self.waited = 0.0
        self.took = 0.0
        self.error: Optional[NdringError] = None

    def is_exhausted(self, now: float, retry_for: float) -> bool:
        """Whether a call that would wait for ``retry_for`` need not: another call already has, or
        the outage has lasted that long."""
        return self.waited >= retry_for or now - self.since >= retry_for

    def blocks_tries(self, now: float, retry_for: float) -> bool:
        """Whether calls should not try at all."""
        return self.took > _FAST_FAILURE and self.is_exhausted(now, retry_for)

    def mark_slow(self) -> None:
        """Records that a try takes time now, even if earlier ones failed fast."""
        self.took = max(self.took, 2 * _FAST_FAILURE)

    def probe_due(self, now: float) -> bool:
        """Whether to probe the node now. True for one caller per _PROBE_INTERVAL."""
        if now - max(self._last_probe, self.last) < _PROBE_INTERVAL:
            return False
        self._last_probe = now
        return True

    def to_error(self, who: object, now: float) -> NodeDownError:
        tries = "try" if self.tries == 1 else "tries"
        error = NodeDownError(
            f"CLUSTERDOWN node {who} has not answered for {now - self.since:.1f} s ({self.tries} {tries}; the last one: {self.error}). "
            "The client keeps probing it; calls for its keys do not wait"
        )
        error.__cause__ = self.error
        error.unreachable = True
        return error


def _keep_time(what: Hashable, outage: Outage) -> float:
    if not outage.waited:
        return _NEW_OUTAGE_AFTER
    return _KEEP_CAUSE if isinstance(what, str) else _KEEP_NODE


class Outages:
    """Outages by node address or ``cause_key``. ``known``: empty while everything works."""

    def __init__(self) -> None:
        self.known: Dict[Hashable, Outage] = {}

    def get(self, what: Hashable) -> Optional[Outage]:
        return self.known.get(what)

    def record_failure(self, what: Hashable, began: float, now: float, error: NdringError) -> Outage:
        """Records a try from ``began`` to ``now`` that failed. An error that only repeats a known
        outage counts as a try, but does not replace the outage's error."""
        outage = self.known.get(what)
        if outage is None or now - outage.last > _keep_time(what, outage):
            if len(self.known) >= _MAX_OUTAGES:
                self.known.clear()
            outage = self.known[what] = Outage(began)
        outage.last = max(outage.last, now)
        outage.took = now - began
        outage.tries += 1
        if not is_cached(error):
            outage.error = without_traceback(error)
        elif outage.error is None:
            outage.error = without_traceback(cast(NdringError, error.__cause__))
        return outage

    def record_give_up(self, what: Hashable, waited: float) -> Optional[Outage]:
        """Records that a call has retried in vain for ``waited`` seconds. Returns the outage if
        this call is the first one."""
        outage = self.known.get(what)
        if outage is None:
            return None
        news = not outage.waited
        outage.waited = max(outage.waited, waited, 1e-9)
        return outage if news else None

    def record_answer(self, what: Hashable) -> Optional[Outage]:
        """Ends an outage. Returns it, None if there was none."""
        return self.known.pop(what, None)
