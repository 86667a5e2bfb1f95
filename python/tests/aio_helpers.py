"""Helpers for the tests of the asyncio client: event loops that report what they should not see, and
calls that are cancelled at a chosen moment."""
from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import os
import time
import types

import numpy as np
from ndring.asyncio import NumPyRedis

A = np.arange(6, dtype="<f4").reshape(2, 3)
LOOPS = {"asyncio": asyncio.new_event_loop}
if importlib.util.find_spec("uvloop"):
    LOOPS["uvloop"] = __import__("uvloop").new_event_loop

for new_loop in LOOPS.values():  # the first one opens files that stay open, which is no leak
    loop = new_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

#: How event loops are made and run: uvloop as well, where it is installed, and asyncio's debug mode.
KINDS = [*LOOPS, "debug"]


def run(main, kind="asyncio", limit=100):
    """Runs a coroutine in a new event loop and returns its result. Fails if it leaves tasks behind, or
    if the loop reports an error, such as an exception that nobody retrieved."""
    loop = LOOPS.get(kind, asyncio.new_event_loop)()
    loop.set_debug(kind == "debug")
    loop.slow_callback_duration = 10.0  # s; the tests themselves block
    reported = []
    loop.set_exception_handler(lambda loop, context: reported.append(context))

    async def whole():
        result = await asyncio.wait_for(main, limit)
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, asyncio.all_tasks)
        return result

    try:
        result = loop.run_until_complete(whole())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
    gc.collect()
    assert not reported, reported[:3]
    return result


async def until(condition, shown=lambda: None):
    """Waits until a condition holds."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, shown()
        await asyncio.sleep(0.001)


def open_files():
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def no_leak():
    """Fails if more files are open at the end than at the beginning."""
    gc.collect()
    before = open_files()
    yield
    gc.collect()
    end = time.monotonic() + 30  # servers in threads of this process close their ends a moment later
    while open_files() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert open_files() <= before


def client_of(address, **options):
    return NumPyRedis(*address, **{"socket_timeout": 20, "retry_for": 10, "max_connections": 1, **options})


@types.coroutine
def _cancelled_at(coroutine, number, late, told):
    """Runs a coroutine in the current task, which it cancels at the coroutine's wait with this number:
    at once, or if ``late`` just when it gets what it waits for."""
    task = asyncio.current_task()
    waits = 0
    error = None
    while True:
        try:
            awaited = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            return stop.value
        error = None
        if waits == number:
            told.append(True)
            if late and awaited is not None:
                awaited.add_done_callback(lambda future: task.cancel())
            else:
                task.cancel()
        waits += 1
        try:
            yield awaited
        except BaseException as exc:
            error = exc


async def cancel_at_wait(coroutine, number, late):
    """Awaits a coroutine and cancels it at its wait with this number. Returns whether it got that far.
    Fails if it then went on as if it had not been cancelled."""
    told = []

    async def body():
        return await _cancelled_at(coroutine, number, late, told)

    task = asyncio.ensure_future(body())
    await asyncio.wait({task})
    assert task.cancelled() == bool(told), f"{number} {late}: cancelled, and yet it returned {task.cancelled() or task.exception() or task.result()}"
    if not told:
        task.result()
    return bool(told)


async def cancel_after(coroutine, steps):
    """Awaits a coroutine and cancels it after so many steps of the event loop. Returns whether that was
    in time."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
    return task.cancelled()
