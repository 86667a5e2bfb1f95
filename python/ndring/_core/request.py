"""One command, and what may become of it."""
from __future__ import annotations

from typing import Any, Callable, List, Optional

from .._exceptions import BusyError, ClusterDownError, ConnectionError, MovedError, NdringError, NoReplicasError, TimeoutError, UncertainWrite
from .resp import Buffer, Reading, ReplyReader, pack


class Request:
    """One command. ``read``: parses its reply. ``quick``: returns the reply if it is of the most
    frequent kind and has come as a whole, else None. ``key``: one of its keys, None if any node, or
    the one named ``node``, can execute it.

    ``writes``: it changes something. Repeating a command after a lost reply is safe: most commands
    have the same effect twice, and a ``conditional`` write carries a request id that the key's
    primary, and any later one, remembers for a while. ``spread``: it is a read that replicas may
    answer.
    """

    __slots__ = ("buffers", "read", "quick", "conditional", "keep", "short_reply", "key", "node", "writes", "spread")

    def __init__(
        self,
        buffers: List[Buffer],
        read: Callable[[ReplyReader], Reading[Any]] = ReplyReader.reply,
        conditional: bool = False,
        keep: object = None,
        short_reply: bool = False,
        key: Optional[bytes] = None,
        node: Optional[str] = None,
        writes: bool = False,
        spread: bool = False,
        quick: Optional[Callable[[ReplyReader], Any]] = None,
    ) -> None:
        self.buffers = buffers
        self.read = read
        self.quick = quick
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

    def reading(self, reader: ReplyReader) -> Reading[Any]:
        """Parses the reply."""
        if self.quick is not None and not reader.pending:
            reader.received((yield reader.space()))
            reply = self.quick(reader)
            if reply is not None:
                return reply
        return (yield from self.read(reader))

    def asking(self) -> "Request":
        """Returns this command preceded by ASKING, as a node requires after another one replied ASK."""

        def read(reader: ReplyReader) -> Reading[Any]:
            try:
                yield from reader.reply()
            except NdringError as exc:
                if not exc.is_reply:
                    raise
            return (yield from self.read(reader))  # if ASKING was refused, this command is too

        return Request([*pack(b"ASKING"), *self.buffers], read, self.conditional, self.keep, self.short_reply, self.key, writes=self.writes)


class Failure:
    """The result of a command that may be retried, here or on another node.

    ``error``: the reason. ``lost``: the command was sent and its reply was lost, or the node does
    not know the outcome, so it may have been executed; otherwise it was not. ``at``: the node.
    """

    __slots__ = ("error", "lost", "at")

    def __init__(self, error: NdringError, lost: bool, at: Any) -> None:
        self.error = error
        self.lost = lost
        self.at = at


LOST = (ConnectionError, TimeoutError)
#: Errors after which a retry may succeed.
RETRYABLE = (*LOST, BusyError, ClusterDownError, MovedError, NoReplicasError)


def is_retryable(error: BaseException) -> bool:
    """Whether a retry may succeed."""
    return isinstance(error, RETRYABLE) and not error.hopeless


def may_repeat(error: NdringError) -> bool:
    """Whether a command that got this error may be repeated. A transaction may not if its outcome is unknown."""
    return is_retryable(error) or is_unknown(error)


def is_unknown(error: NdringError) -> bool:
    """Whether the node replied that it does not know the outcome."""
    return error.is_reply and isinstance(error, UncertainWrite)
