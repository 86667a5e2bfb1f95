"""A service that keeps results in a cluster while one of its nodes is killed and comes back: tasks of
asyncio and threads with the blocking client get arrays, and compute and set what they miss.

    .venv/bin/python python/tests/service.py --seconds 30 --kill 10 --back 20

Prints, for each second, the hit rate and the slowest request of both kinds, and a summary. Fails if a
request raises, if one takes longer than ``--limit`` seconds, or if the hit rate does not recover.
"""
from __future__ import annotations

import argparse
import asyncio
import logging
import random
import signal
import sys
import tempfile
import threading
import time

import numpy as np
from conftest import start_cluster
from ndring import NumPyRedis
from ndring import asyncio as for_asyncio
from test_cluster import wait_until
from test_copies import in_sync

KEYS = 3000
TASKS, THREADS = 200, 8
OPTIONS = {"on_error": "miss", "retry_for": 0.3, "deadline": 1.0, "socket_timeout": 1.0, "socket_connect_timeout": 0.5}


def compute(key):
    return np.full(1000 + key % 1000, key)


class Second:
    """What happened in one second: ``hits`` of ``requests``, and the ``slowest`` of them in s, by kind."""

    def __init__(self):
        self.requests = self.hits = 0
        self.slowest = {"task": 0.0, "thread": 0.0}


class Service:
    def __init__(self, addresses, seconds, pause):
        self.addresses = [f"{host}:{port}" for host, port in addresses]
        self.pause = pause
        self.began = time.monotonic()
        self.end = self.began + seconds
        self.seconds = [Second() for _ in range(int(seconds) + 30)]
        self.errors = []
        self._lock = threading.Lock()  # guards seconds

    def record(self, kind, key, began, got):
        now = time.monotonic()
        if got is not None and not np.array_equal(got, compute(key)):
            raise AssertionError(f"{key}: {got[:3]}")
        with self._lock:
            second = self.seconds[int(began - self.began)]
            second.requests += 1
            second.hits += got is not None
            second.slowest[kind] = max(second.slowest[kind], now - began)

    async def task(self, c, draw):
        while time.monotonic() < self.end and not self.errors:
            key, began = int(draw() * KEYS), time.monotonic()
            got = await c.get(f"result{key}")
            if got is None:
                await c.set(f"result{key}", compute(key))
            self.record("task", key, began, got)
            await asyncio.sleep(self.pause * draw())

    async def tasks(self, draw):
        async with for_asyncio.NumPyRedis(self.addresses, **OPTIONS) as c:
            running = [asyncio.ensure_future(self.task(c, draw)) for _ in range(TASKS)]
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
            self.errors += [task.exception() for task in done if task.exception()]
            await asyncio.wait(running)
            return c.unanswered

    def thread(self, c, draw):
        try:
            while time.monotonic() < self.end and not self.errors:
                key, began = int(draw() * KEYS), time.monotonic()
                got = c.get(f"result{key}")
                if got is None:
                    c.set(f"result{key}", compute(key))
                self.record("thread", key, began, got)
                time.sleep(self.pause * draw())
        except BaseException as exc:
            self.errors.append(exc)


def run(seconds, kill, back, seed, frozen=False, pause=0.2):
    """Runs the service on three nodes with two copies, and returns it. ``kill``, ``back``: when a node
    is killed and started again. ``frozen``: it is stopped instead, so that it does not even refuse."""
    with tempfile.TemporaryDirectory(prefix="ndring-service-") as folder:
        cluster = start_cluster(3, folder)
        try:
            wait_until(lambda: in_sync(cluster.addresses))
            with NumPyRedis(*cluster.addresses[0]) as c:
                c.mset({f"result{key}": compute(key) for key in range(KEYS)})
            service = Service(cluster.addresses, seconds, pause)

            def break_it():
                try:
                    time.sleep(kill)
                    if frozen:
                        cluster.processes[1].send_signal(signal.SIGSTOP)
                    else:
                        cluster.kill(1)
                    time.sleep(back - kill)
                    if frozen:
                        cluster.processes[1].send_signal(signal.SIGCONT)
                    else:
                        cluster.restart(1)
                except BaseException as exc:
                    service.errors.append(exc)

            with NumPyRedis(service.addresses, **OPTIONS) as c:
                threads = [threading.Thread(target=service.thread, args=(c, random.Random(seed + n).random)) for n in range(THREADS)]
                threads.append(threading.Thread(target=break_it))
                for thread in threads:
                    thread.start()
                unanswered = asyncio.run(service.tasks(random.Random(seed).random))
                for thread in threads:
                    thread.join()
                service.unanswered = (unanswered, c.unanswered)
        finally:
            cluster.close()
    if service.errors:
        raise service.errors[0]
    service.seconds = service.seconds[: int(seconds)]
    return service


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--kill", type=float, default=10, help="seconds until a node is killed")
    parser.add_argument("--back", type=float, default=20, help="seconds until it is started again")
    parser.add_argument("--limit", type=float, default=1.5, help="seconds that a request may take")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two requests of a task, at most")
    parser.add_argument("--freeze", action="store_true", help="stop the node (SIGSTOP) instead")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    options = parser.parse_args()
    logging.getLogger("ndring").setLevel(logging.ERROR)
    print(f"seed {options.seed}")
    service = run(options.seconds, options.kill, options.back, options.seed, options.freeze, options.pause)
    print("second  requests  hits     slowest: task  thread")
    for number, second in enumerate(service.seconds):
        rate = 100 * second.hits / max(1, second.requests)
        print(f"{number:6}  {second.requests:8}  {rate:6.2f} %  {second.slowest['task']:10.3f} s  {second.slowest['thread']:.3f} s")
    slowest = {kind: max(second.slowest[kind] for second in service.seconds) for kind in ("task", "thread")}
    requests, hits = sum(s.requests for s in service.seconds), sum(s.hits for s in service.seconds)
    print(f"{requests} requests, {100 * hits / requests:.2f} % hits; slowest {slowest['task']:.3f} s in a task, {slowest['thread']:.3f} s in a thread")
    for kind, (reads, writes, error) in zip(("tasks", "threads"), service.unanswered):
        print(f"{kind}: {reads} reads and {writes} writes without an answer; the last error: {error}")
    last = service.seconds[-3:]
    if sum(s.hits for s in last) < 0.99 * sum(s.requests for s in last):
        sys.exit("the hit rate has not recovered")
    if max(slowest.values()) > options.limit:
        sys.exit(f"a request took longer than {options.limit} s")


if __name__ == "__main__":
    main()
