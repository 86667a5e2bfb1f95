"""Calls while a primary dies and a replica takes its place, and writes that wait for copies. Against
a cluster of stubs."""
from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from fake_cluster import FakeNode
from ndring import (
    BusyError, ClusterDownError, ConnectionError, NodeDownError, NoReplicasError, NumPyRedis, OutOfMemoryError, TimeoutError, UncertainWrite,
)  # fmt: skip
from ndring._core import retry as _retry
from routing_helpers import A, KEYS, client_of, key_of, lose, names

REPLIES = {"CLUSTERDOWN": ClusterDownError, "TRYAGAIN": BusyError, "LOADING": BusyError, "READONLY": ClusterDownError, "MASTERDOWN": ClusterDownError}


def requests_of(*nodes):
    """Returns the request ids that the nodes received."""
    return [command[command.index(b"REQID") + 1] for node in nodes for command in node.commands if b"REQID" in command]


def promote_later(cluster, dead, heir, after):
    """Leaves the slots of a node without a primary for ``after`` seconds."""
    content, gone = dict(dead.data), [slot for slot, node in enumerate(cluster.owners) if node is dead]
    cluster.owners = [None if node is dead else node for node in cluster.owners]

    def promote():
        heir.data.update(content)
        owners = list(cluster.owners)
        for slot in gone:
            owners[slot] = heir
        cluster.owners = owners

    threading.Timer(after, promote).start()


def fails_over(cluster, dead, heir, after, do):
    """Makes a node die at its next write, before it replies. ``do``: the write reached the replica."""

    def override(node, arguments):
        if arguments[0] != b"NP.SET":
            return None
        if do:
            node._do(arguments)
        promote_later(cluster, dead, heir, after)
        threading.Thread(target=node.die).start()
        return FakeNode.DROP

    dead.override = override


def rejecting(reply, times=10**9, command=None):
    """Returns an override that answers the first commands with an error."""
    left = [times]

    def override(node, arguments):
        if command is not None and arguments[0] != command or not left[0]:
            return None
        left[0] -= 1
        return b"-%b\r\n" % reply.encode()

    return override


# A primary dies


@pytest.mark.parametrize("do", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("after", [0.0, 1.0])
@pytest.mark.parametrize("several", [False, True], ids=["set", "pipeline"])
def test_a_conditional_write_is_repeated_at_the_promoted_replica(replicated, do, after, several):
    cluster = replicated()
    key = key_of(cluster, 1)
    dead, heir = cluster.nodes[1:]
    with client_of(cluster) as c:
        c.get(key)
        fails_over(cluster, dead, heir, after, do)
        began = time.monotonic()
        if several:
            assert c.pipeline().set(key, A, nx=True).get(key_of(cluster, 0)).execute() == [True, None]
        else:
            assert c.set(key, A, nx=True) is True  # the first outcome, although the key exists by now
        assert time.monotonic() - began < after + 4
        assert c.set(key, A, nx=True) is False
    ids = requests_of(dead, heir)
    assert len(set(ids)) == 2 and ids.count(ids[0]) >= 2 and ids[0] in requests_of(heir)


@pytest.mark.parametrize("call", ["set", "delete", "expire", "get", "mget", "mset", "exists", "transaction"])
def test_calls_ride_through_a_failover(replicated, call):
    cluster = replicated()
    key = key_of(cluster, 1)
    other = key_of(cluster, 0)
    dead, heir = cluster.nodes[1:]
    with client_of(cluster) as c:
        c.mset({key: A, other: A})
        promote_later(cluster, dead, heir, 0.7)
        dead.die()
        if call == "transaction":
            c.close()  # one that was sent on an old connection may have been executed
        began = time.monotonic()
        result = {
            "set": lambda: c.set(key, A), "delete": lambda: c.delete(key, other), "expire": lambda: c.expire(key, 5), "get": lambda: c.get(key),
            "mget": lambda: len(c.mget([key, other])), "mset": lambda: c.mset({key: A, other: A}), "exists": lambda: c.exists(key, other),
            "transaction": lambda: c.pipeline(transaction=True).set(key, A).execute(),
        }[call]()  # fmt: skip
        assert 0.5 < time.monotonic() - began < 5
    expected = {"delete": 2, "mget": 2, "exists": 2, "transaction": [True]}
    assert np.array_equal(result, A) if call == "get" else result == expected.get(call, True)


@pytest.mark.parametrize("prefix", REPLIES)
def test_a_cluster_without_a_primary_for_a_second(fake, prefix):
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster) as c:
        c.get(key)
        cluster.nodes[1].override = rejecting(f"{prefix} for a moment")
        threading.Timer(1.0, lambda: setattr(cluster.nodes[1], "override", None)).start()
        began = time.monotonic()
        assert c.set(key, A, nx=True) is True and np.array_equal(c.get(key), A)
        assert 0.9 < time.monotonic() - began < 4
    tries = names(cluster.nodes[1]).count(b"NP.SET")
    assert 4 < tries < 25 and len(set(requests_of(cluster.nodes[1]))) == 1


