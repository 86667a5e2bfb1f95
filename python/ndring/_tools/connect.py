"""The options that all commands share, and the client that they describe."""
from __future__ import annotations

import argparse
import math
import os
from typing import Any, Dict, Mapping, Optional
from urllib.parse import parse_qs, urlsplit

from .. import NumPyRedis
from .output import Output, UsageError, reason
from .text import unescape_key

DEFAULT_URL = "redis://localhost:7379"
#: Options for TLS, as redis-cli has them: the client's option, and what it means.
_TLS_FILES = {
    "cacert": ("ssl_ca_certs", "with rediss://: the CA to trust, in place of the system's"),
    "cert": ("ssl_certfile", "with rediss://: the certificate of this client"),
    "key": ("ssl_keyfile", "with rediss://: the private key of --cert"),
}
_RETRY = 3.0  # s, enough for a failover, and short for a user who waits


def add_common(parser: argparse.ArgumentParser) -> None:
    # Without defaults, so that an option before the command is not reset by the command's parser.
    hidden: Any = argparse.SUPPRESS
    nodes = f"any node: redis://[user:password@]host:port, or rediss:// for TLS (default: NDRING_URL, else {DEFAULT_URL})"
    parser.add_argument("--url", default=hidden, help=nodes)
    for name, (_, text) in _TLS_FILES.items():
        parser.add_argument(f"--{name}", metavar="FILE", dest=f"tls_{name}", default=hidden, help=f"{text} (default: {_variable(name)})")
    parser.add_argument("--timeout", metavar="SECONDS", type=positive_number, default=hidden, help="how long a node may be silent or unreachable")


def add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="KEY")
    parser.add_argument("-e", "--escaped", action="store_true", help=r"KEY is written as by ls: \n, \xff and \\ stand for one byte each")


def key_of(options: argparse.Namespace) -> bytes:
    """Returns the key that the user means. Raises UsageError."""
    key = os.fsencode(options.key)
    try:
        key = unescape_key(key) if options.escaped else key
    except ValueError as exc:
        raise UsageError(f"--escaped: {exc}") from exc
    if not key:
        raise UsageError("KEY is empty")
    return key


def no_such_key(out: Output, key: bytes) -> str:
    return f"no such key: {out.key(key)}"


def positive_number(text: str) -> float:
    number = float(text)
    if not (number > 0 and math.isfinite(number)):
        raise argparse.ArgumentTypeError(f"must be positive, not {text}")
    return number


def positive_int(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"must be positive, not {text}")
    return number


def url_of(options: argparse.Namespace) -> str:
    return getattr(options, "url", None) or os.environ.get("NDRING_URL") or DEFAULT_URL


def connect(options: argparse.Namespace, retry: float = _RETRY, **changed: Any) -> NumPyRedis:
    """Returns a client, which has not connected yet. ``retry``: its ``retry_for`` unless the user
    decides. ``changed``: options that the command itself needs. Raises UsageError for an invalid URL."""
    url = url_of(options)
    timeout: Optional[float] = getattr(options, "timeout", None)
    arguments: Dict[str, Any] = {"on_error": "raise"}  # an outage must not look like a missing key
    try:
        parts = urlsplit(url)
        if timeout is not None:
            arguments.update(socket_timeout=timeout, socket_connect_timeout=timeout, retry_for=timeout)
        elif "retry_for" not in parse_qs(parts.query):
            arguments["retry_for"] = retry
        if os.environ.get("NDRING_PASSWORD") and parts.password is None and "password" not in parse_qs(parts.query):
            arguments["password"] = os.environ["NDRING_PASSWORD"]
        arguments.update(_tls_files(options, parts.scheme == "rediss", parse_qs(parts.query)))
        return NumPyRedis.from_url(url, **{**arguments, **changed})
    except (ValueError, TypeError) as exc:
        raise UsageError(f"invalid URL: {reason(exc)}") from exc


def _tls_files(options: argparse.Namespace, tls: bool, in_url: Mapping[str, Any]) -> Dict[str, str]:
    """Returns the client's options for TLS. Those of the environment are for every URL with TLS that has none of its own."""
    found: Dict[str, str] = {}
    for name, (option, _) in _TLS_FILES.items():
        given = getattr(options, f"tls_{name}", None)
        if given is not None and not tls:
            raise UsageError(f"--{name} needs TLS: a URL with rediss://")
        path = given or (None if option in in_url else os.environ.get(_variable(name)))
        if tls and path:
            found[option] = path
    return found


def _variable(name: str) -> str:
    """Returns the variable that has the default of an option for TLS, which ndctl reads too."""
    return "NDRING_TLS_CA" if name == "cacert" else f"NDRING_TLS_{name.upper()}"
