"""Writes and reads until its standard input ends, with a client that has the default settings, and prints as JSON what it found.

    load.py HOST PORT PREFIX SEED

Each key has one writer. A read must return the last acknowledged write, or one that was sent since.
"""

import json
import random
import sys
import threading
import time

import numpy as np
from ndring import NumPyRedis

THREADS, KEYS, PAUSE = 2, 8, 0.02  # keys of each thread; seconds between two calls
SMALLEST, LARGEST = 1 << 10, 3 << 20  # bytes of a value


def value(n, count):
    return n + (np.arange(count, dtype="<u8") << np.uint64(32))


class Key:
    def __init__(self, name):
        self.name, self.sent, self.acked = name, 0, 0


class Load:
    def __init__(self, client, prefix):
        self.client = client
        self.keys = [[Key(f"{prefix}{thread}-{key}") for key in range(KEYS)] for thread in range(THREADS)]
        self.lock = threading.Lock()  # guards report
        self.report = {"writes": 0, "reads": 0, "longest_write": 0.0, "longest_read": 0.0, "failed": [], "wrong": []}
        self.ended = threading.Event()

    def call(self, kind, key, call):
        """Returns whether the call succeeded, and its result."""
        start = time.monotonic()
        try:
            result = call()
        except Exception as e:  # any error that reaches an application
            with self.lock:
                now = time.strftime("%H:%M:%S", time.gmtime())
                self.report["failed"].append(f"{now}, after {time.monotonic() - start:.3f} s: {kind} of {key.name}: {type(e).__name__}: {e}")
            return False, None
        with self.lock:
            self.report[kind + "s"] += 1
            self.report["longest_" + kind] = max(self.report["longest_" + kind], time.monotonic() - start)
        return True, result

    def write(self, key, size):
        key.sent += 1
        n = key.sent
        done, _ = self.call("write", key, lambda: self.client.set(key.name, value(n, size // 8)))
        if done:
            key.acked = n

    def read(self, key):
        acked = key.acked
        done, got = self.call("read", key, lambda: self.client.get(key.name))
        if not done:
            return
        n = 0 if got is None else int(got[0])
        if not acked <= n <= key.sent or (got is not None and not np.array_equal(got, value(n, len(got)))):
            with self.lock:
                self.report["wrong"].append(f"{key.name} has write {n}, after {acked} was acknowledged and before {key.sent + 1} was sent")

    def run(self, thread, r):
        while not self.ended.wait(PAUSE):
            if r.random() < 0.5:
                self.write(r.choice(self.keys[thread]), int(SMALLEST * (LARGEST / SMALLEST) ** r.random()))
            else:
                self.read(r.choice(r.choice(self.keys)))


def main(host, port, prefix, seed):
    with NumPyRedis(host, port) as client:
        load = Load(client, prefix)
        threads = [threading.Thread(target=load.run, args=(i, random.Random(seed + i))) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        print("started", flush=True)
        sys.stdin.read()
        load.ended.set()
        for thread in threads:
            thread.join()
        for key in sum(load.keys, []):  # no acknowledged write is lost
            load.read(key)
        print(json.dumps(load.report), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
