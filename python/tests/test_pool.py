"""Connections kept between calls, and the fast path for replies that are plain arrays."""
import gc
import math
import os
import threading
import weakref

import numpy as np
import pytest

from ndring import ConnectionError, CorruptError, DecodeError, NumPyRedis, TimeoutError
from ndring._core import commands as _commands
from ndring._core import nodes as _nodes
from ndring._sync import pool as _pool

from routing_helpers import command
from test_failures import A, client_of, whole


def in_pieces(reply, *cuts):
    """A reply in several pieces; the client reads each of them before the next is sent."""

    def send(connection):
        for begin, end in zip((0, *cuts), (*cuts, len(reply))):
            connection.sendall(reply[begin:end])
            threading.Event().wait(0.03)

    return send


@pytest.mark.parametrize("array", [A, A[:0], np.arange(6.0).reshape(2, 3).T, np.array(7, ">i2"), np.zeros(3, [("x", "<i4"), ("y", "u1")])])
def test_fast_and_general_path_agree(stub, array):
    reply = whole(array)
    answers = [reply] + [in_pieces(reply, cut) for cut in (1, 7, 60, 140, len(reply) - 40, len(reply) - 2)]
    with client_of(stub(*answers)) as c:
        for _ in answers:
            got = c.get("k")
            assert got.dtype == array.dtype and got.shape == array.shape and got.tobytes("A") == array.tobytes("A")
            assert got.flags.behaved and (got.strides == array.strides or not got.size)


@pytest.mark.skipif(_commands._crc32c is None, reason="the crc32c package is not installed")
def test_both_paths_find_corruption(stub):
    reply = whole(crc=12345)
    with client_of(stub(reply, in_pieces(reply, 70), b"+PONG\r\n")) as c:
        for _ in range(2):
            with pytest.raises(CorruptError):
                c.get("k")
        assert c.ping()  # the connection is in sync


@pytest.mark.parametrize("change", [lambda r: r.replace(b"*5", b"*4", 1), lambda r: r.replace(b"NUMPY", b"NUMPI"),
    lambda r: r.replace(b"$152", b"$151"), lambda r: b"$9\r\n" + r])
def test_invalid_replies_are_found_in_one_piece_and_in_several(stub, change):
    reply = change(whole(np.arange(3.0)))
    for answer in (reply, in_pieces(reply, 50)):
        with client_of(stub(answer), retry_for=0) as c, pytest.raises(DecodeError):
            c.get("k")


def test_a_connection_is_reused(stub):
    server = stub(*[b"+PONG\r\n"] * 20)
    with client_of(server) as c:
        for _ in range(20):
            assert c.ping()
    assert server.connections == 1


def test_an_idle_connection_is_checked(stub, monkeypatch):
    monkeypatch.setattr(_pool, "_TRUSTED_IDLE", -1.0)
    server = stub(*[b"+PONG\r\n"] * 5)
    with client_of(server) as c:
        for _ in range(5):
            assert c.ping()
    assert server.connections == 1


def test_a_connection_closed_by_the_node_is_replaced(stub):
    server = stub(b"+PONG\r\n", None, b"+PONG\r\n")  # None closes the connection
    with client_of(server) as c:
        assert c.ping() and c.ping()
    assert server.connections == 2


def test_close_frees_all_connections(stub):
    server = stub(b"+PONG\r\n", b"+PONG\r\n")
    c = client_of(server, max_connections=1)
    assert c.ping()
    c.close()
    assert c.ping()  # max_connections is 1, so the first connection was freed
    c.close()
    assert server.connections == 2


