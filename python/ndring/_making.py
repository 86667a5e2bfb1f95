"""get_or_set: of all callers that miss a key, one makes the value and the others wait for it.

The lock is a small array under a key of its own, whose time to live is the lease: a maker that dies stops renewing it. Its version
says whose it is, so that nobody renews or releases another's.
"""
from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Optional

import numpy as np

from . import _calls
from ._exceptions import NdringError, TimeoutError
from ._options import Key, encode_key

if TYPE_CHECKING:
    from ._client import NumPyRedis

_PREFIX = b"ndring:making:"
_FIRST_DELAY = 0.01  # s; doubles up to _LAST_DELAY, and is cut to a random part
_LAST_DELAY = 0.25  # s


def get_or_set(client: "NumPyRedis", key: Key, make: Callable[[], Any], wait_for: float, lease: float, options: Any) -> Any:
    if lease <= 0 or wait_for < 0:
        raise ValueError("lease must be positive and wait_for not negative")
    began = time.monotonic()
    delay = _FIRST_DELAY
    while True:
        found = client.get(key)
        if found is not None:
            return found
        with _Lease(client, _PREFIX + encode_key(key), lease) as held:
            if held:
                found = client.get(key)  # it may have been made just before
                if found is not None:
                    return found
                value = make()
                client.set(key, value, nx=True, **options)  # what somebody has stored meanwhile is newer: it stays
                found = client.get(key)
                return value if found is None else found
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
        self._version: Optional[str] = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="ndring-lease", daemon=True)

    def __enter__(self) -> bool:
        self._version = self._write(self._lease, nx=True)
        if self._version is not None:
            self._thread.start()
        return self._version is not None

    def __exit__(self, *exc: object) -> None:
        if self._version is None:
            return
        self._done.set()
        self._thread.join()
        try:
            if self._version is not None:
                self._write(0.001, if_version=self._version)  # there is no conditional delete: it expires
        except NdringError:
            pass  # the lease ends by itself

    def _write(self, seconds: float, **condition: Any) -> Optional[str]:
        return self._client._run(_calls.set_version(self._key, np.uint8(1), px=max(1, round(seconds * 1000)), **condition))

    def _renew(self) -> None:
        while self._version is not None and not self._done.wait(self._lease / 3):
            try:
                self._version = self._write(self._lease, if_version=self._version)  # None: it came too late, another has it
            except NdringError:
                pass  # the next try may come in time
