"""Spans for the calls of a client: with OpenTelemetry's SDK where it is installed, else with a stand-in."""
from __future__ import annotations

import inspect
import pickle
import uuid

import ndring
import numpy as np
import pytest
from ndring import NumPyRedis

try:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    REAL = True
except ModuleNotFoundError:  # Debian does not have it
    import opentelemetry_stand_in

    opentelemetry_stand_in.install()
    REAL = False

from ndring.contrib.opentelemetry import TracedNumPyRedis, instrument
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

A = np.arange(6, dtype="<f4").reshape(2, 3)


class Recorder:
    """A provider, and the spans that have ended since the last look."""

    def __init__(self):
        if REAL:
            self._exporter = InMemorySpanExporter()
            self.provider = TracerProvider(shutdown_on_exit=False)
            self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        else:
            self.provider = opentelemetry_stand_in.TracerProvider()

    def take(self):
        if REAL:
            spans = self._exporter.get_finished_spans()
            self._exporter.clear()
            return list(spans)
        spans, self.provider.finished = self.provider.finished, []
        return spans

    def one(self):
        (span,) = self.take()
        return span


@pytest.fixture
def spans():
    return Recorder()


@pytest.fixture
def traced(client, spans):
    return instrument(client, spans.provider)


@pytest.fixture
def key():
    return "traced-" + uuid.uuid4().hex


def attributes(span):
    """The attributes that differ from span to span."""
    found = dict(span.attributes)
    assert found.pop("db.system") == found.pop("db.system.name") == "ndring" and found.pop("db.operation.name") == span.name
    return found


def test_which_library_this_is():
    assert trace.get_tracer.__module__ == ("opentelemetry.trace" if REAL else "opentelemetry_stand_in")


def test_set_and_get(traced, spans, key):
    assert traced.set(key, A, ex=100) is True
    span = spans.one()
    assert (span.name, span.kind, span.parent) == ("NP.SET", SpanKind.CLIENT, None)
    assert attributes(span) == {"ndring.keys": 1, "ndring.bytes.sent": 24} and span.status.status_code == StatusCode.UNSET and not span.events
    assert traced.get(key).tolist() == A.tolist()
    span = spans.one()
    assert span.name == "NP.GET" and attributes(span) == {"ndring.keys": 1, "ndring.bytes.received": 24}
    assert traced.get(key + "2", default=5) == 5
    assert attributes(spans.one()) == {"ndring.keys": 1, "ndring.bytes.received": 0}
    assert traced.set(key=key, value=np.float64(1)) and attributes(spans.one())["ndring.bytes.sent"] == 8


@pytest.mark.parametrize(
    ("call", "name", "expected"),
    [
        (lambda c, k: c.mset({k: A, k + "2": np.ones(2)}), "MSET", {"ndring.keys": 2, "ndring.bytes.sent": 40}),
        (lambda c, k: c.mget([k, "missing"]), "MGET", {"ndring.keys": 2, "ndring.bytes.received": 24}),
        (lambda c, k: c.mget(iter([k])), "MGET", {"ndring.bytes.received": 24}),
        (lambda c, k: c.take(k, [0]), "NP.TAKE", {"ndring.keys": 1, "ndring.bytes.received": 12}),
        (lambda c, k: c.view(k)[0, 1:], "NP.SLICE", {"ndring.keys": 1, "ndring.bytes.received": 8}),
        (lambda c, k: c.view(k).shape, "NP.SHAPE", {"ndring.keys": 1}),
        (lambda c, k: c.delete(k, "missing"), "NP.DEL", {"ndring.keys": 2}),
        (lambda c, k: c.exists(k, k, k), "NP.EXISTS", {"ndring.keys": 3}),
        (lambda c, k: c.meta(k), "NP.META", {"ndring.keys": 1}),
        (lambda c, k: c.expire(k, 5), "NP.EXPIRE", {"ndring.keys": 1}),
        (lambda c, k: c.pttl(k), "NP.PTTL", {"ndring.keys": 1}),
        (lambda c, k: c.ping(), "PING", {}),
        (lambda c, k: c.info("server"), "INFO", {}),
        (lambda c, k: list(c.scan_iter(k + "*")), "SCAN", {"ndring.keys": 1}),
    ],
)
def test_calls(traced, spans, client, key, call, name, expected):
    client.set(key, A)
    plain = call(client, key)
    client.set(key, A)
    result = call(traced, key)
    span = spans.one()
    assert span.name == name and span.kind == SpanKind.CLIENT and attributes(span) == expected
    assert type(result) is type(plain) and (name in ("INFO", "NP.META", "NP.PTTL") or repr(result) == repr(plain))


