"""The exceptions of ndring.

::

    redis.RedisError
     +-- NdringError
          +-- EncodeError       (also TypeError)              the value or key cannot be stored
          +-- DecodeError       (also ValueError)             the reply or the stored value cannot be read
          +-- CorruptError                                    the bytes do not match their CRC32C
          +-- ConnectionError   (also redis.ConnectionError)  the connection failed or was lost
          +-- TimeoutError      (also redis.TimeoutError)     the node was silent for too long
          +-- UncertainWrite                                  the outcome is unknown: the write may have been done
          +-- PartialError                                    some of several keys failed
          +-- ServerError       (also redis.ResponseError)    the node replied with an error
               +-- InvalidArrayError    BADNPY
               +-- TooLargeError        TOOLARGE
               +-- BusyError            BUSY LOADING TRYAGAIN  the client retries it for a while
               +-- OutOfMemoryError     OOM
               +-- DiskError            DISKFULL MISCONF
               +-- AuthenticationError  NOAUTH WRONGPASS
               |    +-- NoPermissionError  NOPERM              (also redis.exceptions.NoPermissionError) the user may not do this
               +-- BoundsError          BOUNDS                 (also IndexError) an index beyond the stored array
               +-- CrossSlotError       CROSSSLOT
               +-- ClusterDownError     CLUSTERDOWN MASTERDOWN READONLY  the client retries it for a while
               |    +-- NodeDownError   (also ConnectionError)  the key's node is down, and calls do not wait for it
               +-- MovedError           MOVED ASK              the client follows it, so it is rarely raised
               +-- NoReplicasError      NOREPLICAS             too few copies; the client retries it for up to 3 s
"""
from __future__ import annotations

import copy
from typing import Any, Dict, Mapping, Type, TypeVar

import redis


class NdringError(redis.RedisError):
    """The base class of all exceptions that ndring raises itself."""

    #: Whether it is the node's reply to the command.
    is_reply = False
    #: Whether the node cannot be reached, as opposed to one lost connection.
    unreachable = False
    #: Whether retrying cannot succeed.
    hopeless = False


class EncodeError(NdringError, TypeError):
    """Raised when a value would not come back unchanged. The message suggests what to store instead."""


class DecodeError(NdringError, ValueError):
    """Raised when a reply or a stored value cannot be read. Nothing of it is returned."""


class CorruptError(NdringError):
    """Raised when bytes do not match their CRC32C, in the node's memory or after the transfer."""


class ConnectionError(NdringError, redis.ConnectionError):
    """Raised when no connection could be made, or it was lost, and retrying for ``retry_for``
    seconds did not help."""


class TimeoutError(NdringError, redis.TimeoutError):
    """Raised when a node neither replied nor accepted data within ``socket_timeout``, or the
    ``deadline`` passed."""


class UncertainWrite(NdringError):
    """Raised when it is unknown whether a write was done: its reply was lost, or the node does not
    know the outcome itself, and repeating the write was not possible or did not help."""


class PartialError(NdringError):
    """Raised when a call for several keys failed for some of them.

    ``errors``: key -> exception. ``results``: key -> result, for the keys that succeeded.
    """

    def __init__(self, errors: Mapping[Any, Exception], results: Mapping[Any, Any]) -> None:
        self.errors: Dict[Any, Exception] = dict(errors)
        self.results: Dict[Any, Any] = dict(results)
        key, first = next(iter(self.errors.items()))
        super().__init__(f"{len(self.errors)} of {len(self.errors) + len(self.results)} keys failed; {key!r}: {first}")

    def __reduce__(self) -> Any:
        return type(self), (self.errors, self.results)


class ServerError(NdringError, redis.ResponseError):
    """Raised when the node replied with an error; nothing was changed. ``prefix``: its first word."""

    @property
    def prefix(self) -> str:
        return str(self).partition(" ")[0]


class InvalidArrayError(ServerError):
    """Raised when the node rejects the bytes as an invalid .npy file."""


class TooLargeError(ServerError):
    """Raised when an array, its attrs or its key exceeds the node's limit."""


class BusyError(ServerError):
    """Raised when the node is too busy for the command, and retrying for ``retry_for`` seconds did
    not help."""


class OutOfMemoryError(ServerError):
    """Raised when the node's memory is full."""


class DiskError(ServerError):
    """Raised when the node cannot write to its disk. Nothing was changed, and reads still work."""


class AuthenticationError(ServerError):
    """Raised when the user name or the password is missing or wrong, or the user lacks a permission."""


class NoPermissionError(AuthenticationError, redis.exceptions.NoPermissionError):
    """Raised when the user may not execute the command, or not on this key. Nothing was changed."""


class CrossSlotError(ServerError):
    """Raised when the keys of one command belong to different slots."""


class BoundsError(ServerError, IndexError):
    """Raised when an index is beyond the axis of the stored array, or the array has fewer axes."""


class ClusterDownError(ServerError):
    """Raised when no node serves the key, or only one that takes no writes, and retrying for
    ``retry_for`` seconds did not help."""


class NodeDownError(ClusterDownError, ConnectionError):
    """Raised when the node that serves the key has not answered for ``retry_for`` seconds. The
    client keeps probing the node, and until it answers calls for its keys raise this at once. A
    write that was already sent may have been done."""


class MovedError(ServerError):
    """Raised when another node serves the key and the client cannot follow the redirect: the nodes
    point at each other, or the client uses a Unix socket. The message names that node."""


class NoReplicasError(ServerError):
    """Raised when too few copies were available for the write concern, and retrying for
    ``retry_for`` seconds, 3 s at most, did not help. Nothing was changed."""


E = TypeVar("E", bound=NdringError)


def without_traceback(error: E) -> E:
    """Returns a copy without traceback and causes, whose frames would keep the call's arguments
    alive, including arrays."""
    return copy.copy(error)


_BY_PREFIX: Dict[str, Type[NdringError]] = {
    "BADNPY": InvalidArrayError,
    "BOUNDS": BoundsError,
    "TOOLARGE": TooLargeError,
    "BUSY": BusyError,
    "LOADING": BusyError,
    "TRYAGAIN": BusyError,
    "OOM": OutOfMemoryError,
    "DISKFULL": DiskError,
    "MISCONF": DiskError,
    "NOAUTH": AuthenticationError,
    "WRONGPASS": AuthenticationError,
    "NOPERM": NoPermissionError,
    "CROSSSLOT": CrossSlotError,
    "CLUSTERDOWN": ClusterDownError,
    "MASTERDOWN": ClusterDownError,
    "READONLY": ClusterDownError,
    "MOVED": MovedError,
    "ASK": MovedError,
    "NOREPLICAS": NoReplicasError,
    "UNCERTAIN": UncertainWrite,
    "CORRUPT": CorruptError,
}


# A node without room for another client. It says so at the connection's first command or later, and has executed nothing.
_NO_ROOM = ("ERR max number of clients reached", "ERR too many new connections")


def error_reply(text: str) -> NdringError:
    """Returns the exception for an error reply, chosen by its first word."""
    kind = _BY_PREFIX.get(text.partition(" ")[0], ServerError)
    if text.startswith(_NO_ROOM):
        kind = BusyError
    error = kind(text)
    error.is_reply = True
    return error
