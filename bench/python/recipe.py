"""Compares the Python client with the common recipe: np.save into redis-py, and np.load of the reply.

Prints one JSON object. Everything runs in this process on one connection each, in short alternating blocks, so disturbances of the machine
affect all ways alike. Before the measurement each way stores and fetches arrays of all sizes for a while, like a running service: in a fresh
process large blocks come from new memory pages, which cost np.save more than its copy.
"""
import argparse
import io
import json
import statistics
import sys
import time

import numpy as np
import redis

from ndring import NumPyRedis

PARSER = type(redis.Connection()._parser).__name__
SIZES = (1 << 10, 16 << 10, 256 << 10, 4 << 20, 64 << 20)
WARM_ROUNDS = 3  # over all sizes


def rate(do, keys, seconds):
    """Calls do(key) for some time. Returns calls per second."""
    n = 0
    began = time.perf_counter()
    while True:
        for key in keys:
            do(key)
        n += len(keys)
        passed = time.perf_counter() - began
        if passed >= seconds:
            return n / passed


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


class Case:
    """Arrays of one size, and the ways to store and fetch them."""

    def __init__(self, size, ours, plain, null):
        self.size = size
        self.array = array = np.random.default_rng(1).random(size // 4, np.float32)
        self.keys = [f"k:{size + 128}:{i}" for i in range(max(1, min(64, (64 << 20) // size)))]

        def recipe_set(key):
            buffer = io.BytesIO()
            np.save(buffer, array)
            plain.set(key, buffer.getvalue())

        def recipe_get(key):
            return np.load(io.BytesIO(plain.get(key)))

        self.ways = {
            "SET": {"ours": lambda key: ours.set(key, array), "recipe": recipe_set, "null": lambda key: null.set(key, array)},
            "GET": {"ours": ours.get, "recipe": recipe_get, "null": null.get},
        }

    def warm_up(self, seconds):
        for ways in self.ways.values():
            for do in ways.values():
                rate(do, self.keys, seconds)

    def check(self):
        for way in ("ours", "recipe"):
            assert np.array_equal(self.ways["GET"][way](self.keys[0]), self.array)

    def measure(self, op, rounds, seconds):
        rates = {way: [] for way in self.ways[op]}
        for _ in range(rounds):
            for way, do in self.ways[op].items():
                rates[way].append(rate(do, self.keys, seconds))
        return {
            "op": op, "data": self.size, "ours": summary(rates["ours"]), "recipe": summary(rates["recipe"]),
            "ratio": summary([a / b for a, b in zip(rates["ours"], rates["recipe"])]),
            "share": summary([a / b for a, b in zip(rates["ours"], rates["null"])]),
        }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("ndring", "redis", "null"):
        parser.add_argument(name, type=int, help=f"port of {name}")
    parser.add_argument("--seconds", type=float, default=6, help="time for each operation on each size")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--smoke", action="store_true", help="a minimal run of each case, to check that it works")
    options = parser.parse_args()
    sizes = SIZES
    if options.smoke:
        sizes, options.seconds, options.rounds = SIZES[:3], 0, 1
    ours = NumPyRedis("127.0.0.1", options.ndring)
    null = NumPyRedis("127.0.0.1", options.null)
    plain = redis.Redis("127.0.0.1", options.redis)
    cases = [Case(size, ours, plain, null) for size in sizes]
    for _ in range(WARM_ROUNDS):
        for case in cases:
            case.warm_up(options.seconds / 60)
    results = []
    for case in cases:
        case.check()
        for op in ("SET", "GET"):
            case.warm_up(0)
            results.append(case.measure(op, options.rounds, options.seconds / 3 / options.rounds))
    for case in cases:
        ours.delete(*case.keys)
        plain.delete(*case.keys)
    print(json.dumps({"parser": PARSER, "python": sys.version.split()[0], "numpy": np.__version__, "redis-py": redis.__version__, "results": results}))


main()
