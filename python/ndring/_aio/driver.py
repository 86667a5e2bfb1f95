"""Has the core's work done by an event loop."""
from __future__ import annotations

import asyncio
import inspect
from typing import Any, Callable, Optional, Sequence, Set

from .._core import driver
from .._core.driver import Work
from .._core.settings import Settings
from .._core.slots import Address
from .transport import Transport
from .work import run

_LONGEST = 1e6  # s


class Driver:
    """See ``_core.driver.Driver``. What is given there is awaited here."""

    def __init__(self) -> None:
        self._spawned: Set[asyncio.Task[None]] = set()  # an event loop itself keeps tasks only weakly

    def transport(self, settings: Settings, address: Address, silence_check: Optional[driver.SilenceCheck]) -> Transport:
        return Transport(settings, address, silence_check)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def parallel(self, parts: Sequence[Work[None]]) -> None:
        tasks = [asyncio.ensure_future(run(part)) for part in parts]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    def event(self) -> asyncio.Event:
        return asyncio.Event()

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        if not event.is_set():
            try:
                await asyncio.wait_for(event.wait(), min(seconds, _LONGEST))
            except asyncio.TimeoutError:
                pass
        return event.is_set()

    def spawn(self, work: Work[None], name: str) -> bool:
        task = asyncio.ensure_future(run(work))
        self._spawned.add(task)
        task.add_done_callback(self._ended)
        return True

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._spawned.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved: the calls that need its work see why it failed

    async def call(self, function: Callable[[], Any]) -> Any:
        result = function()
        return await result if inspect.isawaitable(result) else result
