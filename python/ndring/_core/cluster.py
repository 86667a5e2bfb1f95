"""Sends each command to the node that serves its key, and retries where that is safe.

A node that replies MOVED or ASK has not executed the command, so the client follows the redirect at
once. After a busy reply, a reply that no node serves the key, a lost connection or an unknown
outcome it retries with growing pauses for ``retry_for`` seconds, at the node that serves the key by
then: a primary that dies is replaced within about a second. A conditional write keeps its request
id, which every later primary knows, so it is answered with its first outcome wherever it is
repeated.

A write that may have been executed never raises an error that says otherwise: if its last try gets
an error reply, it raises UncertainWrite.
"""
from __future__ import annotations

import itertools
import logging
import random
import time
from typing import Any, Dict, Hashable, List, Optional, Sequence

from .._exceptions import (
    BusyError, ClusterDownError, DecodeError, MovedError, NdringError, NodeDownError, NoReplicasError, TimeoutError,
    UncertainWrite,
)  # fmt: skip
from .._log import log
from .commands import slot
from .driver import Transport, Work
from .nodes import PROBE_WAIT, Nodes
from .outages import Outage, is_cached, cause_key
from .request import LOST, RETRYABLE, Failure, Request, is_retryable
from .retry import Attempts, Policy
from .slots import Redirect, SlotMap, parse_redirect

_MAX_REDIRECTS = 5  # followed in a row without a pause


class _RetryState:
    """The retry state of a command that has failed. ``to``: the node for the next try, None to use
    the slot map. ``maybe_done``: a try may have been executed. ``no_replicas``: since when there
    are too few copies for it, None if that was not its last error."""

    __slots__ = ("to", "asking", "redirects", "maybe_done", "no_replicas")

    def __init__(self) -> None:
        self.to: Optional[Transport] = None
        self.asking = False
        self.redirects = 0
        self.maybe_done = False
        self.no_replicas: Optional[float] = None


