"""Calls for many keys: in parallel, in pipelines, in transactions, in scans. Against a cluster of stubs."""
from __future__ import annotations

import threading
import time
import types

import numpy as np
import pytest
from fake_cluster import FakeNode
from ndring import ClusterDownError, ConnectionError, PartialError
from ndring._core import commands as _commands
from ndring._sync import parallel as _parallel
from routing_helpers import A, KEYS, client_of, do, key_of, names


# Several keys


def test_several_keys_are_requested_in_parallel_and_returned_in_order(fake):
    cluster = fake()
    together = threading.Barrier(3, timeout=30)

    def meet(node, arguments):
        if arguments[1] == first[node]:
            together.wait()  # no node replies before all have received a command

    with client_of(cluster) as c:
        c.get("k")
        first = {node: next(key for key in KEYS if cluster.owner(key) is node).encode() for node in cluster.nodes}
        for node in cluster.nodes:
            node.override = meet
        assert c.mset({key: np.full(3, i) for i, key in enumerate(KEYS)})
        assert [int(a[0]) for a in c.mget(KEYS)] == list(range(300))
        for node in cluster.nodes:
            node.override = None
        assert c.mget(["none", KEYS[1], KEYS[1]])[1].tolist() == [1, 1, 1]
        assert c.exists(*KEYS, KEYS[0], "none") == 301 and c.delete(*KEYS, "none") == 300 and c.exists(*KEYS) == 0
    assert cluster.redirects == 0 and all(t.name != "ndring-node" for t in threading.enumerate())


def test_keys_whose_slots_move_meanwhile(fake):
    cluster = fake()
    with client_of(cluster) as c:
        assert c.mset(dict.fromkeys(KEYS[:10], A))
        for key in KEYS[::10]:
            cluster.give(key, cluster.nodes[0])
        assert c.mset({key: np.full(3, i) for i, key in enumerate(KEYS)})
        for key in KEYS[::7]:
            cluster.give(key, cluster.nodes[1])
        assert [int(a[0]) for a in c.mget(KEYS)] == list(range(300))
        assert c.delete(*KEYS) == 300


def test_partial_failure_names_exactly_the_keys_of_the_dead_node(fake):
    cluster = fake()
    with client_of(cluster, retry_for=0.3) as c:
        c.mset({key: np.full(3, i) for i, key in enumerate(KEYS)})
        dead = cluster.nodes[1]
        lost = {key for key in KEYS if cluster.owner(key) is dead}
        dead.die()
        calls = {
            "mset": lambda: c.mset(dict.fromkeys(KEYS, A)), "mget": lambda: c.mget(KEYS),
            "exists": lambda: c.exists(*KEYS), "delete": lambda: c.delete(*KEYS),
        }  # fmt: skip
        for name, call in calls.items():
            with pytest.raises(PartialError) as caught:
                call()
            assert set(caught.value.errors) == lost and set(caught.value.results) == set(KEYS) - lost, name
            assert all(isinstance(e, (ConnectionError, ClusterDownError)) for e in caught.value.errors.values())
            if name in ("exists", "delete"):
                assert set(caught.value.results.values()) == {1}
        results = c.pipeline().get(KEYS[0]).get(sorted(lost)[0]).ttl(KEYS[0]).execute(raise_on_error=False)
        assert isinstance(results[1], (ConnectionError, ClusterDownError)) and results[0] is None and results[2] == -1
        dead.start()
        assert all(a is None for a in c.mget(set(KEYS) - lost)) and all(a is not None for a in c.mget(lost))


def test_results_of_keys_that_share_a_command(fake):
    cluster = fake(2)
    here, there = key_of(cluster, 0), key_of(cluster, 1)
    with client_of(cluster, retry_for=0) as c:
        c.mset({f"{{{here}}}{i}": A for i in range(3)})
        cluster.nodes[1].override = lambda node, arguments: b"-OOM full\r\n"
        for missing, want in (("{%s}0", 1), ("{%s}x", None)):
            with pytest.raises(PartialError) as caught:
                c.exists(f"{{{here}}}1", missing % here, there)
            assert caught.value.results == {f"{{{here}}}1": want, missing % here: want} and set(caught.value.errors) == {there}


