"""Measures the Python clients: asyncio beside redis.asyncio, the near cache and parts of arrays beside GET.

    .venv/bin/python bench/python/clients.py --out bench/results/clients.md

Starts one node and one redis-server, both without a disk, on loopback.
"""
from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import pathlib
import socket
import statistics
import subprocess
import sys
import time
from typing import Any, Awaitable, Callable, Iterator, List, Tuple

import numpy as np
import redis
import redis.asyncio

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))
import ndring.asyncio  # noqa: E402
from ndring import NumPyRedis  # noqa: E402

NDRING = [str(ROOT / "bin" / "ndring"), "--http-port", "0", "--bus-port", "0", "--gossip-port", "0", "--dir", "", "--max-array-bytes", "1gb", "--port"]
REDIS = ["redis-server", "--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port"]
TASKS = 50


@contextlib.contextmanager
def server(command: List[str]) -> Iterator[int]:
    """Starts a server and yields its port once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with redis.Redis("127.0.0.1", port) as r:
            for _ in range(100):
                with contextlib.suppress(redis.ConnectionError, redis.ResponseError):
                    r.ping()
                    break
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


async def rate(call: Callable[[], Awaitable[Any]], count: int) -> float:
    """Returns calls per second of TASKS tasks."""
    left = count

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(TASKS)))
    return count / (time.perf_counter() - began)


def spread(values: List[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


async def beside_redis_asyncio(ours: int, theirs: int, rounds: int, scale: float) -> List[str]:
    rows = [
        f"## asyncio, {TASKS} tasks", "", "Beside `redis.asyncio` with `np.save` and `np.load`, in turn.", "",
        "| operation | array | ndring.asyncio/s | redis.asyncio/s | ratio |", "| --- | --- | ---: | ---: | ---: |",
    ]  # fmt: skip
    async with ndring.asyncio.NumPyRedis("127.0.0.1", ours) as n:
        r = redis.asyncio.Redis(host="127.0.0.1", port=theirs)
        for size, count in ((1 << 10, 3000), (256 << 10, 600), (4 << 20, 60)):
            array = np.random.default_rng(size).random(size // 8)

            async def save() -> None:
                file = io.BytesIO()
                np.save(file, array)
                await r.set("k", file.getvalue())

            async def load() -> Any:
                return np.load(io.BytesIO(await r.get("k")))

            await n.set("k", array)
            await save()
            assert np.array_equal(await n.get("k"), await load())
            for name, mine, other in (("SET", lambda: n.set("k", array), save), ("GET", lambda: n.get("k"), load)):
                rates: List[Tuple[float, float]] = []
                for _ in range(rounds + 1):  # the first one warms up
                    rates.append((await rate(mine, max(TASKS, int(count * scale))), await rate(other, max(TASKS, int(count * scale)))))
                fast, slow = [a for a, _ in rates[1:]], [b for _, b in rates[1:]]
                ratio = spread([a / b for a, b in rates[1:]])
                rows.append(f"| {name} | {size >> 10} KiB | {statistics.median(fast):.0f} | {statistics.median(slow):.0f} | {ratio} |")
        await r.close()
    return rows


def times(call: Callable[[], Any], count: int) -> List[float]:
    found = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return found


def near_cache(port: int, rounds: int, size: int) -> List[str]:
    with NumPyRedis("127.0.0.1", port, near_cache=4 * size) as near, NumPyRedis("127.0.0.1", port) as wire:
        wire.set("large", np.random.default_rng(1).random(size // 8))
        while near.near_cache is not None and near.near_cache.hits == 0:
            near.get("large")
        far = times(lambda: wire.get("large"), rounds)
        hits = times(lambda: [near.get("large") for _ in range(1000)], rounds)
        assert near.near_cache is not None and near.near_cache.misses < 50
    hit = [t / 1000 for t in hits]
    return [
        f"## Near cache, GET of {size >> 20} MiB", "", "| | time | ratio |", "| --- | ---: | ---: |",
        f"| over the wire | {spread([t * 1e3 for t in far])} ms | |",
        f"| hit | {spread([t * 1e6 for t in hit])} us | {statistics.median(far) / statistics.median(hit):.0f}x |",
    ]  # fmt: skip


def parts(port: int, rounds: int, rows: int) -> List[str]:
    """100 rows of a table, with ``take``, beside GET of all of it."""
    with NumPyRedis("127.0.0.1", port) as c:
        table = np.random.default_rng(2).random((rows, 512), np.float32)
        c.set("table", table)
        ids = np.random.default_rng(3).integers(0, rows, 100)
        assert np.array_equal(c.take("table", ids), table[ids])

        def sent() -> int:
            return int(c.info("stats")["total_net_output_bytes"])

        figures = []
        for call in (lambda: c.take("table", ids), lambda: c.get("table")):
            before = sent()
            call()
            figures.append((sent() - before, times(call, rounds)))
    (few, quick), (all_, slow) = figures
    return [
        f"## 100 rows of a table of {table.nbytes >> 20} MiB", "", "| | bytes sent | time | ratio of times |", "| --- | ---: | ---: | ---: |",
        f"| `take` | {few} | {spread([t * 1e3 for t in quick])} ms | |",
        f"| `get` | {all_} | {spread([t * 1e3 for t in slow])} ms | {statistics.median(slow) / statistics.median(quick):.0f}x |",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--smoke", action="store_true", help="the least of each case")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    rounds = 2 if options.smoke else options.rounds
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    report = [
        "# The Python clients", "", f"`make bench-clients`, {time.strftime('%Y-%m-%d')}, ndring {commit or 'without git'}, Python "
        f"{sys.version.split()[0]}, numpy {np.__version__}, redis-py {redis.__version__}. Median (minimum to maximum) of {rounds} rounds.", "",
    ]  # fmt: skip
    with server(NDRING) as ours:
        with server(REDIS) as theirs:
            report += asyncio.run(beside_redis_asyncio(ours, theirs, rounds, 0.05 if options.smoke else 1))
        report += ["", *near_cache(ours, rounds, (1 if options.smoke else 64) << 20)]
        report += ["", *parts(ours, rounds, 2000 if options.smoke else 1 << 18)]
    options.out.write_text("\n".join(report) + "\n")
    print("\n".join(report))


if __name__ == "__main__":
    main()