def test_max_connections(node):
    with NumPyRedis(*node, max_connections=3) as c:
        threads = [threading.Thread(target=lambda: [c.ping() for _ in range(200)]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert c.info("clients")["connected_clients"] >= 1
        assert len(c._cluster.nodes.seed._pool._idle) <= 3


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_its_own_connections(client):
    mine = command(client, b"CLIENT", b"ID")
    child = os.fork()
    if child == 0:
        os._exit(1 if command(client, b"CLIENT", b"ID") == mine else 0)
    assert os.waitpid(child, 0)[1] == 0
    assert command(client, b"CLIENT", b"ID") == mine


def test_socket_timeout(stub):
    waiting = threading.Event()
    with client_of(stub(lambda connection: waiting.wait(20)), socket_timeout=0.2, retry_for=0) as c:
        with pytest.raises(TimeoutError):
            c.get("k")
        waiting.set()


def test_mset_sends_large_arrays_before_it_reads_replies(stub):
    """The node replies only after it has received all of them."""
    count = 20
    server = stub(*[b""] * (count - 1), b"+OK\r\n" * count)
    with client_of(server, retry_for=0) as c:
        assert c.mset({f"k{i}": np.zeros(1 << 20, np.uint8) for i in range(count)})


def test_commands_after_a_long_reply_wait_for_it(stub):
    """Otherwise both sides could wait for each other: the node until its reply is read, the client
    until its command is."""
    server = stub(whole(), b"+OK\r\n", b"+OK\r\n")
    with client_of(server, retry_for=0) as c:
        with c.pipeline() as p:
            p.get("k").set("a", np.zeros(1 << 20, np.uint8)).set("b", np.zeros(1 << 20, np.uint8))
            assert len(p.execute()) == 3


def test_close_while_another_thread_uses_a_connection(stub):
    """A connection that close() has ended does not return to the pool."""
    asked, go_on = threading.Event(), threading.Event()
    server = stub(lambda connection: (asked.set(), go_on.wait(20), connection.sendall(b"+PONG\r\n")), b"+PONG\r\n")
    with client_of(server, retry_for=0) as c:
        connection = c._cluster.nodes.seed._pool.acquire()
        connection.stream.sock.sendall(b"*1\r\n$4\r\nPING\r\n")
        assert asked.wait(20)
        c.close()
        c._cluster.nodes.seed._pool.release(connection, True)
        go_on.set()
        assert not c._cluster.nodes.seed._pool._idle and c.ping()


def test_an_idle_connection_closed_by_the_node_is_not_used(stub, monkeypatch):
    monkeypatch.setattr(_pool, "_TRUSTED_IDLE", -1.0)
    closed = threading.Event()
    server = stub(lambda connection: (connection.sendall(b"+PONG\r\n"), closed.set()), b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n+OK\r\n")
    with client_of(server, retry_for=0) as c:
        assert c.ping() and closed.wait(20)
        (connection,) = c._cluster.nodes.seed._pool._idle
        while connection.stream.is_quiet():
            threading.Event().wait(0.005)
        assert c.pipeline(transaction=True).set("k", A).execute() == [True]  # a transaction cannot be repeated
    assert server.connections == 2


def test_an_idle_connection_with_unexpected_data_is_not_used(stub, monkeypatch):
    monkeypatch.setattr(_pool, "_TRUSTED_IDLE", -1.0)
    server = stub(lambda connection: (connection.sendall(b"+PONG\r\n"), said.wait(20), connection.sendall(b"-ERR idle for too long\r\n")), b"$-1\r\n")
    said = threading.Event()
    with client_of(server, retry_for=0) as c:
        assert c.ping()
        (connection,) = c._cluster.nodes.seed._pool._idle
        said.set()
        while connection.stream.is_quiet():
            threading.Event().wait(0.005)
        assert c.get("k") is None
    assert server.connections == 2


def test_the_time_limit_of_a_map_fetch_does_not_apply_to_the_next_command(stub, monkeypatch):
    monkeypatch.setattr(_nodes, "_LONG_TIMEOUT", 0.2)
    server = stub(lambda connection: (threading.Event().wait(0.4), connection.sendall(whole())))
    with client_of(server, retry_for=0) as c:
        assert np.array_equal(c.get("k"), A)
    assert server.connections == 1 and server.asked_for_slots == 1


def test_a_connection_held_only_by_a_reference_cycle_does_not_count(stub):
    """The traceback of an interrupted call may form such a cycle."""
    server = stub(b"+PONG\r\n", b"+PONG\r\n")
    with client_of(server, max_connections=1, retry_for=0) as c:
        assert c.ping()
        gc.disable()
        try:
            cycle = [c._cluster.nodes.seed._pool.acquire()]
            cycle.append(cycle)
            del cycle
            assert c.ping()
        finally:
            gc.enable()
    assert server.connections == 2


def test_close_ends_a_connection_in_use(stub):
    """The call in the other thread continues on a new connection, instead of waiting for a reply on
    this one."""
    asked = threading.Event()
    server = stub(lambda connection: (asked.set(), connection.recv(1)), b"+PONG\r\n")
    with client_of(server, socket_timeout=60) as c:
        results = []
        thread = threading.Thread(target=lambda: results.append(c.ping()))
        thread.start()
        assert asked.wait(20)
        c.close()
        thread.join(30)
        assert results == [True] and server.connections == 2


def test_a_dropped_client_closes_its_connections_at_once(fake):
    cluster = fake()
    gc.collect()
    gc.disable()
    try:
        c = NumPyRedis(*cluster.nodes[0].address)
        assert c.mset({f"k{i}": A for i in range(100)}) and np.array_equal(c.get("k1"), A)
        pool = [weakref.ref(connection) for t in c._cluster.nodes._transports.values() for connection in t._pool._idle]
        assert len(pool) == 3
        del c
        assert [connection() for connection in pool] == [None] * 3
    finally:
        gc.enable()


def test_a_lost_map_fetch_is_replaced(stub, monkeypatch):
    """Its thread was interrupted, and a traceback keeps it alive."""
    with client_of(stub(b"$-1\r\n")) as c:
        lost = _nodes._MapFetch(c._cluster.nodes.driver)
        lost._began -= 1000
        c._cluster.nodes._fetching["map"] = weakref.ref(lost)
        monkeypatch.setattr(_nodes._MapFetch, "wait", lambda self, end: pytest.fail("this fetch never ends"))
        assert c.get("k") is None


def test_garbage_is_not_collected_at_every_call(stub, monkeypatch):
    """A garbage collection takes longer than a call."""
    monkeypatch.setattr(_pool, "_COLLECT_INTERVAL", math.inf)
    collected = []
    with client_of(stub(b"+PONG\r\n"), max_connections=1, retry_for=0) as c:
        pool = c._cluster.nodes.seed._pool
        held = pool.acquire()
        monkeypatch.setattr(gc, "collect", lambda: collected.append(is_free(pool._lock)))
        for _ in range(20):
            with pytest.raises(ConnectionError, match="max_connections"):
                c.ping()
        assert collected == [True]
        pool.release(held, False)
        assert c.ping()


def is_free(lock):
    """Returns whether another thread can acquire the lock now."""
    found = []
    thread = threading.Thread(target=lambda: found.append(lock.acquire(blocking=False) and (lock.release() or True)))
    thread.start()
    thread.join()
    return found[0]