@pytest.mark.parametrize("prefix", REPLIES)
def test_a_cluster_without_a_primary_for_too_long(fake, prefix):
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster, deadline=0.5) as c:
        c.get(key)
        cluster.nodes[1].override = rejecting(f"{prefix} for ever")
        for call in (lambda: c.set(key, A, nx=True), lambda: c.get(key), lambda: c.pipeline(transaction=True).set(key, A).execute()):
            began = time.monotonic()
            with pytest.raises(REPLIES[prefix], match=prefix):
                call()
            assert time.monotonic() - began < 1.5


def test_a_client_that_gave_up_finds_the_new_primary(replicated):
    """Its calls are shorter than a failover, so none of them waits for the end of one."""
    cluster = replicated()
    key = key_of(cluster, 1)
    dead, heir = cluster.nodes[1:]
    with client_of(cluster, retry_for=0) as c:
        c.set(key, A)
        dead.die()
        for _ in range(3):
            with pytest.raises(ConnectionError):
                c.get(key)
        cluster.promote(dead, heir)
        until = time.monotonic() + 5
        while True:
            try:
                assert np.array_equal(c.get(key), A)
                return
            except NodeDownError:
                assert time.monotonic() < until
                time.sleep(0.05)


def test_a_call_with_a_deadline_leaves_a_silent_primary_behind(replicated):
    cluster = replicated()
    key = key_of(cluster, 1)
    frozen, heir = cluster.nodes[1:]
    hold = threading.Event()
    try:
        with client_of(cluster, deadline=0.2) as c:
            c.set(key, A)
            frozen.override = lambda node, arguments: (hold.wait(30), FakeNode.DROP)[1]
            frozen.slots_override = lambda node: FakeNode.DROP if hold.wait(30) else None
            cluster.promote(frozen, heir)
            until = time.monotonic() + 5
            while True:
                began = time.monotonic()
                try:
                    assert np.array_equal(c.get(key), A)
                    return
                except (TimeoutError, NodeDownError):
                    assert time.monotonic() - began < 1.2 and began < until
    finally:
        hold.set()


# Unknown outcomes


def test_an_uncertain_conditional_write_learns_its_outcome(fake):
    cluster = fake()
    key = key_of(cluster, 1)

    def override(node, arguments):
        if arguments[0] != b"NP.SET":
            return None
        node._do(arguments)
        node.override = None
        return b"-UNCERTAIN not known to be committed\r\n"

    with client_of(cluster) as c:
        c.get(key)
        for call in (lambda: c.set(key, A, nx=True), lambda: c.pipeline().set(key, A, nx=True).execute() == [True], lambda: c.set(key, A)):
            cluster.nodes[1].override = override
            cluster.nodes[1].data.clear()
            assert call() is True
    assert len(requests_of(cluster.nodes[1])) == 4 and len(set(requests_of(cluster.nodes[1]))) == 2


def test_an_outcome_that_stays_unknown(fake):
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster, retry_for=0.2) as c:
        c.get(key)
        cluster.nodes[1].override = rejecting("UNCERTAIN deposed")
        for call in (lambda: c.set(key, A, nx=True), lambda: c.set(key, A), lambda: c.delete(key), lambda: c.pipeline().set(key, A).execute()):
            with pytest.raises(UncertainWrite, match="deposed"):
                call()
        cluster.nodes[1].commands.clear()
        cluster.nodes[1].override = rejecting("UNCERTAIN deposed", command=b"EXEC")
        with pytest.raises(UncertainWrite):
            c.pipeline(transaction=True).set(key, A).execute()
        assert names(cluster.nodes[1]).count(b"EXEC") == 1  # a transaction is not repeated


@pytest.mark.parametrize("reply", ["OOM full", "CLUSTERDOWN no", "NOREPLICAS no"])
def test_no_error_denies_a_write_that_may_have_been_done(fake, reply):
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster, retry_for=0.2) as c:
        c.get(key)
        for call in (lambda: c.set(key, A), lambda: c.delete(key), lambda: c.set(key, A, xx=True), lambda: c.pipeline().set(key, A).execute()):
            first = [FakeNode.DROP]
            cluster.nodes[1].override = lambda node, arguments: first.pop() if first else b"-%b\r\n" % reply.encode()
            with pytest.raises(UncertainWrite, match=reply):
                call()
        first = [FakeNode.DROP]
        with pytest.raises((OutOfMemoryError, ClusterDownError, NoReplicasError)):
            c.get(key)  # a read changes nothing


