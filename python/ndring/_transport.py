"""Commands to one node: borrow a connection from redis-py's pool, send, read. Each once: ``_cluster`` tries again.

redis-py owns addresses, pools, TLS and authentication. Its own retries are off: it cannot know which of our commands
may be repeated.
"""
from __future__ import annotations

import inspect
import socket
from typing import Any, Callable, Dict, List, Optional, Sequence

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ._channel import Channels
from ._exceptions import (
    AuthenticationError, BusyError, ClusterDownError, ConnectionError, DecodeError, MovedError, NdringError, TimeoutError, UncertainWrite,
    error_reply,
)  # fmt: skip
from ._slots import Address
from ._wire import Buffer, ReplyReader, pack, send

# Replies that nobody reads while commands are still being sent would block both sides: so many commands, and so many bytes of them
# behind one with a long answer, fit what lies between. A node goes on reading while the short answers to writes wait.
_BATCH = 128
_BATCH_BYTES = 32 << 10


class Request:
    """One command. ``read`` reads its reply from a ReplyReader. ``key``: one that it concerns; None where any node will do,
    or the one that ``node`` names.

    Sent again after its answer was lost, a command does no harm: most do the same once more, and a ``conditional`` write
    carries a request id by which the node knows it, for a while.
    """

    __slots__ = ("buffers", "read", "conditional", "keep", "brief", "key", "node")

    def __init__(
        self,
        buffers: List[Buffer],
        read: Callable[[ReplyReader], Any] = ReplyReader.reply,
        conditional: bool = False,
        keep: object = None,
        brief: bool = False,
        key: Optional[bytes] = None,
        node: Optional[str] = None,
    ) -> None:
        self.buffers = buffers
        self.read = read
        self.conditional = conditional
        self.keep = keep  # owns the memory of the buffers
        self.brief = brief  # its answer is short, whatever it is
        self.key = key
        self.node = node

    @property
    def size(self) -> int:
        return sum(map(len, self.buffers))

    def asking(self) -> "Request":
        """Returns it as a node wants it that has said ASK by another's mouth."""

        def read(reader: ReplyReader) -> Any:
            try:
                reader.reply()
            except NdringError as exc:
                if not exc.is_reply:
                    raise
            return self.read(reader)  # where ASKING was refused, so is this

        return Request([*pack(b"ASKING"), *self.buffers], read, self.conditional, self.keep, self.brief, self.key)


class Setback:
    """What stands in place of a result for a command that may be tried again, here or elsewhere.

    ``error``: why. ``lost``: it was sent, and no answer came: it may have been done. Otherwise it was not. ``at``: where.
    """

    __slots__ = ("error", "lost", "at")

    def __init__(self, error: NdringError, lost: bool, at: "Transport") -> None:
        self.error = error
        self.lost = lost
        self.at = at


_LOST = (ConnectionError, TimeoutError)
#: The errors that are a setback, and not the end.
PASSING = (*_LOST, BusyError, ClusterDownError, MovedError)


class Transport:
    """The connections to one node. Safe across threads and forks, as redis-py's pool is."""

    def __init__(self, options: Dict[str, Any], max_bytes: int) -> None:
        ours = {name: value for name, value in options.items() if name not in ("retry_on_error", "retry_on_timeout")}
        self._pool = redis.ConnectionPool(**{**ours, "retry": Retry(NoBackoff(), 0)})
        self._pool.connection_class(**self._pool.connection_kwargs)  # an unknown option is a TypeError here, not at the first call
        required = inspect.signature(self._pool.get_connection).parameters.get("command_name")
        # redis-py 4 wants the command's name, later versions warn when it is given.
        arguments = ("NP",) if required is not None and required.default is required.empty else ()
        self._channels = Channels(self._pool, arguments, max_bytes)
        self.address = Address(str(options.get("host", "")), int(options.get("port", 0)))

    def close(self) -> None:
        self._channels.close()

    def retire(self) -> None:
        """Closes what is idle now and the rest when it comes back: commands under way are not disturbed."""
        self._channels.retire()

    def one(self, request: Request) -> Any:
        """Returns the reply to one command, or a Setback. Raises what is final."""
        # The way of nearly all calls: one connection, one command, one answer.
        try:
            channel = self._channels.borrow()
        except (redis.RedisError, OSError, ValueError) as exc:  # redis-py raises ValueError for some nonsense
            error, lost = translate(exc), False
        else:
            in_step = False
            try:
                send(channel.sock, request.buffers)
                result = request.read(channel.reader)
                in_step = not channel.reader.pending
                return result
            except (NdringError, OSError) as exc:
                error = translate(exc)
                in_step = error.is_reply and not channel.reader.pending
                lost = not error.is_reply
            finally:  # also when interrupted: what is left of a reply must meet no other command
                self._channels.give_back(channel, in_step)
        if isinstance(error, PASSING):
            return Setback(error, lost, self)
        raise error

    def soon(self, request: Request, seconds: float) -> Any:
        """Returns the reply to one command, for which the node has so many seconds. Raises any error."""
        try:
            channel = self._channels.borrow()
        except (redis.RedisError, OSError, ValueError) as exc:
            raise translate(exc)
        in_step = False
        try:
            channel.limit(seconds)
            send(channel.sock, request.buffers)
            result = request.read(channel.reader)
            channel.limit(None)
            in_step = not channel.reader.pending
            return result
        except (NdringError, OSError) as exc:
            raise translate(exc)  # an error reply ends the connection too: it is rare
        finally:
            self._channels.give_back(channel, in_step)

    def transaction(self, requests: Sequence[Request]) -> List[Any]:
        """Returns the replies to commands that are done as one; an exception stands where one failed. Raises what kept it from being
        done, or UncertainWrite."""
        try:
            channel = self._channels.borrow()
        except (redis.RedisError, OSError, ValueError) as exc:
            raise translate(exc)
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
            error = translate(exc)
            if sent and isinstance(error, (ConnectionError, TimeoutError)):
                if refused and 0 not in refused:  # EXEC does nothing then
                    raise next(iter(refused.values()))
                raise UncertainWrite(f"whether the transaction was done is not known, the answer was lost: {error}") from error
            raise error
        finally:
            self._channels.give_back(channel, in_step)

    def attempt(self, requests: Sequence[Request], pending: Sequence[int], results: List[Any]) -> None:
        """Sends the pending commands on one connection and fills in their results: a reply, an exception that is final, or a Setback."""
        try:
            channel = self._channels.borrow()
        except (redis.RedisError, OSError, ValueError) as exc:  # redis-py raises ValueError for some nonsense
            for i in pending:
                error = translate(exc)
                results[i] = Setback(error, False, self) if isinstance(error, PASSING) else error
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
                        results[i] = Setback(exc, False, self) if isinstance(exc, PASSING) else exc
                    done += 1
            in_step = not reader.pending
        except (NdringError, OSError) as exc:
            error = translate(exc)
            for position in range(done, len(pending)):
                again = isinstance(error, _LOST) or position > done  # what made no sense was the answer to the first of them
                results[pending[position]] = Setback(error, position < sent, self) if again else error
        finally:
            self._channels.give_back(channel, in_step)


def translate(exc: BaseException) -> NdringError:
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
