"""The client for asyncio: calls that are cancelled at any moment, and the limit of connections."""
from __future__ import annotations

import asyncio
import gc
import itertools
import socket
import threading
import time
import uuid

import ndring
import numpy as np
import pytest
from aio_helpers import A, KINDS, LOOPS, cancel_after, cancel_at_wait, client_of, no_leak, run, until
from ndring import ConnectionError, NodeDownError, TimeoutError
from ndring._aio.connection import Connection
from test_failures import whole
from test_tls import PEM, secured  # noqa: F401

B = np.arange(100_000)


async def made(array=A):
    await asyncio.sleep(0)
    return array


def calls_of(c):
    """Returns the calls that are cancelled, each with a prefix of keys that it makes."""
    return {
        "get": lambda key: c.get("k"),
        "get large": lambda key: c.get("large"),
        "get out": lambda key: c.get("large", out=np.empty_like(B)),
        "set": lambda key: c.set(key, A),
        "set large": lambda key: c.set(key, B),
        "set nx": lambda key: c.set(key, A, nx=True),
        "mget": lambda key: c.mget(["k", "large", "k3", "k4"]),
        "mset": lambda key: c.mset({f"{key}{i}": A for i in range(8)}),
        "pipeline": lambda key: c.pipeline().get("k").set(key, A).get("large").delete(key).execute(),
        "transaction": lambda key: c.pipeline(transaction=True).set("k", A).get("k").execute(),
        "get_or_set": lambda key: c.get_or_set(key, made, lease=0.5),
        "get_or_set there": lambda key: c.get_or_set("k", made),
        "scan": lambda key: listed(c.scan_iter(match="k*", count=2)),
        "view": lambda key: c.view("large")[10:20],
        "view shape": lambda key: c.view("large").shape,
        "take": lambda key: c.take("large", [1, 2]),
        "delete": lambda key: c.delete("a", "b", "c"),
        "info": lambda key: c.info(),
    }


async def listed(keys):
    return [key async for key in keys]


CALLS = list(calls_of(ndring.asyncio.NumPyRedis()))


async def works(c):
    """Checks that a client with one connection has lost nothing, and gets its own replies."""
    got = await asyncio.wait_for(asyncio.gather(c.get("k"), c.get("large"), c.get("k3"), c.get("none")), 30)
    assert np.array_equal(got[0], A) and np.array_equal(got[1], B) and np.array_equal(got[2], A + 3) and got[3] is None


async def fill(c):
    await c.mset({"k": A, "large": B, "k3": A + 3, "k4": A + 4})


async def walk(open_client, call, cancel, warm, ways, last):
    """Cancels a call at each of its moments, one after the other, until it ends before that."""
    async with open_client() as c:
        await fill(c)
    for way in ways:
        c = None
        for number in itertools.count():
            if c is None or not warm:
                c = open_client()
                if warm:
                    await works(c)
            key = f"walk-{uuid.uuid4().hex}"
            came = await cancel(calls_of(c)[call](key), number, *way)
            await works(c)
            if not warm or not came:
                await c.close()
            if not came:
                break
            assert number < 3000
        assert number > last


def on_each(calls, few):
    """Returns all calls for asyncio's own event loop, and a few for each of the other kinds."""
    return [(call, kind) for kind in KINDS for call in (calls if kind == "asyncio" else few)]


@pytest.mark.parametrize("call, kind", on_each(CALLS, ["get", "set large", "mget", "get_or_set"]))
def test_cancelled_at_every_wait(node, call, kind):
    with no_leak():
        run(walk(lambda: client_of(node), call, cancel_at_wait, True, [(False,), (True,)], 0), kind)


@pytest.mark.parametrize("call", ["get", "set large", "mget", "pipeline", "get_or_set", "scan"])
def test_cancelled_after_every_step_of_the_event_loop(node, call):
    with no_leak():
        run(walk(lambda: client_of(node), call, cancel_after, True, [()], 2))


@pytest.mark.parametrize("call, kind", on_each(["get", "mget", "pipeline", "transaction", "scan"], ["get"]))
def test_cancelled_while_it_connects_and_logs_in(node, call, kind):
    """The name is resolved, the connection made, the client named and the slot map fetched."""
    options = {"client_name": "me", "protocol": 3}
    with no_leak():
        run(walk(lambda: client_of(("localhost", node[1]), **options), call, cancel_at_wait, False, [(False,), (True,)], 3), kind)


def test_cancelled_after_every_step_while_it_connects(node):
    with no_leak():
        run(walk(lambda: client_of(node, client_name="me"), "get", cancel_after, False, [()], 3))


@pytest.mark.plain
@pytest.mark.parametrize("kind", LOOPS)
def test_cancelled_during_the_tls_handshake(secured, kind):  # noqa: F811
    options = {"ssl": True, "ssl_ca_certs": PEM, "client_name": "me"}
    with no_leak():
        run(walk(lambda: client_of(secured, **options), "get", cancel_at_wait, False, [(False,), (True,)], 4), kind)


