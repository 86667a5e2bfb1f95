"""Pipelines and transactions."""
from __future__ import annotations

import threading

import numpy as np
import over_tls
import pytest
from conftest import start_node, stop_node
from ndring import BusyError, ConnectionError, DecodeError, InvalidArrayError, NumPyRedis, ServerError, UncertainWrite
from test_failures import client_of, whole

A = np.arange(6, dtype="<f4").reshape(2, 3)


def test_results_in_order(client):
    client.delete("{p}a", "{p}b", "{p}c")
    large = np.arange(300_000)
    for transaction in (False, True):
        with client.pipeline(transaction) as p:
            p.set("{p}a", A, ex=100).set("{p}a", A, nx=True).set("{p}b", large).get("{p}a").get("{p}b").get("{p}c", default="none")
            p.shape("{p}b").dtype("{p}a").meta("{p}c").verify("{p}a").exists("{p}a", "{p}b", "{p}c").ttl("{p}a").pttl("{p}c")
            p.persist("{p}a").expire("{p}a", 50).pexpire("{p}a", 50_000).expireat("{p}c", 4_000_000_000).memory_usage("{p}b").delete("{p}a", "{p}b")
            assert len(p) == 19
            results = p.execute()
            assert len(p) == 0 and p.execute() == []
        np.testing.assert_array_equal(results.pop(3), A)
        np.testing.assert_array_equal(results.pop(3), large)
        usage = results.pop(-2)
        assert large.nbytes < usage < 1.02 * large.nbytes + 200
        assert results == [True, False, True, "none", (300_000,), np.dtype("<f4"), None, True, 2, 100, -2, True, True, True, False, 2]


def test_arrays_come_back_unchanged(client):
    masked = np.ma.MaskedArray([1, 2, 3], mask=[0, 1, 0])
    with client.pipeline(transaction=True) as p:
        got = p.set("{p}m", masked).get("{p}m").set("{p}m", np.float32(2)).get("{p}m").execute()
    assert isinstance(got[1], np.ma.MaskedArray) and got[1].mask.tolist() == [False, True, False] and type(got[3]) is np.float32


def test_large_pipeline(client):
    for transaction in (False, True):
        with client.pipeline(transaction) as p:
            for i in range(2000):
                p.set("{p}%d" % i, np.full(1000, i))
            assert p.execute() == [True] * 2000
            for i in range(2000):
                p.get("{p}%d" % i)
            assert [int(a[0]) for a in p.execute()] == list(range(2000))
    client.delete_prefix("{p}")


def test_keys_of_different_slots(client):
    assert client.pipeline().set("a", A).set("b", A).delete("a").delete("b").execute() == [True, True, 1, 1]
    with pytest.raises(ValueError, match="b'a' and b'b' belong to different slots"):
        client.pipeline(transaction=True).set("a", A).set("b", A).execute()
    with pytest.raises(ValueError, match="different slots"):
        client.pipeline().delete("a", "b")
    with pytest.raises(ValueError, match="at least one"):
        client.pipeline().exists()
    assert client.exists("a", "b") == 0


def test_errors(stub):
    answers = [b"+OK\r\n", b"-BADNPY no\r\n", b":1\r\n"]
    with client_of(stub(*answers, *answers)) as c:
        results = c.pipeline().set("a", A).set("a", A).delete("a").execute(raise_on_error=False)
        assert results[0] is True and isinstance(results[1], InvalidArrayError) and results[2] == 1
        p = c.pipeline().set("a", A).set("a", A).delete("a")
        with pytest.raises(InvalidArrayError, match=r"no \(command 2 of the pipeline\)") as caught:
            p.execute()
        assert caught.value.prefix == "BADNPY" and len(p) == 0


def test_nothing_is_sent_before_execute(stub):
    server = stub(b"+OK\r\n")
    with client_of(server) as c:
        with c.pipeline() as p:
            p.set("a", A).get("b")
        assert len(p) == 0 and p.execute() == []
        p.get("b").reset()
        with pytest.raises(ValueError, match="different slots"):
            c.pipeline(True).set("a", A).get("b").execute()
        for wrong in (lambda: p.set("a", A, ex=0), lambda: p.set("a", [1]), lambda: p.get(""), lambda: p.expire("a", 1.5)):
            with pytest.raises((ValueError, TypeError)):
                wrong()
        assert len(p) == 0 and server.commands == []
        assert p.set("a", A).execute() == [True] and len(server.commands) == 1


