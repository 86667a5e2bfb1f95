"""What ndring.contrib.opentelemetry uses of OpenTelemetry's API, for systems without the library: the
same names and signatures, and a provider that keeps its spans as the SDK's in-memory exporter does."""
from __future__ import annotations

import contextlib
import contextvars
import enum
import sys
import types
from typing import Any, Dict, List, Optional


class SpanKind(enum.Enum):
    INTERNAL = 0
    SERVER = 1
    CLIENT = 2


class StatusCode(enum.Enum):
    UNSET = 0
    OK = 1
    ERROR = 2


class Status:
    def __init__(self, status_code: StatusCode = StatusCode.UNSET, description: Optional[str] = None) -> None:
        self.status_code, self.description = status_code, description


class Event:
    def __init__(self, name: str, attributes: Dict[str, Any]) -> None:
        self.name, self.attributes = name, attributes


class Context:
    def __init__(self, span_id: int) -> None:
        self.span_id = span_id


_current: contextvars.ContextVar = contextvars.ContextVar("current", default=None)


class Span:
    def __init__(self, provider: Any, name: str, kind: SpanKind, attributes: Any) -> None:
        self._provider, self.name, self.kind, self.attributes = provider, name, kind, {}
        self.events: List[Event] = []
        self.status = Status()
        parent = _current.get()
        self.parent = None if parent is None else parent.context
        self.context = Context(id(self))
        self._ended = False
        for key, value in (attributes or {}).items():
            self.set_attribute(key, value)

    def set_attribute(self, key: str, value: Any) -> None:
        assert not self._ended and isinstance(key, str) and type(value) in (bool, int, float, str), (key, value)
        self.attributes[key] = value

    def record_exception(self, exception: BaseException, attributes: Any = None, timestamp: Any = None, escaped: bool = False) -> None:
        self.events.append(Event("exception", {"exception.type": type(exception).__qualname__, "exception.message": str(exception)}))

    def set_status(self, status: Any, description: Optional[str] = None) -> None:
        assert isinstance(status, Status)
        self.status = status

    def end(self, end_time: Any = None) -> None:
        assert not self._ended
        self._ended = True
        self._provider.finished.append(self)


class Tracer:
    def __init__(self, provider: Any, name: str, version: Optional[str]) -> None:
        self._provider = provider
        provider.scopes.add((name, version))

    def start_span(self, name: str, context: Any = None, kind: SpanKind = SpanKind.INTERNAL, attributes: Any = None) -> Span:
        return Span(self._provider, name, kind, attributes)

    @contextlib.contextmanager
    def start_as_current_span(self, name: str, context: Any = None, kind: SpanKind = SpanKind.INTERNAL, attributes: Any = None) -> Any:
        span = self.start_span(name, context, kind, attributes)
        token = _current.set(span)
        try:
            yield span
        except Exception as exc:
            span.record_exception(exc)
            span.set_status(Status(StatusCode.ERROR, f"{type(exc).__name__}: {exc}"))
            raise
        finally:
            _current.reset(token)
            span.end()


class TracerProvider:
    def __init__(self) -> None:
        self.finished: List[Span] = []
        self.scopes: set = set()

    def get_tracer(self, name: str, version: Optional[str] = None) -> Tracer:
        return Tracer(self, name, version)


_global: Any = TracerProvider()


def get_tracer(instrumenting_module_name: str, instrumenting_library_version: Optional[str] = None, tracer_provider: Any = None) -> Tracer:
    return (tracer_provider or _global).get_tracer(instrumenting_module_name, instrumenting_library_version)


def get_current_span(context: Any = None) -> Any:
    return _current.get()


def install() -> None:
    """Makes ``from opentelemetry import trace`` find this module."""
    package = types.ModuleType("opentelemetry")
    package.trace = sys.modules[__name__]  # type: ignore[attr-defined]
    sys.modules["opentelemetry"], sys.modules["opentelemetry.trace"] = package, sys.modules[__name__]
