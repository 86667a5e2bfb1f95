"""get_or_set: of all callers that miss a key, one makes the value and the others wait for it.

The lock is a small array under a key of its own, whose time to live is the lease: a maker that dies stops renewing it. It holds a
token, and is renewed and released by its version, so that nobody touches another's.
"""
from __future__ import annotations

import hashlib
import random
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Callable, Optional

import numpy as np

from . import _calls
from ._commands import get_request
from ._degraded import UNANSWERED, Degraded, is_unanswered
from ._exceptions import NdringError, TimeoutError
from ._options import Key, encode_key
from ._settings import seconds

if TYPE_CHECKING:
    from ._client import NumPyRedis

_PREFIX = b"ndring:making:"
_LONGEST = 60_000  # bytes of a key that stand in the key of its lock; the node's limit for both is 65,535
_FIRST_DELAY = 0.01  # s; doubles up to _LAST_DELAY, and is cut to a random part
_LAST_DELAY = 0.25  # s


def get_or_set(
    client: "NumPyRedis", key: Key, make: Callable[[], Any], wait_for: float, lease: float, options: Any, degraded: Optional[Degraded]
) -> Any:
    """``degraded``: counts the errors in spite of which the result is made; None where they raise."""
    wait_for, lease = seconds("wait_for", wait_for, zero=True), seconds("lease", lease)
    name = encode_key(key)
    lock = _PREFIX + (name if len(name) <= _LONGEST else hashlib.sha256(name).digest())
    made = _Made(make)
    try:
        return _get_or_set(client, key, lock, made, wait_for, lease, options)
    except UNANSWERED as exc:
        if degraded is None or exc is made.raised or not is_unanswered(exc):
            raise
        degraded.count(made.done, exc)
        return made()


class _Made:
    """Calls ``make`` once. ``raised``: what that raised."""

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
    client: "NumPyRedis", key: Key, lock: bytes, make: Callable[[], Any], wait_for: float, lease: float, options: Any
) -> Any:
    began = time.monotonic()
    delay = _FIRST_DELAY
    waiting = False
    while True:
        found = client.get(key)
        if found is not None:
            return found
        # One who waits looks before trying: the node remembers each try by its request id, and has room for so many only.
        if not (waiting and client.exists(lock)):
            with _Lease(client, lock, lease) as held:
                if held:
                    found = client.get(key)  # it may have been made just before
                    if found is not None:
                        return found
                    value = make()
                    client.set(key, value, nx=True, **options)  # what somebody has stored meanwhile is newer: it stays
                    found = client.get(key)
                    return value if found is None else found
        waiting = True
        left = began + wait_for - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"nobody has made {key!r} within {wait_for} s; somebody is at it")
        time.sleep(min(left, random.uniform(delay / 2, delay)))
        delay = min(2 * delay, _LAST_DELAY)


class _Lease:
    """A lock that is renewed by a thread while it is held. Entering returns whether it was free."""

    def __init__(self, client: "NumPyRedis", key: bytes, lease: float) -> None:
        self._client = client
        self._key = key
        self._lease = lease
        self._token = np.array(list(uuid.uuid4().bytes), np.uint8)
        self._version: Optional[str] = None  # of what we wrote last, as far as we know; None when we never had the lock
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="ndring-lease", daemon=True)

    def __enter__(self) -> bool:
        began = time.monotonic()
        self._version = self._write(self._lease, nx=True)
        if self._version is None:
            return False
        if time.monotonic() - began > self._lease / 3:
            # The lease runs from when the node has written it, which may have been long before it answered, for example if the
            # answer is that to a repeat: somebody else may hold the lock by now, or before the first renewal.
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
            self._extend(0.001)  # there is no conditional delete: it expires
        except NdringError:
            pass  # the lease ends by itself

    def _renew(self) -> None:
        while not self._done.wait(self._lease / 3):
            try:
                if not self._extend(self._lease):
                    return  # it came too late, another may have it
            except NdringError:
                pass  # the next try may come in time

    def _extend(self, seconds: float) -> bool:
        """Sets the time to live of the lock; False if it is not ours any more."""
        version = self._write(seconds, if_version=self._version)
        if version is None:
            # What we wrote last may not be what we know of, since an answer was lost: the token tells.
            stored = self._client._cluster.one(get_request(self._key))
            if stored is None or stored.data.tobytes() != self._token.tobytes():
                return False
            version = self._write(seconds, if_version=stored.version)
        if version is not None:
            self._version = version
        return version is not None

    def _write(self, seconds: float, **condition: Any) -> Optional[str]:
        return self._client._run(_calls.set_version(self._key, self._token, px=max(1, round(seconds * 1000)), **condition))