class Cluster:
    """Safe to use from several threads, after a fork, and in signal handlers, as far as its driver is."""

    def __init__(self, nodes: Nodes, policy: Policy, read_from_replicas: bool = False) -> None:
        self.nodes = nodes
        self.policy = policy
        self.read_from_replicas = read_from_replicas
        self._turn = itertools.count(random.randrange(1000))  # clients do not all begin with the primary
        if read_from_replicas:
            nodes.want_replicas()

    def ready(self, request: Request) -> Optional[Transport]:
        """Returns the node for a command if nothing has to be done or decided before it is tried there."""
        nodes = self.nodes
        if self.read_from_replicas:
            return None
        at = nodes.single or nodes.routed(request)
        return None if nodes.outages.known and (at is None or nodes.outages.get(at.address) is not None) else at

    def one(self, request: Request) -> Work[Any]:
        """Returns the reply to one command. Raises its error."""
        began = time.monotonic()
        end = self.policy.end(began)
        try:
            if self.read_from_replicas and request.spread:
                results: List[Any] = [None]
                if not (yield from self._read_from_replicas([request], results, end)):
                    if isinstance(results[0], Exception):
                        raise results[0]
                    return results[0]
            at = self.nodes.single or (yield from self.nodes.route(request, end))
            result = (yield from self._fail_fast(at, began, end)) if self.nodes.outages.known else None
            if result is None:
                result = yield at.one(request, end)
                if self.nodes.outages.known and type(result) is not Failure:
                    self.nodes.mark_alive(at.address)
        except RETRYABLE as exc:  # raised by the slot map fetch
            if not is_retryable(exc):
                raise
            result = Failure(exc, False, self.nodes.seed)
        if type(result) is not Failure:
            return result
        return (yield from self.again(request, result, began))

    def again(self, request: Request, failure: Failure, began: float) -> Work[Any]:
        """Returns the reply to a command whose first try failed. Raises its error. ``began``: when
        the call began."""
        results: List[Any] = [failure]
        self._record_failures([request], [0], results, began)
        yield from self._retry([request], results, began)
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    def many(self, requests: Sequence[Request]) -> Work[List[Any]]:
        """Returns the replies to several commands, in order, with the exception in place of a
        failed one. Sends one batch to each node, all nodes in parallel."""
        results: List[Any] = [None] * len(requests)
        began = time.monotonic()
        end = self.policy.end(began)
        pending: Sequence[int] = range(len(requests))
        # Reads beside writes, as in a pipeline, must see those writes.
        if self.read_from_replicas and all(request.spread for request in requests):
            pending = yield from self._read_from_replicas(requests, results, end)
        if pending:
            yield from self._attempt(requests, pending, results, {}, end)
        yield from self._retry(requests, results, began)
        return results

    def transaction(self, requests: Sequence[Request]) -> Work[List[Any]]:
        """Returns the replies to commands that one node executes atomically, with the exception in
        place of a failed one.

        Retries only while the transaction cannot have been executed. Raises what prevented it, or
        UncertainWrite.
        """
        attempts = Attempts(self.policy, time.monotonic())
        redirects = 0
        to: Optional[Transport] = None
        no_replicas: Optional[float] = None
        while True:
            began = time.monotonic()
            try:
                at = self.nodes.seed
                at = to or (yield from self.nodes.route(requests[0], attempts.end))
                refused = (yield from self._fail_fast(at, began, attempts.end)) if self.nodes.outages.known else None
                if refused is not None:
                    raise refused.error
                results: List[Any] = yield at.transaction(requests, attempts.end)
                if self.nodes.outages.known:
                    self.nodes.mark_alive(at.address)
                if to is not None:
                    yield from self.nodes.refresh(to, True, attempts.end)
                return results
            except RETRYABLE as exc:
                if not is_retryable(exc):
                    raise
                redirect = self._redirect(exc, at)
                if redirect is not None and not redirect.asking and redirects < _MAX_REDIRECTS:
                    redirects += 1
                    to = self.nodes.at(redirect.address)
                    continue
                failure = Failure(exc, False, at)
                self._record_failure(requests[0], failure, began)
                wait = attempts.next_pause()
                now = time.monotonic()
                no_replicas = (no_replicas or now) if isinstance(exc, NoReplicasError) else None
                late = attempts.out_of_time(now, no_replicas=no_replicas)
                if late:
                    yield from self._look_later(requests[0], failure)
                if late or (yield from self._should_give_up(requests[0], failure, now)):
                    raise self._final_error(failure, attempts)
                error = exc
            log.info("retrying a transaction: %s", str(error))
            yield self.nodes.driver.sleep(wait)
            yield from self._refresh([error], to, attempts.end)
            if attempts.too_late(time.monotonic()):
                raise self._final_error(failure, attempts)
            redirects, to = 0, None

    def slots(self, fresh: bool = False, complete: bool = False) -> Work[Optional[SlotMap]]:
        """Returns the slot map, or None while a single node serves everything. Raises the reason if
        it is unknown. ``complete``: raises ClusterDownError if some slots have no node."""
        attempts = Attempts(self.policy, time.monotonic())
        while True:
            error: NdringError
            try:
                found = yield from self.nodes.slots(fresh, attempts.end)
                if not complete or found is None or found.complete:
                    return found
                error = ClusterDownError("CLUSTERDOWN no node serves some of the slots")
            except RETRYABLE as exc:
                if not is_retryable(exc):
                    raise
                error = exc
            wait = attempts.next_pause()
            now = time.monotonic()
            failure = Failure(error, False, self.nodes.seed)
            if attempts.out_of_time(now) or error.unreachable and (yield from self._should_give_up(None, failure, now)):
                raise self._final_error(failure, attempts)
            yield self.nodes.driver.sleep(wait)

    def _attempt(
        self, requests: Sequence[Request], pending: Sequence[int], results: List[Any], states: Dict[int, _RetryState], end: Optional[float]
    ) -> Work[None]:
        """Sends the pending commands to their nodes and stores the replies in ``results``."""
        began = time.monotonic()
        by_node: Dict[Transport, Sequence[int]] = {}
        single = self.nodes.single
        if single is not None and not states:
            by_node[single] = pending
        else:
            found: Dict[Transport, List[int]] = {}
            try:
                for i in pending:
                    state = states.get(i)
                    to = (state and state.to) or self.nodes.single or (yield from self.nodes.route(requests[i], end))
                    found.setdefault(to, []).append(i)
            except NdringError as exc:  # raised by the slot map fetch, without which no command can be routed
                for i in pending:
                    results[i] = Failure(exc, False, self.nodes.seed) if is_retryable(exc) else exc
                self._record_failures(requests, pending, results, began)
                return
            by_node.update(found)
        if any(state.asking for state in states.values()):
            requests = [r.asking() if i in states and states[i].asking else r for i, r in enumerate(requests)]
        yield from self._parallel([self._attempt_at(to, requests, part, results, end) for to, part in by_node.items()])

    # Replicas

    def _read_from_replicas(self, requests: Sequence[Request], results: List[Any], end: Optional[float]) -> Work[List[int]]:
        """Stores the replies of replicas in ``results``, and returns the reads that are left for
        the primaries: those whose turn it is, and those that a replica did not answer."""
        number = next(self._turn)
        by_node: Dict[Transport, List[int]] = {}
        left: List[int] = []
        try:
            for i, request in enumerate(requests):
                reader = yield from self.nodes.reader(request, number, end)
                if reader is None:
                    left.append(i)
                else:
                    by_node.setdefault(reader, []).append(i)
        except RETRYABLE:  # raised by the slot map fetch, which the primaries need too
            return list(range(len(requests)))
        if by_node:
            now = time.monotonic()
            # If there is little time, half of it is for the primary.
            until = None if end is None else end if end - now > 2 else now + (end - now) / 2
            yield from self._parallel([_read_at(reader, requests, part, results, until) for reader, part in by_node.items()])
            for reader, part in by_node.items():
                left += self._unanswered(reader, requests, part, results)
        return sorted(left)

    def _unanswered(self, reader: Transport, requests: Sequence[Request], part: Sequence[int], results: Sequence[Any]) -> List[int]:
        """Returns the reads that a replica did not answer, and records why."""
        now = time.monotonic()
        replicas = self.nodes.replicas
        left: List[int] = []
        failed = False
        for i in part:
            result = results[i]
            error = result.error if type(result) is Failure else result
            if not isinstance(error, NdringError) or isinstance(error, DecodeError):
                continue
            left.append(i)
            key = requests[i].key
            if isinstance(error, MovedError) and key is not None:
                replicas.has_no_copy(reader.address, slot(key), now)
            else:
                failed = True
        if failed:
            log.debug("a replica did not answer, asking the primary: %s", reader.address)
            replicas.failed(reader.address, now)
        elif len(left) < len(part):
            replicas.answered(reader.address)
        return left

    # Tries

    def _attempt_at(
        self, to: Transport, requests: Sequence[Request], part: Sequence[int], results: List[Any], end: Optional[float]
    ) -> Work[None]:
        began = time.monotonic()
        refused = (yield from self._fail_fast(to, began, end)) if self.nodes.outages.known else None
        if refused is None:
            yield to.attempt(requests, part, results, end)
        else:
            for i in part:
                results[i] = refused
        self._record_failures(requests, part, results, began)

    def _parallel(self, parts: List[Work[None]]) -> Work[None]:
        if len(parts) == 1:
            yield from parts[0]
        else:
            yield self.nodes.driver.parallel(parts)

    def _retry(self, requests: Sequence[Request], results: List[Any], began: float) -> Work[None]:
        """Retries the commands that have failed, where that is safe, as long as time is left since
        ``began``."""
        states = {i: _RetryState() for i, result in enumerate(results) if type(result) is Failure}
        attempts = Attempts(self.policy, began)
        _drop_finished(requests, results, states)
        while states:
            moved: Optional[Transport] = None
            while True:
                at_once = [i for i, state in states.items() if self._follow_redirect(state, results[i])]
                if not at_once:
                    break
                moved = next((states[i].to for i in at_once if not states[i].asking), moved)
                yield from self._attempt(requests, at_once, results, states, attempts.end)
                _drop_finished(requests, results, states)
            if moved is not None:
                log.debug("redirected to %s: fetching the slot map", moved.address)
                yield from self.nodes.refresh(moved, True, attempts.end)
            wait = attempts.next_pause()
            yield from self._drop_hopeless(requests, results, states, attempts)
            if not states:
                return
            if log.isEnabledFor(logging.INFO):
                log.info("retrying %d commands in %.0f ms: %s", len(states), wait * 1000, str(next(results[i].error for i in states)))
            yield self.nodes.driver.sleep(wait)
            yield from self._refresh([results[i].error for i in states], None, attempts.end)
            if attempts.too_late(time.monotonic()):  # that took too long
                yield from self._drop_hopeless(requests, results, states, attempts)
                return
            for i, state in states.items():
                state.redirects = 0
                state.to = None
                state.asking = False
                if requests[i].key is None and requests[i].node is None and isinstance(results[i].error, LOST):
                    state.to = self.nodes.any_node(results[i].at)
            yield from self._attempt(requests, list(states), results, states, attempts.end)
            _drop_finished(requests, results, states)

    def _drop_hopeless(self, requests: Sequence[Request], results: List[Any], states: Dict[int, _RetryState], attempts: Attempts) -> Work[None]:
        """Drops the commands that have run out of time, and those whose outage other calls have
        already waited for in vain."""
        now = time.monotonic()
        finals: Dict[int, NdringError] = {}  # by id of the error, which many commands may share
        for i, state in list(states.items()):
            late = attempts.out_of_time(now, requests[i].conditional, state.no_replicas)
            if late:
                yield from self._look_later(requests[i], results[i])
            if late or (yield from self._should_give_up(requests[i], results[i], now)):
                shared = id(results[i].error)
                error = finals.get(shared) or finals.setdefault(shared, self._final_error(results[i], attempts))
                results[i] = _honest(requests[i], error) if state.maybe_done else error
                del states[i]

    def _look_later(self, request: Request, failure: Failure) -> Work[None]:
        """Fetches the slot map in the background for the next call, if a failed node may have been replaced."""
        if request.key is not None and self.nodes.single is None and isinstance(failure.error, LOST):
            yield from self.nodes.refresh_soon()

    # Outages

    def _fail_fast(self, to: Transport, now: float, end: Optional[float]) -> Work[Optional[Failure]]:
        """Returns the failure of a command without a try, if its node is known to be down and a try
        would take time."""
        outage = self.nodes.outages.get(to.address)
        if outage is None or not outage.blocks_tries(now, self.policy.retry_for):
            return None
        if outage.probe_due(now):
            yield from self.nodes.probe(to, end)
            if self.nodes.outages.get(to.address) is None:
                return None
        return Failure(outage.to_error(to.address, now), False, to)

    def _record_failures(self, requests: Sequence[Request], part: Sequence[int], results: List[Any], began: float) -> None:
        """Records failures in the outages, once per node and cause."""
        seen = set()
        for i in part:
            result = results[i]
            if type(result) is Failure and id(result.error) not in seen:
                seen.add(id(result.error))
                self._record_failure(requests[i], result, began)

    def _record_failure(self, request: Request, failure: Failure, began: float) -> None:
        error, now = failure.error, time.monotonic()
        if error.unreachable:
            if not is_cached(error):
                self.nodes.outages.record_failure(failure.at.address, began, now, error)
            return
        if error.is_reply and self.nodes.outages.known:
            self.nodes.mark_alive(failure.at.address)
        if error.is_reply and isinstance(error, ClusterDownError) and request.key is not None:
            self.nodes.outages.record_failure(cause_key(error), began, now, error)

    def _should_give_up(self, request: Optional[Request], failure: Failure, now: float) -> Work[bool]:
        """Whether other calls have already waited in vain for what this command would wait for."""
        if request is not None and request.key is None and request.node is None and self.nodes.any_node(failure.at) is not failure.at:
            return False  # any other node can execute it
        outage = self.nodes.outages.get(_outage_key(failure))
        if outage is None or not outage.is_exhausted(now, self.policy.retry_for):
            return False
        if request is None or request.key is None or not failure.error.unreachable or self.nodes.single is not None:
            return True
        # Another node may have replaced the one that is down, after the calls that waited for it.
        yield from self.nodes.refresh_soon(PROBE_WAIT)
        return (yield from self.nodes.route(request)) is failure.at

    def _final_error(self, failure: Failure, attempts: Attempts) -> NdringError:
        """Returns the error to raise in the end, and records that a call has waited in vain."""
        error, now = failure.error, time.monotonic()
        cause = _outage_key(failure)
        if isinstance(error, NoReplicasError):
            return _no_replicas_error(error, now - attempts.began)
        if cause is None:
            return error
        news = self.nodes.outages.record_give_up(cause, attempts.time_given(now))
        outage = self.nodes.outages.get(cause)
        if news is not None and news.is_exhausted(now, self.policy.retry_for):
            log.warning("%s: no success for %.1f s; calls now fail without waiting", str(error), now - news.since)
        if outage is None or not error.unreachable or isinstance(error, NodeDownError) and error.__cause__ is not None:
            return error
        if self.nodes.single is None and self.nodes.slots_known and not isinstance(error, TimeoutError):
            return outage.to_error(failure.at.address, now)
        return _no_answer_error(error, outage, now)

    def _follow_redirect(self, state: _RetryState, failure: Failure) -> bool:
        """Whether to send a command at once to the node that a redirect names."""
        redirect = self._redirect(failure.error, failure.at)
        if redirect is None or state.redirects == _MAX_REDIRECTS:
            return False
        state.redirects += 1
        state.to = self.nodes.at(redirect.address)
        state.asking = redirect.asking
        return True

    def _redirect(self, error: NdringError, at: Transport) -> Optional[Redirect]:
        if not isinstance(error, MovedError) or not self.nodes.routable:
            return None
        try:
            return parse_redirect(str(error), at.address)
        except DecodeError:
            return None

    def _refresh(self, errors: Sequence[NdringError], prefer: Optional[Transport], end: Optional[float]) -> Work[None]:
        """Fetches the slot map again if that may help against these errors."""
        if self.nodes.single is not None:
            errors = [error for error in errors if isinstance(error, ClusterDownError)]  # other errors of a single node need no map
        if any(not isinstance(error, BusyError) or error.prefix != "BUSY" for error in errors):
            yield from self.nodes.refresh(prefer, end=end)


