"""Adds to an error what it means for the caller, where the node's own text does not tell. Pure."""
from __future__ import annotations

from typing import Sequence

from .._exceptions import AuthenticationError, ConnectionError, NdringError, ServerError, TimeoutError, TooLargeError
from .resp import Buffer
from .slots import Address

_LARGE = 1 << 20  # bytes


def with_hint(error: NdringError, buffers: Sequence[Buffer], address: Address) -> NdringError:
    """Returns the error for the command in ``buffers``, with a hint if there is one."""
    if isinstance(error, (ConnectionError, TimeoutError)) and not error.is_reply:
        where = str(address) if address.host else "the node"
        if where not in str(error):
            error.args = (f"{where}: {error}",)
        return error
    if type(error) is not ServerError:
        return error
    text = str(error)
    result: NdringError
    if text.lower().startswith("err unknown command") and "np." in text.lower():
        result = ServerError(f"{text} ({address} speaks the Redis protocol but is not ndring: is it a Redis server, or the wrong port?)")
    elif is_tls_port(text):
        result = tls_port_error(f"{address}: {text}")
    elif "unauthenticated" in text:
        result = AuthenticationError(f"NOAUTH {text} Pass a password: NumPyRedis(..., password=...)")
    elif "bulk length" in text and sum(map(len, buffers)) >= _LARGE:
        result = TooLargeError(
            f"TOOLARGE {address} rejects an array of {max(map(len, buffers))} bytes; its limit is --max-array-bytes ({text})"
        )
    else:
        return error
    result.is_reply = error.is_reply
    result.__cause__ = error
    return result


def is_tls_port(text: str) -> bool:
    """Whether an error reply says that the port speaks TLS."""
    return text.startswith("ERR ") and "speaks TLS" in text


def tls_port_error(text: str) -> ConnectionError:
    error = ConnectionError(f"the port speaks TLS: use from_url('rediss://...') or ssl=True ({text})")
    error.hopeless = True
    return error
