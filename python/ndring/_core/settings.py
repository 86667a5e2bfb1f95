"""Validates the options of connections when the client is created. Nothing here does I/O."""
from __future__ import annotations

import math
import os
import sys
from typing import Any, Dict, Mapping, NamedTuple, Optional

from .tls import TLS_OPTIONS, TlsOptions, tls_options

#: Options of redis-py that are accepted and ignored: arrays are bytes, and the client retries on
#: its own.
_NO_EFFECT = frozenset((
    "retry", "retry_on_error", "retry_on_timeout", "encoding", "encoding_errors", "decode_responses", "health_check_interval",
    "socket_read_size", "parser_class", "command_packer", "event_dispatcher",
))  # fmt: skip
_REPLICA_SILENCE = 0.5  # s that a read waits for a replica to begin its reply
_REFUSED = ("redis_connect_func", "connection_class", "connection_pool")


class Settings(NamedTuple):
    """``path``: of a Unix socket; redirects are not followed then. ``tls``: TLS options, None
    without TLS. ``readonly``: replicas may answer. Timeouts are in s, None for no limit."""

    path: Optional[str]
    socket_timeout: Optional[float]
    socket_connect_timeout: Optional[float]
    socket_keepalive: bool
    socket_keepalive_options: Mapping[int, Any]
    socket_type: int
    username: Optional[str]
    password: Any
    credential_provider: Any
    client_name: Optional[str]
    lib_name: Optional[str]
    lib_version: Optional[str]
    protocol: int
    max_connections: Optional[int]
    max_array_bytes: int
    tls: Optional[TlsOptions]
    readonly: bool = False

    def for_replicas(self) -> "Settings":
        """Returns the settings of connections that read from replicas. They give up soon, because
        the primary can answer instead."""
        shortest = [_REPLICA_SILENCE if limit is None else min(limit, _REPLICA_SILENCE) for limit in (self.socket_timeout, self.socket_connect_timeout)]
        return self._replace(readonly=True, socket_timeout=shortest[0], socket_connect_timeout=shortest[1])

    def for_listeners(self) -> "Settings":
        """Returns the settings of connections on which the near cache listens."""
        return self._replace(protocol=3, max_connections=None)


def parse_settings(options: Dict[str, Any], lib_version: str) -> Settings:
    """Returns the settings for keyword arguments. Raises TypeError for an unknown option,
    ValueError for an invalid value."""
    options = {name: value for name, value in options.items() if name not in _NO_EFFECT}
    for name in _REFUSED:
        if options.pop(name, None) is not None:
            raise ValueError(f"ndring does not support redis-py's option {name}: it makes its own connections")
    if options.pop("db", 0) not in (0, None):
        raise ValueError("db must be 0: there is only one database")
    path = options.pop("path", None)
    tls = tls_options(options) if options.pop("ssl", False) else None
    take = options.pop
    result = Settings(
        path=None if path is None else _path(str(path)),
        socket_timeout=seconds("socket_timeout", take("socket_timeout", None), optional=True),
        socket_connect_timeout=seconds("socket_connect_timeout", take("socket_connect_timeout", None), optional=True),
        socket_keepalive=bool(take("socket_keepalive", False)),
        socket_keepalive_options=dict(take("socket_keepalive_options", None) or {}),
        socket_type=int(take("socket_type", 0)),
        username=take("username", None),
        password=take("password", None),
        credential_provider=take("credential_provider", None),
        client_name=take("client_name", None),
        lib_name=take("lib_name", "ndring"),
        lib_version=take("lib_version", lib_version),
        protocol=_protocol(take("protocol", 2)),
        max_connections=_positive_int("max_connections", take("max_connections", None)),
        max_array_bytes=_positive_int("max_array_bytes", take("max_array_bytes")) or 0,
        tls=tls,
    )
    for name in options:
        if name in TLS_OPTIONS:  # not ignored, because without ssl=True the connection would be unencrypted
            raise TypeError(f"{name} requires TLS: use from_url('rediss://...') or ssl=True")
        raise TypeError(f"NumPyRedis got an unexpected option {name!r}")
    if result.credential_provider is not None and (result.username or result.password):
        raise ValueError("credential_provider excludes username and password")
    return result


def seconds(name: str, value: Any, *, optional: bool = False, zero: bool = False) -> Any:
    """Returns a validated number of seconds. ``optional``: None is allowed and means no limit.
    ``zero``: 0 is allowed."""
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) and not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number of seconds{' or None' if optional else ''}, not {value!r}")
    number = float(value)
    if math.isnan(number) or number < 0 or number == 0 and not zero:
        raise ValueError(f"{name} must be {'at least 0' if zero else 'more than 0'} seconds, not {value!r}")
    return number


def _path(path: str) -> str:
    most = 107 if sys.platform == "linux" else 103  # bytes in sockaddr_un
    if len(os.fsencode(path)) > most + path.startswith("\0"):
        raise ValueError(f"the path of a Unix socket is longer than {most} bytes: {path[:most]!r}...")
    return path


def _positive_int(name: str, value: Any) -> Optional[int]:
    if value is None and name == "max_connections":
        return None
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value.__index__() < 1:
        raise ValueError(f"{name} must be at least 1, not {value!r}")
    return int(value)


def _protocol(value: Any) -> int:
    if value not in (None, 2, 3, "2", "3"):
        raise ValueError(f"protocol must be 2 or 3, not {value}")
    return int(value or 2)
