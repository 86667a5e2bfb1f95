"""Signals: they extend no call, what a handler raises reaches the caller unchanged, and no
connection is lost."""
from __future__ import annotations

import builtins
import gc
import itertools
import os
import pathlib
import socket
import sys
import threading
import time

import ndring
import numpy as np
import pytest
from ndring import NumPyRedis, TimeoutError
from ndring import _codec
from ndring._codec.npy import build_header
from ndring._sync.driver import run
from signal_helpers import Once, signals
from routing_helpers import do
from test_failures import A, client_of, whole


def hanging(hold):
    return lambda connection: hold.wait(30)


@pytest.fixture
def hold():
    event = threading.Event()
    yield event
    event.set()


# Calls are bounded


def test_a_call_to_a_silent_node_is_bounded_during_signals(stub, hold):
    server = stub(hanging(hold))
    count = []
    with client_of(server, socket_timeout=0.4, retry_for=0) as c, signals(lambda: count.append(1), every=0.1):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            c.get("k")
        assert time.monotonic() - began < 10  # with blocking sockets it lasted as long as the signals did
    assert len(count) >= 2


def test_a_call_to_a_node_that_reads_nothing_is_bounded_during_signals(stub, hold):
    class Full(Exception):
        pass

    def stop_reading(connection):
        hold.wait(30)

    server = stub(stop_reading)
    with client_of(server, socket_timeout=0.4, retry_for=0) as c, signals(lambda: None, every=0.1):
        with c.pipeline() as p:
            p.meta("k").set("k", np.zeros(64 << 20, np.uint8))
            with pytest.raises(TimeoutError):
                p.execute()


