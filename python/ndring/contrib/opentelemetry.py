"""Spans of OpenTelemetry for the calls of a client. ::

    from ndring.contrib.opentelemetry import instrument

    client = instrument(NumPyRedis("cache-a"))

Each call is a span of kind CLIENT, named after the command that it sends. Attributes:

- ``db.system.name``, and ``db.system`` for older backends: ``ndring``
- ``db.operation.name``: the span's name, such as ``NP.GET``, ``MSET`` or ``PIPELINE``
- ``db.operation.batch.size``: the number of commands in a pipeline
- ``ndring.keys``: how many keys the call concerns
- ``ndring.bytes.sent``, ``ndring.bytes.received``: bytes of the arrays, without headers and masks
- ``error.type``: the class of the exception, which is recorded as an event too

Keys and data are not recorded. ``get_or_set`` and ``delete_prefix``, which consist of several
commands, are one span of kind INTERNAL.
"""
from __future__ import annotations

import contextlib
import functools
import inspect
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sized, Tuple

import numpy as np
from opentelemetry import trace

from .. import ArrayView, NumPyRedis, Pipeline
from .._version import __version__

__all__ = ["TracedNumPyRedis", "instrument"]


def instrument(client: NumPyRedis, tracer_provider: Optional[Any] = None) -> "TracedNumPyRedis":
    """Returns a client on the same connections whose calls make spans. ``tracer_provider``: by default
    the program's (``trace.set_tracer_provider``). What ``with_options`` returns makes spans too, and
    so does a pickled client, with the provider of the process that receives it."""
    if type(client) not in (NumPyRedis, TracedNumPyRedis):
        raise TypeError(f"instrument takes a NumPyRedis, not {type(client).__name__}")
    traced = object.__new__(TracedNumPyRedis)
    traced.__dict__.update(client.__dict__)
    traced._tracer = trace.get_tracer("ndring", __version__, tracer_provider)
    return traced


class _Spans:
    """The spans of one client."""

    _tracer: Any = None

    def _start(self, operation: str, **attributes: Any) -> Dict[str, Any]:
        """Returns the first attributes of a span."""
        if self._tracer is None:  # of a client that was pickled
            self._tracer = trace.get_tracer("ndring", __version__)
        return {"db.system": "ndring", "db.system.name": "ndring", "db.operation.name": operation, **attributes}

    @contextlib.contextmanager
    def _span(self, operation: str, kind: Any = trace.SpanKind.CLIENT, **attributes: Any) -> Iterator[Any]:
        described = self._start(operation, **attributes)
        with self._tracer.start_as_current_span(operation, kind=kind, attributes=described) as span:
            try:
                yield span
            except Exception as exc:
                span.set_attribute("error.type", type(exc).__qualname__)
                raise


class TracedNumPyRedis(_Spans, NumPyRedis):
    """A NumPyRedis whose calls make spans; see ``instrument``."""

    def pipeline(self, transaction: bool = False) -> Pipeline:
        """See ``NumPyRedis.pipeline``. ``execute`` makes one span."""
        pipeline = _TracedPipeline.__new__(_TracedPipeline)
        pipeline.__dict__.update(super().pipeline(transaction).__dict__)
        pipeline._tracer, pipeline._operation = self._tracer, "MULTI" if transaction else "PIPELINE"
        return pipeline

    def view(self, key: Any) -> ArrayView:
        """See ``NumPyRedis.view``. Each access makes a span."""
        super().view(key)  # checks the key
        return _TracedView(self, key)

    def scan_iter(self, match: Any = None, count: int = 1000) -> Iterator[bytes]:
        """See ``NumPyRedis.scan_iter``. One span lasts until the iteration ends; it is not the current
        one while the caller uses a key."""
        return self._scan(super().scan_iter(match, count))

    def _scan(self, found: Iterator[bytes]) -> Iterator[bytes]:
        described = self._start("SCAN")
        span, keys = self._tracer.start_span("SCAN", kind=trace.SpanKind.CLIENT, attributes=described), 0
        try:
            for key in found:
                keys += 1
                yield key
        except Exception as exc:
            span.record_exception(exc)
            span.set_attribute("error.type", type(exc).__qualname__)
            span.set_status(trace.Status(trace.StatusCode.ERROR, f"{type(exc).__name__}: {exc}"))
            raise
        finally:
            span.set_attribute("ndring.keys", keys)
            span.end()


