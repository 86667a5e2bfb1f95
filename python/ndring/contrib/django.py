"""A Django cache whose values are NumPy arrays and scalars, stored exactly and without pickle. ::

    CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "arrays": {
            "BACKEND": "ndring.contrib.django.NdringCache",
            "LOCATION": "redis://cache-a:7379,cache-b:7379",
            "OPTIONS": {"on_error": "miss", "retry_for": 0.5, "deadline": 2},
        },
    }

    from django.core.cache import caches
    caches["arrays"].set("features:7", array, timeout=3600)

Django's own users of a cache (sessions, pages, templates) store other values: give them another one.
"""
from __future__ import annotations

import math
import re
import threading
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple, Union
from urllib.parse import urlsplit

import numpy as np
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache, default_key_func
from django.core.exceptions import ImproperlyConfigured

from .. import NumPyRedis

__all__ = ["NdringCache"]

_DJANGOS = ("MAX_ENTRIES", "CULL_FREQUENCY")  # options of Django's that have no effect: the nodes evict


class NdringCache(BaseCache):
    """``LOCATION``: one or several nodes (``"cache-a:7379"``, a list, or separated by commas), or
    URLs as for ``NumPyRedis.from_url``; ``OPTIONS``: options of NumPyRedis.

    A value that is not a NumPy array or scalar raises EncodeError. ``get_or_set`` lets one process of
    all compute a missing value. ``incr`` and ``decr`` change NumPy integers atomically and keep their
    times to live. ``clear`` deletes the keys that begin with ``KEY_PREFIX`` and a colon, of all
    versions, and nothing else. With ``on_error="miss"`` in ``OPTIONS``, pages work on while the cache does not answer.

    Caches with the same settings share a client in each process, and its connections stay open.
    """

    def __init__(self, location: Union[str, Iterable[str]], params: Mapping[str, Any]) -> None:
        super().__init__(params)
        options = {name: value for name, value in (params.get("OPTIONS") or {}).items() if name not in _DJANGOS}
        self._nodes, self._options = _nodes(location), options

    @property
    def client(self) -> NumPyRedis:
        """The client, for what Django's interface lacks: ``view``, ``take``, ``meta``. Its keys are
        those that ``make_key`` returns."""
        return _shared_client(self._nodes, self._options)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Optional[int] = None) -> bool:
        name, px = self._name(key, version), self._px(timeout)
        if px == 0:
            return not self.client.exists(name)
        return self.client.set(name, value, nx=True, px=px)

    def get(self, key: Any, default: Any = None, version: Optional[int] = None) -> Any:
        return self.client.get(self._name(key, version), default=default)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Optional[int] = None) -> None:
        name, px = self._name(key, version), self._px(timeout)
        if px == 0:
            self.client.delete(name)
        else:
            self.client.set(name, value, px=px)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Optional[int] = None) -> bool:
        name, px = self._name(key, version), self._px(timeout)
        if px is None:
            return self.client.persist(name) or self.client.exists(name) == 1
        return self.client.pexpire(name, px)

    def delete(self, key: Any, version: Optional[int] = None) -> bool:
        return self.client.delete(self._name(key, version)) == 1

    def has_key(self, key: Any, version: Optional[int] = None) -> bool:
        return self.client.exists(self._name(key, version)) == 1

    def get_many(self, keys: Iterable[Any], version: Optional[int] = None) -> Dict[Any, Any]:
        names = {self._name(key, version): key for key in keys}
        return {names[name]: value for name, value in zip(names, self.client.mget(names)) if value is not None}

    def set_many(self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: Optional[int] = None) -> List[Any]:
        """Stores several arrays, sent together. Returns the keys that an outage left out, which
        ``on_error="miss"`` allows; other errors raise after all others were stored."""
        px = self._px(timeout)
        if px == 0:
            self.delete_many(data, version)
            return []
        with self.client.pipeline() as p:
            for key, value in data.items():
                p.set(self._name(key, version), value, px=px)
            return [key for key, stored in zip(data, p.execute()) if not stored]

    def delete_many(self, keys: Iterable[Any], version: Optional[int] = None) -> None:
        self.client.delete(*(self._name(key, version) for key in keys))

    def get_or_set(self, key: Any, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: Optional[int] = None) -> Any:
        """Returns the stored array. If it is missing, one caller of all stores ``default``, or what it
        returns if it can be called."""
        name, px = self._name(key, version), self._px(timeout)
        make: Callable[[], Any] = default if callable(default) else lambda: default
        if px == 0:
            found = self.client.get(name)
            return make() if found is None else found
        return self.client.get_or_set(name, make, px=px)

    def incr(self, key: Any, delta: int = 1, version: Optional[int] = None) -> Any:
        """Adds to a NumPy integer, atomically, and returns the sum, which has the same dtype. Raises
        ValueError for a missing key, TypeError for any other value, OverflowError for a sum that the
        dtype cannot hold."""
        name = self._name(key, version)
        while True:
            with self.client.pipeline(transaction=True) as p:
                value, meta = p.get(name).meta(name).execute()
            if value is None:
                raise ValueError(f"Key {key!r} not found")
            if not isinstance(value, np.integer) or value.dtype.kind not in "iu":  # a timedelta64 is an np.integer too
                raise TypeError(f"incr and decr change NumPy integers such as np.int64(1), and {key!r} holds {type(value).__name__}")
            total, limits = int(value) + int(delta), np.iinfo(value.dtype)
            if not limits.min <= total <= limits.max:
                raise OverflowError(f"{value!r} plus {delta} does not fit into {value.dtype}")
            result = type(value)(total)
            if self.client.set(name, result, if_version=meta.version, keepttl=True):
                return result

    def clear(self) -> None:
        """Deletes the keys with this cache's prefix, of all versions. Raises ImproperlyConfigured for a
        ``KEY_FUNCTION``, whose keys it cannot tell from others."""
        if self.key_func is not default_key_func:
            raise ImproperlyConfigured("clear() knows the keys of a cache only without KEY_FUNCTION: delete them with cache.client.delete_prefix(prefix)")
        self.client.delete_prefix(f"{self.key_prefix}:")

    def _name(self, key: Any, version: Optional[int]) -> str:
        name: str = self.make_key(key, version=version)
        self.validate_key(name)
        return name

    def _px(self, timeout: Any) -> Optional[int]:
        """Returns a time to live in milliseconds: None for ever, 0 for a value that expires at once."""
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return None if seconds is None else max(0, math.ceil(seconds * 1000))


