"""What both clients are, apart from their methods: options, and how they become calls."""
from __future__ import annotations

import copy
import inspect
import re
from typing import Any, Dict, Iterable, Optional, Sequence, Type, TypeVar, Union

from .._version import __version__
from .calls import Defaults
from .cluster import Cluster
from .degraded import Degraded, Unanswered
from .driver import Driver
from .near_cache import NearCache, NearCacheStats, parse_options
from .nodes import Nodes
from .operations import Core
from .options import Key, encode_key, flag, key_list, parse_concern, url_options
from .retry import make_policy
from .seeds import DEFAULT_PORT, parse_seeds
from .settings import parse_settings
from .slots import Address

_POLICY = ("retry_for", "deadline", "on_error")
_CHANGEABLE = (*_POLICY, "write_concern", "read_from_replicas")
C = TypeVar("C", bound="Client")


class Client:
    """The base of both clients. ``_driver``: makes the driver."""

    _driver: Type[Driver]

    def __init__(
        self,
        host: Union[str, Sequence[Any]] = "localhost",
        port: int = DEFAULT_PORT,
        *,
        startup_nodes: Optional[Sequence[Any]] = None,
        socket_timeout: Optional[float] = 30.0,
        socket_connect_timeout: Optional[float] = 5.0,
        retry_for: float = 10.0,
        deadline: Optional[float] = None,
        on_error: str = "raise",
        max_array_bytes: int = 4 << 30,
        write_concern: Optional[str] = None,
        read_from_replicas: bool = False,
        near_cache: Union[None, int, str] = None,
        near_cache_prefixes: Iterable[Key] = (),
        near_cache_bound: float = 1.0,
        **options: Any,
    ) -> None:
        self._arguments: Dict[str, Any] = {
            "host": host, "port": port, "startup_nodes": startup_nodes, "socket_timeout": socket_timeout,
            "socket_connect_timeout": socket_connect_timeout, "retry_for": retry_for, "deadline": deadline, "on_error": on_error,
            "max_array_bytes": max_array_bytes, "write_concern": write_concern, "read_from_replicas": read_from_replicas,
            "near_cache": near_cache, "near_cache_prefixes": list(key_list(near_cache_prefixes)), "near_cache_bound": near_cache_bound, **options,
        }  # fmt: skip
        policy = make_policy(retry_for, deadline, on_error)
        options.update(socket_timeout=socket_timeout, socket_connect_timeout=socket_connect_timeout, max_array_bytes=max_array_bytes)
        settings = parse_settings(options, __version__)
        seeds = [Address("", 0)] if settings.path is not None else parse_seeds(host, port, startup_nodes)
        defaults = Defaults(parse_concern(write_concern))
        cluster = Cluster(Nodes(settings, seeds, self._driver()), policy, flag("read_from_replicas", read_from_replicas))
        near = None
        if near_cache is not None:
            prefixes = [encode_key(prefix, "a prefix") for prefix in self._arguments["near_cache_prefixes"]]
            near = NearCache(parse_options(near_cache, near_cache_bound, prefixes))
            if read_from_replicas:
                raise ValueError("near_cache excludes read_from_replicas: it keeps what primaries reply")
        self._core = Core(cluster, Degraded(), defaults, settings.path or ", ".join(map(str, seeds)), near)

    @classmethod
    def from_url(cls: Type[C], url: str, **options: Any) -> C:
        """Returns a client for a URL in redis-py's syntax: ``redis://[user:password@]host[:7379]``,
        ``rediss://`` for TLS, ``unix://path``. Commas separate several hosts:
        ``redis://a:7379,b:7379``. The query string (``?socket_timeout=3&retry_for=1``) and keyword
        arguments take the constructor's options; keywords win. Raises ValueError for an invalid
        URL."""
        return cls(**{**url_options(url), **options})

    def with_options(self: C, **changed: Any) -> C:
        """Returns a client that shares this one's connections but has another ``deadline``,
        ``retry_for``, ``on_error``, ``write_concern`` or ``read_from_replicas``:
        ``client.with_options(deadline=0.2).get(key)``."""
        for name in changed:
            if name not in _CHANGEABLE:
                raise TypeError(f"with_options accepts {', '.join(_CHANGEABLE)}, not {name!r}")
        other = copy.copy(self)
        other._arguments = {**self._arguments, **changed}
        policy = make_policy(*(other._arguments[name] for name in _POLICY))
        cluster = Cluster(self._core.cluster.nodes, policy, flag("read_from_replicas", other._arguments["read_from_replicas"]))
        defaults = Defaults(parse_concern(other._arguments["write_concern"]))
        other._core = Core(cluster, self._core.degraded, defaults, self._core.label, self._core.near)
        return other

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self._arguments)

    def __copy__(self: C) -> C:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    @property
    def unanswered(self) -> Unanswered:
        """How many reads became misses and how many writes were dropped because of ``on_error``,
        and the last error."""
        return self._core.degraded.counts()

    @property
    def near_cache(self) -> Optional[NearCacheStats]:
        """What the near cache keeps and how often it was of use; None without ``near_cache=``."""
        return None if self._core.near is None else self._core.near.stats()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._core.label})"

    @property
    def _cluster(self) -> Cluster:
        return self._core.cluster


def _rebuild(kind: Type[C], arguments: Dict[str, Any]) -> C:
    return kind(**arguments)


def present(method: Any, source: Any, owner: str = "NumPyRedis") -> Any:
    """Gives a method of ``owner`` the name, the documentation and the signature of the function that
    it calls, whose first parameter is not the caller's."""
    signature = inspect.signature(source)
    returns = re.sub(r"^(?:Call|Work)\[(.*)\]$", r"\1", str(signature.return_annotation))
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__name__ = source.__name__.rstrip("_")
    method.__qualname__ = f"{owner}.{method.__name__}"
    method.__doc__ = source.__doc__
    method.__wrapped__ = source  # whose globals have the names in its annotations
    method.__annotations__ = {**dict(list(source.__annotations__.items())[1:]), "return": returns}
    method.__signature__ = signature.replace(parameters=[first, *list(signature.parameters.values())[1:]], return_annotation=returns)
    return method