def test_no_thread_can_be_started(fake, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    cluster = fake()
    with client_of(cluster) as c:
        c.get("k")
        monkeypatch.setattr(_parallel, "threading", types.SimpleNamespace(Thread=type("Thread", (threading.Thread,), {"start": refuse})))
        assert c.mset(dict.fromkeys(KEYS, A)) and len(c.mget(KEYS)) == 300


def test_run_parallel_raises_the_exception_of_a_part():
    done = []

    def call(part):
        part()

    def fail():
        raise MemoryError("no room")

    for parts in ([fail, lambda: done.append(1)], [lambda: done.append(1), fail], [fail]):
        with pytest.raises(MemoryError, match="no room"):
            _parallel.run_parallel(parts, call)
    _parallel.run_parallel([lambda: done.append(2)] * 50, call)
    assert done.count(2) == 50


def test_large_arrays_are_sent_in_parallel(fake):
    cluster = fake()
    arrays = {key: np.full(1 << 20, i, np.uint8) for i, key in enumerate(KEYS[:30])}
    with client_of(cluster) as c:
        c.mset(arrays)
        assert all(np.array_equal(a, b) for a, b in zip(c.mget(arrays), arrays.values()))
        out = np.zeros(1 << 20, np.uint8)
        for node in cluster.nodes:
            node.override = lambda node, arguments: b"$-1\r\n" if arguments[0] == b"NP.META" else None
        assert c.get("k0", out=out, default="none") == "none"


# Pipelines


def test_pipelines(fake):
    cluster = fake()
    with client_of(cluster) as c:
        p = c.pipeline()
        for i, key in enumerate(KEYS):
            p.set(key, np.full(3, i)).get(key)
        for i, got in enumerate(p.execute()[1::2]):
            assert got.tolist() == [i] * 3
        transaction = c.pipeline(transaction=True).set("{t}a", A).get("{t}a").exists("{t}a", "{t}b").execute()
        assert transaction[0] is True and np.array_equal(transaction[1], A) and transaction[2] == 1
        where = cluster.owner("{t}a")
        for node in cluster.nodes:
            assert (b"MULTI" in names(node)) is (node is where)
    assert cluster.redirects == 0


def test_a_redirected_transaction_is_executed_completely_elsewhere(fake):
    cluster = fake()
    first, second = cluster.owner("{t}a"), next(node for node in cluster.nodes if cluster.owner("{t}a") is not node)
    with client_of(cluster) as c:
        c.get("{t}a")
        cluster.give("{t}a", second)
        time.sleep(0.2)
        assert c.pipeline(True).set("{t}a", A).set("{t}b", A, nx=True).execute() == [True, True]
        assert names(first)[-4:] == names(second) == [b"MULTI", b"NP.SET", b"NP.SET", b"EXEC"]
        assert c.pipeline(True).exists("{t}a", "{t}b").execute() == [2]
        assert cluster.redirects == 2 and cluster.asked_for_slots == 2
        first.data.clear()
        # MOVED for the last command, and for the first: nothing was executed in either case
        for when in (b"EXEC", b"MULTI"):
            cluster.give("{t}a", first)
            do(c, c._cluster.nodes.refresh())
            first.commands.clear()

            def override(node, arguments):
                if arguments[0] == when or when == b"MULTI":
                    cluster.give("{t}a", second)
                    return b"-MOVED 1 %b\r\n" % second.where.encode()
                return None

            first.override = override
            time.sleep(1.6)  # so that the client has the map with ``first``
            assert c.pipeline(True).set("{t}c", A).execute() == [True] and b"{t}c" not in first.data
            first.override = None


# Scans


def test_scan_of_all_nodes(fake):
    cluster = fake()
    with client_of(cluster) as c:
        c.mset(dict.fromkeys(KEYS, A))
        assert sorted(c.scan_iter(count=7)) == sorted(key.encode() for key in KEYS)
        walk = c.scan_iter(count=10)
        found = [next(walk)]
        # Slots without keys move, and a new node joins: every key is still yielded once.
        full = {_commands.slot(key.encode()) // 64 for key in KEYS}
        new = FakeNode(cluster, "n" * 40)
        cluster.nodes.append(new)
        for shard in set(range(256)) - full:
            cluster.owners[shard * 64 : shard * 64 + 64] = [new] * 64
        found += walk
        assert sorted(found) == sorted(key.encode() for key in KEYS)


def test_scan_notices_new_nodes(fake):
    cluster = fake(3)
    third = cluster.nodes[2]
    cluster.owners = [node if node is not third else cluster.nodes[0] for node in cluster.owners]
    with client_of(cluster) as c:
        c.mset(dict.fromkeys(KEYS[:100], A))
        free = next(key for key in KEYS if _commands.slot(key.encode()) // 64 not in {_commands.slot(k.encode()) // 64 for k in KEYS[:100]})
        cluster.give(free, third)
        with client_of(cluster, 2) as other:
            other.set(free, A)
        assert len(list(c.scan_iter())) == 101


def test_scan_of_a_node_that_restarts_with_another_address(fake):
    cluster = fake(2)
    with client_of(cluster) as c:
        c.mset(dict.fromkeys(KEYS, A))
        walk = c.scan_iter(count=10)
        found = [next(walk)]
        for node in cluster.nodes[1:]:
            node.die()
            node.start(("127.0.0.1", 0))
        assert sorted([*found, *walk]) == sorted(key.encode() for key in KEYS)


def test_scan_omits_no_keys_silently(fake):
    cluster = fake()
    with client_of(cluster, retry_for=0.3) as c:
        c.mset(dict.fromkeys(KEYS, A))
        dead = cluster.nodes[1]
        dead.die()
        with pytest.raises(ConnectionError):
            list(c.scan_iter())
        cluster.owners = [None if node is dead else node for node in cluster.owners]
        for call in (lambda: list(c.scan_iter()), lambda: c.delete_prefix("k")):
            with pytest.raises(ClusterDownError, match="no node serves"):
                call()
        # The node has left: others have its slots, and its keys are lost.
        cluster.owners = [cluster.nodes[0] if node is None else node for node in cluster.owners]
        assert len(list(c.scan_iter())) == sum(len(node.data) for node in cluster.nodes if node is not dead)


def test_scan_while_a_node_leaves(fake):
    cluster = fake()
    with client_of(cluster, retry_for=0.3) as c:
        kept = {_commands.slot(key.encode()) // 64 for key in KEYS[:50]}
        cluster.owners = [node if i // 64 in kept else cluster.nodes[2] for i, node in enumerate(cluster.owners)]
        c.mset(dict.fromkeys([key for key in KEYS[:50] if cluster.owner(key) is not cluster.nodes[2]], A))
        keys = {key for node in cluster.nodes for key in node.data}
        walk = c.scan_iter(count=5)
        found = [next(walk)]
        cluster.owners = [node if node is not cluster.nodes[2] else cluster.nodes[0] for node in cluster.owners]
        cluster.nodes[2].die()
        assert sorted([*found, *walk]) == sorted(keys)
