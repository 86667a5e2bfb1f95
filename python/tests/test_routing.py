"""Which node gets which command, and what happens if that changes or fails. Against a cluster of stubs."""
from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fake_cluster import FakeNode
from ndring import BusyError, ClusterDownError, DecodeError, MovedError, NumPyRedis, OutOfMemoryError, UncertainWrite
from ndring._core import commands as _commands
from ndring._core import nodes as _nodes
from ndring._core.slots import Address, parse_address, parse_slots, parse_redirect
from routing_helpers import A, ASKED, KEYS, client_of, do, in_threads, key_of, lose, names
from test_failures import whole

PYTHON = Path(__file__).resolve().parents[1]


# Parsing


def test_slots():
    node = [b"10.0.0.1", 7001, b"a" * 40, []]
    replica = [b"10.0.0.9", 7009, b"r" * 40, []]
    found = parse_slots([[8192, 16383, [b"", 7002, b"b" * 40]], [0, 8191, node, replica]], ASKED)
    assert found.nodes == {"a" * 40: ("10.0.0.1", 7001), "b" * 40: ("seed", 7002)} and found.complete
    assert found.owners()[8191] == ("10.0.0.1", 7001) and found.owners()[8192] == ("seed", 7002)
    gap = parse_slots([[5, 9, [b"::1", 7001]]], ASKED)
    assert not gap.complete and gap.owners()[4] is gap.owners()[10] is None and gap.owners()[9] == ("::1", 7001)
    assert parse_slots([], ASKED).nodes == {}


@pytest.mark.parametrize(
    "reply",
    [
        None, b"x", 7, "OK", [1], [[]], [[0, 1]], [[0, 1, None]], [[0, 1, []]], [[0, 1, [b"h"]]], [[-1, 1, [b"h", 1]]], [[0, 16384, [b"h", 1]]],
        [[2, 1, [b"h", 1]]], [[0, 1 << 70, [b"h", 1]]], [[b"0", 1, [b"h", 1]]], [[True, 1, [b"h", 1]]], [[0, 1, [b"h", 0]]],
        [[0, 1, [b"h", 65536]]], [[0, 1, [b"h", b"1"]]], [[0, 1, [7, 1]]], [[0, 1, [b"h" * 256, 1]]], [[0, 1, [b"h\n", 1]]],
        [[0, 5, [b"h", 1]], [5, 6, [b"h", 1]]], [[0, 1, [b"h", 1, b"id"]], [2, 3, [b"i", 1, b"id"]]], [[0, 0, [b"h", 1]]] * 16385,
    ],
    ids=lambda reply: repr(reply)[:40],
)  # fmt: skip
def test_invalid_slots(reply):
    with pytest.raises(DecodeError):
        parse_slots(reply, ASKED)


def test_addresses():
    assert parse_redirect("MOVED 12182 10.0.0.1:7000", ASKED) == (("10.0.0.1", 7000), False)
    assert parse_redirect("ASK 1 ::1:7000", ASKED) == (("::1", 7000), True)
    assert parse_redirect("MOVED 1 :7000", ASKED) == (("seed", 7000), False)
    assert parse_address("[::1]:7000", ASKED) == ("::1", 7000)
    for text in ("MOVED", "MOVED 1", "MOVED 1 host", "MOVED 1 host:", "MOVED 1 host:x", "MOVED 1 h:0", "MOVED 1 h:65536", "MOVED 1 h:123456", "MOVED 1 h:²"):
        with pytest.raises(DecodeError):
            parse_redirect(text, ASKED)


# The slot map


def test_one_node_is_enough_to_find_the_rest(fake):
    cluster = fake()
    with client_of(cluster) as c:
        assert cluster.asked_for_slots == 0
        for key in KEYS:
            assert c.set(key, A)
            assert np.array_equal(c.get(key), A)
            assert c.exists(key) == 1 and c.ttl(key) == -1
        assert sorted(c.nodes()) == sorted(node.where for node in cluster.nodes)
    assert cluster.redirects == 0 and cluster.asked_for_slots == 1
    assert sum(len(node.data) for node in cluster.nodes) == 300 and all(len(node.data) > 50 for node in cluster.nodes)


def test_calls_without_a_key_fetch_no_map(fake):
    cluster = fake()
    with client_of(cluster, 1) as c:
        assert c.ping() and c.info()["name"] == 1
        assert cluster.asked_for_slots == 0 and names(cluster.nodes[1]) == [b"PING", b"INFO"]
        assert c.info(node=cluster.nodes[2].where)["name"] == 2
        with pytest.raises(ValueError, match="unknown node 'elsewhere:1'; the nodes are 127.0.0.1"):
            c.info(node="elsewhere:1")


