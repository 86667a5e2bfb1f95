"""What is said on one connection: which bytes to send and which replies to read, in which order.
Nothing here touches a socket.

An ``Exchange`` has ``steps``, which yields a list of buffers to send and gets the error if the node
has closed the connection, or None; or yields memory to receive into, as a ``Reading`` does. After
an NdringError, raised by a step or by the driver, ``fail`` says what becomes of the commands.
``reusable``: whether the connection can be used again.
"""
from __future__ import annotations

from time import monotonic
from typing import Any, Dict, Generator, List, Optional, Sequence, Tuple, Union

from .._exceptions import ConnectionError, DecodeError, NdringError, TimeoutError, UncertainWrite
from .error_hints import with_hint
from .request import Failure, Request, is_retryable, is_unknown, may_repeat
from .resp import Buffer, ReplyReader, pack
from .slots import Address
from .wait_limits import WaitLimits

Steps = Generator[Union[List[Buffer], memoryview], Any, None]

# The client sends several commands before it reads a reply. Unread replies must not block both
# sides, so after a command with a long reply only this many commands and bytes follow; they fit
# into the socket buffers. A node keeps reading while short replies to writes queue up.
_MAX_BATCH = 128
_MAX_BATCH_BYTES = 32 << 10


def root_cause(broken: Optional[ConnectionError], exc: NdringError) -> NdringError:
    """Returns which error tells why a connection was lost: that of sending, which came first, unless
    what the node sent before it closed the connection says more."""
    return exc if broken is None or exc.hopeless else broken


