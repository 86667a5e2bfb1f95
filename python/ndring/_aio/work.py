"""Runs the core's work in a task of an event loop, and what such work waits for."""
from __future__ import annotations

import asyncio
import contextlib
from typing import List, TypeVar

from .._core.driver import Work

T = TypeVar("T")
_LONGEST = 1e6  # s


async def run(work: Work[T]) -> T:
    """Does the work and returns its result. What it yields is awaited."""
    try:
        todo = next(work)
        while True:
            try:
                done = await todo
            except BaseException as exc:  # also CancelledError: the work must give back what it holds
                todo = work.throw(exc)
            else:
                todo = work.send(done)
    except StopIteration as stop:
        result: T = stop.value
        return result


class Event:
    """Set once, by any thread. Tasks of several event loops may wait for it: one of them fetches
    the slot map for all."""

    def __init__(self) -> None:
        self._set = False
        self._waiting: List[asyncio.Future[None]] = []

    def set(self) -> None:
        self._set = True
        for waiter in list(self._waiting):
            with contextlib.suppress(RuntimeError):  # its event loop has been closed
                waiter.get_loop().call_soon_threadsafe(wake, waiter)

    def is_set(self) -> bool:
        return self._set

    async def wait(self, seconds: float) -> bool:
        """Returns whether it was set within so many seconds."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiter)
        try:
            if not self._set:  # looked at after the waiter was added, so that set() in another thread wakes it
                timer = loop.call_later(min(seconds, _LONGEST), wake, waiter)
                try:
                    await waiter
                finally:
                    timer.cancel()
            return self._set
        finally:
            self._waiting.remove(waiter)


def wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
