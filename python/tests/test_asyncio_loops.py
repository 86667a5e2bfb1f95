"""The client for asyncio in several event loops and threads, and event loops that end."""
from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import numpy as np
import pytest
from aio_helpers import A, KINDS, LOOPS, client_of, no_leak, run, until
from ndring import TimeoutError
from ndring._aio.connection import Connection
from ndring._aio.driver import Driver
from ndring._aio.work import Event
from ndring._aio.work import run as do
from ndring._core import nodes as _nodes
from ndring.asyncio import NumPyRedis
from routing_helpers import KEYS, in_threads
from test_failures import whole


# Event loops and threads


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("closes", [True, False])
def test_event_loops_one_after_the_other(node, kind, closes):
    """Without close(), the connections of a loop end when the next loop makes some."""
    shared = [client_of(node, max_connections=4)]

    async def main():
        (c,) = shared
        await asyncio.gather(*(c.set(f"k{i}", A + i) for i in range(8)))
        assert np.array_equal(await c.get("k3"), A + 3)
        if closes:
            await c.close()
        return (await c.info("clients"))["connected_clients"]

    with no_leak():
        counts = [run(main(), kind) for _ in range(5)]
        assert len(shared.pop()._cluster.nodes.seed._pools) == 1
    assert max(counts) <= min(counts) + 4


@pytest.mark.parametrize("kind", LOOPS)
def test_two_event_loops_at_once(node, kind):
    c = client_of(node, max_connections=2)

    def work(n):
        async def main():
            for i in range(100):
                await c.set(f"{n}-{i % 7}", A + n + i)
                assert np.array_equal(await c.get(f"{n}-{i % 7}"), A + n + i)
                if i % 20 == 0:
                    await c.close()
            await c.close()

        run(main(), kind)

    with no_leak():
        in_threads(3, work)


def test_event_loops_wait_for_the_same_slot_map(fake):
    """One of them fetches it for all, in its own thread."""
    cluster = fake(3)
    asked, go_on = threading.Event(), threading.Event()

    def slots(node):
        asked.set()
        go_on.wait(30)
        return cluster.slots_reply()

    for node in cluster.nodes:
        node.slots_override = slots
    c = NumPyRedis(*cluster.nodes[0].address, socket_timeout=20)
    waits = []

    def work(n):
        async def main():
            if n:
                assert asked.wait(30)
            began = time.monotonic()
            call = asyncio.ensure_future(c.get("k"))
            await asyncio.sleep(0.05)
            if n == 3:
                go_on.set()
            assert await call is None
            waits.append(time.monotonic() - began)
            await c.close()

        run(main())

    in_threads(4, work)
    assert cluster.asked_for_slots == 1 and max(waits) < 5


def test_if_a_fetch_of_the_slot_map_is_cancelled_another_call_fetches_it(fake):
    """A scan that waits for it must not take the only known node for all of them."""
    cluster = fake(3)
    go_on = threading.Event()

    def slots(node):
        go_on.wait(30)
        return cluster.slots_reply()

    async def main():
        async with NumPyRedis(*cluster.nodes[0].address) as c:
            await c.mset({key: A for key in KEYS})
        for node in cluster.nodes:
            node.slots_override = slots
        async with NumPyRedis(*cluster.nodes[0].address) as c:
            before = cluster.asked_for_slots
            first = asyncio.ensure_future(c.get("k1"))
            await until(lambda: cluster.asked_for_slots > before)
            scan = asyncio.ensure_future(all_keys(c))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait({first})
            go_on.set()
            assert sorted(await scan) == sorted(key.encode() for key in KEYS)

    run(main())


async def all_keys(c):
    return [key async for key in c.scan_iter()]


def test_a_node_leaves_while_event_loops_come_and_go(fake):
    """Its connections in other event loops are closed in those."""
    cluster = fake(3)
    c = NumPyRedis(*cluster.nodes[0].address)
    ready, gone = threading.Barrier(2, timeout=30), threading.Event()

    def work(n):
        async def main():
            await asyncio.gather(*(c.set(key, A) for key in KEYS[:30]))
            ready.wait()
            if n == 0:
                cluster.owners = [cluster.nodes[0] if owner is cluster.nodes[2] else owner for owner in cluster.owners]
                await until(lambda: time.monotonic() >= c._cluster.nodes._next_fetch)
                await c._cluster.nodes.driver.call(lambda: fetch(c))
                gone.set()
            else:
                await until(gone.is_set)
            await asyncio.gather(*(c.set(key, A) for key in KEYS[:30]))
            if n:
                await until(lambda: not cluster.nodes[2]._open)
            await c.close()

        run(main())

    in_threads(2, work)


async def fetch(c):
    await do(c._cluster.nodes.slots(fresh=True))


# Dropped clients and closed event loops


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_client_closes_its_connections(fake, kind):
    cluster = fake(2)

    async def main():
        c = NumPyRedis(*cluster.nodes[0].address)
        await asyncio.gather(*(c.set(key, A) for key in KEYS[:20]))
        assert cluster.nodes[0]._open and cluster.nodes[1]._open
        del c
        await until(lambda: not cluster.nodes[0]._open and not cluster.nodes[1]._open)

    gc.disable()
    try:
        run(main(), kind)
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_nobody_holds_goes_on(stub, kind):
    """An event loop holds tasks weakly, so what a task waits for must be held."""
    asked, go_on = threading.Event(), threading.Event()
    server = stub(lambda connection: (asked.set(), go_on.wait(30), connection.sendall(b"+OK\r\n")))
    done = []

    async def main():
        async with client_of(server.address, retry_for=0) as c:
            asyncio.ensure_future(c.set("k", A)).add_done_callback(lambda task: done.append(task.result()))
            await until(asked.is_set)
            gc.collect()
            go_on.set()
            await until(lambda: done)

    run(main(), kind)
    assert done == [True]


