"""The Python client beside what people do today: np.save into redis-py, and np.load of what comes back.

Usage: recipe.py NDRING_PORT REDIS_PORT NULL_PORT SECONDS. Prints one JSON object. All of it runs in this process on one connection each, in
short blocks in turn, so that what slows the machine slows all alike.
"""
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


def rate(do, keys, seconds):
    """Calls do(key) for some time and returns calls a second."""
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


def main():
    ndring_port, redis_port, null_port = map(int, sys.argv[1:4])
    seconds = float(sys.argv[4])
    ours = NumPyRedis("127.0.0.1", ndring_port)
    null = NumPyRedis("127.0.0.1", null_port)
    plain = redis.Redis("127.0.0.1", redis_port)
    results = []
    for size in SIZES:
        array = np.random.default_rng(1).random(size // 4, np.float32)
        keys = [f"k:{size + 128}:{i}" for i in range(max(1, min(64, (64 << 20) // size)))]

        def recipe_set(key):
            buffer = io.BytesIO()
            np.save(buffer, array)
            plain.set(key, buffer.getvalue())

        def recipe_get(key):
            return np.load(io.BytesIO(plain.get(key)))

        whats = {
            "SET": {"ours": lambda key: ours.set(key, array), "recipe": recipe_set, "null": lambda key: null.set(key, array)},
            "GET": {"ours": ours.get, "recipe": recipe_get, "null": null.get},
        }
        for op, ways in whats.items():
            if op == "GET":
                for way in ("ours", "recipe"):
                    assert np.array_equal(ways[way](keys[0]), array)
            rates = {way: [] for way in ways}
            for way, do in ways.items():  # warm up
                rate(do, keys, seconds / 20)
            for _ in range(9):
                for way, do in ways.items():
                    rates[way].append(rate(do, keys, seconds / 27))
            results.append({
                "op": op, "data": size, "ours": summary(rates["ours"]), "recipe": summary(rates["recipe"]),
                "ratio": summary([a / b for a, b in zip(rates["ours"], rates["recipe"])]),
                "share": summary([a / b for a, b in zip(rates["ours"], rates["null"])]),
            })  # fmt: skip
        ours.delete(*keys)
        plain.delete(*keys)
    print(json.dumps({"parser": PARSER, "python": sys.version.split()[0], "numpy": np.__version__, "redis-py": redis.__version__, "results": results}))


main()