def test_a_single_node_gets_everything_whatever_address_it_reports(stub, monkeypatch):
    server = stub(*[b"+OK\r\n"] * 10, b":7\r\n", b"*2\r\n$1\r\n0\r\n*0\r\n")
    server.slots = server.slots.replace(b"$0\r\n\r\n", b"$12\r\n192.0.2.1\r\n\r\n"[0:5] + b"192.0.2.1xyz\r\n")  # an unreachable address
    with NumPyRedis(*server.address, retry_for=0) as c:
        monkeypatch.setattr(threading.Thread, "start", lambda thread: pytest.fail("a thread for one node"))
        assert c.mset({f"k{i}": A for i in range(10)}) and c.ttl("k") == 7
        assert c.nodes() == [f"127.0.0.1:{server.address[1]}"] and server.asked_for_slots == 1
        assert list(c.scan_iter()) == []
    assert server.connections == 1


@pytest.mark.parametrize("slots", [b"-ERR This instance has cluster support disabled\r\n", b"-NOPERM no\r\n", b"*0\r\n",
    b"+OK\r\n", b"*1\r\n:1\r\n", b"-LOADING\r\n"])
def test_a_node_that_is_not_in_a_cluster(stub, slots):
    server = stub(b"+OK\r\n", whole())
    server.slots = slots
    with NumPyRedis(*server.address) as c:
        assert c.set("k", A) and np.array_equal(c.get("k"), A)
    assert server.asked_for_slots == 1


def test_a_single_node_becomes_one_of_several(fake, monkeypatch):
    monkeypatch.setattr(_nodes, "_MIN_FETCH_INTERVAL", 0)  # the second fetch may follow at once
    cluster = fake(2)
    first, second = cluster.nodes
    everything, cluster.owners = cluster.owners, [first] * 16384
    with client_of(cluster) as c:
        c.mset({key: A for key in KEYS})
        assert len(first.data) == 300
        cluster.owners = everything
        second.data = {k: first.data.pop(k) for k in list(first.data) if cluster.owner(k) is second}
        for key in KEYS:
            assert np.array_equal(c.get(key), A)
    assert cluster.redirects == 1 and cluster.asked_for_slots == 2


def test_many_threads_share_the_first_fetch(fake):
    cluster = fake()
    slow = threading.Event()
    cluster.nodes[0].slots_override = lambda node: (slow.wait(0.2), cluster.slots_reply())[1]
    with client_of(cluster) as c:
        in_threads(16, lambda n: c.set(KEYS[n], A))
    assert cluster.asked_for_slots == 1 and cluster.redirects == 0


# Redirects


def test_moved(fake):
    cluster = fake()
    key = key_of(cluster, 0)
    with client_of(cluster) as c:
        c.set(key, A)
        cluster.give(key, cluster.nodes[2])
        time.sleep(0.2)  # at first the map is too new to be fetched again
        for _ in range(5):
            assert np.array_equal(c.get(key), A)
    assert cluster.redirects == 1 and cluster.asked_for_slots == 2


def test_moved_to_an_unknown_node(fake):
    cluster = fake(2)
    key = key_of(cluster, 0)
    with client_of(cluster) as c:
        c.set(key, A)
        cluster.told = list(cluster.owners)
        new = FakeNode(cluster, "n" * 40)
        cluster.nodes.append(new)
        cluster.give(key, new)
        for _ in range(5):
            assert np.array_equal(c.get(key), A)
        cluster.told = None
        time.sleep(2)  # the longest pause between two fetches
        for _ in range(5):
            assert np.array_equal(c.get(key), A)
    assert cluster.redirects <= 6


def test_moved_without_a_host_means_the_same_host(fake):
    cluster = fake(2)
    key = key_of(cluster, 0)
    port = cluster.nodes[1].address[1]
    cluster.nodes[1].override = lambda node, arguments: whole()
    cluster.nodes[0].override = lambda node, arguments: b"-MOVED 1 :%d\r\n" % port
    with client_of(cluster) as c:
        assert np.array_equal(c.get(key), A)


def test_ask_applies_to_one_command(fake):
    cluster = fake()
    key = key_of(cluster, 0)
    with client_of(cluster) as c:
        c.set(key, A)
        target = cluster.nodes[1]
        target.data[key.encode()] = cluster.nodes[0].data[key.encode()]
        cluster.nodes[0].override = lambda node, arguments: b"-ASK %d %b\r\n" % (_commands.slot(key.encode()), target.where.encode())
        assert np.array_equal(c.get(key), A)
        assert names(target) == [b"ASKING", b"NP.GET"]
        assert c.mget([key, key_of(cluster, 1)])[1] is None
        assert names(target)[2:] in ([b"ASKING", b"NP.GET", b"NP.GET"], [b"NP.GET", b"ASKING", b"NP.GET"])
        cluster.nodes[0].override = None
        assert np.array_equal(c.get(key), A)
    assert cluster.asked_for_slots == 1


