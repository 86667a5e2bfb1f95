"""Many calls while everything fails at random: connections are delayed, stalled, truncated and reset,
the node is restarted, calls are cancelled, interrupted by signal handlers that raise, and short of
time. Each value says which key it is of, so a reply that reaches another call is recognized.

    .venv/bin/python -W error python/tests/storm.py --calls 1000000 --every 1000000 --restart 60
    .venv/bin/python -W error python/tests/storm.py --seed 7 --mode asyncio

The first makes a quarter of the calls each with signals, in threads, and in tasks of asyncio and of
uvloop.

Checks that no call gets a value of another, that each ends within its time and SLACK, that no
connection is left, here or at the node, and that the client works afterwards. Prints counts.
"""
from __future__ import annotations

import argparse
import asyncio
import collections
import functools
import gc
import importlib.util
import itertools
import logging
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time
import warnings

import numpy as np
from bad_network import BadNetwork
from conftest import start_node, stop_node
from ndring import NdringError, NodeDownError, NumPyRedis
from ndring import asyncio as for_asyncio

KEYS = 200
WORKERS = 8
PORTS = ("--bus-port", "0", "--gossip-port", "0")
DEADLINES = (0.02, 0.1, 0.5, 2.0)  # s
SLACK = 3.0  # s after its deadline, or after it was cancelled, by which a call must have ended on a machine that does much else
OPTIONS = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0, "retry_for": 1.0, "max_connections": WORKERS + 2}


class Interrupt(BaseException):
    """Raised by a signal handler."""


class Wrong(Exception):
    """A call that did what it must not do."""


def value(key, count):
    """Returns the value of a key: its length and each of its numbers follow from the first two."""
    array = np.arange(2 + (key * 7 + count) % 90, dtype=np.int64)
    array += key * 1_000_003 + count
    array[:2] = key, count
    return array


def check(key, got):
    """Raises Wrong unless ``got`` is a value of this key, or None."""
    if got is not None and not (got.size > 1 and got[0] == key and np.array_equal(got, value(key, int(got[1])))):
        raise Wrong(f"a value of another call for {key}: {got[:4]}")


