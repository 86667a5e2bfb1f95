"""Runs work for several nodes in parallel: one part in the caller's thread, the others in a thread each."""
from __future__ import annotations

import threading
from collections import deque
from typing import Any, Callable, Deque, List, Sequence

_MAX_THREADS = 16  # per call


def run_parallel(parts: Sequence[Any], run: Callable[[Any], Any]) -> None:
    """Calls ``run`` for all parts and returns when all have ended. Raises the first exception that one of them raised.

    The threads end with the call, so none is left for a fork or for the interpreter's shutdown. If
    no thread can be started, the caller runs everything itself.
    """
    if len(parts) == 1:
        run(parts[0])
        return
    waiting: Deque[Any] = deque(parts)
    raised: List[BaseException] = []

    def work() -> None:
        try:
            while True:
                try:
                    part = waiting.popleft()
                except IndexError:
                    return
                run(part)
        except BaseException as exc:
            waiting.clear()
            raised.append(exc)

    threads: List[threading.Thread] = []
    for _ in range(min(len(parts), _MAX_THREADS) - 1):
        thread = threading.Thread(target=work, name="ndring-node", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or the system has no more threads
            break
        threads.append(thread)
    work()
    for exc in raised:
        if not isinstance(exc, Exception):  # Ctrl-C: do not wait for the threads
            raise exc
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]