@pytest.mark.parametrize("reply", [b"-TRYAGAIN later\r\n", b"-CLUSTERDOWN starting\r\n", b"-LOADING\r\n", b"-BUSY uploads\r\n", b"-MASTERDOWN\r\n"])
def test_temporary_errors_are_waited_for(fake, reply):
    cluster = fake()
    key = key_of(cluster, 2)
    answers = [reply] * 3
    cluster.nodes[2].override = lambda node, arguments: answers.pop() if answers else None
    with client_of(cluster) as c:
        assert c.set(key, A, nx=True) is True
        assert c.mget([key])[0] is not None
    requests = {command[command.index(b"REQID") + 1] for command in cluster.nodes[2].commands if b"REQID" in command}
    assert len(requests) == 1


def test_temporary_errors_that_persist_are_raised(fake):
    cluster = fake()
    key = key_of(cluster, 2)
    with client_of(cluster, retry_for=0.3) as c:
        for reply, error in ((b"-CLUSTERDOWN no\r\n", ClusterDownError), (b"-TRYAGAIN no\r\n", BusyError)):
            cluster.nodes[2].override = lambda node, arguments: reply
            for call in (lambda: c.get(key), lambda: c.set(key, A, nx=True), lambda: c.mget([key]), lambda: c.pipeline(True).get(key).execute()):
                with pytest.raises(error):
                    call()


def test_nodes_that_point_at_each_other(fake):
    cluster = fake(2)
    key = key_of(cluster, 0)
    for node, other in (cluster.nodes, cluster.nodes[::-1]):
        node.override = lambda node, arguments, other=other: b"-MOVED 1 %b\r\n" % other.where.encode()
    with client_of(cluster, retry_for=0) as c:
        for call in (lambda: c.get(key), lambda: c.mget([key])):
            with pytest.raises(MovedError):
                call()
            assert sum(len(node.commands) for node in cluster.nodes) == 6  # the first command, and five redirects
            for node in cluster.nodes:
                node.commands.clear()
    with client_of(cluster, retry_for=0.5) as c, pytest.raises(MovedError):
        c.pipeline(True).get(key).execute()


def test_an_invalid_redirect(fake):
    cluster = fake()
    for node in cluster.nodes:
        node.override = lambda node, arguments: b"-MOVED 1 nowhere\r\n"
    with client_of(cluster, retry_for=0.1) as c, pytest.raises(MovedError, match="nowhere"):
        c.get("k")


def test_a_unix_socket_reaches_one_node(stub, tmp_path):
    server = stub(b"+OK\r\n", b"-MOVED 1 10.0.0.1:7379\r\n", path=tmp_path / "socket")
    with NumPyRedis.from_url(f"unix://{tmp_path}/socket?retry_for=0") as c:
        assert c.set("k", A)
        with pytest.raises(MovedError):
            c.get("k")
        assert c.nodes() == [str(tmp_path / "socket")]
    assert server.asked_for_slots == 0


# Conditional writes


def test_a_redirected_conditional_write_was_not_done(fake):
    cluster = fake()
    key = key_of(cluster, 0)
    with client_of(cluster) as c:
        c.get(key)
        cluster.give(key, cluster.nodes[1])
        assert c.set(key, A, nx=True) is True and c.set(key, A, nx=True) is False
    ids = [command[command.index(b"REQID") + 1] for node in cluster.nodes for command in node.commands if b"REQID" in command]
    assert len(ids) > len(set(ids)) == 2


def test_a_lost_conditional_write_that_is_then_redirected_is_repeated_there(fake):
    cluster = fake()
    key = key_of(cluster, 0)
    first, second = cluster.nodes[:2]
    with client_of(cluster) as c:
        c.get(key)

        def override(node, arguments):
            if arguments[0] != b"NP.SET":
                return None
            node._do(arguments)
            cluster.give(key, second)
            node.override = None
            return FakeNode.DROP

        for call in (
            lambda: c.set(key, A, nx=True),
            lambda: c.pipeline().set(key, A, nx=True).execute(),
            lambda: c.pipeline().set(key, A, if_version="1-1").get(key_of(cluster, 2)).execute(),
        ):
            first.override = override
            first.commands.clear()
            assert call() in (True, [True], [True, None])  # as the first node did it, although the key exists by now
            requests = [command[command.index(b"REQID") + 1]
                        for node in (first, second) for command in node.commands if command[0] == b"NP.SET"]  # fmt: skip
            assert len(requests) >= 2 and len(set(requests)) == 1 and b"NP.SET" in names(second)
            second.commands.clear()
            cluster.give(key, first)
            time.sleep(0.2)
            do(c, c._cluster.nodes.refresh())
            del first.data[key.encode()]