@pytest.mark.parametrize("call", ["mget", "mset", "pipeline", "scan", "delete"])
@pytest.mark.parametrize("late", [False, True])
def test_cancelled_while_it_asks_several_nodes(fake, call, late):
    cluster = fake(3)

    async def main():
        await walk(lambda: client_of(cluster.nodes[0].address), call, cancel_at_wait, True, [(late,)], 0)
        await walk(lambda: client_of(cluster.nodes[0].address), call, cancel_at_wait, False, [(late,)], 2)

    with no_leak():
        run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_no_reply_reaches_another_call(node, kind):
    """Tasks share few connections and are cancelled at random. Each value says which key it is of."""

    async def main():
        async with client_of(node, max_connections=3) as c:
            for i in range(20):
                await c.set(f"of{i}", np.full(1 << (i % 17), i))

            async def get(i):
                assert (await c.get(f"of{i}") == i).all()

            async def get_several(i):
                assert all((got == (i + j) % 20).all() for j, got in enumerate(await c.mget([f"of{(i + j) % 20}" for j in range(5)])))

            for number in range(1500):
                task = asyncio.ensure_future((get, get_several)[number % 2](number % 20))
                for _ in range(number % 23):
                    await asyncio.sleep(0)
                if number % 3:
                    task.cancel()
                if number % 50 == 0:
                    await asyncio.wait({task})
                    assert task.cancelled() or task.result() is None
                else:
                    task.add_done_callback(lambda task: task.cancelled() or task.result())
            await asyncio.gather(*(get(i) for i in range(20)))
            assert (await c.info("clients"))["connected_clients"] >= 1
            (pool,) = c._cluster.nodes.seed._pools.values()
            assert pool._taken == 0 and len(pool._idle) <= 3 and not pool._waiting

    with no_leak():
        run(main(), kind)


# The limit of connections


def holding(connection):
    """A node that does not reply."""
    connection.recv(1)


def test_calls_wait_for_a_connection_in_order(node):
    async def main():
        async with client_of(node) as c:
            await c.ping()
            order = []

            async def call(i):
                await c.ping()
                order.append(i)

            await asyncio.gather(*(call(i) for i in range(50)))
            assert order == list(range(50))
            return await c.info("clients")

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_calls_that_wait_for_a_connection_are_cancelled(stub, kind):
    """The first holds the connection; some of those that wait are cancelled, then the first itself."""
    server = stub(holding, *[whole()] * 2)

    async def main():
        async with client_of(server.address) as c:
            tasks = [asyncio.ensure_future(c.get("k")) for _ in range(6)]
            (pool,) = [await pool_of(c)]
            await until(lambda: len(pool._waiting) == 5 and server.commands)
            for i in (1, 3, 5):
                tasks[i].cancel()
            await asyncio.wait({tasks[i] for i in (1, 3, 5)})
            assert not tasks[0].done() and not tasks[2].done()
            tasks[0].cancel()
            for i in (2, 4):
                assert np.array_equal(await tasks[i], A)
            await asyncio.wait(tasks)
            assert [task.cancelled() for task in tasks] == [True, True, False, True, False, True]
            assert pool._taken == 0

    with no_leak():
        run(main(), kind)


def test_a_call_is_cancelled_just_when_it_gets_a_connection(stub):
    server = stub(holding, whole())

    async def main():
        async with client_of(server.address) as c:
            first, second, third = (asyncio.ensure_future(c.get("k")) for _ in range(3))
            pool = await pool_of(c)
            await until(lambda: len(pool._waiting) == 2 and server.commands)
            pool._waiting[0].add_done_callback(lambda place: second.cancel())
            first.cancel()
            assert np.array_equal(await third, A)
            await asyncio.wait({first, second})
            assert first.cancelled() and second.cancelled() and pool._taken == 0

    run(main())


def test_a_call_waits_no_longer_for_a_connection_than_its_time(stub):
    server = stub(holding)

    async def main():
        async with client_of(server.address, retry_for=0) as c:
            first = asyncio.ensure_future(c.get("k"))
            pool = await pool_of(c)
            await until(lambda: server.commands)
            began = time.monotonic()
            with pytest.raises(ConnectionError, match="max_connections"):
                await c.with_options(deadline=0.2).get("k")
            assert 0.1 < time.monotonic() - began < 10
            assert not first.done() and pool._taken == 1
            first.cancel()
            await asyncio.wait({first})
            assert pool._taken == 0

    run(main())


async def pool_of(c):
    """Returns the pool of a client's only node, once there is one."""
    await until(lambda: c._cluster.nodes.seed._pools)
    return next(iter(c._cluster.nodes.seed._pools.values()))


def test_close_while_calls_are_under_way_and_wait(fake):
    """All of them get their reply on new connections, of which none is left open."""
    cluster = fake(1)

    async def main():
        c = client_of(cluster.nodes[0].address, max_connections=2)
        await c.set("k", A)
        for number in range(60):
            tasks = [asyncio.ensure_future(c.get("k")) for _ in range(5)]
            for _ in range(number % 12):
                await asyncio.sleep(0)
            await c.close()
            for task in tasks:
                assert np.array_equal(await task, A)
        await c.close()
        # Whatever holds the pools that were closed, nothing in them is open.
        await until(lambda: not cluster.nodes[0]._open, lambda: cluster.nodes[0]._open)

    with no_leak():
        gc.disable()
        try:
            run(main())
        finally:
            gc.enable()


