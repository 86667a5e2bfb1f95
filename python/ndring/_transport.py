"""Commands to a node: borrow a connection from redis-py's pool, send, read, try again where that is safe.

redis-py owns addresses, pools, TLS and authentication. Its own retries are off: it cannot know which of our commands
may be repeated.
"""
from __future__ import annotations

import inspect
import random
import socket
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Set

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ._channel import Channels
from ._exceptions import AuthenticationError, BusyError, ConnectionError, DecodeError, NdringError, TimeoutError, UncertainWrite, error_reply
from ._wire import Buffer, ReplyReader, pack, send

_FIRST_DELAY = 0.02  # s; doubles up to _LAST_DELAY, and is cut to a random part
_LAST_DELAY = 1.0  # s
# How long a node knows a request id is 60 s: a repeat must come well before.
_REMEMBERED = 45.0  # s
# Replies that nobody reads while commands are still being sent would block both sides: so many commands, and so many bytes of them
# behind one with a long answer, fit what lies between. A node goes on reading while the short answers to writes wait.
_BATCH = 128
_BATCH_BYTES = 32 << 10


class Request:
    """One command. ``read`` reads its reply from a ReplyReader.

    Sent again after its answer was lost, a command does no harm: most do the same once more, and a ``conditional`` write
    carries a request id by which the node knows it, for a while.
    """

    __slots__ = ("buffers", "read", "conditional", "keep", "brief")

    def __init__(
        self,
        buffers: List[Buffer],
        read: Callable[[ReplyReader], Any] = ReplyReader.reply,
        conditional: bool = False,
        keep: object = None,
        brief: bool = False,
    ) -> None:
        self.buffers = buffers
        self.read = read
        self.conditional = conditional
        self.keep = keep  # owns the memory of the buffers
        self.brief = brief  # its answer is short, whatever it is

    @property
    def size(self) -> int:
        return sum(map(len, self.buffers))


class _Failed:
    """What stands in a list of results for a command that was not answered."""

    __slots__ = ("error", "sent")

    def __init__(self, error: NdringError, sent: bool) -> None:
        self.error = error
        self.sent = sent


