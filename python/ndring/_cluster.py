"""Commands to a cluster: each to the node that serves its key, and again, there or elsewhere, where that is safe.

A node that says MOVED or ASK has not done the command: it goes to the one that is named at once. What is busy, may not be
served now, or was lost is tried again after a pause, for ``retry_for`` seconds. A conditional write whose answer was lost is repeated
only where it was sent, since no other node knows its request id.
"""
from __future__ import annotations

import random
import time
from functools import partial
from typing import Any, Dict, List, Optional, Sequence

from ._exceptions import BusyError, ClusterDownError, ConnectionError, DecodeError, MovedError, NdringError, TimeoutError, UncertainWrite
from ._nodes import Nodes
from ._parallel import side_by_side
from ._slots import Redirect, SlotMap, redirect_of
from ._transport import PASSING, Request, Setback, Transport

_FIRST_DELAY = 0.02  # s; doubles up to _LAST_DELAY, and is cut to a random part
_LAST_DELAY = 1.0  # s
# How long a node knows a request id is 60 s: a repeat must come well before.
_REMEMBERED = 45.0  # s
_LOST = (ConnectionError, TimeoutError)
_MOST_HOPS = 5  # redirects that are followed without a pause


class _Journey:
    """What is known of a command that had a setback. ``to``: where it goes next, None for what the map says. ``lost_at``: where its
    answer was lost."""

    __slots__ = ("to", "asking", "hops", "lost_at")

    def __init__(self) -> None:
        self.to: Optional[Transport] = None
        self.asking = False
        self.hops = 0
        self.lost_at: Optional[Transport] = None


