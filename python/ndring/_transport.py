"""Commands to one node: borrow a connection, send, read. Each once: ``_cluster`` tries again."""
from __future__ import annotations

from time import monotonic
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ._channel import Channels
from ._exceptions import BusyError, ClusterDownError, ConnectionError, DecodeError, MovedError, NdringError, TimeoutError, UncertainWrite
from ._explain import explain
from ._settings import Settings
from ._slots import Address
from ._stream import Doubt
from ._wire import Buffer, ReplyReader, pack

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


def is_passing(error: BaseException) -> bool:
    """Whether another try may help."""
    return isinstance(error, PASSING) and not error.hopeless


class Transport:
    """The connections to one node. Safe across threads, forks and signals. ``end`` is the moment by which a call has to be over."""

    def __init__(self, settings: Settings, address: Address, doubt: Optional[Doubt] = None) -> None:
        self._channels = Channels(settings, address, doubt)
        self.address = address
        #: Whether this or another node of the cluster was found once: a name that does not resolve may be back soon then.
        self.proven = False

    def close(self) -> None:
        self._channels.close()

    def retire(self) -> None:
        """Closes what is idle now and the rest when it comes back: commands under way are not disturbed."""
        self._channels.retire()

    def _explain(self, exc: NdringError, buffers: Sequence[Buffer]) -> NdringError:
        error = explain(exc, buffers, self.address)
        if error.hopeless and error.unreachable and (self.proven or self._channels.opened):
            error.hopeless = False
        return error

    def one(self, request: Request, end: Optional[float] = None) -> Any:
        """Returns the reply to one command, or a Setback. Raises what is final."""
        # The way of nearly all calls: one connection, one command, one answer.
        channel = broken = None
        in_step = sent = False
        try:
            channel = self._channels.borrow(end, request.key)
            channel.stream.begin(end, request.key)
            sent = True
            broken = channel.stream.send(request.buffers)
            try:
                result = request.read(channel.reader)
            except ConnectionError as exc:
                raise broken or exc
            in_step = not (broken or channel.reader.pending)
            return result
        except NdringError as exc:
            error = self._explain(exc, request.buffers)
            in_step = exc.is_reply and channel is not None and not (broken or channel.reader.pending)
            lost = sent and not exc.is_reply
        finally:  # also when interrupted: what is left of a reply must meet no other command
            if channel is not None:
                self._channels.give_back(channel, in_step)
        if is_passing(error):
            return Setback(error, lost, self)
        raise error

    def soon(self, request: Request, seconds: float, end: Optional[float] = None) -> Any:
        """Returns the reply to one command, for which the node has so many seconds. Raises any error."""
        channel = None
        in_step = False
        until = monotonic() + seconds
        until = until if end is None else min(until, end)
        try:
            channel = self._channels.borrow(until, None)
            channel.stream.begin(until, None)
            broken = channel.stream.send(request.buffers)
            result = request.read(channel.reader)
            in_step = not (broken or channel.reader.pending)
            return result
        except NdringError as exc:
            raise self._explain(exc, request.buffers)  # an error reply ends the connection too: it is rare
        finally:
            if channel is not None:
                self._channels.give_back(channel, in_step)

    def transaction(self, requests: Sequence[Request], end: Optional[float] = None) -> List[Any]:
        """Returns the replies to commands that are done as one; an exception stands where one failed. Raises what kept it from being
        done, or UncertainWrite."""
        channel = broken = None
        sent = in_step = False
        refused: Dict[int, NdringError] = {}  # by the number of the command; 0 is MULTI
        try:
            channel = self._channels.borrow(end, requests[0].key)
            channel.stream.begin(end, requests[0].key)
            reader = channel.reader
            buffers: List[Buffer] = pack(b"MULTI")
            for request in requests:
                buffers += request.buffers
            # The node answers each with a few bytes only, so that nobody need read before all is sent. EXEC is last: what was
            # cut before it has not been done.
            broken = channel.stream.send(buffers + pack(b"EXEC"))
            sent = broken is None
            for number in range(1 + len(requests)):
                try:
                    reply = reader.reply()
                    if reply != ("QUEUED" if number else "OK"):  # it was done at once: that must not be repeated
                        raise DecodeError(f"the node answers {str(reply)[:20]!r} to command {number} of a transaction")
                except NdringError as exc:
                    if not exc.is_reply:
                        raise broken or exc
                    refused[number] = exc
            results: List[Any] = []
            try:
                count = reader.items()
            except NdringError as exc:
                in_step = exc.is_reply and not (broken or reader.pending)
                raise next(iter(refused.values()), exc) if exc.is_reply else exc
            if count != len(requests):
                raise DecodeError(f"EXEC answers {count} replies to {len(requests)} commands")
            for request in requests:
                channel.stream.patience.renew(monotonic())
                try:
                    results.append(request.read(reader))
                except NdringError as exc:
                    if not exc.is_reply:
                        raise
                    results.append(exc)
            in_step = not (broken or reader.pending)
            return results
        except NdringError as exc:
            largest = max(requests, key=lambda request: request.size).buffers
            error = self._explain(exc, largest)
            if isinstance(error, (ConnectionError, TimeoutError)):
                if refused and (broken or 0 not in refused):  # EXEC did not come, or does nothing then
                    raise explain(next(iter(refused.values())), largest, self.address)
                if sent and not exc.is_reply:
                    raise UncertainWrite(f"whether the transaction was done is not known, the answer was lost: {error}") from error
            raise error
        finally:
            if channel is not None:
                self._channels.give_back(channel, in_step)

    def attempt(self, requests: Sequence[Request], pending: Sequence[int], results: List[Any], end: Optional[float] = None) -> None:
        """Sends the pending commands on one connection and fills in their results: a reply, an exception that is final, or a Setback."""
        sent = done = 0
        in_step = False
        channel = None
        broken: Optional[ConnectionError] = None
        try:
            channel = self._channels.borrow(end, requests[pending[0]].key)
            channel.stream.begin(end, requests[pending[0]].key)
            while done < len(pending):
                batch, sent = _batch(requests, pending, sent, done)
                broken = channel.stream.send(batch)
                while done < sent:
                    i = pending[done]
                    channel.stream.patience.renew(monotonic())
                    try:
                        results[i] = requests[i].read(channel.reader)
                    except NdringError as exc:
                        if not exc.is_reply:
                            raise broken if broken and isinstance(exc, ConnectionError) else exc
                        error = self._explain(exc, requests[i].buffers)
                        results[i] = Setback(error, False, self) if is_passing(error) else error
                    done += 1
                if broken:
                    raise broken
            in_step = not channel.reader.pending
        except NdringError as exc:
            error = self._explain(exc, requests[pending[done]].buffers if done < len(pending) else ())
            for position in range(done, len(pending)):
                again = is_passing(error) or position > done and not error.hopeless  # what made no sense was the answer to the first of them
                results[pending[position]] = Setback(error, position < sent, self) if again else error
        finally:
            if channel is not None:
                self._channels.give_back(channel, in_step)


def _batch(requests: Sequence[Request], pending: Sequence[int], sent: int, done: int) -> Tuple[List[Buffer], int]:
    """Returns what may be sent now, after ``sent`` commands of which ``done`` are answered, and how many are sent then."""
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
    return batch, sent
