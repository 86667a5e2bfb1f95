"""get_or_set: of all callers that miss a key, one computes the value and the others wait for it.

The lock is a small array under a key of its own, and its time to live is the lease: if the process
that computes the value dies, nothing renews the lease and the lock expires. The array holds a
random token, and every renewal and release is conditional on the version that this caller wrote, so
a caller cannot touch a lock that another one holds.
"""
from __future__ import annotations

import hashlib
import random
import time
import uuid
from typing import Any, Callable, Dict, Optional

import numpy as np

from .._exceptions import NdringError, TimeoutError
from . import calls, operations
from .cluster import Cluster
from .commands import get_request
from .degraded import UNANSWERED, is_unanswered
from .driver import Work
from .operations import Core
from .options import Key, Seconds, Value, encode_key
from .settings import seconds

_PREFIX = b"ndring:making:"
_MAX_INLINE_KEY = 60_000  # bytes; the lock's key holds a longer key as a hash, since the node limits keys to 65,535 bytes
_FIRST_DELAY = 0.01  # s; doubles up to _LAST_DELAY, then randomized
_LAST_DELAY = 0.25  # s
_EVER = 1e6  # s


def get_or_set(
    core: Core,
    key: Key,
    make: Callable[[], Value],
    *,
    ex: Optional[Seconds] = None,
    px: Optional[Seconds] = None,
    layout: str = "auto",
    metadata: str = "error",
    wait_for: float = 30.0,
    lease: float = 10.0,
    on_error: Optional[str] = None,
) -> Work[Any]:
    """Returns the stored array. If the key is missing, stores what ``make()`` returns and
    returns that.

    Of all callers on all machines only one calls ``make``. The others wait for up to
    ``wait_for`` seconds, then raise TimeoutError. While ``make`` runs, its caller holds a lease
    and renews it, so ``make`` may take as long as it needs. If that process dies, another
    caller takes over after ``lease`` seconds. If ``make`` raises, its caller gets the exception
    and another caller calls ``make``. ``ex``, ``px``, ``layout``, ``metadata``: as for ``set``.
    The result is read back from the node, unless it has already expired. Only the first look-up
    may read from a replica. ::

        client.get_or_set(f"features:{user}", lambda: compute(user), ex=3600)

    ``on_error="make"``: if no node answers, or another caller takes longer than ``wait_for``,
    call ``make()`` and return its result without raising. This is the default for a client with
    ``on_error="miss"``.
    """
    if on_error not in (None, "raise", "make"):
        raise ValueError(f"on_error must be 'raise' or 'make', not {on_error!r}")
    make_on_error = on_error == "make" or on_error is None and core.cluster.policy.on_error == "miss"
    options = {"ex": ex, "px": px, "layout": layout, "metadata": metadata}
    wait_for, lease = seconds("wait_for", wait_for, zero=True), seconds("lease", lease)
    make_once = _CallOnce(core.cluster.nodes.driver.call, make)
    try:
        return (yield from _get_or_set(core.but(on_error="raise"), key, make_once, wait_for, lease, options))
    except UNANSWERED as exc:
        if not make_on_error or exc is make_once.raised or not is_unanswered(exc):
            raise
        core.degraded.count(make_once.done, exc)
        return (yield from make_once())


class _CallOnce:
    """Calls ``make`` once and remembers the result. ``raised``: the exception that ``make`` raised."""

    def __init__(self, call: Callable[[Callable[[], Any]], Any], make: Callable[[], Any]) -> None:
        self._call = call
        self._make = make
        self._value: Any = None
        self.done = False
        self.raised: Optional[BaseException] = None

    def __call__(self) -> Work[Any]:
        if not self.done:
            try:
                self._value = yield self._call(self._make)
            except BaseException as exc:
                self.raised = exc
                raise
            self.done = True
        return self._value