class Calls:
    """Chooses calls at random and checks what they return. ``counts``: by outcome. ``late``: the
    longest time that a call has taken beyond its deadline."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.numbers = itertools.count()
        self.counts = collections.Counter()
        self.late = 0.0

    def choose(self):
        """Returns what a call is, its keys, and values for them."""
        draw = self.random.random
        kinds = ("get",) * 9 + ("set",) * 6 + ("mget", "mget", "pipeline", "transaction", "nx", "delete", "view", "out", "get_or_set", "exists")
        kind = kinds[int(draw() * len(kinds))]
        keys = [int(draw() * KEYS) for _ in range(4)]
        return kind, keys, [value(key, next(self.numbers)) for key in keys]

    def start(self, c, kind, keys, values):
        """Makes the call, or returns what is to be awaited."""
        names = [f"k{key}" for key in keys]
        if kind == "get":
            return c.get(names[0])
        if kind == "set":
            return c.set(names[0], values[0])
        if kind == "nx":
            return c.set(names[0], values[0], nx=True)
        if kind == "mget":
            return c.mget(names)
        if kind == "pipeline":
            return c.pipeline().set(names[0], values[0]).get(names[0]).get(names[1]).set(names[2], values[2]).execute()
        if kind == "transaction":
            return c.pipeline(transaction=True).set(names[0], values[0]).get(names[0]).execute()
        if kind == "delete":
            return c.delete(names[0])
        if kind == "view":
            return c.view(names[0])[:2]
        if kind == "out":
            return c.get("large", out=np.empty(20_000, np.int64))
        if kind == "get_or_set":
            return c.get_or_set(names[0], lambda: values[0], lease=0.5, wait_for=0.2)
        return c.exists(*names[:2])

    def finish(self, kind, keys, values, result):
        """Checks the result of a call."""
        if kind in ("get", "get_or_set"):
            check(keys[0], result)
        elif kind == "set" and result is not True or kind == "nx" and result not in (True, False):
            raise Wrong(f"{kind} returned {result!r}")
        elif kind == "mget":
            for key, got in zip(keys, result):
                check(key, got)
        elif kind == "pipeline":
            if result[0] is not True or result[3] is not True:
                raise Wrong(f"a pipeline returned {result!r}")
            check(keys[0], result[1])
            check(keys[1], result[2])
        elif kind == "transaction":
            if result[0] is not True or not np.array_equal(result[1], values[0]):
                raise Wrong(f"a transaction returned {result!r}")
        elif kind == "view" and (result.shape != (2,) or result[0] != keys[0]):
            raise Wrong(f"a view of {keys[0]} returned {result!r}")
        elif kind == "out" and result is not None and not (result == 77).all():
            raise Wrong(f"get(out=) returned {result!r}")
        elif kind in ("delete", "exists") and result not in (0, 1, 2):
            raise Wrong(f"{kind} returned {result!r}")
        self.counts[kind] += 1

    def failed(self, kind, exc):
        """Counts an error. Raises Wrong if the failures here cannot be its reason."""
        allowed = isinstance(exc, NdringError) and not isinstance(exc, (ValueError, TypeError))
        if not allowed and not (isinstance(exc, KeyError) and kind == "view"):  # a missing key
            raise Wrong(f"{kind} raised {type(exc).__name__}: {exc}") from exc
        self.counts[type(exc).__name__] += 1

    def ended(self, kind, began, allowed):
        """Checks the time of a call that was ``allowed`` so many seconds."""
        late = time.monotonic() - began - allowed - (4.0 if kind == "get_or_set" else 0.0)  # which then releases its lock
        self.late = max(self.late, late)
        if late > SLACK:
            raise Wrong(f"{kind} ended {late:.2f} s late")

    def add(self, other):
        self.counts += other.counts
        self.late = max(self.late, other.late)


def shared(c, draw):
    """Returns a client with a random deadline, and that deadline."""
    deadline = DEADLINES[int(draw() * len(DEADLINES))]
    return c.with_options(deadline=deadline), deadline


# One thread or several, the main one with signals


class Signals:
    """Sends SIGALRM at random. Its handler raises Interrupt, often, if a call is under way."""

    def __init__(self, draw):
        self._draw = draw
        self.inside = False
        self.raised = 0

    def __enter__(self):
        self._before = signal.signal(signal.SIGALRM, self._handle)
        self._next()
        return self

    def __exit__(self, *exc):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _next(self):
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + self._draw() * 0.02)

    def _handle(self, number, frame):
        self._next()
        if self.inside and self._draw() < 0.5 and not in_cleanup(frame):
            self.inside = False
            self.raised += 1
            raise Interrupt


def in_cleanup(frame):
    """Whether Python drops an object now, and would ignore an exception."""
    while frame is not None and frame.f_code.co_name not in ("__del__", "_remove"):
        frame = frame.f_back
    return frame is not None


class NoSignals:
    inside = False


def do_calls(c, calls, count, interrupts):
    draw = calls.random.random
    for number in range(count):
        if draw() < 0.0005:
            c.close()
        with_deadline, deadline = shared(c, draw)
        kind, keys, values = calls.choose()
        began = time.monotonic()
        try:
            try:
                interrupts.inside = True
                result = calls.start(with_deadline, kind, keys, values)
            finally:
                interrupts.inside = False
            calls.finish(kind, keys, values, result)
        except Interrupt:
            calls.counts["interrupted"] += 1
        except Wrong:
            raise
        except Exception as exc:
            calls.failed(kind, exc)
            if isinstance(exc, NodeDownError):  # which calls get at once
                time.sleep(0.02)
                continue
        calls.ended(kind, began, deadline)


def storm_of_signals(address, count, seed, calls):
    with NumPyRedis(*address, **OPTIONS) as c:
        with Signals(calls.random.random) as signals:
            do_calls(c, calls, count, signals)
        yield lambda: works(c)


def storm_of_threads(address, count, seed, calls):
    each = [Calls(seed * 100 + n) for n in range(WORKERS)]
    errors = []

    def work(n):
        try:
            do_calls(c, each[n], count // WORKERS, NoSignals())
        except BaseException as exc:
            errors.append(exc)

    with NumPyRedis(*address, **OPTIONS) as c:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(1, WORKERS)]
        for thread in threads:
            thread.start()
        with Signals(random.Random(seed).random) as signals:
            do_calls(c, each[0], count // WORKERS, signals)
        for thread in threads:
            thread.join()
        for calls_of_one in each:
            calls.add(calls_of_one)
        if errors:
            raise errors[0]
        yield lambda: works(c)


def works(c):
    c = c.with_options(retry_for=30)  # a connection may still be stalled
    for key in range(KEYS):
        c.set(f"k{key}", value(key, 1))
        check(key, c.get(f"k{key}"))


# asyncio


def storm_of_tasks(address, count, seed, calls, new_loop=asyncio.new_event_loop):
    loop = new_loop()
    reported = []
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    c = for_asyncio.NumPyRedis(*address, **{**OPTIONS, "max_connections": WORKERS // 2})
    under_way = set()

    def of_signal():
        """Cancels a call, as a program does that is told to stop."""
        for task in list(under_way)[:1]:
            task.cancel()
            calls.counts["cancelled by a signal"] += 1

    async def one(number):
        draw = calls.random.random
        with_deadline, deadline = shared(c, draw)
        kind, keys, values = calls.choose()
        began = time.monotonic()
        task = asyncio.ensure_future(calls.start(with_deadline, kind, keys, values))
        under_way.add(task)
        timer = None
        if draw() < 0.3:
            timer = loop.call_later(draw() * draw() * 0.02, task.cancel)
        elif draw() < 0.1:
            for _ in range(int(draw() * 12)):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait({task})
        under_way.discard(task)
        if timer is not None:
            timer.cancel()
        calls.ended(kind, began, deadline)
        if task.cancelled():
            calls.counts["cancelled"] += 1
        elif task.exception() is not None:
            calls.failed(kind, task.exception())
            if isinstance(task.exception(), NodeDownError):
                await asyncio.sleep(0.02)
        else:
            calls.finish(kind, keys, values, task.result())

    async def worker(n):
        for number in range(n, count, 2 * WORKERS):
            await one(number)
            if calls.random.random() < 0.0005:
                await c.close()

    async def main():
        await asyncio.gather(*(worker(n) for n in range(2 * WORKERS)))

    async def last():
        patient = c.with_options(retry_for=30)
        for key in range(KEYS):
            await patient.set(f"k{key}", value(key, 1))
            check(key, await patient.get(f"k{key}"))
        (pool,) = c._cluster.nodes.seed._pools.values()
        if pool._taken or len(pool._idle) > WORKERS // 2:
            raise Wrong(f"{pool._taken} places are lost, {len(pool._idle)} connections idle")
        await c.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            raise Wrong(f"tasks are left: {others}")

    stop = threading.Event()

    def send_signals():
        while not stop.wait(random.random() * 0.1):
            os.kill(os.getpid(), signal.SIGUSR1)

    loop.add_signal_handler(signal.SIGUSR1, of_signal)
    sender = threading.Thread(target=send_signals)
    sender.start()
    try:
        loop.run_until_complete(main())
        stop.set()
        sender.join()
        yield lambda: loop.run_until_complete(last())
    finally:
        stop.set()
        sender.join()
        loop.remove_signal_handler(signal.SIGUSR1)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    if reported:
        raise Wrong(f"the event loop reported {reported[:3]}")


STORMS = {"signals": storm_of_signals, "threads": storm_of_threads, "asyncio": storm_of_tasks}
if importlib.util.find_spec("uvloop"):
    STORMS["uvloop"] = functools.partial(storm_of_tasks, new_loop=__import__("uvloop").new_event_loop)


# The whole


def open_sockets():
    gc.collect()
    return [name for name in map(target, os.listdir("/proc/self/fd")) if name.startswith("socket:")]


def target(number):
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:  # that of the listing itself
        return ""


def connected(node):
    with NumPyRedis(*node) as c:
        return c.info("clients")["connected_clients"]


def wait_until(condition, what):
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            raise Wrong(what())
        time.sleep(0.05)


class Restarts:
    """A node that is restarted now and then, at its address and with its data."""

    def __init__(self, folder, every, seed):
        self.folder = folder
        self.process, self.address = start_node(*PORTS, folder=folder)
        self.count = 0
        self._error = None
        self._every = every
        self._random = random.Random(seed)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._done.wait(self._random.uniform(0.5, 1.5) * self._every):
            try:
                stop_node(self.process)
                self.process, _ = start_node(*PORTS, "--port", str(self.address[1]), folder=self.folder)
            except BaseException as exc:
                self._error = exc
                return
            self.count += 1

    def pause(self):
        self._done.set()
        self._thread.join()
        if self._error:
            raise self._error

    def close(self):
        try:
            self.pause()
        finally:
            stop_node(self.process)


def run_mode(mode, count, seed, every, restart):
    """Runs one kind of storm and returns its Calls."""
    with tempfile.TemporaryDirectory(prefix="ndring-storm-") as folder:
        node = Restarts(pathlib.Path(folder), restart, seed)
        network = BadNetwork(node.address, seed, every)
        try:
            with NumPyRedis(*node.address) as c:
                c.set("large", np.full(20_000, 77))
            at_node = connected(node.address)
            here = open_sockets()
            calls = Calls(seed)
            began = time.monotonic()
            for after in STORMS[mode](network.address, count, seed, calls):
                took = time.monotonic() - began
                node.pause()
                network.heal()
                after()
            wait_until(lambda: len(open_sockets()) <= len(here), lambda: f"open: {open_sockets()}, before: {here}; threads: {threading.enumerate()}")
            wait_until(lambda: connected(node.address) <= at_node, lambda: f"{connected(node.address)} clients are connected, {at_node} before")
        finally:
            network.close()
            node.close()
    print(f"{mode}: {count} calls in {took:.1f} s, {count / took:.0f} a second, {node.count} restarts, latest end {calls.late:+.2f} s")
    print("   ", ", ".join(f"{name} {number}" for name, number in sorted(calls.counts.items())), flush=True)
    return calls


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--mode", choices=STORMS, help="only this one")
    parser.add_argument("--every", type=float, default=100_000, help="bytes of a connection between two faults")
    parser.add_argument("--restart", type=float, default=10.0, help="seconds between two restarts of the node")
    options = parser.parse_args()
    logging.getLogger("ndring").setLevel(logging.ERROR)
    print(f"seed {options.seed}", flush=True)
    modes = [options.mode] if options.mode else list(STORMS)
    for mode in modes:
        run_mode(mode, options.calls // len(modes), options.seed, options.every, options.restart)
    print("ok")


if __name__ == "__main__":
    warnings.simplefilter("ignore", ResourceWarning)  # an interrupted blocking call leaves its socket to the garbage collection
    sys.exit(main())
