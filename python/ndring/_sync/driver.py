"""Runs the core's work in the caller's thread, with blocking calls."""
from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any, Callable, Optional, Sequence, TypeVar

from .._core import driver
from .._core.driver import Work
from .._core.settings import Settings
from .._core.slots import Address
from .parallel import run_parallel
from .transport import Transport

T = TypeVar("T")


def run(work: Work[T]) -> T:
    """Does the work and returns its result. What it yields has been done by then."""
    step: Callable[[Any], Any] = work.send
    given: Any = None
    try:
        while True:
            try:
                while True:  # within the try, because Python runs signal handlers at the jump
                    given = step(given)
                    step = work.send
            except StopIteration:
                raise
            except BaseException as exc:
                if work.gi_frame is None:  # the work raised it
                    raise
                # A signal handler raised it while the work was suspended, and it must give back what it holds.
                step, given = work.throw, exc
    except StopIteration as stop:
        result: T = stop.value
        return result


class Driver:
    """See ``_core.driver.Driver``."""

    def transport(self, settings: Settings, address: Address, silence_check: Optional[driver.SilenceCheck]) -> Transport:
        check = None if silence_check is None else partial(_run_check, silence_check)
        return Transport(settings, address, check)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def parallel(self, parts: Sequence[Work[None]]) -> None:
        run_parallel(parts, run)

    def event(self) -> threading.Event:
        return threading.Event()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)

    def spawn(self, work: Work[None], name: str) -> bool:
        try:
            threading.Thread(target=run, args=(work,), name=name, daemon=True).start()
        except RuntimeError:  # the interpreter is shutting down, or the system has no more threads
            return False
        return True

    def call(self, function: Callable[[], Any]) -> Any:
        return function()


def _run_check(check: driver.SilenceCheck, key: Optional[bytes], end: float) -> None:
    run(check(key, end))
