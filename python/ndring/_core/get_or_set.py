"""get_or_set: of all callers that miss a key, one computes the value and the others wait for it.

The lock is a small array under a key of its own, and its time to live is the lease: if the process
that computes the value dies, nothing renews the lease and the lock expires. The array holds a
random token, and every renewal and release is conditional on the version that this caller wrote, so
a caller cannot touch a lock that another one holds.
"""
from __future__ import annotations

import hashlib
import random
import threading
import time
import uuid
from typing import Any, Callable, Optional, Protocol

import numpy as np

from . import calls as _calls
from .cluster import Cluster
from .commands import get_request
from .degraded import UNANSWERED, Degraded, is_unanswered
from .._exceptions import NdringError, TimeoutError
from .options import Key, Seconds, Value, encode_key
from .settings import seconds

_PREFIX = b"ndring:making:"
_MAX_INLINE_KEY = 60_000  # bytes; the lock's key holds a longer key as a hash, since the node limits keys to 65,535 bytes
_FIRST_DELAY = 0.01  # s; doubles up to _LAST_DELAY, then randomized
_LAST_DELAY = 0.25  # s


class Store(Protocol):
    """What get_or_set needs of the client."""

    def get(self, key: Key) -> Any: ...

    def set(
        self, key: Key, value: Value, *, ex: Optional[Seconds] = ..., px: Optional[Seconds] = ..., nx: bool = ..., layout: str = ..., metadata: str = ...
    ) -> bool: ...

    def exists(self, *keys: Key) -> int: ...


def get_or_set(
    store: Store, cluster: Cluster, key: Key, make: Callable[[], Any], wait_for: float, lease: float, options: Any,
    degraded: Optional[Degraded], first_get: Callable[[Key], Any],
) -> Any:  # fmt: skip
    """``store``, ``cluster``: must not read from replicas, whose old locks would be wrong.
    ``first_get``: the first look-up, which may. ``degraded``: counts calls that bypass the cache
    because it did not answer; None raises the error instead."""
    wait_for, lease = seconds("wait_for", wait_for, zero=True), seconds("lease", lease)
    name = encode_key(key)
    lock = _PREFIX + (name if len(name) <= _MAX_INLINE_KEY else hashlib.sha256(name).digest())
    make_once = _CallOnce(make)
    try:
        return _get_or_set(store, cluster, key, lock, make_once, wait_for, lease, options, first_get)
    except UNANSWERED as exc:
        if degraded is None or exc is make_once.raised or not is_unanswered(exc):
            raise
        degraded.count(make_once.done, exc)
        return make_once()


class _CallOnce:
    """Calls ``make`` once and remembers the result. ``raised``: the exception that ``make`` raised."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._value: Any = None
        self.done = False
        self.raised: Optional[BaseException] = None

    def __call__(self) -> Any:
        if not self.done:
            try:
                self._value = self._make()
            except BaseException as exc:
                self.raised = exc
                raise
            self.done = True
        return self._value


def _get_or_set(
    store: Store, cluster: Cluster, key: Key, lock: bytes, make: Callable[[], Any], wait_for: float, lease: float, options: Any,
    first_get: Callable[[Key], Any],
) -> Any:  # fmt: skip
    began = time.monotonic()
    delay = _FIRST_DELAY
    waiting = False
    while True:
        found = store.get(key) if waiting else first_get(key)
        if found is not None:
            return found
        # A waiter checks whether the lock exists before it tries to take it: every try is a
        # conditional write, and the node remembers only a limited number of their request ids.
        if not (waiting and store.exists(lock)):
            with _Lease(cluster, lock, lease) as held:
                if held:
                    found = store.get(key)  # the previous holder may have stored it just before
                    if found is not None:
                        return found
                    value = make()
                    store.set(key, value, nx=True, **options)  # nx: a value that another caller has stored meanwhile is newer
                    found = store.get(key)
                    return value if found is None else found
        waiting = True
        left = began + wait_for - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no caller has stored {key!r} within {wait_for} s; another one is still computing it")
        time.sleep(min(left, random.uniform(delay / 2, delay)))
        delay = min(2 * delay, _LAST_DELAY)


class _Lease:
    """A lock that a thread renews while it is held. Entering returns whether this caller has it."""

    def __init__(self, cluster: Cluster, key: bytes, lease: float) -> None:
        self._cluster = cluster
        self._key = key
        self._lease = lease
        self._token = np.array(list(uuid.uuid4().bytes), np.uint8)
        self._version: Optional[str] = None  # of our last write, as far as we know; None if we never had the lock
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="ndring-lease", daemon=True)

    def __enter__(self) -> bool:
        began = time.monotonic()
        self._version = self._write(self._lease, nx=True)
        if self._version is None:
            return False
        if time.monotonic() - began > self._lease / 3:
            # The lease runs from the moment at which the node wrote it, which may be long before
            # its answer, for example if this is the answer to a repeated command. Another caller
            # may hold the lock by now, or will before the first renewal.
            self._release()
            return False
        self._thread.start()
        return True

    def __exit__(self, *exc: object) -> None:
        if self._thread.ident is not None:
            self._done.set()
            self._thread.join()
            self._release()

    def _release(self) -> None:
        try:
            self._extend(0.001)  # there is no conditional delete, so the lock expires
        except NdringError:
            pass  # the lease ends by itself

    def _renew(self) -> None:
        while not self._done.wait(self._lease / 3):
            try:
                if not self._extend(self._lease):
                    return  # too late: another caller may have the lock
            except NdringError:
                pass  # the next try may still be in time

    def _extend(self, seconds: float) -> bool:
        """Sets the time to live of the lock. Returns False if this caller has lost it."""
        version = self._write(seconds, if_version=self._version)
        if version is None:
            # An earlier write may have succeeded although its answer was lost, so the version may
            # be another one: compare the token.
            stored = self._cluster.one(get_request(self._key))
            if stored is None or stored.data.tobytes() != self._token.tobytes():
                return False
            version = self._write(seconds, if_version=stored.version)
        if version is not None:
            self._version = version
        return version is not None

    def _write(self, seconds: float, **condition: Any) -> Optional[str]:
        call = _calls.set_version(self._key, self._token, px=max(1, round(seconds * 1000)), **condition)
        return call.finish(self._cluster.one(call.request))