class Cluster:
    """Safe across threads and forks."""

    def __init__(self, nodes: Nodes, retry_for: float) -> None:
        self.nodes = nodes
        self._retry_for = retry_for

    def one(self, request: Request) -> Any:
        """Returns the reply to one command, or raises."""
        began = time.monotonic()
        try:
            result = (self.nodes.lone or self.nodes.route(request)).one(request)
        except PASSING as exc:  # of the search for the map
            result = Setback(exc, False, self.nodes.seed)
        if type(result) is not Setback:
            return result
        results = [result]
        self._again([request], results, began)
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    def many(self, requests: Sequence[Request]) -> List[Any]:
        """Returns the replies to commands that are sent together, one stream a node, side by side; an exception stands where one
        failed."""
        results: List[Any] = [None] * len(requests)
        began = time.monotonic()
        self._attempt(requests, range(len(requests)), results, {})
        self._again(requests, results, began)
        return results

    def transaction(self, requests: Sequence[Request]) -> List[Any]:
        """Returns the replies to commands that are done as one; an exception stands where one failed.

        It is tried again as long as it cannot have been done. Raises what kept it from being done, or UncertainWrite.
        """
        began = time.monotonic()
        delay = _FIRST_DELAY
        hops = 0
        to: Optional[Transport] = None
        while True:
            try:
                at = self.nodes.seed
                at = to or self.nodes.route(requests[0])
                results = at.transaction(requests)
                if to is not None:
                    self.nodes.refresh(to, True)
                return results
            except PASSING as exc:
                redirect = self._redirect(exc, at)
                if redirect is not None and not redirect.asking and hops < _MOST_HOPS:
                    hops += 1
                    to = self.nodes.at(redirect.address)
                    continue
                wait = random.uniform(delay / 2, delay)
                if time.monotonic() + wait - began > self._retry_for:
                    raise
                error = exc
            time.sleep(wait)
            delay = min(2 * delay, _LAST_DELAY)
            self._refresh([error], to)
            hops, to = 0, None

    def slots(self, fresh: bool = False, complete: bool = False) -> Optional[SlotMap]:
        """Returns who serves what, None while one node gets everything. Raises why it is not known; with ``complete`` ClusterDownError where
        slots are served by nobody."""
        began = time.monotonic()
        delay = _FIRST_DELAY
        while True:
            error: NdringError
            try:
                found = self.nodes.slots(fresh)
                if not complete or found is None or found.complete:
                    return found
                error = ClusterDownError("CLUSTERDOWN some slots are served by nobody")
            except PASSING as exc:
                error = exc
            wait = random.uniform(delay / 2, delay)
            if time.monotonic() + wait - began > self._retry_for:
                raise error
            time.sleep(wait)
            delay = min(2 * delay, _LAST_DELAY)

    def _attempt(self, requests: Sequence[Request], pending: Sequence[int], results: List[Any], journeys: Dict[int, _Journey]) -> None:
        """Sends the pending commands, each to its node, and fills in their results."""
        lone = self.nodes.lone
        if lone is not None and not journeys:
            lone.attempt(requests, pending, results)
            return
        by_node: Dict[Transport, List[int]] = {}
        try:
            for i in pending:
                journey = journeys.get(i)
                to = (journey and journey.to) or self.nodes.lone or self.nodes.route(requests[i])
                by_node.setdefault(to, []).append(i)
        except NdringError as exc:  # of the search for the map, without which none goes anywhere
            for i in pending:
                results[i] = Setback(exc, False, self.nodes.seed) if isinstance(exc, PASSING) else exc
            return
        if any(journey.asking for journey in journeys.values()):
            requests = [r.asking() if i in journeys and journeys[i].asking else r for i, r in enumerate(requests)]
        side_by_side([partial(to.attempt, requests, part, results) for to, part in by_node.items()])

    def _again(self, requests: Sequence[Request], results: List[Any], began: float) -> None:
        """Tries those again that had a setback, where that does no harm, for as long as there is time since ``began``."""
        journeys = {i: _Journey() for i, result in enumerate(results) if type(result) is Setback}
        delay = _FIRST_DELAY
        _settle(requests, results, journeys)
        while journeys:
            moved: Optional[Transport] = None
            while True:
                at_once = [i for i, journey in journeys.items() if self._go_on(journey, results[i])]
                if not at_once:
                    break
                moved = next((journeys[i].to for i in at_once if not journeys[i].asking), moved)
                self._attempt(requests, at_once, results, journeys)
                _settle(requests, results, journeys)
            if moved is not None:
                self.nodes.refresh(moved, True)
            wait = random.uniform(delay / 2, delay)
            _give_up(requests, results, journeys, time.monotonic() + wait - began, self._retry_for)
            if not journeys:
                return
            time.sleep(wait)
            delay = min(2 * delay, _LAST_DELAY)
            self._refresh([results[i].error for i in journeys], None)
            for i, journey in journeys.items():
                journey.hops = 0
                journey.to = journey.lost_at
                if journey.to is None:
                    journey.asking = False
                    if requests[i].key is None and requests[i].node is None and isinstance(results[i].error, _LOST):
                        journey.to = self.nodes.some(results[i].at)  # any will do
            self._attempt(requests, list(journeys), results, journeys)
            _settle(requests, results, journeys)

    def _go_on(self, journey: _Journey, setback: Setback) -> bool:
        """Whether a command is to be sent at once to where a node has pointed."""
        redirect = self._redirect(setback.error, setback.at)
        if redirect is None or journey.hops == _MOST_HOPS:
            return False
        journey.hops += 1
        journey.to = self.nodes.at(redirect.address)
        journey.asking = redirect.asking
        return True

    def _redirect(self, error: NdringError, at: Transport) -> Optional[Redirect]:
        if not isinstance(error, MovedError) or not self.nodes.routable:
            return None
        try:
            return redirect_of(str(error), at.address)
        except DecodeError:
            return None

    def _refresh(self, errors: Sequence[NdringError], prefer: Optional[Transport]) -> None:
        """Asks for the map again, if that may help against these errors."""
        if self.nodes.lone is not None:
            errors = [error for error in errors if isinstance(error, ClusterDownError)]  # a lone node is simply tried again
        if any(not isinstance(error, BusyError) or error.prefix != "BUSY" for error in errors):
            self.nodes.refresh(prefer)


def _settle(requests: Sequence[Request], results: List[Any], journeys: Dict[int, _Journey]) -> None:
    """Takes out the commands whose results are final."""
    for i, journey in list(journeys.items()):
        result = results[i]
        if type(result) is Setback:
            if result.lost and requests[i].conditional and journey.lost_at is None:
                journey.lost_at = result.at
            if journey.lost_at is None or not isinstance(result.error, MovedError):
                continue
            result = result.error
        if journey.lost_at is not None and isinstance(result, NdringError):
            results[i] = _uncertain(result)
        del journeys[i]


def _give_up(requests: Sequence[Request], results: List[Any], journeys: Dict[int, _Journey], after: float, retry_for: float) -> None:
    """Takes out the commands for which there is no time left, ``after`` so many s since the first try."""
    for i, journey in list(journeys.items()):
        if after > (min(retry_for, _REMEMBERED) if requests[i].conditional else retry_for):
            error = results[i].error
            results[i] = error if journey.lost_at is None else _uncertain(error)
            del journeys[i]


def _uncertain(error: NdringError) -> NdringError:
    """Returns what to say of a conditional write whose answer was lost, and to whose repeat there was only an error."""
    if isinstance(error, UncertainWrite):
        return error
    result = UncertainWrite(f"whether the condition held is not known, the answer was lost: {error}")
    result.__cause__ = error
    return result