# Time limits


def test_the_second_batch_of_a_pipeline_ends_in_time(stub):
    """The node answers the first command and reads no more, so the client cannot send the rest."""
    released = threading.Event()
    server = stub(lambda connection: (connection.sendall(whole()), released.wait(60)))

    async def main():
        async with client_of(server.address, retry_for=0, socket_timeout=0.5) as c:
            began = time.monotonic()
            asyncio.get_running_loop().call_later(10, released.set)
            with pytest.raises(TimeoutError, match="silent"):
                await c.pipeline().get("k").set("a", np.zeros(32 << 20, np.uint8)).execute()
            assert time.monotonic() - began < 9
            released.set()

    run(main())


class SendsHalf:
    """A socket that never takes all that it is given."""

    def __init__(self, sock):
        self._sock = sock

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def send(self, data):
        return self._sock.send(data[: len(data) // 2])


@pytest.mark.plain
def test_a_command_of_which_a_part_was_sent_is_repeated_as_a_whole(stub, monkeypatch):
    server = stub(None, b"$-1\r\n")
    start = Connection.start

    def start_with_half(self):
        self._sock = SendsHalf(self._sock)
        start(self)

    monkeypatch.setattr(Connection, "start", start_with_half)

    async def main():
        async with client_of(server.address) as c:
            assert await c.get("k") is None

    run(main())
    assert server.commands == 2 * [[b"NP.GET", b"k", b"WITHATTRS"]]


@pytest.mark.parametrize("unexpected", [b"", b"-ERR idle for too long\r\n"], ids=["closed", "data"])
def test_an_idle_connection_that_is_not_quiet_is_not_used(stub, unexpected):
    """A transaction cannot be repeated, so it must not be tried there."""
    idle = threading.Event()

    def end(connection):
        connection.sendall(b"+PONG\r\n")
        idle.wait(30)
        connection.sendall(unexpected)

    server = stub(end, b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n+OK\r\n")

    async def main():
        async with client_of(server.address, retry_for=0) as c:
            assert await c.ping()
            (connection,) = (await pool_of(c))._idle
            idle.set()
            await until(lambda: not connection.usable)
            assert await c.pipeline(transaction=True).set("k", A).execute() == [True]

    run(main())
    assert server.connections == 2


@pytest.mark.parametrize("late", [False, True])
def test_cancelled_while_a_name_does_not_resolve(monkeypatch, late):
    def fail(*arguments, **options):
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    async def main():
        async with client_of(("name", 7379), retry_for=0) as c:
            assert await cancel_at_wait(c.get("k"), 0, late)
            with pytest.raises(ConnectionError, match="does not resolve"):
                await c.get("k")

    run(main())


def test_deadline_and_socket_timeout(stub):
    server = stub(*[holding] * 4)

    async def main():
        for options, text in ({"deadline": 0.2}, "deadline"), ({"socket_timeout": 0.2, "retry_for": 0}, "silent"):
            async with client_of(server.address, **options) as c:
                began = time.monotonic()
                with pytest.raises(TimeoutError, match=text):
                    await c.get("k")
                assert 0.1 < time.monotonic() - began < 5

    run(main())


@pytest.mark.parametrize("kind", LOOPS)
def test_very_short_deadlines(node, kind):
    """uvloop makes no timer for less than a millisecond."""

    async def main():
        async with client_of(node, retry_for=0) as c:
            await fill(c)
            ends = {"in time": 0, "late": 0}
            for number in range(1000):
                try:
                    assert np.array_equal(await c.with_options(deadline=1e-5 * (number % 100 + 1)).get("k"), A)
                    ends["in time"] += 1
                except (TimeoutError, NodeDownError):
                    ends["late"] += 1
            assert all(ends.values()), ends

    run(main(), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_blocked_event_loop_causes_no_timeout(node, kind):
    """The replies have come meanwhile, so they are taken although their time is over."""

    async def main():
        async with client_of(node, socket_timeout=0.3, socket_connect_timeout=0.3, retry_for=0, max_connections=4) as c:
            await fill(c)
            for number in range(6):
                calls = [asyncio.ensure_future(c.get("k")), asyncio.ensure_future(c.get("large")), asyncio.ensure_future(c.set("k4", B))]
                for _ in range(number):
                    await asyncio.sleep(0)
                time.sleep(0.4)
                got = await asyncio.gather(*calls)
                assert np.array_equal(got[0], A) and np.array_equal(got[1], B)

    run(main(), kind)


def test_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()

    async def main():
        async with client_of(address, retry_for=0) as c:
            with pytest.raises(ConnectionError, match="refused"):
                await c.get("k")

    with no_leak():
        run(main())
