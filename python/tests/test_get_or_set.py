"""get_or_set: one caller computes, the others wait."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from ndring import EncodeError, NumPyRedis, TimeoutError, UncertainWrite
from ndring._core import get_or_set as _get_or_set
from routing_helpers import do, wait_until
from test_failures import client_of, whole

A = np.arange(6, dtype="<f4").reshape(2, 3)
PYTHON = Path(__file__).resolve().parents[1]


@pytest.fixture
def key():
    return "made-" + uuid.uuid4().hex


def test_one_caller_computes_for_all(node, key):
    made = []

    def make():
        made.append(threading.get_ident())
        time.sleep(0.3)  # time for the others to arrive
        return A

    results = []

    def call():
        with NumPyRedis(*node) as c:
            results.append(c.get_or_set(key, make, ex=100))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(made) == 1 and len(results) == 8 and all(np.array_equal(r, A) for r in results)
    with NumPyRedis(*node) as c:
        assert 90 < c.ttl(key) <= 100 and c.get_or_set(key, lambda: pytest.fail("it is there")).shape == (2, 3)


@pytest.mark.parametrize("value", [np.float64(0), np.array(False), np.zeros(0), np.ma.MaskedArray([1, 2], mask=[1, 0])], ids=repr)
def test_any_value_that_set_accepts(client, key, value):
    got = client.get_or_set(key, lambda: value)
    assert type(got) is type(value) and got.shape == value.shape and got.dtype == value.dtype
    assert client.get_or_set(key, lambda: pytest.fail("it is there")) is not None


def test_after_a_failed_make_the_next_caller_computes(client, key):
    def fail():
        raise RuntimeError("no")

    began = time.monotonic()
    with pytest.raises(RuntimeError):
        client.get_or_set(key, fail, lease=60)
    with pytest.raises(EncodeError):
        client.get_or_set(key, lambda: object(), lease=60)
    assert np.array_equal(client.get_or_set(key, lambda: A, lease=60), A)
    assert time.monotonic() - began < 30  # no caller has waited for a lease to end


def test_after_a_failed_make_a_waiting_caller_computes(node, client, key):
    entered = threading.Event()
    results = []

    def other():
        entered.wait(60)
        with NumPyRedis(*node) as c:
            results.append(c.get_or_set(key, lambda: A, lease=60))

    thread = threading.Thread(target=other)
    thread.start()

    def fail():
        entered.set()
        time.sleep(0.3)  # time for the other caller to start waiting
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        client.get_or_set(key, fail, lease=60)
    thread.join(30)
    assert len(results) == 1 and np.array_equal(results[0], A)


def test_longest_key(client):
    longest = uuid.uuid4().hex.ljust(65_535)
    assert np.array_equal(client.get_or_set(longest, lambda: A, ex=100), A)
    assert client.delete(longest) == 1


@pytest.mark.plain
def test_one_of_several_processes_computes(node, client, key):
    code = f"""
import time
import numpy as np
from ndring import NumPyRedis
def make():
    print("making", flush=True)
    time.sleep(0.5)
    return np.arange(5)
with NumPyRedis({node[0]!r}, {node[1]}) as c:
    assert c.get_or_set({key!r}, make).tolist() == [0, 1, 2, 3, 4]
