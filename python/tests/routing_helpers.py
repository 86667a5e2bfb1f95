"""Helpers for the routing tests."""
from __future__ import annotations

import threading
import time

import numpy as np
from fake_cluster import FakeNode
from ndring import NumPyRedis
from ndring._core.slots import Address
from ndring._sync.transport import Request
from ndring._core.resp import pack
from ndring._sync.driver import run

A = np.arange(6, dtype="<f4").reshape(2, 3)
KEYS = [f"k{i}" for i in range(300)]
ASKED = Address("seed", 7379)


def client_of(cluster, node=0, **options):
    return NumPyRedis(*cluster.nodes[node].address, **{"socket_timeout": 10, "retry_for": 10, **options})


def command(client, *arguments):
    """Sends any command and returns its reply."""
    return do(client, client._cluster.one(Request(pack(*arguments))))


def do(client, work):
    """Does work of the core with the driver of a client."""
    return client.do(work) if hasattr(client, "do") else run(work)


def key_of(cluster, node):
    """Returns a key that the node serves."""
    return next(key for key in KEYS if cluster.owner(key) is cluster.nodes[node])


def names(node):
    return [command[0] for command in node.commands]


def in_threads(count, work):
    errors = []

    def run(n):
        try:
            work(n)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
        assert not t.is_alive()
    if errors:
        raise errors[0]


def lose(node, times=1, do=True):
    """Makes the node execute commands and close the connection instead of replying."""

    def override(node, arguments):
        if arguments[0] != b"NP.SET" or not lost:
            return None
        lost.pop()
        if do:
            node._do(arguments)
        return FakeNode.DROP

    lost = [None] * times
    node.override = override


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
