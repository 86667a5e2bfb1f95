"""The exceptions of ndring.

::

    redis.RedisError
     +-- NdringError
          +-- EncodeError   (also TypeError)    the value cannot be stored
          +-- DecodeError   (also ValueError)   what came back cannot be read
"""
from redis import RedisError


class NdringError(RedisError):
    """The base of everything that ndring raises on its own account."""


class EncodeError(NdringError, TypeError):
    """Is raised when a value cannot be stored so that exactly it comes back; the message names the way out."""


class DecodeError(NdringError, ValueError):
    """Is raised when what came back cannot be read; nothing was handed out."""
