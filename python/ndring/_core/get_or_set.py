"""get_or_set and get_or_set_many: of all callers that miss a key, one computes the value and the
others wait for it.

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
import weakref
from functools import partial
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Union

import numpy as np

from .._exceptions import NdringError, TimeoutError
from . import calls
from .calls import Call
from .cluster import Cluster
from .commands import get_request
from .degraded import UNANSWERED, is_unanswered
from .driver import Driver, Event, Work
from .operations import Core
from .options import Key, Seconds, Value, encode_key, key_list
from .settings import seconds

_PREFIX = b"ndring:making:"
_MAX_INLINE_KEY = 60_000  # bytes; the lock's key holds a longer key as a hash, since the node limits keys to 65,535 bytes
_FIRST_DELAY = 0.01  # s; doubles up to _LAST_DELAY, then randomized
_LAST_DELAY = 0.25  # s
_RELEASE_TIME = 1.0  # s for the renewal under way to end, and for each command that releases the locks; a cancelled caller waits too


def get_or_set(
    core: Core,
    key: Key,
    make: Callable[[], Value],
    *,
    ex: Optional[Seconds] = None,
    px: Optional[Seconds] = None,
    layout: str = "auto",
    metadata: str = "error",
    convert: bool = False,
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
    and another caller calls ``make``. ``ex``, ``px``, ``layout``, ``metadata``, ``convert``: as for ``set``.
    The result is read back from the node, unless it has already expired. Only the first look-up
    may read from a replica. ::

        client.get_or_set(f"features:{user}", lambda: compute(user), ex=3600)

    ``on_error="make"``: if no node answers, or another caller takes longer than ``wait_for``,
    call ``make()`` and return its result without raising. This is the default for a client with
    ``on_error="miss"``.
    """
    options = {"ex": ex, "px": px, "layout": layout, "metadata": metadata, "convert": convert}
    obtain = _Obtain(core, [key], lambda missing: {key: make()}, on_error, wait_for, lease, options)
    return (yield from obtain.values())[0]


def get_or_set_many(
    core: Core,
    keys: Iterable[Key],
    make: Callable[[List[Key]], Union[Mapping[Any, Value], Sequence[Value]]],
    *,
    ex: Optional[Seconds] = None,
    px: Optional[Seconds] = None,
    layout: str = "auto",
    metadata: str = "error",
    convert: bool = False,
    wait_for: float = 30.0,
    lease: float = 10.0,
    on_error: Optional[str] = None,
) -> Work[List[Any]]:
    """Returns the stored arrays of several keys, in order. Those that are missing are made and
    stored: ``make(missing)`` returns them as a mapping from keys, or in the order of ``missing``.

    Of all callers on all machines only one makes each key: ``make`` gets those that this caller is
    to make, and is not called if there are none; then the caller waits for the keys that others
    make. Everything else is as for ``get_or_set``. ::

        client.get_or_set_many(users, lambda missing: {user: compute(user) for user in missing}, ex=3600)
    """
    options = {"ex": ex, "px": px, "layout": layout, "metadata": metadata, "convert": convert}
    obtain = _Obtain(core, key_list(keys), make, on_error, wait_for, lease, options)
    return (yield from obtain.values())


