"""The exceptions of ndring.

::

    redis.RedisError
     +-- NdringError
          +-- EncodeError       (also TypeError)              the value or key cannot be stored
          +-- DecodeError       (also ValueError)             what came back cannot be read
          +-- CorruptError                                    bytes differ from their CRC32C
          +-- ConnectionError   (also redis.ConnectionError)  no connection, or it was lost
          +-- TimeoutError      (also redis.TimeoutError)     the node was silent for too long
          +-- UncertainWrite                                  lost after it was sent: it may have been done
          +-- PartialError                                    some keys of several failed
          +-- ServerError       (also redis.ResponseError)    the node answered with an error
               +-- InvalidArrayError    BADNPY
               +-- TooLargeError        TOOLARGE
               +-- BusyError            BUSY LOADING TRYAGAIN  is tried again by itself for a while
               +-- OutOfMemoryError     OOM
               +-- DiskError            DISKFULL MISCONF
               +-- AuthenticationError  NOAUTH WRONGPASS NOPERM
               +-- CrossSlotError       CROSSSLOT
               +-- ClusterDownError     CLUSTERDOWN MASTERDOWN is tried again, too
               |    +-- NodeDownError   (also ConnectionError)  the client found the key's node down, and does not wait for it
               +-- MovedError           MOVED ASK              is followed, so that few see it
               +-- NoReplicasError      NOREPLICAS
"""
from __future__ import annotations

import copy
from typing import Any, Dict, Mapping, Type, TypeVar

import redis


class NdringError(redis.RedisError):
    """The base of everything that ndring raises on its own account."""

    #: Whether it is the node's answer to the command.
    is_reply = False
    #: Whether it says that the node cannot be reached, rather than that one connection was lost.
    unreachable = False
    #: Whether another try cannot succeed.
    hopeless = False


class EncodeError(NdringError, TypeError):
    """Is raised when a value cannot be stored so that exactly it comes back; the message names the way out."""


class DecodeError(NdringError, ValueError):
    """Is raised when what came back cannot be read; nothing was handed out."""


class CorruptError(NdringError):
    """Is raised when bytes differ from their CRC32C, in the node's memory or after the way through the network."""


class ConnectionError(NdringError, redis.ConnectionError):
    """Is raised when no connection could be made, or it was lost, for as long as the client goes on trying."""


class TimeoutError(NdringError, redis.TimeoutError):
    """Is raised when a node did not answer, or take what was sent, within ``socket_timeout``."""


class UncertainWrite(NdringError):
    """Is raised when a write was sent, its answer was lost, and to send it again could do it twice: it is not known whether it was done."""


class PartialError(NdringError):
    """Is raised when a call for several keys failed for some of them.

    ``errors``: key -> exception. ``results``: key -> result of the keys that did not fail.
    """

    def __init__(self, errors: Mapping[Any, Exception], results: Mapping[Any, Any]) -> None:
        self.errors: Dict[Any, Exception] = dict(errors)
        self.results: Dict[Any, Any] = dict(results)
        key, first = next(iter(self.errors.items()))
        super().__init__(f"{len(self.errors)} of {len(self.errors) + len(self.results)} keys failed; {key!r}: {first}")

    def __reduce__(self) -> Any:
        return type(self), (self.errors, self.results)


class ServerError(NdringError, redis.ResponseError):
    """Is raised when the node answered with an error; nothing was changed. ``prefix`` is its first word."""

    @property
    def prefix(self) -> str:
        return str(self).partition(" ")[0]


class InvalidArrayError(ServerError):
    """Is raised when the node takes what was sent for no valid .npy file."""


class TooLargeError(ServerError):
    """Is raised when an array, its attrs or a key is above the node's limit."""


class BusyError(ServerError):
    """Is raised when the node could not take the command now, for as long as the client goes on trying."""


class OutOfMemoryError(ServerError):
    """Is raised when the node's memory is full."""


class DiskError(ServerError):
    """Is raised when the node cannot keep the write on its disk; nothing was changed, and reads go on."""


class AuthenticationError(ServerError):
    """Is raised when the node wants another password, or the user may not do this."""


class CrossSlotError(ServerError):
    """Is raised when the keys of one command are of different slots."""


class ClusterDownError(ServerError):
    """Is raised when no node serves the key, for as long as the client goes on trying."""


class NodeDownError(ClusterDownError, ConnectionError):
    """Is raised when the node that serves the key has not answered for ``retry_for``. The client goes on looking for it, and until it is
    back calls for its keys raise this at once. A write that was sent before may have been done."""


class MovedError(ServerError):
    """Is raised when another node serves the key, which the message names, and it could not be followed there: nodes point at each other, or
    the client knows no way to others."""


class NoReplicasError(ServerError):
    """Is raised when too few copies were there for the write concern; nothing was changed."""


E = TypeVar("E", bound=NdringError)


def to_keep(error: E) -> E:
    """Returns an error that says the same, without the traceback and the causes: their frames hold what the call was given, arrays too."""
    return copy.copy(error)


_BY_PREFIX: Dict[str, Type[NdringError]] = {
    "BADNPY": InvalidArrayError,
    "TOOLARGE": TooLargeError,
    "BUSY": BusyError,
    "LOADING": BusyError,
    "TRYAGAIN": BusyError,
    "OOM": OutOfMemoryError,
    "DISKFULL": DiskError,
    "MISCONF": DiskError,
    "NOAUTH": AuthenticationError,
    "WRONGPASS": AuthenticationError,
    "NOPERM": AuthenticationError,
    "CROSSSLOT": CrossSlotError,
    "CLUSTERDOWN": ClusterDownError,
    "MASTERDOWN": ClusterDownError,
    "MOVED": MovedError,
    "ASK": MovedError,
    "NOREPLICAS": NoReplicasError,
    "UNCERTAIN": UncertainWrite,
    "CORRUPT": CorruptError,
}


def error_reply(text: str) -> NdringError:
    """Returns the exception for an error reply, by its first word."""
    error = _BY_PREFIX.get(text.partition(" ")[0], ServerError)(text)
    error.is_reply = True
    return error
