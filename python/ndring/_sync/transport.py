"""Executes commands on one node with blocking sockets. Tries each command once; the core decides
what is tried again."""
from __future__ import annotations

from time import monotonic
from typing import Any, List, Optional, Sequence

from .._core import driver
from .._core.exchange import Batch, Question, Transaction, root_cause
from .._core.request import Failure, Request, is_unknown, may_repeat
from .._core.settings import Settings
from .._core.slots import Address
from .._exceptions import ConnectionError, NdringError
from .pool import ConnectionPool
from .stream import SilenceCheck


class Transport(driver.Transport):
    """See ``_core.driver.Transport``. Safe to use from several threads, after a fork, and in signal
    handlers."""

    def __init__(self, settings: Settings, address: Address, silence_check: Optional[SilenceCheck] = None) -> None:
        super().__init__(address)
        self._pool = ConnectionPool(settings, address, silence_check)
        self._listeners = ConnectionPool(settings.for_listeners(), address, None)

    def ever_connected(self) -> bool:
        return self._pool.ever_connected

    def close(self) -> None:
        self._pool.close()
        self._listeners.close()

    def retire(self) -> None:
        self._pool.retire()
        self._listeners.close()

    def one(self, request: Request, end: Optional[float] = None) -> Any:
        # The way that most calls take: what Single does, without a generator where the reply is short.
        connection = broken = None
        reusable = sent = False
        try:
            connection = self._pool.acquire(end, request.key)
            stream, reader = connection.stream, connection.reader
            stream.begin(end, request.key)
            sent = True
            broken = stream.send(request.buffers)
            try:
                quick, result = request.quick, None
                if quick is not None and not reader.pending:
                    reader.received(stream.recv_into(reader.space()))
                    result = quick(reader)
                if result is None:
                    result = stream.read(request.read(reader))
            except ConnectionError as exc:
                raise root_cause(broken, exc)
            reusable = not (broken or reader.pending)
            return result
        except NdringError as exc:
            error = self.with_hint(exc, request.buffers)
            reusable = exc.is_reply and connection is not None and not (broken or connection.reader.pending)
            lost = sent and not exc.is_reply or is_unknown(error)
        finally:  # also if interrupted, since the next command must not read the rest of this reply
            if connection is not None:
                self._pool.release(connection, reusable)
        if may_repeat(error):
            return Failure(error, lost, self)
        raise error

    def with_timeout(self, request: Request, seconds: float, end: Optional[float] = None) -> Any:
        until = monotonic() + seconds
        return self._run(Question(self, request), until if end is None else min(until, end)).result

    def transaction(self, requests: Sequence[Request], end: Optional[float] = None) -> List[Any]:
        return self._run(Transaction(self, requests), end).results

    def attempt(self, requests: Sequence[Request], pending: Sequence[int], results: List[Any], end: Optional[float] = None) -> None:
        self._run(Batch(self, requests, pending, results), end)

    def listen(self, listener: Any) -> None:
        self._run(listener, None, self._listeners)

    def _run(self, exchange: Any, end: Optional[float], pool: Optional[ConnectionPool] = None) -> Any:
        connection = None
        pool = pool or self._pool
        try:
            connection = pool.acquire(end, exchange.key)
            connection.stream.begin(end, exchange.key)
            connection.stream.run(exchange.steps(connection.reader, connection.stream.limits))
        except NdringError as exc:
            exchange.fail(exc)
        finally:
            if connection is not None:
                pool.release(connection, exchange.reusable)
        return exchange