class _Obtain:
    """One call of get_or_set or get_or_set_many. ``made``, ``found``: by key. ``raised``: the
    exception that ``make`` raised."""

    def __init__(
        self, core: Core, keys: List[Key], make: Callable[[List[Key]], Any], on_error: Optional[str], wait_for: float, lease: float,
        options: Dict[str, Any],
    ) -> None:  # fmt: skip
        if on_error not in (None, "raise", "make"):
            raise ValueError(f"on_error must be 'raise' or 'make', not {on_error!r}")
        self._make_on_error = on_error == "make" or on_error is None and core.cluster.policy.on_error == "miss"
        self._wait_for, self._lease = seconds("wait_for", wait_for, zero=True), seconds("lease", lease)
        self._degraded = core.degraded
        self._core = core.but(on_error="raise")
        self._primary = self._core.but(read_from_replicas=False)  # a replica may have an old lock
        self._driver = core.cluster.nodes.driver
        self._order = keys
        self._keys = {encode_key(key): key for key in keys}
        self._make = make
        self._options = options
        self._found: Dict[bytes, Any] = {}
        self._made: Dict[bytes, Any] = {}
        self._raised: Optional[BaseException] = None

    def values(self) -> Work[List[Any]]:
        try:
            yield from self._obtain()
        except UNANSWERED as exc:
            if not self._make_on_error or exc is self._raised or not is_unanswered(exc):
                raise
            self._degraded.count(bool(self._made), exc)
            yield from self._call([name for name in self._missing() if name not in self._made])
            self._found.update({name: self._made[name] for name in self._missing()})
        return [self._found[encode_key(key)] for key in self._order]

    def _missing(self) -> List[bytes]:
        return [name for name in self._keys if name not in self._found]

    def _obtain(self) -> Work[None]:
        began = time.monotonic()
        delay = _FIRST_DELAY
        free = self._missing()
        yield from self._look(self._core, free)
        while True:
            # A waiter checks whether the lock exists before it tries to take it: every try is a
            # conditional write, and the node remembers only a limited number of their request ids.
            free = [name for name in free if name not in self._found]
            if free:
                held = _Leases(self._primary.cluster, free, self._lease)
                dropped = False
                try:
                    yield from held.enter()
                    if held.names:
                        yield from self._look(self._primary, held.names)  # the previous holder may have stored it just before
                        yield from self._store([name for name in held.names if name not in self._found])
                except GeneratorExit:  # the driver was interrupted, and does nothing more for this call
                    dropped = True
                    raise
                finally:
                    if not dropped:
                        yield from held.leave()
            missing = self._missing()
            if not missing:
                return
            left = began + self._wait_for - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no caller has stored {self._keys[missing[0]]!r} within {self._wait_for} s; another one is still computing it")
            yield self._driver.sleep(min(left, random.uniform(delay / 2, delay)))
            delay = min(2 * delay, _LAST_DELAY)
            yield from self._look(self._primary, missing)
            free = self._missing()
            locked = yield from _all(self._primary.cluster, [calls.count_keys(b"NP.EXISTS", [_lock(name)]) for name in free])
            free = [name for name, exists in zip(free, locked) if not exists]

    def _look(self, core: Core, names: List[bytes]) -> Work[None]:
        if names:
            found = yield from _all(core.cluster, [calls.get(core.defaults, name) for name in names])
            self._found.update({name: value for name, value in zip(names, found) if value is not None})

    def _store(self, names: List[bytes]) -> Work[None]:
        """Makes and stores arrays whose locks are held."""
        if not names:
            return
        yield from self._call(names)
        # nx: a value that another caller has stored meanwhile is newer
        stores = [calls.set_(self._core.defaults, name, self._made[name], nx=True, **self._options) for name in names]
        with self._core.writing(stores):
            yield from _all(self._primary.cluster, stores)
        yield from self._look(self._primary, names)
        self._found.update({name: self._made[name] for name in names if name not in self._found})

    def _call(self, names: List[bytes]) -> Work[None]:
        if not names:
            return
        try:
            made = yield self._driver.call(lambda: self._make([self._keys[name] for name in names]))
            if not isinstance(made, Mapping):
                if len(made) != len(names):
                    raise ValueError(f"make returned {len(made)} arrays for {len(names)} keys")
                made = dict(zip((self._keys[name] for name in names), made))
            for name in names:
                if self._keys[name] not in made:
                    raise ValueError(f"make returned no array for {self._keys[name]!r}")
                self._made[name] = yield self._driver.call(partial(_same, made[self._keys[name]]))  # awaited if it can be
        except BaseException as exc:
            self._raised = exc
            raise


def _same(value: Any) -> Any:
    return value


def _all(cluster: Cluster, several: Sequence[Call[Any]]) -> Work[List[Any]]:
    """Returns the results of calls. Raises the first error."""
    if not several:
        return []
    replies = yield from cluster.many([call.request for call in several])
    _raise_first(replies)
    return [call.finish(reply) for call, reply in zip(several, replies)]


def _lock(name: bytes) -> bytes:
    return _PREFIX + (name if len(name) <= _MAX_INLINE_KEY else hashlib.sha256(name).digest())


