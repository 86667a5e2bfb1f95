"""Executes commands on one node within an event loop. Tries each command once; the core decides
what is tried again."""
from __future__ import annotations

import asyncio
import contextlib
from time import monotonic
from typing import Any, Dict, List, Optional, Sequence, Set

from .._core import driver
from .._core.exchange import Batch, Question, Single, Transaction
from .._core.request import Request
from .._core.settings import Settings
from .._core.slots import Address
from .._exceptions import NdringError
from .pool import ConnectionPool


class Transport(driver.Transport):
    """See ``_core.driver.Transport``. What is given there is awaited here. Each event loop has
    connections of its own."""

    def __init__(self, settings: Settings, address: Address, silence_check: Optional[driver.SilenceCheck] = None) -> None:
        super().__init__(address)
        self._settings = settings
        self._silence_check = silence_check
        # Weak keys would not help, since a pool holds its event loop.
        self._pools: Dict[asyncio.AbstractEventLoop, ConnectionPool] = {}
        self._listeners: Dict[asyncio.AbstractEventLoop, Set[ConnectionPool]] = {}
        self._connected = False

    def ever_connected(self) -> bool:
        return self._connected

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        pool = self._pools.pop(loop, None)
        for each in (*([] if pool is None else [pool]), *self._listeners.get(loop, ())):
            each.close()

    def retire(self) -> None:
        # Copies, because other threads may add pools meanwhile.
        listening = [(loop, pool) for loop, pools in self._listeners.copy().items() for pool in pools.copy()]
        for loop, pool in (*self._pools.copy().items(), *listening):
            if loop is asyncio.get_running_loop():
                pool.retire()
            else:
                with contextlib.suppress(RuntimeError):  # it has been closed
                    loop.call_soon_threadsafe(pool.retire)

    async def one(self, request: Request, end: Optional[float] = None) -> Any:
        return (await self._run(Single(self, request), end)).result

    async def with_timeout(self, request: Request, seconds: float, end: Optional[float] = None) -> Any:
        until = monotonic() + seconds
        return (await self._run(Question(self, request), until if end is None else min(until, end))).result

    async def transaction(self, requests: Sequence[Request], end: Optional[float] = None) -> List[Any]:
        results: List[Any] = (await self._run(Transaction(self, requests), end)).results
        return results

    async def attempt(self, requests: Sequence[Request], pending: Sequence[int], results: List[Any], end: Optional[float] = None) -> None:
        await self._run(Batch(self, requests, pending, results), end)

    async def listen(self, listener: Any) -> None:
        pool = ConnectionPool(self._settings.for_listeners(), self.address, None)
        listeners = self._listeners.setdefault(asyncio.get_running_loop(), set())
        listeners.add(pool)
        try:
            await self._run(listener, None, pool)
        finally:
            listeners.discard(pool)

    async def _run(self, exchange: Any, end: Optional[float], pool: Optional[ConnectionPool] = None) -> Any:
        connection = None
        pool = pool or self._pool()
        try:
            connection = await pool.acquire(end, exchange.key)
            self._connected = True
            await connection.run(exchange.steps(connection.reader, connection.limits), end, exchange.key)
        except NdringError as exc:
            exchange.fail(exc)
        finally:  # also if cancelled, since the next command must not read the rest of this reply
            if connection is not None:
                pool.release(connection, exchange.reusable)
        return exchange

    def _pool(self) -> ConnectionPool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            for other in (*self._pools.copy(), *self._listeners.copy()):
                if other.is_closed():  # without close() before: its connections end when they are dropped
                    self._pools.pop(other, None)
                    self._listeners.pop(other, None)
            pool = self._pools[loop] = ConnectionPool(self._settings, self.address, self._silence_check)
        return pool
