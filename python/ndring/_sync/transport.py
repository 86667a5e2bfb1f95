"""Executes commands on one node: acquires a connection, sends, reads. Tries each command once;
retries are up to _cluster."""
from __future__ import annotations

from time import monotonic
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from .pool import ConnectionPool
from .._exceptions import (
    BusyError, ClusterDownError, ConnectionError, DecodeError, MovedError, NdringError, NoReplicasError, TimeoutError, UncertainWrite,
)  # fmt: skip
from .._core.error_hints import with_hint
from .._core.settings import Settings
from .._core.slots import Address
from .stream import SilenceCheck
from .._core.resp import Buffer, ReplyReader, pack

# The client sends several commands before it reads a reply. Unread replies must not block both
# sides, so after a command with a long reply only this many commands and bytes follow; they fit
# into the socket buffers. A node keeps reading while short replies to writes queue up.
_MAX_BATCH = 128
_MAX_BATCH_BYTES = 32 << 10


class Request:
    """One command. ``read``: reads its reply from a ReplyReader. ``key``: one of its keys, None if
    any node, or the one named ``node``, can execute it.

    ``writes``: it changes something. Repeating a command after a lost reply is safe: most commands
    have the same effect twice, and a ``conditional`` write carries a request id that the key's
    primary, and any later one, remembers for a while. ``spread``: it is a read that replicas may
    answer.
    """

    __slots__ = ("buffers", "read", "conditional", "keep", "short_reply", "key", "node", "writes", "spread")

    def __init__(
        self,
        buffers: List[Buffer],
        read: Callable[[ReplyReader], Any] = ReplyReader.reply,
        conditional: bool = False,
        keep: object = None,
        short_reply: bool = False,
        key: Optional[bytes] = None,
        node: Optional[str] = None,
        writes: bool = False,
        spread: bool = False,
    ) -> None:
        self.buffers = buffers
        self.read = read
        self.conditional = conditional
        self.keep = keep  # owner of the buffers' memory
        self.short_reply = short_reply  # whether every possible reply is short
        self.key = key
        self.node = node
        self.writes = writes or conditional
        self.spread = spread

    @property
    def size(self) -> int:
        return sum(map(len, self.buffers))

    def asking(self) -> "Request":
        """Returns this command preceded by ASKING, as a node requires after another one replied ASK."""

        def read(reader: ReplyReader) -> Any:
            try:
                reader.reply()
            except NdringError as exc:
                if not exc.is_reply:
                    raise
            return self.read(reader)  # if ASKING was refused, this command is too

        return Request([*pack(b"ASKING"), *self.buffers], read, self.conditional, self.keep, self.short_reply, self.key, writes=self.writes)


class Failure:
    """The result of a command that may be retried, here or on another node.

    ``error``: the reason. ``lost``: the command was sent and its reply was lost, or the node does
    not know the outcome, so it may have been executed; otherwise it was not. ``at``: the node.
    """

    __slots__ = ("error", "lost", "at")

    def __init__(self, error: NdringError, lost: bool, at: "Transport") -> None:
        self.error = error
        self.lost = lost
        self.at = at


_LOST = (ConnectionError, TimeoutError)
#: Errors after which a retry may succeed.
RETRYABLE = (*_LOST, BusyError, ClusterDownError, MovedError, NoReplicasError)


def is_retryable(error: BaseException) -> bool:
    """Whether a retry may succeed."""
    return isinstance(error, RETRYABLE) and not error.hopeless


def _may_repeat(error: NdringError) -> bool:
    """Whether a command that got this error may be repeated. A transaction may not if its outcome is unknown."""
    return is_retryable(error) or _is_unknown(error)


def _is_unknown(error: NdringError) -> bool:
    """Whether the node replied that it does not know the outcome."""
    return error.is_reply and isinstance(error, UncertainWrite)