def test_transaction_on_the_wire(stub):
    execs = b"*3\r\n+OK\r\n-ERR oops\r\n" + whole()
    server = stub(b"+OK\r\n", *[b"+QUEUED\r\n"] * 3, execs)
    with client_of(server) as c:
        results = c.pipeline(True).set("a", A).expire("a", 1).get("a").execute(raise_on_error=False)
    assert results[0] is True and isinstance(results[1], ServerError)
    np.testing.assert_array_equal(results[2], A)
    assert [command[0] for command in server.commands] == [b"MULTI", b"NP.SET", b"NP.EXPIRE", b"NP.GET", b"EXEC"]
    assert server.connections == 1


def test_a_refused_transaction_raises_the_reason(stub):
    refused = (b"+OK\r\n", b"-TOOLARGE 5 bytes\r\n", b"+QUEUED\r\n", b"-EXECABORT because of previous errors\r\n")
    server = stub(*refused, b"+PONG\r\n")
    with client_of(server) as c:
        with pytest.raises(ServerError, match="5 bytes"):
            c.pipeline(True).set("a", A).ttl("a").execute()
        assert c.ping()
    assert server.connections == 1


def test_a_refused_transaction_is_not_uncertain_if_the_rest_is_lost(stub):
    server = stub(b"+OK\r\n", b"+QUEUED\r\n", b"-BADNPY no\r\n", None)
    with client_of(server) as c, pytest.raises(InvalidArrayError):
        c.pipeline(True).ttl("a").set("a", A).execute()
    assert server.connections == 1


@pytest.mark.parametrize("answers", [(b"-BUSY later\r\n", b"+OK\r\n"), (b"+OK\r\n", b"+OK\r\n"), (b"+QUEUED\r\n",)], ids=repr)
def test_commands_executed_outside_a_transaction_are_not_repeated(stub, answers):
    server = stub(*answers, b"-ERR EXEC without MULTI\r\n", b"+PONG\r\n")
    with client_of(server) as c, pytest.raises(DecodeError, match="unexpected reply to command [01] of a transaction"):
        c.pipeline(True).set("a", A).execute()
    assert sum(command[0] == b"NP.SET" for command in server.commands) <= 1 and server.connections == 1


@pytest.mark.parametrize("reply", [b"*-1\r\n", b"*1\r\n+OK\r\n", b"+OK\r\n", b"*2\r\n+OK\r\n*0\r\n"], ids=repr)
def test_invalid_reply_to_exec(stub, reply):
    server = stub(b"+OK\r\n", b"+QUEUED\r\n", b"+QUEUED\r\n", reply, b"+PONG\r\n")
    with client_of(server) as c:
        with pytest.raises(DecodeError):
            c.pipeline(True).set("a", A).get("a").execute()
        assert c.ping()  # on a new connection
    assert server.connections == 2