def _read_at(reader: Transport, requests: Sequence[Request], part: Sequence[int], results: List[Any], end: Optional[float]) -> Work[None]:
    yield reader.attempt(requests, part, results, end)


def _drop_finished(requests: Sequence[Request], results: List[Any], states: Dict[int, _RetryState]) -> None:
    """Drops the retry state of commands whose results are final."""
    for i, state in list(states.items()):
        result = results[i]
        if type(result) is Failure:
            state.maybe_done = state.maybe_done or result.lost
            if not isinstance(result.error, NoReplicasError):
                state.no_replicas = None
            elif state.no_replicas is None:
                state.no_replicas = time.monotonic()
            continue
        if state.maybe_done and isinstance(result, NdringError):
            results[i] = _honest(requests[i], result)
        del states[i]


def _outage_key(failure: Failure) -> Optional[Hashable]:
    """Returns the key under which Outages records this failure, None if it does not."""
    if failure.error.unreachable:
        return failure.at.address
    return cause_key(failure.error) if failure.error.is_reply and isinstance(failure.error, ClusterDownError) else None


def _no_answer_error(error: NdringError, outage: Outage, now: float) -> NdringError:
    """Returns the error for the only known node, with what was tried and what to check."""
    times = "once" if outage.tries == 1 else f"{outage.tries} times"
    result = type(error)(
        f"{error}; tried {times} in {now - outage.since:.1f} s. Check that ndring runs there and that this is its client port (--port, "
        "7379 by default). retry_for= sets how long to retry"
    )
    result.unreachable = True
    result.__cause__ = error
    return result


def _no_replicas_error(error: NoReplicasError, waited: float) -> NdringError:
    """Returns the error to raise after waiting for copies."""
    result = type(error)(f"{error} (the client waited {waited:.1f} s for more copies)")
    result.is_reply = error.is_reply
    result.__cause__ = error
    return result


def _honest(request: Request, error: NdringError) -> NdringError:
    """Returns the final error for a command of which a try may have been executed.

    An error reply to the last try says that nothing was changed, which may be wrong for a write. A
    lost connection says nothing of the kind, and the effect of an unconditional write is known if
    it had one.
    """
    if not request.writes or isinstance(error, UncertainWrite) or not (request.conditional or error.is_reply):
        return error
    result = UncertainWrite(f"an earlier try had no reply, so it is unknown whether the write was done: {error}")
    result.__cause__ = error
    return result
