"""get_or_set: one makes, the others wait."""
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
from ndring import EncodeError, NumPyRedis, TimeoutError

A = np.arange(6, dtype="<f4").reshape(2, 3)
PYTHON = Path(__file__).resolve().parents[1]


@pytest.fixture
def key():
    return "made-" + uuid.uuid4().hex


def test_made_once_for_all(node, key):
    made = []

    def make():
        made.append(threading.get_ident())
        time.sleep(0.3)  # so that the others come meanwhile
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
def test_any_value_that_set_takes(client, key, value):
    got = client.get_or_set(key, lambda: value)
    assert type(got) is type(value) and got.shape == value.shape and got.dtype == value.dtype
    assert client.get_or_set(key, lambda: pytest.fail("it is there")) is not None


def test_make_that_fails_lets_the_next_one_make(client, key):
    def fail():
        raise RuntimeError("no")

    began = time.monotonic()
    with pytest.raises(RuntimeError):
        client.get_or_set(key, fail, lease=60)
    with pytest.raises(EncodeError):
        client.get_or_set(key, lambda: object(), lease=60)
    assert np.array_equal(client.get_or_set(key, lambda: A, lease=60), A)
    assert time.monotonic() - began < 30  # nobody has waited for a lease to end


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


def test_waiting_has_an_end(node, client, key):
    entered, leave = threading.Event(), threading.Event()

    def make():
        entered.set()
        leave.wait(60)
        return A

    thread = threading.Thread(target=lambda: client.get_or_set(key, make))
    thread.start()
    entered.wait(60)
    try:
        with NumPyRedis(*node) as c, pytest.raises(TimeoutError, match="nobody has made .* within 0.1 s"):
            c.get_or_set(key, lambda: A, wait_for=0.1)
    finally:
        leave.set()
        thread.join()
    with pytest.raises(ValueError):
        client.get_or_set(key, lambda: A, lease=0)


def test_what_is_stored_meanwhile_stays(client, key):
    def make():
        client.set(key, A + 1)
        return A

    assert np.array_equal(client.get_or_set(key, make), A + 1)


def test_maker_that_dies_is_succeeded(node, client, key):
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
            client.get_or_set(key, lambda: A, wait_for=2.0)  # twice the lease: it lives
        maker.send_signal(signal.SIGKILL)
        maker.wait()
        assert np.array_equal(client.get_or_set(key, lambda: A, wait_for=60), A)
    finally:
        maker.kill()
        maker.wait()
        maker.stdout.close()
