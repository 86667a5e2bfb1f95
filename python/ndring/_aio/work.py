"""Runs the core's work in a task of an event loop."""
from __future__ import annotations

from typing import TypeVar

from .._core.driver import Work

T = TypeVar("T")


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