class Transport:
    """The connections to one node. Safe to use from several threads, after a fork, and in signal
    handlers. ``end``: time by which a call must be over."""

    def __init__(self, settings: Settings, address: Address, silence_check: Optional[SilenceCheck] = None) -> None:
        self._pool = ConnectionPool(settings, address, silence_check)
        self.address = address
        #: Whether any node of the cluster has been reached: then an unresolvable name may be an
        #: outage rather than a typo.
        self.cluster_seen = False

    def close(self) -> None:
        self._pool.close()

    def retire(self) -> None:
        """Closes idle connections now and the others when they are released. Commands under way continue."""
        self._pool.retire()

    def _with_hint(self, exc: NdringError, buffers: Sequence[Buffer]) -> NdringError:
        error = with_hint(exc, buffers, self.address)
        if error.hopeless and error.unreachable and (self.cluster_seen or self._pool.ever_connected):
            error.hopeless = False
        return error

    def one(self, request: Request, end: Optional[float] = None) -> Any:
        """Returns the reply to one command, or a Failure if it may be retried. Raises final errors."""
        # The hot path: one connection, one command, one reply.
        connection = broken = None
        reusable = sent = False
        try:
            connection = self._pool.acquire(end, request.key)
            connection.stream.begin(end, request.key)
            sent = True
            broken = connection.stream.send(request.buffers)
            try:
                result = request.read(connection.reader)
            except ConnectionError as exc:
                raise broken or exc
            reusable = not (broken or connection.reader.pending)
            return result
        except NdringError as exc:
            error = self._with_hint(exc, request.buffers)
            reusable = exc.is_reply and connection is not None and not (broken or connection.reader.pending)
            lost = sent and not exc.is_reply or _is_unknown(error)
        finally:  # also if interrupted, since the next command must not read the rest of this reply
            if connection is not None:
                self._pool.release(connection, reusable)
        if _may_repeat(error):
            return Failure(error, lost, self)
        raise error

    def with_timeout(self, request: Request, seconds: float, end: Optional[float] = None) -> Any:
        """Returns the reply to one command within ``seconds``. Raises any error."""
        connection = None
        reusable = False
        until = monotonic() + seconds
        until = until if end is None else min(until, end)
        try:
            connection = self._pool.acquire(until, None)
            connection.stream.begin(until, None)
            broken = connection.stream.send(request.buffers)
            result = request.read(connection.reader)
            reusable = not (broken or connection.reader.pending)
            return result
        except NdringError as exc:
            raise self._with_hint(exc, request.buffers)  # even an error reply closes the connection; it is rare
        finally:
            if connection is not None:
                self._pool.release(connection, reusable)

    def transaction(self, requests: Sequence[Request], end: Optional[float] = None) -> List[Any]:
        """Returns the replies to commands that are executed atomically, with the exception in place
        of a failed one. Raises what prevented the execution, or UncertainWrite."""
        connection = broken = None
        sent = reusable = False
        refused: Dict[int, NdringError] = {}  # by number of the command; 0 is MULTI
        try:
            connection = self._pool.acquire(end, requests[0].key)
            connection.stream.begin(end, requests[0].key)
            reader = connection.reader
            buffers: List[Buffer] = pack(b"MULTI")
            for request in requests:
                buffers += request.buffers
            # The node replies to each command with a few bytes, so all can be sent before any reply
            # is read. EXEC comes last: a transaction whose connection breaks before it has not been
            # executed.
            broken = connection.stream.send(buffers + pack(b"EXEC"))
            sent = broken is None
            for number in range(1 + len(requests)):
                try:
                    reply = reader.reply()
                    if reply != ("QUEUED" if number else "OK"):  # executed at once, so it must not be repeated
                        raise DecodeError(f"unexpected reply to command {number} of a transaction: {str(reply)[:20]!r}")
                except NdringError as exc:
                    if not exc.is_reply:
                        raise broken or exc
                    refused[number] = exc
            results: List[Any] = []
            try:
                count = reader.items()
            except NdringError as exc:
                reusable = exc.is_reply and not (broken or reader.pending)
                raise next(iter(refused.values()), exc) if exc.is_reply else exc
            if count != len(requests):
                raise DecodeError(f"EXEC replied with {count} items for {len(requests)} commands")
            for request in requests:
                connection.stream.limits.restart(monotonic())
                try:
                    results.append(request.read(reader))
                except NdringError as exc:
                    if not exc.is_reply:
                        raise
                    results.append(exc)
            reusable = not (broken or reader.pending)
            return results
        except NdringError as exc:
            largest = max(requests, key=lambda request: request.size).buffers
            error = self._with_hint(exc, largest)
            if isinstance(error, (ConnectionError, TimeoutError)):
                if refused and (broken or 0 not in refused):  # EXEC was not received, or has no effect
                    raise with_hint(next(iter(refused.values())), largest, self.address)
                if sent and not exc.is_reply:
                    raise UncertainWrite(f"the reply was lost, so it is unknown whether the transaction was executed: {error}") from error
            raise error
        finally:
            if connection is not None:
                self._pool.release(connection, reusable)

    def attempt(self, requests: Sequence[Request], pending: Sequence[int], results: List[Any], end: Optional[float] = None) -> None:
        """Sends the pending commands on one connection and stores in ``results`` a reply, a final
        exception, or a Failure for each."""
        sent = done = 0
        reusable = False
        connection = None
        broken: Optional[ConnectionError] = None
        try:
            connection = self._pool.acquire(end, requests[pending[0]].key)
            connection.stream.begin(end, requests[pending[0]].key)
            while done < len(pending):
                batch, sent = _batch(requests, pending, sent, done)
                broken = connection.stream.send(batch)
                while done < sent:
                    i = pending[done]
                    connection.stream.limits.restart(monotonic())
                    try:
                        results[i] = requests[i].read(connection.reader)
                    except NdringError as exc:
                        if not exc.is_reply:
                            raise broken if broken and isinstance(exc, ConnectionError) else exc
                        error = self._with_hint(exc, requests[i].buffers)
                        results[i] = Failure(error, _is_unknown(error), self) if _may_repeat(error) else error
                    done += 1
                if broken:
                    raise broken
            reusable = not connection.reader.pending
        except NdringError as exc:
            error = self._with_hint(exc, requests[pending[done]].buffers if done < len(pending) else ())
            for position in range(done, len(pending)):
                again = is_retryable(error) or position > done and not error.hopeless  # a malformed reply concerns only the first of them
                results[pending[position]] = Failure(error, position < sent, self) if again else error
        finally:
            if connection is not None:
                self._pool.release(connection, reusable)


def _batch(requests: Sequence[Request], pending: Sequence[int], sent: int, done: int) -> Tuple[List[Buffer], int]:
    """Returns the buffers to send next, given that ``sent`` commands were sent and ``done``
    answered, and the new ``sent``."""
    batch: List[Buffer] = []
    behind = 0  # bytes after the first command with a long reply
    short_reply = True
    while sent < len(pending) and sent - done < _MAX_BATCH:
        request = requests[pending[sent]]
        if not short_reply:
            behind += request.size
            if behind > _MAX_BATCH_BYTES:
                break
        batch += request.buffers
        short_reply = short_reply and request.short_reply
        sent += 1
    return batch, sent