def _get_or_set(core: Core, key: Key, make: _CallOnce, wait_for: float, lease: float, options: Dict[str, Any]) -> Work[Any]:
    primary = core.but(read_from_replicas=False)  # a replica may have an old lock
    name = encode_key(key)
    lock = _PREFIX + (name if len(name) <= _MAX_INLINE_KEY else hashlib.sha256(name).digest())
    began = time.monotonic()
    delay = _FIRST_DELAY
    waiting = False
    while True:
        found = yield from operations.get(primary if waiting else core, key)
        if found is not None:
            return found
        # A waiter checks whether the lock exists before it tries to take it: every try is a
        # conditional write, and the node remembers only a limited number of their request ids.
        if not (waiting and (yield from operations.exists(primary, lock))):
            held = _Lease(primary.cluster, lock, lease)
            if (yield from held.enter()):
                try:
                    found = yield from operations.get(primary, key)  # the previous holder may have stored it just before
                    if found is not None:
                        return found
                    value = yield from make()
                    # nx: a value that another caller has stored meanwhile is newer
                    yield from primary.run(calls.set_(core.defaults, key, value, nx=True, **options))
                    found = yield from operations.get(primary, key)
                    return value if found is None else found
                finally:
                    yield from held.leave()
        waiting = True
        left = began + wait_for - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no caller has stored {key!r} within {wait_for} s; another one is still computing it")
        yield primary.cluster.nodes.driver.sleep(min(left, random.uniform(delay / 2, delay)))
        delay = min(2 * delay, _LAST_DELAY)


class _Lease:
    """A lock that is renewed in the background while it is held."""

    def __init__(self, cluster: Cluster, key: bytes, lease: float) -> None:
        self._cluster = cluster
        self._driver = cluster.nodes.driver
        self._key = key
        self._lease = lease
        self._token = np.array(list(uuid.uuid4().bytes), np.uint8)
        self._version: Optional[str] = None  # of our last write, as far as we know; None if we never had the lock
        self._left = self._driver.event()
        self._ended = self._driver.event()

    def enter(self) -> Work[bool]:
        """Returns whether this caller has the lock."""
        began = time.monotonic()
        self._version = yield from self._write(self._lease, nx=True)
        if self._version is None:
            return False
        if time.monotonic() - began > self._lease / 3:
            # The lease runs from the moment at which the node wrote it, which may be long before
            # its answer, for example if this is the answer to a repeated command. Another caller
            # may hold the lock by now, or will before the first renewal.
            yield from self._release()
            return False
        if not self._driver.spawn(self._renew(), "ndring-lease"):
            self._ended.set()
        return True

    def leave(self) -> Work[None]:
        self._left.set()
        yield self._driver.wait(self._ended, _EVER)
        yield from self._release()

    def _release(self) -> Work[None]:
        try:
            yield from self._extend(0.001)  # there is no conditional delete, so the lock expires
        except NdringError:
            pass  # the lease ends by itself

    def _renew(self) -> Work[None]:
        try:
            while not (yield self._driver.wait(self._left, self._lease / 3)):
                try:
                    if not (yield from self._extend(self._lease)):
                        return  # too late: another caller may have the lock
                except NdringError:
                    pass  # the next try may still be in time
        finally:
            self._ended.set()

    def _extend(self, seconds: float) -> Work[bool]:
        """Sets the time to live of the lock. Returns False if this caller has lost it."""
        version = yield from self._write(seconds, if_version=self._version)
        if version is None:
            # An earlier write may have succeeded although its answer was lost, so the version may
            # be another one: compare the token.
            stored = yield from self._cluster.one(get_request(self._key))
            if stored is None or stored.data.tobytes() != self._token.tobytes():
                return False
            version = yield from self._write(seconds, if_version=stored.version)
        if version is not None:
            self._version = version
        return version is not None

    def _write(self, seconds: float, **condition: Any) -> Work[Optional[str]]:
        call = calls.set_version(self._key, self._token, px=max(1, round(seconds * 1000)), **condition)
        return call.finish((yield from self._cluster.one(call.request)))