def test_connecting_is_bounded_during_signals():
    """No connection is accepted: if the backlog is full, the system leaves the client's first
    packet unanswered."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        full = [socket.socket() for _ in range(4)]
        try:
            for s in full:
                s.setblocking(False)
                s.connect_ex(server.getsockname())
            address = server.getsockname()
            with NumPyRedis(*address, socket_connect_timeout=0.3, socket_timeout=0.3, retry_for=0) as c, signals(lambda: None, every=0.1):
                with pytest.raises((TimeoutError, ndring.ConnectionError)):
                    c.ping()
        finally:
            for s in full:
                s.close()


def test_a_dripping_reply_is_not_progress(stub, hold):
    def drip(connection):
        for byte in whole():
            if hold.wait(0.05):
                return
            connection.sendall(bytes((byte,)))

    server = stub(drip)
    with client_of(server, socket_timeout=0.3, retry_for=0) as c:
        with pytest.raises(TimeoutError):
            c.get("k")
    assert not hold.is_set()


def test_a_deadline_bounds_a_call_with_all_its_retries(stub, hold):
    def send_slowly(connection):  # every piece is progress, and they never end
        try:
            connection.sendall(b"*5\r\n$1000000128\r\n" + build_header("<u8", False, (125_000_000,)))
            while not hold.wait(0.02):
                connection.sendall(bytes(20_000))
        except OSError:
            pass

    server = stub(send_slowly, b"-BUSY\r\n" * 1000)
    with client_of(server, socket_timeout=10, deadline=0.3) as c:
        with pytest.raises(TimeoutError, match="deadline"):
            c.get("k")
    server = stub(*[b"-BUSY uploads\r\n"] * 1000)
    with client_of(server) as c:
        with pytest.raises(ndring.BusyError):
            c.with_options(deadline=0.2).set("k", A)
        assert len(server.commands) < 100


# Exceptions of handlers


@pytest.mark.parametrize("error", [OSError("mine"), builtins.TimeoutError(), ConnectionResetError(104, "mine"),
    BlockingIOError(11, "mine"), ValueError("mine"), MemoryError("mine")])
@pytest.mark.parametrize("call", ["get", "set", "nx", "pipeline", "transaction", "mget", "map"])
def test_what_a_handler_raises_reaches_the_caller(stub, hold, error, call):
    server = stub(*[hanging(hold)] * 10)
    if call == "map":
        server.slots = b""
    calls = {
        "get": lambda: c.get("k"),
        "set": lambda: c.set("k", A),
        "nx": lambda: c.set("k", A, nx=True),
        "pipeline": lambda: c.pipeline().get("k").set("k", A).execute(),
        "transaction": lambda: c.pipeline(transaction=True).set("k", A).execute(),
        "mget": lambda: c.mget(["a", "b"]),
        "map": lambda: c.get("k"),
    }
    handler = Once(error)
    with client_of(server, max_connections=1) as c, signals(handler):
        with pytest.raises(type(error)) as caught:
            calls[call]()
        assert caught.value is error and len(server.commands) <= 1
    hold.set()


def test_what_a_handler_raises_while_connecting_reaches_the_caller(stub, hold):
    server = stub(hanging(hold))
    error = OSError(111, "mine")
    with client_of(server, password="secret") as c, signals(Once(error)), pytest.raises(OSError) as caught:
        c.ping()
    assert caught.value is error
    hold.set()


class SoftTimeLimit(Exception):
    pass


@pytest.mark.parametrize("error", [SoftTimeLimit(), MemoryError(), OSError("mine"), ValueError("mine")])
def test_what_a_handler_raises_while_decoding_is_not_a_decode_error(monkeypatch, error):
    encoded = _codec.encode(np.ma.masked_array([1, 2], [0, 1]))
    header = _codec.parse_header(encoded.header)

    def interrupted(*arguments):
        exec(compile("raise error", "handler", "exec"), {"__name__": "service", "error": error})  # as in a handler's frame

    monkeypatch.setattr(_codec._kinds, "unpack", interrupted)
    with pytest.raises(type(error)) as caught:
        _codec.decode(header, np.frombuffer(bytearray(encoded.data), np.uint8), encoded.attrs, {})
    assert caught.value is error
    monkeypatch.setattr(_codec._kinds, "outline", interrupted)
    with pytest.raises(type(error)) as caught:
        _codec.check_out(np.zeros(2, int), header, encoded.attrs)
    assert caught.value is error


# Connections


PACKAGE = str(pathlib.Path(ndring.__file__).parent)


class Interrupt(BaseException):
    pass


def interrupt_at(number, call):
    """Runs a call and raises at its ``number``-th line in the package. Returns whether the call got
    that far."""
    left = [number]

    def trace(frame, event, argument):
        if event == "call":
            return trace if frame.f_code.co_filename.startswith(PACKAGE) and frame.f_code.co_name != "__del__" else None
        # At the end of a with statement a tracer, unlike a signal, could prevent the release of the
        # lock (bpo-29988).
        if event == "line" and not _is_with(frame.f_code.co_filename, frame.f_lineno):
            left[0] -= 1
            if left[0] == 0:
                raise Interrupt
        return trace

    came = []

    def run():
        sys.settrace(trace)
        try:
            call()
        except Interrupt:
            came.append(True)
        finally:
            sys.settrace(None)

    # In its own thread: a tracer that raises inside an except clause leaves the exception behind in
    # the thread.
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return bool(came)


def _is_with(file, line, seen={}):
    if file not in seen:
        seen[file] = [text.strip().startswith("with ") for text in pathlib.Path(file).read_text().splitlines()]
    return seen[file][line - 1]


@pytest.mark.filterwarnings("ignore:.*unclosed.*:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("call", ["get", "set", "pipeline", "transaction", "close", "map"])
def test_a_call_interrupted_anywhere_loses_no_connection(fake, call):
    cluster = fake(1)
    calls = {
        "get": lambda: c.get("k"),
        "set": lambda: c.set("k", A),
        "pipeline": lambda: c.pipeline().get("k").set("j", A).execute(),
        "transaction": lambda: c.pipeline(transaction=True).get("k").set("k", A).execute(),
        "close": lambda: (c.get("k"), c.close(), c.get("k")),
        "map": lambda: do(c, c._cluster.nodes.slots(fresh=True)),
    }
    with NumPyRedis(*cluster.nodes[0].address, max_connections=1, retry_for=0, socket_timeout=10) as c:
        c.set("k", A)
        number = 0
        while True:
            number += 1
            if not interrupt_at(number, calls[call]):
                break
            assert np.array_equal(c.get("k"), A), number  # with max_connections=1, so no connection was lost
        assert number > 20
        gc.collect()
        assert len(c._cluster.nodes.seed._pool._open) <= 1


@pytest.mark.filterwarnings("ignore:.*unclosed.*:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_get_or_set_interrupted_anywhere_leaves_no_lease(node):
    """Nothing goes on renewing a lock, which would keep all others from the key."""
    key = f"interrupted-{os.getpid()}-{time.monotonic()}-"
    with NumPyRedis(*node, retry_for=0) as c:
        numbers = itertools.count(1)
        while interrupt_at(number := next(numbers), lambda: c.get_or_set(f"{key}{number}", lambda: A, lease=0.3)):
            pass
        assert number > 100
        gc.collect()
        end = time.monotonic() + 30
        while any(thread.name == "ndring-lease" for thread in threading.enumerate()):
            assert time.monotonic() < end
            time.sleep(0.05)
        for n in range(1, number):
            assert np.array_equal(c.get_or_set(f"{key}{n}", lambda: A), A)


def test_close_during_calls_in_other_threads(fake):
    cluster = fake(1)
    with NumPyRedis(*cluster.nodes[0].address, max_connections=8) as c:
        c.set("k", A)
        done = threading.Event()
        errors = []

        def work():
            try:
                while not done.is_set():
                    assert np.array_equal(c.get("k"), A)
            except BaseException as exc:
                errors.append(exc)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(60):
            c.close()
        done.set()
        for thread in threads:
            thread.join()
        assert not errors
        c.close()
        gc.collect()
        assert not c._cluster.nodes.seed._pool._idle and len(c._cluster.nodes.seed._pool._open) == 0


def test_work_that_is_interrupted_between_two_steps_gives_back_what_it_holds():
    """A traceback may keep the work alive, as in a notebook."""
    for number in range(1, 40):
        left, given_back, kept = [number], [], []

        def work():
            try:
                while True:
                    yield
            finally:
                given_back.append(True)
                yield

        def trace(frame, event, argument):
            if frame.f_code is run.__code__ and event == "line":
                left[0] -= 1
                if left[0] == 0:
                    raise Interrupt
            return trace if frame.f_code is run.__code__ else None

        def call():
            kept.append(work())
            sys.settrace(trace)
            try:
                run(kept[0])
            except Interrupt as exc:
                kept.append(exc)
            finally:
                sys.settrace(None)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert len(kept) == 2 and (given_back or number <= 10), number  # before, the work has not begun