def test_a_plain_write_whose_reply_was_lost_is_repeated(fake):
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster) as c:
        c.get(key)
        lose(cluster.nodes[1])
        assert c.set(key, A) is True
    assert names(cluster.nodes[1]).count(b"NP.SET") == 2


# Too few copies


def test_a_write_waits_for_copies(fake):
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster) as c:
        c.get(key)
        for call in (lambda: c.set(key, A), lambda: c.pipeline(transaction=True).set(key, A).execute() == [True]):
            cluster.nodes[1].override = rejecting("NOREPLICAS 1 of 2", 3, b"NP.SET")
            assert call() is True


@pytest.mark.parametrize("options", [{"deadline": 0.5}, {"retry_for": 0.5}, {}], ids=str)
def test_a_write_does_not_wait_for_copies_for_ever(fake, options, monkeypatch):
    if not options:
        monkeypatch.setattr(_retry, "_NO_REPLICAS_FOR", 0.5)
    cluster = fake()
    key = key_of(cluster, 1)
    with client_of(cluster, **options) as c:
        c.get(key)
        cluster.nodes[1].override = rejecting("NOREPLICAS 1 of 2")
        for call in (
            lambda: c.set(key, A, write_concern="all"), lambda: c.set(key, A, nx=True), lambda: c.mset({key: A}), lambda: c.delete(key),
            lambda: c.pipeline(transaction=True).set(key, A).execute(),
        ):  # fmt: skip
            began = time.monotonic()
            with pytest.raises(NoReplicasError, match="^NOREPLICAS 1 of 2 .*waited 0.. s for more copies") as caught:
                call()
            assert 0.2 < time.monotonic() - began < 1.5 and caught.value.prefix == "NOREPLICAS"


def test_the_write_concern_of_a_call_and_of_the_client(fake):
    cluster = fake(1)

    def sent(call):
        cluster.nodes[0].commands.clear()
        call()
        return [command[command.index(b"WC") + 1] if b"WC" in command else None for command in cluster.nodes[0].commands if command[0] == b"NP.SET"]

    with client_of(cluster) as c, client_of(cluster, write_concern="all") as strict:
        for value, word in (("one", b"ONE"), ("SYNC", b"SYNC"), ("All", b"ALL"), (None, None)):
            assert sent(lambda value=value: c.set("k", A, write_concern=value)) == [word]
            assert sent(lambda value=value: c.pipeline().set("k", A, ex=9, write_concern=value).execute()) == [word]
        assert sent(lambda: strict.set("k", A)) == sent(lambda: strict.mset({"k": A})) == sent(lambda: strict.pipeline().set("k", A).execute()) == [b"ALL"]
        assert sent(lambda: strict.set("k", A, write_concern="one")) == [b"ONE"]
        assert sent(lambda: strict.with_options(write_concern=None).set("k", A)) == [None]
        assert strict.with_options(deadline=5)._core.defaults.write_concern == "ALL"
        for value, error in (("most", ValueError), ("", ValueError), (2, TypeError), (b"ALL", TypeError)):
            for call in (lambda: c.set("k", A, write_concern=value), lambda: c.with_options(write_concern=value), lambda: NumPyRedis(write_concern=value)):
                with pytest.raises(error, match="write_concern must be 'one', 'sync', 'all' or None"):
                    call()
    assert NumPyRedis.from_url("redis://a?write_concern=sync")._core.defaults.write_concern == "SYNC"


# Late replies


def test_a_late_reply_reaches_no_other_call(fake):
    cluster = fake()
    keys = [key for key in KEYS if cluster.owner(key) is cluster.nodes[1]][:2]
    slow = threading.Event()

    def override(node, arguments):
        if arguments[:2] == [b"NP.GET", keys[0].encode()]:
            slow.wait(30)

    with client_of(cluster) as c:
        c.mset({keys[0]: A, keys[1]: A + 1})
        cluster.nodes[1].override = override
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            c.with_options(deadline=0.2).get(keys[0])
        with pytest.raises(TimeoutError):
            c.with_options(deadline=0.2).mget(keys[:1])
        assert time.monotonic() - began < 2.4
        slow.set()
        for _ in range(20):
            assert np.array_equal(c.get(keys[1]), A + 1) and np.array_equal(c.get(keys[0]), A)
