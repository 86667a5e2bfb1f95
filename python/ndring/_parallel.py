"""Work for several nodes at the same time: a thread for each but one, which the caller does itself."""
from __future__ import annotations

import threading
from collections import deque
from typing import Callable, Deque, List, Sequence

_MOST = 16  # threads of one call


def side_by_side(parts: Sequence[Callable[[], None]]) -> None:
    """Runs all parts and returns when all have ended. Raises what the first one raised that did.

    The threads end with the call: none is left over for a fork or for the end of the interpreter. Where no thread can be
    started any more, the caller does everything.
    """
    if len(parts) == 1:
        parts[0]()
        return
    waiting: Deque[Callable[[], None]] = deque(parts)
    raised: List[BaseException] = []

    def work() -> None:
        try:
            while True:
                try:
                    part = waiting.popleft()
                except IndexError:
                    return
                part()
        except BaseException as exc:
            waiting.clear()
            raised.append(exc)

    threads: List[threading.Thread] = []
    for _ in range(min(len(parts), _MOST) - 1):
        thread = threading.Thread(target=work, name="ndring-node", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends, or the system has no more threads
            break
        threads.append(thread)
    work()
    for exc in raised:
        if not isinstance(exc, Exception):  # Ctrl-C: nobody is waited for
            raise exc
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]
