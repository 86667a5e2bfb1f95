"""The client for asyncio: get_or_set, and large arrays."""
from __future__ import annotations

import asyncio
import threading
import time
import uuid

import numpy as np
import over_tls
import pytest
from aio_helpers import A, LOOPS, client_of, run, until
from fake_cluster import FakeNode
from ndring._core import get_or_set as _get_or_set
from ndring._core.resp import pack
from ndring.asyncio import NumPyRedis
from test_failures import whole


@pytest.fixture
def key():
    return "made-" + uuid.uuid4().hex


# get_or_set


@pytest.mark.parametrize("kind", LOOPS)
def test_one_task_computes_for_all(node, key, kind):
    made = []

    async def make():
        made.append(True)
        await asyncio.sleep(0.2)  # time for the others to arrive
        return A

    async def main():
        async with client_of(node, max_connections=8) as c:
            for got in await asyncio.gather(*(c.get_or_set(key, make, ex=100) for _ in range(20))):
                assert np.array_equal(got, A)
            assert made == [True]
            assert np.array_equal(await c.get_or_set(key + "2", lambda: A + 1), A + 1)  # not awaited

    run(main(), kind)


@pytest.mark.parametrize("end", ["cancelled", "raises"])
def test_if_the_maker_ends_another_task_takes_over(node, key, end):
    """At once, although the lease is long."""
    entered = []

    async def fail():
        entered.append(True)
        await asyncio.sleep(0.2 if end == "raises" else 600)
        raise RuntimeError("no")

    async def make():
        return A

    async def main():
        async with client_of(node, max_connections=8) as c:
            maker = asyncio.ensure_future(c.get_or_set(key, fail, lease=60))
            await until(lambda: entered)
            others = [asyncio.ensure_future(c.get_or_set(key, make, lease=60)) for _ in range(5)]
            await asyncio.sleep(0.05)
            if end == "cancelled":
                maker.cancel()
            for other in others:
                assert np.array_equal(await asyncio.wait_for(other, 30), A)
            await asyncio.wait({maker})
            assert maker.cancelled() if end == "cancelled" else isinstance(maker.exception(), RuntimeError)

    run(main())


@pytest.mark.parametrize("again", [False, True])
def test_a_cancelled_maker_ends_soon_although_the_node_hangs(fake, again):
    """It cannot release its lock, which expires. ``again``: it is cancelled a second time meanwhile."""
    cluster = fake(1)
    hangs, released, entered = threading.Event(), threading.Event(), []

    def override(node, arguments):
        if arguments[0] == b"NP.SET":
            if hangs.is_set():
                released.wait(30)
                return FakeNode.DROP
            return b"$3\r\n1-1\r\n"
        return None

    cluster.nodes[0].override = override

    async def make():
        entered.append(True)
        await asyncio.sleep(600)

    async def main():
        async with NumPyRedis(*cluster.nodes[0].address, socket_timeout=20) as c:
            maker = asyncio.ensure_future(c.get_or_set("k", make))
            await until(lambda: entered)
            hangs.set()
            began = time.monotonic()
            maker.cancel()
            if again:
                await until(lambda: cluster.nodes[0].commands[-1][0] == b"NP.SET")
                maker.cancel()
            await asyncio.wait({maker})
            assert maker.cancelled() and time.monotonic() - began < 8
            assert await c.get("other") is None
        released.set()

    try:
        run(main())
    finally:
        released.set()


def test_a_renewal_that_is_cancelled_before_it_begins(node, key, monkeypatch):
    """As when an event loop cancels all its tasks at its end."""

    async def main():
        async with client_of(node, max_connections=4) as c:
            driver = c._cluster.nodes.driver
            spawn = driver.spawn

            def spawn_and_cancel(work, name):
                before = set(driver._spawned)
                try:
                    return spawn(work, name)
                finally:
                    (task,) = set(driver._spawned) - before
                    task.cancel()

            monkeypatch.setattr(driver, "spawn", spawn_and_cancel)
            assert np.array_equal(await asyncio.wait_for(c.get_or_set(key, lambda: A), 20), A)
            monkeypatch.setattr(driver, "spawn", spawn)
            assert await c.exists(_get_or_set._PREFIX + key.encode()) == 0 or await c.pttl(_get_or_set._PREFIX + key.encode()) <= 1

    run(main())


# Large arrays


@pytest.mark.parametrize("kind", LOOPS)
def test_large_arrays_both_ways_at_once(node, key, kind):
    size = 8 << 20  # numbers: 64 MiB

    async def main():
        async with client_of(node, max_connections=6, socket_timeout=60) as c:
            arrays = [np.arange(i, size + i) for i in range(2)]
            await asyncio.gather(*(c.set(f"{key}{i}", array) for i, array in enumerate(arrays)))
            out = np.empty(size, int)
            got = await asyncio.gather(
                c.get(f"{key}0"), c.set(f"{key}0b", arrays[0]), c.get(f"{key}1", out=out), c.set(f"{key}1b", arrays[1]), c.ping()
            )
            assert np.array_equal(got[0], arrays[0]) and got[2] is out and np.array_equal(out, arrays[1]) and got[1] and got[3] and got[4]
            got = await c.mget([f"{key}0b", f"{key}1b"])
            assert np.array_equal(got[0], arrays[0]) and np.array_equal(got[1], arrays[1])
            assert await c.delete(f"{key}0", f"{key}1", f"{key}0b", f"{key}1b") == 4

    run(main(), kind)


def raw_reply(address, *arguments):
    """Returns the bytes with which a node replies to a command."""
    with over_tls.connected(address) as s:
        s.sendall(b"".join([*pack(*arguments), *pack(b"QUIT")]))
        return b"".join(iter(lambda: s.recv(1 << 16), b"")).removesuffix(b"+OK\r\n")


def test_a_cancelled_get_writes_no_more_into_out(node, stub, key):
    asked, released = threading.Event(), threading.Event()
    array = np.arange(1 << 20)

    def half(connection):
        reply = whole(array)
        connection.sendall(reply[: len(reply) // 2])
        asked.set()
        released.wait(30)
        connection.sendall(reply[len(reply) // 2 :])

    server = stub()

    async def main():
        async with client_of(node) as c:
            await c.set(key, array)
        server.answers += [raw_reply(node, b"NP.META", key.encode()), half, b"$-1\r\n"]
        out = np.zeros(1 << 20, int)
        async with client_of(server.address) as c:
            call = asyncio.ensure_future(c.get(key, out=out))
            await until(lambda: asked.is_set() and out[1 << 18])
            call.cancel()
            await asyncio.wait({call})
            released.set()
            assert await c.get("other") is None
            assert not out[-1]

    run(main())
