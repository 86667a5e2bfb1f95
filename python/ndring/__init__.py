"""ndring: NumPy arrays shared between processes and machines. What you store is exactly what you
get back.

::

    from ndring import NumPyRedis

    client = NumPyRedis()
    client.set("k", array, ex=60)
    array = client.get("k")
"""
from . import _platform  # noqa: F401  # first, since it checks what the others need
from ._client import NumPyRedis
from ._core.commands import Meta
from ._core.degraded import Unanswered
from ._core.near_cache import NearCacheStats
from ._exceptions import (
    AuthenticationError,
    BoundsError,
    BusyError,
    ClusterDownError,
    ConnectionError,
    CorruptError,
    CrossSlotError,
    DecodeError,
    DiskError,
    EncodeError,
    InvalidArrayError,
    MovedError,
    NdringError,
    NodeDownError,
    NoPermissionError,
    NoReplicasError,
    OutOfMemoryError,
    PartialError,
    ServerError,
    TimeoutError,
    TooLargeError,
    UncertainWrite,
)
from ._pipeline import Pipeline
from ._views import ArrayView
from ._version import __version__ as __version__  # noqa: F401

__all__ = [
    "ArrayView",
    "AuthenticationError",
    "BoundsError",
    "BusyError",
    "ClusterDownError",
    "ConnectionError",
    "CorruptError",
    "CrossSlotError",
    "DecodeError",
    "DiskError",
    "EncodeError",
    "InvalidArrayError",
    "Meta",
    "MovedError",
    "NdringError",
    "NearCacheStats",
    "NoPermissionError",
    "NoReplicasError",
    "NodeDownError",
    "NumPyRedis",
    "OutOfMemoryError",
    "PartialError",
    "Pipeline",
    "ServerError",
    "TimeoutError",
    "TooLargeError",
    "Unanswered",
    "UncertainWrite",
]