class Node:
    """What is known about a node. Both drivers derive their connections to a node from it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        #: Whether any node of the cluster has been reached: then an unresolvable name may be an
        #: outage rather than a typo.
        self.cluster_seen = False

    def ever_connected(self) -> bool:
        raise NotImplementedError

    def with_hint(self, exc: NdringError, buffers: Sequence[Buffer]) -> NdringError:
        error = with_hint(exc, buffers, self.address)
        if error.hopeless and error.unreachable and (self.cluster_seen or self.ever_connected()):
            error.hopeless = False
        return error


class Single:
    """One command. ``result``: its reply, or a Failure if it may be retried."""

    def __init__(self, node: Node, request: Request) -> None:
        self.key = request.key
        self.reusable = False
        self.result: Any = None
        self._node = node
        self._request = request
        self._sent = False

    def steps(self, reader: ReplyReader, limits: WaitLimits) -> Steps:
        request = self._request
        self._sent = True
        broken: Optional[ConnectionError] = yield request.buffers
        try:
            self.result = yield from request.reading(reader)
        except ConnectionError as exc:
            raise root_cause(broken, exc)
        except NdringError as exc:
            self.reusable = exc.is_reply and not (broken or reader.pending)
            raise
        self.reusable = not (broken or reader.pending)

    def fail(self, exc: NdringError) -> None:
        """Sets the result, or raises an error that is final."""
        error = self._node.with_hint(exc, self._request.buffers)
        if not may_repeat(error):
            raise error
        self.result = Failure(error, self._sent and not exc.is_reply or is_unknown(error), self._node)


class Question(Single):
    """One command whose errors are all raised."""

    def fail(self, exc: NdringError) -> None:
        self.reusable = False  # even an error reply closes the connection; it is rare
        raise self._node.with_hint(exc, self._request.buffers)


class Batch:
    """Several commands. Stores in ``results`` a reply, a final exception, or a Failure for each of
    the ``pending`` ones."""

    def __init__(self, node: Node, requests: Sequence[Request], pending: Sequence[int], results: List[Any]) -> None:
        self.key = requests[pending[0]].key
        self.reusable = False
        self._node = node
        self._requests = requests
        self._pending = pending
        self._results = results
        self._sent = self._done = 0

    def steps(self, reader: ReplyReader, limits: WaitLimits) -> Steps:
        requests, pending = self._requests, self._pending
        while self._done < len(pending):
            buffers, self._sent = _next_batch(requests, pending, self._sent, self._done)
            broken: Optional[ConnectionError] = yield buffers
            while self._done < self._sent:
                i = pending[self._done]
                limits.restart(monotonic())
                try:
                    self._results[i] = yield from requests[i].reading(reader)
                except NdringError as exc:
                    if not exc.is_reply:
                        raise root_cause(broken, exc) if isinstance(exc, ConnectionError) else exc
                    error = self._node.with_hint(exc, requests[i].buffers)
                    self._results[i] = Failure(error, is_unknown(error), self._node) if may_repeat(error) else error
                self._done += 1
            if broken:
                raise broken
        self.reusable = not reader.pending

    def fail(self, exc: NdringError) -> None:
        """Sets the results of the commands that have none."""
        pending, done = self._pending, self._done
        error = self._node.with_hint(exc, self._requests[pending[done]].buffers if done < len(pending) else ())
        for position in range(done, len(pending)):
            again = is_retryable(error) or position > done and not error.hopeless  # a malformed reply concerns only the first of them
            self._results[pending[position]] = Failure(error, position < self._sent, self._node) if again else error


def _next_batch(requests: Sequence[Request], pending: Sequence[int], sent: int, done: int) -> Tuple[List[Buffer], int]:
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


class Transaction:
    """Commands that are executed atomically. ``results``: the replies, with the exception in place
    of a failed one."""

    def __init__(self, node: Node, requests: Sequence[Request]) -> None:
        self.key = requests[0].key
        self.reusable = False
        self.results: List[Any] = []
        self._node = node
        self._requests = requests
        self._sent = False
        self._broken: Optional[ConnectionError] = None
        self._refused: Dict[int, NdringError] = {}  # by number of the command; 0 is MULTI

    def steps(self, reader: ReplyReader, limits: WaitLimits) -> Steps:
        buffers: List[Buffer] = pack(b"MULTI")
        for request in self._requests:
            buffers += request.buffers
        # The node replies to each command with a few bytes, so all can be sent before any reply is
        # read. EXEC comes last: a transaction whose connection breaks before it has not been
        # executed.
        self._broken = broken = yield buffers + pack(b"EXEC")
        self._sent = broken is None
        for number in range(1 + len(self._requests)):
            try:
                reply = yield from reader.reply()
                if reply != ("QUEUED" if number else "OK"):  # executed at once, so it must not be repeated
                    raise DecodeError(f"unexpected reply to command {number} of a transaction: {str(reply)[:20]!r}")
            except NdringError as exc:
                if not exc.is_reply:
                    raise root_cause(broken, exc)
                self._refused[number] = exc
        try:
            count = yield from reader.items()
        except NdringError as exc:
            self.reusable = exc.is_reply and not (broken or reader.pending)
            raise next(iter(self._refused.values()), exc) if exc.is_reply else exc
        if count != len(self._requests):
            raise DecodeError(f"EXEC replied with {count} items for {len(self._requests)} commands")
        for request in self._requests:
            limits.restart(monotonic())
            try:
                self.results.append((yield from request.read(reader)))
            except NdringError as exc:
                if not exc.is_reply:
                    raise
                self.results.append(exc)
        self.reusable = not (broken or reader.pending)

    def fail(self, exc: NdringError) -> None:
        """Raises what prevented the execution, or UncertainWrite."""
        largest = max(self._requests, key=lambda request: request.size).buffers
        error = self._node.with_hint(exc, largest)
        if isinstance(error, (ConnectionError, TimeoutError)):
            if self._refused and (self._broken or 0 not in self._refused):  # EXEC was not received, or has no effect
                raise with_hint(next(iter(self._refused.values())), largest, self._node.address)
            if self._sent and not exc.is_reply:
                raise UncertainWrite(f"the reply was lost, so it is unknown whether the transaction was executed: {error}") from error
        raise error