# Clients

_clients: Dict[Any, NumPyRedis] = {}
_clients_lock = threading.Lock()


def _shared_client(nodes: Tuple[str, ...], options: Mapping[str, Any]) -> NumPyRedis:
    """Returns this process' client with these settings. Django makes a cache for each thread, and one
    for each request under ASGI, which would all have to connect."""
    wanted = (nodes, tuple(sorted((name, _hashable(value)) for name, value in options.items())))
    found = _clients.get(wanted)
    if found is None:
        with _clients_lock:
            found = _clients.get(wanted)
            if found is None:
                found = _clients[wanted] = _make_client(nodes, options)
    return found


def _make_client(nodes: Tuple[str, ...], options: Mapping[str, Any]) -> NumPyRedis:
    return NumPyRedis.from_url(nodes[0], **options) if "://" in nodes[0] else NumPyRedis(list(nodes), **options)


def _hashable(value: Any) -> Any:
    """Returns what tells values of options apart: two objects are the same only if they are one."""
    return repr(value) if isinstance(value, (str, bytes, int, float, bool, type(None), list, tuple, dict)) else f"{type(value).__name__} {id(value)}"


def _nodes(location: Union[str, Iterable[str]]) -> Tuple[str, ...]:
    """Returns the nodes in LOCATION, or one URL. Raises ImproperlyConfigured."""
    if isinstance(location, str):
        items = [location] if "://" in location else re.split("[;,]", location)
    else:
        items = list(location)
    items = [item.strip() for item in items if item.strip()]
    if not items:
        return ("localhost",)
    if not any("://" in item for item in items):
        return tuple(items)
    if len(items) == 1:
        return (items[0],)
    urls = [urlsplit(item) for item in items]
    rest = {url._replace(netloc=url.netloc.rpartition("@")[0]) for url in urls}
    if len(rest) > 1 or urls[0].scheme not in ("redis", "rediss"):
        raise ImproperlyConfigured("the URLs in LOCATION may differ in their hosts only: redis://user:secret@cache-a:7379, redis://user:secret@cache-b:7379")
    user, at, _ = urls[0].netloc.rpartition("@")
    hosts = ",".join(url.netloc.rpartition("@")[2] for url in urls)
    return (urls[0]._replace(netloc=user + at + hosts).geturl(),)
