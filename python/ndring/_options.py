"""Keys and options of calls, checked before anything is sent."""
from __future__ import annotations

import codecs
import datetime
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, TypeVar, Union

import numpy as np
import redis
from redis.connection import parse_url

from ._exceptions import EncodeError
from ._seeds import split_url

Key = Union[str, bytes, int, float, "np.integer[Any]"]
K = TypeVar("K", bound=Key)
#: What can be stored: an array or a scalar of numpy's.
Value = Union["np.ndarray[Any, Any]", np.generic]
Seconds = Union[int, datetime.timedelta]
Moment = Union[int, datetime.datetime]

_CONCERNS = ("ONE", "SYNC", "ALL")


def encode_key(key: Key, what: str = "a key") -> bytes:
    """Returns a key as bytes: the same ones on every version of Python, numpy and redis-py.

    Text goes as UTF-8, bytes as they are, a whole number as its digits, a float as ``repr(float(key))``; a member of an enum of
    these types as its value. ``what`` stands in errors. Raises EncodeError for what is no key.
    """
    try:
        # The types' own methods, since subclasses such as np.float64 and IntEnum have others from version to version.
        if isinstance(key, str):
            encoded = str.encode(key)
        elif isinstance(key, (bytes, bytearray, memoryview)):
            encoded = bytes(key)
        elif isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            encoded = b"%d" % key
        elif isinstance(key, float):
            encoded = float.__repr__(key).encode()
        else:
            several = "; give several keys one by one, as in delete(*keys)" if isinstance(key, (list, tuple, set, frozenset, dict)) else ""
            raise EncodeError(f"{what} is str, bytes, int or float, not {type(key).__name__}{several}")
    except ValueError as exc:  # a lone surrogate; more digits than Python prints
        raise EncodeError(f"{what} cannot be encoded: {exc}") from exc
    if not encoded:
        raise EncodeError(f"{what} must not be empty")
    return encoded


def key_list(keys: Iterable[K]) -> List[K]:
    """Returns several keys as a list. Raises EncodeError for one key, each character of which would be taken for a key."""
    if isinstance(keys, (str, bytes, bytearray, memoryview)):
        raise EncodeError(f"several keys are expected, not one {type(keys).__name__}: give [key], or call get(key)")
    return list(keys)


def whole(value: Any, unit: int, name: str) -> int:
    """Returns a number of units, of which there are so many in a second. A timedelta is rounded up to whole units."""
    if isinstance(value, datetime.timedelta):
        microseconds = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
        return -(-microseconds * unit // 1_000_000)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is an int or a timedelta, not {type(value).__name__}")
    return int(value.__index__())


def moment(value: Any, unit: int, name: str) -> int:
    """Returns a Unix time in units, of which there are so many in a second. A datetime is rounded up to whole units."""
    if isinstance(value, datetime.datetime):
        # Whole seconds and the rest apart, since a float of both would lose bits.
        return int(value.replace(microsecond=0).timestamp()) * unit + -(-value.microsecond * unit // 1_000_000)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is an int or a datetime, not {type(value).__name__}")
    return int(value.__index__())


def set_options(
    ex: Optional[Seconds],
    px: Optional[Seconds],
    exat: Optional[Moment],
    pxat: Optional[Moment],
    keepttl: bool,
    nx: bool,
    xx: bool,
    if_version: Optional[str],
    write_concern: Optional[str],
) -> List[bytes]:
    """Returns the words of NP.SET's options. Raises ValueError for options that exclude each other."""
    if sum(x is not None for x in (ex, px, exat, pxat)) + bool(keepttl) > 1:
        raise ValueError("only one of ex, px, exat, pxat and keepttl may be given")
    if bool(nx) + bool(xx) + (if_version is not None) > 1:
        raise ValueError("only one of nx, xx and if_version may be given")
    words: List[bytes] = []
    for name, value, amount in (
        ("ex", ex, None if ex is None else whole(ex, 1, "ex")),
        ("px", px, None if px is None else whole(px, 1000, "px")),
        ("exat", exat, None if exat is None else moment(exat, 1, "exat")),
        ("pxat", pxat, None if pxat is None else moment(pxat, 1000, "pxat")),
    ):
        if amount is None:
            continue
        if amount <= 0:
            raise ValueError(f"{name} must be positive, not {value!r}")
        words += (name.upper().encode(), b"%d" % amount)
    if keepttl:
        words.append(b"KEEPTTL")
    if nx:
        words.append(b"NX")
    if xx:
        words.append(b"XX")
    if if_version is not None:
        words += (b"IFVERSION", str(if_version).encode())
    if write_concern is not None:
        if str(write_concern).upper() not in _CONCERNS:
            raise ValueError(f"write_concern must be one of {_CONCERNS}, not {write_concern!r}")
        words += (b"WC", str(write_concern).upper().encode())
    return words


# What redis-py leaves as text.
_URL_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "retry_for": float,
    "deadline": float,
    "max_array_bytes": int,
    "timeout": float,
    "protocol": int,
    "socket_read_size": int,
    "socket_type": int,
    "encoding": lambda name: codecs.lookup(name).name,
}
# Objects, which no text can be.
_NOT_IN_URLS = (
    "command_packer", "connection_class", "credential_provider", "event_dispatcher", "parser_class", "redis_connect_func", "retry",
    "socket_keepalive_options", "ssl_ocsp_context", "startup_nodes",
)  # fmt: skip


def url_options(url: str) -> Dict[str, Any]:
    """Returns the options that a URL holds. Raises ValueError for one that makes no sense."""
    url, hosts = split_url(url)
    options: Dict[str, Any] = dict(parse_url(url))
    for name in _NOT_IN_URLS:
        if isinstance(options.get(name), str):
            raise ValueError(f"{name} cannot be given in a URL")
    for name, kind in _URL_OPTIONS.items():
        if name in options:
            try:
                options[name] = kind(options[name])
            except (ValueError, LookupError):
                raise ValueError(f"invalid value for {name} in the URL: {options[name]!r}") from None
    options.pop("timeout", None)  # how long to wait for one of max_connections; retry_for says that too
    connection: Any = options.pop("connection_class", None)
    if connection is not None and issubclass(connection, redis.SSLConnection):
        options["ssl"] = True
    if hosts:
        options.update(host=hosts)
        options.pop("port", None)  # the first one's own
    return options
