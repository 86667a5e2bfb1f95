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
from .work import Event, run


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

    def event(self) -> Event:
        return Event()

    async def wait(self, event: Event, seconds: float) -> bool:
        return await event.wait(seconds)

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