def test_a_busy_transaction_is_retried(stub):
    refused = (b"+OK\r\n", b"-BUSY later\r\n", b"-EXECABORT because of previous errors\r\n")
    server = stub(*refused, *refused, b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n+OK\r\n", *refused * 1000)
    with client_of(server) as c:
        assert c.pipeline(True).set("a", A).execute() == [True]
    with client_of(server, retry_for=0.05) as c, pytest.raises(BusyError):
        c.pipeline(True).set("a", A).execute()


def test_a_lost_transaction_is_uncertain(stub):
    server = stub(b"+OK\r\n", b"+QUEUED\r\n", None)
    with client_of(server) as c, pytest.raises(UncertainWrite, match="reply was lost"):
        c.pipeline(True).set("a", A).execute()
    assert server.connections == 1


def test_a_transaction_without_a_node_is_not_uncertain(node):
    process, address = start_node()
    stop_node(process)
    with NumPyRedis(*address, retry_for=0.05) as c, pytest.raises(ConnectionError):
        c.pipeline(True).set("a", A).execute()


def test_a_transaction_is_atomic(node, client):
    client.set("{p}x", np.zeros(10))
    client.set("{p}y", np.zeros(10))
    stop = threading.Event()

    def write():
        with NumPyRedis(*node) as c:
            i = 0
            while not stop.is_set():
                i += 1
                c.pipeline(True).set("{p}x", np.full(10, i)).set("{p}y", np.full(10, i)).execute()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            x, y = client.pipeline(True).get("{p}x").get("{p}y").execute()
            assert (x == y).all() and (x == x[0]).all()
    finally:
        stop.set()
        writer.join()


@pytest.mark.filterwarnings("ignore:.*cluster_error_retry_attempts:DeprecationWarning")  # redis-py 6 about its own default
def test_redis_pipelines(node):
    import redis
    from test_client import npy

    keys = [f"{{r}}{i}" for i in range(50)]
    of_clusters = (None, True) if int(redis.__version__.split(".")[0]) >= 6 else (None,)  # redis-py 6 supports transactions in clusters
    for cls, transactions in ((redis.Redis, (True, False)), (redis.RedisCluster, of_clusters)):
        with cls(host=node[0], port=node[1], **over_tls.REDIS) as r:
            for transaction in transactions:
                for command, want in (("NP.SET", b"OK"), ("NP.GET", npy(A)), ("DEL", 1)):
                    p = r.pipeline() if transaction is None else r.pipeline(transaction=transaction)
                    for key in keys:
                        p.execute_command(command, key, *([npy(A)] if command == "NP.SET" else []))
                    assert p.execute() == [want] * 50


def test_redis_transactions_with_watch(node):
    import redis
    from test_client import npy

    with redis.Redis(host=node[0], port=node[1], **over_tls.REDIS) as r:
        r.execute_command("NP.SET", "{w}a", npy(A))
        with r.pipeline() as p:
            p.watch("{w}a")
            assert p.execute_command("NP.SHAPE", "{w}a") == [2, 3]
            p.multi()
            p.execute_command("NP.GET", "{w}a")
            p.expire("{w}a", 100)
            assert p.execute() == [npy(A), True]
            p.watch("{w}a")
            r.execute_command("NP.SET", "{w}a", npy(A))
            p.multi()
            p.delete("{w}a")
            with pytest.raises(redis.WatchError):
                p.execute()
        assert r.exists("{w}a") == 1


@pytest.mark.filterwarnings("ignore:.*cluster_error_retry_attempts:DeprecationWarning")  # redis-py 6 about its own default
def test_redis_asyncio(node):
    import asyncio

    import redis.asyncio
    from test_client import npy

    async def talk():
        r = redis.asyncio.Redis(host=node[0], port=node[1], **over_tls.REDIS)
        try:
            assert await r.execute_command("NP.SET", "{as}a", npy(A)) == b"OK"
            assert await r.execute_command("NP.GET", "{as}a") == npy(A)
            for transaction in (True, False):
                async with r.pipeline(transaction=transaction) as p:
                    assert await p.execute_command("NP.SHAPE", "{as}a").exists("{as}a").ttl("{as}a").execute() == [[2, 3], 1, -1]
            assert [key async for key in r.scan_iter(match="{as}*")] == [b"{as}a"]
        finally:
            await getattr(r, "aclose", r.close)()  # its name since redis-py 5
        if over_tls.ON and int(redis.__version__.split(".")[0]) < 5:
            return  # its clusters have no TLS
        cluster = redis.asyncio.RedisCluster(host=node[0], port=node[1], **over_tls.REDIS)
        try:
            assert await cluster.execute_command("NP.GET", "{as}a") == npy(A)
            async with cluster.pipeline() as p:
                assert await p.execute_command("NP.SHAPE", "{as}a").delete("{as}a").execute() == [[2, 3], 1]
        finally:
            await getattr(cluster, "aclose", cluster.close)()

    asyncio.run(talk())