class _Leases:
    """The locks of some keys, which are renewed in the background while they are held. ``names``:
    the keys whose locks this caller has."""

    def __init__(self, cluster: Cluster, names: Sequence[bytes], lease: float) -> None:
        self.names: List[bytes] = []
        self._cluster = cluster
        self._driver = cluster.nodes.driver
        self._wanted = list(names)
        self._lease = lease
        self._token = np.array(list(uuid.uuid4().bytes), np.uint8)
        self._versions: Dict[bytes, str] = {}  # of our last writes, as far as we know
        self._left = self._driver.event()
        self._renewing: Optional[Event] = None  # set when the renewal under way, or the last one, has ended

    def enter(self) -> Work[None]:
        """Takes the locks that are free."""
        began = time.monotonic()
        written = yield from self._write(self._wanted, self._lease, nx=True)
        self._versions = {name: version for name, version in zip(self._wanted, written) if isinstance(version, str)}
        _raise_first(written)  # leave gives back what was taken
        if time.monotonic() - began > self._lease / 3:
            # A lease runs from the moment at which the node wrote it, which may be long before its
            # answer, for example if this is the answer to a repeated command. Another caller may
            # hold the lock by now, or will before the first renewal.
            return
        self.names = list(self._versions)
        if self.names:
            self._driver.spawn(_renew(weakref.ref(self), self._driver, self._left, self._lease / 3), "ndring-lease")

    def leave(self) -> Work[None]:
        """Gives the locks back."""
        self._left.set()
        if self._renewing is not None and not (yield self._driver.wait(self._renewing, _RELEASE_TIME)):
            return
        policy = self._cluster.policy
        within = _RELEASE_TIME if policy.deadline is None else min(policy.deadline, _RELEASE_TIME)
        self._cluster = Cluster(self._cluster.nodes, policy._replace(deadline=within))
        try:
            yield from self._extend(0.001)  # there is no conditional delete, so the locks expire
        except NdringError:
            pass  # the leases end by themselves

    def renew(self) -> Work[bool]:
        """Returns False if nothing is held any more."""
        self._renewing = self._driver.event()
        try:
            if self._left.is_set():
                return False
            yield from self._extend(self._lease)
        except NdringError:
            pass  # the next try may still be in time
        finally:
            self._renewing.set()
        return bool(self._versions)

    def _extend(self, seconds: float) -> Work[None]:
        """Sets the time to live of the locks. Forgets those that this caller has lost."""
        names = list(self._versions)
        written = yield from self._write(names, seconds)
        for name, version in zip(names, written):
            if isinstance(version, Exception):
                continue
            if version is None:
                # An earlier write may have succeeded although its answer was lost, so the version
                # may be another one: compare the token.
                stored = yield from self._cluster.one(get_request(_lock(name)))
                if stored is not None and stored.data.tobytes() == self._token.tobytes():
                    self._versions[name] = stored.version
                    (version,) = yield from self._write([name], seconds)
            if version is None:
                del self._versions[name]  # another caller may have the lock
            elif isinstance(version, str):
                self._versions[name] = version
        _raise_first(written)

    def _write(self, names: Sequence[bytes], seconds: float, nx: bool = False) -> Work[List[Any]]:
        """Returns the new versions, None where the condition did not hold, or exceptions."""
        if not names:
            return []
        px = max(1, round(seconds * 1000))
        writes = [
            calls.set_version(_lock(name), self._token, px=px, nx=nx, if_version=None if nx else self._versions[name]) for name in names
        ]
        replies = yield from self._cluster.many([write.request for write in writes])
        return [reply if isinstance(reply, Exception) else write.finish(reply) for write, reply in zip(writes, replies)]


def _renew(held: weakref.ref[_Leases], driver: Driver, left: Event, pause: float) -> Work[None]:
    """Renews leases until they are left, or dropped because a signal handler interrupted their caller."""
    while not (yield driver.wait(left, pause)):
        leases = held()
        if leases is None or not (yield from leases.renew()):
            return
        del leases


def _raise_first(results: Sequence[Any]) -> None:
    for result in results:
        if isinstance(result, Exception):
            raise result
