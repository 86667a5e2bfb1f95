"""on_error="miss": which errors are outages, what a call returns during one, and how often that
happened. Pure but for the log."""
from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Any, NamedTuple, Optional

from .._exceptions import (
    BusyError, ClusterDownError, ConnectionError, DiskError, MovedError, NdringError, OutOfMemoryError, TimeoutError, UncertainWrite,
    without_traceback,
)  # fmt: skip
from .._log import log
from .calls import Call

#: Errors that mean the cache is unavailable, and do not concern the arguments, the caller's
#: permissions or the stored bytes.
UNANSWERED = (ConnectionError, TimeoutError, ClusterDownError, BusyError, MovedError, OutOfMemoryError, DiskError, UncertainWrite)

_LOG_PAUSE = 10.0  # s between two log lines


def is_unanswered(error: BaseException) -> bool:
    """Whether an error is an outage. A mistake that can never succeed, such as TLS to a node
    without TLS, must stay visible; only an unresolvable name counts as an outage, since its node
    may merely be gone."""
    return isinstance(error, UNANSWERED) and (error.unreachable or not error.hopeless)


class Unanswered(NamedTuple):
    """``reads``: reads that became misses. ``writes``: writes that were dropped. ``error``: the
    last error."""

    reads: int
    writes: int
    error: Optional[NdringError]


class Degraded:
    """Counts calls without an answer, logs from time to time, and supplies their results."""

    def __init__(self) -> None:
        self.reset_after_fork()
        self._reads = self._writes = self._since = 0
        self._error: Optional[NdringError] = None
        self._logged = float("-inf")
        _all.add(self)

    def reset_after_fork(self) -> None:
        """Replaces the lock, which another thread may have held during the fork."""
        self._lock = threading.RLock()  # guards the counts; reentrant, since a signal handler may make a call

    def counts(self) -> Unanswered:
        return Unanswered(self._reads, self._writes, self._error)

    def record(self, call: Call[Any], error: NdringError) -> Any:
        """Counts a call without an answer and returns its result."""
        self.count(call.writes, error)
        return call.miss

    def count(self, writes: bool, error: NdringError) -> None:
        now = time.monotonic()
        error = without_traceback(error)
        with self._lock:
            self._reads += not writes
            self._writes += writes
            self._since += 1
            self._error = error
            since = self._since
            due = now - self._logged >= _LOG_PAUSE
            if due:
                self._logged, self._since = now, 0
        if due:
            log.warning("%d calls bypassed the cache since the last such line: %s", since, error)


_all: "weakref.WeakSet[Degraded]" = weakref.WeakSet()


def _after_fork() -> None:
    for degraded in list(_all):
        degraded.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
