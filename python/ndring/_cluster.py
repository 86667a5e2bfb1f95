"""Commands to a cluster: each to the node that serves its key, and again, there or elsewhere, where that is safe.

A node that says MOVED or ASK has not done the command: it goes to the one that is named at once. What is busy, may not be
served now, or was lost is tried again after a pause, for ``retry_for`` seconds. A conditional write whose answer was lost is repeated
only where it was sent, since no other node knows its request id.
"""
from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any, Dict, Hashable, List, Optional, Sequence

from ._exceptions import (
    BusyError, ClusterDownError, ConnectionError, DecodeError, MovedError, NdringError, NodeDownError, TimeoutError, UncertainWrite,
)  # fmt: skip
from ._log import log
from ._nodes import Nodes
from ._outages import Outage, is_remembered, same_cause
from ._parallel import side_by_side
from ._retry import Attempts, Policy
from ._slots import Redirect, SlotMap, redirect_of
from ._transport import PASSING, Request, Setback, Transport, is_passing

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
    """Safe across threads, forks and signals."""

    def __init__(self, nodes: Nodes, policy: Policy) -> None:
        self.nodes = nodes
        self.policy = policy

    def one(self, request: Request) -> Any:
        """Returns the reply to one command, or raises."""
        began = time.monotonic()
        end = None if self.policy.deadline is None else began + self.policy.deadline
        try:
            at = self.nodes.lone or self.nodes.route(request, end)
            result = self._barred(at, began, end) if self.nodes.outages.known else None
            if result is None:
                result = at.one(request, end)
                if self.nodes.outages.known and type(result) is not Setback:
                    self.nodes.back(at.address)
        except PASSING as exc:  # of the search for the map
            if not is_passing(exc):
                raise
            result = Setback(exc, False, self.nodes.seed)
        if type(result) is not Setback:
            return result
        results = [result]
        self._note([request], [0], results, began)
        self._again([request], results, began)
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    def many(self, requests: Sequence[Request]) -> List[Any]:
        """Returns the replies to commands that are sent together, one stream a node, side by side; an exception stands where one
        failed."""
        results: List[Any] = [None] * len(requests)
        began = time.monotonic()
        self._attempt(requests, range(len(requests)), results, {}, self.policy.end(began))
        self._again(requests, results, began)
        return results

    def transaction(self, requests: Sequence[Request]) -> List[Any]:
        """Returns the replies to commands that are done as one; an exception stands where one failed.

        It is tried again as long as it cannot have been done. Raises what kept it from being done, or UncertainWrite.
        """
        attempts = Attempts(self.policy, time.monotonic())
        hops = 0
        to: Optional[Transport] = None
        while True:
            began = time.monotonic()
            try:
                at = self.nodes.seed
                at = to or self.nodes.route(requests[0], attempts.end)
                barred = self._barred(at, began, attempts.end) if self.nodes.outages.known else None
                if barred is not None:
                    raise barred.error
                results = at.transaction(requests, attempts.end)
                if self.nodes.outages.known:
                    self.nodes.back(at.address)
                if to is not None:
                    self.nodes.refresh(to, True, attempts.end)
                return results
            except PASSING as exc:
                if not is_passing(exc):
                    raise
                redirect = self._redirect(exc, at)
                if redirect is not None and not redirect.asking and hops < _MOST_HOPS:
                    hops += 1
                    to = self.nodes.at(redirect.address)
                    continue
                setback = Setback(exc, False, at)
                self._record(requests[0], setback, began)
                wait = attempts.pause()
                now = time.monotonic()
                if attempts.is_over(now) or self._gives_up(requests[0], setback, now):
                    raise self._final(setback, attempts)
                error = exc
            log.info("a transaction is tried again: %s", str(error))
            time.sleep(wait)
            self._refresh([error], to, attempts.end)
            hops, to = 0, None

    def slots(self, fresh: bool = False, complete: bool = False) -> Optional[SlotMap]:
        """Returns who serves what, None while one node gets everything. Raises why it is not known; with ``complete`` ClusterDownError where
        slots are served by nobody."""
        attempts = Attempts(self.policy, time.monotonic())
        while True:
            error: NdringError
            try:
                found = self.nodes.slots(fresh, attempts.end)
                if not complete or found is None or found.complete:
                    return found
                error = ClusterDownError("CLUSTERDOWN some slots are served by nobody")
            except PASSING as exc:
                if not is_passing(exc):
                    raise
                error = exc
            wait = attempts.pause()
            now = time.monotonic()
            setback = Setback(error, False, self.nodes.seed)
            if attempts.is_over(now) or error.unreachable and self._gives_up(None, setback, now):
                raise self._final(setback, attempts)
            time.sleep(wait)

    def _attempt(
        self, requests: Sequence[Request], pending: Sequence[int], results: List[Any], journeys: Dict[int, _Journey], end: Optional[float]
    ) -> None:
        """Sends the pending commands, each to its node, and fills in their results."""
        began = time.monotonic()
        by_node: Dict[Transport, Sequence[int]] = {}
        lone = self.nodes.lone
        if lone is not None and not journeys:
            by_node[lone] = pending
        else:
            found: Dict[Transport, List[int]] = {}
            try:
                for i in pending:
                    journey = journeys.get(i)
                    to = (journey and journey.to) or self.nodes.lone or self.nodes.route(requests[i], end)
                    found.setdefault(to, []).append(i)
            except NdringError as exc:  # of the search for the map, without which none goes anywhere
                for i in pending:
                    results[i] = Setback(exc, False, self.nodes.seed) if is_passing(exc) else exc
                self._note(requests, pending, results, began)
                return
            by_node.update(found)
        if any(journey.asking for journey in journeys.values()):
            requests = [r.asking() if i in journeys and journeys[i].asking else r for i, r in enumerate(requests)]
        side_by_side([partial(self._attempt_at, to, requests, part, results, end) for to, part in by_node.items()])

    def _attempt_at(
        self, to: Transport, requests: Sequence[Request], part: Sequence[int], results: List[Any], end: Optional[float]
    ) -> None:
        began = time.monotonic()
        barred = self._barred(to, began, end) if self.nodes.outages.known else None
        if barred is None:
            to.attempt(requests, part, results, end)
        else:
            for i in part:
                results[i] = barred
        self._note(requests, part, results, began)

    def _again(self, requests: Sequence[Request], results: List[Any], began: float) -> None:
        """Tries those again that had a setback, where that does no harm, for as long as there is time since ``began``."""
        journeys = {i: _Journey() for i, result in enumerate(results) if type(result) is Setback}
        attempts = Attempts(self.policy, began)
        _settle(requests, results, journeys)
        while journeys:
            moved: Optional[Transport] = None
            while True:
                at_once = [i for i, journey in journeys.items() if self._go_on(journey, results[i])]
                if not at_once:
                    break
                moved = next((journeys[i].to for i in at_once if not journeys[i].asking), moved)
                self._attempt(requests, at_once, results, journeys, attempts.end)
                _settle(requests, results, journeys)
            if moved is not None:
                log.debug("%s serves other keys than the client thought: it asks for the map again", moved.address)
                self.nodes.refresh(moved, True, attempts.end)
            wait = attempts.pause()
            self._give_up(requests, results, journeys, attempts)
            if not journeys:
                return
            if log.isEnabledFor(logging.INFO):
                log.info("%d commands are tried again in %.0f ms: %s", len(journeys), wait * 1000, str(next(results[i].error for i in journeys)))
            time.sleep(wait)
            self._refresh([results[i].error for i in journeys], None, attempts.end)
            for i, journey in journeys.items():
                journey.hops = 0
                journey.to = journey.lost_at
                if journey.to is None:
                    journey.asking = False
                    if requests[i].key is None and requests[i].node is None and isinstance(results[i].error, _LOST):
                        journey.to = self.nodes.some(results[i].at)  # any will do
            self._attempt(requests, list(journeys), results, journeys, attempts.end)
            _settle(requests, results, journeys)

    def _give_up(self, requests: Sequence[Request], results: List[Any], journeys: Dict[int, _Journey], attempts: Attempts) -> None:
        """Takes out the commands for which there is no time left, or for which other calls have waited in vain."""
        now = time.monotonic()
        finals: Dict[int, NdringError] = {}  # by the error, which many commands share
        for i, journey in list(journeys.items()):
            if attempts.is_over(now, requests[i].conditional) or self._gives_up(requests[i], results[i], now):
                shared = id(results[i].error)
                error = finals.get(shared) or finals.setdefault(shared, self._final(results[i], attempts))
                results[i] = error if journey.lost_at is None else _uncertain(error)
                del journeys[i]

    # Nodes that do not answer

    def _barred(self, to: Transport, now: float, end: Optional[float]) -> Optional[Setback]:
        """Returns what a command gets in place of a try, if its node is known to be down and a try would cost time."""
        outage = self.nodes.outages.get(to.address)
        if outage is None or not outage.bars(now, self.policy.retry_for):
            return None
        if outage.look(now):
            self.nodes.look(to, end)
            if self.nodes.outages.get(to.address) is None:
                return None
        return Setback(outage.describe(to.address, now), False, to)

    def _note(self, requests: Sequence[Request], part: Sequence[int], results: List[Any], began: float) -> None:
        """Remembers of the results what they say of the nodes, once for each node and cause."""
        seen = set()
        for i in part:
            result = results[i]
            if type(result) is Setback and id(result.error) not in seen:
                seen.add(id(result.error))
                self._record(requests[i], result, began)

    def _record(self, request: Request, setback: Setback, began: float) -> None:
        error, now = setback.error, time.monotonic()
        if error.unreachable:
            if not is_remembered(error):
                self.nodes.outages.failed(setback.at.address, began, now, error)
            return
        if error.is_reply and self.nodes.outages.known:
            self.nodes.back(setback.at.address)
        if error.is_reply and isinstance(error, ClusterDownError) and request.key is not None:
            self.nodes.outages.failed(same_cause(error), began, now, error)

    def _gives_up(self, request: Optional[Request], setback: Setback, now: float) -> bool:
        """Whether other calls have waited in vain for what this one would wait for."""
        if request is not None and request.key is None and request.node is None and self.nodes.some(setback.at) is not setback.at:
            return False  # another node will do
        outage = self.nodes.outages.get(_cause(setback))
        return outage is not None and outage.is_over(now, self.policy.retry_for)

    def _final(self, setback: Setback, attempts: Attempts) -> NdringError:
        """Returns what to raise in the end, and remembers that a call has waited in vain."""
        error, now = setback.error, time.monotonic()
        cause = _cause(setback)
        if cause is None:
            return error
        news = self.nodes.outages.gave_up(cause, attempts.waited(now))
        outage = self.nodes.outages.get(cause)
        if news is not None and news.is_over(now, self.policy.retry_for):
            log.warning("%s: the client has tried for %.1f s; from now on calls do not wait for it", str(error), now - news.since)
        if outage is None or not error.unreachable or isinstance(error, NodeDownError) and error.__cause__ is not None:
            return error
        if self.nodes.lone is None and self.nodes.slots_known and not isinstance(error, TimeoutError):
            return outage.describe(setback.at.address, now)
        return _unanswered(error, outage, now)

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

    def _refresh(self, errors: Sequence[NdringError], prefer: Optional[Transport], end: Optional[float]) -> None:
        """Asks for the map again, if that may help against these errors."""
        if self.nodes.lone is not None:
            errors = [error for error in errors if isinstance(error, ClusterDownError)]  # a lone node is simply tried again
        if any(not isinstance(error, BusyError) or error.prefix != "BUSY" for error in errors):
            self.nodes.refresh(prefer, end=end)


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


def _cause(setback: Setback) -> Optional[Hashable]:
    """Returns what is to blame, as Outages knows it."""
    if setback.error.unreachable:
        return setback.at.address
    return same_cause(setback.error) if setback.error.is_reply and isinstance(setback.error, ClusterDownError) else None


def _unanswered(error: NdringError, outage: Outage, now: float) -> NdringError:
    """Returns the error for a node beside which none is known, with what was tried and what to do."""
    times = "once" if outage.tries == 1 else f"{outage.tries} times"
    result = type(error)(
        f"{error}; tried {times} in {now - outage.since:.1f} s. Does ndring run there, and is it the port for clients (--port, by default "
        "7379)? retry_for= is how long to try"
    )
    result.unreachable = True
    result.__cause__ = error
    return result


def _uncertain(error: NdringError) -> NdringError:
    """Returns what to say of a conditional write whose answer was lost, and to whose repeat there was only an error."""
    if isinstance(error, UncertainWrite):
        return error
    result = UncertainWrite(f"whether the condition held is not known, the answer was lost: {error}")
    result.__cause__ = error
    return result