class Transport:
    """The connections to one node. Safe across threads and forks, as redis-py's pool is."""

    def __init__(self, options: Dict[str, Any], retry_for: float, max_bytes: int) -> None:
        ours = {name: value for name, value in options.items() if name not in ("retry_on_error", "retry_on_timeout")}
        self._pool = redis.ConnectionPool(**{**ours, "retry": Retry(NoBackoff(), 0)})
        self._pool.connection_class(**self._pool.connection_kwargs)  # an unknown option is a TypeError here, not at the first call
        required = inspect.signature(self._pool.get_connection).parameters.get("command_name")
        # redis-py 4 wants the command's name, later versions warn when it is given.
        arguments = ("NP",) if required is not None and required.default is required.empty else ()
        self._channels = Channels(self._pool, arguments, max_bytes)
        self._retry_for = retry_for

    def close(self) -> None:
        self._channels.close()

    def one(self, request: Request) -> Any:
        """Returns the reply to one command, or raises."""
        # The way of nearly all calls: one connection, one command, one answer.
        began = time.monotonic()
        failed: Any
        try:
            channel = self._channels.borrow()
        except (redis.RedisError, OSError, ValueError) as exc:  # redis-py raises ValueError for some nonsense
            failed = _Failed(_translate(exc), False)
        else:
            in_step = False
            try:
                send(channel.sock, request.buffers)
                result = request.read(channel.reader)
                in_step = not channel.reader.pending
                return result
            except (NdringError, OSError) as exc:
                error = _translate(exc)
                in_step = error.is_reply and not channel.reader.pending
                failed = error if error.is_reply else _Failed(error, True)
            finally:  # also when interrupted: what is left of a reply must meet no other command
                self._channels.give_back(channel, in_step)
        if isinstance(failed, _Failed) and not isinstance(failed.error, (ConnectionError, TimeoutError)):
            raise failed.error
        results = [failed]
        self._again([request], results, began)
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    def many(self, requests: Sequence[Request]) -> List[Any]:
        """Returns the replies to commands that are sent together; an exception stands where one failed."""
        results: List[Any] = [None] * len(requests)
        began = time.monotonic()
        self._attempt(requests, list(range(len(requests))), results)
        self._again(requests, results, began)
        return results

    def _again(self, requests: Sequence[Request], results: List[Any], began: float) -> None:
        """Tries those again that failed, where that does no harm, for as long as there is time since ``began``."""
        pending = list(range(len(requests)))
        once_sent: Set[int] = set()
        delay = _FIRST_DELAY
        while True:
            pending = [i for i in pending if isinstance(results[i], (_Failed, BusyError))]
            once_sent.update(i for i in pending if isinstance(results[i], _Failed) and results[i].sent)
            wait = random.uniform(delay / 2, delay)
            after = time.monotonic() + wait - began
            again: List[int] = []
            for i in pending:
                conditional = requests[i].conditional
                if after <= (min(self._retry_for, _REMEMBERED) if conditional else self._retry_for):
                    again.append(i)
                elif isinstance(results[i], _Failed):
                    error = results[i].error
                    results[i] = error
                    if conditional and i in once_sent:
                        results[i] = UncertainWrite(f"whether the condition held is not known, the answer was lost: {error}")
                        results[i].__cause__ = error
            if not again:
                return
            pending = again
            time.sleep(wait)
            delay = min(2 * delay, _LAST_DELAY)
            self._attempt(requests, pending, results)

    def transaction(self, requests: Sequence[Request]) -> List[Any]:
        """Returns the replies to commands that are done as one; an exception stands where one failed.

        It is tried again as long as it cannot have been done. Raises what kept it from being done, or UncertainWrite.
        """
        began = time.monotonic()
        delay = _FIRST_DELAY
        while True:
            try:
                return self._try_transaction(requests)
            except (ConnectionError, TimeoutError, BusyError):
                wait = random.uniform(delay / 2, delay)
                if time.monotonic() + wait - began > self._retry_for:
                    raise
            time.sleep(wait)
            delay = min(2 * delay, _LAST_DELAY)

    def _try_transaction(self, requests: Sequence[Request]) -> List[Any]:
        try:
            channel = self._channels.borrow()
        except (redis.RedisError, OSError, ValueError) as exc:
            raise _translate(exc)
        sent = in_step = False
        refused: Dict[int, NdringError] = {}  # by the number of the command; 0 is MULTI
        try:
            reader = channel.reader
            buffers: List[Buffer] = pack(b"MULTI")
            for request in requests:
                buffers += request.buffers
            # The node answers each with a few bytes only, so that nobody need read before all is sent. EXEC is last: what was
            # cut before it has not been done.
            send(channel.sock, buffers + pack(b"EXEC"))
            sent = True
            for number in range(1 + len(requests)):
                try:
                    reply = reader.reply()
                    if reply != ("QUEUED" if number else "OK"):  # it was done at once: that must not be repeated
                        raise DecodeError(f"the node answers {str(reply)[:20]!r} to command {number} of a transaction")
                except NdringError as exc:
                    if not exc.is_reply:
                        raise
                    refused[number] = exc
            results: List[Any] = []
            try:
                count = reader.items()
            except NdringError as exc:
                in_step = exc.is_reply and not reader.pending
                raise next(iter(refused.values()), exc) if exc.is_reply else exc
            if count != len(requests):
                raise DecodeError(f"EXEC answers {count} replies to {len(requests)} commands")
            for request in requests:
                try:
                    results.append(request.read(reader))
                except NdringError as exc:
                    if not exc.is_reply:
                        raise
                    results.append(exc)
            in_step = not reader.pending
            return results
        except (NdringError, OSError) as exc:
            error = _translate(exc)
            if sent and isinstance(error, (ConnectionError, TimeoutError)):
                if refused and 0 not in refused:  # EXEC does nothing then
                    raise next(iter(refused.values()))
                raise UncertainWrite(f"whether the transaction was done is not known, the answer was lost: {error}") from error
            raise error
        finally:
            self._channels.give_back(channel, in_step)

    def _attempt(self, requests: Sequence[Request], pending: List[int], results: List[Any]) -> None:
        """Sends the pending commands on one connection and fills in their results."""
        try:
            channel = self._channels.borrow()
        except (redis.RedisError, OSError, ValueError) as exc:  # redis-py raises ValueError for some nonsense
            for i in pending:
                error = _translate(exc)
                results[i] = _Failed(error, False) if isinstance(error, (ConnectionError, TimeoutError)) else error
            return
        sent = done = 0
        in_step = False
        try:
            reader = channel.reader
            while done < len(pending):
                batch: List[Buffer] = []
                behind = 0  # bytes behind the first command with a long answer
                brief = True
                while sent < len(pending) and sent - done < _BATCH:
                    request = requests[pending[sent]]
                    if not brief:
                        behind += request.size
                        if behind > _BATCH_BYTES:
                            break
                    batch += request.buffers
                    brief = brief and request.brief
                    sent += 1
                send(channel.sock, batch)
                while done < sent:
                    i = pending[done]
                    try:
                        results[i] = requests[i].read(reader)
                    except NdringError as exc:
                        if not exc.is_reply:
                            raise
                        results[i] = exc
                    done += 1
            in_step = not reader.pending
        except (NdringError, OSError) as exc:
            error = _translate(exc)
            for position in range(done, len(pending)):
                lost = isinstance(error, (ConnectionError, TimeoutError))
                results[pending[position]] = _Failed(error, position < sent) if lost or position > done else error
        finally:
            self._channels.give_back(channel, in_step)


def _translate(exc: BaseException) -> NdringError:
    """Returns our exception for one of redis-py's or the system's."""
    error: NdringError
    if isinstance(exc, NdringError):
        return exc
    if isinstance(exc, redis.AuthenticationError):  # a redis.ConnectionError too
        error = AuthenticationError(str(exc))
    elif isinstance(exc, (redis.TimeoutError, socket.timeout, BlockingIOError)):  # the last one is what the system says
        error = TimeoutError("timed out" if isinstance(exc, BlockingIOError) else str(exc) or "timed out")
    elif isinstance(exc, redis.ResponseError):
        error = error_reply(str(exc))
    else:
        error = ConnectionError(str(exc))
    error.__cause__ = exc
    return error
