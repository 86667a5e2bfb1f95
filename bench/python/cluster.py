"""Stores a million keys on three nodes with the Python client: distribution, redirects, and what mget saves.

Usage: cluster.py [--keys N] [--out FILE] [HOST:PORT of one node]. Without an address it starts `bin/ndring --dev 3` (NDRING_BIN names another
program) and stops it. Prints a report in Markdown.
"""
import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import numpy as np
import redis

from ndring import NumPyRedis

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH = 1000


def start():
    """Starts a cluster of three nodes in one process on free ports. Returns the process and the address of one node."""
    binary = os.environ.get("NDRING_BIN", str(ROOT / "bin" / "ndring"))
    process = subprocess.Popen(
        [binary, "--dev", "3", "--port", "0", "--http-port", "0", "--bind", "127.0.0.1", "--appendonly", "no"],
        stderr=subprocess.PIPE, text=True, env={},
    )  # fmt: skip
    log = []
    for line in process.stderr:
        log.append(line)
        ready = re.search(r'the cluster is ready.* clients="([^ "]+)', line)
        if ready:
            subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)  # drains the log, which would fill the pipe
            return process, ready.group(1)
    sys.exit(f"the nodes did not start: exit code {process.wait()}\n{''.join(log)}")


def counters(client):
    """Returns for each node: keys, bytes in memory, MOVED replies, commands."""
    rows = {}
    for node in client.nodes():
        info = client.info(node=node)
        with redis.Redis.from_url(f"redis://{node}") as plain:
            keys = plain.dbsize()
        moved = client.info("errorstats", node=node).get("errorstat_MOVED", {}).get("count", 0)
        rows[node] = (keys, info.get("used_memory_dataset", info["used_memory"]), moved, info["total_commands_processed"])
    return rows


def spread(values):
    mean = statistics.mean(values)
    return f"{min(values) / mean - 1:+.1%} to {max(values) / mean - 1:+.1%} of the mean"


def fill(client, count, value):
    """Stores the keys in batches. Returns the seconds per batch."""
    seconds = []
    for begin in range(0, count, BATCH):
        batch = {f"user:{i}": value for i in range(begin, min(begin + BATCH, count))}
        began = time.perf_counter()
        client.mset(batch)
        seconds.append(time.perf_counter() - began)
    return seconds


def together_and_alone(client, count, rounds=9):
    """Returns the seconds of mget and of as many gets, with other keys each round."""
    pairs = []
    for number in range(rounds):
        keys = [f"user:{i}" for i in np.random.default_rng(number).integers(0, count, 1000)]
        began = time.perf_counter()
        arrays = client.mget(keys)
        middle = time.perf_counter()
        for key in keys:
            client.get(key)
        pairs.append((middle - began, time.perf_counter() - middle))
        assert all(a is not None for a in arrays)
    return pairs


def report(client, count, out):
    value = np.arange(16, dtype="<f4")
    client.get("user:0")  # fetches the topology
    before = counters(client)
    took = fill(client, count, value)
    pairs = together_and_alone(client, count)
    after = counters(client)
    keys = [after[node][0] - before[node][0] for node in after]
    size = [after[node][1] - before[node][1] for node in after]
    moved = sum(after[node][2] - before[node][2] for node in after)
    commands = sum(after[node][3] - before[node][3] for node in after)
    ratio = [alone / together for together, alone in pairs]
    lines = [
        f"# {sum(keys):,} keys over {len(after)} nodes",
        "",
        f"Python {sys.version.split()[0]}, numpy {np.__version__}, redis-py {redis.__version__}; "
        f"one thread, arrays of 16 float32; {os.cpu_count()} cores for client and nodes.",
        "",
        "| node | keys | bytes |", "| --- | --- | --- |",
        *(f"| {number} | {k:,} | {b:,} |" for number, (k, b) in enumerate(zip(keys, size), 1)),
        "",
        f"- keys: {spread(keys)}; bytes: {spread(size)}" + (" (nodes of one process: each reports the memory of all)" if len(set(size)) == 1 else ""),
        f"- `MOVED` after the first refresh of the topology: {moved} of {commands:,} commands",
        f"- `mset` of {BATCH}: median {1000 * statistics.median(took):.1f} ms, maximum {1000 * max(took):.1f} ms; {sum(keys) / sum(took):,.0f} keys per second",
        f"- `mget` of 1,000 keys compared with 1,000 `get`s: {statistics.median(ratio):.1f} times as fast "
        f"({min(ratio):.1f} to {max(ratio):.1f} in {len(ratio)} rounds); "
        f"medians {1000 * statistics.median(t for t, _ in pairs):.1f} ms and {1000 * statistics.median(t for _, t in pairs):.1f} ms",
    ]  # fmt: skip
    text = "\n".join(lines) + "\n"
    print(text)
    if out:
        pathlib.Path(out).write_text(text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--out")
    options = parser.parse_args()
    process, address = (None, options.address) if options.address else start()
    try:
        host, _, port = address.rpartition(":")
        with NumPyRedis(host, int(port)) as client:
            report(client, options.keys, options.out)
    finally:
        if process:
            process.terminate()
            process.wait()


main()
