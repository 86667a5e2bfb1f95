"""What becomes of calls that cannot be answered when a service is to go on without its cache. Pure but for the log."""
from __future__ import annotations

import os
import threading
import time
import weakref
from typing import Any, NamedTuple, Optional

from ._calls import Call
from ._exceptions import (
    BusyError, ClusterDownError, ConnectionError, DiskError, MovedError, NdringError, OutOfMemoryError, TimeoutError, UncertainWrite,
    to_keep,
)  # fmt: skip
from ._log import log

#: The errors that may say that the cache is not available, and nothing of the call, of the caller's rights, or of the bytes.
UNANSWERED = (ConnectionError, TimeoutError, ClusterDownError, BusyError, MovedError, OutOfMemoryError, DiskError, UncertainWrite)

_LOG_PAUSE = 10.0  # s between two lines


def is_unanswered(error: BaseException) -> bool:
    """Whether it is an outage. What can never succeed, such as TLS with a node that does not speak it, is a mistake that must be seen; only
    that a name which does not resolve may be one of a node that is not there."""
    return isinstance(error, UNANSWERED) and (error.unreachable or not error.hopeless)


class Unanswered(NamedTuple):
    """``reads``: that counted as misses. ``writes``: that were dropped. ``error``: why the last one was."""

    reads: int
    writes: int
    error: Optional[NdringError]


class Degraded:
    """Counts, logs now and then, and names the result that a call has without an answer."""

    def __init__(self) -> None:
        self.forget()
        self._reads = self._writes = self._since = 0
        self._error: Optional[NdringError] = None
        self._logged = float("-inf")
        _all.add(self)

    def forget(self) -> None:
        """Drops what a thread may hold that is not there after a fork."""
        self._lock = threading.RLock()  # guards the counts; a signal handler may make a call too

    def counts(self) -> Unanswered:
        return Unanswered(self._reads, self._writes, self._error)

    def note(self, call: Call[Any], error: NdringError) -> Any:
        """Counts a call that was not answered, and returns its result."""
        self.count(call.writes, error)
        return call.miss

    def count(self, writes: bool, error: NdringError) -> None:
        now = time.monotonic()
        error = to_keep(error)
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
            log.warning("%d calls went without the cache since the last such line: %s", since, error)


_all: "weakref.WeakSet[Degraded]" = weakref.WeakSet()


def _after_fork() -> None:
    for degraded in list(_all):
        degraded.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