class _TracedPipeline(_Spans, Pipeline):
    _operation: str

    def execute(self, raise_on_error: bool = True) -> List[Any]:
        """See ``Pipeline.execute``."""
        if not len(self):
            return super().execute(raise_on_error)
        keys = len({key for call in self._calls for key in call.keys})
        attributes = {"db.operation.batch.size": len(self), "ndring.keys": keys}
        with self._span(self._operation, **attributes) as span:
            results = super().execute(raise_on_error)
            span.set_attribute("ndring.bytes.received", nbytes(results) or 0)
            return results


class _TracedView(ArrayView):
    __slots__ = ("_client",)

    def __init__(self, client: TracedNumPyRedis, key: Any) -> None:
        super().__init__(client._core, key)
        self._client = client

    @property
    def shape(self) -> Tuple[int, ...]:
        with self._client._span("NP.SHAPE", **{"ndring.keys": 1}):
            return super().shape

    @property
    def dtype(self) -> np.dtype[Any]:
        with self._client._span("NP.META", **{"ndring.keys": 1}):
            return super().dtype

    def take(self, indices: Any, axis: int = 0) -> Any:
        """See ``NumPyRedis.take``."""
        with self._client._span("NP.TAKE", **{"ndring.keys": 1}) as span:
            rows = super().take(indices, axis)
            span.set_attribute("ndring.bytes.received", nbytes(rows) or 0)
            return rows

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray[Any, Any]:
        with self._client._span("NP.GET", **{"ndring.keys": 1}) as span:
            whole = super().__array__(dtype, copy)
            span.set_attribute("ndring.bytes.received", whole.nbytes)
            return whole

    def __getitem__(self, index: Any) -> Any:
        with self._client._span("NP.SLICE", **{"ndring.keys": 1}) as span:
            part = super().__getitem__(index)
            span.set_attribute("ndring.bytes.received", nbytes(part) or 0)
            return part


def nbytes(value: Any) -> Optional[int]:
    """Returns the bytes of an array, or of the arrays in a list or mapping; None for anything else."""
    if isinstance(value, (np.ndarray, np.generic)):
        return int(value.nbytes)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return sum(nbytes(item) or 0 for item in value)
    return None


# The methods that send one command, or one for each key.
_METHODS = {
    "set": "NP.SET", "get": "NP.GET", "take": "NP.TAKE", "mset": "MSET", "mget": "MGET", "meta": "NP.META", "shape": "NP.SHAPE", "dtype": "NP.META",
    "verify": "NP.VERIFY", "memory_usage": "MEMORY USAGE", "delete": "NP.DEL", "exists": "NP.EXISTS", "expire": "NP.EXPIRE", "pexpire": "NP.PEXPIRE",
    "expireat": "EXPIREAT", "persist": "NP.PERSIST", "ttl": "NP.TTL", "pttl": "NP.PTTL", "ping": "PING", "info": "INFO", "dbsize": "DBSIZE",
    "flush": "FLUSHALL", "execute_command": "EXECUTE",
}  # fmt: skip
# The methods that send several commands, one after the other.
_COMPOSED = {"get_or_set": "GET_OR_SET", "get_or_set_many": "GET_OR_SET_MANY", "delete_prefix": "DELETE_PREFIX"}
_RECEIVE = ("get", "take", "mget", "get_or_set", "get_or_set_many")


def _traced(name: str, operation: str, kind: Any) -> Callable[..., Any]:
    method = getattr(NumPyRedis, name)
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(self: TracedNumPyRedis, *arguments: Any, **named: Any) -> Any:
        with self._span(operation, kind, **_described(signature.bind(self, *arguments, **named).arguments)) as span:
            result = method(self, *arguments, **named)
            if name in _RECEIVE:
                span.set_attribute("ndring.bytes.received", nbytes(result) or 0)
            return result

    return call


def _described(arguments: Mapping[str, Any]) -> Dict[str, Any]:
    """Returns the attributes that the arguments of a method give."""
    attributes: Dict[str, Any] = {}
    keys = arguments.get("keys", arguments.get("mapping"))
    if "key" in arguments:
        attributes["ndring.keys"] = 1
    elif isinstance(keys, Sized):
        attributes["ndring.keys"] = len(keys)
    sent = nbytes(arguments.get("value", arguments.get("mapping")))
    if sent is not None:
        attributes["ndring.bytes.sent"] = sent
    return attributes


for _name, _operation in _METHODS.items():
    setattr(TracedNumPyRedis, _name, _traced(_name, _operation, trace.SpanKind.CLIENT))
for _name, _operation in _COMPOSED.items():
    setattr(TracedNumPyRedis, _name, _traced(_name, _operation, trace.SpanKind.INTERNAL))