def test_every_call_of_the_client_makes_a_span():
    silent = {"close", "from_url", "with_options", "unanswered", "nodes", "keys", "memoize"}  # send nothing, only what routing needs, or call other methods
    methods = {name for name in vars(NumPyRedis) if not name.startswith("_")} - silent
    assert methods == {name for name in vars(TracedNumPyRedis) if not name.startswith("_")}
    for name in methods:
        assert inspect.signature(getattr(TracedNumPyRedis, name)).parameters.keys() == inspect.signature(getattr(NumPyRedis, name)).parameters.keys()
        assert getattr(TracedNumPyRedis, name).__doc__


def test_calls_that_consist_of_several(traced, spans, key):
    assert traced.get_or_set(key, lambda: A).tolist() == A.tolist()
    span = spans.one()
    assert span.name == "GET_OR_SET" and span.kind == SpanKind.INTERNAL and attributes(span) == {"ndring.keys": 1, "ndring.bytes.received": 24}
    assert traced.delete_prefix(key) == 1
    span = spans.one()
    assert span.name == "DELETE_PREFIX" and span.kind == SpanKind.INTERNAL
    traced.set(key, A)
    assert traced.view(key)[[1]].tolist() == [[3, 4, 5]] and np.asarray(traced.view(key)).shape == (2, 3)
    assert [span.name for span in spans.take()] == ["NP.SET", "NP.SLICE", "NP.GET"]


def test_pipelines(traced, spans, key):
    with traced.pipeline() as p:
        assert p.set(key, A).get(key).get("missing").delete(key).execute()[0] is True
    span = spans.one()
    assert (span.name, span.kind) == ("PIPELINE", SpanKind.CLIENT)
    assert attributes(span) == {"db.operation.batch.size": 4, "ndring.keys": 2, "ndring.bytes.received": 24}
    with traced.pipeline(transaction=True) as p:
        p.set(key, A).execute()
        assert p.execute() == []
    assert spans.one().name == "MULTI"
    with pytest.raises(ndring.DecodeError), traced.pipeline() as p:
        traced.set(key, np.ma.MaskedArray([1]))
        p.take(key, [0]).execute()
    assert spans.take()[1].attributes["error.type"] == "DecodeError"


def test_errors_are_recorded(traced, spans, key, stub):
    with pytest.raises(ndring.EncodeError):
        traced.set(key, "text")
    span = spans.one()
    assert span.status.status_code == StatusCode.ERROR and attributes(span) == {"ndring.keys": 1, "error.type": "EncodeError"}
    (event,) = span.events
    assert event.name == "exception" and event.attributes["exception.type"].endswith("EncodeError") and "str" in event.attributes["exception.message"]
    with pytest.raises(KeyError):
        traced.view(key)[0]
    assert spans.one().attributes["error.type"] == "KeyError"
    server = stub()
    with NumPyRedis(*server.address, retry_for=0) as lost:
        with pytest.raises(ndring.ConnectionError):
            list(instrument(lost, spans.provider).scan_iter())
        span = spans.one()
        assert span.name == "SCAN" and span.attributes["error.type"] == "ConnectionError" and span.attributes["ndring.keys"] == 0
        assert span.status.status_code == StatusCode.ERROR and len(span.events) == 1


def test_wrong_arguments_raise_as_before(traced, spans, client):
    for call in (lambda c: c.get(), lambda c: c.get("k", wrong=1), lambda c: c.set("k"), lambda c: c.view(None)):
        for c in (client, traced):
            with pytest.raises(TypeError):
                call(c)
    with pytest.raises(ndring.EncodeError):
        traced.scan_iter(3.5j)
    assert spans.take() == []


def test_a_scan_that_is_abandoned_ends_its_span(traced, spans, client, key):
    client.mset({f"{key}:{i}": A for i in range(5)})
    scan = traced.scan_iter(key + "*")
    next(scan)
    assert spans.take() == [] and getattr(trace.get_current_span(), "name", "none") != "SCAN"
    scan.close()
    assert attributes(spans.one()) == {"ndring.keys": 1}


def test_other_clients_made_of_it(traced, spans, client, key):
    assert isinstance(traced, NumPyRedis) and type(client) is NumPyRedis
    traced.with_options(deadline=5).get(key)
    assert spans.one().name == "NP.GET"
    client.get(key)
    assert spans.take() == []
    traced.with_options(on_error="miss").get_or_set(key, lambda: A)
    assert spans.take()[-1].name == "GET_OR_SET"
    with pickle.loads(pickle.dumps(traced)) as copy:
        assert type(copy) is TracedNumPyRedis and copy.get(key).tolist() == A.tolist()
    assert spans.take() == []  # it has the provider of its process
    assert instrument(traced, spans.provider).exists(key) == 1 and len(spans.take()) == 1


def test_only_a_client_is_instrumented():
    class Mine(NumPyRedis):
        pass

    for wrong in (None, Mine()):
        with pytest.raises(TypeError, match="instrument takes a NumPyRedis, not"):
            instrument(wrong)
