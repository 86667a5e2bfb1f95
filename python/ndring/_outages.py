"""What the client remembers of nodes that do not answer, and of keys that no node serves. Pure: it is told the time.

The first calls for a node that has gone wait for it, ``retry_for`` seconds. Once a call has given up, later ones do not wait: each has one
try where that costs nothing (the machine refuses the connection at once), and none where it costs time (a machine that is off, a
process that hangs). For those the client looks each _PAUSE s whether the node is back.
"""
from __future__ import annotations

import re
from typing import Dict, Hashable, Optional, cast

from ._exceptions import NdringError, NodeDownError, to_keep

_PAUSE = 1.0  # s between two looks at whether a node is back
_CHEAP = 0.05  # s; a try that fails sooner than that may be had by each call
_GAP = 2.0  # s without a failure, after which the next one begins another outage, unless a call has given up on this one
_KEPT = 300.0  # s without a failure, after which the outage of a node is forgotten in any case
_KEPT_CAUSE = 60.0  # s after which that of other causes is, whose end is not seen
_MOST = 1000

_NUMBERS = re.compile(r"\b(slot|shard) \d+")


def same_cause(error: NdringError) -> str:
    """Returns what all CLUSTERDOWN replies have in common that have the same cause: their text without the slot."""
    return _NUMBERS.sub(r"\1", str(error))[:500]


def is_remembered(error: NdringError) -> bool:
    """Whether an error says again what ``Outage.describe`` knew, rather than how a try failed."""
    return isinstance(error, NodeDownError) and isinstance(error.__cause__, NdringError)


class Outage:
    """``since``, ``last``: when a try failed first and last. ``tries``: how many did. ``waited``: for how long a call has tried in vain.
    ``took``: s that the last try took. ``error``: how it failed."""

    __slots__ = ("since", "last", "tries", "waited", "took", "error", "_looked")

    def __init__(self, now: float) -> None:
        self.since = self.last = self._looked = now
        self.tries = 0
        self.waited = 0.0
        self.took = 0.0
        self.error: Optional[NdringError] = None

    def is_over(self, now: float, retry_for: float) -> bool:
        """Whether a call that is ready to wait for so long need not wait: others have, or it began long enough ago."""
        return self.waited >= retry_for or now - self.since >= retry_for

    def bars(self, now: float, retry_for: float) -> bool:
        """Whether not even one try is to be made."""
        return self.took > _CHEAP and self.is_over(now, retry_for)

    def fell_silent(self) -> None:
        """Says that a try costs time now, whatever it did before."""
        self.took = max(self.took, 2 * _CHEAP)

    def look(self, now: float) -> bool:
        """Whether it is time to look whether the node is back. True for one caller in _PAUSE s."""
        if now - max(self._looked, self.last) < _PAUSE:
            return False
        self._looked = now
        return True

    def describe(self, who: object, now: float) -> NodeDownError:
        tries = "try" if self.tries == 1 else "tries"
        error = NodeDownError(
            f"CLUSTERDOWN node {who} has not answered for {now - self.since:.1f} s ({self.tries} {tries}; the last one: {self.error}). "
            "The client goes on looking for it; calls for its keys do not wait"
        )
        error.__cause__ = self.error
        error.unreachable = True
        return error


def _kept(what: Hashable, outage: Outage) -> float:
    if not outage.waited:
        return _GAP
    return _KEPT_CAUSE if isinstance(what, str) else _KEPT


class Outages:
    """By address of a node, or by ``same_cause``. ``known`` is empty while all is well."""

    def __init__(self) -> None:
        self.known: Dict[Hashable, Outage] = {}

    def get(self, what: Hashable) -> Optional[Outage]:
        return self.known.get(what)

    def failed(self, what: Hashable, began: float, now: float, error: NdringError) -> Outage:
        """Records a try that began at ``began`` and has failed now. One that ended with what is remembered counts, and is no news."""
        outage = self.known.get(what)
        if outage is None or now - outage.last > _kept(what, outage):
            if len(self.known) >= _MOST:
                self.known.clear()
            outage = self.known[what] = Outage(began)
        outage.last = max(outage.last, now)
        outage.took = now - began
        outage.tries += 1
        if not is_remembered(error):
            outage.error = to_keep(error)
        elif outage.error is None:
            outage.error = to_keep(cast(NdringError, error.__cause__))
        return outage

    def gave_up(self, what: Hashable, waited: float) -> Optional[Outage]:
        """Records that a call has tried for so long. Returns the outage where that is news."""
        outage = self.known.get(what)
        if outage is None:
            return None
        news = not outage.waited
        outage.waited = max(outage.waited, waited, 1e-9)
        return outage if news else None

    def answered(self, what: Hashable) -> Optional[Outage]:
        """Ends an outage; returns it if there was one."""
        return self.known.pop(what, None)