def test_a_lost_conditional_write_whose_node_dies_is_repeated_at_the_next_one(fake):
    cluster = fake()
    key = key_of(cluster, 0)
    with client_of(cluster, 1) as c:
        c.get(key)

        def override(node, arguments):
            node._do(arguments)
            threading.Thread(target=node.die).start()
            cluster.give(key, cluster.nodes[1])
            return FakeNode.DROP

        cluster.nodes[0].override = override
        assert c.set(key, A, nx=True) is True
        assert b"NP.SET" in names(cluster.nodes[1])
        assert c.set(key, A, nx=True) is False


def test_a_lost_conditional_write_that_was_not_done_is_done_by_the_repeat(fake):
    cluster = fake()
    key = key_of(cluster, 0)
    with client_of(cluster) as c:
        c.get(key)
        lose(cluster.nodes[0], do=False)
        assert c.set(key, A, nx=True) is True
    assert names(cluster.nodes[0]).count(b"NP.SET") == 2 and b"NP.SET" not in names(cluster.nodes[1])


@pytest.mark.parametrize("reply", [b"-BUSY later\r\n", b"-OOM full\r\n", b"-CLUSTERDOWN no\r\n"])
def test_an_error_reply_to_the_repeat_leaves_the_first_uncertain(fake, reply):
    cluster = fake(1)
    with client_of(cluster, retry_for=0.2) as c:
        c.get("k")
        answers = [FakeNode.DROP]
        cluster.nodes[0].override = lambda node, arguments: answers.pop() if answers else reply
        with pytest.raises(UncertainWrite, match=reply[1:4].decode()):
            c.set("k", A, nx=True)
        with pytest.raises((BusyError, OutOfMemoryError, ClusterDownError)):
            c.set("k", A, nx=True)


# Processes


@pytest.mark.blocking
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork(fake):
    cluster = fake()
    with client_of(cluster) as c:
        c.mset(dict.fromkeys(KEYS, A))
        asking = _nodes._MapFetch(c._cluster.nodes.driver)
        c._cluster.nodes._fetching["map"] = lambda: asking  # as if another thread were fetching the map
        try:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    do(c, c._cluster.nodes.refresh())
                    assert list(c.scan_iter()) and len(c.mget(KEYS)) == 300
                    code = 0
                finally:
                    os._exit(code)
        finally:
            c._cluster.nodes._fetching.clear()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(c.mget(KEYS)) == 300


@pytest.mark.plain
def test_calls_during_interpreter_shutdown(fake):
    cluster = fake()
    code = f"""
import atexit
import numpy as np
from ndring import NumPyRedis
c = NumPyRedis(*{cluster.nodes[0].address!r})
keys = [f"k{{i}}" for i in range(100)]
c.mset(dict.fromkeys(keys, np.arange(3)))
def last():
    assert len(c.mget(keys)) == 100
    print("done", flush=True)
atexit.register(last)
"""
    run = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(PYTHON)}, capture_output=True, text=True, timeout=60)
    assert run.stdout == "done\n" and run.returncode == 0, run.stderr


def test_get_or_set(fake):
    cluster = fake()
    made = []

    def make():
        made.append(1)
        return A

    with client_of(cluster) as c:
        c.get("k")
        for node in cluster.nodes:  # the stubs do not know versions
            node.override = lambda node, arguments: (node._do(arguments), b"$3\r\n1-1\r\n")[1] if b"WITHVERSION" in arguments else None
        for key in KEYS[:20]:
            assert np.array_equal(c.get_or_set(key, make), A)
    assert len(made) == 20 and cluster.redirects == 0


@pytest.mark.blocking
def test_options_apply_to_all_nodes():
    c = NumPyRedis.from_url("rediss://u:secret@seed?ssl_check_hostname=True&ssl_cert_reqs=none&max_connections=7&socket_timeout=4", retry_for=1)
    other = c._cluster.nodes.at(Address("other", 7000))._pool
    assert other._address == ("other", 7000) and other._settings is c._cluster.nodes.seed._pool._settings
    settings = other._settings
    assert (settings.username, settings.password, settings.max_connections, settings.socket_timeout) == ("u", "secret", 7, 4)
    assert settings.tls == {"ssl_check_hostname": True, "ssl_cert_reqs": "none"}