"""
    environ = {**os.environ, "PYTHONPATH": str(PYTHON)}
    makers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environ) for _ in range(3)]
    assert b"".join(maker.communicate(timeout=60)[0] for maker in makers) == b"making\n"
    assert [maker.returncode for maker in makers] == [0, 0, 0]


NONE, VERSION = b"$-1\r\n", b"$3\r\n1-%d\r\n"


def test_a_lock_granted_too_late_is_not_held(stub):
    def late(connection):
        time.sleep(0.3)
        connection.sendall(VERSION % 1)

    server = stub(NONE, late, VERSION % 2)
    with client_of(server) as c, pytest.raises(TimeoutError):
        c.get_or_set("k", lambda: pytest.fail("another caller may hold the lock by now"), lease=0.6, wait_for=0)
    assert [command[0] for command in server.commands] == [b"NP.GET", b"NP.SET", b"NP.SET"]
    released = server.commands[2]
    assert released[released.index(b"IFVERSION") + 1] == b"1-1" and released[released.index(b"PX") + 1] == b"1"


@pytest.mark.parametrize("ours", [True, False])
def test_renewal_whose_reply_was_lost(stub, ours):
    server = stub(VERSION % 1)
    with client_of(server, retry_for=0) as c:
        lease = _get_or_set._Leases(c._cluster, [b"k"], 600)  # long enough that its thread does nothing here
        do(c, lease.enter())
        assert lease.names == [b"k"]
        token = server.commands[0][2] if ours else server.commands[0][2][:-1] + b"?"
        lock = whole(data=token).replace(VERSION % 1, VERSION % 2)  # the lock as the node has it
        server.answers += [None, NONE, lock, *([VERSION % 3, VERSION % 4] if ours else [NONE, NONE])]
        with pytest.raises(UncertainWrite):
            do(c, lease._extend(600))
        do(c, lease._extend(600))
        assert bool(lease._versions) is ours
        do(c, lease.leave())
    conditions = [command[command.index(b"IFVERSION") + 1] for command in server.commands if b"IFVERSION" in command]
    assert conditions == ([b"1-1", b"1-1", b"1-2", b"1-3"] if ours else [b"1-1", b"1-1"])


def test_a_lease_that_was_left_is_not_renewed(client, key):
    """Although its renewal has begun in another thread."""
    leases = _get_or_set._Leases(client._cluster, [key.encode()], 600)
    do(client, leases.enter())
    do(client, leases.leave())
    lock = _get_or_set._PREFIX + key.encode()
    wait_until(lambda: not client.exists(lock))
    assert do(client, leases.renew()) is False and leases._renewing.is_set()
    assert not client.exists(lock)


@pytest.mark.blocking
def test_a_call_that_is_dropped_while_it_computes(client, key):
    """As by a signal handler that raises outside of the generator, which then must not yield any more."""
    made = []
    work = _get_or_set.get_or_set(client._core, key, lambda: made.append(True) or A, lease=0.5)
    done = next(work)
    while not made:
        done = work.send(done)
    work.close()
    assert np.array_equal(client.get_or_set(key, lambda: A + 1), A + 1)


def test_a_waiting_caller_checks_the_lock_before_it_tries(stub):
    server = stub(NONE, NONE, NONE, b":1\r\n", NONE, b":1\r\n", whole())
    with client_of(server) as c:
        assert np.array_equal(c.get_or_set("k", lambda: pytest.fail("another caller is computing it")), A)
    assert [c[0] for c in server.commands] == [b"NP.GET", b"NP.SET", b"NP.GET", b"NP.EXISTS", b"NP.GET", b"NP.EXISTS", b"NP.GET"]


def test_make_may_take_longer_than_the_lease(node, client, key):
    others = []

    def other():
        with NumPyRedis(*node) as c:
            others.append(c.get_or_set(key, lambda: pytest.fail("made twice"), lease=0.3))

    thread = threading.Thread(target=other)

    def make():
        thread.start()
        time.sleep(1.2)  # four leases
        return A

    assert np.array_equal(client.get_or_set(key, make, lease=0.3), A)
    thread.join()
    assert len(others) == 1 and np.array_equal(others[0], A)


def test_waiting_is_bounded(node, client, key):
    entered, leave = threading.Event(), threading.Event()

    def make():
        entered.set()
        leave.wait(60)
        return A

    thread = threading.Thread(target=lambda: client.get_or_set(key, make))
    thread.start()
    entered.wait(60)
    try:
        with NumPyRedis(*node) as c, pytest.raises(TimeoutError, match="no caller has stored .* within 0.1 s"):
            c.get_or_set(key, lambda: A, wait_for=0.1)
    finally:
        leave.set()
        thread.join()
    with pytest.raises(ValueError):
        client.get_or_set(key, lambda: A, lease=0)


def test_a_value_stored_meanwhile_is_kept(client, key):
    def make():
        client.set(key, A + 1)
        return A

    assert np.array_equal(client.get_or_set(key, make), A + 1)


@pytest.mark.plain
def test_if_the_computing_process_dies_another_takes_over(node, client, key):
    code = f"""
import sys, time
from ndring import NumPyRedis
def make():
    print("making", flush=True)
    time.sleep(600)
NumPyRedis({node[0]!r}, {node[1]}).get_or_set({key!r}, make, lease=1.0)
"""
    maker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(PYTHON)})
    try:
        assert maker.stdout.readline() == b"making\n"
        with pytest.raises(TimeoutError):
            client.get_or_set(key, lambda: A, wait_for=2.0)  # twice the lease: the process still renews it
        maker.send_signal(signal.SIGKILL)
        maker.wait()
        assert np.array_equal(client.get_or_set(key, lambda: A, wait_for=60), A)
    finally:
        maker.kill()
        maker.wait()
        maker.stdout.close()
