"""Checks the keys and options of calls before anything is sent."""
from __future__ import annotations

import codecs
import datetime
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Protocol, Tuple, TypeVar, Union

import numpy as np
import redis
from redis.connection import parse_url

from .._exceptions import EncodeError
from .seeds import split_url

Key = Union[str, bytes, int, float, "np.integer[Any]"]
K = TypeVar("K", bound=Key)
#: What can be stored: a NumPy array or scalar, and dicts, tuples and lists of them. A list's type has
#: to be exact, so the most frequent one is listed.
Value = Union[
    "np.ndarray[Any, Any]", np.generic, Mapping[str, "Value"], Tuple["Value", ...], List["np.ndarray[Any, Any]"], List["Value"], "Convertible"
]  # fmt: skip


class _OffersArray(Protocol):
    def __array__(self) -> Any: ...


class _OffersDLPack(Protocol):
    def __dlpack__(self) -> Any: ...
    def __dlpack_device__(self) -> Any: ...


#: What ``convert=True`` accepts too, as an array and within collections.
Convertible = Union[_OffersArray, _OffersDLPack]
Seconds = Union[int, datetime.timedelta]
UnixTime = Union[int, datetime.datetime]

_CONCERNS = ("ONE", "SYNC", "ALL")


def encode_key(key: Key, what: str = "a key") -> bytes:
    """Returns a key as bytes, the same bytes on every version of Python, numpy and redis-py.

    str is encoded as UTF-8, bytes are unchanged, an integer becomes its digits, a float
    ``repr(float(key))``, a member of an enum of these types its value. ``what``: names the key in
    errors. Raises EncodeError for anything else.
    """
    try:
        # Call the base types' own methods, because subclasses such as np.float64 and IntEnum differ
        # between versions.
        if isinstance(key, str):
            encoded = str.encode(key)
        elif isinstance(key, (bytes, bytearray, memoryview)):
            encoded = bytes(key)
        elif isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            encoded = b"%d" % key
        elif isinstance(key, float):
            encoded = float.__repr__(key).encode()
        else:
            several = "; pass several keys one by one, as in delete(*keys)" if isinstance(key, (list, tuple, set, frozenset, dict)) else ""
            raise EncodeError(f"{what} must be str, bytes, int or float, not {type(key).__name__}{several}")
    except ValueError as exc:  # a lone surrogate, or more digits than Python prints
        raise EncodeError(f"{what} cannot be encoded: {exc}") from exc
    if not encoded:
        raise EncodeError(f"{what} must not be empty")
    return encoded


def key_list(keys: Iterable[K]) -> List[K]:
    """Returns several keys as a list. Raises EncodeError for a single key, whose characters would
    otherwise become the keys."""
    if isinstance(keys, (str, bytes, bytearray, memoryview)):
        raise EncodeError(f"expected several keys, not one {type(keys).__name__}: pass [key], or call get(key)")
    return list(keys)


_MAX_INDICES = 1 << 16


def checked_indices(indices: Any) -> Tuple[List[int], Tuple[int, ...]]:
    """Returns the indices in C order, and their shape. Raises IndexError or ValueError."""
    array = np.asarray(indices)
    if array.size == 0 and array.dtype.kind == "f":  # np.asarray([]), which numpy accepts too
        array = array.astype(np.intp)
    if array.dtype.kind not in "iu":
        raise IndexError(f"indices must be integers, not {array.dtype}" + ("; pass np.flatnonzero(mask)" if array.dtype.kind == "b" else ""))
    if array.size > _MAX_INDICES:
        raise ValueError(f"{array.size} indices, the limit is {_MAX_INDICES}")
    return array.ravel().tolist(), array.shape


def duration(value: Any, unit: int, name: str) -> int:
    """Returns a duration in units of 1/``unit`` seconds. Rounds a timedelta up."""
    if isinstance(value, datetime.timedelta):
        microseconds = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
        return -(-microseconds * unit // 1_000_000)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int or a timedelta, not {type(value).__name__}")
    return int(value.__index__())


def unix_time(value: Any, unit: int, name: str) -> int:
    """Returns a Unix time in units of 1/``unit`` seconds. Rounds a datetime up."""
    if isinstance(value, datetime.datetime):
        # Seconds and microseconds separately, because a float of both would lose bits.
        return int(value.replace(microsecond=0).timestamp()) * unit + -(-value.microsecond * unit // 1_000_000)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int or a datetime, not {type(value).__name__}")
    return int(value.__index__())


def set_options(
    ex: Optional[Seconds],
    px: Optional[Seconds],
    exat: Optional[UnixTime],
    pxat: Optional[UnixTime],
    keepttl: bool,
    nx: bool,
    xx: bool,
    if_version: Optional[str],
    write_concern: Optional[str],
) -> List[bytes]:
    """Returns the arguments of NP.SET's options. Raises ValueError for options that exclude each other."""
    if sum(x is not None for x in (ex, px, exat, pxat)) + bool(keepttl) > 1:
        raise ValueError("pass only one of ex, px, exat, pxat and keepttl")
    if bool(nx) + bool(xx) + (if_version is not None) > 1:
        raise ValueError("pass only one of nx, xx and if_version")
    words: List[bytes] = []
    for name, value, amount in (
        ("ex", ex, None if ex is None else duration(ex, 1, "ex")),
        ("px", px, None if px is None else duration(px, 1000, "px")),
        ("exat", exat, None if exat is None else unix_time(exat, 1, "exat")),
        ("pxat", pxat, None if pxat is None else unix_time(pxat, 1000, "pxat")),
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
    concern = parse_concern(write_concern)
    if concern is not None:
        words += (b"WC", concern.encode())
    return words


def parse_concern(value: Any) -> Optional[str]:
    """Returns a write concern in upper case, None for the node's default. Raises TypeError or ValueError."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"write_concern must be 'one', 'sync', 'all' or None, not {value!r}")
    if value.upper() not in _CONCERNS:
        raise ValueError(f"write_concern must be 'one', 'sync', 'all' or None, not {value!r}")
    return value.upper()


def flag(name: str, value: Any) -> bool:
    """Returns an option that is True or False. Raises TypeError."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def _flag_in_url(text: str) -> bool:
    return {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}[text.lower()]


# Options that redis-py leaves as text.
_URL_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "retry_for": float,
    "deadline": float,
    "max_array_bytes": int,
    "near_cache_bound": float,
    "timeout": float,
    "protocol": int,
    "read_from_replicas": _flag_in_url,
    "socket_read_size": int,
    "socket_type": int,
    "ssl": _flag_in_url,
    "encoding": lambda name: codecs.lookup(name).name,
}
# Objects, which have no text form.
_NOT_IN_URLS = (
    "near_cache_prefixes",
    "command_packer", "connection_class", "credential_provider", "event_dispatcher", "parser_class", "redis_connect_func", "retry",
    "socket_keepalive_options", "ssl_context", "ssl_ocsp_context", "startup_nodes",
)  # fmt: skip


def url_options(url: str) -> Dict[str, Any]:
    """Returns the options in a URL. Raises ValueError for invalid ones."""
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
    options.pop("timeout", None)  # redis-py's wait for a free connection; retry_for covers it
    connection: Any = options.pop("connection_class", None)
    if connection is not None and issubclass(connection, redis.SSLConnection):
        options["ssl"] = True
    if hosts:
        options.update(host=hosts)
        options.pop("port", None)  # of the first host, which is already in hosts
    return options