def test_a_dropped_client_with_a_near_cache(node):
    async def main():
        c = client_of(node, near_cache="1mb", near_cache_bound=0.5, max_connections=4)
        await c.set("k", A)

        async def kept(client):
            await client.get("k")
            return client.near_cache.hits

        while not await kept(c):
            await asyncio.sleep(0.001)
        del c, kept
        gc.collect()

    with no_leak():
        run(main())


def test_a_dropped_connection_stops_nothing_else(node):
    """Until the event loop has forgotten the socket of a dropped connection, no new one gets its number."""

    async def main():
        async with client_of(node, max_connections=1) as c:
            await c.set("k", A)
            for _ in range(50):
                other = client_of(node)
                await other.ping()
                thread = threading.Thread(target=gc.collect)
                (pool,) = other._cluster.nodes.seed._pools.values()
                pool.cycle = [pool]  # only the collection in another thread drops it
                del other, pool
                thread.start()
                async with client_of(node) as third:
                    assert await third.get("k") is not None and await c.get("k") is not None
                thread.join()
                await asyncio.sleep(0)

    with no_leak():
        run(main())


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("first", ["loop", "client"])
def test_an_event_loop_is_closed_with_open_connections(node, kind, first):
    """Nothing is said about it (python -W error), and they are closed. ``first``: what ends first."""
    with no_leak():
        for _ in range(3):
            loop = LOOPS[kind]()
            c = client_of(node)
            loop.run_until_complete(asyncio.wait_for(c.set("k", A), 30))
            if first == "client":
                del c
            loop.close()
            c = None
            gc.collect()


def test_an_event_loop_is_closed_by_another_thread_meanwhile(node, monkeypatch):
    loop = asyncio.new_event_loop()
    c = client_of(node)
    loop.run_until_complete(c.set("k", A))
    loop.close()
    monkeypatch.setattr(type(loop), "is_closed", lambda self: False)  # as if it were closed after the connection asked
    with no_leak():
        loop.call_soon_threadsafe = fails  # as a closed loop does
        del c
        gc.collect()
    monkeypatch.undo()


def fails(*arguments):
    raise RuntimeError("Event loop is closed")


def test_an_exception_of_a_signal_handler_costs_no_reply(stub, monkeypatch):
    """It comes when bytes have been received that the reply does not have yet: the next reply must
    not be taken for this one."""
    server = stub(whole() + whole(A + 1), whole(A + 2))
    received = Connection._advance
    interrupted = []

    def advance(self, count):
        if count == len(whole()) + len(whole(A + 1)) and not interrupted:
            interrupted.append(True)
            raise KeyError("of a signal handler")
        received(self, count)

    monkeypatch.setattr(Connection, "_advance", advance)

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        async with client_of(server.address, socket_timeout=60) as c:
            began = time.monotonic()
            assert np.array_equal(await c.get("k"), A + 2)
            assert interrupted and time.monotonic() - began < 20

    run(main())


# What event loops share


def test_of_work_done_in_parallel_an_error_ends_the_rest():
    driver = Driver()
    ended = []

    def waits():
        try:
            yield driver.sleep(600)
        finally:
            ended.append(True)

    def fails_soon():
        yield driver.sleep(0)
        raise KeyError("mine")

    async def main():
        with pytest.raises(KeyError, match="mine"):
            await driver.parallel([waits(), fails_soon(), waits()])
        assert ended == [True, True]

    run(main(), limit=20)


def test_an_event_is_waited_for_by_several_threads():
    event, ready = Event(), threading.Barrier(4, timeout=30)
    waits = []

    def work(n):
        async def main():
            if n:
                waiting = asyncio.ensure_future(event.wait(20))
                await asyncio.sleep(0)
                await asyncio.get_running_loop().run_in_executor(None, ready.wait)
                began = time.monotonic()
                assert await waiting and time.monotonic() - began < 10
                waits.append(n)
            else:
                ready.wait()
                event.set()
                assert await event.wait(0)

        run(main())

    in_threads(4, work)
    assert sorted(waits) == [1, 2, 3] and not event._waiting


def test_the_deadline_bounds_the_wait_for_a_slot_map_that_another_call_fetches(fake):
    cluster = fake(2)
    released = threading.Event()

    def slots(node):
        released.wait(30)
        return cluster.slots_reply()

    for node in cluster.nodes:
        node.slots_override = slots

    async def main():
        async with NumPyRedis(*cluster.nodes[0].address) as c:
            first = asyncio.ensure_future(c.get("k"))
            await until(lambda: c._cluster.nodes._fetching)
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await c.with_options(deadline=0.1).get("k")
            assert time.monotonic() - began < 5
            released.set()
            assert await first is None

    try:
        run(main())
    finally:
        released.set()


def test_a_lost_slot_map_fetch(fake):
    """_MapFetch.is_lost is independent of event loops."""
    cluster = fake(1)

    async def main():
        async with NumPyRedis(*cluster.nodes[0].address) as c:
            lost = _nodes._MapFetch(c._cluster.nodes.driver)
            lost._began -= 1000
            c._cluster.nodes._fetching["map"] = weakref.ref(lost)
            assert await c.get("k") is None

    run(main())
